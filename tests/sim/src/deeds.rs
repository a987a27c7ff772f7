//! What an operator, EC2 or chance does to a run: edits of items, and hands in the account.
//!
//! A deed that finds nothing to act on does nothing: schedules are drawn without knowing what there is.

mod backups;
mod data;
mod groups;

use jiff::SignedDuration;
use perennial_cloud::model::{
    ApiError, Cloud, CreateNetworkInterface, InterfaceChange, LaunchSpec, ModifyVolume, SnapshotState,
    TemplateRef,
};
use perennial_core::ids::NodeName;
use perennial_core::names::{Purpose, TAG_NODE, TAG_PURPOSE};
use perennial_core::record::Superseded;
use serde_json::{Value, json};

use crate::account::{base_image, item_of};
use crate::run::Run;

pub(crate) use backups::is_backup;
pub use data::{BY_HAND, MAPPED};
pub use groups::{GROUP, POOL, Shape, member};

/// Edits of items.
impl Run {
    /// Puts the item that a node of the stories begins with.
    pub fn put_node(&mut self, node: &str) {
        let item = item_of(self, node);
        self.put(item);
    }

    /// Edits a node's item; one that is gone is not there to be edited.
    pub fn edit(&mut self, node: &str, edit: impl FnOnce(&mut Value)) {
        let key = format!("node#{node}");
        let item = self.world.0.borrow().config.get(&key).cloned();
        if let Some(mut item) = item {
            edit(&mut item);
            self.put(item);
        }
    }

    /// Sets what the operator wants of a node.
    pub fn want(&mut self, node: &str, state: &str) {
        self.edit(node, |item| item["desiredState"] = json!(state));
    }

    /// Deletes a node's item.
    pub fn delete_item(&mut self, node: &str) {
        let key = format!("node#{node}");
        let mut world = self.world.0.borrow_mut();
        if world.config.remove(&key).is_some() {
            world.stream.push(key);
        }
    }

    /// Sets the deployment's settings.
    pub fn settings(&mut self, mut settings: Value) {
        settings["id"] = json!("settings");
        self.put(settings);
    }

    /// The verdict on a node's item.
    pub fn status(&self, node: &str) -> Value {
        self.world
            .0
            .borrow()
            .config
            .get(&format!("node#{node}"))
            .map_or(Value::Null, |i| i["_status"].clone())
    }

    /// Names the newest completed snapshot there is of a node as the recovery point to accept.
    pub fn restore_from_newest(&mut self, node: &str) {
        let newest = self.newest_point(node);
        if let Some(id) = newest {
            self.edit(node, |item| item["restoreFrom"] = json!(id));
        }
    }

    /// The same with the newest final snapshot.
    pub fn restore_from_newest_final(&mut self, node: &str) {
        if let Some(id) = self.newest(node, |purpose| purpose == Purpose::Final.as_str()) {
            self.edit(node, |item| item["restoreFrom"] = json!(id));
        }
    }

    /// Whether a snapshot of the node has completed.
    pub fn has_recovery_point(&self, node: &str) -> bool {
        self.newest_point(node).is_some()
    }

    fn newest_point(&self, node: &str) -> Option<String> {
        self.newest(node, |_| true)
    }

    /// Of the root: a snapshot of a data volume holds nothing of it.
    fn newest(&self, node: &str, is_meant: impl Fn(&str) -> bool) -> Option<String> {
        let world = self.world.0.borrow();
        let of_node = world.cloud.snapshots().filter(|s| s.state == SnapshotState::Completed);
        let of_node = of_node.filter(|s| self.watch.is_of(&s.id, node) && !self.watch.is_data(&s.id));
        let of_node = of_node.filter(|s| is_meant(s.tags.get(TAG_PURPOSE).map_or("", String::as_str)));
        of_node.max_by_key(|s| (s.start_time, s.id.clone())).map(|s| s.id.clone())
    }
}

/// Hands in the account.
impl Run {
    /// Does something by hand, waiting for the account's own quota if it must. What of the nodes is missing
    /// afterwards was taken by the operator.
    pub fn by_hand<T>(&mut self, deed: impl Fn(&mut Cloud) -> Result<T, ApiError>) -> Result<T, ApiError> {
        for _ in 0..60 {
            let done = deed(&mut self.world.0.borrow_mut().cloud);
            match done {
                Err(error) if error.code == "RequestLimitExceeded" => {
                    self.pass(SignedDuration::from_secs(1));
                }
                done => {
                    self.watch.forgive(&self.world.0.borrow());
                    return done;
                }
            }
        }
        deed(&mut self.world.0.borrow_mut().cloud)
    }

    /// The instance of a node, as its record or its tag has it.
    pub fn instance(&self, node: &str) -> Option<String> {
        let world = self.world.0.borrow();
        let mut live = world.cloud.live_instances();
        live.find(|i| self.watch.is_ours(&i.tags) && i.tags.get(TAG_NODE).is_some_and(|n| n == node))
            .map(|i| i.id.clone())
    }

    /// The root volume of a node, the one left behind by the last instance included.
    pub fn root(&self, node: &str) -> Option<String> {
        let record = self.record(node)?;
        let behind = record.superseded.iter().rev().find_map(|superseded| match superseded {
            Superseded::Volume(id) => Some(id.to_string()),
            Superseded::DataVolume(_)
            | Superseded::Image(_)
            | Superseded::Snapshot(_)
            | Superseded::DataSnapshot(_) => None,
        });
        record.root.map(|root| root.volume_id.to_string()).or(behind)
    }

    /// EC2 takes the instance of a node back.
    pub fn interrupt(&mut self, node: &str, notice: bool) {
        if let Some(id) = self.instance(node) {
            // An instance that is not of the spot market, or not up, is not taken.
            let _ = self.world.0.borrow_mut().cloud.interrupt(&id, notice);
        }
    }

    /// EC2 says that the instance of a node is at risk.
    pub fn recommend_rebalance(&mut self, node: &str) {
        if let Some(id) = self.instance(node) {
            // Of an instance that is not of the spot market, or not up, nothing is said.
            let _ = self.world.0.borrow_mut().cloud.recommend_rebalance(&id);
        }
    }

    /// Terminates, stops or starts the instance of a node by hand.
    pub fn terminate(&mut self, node: &str) {
        if let Some(id) = self.instance(node) {
            let _ = self.by_hand(|cloud| cloud.terminate_instances(std::slice::from_ref(&id)));
        }
    }

    /// Stops the instance of a node by hand.
    pub fn stop(&mut self, node: &str) {
        if let Some(id) = self.instance(node) {
            let _ = self.by_hand(|cloud| cloud.stop_instances(std::slice::from_ref(&id)));
        }
    }

    /// Starts the stopped instance of a node by hand.
    pub fn start(&mut self, node: &str) {
        if let Some(id) = self.instance(node) {
            let _ = self.by_hand(|cloud| cloud.start_instances(std::slice::from_ref(&id)));
        }
    }

    /// Lets the root volume of a node go with its instance.
    pub fn root_goes_with_it(&mut self, node: &str) {
        let Some(id) = self.instance(node) else { return };
        let device = self.world.0.borrow().cloud.instance(&id).map(|i| i.root_device_name.clone());
        let devices = [(device.unwrap_or_default(), true)];
        let _ = self.by_hand(|cloud| cloud.modify_block_devices(&id, &devices));
        self.watch.at_risk(node);
    }

    /// Lets the kept interface of a node go with its instance.
    pub fn interface_goes_with_it(&mut self, node: &str) {
        let Some(eni) = self.record(node).and_then(|r| r.network).map(|n| n.eni_id.to_string()) else {
            return;
        };
        let held = self.world.0.borrow().cloud.network_interface(&eni).and_then(|i| i.attachment.clone());
        let Some(held) = held else { return };
        let change = InterfaceChange::DeleteOnTermination { attachment_id: held.id, value: true };
        let _ = self.by_hand(|cloud| cloud.modify_network_interface(&eni, &change));
    }

    /// Deletes the kept interface of a node.
    pub fn drop_interface(&mut self, node: &str) {
        if let Some(network) = self.record(node).and_then(|r| r.network) {
            let _ = self.by_hand(|cloud| cloud.delete_network_interface(network.eni_id.as_str()));
        }
    }

    /// Takes the address that a node has kept, once it is free.
    pub fn take_address(&mut self, node: &str) {
        let Some(network) = self.record(node).and_then(|r| r.network) else { return };
        let request = CreateNetworkInterface {
            subnet_id: network.subnet_id.to_string(),
            private_ip_address: Some(network.private_ip.to_string()),
            ..CreateNetworkInterface::default()
        };
        if let Ok(made) = self.by_hand(|cloud| cloud.create_network_interface(&request)) {
            self.notes.insert("taker", made.id);
        }
    }

    /// Frees the address again.
    pub fn free_address(&mut self) {
        let Some(id) = self.notes.remove("taker") else { return };
        // What was made a moment ago may not be seen yet.
        if self.by_hand(|cloud| cloud.delete_network_interface(&id)).is_err() {
            self.pass(SignedDuration::from_secs(15));
            let _ = self.by_hand(|cloud| cloud.delete_network_interface(&id));
        }
    }

    /// Deregisters the node image.
    pub fn deregister_image(&mut self, node: &str) {
        if let Some(id) = self.record(node).and_then(|r| r.image).and_then(|i| i.id) {
            let _ = self.by_hand(|cloud| cloud.deregister_image(id.as_str(), false));
        }
    }

    /// Deletes the final snapshot, once its image lets go of it.
    pub fn delete_final(&mut self, node: &str) {
        let Some(id) = self.record(node).and_then(|r| r.finals.first()?.snapshot_id.clone()) else { return };
        self.watch.took(id.as_str());
        for _ in 0..60 {
            match self.by_hand(|cloud| cloud.delete_snapshot(id.as_str())) {
                Err(error) if error.code == "InvalidSnapshot.InUse" => {
                    self.pass(SignedDuration::from_secs(1));
                }
                Ok(()) | Err(_) => return,
            }
        }
    }

    /// Deletes the newest rotated snapshot of a node.
    pub fn delete_newest_snapshot(&mut self, node: &str) {
        if let Some(id) = self.newest_point(node) {
            self.watch.took(&id);
            let _ = self.by_hand(|cloud| cloud.delete_snapshot(&id));
        }
    }

    /// Deletes the root volume that a node keeps, if it is free.
    pub fn delete_root(&mut self, node: &str) {
        if let Some(id) = self.root(node) {
            let _ = self.by_hand(|cloud| cloud.delete_volume(&id));
        }
    }

    /// Puts root persistence into a node's item, or takes it out.
    pub fn keep_root(&mut self, node: &str, keep: bool) {
        self.edit(node, |item| {
            item["persist"] = match keep {
                true => json!({"root": {"snapshotEvery": "2m"}, "network": {}}),
                false => json!({"network": {}}),
            };
        });
    }

    /// Makes the root of a node larger and of another type.
    pub fn grow_root(&mut self, node: &str) {
        if let Some(id) = self.root(node) {
            let larger = ModifyVolume {
                volume_id: id,
                size: Some(16),
                volume_type: Some("gp2".to_owned()),
                ..ModifyVolume::default()
            };
            let _ = self.by_hand(|cloud| cloud.modify_volume(&larger));
        }
    }

    /// Swaps the root of a node for a fresh volume: what was on the old one is not on it.
    pub fn swap_root(&mut self, node: &str) {
        let Some(id) = self.instance(node) else { return };
        if let Ok(new) = self.by_hand(|cloud| cloud.swap_root(&id)) {
            let writes = self.world.0.borrow().cloud.volume(&new).map_or(0, |v| v.contents.writes);
            self.watch.starts_over(node, writes);
        }
    }

    /// Deletes the launch template.
    pub fn delete_template(&mut self) {
        let which =
            TemplateRef { id: Some(self.defaults.launch_template_id.clone()), ..TemplateRef::default() };
        let _ = self.by_hand(|cloud| cloud.delete_launch_template(&which));
    }

    /// A new launch template with the data of the first version of the old one; remembered as `template`.
    pub fn make_template(&mut self) {
        let data = self.template_data();
        let request = perennial_cloud::model::CreateLaunchTemplate {
            name: "another-template".to_owned(),
            data,
            ..perennial_cloud::model::CreateLaunchTemplate::default()
        };
        if let Ok(made) = self.by_hand(|cloud| cloud.create_launch_template(&request)) {
            self.notes.insert("template", made.id);
        }
    }

    /// Data for a template version like the account's own.
    pub fn template_data(&self) -> LaunchSpec {
        LaunchSpec {
            image_id: Some(self.defaults.image_id.clone()),
            instance_type: Some("t3.medium".to_owned()),
            security_group_ids: vec![self.defaults.security_group_id.clone()],
            ..LaunchSpec::default()
        }
    }

    /// A new version of the launch template that has another security group; remembered as `group`.
    pub fn change_groups(&mut self) {
        let vpc = self.defaults.vpc_id.clone();
        let made = self.by_hand(|cloud| cloud.create_security_group("another", "another", Some(&vpc), &[]));
        let Ok(group) = made else { return };
        let data = LaunchSpec { security_group_ids: vec![group.id.clone()], ..self.template_data() };
        let which =
            TemplateRef { id: Some(self.defaults.launch_template_id.clone()), ..TemplateRef::default() };
        let _ = self.by_hand(|cloud| cloud.create_launch_template_version(&which, None, data.clone()));
        self.notes.insert("group", group.id);
    }

    /// Another base image on the same snapshot; remembered as `image`.
    pub fn make_image(&mut self) {
        let mut spec = base_image(&self.world.0.borrow().cloud, &self.defaults);
        spec.name = "another-base".to_owned();
        if let Ok(made) = self.by_hand(|cloud| cloud.register_image(&spec)) {
            self.notes.insert("image", made.id);
        }
    }

    /// Puts a volume of the operator's under the tags of a node as adopted; remembered as `adopted`.
    pub fn adopt_volume(&mut self, node: &str) {
        let Some(record) = self.record(node) else { return };
        let zone = self.world.0.borrow().cloud.settings().zones.first().cloned().unwrap_or_default();
        let request = perennial_cloud::model::CreateVolume {
            zone,
            size: Some(4),
            ..perennial_cloud::model::CreateVolume::default()
        };
        let Ok(volume) = self.by_hand(|cloud| cloud.create_volume(&request)) else { return };
        let tags = record.names(crate::run::DEPLOYMENT).tags(
            &Default::default(),
            record.cycle,
            Purpose::Adopted,
            "adopted",
        );
        let _ = self.by_hand(|cloud| cloud.create_tags(std::slice::from_ref(&volume.id), &tags));
        self.notes.insert("adopted", volume.id);
    }

    /// Takes away (or, with `None`, gives back) all capacity of the types of the stories.
    pub fn capacity(&mut self, available: Option<u32>) {
        use perennial_cloud::model::Market;
        let mut world = self.world.0.borrow_mut();
        let zones = world.cloud.settings().zones.clone();
        for zone in &zones {
            for instance_type in ["m5.large", "c5.large"] {
                for market in [Market::Spot, Market::OnDemand] {
                    world.cloud.set_capacity(instance_type, zone, market, available);
                }
            }
        }
    }

    /// Makes every pending final or periodic snapshot of the nodes fail.
    pub fn fail_snapshots(&mut self) {
        let mut world = self.world.0.borrow_mut();
        let pending = world.cloud.snapshots().filter(|s| s.state == SnapshotState::Pending);
        let pending: Vec<String> = pending.map(|s| s.id.clone()).collect();
        for id in pending {
            let _ = world.cloud.fail_snapshot(&id);
        }
    }

    /// Makes every pending image fail.
    pub fn fail_images(&mut self) {
        let mut world = self.world.0.borrow_mut();
        let pending: Vec<String> = world.cloud.images().map(|i| i.id.clone()).collect();
        for id in pending {
            let _ = world.cloud.fail_image(&id);
        }
    }

    /// Whether a node is blocked with this code.
    pub fn is_blocked(&self, node: &str, code: &str) -> bool {
        let world = self.world.0.borrow();
        let blocked = world.records.get(node).and_then(|record| record.blocked.as_ref());
        blocked.is_some_and(|blocked| blocked.code == code)
    }

    /// The names of all nodes that have a record.
    pub fn nodes(&self) -> Vec<NodeName> {
        self.world.0.borrow().records.values().map(|record| record.name.clone()).collect()
    }
}

//! What an operator does to data volumes: attached, detached, made larger, moved and destroyed by hand.

use jiff::SignedDuration;
use perennial_cloud::model::{
    AttachVolume, BlockDeviceMapping, CreateLaunchTemplate, CreateVolume, DetachVolume, Ebs, InterfaceSpec,
    LaunchSpec, ModifyVolume, RunInstances,
};
use serde_json::{Value, json};

use crate::account::item_of;
use crate::run::Run;

/// The device of the data volume that launches of the stories make.
pub const MAPPED: &str = "/dev/sdf";
/// The device of a volume that is attached by hand.
pub const BY_HAND: &str = "/dev/sdg";

/// Items.
impl Run {
    /// The item of a node whose launch template maps a data volume, kept so.
    pub fn item_with_data(&mut self, node: &str, persist: Value) -> Value {
        let mut item = item_of(self, node);
        if let Some(template) = self.template_with_data() {
            item["launch"]["template"] = json!({"id": template});
        }
        item["persist"] = persist;
        item
    }

    /// The launch template that maps a data volume; made once.
    fn template_with_data(&mut self) -> Option<String> {
        if let Some(id) = self.notes.get("template-with-data") {
            return Some(id.clone());
        }
        let device = BlockDeviceMapping {
            device_name: MAPPED.to_owned(),
            ebs: Some(Ebs { volume_size: Some(4), volume_type: Some("gp3".to_owned()), ..Ebs::default() }),
            ..BlockDeviceMapping::default()
        };
        let data = LaunchSpec { block_devices: vec![device], ..self.template_data() };
        let request = CreateLaunchTemplate {
            name: "template-with-data".to_owned(),
            data,
            ..CreateLaunchTemplate::default()
        };
        let made = self.by_hand(|cloud| cloud.create_launch_template(&request)).ok()?;
        self.notes.insert("template-with-data", made.id.clone());
        Some(made.id)
    }

    /// Keeps the data volumes of a node in this way, or no longer.
    pub fn keep_data(&mut self, node: &str, mode: Option<&str>) {
        self.edit(node, |item| match mode {
            Some(mode) => item["persist"]["data"] = json!({"mode": mode, "snapshotEvery": "2m"}),
            None => {
                if let Some(persist) = item["persist"].as_object_mut() {
                    persist.remove("data");
                }
            }
        });
    }

    /// Lets a node be launched in one zone alone.
    pub fn move_to_zone(&mut self, node: &str, nth: usize) {
        let subnets = self.defaults.subnet_ids.clone();
        let subnet = subnets[nth % subnets.len()].clone();
        self.edit(node, |item| item["launch"]["subnets"] = json!([subnet]));
    }
}

/// Hands in the account.
impl Run {
    /// The data volume of a node at a device: on its instance, or as its record has it.
    pub fn data_volume(&self, node: &str, device: &str) -> Option<String> {
        let world = self.world.0.borrow();
        let live = self.instance(node);
        let instance = live.and_then(|id| world.cloud.instance(&id).cloned());
        let held = instance.and_then(|it| it.block_devices.get(device).map(|held| held.volume_id.clone()));
        let record = world.records.get(node);
        let known = record.and_then(|it| it.data.iter().find(|entry| entry.device_name == device));
        held.or_else(|| known.map(|entry| entry.volume_id.to_string()))
    }

    /// Attaches a fresh volume of the operator's to the instance of a node.
    pub fn attach_fresh(&mut self, node: &str, device: &str, multi_attach: bool) -> Option<String> {
        let instance_id = self.instance(node)?;
        let zone = self.world.0.borrow().cloud.instance(&instance_id)?.zone.clone();
        let kind = if multi_attach { "io2" } else { "gp3" };
        let request = CreateVolume {
            zone,
            size: Some(4),
            volume_type: Some(kind.to_owned()),
            iops: multi_attach.then_some(100),
            multi_attach: Some(multi_attach),
            ..CreateVolume::default()
        };
        let volume = self.by_hand(|cloud| cloud.create_volume(&request)).ok()?;
        self.pass(SignedDuration::from_secs(20));
        self.attach(&volume.id, node, device);
        Some(volume.id)
    }

    /// Attaches a volume to the instance of a node by hand.
    pub fn attach(&mut self, volume: &str, node: &str, device: &str) {
        let Some(instance_id) = self.instance(node) else { return };
        let request = AttachVolume { volume_id: volume.to_owned(), instance_id, device: device.to_owned() };
        let _ = self.by_hand(|cloud| cloud.attach_volume(&request));
    }

    /// Detaches the data volume of a node: from then on it is the operator's.
    pub fn detach(&mut self, node: &str, device: &str) -> Option<String> {
        let volume = self.data_volume(node, device)?;
        let request = DetachVolume { volume_id: volume.clone(), force: true, ..DetachVolume::default() };
        self.by_hand(|cloud| cloud.detach_volume(&request)).ok()?;
        self.watch.left(&volume);
        let is_known = |it: perennial_core::record::Record| it.resources().contains(&volume);
        if !self.record(node).is_some_and(is_known) {
            // Nobody else will ever take the tags off that its launch gave it.
            let tags = self.world.0.borrow().cloud.volume(&volume).map(|it| it.tags.clone());
            let keys: Vec<_> = tags.unwrap_or_default().into_keys().map(|key| (key, None)).collect();
            let _ = self.by_hand(|cloud| cloud.delete_tags(std::slice::from_ref(&volume), &keys));
        }
        Some(volume)
    }

    /// Lets the data volumes of a node go with its instance.
    pub fn data_goes_with_it(&mut self, node: &str) {
        let Some(id) = self.instance(node) else { return };
        let held = self.world.0.borrow().cloud.instance(&id).map(|it| {
            let data = it.block_devices.iter().filter(|(device, _)| **device != it.root_device_name);
            data.map(|(device, held)| (device.clone(), held.volume_id.clone())).collect::<Vec<_>>()
        });
        let held = held.unwrap_or_default();
        let devices: Vec<(String, bool)> = held.iter().map(|(device, _)| (device.clone(), true)).collect();
        if !devices.is_empty() {
            let _ = self.by_hand(|cloud| cloud.modify_block_devices(&id, &devices));
            held.iter().for_each(|(_, volume)| self.watch.data_at_risk(volume));
        }
    }

    /// Makes the data volume of a node larger and of another type.
    pub fn grow_data(&mut self, node: &str, device: &str) {
        if let Some(id) = self.data_volume(node, device) {
            let change = ModifyVolume {
                volume_id: id,
                size: Some(9),
                volume_type: Some("gp2".to_owned()),
                ..ModifyVolume::default()
            };
            let _ = self.by_hand(|cloud| cloud.modify_volume(&change));
        }
    }

    /// Deletes the data volume that a node keeps, if it is free.
    pub fn delete_data(&mut self, node: &str, device: &str) {
        if let Some(id) = self.data_volume(node, device) {
            let _ = self.by_hand(|cloud| cloud.delete_volume(&id));
        }
    }

    /// Deletes the final snapshots of a node's data volumes.
    pub fn delete_data_finals(&mut self, node: &str) {
        let finals = self.record(node).map(|record| {
            let finals = record.data.iter().filter_map(|it| it.last.as_ref()?.snapshot_id.clone());
            finals.collect::<Vec<_>>()
        });
        for id in finals.unwrap_or_default() {
            self.watch.took(id.as_str());
            let _ = self.by_hand(|cloud| cloud.delete_snapshot(id.as_str()));
        }
    }

    /// The next attachment of a node's data volume hangs.
    pub fn hang_next_attach(&mut self, node: &str, device: &str) {
        if let Some(id) = self.data_volume(node, device) {
            let _ = self.world.0.borrow_mut().cloud.hang_next_attach(&id);
        }
    }

    /// Launches an instance of somebody else where a node's interface is.
    pub fn launch_stranger(&mut self, node: &str) -> Option<String> {
        let subnet = self.record(node)?.network?.subnet_id.to_string();
        let interface =
            InterfaceSpec { device_index: Some(0), subnet_id: Some(subnet), ..InterfaceSpec::default() };
        let request = RunInstances {
            spec: LaunchSpec {
                image_id: Some(self.defaults.image_id.clone()),
                instance_type: Some("t3.medium".to_owned()),
                interfaces: vec![interface],
                ..LaunchSpec::default()
            },
            min_count: 1,
            max_count: 1,
            client_token: Some(format!("stranger beside {node}")),
            launch_template: None,
        };
        Some(self.by_hand(|cloud| cloud.run_instances(&request)).ok()?.first()?.id.clone())
    }

    /// The zone of a node's instance.
    pub fn zone(&self, node: &str) -> Option<String> {
        let id = self.instance(node)?;
        self.world.0.borrow().cloud.instance(&id).map(|it| it.zone.clone())
    }

    /// The devices of a node's instance, with the size of the volume at each.
    pub fn devices(&self, node: &str) -> Vec<(String, u32)> {
        let Some(id) = self.instance(node) else { return Vec::new() };
        let world = self.world.0.borrow();
        let Some(instance) = world.cloud.instance(&id) else { return Vec::new() };
        let size = |id: &str| world.cloud.volume(id).map_or(0, |it| it.size);
        instance.block_devices.iter().map(|(device, held)| (device.clone(), size(&held.volume_id))).collect()
    }

    /// Accepts the newest recovery point of what is missing, or goes on without what has none.
    pub fn restore_what_is_missing(&mut self, node: &str) {
        let Some(record) = self.record(node) else { return };
        let is_missing = |it: &&perennial_core::record::DataVolume| {
            let gone = self.world.0.borrow().cloud.volume(it.volume_id.as_str()).is_none();
            gone && it.restore.is_none() && it.missing_since.is_some()
        };
        let missing = record.data.iter().find(is_missing).map(|it| it.device_name.clone());
        match missing.filter(|_| record.lost.is_none()) {
            None => self.restore_from_newest(node),
            Some(device) => {
                let before = self.world.0.borrow().config.get(&format!("node#{node}")).cloned();
                self.restore_data_from_newest(node, &device);
                let after = self.world.0.borrow().config.get(&format!("node#{node}")).cloned();
                if before == after {
                    self.keep_data(node, None);
                }
            }
        }
    }

    /// Names the newest completed snapshot of a data volume as the recovery point to accept.
    pub fn restore_data_from_newest(&mut self, node: &str, device: &str) {
        let newest = {
            let world = self.world.0.borrow();
            let record = world.records.get(node);
            let entry = record.and_then(|it| it.data.iter().find(|entry| entry.device_name == device));
            let Some(entry) = entry else { return };
            let of_line = world.cloud.snapshots().filter(|it| {
                it.state == perennial_cloud::model::SnapshotState::Completed
                    && entry.descends_from(&perennial_core::ids::VolumeId::new(&it.volume_id))
            });
            of_line.max_by_key(|it| (it.start_time, it.id.clone())).map(|it| it.id.clone())
        };
        if let Some(id) = newest {
            self.edit(node, |item| item["restoreFrom"] = json!(id));
        }
    }
}

//! What an account has besides the nodes: things of others that look like ours, and latencies.

use jiff::SignedDuration;
use perennial_cloud::model::{
    Cloud, CreateNetworkInterface, CreateVolume, Defaults, Image, Instance, InterfaceSpec, LaunchSpec,
    NetworkInterface, RegisterImage, RunInstances, Settings, Snapshot, TagSpecification, Tags, Volume,
};
use perennial_core::names::{TAG_CYCLE, TAG_DEPLOYMENT, TAG_KEY, TAG_LIFE, TAG_NODE, TAG_PURPOSE};
use serde_json::{Value, json};

use crate::run::Run;

/// The node of the stories.
pub const NODE: &str = "db";

/// The item of the stories' node.
pub fn item(run: &Run) -> Value {
    item_of(run, NODE)
}

/// The item of a node of this name.
pub fn item_of(run: &Run, node: &str) -> Value {
    json!({
        "id": format!("node#{node}"),
        "launch": {
            "template": {"id": run.defaults.launch_template_id},
            "instanceTypes": ["m5.large", "c5.large"],
            "subnets": run.defaults.subnet_ids,
        },
        "persist": {"root": {"snapshotEvery": "2m"}, "network": {}},
        "retention": {"after": "1h"},
    })
}

/// Things of others, as they were in the beginning. Nothing of it may ever change.
#[derive(Clone, Debug, Default)]
pub struct Foreign {
    volumes: Vec<Volume>,
    snapshots: Vec<Snapshot>,
    images: Vec<Image>,
    interfaces: Vec<NetworkInterface>,
    instances: Vec<Instance>,
}

/// Tags that all but name this deployment: those of another one, and none of a deployment at all.
fn look_alike(deployment: Option<&str>, purpose: &str) -> Tags {
    let tags = [
        (TAG_NODE, NODE),
        (TAG_LIFE, "another-life"),
        (TAG_CYCLE, "1"),
        (TAG_PURPOSE, purpose),
        (TAG_KEY, "another-key"),
    ];
    let tags = tags.into_iter().chain(deployment.map(|deployment| (TAG_DEPLOYMENT, deployment)));
    tags.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn tagged(resource_type: &str, tags: &Tags) -> Vec<TagSpecification> {
    vec![TagSpecification { resource_type: resource_type.to_owned(), tags: tags.clone() }]
}

/// A registration like that of the account's base image.
pub fn base_image(cloud: &Cloud, defaults: &Defaults) -> RegisterImage {
    let mut base = cloud.image(&defaults.image_id).map(|image| image.spec.clone()).unwrap_or_default();
    for ebs in base.block_devices.iter_mut().filter_map(|device| device.ebs.as_mut()) {
        // It goes without saying of what has a snapshot, and is refused if said.
        ebs.encrypted = None;
    }
    base
}

impl Foreign {
    /// Puts them into the account, and lets the events of it pass.
    pub fn seed(cloud: &mut Cloud, defaults: &Defaults) -> Self {
        let mut made = Self::default();
        for deployment in [Some("other"), None] {
            // What cannot be made leaves the account poorer, and a test of this module red.
            let _ = made.add(cloud, defaults, deployment);
        }
        cloud.pass(SignedDuration::from_mins(5));
        cloud.take_events();
        made.volumes = made.volumes.iter().filter_map(|it| cloud.volume(&it.id)).cloned().collect();
        made.snapshots = made.snapshots.iter().filter_map(|it| cloud.snapshot(&it.id)).cloned().collect();
        made.images = made.images.iter().filter_map(|it| cloud.image(&it.id)).cloned().collect();
        made.instances = made.instances.iter().filter_map(|it| cloud.instance(&it.id)).cloned().collect();
        let interfaces = made.interfaces.iter().filter_map(|it| cloud.network_interface(&it.id));
        made.interfaces = interfaces.cloned().collect();
        made
    }

    fn add(
        &mut self,
        cloud: &mut Cloud,
        defaults: &Defaults,
        deployment: Option<&str>,
    ) -> Result<(), perennial_cloud::model::ApiError> {
        let zone = cloud.settings().zones.first().cloned().unwrap_or_default();
        let volume = cloud.create_volume(&CreateVolume {
            zone,
            snapshot_id: Some(defaults.snapshot_id.clone()),
            tag_specifications: tagged("volume", &look_alike(deployment, "root")),
            ..CreateVolume::default()
        })?;
        cloud.pass(SignedDuration::from_mins(1));
        let periodic = tagged("snapshot", &look_alike(deployment, "periodic"));
        self.snapshots.push(cloud.create_snapshot(&volume.id, "of another", &periodic)?);
        cloud.pass(SignedDuration::from_mins(1));
        let last = tagged("snapshot", &look_alike(deployment, "final"));
        self.snapshots.push(cloud.create_snapshot(&volume.id, "of another", &last)?);
        self.volumes.push(volume);
        let base = base_image(cloud, defaults);
        self.images.push(cloud.register_image(&RegisterImage {
            name: format!("of-another-{}", deployment.unwrap_or("nobody")),
            tag_specifications: tagged("image", &look_alike(deployment, "image")),
            ..base
        })?);
        self.interfaces.push(cloud.create_network_interface(&CreateNetworkInterface {
            subnet_id: defaults.subnet_ids.first().cloned().unwrap_or_default(),
            tag_specifications: tagged("network-interface", &look_alike(deployment, "interface")),
            ..CreateNetworkInterface::default()
        })?);
        let subnet = defaults.subnet_ids.first().cloned();
        let launched = cloud.run_instances(&RunInstances {
            spec: LaunchSpec {
                image_id: Some(defaults.image_id.clone()),
                instance_type: Some("t3.medium".to_owned()),
                interfaces: vec![InterfaceSpec {
                    device_index: Some(0),
                    subnet_id: subnet,
                    ..InterfaceSpec::default()
                }],
                tag_specifications: tagged("instance", &look_alike(deployment, "instance")),
                ..LaunchSpec::default()
            },
            min_count: 1,
            max_count: 1,
            client_token: None,
            launch_template: None,
        })?;
        self.instances.extend(launched);
        Ok(())
    }

    /// What of it is not as it was.
    pub fn changed(&self, cloud: &Cloud) -> Option<&str> {
        let volume = self.volumes.iter().find(|it| cloud.volume(&it.id) != Some(it)).map(|it| &it.id);
        let snapshot =
            || self.snapshots.iter().find(|it| cloud.snapshot(&it.id) != Some(it)).map(|it| &it.id);
        let image = || self.images.iter().find(|it| cloud.image(&it.id) != Some(it)).map(|it| &it.id);
        let interface =
            || self.interfaces.iter().find(|it| cloud.network_interface(&it.id) != Some(it)).map(|it| &it.id);
        let instance =
            || self.instances.iter().find(|it| cloud.instance(&it.id) != Some(it)).map(|it| &it.id);
        volume.or_else(snapshot).or_else(image).or_else(interface).or_else(instance).map(String::as_str)
    }

    /// Watches another image of others.
    pub fn add_image(&mut self, image: Image) {
        self.images.push(image);
    }

    /// Whether an image is one of others.
    pub fn has_image(&self, id: &str) -> bool {
        self.images.iter().any(|image| image.id == id)
    }

    /// How many things of others there are.
    pub fn len(&self) -> usize {
        self.volumes.len()
            + self.snapshots.len()
            + self.images.len()
            + self.interfaces.len()
            + self.instances.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// An account whose latencies are drawn: snapshots that outlast several ticks, reads that lag behind.
pub fn settings(draw: &impl Fn(u64, u64) -> u64) -> Settings {
    let seconds = |what: u64, least: u64, most: u64| {
        SignedDuration::from_secs((least + draw(what, most - least + 1)) as i64)
    };
    Settings {
        boot: seconds(5, 5, 90),
        shut_down: seconds(6, 1, 120),
        release_volume: seconds(7, 1, 30),
        release_interface: seconds(8, 1, 30),
        snapshot_base: seconds(9, 2, 150),
        register_image: seconds(10, 2, 90),
        read_lag: if draw(11, 3) == 0 { seconds(12, 1, 8) } else { SignedDuration::ZERO },
        ..Settings::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::Plan;
    use crate::run::Delivery;

    #[test]
    fn the_account_is_full_of_things_that_look_like_ours() {
        let run = Run::new(1, Delivery::Faithful, Plan::None);
        assert_eq!(run.watch.foreign.len(), 12);
    }
}

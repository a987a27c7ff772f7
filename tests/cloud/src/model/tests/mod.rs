//! What a user of the account sees, told as small histories in virtual time.

mod addresses;
mod attachments;
mod create_image;
mod devices;
mod health;
mod instances;
mod interfaces;
mod modifications;
mod network;
mod snapshot_sets;
mod storage;
mod time;
mod volumes;

use jiff::{SignedDuration, Timestamp};

use super::*;

/// A furnished cloud without request limits.
pub(super) struct World {
    pub(super) cloud: Cloud,
    pub(super) ids: Defaults,
}

pub(super) fn start() -> Timestamp {
    "2026-11-20T10:00:00Z".parse().unwrap()
}

pub(super) fn world_with(settings: Settings) -> World {
    let mut cloud = Cloud::new(start(), 7, settings);
    let ids = cloud.seed_defaults();
    World { cloud, ids }
}

pub(super) fn world() -> World {
    world_with(Settings { throttling: false, ..Settings::default() })
}

#[track_caller]
pub(super) fn refused<T: std::fmt::Debug>(result: Result<T, ApiError>, code: &str) {
    assert_eq!(result.unwrap_err().code, code);
}

impl World {
    pub(super) fn pass(&mut self, seconds: i64) {
        self.cloud.pass(SignedDuration::from_secs(seconds));
    }

    /// A spot launch of the base image, root kept.
    pub(super) fn request(&self) -> RunInstances {
        let ebs = Ebs { delete_on_termination: Some(false), ..Ebs::default() };
        RunInstances {
            spec: LaunchSpec {
                image_id: Some(self.ids.image_id.clone()),
                instance_type: Some("m6i.large".to_owned()),
                block_devices: vec![BlockDeviceMapping {
                    device_name: "/dev/xvda".to_owned(),
                    ebs: Some(ebs),
                    ..BlockDeviceMapping::default()
                }],
                market: Some(MarketOptions {
                    market_type: Some("spot".to_owned()),
                    ..MarketOptions::default()
                }),
                ..LaunchSpec::default()
            },
            min_count: 1,
            max_count: 1,
            ..RunInstances::default()
        }
    }

    /// The same on an existing interface.
    pub(super) fn request_on(&self, interface: &str) -> RunInstances {
        let mut request = self.request();
        request.spec.interfaces = vec![InterfaceSpec {
            device_index: Some(0),
            network_interface_id: Some(interface.to_owned()),
            ..InterfaceSpec::default()
        }];
        request
    }

    pub(super) fn launch(&mut self, request: &RunInstances) -> Instance {
        self.cloud.run_instances(request).unwrap().remove(0)
    }

    /// Launches and waits until it runs; answers the instance and its root volume.
    pub(super) fn running(&mut self) -> (String, String) {
        let request = self.request();
        let instance = self.launch(&request);
        self.pass(12);
        (instance.id.clone(), instance.root().unwrap().volume_id.clone())
    }

    /// A new data volume in the Zone of the first subnet, `available`.
    pub(super) fn data(&mut self) -> String {
        self.volume(CreateVolume { volume_type: Some("gp3".to_owned()), ..CreateVolume::default() })
    }

    /// A new volume of 10 GiB like this, in the Zone of the first subnet, `available`.
    pub(super) fn volume(&mut self, like: CreateVolume) -> String {
        let request = CreateVolume { zone: "us-east-1a".to_owned(), size: like.size.or(Some(10)), ..like };
        let id = self.cloud.create_volume(&request).unwrap().id;
        self.pass(2);
        id
    }

    pub(super) fn attach(
        &mut self,
        volume: &str,
        instance: &str,
        device: &str,
    ) -> Result<VolumeAttachment, ApiError> {
        self.cloud.attach_volume(&AttachVolume {
            volume_id: volume.to_owned(),
            instance_id: instance.to_owned(),
            device: device.to_owned(),
        })
    }

    /// A new data volume, attached to an instance.
    pub(super) fn attached(&mut self, instance: &str, device: &str) -> String {
        let id = self.data();
        self.attach(&id, instance, device).unwrap();
        self.pass(4);
        id
    }

    pub(super) fn detach(&mut self, volume: &str) -> Result<VolumeAttachment, ApiError> {
        self.cloud.detach_volume(&DetachVolume { volume_id: volume.to_owned(), ..DetachVolume::default() })
    }

    /// States of a volume and of its attachments.
    pub(super) fn volume_state(&self, volume: &str) -> (&'static str, Vec<&'static str>) {
        let volume = self.cloud.volume(volume).unwrap();
        (volume.state.name(), volume.attachments.iter().map(|it| it.state.name()).collect())
    }

    /// States of an instance's devices.
    pub(super) fn devices(&self, instance: &str) -> Vec<(&str, &'static str)> {
        let devices = self.cloud.instance(instance).unwrap().block_devices.iter();
        devices.map(|(name, it)| (name.as_str(), it.state.name())).collect()
    }

    pub(super) fn interface(&mut self) -> NetworkInterface {
        let request = CreateNetworkInterface {
            subnet_id: self.ids.subnet_ids[0].clone(),
            groups: vec![self.ids.security_group_id.clone()],
            ..CreateNetworkInterface::default()
        };
        self.cloud.create_network_interface(&request).unwrap()
    }

    pub(super) fn snapshot(&mut self, volume: &str) -> Snapshot {
        self.cloud.create_snapshot(volume, "", &[]).unwrap()
    }

    /// A registration like that of a node image.
    pub(super) fn registration(&self, name: &str, snapshot: &str) -> RegisterImage {
        let ebs = Ebs { snapshot_id: Some(snapshot.to_owned()), ..Ebs::default() };
        RegisterImage {
            name: name.to_owned(),
            architecture: Some("x86_64".to_owned()),
            root_device_name: Some("/dev/xvda".to_owned()),
            virtualization_type: Some("hvm".to_owned()),
            block_devices: vec![BlockDeviceMapping {
                device_name: "/dev/xvda".to_owned(),
                ebs: Some(ebs),
                ..BlockDeviceMapping::default()
            }],
            ..RegisterImage::default()
        }
    }

    pub(super) fn state(&self, instance: &str) -> InstanceState {
        self.cloud.instance(instance).unwrap().state
    }

    /// Detail types and states of all events so far.
    pub(super) fn events(&mut self) -> Vec<(String, String)> {
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        self.cloud
            .take_events()
            .iter()
            .map(|event| {
                let detail = &event["detail"];
                let said =
                    ["state", "State", "result", "instance-action"].map(|key| text(&detail[key])).concat();
                (text(&event["detail-type"]), said)
            })
            .collect()
    }
}

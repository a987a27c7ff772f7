//! A little account of EC2: it answers what a look asks for and nothing else, does what a step says behind the
//! guards that the engine puts before it, and knows what is on every disk.

use std::collections::{BTreeMap, BTreeSet};

use super::super::*;
use crate::guard::{self, Verdict};
use crate::ids::Resource;
use crate::launch::{Device, LaunchRequest};
use crate::names::{TAG_PREFIX, has_key, made_for};
use crate::step::{PointRequest, SetRequest, SnapshotRequest, VolumeRequest};

/// The device of the data volume that the launch template asks for.
pub(super) const DEVICE: &str = "/dev/sdf";
/// The device of the root.
pub(super) const ROOT: &str = "/dev/xvda";

pub(super) fn names() -> Names<'static> {
    static NODE: std::sync::OnceLock<NodeName> = std::sync::OnceLock::new();
    Names { deployment: "prod", node: NODE.get_or_init(node), life: LIFE }
}

/// What there is in the account.
#[derive(Clone)]
pub(super) struct Ec2 {
    pub(super) instances: BTreeMap<InstanceId, InstanceFacts>,
    pub(super) volumes: BTreeMap<VolumeId, VolumeFacts>,
    pub(super) snapshots: BTreeMap<SnapshotId, SnapshotFacts>,
    pub(super) images: BTreeMap<ImageId, ImageFacts>,
    pub(super) interfaces: BTreeMap<InterfaceId, InterfaceFacts>,
    /// What is on a volume or in a snapshot, by its id.
    pub(super) bytes: BTreeMap<String, u64>,
    /// Volumes whose attachment does not get done.
    pub(super) hanging: BTreeSet<VolumeId>,
    /// Volumes whose snapshots fail.
    pub(super) failing: BTreeSet<VolumeId>,
    /// Whether snapshots take for ever.
    pub(super) slow: bool,
    /// Whether status checks pass.
    pub(super) healthy: bool,
    /// The block devices of the launch template.
    pub(super) devices: Vec<Device>,
    made: BTreeMap<String, VolumeId>,
    count: u32,
}

fn failed(class: Class) -> Outcome {
    Outcome::Failed(Failure::new(class, "EC2:Call", "Code", "message"))
}

impl Ec2 {
    pub(super) fn new() -> Self {
        let base = image("ami-base", ImageState::Available);
        Self {
            instances: BTreeMap::new(),
            volumes: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            images: BTreeMap::from([(base.id.clone(), base)]),
            interfaces: BTreeMap::new(),
            bytes: BTreeMap::new(),
            hanging: BTreeSet::new(),
            failing: BTreeSet::new(),
            slow: false,
            healthy: true,
            devices: vec![Device { device_name: DEVICE.into(), size_gib: Some(10), ..Device::default() }],
            made: BTreeMap::new(),
            count: 0,
        }
    }

    fn id(&mut self, prefix: &str) -> String {
        self.count += 1;
        format!("{prefix}{:03}", self.count)
    }

    /// Everything under way gets one step further.
    pub(super) fn settle(&mut self) {
        for facts in self.instances.values_mut() {
            facts.state = match facts.state {
                InstanceState::Pending => InstanceState::Running,
                InstanceState::Stopping => InstanceState::Stopped,
                state => state,
            };
            for volume in facts.volumes.iter_mut().filter(|it| !self.hanging.contains(&it.volume)) {
                volume.attaching = false;
            }
        }
        let ending: Vec<InstanceId> =
            self.instances.values().filter(|it| it.state.has_ended()).map(|it| it.id.clone()).collect();
        for id in ending {
            self.terminated(&id);
        }
        for volume in self.volumes.values_mut().filter(|it| it.state == VolumeState::Creating) {
            volume.state = VolumeState::Available;
        }
        for snapshot in self.snapshots.values_mut().filter(|it| it.state == SnapshotState::Pending) {
            if self.failing.contains(&snapshot.volume) {
                snapshot.state = SnapshotState::Error;
            } else if !self.slow {
                snapshot.state = SnapshotState::Completed;
            }
        }
        for image in self.images.values_mut().filter(|it| it.state == ImageState::Pending) {
            image.state = ImageState::Available;
        }
    }

    /// The end of an instance: it shows no volumes any more, and those that are not kept are gone.
    fn terminated(&mut self, id: &InstanceId) {
        let Some(facts) = self.instances.get_mut(id) else { return };
        facts.state = InstanceState::Terminated;
        for attached in std::mem::take(&mut facts.volumes) {
            if attached.delete_on_termination {
                self.volumes.remove(&attached.volume);
                self.bytes.remove(attached.volume.as_str());
            } else if let Some(volume) = self.volumes.get_mut(&attached.volume) {
                volume.attached_to.retain(|it| it != id);
                if volume.attached_to.is_empty() {
                    volume.state = VolumeState::Available;
                }
            }
        }
        for kept in self.interfaces.values_mut().filter(|it| it.attached_to.as_ref() == Some(id)) {
            (kept.state, kept.attached_to) = (InterfaceState::Available, None);
        }
    }

    /// What a look shows.
    pub(super) fn observe(&self, look: Look) -> Observation {
        let mut seen = Observation::default();
        let lined = look.all_of.as_ref().or(look.line_of.as_ref()).is_some();
        let all = look.all_of.is_some();
        let owned = |tags: &Tags| names().owns(tags);
        let instances = self.instances.values().filter(|it| {
            let is_token = it.client_token.is_some() && it.client_token == look.launch_token;
            look.instances.contains(&it.id) || is_token || (all && owned(&it.tags))
        });
        seen.instances.extend(instances.map(|it| (it.id.clone(), it.clone())));
        let volumes = self.volumes.values().filter(|it| {
            let is_keyed = look.volume_key.as_ref().is_some_and(|key| has_key(&it.tags, key));
            look.volumes.contains(&it.id) || is_keyed || (all && owned(&it.tags))
        });
        seen.volumes.extend(volumes.map(|it| (it.id.clone(), it.clone())));
        let interfaces = self
            .interfaces
            .values()
            .filter(|it| look.interfaces.contains(&it.id) || (all && owned(&it.tags)));
        seen.interfaces.extend(interfaces.map(|it| (it.id.clone(), it.clone())));
        let snapshots = self.snapshots.values().filter(|it| {
            look.snapshots.contains(&it.id)
                || look.snapshot_keys.iter().any(|key| has_key(&it.tags, key))
                || look.snapshots_of.contains(&it.volume)
                || (lined && owned(&it.tags))
        });
        seen.snapshots.extend(snapshots.map(|it| (it.id.clone(), it.clone())));
        let images = self.images.values().filter(|it| {
            let is_base = look.template.is_some() && it.id.as_str() == "ami-base";
            let is_named = look.image_name.as_ref() == Some(&it.name);
            look.images.contains(&it.id) || is_base || is_named || (all && owned(&it.tags))
        });
        seen.images.extend(images.map(|it| (it.id.clone(), it.clone())));
        seen.checks_passed = look.status_of.is_some() && self.healthy;
        seen.template = look.template.as_ref().map(|_| TemplateFacts {
            id: "lt-1".into(),
            version: 3,
            image: Some(ImageId::new("ami-base")),
            devices: self.devices.clone(),
            ..Default::default()
        });
        for (id, zone, cidr) in
            [("subnet-1", "us-east-1a", "10.0.1.0/24"), ("subnet-2", "us-east-1b", "10.0.2.0/24")]
        {
            let subnet =
                SubnetFacts { id: SubnetId::new(id), zone: zone.into(), cidr: cidr.parse().unwrap() };
            if look.subnets.contains(&subnet.id) {
                seen.subnets.insert(subnet.id.clone(), subnet);
            }
        }
        seen.look = look;
        seen
    }

    /// Does what a step says.
    pub(super) fn perform(&mut self, step: &Step, second: i64) -> Outcome {
        match step {
            Step::CreateInterface(_) => self.create_interface(),
            Step::Launch(request) => self.launch(request),
            Step::KeepVolumes { instance, devices } => {
                let Some(facts) = self.instances.get_mut(instance) else { return failed(Class::NotFound) };
                for it in facts.volumes.iter_mut().filter(|it| devices.contains(&it.device)) {
                    it.delete_on_termination = false;
                }
                Outcome::Done
            }
            Step::Attach { volume, instance, device } => self.attach(volume, instance, device),
            Step::CreateVolume(request) => self.create_volume(request),
            Step::Adopt { volume, tags } => {
                let Some(facts) = self.volumes.get_mut(volume) else { return failed(Class::NotFound) };
                if names().owns(&facts.tags) {
                    return Outcome::Done;
                }
                if facts.tags.keys().any(|key| key.starts_with(TAG_PREFIX)) {
                    return Outcome::NotOurs("it carries tags of another node or deployment".into());
                }
                facts.tags.extend(tags.clone());
                Outcome::Done
            }
            Step::Snapshot(PointRequest::One(request)) => self.snapshot(request, second),
            Step::Snapshot(PointRequest::Set(set)) => self.snapshots_of(set, second),
            Step::RegisterImage(request) => {
                if self.images.values().any(|it| it.name == request.name) {
                    return failed(Class::NameTaken);
                }
                let id = ImageId::new(self.id("ami-"));
                let facts = ImageFacts {
                    name: request.name.clone(),
                    root_device: request.root_device.clone(),
                    root_snapshot: Some(request.snapshot.clone()),
                    platform: request.platform.clone(),
                    tags: request.tags.clone(),
                    ..image(id.as_str(), ImageState::Pending)
                };
                self.images.insert(id.clone(), facts);
                Outcome::Image(id)
            }
            Step::Tag { resource: Resource::Volume(id), tags } => {
                let Some(facts) = self.volumes.get_mut(id) else { return Outcome::Done };
                facts.tags.extend(tags.clone());
                Outcome::Done
            }
            Step::Terminate(termination) => {
                let Some(facts) = self.instances.get_mut(&termination.instance) else { return Outcome::Done };
                match guard::instance(&names(), facts, termination) {
                    Verdict::Go => {
                        facts.state = InstanceState::ShuttingDown;
                        Outcome::Done
                    }
                    Verdict::NotYet(_) => failed(Class::NotYet),
                    Verdict::NotOurs(why) => Outcome::NotOurs(why),
                }
            }
            Step::Delete(needless) => self.delete(&needless.resource(), needless.purposes()),
            Step::Prune(id) => self.delete(&Resource::Snapshot(id.clone()), &Purpose::ROTATED),
            Step::Purge(resource) => self.delete(resource, made_for(resource)),
            Step::HandOver(resource) => self.hand_over(resource),
            other => panic!("not in this account: {other:?}"),
        }
    }

    fn create_interface(&mut self) -> Outcome {
        let id = InterfaceId::new(self.id("eni-"));
        let tags = tags(Purpose::Interface, 1, "eni");
        let facts = InterfaceFacts { tags, ..free_interface(id.as_str()) };
        self.interfaces.insert(id, facts.clone());
        Outcome::Interface(facts)
    }

    fn launch(&mut self, request: &LaunchRequest) -> Outcome {
        if let Some(found) =
            self.instances.values().find(|it| it.client_token.as_ref() == Some(&request.token))
        {
            return match found.state.has_ended() {
                true => failed(Class::TokenSpent),
                false => Outcome::Launched(Box::new(found.clone())),
            };
        }
        let Some(image) = self.images.get(&request.image_id).cloned() else { return failed(Class::NotFound) };
        let mut sources =
            request.devices.iter().filter_map(|it| it.snapshot_id.as_deref()).map(SnapshotId::new);
        if !sources.all(|it| self.snapshots.get(&it).is_some_and(|it| it.state == SnapshotState::Completed)) {
            return failed(Class::NotFound);
        }
        let id = InstanceId::new(self.id("i-"));
        if let LaunchNetwork::Kept { eni_id } = &request.network {
            let kept = self.interfaces.get_mut(eni_id).unwrap();
            (kept.state, kept.attached_to) = (InterfaceState::InUse, Some(id.clone()));
        }
        let mut attached = Vec::new();
        for device in request.devices.iter().filter(|it| !it.omit && it.virtual_name.is_none()) {
            let is_root = device.device_name == image.root_device;
            let said = device.snapshot_id.as_deref().map(SnapshotId::new);
            let source = if is_root { image.root_snapshot.clone() } else { said };
            let facts = self.blank(source, &request.zone, &request.volume_tags, device.size_gib.unwrap_or(8));
            let facts = facts.expect("a source that exists");
            attached.push(AttachedVolume {
                device: device.device_name.clone(),
                volume: facts.id.clone(),
                delete_on_termination: device.delete_on_termination.unwrap_or(true),
                attaching: false,
            });
            let facts = VolumeFacts { state: VolumeState::InUse, attached_to: vec![id.clone()], ..facts };
            self.volumes.insert(facts.id.clone(), facts);
        }
        let facts = InstanceFacts {
            id: id.clone(),
            zone: request.zone.clone(),
            image: request.image_id.clone(),
            root_device: image.root_device.clone(),
            volumes: attached,
            client_token: Some(request.token.clone()),
            tags: request.instance_tags.clone(),
            ..instance(InstanceState::Pending)
        };
        self.instances.insert(id, facts.clone());
        Outcome::Launched(Box::new(facts))
    }

    /// A new volume, of a snapshot's bytes if it is made from one; `None` if that does not exist.
    fn blank(
        &mut self,
        source: Option<SnapshotId>,
        zone: &str,
        tags: &Tags,
        size_gib: i32,
    ) -> Option<VolumeFacts> {
        let bytes = match source.as_ref().filter(|it| it.as_str() != "snap-base") {
            None => 0,
            Some(id) => {
                let found = self.snapshots.get(id).filter(|it| it.state == SnapshotState::Completed)?;
                *self.bytes.get(found.id.as_str())?
            }
        };
        let id = VolumeId::new(self.id("vol-"));
        self.bytes.insert(id.to_string(), bytes);
        let shape = VolumeShape { size_gib, volume_type: "gp3".into(), ..VolumeShape::default() };
        let zone = zone.to_owned();
        Some(VolumeFacts { id, source, shape, zone, tags: tags.clone(), ..volume(VolumeState::Creating) })
    }

    fn attach(&mut self, volume: &VolumeId, instance: &InstanceId, device: &str) -> Outcome {
        let Some(facts) = self.instances.get_mut(instance).filter(|it| !it.state.has_ended()) else {
            return failed(Class::NotYet);
        };
        let Some(disk) = self.volumes.get_mut(volume) else { return failed(Class::NotFound) };
        if disk.state != VolumeState::Available {
            return failed(Class::NotYet);
        }
        assert_eq!(disk.zone, facts.zone, "{volume} cannot be attached in another zone");
        if facts.volumes.iter().any(|it| it.device == device) {
            return failed(Class::Terminal);
        }
        (disk.state, disk.attached_to) = (VolumeState::InUse, vec![instance.clone()]);
        let device = device.to_owned();
        let volume = volume.clone();
        facts.volumes.push(AttachedVolume { device, volume, delete_on_termination: false, attaching: true });
        Outcome::Done
    }

    fn create_volume(&mut self, request: &VolumeRequest) -> Outcome {
        if let Some(made) = self.made.get(&request.token) {
            return match self.volumes.get(made) {
                Some(facts) => Outcome::Volume(facts.clone()),
                None => failed(Class::TokenSpent),
            };
        }
        let source = Some(request.snapshot.clone());
        let Some(facts) = self.blank(source, &request.zone, &request.tags, request.shape.size_gib) else {
            return failed(Class::NotFound);
        };
        self.made.insert(request.token.clone(), facts.id.clone());
        self.volumes.insert(facts.id.clone(), facts.clone());
        Outcome::Volume(facts)
    }

    fn snapshots_of(&mut self, set: &SetRequest, second: i64) -> Outcome {
        let one = |volume: &VolumeId| SnapshotRequest {
            volume: volume.clone(),
            purpose: set.purpose,
            key: set.key.clone(),
            tags: set.tags.clone(),
            description: set.description.clone(),
        };
        let taken = set.volumes.iter().map(|volume| self.snapshot(&one(volume), second));
        let taken = taken.filter_map(|outcome| match outcome {
            Outcome::Snapshots(facts) => Some(facts),
            _ => None,
        });
        Outcome::Snapshots(taken.flatten().collect())
    }

    fn snapshot(&mut self, request: &SnapshotRequest, second: i64) -> Outcome {
        if !self.volumes.contains_key(&request.volume) {
            return failed(Class::NotFound);
        }
        let id = SnapshotId::new(self.id("snap-"));
        self.bytes.insert(id.to_string(), self.bytes[request.volume.as_str()]);
        let facts = SnapshotFacts {
            volume: request.volume.clone(),
            ..snapshot(id.as_str(), SnapshotState::Pending, second, request.tags.clone())
        };
        self.snapshots.insert(id, facts.clone());
        Outcome::Snapshots(vec![facts])
    }

    fn delete(&mut self, resource: &Resource, purposes: &[Purpose]) -> Outcome {
        let names = names();
        let verdict = match resource {
            Resource::Volume(id) => self.volumes.get(id).map(|it| guard::volume(&names, it, purposes)),
            Resource::Snapshot(id) => self.snapshots.get(id).map(|it| guard::snapshot(&names, it, purposes)),
            Resource::Image(id) => self.images.get(id).map(|it| guard::image(&names, it, purposes)),
            Resource::Interface(id) => {
                self.interfaces.get(id).map(|it| guard::interface(&names, it, purposes))
            }
            Resource::Instance(_) => None,
        };
        match verdict {
            None => return Outcome::Done,
            Some(Verdict::NotYet(_)) => return failed(Class::NotYet),
            Some(Verdict::NotOurs(why)) => return Outcome::NotOurs(why),
            Some(Verdict::Go) => {}
        }
        match resource {
            Resource::Volume(id) => drop(self.volumes.remove(id)),
            Resource::Snapshot(id) => {
                if self.images.values().any(|it| it.root_snapshot.as_ref() == Some(id)) {
                    return failed(Class::NotYet);
                }
                self.snapshots.remove(id);
            }
            Resource::Image(id) => drop(self.images.remove(id)),
            Resource::Interface(id) => drop(self.interfaces.remove(id)),
            Resource::Instance(_) => {}
        }
        Outcome::Done
    }

    fn hand_over(&mut self, resource: &Resource) -> Outcome {
        let tags = match resource {
            Resource::Volume(id) => self.volumes.get_mut(id).map(|it| &mut it.tags),
            Resource::Snapshot(id) => self.snapshots.get_mut(id).map(|it| &mut it.tags),
            Resource::Image(id) => self.images.get_mut(id).map(|it| &mut it.tags),
            Resource::Interface(id) => self.interfaces.get_mut(id).map(|it| &mut it.tags),
            Resource::Instance(id) => self.instances.get_mut(id).map(|it| &mut it.tags),
        };
        let Some(tags) = tags else { return failed(Class::NotFound) };
        if names().owns(tags) {
            tags.retain(|key, _| !key.starts_with(TAG_PREFIX));
        }
        Outcome::Done
    }

    // What a person does.

    /// A volume of the operator's own, made and attached by hand to the instance that lives; its id.
    pub(super) fn attach_by_hand(&mut self, device: &str, tags: Tags) -> VolumeId {
        let id = self.living().id.clone();
        let zone = self.living().zone.clone();
        let facts = self.blank(None, &zone, &tags, 5).unwrap();
        let (volume, device) = (facts.id.clone(), device.to_owned());
        let facts = VolumeFacts { state: VolumeState::InUse, attached_to: vec![id.clone()], ..facts };
        self.volumes.insert(volume.clone(), facts);
        let attached =
            AttachedVolume { device, volume: volume.clone(), delete_on_termination: false, attaching: false };
        self.instances.get_mut(&id).unwrap().volumes.push(attached);
        volume
    }

    pub(super) fn detach_by_hand(&mut self, volume: &VolumeId) {
        for facts in self.instances.values_mut() {
            facts.volumes.retain(|it| it.volume != *volume);
        }
        if let Some(facts) = self.volumes.get_mut(volume) {
            (facts.state, facts.attached_to) = (VolumeState::Available, Vec::new());
        }
    }

    pub(super) fn living(&self) -> &InstanceFacts {
        self.instances.values().find(|it| !it.state.has_ended()).expect("no instance lives")
    }

    pub(super) fn living_mut(&mut self) -> &mut InstanceFacts {
        self.instances.values_mut().find(|it| !it.state.has_ended()).expect("no instance lives")
    }

    /// The instance that was ended last.
    pub(super) fn last_mut(&mut self) -> &mut InstanceFacts {
        self.instances.values_mut().next_back().expect("no instance")
    }
}

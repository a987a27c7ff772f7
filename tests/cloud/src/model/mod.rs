//! The cloud's memory and physics: what EC2, EBS and spot do, in virtual time.
//!
//! The model is a plain value: no I/O, no threads, no real clock, no randomness but from the seed, so that a history
//! replays exactly and a simulation may clone it. It decides how AWS would answer a call and what happens by itself
//! later; it must never know who calls, over which wire, or why. Every byte a guest writes is counted, so that a test
//! can prove that none was lost.
//!
//! Time moves only in [`Cloud::advance`]; whatever falls due in between happens at its own time and in order.

mod addresses;
mod attachments;
mod catalog;
mod create_image;
mod defaults;
mod error;
mod events;
mod filter;
mod health;
mod ids;
mod images;
mod instances;
mod interfaces;
mod ipv6;
mod launch;
mod launch_devices;
mod launch_spec;
mod lifecycle;
mod modifications;
mod network;
mod placement;
mod private_addresses;
mod settings;
mod snapshot_sets;
mod snapshots;
mod tags;
mod templates;
mod throttle;
mod volumes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

pub use addresses::{AssociateAddress, Association, ElasticIp};
pub use attachments::{AttachVolume, AttachmentState, DetachVolume, VolumeAttachment};
pub use catalog::{ARM64, InstanceType, TYPES, X86_64, addresses_per_interface, instance_type};
pub use create_image::CreateImage;
pub use defaults::Defaults;
pub use error::{ApiError, Kind};
pub use filter::{Describe, Filter, Page};
pub use health::InstanceStatus;
pub use images::{Deregistered, Image, ImageState, RegisterImage};
pub use instances::{BlockDevice, Instance, InstanceInterface, InstanceState, StateChange, WriteTarget};
pub use interfaces::{
    CreateNetworkInterface, InterfaceAttachment, InterfaceChange, InterfaceState, NetworkInterface,
};
pub use launch_spec::{
    BlockDeviceMapping, Ebs, InstanceProfile, InterfaceSpec, LaunchSpec, Market, MarketOptions, RunInstances,
    TemplateRef,
};
pub use modifications::{ModificationState, ModifyVolume, VolumeModification, VolumeShape};
pub use network::{SecurityGroup, Subnet, Vpc};
pub use private_addresses::{AssignPrivateIpAddresses, PrivateIp};
pub use settings::{Quota, Settings};
pub use snapshot_sets::CreateSnapshots;
pub use snapshots::{Snapshot, SnapshotState};
pub use tags::{TagSpecification, Tags};
pub use templates::{CreateLaunchTemplate, LaunchTemplate, TemplateVersion, Versions};
pub use volumes::{Contents, CreateVolume, Volume, VolumeState};

pub(crate) use filter::cut;

/// What is billed for an operating system, carried from image to volume to snapshot to image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Billing {
    /// For example `Linux/UNIX`.
    pub platform_details: String,
    /// For example `RunInstances:0002`.
    pub usage_operation: String,
}

impl Billing {
    /// Plain Linux.
    pub fn linux() -> Billing {
        Billing { platform_details: "Linux/UNIX".to_owned(), usage_operation: "RunInstances".to_owned() }
    }
}

/// Something that happens by itself at its time.
#[derive(Clone, Debug)]
pub(crate) enum Due {
    /// A start is complete; the number tells whether the instance moved on since this was planned.
    Running(String, u32),
    /// A shutdown is complete.
    Terminated(String, u32),
    /// A stop is complete.
    Stopped(String, u32),
    /// EC2 takes a spot instance back.
    Reclaim(String),
    /// A volume is let go by the instance that terminated.
    ReleaseVolume(String, String),
    /// A volume is attached; the number tells which attachment is meant.
    Attached(String, u64),
    /// A volume is detached.
    Detached(String, u64),
    /// A modification of a volume is in force.
    Modified(String),
    /// A modification of a volume is complete.
    Optimized(String),
    /// A terminated instance's network interface is let go.
    ReleaseInterface(String),
    /// A terminated instance can no longer be described.
    Forget(String),
    /// A snapshot has copied everything.
    SnapshotDone(String),
    /// An image can be launched.
    ImageDone(String),
    /// A volume can be attached.
    VolumeReady(String),
}

/// What a client token was used for.
#[derive(Clone, Debug)]
pub(crate) enum Remembered {
    Run(Arc<RunInstances>, Vec<String>),
    Volume(Arc<CreateVolume>, String),
    Interface(Arc<CreateNetworkInterface>, String),
    Template(Arc<CreateLaunchTemplate>, String),
}

/// One account in one Region.
#[derive(Clone, Debug)]
pub struct Cloud {
    pub(crate) settings: Arc<Settings>,
    pub(crate) now: Timestamp,
    pub(crate) ids: ids::Ids,
    planned: u64,
    agenda: BTreeMap<(Timestamp, u64), Due>,
    events: Vec<events::Emitted>,
    throttle: throttle::Throttle,
    pub(crate) instances: BTreeMap<String, Instance>,
    pub(crate) volumes: BTreeMap<String, Volume>,
    /// How many attachments of volumes there ever were.
    attached_ever: u64,
    /// Volumes whose next attachment hangs.
    hanging: BTreeSet<String>,
    /// Images whose instances never come up.
    spoiled: BTreeSet<String>,
    /// The newest modification of each volume, by volume.
    pub(crate) modifications: BTreeMap<String, VolumeModification>,
    pub(crate) snapshots: BTreeMap<String, Snapshot>,
    /// CreateSnapshots calls not all ended, by the id of their first snapshot.
    snapshot_sets: BTreeMap<String, snapshot_sets::SnapshotSet>,
    pub(crate) images: BTreeMap<String, Image>,
    pub(crate) interfaces: BTreeMap<String, NetworkInterface>,
    /// Elastic IP addresses.
    pub(crate) addresses: BTreeMap<String, ElasticIp>,
    /// How many public addresses were ever given out.
    public_drawn: u32,
    pub(crate) subnets: BTreeMap<String, Subnet>,
    pub(crate) vpcs: BTreeMap<String, Vpc>,
    pub(crate) groups: BTreeMap<String, SecurityGroup>,
    pub(crate) templates: BTreeMap<String, LaunchTemplate>,
    capacity: BTreeMap<Market, BTreeMap<(String, String), u32>>,
    /// By action and token.
    tokens: BTreeMap<(&'static str, String), Remembered>,
    deregistered: BTreeSet<String>,
}

/// Whether something made at `made` is visible at `now` under a read lag.
pub(crate) fn seen(made: Timestamp, now: Timestamp, lag: SignedDuration) -> bool {
    now.duration_since(made) >= lag
}

impl Cloud {
    /// An empty account at `start`. The same seed and calls give the same ids and answers.
    pub fn new(start: Timestamp, seed: u64, settings: Settings) -> Cloud {
        Cloud {
            settings: Arc::new(settings),
            now: start,
            ids: ids::Ids::new(seed),
            planned: 0,
            agenda: BTreeMap::new(),
            events: Vec::new(),
            throttle: throttle::Throttle::default(),
            instances: BTreeMap::new(),
            volumes: BTreeMap::new(),
            attached_ever: 0,
            hanging: BTreeSet::new(),
            spoiled: BTreeSet::new(),
            modifications: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            snapshot_sets: BTreeMap::new(),
            images: BTreeMap::new(),
            interfaces: BTreeMap::new(),
            addresses: BTreeMap::new(),
            public_drawn: 0,
            subnets: BTreeMap::new(),
            vpcs: BTreeMap::new(),
            groups: BTreeMap::new(),
            templates: BTreeMap::new(),
            capacity: BTreeMap::new(),
            tokens: BTreeMap::new(),
            deregistered: BTreeSet::new(),
        }
    }

    /// The cloud's time.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The settings it was made with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// When something happens by itself next.
    pub fn next_change(&self) -> Option<Timestamp> {
        self.agenda.first_key_value().map(|((at, _), _)| *at)
    }

    /// Moves time to `to`, applying everything due on the way in time order; a time in the past changes nothing.
    pub fn advance(&mut self, to: Timestamp) {
        while let Some(entry) = self.agenda.first_entry() {
            let at = entry.key().0;
            if at > to {
                break;
            }
            let due = entry.remove();
            self.now = self.now.max(at);
            self.apply(due);
        }
        self.now = self.now.max(to);
    }

    /// Moves time on by `duration`.
    pub fn pass(&mut self, duration: SignedDuration) {
        self.advance(self.after(duration));
    }

    fn apply(&mut self, due: Due) {
        match due {
            Due::Running(id, epoch) => self.finish_start(&id, epoch),
            Due::Terminated(id, epoch) => self.finish_shutdown(&id, epoch),
            Due::Stopped(id, epoch) => self.finish_stop(&id, epoch),
            Due::Reclaim(id) => self.reclaim(&id),
            Due::ReleaseVolume(id, instance) => self.release_volume(&id, &instance),
            Due::Attached(id, serial) => self.finish_attach(&id, serial),
            Due::Detached(id, serial) => self.finish_detach(&id, serial),
            Due::Modified(id) => self.finish_modifying(&id),
            Due::Optimized(id) => self.finish_optimizing(&id),
            Due::ReleaseInterface(id) => self.release_interface(&id),
            Due::Forget(id) => {
                self.instances.remove(&id);
            }
            Due::SnapshotDone(id) => self.finish_snapshot(&id),
            Due::ImageDone(id) => self.finish_image(&id),
            Due::VolumeReady(id) => self.finish_volume(&id),
        }
    }

    /// `now + duration`; at the end of time it stays there.
    pub(crate) fn after(&self, duration: SignedDuration) -> Timestamp {
        self.now.checked_add(duration).unwrap_or(Timestamp::MAX)
    }

    /// Plans `due` after `duration`.
    pub(crate) fn plan(&mut self, duration: SignedDuration, due: Due) {
        self.planned += 1;
        self.agenda.insert((self.after(duration), self.planned), due);
    }

    pub(crate) fn sees(&self, made: Timestamp) -> bool {
        seen(made, self.now, self.settings.read_lag)
    }

    /// All instances, terminated ones of the last hour included.
    pub fn instances(&self) -> impl Iterator<Item = &Instance> {
        self.instances.values()
    }

    /// Instances that run, will run or still hold their volumes: neither terminated nor shutting down.
    pub fn live_instances(&self) -> impl Iterator<Item = &Instance> {
        self.instances
            .values()
            .filter(|it| !matches!(it.state, InstanceState::Terminated | InstanceState::ShuttingDown))
    }

    /// One instance, whatever the read lag.
    pub fn instance(&self, id: &str) -> Option<&Instance> {
        self.instances.get(id)
    }

    /// All volumes.
    pub fn volumes(&self) -> impl Iterator<Item = &Volume> {
        self.volumes.values()
    }

    /// One volume, whatever the read lag.
    pub fn volume(&self, id: &str) -> Option<&Volume> {
        self.volumes.get(id)
    }

    /// All snapshots.
    pub fn snapshots(&self) -> impl Iterator<Item = &Snapshot> {
        self.snapshots.values()
    }

    /// One snapshot, whatever the read lag.
    pub fn snapshot(&self, id: &str) -> Option<&Snapshot> {
        self.snapshots.get(id)
    }

    /// All images that are registered.
    pub fn images(&self) -> impl Iterator<Item = &Image> {
        self.images.values()
    }

    /// One image, whatever the read lag.
    pub fn image(&self, id: &str) -> Option<&Image> {
        self.images.get(id)
    }

    /// All network interfaces.
    pub fn network_interfaces(&self) -> impl Iterator<Item = &NetworkInterface> {
        self.interfaces.values()
    }

    /// One network interface, whatever the read lag.
    pub fn network_interface(&self, id: &str) -> Option<&NetworkInterface> {
        self.interfaces.get(id)
    }

    /// One security group, whatever the read lag.
    pub fn security_group(&self, id: &str) -> Option<&SecurityGroup> {
        self.groups.get(id)
    }

    /// All launch templates.
    pub fn launch_templates(&self) -> impl Iterator<Item = &LaunchTemplate> {
        self.templates.values()
    }
}

#[cfg(test)]
mod tests;

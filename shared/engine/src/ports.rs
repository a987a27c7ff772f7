//! What the engine needs of the world, in our words.
//!
//! Cut by use; no type of any SDK appears here. Every call that can fail answers with a
//! [`Failure`] whose class says what to do; adapters never decide.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use jiff::{SignedDuration, Timestamp};
use perennial_core::config::settings::AcceptedSettings;
use perennial_core::config::{Status, TemplateSpec};
use perennial_core::failure::Failure;
use perennial_core::group::GroupRecord;
use perennial_core::ids::{
    AllocationId, GroupName, ImageId, InstanceId, InterfaceId, NodeName, Resource, SnapshotId, SubnetId,
    VolumeId,
};
use perennial_core::journal::{Entry, OwnEvent};
use perennial_core::launch::{LaunchRequest, TemplateFacts};
use perennial_core::names::{Tagged, Tags};
use perennial_core::observation::{
    AddressFacts, ImageFacts, InstanceFacts, InterfaceFacts, SnapshotFacts, SubnetFacts, VolumeFacts,
};
use perennial_core::orphans::Orphans;
use perennial_core::record::{Record, Standing, Steady, Stored};
use perennial_core::step::{
    BackupRequest, ImageRequest, InterfaceRequest, SetRequest, SnapshotRequest, VolumeRequest,
};
use serde_json::Value;

/// What a call to the world answers.
pub type Reply<T> = Result<T, Failure>;

/// EC2 and EBS.
///
/// Reads by id leave out what they do not find: absence is an answer, not an error, and no proof. All
/// reads go through every page. Reads by tag or key are an optimisation: callers check owner and source.
#[expect(async_fn_in_trait, reason = "one invocation is one thread: its futures need not be Send")]
pub trait Ec2 {
    /// Instances by id.
    async fn instances(&self, ids: &[InstanceId]) -> Reply<Vec<InstanceFacts>>;
    /// Instances by the client token of their launch, ended ones included.
    async fn instances_by_token(&self, token: &str) -> Reply<Vec<InstanceFacts>>;
    /// Instances by their tags, ended ones included.
    async fn instances_tagged(&self, tagged: &Tagged<'_>) -> Reply<Vec<InstanceFacts>>;
    /// Those of these instances whose status checks have both passed.
    async fn checks_passed(&self, ids: &[InstanceId]) -> Reply<BTreeSet<InstanceId>>;
    /// Volumes by id.
    async fn volumes(&self, ids: &[VolumeId]) -> Reply<Vec<VolumeFacts>>;
    /// Volumes by their tags.
    async fn volumes_tagged(&self, tagged: &Tagged<'_>) -> Reply<Vec<VolumeFacts>>;
    /// Interfaces by id.
    async fn interfaces(&self, ids: &[InterfaceId]) -> Reply<Vec<InterfaceFacts>>;
    /// Interfaces, whosesoever, that have one of these private addresses.
    async fn interfaces_with(&self, addresses: &[Ipv4Addr]) -> Reply<Vec<InterfaceFacts>>;
    /// Elastic IP addresses by allocation.
    async fn elastic_ips(&self, ids: &[AllocationId]) -> Reply<Vec<AddressFacts>>;
    /// Interfaces by their tags.
    async fn interfaces_tagged(&self, tagged: &Tagged<'_>) -> Reply<Vec<InterfaceFacts>>;
    /// Own snapshots by id.
    async fn snapshots(&self, ids: &[SnapshotId]) -> Reply<Vec<SnapshotFacts>>;
    /// Own snapshots by their tags.
    async fn snapshots_tagged(&self, tagged: &Tagged<'_>) -> Reply<Vec<SnapshotFacts>>;
    /// Own snapshots of these volumes.
    async fn snapshots_of(&self, volumes: &[VolumeId]) -> Reply<Vec<SnapshotFacts>>;
    /// Images by id, own or shared.
    async fn images(&self, ids: &[ImageId]) -> Reply<Vec<ImageFacts>>;
    /// Own images by name.
    async fn images_by_name(&self, name: &str) -> Reply<Vec<ImageFacts>>;
    /// Own images by their tags.
    async fn images_tagged(&self, tagged: &Tagged<'_>) -> Reply<Vec<ImageFacts>>;
    /// Subnets by id.
    async fn subnets(&self, ids: &[SubnetId]) -> Reply<Vec<SubnetFacts>>;
    /// A version of a launch template; `None` if either does not exist.
    async fn template(&self, spec: &TemplateSpec) -> Reply<Option<TemplateFacts>>;

    /// Launches one instance; the same token never launches a second one.
    async fn launch(&self, request: &LaunchRequest) -> Reply<InstanceFacts>;
    /// Terminates an instance.
    async fn terminate(&self, id: &InstanceId) -> Reply<()>;
    /// Sets `DeleteOnTermination=false` on devices of an instance.
    async fn keep_volumes(&self, instance: &InstanceId, devices: &[String]) -> Reply<()>;
    /// Sets `DeleteOnTermination=false` on the attachment of an interface.
    async fn keep_interface(&self, interface: &InterfaceId, attachment: &str) -> Reply<()>;
    /// Sets the security groups of an interface.
    async fn set_groups(&self, interface: &InterfaceId, groups: &[String]) -> Reply<()>;
    /// Adds tags to a resource, or changes their values.
    async fn tag(&self, resource: &Resource, tags: &Tags) -> Reply<()>;
    /// Takes tags off a resource, by their keys.
    async fn untag(&self, resource: &Resource, keys: &[String]) -> Reply<()>;
    /// Makes an interface; the same token never makes a second one.
    async fn create_interface(&self, request: &InterfaceRequest) -> Reply<InterfaceFacts>;
    /// Associates an Elastic IP address with a private address; never takes it from another interface.
    async fn associate(&self, address: &AllocationId, interface: &InterfaceId, to: Ipv4Addr) -> Reply<()>;
    /// Ends an association of an Elastic IP address.
    async fn disassociate(&self, association: &str) -> Reply<()>;
    /// Makes a volume from a snapshot; the same token never makes a second one.
    async fn create_volume(&self, request: &VolumeRequest) -> Reply<VolumeFacts>;
    /// Attaches a volume to an instance.
    async fn attach_volume(&self, volume: &VolumeId, instance: &InstanceId, device: &str) -> Reply<()>;
    /// Takes a snapshot.
    async fn create_snapshot(&self, request: &SnapshotRequest) -> Reply<SnapshotFacts>;
    /// Takes snapshots of volumes of one instance at one moment: of all of them, or of none.
    async fn create_snapshots(&self, request: &SetRequest) -> Reply<Vec<SnapshotFacts>>;
    /// Registers an image; its name is unique.
    async fn register_image(&self, request: &ImageRequest) -> Reply<ImageId>;
    /// Makes an image of a running instance without a reboot; its name is unique.
    async fn create_image(&self, request: &BackupRequest) -> Reply<ImageId>;
    /// Deletes a volume.
    async fn delete_volume(&self, id: &VolumeId) -> Reply<()>;
    /// Deregisters an image and leaves its snapshots.
    async fn deregister_image(&self, id: &ImageId) -> Reply<()>;
    /// Deregisters an image, and has EC2 delete every snapshot that no other image stands on.
    async fn deregister_with_snapshots(&self, id: &ImageId) -> Reply<()>;
    /// Deletes a snapshot.
    async fn delete_snapshot(&self, id: &SnapshotId) -> Reply<()>;
    /// Deletes an interface.
    async fn delete_interface(&self, id: &InterfaceId) -> Reply<()>;
}

/// One write of a node: record, pointers and journal together, or nothing.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The record as it is to be; its `generation` is the new one.
    pub record: Record,
    /// What it replaces; `None` if there must be no record yet.
    pub expected: Option<Base>,
    /// Ids by which events find the node from now on.
    pub point: Vec<String>,
    /// Ids by which they no longer do.
    pub unpoint: Vec<String>,
    /// What goes into the journal.
    pub entries: Vec<Entry>,
}

/// The record that a write replaces: whoever finds another one wrote too late.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// Its generation.
    pub generation: u64,
    /// Its life: a name that is used again begins a new one.
    pub life: String,
}

/// What became of a [`Commit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is written.
    Done,
    /// Somebody else wrote first; nothing of it is written.
    Conflict,
}

/// A node as the work index has it; eventually consistent.
#[derive(Clone, Debug, PartialEq)]
pub struct Indexed {
    /// The node.
    pub node: NodeName,
    /// When it is to be looked at; `None` if it waits for nothing.
    pub at: Option<Timestamp>,
    /// What the passes need of it, if it runs.
    pub steady: Option<Steady>,
    /// What the figures need of it; `None` if it runs and waits for nothing, or if its record was last written by
    /// a version that did not tell.
    pub standing: Option<Standing>,
}

/// The two tables.
#[expect(async_fn_in_trait, reason = "one invocation is one thread: its futures need not be Send")]
pub trait Store {
    /// The record of a node; strongly consistent.
    async fn load(&self, node: &NodeName) -> Reply<Option<Stored>>;
    /// The node that a resource belongs to; strongly consistent, one read.
    async fn owner(&self, resource: &str) -> Reply<Option<NodeName>>;
    /// Writes a node, if nobody did since it was read.
    async fn commit(&self, commit: &Commit) -> Reply<Written>;
    /// Every node that is not gone, from the work index, the longest due first.
    async fn nodes(&self) -> Reply<Vec<Indexed>>;
    /// All running nodes, from the projection of the work index; eventually consistent.
    async fn steady(&self) -> Reply<Vec<Steady>>;
    /// A config item; strongly consistent.
    async fn config_item(&self, id: &str) -> Reply<Option<Value>>;
    /// All config items, through every page.
    async fn config_items(&self) -> Reply<Vec<Value>>;
    /// The settings in force; `None` if there never were any.
    async fn settings(&self) -> Reply<Option<AcceptedSettings>>;
    /// Puts settings in force, if nobody did since those of this generation (0 for none) were read.
    async fn write_settings(&self, settings: &AcceptedSettings, expected: u64) -> Reply<Written>;
    /// The record of a group; strongly consistent.
    async fn group(&self, group: &GroupName) -> Reply<Option<GroupRecord>>;
    /// The records of all groups: which there are is eventually consistent, what they say strongly.
    async fn groups(&self) -> Reply<Vec<GroupRecord>>;
    /// The records of those groups that have image backups, or are to have them; which these are is eventually
    /// consistent.
    async fn groups_with_backups(&self) -> Reply<Vec<GroupRecord>>;
    /// Writes a group, if nobody did since that of this generation (0 for none) was read.
    async fn write_group(&self, record: &GroupRecord, expected: u64) -> Reply<Written>;
    /// Puts the item of a new member into the config table, unless one of its id is there.
    async fn put_member(&self, item: &Value) -> Reply<Written>;
    /// What the orphan pass remembers; `None` if it never ran.
    async fn orphans(&self) -> Reply<Option<Orphans>>;
    /// Remembers it, if nobody did since that of this generation (0 for none) was read.
    async fn write_orphans(&self, orphans: &Orphans, expected: u64) -> Reply<Written>;
    /// Answers an edit: writes `_status` alone, only while the item still says what was judged.
    async fn write_status(&self, id: &str, judged: &Value, status: &Status) -> Reply<Written>;
}

/// The bus on which own events go out.
#[expect(async_fn_in_trait, reason = "one invocation is one thread: its futures need not be Send")]
pub trait Bus {
    /// Publishes events; on failure any part of them may have been published.
    async fn publish(&self, events: &[OwnEvent]) -> Reply<()>;
}

/// Time, and how much of it this invocation has.
#[expect(async_fn_in_trait, reason = "one invocation is one thread: its futures need not be Send")]
pub trait Clock {
    /// The time that decisions use.
    fn now(&self) -> Timestamp;
    /// When this invocation will be cut off, on the same clock.
    fn deadline(&self) -> Timestamp;
    /// The longest that one call to AWS may take, retries included, on the same clock.
    fn call_timeout(&self) -> SignedDuration;
    /// Lets time pass within this invocation, between two polls.
    async fn pause(&self, how_long: SignedDuration);
}

//! What AWS says now, in our words: the facts a decision may use.
//!
//! Facts are what one read showed at one moment. Absence is not proof: `None` under a key that was looked
//! for means "this read did not show it".

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::Ipv4Net;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::backup::GroupImage;
use crate::config::TemplateSpec;
use crate::ids::{
    AllocationId, GroupName, ImageId, InstanceId, InterfaceId, NodeName, SnapshotId, SubnetId, VolumeId,
};
use crate::launch::TemplateFacts;
use crate::names::Tags;

/// The state of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InstanceState {
    /// Being prepared.
    Pending,
    /// The guest runs.
    Running,
    /// Being stopped.
    Stopping,
    /// Stopped; can be started again.
    Stopped,
    /// Being terminated.
    ShuttingDown,
    /// Gone, still shown for about an hour.
    Terminated,
}

impl InstanceState {
    /// Whether the guest will never run again on it.
    pub fn has_ended(self) -> bool {
        matches!(self, Self::ShuttingDown | Self::Terminated)
    }
}

/// A volume as an instance shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachedVolume {
    /// Device name, as in `/dev/xvda`.
    pub device: String,
    /// The volume.
    pub volume: VolumeId,
    /// Whether EC2 deletes it with the instance.
    pub delete_on_termination: bool,
    /// Whether it is still being attached: the guest does not see it yet.
    pub attaching: bool,
}

/// A network interface as an instance shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachedInterface {
    /// The interface.
    pub interface: InterfaceId,
    /// Its position; 0 is the primary one.
    pub device_index: i32,
    /// The id of the attachment, which changing it needs.
    pub attachment: Option<String>,
    /// The public address associated with it.
    pub public_ip: Option<Ipv4Addr>,
    /// Whether EC2 deletes it with the instance.
    pub delete_on_termination: bool,
}

/// An instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceFacts {
    /// Its id.
    pub id: InstanceId,
    /// Its state.
    pub state: InstanceState,
    /// Why it is in that state, as `Code: message`; empty while all is well.
    pub state_reason: String,
    /// Its type.
    pub instance_type: String,
    /// Whether it is a spot instance.
    pub spot: bool,
    /// Its Availability Zone.
    pub zone: String,
    /// Its primary subnet, if it still has one.
    pub subnet: Option<SubnetId>,
    /// Its primary private address.
    pub private_ip: Option<Ipv4Addr>,
    /// The image it was launched from.
    pub image: ImageId,
    /// When it was launched.
    pub launched_at: Option<Timestamp>,
    /// Device name of its root.
    pub root_device: String,
    /// Whether its root is an EBS volume.
    pub ebs_root: bool,
    /// Its volumes; a terminated instance shows none.
    pub volumes: Vec<AttachedVolume>,
    /// Its interfaces; a terminated instance shows none.
    pub interfaces: Vec<AttachedInterface>,
    /// The client token of its launch.
    pub client_token: Option<String>,
    /// Its tags.
    pub tags: Tags,
    /// What an image of it must say about itself.
    pub platform: Platform,
}

/// What an image must say about itself so that its instances boot and are billed as before.
/// Recorded while the instance lives: afterwards EC2 no longer tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Platform {
    /// `x86_64`, `arm64` …
    pub architecture: String,
    /// `hvm` or `paravirtual`.
    pub virtualization: String,
    /// `legacy-bios`, `uefi` or `uefi-preferred`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_mode: Option<String>,
    /// Whether enhanced networking (ENA) is on.
    pub ena: bool,
    /// `simple`, if SR-IOV networking is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sriov_net: Option<String>,
    /// `v2.0`, if a TPM is emulated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tpm: Option<String>,
    /// `v2.0`, if the image asks for IMDSv2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imds: Option<String>,
    /// Kernel of a paravirtual instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// RAM disk of a paravirtual instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ramdisk: Option<String>,
    /// The billing code, as `RunInstances:0002`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage_operation: Option<String>,
}

/// The state of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumeState {
    /// Being made.
    Creating,
    /// Attached to nothing.
    Available,
    /// Attached.
    InUse,
    /// Being deleted, or deleted.
    Deleting,
    /// Lost by AWS.
    Error,
}

/// A volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeFacts {
    /// Its id.
    pub id: VolumeId,
    /// Its state.
    pub state: VolumeState,
    /// The instances it is attached to.
    pub attached_to: Vec<InstanceId>,
    /// Device name of its first attachment.
    pub device: Option<String>,
    /// Whether several instances may hold it at once.
    pub multi_attach: bool,
    /// Size and performance.
    pub shape: VolumeShape,
    /// The snapshot it was made from.
    pub source: Option<SnapshotId>,
    /// Its zone.
    pub zone: String,
    /// Its tags.
    pub tags: Tags,
}

impl VolumeFacts {
    /// Whether nothing on it can be read any more.
    pub fn is_lost(&self) -> bool {
        matches!(self.state, VolumeState::Deleting | VolumeState::Error)
    }
}

/// Size, type and performance of a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeShape {
    /// Size in GiB.
    pub size_gib: i32,
    /// `gp3`, `io2` …
    pub volume_type: String,
    /// Provisioned operations per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iops: Option<i32>,
    /// Provisioned MiB per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throughput: Option<i32>,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// The key, if encrypted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kms_key: Option<String>,
}

/// The state of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SnapshotState {
    /// Its blocks are still being copied.
    Pending,
    /// Usable.
    Completed,
    /// Failed, or not usable for another reason.
    Error,
}

/// A snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotFacts {
    /// Its id.
    pub id: SnapshotId,
    /// Its state.
    pub state: SnapshotState,
    /// The volume it was taken of.
    pub volume: VolumeId,
    /// When it was requested: it holds what was on the volume then.
    pub started_at: Timestamp,
    /// Progress as AWS words it, `87%`.
    pub progress: String,
    /// Bytes of all blocks in it, as if it were the volume's first; EC2 tells of completed ones only.
    pub full_bytes: Option<u64>,
    /// Whether it belongs to this account.
    pub own: bool,
    /// Its tags.
    pub tags: Tags,
}

/// The state of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageState {
    /// Being registered.
    Pending,
    /// Can be launched.
    Available,
    /// Failed or invalid.
    Failed,
    /// Deregistered or disabled.
    Gone,
}

/// An image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageFacts {
    /// Its id.
    pub id: ImageId,
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: ImageState,
    /// Why, if it failed.
    pub state_reason: String,
    /// Device name of its root.
    pub root_device: String,
    /// Whether its root is an EBS snapshot.
    pub ebs_root: bool,
    /// The snapshot behind its root; absent for a while after registering.
    pub root_snapshot: Option<SnapshotId>,
    /// All EBS devices it maps.
    pub devices: Vec<String>,
    /// The snapshots behind them.
    pub snapshots: Vec<SnapshotId>,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// What it says about itself.
    pub platform: Platform,
    /// Its tags.
    pub tags: Tags,
}

/// The state of a network interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InterfaceState {
    /// Attached to nothing.
    Available,
    /// Attached, or on its way to or from it.
    InUse,
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceFacts {
    /// Its id.
    pub id: InterfaceId,
    /// Its state.
    pub state: InterfaceState,
    /// Its subnet.
    pub subnet: SubnetId,
    /// Its zone.
    pub zone: String,
    /// Its primary private address.
    pub private_ip: Ipv4Addr,
    /// Its other private addresses.
    pub secondary: Vec<Ipv4Addr>,
    /// Its IPv6 addresses.
    pub ipv6: Vec<Ipv6Addr>,
    /// Its description.
    pub description: String,
    /// Its security groups.
    pub groups: Vec<String>,
    /// The instance it is attached to.
    pub attached_to: Option<InstanceId>,
    /// Its tags.
    pub tags: Tags,
}

impl InterfaceFacts {
    /// Whether this address is one of its own.
    pub fn has(&self, address: Ipv4Addr) -> bool {
        self.private_ip == address || self.secondary.contains(&address)
    }

    /// What it is called in messages: its id, and what holds it or what it is for.
    pub fn words(&self) -> String {
        match &self.attached_to {
            Some(instance) => format!("{} of {instance}", self.id),
            None if self.description.is_empty() => self.id.to_string(),
            None => format!("{} ({})", self.id, self.description),
        }
    }
}

/// An Elastic IP address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressFacts {
    /// Its allocation.
    pub id: AllocationId,
    /// The address.
    pub public_ip: Ipv4Addr,
    /// What it is associated with, if anything.
    pub association: Option<Association>,
}

/// What an Elastic IP address is associated with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Association {
    /// The id of the association, which ending it needs.
    pub id: String,
    /// The network interface; none if it is another kind of thing.
    pub interface: Option<InterfaceId>,
    /// The private address it stands for.
    pub private_ip: Option<Ipv4Addr>,
}

/// A subnet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubnetFacts {
    /// Its id.
    pub id: SubnetId,
    /// Its zone.
    pub zone: String,
    /// Its addresses.
    pub cidr: Ipv4Net,
}

/// What to read before deciding. Everything is read at once, each kind in one call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Instances by id.
    pub instances: Vec<InstanceId>,
    /// Instances by the client token of their launch.
    pub launch_token: Option<String>,
    /// Volumes by id.
    pub volumes: Vec<VolumeId>,
    /// Volumes by the key of the launch that made them.
    pub volume_key: Option<String>,
    /// Interfaces by id.
    pub interfaces: Vec<InterfaceId>,
    /// Snapshots by id.
    pub snapshots: Vec<SnapshotId>,
    /// Snapshots by the keys of the steps that took them.
    pub snapshot_keys: Vec<String>,
    /// All own snapshots of these volumes.
    pub snapshots_of: Vec<VolumeId>,
    /// All own snapshots that carry the tags of this life of this node.
    pub line_of: Option<(String, String)>,
    /// Everything that carries the tags of this life of this node.
    pub all_of: Option<(String, String)>,
    /// The node's config item, as it stands in the table.
    pub item: Option<NodeName>,
    /// Images by id.
    pub images: Vec<ImageId>,
    /// Image by its unique name.
    pub image_name: Option<String>,
    /// Status checks of an instance.
    pub status_of: Option<InstanceId>,
    /// The launch template, with the image and the subnet it names.
    pub template: Option<TemplateSpec>,
    /// Subnets by id.
    pub subnets: Vec<SubnetId>,
    /// Elastic IP addresses by allocation.
    pub elastic_ips: Vec<AllocationId>,
    /// Interfaces, whosesoever, that have one of these private addresses.
    pub holders_of: Vec<Ipv4Addr>,
    /// The backup that members of this group are launched from.
    pub group: Option<GroupName>,
}

impl Look {
    /// Whether a look at `wider` has seen all that this one asks for.
    pub fn is_covered_by(&self, wider: &Self) -> bool {
        fn all<T: PartialEq>(part: &[T], whole: &[T]) -> bool {
            part.iter().all(|item| whole.contains(item))
        }
        fn one<T: PartialEq>(part: &Option<T>, whole: &Option<T>) -> bool {
            part.is_none() || part == whole
        }
        all(&self.instances, &wider.instances)
            && one(&self.launch_token, &wider.launch_token)
            && all(&self.volumes, &wider.volumes)
            && one(&self.volume_key, &wider.volume_key)
            && all(&self.interfaces, &wider.interfaces)
            && all(&self.snapshots, &wider.snapshots)
            && all(&self.snapshot_keys, &wider.snapshot_keys)
            && all(&self.snapshots_of, &wider.snapshots_of)
            && (one(&self.line_of, &wider.line_of) || self.line_of == wider.all_of)
            && one(&self.all_of, &wider.all_of)
            && one(&self.item, &wider.item)
            && all(&self.images, &wider.images)
            && one(&self.image_name, &wider.image_name)
            && one(&self.status_of, &wider.status_of)
            && one(&self.template, &wider.template)
            && all(&self.subnets, &wider.subnets)
            && all(&self.elastic_ips, &wider.elastic_ips)
            && all(&self.holders_of, &wider.holders_of)
            && one(&self.group, &wider.group)
    }
}

/// What one look showed.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// What was looked for.
    pub look: Look,
    /// Instances found, by id or by token.
    pub instances: BTreeMap<InstanceId, InstanceFacts>,
    /// Volumes found, by id or by key.
    pub volumes: BTreeMap<VolumeId, VolumeFacts>,
    /// Interfaces found.
    pub interfaces: BTreeMap<InterfaceId, InterfaceFacts>,
    /// Snapshots found, by id, key or volume.
    pub snapshots: BTreeMap<SnapshotId, SnapshotFacts>,
    /// Images found, by id or name.
    pub images: BTreeMap<ImageId, ImageFacts>,
    /// Whether both status checks of the instance asked for have passed.
    pub checks_passed: bool,
    /// The template, with the version that was meant.
    pub template: Option<TemplateFacts>,
    /// Subnets found.
    pub subnets: BTreeMap<SubnetId, SubnetFacts>,
    /// The config item asked for, if it says anything.
    pub item: Option<ItemFacts>,
    /// Elastic IP addresses found.
    pub elastic_ips: BTreeMap<AllocationId, AddressFacts>,
    /// Interfaces found to have an address that was asked for.
    pub holders: Vec<InterfaceFacts>,
    /// What the group says of the image.
    pub group_image: Option<GroupImage>,
}

/// The config item of a node.
#[derive(Clone, Debug, PartialEq)]
pub struct ItemFacts {
    /// As it stands in the table.
    pub item: Value,
    /// Completed by what its group says, if it is a member of one.
    pub whole: Value,
    /// The hash of what its group says.
    pub share: Option<String>,
    /// The group that was removed, if its item is there again: somebody wants its members back.
    pub group_is_back: Option<GroupName>,
}

impl Observation {
    /// The instance that a launch token made, whatever its state; a live one before an ended one.
    pub fn by_token(&self, token: &str) -> Option<&InstanceFacts> {
        let mut made: Vec<_> =
            self.instances.values().filter(|i| i.client_token.as_deref() == Some(token)).collect();
        made.sort_by_key(|i| i.state.has_ended());
        made.first().copied()
    }
}

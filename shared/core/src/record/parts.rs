//! The parts of a record: what it knows of each thing that belongs to a node.

use std::net::{Ipv4Addr, Ipv6Addr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::config::{NodeConfig, Retained};
use crate::ids::{AllocationId, ImageId, InstanceId, InterfaceId, Resource, SnapshotId, SubnetId, VolumeId};
use crate::launch::{LaunchRequest, Market};
use crate::names::Purpose;
use crate::observation::{ImageState, InterfaceFacts, Platform, SnapshotState, VolumeShape};

/// The last accepted config.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Accepted {
    /// The hash of the item it was read from.
    pub hash: String,
    /// The hash of what its group says of it, if it is a member of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<String>,
    /// What the operator is told of it: kept, since the answer may be written only at a second try.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
    /// What it says.
    #[serde(flatten)]
    pub config: NodeConfig,
}

/// The instance of a cycle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Instance {
    /// Its id.
    pub id: InstanceId,
    /// Its type.
    #[serde(rename = "type")]
    pub instance_type: String,
    /// Its zone.
    pub zone: String,
    /// How it is paid for.
    pub market: Market,
    /// The image it was launched from.
    pub image_id: ImageId,
    /// When it was launched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub launched_at: Option<Timestamp>,
    /// The token of its launch, which its volumes carry as their key.
    pub key: String,
    /// Whether it was launched from the node image of the cycle before: only such an instance proves that
    /// what that image holds is not needed elsewhere.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub heir: bool,
    /// What an image of it must say about itself.
    #[serde(default)]
    pub platform: Platform,
    /// When a read first did not show it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_since: Option<Timestamp>,
    /// Whether it was ever seen running.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ran: bool,
    /// When it was first seen ending or ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// Whether a stop by hand has been noted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stop_noted: bool,
    /// Whether its termination has been asked for, or may have been.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub terminating: bool,
}

/// The root volume of a cycle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Root {
    /// The volume.
    pub volume_id: VolumeId,
    /// Its device name.
    pub device_name: String,
    /// Its size and performance.
    #[serde(flatten)]
    pub shape: VolumeShape,
    /// Whether it was put in the place of another one by hand, and may lack our tags.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub swapped: bool,
    /// When it was first seen `available` after its instance had ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available_at: Option<Timestamp>,
    /// When a read first did not show it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_since: Option<Timestamp>,
    /// Another volume that a read showed in its place; a second read makes it the root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced_by: Option<Replacement>,
}

/// A volume that was seen in the root's place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Replacement {
    /// The volume.
    pub volume_id: VolumeId,
    /// When it was first seen there.
    pub seen_at: Timestamp,
}

/// A launch whose instance ended before anyone saw it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unseen {
    /// Its token, which its volumes carry as their key.
    pub key: String,
    /// The image it was launched from, which tells what an image of its root must say.
    pub image_id: ImageId,
}

/// The kept network interface.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Network {
    /// The interface.
    pub eni_id: InterfaceId,
    /// Its primary private address.
    pub private_ip: Ipv4Addr,
    /// Its subnet.
    pub subnet_id: SubnetId,
    /// Its zone, which binds the node.
    pub zone: String,
    /// Its other private addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secondary: Vec<Ipv4Addr>,
    /// Its IPv6 addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ipv6: Vec<Ipv6Addr>,
    /// The Elastic IP address that is associated with it on the node's behalf.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elastic_ip: Option<ElasticIp>,
    /// When a read first did not show it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_since: Option<Timestamp>,
}

impl Network {
    /// The interface as a read shows it.
    pub fn of(facts: &InterfaceFacts) -> Self {
        Self {
            eni_id: facts.id.clone(),
            private_ip: facts.private_ip,
            subnet_id: facts.subnet.clone(),
            zone: facts.zone.clone(),
            secondary: facts.secondary.clone(),
            ipv6: facts.ipv6.clone(),
            elastic_ip: None,
            missing_since: None,
        }
    }
}

/// An Elastic IP address that was found associated with the kept interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ElasticIp {
    /// The address's allocation.
    pub allocation_id: AllocationId,
    /// The address itself.
    pub public_ip: Ipv4Addr,
    /// The cycle in which it was last found associated: an association may not survive a termination.
    pub cycle: u32,
}

/// A final snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FinalSnapshot {
    /// The snapshot, once it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_id: Option<SnapshotId>,
    /// The volume it is taken of.
    pub volume_id: VolumeId,
    /// Its state as last seen.
    pub state: SnapshotState,
    /// Which attempt it is; a failed snapshot is taken again.
    pub attempt: u32,
    /// The failed attempt before, until it is deleted: failed snapshots count against the volume's limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<SnapshotId>,
    /// When a read first did not show it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_since: Option<Timestamp>,
}

/// A node image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeImage {
    /// The image, once it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<ImageId>,
    /// The cycle whose data it holds.
    pub cycle: u32,
    /// Which attempt it is; a failed image is registered again.
    pub attempt: u32,
    /// The snapshot behind it.
    pub snapshot_id: SnapshotId,
    /// Its state as last seen.
    pub state: ImageState,
    /// When a read first did not show it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_since: Option<Timestamp>,
}

/// Something to be deleted once its successor is proven, in the order of the kinds below.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind", content = "id")]
pub enum Superseded {
    /// The root volume of an earlier cycle.
    Volume(VolumeId),
    /// A data volume that another one was made in place of.
    DataVolume(VolumeId),
    /// A node image.
    Image(ImageId),
    /// The final snapshot behind a node image.
    Snapshot(SnapshotId),
    /// A final snapshot of a data volume.
    DataSnapshot(SnapshotId),
}

impl Superseded {
    /// What it must have been made for to be deleted as this.
    pub fn purposes(&self) -> &'static [Purpose] {
        match self {
            Self::Volume(_) => &[Purpose::Root],
            Self::DataVolume(_) => &Purpose::VOLUMES,
            Self::Image(_) => &[Purpose::Image],
            Self::Snapshot(_) | Self::DataSnapshot(_) => &[Purpose::Final],
        }
    }

    /// The same as a resource.
    pub fn resource(&self) -> Resource {
        match self.clone() {
            Self::Volume(id) | Self::DataVolume(id) => Resource::Volume(id),
            Self::Image(id) => Resource::Image(id),
            Self::Snapshot(id) | Self::DataSnapshot(id) => Resource::Snapshot(id),
        }
    }

    /// Whether it is of a data volume, which has a descent of its own.
    pub fn is_data(&self) -> bool {
        match self {
            Self::DataVolume(_) | Self::DataSnapshot(_) => true,
            Self::Volume(_) | Self::Image(_) | Self::Snapshot(_) => false,
        }
    }
}

/// What an image of a root volume must say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Blueprint {
    /// Device name of the root.
    pub device_name: String,
    /// What else it says about itself.
    pub platform: Platform,
}

/// A root volume that was not found when its last bytes were needed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lost {
    /// The volume.
    pub volume_id: VolumeId,
    /// Since when.
    pub since: Timestamp,
}

/// A life of the same name that has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Former {
    /// The life.
    pub life: String,
    /// What its purge was to delete; nothing if it was released.
    pub deleted: Vec<Retained>,
}

/// A launch under way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LaunchIntent {
    /// The whole request, resolved: repeated as it stands after an unknown result.
    pub request: LaunchRequest,
    /// When it was first written, and so the earliest moment it can have been sent.
    pub since: Timestamp,
    /// Since when reads show nothing of a launch that must not be sent again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet_since: Option<Timestamp>,
    /// Whether a try of it was answered to nobody, so that a refusal of a later one proves nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unanswered: bool,
    /// Why it must not be sent again, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<String>,
}

/// Who is working on a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// The invocation.
    pub by: String,
    /// The step it is doing.
    pub step: String,
    /// Until when nobody else may.
    pub until: Timestamp,
}

/// An interruption notice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notice {
    /// The instance it was given to.
    pub instance_id: InstanceId,
    /// When.
    pub at: Timestamp,
    /// Whether the warning snapshot has been tried.
    #[serde(default)]
    pub snapshot_tried: bool,
}

/// What keeps a node from going on. A mark on any phase, not a phase: work resumes where it stood.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Blocked {
    /// A stable word for it; `docs/BLOCKED.md` has a paragraph on each.
    pub code: String,
    /// What is wrong, as a sentence.
    pub message: String,
    /// What helps.
    pub remedy: String,
    /// Since when.
    pub since: Timestamp,
    /// When it is tried again.
    pub retry_at: Timestamp,
}

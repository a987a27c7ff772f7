//! The steps: everything Perennial may do to AWS for one node, as data.
//!
//! A step carries all that its call needs and nothing that would have to be decided while doing it. Each
//! can be repeated without harm: by a client token, by a key looked up first, by a unique name, or
//! because doing it twice is doing it once.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::failure::Failure;
use crate::ids::{AllocationId, ImageId, InstanceId, InterfaceId, Resource, SnapshotId, SubnetId, VolumeId};
use crate::launch::LaunchRequest;
use crate::names::{Purpose, Tags};
use crate::observation::{InstanceFacts, InterfaceFacts, Platform, SnapshotFacts, VolumeFacts, VolumeShape};
use crate::record::Superseded;

/// Something to be done to AWS.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Make the node's network interface.
    CreateInterface(InterfaceRequest),
    /// Launch an instance.
    Launch(Box<LaunchRequest>),
    /// Keep volumes of an instance beyond its end.
    KeepVolumes {
        /// The instance.
        instance: InstanceId,
        /// Device names.
        devices: Vec<String>,
    },
    /// Keep an interface beyond its instance's end.
    KeepInterface {
        /// The interface.
        interface: InterfaceId,
        /// Its attachment.
        attachment: String,
    },
    /// Attach a data volume to its node's instance.
    Attach {
        /// The volume.
        volume: VolumeId,
        /// The instance.
        instance: InstanceId,
        /// Its device name there.
        device: String,
    },
    /// Make a data volume from a snapshot.
    CreateVolume(Box<VolumeRequest>),
    /// Put our tags on a volume that was attached by hand.
    Adopt {
        /// The volume.
        volume: VolumeId,
        /// The tags.
        tags: Tags,
    },
    /// Take a snapshot, or several of one moment.
    Snapshot(PointRequest),
    /// Register a node image.
    RegisterImage(Box<ImageRequest>),
    /// Give an interface these security groups.
    SetGroups {
        /// The interface.
        interface: InterfaceId,
        /// Its security groups from now on.
        groups: Vec<String>,
    },
    /// Associate an Elastic IP address that is associated with nothing.
    Associate {
        /// The address's allocation.
        allocation: AllocationId,
        /// The kept interface.
        interface: InterfaceId,
        /// Its primary private address.
        private_ip: Ipv4Addr,
    },
    /// Take an Elastic IP address off the kept interface.
    Disassociate {
        /// The address's allocation.
        allocation: AllocationId,
        /// The association.
        association: String,
    },
    /// Delete the kept interface of a deallocated node, so that its successor can have the address.
    FreeAddress {
        /// The interface.
        interface: InterfaceId,
        /// Its address.
        address: Ipv4Addr,
    },
    /// Put tags on a resource of ours.
    Tag {
        /// The resource.
        resource: Resource,
        /// The tags.
        tags: Tags,
    },
    /// Terminate an instance of ours.
    Terminate(Termination),
    /// Delete something that a proven successor made needless.
    Delete(Superseded),
    /// Delete a snapshot that rotation would delete: a newer recovery point holds more.
    Prune(SnapshotId),
    /// Delete something at the end of its node's retention.
    Purge(Resource),
    /// Take our tags off something: from now on it is the operator's alone.
    HandOver(Resource),
}

impl Step {
    /// A word for journals, claims and logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::CreateInterface(_) => "create-interface",
            Self::Launch(_) => "launch",
            Self::KeepVolumes { .. } => "keep-volumes",
            Self::KeepInterface { .. } => "keep-interface",
            Self::Attach { .. } => "attach-volume",
            Self::CreateVolume(_) => "create-volume",
            Self::Adopt { .. } => "adopt-volume",
            Self::Snapshot(request) => match request.purpose() {
                Purpose::Warning => "warning-snapshot",
                _ => "final-snapshot",
            },
            Self::RegisterImage(_) => "register-image",
            Self::SetGroups { .. } => "set-groups",
            Self::Associate { .. } => "associate-address",
            Self::Disassociate { .. } => "disassociate-address",
            Self::FreeAddress { .. } => "free-address",
            Self::Tag { .. } => "tag",
            Self::Terminate(_) => "terminate",
            Self::Prune(_) => "prune-snapshot",
            Self::Purge(_) => "purge",
            Self::HandOver(_) => "hand-over",
            Self::Delete(Superseded::Volume(_) | Superseded::DataVolume(_)) => "delete-volume",
            Self::Delete(Superseded::Image(_)) => "deregister-image",
            Self::Delete(Superseded::Snapshot(_) | Superseded::DataSnapshot(_)) => "delete-snapshot",
        }
    }

    /// Whether it deletes something, or says of something whose it is. Only the tick's function has the rights, so that
    /// none of those that an event wakes can delete anything.
    pub fn is_for_the_tick(&self) -> bool {
        matches!(
            self,
            Self::Adopt { .. }
                | Self::Delete(_)
                | Self::FreeAddress { .. }
                | Self::HandOver(_)
                | Self::Prune(_)
                | Self::Purge(_)
        )
    }
}

/// An instance to be terminated, with what must outlive it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Termination {
    /// The instance.
    pub instance: InstanceId,
    /// Volumes that must not be deleted with it.
    pub volumes: Vec<VolumeId>,
    /// The interface that must not be deleted with it.
    pub interface: Option<InterfaceId>,
}

/// A network interface to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceRequest {
    /// Its client token.
    pub token: String,
    /// Its subnet.
    pub subnet: SubnetId,
    /// The address it must have; any free one if absent.
    pub private_ip: Option<Ipv4Addr>,
    /// Its other private addresses.
    pub secondary: Vec<Ipv4Addr>,
    /// Its IPv6 addresses.
    pub ipv6: Vec<Ipv6Addr>,
    /// Its security groups; the VPC's default one if empty.
    pub groups: Vec<String>,
    /// Its tags.
    pub tags: Tags,
    /// Its description.
    pub description: String,
}

/// A data volume to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeRequest {
    /// Its client token, and the key in its tags.
    pub token: String,
    /// The device it is made for.
    pub device: String,
    /// The snapshot it is made from; encryption and key are that one's.
    pub snapshot: SnapshotId,
    /// Its zone.
    pub zone: String,
    /// Its size and performance; of size 0 it gets the snapshot's.
    pub shape: VolumeShape,
    /// Its tags.
    pub tags: Tags,
}

/// A recovery point to be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PointRequest {
    /// A snapshot of one volume.
    One(SnapshotRequest),
    /// Snapshots of several volumes of an instance at one moment.
    Set(SetRequest),
}

impl PointRequest {
    /// What it is for.
    pub fn purpose(&self) -> Purpose {
        match self {
            Self::One(request) => request.purpose,
            Self::Set(request) => request.purpose,
        }
    }

    /// Its key: looked up before it is taken, since neither call has a client token.
    pub fn key(&self) -> &str {
        match self {
            Self::One(request) => &request.key,
            Self::Set(request) => &request.key,
        }
    }

    /// The tags of its snapshots.
    pub fn tags(&self) -> &Tags {
        match self {
            Self::One(request) => &request.tags,
            Self::Set(request) => &request.tags,
        }
    }

    /// The volumes it is taken of.
    pub fn volumes(&self) -> &[VolumeId] {
        match self {
            Self::One(request) => std::slice::from_ref(&request.volume),
            Self::Set(request) => &request.volumes,
        }
    }
}

/// Snapshots of several volumes of one instance, crash-consistent across all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetRequest {
    /// The instance.
    pub instance: InstanceId,
    /// The volumes.
    pub volumes: Vec<VolumeId>,
    /// Whether the root is left out.
    pub without_root: bool,
    /// Other volumes on the instance, which are left out.
    pub without: Vec<VolumeId>,
    /// What it is for.
    pub purpose: Purpose,
    /// The key of the set.
    pub key: String,
    /// The tags of each snapshot.
    pub tags: Tags,
    /// The description of each.
    pub description: String,
}

/// A snapshot to be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotRequest {
    /// The volume.
    pub volume: VolumeId,
    /// What it is for.
    pub purpose: Purpose,
    /// Its key: looked up before it is taken, since CreateSnapshot has no client token.
    pub key: String,
    /// Its tags.
    pub tags: Tags,
    /// Its description.
    pub description: String,
}

/// An image to be registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageRequest {
    /// Its unique name, which serves as its token.
    pub name: String,
    /// Its description.
    pub description: String,
    /// Device name of its root.
    pub root_device: String,
    /// The snapshot behind its root.
    pub snapshot: SnapshotId,
    /// Size and performance of the root volumes made from it.
    pub shape: VolumeShape,
    /// What it says about itself.
    pub platform: Platform,
    /// Its tags.
    pub tags: Tags,
}

/// An image to be made of a running instance, without a reboot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupRequest {
    /// The instance.
    pub instance: InstanceId,
    /// Its unique name, which serves as its token.
    pub name: String,
    /// Its description.
    pub description: String,
    /// Devices of the instance that are left out.
    pub without: Vec<String>,
    /// Its tags, and those of its snapshots.
    pub tags: Tags,
}

/// What became of a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The interface there is now.
    Interface(InterfaceFacts),
    /// The instance there is now.
    Launched(Box<InstanceFacts>),
    /// The snapshots there are now, one for each volume.
    Snapshots(Vec<SnapshotFacts>),
    /// The volume there is now.
    Volume(VolumeFacts),
    /// The image there is now.
    Image(ImageId),
    /// Done, with nothing to tell.
    Done,
    /// Found not to be ours to delete any more: handed over instead.
    NotOurs(String),
    /// Not done, or not known to be done.
    Failed(Failure),
}

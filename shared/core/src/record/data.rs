//! What a record knows of the data volumes of a node.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::FinalSnapshot;
use crate::ids::{SnapshotId, VolumeId};
use crate::limits;
use crate::names::Tags;
use crate::observation::{SnapshotState, VolumeShape};

/// A data volume that comes back with the node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DataVolume {
    /// Its device name.
    pub device_name: String,
    /// The volume that holds its last bytes.
    pub volume_id: VolumeId,
    /// Its size and performance.
    #[serde(flatten)]
    pub shape: VolumeShape,
    /// Its zone.
    pub zone: String,
    /// The operator's own tags on it.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
    /// Whether it was attached by hand: never deleted by us.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopted: bool,
    /// Whether it still lacks our tags, without which our rights do not reach it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub untagged: bool,
    /// Whether a read has shown the present instance to hold it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub attached: bool,
    /// When a read first did not show it on its running instance, or showed it on something else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detached_since: Option<Timestamp>,
    /// When it was first seen `available` after its instance had ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available_at: Option<Timestamp>,
    /// When a read first did not show it to exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_since: Option<Timestamp>,
    /// The snapshot of its last bytes, wanted or taken since it was last attached.
    #[serde(default, rename = "final", skip_serializing_if = "Option::is_none")]
    pub last: Option<FinalSnapshot>,
    /// The older recovery point that the operator accepted in place of its last bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore: Option<SnapshotId>,
    /// The volume made in its place, until that is attached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<VolumeId>,
    /// How many volumes made in its place came to nothing.
    #[serde(default, skip_serializing_if = "super::is_zero")]
    pub attempts: u32,
    /// Whether it is captured because the node moves to another zone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub moves: bool,
    /// The volumes it descends from, the last one last: their snapshots are recovery points of this one too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former: Vec<VolumeId>,
}

impl DataVolume {
    /// The snapshot that holds its last bytes, or the one the operator accepted for them.
    pub fn point(&self) -> Option<&SnapshotId> {
        let complete = self.last.as_ref().filter(|last| last.state == SnapshotState::Completed);
        self.restore.as_ref().or(complete.and_then(|last| last.snapshot_id.as_ref()))
    }

    /// Size and performance of the next volume; of size 0 it gets the snapshot's. An older point may be smaller than
    /// the volume has become, and no volume is smaller than its snapshot.
    pub fn next_shape(&self) -> VolumeShape {
        let size_gib = if self.restore.is_some() { 0 } else { self.shape.size_gib };
        VolumeShape { size_gib, ..self.shape.clone() }
    }

    /// Whether a snapshot of this volume is one of the line.
    pub fn descends_from(&self, volume: &VolumeId) -> bool {
        self.volume_id == *volume || self.former.contains(volume)
    }

    /// Puts another volume in its place, which was made from its last bytes.
    pub fn succeed(&mut self, next: VolumeId) -> VolumeId {
        let old = std::mem::replace(&mut self.volume_id, next);
        self.former.push(old.clone());
        let surplus = self.former.len().saturating_sub(limits::FORMER_VOLUMES_KEPT);
        self.former.drain(..surplus);
        old
    }

    /// The ids of everything that belongs to it.
    pub fn resources(&self) -> impl Iterator<Item = String> {
        // Until it carries our tags it may be another node's.
        let own = (!self.untagged).then_some(&self.volume_id);
        let volumes = own.into_iter().chain(&self.made).map(ToString::to_string);
        let last = self.last.as_ref().and_then(|last| last.snapshot_id.as_ref());
        volumes.chain(last.map(ToString::to_string))
    }
}

/// A volume that was seen on the node's instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sighted {
    /// The volume.
    pub volume_id: VolumeId,
    /// Its device name.
    pub device_name: String,
}

/// A volume on the node's instance that does not come back with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeftAlone {
    /// The volume.
    pub volume_id: VolumeId,
    /// Its device name.
    pub device_name: String,
    /// Why, as half a sentence.
    pub why: String,
}

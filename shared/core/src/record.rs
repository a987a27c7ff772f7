//! The record: what Perennial knows and intends for one node.
//!
//! A record holds everything that is needed after the instance is gone. Fields added later default, so
//! that every record ever written still loads; a record of a newer schema is never touched.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::{DesiredState, NodeConfig};
use crate::ids::{ImageId, InstanceId, InterfaceId, NodeName, SnapshotId, SubnetId, VolumeId};
use crate::journal::OwnEvent;
use crate::launch::{LaunchRequest, Market};
use crate::names::Names;
use crate::observation::{ImageState, Platform, SnapshotState, VolumeShape};
use crate::phase::Phase;

/// The schema this code writes.
pub const SCHEMA_VERSION: u32 = 1;

/// What Perennial knows and intends for one node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The schema it was written in.
    pub schema_version: u32,
    /// Grows by one with every write; every write is conditional on it.
    pub generation: u64,
    /// The node.
    pub name: NodeName,
    /// Unique, set once, never used again even for the same name.
    pub life: String,
    /// Where the node stands.
    pub phase: Phase,
    /// Since when.
    pub phase_since: Timestamp,
    /// When the record was last written.
    pub updated_at: Timestamp,
    /// The number of the stay on one instance; grows with each replacement.
    pub cycle: u32,
    /// What the operator wants.
    pub goal: DesiredState,
    /// Why the node is where it stands, as a sentence.
    pub reason: String,
    /// The last accepted config.
    pub config: Accepted,
    /// The instance of this cycle, once there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<Instance>,
    /// The root volume of this cycle, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<Root>,
    /// Size and performance of the last root volume, for the next one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_shape: Option<VolumeShape>,
    /// The kept network interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// The final snapshots that the node image is made of.
    #[serde(default, rename = "final", skip_serializing_if = "Vec::is_empty")]
    pub finals: Vec<FinalSnapshot>,
    /// The node image that the next, or the current, instance is launched from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<NodeImage>,
    /// What a proven successor made needless.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub superseded: Vec<Superseded>,
    /// The launch under way: written before the call, so that no crash can double it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<LaunchIntent>,
    /// The launch of this cycle, if its instance ended before anyone saw it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unseen: Option<Unseen>,
    /// The first cycle whose data the present root descends from: nothing older counts as superseded by it.
    #[serde(default)]
    pub descent: u32,
    /// Since when the step at hand has met nothing but refusals that should have passed by themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stalled_since: Option<Timestamp>,
    /// How many launches this cycle has tried.
    #[serde(default)]
    pub attempts: u32,
    /// Which rung of the ladder is next.
    #[serde(default)]
    pub rung: usize,
    /// Who is working on the node right now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<Claim>,
    /// The interruption notice of this cycle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<Notice>,
    /// No step is taken before this: a pause after a refusal or a "not yet".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// What keeps the node from going on, if anything does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked: Option<Blocked>,
    /// When the node is to be looked at again; absent while nothing is unfinished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work_at: Option<Timestamp>,
    /// Own events not yet known to be published.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outbox: Vec<OwnEvent>,
    /// Seconds spent in each phase since the node last ran.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub durations: BTreeMap<Phase, i64>,
}

/// The last accepted config.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Accepted {
    /// The hash of the item it was read from.
    pub hash: String,
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
    /// When it was first seen ending or ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// Whether a stop by hand has been noted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stop_noted: bool,
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
    /// When a read first did not show it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_since: Option<Timestamp>,
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
#[serde(rename_all = "lowercase", tag = "kind", content = "id")]
pub enum Superseded {
    /// The root volume of an earlier cycle.
    Volume(VolumeId),
    /// A node image.
    Image(ImageId),
    /// The final snapshot behind a node image.
    Snapshot(SnapshotId),
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
    /// A stable word for it; `docs/OPERATIONS.md` has a paragraph on each.
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

/// A record as the table has it.
#[derive(Clone, Debug, PartialEq)]
pub enum Stored {
    /// One that this code understands.
    Known(Box<Record>),
    /// One written by a newer version: to be left alone and reported.
    Newer {
        /// Its schema version.
        schema_version: u64,
    },
}

impl Stored {
    /// Reads an item of the state table.
    ///
    /// # Errors
    /// A sentence with the place, if the item is not a record.
    pub fn read(item: &Value) -> Result<Self, String> {
        let version = item["schemaVersion"].as_u64().ok_or("schemaVersion is missing or no number")?;
        if version > u64::from(SCHEMA_VERSION) {
            return Ok(Self::Newer { schema_version: version });
        }
        let record = Record::deserialize(item).map_err(|e| e.to_string())?;
        Ok(Self::Known(Box::new(record)))
    }
}

impl Record {
    /// The first record of a new life.
    pub fn new(name: NodeName, life: String, accepted: Accepted, now: Timestamp) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            generation: 0,
            name,
            life,
            phase: Phase::New,
            phase_since: now,
            updated_at: now,
            cycle: 0,
            goal: accepted.config.desired_state,
            reason: "config accepted".to_owned(),
            config: accepted,
            instance: None,
            root: None,
            root_shape: None,
            network: None,
            finals: Vec::new(),
            image: None,
            superseded: Vec::new(),
            intent: None,
            unseen: None,
            descent: 0,
            stalled_since: None,
            attempts: 0,
            rung: 0,
            claim: None,
            notice: None,
            not_before: None,
            blocked: None,
            work_at: Some(now),
            outbox: Vec::new(),
            durations: BTreeMap::new(),
        }
    }

    /// The accepted config.
    pub fn config(&self) -> &NodeConfig {
        &self.config.config
    }

    /// The names of what is made for this life.
    pub fn names<'a>(&'a self, deployment: &'a str) -> Names<'a> {
        Names { deployment, node: &self.name, life: &self.life }
    }

    /// The ids by which an event finds this node.
    pub fn resources(&self) -> BTreeSet<String> {
        let mut ids = BTreeSet::new();
        ids.extend(self.instance.iter().map(|i| i.id.to_string()));
        ids.extend(self.root.iter().map(|r| r.volume_id.to_string()));
        ids.extend(self.network.iter().map(|n| n.eni_id.to_string()));
        ids.extend(self.finals.iter().filter_map(|f| f.snapshot_id.as_ref()).map(ToString::to_string));
        ids.extend(self.image.iter().filter_map(|i| i.id.as_ref()).map(ToString::to_string));
        ids
    }

    /// Everything that a proven successor makes needless, in the order in which it may be deleted:
    /// volumes, then images, then the snapshots behind them.
    pub fn needless(&self) -> Vec<Superseded> {
        let mut all: Vec<_> = self.superseded.clone();
        all.extend(self.image.iter().filter_map(|i| i.id.clone()).map(Superseded::Image));
        all.extend(self.finals.iter().filter_map(|f| f.snapshot_id.clone()).map(Superseded::Snapshot));
        all.sort();
        all.dedup();
        all
    }

    /// Forgets something that has been deleted or handed over.
    pub fn forget(&mut self, gone: &Superseded) {
        self.superseded.retain(|s| s != gone);
        match gone {
            Superseded::Volume(_) => {}
            Superseded::Image(id) => self.image = self.image.take().filter(|i| i.id.as_ref() != Some(id)),
            Superseded::Snapshot(id) => {
                self.finals.retain(|f| f.snapshot_id.as_ref() != Some(id));
                for last in &mut self.finals {
                    last.failed = last.failed.take().filter(|failed| failed != id);
                }
            }
        }
    }

    /// What the snapshot pass needs of a running node; projected into the work index.
    pub fn steady(&self) -> Option<Steady> {
        let (instance, root) = (self.instance.as_ref()?, self.root.as_ref()?);
        if self.phase != Phase::Running {
            return None;
        }
        let policy = self.config().persist.root.as_ref();
        Some(Steady {
            schema_version: self.schema_version,
            node: self.name.clone(),
            life: self.life.clone(),
            cycle: self.cycle,
            descent: self.descent,
            instance: instance.id.clone(),
            volume: root.volume_id.clone(),
            device: root.device_name.clone(),
            snapshot_every: policy.map(|p| p.snapshot_every),
            keep: policy.map_or(0, |p| p.keep),
            kept_interface: self.network.as_ref().map(|n| n.eni_id.clone()),
            suspend: self.config().suspend,
            tags: self.config().tags.clone(),
        })
    }
}

/// What the scheduled passes need of a running node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Steady {
    /// The schema of the record it was projected from; of a newer one nothing is touched.
    #[serde(default)]
    pub schema_version: u32,
    /// The node.
    pub node: NodeName,
    /// Its life.
    pub life: String,
    /// Its cycle.
    pub cycle: u32,
    /// The first cycle of its root's descent.
    #[serde(default)]
    pub descent: u32,
    /// Its instance.
    pub instance: InstanceId,
    /// Its root volume.
    pub volume: VolumeId,
    /// Device name of the root.
    pub device: String,
    /// How often the root is snapshotted; absent without root persistence.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "crate::config::optional_duration")]
    pub snapshot_every: Option<jiff::SignedDuration>,
    /// How many completed snapshots are kept.
    pub keep: u32,
    /// The kept interface, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_interface: Option<InterfaceId>,
    /// Whether nothing may be changed.
    #[serde(default)]
    pub suspend: bool,
    /// The operator's tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: crate::names::Tags,
}

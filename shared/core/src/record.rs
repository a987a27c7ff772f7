//! The record: what Perennial knows and intends for one node.
//!
//! A record holds everything that is needed after the instance is gone. Fields added later default, so
//! that every record ever written still loads; a record of a newer schema is never touched.

mod data;
mod parts;
mod standing;
mod steady;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::{DesiredState, NodeConfig};
use crate::ids::{NodeName, Resource, SnapshotId};
use crate::journal::OwnEvent;
use crate::launch::Device;
use crate::limits;
use crate::names::Names;
use crate::observation::VolumeShape;
use crate::phase::Phase;

pub use data::{DataVolume, LeftAlone, Sighted};
pub use parts::{
    Accepted, Blocked, Blueprint, Claim, ElasticIp, FinalSnapshot, Former, Instance, LaunchIntent, Lost,
    Network, NodeImage, Notice, Replacement, Root, Superseded, Unseen,
};
pub use standing::Standing;
pub use steady::{Steady, SteadyVolume};

/// The schema this code writes. 2: a record may tell of lost data and of rests, which code that knows only
/// 1 would overlook. 3: it may tell of a group and of public addresses. 4: it may tell of data volumes.
pub const SCHEMA_VERSION: u32 = 4;

fn is_zero(n: &u32) -> bool {
    *n == 0
}

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
    /// The data volumes that come back with the node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<DataVolume>,
    /// Whether the data volumes of an instance of this life have been seen: from then on they are what the
    /// record says, not what the launch template or the image does.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub data_known: bool,
    /// The data devices of the present launch, until its instance has shown them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mapped: Vec<Device>,
    /// Volumes seen on the instance that are still to be judged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sighted: Vec<Sighted>,
    /// Volumes on the instance that do not come back with it, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_alone: Vec<LeftAlone>,
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
    /// What of this life is kept aside: no success of a later instance can prove it needless, so it stays
    /// until the life ends.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aside: Vec<Resource>,
    /// What was superseded and has been deleted, as far as is known, the last one last: should it be found
    /// again, it is known not to be needed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub departed: Vec<Superseded>,
    /// The launch under way: written before the call, so that no crash can double it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<LaunchIntent>,
    /// The launch of this cycle, if its instance ended before anyone saw it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unseen: Option<Unseen>,
    /// What an image of the last root must say, for registering it once more after its instance is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blueprint: Option<Blueprint>,
    /// The root volume whose last bytes no image and no snapshot holds, as far as is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<Lost>,
    /// The older recovery point that the operator accepted for what is lost, until it is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore: Option<SnapshotId>,
    /// The last value of `restoreFrom` that was used: each is used once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<SnapshotId>,
    /// When the oldest recovery point was taken that the operator accepted since the node last ran: what was
    /// written after it is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_since: Option<Timestamp>,
    /// Since when the node has had no instance that serves it, from the end of the last one or from its
    /// resumption on, until it runs again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub away_since: Option<Timestamp>,
    /// The value of `recycle` that the present launch serves.
    #[serde(default)]
    pub recycled: u32,
    /// The value of its group's `recycle` that the present launch serves.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rolled: u32,
    /// Whether an instance was ever asked for: until then the node has nothing of its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub launched: bool,
    /// Since when the node's item is missing from the config table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absent_since: Option<Timestamp>,
    /// When the node was deallocated: its retention counts from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deallocated_at: Option<Timestamp>,
    /// Nothing is purged before this, whatever the retention says: an edit that ends it is told of first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purge_not_before: Option<Timestamp>,
    /// Since when reads have shown nothing of a node that is being purged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bare_since: Option<Timestamp>,
    /// What a purge left to the operator, as `kind id`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub handed_over: Vec<String>,
    /// Lives of this name that ended before this one, the last one last: what still carries their tags is
    /// a leftover.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former: Vec<Former>,
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
    /// Nothing is cleared away before this: a pause after a refusal, which holds nothing else back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clean_not_before: Option<Timestamp>,
    /// No Elastic IP address is asked for before this: a pause after a refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address_not_before: Option<Timestamp>,
    /// So many of its subnets were found without a free address for its interface.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub subnets_tried: u32,
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
            data: Vec::new(),
            data_known: false,
            mapped: Vec::new(),
            sighted: Vec::new(),
            left_alone: Vec::new(),
            network: None,
            finals: Vec::new(),
            image: None,
            superseded: Vec::new(),
            departed: Vec::new(),
            aside: Vec::new(),
            intent: None,
            unseen: None,
            blueprint: None,
            lost: None,
            restore: None,
            restored: None,
            lost_since: None,
            away_since: None,
            recycled: 0,
            rolled: 0,
            launched: false,
            absent_since: None,
            deallocated_at: None,
            purge_not_before: None,
            bare_since: None,
            handed_over: Vec::new(),
            former: Vec::new(),
            descent: 0,
            stalled_since: None,
            attempts: 0,
            rung: 0,
            claim: None,
            notice: None,
            not_before: None,
            clean_not_before: None,
            address_not_before: None,
            subnets_tried: 0,
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
        ids.extend(self.data.iter().flat_map(DataVolume::resources));
        ids.extend(self.network.iter().map(|n| n.eni_id.to_string()));
        ids.extend(self.finals.iter().filter_map(|f| f.snapshot_id.as_ref()).map(ToString::to_string));
        ids.extend(self.image.iter().filter_map(|i| i.id.as_ref()).map(ToString::to_string));
        ids
    }

    /// Everything that a proven successor makes needless, in the order in which it may be deleted:
    /// volumes, then images, then the snapshots behind them. Of data volumes only what was superseded.
    pub fn needless(&self) -> Vec<Superseded> {
        let mut all: Vec<_> = self.superseded.clone();
        all.extend(self.image.iter().filter_map(|i| i.id.clone()).map(Superseded::Image));
        all.extend(self.finals.iter().filter_map(|f| f.snapshot_id.clone()).map(Superseded::Snapshot));
        // What is kept aside stays, though a present image may stand on it.
        all.retain(|needless| !self.aside.contains(&needless.resource()));
        all.sort();
        all.dedup();
        all
    }

    /// Whether the end of a snapshot changes what is to be done. Of a running node, which remembers none of
    /// its snapshots, any may prove what came before it needless; else only one that the record names.
    pub fn heeds_snapshot(&self, snapshot: &SnapshotId) -> bool {
        if self.phase == Phase::Running {
            return self.work_at.is_some() || !self.needless().is_empty();
        }
        self.resources().contains(snapshot.as_str())
    }

    /// Forgets something that is superseded: it has been deleted, or is kept aside.
    pub fn forget(&mut self, gone: &Superseded) {
        if self.superseded.contains(gone) {
            self.departed.push(gone.clone());
            let surplus = self.departed.len().saturating_sub(limits::DEPARTED_KEPT);
            self.departed.drain(..surplus);
        }
        self.superseded.retain(|s| s != gone);
        match gone {
            Superseded::Volume(_) | Superseded::DataVolume(_) => {}
            Superseded::DataSnapshot(id) => {
                for last in self.data.iter_mut().filter_map(|it| it.last.as_mut()) {
                    last.failed = last.failed.take().filter(|failed| failed != id);
                }
            }
            Superseded::Image(id) => self.image = self.image.take().filter(|i| i.id.as_ref() != Some(id)),
            Superseded::Snapshot(id) => {
                self.finals.retain(|f| f.snapshot_id.as_ref() != Some(id));
                for last in &mut self.finals {
                    last.failed = last.failed.take().filter(|failed| failed != id);
                }
            }
        }
    }

    /// The identity of this life, for reads by tags.
    pub fn life(&self) -> (&str, &str) {
        (self.name.as_str(), &self.life)
    }

    /// Whether the operator wants no instance, or another one than the present one.
    pub fn is_unwanted(&self) -> bool {
        self.goal != DesiredState::Running
            || self.config().recycle > self.recycled
            || self.config().roll > self.rolled
    }

    /// When the node is to be looked at: at its appointment, and sooner if own events were not published.
    pub fn wakes_at(&self) -> Option<Timestamp> {
        if self.outbox.is_empty() {
            return self.work_at;
        }
        let retry = self.updated_at.saturating_add(limits::NEXT_TICK).unwrap_or(self.updated_at);
        Some(self.work_at.map_or(retry, |at| at.min(retry)))
    }

    /// Whether the passes need to know of the node: of one that is gone nothing is left to be done.
    pub fn is_indexed(&self) -> bool {
        self.phase != Phase::Gone || !self.outbox.is_empty()
    }
}

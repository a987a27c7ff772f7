//! The journal of a node and the events of our own that come from it.
//!
//! An entry says what happened and why, in words; an own event says it to machines. Both are written in
//! the transaction of the change they tell of, so neither can be lost or told of something undone.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::phase::Phase;
use crate::record::Record;

/// The `source` of our own events.
pub const SOURCE: &str = "perennial";

/// The kinds of own events; the words are their `detail-type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// Each entry to running.
    #[serde(rename = "Node Running")]
    NodeRunning,
    /// The node runs again on another instance.
    #[serde(rename = "Node Recovered")]
    NodeRecovered,
    /// The node's instance got a notice, or ended without one.
    #[serde(rename = "Node Interrupted")]
    NodeInterrupted,
    /// Something keeps the node from going on.
    #[serde(rename = "Node Blocked")]
    NodeBlocked,
    /// It goes on again.
    #[serde(rename = "Node Unblocked")]
    NodeUnblocked,
    /// The node has no instance, by the operator's wish.
    #[serde(rename = "Node Paused")]
    NodePaused,
    /// The same, and its retention has begun.
    #[serde(rename = "Node Deallocated")]
    NodeDeallocated,
    /// Its retention is over, and nothing is left of it.
    #[serde(rename = "Node Purged")]
    NodePurged,
    /// It is managed no longer.
    #[serde(rename = "Node Released")]
    NodeReleased,
    /// Something carries our tags and is explained by no record.
    #[serde(rename = "Orphan Found")]
    OrphanFound,
    /// The fleet needs more snapshots than the pace or EC2's quota allows.
    #[serde(rename = "Snapshots Lagging")]
    SnapshotsLagging,
    /// A backup of a group is available.
    #[serde(rename = "Backup Created")]
    BackupCreated,
    /// An attempt at one came to nothing, or there was nothing to take one of.
    #[serde(rename = "Backup Failed")]
    BackupFailed,
    /// One was removed with the snapshots it stood on, or handed over with them.
    #[serde(rename = "Backup Removed")]
    BackupRemoved,
    /// An edit of the item is in force.
    #[serde(rename = "Config Accepted")]
    ConfigAccepted,
    /// An edit of the item was refused whole.
    #[serde(rename = "Config Rejected")]
    ConfigRejected,
}

impl Kind {
    /// The event's `detail-type`.
    pub fn detail_type(self) -> &'static str {
        match self {
            Self::NodeRunning => "Node Running",
            Self::NodeRecovered => "Node Recovered",
            Self::NodeInterrupted => "Node Interrupted",
            Self::NodeBlocked => "Node Blocked",
            Self::NodeUnblocked => "Node Unblocked",
            Self::NodePaused => "Node Paused",
            Self::NodeDeallocated => "Node Deallocated",
            Self::NodePurged => "Node Purged",
            Self::NodeReleased => "Node Released",
            Self::OrphanFound => "Orphan Found",
            Self::SnapshotsLagging => "Snapshots Lagging",
            Self::BackupCreated => "Backup Created",
            Self::BackupFailed => "Backup Failed",
            Self::BackupRemoved => "Backup Removed",
            Self::ConfigAccepted => "Config Accepted",
            Self::ConfigRejected => "Config Rejected",
        }
    }
}

/// An event of our own, published at least once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OwnEvent {
    /// What happened.
    pub kind: Kind,
    /// When.
    pub time: Timestamp,
    /// The particulars; `detail.id` is the same however often the event is published.
    pub detail: Detail,
}

/// The particulars of an own event.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Detail {
    /// Stable over repeated publishing: receivers drop what they have seen.
    pub id: String,
    /// The node, by bare name; empty if it is about a group. Of a backup the member that it was made of.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub node: String,
    /// The group, by bare name: what it is about, or what the node is a member of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Its life; empty if it never had one.
    pub life: String,
    /// Its cycle.
    pub cycle: u32,
    /// Its phase; absent if it never had one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Why, as a sentence.
    pub reason: String,
    /// Its instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
    /// Its node image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_id: Option<String>,
    /// Its final snapshots.
    pub snapshot_ids: Vec<String>,
    /// Its volumes.
    pub volume_ids: Vec<String>,
    /// Its kept network interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eni_id: Option<String>,
    /// Seconds spent in each phase since it last ran.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub durations: BTreeMap<Phase, i64>,
    /// From when on writes are lost, if the operator accepted an older recovery point since the node last ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost_since: Option<Timestamp>,
    /// Of a backup: the seconds since the moment that it holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<i64>,
    /// Of a backup: the seconds that it took to be made, or to fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_seconds: Option<i64>,
    /// What is wrong with a rejected config: `path: remedy`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

impl OwnEvent {
    /// An event about a node as its record stands. `nth` tells apart several of one write; the
    /// generation is the one that the write will have.
    pub fn about(record: &Record, kind: Kind, reason: &str, nth: usize, now: Timestamp) -> Self {
        let finals = record.finals.iter().chain(record.data.iter().filter_map(|it| it.last.as_ref()));
        let (roots, data) =
            (record.root.iter().map(|it| &it.volume_id), record.data.iter().map(|it| &it.volume_id));
        let detail = Detail {
            id: format!("{}-{}-{}", record.life, record.generation + 1, nth),
            node: record.name.to_string(),
            group: record.config().group.as_ref().map(ToString::to_string),
            life: record.life.clone(),
            cycle: record.cycle,
            phase: Some(record.phase),
            reason: reason.to_owned(),
            instance_id: record.instance.as_ref().map(|i| i.id.to_string()),
            image_id: record.image.as_ref().and_then(|i| i.id.as_ref()).map(ToString::to_string),
            snapshot_ids: finals.filter_map(|f| f.snapshot_id.as_ref()).map(ToString::to_string).collect(),
            volume_ids: roots.chain(data).map(ToString::to_string).collect(),
            eni_id: record.network.as_ref().map(|n| n.eni_id.to_string()),
            durations: record.durations.clone(),
            lost_since: record.lost_since,
            ..Detail::default()
        };
        Self { kind, time: now, detail }
    }
}

/// One line of a node's journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// When it happened.
    pub time: Timestamp,
    /// What happened, as a sentence.
    pub what: String,
    /// The phase after it.
    pub phase: Phase,
    /// The cycle it happened in.
    pub cycle: u32,
}

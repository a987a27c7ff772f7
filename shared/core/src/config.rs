//! What the operator wants of a node: the validated config and the problems of one that is not.
//!
//! A [`NodeConfig`] can only be had from [`parse()`], which reports every problem at once, each with its
//! place, value and remedy. What an item refers to in AWS is checked by [`references`], and whether the node
//! can get there from where it stands by [`transitions`].

pub mod addresses;
pub mod backup;
pub mod notices;
mod parse;
mod reader;
pub mod references;
pub mod settings;
pub mod transitions;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use backup::BackupPolicy;
pub use parse::{Draft, group_name, node_name, parse, parse_group};

use crate::ids::{AllocationId, GroupName, ImageId, SnapshotId, SubnetId};
use crate::launch::Market;
use crate::limits;
use crate::names::{Tags, digest};

/// The attribute that Perennial answers with.
pub const STATUS: &str = "_status";
/// Every attribute an item may have at its top: what a conditional write of the status must find unchanged.
pub const ATTRIBUTES: [&str; 17] = [
    "desiredState",
    "recycle",
    "restoreFrom",
    "suspend",
    "group",
    "launch",
    "persist",
    "onRebalance",
    "retention",
    "targetGroups",
    "tags",
    "capacity",
    "imageBackup",
    "confirmRemoval",
    "snapshotsPerSecond",
    "launchesPerSecond",
    "id",
];

/// The validated config of a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeConfig {
    /// What the node is to be.
    #[serde(default)]
    pub desired_state: DesiredState,
    /// Raised to replace the instance once.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub recycle: u32,
    /// The recovery point that the operator accepts where the newest is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_from: Option<SnapshotId>,
    /// The group it is a member of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupName>,
    /// The value of its group's `recycle` that it is asked to serve.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub roll: u32,
    /// Its turn among the members of its group, by which they are spread over subnets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<u32>,
    /// How its instances are launched.
    pub launch: Launch,
    /// What outlives its instances.
    #[serde(default)]
    pub persist: Persist,
    /// What to do when EC2 says that the instance is at risk.
    #[serde(default, skip_serializing_if = "OnRebalance::is_default")]
    pub on_rebalance: OnRebalance,
    /// What is kept how long after deallocation.
    #[serde(default)]
    pub retention: Retention,
    /// True: observe and report, change nothing.
    #[serde(default)]
    pub suspend: bool,
    /// Added to everything made for the node.
    #[serde(default)]
    pub tags: Tags,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// What a node is to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DesiredState {
    /// There is to be a running instance.
    #[default]
    Running,
    /// No instance; everything it needs to run again is kept.
    Paused,
    /// No instance; everything is kept for the time of retention, then deleted.
    Deallocated,
    /// No longer managed: everything is left as it is and handed over.
    Released,
}

impl DesiredState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Running, Self::Paused, Self::Deallocated, Self::Released];

    /// The word for it in items, records and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Deallocated => "deallocated",
            Self::Released => "released",
        }
    }

    /// Whether there is to be a node, running or not: one that is not given up.
    pub fn wants_a_node(self) -> bool {
        match self {
            Self::Running | Self::Paused => true,
            Self::Deallocated | Self::Released => false,
        }
    }
}

/// What to do at a rebalance recommendation: EC2's word that an instance is at elevated risk of interruption.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnRebalance {
    /// Nothing.
    Ignore,
    /// An extra snapshot of the root, so that the final one is small should the interruption follow.
    #[default]
    Snapshot,
}

impl OnRebalance {
    // Records written before there was a choice must read back as they were.
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// How instances are launched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Launch {
    /// The launch template.
    pub template: TemplateSpec,
    /// The base image; the template's if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageId>,
    /// In order of preference; the template's if empty.
    #[serde(default)]
    pub instance_types: Vec<String>,
    /// Candidates; the template's if empty.
    #[serde(default)]
    pub subnets: Vec<SubnetId>,
    /// How instances are paid for.
    #[serde(default)]
    pub market: MarketPolicy,
    /// The most to be paid an hour, in dollars; the on-demand price if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_spot_price: Option<String>,
}

/// Which launch template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TemplateSpec {
    /// Its id or its name.
    #[serde(flatten)]
    pub which: TemplateRef,
    /// A number, `$Default` or `$Latest`.
    pub version: String,
}

/// A launch template by id or by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TemplateRef {
    /// `lt-…`
    Id(String),
    /// Its name in this account and Region.
    Name(String),
}

/// How instances are paid for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MarketPolicy {
    /// Spot while any type has capacity, else on-demand.
    #[default]
    SpotThenOnDemand,
    /// Spot only.
    Spot,
    /// On-demand only.
    OnDemand,
}

impl MarketPolicy {
    /// The markets in the order in which they are tried.
    pub fn markets(self) -> &'static [Market] {
        match self {
            Self::SpotThenOnDemand => &[Market::Spot, Market::OnDemand],
            Self::Spot => &[Market::Spot],
            Self::OnDemand => &[Market::OnDemand],
        }
    }
}

/// What outlives an instance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Persist {
    /// The root volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<RootPolicy>,
    /// The data volumes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<DataPolicy>,
    /// The network interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkPolicy>,
}

impl Persist {
    /// How often recovery points are taken and how many are kept; `None` if nothing has any. Root and data of
    /// one moment belong together: where both are kept, the shorter interval and the larger number count.
    pub fn points(&self) -> Option<Points> {
        let root = self.root.as_ref().map(|root| Points { every: root.snapshot_every, keep: root.keep });
        let data = self.data.as_ref().map(|data| Points { every: data.snapshot_every, keep: data.keep });
        match (root, data) {
            (Some(a), Some(b)) => Some(Points { every: a.every.min(b.every), keep: a.keep.max(b.keep) }),
            (one, other) => one.or(other),
        }
    }
}

/// How recovery points are taken while an instance runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Points {
    /// How often.
    pub every: SignedDuration,
    /// How many complete ones are kept.
    pub keep: u32,
}

/// How data volumes are kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DataPolicy {
    /// How they come back.
    pub mode: DataMode,
    /// How often they are snapshotted while the instance runs.
    #[serde(with = "duration")]
    pub snapshot_every: SignedDuration,
    /// How many complete sets are kept.
    pub keep: u32,
}

/// How data volumes come back to the next instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DataMode {
    /// The same volumes, attached once the instance runs; the node stays in their zone.
    #[default]
    Reattach,
    /// New volumes made from final snapshots, there when the instance boots.
    Snapshot,
}

impl DataMode {
    /// The word for it in items and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reattach => "reattach",
            Self::Snapshot => "snapshot",
        }
    }
}

/// How the root volume is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RootPolicy {
    /// How often it is snapshotted while the instance runs.
    #[serde(with = "duration")]
    pub snapshot_every: SignedDuration,
    /// How many completed snapshots are kept.
    pub keep: u32,
}

/// How the network identity is kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkPolicy {
    /// The private address it must have; any of the subnet if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_ip: Option<Ipv4Addr>,
    /// The Elastic IP address that is associated with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elastic_ip: Option<AllocationId>,
    /// Whether the address is another member's now: once deallocated, the node gives up its interface.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub frees_address: bool,
    /// The address that went to another member while this one was given up: not to be waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_address: Option<Ipv4Addr>,
}

/// What the item of a group says of itself, beside what it says of each member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupPart {
    /// How many nodes the group keeps running.
    pub capacity: u32,
    /// Raised to replace all members, one at a time.
    pub recycle: u32,
    /// The private addresses that have a member each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub private_ips: Vec<Ipv4Addr>,
    /// The Elastic IP addresses handed to members, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub elastic_ips: Vec<AllocationId>,
    /// When images are made of a member, and how many are kept; `None` if there are to be no backups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_backup: Option<BackupPolicy>,
}

/// What is kept how long after deallocation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Retention {
    /// How long.
    #[serde(with = "duration")]
    pub after: SignedDuration,
    /// What is deleted then; the rest is handed over.
    pub delete: Vec<Retained>,
}

impl Default for Retention {
    fn default() -> Self {
        Self { after: SignedDuration::from_hours(96), delete: Retained::ALL.to_vec() }
    }
}

/// Kinds of resources under retention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Retained {
    /// Node images.
    Images,
    /// Snapshots.
    Snapshots,
    /// Volumes.
    Volumes,
    /// Network interfaces.
    NetworkInterfaces,
}

impl Retained {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Images, Self::Snapshots, Self::Volumes, Self::NetworkInterfaces];
}

/// What is wrong with an item: the place, what stands there, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The attribute, as a dotted path.
    pub path: String,
    /// What stands there, shortened.
    pub value: String,
    /// What is wrong with it and what to do.
    pub remedy: String,
}

/// As many problems as an answer has room for, with a last one that counts the others.
pub fn at_most_told(mut problems: Vec<Problem>) -> Vec<Problem> {
    let left = problems.len().saturating_sub(limits::PROBLEMS_TOLD);
    if left > 0 {
        problems.truncate(limits::PROBLEMS_TOLD);
        let remedy = "more problems than can be told of: mend these first".to_owned();
        problems.push(Problem { path: "…".to_owned(), value: format!("{left} more"), remedy });
    }
    problems
}

/// Perennial's answer to an edit, kept in the item's `_status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Whether the item is in force.
    pub accepted: bool,
    /// The hash of the item that was judged.
    pub config_hash: String,
    /// Why it is not.
    pub problems: Vec<Problem>,
    /// What the operator should know though nothing is wrong.
    pub notices: Vec<String>,
    /// When it was judged.
    pub checked_at: String,
}

/// The hash of an item as the operator wrote it: without our status, independent of attribute order.
pub fn hash(item: &Value) -> String {
    let mut item = item.clone();
    if let Some(map) = item.as_object_mut() {
        map.remove(STATUS);
    }
    let sorted: Value = sort(item);
    digest(&[&sorted.to_string()])[..32].to_owned()
}

fn sort(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<_, _> = map.into_iter().map(|(k, v)| (k, sort(v))).collect();
            Value::Object(sorted.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sort).collect()),
        other => other,
    }
}

/// Whether an item says anything: one with nothing but its id and our status counts as absent.
pub fn is_absent(item: &Value) -> bool {
    item.as_object().is_none_or(|map| map.keys().all(|key| key == "id" || key == STATUS))
}

/// Whether an item was refused as it stands.
pub fn is_refused(item: &Value) -> bool {
    let status = &item[STATUS];
    status["accepted"] == false && status["configHash"] == hash(item).as_str()
}

/// Durations as whole seconds with their unit, `300s`.
mod duration {
    use jiff::SignedDuration;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(value: &SignedDuration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&format!("{}s", value.as_secs()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SignedDuration, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// The same for a duration that may be absent.
pub(crate) mod optional_duration {
    use jiff::SignedDuration;
    use serde::{Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(value: &Option<SignedDuration>, to: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => super::duration::serialize(value, to),
            None => to.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<SignedDuration>, D::Error> {
        super::duration::deserialize(from).map(Some)
    }
}

//! Periodic snapshots: what is due, what may go, and how old the recovery points are.
//!
//! Nothing is remembered: a snapshot is due by the clock, what exists is read from AWS by tag, and the
//! key in its tag (volume, due time) makes taking it twice harmless. Final and image-backing snapshots
//! are never counted and never touched here, and neither is a copy that carries our tags.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use crate::ids::{InstanceId, NodeName, SnapshotId, VolumeId};
use crate::limits;
use crate::names::{
    Names, Purpose, TAG_CYCLE, TAG_DEVICE, TAG_LIFE, TAG_NODE, TAG_VOLUME, Tags, due_slot, has_key,
    has_purpose, spread,
};
use crate::observation::{InstanceFacts, InstanceState, SnapshotFacts, SnapshotState};
use crate::record::{SCHEMA_VERSION, Steady};
use crate::step::SnapshotRequest;

/// What EC2 shows as the volume of a copied snapshot: an id that names nothing (EC2 API reference,
/// *CopySnapshot*).
const VOLUME_OF_COPIES: &str = "vol-ffffffff";

/// The golden section of all numbers: steps of it fill a circle evenly, however many there are.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// What one pass is to do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Round {
    /// The snapshots to take: the node with the oldest recovery point first, beside every second one a node
    /// whose snapshots were refused so far, as it seems.
    pub take: Vec<Due>,
    /// Nodes that seem to be refused and are not tried at this tick.
    pub put_off: BTreeSet<NodeName>,
    /// The snapshots to delete, the shortest needless first: what is held sinks to the end.
    pub drop: Vec<Needless>,
    /// How each node with periodic snapshots stands, the oldest recovery point first.
    pub points: Vec<Point>,
    /// How many snapshots ended in an error and are to be deleted.
    pub failed: usize,
    /// How many snapshots a second the fleet needs.
    pub needed: f64,
}

/// A snapshot that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Whose.
    pub node: NodeName,
    /// Which.
    pub request: SnapshotRequest,
}

/// A snapshot that may go: newer completed ones fill the places, or it failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needless {
    /// Whose it is.
    pub node: NodeName,
    /// The life it belongs to.
    pub life: String,
    /// Which.
    pub snapshot: SnapshotId,
    /// Since when at the earliest.
    pub since: Timestamp,
    /// The newest completed one of the line: without it none goes. A failed one needs none.
    pub instead: Option<SnapshotId>,
    /// Whether it was pushed out by that one, however long its completion took.
    is_latest: bool,
}

/// How a node stands with the pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Its snapshots are taken.
    Served,
    /// None is to be taken, and nobody need hear of it: it is suspended, or its instance is stopped and writes
    /// nothing.
    Idle(&'static str),
    /// None can be taken, and why.
    Unserved(&'static str),
}

/// The newest recovery point of a running node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// The node.
    pub node: NodeName,
    /// Its life.
    pub life: String,
    /// Its cycle.
    pub cycle: u32,
    /// Which snapshot it is; `None` if there is none yet.
    pub snapshot: Option<SnapshotId>,
    /// The size of all its blocks in bytes, as EC2 tells it: what a volume made from it has to read.
    pub bytes: Option<u64>,
    /// How old it is; without one, how long the instance has been there.
    pub age: SignedDuration,
    /// How long ago the next snapshot should have been taken, at the node's own interval; not negative.
    pub lag: SignedDuration,
    /// For how long the next one has been pending, if one is.
    pub pending: Option<SignedDuration>,
    /// Whether there will be a next one.
    pub standing: Standing,
}

/// Decides for all running nodes, from all snapshots of the deployment that are rotated and from the
/// instances as they are now. `pace`: so many snapshots a second are taken at most.
pub fn round(
    nodes: &[Steady],
    snapshots: &[SnapshotFacts],
    instances: &BTreeMap<InstanceId, InstanceFacts>,
    deployment: &str,
    pace: u32,
    now: Timestamp,
) -> Round {
    let lines = by_node(snapshots);
    let mut round = Round::default();
    let mut order = Order::of(nodes, snapshots, pace, now);
    for steady in nodes {
        let Some(every) = steady.snapshot_every else { continue };
        let own = lines.get(&(steady.node.as_str(), steady.life.as_str())).map_or(&[][..], Vec::as_slice);
        let line: Vec<&SnapshotFacts> =
            own.iter().copied().filter(|s| in_line(s, steady, deployment)).collect();
        let instance = instances.get(&steady.instance);
        let standing = standing(steady, instance);
        let launched_at = instance.and_then(|instance| instance.launched_at);
        round.points.push(point(steady, &line, launched_at, every, standing, now));
        if steady.suspend || steady.schema_version > SCHEMA_VERSION {
            continue;
        }
        round.needed += 1.0 / every.as_secs_f64().max(1.0);
        if standing == Standing::Served
            && let Some(request) = due(steady, &line, every, deployment, now)
        {
            let last = last_of_volume(steady, &line).map(|s| s.started_at);
            order.add(Due { node: steady.node.clone(), request }, last, launched_at, every);
        }
        round.failed += line.iter().filter(|s| s.state == SnapshotState::Error).count();
        round.drop.extend(needless(steady, &line).into_iter().filter(|it| it.is_its_turn(now)));
    }
    (round.take, round.put_off) = order.conclude();
    round.drop.sort_by(|a, b| (b.since, &b.snapshot).cmp(&(a.since, &a.snapshot)));
    round.points.sort_by(|a, b| (Reverse(a.age), &a.node).cmp(&(Reverse(b.age), &b.node)));
    round
}

/// The order in which snapshots are taken.
///
/// What is refused always (a key that is disabled, rights that are missing) leaves no trace in AWS but a
/// recovery point that grows older than its turn. Oldest first, such nodes would stand in front for ever. So
/// whoever is *behind* though others were served gets every second place at most, in an order that changes
/// with the minute, and not at every tick.
struct Order {
    now: Timestamp,
    /// How many seconds it takes to serve every node once.
    around: SignedDuration,
    /// When any node was served last.
    served: Option<Timestamp>,
    on_time: Vec<(Option<Timestamp>, Due)>,
    behind: Vec<(u64, Due)>,
    put_off: BTreeSet<NodeName>,
}

impl Order {
    fn of(nodes: &[Steady], snapshots: &[SnapshotFacts], pace: u32, now: Timestamp) -> Self {
        let n = nodes.iter().filter(|it| it.snapshot_every.is_some() && !it.suspend).count();
        let around = i64::try_from(n).unwrap_or(i64::MAX) / i64::from(pace.max(1));
        let served = snapshots.iter().filter(|it| it.own && it.state != SnapshotState::Error);
        Self {
            now,
            around: SignedDuration::from_secs(around),
            served: served.map(|it| it.started_at).max(),
            on_time: Vec::new(),
            behind: Vec::new(),
            put_off: BTreeSet::new(),
        }
    }

    /// Adds a node that was snapshotted last at this time, or launched at that.
    fn add(
        &mut self,
        due: Due,
        last: Option<Timestamp>,
        launched_at: Option<Timestamp>,
        every: SignedDuration,
    ) {
        let since = last.or(launched_at).unwrap_or(self.now);
        let turn = every.max(self.around);
        // Where nobody was served the fault is not the node's.
        let passed_over = self.served.map_or(SignedDuration::ZERO, |served| served.duration_since(since));
        // Two turns: whoever merely waits its first turn in a fleet that was launched at once is not behind.
        let late = passed_over.saturating_sub(turn.saturating_mul(2)).saturating_sub(limits::TURN_SLACK);
        let late = late.max(SignedDuration::ZERO);
        let is_behind = late.is_positive()
            || self.now.duration_since(since) > turn.saturating_mul(3).saturating_add(limits::TURN_SLACK);
        let (minute, own) = (minute(self.now), spread(due.request.volume.as_str()));
        if !is_behind {
            self.on_time.push((last, due));
        } else if minute % ticks_between(late) == own % ticks_between(late) {
            // Round and round through all of them: each minute begins somewhere else.
            self.behind.push((own.wrapping_sub(minute.wrapping_mul(GOLDEN)), due));
        } else {
            self.put_off.insert(due.node);
        }
    }

    fn conclude(mut self) -> (Vec<Due>, BTreeSet<NodeName>) {
        self.on_time.sort_by(|(a, a_due), (b, b_due)| (a, &a_due.node).cmp(&(b, &b_due.node)));
        self.behind.sort_by(|(a, a_due), (b, b_due)| (a, &a_due.node).cmp(&(b, &b_due.node)));
        let mut on_time = self.on_time.into_iter().map(|(_, due)| due);
        let mut behind = self.behind.into_iter().map(|(_, due)| due);
        let mut take = Vec::new();
        loop {
            let before = take.len();
            take.extend(on_time.next());
            take.extend(behind.next());
            if take.len() == before {
                return (take, self.put_off);
            }
        }
    }
}

/// Every so many ticks a node is tried that was passed over for so long.
fn ticks_between(late: SignedDuration) -> u64 {
    match late.as_secs().unsigned_abs() / limits::REFUSED_STEP.as_secs().unsigned_abs() {
        _ if late.is_zero() => 1,
        steps => steps.clamp(2, limits::REFUSED_TICKS),
    }
}

/// The minute of a tick.
fn minute(now: Timestamp) -> u64 {
    now.as_second().unsigned_abs() / 60
}

/// Whether a snapshot is a copy of the one that its tags are about: its start time is that of the copying, and
/// its bytes are older.
pub fn is_copy(snapshot: &SnapshotFacts) -> bool {
    let volume = snapshot.volume.as_str();
    snapshot.tags.get(TAG_VOLUME).map_or(volume == VOLUME_OF_COPIES, |taken_of| taken_of != volume)
}

/// Whether a snapshot belongs to the line of a node's root and is one that rotation may count. What was
/// taken before the present root's descent began is neither counted nor touched.
fn in_line(snapshot: &SnapshotFacts, steady: &Steady, deployment: &str) -> bool {
    let names = Names { deployment, node: &steady.node, life: &steady.life };
    snapshot.own
        && names.owns(&snapshot.tags)
        && !is_copy(snapshot)
        && Purpose::ROTATED.iter().any(|purpose| has_purpose(&snapshot.tags, *purpose))
        && snapshot.tags.get(TAG_DEVICE).is_none_or(|device| *device == steady.device)
        && cycle_of(snapshot).is_some_and(|cycle| cycle >= steady.descent)
}

fn cycle_of(snapshot: &SnapshotFacts) -> Option<u32> {
    snapshot.tags.get(TAG_CYCLE)?.parse().ok()
}

/// The newest snapshot of a node's present volume that did not fail.
fn last_of_volume<'s>(steady: &Steady, line: &[&'s SnapshotFacts]) -> Option<&'s SnapshotFacts> {
    let of_volume = line.iter().filter(|s| s.volume == steady.volume && s.state != SnapshotState::Error);
    of_volume.copied().max_by_key(|s| s.started_at)
}

/// The periodic snapshot that is due, if one is and nothing stands against it. A slot that was missed is
/// not made up for once the next one has come.
fn due(
    steady: &Steady,
    line: &[&SnapshotFacts],
    every: SignedDuration,
    deployment: &str,
    now: Timestamp,
) -> Option<SnapshotRequest> {
    let due = due_slot(&steady.life, "snapshot", every, now);
    let names = Names { deployment, node: &steady.node, life: &steady.life };
    let key = names.periodic(&steady.volume, due);
    let of_volume = || line.iter().filter(|s| s.volume == steady.volume);
    let taken = of_volume().any(|s| has_key(&s.tags, &key));
    let pending = of_volume().any(|s| s.state == SnapshotState::Pending);
    let too_soon = of_volume().any(|s| now.duration_since(s.started_at) < limits::SNAPSHOT_SPACING);
    if taken || pending || too_soon {
        return None;
    }
    Some(request(steady, &names, key, due))
}

/// Whether a snapshot of a node's root can be taken: a running instance must hold it.
fn standing(steady: &Steady, instance: Option<&InstanceFacts>) -> Standing {
    let Some(instance) = instance.filter(|_| !steady.suspend) else {
        return if steady.suspend {
            Standing::Idle("suspended")
        } else {
            Standing::Unserved("EC2 shows no such instance")
        };
    };
    if steady.schema_version > SCHEMA_VERSION {
        Standing::Unserved("its record is of a newer version of Perennial")
    } else if matches!(instance.state, InstanceState::Stopping | InstanceState::Stopped) {
        Standing::Idle("its instance is stopped")
    } else if instance.state != InstanceState::Running {
        Standing::Unserved("its instance is not running")
    } else if !instance.volumes.iter().any(|volume| volume.volume == steady.volume) {
        Standing::Unserved("its instance does not hold its root")
    } else {
        Standing::Served
    }
}

fn request(steady: &Steady, names: &Names<'_>, key: String, due: Timestamp) -> SnapshotRequest {
    let mut tags: Tags = names.tags(&steady.tags, steady.cycle, Purpose::Periodic, &key);
    tags.insert(TAG_DEVICE.to_owned(), steady.device.clone());
    tags.insert(TAG_VOLUME.to_owned(), steady.volume.to_string());
    let volume: VolumeId = steady.volume.clone();
    SnapshotRequest {
        volume,
        purpose: Purpose::Periodic,
        key,
        tags,
        description: format!("Perennial: periodic snapshot of {}, due {due}", steady.node),
    }
}

/// How a node stands: only what is complete is a recovery point.
fn point(
    steady: &Steady,
    line: &[&SnapshotFacts],
    launched_at: Option<Timestamp>,
    every: SignedDuration,
    standing: Standing,
    now: Timestamp,
) -> Point {
    let completed = line.iter().filter(|s| s.state == SnapshotState::Completed);
    let newest = completed.max_by_key(|s| s.started_at);
    // Whatever was ever begun tells at least how long there has been something to secure.
    let first = || line.iter().map(|s| s.started_at).min();
    let since = newest.map(|s| s.started_at).or(launched_at).or_else(first).unwrap_or(now);
    let pending = line.iter().filter(|s| s.state == SnapshotState::Pending && s.volume == steady.volume);
    let pending = pending.map(|s| s.started_at).max();
    // The next one is under way if it follows on the last; not if others were lost in between.
    let is_under_way = |begun: Timestamp| {
        begun.duration_since(since) <= every.saturating_mul(2) && now.duration_since(begun) <= every
    };
    let last = pending.filter(|begun| is_under_way(*begun)).map_or(since, |begun| begun.max(since));
    Point {
        node: steady.node.clone(),
        life: steady.life.clone(),
        cycle: steady.cycle,
        snapshot: newest.map(|s| s.id.clone()),
        bytes: newest.and_then(|s| s.full_bytes),
        age: now.duration_since(since).max(SignedDuration::ZERO),
        lag: now.duration_since(last).saturating_sub(every).max(SignedDuration::ZERO),
        pending: pending.map(|begun| now.duration_since(begun).max(SignedDuration::ZERO)),
        standing,
    }
}

/// The snapshots of a line that may go: failed ones, and completed ones older than the newest `keep`.
/// Pending ones neither count nor go, so the last completed one always stays.
fn needless(steady: &Steady, line: &[&SnapshotFacts]) -> Vec<Needless> {
    let keep = steady.keep.max(1) as usize;
    let mut completed: Vec<_> = line.iter().filter(|s| s.state == SnapshotState::Completed).collect();
    completed.sort_by(|a, b| b.started_at.cmp(&a.started_at).then_with(|| b.id.cmp(&a.id)));
    let newest = completed.first().map(|s| &s.id);
    let of = |snapshot: &SnapshotFacts, since, instead: Option<&SnapshotId>, is_latest| Needless {
        node: steady.node.clone(),
        life: steady.life.clone(),
        snapshot: snapshot.id.clone(),
        since,
        instead: instead.cloned(),
        is_latest,
    };
    // Each was pushed out by the one that is `keep` places newer, not before that was begun.
    let pushed = completed.iter().skip(keep).zip(&completed).enumerate();
    let pushed = pushed.map(|(n, (old, new))| of(old, new.started_at, newest, n == 0));
    let failed = line.iter().filter(|s| s.state == SnapshotState::Error);
    pushed.chain(failed.map(|s| of(s, s.started_at, None, false))).collect()
}

impl Needless {
    /// Whether it should long be gone: an image may stand on it, or a lock.
    pub fn is_overdue(&self, now: Timestamp) -> bool {
        now.duration_since(self.since) >= limits::ROTATION_EAGER
    }

    /// Whether the deletion is tried at this tick: what should long be gone is tried more rarely, at minutes
    /// of its own, so that something held is not tried for ever at every tick.
    fn is_its_turn(&self, now: Timestamp) -> bool {
        let every = if self.is_latest || !self.is_overdue(now) { 1 } else { limits::ROTATION_HELD_TICKS };
        minute(now) % every == spread(self.snapshot.as_str()) % every
    }
}

/// Groups snapshots by node and life, so that each node looks only at its own.
fn by_node(snapshots: &[SnapshotFacts]) -> BTreeMap<(&str, &str), Vec<&SnapshotFacts>> {
    let mut groups: BTreeMap<(&str, &str), Vec<&SnapshotFacts>> = BTreeMap::new();
    for snapshot in snapshots {
        if let (Some(node), Some(life)) = (snapshot.tags.get(TAG_NODE), snapshot.tags.get(TAG_LIFE)) {
            groups.entry((node, life)).or_default().push(snapshot);
        }
    }
    groups
}

#[cfg(test)]
mod tests;

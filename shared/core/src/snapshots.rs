//! Periodic snapshots: what is due, what may go, and how old the recovery points are.
//!
//! Nothing is remembered: a recovery point is due by the clock, what exists is read from AWS by tag, and the
//! key in its tags (first volume, due time) makes taking it twice harmless. Of a node with several volumes that
//! are kept each is a set of snapshots of one moment, counted, and pushed out, as one. Final and image-backing
//! snapshots are never counted and never touched here, and neither is a copy that carries our tags.

mod request;
mod sets;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use crate::ids::{InstanceId, NodeName, SnapshotId, VolumeId};
use crate::limits;
use crate::names::{
    Names, Purpose, TAG_CYCLE, TAG_LIFE, TAG_NODE, TAG_VOLUME, due_slot, has_key, has_purpose, spread,
};
use crate::observation::{InstanceFacts, InstanceState, SnapshotFacts, SnapshotState};
use crate::record::{SCHEMA_VERSION, Steady};
use crate::step::PointRequest;

pub use request::{Asked, Why, obstacle, request};
pub use sets::{Set, Worth, sets};

/// What EC2 shows as the volume of a copied snapshot: an id that names nothing (EC2 API reference,
/// *CopySnapshot*).
const VOLUME_OF_COPIES: &str = "vol-ffffffff";

/// The golden section of all numbers: steps of it fill a circle evenly, however many there are.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// What one pass is to do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Round {
    /// The recovery points to take: the node with the oldest one first, beside every second one a node whose
    /// snapshots were refused so far, as it seems. Each is one call, of however many volumes.
    pub take: Vec<Due>,
    /// Nodes that seem to be refused and are not tried at this tick.
    pub put_off: BTreeSet<NodeName>,
    /// The snapshots to delete, the shortest needless first: what is held sinks to the end.
    pub drop: Vec<Needless>,
    /// How each node with periodic snapshots stands, the oldest recovery point first.
    pub points: Vec<Point>,
    /// How many snapshots ended in an error and are to be deleted.
    pub failed: usize,
    /// The pace that the fleet needs, in calls of one kind a second. That is how many snapshots it takes: a set
    /// is one call to take, and as many as it has parts to delete.
    pub needed: f64,
}

/// A recovery point that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Whose.
    pub node: NodeName,
    /// Which.
    pub request: PointRequest,
}

/// A snapshot that may go: newer complete sets fill the places, or it failed.
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
    /// All parts of the newest complete set of the line: without each of them none goes. A failed one needs none.
    pub instead: Vec<SnapshotId>,
    /// Whether it was pushed out by that set, however long its completion took.
    is_latest: bool,
}

/// How a node stands with the pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Its snapshots are taken.
    Served,
    /// None is to be taken, and nobody need hear of it: it is suspended, its instance is stopped and writes
    /// nothing, or there is nothing to secure.
    Idle(&'static str),
    /// None can be taken, and why.
    Unserved(Why),
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
    /// Which snapshot it is, of a set its first part; `None` if there is none yet.
    pub snapshot: Option<SnapshotId>,
    /// The size of all blocks of all its parts in bytes, as EC2 tells it: what volumes made from it have to read.
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

/// What a node has in the account, and what is to be secured of it.
struct Line<'a> {
    steady: &'a Steady,
    names: Names<'a>,
    every: SignedDuration,
    /// The volumes that its recovery points are taken of, with their device names.
    secured: Vec<(&'a VolumeId, &'a str)>,
    /// Its snapshots that rotation counts.
    snapshots: Vec<&'a SnapshotFacts>,
    /// The same as recovery points, the newest first.
    sets: Vec<Set<'a>>,
    now: Timestamp,
}

/// Decides for all running nodes, from all snapshots of the deployment that are rotated and from the
/// instances as they are now. `pace`: so many calls of one kind are made in a second at most.
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
        let own = lines.get(&(steady.node.as_str(), steady.life.as_str())).map_or(&[][..], Vec::as_slice);
        let Some(line) = Line::of(steady, own, deployment, now) else { continue };
        let instance = instances.get(&steady.instance);
        let standing = standing(&line, instance);
        let launched_at = instance.and_then(|instance| instance.launched_at);
        let is_served = standing == Standing::Served;
        round.points.push(point(&line, launched_at, standing));
        if steady.suspend || steady.schema_version > SCHEMA_VERSION {
            continue;
        }
        round.needed += line.secured.len() as f64 / line.every.as_secs_f64().max(1.0);
        if let Some(instance) = instance.filter(|_| is_served)
            && let Some(request) = due(&line, instance)
        {
            let last = line.of_secured().filter(|s| s.state != SnapshotState::Error).map(|s| s.started_at);
            order.add(Due { node: steady.node.clone(), request }, last.max(), launched_at, line.every);
        }
        round.failed += line.snapshots.iter().filter(|s| s.state == SnapshotState::Error).count();
        round.drop.extend(needless(&line).into_iter().filter(|it| it.is_its_turn(now)));
    }
    (round.take, round.put_off) = order.conclude();
    round.drop.sort_by(|a, b| (b.since, &b.snapshot).cmp(&(a.since, &a.snapshot)));
    round.points.sort_by(|a, b| (Reverse(a.age), &a.node).cmp(&(Reverse(b.age), &b.node)));
    round
}

impl<'a> Line<'a> {
    /// The line of a node, from its snapshots; `None` if nothing of it is snapshotted.
    fn of(
        steady: &'a Steady,
        own: &[&'a SnapshotFacts],
        deployment: &'a str,
        now: Timestamp,
    ) -> Option<Self> {
        let every = steady.snapshot_every?;
        let names = Names { deployment, node: &steady.node, life: &steady.life };
        let snapshots: Vec<_> = own.iter().copied().filter(|s| in_line(s, steady, &names)).collect();
        let sets = sets(snapshots.iter().copied(), now);
        Some(Self { steady, names, every, secured: steady.secured().collect(), snapshots, sets, now })
    }

    /// Whether this is a volume that recovery points are taken of.
    fn secures(&self, volume: &VolumeId) -> bool {
        self.secured.iter().any(|(it, _)| *it == volume)
    }

    /// The snapshots of such volumes.
    fn of_secured(&self) -> impl Iterator<Item = &'a SnapshotFacts> {
        self.snapshots.iter().copied().filter(|snapshot| self.secures(&snapshot.volume))
    }

    /// When the youngest pending one of them was begun.
    fn pending_since(&self) -> Option<Timestamp> {
        self.of_secured().filter(|s| s.state == SnapshotState::Pending).map(|s| s.started_at).max()
    }
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
        let first = due.request.volumes().first().map_or("", |volume| volume.as_str());
        let (minute, own) = (minute(self.now), spread(first));
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
/// its bytes are older. The parts of a set share their tags, which name no volume: copies of those are told by
/// what EC2 shows in its place.
pub fn is_copy(snapshot: &SnapshotFacts) -> bool {
    let volume = snapshot.volume.as_str();
    snapshot.tags.get(TAG_VOLUME).map_or(volume == VOLUME_OF_COPIES, |taken_of| taken_of != volume)
}

/// Whether a snapshot belongs to the line of a node and is one that rotation may count. What was taken before
/// the present root's descent began is neither counted nor touched.
fn in_line(snapshot: &SnapshotFacts, steady: &Steady, names: &Names<'_>) -> bool {
    snapshot.own
        && names.owns(&snapshot.tags)
        && !is_copy(snapshot)
        && Purpose::ROTATED.iter().any(|purpose| has_purpose(&snapshot.tags, *purpose))
        && cycle_of(snapshot).is_some_and(|cycle| cycle >= steady.descent)
}

fn cycle_of(snapshot: &SnapshotFacts) -> Option<u32> {
    snapshot.tags.get(TAG_CYCLE)?.parse().ok()
}

/// The recovery point that is due, if one is and nothing stands against it. A slot that was missed is not made
/// up for once the next one has come.
fn due(line: &Line<'_>, instance: &InstanceFacts) -> Option<PointRequest> {
    let (steady, names) = (line.steady, &line.names);
    let (first, _) = line.secured.first()?;
    let due = due_slot(&steady.life, "snapshot", line.every, line.now);
    let key = names.periodic(first, due);
    let taken = line.of_secured().any(|s| has_key(&s.tags, &key));
    let too_soon =
        line.of_secured().any(|s| line.now.duration_since(s.started_at) < limits::SNAPSHOT_SPACING);
    if taken || too_soon || line.pending_since().is_some() {
        return None;
    }
    let tags = names.tags(&steady.tags, steady.cycle, Purpose::Periodic, &key);
    let description = format!("Perennial: periodic snapshot of {}, due {due}", steady.node);
    request(instance, &line.secured, Asked { purpose: Purpose::Periodic, key, tags, description }).ok()
}

/// Whether a recovery point of a node can be taken: a running instance must hold all that is secured.
fn standing(line: &Line<'_>, instance: Option<&InstanceFacts>) -> Standing {
    let steady = line.steady;
    let Some(instance) = instance.filter(|_| !steady.suspend) else {
        return if steady.suspend {
            Standing::Idle("suspended")
        } else {
            Standing::Unserved("EC2 shows no such instance".into())
        };
    };
    if steady.schema_version > SCHEMA_VERSION {
        Standing::Unserved("its record is of a newer version of Perennial".into())
    } else if matches!(instance.state, InstanceState::Stopping | InstanceState::Stopped) {
        Standing::Idle("its instance is stopped")
    } else if instance.state != InstanceState::Running {
        Standing::Unserved("its instance is not running".into())
    } else if let Some(why) = obstacle(instance, &line.secured) {
        Standing::Unserved(why)
    } else if !line.secured.is_empty() {
        Standing::Served
    } else if steady.data.is_empty() {
        Standing::Idle("it has no data volume")
    } else {
        Standing::Unserved("its data volumes do not carry Perennial's tags".into())
    }
}

/// How a node stands: only a complete set is a recovery point.
fn point(line: &Line<'_>, launched_at: Option<Timestamp>, standing: Standing) -> Point {
    let (steady, now) = (line.steady, line.now);
    let newest = line.sets.iter().find(|set| set.is_complete());
    // Whatever was ever begun tells at least how long there has been something to secure.
    let first = || line.snapshots.iter().map(|s| s.started_at).min();
    let since = newest.map(|set| set.started_at).or(launched_at).or_else(first).unwrap_or(now);
    // The next one is under way if it follows on the last; not if others were lost in between.
    let is_under_way = |begun: Timestamp| {
        begun.duration_since(since) <= line.every.saturating_mul(2) && now.duration_since(begun) <= line.every
    };
    let is_present = |set: &&Set<'_>| set.parts.iter().any(|part| line.secures(&part.volume));
    let next = line.sets.iter().filter(|set| set.worth == Worth::Pending).find(is_present);
    let next = next.map(|set| set.started_at).filter(|begun| is_under_way(*begun));
    let last = next.map_or(since, |begun| begun.max(since));
    Point {
        node: steady.node.clone(),
        life: steady.life.clone(),
        cycle: steady.cycle,
        snapshot: newest.and_then(Set::first).cloned(),
        bytes: newest.and_then(Set::bytes),
        age: now.duration_since(since).max(SignedDuration::ZERO),
        lag: now.duration_since(last).saturating_sub(line.every).max(SignedDuration::ZERO),
        pending: line.pending_since().map(|begun| now.duration_since(begun).max(SignedDuration::ZERO)),
        standing,
    }
}

/// The snapshots of a line that may go: failed ones, those of complete sets older than the newest `keep`, and
/// what is left of a set that came to nothing, once a newer one is complete: till then nothing else may hold
/// the bytes of its volume. Pending ones neither count nor go, so the newest complete set always stays.
fn needless(line: &Line<'_>) -> Vec<Needless> {
    let keep = line.steady.keep.max(1) as usize;
    let complete: Vec<&Set<'_>> = line.sets.iter().filter(|set| set.is_complete()).collect();
    let newest: Vec<SnapshotId> =
        complete.first().iter().flat_map(|set| &set.parts).map(|part| part.id.clone()).collect();
    let of = |part: &SnapshotFacts, since, instead: &[SnapshotId], is_latest| Needless {
        node: line.steady.node.clone(),
        life: line.steady.life.clone(),
        snapshot: part.id.clone(),
        since,
        instead: instead.to_vec(),
        is_latest,
    };
    let mut needless = Vec::new();
    // Each was pushed out by the one that is `keep` places newer, not before that was begun.
    for (n, (old, new)) in complete.iter().skip(keep).zip(&complete).enumerate() {
        needless.extend(old.parts.iter().map(|part| of(part, new.started_at, &newest, n == 0)));
    }
    for set in line.sets.iter().filter(|set| set.worth == Worth::Broken) {
        let newer = complete.iter().take_while(|newer| newer.started_at > set.started_at);
        let instead = newer.clone().last().map(|next| (next.started_at, newer.count() == 1));
        needless.extend(set.parts.iter().filter_map(|part| match (part.state, instead) {
            (SnapshotState::Error, _) => Some(of(part, part.started_at, &[], false)),
            (SnapshotState::Completed, Some((since, is_latest))) => Some(of(part, since, &newest, is_latest)),
            (SnapshotState::Completed, None) | (SnapshotState::Pending, _) => None,
        }));
    }
    needless
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

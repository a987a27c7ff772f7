//! Periodic snapshots: what is due, what may go, and how old the recovery points are.
//!
//! Nothing is remembered: a snapshot is due by the clock, what exists is read from AWS by tag, and the
//! key in its tag (volume, due time) makes taking it twice harmless. Final and image-backing snapshots
//! are never counted and never touched here.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::ids::{InstanceId, NodeName, SnapshotId, VolumeId};
use crate::limits;
use crate::names::{
    Names, Purpose, TAG_CYCLE, TAG_DEVICE, TAG_LIFE, TAG_NODE, Tags, due_slot, has_key, has_purpose, spread,
};
use crate::observation::{InstanceFacts, InstanceState, SnapshotFacts, SnapshotState};
use crate::record::{SCHEMA_VERSION, Steady};
use crate::step::SnapshotRequest;

/// What one pass is to do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Round {
    /// The snapshots to take, the node with the oldest recovery point first.
    pub take: Vec<SnapshotRequest>,
    /// The snapshots to delete, the longest needless first.
    pub drop: Vec<Needless>,
    /// How each node with periodic snapshots stands, the oldest recovery point first.
    pub points: Vec<Point>,
    /// How many snapshots ended in an error and are to be deleted.
    pub failed: usize,
    /// How many snapshots a second the fleet needs.
    pub needed: f64,
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
}

/// Decides for all running nodes, from all snapshots of the deployment that are rotated and from the
/// instances as they are now.
pub fn round(
    nodes: &[Steady],
    snapshots: &[SnapshotFacts],
    instances: &BTreeMap<InstanceId, InstanceFacts>,
    deployment: &str,
    now: Timestamp,
) -> Round {
    let lines = by_node(snapshots);
    let mut round = Round::default();
    let mut take = Vec::new();
    for steady in nodes.iter().filter(|node| !node.suspend && node.schema_version <= SCHEMA_VERSION) {
        let Some(every) = steady.snapshot_every else { continue };
        round.needed += 1.0 / every.as_secs_f64().max(1.0);
        let own = lines.get(&(steady.node.as_str(), steady.life.as_str())).map_or(&[][..], Vec::as_slice);
        let line: Vec<&SnapshotFacts> =
            own.iter().copied().filter(|s| in_line(s, steady, deployment)).collect();
        if let Some(instance) = holder(steady, instances) {
            let last = last_of_volume(steady, &line).map(|s| s.started_at);
            let due = due(steady, &line, every, deployment, now);
            take.extend(due.map(|request| (last, steady.node.clone(), request)));
            round.points.push(point(steady, &line, last.or(instance.launched_at), every, now));
        }
        round.failed += line.iter().filter(|s| s.state == SnapshotState::Error).count();
        round.drop.extend(needless(steady, &line).into_iter().filter(|it| is_its_turn(it, now)));
    }
    take.sort_by(|(a, a_node, _), (b, b_node, _)| (a, a_node).cmp(&(b, b_node)));
    round.take = take.into_iter().map(|(_, _, request)| request).collect();
    round.drop.sort_by(|a, b| (a.since, &a.snapshot).cmp(&(b.since, &b.snapshot)));
    round.points.sort_by(|a, b| (Reverse(a.age), &a.node).cmp(&(Reverse(b.age), &b.node)));
    round
}

/// Whether a snapshot belongs to the line of a node's root and is one that rotation may count. What was
/// taken before the present root's descent began is neither counted nor touched.
fn in_line(snapshot: &SnapshotFacts, steady: &Steady, deployment: &str) -> bool {
    let names = Names { deployment, node: &steady.node, life: &steady.life };
    snapshot.own
        && names.owns(&snapshot.tags)
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

/// The running instance that holds a node's root.
fn holder<'i>(
    steady: &Steady,
    instances: &'i BTreeMap<InstanceId, InstanceFacts>,
) -> Option<&'i InstanceFacts> {
    instances.get(&steady.instance).filter(|instance| {
        instance.state == InstanceState::Running
            && instance.volumes.iter().any(|volume| volume.volume == steady.volume)
    })
}

fn request(steady: &Steady, names: &Names<'_>, key: String, due: Timestamp) -> SnapshotRequest {
    let mut tags: Tags = names.tags(&steady.tags, steady.cycle, Purpose::Periodic, &key);
    tags.insert(TAG_DEVICE.to_owned(), steady.device.clone());
    let volume: VolumeId = steady.volume.clone();
    SnapshotRequest {
        volume,
        purpose: Purpose::Periodic,
        key,
        tags,
        description: format!("Perennial: periodic snapshot of {}, due {due}", steady.node),
    }
}

/// How a node stands. `last`: when its volume was last snapshotted, or its instance launched.
fn point(
    steady: &Steady,
    line: &[&SnapshotFacts],
    last: Option<Timestamp>,
    every: SignedDuration,
    now: Timestamp,
) -> Point {
    let completed = line.iter().filter(|s| s.state == SnapshotState::Completed);
    let newest = completed.max_by_key(|s| s.started_at);
    let since = |at: Option<Timestamp>| at.map_or(SignedDuration::ZERO, |at| now.duration_since(at));
    Point {
        node: steady.node.clone(),
        life: steady.life.clone(),
        cycle: steady.cycle,
        snapshot: newest.map(|s| s.id.clone()),
        bytes: newest.and_then(|s| s.full_bytes),
        age: since(newest.map(|s| s.started_at).or(last)).max(SignedDuration::ZERO),
        lag: since(last).saturating_sub(every).max(SignedDuration::ZERO),
    }
}

/// The snapshots of a line that may go: failed ones, and completed ones older than the newest `keep`.
/// Pending ones neither count nor go, so the last completed one always stays.
fn needless(steady: &Steady, line: &[&SnapshotFacts]) -> Vec<Needless> {
    let keep = steady.keep.max(1) as usize;
    let mut completed: Vec<_> = line.iter().filter(|s| s.state == SnapshotState::Completed).collect();
    completed.sort_by(|a, b| b.started_at.cmp(&a.started_at).then_with(|| b.id.cmp(&a.id)));
    // Each was pushed out by the one that is `keep` places newer, not before that was begun.
    let pushed =
        completed.iter().skip(keep).zip(&completed).map(|(old, new)| (old.id.clone(), new.started_at));
    let failed = line.iter().filter(|s| s.state == SnapshotState::Error);
    let of = |(snapshot, since)| Needless {
        node: steady.node.clone(),
        life: steady.life.clone(),
        snapshot,
        since,
    };
    pushed.chain(failed.map(|s| (s.id.clone(), s.started_at))).map(of).collect()
}

impl Needless {
    /// Whether something holds it: it should long be gone. An image may stand on it, or a lock.
    pub fn is_held(&self, now: Timestamp) -> bool {
        now.duration_since(self.since) >= limits::ROTATION_EAGER
    }
}

/// Whether the deletion is tried at this tick: what is held is tried ever more rarely, at minutes of its
/// own, so that it does not keep others waiting.
fn is_its_turn(needless: &Needless, now: Timestamp) -> bool {
    let every = match now.duration_since(needless.since) {
        _ if !needless.is_held(now) => 1,
        late if late < limits::ROTATION_PATIENT => limits::ROTATION_HELD_TICKS,
        _ => limits::ROTATION_LOST_TICKS,
    };
    let minute = now.as_second().unsigned_abs() / 60;
    minute % every == spread(needless.snapshot.as_str()) % every
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
mod tests {
    use super::*;
    use crate::observation::{AttachedVolume, Platform};
    use jiff::SignedDuration;

    fn now() -> Timestamp {
        Timestamp::from_second(1_790_000_000).unwrap()
    }

    fn steady() -> Steady {
        Steady {
            schema_version: SCHEMA_VERSION,
            node: NodeName::parse("db").unwrap(),
            life: "l1".into(),
            cycle: 1,
            descent: 0,
            instance: InstanceId::new("i-1"),
            volume: VolumeId::new("vol-1"),
            device: "/dev/xvda".into(),
            snapshot_every: Some(SignedDuration::from_mins(5)),
            keep: 3,
            kept_interface: None,
            public_ip: None,
            suspend: false,
            tags: Tags::new(),
        }
    }

    fn fleet(state: InstanceState) -> BTreeMap<InstanceId, InstanceFacts> {
        let facts = InstanceFacts {
            id: InstanceId::new("i-1"),
            state,
            state_reason: String::new(),
            instance_type: "m5.large".into(),
            spot: true,
            zone: "z".into(),
            subnet: None,
            private_ip: None,
            image: crate::ids::ImageId::new("ami-1"),
            launched_at: None,
            root_device: "/dev/xvda".into(),
            ebs_root: true,
            volumes: vec![AttachedVolume {
                device: "/dev/xvda".into(),
                volume: VolumeId::new("vol-1"),
                delete_on_termination: false,
            }],
            interfaces: Vec::new(),
            client_token: None,
            tags: Tags::new(),
            platform: Platform::default(),
        };
        [(facts.id.clone(), facts)].into()
    }

    /// A snapshot of the node's line, taken so many seconds ago.
    fn taken(id: &str, ago: i64, state: SnapshotState, purpose: Purpose) -> SnapshotFacts {
        let steady = steady();
        let names = Names { deployment: "prod", node: &steady.node, life: &steady.life };
        let mut tags = names.tags(&Tags::new(), 1, purpose, id);
        tags.insert(TAG_DEVICE.into(), "/dev/xvda".into());
        SnapshotFacts {
            id: SnapshotId::new(id),
            state,
            volume: VolumeId::new("vol-1"),
            started_at: now() - SignedDuration::from_secs(ago),
            progress: String::new(),
            full_bytes: None,
            own: true,
            tags,
        }
    }

    fn decide(steady: &Steady, snapshots: &[SnapshotFacts], state: InstanceState) -> (bool, Vec<String>) {
        let round = round(std::slice::from_ref(steady), snapshots, &fleet(state), "prod", now());
        let mut dropped: Vec<_> = round.drop.iter().map(|it| it.snapshot.to_string()).collect();
        dropped.sort();
        (!round.take.is_empty(), dropped)
    }

    use SnapshotState::{Completed, Error, Pending};

    #[test]
    fn one_is_due_once_per_slot_and_never_beside_a_pending_or_a_fresh_one() {
        let steady = steady();
        let takes = |snapshots: &[SnapshotFacts]| decide(&steady, snapshots, InstanceState::Running).0;
        assert!(takes(&[]));
        assert!(takes(&[taken("snap-1", 400, Completed, Purpose::Periodic)]));
        assert!(!takes(&[taken("snap-1", 400, Pending, Purpose::Periodic)]));
        assert!(!takes(&[taken("snap-1", 10, Completed, Purpose::Warning)]));
        let names = Names { deployment: "prod", node: &steady.node, life: &steady.life };
        let due = due_slot(&steady.life, "snapshot", SignedDuration::from_mins(5), now());
        let mut same = taken("snap-1", 100, Completed, Purpose::Periodic);
        same.tags.insert(crate::names::TAG_KEY.into(), names.periodic(&steady.volume, due));
        assert!(!takes(&[same]));
    }

    #[test]
    fn none_is_taken_of_a_volume_that_no_running_instance_holds() {
        for state in [InstanceState::Pending, InstanceState::Stopped, InstanceState::ShuttingDown] {
            assert!(!decide(&steady(), &[], state).0);
        }
        let elsewhere = Steady { volume: VolumeId::new("vol-2"), ..steady() };
        assert!(!decide(&elsewhere, &[], InstanceState::Running).0);
        assert!(!decide(&Steady { suspend: true, ..steady() }, &[], InstanceState::Running).0);
        let newer = Steady { schema_version: SCHEMA_VERSION + 1, ..steady() };
        assert!(!decide(&newer, &[], InstanceState::Running).0);
        assert!(!decide(&Steady { snapshot_every: None, ..steady() }, &[], InstanceState::Running).0);
    }

    #[test]
    fn the_newest_completed_stay_and_pending_ones_do_not_count() {
        let line = [
            taken("snap-1", 5000, Completed, Purpose::Periodic),
            taken("snap-2", 4000, Completed, Purpose::Warning),
            taken("snap-3", 3000, Completed, Purpose::Periodic),
            taken("snap-4", 2000, Completed, Purpose::Rebalance),
            taken("snap-5", 100, Pending, Purpose::Periodic),
            taken("snap-6", 2500, Error, Purpose::Periodic),
        ];
        assert_eq!(decide(&steady(), &line, InstanceState::Running).1, ["snap-1", "snap-6"]);
        assert_eq!(decide(&steady(), &line[1..4], InstanceState::Running).1, [""; 0]);
        let one = Steady { keep: 1, ..steady() };
        assert_eq!(decide(&one, &line[..2], InstanceState::Running).1, ["snap-1"]);
    }

    #[test]
    fn what_is_not_of_this_line_is_never_touched() {
        let mut line: Vec<_> = (0..6)
            .map(|n| taken(&format!("snap-{n}"), 1000 * (n + 1), Completed, Purpose::Periodic))
            .collect();
        line[5].tags.insert(crate::names::TAG_PURPOSE.into(), "final".into());
        line[4].tags.insert(TAG_NODE.into(), "web".into());
        line[3].own = false;
        line[2].tags.insert(TAG_DEVICE.into(), "/dev/sdb".into());
        let one = Steady { keep: 1, ..steady() };
        assert_eq!(decide(&one, &line, InstanceState::Running).1, ["snap-1"]);
        let another_descent = Steady { cycle: 2, descent: 2, ..one };
        assert_eq!(decide(&another_descent, &line, InstanceState::Running).1, [""; 0]);
    }

    #[test]
    fn the_oldest_recovery_point_comes_first() {
        let other = |node: &str, volume: &str| Steady {
            node: NodeName::parse(node).unwrap(),
            volume: VolumeId::new(volume),
            instance: InstanceId::new(node),
            ..steady()
        };
        let nodes = [steady(), other("new", "vol-2"), other("old", "vol-3")];
        let mut instances = fleet(InstanceState::Running);
        for node in &nodes[1..] {
            let mut facts = instances[&InstanceId::new("i-1")].clone();
            facts.volumes[0].volume = node.volume.clone();
            facts.launched_at = Some(now() - SignedDuration::from_secs(90));
            instances.insert(node.instance.clone(), facts);
        }
        let of = |node: &Steady, id: &str, ago: i64| {
            let mut facts = taken(id, ago, Completed, Purpose::Periodic);
            facts.volume = node.volume.clone();
            facts.tags.insert(TAG_NODE.into(), node.node.to_string());
            facts
        };
        let snapshots = [of(&nodes[0], "snap-1", 700), of(&nodes[2], "snap-3", 1900)];
        let round = round(&nodes, &snapshots, &instances, "prod", now());
        let order: Vec<_> = round.take.iter().map(|request| request.volume.as_str()).collect();
        assert_eq!(order, ["vol-2", "vol-3", "vol-1"], "none at all is the oldest of all");
        let seconds = |it: SignedDuration| it.as_secs();
        let told = round.points.iter().map(|p| (p.node.as_str(), seconds(p.age), seconds(p.lag)));
        assert_eq!(told.collect::<Vec<_>>(), [("old", 1900, 1600), ("db", 700, 400), ("new", 90, 0)]);
        assert!((round.needed - 0.01).abs() < 1e-9, "three nodes at five minutes: {}", round.needed);
    }

    #[test]
    fn what_is_held_is_tried_ever_more_rarely() {
        let id = SnapshotId::new("snap-1");
        let tries = |late: i64| {
            let since = now() - SignedDuration::from_secs(late * 60);
            let it = Needless { node: steady().node, life: "l1".into(), snapshot: id.clone(), since };
            let minute = |n| now() + SignedDuration::from_mins(n);
            (0..60).filter(|n| is_its_turn(&it, minute(*n))).count()
        };
        assert_eq!((tries(-1), tries(120), tries(3000)), (60, 6, 1));
    }

    #[test]
    fn a_snapshot_is_needless_once_the_one_that_fills_its_place_was_begun() {
        let line: Vec<_> = [(1, 4000), (2, 3000), (3, 2000), (4, 1000)]
            .map(|(n, ago)| taken(&format!("snap-{n}"), ago, Completed, Purpose::Periodic))
            .into();
        let round =
            round(&[Steady { keep: 2, ..steady() }], &line, &fleet(InstanceState::Running), "prod", now());
        let since =
            round.drop.iter().map(|it| (it.snapshot.as_str(), now().duration_since(it.since).as_secs()));
        assert_eq!(since.collect::<Vec<_>>(), [("snap-1", 2000), ("snap-2", 1000)]);
    }
}

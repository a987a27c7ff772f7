//! Due, needless, behind: what one look decides.

mod several;

use super::*;
use crate::names::{TAG_DEVICE, Tags};
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
        rootless: false,
        keeps_data: false,
        data: Vec::new(),
        left_alone: Vec::new(),
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
            attaching: false,
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
    let round = round(std::slice::from_ref(steady), snapshots, &fleet(state), "prod", 4, now());
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
    let mut attaching = fleet(InstanceState::Running);
    attaching.get_mut(&InstanceId::new("i-1")).unwrap().volumes[0].attaching = true;
    assert!(round(&[steady()], &[], &attaching, "prod", 4, now()).take.is_empty());
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
    let mut line: Vec<_> =
        (0..6).map(|n| taken(&format!("snap-{n}"), 1000 * (n + 1), Completed, Purpose::Periodic)).collect();
    line[5].tags.insert(crate::names::TAG_PURPOSE.into(), "final".into());
    line[4].tags.insert(TAG_NODE.into(), "web".into());
    line[3].own = false;
    line[2].tags.remove(crate::names::TAG_CYCLE);
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
    let snapshots = [of(&nodes[0], "snap-1", 400), of(&nodes[2], "snap-3", 480)];
    let round = round(&nodes, &snapshots, &instances, "prod", 4, now());
    let order: Vec<_> = round.take.iter().map(|due| due.request.volumes()[0].as_str()).collect();
    assert_eq!(order, ["vol-2", "vol-3", "vol-1"], "none at all is the oldest of all");
    let seconds = |it: SignedDuration| it.as_secs();
    let told = round.points.iter().map(|p| (p.node.as_str(), seconds(p.age), seconds(p.lag)));
    assert_eq!(told.collect::<Vec<_>>(), [("old", 480, 180), ("db", 400, 100), ("new", 90, 0)]);
    assert!((round.needed - 0.01).abs() < 1e-9, "three nodes at five minutes: {}", round.needed);
}

/// How often the oldest needless snapshot of a line is tried in the hour that follows.
fn tries(steady: &Steady, line: &[SnapshotFacts], id: &str) -> usize {
    let fleet = fleet(InstanceState::Running);
    let is_tried = |n: &i64| {
        let now = now() + SignedDuration::from_mins(*n);
        let round = round(std::slice::from_ref(steady), line, &fleet, "prod", 4, now);
        round.drop.iter().any(|it| it.snapshot.as_str() == id)
    };
    (0..60).filter(is_tried).count()
}

#[test]
fn what_is_held_is_tried_more_rarely_but_not_what_a_slow_snapshot_pushed_out() {
    let one = Steady { keep: 1, ..steady() };
    let line: Vec<_> = [("snap-1", 9000), ("snap-2", 8000), ("snap-3", 3900)]
        .map(|(id, ago)| taken(id, ago, Completed, Purpose::Periodic))
        .into();
    assert_eq!(tries(&one, &line[1..], "snap-2"), 60, "its successor took over an hour to complete");
    assert_eq!(tries(&one, &line, "snap-2"), 60);
    assert_eq!(tries(&one, &line, "snap-1"), 6, "it outlived a whole rotation");
}

#[test]
fn a_lowered_keep_is_followed_within_ten_minutes_the_newest_first() {
    let two = Steady { keep: 2, snapshot_every: Some(SignedDuration::from_hours(24)), ..steady() };
    let line: Vec<_> = (1..=10)
        .map(|n| taken(&format!("snap-{n:02}"), 86_400 * n - 3600, Completed, Purpose::Periodic))
        .collect();
    let mut tried = BTreeSet::new();
    for n in 0..10 {
        let now = now() + SignedDuration::from_mins(n);
        let round = round(std::slice::from_ref(&two), &line, &fleet(InstanceState::Running), "prod", 4, now);
        assert!(round.drop.is_sorted_by(|a, b| a.since >= b.since), "what is held sinks to the end");
        tried.extend(round.drop.into_iter().map(|it| it.snapshot));
    }
    assert_eq!(tried.len(), 8);
}

#[test]
fn a_copy_with_our_tags_is_neither_counted_nor_touched() {
    let one = Steady { keep: 1, ..steady() };
    let mut copy = taken("snap-copy", 60, Completed, Purpose::Periodic);
    copy.volume = VolumeId::new("vol-ffffffff");
    let old = taken("snap-old", 900, Completed, Purpose::Periodic);
    let newest = taken("snap-newest", 200, Completed, Purpose::Periodic);
    let line = [old, newest, copy.clone()];
    assert_eq!(decide(&one, &line, InstanceState::Running).1, ["snap-old"]);
    // Whatever volume EC2 shows for it, its tag tells another one.
    copy.volume = VolumeId::new("vol-9");
    copy.tags.insert(TAG_VOLUME.into(), "vol-1".into());
    let [old, newest, _] = line;
    assert_eq!(decide(&one, &[old, newest, copy.clone()], InstanceState::Running).1, ["snap-old"]);
    assert!(is_copy(&copy));
}

#[test]
fn snapshots_of_former_volumes_fill_the_places_after_a_recovery() {
    let second = Steady { cycle: 2, volume: VolumeId::new("vol-2"), ..steady() };
    let mut line: Vec<_> =
        (1..=4).map(|n| taken(&format!("snap-{n}"), 5000 - 1000 * n, Completed, Purpose::Periodic)).collect();
    line[3].volume = VolumeId::new("vol-2");
    for it in &mut line {
        let volume = it.volume.to_string();
        it.tags.insert(TAG_VOLUME.into(), volume);
    }
    let round = round(&[second], &line, &fleet(InstanceState::Running), "prod", 4, now());
    let dropped: Vec<_> = round.drop.iter().map(|it| it.snapshot.as_str()).collect();
    assert_eq!(dropped, ["snap-1"], "three stay, two of them of the former volume");
}

/// Nodes of which these were snapshotted so many seconds ago, all held by running instances.
fn many(nodes: &[(String, i64)]) -> (Vec<Steady>, Vec<SnapshotFacts>, BTreeMap<InstanceId, InstanceFacts>) {
    let (mut steadies, mut snapshots, mut instances) = (Vec::new(), Vec::new(), BTreeMap::new());
    for (id, ago) in nodes {
        let node = Steady {
            node: NodeName::parse(id).unwrap(),
            life: id.clone(),
            volume: VolumeId::new(format!("vol-{id}")),
            instance: InstanceId::new(id),
            ..steady()
        };
        let mut instance = fleet(InstanceState::Running).remove(&InstanceId::new("i-1")).unwrap();
        instance.id = node.instance.clone();
        instance.volumes[0].volume = node.volume.clone();
        instance.launched_at = Some(now() - SignedDuration::from_hours(10));
        instances.insert(instance.id.clone(), instance);
        snapshots.push(of(&node, now() - SignedDuration::from_secs(*ago)));
        steadies.push(node);
    }
    (steadies, snapshots, instances)
}

/// A completed snapshot of a node's volume.
fn of(node: &Steady, at: Timestamp) -> SnapshotFacts {
    let names = Names { deployment: "prod", node: &node.node, life: &node.life };
    let key =
        names.periodic(&node.volume, due_slot(&node.life, "snapshot", node.snapshot_every.unwrap(), at));
    let mut facts = taken(&format!("snap-{}-{at}", node.node), 0, Completed, Purpose::Periodic);
    facts.tags = names.tags(&Tags::new(), 1, Purpose::Periodic, &key);
    facts.volume = node.volume.clone();
    facts.started_at = at;
    facts
}

/// Plays passes at a pace of 4 for so many minutes, the snapshots of nodes called `bad…` always refused: how
/// often one of these was tried, and each other node's recovery point in seconds, the oldest first.
fn played(nodes: &[(String, i64)], minutes: i64) -> (usize, Vec<i64>) {
    let (nodes, snapshots, instances) = many(nodes);
    let by_name: BTreeMap<_, _> = nodes.iter().map(|node| (node.node.clone(), node)).collect();
    let mut newest: BTreeMap<VolumeId, SnapshotFacts> =
        snapshots.into_iter().map(|it| (it.volume.clone(), it)).collect();
    let (mut refused, mut end) = (0, now());
    for n in 0..minutes {
        end = now() + SignedDuration::from_mins(n);
        let seen: Vec<_> = newest.values().cloned().collect();
        let mut lane = crate::pace::Lane::new(round(&nodes, &seen, &instances, "prod", 1, end).take, 1);
        for beat in 0.. {
            let at = end + SignedDuration::from_secs(beat);
            for due in lane.beat() {
                if due.node.as_str().starts_with("bad") {
                    refused += 1;
                } else {
                    newest.insert(due.request.volumes()[0].clone(), of(by_name[&due.node], at));
                }
            }
            if !lane.has_more() {
                break;
            }
        }
    }
    let healthy = newest.values().filter(|it| !it.volume.as_str().starts_with("vol-bad"));
    let mut ages: Vec<_> = healthy.map(|it| end.duration_since(it.started_at).as_secs()).collect();
    ages.sort_by_key(|age| Reverse(*age));
    (refused, ages)
}

#[test]
fn nodes_that_are_always_refused_do_not_keep_others_waiting() {
    let healthy = (0..175).map(|n| (format!("ok{n}"), n * 300 / 175));
    // Refused for hours, or since now; few, or more than the others.
    for (count, since) in [(59, 36_000), (59, 0), (250, 36_000), (250, 0)] {
        let bad = (0..count).map(|n| (format!("bad{n}"), since + n * 300 / count));
        let (refused, ages) = played(&bad.chain(healthy.clone()).collect::<Vec<_>>(), 60);
        // Without the others they need 35 of the 59 places of a minute.
        let most = if count == 59 { 420 } else { 900 };
        assert!(ages[0] <= most, "{count} refused for {since} s: {} s", ages[0]);
        assert!(refused <= 60 * 59 / 2 + 1000, "{count} refused for {since} s: tried {refused} times");
    }
}

#[test]
fn a_fleet_that_outgrew_its_pace_is_served_evenly_also_after_a_long_outage() {
    let fleet =
        |outage: i64| -> Vec<_> { (0..590).map(|n| (format!("ok{n}"), outage + n * 600 / 590)).collect() };
    // 590 nodes at 59 a minute: ten minutes for everyone.
    for outage in [0, 7200] {
        let (_, ages) = played(&fleet(outage), 60);
        assert!(ages[0] <= 680, "after {outage} s: {} s", ages[0]);
    }
    // With places for all, all catch up at once.
    let few: Vec<_> = (0..50).map(|n| (format!("ok{n}"), 7200 + n)).collect();
    assert_eq!(played(&few, 1).1.iter().filter(|age| **age > 60).count(), 0);
}

#[test]
fn who_is_refused_while_others_are_served_is_tried_every_few_minutes() {
    let mut tried = 0;
    for n in 0..10 {
        let (nodes, snapshots, instances) = many(&[("bad".into(), 36_000 + n * 60), ("ok".into(), 60)]);
        let now = now() + SignedDuration::from_mins(n);
        let round = round(&nodes, &snapshots, &instances, "prod", 4, now);
        let is_bad = |name: &NodeName| name.as_str() == "bad";
        tried += usize::from(round.take.iter().any(|due| is_bad(&due.node)));
        assert_ne!(round.take.iter().any(|due| is_bad(&due.node)), round.put_off.iter().any(is_bad));
    }
    assert_eq!(tried, 2);
}

fn only_point(
    steady: &Steady,
    line: &[SnapshotFacts],
    instances: &BTreeMap<InstanceId, InstanceFacts>,
) -> Point {
    let mut round = round(std::slice::from_ref(steady), line, instances, "prod", 4, now());
    assert_eq!(round.points.len(), 1);
    round.points.remove(0)
}

#[test]
fn a_node_that_cannot_be_snapshotted_stays_in_the_figures() {
    let line = [taken("snap-1", 90_000, Completed, Purpose::Periodic)];
    let running = fleet(InstanceState::Running);
    let unseen = only_point(&steady(), &line, &BTreeMap::new());
    assert_eq!((unseen.age.as_secs(), unseen.lag.as_secs()), (90_000, 89_700));
    assert_eq!(unseen.standing, Standing::Unserved("EC2 shows no such instance".into()));
    let stopped = only_point(&steady(), &line, &fleet(InstanceState::Stopped));
    assert_eq!(stopped.standing, Standing::Idle("its instance is stopped"));
    let ending = only_point(&steady(), &line, &fleet(InstanceState::ShuttingDown));
    assert_eq!(ending.standing, Standing::Unserved("its instance is not running".into()));
    let elsewhere = Steady { volume: VolumeId::new("vol-2"), ..steady() };
    let elsewhere = only_point(&elsewhere, &line, &running);
    assert_eq!(elsewhere.standing, Standing::Unserved("its instance does not hold its root".into()));
    let newer = Steady { schema_version: SCHEMA_VERSION + 1, ..steady() };
    assert!(matches!(only_point(&newer, &line, &running).standing, Standing::Unserved(_)));
    let suspended = only_point(&Steady { suspend: true, ..steady() }, &line, &running);
    assert_eq!((suspended.standing, suspended.age.as_secs()), (Standing::Idle("suspended"), 90_000));
}

#[test]
fn only_a_completed_snapshot_is_a_recovery_point() {
    let mut instances = fleet(InstanceState::Running);
    for it in instances.values_mut() {
        it.launched_at = Some(now() - SignedDuration::from_hours(10));
    }
    let seen = |line: &[SnapshotFacts]| {
        let point = only_point(&steady(), line, &instances);
        (point.age.as_secs(), point.lag.as_secs(), point.pending.map(|it| it.as_secs()))
    };
    let failed = taken("snap-1", 400, Error, Purpose::Periodic);
    let pending = taken("snap-2", 40, Pending, Purpose::Periodic);
    assert_eq!(seen(std::slice::from_ref(&failed)), (36_000, 35_700, None));
    assert_eq!(seen(&[failed, pending.clone()]), (36_000, 35_700, Some(40)));
    let completed = taken("snap-0", 340, Completed, Purpose::Periodic);
    assert_eq!(seen(&[completed.clone(), pending]), (340, 0, Some(40)), "the next one is under way");
    let slow = taken("snap-2", 3600, Pending, Purpose::Periodic);
    let before = taken("snap-0", 3900, Completed, Purpose::Periodic);
    assert_eq!(seen(&[before, slow]), (3900, 3600, Some(3600)));
    assert_eq!(seen(&[completed]), (340, 40, None));
}

#[test]
fn a_snapshot_is_needless_once_the_one_that_fills_its_place_was_begun() {
    let line: Vec<_> = [(1, 4000), (2, 3000), (3, 2000), (4, 1000)]
        .map(|(n, ago)| taken(&format!("snap-{n}"), ago, Completed, Purpose::Periodic))
        .into();
    let round =
        round(&[Steady { keep: 2, ..steady() }], &line, &fleet(InstanceState::Running), "prod", 4, now());
    let since = round.drop.iter().map(|it| (it.snapshot.as_str(), now().duration_since(it.since).as_secs()));
    assert_eq!(since.collect::<Vec<_>>(), [("snap-2", 1000), ("snap-1", 2000)]);
}

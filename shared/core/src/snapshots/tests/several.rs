//! Nodes with data volumes: sets of snapshots, taken, counted and pushed out as one.

use super::*;
use crate::names::{TAG_KEY, TAG_PARTS};
use crate::record::SteadyVolume;
use crate::step::SetRequest;

/// The node with two data volumes beside its root.
fn several() -> Steady {
    let volume = |volume: &str, device: &str| SteadyVolume {
        volume: VolumeId::new(volume),
        device: device.into(),
        untagged: false,
    };
    Steady {
        keeps_data: true,
        data: vec![volume("vol-f", "/dev/sdf"), volume("vol-g", "/dev/sdg")],
        ..steady()
    }
}

fn attached(volume: &str, device: &str) -> AttachedVolume {
    AttachedVolume {
        device: device.into(),
        volume: VolumeId::new(volume),
        delete_on_termination: false,
        attaching: false,
    }
}

/// Its instance, with these volumes beside the root.
fn holder(data: &[(&str, &str)]) -> BTreeMap<InstanceId, InstanceFacts> {
    let mut fleet = fleet(InstanceState::Running);
    for facts in fleet.values_mut() {
        facts.launched_at = Some(now() - SignedDuration::from_hours(10));
        facts.volumes.extend(data.iter().map(|(volume, device)| attached(volume, device)));
    }
    fleet
}

const BOTH: [(&str, &str); 2] = [("vol-f", "/dev/sdf"), ("vol-g", "/dev/sdg")];

/// A set of the node, `snap-<key>-<volume>` for each volume, taken so many seconds ago.
fn set(key: &str, ago: i64, parts: &[(&str, SnapshotState)], of: usize) -> Vec<SnapshotFacts> {
    let part = |(volume, state): &(&str, SnapshotState)| {
        let mut facts = taken(&format!("snap-{key}-{volume}"), ago, *state, Purpose::Periodic);
        facts.volume = VolumeId::new(*volume);
        facts.tags.remove(TAG_DEVICE);
        facts.tags.insert(TAG_KEY.into(), key.into());
        facts.tags.insert(TAG_PARTS.into(), of.to_string());
        facts
    };
    parts.iter().map(part).collect()
}

/// A complete one of all three volumes.
fn whole(key: &str, ago: i64) -> Vec<SnapshotFacts> {
    set(key, ago, &[("vol-1", Completed), ("vol-f", Completed), ("vol-g", Completed)], 3)
}

fn decided(steady: &Steady, snapshots: &[SnapshotFacts]) -> Round {
    round(std::slice::from_ref(steady), snapshots, &holder(&BOTH), "prod", 4, now())
}

fn dropped(steady: &Steady, snapshots: &[SnapshotFacts]) -> Vec<String> {
    let mut ids: Vec<_> = decided(steady, snapshots).drop.iter().map(|it| it.snapshot.to_string()).collect();
    ids.sort();
    ids
}

fn asked(round: &Round) -> &SetRequest {
    match round.take.as_slice() {
        [Due { request: PointRequest::Set(set), .. }] => set,
        other => panic!("{other:?}"),
    }
}

#[test]
fn all_volumes_are_taken_at_one_moment_under_one_key() {
    let mut instances = holder(&BOTH);
    let held = instances.get_mut(&InstanceId::new("i-1")).unwrap();
    held.volumes.push(attached("vol-new", "/dev/sdx"));
    let left = Steady { left_alone: vec![VolumeId::new("vol-left")], ..several() };
    held.volumes.push(attached("vol-left", "/dev/sdy"));
    let round = round(&[left], &[], &instances, "prod", 4, now());
    let set = asked(&round);
    assert_eq!(set.volumes, ["vol-1", "vol-f", "vol-g"].map(VolumeId::new), "the root first");
    assert_eq!(set.without, ["vol-new", "vol-left"].map(VolumeId::new), "whatever else is shown");
    assert!(!set.without_root && set.instance == InstanceId::new("i-1"));
    let due = due_slot("l1", "snapshot", SignedDuration::from_mins(5), now());
    let steady = steady();
    let names = Names { deployment: "prod", node: &steady.node, life: &steady.life };
    assert_eq!(set.key, names.periodic(&VolumeId::new("vol-1"), due));
    assert!(names.owns(&set.tags) && has_key(&set.tags, &set.key));
    assert_eq!(set.tags[TAG_PARTS], "3");
}

#[test]
fn the_root_is_left_out_where_it_is_not_kept_and_one_volume_is_taken_alone() {
    let rootless = Steady { rootless: true, ..several() };
    let round = decided(&rootless, &[]);
    assert!(asked(&round).without_root);
    assert_eq!(asked(&round).volumes, ["vol-f", "vol-g"].map(VolumeId::new));
    let mut one = rootless;
    // Nobody may take snapshots of what does not carry our tags yet.
    one.data[1].untagged = true;
    let round = decided(&one, &[]);
    let [Due { request: PointRequest::One(single), .. }] = round.take.as_slice() else { panic!() };
    assert_eq!((single.volume.as_str(), single.tags[TAG_DEVICE].as_str()), ("vol-f", "/dev/sdf"));
    assert_eq!(single.tags[TAG_VOLUME], "vol-f");
}

#[test]
fn none_is_taken_beside_a_pending_or_a_fresh_one_of_any_volume() {
    let takes = |line: &[SnapshotFacts]| !decided(&several(), line).take.is_empty();
    assert!(takes(&[]) && takes(&whole("a", 400)));
    let pending = set("a", 400, &[("vol-1", Completed), ("vol-f", Completed), ("vol-g", Pending)], 3);
    assert!(!takes(&pending));
    let mut fresh = taken("snap-1", 10, Completed, Purpose::Warning);
    fresh.volume = VolumeId::new("vol-g");
    assert!(!takes(std::slice::from_ref(&fresh)));
    // Of a volume that is no longer the node's it does not matter.
    fresh.volume = VolumeId::new("vol-former");
    assert!(takes(&[fresh]));
    let key = asked(&decided(&several(), &[])).key.clone();
    assert!(!takes(&set(&key, 100, &[("vol-g", Completed)], 3)), "the slot is served, however it ended");
}

#[test]
fn a_volume_that_its_instance_does_not_hold_is_named() {
    let standing = |steady: &Steady, data: &[(&str, &str)], attaching: bool| {
        let mut instances = holder(data);
        for facts in instances.values_mut() {
            facts.volumes.last_mut().unwrap().attaching = attaching;
        }
        let mut round = round(std::slice::from_ref(steady), &[], &instances, "prod", 4, now());
        let standing = round.points.remove(0).standing;
        assert_eq!(round.take.is_empty(), standing != Standing::Served);
        standing
    };
    assert_eq!(standing(&several(), &BOTH, false), Standing::Served);
    let gone = "its instance does not hold /dev/sdg";
    assert_eq!(standing(&several(), &BOTH[..1], false), Standing::Unserved(gone.into()));
    let not_yet = "its instance does not hold /dev/sdg yet";
    assert_eq!(standing(&several(), &BOTH, true), Standing::Unserved(not_yet.into()));
    let others: Vec<String> = (0..41).map(|n| format!("vol-x{n}")).collect();
    let mut shown = BOTH.to_vec();
    shown.extend(others.iter().map(|volume| (volume.as_str(), "/dev/sdz")));
    let many = "its instance holds more than 40 volumes that do not come back with it";
    assert_eq!(standing(&several(), &shown, false), Standing::Unserved(many.into()));
    // A node that keeps only data is not kept from its points by its root, nor without any data.
    let mut rootless = Steady { rootless: true, volume: VolumeId::new("vol-9"), ..several() };
    assert_eq!(standing(&rootless, &BOTH, false), Standing::Served);
    rootless.data.iter_mut().for_each(|it| it.untagged = true);
    let untagged = "its data volumes do not carry Perennial's tags";
    assert_eq!(standing(&rootless, &BOTH, false), Standing::Unserved(untagged.into()));
    rootless.data.clear();
    assert_eq!(standing(&rootless, &BOTH, false), Standing::Idle("it has no data volume"));
}

#[test]
fn the_newest_complete_sets_stay_whole_and_older_ones_go_whole() {
    let line: Vec<_> = [("a", 1900), ("b", 1600), ("c", 1300), ("d", 1000)]
        .into_iter()
        .flat_map(|(key, ago)| whole(key, ago))
        .collect();
    let round = decided(&several(), &line);
    let told: Vec<_> = round.drop.iter().map(|it| it.snapshot.as_str()).collect();
    assert_eq!(told, ["snap-a-vol-g", "snap-a-vol-f", "snap-a-vol-1"]);
    for it in &round.drop {
        assert_eq!(it.instead, ["snap-d-vol-1", "snap-d-vol-f", "snap-d-vol-g"].map(SnapshotId::new));
        assert_eq!(now().duration_since(it.since).as_secs(), 1000, "pushed out when the fourth was begun");
        assert!(it.is_latest);
    }
    // What is not complete pushes out nothing.
    let mut pending = line.clone();
    pending[11].state = Pending;
    assert_eq!(dropped(&several(), &pending), [""; 0]);
    assert_eq!(dropped(&several(), &line[..11]), [""; 0]);
}

#[test]
fn a_snapshot_of_the_root_alone_was_all_of_the_node_in_its_time() {
    let mut line = vec![
        taken("snap-1", 3000, Completed, Purpose::Periodic),
        taken("snap-2", 2000, Completed, Purpose::Periodic),
    ];
    line.extend(whole("a", 1000));
    let two = Steady { keep: 2, ..several() };
    assert_eq!(dropped(&two, &line), ["snap-1"], "it and the set make two");
    line.extend(whole("b", 700));
    assert_eq!(dropped(&two, &line), ["snap-1", "snap-2"]);
    // The same once data is kept no longer, and by any device.
    let root_only = Steady { data: Vec::new(), keep: 1, ..several() };
    line.push(taken("snap-3", 100, Completed, Purpose::Periodic));
    assert_eq!(dropped(&root_only, &line).len(), 8);
}

#[test]
fn what_is_left_of_a_broken_set_goes_once_a_newer_one_is_complete() {
    let of = |ago| set("b", ago, &[("vol-1", Completed), ("vol-f", Error), ("vol-g", Completed)], 3);
    let one = Steady { keep: 1, ..several() };
    // The failed part goes at once, since it counts against its volume's limit.
    assert_eq!(dropped(&one, &of(900)), ["snap-b-vol-f"]);
    let older = [whole("a", 1200), of(900)].concat();
    let round = decided(&one, &older);
    assert_eq!(dropped(&one, &older), ["snap-b-vol-f"], "an older one proves nothing");
    assert!(round.drop[0].instead.is_empty());
    assert_eq!(round.failed, 1);
    let newer = [of(900), whole("c", 600)].concat();
    assert_eq!(dropped(&one, &newer), ["snap-b-vol-1", "snap-b-vol-f", "snap-b-vol-g"]);
    for it in decided(&one, &newer).drop.iter().filter(|it| it.snapshot.as_str() != "snap-b-vol-f") {
        assert_eq!(it.instead, ["snap-c-vol-1", "snap-c-vol-f", "snap-c-vol-g"].map(SnapshotId::new));
        assert_eq!((now().duration_since(it.since).as_secs(), it.is_latest), (600, true));
    }
    // One that lacks a part counts as such only when it can no longer be a lagging read.
    let torn =
        |ago| [set("b", ago, &[("vol-1", Completed), ("vol-f", Completed)], 3), whole("c", 400)].concat();
    assert_eq!(dropped(&one, &torn(590)), [""; 0]);
    assert_eq!(dropped(&one, &torn(700)), ["snap-b-vol-1", "snap-b-vol-f"]);
    // What is pending never goes.
    let slow = set("b", 900, &[("vol-1", Completed), ("vol-f", Error), ("vol-g", Pending)], 3);
    assert_eq!(dropped(&one, &[slow, whole("c", 400)].concat()), ["snap-b-vol-1", "snap-b-vol-f"]);
}

#[test]
fn a_point_is_the_newest_complete_set_with_the_bytes_of_all_its_parts() {
    let mut line = [whole("a", 700), whole("b", 400)].concat();
    line.iter_mut().for_each(|it| it.full_bytes = Some(1 << 30));
    line.extend(set("c", 100, &[("vol-1", Completed), ("vol-f", Pending), ("vol-g", Completed)], 3));
    let seen = |line: &[SnapshotFacts]| {
        let point = decided(&several(), line).points.remove(0);
        let seconds = |it: SignedDuration| it.as_secs();
        let id = point.snapshot.map(|it| it.to_string()).unwrap_or_default();
        (id, point.bytes, seconds(point.age), seconds(point.lag), point.pending.map(seconds))
    };
    assert_eq!(seen(&line), ("snap-b-vol-1".into(), Some(3 << 30), 400, 0, Some(100)));
    // A set that failed is not the next one, but what is pending of it stands in its way.
    line[6].state = Error;
    assert_eq!(seen(&line), ("snap-b-vol-1".into(), Some(3 << 30), 400, 100, Some(100)));
    assert_eq!(seen(&line[6..]), (String::new(), None, 36_000, 35_700, Some(100)));
}

#[test]
fn the_pace_that_is_needed_is_that_of_the_deletions() {
    let needed = |node: Steady| decided(&node, &[]).needed * 300.0;
    assert!((needed(steady()) - 1.0).abs() < 1e-9);
    assert!((needed(several()) - 3.0).abs() < 1e-9, "one call to take a set, three to delete it");
    assert!(needed(Steady { suspend: true, ..several() }).abs() < 1e-9);
}

#[test]
fn one_that_was_served_late_is_measured_by_any_of_its_volumes() {
    // Both have been without a complete set for long; the first was begun of one volume only, and so recently
    // that it is not behind.
    let mut nodes = vec![several(), several()];
    nodes[1].node = NodeName::parse("web").unwrap();
    let mut line = set("a", 310, &[("vol-g", Completed)], 3);
    line.extend(whole("b", 9000).into_iter().map(|mut it| {
        it.tags.insert(TAG_NODE.into(), "web".into());
        it
    }));
    let round = round(&nodes, &line, &holder(&BOTH), "prod", 4, now());
    let served: Vec<_> = round.take.iter().map(|due| due.node.as_str()).collect();
    assert_eq!(served.first(), Some(&"db"), "who was passed over for long has the second place at most");
}

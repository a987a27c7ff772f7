//! What the read right before a deletion must show.

use perennial_core::names::Tags;
use perennial_core::observation::InstanceFacts as Instance;
use perennial_core::snapshots::round;

use super::*;

fn now() -> Timestamp {
    Timestamp::from_second(1_790_000_000).unwrap()
}

/// A node with a root and a data volume, of which one recovery point is kept.
fn steady() -> Steady {
    let json = r#"{"schemaVersion": 3, "node": "db", "life": "l1", "cycle": 1, "instance": "i-1",
        "volume": "vol-1", "device": "/dev/xvda", "keepsData": true,
        "data": [{"volume": "vol-2", "device": "/dev/sdf"}], "snapshotEvery": "300s", "keep": 1}"#;
    serde_json::from_str(json).unwrap()
}

/// A complete set of both, taken so many seconds ago: `snap-<key>-vol-1` and `snap-<key>-vol-2`.
fn set(key: &str, ago: i64) -> Vec<SnapshotFacts> {
    let steady = steady();
    let names = Names { deployment: "prod", node: &steady.node, life: &steady.life };
    let mut tags = names.tags(&Tags::new(), 1, Purpose::Periodic, key);
    tags.insert("perennial:parts".into(), "2".into());
    let part = |volume: &str| SnapshotFacts {
        id: SnapshotId::new(format!("snap-{key}-{volume}")),
        state: SnapshotState::Completed,
        volume: perennial_core::ids::VolumeId::new(volume),
        started_at: now() - SignedDuration::from_secs(ago),
        progress: String::new(),
        full_bytes: None,
        own: true,
        tags: tags.clone(),
    };
    ["vol-1", "vol-2"].map(part).into()
}

#[test]
fn no_part_goes_unless_every_part_of_the_newest_set_is_read_as_complete() {
    let all: Vec<_> = [set("a", 700), set("b", 400)].concat();
    let nobody: BTreeMap<InstanceId, Instance> = BTreeMap::new();
    let needless = round(&[steady()], &all, &nobody, "prod", 4, now()).drop;
    assert_eq!(needless.len(), 2);
    let going = |change: &dyn Fn(&mut BTreeMap<SnapshotId, SnapshotFacts>)| {
        let mut found: BTreeMap<_, _> = all.iter().map(|it| (it.id.clone(), it.clone())).collect();
        change(&mut found);
        needless.iter().filter(|it| may_go(it, &found, "prod")).count()
    };
    let id = |id: &str| SnapshotId::new(id);
    assert_eq!(going(&|_| {}), 2);
    for part in ["snap-b-vol-1", "snap-b-vol-2"] {
        assert_eq!(going(&|found| drop(found.remove(&id(part)))), 0, "{part} is gone");
        assert_eq!(going(&|found| found.get_mut(&id(part)).unwrap().state = SnapshotState::Error), 0);
        assert_eq!(going(&|found| found.get_mut(&id(part)).unwrap().tags.clear()), 0, "{part} is not ours");
    }
    // What is gone, or no longer ours, is left alone; the other part goes all the same.
    assert_eq!(going(&|found| drop(found.remove(&id("snap-a-vol-1")))), 1);
    assert_eq!(going(&|found| found.get_mut(&id("snap-a-vol-2")).unwrap().tags.clear()), 1);
}

#[test]
fn a_failed_part_goes_without_a_successor() {
    let mut all = set("a", 700);
    all[1].state = SnapshotState::Error;
    let needless = round(&[steady()], &all, &BTreeMap::new(), "prod", 4, now()).drop;
    let found: BTreeMap<_, _> = all.iter().map(|it| (it.id.clone(), it.clone())).collect();
    assert_eq!(needless.iter().map(|it| it.snapshot.as_str()).collect::<Vec<_>>(), ["snap-a-vol-2"]);
    assert!(may_go(&needless[0], &found, "prod"));
}

//! What the pass makes of each thing a crash, an operator or another deployment may have left.

mod data;
mod telling;

use jiff::SignedDuration;
use serde_json::json;

use super::*;
use crate::config;
use crate::ids::{ImageId, InstanceId, InterfaceId, NodeName, SnapshotId, SubnetId, VolumeId};
use crate::journal::Kind;
use crate::names::{TAG_DEPLOYMENT, TAG_LIFE, TAG_NODE, TAG_PURPOSE, Tags};
use crate::observation::{ImageState, InstanceState};
use crate::record::{
    Accepted, Claim, FinalSnapshot, Former, Instance, Lost, NodeImage, Replacement, Root, Unseen,
};

const LIFE: &str = "life-1";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + second).unwrap()
}

fn node() -> NodeName {
    NodeName::parse("db").unwrap()
}

fn tags(purpose: Purpose, cycle: u32, key: &str) -> Tags {
    names(LIFE, |names| names.tags(&Tags::new(), cycle, purpose, key))
}

fn names<T>(life: &str, with: impl FnOnce(&Names<'_>) -> T) -> T {
    with(&Names { deployment: "prod", node: &node(), life })
}
fn launch(cycle: u32, attempt: u32) -> String {
    names(LIFE, |names| names.launch(cycle, attempt))
}

fn last(cycle: u32, volume: &str, attempt: u32) -> String {
    names(LIFE, |names| names.last(cycle, &VolumeId::new(volume), attempt))
}

fn image_name(cycle: u32, attempt: u32) -> String {
    names(LIFE, |names| names.image(cycle, attempt))
}

fn interface_key(attempt: u32, lost: Option<&str>) -> String {
    names(LIFE, |names| names.interface(attempt, lost.map(InterfaceId::new).as_ref()))
}

/// A node that runs in its third cycle and descends from its first.
fn running() -> Record {
    let item = json!({"id": "node#db", "persist": {"root": {}, "network": {}},
        "launch": {"template": {"name": "base"}}});
    let accepted = Accepted {
        hash: config::hash(&item),
        share: None,
        notices: Vec::new(),
        config: config::parse(&item).config,
    };
    let mut record = Record::new(node(), LIFE.to_owned(), accepted, at(0));
    (record.phase, record.cycle, record.descent, record.work_at) = (Phase::Running, 3, 1, None);
    record.instance = Some(Instance {
        id: InstanceId::new("i-3"),
        instance_type: "m5.large".into(),
        zone: "us-east-1a".into(),
        market: crate::launch::Market::Spot,
        image_id: ImageId::new("ami-2"),
        launched_at: None,
        key: launch(3, 1),
        heir: true,
        platform: Default::default(),
        missing_since: None,
        ran: true,
        ended_at: None,
        stop_noted: false,
        terminating: false,
    });
    record.root = Some(root("vol-3"));
    let kept = InterfaceFacts { id: InterfaceId::new("eni-1"), ..interface_facts("the kept one") };
    record.network = Some(Network::of(&kept));
    record
}

fn root(volume: &str) -> Root {
    Root {
        volume_id: VolumeId::new(volume),
        device_name: "/dev/xvda".into(),
        shape: Default::default(),
        swapped: false,
        available_at: None,
        missing_since: None,
        replaced_by: None,
    }
}

/// The same node without an instance, before its launch.
fn launching() -> Record {
    let mut record = running();
    (record.phase, record.attempts) = (Phase::Launching, 2);
    (record.instance, record.root) = (None, None);
    record
}

fn gone(delete: &[Retained]) -> Record {
    let mut record = running();
    (record.phase, record.goal) = (Phase::Gone, DesiredState::Deallocated);
    record.config.config.retention.delete = delete.to_vec();
    (record.instance, record.root, record.network) = (None, None, None);
    record
}

fn instance_facts(key: &str, cycle: u32) -> InstanceFacts {
    InstanceFacts {
        id: InstanceId::new("i-x"),
        state: InstanceState::Running,
        state_reason: String::new(),
        instance_type: "m5.large".into(),
        spot: true,
        zone: "us-east-1a".into(),
        subnet: None,
        private_ip: None,
        image: ImageId::new("ami-2"),
        launched_at: None,
        root_device: "/dev/xvda".into(),
        ebs_root: true,
        volumes: Vec::new(),
        interfaces: Vec::new(),
        client_token: Some(key.to_owned()),
        tags: tags(Purpose::Instance, cycle, key),
        platform: Default::default(),
    }
}

fn volume_facts(id: &str, cycle: u32, key: &str) -> VolumeFacts {
    VolumeFacts {
        id: VolumeId::new(id),
        state: VolumeState::Available,
        attached_to: Vec::new(),
        device: None,
        multi_attach: false,
        shape: Default::default(),
        source: None,
        zone: "us-east-1a".into(),
        tags: tags(Purpose::Root, cycle, key),
    }
}

fn snapshot_facts(id: &str, volume: &str, purpose: Purpose, cycle: u32, key: &str) -> SnapshotFacts {
    SnapshotFacts {
        id: SnapshotId::new(id),
        state: SnapshotState::Completed,
        volume: VolumeId::new(volume),
        started_at: at(-500),
        progress: String::new(),
        full_bytes: None,
        own: true,
        tags: tags(purpose, cycle, key),
    }
}

fn final_of(volume: &str, cycle: u32) -> SnapshotFacts {
    snapshot_facts("snap-x", volume, Purpose::Final, cycle, &last(cycle, volume, 2))
}

fn image_facts(cycle: u32, attempt: u32) -> ImageFacts {
    let name = image_name(cycle, attempt);
    ImageFacts {
        id: ImageId::new("ami-x"),
        tags: tags(Purpose::Image, cycle, &name),
        name,
        state: ImageState::Available,
        state_reason: String::new(),
        root_device: "/dev/xvda".into(),
        ebs_root: true,
        root_snapshot: None,
        devices: Vec::new(),
        snapshots: Vec::new(),
        created_at: None,
        platform: Default::default(),
    }
}

fn interface_facts(key: &str) -> InterfaceFacts {
    InterfaceFacts {
        id: InterfaceId::new("eni-x"),
        state: InterfaceState::Available,
        subnet: SubnetId::new("subnet-1"),
        zone: "us-east-1a".into(),
        private_ip: "10.0.1.5".parse().unwrap(),
        secondary: Vec::new(),
        ipv6: Vec::new(),
        description: String::new(),
        groups: Vec::new(),
        attached_to: None,
        tags: tags(Purpose::Interface, 1, key),
    }
}

const HOUR: i64 = 3600;
fn judged(found: Found<'_>, record: &Record) -> Finding {
    judged_among(found, record, &Observation::default())
}
fn judged_among(found: Found<'_>, record: &Record, seen: &Observation) -> Finding {
    judge(found, Some(record), seen, Sight { deployment: "prod", now: at(HOUR), again: false })
}

#[track_caller]
fn assert_reported(finding: Finding) {
    assert!(matches!(finding, Finding::Report(_)), "{finding:?}");
}

#[track_caller]
fn assert_deleted(finding: Finding) {
    assert!(matches!(finding, Finding::Delete(_)), "{finding:?}");
}

#[track_caller]
fn assert_superseded(finding: Finding, superseded: Superseded) {
    assert_eq!(finding, Finding::Adopt(Adoption::Superseded(superseded)));
}

#[test]
fn what_another_deployment_or_the_operator_owns_is_none_of_ours() {
    for (tag, value) in [(TAG_DEPLOYMENT, "test"), (TAG_PURPOSE, "adopted")] {
        let mut volume = volume_facts("vol-1", 1, &launch(1, 1));
        volume.tags.insert(tag.into(), value.into());
        assert_eq!(judged(Found::Volume(&volume), &running()), Finding::Explained, "{tag}");
        let sight = Sight { deployment: "prod", now: at(HOUR), again: true };
        let without = judge(Found::Volume(&volume), None, &Observation::default(), sight);
        assert_eq!(without, Finding::Explained, "{tag}");
        assert_eq!(judged(Found::Volume(&volume), &gone(&[Retained::Volumes])), Finding::Explained, "{tag}");
    }
    let mut shared = final_of("vol-1", 1);
    shared.own = false;
    assert_eq!(judged(Found::Snapshot(&shared), &running()), Finding::Explained);
}

#[test]
fn without_a_record_everything_is_reported_and_nothing_else() {
    let volume = volume_facts("vol-1", 1, &launch(1, 1));
    let interface = interface_facts(&interface_key(1, None));
    for found in [Found::Volume(&volume), Found::Interface(&interface)] {
        for again in [false, true] {
            let sight = Sight { deployment: "prod", now: at(HOUR * 100), again };
            assert_reported(judge(found, None, &Observation::default(), sight));
        }
    }
}

#[test]
fn an_unknown_life_or_another_nodes_record_proves_nothing() {
    for (tag, value) in [(TAG_LIFE, "life-0"), (TAG_NODE, "web")] {
        let mut snapshot = final_of("vol-1", 1);
        snapshot.tags.insert(tag.into(), value.into());
        assert_reported(judged(Found::Snapshot(&snapshot), &running()));
        let all = [Retained::Images, Retained::Snapshots];
        assert_reported(judged(Found::Snapshot(&snapshot), &gone(&all)));
        snapshot.tags.remove(tag);
        assert_reported(judged(Found::Snapshot(&snapshot), &running()));
    }
}

#[test]
fn what_the_record_names_is_explained() {
    let mut record = running();
    record.superseded =
        vec![Superseded::Volume(VolumeId::new("vol-2")), Superseded::Image(ImageId::new("ami-x"))];
    record.finals = vec![FinalSnapshot {
        snapshot_id: Some(SnapshotId::new("snap-1")),
        volume_id: VolumeId::new("vol-4"),
        state: SnapshotState::Completed,
        attempt: 2,
        failed: Some(SnapshotId::new("snap-2")),
        missing_since: None,
    }];
    record.image = Some(NodeImage {
        id: Some(ImageId::new("ami-2")),
        cycle: 2,
        attempt: 1,
        snapshot_id: SnapshotId::new("snap-3"),
        state: ImageState::Available,
        missing_since: None,
    });
    record.restore = Some(SnapshotId::new("snap-4"));
    record.lost = Some(Lost { volume_id: VolumeId::new("vol-5"), since: at(0) });
    let replacement = Replacement { volume_id: VolumeId::new("vol-6"), seen_at: at(0) };
    record.root.as_mut().unwrap().replaced_by = Some(replacement);
    for id in ["vol-2", "vol-3", "vol-4", "vol-5", "vol-6"] {
        let volume = volume_facts(id, 1, "some key");
        assert_eq!(judged(Found::Volume(&volume), &record), Finding::Explained, "{id}");
    }
    for id in ["snap-1", "snap-2", "snap-3", "snap-4"] {
        let snapshot = snapshot_facts(id, "vol-4", Purpose::Final, 1, "some key");
        assert_eq!(judged(Found::Snapshot(&snapshot), &record), Finding::Explained, "{id}");
    }
    for id in ["ami-2", "ami-x"] {
        let image = ImageFacts { id: ImageId::new(id), ..image_facts(1, 1) };
        assert_eq!(judged(Found::Image(&image), &record), Finding::Explained, "{id}");
    }
    let interface = InterfaceFacts { id: InterfaceId::new("eni-1"), ..interface_facts("some key") };
    assert_eq!(judged(Found::Interface(&interface), &record), Finding::Explained);
    let instance = InstanceFacts { id: InstanceId::new("i-3"), ..instance_facts("some key", 3) };
    assert_eq!(judged(Found::Instance(&instance), &record), Finding::Explained);
}

#[test]
fn what_is_on_its_way_out_is_no_orphan() {
    let mut volume = volume_facts("vol-x", 1, "k");
    volume.state = VolumeState::Deleting;
    assert_eq!(judged(Found::Volume(&volume), &running()), Finding::Explained);
    for state in [InstanceState::ShuttingDown, InstanceState::Terminated] {
        let instance = InstanceFacts { state, ..instance_facts("k", 1) };
        assert_eq!(judged(Found::Instance(&instance), &running()), Finding::Explained);
    }
    let image = ImageFacts { state: ImageState::Gone, ..image_facts(1, 1) };
    assert_eq!(judged(Found::Image(&image), &running()), Finding::Explained);
    let mut purging = running();
    purging.phase = Phase::Purging;
    assert_eq!(judged(Found::Snapshot(&final_of("vol-1", 1)), &purging), Finding::Explained);
}

#[test]
fn a_line_of_snapshots_is_the_rotations_matter_while_its_life_lives() {
    for purpose in Purpose::ROTATED {
        let snapshot = snapshot_facts("snap-x", "vol-1", purpose, 1, "k");
        assert_eq!(judged(Found::Snapshot(&snapshot), &running()), Finding::Explained);
        assert_deleted(judged(Found::Snapshot(&snapshot), &gone(&[Retained::Snapshots])));
    }
}

#[test]
fn volumes_of_the_present_launch_are_explained_by_its_key() {
    let mut unseen = launching();
    unseen.phase = Phase::Releasing;
    unseen.unseen = Some(Unseen { key: launch(3, 2), image_id: ImageId::new("ami-2") });
    let volume = volume_facts("vol-x", 3, &launch(3, 2));
    assert_eq!(judged(Found::Volume(&volume), &unseen), Finding::Explained);
    let data = volume_facts("vol-x", 3, &launch(3, 1));
    assert_eq!(judged(Found::Volume(&data), &running()), Finding::Explained);
    // Of another attempt of the same cycle: it may hold what its guest wrote.
    assert_reported(judged(Found::Volume(&volume), &running()));
}

#[test]
fn an_instance_that_a_launch_at_hand_made_is_adopted() {
    let mut facts = instance_facts(&launch(3, 2), 3);
    let finding = judged(Found::Instance(&facts), &launching());
    let Finding::Adopt(adoption) = finding else { panic!("{finding:?}") };
    let scope = Scope { deployment: "prod", now: at(HOUR), tick: true, suspended: false };
    let (record, entries) = adopt(launching(), &adoption, scope);
    let instance = record.instance.unwrap();
    assert_eq!((instance.id, instance.key, instance.heir), (facts.id.clone(), launch(3, 2), false));
    assert_eq!((record.phase, record.work_at), (Phase::Launching, Some(at(HOUR))));
    assert!(!entries.is_empty());
    // Not in another cycle, phase or company, nor on the word of a tag alone.
    assert_reported(judged(Found::Instance(&instance_facts(&launch(2, 1), 2)), &launching()));
    assert_reported(judged(Found::Instance(&facts), &running()));
    let mut unseen = launching();
    unseen.unseen = Some(Unseen { key: launch(3, 1), image_id: ImageId::new("ami-2") });
    assert_reported(judged(Found::Instance(&facts), &unseen));
    facts.client_token = Some("another".into());
    assert_reported(judged(Found::Instance(&facts), &launching()));
    facts.client_token = None;
    assert_reported(judged(Found::Instance(&facts), &launching()));
    assert_reported(judged(Found::Instance(&instance_facts("no key of ours", 3)), &launching()));
}

#[test]
fn what_an_earlier_cycle_left_is_superseded_if_the_present_root_descends_from_it() {
    for cycle in [1, 2] {
        let (snapshot, image) = (final_of("vol-1", cycle), image_facts(cycle, 3));
        for record in [running(), launching()] {
            let as_snapshot = Superseded::Snapshot(snapshot.id.clone());
            assert_superseded(judged(Found::Snapshot(&snapshot), &record), as_snapshot);
            assert_superseded(judged(Found::Image(&image), &record), Superseded::Image(image.id.clone()));
        }
    }
    let scope = Scope { deployment: "prod", now: at(HOUR), tick: true, suspended: false };
    let superseded = Superseded::Image(ImageId::new("ami-x"));
    let (record, _) = adopt(running(), &Adoption::Superseded(superseded.clone()), scope);
    assert_eq!((&record.superseded[..], record.work_at), (&[superseded][..], Some(at(HOUR))));
    assert_eq!(judged(Found::Image(&image_facts(1, 3)), &record), Finding::Explained);
}

/// Something that makes a record prove less.
type Change = fn(&mut Record);

#[test]
fn nothing_is_superseded_that_the_present_root_does_not_provably_descend_from() {
    let (snapshot, image) = (final_of("vol-1", 1), image_facts(1, 1));
    let changes: [(&str, Change); 7] = [
        ("a later descent", |r| r.descent = 2),
        ("an unknown descent", |r| r.descent = 0),
        ("no heir", |r| r.instance.as_mut().unwrap().heir = false),
        ("no root persistence", |r| r.config.config.persist.root = None),
        ("a lost root", |r| r.lost = Some(Lost { volume_id: VolumeId::new("vol-9"), since: at(0) })),
        ("a restore asked for", |r| r.restore = Some(SnapshotId::new("snap-9"))),
        ("an earlier cycle", |r| r.cycle = 0),
    ];
    for (what, change) in changes {
        let mut record = running();
        change(&mut record);
        for found in [Found::Snapshot(&snapshot), Found::Image(&image)] {
            let finding = judged(found, &record);
            assert!(matches!(finding, Finding::Report(_)), "{what}: {finding:?}");
        }
    }
}

#[test]
fn a_key_that_no_step_of_that_cycle_makes_proves_nothing() {
    let wrong_key = snapshot_facts("snap-x", "vol-1", Purpose::Final, 1, &last(2, "vol-1", 1));
    assert_reported(judged(Found::Snapshot(&wrong_key), &running()));
    let wrong_volume = snapshot_facts("snap-x", "vol-1", Purpose::Final, 1, &last(1, "vol-2", 1));
    assert_reported(judged(Found::Snapshot(&wrong_volume), &running()));
    let mut renamed = image_facts(1, 1);
    renamed.name = "another".into();
    assert_reported(judged(Found::Image(&renamed), &running()));
    let mut purpose = final_of("vol-1", 1);
    purpose.tags.insert(TAG_PURPOSE.into(), "backup".into());
    assert_reported(judged(Found::Snapshot(&purpose), &running()));
}

#[test]
fn the_cycle_at_hand_finds_its_own_by_key() {
    assert_eq!(judged(Found::Snapshot(&final_of("vol-3", 3)), &running()), Finding::Explained);
    assert_eq!(judged(Found::Image(&image_facts(3, 1)), &running()), Finding::Explained);
    assert_reported(judged(Found::Image(&image_facts(4, 1)), &running()));
}

#[test]
fn a_root_is_superseded_only_once_a_final_snapshot_of_it_is_complete() {
    let volume = volume_facts("vol-1", 1, &launch(1, 1));
    let with = |snapshot: SnapshotFacts| {
        let mut seen = Observation::default();
        seen.snapshots.insert(snapshot.id.clone(), snapshot);
        judged_among(Found::Volume(&volume), &running(), &seen)
    };
    assert_superseded(with(final_of("vol-1", 1)), Superseded::Volume(volume.id.clone()));
    let mut misled = running();
    misled.superseded.push(Superseded::Volume(volume.id.clone()));
    misled.forget(&Superseded::Volume(volume.id.clone()));
    assert_superseded(judged(Found::Volume(&volume), &misled), Superseded::Volume(volume.id.clone()));
    // A root that was swapped by hand, or whose launch nobody followed up, has none.
    assert_reported(judged(Found::Volume(&volume), &running()));
    assert_reported(with(SnapshotFacts { state: SnapshotState::Pending, ..final_of("vol-1", 1) }));
    assert_reported(with(SnapshotFacts { own: false, ..final_of("vol-1", 1) }));
    assert_reported(with(final_of("vol-2", 1)));
    assert_reported(with(final_of("vol-1", 2)));
    assert_reported(with(snapshot_facts("snap-x", "vol-1", Purpose::Periodic, 1, "k")));
    let mut busy = volume.clone();
    (busy.state, busy.attached_to) = (VolumeState::InUse, vec![InstanceId::new("i-9")]);
    let mut seen = Observation::default();
    seen.snapshots.insert(SnapshotId::new("snap-x"), final_of("vol-1", 1));
    assert_reported(judged_among(Found::Volume(&busy), &running(), &seen));
    let stranger = volume_facts("vol-1", 1, "no key of ours");
    assert_reported(judged_among(Found::Volume(&stranger), &running(), &seen));
}

#[test]
fn only_a_free_duplicate_of_the_kept_interface_goes() {
    for key in [interface_key(1, None), interface_key(7, None), interface_key(2, Some("eni-1"))] {
        assert_deleted(judged(Found::Interface(&interface_facts(&key)), &running()));
    }
    let free = interface_facts(&interface_key(1, None));
    let busy = InterfaceFacts { state: InterfaceState::InUse, ..free.clone() };
    assert_reported(judged(Found::Interface(&busy), &running()));
    let mut without = running();
    without.network = None;
    assert_reported(judged(Found::Interface(&free), &without));
    let mut missing = running();
    missing.network.as_mut().unwrap().missing_since = Some(at(0));
    assert_reported(judged(Found::Interface(&free), &missing));
    assert_reported(judged(Found::Interface(&interface_facts("no key of ours")), &running()));
    assert_reported(judged(Found::Interface(&interface_facts(&launch(3, 9))), &running()));
}

#[test]
fn the_interface_that_the_next_try_will_find_is_no_orphan() {
    for key in [interface_key(3, None), interface_key(3, Some("eni-1"))] {
        assert_eq!(judged(Found::Interface(&interface_facts(&key)), &launching()), Finding::Explained);
    }
    let mut first = launching();
    first.network = None;
    let facts = interface_facts(&interface_key(3, None));
    assert_eq!(judged(Found::Interface(&facts), &first), Finding::Explained);
}

#[test]
fn the_interface_that_a_resting_node_was_to_keep_is_taken_in() {
    let mut paused = launching();
    (paused.phase, paused.network) = (Phase::Paused, None);
    let facts = interface_facts(&interface_key(1, None));
    let taken = Finding::Adopt(Adoption::Interface(Box::new(facts.clone())));
    assert_eq!(judged(Found::Interface(&facts), &paused), taken);
    let mut unasked = paused.clone();
    unasked.config.config.persist.network = None;
    assert_reported(judged(Found::Interface(&facts), &unasked));
    let scope = Scope { deployment: "prod", now: at(HOUR), tick: true, suspended: false };
    let (kept, _) = adopt(paused.clone(), &Adoption::Interface(Box::new(facts.clone())), scope);
    assert_eq!(judged(Found::Interface(&facts), &kept), Finding::Explained);
    paused.config.config.persist.network.as_mut().unwrap().private_ip = Some("10.0.1.9".parse().unwrap());
    assert_reported(judged(Found::Interface(&facts), &paused));
    // In place of a lost one only what was made in its place.
    let mut missing = kept;
    missing.network.as_mut().unwrap().missing_since = Some(at(0));
    let other = InterfaceFacts { id: InterfaceId::new("eni-y"), ..facts };
    assert_reported(judged(Found::Interface(&other), &missing));
    let heir =
        InterfaceFacts { tags: tags(Purpose::Interface, 1, &interface_key(2, Some("eni-x"))), ..other };
    assert!(matches!(judged(Found::Interface(&heir), &missing), Finding::Adopt(Adoption::Interface(_))));
}

#[test]
fn an_ended_life_leaves_only_what_its_end_was_not_to_delete() {
    let volume = volume_facts("vol-1", 1, "any key");
    let (snapshot, image) = (final_of("vol-1", 1), image_facts(1, 1));
    let periodic = snapshot_facts("snap-y", "vol-1", Purpose::Periodic, 1, "k");
    let (interface, instance) = (interface_facts("k"), instance_facts("k", 1));
    let all = [Retained::Images, Retained::Snapshots, Retained::Volumes, Retained::NetworkInterfaces];
    let things = [
        (Found::Volume(&volume), vec![Retained::Volumes]),
        (Found::Snapshot(&snapshot), vec![Retained::Snapshots, Retained::Images]),
        (Found::Snapshot(&periodic), vec![Retained::Snapshots]),
        (Found::Image(&image), vec![Retained::Images]),
        (Found::Interface(&interface), vec![Retained::NetworkInterfaces]),
    ];
    let former = |deleted: &[Retained]| {
        let mut record = running();
        record.life = "life-2".into();
        record.former = vec![Former { life: LIFE.into(), deleted: deleted.to_vec() }];
        record
    };
    for (found, needed) in things {
        for ended in [gone, former] {
            assert_deleted(judged(found, &ended(&needed)));
            assert_deleted(judged(found, &ended(&all)));
            assert_reported(judged(found, &ended(&[])));
            let others: Vec<_> = all.iter().copied().filter(|kind| *kind != needed[0]).collect();
            assert_reported(judged(found, &ended(&others)));
        }
        let mut released = gone(&all);
        released.goal = DesiredState::Released;
        assert_reported(judged(found, &released));
    }
    for ended in [gone, former] {
        assert_reported(judged(Found::Instance(&instance), &ended(&all)));
        let busy = VolumeFacts { attached_to: vec![InstanceId::new("i-9")], ..volume.clone() };
        assert_reported(judged(Found::Volume(&busy), &ended(&all)));
        let mut unknown = volume.clone();
        unknown.tags.insert(TAG_PURPOSE.into(), "backup".into());
        assert_reported(judged(Found::Volume(&unknown), &ended(&all)));
    }
}

#[test]
fn a_record_at_work_or_just_written_may_be_about_to_explain() {
    let (snapshot, seen) = (final_of("vol-1", 1), Observation::default());
    let judge_at = |record: &Record, now, again| {
        let sight = Sight { deployment: "prod", now, again };
        judge(Found::Snapshot(&snapshot), Some(record), &seen, sight)
    };
    let mut record = running();
    record.updated_at = at(HOUR - 60);
    assert_eq!(judge_at(&record, at(HOUR), false), Finding::Unsettled);
    // One that is written every minute hides nothing for ever.
    assert!(matches!(judge_at(&record, at(HOUR), true), Finding::Adopt(_)));
    assert!(matches!(judge_at(&record, at(HOUR + 300), false), Finding::Adopt(_)));
    let until = at(HOUR + 60);
    record.claim = Some(Claim { by: "another".into(), step: "delete".into(), until });
    assert_eq!(judge_at(&record, at(HOUR), true), Finding::Unsettled);
    assert!(matches!(judge_at(&record, until, true), Finding::Adopt(_)));
}

#[test]
fn the_pass_is_due_every_hour_and_nothing_goes_before_a_day() {
    let mut orphans = Orphans::default();
    assert!(orphans.is_due(at(0)));
    orphans.checked_at = Some(at(0));
    assert!(!orphans.is_due(at(HOUR - 1)) && orphans.is_due(at(HOUR)));
    assert!(!orphans.may_go("vol-1", at(0) + SignedDuration::from_hours(1000)));
    orphans.since.insert("vol-1".into(), at(0));
    assert!(!orphans.may_go("vol-1", at(24 * HOUR - 1)) && orphans.may_go("vol-1", at(24 * HOUR)));
}

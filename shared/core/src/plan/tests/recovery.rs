//! Coming back from what is left.

use super::*;
use crate::ids::Resource;

fn without(images: bool, snapshots: bool, volumes: bool) -> impl Fn(&mut Observation) {
    move |seen| {
        kept(seen);
        if images {
            seen.images.retain(|id, _| id.as_str() == "ami-base");
        }
        if snapshots {
            seen.snapshots.clear();
        }
        if volumes {
            seen.volumes.clear();
        }
    }
}

/// What becomes of a node of which something is missing, for longer than a read may lag.
fn missing(goal: DesiredState, world: impl Fn(&mut Observation)) -> Plan {
    let first = decide(wants(captured(), goal), 200, &world);
    assert!(matches!(first.then, Then::Wait(_)), "one read proves nothing: {:?}", first.then);
    decide(first.record, 200 + 601, world)
}

#[test]
fn a_lost_image_is_registered_again_from_its_snapshot() {
    for goal in [DesiredState::Running, DesiredState::Paused] {
        let plan = missing(goal, without(true, false, false));
        let Step::RegisterImage(request) = step(&plan) else { panic!("{:?}", plan.then) };
        assert_eq!((request.snapshot.as_str(), request.root_device.as_str()), ("snap-1", "/dev/xvda"));
        assert_eq!((request.shape.size_gib, plan.record.phase), (8, Phase::Imaging));
        assert_eq!(request.platform.usage_operation.as_deref(), Some("RunInstances"));
    }
}

#[test]
fn a_lost_snapshot_is_taken_again_from_its_volume() {
    for goal in [DesiredState::Running, DesiredState::Paused] {
        let plan = missing(goal, without(true, true, false));
        let Step::Snapshot(request) = step(&plan) else { panic!("{:?}", plan.then) };
        assert_eq!((request.volumes()[0].as_str(), request.purpose()), ("vol-1", Purpose::Final));
        assert_eq!(plan.record.phase, Phase::Capturing);
    }
}

#[test]
fn with_nothing_left_the_operator_is_asked_and_an_older_point_is_used_at_his_word_alone() {
    let lost = |seen: &mut Observation| {
        without(true, true, true)(seen);
        let old = snapshot("snap-p", SnapshotState::Completed, 50, tags(Purpose::Periodic, 1, "p"));
        seen.snapshots.insert(old.id.clone(), old);
    };
    for goal in [DesiredState::Running, DesiredState::Paused] {
        let plan = missing(goal, lost);
        assert!(matches!(plan.then, Then::Wait(_)), "{:?}", plan.then);
        let blocked = plan.record.blocked.clone().unwrap();
        assert_eq!(blocked.code, "data-missing");
        assert!(blocked.message.contains("snap-p"), "{}", blocked.message);
        let mut asked = plan.record;
        asked.restore = Some(SnapshotId::new("snap-p"));
        asked.not_before = None;
        let plan = decide(asked, 900, lost);
        let Step::RegisterImage(request) = step(&plan) else { panic!("{:?}", plan.then) };
        assert_eq!(request.snapshot.as_str(), "snap-p");
        let record = &plan.record;
        assert_eq!((record.restored.as_ref().map(SnapshotId::as_str), &record.lost), (Some("snap-p"), &None));
        assert_eq!(record.descent, record.cycle - 1 + 1, "nothing older or newer is rotated away");
        assert!(record.superseded.is_empty(), "and nothing is deleted as its ancestor");
        let old = Resource::Volume(VolumeId::new("vol-1"));
        assert!(record.aside.contains(&old), "it stays until the life ends: {:?}", record.aside);
    }
}

#[test]
fn a_restore_point_that_does_not_exist_is_said_and_nothing_is_done() {
    let mut record = missing(DesiredState::Running, without(true, true, true)).record;
    record.restore = Some(SnapshotId::new("snap-x"));
    record.not_before = None;
    let plan = decide(record, 900, without(true, true, true));
    assert!(matches!(plan.then, Then::Wait(_)));
    assert!(plan.record.blocked.unwrap().message.contains("snap-x, named by restoreFrom, does not exist"));
}

#[test]
fn a_volume_that_comes_back_is_captured_without_asking() {
    let record = missing(DesiredState::Running, without(true, true, true)).record;
    assert!(record.lost.is_some());
    let plan = decide(record, 1200, without(true, true, false));
    assert!(matches!(step(&plan), Step::Snapshot(request) if request.volumes()[0].as_str() == "vol-1"));
}

#[test]
fn a_node_with_lost_data_can_be_given_up_and_still_waits_for_the_word_when_it_is_wanted_back() {
    let record = missing(DesiredState::Running, without(true, true, true)).record;
    let given_up = decide(wants(record, DesiredState::Deallocated), 900, without(true, true, true));
    assert_eq!(given_up.record.phase, Phase::Deallocated);
    let back = decide(wants(given_up.record, DesiredState::Running), 1000, without(true, true, true));
    assert_eq!(back.record.blocked.unwrap().code, "data-missing");
    assert_eq!(back.record.phase, Phase::Launching);
}

#[test]
fn a_snapshot_deleted_before_its_image_is_made_is_taken_again() {
    let plan = capturing();
    let taken = snapshot("snap-1", SnapshotState::Pending, 101, tags(Purpose::Final, 1, "f"));
    let (record, _) = absorb(plan.record.clone(), step(&plan), &Outcome::Snapshots(vec![taken]), scope(102));
    let plan = decide(record, 110, kept);
    assert!(matches!(step(&plan), Step::RegisterImage(_)));
    let gone = without(true, true, false);
    let first = decide(plan.record, 120, &gone);
    assert!(matches!(first.then, Then::Wait(_)));
    let again = decide(first.record, 120 + 601, &gone);
    assert!(matches!(step(&again), Step::Snapshot(request) if request.volumes()[0].as_str() == "vol-1"));
}

#[test]
fn a_loss_that_the_operator_answered_with_the_base_image_is_over() {
    let gone = without(true, true, true);
    let mut record = missing(DesiredState::Running, &gone).record;
    let policy = record.config.config.persist.root.take();
    record.not_before = None;
    let plan = decide(record, 900, &gone);
    let up = instance(InstanceState::Running);
    let (mut record, _) =
        absorb(plan.record.clone(), step(&plan), &Outcome::Launched(Box::new(up)), scope(901));
    assert_eq!(record.lost, None);
    assert!(record.aside.contains(&Resource::Volume(VolumeId::new("vol-1"))), "nor is it forgotten");
    record.config.config.persist.root = policy;
    assert_eq!(record.descent, record.cycle, "what comes now descends from the base image");
}

/// The same record, with root persistence in the item or not.
fn lift_root(mut record: Record, on: bool) -> Record {
    record.config.config.persist.root = if on { new_record().config.config.persist.root } else { None };
    record.not_before = None;
    record
}

#[test]
fn what_a_base_instance_does_not_descend_from_stays_however_soon_it_ends() {
    // paused with own image ami-n; root persistence taken out; resumed
    let record = lift_root(captured(), false);
    let launched = decide(record, 300, kept);
    let Step::Launch(request) = step(&launched) else { panic!() };
    assert_eq!(request.image_id.as_str(), "ami-base");
    let mut facts = instance(InstanceState::Pending);
    facts.id = InstanceId::new("i-2");
    facts.volumes[0].volume = VolumeId::new("vol-2");
    facts.volumes[0].delete_on_termination = false;
    let (record, _) = absorb(
        launched.record.clone(),
        step(&launched),
        &Outcome::Launched(Box::new(facts.clone())),
        scope(301),
    );
    assert_eq!(record.cycle, 2);
    // put back, and paused, before it is in running
    let record = wants(lift_root(record, true), DesiredState::Paused);
    let world2 = |state: InstanceState, vol: VolumeState| {
        let facts = facts.clone();
        move |seen: &mut Observation| {
            kept(seen);
            let mut facts = InstanceFacts { state, ..facts.clone() };
            facts.tags = tags(Purpose::Instance, 2, "k2");
            if state == InstanceState::Terminated {
                facts = gone(facts);
            }
            seen.instances.insert(facts.id.clone(), facts);
            let mut v = volume(vol);
            v.id = VolumeId::new("vol-2");
            v.tags = tags(Purpose::Root, 2, "k2");
            seen.volumes.insert(v.id.clone(), v);
            let mut s = snapshot("snap-2", SnapshotState::Completed, 500, tags(Purpose::Final, 2, "f2"));
            s.volume = VolumeId::new("vol-2");
            seen.snapshots.insert(s.id.clone(), s);
            let own = image("ami-2", ImageState::Available);
            seen.images.insert(own.id.clone(), ImageFacts { tags: tags(Purpose::Image, 2, "n2"), ..own });
        }
    };
    let plan = decide(record, 320, world2(InstanceState::Running, VolumeState::InUse));
    assert!(matches!(step(&plan), Step::Terminate(_)), "{:?}", plan.then);
    let (record, _) = absorb(plan.record.clone(), step(&plan), &Outcome::Done, scope(321));
    let plan = decide(record, 400, world2(InstanceState::Terminated, VolumeState::Available));
    let mut record = plan.record;
    record.finals[0].snapshot_id = Some(SnapshotId::new("snap-2"));
    record.finals[0].state = SnapshotState::Completed;
    record.not_before = None;
    let plan = decide(record, 600, world2(InstanceState::Terminated, VolumeState::Available));
    let (record, _) =
        absorb(plan.record.clone(), step(&plan), &Outcome::Image(ImageId::new("ami-2")), scope(601));
    let plan = decide(record, 700, world2(InstanceState::Terminated, VolumeState::Available));
    assert!(!matches!(plan.then, Then::Act(_)), "nothing of the node's data is deleted: {:?}", plan.then);
    assert!(plan.record.aside.contains(&Resource::Image(ImageId::new("ami-n"))));
}

#[test]
fn a_word_about_one_loss_does_not_answer_the_next() {
    let gone_world = |seen: &mut Observation| {
        kept(seen);
        seen.images.retain(|i, _| i.as_str() == "ami-base");
        seen.snapshots.clear();
        seen.volumes.clear();
    };
    let first = decide(captured(), 200, gone_world);
    let plan = decide(first.record, 200 + 601, gone_world);
    assert_eq!(plan.record.blocked.as_ref().unwrap().code, "data-missing");
    let mut record = plan.record;
    record.restore = Some(SnapshotId::new("snap-p")); // pending or not shown yet
    record.not_before = None;
    let plan = decide(record, 900, |seen| {
        gone_world(seen);
        seen.volumes.insert(VolumeId::new("vol-1"), volume(VolumeState::Available));
    });
    assert_eq!(plan.record.phase, Phase::Capturing);
    assert_eq!(plan.record.lost, None);
    assert_eq!(plan.record.restore, None, "the word was about the loss that is over");
}

#[test]
fn a_node_whose_image_is_refused_can_be_deallocated_and_is_captured_when_it_is_wanted_back() {
    let plan = capturing();
    let taken = snapshot("snap-1", SnapshotState::Pending, 101, tags(Purpose::Final, 1, "f"));
    let (record, _) = absorb(plan.record.clone(), step(&plan), &Outcome::Snapshots(vec![taken]), scope(102));
    let mut record = wants(record, DesiredState::Deallocated);
    for n in 0..50 {
        let plan = decide(record, 200 + n * 400, |seen| {
            kept(seen);
            seen.images.retain(|i, _| i.as_str() == "ami-base");
        });
        record = plan.record.clone();
        if record.phase == Phase::Deallocated {
            let back = decide(wants(record, DesiredState::Running), 30_000, kept);
            assert!(matches!(step(&back), Step::Snapshot(_)), "{:?}", back.then);
            return;
        }
        if let Then::Act(s) = &plan.then {
            record = fail(record, s, Class::Terminal, 201 + n * 400);
        }
    }
    panic!("{} {:?}", record.phase, record.blocked);
}

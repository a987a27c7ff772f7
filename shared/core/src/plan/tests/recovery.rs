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
        assert_eq!((request.volume.as_str(), request.purpose), ("vol-1", Purpose::Final));
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
    assert!(matches!(step(&plan), Step::Snapshot(request) if request.volume.as_str() == "vol-1"));
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
    let (record, _) = absorb(plan.record.clone(), step(&plan), &Outcome::Snapshot(taken), scope(102));
    let plan = decide(record, 110, kept);
    assert!(matches!(step(&plan), Step::RegisterImage(_)));
    let gone = without(true, true, false);
    let first = decide(plan.record, 120, &gone);
    assert!(matches!(first.then, Then::Wait(_)));
    let again = decide(first.record, 120 + 601, &gone);
    assert!(matches!(step(&again), Step::Snapshot(request) if request.volume.as_str() == "vol-1"));
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

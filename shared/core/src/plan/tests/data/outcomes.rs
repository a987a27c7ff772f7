//! What the record makes of a step's outcome, and what it asks to be read.

use super::account::{DEVICE, ROOT};
use super::node::{Living, REATTACH, SNAPSHOT};
use super::*;
use crate::ids::Resource;
use crate::record::{FinalSnapshot, Sighted};
use crate::step::VolumeRequest;

const NOW: i64 = 5000;

fn done(record: &Record, step: &Step, outcome: Outcome) -> Record {
    absorb(record.clone(), step, &outcome, scope(NOW)).0
}

fn pause(record: &Record) -> Option<i64> {
    record.not_before.map(|at| at.as_second() - super::super::at(NOW).as_second())
}

fn code(record: &Record) -> &str {
    record.blocked.as_ref().map_or("", |it| it.code.as_str())
}

fn attach() -> Step {
    let (volume, instance) = (VolumeId::new("vol-d"), InstanceId::new("i-1"));
    Step::Attach { volume, instance, device: DEVICE.into() }
}

fn create() -> Step {
    Step::CreateVolume(Box::new(VolumeRequest {
        token: "t".into(),
        device: DEVICE.into(),
        snapshot: SnapshotId::new("snap-1"),
        zone: "us-east-1a".into(),
        shape: VolumeShape::default(),
        tags: Tags::new(),
    }))
}

fn adopt(volume: &VolumeId) -> Step {
    Step::Adopt { volume: volume.clone(), tags: Tags::new() }
}

/// A running node with one data volume that lacks our tags.
fn untagged() -> (Record, VolumeId) {
    let mut node = Living::running(REATTACH);
    node.record.data[0].untagged = true;
    let id = node.volume(DEVICE);
    (node.record, id)
}

#[test]
fn an_attachment_that_was_asked_for_is_given_a_moment_to_be_seen() {
    let (record, _) = untagged();
    let after = done(&record, &attach(), Outcome::Done);
    assert_eq!((pause(&after), code(&after)), (Some(limits::NOT_YET_REST.as_secs()), ""));
}

#[test]
fn each_refusal_of_an_attachment_or_a_new_volume_is_rested_or_told() {
    let (record, _) = untagged();
    for (step, refused) in [(attach(), "attach-refused"), (create(), "volume-refused")] {
        for (class, rest, told) in [
            (Class::NotYet, limits::NOT_YET_REST, ""),
            (Class::NotFound, limits::NOT_YET_REST, ""),
            (Class::Retry, limits::RETRY_SOON, ""),
            (Class::Quota, limits::LADDER_REST, "quota"),
            (Class::Terminal, limits::REFUSED_REST, refused),
        ] {
            let after = fail(record.clone(), &step, class, NOW);
            assert_eq!((pause(&after), code(&after)), (Some(rest.as_secs()), told), "{class:?}");
        }
        let mut after = record.clone();
        for second in [NOW, NOW + 300, NOW + 601] {
            after = fail(after, &step, Class::NotYet, second);
        }
        assert_eq!(code(&after), "step-stalled", "what should have passed by itself");
    }
}

#[test]
fn a_token_that_stands_for_something_else_is_followed_by_another_and_no_launch_is_counted() {
    let (record, _) = untagged();
    for class in [Class::TokenMismatch, Class::TokenSpent] {
        let after = fail(record.clone(), &create(), class, NOW);
        assert_eq!((after.data[0].attempts, after.attempts), (record.data[0].attempts + 1, record.attempts));
        assert_eq!((pause(&after), code(&after)), (Some(limits::NOT_YET_REST.as_secs()), ""));
    }
}

#[test]
fn a_volume_being_made_is_written_down_with_its_device_and_is_not_needless() {
    let (mut record, _) = untagged();
    let made = VolumeFacts { id: VolumeId::new("vol-m"), ..volume(VolumeState::Creating) };
    record.superseded = vec![Superseded::DataVolume(made.id.clone())];
    let after = done(&record, &create(), Outcome::Volume(made.clone()));
    assert_eq!((after.data[0].made.as_ref(), after.superseded.len()), (Some(&made.id), 0));
    assert!(after.resources().contains("vol-m"), "its events find the node");
    let mut other = record.clone();
    other.data[0].device_name = "/dev/sdq".into();
    let after = done(&other, &create(), Outcome::Volume(made));
    assert_eq!(after.data[0].made, None, "made for a device that nothing is wanted at any more");
}

#[test]
fn an_adoption_is_noted_and_one_that_is_not_ours_to_make_ends_in_being_left_alone() {
    let (record, id) = untagged();
    assert!(!done(&record, &adopt(&id), Outcome::Done).data[0].untagged);
    let after = done(&record, &adopt(&id), Outcome::NotOurs("it is web's".into()));
    assert_eq!((after.data.len(), after.left_alone[0].why.as_str()), (0, "it is web's"));
    assert_eq!((&after.left_alone[0].volume_id, after.left_alone[0].device_name.as_str()), (&id, DEVICE));
}

#[test]
fn a_failed_adoption_or_deletion_pauses_nothing_but_the_clearing_away() {
    let (record, id) = untagged();
    let delete = Step::Delete(Superseded::DataVolume(VolumeId::new("vol-o")));
    for (step, told) in [(adopt(&id), "adopt-refused"), (delete, "delete-refused")] {
        let after = fail(record.clone(), &step, Class::Terminal, NOW);
        assert_eq!((pause(&after), code(&after)), (None, told));
        assert_eq!(after.clean_not_before, Some(at(NOW) + limits::REFUSED_REST));
    }
}

#[test]
fn a_deleted_thing_of_a_data_volume_is_remembered_as_gone() {
    let (mut record, _) = untagged();
    let volume = Superseded::DataVolume(VolumeId::new("vol-o"));
    let snapshot = Superseded::DataSnapshot(SnapshotId::new("snap-o"));
    for needless in [volume, snapshot] {
        record.superseded = vec![needless.clone()];
        for after in [
            done(&record, &Step::Delete(needless.clone()), Outcome::Done),
            fail(record.clone(), &Step::Delete(needless.clone()), Class::NotFound, NOW),
        ] {
            assert_eq!((after.superseded.len(), after.departed.last()), (0, Some(&needless)));
        }
        let after = done(&record, &Step::Delete(needless.clone()), Outcome::NotOurs("tags".into()));
        assert_eq!((after.superseded.len(), code(&after)), (0, ""), "left alone");
    }
}

#[test]
fn a_failed_final_snapshot_that_is_deleted_makes_room_for_the_next() {
    let (mut record, id) = untagged();
    let failed = SnapshotId::new("snap-f");
    record.data[0].last = Some(FinalSnapshot {
        snapshot_id: None,
        volume_id: id,
        state: SnapshotState::Pending,
        attempt: 2,
        failed: Some(failed.clone()),
        missing_since: None,
    });
    let step = Step::Delete(Superseded::DataSnapshot(failed));
    assert_eq!(done(&record, &step, Outcome::Done).data[0].last.as_ref().unwrap().failed, None);
}

#[test]
fn a_final_snapshot_is_written_down_with_the_volume_it_is_of() {
    let mut node = Living::running(SNAPSHOT);
    node.ec2.slow = true;
    node.interrupt();
    node.faults = vec![("final-snapshot", Fault::Refused(Class::NotYet)); 2];
    node.until(Phase::Capturing);
    let requests: Vec<Step> = node.steps.iter().filter(|it| it.name() == "final-snapshot").cloned().collect();
    let mut record = node.record.clone();
    let data = node.volume(DEVICE);
    let taken = |id: &str, volume: &VolumeId| SnapshotFacts {
        volume: volume.clone(),
        ..snapshot(id, SnapshotState::Pending, NOW, Tags::new())
    };
    record.data[0].last =
        record.finals.first().map(|last| FinalSnapshot { volume_id: data.clone(), ..last.clone() });
    let after = done(&record, &requests[0], Outcome::Snapshots(vec![taken("snap-d", &data)]));
    assert_eq!(after.data[0].last.as_ref().unwrap().snapshot_id, Some(SnapshotId::new("snap-d")));
    assert_eq!(after.finals[0].snapshot_id, record.finals[0].snapshot_id, "the root's is another");
    let root = record.root.as_ref().unwrap().volume_id.clone();
    let after = done(&record, &requests[0], Outcome::Snapshots(vec![taken("snap-r", &root)]));
    assert_eq!(after.finals[0].snapshot_id, Some(SnapshotId::new("snap-r")));
    assert_eq!(after.data[0].last.as_ref().unwrap().snapshot_id, None);
}

#[test]
fn what_is_handed_over_is_the_nodes_no_longer_however_it_was_heard_of() {
    let (record, id) = untagged();
    let step = Step::HandOver(Resource::Volume(id));
    for after in [done(&record, &step, Outcome::Done), fail(record.clone(), &step, Class::NotFound, NOW)] {
        assert_eq!(after.data, []);
    }
    let after = fail(record.clone(), &step, Class::Terminal, NOW);
    assert_eq!((after.data.len(), code(&after)), (1, "hand-over-refused"));
}

#[test]
fn a_mark_that_still_holds_outlives_other_successes() {
    let mut node = Living::running(REATTACH);
    node.ec2.attach_by_hand("/dev/sdg", Tags::from([("perennial:node".into(), "web".into())]));
    node.until_blocked("volume-left-alone");
    let keep = Step::KeepVolumes { instance: InstanceId::new("i-1"), devices: vec![ROOT.into()] };
    assert_eq!(code(&done(&node.record, &keep, Outcome::Done)), "volume-left-alone");
    node.record.left_alone.clear();
    assert_eq!(code(&done(&node.record, &keep, Outcome::Done)), "");
}

// What is read.

fn asks(record: &Record) -> Look {
    look(record, "prod")
}

#[test]
fn a_steady_node_reads_its_instance_and_nothing_of_its_volumes() {
    let node = Living::running(REATTACH);
    let asked = asks(&node.record);
    assert_eq!((asked.volumes.len(), asked.instances.len(), asked.snapshots.len()), (0, 1, 0));
}

#[test]
fn what_is_to_be_judged_or_on_its_way_is_read_in_every_phase_with_an_instance() {
    for phase in [Phase::Attaching, Phase::Running, Phase::Interrupting, Phase::Stopping] {
        let mut record = Living::running(REATTACH).record;
        record.phase = phase;
        record.data[0].detached_since = Some(at(0));
        let (volume_id, device_name) = (VolumeId::new("vol-s"), "/dev/sds".into());
        record.sighted.push(Sighted { volume_id: volume_id.clone(), device_name });
        let asked = asks(&record).volumes;
        assert!(asked.contains(&volume_id) && asked.contains(&record.data[0].volume_id), "{phase}");
    }
}

#[test]
fn a_missing_instance_is_looked_for_behind_its_data_volumes_too() {
    let mut record = Living::running(REATTACH).record;
    record.instance.as_mut().unwrap().missing_since = Some(at(0));
    assert!(asks(&record).volumes.contains(&record.data[0].volume_id));
}

#[test]
fn an_ended_instance_is_looked_for_by_key_while_devices_of_its_launch_are_unaccounted_for() {
    let mut record = Living::running(REATTACH).record;
    record.phase = Phase::Releasing;
    let known = asks(&record);
    assert!(known.volumes.contains(&record.data[0].volume_id));
    assert_eq!(known.volume_key, None);
    record.mapped.push(crate::launch::Device::default());
    let key = record.instance.as_ref().unwrap().key.clone();
    assert_eq!(asks(&record).volume_key, Some(key));
}

#[test]
fn a_node_that_rests_or_launches_reads_what_it_comes_back_from_and_a_loss_all_of_its_line() {
    let mut node = Living::running(REATTACH);
    node.wants(DesiredState::Paused);
    node.until(Phase::Paused);
    let point = node.at(DEVICE).point().cloned().unwrap();
    for phase in [Phase::Paused, Phase::Deallocated, Phase::Launching, Phase::Attaching] {
        let mut record = Record { phase, ..node.record.clone() };
        record.data[0].made = Some(VolumeId::new("vol-m"));
        let asked = asks(&record);
        assert!(asked.volumes.contains(&record.data[0].volume_id), "{phase}");
        assert!(asked.volumes.contains(&VolumeId::new("vol-m")), "{phase}");
        assert!(asked.snapshots.contains(&point), "{phase}");
        record.data[0].missing_since = Some(at(0));
        record.restore = Some(SnapshotId::new("snap-x"));
        let asked = asks(&record);
        assert!(asked.line_of.is_some() && asked.snapshots.contains(&SnapshotId::new("snap-x")), "{phase}");
    }
}

#[test]
fn what_is_captured_is_read_with_its_key_until_it_is_known_and_by_its_id_then() {
    let mut node = Living::running(SNAPSHOT);
    node.faults = vec![("final-snapshot", Fault::Refused(Class::NotYet)); 2];
    node.ec2.slow = true;
    node.interrupt();
    node.until(Phase::Capturing);
    let asked = asks(&node.record);
    assert_eq!((asked.snapshot_keys.len(), asked.volumes.len()), (2, 2));
    node.until_it("taken", |node| {
        node.record.data[0].last.as_ref().is_some_and(|it| it.snapshot_id.is_some())
    });
    let last = node.at(DEVICE).last.clone().unwrap().snapshot_id.unwrap();
    assert!(asks(&node.record).snapshots.contains(&last));
}

#[test]
fn a_purge_reads_everything_by_id_as_well() {
    let mut node = Living::running(REATTACH);
    node.wants(DesiredState::Paused);
    node.until(Phase::Paused);
    let mut record = Record { phase: Phase::Purging, ..node.record };
    record.data[0].made = Some(VolumeId::new("vol-m"));
    record.superseded = vec![
        Superseded::DataVolume(VolumeId::new("vol-o")),
        Superseded::DataSnapshot(SnapshotId::new("snap-o")),
    ];
    let asked = asks(&record);
    for id in ["vol-m", "vol-o", record.data[0].volume_id.as_str()] {
        assert!(asked.volumes.contains(&VolumeId::new(id)), "{id}");
    }
    let last = record.data[0].point().unwrap();
    assert!(asked.snapshots.contains(last) && asked.snapshots.contains(&SnapshotId::new("snap-o")));
}

#[test]
fn cleaning_reads_the_proof_of_every_line_and_what_may_go() {
    let mut record = Living::running(REATTACH).record;
    record.superseded = vec![
        Superseded::DataVolume(VolumeId::new("vol-o")),
        Superseded::DataSnapshot(SnapshotId::new("snap-o")),
    ];
    let asked = asks(&record);
    let of = [record.root.as_ref().unwrap().volume_id.clone(), record.data[0].volume_id.clone()];
    assert_eq!(asked.snapshots_of, of);
    assert!(asked.volumes.contains(&VolumeId::new("vol-o")));
    assert!(asked.snapshots.contains(&SnapshotId::new("snap-o")) && asked.status_of.is_some());
}

//! The end of a life.

use super::*;
use crate::config::Retained;
use crate::ids::Resource;

fn purging(goal: DesiredState) -> Record {
    let mut record = wants(captured(), goal);
    record.phase = Phase::Purging;
    record
}

/// Everything of [`captured`], with an interface that is ours.
fn all(seen: &mut Observation) {
    kept(seen);
    if let Some(kept) = seen.interfaces.get_mut(&InterfaceId::new("eni-1")) {
        kept.tags = tags(Purpose::Interface, 1, "e");
    }
}

/// Plays a purge to its end: what was done, in order, and the record.
fn play(mut record: Record, fill: impl Fn(&mut Observation)) -> (Vec<Step>, Record) {
    let mut done: Vec<Step> = Vec::new();
    for second in 0..20 {
        let plan = decide(record, 1000 + second * 60, |seen| {
            fill(seen);
            for step in &done {
                let (Step::Purge(gone) | Step::HandOver(gone)) = step else { continue };
                let id = gone.id();
                seen.images.retain(|it, _| it.as_str() != id);
                seen.snapshots.retain(|it, _| it.as_str() != id);
                seen.volumes.retain(|it, _| it.as_str() != id);
                seen.interfaces.retain(|it, _| it.as_str() != id);
                seen.instances.retain(|it, _| it.as_str() != id);
            }
        });
        record = plan.record;
        match plan.then {
            Then::Act(step) => {
                record = absorb(record, &step, &Outcome::Done, scope(1000 + second * 60)).0;
                done.push(*step);
            }
            _ if record.phase == Phase::Gone => return (done, record),
            _ => {}
        }
    }
    panic!("never gone: {record:?}");
}

#[test]
fn everything_goes_the_image_before_its_snapshot_and_nothing_stays_in_the_record() {
    let (done, record) = play(purging(DesiredState::Deallocated), all);
    let expected = [
        Step::Purge(Resource::Image(ImageId::new("ami-n"))),
        Step::Purge(Resource::Snapshot(SnapshotId::new("snap-1"))),
        Step::Purge(Resource::Volume(VolumeId::new("vol-1"))),
        Step::Purge(Resource::Interface(InterfaceId::new("eni-1"))),
    ];
    assert_eq!(done, expected);
    assert!(record.resources().is_empty() && record.work_at.is_none());
    assert!(record.outbox.iter().any(|event| event.kind == Kind::NodePurged));
}

#[test]
fn what_retention_does_not_name_is_handed_over_and_listed() {
    let mut record = purging(DesiredState::Deallocated);
    record.config.config.retention.delete = vec![Retained::Snapshots, Retained::NetworkInterfaces];
    let (done, record) = play(record, all);
    let handed: Vec<_> = done.iter().filter(|step| matches!(step, Step::HandOver(_))).collect();
    assert_eq!(handed.len(), 3, "image, the snapshot behind it, volume: {done:?}");
    assert_eq!(record.handed_over.len(), 3);
    assert!(record.reason.contains("vol-1") && record.reason.contains("ami-n"), "{}", record.reason);
}

#[test]
fn a_released_node_loses_only_its_tags() {
    let (done, record) = play(purging(DesiredState::Released), |seen| {
        all(seen);
        seen.instances.insert(InstanceId::new("i-1"), instance(InstanceState::Running));
    });
    assert!(done.iter().all(|step| matches!(step, Step::HandOver(_))), "{done:?}");
    assert_eq!(done.len(), 5);
    assert!(record.outbox.iter().any(|event| event.kind == Kind::NodeReleased));
}

#[test]
fn what_is_adopted_foreign_or_in_use_is_never_deleted() {
    let adopted = |seen: &mut Observation| {
        all(seen);
        let volume = seen.volumes.get_mut(&VolumeId::new("vol-1")).unwrap();
        volume.tags = tags(Purpose::Adopted, 1, "k");
    };
    let (done, _) = play(purging(DesiredState::Deallocated), adopted);
    assert!(done.contains(&Step::HandOver(Resource::Volume(VolumeId::new("vol-1")))));
    let foreign = |seen: &mut Observation| {
        all(seen);
        seen.volumes.get_mut(&VolumeId::new("vol-1")).unwrap().tags.clear();
    };
    let (done, _) = play(purging(DesiredState::Deallocated), foreign);
    assert!(!done.iter().any(|step| format!("{step:?}").contains("vol-1")), "{done:?}");
    let mut record = purging(DesiredState::Deallocated);
    for second in [1000, 1000 + 700] {
        let plan = decide(record, second, |seen| {
            seen.volumes.insert(
                VolumeId::new("vol-1"),
                VolumeFacts { attached_to: vec![InstanceId::new("i-9")], ..volume(VolumeState::InUse) },
            );
        });
        assert!(matches!(plan.then, Then::Wait(_)), "{:?}", plan.then);
        record = plan.record;
    }
    assert_eq!(record.blocked.unwrap().code, "purge-stalled");
}

#[test]
fn a_node_is_let_go_of_from_every_phase_but_not_with_a_launch_in_the_air() {
    for record in [running(), captured(), capturing().record] {
        let plan = decide(wants(record, DesiredState::Released), 500, all);
        assert_eq!(plan.record.phase, Phase::Purging);
    }
    let (record, _) = launching();
    let plan = decide(wants(record, DesiredState::Released), 1, world);
    assert_eq!(plan.record.phase, Phase::Launching, "first it must be known what became of it");
    assert!(matches!(plan.then, Then::Wait(_)), "and it is not sent again");
}

#[test]
fn one_bare_look_is_not_enough() {
    let nothing = |seen: &mut Observation| world(seen);
    let first = decide(purging(DesiredState::Deallocated), 1000, nothing);
    assert_eq!(first.record.phase, Phase::Purging);
    assert_eq!(decide(first.record, 1045, nothing).record.phase, Phase::Gone);
}

#[test]
fn a_backup_of_the_operators_with_copied_tags_is_not_purged() {
    let mut record = wants(captured(), DesiredState::Deallocated);
    record.phase = Phase::Purging;
    let plan = decide(record, 1000, |seen| {
        // a DLM or AWS Backup snapshot that carries the volume's tags
        let own = snapshot("snap-dlm", SnapshotState::Completed, 90, tags(Purpose::Root, 1, "k"));
        seen.snapshots.insert(own.id.clone(), own);
    });
    assert!(!matches!(plan.then, Then::Act(_)), "{:?}", plan.then);
}

//! After the instance: releasing, the final snapshot, the image.

use super::*;

#[test]
fn a_missing_instance_is_gone_only_after_an_hour_and_with_nothing_attached_to_it() {
    let missing = decide(running(), 100, |_| {});
    assert_eq!(missing.record.phase, Phase::Running);
    let soon = decide(missing.record.clone(), 100 + 3000, |_| {});
    assert_eq!(soon.record.phase, Phase::Running);
    let held = decide(missing.record.clone(), 100 + 3700, |seen| {
        let attached =
            VolumeFacts { attached_to: vec![InstanceId::new("i-1")], ..volume(VolumeState::InUse) };
        seen.volumes.insert(attached.id.clone(), attached);
    });
    assert_eq!(held.record.phase, Phase::Running);
    let gone = decide(missing.record, 100 + 3700, |seen| {
        world(seen);
        seen.volumes.insert(VolumeId::new("vol-1"), volume(VolumeState::Available));
    });
    assert_eq!(gone.record.phase, Phase::Capturing);
}

#[test]
fn the_final_snapshot_waits_until_the_volume_is_free() {
    let record = running();
    let busy = |seen: &mut Observation| {
        world(seen);
        seen.instances.insert(InstanceId::new("i-1"), gone(instance(InstanceState::Terminated)));
        let held = VolumeFacts { attached_to: vec![InstanceId::new("i-1")], ..volume(VolumeState::InUse) };
        seen.volumes.insert(held.id.clone(), held);
    };
    let plan = decide(record, 100, busy);
    assert_eq!(plan.record.phase, Phase::Releasing);
    assert!(matches!(&plan.then, Then::Wait(wait) if wait.poll == Poll::Yes), "no event tells of it: poll");
    let late = decide(plan.record, 100 + 601, busy);
    assert_eq!(late.record.blocked.as_ref().unwrap().code, "not-released");
    assert!(late.record.work_at.is_some());
    let free = capturing();
    assert!(matches!(step(&free), Step::Snapshot(request) if request.purpose() == Purpose::Final));
}

#[test]
fn a_snapshot_under_the_final_key_is_adopted_only_if_it_proves_to_be_the_final_one() {
    let plan = capturing();
    let Step::Snapshot(request) = step(&plan).clone() else { panic!() };
    let free = |seen: &mut Observation| {
        seen.volumes.insert(VolumeId::new("vol-1"), volume(VolumeState::Available));
    };
    let good = snapshot("snap-1", SnapshotState::Pending, 101, request.tags().clone());
    let adopt = |facts: SnapshotFacts| {
        decide(plan.record.clone(), 110, |seen| {
            free(seen);
            // The account answers a look by key with what carries that key.
            if seen.look.snapshot_keys.iter().any(|key| key == request.key())
                || seen.look.snapshots.contains(&facts.id)
            {
                seen.snapshots.insert(facts.id.clone(), facts.clone());
            }
        })
    };
    let adopted = adopt(good.clone());
    assert_eq!(adopted.record.finals[0].snapshot_id, Some(good.id.clone()));
    let with = |tag: &str, value: &str| {
        let mut facts = good.clone();
        facts.tags.insert(tag.into(), value.into());
        facts
    };
    for bad in [
        SnapshotFacts { started_at: at(50), ..good.clone() },
        SnapshotFacts { volume: VolumeId::new("vol-2"), ..good.clone() },
        SnapshotFacts { own: false, ..good.clone() },
        with("perennial:life", "life-0"),
        with("perennial:cycle", "7"),
        with("perennial:purpose", "periodic"),
        with("perennial:node", "web"),
    ] {
        let plan = adopt(bad);
        assert_eq!(plan.record.finals[0].attempt, 2, "left alone, and taken again under another key");
        assert!(matches!(step(&plan), Step::Snapshot(again) if again.key() != request.key()));
    }
}

#[test]
fn a_failed_final_snapshot_is_taken_again_and_a_lost_root_is_never_papered_over() {
    let plan = capturing();
    let taken = snapshot("snap-1", SnapshotState::Pending, 101, Tags::new());
    let (record, _) =
        absorb(plan.record.clone(), step(&plan), &Outcome::Snapshots(vec![taken.clone()]), scope(102));
    let failed = decide(record, 110, |seen| {
        seen.volumes.insert(VolumeId::new("vol-1"), volume(VolumeState::Available));
        if seen.look.snapshots.contains(&taken.id) {
            seen.snapshots
                .insert(taken.id.clone(), SnapshotFacts { state: SnapshotState::Error, ..taken.clone() });
        }
    });
    assert_eq!(failed.record.finals[0].attempt, 2);
    assert_eq!(failed.record.blocked.as_ref().unwrap().code, "snapshot-failed");
    let free = |seen: &mut Observation| {
        seen.volumes.insert(VolumeId::new("vol-1"), volume(VolumeState::Available));
    };
    let clearing = decide(failed.record, 110 + 61, free);
    assert_eq!(step(&clearing), &Step::Delete(Superseded::Snapshot(taken.id)), "it counts against the limit");
    let (record, _) = absorb(clearing.record.clone(), step(&clearing), &Outcome::Done, scope(172));
    let again = decide(record, 173, free);
    assert!(matches!(step(&again), Step::Snapshot(request) if request.purpose() == Purpose::Final));

    let ended = |seen: &mut Observation| {
        world(seen);
        seen.instances.insert(InstanceId::new("i-1"), gone(instance(InstanceState::Terminated)));
    };
    let missing = decide(running(), 100, ended);
    assert!(missing.record.blocked.is_none(), "a read may lag");
    let lost = decide(missing.record, 100 + 601, ended);
    assert_eq!(lost.record.phase, Phase::Launching, "where it waits for the operator's word");
    assert_eq!(lost.record.blocked.as_ref().unwrap().code, "data-missing");
    assert!(lost.record.outbox.iter().any(|e| e.kind == Kind::NodeBlocked));
    assert!(lost.record.work_at.is_some());
}

#[test]
fn an_image_that_would_be_billed_otherwise_blocks() {
    let plan = capturing();
    let taken = snapshot("snap-1", SnapshotState::Pending, 101, Tags::new());
    let (record, _) =
        absorb(plan.record.clone(), step(&plan), &Outcome::Snapshots(vec![taken.clone()]), scope(102));
    let complete = |seen: &mut Observation| {
        let done = SnapshotFacts { state: SnapshotState::Completed, ..taken.clone() };
        seen.snapshots.insert(done.id.clone(), done);
        seen.volumes.insert(VolumeId::new("vol-1"), volume(VolumeState::Available));
    };
    let plan = decide(record, 110, complete);
    let Step::RegisterImage(request) = step(&plan) else { panic!("{:?}", plan.then) };
    assert_eq!(request.snapshot, taken.id);
    let outcome = Outcome::Image(ImageId::new("ami-n"));
    let (record, _) = absorb(plan.record.clone(), step(&plan), &outcome, scope(111));
    let other = |seen: &mut Observation| {
        let mut facts = image("ami-n", ImageState::Available);
        facts.platform.usage_operation = Some("RunInstances:0002".into());
        seen.images.insert(facts.id.clone(), facts);
    };
    let blocked = decide(record.clone(), 120, other);
    assert_eq!(blocked.record.blocked.unwrap().code, "image-mismatch");
    let good = decide(record, 120, |seen| {
        world(seen);
        seen.images.insert(ImageId::new("ami-n"), image("ami-n", ImageState::Available));
    });
    assert_eq!((good.record.phase, good.record.cycle), (Phase::Launching, 2));
    let Step::Launch(request) = step(&good) else { panic!("{:?}", good.then) };
    assert_eq!(request.image_id.as_str(), "ami-n");
    assert_eq!(request.devices[0].size_gib, Some(8));
    assert!(good.record.superseded.contains(&Superseded::Volume(VolumeId::new("vol-1"))));
}

#[test]
fn a_root_that_is_no_longer_kept_is_handed_over_and_never_deleted() {
    let plan = no_longer_kept();
    assert_eq!((plan.record.phase, plan.record.cycle), (Phase::Launching, 2));
    assert_eq!(plan.record.needless(), []);
    assert!(plan.entries.iter().any(|e| e.what.contains("vol-1") && e.what.contains("kept aside")));
    let outcome = Outcome::Launched(Box::new(instance(InstanceState::Pending)));
    let (record, _) = absorb(plan.record.clone(), step(&plan), &outcome, scope(101));
    assert_eq!(record.descent, 2, "snapshots of the old root are no longer of its line");
}

#[test]
fn what_should_pass_by_itself_and_does_not_is_reported_after_ten_minutes() {
    let plan = capturing();
    let mut record = plan.record.clone();
    for second in [101, 300, 600] {
        record = fail(record, step(&plan), Class::NotYet, second);
        assert!(record.blocked.is_none(), "{second}");
    }
    record = fail(record, step(&plan), Class::NotYet, 101 + 601);
    assert_eq!(record.blocked.unwrap().code, "step-stalled");
}

//! While there is an instance: notices, securing, and what may be deleted.

use super::*;

#[test]
fn a_notice_counts_for_the_present_instance_while_it_is_fresh() {
    let record = running();
    let current = InstanceId::new("i-1");
    let plan = notice(record.clone(), &current, at(200), scope(210)).unwrap().unwrap();
    assert_eq!(plan.record.phase, Phase::Interrupting);
    assert!(plan.record.outbox.iter().any(|e| e.kind == Kind::NodeInterrupted));
    let stale = limits::NOTICE_FRESH.as_secs() + 1;
    assert!(notice(record.clone(), &current, at(200), scope(200 + stale)).unwrap().is_none());
    assert!(notice(record.clone(), &InstanceId::new("i-0"), at(200), scope(210)).unwrap().is_none());
    assert!(notice(plan.record, &current, at(200), scope(210)).unwrap().is_none(), "known already");
    assert!(notice(new_record(), &current, at(200), scope(210)).unwrap().is_none());
}

#[test]
fn a_notice_brings_one_warning_snapshot_and_a_spared_instance_goes_on() {
    let current = InstanceId::new("i-1");
    let noticed = notice(running(), &current, at(200), scope(200)).unwrap().unwrap().record;
    let alive = |seen: &mut Observation| {
        seen.instances.insert(InstanceId::new("i-1"), instance(InstanceState::Running));
        seen.volumes.insert(VolumeId::new("vol-1"), volume(VolumeState::InUse));
    };
    let plan = decide(noticed, 201, alive);
    let warning = step(&plan).clone();
    assert!(matches!(&warning, Step::Snapshot(request) if request.purpose() == Purpose::Warning));
    let soon = fail(plan.record.clone(), &warning, Class::NotYet, 202);
    let waiting = decide(soon, 203, alive);
    assert!(matches!(&waiting.then, Then::Wait(wait) if wait.poll == Poll::Yes));
    assert_eq!(
        step(&decide(waiting.record, 220, alive)),
        &warning,
        "too close to the last one: again in 15 seconds"
    );
    let record = fail(plan.record, &warning, Class::Terminal, 202);
    assert!(record.blocked.is_none(), "it was best effort");
    let plan = decide(record, 203, alive);
    assert!(matches!(plan.then, Then::Wait(_)), "tried once");
    let plan = decide(plan.record, 200 + 601, alive);
    assert_eq!(plan.record.phase, Phase::Running);
    assert!(plan.record.notice.is_none());
}

/// A node in its second cycle, with everything of the first still there.
fn recovered() -> Record {
    let mut record = running();
    record.cycle = 2;
    record.instance.as_mut().unwrap().heir = true;
    record.superseded = vec![
        Superseded::Snapshot(SnapshotId::new("snap-f")),
        Superseded::Image(ImageId::new("ami-n")),
        Superseded::Volume(VolumeId::new("vol-0")),
    ];
    record
}

fn second_cycle(seen: &mut Observation) {
    seen.instances.insert(InstanceId::new("i-1"), instance(InstanceState::Running));
    let old = VolumeFacts { id: VolumeId::new("vol-0"), ..volume(VolumeState::Available) };
    seen.volumes.insert(old.id.clone(), old);
    let node_image =
        ImageFacts { tags: tags(Purpose::Image, 1, "k"), ..image("ami-n", ImageState::Available) };
    seen.images.insert(node_image.id.clone(), node_image);
    let last = snapshot("snap-f", SnapshotState::Completed, 5, tags(Purpose::Final, 1, "k"));
    seen.snapshots.insert(last.id.clone(), SnapshotFacts { volume: VolumeId::new("vol-0"), ..last });
}

fn proven(seen: &mut Observation) {
    second_cycle(seen);
    seen.checks_passed = true;
    let own = snapshot("snap-p", SnapshotState::Completed, 300, tags(Purpose::Periodic, 2, "k"));
    seen.snapshots.insert(own.id.clone(), own);
}

#[test]
fn nothing_older_goes_before_the_present_instance_is_proven() {
    let without_checks = |seen: &mut Observation| {
        proven(seen);
        seen.checks_passed = false;
    };
    let without_snapshot = |seen: &mut Observation| {
        second_cycle(seen);
        seen.checks_passed = true;
    };
    let with_a_pending_one = |seen: &mut Observation| {
        proven(seen);
        seen.snapshots.get_mut(&SnapshotId::new("snap-p")).unwrap().state = SnapshotState::Pending;
    };
    let with_one_of_another_volume = |seen: &mut Observation| {
        proven(seen);
        seen.snapshots.get_mut(&SnapshotId::new("snap-p")).unwrap().volume = VolumeId::new("vol-0");
    };
    let unproven: [&dyn Fn(&mut Observation); 4] =
        [&without_checks, &without_snapshot, &with_a_pending_one, &with_one_of_another_volume];
    for fill in unproven {
        let plan = decide(recovered(), 400, fill);
        assert!(matches!(plan.then, Then::Wait(_)), "{:?}", plan.then);
        assert_eq!(plan.record.superseded.len(), 3);
    }
}

#[test]
fn what_is_superseded_goes_in_order_volume_image_snapshot() {
    let mut record = recovered();
    let mut order = Vec::new();
    loop {
        let next = decide(record, 400, proven);
        let Then::Act(step) = next.then else { break };
        order.push(step.name());
        record = absorb(next.record, &step, &Outcome::Done, scope(400)).0;
    }
    assert_eq!(order, ["delete-volume", "deregister-image", "delete-snapshot"]);
}

#[test]
fn what_is_no_longer_ours_is_handed_over_and_what_is_gone_is_forgotten() {
    let plan = decide(recovered(), 400, |seen| {
        proven(seen);
        seen.volumes.get_mut(&VolumeId::new("vol-0")).unwrap().tags.clear();
        seen.images.clear();
    });
    assert_eq!(step(&plan).name(), "delete-snapshot");
    let told: Vec<_> = plan.entries.iter().map(|e| e.what.as_str()).collect();
    assert!(told[0].contains("ami-n is gone"), "{told:?}");
    assert!(told[1].contains("vol-0 is left alone"), "{told:?}");
}

#[test]
fn delete_on_termination_turned_back_on_is_turned_off_again() {
    let plan = decide(running(), 100, |seen| {
        let mut facts = instance(InstanceState::Running);
        facts.volumes[0].delete_on_termination = true;
        seen.instances.insert(facts.id.clone(), facts);
    });
    assert!(matches!(step(&plan), Step::KeepVolumes { devices, .. } if devices == &["/dev/xvda"]));
}

#[test]
fn a_steady_node_changes_nothing() {
    let record = running();
    let plan = decide(record.clone(), 300, |seen| {
        seen.instances.insert(InstanceId::new("i-1"), instance(InstanceState::Running));
    });
    assert!(matches!(plan.then, Then::Wait(_)));
    assert_eq!(plan.record, record, "so nothing is written");
    assert_eq!(plan.entries, []);
    assert!(plan.record.work_at.is_none());
}

#[test]
fn a_wait_keeps_an_earlier_appointment_and_never_forgets_one() {
    let mut record = running();
    record.work_at = Some(at(130));
    let plan = decide(record, 100, |_| {});
    assert_eq!(plan.record.work_at, Some(at(130)));
    let late = decide(plan.record, 500, |_| {});
    assert_eq!(late.record.work_at, Some(at(500) + limits::NEXT_TICK));
    assert!(limits::NEXT_TICK < SignedDuration::from_mins(1));
}

#[test]
fn an_instance_that_does_not_descend_from_the_node_image_never_causes_a_deletion() {
    let mut record = recovered();
    record.instance.as_mut().unwrap().heir = false;
    let plan = decide(record, 400, proven);
    assert!(matches!(plan.then, Then::Wait(_)), "nothing is deleted: {:?}", plan.then);
    assert_eq!(plan.record.needless(), []);
    assert_eq!(plan.entries.iter().filter(|e| e.what.contains("kept aside")).count(), 3);
}

#[test]
fn a_root_swapped_by_hand_is_followed_after_two_reads() {
    let swapped = |seen: &mut Observation| {
        let mut facts = instance(InstanceState::Running);
        facts.volumes[0].volume = VolumeId::new("vol-2");
        seen.instances.insert(facts.id.clone(), facts);
    };
    let first = decide(running(), 100, swapped);
    assert_eq!(first.record.root.as_ref().unwrap().volume_id.as_str(), "vol-1");
    assert!(first.record.work_at.is_some());
    let ended = decide(first.record.clone(), 130, |seen| {
        world(seen);
        seen.instances.insert(InstanceId::new("i-1"), gone(instance(InstanceState::Terminated)));
        seen.volumes.insert(VolumeId::new("vol-1"), volume(VolumeState::Available));
    });
    assert_eq!(ended.record.blocked.unwrap().code, "root-changed", "one read is no proof either way");
    let second = decide(first.record, 160, swapped);
    assert_eq!(second.record.root.unwrap().volume_id.as_str(), "vol-2");
}

#[test]
fn what_is_not_kept_yet_is_kept_before_the_notice_runs_out_or_we_terminate() {
    let noticed = notice(running(), &InstanceId::new("i-1"), at(200), scope(200)).unwrap().unwrap().record;
    for state in [InstanceState::Running, InstanceState::Stopped] {
        let plan = decide(noticed.clone(), 201, |seen| {
            let mut facts = instance(state);
            facts.volumes[0].delete_on_termination = true;
            seen.instances.insert(facts.id.clone(), facts);
        });
        assert!(matches!(step(&plan), Step::KeepVolumes { .. }), "{state:?}");
    }
}

#[test]
fn an_instance_that_turns_out_not_to_be_ours_is_not_terminated_and_reported() {
    let record = running();
    let step = Step::Terminate(termination());
    let (record, _) = absorb(record, &step, &Outcome::NotOurs("its tags are gone".into()), scope(100));
    assert_eq!(record.blocked.as_ref().unwrap().code, "terminate-refused");
    assert!(record.not_before.is_some_and(|at| at > scope(100).now));
}

#[test]
fn a_refused_cleaning_does_not_hold_back_the_securing_of_the_root() {
    let mut record = running();
    record.superseded.push(Superseded::Volume(VolumeId::new("vol-0")));
    let record =
        fail(record, &Step::Delete(Superseded::Volume(VolumeId::new("vol-0"))), Class::Terminal, 100);
    let plan = decide(record, 160, |seen| {
        let mut facts = instance(InstanceState::Running);
        facts.volumes[0].delete_on_termination = true;
        seen.instances.insert(facts.id.clone(), facts);
    });
    assert!(matches!(&plan.then, Then::Act(s) if matches!(**s, Step::KeepVolumes{..})), "{:?}", plan.then);
}

#[test]
fn an_instance_that_dies_at_once_is_not_launched_again_without_a_rest() {
    let mut record = new_record();
    record.config.config.persist.root = None;
    for n in 0..20 {
        let plan = decide(record, n * 10, world);
        let s = step(&plan).clone();
        let mut facts = instance(InstanceState::Pending);
        facts.id = InstanceId::new(format!("i-{n}"));
        facts.volumes[0].volume = VolumeId::new(format!("vol-{n}"));
        facts.volumes[0].delete_on_termination = true;
        record = absorb(plan.record, &s, &Outcome::Launched(Box::new(facts.clone())), scope(n * 10 + 1)).0;
        let plan = decide(record, n * 10 + 5, |seen| {
            world(seen);
            seen.instances.insert(
                facts.id.clone(),
                gone(InstanceFacts {
                    state: InstanceState::Terminated,
                    state_reason: "Client.InternalError".into(),
                    ..facts.clone()
                }),
            );
        });
        record = plan.record;
        record.intent = None;
        record.attempts = 0;
        if let Some(blocked) = &record.blocked {
            assert_eq!((blocked.code.as_str(), record.aside.len()), ("launch-failed", 0));
            return;
        }
    }
    panic!("launched 20 times in 200 s, aside: {}", record.aside.len());
}

#[test]
fn what_is_kept_aside_stays_though_the_present_root_was_restored_from_it() {
    let mut record = recovered();
    let chosen = SnapshotId::new("snap-f");
    record.superseded.remove(0);
    record.finals = vec![crate::record::FinalSnapshot {
        snapshot_id: Some(chosen.clone()),
        volume_id: VolumeId::new("vol-0"),
        state: SnapshotState::Completed,
        attempt: 1,
        failed: None,
        missing_since: None,
    }];
    record.aside.push(crate::ids::Resource::Snapshot(chosen));
    let mut order = Vec::new();
    let mut rested = loop {
        let next = decide(record, 400, proven);
        let Then::Act(step) = next.then else { break next.record };
        order.push(step.name());
        record = absorb(next.record, &step, &Outcome::Done, scope(400)).0;
    };
    assert_eq!(order, ["delete-volume", "deregister-image"]);
    assert_eq!(rested.work_at, None, "nothing is left to be done");
    let mut draft = crate::plan::Draft::new(rested, scope(500));
    draft.supersede_parent();
    rested = draft.into_parts().0;
    assert_eq!(rested.superseded, [], "nor is it an ancestor of the next one");
}

#[test]
fn an_instance_stopped_before_it_was_seen_running_is_secured_and_left_alone() {
    let (record, launch) = launching();
    let outcome = Outcome::Launched(Box::new(instance(InstanceState::Pending)));
    let (record, _) = absorb(record, &launch, &outcome, scope(1));
    let mut facts = InstanceFacts { spot: false, ..instance(InstanceState::Stopped) };
    facts.volumes[0].delete_on_termination = true;
    let unsecured = facts.clone();
    let plan = decide(record, 20, move |seen| {
        seen.instances.insert(unsecured.id.clone(), unsecured.clone());
    });
    assert_eq!(plan.record.phase, Phase::Attaching);
    assert!(matches!(step(&plan), Step::KeepVolumes { .. }), "it may be terminated as it is");
    let (record, _) = absorb(plan.record.clone(), step(&plan), &Outcome::Done, scope(21));
    facts.volumes[0].delete_on_termination = false;
    let stopped = facts.clone();
    let plan = decide(record, 30, move |seen| {
        seen.instances.insert(stopped.id.clone(), stopped.clone());
    });
    assert!(matches!(plan.then, Then::Wait(_)));
    assert_eq!(plan.record.phase, Phase::Attaching, "nobody is told that it runs");
    assert!(plan.record.outbox.iter().all(|event| event.kind != Kind::NodeRunning));
    facts.state = InstanceState::Running;
    let plan = decide(plan.record, 90, move |seen| {
        seen.instances.insert(facts.id.clone(), facts.clone());
        seen.volumes.insert(VolumeId::new("vol-1"), volume(VolumeState::InUse));
    });
    assert_eq!(plan.record.phase, Phase::Running);
}

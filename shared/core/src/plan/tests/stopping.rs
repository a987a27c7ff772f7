//! Ending an instance at the operator's word.

use super::*;

fn up(seen: &mut Observation) {
    seen.instances.insert(InstanceId::new("i-1"), instance(InstanceState::Running));
    seen.volumes.insert(VolumeId::new("vol-1"), volume(VolumeState::InUse));
}

#[test]
fn every_wish_but_running_ends_the_instance_and_so_does_recycle_once() {
    for goal in [DesiredState::Paused, DesiredState::Deallocated] {
        let plan = decide(wants(running(), goal), 200, up);
        assert_eq!((plan.record.phase, step(&plan)), (Phase::Stopping, &Step::Terminate(termination())));
    }
    let mut raised = running();
    raised.config.config.recycle = 3;
    let plan = decide(raised.clone(), 200, up);
    assert_eq!(step(&plan), &Step::Terminate(termination()));
    raised.recycled = 3;
    assert!(matches!(decide(raised, 200, up).then, Then::Wait(_)), "served already");
}

#[test]
fn a_launch_serves_every_recycle_raised_until_then() {
    let mut record = new_record();
    record.config.config.recycle = 2;
    let plan = decide(record, 0, world);
    assert!(matches!(step(&plan), Step::Launch(_)));
    assert_eq!(plan.record.recycled, 2);
}

#[test]
fn nothing_is_terminated_before_what_is_kept_is_seen_to_outlive_it() {
    let at_risk = |seen: &mut Observation| {
        let mut facts = instance(InstanceState::Running);
        facts.volumes[0].delete_on_termination = true;
        seen.instances.insert(facts.id.clone(), facts);
    };
    let plan = decide(wants(running(), DesiredState::Paused), 200, at_risk);
    assert!(matches!(step(&plan), Step::KeepVolumes { .. }));
    let (record, _) = absorb(plan.record.clone(), step(&plan), &Outcome::Done, scope(201));
    assert!(matches!(step(&decide(record, 202, at_risk)), Step::KeepVolumes { .. }), "until it is read back");
}

#[test]
fn an_instance_that_is_wanted_again_in_time_is_spared_and_one_being_terminated_is_not() {
    let mut record = wants(running(), DesiredState::Paused);
    record.phase = Phase::Stopping;
    let back = decide(wants(record.clone(), DesiredState::Running), 200, up);
    assert_eq!(back.record.phase, Phase::Running);
    let plan = decide(record, 200, up);
    let unanswered = fail(plan.record.clone(), step(&plan), Class::Retry, 201);
    let plan = decide(wants(unanswered, DesiredState::Running), 230, up);
    assert_eq!(step(&plan), &Step::Terminate(termination()), "its answer never came: it may be ending");
}

#[test]
fn a_stopped_instance_is_terminated_as_it_is_and_a_stopping_one_waited_for() {
    for (state, acts) in [(InstanceState::Stopped, true), (InstanceState::Stopping, false)] {
        let plan = decide(wants(running(), DesiredState::Paused), 200, |seen| {
            seen.instances.insert(InstanceId::new("i-1"), instance(state));
        });
        assert_eq!(matches!(plan.then, Then::Act(_)), acts, "{state:?}");
        assert!(acts || plan.record.work_at.is_some());
    }
}

#[test]
fn a_stopped_instance_without_a_root_is_told_of() {
    let mut record = wants(running(), DesiredState::Paused);
    for n in 0..60 {
        let plan = decide(record, 200 + n * 60, |seen| {
            let mut facts = instance(InstanceState::Stopped);
            facts.volumes.clear();
            seen.instances.insert(facts.id.clone(), facts);
        });
        record = plan.record.clone();
        if let Some(blocked) = &record.blocked {
            assert_eq!(blocked.code, "root-detached");
            return;
        }
    }
    panic!("{} {:?}", record.phase, record.blocked);
}

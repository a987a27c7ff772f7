//! Paused and deallocated.

use super::*;

fn rests(goal: DesiredState) -> Record {
    let plan = decide(wants(captured(), goal), 130, kept);
    assert!(matches!(plan.then, Then::Wait(_)), "{:?}", plan.then);
    plan.record
}

#[test]
fn a_captured_node_goes_to_the_rest_that_is_wanted_and_says_so() {
    for (goal, phase, kind) in [
        (DesiredState::Paused, Phase::Paused, Kind::NodePaused),
        (DesiredState::Deallocated, Phase::Deallocated, Kind::NodeDeallocated),
    ] {
        let record = rests(goal);
        assert_eq!(record.phase, phase);
        assert!(record.outbox.iter().any(|event| event.kind == kind));
        assert!(record.work_at.is_some(), "it is looked after");
        assert!(record.image.is_some() && record.network.is_some(), "what it comes back with is kept");
    }
}

#[test]
fn a_node_that_rests_is_launched_from_its_own_image_when_it_is_wanted() {
    for goal in [DesiredState::Paused, DesiredState::Deallocated] {
        let plan = decide(wants(rests(goal), DesiredState::Running), 500, kept);
        let Step::Launch(request) = step(&plan) else { panic!("{:?}", plan.then) };
        assert_eq!(request.image_id.as_str(), "ami-n");
        assert_eq!(plan.record.deallocated_at, None);
    }
}

#[test]
fn rests_follow_one_another_without_an_instance() {
    let paused = rests(DesiredState::Paused);
    let record = decide(wants(paused, DesiredState::Deallocated), 500, kept).record;
    assert_eq!((record.phase, record.deallocated_at), (Phase::Deallocated, Some(at(500))));
    let record = decide(wants(record, DesiredState::Paused), 600, kept).record;
    assert_eq!((record.phase, record.deallocated_at), (Phase::Paused, None));
}

#[test]
fn of_the_line_only_the_newest_point_stays_and_only_if_it_is_there() {
    let older = |seen: &mut Observation| {
        let old = snapshot("snap-p", SnapshotState::Completed, 50, tags(Purpose::Periodic, 1, "p"));
        seen.snapshots.insert(old.id.clone(), old);
    };
    for goal in [DesiredState::Paused, DesiredState::Deallocated] {
        let both = |seen: &mut Observation| {
            kept(seen);
            older(seen);
        };
        let plan = decide(rests(goal), 500, both);
        assert_eq!(step(&plan), &Step::Prune(SnapshotId::new("snap-p")));
        let without_image = |seen: &mut Observation| {
            kept(seen);
            older(seen);
            seen.images.clear();
        };
        let plan = decide(rests(goal), 500, without_image);
        assert!(matches!(plan.then, Then::Wait(_)), "{goal:?}: {:?}", plan.then);
    }
}

#[test]
fn older_images_and_final_snapshots_go_and_volumes_stay() {
    let mut record = rests(DesiredState::Paused);
    record.superseded.push(Superseded::Image(ImageId::new("ami-o")));
    let plan = decide(record, 500, |seen| {
        kept(seen);
        let old = image("ami-o", ImageState::Available);
        seen.images.insert(old.id.clone(), ImageFacts { tags: tags(Purpose::Image, 0, "o"), ..old });
    });
    assert_eq!(step(&plan), &Step::Delete(Superseded::Image(ImageId::new("ami-o"))));
    let (record, _) = absorb(plan.record.clone(), step(&plan), &Outcome::Done, scope(501));
    let plan = decide(record, 502, kept);
    assert!(matches!(plan.then, Then::Wait(_)));
    assert_eq!(plan.record.superseded, [Superseded::Volume(VolumeId::new("vol-1"))]);
}

const OVER: i64 = 130 + 96 * 3600;

#[test]
fn retention_ends_only_at_the_tick_after_its_time_and_not_while_suspended() {
    let record = rests(DesiredState::Deallocated);
    assert_eq!(decide(record.clone(), OVER - 1, kept).record.phase, Phase::Deallocated);
    let observation = seen(&record, kept);
    for (tick, suspended, phase) in
        [(false, false, Phase::Deallocated), (true, true, Phase::Deallocated), (true, false, Phase::Purging)]
    {
        let scope = Scope { tick, suspended, ..scope(OVER) };
        let decided = plan(record.clone(), &observation, scope).unwrap();
        assert_eq!(decided.record.phase, phase, "tick {tick}, suspended {suspended}");
        assert!(decided.record.work_at.is_some());
    }
}

#[test]
fn what_is_to_be_deleted_waits_for_the_tick() {
    let record = rests(DesiredState::Paused);
    let observation = seen(&record, |seen| {
        kept(seen);
        let old = snapshot("snap-p", SnapshotState::Completed, 50, tags(Purpose::Periodic, 1, "p"));
        seen.snapshots.insert(old.id.clone(), old);
    });
    let decided = |tick: bool| plan(record.clone(), &observation, Scope { tick, ..scope(500) }).unwrap();
    let woken = decided(false);
    let Then::Wait(wait) = &woken.then else { panic!("{:?}", woken.then) };
    assert_eq!(wait.why, "the tick, which alone may prune-snapshot");
    assert!(woken.record.work_at.is_some_and(|at| at <= super::at(560)), "the next tick comes to it");
    assert_eq!(step(&decided(true)), &Step::Prune(SnapshotId::new("snap-p")));
}

#[test]
fn a_node_whose_item_does_not_agree_is_not_purged() {
    let record = rests(DesiredState::Deallocated);
    let item = |state: &str, accepted: bool| {
        let mut item = json!({"id": "node#db", "desiredState": state});
        item["_status"] = json!({"accepted": accepted, "configHash": config::hash(&item)});
        item
    };
    let mut agreed = record.clone();
    agreed.config.hash = config::hash(&item("deallocated", true));
    for (record, item, purged) in [
        (&record, Some(item("running", true)), false),
        (&record, Some(item("running", false)), false),
        (&record, Some(item("deallocated", true)), false),
        (&agreed, Some(item("deallocated", false)), false),
        (&agreed, Some(item("deallocated", true)), true),
        (&record, None, true),
    ] {
        let plan = decide(record.clone(), OVER, |seen| {
            kept(seen);
            seen.item = item.clone().map(|item| ItemFacts {
                whole: item.clone(),
                item,
                share: None,
                group_is_back: None,
            });
        });
        assert_eq!(plan.record.phase == Phase::Purging, purged, "{item:?}");
        if !purged {
            assert_eq!(plan.record.blocked.unwrap().code, "purge-held");
        }
    }
}

#[test]
fn a_member_is_purged_only_if_its_item_and_its_group_agree() {
    let own = json!({"id": "node#db", "group": "ring"});
    let mut record = rests(DesiredState::Deallocated);
    record.config.hash = config::hash(&own);
    record.config.share = Some("s1".into());
    for (wish, share, accepted, purged) in [
        ("deallocated", Some("s1"), true, true),
        ("paused", Some("s1"), true, false),
        ("deallocated", Some("s2"), true, false),
        ("deallocated", None, true, false),
        ("deallocated", Some("s1"), false, false),
    ] {
        let mut item = own.clone();
        item["_status"] = json!({"accepted": accepted, "configHash": config::hash(&own)});
        let whole = json!({"desiredState": wish});
        let facts = ItemFacts { item, whole, share: share.map(str::to_owned), group_is_back: None };
        let plan = decide(record.clone(), OVER, |seen| {
            kept(seen);
            seen.item = Some(facts.clone());
        });
        assert_eq!(plan.record.phase == Phase::Purging, purged, "{wish} {share:?} {accepted}");
    }
    // Its group was removed, and somebody has put the group's item back.
    let mut item = own.clone();
    item["_status"] = json!({"accepted": true, "configHash": config::hash(&own)});
    let whole = json!({"desiredState": "deallocated"});
    let group_is_back = crate::ids::GroupName::parse("ring");
    let facts = ItemFacts { item, whole, share: Some("s1".into()), group_is_back };
    let held = decide(record, OVER, |seen| {
        kept(seen);
        seen.item = Some(facts.clone());
    });
    assert_eq!(held.record.blocked.unwrap().code, "purge-held");
}

#[test]
fn an_edit_that_ends_the_retention_is_told_of_first() {
    let mut record = rests(DesiredState::Deallocated);
    record.purge_not_before = Some(at(OVER + 60));
    assert_eq!(decide(record.clone(), OVER + 59, kept).record.phase, Phase::Deallocated);
    assert_eq!(decide(record, OVER + 60, kept).record.phase, Phase::Purging);
}

#[test]
fn a_retention_counts_from_the_last_deallocation() {
    let mut record = wants(captured(), DesiredState::Deallocated);
    record = decide(record, 200, kept).record;
    assert_eq!(record.phase, Phase::Deallocated);
    let accept = |record: &mut Record, state: DesiredState, s: i64| {
        let mut a = record.config.clone();
        a.hash = format!("h{s}");
        a.config.desired_state = state;
        crate::config::transitions::put_in_force(record, a, at(s));
    };
    let late = 200 + 95 * 3600;
    accept(&mut record, DesiredState::Running, late);
    accept(&mut record, DesiredState::Deallocated, late + 30);
    let plan = decide(record, late + 2 * 3600, kept);
    assert_eq!(plan.record.phase, Phase::Deallocated);
}

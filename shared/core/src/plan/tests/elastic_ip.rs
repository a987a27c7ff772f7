//! The Elastic IP address: had once the instance is up, never taken from anybody, and in nobody's way.

use super::*;
use crate::ids::AllocationId;
use crate::record::ElasticIp;

fn allocation(id: &str) -> AllocationId {
    AllocationId::new(id)
}

/// A node that runs without one, and is now to have this one.
fn wants_one(id: Option<&str>) -> Record {
    let mut record = running();
    record.config.config.persist.network.as_mut().unwrap().elastic_ip = id.map(allocation);
    record.work_at = Some(at(30));
    record
}

fn address(id: &str, on: Option<&str>) -> AddressFacts {
    let association = on.map(|interface| Association {
        id: format!("eipassoc-{interface}"),
        interface: Some(InterfaceId::new(interface)),
        private_ip: Some("10.0.1.4".parse().unwrap()),
    });
    let public_ip = if id == "eipalloc-1" { "198.51.100.1" } else { "198.51.100.2" };
    AddressFacts { id: allocation(id), public_ip: public_ip.parse().unwrap(), association }
}

/// A world in which the instance runs, shows this public address, and these Elastic IP addresses exist.
fn up(shown: Option<&str>, addresses: Vec<AddressFacts>) -> impl Fn(&mut Observation) + Clone {
    let shown = shown.map(|ip| ip.parse().unwrap());
    move |seen: &mut Observation| {
        world(seen);
        let attached = AttachedInterface {
            interface: InterfaceId::new("eni-1"),
            device_index: 0,
            attachment: Some("eni-attach-1".into()),
            public_ip: shown,
            delete_on_termination: false,
        };
        let facts = InstanceFacts { interfaces: vec![attached], ..instance(InstanceState::Running) };
        seen.instances.insert(facts.id.clone(), facts);
        seen.volumes.insert(VolumeId::new("vol-1"), volume(VolumeState::InUse));
        seen.elastic_ips.extend(addresses.iter().map(|one| (one.id.clone(), one.clone())));
    }
}

fn code(plan: &Plan) -> Option<&str> {
    plan.record.blocked.as_ref().map(|blocked| blocked.code.as_str())
}

/// A node that has had it since it was launched.
fn has_one() -> Record {
    let found = up(Some("198.51.100.1"), vec![address("eipalloc-1", Some("eni-1"))]);
    let record = decide(wants_one(Some("eipalloc-1")), 40, found).record;
    assert!(record.network.as_ref().unwrap().elastic_ip.is_some() && record.work_at.is_none());
    record
}

#[test]
fn a_free_one_is_associated_with_the_kept_interface_and_its_address() {
    let free = up(None, vec![address("eipalloc-1", None)]);
    let plan = decide(wants_one(Some("eipalloc-1")), 40, free);
    let expected = Step::Associate {
        allocation: allocation("eipalloc-1"),
        interface: InterfaceId::new("eni-1"),
        private_ip: "10.0.1.4".parse().unwrap(),
    };
    assert_eq!(step(&plan), &expected);
    let (record, _) = absorb(plan.record.clone(), step(&plan), &Outcome::Done, scope(41));
    let known = record.network.as_ref().unwrap().elastic_ip.as_ref().unwrap();
    assert_eq!(known.cycle, 0, "it counts once it is seen");
    let found = up(Some("198.51.100.1"), vec![address("eipalloc-1", Some("eni-1"))]);
    let plan = decide(record, 42, found);
    let known = plan.record.network.unwrap().elastic_ip.unwrap();
    assert_eq!((known.allocation_id.as_str(), known.cycle), ("eipalloc-1", 1));
}

#[test]
fn it_is_had_before_the_node_is_said_to_run() {
    let mut record = wants_one(Some("eipalloc-1"));
    record.phase = Phase::Attaching;
    let plan = decide(record, 40, up(None, vec![address("eipalloc-1", None)]));
    assert!(matches!(step(&plan), Step::Associate { .. }));
    assert_eq!(plan.record.phase, Phase::Attaching);
}

#[test]
fn after_each_launch_it_is_looked_at_again() {
    let mut record = has_one();
    record.cycle = 2;
    let plan = decide(record, 100, up(Some("198.51.100.1"), vec![address("eipalloc-1", None)]));
    assert!(matches!(step(&plan), Step::Associate { .. }), "what the record says proves nothing");
}

#[test]
fn an_instance_that_does_not_show_it_makes_it_be_looked_at_again() {
    let plan = decide(has_one(), 100, up(None, vec![address("eipalloc-1", None)]));
    assert!(matches!(step(&plan), Step::Associate { .. }));
    // A person put another one there: associating ours would take that one off.
    let other = decide(has_one(), 100, up(Some("203.0.113.9"), vec![address("eipalloc-1", None)]));
    assert_eq!(code(&other), Some("elastic-ip-in-use"));
    assert!(other.record.blocked.as_ref().unwrap().message.contains("203.0.113.9"));
    assert!(matches!(other.then, Then::Wait(_)), "{:?}", other.then);
    let settled = decide(has_one(), 100, up(Some("198.51.100.1"), Vec::new()));
    assert_eq!(settled.record.work_at, None, "one that shows it is not looked at");
}

#[test]
fn one_that_is_on_a_strangers_interface_stays_there_and_the_node_runs_without_it() {
    let mut record = wants_one(Some("eipalloc-1"));
    record.phase = Phase::Attaching;
    let plan = decide(record, 40, up(None, vec![address("eipalloc-1", Some("eni-7"))]));
    assert_eq!((plan.record.phase, code(&plan)), (Phase::Running, Some("elastic-ip-in-use")));
    assert!(plan.record.blocked.as_ref().unwrap().message.contains("eni-7"));
    assert!(plan.record.outbox.iter().any(|event| event.kind == Kind::NodeRunning));
    let plan = decide(plan.record, 101, up(None, vec![address("eipalloc-1", None)]));
    assert!(matches!(step(&plan), Step::Associate { .. }), "once it is free it is had");
}

#[test]
fn one_that_does_not_exist_is_said_to_be_missing_and_the_node_runs_without_it() {
    let plan = decide(wants_one(Some("eipalloc-1")), 40, up(None, Vec::new()));
    assert_eq!((plan.record.phase, code(&plan)), (Phase::Running, Some("elastic-ip-missing")));
    assert!(plan.record.work_at.is_some(), "it is tried again");
    assert_eq!(plan.record.not_before, None, "and nothing else waits");
}

#[test]
fn the_right_interface_with_another_private_address_is_not_right() {
    let mut other = address("eipalloc-1", Some("eni-1"));
    other.association.as_mut().unwrap().private_ip = Some("10.0.1.99".parse().unwrap());
    let plan = decide(wants_one(Some("eipalloc-1")), 40, up(None, vec![other]));
    assert_eq!(code(&plan), Some("elastic-ip-in-use"));
}

#[test]
fn one_that_the_config_names_no_more_is_taken_off_the_nodes_own_interface() {
    let mut record = has_one();
    record.config.config.persist.network.as_mut().unwrap().elastic_ip = None;
    let plan = decide(record, 100, up(Some("198.51.100.1"), vec![address("eipalloc-1", Some("eni-1"))]));
    let association = "eipassoc-eni-1".to_owned();
    assert_eq!(step(&plan), &Step::Disassociate { allocation: allocation("eipalloc-1"), association });
    let plan = decide(plan.record, 110, up(None, vec![address("eipalloc-1", None)]));
    assert_eq!(plan.record.network.unwrap().elastic_ip, None);
}

#[test]
fn one_that_has_gone_to_somebody_else_meanwhile_is_not_taken_off_there() {
    let mut record = has_one();
    record.config.config.persist.network.as_mut().unwrap().elastic_ip = None;
    let plan = decide(record, 100, up(None, vec![address("eipalloc-1", Some("eni-7"))]));
    assert!(matches!(plan.then, Then::Wait(_)));
    assert_eq!(plan.record.network.unwrap().elastic_ip, None, "it is just forgotten");
}

#[test]
fn another_one_comes_after_the_old_one_is_off() {
    let mut record = has_one();
    record.config.config.persist.network.as_mut().unwrap().elastic_ip = Some(allocation("eipalloc-2"));
    let both = |on: Option<&str>| vec![address("eipalloc-1", on), address("eipalloc-2", None)];
    let plan = decide(record, 100, up(Some("198.51.100.1"), both(Some("eni-1"))));
    assert!(matches!(step(&plan), Step::Disassociate { .. }));
    let (record, _) = absorb(plan.record.clone(), step(&plan), &Outcome::Done, scope(101));
    // The instance goes on showing the old one for a while, which is nobody's trouble.
    let lagging = decide(record.clone(), 102, up(Some("198.51.100.1"), both(None)));
    assert_eq!(code(&lagging), None);
    let plan = decide(lagging.record, 162, up(None, both(None)));
    assert!(matches!(step(&plan), Step::Associate { allocation, .. } if allocation.as_str() == "eipalloc-2"));
}

#[test]
fn a_refusal_rests_for_the_address_alone() {
    let free = || up(None, vec![address("eipalloc-1", None)]);
    let plan = decide(wants_one(Some("eipalloc-1")), 40, free());
    for (class, marked) in [
        (Class::Retry, false),
        (Class::NotYet, false),
        (Class::AddressTaken, true),
        (Class::NotFound, false),
        (Class::Quota, true),
        (Class::Terminal, true),
    ] {
        let record = fail(plan.record.clone(), step(&plan), class, 41);
        assert_eq!(record.blocked.is_some(), marked, "{class:?}");
        assert_eq!(record.not_before, None, "{class:?}");
        let rests = decide(record.clone(), 42, free());
        assert!(matches!(rests.then, Then::Wait(_)), "{class:?}");
        assert!(rests.record.work_at.is_some(), "{class:?}");
        assert!(matches!(step(&decide(record, 102, free())), Step::Associate { .. }), "{class:?}");
    }
}

/// A node that runs, marked because somebody else has its address.
fn marked() -> Record {
    let plan =
        decide(wants_one(Some("eipalloc-1")), 40, up(None, vec![address("eipalloc-1", Some("eni-7"))]));
    assert_eq!(code(&plan), Some("elastic-ip-in-use"));
    plan.record
}

#[test]
fn the_mark_is_not_lifted_by_other_successes_while_the_node_runs() {
    let tag =
        Step::Tag { resource: crate::ids::Resource::Interface(InterfaceId::new("eni-1")), tags: Tags::new() };
    let (record, _) = absorb(marked(), &tag, &Outcome::Done, scope(50));
    assert!(record.blocked.is_some());
    let still = decide(record, 110, up(None, vec![address("eipalloc-1", Some("eni-7"))]));
    assert_eq!(code(&still), Some("elastic-ip-in-use"));
    assert_eq!(still.record.blocked.as_ref().unwrap().since, at(40), "one trouble, told once");
}

#[test]
fn the_mark_goes_when_the_address_is_had_or_asked_for_no_more() {
    let had = decide(marked(), 110, up(Some("198.51.100.1"), vec![address("eipalloc-1", Some("eni-1"))]));
    assert_eq!(code(&had), None);
    let mut record = marked();
    record.config.config.persist.network.as_mut().unwrap().elastic_ip = None;
    assert_eq!(code(&decide(record, 110, up(None, Vec::new()))), None);
}

#[test]
fn the_mark_goes_with_the_instance() {
    let plan = decide(marked(), 110, |seen| {
        world(seen);
        seen.instances.insert(InstanceId::new("i-1"), gone(instance(InstanceState::Terminated)));
        seen.volumes.insert(VolumeId::new("vol-1"), volume(VolumeState::Available));
    });
    assert_eq!((plan.record.phase, code(&plan)), (Phase::Capturing, None));
}

#[test]
fn a_node_that_keeps_no_interface_yet_is_not_troubled() {
    let record = Record { network: None, ..wants_one(Some("eipalloc-1")) };
    let plan = decide(record, 40, up(None, vec![address("eipalloc-1", None)]));
    assert_eq!((code(&plan), plan.record.work_at), (None, None));
}

/// A node at rest whose interface still has an address.
fn rests_with_one(goal: DesiredState, wanted: Option<&str>) -> Record {
    let mut record = decide(wants(captured(), goal), 130, kept).record;
    record.config.config.persist.network.as_mut().unwrap().elastic_ip = wanted.map(allocation);
    let public_ip = "198.51.100.1".parse().unwrap();
    let known = ElasticIp { allocation_id: allocation("eipalloc-1"), public_ip, cycle: 1 };
    record.network.as_mut().unwrap().elastic_ip = Some(known);
    record
}

fn at_rest(seen: &mut Observation) {
    kept(seen);
    let one = address("eipalloc-1", Some("eni-1"));
    seen.elastic_ips.insert(one.id.clone(), one);
}

#[test]
fn a_node_at_rest_keeps_the_address_it_is_to_have_and_gives_up_one_it_is_not() {
    for goal in [DesiredState::Paused, DesiredState::Deallocated] {
        let plan = decide(rests_with_one(goal, Some("eipalloc-1")), 200, at_rest);
        assert!(matches!(plan.then, Then::Wait(_)), "{goal:?}");
        let plan = decide(rests_with_one(goal, None), 200, at_rest);
        assert!(matches!(step(&plan), Step::Disassociate { .. }), "{goal:?}");
    }
}

#[test]
fn a_deallocated_node_that_cannot_give_an_address_up_tries_again_soon() {
    let plan = decide(rests_with_one(DesiredState::Deallocated, None), 200, at_rest);
    let record = fail(plan.record.clone(), step(&plan), Class::Retry, 201);
    let plan = decide(record, 202, at_rest);
    assert_eq!(
        plan.record.work_at,
        Some(at(201 + limits::RETRY_SOON.as_secs())),
        "not when its retention ends"
    );
    assert!(matches!(step(&decide(plan.record, 217, at_rest)), Step::Disassociate { .. }));
}

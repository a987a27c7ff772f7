//! The kept interface: made with the right address, made again when it was deleted, and given up.

use super::*;
use crate::names::TAG_NODE;
use crate::step::InterfaceRequest;
use std::net::Ipv4Addr;

fn ip(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

/// A node without an interface that is to have this address in one of these subnets.
fn wants_address(address: Option<&str>, subnets: &[&str]) -> Record {
    let mut record = Record { network: None, ..new_record() };
    let config = &mut record.config.config;
    config.persist.network.as_mut().unwrap().private_ip = address.map(ip);
    config.launch.subnets = subnets.iter().map(|id| SubnetId::new(*id)).collect();
    config.place = Some(0);
    record
}

fn member(mut record: Record) -> Record {
    record.config.config.group = crate::ids::GroupName::parse("ring");
    record
}

/// A world of two subnets in which no interface is there.
fn bare(seen: &mut Observation) {
    world(seen);
    seen.interfaces.clear();
    let cidr = "10.0.2.0/24".parse().unwrap();
    let subnet = SubnetFacts { id: SubnetId::new("subnet-2"), zone: "us-east-1b".into(), cidr };
    seen.subnets.insert(subnet.id.clone(), subnet);
}

/// An interface that has an address, with these tags.
fn holder(address: &str, tags: Tags) -> InterfaceFacts {
    InterfaceFacts {
        id: InterfaceId::new("eni-9"),
        state: InterfaceState::Available,
        subnet: SubnetId::new("subnet-1"),
        zone: "us-east-1a".into(),
        private_ip: ip(address),
        secondary: Vec::new(),
        ipv6: Vec::new(),
        description: "the printer".into(),
        groups: Vec::new(),
        attached_to: None,
        tags,
    }
}

fn of_node(name: &str, life: &str) -> Tags {
    let node = NodeName::parse(name).unwrap();
    let group = Tags::from([(crate::names::TAG_GROUP.to_owned(), "ring".to_owned())]);
    Names { deployment: "prod", node: &node, life }.tags(&group, 1, Purpose::Interface, "key")
}

fn created(plan: &Plan) -> &InterfaceRequest {
    match step(plan) {
        Step::CreateInterface(request) => request,
        other => panic!("{other:?}"),
    }
}

fn code(plan: &Plan) -> Option<&str> {
    plan.record.blocked.as_ref().map(|blocked| blocked.code.as_str())
}

#[test]
fn an_address_finds_its_subnet_by_its_range() {
    let plan = decide(wants_address(Some("10.0.2.20"), &["subnet-1", "subnet-2"]), 0, bare);
    let request = created(&plan);
    assert_eq!((request.subnet.as_str(), request.private_ip), ("subnet-2", Some(ip("10.0.2.20"))));
}

#[test]
fn a_paused_node_with_a_fixed_address_holds_it_before_it_ever_runs() {
    let record = wants(wants_address(Some("10.0.1.20"), &["subnet-1"]), DesiredState::Paused);
    let plan = decide(record, 0, bare);
    assert_eq!((plan.record.phase, created(&plan).private_ip), (Phase::Paused, Some(ip("10.0.1.20"))));
    let made = holder("10.0.1.20", of_node("db", LIFE));
    let (record, _) = absorb(plan.record.clone(), step(&plan), &Outcome::Interface(made.clone()), scope(1));
    let plan = decide(record, 2, |seen| {
        bare(seen);
        seen.interfaces.insert(made.id.clone(), made.clone());
    });
    assert!(matches!(plan.then, Then::Wait(_)), "{:?}", plan.then);
    assert!(!plan.record.launched, "that is no launch");
}

#[test]
fn a_paused_node_without_a_fixed_address_makes_nothing() {
    let record = wants(wants_address(None, &["subnet-1"]), DesiredState::Paused);
    assert!(matches!(decide(record, 0, bare).then, Then::Wait(_)));
}

#[test]
fn the_interface_of_a_node_without_a_fixed_address_is_made_at_its_first_launch() {
    let plan = decide(wants_address(None, &["subnet-1"]), 0, bare);
    assert_eq!((plan.record.phase, created(&plan).private_ip), (Phase::Launching, None));
}

#[test]
fn subnets_are_tried_in_turn_from_the_nodes_own_place_on() {
    for (place, order) in [(0, ["subnet-1", "subnet-2"]), (1, ["subnet-2", "subnet-1"])] {
        let mut record = wants_address(None, &["subnet-1", "subnet-2"]);
        record.config.config.place = Some(place);
        let mut tokens = Vec::new();
        for subnet in order {
            let plan = decide(record, 0, bare);
            assert_eq!(created(&plan).subnet.as_str(), subnet);
            tokens.push(created(&plan).token.clone());
            record = fail(plan.record.clone(), step(&plan), Class::NextRung, 1);
        }
        assert_ne!(tokens[0], tokens[1], "another place has another token");
        let plan = decide(record, 2, bare);
        assert_eq!(code(&plan), Some("no-address"));
        let again = decide(plan.record, 63, bare);
        assert_eq!(created(&again).subnet.as_str(), order[0], "and from the first again");
    }
}

#[test]
fn an_address_outside_all_subnets_or_reserved_by_aws_is_said_to_be_so() {
    for address in ["10.9.9.9", "10.0.1.0", "10.0.1.3", "10.0.1.255"] {
        let plan = decide(wants_address(Some(address), &["subnet-1"]), 0, bare);
        assert_eq!(code(&plan), Some("no-subnet"), "{address}");
        assert!(plan.record.blocked.unwrap().message.contains(address));
    }
}

#[test]
fn an_own_interface_that_nobody_heard_of_is_taken() {
    let plan = decide(wants_address(Some("10.0.1.20"), &["subnet-1"]), 0, |seen| {
        bare(seen);
        let own = holder("10.0.1.20", of_node("db", LIFE));
        seen.holders.push(own.clone());
        seen.interfaces.insert(own.id.clone(), own);
    });
    assert_eq!(plan.record.network.as_ref().unwrap().eni_id.as_str(), "eni-9");
    assert!(matches!(step(&plan), Step::Launch(_)));
}

#[test]
fn an_interface_of_another_life_or_purpose_is_not_taken_and_is_named() {
    let mut bare_tags = of_node("db", LIFE);
    bare_tags.remove("perennial:purpose");
    for tags in [of_node("db", "life-0"), Tags::new(), bare_tags] {
        let plan = decide(wants_address(Some("10.0.1.20"), &["subnet-1"]), 0, |seen| {
            bare(seen);
            seen.holders.push(holder("10.0.1.20", tags.clone()));
        });
        assert_eq!(plan.record.network, None);
        let blocked = plan.record.blocked.unwrap();
        assert_eq!(blocked.code, "address-taken");
        assert!(blocked.message.contains("eni-9 (the printer)"), "{}", blocked.message);
    }
}

#[test]
fn an_address_that_is_another_interfaces_secondary_one_is_taken_too() {
    let plan = decide(wants_address(Some("10.0.1.20"), &["subnet-1"]), 0, |seen| {
        bare(seen);
        let secondary = vec![ip("10.0.1.20")];
        seen.holders.push(InterfaceFacts { secondary, ..holder("10.0.1.9", of_node("db", LIFE)) });
    });
    assert_eq!(code(&plan), Some("address-taken"));
}

#[test]
fn the_same_address_in_another_subnet_is_another_one() {
    let plan = decide(wants_address(Some("10.0.1.20"), &["subnet-1"]), 0, |seen| {
        bare(seen);
        let subnet = SubnetId::new("subnet-7");
        seen.holders.push(InterfaceFacts { subnet, ..holder("10.0.1.20", Tags::new()) });
    });
    assert_eq!(created(&plan).private_ip, Some(ip("10.0.1.20")));
}

#[test]
fn a_member_waits_quietly_for_another_that_gives_the_address_up_and_says_so_when_that_lasts() {
    let held = |seen: &mut Observation| {
        bare(seen);
        seen.holders.push(holder("10.0.1.20", of_node("ring-1", "life-7")));
    };
    let plan = decide(member(wants_address(Some("10.0.1.20"), &["subnet-1"])), 0, held);
    assert_eq!(code(&plan), None);
    assert!(matches!(&plan.then, Then::Wait(wait) if wait.why.contains("ring-1")), "{:?}", plan.then);
    let late = limits::HAND_OVER_OVERDUE.as_secs();
    let plan = decide(plan.record, late, held);
    assert_eq!(code(&plan), Some("address-taken"));
    let plan = decide(plan.record, late + 61, bare);
    assert_eq!(created(&plan).private_ip, Some(ip("10.0.1.20")), "once it is free it is had");
}

#[test]
fn only_a_member_waits_for_another_node_and_not_for_another_deployments() {
    let other = of_node("ring-1", "life-7");
    let mut foreign = other.clone();
    foreign.insert(TAG_DEPLOYMENT_KEY.into(), "test".into());
    assert!(foreign.contains_key(TAG_NODE));
    let mut of_no_group = other.clone();
    of_no_group.remove(crate::names::TAG_GROUP);
    for (record, tags) in [
        (member(wants_address(Some("10.0.1.20"), &["subnet-1"])), of_no_group),
        (wants_address(Some("10.0.1.20"), &["subnet-1"]), other),
        (member(wants_address(Some("10.0.1.20"), &["subnet-1"])), foreign),
    ] {
        let plan = decide(record, 0, |seen| {
            bare(seen);
            seen.holders.push(holder("10.0.1.20", tags.clone()));
        });
        assert_eq!(code(&plan), Some("address-taken"));
    }
}

#[test]
fn an_address_that_another_member_was_given_by_hand_besides_its_own_is_not_waited_for() {
    let record = member(wants_address(Some("10.0.1.20"), &["subnet-1"]));
    let plan = decide(record, 0, |seen| {
        bare(seen);
        let mut other = holder("10.0.1.21", of_node("ring-1", "life-7"));
        other.secondary = vec![ip("10.0.1.20")];
        seen.holders.push(other);
    });
    assert_eq!(code(&plan), Some("address-taken"));
}

const TAG_DEPLOYMENT_KEY: &str = crate::names::TAG_DEPLOYMENT;

/// A node whose interface, with all kinds of addresses, was deleted by hand.
fn deleted(goal: DesiredState) -> Record {
    let mut record = wants(new_record(), goal);
    let network = record.network.as_mut().unwrap();
    network.secondary = vec![ip("10.0.1.5"), ip("10.0.1.6")];
    network.ipv6 = vec!["2600::4".parse().unwrap()];
    record
}

#[test]
fn an_interface_deleted_by_hand_is_made_again_with_every_address_it_had() {
    for goal in [DesiredState::Running, DesiredState::Paused] {
        let plan = decide(deleted(goal), 0, bare);
        assert!(matches!(plan.then, Then::Wait(_)), "one read proves nothing");
        let plan = decide(plan.record, 599, bare);
        assert!(matches!(plan.then, Then::Wait(_)));
        let plan = decide(plan.record, 600, bare);
        let request = created(&plan);
        assert_eq!((request.subnet.as_str(), request.private_ip), ("subnet-1", Some(ip("10.0.1.4"))));
        assert_eq!(request.secondary, [ip("10.0.1.5"), ip("10.0.1.6")]);
        assert_eq!(request.ipv6, ["2600::4".parse::<std::net::Ipv6Addr>().unwrap()]);
    }
}

#[test]
fn an_address_of_a_deleted_interface_that_a_stranger_took_is_said_to_be_his() {
    for address in ["10.0.1.4", "10.0.1.6"] {
        let taken = |seen: &mut Observation| {
            bare(seen);
            seen.holders.push(holder(address, Tags::new()));
        };
        let plan = decide(deleted(DesiredState::Running), 0, taken);
        let plan = decide(plan.record, 600, taken);
        assert_eq!(code(&plan), Some("address-taken"));
        assert!(plan.record.blocked.unwrap().message.contains(address));
    }
}

#[test]
fn a_read_that_shows_it_again_ends_the_doubt() {
    let plan = decide(wants(deleted(DesiredState::Running), DesiredState::Paused), 0, bare);
    let plan = decide(plan.record, 60, world);
    assert_eq!(plan.record.network.as_ref().unwrap().missing_since, None);
    let network = plan.record.network.unwrap();
    assert!(network.secondary.is_empty(), "what it shows now is what it has");
}

#[test]
fn another_address_that_is_asked_for_is_made_once_the_old_interface_is_gone() {
    let mut record = deleted(DesiredState::Running);
    record.config.config.persist.network.as_mut().unwrap().private_ip = Some(ip("10.0.1.30"));
    let plan = decide(record, 0, bare);
    let plan = decide(plan.record, 600, bare);
    let request = created(&plan);
    assert_eq!((request.private_ip, request.secondary.len()), (Some(ip("10.0.1.30")), 0));
}

/// A node that is deallocated and whose address is another's now.
fn frees() -> Record {
    let plan = decide(wants(captured(), DesiredState::Deallocated), 130, kept);
    let mut record = plan.record;
    assert_eq!(record.phase, Phase::Deallocated);
    record.config.config.persist.network.as_mut().unwrap().frees_address = true;
    record
}

#[test]
fn an_address_that_is_anothers_is_given_up_as_soon_as_the_node_is_deallocated() {
    let plan = decide(frees(), 200, kept);
    let expected = Step::FreeAddress { interface: InterfaceId::new("eni-1"), address: ip("10.0.1.4") };
    assert_eq!(step(&plan), &expected);
    let (record, _) = absorb(plan.record.clone(), step(&plan), &Outcome::Done, scope(201));
    assert_eq!(record.network, None);
    let plan = decide(record, 202, kept);
    assert_eq!(plan.record.phase, Phase::Deallocated);
    assert!(plan.record.image.is_some(), "its data is kept for the retention");
}

#[test]
fn nothing_is_given_up_that_nobody_else_is_to_have_or_before_the_node_is_deallocated() {
    let mut record = frees();
    record.config.config.persist.network.as_mut().unwrap().frees_address = false;
    assert!(matches!(decide(record, 200, kept).then, Then::Wait(_)));
    for goal in [DesiredState::Running, DesiredState::Paused] {
        let plan = decide(wants(frees(), goal), 200, kept);
        assert!(
            !matches!(&plan.then, Then::Act(step) if matches!(**step, Step::FreeAddress { .. })),
            "{goal:?}"
        );
        assert!(plan.record.network.is_some());
    }
}

#[test]
fn an_interface_in_use_is_not_given_up_and_is_looked_at_again_soon() {
    let plan = decide(frees(), 200, |seen| {
        kept(seen);
        for facts in seen.interfaces.values_mut() {
            facts.state = InterfaceState::InUse;
        }
    });
    assert!(matches!(plan.then, Then::Wait(_)));
    assert_eq!(
        plan.record.work_at,
        Some(at(200 + limits::NEXT_TICK.as_secs())),
        "its successor waits for it"
    );
}

#[test]
fn an_interface_to_be_given_up_that_is_gone_is_forgotten_after_ten_minutes_of_such_reads() {
    let gone = |seen: &mut Observation| {
        kept(seen);
        seen.interfaces.clear();
    };
    let plan = decide(frees(), 200, gone);
    assert!(plan.record.network.is_some());
    assert_eq!(plan.record.work_at, Some(at(200 + limits::NEXT_TICK.as_secs())));
    assert_eq!(decide(plan.record, 800, gone).record.network, None);
}

#[test]
fn an_address_found_to_be_free_when_it_is_given_up_is_given_up() {
    let plan = decide(frees(), 200, kept);
    assert_eq!(fail(plan.record.clone(), step(&plan), Class::NotFound, 201).network, None);
    let refused = fail(plan.record.clone(), step(&plan), Class::Retry, 201);
    assert!(refused.network.is_some());
    let plan = decide(refused, 300, kept);
    assert!(matches!(step(&plan), Step::FreeAddress { .. }), "it is tried again");
}

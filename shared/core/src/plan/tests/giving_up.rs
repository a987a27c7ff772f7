//! A member that was given up: its interface goes, its Elastic IP address too, and what if nobody hears of it.

use super::*;
use crate::ids::AllocationId;
use crate::record::ElasticIp;

/// A deallocated member whose address is to be free for another one.
fn given_up() -> Record {
    let mut record = decide(wants(captured(), DesiredState::Deallocated), 130, kept).record;
    record.config.config.persist.network.as_mut().unwrap().frees_address = true;
    record
}

fn without_interface(seen: &mut Observation) {
    kept(seen);
    seen.interfaces.clear();
}

#[test]
fn that_an_interface_is_to_go_is_written_down_before_it_goes() {
    let plan = decide(given_up(), 200, kept);
    assert!(matches!(step(&plan), Step::FreeAddress { .. }));
    assert_eq!(plan.record.network.unwrap().missing_since, Some(at(200)));
}

#[test]
fn a_node_that_gave_up_its_interface_asks_for_the_next_one_with_another_token() {
    let plan = decide(given_up(), 200, kept);
    let before = plan.record.attempts;
    let (record, _) = absorb(plan.record.clone(), step(&plan), &Outcome::Done, scope(201));
    assert_eq!((record.network.as_ref(), record.attempts), (None, before + 1));
    let record = fail(plan.record.clone(), step(&plan), Class::NotFound, 201);
    assert_eq!((record.network.as_ref(), record.attempts), (None, before + 1));
}

#[test]
fn an_interface_that_went_unheard_is_looked_for_until_it_is_sure_to_be_gone() {
    let plan = decide(decide(given_up(), 200, kept).record, 260, without_interface);
    assert!(matches!(plan.then, Then::Wait(_)));
    assert_eq!(plan.record.work_at, Some(at(260) + limits::NEXT_TICK));
    let plan = decide(plan.record, 200 + limits::QUIET.as_secs(), without_interface);
    assert_eq!(plan.record.network, None);
}

#[test]
fn a_member_whose_address_is_another_ones_now_does_not_wait_for_it() {
    let mut record = wants(decide(given_up(), 200, kept).record, DesiredState::Running);
    let address = record.network.as_ref().map(|network| network.private_ip);
    let policy = record.config.config.persist.network.as_mut().unwrap();
    (policy.frees_address, policy.lost_address) = (false, address);
    let plan = decide(record, 210, without_interface);
    let Step::CreateInterface(request) = step(&plan) else { panic!("{:?}", plan.then) };
    assert_eq!(request.private_ip, None);
}

#[test]
fn an_elastic_ip_address_that_could_not_be_disassociated_is_tried_again_soon() {
    let allocation_id = AllocationId::new("eipalloc-1");
    let mut record = decide(wants(captured(), DesiredState::Deallocated), 130, kept).record;
    let public_ip = "198.51.100.7".parse().unwrap();
    record.network.as_mut().unwrap().elastic_ip =
        Some(ElasticIp { allocation_id: allocation_id.clone(), public_ip, cycle: 1 });
    let held = |seen: &mut Observation| {
        kept(seen);
        let interface = Some(InterfaceId::new("eni-1"));
        let private_ip = Some("10.0.1.4".parse().unwrap());
        let association = Some(Association { id: "eipassoc-1".into(), interface, private_ip });
        let facts = AddressFacts { id: allocation_id.clone(), public_ip, association };
        seen.elastic_ips.insert(allocation_id.clone(), facts);
    };
    let plan = decide(record, 200, held);
    assert!(matches!(step(&plan), Step::Disassociate { .. }));
    let record = fail(plan.record.clone(), step(&plan), Class::Retry, 201);
    let plan = decide(record, 202, held);
    assert!(matches!(plan.then, Then::Wait(_)), "{:?}", plan.then);
    assert!(plan.record.work_at.unwrap() <= at(202) + limits::NEXT_TICK, "others may be waiting for it");
}

#[test]
fn an_elastic_ip_address_is_known_before_it_is_associated() {
    let allocation_id = AllocationId::new("eipalloc-1");
    let mut record = running();
    record.config.config.persist.network.as_mut().unwrap().elastic_ip = Some(allocation_id.clone());
    record.work_at = Some(at(30));
    let plan = decide(record, 30, |seen| {
        world(seen);
        seen.instances.insert(InstanceId::new("i-1"), instance(InstanceState::Running));
        seen.volumes.insert(VolumeId::new("vol-1"), volume(VolumeState::InUse));
        let public_ip = "198.51.100.7".parse().unwrap();
        let facts = AddressFacts { id: allocation_id.clone(), public_ip, association: None };
        seen.elastic_ips.insert(allocation_id.clone(), facts);
    });
    assert!(matches!(step(&plan), Step::Associate { .. }));
    let known = plan.record.network.unwrap().elastic_ip.unwrap();
    assert_eq!((known.allocation_id, known.cycle), (allocation_id, 0), "not yet found");
}

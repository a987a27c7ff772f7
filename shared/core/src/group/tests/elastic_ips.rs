//! Pools of Elastic IP addresses.

use super::*;

/// Who has which, as `member allocation`.
fn held(world: &World) -> Vec<String> {
    let line = |member: &Member| Some(format!("{} {}", member.name, member.elastic_ip.as_ref()?));
    world.group.members.iter().filter_map(line).collect()
}

fn own(name: &str, allocation: &str) -> Value {
    let network = json!({"network": {"elasticIp": allocation}});
    json!({"id": format!("node#{name}"), "group": "ring", "persist": network})
}

#[test]
fn they_are_handed_out_in_order_to_members_that_run_those_of_the_pool_first() {
    let mut world = World::new(group(1, &[], &[])).quiet();
    world.edit(group(3, &[12, 11], &[]));
    world.edit(group(3, &[11, 12], &["eipalloc-1", "eipalloc-2"]));
    assert_eq!(held(&world), ["ring-2 eipalloc-2", "ring-3 eipalloc-1"]);
    let config = world.record("ring-3").config().persist.network.clone().unwrap();
    assert_eq!(config.elastic_ip.unwrap().as_str(), "eipalloc-1", "and reach the members");
}

#[test]
fn a_member_that_rests_gets_none_and_one_that_is_paused_keeps_its_own() {
    let mut world = World::new(group(1, &[11, 12], &["eipalloc-1", "eipalloc-2"])).quiet();
    assert_eq!(held(&world), ["ring-1 eipalloc-1"]);
    world.edit(group(0, &[11, 12], &["eipalloc-1", "eipalloc-2"]));
    assert_eq!(held(&world), ["ring-1 eipalloc-1"]);
    world.edit(group(2, &[11, 12], &["eipalloc-2", "eipalloc-1"]));
    assert_eq!(held(&world), ["ring-1 eipalloc-1", "ring-2 eipalloc-2"], "for life, whatever the order");
}

#[test]
fn a_shortage_is_told_and_healed_when_the_pool_grows_or_one_is_given_up() {
    let mut world = World::new(group(2, &[], &["eipalloc-1"])).quiet();
    assert!(
        world.group.notices[0].contains("too short: there is none for ring-2;"),
        "{:?}",
        world.group.notices
    );
    world.edit(group(2, &[], &["eipalloc-1", "eipalloc-2"]));
    assert_eq!(held(&world), ["ring-1 eipalloc-1", "ring-2 eipalloc-2"]);
    assert_eq!(world.group.notices, [""; 0]);
    let mut world = World::new(group(2, &[], &["eipalloc-1"])).quiet();
    world.say("ring-1", Some("deallocated"));
    assert_eq!(held(&world), ["ring-2 eipalloc-1"]);
}

#[test]
fn one_that_is_taken_out_of_the_pool_stays_with_its_member_until_that_is_deallocated() {
    let mut world = World::new(group(2, &[], &["eipalloc-1", "eipalloc-2"])).quiet();
    world.edit(group(2, &[], &["eipalloc-2"]));
    assert_eq!(held(&world), ["ring-1 eipalloc-1", "ring-2 eipalloc-2"]);
    assert!(world.group.notices[0].contains("stays with ring-1"), "{:?}", world.group.notices);
    world.say("ring-1", Some("deallocated"));
    assert_eq!(held(&world), ["ring-2 eipalloc-2"]);
    assert!(
        world.group.notices[0].contains("too short: there is none for ring-3;"),
        "{:?}",
        world.group.notices
    );
}

#[test]
fn a_member_that_the_operator_gives_one_needs_none_of_the_pool() {
    let mut world = World::new(group(2, &[], &["eipalloc-1"])).quiet();
    assert_eq!(held(&world), ["ring-1 eipalloc-1"]);
    world.items.insert(node("ring-1"), own("ring-1", "eipalloc-9"));
    world.settle();
    assert_eq!(held(&world), ["ring-2 eipalloc-1"], "what it had is handed on");
    assert_eq!(world.group.notices, [""; 0]);
}

#[test]
fn one_that_the_operator_gave_to_a_member_is_handed_to_nobody_else() {
    let mut world = World::new(group(2, &[], &[]));
    world.items.insert(node("casa"), own("casa", "eipalloc-1"));
    world.settle();
    world.edit(group(2, &[], &["eipalloc-1", "eipalloc-2"]));
    assert_eq!(held(&world), ["ring-1 eipalloc-2"]);
}

#[test]
fn a_member_run_by_the_operator_gets_one_and_one_paused_by_him_does_not() {
    let mut world = World::new(group(0, &[11], &["eipalloc-1"])).quiet();
    world.say("ring-1", Some("running"));
    assert_eq!(held(&world), ["ring-1 eipalloc-1"]);
    let mut world = World::new(group(1, &[11], &[])).quiet();
    world.say("ring-1", Some("paused"));
    world.edit(group(1, &[11], &["eipalloc-1"]));
    assert_eq!(held(&world), [""; 0]);
}

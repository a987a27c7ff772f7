//! A group that is deleted, put back, or suspended.

use super::*;

#[test]
fn with_the_group_all_its_members_are_deallocated_whatever_their_items_say() {
    let mut world = ring();
    world.write("ring-1", Some("running"));
    world.say("ring-2", Some("paused"));
    world.item = None;
    world.settle();
    assert_eq!(world.stand(), ["1 deallocated 11", "2 deallocated 12", "3 deallocated 13"]);
    let told = world.group.share(&node("ring-1")).unwrap().notices(&world.items[&node("ring-1")]);
    assert!(told[0].starts_with("desiredState: the item group#ring is gone"), "{told:?}");
}

#[test]
fn a_group_that_is_put_back_has_its_members_back_with_all_their_addresses() {
    let mut world = World::new(group(2, &[11, 12, 13], &["eipalloc-1", "eipalloc-2"])).quiet();
    world.edit(group(2, &[11, 12, 13], &["eipalloc-2", "eipalloc-1"]));
    let elastic = |world: &World| {
        world.group.members.iter().map(|member| member.elastic_ip.clone()).collect::<Vec<_>>()
    };
    let (stood, had, item) = (world.stand(), elastic(&world), world.item.take());
    world.settle();
    assert_ne!(world.stand(), stood);
    world.item = item;
    world.settle();
    assert_eq!((world.stand(), elastic(&world)), (stood, had));
}

#[test]
fn a_group_that_is_gone_shares_no_elastic_ip_address() {
    let has = |world: &World| world.record("ring-1").config().persist.network.clone().unwrap().elastic_ip;
    let mut world = World::new(group(1, &[], &["eipalloc-1"])).quiet();
    assert!(has(&world).is_some());
    world.item = None;
    world.settle();
    assert_eq!(has(&world), None);
    world.edit(group(1, &[], &["eipalloc-2"]));
    assert_eq!(has(&world).unwrap().as_str(), "eipalloc-2", "what the pool has no more is not remembered");
}

#[test]
fn who_was_given_up_before_the_group_stays_given_up_when_it_is_put_back() {
    let mut world = ring();
    world.say("ring-2", Some("deallocated"));
    let item = world.item.take();
    world.settle();
    world.item = item;
    world.settle();
    assert_eq!(world.stand(), ["1 running 11", "2 deallocated -", "3 running 13", "4 running 12"]);
}

#[test]
fn a_group_that_is_gone_makes_nothing_and_takes_nobody_in() {
    let mut world = World::new(group(0, &[11], &[]));
    let unput = json!({"name": "ring-1", "made": true, "privateIp": "10.0.1.11", "wish": "paused"});
    world.group.members.push(serde_json::from_value(unput).unwrap());
    world.item = None;
    world.items.insert(node("casa"), json!({"id": "node#casa", "group": "ring"}));
    world.decide();
    assert!(world.group.members.is_empty() && world.items.len() == 1, "{:?}", world.group.members);
}

#[test]
fn of_a_group_whose_members_were_purged_nothing_is_left_but_its_numbers() {
    let mut world = ring();
    world.item = None;
    world.settle();
    for name in ["ring-1", "ring-2", "ring-3"] {
        world.purge(name);
    }
    world.items.clear();
    world.settle();
    assert!(world.group.members.is_empty());
    world.edit(group(1, &[11], &[]));
    assert_eq!(world.stand(), ["4 running 11"]);
}

#[test]
fn a_replacement_of_all_ends_with_the_group() {
    let mut world = ring();
    let mut item = group(3, &[11, 12, 13], &[]);
    item["recycle"] = json!(1);
    world.item = Some(item);
    world.decide();
    assert!(world.group.roll.is_some());
    world.item = None;
    world.settle();
    assert_eq!((world.group.roll.clone(), world.group.notices.len()), (None, 0));
}

#[test]
fn a_suspended_group_is_known_by_its_template() {
    let mut item = group(1, &[], &[]);
    assert!(!World::new(item.clone()).group.config.is_suspended());
    item["suspend"] = json!(true);
    assert!(World::new(item).group.config.is_suspended());
}

#[test]
fn a_record_reads_back_as_it_was_written() {
    let mut world = World::new(group(2, &[11, 12, 13], &["eipalloc-1"])).quiet();
    world.say("ring-2", Some("deallocated"));
    let written = serde_json::to_value(&world.group).unwrap();
    assert_eq!(serde_json::from_value::<GroupRecord>(written).unwrap(), world.group);
}

#[test]
fn a_group_put_back_runs_the_members_that_ran_before_and_no_others() {
    // The pool's order would have the second one run; the first, which is in it no more, ran.
    let mut world = World::new(group(1, &[11, 12], &[])).quiet();
    world.edit(group(1, &[12], &[]));
    let running = |world: &World| {
        let wished = world.group.members.iter().filter(|it| it.wish == DesiredState::Running);
        wished.map(|it| it.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(running(&world), ["ring-1"]);
    let item = world.item.take();
    world.settle();
    world.item = item;
    world.settle();
    assert_eq!(running(&world), ["ring-1"]);
}

#[test]
fn whoever_is_to_be_let_go_is_let_go_though_the_group_is_gone() {
    let mut world = ring();
    world.group.removed = true;
    let share = world.group.share(&node("ring-1")).unwrap();
    let said = |state: &str| {
        share.complete(&json!({"group": "ring", "desiredState": state}))["desiredState"].clone()
    };
    assert_eq!((said("released"), said("running")), (json!("released"), json!("deallocated")));
}

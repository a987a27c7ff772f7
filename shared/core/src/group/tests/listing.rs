//! Who is a member: those that the group made, those that the operator adds, and who leaves.

use super::*;
use crate::group::{Seen, plan};

fn member(name: &str) -> Value {
    json!({"id": format!("node#{name}"), "group": "ring"})
}

fn alone(name: &str) -> Value {
    json!({"id": format!("node#{name}"), "launch": {"template": {"name": "base"}}})
}

#[test]
fn a_node_that_names_the_group_joins_and_counts() {
    let mut world = World::new(group(2, &[], &[]));
    world.items.insert(node("casa"), member("casa"));
    world.settle();
    assert_eq!(world.running(), ["casa", "1"]);
    assert!(!world.member("casa").made);
}

#[test]
fn a_running_node_that_joins_goes_on_running_if_there_is_room() {
    let mut world = ring();
    world.items.insert(node("casa"), alone("casa"));
    world.settle();
    world.items.insert(node("casa"), member("casa"));
    world.item = Some(group(4, &[11, 12, 13], &[]));
    world.tick();
    assert!(world.notes.iter().any(|note| note.contains("casa joins")));
    world.settle();
    assert_eq!(world.running(), ["casa", "1", "2", "3"]);
    assert_eq!(world.record("casa").cycle, 1, "on the instance it had");
}

#[test]
fn a_node_that_joins_is_not_replaced_for_what_was_asked_before() {
    let mut rolled = group(1, &[], &[]);
    rolled["recycle"] = json!(7);
    let mut world = World::new(rolled).quiet();
    world.items.insert(node("casa"), alone("casa"));
    world.settle();
    let mut joins = member("casa");
    joins["desiredState"] = json!("running");
    world.items.insert(node("casa"), joins);
    world.settle();
    assert_eq!((world.record("casa").rolled, world.record("casa").cycle), (7, 1));
    assert_eq!(world.group.roll, None);
}

#[test]
fn a_member_whose_item_names_the_group_no_more_leaves_with_what_it_has() {
    let mut world = ring();
    let mut item = alone("ring-2");
    item["persist"] = json!({"root": {}, "network": {}});
    world.items.insert(node("ring-2"), item);
    world.settle();
    assert!(world.group.member(&node("ring-2")).is_none());
    assert_eq!(world.stand(), ["1 running 11", "2 running 12", "3 running 13", "4 new -"]);
}

#[test]
fn a_name_that_somebody_else_has_is_passed_over() {
    let mut world = World::new(group(2, &[], &[]));
    world.items.insert(node("ring-1"), alone("ring-1"));
    world.settle();
    assert_eq!(world.stand(), ["1 running -", "2 running 100", "3 running 101"]);
    assert!(world.group.member(&node("ring-1")).is_none());
}

#[test]
fn a_name_that_somebody_takes_before_its_item_is_put_is_given_up_for_another() {
    let mut world = World::new(group(0, &[11], &[]));
    let unput = json!({"name": "ring-1", "made": true, "privateIp": "10.0.1.11", "wish": "paused"});
    world.group.members.push(serde_json::from_value(unput).unwrap());
    world.group.last_number = 1;
    world.items.insert(node("ring-1"), alone("ring-1"));
    world.settle();
    assert_eq!(world.stand(), ["1 running -", "2 paused 11"]);
}

#[test]
fn no_number_is_given_twice() {
    let mut world = World::new(group(2, &[], &[])).quiet();
    for name in ["ring-1", "ring-2"] {
        world.say(name, Some("deallocated"));
        world.purge(name);
        world.items.remove(&node(name));
    }
    world.settle();
    assert_eq!(world.running(), ["3", "4"]);
    assert_eq!(world.group.members.len(), 2, "of the others nothing is left");
}

#[test]
fn a_number_that_the_operator_uses_is_counted_on_from() {
    let mut world = World::new(group(2, &[], &[]));
    world.items.insert(node("ring-7"), member("ring-7"));
    world.settle();
    assert_eq!(world.running(), ["7", "8"]);
}

#[test]
fn a_number_far_ahead_does_not_leave_the_group_without_names() {
    let mut world = World::new(group(2, &[], &[]));
    world.items.insert(node("ring-4294967295"), member("ring-4294967295"));
    world.settle();
    assert_eq!(world.running(), ["1", "4294967295"]);
}

#[test]
fn an_item_whose_state_is_a_typo_changes_nothing_for_the_group() {
    let mut world = ring();
    let before = world.group.clone();
    world.write("ring-2", Some("stoped"));
    world.decide();
    assert_eq!(world.group, before);
}

#[test]
fn a_member_purged_with_its_item_left_is_none_until_it_is_asked_for() {
    let mut world = ring();
    world.say("ring-2", Some("deallocated"));
    world.purge("ring-2");
    world.settle();
    assert_eq!(world.running(), ["1", "3", "4"]);
    world.say("ring-2", None);
    assert_eq!(world.stand(), ["1 running 11", "2 paused -", "3 running 13", "4 running 12"]);
    assert!(world.record("ring-2").former.len() == 1, "a new life");
    assert!(world.member("ring-2").lost_address);
}

#[test]
fn only_a_look_at_all_items_finds_who_joined() {
    let mut world = ring();
    world.items.insert(node("casa"), member("casa"));
    let taken = Default::default();
    let seen = Seen { items: &world.items, all_items: false, records: &world.records, taken: &taken };
    assert!(plan(world.group.clone(), seen).record.member(&node("casa")).is_none());
}

/// An item as it is after an edit that was refused.
fn refused(mut item: Value, edit: impl FnOnce(&mut Value)) -> Value {
    edit(&mut item);
    item["_status"] = json!({"accepted": false, "configHash": crate::config::hash(&item)});
    item
}

#[test]
fn a_member_whose_edit_was_refused_stays_what_it_is_in_force() {
    let mut world = World::new(group(2, &[], &["eipalloc-1", "eipalloc-2"])).quiet();
    let (stood, had) = (world.stand(), world.member("ring-1").clone());
    let item = world.items[&node("ring-1")].clone();
    for wrong in [
        refused(item.clone(), |item| item["group"] = json!("rign")),
        refused(item.clone(), |item| drop(item.as_object_mut().unwrap().remove("group"))),
        refused(item.clone(), |item| item["persist"] = json!({"network": {"elasticIp": "eipalloc-no"}})),
    ] {
        world.items.insert(node("ring-1"), wrong);
        world.decide();
        assert_eq!((world.stand(), world.member("ring-1")), (stood.clone(), &had));
        world.items.insert(node("ring-1"), item.clone());
        world.settle();
        assert_eq!((world.stand(), world.member("ring-1")), (stood.clone(), &had));
    }
}

#[test]
fn an_item_that_the_group_put_too_late_is_its_own_all_the_same() {
    let mut world = World::new(group(1, &[11, 12], &[])).quiet();
    world.edit(group(1, &[11], &[]));
    world.settle();
    let late = world.items[&node("ring-2")].clone();
    world.group.members.retain(|member| member.name != node("ring-2"));
    world.records.remove(&node("ring-2"));
    world.items.insert(node("ring-2"), late);
    world.settle();
    assert!(world.member("ring-2").made && world.member("ring-2").given_up, "{:?}", world.member("ring-2"));
}

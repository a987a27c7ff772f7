//! Pools of private addresses: each sentence of the product's text, and the edges between them.

use super::*;

#[test]
fn every_address_of_a_pool_gets_a_paused_member_that_holds_it() {
    let mut world = World::new(group(0, &[11, 12], &[]));
    world.tick();
    let network = json!({"network": {"privateIp": "10.0.1.11"}});
    let expected = json!({"id": "node#ring-1", "group": "ring", "persist": network});
    assert_eq!(world.items[&node("ring-1")], expected, "its item says what no other member has");
    world.settle();
    assert_eq!(world.stand(), ["1 paused 11", "2 paused 12"]);
}

#[test]
fn members_of_the_pool_are_resumed_in_its_order_up_to_the_capacity() {
    let mut world = World::new(group(0, &[11, 12, 13], &[])).quiet();
    world.edit(group(2, &[13, 11, 12], &[]));
    assert_eq!(world.stand(), ["1 running 11", "2 paused 12", "3 running 13"]);
}

#[test]
fn a_paused_member_of_the_pool_can_be_resumed_by_the_operator() {
    let mut world = World::new(group(0, &[11, 12], &[])).quiet();
    world.say("ring-2", Some("running"));
    assert_eq!(world.stand(), ["1 paused 11", "2 running 12"]);
    world.edit(group(1, &[11, 12], &[]));
    assert_eq!(world.running(), ["2"], "who is run by the operator is counted first");
    world.say("ring-2", None);
    assert_eq!(world.running(), ["2"], "and goes on when it is left to the group");
}

#[test]
fn members_beyond_the_pool_get_addresses_of_the_subnet() {
    let world = World::new(group(3, &[11], &[])).quiet();
    assert_eq!(world.stand(), ["1 running 11", "2 running 100", "3 running 101"]);
    assert!(world.items[&node("ring-2")].get("persist").is_none(), "nothing is pinned in its item");
}

#[test]
fn an_address_added_later_gets_its_paused_member_and_disturbs_nobody() {
    let mut world = World::new(group(2, &[11, 12], &[])).quiet();
    world.edit(group(2, &[13, 11, 12], &[]));
    assert_eq!(world.stand(), ["1 running 11", "2 running 12", "3 paused 13"]);
}

#[test]
fn another_order_of_the_pool_changes_nothing() {
    let mut world = World::new(group(2, &[11, 12, 13], &[])).quiet();
    let before = (world.group.members.clone(), world.stand());
    world.edit(group(2, &[13, 12, 11], &[]));
    assert_eq!((world.group.members.clone(), world.stand()), before);
}

#[test]
fn an_address_that_is_removed_takes_the_member_with_it_that_never_ran() {
    let mut world = World::new(group(1, &[11, 12, 13], &[])).quiet();
    world.edit(group(1, &[11, 13], &[]));
    assert_eq!(world.stand(), ["1 running 11", "2 deallocated -", "3 paused 13"]);
    assert!(!world.holders.contains_key(&ip(12)), "its address is free at once");
}

#[test]
fn an_address_that_is_removed_leaves_the_member_that_ran() {
    let mut world = World::new(group(2, &[11, 12], &[])).quiet();
    world.edit(group(2, &[12], &[]));
    assert_eq!(world.stand(), ["1 running 11", "2 running 12"]);
    world.edit(group(0, &[12], &[]));
    assert_eq!(world.stand(), ["1 paused 11", "2 paused 12"], "also while it is paused");
}

#[test]
fn the_option_removed_takes_all_that_never_ran_and_leaves_those_that_did() {
    let mut without_network = group(1, &[], &[]);
    without_network["persist"] = json!({"root": {}});
    for item in [group(1, &[], &[]), without_network] {
        let mut world = World::new(group(1, &[11, 12, 13], &[])).quiet();
        world.edit(item);
        assert_eq!(world.stand(), ["1 running 11", "2 deallocated -", "3 deallocated -"]);
    }
}

#[test]
fn an_address_removed_and_added_again_gets_a_new_member_if_the_old_one_never_ran() {
    let mut world = World::new(group(1, &[11, 12], &[])).quiet();
    world.edit(group(1, &[11], &[]));
    world.edit(group(1, &[11, 12], &[]));
    assert_eq!(world.stand(), ["1 running 11", "2 deallocated -", "3 paused 12"]);
}

#[test]
fn an_address_removed_and_added_again_is_still_that_of_the_member_that_ran() {
    let mut world = World::new(group(2, &[11, 12], &[])).quiet();
    world.edit(group(2, &[11], &[]));
    world.edit(group(2, &[11, 12], &[]));
    assert_eq!(world.stand(), ["1 running 11", "2 running 12"]);
}

#[test]
fn an_address_removed_and_added_again_at_once_has_one_living_member() {
    let mut world = World::new(group(1, &[11, 12], &[])).quiet();
    world.item = Some(group(1, &[11], &[]));
    world.decide();
    world.edit(group(1, &[11, 12], &[]));
    assert_eq!(world.stand(), ["1 running 11", "2 deallocated -", "3 paused 12"]);
}

#[test]
fn a_member_whose_address_is_removed_before_its_item_was_put_is_forgotten() {
    let mut world = World::new(group(0, &[11], &[]));
    let unput = json!({"name": "ring-2", "made": true, "privateIp": "10.0.1.12", "wish": "paused"});
    world.group.members.push(serde_json::from_value(unput).unwrap());
    world.settle();
    assert!(world.group.member(&node("ring-2")).is_none());
    assert!(!world.items.contains_key(&node("ring-2")), "no item is put for it");
}

#[test]
fn a_deallocated_member_of_the_pool_is_replaced_by_a_paused_one_for_the_same_address() {
    for (capacity, stand) in [
        (0, ["1 deallocated -", "2 paused 12", "3 paused 11"]),
        (2, ["1 deallocated -", "2 running 12", "3 running 11"]),
    ] {
        let mut world = World::new(group(capacity, &[11, 12], &[])).quiet();
        world.say("ring-1", Some("deallocated"));
        assert_eq!(world.stand(), stand);
    }
}

#[test]
fn a_member_of_the_pool_whose_item_is_deleted_is_replaced_in_the_same_way() {
    let mut world = ring();
    let item = world.items.remove(&node("ring-2")).unwrap();
    world.settle();
    assert_eq!(world.stand(), ["1 running 11", "2 deallocated -", "3 running 13", "4 running 12"]);
    world.items.insert(node("ring-2"), item);
    world.settle();
    assert_eq!(world.stand()[1], "2 paused -");
    assert!(world.member("ring-2").lost_address, "its successor has run");
}

#[test]
fn nobody_takes_the_place_before_the_operators_word_is_in_force() {
    let mut world = ring();
    world.write("ring-2", Some("deallocated"));
    world.decide();
    assert_eq!((world.group.members.len(), world.member("ring-2").given_up), (3, false));
    world.settle();
    assert_eq!((world.group.members.len(), world.member("ring-2").given_up), (4, true));
}

#[test]
fn a_successor_has_the_address_only_once_the_interface_is_gone() {
    let mut world = ring();
    world.stuck.insert(node("ring-2"));
    world.say("ring-2", Some("deallocated"));
    assert_eq!(world.stand()[1], "2 running 12");
    assert_eq!(world.record("ring-4").network, None, "it waits");
    world.stuck.clear();
    world.settle();
    assert_eq!(world.stand(), ["1 running 11", "2 deallocated -", "3 running 13", "4 running 12"]);
}

#[test]
fn a_member_put_back_before_its_successor_ran_has_its_address_again() {
    let mut world = World::new(group(1, &[11, 12], &[])).quiet();
    world.say("ring-2", Some("deallocated"));
    assert_eq!(world.stand(), ["1 running 11", "2 deallocated -", "3 paused 12"]);
    world.say("ring-2", None);
    assert_eq!(world.stand(), ["1 running 11", "2 paused 12", "3 deallocated -"]);
    assert!(!world.member("ring-2").lost_address && world.group.notices.is_empty());
}

#[test]
fn a_member_put_back_after_its_successor_ran_gets_another_address_and_is_told() {
    let mut world = ring();
    world.say("ring-2", Some("deallocated"));
    world.say("ring-2", Some("running"));
    assert_eq!(world.stand(), ["1 running 11", "2 running 100", "3 running 13", "4 running 12"]);
    let item = &world.items[&node("ring-2")];
    let told = world.group.share(&node("ring-2")).unwrap().notices(item);
    assert!(told.iter().any(|it| it.contains("10.0.1.12 belongs to another member")), "{told:?}");
    assert!(world.group.notices.iter().any(|it| it.contains("ring-2")), "{:?}", world.group.notices);
    world.say("ring-2", Some("paused"));
    assert_eq!(world.stand()[1], "2 paused 100", "and keeps it");
}

#[test]
fn a_member_put_back_while_it_still_has_its_interface_keeps_it() {
    let mut world = ring();
    world.stuck.insert(node("ring-2"));
    world.say("ring-2", Some("deallocated"));
    world.stuck.clear();
    world.say("ring-2", None);
    assert_eq!(world.stand(), ["1 running 11", "2 running 12", "3 running 13", "4 deallocated -"]);
    assert!(world.group.notices.is_empty());
}

#[test]
fn a_successor_whose_item_was_never_put_makes_way_as_well() {
    let mut world = World::new(group(1, &[11, 12], &[])).quiet();
    world.write("ring-2", Some("deallocated"));
    world.tick();
    world.decide();
    world.items.remove(&node("ring-3"));
    let unput = world.group.members.iter_mut().find(|member| member.name == node("ring-3"));
    unput.unwrap().item_put = false;
    world.say("ring-2", None);
    assert_eq!(world.stand(), ["1 running 11", "2 paused 12"]);
    assert!(world.group.member(&node("ring-3")).is_none());
}

#[test]
fn a_successor_that_the_operator_has_asked_for_is_not_given_up() {
    let mut world = World::new(group(1, &[11, 12], &[])).quiet();
    world.say("ring-2", Some("deallocated"));
    world.say("ring-3", Some("paused"));
    world.say("ring-2", Some("running"));
    assert_eq!(world.stand(), ["1 running 11", "2 running 100", "3 paused 12"]);
    assert!(world.member("ring-2").lost_address);
}

#[test]
fn a_successor_asked_for_before_the_interface_was_free_gets_another_address() {
    let mut world = World::new(group(2, &[11, 12], &[])).quiet();
    world.stuck.insert(node("ring-2"));
    world.say("ring-2", Some("deallocated"));
    world.say("ring-3", Some("running"));
    world.stuck.clear();
    world.say("ring-2", Some("running"));
    assert_eq!(world.stand(), ["1 running 11", "2 running 12", "3 running 100"]);
    assert!(world.member("ring-3").lost_address);
}

#[test]
fn what_was_given_up_for_an_address_comes_back_with_it_if_nobody_else_has_it() {
    let mut world = World::new(group(0, &[11], &[])).quiet();
    world.say("ring-1", Some("deallocated"));
    world.purge("ring-1");
    world.edit(group(0, &[], &[]));
    assert_eq!(world.stand(), ["2 deallocated -"]);
    world.say("ring-1", Some("paused"));
    assert_eq!(world.stand(), ["1 paused 11", "2 deallocated -"]);
}

#[test]
fn a_member_that_lost_its_address_before_it_had_another_has_lost_it_for_good() {
    let mut world = ring();
    world.say("ring-2", Some("deallocated"));
    world.stuck.insert(node("ring-2"));
    world.say("ring-2", None);
    assert!(world.member("ring-2").lost_address && world.record("ring-2").network.is_none());
    world.stuck.clear();
    world.say("ring-2", Some("deallocated"));
    world.say("ring-2", Some("running"));
    assert_eq!(world.stand()[1], "2 running 100");
}

#[test]
fn a_member_put_back_has_its_address_from_a_successor_that_was_given_up_with_it() {
    let mut world = ring();
    world.say("ring-2", Some("deallocated"));
    world.edit(group(3, &[11, 13], &[]));
    world.say("ring-4", Some("deallocated"));
    assert_eq!(world.holders[&ip(12)], "ring-4", "nobody wants it");
    world.say("ring-2", Some("running"));
    assert_eq!(world.holders[&ip(12)], "ring-2");
}

#[test]
fn a_successor_can_be_deallocated_in_its_turn() {
    let mut world = ring();
    for name in ["ring-2", "ring-4", "ring-5"] {
        world.say(name, Some("deallocated"));
    }
    assert_eq!(world.running(), ["1", "3", "6"]);
    assert_eq!(world.holders[&ip(12)], "ring-6");
    world.say("ring-4", None);
    assert_eq!(world.holders[&ip(12)], "ring-6", "it has run");
    assert!(world.member("ring-4").lost_address);
}

#[test]
fn a_released_member_keeps_its_address_and_its_successor_waits() {
    let mut world = ring();
    world.say("ring-2", Some("released"));
    assert_eq!(world.holders[&ip(12)], "ring-2");
    assert_eq!(world.record("ring-4").network, None);
    assert_eq!(world.running(), ["1", "3"]);
}

#[test]
fn a_stranger_on_an_address_keeps_its_member_waiting_and_nobody_else() {
    let mut world = World::new(group(3, &[11, 12, 13], &[]));
    world.holders.insert(ip(12), "stranger".into());
    world.settle();
    assert_eq!(world.running(), ["1", "3"]);
    world.holders.remove(&ip(12));
    world.settle();
    assert_eq!(world.stand(), ["1 running 11", "2 running 12", "3 running 13"]);
}

#[test]
fn an_address_that_aws_picked_for_a_member_is_that_ones_when_it_is_put_into_the_pool() {
    let mut world = World::new(group(2, &[], &[])).quiet();
    world.edit(group(2, &[100, 11], &[]));
    assert_eq!(world.stand(), ["1 running 100", "2 running 101", "3 paused 11"]);
    world.say("ring-1", Some("deallocated"));
    let stand = ["1 deallocated -", "2 running 101", "3 paused 11", "4 running 100"];
    assert_eq!(world.stand(), stand, "its interface is freed for its successor");
}

#[test]
fn a_member_whose_address_aws_gave_to_another_before_it_was_held_makes_way() {
    let mut world = World::new(group(2, &[11], &[]));
    world.tick();
    world.record_mut("ring-2").network.as_mut().unwrap().private_ip = ip(11);
    let first = world.record_mut("ring-1");
    (first.network, first.launched, first.phase) = (None, false, Phase::New);
    world.holders = [(ip(11), "ring-2".to_owned())].into();
    world.settle();
    assert_eq!(world.stand(), ["1 deallocated -", "2 running 11", "3 running 101"]);
}

#[test]
fn an_address_that_the_operator_gave_to_a_member_of_his_own_is_covered() {
    let mut world = World::new(group(1, &[11], &[]));
    let network = json!({"network": {"privateIp": "10.0.1.11"}});
    world.items.insert(node("casa"), json!({"id": "node#casa", "group": "ring", "persist": network}));
    world.settle();
    assert_eq!(world.stand(), ["casa running 11"]);
    world.say("casa", Some("deallocated"));
    assert_eq!(
        world.stand(),
        ["casa deallocated -", "1 running 11"],
        "its interface is freed like any other"
    );
    world.say("casa", None);
    assert_eq!(world.stand(), ["casa paused -", "1 running 11"], "its successor has run");
    assert!(world.member("casa").lost_address);
}

#[test]
fn of_two_items_with_one_address_the_one_that_holds_it_keeps_it() {
    let mut world = ring();
    let network = json!({"network": {"privateIp": "10.0.1.12"}});
    world.items.insert(node("casa"), json!({"id": "node#casa", "group": "ring", "persist": network}));
    world.settle();
    assert_eq!(world.stand(), ["casa paused -", "1 running 11", "2 running 12", "3 running 13"]);
}

#[test]
fn a_member_whose_item_names_no_address_does_not_stand_for_one() {
    let mut world = World::new(group(0, &[11], &[]));
    world.decide();
    world.items.insert(node("ring-1"), json!({"id": "node#ring-1", "group": "ring"}));
    world.settle();
    assert_eq!(world.stand(), ["1 paused -", "2 paused 11"]);
}

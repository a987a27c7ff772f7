//! How many members run, and which.

use super::*;

#[test]
fn a_group_makes_as_many_running_members_as_its_capacity_says() {
    let world = World::new(group(3, &[], &[])).quiet();
    assert_eq!(world.stand(), ["1 running 100", "2 running 101", "3 running 102"]);
}

#[test]
fn a_capacity_below_the_pool_runs_so_many_and_the_rest_waits() {
    let world = World::new(group(1, &[11, 12, 13], &[])).quiet();
    assert_eq!(world.stand(), ["1 running 11", "2 paused 12", "3 paused 13"]);
}

#[test]
fn a_lowered_capacity_pauses_the_youngest_and_deletes_nothing() {
    let mut world = World::new(group(4, &[11, 12], &[])).quiet();
    world.edit(group(3, &[11, 12], &[]));
    assert_eq!(world.stand(), ["1 running 11", "2 running 12", "3 running 100", "4 paused 101"]);
    world.edit(group(0, &[11, 12], &[]));
    assert_eq!(world.stand(), ["1 paused 11", "2 paused 12", "3 paused 100", "4 paused 101"]);
    assert!(world.group.members.iter().all(|member| !member.given_up));
}

#[test]
fn a_raised_capacity_resumes_before_it_makes_anything_new() {
    let mut world = World::new(group(4, &[11, 12], &[])).quiet();
    world.edit(group(0, &[11, 12], &[]));
    world.edit(group(3, &[11, 12], &[]));
    assert_eq!(world.running(), ["1", "2", "3"], "the pool first, then the oldest");
    world.edit(group(5, &[11, 12], &[]));
    assert_eq!(world.running(), ["1", "2", "3", "4", "5"]);
    assert_eq!(world.stand()[3], "4 running 101", "with the address it had");
}

#[test]
fn a_pool_that_grows_under_a_full_group_does_not_swap_who_runs() {
    let mut world = World::new(group(2, &[], &[])).quiet();
    world.edit(group(2, &[11, 12], &[]));
    assert_eq!(world.stand(), ["1 running 100", "2 running 101", "3 paused 11", "4 paused 12"]);
    world.edit(group(3, &[11, 12], &[]));
    assert_eq!(world.running(), ["1", "2", "3"]);
}

#[test]
fn a_member_paused_by_hand_still_counts() {
    let mut world = World::new(group(2, &[11, 12, 13], &[])).quiet();
    world.say("ring-1", Some("paused"));
    assert_eq!(world.stand(), ["1 paused 11", "2 running 12", "3 paused 13"]);
    world.say("ring-1", None);
    assert_eq!(world.running(), ["1", "2"]);
}

#[test]
fn a_resting_member_that_the_operator_keeps_paused_is_passed_over() {
    let mut world = World::new(group(1, &[11, 12, 13], &[])).quiet();
    world.say("ring-2", Some("paused"));
    world.edit(group(2, &[11, 12, 13], &[]));
    assert_eq!(world.running(), ["1", "3"]);
    world.edit(group(3, &[11, 12, 13], &[]));
    assert_eq!(world.running(), ["1", "3", "4"], "another one is made in its stead");
}

#[test]
fn the_operators_word_wins_over_the_capacity() {
    let mut world = World::new(group(1, &[11, 12], &[])).quiet();
    world.say("ring-2", Some("running"));
    assert_eq!(world.running(), ["1", "2"]);
    world.edit(group(0, &[11, 12], &[]));
    assert_eq!(world.running(), ["2"]);
    world.say("ring-2", None);
    assert_eq!(world.running(), [""; 0]);
}

#[test]
fn a_deleted_member_is_replaced_only_if_the_capacity_asks_for_it() {
    let mut world = World::new(group(2, &[], &[])).quiet();
    world.items.remove(&node("ring-1"));
    world.settle();
    assert_eq!(world.stand(), ["1 deallocated 100", "2 running 101", "3 running 102"]);
    let mut world = World::new(group(2, &[], &[])).quiet();
    world.edit(group(1, &[], &[]));
    world.items.remove(&node("ring-2"));
    world.settle();
    assert_eq!(world.stand(), ["1 running 100", "2 deallocated 101"]);
}

#[test]
fn a_deleted_member_that_is_put_back_is_restored_with_what_it_had() {
    let mut world = World::new(group(2, &[], &[])).quiet();
    let item = world.items.remove(&node("ring-1")).unwrap();
    world.settle();
    world.items.insert(node("ring-1"), item);
    world.settle();
    assert_eq!(world.stand(), ["1 paused 100", "2 running 101", "3 running 102"]);
    world.edit(group(3, &[], &[]));
    assert_eq!(world.running(), ["1", "2", "3"]);
}

#[test]
fn an_item_missing_at_one_look_only_deallocates_nobody() {
    let mut world = ring();
    let item = world.items.remove(&node("ring-2")).unwrap();
    world.tick();
    world.items.insert(node("ring-2"), item);
    world.settle();
    assert_eq!(world.stand(), ["1 running 11", "2 running 12", "3 running 13"]);
}

#[test]
fn a_member_that_is_interrupted_is_waited_for_and_nobody_takes_its_place() {
    let mut world = ring();
    world.record_mut("ring-2").phase = Phase::Releasing;
    world.stuck.insert(node("ring-2"));
    world.settle();
    assert_eq!(world.group.members.len(), 3);
    world.stuck.clear();
    world.settle();
    assert_eq!(world.stand(), ["1 running 11", "2 running 12", "3 running 13"]);
}

#[test]
fn members_are_spread_evenly_over_the_subnets() {
    let mut world = World::new(group(5, &[], &[])).quiet();
    let places = |world: &World| {
        let living = world.group.members.iter().filter(|member| !member.given_up);
        living.map(|member| member.place).collect::<Vec<_>>()
    };
    assert_eq!(places(&world), [0, 1, 0, 1, 0]);
    world.write("ring-1", Some("deallocated"));
    world.say("ring-3", Some("deallocated"));
    assert_eq!(places(&world), [1, 1, 0, 0, 0], "who left is made up for");
}

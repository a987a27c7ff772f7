//! Replacing all members, one at a time.

use super::*;

fn recycled(mut item: Value, value: u32) -> Value {
    item["recycle"] = json!(value);
    item
}

fn full(value: u32) -> Value {
    recycled(group(3, &[11, 12, 13], &[]), value)
}

fn rolled(world: &World) -> Vec<u32> {
    world.group.members.iter().map(|member| world.records[&member.name].rolled).collect()
}

fn block(world: &mut World, name: &str, code: &str) {
    let (code, message, remedy, at) = (code.to_owned(), String::new(), String::new(), world.now);
    let blocked = Blocked { code, message, remedy, since: at, retry_at: at };
    world.record_mut(name).blocked = Some(blocked);
    world.stuck.insert(node(name));
}

fn unblock(world: &mut World, name: &str) {
    world.record_mut(name).blocked = None;
    world.stuck.clear();
}

#[test]
fn members_are_replaced_one_at_a_time_each_when_the_one_before_runs_again() {
    let mut world = ring();
    world.item = Some(full(1));
    let mut seen = Vec::new();
    for _ in 0..30 {
        world.tick();
        assert!(world.running().len() >= 2, "never two at once: {:?}", world.stand());
        if let Some(roll) = &world.group.roll {
            assert_eq!((roll.target, &roll.stopped), (1, &None));
            seen.push((roll.done, roll.left, roll.waits_for.clone().unwrap().to_string()));
        }
    }
    seen.dedup();
    let line = |done, left, name: &str| (done, left, name.to_owned());
    assert_eq!(seen, [line(0, 2, "ring-1"), line(1, 1, "ring-2"), line(2, 0, "ring-3")]);
    assert_eq!((rolled(&world), world.group.roll.clone()), (vec![1, 1, 1], None));
    assert_eq!(world.stand(), ["1 running 11", "2 running 12", "3 running 13"], "with their addresses");
}

#[test]
fn the_first_member_that_is_blocked_stops_it_until_it_runs_again() {
    let mut world = ring();
    world.item = Some(full(1));
    world.tick();
    block(&mut world, "ring-1", "capacity");
    world.settle();
    let roll = world.group.roll.clone().unwrap();
    assert_eq!((roll.waits_for, roll.left), (Some(node("ring-1")), 2));
    assert!(roll.stopped.unwrap().contains("ring-1 is blocked (capacity)"));
    assert!(world.group.notices[0].starts_with("recycle: ring-1 is blocked"), "{:?}", world.group.notices);
    assert_eq!(rolled(&world)[1..], [0, 0]);
    unblock(&mut world, "ring-1");
    world.settle();
    assert_eq!((rolled(&world), world.group.notices.len()), (vec![1, 1, 1], 0));
}

#[test]
fn it_does_not_begin_while_any_member_is_blocked() {
    let mut world = ring();
    block(&mut world, "ring-3", "snapshot-refused");
    world.edit(full(1));
    assert_eq!(rolled(&world), [0, 0, 0]);
    unblock(&mut world, "ring-3");
    world.settle();
    assert_eq!(rolled(&world), [1, 1, 1]);
}

#[test]
fn it_does_not_begin_before_an_interrupted_member_is_back() {
    let mut world = ring();
    world.record_mut("ring-3").phase = Phase::Interrupting;
    world.stuck.insert(node("ring-3"));
    world.edit(full(1));
    assert_eq!(rolled(&world), [0, 0, 0]);
    assert_eq!(world.group.roll.as_ref().unwrap().waits_for, Some(node("ring-3")));
    world.stuck.clear();
    world.settle();
    assert_eq!((rolled(&world), world.group.roll.clone()), (vec![1, 1, 1], None));
}

#[test]
fn members_that_rest_hold_nothing_up_and_serve_it_with_their_next_launch() {
    let mut world = World::new(group(1, &[11, 12], &[])).quiet();
    world.edit(recycled(group(1, &[11, 12], &[]), 3));
    assert_eq!((world.record("ring-1").rolled, world.record("ring-1").cycle), (3, 2));
    assert_eq!((world.record("ring-2").cycle, world.group.roll.clone()), (0, None));
    world.edit(recycled(group(2, &[11, 12], &[]), 3));
    assert_eq!((rolled(&world), world.record("ring-2").cycle), (vec![3, 3], 1), "launched once");
}

#[test]
fn a_member_run_by_the_operator_is_replaced_and_one_paused_by_him_is_not_waited_for() {
    let mut world = World::new(group(1, &[11, 12], &[])).quiet();
    world.write("ring-1", Some("paused"));
    world.say("ring-2", Some("running"));
    world.edit(recycled(group(1, &[11, 12], &[]), 1));
    assert_eq!((world.record("ring-1").cycle, world.record("ring-2").cycle), (1, 2));
    assert_eq!(world.group.roll, None);
}

#[test]
fn a_member_given_up_on_the_way_is_not_waited_for() {
    let mut world = ring();
    world.item = Some(full(1));
    world.tick();
    block(&mut world, "ring-1", "launch-refused");
    world.say("ring-1", Some("deallocated"));
    assert!(world.member("ring-1").given_up);
    assert_eq!((world.record("ring-2").rolled, world.record("ring-3").rolled), (1, 0), "its successor is");
    world.stuck.clear();
    world.settle();
    assert_eq!((world.record("ring-2").rolled, world.record("ring-3").rolled), (1, 1));
    assert_eq!((world.record("ring-4").cycle, world.group.roll.clone()), (1, None), "new anyway");
}

#[test]
fn raised_again_on_the_way_it_replaces_whose_turn_had_not_come_once() {
    let mut world = ring();
    world.item = Some(full(1));
    world.tick();
    world.edit(full(2));
    assert_eq!(rolled(&world), [2, 2, 2]);
    assert_eq!((world.record("ring-2").cycle, world.record("ring-3").cycle), (2, 2));
}

#[test]
fn a_new_group_with_a_count_replaces_nobody() {
    let world = World::new(full(9)).quiet();
    assert_eq!((world.record("ring-1").cycle, world.group.roll.clone()), (1, None));
}

#[test]
fn a_member_interrupted_before_its_turn_still_has_it() {
    let mut world = ring();
    world.item = Some(full(1));
    world.tick();
    world.record_mut("ring-3").phase = Phase::Releasing;
    world.settle();
    assert_eq!((rolled(&world), world.record("ring-3").cycle), (vec![1, 1, 1], 3));
}

//! When a backup is made.

use super::*;

/// Hours and minutes at which backups were begun.
fn begun(world: &World) -> Vec<String> {
    let made = world.account.made.iter().map(|name| name.rsplit('/').next().unwrap());
    made.map(|it| format!("{} {}:{}", &it[6..8], &it[9..11], &it[11..13])).collect()
}

/// No pass is made for so many minutes.
fn asleep(world: &mut World, minutes: i64) {
    world.now += SignedDuration::from_mins(minutes);
}

#[test]
fn every_frequency_is_due_at_its_own_times_and_nothing_before_it_was_turned_on() {
    for (says, naps, times) in [
        (json!({"frequency": "hourly"}), 0, vec!["02 01:00", "02 02:00"]),
        (json!({"frequency": "daily"}), 23 * 60, vec!["03 00:00"]),
        (json!({"frequency": "daily", "timezone": "Europe/Berlin"}), 22 * 60, vec!["02 23:00"]),
        (json!({"frequency": "weekly"}), 6 * 24 * 60 - 60, vec!["08 00:00"]),
        (json!({"frequency": "cron", "cron": "30 3 * * *"}), 150, vec!["02 03:30"]),
        (
            json!({"frequency": "cron", "cron": "*/30 * * * *"}),
            0,
            vec!["02 00:30", "02 01:00", "02 01:30", "02 02:00"],
        ),
    ] {
        let mut world = World::new(item(says.clone())).quiet();
        asleep(&mut world, naps);
        world.minutes(120);
        assert_eq!(begun(&world), times, "{says}");
    }
}

#[test]
fn a_continuous_group_is_due_every_ten_minutes() {
    let mut world = continuous(3);
    let made = world.account.made.len();
    world.until_made(made + 1);
    let first = world.now;
    for more in 1..=6 {
        world.until_made(made + more + 1);
        let passed = world.now.duration_since(first).as_mins();
        assert_eq!(passed, 10 * more as i64, "{:?}", begun(&world));
    }
}

#[test]
fn what_was_missed_is_made_up_for_once() {
    let mut world = hourly();
    asleep(&mut world, 5 * 60);
    world.minutes(40);
    assert_eq!(begun(&world), ["02 05:10"]);
    world.minutes(15);
    assert_eq!(begun(&world), ["02 05:10", "02 06:00"]);
}

#[test]
fn a_backup_under_way_keeps_the_next_ones_waiting_and_they_are_made_up_for_once() {
    let mut world = continuous(3);
    world.account.pending = SignedDuration::from_mins(34);
    let made = world.account.made.len();
    world.until_made(made + 1);
    let first = world.now;
    for more in 1..=2 {
        world.until_made(made + more + 1);
        assert_eq!(world.now.duration_since(first).as_mins(), 35 * more as i64, "as soon as it is there");
    }
}

#[test]
fn raising_now_takes_one_at_once_and_each_raise_counts_once() {
    let says = |now: u32| item(json!({"frequency": "daily", "now": now}));
    let mut world = World::new(says(0)).quiet();
    for (now, made) in [(1, 1), (1, 1), (4, 2), (0, 2), (1, 3)] {
        world.edit(says(now));
        world.minutes(12);
        assert_eq!(world.account.made.len(), made, "now: {now}: {:?}", world.notes);
    }
    assert_eq!(world.told(Kind::BackupCreated), 3);
}

#[test]
fn a_wish_for_one_now_is_served_beside_the_schedule() {
    let mut world = hourly();
    world.minutes(50);
    world.edit(item(json!({"frequency": "hourly", "keep": 2, "now": 1})));
    world.minutes(10);
    assert_eq!(begun(&world), ["02 01:00", "02 01:05"], "the wish first, then what is due");
}

#[test]
fn another_schedule_counts_from_when_it_is_put_in_force() {
    let mut world = World::new(item(json!({"frequency": "daily"}))).quiet();
    asleep(&mut world, 5 * 60 + 20);
    world.edit(item(json!({"frequency": "hourly"})));
    world.minutes(20);
    assert_eq!(begun(&world), Vec::<String>::new());
    world.minutes(30);
    assert_eq!(begun(&world), ["02 06:00"]);
}

#[test]
fn an_edit_of_what_is_kept_does_not_begin_the_schedule_anew() {
    let mut world = hourly();
    asleep(&mut world, 60);
    world.edit(item(json!({"frequency": "hourly", "keep": 9})));
    world.minutes(2);
    assert_eq!(world.account.made.len(), 1, "what was due at one o'clock");
}

#[test]
fn nothing_is_due_while_it_is_off_or_suspended() {
    let mut world = hourly();
    world.edit(off());
    world.minutes(130);
    assert_eq!(world.account.made.len(), 0);
    let mut suspended = item(json!({"frequency": "hourly"}));
    suspended["suspend"] = json!(true);
    world.edit(suspended);
    world.minutes(130);
    assert_eq!(world.account.made.len(), 0);
    world.edit(item(json!({"frequency": "hourly"})));
    world.minutes(3);
    assert_eq!(world.account.made.len(), 1, "what was missed in the meantime, once");
}

#[test]
fn age_and_lag_tell_how_a_group_stands_and_of_a_removed_one_nothing() {
    let mut world = hourly();
    let lag = |world: &World| world.backups().lag(&world.group, world.now).as_mins();
    assert_eq!(lag(&world), 0);
    world.account.pending = SignedDuration::from_mins(20);
    world.minutes(61);
    assert_eq!((lag(&world), world.backups().age(world.now).unwrap().as_mins()), (10, 69));
    world.minutes(15);
    assert_eq!((lag(&world), world.backups().age(world.now).unwrap().as_mins()), (0, 25));
    world.remove();
    world.now += SignedDuration::from_hours(1);
    assert_eq!(lag(&world), 0, "nobody waits for a backup of a group that is gone");
}

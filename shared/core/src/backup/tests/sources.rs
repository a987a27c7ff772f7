//! Which instance a backup is taken of.

use super::*;

/// Minutes until the clock shows this time of the first day.
fn until(world: &mut World, hour: i64, minute: i64) {
    let then = at(-30) + SignedDuration::from_mins(hour * 60 + minute);
    while world.now < then {
        world.minute();
    }
}

#[test]
fn it_is_the_latest_launched_member() {
    let mut world = hourly();
    world.minutes(10);
    world.interrupt(1);
    until(&mut world, 1, 2);
    let (first, _) = world.runs(1);
    assert_eq!(world.sources, [first]);
    world.interrupt(2);
    until(&mut world, 2, 2);
    let (second, _) = world.runs(2);
    assert_eq!(world.sources.last(), Some(&second));
}

#[test]
fn one_that_is_not_well_or_under_notice_is_passed_over() {
    let mut world = hourly();
    world.interrupt(1);
    world.minutes(10);
    let (latest, _) = world.runs(1);
    world.account.well_at.remove(&latest);
    let (other, _) = world.runs(2);
    until(&mut world, 1, 2);
    assert_eq!(world.sources, std::slice::from_ref(&other), "the latest has not passed its checks");
    world.account.well_at.insert(latest.clone(), world.now);
    until(&mut world, 1, 59);
    world.member(1).notice = Some(Notice { instance_id: latest, at: at(0), snapshot_tried: false });
    world.minutes(3);
    assert_eq!(world.sources, [other.clone(), other], "the latest is under notice");
}

#[test]
fn no_one_is_taken_that_is_to_go_or_does_not_run() {
    type Change = fn(&mut World);
    let changes: [Change; 5] = [
        |it| it.member(1).phase = Phase::Attaching,
        |it| it.member(1).instance.as_mut().unwrap().terminating = true,
        |it| it.member(1).config.config.recycle = 9,
        |it| it.member(1).config.config.suspend = true,
        |it| {
            let (id, _) = it.runs(1);
            it.account.instances.get_mut(&id).unwrap().state = InstanceState::Stopped;
        },
    ];
    for (at, change) in changes.into_iter().enumerate() {
        let mut world = hourly();
        world.interrupt(1);
        until(&mut world, 0, 59);
        change(&mut world);
        world.is_frozen = true;
        let (other, _) = world.runs(2);
        world.minute();
        assert_eq!(world.sources, [other], "change {at}");
    }
}

#[test]
fn none_is_waited_for_and_taken_when_it_comes() {
    let mut world = hourly();
    world.account.well_at.clear();
    until(&mut world, 1, 8);
    assert_eq!((world.account.made.len(), world.backups().skipped.clone()), (0, None));
    let (id, _) = world.runs(1);
    world.account.well_at.insert(id.clone(), world.now);
    world.minute();
    assert_eq!(world.sources, [id]);
}

#[test]
fn without_one_it_is_skipped_after_ten_minutes_and_told_until_the_next_one() {
    let mut world = hourly();
    let well = std::mem::take(&mut world.account.well_at);
    until(&mut world, 1, 9);
    assert_eq!(notices(&world.group), Vec::<String>::new());
    until(&mut world, 1, 11);
    let told = notices(&world.group).join("\n");
    assert!(told.contains("skipped: none of 2 running member(s) has passed both status checks"), "{told}");
    world.account.well_at = well;
    until(&mut world, 1, 59);
    assert_eq!(world.account.made.len(), 0, "the next time it is due");
    until(&mut world, 2, 8);
    assert_eq!(world.account.made.len(), 1);
    assert_eq!(notices(&world.group), Vec::<String>::new());
}

#[test]
fn it_says_when_nobody_runs_or_nobody_can_be_read() {
    let mut world = hourly();
    world.is_unreadable = true;
    until(&mut world, 1, 11);
    assert!(notices(&world.group)[0].contains("the members were not read"));
    world.is_unreadable = false;
    until(&mut world, 1, 30);
    for number in 1..=2 {
        world.member(number).phase = Phase::Paused;
    }
    until(&mut world, 2, 11);
    assert!(notices(&world.group)[0].contains("no member runs"), "{:?}", notices(&world.group));
}

/// What was once waited for in vain does not shorten the wait for what is due much later.
#[test]
fn a_source_is_waited_for_anew_after_an_edit() {
    let mut world = hourly();
    let well = std::mem::take(&mut world.account.well_at);
    until(&mut world, 1, 5);
    world.edit(item(json!({"frequency": "cron", "cron": "0 3 * * *"})));
    until(&mut world, 3, 4);
    assert_eq!(world.backups().skipped, None, "{:?}", world.notes);
    world.account.well_at = well;
    world.minute();
    assert_eq!(world.account.made.len(), 1);
}

#[test]
fn a_wish_for_one_now_has_ten_minutes_of_its_own() {
    let mut world = hourly();
    world.account.well_at.clear();
    until(&mut world, 1, 8);
    world.edit(item(json!({"frequency": "hourly", "keep": 2, "now": 1})));
    until(&mut world, 1, 16);
    assert_eq!((world.backups().asked, world.backups().skipped.clone()), (0, None));
    until(&mut world, 1, 20);
    assert_eq!(world.backups().asked, 1);
}

#[test]
fn a_backup_of_the_root_leaves_the_other_volumes_out() {
    for (volumes, devices) in [("all", vec!["/dev/xvda", "/dev/sdb"]), ("root", vec!["/dev/xvda"])] {
        let world = World::new(item(json!({"frequency": "hourly", "volumes": volumes}))).quiet().backed_up(1);
        let image = world.account.image(&world.effective().unwrap()).unwrap();
        assert_eq!(image.devices, devices);
    }
}

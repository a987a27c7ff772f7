//! Which backups go, and which must not.

use super::*;

#[test]
fn the_newest_stay_and_older_ones_go_with_their_snapshots() {
    for keep in [1, 2, 3] {
        let mut world = World::new(item(json!({"frequency": "hourly", "keep": keep}))).quiet();
        for _ in 0..5 {
            world = world.backed_up(1);
            world.recycle();
        }
        world.minutes(5);
        assert_eq!(world.available().len(), keep, "{:#?}", world.notes);
        assert_eq!(world.account.our_snapshots().len(), 2 * keep);
        assert_eq!(world.effective(), world.available().pop());
        assert_eq!(world.told(Kind::BackupRemoved), 5 - keep);
    }
}

#[test]
fn the_last_one_from_which_a_member_came_up_well_outlives_a_boot_loop() {
    let mut world = hourly().backed_up(1);
    world.recycle();
    let good = world.effective().unwrap();
    world.boots = false;
    for _ in 0..6 {
        world.minutes(60);
        // Each time the newest is tried, and does not come up; the other member goes on making backups.
        world.interrupt(1);
    }
    world.minutes(30);
    assert!(world.account.is_available(&good), "{:#?}", world.notes);
    assert_eq!(world.available().len(), 3, "two that are kept, and the last good one");
    assert_ne!(world.effective(), Some(good.clone()));
    world.boots = true;
    world.interrupt(1);
    world.minutes(90);
    world.interrupt(1);
    world.minutes(20);
    assert!(!world.account.is_available(&good), "another one has come up well since");
    assert_eq!(world.available().len(), 2);
}

#[test]
fn one_that_a_launch_needs_stays_until_it_is_up() {
    for phase in [None, Some(Phase::Launching), Some(Phase::Attaching)] {
        let mut world = continuous(1).backed_up(1);
        let old = world.effective().unwrap();
        (world.boots, world.is_frozen) = (false, true);
        let now = world.now;
        let member = world.member(1);
        member.phase = phase.unwrap_or(Phase::Launching);
        match phase {
            None => (member.intent, member.instance) = (Some(world::intent(&old, now)), None),
            Some(_) => member.instance.as_mut().unwrap().image_id = old.clone(),
        }
        world.minutes(40);
        assert!(world.account.is_available(&old), "{phase:?}: {:#?}", world.notes);
        world.is_frozen = false;
        world.minutes(30);
        assert!(!world.account.is_available(&old), "{phase:?}: {:#?}", world.notes);
    }
}

#[test]
fn nothing_goes_while_a_members_record_cannot_be_read() {
    let mut world = hourly().backed_up(3);
    let before = world.available();
    assert_eq!(before.len(), 2);
    world.edit(item(json!({"frequency": "hourly", "keep": 1})));
    world.is_unreadable = true;
    world.minutes(50);
    assert_eq!(world.available(), before);
    world.is_unreadable = false;
    world.minutes(2);
    assert_eq!(world.available().len(), 1);
}

#[test]
fn one_that_was_superseded_just_now_stays_for_five_minutes() {
    let mut world = World::new(item(json!({"frequency": "hourly", "keep": 1}))).quiet().backed_up(1);
    let old = world.effective().unwrap();
    world.until_made(2);
    while world.effective().as_ref() == Some(&old) {
        world.minute();
    }
    world.minutes(4);
    assert!(world.account.is_available(&old));
    world.minutes(2);
    assert!(!world.account.is_available(&old));
}

#[test]
fn what_cannot_be_deleted_yet_is_tried_again_and_told_of_once_that_lasts() {
    let mut world = hourly().backed_up(2);
    let oldest = world.available()[0].clone();
    let snapshot = world.account.image(&oldest).unwrap().snapshots[0].clone();
    let theirs = world.account.stand_on(&snapshot);
    world = world.backed_up(1);
    world.minutes(20);
    assert!(!world.account.is_available(&oldest));
    assert!(world.account.our_snapshots().contains(&snapshot), "somebody's image stands on it");
    assert_eq!((world.told(Kind::BackupRemoved), notices(&world.group)), (0, Vec::new()));
    world.minutes(60);
    let told = notices(&world.group).join("\n");
    assert!(told.contains(&format!("{oldest} cannot be removed")) && told.contains("InUse"), "{told}");
    world.account.deregister_by_hand(&theirs);
    world.minutes(3);
    assert!(!world.account.our_snapshots().contains(&snapshot));
    assert!(world.told(Kind::BackupRemoved) > 0);
}

#[test]
fn it_is_gone_only_once_a_read_no_longer_shows_a_snapshot() {
    let mut world = hourly().backed_up(3);
    world.account.lag = SignedDuration::from_secs(40);
    world.account.in_use = 3;
    world = world.backed_up(1);
    world.minutes(20);
    assert_eq!((world.available().len(), world.account.our_snapshots().len()), (2, 4));
    assert_eq!((world.backups().list.len(), world.told(Kind::BackupRemoved)), (2, 2));
}

#[test]
fn nothing_is_rotated_while_it_is_off() {
    let mut world = hourly().backed_up(2);
    world.edit(off());
    world.minutes(300);
    assert_eq!(world.available().len(), 2);
}

#[test]
fn one_that_the_operator_names_as_the_image_stays_however_old_it_is() {
    let mut world = hourly().backed_up(2);
    let oldest = world.available()[0].to_string();
    world.edit(with_image(off(), &oldest));
    world.recycle();
    world.edit(with_image(item(json!({"frequency": "hourly", "keep": 1})), &oldest));
    world = world.backed_up(2);
    // All come up well from a newer one: that it was good is no reason any more.
    world.recycle();
    world = world.backed_up(2);
    world.minutes(20);
    assert!(world.account.is_available(&ami(&oldest)), "{:#?}", world.notes);
    assert!(world.available().len() >= 2, "and the newest is there");
}

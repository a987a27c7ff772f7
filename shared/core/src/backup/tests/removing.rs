//! The group is deleted: its backups stay for the retention, then all of them go.

use super::*;

/// A group that says this of what is deleted, with two backups, and gone.
fn removed(delete: &[&str]) -> World {
    let mut says = item(json!({"frequency": "hourly", "keep": 2}));
    says["retention"]["delete"] = json!(delete);
    let mut world = World::new(says).quiet().backed_up(2);
    world.remove();
    world.forget_proofs();
    world
}

const ALL: [&str; 4] = ["images", "snapshots", "volumes", "networkInterfaces"];

#[test]
fn they_stay_for_the_retention_and_then_all_of_them_go() {
    let mut world = removed(&ALL);
    world.minutes(118);
    assert_eq!((world.available().len(), world.account.our_snapshots().len()), (2, 4));
    assert!(world.effective().is_some());
    world.minutes(6);
    assert_eq!((world.available().len(), world.account.all_snapshots()), (0, 0));
    assert!(world.group.backups.is_some(), "a read may lag");
    world.minutes(11);
    assert_eq!(world.group.backups, None);
    assert_eq!(world.told(Kind::BackupRemoved), 2);
}

#[test]
fn nothing_goes_unless_a_read_right_before_says_that_the_item_is_still_gone() {
    let mut world = removed(&ALL);
    world.item = Some(item(json!({})));
    world.minutes(200);
    assert_eq!(world.available().len(), 2);
    // Begun, it stops as soon as the item is there again.
    world.item = None;
    world.account.in_use = 5;
    world.minute();
    assert!(world.backups().list.iter().all(|it| it.removing.is_some()));
    world.item = Some(item(json!({})));
    world.minutes(30);
    assert_eq!(world.available().len(), 2);
}

#[test]
fn put_back_within_the_retention_everything_is_as_before() {
    let mut world = hourly().backed_up(2);
    let before = (world.available(), world.effective(), world.backups().since);
    world.until_made(3);
    world.remove();
    world.minutes(100);
    world.edit(item(json!({"frequency": "hourly", "keep": 2})));
    let before_effective = before.1.clone();
    assert_eq!((world.effective(), world.backups().since), (before.1, before.2));
    world.minutes(3);
    assert_eq!(world.effective(), world.available().pop(), "the one that was under way is ready");
    world.minutes(10);
    assert_eq!(Some(world.runs(1).1), before_effective, "members started from the one there was");
}

#[test]
fn what_is_not_to_be_deleted_is_handed_over_with_all_it_stands_on() {
    let mut world = removed(&["snapshots"]);
    let images = world.available();
    world.minutes(150);
    assert_eq!(world.group.backups, None);
    assert!(images.iter().all(|id| world.account.is_available(id)));
    assert_eq!((world.available().len(), world.account.our_snapshots().len()), (0, 0));
    assert_eq!(world.account.all_snapshots(), 4);
}

#[test]
fn snapshots_alone_can_be_left_to_the_operator() {
    let mut world = removed(&["images"]);
    let images = world.available();
    world.minutes(150);
    assert_eq!(world.group.backups, None);
    assert!(images.iter().all(|id| world.account.image(id).is_none()));
    assert_eq!((world.account.our_snapshots().len(), world.account.all_snapshots()), (0, 4));
}

#[test]
fn whatever_carries_its_tags_goes_known_or_not() {
    let mut world = removed(&ALL);
    world.account.image_from_nowhere("prod/ring/stray", ImageState::Available);
    let stray = world.account.image_from_nowhere("prod/ring/bare", ImageState::Available);
    world.account.deregister_by_hand(&stray);
    world.minutes(150);
    assert_eq!((world.group.backups.clone(), world.account.all_snapshots()), (None, 0));
}

/// An image that takes hours to be made is there when its group's retention is over.
#[test]
fn one_that_is_still_being_made_is_waited_for() {
    for delete in [&ALL[..], &["images"][..], &[][..]] {
        let mut says = item(json!({"frequency": "hourly", "keep": 2}));
        says["retention"]["delete"] = json!(delete);
        let mut world = World::new(says).quiet();
        world.account.pending = SignedDuration::from_hours(4);
        world.until_made(1);
        world.remove();
        world.minutes(200);
        assert!(world.group.backups.is_some(), "{delete:?}");
        assert_eq!(world.account.ours(ImageState::Pending).len(), 1);
        world.minutes(80);
        assert_eq!(world.group.backups, None, "{delete:?}: {:#?}", world.notes);
        assert_eq!(world.account.ours(ImageState::Available), []);
        assert_eq!(world.account.our_snapshots(), []);
        let left = if delete.contains(&"snapshots") { 0 } else { 2 };
        assert_eq!(world.account.all_snapshots(), left, "{delete:?}");
    }
}

#[test]
fn one_snapshot_that_cannot_go_does_not_hold_the_others_and_is_not_tried_without_end() {
    let mut world = removed(&ALL);
    for name in ["a", "b", "c"] {
        let stray = world.account.image_from_nowhere(name, ImageState::Available);
        let held = world.account.image(&stray).unwrap().snapshots[0].clone();
        world.account.deregister_by_hand(&stray);
        if name == "a" {
            world.account.stand_on(&held);
        }
    }
    world.minutes(150);
    assert_eq!(world.account.our_snapshots().len(), 1, "{:#?}", world.notes);
    assert!(world.group.backups.is_some());
}

#[test]
fn what_lost_our_tags_is_not_in_the_way() {
    let mut world = removed(&ALL);
    let images = world.available();
    world.account.untag_by_hand(&images[0]);
    world.minutes(150);
    assert_eq!(world.group.backups, None, "{:#?}", world.notes);
    assert!(world.account.is_available(&images[0]));
    assert_eq!(world.account.all_snapshots(), 2);
}

#[test]
fn deleted_and_made_again_it_begins_anew() {
    let mut world = removed(&ALL);
    world.minutes(150);
    world.edit(item(json!({"frequency": "hourly", "keep": 2})));
    world.minutes(9);
    assert_eq!((world.backups().line, world.effective()), (1, None));
    let world = world.backed_up(1);
    assert_eq!(world.effective(), world.available().pop());
}

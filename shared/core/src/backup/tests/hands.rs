//! Other hands: tags that are taken off, images that are deregistered, and some that nobody knows.

use super::*;

#[test]
fn an_image_that_lost_our_tags_is_never_deleted_and_keeps_what_it_stands_on() {
    let mut world = hourly().backed_up(2);
    let taken = world.available()[0].clone();
    let snapshots = world.account.image(&taken).unwrap().snapshots.clone();
    world.account.untag_by_hand(&taken);
    world = world.backed_up(2);
    assert!(world.account.is_available(&taken));
    let left = world.account.snapshots(|it| snapshots.contains(&it.id));
    assert_eq!(left.len(), 2);
    assert!(left.values().all(|it| !is_ours(&it.tags)), "else they would be taken for orphans");
    assert!(!world.backups().list.iter().any(|it| it.image == taken));
    assert_eq!(world.available().len(), 2);
}

#[test]
fn a_single_snapshot_that_lost_our_tags_stays_and_the_others_go() {
    let mut world = hourly().backed_up(2);
    let oldest = world.available()[0].clone();
    let snapshots = world.account.image(&oldest).unwrap().snapshots.clone();
    world.account.untag(&Resource::Snapshot(snapshots[0].clone()));
    world = world.backed_up(1);
    world.minutes(10);
    assert!(!world.account.is_available(&oldest));
    let left = world.account.snapshots(|it| snapshots.contains(&it.id));
    assert_eq!(left.keys().collect::<Vec<_>>(), [&snapshots[0]]);
    assert_eq!(world.told(Kind::BackupRemoved), 1);
}

#[test]
fn one_in_effect_that_others_deregistered_is_replaced_after_three_minutes() {
    let mut world = hourly().backed_up(2);
    let both = world.available();
    world.account.deregister_by_hand(&both[1]);
    world.minutes(3);
    assert_eq!(world.effective().as_ref(), Some(&both[1]), "it may be a read that lags");
    world.minutes(1);
    assert_eq!(world.effective().as_ref(), Some(&both[0]));
    world.minutes(4);
    assert_eq!(
        (world.account.our_snapshots().len(), world.told(Kind::BackupRemoved)),
        (4, 0),
        "nothing is deleted for it"
    );
    world.account.deregister_by_hand(&both[0]);
    world.minutes(5);
    assert_eq!(world.effective(), None, "then the operator's image");
    world = world.backed_up(1);
    assert_eq!(world.effective(), world.available().pop());
    world.minutes(20);
    assert!(world.backups().list.iter().all(|it| !both.contains(&it.image)), "{:?}", world.backups().list);
}

#[test]
fn a_read_that_lags_changes_nothing() {
    let mut world = hourly().backed_up(2);
    let seen = world.group.clone();
    world.account.lag = SignedDuration::from_secs(3000);
    world.minute();
    assert!(world.backups().list.iter().any(|it| it.missing_since.is_some()));
    world.account.lag = SignedDuration::ZERO;
    world.minutes(5);
    assert_eq!(world.group.backups, seen.backups);
}

#[test]
fn the_last_good_one_that_others_deregister_does_not_take_the_one_before_with_it() {
    let mut world = World::new(item(json!({"frequency": "hourly", "keep": 3}))).quiet().backed_up(3);
    let all = world.available();
    for (second, backup) in world.group.backups.as_mut().unwrap().list.iter_mut().take(2).enumerate() {
        backup.proven_at = Some(at(second as i64));
    }
    world.account.deregister_by_hand(&all[1]);
    world.edit(item(json!({"frequency": "hourly", "keep": 1})));
    world.minutes(20);
    assert_eq!(world.available(), [all[0].clone(), all[2].clone()], "{:#?}", world.notes);
}

#[test]
fn what_carries_our_tags_and_nobody_knows_is_kept_never_launched_and_goes_in_its_turn() {
    let mut world = hourly().backed_up(1);
    let stray = world.account.image_from_nowhere("prod/ring/stray", ImageState::Available);
    let failed = world.account.image_from_nowhere("prod/ring/failed", ImageState::Failed);
    world.minutes(3);
    assert_ne!(world.effective(), Some(stray.clone()));
    assert!(world.account.is_available(&stray));
    assert!(world.account.image(&failed).is_none(), "one that failed is of no use");
    world.account.deregister_by_hand(&world.effective().unwrap());
    world.minutes(6);
    assert_eq!(world.effective(), None, "nobody knows which line it is of");
    world = world.backed_up(2);
    world.minutes(10);
    assert!(!world.account.is_available(&stray));
    assert_eq!(world.available().len(), 2);
}

/// A removal that is under way goes on, even if a read did not show the image just then.
#[test]
fn one_that_a_lagging_read_did_not_show_is_deregistered_all_the_same() {
    let mut world = hourly().backed_up(2);
    let backups = world.group.backups.as_mut().unwrap();
    let oldest = backups.list[0].image.clone();
    let now = world.now;
    backups.list[0].removing = Some(Removing { is_off: true, ..Removing::new("a test".to_owned(), now) });
    world.minutes(4);
    assert!(!world.account.is_available(&oldest));
    assert_eq!(world.account.our_snapshots().len(), 2);
}

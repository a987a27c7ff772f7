//! What the orphan pass makes of backups.

use super::*;
use crate::observation::Observation;
use crate::orphans::{Finding, Found, group_of, is_backup, judge_backup};

fn observed(world: &World) -> Observation {
    Observation {
        images: world.account.images(|it| is_ours(&it.tags)),
        snapshots: world.account.snapshots(|it| is_ours(&it.tags)),
        ..Observation::default()
    }
}

fn findings(world: &World) -> Vec<Finding> {
    let seen = observed(world);
    crate::orphans::all(&seen).into_iter().map(|it| judge_backup(it, Some(&world.group), &seen)).collect()
}

fn is_explained(all: &[Finding]) -> bool {
    all.iter().all(|it| matches!(it, Finding::Explained))
}

#[test]
fn nothing_that_the_group_has_or_is_at_work_on_is_an_orphan() {
    let mut world = hourly().backed_up(2);
    assert!(is_explained(&findings(&world)));
    let seen = observed(&world);
    for it in crate::orphans::all(&seen) {
        assert!(is_backup(it));
        assert_eq!(group_of(it), Some(group_name()));
    }
    world.until_made(3);
    assert!(is_explained(&findings(&world)), "one is being made");
    // Its snapshots are there before its image is shown.
    let mut seen = observed(&world);
    seen.images.retain(|_, it| it.state != ImageState::Pending);
    let all = crate::orphans::all(&seen);
    let found: Vec<_> = all.into_iter().map(|it| judge_backup(it, Some(&world.group), &seen)).collect();
    assert!(is_explained(&found));
    let oldest = world.available()[0].clone();
    world.account.deregister_by_hand(&oldest);
    assert!(is_explained(&findings(&world)), "it is noticed in a minute or three");
    world.minutes(20);
    assert!(is_explained(&findings(&world)));
}

#[test]
fn a_snapshot_that_no_image_stands_on_is_needed_by_nobody() {
    let mut world = hourly().backed_up(1);
    let stray = world.account.image_from_nowhere("stray", ImageState::Available);
    let left = world.account.image(&stray).unwrap().snapshots[0].clone();
    world.account.deregister_by_hand(&stray);
    let found = findings(&world);
    assert_eq!(found.iter().filter(|it| matches!(it, Finding::Delete(_))).count(), 1);
    let seen = observed(&world);
    let snapshot = Found::Snapshot(&seen.snapshots[&left]);
    assert!(matches!(judge_backup(snapshot, None, &seen), Finding::Report(_)), "no record, no proof");
    let mut bare = world.group.clone();
    bare.backups = None;
    assert!(matches!(judge_backup(snapshot, Some(&bare), &seen), Finding::Delete(_)));
    let image = seen.images.values().next().unwrap();
    assert!(matches!(judge_backup(Found::Image(image), Some(&bare), &seen), Finding::Report(_)));
    let gone = ImageFacts { state: ImageState::Gone, ..image.clone() };
    assert!(matches!(judge_backup(Found::Image(&gone), None, &seen), Finding::Explained));
}

#[test]
fn an_instance_with_such_tags_is_told_of() {
    let mut world = hourly();
    let (id, _) = world.runs(1);
    let facts = world.account.instances[&id].clone();
    let found = Found::Instance(&facts);
    assert!(!is_backup(found) && group_of(found).is_none());
    let finding = judge_backup(found, Some(&world.group), &Observation::default());
    assert!(matches!(finding, Finding::Report(_)));
}

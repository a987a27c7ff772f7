//! From the call to an image that counts, or to nothing.

use super::*;

#[test]
fn an_image_counts_once_it_is_available_and_not_before() {
    let mut world = hourly();
    world.until_made(1);
    for _ in 0..4 {
        world.minute();
        assert_eq!((world.effective(), world.available().len()), (None, 0));
    }
    world.minutes(1);
    assert_eq!((world.effective(), world.available().len()), (Some(world.available()[0].clone()), 1));
    let backup = &world.backups().list[0];
    assert_eq!((backup.snapshots.len(), backup.line), (2, 1));
    assert_eq!(world.told(Kind::BackupCreated), 1);
    let image = world.account.image(&backup.image).unwrap();
    assert!(is_ours(&image.tags) && image.tags["Name"] == "ring backup", "{:?}", image.tags);
}

#[test]
fn one_that_fails_or_vanishes_never_counts_and_another_attempt_is_made() {
    for trouble in [Trouble::Fails, Trouble::Vanishes] {
        let mut world = hourly().backed_up(1);
        let before = world.effective();
        world.account.troubles.push_back(trouble);
        world.until_made(2);
        for _ in 0..4 {
            world.minute();
            assert_eq!(world.effective(), before, "{trouble:?}");
        }
        world.until_made(3);
        assert_eq!(world.effective(), before, "{trouble:?}");
        world.minutes(7);
        assert_ne!(world.effective(), before, "{trouble:?}");
        assert_eq!((world.told(Kind::BackupFailed), world.account.ours(ImageState::Failed)), (1, vec![]));
    }
}

#[test]
fn three_attempts_are_made_and_then_it_is_left_until_it_is_due_again() {
    let mut world = hourly();
    world.account.troubles.extend([Trouble::Fails; 4]);
    world.minutes(100);
    assert_eq!((world.account.made.len(), world.effective()), (3, None));
    assert!(notices(&world.group)[0].contains("the last attempt failed"), "{:?}", notices(&world.group));
    world.minutes(40);
    assert_eq!(world.account.made.len(), 5);
    assert_eq!(world.told(Kind::BackupFailed), 4);
    assert_eq!((world.available().len(), notices(&world.group)), (1, Vec::new()));
}

#[test]
fn a_lost_answer_is_found_by_the_name() {
    for lag in [0, 8, 20] {
        let mut world = hourly();
        world.account.lag = SignedDuration::from_secs(lag);
        world.account.troubles.push_back(Trouble::Lost);
        let world = world.backed_up(1);
        assert_eq!((world.account.made.len(), world.available().len()), (1, 1), "lag {lag}");
        assert_eq!(world.effective(), world.available().pop());
    }
}

#[test]
fn a_name_that_somebody_else_has_is_left_to_them() {
    let mut world = hourly();
    world.account.troubles.push_back(Trouble::NameTaken);
    let mut world = world.backed_up(1);
    assert_eq!((world.available().len(), world.account.made.len()), (1, 1));
    assert!(world.notes.iter().any(|it| it.contains("has its name, and is none of ours")));
    let theirs = world.account.images(|it| !is_ours(&it.tags));
    assert_eq!(theirs.len(), 1);
    assert_ne!(theirs.values().next().unwrap().name, world.account.made[0]);
    world.minutes(200);
    assert_eq!(world.account.images(|it| !is_ours(&it.tags)), theirs);
}

#[test]
fn a_refusal_that_passes_is_waited_out_and_another_one_is_an_attempt_in_vain() {
    for (class, failed) in
        [(Class::Retry, 0), (Class::NotYet, 0), (Class::Quota, 0), (Class::Terminal, 1), (Class::NotFound, 1)]
    {
        let mut world = hourly();
        world.account.troubles.push_back(Trouble::Refused(class));
        let world = world.backed_up(1);
        assert_eq!((world.told(Kind::BackupFailed), world.available().len()), (failed, 1), "{class:?}");
    }
}

#[test]
fn what_ec2_does_not_begin_is_given_up() {
    let mut world = hourly();
    world.account.troubles.extend([Trouble::Refused(Class::NotYet); 200]);
    world.minutes(100);
    assert_eq!((world.told(Kind::BackupFailed), world.account.made.len()), (1, 0));
    assert!(world.backups().failed.as_ref().unwrap().why.contains("did not begin it"));
}

#[test]
fn a_source_that_ends_before_the_call_is_heard_is_replaced_by_another() {
    let mut world = hourly();
    world.account.troubles.push_back(Trouble::Refused(Class::Retry));
    world.minutes(51);
    let source = world.backups().attempt.as_ref().unwrap().source.clone();
    let number = if source.node == group_name().member(1).unwrap() { 1 } else { 2 };
    world.interrupt(number);
    let world = world.backed_up(1);
    assert_eq!(world.available().len(), 1);
    assert!(!world.sources.contains(&source.instance));
}

/// An attempt that was given up may have made its image after all.
#[test]
fn while_any_of_ours_is_pending_no_other_is_begun() {
    let mut world = hourly();
    let stray = world.account.image_from_nowhere("prod/ring/stray", ImageState::Pending);
    world.minutes(70);
    assert_eq!(world.account.made.len(), 0);
    world.account.deregister_by_hand(&stray);
    world.minutes(2);
    assert_eq!(world.account.made.len(), 1);
}

#[test]
fn one_that_is_turned_off_meanwhile_is_kept_but_not_put_in_force() {
    let mut world = hourly().backed_up(1);
    let before = world.effective();
    world.until_made(2);
    world.edit(off());
    world.minutes(10);
    assert_eq!((world.effective(), world.available().len()), (before, 2));
}

#[test]
fn what_became_of_a_call_that_another_invocation_gave_up_is_no_ones() {
    let mut world = hourly();
    world.account.troubles.push_back(Trouble::Refused(Class::NotYet));
    world.minutes(51);
    let scope = Scope { deployment: DEPLOYMENT, now: world.now };
    let mut request = request_of(&world);
    request.name.push('x');
    let said = absorb(&world.group, &Step::Create(Box::new(request)), Ok(Some(ami("ami-9"))), scope);
    assert_eq!(said.record, world.group);
}

fn request_of(world: &World) -> BackupRequest {
    let attempt = world.backups().attempt.clone().unwrap();
    BackupRequest {
        instance: attempt.source.instance,
        name: attempt.name,
        description: String::new(),
        without: Vec::new(),
        tags: Tags::new(),
    }
}

//! Every story with a pass that dies: between any two writes, before and after each call. All end alike.

use super::*;

type Story = fn(&mut World);

fn tell(start: &World, story: Story, dies_at: Option<usize>) -> World {
    let mut world = start.clone();
    (world.points, world.dies_at) = (0, dies_at);
    story(&mut world);
    world
}

/// Tells a story with a crash at each of its points, and once without.
fn at_every_point(name: &str, start: &World, story: Story, ends: &str) {
    let plain = tell(start, story, None);
    let stand = plain.stand();
    assert!(stand.contains(ends), "{name}: {stand}\n{:#?}", plain.notes);
    assert!(plain.points > 4, "{name}: nothing happens");
    for point in 1..=plain.points {
        let world = tell(start, story, Some(point));
        assert_eq!(world.stand(), stand, "{name}, died at {point} of {}: {:#?}", plain.points, world.notes);
        let done = |it: &World| (it.account.made.len(), it.account.all_snapshots(), it.available().len());
        assert_eq!(done(&world), done(&plain), "{name}, died at {point}: nothing is doubled");
    }
}

#[test]
fn a_backup_is_made_once_and_older_ones_go() {
    at_every_point("the first", &hourly().before_due(), |it| it.minutes(15), "1 there, 1 listed");
    let keep = World::new(item(json!({"frequency": "hourly", "keep": 1}))).quiet().backed_up(1).before_due();
    at_every_point("rotation", &keep, |it| it.minutes(90), "1 there, 1 listed, 2 snapshots of 2");
    let many = hourly().backed_up(2);
    let fewer: Story = |it| {
        it.edit(item(json!({"frequency": "hourly", "keep": 1, "now": 1})));
        it.minutes(30);
    };
    at_every_point("fewer", &many, fewer, "1 there, 1 listed, 2 snapshots of 2");
    let slow: Story = |it| {
        it.account.lag = SignedDuration::from_secs(20);
        it.account.in_use = 2;
        it.edit(item(json!({"frequency": "hourly", "keep": 1, "now": 1})));
        it.minutes(25);
    };
    at_every_point("reads that lag", &many, slow, "1 there, 1 listed, 2 snapshots of 2");
}

#[test]
fn troubles_end_alike_wherever_the_pass_dies() {
    for trouble in [
        Trouble::Lost,
        Trouble::Fails,
        Trouble::Vanishes,
        Trouble::NameTaken,
        Trouble::Refused(Class::Quota),
        Trouble::Refused(Class::Terminal),
        Trouble::Refused(Class::Retry),
    ] {
        let mut start = hourly().backed_up(2).before_due();
        start.account.troubles.push_back(trouble);
        at_every_point(
            &format!("{trouble:?}"),
            &start,
            |it| it.minutes(95),
            "2 there, 2 listed, 4 snapshots",
        );
    }
}

#[test]
fn other_hands_and_interruptions_end_alike() {
    let start = hourly().backed_up(2);
    let gone: Story = |it| {
        let effective = it.effective().unwrap();
        it.account.deregister_by_hand(&effective);
        it.minutes(75);
    };
    at_every_point(
        "deregistered",
        &start,
        gone,
        "2 there, 2 listed, 6 snapshots of 6, effective is newest: true",
    );
    let taken: Story = |it| {
        let oldest = it.available()[0].clone();
        it.account.untag_by_hand(&oldest);
        it.minutes(75);
    };
    at_every_point("taken", &start, taken, "2 there, 2 listed, 4 snapshots of 6");
    let source: Story = |it| {
        it.minutes(54);
        it.recycle();
        it.minutes(20);
    };
    at_every_point("interrupted", &start, source, "2 there, 2 listed");
}

#[test]
fn another_image_is_the_one_wherever_the_pass_dies() {
    let story: Story = |it| {
        it.edit(with_image(off(), "ami-base2"));
        it.recycle();
        it.edit(with_image(item(json!({"frequency": "hourly", "keep": 1})), "ami-base2"));
        it.minutes(60);
        it.recycle();
        it.minutes(60);
    };
    at_every_point("another image", &hourly().backed_up(2), story, "line 2");
}

#[test]
fn a_purge_leaves_nothing_wherever_the_pass_dies() {
    for (delete, ends) in [
        (vec!["images", "snapshots"], "none, 0 snapshots"),
        (vec!["images"], "none, 0 snapshots"),
        (vec!["snapshots"], "none, 0 snapshots"),
        (vec![], "none, 0 snapshots"),
    ] {
        let mut says = item(json!({"frequency": "hourly", "keep": 2}));
        says["retention"]["delete"] = json!(delete);
        let mut start = World::new(says).quiet().backed_up(2);
        start.remove();
        start.forget_proofs();
        start.minutes(110);
        let all = start.account.all_snapshots();
        at_every_point(&format!("{delete:?}"), &start, |it| it.minutes(40), ends);
        let end = tell(&start, |it| it.minutes(40), None);
        let left = if delete.contains(&"images") && delete.contains(&"snapshots") { 0 } else { all };
        assert_eq!(end.account.all_snapshots(), left, "{delete:?}");
    }
}

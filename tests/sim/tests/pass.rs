//! The snapshot pass in trouble: throttled, refused, slow, suspended, with a person in between.

use perennial_sim::scale::{Case, Figures, Fleet, case, play};
use perennial_sim::world::Deed;

/// A fleet whose lines are full, with what happens in its next pass.
fn settled(case: Case, upon: Option<(&'static str, Deed)>) -> Result<Fleet, String> {
    let mut fleet = Fleet::of(case)?;
    fleet.minutes(case.warm_up);
    fleet.reset();
    fleet.world.0.borrow_mut().upon = upon;
    Ok(fleet)
}

fn calls(fleet: &Fleet, name: &str) -> u64 {
    fleet.world.0.borrow().calls.get(name).copied().unwrap_or_default()
}

fn lagging(figures: &Figures) -> &str {
    figures.reasons.get("SnapshotsLagging").map_or("", String::as_str)
}

#[test]
fn a_pace_above_the_quota_is_slowed_down_by_throttles() {
    let figures = play(case(1_500, None, Some(36), 20, 30)).unwrap();
    assert_eq!(figures.by_node.len(), 1_500, "every node is served");
    assert!(figures.percentile(99) <= 420.0, "{}", figures.percentile(99));
    assert!(figures.throttled_share() < 0.1, "{}", figures.throttled_share());
}

#[test]
fn refused_nodes_keep_nobody_waiting_and_are_told_of() {
    let figures = play(Case { refused: 250, ..case(900, None, None, 40, 30) }).unwrap();
    assert_eq!(figures.by_node.len(), 650, "every other node is served");
    assert!(figures.percentile(99) <= 365.0, "{}", figures.percentile(99));
    assert!(lagging(&figures).contains("KMSKeyDisabled") || lagging(&figures).contains("refused again"));
    // A hundred and thirty a minute are for the healthy.
    assert!(figures.busiest_minute < 200, "{}", figures.busiest_minute);
}

#[test]
fn a_fleet_that_outgrew_its_pace_is_told_of_with_the_remedy() {
    let figures = play(case(400, None, Some(1), 20, 30)).unwrap();
    assert!(lagging(&figures).contains("settings.snapshotsPerSecond allows 1"), "{}", lagging(&figures));
    assert!(figures.unfairness() < 1.1, "{}", figures.unfairness());
    assert!(figures.busiest_minute <= 59, "{}", figures.busiest_minute);
}

#[test]
fn slow_reads_leave_time_for_calls_and_end_before_the_deadline() {
    // Reads of half a minute and more: what is left of the minute is used, and no more than that.
    let figures = play(Case { page: 30_000, ..case(900, None, Some(5), 15, 20) }).unwrap();
    assert_eq!(figures.failed, 0);
    assert!(figures.taken >= 20 * 15 * 5, "{}", figures.taken);
    assert!(figures.busiest_minute <= 200, "{}", figures.busiest_minute);
    assert!(figures.longest_pass < 120.0, "{}", figures.longest_pass);
    assert!(lagging(&figures).contains("ran out of time"), "{}", lagging(&figures));
}

#[test]
fn what_was_kept_by_hand_meanwhile_is_not_deleted() {
    let mut fleet = settled(case(100, None, Some(5), 30, 0), None).unwrap();
    let kept = |fleet: &Fleet| {
        let world = fleet.world.0.borrow();
        world.cloud.snapshots().filter(|it| !it.tags.contains_key("perennial:deployment")).count()
    };
    // After the read that says what there is to do, and before the first call that does it.
    fleet.world.0.borrow_mut().upon = Some(("EC2:CreateSnapshot", Deed::KeepsSnapshots));
    fleet.minutes(1);
    let before = kept(&fleet);
    assert!(before > 0);
    fleet.minutes(10);
    assert_eq!(kept(&fleet), before);
}

#[test]
fn nothing_is_deleted_whose_successor_was_deleted_by_hand() {
    let deleted = |upon| {
        let mut fleet = settled(case(60, None, Some(5), 28, 0), upon).unwrap();
        fleet.minutes(1);
        calls(&fleet, "EC2:DeleteSnapshot")
    };
    assert!(deleted(None) > 0);
    assert_eq!(deleted(Some(("EC2:CreateSnapshot", Deed::DeletesNewest))), 0);
}

#[test]
fn a_suspension_stops_the_pass_under_way() {
    let mut fleet = settled(case(600, None, Some(2), 20, 0), None).unwrap();
    fleet.world.0.borrow_mut().upon = Some(("EC2:CreateSnapshot", Deed::Suspends));
    fleet.minutes(1);
    let made = calls(&fleet, "EC2:CreateSnapshot");
    assert!(made <= 3 * 12, "ten seconds and a beat, not a minute: {made}");
    fleet.minutes(3);
    assert_eq!(calls(&fleet, "EC2:CreateSnapshot"), made);
}

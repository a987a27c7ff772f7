//! What a minute's figures say of blocked, recovering and resting nodes, with every event lost.

use jiff::SignedDuration;
use perennial_core::census::Census;
use perennial_core::phase::Phase;
use perennial_sim::account::{NODE, item_of};
use perennial_sim::faults::Plan;
use perennial_sim::run::{Delivery, Run};

const OTHER: &str = "other";

/// Two nodes that have run for a while.
fn settled() -> Run {
    let mut run = Run::new(7, Delivery::Lost, Plan::None);
    for node in [NODE, OTHER] {
        let item = item_of(&run, node);
        run.put(item);
    }
    for node in [NODE, OTHER] {
        assert!(run.until_settled(node, 1, SignedDuration::from_mins(30)));
    }
    run.pass(SignedDuration::from_mins(2));
    run
}

/// The figures of the next tick: how many are blocked, and the longest recovery in seconds.
fn minute(run: &mut Run) -> (usize, i64, Census) {
    run.pass(SignedDuration::from_mins(1));
    let Some((at, tick)) = run.last_tick.clone() else { panic!("no tick has run yet") };
    (tick.census.blocked_nodes(), tick.census.recovery(at).as_secs(), tick.census)
}

fn loads(run: &Run) -> u64 {
    run.world.0.borrow().calls.get("Store:Load").copied().unwrap_or_default()
}

#[test]
fn a_recovery_counts_from_the_loss_until_the_node_runs_again() {
    let mut run = settled();
    let (blocked, recovery, census) = minute(&mut run);
    assert_eq!((blocked, recovery, census.phases[&Phase::Running]), (0, 0, 2));
    run.capacity(Some(0));
    run.interrupt(NODE, false);
    let figures: Vec<_> = (0..15).map(|_| minute(&mut run)).collect();
    let (blocked, recovery, census) = &figures[14];
    assert_eq!((*blocked, census.away), (1, 1), "the ladder has no capacity: {census:?}");
    assert_eq!(census.blocked.keys().collect::<Vec<_>>(), ["capacity"]);
    assert_eq!(census.longest.as_ref().unwrap().0.as_str(), NODE);
    // The tick that finds the instance gone has read the index before: it is told of at the next one.
    let minutes: Vec<i64> = figures.iter().map(|it| it.1).skip_while(|it| *it == 0).collect();
    assert!(minutes.len() >= 13, "{minutes:?}");
    assert!(minutes.windows(2).all(|pair| pair[1] - pair[0] == 60), "{minutes:?}");
    assert!(*recovery > 600, "an alarm on ten minutes has gone off: {recovery}");
    run.capacity(None);
    assert!(run.until_settled(NODE, 2, SignedDuration::from_mins(30)));
    let (blocked, recovery, census) = minute(&mut run);
    assert_eq!((blocked, recovery, census.away), (0, 0, 0));
}

#[test]
fn a_pause_is_no_recovery_and_a_resumption_is_one() {
    let mut run = settled();
    run.want(NODE, "paused");
    for _ in 0..20 {
        let (blocked, recovery, census) = minute(&mut run);
        assert_eq!((blocked, recovery, census.away), (0, 0, 0), "{census:?}");
    }
    assert_eq!(run.last_tick.as_ref().unwrap().1.census.phases[&Phase::Paused], 1);
    run.capacity(Some(0));
    run.want(NODE, "running");
    let figures: Vec<i64> = (0..5).map(|_| minute(&mut run).1).collect();
    assert!(figures[4] > 120 && figures[4] <= 300, "from the resumption on, not from the pause: {figures:?}");
    run.want(NODE, "deallocated");
    run.pass(SignedDuration::from_mins(3));
    assert_eq!(minute(&mut run).1, 0, "who is not wanted is not missed");
}

#[test]
fn steady_nodes_cost_no_read_and_entries_of_an_older_version_are_read_until_their_next_write() {
    let mut run = settled();
    let before = loads(&run);
    assert_eq!(minute(&mut run).2.phases[&Phase::Running], 2);
    assert_eq!(loads(&run) - before, 2, "one each to compare its item; they are counted by the index alone");
    run.want(OTHER, "paused");
    run.pass(SignedDuration::from_mins(20));
    run.capacity(Some(0));
    run.interrupt(NODE, false);
    run.pass(SignedDuration::from_mins(10));
    run.world.0.borrow_mut().untold = [NODE, OTHER].map(str::to_owned).into();
    let (blocked, recovery, census) = minute(&mut run);
    assert_eq!((blocked, census.away, census.phases[&Phase::Paused]), (1, 1, 1), "{census:?}");
    assert!(recovery > 300, "{recovery}");
    run.pass(SignedDuration::from_mins(6));
    assert!(run.world.0.borrow().untold.is_empty(), "nodes that do not simply run are written now and then");
}

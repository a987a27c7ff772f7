//! Many nodes at once: the snapshot pass keeps its budgets.

use perennial_sim::scale::{case, play};

#[test]
fn fifteen_hundred_nodes_keep_their_interval_within_the_default_quota() {
    let case = case(1_500, None, Some(5), 25, 30);
    let figures = play(case).unwrap();
    assert_eq!(figures.by_node.len(), 1_500, "every node is served");
    assert_eq!(figures.failed, 0);
    assert!(figures.percentile(99) <= 330.0, "{}", figures.percentile(99));
    assert!(figures.calls_per_node_tick() <= 2.1, "{}", figures.calls_per_node_tick());
    assert_eq!(figures.writes, 0, "a steady node writes nothing");
    assert!(figures.throttled_share() < 0.001, "{}", figures.throttled);
    assert!(figures.lines.0 >= 3 && figures.lines.1 <= 4, "{:?}", figures.lines);
}

#[test]
fn a_larger_fleet_costs_no_more_each_and_is_served_alike() {
    let few = play(case(100, None, Some(5), 20, 10)).unwrap();
    let case = case(2_500, Some(12), Some(10), 12, 7);
    let many = play(case).unwrap();
    assert!(many.calls_per_node_tick() <= few.calls_per_node_tick(), "{}", many.calls_per_node_tick());
    assert_eq!(many.broken(case), [""; 0]);
}

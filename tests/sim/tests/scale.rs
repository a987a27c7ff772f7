//! Many nodes at once: the snapshot pass keeps its budgets.

use perennial_sim::scale::{Case, play};

#[test]
fn fifteen_hundred_nodes_keep_their_interval_within_the_default_quota() {
    let case = Case { nodes: 1_500, quota: None, per_second: Some(5), warm_up: 25, minutes: 30 };
    let figures = play(case).unwrap();
    assert_eq!(figures.by_node.len(), 1_500, "every node is served");
    assert_eq!(figures.failed, 0);
    assert!(figures.percentile(99) <= 330.0, "{}", figures.percentile(99));
    assert!(figures.calls_per_node_tick() <= 2.1, "{}", figures.calls_per_node_tick());
    assert_eq!(figures.writes, 0, "a steady node writes nothing");
    assert!(figures.throttled_share() < 0.001, "{}", figures.throttled);
    assert!(figures.lines.0 >= 3 && figures.lines.1 <= 4, "{:?}", figures.lines);
}

//! Every story ends as it should, however events are delivered, and each step may be taken twice.

use perennial_sim::faults::Plan;
use perennial_sim::run::Delivery;
use perennial_sim::stories::all;

fn tell_all(delivery: Delivery, faults: Plan) {
    let mut failed = Vec::new();
    for story in all() {
        let straight = story.tell(Delivery::Faithful, Plan::None).map(|(_, end)| end);
        let end = story.tell(delivery, faults).map(|(_, end)| end);
        match (straight, end) {
            (Ok(straight), Ok(end)) if straight == end => {}
            (Ok(straight), Ok(end)) => {
                failed.push(format!("{}: ends apart:\n  {straight:?}\n  {end:?}", story.name));
            }
            (Err(problem), _) | (_, Err(problem)) => failed.push(format!("{}: {problem}", story.name)),
        }
    }
    assert!(
        failed.is_empty(),
        "{} of {} stories failed:\n{}",
        failed.len(),
        all().len(),
        failed.join("\n\n")
    );
}

#[test]
fn faithfully_delivered() {
    tell_all(Delivery::Faithful, Plan::None);
}

#[test]
fn delivered_twice() {
    tell_all(Delivery::Doubled, Plan::None);
}

#[test]
fn never_delivered() {
    tell_all(Delivery::Lost, Plan::None);
}

#[test]
fn delivered_late_and_out_of_order() {
    for seed in 0..8 {
        tell_all(Delivery::Random(seed), Plan::None);
    }
}

#[test]
fn every_step_taken_twice() {
    tell_all(Delivery::Faithful, Plan::Repeat);
}

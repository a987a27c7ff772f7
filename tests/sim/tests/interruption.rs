//! One interruption survived, whatever goes wrong on the way.

use perennial_sim::faults::{Fault, Plan};
use perennial_sim::run::Delivery;
use perennial_sim::stories::{Taking, interrupted, of_seed};

#[test]
fn a_node_comes_back_however_it_is_taken_and_events_are_delivered() {
    for taking in Taking::ALL {
        for delivery in [Delivery::Faithful, Delivery::Doubled, Delivery::Lost] {
            if let Err(problem) = interrupted(1, delivery, Plan::None, taking) {
                panic!("{taking:?}, {delivery:?}: {problem}");
            }
        }
    }
}

/// Breaks every call of a story in every way, one at a time.
fn every_call_goes_wrong(taking: Taking) {
    let straight = interrupted(1, Delivery::Faithful, Plan::None, taking);
    let calls =
        straight.map(|run| run.world.0.borrow().next_call).unwrap_or_else(|problem| panic!("{problem}"));
    assert!(calls > 100, "only {calls} calls: the story is not told");
    for call in 0..calls {
        for fault in Fault::ALL {
            if let Err(problem) = interrupted(1, Delivery::Faithful, Plan::One(call, fault), taking) {
                panic!("{taking:?}, {fault:?} at call {call} of {calls}: {problem}");
            }
        }
    }
}

// One test each, so that they run side by side.

#[test]
fn a_noticed_node_comes_back_whichever_call_goes_wrong() {
    every_call_goes_wrong(Taking::Noticed);
}

#[test]
fn a_suddenly_taken_node_comes_back_whichever_call_goes_wrong() {
    every_call_goes_wrong(Taking::Sudden);
}

#[test]
fn a_node_terminated_by_hand_comes_back_whichever_call_goes_wrong() {
    every_call_goes_wrong(Taking::ByHand);
}

#[test]
fn a_node_that_lived_unseen_comes_back_whichever_call_goes_wrong() {
    every_call_goes_wrong(Taking::Unseen);
}

#[test]
fn a_node_comes_back_in_the_story_of_any_seed() {
    for seed in 0..500 {
        if let Err(problem) = of_seed(seed) {
            panic!("make sim SEEDS=1 FIRST_SEED={seed}: {problem}");
        }
    }
}

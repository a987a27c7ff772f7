//! One interruption survived, whatever goes wrong on the way.

use perennial_sim::faults::{Fault, Plan};
use perennial_sim::run::Delivery;
use perennial_sim::stories::{Taking, interrupted};

#[test]
fn a_node_comes_back_however_it_is_taken_and_events_are_delivered() {
    for taking in Taking::ALL {
        for delivery in [Delivery::Faithful, Delivery::Doubled, Delivery::Lost] {
            if let Err(problem) = interrupted(1, delivery, Plan::NONE, taking) {
                panic!("{taking:?}, {delivery:?}: {problem}");
            }
        }
    }
}

#[test]
fn a_node_comes_back_whichever_call_goes_wrong_and_however() {
    for taking in Taking::ALL {
        let calls = interrupted(1, Delivery::Faithful, Plan::NONE, taking).unwrap().world.0.borrow().next_call;
        for call in 0..calls {
            for fault in Fault::ALL {
                if let Err(problem) = interrupted(1, Delivery::Faithful, Plan::one(call, fault), taking) {
                    panic!("{taking:?}, {fault:?} at call {call} of {calls}: {problem}");
                }
            }
        }
    }
}

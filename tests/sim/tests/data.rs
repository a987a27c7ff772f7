//! Data volumes over many cycles: the same names, and every byte.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail as loudly as the test itself")]

use jiff::SignedDuration;
use perennial_sim::account::NODE;
use perennial_sim::deeds::{BY_HAND, MAPPED};
use perennial_sim::faults::Plan;
use perennial_sim::run::{Delivery, Run};
use perennial_sim::stories::told;
use serde_json::json;

const HOUR: SignedDuration = SignedDuration::from_hours(1);
const CYCLES: u32 = 100;

fn run_with_data(mode: &str) -> Run {
    let mut run = Run::new(1, Delivery::Faithful, Plan::None);
    let data = json!({"mode": mode, "snapshotEvery": "2m"});
    let item = run.item_with_data(NODE, json!({"root": {"snapshotEvery": "2m"}, "data": data}));
    run.put(item);
    assert!(run.until(HOUR, |run| run.is_settled(NODE)));
    for device in [BY_HAND, "/dev/sdm"] {
        run.attach_fresh(NODE, device, false).unwrap();
    }
    run.pass(SignedDuration::from_mins(5));
    run
}

fn keeps_its_names(mode: &str) {
    let mut run = run_with_data(mode);
    let devices = run.devices(NODE);
    let names: Vec<&str> = devices.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, [MAPPED, BY_HAND, "/dev/sdm", "/dev/xvda"]);
    for cycle in 2..=CYCLES {
        run.interrupt(NODE, cycle % 3 != 0);
        assert!(run.until_settled(NODE, cycle, HOUR), "{}", told(&run, "it did not come back"));
        assert_eq!(run.devices(NODE), devices, "in cycle {cycle}");
    }
    assert_eq!(run.watch.broken, None);
    let record = run.record(NODE).unwrap();
    assert!(record.superseded.is_empty(), "{:?}", record.superseded);
}

#[test]
fn attached_again_a_hundred_times_they_keep_their_names() {
    keeps_its_names("reattach");
}

#[test]
fn copied_a_hundred_times_they_keep_their_names() {
    keeps_its_names("snapshot");
}

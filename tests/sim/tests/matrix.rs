//! The crash matrix: a fixed sample of it in every test run, all of it with `perennial-sim matrix`.

use perennial_sim::matrix::{Share, tell};
use perennial_sim::stories::all;

/// One telling in so many; prime, so that it hits every fault at every kind of call.
const SAMPLE: u64 = 83;

#[test]
fn whichever_call_goes_wrong_and_however_the_end_is_the_same() {
    let outcome = tell(&all(), Share::OneIn(SAMPLE), 2);
    assert_eq!(outcome.failures, 0, "{}\n{}", outcome.size_line(), outcome.failed.join("\n\n"));
    assert!(outcome.told > 1000, "{}", outcome.size_line());
}

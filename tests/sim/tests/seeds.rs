//! Seeds: the first ones, and those that failed once.

use perennial_sim::schedule::{explained, of_seed};

/// Seeds that once showed a defect; each is played in every test run.
const ONCE_FAILED: &[u64] = &[];

fn play(seeds: impl Iterator<Item = u64>) {
    for seed in seeds {
        if let Err(problem) = of_seed(seed) {
            panic!("{}", explained(seed, problem));
        }
    }
}

#[test]
fn the_first_seeds_end_well() {
    play(0..300);
}

#[test]
fn seeds_that_failed_once_end_well() {
    play(ONCE_FAILED.iter().copied());
}

#[test]
fn a_seed_is_the_same_run_every_time() {
    for seed in [1, 2, 3, 4] {
        let calls = |run: perennial_sim::run::Run| run.world.0.borrow().next_call;
        assert_eq!(of_seed(seed).map(calls), of_seed(seed).map(calls));
    }
}

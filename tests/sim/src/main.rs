//! `perennial-sim`: tells the stories of many seeds, on all cores, and says what came of them.

#![expect(clippy::print_stdout, reason = "a command-line program answers on standard output")]

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use clap::{Parser, Subcommand};
use perennial_sim::bench;
use perennial_sim::stories::of_seed;

/// Tells the stories of many seeds; one seed is one run, the same every time.
#[derive(Debug, Parser)]
struct Options {
    /// How many seeds.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first one.
    #[arg(long, default_value_t = 0)]
    first_seed: u64,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Counts what a recovery and a steady node cost, in calls and in virtual time.
    Bench,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if let Some(Command::Bench) = options.command {
        return match bench::report() {
            Ok(report) => {
                print!("{report}");
                ExitCode::SUCCESS
            }
            Err(problem) => {
                println!("the benchmark's own story failed: {problem}");
                ExitCode::FAILURE
            }
        };
    }
    tell(&options)
}

/// Tells the stories of all seeds asked for.
fn tell(options: &Options) -> ExitCode {
    let began = Instant::now();
    let end = options.first_seed.saturating_add(options.seeds);
    let (next, failed) = (AtomicU64::new(options.first_seed), AtomicU64::new(0));
    let (calls, looks) = (AtomicU64::new(0), AtomicU64::new(0));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    match of_seed(seed) {
                        Ok(run) => {
                            calls.fetch_add(run.world.0.borrow().next_call, Ordering::Relaxed);
                            looks.fetch_add(run.watch.looks, Ordering::Relaxed);
                        }
                        Err(problem) => {
                            failed.fetch_add(1, Ordering::Relaxed);
                            println!("seed {seed} failed; again with: make sim SEEDS=1 FIRST_SEED={seed}\n{problem}\n");
                        }
                    }
                }
            });
        }
    });
    let (failed, secs) = (failed.into_inner(), began.elapsed().as_secs_f64());
    println!("{} passed, {failed} failed", options.seeds.saturating_sub(failed));
    println!(
        "{} seeds from {}, {} calls to the world, {} looks at the invariants, {:.0} seeds a second",
        options.seeds,
        options.first_seed,
        calls.into_inner(),
        looks.into_inner(),
        options.seeds as f64 / secs.max(0.001),
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

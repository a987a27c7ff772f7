//! `perennial-sim`: plays many seeds, on all cores, and says what came of them.

#![expect(clippy::print_stdout, reason = "a command-line program answers on standard output")]

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use clap::{Parser, Subcommand};
use perennial_sim::bench;
use perennial_sim::invariants::{INVARIANTS, report};
use perennial_sim::matrix::{Outcome, Share, tell};
use perennial_sim::scale::{self, Case};
use perennial_sim::schedule::{explained, of_seed};
use perennial_sim::stories::all;

/// Plays many seeds; one seed is one run, the same every time.
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
    /// Keeps the snapshots of many nodes going, and counts what that takes.
    Scale {
        /// How many nodes; with none all cases of the benchmark.
        nodes: Option<usize>,
        /// Requests per second that AWS allows for CreateSnapshot and for DeleteSnapshot; with none the default.
        #[arg(long)]
        quota: Option<u32>,
        /// `settings.snapshotsPerSecond`; with none the default.
        #[arg(long)]
        per_second: Option<u32>,
        /// How long a page of a read of EC2 takes on the average, in milliseconds.
        #[arg(long, default_value_t = scale::PAGE)]
        page: u32,
        /// So many nodes' snapshots are always refused.
        #[arg(long, default_value_t = 0)]
        refused: usize,
        /// Minutes before the measuring begins.
        #[arg(long, default_value_t = 30)]
        warm_up: u32,
        /// Minutes measured.
        #[arg(long, default_value_t = 60)]
        minutes: u32,
    },
    /// Breaks every call of every story in every way.
    Matrix {
        /// Only one telling in so many.
        #[arg(long, default_value_t = 1)]
        one_in: u64,
        /// Only stories whose name contains this.
        #[arg(long, default_value = "")]
        story: String,
    },
}

/// Of the crash matrix, seeds play one telling in so many; prime, so that it hits every fault at every kind of call.
const SAMPLE: u64 = 499;

fn main() -> ExitCode {
    let options = Options::parse();
    match &options.command {
        None => seeds(&options),
        Some(Command::Bench) => exit(said(bench::report()) && scaled(&scale::CASES)),
        Some(Command::Scale { nodes: None, .. }) => exit(scaled(&scale::CASES)),
        &Some(Command::Scale { nodes: Some(nodes), quota, per_second, page, refused, warm_up, minutes }) => {
            exit(scaled(&[Case { nodes, quota, per_second, page, refused, warm_up, minutes }]))
        }
        Some(Command::Matrix { one_in, story }) => matrix(*one_in, story),
    }
}

/// Prints a report, or what went wrong with the story behind it.
fn said(report: Result<String, String>) -> bool {
    match report {
        Ok(report) => print!("{report}"),
        Err(problem) => {
            println!("the benchmark's own story failed: {problem}");
            return false;
        }
    }
    true
}

/// Plays cases one after the other, and tells of each as soon as it is over.
fn scaled(cases: &[Case]) -> bool {
    println!("Snapshots of many nodes (virtual time, every 5 minutes, 3 kept; every event lost)");
    cases.iter().all(|case| said(scale::tell(*case)))
}

fn exit(went_well: bool) -> ExitCode {
    if went_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn matrix(one_in: u64, name: &str) -> ExitCode {
    let began = Instant::now();
    let stories: Vec<_> = all().into_iter().filter(|story| story.name.contains(name)).collect();
    let share = if one_in <= 1 { Share::All } else { Share::OneIn(one_in) };
    let outcome = tell(&stories, share, threads());
    for problem in &outcome.failed {
        println!("{problem}\n");
    }
    print!("{}", report(&outcome.checked));
    println!("{} in {:.0} s", outcome.size_line(), began.elapsed().as_secs_f64());
    if outcome.failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Plays all seeds asked for.
fn seeds(options: &Options) -> ExitCode {
    let began = Instant::now();
    let (next, failed) = (AtomicU64::new(0), AtomicU64::new(0));
    let (calls, looks) = (AtomicU64::new(0), AtomicU64::new(0));
    let checked = Mutex::new([0; INVARIANTS.len()]);
    std::thread::scope(|scope| {
        for _ in 0..threads() {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= options.seeds {
                        return;
                    }
                    let seed = options.first_seed.wrapping_add(n);
                    match of_seed(seed) {
                        Ok(run) => {
                            calls.fetch_add(run.world.0.borrow().next_call, Ordering::Relaxed);
                            looks.fetch_add(run.watch.looks, Ordering::Relaxed);
                            let mut checked =
                                checked.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                            checked.iter_mut().zip(run.watch.checked).for_each(|(sum, n)| *sum += n);
                        }
                        // The first few are told in full, and made small.
                        Err(problem) => match failed.fetch_add(1, Ordering::Relaxed) {
                            0..5 => println!("{}\n", explained(seed, problem)),
                            _ => println!(
                                "seed {seed} failed; again with: make sim SEEDS=1 FIRST_SEED={seed}\n"
                            ),
                        },
                    }
                }
            });
        }
    });
    let (failed, secs) = (failed.into_inner(), began.elapsed().as_secs_f64());
    let mut checked = checked.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    // Whoever repeats one seed wants to see that one.
    let mut sample = Outcome::default();
    if options.seeds > 1 {
        sample = tell(&all(), Share::OneIn(SAMPLE), threads());
        sample.failed.iter().for_each(|problem| println!("{problem}\n"));
        checked.iter_mut().zip(sample.checked).for_each(|(sum, n)| *sum += n);
    }
    print!("{}", report(&checked));
    if options.seeds > 1 {
        println!("{}", sample.size_line());
    }
    println!(
        "{} seeds from {}: {} passed, {failed} failed; {} calls to the world, {} looks at the invariants, {:.0} seeds a \
         second",
        options.seeds,
        options.first_seed,
        options.seeds.saturating_sub(failed),
        calls.into_inner(),
        looks.into_inner(),
        options.seeds as f64 / secs.max(0.001),
    );
    if failed == 0 && sample.failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

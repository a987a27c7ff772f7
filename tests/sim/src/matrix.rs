//! The crash matrix: every call of every story goes wrong in every way, one at a time.
//!
//! A story is told once as it should go, and the run is put aside before each act. Then every call is broken
//! from the last point before it, the story told on, and its end compared with the one it should have.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::faults::{Fault, Plan, mix};
use crate::invariants::{End, INVARIANTS, end};
use crate::run::{Delivery, Run};
use crate::stories::{Story, conclude, told};

/// A story told as it should go, with the points from which it can be told again.
struct Straight {
    /// The run before each act, and the number of the first call after it.
    before: Vec<(u64, Run)>,
    calls: u64,
    end: End,
}

fn straight(story: &Story) -> Result<Straight, String> {
    let mut run = Run::new(1, Delivery::Faithful, Plan::None);
    let mut before = Vec::new();
    for act in story.acts {
        before.push((run.world.0.borrow().next_call, run.fork()));
        act.play(&mut run).map_err(|problem| told(&run, &problem))?;
    }
    // What the conclusion calls is only the waiting for quiet; it counts all the same.
    before.push((run.world.0.borrow().next_call, run.fork()));
    conclude(&mut run).map_err(|problem| told(&run, &problem))?;
    let world = run.world.0.borrow();
    let (calls, end) = (world.next_call, end(&world, &run.addresses));
    drop(world);
    Ok(Straight { before, calls, end })
}

/// Tells a story with one fault.
fn broken(story: &Story, straight: &Straight, call: u64, fault: Fault) -> Result<Run, String> {
    let from = straight.before.partition_point(|(first, _)| *first <= call).saturating_sub(1);
    let Some((_, before)) = straight.before.get(from) else { return Err("no point to tell from".to_owned()) };
    let run = before.fork();
    run.world.0.borrow_mut().faults = Plan::One(call, fault);
    let (mut run, end) = story.go_on(run, from)?;
    run.watch.compared();
    match end == straight.end {
        true => Ok(run),
        false => Err(told(&run, &format!("it ends apart:\n  {:?}\n  {end:?}", straight.end))),
    }
}

/// Which faults of the matrix are told.
#[derive(Clone, Copy, Debug)]
pub enum Share {
    /// All of them.
    All,
    /// One in so many, picked by a hash of call and fault, the same every time.
    OneIn(u64),
}

impl Share {
    fn has(self, story: usize, call: u64, fault: usize) -> bool {
        match self {
            Self::All => true,
            Self::OneIn(n) => {
                mix(mix(story as u64) ^ mix(call).rotate_left(8) ^ fault as u64).is_multiple_of(n)
            }
        }
    }
}

/// What came of the matrix.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Stories.
    pub stories: usize,
    /// Calls in all of them together.
    pub points: u64,
    /// How many tellings the whole matrix has: points × faults.
    pub size: u64,
    /// How many were told.
    pub told: u64,
    /// How often each invariant was checked.
    pub checked: [u64; INVARIANTS.len()],
    /// What was not as it must be, the first few.
    pub failed: Vec<String>,
    /// How many were not.
    pub failures: usize,
}

/// Most failures that are told in full.
const TOLD_AT_MOST: usize = 40;

/// Tells a share of the matrix of these stories, on so many threads.
pub fn tell(stories: &[&'static Story], share: Share, threads: usize) -> Outcome {
    let (next, points, tellings) = (AtomicUsize::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let outcome = Mutex::new(Outcome::default());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let Some(story) = stories.get(n) else { return };
                    let one = tell_one(n, story, share);
                    points.fetch_add(one.points, Ordering::Relaxed);
                    tellings.fetch_add(one.told, Ordering::Relaxed);
                    let mut all = outcome.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    all.checked.iter_mut().zip(one.checked).for_each(|(sum, n)| *sum += n);
                    all.failures += one.failures;
                    all.failed.extend(one.failed);
                }
            });
        }
    });
    let mut all = outcome.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    all.failed.truncate(TOLD_AT_MOST);
    let points = points.into_inner();
    Outcome {
        stories: stories.len(),
        points,
        size: points * Fault::ALL.len() as u64,
        told: tellings.into_inner(),
        ..all
    }
}

fn tell_one(n: usize, story: &Story, share: Share) -> Outcome {
    let mut outcome = Outcome::default();
    let straight = match straight(story) {
        Ok(straight) => straight,
        Err(problem) => {
            outcome.failures = 1;
            outcome.failed.push(format!("{}, undisturbed: {problem}", story.name));
            return outcome;
        }
    };
    outcome.points = straight.calls;
    for call in 0..straight.calls {
        for (_, fault) in Fault::ALL.into_iter().enumerate().filter(|(f, _)| share.has(n, call, *f)) {
            outcome.told += 1;
            match broken(story, &straight, call, fault) {
                Ok(run) => {
                    outcome.checked.iter_mut().zip(run.watch.checked).for_each(|(sum, n)| *sum += n);
                }
                Err(problem) => {
                    outcome.failures += 1;
                    if outcome.failed.len() < 2 {
                        let (name, calls) = (story.name, straight.calls);
                        outcome
                            .failed
                            .push(format!("{name}: {fault:?} at call {call} of {calls}: {problem}"));
                    }
                }
            }
        }
    }
    outcome
}

/// One telling of the matrix, for a closer look at it.
///
/// # Errors
/// What was not as it must be.
pub fn again(story: &Story, call: u64, fault: Fault) -> Result<Run, String> {
    broken(story, &straight(story)?, call, fault)
}

impl Outcome {
    /// The size of the matrix, in one line.
    pub fn size_line(&self) -> String {
        format!(
            "crash matrix: {} stories, {} points × {} faults = {} tellings; {} told, {} failed",
            self.stories,
            self.points,
            Fault::ALL.len(),
            self.size,
            self.told,
            self.failures
        )
    }
}

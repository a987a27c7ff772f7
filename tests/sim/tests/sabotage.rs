//! Deliberate defects are seen, so that a run without complaint means something.

use jiff::SignedDuration;
use perennial_cloud::model::Settings;
use perennial_sim::faults::{Fault, Plan};
use perennial_sim::run::{Delivery, Run};
use perennial_sim::sabotage::Defect;
use perennial_sim::stories::{Story, all};

/// What goes wrong around a story while it is told with a defect.
const PLANS: [Plan; 5] = [
    Plan::None,
    Plan::Repeat,
    Plan::Overtake { seed: 1, one_in: 9 },
    Plan::Overtake { seed: 2, one_in: 5 },
    Plan::Random { seed: 3, one_in: 12, calls: 400 },
];

fn run(plan: Plan, defect: Option<Defect>) -> Run {
    let run = Run::new(1, Delivery::Faithful, plan);
    run.world.0.borrow_mut().defect = defect;
    run
}

/// What shows a defect: the story, the plan, and the first line of what was not as it must be.
fn caught(defect: Defect, plan: Plan, story: &Story) -> Option<String> {
    let healthy = story.tell_in(run(plan, None)).map(|(_, end)| end);
    let healthy = healthy.unwrap_or_else(|problem| panic!("{} with {plan:?}: {problem}", story.name));
    let problem = match story.tell_in(run(plan, Some(defect))) {
        Ok((_, end)) if end == healthy => return None,
        Ok((_, end)) => format!("it ends otherwise: {end:?}"),
        Err(problem) => problem,
    };
    let first = problem.lines().next().unwrap_or_default().to_owned();
    Some(format!("{defect:?} ({}) was caught by \"{}\" with {plan:?}: {first}", defect.rule(), story.name))
}

fn first_caught(defect: Defect) -> Option<String> {
    let anywhere =
        PLANS.into_iter().find_map(|plan| all().into_iter().find_map(|story| caught(defect, plan, story)));
    anywhere.or_else(|| with_a_death(defect)).or_else(|| with_slow_snapshots(defect))
}

/// What is only seen when an invocation dies: what it had in mind is lost with it.
fn with_a_death(defect: Defect) -> Option<String> {
    let story = all().into_iter().find(|story| story.name == "interrupted, without a kept interface")?;
    (0..80).find_map(|call| caught(defect, Plan::One(call, Fault::DieAfter), story))
}

/// What is only seen while snapshots are pending for long.
fn with_slow_snapshots(defect: Defect) -> Option<String> {
    let tell = |story: &Story, defect| {
        let settings = Settings { snapshot_base: SignedDuration::from_secs(150), ..Settings::default() };
        let run = Run::in_account(1, Delivery::Faithful, Plan::None, settings);
        run.world.0.borrow_mut().defect = defect;
        story.tell_in(run)
    };
    all().into_iter().find_map(|story| {
        let problem = tell(story, Some(defect)).err().filter(|_| tell(story, None).is_ok())?;
        let first = problem.lines().next().unwrap_or_default().to_owned();
        Some(format!(
            "{defect:?} ({}) was caught by \"{}\", slow snapshots: {first}",
            defect.rule(),
            story.name
        ))
    })
}

#[test]
fn every_defect_is_caught_unless_another_guard_stands_behind_it() {
    let mut missed = Vec::new();
    let mut seen = 0;
    for defect in Defect::ALL {
        match (first_caught(defect), defect.guarded_by()) {
            (Some(how), None | Some(_)) => {
                seen += 1;
                println!("{how}");
            }
            (None, Some(guard)) => println!("{defect:?} ({}) cannot be seen: {guard}", defect.rule()),
            (None, None) => missed.push(format!("{defect:?} ({}) was not caught", defect.rule())),
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
    assert!(seen >= 10, "only {seen} defects were caught");
}

//! Stories: what happens to a node, and what must be so in the end.
//!
//! A story is data: a list of acts. So it can be told again from any point of it, which the crash matrix
//! does for every call.

mod backups;
mod backups_end;
mod data;
mod drift;
mod edits;
mod groups;
mod life;
mod moved;
mod pools;
mod public;

use jiff::SignedDuration;

use crate::faults::Plan;
use crate::invariants::{End, end, settled};
use crate::run::{Delivery, Run};

pub use crate::account::{NODE, item, item_of};

/// One act of a story.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    /// Something is done.
    Do(fn(&mut Run)),
    /// The world goes on until this is so, which it must be in the end.
    Until(&'static str, fn(&Run) -> bool),
    /// The world goes on for so many minutes.
    Minutes(i64),
    /// This must be so now.
    Must(&'static str, fn(&Run) -> bool),
}

/// What happens to a node.
#[derive(Clone, Copy, Debug)]
pub struct Story {
    /// Its name: a sentence.
    pub name: &'static str,
    /// What happens, in order.
    pub acts: &'static [Act],
}

/// All stories.
pub fn all() -> Vec<&'static Story> {
    let groups = groups::STORIES.iter().chain(pools::STORIES).chain(public::STORIES);
    let groups = groups.chain(data::STORIES).chain(moved::STORIES);
    let groups = groups.chain(backups::STORIES).chain(backups_end::STORIES);
    life::STORIES.iter().chain(drift::STORIES).chain(edits::STORIES).chain(groups).collect()
}

/// How long anything may take to come about: longer than every rest, quiet time and token there is.
const PATIENCE: SignedDuration = SignedDuration::from_hours(6);

impl Act {
    /// Plays it.
    ///
    /// # Errors
    /// What did not come about.
    pub fn play(&self, run: &mut Run) -> Result<(), String> {
        let played = match self {
            Self::Do(deed) => {
                deed(run);
                Ok(())
            }
            Self::Minutes(n) => {
                run.pass(SignedDuration::from_mins(*n));
                Ok(())
            }
            Self::Until(what, so) if !run.until(PATIENCE, so) => {
                Err(format!("it did not come about that {what}"))
            }
            Self::Must(what, so) if !so(run) => Err(format!("it is not so that {what}")),
            Self::Until(..) | Self::Must(..) => Ok(()),
        };
        // What broke first is the cause, what did not come about may be its consequence.
        run.watch.broken.clone().map_or(played, Err)
    }
}

impl Story {
    /// Tells it in a fresh account.
    ///
    /// # Errors
    /// What was not as it must be, with the journal up to it.
    pub fn tell(&self, delivery: Delivery, faults: Plan) -> Result<(Run, End), String> {
        self.tell_in(Run::new(1, delivery, faults))
    }

    /// Tells it in a run that has just begun.
    ///
    /// # Errors
    /// As for [`Story::tell`].
    pub fn tell_in(&self, run: Run) -> Result<(Run, End), String> {
        self.go_on(run, 0)
    }

    /// Tells it from an act on, and what comes of it.
    ///
    /// # Errors
    /// As for [`Story::tell`].
    pub fn go_on(&self, mut run: Run, from: usize) -> Result<(Run, End), String> {
        for act in self.acts.iter().skip(from) {
            act.play(&mut run).map_err(|problem| told(&run, &problem))?;
        }
        conclude(&mut run).map_err(|problem| told(&run, &problem))?;
        let end = end(&run.world.0.borrow(), &run.addresses);
        Ok((run, end))
    }
}

/// Waits until all is quiet, and looks at everything once more.
///
/// # Errors
/// What was not as it must be.
pub fn conclude(run: &mut Run) -> Result<(), String> {
    if !run.until(PATIENCE, |run| settled(&run.world.0.borrow())) {
        return Err(run.watch.broken.clone().unwrap_or("it never came to rest".to_owned()));
    }
    // A tick more, so that rotation comes by.
    run.pass(SignedDuration::from_secs(70));
    run.until(PATIENCE, |run| settled(&run.world.0.borrow()));
    run.guests_write = false;
    {
        let world = run.world.0.borrow();
        run.watch.look_at_rest(&world);
    }
    match run.watch.broken.clone() {
        Some(broken) if broken.starts_with("7 ") => orphaned(run, broken),
        broken => broken.map_or(Ok(()), Err),
    }
}

/// What no record knows of goes with the orphan pass: at once if it is adopted, else after a day.
fn orphaned(run: &mut Run, broken: String) -> Result<(), String> {
    let mut later = run.fork();
    later.watch.broken = None;
    later.pass(SignedDuration::from_hours(27));
    later.watch.look_at_rest(&later.world.0.borrow());
    run.watch.broken = None;
    match later.watch.broken {
        Some(still) => Err(format!("{broken}; a day later: {still}")),
        None => Ok(()),
    }
}

/// A problem with the story up to it.
pub fn told(run: &Run, problem: &str) -> String {
    let world = run.world.0.borrow();
    let mut told = format!("{problem}\n");
    for ((pk, sk), entry) in world.state.iter().filter(|((_, sk), _)| sk.starts_with("event#")) {
        let node = pk.trim_start_matches("node#");
        let time = sk.split('#').nth(1).and_then(|time| time.get(11..19)).unwrap_or_default();
        told.push_str(&format!("  {node} {time} [{}] {}\n", entry["phase"], entry["what"]));
    }
    for record in world.records.values() {
        let (name, phase, goal) = (&record.name, record.phase, record.goal);
        told.push_str(&format!(
            "  {name}: {phase}, wanted {goal:?}, cycle {}, work at {:?}, not before {:?}, blocked {:?}, has {:?}, \
             superseded {:?}, status {}\n",
            record.cycle,
            record.work_at,
            record.not_before,
            record.blocked.as_ref().map(|b| (&b.code, &b.message)),
            record.resources(),
            record.superseded,
            world.config.get(&record.name.key()).map_or(serde_json::Value::Null, |i| i["_status"].clone()),
        ));
    }
    for group in world.groups.values() {
        let of = |it: &perennial_core::group::Member| {
            let (name, wish, address, elastic_ip) = (&it.name, it.wish, it.private_ip, &it.elastic_ip);
            let flags = (it.given_up, it.frees_address, it.lost_address, it.item_put, it.recycle);
            format!(
                "    {name}: {wish:?} {address:?} {elastic_ip:?} given up, frees, lost, put, recycle {flags:?}\n"
            )
        };
        let members: String = group.members.iter().map(of).collect();
        let status = world.config.get(&group.name.key()).map(|item| item["_status"].clone());
        told.push_str(&format!(
            "  group {}: removed {}, absent since {:?}, roll {:?}, notices {:?}, status {status:?}\n{members}",
            group.name, group.removed, group.absent_since, group.roll, group.notices
        ));
        if let Some(backups) = &group.backups {
            told.push_str(&format!("    backups: {backups:?}\n"));
        }
    }
    for failure in run.watch.failures.iter().take(5) {
        told.push_str(&format!("  failure: {failure}\n"));
    }
    told.push_str(&format!("  now {}\n", world.cloud.now()));
    told
}

/// Conditions and deeds that many stories share.
mod shared {
    use perennial_core::phase::Phase;
    use perennial_core::record::Record;

    use super::{Act, NODE};
    use crate::invariants::settled;
    use crate::run::Run;

    /// The node begins.
    pub(super) const PUT: Act = Act::Do(|run| run.put_node(NODE));
    /// It runs, and all is done.
    pub(super) const RUNS: Act = Act::Until("the node runs steadily", |run| run.is_settled(NODE));
    /// It runs in its second cycle, and all is done.
    pub(super) const RUNS_AGAIN: Act =
        Act::Until("the node runs steadily in its second cycle", |run| is_settled_in(run, 2));
    /// It is to be paused.
    pub(super) const PAUSE: Act = Act::Do(|run| run.want(NODE, "paused"));
    /// It is to be deallocated.
    pub(super) const DEALLOCATE: Act = Act::Do(|run| run.want(NODE, "deallocated"));
    /// It is to run.
    pub(super) const RUN: Act = Act::Do(|run| run.want(NODE, "running"));
    /// It is to be managed no longer.
    pub(super) const RELEASE: Act = Act::Do(|run| run.want(NODE, "released"));
    /// It is to be replaced.
    pub(super) const RECYCLE: Act =
        Act::Do(|run| run.edit(NODE, |item| item["recycle"] = serde_json::json!(1)));
    /// It rests, and everything needless is gone.
    pub(super) const RESTS: Act =
        Act::Until("the node is paused and tidy", |run| is(run, Phase::Paused) && quiet(run));
    /// It is deallocated.
    pub(super) const DEALLOCATED: Act =
        Act::Until("the node is deallocated", |run| is(run, Phase::Deallocated));
    /// It is gone.
    pub(super) const GONE: Act = Act::Until("the node is gone", |run| is(run, Phase::Gone));
    /// It waits for the operator to accept a loss.
    pub(super) const DATA_MISSING: Act =
        Act::Until("the node is blocked: data-missing", |run| blocked(run, "data-missing"));

    pub(super) fn record_of<T>(run: &Run, of: impl FnOnce(&Record) -> T) -> Option<T> {
        run.world.0.borrow().records.get(NODE).map(of)
    }

    pub(super) fn is(run: &Run, phase: Phase) -> bool {
        record_of(run, |record| record.phase == phase) == Some(true)
    }

    pub(super) fn is_settled_in(run: &Run, cycle: u32) -> bool {
        run.is_settled(NODE) && record_of(run, |record| record.cycle >= cycle) == Some(true)
    }

    pub(super) fn quiet(run: &Run) -> bool {
        settled(&run.world.0.borrow())
    }

    pub(super) fn blocked(run: &Run, code: &str) -> bool {
        record_of(run, |record| record.blocked.as_ref().is_some_and(|blocked| blocked.code == code))
            == Some(true)
    }

    /// Whether so many members of the group run, and all is done.
    pub(super) fn run_steadily(run: &Run, n: usize) -> bool {
        run.running_members().len() == n && quiet(run)
    }

    /// Whether a node stands there.
    pub(super) fn stands(run: &Run, node: &str, phase: Phase) -> bool {
        run.world.0.borrow().records.get(node).is_some_and(|record| record.phase == phase)
    }

    /// Whether a node runs in this cycle or a later one, with nothing left to do for it.
    pub(super) fn runs_in(run: &Run, node: &str, cycle: u32) -> bool {
        run.is_settled(node) && run.record(node).is_some_and(|record| record.cycle >= cycle)
    }

    /// How many backups can be launched.
    pub(super) fn backups(run: &Run) -> usize {
        run.available_backups().len()
    }

    /// Remembers the backup that members are launched from, and how much the first member has written.
    pub(super) fn remember_backup(run: &mut Run) {
        let effective = run.effective().unwrap_or_default();
        run.notes.insert("effective", effective);
        run.notes.insert("written", run.written("cass-1").to_string());
        run.notes.insert("made", run.backups_made().to_string());
    }

    /// Whether members are launched from the backup they were launched from before.
    pub(super) fn same_backup(run: &Run) -> bool {
        run.effective().as_ref() == run.notes.get("effective")
    }

    /// Whether members are launched from a backup that was not there before.
    pub(super) fn newer_backup(run: &Run) -> bool {
        run.effective().is_some() && !same_backup(run)
    }

    /// How many backups were made since the last look.
    pub(super) fn made_since(run: &Run) -> usize {
        let before = run.notes.get("made").and_then(|made| made.parse().ok()).unwrap_or_default();
        run.backups_made().saturating_sub(before)
    }

    /// Whether a node has what was written up to the last look, from the backup made after it.
    pub(super) fn has_what_was_written(run: &Run, node: &str) -> bool {
        let written = run.notes.get("written").and_then(|it| it.parse::<u64>().ok()).unwrap_or(u64::MAX);
        run.descends_from_backup(node) && run.written(node) >= written
    }

    /// Remembers what the members of the group have now.
    pub(super) fn remember_members(run: &mut Run) {
        let seen = members_now(run);
        run.notes.insert("members", seen);
        let instances = instances_now(run);
        run.notes.insert("instances", instances);
    }

    /// Whether each member of the group has the addresses it had, Elastic IP addresses included.
    pub(super) fn same_addresses(run: &Run) -> bool {
        run.notes.get("members") == Some(&members_now(run))
    }

    /// Whether each member of the group is on the instance it was on.
    pub(super) fn same_instances(run: &Run) -> bool {
        run.notes.get("instances") == Some(&instances_now(run))
    }

    fn members_now(run: &Run) -> String {
        let of = |node: &String| format!("{node} {:?} {:?}", run.address(node), run.elastic_ips_of(node));
        run.members().iter().map(of).collect::<Vec<_>>().join(", ")
    }

    fn instances_now(run: &Run) -> String {
        run.members().iter().map(|node| format!("{node} {:?}", run.instance(node))).collect()
    }

    /// Remembers what the node has now.
    pub(super) fn remember(run: &mut Run) {
        let record = run.record(NODE);
        let eni = record.as_ref().and_then(|r| r.network.as_ref()).map(|n| n.eni_id.to_string());
        let root = run.root(NODE);
        let instance = run.instance(NODE);
        let life = record.map(|r| r.life);
        for (key, value) in [("eni", eni), ("root", root), ("instance", instance), ("life", life)] {
            run.notes.insert(key, value.unwrap_or_default());
        }
    }

    /// Whether the node has the interface it had.
    pub(super) fn same_interface(run: &Run) -> bool {
        let eni = record_of(run, |record| record.network.as_ref().map(|n| n.eni_id.to_string())).flatten();
        eni.as_ref() == run.notes.get("eni")
    }
}

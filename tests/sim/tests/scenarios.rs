//! Golden traces: a day in the life of a node, told so that a person can read it.
//!
//! The trace is what the account and the journal show, not what the code says of itself. When a change of
//! behaviour is meant: `UPDATE_GOLDEN=1 cargo test -p perennial-sim --test scenarios`, and read the difference.

#![expect(clippy::unwrap_used, reason = "the helpers of tests stop a test as the tests themselves do")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use perennial_cloud::model::SnapshotState;
use perennial_core::names::{Purpose, TAG_PURPOSE};
use perennial_core::phase::Phase;
use perennial_sim::account::{NODE, item};
use perennial_sim::faults::Plan;
use perennial_sim::run::{Delivery, Run};
use serde_json::json;

const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// What was last seen of a snapshot.
struct Seen {
    name: String,
    purpose: String,
    state: SnapshotState,
}

/// Periodic snapshots of one hour.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Hour {
    taken: usize,
    deleted: usize,
    kept: usize,
}

/// Watches a run and tells of it.
struct Trace {
    start: Timestamp,
    hour: i64,
    counts: Hour,
    /// The first and the last hour that went like this one, with nothing told between them.
    alike: Option<(i64, i64, Hour)>,
    seen: BTreeMap<String, Seen>,
    told: BTreeSet<(String, String)>,
    names: BTreeMap<String, String>,
    numbers: BTreeMap<String, usize>,
    text: String,
}

impl Trace {
    fn of(run: &Run) -> Self {
        Self {
            start: run.now(),
            hour: 0,
            counts: Hour::default(),
            alike: None,
            seen: BTreeMap::new(),
            told: BTreeSet::new(),
            names: BTreeMap::new(),
            numbers: BTreeMap::new(),
            text: String::new(),
        }
    }

    /// Lets the world go on until so long after the beginning, and watches.
    fn until(&mut self, run: &mut Run, after: SignedDuration) {
        let end = self.start + after;
        while run.now() < end {
            let next_hour = self.start + SignedDuration::from_hours(self.hour + 1);
            run.step(end.min(next_hour));
            self.look(run);
            if run.now() >= next_hour {
                self.close_hour();
            }
        }
        assert_eq!(run.watch.broken, None);
    }

    /// What happened since the last look, in the order in which it did.
    fn look(&mut self, run: &Run) {
        let world = run.world.0.borrow();
        let mut news: Vec<(Timestamp, String)> = Vec::new();
        let fresh =
            |(key, _): &(&(String, String), _)| key.1.starts_with("event#") && !self.told.contains(*key);
        let mut journal: Vec<_> = world.state.iter().filter(fresh).collect();
        // The key ends in a generation without leading zeros.
        journal.sort_by_key(|((_, sk), _)| sk.rsplit_once('#').map(|(time, n)| (time, n.len(), n)));
        for (key, entry) in journal {
            self.told.insert(key.clone());
            let (phase, what) = (entry["phase"].as_str().unwrap(), entry["what"].as_str().unwrap());
            let time = entry["time"].as_str().unwrap().parse().unwrap();
            news.push((time, format!("[{phase}] {}", self.plain(what))));
        }
        let ours = world.cloud.snapshots().filter(|it| run.watch.is_ours(&it.tags));
        let ours: BTreeMap<&str, _> = ours.map(|it| (it.id.as_str(), it)).collect();
        for (id, it) in &ours {
            if !self.seen.contains_key(*id) {
                let purpose = it.tags[TAG_PURPOSE].clone();
                let name = self.plain(id);
                news.extend(self.taken(&purpose, &name).map(|line| (it.start_time, line)));
                let state = SnapshotState::Pending;
                self.seen.insert((*id).to_owned(), Seen { name, purpose, state });
            }
            let seen = self.seen.get_mut(*id).unwrap();
            if std::mem::replace(&mut seen.state, it.state) != it.state && !is_periodic(&seen.purpose) {
                let line = format!("{} snapshot {} {:?}", seen.purpose, seen.name, it.state).to_lowercase();
                news.push((it.completes, line));
            }
        }
        let gone: Vec<String> =
            self.seen.keys().filter(|id| !ours.contains_key(id.as_str())).cloned().collect();
        for id in gone {
            let seen = self.seen.remove(&id).unwrap();
            match is_periodic(&seen.purpose) {
                true => self.counts.deleted += 1,
                false => news.push((run.now(), format!("{} snapshot {} deleted", seen.purpose, seen.name))),
            }
        }
        news.sort_by_key(|(time, _)| *time);
        news.into_iter().for_each(|(time, line)| self.tell(time, &line));
    }

    fn taken(&mut self, purpose: &str, name: &str) -> Option<String> {
        if is_periodic(purpose) {
            self.counts.taken += 1;
            return None;
        }
        Some(format!("{purpose} snapshot {name} taken"))
    }

    fn tell(&mut self, time: Timestamp, line: &str) {
        self.flush();
        let second = time.duration_since(self.start).as_secs();
        let (h, m, s) = (second / 3600, second / 60 % 60, second % 60);
        writeln!(self.text, "{h:02}:{m:02}:{s:02}  {line}").unwrap();
    }

    fn close_hour(&mut self) {
        let is_kept = |it: &&Seen| it.state == SnapshotState::Completed && is_rotated(&it.purpose);
        self.counts.kept = self.seen.values().filter(is_kept).count();
        let counts = std::mem::take(&mut self.counts);
        match &mut self.alike {
            Some((_, last, like)) if *like == counts => *last = self.hour,
            _ => {
                self.flush();
                self.alike = Some((self.hour, self.hour, counts));
            }
        }
        self.hour += 1;
    }

    /// Writes down the hours that are over.
    fn flush(&mut self) {
        let Some((first, last, counts)) = self.alike.take() else { return };
        let each = if first == last { "" } else { "each hour " };
        let (Hour { taken, deleted, kept }, end) = (counts, last + 1);
        let line =
            format!("periodic snapshots: {each}{taken} taken, {deleted} deleted, {kept} kept at its end");
        writeln!(self.text, "{first:02}:00–{end:02}:00  {line}").unwrap();
    }

    /// A text without ids: `vol-0abc…` is the first volume that was named, and so on.
    fn plain(&mut self, text: &str) -> String {
        let words = text.split_inclusive(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
        words.map(|word| self.plain_word(word)).collect()
    }

    fn plain_word(&mut self, word: &str) -> String {
        let id = word.trim_end_matches(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
        let Some((kind, hex)) = id.split_once('-') else { return word.to_owned() };
        let is_id = ["i", "vol", "snap", "ami", "eni"].contains(&kind)
            && hex.len() == 17
            && hex.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_id {
            return word.to_owned();
        }
        if !self.names.contains_key(id) {
            let number = self.numbers.entry(kind.to_owned()).or_default();
            *number += 1;
            self.names.insert(id.to_owned(), format!("{kind}-{number}"));
        }
        word.replace(id, &self.names[id])
    }
}

fn is_periodic(purpose: &str) -> bool {
    purpose == Purpose::Periodic.as_str()
}

fn is_rotated(purpose: &str) -> bool {
    Purpose::ROTATED.iter().any(|rotated| rotated.as_str() == purpose)
}

/// Compares with what is written down, or writes it down.
fn compare(name: &str, told: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some_and(|it| it == "1") {
        std::fs::write(&path, told).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == told, "{} is told otherwise:\n{told}", path.display());
}

#[test]
fn one_day_of_one_node() {
    let mut run = Run::new(1, Delivery::Faithful, Plan::None);
    let mut trace = Trace::of(&run);
    trace.text.push_str(
        "One day of one node: snapshotEvery 5m, keep 3. Hours count from the moment its item is put. Ids are\n\
         numbered as they are named; periodic snapshots, which may be any of snap-n, are told by the hour.\n\n",
    );
    let mut item = item(&run);
    item["persist"]["root"] = json!({"snapshotEvery": "5m", "keep": 3});
    run.put(item);
    // Some minutes after a periodic one, which makes an extra one needless.
    trace.until(&mut run, HOUR * 6 + SignedDuration::from_mins(3));
    trace.tell(run.now(), "EC2 recommends to rebalance");
    run.recommend_rebalance(NODE);
    trace.until(&mut run, HOUR * 12);
    trace.tell(run.now(), "EC2 gives notice to take the spot instance back");
    run.interrupt(NODE, true);
    trace.until(&mut run, HOUR * 24);
    trace.flush();
    assert!(run.is_settled(NODE));
    compare("one-day.txt", &trace.text);
}

#[test]
fn a_doubled_recommendation_takes_one_snapshot_and_writes_nothing() {
    let mut run = Run::new(3, Delivery::Doubled, Plan::None);
    let mut item = item(&run);
    item["persist"]["root"] = json!({"snapshotEvery": "10m", "keep": 3});
    run.put(item);
    assert!(run.until_settled(NODE, 1, SignedDuration::from_mins(30)));
    let generation = |run: &Run| run.record(NODE).unwrap().generation;
    let rebalance = |run: &Run| {
        let world = run.world.0.borrow();
        let of_purpose = |it: &&perennial_cloud::model::Snapshot| {
            run.watch.is_ours(&it.tags) && it.tags[TAG_PURPOSE] == Purpose::Rebalance.as_str()
        };
        world.cloud.snapshots().filter(of_purpose).count()
    };
    // Not within two minutes of the periodic one.
    run.pass(SignedDuration::from_secs(185));
    let before = generation(&run);
    run.recommend_rebalance(NODE);
    run.pass(SignedDuration::from_secs(30));
    assert_eq!((rebalance(&run), generation(&run)), (1, before));
    run.edit(NODE, |item| item["onRebalance"] = json!("ignore"));
    run.pass(SignedDuration::from_secs(5));
    run.pass(SignedDuration::from_secs(20));
    let before = generation(&run);
    run.recommend_rebalance(NODE);
    run.pass(SignedDuration::from_secs(1));
    assert_eq!((rebalance(&run), generation(&run)), (1, before));
    assert_eq!(run.watch.broken, None);
}

#[test]
fn the_end_of_a_snapshot_costs_a_steady_node_two_reads_and_wakes_one_that_waits() {
    let mut run = Run::new(3, Delivery::Faithful, Plan::None);
    let item = item(&run);
    run.put(item);
    assert!(run.until_settled(NODE, 1, SignedDuration::from_mins(30)));
    let pending = |run: &Run| {
        let world = run.world.0.borrow();
        world.cloud.snapshots().any(|it| it.state == SnapshotState::Pending && run.watch.is_ours(&it.tags))
    };
    assert!(run.until(SignedDuration::from_mins(10), pending));
    let calls = |run: &Run| run.world.0.borrow().calls.clone();
    let before = calls(&run);
    assert!(run.until(SignedDuration::from_secs(30), |run| !pending(run)));
    run.pass(SignedDuration::from_millis(1));
    let after = calls(&run);
    let new = |(name, n): (&&'static str, &u64)| {
        let more = n - before.get(*name).copied().unwrap_or_default();
        (more > 0).then(|| ((*name).to_owned(), more))
    };
    let new: Vec<_> = after.iter().filter_map(new).collect();
    assert_eq!(new, [("Store:Load".to_owned(), 1), ("Store:Owner".to_owned(), 1)]);
    // After a recovery the first snapshot of the new root is what the old one waits for.
    run.interrupt(NODE, true);
    let is_needed = |run: &Run| {
        let cleans = run.record(NODE).is_some_and(|it| it.cycle == 2 && it.phase == Phase::Running);
        cleans && pending(run)
    };
    assert!(run.until(SignedDuration::from_mins(30), is_needed));
    let looks = |run: &Run| calls(run).get("EC2:DescribeInstances").copied().unwrap_or_default();
    let before = looks(&run);
    assert!(run.until(SignedDuration::from_secs(30), |run| !pending(run)));
    run.pass(SignedDuration::from_millis(1));
    assert!(looks(&run) > before);
}

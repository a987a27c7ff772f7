//! When image backups of a group are taken, kept and removed, told so that a person can read it; and of whom.
//!
//! The moments are what the account shows. When a change of behaviour is meant:
//! `UPDATE_GOLDEN=1 cargo test -p perennial-sim --test backups`, and read the difference.

#![expect(clippy::unwrap_used, reason = "the helpers of tests stop a test as the tests themselves do")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use jiff::{SignedDuration, Timestamp, Zoned};
use perennial_cloud::model::{Image, ImageState, Settings};
use perennial_core::names::{Purpose, TAG_PURPOSE};
use perennial_sim::faults::Plan;
use perennial_sim::run::{Delivery, Run};
use serde_json::{Value, json};

/// So many backups are told one by one; of more only the count.
const TOLD_EACH: usize = 20;
/// So long before midnight the group is put: its member is well by then.
const BEFORE: SignedDuration = SignedDuration::from_mins(20);

/// What is told.
struct Case {
    what: &'static str,
    policy: Value,
    /// Midnight of the first day, in the zone of the policy.
    from: &'static str,
    days: i32,
}

/// What is seen of a backup: its name, when it was taken, when it could be launched, when it was gone.
struct Seen {
    taken: Timestamp,
    available: Option<Timestamp>,
    gone: Option<Timestamp>,
}

fn is_backup(image: &Image) -> bool {
    image.tags.get(TAG_PURPOSE).is_some_and(|it| it == Purpose::Backup.as_str())
}

/// Looks at the account's backups.
fn look(run: &Run, seen: &mut BTreeMap<String, Seen>) {
    let (world, now) = (run.world.0.borrow(), run.now());
    let images: BTreeMap<&str, &Image> =
        world.cloud.images().filter(|it| is_backup(it)).map(|it| (it.id.as_str(), it)).collect();
    for (id, image) in &images {
        let fresh = || Seen { taken: image.creation_date, available: None, gone: None };
        let one = seen.entry((*id).to_owned()).or_insert_with(fresh);
        if image.state == ImageState::Available {
            one.available.get_or_insert(now);
        }
    }
    let gone = seen.iter_mut().filter(|(id, _)| !images.contains_key(id.as_str()));
    gone.for_each(|(_, it)| {
        it.gone.get_or_insert(now);
    });
}

/// Plays a case and tells of it.
fn tell(case: &Case) -> String {
    let mut text = String::new();
    let from: Zoned = case.from.parse().unwrap();
    let zone = from.time_zone().clone();
    let end = (&from + jiff::Span::new().days(case.days)).timestamp();
    // The account is furnished for five minutes.
    let start = from.timestamp() - BEFORE;
    let mut run = Run::beginning(start, 1, Delivery::Faithful, Plan::None, Settings::default());
    run.guests_write = false;
    run.put_backed_up(1, case.policy.clone());
    let mut seen = BTreeMap::new();
    while run.now() < end {
        run.step(end);
        look(&run, &mut seen);
    }
    assert_eq!(run.watch.broken, None);
    let mut all: Vec<Seen> =
        seen.into_values().filter(|it| it.taken >= from.timestamp() && it.taken < end).collect();
    all.sort_by_key(|it| it.taken);
    let removed = all.iter().filter(|it| it.gone.is_some()).count();
    writeln!(
        text,
        "{}, {} day(s) from {}: {} taken, {removed} of them removed",
        case.what,
        case.days,
        case.from,
        all.len()
    )
    .unwrap();
    if all.len() > TOLD_EACH {
        return text;
    }
    let local = |at: Timestamp| at.to_zoned(zone.clone()).strftime("%a %m-%d %H:%M:%S %:z").to_string();
    for it in &all {
        let available = it.available.map_or(0, |at| at.duration_since(it.taken).as_secs());
        let gone = it.gone.map_or("kept".to_owned(), |at| format!("removed {}", local(at)));
        writeln!(text, "  {}  available after {available} s, {gone}", local(it.taken)).unwrap();
    }
    text
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
fn days_of_backups() {
    let case = |what, policy, from, days| Case { what, policy, from, days };
    let berlin = |mut policy: Value| {
        policy["timezone"] = json!("Europe/Berlin");
        policy["keep"] = json!(2);
        policy
    };
    let spring = "2026-03-28T00:00+01:00[Europe/Berlin]";
    let autumn = "2026-10-24T00:00+02:00[Europe/Berlin]";
    let at_half_past = || berlin(json!({"frequency": "cron", "cron": "30 2 * * *"}));
    let utc = "2026-01-14T00:00+00:00[UTC]";
    let cases = [
        case("continuous", json!({"keep": 3}), utc, 1),
        case("hourly", json!({"frequency": "hourly", "keep": 3}), utc, 1),
        case("cron */20 * * * *", json!({"frequency": "cron", "cron": "*/20 * * * *", "keep": 3}), utc, 1),
        case("daily", json!({"frequency": "daily", "keep": 2}), utc, 4),
        case("weekly", json!({"frequency": "weekly", "keep": 2}), "2026-01-18T00:00+00:00[UTC]", 8),
        case("daily, when clocks go forward", berlin(json!({"frequency": "daily"})), spring, 3),
        case("cron 30 2 * * *, when clocks go forward", at_half_past(), spring, 3),
        case(
            "hourly, when clocks go forward",
            berlin(json!({"frequency": "hourly"})),
            "2026-03-29T00:00+01:00[Europe/Berlin]",
            1,
        ),
        case("daily, when clocks go back", berlin(json!({"frequency": "daily"})), autumn, 3),
        case("cron 30 2 * * *, when clocks go back", at_half_past(), autumn, 3),
        case(
            "hourly, when clocks go back",
            berlin(json!({"frequency": "hourly"})),
            "2026-10-25T00:00+02:00[Europe/Berlin]",
            1,
        ),
    ];
    let mut text = "When image backups of a group of one member are taken, and when they go: a minute tick after they\n\
                    are due, and some minutes after a newer one takes their place. Of many only the count is told.\n\n"
        .to_owned();
    // Each is a world of its own, and takes its time.
    std::thread::scope(|scope| {
        let told: Vec<_> = cases.iter().map(|case| scope.spawn(|| tell(case))).collect();
        told.into_iter().for_each(|one| text.push_str(&one.join().unwrap()));
    });
    compare("backups.txt", &text);
}

/// The instances that backups were taken of.
fn sources(run: &Run) -> BTreeSet<String> {
    let world = run.world.0.borrow();
    world.cloud.images().filter(|it| is_backup(it)).filter_map(|it| it.source_instance_id.clone()).collect()
}

#[test]
fn the_latest_launched_member_is_taken_that_is_well_and_under_no_notice() {
    let well = SignedDuration::from_mins(3);
    let run_of_three = || {
        let mut run = Run::new(1, Delivery::Faithful, Plan::None);
        run.put_backed_up(1, json!({"frequency": "weekly", "keep": 2}));
        run.pass(well);
        run.set_capacity(2);
        run.pass(well);
        run
    };
    let taken = |mut run: Run| {
        run.back_up_now();
        assert!(run.until(SignedDuration::from_mins(5), |run| run.effective().is_some()));
        assert_eq!(run.watch.broken, None);
        sources(&run)
    };
    let (first, second) = {
        let run = run_of_three();
        (run.instance("cass-1").unwrap(), run.instance("cass-2").unwrap())
    };
    assert_eq!(taken(run_of_three()), BTreeSet::from([second.clone()]));
    let mut ill = run_of_three();
    ill.impair("cass-2", true);
    assert_eq!(taken(ill), BTreeSet::from([first.clone()]));
    // Two minutes before it goes it still runs, and its guest may be told to shut down.
    let mut noticed = run_of_three();
    noticed.interrupt("cass-2", true);
    noticed.pass(SignedDuration::from_secs(1));
    noticed.back_up_now();
    noticed.pass(SignedDuration::from_secs(61));
    assert_eq!(sources(&noticed), BTreeSet::from([first]));
}

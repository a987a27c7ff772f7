//! Counts, not times: what a recovery and a steady node cost in calls, and how much of a recovery's
//! virtual time is Perennial's own and not imposed by AWS.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::SignedDuration;
use perennial_cloud::model::InstanceState;
use perennial_core::names::TAG_DEPLOYMENT;

use crate::account::{NODE, item, item_of};
use crate::faults::Plan;
use crate::run::{DEPLOYMENT, Delivery, Run};

/// What one recovery took.
struct Recovery {
    /// From the end of the instance to the next one running, as AWS has it, in seconds.
    total: f64,
    /// The part of it that AWS imposes in the model: release, snapshot, image, boot.
    imposed: f64,
    /// Calls from the end of the instance to the launch, by name.
    calls: BTreeMap<&'static str, u64>,
}

/// All benchmarks, as a report to print.
///
/// # Errors
/// What went wrong, if a story did not come to its end.
pub fn report() -> Result<String, String> {
    let mut out = String::from(
        "Recovery (virtual time; the model's latencies, 40 ms a call, calls one after the other)\n",
    );
    for (name, delivery) in [("with events", Delivery::Faithful), ("every event lost", Delivery::Lost)] {
        let mut added = Vec::new();
        let mut last = None;
        for seed in 0..100 {
            let recovery = recovery(seed, delivery)?;
            added.push(recovery.total - recovery.imposed);
            last = Some(recovery);
        }
        added.sort_by(f64::total_cmp);
        let _ =
            writeln!(out, "  {name:<17} added by Perennial: p50 {:.1} s, p99 {:.1} s", added[50], added[98]);
        if let Some(recovery) = last {
            let _ = writeln!(
                out,
                "  {:<17} of {:.0} s in all, {:.0} s imposed by AWS",
                "", recovery.total, recovery.imposed
            );
            let calls: Vec<_> = recovery.calls.iter().map(|(name, n)| format!("{name} {n}")).collect();
            let sum: u64 = recovery.calls.values().sum();
            let _ = writeln!(
                out,
                "  {:<17} {sum} calls from the instance's end to the launch: {}",
                "",
                calls.join(", ")
            );
        }
    }
    out.push_str("Steady nodes (one hour, snapshots every 5 minutes, both passes every minute)\n");
    for nodes in [1, 10, 100] {
        let (ec2, reads, writes) = steady(nodes)?;
        let _ = writeln!(
            out,
            "  {nodes:>3} nodes: {ec2:.3} EC2 calls, {reads:.3} table reads, {writes:.3} table writes per node and minute"
        );
    }
    Ok(out)
}

fn recovery(seed: u64, delivery: Delivery) -> Result<Recovery, String> {
    let minutes = SignedDuration::from_mins;
    let mut run = Run::new(seed, delivery, Plan::None);
    let item = item(&run);
    run.put(item);
    if !run.until_settled(NODE, 1, minutes(30)) {
        return Err("the node never ran".to_owned());
    }
    // Another second of the minute with each seed: what waits for a tick waits for another time.
    run.pass(minutes(11) + SignedDuration::from_secs((seed % 60) as i64));
    let first = run.record(NODE).and_then(|r| r.instance).map(|i| i.id.to_string()).unwrap_or_default();
    {
        let mut world = run.world.0.borrow_mut();
        world.cloud.interrupt(&first, true).map_err(|e| e.to_string())?;
        world.log = Some(Vec::new());
    }
    let state = |run: &Run, id: &str| run.world.0.borrow().cloud.instance(id).map(|i| i.state);
    if !run.until(minutes(5), |run| state(run, &first) == Some(InstanceState::Terminated)) {
        return Err("the instance did not end".to_owned());
    }
    let ended = run.now();
    let mut copied = SignedDuration::ZERO;
    let up = |run: &Run| {
        let world = run.world.0.borrow();
        let mut ours = world
            .cloud
            .live_instances()
            .filter(|i| i.tags.get(TAG_DEPLOYMENT).is_some_and(|d| d == DEPLOYMENT));
        ours.find(|i| i.state == InstanceState::Running).and_then(|i| i.running_since)
    };
    let mut back = None;
    for _ in 0..1200 {
        run.pass(SignedDuration::from_secs(1));
        for snapshot in run.world.0.borrow().cloud.snapshots() {
            if snapshot.start_time >= ended {
                copied = copied.max(snapshot.completes.duration_since(snapshot.start_time));
            }
        }
        back = up(&run);
        if back.is_some() {
            break;
        }
    }
    let back = back.ok_or("the node did not come back")?;
    let world = run.world.0.borrow();
    let settings = world.cloud.settings();
    let imposed = settings.release_volume.max(settings.release_interface)
        + copied
        + settings.register_image
        + settings.boot;
    let mut calls = BTreeMap::new();
    for (at, name) in world.log.iter().flatten().filter(|(at, _)| *at >= ended) {
        let _ = at;
        *calls.entry(*name).or_default() += 1;
        if *name == "EC2:RunInstances" {
            break;
        }
    }
    Ok(Recovery { total: back.duration_since(ended).as_secs_f64(), imposed: imposed.as_secs_f64(), calls })
}

/// EC2 calls, table reads and table writes per node and minute.
fn steady(nodes: u64) -> Result<(f64, f64, f64), String> {
    let minutes = SignedDuration::from_mins;
    let mut run = Run::new(1, Delivery::Faithful, Plan::None);
    run.guests_write = false;
    for n in 0..nodes {
        let mut item = item_of(&run, &format!("n{n}"));
        item["persist"]["root"] = serde_json::json!({});
        run.put(item);
        run.pass(SignedDuration::from_secs(5));
    }
    run.pass(minutes(30));
    if run.world.0.borrow().records.values().any(|r| r.work_at.is_some()) {
        return Err("not every node runs steadily".to_owned());
    }
    run.world.0.borrow_mut().calls.clear();
    run.pass(minutes(60));
    let world = run.world.0.borrow();
    let count = |is: &dyn Fn(&str) -> bool| {
        let calls: u64 = world.calls.iter().filter(|(name, _)| is(name)).map(|(_, n)| n).sum();
        calls as f64 / (nodes * 60) as f64
    };
    let is_write = |name: &str| name == "Store:Commit" || name == "Store:WriteStatus";
    Ok((
        count(&|name| name.starts_with("EC2:")),
        count(&|name| name.starts_with("Store:") && !is_write(name)),
        count(&is_write),
    ))
}

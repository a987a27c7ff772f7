//! Stories: what happens to a node, and what must be so in the end.

use jiff::SignedDuration;
use perennial_cloud::model::Settings;
use perennial_core::names::{TAG_DEPLOYMENT, TAG_PURPOSE};
use serde_json::{Value, json};

use crate::faults::{Plan, mix};
use crate::run::{DEPLOYMENT, Delivery, Run};

/// The node of the stories.
pub const NODE: &str = "db";

/// How the instance is taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taking {
    /// With two minutes' notice.
    Noticed,
    /// Without any.
    Sudden,
    /// Terminated by hand.
    ByHand,
    /// Suddenly, after its guest wrote and before anyone saw it run.
    Unseen,
}

impl Taking {
    /// Every way.
    pub const ALL: [Self; 4] = [Self::Noticed, Self::Sudden, Self::ByHand, Self::Unseen];
}

/// The item of the story's node.
pub fn item(run: &Run) -> Value {
    item_of(run, NODE)
}

/// The item of a node of this name.
pub fn item_of(run: &Run, node: &str) -> Value {
    json!({
        "id": format!("node#{node}"),
        "launch": {
            "template": {"id": run.defaults.launch_template_id},
            "instanceTypes": ["m5.large", "c5.large"],
            "subnets": run.defaults.subnet_ids,
        },
        "persist": {"root": {"snapshotEvery": "2m"}, "network": {}},
    })
}

/// One interruption survived: launched, written to, taken away, back with every byte and its address.
/// Returns the run for a closer look.
///
/// # Errors
/// What was not as it must be.
pub fn interrupted(seed: u64, delivery: Delivery, faults: Plan, taking: Taking) -> Result<Run, String> {
    told_in(Run::new(seed, delivery, faults), faults, taking)
}

fn told_in(mut run: Run, faults: Plan, taking: Taking) -> Result<Run, String> {
    let minutes = SignedDuration::from_mins;
    let item = item(&run);
    run.put(item);
    let live = |run: &Run| run.world.0.borrow().cloud.live_instances().next().map(|i| i.id.clone());
    if taking != Taking::Unseen && !run.until_settled(NODE, 1, minutes(120)) {
        return Err(told(&run, "the node never ran"));
    }
    if taking != Taking::Unseen {
        run.pass(minutes(9));
    }
    if !run.until(minutes(60), |run| live(run).is_some()) {
        return Err(told(&run, "there never was an instance"));
    }
    let first = live(&run).unwrap_or_default();
    if taking == Taking::Unseen {
        // It runs, its guest writes and it is gone before any function is told.
        let boot = run.world.0.borrow().cloud.settings().boot + SignedDuration::from_secs(3);
        run.world.0.borrow_mut().cloud.pass(boot);
        run.guests();
    }
    let before = run.record(NODE).and_then(|r| r.network).map(|n| (n.eni_id, n.private_ip));
    {
        let cloud = &mut run.world.0.borrow_mut().cloud;
        let taken = match taking {
            Taking::Noticed => cloud.interrupt(&first, true),
            Taking::Sudden | Taking::Unseen => cloud.interrupt(&first, false),
            Taking::ByHand => cloud.terminate_instances(std::slice::from_ref(&first)).map(|_| ()),
        };
        taken.map_err(|e| e.to_string())?;
    }
    let back = run.until(minutes(150), |run| run.is_settled(NODE) && live(run).is_some_and(|id| id != first));
    if !back {
        return Err(told(&run, "the node did not come back"));
    }
    if let Plan::Random { .. } = faults {
        // What must be so once all is quiet needs quiet.
        run.world.0.borrow_mut().faults = Plan::None;
    }
    run.pass(minutes(12));
    match proof(&run, before) {
        Some(problem) => Err(told(&run, &problem)),
        None => Ok(run),
    }
}

/// The story that a seed tells: how the instance is taken, how events are delivered, what goes wrong.
///
/// # Errors
/// What was not as it must be.
pub fn of_seed(seed: u64) -> Result<Run, String> {
    let draw = |what: u64, n: u64| mix(seed ^ mix(what)) % n;
    let taking = Taking::ALL[draw(1, 4) as usize];
    let delivery = match draw(2, 6) {
        0 => Delivery::Faithful,
        1 => Delivery::Doubled,
        2 => Delivery::Lost,
        _ => Delivery::Random(seed),
    };
    let faults = Plan::Random { seed, one_in: 8 + draw(3, 60), calls: 200 + draw(4, 600) };
    let told = |problem: String| format!("{taking:?}, {delivery:?}, {faults:?}: {problem}");
    let run = Run::in_account(seed, delivery, faults, account(&draw));
    told_in(run, faults, taking).map_err(told)
}

/// An account whose latencies are drawn: snapshots that outlast several ticks, reads that lag behind.
fn account(draw: &impl Fn(u64, u64) -> u64) -> Settings {
    let seconds = |what: u64, least: u64, most: u64| {
        SignedDuration::from_secs((least + draw(what, most - least + 1)) as i64)
    };
    Settings {
        boot: seconds(5, 5, 90),
        shut_down: seconds(6, 1, 120),
        release_volume: seconds(7, 1, 30),
        release_interface: seconds(8, 1, 30),
        snapshot_base: seconds(9, 2, 150),
        register_image: seconds(10, 2, 90),
        read_lag: if draw(11, 3) == 0 { seconds(12, 1, 8) } else { SignedDuration::ZERO },
        ..Settings::default()
    }
}

/// What is not as it must be once all is quiet.
fn proof(
    run: &Run,
    before: Option<(perennial_core::ids::InterfaceId, std::net::Ipv4Addr)>,
) -> Option<String> {
    if let Some(broken) = &run.watch.broken {
        return Some(broken.clone());
    }
    let world = run.world.0.borrow();
    let cloud = &world.cloud;
    let ours = |tags: &perennial_core::names::Tags| tags.get(TAG_DEPLOYMENT).is_some_and(|d| d == DEPLOYMENT);
    let record = run.record(NODE)?;
    let (Some(instance), Some(root), Some(network)) = (&record.instance, &record.root, &record.network)
    else {
        return Some("the record of a running node lacks its instance, root or interface".to_owned());
    };
    if before.is_some_and(|before| before != (network.eni_id.clone(), network.private_ip)) {
        return Some("the node has another interface or address".to_owned());
    }
    let Some(live) = cloud.instance(instance.id.as_str()) else { return Some("no such instance".to_owned()) };
    if live.private_ip != Some(network.private_ip) {
        return Some(format!("the instance has the address {:?}", live.private_ip));
    }
    let writes = cloud.volume(root.volume_id.as_str()).map(|v| v.contents.writes);
    if writes != Some(run.watch.acknowledged(NODE)) {
        return Some(format!("the root holds {writes:?} of {} writes", run.watch.acknowledged(NODE)));
    }
    let count = |what: &str, n: usize, expected: usize| {
        (n != expected).then(|| format!("there are {n} {what} of ours, not {expected}"))
    };
    let rotated = |purpose: &String| ["periodic", "warning", "rebalance"].contains(&purpose.as_str());
    let completed = cloud
        .snapshots()
        .filter(|s| ours(&s.tags) && s.state == perennial_cloud::model::SnapshotState::Completed)
        .filter(|s| s.tags.get(TAG_PURPOSE).is_some_and(rotated))
        .count();
    let finals = cloud.snapshots().filter(|s| s.tags.get(TAG_PURPOSE).is_some_and(|p| p == "final")).count();
    count("live instances", cloud.live_instances().filter(|i| ours(&i.tags)).count(), 1)
        .or_else(|| count("volumes", cloud.volumes().filter(|v| ours(&v.tags)).count(), 1))
        .or_else(|| count("images", cloud.images().filter(|i| ours(&i.tags)).count(), 0))
        .or_else(|| count("final snapshots", finals, 0))
        .or_else(|| count("interfaces", cloud.network_interfaces().filter(|i| ours(&i.tags)).count(), 1))
        .or_else(|| {
            (!(3..=4).contains(&completed)).then(|| {
                let all = cloud.snapshots().filter(|s| ours(&s.tags)).map(|s| {
                    format!(
                        "\n  {} {} {} {:?} {}",
                        s.id, s.volume_id, s.start_time, s.state, s.tags[TAG_PURPOSE]
                    )
                });
                format!("{completed} rotated snapshots are kept:{}", all.collect::<String>())
            })
        })
        .or_else(|| pointers(&world, &record))
        .or_else(|| (!record.outbox.is_empty()).then(|| "the outbox is not empty".to_owned()))
}

/// The pointers of the table must be exactly those of the record.
fn pointers(world: &crate::world::World, record: &perennial_core::record::Record) -> Option<String> {
    let kept: std::collections::BTreeSet<String> =
        world.state.keys().filter_map(|(pk, _)| pk.strip_prefix("resource#").map(str::to_owned)).collect();
    (kept != record.resources()).then(|| format!("the pointers are {kept:?}, not {:?}", record.resources()))
}

/// A problem with the story up to it.
fn told(run: &Run, problem: &str) -> String {
    let world = run.world.0.borrow();
    let mut told = format!("{problem}\n");
    for ((_, sk), entry) in world.state.iter().filter(|((_, sk), _)| sk.starts_with("event#")) {
        told.push_str(&format!("  {sk} [{}] {}\n", entry["phase"], entry["what"]));
    }
    if let Some(record) = run.record(NODE) {
        let shown = serde_json::to_string_pretty(&record).unwrap_or_default();
        told.push_str(&shown);
    }
    for failure in run.watch.failures.iter().take(5) {
        told.push_str(&format!("\n  failure: {failure}"));
    }
    told
}

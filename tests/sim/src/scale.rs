//! Many nodes at once: what the snapshot pass achieves and what it costs, in virtual time.
//!
//! Running nodes are put into the tables as if they had run for long, and only the snapshot pass is invoked,
//! every minute, with every event lost. The invariants are not watched here: looking at each node after each
//! step is what the stories are for. Everything measured is read off the account and the calls made to it,
//! never off what the pass says of itself.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use jiff::{SignedDuration, Timestamp};
use perennial_cloud::model::{
    Cloud, Defaults, Instance, InterfaceSpec, LaunchSpec, Quota, RunInstances, Settings, SnapshotState,
};
use perennial_core::ids::NodeName;
use perennial_core::limits::{SNAPSHOTS_PER_SECOND, WORK_SHARDS};
use perennial_core::names::{Names, Purpose, TAG_NODE, TAG_PURPOSE, Tags, life};
use perennial_core::phase::Phase;
use perennial_core::record::{Accepted, Record};
use serde_json::json;

use crate::convert;
use crate::faults::Plan;
use crate::run::{DEPLOYMENT, engine};
use crate::world::{Handle, Traffic, World};

/// Nodes to a subnet of the simulation: the addresses of a /24.
const NODES_PER_ZONE: usize = 250;
/// The interval of every node's snapshots, in minutes.
const EVERY: u32 = 5;
/// How many completed snapshots every node keeps.
const KEEP: u32 = 3;
/// How long a page of up to 1,000 of a read of EC2 takes on the average, in milliseconds: 300 to 700.
pub const PAGE: u32 = 500;
/// How long an invocation of the pass may take, as the deployment template has it.
const TIMEOUT: SignedDuration = SignedDuration::from_secs(120);

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Running nodes.
    pub nodes: usize,
    /// The quota of CreateSnapshot and of DeleteSnapshot, requests per second, if AWS raised it.
    pub quota: Option<u32>,
    /// `settings.snapshotsPerSecond`; `None`: no settings, the default.
    pub per_second: Option<u32>,
    /// How long a page of a read of EC2 takes on the average, in milliseconds.
    pub page: u32,
    /// So many nodes' snapshots are always refused.
    pub refused: usize,
    /// Minutes before the measuring begins: all lines fill up, and what was due at once spreads out.
    pub warm_up: u32,
    /// Minutes measured.
    pub minutes: u32,
}

/// What came of it, while it was measured.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Seconds between one snapshot of a node and the next, in ascending order.
    pub intervals: Vec<f64>,
    /// The mean interval of each node, in seconds; of a node without two snapshots there is none.
    pub by_node: Vec<f64>,
    /// Snapshots taken.
    pub taken: u64,
    /// Nodes times intervals: how many snapshots were to be taken.
    pub node_ticks: f64,
    /// Calls to EC2, every page of a read counted.
    pub ec2: u64,
    /// Of these, the reads.
    pub ec2_reads: u64,
    /// Calls refused because a request bucket was empty, warm-up included.
    pub throttled: u64,
    /// Calls to EC2, warm-up included.
    pub ec2_in_all: u64,
    /// Reads of the tables; the steady shards count one each.
    pub reads: u64,
    /// Writes to the tables.
    pub writes: u64,
    /// Seconds inside invocations, per hour.
    pub busy: f64,
    /// Fewest and most completed snapshots of a line, at the end of any pass.
    pub lines: (usize, usize),
    /// The same when the last pass was over and had its effect.
    pub last_lines: (usize, usize),
    /// Own events published, by their kind.
    pub events: BTreeMap<String, u64>,
    /// What the last event of each kind says.
    pub reasons: BTreeMap<String, String>,
    /// Passes that failed.
    pub failed: u64,
    /// The longest pass, in seconds.
    pub longest_pass: f64,
    /// Most creations of a minute, the refused ones included.
    pub busiest_minute: u64,
}

impl Figures {
    /// The interval that so many of a hundred stayed within, in seconds.
    pub fn percentile(&self, of_100: usize) -> f64 {
        let at = (self.intervals.len() * of_100 / 100).min(self.intervals.len().saturating_sub(1));
        self.intervals.get(at).copied().unwrap_or(f64::NAN)
    }

    /// The longest interval, in seconds.
    pub fn longest(&self) -> f64 {
        self.intervals.last().copied().unwrap_or(f64::NAN)
    }

    /// How much longer the worst served node waits on the average than the best served one; 1 is fair.
    pub fn unfairness(&self) -> f64 {
        let (least, most) = self
            .by_node
            .iter()
            .fold((f64::INFINITY, 0.0_f64), |(least, most), mean| (least.min(*mean), most.max(*mean)));
        most / least
    }

    /// Calls to EC2 per node and interval.
    pub fn calls_per_node_tick(&self) -> f64 {
        self.ec2 as f64 / self.node_ticks
    }

    /// The share of calls that were throttled.
    pub fn throttled_share(&self) -> f64 {
        self.throttled as f64 / self.ec2_in_all.max(1) as f64
    }
}

impl Figures {
    /// The budgets that do not hold, if any: the benchmark fails for them.
    pub fn broken(&self, case: Case) -> Vec<String> {
        let pace = case.per_second.unwrap_or(SNAPSHOTS_PER_SECOND);
        let is_enough = case.nodes as f64 / f64::from(EVERY * 60) <= f64::from(pace) * 1.01;
        let is_allowed = pace <= case.quota.unwrap_or(5);
        let mut broken = Vec::new();
        let mut must = |holds: bool, what: &str| {
            if !holds {
                broken.push(what.to_owned());
            }
        };
        must(self.writes == 0, "a steady node writes nothing");
        must(self.failed == 0, "no pass fails");
        must(self.by_node.len() == case.nodes - case.refused, "every node is served");
        // Within a few intervals a node's mean is still a matter of which minutes it met.
        must(case.minutes < 30 || self.unfairness() < 1.2, "all nodes are served alike");
        must(!is_allowed || self.throttled_share() < 0.001, "nothing is throttled within the quota");
        must(self.throttled_share() < 0.12, "no throttle storm");
        must(!is_enough || self.percentile(99) <= 330.0, "the interval is kept");
        must(case.nodes < 1_000 || self.calls_per_node_tick() <= 2.1, "2.1 calls per node-tick");
        broken
    }
}

/// The account with its running nodes, and what was seen of it so far.
#[derive(Debug)]
pub struct Fleet {
    /// The world it is in.
    pub world: Handle,
    case: Case,
    seen: Timestamp,
    last: BTreeMap<String, Timestamp>,
    gaps: BTreeMap<String, Vec<f64>>,
    figures: Figures,
}

/// Plays a case.
///
/// # Errors
/// What the account or the tables refused while the nodes were put into them.
pub fn play(case: Case) -> Result<Figures, String> {
    let mut fleet = Fleet::of(case)?;
    fleet.minutes(case.warm_up);
    fleet.reset();
    fleet.minutes(case.minutes);
    Ok(fleet.conclude())
}

impl Fleet {
    /// Launches the nodes of a case.
    ///
    /// # Errors
    /// See [`play`].
    pub fn of(case: Case) -> Result<Self, String> {
        let quota = case.quota.map(|n| Quota { burst: 100.0, per_second: f64::from(n) });
        let raised = ["CreateSnapshot", "DeleteSnapshot"];
        let settings = Settings {
            zones: (0..=case.nodes / NODES_PER_ZONE).map(|n| format!("us-east-1-{n}")).collect(),
            raised: raised.into_iter().filter_map(|action| Some((action, quota?))).collect(),
            // Each node has one; an account of this size has asked AWS for more than the default.
            network_interface_limit: case.nodes,
            ..Settings::default()
        };
        let start = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * 365 * 56);
        let mut cloud = Cloud::new(start, 1, settings);
        let defaults = cloud.seed_defaults();
        let mut records = Vec::new();
        for n in 0..case.nodes {
            records.push(node(&mut cloud, &defaults, n)?);
        }
        cloud.pass(SignedDuration::from_mins(10));
        cloud.take_events();
        let world = World::around(cloud, Plan::None);
        {
            let mut world = world.0.borrow_mut();
            world.traffic = Some(Traffic { page: case.page, waiting: Vec::new() });
            let volumes = records.iter().filter_map(|it| Some(it.root.as_ref()?.volume_id.to_string()));
            world.refused = volumes.take(case.refused).collect();
            for record in records {
                let item = serde_json::to_value(&record).map_err(|e| e.to_string())?;
                world.state.insert((record.name.key(), "record".to_owned()), item);
                world.records.insert(record.name.to_string(), record);
            }
            if let Some(n) = case.per_second {
                let item = json!({"generation": 1, "hash": "", "suspend": false, "snapshotsPerSecond": n});
                world.state.insert(("settings".to_owned(), "record".to_owned()), item);
            }
        }
        Ok(Self {
            world,
            case,
            seen: start,
            last: BTreeMap::new(),
            gaps: BTreeMap::new(),
            figures: Figures { lines: (usize::MAX, 0), ..Figures::default() },
        })
    }

    /// Nodes whose snapshots are not refused.
    pub fn healthy(&self) -> usize {
        self.case.nodes - self.case.refused
    }

    /// Minutes with a pass each. One that lasts longer than its minute keeps the next one waiting.
    pub fn minutes(&mut self, minutes: u32) {
        for _ in 0..minutes {
            let begun = self.world.0.borrow().cloud.now();
            self.pass();
            let mut world = self.world.0.borrow_mut();
            world.cloud.advance(begun + SignedDuration::from_mins(1));
            world.cloud.take_events();
        }
    }

    fn pass(&mut self) {
        let begun = self.world.0.borrow().cloud.now();
        let engine = engine(&self.world, format!("at-{begun}"), TIMEOUT);
        let creations = self.count(|name| u64::from(name == "EC2:CreateSnapshot"));
        let mut future = pin!(engine.snapshot_pass());
        let ended = loop {
            if let Poll::Ready(ended) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                break Some(ended);
            }
            if !self.world.0.borrow_mut().next_answer() {
                break None;
            }
        };
        self.figures.failed += u64::from(!matches!(ended, Some(Ok(_))));
        let creations = self.count(|name| u64::from(name == "EC2:CreateSnapshot")) - creations;
        self.figures.busiest_minute = self.figures.busiest_minute.max(creations);
        self.look();
        let now = self.world.0.borrow().cloud.now();
        self.figures.longest_pass = self.figures.longest_pass.max(now.duration_since(begun).as_secs_f64());
        self.figures.busy += now.duration_since(begun).as_secs_f64();
        let (least, most) = self.completed();
        self.figures.lines = (self.figures.lines.0.min(least), self.figures.lines.1.max(most));
    }

    /// Takes down the snapshots that are new.
    fn look(&mut self) {
        let world = self.world.0.borrow();
        let purpose = Some(Purpose::Periodic.as_str());
        let is_new = |it: &&perennial_cloud::model::Snapshot| {
            it.start_time > self.seen && it.tags.get(TAG_PURPOSE).map(String::as_str) == purpose
        };
        for snapshot in world.cloud.snapshots().filter(is_new) {
            self.figures.taken += 1;
            let (volume, at) = (&snapshot.volume_id, snapshot.start_time);
            if let Some(last) = self.last.insert(volume.clone(), at) {
                let gap = at.duration_since(last).as_secs_f64();
                self.gaps.entry(volume.clone()).or_default().push(gap);
            }
        }
        self.seen = world.cloud.now();
    }

    /// Fewest and most completed snapshots of a node.
    fn completed(&self) -> (usize, usize) {
        let world = self.world.0.borrow();
        let mut lines: BTreeMap<&str, usize> = BTreeMap::new();
        let completed = world.cloud.snapshots().filter(|it| it.state == SnapshotState::Completed);
        for node in completed.filter_map(|it| it.tags.get(TAG_NODE)) {
            *lines.entry(node).or_default() += 1;
        }
        let least = if lines.len() < self.healthy() { 0 } else { usize::MAX };
        lines.values().fold((least, 0), |(least, most), n| (least.min(*n), most.max(*n)))
    }

    fn count(&self, is: impl Fn(&str) -> u64) -> u64 {
        self.world.0.borrow().calls.iter().map(|(name, n)| is(name) * n).sum()
    }

    /// The measuring begins.
    pub fn reset(&mut self) {
        let failed = self.figures.failed;
        self.figures = Figures { failed, lines: (usize::MAX, 0), ..Figures::default() };
        self.figures.ec2_in_all = self.count(|name| u64::from(name.starts_with("EC2:")));
        self.gaps.clear();
        let mut world = self.world.0.borrow_mut();
        world.calls.clear();
        world.published.clear();
    }

    /// What was measured.
    pub fn conclude(mut self) -> Figures {
        let is_read = |name: &str| name.starts_with("EC2:Describe");
        let is_write = |name: &str| name == "Store:Commit" || name.starts_with("Store:Write");
        let is_table_read = |name: &str| match name {
            "Store:Steady" => u64::from(WORK_SHARDS),
            name => u64::from(name.starts_with("Store:") && !is_write(name)),
        };
        let mut figures = std::mem::take(&mut self.figures);
        figures.ec2 = self.count(|name| u64::from(name.starts_with("EC2:")));
        figures.ec2_reads = self.count(|name| u64::from(is_read(name)));
        figures.ec2_in_all += figures.ec2;
        figures.reads = self.count(is_table_read);
        figures.writes = self.count(|name| u64::from(is_write(name)));
        figures.throttled = self.world.0.borrow().throttled;
        figures.busy *= 60.0 / f64::from(self.case.minutes.max(1));
        figures.node_ticks = self.case.nodes as f64 * f64::from(self.case.minutes) / f64::from(EVERY);
        figures.last_lines = self.completed();
        figures.by_node =
            self.gaps.values().map(|gaps| gaps.iter().sum::<f64>() / gaps.len() as f64).collect();
        figures.intervals = self.gaps.into_values().flatten().collect();
        figures.intervals.sort_by(f64::total_cmp);
        for event in &self.world.0.borrow().published {
            *figures.events.entry(format!("{:?}", event.kind)).or_default() += 1;
            figures.reasons.insert(format!("{:?}", event.kind), event.detail.reason.clone());
        }
        figures
    }
}

/// Launches an instance and makes the record of a node that has run on it for long.
fn node(cloud: &mut Cloud, defaults: &Defaults, n: usize) -> Result<Record, String> {
    let name = NodeName::parse(&format!("n{n}")).ok_or("no name of a node")?;
    let life = life(DEPLOYMENT, &name, "scale", cloud.now());
    let names = Names { deployment: DEPLOYMENT, node: &name, life: &life };
    let key = names.launch(1, 1);
    let tagged = |purpose: Purpose| names.tags(&Tags::new(), 1, purpose, &key);
    let launched = cloud.run_instances(&RunInstances {
        spec: LaunchSpec {
            image_id: Some(defaults.image_id.clone()),
            instance_type: Some("m5.large".to_owned()),
            interfaces: vec![InterfaceSpec {
                device_index: Some(0),
                subnet_id: defaults.subnet_ids.get(n / NODES_PER_ZONE).cloned(),
                ..InterfaceSpec::default()
            }],
            tag_specifications: vec![
                convert::tagged("instance", &tagged(Purpose::Instance)),
                convert::tagged("volume", &tagged(Purpose::Root)),
            ],
            ..LaunchSpec::default()
        },
        min_count: 1,
        max_count: 1,
        client_token: Some(key.clone()),
        launch_template: None,
    });
    let launched = launched.map_err(|e| format!("{name}: {e:?}"))?;
    // As fast as the request buckets of launches allow.
    cloud.pass(SignedDuration::from_secs(1));
    let instance = launched.first().ok_or("nothing was launched")?;
    record(cloud, defaults, name.clone(), life.clone(), key, instance)
}

fn record(
    cloud: &Cloud,
    defaults: &Defaults,
    name: NodeName,
    life: String,
    key: String,
    instance: &Instance,
) -> Result<Record, String> {
    let accepted: Accepted = serde_json::from_value(json!({
        "hash": "scale",
        "launch": {
            "template": {"id": defaults.launch_template_id, "version": "$Default"},
            "instanceTypes": ["m5.large"],
            "subnets": [],
        },
        "persist": {"root": {"snapshotEvery": format!("{}s", EVERY * 60), "keep": KEEP}},
    }))
    .map_err(|e| format!("config: {e}"))?;
    let (device, root) = instance.block_devices.iter().next().ok_or("an instance without a root")?;
    let volume = cloud.volume(&root.volume_id).ok_or("a root that is not there")?;
    let mut root = serde_json::to_value(convert::volume(volume).shape).map_err(|e| e.to_string())?;
    root["volumeId"] = json!(volume.id);
    root["deviceName"] = json!(device);
    let held = json!({
        "id": instance.id,
        "type": instance.instance_type,
        "zone": instance.zone,
        "market": "on-demand",
        "imageId": instance.image_id,
        "launchedAt": instance.launch_time,
        "key": key,
        "platform": {},
    });
    let mut record = Record::new(name, life, accepted, cloud.now());
    record.phase = Phase::Running;
    record.work_at = None;
    record.cycle = 1;
    record.generation = 1;
    record.instance = Some(serde_json::from_value(held).map_err(|e| format!("instance: {e}"))?);
    record.root = Some(serde_json::from_value(root).map_err(|e| format!("root: {e}"))?);
    Ok(record)
}

/// A case at the usual latencies, with nothing refused.
pub const fn case(
    nodes: usize,
    quota: Option<u32>,
    per_second: Option<u32>,
    warm_up: u32,
    minutes: u32,
) -> Case {
    Case { nodes, quota, per_second, page: PAGE, refused: 0, warm_up, minutes }
}

/// The cases of the benchmark.
pub const CASES: [Case; 6] = [
    case(100, None, Some(5), 30, 120),
    case(1_000, None, Some(5), 30, 120),
    case(1_500, None, Some(5), 30, 24 * 60),
    case(1_500, None, None, 60, 120),
    case(10_000, Some(40), Some(36), 25, 30),
    case(10_000, None, None, 180, 180),
];

/// A case and what came of it, as lines to print.
///
/// # Errors
/// See [`play`]; the lines, if a budget was not kept.
pub fn tell(case: Case) -> Result<String, String> {
    let figures = play(case)?;
    let mut out = String::new();
    let quota = case.quota.unwrap_or(5);
    let rate = case.per_second.map_or("default".to_owned(), |n| n.to_string());
    let (least, most) = figures.last_lines;
    let _ = writeln!(
        out,
        "  {:>6} nodes, quota {quota}/s, snapshotsPerSecond {rate}, {} ms a page, {} refused, {} min: interval p50 {:.0} s, p99 {:.0} s, max {:.0} s; \
         per node max/min {:.2}, {} nodes served",
        case.nodes,
        case.page,
        case.refused,
        case.minutes,
        figures.percentile(50),
        figures.percentile(99),
        figures.longest(),
        figures.unfairness(),
        figures.by_node.len(),
    );
    let per_tick = |n: u64| n as f64 / figures.node_ticks;
    let _ = writeln!(
        out,
        "         {:.3} EC2 calls per node-tick ({:.3} reads), {:.3} per snapshot; {:.4} table reads, {:.4} table writes; \
         {} of {} calls throttled ({:.3} %)",
        figures.calls_per_node_tick(),
        per_tick(figures.ec2_reads),
        figures.ec2 as f64 / figures.taken.max(1) as f64,
        per_tick(figures.reads),
        per_tick(figures.writes),
        figures.throttled,
        figures.ec2_in_all,
        figures.throttled_share() * 100.0,
    );
    let _ = writeln!(
        out,
        "         {:.0} s inside invocations an hour, the longest {:.0} s; completed per line {} to {} after any pass, {least} to {most} at the \
         end; events {:?}; {} passes failed",
        figures.busy, figures.longest_pass, figures.lines.0, figures.lines.1, figures.events, figures.failed,
    );
    match figures.broken(case) {
        broken if broken.is_empty() => Ok(out),
        broken => Err(format!("{out}  NOT KEPT: {}\n", broken.join("; "))),
    }
}

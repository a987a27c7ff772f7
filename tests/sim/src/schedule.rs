//! Random schedules: what a seed makes of a few nodes, their operator, EC2 and chance.
//!
//! A schedule is data, so that one that fails can be made smaller while it still fails.

mod backups;
mod data;
mod groups;

use jiff::SignedDuration;
use perennial_cloud::model::Settings;
use serde_json::json;

use crate::account::{item_of, settings};
use crate::deeds::Shape;
use crate::faults::{Plan, mix};
use crate::run::{Delivery, Run};
use crate::stories::{all, conclude, told};

pub use backups::{BackupDeed, BackupShape};
pub use data::{DataDeed, DataShape};
pub use groups::GroupDeed;

/// The names of a schedule's nodes.
const NODES: [&str; 4] = ["db", "ci", "lic", "ring"];

/// Something that happens to a node, or to all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Its item is put, as in the beginning; one that is there is left.
    Put,
    /// It is wanted so.
    Want(&'static str),
    /// It is to be replaced.
    Recycle,
    /// Its item is deleted.
    Delete,
    /// Its item is given a value that is refused.
    Spoil,
    /// Its root is to be kept, or no longer.
    KeepRoot(bool),
    /// Its item is suspended, or no longer.
    Suspend(bool),
    /// All are suspended, or no longer.
    SuspendAll(bool),
    /// EC2 takes its instance back, with notice or without.
    Interrupt(bool),
    /// EC2 says that its instance is at risk.
    Rebalance,
    /// Its instance is terminated by hand.
    Terminate,
    /// Its instance is stopped by hand, if its market lets it.
    Stop,
    /// Its instance is started again.
    Start,
    /// Its root is to go with its instance.
    RootGoes,
    /// Its interface is to go with its instance.
    InterfaceGoes,
    /// Its kept interface is deleted, if it is free.
    DropInterface,
    /// Its address is taken, if it is free.
    TakeAddress,
    /// The address is freed.
    FreeAddress,
    /// Its image is deregistered.
    Deregister,
    /// Its final snapshot is deleted.
    DeleteFinal,
    /// Its newest snapshot is deleted.
    DeleteNewest,
    /// Its volume is deleted, if it is free.
    DeleteRoot,
    /// Its root is made larger.
    Grow,
    /// There is no capacity.
    Scarce,
    /// There is capacity.
    Plenty,
    /// Pending snapshots fail.
    FailSnapshots,
    /// Pending images fail.
    FailImages,
    /// The operator accepts its newest recovery point.
    Restore,
    /// Something happens to the group, or to this one as a member of it.
    Group(GroupDeed),
    /// Something happens to its data volumes.
    Data(DataDeed),
    /// Something happens to the image backups of the group.
    Backup(BackupDeed),
}

/// Deeds, the likely ones more than once.
const DEEDS: [Deed; 45] = [
    Deed::KeepRoot(false),
    Deed::KeepRoot(true),
    Deed::KeepRoot(true),
    Deed::Put,
    Deed::Put,
    Deed::Want("running"),
    Deed::Want("running"),
    Deed::Want("running"),
    Deed::Want("paused"),
    Deed::Want("paused"),
    Deed::Want("deallocated"),
    Deed::Want("released"),
    Deed::Recycle,
    Deed::Recycle,
    Deed::Delete,
    Deed::Spoil,
    Deed::Suspend(true),
    Deed::Suspend(false),
    Deed::Suspend(false),
    Deed::SuspendAll(true),
    Deed::SuspendAll(false),
    Deed::SuspendAll(false),
    Deed::Interrupt(true),
    Deed::Interrupt(true),
    Deed::Interrupt(true),
    Deed::Interrupt(false),
    Deed::Interrupt(false),
    Deed::Terminate,
    Deed::Terminate,
    Deed::Stop,
    Deed::Start,
    Deed::RootGoes,
    Deed::InterfaceGoes,
    Deed::DropInterface,
    Deed::TakeAddress,
    Deed::FreeAddress,
    Deed::Deregister,
    Deed::DeleteFinal,
    Deed::DeleteNewest,
    Deed::DeleteRoot,
    Deed::Grow,
    Deed::Scarce,
    Deed::Plenty,
    Deed::FailSnapshots,
    Deed::FailImages,
];

/// What happens, when, and how well the world works meanwhile.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// The seed it was drawn from.
    pub seed: u64,
    /// How many nodes there are besides the group's.
    pub nodes: usize,
    /// What the group is in the beginning, if there is one.
    pub group: Option<Shape>,
    /// How the nodes keep data volumes in the beginning, if they do.
    pub data: Option<DataShape>,
    /// How the group is backed up in the beginning, if it is: then it keeps nothing else.
    pub backups: Option<BackupShape>,
    /// What happens: so many seconds after the one before, to which node.
    pub deeds: Vec<(i64, usize, Deed)>,
    /// How each node is wanted in the end; `None`: its item is left as it is.
    pub wanted: Vec<Option<&'static str>>,
    /// How events arrive.
    pub delivery: Delivery,
    /// Which calls go wrong.
    pub faults: Plan,
    /// How long an invocation may take, in seconds.
    pub timeout: i64,
    /// Whether the account's latencies are drawn too.
    pub drawn_account: bool,
}

impl Schedule {
    /// The schedule of a seed.
    pub fn of(seed: u64) -> Self {
        let draw = |what: u64, n: u64| mix(seed ^ mix(what)) % n.max(1);
        let nodes = 2 + draw(1, 3) as usize;
        let deed = |n: u64| {
            let pause = if draw(100 + n, 3) == 0 { draw(200 + n, 20) } else { draw(300 + n, 420) };
            let deed = DEEDS[draw(400 + n, DEEDS.len() as u64) as usize];
            (pause as i64, draw(500 + n, nodes as u64) as usize, deed)
        };
        let delivery = match draw(2, 5) {
            0 => Delivery::Faithful,
            1 => Delivery::Lost,
            _ => Delivery::Random(seed),
        };
        let faults = match draw(3, 4) {
            0 => Plan::None,
            1 => Plan::Overtake { seed, one_in: 10 + draw(4, 40) },
            _ => Plan::Random { seed, one_in: 8 + draw(4, 60), calls: 500 + draw(5, 3000) },
        };
        let states =
            [None, Some("running"), Some("running"), Some("running"), Some("paused"), Some("deallocated")];
        // Drawn apart from the others, so that the schedules that seeds stand for stay as they are.
        let deeds = (0..6 + draw(6, 14)).flat_map(|n| {
            let (pause, node, deed) = deed(n);
            match draw(700 + n, 6) {
                0 => vec![(pause, node, Deed::Rebalance), (0, node, deed)],
                _ => vec![(pause, node, deed)],
            }
        });
        let deeds: Vec<_> = deeds.collect();
        let group = groups::of(&draw);
        let deeds = if group.is_some() { groups::among(deeds, &draw) } else { deeds };
        let data = data::of(&draw);
        let deeds = if data.is_some() { data::among(deeds, nodes as u64, &draw) } else { deeds };
        let backups = backups::of(&draw, group.is_some());
        let deeds = if backups.is_some() { backups::among(deeds, &draw) } else { deeds };
        Self {
            seed,
            nodes,
            group,
            data,
            backups,
            deeds,
            wanted: (0..nodes as u64).map(|n| states[draw(600 + n, states.len() as u64) as usize]).collect(),
            delivery,
            faults,
            timeout: 25 + draw(7, 40) as i64,
            drawn_account: draw(8, 3) == 0,
        }
    }

    /// Lets it happen, and all come to rest.
    ///
    /// # Errors
    /// What was not as it must be, with the story up to it.
    pub fn play(&self) -> Result<Run, String> {
        let draw = |what: u64, n: u64| mix(self.seed ^ mix(what)) % n;
        let mut account = if self.drawn_account { settings(&draw) } else { Settings::default() };
        account.elastic_ips_survive_termination = self.group.is_none() || draw(13, 2) == 0;
        let mut run = Run::in_account(self.seed, self.delivery, self.faults, account);
        run.timeout = SignedDuration::from_secs(self.timeout);
        for (n, node) in NODES.iter().enumerate().take(self.nodes) {
            match self.data {
                Some(shape) => shape.put(&mut run, node),
                None => {
                    let item = item_of(&run, node);
                    run.put(item);
                }
            }
            if n == 1 {
                run.edit(node, |item| item["launch"]["market"] = json!("on-demand"));
            }
        }
        if let Some(shape) = self.group {
            run.put_group(shape);
        }
        if let Some(shape) = self.backups {
            shape.put(&mut run);
        }
        run.pass(SignedDuration::from_mins(1 + draw(9, 10) as i64));
        for (pause, node, deed) in &self.deeds {
            run.pass(SignedDuration::from_secs(*pause));
            deed.be_done(&mut run, &groups::name(*node));
            if let Some(broken) = run.watch.broken.clone() {
                return Err(told(&run, &broken));
            }
        }
        self.calm(&mut run).map_err(|problem| told(&run, &problem))?;
        Ok(run)
    }

    /// No more faults, and the operator puts right what the operator must.
    fn calm(&self, run: &mut Run) -> Result<(), String> {
        run.world.0.borrow_mut().faults = Plan::None;
        run.timeout = SignedDuration::from_secs(60);
        run.capacity(None);
        run.free_address();
        run.settings(json!({"suspend": false}));
        for (node, wanted) in NODES.iter().zip(&self.wanted) {
            Deed::Suspend(false).be_done(run, node);
            run.start(node);
            if let Some(wanted) = wanted {
                Deed::Put.be_done(run, node);
                run.edit(node, |item| item["desiredState"] = json!(wanted));
            }
            // An item that was spoilt is put right.
            run.edit(node, |item| item["retention"] = json!({"after": "1h"}));
        }
        if self.group.is_some() || self.backups.is_some() {
            groups::calm(run, self.seed);
        }
        if self.backups.is_some() {
            backups::calm(run);
        }
        conclude(run)?;
        run.guests_write = true;
        // Of one node root and data volumes may be lost, one after the other.
        for _ in 0..4 {
            let lost = run.nodes().into_iter().map(|node| node.to_string());
            let lost: Vec<String> = lost.filter(|node| run.is_blocked(node, "data-missing")).collect();
            if lost.is_empty() {
                break;
            }
            lost.into_iter().for_each(|node| run.restore_what_is_missing(&node));
            conclude(run)?;
            run.guests_write = true;
        }
        Ok(())
    }

    /// A smaller schedule that still fails, with its problem; at most so many are tried.
    pub fn shrunk(&self, problem: String, tries: usize) -> (Self, String) {
        let (mut least, mut problem, mut left) = (self.clone(), problem, tries);
        let simpler = |least: &Self| {
            let calm = Self { faults: Plan::None, ..least.clone() };
            let faithful = Self { delivery: Delivery::Faithful, ..least.clone() };
            let plain = Self { drawn_account: false, timeout: 60, ..least.clone() };
            let without = (0..least.deeds.len()).map(|n| {
                let mut deeds = least.deeds.clone();
                let gone = deeds.remove(n);
                // What comes after comes when it did.
                if let Some(next) = deeds.get_mut(n) {
                    next.0 += gone.0;
                }
                Self { deeds, ..least.clone() }
            });
            let mut all = vec![calm, faithful, plain];
            all.extend(without);
            all
        };
        'smaller: loop {
            for candidate in simpler(&least) {
                let is_smaller = format!("{candidate:?}").len() < format!("{least:?}").len();
                if left == 0 {
                    break 'smaller;
                }
                if !is_smaller {
                    continue;
                }
                left -= 1;
                if let Err(still) = candidate.play() {
                    (least, problem) = (candidate, still);
                    continue 'smaller;
                }
            }
            break;
        }
        (least, problem)
    }
}

impl Deed {
    fn be_done(self, run: &mut Run, node: &str) {
        match self {
            Self::Put => put(run, node),
            Self::Want(state) => run.want(node, state),
            Self::Recycle => run.edit(node, |item| {
                let next = item["recycle"].as_u64().unwrap_or_default() + 1;
                item["recycle"] = json!(next);
            }),
            Self::Delete => run.delete_item(node),
            Self::Spoil => run.edit(node, |item| item["retention"] = json!({"after": "soon"})),
            Self::Suspend(is) => run.edit(node, |item| item["suspend"] = json!(is)),
            Self::SuspendAll(is) => run.settings(json!({"suspend": is})),
            Self::Interrupt(notice) => run.interrupt(node, notice),
            Self::Rebalance => run.recommend_rebalance(node),
            Self::Terminate => run.terminate(node),
            Self::Stop => run.stop(node),
            Self::Start => run.start(node),
            Self::RootGoes => run.root_goes_with_it(node),
            Self::InterfaceGoes => run.interface_goes_with_it(node),
            Self::DropInterface => run.drop_interface(node),
            Self::TakeAddress => run.take_address(node),
            Self::FreeAddress => run.free_address(),
            Self::Deregister => run.deregister_image(node),
            Self::DeleteFinal => run.delete_final(node),
            Self::DeleteNewest => run.delete_newest_snapshot(node),
            Self::DeleteRoot => run.delete_root(node),
            Self::KeepRoot(keep) => run.keep_root(node, keep),
            Self::Grow => run.grow_root(node),
            Self::Scarce => run.capacity(Some(0)),
            Self::Plenty => run.capacity(None),
            Self::FailSnapshots => run.fail_snapshots(),
            Self::FailImages => run.fail_images(),
            Self::Restore => run.restore_from_newest(node),
            Self::Group(deed) => deed.be_done(run, node),
            Self::Data(deed) => deed.be_done(run, node),
            Self::Backup(deed) => deed.be_done(run, node),
        }
    }
}

/// Puts a node's item if it is not there; `recycle` is never lowered within a life.
fn put(run: &mut Run, node: &str) {
    if run.world.0.borrow().config.contains_key(&format!("node#{node}")) {
        return;
    }
    let mut item = data::item(run, node).unwrap_or_else(|| item_of(run, node));
    let recycle = run.world.0.borrow().records.get(node).map_or(0, |r| r.config().recycle);
    item["recycle"] = json!(recycle);
    run.put(item);
}

/// Stories in which an operator's deed that destroys data runs against the tick that would have mended it in
/// time: told with one fault at a time, but not with so many that the tick comes too late.
const RACES: [&str; 4] = [
    "data volumes to go with their instance, found by the tick",
    "root swapped by hand",
    "root to go with its instance, found by the tick, then terminated",
    "image changed by taking the root out for one cycle",
];

/// The run of a seed: a story under random faults, or a random schedule.
///
/// # Errors
/// What was not as it must be; of a schedule the smallest one that fails.
pub fn of_seed(seed: u64) -> Result<Run, String> {
    if !seed.is_multiple_of(4) {
        return Schedule::of(seed).play();
    }
    let draw = |what: u64, n: u64| mix(seed ^ mix(what)) % n;
    let stories: Vec<_> = all().into_iter().filter(|story| !RACES.contains(&story.name)).collect();
    let story = stories[(seed / 4 % stories.len() as u64) as usize];
    let delivery = match draw(2, 6) {
        0 => Delivery::Doubled,
        1 => Delivery::Lost,
        _ => Delivery::Random(seed),
    };
    let faults = Plan::Random { seed, one_in: 8 + draw(3, 60), calls: 200 + draw(4, 600) };
    let run = Run::new(seed, delivery, faults);
    let told = story.tell_in(run).map(|(run, _)| run);
    told.map_err(|problem| format!("{} ({delivery:?}, {faults:?}): {problem}", story.name))
}

/// What to print of a seed that failed: the smallest run that still fails, and how to repeat it.
pub fn explained(seed: u64, problem: String) -> String {
    let again = format!("again with: make sim SEEDS=1 FIRST_SEED={seed}");
    if seed.is_multiple_of(4) {
        return format!("seed {seed} failed; {again}\n{problem}");
    }
    let (least, problem) = Schedule::of(seed).shrunk(problem, 150);
    format!("seed {seed} failed; {again}\nthe smallest schedule that still does: {least:?}\n{problem}")
}

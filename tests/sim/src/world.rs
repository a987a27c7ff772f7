//! The world of one run: the account, the tables, what was published, and the way every call goes.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::task::{Poll, Waker};

use jiff::{SignedDuration, Timestamp};
use perennial_cloud::model::{Cloud, SnapshotState};
use perennial_core::failure::{Class, Failure};
use perennial_core::group::GroupRecord;
use perennial_core::journal::OwnEvent;
use perennial_core::record::Record;
use serde_json::Value;

use crate::faults::{Fault, Plan};
use crate::sabotage::Defect;

/// How long a call to the world takes, unless a run says otherwise.
const LATENCY: SignedDuration = SignedDuration::from_millis(40);

/// The calls that delete something.
const DELETIONS: [&str; 4] =
    ["EC2:DeleteVolume", "EC2:DeregisterImage", "EC2:DeleteSnapshot", "EC2:DeleteNetworkInterface"];

/// Calls side by side, each of a length of its own.
#[derive(Clone, Debug)]
pub struct Traffic {
    /// How long a page of a read of EC2 takes on the average, in milliseconds: it varies by two fifths.
    pub page: u32,
    /// Who waits for which time.
    pub waiting: Vec<(Timestamp, Waker)>,
}

/// How long a call to EC2 takes that changes something.
const CHANGE: SignedDuration = SignedDuration::from_millis(250);
/// How long a call to DynamoDB takes.
const TABLE: SignedDuration = SignedDuration::from_millis(10);

/// What a person does meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Takes our tags off every completed snapshot but the newest of each volume: they are to be kept.
    KeepsSnapshots,
    /// Deletes the newest completed snapshot of each volume.
    DeletesNewest,
    /// Suspends the deployment.
    Suspends,
}

/// Everything outside the functions.
#[derive(Clone, Debug)]
pub struct World {
    /// The account.
    pub cloud: Cloud,
    /// The config table, by id.
    pub config: BTreeMap<String, Value>,
    /// The state table, by partition and sort key.
    pub state: BTreeMap<(String, String), Value>,
    /// The records in the state table, read back from what was written.
    pub records: BTreeMap<String, Record>,
    /// Nodes whose entry in the work index is of a version that did not tell how they stand.
    pub untold: BTreeSet<String>,
    /// The records of groups, by name, as the state table has them.
    pub groups: BTreeMap<String, GroupRecord>,
    /// Own events, in the order of publishing.
    pub published: Vec<OwnEvent>,
    /// Ids of config items that changed, as the stream tells.
    pub stream: Vec<String>,
    /// The calls so far, by name.
    pub calls: BTreeMap<&'static str, u64>,
    /// Every call with the time it was made, if a benchmark wants to know.
    pub log: Option<Vec<(Timestamp, &'static str)>>,
    /// Calls refused because a request bucket of the account was empty.
    pub throttled: u64,
    /// How long a call takes. Calls that are made side by side take their time one after the other here, unless
    /// there is [`Self::traffic`].
    pub latency: SignedDuration,
    /// The calls under way, if calls made side by side are to take their time side by side.
    pub traffic: Option<Traffic>,
    /// Volumes whose snapshots are refused: their key is disabled.
    pub refused: BTreeSet<String>,
    /// What a person does just before the first call of a name is made.
    pub upon: Option<(&'static str, Deed)>,
    /// Number of the next call.
    pub next_call: u64,
    /// What goes wrong.
    pub faults: Plan,
    /// Whether the invocation at work has died.
    pub died: bool,
    /// Whether nothing may be changed, as it stood when the invocation at work began.
    pub suspended: bool,
    /// A changing call that was made all the same.
    pub trespass: Option<String>,
    /// Nodes that rested at some time during the invocation at work.
    pub rested: BTreeSet<String>,
    /// Whether the invocation at work has itself come in between another's calls.
    pub nested: bool,
    /// Changing calls whose first answer was lost, under [`Plan::Repeat`].
    repeated: BTreeSet<String>,
    /// Whether it is the pass over image backups that is at work.
    pub backing_up: bool,
    /// What is wrong with the adapters and tables on purpose.
    pub defect: Option<Defect>,
}

/// A handle on the world, one for each port.
#[derive(Clone, Debug)]
pub struct Handle(pub Rc<RefCell<World>>);

impl World {
    /// An empty world around an account.
    pub fn around(cloud: Cloud, faults: Plan) -> Handle {
        Handle(Rc::new(RefCell::new(Self {
            cloud,
            config: BTreeMap::new(),
            state: BTreeMap::new(),
            records: BTreeMap::new(),
            untold: BTreeSet::new(),
            groups: BTreeMap::new(),
            published: Vec::new(),
            stream: Vec::new(),
            calls: BTreeMap::new(),
            log: None,
            throttled: 0,
            latency: LATENCY,
            traffic: None,
            refused: BTreeSet::new(),
            upon: None,
            next_call: 0,
            faults,
            died: false,
            suspended: false,
            trespass: None,
            rested: BTreeSet::new(),
            nested: false,
            repeated: BTreeSet::new(),
            backing_up: false,
            defect: None,
        })))
    }

    /// Whether no node may be changed: the settings say so, or every node's own config does.
    pub fn is_suspended(&self) -> bool {
        let settings = self.state.get(&("settings".to_owned(), "record".to_owned()));
        settings.is_some_and(|settings| settings["suspend"] == true)
            || (!self.records.is_empty() && self.records.values().all(|record| record.config().suspend))
    }

    /// An invocation begins.
    pub fn fresh(&mut self) {
        self.died = false;
        let resting = self.records.iter().filter(|(_, record)| record.phase.is_resting());
        self.rested = resting.map(|(node, _)| node.clone()).collect();
    }

    /// How long the call takes that is made now.
    fn length(&self, name: &str) -> SignedDuration {
        match &self.traffic {
            None => self.latency,
            Some(traffic) if name.starts_with("EC2:Describe") => {
                let page = i64::from(traffic.page);
                let varies = (self.next_call.wrapping_mul(137) % 401) as i64;
                SignedDuration::from_millis(page * (600 + 2 * varies) / 1000)
            }
            Some(_) if name.starts_with("EC2:") => CHANGE,
            Some(_) => TABLE,
        }
    }

    /// Lets time pass until the first of the calls under way is over; `false` if there is none.
    pub fn next_answer(&mut self) -> bool {
        let Some(waiting) = self.traffic.as_ref().map(|traffic| &traffic.waiting) else { return false };
        let Some(next) = waiting.iter().map(|(at, _)| *at).min() else { return false };
        self.cloud.advance(next);
        if let Some(traffic) = &mut self.traffic {
            let (over, waiting) =
                std::mem::take(&mut traffic.waiting).into_iter().partition(|(at, _)| *at <= next);
            traffic.waiting = waiting;
            let over: Vec<(Timestamp, Waker)> = over;
            over.into_iter().for_each(|(_, waker)| waker.wake());
        }
        true
    }

    /// Does what a person does just before a call of this name, once.
    fn meanwhile(&mut self, name: &str) {
        let Some((_, deed)) = self.upon.take_if(|(upon, _)| *upon == name) else { return };
        if deed == Deed::Suspends {
            let item = self.state.entry(("settings".to_owned(), "record".to_owned()));
            let item = item.or_insert_with(|| serde_json::json!({"generation": 1, "hash": ""}));
            item["suspend"] = true.into();
            return;
        }
        let mut newest: BTreeMap<String, (Timestamp, String)> = BTreeMap::new();
        let completed = self.cloud.snapshots().filter(|it| it.state == SnapshotState::Completed);
        let completed: Vec<_> =
            completed.map(|it| (it.volume_id.clone(), (it.start_time, it.id.clone()))).collect();
        for (volume, of) in &completed {
            let known = newest.entry(volume.clone()).or_insert_with(|| of.clone());
            *known = known.clone().max(of.clone());
        }
        let is_newest = |volume: &str, id: &str| newest.get(volume).is_some_and(|(_, newest)| newest == id);
        for (volume, (_, id)) in &completed {
            match deed {
                Deed::KeepsSnapshots if !is_newest(volume, id) => {
                    let ours = [(perennial_core::names::TAG_DEPLOYMENT.to_owned(), None)];
                    let _ = self.cloud.delete_tags(std::slice::from_ref(id), &ours);
                }
                Deed::DeletesNewest if is_newest(volume, id) => {
                    let _ = self.cloud.delete_snapshot(id);
                }
                Deed::KeepsSnapshots | Deed::DeletesNewest | Deed::Suspends => {}
            }
        }
    }

    /// Takes note of a call that changes the account, and says whether its answer is to be lost.
    fn change(&mut self, name: &'static str, what: &str) -> Option<Fault> {
        // It may have been lifted meanwhile, by this very invocation.
        if self.suspended && self.is_suspended() {
            self.trespass.get_or_insert_with(|| format!("{name} was called while all is suspended"));
        }
        let is_first = self.faults == Plan::Repeat && self.repeated.insert(format!("{name} {what}"));
        is_first.then_some(Fault::LoseAnswer)
    }
}

impl Handle {
    /// Makes one call to the world, unless the plan has something else in mind for it.
    pub async fn call<T>(
        &self,
        name: &'static str,
        effect: impl FnOnce(&mut World) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.make(name, None, effect).await
    }

    /// The same for a call that changes the account; `what` tells it from others of its name.
    pub async fn change<T>(
        &self,
        name: &'static str,
        what: String,
        effect: impl FnOnce(&mut World) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.make(name, Some(what), effect).await
    }

    async fn make<T>(
        &self,
        name: &'static str,
        change: Option<String>,
        effect: impl FnOnce(&mut World) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let (number, over) = {
            let mut world = self.0.borrow_mut();
            world.meanwhile(name);
            let number = world.next_call;
            world.next_call += 1;
            *world.calls.entry(name).or_default() += 1;
            let now = world.cloud.now();
            if let Some(log) = &mut world.log {
                log.push((now, name));
            }
            let length = world.length(name);
            if world.traffic.is_none() {
                world.cloud.pass(length);
            }
            (number, now + length)
        };
        self.reached(over).await;
        let fault = {
            let mut world = self.0.borrow_mut();
            let planned = world.faults.at(number);
            change.and_then(|what| world.change(name, &what)).or(planned)
        };
        let Some(fault) = fault else { return effect(&mut self.0.borrow_mut()) };
        if fault == Fault::Overtaken {
            if !std::mem::replace(&mut self.0.borrow_mut().nested, true) {
                crate::run::tick_by_another(self);
                self.0.borrow_mut().nested = false;
            }
            return effect(&mut self.0.borrow_mut());
        }
        // That something to be deleted is not found means that it is gone: somebody was faster.
        let is_deletion = DELETIONS.contains(&name);
        let was_faster = is_deletion && fault == Fault::Refused(Class::NotFound);
        if was_faster {
            effect(&mut self.0.borrow_mut())?;
        } else if fault.has_effect() {
            let _ = effect(&mut self.0.borrow_mut());
        }
        if fault.kills() {
            self.0.borrow_mut().died = true;
            std::future::pending::<()>().await;
        }
        Err(fault.failure(name))
    }

    /// Waits until a time has come, if calls take their time side by side.
    pub(crate) async fn reached(&self, at: Timestamp) {
        std::future::poll_fn(|context| {
            let mut world = self.0.borrow_mut();
            let is_over = world.cloud.now() >= at;
            match &mut world.traffic {
                Some(traffic) if !is_over => {
                    traffic.waiting.push((at, context.waker().clone()));
                    Poll::Pending
                }
                Some(_) | None => Poll::Ready(()),
            }
        })
        .await;
    }

    /// A world of its own, the same up to now.
    pub fn fork(&self) -> Self {
        Self(Rc::new(RefCell::new(self.0.borrow().clone())))
    }
}

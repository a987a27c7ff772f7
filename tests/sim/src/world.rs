//! The world of one run: the account, the tables, what was published, and the way every call goes.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use jiff::{SignedDuration, Timestamp};
use perennial_cloud::model::Cloud;
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
    /// How long a call takes. Calls that are made side by side take their time one after the other here.
    pub latency: SignedDuration,
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
            groups: BTreeMap::new(),
            published: Vec::new(),
            stream: Vec::new(),
            calls: BTreeMap::new(),
            log: None,
            throttled: 0,
            latency: LATENCY,
            next_call: 0,
            faults,
            died: false,
            suspended: false,
            trespass: None,
            rested: BTreeSet::new(),
            nested: false,
            repeated: BTreeSet::new(),
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
        let fault = {
            let mut world = self.0.borrow_mut();
            let number = world.next_call;
            world.next_call += 1;
            *world.calls.entry(name).or_default() += 1;
            let now = world.cloud.now();
            if let Some(log) = &mut world.log {
                log.push((now, name));
            }
            let latency = world.latency;
            world.cloud.pass(latency);
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

    /// A world of its own, the same up to now.
    pub fn fork(&self) -> Self {
        Self(Rc::new(RefCell::new(self.0.borrow().clone())))
    }
}

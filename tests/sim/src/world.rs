//! The world of one run: the account, the tables, what was published, and the way every call goes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use jiff::{SignedDuration, Timestamp};
use perennial_cloud::model::Cloud;
use perennial_core::failure::Failure;
use perennial_core::journal::OwnEvent;
use perennial_core::record::Record;
use serde_json::Value;

use crate::faults::{Fault, Plan};

/// How long a call to the world takes.
const LATENCY: SignedDuration = SignedDuration::from_millis(40);

/// Everything outside the functions.
#[derive(Debug)]
pub struct World {
    /// The account.
    pub cloud: Cloud,
    /// The config table, by id.
    pub config: BTreeMap<String, Value>,
    /// The state table, by partition and sort key.
    pub state: BTreeMap<(String, String), Value>,
    /// The records in the state table, read back from what was written.
    pub records: BTreeMap<String, Record>,
    /// Own events, in the order of publishing.
    pub published: Vec<OwnEvent>,
    /// Ids of config items that changed, as the stream tells.
    pub stream: Vec<String>,
    /// The calls so far, by name.
    pub calls: BTreeMap<&'static str, u64>,
    /// Every call with the time it was made, if a benchmark wants to know.
    pub log: Option<Vec<(Timestamp, &'static str)>>,
    /// Number of the next call.
    pub next_call: u64,
    /// What goes wrong.
    pub faults: Plan,
    /// Whether the invocation at work has died.
    pub died: bool,
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
            published: Vec::new(),
            stream: Vec::new(),
            calls: BTreeMap::new(),
            log: None,
            next_call: 0,
            faults,
            died: false,
        })))
    }
}

impl Handle {
    /// Makes one call to the world, unless the plan has something else in mind for it.
    pub async fn call<T>(
        &self,
        name: &'static str,
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
            world.cloud.pass(LATENCY);
            world.faults.at(number)
        };
        let Some(fault) = fault else { return effect(&mut self.0.borrow_mut()) };
        if fault == Fault::Overtaken {
            crate::run::tick_by_another(self);
            return effect(&mut self.0.borrow_mut());
        }
        if fault.has_effect() {
            let _ = effect(&mut self.0.borrow_mut());
        }
        if fault.kills() {
            self.0.borrow_mut().died = true;
            std::future::pending::<()>().await;
        }
        Err(fault.failure(name))
    }
}

//! Running a world: functions woken by events and ticks, one after the other, in virtual time.
//!
//! Deliveries are made as the run's [`Delivery`] says: as they come, twice, or never. Whatever it says,
//! the end must be the same.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use jiff::{SignedDuration, Timestamp};
use perennial_cloud::model::{Cloud, Defaults, Settings, WriteTarget};
use perennial_core::event;
use perennial_core::failure::Failure;
use perennial_core::phase::Phase;
use perennial_core::record::Record;
use perennial_engine::Engine;
use serde_json::Value;

use crate::clock::SimClock;
use crate::ec2::SimEc2;
use crate::faults::Plan;
use crate::invariants::Watch;
use crate::store::Tables;
use crate::world::{Handle, World};

/// How events and stream records reach the functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Each once, in order.
    Faithful,
    /// Each twice.
    Doubled,
    /// None at all: only the minute tick.
    Lost,
}

/// The deployment of every simulation.
pub const DEPLOYMENT: &str = "sim";

/// A run under way.
#[derive(Debug)]
pub struct Run {
    /// The world.
    pub world: Handle,
    /// Ids of what the account had from the start.
    pub defaults: Defaults,
    /// What is watched after every step.
    pub watch: Watch,
    delivery: Delivery,
    invocations: u64,
    next_tick: Timestamp,
    /// Whether guests of running nodes write all the time.
    pub guests_write: bool,
}

type SimEngine = Engine<SimEc2, Tables, Tables, SimClock>;

impl Run {
    /// A fresh account with its tables.
    pub fn new(seed: u64, delivery: Delivery, faults: Plan) -> Self {
        let start = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * 365 * 56);
        let mut cloud = Cloud::new(start, seed, Settings::default());
        let defaults = cloud.seed_defaults();
        Self {
            world: World::new(cloud, faults),
            defaults,
            watch: Watch::default(),
            delivery,
            invocations: 0,
            next_tick: start + SignedDuration::from_secs(60),
            guests_write: true,
        }
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        self.world.0.borrow().cloud.now()
    }

    /// The record of a node.
    pub fn record(&self, node: &str) -> Option<Record> {
        self.world.0.borrow().records.get(node).cloned()
    }

    /// Puts a config item, as the operator does.
    pub fn put(&mut self, item: Value) {
        let mut world = self.world.0.borrow_mut();
        let id = item["id"].as_str().unwrap_or_default().to_owned();
        world.config.insert(id.clone(), item);
        world.stream.push(id);
    }

    fn engine(&mut self) -> SimEngine {
        self.invocations += 1;
        Engine {
            ec2: SimEc2(self.world.clone()),
            store: Tables(self.world.clone()),
            bus: Tables(self.world.clone()),
            clock: SimClock::new(&self.world, SignedDuration::from_secs(60)),
            deployment: DEPLOYMENT.to_owned(),
            invocation: format!("invocation-{}", self.invocations),
        }
    }

    /// Lets the world go on for so long.
    pub fn pass(&mut self, how_long: SignedDuration) {
        let until = self.now() + how_long;
        while self.now() < until {
            self.deliver();
            let next = self.world.0.borrow().cloud.next_change().unwrap_or(until);
            let next = next.min(self.next_tick).min(until).max(self.now());
            self.guests();
            self.world.0.borrow_mut().cloud.advance(next);
            self.check();
            if self.now() >= self.next_tick {
                self.next_tick += SignedDuration::from_secs(60);
                self.tick();
            }
        }
        self.deliver();
    }

    /// Lets the world go on until something is so, at most so long. Whether it came to be.
    pub fn until(&mut self, at_most: SignedDuration, so: impl Fn(&Self) -> bool) -> bool {
        let end = self.now() + at_most;
        while self.now() < end {
            if so(self) {
                return true;
            }
            self.pass(SignedDuration::from_secs(1));
        }
        so(self)
    }

    /// Lets the world go on until a node runs in a cycle, with nothing left to do for it.
    pub fn until_settled(&mut self, node: &str, cycle: u32, at_most: SignedDuration) -> bool {
        self.until(at_most, |run| {
            run.is_settled(node) && run.world.0.borrow().records.get(node).is_some_and(|r| r.cycle == cycle)
        })
    }

    /// Whether a node runs with nothing left to do for it.
    pub fn is_settled(&self, node: &str) -> bool {
        let world = self.world.0.borrow();
        world.records.get(node).is_some_and(|r| r.phase == Phase::Running && r.work_at.is_none())
    }

    /// The guests of running instances write, until the last moment before something changes.
    pub fn guests(&mut self) {
        if !self.guests_write {
            return;
        }
        let mut world = self.world.0.borrow_mut();
        let running: Vec<(String, String)> = world
            .cloud
            .live_instances()
            .filter_map(|i| Some((i.id.clone(), i.tags.get(perennial_core::names::TAG_NODE)?.clone())))
            .collect();
        for (id, node) in running {
            if let Ok(writes) = world.cloud.write(WriteTarget::Instance(id), 1) {
                self.watch.wrote(&node, writes);
            }
        }
    }

    fn deliver(&mut self) {
        // One event may bring about others; a bound keeps a defect from spinning.
        for _ in 0..1000 {
            let (events, stream) = {
                let mut world = self.world.0.borrow_mut();
                (world.cloud.take_events(), std::mem::take(&mut world.stream))
            };
            if events.is_empty() && stream.is_empty() {
                return;
            }
            let times = match self.delivery {
                Delivery::Faithful => 1,
                Delivery::Doubled => 2,
                Delivery::Lost => 0,
            };
            for id in stream {
                for _ in 0..times {
                    self.invoke(async |engine| engine.configure(&id).await.map(|_| ()));
                }
            }
            for json in events {
                for _ in 0..times {
                    if let Ok(envelope) = event::parse(&json) {
                        self.invoke(async |engine| engine.take_event(&envelope).await.map(|_| ()));
                    }
                }
            }
        }
    }

    fn tick(&mut self) {
        self.invoke(async |engine| engine.reconcile().await.map(|_| ()));
        self.invoke(async |engine| engine.snapshot_pass().await.map(|_| ()));
    }

    /// Runs one invocation to its end, or to its death.
    fn invoke(&mut self, work: impl AsyncFnOnce(&SimEngine) -> Result<(), Failure>) {
        let engine = self.engine();
        self.world.0.borrow_mut().died = false;
        let mut future = pin!(work(&engine));
        let mut context = Context::from_waker(Waker::noop());
        // Every call answers at once; only a dead invocation is pending.
        match future.as_mut().poll(&mut context) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(failure)) => self.watch.failures.push(failure),
            Poll::Pending => debug_assert!(self.world.0.borrow().died, "only the dead are pending"),
        }
        self.check();
    }

    fn check(&mut self) {
        self.watch.look(&self.world.0.borrow());
    }
}

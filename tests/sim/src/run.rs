//! Running a world: functions woken by events and ticks, one after the other, in virtual time.
//!
//! Deliveries are made as the run's [`Delivery`] says: as they come, twice, or never. Whatever it says,
//! the end must be the same.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use jiff::{SignedDuration, Timestamp};
use perennial_cloud::model::{Cloud, Defaults, Settings};
use perennial_core::event;
use perennial_core::failure::Failure;
use perennial_core::phase::Phase;
use perennial_core::record::Record;
use perennial_engine::Engine;
use perennial_engine::passes::Tick;
use serde_json::Value;

use crate::account::Foreign;
use crate::clock::SimClock;
use crate::ec2::SimEc2;
use crate::faults::{Plan, mix};
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
    /// Each lost, doubled, or late and so out of order, as a seed has it.
    Random(u64),
}

/// The deployment of every simulation.
pub const DEPLOYMENT: &str = "sim";

/// A run under way.
#[derive(Clone, Debug)]
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
    deliveries: u64,
    late: Vec<(Timestamp, Delivered)>,
    /// Whether guests of running nodes write all the time.
    pub guests_write: bool,
    /// How long an invocation may take.
    pub timeout: SignedDuration,
    /// What a story remembers from one act to the next.
    pub notes: BTreeMap<&'static str, String>,
    /// The address that each life had first.
    pub addresses: BTreeMap<String, Ipv4Addr>,
    /// What the last reconcile tick that came to its end did, and when.
    pub last_tick: Option<(Timestamp, Tick)>,
}

/// Something a function is woken by.
#[derive(Clone, Debug)]
enum Delivered {
    /// An event of the account.
    Event(Value),
    /// A change of a config item.
    Change(String),
}

pub(crate) type SimEngine = Engine<SimEc2, Tables, Tables, SimClock>;

/// How long an invocation may take, as deployed.
pub(crate) const TIMEOUT: SignedDuration = SignedDuration::from_secs(60);

pub(crate) fn engine(world: &Handle, invocation: String, timeout: SignedDuration) -> SimEngine {
    Engine {
        ec2: SimEc2(world.clone()),
        store: Tables(world.clone()),
        bus: Tables(world.clone()),
        clock: SimClock::new(world, timeout),
        deployment: DEPLOYMENT.to_owned(),
        invocation,
    }
}

/// Another invocation's tick, from beginning to end, while one is at work.
pub(crate) fn tick_by_another(world: &Handle) {
    let number = world.0.borrow().next_call;
    let other = engine(world, format!("another-{number}"), TIMEOUT);
    let before = begin(world);
    let mut future = pin!(other.reconcile());
    // Its failures are its own: the tick after it goes on.
    let _ = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    world.0.borrow_mut().suspended = before;
}

/// An invocation begins: what was suspended before it is suspended for it. Answers how it was.
fn begin(world: &Handle) -> bool {
    let mut world = world.0.borrow_mut();
    let now = world.is_suspended();
    std::mem::replace(&mut world.suspended, now)
}

impl Run {
    /// A fresh account with its tables, and the latencies that the model has by itself.
    pub fn new(seed: u64, delivery: Delivery, faults: Plan) -> Self {
        Self::in_account(seed, delivery, faults, Settings::default())
    }

    /// The same with other settings of the account.
    pub fn in_account(seed: u64, delivery: Delivery, faults: Plan, settings: Settings) -> Self {
        let start = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * 365 * 56);
        Self::beginning(start, seed, delivery, faults, settings)
    }

    /// The same from another moment on.
    pub fn beginning(
        start: Timestamp,
        seed: u64,
        delivery: Delivery,
        faults: Plan,
        settings: Settings,
    ) -> Self {
        let mut cloud = Cloud::new(start, seed, settings);
        let defaults = cloud.seed_defaults();
        let foreign = Foreign::seed(&mut cloud, &defaults);
        let start = cloud.now();
        Self {
            world: World::around(cloud, faults),
            defaults,
            watch: Watch::over(foreign),
            delivery,
            invocations: 0,
            deliveries: 0,
            late: Vec::new(),
            next_tick: start + SignedDuration::from_secs(60),
            guests_write: true,
            timeout: TIMEOUT,
            notes: BTreeMap::new(),
            addresses: BTreeMap::new(),
            last_tick: None,
        }
    }

    /// A run of its own, the same up to now.
    pub fn fork(&self) -> Self {
        Self { world: self.world.fork(), ..self.clone() }
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
        engine(&self.world, format!("invocation-{}", self.invocations), self.timeout)
    }

    /// Lets the world go on for so long.
    pub fn pass(&mut self, how_long: SignedDuration) {
        let until = self.now() + how_long;
        while self.now() < until {
            self.step(until);
        }
        self.deliver();
    }

    /// Lets the world go on to the next thing that happens, and not beyond a time.
    pub fn step(&mut self, at_most: Timestamp) {
        self.deliver();
        let (now, next_change) = (self.now(), self.world.0.borrow().cloud.next_change());
        let late = self.late.iter().map(|(at, _)| *at).min();
        let next = [next_change, late, Some(self.next_tick), Some(at_most)].into_iter().flatten().min();
        let next = next.unwrap_or(at_most).max(now);
        self.guests();
        self.world.0.borrow_mut().cloud.advance(next);
        self.check();
        if self.now() >= self.next_tick {
            self.next_tick += SignedDuration::from_secs(60);
            self.tick();
        }
    }

    /// Lets the world go on until something is so, at most so long. Whether it came to be.
    pub fn until(&mut self, at_most: SignedDuration, so: impl Fn(&Self) -> bool) -> bool {
        let end = self.now() + at_most;
        while self.now() < end {
            if so(self) {
                return true;
            }
            self.step(end);
            if self.watch.broken.is_some() {
                return so(self);
            }
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
            .filter(|i| self.watch.is_ours(&i.tags))
            .filter_map(|i| Some((i.id.clone(), i.tags.get(perennial_core::names::TAG_NODE)?.clone())))
            .collect();
        for (id, node) in running {
            let Ok(written) = world.cloud.write_all(&id, 1) else { continue };
            let root = world.cloud.instance(&id).and_then(|it| it.root()).map(|root| root.volume_id.clone());
            for (volume, writes) in written {
                match Some(&volume) == root.as_ref() {
                    true => self.watch.wrote(&node, writes),
                    false => self.watch.wrote_data(&world, &volume, writes),
                }
            }
        }
    }

    fn deliver(&mut self) {
        // One event may bring about others; a bound keeps a defect from spinning.
        for _ in 0..1000 {
            let fresh: Vec<Delivered> = {
                let mut world = self.world.0.borrow_mut();
                let events = world.cloud.take_events().into_iter().map(Delivered::Event);
                let stream = std::mem::take(&mut world.stream).into_iter().map(Delivered::Change);
                stream.chain(events.collect::<Vec<_>>()).collect()
            };
            let now = self.now();
            let (due, late) = std::mem::take(&mut self.late).into_iter().partition(|(at, _)| *at <= now);
            self.late = late;
            let due: Vec<(Timestamp, Delivered)> = due;
            if fresh.is_empty() && due.is_empty() {
                return;
            }
            for (_, delivered) in due {
                self.hand_over(&delivered);
            }
            for delivered in fresh {
                for delay in self.fate() {
                    match delay {
                        SignedDuration::ZERO => self.hand_over(&delivered),
                        delay => self.late.push((now + delay, delivered.clone())),
                    }
                }
            }
        }
    }

    /// How late each copy of the next delivery arrives; no copy, no arrival.
    fn fate(&mut self) -> Vec<SignedDuration> {
        self.deliveries += 1;
        match self.delivery {
            Delivery::Faithful => vec![SignedDuration::ZERO],
            Delivery::Doubled => vec![SignedDuration::ZERO; 2],
            Delivery::Lost => Vec::new(),
            Delivery::Random(seed) => {
                let draw = mix(seed ^ mix(self.deliveries));
                let late = SignedDuration::from_secs((draw >> 8) as i64 & 255);
                match draw % 4 {
                    0 => Vec::new(),
                    1 => vec![late],
                    2 => vec![SignedDuration::ZERO, late],
                    _ => vec![SignedDuration::ZERO],
                }
            }
        }
    }

    fn hand_over(&mut self, delivered: &Delivered) {
        match delivered {
            Delivered::Change(id) => self.invoke(async |engine| engine.configure(id).await.map(|_| ())),
            Delivered::Event(json) => {
                if let Ok(envelope) = event::parse(json) {
                    self.invoke(async |engine| engine.take_event(&envelope).await.map(|_| ()));
                }
            }
        }
    }

    fn tick(&mut self) {
        let (began, mut done) = (self.now(), None);
        self.invoke(async |engine| {
            done = Some(engine.reconcile().await?);
            Ok(())
        });
        self.last_tick = done.map(|tick| (began, tick)).or(self.last_tick.take());
        self.invoke(async |engine| engine.snapshot_pass().await.map(|_| ()));
        let has_backups = self.world.0.borrow().groups.values().any(|group| group.backups.is_some());
        // Without any the pass is one read, and more calls to be broken are no more stories.
        if has_backups {
            self.world.0.borrow_mut().backing_up = true;
            self.invoke(async |engine| engine.backup_pass().await.map(|_| ()));
            self.world.0.borrow_mut().backing_up = false;
        }
    }

    /// Runs one invocation to its end, or to its death.
    fn invoke(&mut self, work: impl AsyncFnOnce(&SimEngine) -> Result<(), Failure>) {
        let engine = self.engine();
        begin(&self.world);
        self.world.0.borrow_mut().fresh();
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

    /// Looks at everything, and at what happened during the last invocation.
    pub fn check(&mut self) {
        let world = self.world.0.borrow();
        self.watch.look(&world);
        for record in world.records.values() {
            if let Some(network) = &record.network
                && !self.addresses.contains_key(&record.life)
            {
                self.addresses.insert(record.life.clone(), network.private_ip);
            }
        }
    }
}

//! Everything one local cloud holds, behind one lock, and how its time goes on.
//!
//! Decides the order of what happens: before anything is read or changed, whatever fell due by itself happens first,
//! in order of time - in the model, on the schedules, among retries. Runs no function itself and speaks no protocol.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::agenda::{Agenda, earlier};
use crate::bus;
use crate::clock::Clock;
use crate::dynamodb::Tables;
use crate::faults::Faults;
use crate::host::{Delivery, Host, Trigger};
use crate::iam::{PartitionKeys, Rights, asks_of_stream};
use crate::journal::{Call, DeadLetter, Invocation, Journal, Published};
use crate::log::Log;
use crate::model::Cloud;
use crate::streams::Mapping;
use crate::template::{Rule, Template};

/// How often expired items are removed, in cloud time. AWS promises "within a few days" only.
const EXPIRY_SWEEP: jiff::SignedDuration = jiff::SignedDuration::from_hours(1);

/// What falls due by itself outside the model.
#[derive(Debug)]
pub(crate) enum Task {
    /// A schedule of a function.
    Tick(String, usize),
    /// A delivery that was put off: delayed by a fault, or tried again.
    Deliver(String, Delivery),
    /// An invocation has run for as long as it may.
    Deadline(String, u64),
    /// A stream's batch may go on.
    Stream,
    /// Expired items are removed.
    Expire,
}

/// Where and who.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) region: String,
    pub(crate) account: String,
}

/// Who runs, and with which rights; there are no hosts when no functions are run.
pub(crate) struct Staff {
    pub(crate) hosts: BTreeMap<String, Host>,
    pub(crate) rights: Rights,
}

/// What the lock holds.
pub(crate) struct State {
    pub(crate) now: Timestamp,
    pub(crate) clock: Clock,
    pub(crate) identity: Identity,
    pub(crate) log: Arc<Log>,
    pub(crate) cloud: Cloud,
    pub(crate) tables: Tables,
    pub(crate) agenda: Agenda<Task>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) buses: Vec<String>,
    pub(crate) faults: Faults,
    pub(crate) hosts: BTreeMap<String, Host>,
    pub(crate) mappings: Vec<Mapping>,
    pub(crate) calls: Journal<Call>,
    pub(crate) invocations: Journal<Invocation>,
    pub(crate) published: Journal<Published>,
    /// Events of the model itself, for whoever delivers them to functions that run elsewhere.
    pub(crate) emitted: Journal<Value>,
    pub(crate) dead_letters: Journal<DeadLetter>,
    pub(crate) rights: Rights,
    pub(crate) partition_keys: PartitionKeys,
    ids: u64,
    seed: u64,
    /// When the ticker wakes by itself.
    sleeping_until: Option<Timestamp>,
}

/// One local cloud.
pub(crate) struct World {
    state: Mutex<State>,
    ticker: Notify,
}

impl World {
    /// Puts a world together.
    pub(crate) fn new(
        clock: Clock,
        seed: u64,
        cloud: Cloud,
        tables: Tables,
        template: Template,
        staff: Staff,
        log: Arc<Log>,
    ) -> Result<World, String> {
        let identity =
            Identity { region: cloud.settings().region.clone(), account: cloud.settings().account.clone() };
        let mut state = State {
            now: clock.start(),
            clock,
            identity,
            log,
            cloud,
            tables,
            agenda: Agenda::new(),
            rules: template.rules,
            buses: template.buses,
            faults: Faults::default(),
            hosts: staff.hosts,
            mappings: Vec::new(),
            calls: Journal::new(),
            invocations: Journal::new(),
            published: Journal::new(),
            emitted: Journal::new(),
            dead_letters: Journal::new(),
            rights: staff.rights,
            partition_keys: template.tables.iter().map(crate::template::Table::partition_key).collect(),
            ids: 0,
            seed,
            sleeping_until: None,
        };
        state.agenda.add(state.now + EXPIRY_SWEEP, Task::Expire);
        for (folder, host) in &state.hosts {
            for (index, schedule) in host.function.schedules.iter().enumerate() {
                state.agenda.add(state.now + schedule.every, Task::Tick(folder.clone(), index));
            }
            for source in &host.function.streams {
                let stream = state.tables.open_stream(&source.table)?;
                let asks = asks_of_stream(&state.identity, &source.table);
                state.rights.judge(folder, &asks).map_err(|denial| denial.message())?;
                let region = &state.identity.region;
                state.mappings.push(Mapping::new(source.clone(), folder, stream, region));
            }
        }
        Ok(World { state: Mutex::new(state), ticker: Notify::new() })
    }

    /// Does `work` at the present time: what fell due before happens first, what it causes at once happens after.
    pub(crate) fn at_present<R>(&self, work: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.catch_up();
        let result = work(&mut state);
        state.settle();
        let next = state.next_due();
        if earlier(next, state.sleeping_until) != state.sleeping_until {
            self.ticker.notify_one();
        }
        result
    }

    /// Lets things happen at their time, without end.
    pub(crate) async fn tick(&self) {
        loop {
            let wait = {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                state.catch_up();
                state.sleeping_until = state.next_due();
                state.sleeping_until.map(|due| state.clock.real_until(due))
            };
            match wait {
                Some(wait) => drop(tokio::time::timeout(wait, self.ticker.notified()).await),
                None => self.ticker.notified().await,
            }
        }
    }
}

impl State {
    /// Brings everything up to the present time.
    fn catch_up(&mut self) {
        let present = self.clock.now().max(self.now);
        loop {
            let change = self.cloud.next_change().filter(|at| *at <= present);
            let due = self.agenda.next_due().filter(|at| *at <= present);
            match (change, due) {
                (None, None) => break,
                (Some(change), due) if due.is_none_or(|due| change <= due) => {
                    self.now = self.now.max(change);
                    self.cloud.advance(change);
                }
                (_, _) => {
                    if let Some((due, task)) = self.agenda.take_due(present) {
                        self.now = self.now.max(due);
                        self.cloud.advance(due);
                        self.run(due, task);
                    }
                }
            }
            self.settle();
        }
        self.now = present;
        self.cloud.advance(present);
        self.settle();
    }

    fn next_due(&self) -> Option<Timestamp> {
        earlier(self.cloud.next_change(), self.agenda.next_due())
    }

    /// Sends out what the model has emitted and the streams hold.
    fn settle(&mut self) {
        for event in self.cloud.take_events() {
            self.route("default", &event);
            self.emitted.add(event);
        }
        self.pump_streams();
    }

    fn run(&mut self, due: Timestamp, task: Task) {
        match task {
            Task::Tick(function, index) => self.tick_schedule(due, &function, index),
            Task::Deliver(function, delivery) => {
                if let Some(host) = self.hosts.get_mut(&function) {
                    host.enqueue(delivery);
                }
            }
            Task::Deadline(function, entry) => self.deadline(&function, entry),
            // Settling, which follows every task, pumps the streams.
            Task::Stream => {}
            Task::Expire => {
                self.agenda.add(due + EXPIRY_SWEEP, Task::Expire);
                match self.tables.expire_items() {
                    Ok(0) => {}
                    Ok(_) => self.read_streams(|_| true),
                    Err(error) => self.log.problem(due, &format!("expired items stay: {error}")),
                }
            }
        }
    }

    fn tick_schedule(&mut self, due: Timestamp, function: &str, index: usize) {
        let Some(schedule) = self.hosts.get(function).and_then(|host| host.function.schedules.get(index))
        else {
            return;
        };
        let (every, rule_arn) = (schedule.every, schedule.rule_arn.clone());
        self.agenda.add(due + every, Task::Tick(function.to_owned(), index));
        let event = json!({
            "version": "0", "id": self.new_id(), "detail-type": "Scheduled Event", "source": "aws.events",
            "account": self.identity.account, "time": bus::event_time(due), "region": self.identity.region,
            "resources": [rule_arn], "detail": {},
        });
        self.deliver(function, Trigger::Schedule(index), &event);
    }

    /// Reads new records of the streams of the tables that `wanted` names.
    pub(crate) fn read_streams(&mut self, wanted: impl Fn(&str) -> bool) {
        let now = self.now;
        for mapping in self.mappings.iter_mut().filter(|mapping| wanted(&mapping.source.table)) {
            match self.tables.read_stream(&mapping.iterator) {
                Ok((records, next)) => {
                    mapping.iterator = next;
                    for record in records {
                        let id =
                            record["dynamodb"]["Keys"]["id"]["S"].as_str().unwrap_or_default().to_owned();
                        let concerns = |node: &str| id.strip_prefix("node#") == Some(node);
                        let fate = self.faults.of_delivery("stream", false, concerns);
                        mapping.accept(record, fate, now);
                    }
                }
                Err(error) => self.log.problem(now, &format!("stream of {}: {error}", mapping.source.table)),
            }
        }
    }

    /// A fresh id in the shape of a UUID; the same run gives the same ids.
    pub(crate) fn new_id(&mut self) -> String {
        self.ids += 1;
        let seed = self.seed;
        format!(
            "{:08x}-{:04x}-4{:03x}-8000-{:012x}",
            seed & 0xffff_ffff,
            (seed >> 32) & 0xffff,
            (seed >> 48) & 0xfff,
            self.ids & 0xffff_ffff_ffff
        )
    }

    /// Whether functions are run at all.
    pub(crate) fn hosts_functions(&self) -> bool {
        !self.hosts.is_empty()
    }

    /// Adds what was published to the journal and sends it to the rules of its bus.
    pub(crate) fn publish(&mut self, bus: &str, event: Value) {
        self.route(bus, &event);
        self.published.add(Published { bus: bus.to_owned(), event });
    }
}

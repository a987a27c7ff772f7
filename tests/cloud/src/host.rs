//! One function as its host sees it: what waits for it, what it is working on, and whether it may be given work.
//!
//! Decides the order of deliveries and that a function works on one at a time, since one process hosts it. On AWS a
//! second schedule tick would run beside a slow first one; here one tick waits and older ones are dropped and counted.

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::Notify;

use crate::template::Function;

/// What a delivery is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trigger {
    /// An event of this detail-type.
    Event(String),
    /// A tick of the schedule with this number.
    Schedule(usize),
    /// A batch of the mapping with this number.
    Stream(usize),
}

impl Trigger {
    /// As the control endpoints name it: the detail-type, or `stream`.
    pub(crate) fn name(&self) -> &str {
        match self {
            Trigger::Event(detail_type) => detail_type,
            Trigger::Schedule(_) => "Scheduled Event",
            Trigger::Stream(_) => "stream",
        }
    }
}

/// One event on its way to a function.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    /// The same for all attempts, as on AWS.
    pub(crate) request_id: String,
    pub(crate) trigger: Trigger,
    pub(crate) payload: String,
    /// Failed attempts so far.
    pub(crate) failures: u32,
    /// When it was first queued.
    pub(crate) since: Timestamp,
}

/// The delivery that a function works on.
#[derive(Debug)]
pub(crate) struct UnderWay {
    pub(crate) delivery: Delivery,
    /// Number of its journal entry.
    pub(crate) entry: u64,
}

/// A function's host.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) function: Function,
    queue: VecDeque<Delivery>,
    pub(crate) under_way: Option<UnderWay>,
    /// Counts processes; a poll of an earlier process gets nothing.
    pub(crate) generation: u64,
    /// Whether this cloud starts and kills the process.
    pub(crate) kept: bool,
    /// Whether the present process may be given work.
    pub(crate) accepting: bool,
    /// Whether the present process has asked for work.
    pub(crate) polled: bool,
    /// Kill at the next AWS call of an invocation.
    pub(crate) kill_armed: bool,
    pub(crate) dropped_ticks: u64,
    pub(crate) starts: u64,
    /// What the present process reported as the reason that it cannot start.
    pub(crate) init_error: Option<String>,
    /// Why the last start failed, if it did.
    pub(crate) start_error: Option<String>,
    /// Wakes the poll that waits for work.
    pub(crate) work: Arc<Notify>,
    /// Tells the process's keeper to kill it.
    pub(crate) kill: Arc<Notify>,
}

impl Host {
    /// `kept` when this cloud runs the function's process; else somebody else polls for its work.
    pub(crate) fn new(function: Function, kept: bool) -> Host {
        Host {
            function,
            queue: VecDeque::new(),
            under_way: None,
            generation: 0,
            kept,
            accepting: !kept,
            polled: false,
            kill_armed: false,
            dropped_ticks: 0,
            starts: 0,
            init_error: None,
            start_error: None,
            work: Arc::new(Notify::new()),
            kill: Arc::new(Notify::new()),
        }
    }

    /// Queues a delivery. A first tick takes the place of one of the same schedule that still waits.
    pub(crate) fn enqueue(&mut self, delivery: Delivery) {
        if let (Trigger::Schedule(_), 0) = (&delivery.trigger, delivery.failures) {
            let waiting = self.queue.len();
            self.queue.retain(|other| other.trigger != delivery.trigger || other.failures > 0);
            self.dropped_ticks += (waiting - self.queue.len()) as u64;
        }
        self.queue.push_back(delivery);
        self.work.notify_one();
    }

    /// The next delivery for the process of this generation, if it may have one.
    pub(crate) fn take(&mut self, generation: u64) -> Option<Delivery> {
        if generation != self.generation || !self.accepting || self.under_way.is_some() {
            return None;
        }
        self.queue.pop_front()
    }

    /// How many deliveries wait.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Kills the present process. One that somebody else runs cannot be killed; its answer is refused instead.
    pub(crate) fn stop_process(&mut self) {
        if self.kept {
            self.accepting = false;
            self.kill.notify_one();
            self.retire();
        }
    }

    /// Marks the present process as ended or as good as ended: it gets no more work.
    pub(crate) fn retire(&mut self) {
        self.generation += 1;
        self.polled = false;
        // A poll that waits must notice that its process is gone.
        self.work.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::SignedDuration;

    use super::*;
    use crate::template::InvokeSettings;

    fn host() -> Host {
        let function = Function {
            folder: "f".to_owned(),
            name: "f".to_owned(),
            arn: "arn".to_owned(),
            memory: 128,
            timeout: SignedDuration::from_secs(3),
            environment: BTreeMap::new(),
            invoke: InvokeSettings { retries: 2, max_age: SignedDuration::from_hours(1) },
            schedules: Vec::new(),
            streams: Vec::new(),
            role: None,
            log_group: "/aws/lambda/f".to_owned(),
            dead_letters: None,
        };
        Host::new(function, false)
    }

    fn delivery(id: &str, trigger: Trigger) -> Delivery {
        Delivery {
            request_id: id.to_owned(),
            trigger,
            payload: String::new(),
            failures: 0,
            since: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn one_tick_waits_and_older_ones_are_dropped_and_counted() {
        let mut host = host();
        host.enqueue(delivery("1", Trigger::Schedule(0)));
        host.enqueue(delivery("e", Trigger::Event("E".to_owned())));
        host.enqueue(delivery("2", Trigger::Schedule(0)));
        host.enqueue(delivery("3", Trigger::Schedule(0)));
        let order: Vec<String> =
            std::iter::from_fn(|| host.take(0)).map(|delivery| delivery.request_id).collect();
        assert_eq!(order, ["e", "3"]);
        assert_eq!(host.dropped_ticks, 2);
    }

    #[test]
    fn a_poll_of_a_retired_process_gets_nothing() {
        let mut host = host();
        host.enqueue(delivery("1", Trigger::Schedule(0)));
        host.retire();
        assert!(host.take(0).is_none());
        assert_eq!(host.take(1).map(|delivery| delivery.request_id).as_deref(), Some("1"));
    }
}

//! Invocations from queue to end: handing out, deadlines, retries, dead letters.
//!
//! Decides what follows an invocation's end. After the Lambda developer guide, "Error handling for asynchronous
//! invocation": two more attempts, one minute and then two minutes after the failed one, then the dead-letter queue;
//! a process that ends or is killed, and a deadline that passes, count as failures of the function.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::host::{Delivery, Host, Trigger, UnderWay};
use crate::iam;
use crate::journal::{DeadLetter, Invocation, Outcome};
use crate::streams::Next;
use crate::world::{State, Task};

/// An invocation may run this long in real time, however fast the cloud's time runs.
const SHORTEST_DEADLINE: Duration = Duration::from_secs(5);
/// Pauses before the second and third attempt, in cloud time.
const RETRY_PAUSES: [SignedDuration; 2] = [SignedDuration::from_mins(1), SignedDuration::from_mins(2)];

/// What a function is given to work on.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) request_id: String,
    pub(crate) payload: String,
    pub(crate) arn: String,
    /// Real wall-clock milliseconds since the Unix epoch.
    pub(crate) deadline_ms: u128,
}

impl State {
    /// Hands the next delivery to the process of this generation, if there is one.
    pub(crate) fn hand_out(&mut self, function: &str, generation: u64) -> Option<Work> {
        let now = self.now;
        let host = self.hosts.get_mut(function)?;
        let logs = iam::asks_of_logs(&self.identity, &host.function.log_group);
        // Without the right there is no log, and the function runs all the same.
        drop(self.rights.judge(function, &logs));
        host.polled = true;
        host.start_error = None;
        let delivery = host.take(generation)?;
        let allowed = real_deadline(host, self.clock.speed());
        let work = Work {
            request_id: delivery.request_id.clone(),
            payload: delivery.payload.clone(),
            arn: host.function.arn.clone(),
            deadline_ms: (SystemTime::now() + allowed)
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_millis()),
        };
        let entry = self.invocations.add(Invocation {
            function: function.to_owned(),
            request_id: delivery.request_id.clone(),
            trigger: delivery.trigger.name().to_owned(),
            start: now,
            end: None,
        });
        self.agenda.add(now + self.clock.cloud_duration(allowed), Task::Deadline(function.to_owned(), entry));
        host.under_way = Some(UnderWay { delivery, entry });
        Some(work)
    }

    /// Ends the invocation under way: `result` is the function's answer or the reason it failed.
    pub(crate) fn finish(&mut self, function: &str, outcome: Outcome, result: Result<&str, &str>) {
        let now = self.now;
        let Some(under_way) = self.hosts.get_mut(function).and_then(|host| host.under_way.take()) else {
            return;
        };
        let UnderWay { delivery, entry } = under_way;
        if let Some(invocation) = self.invocations.get_mut(entry) {
            invocation.end = Some((now, outcome));
            let took = now.duration_since(invocation.start).as_secs_f64();
            let reason = result.err().map(|reason| format!(": {reason}")).unwrap_or_default();
            self.log.line(
                now,
                &format!(
                    "{function:<18} {} {} after {took:.1} s{reason}",
                    delivery.trigger.name(),
                    outcome.name()
                ),
            );
        }
        match (&delivery.trigger, result) {
            (Trigger::Stream(mapping), result) => self.finish_batch(*mapping, &delivery, result),
            (Trigger::Event(_) | Trigger::Schedule(_), Ok(_)) => {}
            (Trigger::Event(_) | Trigger::Schedule(_), Err(reason)) => self.retry(function, delivery, reason),
        }
        if let Some(host) = self.hosts.get(function) {
            host.work.notify_one();
        }
    }

    fn retry(&mut self, function: &str, mut delivery: Delivery, reason: &str) {
        let now = self.now;
        let Some(host) = self.hosts.get(function) else { return };
        let settings = host.function.invoke;
        let pause = usize::try_from(delivery.failures).ok().and_then(|failures| RETRY_PAUSES.get(failures));
        delivery.failures += 1;
        match pause.map(|pause| now + *pause) {
            Some(at) if delivery.failures <= settings.retries && at - settings.max_age <= delivery.since => {
                self.agenda.add(at, Task::Deliver(function.to_owned(), delivery));
            }
            Some(_) | None => {
                let payload = serde_json::from_str(&delivery.payload).unwrap_or(Value::Null);
                self.bury(function, &delivery, delivery.failures, reason, payload);
            }
        }
    }

    fn bury(&mut self, function: &str, delivery: &Delivery, attempts: u32, reason: &str, payload: Value) {
        let trigger = delivery.trigger.name();
        let end = format!("{function:<18} {trigger} given up after {attempts} attempts: {reason}");
        self.log.problem(self.now, &end);
        let queue = self.hosts.get(function).and_then(|host| host.function.dead_letters.clone());
        let asks = queue.map(|queue| iam::asks_of_queue(&queue)).unwrap_or_default();
        if let Err(denial) = self.rights.judge(function, &asks) {
            self.log.problem(self.now, &format!("{function:<18} no dead letter: {}", denial.message()));
            return;
        }
        self.dead_letters.add(DeadLetter {
            time: self.now,
            function: function.to_owned(),
            trigger: trigger.to_owned(),
            request_id: delivery.request_id.clone(),
            attempts,
            reason: reason.to_owned(),
            payload,
        });
    }

    fn finish_batch(&mut self, mapping: usize, delivery: &Delivery, result: Result<&str, &str>) {
        let now = self.now;
        let Some(ended) = self.mappings.get_mut(mapping) else { return };
        let function = ended.function.clone();
        if let Some(given_up) = ended.complete(result, now) {
            let payload = json!({"Records": given_up.records});
            self.bury(&function, delivery, given_up.attempts, &given_up.reason, payload);
        }
    }

    /// Starts the batches that can start.
    pub(crate) fn pump_streams(&mut self) {
        for index in 0..self.mappings.len() {
            let Some(mapping) = self.mappings.get_mut(index) else { continue };
            match mapping.next(self.now) {
                Next::Batch(event) => {
                    let function = mapping.function.clone();
                    self.deliver(&function, Trigger::Stream(index), &event);
                }
                Next::Wait(at) if mapping.wakes_at != Some(at) => {
                    mapping.wakes_at = Some(at);
                    self.agenda.add(at, Task::Stream);
                }
                Next::Wait(_) | Next::Idle => {}
            }
        }
    }

    /// An invocation's time is up: its process is killed.
    pub(crate) fn deadline(&mut self, function: &str, entry: u64) {
        let Some(host) = self.hosts.get_mut(function) else { return };
        let late = host.under_way.as_ref().is_some_and(|under_way| under_way.entry == entry);
        if late {
            host.stop_process();
            self.finish(function, Outcome::Timeout, Err("Sandbox.Timedout: the deadline passed"));
        }
    }

    /// Kills the process of a function in the middle of its invocation, if one is under way. Returns whether it was.
    pub(crate) fn kill_now(&mut self, function: &str) -> bool {
        let Some(host) = self.hosts.get_mut(function).filter(|host| host.under_way.is_some()) else {
            return false;
        };
        host.kill_armed = false;
        host.stop_process();
        self.finish(function, Outcome::Killed, Err("Runtime.ExitError: killed on request"));
        true
    }

    /// The process of this generation has ended by itself or was killed; `reason` says how it ended.
    pub(crate) fn process_ended(&mut self, function: &str, reason: &str) {
        if let Some(host) = self.hosts.get_mut(function) {
            host.accepting = false;
            host.retire();
        }
        self.finish(function, Outcome::Error, Err(&format!("Runtime.ExitError: {reason}")));
    }
}

/// How long an invocation may take in real time.
fn real_deadline(host: &Host, speed: f64) -> Duration {
    let scaled = host.function.timeout.as_secs_f64() / speed;
    Duration::try_from_secs_f64(scaled).unwrap_or(SHORTEST_DEADLINE).max(SHORTEST_DEADLINE)
}

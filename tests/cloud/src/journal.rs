//! What happened, for tests and demonstrations to read back: calls, invocations, published events, dead letters.
//!
//! Decides how much is remembered: the last entries of each kind, so that a long run does not grow without bound.
//! Entries are numbered from 1 and never change their number.

use std::collections::VecDeque;

use jiff::Timestamp;
use serde_json::{Value, json};

/// Entries kept of each kind.
const KEPT: usize = 200_000;

/// A numbered, bounded list.
#[derive(Debug)]
pub(crate) struct Journal<T> {
    entries: VecDeque<T>,
    /// The number of the entry before the first one kept.
    forgotten: u64,
}

impl<T> Journal<T> {
    pub(crate) fn new() -> Journal<T> {
        Journal { entries: VecDeque::new(), forgotten: 0 }
    }

    /// Adds an entry and returns its number.
    pub(crate) fn add(&mut self, entry: T) -> u64 {
        if self.entries.len() == KEPT {
            self.entries.pop_front();
            self.forgotten += 1;
        }
        self.entries.push_back(entry);
        self.forgotten + self.entries.len() as u64
    }

    /// Entries numbered above `since`, with their numbers.
    pub(crate) fn after(&self, since: u64) -> impl Iterator<Item = (u64, &T)> {
        let skipped = usize::try_from(since.saturating_sub(self.forgotten)).unwrap_or(usize::MAX);
        let first = self.forgotten.max(since) + 1;
        self.entries.iter().skip(skipped).enumerate().map(move |(index, entry)| (first + index as u64, entry))
    }

    /// The entry of this number, if it is still kept.
    pub(crate) fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        let index = number.checked_sub(self.forgotten + 1)?;
        self.entries.get_mut(usize::try_from(index).ok()?)
    }
}

/// One AWS call.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) time: Timestamp,
    /// The calling function's folder; none for an operator.
    pub(crate) function: Option<String>,
    pub(crate) service: &'static str,
    pub(crate) operation: String,
    pub(crate) parameters: Value,
    /// HTTP status; 0 when the caller was never answered.
    pub(crate) status: u16,
    pub(crate) error: Option<String>,
}

impl Call {
    pub(crate) fn to_json(&self, seq: u64) -> Value {
        let mut entry = json!({
            "seq": seq, "time": self.time.to_string(), "function": self.function, "service": self.service,
            "operation": self.operation, "parameters": self.parameters, "status": self.status,
        });
        if let Some(error) = &self.error {
            entry["error"] = json!(error);
        }
        entry
    }
}

/// How an invocation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Ok,
    Error,
    Timeout,
    Killed,
}

impl Outcome {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Error => "error",
            Outcome::Timeout => "timeout",
            Outcome::Killed => "killed",
        }
    }
}

/// One invocation; `end` is none while it runs.
#[derive(Debug)]
pub(crate) struct Invocation {
    pub(crate) function: String,
    pub(crate) request_id: String,
    pub(crate) trigger: String,
    pub(crate) start: Timestamp,
    pub(crate) end: Option<(Timestamp, Outcome)>,
}

impl Invocation {
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "function": self.function, "requestId": self.request_id, "trigger": self.trigger,
            "start": self.start.to_string(), "end": self.end.map(|(end, _)| end.to_string()),
            "outcome": self.end.map(|(_, outcome)| outcome.name()),
        })
    }
}

/// An event that somebody published with PutEvents.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) bus: String,
    /// The envelope as rules see it.
    pub(crate) event: Value,
}

impl Published {
    pub(crate) fn to_json(&self, seq: u64) -> Value {
        json!({
            "seq": seq, "time": self.event["time"], "bus": self.bus, "source": self.event["source"],
            "detailType": self.event["detail-type"], "detail": self.event["detail"],
            "resources": self.event["resources"],
        })
    }
}

/// What no retry could deliver.
#[derive(Debug)]
pub(crate) struct DeadLetter {
    pub(crate) time: Timestamp,
    pub(crate) function: String,
    pub(crate) trigger: String,
    pub(crate) request_id: String,
    /// Attempts made.
    pub(crate) attempts: u32,
    pub(crate) reason: String,
    pub(crate) payload: Value,
}

impl DeadLetter {
    pub(crate) fn to_json(&self, seq: u64) -> Value {
        json!({
            "seq": seq, "time": self.time.to_string(), "function": self.function, "trigger": self.trigger,
            "requestId": self.request_id, "attempts": self.attempts, "reason": self.reason,
            "payload": self.payload,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_when_old_entries_are_forgotten() {
        let mut journal = Journal::new();
        for entry in 0..KEPT as u64 + 3 {
            assert_eq!(journal.add(entry), entry + 1);
        }
        assert_eq!(journal.after(0).next(), Some((4, &3)));
        let last = KEPT as u64 + 3;
        assert_eq!(journal.after(last - 1).collect::<Vec<_>>(), [(last, &(last - 1))]);
        assert_eq!(journal.after(last).count(), 0);
        assert_eq!(journal.after(last + 10).count(), 0);
        assert_eq!(journal.get_mut(3), None);
        assert_eq!(journal.get_mut(4), Some(&mut 3));
    }
}

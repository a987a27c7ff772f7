//! What is due when: tasks in order of time, and in order of entry at the same time.
//!
//! Decides order only; never runs anything and never reads a clock.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use jiff::Timestamp;

/// Tasks by due time.
#[derive(Debug)]
pub(crate) struct Agenda<T> {
    tasks: BTreeMap<(Timestamp, u64), T>,
    entered: u64,
}

impl<T> Agenda<T> {
    pub(crate) fn new() -> Agenda<T> {
        Agenda { tasks: BTreeMap::new(), entered: 0 }
    }

    pub(crate) fn add(&mut self, due: Timestamp, task: T) {
        self.entered += 1;
        self.tasks.insert((due, self.entered), task);
    }

    /// When the first task is due.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.tasks.keys().next().map(|(due, _)| *due)
    }

    /// Takes the first task if it is due at `now` or before.
    pub(crate) fn take_due(&mut self, now: Timestamp) -> Option<(Timestamp, T)> {
        let entry = self.tasks.first_entry().filter(|entry| entry.key().0 <= now)?;
        let due = entry.key().0;
        Some((due, entry.remove()))
    }
}

/// The earlier of two optional times.
pub(crate) fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    // `Reverse` makes "none" the latest.
    one.map(Reverse).max(other.map(Reverse)).map(|Reverse(time)| time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn tasks_come_in_order_of_time_then_of_entry_and_not_early() {
        let mut agenda = Agenda::new();
        agenda.add(at(5), "late");
        agenda.add(at(1), "first");
        agenda.add(at(1), "second");
        assert_eq!(agenda.next_due(), Some(at(1)));
        assert_eq!(agenda.take_due(at(0)), None);
        assert_eq!(agenda.take_due(at(4)), Some((at(1), "first")));
        assert_eq!(agenda.take_due(at(4)), Some((at(1), "second")));
        assert_eq!(agenda.take_due(at(4)), None);
    }

    #[test]
    fn none_is_later_than_any_time() {
        assert_eq!(earlier(None, Some(at(3))), Some(at(3)));
        assert_eq!(earlier(Some(at(2)), Some(at(3))), Some(at(2)));
        assert_eq!(earlier(None, None), None);
    }
}

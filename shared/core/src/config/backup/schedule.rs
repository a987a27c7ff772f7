//! When backups are due.
//!
//! Decides by nothing but the policy, the group's name and the time it is told, so that whoever asks twice gets the
//! same answer: a moment names a backup. It must never depend on the machine: the time zones are those that are part
//! of the program.
//!
//! Where clocks are changed, every frequency but "continuous" is a cron expression and goes by its rules. What is due
//! once a day is due once on such a day too: at the first moment after the hour that is left out, and in an hour that
//! is repeated the first time. What is due at several times of a day goes by the clock on the wall: times that are
//! left out do not come, times that are repeated come again.

use croner::Cron;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Timestamp, Zoned};

use super::{BackupPolicy, Frequency, cron};
use crate::ids::GroupName;
use crate::limits;
use crate::names::{due_slot, whole_second};

/// The latest moment at or before `now` at which a backup was due; `None` if there never was one.
pub fn latest(policy: &BackupPolicy, group: &GroupName, now: Timestamp) -> Option<Timestamp> {
    if policy.frequency == Frequency::Continuous {
        return Some(slot(group, now));
    }
    let (expression, now) = on_the_wall(policy, now)?;
    expression.find_previous_occurrence(&now, true).ok().map(|at| at.timestamp())
}

/// The first moment after `after` at which a backup is due; `None` if there will never be one.
pub fn next(policy: &BackupPolicy, group: &GroupName, after: Timestamp) -> Option<Timestamp> {
    if policy.frequency == Frequency::Continuous {
        return slot(group, after).checked_add(limits::BACKUP_EVERY_MIN).ok();
    }
    let (expression, after) = on_the_wall(policy, after)?;
    expression.find_next_occurrence(&after, false).ok().map(|at| at.timestamp())
}

/// The slot of a group, other than those of most groups, so that not all images are made at once.
fn slot(group: &GroupName, now: Timestamp) -> Timestamp {
    due_slot(&group.key(), "backup", limits::BACKUP_EVERY_MIN, now)
}

/// The expression that a policy stands for, and the time in its zone.
fn on_the_wall(policy: &BackupPolicy, at: Timestamp) -> Option<(Cron, Zoned)> {
    let expression = match policy.frequency {
        Frequency::Continuous => return None,
        Frequency::Hourly => "0 * * * *",
        Frequency::Daily => "0 0 * * *",
        Frequency::Weekly => "0 0 * * SUN",
        Frequency::Cron => policy.cron.as_deref()?,
    };
    let zone = zone(&policy.timezone)?;
    Some((cron::parse(expression).ok()?, whole_second(at).to_zoned(zone)))
}

/// A time zone by its IANA name; `None` if there is none of that name.
pub(super) fn zone(name: &str) -> Option<TimeZone> {
    // "Etc/Unknown" is a name for not knowing.
    TimeZoneDatabase::bundled().get(name).ok().filter(|zone| !zone.is_unknown())
}

/// The name of the time zone of a place that was named alone, as "Berlin" for "Europe/Berlin".
pub(super) fn place(text: &str) -> Option<String> {
    let place = text.trim().replace(' ', "_");
    let is = |name: &str| name.rsplit('/').next().is_some_and(|last| last.eq_ignore_ascii_case(&place));
    TimeZoneDatabase::bundled().available().map(|name| name.to_string()).find(|name| is(name))
}

#[cfg(test)]
mod tests;

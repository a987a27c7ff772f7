//! What the figures of a deployment need of a node, projected into the work index.
//!
//! Absent while a node runs and waits for nothing: such a node is counted without it, and nothing is written
//! for the sake of a figure.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Instance, Record};
use crate::config::DesiredState;
use crate::phase::Phase;

/// What the figures need of a node that does not simply run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Standing {
    /// Where it stands.
    pub phase: Phase,
    /// The code of its `blocked` mark, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked: Option<String>,
    /// Since when it is away although it should run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed_since: Option<Timestamp>,
}

impl Record {
    /// What the figures need of the node; `None` if it runs, is not blocked and has no appointment.
    pub fn standing(&self) -> Option<Standing> {
        let is_steady = self.phase == Phase::Running && self.blocked.is_none() && self.wakes_at().is_none();
        (!is_steady).then(|| Standing {
            phase: self.phase,
            blocked: self.blocked.as_ref().map(|blocked| blocked.code.clone()),
            missed_since: self.missed_since(),
        })
    }

    /// Since when the node is away although it should run; `None` if it runs, has never run, or is not wanted.
    ///
    /// A node is away from the end of its instance, from the moment we begin to end it, or from its resumption,
    /// until it is `running` again. Under a notice its instance still runs. Whom the operator stopped by hand he
    /// does not miss; a suspension, which holds a recovery back, does not stop the clock.
    pub fn missed_since(&self) -> Option<Timestamp> {
        let is_stopped = |instance: &Instance| instance.stop_noted && instance.ended_at.is_none();
        if self.goal != DesiredState::Running
            || self.phase.is_final()
            || self.instance.as_ref().is_some_and(is_stopped)
        {
            return None;
        }
        let unseen = || self.instance.as_ref().filter(|instance| instance.ran)?.missing_since;
        self.away_since.or_else(unseen).or_else(|| self.away_by_durations())
    }

    /// Keeps [`Record::away_since`] right, as the node moves from a phase to another.
    pub(crate) fn moved(&mut self, from: Phase, to: Phase, now: Timestamp) {
        if to == Phase::Running || to.is_resting() || to.is_final() {
            self.away_since = None;
        } else if matches!(to, Phase::Stopping | Phase::Releasing) || from.is_resting() {
            self.away_since.get_or_insert(now);
        }
    }

    /// The same of a recovery that began under a version that did not write it down.
    fn away_by_durations(&self) -> Option<Timestamp> {
        let is_away = match self.phase {
            Phase::Stopping | Phase::Releasing | Phase::Capturing | Phase::Imaging => true,
            Phase::Launching => self.cycle > 1,
            _ => false,
        };
        let has_rested = self.durations.keys().any(|phase| phase.is_resting());
        let before = if has_rested { 0 } else { self.durations.values().sum() };
        let since = self.phase_since.saturating_sub(SignedDuration::from_secs(before));
        is_away.then(|| since.unwrap_or(self.phase_since))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config;
    use crate::ids::NodeName;
    use crate::launch::Market;
    use crate::observation::Platform;
    use crate::phase::Signal;
    use crate::plan::{Draft, Scope};
    use crate::record::{Accepted, Blocked};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + seconds).unwrap()
    }

    fn record() -> Record {
        let item = json!({"id": "node#db", "launch": {"template": {"name": "base"}}});
        let config = config::parse(&item).config;
        let accepted = Accepted { hash: "h".into(), share: None, notices: Vec::new(), config };
        Record::new(NodeName::parse("db").unwrap(), "life-1".into(), accepted, at(0))
    }

    /// A record that took these signals, each at its second.
    fn after(record: Record, signals: &[(i64, Signal)]) -> Record {
        signals.iter().fold(record, |record, (second, signal)| {
            let scope = Scope { deployment: "prod", now: at(*second), tick: false, suspended: false };
            let mut draft = Draft::new(record, scope);
            draft.signal(*signal, "so the test says").unwrap();
            draft.into_parts().0
        })
    }

    const FIRST: [(i64, Signal); 3] = [(1, Signal::Accepted), (20, Signal::Up), (30, Signal::Secured)];

    fn running() -> Record {
        let mut record = after(record(), &FIRST);
        record.work_at = None;
        record.cycle = 1;
        record.durations.clear();
        record
    }

    fn instance() -> Instance {
        let platform = Platform::default();
        Instance {
            id: crate::ids::InstanceId::new("i-1"),
            instance_type: "t3.small".into(),
            zone: "z".into(),
            market: Market::Spot,
            image_id: crate::ids::ImageId::new("ami-1"),
            launched_at: None,
            key: "k".into(),
            heir: false,
            platform,
            missing_since: None,
            ran: true,
            ended_at: None,
            stop_noted: false,
            terminating: false,
        }
    }

    #[test]
    fn a_steady_node_has_nothing_to_tell_and_any_other_its_phase() {
        assert_eq!(running().standing(), None);
        let cleaning = Record { work_at: Some(at(60)), ..running() };
        let told = Standing { phase: Phase::Running, blocked: None, missed_since: None };
        assert_eq!(cleaning.standing(), Some(told));
        let written = serde_json::to_value(cleaning.standing()).unwrap();
        assert_eq!(written, json!({"phase": "running"}));
    }

    #[test]
    fn a_blocked_node_is_told_of_though_it_runs_and_waits_for_nothing() {
        let (message, remedy) = (String::new(), String::new());
        let blocked =
            Blocked { code: "root-untagged".into(), message, remedy, since: at(1), retry_at: at(2) };
        let standing = Record { blocked: Some(blocked), ..running() }.standing().unwrap();
        assert_eq!((standing.phase, standing.blocked.as_deref()), (Phase::Running, Some("root-untagged")));
    }

    #[test]
    fn a_recovery_counts_from_the_end_of_the_instance_until_it_runs_again() {
        let noticed = after(running(), &[(1000, Signal::Noticed)]);
        assert_eq!(noticed.missed_since(), None, "under notice it still runs");
        let story = [
            (1120, Signal::Ended),
            (1150, Signal::Released),
            (1300, Signal::Captured),
            (1310, Signal::Imaged),
            (1400, Signal::Up),
        ];
        for n in 1..=story.len() {
            assert_eq!(after(noticed.clone(), &story[..n]).missed_since(), Some(at(1120)), "after {n}");
        }
        let back = after(after(noticed, &story), &[(1410, Signal::Secured)]);
        assert_eq!((back.missed_since(), back.away_since), (None, None));
    }

    #[test]
    fn a_spared_instance_was_never_away() {
        let spared = after(running(), &[(1000, Signal::Noticed), (1600, Signal::Spared)]);
        assert_eq!(spared.missed_since(), None);
        let spared = Record { cycle: 3, ..spared };
        assert_eq!(spared.missed_since(), None, "nor one of a later cycle");
    }

    #[test]
    fn a_replacement_counts_from_the_moment_we_end_the_instance() {
        let stopping = after(running(), &[(500, Signal::Unwanted)]);
        assert_eq!(stopping.missed_since(), Some(at(500)));
        let pausing = Record { goal: DesiredState::Paused, ..stopping };
        assert_eq!(pausing.missed_since(), None, "a pause is no recovery");
    }

    #[test]
    fn a_node_that_rests_is_not_missed_until_it_is_resumed() {
        let rested = [
            (500, Signal::Unwanted),
            (520, Signal::Ended),
            (530, Signal::ReleasedBare),
            (540, Signal::Rested),
        ];
        let paused = after(running(), &rested);
        assert_eq!((paused.missed_since(), paused.away_since), (None, None));
        let resumed = after(paused, &[(9000, Signal::Resumed)]);
        assert_eq!(resumed.missed_since(), Some(at(9000)));
        let mut suspended = resumed;
        suspended.config.config.suspend = true;
        assert_eq!(suspended.missed_since(), Some(at(9000)), "who holds it back is told so all the same");
    }

    #[test]
    fn a_first_launch_is_no_recovery() {
        for n in 0..=FIRST.len() {
            assert_eq!(after(record(), &FIRST[..n]).missed_since(), None, "after {n}");
        }
        let lost = after(record(), &[(1, Signal::Accepted), (20, Signal::Up), (25, Signal::Ended)]);
        assert_eq!(lost.missed_since(), Some(at(25)), "but what was lost before it was secured is missed");
    }

    #[test]
    fn an_instance_that_reads_do_not_show_is_missed_and_one_stopped_by_hand_is_not() {
        let with = |instance| Record { instance: Some(instance), ..running() };
        let missing = with(Instance { missing_since: Some(at(77)), ..instance() });
        assert_eq!(missing.missed_since(), Some(at(77)));
        let never_seen = with(Instance { missing_since: Some(at(77)), ran: false, ..instance() });
        assert_eq!(never_seen.missed_since(), None);
        let by_hand = Record { away_since: Some(at(5)), ..with(Instance { stop_noted: true, ..instance() }) };
        assert_eq!(by_hand.missed_since(), None);
        let ended = Instance { stop_noted: true, ended_at: Some(at(9)), ..instance() };
        let ended = Record { away_since: Some(at(9)), ..with(ended) };
        assert_eq!(ended.missed_since(), Some(at(9)), "terminated after it was stopped");
    }

    #[test]
    fn a_recovery_that_an_older_version_began_is_counted() {
        let story = [(1000, Signal::Noticed), (1120, Signal::Ended), (1150, Signal::Released)];
        let mut old = after(running(), &story);
        old.away_since = None;
        assert_eq!(old.missed_since(), Some(at(1000)), "as far as its durations tell");
        let launching = Record { phase: Phase::Launching, cycle: 2, ..old.clone() };
        assert_eq!(launching.missed_since(), Some(at(1000)));
        assert_eq!(Record { cycle: 1, ..launching.clone() }.missed_since(), None);
        let mut resumed = launching;
        resumed.durations.insert(Phase::Paused, 86_400);
        assert_eq!(resumed.missed_since(), Some(at(1150)), "its rest was no absence");
    }
}

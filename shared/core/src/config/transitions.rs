//! From where a node stands to what its item wants: which edits make no sense, and what one does to the
//! record.
//!
//! Pure. An edit is never half in force: either it is refused here, or [`put_in_force`] changes the goal
//! and everything that depends on it at once. A life that is being purged is past every edit.

use jiff::Timestamp;
use serde_json::Value;

use super::reader::problem;
use super::{DesiredState, NodeConfig, Problem};
use crate::ids::SnapshotId;
use crate::limits;
use crate::phase::Phase;
use crate::record::{Accepted, Former, Record};

/// The code of a node that waits for the operator to accept an older recovery point.
const DATA_MISSING: &str = "data-missing";

/// What makes no sense in an edit, seen from where the node stands; no record is a node that never was. What
/// a group wishes of a member is no edit of anybody's.
pub fn check(record: Option<&Record>, wanted: &NodeConfig, said: &Value) -> Vec<Problem> {
    let is_wish = wanted.group.is_some() && said.get("desiredState").is_none_or(Value::is_null);
    if is_wish {
        return record
            .filter(|record| !record.phase.is_final())
            .and_then(|r| lowered(r, wanted))
            .into_iter()
            .collect();
    }
    let state = wanted.desired_state;
    let refuse = |remedy: String| vec![problem("desiredState", &Value::from(state.as_str()), remedy)];
    let Some(record) = record else {
        return match state {
            DesiredState::Running | DesiredState::Paused => Vec::new(),
            DesiredState::Deallocated | DesiredState::Released => refuse(
                "there is no node of this name: write \"running\" or \"paused\", or delete the item"
                    .to_owned(),
            ),
        };
    };
    if !record.phase.is_final() {
        return lowered(record, wanted).into_iter().collect();
    }
    let (was_released, name) = (record.goal == DesiredState::Released, &record.name);
    match (state, was_released) {
        (DesiredState::Running, _) | (DesiredState::Released, true) | (DesiredState::Deallocated, false) => {
            Vec::new()
        }
        (DesiredState::Paused | DesiredState::Deallocated, true) => refuse(format!(
            "{name} was released and is managed no longer: write \"running\" for a new life, or \"released\""
        )),
        (DesiredState::Paused | DesiredState::Released, false) => refuse(format!(
            "{name} was purged, and nothing of it is left: write \"running\" for a new life, or \"deallocated\""
        )),
    }
}

fn lowered(record: &Record, wanted: &NodeConfig) -> Option<Problem> {
    let least = record.config().recycle;
    let remedy = || format!("write {least} or more; raise it to replace the instance");
    (wanted.recycle < least).then(|| problem("recycle", &Value::from(wanted.recycle), remedy()))
}

/// Whether an item with this hash, of a member whose group says what has that hash, has nothing left to be put
/// in force if it wants this state.
pub fn is_in_force(record: &Record, hash: &str, share: Option<&str>, wanted: DesiredState) -> bool {
    match record.phase {
        Phase::Purging => true,
        Phase::Gone => !begins_anew(record, wanted),
        _ => {
            record.config.hash == hash
                && record.config.share.as_deref() == share
                && record.goal == wanted
                && record.absent_since.is_none()
        }
    }
}

/// Whether an item that wants this state begins a new life in place of one that has ended.
pub fn begins_anew(record: &Record, wanted: DesiredState) -> bool {
    record.phase == Phase::Gone && wanted.wants_a_node()
}

/// The first record of a new life of a name whose last one has ended. `life` must never have been used.
pub fn next_life(ended: &Record, life: String, accepted: Accepted, now: Timestamp) -> Record {
    let mut record = Record::new(ended.name.clone(), life, accepted, now);
    let deleted = match ended.goal {
        // Nothing of a released node was deleted, so that nothing found of it is a leftover.
        DesiredState::Released => Vec::new(),
        DesiredState::Running | DesiredState::Paused | DesiredState::Deallocated => {
            ended.config().retention.delete.clone()
        }
    };
    record.former.clone_from(&ended.former);
    record.former.push(Former { life: ended.life.clone(), deleted });
    let surplus = record.former.len().saturating_sub(limits::FORMER_LIVES_KEPT);
    record.former.drain(..surplus);
    record
}

/// Puts an accepted config in force: the goal, and all that hangs on it. Not for a life that is ending.
pub fn put_in_force(record: &mut Record, accepted: Accepted, now: Timestamp) {
    let wanted = &accepted.config;
    let honoured = honoured(record, wanted).cloned();
    if record.restore != wanted.restore_from {
        record.restore = None;
    }
    if honoured.is_some() {
        record.restore = honoured;
    }
    if wanted.restore_from.is_none() {
        // Taken out, so that the same value set once more is a decision once more.
        record.restored = None;
    }
    record.purge_not_before =
        is_over(record, wanted, now).and_then(|_| now.checked_add(limits::PURGE_NOTICE).ok());
    if record.phase == Phase::New {
        // There is no instance yet that it could ask to replace.
        record.recycled = wanted.recycle;
    }
    if record.phase == Phase::New || record.config.config.group != wanted.group {
        // What a group asked of its members before this one joined is not asked of it.
        record.rolled = wanted.roll;
    }
    if wanted.desired_state != DesiredState::Deallocated {
        // Wanted back in between, however briefly: retention counts anew from the next deallocation.
        record.deallocated_at = None;
    }
    record.goal = wanted.desired_state;
    record.config = accepted;
    record.absent_since = None;
    // What a person has just changed may be what the node was blocked on.
    record.not_before = None;
    record.clean_not_before = None;
    record.work_at = Some(now);
}

/// The recovery point that an edit accepts: newly set, never used before, and set while the node is
/// blocked for want of one. A value that was left standing from another day accepts nothing.
pub(super) fn honoured<'a>(record: &Record, wanted: &'a NodeConfig) -> Option<&'a SnapshotId> {
    let value = wanted.restore_from.as_ref()?;
    let is_new = record.config().restore_from.as_ref() != Some(value);
    let is_unused = record.restored.as_ref() != Some(value);
    (is_new && is_unused && is_missing_data(record)).then_some(value)
}

/// Whether the node is blocked until the operator accepts an older recovery point.
pub(super) fn is_missing_data(record: &Record) -> bool {
    record.blocked.as_ref().is_some_and(|blocked| blocked.code == DATA_MISSING)
}

/// When the node was deallocated, if by this config its retention has ended already.
pub(super) fn is_over(record: &Record, wanted: &NodeConfig, now: Timestamp) -> Option<Timestamp> {
    let since = record.deallocated_at.filter(|_| wanted.desired_state == DesiredState::Deallocated)?;
    (now.duration_since(since) >= wanted.retention.after).then_some(since)
}

#[cfg(test)]
pub(super) mod tests {
    use jiff::SignedDuration;
    use serde_json::json;

    use super::*;
    use crate::config::{self, Retained};
    use crate::ids::NodeName;
    use crate::record::Blocked;
    use DesiredState::{Deallocated, Paused, Released, Running};

    pub(in crate::config) fn now() -> Timestamp {
        Timestamp::from_second(1_790_000_000).unwrap()
    }

    /// The config of an item that says this besides what it must.
    pub(in crate::config) fn config(says: Value) -> NodeConfig {
        let mut item = json!({"id": "node#db", "launch": {"template": {"name": "base"}}});
        for (key, value) in says.as_object().unwrap() {
            item[key] = value.clone();
        }
        let draft = config::parse(&item);
        assert_eq!(draft.problems, []);
        draft.config
    }

    pub(in crate::config) fn accepted(hash: &str, says: Value) -> Accepted {
        Accepted { hash: hash.to_owned(), share: None, notices: Vec::new(), config: config(says) }
    }

    /// A node in a phase, under a config that says this.
    pub(in crate::config) fn node(phase: Phase, says: Value) -> Record {
        let name = NodeName::parse("db").unwrap();
        let mut record = Record::new(name, "life-1".into(), accepted("h1", says), now());
        record.generation = 5;
        record.phase = phase;
        record
    }

    pub(in crate::config) fn missing_data(mut record: Record) -> Record {
        record.blocked = Some(Blocked {
            code: DATA_MISSING.into(),
            message: String::new(),
            remedy: String::new(),
            since: now(),
            retry_at: now(),
        });
        record
    }

    fn ended(phase: Phase, goal: DesiredState) -> Record {
        let mut record = node(phase, json!({"recycle": 3}));
        record.goal = goal;
        record
    }

    /// What is allowed, by what the remedy says; empty if the state itself is.
    fn allowed(record: Option<&Record>, state: DesiredState) -> Vec<&'static str> {
        let problems = check(record, &config(json!({"desiredState": state.as_str()})), &json!({}));
        let Some(problem) = problems.first() else { return Vec::new() };
        assert_eq!((problems.len(), problem.path.as_str()), (1, "desiredState"));
        assert_eq!(problem.value, state.as_str());
        let named = |s: &DesiredState| problem.remedy.contains(&format!("{:?}", s.as_str()));
        DesiredState::ALL.iter().filter(|s| named(s)).map(|s| s.as_str()).collect()
    }

    #[test]
    fn a_node_that_never_was_can_only_begin() {
        assert_eq!(allowed(None, Running), [""; 0]);
        assert_eq!(allowed(None, Paused), [""; 0]);
        assert_eq!(allowed(None, Deallocated), ["running", "paused"]);
        assert_eq!(allowed(None, Released), ["running", "paused"]);
    }

    #[test]
    fn a_living_node_can_be_put_into_every_state_from_every_phase() {
        for phase in Phase::ALL.into_iter().filter(|phase| !phase.is_final()) {
            for goal in DesiredState::ALL {
                let mut record = node(phase, json!({}));
                record.goal = goal;
                for state in DesiredState::ALL {
                    assert_eq!(allowed(Some(&record), state), [""; 0], "{phase}, {goal:?} to {state:?}");
                }
            }
        }
    }

    #[test]
    fn an_ended_life_can_only_stay_ended_or_be_followed_by_another() {
        for phase in [Phase::Purging, Phase::Gone] {
            for goal in [Running, Paused, Deallocated] {
                let purged = ended(phase, goal);
                assert_eq!(allowed(Some(&purged), Running), [""; 0]);
                assert_eq!(allowed(Some(&purged), Deallocated), [""; 0]);
                assert_eq!(allowed(Some(&purged), Paused), ["running", "deallocated"]);
                assert_eq!(allowed(Some(&purged), Released), ["running", "deallocated"]);
            }
            let released = ended(phase, Released);
            assert_eq!(allowed(Some(&released), Running), [""; 0]);
            assert_eq!(allowed(Some(&released), Released), [""; 0]);
            assert_eq!(allowed(Some(&released), Paused), ["running", "released"]);
            assert_eq!(allowed(Some(&released), Deallocated), ["running", "released"]);
        }
    }

    #[test]
    fn recycle_is_never_lowered_within_a_life() {
        for phase in Phase::ALL {
            let record = node(phase, json!({"recycle": 3}));
            for (value, is_wrong) in [(0, true), (2, true), (3, false), (4, false)] {
                let problems = check(Some(&record), &config(json!({"recycle": value})), &json!({}));
                assert_eq!(!problems.is_empty(), is_wrong && !phase.is_final(), "{phase} {value}");
                for problem in problems {
                    assert_eq!((problem.path.as_str(), problem.value), ("recycle", value.to_string()));
                    assert!(problem.remedy.starts_with("write 3 or more"), "{}", problem.remedy);
                }
            }
        }
    }

    #[test]
    fn an_item_is_in_force_when_neither_it_nor_the_goal_has_changed() {
        for phase in Phase::ALL.into_iter().filter(|phase| !phase.is_final()) {
            let mut record = node(phase, json!({}));
            assert!(is_in_force(&record, "h1", None, Running), "{phase}");
            assert!(!is_in_force(&record, "h2", None, Running), "{phase}");
            record.absent_since = Some(now());
            assert!(!is_in_force(&record, "h1", None, Running), "{phase}: put back");
            record.absent_since = None;
            record.goal = Deallocated;
            assert!(
                !is_in_force(&record, "h1", None, Running),
                "{phase}: put back after its absence was confirmed"
            );
        }
    }

    #[test]
    fn after_its_end_only_a_new_life_is_left_to_begin() {
        for goal in [Deallocated, Released] {
            for hash in ["h1", "h2"] {
                for state in DesiredState::ALL {
                    assert!(is_in_force(&ended(Phase::Purging, goal), hash, None, state));
                    let begins = matches!(state, Running | Paused);
                    assert_eq!(is_in_force(&ended(Phase::Gone, goal), hash, None, state), !begins);
                }
            }
        }
    }

    #[test]
    fn a_new_life_knows_those_before_it_and_nothing_else_of_them() {
        let mut old = ended(Phase::Gone, Deallocated);
        old.config.config.retention.delete = vec![Retained::Volumes];
        old.handed_over = vec!["image ami-1".into()];
        let new = next_life(&old, "life-2".into(), accepted("h2", json!({})), now());
        let first = Former { life: "life-1".into(), deleted: vec![Retained::Volumes] };
        assert_eq!((new.life.as_str(), new.phase, new.goal), ("life-2", Phase::New, Running));
        assert_eq!(new.former, std::slice::from_ref(&first));
        let plain = Record::new(old.name.clone(), "life-2".into(), accepted("h2", json!({})), now());
        assert_eq!(Record { former: Vec::new(), ..new.clone() }, plain);

        let mut released = Record { phase: Phase::Gone, goal: Released, ..new };
        let next = next_life(&released, "life-3".into(), accepted("h3", json!({})), now());
        assert_eq!(next.former, [first, Former { life: "life-2".into(), deleted: Vec::new() }]);

        for n in 3..40 {
            released = next_life(&released, format!("life-{n}"), accepted("h", json!({})), now());
        }
        assert_eq!(released.former.len(), limits::FORMER_LIVES_KEPT);
        assert_eq!(released.former.last().unwrap().life, "life-38");
    }

    #[test]
    fn an_edit_changes_the_goal_and_wakes_the_node() {
        let mut record = node(Phase::Running, json!({}));
        record.not_before = Some(now());
        record.absent_since = Some(now());
        record.work_at = None;
        let later = now() + SignedDuration::from_mins(1);
        let wanted = accepted("h2", json!({"desiredState": "paused", "recycle": 4}));
        put_in_force(&mut record, wanted.clone(), later);
        assert_eq!((record.goal, &record.config), (Paused, &wanted));
        assert_eq!((record.not_before, record.absent_since, record.work_at), (None, None, Some(later)));
        assert_eq!(record.recycled, 0, "the running instance is to be replaced");
        let mut first = node(Phase::New, json!({}));
        put_in_force(&mut first, accepted("h2", json!({"recycle": 4})), later);
        assert!(!first.is_unwanted(), "a first instance is not replaced at once");
    }

    #[test]
    fn what_a_group_wishes_is_no_edit_and_is_not_refused() {
        let member = |state: &str| config(json!({"group": "ring", "desiredState": state}));
        let silent = json!({"group": "ring"});
        for state in DesiredState::ALL {
            for record in [None, Some(&ended(Phase::Gone, Deallocated)), Some(&ended(Phase::Gone, Released))]
            {
                assert_eq!(check(record, &member(state.as_str()), &silent), [], "{state:?}");
            }
        }
        let said = json!({"group": "ring", "desiredState": "released"});
        assert_eq!(check(None, &member("released"), &said).len(), 1, "its own word is one");
        let lowered = config(json!({"group": "ring", "recycle": 1}));
        assert_eq!(check(Some(&node(Phase::Running, json!({"recycle": 3}))), &lowered, &silent).len(), 1);
    }

    #[test]
    fn a_member_is_in_force_only_with_what_its_group_says_now() {
        let mut record = node(Phase::Running, json!({"group": "ring"}));
        record.config.share = Some("s1".into());
        assert!(is_in_force(&record, "h1", Some("s1"), Running));
        for share in [Some("s2"), None] {
            assert!(!is_in_force(&record, "h1", share, Running), "{share:?}");
        }
        record.config.share = None;
        assert!(!is_in_force(&record, "h1", Some("s1"), Running), "it has only just joined");
        record.phase = Phase::Purging;
        assert!(is_in_force(&record, "h1", Some("s1"), Running), "past every edit");
    }

    #[test]
    fn a_member_is_replaced_for_what_its_group_asks_after_it_joined_and_not_for_what_was_asked_before() {
        let asked = |group: &str, roll: u32| {
            let mut accepted = accepted("h2", json!({"group": group}));
            accepted.config.roll = roll;
            accepted
        };
        let mut record = node(Phase::Running, json!({}));
        put_in_force(&mut record, asked("ring", 7), now());
        assert_eq!((record.rolled, record.is_unwanted()), (7, false), "it joins");
        put_in_force(&mut record, asked("ring", 8), now());
        assert_eq!((record.rolled, record.is_unwanted()), (7, true));
        put_in_force(&mut record, asked("other", 3), now());
        assert_eq!((record.rolled, record.is_unwanted()), (3, false), "it joins another one");
        put_in_force(&mut record, accepted("h3", json!({})), now());
        assert_eq!((record.rolled, record.is_unwanted()), (0, false), "it leaves");
        let mut first = node(Phase::New, json!({"group": "ring"}));
        put_in_force(&mut first, asked("ring", 9), now());
        assert!(!first.is_unwanted(), "a first instance is not replaced at once");
    }

    #[test]
    fn an_older_recovery_point_is_accepted_once_and_only_while_one_is_missing() {
        let snapshot = |n: u32| json!({"restoreFrom": format!("snap-{n}")});
        let mut record = node(Phase::Launching, json!({}));
        put_in_force(&mut record, accepted("h2", snapshot(1)), now());
        assert_eq!(record.restore, None, "nothing is missing");

        let mut record = missing_data(record);
        let mut tagged = snapshot(1);
        tagged["tags"] = json!({"team": "db"});
        put_in_force(&mut record, accepted("h3", tagged), now());
        assert_eq!(record.restore, None, "it was set on another day, for something else");

        put_in_force(&mut record, accepted("h4", snapshot(2)), now());
        assert_eq!(record.restore, Some(SnapshotId::new("snap-2")));
        put_in_force(&mut record, accepted("h5", json!({})), now());
        assert_eq!(record.restore, None, "taken back before it was used");

        put_in_force(&mut record, accepted("h4", snapshot(2)), now());
        record.restored = record.restore.take();
        put_in_force(&mut record, accepted("h6", snapshot(3)), now());
        put_in_force(&mut record, accepted("h4", snapshot(2)), now());
        assert_eq!(record.restore, None, "it was used");
        put_in_force(&mut record, accepted("h5", json!({})), now());
        put_in_force(&mut record, accepted("h4", snapshot(2)), now());
        assert_eq!(record.restore, Some(SnapshotId::new("snap-2")), "removed, then set again");
    }

    #[test]
    fn other_edits_leave_an_accepted_recovery_point_as_it_is() {
        let mut record = missing_data(node(Phase::Launching, json!({})));
        put_in_force(&mut record, accepted("h2", json!({"restoreFrom": "snap-1"})), now());
        put_in_force(&mut record, accepted("h3", json!({"restoreFrom": "snap-1", "recycle": 1})), now());
        assert_eq!(record.restore, Some(SnapshotId::new("snap-1")));
    }

    #[test]
    fn a_retention_ended_by_an_edit_waits_for_a_tick() {
        let says = |after: &str| json!({"desiredState": "deallocated", "retention": {"after": after}});
        let mut record = node(Phase::Deallocated, says("96h"));
        record.deallocated_at = Some(now());
        let later = now() + SignedDuration::from_hours(2);
        put_in_force(&mut record, accepted("h2", says("3h")), later);
        assert_eq!(record.purge_not_before, None);
        put_in_force(&mut record, accepted("h3", says("2h")), later);
        assert_eq!(record.purge_not_before, Some(later + limits::PURGE_NOTICE));
        put_in_force(&mut record, accepted("h4", json!({"retention": {"after": "1h"}})), later);
        assert_eq!(record.purge_not_before, None, "it is to run again");
    }
}

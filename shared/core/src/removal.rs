//! Nodes whose item is gone: deallocated, but neither at the first look nor in masses.
//!
//! An item can be missing because an operator deleted it, or because a table was emptied by mistake. The
//! second must not take the nodes with it.

use crate::config::DesiredState;
use crate::journal::Entry;
use crate::limits;
use crate::plan::{Draft, Scope};
use crate::record::Record;

/// The code of the mark on nodes whose removal nobody has confirmed. It holds nothing else back.
pub const UNCONFIRMED: &str = "removal-unconfirmed";

/// Fewer vanished items than this are never a mass.
const MASS_AT_LEAST: usize = 3;
/// More than one in so many nodes at once is a mass.
const MASS_ONE_IN: usize = 5;

/// Whether an item is still expected: a node that is to be given up anyway needs none.
pub fn is_expected(record: &Record) -> bool {
    record.goal.wants_a_node() && !record.phase.is_final()
}

/// Whether so many of the nodes vanishing at once needs the operator's confirmation, and lacks it.
pub fn is_held(vanished: usize, nodes: usize, confirmed: Option<u32>) -> bool {
    let is_mass = vanished >= MASS_AT_LEAST && vanished * MASS_ONE_IN > nodes;
    is_mass && confirmed.and_then(|n| usize::try_from(n).ok()) != Some(vanished)
}

/// Whether a group whose item is gone is not given up yet: so many of its members' items are gone with it that
/// the table may have been emptied by mistake, and nobody has confirmed the removal of as many.
pub fn is_group_held(missing: usize, nodes: usize, confirmed: Option<u32>) -> bool {
    let is_confirmed = confirmed.and_then(|n| usize::try_from(n).ok()).is_some_and(|n| n >= missing);
    is_held(missing, nodes, None) && !is_confirmed
}

/// Takes note of a missing item: the first time it is only noted, the second time the node is
/// deallocated, unless so many vanished that the operator must confirm it.
pub fn vanished(record: Record, held: Option<usize>, scope: Scope<'_>) -> (Record, Vec<Entry>) {
    let mut draft = Draft::new(record, scope);
    let now = scope.now;
    let known = draft.record.absent_since;
    if known.is_none() {
        draft.record.absent_since = Some(now);
        draft.note("its item is missing: looked for again at the next tick");
    }
    match (held, known) {
        (Some(many), _) => unconfirmed(&mut draft, many),
        // Two ticks that overlap are one look.
        (None, Some(since)) if now.duration_since(since) >= limits::NEXT_TICK => {
            draft.record.goal = DesiredState::Deallocated;
            draft.record.absent_since = Some(since);
            draft.record.not_before = None;
            draft.record.work_at = Some(now);
            draft.note(
                "its item was deleted: it is deallocated, and restored if the item is put back in time",
            );
            confirmed(&mut draft);
        }
        (None, Some(_) | None) => {}
    }
    draft.into_parts()
}

fn unconfirmed(draft: &mut Draft<'_>, many: usize) {
    if draft.record.blocked.is_some() {
        return;
    }
    let message = format!("its item is gone, together with those of {} other nodes", many.saturating_sub(1));
    let remedy = format!(
        "Put the items back; or, if they were deleted on purpose, set confirmRemoval to {many} in the item \"settings\""
    );
    draft.mark("removal-unconfirmed", message, &remedy);
}

fn confirmed(draft: &mut Draft<'_>) {
    if draft.record.blocked.as_ref().is_some_and(|blocked| blocked.code == UNCONFIRMED) {
        draft.lift();
    }
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};
    use serde_json::json;

    use super::*;
    use crate::config;
    use crate::ids::NodeName;
    use crate::phase::Phase;
    use crate::record::Accepted;

    fn record() -> Record {
        let item = json!({"id": "node#db", "launch": {"template": {"name": "base"}}});
        let config = config::parse(&item).config;
        let accepted = Accepted { hash: config::hash(&item), share: None, notices: Vec::new(), config };
        Record::new(NodeName::parse("db").unwrap(), "life-1".into(), accepted, Timestamp::UNIX_EPOCH)
    }

    fn at_minute(n: i64) -> Scope<'static> {
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_mins(n);
        Scope { deployment: "prod", now, tick: true, suspended: false }
    }

    #[test]
    fn a_few_are_never_held_and_a_mass_until_its_number_is_named() {
        assert!(!is_held(2, 2, None), "two of two");
        assert!(is_held(3, 14, None), "three of fourteen are more than a fifth");
        assert!(!is_held(3, 15, None), "three of fifteen are not");
        assert!(is_held(10, 10, Some(9)) && !is_held(10, 10, Some(10)));
    }

    #[test]
    fn a_group_is_not_given_up_with_the_table() {
        assert!(is_group_held(3, 3, None), "everything is gone");
        assert!(!is_group_held(0, 3, None), "its own item alone was deleted");
        assert!(!is_group_held(2, 100, None) && !is_group_held(3, 100, None));
        assert!(is_group_held(3, 3, Some(2)) && !is_group_held(3, 7, Some(7)), "confirmed with all others");
    }

    #[test]
    fn a_missing_item_counts_at_the_second_look() {
        let (once, _) = vanished(record(), None, at_minute(1));
        assert_eq!((once.goal, once.absent_since), (DesiredState::Running, Some(at_minute(1).now)));
        let (same, _) = vanished(once.clone(), None, at_minute(1));
        assert_eq!(same.goal, DesiredState::Running, "another tick at the same time");
        let (twice, entries) = vanished(once, None, at_minute(2));
        assert_eq!(twice.goal, DesiredState::Deallocated);
        assert!(entries[0].what.contains("its item was deleted"));
        assert!(!is_expected(&twice));
    }

    #[test]
    fn a_mass_is_marked_and_holds_nothing_else_back_until_it_is_confirmed() {
        let mut held = record();
        for minute in 1..5 {
            held = vanished(held, Some(4), at_minute(minute)).0;
            assert_eq!(held.goal, DesiredState::Running);
        }
        let blocked = held.blocked.clone().unwrap();
        assert_eq!(blocked.code, UNCONFIRMED);
        assert!(blocked.remedy.contains("confirmRemoval to 4"), "{}", blocked.remedy);
        assert_eq!(held.not_before, None);
        let (confirmed, _) = vanished(held, None, at_minute(5));
        assert_eq!((confirmed.goal, confirmed.blocked), (DesiredState::Deallocated, None));
    }

    #[test]
    fn another_block_is_not_painted_over() {
        let mut draft = Draft::new(record(), at_minute(0));
        draft.block("capacity", "none".into(), "wait", limits::LADDER_REST);
        let (held, _) = vanished(draft.into_parts().0, Some(4), at_minute(1));
        assert_eq!(held.blocked.unwrap().code, "capacity");
    }

    #[test]
    fn a_node_that_is_given_up_needs_no_item() {
        assert!(is_expected(&record()));
        for goal in [DesiredState::Deallocated, DesiredState::Released] {
            assert!(!is_expected(&Record { goal, ..record() }));
        }
        for phase in [Phase::Purging, Phase::Gone] {
            assert!(!is_expected(&Record { phase, ..record() }));
        }
    }
}

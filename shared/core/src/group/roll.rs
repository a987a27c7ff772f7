//! Replacing all members, one at a time: the next one's turn comes when all that are to run do run, and
//! the first one that is blocked stops it.

use serde::{Deserialize, Serialize};

use super::Member;
use super::plan::Draft;
use crate::config::is_refused;
use crate::ids::NodeName;
use crate::phase::Phase;
use crate::plan::{data, elastic_ip};

/// How far the replacement of all members is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Roll {
    /// The value of the group's `recycle` that is being served.
    pub target: u32,
    /// Members that have been replaced, or had no instance to replace.
    pub done: usize,
    /// Members whose turn has not come.
    pub left: usize,
    /// The member that is being replaced, or whose health is waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<NodeName>,
    /// Why it does not go on, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
}

/// How a member that is to run stands.
enum Health {
    Well,
    Busy,
    Blocked(String),
}

fn health(draft: &Draft<'_>, member: &Member) -> Health {
    // One whose item was refused waits for a person, as a blocked one does.
    if draft.item(member).is_some_and(is_refused) {
        return Health::Blocked("config-rejected".to_owned());
    }
    let Some(record) = draft.record_of(member) else { return Health::Busy };
    // A missing Elastic IP address keeps nothing back, nor does a volume that does not come along.
    let is_mark = |code: &str| elastic_ip::is_mark(code) || data::is_telling(code);
    if let Some(blocked) = record.blocked.as_ref().filter(|it| !is_mark(&it.code)) {
        return Health::Blocked(blocked.code.clone());
    }
    if record.config().suspend {
        return Health::Blocked("suspended".to_owned());
    }
    // The wish must have reached it, or what it was before would pass for having been replaced.
    let is_served = record.config().roll >= member.recycle && !record.is_unwanted();
    if record.phase == Phase::Running && is_served { Health::Well } else { Health::Busy }
}

/// Asks the next member to be replaced, if it is time.
pub(super) fn advance(draft: &mut Draft<'_>) {
    let target = draft.record.config.part.recycle;
    let (mut waits_for, mut stopped) = (None, None);
    for at in 0..draft.record.members.len() {
        let member = &draft.record.members[at];
        if member.given_up {
            continue;
        }
        if !draft.is_to_run(member) {
            // It has no instance to replace, or soon none: its next launch serves the wish anyway.
            draft.record.members[at].recycle = target;
            continue;
        }
        match health(draft, member) {
            Health::Well => {}
            Health::Busy => waits_for = waits_for.or(Some(member.name.clone())),
            Health::Blocked(code) => stopped = stopped.or(Some((member.name.clone(), code))),
        }
    }
    let is_behind = |member: &Member| !member.given_up && member.recycle < target;
    let mut is_under_way = draft.record.roll.is_some() && (waits_for.is_some() || stopped.is_some());
    if waits_for.is_none()
        && stopped.is_none()
        && let Some(next) = draft.record.members.iter_mut().find(|member| is_behind(member))
    {
        next.recycle = target;
        let name = next.name.clone();
        draft.note(format!("{name} is replaced: it is its turn"));
        waits_for = Some(name);
        is_under_way = true;
    }
    let left = draft.record.members.iter().filter(|member| is_behind(member)).count();
    if left == 0 && !is_under_way {
        draft.record.roll = None;
        return;
    }
    let words = |(name, code): &(NodeName, String)| {
        format!("{name} is blocked ({code}): no other member is replaced before it runs again")
    };
    let reason = stopped.as_ref().map(words);
    let waits_for = stopped.map(|(name, _)| name).or(waits_for);
    let is_done =
        |member: &&Member| !member.given_up && !is_behind(member) && Some(&member.name) != waits_for.as_ref();
    let done = draft.record.members.iter().filter(is_done).count();
    draft.record.roll = Some(Roll { target, done, left, waits_for, stopped: reason });
}

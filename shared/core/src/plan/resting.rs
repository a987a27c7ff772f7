//! Without an instance by the operator's wish: paused until resumed, or deallocated until retention ends.
//!
//! What the node is to come back from is watched and mended. Of each line only the newest recovery point
//! is kept, and only once it is proven to be there; volumes are never deleted here.

use super::{Draft, Then, data, elastic_ip, interface, living, recovery};
use crate::config::{self, DesiredState};
use crate::guard::{self, Verdict};
use crate::ids::SnapshotId;
use crate::journal::Kind;
use crate::limits;
use crate::names::{Purpose, TAG_CYCLE, has_purpose};
use crate::observation::{ImageState, Observation, SnapshotFacts, SnapshotState};
use crate::phase::{Illegal, Signal};
use crate::record::Superseded;
use crate::snapshots::is_copy;
use crate::step::Step;

/// Takes a node that is to have no instance, and has none, to its rest.
pub(super) fn rest(draft: &mut Draft<'_>) -> Result<Then, Illegal> {
    match draft.record.goal {
        // A node to be released is let go of before any phase is asked.
        DesiredState::Running | DesiredState::Released => {}
        DesiredState::Paused => {
            draft.record.deallocated_at = None;
            draft.signal(Signal::Rested, "desiredState is paused")?;
            draft.publish(Kind::NodePaused);
        }
        DesiredState::Deallocated => {
            draft.record.deallocated_at = Some(draft.now());
            let why = match draft.record.absent_since {
                Some(_) => "its item was deleted",
                None => "desiredState is deallocated",
            };
            let kept = draft.record.config().retention.after.as_hours();
            draft.signal(Signal::Retired, format!("{why}: what is kept is kept for {kept} h"))?;
            draft.publish(Kind::NodeDeallocated);
        }
    }
    Ok(Then::Look)
}

pub(super) fn paused(draft: &mut Draft<'_>, seen: &Observation) -> Result<Then, Illegal> {
    match draft.record.goal {
        DesiredState::Running => return resume(draft),
        DesiredState::Deallocated => return rest(draft),
        DesiredState::Paused | DesiredState::Released => {}
    }
    if let Some(wait) = draft.paused() {
        return Ok(wait);
    }
    if let Some(then) = recovery::recover(draft, seen)? {
        return Ok(then);
    }
    if let Some(then) = data::recover(draft, seen)? {
        return Ok(then);
    }
    // An address that cannot be had keeps nothing from being tidied.
    let tidied = match tidy(draft, seen) {
        Some(then @ (Then::Act(_) | Then::Look)) => return Ok(then),
        other => other,
    };
    let then = interface::reserved(draft, seen).or_else(|| elastic_ip::take_off(draft, seen));
    if let Some(then) = then.or(tidied) {
        return Ok(then);
    }
    draft.unblock();
    Ok(draft.wait(limits::RESTING_LOOK, "the operator, who paused the node"))
}

pub(super) fn deallocated(draft: &mut Draft<'_>, seen: &Observation) -> Result<Then, Illegal> {
    match draft.record.goal {
        DesiredState::Running => {
            draft.record.deallocated_at = None;
            return resume(draft);
        }
        DesiredState::Paused => return rest(draft),
        DesiredState::Deallocated | DesiredState::Released => {}
    }
    let now = draft.now();
    let since = *draft.record.deallocated_at.get_or_insert(now);
    let end = since.saturating_add(draft.record.config().retention.after).unwrap_or(now);
    let end = draft.record.purge_not_before.map_or(end, |at| at.max(end));
    if now < end {
        if let Some(wait) = draft.paused() {
            return Ok(wait);
        }
        let then = interface::give_up(draft, seen).or_else(|| elastic_ip::take_off(draft, seen));
        let then = then.or_else(|| data::let_go_if_off(draft)).or_else(|| data::given_away(draft, seen));
        if let Some(then) = then.or_else(|| tidy(draft, seen)) {
            return Ok(then);
        }
        draft.unblock();
        let left = end.duration_since(now);
        // What happens to data volumes meanwhile is followed.
        let next = if draft.record.data.is_empty() { left } else { left.min(limits::RESTING_LOOK) };
        return Ok(draft.wait(next, "the end of retention"));
    }
    if !draft.scope.tick || draft.scope.suspended {
        return Ok(draft.wait(limits::NEXT_TICK, "the tick that ends the retention"));
    }
    if let Some(why) = still_wanted(draft, seen) {
        let remedy = "Nothing is deleted before the item says \"deallocated\" and is accepted, or is gone: correct it \
                      or delete it; of a member's group likewise";
        draft.block("purge-held", why.clone(), remedy, limits::LADDER_REST);
        return Ok(draft.wait(limits::LADDER_REST, why));
    }
    let hours = now.duration_since(since).as_hours();
    draft.signal(Signal::Expired, format!("{hours} h after it was deallocated, its retention is over"))?;
    Ok(Then::Look)
}

fn resume(draft: &mut Draft<'_>) -> Result<Then, Illegal> {
    draft.record.rung = 0;
    draft.record.purge_not_before = None;
    draft.signal(Signal::Resumed, "desiredState is running")?;
    Ok(Then::Look)
}

/// Why a node is not purged though its retention is over: its item, read just now, does not agree. An item
/// that says something else than what is in force may be an operator's attempt to get the node back.
fn still_wanted(draft: &Draft<'_>, seen: &Observation) -> Option<String> {
    let item = seen.item.as_ref()?;
    if let Some(group) = &item.group_is_back {
        return Some(format!(
            "the retention is over, but the item group#{group} is there again and not in force"
        ));
    }
    if item.whole["desiredState"] != "deallocated" {
        return Some("the retention is over, but the item is there and does not say deallocated".to_owned());
    }
    let hash = config::hash(&item.item);
    let status = &item.item[config::STATUS];
    let in_force = hash == draft.record.config.hash
        && item.share == draft.record.config.share
        && status["accepted"] == true
        && status["configHash"].as_str() == Some(&hash);
    (!in_force).then(|| "the retention is over, but the item's last edit is not in force".to_owned())
}

/// Deletes the recovery points that the newest one replaces, one at a time; `None` when only that is left.
fn tidy(draft: &mut Draft<'_>, seen: &Observation) -> Option<Then> {
    if draft.record.lost.is_some() || !has_newest(draft, seen) {
        return None;
    }
    data::spare_departed(draft, seen);
    for older in older_points(draft) {
        let verdict = living::verdict(draft, seen, &older);
        match verdict {
            None => {
                draft.note(format!("{} is gone", living::word(&older)));
                draft.record.forget(&older);
            }
            Some(Verdict::NotOurs(why)) => draft.let_go(&older, &why),
            Some(Verdict::NotYet(why)) => return Some(draft.wait(limits::NEXT_TICK, why)),
            Some(Verdict::Go) => return Some(draft.clear_away(Step::Delete(older))),
        }
    }
    let rotated: Vec<&SnapshotFacts> = seen.snapshots.values().filter(|s| is_rotated(draft, s)).collect();
    let names = draft.names();
    let free = rotated.iter().find(|s| guard::snapshot(&names, s, &Purpose::ROTATED) == Verdict::Go);
    match free.map(|snapshot| snapshot.id.clone()) {
        Some(id) => Some(draft.clear_away(Step::Prune(id))),
        None if rotated.is_empty() => None,
        None => Some(draft.wait(limits::NEXT_TICK, "older snapshots to complete, so that they can go")),
    }
}

/// Whether this look has shown the node image to be available, and the final snapshots of root and data volumes
/// to be complete.
fn has_newest(draft: &Draft<'_>, seen: &Observation) -> bool {
    let image = draft.record.image.as_ref().and_then(|image| seen.images.get(image.id.as_ref()?));
    let is_complete =
        |id: &SnapshotId| seen.snapshots.get(id).is_some_and(|last| last.state == SnapshotState::Completed);
    let last = draft.record.finals.first().and_then(|last| last.snapshot_id.as_ref());
    let persist = &draft.record.config().persist;
    let root = persist.root.is_none()
        || (image.is_some_and(|image| image.state == ImageState::Available) && last.is_some_and(is_complete));
    // A volume whose older point was chosen is not captured, and that point is its newest.
    let data = draft.record.data.iter().all(|it| it.point().is_some_and(is_complete));
    root && data && (persist.root.is_some() || !draft.record.data.is_empty())
}

/// Superseded images and final snapshots: the present ones hold all they hold, and more.
fn older_points(draft: &Draft<'_>) -> Vec<Superseded> {
    let mut older = draft.record.superseded.clone();
    older.retain(|it| !matches!(it, Superseded::Volume(_) | Superseded::DataVolume(_)));
    older.sort();
    older
}

/// Whether a snapshot is one that rotation would count, of the descent of the node's present image. A copy is
/// somebody else's.
fn is_rotated(draft: &Draft<'_>, snapshot: &SnapshotFacts) -> bool {
    let cycle = snapshot.tags.get(TAG_CYCLE).and_then(|cycle| cycle.parse::<u32>().ok());
    snapshot.own
        && draft.names().owns(&snapshot.tags)
        && !is_copy(snapshot)
        && Purpose::ROTATED.iter().any(|purpose| has_purpose(&snapshot.tags, *purpose))
        && cycle.is_some_and(|cycle| cycle >= draft.record.descent)
}

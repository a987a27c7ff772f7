//! The end of a life: what is to be deleted is deleted and looked for until it is gone, the rest loses our
//! tags and is listed.
//!
//! Nothing is touched that does not carry the tags of this very life, and nothing adopted is deleted.

use super::{Draft, Then};
use crate::config::{DesiredState, Retained};
use crate::guard::{self, Verdict};
use crate::ids::Resource;
use crate::journal::Kind;
use crate::limits;
use crate::names::{Purpose, Tags, has_purpose, made_for};
use crate::observation::{Observation, VolumeState};
use crate::phase::{Illegal, Signal};
use crate::step::Step;

/// What is to become of something.
enum Fate {
    Deleted,
    HandedOver,
    NotYet(String),
}

pub(super) fn purging(draft: &mut Draft<'_>, seen: &Observation) -> Result<Then, Illegal> {
    if let Some(wait) = draft.paused() {
        return Ok(wait);
    }
    let left = left(draft, seen);
    if left.is_empty() {
        return bare(draft);
    }
    draft.record.bare_since = None;
    let mut not_yet = None;
    for (resource, tags) in left {
        match fate(draft, seen, &resource, tags) {
            Fate::Deleted => return Ok(draft.act(Step::Purge(resource))),
            Fate::HandedOver => {
                let listed = resource.to_string();
                if !draft.record.handed_over.contains(&listed) {
                    draft.record.handed_over.push(listed);
                }
                return Ok(draft.act(Step::HandOver(resource)));
            }
            Fate::NotYet(why) => not_yet = Some(format!("{resource}: {why}")),
        }
    }
    let why = not_yet.unwrap_or_default();
    if draft.is_stalled(limits::QUIET) {
        let remedy = "Free it, or take Perennial's tags off it to keep it; the purge goes on by itself";
        draft.block("purge-stalled", format!("cannot be deleted: {why}"), remedy, limits::LADDER_REST);
    }
    Ok(draft.wait(limits::NEXT_TICK, why))
}

/// Everything that still carries the tags of this life, in the order in which it can be deleted.
fn left<'s>(draft: &Draft<'_>, seen: &'s Observation) -> Vec<(Resource, &'s Tags)> {
    let names = draft.names();
    let mut all: Vec<(Resource, &Tags)> = Vec::new();
    all.extend(seen.images.values().map(|it| (Resource::Image(it.id.clone()), &it.tags)));
    all.extend(seen.snapshots.values().map(|it| (Resource::Snapshot(it.id.clone()), &it.tags)));
    let volumes = seen.volumes.values().filter(|it| it.state != VolumeState::Deleting);
    all.extend(volumes.map(|it| (Resource::Volume(it.id.clone()), &it.tags)));
    all.extend(seen.interfaces.values().map(|it| (Resource::Interface(it.id.clone()), &it.tags)));
    let alive = seen.instances.values().filter(|it| !it.state.has_ended());
    all.extend(alive.map(|it| (Resource::Instance(it.id.clone()), &it.tags)));
    all.retain(|(resource, tags)| {
        let ours = made_for(resource).iter().any(|purpose| has_purpose(tags, *purpose));
        names.owns(tags) && (ours || has_purpose(tags, Purpose::Adopted))
    });
    all
}

fn fate(draft: &Draft<'_>, seen: &Observation, resource: &Resource, tags: &Tags) -> Fate {
    let record = &draft.record;
    let delete = &record.config().retention.delete;
    let deletes = |kind| record.goal != DesiredState::Released && delete.contains(&kind);
    let to_be_deleted = !has_purpose(tags, Purpose::Adopted)
        && match resource {
            Resource::Image(_) => deletes(Retained::Images),
            // The snapshot behind an image that stays cannot be deleted, and the image is nothing without it.
            Resource::Snapshot(id) => {
                let behind = record.image.as_ref().is_some_and(|image| image.snapshot_id == *id);
                let backs_an_image = behind || has_purpose(tags, Purpose::Final);
                deletes(Retained::Snapshots) && (deletes(Retained::Images) || !backs_an_image)
            }
            Resource::Volume(_) => deletes(Retained::Volumes),
            Resource::Interface(_) => deletes(Retained::NetworkInterfaces),
            Resource::Instance(_) => false,
        };
    if !to_be_deleted {
        return Fate::HandedOver;
    }
    let (names, purposes) = (draft.names(), made_for(resource));
    let verdict = match resource {
        Resource::Image(id) => seen.images.get(id).map(|it| guard::image(&names, it, purposes)),
        Resource::Snapshot(id) => seen.snapshots.get(id).map(|it| guard::snapshot(&names, it, purposes)),
        Resource::Volume(id) => seen.volumes.get(id).map(|it| guard::volume(&names, it, purposes)),
        Resource::Interface(id) => seen.interfaces.get(id).map(|it| guard::interface(&names, it, purposes)),
        Resource::Instance(_) => None,
    };
    match verdict {
        Some(Verdict::Go) => Fate::Deleted,
        Some(Verdict::NotYet(why)) => Fate::NotYet(why),
        Some(Verdict::NotOurs(_)) | None => Fate::HandedOver,
    }
}

/// Nothing is left, or one read does not show it: a second one makes it certain.
fn bare(draft: &mut Draft<'_>) -> Result<Then, Illegal> {
    let now = draft.now();
    let since = *draft.record.bare_since.get_or_insert(now);
    if now.duration_since(since) < limits::NEXT_TICK {
        return Ok(draft.wait(limits::NEXT_TICK, "a second read that shows nothing of the node"));
    }
    let released = draft.record.goal == DesiredState::Released;
    let what = if released { "released" } else { "purged" };
    let reason = match draft.record.handed_over.as_slice() {
        [] => format!("{what}: nothing is left"),
        listed => format!("{what}; handed over: {}", listed.join(", ")),
    };
    draft.signal(Signal::Purged, reason)?;
    draft.publish(if released { Kind::NodeReleased } else { Kind::NodePurged });
    let record = &mut draft.record;
    record.instance = None;
    record.root = None;
    record.data.clear();
    record.mapped.clear();
    record.sighted.clear();
    record.left_alone.clear();
    record.network = None;
    record.notice = None;
    record.unseen = None;
    record.lost = None;
    record.restore = None;
    record.image = None;
    record.finals.clear();
    record.superseded.clear();
    record.aside.clear();
    record.durations.clear();
    record.lost_since = None;
    Ok(Then::Look)
}

//! Coming back from what is left: the image, else the snapshot behind it, else the volume itself.
//!
//! Only what holds every byte is used by itself. An older recovery point is used at the operator's word
//! alone, and then everything else is left where it is.

use super::capturing::first_try;
use super::{Draft, Then, data, resting};
use crate::config::DesiredState;
use crate::ids::{Resource, VolumeId};
use crate::limits;
use crate::names::TAG_PARTS;
use crate::observation::{ImageState, Observation, SnapshotFacts, SnapshotState, VolumeFacts, VolumeState};
use crate::phase::{Illegal, Signal};
use crate::record::{Blueprint, FinalSnapshot, Lost, NodeImage, Root, Superseded};

/// Makes sure that a node without an instance can be launched from its own image. `None` if it can, or if
/// it has no root to come back with.
pub(super) fn recover(draft: &mut Draft<'_>, seen: &Observation) -> Result<Option<Then>, Illegal> {
    if draft.record.config().persist.root.is_none() {
        return Ok(None);
    }
    if let Some(lost) = draft.record.lost.clone() {
        return lost_root(draft, seen, &lost).map(Some);
    }
    let (now, cycle) = (draft.now(), draft.record.cycle);
    // Of another cycle it would be an older recovery point: the launch refuses it.
    let Some(image) = draft.record.image.as_mut().filter(|image| image.cycle + 1 == cycle) else {
        return Ok(None);
    };
    let found = image.id.as_ref().and_then(|id| seen.images.get(id)).map(|facts| facts.state);
    let id = image.id.as_ref().map_or("not registered yet".to_owned(), ToString::to_string);
    match found {
        Some(ImageState::Available) => {
            (image.state, image.missing_since) = (ImageState::Available, None);
            return Ok(None);
        }
        Some(ImageState::Pending) => {
            return Ok(Some(draft.expect(format!("the image {id} to be available"))));
        }
        Some(ImageState::Failed | ImageState::Gone) => {
            image.missing_since.get_or_insert(now);
        }
        None => {
            let since = *image.missing_since.get_or_insert(now);
            if now.duration_since(since) < limits::QUIET {
                return Ok(Some(draft.wait(limits::NEXT_TICK, format!("a read that shows the image {id}"))));
            }
        }
    }
    let last = draft.record.finals.first().cloned();
    if !last.as_ref().is_none_or(|last| seen.look.volumes.contains(&last.volume_id)) {
        return Ok(Some(Then::Look));
    }
    next_best(draft, seen, last).map(Some)
}

/// The image is gone: registers it again from its snapshot, or takes the snapshot again from its volume.
fn next_best(
    draft: &mut Draft<'_>,
    seen: &Observation,
    last: Option<FinalSnapshot>,
) -> Result<Then, Illegal> {
    let image = draft.record.image.as_ref().and_then(|image| image.id.clone());
    let id = image.as_ref().map_or(String::new(), ToString::to_string);
    let snapshot = last.as_ref().and_then(|last| seen.snapshots.get(last.snapshot_id.as_ref()?));
    if let Some(snapshot) = snapshot.filter(|s| s.own && s.state == SnapshotState::Completed) {
        // If it still exists in some form, it goes with everything else that is superseded.
        draft.record.superseded.extend(image.map(Superseded::Image));
        register_from(draft, snapshot);
        let why = format!("the image {id} is gone: another is registered from {}", snapshot.id);
        draft.signal(Signal::ImageLost, why)?;
        return Ok(Then::Look);
    }
    let Some(last) = last else {
        let message = format!("the image {id} is gone, and the record names no snapshot behind it");
        draft.block("image-missing", message.clone(), NO_BLUEPRINT, limits::REFUSED_REST);
        return Ok(draft.wait(limits::REFUSED_REST, message));
    };
    if let Some(volume) = seen.volumes.get(&last.volume_id).filter(|v| v.state == VolumeState::Available) {
        return capture_again(draft, volume, &format!("the image {id} and its snapshot are gone"));
    }
    draft.record.lost = Some(Lost { volume_id: last.volume_id, since: draft.now() });
    draft.record.image = None;
    draft.record.finals.clear();
    draft.note(format!("the image {id}, its snapshot and the volume it was taken of are gone"));
    Ok(Then::Look)
}

const NO_BLUEPRINT: &str = "The record tells too little to make another by itself. Register an image from the right \
    snapshot, name it in launch.image, take persist.root out until the node runs, and put it back";

/// Makes a snapshot the one that the next image is registered from, in the present cycle.
fn register_from(draft: &mut Draft<'_>, snapshot: &SnapshotFacts) {
    let record = &mut draft.record;
    record.finals = vec![FinalSnapshot {
        snapshot_id: Some(snapshot.id.clone()),
        state: SnapshotState::Completed,
        ..first_try(snapshot.volume.clone())
    }];
    record.image = Some(NodeImage {
        id: None,
        cycle: record.cycle,
        attempt: 1,
        snapshot_id: snapshot.id.clone(),
        state: ImageState::Pending,
        missing_since: None,
    });
}

/// Takes the final snapshot once more, of the volume that still holds every byte.
fn capture_again(draft: &mut Draft<'_>, volume: &VolumeFacts, why: &str) -> Result<Then, Illegal> {
    let Some(blueprint) = draft.record.blueprint.clone() else {
        draft.block("image-missing", why.to_owned(), NO_BLUEPRINT, limits::REFUSED_REST);
        return Ok(draft.wait(limits::REFUSED_REST, why));
    };
    draft.record.root = Some(Root {
        volume_id: volume.id.clone(),
        device_name: blueprint.device_name,
        shape: volume.shape.clone(),
        available_at: Some(draft.now()),
        swapped: false,
        missing_since: None,
        replaced_by: None,
    });
    draft.record.lost = None;
    // The operator's word was about the loss that is over now.
    draft.record.restore = None;
    draft.record.image = None;
    draft.record.finals.clear();
    draft.signal(Signal::SnapshotLost, format!("{why}: {} is captured again", volume.id))?;
    Ok(Then::Look)
}

/// Gives up on the root of the present cycle: it is not there, and nothing holds its last bytes. The node
/// goes on to its launch, which waits for the operator's word.
pub(super) fn data_lost(
    draft: &mut Draft<'_>,
    seen: &Observation,
    volume: VolumeId,
) -> Result<Then, Illegal> {
    let now = draft.now();
    let record = &draft.record;
    // An instance that nobody saw left no word on how its root boots: its image's must do.
    let unseen = record.unseen.as_ref().and_then(|unseen| seen.images.get(&unseen.image_id));
    if let (None, Some(root), Some(image)) = (&record.instance, &record.root, unseen) {
        let (device_name, platform) = (root.device_name.clone(), image.platform.clone());
        draft.record.blueprint = Some(Blueprint { device_name, platform });
    }
    draft.record.lost = Some(Lost { volume_id: volume.clone(), since: now });
    draft.record.restore = None;
    draft.supersede_parent();
    draft.begin_cycle();
    draft.signal(Signal::DataLost, format!("no snapshot is known to hold the last bytes of {volume}"))?;
    Ok(Then::Look)
}

/// Takes a node on to its deallocation that cannot be captured until a person mends something, if nobody
/// has for ten minutes. Its volume is captured if the node is wanted back; what there is of it is kept until then.
pub(super) fn give_up(draft: &mut Draft<'_>, seen: &Observation) -> Result<(), Illegal> {
    let record = &draft.record;
    let is_stuck = record.blocked.as_ref().is_some_and(|blocked| {
        MENDED_BY_HAND.contains(&blocked.code.as_str())
            && draft.now().duration_since(blocked.since) >= limits::QUIET
    });
    if is_stuck && record.goal == DesiredState::Deallocated && data::give_up(draft) {
        if draft.record.root.is_some() {
            draft.lift();
            draft.record.not_before = None;
            return Ok(());
        }
        draft.signal(
            Signal::CapturedBare,
            "the data volumes are kept as they are, and the node is given up",
        )?;
        return resting::rest(draft).map(|_| ());
    }
    let record = &draft.record;
    let Some(root) = record.root.as_ref().filter(|_| is_stuck) else { return Ok(()) };
    if record.goal == DesiredState::Deallocated && record.phase.after(Signal::DataLost).is_ok() {
        let volume = root.volume_id.clone();
        if let Some(other) = root.replaced_by.clone() {
            draft
                .set_aside(Resource::Volume(other.volume_id), "it may be the root, and the node is given up");
        }
        draft.note(format!("{volume} is kept as it is: it cannot be captured now, and the node is given up"));
        data_lost(draft, seen, volume)?;
    }
    Ok(())
}

/// Blocks of an ended instance's node that no time lifts.
const MENDED_BY_HAND: [&str; 5] =
    ["snapshot-refused", "image-refused", "image-mismatch", "root-elsewhere", "root-changed"];

/// Waits for the lost volume, or for the operator to accept an older recovery point.
fn lost_root(draft: &mut Draft<'_>, seen: &Observation, lost: &Lost) -> Result<Then, Illegal> {
    let mut asked = String::new();
    if let Some(wanted) = draft.record.restore.clone() {
        match seen.snapshots.get(&wanted) {
            Some(it) if draft.record.data.iter().any(|data| data.descends_from(&it.volume)) => {
                asked = format!(" {wanted} is a snapshot of a data volume, not of the root.");
            }
            Some(snapshot) if snapshot.own && snapshot.state == SnapshotState::Completed => {
                return restored(draft, snapshot);
            }
            Some(_) => asked = format!(" {wanted}, named by restoreFrom, is not completed or not our own."),
            None => asked = format!(" {wanted}, named by restoreFrom, does not exist."),
        }
    }
    match seen.volumes.get(&lost.volume_id) {
        Some(volume) if volume.state == VolumeState::Available => {
            return capture_again(draft, volume, "the root volume has come back");
        }
        Some(volume) if volume.state == VolumeState::InUse => {
            asked.push_str(&format!(" {} is attached elsewhere: detach it, and all is well.", volume.id));
        }
        Some(_) | None => {}
    }
    let message = format!(
        "the root volume {} does not exist any more, and no snapshot holds every byte of it.{asked} Older ones: {}",
        lost.volume_id,
        candidates(draft, seen, |it| {
            // A part of a set says no device: only of the lost volume itself is it known to be of the root.
            let is_known = !it.tags.contains_key(TAG_PARTS) || it.volume == lost.volume_id;
            is_known && !draft.record.data.iter().any(|data| data.descends_from(&it.volume))
        })
    );
    let remedy = "Nothing older is used by itself and nothing is deleted. To accept the loss, set restoreFrom to one of \
                  these snapshots (if it already is, take it out first); to give the node up, set desiredState to \
                  \"deallocated\" or \"released\"";
    draft.block("data-missing", message.clone(), remedy, limits::REFUSED_REST);
    Ok(draft.wait(limits::NEXT_TICK, message))
}

/// The snapshots that what is lost may be restored from, the newest first, with their age.
pub(super) fn candidates(
    draft: &Draft<'_>,
    seen: &Observation,
    of_line: impl Fn(&SnapshotFacts) -> bool,
) -> String {
    let names = draft.names();
    let is_complete = |s: &SnapshotFacts| s.own && s.state == SnapshotState::Completed;
    let usable = |s: &&SnapshotFacts| is_complete(s) && names.owns(&s.tags) && of_line(s);
    let mut found: Vec<_> = seen.snapshots.values().filter(usable).collect();
    found.sort_by_key(|s| std::cmp::Reverse(s.started_at));
    let told = found.iter().map(|s| {
        let minutes = draft.now().duration_since(s.started_at).as_mins();
        format!("{} of {} ({minutes} minutes old)", s.id, s.started_at)
    });
    let told: Vec<_> = told.take(10).collect();
    if told.is_empty() { "none".to_owned() } else { told.join(", ") }
}

/// Uses the recovery point that the operator chose. What else there is stays where it is: something newer
/// than the chosen point may be among it.
fn restored(draft: &mut Draft<'_>, snapshot: &SnapshotFacts) -> Result<Then, Illegal> {
    if draft.record.blueprint.is_none() {
        let message = "the record does not tell how the lost root boots".to_owned();
        draft.block("image-missing", message.clone(), NO_BLUEPRINT, limits::REFUSED_REST);
        return Ok(draft.wait(limits::REFUSED_REST, message));
    }
    draft.set_all_aside("the operator chose another recovery point");
    draft.record.restored = draft.record.restore.take();
    draft.lose_since(snapshot.started_at);
    draft.record.lost = None;
    draft.record.descent = draft.record.cycle;
    // The volume may have grown since it was last described: the snapshot knows its own size.
    draft.record.root_shape.get_or_insert_default().size_gib = 0;
    register_from(draft, snapshot);
    draft.signal(Signal::Restored, format!("restored from {} at the operator's word", snapshot.id))?;
    Ok(Then::Look)
}

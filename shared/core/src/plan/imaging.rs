//! The node image: registered under its own name from the snapshot that holds every byte.
//!
//! Nothing here deletes anything. An image that would be billed otherwise than the instance was is never
//! launched.

use super::{Draft, Then, ending::unknown, recovery};
use crate::ids::{SnapshotId, VolumeId};
use crate::limits;
use crate::names::Purpose;
use crate::observation::{ImageFacts, ImageState, Observation, SnapshotState};
use crate::phase::{Illegal, Signal};
use crate::record::{Blueprint, NodeImage, Superseded};
use crate::step::{ImageRequest, Step};

pub(super) fn imaging(draft: &mut Draft<'_>, seen: &Observation) -> Result<Then, Illegal> {
    let Some(snapshot) = draft.record.finals.first().and_then(|f| f.snapshot_id.clone()) else {
        return Ok(unknown(draft, "the record names no final snapshot to make an image of"));
    };
    let cycle = draft.record.cycle;
    let image = draft.record.image.get_or_insert(NodeImage {
        id: None,
        cycle,
        attempt: 1,
        snapshot_id: snapshot.clone(),
        state: ImageState::Pending,
        missing_since: None,
    });
    let (id, attempt) = (image.id.clone(), image.attempt);
    let Some(id) = id else {
        image.snapshot_id = snapshot.clone();
        return match snapshot_missing(draft, seen, &snapshot) {
            Some(Missing::Unsure(wait)) => Ok(wait),
            Some(Missing::Gone(volume)) => recovery::data_lost(draft, seen, volume),
            None => Ok(register(draft, seen, attempt)),
        };
    };
    match seen.images.get(&id) {
        None => {
            let now = draft.scope.now;
            let since =
                draft.record.image.as_mut().map(|i| *i.missing_since.get_or_insert(now)).unwrap_or(now);
            if now.duration_since(since) < limits::QUIET {
                return Ok(draft.wait(limits::NEXT_TICK, format!("a read that shows the image {id}")));
            }
            Ok(register_again(draft, format!("the image {id} has vanished")))
        }
        Some(facts) => {
            let state = facts.state;
            if let Some(image) = draft.record.image.as_mut() {
                (image.state, image.missing_since) = (state, None);
            }
            match state {
                ImageState::Pending => Ok(draft.expect(format!("the image {id} to be available"))),
                ImageState::Failed | ImageState::Gone => {
                    Ok(register_again(draft, format!("the image {id} failed: {}", facts.state_reason)))
                }
                ImageState::Available => imaged(draft, facts),
            }
        }
    }
}

/// A snapshot that a read did not show.
enum Missing {
    Unsure(Then),
    Gone(VolumeId),
}

/// Whether the snapshot that the image is to be made of is still there: an operator may have deleted it.
fn snapshot_missing(draft: &mut Draft<'_>, seen: &Observation, snapshot: &SnapshotId) -> Option<Missing> {
    let now = draft.now();
    let last = draft.record.finals.first_mut()?;
    match seen.snapshots.get(snapshot).map(|facts| facts.state) {
        Some(SnapshotState::Completed | SnapshotState::Pending) => {
            last.missing_since = None;
            return None;
        }
        Some(SnapshotState::Error) | None => {}
    }
    let since = *last.missing_since.get_or_insert(now);
    let volume = last.volume_id.clone();
    if now.duration_since(since) < limits::QUIET {
        let wait = draft.wait(limits::NEXT_TICK, format!("a read that shows the snapshot {snapshot}"));
        return Some(Missing::Unsure(wait));
    }
    draft.note(format!("the final snapshot {snapshot} is gone"));
    Some(Missing::Gone(volume))
}

/// Adopts the image that an earlier try registered, or registers it.
fn register(draft: &mut Draft<'_>, seen: &Observation, attempt: u32) -> Then {
    let (names, record) = (draft.names(), &draft.record);
    let name = names.image(record.cycle, attempt);
    let Some(snapshot) = record.image.as_ref().map(|i| i.snapshot_id.clone()) else { return Then::Look };
    if let Some(found) = seen.images.values().find(|image| image.name == name) {
        let ours = names.owns(&found.tags);
        match &found.root_snapshot {
            // Just registered: EC2 fills in the snapshot a little later.
            None if ours => return draft.poll(format!("{} to show its snapshot", found.id)),
            Some(source) if ours && *source == snapshot => {
                let id = found.id.clone();
                draft.note(format!("{id} is the node image, found by its name"));
                if let Some(image) = draft.record.image.as_mut() {
                    image.id = Some(id);
                }
                return Then::Look;
            }
            None | Some(_) => {
                return register_again(draft, format!("the name {name} is taken by another image"));
            }
        }
    }
    // Without the instance's own word its image's must do; a guess would make an image that does not boot.
    let unseen = record.unseen.as_ref().and_then(|u| seen.images.get(&u.image_id)).map(|i| &i.platform);
    let blueprint = record.blueprint.as_ref();
    let platform = record.instance.as_ref().map(|i| &i.platform).or(unseen);
    let platform = platform.or(blueprint.map(|blueprint| &blueprint.platform)).cloned();
    let root = record.root.as_ref().map(|root| (root.device_name.clone(), root.shape.clone()));
    let last = blueprint.map(|blueprint| blueprint.device_name.clone()).zip(record.root_shape.clone());
    let (Some(platform), Some((root_device, shape))) = (platform, root.or(last)) else {
        let message =
            "neither the ended instance nor the image it was launched from tells how its root boots";
        return unknown(draft, message);
    };
    let key = names.image(record.cycle, attempt);
    let tags = names.tags(&record.config().tags, record.cycle, Purpose::Image, &key);
    let request = ImageRequest {
        description: format!("Perennial: {} after cycle {}", record.name, record.cycle),
        name,
        root_device,
        snapshot,
        shape,
        platform,
        tags,
    };
    draft.act(Step::RegisterImage(Box::new(request)))
}

fn register_again(draft: &mut Draft<'_>, why: String) -> Then {
    draft.note(format!("{why}: it is registered again"));
    let remedy =
        "It is registered again every minute under another name; the final snapshot is complete and kept";
    draft.block("image-failed", why, remedy, limits::LADDER_REST);
    let old = draft.record.image.as_mut().and_then(|image| {
        image.attempt += 1;
        image.state = ImageState::Pending;
        image.missing_since = None;
        image.id.take()
    });
    draft.record.superseded.extend(old.map(Superseded::Image));
    Then::Look
}

/// Goes on to the next launch, if the image will be billed as the instance was.
fn imaged(draft: &mut Draft<'_>, facts: &ImageFacts) -> Result<Then, Illegal> {
    let record = &draft.record;
    let platform = record.instance.as_ref().map(|instance| &instance.platform);
    let platform = platform.or(record.blueprint.as_ref().map(|blueprint| &blueprint.platform));
    let recorded = platform.and_then(|platform| platform.usage_operation.clone());
    if recorded.is_some() && facts.platform.usage_operation != recorded {
        let message = format!(
            "the image {} would be billed as {}, the instance was {}",
            facts.id,
            facts.platform.usage_operation.as_deref().unwrap_or("nothing"),
            recorded.unwrap_or_default()
        );
        let remedy = "AWS did not carry the licence over. Nothing is deleted: launch by hand from the base image \
                      with this volume, or register an image with the right billing";
        draft.block("image-mismatch", message.clone(), remedy, limits::REFUSED_REST);
        return Ok(draft.wait(limits::NEXT_TICK, message));
    }
    if let Some(root) = &draft.record.root {
        let (shape, old) = (root.shape.clone(), Superseded::Volume(root.volume_id.clone()));
        draft.record.root_shape = Some(shape);
        if !draft.record.superseded.contains(&old) {
            draft.record.superseded.push(old);
        }
    }
    if draft.record.instance.is_none() {
        let (device_name, platform) = (facts.root_device.clone(), facts.platform.clone());
        draft.record.blueprint = Some(Blueprint { device_name, platform });
    }
    draft.begin_cycle();
    draft.signal(Signal::Imaged, format!("the image {} can be launched", facts.id))?;
    Ok(Then::Look)
}

//! After the instance: wait until it let go, take the final snapshot, make the image.
//!
//! Nothing here deletes anything, and nothing goes back: what was lost is said, never papered over with
//! an older recovery point.

use jiff::Timestamp;

use super::{Alive, Draft, Then, alive, living};
use crate::ids::VolumeId;
use crate::limits;
use crate::names::{Purpose, TAG_CYCLE, has_key, has_purpose};
use crate::observation::{
    ImageFacts, ImageState, InstanceState, InterfaceState, Observation, SnapshotFacts, SnapshotState,
    VolumeFacts, VolumeState,
};
use crate::phase::{Illegal, Signal};
use crate::record::{FinalSnapshot, NodeImage, Root, Superseded};
use crate::step::{ImageRequest, Step};

/// What stands between an ended instance and the next step.
enum Held {
    /// Nothing.
    Free,
    /// Something that passes by itself within seconds.
    Soon(String),
    /// Something that an event or the tick will tell of.
    Later(String),
    /// The launch made no volume at all.
    Nothing,
    /// Blocked, as marked in the draft.
    Blocked(String),
}

pub(super) fn releasing(draft: &mut Draft<'_>, seen: &Observation) -> Result<Then, Illegal> {
    let mut held = instance_held(draft, seen);
    if matches!(held, Held::Free) {
        held = root_held(draft, seen);
    }
    if matches!(held, Held::Free) {
        held = interface_held(draft, seen);
    }
    match held {
        Held::Free => {
            released(draft)?;
            Ok(Then::Look)
        }
        Held::Nothing => {
            let message = "the instance ended before it had a volume".to_owned();
            let why = format!("{message}: {}", draft.record.reason);
            draft.record.instance = None;
            draft.record.unseen_key = None;
            draft.record.rung += 1;
            draft.signal(Signal::CameToNothing, why.clone())?;
            let remedy =
                "It is tried again; check the instance's state reason, KMS rights of the image above all";
            draft.block("launch-failed", why, remedy, limits::LADDER_REST);
            Ok(Then::Look)
        }
        Held::Soon(what) => Ok(overdue(draft, what, true)),
        Held::Later(what) => Ok(overdue(draft, what, false)),
        Held::Blocked(why) => Ok(draft.wait(limits::NEXT_TICK, why)),
    }
}

fn overdue(draft: &mut Draft<'_>, what: String, soon: bool) -> Then {
    if draft.now().duration_since(draft.record.phase_since) >= limits::RELEASE_OVERDUE {
        let message = format!("ten minutes after the instance ended, still waiting for {what}");
        let remedy = "It goes on by itself as soon as that happens; look at the resource in the EC2 console";
        draft.block("not-released", message, remedy, limits::NEXT_TICK);
        return draft.wait(limits::NEXT_TICK, what);
    }
    if soon { draft.poll(what) } else { draft.expect(what) }
}

fn instance_held(draft: &mut Draft<'_>, seen: &Observation) -> Held {
    match alive(draft, seen) {
        Alive::Gone => Held::Free,
        Alive::Ending(facts) if facts.state == InstanceState::Terminated => Held::Free,
        Alive::Ending(facts) => Held::Later(format!("{} to be terminated", facts.id)),
        // Ended once is ended for good; a read that says otherwise is an old one.
        Alive::Yes(facts) => Held::Later(format!("{} to be terminated", facts.id)),
        Alive::Unsure => Held::Later("proof that the instance is gone".to_owned()),
    }
}

fn root_held(draft: &mut Draft<'_>, seen: &Observation) -> Held {
    if draft.record.config().persist.root.is_none() {
        return Held::Free;
    }
    if draft.record.root.is_none() {
        match find_root(draft, seen) {
            Ok(root) => draft.record.root = Some(root),
            Err(held) => return held,
        }
    }
    let now = draft.now();
    let instance = draft.record.instance.as_ref().map(|i| i.id.clone());
    let Some(root) = draft.record.root.as_mut() else { return Held::Free };
    let found = seen.volumes.get(&root.volume_id);
    match found.filter(|volume| !matches!(volume.state, VolumeState::Deleting | VolumeState::Error)) {
        None => {
            let since = *root.missing_since.get_or_insert(now);
            let id = root.volume_id.clone();
            missing_root(draft, &id, since)
        }
        Some(volume) => {
            root.missing_since = None;
            match volume.state {
                VolumeState::Available => {
                    root.available_at.get_or_insert(now);
                    root.shape = volume.shape.clone();
                    Held::Free
                }
                _ => match volume.attached_to.iter().find(|id| Some(*id) != instance.as_ref()) {
                    Some(stranger) => {
                        let message = format!("the root volume {} is attached to {stranger}", volume.id);
                        let why = message.clone();
                        let remedy = "Detach it from there; the node goes on as soon as it is available";
                        draft.block("root-elsewhere", message, remedy, limits::NEXT_TICK);
                        Held::Blocked(why)
                    }
                    None => Held::Soon(format!("{} to become available", volume.id)),
                },
            }
        }
    }
}

/// Finds the root of an instance that ended before anyone saw its volumes, by the key of its launch.
fn find_root(draft: &mut Draft<'_>, seen: &Observation) -> Result<Root, Held> {
    let Some(key) = seen.look.volume_key.clone() else { return Err(Held::Soon("a look by key".to_owned())) };
    let made: Vec<&VolumeFacts> =
        seen.volumes.values().filter(|v| has_key(&v.tags, &key) && draft.names().owns(&v.tags)).collect();
    let image = draft.record.instance.as_ref().and_then(|i| seen.images.get(&i.image_id));
    let source = image
        .and_then(|image| image.root_snapshot.clone())
        .or_else(|| draft.record.image.as_ref().map(|i| i.snapshot_id.clone()));
    let root = match made.as_slice() {
        [] => None,
        [only] => Some(*only),
        several => several.iter().copied().find(|v| v.source.is_some() && v.source == source),
    };
    if let Some(volume) = root {
        let device = image.map(|i| i.root_device.clone()).or_else(|| volume.device.clone());
        draft.note(format!("{} is the root of the ended instance, found by its key", volume.id));
        return Ok(Root {
            volume_id: volume.id.clone(),
            device_name: device.unwrap_or_else(|| "/dev/xvda".to_owned()),
            shape: volume.shape.clone(),
            available_at: None,
            missing_since: None,
        });
    }
    if !made.is_empty() {
        let message = "the ended instance left several volumes, and none is provably its root".to_owned();
        draft.block("root-unknown", message.clone(), "Ask for help: nothing is deleted", limits::NEXT_TICK);
        return Err(Held::Blocked(message));
    }
    let ended = draft.record.instance.as_ref().and_then(|i| i.ended_at).unwrap_or(draft.record.phase_since);
    match draft.now().duration_since(ended) >= limits::QUIET {
        true => Err(Held::Nothing),
        false => Err(Held::Later("ten minutes of reads that show no volume of the launch".to_owned())),
    }
}

fn missing_root(draft: &mut Draft<'_>, id: &VolumeId, since: Timestamp) -> Held {
    if draft.now().duration_since(since) < limits::QUIET {
        return Held::Later(format!("a read that shows the root volume {id}"));
    }
    let message =
        format!("the root volume {id} does not exist any more, and no snapshot holds every byte of it");
    let remedy = "Nothing older is used by itself and nothing is deleted. The node's snapshots are listed by the tag \
                  perennial:node; restore by hand from the newest one";
    draft.block("data-missing", message.clone(), remedy, limits::REFUSED_REST);
    Held::Blocked(message)
}

fn interface_held(draft: &Draft<'_>, seen: &Observation) -> Held {
    let Some(network) = &draft.record.network else { return Held::Free };
    match seen.interfaces.get(&network.eni_id).map(|i| i.state) {
        // A missing one is the launch's trouble, not the snapshot's.
        None | Some(InterfaceState::Available) => Held::Free,
        Some(InterfaceState::InUse) => Held::Soon(format!("{} to become available", network.eni_id)),
    }
}

/// Goes on from a free root: to its final snapshot, or straight to the next launch.
fn released(draft: &mut Draft<'_>) -> Result<(), Illegal> {
    if draft.record.config().persist.root.is_none() {
        // It may have outlived the instance, since it once was to be kept.
        let left = draft.record.root.as_ref().map(|root| Superseded::Volume(root.volume_id.clone()));
        draft.record.superseded.extend(left);
        draft.begin_cycle();
        return draft.signal(Signal::ReleasedBare, "nothing of the root is kept");
    }
    // What this cycle was launched from stays until the next one is proven.
    let record = &mut draft.record;
    record.superseded.extend(record.image.take().and_then(|i| i.id).map(Superseded::Image));
    record.superseded.extend(record.finals.drain(..).filter_map(|f| f.snapshot_id).map(Superseded::Snapshot));
    draft.signal(Signal::Released, "everything kept is free")
}

/// Blocks a node whose record lacks what this phase is about.
fn unknown(draft: &mut Draft<'_>, message: &str) -> Then {
    let remedy = "Ask for help: nothing is deleted";
    draft.block("root-unknown", message.to_owned(), remedy, limits::REFUSED_REST);
    draft.wait(limits::NEXT_TICK, message)
}

pub(super) fn capturing(draft: &mut Draft<'_>, seen: &Observation) -> Result<Then, Illegal> {
    let Some(root) = draft.record.root.clone() else {
        return Ok(unknown(draft, "the record names no root volume to capture"));
    };
    if draft.record.finals.is_empty() {
        draft.record.finals.push(FinalSnapshot {
            snapshot_id: None,
            volume_id: root.volume_id.clone(),
            state: SnapshotState::Pending,
            attempt: 1,
            missing_since: None,
        });
    }
    let last = draft.record.finals[0].clone();
    let Some(id) = last.snapshot_id else {
        return Ok(take_final(draft, seen, &root, last.attempt));
    };
    match seen.snapshots.get(&id) {
        None => {
            let since = *draft.record.finals[0].missing_since.get_or_insert(draft.scope.now);
            if draft.now().duration_since(since) < limits::QUIET {
                return Ok(
                    draft.wait(limits::NEXT_TICK, format!("a read that shows the final snapshot {id}"))
                );
            }
            Ok(again(draft, format!("the final snapshot {id} has vanished"), false))
        }
        Some(facts) => {
            draft.record.finals[0].missing_since = None;
            draft.record.finals[0].state = facts.state;
            match facts.state {
                SnapshotState::Pending => Ok(draft.expect(format!("the final snapshot {id} to complete"))),
                SnapshotState::Error => Ok(again(draft, format!("the final snapshot {id} failed"), true)),
                SnapshotState::Completed => {
                    draft.signal(Signal::Captured, format!("the final snapshot {id} is complete"))?;
                    Ok(Then::Look)
                }
            }
        }
    }
}

/// Adopts the final snapshot that an earlier try took, or takes it.
fn take_final(draft: &mut Draft<'_>, seen: &Observation, root: &Root, attempt: u32) -> Then {
    let key = draft.names().last(draft.record.cycle, &root.volume_id, attempt);
    let mut keyed = seen.snapshots.values().filter(|s| has_key(&s.tags, &key)).peekable();
    if keyed.peek().is_some() {
        let good = keyed.find(|snapshot| is_final_of(draft, root, snapshot));
        let Some(good) = good else {
            return again(draft, "a snapshot under the final one's key is not it".to_owned(), false);
        };
        draft.record.finals[0].snapshot_id = Some(good.id.clone());
        draft.record.finals[0].state = good.state;
        draft.note(format!("{} is the final snapshot, found by its key", good.id));
        return Then::Look;
    }
    if !seen.volumes.get(&root.volume_id).is_some_and(|v| v.state == VolumeState::Available) {
        return match seen.volumes.contains_key(&root.volume_id) {
            true => draft.poll(format!("{} to become available", root.volume_id)),
            false => {
                let since =
                    draft.record.root.as_mut().map(|r| *r.missing_since.get_or_insert(draft.scope.now));
                let now = draft.now();
                match missing_root(draft, &root.volume_id, since.unwrap_or(now)) {
                    Held::Blocked(why) | Held::Later(why) | Held::Soon(why) => {
                        draft.wait(limits::NEXT_TICK, why)
                    }
                    Held::Free | Held::Nothing => Then::Look,
                }
            }
        };
    }
    let request = living::snapshot_request(draft, root.volume_id.clone(), Purpose::Final, attempt);
    draft.act(Step::Snapshot(request))
}

/// Whether a snapshot found under the key really is this cycle's final one.
fn is_final_of(draft: &Draft<'_>, root: &Root, snapshot: &SnapshotFacts) -> bool {
    let cycle = draft.record.cycle.to_string();
    snapshot.own
        && snapshot.volume == root.volume_id
        && draft.names().owns(&snapshot.tags)
        && has_purpose(&snapshot.tags, Purpose::Final)
        && snapshot.tags.get(TAG_CYCLE) == Some(&cycle)
        && root.available_at.is_some_and(|since| snapshot.started_at >= since)
}

/// Takes the final snapshot once more: the volume is still there. A failed one goes with the superseded.
fn again(draft: &mut Draft<'_>, why: String, failed: bool) -> Then {
    draft.note(format!("{why}: it is taken again"));
    let last = &mut draft.record.finals[0];
    last.attempt += 1;
    last.state = SnapshotState::Pending;
    last.missing_since = None;
    let old = last.snapshot_id.take();
    if failed {
        draft.record.superseded.extend(old.map(Superseded::Snapshot));
    }
    Then::Look
}

pub(super) fn imaging(draft: &mut Draft<'_>, seen: &Observation) -> Result<Then, Illegal> {
    let complete = draft.record.finals.first().and_then(|f| f.snapshot_id.clone());
    let (Some(root), Some(snapshot)) = (draft.record.root.clone(), complete) else {
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
        return Ok(register(draft, seen, &root, attempt));
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

/// Adopts the image that an earlier try registered, or registers it.
fn register(draft: &mut Draft<'_>, seen: &Observation, root: &Root, attempt: u32) -> Then {
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
    let key = names.image(record.cycle, attempt);
    let tags = names.tags(&record.config().tags, record.cycle, Purpose::Image, &key);
    let request = ImageRequest {
        description: format!("Perennial: {} after cycle {}", record.name, record.cycle),
        name,
        root_device: root.device_name.clone(),
        snapshot,
        shape: root.shape.clone(),
        platform: record.instance.as_ref().map(|i| i.platform.clone()).unwrap_or_default(),
        tags,
    };
    draft.act(Step::RegisterImage(Box::new(request)))
}

fn register_again(draft: &mut Draft<'_>, why: String) -> Then {
    draft.note(format!("{why}: it is registered again"));
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
    let recorded = draft.record.instance.as_ref().and_then(|i| i.platform.usage_operation.clone());
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
        draft.record.root_shape = Some(root.shape.clone());
        draft.record.superseded.push(Superseded::Volume(root.volume_id.clone()));
    }
    draft.begin_cycle();
    draft.signal(Signal::Imaged, format!("the image {} can be launched", facts.id))?;
    Ok(Then::Look)
}

//! Bringing data volumes to the instance that runs: the same ones, or new ones from their last bytes.
//!
//! Nothing here takes a volume off anything, and no older recovery point is used but at the operator's word.

use super::keep::{missing, vanished};
use super::{elsewhere, is_collided, is_gone, others, outdate, shown, succeed, wanted};
use crate::ids::{Resource, VolumeId};
use crate::limits;
use crate::names::Purpose;
use crate::observation::{InstanceFacts, Observation, VolumeFacts, VolumeState};
use crate::plan::{Draft, Then};
use crate::record::Superseded;
use crate::step::{Step, VolumeRequest};

/// What is still to be done until the instance has all its data volumes; `None` if it has.
pub(in crate::plan) fn settle(
    draft: &mut Draft<'_>,
    seen: &Observation,
    facts: &InstanceFacts,
) -> Option<Then> {
    draft.record.config().persist.data.as_ref()?;
    let mut slow = None;
    for at in 0..draft.record.data.len() {
        let id = draft.record.data[at].volume_id.clone();
        match shown(facts, &id) {
            Some(volume) if volume.attaching => slow = slow.or(Some(id)),
            Some(_) => match retag(draft, seen, at) {
                None => {}
                then => return then,
            },
            None if is_collided(&draft.record, &id) => {}
            None => return Some(bring(draft, seen, facts, at)),
        }
    }
    slow.map(|id| attaching(draft, &id, facts))
}

/// Waits for an attachment; EC2 does not end one that hangs. Time counts from when nothing but that is waited for.
fn attaching(draft: &mut Draft<'_>, volume: &VolumeId, facts: &InstanceFacts) -> Then {
    let what = format!("{volume} to be attached to {}", facts.id);
    if !draft.is_stalled(limits::ATTACHES_WITHIN) {
        return draft.poll(what);
    }
    let message = format!("{volume} has been attaching to {} for more than ten minutes", facts.id);
    let remedy = "The guest may hold its device name for another disk: detach the volume by hand (with force, if it \
                  must be) and it is attached again, or raise recycle for another instance. Its bytes are safe";
    draft.block("attach-stalled", message, remedy, limits::NEXT_TICK);
    draft.wait(limits::NEXT_TICK, what)
}

/// The step that gives a volume made by the launch the operator's tags of the one before.
fn retag(draft: &mut Draft<'_>, seen: &Observation, at: usize) -> Option<Then> {
    let entry = &draft.record.data[at];
    if entry.adopted || entry.former.is_empty() {
        return None;
    }
    let id = entry.volume_id.clone();
    if !seen.look.volumes.contains(&id) {
        return Some(Then::Look);
    }
    let Some(volume) = seen.volumes.get(&id) else {
        return Some(draft.poll(format!("a read that shows {id}")));
    };
    let mut tags = draft.record.data[at].tags.clone();
    tags.retain(|key, value| volume.tags.get(key) != Some(value));
    let resource = Resource::Volume(volume.id.clone());
    (!tags.is_empty()).then(|| draft.act(Step::Tag { resource, tags }))
}

/// Attaches a volume, or first makes it.
fn bring(draft: &mut Draft<'_>, seen: &Observation, facts: &InstanceFacts, at: usize) -> Then {
    let entry = &draft.record.data[at];
    let (id, device) = (entry.volume_id.clone(), entry.device_name.clone());
    if let Some(other) = others(facts).find(|it| it.device == device) {
        let message = format!("{id} belongs at {device}, where the instance has {}", other.volume);
        let remedy = "Detach the other one, or give it another device name; the node goes on by itself";
        draft.block("device-taken", message.clone(), remedy, limits::NEXT_TICK);
        return draft.wait(limits::NEXT_TICK, message);
    }
    if !seen.look.volumes.contains(&id) {
        return Then::Look;
    }
    let found = seen.volumes.get(&id).filter(|it| !it.is_lost());
    match found {
        Some(volume) if volume.zone == facts.zone => attach(draft, volume, facts, at),
        None if draft.record.data[at].made.is_none() && !is_gone(draft, at) => {
            draft.poll(format!("a read that shows the data volume {id}"))
        }
        Some(_) | None if draft.record.data[at].point().is_some() => make(draft, seen, facts, at),
        Some(volume) => {
            let message = format!("{id} is in {}, and {} runs in {}", volume.zone, facts.id, facts.zone);
            let remedy = "Raise recycle: it is captured then, and comes along with the next instance";
            draft.block("volume-elsewhere", message.clone(), remedy, limits::NEXT_TICK);
            draft.wait(limits::NEXT_TICK, message)
        }
        None => missing(draft, seen, at),
    }
}

fn attach(draft: &mut Draft<'_>, volume: &VolumeFacts, facts: &InstanceFacts, at: usize) -> Then {
    let id = volume.id.clone();
    draft.record.data[at].missing_since = None;
    match volume.state {
        VolumeState::Available => {
            draft.record.data[at].detached_since = None;
            let then = draft.act(Step::Attach {
                volume: id,
                instance: facts.id.clone(),
                device: draft.record.data[at].device_name.clone(),
            });
            if matches!(then, Then::Act(_)) {
                // From here on the guest may write to it, whether or not anybody ever sees it attached.
                outdate(&mut draft.record, at);
            }
            then
        }
        VolumeState::InUse if volume.attached_to.contains(&facts.id) => attaching(draft, &id, facts),
        VolumeState::InUse => elsewhere(draft, at),
        VolumeState::Creating | VolumeState::Deleting | VolumeState::Error => {
            draft.poll(format!("{id} to be available"))
        }
    }
}

/// Makes a volume in the place of one that is gone, or in another zone, and puts it there once it is ready.
fn make(draft: &mut Draft<'_>, seen: &Observation, facts: &InstanceFacts, at: usize) -> Then {
    let Some(made) = draft.record.data[at].made.clone() else {
        return vanished(draft, seen, at).unwrap_or_else(|| create(draft, facts, at));
    };
    if !seen.look.volumes.contains(&made) {
        return Then::Look;
    }
    match seen.volumes.get(&made) {
        Some(volume) if volume.zone != facts.zone || volume.is_lost() => {
            draft.note(format!("{made} cannot be used: another one is made"));
            another(draft, at);
            Then::Look
        }
        Some(volume) if volume.state == VolumeState::Creating => {
            draft.poll(format!("{made} to be available"))
        }
        Some(_) => {
            succeed(draft, at, made);
            draft.record.data[at].zone.clone_from(&facts.zone);
            Then::Look
        }
        None if !is_gone(draft, at) => draft.poll(format!("a read that shows {made}")),
        None => {
            draft.note(format!("{made} has vanished: another one is made"));
            another(draft, at);
            Then::Look
        }
    }
}

fn another(draft: &mut Draft<'_>, at: usize) {
    let entry = &mut draft.record.data[at];
    entry.attempts += 1;
    entry.missing_since = None;
    let made = entry.made.take();
    draft.record.superseded.extend(made.map(Superseded::DataVolume));
}

fn create(draft: &mut Draft<'_>, facts: &InstanceFacts, at: usize) -> Then {
    let (names, record) = (draft.names(), &draft.record);
    let entry = &record.data[at];
    let Some(snapshot) = entry.point().cloned() else { return Then::Look };
    let token = names.volume(&entry.device_name, &snapshot, &facts.zone, entry.attempts + 1);
    let mut operator = record.config().tags.clone();
    for (key, value) in &entry.tags {
        if operator.len() < limits::OPERATOR_TAGS_MAX || operator.contains_key(key) {
            operator.insert(key.clone(), value.clone());
        }
    }
    let request = VolumeRequest {
        tags: names.tags(&operator, record.cycle, Purpose::Data, &token),
        token,
        device: entry.device_name.clone(),
        snapshot,
        zone: facts.zone.clone(),
        shape: entry.next_shape(),
    };
    draft.act(Step::CreateVolume(Box::new(request)))
}

/// The token of the last try stands for something else: the next one uses another.
pub(crate) fn token_spent(draft: &mut Draft<'_>, device: &str) {
    let place = draft.record.data.iter_mut().find(|it| it.device_name == device);
    if let Some(entry) = place {
        entry.attempts += 1;
    }
}

/// Writes down the volume that is being made for a device.
pub(crate) fn made(draft: &mut Draft<'_>, device: &str, facts: &VolumeFacts) {
    let place = draft.record.data.iter_mut().find(|it| it.device_name == device);
    if let Some(entry) = place {
        // That it is not shown yet says nothing of how long the one before has been missing.
        (entry.made, entry.missing_since) = (Some(facts.id.clone()), None);
        wanted(draft, &facts.id);
    }
}

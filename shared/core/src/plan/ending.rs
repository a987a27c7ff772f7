//! After the instance: wait until it let go of everything that is kept.
//!
//! Nothing here deletes anything, and nothing goes back: what was lost is said, never papered over with
//! an older recovery point.

use jiff::Timestamp;

use super::{Alive, Draft, Then, alive, data, interface, recovery};
use crate::ids::{Resource, VolumeId};
use crate::limits;
use crate::names::has_key;
use crate::observation::{InstanceState, InterfaceState, Observation, VolumeFacts, VolumeState};
use crate::phase::{Illegal, Signal};
use crate::record::Root;

/// What stands between an ended instance and the next step.
pub(super) enum Held {
    /// Nothing.
    Free,
    /// Something else that comes first.
    Next(Then),
    /// Something that passes by itself within seconds.
    Soon(String),
    /// Something that an event or the tick will tell of.
    Later(String),
    /// Something that reads do not show, for as long as they may lag.
    Unsure(String),
    /// The launch made no volume at all.
    Nothing,
    /// The root volume is gone, and its last bytes with it.
    Lost(VolumeId),
    /// Blocked, as marked in the draft.
    Blocked(String),
}

pub(super) fn releasing(draft: &mut Draft<'_>, seen: &Observation) -> Result<Then, Illegal> {
    let mut held = instance_held(draft, seen);
    if matches!(held, Held::Free) {
        held = root_held(draft, seen);
    }
    if matches!(held, Held::Free | Held::Lost(_)) {
        // A lost root is no reason to lose sight of what else there is.
        match data::held(draft, seen) {
            Held::Free => {}
            other => held = other,
        }
    }
    if matches!(held, Held::Free) {
        held = interface_held(draft, seen);
    }
    match held {
        Held::Free => {
            released(draft, seen)?;
            Ok(Then::Look)
        }
        Held::Nothing => {
            let message = "the instance ended before it had a volume".to_owned();
            let why = format!("{message}: {}", draft.record.reason);
            draft.record.instance = None;
            draft.record.unseen = None;
            draft.signal(Signal::CameToNothing, why.clone())?;
            draft.block("launch-failed", why, LAUNCH_FAILED, limits::LADDER_REST);
            Ok(Then::Look)
        }
        Held::Next(then) => Ok(then),
        Held::Soon(what) => Ok(overdue(draft, what, true)),
        Held::Later(what) => Ok(overdue(draft, what, false)),
        Held::Unsure(what) => Ok(draft.expect(what)),
        Held::Lost(volume) => recovery::data_lost(draft, seen, volume),
        Held::Blocked(why) => Ok(draft.wait(limits::NEXT_TICK, why)),
    }
}

const LAUNCH_FAILED: &str =
    "It is tried again; check the instance's state reason, KMS rights of the image above all";

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
        // Whether it outlives its instance is to be seen: it may have been kept until a moment ago.
        let volume = draft.record.root.as_ref().and_then(|root| seen.volumes.get(&root.volume_id));
        let ending = volume.is_some_and(|volume| volume.state == VolumeState::InUse);
        return if ending {
            Held::Soon("the root volume to go or to be free".to_owned())
        } else {
            Held::Free
        };
    }
    if draft.record.root.is_none() {
        match find_root(draft, seen) {
            Ok(root) => draft.record.root = Some(root),
            Err(held) => return held,
        }
    }
    if let Some(swapped) = draft.record.root.as_ref().and_then(|root| root.replaced_by.clone()) {
        return root_changed(draft, &swapped.volume_id);
    }
    let now = draft.now();
    let instance = draft.record.instance.as_ref().map(|i| i.id.clone());
    let Some(root) = draft.record.root.as_mut() else { return Held::Free };
    let found = seen.volumes.get(&root.volume_id);
    match found.filter(|volume| !matches!(volume.state, VolumeState::Deleting | VolumeState::Error)) {
        None => {
            let since = *root.missing_since.get_or_insert(now);
            let id = root.volume_id.clone();
            missing_root(draft, id, since)
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

/// Blocks a node whose root was swapped so shortly before its end that only one read showed the new one.
fn root_changed(draft: &mut Draft<'_>, new: &VolumeId) -> Held {
    let known = draft.record.root.as_ref().map(|r| r.volume_id.to_string()).unwrap_or_default();
    let message = format!("{new} took the place of the root volume {known} just before the instance ended");
    let remedy = "Which of the two is the root nobody but you can tell: nothing is captured or deleted. Register an \
                  image from a snapshot of the right one, name it in launch.image, take persist.root out until the \
                  node runs, and put it back";
    draft.block("root-changed", message.clone(), remedy, limits::REFUSED_REST);
    Held::Blocked(message)
}

/// Finds the root of an instance that ended before anyone saw its volumes, by the key of its launch.
fn find_root(draft: &mut Draft<'_>, seen: &Observation) -> Result<Root, Held> {
    let Some(key) = seen.look.volume_key.clone() else { return Err(Held::Soon("a look by key".to_owned())) };
    let made: Vec<&VolumeFacts> =
        seen.volumes.values().filter(|v| has_key(&v.tags, &key) && draft.names().owns(&v.tags)).collect();
    let launched_from = draft.record.instance.as_ref().map(|i| &i.image_id);
    let launched_from = launched_from.or(draft.record.unseen.as_ref().map(|u| &u.image_id));
    let image = launched_from.and_then(|id| seen.images.get(id));
    let source = image
        .and_then(|image| image.root_snapshot.clone())
        .or_else(|| draft.record.image.as_ref().map(|i| i.snapshot_id.clone()));
    // All volumes of a launch carry its key: the root is the one made from the image's root snapshot.
    let root = made.iter().copied().find(|v| v.source.is_some() && v.source == source);
    // The node's own image may have been deregistered meanwhile; how it was made is known.
    let own = draft.record.image.as_ref().and_then(|image| image.id.as_ref());
    let blueprint = draft.record.blueprint.as_ref().filter(|_| own.is_some() && own == launched_from);
    let device = image.map(|image| image.root_device.clone());
    let device = device.or_else(|| blueprint.map(|blueprint| blueprint.device_name.clone()));
    if let Some((volume, device)) = root.zip(device) {
        draft.note(format!("{} is the root of the ended instance, found by its key", volume.id));
        return Ok(Root {
            volume_id: volume.id.clone(),
            device_name: device,
            shape: volume.shape.clone(),
            available_at: None,
            swapped: false,
            missing_since: None,
            replaced_by: None,
        });
    }
    if !made.is_empty() && !draft.is_stalled(limits::QUIET) {
        return Err(Held::Unsure("a read that shows which volume of the launch is the root".to_owned()));
    }
    if !made.is_empty() {
        let message = "the ended instance left volumes, and none is provably its root".to_owned();
        draft.block("root-unknown", message.clone(), "Ask for help: nothing is deleted", limits::NEXT_TICK);
        return Err(Held::Blocked(message));
    }
    let ended = draft.record.instance.as_ref().and_then(|i| i.ended_at).unwrap_or(draft.record.phase_since);
    match draft.now().duration_since(ended) >= limits::QUIET {
        true => Err(Held::Nothing),
        false => Err(Held::Unsure("ten minutes of reads that show no volume of the launch".to_owned())),
    }
}

/// Judges a root volume that a read did not show.
pub(super) fn missing_root(draft: &Draft<'_>, id: VolumeId, since: Timestamp) -> Held {
    if draft.now().duration_since(since) < limits::QUIET {
        return Held::Unsure(format!("a read that shows the root volume {id}"));
    }
    Held::Lost(id)
}

fn interface_held(draft: &mut Draft<'_>, seen: &Observation) -> Held {
    let Some(network) = draft.record.network.clone() else { return Held::Free };
    let found = seen.interfaces.get(&network.eni_id);
    if let Some(facts) = found {
        interface::note(draft, facts);
    }
    match found.map(|i| i.state) {
        // A missing one is the launch's trouble, not the snapshot's.
        None | Some(InterfaceState::Available) => Held::Free,
        Some(InterfaceState::InUse) => Held::Soon(format!("{} to become available", network.eni_id)),
    }
}

/// Goes on from a free root: to its final snapshot, or straight to the next launch.
fn released(draft: &mut Draft<'_>, seen: &Observation) -> Result<(), Illegal> {
    if draft.record.config().persist.root.is_none() {
        // The root may have outlived the instance, since it once was to be kept. The next one starts from
        // another image, so nothing it does can prove that this is not needed.
        draft.set_all_aside("root persistence is off");
        for volume in outlived(draft, seen) {
            draft
                .set_aside(Resource::Volume(volume), "root persistence is off, and it outlived its instance");
        }
        let ran = draft.record.instance.as_ref().is_some_and(|instance| instance.ran);
        let why = draft.record.reason.clone();
        draft.begin_cycle();
        if !data::to_capture(&draft.record).is_empty() {
            return draft.signal(Signal::Released, "nothing of the root is kept; the data volumes are free");
        }
        draft.signal(Signal::ReleasedBare, "nothing of the root is kept")?;
        if !ran {
            draft.block("launch-failed", why, LAUNCH_FAILED, limits::LADDER_REST);
        }
        return Ok(());
    }
    draft.supersede_parent();
    draft.signal(Signal::Released, "everything kept is free")
}

/// The volumes of an ended instance that are still there, its root above all: one that nobody saw is found
/// by the key of its launch.
fn outlived(draft: &Draft<'_>, seen: &Observation) -> Vec<VolumeId> {
    let (names, key) = (draft.names(), seen.look.volume_key.as_deref());
    let root = draft.record.root.as_ref().map(|root| &root.volume_id);
    let is_left = |volume: &&VolumeFacts| {
        let is_keyed = key.is_some_and(|key| has_key(&volume.tags, key)) && names.owns(&volume.tags);
        let is_data = draft.record.data.iter().any(|it| it.volume_id == volume.id);
        volume.state != VolumeState::Deleting && (Some(&volume.id) == root || (is_keyed && !is_data))
    };
    seen.volumes.values().filter(is_left).map(|volume| volume.id.clone()).collect()
}

/// Blocks a node whose record lacks what this phase is about.
pub(super) fn unknown(draft: &mut Draft<'_>, message: &str) -> Then {
    let remedy = "Ask for help: nothing is deleted";
    draft.block("root-unknown", message.to_owned(), remedy, limits::REFUSED_REST);
    draft.wait(limits::NEXT_TICK, message)
}

//! While there is an instance: what must outlive it is secured, and what its success made needless goes.

use super::{Draft, Present, Then, data, elastic_ip, present, stopping};
use crate::config::DesiredState;
use crate::guard::{self, Verdict};
use crate::ids::{Resource, VolumeId};
use crate::journal::Kind;
use crate::limits;
use crate::names::{Names, Purpose, TAG_DEPLOYMENT, TAG_DEVICE, TAG_VOLUME, has_purpose};
use crate::observation::{
    AttachedVolume, InstanceFacts, InstanceState, Observation, SnapshotFacts, SnapshotState,
};
use crate::phase::{Illegal, Signal};
use crate::record::{Record, Replacement, Root, Superseded};
use crate::snapshots::{Asked, request};
use crate::step::{PointRequest, SnapshotRequest, Step};

/// Writes down the root volume while the instance still shows it: a terminated one shows none. A root
/// that was swapped by hand is followed once two reads have shown it.
pub(crate) fn note_root(draft: &mut Draft<'_>, facts: &InstanceFacts) {
    let Some(seen) = facts.volumes.iter().find(|volume| volume.device == facts.root_device) else { return };
    let root = Root {
        volume_id: seen.volume.clone(),
        device_name: seen.device.clone(),
        shape: Default::default(),
        available_at: None,
        swapped: false,
        missing_since: None,
        replaced_by: None,
    };
    let now = draft.scope.now;
    let Some(known) = draft.record.root.as_mut() else {
        draft.record.root = Some(root);
        return;
    };
    if known.volume_id == seen.volume {
        known.replaced_by = None;
        return;
    }
    match &known.replaced_by {
        Some(first) if first.volume_id == seen.volume && first.seen_at < now => {
            let old = known.volume_id.clone();
            draft.record.root = Some(Root { swapped: true, ..root });
            draft.note(format!("{} is the root now", seen.volume));
            draft.set_aside(Resource::Volume(old), "it was the root until it was swapped by hand");
        }
        Some(first) if first.volume_id == seen.volume => {}
        Some(_) | None => {
            known.replaced_by = Some(Replacement { volume_id: seen.volume.clone(), seen_at: now });
        }
    }
}

pub(super) fn attaching(draft: &mut Draft<'_>, seen: &Observation) -> Result<Then, Illegal> {
    let facts = match present(draft, seen)? {
        Present::Here(facts) => facts,
        Present::Otherwise(then) => return Ok(then),
    };
    if draft.record.is_unwanted() {
        draft.signal(Signal::Unwanted, unwanted(draft))?;
        return Ok(Then::Look);
    }
    if is_stopped_by_hand(draft, facts) {
        let secured = secure_stopped(draft, facts);
        return Ok(secured
            .unwrap_or_else(|| draft.wait(limits::NEXT_TICK, format!("{} to be started again", facts.id))));
    }
    if facts.state != InstanceState::Running {
        return Ok(draft.wait(limits::NEXT_TICK, format!("{} to run again", facts.id)));
    }
    note_root(draft, facts);
    let then = secure(draft, facts).or_else(|| describe_root(draft, seen));
    let then = then.or_else(|| data::note(draft, seen, facts)).or_else(|| data::leaving(draft, seen, facts));
    let then = then.or_else(|| data::settle(draft, seen, facts));
    if let Some(then) = then.or_else(|| elastic_ip::settle(draft, seen, facts)) {
        return Ok(then);
    }
    let imds = draft.record.instance.as_ref().and_then(|i| seen.images.get(&i.image_id));
    let imds = imds.and_then(|image| image.platform.imds.clone());
    if let Some(instance) = draft.record.instance.as_mut() {
        instance.platform = facts.platform.clone();
        instance.platform.imds = imds;
    }
    draft.record.notice = None;
    draft.record.attempts = 0;
    draft.record.rung = 0;
    draft.signal(Signal::Secured, format!("{} runs, and what is kept will outlive it", facts.id))?;
    draft.publish(Kind::NodeRunning);
    if draft.record.cycle > 1 {
        draft.publish(Kind::NodeRecovered);
    }
    draft.record.durations.clear();
    draft.record.lost_since = None;
    Ok(Then::Look)
}

/// Why the present instance is not wanted any more.
fn unwanted(draft: &Draft<'_>) -> String {
    match draft.record.goal {
        DesiredState::Running if draft.record.config().recycle > draft.record.recycled => {
            format!("recycle was raised to {}", draft.record.config().recycle)
        }
        DesiredState::Running => format!("recycle of its group was raised to {}", draft.record.config().roll),
        goal => format!("desiredState is {}", goal.as_str()),
    }
}

/// The step that keeps something beyond the instance's end, if anything is not kept yet.
pub(super) fn secure(draft: &mut Draft<'_>, facts: &InstanceFacts) -> Option<Then> {
    let keeps_root = draft.record.config().persist.root.is_some();
    let root = facts.volumes.iter().find(|volume| volume.device == facts.root_device);
    if keeps_root && root.is_none() {
        return Some(rootless(draft, facts));
    }
    if let Some(known) = draft.record.root.as_mut() {
        known.missing_since = None;
    }
    let is_kept = |volume: &&AttachedVolume| match volume.device == facts.root_device {
        true => keeps_root,
        false => data::is_kept(&draft.record, &volume.volume),
    };
    let at_risk = facts.volumes.iter().filter(|volume| volume.delete_on_termination).filter(is_kept);
    let devices: Vec<String> = at_risk.map(|volume| volume.device.clone()).collect();
    if !devices.is_empty() {
        return Some(draft.act(Step::KeepVolumes { instance: facts.id.clone(), devices }));
    }
    let kept = draft.record.network.as_ref()?.eni_id.clone();
    let attached = facts.interfaces.iter().find(|i| i.interface == kept && i.delete_on_termination)?;
    match attached.attachment.clone() {
        Some(attachment) => Some(draft.act(Step::KeepInterface { interface: kept, attachment })),
        None => Some(draft.poll("the attachment of the kept interface")),
    }
}

/// Waits for an instance to show its root volume; somebody may have taken it off.
fn rootless(draft: &mut Draft<'_>, facts: &InstanceFacts) -> Then {
    let now = draft.now();
    let phase_since = draft.record.phase_since;
    let since = draft.record.root.as_mut().map_or(phase_since, |root| *root.missing_since.get_or_insert(now));
    if now.duration_since(since) >= limits::QUIET {
        let message = format!("{} has had no root volume at {} for ten minutes", facts.id, facts.root_device);
        let remedy = "Attach the root volume again; the node goes on by itself";
        draft.block("root-detached", message, remedy, limits::LADDER_REST);
    }
    draft.poll("the instance to show its root volume")
}

/// Writes down size and performance of the root volume, for the image and the next root.
fn describe_root(draft: &mut Draft<'_>, seen: &Observation) -> Option<Then> {
    let root = draft.record.root.as_mut()?;
    if !seen.look.volumes.contains(&root.volume_id) {
        return Some(Then::Look);
    }
    match seen.volumes.get(&root.volume_id) {
        Some(volume) => {
            root.shape = volume.shape.clone();
            None
        }
        None if draft.record.config().persist.root.is_some() => {
            Some(draft.poll("a read that shows the root volume"))
        }
        None => None,
    }
}

pub(super) fn running(draft: &mut Draft<'_>, seen: &Observation) -> Result<Then, Illegal> {
    let facts = match present(draft, seen)? {
        Present::Here(facts) => facts,
        Present::Otherwise(then) => return Ok(then),
    };
    if draft.record.is_unwanted() {
        draft.signal(Signal::Unwanted, unwanted(draft))?;
        return Ok(Then::Look);
    }
    if is_stopped_by_hand(draft, facts) {
        let secured = secure_stopped(draft, facts);
        return Ok(secured.unwrap_or_else(|| draft.rest("the operator, who stopped the instance")));
    }
    note_root(draft, facts);
    if let Some(then) = secure(draft, facts).or_else(|| data::note(draft, seen, facts)) {
        return Ok(then);
    }
    if draft.record.root.as_ref().is_some_and(|root| root.replaced_by.is_some()) {
        return Ok(draft.wait(
            limits::NEXT_TICK,
            "a second read of the root volume that took the place of the known one",
        ));
    }
    if let Some(then) = untagged(draft, seen).or_else(|| elastic_ip::settle(draft, seen, facts)) {
        return Ok(then);
    }
    if let Some(then) = data::leaving(draft, seen, facts).or_else(|| data::adopt(draft)) {
        return Ok(then);
    }
    // Only blocks of this phase's own steps can stand here, and those have just been passed.
    if draft.record.needless().is_empty() {
        draft.unblock();
        draft.record.not_before = None;
        if !elastic_ip::is_settled(&draft.record) {
            return Ok(draft.wait(limits::LADDER_REST, "the next try for the Elastic IP address"));
        }
        return Ok(draft.rest("nothing: all is well"));
    }
    Ok(clean(draft, seen))
}

/// Whether somebody stopped the instance, with a note when that begins and when it is over.
fn is_stopped_by_hand(draft: &mut Draft<'_>, facts: &InstanceFacts) -> bool {
    let by_hand = matches!(facts.state, InstanceState::Stopping | InstanceState::Stopped);
    let noted = draft.record.instance.as_ref().is_some_and(|i| i.stop_noted);
    if by_hand != noted {
        if let Some(instance) = draft.record.instance.as_mut() {
            instance.stop_noted = by_hand;
        }
        draft.note(match by_hand {
            true => format!("{} was stopped by hand: left alone until it runs again", facts.id),
            false => format!("{} runs again", facts.id),
        });
    }
    by_hand
}

/// What an instance that was stopped by hand still needs: it may be terminated as it is.
fn secure_stopped(draft: &mut Draft<'_>, facts: &InstanceFacts) -> Option<Then> {
    if facts.state == InstanceState::Stopped { secure(draft, facts) } else { None }
}

/// Tells of a root that was put in by hand and lacks our tags: Perennial's rights do not reach it, so that
/// no snapshot of it proves anything older needless.
fn untagged(draft: &mut Draft<'_>, seen: &Observation) -> Option<Then> {
    let root = draft.record.root.as_ref().filter(|root| root.swapped)?;
    let volume = seen.volumes.get(&root.volume_id)?;
    if volume.tags.get(TAG_DEPLOYMENT).is_some_and(|deployment| deployment == draft.scope.deployment) {
        if let Some(root) = draft.record.root.as_mut() {
            root.swapped = false;
        }
        return None;
    }
    let message = format!("the root volume {} was put in by hand and lacks Perennial's tags", volume.id);
    let remedy = format!(
        "Without them no snapshot of it is allowed: tag it with {TAG_DEPLOYMENT} = {}",
        draft.scope.deployment
    );
    draft.block("root-untagged", message.clone(), &remedy, limits::UNTAGGED_REST);
    draft.record.not_before = None;
    Some(draft.wait(limits::UNTAGGED_REST, message))
}

/// Deletes what the present instance made needless, one thing at a time, once it is proven.
fn clean(draft: &mut Draft<'_>, seen: &Observation) -> Then {
    for needless in draft.record.needless() {
        if verdict(draft, seen, &needless).is_none() {
            draft.note(format!("{} is gone", word(&needless)));
            draft.record.forget(&needless);
        }
    }
    if !draft.record.instance.as_ref().is_some_and(|instance| instance.heir) {
        draft.set_all_aside("the present instance does not descend from it");
    }
    if draft.record.config().persist.root.is_none() {
        draft
            .set_all_aside("root persistence is off: no snapshot of the present root will prove it needless");
    }
    if draft.record.config().persist.data.is_none() {
        draft.set_data_aside("data persistence is off: no snapshot of a data volume will prove it needless");
    }
    data::spare_departed(draft, seen);
    if draft.record.needless().is_empty() {
        return Then::Look;
    }
    let root = proven(draft, seen);
    let data = |it: &Superseded| seen.checks_passed && data::proven(draft, seen, it);
    let mut needless = draft.record.needless();
    needless.retain(|it| if it.is_data() { data(it) } else { root });
    if needless.is_empty() {
        let why =
            "both status checks and completed snapshots of what is kept now, before anything older goes";
        return draft.wait(limits::NEXT_TICK, why);
    }
    for needless in needless {
        match verdict(draft, seen, &needless) {
            None => {}
            Some(Verdict::NotOurs(why)) => draft.let_go(&needless, &why),
            Some(Verdict::NotYet(why)) => {
                return draft.wait(limits::NEXT_TICK, format!("{} may go, but {why}", word(&needless)));
            }
            Some(Verdict::Go) => return draft.clear_away(Step::Delete(needless)),
        }
    }
    Then::Look
}

/// Whether the present instance is good, and its root can be restored from a snapshot of its own.
fn proven(draft: &Draft<'_>, seen: &Observation) -> bool {
    let Some(root) = &draft.record.root else { return false };
    let names = draft.names();
    let mut all = seen.snapshots.values();
    seen.checks_passed && all.any(|it| is_point_of(&names, it, &root.volume_id, &Purpose::SNAPSHOTS))
}

/// Whether a snapshot is a complete one of a volume, taken for this life and for one of these purposes: a backup
/// product copies a volume's tags, purpose and all, onto snapshots of its own.
pub(super) fn is_point_of(
    names: &Names<'_>,
    snapshot: &SnapshotFacts,
    volume: &VolumeId,
    purposes: &[Purpose],
) -> bool {
    snapshot.own
        && snapshot.state == SnapshotState::Completed
        && snapshot.volume == *volume
        && names.owns(&snapshot.tags)
        && purposes.iter().any(|purpose| has_purpose(&snapshot.tags, *purpose))
}

pub(super) fn verdict(draft: &Draft<'_>, seen: &Observation, needless: &Superseded) -> Option<Verdict> {
    let names = draft.names();
    let purposes = needless.purposes();
    match needless {
        Superseded::Volume(id) | Superseded::DataVolume(id) => {
            seen.volumes.get(id).map(|it| guard::volume(&names, it, purposes))
        }
        Superseded::Image(id) => seen.images.get(id).map(|it| guard::image(&names, it, purposes)),
        Superseded::Snapshot(id) | Superseded::DataSnapshot(id) => {
            seen.snapshots.get(id).map(|it| guard::snapshot(&names, it, purposes))
        }
    }
}

/// What a superseded thing is called in the journal.
pub(crate) fn word(needless: &Superseded) -> String {
    match needless {
        Superseded::Volume(id) => format!("the superseded root volume {id}"),
        Superseded::DataVolume(id) => format!("the superseded data volume {id}"),
        Superseded::Image(id) => format!("the superseded image {id}"),
        Superseded::Snapshot(id) | Superseded::DataSnapshot(id) => {
            format!("the superseded final snapshot {id}")
        }
    }
}

pub(super) fn interrupting(draft: &mut Draft<'_>, seen: &Observation) -> Result<Then, Illegal> {
    let facts = match present(draft, seen)? {
        Present::Here(facts) => facts,
        Present::Otherwise(then) => return Ok(then),
    };
    note_root(draft, facts);
    // The last chance: what is not kept now is deleted with the instance.
    let ends_at_our_word = facts.state == InstanceState::Stopped;
    if (facts.state == InstanceState::Running || ends_at_our_word)
        && let Some(then) = secure(draft, facts).or_else(|| data::note(draft, seen, facts))
    {
        return Ok(then);
    }
    match facts.state {
        // A stopped spot instance would come back by itself with its old launch settings, or never.
        InstanceState::Stopped => return Ok(stopping::terminate(draft, facts)),
        InstanceState::Running => {}
        InstanceState::Pending
        | InstanceState::Stopping
        | InstanceState::ShuttingDown
        | InstanceState::Terminated => {
            return Ok(draft.wait(limits::NEXT_TICK, "the instance to end"));
        }
    }
    let noticed = draft.record.notice.as_ref().map_or(draft.record.phase_since, |n| n.at);
    if draft.now().duration_since(noticed) >= limits::NOTICE_SPARED_AFTER {
        draft.record.notice = None;
        draft.signal(Signal::Spared, "the instance still runs ten minutes after its notice")?;
        return Ok(Then::Look);
    }
    if let Some(wait) = draft.paused() {
        return Ok(wait);
    }
    if let Some(request) = warning(draft, facts) {
        return Ok(draft.act(Step::Snapshot(request)));
    }
    Ok(draft.wait(limits::NEXT_TICK, "EC2 to take the instance back"))
}

/// The recovery point that starts the transfer two minutes early, so that the final snapshots are small. Tried
/// until it is taken or refused for good.
fn warning(draft: &mut Draft<'_>, facts: &InstanceFacts) -> Option<PointRequest> {
    let notice = draft.record.notice.as_mut().filter(|n| !n.snapshot_tried)?;
    notice.snapshot_tried = true;
    let record = &draft.record;
    let secured: Vec<(VolumeId, String)> = secured(record).collect();
    let (first, _) = secured.first()?;
    let (names, purpose) = (draft.names(), Purpose::Warning);
    let key = names.warning(record.cycle, first);
    let asked = Asked {
        purpose,
        tags: names.tags(&record.config().tags, record.cycle, purpose, &key),
        key,
        description: format!("Perennial: warning snapshot of {}, cycle {}", record.name, record.cycle),
    };
    let volumes: Vec<(&VolumeId, &str)> = secured.iter().map(|(id, device)| (id, device.as_str())).collect();
    match request(facts, &volumes, asked) {
        Ok(request) => Some(request),
        Err(why) => {
            draft.note(format!("no warning snapshot: {why}"));
            None
        }
    }
}

/// The kept volumes that make a recovery point and that our rights reach, with their device names; the root first.
/// Without one that is not there it would be none.
fn secured(record: &Record) -> impl Iterator<Item = (VolumeId, String)> {
    let root = record.root.iter().filter(|_| record.config().persist.root.is_some());
    let root = root.map(|root| (root.volume_id.clone(), root.device_name.clone()));
    let data = record.data.iter().filter(|it| !it.untagged && !data::is_collided(record, &it.volume_id));
    root.chain(data.map(|it| (it.volume_id.clone(), it.device_name.clone())))
}

/// A request for a final snapshot of a volume of the node.
pub(super) fn final_request(draft: &Draft<'_>, volume: VolumeId, attempt: u32) -> SnapshotRequest {
    let (names, record) = (draft.names(), &draft.record);
    let key = names.last(record.cycle, &volume, attempt);
    let purpose = Purpose::Final;
    let mut tags = names.tags(&record.config().tags, record.cycle, purpose, &key);
    let root = record.root.iter().map(|root| (&root.volume_id, &root.device_name));
    let mut known = root.chain(record.data.iter().map(|it| (&it.volume_id, &it.device_name)));
    if let Some((_, device)) = known.find(|(id, _)| **id == volume) {
        tags.insert(TAG_DEVICE.to_owned(), device.clone());
    }
    tags.insert(TAG_VOLUME.to_owned(), volume.to_string());
    let description = format!("Perennial: final snapshot of {}, cycle {}", record.name, record.cycle);
    SnapshotRequest { volume, purpose, key, tags, description }
}

//! The data volumes on an instance: which of them come back with the node, and which are left alone.
//!
//! The list changes only by what a running or stopped instance shows; a terminated one shows nothing, and that
//! means nothing. What was attached by hand comes along and is never deleted; what may belong to anybody else
//! is not touched.

mod bring;
mod keep;

use super::{Draft, Then};
use crate::ids::{Resource, VolumeId};
use crate::launch::bare;
use crate::limits;
use crate::names::{Purpose, TAG_DEPLOYMENT, TAG_NODE, TAG_PREFIX, Tags, has_key, has_purpose};
use crate::observation::{AttachedVolume, InstanceFacts, InstanceState, Observation, VolumeFacts};
use crate::phase::Phase;
use crate::record::{DataVolume, LeftAlone, Record, Sighted, Superseded};
use crate::step::Step;

pub(super) use bring::settle;
pub(crate) use bring::{made, token_spent};
pub(super) use keep::{give_up, give_up_capture, given_away, held, proven, recover, to_capture, to_rest};

/// The code of a node whose instance holds a volume that will not come back with it.
const LEFT_ALONE: &str = "volume-left-alone";

/// The code of a node that a volume left though nobody took it off.
const LEFT: &str = "volume-left";

/// Whether this block only says that a volume does not come back with the node, and still has to.
pub(super) fn is_mark(record: &Record, code: &str) -> bool {
    code == LEFT_ALONE
        && matches!(record.phase, Phase::Attaching | Phase::Running | Phase::Interrupting | Phase::Stopping)
        && !(record.left_alone.is_empty() && collisions(record).next().is_none())
}

/// Whether a volume is one of those that come back, or is to be let go of unharmed.
pub(super) fn is_kept(record: &Record, volume: &VolumeId) -> bool {
    record.data.iter().any(|it| it.volume_id == *volume)
}

/// The volumes beside the root that an instance shows.
fn others(facts: &InstanceFacts) -> impl Iterator<Item = &AttachedVolume> {
    facts.volumes.iter().filter(|it| it.device != facts.root_device)
}

fn shown<'f>(facts: &'f InstanceFacts, volume: &VolumeId) -> Option<&'f AttachedVolume> {
    others(facts).find(|it| it.volume == *volume)
}

/// Follows what the instance shows; `None` once all of it is known.
pub(super) fn note(draft: &mut Draft<'_>, seen: &Observation, facts: &InstanceFacts) -> Option<Then> {
    // What was launched to be kept is found first, even if it is to be let go of now.
    if draft.record.config().persist.data.is_none() && draft.record.mapped.is_empty() {
        return let_go(draft);
    }
    if !matches!(facts.state, InstanceState::Running | InstanceState::Stopped) {
        return None;
    }
    follow(draft, facts);
    if draft.record.sighted.iter().any(|it| !seen.look.volumes.contains(&it.volume_id)) {
        return Some(Then::Look);
    }
    if let Some(then) = judge_sighted(draft, seen, facts) {
        return Some(then);
    }
    let is_shown = |device: &str| others(facts).any(|it| it.device == device);
    draft.record.mapped.retain(|device| !is_shown(&device.device_name));
    if let Some(device) = draft.record.mapped.first().map(|device| device.device_name.clone()) {
        if draft.now().duration_since(draft.record.phase_since) < limits::QUIET {
            return Some(draft.poll(format!("the instance to show its volume at {device}")));
        }
        draft.note(format!("the launch asked for a volume at {device}, and there is none"));
        draft.record.mapped.clear();
    }
    draft.record.data_known = true;
    tell(draft);
    None
}

/// Judges the volumes that were sighted; `None` once none is left.
fn judge_sighted(draft: &mut Draft<'_>, seen: &Observation, facts: &InstanceFacts) -> Option<Then> {
    let (mut unread, mut judged) = (None, 0);
    for sighted in std::mem::take(&mut draft.record.sighted) {
        let volume = seen.volumes.get(&sighted.volume_id);
        // What the launch made carries its tags from the first moment on, whatever a read says.
        let is_made = draft.record.mapped.iter().any(|it| it.device_name == sighted.device_name);
        let is_bare = |it: &VolumeFacts| is_made && !it.tags.keys().any(|key| key.starts_with(TAG_PREFIX));
        match volume.filter(|it| judged < limits::VOLUMES_JUDGED_AT_ONCE && !is_bare(it)) {
            Some(volume) => {
                judge(draft, facts, volume, sighted);
                judged += 1;
            }
            None => {
                unread = Some(sighted.volume_id.clone());
                draft.record.sighted.push(sighted);
            }
        }
    }
    match unread {
        // What has just become known is to be secured before anything else is done.
        None => (judged > 0).then_some(Then::Look),
        Some(volume) if judged == 0 && draft.is_stalled(limits::QUIET) => {
            let unread = std::mem::take(&mut draft.record.sighted);
            draft.note(format!("{volume} is left alone: ten minutes of reads do not tell what it is"));
            draft.record.left_alone.extend(unread.into_iter().map(|it| LeftAlone {
                volume_id: it.volume_id,
                device_name: it.device_name,
                why: "EC2 does not tell what it is".to_owned(),
            }));
            Some(Then::Look)
        }
        Some(volume) => Some(draft.poll(format!("a read that shows the volume {volume}"))),
    }
}

/// Takes in which known volumes are there, and which unknown ones.
fn follow(draft: &mut Draft<'_>, facts: &InstanceFacts) {
    let now = draft.now();
    let record = &mut draft.record;
    record.sighted.retain(|it| shown(facts, &it.volume_id).is_some());
    record.left_alone.retain(|it| shown(facts, &it.volume_id).is_some());
    for volume in others(facts) {
        let id = &volume.volume;
        if let Some(at) = record.data.iter().position(|it| it.volume_id == *id) {
            outdate(record, at);
            let known = &mut record.data[at];
            known.device_name.clone_from(&volume.device);
            known.attached |= !volume.attaching;
            (known.detached_since, known.missing_since) = (None, None);
        } else if !record.left_alone.iter().any(|it| it.volume_id == *id)
            && !record.sighted.iter().any(|it| it.volume_id == *id)
        {
            record.sighted.push(Sighted { volume_id: id.clone(), device_name: volume.device.clone() });
        }
    }
    for known in record.data.iter_mut().filter(|it| it.attached && shown(facts, &it.volume_id).is_none()) {
        // Whatever comes next, the end of the instance included: what took its place counts.
        known.detached_since.get_or_insert(now);
    }
}

/// The snapshot of a volume's last bytes holds them no longer, once the volume is attached again; nor does an older
/// one stand for them, or a final snapshot that was started before it is free once more.
fn outdate(record: &mut Record, at: usize) {
    let known = &mut record.data[at];
    (known.restore, known.available_at, known.moves) = (None, None, false);
    let last = known.last.take().and_then(|last| last.snapshot_id.or(last.failed));
    record.superseded.extend(last.map(Superseded::DataSnapshot));
}

/// Whether reads have not shown a volume, or the one made in its place, for long enough to mean it.
fn is_gone(draft: &mut Draft<'_>, at: usize) -> bool {
    let now = draft.now();
    let since = *draft.record.data[at].missing_since.get_or_insert(now);
    now.duration_since(since) >= limits::QUIET
}

/// Decides what a volume on the instance is to the node.
fn judge(draft: &mut Draft<'_>, facts: &InstanceFacts, volume: &VolumeFacts, sighted: Sighted) {
    let names = draft.names();
    let of_launch = draft.record.instance.as_ref().is_some_and(|it| has_key(&volume.tags, &it.key));
    let leave = if volume.multi_attach || volume.attached_to.iter().any(|it| *it != facts.id) {
        Some("several instances may hold it at once".to_owned())
    } else if names.owns(&volume.tags) {
        let is_former = has_purpose(&volume.tags, Purpose::Root) && !of_launch;
        is_former.then(|| "it is a former volume of this node".to_owned())
    } else {
        owner(draft, &volume.tags)
    };
    if let Some(why) = leave {
        draft.note(format!("{} at {} is left alone: {why}", volume.id, sighted.device_name));
        let Sighted { volume_id, device_name } = sighted;
        return draft.record.left_alone.push(LeftAlone { volume_id, device_name, why });
    }
    let untagged = !names.owns(&volume.tags);
    let adopted = untagged || has_purpose(&volume.tags, Purpose::Adopted);
    let at = if of_launch && !adopted {
        judge_launched(draft, volume, &sighted.device_name)
    } else {
        add(draft, volume, &sighted.device_name)
    };
    let entry = &mut draft.record.data[at];
    (entry.adopted, entry.untagged, entry.attached) = (adopted, untagged, true);
}

/// Takes in a volume that a launch made: in the place of the one from whose last bytes it was made, or as the first
/// one there. Any other is no successor of what is there.
fn judge_launched(draft: &mut Draft<'_>, volume: &VolumeFacts, device: &str) -> usize {
    let is_heir = |it: &DataVolume| volume.source.is_some() && volume.source.as_ref() == it.point();
    let is_place = |it: &DataVolume| it.device_name == device && !it.attached && is_heir(it);
    let place = draft.record.data.iter().position(is_place);
    let Some(at) = place else { return add(draft, volume, device) };
    draft.note(format!("{} at {device} was made from the last bytes of the one before", volume.id));
    succeed(draft, at, volume.id.clone());
    let entry = &mut draft.record.data[at];
    (entry.shape, entry.zone) = (volume.shape.clone(), volume.zone.clone());
    at
}

fn add(draft: &mut Draft<'_>, volume: &VolumeFacts, device: &str) -> usize {
    draft.note(format!("{} at {device} comes back with the node", volume.id));
    wanted(draft, &volume.id);
    let tags = operators(draft, &volume.tags);
    draft.record.data.push(DataVolume { tags, ..known(volume, device.to_owned()) });
    draft.record.data.len() - 1
}

/// What comes back with the node is not needless, whatever it was before.
fn wanted(draft: &mut Draft<'_>, volume: &VolumeId) {
    let needless = Superseded::DataVolume(volume.clone());
    draft.record.superseded.retain(|it| *it != needless);
}

/// What is written down of a volume.
fn known(volume: &VolumeFacts, device_name: String) -> DataVolume {
    DataVolume {
        device_name,
        volume_id: volume.id.clone(),
        shape: volume.shape.clone(),
        zone: volume.zone.clone(),
        tags: Tags::new(),
        adopted: false,
        untagged: false,
        attached: false,
        detached_since: None,
        available_at: None,
        missing_since: None,
        last: None,
        restore: None,
        made: None,
        attempts: 0,
        moves: false,
        former: Vec::new(),
    }
}

/// The tags that are not ours, nor AWS's own.
fn operators(draft: &Draft<'_>, tags: &Tags) -> Tags {
    let is_operators = |key: &str| !key.starts_with(TAG_PREFIX) && !key.starts_with("aws:");
    let given = |what: &str| format!("{} {what}", draft.record.name);
    let names = [given("volume"), given(Purpose::Root.as_str()), given(Purpose::Data.as_str())];
    let is_meant = |(key, value): &(&String, &String)| {
        is_operators(key) && !(key.as_str() == "Name" && names.contains(value))
    };
    tags.iter().filter(is_meant).map(|(k, v)| (k.clone(), v.clone())).collect()
}

/// Whose a volume is by its tags, if anybody's.
fn owner(draft: &Draft<'_>, tags: &Tags) -> Option<String> {
    let mut ours = tags.keys().filter(|key| key.starts_with(TAG_PREFIX));
    match (tags.get(TAG_DEPLOYMENT), tags.get(TAG_NODE)) {
        (Some(deployment), _) if deployment != draft.scope.deployment => {
            Some(format!("it belongs to the deployment {deployment}"))
        }
        (_, Some(node)) if *node != draft.record.name.as_str() => {
            Some(format!("it belongs to the node {node}"))
        }
        (_, Some(node)) => Some(format!("it belongs to another life of {node}")),
        (_, None) => ours.next().map(|key| format!("it carries the tag {key}")),
    }
}

/// A volume cannot be given the operator's tags of the one before: nothing waits for them.
pub(crate) fn not_tagged(draft: &mut Draft<'_>, volume: &VolumeId, why: &str) {
    draft.note(format!("{volume} lacks tags of the one before: {why}"));
    for entry in draft.record.data.iter_mut().filter(|it| it.volume_id == *volume) {
        entry.tags.clear();
    }
}

/// Whether a kept volume cannot be attached, since the root is at its device name.
pub(super) fn is_collided(record: &Record, volume: &VolumeId) -> bool {
    collisions(record).any(|it| it.volume_id == *volume)
}

/// Whether this block only tells of volumes that do not come along.
pub(crate) fn is_telling(code: &str) -> bool {
    code == LEFT_ALONE || code == LEFT
}

/// Puts a volume in the place of the one whose last bytes it was made from.
fn succeed(draft: &mut Draft<'_>, at: usize, next: VolumeId) {
    let record = &mut draft.record;
    let entry = &mut record.data[at];
    let was_adopted = std::mem::replace(&mut entry.adopted, false);
    let old = entry.succeed(next);
    (entry.made, entry.attempts) = (None, 0);
    (entry.untagged, entry.missing_since) = (false, None);
    outdate(record, at);
    if was_adopted {
        draft.note(format!("{old} stays as it is: it was attached by hand, and is never deleted"));
    } else {
        record.superseded.push(Superseded::DataVolume(old));
    }
}

/// The step that tags a volume which was attached by hand; `None` if there is none.
pub(super) fn adopt(draft: &mut Draft<'_>) -> Option<Then> {
    let is_there = |it: &&DataVolume| it.untagged && it.missing_since.is_none();
    let volume = draft.record.data.iter().find(is_there)?.volume_id.clone();
    let (names, record) = (draft.names(), &draft.record);
    let mut tags = names.tags(&Tags::new(), record.cycle, Purpose::Adopted, volume.as_str());
    // Its name is the operator's.
    tags.retain(|key, _| key.starts_with(TAG_PREFIX));
    Some(draft.clear_away(Step::Adopt { volume, tags }))
}

/// A volume carries our tags now.
pub(crate) fn adopted(draft: &mut Draft<'_>, volume: &VolumeId) {
    draft.note(format!("{volume} is adopted: it comes along, and is never deleted"));
    for entry in draft.record.data.iter_mut().filter(|it| it.volume_id == *volume) {
        entry.untagged = false;
    }
}

/// Whether volumes left the running instance, seen by two reads; `None` if none is on its way.
pub(super) fn leaving(draft: &mut Draft<'_>, seen: &Observation, facts: &InstanceFacts) -> Option<Then> {
    let now = draft.now();
    let mut waits = None;
    for at in 0..draft.record.data.len() {
        let entry = &mut draft.record.data[at];
        if !entry.attached || shown(facts, &entry.volume_id).is_some() {
            continue;
        }
        let since = *entry.detached_since.get_or_insert(now);
        let id = entry.volume_id.clone();
        if now.duration_since(since) < limits::RETRY_SOON || !seen.look.volumes.contains(&id) {
            waits = Some(format!("a second read that shows whether {id} was detached"));
            continue;
        }
        match seen.volumes.get(&id) {
            // The two reads disagree.
            Some(volume) if volume.attached_to.contains(&facts.id) => entry.detached_since = None,
            Some(_) => return Some(leave(draft, at, "it was detached by hand")),
            None if now.duration_since(since) < limits::QUIET => {
                waits = Some(format!("a read that shows {id}, which was detached"));
            }
            None => {
                draft.note(format!("{id} leaves the node: it was detached and deleted by hand"));
                forget(draft, &id);
                return Some(Then::Look);
            }
        }
    }
    waits.map(|why| draft.wait(limits::NEXT_TICK, why))
}

/// Lets a volume leave the node: it loses our tags and its place in the record.
fn leave(draft: &mut Draft<'_>, at: usize, why: &str) -> Then {
    let entry = &draft.record.data[at];
    let (volume, untagged) = (entry.volume_id.clone(), entry.untagged);
    if untagged {
        draft.note(format!("{volume} leaves the node: {why}"));
        forget(draft, &volume);
        return Then::Look;
    }
    let then = draft.act(Step::HandOver(Resource::Volume(volume.clone())));
    if matches!(then, Then::Act(_)) {
        draft.note(format!("{volume} leaves the node: {why}"));
    }
    then
}

/// Lets a volume leave the node that something else holds, once reads have shown so for a while: one that lags
/// shows the instance that ended last.
pub(super) fn elsewhere(draft: &mut Draft<'_>, at: usize) -> Then {
    let now = draft.now();
    // Whoever holds it may write to it.
    outdate(&mut draft.record, at);
    let entry = &mut draft.record.data[at];
    let since = *entry.detached_since.get_or_insert(now);
    if now.duration_since(since) < limits::NEXT_TICK {
        let what = format!("a second read of {}, which is attached to something else", entry.volume_id);
        return draft.poll(what);
    }
    leave_told(draft, at, "it is attached to something else")
}

/// Lets a volume leave the node that nobody took off it, and tells of it.
fn leave_told(draft: &mut Draft<'_>, at: usize, why: &str) -> Then {
    let entry = &draft.record.data[at];
    let message = format!("{} at {} leaves the node: {why}", entry.volume_id, entry.device_name);
    let remedy = "Its bytes are untouched. To have it back, free it and attach it to the node's instance: it is adopted";
    draft.mark(LEFT, message, remedy);
    leave(draft, at, why)
}

/// A volume turned out to be somebody else's.
pub(crate) fn not_adopted(draft: &mut Draft<'_>, volume: &VolumeId, why: &str) {
    let Some(at) = draft.record.data.iter().position(|it| it.volume_id == *volume) else { return };
    let entry = draft.record.data.remove(at);
    draft.note(format!("{volume} is left alone: {why}"));
    let (volume_id, device_name) = (entry.volume_id, entry.device_name);
    draft.record.left_alone.push(LeftAlone { volume_id, device_name, why: why.to_owned() });
}

/// The same, if they are not kept any more; `None` once none is left.
pub(super) fn let_go_if_off(draft: &mut Draft<'_>) -> Option<Then> {
    if draft.record.config().persist.data.is_some() { None } else { let_go(draft) }
}

/// Data volumes are not kept any more: those there are become the operator's.
fn let_go(draft: &mut Draft<'_>) -> Option<Then> {
    draft.record.sighted.clear();
    draft.record.left_alone.clear();
    draft.record.mapped.clear();
    // As long as one is left, no blank volume may take its place.
    draft.record.data_known = !draft.record.data.is_empty();
    draft.record.data_known.then(|| leave(draft, 0, "data persistence is off"))
}

/// Something has lost our tags: if it is a data volume, it is the node's no longer.
pub(crate) fn handed_over(draft: &mut Draft<'_>, resource: &Resource) {
    if let Resource::Volume(volume) = resource {
        forget(draft, volume);
    }
}

fn forget(draft: &mut Draft<'_>, volume: &VolumeId) {
    let Some(at) = draft.record.data.iter().position(|it| it.volume_id == *volume) else { return };
    let entry = draft.record.data.remove(at);
    draft.record.superseded.extend(entry.made.map(Superseded::DataVolume));
    for former in entry.former {
        let needless = Superseded::DataVolume(former);
        if draft.record.superseded.contains(&needless) {
            draft.spare(&needless, "the volume in its place left the node");
        }
    }
    if let Some(last) = entry.last.and_then(|last| last.snapshot_id) {
        draft.set_aside(Resource::Snapshot(last), "the volume it was taken of left the node");
    }
}

/// Keeps superseded final snapshots of volumes that left the node until the life ends: nothing proves them needless.
pub(super) fn spare_departed(draft: &mut Draft<'_>, seen: &Observation) {
    for needless in draft.record.superseded.clone() {
        let Superseded::DataSnapshot(id) = &needless else { continue };
        let Some(snapshot) = seen.snapshots.get(id) else { continue };
        if !draft.record.data.iter().any(|it| it.descends_from(&snapshot.volume)) {
            draft.spare(&needless, "the volume it was taken of left the node");
        }
    }
}

/// Kept volumes whose device name is that of the root.
fn collisions(record: &Record) -> impl Iterator<Item = &DataVolume> {
    let root = record.root.as_ref().map(|root| bare(&root.device_name));
    record.data.iter().filter(move |it| root == Some(bare(&it.device_name)))
}

/// Marks a node whose instance holds what will not come back with it, or lacks what cannot be attached.
fn tell(draft: &mut Draft<'_>) {
    let left = draft.record.left_alone.iter().map(|it| {
        format!("{} at {} does not come back with the node: {}", it.volume_id, it.device_name, it.why)
    });
    let collided = collisions(&draft.record).map(|it| {
        format!("{} cannot be attached: the root is at its device name {}", it.volume_id, it.device_name)
    });
    let told: Vec<String> = left.chain(collided).collect();
    let is_marked = draft.record.blocked.as_ref().is_some_and(|it| it.code == LEFT_ALONE);
    if told.is_empty() {
        if is_marked {
            draft.lift();
        }
    } else if is_marked || draft.record.blocked.is_none() {
        let remedy = "Detach it, or give the node a volume of its own; one whose device name collides comes back \
                      with an image whose root is elsewhere. Everything else goes on";
        draft.mark(LEFT_ALONE, told.join("; "), remedy);
    }
}

//! Data volumes without an instance: waited for, captured, and brought back only from their last bytes.
//!
//! A volume that is proven gone is made again from the snapshot that holds every byte of it; an older one is
//! used at the operator's word alone. Nothing here deletes anything.

use super::{elsewhere, is_gone, judge_launched, leave_told, let_go, operators};
use crate::config::{DataMode, DesiredState};
use crate::ids::{Resource, SnapshotId, VolumeId};
use crate::launch::{Device, Home, home};
use crate::limits;
use crate::names::{Purpose, TAG_CYCLE, TAG_DEPLOYMENT, TAG_DEVICE, has_key};
use crate::observation::{Observation, SnapshotFacts, SnapshotState, VolumeFacts, VolumeState};
use crate::phase::{Illegal, Phase, Signal};
use crate::plan::capturing::first_try;
use crate::plan::ending::Held;
use crate::plan::living::is_point_of;
use crate::plan::recovery::candidates;
use crate::plan::{Draft, Then};
use crate::record::{DataVolume, FinalSnapshot, Record, Superseded};

/// Whether data volumes are captured whenever their instance ends: the next one gets others in their place,
/// or none for now.
fn needs_points(record: &Record) -> bool {
    let mode = record.config().persist.data.as_ref().map(|data| data.mode);
    mode.is_some_and(|mode| mode == DataMode::Snapshot || record.goal != DesiredState::Running)
}

/// The data volumes to be captured now: those that always are, and those whose capture was asked for.
pub(in crate::plan) fn to_capture(record: &Record) -> Vec<usize> {
    let always = needs_points(record);
    if record.config().persist.data.is_none() {
        return Vec::new();
    }
    let is_wanted = |it: &DataVolume| match &it.last {
        // Of a volume that is attached again soon, a snapshot that was wanted for a rest is needed no longer.
        Some(last) => last.state != SnapshotState::Completed && (always || it.moves),
        None => always && it.restore.is_none() && it.available_at.is_some(),
    };
    let entries = record.data.iter().enumerate().filter(|(_, it)| is_wanted(it));
    entries.map(|(at, _)| at).collect()
}

/// What the ended instance still holds of its data volumes.
pub(in crate::plan) fn held(draft: &mut Draft<'_>, seen: &Observation) -> Held {
    if let Some(held) = unseen(draft, seen) {
        return held;
    }
    if draft.record.config().persist.data.is_none() {
        return let_go(draft).map_or(Held::Free, Held::Next);
    }
    // From the first volume on the launch template has no say in them.
    draft.record.data_known |= !draft.record.data.is_empty();
    if let Some(then) = doubled(draft) {
        return Held::Next(then);
    }
    let instance = draft.record.instance.as_ref().map(|it| it.id.clone());
    for at in 0..draft.record.data.len() {
        let entry = &mut draft.record.data[at];
        let id = entry.volume_id.clone();
        let Some(volume) = seen.volumes.get(&id).filter(|it| !it.is_lost()) else {
            // Nothing was written to one that was not attached, and its last bytes are elsewhere.
            let is_needed = entry.attached || entry.point().is_none();
            if !is_gone(draft, at) && is_needed {
                return Held::Unsure(format!("a read that shows the data volume {id}"));
            }
            continue;
        };
        entry.missing_since = None;
        match volume.state {
            VolumeState::Available => free(draft, at, volume),
            _ if volume.attached_to.iter().any(|it| Some(it) != instance.as_ref()) => {
                return Held::Next(elsewhere(draft, at));
            }
            _ => return Held::Soon(format!("{id} to become available")),
        }
    }
    super::adopt(draft).map_or(Held::Free, Held::Next)
}

/// Writes down what a free volume is like: it may have been made larger until the very last moment.
fn free(draft: &mut Draft<'_>, at: usize, volume: &VolumeFacts) {
    let now = draft.now();
    let tags = operators(draft, &volume.tags);
    let entry = &mut draft.record.data[at];
    (entry.missing_since, entry.detached_since) = (None, None);
    entry.available_at.get_or_insert(now);
    entry.shape = volume.shape.clone();
    entry.zone.clone_from(&volume.zone);
    entry.tags = tags;
}

/// Two volumes for one device: the one that was detached leaves, or else the one that came last.
fn doubled(draft: &mut Draft<'_>) -> Option<Then> {
    let data = &draft.record.data;
    let is_doubled = |at: &usize| {
        let same = |it: &&DataVolume| it.device_name == data[*at].device_name;
        data.iter().filter(same).count() > 1
    };
    let doubled: Vec<usize> = (0..data.len()).filter(is_doubled).collect();
    let detached = doubled.iter().find(|at| data[**at].detached_since.is_some());
    let at = *detached.or(doubled.last())?;
    Some(leave_told(draft, at, "another volume has its device name"))
}

/// Finds the volumes of an instance that nobody saw with them, by the key of its launch.
fn unseen(draft: &mut Draft<'_>, seen: &Observation) -> Option<Held> {
    let key = seen.look.volume_key.clone().filter(|_| !draft.record.mapped.is_empty())?;
    let root = draft.record.root.as_ref().map(|root| root.volume_id.clone());
    let root_source = root_source(draft, seen);
    let is_root = |it: &VolumeFacts| match &root {
        Some(root) => it.id == *root,
        None => it.source.is_some() && it.source == root_source,
    };
    for device in draft.record.mapped.clone() {
        let names = draft.names();
        let named = |it: &VolumeFacts| it.tags.get(TAG_DEVICE).cloned();
        let is_named = |it: &VolumeFacts| named(it).as_ref() == Some(&device.device_name);
        let made = seen.volumes.values().filter(|it| has_key(&it.tags, &key) && names.owns(&it.tags));
        let made = made.filter(|it| !is_root(it) && !it.is_lost() && (named(it).is_none() || is_named(it)));
        let known = |it: &VolumeFacts| draft.record.data.iter().any(|entry| entry.volume_id == it.id);
        let mut fitting: Vec<&VolumeFacts> =
            made.filter(|it| !known(it) && (fits(&device, it) || is_named(it))).collect();
        if let Some(named) = fitting.iter().position(|it| is_named(it)) {
            fitting = vec![fitting[named]];
        }
        match fitting.as_slice() {
            [] if draft.is_stalled(limits::QUIET) => {
                draft.note(format!("the launch left no volume for {}", device.device_name));
            }
            [] => return Some(Held::Unsure(format!("the volume at {} of the launch", device.device_name))),
            [one] => {
                judge_launched(draft, one, &device.device_name);
            }
            several => {
                let ids: Vec<_> = several.iter().map(|it| it.id.to_string()).collect();
                return Some(ambiguous(draft, &device.device_name, &ids.join(", ")));
            }
        }
        draft.record.mapped.retain(|it| it.device_name != device.device_name);
    }
    draft.record.stalled_since = None;
    None
}

/// The snapshot that the root of an instance was made from whose volumes nobody saw.
fn root_source(draft: &Draft<'_>, seen: &Observation) -> Option<SnapshotId> {
    let record = &draft.record;
    let image = record.instance.as_ref().map(|it| &it.image_id);
    let image = image.or(record.unseen.as_ref().map(|it| &it.image_id))?;
    seen.images.get(image)?.root_snapshot.clone()
}

/// Whether a volume may be the one that a launch was to make for a device.
fn fits(device: &Device, volume: &VolumeFacts) -> bool {
    let source = device.snapshot_id.as_deref().map(SnapshotId::new);
    let said = |wanted: Option<i32>, is: i32| wanted.is_none_or(|wanted| wanted == is);
    (source.is_none() || volume.source == source) && said(device.size_gib, volume.shape.size_gib)
}

fn ambiguous(draft: &mut Draft<'_>, device: &str, volumes: &str) -> Held {
    let message = format!("the instance ended before anyone saw which of {volumes} was at {device}");
    let remedy = format!("Tag the right one with {TAG_DEVICE} = {device}; nothing is deleted");
    draft.block("data-unknown", message.clone(), &remedy, limits::NEXT_TICK);
    Held::Blocked(message)
}

/// What a data volume can be brought back from.
enum Standing {
    /// It is there, or a snapshot of its last bytes is.
    Ready,
    /// It must be captured first.
    Capture,
    /// Something else comes first.
    Next(Then),
    /// It is gone, and nothing holds its last bytes.
    Lost,
}

/// Makes sure that the data volumes of a node without an instance can be brought to its next one. `None` if
/// they can.
pub(in crate::plan) fn recover(draft: &mut Draft<'_>, seen: &Observation) -> Result<Option<Then>, Illegal> {
    let (then, lost) = prepare(draft, seen)?;
    Ok(then.or_else(|| lost.map(|at| missing(draft, seen, at))))
}

/// Captures what is left of the data volumes before their node rests; `None` once that is done. What is gone is
/// waited for in the rest, or not at all.
pub(in crate::plan) fn to_rest(draft: &mut Draft<'_>, seen: &Observation) -> Result<Option<Then>, Illegal> {
    Ok(prepare(draft, seen)?.0)
}

/// What is to be done first, and the first volume that is lost.
fn prepare(draft: &mut Draft<'_>, seen: &Observation) -> Result<(Option<Then>, Option<usize>), Illegal> {
    if draft.record.config().persist.data.is_none() {
        return Ok((let_go(draft), None));
    }
    draft.record.data_known |= !draft.record.data.is_empty();
    let home = home(&draft.record, seen);
    let (mut to_capture, mut lost) = (Vec::new(), None);
    for at in 0..draft.record.data.len() {
        match standing(draft, seen, at, &home) {
            Standing::Ready => {}
            Standing::Next(then) => return Ok((Some(then), None)),
            Standing::Capture => to_capture.push(at),
            Standing::Lost => lost = lost.or(Some(at)),
        }
    }
    if to_capture.is_empty() {
        return Ok((None, lost));
    }
    let ids: Vec<String> = to_capture.iter().map(|at| draft.record.data[*at].volume_id.to_string()).collect();
    for at in to_capture {
        let entry = &mut draft.record.data[at];
        entry.last.get_or_insert(first_try(entry.volume_id.clone()));
        entry.moves = true;
    }
    let why = match &home {
        Home::Left(zone) => format!("the node moves out of {zone}"),
        Home::In(_) | Home::Anywhere => "only a snapshot will hold its last bytes".to_owned(),
    };
    draft.signal(Signal::CaptureNeeded, format!("{}: {why}", ids.join(", ")))?;
    Ok((Some(Then::Look), None))
}

fn standing(draft: &mut Draft<'_>, seen: &Observation, at: usize, home: &Home) -> Standing {
    if let Some(then) = vanished(draft, seen, at) {
        return Standing::Next(then);
    }
    let id = draft.record.data[at].volume_id.clone();
    if !seen.look.volumes.contains(&id) {
        return Standing::Next(Then::Look);
    }
    let found = seen.volumes.get(&id).filter(|it| !it.is_lost());
    if let Some(volume) = found.filter(|it| it.state == VolumeState::Available) {
        free(draft, at, volume);
    }
    if found.is_some_and(|it| it.state == VolumeState::InUse) {
        return Standing::Next(elsewhere(draft, at));
    }
    let moves = found.is_some_and(|volume| !home.is_in(&volume.zone));
    let wants_point = needs_points(&draft.record) || moves;
    if draft.record.data[at].point().is_some() && wants_point {
        return Standing::Ready;
    }
    match found.map(|volume| volume.state) {
        Some(VolumeState::Available) if wants_point => Standing::Capture,
        Some(VolumeState::Available) => Standing::Ready,
        Some(_) => Standing::Next(draft.wait(limits::NEXT_TICK, format!("{id} to be available"))),
        None if !is_gone(draft, at) => {
            let what = format!("a read that shows the data volume {id}");
            Standing::Next(draft.wait(limits::NEXT_TICK, what))
        }
        None if draft.record.data[at].point().is_some() => Standing::Ready,
        None => Standing::Lost,
    }
}

/// Lets go of what something else holds now, of a node that is given up; `None` if nothing does.
pub(in crate::plan) fn given_away(draft: &mut Draft<'_>, seen: &Observation) -> Option<Then> {
    let is_held =
        |it: &DataVolume| seen.volumes.get(&it.volume_id).is_some_and(|it| it.state == VolumeState::InUse);
    let at = draft.record.data.iter().position(is_held)?;
    Some(elsewhere(draft, at))
}

/// Judges the snapshot that a volume is to be made from: one that is gone for good is forgotten. `None` once
/// that is clear.
pub(super) fn vanished(draft: &mut Draft<'_>, seen: &Observation, at: usize) -> Option<Then> {
    let now = draft.now();
    let entry = &mut draft.record.data[at];
    let id = entry.point().cloned()?;
    if !seen.look.snapshots.contains(&id) {
        return Some(Then::Look);
    }
    if seen.snapshots.get(&id).is_some_and(|it| it.state == SnapshotState::Completed) {
        if let Some(last) = entry.last.as_mut() {
            last.missing_since = None;
        }
        return None;
    }
    let volume = entry.volume_id.clone();
    let last = entry
        .last
        .get_or_insert_with(|| FinalSnapshot { snapshot_id: Some(id.clone()), ..first_try(volume) });
    let since = *last.missing_since.get_or_insert(now);
    if now.duration_since(since) < limits::QUIET {
        return Some(draft.wait(limits::NEXT_TICK, format!("a read that shows the snapshot {id}")));
    }
    (entry.last, entry.restore) = (None, None);
    draft.note(format!("the snapshot {id} of a data volume is gone"));
    None
}

/// Waits for a lost data volume, or for the operator to accept an older recovery point.
pub(super) fn missing(draft: &mut Draft<'_>, seen: &Observation, at: usize) -> Then {
    let entry = draft.record.data[at].clone();
    let (id, device) = (&entry.volume_id, &entry.device_name);
    if !is_gone(draft, at) {
        return draft.poll(format!("a read that shows the data volume {id}"));
    }
    let of_line = |it: &SnapshotFacts| entry.descends_from(&it.volume);
    let mut asked = String::new();
    if let Some(wanted) = draft.record.restore.clone() {
        match seen.snapshots.get(&wanted) {
            Some(it) if of_line(it) && is_usable(draft, it) => return restored(draft, at, it),
            Some(it) if !of_line(it) => asked = format!(" {wanted} is no snapshot of {id}."),
            Some(_) => {
                asked =
                    format!(" {wanted}, named by restoreFrom, is not complete, or lacks Perennial's tags.");
            }
            None if !seen.look.snapshots.contains(&wanted) => return Then::Look,
            None => asked = format!(" {wanted}, named by restoreFrom, does not exist."),
        }
    }
    if seen.look.line_of.is_none() {
        return Then::Look;
    }
    let message = format!(
        "the data volume {id} at {device} does not exist any more, and no snapshot holds every byte of it.{asked} \
         Older ones: {}",
        candidates(draft, seen, of_line)
    );
    let remedy = "Nothing older is used by itself and nothing is deleted. To accept the loss, set restoreFrom to one of \
                  these snapshots (if it already is, take it out first); to give the node up, set desiredState to \
                  \"deallocated\" or \"released\"; to go on without any data volume, take persist.data out";
    draft.block("data-missing", message.clone(), remedy, limits::REFUSED_REST);
    draft.wait(limits::NEXT_TICK, message)
}

/// Whether our rights allow a volume to be made from a snapshot now.
fn is_usable(draft: &Draft<'_>, snapshot: &SnapshotFacts) -> bool {
    let deployment = snapshot.tags.get(TAG_DEPLOYMENT);
    snapshot.own
        && snapshot.state == SnapshotState::Completed
        && deployment.is_some_and(|it| it == draft.scope.deployment)
}

/// Uses the recovery point that the operator chose for a data volume. Newer ones stay where they are.
fn restored(draft: &mut Draft<'_>, at: usize, snapshot: &SnapshotFacts) -> Then {
    let lost = draft.now().duration_since(snapshot.started_at).as_mins();
    let entry = &mut draft.record.data[at];
    let what = format!(
        "{} at {} is restored from {} of {} at the operator's word: what was written to it since, up to {lost} \
         minutes before now, is lost",
        entry.volume_id, entry.device_name, snapshot.id, snapshot.started_at
    );
    entry.restore = Some(snapshot.id.clone());
    let last = entry.last.take().and_then(|last| last.snapshot_id);
    if let Some(last) = last {
        draft.set_aside(Resource::Snapshot(last), "the operator chose another recovery point");
    }
    // What was taken before stays until the life ends: something newer may be among it, and the chosen point too.
    draft.set_data_aside("the operator chose another recovery point");
    draft.record.descent = draft.record.cycle;
    draft.record.restored = draft.record.restore.take();
    draft.lose_since(snapshot.started_at);
    draft.note(what.clone());
    draft.record.reason = what;
    draft.unblock();
    Then::Look
}

/// Whether a complete snapshot of the present volume of its line proves something superseded needless; whether all
/// present ones have one, where it is of no line. It must be of this very cycle: the volume may be the same as
/// before, and its older snapshots hold less than what they would prove needless.
pub(in crate::plan) fn proven(draft: &Draft<'_>, seen: &Observation, needless: &Superseded) -> bool {
    let (names, cycle) = (draft.names(), draft.record.cycle.to_string());
    let has_own = |volume: &VolumeId| {
        let of_cycle = |it: &&SnapshotFacts| it.tags.get(TAG_CYCLE) == Some(&cycle);
        let mut of_cycle = seen.snapshots.values().filter(of_cycle);
        of_cycle.any(|it| is_point_of(&names, it, volume, &Purpose::ROTATED))
    };
    let is_of = |it: &&DataVolume| match needless {
        Superseded::DataVolume(id) => it.former.contains(id),
        Superseded::DataSnapshot(id) => {
            seen.snapshots.get(id).is_some_and(|last| it.descends_from(&last.volume))
        }
        Superseded::Volume(_) | Superseded::Image(_) | Superseded::Snapshot(_) => false,
    };
    let is_good = |it: &DataVolume| it.attached && has_own(&it.volume_id);
    match draft.record.data.iter().find(is_of) {
        Some(line) => is_good(line),
        None => draft.record.data.iter().all(is_good),
    }
}

/// Leaves the data volumes uncaptured that nothing but a person can get captured; `false` if it is not they that the
/// node waits for. They are captured if it is wanted back.
pub(in crate::plan) fn give_up(draft: &mut Draft<'_>) -> bool {
    let root_is_taken = draft.record.finals.first().is_some_and(|last| last.snapshot_id.is_some());
    let is_theirs = draft.record.root.is_none() || root_is_taken;
    if draft.record.phase != Phase::Capturing || !is_theirs {
        return false;
    }
    for at in to_capture(&draft.record) {
        let entry = &mut draft.record.data[at];
        (entry.last, entry.available_at) = (None, None);
        let id = entry.volume_id.clone();
        draft.note(format!("{id} is kept as it is: it cannot be captured now, and the node is given up"));
    }
    true
}

/// Gives up on capturing a volume that is gone: what it is brought back from is decided before the launch.
pub(in crate::plan) fn give_up_capture(draft: &mut Draft<'_>, at: usize, volume: &VolumeId) {
    draft.note(format!("{volume} is gone and cannot be captured"));
    if let Some(entry) = draft.record.data.get_mut(at) {
        (entry.last, entry.available_at) = (None, None);
    }
}

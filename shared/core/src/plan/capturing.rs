//! The final snapshots: of the root, and of the data volumes that need one, side by side.
//!
//! Each is taken only of a volume that was seen free, so that it holds every byte. Nothing here deletes
//! anything but a snapshot that failed.

use super::ending::{Held, missing_root};
use super::{Draft, Then, data, elastic_ip, interface, living, recovery};
use crate::ids::VolumeId;
use crate::limits;
use crate::names::{Purpose, TAG_CYCLE, has_key, has_purpose};
use crate::observation::{Observation, SnapshotFacts, SnapshotState, VolumeState};
use crate::phase::{Illegal, Signal};
use crate::record::{FinalSnapshot, Record, Superseded};
use crate::step::{PointRequest, Step};

/// What has a final snapshot of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// The root.
    Root,
    /// One of the data volumes.
    Data(usize),
}

/// What is captured of a node as it stands: the root, unless it was before, and data volumes.
pub(super) fn lines(record: &Record) -> impl Iterator<Item = Line> {
    let root = record.root.is_some().then_some(Line::Root);
    root.into_iter().chain(data::to_capture(record).into_iter().map(Line::Data))
}

/// The volume of a line, with its final snapshot as far as that has come.
pub(super) fn line(record: &Record, line: Line) -> Option<(VolumeId, Option<&FinalSnapshot>)> {
    match line {
        Line::Root => record.root.as_ref().map(|root| (root.volume_id.clone(), record.finals.first())),
        Line::Data(at) => record.data.get(at).map(|it| (it.volume_id.clone(), it.last.as_ref())),
    }
}

/// The first try of a final snapshot.
pub(super) fn first_try(volume: VolumeId) -> FinalSnapshot {
    FinalSnapshot {
        snapshot_id: None,
        volume_id: volume,
        state: SnapshotState::Pending,
        attempt: 1,
        failed: None,
        missing_since: None,
    }
}

pub(super) fn capturing(draft: &mut Draft<'_>, seen: &Observation) -> Result<Then, Illegal> {
    if let Some(root) = draft.record.root.as_mut()
        && let Some(volume) = seen.volumes.get(&root.volume_id)
    {
        // It may be made larger until the very last moment, and then so is its snapshot.
        root.shape = volume.shape.clone();
    }
    for entry in &mut draft.record.data {
        if let Some(volume) = seen.volumes.get(&entry.volume_id).filter(|it| !it.is_lost()) {
            entry.shape = volume.shape.clone();
        }
    }
    let mut waits = None;
    for line in lines(&draft.record).collect::<Vec<_>>() {
        match capture(draft, seen, line)? {
            None => {}
            Some(then @ Then::Wait(_)) => waits = waits.or(Some(then)),
            Some(then) => return Ok(then),
        }
    }
    if let Some(wait) = waits {
        return Ok(give_back(draft, seen).unwrap_or(wait));
    }
    if draft.record.root.is_some() {
        draft.signal(Signal::Captured, "the final snapshots are complete")?;
    } else {
        draft.signal(Signal::CapturedBare, "the final snapshots of the data volumes are complete")?;
    }
    Ok(Then::Look)
}

/// What others wait for while the final snapshots complete.
fn give_back(draft: &mut Draft<'_>, seen: &Observation) -> Option<Then> {
    interface::give_up(draft, seen).or_else(|| elastic_ip::take_off(draft, seen))
}

/// The final snapshot of a line, written down as wanted if it was not.
fn last<'d>(draft: &'d mut Draft<'_>, line: Line) -> Option<&'d mut FinalSnapshot> {
    let record = &mut draft.record;
    match line {
        Line::Root => {
            let volume = record.root.as_ref()?.volume_id.clone();
            if record.finals.is_empty() {
                record.finals.push(first_try(volume));
            }
            record.finals.first_mut()
        }
        Line::Data(at) => {
            let entry = record.data.get_mut(at)?;
            Some(entry.last.get_or_insert(first_try(entry.volume_id.clone())))
        }
    }
}

/// What comes next for the final snapshot of a line; `None` once it is complete, or given up.
fn capture(draft: &mut Draft<'_>, seen: &Observation, line: Line) -> Result<Option<Then>, Illegal> {
    let Some(known) = last(draft, line).cloned() else { return Ok(None) };
    if let Some(failed) = known.failed {
        let failed = match line {
            Line::Root => Superseded::Snapshot(failed),
            Line::Data(_) => Superseded::DataSnapshot(failed),
        };
        return Ok(Some(draft.act(Step::Delete(failed))));
    }
    let Some(id) = known.snapshot_id else {
        return take_final(draft, seen, line, known.volume_id, known.attempt);
    };
    let now = draft.now();
    let Some(facts) = seen.snapshots.get(&id) else {
        let since = last(draft, line).map_or(now, |last| *last.missing_since.get_or_insert(now));
        if now.duration_since(since) < limits::QUIET {
            let what = format!("a read that shows the final snapshot {id}");
            return Ok(Some(draft.wait(limits::NEXT_TICK, what)));
        }
        return Ok(Some(again(draft, line, format!("the final snapshot {id} has vanished"), false)));
    };
    if let Some(last) = last(draft, line) {
        (last.missing_since, last.state) = (None, facts.state);
    }
    Ok(match facts.state {
        SnapshotState::Pending => Some(draft.expect(format!("the final snapshot {id} to complete"))),
        SnapshotState::Error => Some(again(draft, line, format!("the final snapshot {id} failed"), true)),
        SnapshotState::Completed => None,
    })
}

/// Adopts the final snapshot that an earlier try took, or takes it.
fn take_final(
    draft: &mut Draft<'_>,
    seen: &Observation,
    line: Line,
    volume: VolumeId,
    attempt: u32,
) -> Result<Option<Then>, Illegal> {
    let key = draft.names().last(draft.record.cycle, &volume, attempt);
    if !seen.look.snapshot_keys.contains(&key) || !seen.look.volumes.contains(&volume) {
        return Ok(Some(Then::Look));
    }
    let mut keyed = seen.snapshots.values().filter(|s| has_key(&s.tags, &key)).peekable();
    if keyed.peek().is_some() {
        let Some(good) = keyed.find(|snapshot| is_final_of(draft, line, &volume, snapshot)) else {
            let why = "a snapshot under the final one's key is not it".to_owned();
            return Ok(Some(again(draft, line, why, false)));
        };
        if let Some(last) = last(draft, line) {
            (last.snapshot_id, last.state) = (Some(good.id.clone()), good.state);
        }
        draft.note(format!("{} is the final snapshot of {volume}, found by its key", good.id));
        return Ok(Some(Then::Look));
    }
    match (seen.volumes.get(&volume).filter(|it| !it.is_lost()).map(|it| it.state), line) {
        (Some(VolumeState::Available), _) => {}
        (Some(VolumeState::InUse), Line::Data(at)) => return Ok(Some(data::elsewhere(draft, at))),
        (Some(_), _) => return Ok(Some(draft.poll(format!("{volume} to become available")))),
        (None, _) => return missing(draft, seen, line, volume),
    }
    let request = living::final_request(draft, volume, attempt);
    Ok(Some(draft.act(Step::Snapshot(PointRequest::One(request)))))
}

/// A volume that was not seen when its final snapshot was to be taken.
fn missing(
    draft: &mut Draft<'_>,
    seen: &Observation,
    line: Line,
    volume: VolumeId,
) -> Result<Option<Then>, Illegal> {
    let now = draft.now();
    let since = match line {
        Line::Root => draft.record.root.as_mut().map(|root| root.missing_since.get_or_insert(now)),
        Line::Data(at) => draft.record.data.get_mut(at).map(|it| it.missing_since.get_or_insert(now)),
    };
    let since = since.map_or(now, |since| *since);
    match (missing_root(draft, volume, since), line) {
        (Held::Lost(volume), Line::Root) => {
            // What carries this cycle's key and is not its final snapshot is no parent of the next one.
            draft.record.finals.clear();
            recovery::data_lost(draft, seen, volume).map(Some)
        }
        (Held::Lost(volume), Line::Data(at)) => {
            data::give_up_capture(draft, at, &volume);
            Ok(Some(Then::Look))
        }
        (Held::Unsure(why), _) => Ok(Some(draft.wait(limits::NEXT_TICK, why))),
        (_, _) => Ok(Some(Then::Look)),
    }
}

/// Whether a snapshot found under the key really is this cycle's final one.
fn is_final_of(draft: &Draft<'_>, line: Line, volume: &VolumeId, snapshot: &SnapshotFacts) -> bool {
    let record = &draft.record;
    let available_at = match line {
        Line::Root => record.root.as_ref().and_then(|root| root.available_at),
        Line::Data(at) => record.data.get(at).and_then(|it| it.available_at),
    };
    let cycle = record.cycle.to_string();
    snapshot.own
        && snapshot.volume == *volume
        && draft.names().owns(&snapshot.tags)
        && has_purpose(&snapshot.tags, Purpose::Final)
        && snapshot.tags.get(TAG_CYCLE) == Some(&cycle)
        && available_at.is_some_and(|since| snapshot.started_at >= since)
}

/// Takes the final snapshot once more: the volume is still there. A failed one is deleted first, since
/// it counts against the volume's limit and holds nothing; and a person is told.
fn again(draft: &mut Draft<'_>, line: Line, why: String, failed: bool) -> Then {
    draft.note(format!("{why}: it is taken again"));
    if failed {
        let remedy = "It is taken again every minute; look at the rights on the volume's KMS key above all";
        draft.block("snapshot-failed", why, remedy, limits::LADDER_REST);
    }
    if let Some(last) = last(draft, line) {
        last.attempt += 1;
        last.state = SnapshotState::Pending;
        last.missing_since = None;
        let old = last.snapshot_id.take();
        if failed {
            last.failed = old;
        }
    }
    Then::Look
}

//! Data volumes: no acknowledged byte of any of them is lost, and each comes back under its own name.
//!
//! A line is a device of a node. What belongs to it is told from the account alone: what hung there, the snapshots
//! of that, and what was made from them.

use std::collections::{BTreeMap, BTreeSet};

use perennial_cloud::model::{Cloud, Instance, SnapshotState, Volume};
use perennial_core::names::{TAG_DEPLOYMENT, TAG_DEVICE, TAG_NODE, TAG_PURPOSE, Tags};
use perennial_core::phase::Phase;
use perennial_core::record::Record;

use super::is_ours;
use super::steps::{holders, of_life, tag};
use crate::deeds::{BY_HAND, MAPPED};
use crate::world::World;

/// A node and a device.
pub(super) type Line = (String, String);

/// What is remembered of data volumes.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    /// The line of each volume and snapshot ever seen of one.
    line_of: BTreeMap<String, Line>,
    /// The last write that the guest was told is on its disk.
    acknowledged: BTreeMap<Line, u64>,
    /// Lines whose last bytes the operator destroyed, or let go of.
    lost: BTreeSet<Line>,
    /// Lines whose volume the operator lets go with its instance.
    at_risk: BTreeSet<Line>,
}

impl Memory {
    /// The line that a volume or snapshot belongs to.
    pub(super) fn line_of(&self, id: &str) -> Option<&Line> {
        self.line_of.get(id)
    }

    /// A guest was told that its write is on a data volume.
    ///
    /// # Errors
    /// What the guest found instead of what it had made.
    pub(super) fn wrote(&mut self, world: &World, volume: &str, writes: u64) -> Result<(), String> {
        let Some(line) = self.line_of.get(volume) else { return Ok(()) };
        if !self.acknowledged.contains_key(line) && !is_kept(world, line, volume) {
            return Ok(());
        }
        let last = self.acknowledged.entry(line.clone()).or_default();
        let was = std::mem::replace(last, writes);
        if writes > was || self.lost.contains(line) {
            return Ok(());
        }
        let (node, device) = line;
        let found = writes - 1;
        Err(format!("{node}: the guest found {found} writes at {device} where it had made {was}"))
    }

    /// The operator took a volume off its node: what is on it is the operator's.
    pub(super) fn left(&mut self, volume: &str) {
        if let Some(line) = self.line_of.remove(volume) {
            self.acknowledged.remove(&line);
        }
    }

    /// The operator lets a volume go with its instance.
    pub(super) fn at_risk(&mut self, volume: &str) {
        self.at_risk.extend(self.line_of.get(volume).cloned());
    }

    /// The operator chose an older recovery point.
    pub(super) fn restored(&mut self, point: &str, writes: u64) {
        if let Some(line) = self.line_of.get(point).cloned() {
            self.lost.remove(&line);
            self.acknowledged.insert(line, writes);
        }
    }

    fn forget(&mut self, node: &str) {
        self.acknowledged.retain(|(of, _), _| of != node);
        self.lost.retain(|(of, _)| of != node);
        self.at_risk.retain(|(of, _)| of != node);
    }

    fn most(&self, cloud: &Cloud, counts: impl Fn(&str) -> bool) -> BTreeMap<&Line, u64> {
        let mut most: BTreeMap<&Line, u64> = BTreeMap::new();
        for (id, writes) in holders(cloud).filter(|(id, _)| counts(id)) {
            if let Some(line) = self.line_of.get(id) {
                let known = most.entry(line).or_default();
                *known = writes.max(*known);
            }
        }
        most
    }
}

/// Whether what is written to a volume is promised to come back: it was made for this life, or the record names it.
fn is_kept(world: &World, (node, _): &Line, volume: &str) -> bool {
    let Some(record) = world.records.get(node).filter(|it| it.config().persist.data.is_some()) else {
        return false;
    };
    // What goes with its instance is promised nothing.
    let goes = |it: &Volume| it.attachments.iter().any(|held| held.delete_on_termination);
    if world.cloud.volume(volume).is_none_or(goes) {
        return false;
    }
    let is_named = record.data.iter().any(|it| it.volume_id.as_str() == volume);
    let is_left = record.left_alone.iter().any(|it| it.volume_id.as_str() == volume);
    is_named || (!is_left && world.cloud.volume(volume).is_some_and(|it| of_life(&it.tags, record)))
}

/// Whether tags say of what carries them that it is of a data volume.
pub(super) fn says(tags: &Tags) -> bool {
    tag(tags, TAG_PURPOSE) == "data" || [MAPPED, BY_HAND].contains(&tag(tags, TAG_DEVICE))
}

/// The data volumes of an instance of ours, with their device names.
fn shown(instance: &Instance) -> impl Iterator<Item = (&String, &str)> {
    let devices = instance.block_devices.iter().filter(|(device, _)| **device != instance.root_device_name);
    devices.map(|(device, held)| (device, held.volume_id.as_str()))
}

/// Follows which line everything belongs to, and which lines are promised nothing any more.
pub(super) fn follow(memory: &mut Memory, world: &World) {
    let cloud = &world.cloud;
    for instance in cloud.live_instances().filter(|it| is_ours(&it.tags)) {
        let node = tag(&instance.tags, TAG_NODE);
        for (device, volume) in shown(instance) {
            let is_others = cloud.volume(volume).is_some_and(|it| it.multi_attach || is_of_another(it, node));
            let line = (node.to_owned(), device.clone());
            if !is_others && memory.line_of.get(volume) != Some(&line) {
                memory.line_of.insert(volume.to_owned(), line);
            }
        }
    }
    for snapshot in cloud.snapshots().filter(|it| is_ours(&it.tags)) {
        if let Some(line) = memory.line_of.get(&snapshot.volume_id).cloned() {
            memory.line_of.entry(snapshot.id.clone()).or_insert(line);
        }
    }
    for volume in cloud.volumes().filter(|it| is_ours(&it.tags) && it.attachments.is_empty()) {
        let source = volume.snapshot_id.as_ref().and_then(|id| memory.line_of.get(id));
        if let Some(line) = source.cloned() {
            memory.line_of.entry(volume.id.clone()).or_insert(line);
        }
    }
    for (node, record) in &world.records {
        if record.phase.is_final() || record.config().persist.data.is_none() {
            memory.forget(node);
        }
    }
}

fn is_of_another(volume: &Volume, node: &str) -> bool {
    volume.tags.contains_key(TAG_DEPLOYMENT) && tag(&volume.tags, TAG_NODE) != node
}

/// What is missing now was taken by the operator.
pub(super) fn forgive(memory: &mut Memory, world: &World) {
    follow(memory, world);
    let cloud = &world.cloud;
    let is_pending = |id: &str| cloud.snapshot(id).is_some_and(|s| s.state == SnapshotState::Pending);
    let certain = memory.most(cloud, |id| !is_pending(id));
    let lacks =
        |(line, acknowledged): &(&Line, &u64)| certain.get(line).is_none_or(|left| left < *acknowledged);
    let lost: Vec<Line> = memory.acknowledged.iter().filter(lacks).map(|(line, _)| line.clone()).collect();
    memory.lost.extend(lost);
}

/// 1. Some volume or snapshot of each line holds every acknowledged write.
pub(super) fn bytes(memory: &mut Memory, world: &World) -> Option<String> {
    let most = memory.most(&world.cloud, |_| true);
    let lacks = |(line, acknowledged): &(&Line, &u64)| {
        !memory.lost.contains(*line) && most.get(line).is_none_or(|left| left < *acknowledged)
    };
    let short = memory.acknowledged.iter().find(lacks).map(|(line, writes)| (line.clone(), *writes));
    let ((node, device), writes) = short?;
    let left = most.get(&(node.clone(), device.clone())).copied().unwrap_or_default();
    if memory.at_risk.contains(&(node.clone(), device.clone())) {
        memory.lost.insert((node, device));
        return None;
    }
    Some(format!("{node}: {writes} writes were acknowledged at {device}, only {left} are left"))
}

/// 1. At rest each data volume is where it belongs, with every write on it.
pub(super) fn bytes_at_rest(memory: &Memory, world: &World) -> Option<String> {
    for ((node, device), writes) in &memory.acknowledged {
        let line = (node.clone(), device.clone());
        let Some(record) = world.records.get(node).filter(|_| !memory.lost.contains(&line)) else { continue };
        let held = match record.phase {
            Phase::Running => on_instance(world, record, device),
            Phase::Paused | Phase::Deallocated => at_rest(world, record, device),
            _ => continue,
        };
        if held != Some(*writes) {
            let phase = record.phase;
            return Some(format!("{node} is {phase} and holds {held:?} of {writes} writes at {device}"));
        }
    }
    None
}

fn on_instance(world: &World, record: &Record, device: &str) -> Option<u64> {
    let instance = world.cloud.instance(record.instance.as_ref()?.id.as_str())?;
    let (_, volume) = shown(instance).find(|(name, _)| *name == device)?;
    Some(world.cloud.volume(volume)?.contents.writes)
}

/// What the final snapshot holds; what the operator took of a deallocated node is missed when it is wanted back.
fn at_rest(world: &World, record: &Record, device: &str) -> Option<u64> {
    let entry = record.data.iter().find(|it| it.device_name == device)?;
    let point = entry.point().and_then(|id| world.cloud.snapshot(id.as_str()));
    let volume = || world.cloud.volume(entry.volume_id.as_str()).map(|it| it.contents.writes);
    point.map(|it| it.contents.writes).or_else(volume)
}

/// Whether the data volume at a device of a node's present instance can be restored from a snapshot taken since its
/// launch; whether all can, of no device.
pub(super) fn proven(cloud: &Cloud, instance: &Instance, of: Option<&str>) -> bool {
    let is_meant = |device: &str| of.is_none_or(|of| of == device);
    let ours = |id: &str| cloud.volume(id).is_some_and(|it| is_ours(&it.tags));
    let mut meant = shown(instance).filter(|(device, id)| is_meant(device) && ours(id)).peekable();
    (of.is_none() || meant.peek().is_some())
        && meant.all(|(_, id)| {
            cloud.snapshots().any(|it| {
                let is_later = it.start_time >= instance.launch_time;
                it.volume_id == id && it.state == SnapshotState::Completed && is_later
            })
        })
}

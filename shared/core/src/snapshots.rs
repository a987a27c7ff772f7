//! Periodic snapshots: what is due, and what may go.
//!
//! Nothing is remembered: a snapshot is due by the clock, what exists is read from AWS by tag, and the
//! key in its tag (volume, due time) makes taking it twice harmless. Final and image-backing snapshots
//! are never counted and never touched here.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::ids::{InstanceId, NodeName, SnapshotId, VolumeId};
use crate::limits;
use crate::names::{Names, Purpose, TAG_DEVICE, TAG_LIFE, TAG_NODE, Tags, due_slot, has_key, has_purpose};
use crate::observation::{InstanceFacts, InstanceState, SnapshotFacts, SnapshotState};
use crate::record::Steady;
use crate::step::SnapshotRequest;

/// What the pass is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Todo {
    /// Take this snapshot.
    Take(SnapshotRequest),
    /// Delete this one: newer completed ones fill the places, or it failed.
    Drop {
        /// Whose it is.
        node: NodeName,
        /// The life it belongs to.
        life: String,
        /// Which.
        snapshot: SnapshotId,
    },
}

/// Decides for one node, from all snapshots of the deployment that are rotated and from the instances as
/// they are now. Taking comes before dropping.
pub fn todo(
    steady: &Steady,
    snapshots: &[&SnapshotFacts],
    instances: &BTreeMap<InstanceId, InstanceFacts>,
    deployment: &str,
    now: Timestamp,
) -> Vec<Todo> {
    let mut todo = Vec::new();
    if steady.suspend {
        return todo;
    }
    let line: Vec<&SnapshotFacts> =
        snapshots.iter().copied().filter(|s| in_line(s, steady, deployment)).collect();
    todo.extend(due(steady, &line, instances, deployment, now).map(Todo::Take));
    if steady.snapshot_every.is_some() {
        todo.extend(needless(&line, steady.keep).into_iter().map(|snapshot| Todo::Drop {
            node: steady.node.clone(),
            life: steady.life.clone(),
            snapshot,
        }));
    }
    todo
}

/// Whether a snapshot belongs to the line of a node's root and is one that rotation may count.
fn in_line(snapshot: &SnapshotFacts, steady: &Steady, deployment: &str) -> bool {
    let names = Names { deployment, node: &steady.node, life: &steady.life };
    snapshot.own
        && names.owns(&snapshot.tags)
        && Purpose::ROTATED.iter().any(|purpose| has_purpose(&snapshot.tags, *purpose))
        && snapshot.tags.get(TAG_DEVICE).is_none_or(|device| *device == steady.device)
}

/// The periodic snapshot that is due, if one is and nothing stands against it.
fn due(
    steady: &Steady,
    line: &[&SnapshotFacts],
    instances: &BTreeMap<InstanceId, InstanceFacts>,
    deployment: &str,
    now: Timestamp,
) -> Option<SnapshotRequest> {
    let every = steady.snapshot_every?;
    let due = due_slot(&steady.life, "snapshot", every, now);
    let names = Names { deployment, node: &steady.node, life: &steady.life };
    let key = names.periodic(&steady.volume, due);
    if !is_attached(steady, instances) {
        return None;
    }
    let of_volume = || line.iter().filter(|s| s.volume == steady.volume);
    let taken = of_volume().any(|s| has_key(&s.tags, &key));
    let pending = of_volume().any(|s| s.state == SnapshotState::Pending);
    let too_soon = of_volume().any(|s| now.duration_since(s.started_at) < limits::SNAPSHOT_SPACING);
    if taken || pending || too_soon {
        return None;
    }
    Some(request(steady, &names, key, due))
}

fn is_attached(steady: &Steady, instances: &BTreeMap<InstanceId, InstanceFacts>) -> bool {
    instances.get(&steady.instance).is_some_and(|instance| {
        instance.state == InstanceState::Running
            && instance.volumes.iter().any(|volume| volume.volume == steady.volume)
    })
}

fn request(steady: &Steady, names: &Names<'_>, key: String, due: Timestamp) -> SnapshotRequest {
    let mut tags: Tags = names.tags(&steady.tags, steady.cycle, Purpose::Periodic, &key);
    tags.insert(TAG_DEVICE.to_owned(), steady.device.clone());
    let volume: VolumeId = steady.volume.clone();
    SnapshotRequest {
        volume,
        purpose: Purpose::Periodic,
        key,
        tags,
        description: format!("Perennial: periodic snapshot of {}, due {due}", steady.node),
    }
}

/// The snapshots of a line that may go: failed ones, and completed ones older than the newest `keep`.
/// Pending ones neither count nor go, so the last completed one always stays.
fn needless(line: &[&SnapshotFacts], keep: u32) -> Vec<SnapshotId> {
    let mut completed: Vec<_> = line.iter().filter(|s| s.state == SnapshotState::Completed).collect();
    completed.sort_by(|a, b| b.started_at.cmp(&a.started_at).then_with(|| b.id.cmp(&a.id)));
    let failed = line.iter().filter(|s| s.state == SnapshotState::Error);
    completed
        .into_iter()
        .skip(keep.max(1) as usize)
        .chain(failed)
        .map(|snapshot| snapshot.id.clone())
        .collect()
}

/// Groups snapshots by node and life, so that each node looks only at its own.
pub fn by_node(snapshots: &[SnapshotFacts]) -> BTreeMap<(&str, &str), Vec<&SnapshotFacts>> {
    let mut groups: BTreeMap<(&str, &str), Vec<&SnapshotFacts>> = BTreeMap::new();
    for snapshot in snapshots {
        if let (Some(node), Some(life)) = (snapshot.tags.get(TAG_NODE), snapshot.tags.get(TAG_LIFE)) {
            groups.entry((node, life)).or_default().push(snapshot);
        }
    }
    groups
}

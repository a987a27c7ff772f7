//! Periodic snapshots: what is due, and what may go.
//!
//! Nothing is remembered: a snapshot is due by the clock, what exists is read from AWS by tag, and the
//! key in its tag (volume, due time) makes taking it twice harmless. Final and image-backing snapshots
//! are never counted and never touched here.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::ids::{InstanceId, NodeName, SnapshotId, VolumeId};
use crate::limits;
use crate::names::{
    Names, Purpose, TAG_CYCLE, TAG_DEVICE, TAG_LIFE, TAG_NODE, Tags, due_slot, has_key, has_purpose,
};
use crate::observation::{InstanceFacts, InstanceState, SnapshotFacts, SnapshotState};
use crate::record::{SCHEMA_VERSION, Steady};
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
    if steady.suspend || steady.schema_version > SCHEMA_VERSION {
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

/// Whether a snapshot belongs to the line of a node's root and is one that rotation may count. What was
/// taken before the present root's descent began is neither counted nor touched.
fn in_line(snapshot: &SnapshotFacts, steady: &Steady, deployment: &str) -> bool {
    let names = Names { deployment, node: &steady.node, life: &steady.life };
    snapshot.own
        && names.owns(&snapshot.tags)
        && Purpose::ROTATED.iter().any(|purpose| has_purpose(&snapshot.tags, *purpose))
        && snapshot.tags.get(TAG_DEVICE).is_none_or(|device| *device == steady.device)
        && cycle_of(snapshot).is_some_and(|cycle| cycle >= steady.descent)
}

fn cycle_of(snapshot: &SnapshotFacts) -> Option<u32> {
    snapshot.tags.get(TAG_CYCLE)?.parse().ok()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::{AttachedVolume, Platform};
    use jiff::SignedDuration;

    fn now() -> Timestamp {
        Timestamp::from_second(1_790_000_000).unwrap()
    }

    fn steady() -> Steady {
        Steady {
            schema_version: SCHEMA_VERSION,
            node: NodeName::parse("db").unwrap(),
            life: "l1".into(),
            cycle: 1,
            descent: 0,
            instance: InstanceId::new("i-1"),
            volume: VolumeId::new("vol-1"),
            device: "/dev/xvda".into(),
            snapshot_every: Some(SignedDuration::from_mins(5)),
            keep: 3,
            kept_interface: None,
            suspend: false,
            tags: Tags::new(),
        }
    }

    fn fleet(state: InstanceState) -> BTreeMap<InstanceId, InstanceFacts> {
        let facts = InstanceFacts {
            id: InstanceId::new("i-1"),
            state,
            state_reason: String::new(),
            instance_type: "m5.large".into(),
            spot: true,
            zone: "z".into(),
            subnet: None,
            private_ip: None,
            image: crate::ids::ImageId::new("ami-1"),
            launched_at: None,
            root_device: "/dev/xvda".into(),
            ebs_root: true,
            volumes: vec![AttachedVolume {
                device: "/dev/xvda".into(),
                volume: VolumeId::new("vol-1"),
                delete_on_termination: false,
            }],
            interfaces: Vec::new(),
            client_token: None,
            tags: Tags::new(),
            platform: Platform::default(),
        };
        [(facts.id.clone(), facts)].into()
    }

    /// A snapshot of the node's line, taken so many seconds ago.
    fn taken(id: &str, ago: i64, state: SnapshotState, purpose: Purpose) -> SnapshotFacts {
        let steady = steady();
        let names = Names { deployment: "prod", node: &steady.node, life: &steady.life };
        let mut tags = names.tags(&Tags::new(), 1, purpose, id);
        tags.insert(TAG_DEVICE.into(), "/dev/xvda".into());
        SnapshotFacts {
            id: SnapshotId::new(id),
            state,
            volume: VolumeId::new("vol-1"),
            started_at: now() - SignedDuration::from_secs(ago),
            progress: String::new(),
            own: true,
            tags,
        }
    }

    fn decide(steady: &Steady, snapshots: &[SnapshotFacts], state: InstanceState) -> (bool, Vec<String>) {
        let all: Vec<_> = snapshots.iter().collect();
        let todo = todo(steady, &all, &fleet(state), "prod", now());
        let dropped = todo.iter().filter_map(|t| match t {
            Todo::Drop { snapshot, .. } => Some(snapshot.to_string()),
            Todo::Take(_) => None,
        });
        (todo.iter().any(|t| matches!(t, Todo::Take(_))), dropped.collect())
    }

    use SnapshotState::{Completed, Error, Pending};

    #[test]
    fn one_is_due_once_per_slot_and_never_beside_a_pending_or_a_fresh_one() {
        let steady = steady();
        let takes = |snapshots: &[SnapshotFacts]| decide(&steady, snapshots, InstanceState::Running).0;
        assert!(takes(&[]));
        assert!(takes(&[taken("snap-1", 400, Completed, Purpose::Periodic)]));
        assert!(!takes(&[taken("snap-1", 400, Pending, Purpose::Periodic)]));
        assert!(!takes(&[taken("snap-1", 10, Completed, Purpose::Warning)]));
        let names = Names { deployment: "prod", node: &steady.node, life: &steady.life };
        let due = due_slot(&steady.life, "snapshot", SignedDuration::from_mins(5), now());
        let mut same = taken("snap-1", 100, Completed, Purpose::Periodic);
        same.tags.insert(crate::names::TAG_KEY.into(), names.periodic(&steady.volume, due));
        assert!(!takes(&[same]));
    }

    #[test]
    fn none_is_taken_of_a_volume_that_no_running_instance_holds() {
        for state in [InstanceState::Pending, InstanceState::Stopped, InstanceState::ShuttingDown] {
            assert!(!decide(&steady(), &[], state).0);
        }
        let elsewhere = Steady { volume: VolumeId::new("vol-2"), ..steady() };
        assert!(!decide(&elsewhere, &[], InstanceState::Running).0);
        assert!(!decide(&Steady { suspend: true, ..steady() }, &[], InstanceState::Running).0);
        let newer = Steady { schema_version: SCHEMA_VERSION + 1, ..steady() };
        assert!(!decide(&newer, &[], InstanceState::Running).0);
        assert!(!decide(&Steady { snapshot_every: None, ..steady() }, &[], InstanceState::Running).0);
    }

    #[test]
    fn the_newest_completed_stay_and_pending_ones_do_not_count() {
        let line = [
            taken("snap-1", 5000, Completed, Purpose::Periodic),
            taken("snap-2", 4000, Completed, Purpose::Warning),
            taken("snap-3", 3000, Completed, Purpose::Periodic),
            taken("snap-4", 2000, Completed, Purpose::Rebalance),
            taken("snap-5", 100, Pending, Purpose::Periodic),
            taken("snap-6", 2500, Error, Purpose::Periodic),
        ];
        assert_eq!(decide(&steady(), &line, InstanceState::Running).1, ["snap-1", "snap-6"]);
        assert_eq!(decide(&steady(), &line[1..4], InstanceState::Running).1, [""; 0]);
        let one = Steady { keep: 1, ..steady() };
        assert_eq!(decide(&one, &line[..2], InstanceState::Running).1, ["snap-1"]);
    }

    #[test]
    fn what_is_not_of_this_line_is_never_touched() {
        let mut line: Vec<_> = (0..6)
            .map(|n| taken(&format!("snap-{n}"), 1000 * (n + 1), Completed, Purpose::Periodic))
            .collect();
        line[5].tags.insert(crate::names::TAG_PURPOSE.into(), "final".into());
        line[4].tags.insert(TAG_NODE.into(), "web".into());
        line[3].own = false;
        line[2].tags.insert(TAG_DEVICE.into(), "/dev/sdb".into());
        let one = Steady { keep: 1, ..steady() };
        assert_eq!(decide(&one, &line, InstanceState::Running).1, ["snap-1"]);
        let another_descent = Steady { cycle: 2, descent: 2, ..one };
        assert_eq!(decide(&another_descent, &line, InstanceState::Running).1, [""; 0]);
    }
}

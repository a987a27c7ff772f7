//! What must be so after every step, told from the account as its owner sees it.

use std::collections::{BTreeMap, BTreeSet};

use perennial_cloud::model::{Instance, SnapshotState};
use perennial_core::failure::Failure;
use perennial_core::names::{Purpose, TAG_DEPLOYMENT, TAG_NODE, TAG_PURPOSE, Tags};

use crate::run::DEPLOYMENT;
use crate::world::World;

/// Watches a run. The first broken invariant is kept; later ones may only be its consequences.
#[derive(Debug, Default)]
pub struct Watch {
    /// The last write that each node's guest was told is on its disk.
    acknowledged: BTreeMap<String, u64>,
    /// What of ours may only go once its successor is proven: id and node of root volumes, node images and
    /// final snapshots seen so far.
    kept: BTreeMap<String, String>,
    /// Nodes that have had as many completed rotated snapshots as they are to keep.
    full: BTreeSet<String>,
    /// What was broken first, if anything was.
    pub broken: Option<String>,
    /// Failures that reached a handler.
    pub failures: Vec<Failure>,
    /// How often it looked.
    pub looks: u64,
}

impl Watch {
    /// A guest was told that its write is on the disk.
    pub fn wrote(&mut self, node: &str, writes: u64) {
        let last = self.acknowledged.entry(node.to_owned()).or_default();
        if writes <= *last {
            let message = format!("{node}: the guest found {} writes where it had made {last}", writes - 1);
            self.broken.get_or_insert(message);
        }
        *last = writes.max(*last);
    }

    /// The last acknowledged write of a node.
    pub fn acknowledged(&self, node: &str) -> u64 {
        self.acknowledged.get(node).copied().unwrap_or_default()
    }

    /// Looks at everything.
    pub fn look(&mut self, world: &World) {
        self.looks += 1;
        if self.broken.is_none() {
            self.broken = self
                .bytes(world)
                .or_else(|| one_instance(world))
                .or_else(|| work_in_sight(world))
                .or_else(|| self.successors(world))
                .or_else(|| self.rotation(world));
            if let Some(broken) = &mut self.broken {
                broken.push_str(&format!(" (at {})", world.cloud.now()));
            }
        }
    }

    /// No acknowledged byte is lost: some volume or snapshot of the node holds every one.
    fn bytes(&self, world: &World) -> Option<String> {
        for (node, acknowledged) in &self.acknowledged {
            let of_node = |tags: &BTreeMap<String, String>| tags.get(TAG_NODE) == Some(node);
            let on_volumes = world.cloud.volumes().filter(|v| of_node(&v.tags)).map(|v| v.contents.writes);
            let in_snapshots =
                world.cloud.snapshots().filter(|s| of_node(&s.tags)).map(|s| s.contents.writes);
            let most = on_volumes.chain(in_snapshots).max().unwrap_or_default();
            if most < *acknowledged {
                return Some(format!(
                    "{node}: {acknowledged} writes were acknowledged, only {most} are left"
                ));
            }
        }
        None
    }
}

impl Watch {
    /// A root volume, a node image or a final snapshot goes only when the present instance has passed its
    /// checks and a snapshot of its own root has completed; a final snapshot is taken of a free volume.
    fn successors(&mut self, world: &World) -> Option<String> {
        let is = |tags: &Tags, purpose: &str| tags.get(TAG_PURPOSE).is_some_and(|p| p == purpose);
        let mut now: BTreeMap<&str, (&Tags, Option<&str>)> = BTreeMap::new();
        now.extend(world.cloud.volumes().filter(|v| is(&v.tags, "root")).map(|v| (&*v.id, (&v.tags, None))));
        now.extend(world.cloud.images().filter(|i| is(&i.tags, "image")).map(|i| (&*i.id, (&i.tags, None))));
        let finals = world.cloud.snapshots().filter(|s| is(&s.tags, "final"));
        now.extend(finals.map(|s| (&*s.id, (&s.tags, Some(&*s.volume_id)))));
        let gone = self.kept.iter().find(|(id, node)| !now.contains_key(id.as_str()) && !proven(world, node));
        if let Some((id, node)) = gone {
            return Some(format!("{id} of {node} went before its successor was proven"));
        }
        self.kept.retain(|id, _| now.contains_key(id.as_str()));
        for (id, (tags, taken_of)) in now {
            let Some(node) = tags.get(TAG_NODE) else { continue };
            if self.kept.insert(id.to_owned(), node.clone()).is_some() {
                continue;
            }
            let busy = |volume: &str| world.cloud.volume(volume).is_some_and(|v| v.attachment.is_some());
            if taken_of.is_some_and(busy) {
                return Some(format!("the final snapshot {id} was taken of a volume in use"));
            }
        }
        None
    }
}

impl Watch {
    /// Once a line has as many completed snapshots as it is to keep, it never has fewer.
    fn rotation(&mut self, world: &World) -> Option<String> {
        let mut completed: BTreeMap<&str, u32> = BTreeMap::new();
        for snapshot in world.cloud.snapshots().filter(|s| s.state == SnapshotState::Completed) {
            let rotated = snapshot
                .tags
                .get(TAG_PURPOSE)
                .is_some_and(|p| Purpose::ROTATED.iter().any(|rotated| rotated.as_str() == p));
            if let Some(node) = snapshot.tags.get(TAG_NODE).filter(|_| rotated) {
                *completed.entry(node).or_default() += 1;
            }
        }
        for (node, record) in &world.records {
            let Some(keep) = record.config().persist.root.as_ref().map(|root| root.keep) else { continue };
            let n = completed.get(node.as_str()).copied().unwrap_or_default();
            if n >= keep {
                self.full.insert(node.clone());
            } else if self.full.contains(node) {
                return Some(format!("{node}: only {n} of {keep} completed snapshots are left"));
            }
        }
        None
    }
}

/// Whether a node's present instance is good and its root restorable from a snapshot of its own.
fn proven(world: &World, node: &str) -> bool {
    let cloud = &world.cloud;
    let checked = cloud.settings().status_checks;
    let good =
        |i: &&Instance| i.running_since.is_some_and(|since| cloud.now().duration_since(since) >= checked);
    let of_node = |i: &&Instance| i.tags.get(TAG_NODE).is_some_and(|n| n == node);
    cloud.live_instances().filter(of_node).filter(good).filter_map(Instance::root).any(|root| {
        cloud.snapshots().any(|s| s.volume_id == root.volume_id && s.state == SnapshotState::Completed)
    })
}

/// At most one live instance per node.
fn one_instance(world: &World) -> Option<String> {
    let mut seen = BTreeSet::new();
    let live =
        world.cloud.live_instances().filter(|i| i.tags.get(TAG_DEPLOYMENT).is_some_and(|d| d == DEPLOYMENT));
    for instance in live {
        let node = instance.tags.get(TAG_NODE);
        if !seen.insert(node.cloned()) {
            return Some(format!("{} is a second live instance of {node:?}", instance.id));
        }
    }
    None
}

/// Work in progress always has an appointment: only a running node has none.
fn work_in_sight(world: &World) -> Option<String> {
    world
        .records
        .values()
        .find(|r| r.work_at.is_none() && r.phase != perennial_core::phase::Phase::Running)
        .map(|r| format!("{} is {} and nothing will look at it again", r.name, r.phase))
}

//! What must be so after every step.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use perennial_cloud::model::{Cloud, ImageState, Instance, Snapshot, SnapshotState, Volume};
use perennial_core::config::{DesiredState, Retained};
use perennial_core::names::{Purpose, TAG_CYCLE, TAG_KEY, TAG_LIFE, TAG_NODE, TAG_PARTS, TAG_PURPOSE, Tags};
use perennial_core::phase::Phase;
use perennial_core::record::Record;

use super::{Kept, Watch, data, is_ours};
use crate::world::World;

pub(super) fn tag<'t>(tags: &'t Tags, key: &str) -> &'t str {
    tags.get(key).map_or("", String::as_str)
}

/// Whether something carries the tags of this very life.
pub(super) fn of_life(tags: &Tags, record: &Record) -> bool {
    is_ours(tags) && tag(tags, TAG_NODE) == record.name.as_str() && tag(tags, TAG_LIFE) == record.life
}

/// Whether a snapshot is one that rotation counts, of the descent of the node's present root.
pub(super) fn is_rotated(snapshot: &Snapshot, record: &Record) -> bool {
    let purpose = tag(&snapshot.tags, TAG_PURPOSE);
    of_life(&snapshot.tags, record)
        && Purpose::ROTATED.iter().any(|rotated| rotated.as_str() == purpose)
        && tag(&snapshot.tags, TAG_CYCLE).parse::<u32>().is_ok_and(|cycle| cycle >= record.descent)
}

/// How many complete recovery points rotation counts of a node: a set counts once, and only whole.
pub(super) fn complete_points(cloud: &Cloud, record: &Record) -> usize {
    let mut points: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for snapshot in cloud.snapshots().filter(|s| is_rotated(s, record) && is_completed(s)) {
        let parts = tag(&snapshot.tags, TAG_PARTS).parse().unwrap_or(1);
        let point = points.entry(tag(&snapshot.tags, TAG_KEY)).or_insert((0, parts));
        point.0 += 1;
    }
    points.values().filter(|(there, parts)| there >= parts).count()
}

fn is_completed(snapshot: &Snapshot) -> bool {
    snapshot.state == SnapshotState::Completed
}

fn exists(cloud: &Cloud, id: &str) -> bool {
    cloud.volume(id).is_some() || cloud.image(id).is_some() || cloud.snapshot(id).is_some()
}

/// The root volume of a node's live instance, if it is not to go with it.
fn secured<'c>(cloud: &'c Cloud, node: &str) -> Option<&'c Volume> {
    let mut live = cloud.live_instances().filter(|i| is_ours(&i.tags) && tag(&i.tags, TAG_NODE) == node);
    let root = live.find_map(Instance::root).filter(|root| !root.delete_on_termination)?;
    cloud.volume(&root.volume_id)
}

/// Follows what belongs to whom, and what the operator has decided.
pub(super) fn follow(watch: &mut Watch, world: &World) {
    let cloud = &world.cloud;
    let volumes = cloud.volumes().map(|v| (&v.id, &v.tags));
    for (id, tags) in volumes.chain(cloud.snapshots().map(|s| (&s.id, &s.tags))) {
        if is_ours(tags) && !watch.known.contains_key(id) && watch.data.line_of(id).is_none() {
            watch.known.insert(id.clone(), tag(tags, TAG_NODE).to_owned());
        }
    }
    for instance in cloud.live_instances().filter(|i| is_ours(&i.tags)) {
        let root = instance.root().filter(|held| !watch.known.contains_key(&held.volume_id));
        if let Some(held) = root {
            watch.known.insert(held.volume_id.clone(), tag(&instance.tags, TAG_NODE).to_owned());
        }
    }
    for (node, record) in &world.records {
        if record.phase.is_final() {
            watch.acknowledged.remove(node);
            watch.lost.remove(node);
            watch.at_risk.remove(node);
            watch.unkept.remove(node);
            watch.left_behind.remove(node);
            watch.known.retain(|_, of| of != node);
        } else if record.config().persist.root.is_none() {
            if watch.unkept.insert(node.clone()) && !watch.lost.contains(node) {
                let whole = whole(watch, cloud, node);
                watch.left_behind.entry(node.clone()).or_insert(whole);
            }
        } else if let Some(root) = secured(cloud, node) {
            if watch.unkept.remove(node) {
                // From here on it is kept, whatever was on the roots before it.
                watch.acknowledged.insert(node.clone(), root.contents.writes);
            }
            let is_from = |left: &BTreeSet<String>| {
                left.contains(&root.id) || root.contents.lineage.iter().any(|id| left.contains(id))
            };
            if watch.left_behind.get(node).is_some_and(is_from) {
                watch.left_behind.remove(node);
            }
            watch.at_risk.remove(node);
        }
        match &record.restored {
            None => {
                watch.restored.remove(node);
            }
            Some(point) if watch.restored.get(node).is_none_or(|known| known != point.as_str()) => {
                // The operator's word: from now on the chosen point is what the guest is to find.
                let writes = cloud.snapshot(point.as_str()).map_or(0, |s| s.contents.writes);
                if watch.data.line_of(point.as_str()).is_some() {
                    watch.data.restored(point.as_str(), writes);
                } else {
                    watch.acknowledged.insert(node.clone(), writes);
                    watch.known.insert(point.to_string(), node.clone());
                    watch.lost.remove(node);
                }
                watch.restored.insert(node.clone(), point.to_string());
            }
            Some(_) => {}
        }
    }
}

/// Every volume and snapshot whose bytes are there, or will be once it completes, with how many writes it holds.
pub(super) fn holders(cloud: &Cloud) -> impl Iterator<Item = (&String, u64)> {
    let snapshots = cloud.snapshots().filter(|s| s.state != SnapshotState::Error);
    let snapshots = snapshots.map(|s| (&s.id, s.contents.writes));
    cloud.volumes().map(|v| (&v.id, v.contents.writes)).chain(snapshots)
}

/// The most writes that anything of each node holds.
fn most<'c>(watch: &Watch, holders: impl Iterator<Item = (&'c String, u64)>) -> BTreeMap<String, u64> {
    let mut most: BTreeMap<String, u64> = BTreeMap::new();
    for (id, writes) in holders {
        if let Some(node) = watch.known.get(id) {
            let known = most.entry(node.clone()).or_default();
            *known = writes.max(*known);
        }
    }
    most
}

/// The volumes and snapshots of a node that hold every acknowledged write of it.
fn whole(watch: &Watch, cloud: &Cloud, node: &str) -> BTreeSet<String> {
    let acknowledged = watch.acknowledged.get(node).copied().unwrap_or_default();
    let goes_with_its_instance = |id: &str| {
        let mut held = cloud.live_instances().flat_map(|i| i.block_devices.values());
        held.any(|held| held.volume_id == id && held.delete_on_termination)
    };
    let of_node = holders(cloud).filter(|(id, writes)| {
        *writes >= acknowledged
            && !goes_with_its_instance(id)
            && watch.known.get(*id).is_some_and(|known| known == node)
    });
    of_node.map(|(id, _)| id.clone()).collect()
}

/// 1. Some volume or snapshot of the node holds every acknowledged write.
pub(super) fn bytes(watch: &mut Watch, world: &World) -> Option<String> {
    let at_risk = &watch.at_risk;
    watch.left_behind.retain(|node, _| !at_risk.contains(node));
    let mut left = watch.left_behind.iter().filter(|(_, left)| !left.is_empty());
    if let Some((node, left)) = left.find(|(_, left)| !left.iter().any(|id| exists(&world.cloud, id))) {
        return Some(format!("{node}: {left:?}, left behind when its root was taken out, are gone"));
    }
    let most = most(watch, holders(&world.cloud));
    for (node, acknowledged) in &watch.acknowledged {
        let left = most.get(node).copied().unwrap_or_default();
        if left >= *acknowledged || watch.lost.contains(node) || watch.unkept.contains(node) {
            continue;
        }
        if watch.at_risk.contains(node) {
            watch.lost.insert(node.clone());
            continue;
        }
        return Some(format!("{node}: {acknowledged} writes were acknowledged, only {left} are left"));
    }
    data::bytes(&mut watch.data, world)
}

/// What is missing now was taken by the operator.
pub(super) fn forgive(watch: &mut Watch, world: &World) {
    let cloud = &world.cloud;
    follow(watch, world);
    watch.kept.retain(|id, _| exists(cloud, id));
    watch.left_behind.retain(|_, left| left.iter().any(|id| exists(cloud, id)));
    watch.newest.clear();
    watch.full.clear();
    let is_pending = |id: &str| cloud.snapshot(id).is_some_and(|s| s.state == SnapshotState::Pending);
    let certain = most(watch, holders(cloud).filter(|(id, _)| !is_pending(id)));
    let hoped_for = most(watch, holders(cloud));
    for (node, acknowledged) in &watch.acknowledged {
        let lacks = |most: &BTreeMap<String, u64>| most.get(node).is_none_or(|left| left < acknowledged);
        if lacks(&hoped_for) && !watch.unkept.contains(node) {
            watch.lost.insert(node.clone());
        } else if lacks(&certain) {
            // Whether its bytes are lost is decided by a snapshot that may yet fail.
            watch.at_risk.insert(node.clone());
        }
    }
}

/// 2. The newest completed snapshot of a life goes only after a newer one has completed.
pub(super) fn recovery_point(watch: &mut Watch, world: &World) -> Option<String> {
    let mut now: BTreeMap<(&str, &str), (Timestamp, &str)> = BTreeMap::new();
    for snapshot in world.cloud.snapshots().filter(|s| is_ours(&s.tags) && is_completed(s)) {
        let life = (tag(&snapshot.tags, TAG_NODE), tag(&snapshot.tags, TAG_LIFE));
        let point = (snapshot.start_time, snapshot.id.as_str());
        let newest = now.entry(life).or_insert(point);
        *newest = point.max(*newest);
    }
    for (node, record) in world.records.iter().filter(|(_, record)| !record.phase.is_final()) {
        let key = (node.clone(), record.life.clone());
        let newest = now.get(&(node.as_str(), record.life.as_str()));
        match (watch.newest.get(&key), newest) {
            (Some((_, id)), None) => return Some(format!("{node}: {id}, its only recovery point, is gone")),
            (Some((was, id)), Some((is, _))) if is < was => {
                return Some(format!("{node}: {id} is gone, and the newest recovery point is of {is}"));
            }
            (_, Some((at, id))) => {
                watch.newest.insert(key, (*at, (*id).to_owned()));
            }
            (None, None) => {}
        }
    }
    None
}

/// 3. At most one live instance per node, and nothing kept on two instances.
pub(super) fn one_instance(_: &mut Watch, world: &World) -> Option<String> {
    let (mut nodes, mut held) = (BTreeSet::new(), BTreeSet::new());
    for instance in world.cloud.live_instances() {
        let node = tag(&instance.tags, TAG_NODE);
        if is_ours(&instance.tags) && !nodes.insert(node) {
            return Some(format!("{} is a second live instance of {node}", instance.id));
        }
        let volumes = instance.block_devices.values().map(|device| &device.volume_id);
        let volumes = volumes.filter(|id| world.cloud.volume(id).is_none_or(|volume| !volume.multi_attach));
        let interfaces = instance.interfaces.iter().map(|interface| &interface.network_interface_id);
        for id in volumes.chain(interfaces) {
            if !held.insert(id) {
                return Some(format!("{id} is on {} and on another instance", instance.id));
            }
        }
    }
    None
}

/// What of a node something is of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// Its root.
    Root,
    /// A data volume, at this device as far as is known.
    Data(Option<String>),
}

/// Everything that may be watched under invariant 4, as it is now: whether it goes with its instance or holds nothing,
/// and the volume that a snapshot was taken of.
fn watched(cloud: &Cloud) -> Vec<(&str, &Tags, bool, Option<&str>)> {
    let mut all: Vec<(&str, &Tags, bool, Option<&str>)> = Vec::new();
    let goes = |v: &Volume| v.attachments.iter().any(|held| held.delete_on_termination);
    all.extend(cloud.volumes().map(|v| (&*v.id, &v.tags, goes(v), None)));
    all.extend(cloud.images().map(|i| (&*i.id, &i.tags, i.state == ImageState::Failed, None)));
    let failed = |s: &Snapshot| s.state == SnapshotState::Error;
    all.extend(cloud.snapshots().map(|s| (&*s.id, &s.tags, failed(s), Some(&*s.volume_id))));
    all
}

fn is_watched(tags: &Tags) -> bool {
    is_ours(tags) && ["root", "data", "image", "final", "adopted"].contains(&tag(tags, TAG_PURPOSE))
}

/// Invariant 4: root volumes, node images and final snapshots go only as they may; a final snapshot is taken of a
/// free volume.
pub(super) fn successors(watch: &mut Watch, world: &World) -> Option<String> {
    let gone = watch.kept.iter().find(|(id, kept)| {
        let is_gone = !exists(&world.cloud, id) && !watch.taken.contains(*id);
        let was_proven = || watch.proven.contains(&(kept.node.clone(), kept.part.clone()));
        kept.purpose != "adopted" && is_gone && !was_proven() && !may_go(watch, world, id, kept)
    });
    if let Some((id, kept)) = gone {
        return Some(format!("{id}, {} of {}, went before its time", kept.purpose, kept.node));
    }
    let nodes = world.records.iter().filter(|(_, record)| record.phase == Phase::Running);
    let parts = watch.kept.values().map(|kept| kept.part.clone()).collect::<BTreeSet<_>>();
    let all = nodes.flat_map(|(node, _)| parts.iter().map(|part| (node.clone(), part.clone())));
    watch.proven = all.filter(|(node, part)| proven(&world.cloud, node, part)).collect();
    watch.kept.retain(|id, kept| kept.purpose == "adopted" || exists(&world.cloud, id));
    for (id, tags, doomed, taken_of) in watched(&world.cloud) {
        if let Some(kept) = watch.kept.get_mut(id) {
            // Also when it carries our tags no longer: what was handed over is the operator's to lose.
            kept.doomed = doomed;
            continue;
        }
        if !is_watched(tags) {
            continue;
        }
        let kept = Kept {
            node: tag(tags, TAG_NODE).to_owned(),
            life: tag(tags, TAG_LIFE).to_owned(),
            purpose: tag(tags, TAG_PURPOSE).to_owned(),
            part: match watch.data.line_of(id) {
                Some((_, device)) => Part::Data(Some(device.clone())),
                None if data::says(tags) => Part::Data(None),
                None => Part::Root,
            },
            doomed,
        };
        let busy = |volume: &str| world.cloud.volume(volume).is_some_and(|v| !v.attachments.is_empty());
        if kept.purpose == "final" && taken_of.is_some_and(busy) {
            return Some(format!("the final snapshot {id} was taken of a volume in use"));
        }
        watch.kept.insert(id.to_owned(), kept);
    }
    None
}

/// Whether something may be gone as its node stands.
fn may_go(watch: &Watch, world: &World, id: &str, kept: &Kept) -> bool {
    // Of a life that has ended nothing is promised but what its purge said.
    let Some(record) = world.records.get(&kept.node).filter(|record| record.life == kept.life) else {
        return true;
    };
    if kept.doomed {
        return true;
    }
    let kind = match kept.purpose.as_str() {
        "root" | "data" => Retained::Volumes,
        "image" => Retained::Images,
        _ => Retained::Snapshots,
    };
    let rests = record.phase.is_resting() || world.rested.contains(&kept.node);
    match record.phase {
        Phase::Purging | Phase::Gone => {
            record.goal != DesiredState::Released && record.config().retention.delete.contains(&kind)
        }
        _ if rests && kept.part != Part::Root => {
            kind != Retained::Volumes && has_newer_data(watch, &world.cloud, id)
        }
        _ if rests => kind != Retained::Volumes && has_newer(&world.cloud, record, id),
        _ => proven(&world.cloud, &kept.node, &kept.part),
    }
}

/// Whether a resting node has another complete snapshot of a data volume besides the one that is gone.
fn has_newer_data(watch: &Watch, cloud: &Cloud, gone: &str) -> bool {
    let line = watch.data.line_of(gone);
    cloud.snapshots().any(|s| s.id != gone && is_completed(s) && watch.data.line_of(&s.id) == line)
}

/// Whether a resting node has an image and a final snapshot besides what is gone.
fn has_newer(cloud: &Cloud, record: &Record, gone: &str) -> bool {
    let is = |tags: &Tags, purpose: &str| of_life(tags, record) && tag(tags, TAG_PURPOSE) == purpose;
    let mut images = cloud.images().filter(|i| i.id != gone && i.state == ImageState::Available);
    let mut finals = cloud.snapshots().filter(|s| s.id != gone && is_completed(s));
    images.any(|i| is(&i.tags, "image")) && finals.any(|s| of_life(&s.tags, record))
}

/// Whether a node's present instance is good, and its root, or its data volumes, restorable from snapshots of their
/// own.
fn proven(cloud: &Cloud, node: &str, part: &Part) -> bool {
    let checked = cloud.settings().status_checks;
    let good =
        |i: &&Instance| i.running_since.is_some_and(|since| cloud.now().duration_since(since) >= checked);
    let of_node = |i: &&Instance| is_ours(&i.tags) && tag(&i.tags, TAG_NODE) == node;
    cloud.live_instances().filter(of_node).filter(good).any(|it| match (part, it.root()) {
        (Part::Data(device), _) => data::proven(cloud, it, device.as_deref()),
        (Part::Root, None) => false,
        (Part::Root, Some(root)) => {
            cloud.snapshots().any(|s| s.volume_id == root.volume_id && is_completed(s))
        }
    })
}

/// 5. What is of others is as it was, and what was adopted still exists.
pub(super) fn foreign(watch: &mut Watch, world: &World) -> Option<String> {
    if let Some(id) = watch.foreign.changed(&world.cloud) {
        return Some(format!("{id} is of others, and was deleted or changed"));
    }
    let is_kept = |kept: &Kept| kept.purpose == "adopted" && !kept.doomed;
    let adopted = watch.kept.iter().find(|(id, kept)| is_kept(kept) && !exists(&world.cloud, id));
    adopted.map(|(id, _)| format!("{id} was adopted, and is gone"))
}

/// 6. Once a line has as many completed snapshots as it is to keep, it never has fewer while its node runs.
pub(super) fn rotation(watch: &mut Watch, world: &World) -> Option<String> {
    for (node, record) in &world.records {
        let keep = record.config().persist.points().map(|points| points.keep as usize);
        let is_resting = record.phase.is_resting() || record.phase.is_final();
        let Some(keep) = keep.filter(|_| !is_resting) else {
            watch.full.retain(|(of, _)| of != node);
            continue;
        };
        let (n, key) = (complete_points(&world.cloud, record), (node.clone(), record.descent));
        if n >= keep {
            watch.full.insert(key);
        } else if watch.full.contains(&key) {
            return Some(format!("{node}: only {n} of {keep} completed snapshots are left"));
        }
    }
    None
}

/// 9. Nothing was changed by an invocation that began when all was suspended.
pub(super) fn suspension(_: &mut Watch, world: &World) -> Option<String> {
    world.trespass.clone()
}

/// 10. Only a running node, or one that is gone, has no appointment; and a block names its remedy.
pub(super) fn appointment(_: &mut Watch, world: &World) -> Option<String> {
    let rests = |phase| matches!(phase, Phase::Running | Phase::Gone);
    for record in world.records.values() {
        if record.work_at.is_none() && !rests(record.phase) {
            return Some(format!("{} is {} and nothing will look at it again", record.name, record.phase));
        }
        let blocked = record.blocked.as_ref();
        if let Some(bare) =
            blocked.filter(|b| b.remedy.is_empty() || b.message.is_empty() || b.code.is_empty())
        {
            return Some(format!("{} is blocked ({}) without a remedy", record.name, bare.code));
        }
    }
    None
}

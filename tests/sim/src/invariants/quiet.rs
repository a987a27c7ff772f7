//! What must be so once all is quiet, and the end of a run in words that do not depend on how it came.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use perennial_cloud::model::{ImageState, InstanceState, Volume};
use perennial_core::config;
use perennial_core::config::DesiredState;
use perennial_core::journal::Kind;
use perennial_core::names::{Purpose, TAG_CYCLE, TAG_LIFE, TAG_NODE, TAG_PURPOSE, Tags};
use perennial_core::phase::Phase;
use perennial_core::record::{Record, Superseded};
use perennial_core::removal::UNCONFIRMED;

use super::steps::{complete_points, is_rotated, of_life, tag};
use super::{GroupEnd, Watch, backups, data, groups, is_ours};
use crate::deeds::is_backup;
use crate::world::World;

/// Whether nothing is left to be done for any node: every edit is judged and in force, and each node is
/// where its item wants it, or waits for the operator.
pub fn settled(world: &World) -> bool {
    let judged = world.config.iter().all(|(id, item)| is_judged(world, id, item));
    let quiet = judged && world.records.values().all(|record| is_at_rest(world, record));
    quiet
        && world
            .groups
            .values()
            .all(|group| groups::is_at_rest(world, group) && backups::is_at_rest(world, group))
}

fn is_judged(world: &World, id: &str, item: &serde_json::Value) -> bool {
    let (status, hash) = (&item[config::STATUS], config::hash(item));
    let name = id.strip_prefix("node#");
    if name.is_some_and(|node| groups::needs_no_verdict(world, node)) {
        return true;
    }
    if status["configHash"] != hash.as_str() {
        return false;
    }
    let group = id.strip_prefix("group#");
    let node = name.and_then(|node| world.records.get(node));
    let is_whole = |r: &Record| r.config.hash == hash && groups::share_in_force(world, r);
    status["accepted"] == false
        || (node.is_none_or(|r| is_whole(r) || r.phase == Phase::Gone)
            && group.is_none_or(|name| groups::is_in_force(world, name, &hash)))
}

fn is_at_rest(world: &World, record: &Record) -> bool {
    let code = record.blocked.as_ref().map(|blocked| blocked.code.as_str());
    let has_item = world.config.contains_key(&record.name.key());
    let unconfirmed = code == Some(UNCONFIRMED);
    let code = code.filter(|code| *code != UNCONFIRMED);
    let given_up = matches!(record.goal, DesiredState::Deallocated | DesiredState::Released);
    if !record.outbox.is_empty() || !(has_item || given_up || unconfirmed) {
        return false;
    }
    let waits = match code {
        Some("data-missing") => {
            matches!(record.phase, Phase::Launching | Phase::Paused | Phase::Attaching)
        }
        Some("address-taken") => record.phase == Phase::Launching || record.phase == Phase::Paused,
        Some("purge-held") => groups::waits_for_its_group(world, record),
        _ => false,
    };
    if record.config().suspend || (record.intent.is_none() && waits) {
        return true;
    }
    if !groups::addresses_settled(world, record) {
        return false;
    }
    let is_volume = |s: &Superseded| matches!(s, Superseded::Volume(_) | Superseded::DataVolume(_));
    let older = record.superseded.iter().any(|s| !is_volume(s));
    let rotated = || world.cloud.snapshots().any(|s| is_rotated(s, record));
    // Without root persistence, or without a newest point, everything is left as it is.
    let untouched = record.image.is_none() || record.config().persist.root.is_none();
    let tidy = |goal| record.goal == goal && code.is_none() && (untouched || (!older && !rotated()));
    match record.phase {
        Phase::Running => {
            let keep = record.config().persist.points().map_or(usize::MAX, |points| points.keep as usize);
            let too_many = complete_points(&world.cloud, record) > keep.saturating_add(1);
            let has_time = record.work_at.is_none() || groups::runs_without_elastic_ip(world, record);
            has_time && !record.is_unwanted() && !too_many
        }
        // It waits to be started again.
        Phase::Attaching => record.instance.as_ref().is_some_and(|it| it.stop_noted) && !record.is_unwanted(),
        Phase::Paused => tidy(DesiredState::Paused) && (untouched || has_image(world, record)),
        Phase::Deallocated => tidy(DesiredState::Deallocated),
        Phase::Gone => true,
        Phase::New
        | Phase::Launching
        | Phase::Interrupting
        | Phase::Stopping
        | Phase::Releasing
        | Phase::Capturing
        | Phase::Imaging
        | Phase::Purging => false,
    }
}

/// Whether the image, and the snapshots of data volumes, that a node is to come back from exist: one that was taken from it is missed in time.
fn has_image(world: &World, record: &Record) -> bool {
    let id = record.image.as_ref().map(|image| image.id.as_ref().map_or("", |id| id.as_str()));
    let has_point = |it: &perennial_core::record::DataVolume| {
        it.point().is_some_and(|id| world.cloud.snapshot(id.as_str()).is_some())
    };
    id.is_none_or(|id| world.cloud.image(id).is_some()) && record.data.iter().all(has_point)
}

/// 1. The root of a running node, or the final snapshot of a resting one, holds every acknowledged write.
pub(super) fn bytes(watch: &Watch, world: &World) -> Option<String> {
    for (node, record) in &world.records {
        if watch.unkept.contains(node) || watch.lost.contains(node) || record.phase.is_final() {
            continue;
        }
        let written = watch.acknowledged(node);
        let root = record.root.as_ref().map(|root| root.volume_id.as_str());
        let last = record.finals.first().and_then(|last| last.snapshot_id.as_ref());
        let held = match record.phase {
            Phase::Running => root.and_then(|id| world.cloud.volume(id)).map(|v| v.contents.writes),
            Phase::Paused | Phase::Deallocated if record.image.is_some() => {
                let last = last.and_then(|id| world.cloud.snapshot(id.as_str())).map(|s| s.contents.writes);
                // What the operator took of a deallocated node is missed only when it is wanted back.
                let volume = record.finals.first().map(|last| last.volume_id.as_str());
                last.or(volume.and_then(|id| world.cloud.volume(id)).map(|v| v.contents.writes))
            }
            _ => continue,
        };
        if held != Some(written) {
            return Some(format!("{node} is {} and holds {held:?} of {written} writes", record.phase));
        }
    }
    data::bytes_at_rest(&watch.data, world)
}

/// 6. No line has more than it is to keep, and a resting node has nothing but its final recovery point.
pub(super) fn rotation(_: &Watch, world: &World) -> Option<String> {
    for (node, record) in &world.records {
        let Some(points) = record.config().persist.points().filter(|_| !record.config().suspend) else {
            continue;
        };
        let (n, keep) = (complete_points(&world.cloud, record), points.keep as usize);
        match record.phase {
            // The newest one may have completed since the last pass.
            Phase::Running if n > keep + 1 => return Some(format!("{node}: {n} snapshots, not {keep}")),
            // Past its retention and held, it is left as it is.
            Phase::Deallocated if groups::waits_for_its_group(world, record) => {}
            // What waits for the operator keeps every point there is.
            Phase::Paused if record.blocked.as_ref().is_some_and(|it| it.code == "data-missing") => {}
            Phase::Paused | Phase::Deallocated if record.image.is_some() => {
                let is =
                    |tags: &Tags, purpose: &str| of_life(tags, record) && tag(tags, TAG_PURPOSE) == purpose;
                let finals = world.cloud.snapshots().filter(|s| is(&s.tags, "final"));
                let finals = finals.filter(|s| !aside(record, &s.id)).count();
                let images = world.cloud.images().filter(|i| is(&i.tags, "image"));
                let images = images.filter(|i| !aside(record, &i.id)).count();
                let chosen = usize::from(record.restored.is_some());
                // What was taken from a deallocated node is missed only when it is wanted back.
                let has_image = images == 1 || (images == 0 && record.phase == Phase::Deallocated);
                let wanted = 1 + record.data.len();
                let has_final =
                    finals + chosen == wanted || (finals < wanted && record.phase == Phase::Deallocated);
                if n != 0 || !has_image || !(finals == wanted || has_final) {
                    let what = format!("{n} rotated and {finals} final snapshots, {images} images");
                    return Some(format!("{node} is {} with {what}", record.phase));
                }
            }
            _ => {}
        }
    }
    None
}

/// Whether something of a life is kept aside: no later instance can prove it needless.
fn aside(record: &Record, id: &str) -> bool {
    record.aside.iter().any(|resource| resource.id() == id)
}

/// What a record knows of.
fn known(record: &Record) -> BTreeSet<String> {
    let mut known = record.resources();
    known.extend(record.superseded.iter().map(|superseded| match superseded {
        Superseded::Volume(id) | Superseded::DataVolume(id) => id.to_string(),
        Superseded::Image(id) => id.to_string(),
        Superseded::Snapshot(id) | Superseded::DataSnapshot(id) => id.to_string(),
    }));
    known.extend(record.finals.iter().filter_map(|last| last.failed.as_ref()).map(ToString::to_string));
    let data = record.data.iter().filter_map(|it| it.last.as_ref()?.failed.as_ref());
    known.extend(data.map(ToString::to_string));
    known.extend(record.sighted.iter().map(|it| it.volume_id.to_string()));
    known.extend(record.left_alone.iter().map(|it| it.volume_id.to_string()));
    known.extend(record.data.iter().filter_map(|it| it.restore.as_ref()).map(ToString::to_string));
    known.extend(record.lost.iter().map(|lost| lost.volume_id.to_string()));
    known
}

/// 7. Everything that carries our tags is explained by the record of its life, and every pointer by a record.
pub(super) fn reachable(_: &Watch, world: &World) -> Option<String> {
    let cloud = &world.cloud;
    let mut ours: Vec<(&str, &Tags)> = Vec::new();
    // What goes with a live instance is that instance's matter.
    let goes = |it: &Volume| it.attachments.iter().any(|held| held.delete_on_termination);
    ours.extend(cloud.volumes().filter(|it| !goes(it)).map(|it| (&*it.id, &it.tags)));
    ours.extend(cloud.snapshots().map(|it| (&*it.id, &it.tags)));
    ours.extend(cloud.images().map(|it| (&*it.id, &it.tags)));
    ours.extend(cloud.network_interfaces().map(|it| (&*it.id, &it.tags)));
    ours.extend(cloud.live_instances().map(|it| (&*it.id, &it.tags)));
    // Backups are of a group: what may be left of them is said elsewhere.
    let of_nodes = ours.into_iter().filter(|(_, tags)| is_ours(tags) && !is_backup(tags));
    for (id, tags) in of_nodes {
        let (node, purpose) = (tag(tags, TAG_NODE), tag(tags, TAG_PURPOSE));
        let Some(record) = world.records.get(node) else {
            return Some(format!("{id}, {purpose} of {node}, which has no record"));
        };
        if tag(tags, TAG_LIFE) != record.life || record.phase == Phase::Gone {
            return Some(format!("{id}, {purpose} of {node}, is left of a life that has ended"));
        }
        let rotated = Purpose::ROTATED.iter().any(|rotated| rotated.as_str() == purpose);
        // While a node is suspended the orphan pass only tells of what it finds.
        if !rotated
            && !record.config().suspend
            && purpose != "adopted"
            && !known(record).contains(id)
            && !aside(record, id)
        {
            let cycle = tag(tags, TAG_CYCLE);
            return Some(format!("{id}, {purpose} of {node} in cycle {cycle}, is in no record"));
        }
    }
    let pointers = world.state.keys().filter_map(|(pk, _)| pk.strip_prefix("resource#"));
    let pointers: BTreeSet<String> = pointers.map(str::to_owned).collect();
    let recorded: BTreeSet<String> = world.records.values().flat_map(Record::resources).collect();
    let apart: Vec<_> = pointers.symmetric_difference(&recorded).collect();
    (!apart.is_empty()).then(|| format!("pointers and records do not agree on {apart:?}"))
}

/// 10. All was told: a node's present state is on the bus, and nothing waits to be published.
pub(super) fn no_dead_end(_: &Watch, world: &World) -> Option<String> {
    for (node, record) in &world.records {
        let kind = match (record.phase, record.goal) {
            (Phase::Running, _) => Kind::NodeRunning,
            (Phase::Paused, _) => Kind::NodePaused,
            (Phase::Deallocated, _) => Kind::NodeDeallocated,
            (Phase::Gone, DesiredState::Released) => Kind::NodeReleased,
            (Phase::Gone, _) => Kind::NodePurged,
            _ => continue,
        };
        let about = |event: &&perennial_core::journal::OwnEvent| {
            event.kind == kind && event.detail.life == record.life && event.detail.cycle == record.cycle
        };
        if !world.published.iter().any(|event| about(&event)) {
            return Some(format!("{node} is {}, and no {} was published", record.phase, kind.detail_type()));
        }
    }
    None
}

/// The end of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// The end of each node.
    pub nodes: Vec<NodeEnd>,
    /// The end of each group.
    pub groups: Vec<GroupEnd>,
}

/// The end of a node, in words that are the same however it came to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeEnd {
    /// Its name.
    pub node: String,
    /// Where it stands.
    pub phase: Phase,
    /// What is wanted of it.
    pub goal: DesiredState,
    /// What it is blocked on.
    pub blocked: Option<String>,
    /// Whether its instance runs.
    pub runs: bool,
    /// Whether it has the address that it had first.
    pub address: bool,
    /// Whether it has volumes (those of former cycles stay until a running instance proves them needless), and how
    /// many images, final snapshots, interfaces and adopted volumes are under the tags of its life.
    pub has: [usize; 5],
    /// Whether it has rotated snapshots.
    pub rotated: bool,
    /// How many Elastic IP addresses are on its interface.
    pub elastic_ips: usize,
    /// The kinds of what was handed over at its end.
    pub handed_over: Vec<String>,
}

/// The end of a run, with the address that each life had first.
pub fn end(world: &World, first: &BTreeMap<String, Ipv4Addr>) -> End {
    let of = |record: &Record| {
        let cloud = &world.cloud;
        let is = |tags: &Tags, purpose: &str| of_life(tags, record) && tag(tags, TAG_PURPOSE) == purpose;
        let instance = record.instance.as_ref().and_then(|i| cloud.instance(i.id.as_str()));
        let mut handed_over: Vec<String> = record
            .handed_over
            .iter()
            .filter_map(|id| id.split('-').next())
            .map(|kind| kind.rsplit([' ', '(', '"']).next().unwrap_or(kind).to_owned())
            .collect();
        handed_over.sort();
        handed_over.dedup();
        if record.goal == DesiredState::Released {
            // It depends on the moment what a node has to leave behind.
            handed_over.clear();
        }
        NodeEnd {
            node: record.name.to_string(),
            phase: record.phase,
            goal: record.goal,
            blocked: record.blocked.as_ref().map(|blocked| blocked.code.clone()),
            runs: instance.is_some_and(|instance| instance.state == InstanceState::Running),
            address: record.network.as_ref().is_some_and(|n| first.get(&record.life) == Some(&n.private_ip)),
            has: [
                cloud.volumes().filter(|v| is(&v.tags, "root") || is(&v.tags, "data")).count().min(1),
                cloud.images().filter(|i| is(&i.tags, "image") && i.state == ImageState::Available).count(),
                cloud.snapshots().filter(|s| is(&s.tags, "final")).count(),
                cloud.network_interfaces().filter(|i| is(&i.tags, "interface")).count(),
                cloud.volumes().filter(|v| is(&v.tags, "adopted")).count(),
            ],
            rotated: cloud.snapshots().any(|s| is_rotated(s, record)),
            elastic_ips: record
                .network
                .as_ref()
                .map_or(0, |n| cloud.elastic_ips_on(n.eni_id.as_str()).count()),
            handed_over,
        }
    };
    End { nodes: world.records.values().map(of).collect(), groups: groups::ends(world) }
}

//! What must be so of the image backups of groups.
//!
//! Whether an image can be launched, what it was taken of and how many there are is told from the account; what a
//! group launches its members from, and which backup a member is known to have come up from, only its record knows.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use perennial_cloud::model::{Image, ImageState, Instance, InstanceState};
use perennial_core::group::GroupRecord;
use perennial_core::limits;
use perennial_core::names::{TAG_GROUP, TAG_NODE, Tags};
use perennial_core::phase::Phase;

use super::steps::tag;
use super::{Watch, is_ours};
use crate::deeds::is_backup;
use crate::world::World;

/// What is remembered of image backups from one look to the next.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    /// Every backup there was at the last look.
    seen: BTreeSet<String>,
    /// Every backup there ever was.
    ever: BTreeSet<String>,
    /// Those that are gone by other hands than ours.
    taken: BTreeSet<String>,
    /// Instances that passed both status checks at the last look.
    well: BTreeSet<String>,
    /// The backups of each group that a member is known to have come up from, at the last look.
    proven: BTreeMap<String, Vec<String>>,
    /// Groups that had as many backups as they are to keep, with that number.
    full: BTreeMap<String, usize>,
}

fn of_group<'w>(world: &'w World, name: &'w str) -> impl Iterator<Item = &'w Image> {
    world.cloud.images().filter(move |it| is_backup(&it.tags) && tag(&it.tags, TAG_GROUP) == name)
}

fn is_available(world: &World, id: &str) -> bool {
    world.cloud.image(id).is_some_and(|it| it.state == ImageState::Available)
}

fn count(world: &World, name: &str) -> usize {
    of_group(world, name).filter(|it| it.state == ImageState::Available).count()
}

/// Whether an instance has passed both status checks, as the account knows it.
fn is_well(world: &World, it: &Instance) -> bool {
    let up = it
        .running_since
        .is_some_and(|since| world.cloud.now().duration_since(since) >= world.cloud.settings().status_checks);
    it.state == InstanceState::Running && it.impaired_since.is_none() && up
}

/// Takes note of what is there, once all checks have been made.
pub(super) fn follow(memory: &mut Memory, world: &World) {
    memory.seen = world.cloud.images().filter(|it| is_backup(&it.tags)).map(|it| it.id.clone()).collect();
    memory.ever.extend(memory.seen.iter().cloned());
    let well = world.cloud.live_instances().filter(|it| is_ours(&it.tags) && is_well(world, it));
    memory.well = well.map(|it| it.id.clone()).collect();
    memory.proven.clear();
    for group in world.groups.values().filter(|group| !group.removed) {
        let listed = group.backups.iter().flat_map(|it| &it.list);
        let proven = listed.filter(|it| it.proven_at.is_some()).map(|it| it.image.to_string());
        let proven = proven.filter(|id| is_available(world, id)).collect();
        memory.proven.insert(group.name.to_string(), proven);
    }
}

/// What is missing now was taken by the operator.
pub(super) fn forgive(memory: &mut Memory, world: &World) {
    let gone = memory.seen.iter().filter(|id| world.cloud.image(id).is_none()).cloned();
    memory.taken.extend(gone);
    memory.full.clear();
    follow(memory, world);
}

/// 17. What members are launched from, and what a launch under way names, can be launched.
pub(super) fn in_effect(watch: &mut Watch, world: &World) -> Option<String> {
    let is_lost = |id: &str| !is_available(world, id) && !watch.backups.taken.contains(id);
    for group in world.groups.values().filter(|group| !group.removed) {
        let effective = group.backups.as_ref().and_then(|it| it.effective.as_ref());
        if let Some(id) = effective.filter(|id| is_lost(id.as_str())) {
            return Some(format!("members of {} are launched from {id}, which is not available", group.name));
        }
    }
    let comes_up = |phase| matches!(phase, Phase::Launching | Phase::Attaching);
    for record in world.records.values().filter(|record| comes_up(record.phase)) {
        let asked_for = record.intent.as_ref().map(|intent| intent.request.image_id.as_str());
        let made = record.instance.as_ref().map(|it| it.image_id.as_str());
        let is_of_removed = record
            .config()
            .group
            .as_ref()
            .is_some_and(|group| world.groups.get(group.as_str()).is_none_or(|group| group.removed));
        // An operator's image is the operator's.
        let is_backup = |id: &str| watch.backups.ever.contains(id);
        let mut named = asked_for.into_iter().chain(made);
        if let Some(id) = named.find(|id| is_backup(id) && is_lost(id) && !is_of_removed) {
            return Some(format!("{} is being launched from {id}, which is gone", record.name));
        }
    }
    None
}

/// 17. Once all is quiet, a group that has backups of its line launches its members from the newest.
pub(super) fn in_effect_at_rest(_: &Watch, world: &World) -> Option<String> {
    for group in world.groups.values().filter(|group| !group.removed && !group.config.is_suspended()) {
        let Some(backups) = group.backups.as_ref().filter(|it| it.since.is_some()) else { continue };
        let of_line = backups.list.iter().filter(|it| it.line == backups.line && it.removing.is_none());
        let there = of_line.filter(|it| is_available(world, it.image.as_str()));
        // What was made before backups were turned off and on again is not taken up by itself.
        let newest = there.filter(|it| Some(it.taken_at) >= backups.since).max_by_key(|it| it.taken_at);
        if let Some(newest) = newest.filter(|it| Some(&it.image) != backups.effective.as_ref()) {
            let effective = &backups.effective;
            return Some(format!("{} has {}, and launches from {effective:?}", group.name, newest.image));
        }
    }
    None
}

/// 18. At most one backup of a group is under way. What appears was taken of a member that had passed both status
///     checks when it was decided, under a name of its own.
pub(super) fn one_at_once(watch: &mut Watch, world: &World) -> Option<String> {
    for name in world.groups.keys() {
        let pending: Vec<_> =
            of_group(world, name).filter(|it| it.state == ImageState::Pending).map(|it| &it.id).collect();
        if pending.len() > 1 {
            return Some(format!("of {name} {pending:?} are under way at once"));
        }
    }
    let fresh = world.cloud.images().filter(|it| is_backup(&it.tags) && !watch.backups.seen.contains(&it.id));
    for image in fresh {
        let Some(id) = &image.source_instance_id else {
            return Some(format!("{} was taken of nothing", image.id));
        };
        let group = world.groups.get(tag(&image.tags, TAG_GROUP)).and_then(|group| group.backups.as_ref());
        let attempt = group.and_then(|it| it.attempt.as_ref()).filter(|it| it.name == image.spec.name);
        // What was decided before the guest fell ill may be made after it.
        let since = attempt.map_or(image.creation_date, |it| it.since);
        let source = world.cloud.instance(id);
        let was_well = source.is_some_and(|it| {
            let checks = world.cloud.settings().status_checks;
            it.running_since.is_some_and(|at| image.creation_date.duration_since(at) >= checks)
                && it.impaired_since.is_none_or(|at| at >= since)
        });
        if !was_well && !watch.backups.well.contains(id) {
            return Some(format!("{} was taken of {id}, which had not passed its checks", image.id));
        }
        if !source.is_some_and(|it| is_member(world, &it.tags, tag(&image.tags, TAG_GROUP))) {
            return Some(format!("{} was taken of {id}, which is no member of its group", image.id));
        }
    }
    None
}

fn is_member(world: &World, tags: &Tags, group: &str) -> bool {
    let node = tag(tags, TAG_NODE);
    let mut members = world.groups.get(group).into_iter().flat_map(|group| &group.members);
    is_ours(tags) && members.any(|member| member.name.as_str() == node)
}

/// 19. Once a group has as many backups as it is to keep, it never has fewer; and of those that a member came up
///     from one stays.
pub(super) fn kept(watch: &mut Watch, world: &World) -> Option<String> {
    let memory = &mut watch.backups;
    for (name, group) in &world.groups {
        let policy = group.config.part.image_backup.as_ref().filter(|_| !group.removed);
        let Some(keep) = policy.map(|it| it.keep as usize) else {
            memory.full.remove(name);
            continue;
        };
        let n = count(world, name);
        match memory.full.get(name) {
            Some(full) if *full == keep && n < keep => {
                return Some(format!("{name} has only {n} backups of {keep}"));
            }
            _ if n >= keep => {
                memory.full.insert(name.clone(), keep);
            }
            _ => {
                memory.full.remove(name);
            }
        }
        let proven = memory.proven.get(name).filter(|it| !it.is_empty());
        let left = |ids: &Vec<String>| ids.iter().any(|id| world.cloud.image(id).is_some());
        let listed = group.backups.iter().flat_map(|it| &it.list).filter(|it| it.proven_at.is_some());
        let mut now = listed.map(|it| it.image.to_string());
        if let Some(ids) = proven.filter(|ids| !left(ids))
            && !now.any(|id| is_available(world, &id))
            && !ids.iter().any(|id| memory.taken.contains(id))
        {
            return Some(format!("{ids:?} of {name} are gone, and no member came up from another one"));
        }
    }
    None
}

/// 19. Once all is quiet, a group has no more backups than it is to keep, the last proven one and the one in effect.
pub(super) fn kept_at_rest(_: &Watch, world: &World) -> Option<String> {
    for group in world.groups.values().filter(|group| !group.removed && !group.config.is_suspended()) {
        let Some(policy) = &group.config.part.image_backup else { continue };
        let name = group.name.as_str();
        let backups = group.backups.iter().flat_map(|it| &it.list);
        let last = backups.filter(|it| it.removing.is_none()).max_by_key(|it| (it.proven_at, it.taken_at));
        let last = last.filter(|it| it.proven_at.is_some()).map(|it| it.image.to_string());
        let effective = group.backups.as_ref().and_then(|it| it.effective.as_ref()).map(ToString::to_string);
        let mut there: Vec<&Image> =
            of_group(world, name).filter(|it| it.state == ImageState::Available).collect();
        there.sort_by_key(|it| std::cmp::Reverse(it.creation_date));
        let beyond = there.iter().skip(policy.keep as usize);
        let settling = settling(world, group);
        let beyond = beyond.filter(|it| !settling.contains(&it.id));
        let mut beyond = beyond.filter(|it| ![&last, &effective].contains(&&Some(it.id.clone())));
        if let Some(surplus) = beyond.next() {
            let (n, keep) = (there.len(), policy.keep);
            return Some(format!("{name} has {n} backups, not {keep}: {} is needless", surplus.id));
        }
    }
    None
}

/// 20. Every snapshot of a backup has an image that stands on it, and every backup a group that knows of backups.
pub(super) fn nothing_left(watch: &Watch, world: &World) -> Option<String> {
    let knows = |tags: &Tags| {
        let group = world.groups.get(tag(tags, TAG_GROUP));
        group.is_some_and(|group| group.backups.is_some())
    };
    let is_held =
        |tags: &Tags| world.groups.get(tag(tags, TAG_GROUP)).is_some_and(|group| group.config.is_suspended());
    if let Some(left) = world.cloud.images().find(|it| is_backup(&it.tags) && !knows(&it.tags)) {
        return Some(format!("{} is left of {}", left.id, tag(&left.tags, TAG_GROUP)));
    }
    let stands = |id: &str| world.cloud.images().any(|image| image.snapshot_ids().any(|it| it == id));
    let mut snapshots = world.cloud.snapshots().filter(|it| is_backup(&it.tags) && !is_held(&it.tags));
    let stays = |id: &str| stands(id) || watch.taken.contains(id);
    let left = snapshots.find(|it| !stays(&it.id) || !knows(&it.tags))?;
    Some(format!("{}, a snapshot of a backup of {}, is left", left.id, tag(&left.tags, TAG_GROUP)))
}

/// Whether nothing is left to be done for the backups of a group at the moment.
pub(super) fn is_at_rest(world: &World, group: &GroupRecord) -> bool {
    let Some(backups) = &group.backups else { return true };
    if group.config.is_suspended() {
        return true;
    }
    let now = world.cloud.now();
    let idle = backups.outbox.is_empty() && backups.list.iter().all(|it| it.removing.is_none());
    if group.removed {
        return idle;
    }
    let waits = backups.sourceless_since.is_some() || backups.due(group, now).is_none();
    let is_new = |since: Timestamp| now.duration_since(since) < limits::BACKUP_MISSING_IS_GONE;
    let missing = backups.list.iter().any(|it| it.missing_since.is_some_and(is_new));
    idle && backups.attempt.is_none() && !missing && waits
}

/// The backups of a group that stay a while because another one took their place a moment ago.
fn settling(world: &World, group: &GroupRecord) -> Vec<String> {
    let settles = perennial_core::limits::BACKUP_SETTLES + jiff::SignedDuration::from_secs(120);
    let is_recent = |at: jiff::Timestamp| world.cloud.now().duration_since(at) < settles;
    let listed = group.backups.iter().flat_map(|it| &it.list);
    listed.filter(|it| it.superseded_at.is_some_and(is_recent)).map(|it| it.image.to_string()).collect()
}

/// The end of a group's backups, in words that are the same however it came to it.
pub(super) fn end(world: &World, group: &GroupRecord) -> (bool, bool, bool) {
    let backups = group.backups.as_ref();
    let effective = backups.is_some_and(|it| it.effective.is_some());
    (backups.is_some(), effective, of_group(world, group.name.as_str()).next().is_some())
}

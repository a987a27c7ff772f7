//! What is done about a group's backups next, given what is known of them.
//!
//! Pure, and the same from the same; one step at a time, each written down before it is taken. Nothing is decided
//! while suspended.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use crate::config::backup::BackupPolicy;
use crate::failure::{Class, Failure};
use crate::group::GroupRecord;
use crate::guard::{Verdict, backup_image, backup_snapshot};
use crate::ids::{ImageId, InstanceId, NodeName, Resource, SnapshotId};
use crate::limits;
use crate::names::GroupNames;
use crate::observation::{ImageFacts, ImageState, InstanceFacts, InstanceState, SnapshotFacts};
use crate::record::Record;
use crate::step::BackupRequest;

use super::{Backup, Backups};

/// When and where it is decided.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The deployment.
    pub deployment: &'a str,
    /// The time.
    pub now: Timestamp,
}

/// What to read before deciding, beside the group's images by their tags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Images by id.
    pub images: Vec<ImageId>,
    /// The image of this name.
    pub name: Option<String>,
    /// Snapshots by id.
    pub snapshots: Vec<SnapshotId>,
    /// The records of all members, and their instances.
    pub members: bool,
    /// Whether instances launched from these images have passed their status checks.
    pub proof_of: Vec<ImageId>,
    /// Whether the group's item is still gone; and every image and snapshot that carries its tags.
    pub leftovers: bool,
}

/// What is known.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Images of the group, by tag, name or id.
    pub images: &'a BTreeMap<ImageId, ImageFacts>,
    /// Snapshots, by id or by tag.
    pub snapshots: &'a BTreeMap<SnapshotId, SnapshotFacts>,
    /// Which snapshots were asked for by id.
    pub asked: &'a BTreeSet<SnapshotId>,
    /// The records of all members, if they were read.
    pub members: Option<&'a BTreeMap<NodeName, Record>>,
    /// The instances of members.
    pub instances: &'a BTreeMap<InstanceId, InstanceFacts>,
    /// Which of them have passed both status checks.
    pub passed: &'a BTreeSet<InstanceId>,
    /// Whether the group's item was read and is gone.
    pub is_gone: bool,
    /// Whether all that carries the group's tags was read.
    pub leftovers: bool,
}

static NO_IMAGES: BTreeMap<ImageId, ImageFacts> = BTreeMap::new();
static NO_SNAPSHOTS: BTreeMap<SnapshotId, SnapshotFacts> = BTreeMap::new();
static NO_INSTANCES: BTreeMap<InstanceId, InstanceFacts> = BTreeMap::new();
static NOBODY: BTreeSet<InstanceId> = BTreeSet::new();
static NOTHING: BTreeSet<SnapshotId> = BTreeSet::new();

impl Seen<'_> {
    /// What is known before anything was read.
    fn nothing() -> Self {
        Self {
            images: &NO_IMAGES,
            snapshots: &NO_SNAPSHOTS,
            asked: &NOTHING,
            members: None,
            instances: &NO_INSTANCES,
            passed: &NOBODY,
            is_gone: false,
            leftovers: false,
        }
    }

    /// Whether all of these were asked for.
    pub(super) fn has_snapshots(&self, ids: &[SnapshotId]) -> bool {
        ids.iter().all(|id| self.asked.contains(id))
    }
}

/// Something to be done to AWS for a group.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Make an image of an instance.
    Create(Box<BackupRequest>),
    /// Deregister an image.
    Deregister {
        /// The image.
        image: ImageId,
        /// Whether the snapshots it stands on go with it.
        with_snapshots: bool,
    },
    /// Delete a snapshot that an image stood on.
    DeleteSnapshot(SnapshotId),
    /// Take our tags off something.
    HandOver(Resource),
}

/// A decision.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The record as it is to be.
    pub record: GroupRecord,
    /// What was decided, a sentence each.
    pub notes: Vec<String>,
    /// What is to be done, once the record is written.
    pub step: Option<Step>,
}

/// A group's backups being decided on.
pub(super) struct Draft<'a, 's> {
    pub(super) record: &'a GroupRecord,
    pub(super) backups: Backups,
    pub(super) seen: Seen<'s>,
    pub(super) scope: Scope<'a>,
    notes: Vec<String>,
}

/// What to read for a group as its record stands.
pub fn look(record: &GroupRecord, scope: Scope<'_>) -> Look {
    let mut look = Look::default();
    let Some(backups) = &record.backups else { return look };
    let draft = Draft::new(record, backups.clone(), Seen::nothing(), scope);
    look.images.extend(backups.list.iter().map(|it| it.image.clone()));
    let removing = backups.list.iter().filter(|it| it.removing.is_some());
    look.snapshots.extend(removing.flat_map(|it| it.snapshots.iter().cloned()));
    if record.removed {
        look.leftovers = draft.is_over();
        return look;
    }
    if let Some(attempt) = &backups.attempt {
        look.images.extend(attempt.image.clone());
        look.name = attempt.image.is_none().then(|| attempt.name.clone());
    }
    let is_due = backups.attempt.is_none() && backups.due(record, scope.now).is_some();
    look.members = is_due || !draft.surplus().is_empty();
    if backups.since.is_some() {
        let unproven = backups.standing().filter(|it| it.proven_at.is_none());
        look.proof_of.extend(unproven.map(|it| it.image.clone()));
    }
    look
}

/// Decides what is next.
pub fn plan(record: &GroupRecord, seen: Seen<'_>, scope: Scope<'_>) -> Plan {
    let Some(backups) = record.backups.clone() else {
        return Plan { record: record.clone(), notes: Vec::new(), step: None };
    };
    let mut draft = Draft::new(record, backups, seen, scope);
    draft.take_in();
    draft.miss();
    if record.removed {
        return draft.part();
    }
    draft.prove();
    let step = draft.follow();
    if step.is_some() {
        return draft.into_plan(step);
    }
    draft.rotate();
    let step = draft.remove().or_else(|| draft.begin());
    draft.into_plan(step)
}

/// Takes note of what became of a step.
pub fn absorb(
    record: &GroupRecord,
    step: &Step,
    outcome: Result<Option<ImageId>, Failure>,
    scope: Scope<'_>,
) -> Plan {
    let Some(backups) = record.backups.clone() else {
        return Plan { record: record.clone(), notes: Vec::new(), step: None };
    };
    let mut draft = Draft::new(record, backups, Seen::nothing(), scope);
    match (step, outcome) {
        (Step::Create(request), outcome) => {
            // Another invocation may have given it up meanwhile: then the image is found by its tags.
            if draft.backups.attempt.as_ref().is_some_and(|attempt| attempt.name == request.name)
                && let Some(answer) = outcome.transpose()
            {
                draft.asked(answer);
            }
        }
        (step, Ok(_)) => draft.done(step),
        (step, Err(failure)) if failure.class == Class::NotFound => draft.done(step),
        (step, Err(failure)) => draft.held(step, &failure),
    }
    draft.into_plan(None)
}

impl<'a, 's> Draft<'a, 's> {
    fn new(record: &'a GroupRecord, backups: Backups, seen: Seen<'s>, scope: Scope<'a>) -> Self {
        Self { record, backups, seen, scope, notes: Vec::new() }
    }

    pub(super) fn note(&mut self, what: String) {
        self.notes.push(what);
    }

    pub(super) fn names(&self) -> GroupNames<'a> {
        GroupNames { deployment: self.scope.deployment, group: &self.record.name }
    }

    pub(super) fn policy(&self) -> Option<&'a BackupPolicy> {
        self.record.config.part.image_backup.as_ref()
    }

    fn into_plan(self, step: Option<Step>) -> Plan {
        let record = GroupRecord { backups: Some(self.backups), ..self.record.clone() };
        Plan { record, notes: self.notes, step }
    }

    /// Takes in what carries the group's tags and nobody knows: a lost answer made it, or a lost record knew it. It
    /// is never launched from, and goes in its turn.
    fn take_in(&mut self) {
        let names = self.names();
        let ours = self.seen.images.values().filter(|it| backup_image(&names, it) == Verdict::Go);
        let is_known = |it: &&ImageFacts| {
            let attempt = self.backups.attempt.as_ref();
            self.backups.list.iter().any(|known| known.image == it.id)
                || attempt.is_some_and(|attempt| attempt.name == it.name)
        };
        let found: Vec<Backup> = ours
            .filter(|it| matches!(it.state, ImageState::Available | ImageState::Failed))
            .filter(|it| !is_known(it))
            .map(|it| Backup {
                removing: (it.state == ImageState::Failed)
                    .then(|| super::Removing::new("it failed".to_owned(), self.scope.now)),
                ..Backup::new(it.id.clone(), 0, it.created_at.unwrap_or(self.scope.now), it.snapshots.clone())
            })
            .collect();
        for it in found {
            self.note(format!("{} was found by its tags: it is kept, and launched from by nobody", it.image));
            self.backups.list.push(it);
        }
    }

    /// Notes which backups reads do not show, and gives up those that are gone.
    fn miss(&mut self) {
        let now = self.scope.now;
        let images = self.seen.images;
        for it in self.backups.list.iter_mut().filter(|it| it.removing.is_none()) {
            let facts = images.get(&it.image).filter(|facts| facts.state == ImageState::Available);
            match facts {
                Some(facts) => {
                    it.missing_since = None;
                    if it.snapshots.is_empty() {
                        it.snapshots.clone_from(&facts.snapshots);
                    }
                }
                None => {
                    it.missing_since.get_or_insert(now);
                }
            }
        }
        let is_missed = |it: &Backup, for_long: SignedDuration| {
            let since = it.missing_since.filter(|_| it.removing.is_none());
            since.is_some_and(|since| now.duration_since(since) >= for_long)
        };
        let effective = self.backups.effective.clone();
        let is_effective = |it: &&Backup| Some(&it.image) == effective.as_ref();
        let mut missed = self.backups.list.iter().filter(is_effective);
        if let Some(gone) = missed.find(|it| is_missed(it, limits::BACKUP_MISSING_IS_GONE)) {
            let gone = gone.image.clone();
            self.note(format!("{gone} is gone, by other hands than ours"));
            self.fall_back(&gone);
        }
        // Nothing is deleted for it: whether its snapshots are left, and may go, the pass over orphans finds out.
        let given_up = self.backups.list.extract_if(.., |it| is_missed(it, limits::MISSING_IS_GONE));
        for it in given_up.collect::<Vec<_>>() {
            self.note(format!("{} is no backup any more: EC2 has not shown it for an hour", it.image));
            if it.line == self.backups.line {
                self.backups.kin.push(it.image);
            }
        }
    }

    /// The image that members are launched from is gone: the newest one of its line takes its place.
    fn fall_back(&mut self, gone: &ImageId) {
        let line = self.backups.line;
        let others = self.backups.standing().filter(|it| it.line == line && it.image != *gone);
        let next = others.max_by_key(|it| it.taken_at).map(|it| it.image.clone());
        self.note(match &next {
            Some(next) => format!("members are launched from {next} instead"),
            None => "members are launched from the operator's image until there is another backup".to_owned(),
        });
        self.backups.put_in_effect(next.clone(), self.scope.now);
        for it in self.backups.list.iter_mut().filter(|it| Some(&it.image) == next.as_ref()) {
            it.superseded_at = None;
        }
    }

    /// Notes from which images members have come up well.
    fn prove(&mut self) {
        let (now, seen) = (self.scope.now, self.seen);
        let is_well =
            |it: &&InstanceFacts| it.state == InstanceState::Running && seen.passed.contains(&it.id);
        let well: BTreeSet<&ImageId> = seen.instances.values().filter(is_well).map(|it| &it.image).collect();
        for it in self.backups.list.iter_mut().filter(|it| it.proven_at.is_none() && it.removing.is_none()) {
            if well.contains(&it.image) {
                it.proven_at = Some(now);
            }
        }
    }

    /// A removed group: its backups stay for the retention, then all of them go.
    fn part(mut self) -> Plan {
        if !self.is_over() {
            let step = self.remove();
            return self.into_plan(step);
        }
        if !self.seen.is_gone {
            // Its item is back, or was not read: nothing of it goes.
            return self.into_plan(None);
        }
        self.purge();
        let step = self.remove();
        if step.is_some() || !self.seen.leftovers {
            return self.into_plan(step);
        }
        self.conclude()
    }

    /// The end of a removed group's backups: what stands for itself goes as well, and once nothing has been left for
    /// a while it is over.
    fn conclude(mut self) -> Plan {
        let (now, names) = (self.scope.now, self.names());
        // One that is still being made is found once it is there.
        let is_there = |it: &ImageFacts| it.state != ImageState::Gone && names.owns(&it.tags);
        let has_images = !self.backups.list.is_empty() || self.seen.images.values().any(is_there);
        let left = |it: &&SnapshotFacts| !matches!(backup_snapshot(&names, it), Verdict::NotOurs(_));
        let left: Vec<&SnapshotFacts> = self.seen.snapshots.values().filter(left).collect();
        if has_images || !left.is_empty() || !self.backups.outbox.is_empty() {
            self.backups.bare_since = None;
            let rests = has_images || self.backups.not_before.is_some_and(|at| at > now);
            let free: Vec<_> =
                left.iter().filter(|it| !rests && backup_snapshot(&names, it) == Verdict::Go).collect();
            // Each in its turn: one that is held must not hold the others.
            let turn = now.as_second().unsigned_abs() / 60 % free.len().max(1) as u64;
            let step = free.get(turn as usize);
            let step = step.map(|it| match self.kept() {
                (_, true) => Step::HandOver(Resource::Snapshot(it.id.clone())),
                (_, false) => Step::DeleteSnapshot(it.id.clone()),
            });
            return self.into_plan(step);
        }
        let since = *self.backups.bare_since.get_or_insert(now);
        if now.duration_since(since) < limits::QUIET {
            return self.into_plan(None);
        }
        let notes = vec!["nothing is left of its backups".to_owned()];
        Plan { record: GroupRecord { backups: None, ..self.record.clone() }, notes, step: None }
    }

    fn entry_of(&mut self, step: &Step) -> Option<&mut Backup> {
        let is_of = |it: &&mut Backup| match step {
            Step::Deregister { image, .. } | Step::HandOver(Resource::Image(image)) => it.image == *image,
            Step::DeleteSnapshot(id) | Step::HandOver(Resource::Snapshot(id)) => it.snapshots.contains(id),
            Step::Create(_) | Step::HandOver(_) => false,
        };
        self.backups.list.iter_mut().filter(|it| it.removing.is_some()).find(is_of)
    }

    /// A step of a removal is taken.
    fn done(&mut self, step: &Step) {
        let now = self.scope.now;
        let Some(it) = self.entry_of(step) else { return };
        if let Step::HandOver(Resource::Snapshot(id)) = step {
            it.snapshots.retain(|other| other != id);
            return;
        }
        let Some(removing) = it.removing.as_mut() else { return };
        removing.held = None;
        removing.is_off |= matches!(step, Step::Deregister { .. } | Step::HandOver(Resource::Image(_)));
        // Whether what it stood on is gone a later read tells: at once it may still be shown.
        removing.not_before = now.saturating_add(limits::RETRY_SOON).ok();
    }

    /// A step of a removal was refused: it is tried again, and told of once that has lasted.
    fn held(&mut self, step: &Step, failure: &Failure) {
        let now = self.scope.now;
        let rest = match failure.class {
            Class::NotYet | Class::Retry => limits::RETRY_SOON,
            _ => limits::REFUSED_REST,
        };
        self.note(format!("not removed yet: {failure}"));
        let Some(removing) = self.entry_of(step).and_then(|it| it.removing.as_mut()) else {
            self.backups.not_before = now.saturating_add(rest).ok();
            return;
        };
        removing.not_before = now.saturating_add(rest).ok();
        if now.duration_since(removing.since) >= limits::BACKUP_HELD {
            removing.held = Some(failure.to_string());
        }
    }
}

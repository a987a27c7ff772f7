//! Which backups may go, and how they do: the image first, then every snapshot it stood on.
//!
//! Never the one that members are launched from, one that a launch under way names, or the last one from which a
//! member is known to have come up well. What has lost our tags is the operator's, and is left alone.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::config::{Retained, parse};
use crate::guard::{Verdict, backup_image, backup_snapshot};
use crate::ids::{ImageId, Resource, SnapshotId};
use crate::journal::Kind;
use crate::limits;
use crate::observation::ImageState;
use crate::phase::Phase;
use crate::record::Record;

use super::plan::{Draft, Step};
use super::{About, Backup, event};

/// How far a removal is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Removing {
    /// Why it goes, as a clause.
    pub why: String,
    /// Since when.
    pub since: Timestamp,
    /// Whether the image itself is kept for the operator, without our tags.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keeps_image: bool,
    /// The same of its snapshots.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keeps_snapshots: bool,
    /// Whether the image is done with.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_off: bool,
    /// It is not tried again before this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// What holds it, once that has lasted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
}

impl Removing {
    pub(super) fn new(why: String, since: Timestamp) -> Self {
        Self {
            why,
            since,
            keeps_image: false,
            keeps_snapshots: false,
            is_off: false,
            not_before: None,
            held: None,
        }
    }
}

/// What comes next of a removal.
enum Next {
    /// This is done.
    Take(Step),
    /// More must be read first.
    Read,
    /// Nothing of it is left, and that is told.
    Told,
    /// It is none of ours any more.
    Drop,
}

/// Whether a launch under way needs an image: one that is written down, or an instance that is not up yet.
fn is_needed_by(record: &Record, image: &ImageId) -> bool {
    let is_asked_for = record.intent.as_ref().is_some_and(|intent| intent.request.image_id == *image);
    let is_coming_up = matches!(record.phase, Phase::Launching | Phase::Attaching)
        && record.instance.as_ref().is_some_and(|it| it.image_id == *image);
    record.phase != Phase::Gone && (is_asked_for || is_coming_up)
}

impl Draft<'_, '_> {
    /// The last image from which a member came up well.
    fn last_proven(&self) -> Option<&ImageId> {
        let proven = self.backups.list.iter().filter(|it| it.removing.is_none());
        let proven = proven.filter_map(|it| Some((it.proven_at?, it.taken_at, &it.image)));
        proven.max().map(|(_, _, image)| image)
    }

    /// Backups beyond those that are kept and that nothing known here needs, the oldest first.
    pub(super) fn surplus(&self) -> Vec<ImageId> {
        let Some(policy) = self.policy() else { return Vec::new() };
        let now = self.scope.now;
        let mut standing: Vec<&Backup> = self.backups.standing().collect();
        standing.sort_by(|a, b| (b.taken_at, &b.image).cmp(&(a.taken_at, &a.image)));
        // Whoever read it as the effective one before may be about to write a launch down.
        let is_settled = |it: &&&Backup| {
            it.superseded_at.is_none_or(|at| now.duration_since(at) >= limits::BACKUP_SETTLES)
        };
        let may_go = |it: &&&Backup| {
            Some(&it.image) != self.backups.effective.as_ref() && Some(&it.image) != self.last_proven()
        };
        let beyond = standing.iter().skip(policy.keep as usize);
        let mut surplus: Vec<ImageId> =
            beyond.filter(is_settled).filter(may_go).map(|it| it.image.clone()).collect();
        surplus.reverse();
        surplus
    }

    /// Marks what is to go; from then on it is never launched again.
    pub(super) fn rotate(&mut self) {
        let Some(members) = self.seen.members else { return };
        let now = self.scope.now;
        for image in self.surplus() {
            if members.values().any(|record| is_needed_by(record, &image)) {
                continue;
            }
            self.note(format!("{image} goes: newer backups fill the places"));
            if let Some(it) = self.backups.list.iter_mut().find(|it| it.image == image) {
                it.removing = Some(Removing::new("newer backups fill the places".to_owned(), now));
            }
        }
    }

    /// The next step of a removal.
    pub(super) fn remove(&mut self) -> Option<Step> {
        let now = self.scope.now;
        for at in 0..self.backups.list.len() {
            let Some(removing) = &self.backups.list[at].removing else { continue };
            if removing.not_before.is_some_and(|not_before| not_before > now) {
                continue;
            }
            match self.next_removal(at) {
                Next::Take(step) => return Some(step),
                // The rest comes with the next look.
                Next::Read => return None,
                Next::Drop => {
                    self.backups.list.remove(at);
                    return None;
                }
                Next::Told => {
                    self.removed(at);
                    return None;
                }
            }
        }
        None
    }

    /// What is still to be done to one; its entry is brought up to date with what reads show.
    fn next_removal(&mut self, at: usize) -> Next {
        let facts = self.seen.images.get(&self.backups.list[at].image);
        let facts = facts.filter(|facts| facts.state != ImageState::Gone);
        let it = &mut self.backups.list[at];
        for id in facts.iter().flat_map(|facts| &facts.snapshots) {
            if !it.snapshots.contains(id) {
                it.snapshots.push(id.clone());
            }
        }
        let it = &self.backups.list[at];
        if !self.seen.has_snapshots(&it.snapshots) {
            return Next::Read;
        }
        let Some(removing) = it.removing.clone() else { return Next::Drop };
        // Also of one that was done with: a read may have missed what is there still.
        if let Some(facts) = facts {
            let image = it.image.clone();
            match backup_image(&self.names(), facts) {
                Verdict::Go if removing.keeps_image => {
                    return Next::Take(Step::HandOver(Resource::Image(image)));
                }
                Verdict::Go => {
                    // EC2 deletes every snapshot it stands on, whosesoever: only if all that are there are ours.
                    let is_foreign =
                        |id: &&SnapshotId| self.seen.snapshots.contains_key(*id) && !self.is_left(id);
                    let with_snapshots =
                        !removing.keeps_snapshots && !it.snapshots.iter().any(|id| is_foreign(&id));
                    return Next::Take(Step::Deregister { image, with_snapshots });
                }
                Verdict::NotOurs(why) | Verdict::NotYet(why) => {
                    self.note(format!("{image} is left alone: {why}"));
                    // What it stands on stays with it, and is handed over as well.
                    self.mark(at, |removing| (removing.keeps_image, removing.keeps_snapshots) = (true, true));
                }
            }
        }
        self.mark(at, |removing| removing.is_off = true);
        let it = &self.backups.list[at];
        let Some(removing) = it.removing.clone() else { return Next::Drop };
        let left: Vec<SnapshotId> = it.snapshots.iter().filter(|id| self.is_left(id)).cloned().collect();
        let next = left.first().cloned();
        self.backups.list[at].snapshots = left;
        match next {
            None => Next::Told,
            Some(id) if removing.keeps_snapshots => Next::Take(Step::HandOver(Resource::Snapshot(id))),
            Some(id) => Next::Take(Step::DeleteSnapshot(id)),
        }
    }

    /// Whether a snapshot is there and ours.
    fn is_left(&self, id: &SnapshotId) -> bool {
        let facts = self.seen.snapshots.get(id);
        facts.is_some_and(|facts| !matches!(backup_snapshot(&self.names(), facts), Verdict::NotOurs(_)))
    }

    fn mark(&mut self, at: usize, change: impl FnOnce(&mut Removing)) {
        if let Some(removing) = self.backups.list[at].removing.as_mut() {
            change(removing);
        }
    }

    /// Nothing of it is left.
    fn removed(&mut self, at: usize) {
        let it = self.backups.list.remove(at);
        let why = it.removing.as_ref().map(|removing| removing.why.clone()).unwrap_or_default();
        self.note(format!("{} and its snapshots are gone: {why}", it.image));
        let about = About { why, ..About::of(&it, it.image.as_str()) };
        self.backups.outbox.push(event(self.record, Kind::BackupRemoved, &about, self.scope.now));
    }

    /// Whether the retention of a removed group's backups is over.
    pub(super) fn is_over(&self) -> bool {
        let retention = parse(&self.record.config.template).config.retention;
        let since = self.record.removed_at.filter(|_| self.record.removed);
        since.is_some_and(|since| self.scope.now.duration_since(since) >= retention.after)
    }

    /// Marks every backup of a removed group, once its retention is over. Only a read of its item right before may
    /// say that it is still gone.
    pub(super) fn purge(&mut self) {
        let now = self.scope.now;
        let delete = parse(&self.record.config.template).config.retention.delete;
        let (images, snapshots) = (delete.contains(&Retained::Images), delete.contains(&Retained::Snapshots));
        self.backups.put_in_effect(None, now);
        self.backups.attempt = None;
        for it in self.backups.list.iter_mut().filter(|it| it.removing.is_none()) {
            it.removing = Some(Removing {
                keeps_image: !images,
                // What an image stands on stays with it.
                keeps_snapshots: !snapshots || !images,
                ..Removing::new("the group was deleted, and its retention is over".to_owned(), now)
            });
        }
    }
}

//! The backup under way: from the first call to an image that is available, or to nothing.
//!
//! It is written down whole before it is asked for. Its name is unique and serves as its token: what a lost answer
//! made is found by it, and asking again makes no second one.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::config::backup::BackupVolumes;
use crate::failure::{Class, Failure};
use crate::ids::ImageId;
use crate::journal::Kind;
use crate::limits;
use crate::observation::{ImageFacts, ImageState, InstanceState};
use crate::step::BackupRequest;

use super::plan::{Draft, Step};
use super::removal::Removing;
use super::{About, Backup, Due, Failed, Source, event};

/// A backup under way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// What it is made for.
    pub due: Due,
    /// Its unique name.
    pub name: String,
    /// The line it belongs to.
    pub line: u32,
    /// What it is taken of.
    pub source: Source,
    /// Devices of the source that are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub without: Vec<String>,
    /// Since when it is under way.
    pub since: Timestamp,
    /// The image, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageId>,
    /// When a read first did not show the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_since: Option<Timestamp>,
    /// It is not asked for again before this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
}

impl Draft<'_, '_> {
    /// Goes on with what is under way.
    pub(super) fn follow(&mut self) -> Option<Step> {
        let attempt = self.backups.attempt.clone()?;
        let Some(id) = &attempt.image else { return self.find_or_ask(attempt) };
        match self.seen.images.get(id).cloned() {
            Some(facts) => match facts.state {
                ImageState::Pending => self.under_way(|it| it.missing_since = None),
                ImageState::Available => self.succeed(&attempt, &facts),
                ImageState::Failed => self.come_to_nothing(&attempt, format!("EC2 says: {}", reason(&facts))),
                ImageState::Gone => {
                    self.come_to_nothing(&attempt, "the image was deregistered".to_owned());
                }
            },
            None => {
                let (now, mut since) = (self.scope.now, self.scope.now);
                self.under_way(|it| since = *it.missing_since.get_or_insert(now));
                if now.duration_since(since) >= limits::QUIET {
                    self.come_to_nothing(&attempt, "the image has vanished".to_owned());
                }
            }
        }
        None
    }

    /// Finds what an earlier call made, or makes the call.
    fn find_or_ask(&mut self, attempt: Attempt) -> Option<Step> {
        let named = self.seen.images.values().find(|it| it.name == attempt.name);
        if let Some(facts) = named {
            if self.names().owns(&facts.tags) {
                let id = facts.id.clone();
                self.note(format!("{id} is the backup under way"));
                self.under_way(|it| it.image = Some(id));
                return self.follow();
            }
            let why = format!("{} has its name, and is none of ours", facts.id);
            self.come_to_nothing(&attempt, why);
            return None;
        }
        let now = self.scope.now;
        let age = now.duration_since(attempt.since);
        if attempt.not_before.is_some_and(|at| at > now) {
            return None;
        }
        let source = self.seen.instances.get(&attempt.source.instance);
        let is_there = source.is_some_and(|it| it.state == InstanceState::Running);
        // A call that nobody heard the answer of may have made the image just before.
        if (!is_there && age >= limits::NEXT_TICK) || age >= limits::BACKUP_STALLED {
            let instance = &attempt.source.instance;
            let why = match is_there {
                true => format!("EC2 did not begin it within {} s", age.as_secs()),
                false => format!("{instance} runs no longer"),
            };
            self.come_to_nothing(&attempt, why);
            return None;
        }
        is_there.then(|| Step::Create(Box::new(self.request(&attempt))))
    }

    fn request(&self, attempt: &Attempt) -> BackupRequest {
        let names = self.names();
        let operator = self.record.config.tags();
        BackupRequest {
            instance: attempt.source.instance.clone(),
            name: attempt.name.clone(),
            description: format!(
                "Perennial: backup of the group {} from {}",
                self.record.name, attempt.source.node
            ),
            without: attempt.without.clone(),
            tags: names.tags(&operator, &attempt.name),
        }
    }

    /// Takes note of what became of the call.
    pub(super) fn asked(&mut self, answer: Result<ImageId, Failure>) {
        let Some(attempt) = self.backups.attempt.clone() else { return };
        let now = self.scope.now;
        match answer {
            Ok(image) => {
                self.note(format!("{image} is being made of {}", attempt.source.node));
                self.under_way(|it| it.image = Some(image));
            }
            Err(failure) => match failure.class {
                // What has the name is looked at next.
                Class::NameTaken | Class::NotYet | Class::Retry | Class::Quota => {
                    let rest =
                        if failure.class == Class::Quota { limits::REFUSED_REST } else { limits::RETRY_SOON };
                    self.note(format!("not yet: {failure}"));
                    self.under_way(|it| it.not_before = now.saturating_add(rest).ok());
                }
                _ => self.come_to_nothing(&attempt, failure.to_string()),
            },
        }
    }

    fn under_way(&mut self, change: impl FnOnce(&mut Attempt)) {
        if let Some(attempt) = self.backups.attempt.as_mut() {
            change(attempt);
        }
    }

    /// The image is available: from now on members are launched from it, in the very write that says so.
    fn succeed(&mut self, attempt: &Attempt, facts: &ImageFacts) {
        let now = self.scope.now;
        let snapshots = facts.snapshots.clone();
        let backup = Backup {
            source: Some(attempt.source.clone()),
            ..Backup::new(facts.id.clone(), attempt.line, attempt.since, snapshots)
        };
        let took = now.duration_since(attempt.since);
        let is_in_line = attempt.line == self.backups.line && self.backups.since.is_some();
        let why = match is_in_line {
            true => format!("members are launched from {} from now on", facts.id),
            false => format!("{} is kept, but the group has another image by now", facts.id),
        };
        self.note(why.clone());
        let about = About { took: Some(took), why, ..About::of(&backup, &attempt.name) };
        self.backups.outbox.push(event(self.record, Kind::BackupCreated, &about, now));
        self.backups.list.push(backup);
        if is_in_line {
            self.backups.put_in_effect(Some(facts.id.clone()), now);
        }
        self.backups.serve(attempt.due);
        (self.backups.attempt, self.backups.skipped) = (None, None);
    }

    /// It came to nothing: what there is of it goes, and another attempt is made, of another instance if need be.
    fn come_to_nothing(&mut self, attempt: &Attempt, why: String) {
        let now = self.scope.now;
        let times =
            self.backups.failed.as_ref().filter(|it| it.due == attempt.due).map_or(0, |it| it.times) + 1;
        self.note(format!("the backup of {} came to nothing: {why}", attempt.source.node));
        let took = now.duration_since(attempt.since);
        let about = About {
            name: &attempt.name,
            image: attempt.image.as_ref(),
            source: Some(&attempt.source),
            snapshots: &[],
            taken_at: attempt.since,
            took: Some(took),
            why: why.clone(),
        };
        self.backups.outbox.push(event(self.record, Kind::BackupFailed, &about, now));
        self.backups.attempt = None;
        if let Some(image) = &attempt.image {
            let facts = self.seen.images.get(image);
            let snapshots = facts.map(|it| it.snapshots.clone()).unwrap_or_default();
            self.backups.list.push(Backup {
                source: Some(attempt.source.clone()),
                removing: Some(Removing::new("it failed".to_owned(), now)),
                ..Backup::new(image.clone(), attempt.line, attempt.since, snapshots)
            });
        }
        if times >= limits::BACKUP_ATTEMPTS {
            self.backups.serve(attempt.due);
        }
        self.backups.failed = Some(Failed { due: attempt.due, times, at: now, why });
    }

    /// Begins what is due, if it can be.
    pub(super) fn begin(&mut self) -> Option<Step> {
        let now = self.scope.now;
        if self.backups.attempt.is_some() {
            return None;
        }
        let due = self.backups.due(self.record, now)?;
        let names = self.names();
        let is_under_way = |it: &ImageFacts| it.state == ImageState::Pending && names.owns(&it.tags);
        if self.seen.images.values().any(is_under_way) {
            // An attempt that was given up made it after all: one at a time.
            return None;
        }
        let failed = self.backups.failed.as_ref().filter(|it| it.due == due);
        if failed.is_some_and(|it| now.duration_since(it.at) < limits::BACKUP_REST) {
            return None;
        }
        let (source, facts) = match super::source::choose(&self.backups, &self.seen) {
            Ok(chosen) => chosen,
            Err(why) => {
                self.go_without(due, why);
                return None;
            }
        };
        let only_root = self.policy().is_some_and(|it| it.volumes == BackupVolumes::Root);
        let others = facts.volumes.iter().filter(|volume| only_root && volume.device != facts.root_device);
        let attempt = Attempt {
            name: names.backup(now, &source.instance),
            due,
            line: self.backups.line,
            source,
            without: others.map(|volume| volume.device.clone()).collect(),
            since: now,
            image: None,
            missing_since: None,
            not_before: None,
        };
        self.note(format!("a backup is taken of {}", attempt.source.node));
        self.backups.sourceless_since = None;
        let step = Step::Create(Box::new(self.request(&attempt)));
        self.backups.attempt = Some(attempt);
        Some(step)
    }

    /// There is no source: it is waited for a while, since a member may be on its way, then left out.
    fn go_without(&mut self, due: Due, why: String) {
        let now = self.scope.now;
        let since = *self.backups.sourceless_since.get_or_insert(now);
        if now.duration_since(since) < limits::BACKUP_SOURCE_WAITED {
            return;
        }
        if self.backups.skipped.as_ref() != Some(&why) {
            self.note(format!("skipped: {why}"));
        }
        // Told of once, however many are left out after it.
        if self.backups.skipped.is_none() {
            let name = match due {
                Due::At(at) => at.to_string(),
                Due::Asked(value) => format!("now-{value}-{now}"),
            };
            let about = About {
                name: &name,
                image: None,
                source: None,
                snapshots: &[],
                taken_at: now,
                took: None,
                why: format!("skipped: {why}"),
            };
            self.backups.outbox.push(event(self.record, Kind::BackupFailed, &about, now));
        }
        self.backups.serve(due);
        self.backups.skipped = Some(why);
    }
}

impl<'a> About<'a> {
    pub(super) fn of(backup: &'a Backup, name: &'a str) -> Self {
        Self {
            name,
            image: Some(&backup.image),
            source: backup.source.as_ref(),
            snapshots: &backup.snapshots,
            taken_at: backup.taken_at,
            took: None::<SignedDuration>,
            why: String::new(),
        }
    }
}

fn reason(facts: &ImageFacts) -> &str {
    if facts.state_reason.is_empty() { "the image failed" } else { &facts.state_reason }
}

//! Image backups of a group: images of a running member, made on a schedule, that the next instances start from.
//!
//! Decided is what is due, which instance it is taken of, which image members are launched from, and which images
//! may go. An image counts only once EC2 says that it is available, and nothing that a launch may still need is
//! ever deleted to make room.

mod attempt;
mod plan;
mod removal;
mod source;
#[cfg(test)]
mod tests;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::config::backup::{BackupPolicy, schedule};
use crate::group::{AcceptedGroup, GroupRecord};
use crate::ids::{ImageId, InstanceId, NodeName, SnapshotId};
use crate::journal::{Detail, Kind, OwnEvent};
use crate::limits;

pub use attempt::Attempt;
pub use plan::{Look, Plan, Scope, Seen, Step, absorb, look, plan};
pub use removal::Removing;

/// What a group knows of its image backups. There from the first time they are turned on until all of them are gone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Backups {
    /// Since when the present schedule counts: nothing that was due before is made up for. `None`: turned off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// The number of the present line. A new one begins when the operator changes the image by hand.
    pub line: u32,
    /// Since when the present line is the one.
    pub line_since: Timestamp,
    /// The operator's image that the line begins with; the launch template's if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<ImageId>,
    /// Images of former lines: what runs one of them is no source.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former: Vec<ImageId>,
    /// Backups of the present line that were removed while members ran them: these descend from it all the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kin: Vec<ImageId>,
    /// The backup that members are launched from; the operator's image if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective: Option<ImageId>,
    /// What was due last and has been served, or skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served: Option<Timestamp>,
    /// The value of `imageBackup.now` that has been served.
    #[serde(default)]
    pub asked: u32,
    /// The backup under way: written before the call, so that no crash can double it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<Attempt>,
    /// What was tried in vain for what is due, if anything was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<Failed>,
    /// Since when there is no source for what is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sourceless_since: Option<Timestamp>,
    /// Why there was none at the last time, until there is one again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
    /// The backups there are, those that are being removed among them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub list: Vec<Backup>,
    /// Since when reads have shown nothing of a removed group's backups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bare_since: Option<Timestamp>,
    /// No snapshot without an image is tried again before this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// Own events not yet known to be published.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outbox: Vec<OwnEvent>,
}

/// A backup that is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Backup {
    /// The image.
    pub image: ImageId,
    /// The line it belongs to; 0 if nobody knows.
    pub line: u32,
    /// The moment it holds, as nearly as is known.
    pub taken_at: Timestamp,
    /// What it was taken of, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// The snapshots that it stands on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub snapshots: Vec<SnapshotId>,
    /// When a member launched from it was first seen to have passed both status checks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proven_at: Option<Timestamp>,
    /// When another image took its place as the one that members are launched from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub superseded_at: Option<Timestamp>,
    /// When a read first did not show it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_since: Option<Timestamp>,
    /// How far its removal is, once it is to go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removing: Option<Removing>,
}

impl Backup {
    /// One that is there, and of which nothing else is known yet.
    fn new(image: ImageId, line: u32, taken_at: Timestamp, snapshots: Vec<SnapshotId>) -> Self {
        Self {
            image,
            line,
            taken_at,
            source: None,
            snapshots,
            proven_at: None,
            superseded_at: None,
            missing_since: None,
            removing: None,
        }
    }
}

/// What a backup is taken of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// The member.
    pub node: NodeName,
    /// Its instance.
    pub instance: InstanceId,
}

/// What a backup is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Due {
    /// The schedule.
    At(Timestamp),
    /// The operator, who raised `imageBackup.now` to this.
    Asked(u32),
}

/// Attempts that came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failed {
    /// What they were made for.
    pub due: Due,
    /// How many there were.
    pub times: u32,
    /// When the last one failed.
    pub at: Timestamp,
    /// Why, as a sentence.
    pub why: String,
}

/// What a group says of the image that a member is launched from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupImage {
    effective: ImageId,
    base: Option<ImageId>,
    is_on: bool,
}

impl GroupImage {
    /// The backup.
    pub fn effective(&self) -> &ImageId {
        &self.effective
    }

    /// The backup that a member is launched from, if its config says this of the image. While backups are on it
    /// says nothing; after that the operator's new word counts, and the last backup until there is one.
    pub fn over(&self, said: Option<&ImageId>) -> Option<&ImageId> {
        (self.is_on || said == self.base.as_ref()).then_some(&self.effective)
    }
}

impl Backups {
    fn new(base: Option<ImageId>, now: Timestamp) -> Self {
        Self {
            since: None,
            line: 1,
            line_since: now,
            base,
            former: Vec::new(),
            kin: Vec::new(),
            effective: None,
            served: None,
            asked: 0,
            attempt: None,
            failed: None,
            sourceless_since: None,
            skipped: None,
            list: Vec::new(),
            bare_since: None,
            not_before: None,
            outbox: Vec::new(),
        }
    }

    /// The image that members are launched from, if it is a backup.
    pub fn image(&self) -> Option<GroupImage> {
        let effective = self.effective.clone()?;
        Some(GroupImage { effective, base: self.base.clone(), is_on: self.since.is_some() })
    }

    /// The operator's image as it stood when backups took its place, while they are on and there is one.
    pub fn pinned(&self) -> Option<Option<ImageId>> {
        (self.since.is_some() && self.effective.is_some()).then(|| self.base.clone())
    }

    /// The newest backup of the present line that can be launched.
    pub fn newest(&self) -> Option<&Backup> {
        self.standing()
            .filter(|it| it.line == self.line)
            .max_by(|a, b| (a.taken_at, &a.image).cmp(&(b.taken_at, &b.image)))
    }

    /// Those that are there and stay, as far as is known.
    fn standing(&self) -> impl Iterator<Item = &Backup> {
        self.list.iter().filter(|it| it.removing.is_none() && it.missing_since.is_none())
    }

    /// What is due now, if anything: the operator's wish first. A schedule that was missed is made up for once.
    pub fn due(&self, record: &GroupRecord, now: Timestamp) -> Option<Due> {
        let policy = record.config.part.image_backup.as_ref()?;
        let since = self.since?;
        if policy.now > self.asked {
            return Some(Due::Asked(policy.now));
        }
        let latest = schedule::latest(policy, &record.name, now)?;
        let is_news = latest > since && self.served.is_none_or(|served| latest > served);
        is_news.then_some(Due::At(latest))
    }

    /// Nothing more is done for this.
    fn serve(&mut self, due: Due) {
        match due {
            Due::At(at) => self.served = Some(self.served.map_or(at, |served| served.max(at))),
            Due::Asked(value) => self.asked = self.asked.max(value),
        }
        self.failed = None;
        self.sourceless_since = None;
    }

    /// Makes an image the one that members are launched from.
    fn put_in_effect(&mut self, image: Option<ImageId>, now: Timestamp) {
        if self.effective == image {
            return;
        }
        let before = std::mem::replace(&mut self.effective, image);
        for it in self.list.iter_mut().filter(|it| Some(&it.image) == before.as_ref()) {
            it.superseded_at = Some(now);
        }
    }

    /// Begins a line with another image of the operator's: nothing of the one before is launched again, or taken
    /// a backup of.
    fn begin_line(&mut self, base: Option<ImageId>, now: Timestamp) {
        self.put_in_effect(None, now);
        let old = self.base.take().into_iter().chain(self.list.iter().map(|it| it.image.clone()));
        let attempt = self.attempt.iter().filter_map(|it| it.image.clone());
        let kin = std::mem::take(&mut self.kin);
        for image in old.chain(attempt).chain(kin).collect::<Vec<_>>() {
            if !self.former.contains(&image) {
                self.former.push(image);
            }
        }
        self.former.retain(|image| Some(image) != base.as_ref());
        let surplus = self.former.len().saturating_sub(limits::FORMER_IMAGES_KEPT);
        self.former.drain(..surplus);
        (self.base, self.line, self.line_since) = (base, self.line + 1, now);
        self.skipped = None;
    }

    /// Takes note of an accepted edit; `is_back` if the group had been removed.
    fn heed(&mut self, old: Option<&BackupPolicy>, new: &AcceptedGroup, now: Timestamp) {
        let (policy, said) = (new.part.image_backup.as_ref(), new.image());
        let was_on = self.since.is_some();
        self.since = match (policy, self.since) {
            (None, _) => None,
            // Another schedule begins to count now, and so does one that was off.
            (Some(policy), Some(since)) if old.is_some_and(|old| has_same_schedule(old, policy)) => {
                Some(since)
            }
            (Some(_), _) => Some(now),
        };
        if let Some(policy) = policy {
            // Lowered, it asks for nothing, and the next raise counts.
            self.asked = self.asked.min(policy.now);
        }
        if policy.is_none() {
            (self.skipped, self.failed) = (None, None);
        }
        // What is due from now on may be something else, and a source is waited for anew.
        self.sourceless_since = None;
        let may_change = !was_on || policy.is_none() || self.effective.is_none();
        if may_change && said != self.base {
            self.begin_line(said, now);
        }
        self.bare_since = None;
    }

    /// How old the newest backup is; while there is none, for how long there should be one.
    pub fn age(&self, now: Timestamp) -> Option<SignedDuration> {
        let since = self.since?;
        let from = self.newest().map_or(since, |newest| newest.taken_at);
        Some(now.duration_since(from).max(SignedDuration::ZERO))
    }

    /// For how long what is due has been so. Nothing is due of a group that is removed.
    pub fn lag(&self, record: &GroupRecord, now: Timestamp) -> SignedDuration {
        let is_on = self.since.is_some() && !record.removed;
        let policy = record.config.part.image_backup.as_ref().filter(|_| is_on);
        let from = self.served.into_iter().chain(self.since).max();
        let first = policy.zip(from).and_then(|(policy, from)| schedule::next(policy, &record.name, from));
        first.map_or(SignedDuration::ZERO, |first| now.duration_since(first).max(SignedDuration::ZERO))
    }
}

fn has_same_schedule(a: &BackupPolicy, b: &BackupPolicy) -> bool {
    (a.frequency, &a.cron, &a.timezone) == (b.frequency, &b.cron, &b.timezone)
}

/// Takes note of an accepted edit of a group, before it is put in force.
pub fn heed(record: &mut GroupRecord, new: &AcceptedGroup, now: Timestamp) {
    let old = record.config.part.image_backup.as_ref();
    match &mut record.backups {
        Some(backups) => backups.heed(old, new, now),
        None if new.part.image_backup.is_some() => {
            let mut backups = Backups::new(new.image(), now);
            backups.since = Some(now);
            record.backups = Some(backups);
        }
        None => {}
    }
}

/// What the operator should know of a group's backups as they stand.
pub fn notices(record: &GroupRecord) -> Vec<String> {
    let Some(backups) = &record.backups else { return Vec::new() };
    let mut notices = Vec::new();
    if backups.since.is_some() && backups.base != record.config.image() && backups.effective.is_some() {
        let said =
            record.config.image().map_or_else(|| "the launch template's".to_owned(), |it| it.to_string());
        notices.push(format!(
            "launch.image: has no effect while imageBackup is on: members start from the newest backup. To change to \
             {said}: remove imageBackup, raise recycle once that is accepted, and turn it on again when all members run \
             the new image"
        ));
    }
    if backups.since.is_none()
        && let Some(effective) = &backups.effective
    {
        notices.push(format!(
            "imageBackup: is off; members start from the last backup, {effective}, until launch.image is changed. The \
             backups are kept until the group is deleted"
        ));
    }
    if let Some(why) = &backups.skipped {
        notices.push(format!("imageBackup: skipped: {why}"));
    }
    if let Some(failed) = &backups.failed {
        notices.push(format!("imageBackup: the last attempt failed: {}", failed.why));
    }
    let held = backups.list.iter().filter_map(|it| Some((it, it.removing.as_ref()?.held.as_ref()?)));
    for (backup, why) in held {
        notices.push(format!("imageBackup: {} cannot be removed: {why}", backup.image));
    }
    notices
}

/// An event about a backup. Its id is the same however often it is told.
fn event(record: &GroupRecord, kind: Kind, about: &About<'_>, now: Timestamp) -> OwnEvent {
    let word = match kind {
        Kind::BackupCreated => "created",
        Kind::BackupFailed => "failed",
        _ => "removed",
    };
    let detail = Detail {
        id: format!("{}-backup-{word}-{}", record.name.key(), about.name),
        group: Some(record.name.to_string()),
        node: about.source.map(|source| source.node.to_string()).unwrap_or_default(),
        instance_id: about.source.map(|source| source.instance.to_string()),
        image_id: about.image.map(ToString::to_string),
        snapshot_ids: about.snapshots.iter().map(ToString::to_string).collect(),
        reason: about.why.clone(),
        age_seconds: Some(now.duration_since(about.taken_at).as_secs()),
        duration_seconds: about.took.map(|took| took.as_secs()),
        ..Detail::default()
    };
    OwnEvent { kind, time: now, detail }
}

/// What an event is about.
struct About<'a> {
    name: &'a str,
    image: Option<&'a ImageId>,
    source: Option<&'a Source>,
    snapshots: &'a [SnapshotId],
    taken_at: Timestamp,
    took: Option<SignedDuration>,
    why: String,
}

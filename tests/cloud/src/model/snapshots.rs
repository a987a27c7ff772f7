//! EBS snapshots: a point in time fixed at the call, usable once everything changed since the last one is copied.
//!
//! A snapshot must never hold a write made after it was asked for, and never be deleted while an image stands on it.

use std::borrow::Cow;

use jiff::{SignedDuration, Timestamp};

use super::events::Fact;
use super::filter::Described;
use super::tags::{self, TagSpecification, Tags};
use super::volumes::VolumeState;
use super::{ApiError, Billing, Cloud, Contents, Describe, Due, Kind, Page};

/// Snapshot states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotState {
    /// Copying.
    Pending,
    /// Usable.
    Completed,
    /// Failed.
    Error,
}

impl SnapshotState {
    /// The name the API uses.
    pub const fn name(self) -> &'static str {
        match self {
            SnapshotState::Pending => "pending",
            SnapshotState::Completed => "completed",
            SnapshotState::Error => "error",
        }
    }
}

/// An EBS snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Id.
    pub id: String,
    /// The volume it was taken of.
    pub volume_id: String,
    /// The volume's size then, GiB.
    pub volume_size: u32,
    /// State.
    pub state: SnapshotState,
    /// When it was asked for; nothing written later is in it.
    pub start_time: Timestamp,
    /// When it completes, or completed.
    pub completes: Timestamp,
    /// Description.
    pub description: String,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// Key.
    pub kms_key_id: Option<String>,
    /// Tags.
    pub tags: Tags,
    /// What is in it.
    pub contents: Contents,
    /// Billing codes it carries.
    pub billing: Option<Billing>,
    /// Until when a deregistered image still holds it.
    pub held_until: Option<Timestamp>,
    /// Deletion was asked for while pending; it takes effect at completion.
    pub doomed: bool,
    /// The set it is part of, if it was made with others.
    pub(crate) set: Option<String>,
    /// What the volume's snapshots held before this one, to return to if it fails.
    base: u64,
}

impl Snapshot {
    /// Percentage copied at `now`.
    pub fn progress(&self, now: Timestamp) -> u8 {
        match self.state {
            SnapshotState::Completed => 100,
            SnapshotState::Error => 0,
            SnapshotState::Pending => {
                let whole = self.completes.duration_since(self.start_time).as_millis().max(1);
                let done = now.duration_since(self.start_time).as_millis() * 100 / whole;
                u8::try_from(done.clamp(0, 99)).unwrap_or(99)
            }
        }
    }

    /// Size of all blocks in it, bytes, which EC2 tells once it is completed: a write is one MiB, an operating system
    /// is taken as 1 GiB.
    pub fn full_size(&self) -> Option<u64> {
        let system = if self.billing.is_some() { 1024 } else { 0 };
        let mebibytes = (system + self.contents.writes).min(u64::from(self.volume_size) * 1024);
        (self.state == SnapshotState::Completed).then_some(mebibytes << 20)
    }
}

impl Described for Snapshot {
    const KIND: Kind = Kind::Snapshot;
    const FILTERS: &'static [&'static str] = &[
        "snapshot-id",
        "volume-id",
        "volume-size",
        "status",
        "owner-id",
        "description",
        "encrypted",
        "progress",
        "start-time",
        "storage-tier",
    ];

    fn tags(&self) -> &Tags {
        &self.tags
    }

    fn made(&self) -> Timestamp {
        self.start_time
    }

    fn values<'a>(&'a self, filter: &str, cloud: &'a Cloud) -> Vec<Cow<'a, str>> {
        let value: Option<Cow<'a, str>> = match filter {
            "snapshot-id" => Some(self.id.as_str().into()),
            "volume-id" => Some(self.volume_id.as_str().into()),
            "volume-size" => Some(self.volume_size.to_string().into()),
            "status" => Some(self.state.name().into()),
            "owner-id" => Some(cloud.settings.account.as_str().into()),
            "description" => Some(self.description.as_str().into()),
            "encrypted" => Some(self.encrypted.to_string().into()),
            "progress" => Some(format!("{}%", self.progress(cloud.now)).into()),
            "start-time" => Some(self.start_time.to_string().into()),
            "storage-tier" => Some("standard".into()),
            _ => None,
        };
        value.into_iter().collect()
    }
}

/// How many snapshots of a volume may be pending at once (EBS User Guide, *Amazon EBS quotas*).
fn concurrent_limit(volume_type: &str) -> usize {
    if matches!(volume_type, "st1" | "sc1") { 1 } else { 5 }
}

impl Cloud {
    /// CreateSnapshot: fixes the point in time now; the snapshot completes later.
    pub fn create_snapshot(
        &mut self,
        volume_id: &str,
        description: &str,
        specifications: &[TagSpecification],
    ) -> Result<Snapshot, ApiError> {
        self.admit("CreateSnapshot")?;
        Kind::Volume.check(volume_id)?;
        tags::check_specifications(specifications, &["snapshot"])?;
        self.check_snapshot(volume_id)?;
        self.begin_snapshot(volume_id, description, tags::for_type(specifications, "snapshot"))
    }

    /// Refuses a snapshot of a volume that is not ready or has too many pending. AWS does not say whether CreateImage is
    /// held to more than this: the spacing is documented of CreateSnapshot alone.
    pub(crate) fn check_copying(&self, volume_id: &str) -> Result<(), ApiError> {
        let volume = self.visible_volume(volume_id)?;
        if volume.state == VolumeState::Creating {
            return Err(ApiError::state(format!("Volume '{volume_id}' is in state creating")));
        }
        if volume.unfinished.len() >= concurrent_limit(&volume.volume_type) {
            return Err(ApiError::new(
                "ConcurrentSnapshotLimitExceeded",
                format!("Maximum allowed in-progress snapshots for volume '{volume_id}' exceeded."),
            ));
        }
        Ok(())
    }

    /// Refuses a snapshot of a volume that is not ready, has too many pending, or had one just now.
    pub(crate) fn check_snapshot(&self, volume_id: &str) -> Result<(), ApiError> {
        self.check_copying(volume_id)?;
        let volume = self.visible_volume(volume_id)?;
        let recent = |last| self.now.duration_since(last) < self.settings.snapshot_spacing;
        if volume.last_snapshot.is_some_and(recent) {
            return Err(ApiError::new(
                "SnapshotCreationPerVolumeRateExceeded",
                format!(
                    "The maximum per volume CreateSnapshot request rate has been exceeded for '{volume_id}'. Use an increasing or variable sleep interval between requests."
                ),
            ));
        }
        Ok(())
    }

    /// Makes a snapshot that [`Cloud::check_snapshot`] allows, or [`Cloud::check_copying`] for an image; both count for
    /// the spacing of the next one.
    pub(crate) fn begin_snapshot(
        &mut self,
        volume_id: &str,
        description: &str,
        tags: Tags,
    ) -> Result<Snapshot, ApiError> {
        let now = self.now;
        let volume = self.volumes.get_mut(volume_id).ok_or_else(|| Kind::Volume.not_found(volume_id))?;
        let delta =
            i64::try_from(volume.contents.writes.saturating_sub(volume.snapshotted)).unwrap_or(i64::MAX);
        let copying = SignedDuration::from_millis(
            delta.saturating_mul(1000) / i64::from(self.settings.snapshot_rate.max(1)),
        );
        let takes = self.settings.snapshot_base.saturating_add(copying);
        let mut contents = volume.contents.clone();
        contents.lineage.push(volume_id.to_owned());
        let snapshot = Snapshot {
            id: self.ids.of(Kind::Snapshot),
            volume_id: volume_id.to_owned(),
            volume_size: volume.size,
            state: SnapshotState::Pending,
            start_time: now,
            completes: now.checked_add(takes).unwrap_or(Timestamp::MAX),
            description: description.to_owned(),
            encrypted: volume.encrypted,
            kms_key_id: volume.kms_key_id.clone(),
            tags,
            contents,
            billing: volume.billing.clone(),
            held_until: None,
            doomed: false,
            set: None,
            base: volume.snapshotted,
        };
        volume.snapshotted = volume.contents.writes;
        volume.last_snapshot = Some(now);
        volume.unfinished.push(snapshot.id.clone());
        self.plan(takes, Due::SnapshotDone(snapshot.id.clone()));
        self.snapshots.insert(snapshot.id.clone(), snapshot.clone());
        Ok(snapshot)
    }

    /// Puts a completed snapshot of nothing in place: what an image of AWS's own stands on.
    pub(crate) fn place_snapshot(&mut self, size: u32, billing: Billing, made: Timestamp) -> String {
        let (id, volume_id) = (self.ids.of(Kind::Snapshot), self.ids.of(Kind::Volume));
        let snapshot = Snapshot {
            id: id.clone(),
            contents: Contents { writes: 0, lineage: vec![volume_id.clone()] },
            volume_id,
            volume_size: size,
            state: SnapshotState::Completed,
            start_time: made,
            completes: made,
            description: String::new(),
            encrypted: false,
            kms_key_id: None,
            tags: Tags::new(),
            billing: Some(billing),
            held_until: None,
            doomed: false,
            set: None,
            base: 0,
        };
        self.snapshots.insert(id.clone(), snapshot);
        id
    }

    pub(crate) fn finish_snapshot(&mut self, id: &str) {
        let Some(snapshot) = self.snapshots.get_mut(id) else { return };
        if snapshot.state != SnapshotState::Pending {
            return;
        }
        snapshot.state = SnapshotState::Completed;
        let ended = snapshot.clone();
        self.settle(&ended.volume_id, id);
        if ended.doomed {
            self.snapshots.remove(id);
        }
        self.tell_end(ended, false);
        self.end_copy(id, false);
    }

    /// Sends the event of a snapshot that has ended, or that of its set with the last of them.
    fn tell_end(&mut self, ended: Snapshot, failed: bool) {
        match ended.set {
            Some(set) => self.end_part(&set, &ended.id, failed),
            None => self.emit(Fact::Snapshot {
                snapshot: ended.id,
                volume: ended.volume_id,
                started: ended.start_time,
                failed,
            }),
        }
    }

    /// A snapshot no longer counts against its volume's limit.
    fn settle(&mut self, volume_id: &str, snapshot_id: &str) {
        if let Some(volume) = self.volumes.get_mut(volume_id) {
            volume.unfinished.retain(|it| it != snapshot_id);
        }
    }

    /// Makes a pending snapshot end in `error`, with the event that says so; the image made with it fails. For tests.
    pub fn fail_snapshot(&mut self, id: &str) -> Result<(), ApiError> {
        let snapshot = self.snapshots.get_mut(id).ok_or_else(|| Kind::Snapshot.not_found(id))?;
        if snapshot.state != SnapshotState::Pending {
            return Err(ApiError::state(format!("Snapshot {id} is {}", snapshot.state.name())));
        }
        snapshot.state = SnapshotState::Error;
        let ended = snapshot.clone();
        if let Some(volume) = self.volumes.get_mut(&ended.volume_id) {
            volume.snapshotted = volume.snapshotted.min(ended.base);
        }
        if ended.doomed {
            self.erase_snapshot(id);
        }
        self.tell_end(ended, true);
        self.end_copy(id, true);
        Ok(())
    }

    /// DeleteSnapshot; refused while an image stands on it. Of a pending one it takes effect at completion.
    pub fn delete_snapshot(&mut self, id: &str) -> Result<(), ApiError> {
        self.admit("DeleteSnapshot")?;
        Kind::Snapshot.check(id)?;
        let snapshot = self.snapshots.get(id).filter(|it| self.sees(it.start_time) && !it.doomed);
        let snapshot = snapshot.ok_or_else(|| Kind::Snapshot.not_found(id))?;
        let holder = self.images_on(id).next();
        if holder.is_some() || snapshot.held_until.is_some_and(|until| until > self.now) {
            let image = holder.map_or_else(|| "an AMI being deregistered".to_owned(), |it| it.id.clone());
            return Err(ApiError::new(
                "InvalidSnapshot.InUse",
                format!("The snapshot {id} is currently in use by {image}"),
            ));
        }
        self.erase_snapshot(id);
        Ok(())
    }

    /// Deletes without asking who uses it; a pending one at completion.
    pub(crate) fn erase_snapshot(&mut self, id: &str) {
        let Some(snapshot) = self.snapshots.get_mut(id) else { return };
        if snapshot.state == SnapshotState::Pending {
            snapshot.doomed = true;
            return;
        }
        let volume = snapshot.volume_id.clone();
        self.snapshots.remove(id);
        self.settle(&volume, id);
    }

    /// DescribeSnapshots. Every snapshot belongs to the account.
    pub fn describe_snapshots(&mut self, request: &Describe) -> Result<Page<Snapshot>, ApiError> {
        self.admit_describe("DescribeSnapshots", request.is_narrow())?;
        let ours = self.owned_by(&request.owners);
        self.describe(&self.snapshots, request, |_| ours)
    }

    /// Whether a list of owners includes this account, which owns everything here.
    pub(crate) fn owned_by(&self, owners: &[String]) -> bool {
        owners.is_empty() || owners.iter().any(|owner| owner == "self" || *owner == self.settings.account)
    }
}

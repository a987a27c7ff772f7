//! ModifyVolume: a volume grows and changes its type while it is in use.
//!
//! Decides when a change is in force: as soon as the modification is `optimizing`, not before. A volume must never
//! shrink, nor be modified while a modification is under way.

use std::borrow::Cow;

use jiff::{SignedDuration, Timestamp};

use super::events::Fact;
use super::filter::Described;
use super::tags::Tags;
use super::volumes::{Volume, VolumeState, Wish};
use super::{ApiError, Cloud, Describe, Due, Kind, Page};

/// A modification has none.
static NO_TAGS: Tags = Tags::new();

/// ModifyVolume; what is absent stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModifyVolume {
    /// Volume.
    pub volume_id: String,
    /// GiB.
    pub size: Option<u32>,
    /// Type.
    pub volume_type: Option<String>,
    /// Operations a second; needed when the type changes to one that has no default.
    pub iops: Option<u32>,
    /// MiB a second, `gp3` only.
    pub throughput: Option<u32>,
}

/// States of a modification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModificationState {
    /// Asked for; the volume is as it was.
    Modifying,
    /// In force; performance is on its way.
    Optimizing,
    /// Done.
    Completed,
}

impl ModificationState {
    /// The name the API uses.
    pub const fn name(self) -> &'static str {
        match self {
            ModificationState::Modifying => "modifying",
            ModificationState::Optimizing => "optimizing",
            ModificationState::Completed => "completed",
        }
    }
}

/// What a modification changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeShape {
    /// GiB.
    pub size: u32,
    /// Type.
    pub volume_type: String,
    /// Operations a second, where the type has them.
    pub iops: Option<u32>,
    /// MiB a second, `gp3` only.
    pub throughput: Option<u32>,
}

/// The newest modification of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeModification {
    /// Volume.
    pub volume_id: String,
    /// State.
    pub state: ModificationState,
    /// The volume before.
    pub original: VolumeShape,
    /// The volume after.
    pub target: VolumeShape,
    /// Whether the volume has Multi-Attach, which no modification changes here.
    pub multi_attach: bool,
    /// When it was asked for.
    pub start_time: Timestamp,
    /// When it was completed.
    pub end_time: Option<Timestamp>,
    /// When it completes.
    completes: Timestamp,
    /// When this and earlier ones were asked for.
    started: Vec<Timestamp>,
}

impl VolumeModification {
    /// Percentage done at `now`.
    pub fn progress(&self, now: Timestamp) -> u8 {
        match self.state {
            ModificationState::Modifying => 0,
            ModificationState::Completed => 100,
            ModificationState::Optimizing => {
                let whole = self.completes.duration_since(self.start_time).as_millis().max(1);
                let done = now.duration_since(self.start_time).as_millis() * 100 / whole;
                u8::try_from(done.clamp(0, 99)).unwrap_or(99)
            }
        }
    }
}

impl Described for VolumeModification {
    const KIND: Kind = Kind::Volume;
    const PAGE: (u32, u32) = (1, 500);
    const FILTERS: &'static [&'static str] = &[
        "volume-id",
        "modification-state",
        "original-size",
        "original-volume-type",
        "original-iops",
        "target-size",
        "target-volume-type",
        "target-iops",
        "start-time",
    ];

    fn tags(&self) -> &Tags {
        &NO_TAGS
    }

    fn made(&self) -> Timestamp {
        self.start_time
    }

    fn values<'a>(&'a self, filter: &str, _: &'a Cloud) -> Vec<Cow<'a, str>> {
        let iops = |of: &VolumeShape| of.iops.map(|it| it.to_string().into());
        let value: Option<Cow<'a, str>> = match filter {
            "volume-id" => Some(self.volume_id.as_str().into()),
            "modification-state" => Some(self.state.name().into()),
            "original-size" => Some(self.original.size.to_string().into()),
            "original-volume-type" => Some(self.original.volume_type.as_str().into()),
            "original-iops" => iops(&self.original),
            "target-size" => Some(self.target.size.to_string().into()),
            "target-volume-type" => Some(self.target.volume_type.as_str().into()),
            "target-iops" => iops(&self.target),
            "start-time" => Some(self.start_time.to_string().into()),
            _ => None,
        };
        value.into_iter().collect()
    }
}

impl Volume {
    fn shape(&self) -> VolumeShape {
        VolumeShape {
            size: self.size,
            volume_type: self.volume_type.clone(),
            iops: self.iops,
            throughput: self.throughput,
        }
    }
}

impl Cloud {
    /// ModifyVolume: `modifying` at once, in force and `optimizing` some time later, `completed` in the end.
    pub fn modify_volume(&mut self, request: &ModifyVolume) -> Result<VolumeModification, ApiError> {
        self.admit("ModifyVolume")?;
        let id = &request.volume_id;
        Kind::Volume.check(id)?;
        let volume = self.visible_volume(id)?;
        let target = self.target_shape(volume, request)?;
        if volume.state == VolumeState::Creating {
            return Err(ApiError::state(format!("Volume '{id}' is in the 'creating' state.")));
        }
        let mut started = self.check_modification(id)?;
        started.push(self.now);
        let takes = self.settings.modify_volume.saturating_add(self.settings.optimize_volume);
        let modification = VolumeModification {
            volume_id: id.clone(),
            state: ModificationState::Modifying,
            original: volume.shape(),
            target,
            multi_attach: volume.multi_attach,
            start_time: self.now,
            end_time: None,
            completes: self.after(takes),
            started,
        };
        self.modifications.insert(id.clone(), modification.clone());
        self.plan(self.settings.modify_volume, Due::Modified(id.clone()));
        Ok(modification)
    }

    /// What the volume is to become, or why it cannot.
    fn target_shape(&self, volume: &Volume, request: &ModifyVolume) -> Result<VolumeShape, ApiError> {
        let ModifyVolume { size, volume_type, iops, throughput, .. } = request;
        if size.is_none() && volume_type.is_none() && iops.is_none() && throughput.is_none() {
            return Err(ApiError::missing("size, volumeType, iops or throughput"));
        }
        let size = size.unwrap_or(volume.size);
        if size < volume.size {
            return Err(ApiError::value("New size cannot be smaller than existing size"));
        }
        let volume_type = volume_type.as_deref().unwrap_or(&volume.volume_type);
        let same = volume_type == volume.volume_type;
        // What was provisioned stays; what follows from the size is worked out anew.
        let provisioned = same && matches!(volume_type, "gp3" | "io1" | "io2");
        let wish = Wish {
            size: Some(size),
            volume_type: Some(volume_type),
            iops: iops.or(volume.iops.filter(|_| provisioned)),
            throughput: throughput.or(volume.throughput.filter(|_| provisioned)),
            multi_attach: Some(volume.multi_attach),
            ..Wish::default()
        };
        self.blueprint(&wish).map(|it| it.shape())
    }

    /// Refuses a modification while one is under way or too soon after others; answers when those were started that
    /// still count.
    fn check_modification(&self, id: &str) -> Result<Vec<Timestamp>, ApiError> {
        let Some(last) = self.modifications.get(id) else { return Ok(Vec::new()) };
        if last.state != ModificationState::Completed {
            let state = last.state.name().to_ascii_uppercase();
            return Err(ApiError::new(
                "IncorrectModificationState",
                format!("Cannot modify volume '{id}' while a modification of it is in state {state}."),
            ));
        }
        let window = self.settings.modification_window;
        let recent = |at: &&Timestamp| self.now.duration_since(**at) < window;
        let started: Vec<Timestamp> = last.started.iter().filter(recent).copied().collect();
        if started.len() >= self.settings.modification_limit {
            return Err(ApiError::new(
                "VolumeModificationRateExceeded",
                format!(
                    "You've reached the maximum modification rate per volume limit. Wait at least {} hours between modifications per EBS volume.",
                    window.as_hours()
                ),
            ));
        }
        Ok(started)
    }

    pub(crate) fn finish_modifying(&mut self, id: &str) {
        let (Some(volume), Some(modification)) = (self.volumes.get_mut(id), self.modifications.get_mut(id))
        else {
            return;
        };
        modification.state = ModificationState::Optimizing;
        let target = modification.target.clone();
        (volume.size, volume.volume_type) = (target.size, target.volume_type);
        (volume.iops, volume.throughput) = (target.iops, target.throughput);
        let left: SignedDuration = modification.completes.duration_since(self.now);
        self.emit(Fact::Volume { volume: id.to_owned(), event: "modifyVolume", result: "optimizing" });
        self.plan(left, Due::Optimized(id.to_owned()));
    }

    pub(crate) fn finish_optimizing(&mut self, id: &str) {
        let now = self.now;
        if let Some(modification) = self.modifications.get_mut(id) {
            modification.state = ModificationState::Completed;
            modification.end_time = Some(now);
        }
    }

    /// DescribeVolumesModifications: the newest of each volume that was ever modified.
    pub fn describe_volumes_modifications(
        &mut self,
        request: &Describe,
    ) -> Result<Page<VolumeModification>, ApiError> {
        self.admit_describe("DescribeVolumesModifications", true)?;
        let tagged = |name: &str| name.starts_with("tag:") || name == "tag-key";
        if let Some(filter) = request.filters.iter().find(|it| tagged(&it.name)) {
            return Err(ApiError::value(format!("The filter '{}' is invalid", filter.name)));
        }
        for id in &request.ids {
            Kind::Volume.check(id)?;
            self.visible_volume(id)?;
            if !self.modifications.contains_key(id) {
                let what = format!("Modification for volume '{id}' does not exist.");
                return Err(ApiError::new("InvalidVolumeModification.NotFound", what));
            }
        }
        self.describe(&self.modifications, request, |_| true)
    }
}

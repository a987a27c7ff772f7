//! CreateSnapshots: all volumes of one instance at one point in time.
//!
//! Decides which volumes belong to it, and when all of it has ended. All or nothing: a rule that forbids a snapshot of
//! one volume refuses the whole call. Each part then copies, completes, fails and is deleted on its own, and only the
//! set tells of it.

use jiff::Timestamp;

use super::attachments::AttachmentState;
use super::events::Fact;
use super::instances::{Instance, InstanceState};
use super::tags::{self, TagSpecification};
use super::{ApiError, Cloud, Kind, Snapshot};

/// Most volumes that can be named as excluded (API reference, InstanceSpecification).
const MOST_EXCLUDED: usize = 40;

/// CreateSnapshots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CreateSnapshots {
    /// The instance whose volumes are meant.
    pub instance_id: String,
    /// Leaves the root volume out.
    pub exclude_boot_volume: bool,
    /// Leaves these data volumes out.
    pub exclude_data_volume_ids: Vec<String>,
    /// Description of each snapshot.
    pub description: String,
    /// Tags for each snapshot.
    pub tag_specifications: Vec<TagSpecification>,
}

/// The snapshots of one call that are not all ended yet.
#[derive(Clone, Debug)]
pub(crate) struct SnapshotSet {
    started: Timestamp,
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
struct Part {
    snapshot: String,
    volume: String,
    /// Whether it failed, once it has ended.
    failed: Option<bool>,
}

impl Cloud {
    /// CreateSnapshots: fixes one point in time for all volumes attached to an instance; each snapshot completes later.
    pub fn create_snapshots(&mut self, request: &CreateSnapshots) -> Result<Vec<Snapshot>, ApiError> {
        self.admit("CreateSnapshots")?;
        let id = &request.instance_id;
        Kind::Instance.check(id)?;
        tags::check_specifications(&request.tag_specifications, &["snapshot"])?;
        let instance = self.visible_instance(id)?;
        if !matches!(instance.state, InstanceState::Running | InstanceState::Stopped) {
            return Err(super::lifecycle::wrong_state(id, "snapshotted"));
        }
        self.check_excluded(instance, &request.exclude_data_volume_ids)?;
        let left_out = |device: &str, volume: &String| {
            (request.exclude_boot_volume && device == instance.root_device_name)
                || request.exclude_data_volume_ids.contains(volume)
        };
        let volumes: Vec<String> = instance
            .block_devices
            .iter()
            .filter(|(device, it)| it.state == AttachmentState::Attached && !left_out(device, &it.volume_id))
            .map(|(_, it)| it.volume_id.clone())
            .collect();
        if volumes.is_empty() {
            let what = format!("No volume of the instance '{id}' is left to be snapshotted.");
            return Err(ApiError::value(what));
        }
        for volume in &volumes {
            self.check_snapshot(volume)?;
        }
        let tags = tags::for_type(&request.tag_specifications, "snapshot");
        let mut snapshots = Vec::new();
        for volume in &volumes {
            snapshots.push(self.begin_snapshot(volume, &request.description, tags.clone())?);
        }
        self.join(&mut snapshots);
        Ok(snapshots)
    }

    /// Makes one set of snapshots made together.
    fn join(&mut self, snapshots: &mut [Snapshot]) {
        let Some(key) = snapshots.first().map(|it| it.id.clone()) else { return };
        let mut parts = Vec::new();
        for snapshot in snapshots {
            snapshot.set = Some(key.clone());
            if let Some(kept) = self.snapshots.get_mut(&snapshot.id) {
                kept.set = Some(key.clone());
            }
            let (id, volume) = (snapshot.id.clone(), snapshot.volume_id.clone());
            parts.push(Part { snapshot: id, volume, failed: None });
        }
        self.snapshot_sets.insert(key, SnapshotSet { started: self.now, parts });
    }

    fn check_excluded(&self, instance: &Instance, excluded: &[String]) -> Result<(), ApiError> {
        if excluded.len() > MOST_EXCLUDED {
            let what = format!("At most {MOST_EXCLUDED} volumes can be excluded.");
            return Err(ApiError::value(what));
        }
        for id in excluded {
            Kind::Volume.check(id)?;
            self.visible_volume(id)?;
            if instance.root().is_some_and(|root| root.volume_id == *id) {
                return Err(ApiError::value(format!(
                    "The volume '{id}' is the root volume. Use excludeBootVolume to exclude it."
                )));
            }
            if !instance.block_devices.values().any(|it| it.volume_id == *id) {
                let what = format!("The volume '{id}' is not attached to the instance '{}'.", instance.id);
                return Err(ApiError::value(what));
            }
        }
        Ok(())
    }

    /// A part has ended; with the last one the set has, and tells.
    pub(crate) fn end_part(&mut self, key: &str, snapshot: &str, failed: bool) {
        let Some(set) = self.snapshot_sets.get_mut(key) else { return };
        for part in set.parts.iter_mut().filter(|it| it.snapshot == snapshot) {
            part.failed = Some(failed);
        }
        if set.parts.iter().any(|it| it.failed.is_none()) {
            return;
        }
        let Some(set) = self.snapshot_sets.remove(key) else { return };
        let parts = set.parts.into_iter().map(|it| (it.snapshot, it.volume, it.failed == Some(true)));
        self.emit(Fact::Snapshots { parts: parts.collect(), started: set.started });
    }
}

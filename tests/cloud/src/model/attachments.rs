//! Attachments of volumes to instances: AttachVolume, DetachVolume, and what the end of an instance lets go.
//!
//! Decides who may hold a volume, and when. Two instances must never hold a volume without Multi-Attach, and what a
//! volume and its instance tell of an attachment must never differ. Volumes of a launch are attached at once.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::events::Fact;
use super::instances::{InstanceState, WriteTarget};
use super::volumes::{Volume, VolumeState};
use super::{ApiError, BlockDevice, Cloud, Due, Instance, Kind};

/// Most instances that hold one volume with Multi-Attach (EBS User Guide, *Amazon EBS Multi-Attach*).
const MOST_HOLDERS: usize = 16;

/// States of an attachment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachmentState {
    /// Asked for; the guest does not have the device yet.
    Attaching,
    /// The guest has the device.
    Attached,
    /// Being let go.
    Detaching,
}

impl AttachmentState {
    /// The name the API uses.
    pub const fn name(self) -> &'static str {
        match self {
            AttachmentState::Attaching => "attaching",
            AttachmentState::Attached => "attached",
            AttachmentState::Detaching => "detaching",
        }
    }
}

/// A volume's attachment to an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeAttachment {
    /// The instance.
    pub instance_id: String,
    /// Device name.
    pub device: String,
    /// State.
    pub state: AttachmentState,
    /// When it was attached.
    pub attach_time: Timestamp,
    /// Whether it goes with the instance.
    pub delete_on_termination: bool,
    /// Tells one attachment from the next of the same volume, so that a plan made earlier is known to be stale.
    pub(crate) serial: u64,
}

/// AttachVolume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttachVolume {
    /// Volume.
    pub volume_id: String,
    /// Instance.
    pub instance_id: String,
    /// Device name.
    pub device: String,
}

/// DetachVolume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DetachVolume {
    /// Volume.
    pub volume_id: String,
    /// Instance it is attached to; required of a volume with Multi-Attach.
    pub instance_id: Option<String>,
    /// Device it is attached as.
    pub device: Option<String>,
    /// Accepted again while it is being let go; changes nothing else.
    pub force: bool,
}

/// Refuses what is no device name: `/dev/sd…` or `/dev/xvd…`, with or without the folder.
fn check_device(device: &str) -> Result<(), ApiError> {
    let name = device.strip_prefix("/dev/").unwrap_or(device);
    let rest = name.strip_prefix("xvd").or_else(|| name.strip_prefix("sd")).unwrap_or_default();
    let letters = rest.trim_end_matches(|c: char| c.is_ascii_digit());
    if (1..=2).contains(&letters.len()) && letters.bytes().all(|b| b.is_ascii_lowercase()) {
        return Ok(());
    }
    Err(ApiError::value(format!(
        "Value ({device}) for parameter device is invalid. {device} is not a valid EBS device name."
    )))
}

impl Cloud {
    /// A new attachment as of now, of a serial never used before.
    pub(crate) fn new_attachment(
        &mut self,
        instance_id: &str,
        device: &str,
        state: AttachmentState,
        delete_on_termination: bool,
    ) -> VolumeAttachment {
        self.attached_ever += 1;
        VolumeAttachment {
            instance_id: instance_id.to_owned(),
            device: device.to_owned(),
            state,
            attach_time: self.now,
            delete_on_termination,
            serial: self.attached_ever,
        }
    }

    /// AttachVolume: `attaching` at once, `attached` some time later. The volume then outlives the instance.
    pub fn attach_volume(&mut self, request: &AttachVolume) -> Result<VolumeAttachment, ApiError> {
        self.admit("AttachVolume")?;
        Kind::Volume.check(&request.volume_id)?;
        Kind::Instance.check(&request.instance_id)?;
        let volume = self.visible_volume(&request.volume_id)?;
        let instance = self.visible_instance(&request.instance_id)?;
        check_device(&request.device)?;
        self.check_attach(volume, instance, &request.device)?;
        let held =
            self.new_attachment(&request.instance_id, &request.device, AttachmentState::Attaching, false);
        if let Some(instance) = self.instances.get_mut(&request.instance_id) {
            let device = BlockDevice {
                volume_id: request.volume_id.clone(),
                delete_on_termination: false,
                state: held.state,
                attach_time: held.attach_time,
            };
            instance.block_devices.insert(request.device.clone(), device);
        }
        if let Some(volume) = self.volumes.get_mut(&request.volume_id) {
            volume.attachments.push(held.clone());
            volume.state = VolumeState::InUse;
        }
        if !self.hanging.remove(&request.volume_id) {
            let due = Due::Attached(request.volume_id.clone(), held.serial);
            self.plan(self.settings.attach_volume, due);
        }
        Ok(held)
    }

    fn check_attach(&self, volume: &Volume, instance: &Instance, device: &str) -> Result<(), ApiError> {
        if !matches!(instance.state, InstanceState::Running | InstanceState::Stopped) {
            return Err(ApiError::state(format!("Instance '{}' is not 'running'.", instance.id)));
        }
        let shared = volume.multi_attach && volume.attachment_to(&instance.id).is_none();
        match volume.state {
            VolumeState::Creating => {
                return Err(ApiError::state(format!("Volume '{}' is not 'available'.", volume.id)));
            }
            VolumeState::InUse if !shared => {
                let what = format!("{} is already attached to an instance", volume.id);
                return Err(ApiError::new("VolumeInUse", what));
            }
            VolumeState::InUse | VolumeState::Available => {}
        }
        if volume.zone != instance.zone {
            return Err(ApiError::new(
                "InvalidVolume.ZoneMismatch",
                format!(
                    "The volume '{}' is not in the same availability zone as instance '{}'",
                    volume.id, instance.id
                ),
            ));
        }
        if instance.block_devices.contains_key(device) {
            return Err(ApiError::value(format!(
                "Invalid value '{device}' for unixDevice. Attachment point {device} is already in use"
            )));
        }
        self.check_attachment_limit(instance.block_devices.len() + 1)?;
        if volume.attachments.len() >= MOST_HOLDERS {
            let what = format!("Volume '{}' is attached to {MOST_HOLDERS} instances.", volume.id);
            return Err(ApiError::new("AttachmentLimitExceeded", what));
        }
        Ok(())
    }

    /// Refuses more volumes than an instance takes.
    pub(crate) fn check_attachment_limit(&self, volumes: usize) -> Result<(), ApiError> {
        let most = self.settings.attachment_limit;
        if volumes > most {
            let what = format!("The maximum number of {most} EBS volumes of an instance would be exceeded.");
            return Err(ApiError::new("AttachmentLimitExceeded", what));
        }
        Ok(())
    }

    /// DetachVolume: `detaching` at once, gone some time later. The root leaves only a stopped instance.
    pub fn detach_volume(&mut self, request: &DetachVolume) -> Result<VolumeAttachment, ApiError> {
        self.admit("DetachVolume")?;
        Kind::Volume.check(&request.volume_id)?;
        let volume = self.visible_volume(&request.volume_id)?;
        if let Some(id) = &request.instance_id {
            Kind::Instance.check(id)?;
            self.visible_instance(id)?;
        } else if volume.multi_attach {
            return Err(ApiError::missing("instanceId"));
        }
        if volume.attachments.is_empty() {
            let what = format!("Volume '{}' is in the '{}' state.", volume.id, volume.state.name());
            return Err(ApiError::state(what));
        }
        let meant = |it: &&VolumeAttachment| {
            request.instance_id.as_ref().is_none_or(|id| *id == it.instance_id)
                && request.device.as_ref().is_none_or(|device| *device == it.device)
        };
        let held = volume.attachments.iter().find(meant).cloned().ok_or_else(|| {
            ApiError::new(
                "InvalidAttachment.NotFound",
                format!("The volume '{}' is not attached as described.", volume.id),
            )
        })?;
        if held.state == AttachmentState::Detaching && !request.force {
            return Err(ApiError::state(format!("Volume '{}' is being detached.", volume.id)));
        }
        let holder = self.instances.get(&held.instance_id);
        if holder.is_some_and(|it| it.root_device_name == held.device && it.state != InstanceState::Stopped) {
            return Err(ApiError::new(
                "OperationNotPermitted",
                format!("Unable to detach root volume '{}' from instance '{}'", volume.id, held.instance_id),
            ));
        }
        if held.state != AttachmentState::Detaching {
            self.set_attachment(&request.volume_id, held.serial, AttachmentState::Detaching);
            self.plan(self.settings.detach_volume, Due::Detached(request.volume_id.clone(), held.serial));
        }
        Ok(VolumeAttachment { state: AttachmentState::Detaching, ..held })
    }

    /// Lets the next attachment of a volume stay `attaching` for ever, until it is detached or its instance ends; for
    /// tests, since real ones do.
    pub fn hang_next_attach(&mut self, volume_id: &str) -> Result<(), ApiError> {
        Kind::Volume.check(volume_id)?;
        if !self.volumes.contains_key(volume_id) {
            return Err(Kind::Volume.not_found(volume_id));
        }
        self.hanging.insert(volume_id.to_owned());
        Ok(())
    }

    /// An instance that reads can see.
    pub(crate) fn visible_instance(&self, id: &str) -> Result<&Instance, ApiError> {
        let instance = self.instances.get(id).filter(|it| self.sees(it.created));
        instance.ok_or_else(|| Kind::Instance.not_found(id))
    }

    /// Puts an attachment into a state, in the volume and in the instance.
    fn set_attachment(&mut self, volume_id: &str, serial: u64, state: AttachmentState) {
        let Some(volume) = self.volumes.get_mut(volume_id) else { return };
        let Some(held) = volume.attachments.iter_mut().find(|it| it.serial == serial) else { return };
        held.state = state;
        let instance = self.instances.get_mut(&held.instance_id);
        let device = instance.and_then(|it| it.block_devices.get_mut(&held.device));
        if let Some(device) = device.filter(|it| it.volume_id == volume_id) {
            device.state = state;
        }
    }

    pub(crate) fn finish_attach(&mut self, volume_id: &str, serial: u64) {
        let held = |it: &VolumeAttachment| it.serial == serial && it.state == AttachmentState::Attaching;
        if self.volumes.get(volume_id).is_some_and(|it| it.attachments.iter().any(held)) {
            self.set_attachment(volume_id, serial, AttachmentState::Attached);
        }
    }

    pub(crate) fn finish_detach(&mut self, volume_id: &str, serial: u64) {
        self.let_go(volume_id, |it| it.serial == serial);
    }

    /// Ends an attachment, in the volume and in the instance.
    pub(crate) fn let_go(
        &mut self,
        volume_id: &str,
        which: impl Fn(&VolumeAttachment) -> bool,
    ) -> Option<VolumeAttachment> {
        let volume = self.volumes.get_mut(volume_id)?;
        let at = volume.attachments.iter().position(which)?;
        let held = volume.attachments.remove(at);
        if volume.attachments.is_empty() {
            volume.state = VolumeState::Available;
        }
        if let Some(instance) = self.instances.get_mut(&held.instance_id) {
            instance.block_devices.retain(|_, device| device.volume_id != volume_id);
        }
        Some(held)
    }

    /// Lets go of a volume after its instance terminated, in whatever state the attachment is: deleted if it was to go
    /// with it and nobody else holds it, else kept.
    pub(crate) fn release_volume(&mut self, volume_id: &str, instance_id: &str) {
        let Some(held) = self.let_go(volume_id, |it| it.instance_id == instance_id) else { return };
        let free = self.volumes.get(volume_id).is_some_and(|it| it.attachments.is_empty());
        if held.delete_on_termination && free {
            self.volumes.remove(volume_id);
            self.modifications.remove(volume_id);
            self.emit(Fact::Volume {
                volume: volume_id.to_owned(),
                event: "deleteVolume",
                result: "deleted",
            });
        }
    }

    /// Lets the guest write `times` times; answers the volume's new counter. Refused unless the volume is `attached` to
    /// a running instance.
    pub fn write(&mut self, target: WriteTarget, times: u64) -> Result<u64, ApiError> {
        let volume_id = match target {
            WriteTarget::Volume(id) => id,
            WriteTarget::Instance(id) => {
                Kind::Instance.check(&id)?;
                let instance = self.instances.get(&id).ok_or_else(|| Kind::Instance.not_found(&id))?;
                let root = instance.root().map(|it| it.volume_id.clone());
                root.ok_or_else(|| super::lifecycle::wrong_state(&id, "written by"))?
            }
        };
        Kind::Volume.check(&volume_id)?;
        let volume = self.volumes.get_mut(&volume_id).ok_or_else(|| Kind::Volume.not_found(&volume_id))?;
        let runs = |id: &String| self.instances.get(id).is_some_and(|it| it.state == InstanceState::Running);
        let writes = |it: &VolumeAttachment| it.state == AttachmentState::Attached && runs(&it.instance_id);
        if !volume.attachments.iter().any(writes) {
            return Err(ApiError::state(format!(
                "Volume {volume_id} is not attached to a running instance."
            )));
        }
        volume.contents.writes = volume.contents.writes.saturating_add(times);
        Ok(volume.contents.writes)
    }

    /// Lets the guest write `times` times to every volume attached to an instance, its root included; answers each
    /// volume's new counter. Refused unless the instance runs; volumes still attaching or detaching are left alone.
    pub fn write_all(&mut self, instance_id: &str, times: u64) -> Result<BTreeMap<String, u64>, ApiError> {
        Kind::Instance.check(instance_id)?;
        let instance = self.instances.get(instance_id);
        let instance = instance.ok_or_else(|| Kind::Instance.not_found(instance_id))?;
        if instance.state != InstanceState::Running {
            return Err(super::lifecycle::wrong_state(instance_id, "written by"));
        }
        let attached = |it: &&BlockDevice| it.state == AttachmentState::Attached;
        let volumes: Vec<String> =
            instance.block_devices.values().filter(attached).map(|it| it.volume_id.clone()).collect();
        let mut counters = BTreeMap::new();
        for id in volumes {
            let Some(volume) = self.volumes.get_mut(&id) else { continue };
            volume.contents.writes = volume.contents.writes.saturating_add(times);
            counters.insert(id, volume.contents.writes);
        }
        Ok(counters)
    }
}

//! The volumes of a launch: the image's block devices with the request's on top.
//!
//! Decides which volumes an instance gets, before any is made. What the root is billed as comes from the image and must
//! never depend on a data volume.

use super::attachments::AttachmentState;
use super::instances::{BlockDevice, Instance};
use super::launch_spec::{BlockDeviceMapping, LaunchSpec, merge_devices};
use super::volumes::Blueprint;
use super::{ApiError, Billing, Cloud, Image, Tags};

/// One volume of a launch, checked.
#[derive(Clone, Debug)]
pub(crate) struct PlannedDevice {
    name: String,
    blueprint: Blueprint,
    delete_on_termination: bool,
    /// What the image says of the root; a data volume carries its snapshot's codes.
    billing: Option<Billing>,
}

/// Refuses a list that maps a device twice, or to nothing.
pub(crate) fn check_mappings(devices: &[BlockDeviceMapping]) -> Result<(), ApiError> {
    for (at, mapping) in devices.iter().enumerate() {
        let name = &mapping.device_name;
        if devices.iter().take(at).any(|earlier| earlier.device_name == *name) {
            return Err(ApiError::new(
                "InvalidBlockDeviceMapping",
                format!("The device '{name}' is used in more than one block-device mapping"),
            ));
        }
        if mapping.ebs.is_none() && mapping.no_device.is_none() && mapping.virtual_name.is_none() {
            return Err(ApiError::missing("ebs, noDevice or virtualName"));
        }
    }
    Ok(())
}

impl Cloud {
    /// The volumes of a launch, or why it is refused.
    pub(crate) fn plan_devices(
        &self,
        image: &Image,
        spec: &LaunchSpec,
    ) -> Result<Vec<PlannedDevice>, ApiError> {
        let root = image.root_device();
        let mut devices = Vec::new();
        for mapping in merge_devices(&image.spec.block_devices, &spec.block_devices) {
            let is_root = mapping.device_name == root;
            if is_root && (mapping.no_device.is_some() || mapping.ebs.is_none()) {
                return Err(ApiError::new(
                    "InvalidBlockDeviceMapping",
                    format!("The root device {root} cannot be left out."),
                ));
            }
            let Some(ebs) = mapping.ebs.filter(|_| mapping.no_device.is_none()) else { continue };
            if is_root && !image.snapshot_ids().any(|id| Some(id) == ebs.snapshot_id.as_deref()) {
                return Err(ApiError::new(
                    "InvalidBlockDeviceMapping",
                    "snapshotId cannot be modified on root device",
                ));
            }
            devices.push(PlannedDevice {
                name: mapping.device_name,
                blueprint: self.blueprint(&ebs.wish())?,
                delete_on_termination: ebs.delete_on_termination.unwrap_or(true),
                billing: is_root.then(|| image.billing.clone()),
            });
        }
        self.check_attachment_limit(devices.len())?;
        Ok(devices)
    }

    /// Makes a volume of a launch, attached at once.
    pub(crate) fn make_device(&mut self, instance: &mut Instance, plan: &PlannedDevice, tags: Tags) {
        let goes = plan.delete_on_termination;
        let held = self.new_attachment(&instance.id, &plan.name, AttachmentState::Attached, goes);
        let (state, attach_time) = (held.state, held.attach_time);
        let volume_id = self.build_volume(plan.blueprint.clone(), &instance.zone, Some(held), tags);
        if let Some(billing) = &plan.billing
            && let Some(volume) = self.volumes.get_mut(&volume_id)
        {
            // The image decides what the root is billed as, whatever its snapshot says.
            volume.billing = Some(billing.clone());
        }
        let device = BlockDevice { volume_id, delete_on_termination: goes, state, attach_time };
        instance.block_devices.insert(plan.name.clone(), device);
    }
}

//! CreateImage: an image of an instance, from snapshots of its volumes at one point in time.
//!
//! Decides which volumes belong to it, what the image says of them, and when it may be launched. An image must never be
//! `available` before the last of its snapshots is completed, and never hold a write made after the call. All or
//! nothing: a rule that forbids a snapshot of one volume refuses the whole call.

use std::collections::BTreeSet;

use super::attachments::AttachmentState;
use super::images::{ImageState, RegisterImage, check_name};
use super::instances::{BlockDevice, Instance, InstanceState};
use super::launch_devices::check_mappings;
use super::launch_spec::{BlockDeviceMapping, Ebs};
use super::tags::{self, TagSpecification};
use super::{ApiError, Cloud, Due, Image, Kind, Volume};

/// CreateImage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CreateImage {
    /// The instance the image is made of.
    pub instance_id: String,
    /// Name, unique in the account.
    pub name: String,
    /// Description.
    pub description: Option<String>,
    /// Leaves a running instance alone; without it AWS reboots the instance, which the model does not.
    pub no_reboot: bool,
    /// Devices to leave out, or to give another `DeleteOnTermination`; nothing else of a device can be changed.
    pub block_devices: Vec<BlockDeviceMapping>,
    /// Tags for the image and for each of its snapshots.
    pub tag_specifications: Vec<TagSpecification>,
}

/// A volume the image will hold.
struct Part {
    device: String,
    volume: String,
    delete_on_termination: bool,
}

fn wrong_mapping(message: String) -> ApiError {
    ApiError::new("InvalidBlockDeviceMapping", message)
}

/// Refuses a mapping that says more of a device than CreateImage can change, or speaks of one that is not there.
fn check_mapping(instance: &Instance, mapping: &BlockDeviceMapping) -> Result<(), ApiError> {
    let name = &mapping.device_name;
    let Some(device) = instance.block_devices.get(name) else {
        // AWS would add a new volume to the image; nothing here needs that.
        return Err(wrong_mapping(format!("The instance '{}' has no device {name}.", instance.id)));
    };
    if mapping.no_device.is_some() {
        if mapping.ebs.is_some() || mapping.virtual_name.is_some() {
            return Err(wrong_mapping(format!("The device {name} is both left out and mapped.")));
        }
        if *name == instance.root_device_name {
            return Err(wrong_mapping(format!("The root device {name} cannot be left out.")));
        }
        return Ok(());
    }
    let only = |it: &Ebs| {
        *it == Ebs { delete_on_termination: it.delete_on_termination, ..Ebs::default() }
            && mapping.virtual_name.is_none()
    };
    if !mapping.ebs.as_ref().is_some_and(only) {
        return Err(wrong_mapping(format!("Only DeleteOnTermination of the device {name} can be changed.")));
    }
    if device.state != AttachmentState::Attached {
        return Err(wrong_mapping(format!("The device {name} is {}.", device.state.name())));
    }
    Ok(())
}

/// The volumes that are attached and not left out, with what becomes of each.
fn parts(instance: &Instance, mappings: &[BlockDeviceMapping]) -> Vec<Part> {
    let said = |name: &String| mappings.iter().find(|it| it.device_name == *name);
    let part = |(name, held): (&String, &BlockDevice)| {
        let mapping = said(name);
        let goes = mapping.and_then(|it| it.ebs.as_ref()?.delete_on_termination);
        let taken =
            held.state == AttachmentState::Attached && mapping.is_none_or(|it| it.no_device.is_none());
        taken.then(|| Part {
            device: name.clone(),
            volume: held.volume_id.clone(),
            delete_on_termination: goes.unwrap_or(held.delete_on_termination),
        })
    };
    instance.block_devices.iter().filter_map(part).collect()
}

/// What the image says of a volume.
fn mapping_of(part: &Part, volume: &Volume, snapshot_id: String) -> BlockDeviceMapping {
    // A gp2 volume's operations follow from its size, and cannot be asked for.
    let iops = volume.iops.filter(|_| volume.volume_type != "gp2");
    BlockDeviceMapping {
        device_name: part.device.clone(),
        ebs: Some(Ebs {
            snapshot_id: Some(snapshot_id),
            volume_size: Some(volume.size),
            volume_type: Some(volume.volume_type.clone()),
            iops,
            throughput: volume.throughput,
            delete_on_termination: Some(part.delete_on_termination),
            encrypted: Some(volume.encrypted),
            ..Ebs::default()
        }),
        ..BlockDeviceMapping::default()
    }
}

impl Cloud {
    /// CreateImage: fixes one point in time for the volumes of an instance; the image is `pending` until all of them are
    /// copied.
    pub fn create_image(&mut self, request: &CreateImage) -> Result<Image, ApiError> {
        self.admit("CreateImage")?;
        Kind::Instance.check(&request.instance_id)?;
        check_name(&request.name)?;
        tags::check_specifications(&request.tag_specifications, &["image", "snapshot"])?;
        check_mappings(&request.block_devices)?;
        let instance = self.visible_instance(&request.instance_id)?.clone();
        self.check_imaging(&instance, request)?;
        let parts = parts(&instance, &request.block_devices);
        for part in &parts {
            self.check_copying(&part.volume)?;
        }
        self.begin_image(&instance, &parts, request)
    }

    /// Refuses what the instance's state, its images under way or the names in use forbid.
    fn check_imaging(&self, instance: &Instance, request: &CreateImage) -> Result<(), ApiError> {
        let id = &instance.id;
        match instance.state {
            InstanceState::Stopped => {}
            InstanceState::Running if request.no_reboot => {}
            InstanceState::Running => {
                return Err(ApiError::value(format!(
                    "The local cloud does not reboot the instance '{id}': say NoReboot=true."
                )));
            }
            InstanceState::Pending
            | InstanceState::ShuttingDown
            | InstanceState::Terminated
            | InstanceState::Stopping => {
                return Err(super::lifecycle::wrong_state(id, "imaged"));
            }
        }
        if instance.root().is_none_or(|root| root.state != AttachmentState::Attached) {
            return Err(super::lifecycle::rootless(instance));
        }
        self.check_unused(&request.name)?;
        for mapping in &request.block_devices {
            check_mapping(instance, mapping)?;
        }
        let of_it =
            |it: &&Image| it.state == ImageState::Pending && it.source_instance_id.as_ref() == Some(id);
        if self.images.values().filter(of_it).count() >= self.settings.create_image_limit {
            return Err(ApiError::new(
                "ConcurrentCreateImageNoRebootLimitExceeded",
                format!(
                    "The maximum number of concurrent CreateImage requests for the instance '{id}' has been reached."
                ),
            ));
        }
        Ok(())
    }

    /// Makes the snapshots and the image of a checked call.
    fn begin_image(
        &mut self,
        instance: &Instance,
        parts: &[Part],
        request: &CreateImage,
    ) -> Result<Image, ApiError> {
        let id = self.ids.of(Kind::Image);
        let description = format!("Created by CreateImage({}) for {id}", instance.id);
        let tags = tags::for_type(&request.tag_specifications, "snapshot");
        let (mut block_devices, mut copying) = (Vec::new(), BTreeSet::new());
        for part in parts {
            let snapshot = self.begin_snapshot(&part.volume, &description, tags.clone())?;
            copying.insert(snapshot.id.clone());
            let volume =
                self.volumes.get(&part.volume).ok_or_else(|| Kind::Volume.not_found(&part.volume))?;
            block_devices.push(mapping_of(part, volume, snapshot.id));
        }
        let spec = RegisterImage {
            name: request.name.clone(),
            description: request.description.clone(),
            architecture: Some(instance.architecture.clone()),
            root_device_name: Some(instance.root_device_name.clone()),
            block_devices,
            virtualization_type: Some(instance.virtualization_type.clone()),
            ena_support: Some(instance.ena_support),
            sriov_net_support: instance.sriov_net_support.clone(),
            boot_mode: instance.boot_mode.clone(),
            tpm_support: instance.tpm_support.clone(),
            imds_support: instance.imds_support.clone(),
            uefi_data: instance.uefi_data.clone(),
            // Paravirtual instances, which alone have these, do not launch here.
            kernel_id: None,
            ramdisk_id: None,
            tag_specifications: request.tag_specifications.clone(),
        };
        let image = Image {
            id: id.clone(),
            state: ImageState::Pending,
            creation_date: self.now,
            tags: tags::for_type(&spec.tag_specifications, "image"),
            spec,
            billing: instance.billing.clone(),
            source_instance_id: Some(instance.id.clone()),
            copying,
        };
        self.images.insert(id, image.clone());
        Ok(image)
    }

    /// A snapshot has ended: with the last one of an image it is registered, with a failed one it has failed.
    pub(crate) fn end_copy(&mut self, snapshot_id: &str, failed: bool) {
        let stands = |it: &&mut Image| it.state == ImageState::Pending && it.copying.contains(snapshot_id);
        let Some(image) = self.images.values_mut().find(stands) else { return };
        let id = image.id.clone();
        image.copying.remove(snapshot_id);
        let copied = image.copying.is_empty();
        if failed {
            self.end_in_failure(&id);
        } else if copied {
            self.plan(self.settings.register_image, Due::ImageDone(id));
        }
    }
}

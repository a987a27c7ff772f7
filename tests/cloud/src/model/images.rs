//! Machine images: registered from completed snapshots, launchable once `available`, and holding their snapshots. Those
//! made of an instance begin in `create_image` and are images like any other from then on.
//!
//! An image must never claim another operating system's billing than its root snapshot carries.

use std::borrow::Cow;
use std::collections::BTreeSet;

use jiff::Timestamp;

use super::events::Fact;
use super::filter::Described;
use super::launch_devices::check_mappings;
use super::launch_spec::{BlockDeviceMapping, Ebs};
use super::tags::{self, TagSpecification, Tags};
use super::{ApiError, Billing, Cloud, Describe, Due, Kind, Page, SnapshotState};

/// Image states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageState {
    /// Being registered.
    Pending,
    /// Launchable.
    Available,
    /// Registration failed.
    Failed,
}

impl ImageState {
    /// The name the API uses.
    pub const fn name(self) -> &'static str {
        match self {
            ImageState::Pending => "pending",
            ImageState::Available => "available",
            ImageState::Failed => "failed",
        }
    }
}

/// A machine image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Id.
    pub id: String,
    /// State.
    pub state: ImageState,
    /// When it was registered.
    pub creation_date: Timestamp,
    /// What it was registered with; absent values are filled with the API's defaults.
    pub spec: RegisterImage,
    /// Billing codes derived from its root snapshot.
    pub billing: Billing,
    /// Tags.
    pub tags: Tags,
    /// The instance it was made of, CreateImage only.
    pub source_instance_id: Option<String>,
    /// Those of its snapshots that it waits for, CreateImage only.
    pub(crate) copying: BTreeSet<String>,
}

impl Image {
    /// Device name of the root volume.
    pub fn root_device(&self) -> &str {
        self.spec.root_device_name.as_deref().unwrap_or_default()
    }

    /// Processor architecture.
    pub fn architecture(&self) -> &str {
        self.spec.architecture.as_deref().unwrap_or("i386")
    }

    /// Virtualization type.
    pub fn virtualization(&self) -> &str {
        self.spec.virtualization_type.as_deref().unwrap_or("paravirtual")
    }

    /// Snapshots its block devices are made from.
    pub fn snapshot_ids(&self) -> impl Iterator<Item = &str> {
        self.spec.block_devices.iter().filter_map(|it| it.ebs.as_ref()?.snapshot_id.as_deref())
    }
}

/// RegisterImage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegisterImage {
    /// Name, unique in the account.
    pub name: String,
    /// Description.
    pub description: Option<String>,
    /// Architecture; `i386` when absent.
    pub architecture: Option<String>,
    /// Root device.
    pub root_device_name: Option<String>,
    /// Block devices.
    pub block_devices: Vec<BlockDeviceMapping>,
    /// Virtualization; `paravirtual` when absent.
    pub virtualization_type: Option<String>,
    /// Enhanced networking with ENA.
    pub ena_support: Option<bool>,
    /// Enhanced networking with the Intel function: `simple`.
    pub sriov_net_support: Option<String>,
    /// Boot mode.
    pub boot_mode: Option<String>,
    /// `v2.0`.
    pub tpm_support: Option<String>,
    /// `v2.0`.
    pub imds_support: Option<String>,
    /// UEFI variable store, base64.
    pub uefi_data: Option<String>,
    /// Kernel (paravirtual only).
    pub kernel_id: Option<String>,
    /// RAM disk (paravirtual only).
    pub ramdisk_id: Option<String>,
    /// Tags for the image.
    pub tag_specifications: Vec<TagSpecification>,
}

/// What became of one snapshot of a deregistered image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deregistered {
    /// Snapshot.
    pub snapshot_id: String,
    /// `success` or `skipped` (another image stands on it).
    pub return_code: &'static str,
}

impl Described for Image {
    const KIND: Kind = Kind::Image;
    const PAGE: (u32, u32) = (1, 1000);
    const FILTERS: &'static [&'static str] = &[
        "image-id",
        "name",
        "state",
        "architecture",
        "description",
        "owner-id",
        "is-public",
        "image-type",
        "root-device-name",
        "root-device-type",
        "virtualization-type",
        "boot-mode",
        "ena-support",
        "block-device-mapping.snapshot-id",
        "block-device-mapping.device-name",
        "creation-date",
        "source-instance-id",
    ];

    fn tags(&self) -> &Tags {
        &self.tags
    }

    fn made(&self) -> Timestamp {
        self.creation_date
    }

    fn values<'a>(&'a self, filter: &str, cloud: &'a Cloud) -> Vec<Cow<'a, str>> {
        let value: Option<Cow<'a, str>> = match filter {
            "image-id" => Some(self.id.as_str().into()),
            "name" => Some(self.spec.name.as_str().into()),
            "state" => Some(self.state.name().into()),
            "architecture" => Some(self.architecture().into()),
            "description" => self.spec.description.as_deref().map(Into::into),
            "owner-id" => Some(cloud.settings.account.as_str().into()),
            "is-public" => Some("false".into()),
            "image-type" => Some("machine".into()),
            "root-device-name" => Some(self.root_device().into()),
            "root-device-type" => Some("ebs".into()),
            "virtualization-type" => Some(self.virtualization().into()),
            "boot-mode" => self.spec.boot_mode.as_deref().map(Into::into),
            "ena-support" => Some(self.spec.ena_support.unwrap_or(false).to_string().into()),
            "creation-date" => Some(self.creation_date.to_string().into()),
            "source-instance-id" => self.source_instance_id.as_deref().map(Into::into),
            "block-device-mapping.snapshot-id" => return self.snapshot_ids().map(Cow::from).collect(),
            "block-device-mapping.device-name" => {
                return self.spec.block_devices.iter().map(|it| it.device_name.as_str().into()).collect();
            }
            _ => None,
        };
        value.into_iter().collect()
    }
}

/// Image names: 3 to 128 of the characters the API reference lists for RegisterImage and CreateImage.
pub(crate) fn check_name(name: &str) -> Result<(), ApiError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "()[] ./-'@_".contains(c);
    if (3..=128).contains(&name.chars().count()) && name.chars().all(allowed) {
        return Ok(());
    }
    Err(ApiError::new(
        "InvalidAMIName.Malformed",
        "AMI names must be between 3 and 128 characters long, and may contain letters, numbers, '(', ')', '.', '-', '/' and '_'",
    ))
}

/// Refuses a value outside an enumeration.
fn one_of(parameter: &str, value: Option<&str>, allowed: &[&str]) -> Result<(), ApiError> {
    match value {
        Some(value) if !allowed.contains(&value) => Err(ApiError::value(format!(
            "Value ({value}) for parameter {parameter} is invalid. Valid values: {}",
            allowed.join(", ")
        ))),
        Some(_) | None => Ok(()),
    }
}

impl Cloud {
    /// Images standing on a snapshot.
    pub(crate) fn images_on<'a>(&'a self, snapshot_id: &'a str) -> impl Iterator<Item = &'a Image> {
        self.images.values().filter(move |image| image.snapshot_ids().any(|it| it == snapshot_id))
    }

    /// RegisterImage.
    pub fn register_image(&mut self, request: &RegisterImage) -> Result<Image, ApiError> {
        self.admit("RegisterImage")?;
        check_name(&request.name)?;
        tags::check_specifications(&request.tag_specifications, &["image", "snapshot"])?;
        one_of(
            "architecture",
            request.architecture.as_deref(),
            &["i386", "x86_64", "arm64", "x86_64_mac", "arm64_mac"],
        )?;
        one_of("virtualizationType", request.virtualization_type.as_deref(), &["hvm", "paravirtual"])?;
        one_of("bootMode", request.boot_mode.as_deref(), &["legacy-bios", "uefi", "uefi-preferred"])?;
        one_of("tpmSupport", request.tpm_support.as_deref(), &["v2.0"])?;
        one_of("imdsSupport", request.imds_support.as_deref(), &["v2.0"])?;
        one_of("sriovNetSupport", request.sriov_net_support.as_deref(), &["simple"])?;
        self.check_unused(&request.name)?;
        check_mappings(&request.block_devices)?;
        let mut spec = request.clone();
        let mut billing = None;
        let root = spec.root_device_name.clone().ok_or_else(|| ApiError::missing("rootDeviceName"))?;
        for mapping in &mut spec.block_devices {
            let Some(ebs) = &mut mapping.ebs else { continue };
            let carried = self.check_mapping(&mapping.device_name, ebs)?;
            if mapping.device_name == root && ebs.snapshot_id.is_some() {
                billing = Some(carried.unwrap_or_else(Billing::linux));
            }
        }
        let billing = billing.ok_or_else(|| {
            ApiError::new(
                "InvalidBlockDeviceMapping",
                format!("The root device {root} must be mapped to a snapshot."),
            )
        })?;
        let image = self.place_image(spec, billing, self.now, ImageState::Pending);
        self.plan(self.settings.register_image, Due::ImageDone(image.id.clone()));
        Ok(image)
    }

    /// Refuses a name that an image has, in whatever state it is.
    pub(crate) fn check_unused(&self, name: &str) -> Result<(), ApiError> {
        match self.images.values().find(|it| it.spec.name == name) {
            None => Ok(()),
            Some(twin) => Err(ApiError::new(
                "InvalidAMIName.Duplicate",
                format!("AMI name {name} is already in use by AMI {}", twin.id),
            )),
        }
    }

    /// Checks a mapping of a new image and fills in the API's defaults; answers what its snapshot is billed as.
    fn check_mapping(&self, device: &str, ebs: &mut Ebs) -> Result<Option<Billing>, ApiError> {
        ebs.delete_on_termination.get_or_insert(true);
        let source = ebs.snapshot_id.clone();
        let Some(id) = &source else {
            self.blueprint(&ebs.wish())?;
            return Ok(None);
        };
        Kind::Snapshot.check(id)?;
        let snapshot = self.snapshots.get(id).filter(|it| self.sees(it.start_time));
        let snapshot = snapshot.ok_or_else(|| Kind::Snapshot.not_found(id))?;
        if snapshot.state != SnapshotState::Completed {
            return Err(ApiError::state(format!(
                "Snapshot {id} is in invalid state - {}",
                snapshot.state.name()
            )));
        }
        if ebs.encrypted.is_some() || ebs.kms_key_id.is_some() {
            return Err(ApiError::new(
                "InvalidBlockDeviceMapping",
                format!(
                    "the encrypted flag cannot be specified since device {device} has a snapshot specified."
                ),
            ));
        }
        self.blueprint(&ebs.wish())?;
        ebs.volume_size.get_or_insert(snapshot.volume_size);
        ebs.volume_type.get_or_insert_with(|| "gp2".to_owned());
        ebs.encrypted = Some(snapshot.encrypted);
        Ok(snapshot.billing.clone())
    }

    pub(crate) fn place_image(
        &mut self,
        spec: RegisterImage,
        billing: Billing,
        creation_date: Timestamp,
        state: ImageState,
    ) -> Image {
        let id = self.ids.of(Kind::Image);
        let tags = tags::for_type(&spec.tag_specifications, "image");
        let image = Image {
            id: id.clone(),
            state,
            creation_date,
            spec,
            billing,
            tags,
            source_instance_id: None,
            copying: BTreeSet::new(),
        };
        self.images.insert(id, image.clone());
        image
    }

    pub(crate) fn finish_image(&mut self, id: &str) {
        let Some(image) = self.images.get_mut(id) else { return };
        if image.state == ImageState::Pending {
            image.state = ImageState::Available;
            self.emit(Fact::Image { image: id.to_owned(), state: "available", error: String::new() });
        }
    }

    /// Makes a pending image end in `failed`, with the event that says so; its snapshots go on. For tests.
    pub fn fail_image(&mut self, id: &str) -> Result<(), ApiError> {
        let image = self.images.get(id).ok_or_else(|| Kind::Image.not_found(id))?;
        if image.state != ImageState::Pending {
            return Err(ApiError::state(format!("Image {id} is {}", image.state.name())));
        }
        self.end_in_failure(id);
        Ok(())
    }

    /// Puts an image into `failed`, with its event.
    pub(crate) fn end_in_failure(&mut self, id: &str) {
        let Some(image) = self.images.get_mut(id) else { return };
        image.state = ImageState::Failed;
        let error = "Internal error".to_owned();
        self.emit(Fact::Image { image: id.to_owned(), state: "failed", error });
    }

    /// An image to act on: known, visible, not deregistered.
    pub(crate) fn usable_image(&self, id: &str) -> Result<&Image, ApiError> {
        Kind::Image.check(id)?;
        if self.deregistered.contains(id) {
            return Err(unavailable(id));
        }
        let image = self.images.get(id).filter(|it| self.sees(it.creation_date));
        image.ok_or_else(|| Kind::Image.not_found(id))
    }

    /// An image that can be launched.
    pub(crate) fn launchable_image(&self, id: &str) -> Result<&Image, ApiError> {
        let image = self.usable_image(id)?;
        if image.state == ImageState::Available { Ok(image) } else { Err(unavailable(id)) }
    }

    /// DeregisterImage; with `delete_snapshots` also its snapshots, those of other images excepted.
    pub fn deregister_image(
        &mut self,
        id: &str,
        delete_snapshots: bool,
    ) -> Result<Vec<Deregistered>, ApiError> {
        self.admit("DeregisterImage")?;
        let image = self.usable_image(id)?;
        let mut snapshots: Vec<String> = Vec::new();
        for snapshot_id in image.snapshot_ids() {
            // Two devices may come from one snapshot.
            if !snapshots.iter().any(|it| it == snapshot_id) {
                snapshots.push(snapshot_id.to_owned());
            }
        }
        self.images.remove(id);
        self.deregistered.insert(id.to_owned());
        let held = self.after(self.settings.image_hold);
        let mut results = Vec::new();
        for snapshot_id in snapshots {
            let shared = self.images_on(&snapshot_id).next().is_some();
            if !delete_snapshots {
                if let Some(snapshot) = self.snapshots.get_mut(&snapshot_id) {
                    snapshot.held_until = Some(held);
                }
                continue;
            }
            if !shared {
                self.erase_snapshot(&snapshot_id);
            }
            results
                .push(Deregistered { snapshot_id, return_code: if shared { "skipped" } else { "success" } });
        }
        self.emit(Fact::Image { image: id.to_owned(), state: "deregistered", error: String::new() });
        Ok(results)
    }

    /// DescribeImages.
    pub fn describe_images(&mut self, request: &Describe) -> Result<Page<Image>, ApiError> {
        self.admit_describe("DescribeImages", true)?;
        let ours = self.owned_by(&request.owners);
        self.describe(&self.images, request, |_| ours)
    }
}

fn unavailable(id: &str) -> ApiError {
    ApiError::new(
        "InvalidAMIID.Unavailable",
        format!("The image ID '{id}' is no longer available or not yet ready"),
    )
}

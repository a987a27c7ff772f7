//! EBS volumes: their states, what is on them, and who holds them.
//!
//! A volume's contents are a counter of guest writes and the ids it descends from: enough to see a lost byte. A volume
//! must never lose its contents while it exists, and never be deleted while attached.

use std::borrow::Cow;
use std::sync::Arc;

use jiff::Timestamp;

use super::attachments::VolumeAttachment;
use super::events::Fact;
use super::filter::Described;
use super::modifications::VolumeShape;
use super::tags::{self, TagSpecification, Tags};
use super::{ApiError, Billing, Cloud, Describe, Due, Kind, Page, Remembered, Snapshot, SnapshotState};

/// What is on a volume or in a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// How many times a guest wrote, over the whole descent.
    pub writes: u64,
    /// Volumes and snapshots it came from, oldest first.
    pub lineage: Vec<String>,
}

/// Volume states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumeState {
    /// Being made.
    Creating,
    /// Attached to nothing.
    Available,
    /// Attached.
    InUse,
}

impl VolumeState {
    /// The name the API uses.
    pub const fn name(self) -> &'static str {
        match self {
            VolumeState::Creating => "creating",
            VolumeState::Available => "available",
            VolumeState::InUse => "in-use",
        }
    }
}

/// An EBS volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Id.
    pub id: String,
    /// State.
    pub state: VolumeState,
    /// Size in GiB.
    pub size: u32,
    /// Type, for example `gp3`.
    pub volume_type: String,
    /// Provisioned operations a second, where the type has them.
    pub iops: Option<u32>,
    /// Provisioned MiB a second, `gp3` only.
    pub throughput: Option<u32>,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// Key it is encrypted with.
    pub kms_key_id: Option<String>,
    /// The snapshot it was made from.
    pub snapshot_id: Option<String>,
    /// Availability Zone.
    pub zone: String,
    /// When it was made.
    pub create_time: Timestamp,
    /// Who holds it; at most one, unless it has Multi-Attach.
    pub attachments: Vec<VolumeAttachment>,
    /// Whether several instances may hold it.
    pub multi_attach: bool,
    /// Tags.
    pub tags: Tags,
    /// What is on it.
    pub contents: Contents,
    /// Billing codes it carries.
    pub billing: Option<Billing>,
    /// Writes the newest snapshot already holds; the next one copies only what came after.
    pub snapshotted: u64,
    /// When its newest snapshot was asked for.
    pub last_snapshot: Option<Timestamp>,
    /// Its snapshots that are pending or failed, which count against the limit of concurrent ones.
    pub unfinished: Vec<String>,
}

impl Volume {
    /// Who holds it; the first one of several.
    pub fn attachment(&self) -> Option<&VolumeAttachment> {
        self.attachments.first()
    }

    /// Its attachment to an instance.
    pub fn attachment_to(&self, instance_id: &str) -> Option<&VolumeAttachment> {
        self.attachments.iter().find(|it| it.instance_id == instance_id)
    }
}

/// CreateVolume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CreateVolume {
    /// Availability Zone; required.
    pub zone: String,
    /// Size in GiB; the snapshot's when absent.
    pub size: Option<u32>,
    /// Type; `gp2` when absent.
    pub volume_type: Option<String>,
    /// Operations a second.
    pub iops: Option<u32>,
    /// MiB a second.
    pub throughput: Option<u32>,
    /// Whether to encrypt.
    pub encrypted: Option<bool>,
    /// Key.
    pub kms_key_id: Option<String>,
    /// Snapshot to fill it from.
    pub snapshot_id: Option<String>,
    /// Whether several instances may hold it, `io1` and `io2` only.
    pub multi_attach: Option<bool>,
    /// Tags for the volume.
    pub tag_specifications: Vec<TagSpecification>,
    /// Idempotency token.
    pub client_token: Option<String>,
}

/// Everything about a volume that is settled before it exists.
#[derive(Clone, Debug)]
pub(crate) struct Blueprint {
    size: u32,
    volume_type: String,
    iops: Option<u32>,
    throughput: Option<u32>,
    encrypted: bool,
    kms_key_id: Option<String>,
    snapshot_id: Option<String>,
    multi_attach: bool,
    contents: Contents,
    billing: Option<Billing>,
}

impl Blueprint {
    pub(crate) fn shape(self) -> VolumeShape {
        VolumeShape {
            size: self.size,
            volume_type: self.volume_type,
            iops: self.iops,
            throughput: self.throughput,
        }
    }
}

/// What a caller may choose about a new volume.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wish<'a> {
    pub(crate) size: Option<u32>,
    pub(crate) volume_type: Option<&'a str>,
    pub(crate) iops: Option<u32>,
    pub(crate) throughput: Option<u32>,
    pub(crate) encrypted: Option<bool>,
    pub(crate) kms_key_id: Option<&'a str>,
    pub(crate) snapshot_id: Option<&'a str>,
    pub(crate) multi_attach: Option<bool>,
}

/// The volume types and the sizes they allow, in GiB (EBS User Guide, *EBS volume types*).
fn size_limits(volume_type: &str) -> Result<(u32, u32), ApiError> {
    match volume_type {
        "gp2" => Ok((1, 16_384)),
        "gp3" => Ok((1, 65_536)),
        "io1" => Ok((4, 16_384)),
        "io2" => Ok((4, 65_536)),
        "st1" | "sc1" => Ok((125, 16_384)),
        "standard" => Ok((1, 1024)),
        unknown => Err(ApiError::value(format!(
            "Value ({unknown}) for parameter volumeType is invalid. Valid values: standard, io1, gp2, sc1, st1, gp3, io2"
        ))),
    }
}

/// Refuses a figure outside its bounds.
fn within(what: &str, volume_type: &str, figure: u32, (least, most): (u32, u32)) -> Result<(), ApiError> {
    if (least..=most).contains(&figure) {
        return Ok(());
    }
    Err(ApiError::value(format!("Volume {what} of {figure} is out of range for {volume_type}.")))
}

/// Refuses more operations than a volume's size allows.
fn check_ratio(iops: u32, size: u32, most: u32) -> Result<(), ApiError> {
    if u64::from(iops) <= u64::from(size) * u64::from(most) {
        return Ok(());
    }
    Err(ApiError::value(format!(
        "Iops to volume size ratio of {:.6} is too high; maximum is {most} iops per GiB",
        f64::from(iops) / f64::from(size)
    )))
}

/// Operations and MiB a second.
type Performance = (Option<u32>, Option<u32>);

/// The performance a volume gets, refusing what its type does not have (EBS User Guide, *EBS volume types*).
fn performance(volume_type: &str, size: u32, wish: &Wish<'_>) -> Result<Performance, ApiError> {
    if wish.throughput.is_some() && volume_type != "gp3" {
        return Err(ApiError::combination(format!(
            "The parameter throughput is not supported for {volume_type} volumes."
        )));
    }
    match volume_type {
        "gp3" => {
            let (iops, throughput) = (wish.iops.unwrap_or(3000), wish.throughput.unwrap_or(125));
            within("iops", volume_type, iops, (3000, 80_000))?;
            within("throughput", volume_type, throughput, (125, 2000))?;
            if iops > 3000 {
                check_ratio(iops, size, 500)?;
            }
            if throughput * 4 > iops {
                return Err(ApiError::value(format!(
                    "Throughput (MiBps) to iops ratio of {:.6} is too high; maximum is 0.250000 MiBps per iops.",
                    f64::from(throughput) / f64::from(iops)
                )));
            }
            Ok((Some(iops), Some(throughput)))
        }
        "io1" | "io2" => {
            let iops = wish.iops.ok_or_else(|| ApiError::missing("iops"))?;
            let (most, ratio) = if volume_type == "io1" { (64_000, 50) } else { (256_000, 1000) };
            within("iops", volume_type, iops, (100, most))?;
            check_ratio(iops, size, ratio)?;
            Ok((Some(iops), None))
        }
        plain if wish.iops.is_some() => {
            Err(ApiError::combination(format!("The parameter iops is not supported for {plain} volumes.")))
        }
        "gp2" => Ok((Some((size * 3).clamp(100, 16_000)), None)),
        _ => Ok((None, None)),
    }
}

impl Described for Volume {
    const KIND: Kind = Kind::Volume;
    const FILTERS: &'static [&'static str] = &[
        "volume-id",
        "status",
        "size",
        "volume-type",
        "encrypted",
        "snapshot-id",
        "availability-zone",
        "create-time",
        "attachment.instance-id",
        "attachment.device",
        "attachment.status",
        "attachment.delete-on-termination",
        "multi-attach-enabled",
    ];

    fn tags(&self) -> &Tags {
        &self.tags
    }

    fn made(&self) -> Timestamp {
        self.create_time
    }

    fn values<'a>(&'a self, filter: &str, _: &'a Cloud) -> Vec<Cow<'a, str>> {
        let value: Option<Cow<'a, str>> = match filter {
            "volume-id" => Some(self.id.as_str().into()),
            "status" => Some(self.state.name().into()),
            "size" => Some(self.size.to_string().into()),
            "volume-type" => Some(self.volume_type.as_str().into()),
            "encrypted" => Some(self.encrypted.to_string().into()),
            "snapshot-id" => Some(self.snapshot_id.as_deref().unwrap_or_default().into()),
            "availability-zone" => Some(self.zone.as_str().into()),
            "create-time" => Some(self.create_time.to_string().into()),
            "multi-attach-enabled" => Some(self.multi_attach.to_string().into()),
            "attachment.instance-id" => {
                return self.attachments.iter().map(|it| it.instance_id.as_str().into()).collect();
            }
            "attachment.device" => {
                return self.attachments.iter().map(|it| it.device.as_str().into()).collect();
            }
            "attachment.status" => {
                return self.attachments.iter().map(|it| it.state.name().into()).collect();
            }
            "attachment.delete-on-termination" => {
                return self
                    .attachments
                    .iter()
                    .map(|it| it.delete_on_termination.to_string().into())
                    .collect();
            }
            _ => None,
        };
        value.into_iter().collect()
    }
}

impl Cloud {
    /// A snapshot that volumes can be made from.
    fn source(&self, id: &str) -> Result<&Snapshot, ApiError> {
        Kind::Snapshot.check(id)?;
        let snapshot = self.snapshots.get(id).filter(|it| self.sees(it.start_time));
        let snapshot = snapshot.ok_or_else(|| Kind::Snapshot.not_found(id))?;
        if snapshot.state == SnapshotState::Completed {
            return Ok(snapshot);
        }
        Err(ApiError::state(format!("Snapshot is in invalid state - {}", snapshot.state.name())))
    }

    /// Settles a volume's size, performance and contents, or refuses.
    pub(crate) fn blueprint(&self, wish: &Wish<'_>) -> Result<Blueprint, ApiError> {
        let source = wish.snapshot_id.map(|id| self.source(id)).transpose()?;
        let size = wish.size.or(source.map(|it| it.volume_size)).ok_or_else(|| {
            ApiError::new("MissingParameter", "The request must contain the parameter size/snapshot")
        })?;
        if let Some(snapshot) = source.filter(|it| it.volume_size > size) {
            return Err(ApiError::new(
                "InvalidBlockDeviceMapping",
                format!(
                    "Volume of size {size}GB is smaller than snapshot '{}', expect size>= {}GB",
                    snapshot.id, snapshot.volume_size
                ),
            ));
        }
        let volume_type = wish.volume_type.unwrap_or("gp2");
        let (least, most) = size_limits(volume_type)?;
        if !(least..=most).contains(&size) {
            return Err(ApiError::value(format!(
                "Volume size {size} GiB is out of range for {volume_type}: {least} to {most} GiB."
            )));
        }
        let (iops, throughput) = performance(volume_type, size, wish)?;
        let multi_attach = wish.multi_attach.unwrap_or(false);
        if multi_attach && !matches!(volume_type, "io1" | "io2") {
            return Err(ApiError::combination(format!(
                "The parameter multiAttachEnabled is not supported for {volume_type} volumes."
            )));
        }
        if wish.kms_key_id.is_some() && wish.encrypted != Some(true) {
            return Err(ApiError::new(
                "InvalidParameterDependency",
                "The parameter KmsKeyId requires the parameter Encrypted to be set.",
            ));
        }
        let mut contents = source.map(|it| it.contents.clone()).unwrap_or_default();
        contents.lineage.extend(source.map(|it| it.id.clone()));
        Ok(Blueprint {
            size,
            volume_type: volume_type.to_owned(),
            iops,
            throughput,
            encrypted: wish.encrypted.unwrap_or(false) || source.is_some_and(|it| it.encrypted),
            kms_key_id: wish.kms_key_id.map(str::to_owned).or_else(|| source?.kms_key_id.clone()),
            snapshot_id: source.map(|it| it.id.clone()),
            multi_attach,
            contents,
            billing: source.and_then(|it| it.billing.clone()),
        })
    }

    /// Makes the volume of a blueprint; it comes `in-use` with an attachment, `creating` without.
    pub(crate) fn build_volume(
        &mut self,
        plan: Blueprint,
        zone: &str,
        attachment: Option<VolumeAttachment>,
        tags: Tags,
    ) -> String {
        let id = self.ids.of(Kind::Volume);
        let volume = Volume {
            id: id.clone(),
            state: if attachment.is_some() { VolumeState::InUse } else { VolumeState::Creating },
            size: plan.size,
            volume_type: plan.volume_type,
            iops: plan.iops,
            throughput: plan.throughput,
            encrypted: plan.encrypted,
            kms_key_id: plan.kms_key_id,
            snapshot_id: plan.snapshot_id,
            zone: zone.to_owned(),
            create_time: self.now,
            attachments: attachment.into_iter().collect(),
            multi_attach: plan.multi_attach,
            tags,
            snapshotted: plan.contents.writes,
            contents: plan.contents,
            billing: plan.billing,
            last_snapshot: None,
            unfinished: Vec::new(),
        };
        self.volumes.insert(id.clone(), volume);
        id
    }

    /// CreateVolume.
    pub fn create_volume(&mut self, request: &CreateVolume) -> Result<Volume, ApiError> {
        const ACTION: &str = "CreateVolume";
        self.admit(ACTION)?;
        super::launch::check_token(request.client_token.as_deref())?;
        let token = request.client_token.as_ref().map(|token| (ACTION, token.clone()));
        if let Some(Remembered::Volume(earlier, id)) = token.as_ref().and_then(|key| self.tokens.get(key)) {
            super::launch::same(&**earlier, request)?;
            return self.volumes.get(id).cloned().ok_or_else(|| Kind::Volume.not_found(id));
        }
        tags::check_specifications(&request.tag_specifications, &["volume"])?;
        if !self.settings.zones.contains(&request.zone) {
            return Err(ApiError::new(
                "InvalidZone.NotFound",
                format!("The zone '{}' does not exist.", request.zone),
            ));
        }
        let wish = Wish {
            size: request.size,
            volume_type: request.volume_type.as_deref(),
            iops: request.iops,
            throughput: request.throughput,
            encrypted: request.encrypted,
            kms_key_id: request.kms_key_id.as_deref(),
            snapshot_id: request.snapshot_id.as_deref(),
            multi_attach: request.multi_attach,
        };
        // There is no mapping here that could be wrong.
        let plan = self.blueprint(&wish).map_err(|error| match error.code.as_ref() {
            "InvalidBlockDeviceMapping" => ApiError::value(error.message),
            _ => error,
        })?;
        let tags = tags::for_type(&request.tag_specifications, "volume");
        let id = self.build_volume(plan, &request.zone, None, tags);
        self.plan(self.settings.create_volume, Due::VolumeReady(id.clone()));
        if let Some(key) = token {
            self.tokens.insert(key, Remembered::Volume(Arc::new(request.clone()), id.clone()));
        }
        self.volumes.get(&id).cloned().ok_or_else(|| Kind::Volume.not_found(&id))
    }

    pub(crate) fn finish_volume(&mut self, id: &str) {
        let Some(volume) = self.volumes.get_mut(id) else { return };
        if volume.state == VolumeState::Creating {
            volume.state = VolumeState::Available;
            self.emit(Fact::Volume { volume: id.to_owned(), event: "createVolume", result: "available" });
        }
    }

    /// A volume that reads can see.
    pub(crate) fn visible_volume(&self, id: &str) -> Result<&Volume, ApiError> {
        let volume = self.volumes.get(id).filter(|it| self.sees(it.create_time));
        volume.ok_or_else(|| Kind::Volume.not_found(id))
    }

    /// DeleteVolume; refused while the volume is attached.
    pub fn delete_volume(&mut self, id: &str) -> Result<(), ApiError> {
        self.admit("DeleteVolume")?;
        Kind::Volume.check(id)?;
        let volume = self.visible_volume(id)?;
        if let Some(attachment) = volume.attachment() {
            return Err(ApiError::new(
                "VolumeInUse",
                format!("Volume {id} is currently attached to {}", attachment.instance_id),
            ));
        }
        if volume.state == VolumeState::Creating {
            return Err(ApiError::state(format!("Volume {id} is in state creating")));
        }
        self.volumes.remove(id);
        self.modifications.remove(id);
        self.emit(Fact::Volume { volume: id.to_owned(), event: "deleteVolume", result: "deleted" });
        Ok(())
    }

    /// DescribeVolumes.
    pub fn describe_volumes(&mut self, request: &Describe) -> Result<Page<Volume>, ApiError> {
        self.admit_describe("DescribeVolumes", request.is_narrow())?;
        self.describe(&self.volumes, request, |_| true)
    }

    /// What is on a volume.
    pub fn contents(&self, volume_id: &str) -> Option<Contents> {
        self.volumes.get(volume_id).map(|volume| volume.contents.clone())
    }
}

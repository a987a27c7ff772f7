//! EBS volumes: their states, what is on them, and who holds them.
//!
//! A volume's contents are a counter of guest writes and the ids it descends from: enough to see a lost byte. A volume
//! must never lose its contents while it exists, and never be deleted while attached.

use std::borrow::Cow;
use std::sync::Arc;

use jiff::Timestamp;

use super::events::Fact;
use super::filter::Described;
use super::tags::{self, TagSpecification, Tags};
use super::{ApiError, Billing, Cloud, Describe, Due, Kind, Page, Remembered, SnapshotState};

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

/// A volume's attachment to an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeAttachment {
    /// The instance.
    pub instance_id: String,
    /// Device name.
    pub device: String,
    /// When it was attached.
    pub attach_time: Timestamp,
    /// Whether it goes with the instance.
    pub delete_on_termination: bool,
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
    /// Who holds it.
    pub attachment: Option<VolumeAttachment>,
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
    contents: Contents,
    billing: Option<Billing>,
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

/// The performance a volume gets, refusing what its type does not have.
fn performance(
    volume_type: &str,
    size: u32,
    wish: &Wish<'_>,
) -> Result<(Option<u32>, Option<u32>), ApiError> {
    if wish.throughput.is_some() && volume_type != "gp3" {
        return Err(ApiError::combination(format!(
            "The parameter throughput is not supported for {volume_type} volumes."
        )));
    }
    match volume_type {
        "gp3" => {
            let (iops, throughput) = (wish.iops.unwrap_or(3000), wish.throughput.unwrap_or(125));
            if !(3000..=80_000).contains(&iops) {
                return Err(ApiError::value(format!("Volume iops of {iops} is out of range for gp3.")));
            }
            if !(125..=2000).contains(&throughput) {
                return Err(ApiError::value(format!(
                    "Throughput of {throughput} MiB/s is out of range for gp3."
                )));
            }
            Ok((Some(iops), Some(throughput)))
        }
        "io1" | "io2" => wish.iops.map(|iops| (Some(iops), None)).ok_or_else(|| ApiError::missing("iops")),
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
    ];

    fn tags(&self) -> &Tags {
        &self.tags
    }

    fn made(&self) -> Timestamp {
        self.create_time
    }

    fn values<'a>(&'a self, filter: &str, _: &'a Cloud) -> Vec<Cow<'a, str>> {
        let held = self.attachment.as_ref();
        let value: Option<Cow<'a, str>> = match filter {
            "volume-id" => Some(self.id.as_str().into()),
            "status" => Some(self.state.name().into()),
            "size" => Some(self.size.to_string().into()),
            "volume-type" => Some(self.volume_type.as_str().into()),
            "encrypted" => Some(self.encrypted.to_string().into()),
            "snapshot-id" => Some(self.snapshot_id.as_deref().unwrap_or_default().into()),
            "availability-zone" => Some(self.zone.as_str().into()),
            "create-time" => Some(self.create_time.to_string().into()),
            "attachment.instance-id" => held.map(|it| it.instance_id.as_str().into()),
            "attachment.device" => held.map(|it| it.device.as_str().into()),
            "attachment.status" => held.map(|_| "attached".into()),
            "attachment.delete-on-termination" => held.map(|it| it.delete_on_termination.to_string().into()),
            _ => None,
        };
        value.into_iter().collect()
    }
}

impl Cloud {
    /// Settles a volume's size, performance and contents, or refuses.
    pub(crate) fn blueprint(&self, wish: &Wish<'_>) -> Result<Blueprint, ApiError> {
        let source = match wish.snapshot_id {
            None => None,
            Some(id) => {
                Kind::Snapshot.check(id)?;
                let snapshot = self.snapshots.get(id).filter(|it| self.sees(it.start_time));
                let snapshot = snapshot.ok_or_else(|| Kind::Snapshot.not_found(id))?;
                if snapshot.state != SnapshotState::Completed {
                    return Err(ApiError::state(format!(
                        "Snapshot is in invalid state - {}",
                        snapshot.state.name()
                    )));
                }
                Some(snapshot)
            }
        };
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
            attachment,
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
        let plan = self.blueprint(&Wish {
            size: request.size,
            volume_type: request.volume_type.as_deref(),
            iops: request.iops,
            throughput: request.throughput,
            encrypted: request.encrypted,
            kms_key_id: request.kms_key_id.as_deref(),
            snapshot_id: request.snapshot_id.as_deref(),
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

    /// Lets go of a volume after its instance terminated: deleted if it was to go with it, else `available`.
    pub(crate) fn release_volume(&mut self, id: &str) {
        let Some(volume) = self.volumes.get_mut(id) else { return };
        let Some(attachment) = volume.attachment.take() else { return };
        volume.state = VolumeState::Available;
        if attachment.delete_on_termination {
            self.volumes.remove(id);
            self.emit(Fact::Volume { volume: id.to_owned(), event: "deleteVolume", result: "deleted" });
        }
    }

    /// ModifyVolume: size and type, in force at once. A volume never shrinks.
    pub fn modify_volume(
        &mut self,
        id: &str,
        size: Option<u32>,
        volume_type: Option<&str>,
    ) -> Result<(), ApiError> {
        self.admit("ModifyVolume")?;
        Kind::Volume.check(id)?;
        let volume = self.volumes.get(id).filter(|it| self.sees(it.create_time));
        let volume = volume.ok_or_else(|| Kind::Volume.not_found(id))?;
        let size = size.unwrap_or(volume.size);
        if size < volume.size {
            return Err(ApiError::value("New size cannot be smaller than existing size"));
        }
        let volume_type = volume_type.unwrap_or(&volume.volume_type).to_owned();
        let wish = Wish { size: Some(size), volume_type: Some(&volume_type), ..Wish::default() };
        let wanted = self.blueprint(&wish)?;
        if let Some(volume) = self.volumes.get_mut(id) {
            (volume.size, volume.volume_type) = (wanted.size, wanted.volume_type);
            (volume.iops, volume.throughput) = (wanted.iops, wanted.throughput);
        }
        Ok(())
    }

    /// DeleteVolume; refused while the volume is attached.
    pub fn delete_volume(&mut self, id: &str) -> Result<(), ApiError> {
        self.admit("DeleteVolume")?;
        Kind::Volume.check(id)?;
        let volume = self.volumes.get(id).filter(|it| self.sees(it.create_time));
        let volume = volume.ok_or_else(|| Kind::Volume.not_found(id))?;
        if let Some(attachment) = &volume.attachment {
            return Err(ApiError::new(
                "VolumeInUse",
                format!("Volume {id} is currently attached to {}", attachment.instance_id),
            ));
        }
        if volume.state == VolumeState::Creating {
            return Err(ApiError::state(format!("Volume {id} is in state creating")));
        }
        self.volumes.remove(id);
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

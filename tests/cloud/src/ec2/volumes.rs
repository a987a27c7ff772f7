//! Volumes on the wire.

use crate::model::{ApiError, AttachVolume, Cloud, CreateVolume, DetachVolume, Volume, VolumeAttachment};

use super::done;
use super::query::Params;
use super::xml::Nodes;

fn attachment(volume_id: &str, held: &VolumeAttachment) -> Nodes {
    Nodes::new()
        .text("volumeId", volume_id)
        .text("instanceId", &held.instance_id)
        .text("device", &held.device)
        .text("status", held.state.name())
        .time("attachTime", held.attach_time)
        .text("deleteOnTermination", held.delete_on_termination)
}

fn write(it: &Volume) -> Nodes {
    Nodes::new()
        .text("volumeId", &it.id)
        .text("size", it.size)
        .text("snapshotId", it.snapshot_id.as_deref().unwrap_or_default())
        .text("availabilityZone", &it.zone)
        .text("status", it.state.name())
        .time("createTime", it.create_time)
        .list("attachmentSet", &it.attachments, |held| attachment(&it.id, held))
        .tags(&it.tags)
        .text("volumeType", &it.volume_type)
        .maybe("iops", it.iops)
        .maybe("throughput", it.throughput)
        .text("encrypted", it.encrypted)
        .maybe("kmsKeyId", it.kms_key_id.as_ref())
        .text("multiAttachEnabled", it.multi_attach)
}

pub(super) fn create(cloud: &mut Cloud, p: &mut Params) -> Result<Nodes, ApiError> {
    let request = CreateVolume {
        zone: p.need("AvailabilityZone")?,
        size: p.number("Size")?,
        volume_type: p.text("VolumeType"),
        iops: p.number("Iops")?,
        throughput: p.number("Throughput")?,
        encrypted: p.flag("Encrypted")?,
        kms_key_id: p.text("KmsKeyId"),
        snapshot_id: p.text("SnapshotId").filter(|it| !it.is_empty()),
        multi_attach: p.flag("MultiAttachEnabled")?,
        tag_specifications: p.tag_specifications()?,
        client_token: p.text("ClientToken").filter(|it| !it.is_empty()),
    };
    // Volumes are filled at once here, so that the rate changes nothing.
    p.number::<u32>("VolumeInitializationRate")?;
    p.end()?;
    cloud.create_volume(&request).map(|it| write(&it))
}

pub(super) fn delete(cloud: &mut Cloud, p: &mut Params) -> Result<Nodes, ApiError> {
    let id = p.need("VolumeId")?;
    p.end()?;
    cloud.delete_volume(&id)?;
    Ok(done())
}

pub(super) fn describe(cloud: &mut Cloud, p: &mut Params) -> Result<Nodes, ApiError> {
    let request = p.describe("VolumeId")?;
    p.end()?;
    let page = cloud.describe_volumes(&request)?;
    Ok(Nodes::new().list("volumeSet", &page.items, write).maybe("nextToken", page.next_token.as_ref()))
}

pub(super) fn attach(cloud: &mut Cloud, p: &mut Params) -> Result<Nodes, ApiError> {
    let request = AttachVolume {
        volume_id: p.need("VolumeId")?,
        instance_id: p.need("InstanceId")?,
        device: p.need("Device")?,
    };
    p.end()?;
    let held = cloud.attach_volume(&request)?;
    Ok(attachment(&request.volume_id, &held))
}

pub(super) fn detach(cloud: &mut Cloud, p: &mut Params) -> Result<Nodes, ApiError> {
    let request = DetachVolume {
        volume_id: p.need("VolumeId")?,
        instance_id: p.text("InstanceId").filter(|it| !it.is_empty()),
        device: p.text("Device").filter(|it| !it.is_empty()),
        force: p.flag("Force")?.unwrap_or(false),
    };
    p.end()?;
    let held = cloud.detach_volume(&request)?;
    Ok(attachment(&request.volume_id, &held))
}

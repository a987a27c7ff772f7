//! Volumes on the wire.

use crate::model::{
    ApiError, AttachVolume, Cloud, CreateVolume, DetachVolume, ModifyVolume, Volume, VolumeAttachment,
    VolumeModification,
};

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

fn modification(cloud: &Cloud, it: &VolumeModification) -> Nodes {
    let mut nodes = Nodes::new()
        .text("volumeId", &it.volume_id)
        .text("modificationState", it.state.name())
        .text("targetSize", it.target.size)
        .maybe("targetIops", it.target.iops)
        .text("targetVolumeType", &it.target.volume_type)
        .maybe("targetThroughput", it.target.throughput)
        .text("targetMultiAttachEnabled", it.multi_attach)
        .text("originalSize", it.original.size)
        .maybe("originalIops", it.original.iops)
        .text("originalVolumeType", &it.original.volume_type)
        .maybe("originalThroughput", it.original.throughput)
        .text("originalMultiAttachEnabled", it.multi_attach)
        .text("progress", it.progress(cloud.now()))
        .time("startTime", it.start_time);
    if let Some(ended) = it.end_time {
        nodes = nodes.time("endTime", ended);
    }
    nodes
}

pub(super) fn modify(cloud: &mut Cloud, p: &mut Params) -> Result<Nodes, ApiError> {
    let request = ModifyVolume {
        volume_id: p.need("VolumeId")?,
        size: p.number("Size")?,
        volume_type: p.text("VolumeType"),
        iops: p.number("Iops")?,
        throughput: p.number("Throughput")?,
    };
    p.end()?;
    let made = cloud.modify_volume(&request)?;
    Ok(Nodes::new().node("volumeModification", modification(cloud, &made)))
}

pub(super) fn describe_modifications(cloud: &mut Cloud, p: &mut Params) -> Result<Nodes, ApiError> {
    let request = p.describe("VolumeId")?;
    p.end()?;
    let page = cloud.describe_volumes_modifications(&request)?;
    Ok(Nodes::new()
        .list("volumeModificationSet", &page.items, |it| modification(cloud, it))
        .maybe("nextToken", page.next_token.as_ref()))
}

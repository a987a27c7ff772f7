//! Snapshots on the wire.

use crate::model::{ApiError, Cloud, CreateSnapshots, Snapshot, SnapshotState};

use super::done;
use super::query::Params;
use super::xml::Nodes;

fn write(cloud: &Cloud, it: &Snapshot) -> Nodes {
    let mut nodes = Nodes::new()
        .text("snapshotId", &it.id)
        .text("volumeId", &it.volume_id)
        .text("status", it.state.name())
        .time("startTime", it.start_time)
        .text("progress", format!("{}%", it.progress(cloud.now())))
        .text("ownerId", &cloud.settings().account)
        .text("volumeSize", it.volume_size)
        .text("description", &it.description)
        .tags(&it.tags)
        .text("encrypted", it.encrypted)
        .maybe("kmsKeyId", it.kms_key_id.as_ref())
        .text("storageTier", "standard")
        .maybe("fullSnapshotSizeInBytes", it.full_size());
    match it.state {
        SnapshotState::Pending => {}
        SnapshotState::Completed => nodes = nodes.time("completionTime", it.completes),
        SnapshotState::Error => nodes = nodes.text("statusMessage", "Internal error"),
    }
    nodes
}

pub(super) fn create(cloud: &mut Cloud, p: &mut Params) -> Result<Nodes, ApiError> {
    let volume_id = p.need("VolumeId")?;
    let description = p.text("Description").unwrap_or_default();
    let tags = p.tag_specifications()?;
    p.end()?;
    let snapshot = cloud.create_snapshot(&volume_id, &description, &tags)?;
    Ok(write(cloud, &snapshot))
}

/// A snapshot as CreateSnapshots answers with it, which has `state` for `status` (API reference, SnapshotInfo).
fn info(cloud: &Cloud, it: &Snapshot) -> Nodes {
    Nodes::new()
        .text("description", &it.description)
        .tags(&it.tags)
        .text("encrypted", it.encrypted)
        .text("volumeId", &it.volume_id)
        .text("state", it.state.name())
        .text("volumeSize", it.volume_size)
        .time("startTime", it.start_time)
        .text("progress", format!("{}%", it.progress(cloud.now())))
        .text("ownerId", &cloud.settings().account)
        .text("snapshotId", &it.id)
}

pub(super) fn create_set(cloud: &mut Cloud, p: &mut Params) -> Result<Nodes, ApiError> {
    let mut instance = p.part("InstanceSpecification");
    let request = CreateSnapshots {
        instance_id: instance.need("InstanceId")?,
        exclude_boot_volume: instance.flag("ExcludeBootVolume")?.unwrap_or(false),
        exclude_data_volume_ids: instance.list("ExcludeDataVolumeId")?,
        description: p.text("Description").unwrap_or_default(),
        tag_specifications: p.tag_specifications()?,
    };
    instance.finish()?;
    p.end()?;
    let snapshots = cloud.create_snapshots(&request)?;
    Ok(Nodes::new().list("snapshotSet", &snapshots, |it| info(cloud, it)))
}

pub(super) fn delete(cloud: &mut Cloud, p: &mut Params) -> Result<Nodes, ApiError> {
    let id = p.need("SnapshotId")?;
    p.end()?;
    cloud.delete_snapshot(&id)?;
    Ok(done())
}

pub(super) fn describe(cloud: &mut Cloud, p: &mut Params) -> Result<Nodes, ApiError> {
    let mut request = p.describe("SnapshotId")?;
    request.owners = p.list("Owner")?;
    p.end()?;
    let page = cloud.describe_snapshots(&request)?;
    Ok(Nodes::new()
        .list("snapshotSet", &page.items, |it| write(cloud, it))
        .maybe("nextToken", page.next_token.as_ref()))
}

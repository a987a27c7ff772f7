//! Images on the wire.

use crate::model::{ApiError, Cloud, CreateImage, Image, ImageState, RegisterImage};

use super::launch;
use super::query::Params;
use super::xml::{Nodes, time};

fn write(cloud: &Cloud, it: &Image) -> Nodes {
    let account = &cloud.settings().account;
    let spec = &it.spec;
    let mut nodes = Nodes::new()
        .text("imageId", &it.id)
        .text("imageLocation", format!("{account}/{}", spec.name))
        .text("imageState", it.state.name())
        .text("imageOwnerId", account)
        .text("creationDate", time(it.creation_date))
        .text("isPublic", false)
        .text("architecture", it.architecture())
        .text("imageType", "machine")
        .maybe("kernelId", spec.kernel_id.as_ref())
        .maybe("ramdiskId", spec.ramdisk_id.as_ref())
        .maybe("sriovNetSupport", spec.sriov_net_support.as_ref())
        .text("enaSupport", spec.ena_support.unwrap_or(false))
        .text("name", &spec.name)
        .maybe("description", spec.description.as_ref())
        .text("rootDeviceType", "ebs")
        .text("rootDeviceName", it.root_device())
        .list("blockDeviceMapping", &spec.block_devices, |device| {
            let nodes = Nodes::new()
                .text("deviceName", &device.device_name)
                .maybe("virtualName", device.virtual_name.as_ref())
                .maybe("noDevice", device.no_device.as_ref());
            match &device.ebs {
                Some(ebs) => nodes.node("ebs", launch::write_ebs(ebs)),
                None => nodes,
            }
        })
        .text("virtualizationType", it.virtualization())
        .tags(&it.tags)
        .text("hypervisor", "xen")
        .text("platformDetails", &it.billing.platform_details)
        .text("usageOperation", &it.billing.usage_operation)
        .maybe("bootMode", spec.boot_mode.as_ref())
        .maybe("tpmSupport", spec.tpm_support.as_ref())
        .maybe("imdsSupport", spec.imds_support.as_ref())
        .maybe("sourceInstanceId", it.source_instance_id.as_ref());
    if it.state == ImageState::Failed {
        let reason =
            Nodes::new().text("code", "Server.InternalError").text("message", "Server.InternalError");
        nodes = nodes.node("stateReason", reason);
    }
    nodes
}

pub(super) fn register(cloud: &mut Cloud, p: &mut Params) -> Result<Nodes, ApiError> {
    let request = RegisterImage {
        name: p.need("Name")?,
        description: p.text("Description"),
        architecture: p.text("Architecture"),
        root_device_name: p.text("RootDeviceName"),
        block_devices: launch::block_devices(p)?,
        virtualization_type: p.text("VirtualizationType"),
        ena_support: p.flag("EnaSupport")?,
        sriov_net_support: p.text("SriovNetSupport"),
        boot_mode: p.text("BootMode"),
        tpm_support: p.text("TpmSupport"),
        imds_support: p.text("ImdsSupport"),
        uefi_data: p.text("UefiData"),
        kernel_id: p.text("KernelId"),
        ramdisk_id: p.text("RamdiskId"),
        tag_specifications: p.tag_specifications()?,
    };
    p.end()?;
    let image = cloud.register_image(&request)?;
    Ok(Nodes::new().text("imageId", image.id))
}

pub(super) fn create(cloud: &mut Cloud, p: &mut Params) -> Result<Nodes, ApiError> {
    let request = CreateImage {
        instance_id: p.need("InstanceId")?,
        name: p.need("Name")?,
        description: p.text("Description"),
        no_reboot: p.flag("NoReboot")?.unwrap_or(false),
        block_devices: launch::block_devices(p)?,
        tag_specifications: p.tag_specifications()?,
    };
    p.end()?;
    let image = cloud.create_image(&request)?;
    Ok(Nodes::new().text("imageId", image.id))
}

pub(super) fn deregister(cloud: &mut Cloud, p: &mut Params) -> Result<Nodes, ApiError> {
    let id = p.need("ImageId")?;
    let delete = p.flag("DeleteAssociatedSnapshots")?.unwrap_or(false);
    p.end()?;
    let results = cloud.deregister_image(&id, delete)?;
    Ok(super::done().list("deleteSnapshotResultSet", results, |it| {
        Nodes::new().text("snapshotId", it.snapshot_id).text("returnCode", it.return_code)
    }))
}

pub(super) fn describe(cloud: &mut Cloud, p: &mut Params) -> Result<Nodes, ApiError> {
    let mut request = p.describe("ImageId")?;
    request.owners = p.list("Owner")?;
    // No image here is deprecated or disabled.
    p.flag("IncludeDeprecated")?;
    p.flag("IncludeDisabled")?;
    p.end()?;
    let page = cloud.describe_images(&request)?;
    Ok(Nodes::new()
        .list("imagesSet", &page.items, |it| write(cloud, it))
        .maybe("nextToken", page.next_token.as_ref()))
}

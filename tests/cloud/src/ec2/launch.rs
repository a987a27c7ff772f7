//! Launch data on the wire: read alike from RunInstances and CreateLaunchTemplate, written back as a template's data.

use crate::model::{
    ApiError, BlockDeviceMapping, Ebs, InstanceProfile, InterfaceSpec, LaunchSpec, MarketOptions,
};

use super::query::Params;
use super::xml::Nodes;

/// Settings without a structure of their own in the model, by dotted name.
const OPTIONS: &[&str] = &[
    "CapacityReservationSpecification.CapacityReservationPreference",
    "CpuOptions.AmdSevSnp",
    "CpuOptions.CoreCount",
    "CpuOptions.NestedVirtualization",
    "CpuOptions.ThreadsPerCore",
    "CreditSpecification.CpuCredits",
    "DisableApiStop",
    "DisableApiTermination",
    "EbsOptimized",
    "EnclaveOptions.Enabled",
    "HibernationOptions.Configured",
    "InstanceInitiatedShutdownBehavior",
    "KernelId",
    "MaintenanceOptions.AutoRecovery",
    "MetadataOptions.HttpEndpoint",
    "MetadataOptions.HttpProtocolIpv6",
    "MetadataOptions.HttpPutResponseHopLimit",
    "MetadataOptions.HttpTokens",
    "MetadataOptions.InstanceMetadataTags",
    "Monitoring.Enabled",
    "NetworkPerformanceOptions.BandwidthWeighting",
    "Placement.Affinity",
    "Placement.AvailabilityZone",
    "Placement.GroupId",
    "Placement.GroupName",
    "Placement.HostId",
    "Placement.HostResourceGroupArn",
    "Placement.PartitionNumber",
    "Placement.Tenancy",
    "PrivateDnsNameOptions.EnableResourceNameDnsAAAARecord",
    "PrivateDnsNameOptions.EnableResourceNameDnsARecord",
    "PrivateDnsNameOptions.HostnameType",
    "RamDiskId",
    "RamdiskId",
];

/// Reads launch data; what is no part of it stays in `p`.
pub(super) fn read(p: &mut Params) -> Result<LaunchSpec, ApiError> {
    let mut spec = LaunchSpec {
        image_id: p.text("ImageId"),
        instance_type: p.text("InstanceType"),
        key_name: p.text("KeyName"),
        security_group_ids: p.list("SecurityGroupId")?,
        security_group_names: p.list("SecurityGroup")?,
        subnet_id: p.text("SubnetId"),
        private_ip_address: p.text("PrivateIpAddress"),
        user_data: p.text("UserData"),
        iam_instance_profile: profile(p)?,
        block_devices: block_devices(p)?,
        interfaces: interfaces(p)?,
        tag_specifications: p.tag_specifications()?,
        market: market(p)?,
        ..LaunchSpec::default()
    };
    for name in OPTIONS {
        if let Some(value) = p.text(name) {
            spec.options.insert((*name).to_owned(), value);
        }
    }
    Ok(spec)
}

fn profile(p: &mut Params) -> Result<Option<InstanceProfile>, ApiError> {
    let mut part = p.part("IamInstanceProfile");
    if part.is_empty() {
        return Ok(None);
    }
    let profile = InstanceProfile { arn: part.text("Arn"), name: part.text("Name") };
    part.finish()?;
    if profile.arn.is_some() && profile.name.is_some() {
        return Err(ApiError::combination(
            "The parameter 'iamInstanceProfile.name' may not be used in combination with 'iamInstanceProfile.arn'",
        ));
    }
    Ok(Some(profile))
}

/// Reads `BlockDeviceMapping.N`, as RunInstances, launch templates, RegisterImage and CreateImage have it.
pub(super) fn block_devices(p: &mut Params) -> Result<Vec<BlockDeviceMapping>, ApiError> {
    let mut devices = Vec::new();
    for mut part in p.parts("BlockDeviceMapping") {
        let mut ebs = part.part("Ebs");
        let volume = if ebs.is_empty() {
            None
        } else {
            Some(Ebs {
                snapshot_id: ebs.text("SnapshotId"),
                volume_size: ebs.number("VolumeSize")?,
                volume_type: ebs.text("VolumeType"),
                iops: ebs.number("Iops")?,
                throughput: ebs.number("Throughput")?,
                delete_on_termination: ebs.flag("DeleteOnTermination")?,
                encrypted: ebs.flag("Encrypted")?,
                kms_key_id: ebs.text("KmsKeyId"),
                initialization_rate: ebs.number("VolumeInitializationRate")?,
            })
        };
        ebs.finish()?;
        let device = BlockDeviceMapping {
            device_name: part.need("DeviceName")?,
            ebs: volume,
            no_device: part.text("NoDevice"),
            virtual_name: part.text("VirtualName"),
        };
        part.finish()?;
        devices.push(device);
    }
    Ok(devices)
}

fn interfaces(p: &mut Params) -> Result<Vec<InterfaceSpec>, ApiError> {
    let mut interfaces = Vec::new();
    for mut part in p.parts("NetworkInterface") {
        if part.number::<u32>("NetworkCardIndex")?.unwrap_or(0) != 0 {
            return Err(ApiError::value("The local cloud's instances have one network card."));
        }
        let interface = InterfaceSpec {
            device_index: part.number("DeviceIndex")?,
            network_interface_id: part.text("NetworkInterfaceId"),
            subnet_id: part.text("SubnetId"),
            groups: part.list("SecurityGroupId")?,
            private_ip_address: part.text("PrivateIpAddress"),
            description: part.text("Description"),
            delete_on_termination: part.flag("DeleteOnTermination")?,
            associate_public_ip_address: part.flag("AssociatePublicIpAddress")?,
            interface_type: part.text("InterfaceType"),
        };
        part.finish()?;
        interfaces.push(interface);
    }
    Ok(interfaces)
}

fn market(p: &mut Params) -> Result<Option<MarketOptions>, ApiError> {
    let mut part = p.part("InstanceMarketOptions");
    if part.is_empty() {
        return Ok(None);
    }
    let mut spot = part.part("SpotOptions");
    let options = MarketOptions {
        market_type: part.text("MarketType"),
        max_price: spot.text("MaxPrice"),
        spot_type: spot.text("SpotInstanceType"),
        interruption_behavior: spot.text("InstanceInterruptionBehavior"),
        valid_until: spot.text("ValidUntil"),
    };
    spot.finish()?;
    part.finish()?;
    Ok(Some(options))
}

/// Adds launch data as DescribeLaunchTemplateVersions writes it.
pub(super) fn write(spec: &LaunchSpec) -> Nodes {
    let mut nodes = Nodes::new()
        .maybe("imageId", spec.image_id.as_ref())
        .maybe("instanceType", spec.instance_type.as_ref())
        .maybe("keyName", spec.key_name.as_ref())
        .maybe("userData", spec.user_data.as_ref());
    if let Some(profile) = &spec.iam_instance_profile {
        let children = Nodes::new().maybe("arn", profile.arn.as_ref()).maybe("name", profile.name.as_ref());
        nodes = nodes.node("iamInstanceProfile", children);
    }
    if !spec.security_group_ids.is_empty() {
        nodes = nodes.texts("securityGroupIdSet", &spec.security_group_ids);
    }
    if !spec.security_group_names.is_empty() {
        nodes = nodes.texts("securityGroupSet", &spec.security_group_names);
    }
    if !spec.block_devices.is_empty() {
        nodes = nodes.list("blockDeviceMappingSet", &spec.block_devices, write_device);
    }
    if !spec.interfaces.is_empty() {
        nodes = nodes.list("networkInterfaceSet", &spec.interfaces, write_interface);
    }
    if !spec.tag_specifications.is_empty() {
        nodes = nodes.list("tagSpecificationSet", &spec.tag_specifications, |it| {
            Nodes::new().text("resourceType", &it.resource_type).tags(&it.tags)
        });
    }
    if let Some(market) = &spec.market {
        let spot = Nodes::new()
            .maybe("maxPrice", market.max_price.as_ref())
            .maybe("spotInstanceType", market.spot_type.as_ref())
            .maybe("validUntil", market.valid_until.as_ref())
            .maybe("instanceInterruptionBehavior", market.interruption_behavior.as_ref());
        let mut children = Nodes::new().maybe("marketType", market.market_type.as_ref());
        if !spot.is_empty() {
            children = children.node("spotOptions", spot);
        }
        nodes = nodes.node("instanceMarketOptions", children);
    }
    nodes.with(options(spec))
}

/// The dotted settings as nested elements; they come sorted, so those of one structure stand together.
fn options(spec: &LaunchSpec) -> Nodes {
    let mut nodes = Nodes::new();
    let mut open: Option<(String, Nodes)> = None;
    for (name, value) in &spec.options {
        let Some((group, member)) = name.split_once('.') else {
            nodes = nodes.text(camel(name), value);
            continue;
        };
        let group = camel(group);
        let children = match open.take() {
            Some((earlier, children)) if earlier == group => children,
            Some((earlier, children)) => {
                nodes = nodes.node(earlier, children);
                Nodes::new()
            }
            None => Nodes::new(),
        };
        open = Some((group, children.text(camel(member), value)));
    }
    match open {
        Some((group, children)) => nodes.node(group, children),
        None => nodes,
    }
}

/// A parameter's name as the answers write it: first letter small.
pub(super) fn camel(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(letters).collect()
}

/// The EBS part of a mapping in an image or a template.
pub(super) fn write_ebs(ebs: &Ebs) -> Nodes {
    Nodes::new()
        .maybe("snapshotId", ebs.snapshot_id.as_ref())
        .maybe("volumeSize", ebs.volume_size)
        .maybe("volumeType", ebs.volume_type.as_ref())
        .maybe("iops", ebs.iops)
        .maybe("throughput", ebs.throughput)
        .maybe("deleteOnTermination", ebs.delete_on_termination)
        .maybe("encrypted", ebs.encrypted)
        .maybe("kmsKeyId", ebs.kms_key_id.as_ref())
}

/// A mapping in a template.
fn write_device(device: &BlockDeviceMapping) -> Nodes {
    let mut nodes = Nodes::new()
        .text("deviceName", &device.device_name)
        .maybe("virtualName", device.virtual_name.as_ref())
        .maybe("noDevice", device.no_device.as_ref());
    if let Some(ebs) = &device.ebs {
        let rate = ebs.initialization_rate;
        nodes = nodes.node("ebs", write_ebs(ebs).maybe("volumeInitializationRate", rate));
    }
    nodes
}

fn write_interface(nic: &InterfaceSpec) -> Nodes {
    let mut nodes = Nodes::new()
        .maybe("deviceIndex", nic.device_index)
        .maybe("networkInterfaceId", nic.network_interface_id.as_ref())
        .maybe("subnetId", nic.subnet_id.as_ref())
        .maybe("privateIpAddress", nic.private_ip_address.as_ref())
        .maybe("description", nic.description.as_ref())
        .maybe("deleteOnTermination", nic.delete_on_termination)
        .maybe("associatePublicIpAddress", nic.associate_public_ip_address)
        .maybe("interfaceType", nic.interface_type.as_ref());
    if !nic.groups.is_empty() {
        nodes =
            nodes.node("groupSet", nic.groups.iter().fold(Nodes::new(), |list, id| list.text("groupId", id)));
    }
    nodes
}

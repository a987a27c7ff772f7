//! What is asked of EC2, built from our requests.
//!
//! Each function is pure, so that what would be sent can be looked at in a test. Launches are explicit:
//! no request names a launch template (EC2 user guide *Launch instances from a launch template*: settings
//! of the template and a given network interface exclude each other).

use std::net::Ipv4Addr;

use aws_sdk_ec2::operation::create_image::builders::CreateImageInputBuilder;
use aws_sdk_ec2::operation::create_network_interface::builders::CreateNetworkInterfaceInputBuilder;
use aws_sdk_ec2::operation::create_snapshot::builders::CreateSnapshotInputBuilder;
use aws_sdk_ec2::operation::create_snapshots::builders::CreateSnapshotsInputBuilder;
use aws_sdk_ec2::operation::create_volume::builders::CreateVolumeInputBuilder;
use aws_sdk_ec2::operation::register_image::builders::RegisterImageInputBuilder;
use aws_sdk_ec2::operation::run_instances::builders::RunInstancesInputBuilder;
use aws_sdk_ec2::types::{
    BlockDeviceMapping, CreditSpecificationRequest, EbsBlockDevice, EbsInstanceBlockDeviceSpecification,
    IamInstanceProfileSpecification, InstanceBlockDeviceMappingSpecification, InstanceInterruptionBehavior,
    InstanceIpv6Address, InstanceMarketOptionsRequest, InstanceMetadataOptionsRequest,
    InstanceNetworkInterfaceSpecification, InstanceSpecification, MarketType, Placement,
    PrivateIpAddressSpecification, ResourceType, RunInstancesMonitoringEnabled, SpotInstanceType,
    SpotMarketOptions, Tag, TagSpecification,
};
use perennial_core::launch::{Device, LaunchNetwork, LaunchRequest, Market, Settings};
use perennial_core::names::Tags;
use perennial_core::observation::VolumeShape;
use perennial_core::step::{
    BackupRequest, ImageRequest, InterfaceRequest, SetRequest, SnapshotRequest, VolumeRequest,
};

fn tagged(resource: ResourceType, tags: &Tags) -> TagSpecification {
    let tags = tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect();
    TagSpecification::builder().resource_type(resource).set_tags(Some(tags)).build()
}

/// A launch of exactly one instance.
pub(super) fn run_instances(request: &LaunchRequest) -> RunInstancesInputBuilder {
    let settings = &request.settings;
    RunInstancesInputBuilder::default()
        .client_token(&request.token)
        .min_count(1)
        .max_count(1)
        .image_id(request.image_id.as_str())
        .instance_type(request.instance_type.as_str().into())
        .set_instance_market_options(market(request))
        .placement(placement(request))
        .network_interfaces(network(&request.network))
        .set_block_device_mappings(Some(request.devices.iter().filter_map(device).collect()))
        .set_tag_specifications(Some(launch_tags(request)))
        .set_key_name(settings.key_name.clone())
        .set_iam_instance_profile(profile(settings))
        .set_user_data(settings.user_data.as_ref().map(|data| data.0.clone()))
        .set_monitoring(
            settings.monitoring.map(|on| RunInstancesMonitoringEnabled::builder().enabled(on).build()),
        )
        .set_ebs_optimized(settings.ebs_optimized)
        .set_credit_specification(credits(request))
        .set_metadata_options(metadata(settings))
}

/// Spot is one-time and ends with its instance: EC2 must never launch a replacement of its own.
fn market(request: &LaunchRequest) -> Option<InstanceMarketOptionsRequest> {
    match request.market {
        Market::OnDemand => None,
        Market::Spot => {
            let spot = SpotMarketOptions::builder()
                .spot_instance_type(SpotInstanceType::OneTime)
                .instance_interruption_behavior(InstanceInterruptionBehavior::Terminate)
                .set_max_price(request.max_spot_price.clone())
                .build();
            let spot =
                InstanceMarketOptionsRequest::builder().market_type(MarketType::Spot).spot_options(spot);
            Some(spot.build())
        }
    }
}

/// The zone is always named: it makes the client token count in that zone alone, and EC2 refuses what
/// contradicts it.
fn placement(request: &LaunchRequest) -> Placement {
    Placement::builder()
        .availability_zone(&request.zone)
        .set_tenancy(request.settings.tenancy.as_deref().map(Into::into))
        .set_group_name(request.settings.placement_group.clone())
        .build()
}

/// The primary interface. Of a given one nothing may be said again but its place.
fn network(network: &LaunchNetwork) -> InstanceNetworkInterfaceSpecification {
    let primary = InstanceNetworkInterfaceSpecification::builder().device_index(0);
    match network {
        LaunchNetwork::Kept { eni_id } => {
            primary.network_interface_id(eni_id.as_str()).delete_on_termination(false).build()
        }
        LaunchNetwork::Fresh { subnet_id, groups, public_ip } => primary
            .subnet_id(subnet_id.as_str())
            .set_groups(Some(groups.clone()).filter(|g| !g.is_empty()))
            .set_associate_public_ip_address(*public_ip)
            .delete_on_termination(true)
            .build(),
    }
}

/// A device; `None` if it says nothing that the image does not say.
fn device(device: &Device) -> Option<BlockDeviceMapping> {
    let mapping = BlockDeviceMapping::builder().device_name(&device.device_name);
    if device.omit {
        return Some(mapping.no_device("").build());
    }
    if let Some(name) = &device.virtual_name {
        return Some(mapping.virtual_name(name).build());
    }
    let ebs = EbsBlockDevice::builder()
        .set_snapshot_id(device.snapshot_id.clone())
        .set_volume_size(device.size_gib)
        .set_volume_type(device.volume_type.as_deref().map(Into::into))
        .set_iops(device.iops)
        .set_throughput(device.throughput)
        .set_encrypted(device.encrypted)
        .set_kms_key_id(device.kms_key.clone())
        .set_delete_on_termination(device.delete_on_termination)
        .build();
    (ebs != EbsBlockDevice::builder().build()).then(|| mapping.ebs(ebs).build())
}

fn launch_tags(request: &LaunchRequest) -> Vec<TagSpecification> {
    let mut tags = vec![
        tagged(ResourceType::Instance, &request.instance_tags),
        tagged(ResourceType::Volume, &request.volume_tags),
    ];
    if request.market == Market::Spot {
        tags.push(tagged(ResourceType::SpotInstancesRequest, &request.instance_tags));
    }
    if matches!(request.network, LaunchNetwork::Fresh { .. }) {
        tags.push(tagged(ResourceType::NetworkInterface, &request.instance_tags));
    }
    tags
}

fn profile(settings: &Settings) -> Option<IamInstanceProfileSpecification> {
    let profile = IamInstanceProfileSpecification::builder();
    match (&settings.profile_arn, &settings.profile_name) {
        (Some(arn), _) => Some(profile.arn(arn).build()),
        (None, Some(name)) => Some(profile.name(name).build()),
        (None, None) => None,
    }
}

/// CPU credits exist on the T families only; a rung of another family must not fail for them.
fn credits(request: &LaunchRequest) -> Option<CreditSpecificationRequest> {
    let credits = request.settings.cpu_credits.as_ref()?;
    let family = request.instance_type.split('.').next().unwrap_or_default();
    let burstable =
        family.strip_prefix('t').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    burstable.then(|| CreditSpecificationRequest::builder().cpu_credits(credits).build())
}

fn metadata(settings: &Settings) -> Option<InstanceMetadataOptionsRequest> {
    let options = InstanceMetadataOptionsRequest::builder()
        .set_http_tokens(settings.imds_tokens.as_deref().map(Into::into))
        .set_http_put_response_hop_limit(settings.imds_hop_limit)
        .set_http_endpoint(settings.imds_endpoint.as_deref().map(Into::into))
        .set_instance_metadata_tags(settings.imds_tags.as_deref().map(Into::into))
        .build();
    (options != InstanceMetadataOptionsRequest::builder().build()).then_some(options)
}

/// Devices that are to outlive their instance. The value is always said: left out, it would be `true`.
pub(super) fn kept_devices(devices: &[String]) -> Vec<InstanceBlockDeviceMappingSpecification> {
    let kept = EbsInstanceBlockDeviceSpecification::builder().delete_on_termination(false).build();
    let device =
        |name| InstanceBlockDeviceMappingSpecification::builder().device_name(name).ebs(kept.clone()).build();
    devices.iter().map(device).collect()
}

fn private_address(ip: Ipv4Addr, primary: bool) -> PrivateIpAddressSpecification {
    PrivateIpAddressSpecification::builder().private_ip_address(ip.to_string()).primary(primary).build()
}

/// A network interface.
pub(super) fn create_interface(request: &InterfaceRequest) -> CreateNetworkInterfaceInputBuilder {
    // Several addresses are listed with one of them as the primary; a single one is said by itself.
    let (single, several) = match request.secondary.as_slice() {
        [] => (request.private_ip, Vec::new()),
        secondary => {
            let primary = request.private_ip.iter().map(|ip| private_address(*ip, true));
            (None, primary.chain(secondary.iter().map(|ip| private_address(*ip, false))).collect())
        }
    };
    let ipv6 =
        request.ipv6.iter().map(|ip| InstanceIpv6Address::builder().ipv6_address(ip.to_string()).build());
    CreateNetworkInterfaceInputBuilder::default()
        .client_token(&request.token)
        .subnet_id(request.subnet.as_str())
        .set_private_ip_address(single.map(|ip| ip.to_string()))
        .set_private_ip_addresses(Some(several).filter(|all| !all.is_empty()))
        .set_ipv6_addresses(Some(ipv6.collect::<Vec<_>>()).filter(|all| !all.is_empty()))
        .set_groups(Some(request.groups.clone()).filter(|g| !g.is_empty()))
        .description(&request.description)
        .tag_specifications(tagged(ResourceType::NetworkInterface, &request.tags))
}

/// A snapshot.
pub(super) fn create_snapshot(request: &SnapshotRequest) -> CreateSnapshotInputBuilder {
    CreateSnapshotInputBuilder::default()
        .volume_id(request.volume.as_str())
        .description(&request.description)
        .tag_specifications(tagged(ResourceType::Snapshot, &request.tags))
}

/// Snapshots of volumes of one instance. Every other volume on it is left out by name, the root by a word of its
/// own: EC2 refuses its id among the others.
pub(super) fn create_snapshots(request: &SetRequest) -> CreateSnapshotsInputBuilder {
    let without: Vec<String> = request.without.iter().map(ToString::to_string).collect();
    let instance = InstanceSpecification::builder()
        .instance_id(request.instance.as_str())
        .exclude_boot_volume(request.without_root)
        .set_exclude_data_volume_ids(Some(without).filter(|ids| !ids.is_empty()))
        .build();
    CreateSnapshotsInputBuilder::default()
        .instance_specification(instance)
        .description(&request.description)
        .tag_specifications(tagged(ResourceType::Snapshot, &request.tags))
}

/// Its operations a second, where the type lets one set them.
fn iops(shape: &VolumeShape) -> Option<i32> {
    shape.iops.filter(|_| matches!(shape.volume_type.as_str(), "gp3" | "io1" | "io2"))
}

/// Its MiB a second, where the type lets one set them.
fn throughput(shape: &VolumeShape) -> Option<i32> {
    shape.throughput.filter(|_| shape.volume_type == "gp3")
}

/// A volume from a snapshot. Whether it is encrypted, and with which key, is the snapshot's matter.
pub(super) fn create_volume(request: &VolumeRequest) -> CreateVolumeInputBuilder {
    let shape = &request.shape;
    let kind = Some(shape.volume_type.as_str()).filter(|kind| !kind.is_empty());
    CreateVolumeInputBuilder::default()
        .client_token(&request.token)
        .availability_zone(&request.zone)
        .snapshot_id(request.snapshot.as_str())
        .set_size(Some(shape.size_gib).filter(|size| *size > 0))
        .set_volume_type(kind.map(Into::into))
        .set_iops(iops(shape))
        .set_throughput(throughput(shape))
        .tag_specifications(tagged(ResourceType::Volume, &request.tags))
}

/// A node image. Whether it is encrypted is the snapshot's matter: EC2 refuses the word beside one.
pub(super) fn register_image(request: &ImageRequest) -> RegisterImageInputBuilder {
    let (shape, platform) = (&request.shape, &request.platform);
    let kind = shape.volume_type.as_str();
    let root = EbsBlockDevice::builder()
        .snapshot_id(request.snapshot.as_str())
        .set_volume_size(Some(shape.size_gib).filter(|size| *size > 0))
        .set_volume_type(Some(kind).filter(|kind| !kind.is_empty()).map(Into::into))
        .set_iops(iops(shape))
        .set_throughput(throughput(shape))
        .delete_on_termination(true)
        .build();
    let paravirtual = platform.virtualization == "paravirtual";
    RegisterImageInputBuilder::default()
        .name(&request.name)
        .description(&request.description)
        .architecture(platform.architecture.as_str().into())
        .virtualization_type(&platform.virtualization)
        .root_device_name(&request.root_device)
        .block_device_mappings(
            BlockDeviceMapping::builder().device_name(&request.root_device).ebs(root).build(),
        )
        .set_ena_support(platform.ena.then_some(true))
        .set_sriov_net_support(platform.sriov_net.clone())
        .set_boot_mode(platform.boot_mode.as_deref().map(Into::into))
        .set_tpm_support(platform.tpm.as_deref().map(Into::into))
        .set_imds_support(platform.imds.as_deref().map(Into::into))
        .set_kernel_id(platform.kernel.clone().filter(|_| paravirtual))
        .set_ramdisk_id(platform.ramdisk.clone().filter(|_| paravirtual))
        .tag_specifications(tagged(ResourceType::Image, &request.tags))
}

/// An image of a running instance, crash-consistent over its volumes.
pub(super) fn create_image(request: &BackupRequest) -> CreateImageInputBuilder {
    let left_out = request.without.iter().map(|device| {
        // EC2 reads the empty word as "not this device".
        BlockDeviceMapping::builder().device_name(device).no_device("").build()
    });
    let without: Vec<BlockDeviceMapping> = left_out.collect();
    CreateImageInputBuilder::default()
        .instance_id(request.instance.as_str())
        .name(&request.name)
        .description(&request.description)
        .no_reboot(true)
        .set_block_device_mappings(Some(without).filter(|devices| !devices.is_empty()))
        .tag_specifications(tagged(ResourceType::Image, &request.tags))
        .tag_specifications(tagged(ResourceType::Snapshot, &request.tags))
}

#[cfg(test)]
mod tests {
    use perennial_core::ids::{ImageId, InstanceId, InterfaceId, SnapshotId, SubnetId, VolumeId};
    use perennial_core::names::Purpose;
    use perennial_core::observation::Platform;

    use super::*;

    fn request(network: LaunchNetwork, market: Market) -> LaunchRequest {
        LaunchRequest {
            token: "token".into(),
            template_id: "lt-1".into(),
            template_version: 3,
            image_id: ImageId::new("ami-1"),
            instance_type: "t3.small".into(),
            market,
            max_spot_price: Some("0.05".into()),
            zone: "eu-west-1a".into(),
            network,
            devices: vec![
                Device {
                    device_name: "/dev/xvda".into(),
                    delete_on_termination: Some(false),
                    ..Device::default()
                },
                Device { device_name: "/dev/sdb".into(), omit: true, ..Device::default() },
                Device { device_name: "/dev/sdc".into(), ..Device::default() },
            ],
            settings: Settings { cpu_credits: Some("unlimited".into()), ..Settings::default() },
            instance_tags: Tags::from([("perennial:node".into(), "db".into())]),
            volume_tags: Tags::from([("perennial:key".into(), "token".into())]),
        }
    }

    fn kinds(input: &aws_sdk_ec2::operation::run_instances::RunInstancesInput) -> Vec<&str> {
        input.tag_specifications().iter().filter_map(|t| t.resource_type()).map(|t| t.as_str()).collect()
    }

    #[test]
    fn a_kept_interface_is_named_and_nothing_of_it_is_said_again() {
        let kept = LaunchNetwork::Kept { eni_id: InterfaceId::new("eni-1") };
        let input = run_instances(&request(kept, Market::Spot)).build().unwrap();
        assert_eq!((input.min_count(), input.max_count()), (Some(1), Some(1)));
        assert_eq!(input.client_token(), Some("token"));
        assert!(input.launch_template().is_none());
        assert!(input.subnet_id().is_none() && input.security_group_ids().is_empty());
        let primary = &input.network_interfaces()[0];
        assert_eq!(primary.network_interface_id(), Some("eni-1"));
        assert_eq!((primary.device_index(), primary.delete_on_termination()), (Some(0), Some(false)));
        assert!(primary.subnet_id().is_none() && primary.groups().is_empty());
        assert_eq!(input.placement().unwrap().availability_zone(), Some("eu-west-1a"));
        assert_eq!(kinds(&input), ["instance", "volume", "spot-instances-request"]);
    }

    #[test]
    fn spot_is_one_time_and_on_demand_says_nothing_of_markets() {
        let fresh = LaunchNetwork::Fresh {
            subnet_id: SubnetId::new("subnet-1"),
            groups: vec!["sg-1".into()],
            public_ip: Some(false),
        };
        let input = run_instances(&request(fresh.clone(), Market::Spot)).build().unwrap();
        let spot = input.instance_market_options().unwrap().spot_options().unwrap();
        assert_eq!(spot.spot_instance_type(), Some(&SpotInstanceType::OneTime));
        assert_eq!(spot.instance_interruption_behavior(), Some(&InstanceInterruptionBehavior::Terminate));
        assert_eq!(spot.max_price(), Some("0.05"));
        let input = run_instances(&request(fresh, Market::OnDemand)).build().unwrap();
        assert!(input.instance_market_options().is_none());
        assert_eq!(kinds(&input), ["instance", "volume", "network-interface"]);
        let primary = &input.network_interfaces()[0];
        assert_eq!(primary.subnet_id(), Some("subnet-1"));
        assert_eq!(primary.groups(), ["sg-1"]);
        assert_eq!(primary.associate_public_ip_address(), Some(false));
        assert_eq!(primary.delete_on_termination(), Some(true));
    }

    #[test]
    fn the_root_is_kept_in_the_request_itself() {
        let kept = LaunchNetwork::Kept { eni_id: InterfaceId::new("eni-1") };
        let input = run_instances(&request(kept, Market::Spot)).build().unwrap();
        let devices = input.block_device_mappings();
        assert_eq!(devices.len(), 2, "a device that says nothing is left out");
        assert_eq!(devices[0].ebs().unwrap().delete_on_termination(), Some(false));
        assert_eq!((devices[1].device_name(), devices[1].no_device()), (Some("/dev/sdb"), Some("")));
    }

    #[test]
    fn cpu_credits_are_for_burstable_types_only() {
        let kept = LaunchNetwork::Kept { eni_id: InterfaceId::new("eni-1") };
        let mut request = request(kept, Market::Spot);
        assert!(run_instances(&request).build().unwrap().credit_specification().is_some());
        for other in ["m5.large", "trn1.2xlarge"] {
            request.instance_type = other.into();
            assert!(run_instances(&request).build().unwrap().credit_specification().is_none(), "{other}");
        }
    }

    fn volume(shape: VolumeShape) -> CreateVolumeInputBuilder {
        create_volume(&VolumeRequest {
            token: "token".into(),
            device: "/dev/sdf".into(),
            snapshot: SnapshotId::new("snap-1"),
            zone: "eu-west-1a".into(),
            shape,
            tags: Tags::from([("perennial:key".into(), "token".into())]),
        })
    }

    #[test]
    fn a_volume_is_made_like_the_one_before_and_its_encryption_is_the_snapshots() {
        let shape = VolumeShape {
            size_gib: 20,
            volume_type: "gp3".into(),
            iops: Some(4000),
            throughput: Some(250),
            encrypted: true,
            kms_key: Some("key".into()),
        };
        let input = volume(shape.clone()).build().unwrap();
        assert_eq!((input.client_token(), input.snapshot_id()), (Some("token"), Some("snap-1")));
        assert_eq!((input.availability_zone(), input.size()), (Some("eu-west-1a"), Some(20)));
        assert_eq!((input.iops(), input.throughput()), (Some(4000), Some(250)));
        assert_eq!((input.encrypted(), input.kms_key_id()), (None, None));
        let tags = &input.tag_specifications()[0];
        assert_eq!(tags.resource_type(), Some(&ResourceType::Volume));
        assert_eq!((tags.tags()[0].key(), tags.tags()[0].value()), (Some("perennial:key"), Some("token")));
        for (kind, iops) in [("io1", Some(4000)), ("io2", Some(4000)), ("gp2", None), ("st1", None)] {
            let input = volume(VolumeShape { volume_type: kind.into(), ..shape.clone() }).build().unwrap();
            assert_eq!(input.volume_type().map(|it| it.as_str()), Some(kind));
            assert_eq!((input.iops(), input.throughput()), (iops, None), "{kind}");
        }
        // What is not known is the snapshot's, or EC2's own default.
        let input = volume(VolumeShape::default()).build().unwrap();
        assert_eq!((input.size(), input.volume_type()), (None, None));
    }

    #[test]
    fn a_set_leaves_out_what_it_is_told_to_and_carries_its_tags_on_every_part() {
        let mut request = SetRequest {
            instance: InstanceId::new("i-1"),
            volumes: vec![VolumeId::new("vol-1"), VolumeId::new("vol-2")],
            without_root: false,
            without: Vec::new(),
            purpose: Purpose::Periodic,
            key: "k".into(),
            tags: Tags::from([("perennial:parts".into(), "2".into())]),
            description: "d".into(),
        };
        let input = create_snapshots(&request).build().unwrap();
        let of = input.instance_specification().unwrap();
        assert_eq!((of.instance_id(), of.exclude_boot_volume()), (Some("i-1"), Some(false)));
        assert_eq!(of.exclude_data_volume_ids, None, "an empty list is not sent");
        assert_eq!(input.description(), Some("d"));
        assert_eq!(input.tag_specifications()[0].resource_type(), Some(&ResourceType::Snapshot));
        assert_eq!(input.tag_specifications()[0].tags()[0].value(), Some("2"));
        assert_eq!(input.copy_tags_from_source(), None);
        request.without_root = true;
        request.without = vec![VolumeId::new("vol-8"), VolumeId::new("vol-9")];
        let input = create_snapshots(&request).build().unwrap();
        let of = input.instance_specification().unwrap();
        assert_eq!(of.exclude_boot_volume(), Some(true));
        assert_eq!(of.exclude_data_volume_ids(), ["vol-8", "vol-9"]);
    }

    #[test]
    fn a_node_image_says_what_its_instances_need_to_boot_and_never_encrypted() {
        let request = ImageRequest {
            name: "prod/db/1-abc".into(),
            description: "d".into(),
            root_device: "/dev/xvda".into(),
            snapshot: SnapshotId::new("snap-1"),
            shape: VolumeShape {
                size_gib: 8,
                volume_type: "gp2".into(),
                iops: Some(100),
                encrypted: true,
                kms_key: Some("key".into()),
                ..VolumeShape::default()
            },
            platform: Platform {
                architecture: "arm64".into(),
                virtualization: "hvm".into(),
                boot_mode: Some("uefi".into()),
                ena: true,
                kernel: Some("aki-1".into()),
                ..Platform::default()
            },
            tags: Tags::new(),
        };
        let input = register_image(&request).build().unwrap();
        assert_eq!(input.architecture().map(|a| a.as_str()), Some("arm64"));
        assert_eq!(input.boot_mode().map(|b| b.as_str()), Some("uefi"));
        assert_eq!((input.ena_support(), input.kernel_id()), (Some(true), None));
        let root = input.block_device_mappings()[0].ebs().unwrap();
        assert_eq!((root.snapshot_id(), root.delete_on_termination()), (Some("snap-1"), Some(true)));
        // The operations of a gp2 volume are not to be said, and no key beside a snapshot.
        assert_eq!((root.iops(), root.encrypted(), root.kms_key_id()), (None, None, None));
    }
}

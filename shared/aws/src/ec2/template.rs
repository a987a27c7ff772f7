//! One version of a launch template, as facts.
//!
//! Every setting is either carried, or ignored for a stated reason, or listed as unsupported with what to
//! do: nothing that an operator put into a template is dropped in silence.

use aws_sdk_ec2::types::{
    CapacityReservationPreference, HostnameType, InstanceBandwidthWeighting, LaunchTemplateAutoRecoveryState,
    LaunchTemplateBlockDeviceMapping, LaunchTemplateInstanceMetadataProtocolIpv6,
    LaunchTemplateInstanceNetworkInterfaceSpecification as TemplateInterface, LaunchTemplateVersion,
    ResourceType, ResponseLaunchTemplateData as Data, ShutdownBehavior, Tenancy,
};
use perennial_core::ids::{ImageId, SubnetId};
use perennial_core::launch::{Device, Settings, TemplateFacts, Unsupported, UserData};
use perennial_core::names::Tags;

use super::facts::tags;

/// A version of a launch template; `None` if EC2 left out its id, number or data.
pub(super) fn template(raw: &LaunchTemplateVersion) -> Option<TemplateFacts> {
    let data = raw.launch_template_data()?;
    let primary = data.network_interfaces().first();
    let mut groups = data.security_group_ids().to_vec();
    if groups.is_empty() {
        groups.extend(primary.into_iter().flat_map(|p| p.groups()).cloned());
    }
    let image = data.image_id().filter(|id| !is_alias(id));
    Some(TemplateFacts {
        id: raw.launch_template_id()?.to_owned(),
        version: raw.version_number()?.try_into().ok()?,
        image: image.map(ImageId::new),
        instance_type: data.instance_type().map(|t| t.as_str().to_owned()),
        subnet: primary.and_then(|p| p.subnet_id()).map(SubnetId::new),
        groups,
        public_ip: primary.and_then(|p| p.associate_public_ip_address()),
        settings: settings(data),
        devices: data.block_device_mappings().iter().filter_map(device).collect(),
        instance_tags: tags_of(data, &ResourceType::Instance),
        volume_tags: tags_of(data, &ResourceType::Volume),
        unsupported: unsupported(data),
    })
}

/// Whether an image is named by a parameter that somebody may change between two launches.
fn is_alias(image: &str) -> bool {
    image.starts_with("resolve:")
}

/// Tags for one kind of resource. Tags of AWS's own cannot be set.
fn tags_of(data: &Data, kind: &ResourceType) -> Tags {
    let of_kind = data.tag_specifications().iter().filter(|t| t.resource_type() == Some(kind));
    of_kind.flat_map(|t| tags(t.tags())).filter(|(key, _)| !key.starts_with("aws:")).collect()
}

fn settings(data: &Data) -> Settings {
    let profile = data.iam_instance_profile();
    let imds = data.metadata_options();
    let placement = data.placement();
    let word = |text: Option<&str>| text.filter(|t| !t.is_empty()).map(str::to_owned);
    Settings {
        key_name: word(data.key_name()),
        profile_arn: word(profile.and_then(|p| p.arn())),
        profile_name: word(profile.and_then(|p| p.name())),
        user_data: word(data.user_data()).map(UserData),
        monitoring: data.monitoring().and_then(|m| m.enabled()),
        ebs_optimized: data.ebs_optimized(),
        cpu_credits: word(data.credit_specification().and_then(|c| c.cpu_credits())),
        tenancy: word(placement.and_then(|p| p.tenancy()).map(|t| t.as_str())),
        placement_group: word(placement.and_then(|p| p.group_name())),
        imds_tokens: word(imds.and_then(|m| m.http_tokens()).map(|t| t.as_str())),
        imds_hop_limit: imds.and_then(|m| m.http_put_response_hop_limit()),
        imds_endpoint: word(imds.and_then(|m| m.http_endpoint()).map(|e| e.as_str())),
        imds_tags: word(imds.and_then(|m| m.instance_metadata_tags()).map(|t| t.as_str())),
    }
}

fn device(raw: &LaunchTemplateBlockDeviceMapping) -> Option<Device> {
    let ebs = raw.ebs();
    Some(Device {
        device_name: raw.device_name()?.to_owned(),
        virtual_name: raw.virtual_name().filter(|n| !n.is_empty()).map(str::to_owned),
        omit: raw.no_device().is_some(),
        snapshot_id: ebs.and_then(|e| e.snapshot_id()).map(str::to_owned),
        size_gib: ebs.and_then(|e| e.volume_size()),
        volume_type: ebs.and_then(|e| e.volume_type()).map(|t| t.as_str().to_owned()),
        iops: ebs.and_then(|e| e.iops()),
        throughput: ebs.and_then(|e| e.throughput()),
        encrypted: ebs.and_then(|e| e.encrypted()),
        kms_key: ebs.and_then(|e| e.kms_key_id()).map(str::to_owned),
        delete_on_termination: ebs.and_then(|e| e.delete_on_termination()),
    })
}

/// Everything the version sets that is neither carried nor harmless to leave out.
///
/// Left out on purpose: `InstanceMarketOptions` (`launch.market` decides), the zone (the subnets decide),
/// descriptions, and tags of other resources than instances and volumes.
fn unsupported(data: &Data) -> Vec<Unsupported> {
    let mut found = Vec::new();
    for (set, what) in machine(data).into_iter().chain(place(data)).chain(network(data)) {
        if set {
            found.push(Unsupported {
                what: what.to_owned(),
                remedy: format!("remove {what} from the template version or use another version"),
            });
        }
    }
    if data.image_id().is_some_and(is_alias) {
        found.push(Unsupported {
            what: "ImageId as a parameter to be resolved".to_owned(),
            remedy: "name an image by its id in the template version or in launch.image".to_owned(),
        });
    }
    found
}

fn machine(data: &Data) -> Vec<(bool, &'static str)> {
    let ebs = || data.block_device_mappings().iter().filter_map(|d| d.ebs());
    let shutdown = data.instance_initiated_shutdown_behavior();
    let recovery = data.maintenance_options().and_then(|m| m.auto_recovery());
    let bandwidth = data.network_performance_options().and_then(|n| n.bandwidth_weighting());
    let ipv6_imds = data.metadata_options().and_then(|m| m.http_protocol_ipv6());
    vec![
        (data.hibernation_options().is_some_and(|h| h.configured() == Some(true)), "HibernationOptions"),
        (data.instance_requirements().is_some(), "InstanceRequirements"),
        (data.enclave_options().is_some_and(|e| e.enabled() == Some(true)), "EnclaveOptions"),
        (!data.license_specifications().is_empty(), "LicenseSpecifications"),
        (data.cpu_options().is_some(), "CpuOptions"),
        (data.kernel_id().is_some_and(|id| !id.is_empty()), "KernelId"),
        (data.ram_disk_id().is_some_and(|id| !id.is_empty()), "RamDiskId"),
        (data.disable_api_termination() == Some(true), "DisableApiTermination"),
        (data.disable_api_stop() == Some(true), "DisableApiStop"),
        (shutdown.is_some_and(|s| *s != ShutdownBehavior::Stop), "InstanceInitiatedShutdownBehavior"),
        (!data.elastic_gpu_specifications().is_empty(), "ElasticGpuSpecifications"),
        (!data.elastic_inference_accelerators().is_empty(), "ElasticInferenceAccelerators"),
        (
            recovery.is_some_and(|r| *r != LaunchTemplateAutoRecoveryState::Default),
            "MaintenanceOptions.AutoRecovery",
        ),
        (
            bandwidth.is_some_and(|b| *b != InstanceBandwidthWeighting::Default),
            "NetworkPerformanceOptions.BandwidthWeighting",
        ),
        (
            ipv6_imds.is_some_and(|s| *s == LaunchTemplateInstanceMetadataProtocolIpv6::Enabled),
            "MetadataOptions.HttpProtocolIpv6",
        ),
        (data.operator().is_some_and(|o| o.managed() == Some(true)), "Operator"),
        (
            ebs().any(|e| e.volume_initialization_rate().is_some()),
            "BlockDeviceMappings.Ebs.VolumeInitializationRate",
        ),
        (ebs().any(|e| e.ebs_card_index().is_some_and(|i| i > 0)), "BlockDeviceMappings.Ebs.EbsCardIndex"),
    ]
}

fn place(data: &Data) -> Vec<(bool, &'static str)> {
    let Some(placement) = data.placement() else { return reservation(data) };
    let said = |text: Option<&str>| text.is_some_and(|t| !t.is_empty());
    let mut found = vec![
        (said(placement.host_id()), "Placement.HostId"),
        (said(placement.host_resource_group_arn()), "Placement.HostResourceGroupArn"),
        // `default` is what EC2 does anyway without a host.
        (placement.affinity().is_some_and(|a| !a.is_empty() && a != "default"), "Placement.Affinity"),
        (placement.tenancy() == Some(&Tenancy::Host), "Placement.Tenancy"),
        (said(placement.group_id()), "Placement.GroupId"),
        (placement.partition_number().is_some(), "Placement.PartitionNumber"),
        (said(placement.spread_domain()), "Placement.SpreadDomain"),
    ];
    found.extend(reservation(data));
    found
}

fn reservation(data: &Data) -> Vec<(bool, &'static str)> {
    let Some(reservation) = data.capacity_reservation_specification() else { return Vec::new() };
    let preference = reservation.capacity_reservation_preference();
    let open = preference.is_none_or(|p| *p == CapacityReservationPreference::Open);
    vec![(!open || reservation.capacity_reservation_target().is_some(), "CapacityReservationSpecification")]
}

fn network(data: &Data) -> Vec<(bool, &'static str)> {
    let names = data.private_dns_name_options();
    let plain = names.is_none_or(|n| {
        n.hostname_type().is_none_or(|t| *t == HostnameType::IpName)
            && n.enable_resource_name_dns_a_record() != Some(true)
            && n.enable_resource_name_dns_aaaa_record() != Some(true)
    });
    let mut found = vec![
        (!data.security_groups().is_empty(), "SecurityGroups (by name)"),
        (data.network_interfaces().len() > 1, "more than one of NetworkInterfaces"),
        (!data.secondary_interfaces().is_empty(), "SecondaryInterfaces"),
        (!plain, "PrivateDnsNameOptions"),
    ];
    found.extend(data.network_interfaces().first().into_iter().flat_map(primary));
    found
}

fn primary(raw: &TemplateInterface) -> Vec<(bool, &'static str)> {
    let some = |count: Option<i32>| count.is_some_and(|n| n > 0);
    let kind = raw.interface_type().unwrap_or("interface");
    vec![
        (raw.network_interface_id().is_some(), "NetworkInterfaces.NetworkInterfaceId"),
        (some(raw.device_index()), "NetworkInterfaces.DeviceIndex"),
        (some(raw.network_card_index()), "NetworkInterfaces.NetworkCardIndex"),
        (!matches!(kind, "" | "interface"), "NetworkInterfaces.InterfaceType"),
        (
            raw.private_ip_address().is_some()
                || !raw.private_ip_addresses().is_empty()
                || some(raw.secondary_private_ip_address_count()),
            "NetworkInterfaces.PrivateIpAddresses",
        ),
        (
            some(raw.ipv6_address_count())
                || !raw.ipv6_addresses().is_empty()
                || raw.primary_ipv6() == Some(true),
            "NetworkInterfaces.Ipv6Addresses",
        ),
        (some(raw.ipv4_prefix_count()) || !raw.ipv4_prefixes().is_empty(), "NetworkInterfaces.Ipv4Prefixes"),
        (some(raw.ipv6_prefix_count()) || !raw.ipv6_prefixes().is_empty(), "NetworkInterfaces.Ipv6Prefixes"),
        (raw.associate_carrier_ip_address() == Some(true), "NetworkInterfaces.AssociateCarrierIpAddress"),
        (raw.ena_srd_specification().is_some(), "NetworkInterfaces.EnaSrdSpecification"),
        (
            raw.connection_tracking_specification().is_some(),
            "NetworkInterfaces.ConnectionTrackingSpecification",
        ),
        (some(raw.ena_queue_count()), "NetworkInterfaces.EnaQueueCount"),
    ]
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::types::builders::ResponseLaunchTemplateDataBuilder;
    use aws_sdk_ec2::types::{
        self as sdk, LaunchTemplateEbsBlockDevice, LaunchTemplateHibernationOptions,
        LaunchTemplateIamInstanceProfileSpecification, LaunchTemplateInstanceMarketOptions,
        LaunchTemplateInstanceMetadataOptions, LaunchTemplatePlacement, LaunchTemplateTagSpecification, Tag,
    };

    use super::*;

    fn read(data: ResponseLaunchTemplateDataBuilder) -> TemplateFacts {
        let version = LaunchTemplateVersion::builder()
            .launch_template_id("lt-1")
            .version_number(3)
            .launch_template_data(data.build());
        template(&version.build()).unwrap()
    }

    fn what(data: ResponseLaunchTemplateDataBuilder) -> Vec<String> {
        read(data).unsupported.into_iter().map(|u| u.what).collect()
    }

    #[test]
    fn what_can_be_carried_is_carried() {
        let root = LaunchTemplateBlockDeviceMapping::builder().device_name("/dev/xvda").ebs(
            LaunchTemplateEbsBlockDevice::builder().volume_size(20).volume_type(sdk::VolumeType::Gp3).build(),
        );
        let tags = LaunchTemplateTagSpecification::builder()
            .resource_type(ResourceType::Instance)
            .tags(Tag::builder().key("team").value("db").build())
            .tags(Tag::builder().key("aws:ec2launchtemplate:id").value("lt-1").build());
        let facts = read(
            Data::builder()
                .image_id("ami-1")
                .instance_type(sdk::InstanceType::T3Small)
                .key_name("key")
                .user_data("IyEvYmluL3No")
                .iam_instance_profile(
                    LaunchTemplateIamInstanceProfileSpecification::builder().name("profile").build(),
                )
                .metadata_options(
                    LaunchTemplateInstanceMetadataOptions::builder()
                        .http_tokens(sdk::LaunchTemplateHttpTokensState::Required)
                        .build(),
                )
                .security_group_ids("sg-1")
                .block_device_mappings(root.build())
                .tag_specifications(tags.build())
                // Decided by the config, and so neither carried nor refused.
                .instance_market_options(LaunchTemplateInstanceMarketOptions::builder().build()),
        );
        assert_eq!((facts.id.as_str(), facts.version), ("lt-1", 3));
        assert_eq!(facts.image, Some(ImageId::new("ami-1")));
        assert_eq!(facts.instance_type.as_deref(), Some("t3.small"));
        assert_eq!(facts.groups, ["sg-1"]);
        assert_eq!(facts.settings.profile_name.as_deref(), Some("profile"));
        assert_eq!(facts.settings.imds_tokens.as_deref(), Some("required"));
        assert_eq!((facts.devices[0].size_gib, facts.devices[0].omit), (Some(20), false));
        assert_eq!(facts.instance_tags, Tags::from([("team".into(), "db".into())]));
        assert!(facts.unsupported.is_empty(), "{:?}", facts.unsupported);
    }

    #[test]
    fn subnet_and_groups_may_stand_on_the_first_interface() {
        let primary = TemplateInterface::builder()
            .device_index(0)
            .subnet_id("subnet-1")
            .groups("sg-2")
            .associate_public_ip_address(true);
        let facts = read(Data::builder().network_interfaces(primary.build()));
        assert_eq!(facts.subnet, Some(SubnetId::new("subnet-1")));
        assert_eq!((facts.groups.as_slice(), facts.public_ip), (["sg-2".to_owned()].as_slice(), Some(true)));
        assert!(facts.unsupported.is_empty());
    }

    #[test]
    fn what_cannot_be_carried_is_named_with_a_remedy() {
        let fixed = TemplateInterface::builder().network_interface_id("eni-1").ipv6_address_count(1).build();
        let data = Data::builder()
            .hibernation_options(LaunchTemplateHibernationOptions::builder().configured(true).build())
            .disable_api_termination(true)
            .security_groups("default")
            .placement(LaunchTemplatePlacement::builder().host_id("h-1").build())
            .network_interfaces(fixed);
        let named = what(data.clone());
        for expected in [
            "HibernationOptions",
            "DisableApiTermination",
            "SecurityGroups (by name)",
            "Placement.HostId",
            "NetworkInterfaces.NetworkInterfaceId",
            "NetworkInterfaces.Ipv6Addresses",
        ] {
            assert!(named.iter().any(|n| n == expected), "{expected} is missing in {named:?}");
        }
        assert!(read(data).unsupported.iter().all(|u| u.remedy.contains("template version")));
    }

    #[test]
    fn what_equals_the_default_is_no_obstacle() {
        let data = Data::builder()
            .disable_api_termination(false)
            .disable_api_stop(false)
            .hibernation_options(LaunchTemplateHibernationOptions::builder().configured(false).build())
            .instance_initiated_shutdown_behavior(ShutdownBehavior::Stop)
            .placement(
                LaunchTemplatePlacement::builder().tenancy(Tenancy::Default).availability_zone("a").build(),
            );
        assert!(what(data).is_empty());
    }

    #[test]
    fn an_image_behind_a_parameter_is_refused_because_it_may_change() {
        let facts = read(Data::builder().image_id("resolve:ssm:/golden/image"));
        assert_eq!(facts.image, None);
        assert_eq!(facts.unsupported.len(), 1);
    }
}

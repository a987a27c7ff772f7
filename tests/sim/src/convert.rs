//! Between the model's words and the engine's.

use std::net::Ipv4Addr;

use perennial_cloud::model as cloud;
use perennial_cloud::model::{
    ApiError, BlockDeviceMapping, CreateNetworkInterface, CreateSnapshots, CreateVolume, Ebs, InterfaceSpec,
    PrivateIp, TagSpecification,
};
use perennial_core::failure::{Class, Failure};
use perennial_core::ids::{AllocationId, ImageId, InstanceId, InterfaceId, SnapshotId, SubnetId, VolumeId};
use perennial_core::launch::{Device, LaunchNetwork, LaunchRequest, Market, TemplateFacts};
use perennial_core::names::Tags;
use perennial_core::observation::*;
use perennial_core::step::{InterfaceRequest, SetRequest, VolumeRequest};

/// What an error of the account means. The functions' own table, which knows many more codes, is in the
/// AWS adapter and tested there; these are the ones the model can answer with.
pub fn failure(call: &'static str, error: &ApiError) -> Failure {
    let class = match error.code.as_ref() {
        "RequestLimitExceeded" => Class::Retry,
        "InsufficientInstanceCapacity" | "Unsupported" | "SpotMaxPriceTooLow" => Class::NextRung,
        "InsufficientFreeAddressesInSubnet" => Class::NextRung,
        "IncorrectState"
        | "IncorrectInstanceState"
        | "InvalidNetworkInterface.InUse"
        | "VolumeInUse"
        | "InvalidSnapshot.InUse"
        | "InvalidAMIID.Unavailable"
        | "ConcurrentSnapshotLimitExceeded"
        | "SnapshotCreationPerVolumeRateExceeded" => Class::NotYet,
        "InvalidAMIName.Duplicate" => Class::NameTaken,
        "IdempotentParameterMismatch" => Class::TokenMismatch,
        "IdempotentInstanceTerminated" => Class::TokenSpent,
        "InvalidIPAddress.InUse" | "Resource.AlreadyAssociated" => Class::AddressTaken,
        "InvalidInterface.IpAddressLimitExceeded" => Class::NextRung,
        code if code.contains("NotFound") => Class::NotFound,
        _ => Class::Terminal,
    };
    Failure::new(class, call, error.code.to_string(), error.message.clone())
}

/// An instance, with the public addresses that the account shows on its interfaces.
pub fn instance(it: &cloud::Instance, account: &cloud::Cloud) -> InstanceFacts {
    InstanceFacts {
        id: InstanceId::new(&it.id),
        state: match it.state {
            cloud::InstanceState::Pending => InstanceState::Pending,
            cloud::InstanceState::Running => InstanceState::Running,
            cloud::InstanceState::ShuttingDown => InstanceState::ShuttingDown,
            cloud::InstanceState::Terminated => InstanceState::Terminated,
            cloud::InstanceState::Stopping => InstanceState::Stopping,
            cloud::InstanceState::Stopped => InstanceState::Stopped,
        },
        state_reason: it.state_reason.map(|(_, text)| text.to_owned()).unwrap_or_default(),
        instance_type: it.instance_type.clone(),
        spot: it.market == cloud::Market::Spot,
        zone: it.zone.clone(),
        subnet: it.subnet_id.as_ref().map(SubnetId::new),
        private_ip: it.private_ip,
        image: ImageId::new(&it.image_id),
        launched_at: Some(it.launch_time),
        root_device: it.root_device_name.clone(),
        ebs_root: true,
        volumes: it
            .block_devices
            .iter()
            .map(|(device, held)| AttachedVolume {
                device: device.clone(),
                volume: VolumeId::new(&held.volume_id),
                delete_on_termination: held.delete_on_termination,
                attaching: held.state == cloud::AttachmentState::Attaching,
            })
            .collect(),
        interfaces: it
            .interfaces
            .iter()
            .map(|held| AttachedInterface {
                interface: InterfaceId::new(&held.network_interface_id),
                device_index: held.device_index as i32,
                attachment: Some(held.attachment_id.clone()),
                public_ip: account.elastic_ips_on(&held.network_interface_id).map(|it| it.public_ip).next(),
                delete_on_termination: held.delete_on_termination,
            })
            .collect(),
        client_token: it.client_token.clone(),
        tags: it.tags.clone(),
        platform: Platform {
            architecture: it.architecture.clone(),
            virtualization: it.virtualization_type.clone(),
            boot_mode: it.boot_mode.clone(),
            ena: it.ena_support,
            sriov_net: it.sriov_net_support.clone(),
            tpm: it.tpm_support.clone(),
            imds: None,
            kernel: None,
            ramdisk: None,
            usage_operation: Some(it.billing.usage_operation.to_string()),
        },
    }
}

/// A volume.
pub fn volume(it: &cloud::Volume) -> VolumeFacts {
    VolumeFacts {
        id: VolumeId::new(&it.id),
        state: match it.state {
            cloud::VolumeState::Creating => VolumeState::Creating,
            cloud::VolumeState::Available => VolumeState::Available,
            cloud::VolumeState::InUse => VolumeState::InUse,
        },
        attached_to: it.attachments.iter().map(|held| InstanceId::new(&held.instance_id)).collect(),
        device: it.attachment().map(|held| held.device.clone()),
        multi_attach: it.multi_attach,
        shape: VolumeShape {
            size_gib: it.size as i32,
            volume_type: it.volume_type.clone(),
            iops: it.iops.map(|n| n as i32),
            throughput: it.throughput.map(|n| n as i32),
            encrypted: it.encrypted,
            kms_key: it.kms_key_id.clone(),
        },
        source: it.snapshot_id.as_ref().map(SnapshotId::new),
        zone: it.zone.clone(),
        tags: it.tags.clone(),
    }
}

/// A snapshot.
pub fn snapshot(it: &cloud::Snapshot) -> SnapshotFacts {
    SnapshotFacts {
        id: SnapshotId::new(&it.id),
        state: match it.state {
            cloud::SnapshotState::Pending => SnapshotState::Pending,
            cloud::SnapshotState::Completed => SnapshotState::Completed,
            cloud::SnapshotState::Error => SnapshotState::Error,
        },
        volume: VolumeId::new(&it.volume_id),
        started_at: it.start_time,
        progress: String::new(),
        full_bytes: it.full_size(),
        own: true,
        tags: it.tags.clone(),
    }
}

/// An image.
pub fn image(it: &cloud::Image) -> ImageFacts {
    let root = it.spec.block_devices.iter().find(|device| device.device_name == it.root_device());
    ImageFacts {
        id: ImageId::new(&it.id),
        name: it.spec.name.clone(),
        state: match it.state {
            cloud::ImageState::Pending => ImageState::Pending,
            cloud::ImageState::Available => ImageState::Available,
            cloud::ImageState::Failed => ImageState::Failed,
        },
        state_reason: String::new(),
        root_device: it.root_device().to_owned(),
        ebs_root: true,
        root_snapshot: root.and_then(|d| d.ebs.as_ref()?.snapshot_id.as_ref()).map(SnapshotId::new),
        devices: it.spec.block_devices.iter().map(|device| device.device_name.clone()).collect(),
        snapshots: it.snapshot_ids().map(SnapshotId::new).collect(),
        created_at: Some(it.creation_date),
        platform: Platform {
            architecture: it.architecture().to_owned(),
            virtualization: it.virtualization().to_owned(),
            boot_mode: it.spec.boot_mode.clone(),
            ena: it.spec.ena_support.unwrap_or(false),
            sriov_net: it.spec.sriov_net_support.clone(),
            tpm: it.spec.tpm_support.clone(),
            imds: it.spec.imds_support.clone(),
            kernel: it.spec.kernel_id.clone(),
            ramdisk: it.spec.ramdisk_id.clone(),
            usage_operation: Some(it.billing.usage_operation.to_string()),
        },
        tags: it.tags.clone(),
    }
}

/// A network interface.
pub fn interface(it: &cloud::NetworkInterface) -> InterfaceFacts {
    InterfaceFacts {
        id: InterfaceId::new(&it.id),
        state: match it.state() {
            cloud::InterfaceState::Available => InterfaceState::Available,
            cloud::InterfaceState::InUse => InterfaceState::InUse,
        },
        subnet: SubnetId::new(&it.subnet_id),
        zone: it.zone.clone(),
        private_ip: it.private_ip,
        secondary: it.secondary_ips.clone(),
        ipv6: it.ipv6.clone(),
        description: it.description.clone(),
        groups: it.groups.clone(),
        attached_to: it.attachment.as_ref().map(|held| InstanceId::new(&held.instance_id)),
        tags: it.tags.clone(),
    }
}

/// A new interface, as it is asked for.
pub fn new_interface(request: &InterfaceRequest) -> CreateNetworkInterface {
    let address = |ip: &Ipv4Addr, primary: bool| PrivateIp { address: ip.to_string(), primary };
    let several = request.private_ip.iter().filter(|_| !request.secondary.is_empty());
    let secondary = request.secondary.iter().map(|ip| address(ip, false));
    let single = request.private_ip.filter(|_| request.secondary.is_empty());
    CreateNetworkInterface {
        subnet_id: request.subnet.to_string(),
        groups: request.groups.clone(),
        private_ip_address: single.map(|ip| ip.to_string()),
        private_ip_addresses: several.map(|ip| address(ip, true)).chain(secondary).collect(),
        ipv6_addresses: request.ipv6.iter().map(ToString::to_string).collect(),
        description: Some(request.description.clone()),
        tag_specifications: vec![tagged("network-interface", &request.tags)],
        client_token: Some(request.token.clone()),
        ..CreateNetworkInterface::default()
    }
}

/// A new volume, as it is asked for.
pub fn new_volume(request: &VolumeRequest) -> CreateVolume {
    let unsigned = |n: i32| u32::try_from(n).unwrap_or_default();
    let kind = request.shape.volume_type.as_str();
    CreateVolume {
        zone: request.zone.clone(),
        size: Some(unsigned(request.shape.size_gib)).filter(|size| *size > 0),
        volume_type: Some(kind.to_owned()).filter(|kind| !kind.is_empty()),
        iops: request.shape.iops.map(unsigned).filter(|_| matches!(kind, "gp3" | "io1" | "io2")),
        throughput: request.shape.throughput.map(unsigned).filter(|_| kind == "gp3"),
        snapshot_id: Some(request.snapshot.to_string()),
        tag_specifications: vec![tagged("volume", &request.tags)],
        client_token: Some(request.token.clone()),
        ..CreateVolume::default()
    }
}

/// New snapshots of one moment, as they are asked for.
pub fn new_set(request: &SetRequest) -> CreateSnapshots {
    CreateSnapshots {
        instance_id: request.instance.to_string(),
        exclude_boot_volume: request.without_root,
        exclude_data_volume_ids: request.without.iter().map(ToString::to_string).collect(),
        description: request.description.clone(),
        tag_specifications: vec![tagged("snapshot", &request.tags)],
    }
}

/// An Elastic IP address.
pub fn address(it: &cloud::ElasticIp) -> AddressFacts {
    AddressFacts {
        id: AllocationId::new(&it.id),
        public_ip: it.public_ip,
        association: it.association.as_ref().map(|held| Association {
            id: held.id.clone(),
            interface: Some(InterfaceId::new(&held.network_interface_id)),
            private_ip: Some(held.private_ip),
        }),
    }
}

/// A subnet.
pub fn subnet(it: &cloud::Subnet) -> SubnetFacts {
    SubnetFacts { id: SubnetId::new(&it.id), zone: it.zone.clone(), cidr: it.cidr }
}

/// A version of a launch template: what the simulation's templates set.
pub fn template(it: &cloud::TemplateVersion) -> TemplateFacts {
    TemplateFacts {
        id: it.template_id.clone(),
        version: it.number,
        image: it.data.image_id.as_ref().map(ImageId::new),
        instance_type: it.data.instance_type.clone(),
        subnet: it.data.subnet_id.as_ref().map(SubnetId::new),
        groups: it.data.security_group_ids.clone(),
        devices: it.data.block_devices.iter().map(said_device).collect(),
        ..TemplateFacts::default()
    }
}

/// Tags for one type of resource.
pub fn tagged(resource_type: &str, tags: &Tags) -> TagSpecification {
    TagSpecification { resource_type: resource_type.to_owned(), tags: tags.clone() }
}

/// A device of a template, as far as the simulation's templates have any.
fn said_device(it: &BlockDeviceMapping) -> Device {
    let ebs = it.ebs.clone().unwrap_or_default();
    Device {
        device_name: it.device_name.clone(),
        omit: it.no_device.is_some(),
        snapshot_id: ebs.snapshot_id,
        size_gib: ebs.volume_size.map(|n| n as i32),
        volume_type: ebs.volume_type,
        ..Device::default()
    }
}

fn device(it: &Device) -> BlockDeviceMapping {
    if it.omit {
        let no_device = Some(String::new());
        return BlockDeviceMapping {
            device_name: it.device_name.clone(),
            no_device,
            ..BlockDeviceMapping::default()
        };
    }
    let unsigned = |n: i32| u32::try_from(n).unwrap_or_default();
    BlockDeviceMapping {
        device_name: it.device_name.clone(),
        ebs: Some(Ebs {
            snapshot_id: it.snapshot_id.clone(),
            volume_size: it.size_gib.map(unsigned),
            volume_type: it.volume_type.clone(),
            iops: it.iops.map(unsigned),
            throughput: it.throughput.map(unsigned),
            delete_on_termination: it.delete_on_termination,
            encrypted: it.encrypted,
            kms_key_id: it.kms_key.clone(),
            initialization_rate: None,
        }),
        no_device: None,
        virtual_name: None,
    }
}

/// A launch.
pub fn launch(it: &LaunchRequest) -> cloud::RunInstances {
    let interface = match &it.network {
        LaunchNetwork::Kept { eni_id } => InterfaceSpec {
            device_index: Some(0),
            network_interface_id: Some(eni_id.to_string()),
            ..InterfaceSpec::default()
        },
        LaunchNetwork::Fresh { subnet_id, groups, .. } => InterfaceSpec {
            device_index: Some(0),
            subnet_id: Some(subnet_id.to_string()),
            groups: groups.clone(),
            delete_on_termination: Some(true),
            ..InterfaceSpec::default()
        },
    };
    let market = (it.market == Market::Spot).then(|| cloud::MarketOptions {
        market_type: Some("spot".to_owned()),
        max_price: it.max_spot_price.clone(),
        spot_type: Some("one-time".to_owned()),
        interruption_behavior: Some("terminate".to_owned()),
        valid_until: None,
    });
    cloud::RunInstances {
        spec: cloud::LaunchSpec {
            image_id: Some(it.image_id.to_string()),
            instance_type: Some(it.instance_type.clone()),
            block_devices: it.devices.iter().map(device).collect(),
            interfaces: vec![interface],
            tag_specifications: vec![
                tagged("instance", &it.instance_tags),
                tagged("volume", &it.volume_tags),
            ],
            market,
            ..cloud::LaunchSpec::default()
        },
        min_count: 1,
        max_count: 1,
        client_token: Some(it.token.clone()),
        launch_template: None,
    }
}

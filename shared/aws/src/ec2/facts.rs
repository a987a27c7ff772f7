//! What EC2 answers, as facts.
//!
//! One function per kind, each pure. An answer that lacks what makes a fact useful is left out and logged,
//! never filled with a guess; a state this SDK does not know is read as the one that makes callers wait.

use std::net::Ipv4Addr;

use aws_sdk_ec2::operation::create_snapshot::CreateSnapshotOutput;
use aws_sdk_ec2::operation::create_volume::CreateVolumeOutput;
use aws_sdk_ec2::types::{
    self as sdk, Address, AttachmentStatus, BlockDeviceMapping, DeviceType, Image, Instance,
    InstanceBlockDeviceMapping, InstanceLifecycleType, InstanceNetworkInterface, InstanceStateName,
    NetworkInterface, NetworkInterfaceStatus, Snapshot, SnapshotInfo, StateReason, Subnet, Tag, Volume,
};
use perennial_core::ids::{AllocationId, ImageId, InstanceId, InterfaceId, SnapshotId, SubnetId, VolumeId};
use perennial_core::names::Tags;
use perennial_core::observation::{
    AddressFacts, Association, AttachedInterface, AttachedVolume, ImageFacts, ImageState, InstanceFacts,
    InstanceState, InterfaceFacts, InterfaceState, Platform, SnapshotFacts, SnapshotState, SubnetFacts,
    VolumeFacts, VolumeShape, VolumeState,
};

use crate::timestamp;

/// Maps a list; what cannot be read is logged and left out.
pub(super) fn all<T: std::fmt::Debug, F>(raw: &[T], kind: &'static str, map: fn(&T) -> Option<F>) -> Vec<F> {
    let facts: Vec<F> = raw.iter().filter_map(map).collect();
    if facts.len() < raw.len() {
        tracing::warn!(kind, left_out = raw.len() - facts.len(), "EC2 answered incompletely");
    }
    facts
}

/// Tags as a map.
pub(super) fn tags(raw: &[Tag]) -> Tags {
    raw.iter().filter_map(|t| Some((t.key()?.to_owned(), t.value().unwrap_or_default().to_owned()))).collect()
}

fn owned(text: Option<&str>) -> String {
    text.unwrap_or_default().to_owned()
}

fn reason(raw: Option<&StateReason>) -> String {
    match raw.map(|r| (r.code().unwrap_or_default(), r.message().unwrap_or_default())) {
        None | Some(("", "")) => String::new(),
        // Most messages begin with their code.
        Some((code, message)) if message.starts_with(code) => message.to_owned(),
        Some((code, message)) => format!("{code}: {message}"),
    }
}

/// An instance.
pub(super) fn instance(raw: &Instance) -> Option<InstanceFacts> {
    let state = match raw.state()?.name()? {
        InstanceStateName::Pending => InstanceState::Pending,
        InstanceStateName::Running => InstanceState::Running,
        InstanceStateName::Stopping => InstanceState::Stopping,
        InstanceStateName::Stopped => InstanceState::Stopped,
        InstanceStateName::ShuttingDown => InstanceState::ShuttingDown,
        InstanceStateName::Terminated => InstanceState::Terminated,
        _ => return None,
    };
    let placement = raw.placement();
    Some(InstanceFacts {
        id: InstanceId::new(raw.instance_id()?),
        state,
        state_reason: reason(raw.state_reason()),
        instance_type: owned(raw.instance_type().map(|t| t.as_str())),
        spot: matches!(raw.instance_lifecycle(), Some(InstanceLifecycleType::Spot)),
        zone: owned(placement.and_then(|p| p.availability_zone())),
        subnet: raw.subnet_id().filter(|id| !id.is_empty()).map(SubnetId::new),
        private_ip: raw.private_ip_address().and_then(|ip| ip.parse().ok()),
        image: ImageId::new(raw.image_id()?),
        launched_at: raw.launch_time().and_then(timestamp),
        root_device: owned(raw.root_device_name()),
        ebs_root: matches!(raw.root_device_type(), Some(DeviceType::Ebs)),
        volumes: raw.block_device_mappings().iter().filter_map(attached_volume).collect(),
        interfaces: raw.network_interfaces().iter().filter_map(attached_interface).collect(),
        client_token: raw.client_token().filter(|t| !t.is_empty()).map(str::to_owned),
        tags: tags(raw.tags()),
        platform: Platform {
            architecture: owned(raw.architecture().map(|a| a.as_str())),
            virtualization: owned(raw.virtualization_type().map(|v| v.as_str())),
            boot_mode: raw.boot_mode().map(|b| b.as_str().to_owned()),
            ena: raw.ena_support().unwrap_or_default(),
            sriov_net: raw.sriov_net_support().map(str::to_owned),
            tpm: raw.tpm_support().map(str::to_owned),
            // Only images tell.
            imds: None,
            kernel: raw.kernel_id().map(str::to_owned),
            ramdisk: raw.ramdisk_id().map(str::to_owned),
            usage_operation: raw.usage_operation().map(str::to_owned),
        },
    })
}

fn attached_volume(raw: &InstanceBlockDeviceMapping) -> Option<AttachedVolume> {
    let ebs = raw.ebs()?;
    Some(AttachedVolume {
        device: raw.device_name()?.to_owned(),
        volume: VolumeId::new(ebs.volume_id()?),
        // Unknown counts as deleted: then it is set, which never harms.
        delete_on_termination: ebs.delete_on_termination().unwrap_or(true),
        attaching: matches!(ebs.status(), Some(AttachmentStatus::Attaching)),
    })
}

fn attached_interface(raw: &InstanceNetworkInterface) -> Option<AttachedInterface> {
    let attachment = raw.attachment();
    Some(AttachedInterface {
        interface: InterfaceId::new(raw.network_interface_id()?),
        device_index: attachment.and_then(|a| a.device_index()).unwrap_or_default(),
        attachment: attachment.and_then(|a| a.attachment_id()).map(str::to_owned),
        public_ip: raw.association().and_then(|a| a.public_ip()).and_then(|ip| ip.parse().ok()),
        delete_on_termination: attachment.and_then(|a| a.delete_on_termination()).unwrap_or(true),
    })
}

fn volume_state(raw: &sdk::VolumeState) -> VolumeState {
    match raw {
        sdk::VolumeState::Creating => VolumeState::Creating,
        sdk::VolumeState::Available => VolumeState::Available,
        sdk::VolumeState::Deleting | sdk::VolumeState::Deleted => VolumeState::Deleting,
        sdk::VolumeState::Error => VolumeState::Error,
        _ => VolumeState::InUse,
    }
}

/// EC2's answers of one kind are of different types with the same fields, which have no trait in common.
macro_rules! volume_facts {
    ($raw:expr) => {{
        let raw = $raw;
        let attachments = raw.attachments();
        Some(VolumeFacts {
            id: VolumeId::new(raw.volume_id()?),
            state: volume_state(raw.state()?),
            attached_to: attachments.iter().filter_map(|a| a.instance_id()).map(InstanceId::new).collect(),
            device: attachments.first().and_then(|a| a.device()).map(str::to_owned),
            multi_attach: raw.multi_attach_enabled().unwrap_or_default(),
            shape: VolumeShape {
                size_gib: raw.size().unwrap_or_default(),
                volume_type: owned(raw.volume_type().map(|t| t.as_str())),
                iops: raw.iops(),
                throughput: raw.throughput(),
                encrypted: raw.encrypted().unwrap_or_default(),
                kms_key: raw.kms_key_id().map(str::to_owned),
            },
            source: raw.snapshot_id().filter(|id| !id.is_empty()).map(SnapshotId::new),
            zone: owned(raw.availability_zone()),
            tags: tags(raw.tags()),
        })
    }};
}

/// A volume.
pub(super) fn volume(raw: &Volume) -> Option<VolumeFacts> {
    volume_facts!(raw)
}

/// A volume that was just made, or that its token made before.
pub(super) fn new_volume(raw: &CreateVolumeOutput) -> Option<VolumeFacts> {
    volume_facts!(raw)
}

fn snapshot_state(raw: &sdk::SnapshotState) -> SnapshotState {
    match raw {
        sdk::SnapshotState::Completed => SnapshotState::Completed,
        // An archived snapshot on its way back cannot be used either.
        sdk::SnapshotState::Error | sdk::SnapshotState::Recoverable | sdk::SnapshotState::Recovering => {
            SnapshotState::Error
        }
        _ => SnapshotState::Pending,
    }
}

/// A size that is not known yet is left out or said to be 0; no volume with an operating system is empty.
fn full_bytes(raw: Option<i64>) -> Option<u64> {
    raw.and_then(|bytes| u64::try_from(bytes).ok()).filter(|bytes| *bytes > 0)
}

/// The same of snapshots; only own ones are ever asked for. Of those in a set EC2 tells no size.
macro_rules! snapshot_facts {
    ($raw:expr, $bytes:expr) => {{
        let raw = $raw;
        Some(SnapshotFacts {
            id: SnapshotId::new(raw.snapshot_id()?),
            state: snapshot_state(raw.state()?),
            volume: VolumeId::new(raw.volume_id()?),
            started_at: timestamp(raw.start_time()?)?,
            progress: owned(raw.progress()),
            full_bytes: full_bytes($bytes),
            own: true,
            tags: tags(raw.tags()),
        })
    }};
}

/// A snapshot.
pub(super) fn snapshot(raw: &Snapshot) -> Option<SnapshotFacts> {
    snapshot_facts!(raw, raw.full_snapshot_size_in_bytes())
}

/// A snapshot that was just taken.
pub(super) fn new_snapshot(raw: &CreateSnapshotOutput) -> Option<SnapshotFacts> {
    snapshot_facts!(raw, raw.full_snapshot_size_in_bytes())
}

/// The snapshots of a set that was just taken; `None` if of any of them too little is told.
pub(super) fn new_set(raw: &[SnapshotInfo]) -> Option<Vec<SnapshotFacts>> {
    let part = |raw: &SnapshotInfo| snapshot_facts!(raw, None);
    raw.iter().map(part).collect::<Option<Vec<_>>>().filter(|parts| !parts.is_empty())
}

/// An image.
pub(super) fn image(raw: &Image) -> Option<ImageFacts> {
    let state = match raw.state()? {
        sdk::ImageState::Available => ImageState::Available,
        sdk::ImageState::Failed | sdk::ImageState::Error | sdk::ImageState::Invalid => ImageState::Failed,
        sdk::ImageState::Deregistered | sdk::ImageState::Disabled => ImageState::Gone,
        _ => ImageState::Pending,
    };
    let root_device = owned(raw.root_device_name());
    let on_ebs: Vec<&BlockDeviceMapping> =
        raw.block_device_mappings().iter().filter(|d| d.ebs().is_some()).collect();
    let root = on_ebs.iter().find(|d| d.device_name() == Some(root_device.as_str()));
    Some(ImageFacts {
        id: ImageId::new(raw.image_id()?),
        name: owned(raw.name()),
        state,
        state_reason: reason(raw.state_reason()),
        ebs_root: matches!(raw.root_device_type(), Some(DeviceType::Ebs)),
        root_snapshot: root.and_then(|d| d.ebs()?.snapshot_id()).map(SnapshotId::new),
        devices: on_ebs.iter().filter_map(|d| d.device_name()).map(str::to_owned).collect(),
        snapshots: on_ebs.iter().filter_map(|d| d.ebs()?.snapshot_id()).map(SnapshotId::new).collect(),
        created_at: raw.creation_date().and_then(|text| text.parse().ok()),
        platform: Platform {
            architecture: owned(raw.architecture().map(|a| a.as_str())),
            virtualization: owned(raw.virtualization_type().map(|v| v.as_str())),
            boot_mode: raw.boot_mode().map(|b| b.as_str().to_owned()),
            ena: raw.ena_support().unwrap_or_default(),
            sriov_net: raw.sriov_net_support().map(str::to_owned),
            tpm: raw.tpm_support().map(|t| t.as_str().to_owned()),
            imds: raw.imds_support().map(|i| i.as_str().to_owned()),
            kernel: raw.kernel_id().map(str::to_owned),
            ramdisk: raw.ramdisk_id().map(str::to_owned),
            usage_operation: raw.usage_operation().map(str::to_owned),
        },
        tags: tags(raw.tags()),
        root_device,
    })
}

/// A network interface.
pub(super) fn interface(raw: &NetworkInterface) -> Option<InterfaceFacts> {
    let attached_to = raw.attachment().and_then(|a| a.instance_id()).map(InstanceId::new);
    let state = match raw.status() {
        Some(NetworkInterfaceStatus::Available) => InterfaceState::Available,
        Some(
            NetworkInterfaceStatus::Associated
            | NetworkInterfaceStatus::Attaching
            | NetworkInterfaceStatus::Detaching
            | NetworkInterfaceStatus::InUse,
        ) => InterfaceState::InUse,
        // A new one answers with a state of its own (`pending`) that the model does not list.
        _ if raw.attachment().is_some() => InterfaceState::InUse,
        _ => InterfaceState::Available,
    };
    let secondary = raw.private_ip_addresses().iter().filter(|it| it.primary() != Some(true));
    Some(InterfaceFacts {
        id: InterfaceId::new(raw.network_interface_id()?),
        state,
        subnet: SubnetId::new(raw.subnet_id()?),
        zone: owned(raw.availability_zone()),
        private_ip: raw.private_ip_address()?.parse::<Ipv4Addr>().ok()?,
        secondary: secondary.filter_map(|it| it.private_ip_address()?.parse().ok()).collect(),
        ipv6: raw.ipv6_addresses().iter().filter_map(|it| it.ipv6_address()?.parse().ok()).collect(),
        description: owned(raw.description()),
        groups: raw.groups().iter().filter_map(|g| g.group_id()).map(str::to_owned).collect(),
        attached_to,
        tags: tags(raw.tag_set()),
    })
}

/// An Elastic IP address.
pub(super) fn address(raw: &Address) -> Option<AddressFacts> {
    let association = raw.association_id().map(|id| Association {
        id: id.to_owned(),
        interface: raw.network_interface_id().map(InterfaceId::new),
        private_ip: raw.private_ip_address().and_then(|ip| ip.parse().ok()),
    });
    Some(AddressFacts {
        id: AllocationId::new(raw.allocation_id()?),
        public_ip: raw.public_ip()?.parse().ok()?,
        association,
    })
}

/// A subnet.
pub(super) fn subnet(raw: &Subnet) -> Option<SubnetFacts> {
    Some(SubnetFacts {
        id: SubnetId::new(raw.subnet_id()?),
        zone: raw.availability_zone()?.to_owned(),
        cidr: raw.cidr_block()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::types::{
        EbsBlockDevice, EbsInstanceBlockDevice, ImageState as SdkImageState,
        InstanceNetworkInterfaceAttachment, InstanceState as SdkInstanceState, NetworkInterfaceAttachment,
        Placement, VolumeAttachment,
    };
    use aws_smithy_types::DateTime;

    use super::*;

    fn tag(key: &str, value: &str) -> Tag {
        Tag::builder().key(key).value(value).build()
    }

    fn running() -> sdk::builders::InstanceBuilder {
        let ebs = EbsInstanceBlockDevice::builder().volume_id("vol-1").delete_on_termination(false).build();
        let root = InstanceBlockDeviceMapping::builder().device_name("/dev/xvda").ebs(ebs).build();
        let attachment = InstanceNetworkInterfaceAttachment::builder()
            .attachment_id("eni-attach-1")
            .device_index(0)
            .delete_on_termination(true)
            .status(AttachmentStatus::Attached)
            .build();
        let eni =
            InstanceNetworkInterface::builder().network_interface_id("eni-1").attachment(attachment).build();
        Instance::builder()
            .instance_id("i-1")
            .image_id("ami-1")
            .state(SdkInstanceState::builder().name(InstanceStateName::Running).build())
            .instance_lifecycle(InstanceLifecycleType::Spot)
            .placement(Placement::builder().availability_zone("eu-west-1a").build())
            .private_ip_address("10.0.0.7")
            .launch_time(DateTime::from_secs(1_795_168_800))
            .root_device_name("/dev/xvda")
            .root_device_type(DeviceType::Ebs)
            .block_device_mappings(root)
            .network_interfaces(eni)
            .client_token("t1")
            .usage_operation("RunInstances")
            .tags(tag("Name", "db"))
    }

    #[test]
    fn a_running_instance_is_read_with_what_must_outlive_it() {
        let facts = instance(&running().build()).unwrap();
        assert_eq!(facts.state, InstanceState::Running);
        assert!(facts.spot && facts.ebs_root);
        assert_eq!(facts.volumes[0].volume, VolumeId::new("vol-1"));
        assert!(!facts.volumes[0].delete_on_termination);
        assert_eq!(facts.interfaces[0].attachment.as_deref(), Some("eni-attach-1"));
        assert!(facts.interfaces[0].delete_on_termination);
        assert_eq!(facts.launched_at.unwrap().to_string(), "2026-11-20T10:00:00Z");
        assert_eq!(facts.tags["Name"], "db");
        assert_eq!(facts.platform.usage_operation.as_deref(), Some("RunInstances"));
    }

    #[test]
    fn a_volume_that_is_still_being_attached_is_told_apart() {
        let attaching = |status: Option<AttachmentStatus>| {
            let ebs = EbsInstanceBlockDevice::builder().volume_id("vol-2").set_status(status).build();
            let device = InstanceBlockDeviceMapping::builder().device_name("/dev/sdf").ebs(ebs).build();
            instance(&running().block_device_mappings(device).build()).unwrap().volumes[1].attaching
        };
        assert!(attaching(Some(AttachmentStatus::Attaching)));
        for other in [AttachmentStatus::Attached, AttachmentStatus::Detaching] {
            assert!(!attaching(Some(other)));
        }
        assert!(!attaching(None));
    }

    #[test]
    fn a_reason_says_its_code_once() {
        let reason = |code: &str, message: &str| {
            let raw = StateReason::builder().code(code).message(message).build();
            instance(&running().state_reason(raw).build()).unwrap().state_reason
        };
        let spot = "Server.SpotInstanceTermination: Spot instance termination";
        assert_eq!(reason("Server.SpotInstanceTermination", spot), spot);
        assert_eq!(reason("Client.InternalError", "Client error"), "Client.InternalError: Client error");
        assert_eq!(reason("", ""), "");
    }

    #[test]
    fn an_instance_without_a_state_is_left_out_not_guessed() {
        let mut raw = running().build();
        raw.state = None;
        let seen = all(&[running().build(), raw], "instance", instance);
        assert_eq!(seen.len(), 1);
    }

    #[test]
    fn unknown_states_make_callers_wait() {
        let odd = Volume::builder().volume_id("vol-1").state("melting".into()).build();
        assert_eq!(volume(&odd).unwrap().state, VolumeState::InUse);
        let at = DateTime::from_secs(1_795_168_800);
        let odd = Snapshot::builder().snapshot_id("snap-1").volume_id("vol-1").start_time(at);
        assert_eq!(snapshot(&odd.state("thinking".into()).build()).unwrap().state, SnapshotState::Pending);
        let odd = Image::builder().image_id("ami-1").state("brewing".into()).build();
        assert_eq!(image(&odd).unwrap().state, ImageState::Pending);
    }

    #[test]
    fn a_volume_shows_where_it_is_attached_and_its_shape() {
        let attachment = VolumeAttachment::builder().instance_id("i-1").device("/dev/xvda").build();
        let raw = Volume::builder()
            .volume_id("vol-1")
            .state(sdk::VolumeState::InUse)
            .attachments(attachment)
            .size(8)
            .volume_type(sdk::VolumeType::Gp3)
            .throughput(125)
            .availability_zone("eu-west-1a");
        let facts = volume(&raw.build()).unwrap();
        assert_eq!(facts.attached_to, [InstanceId::new("i-1")]);
        assert_eq!(facts.device.as_deref(), Some("/dev/xvda"));
        assert_eq!((facts.shape.size_gib, facts.shape.volume_type.as_str()), (8, "gp3"));
        assert_eq!(facts.shape.throughput, Some(125));
        assert!(!facts.multi_attach);
        let shared = Volume::builder().volume_id("vol-2").state(sdk::VolumeState::InUse);
        assert!(volume(&shared.multi_attach_enabled(true).build()).unwrap().multi_attach);
    }

    #[test]
    fn a_new_volume_is_read_as_any_other() {
        let raw = CreateVolumeOutput::builder()
            .volume_id("vol-2")
            .state(sdk::VolumeState::Creating)
            .size(20)
            .volume_type(sdk::VolumeType::Gp3)
            .iops(3000)
            .snapshot_id("snap-1")
            .availability_zone("eu-west-1a")
            .tags(tag("perennial:key", "k"));
        let facts = new_volume(&raw.clone().build()).unwrap();
        assert_eq!((facts.id.as_str(), facts.state), ("vol-2", VolumeState::Creating));
        assert_eq!((facts.shape.size_gib, facts.shape.iops), (20, Some(3000)));
        assert_eq!(facts.source, Some(SnapshotId::new("snap-1")));
        assert_eq!((facts.zone.as_str(), facts.tags["perennial:key"].as_str()), ("eu-west-1a", "k"));
        // The token may be an old one.
        let held = VolumeAttachment::builder().instance_id("i-1").device("/dev/sdf").build();
        let used = new_volume(&raw.state(sdk::VolumeState::InUse).attachments(held).build()).unwrap();
        assert_eq!((used.state, used.device.as_deref()), (VolumeState::InUse, Some("/dev/sdf")));
        assert_eq!(used.attached_to, [InstanceId::new("i-1")]);
        assert_eq!(new_volume(&CreateVolumeOutput::builder().volume_id("vol-2").build()), None);
    }

    #[test]
    fn a_set_is_read_with_all_its_parts_or_not_at_all() {
        let part = |n: u8| {
            SnapshotInfo::builder()
                .snapshot_id(format!("snap-{n}"))
                .volume_id(format!("vol-{n}"))
                .state(sdk::SnapshotState::Pending)
                .start_time(DateTime::from_secs(1_795_168_800))
                .tags(tag("perennial:parts", "2"))
        };
        let set = new_set(&[part(1).build(), part(2).build()]).unwrap();
        let told = set.iter().map(|it| (it.id.as_str(), it.volume.as_str(), it.state));
        let pending = SnapshotState::Pending;
        assert_eq!(told.collect::<Vec<_>>(), [("snap-1", "vol-1", pending), ("snap-2", "vol-2", pending)]);
        assert!(set.iter().all(|it| it.own && it.full_bytes.is_none() && it.tags.len() == 1));
        assert_eq!(new_set(&[part(1).build(), part(2).set_volume_id(None).build()]), None);
        assert_eq!(new_set(&[]), None);
    }

    #[test]
    fn an_image_names_the_snapshot_behind_its_root_once_ec2_shows_it() {
        let device = |name: &str, snapshot: Option<&str>| {
            let ebs = EbsBlockDevice::builder().set_snapshot_id(snapshot.map(str::to_owned)).build();
            BlockDeviceMapping::builder().device_name(name).ebs(ebs).build()
        };
        let raw =
            Image::builder().image_id("ami-1").state(SdkImageState::Available).root_device_name("/dev/sda1");
        let early = image(&raw.clone().build()).unwrap();
        assert_eq!(early.root_snapshot, None);
        let raw = raw
            .block_device_mappings(device("/dev/sdb", Some("snap-2")))
            .block_device_mappings(device("/dev/sda1", Some("snap-1")))
            .block_device_mappings(BlockDeviceMapping::builder().virtual_name("ephemeral0").build());
        let facts = image(&raw.build()).unwrap();
        assert_eq!(facts.root_snapshot, Some(SnapshotId::new("snap-1")));
        assert_eq!(facts.devices, ["/dev/sdb", "/dev/sda1"]);
    }

    #[test]
    fn a_new_interface_is_free_and_an_attached_one_is_not() {
        let raw = NetworkInterface::builder()
            .network_interface_id("eni-1")
            .subnet_id("subnet-1")
            .private_ip_address("10.0.0.9")
            .status("pending".into());
        assert_eq!(interface(&raw.clone().build()).unwrap().state, InterfaceState::Available);
        let held = raw.attachment(NetworkInterfaceAttachment::builder().instance_id("i-1").build());
        let facts = interface(&held.build()).unwrap();
        assert_eq!(facts.state, InterfaceState::InUse);
        assert_eq!(facts.attached_to, Some(InstanceId::new("i-1")));
    }
}

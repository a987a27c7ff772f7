//! Instances: what one is and how it is described.
//!
//! How an instance moves from state to state is decided in `lifecycle`, and how its status checks go in `health`, never
//! here.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use jiff::Timestamp;

use super::attachments::AttachmentState;
use super::filter::Described;
use super::launch_spec::InstanceProfile;
use super::tags::Tags;
use super::{ApiError, Billing, Cloud, Describe, Kind, Market, Page};

/// Instance states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstanceState {
    /// Starting.
    Pending,
    /// Running.
    Running,
    /// Ending for good.
    ShuttingDown,
    /// Ended.
    Terminated,
    /// Stopping.
    Stopping,
    /// Stopped.
    Stopped,
}

impl InstanceState {
    /// The name the API uses.
    pub const fn name(self) -> &'static str {
        match self {
            InstanceState::Pending => "pending",
            InstanceState::Running => "running",
            InstanceState::ShuttingDown => "shutting-down",
            InstanceState::Terminated => "terminated",
            InstanceState::Stopping => "stopping",
            InstanceState::Stopped => "stopped",
        }
    }

    /// The number the API uses (API reference, InstanceState).
    pub const fn code(self) -> u8 {
        match self {
            InstanceState::Pending => 0,
            InstanceState::Running => 16,
            InstanceState::ShuttingDown => 32,
            InstanceState::Terminated => 48,
            InstanceState::Stopping => 64,
            InstanceState::Stopped => 80,
        }
    }
}

/// A volume as its instance sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockDevice {
    /// Volume.
    pub volume_id: String,
    /// Whether it goes with the instance.
    pub delete_on_termination: bool,
    /// State of the attachment.
    pub state: AttachmentState,
    /// When it was attached.
    pub attach_time: Timestamp,
}

/// A network interface as its instance sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceInterface {
    /// Interface.
    pub network_interface_id: String,
    /// Attachment.
    pub attachment_id: String,
    /// Position.
    pub device_index: u32,
    /// Whether it goes with the instance.
    pub delete_on_termination: bool,
    /// When it was attached.
    pub attach_time: Timestamp,
}

/// An instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Id.
    pub id: String,
    /// The launch it came from.
    pub reservation_id: String,
    /// Its place in that launch.
    pub launch_index: u32,
    /// State.
    pub state: InstanceState,
    /// Image.
    pub image_id: String,
    /// Type.
    pub instance_type: String,
    /// Market.
    pub market: Market,
    /// Spot request, spot only.
    pub spot_request_id: Option<String>,
    /// When it was last started.
    pub launch_time: Timestamp,
    /// Since when it runs.
    pub running_since: Option<Timestamp>,
    /// When EC2 takes it back, once that is announced.
    pub reclaimed_at: Option<Timestamp>,
    /// Why it is ending or ended: code and sentence.
    pub state_reason: Option<(&'static str, &'static str)>,
    /// Who ended it, and when.
    pub ended: Option<(&'static str, Timestamp)>,
    /// Device name of the root volume.
    pub root_device_name: String,
    /// Volumes by device name; none once terminated.
    pub block_devices: BTreeMap<String, BlockDevice>,
    /// Interfaces by position; none once terminated.
    pub interfaces: Vec<InstanceInterface>,
    /// Primary private address; none once terminated.
    pub private_ip: Option<Ipv4Addr>,
    /// Subnet; none once terminated.
    pub subnet_id: Option<String>,
    /// Network; none once terminated.
    pub vpc_id: Option<String>,
    /// Availability Zone.
    pub zone: String,
    /// Architecture.
    pub architecture: String,
    /// Billing codes.
    pub billing: Billing,
    /// Virtualization.
    pub virtualization_type: String,
    /// ENA.
    pub ena_support: bool,
    /// `simple`, or absent.
    pub sriov_net_support: Option<String>,
    /// The image's boot mode.
    pub boot_mode: Option<String>,
    /// How it booted: `uefi` or `legacy-bios`.
    pub current_boot_mode: &'static str,
    /// `v2.0`, or absent.
    pub tpm_support: Option<String>,
    /// Which metadata service its image supports. Kept for an image made of the instance: its own may be gone by then.
    pub(crate) imds_support: Option<String>,
    /// The UEFI variable store it was launched with, kept for the same reason.
    pub(crate) uefi_data: Option<String>,
    /// Idempotency token of its launch.
    pub client_token: Option<String>,
    /// Tags.
    pub tags: Tags,
    /// Security groups of the primary interface.
    pub security_groups: Vec<String>,
    /// Key pair.
    pub key_name: Option<String>,
    /// Instance profile, as its ARN.
    pub iam_instance_profile: Option<InstanceProfile>,
    /// User data, base64.
    pub user_data: Option<String>,
    /// Other launch settings by dotted name.
    pub options: BTreeMap<String, String>,
    /// Since when its guest is impaired, whatever its state; its checks fail from then on.
    pub impaired_since: Option<Timestamp>,
    /// When it was first launched; a restart changes [`Instance::launch_time`], not this.
    pub created: Timestamp,
    /// Grows with every transition, so that a plan made earlier is known to be stale.
    pub(crate) epoch: u32,
}

impl Instance {
    /// Its root volume, while it has one.
    pub fn root(&self) -> Option<&BlockDevice> {
        self.block_devices.get(&self.root_device_name)
    }
}

/// What TerminateInstances, StopInstances and StartInstances answer for one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateChange {
    /// Instance.
    pub instance_id: String,
    /// Before the call.
    pub previous: InstanceState,
    /// After it.
    pub current: InstanceState,
}

/// What a guest writes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteTarget {
    /// The root volume of an instance.
    Instance(String),
    /// A volume, root or data, attached to a running instance.
    Volume(String),
}

impl Described for Instance {
    const KIND: Kind = Kind::Instance;
    const FILTERS: &'static [&'static str] = &[
        "instance-id",
        "instance-state-name",
        "instance-state-code",
        "instance-type",
        "instance-lifecycle",
        "spot-instance-request-id",
        "client-token",
        "image-id",
        "reservation-id",
        "availability-zone",
        "subnet-id",
        "vpc-id",
        "private-ip-address",
        "ip-address",
        "key-name",
        "architecture",
        "root-device-name",
        "owner-id",
        "launch-time",
        "state-reason-code",
        "group-id",
        "instance.group-id",
        "block-device-mapping.volume-id",
        "block-device-mapping.device-name",
        "block-device-mapping.status",
        "block-device-mapping.delete-on-termination",
        "network-interface.network-interface-id",
        "network-interface.attachment.attachment-id",
    ];

    fn tags(&self) -> &Tags {
        &self.tags
    }

    fn made(&self) -> Timestamp {
        self.created
    }

    fn values<'a>(&'a self, filter: &str, cloud: &'a Cloud) -> Vec<Cow<'a, str>> {
        let value: Option<Cow<'a, str>> = match filter {
            "instance-id" => Some(self.id.as_str().into()),
            "instance-state-name" => Some(self.state.name().into()),
            "instance-state-code" => Some(self.state.code().to_string().into()),
            "instance-type" => Some(self.instance_type.as_str().into()),
            "instance-lifecycle" => (self.market == Market::Spot).then_some("spot".into()),
            "spot-instance-request-id" => self.spot_request_id.as_deref().map(Into::into),
            "client-token" => self.client_token.as_deref().map(Into::into),
            "image-id" => Some(self.image_id.as_str().into()),
            "reservation-id" => Some(self.reservation_id.as_str().into()),
            "availability-zone" => Some(self.zone.as_str().into()),
            "subnet-id" => self.subnet_id.as_deref().map(Into::into),
            "vpc-id" => self.vpc_id.as_deref().map(Into::into),
            "private-ip-address" => self.private_ip.map(|it| it.to_string().into()),
            "ip-address" => cloud.public_ip_of(self).map(|it| it.to_string().into()),
            "key-name" => self.key_name.as_deref().map(Into::into),
            "architecture" => Some(self.architecture.as_str().into()),
            "root-device-name" => Some(self.root_device_name.as_str().into()),
            "owner-id" => Some(cloud.settings.account.as_str().into()),
            "launch-time" => Some(self.launch_time.to_string().into()),
            "state-reason-code" => self.state_reason.map(|(code, _)| code.into()),
            "group-id" | "instance.group-id" => {
                return self.security_groups.iter().map(|it| it.as_str().into()).collect();
            }
            "block-device-mapping.volume-id" => {
                return self.block_devices.values().map(|it| it.volume_id.as_str().into()).collect();
            }
            "block-device-mapping.device-name" => {
                return self.block_devices.keys().map(|it| it.as_str().into()).collect();
            }
            "block-device-mapping.status" => {
                return self.block_devices.values().map(|it| it.state.name().into()).collect();
            }
            "block-device-mapping.delete-on-termination" => {
                let goes = |it: &BlockDevice| it.delete_on_termination.to_string().into();
                return self.block_devices.values().map(goes).collect();
            }
            "network-interface.network-interface-id" => {
                return self.interfaces.iter().map(|it| it.network_interface_id.as_str().into()).collect();
            }
            "network-interface.attachment.attachment-id" => {
                return self.interfaces.iter().map(|it| it.attachment_id.as_str().into()).collect();
            }
            _ => None,
        };
        value.into_iter().collect()
    }
}

impl Cloud {
    /// DescribeInstances.
    pub fn describe_instances(&mut self, request: &Describe) -> Result<Page<Instance>, ApiError> {
        self.admit_describe("DescribeInstances", request.is_narrow())?;
        self.describe(&self.instances, request, |_| true)
    }
}

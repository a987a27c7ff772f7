//! The errors EC2 answers with: a code, a sentence and an HTTP status.
//!
//! Codes and sentences follow the EC2 developer guide's error code list; callers branch on the code alone. This
//! module must never decide *when* a call fails, only how the refusal is worded.

use std::borrow::Cow;

/// A refused EC2 call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ApiError {
    /// EC2 error code, for example `InvalidVolume.NotFound`.
    pub code: Cow<'static, str>,
    /// Sentence for people.
    pub message: String,
    /// HTTP status: 400 for the caller's mistakes, 412 for a dry run, 500 for missing capacity, 503 for throttling.
    pub status: u16,
}

impl ApiError {
    /// An error of the caller's making (HTTP 400).
    pub fn new(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> ApiError {
        ApiError { code: code.into(), message: message.into(), status: 400 }
    }

    /// An error with another HTTP status than 400.
    pub fn with_status(
        code: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
        status: u16,
    ) -> ApiError {
        ApiError { code: code.into(), message: message.into(), status }
    }

    /// `InvalidParameterValue`.
    pub fn value(message: impl Into<String>) -> ApiError {
        ApiError::new("InvalidParameterValue", message)
    }

    /// `InvalidParameterCombination`.
    pub fn combination(message: impl Into<String>) -> ApiError {
        ApiError::new("InvalidParameterCombination", message)
    }

    /// `MissingParameter`.
    pub fn missing(name: &str) -> ApiError {
        ApiError::new("MissingParameter", format!("The request must contain the parameter {name}"))
    }

    /// `IncorrectState`.
    pub fn state(message: impl Into<String>) -> ApiError {
        ApiError::new("IncorrectState", message)
    }
}

/// The kinds of resources that are addressed by id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// EC2 instance, `i-`.
    Instance,
    /// EBS volume, `vol-`.
    Volume,
    /// EBS snapshot, `snap-`.
    Snapshot,
    /// Machine image, `ami-`.
    Image,
    /// Network interface, `eni-`.
    NetworkInterface,
    /// Subnet, `subnet-`.
    Subnet,
    /// Virtual network, `vpc-`.
    Vpc,
    /// Security group, `sg-`.
    SecurityGroup,
    /// Launch template, `lt-`.
    LaunchTemplate,
    /// Elastic IP address, `eipalloc-`.
    ElasticIp,
}

impl Kind {
    /// Every kind; no prefix begins another, so that their order does not matter.
    pub(crate) const ALL: [Kind; 10] = [
        Kind::Instance,
        Kind::Volume,
        Kind::Snapshot,
        Kind::Image,
        Kind::NetworkInterface,
        Kind::Subnet,
        Kind::Vpc,
        Kind::SecurityGroup,
        Kind::LaunchTemplate,
        Kind::ElasticIp,
    ];

    /// What ids of this kind begin with, the hyphen included.
    pub const fn prefix(self) -> &'static str {
        match self {
            Kind::Instance => "i-",
            Kind::Volume => "vol-",
            Kind::Snapshot => "snap-",
            Kind::Image => "ami-",
            Kind::NetworkInterface => "eni-",
            Kind::Subnet => "subnet-",
            Kind::Vpc => "vpc-",
            Kind::SecurityGroup => "sg-",
            Kind::LaunchTemplate => "lt-",
            Kind::ElasticIp => "eipalloc-",
        }
    }

    /// Name of the list parameter that the describe call takes, as AWS words it in `InvalidParameterCombination`.
    pub(crate) const fn set_name(self) -> &'static str {
        match self {
            Kind::Instance => "instancesSet",
            Kind::Volume => "volumeSet",
            Kind::Snapshot => "snapshotSet",
            Kind::Image => "imageIdSet",
            Kind::NetworkInterface => "networkInterfaceIdSet",
            Kind::Subnet => "subnetSet",
            Kind::Vpc => "vpcSet",
            Kind::SecurityGroup => "groupIdSet",
            Kind::LaunchTemplate => "launchTemplateIdSet",
            Kind::ElasticIp => "allocationIdSet",
        }
    }

    /// The type's not-found error for `id`.
    pub(crate) fn not_found(self, id: &str) -> ApiError {
        let (code, message) = match self {
            Kind::Instance => {
                ("InvalidInstanceID.NotFound", format!("The instance ID '{id}' does not exist"))
            }
            Kind::Volume => ("InvalidVolume.NotFound", format!("The volume '{id}' does not exist.")),
            Kind::Snapshot => ("InvalidSnapshot.NotFound", format!("The snapshot '{id}' does not exist.")),
            Kind::Image => ("InvalidAMIID.NotFound", format!("The image id '[{id}]' does not exist")),
            Kind::NetworkInterface => (
                "InvalidNetworkInterfaceID.NotFound",
                format!("The networkInterface ID '{id}' does not exist"),
            ),
            Kind::Subnet => ("InvalidSubnetID.NotFound", format!("The subnet ID '{id}' does not exist")),
            Kind::Vpc => ("InvalidVpcID.NotFound", format!("The vpc ID '{id}' does not exist")),
            Kind::SecurityGroup => {
                ("InvalidGroup.NotFound", format!("The security group '{id}' does not exist"))
            }
            Kind::LaunchTemplate => (
                "InvalidLaunchTemplateId.NotFound",
                format!("The specified launch template, with template ID {id}, does not exist."),
            ),
            Kind::ElasticIp => {
                ("InvalidAllocationID.NotFound", format!("The allocation ID '{id}' does not exist"))
            }
        };
        ApiError::new(code, message)
    }

    /// The type's malformed-id error for `id`.
    fn malformed(self, id: &str) -> ApiError {
        let code = match self {
            Kind::Instance => "InvalidInstanceID.Malformed",
            Kind::Volume => "InvalidVolumeID.Malformed",
            Kind::Snapshot => "InvalidSnapshotID.Malformed",
            Kind::Image => "InvalidAMIID.Malformed",
            Kind::NetworkInterface => "InvalidNetworkInterfaceId.Malformed",
            Kind::Subnet => "InvalidSubnetID.Malformed",
            Kind::Vpc => "InvalidVpcId.Malformed",
            Kind::SecurityGroup => "InvalidGroupId.Malformed",
            Kind::LaunchTemplate => "InvalidLaunchTemplateId.Malformed",
            // The guide's list has no code of its own for a malformed allocation id.
            Kind::ElasticIp => "InvalidAllocationID.NotFound",
        };
        ApiError::new(code, format!("Invalid id: \"{id}\" (expecting \"{}...\")", self.prefix()))
    }

    /// Refuses an id that is not shaped like one of this kind: the prefix and 8 to 17 hexadecimal digits.
    pub(crate) fn check(self, id: &str) -> Result<(), ApiError> {
        let shaped = id.strip_prefix(self.prefix()).is_some_and(|rest| {
            (8..=17).contains(&rest.len()) && rest.bytes().all(|b| b.is_ascii_hexdigit())
        });
        if shaped { Ok(()) } else { Err(self.malformed(id)) }
    }

    /// The kind an id's prefix names.
    pub(crate) fn of(id: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| id.starts_with(kind.prefix()))
    }
}

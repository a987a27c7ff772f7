//! What the error codes of AWS mean: the one table from code to [`Class`].
//!
//! Sources: EC2 developer guide *Error codes* and *Ensuring idempotency*, DynamoDB developer guide *Error
//! handling*, EBS user guide *Quotas*. A code that is not listed is judged by its HTTP status and logged,
//! so that it can be added. Messages are never looked at.

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::display::DisplayErrorContext;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use perennial_core::failure::{Class, Failure};

/// The call whose refusals of a type or a place are answered by another rung.
pub(crate) const RUN_INSTANCES: &str = "EC2:RunInstances";
/// The call of one instance that a volume must fit: no rung helps there.
pub(crate) const ATTACH_VOLUME: &str = "EC2:AttachVolume";
/// The call for which an image that is not available is an image that is gone.
pub(crate) const DEREGISTER_IMAGE: &str = "EC2:DeregisterImage";
/// The call whose only parameter is an id that EC2 gave: a value that is wrong is an interface in use.
pub(crate) const DELETE_INTERFACE: &str = "EC2:DeleteNetworkInterface";

/// Codes that mean the same whatever the call.
const TABLE: &[(Class, &[&str])] = &[
    (
        Class::NextRung,
        &[
            // A server error by status (500), yet a definite answer: never left to the SDK to repeat.
            "InsufficientInstanceCapacity",
            "InsufficientHostCapacity",
            "InsufficientCapacity",
            "InsufficientReservedInstanceCapacity",
            "UnfulfillableCapacity",
            "Unsupported",
            "UnsupportedHostConfiguration",
            "SpotMaxPriceTooLow",
            "InsufficientFreeAddressesInSubnet",
            // The type allows fewer addresses, interfaces or volumes than the node has.
            "InvalidInterface.IpAddressLimitExceeded",
            "AttachmentLimitExceeded",
        ],
    ),
    (
        Class::Quota,
        &[
            "MaxSpotInstanceCountExceeded",
            "VcpuLimitExceeded",
            "InstanceLimitExceeded",
            "InstanceTypeLimitExceeded",
            "VolumeLimitExceeded",
            "MaxIOPSLimitExceeded",
            "VolumeIOPSLimit",
            "SnapshotLimitExceeded",
            "NetworkInterfaceLimitExceeded",
            "PrivateIpAddressLimitExceeded",
            "TagLimitExceeded",
            "SecurityGroupsPerInterfaceLimitExceeded",
            "SecurityGroupsPerInstanceLimitExceeded",
            "AMIQuotaExceeded",
            "PendingVerification",
        ],
    ),
    (
        Class::NotYet,
        &[
            "IncorrectState",
            "IncorrectInstanceState",
            "InvalidState",
            "InvalidInstanceID.NotReady",
            "InvalidNetworkInterface.InUse",
            "VolumeInUse",
            "InvalidVolume.InUse",
            "InvalidSnapshot.InUse",
            "InvalidAMIID.Unavailable",
            "ConcurrentSnapshotLimitExceeded",
            "SnapshotCreationPerVolumeRateExceeded",
            "PendingSnapshotLimitExceeded",
            "ConcurrentCreateImageNoRebootLimitExceeded",
            "DependencyViolation",
            "ConcurrentTagAccess",
        ],
    ),
    // How the tagging calls say that there is no such resource; the ids we send are never malformed.
    (Class::NotFound, &["InvalidID"]),
    (Class::NameTaken, &["InvalidAMIName.Duplicate"]),
    (Class::TokenMismatch, &["IdempotentParameterMismatch", "IdempotentParameterMismatchException"]),
    (Class::TokenSpent, &["IdempotentInstanceTerminated"]),
    (
        Class::AddressTaken,
        &["InvalidIPAddress.InUse", "InvalidPrivateIpAddress.InUse", "Resource.AlreadyAssociated"],
    ),
    (
        Class::Retry,
        &[
            "RequestLimitExceeded",
            "Throttling",
            "ThrottlingException",
            "ThrottledException",
            "RequestThrottled",
            "RequestThrottledException",
            "TooManyRequestsException",
            "SlowDown",
            "BandwidthLimitExceeded",
            "EC2ThrottledException",
            "PriorRequestNotComplete",
            "ProvisionedThroughputExceededException",
            "LimitExceededException",
            "TransactionInProgressException",
            "TransactionConflictException",
            "InternalError",
            "InternalFailure",
            "InternalException",
            "InternalServerError",
            "Unavailable",
            "ServiceUnavailable",
            "ServerInternal",
            "RequestTimeout",
            // There is none of a volume's kind just now: waiting helps, and the token makes a repeat harmless.
            "InsufficientVolumeCapacity",
            // The credentials of a function are renewed by Lambda.
            "ExpiredToken",
            "ExpiredTokenException",
            "RequestExpired",
        ],
    ),
    (
        Class::Terminal,
        &[
            "UnauthorizedOperation",
            "AccessDenied",
            "AccessDeniedException",
            "AuthFailure",
            "OptInRequired",
            "Blocked",
            "DryRunOperation",
            "UnrecognizedClientException",
            "InvalidClientTokenId",
            "SignatureDoesNotMatch",
            "MissingParameter",
            "UnknownParameter",
            "UnknownOperation",
            "InvalidAction",
            "InvalidCharacter",
            "MalformedQueryString",
            "OperationNotPermitted",
            "ValidationError",
            "ValidationException",
            // A table or a bus that is not there is a broken deployment, not a resource that is gone.
            "ResourceNotFoundException",
            // A group comes from the operator: that it is not there does not mend itself.
            "InvalidGroup.NotFound",
            "InvalidSecurityGroupID.NotFound",
            "ItemCollectionSizeLimitExceededException",
            // A volume never leaves its zone, nor does an instance.
            "InvalidVolume.ZoneMismatch",
            "InvalidVolumeID.ZoneMismatch",
            "UnsupportedOperation",
            "InvalidParameterCombination",
        ],
    ),
];

/// What a code means for the call that it answered; `None` if only its status can tell.
fn known(call: &str, code: &str) -> Option<Class> {
    if call == RUN_INSTANCES && matches!(code, "UnsupportedOperation" | "InvalidParameterCombination") {
        // Image against type: boot mode, ENA, architecture. Another type may do.
        return Some(Class::NextRung);
    }
    if call == ATTACH_VOLUME && code == "AttachmentLimitExceeded" {
        // The instance is there, and its type is what it is.
        return Some(Class::Terminal);
    }
    if call == DELETE_INTERFACE && code == "InvalidParameterValue" {
        return Some(Class::NotYet);
    }
    if call == DEREGISTER_IMAGE && code == "InvalidAMIID.Unavailable" {
        return Some(Class::NotFound);
    }
    if let Some((class, _)) = TABLE.iter().find(|(_, codes)| codes.contains(&code)) {
        return Some(*class);
    }
    if code.ends_with("NotFound") || code.ends_with(".NotFoundException") {
        return Some(Class::NotFound);
    }
    let faulty = code.starts_with("InvalidParameter") || code.contains(".Malformed");
    faulty.then_some(Class::Terminal)
}

/// What an answer means, by its code and, where that is new, by its status.
fn class(call: &'static str, code: &str, status: u16) -> Class {
    known(call, code).unwrap_or_else(|| {
        let class = if status >= 500 || status == 429 { Class::Retry } else { Class::Terminal };
        tracing::warn!(call, code, status, ?class, "AWS answered with a code that is not in the table");
        class
    })
}

/// Turns a failed call of any service into a [`Failure`].
pub(crate) fn failure<E>(call: &'static str, error: &SdkError<E, HttpResponse>) -> Failure
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match error {
        SdkError::ServiceError(answer) => {
            let status = answer.raw().status().as_u16();
            let code = answer.err().code().unwrap_or_default();
            let message = answer.err().message().unwrap_or("without a message");
            match code {
                "" => Failure::new(class(call, code, status), call, format!("HTTP {status}"), message),
                code => Failure::new(class(call, code, status), call, code, message),
            }
        }
        SdkError::TimeoutError(_) => on_the_way(call, "Timeout", error),
        SdkError::DispatchFailure(_) => on_the_way(call, "Dispatch", error),
        SdkError::ResponseError(_) => on_the_way(call, "Response", error),
        // The request could not even be built: a defect of ours, or a setting that is missing.
        other => Failure::new(Class::Terminal, call, "Construction", chain(other)),
    }
}

/// An answer of AWS that lacks what it must have.
pub(crate) fn incomplete(call: &'static str, what: &str) -> Failure {
    Failure::new(Class::Retry, call, "Response", format!("the answer lacks {what}"))
}

fn on_the_way<E>(call: &'static str, code: &str, error: &SdkError<E, HttpResponse>) -> Failure
where
    E: std::error::Error + 'static,
{
    Failure::new(Class::Retry, call, code, chain(error))
}

/// The whole chain of causes, since the outermost of an SDK error says nothing; without its debug form.
fn chain<E: std::error::Error>(error: E) -> String {
    let text = DisplayErrorContext(error).to_string();
    text.split(" (").next().unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use aws_sdk_ec2::error::ErrorMetadata;
    use aws_sdk_ec2::operation::run_instances::RunInstancesError;
    use aws_smithy_runtime_api::http::StatusCode;
    use aws_smithy_types::body::SdkBody;

    use super::*;

    fn answered(code: &str, status: u16) -> Failure {
        let error = RunInstancesError::generic(ErrorMetadata::builder().code(code).message("why").build());
        let raw = HttpResponse::new(StatusCode::try_from(status).unwrap(), SdkBody::empty());
        failure(RUN_INSTANCES, &SdkError::service_error(error, raw))
    }

    #[test]
    fn no_code_means_two_things() {
        let mut seen = BTreeSet::new();
        for code in TABLE.iter().flat_map(|(_, codes)| codes.iter()) {
            assert!(seen.insert(code), "{code} is listed twice");
        }
    }

    #[test]
    fn every_listed_code_has_its_class_whatever_the_status() {
        for (class, codes) in TABLE {
            for code in *codes {
                for status in [400, 500, 503] {
                    assert_eq!(super::class("EC2:DescribeVolumes", code, status), *class, "{code}");
                }
            }
        }
    }

    #[test]
    fn want_of_capacity_is_the_next_rung_though_it_is_a_server_error() {
        let failure = answered("InsufficientInstanceCapacity", 500);
        assert_eq!(failure.class, Class::NextRung);
        assert_eq!(failure.to_string(), "EC2:RunInstances answered InsufficientInstanceCapacity: why");
    }

    #[test]
    fn the_call_decides_where_a_code_means_different_things() {
        for code in ["UnsupportedOperation", "InvalidParameterCombination"] {
            assert_eq!(class(RUN_INSTANCES, code, 400), Class::NextRung, "{code}");
            assert_eq!(class("EC2:RegisterImage", code, 400), Class::Terminal, "{code}");
        }
        assert_eq!(class(ATTACH_VOLUME, "AttachmentLimitExceeded", 400), Class::Terminal);
        assert_eq!(class(RUN_INSTANCES, "AttachmentLimitExceeded", 400), Class::NextRung);
        assert_eq!(class(DEREGISTER_IMAGE, "InvalidAMIID.Unavailable", 400), Class::NotFound);
        assert_eq!(class(RUN_INSTANCES, "InvalidAMIID.Unavailable", 400), Class::NotYet);
        assert_eq!(class(DELETE_INTERFACE, "InvalidParameterValue", 400), Class::NotYet);
        assert_eq!(
            class("EC2:ModifyNetworkInterfaceAttribute", "InvalidParameterValue", 400),
            Class::Terminal
        );
    }

    #[test]
    fn what_is_still_in_use_is_waited_for() {
        for code in ["InvalidNetworkInterface.InUse", "InvalidSnapshot.InUse", "VolumeInUse"] {
            assert_eq!(class("EC2:AnyCall", code, 400), Class::NotYet, "{code}");
        }
    }

    #[test]
    fn what_attaching_a_volume_is_refused_for_is_waited_for_only_where_that_helps() {
        for (code, expected) in [
            ("VolumeInUse", Class::NotYet),
            ("IncorrectState", Class::NotYet),
            ("IncorrectInstanceState", Class::NotYet),
            ("InvalidVolume.NotFound", Class::NotFound),
            ("InvalidVolume.ZoneMismatch", Class::Terminal),
            ("InvalidVolumeID.ZoneMismatch", Class::Terminal),
            // The device is taken, or no name for one.
            ("InvalidParameterValue", Class::Terminal),
        ] {
            assert_eq!(class(ATTACH_VOLUME, code, 400), expected, "{code}");
        }
    }

    #[test]
    fn what_making_a_volume_or_a_set_is_refused_for_is_repeated_where_that_helps() {
        for (call, code, status, expected) in [
            ("EC2:CreateVolume", "InsufficientVolumeCapacity", 500, Class::Retry),
            ("EC2:CreateVolume", "VolumeLimitExceeded", 400, Class::Quota),
            ("EC2:CreateVolume", "IncorrectState", 400, Class::NotYet),
            ("EC2:CreateVolume", "InvalidSnapshot.NotFound", 400, Class::NotFound),
            ("EC2:CreateVolume", "IdempotentParameterMismatch", 400, Class::TokenMismatch),
            ("EC2:CreateVolume", "InvalidParameterCombination", 400, Class::Terminal),
            ("EC2:CreateSnapshots", "SnapshotCreationPerVolumeRateExceeded", 400, Class::NotYet),
            ("EC2:CreateSnapshots", "ConcurrentSnapshotLimitExceeded", 400, Class::NotYet),
            ("EC2:CreateSnapshots", "InvalidParameterValue", 400, Class::Terminal),
            ("EC2:CreateSnapshots", "RequestLimitExceeded", 503, Class::Retry),
        ] {
            assert_eq!(class(call, code, status), expected, "{call} {code}");
        }
    }

    #[test]
    fn a_missing_group_is_the_operators_to_mend_and_a_missing_resource_is_an_answer() {
        for code in ["InvalidGroup.NotFound", "InvalidSecurityGroupID.NotFound", "InvalidGroupId.Malformed"] {
            assert_eq!(class("EC2:ModifyNetworkInterfaceAttribute", code, 400), Class::Terminal, "{code}");
        }
        for call in ["EC2:CreateTags", "EC2:DeleteTags"] {
            assert_eq!(class(call, "InvalidID", 400), Class::NotFound, "{call}");
        }
    }

    #[test]
    fn whatever_is_not_found_is_not_found() {
        for code in [
            "InvalidInstanceID.NotFound",
            "InvalidVolume.NotFound",
            "InvalidSnapshot.NotFound",
            "InvalidAMIID.NotFound",
            "InvalidNetworkInterfaceID.NotFound",
            "InvalidLaunchTemplateId.NotFound",
            "InvalidLaunchTemplateId.VersionNotFound",
            "InvalidLaunchTemplateName.NotFoundException",
        ] {
            assert_eq!(class("EC2:AnyCall", code, 400), Class::NotFound, "{code}");
        }
        assert_eq!(class("DynamoDB:GetItem", "ResourceNotFoundException", 400), Class::Terminal);
    }

    #[test]
    fn an_unknown_code_is_judged_by_its_status() {
        assert_eq!(answered("BrandNewTrouble", 500).class, Class::Retry);
        assert_eq!(answered("BrandNewTrouble", 429).class, Class::Retry);
        assert_eq!(answered("BrandNewTrouble", 400).class, Class::Terminal);
        assert_eq!(answered("InvalidParameterValue", 400).class, Class::Terminal);
        assert_eq!(answered("InvalidInstanceID.Malformed", 400).class, Class::Terminal);
        assert_eq!(answered("", 502).code, "HTTP 502");
    }

    #[test]
    fn what_fails_on_the_way_may_have_happened_and_is_repeated() {
        let timeout: SdkError<RunInstancesError, HttpResponse> = SdkError::timeout_error("too late");
        let failure = super::failure(RUN_INSTANCES, &timeout);
        assert_eq!((failure.class, failure.code.as_str()), (Class::Retry, "Timeout"));
        assert!(failure.message.contains("too late"), "{}", failure.message);
        let unbuilt: SdkError<RunInstancesError, HttpResponse> = SdkError::construction_failure("no image");
        assert_eq!(super::failure(RUN_INSTANCES, &unbuilt).class, Class::Terminal);
    }
}

//! The EC2 Query wire: form in, XML out, over the model.
//!
//! This layer reads and writes; it decides nothing that the model could decide. An unknown operation is refused with
//! `InvalidAction`, an unknown parameter with `UnknownParameter`. Element names are those of the EC2 API reference.

mod addresses;
mod images;
mod instances;
mod interfaces;
mod launch;
mod network;
mod query;
mod snapshots;
mod templates;
mod volumes;
mod xml;

use serde_json::Value;

use crate::model::{ApiError, Cloud};
use query::Params;
use xml::Nodes;

/// An answer on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// XML document.
    pub body: String,
    /// The operation called, as the caller named it.
    pub operation: String,
    /// Error code of a refusal.
    pub error_code: Option<String>,
}

/// What an operation's front does: read the parameters, call the model, write the answer's children.
type Front = fn(&mut Cloud, &mut Params) -> Result<Nodes, ApiError>;

fn front(operation: &str) -> Option<Front> {
    Some(match operation {
        "RunInstances" => instances::run,
        "DescribeInstances" => instances::describe,
        "DescribeInstanceStatus" => instances::describe_status,
        "TerminateInstances" => instances::terminate,
        "StopInstances" => instances::stop,
        "StartInstances" => instances::start,
        "ModifyInstanceAttribute" => instances::modify,
        "CreateVolume" => volumes::create,
        "DeleteVolume" => volumes::delete,
        "DescribeVolumes" => volumes::describe,
        "AttachVolume" => volumes::attach,
        "DetachVolume" => volumes::detach,
        "ModifyVolume" => volumes::modify,
        "DescribeVolumesModifications" => volumes::describe_modifications,
        "CreateSnapshot" => snapshots::create,
        "CreateSnapshots" => snapshots::create_set,
        "DeleteSnapshot" => snapshots::delete,
        "DescribeSnapshots" => snapshots::describe,
        "RegisterImage" => images::register,
        "CreateImage" => images::create,
        "DeregisterImage" => images::deregister,
        "DescribeImages" => images::describe,
        "CreateNetworkInterface" => interfaces::create,
        "DeleteNetworkInterface" => interfaces::delete,
        "DescribeNetworkInterfaces" => interfaces::describe,
        "ModifyNetworkInterfaceAttribute" => interfaces::modify,
        "AllocateAddress" => addresses::allocate,
        "ReleaseAddress" => addresses::release,
        "DescribeAddresses" => addresses::describe,
        "AssociateAddress" => addresses::associate,
        "DisassociateAddress" => addresses::disassociate,
        "AssignPrivateIpAddresses" => addresses::assign_private,
        "UnassignPrivateIpAddresses" => addresses::unassign_private,
        "AssignIpv6Addresses" => addresses::assign_ipv6,
        "UnassignIpv6Addresses" => addresses::unassign_ipv6,
        "AssociateSubnetCidrBlock" => addresses::associate_subnet,
        "CreateLaunchTemplate" => templates::create,
        "CreateLaunchTemplateVersion" => templates::create_version,
        "DeleteLaunchTemplate" => templates::delete,
        "DescribeLaunchTemplates" => templates::describe,
        "DescribeLaunchTemplateVersions" => templates::describe_versions,
        "CreateVpc" => network::create_vpc,
        "DescribeVpcs" => network::describe_vpcs,
        "CreateSubnet" => network::create_subnet,
        "DescribeSubnets" => network::describe_subnets,
        "CreateSecurityGroup" => network::create_security_group,
        "DescribeSecurityGroups" => network::describe_security_groups,
        "DescribeAvailabilityZones" => network::describe_zones,
        "CreateTags" => network::create_tags,
        "DeleteTags" => network::delete_tags,
        _ => return None,
    })
}

/// Answers one EC2 call: `body` is the form the SDKs send, `request_id` what the answer is to be named.
pub fn handle(cloud: &mut Cloud, body: &str, request_id: &str) -> Response {
    let (operation, mut params) = Params::parse(body);
    let answer = match front(&operation) {
        Some(front) => front(cloud, &mut params),
        None => Err(ApiError::new(
            "InvalidAction",
            format!("The action {operation} is not valid for this web service."),
        )),
    };
    match answer {
        Ok(children) => {
            let children = Nodes::new().text("requestId", request_id).with(children);
            let body = xml::document(&format!("{operation}Response"), true, &children);
            Response { status: 200, body, operation, error_code: None }
        }
        Err(error) => refusal(operation, &error, request_id),
    }
}

/// An error as EC2 writes it; also for refusals that do not come from the model, such as an injected fault.
pub fn refusal(operation: String, error: &ApiError, request_id: &str) -> Response {
    let detail = Nodes::new().text("Code", &error.code).text("Message", &error.message);
    let children =
        Nodes::new().node("Errors", Nodes::new().node("Error", detail)).text("RequestID", request_id);
    Response {
        status: error.status,
        body: xml::document("Response", false, &children),
        operation,
        error_code: Some(error.code.to_string()),
    }
}

/// The decoded parameters of a call as a JSON object of strings, for a call log.
pub fn parameters(body: &str) -> Value {
    let pairs = form_urlencoded::parse(body.as_bytes()).into_owned();
    Value::Object(
        pairs
            .filter(|(name, _)| name != "Action" && name != "Version")
            .map(|(name, value)| (name, Value::String(value)))
            .collect(),
    )
}

/// The answer of calls that only say that it is done.
fn done() -> Nodes {
    Nodes::new().text("return", true)
}

#[cfg(test)]
mod tests;

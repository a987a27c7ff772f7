//! Instances on the wire.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::model::{
    ApiError, Cloud, Instance, InstanceState, Market, RunInstances, StateChange, TemplateRef,
};

use super::addresses::{self, Shown};
use super::launch::{self, camel};
use super::query::Params;
use super::xml::{Nodes, time};
use super::{done, network};

pub(super) fn run(cloud: &mut Cloud, p: &mut Params) -> Result<Nodes, ApiError> {
    let mut template = p.part("LaunchTemplate");
    let launch_template = if template.is_empty() {
        None
    } else {
        Some(TemplateRef {
            id: template.text("LaunchTemplateId"),
            name: template.text("LaunchTemplateName"),
            version: template.text("Version"),
        })
    };
    template.finish()?;
    let request = RunInstances {
        spec: launch::read(p)?,
        min_count: p.number("MinCount")?.ok_or_else(|| ApiError::missing("MinCount"))?,
        max_count: p.number("MaxCount")?.ok_or_else(|| ApiError::missing("MaxCount"))?,
        client_token: p.text("ClientToken").filter(|it| !it.is_empty()),
        launch_template,
    };
    p.end()?;
    let instances = cloud.run_instances(&request)?;
    Ok(reservation(cloud, &instances.iter().collect::<Vec<_>>()))
}

pub(super) fn describe(cloud: &mut Cloud, p: &mut Params) -> Result<Nodes, ApiError> {
    let request = p.describe("InstanceId")?;
    p.end()?;
    let page = cloud.describe_instances(&request)?;
    let mut reservations: BTreeMap<&str, Vec<&Instance>> = BTreeMap::new();
    for instance in &page.items {
        reservations.entry(&instance.reservation_id).or_default().push(instance);
    }
    Ok(Nodes::new()
        .list("reservationSet", reservations.values(), |instances| reservation(cloud, instances))
        .maybe("nextToken", page.next_token))
}

fn reservation(cloud: &Cloud, instances: &[&Instance]) -> Nodes {
    Nodes::new()
        .maybe("reservationId", instances.first().map(|it| &it.reservation_id))
        .text("ownerId", &cloud.settings().account)
        .list("groupSet", std::iter::empty::<()>(), |()| Nodes::new())
        .list("instancesSet", instances, |it| write(cloud, it))
}

fn state(name: &'static str, state: InstanceState) -> Nodes {
    Nodes::new().node(name, Nodes::new().text("code", state.code()).text("name", state.name()))
}

fn write(cloud: &Cloud, it: &Instance) -> Nodes {
    let dns = it.private_ip.map(network::private_dns).unwrap_or_default();
    let reason = it.ended.map_or_else(String::new, |(by, at)| {
        format!("{by} initiated ({})", at.strftime("%Y-%m-%d %H:%M:%S GMT"))
    });
    let mut nodes = Nodes::new()
        .text("instanceId", &it.id)
        .text("imageId", &it.image_id)
        .with(state("instanceState", it.state))
        .text("privateDnsName", dns)
        .text("dnsName", "")
        .text("reason", reason)
        .maybe("keyName", it.key_name.as_ref())
        .text("amiLaunchIndex", it.launch_index)
        .list("productCodes", std::iter::empty::<()>(), |()| Nodes::new())
        .text("instanceType", &it.instance_type)
        .time("launchTime", it.launch_time)
        .node("placement", placement(it))
        .node("monitoring", Nodes::new().text("state", monitoring(it)))
        .maybe("subnetId", it.subnet_id.as_ref())
        .maybe("vpcId", it.vpc_id.as_ref())
        .maybe("privateIpAddress", it.private_ip)
        .maybe("ipAddress", cloud.public_ip_of(it))
        .maybe("sourceDestCheck", it.subnet_id.as_ref().map(|_| true))
        .with(network::groups(cloud, "groupSet", &it.security_groups));
    if let Some((code, message)) = it.state_reason {
        nodes = nodes.node("stateReason", Nodes::new().text("code", code).text("message", message));
    }
    nodes = nodes
        .text("architecture", &it.architecture)
        .text("rootDeviceType", "ebs")
        .text("rootDeviceName", &it.root_device_name)
        .with(devices(it))
        .text("virtualizationType", &it.virtualization_type);
    if it.market == Market::Spot {
        nodes = nodes
            .text("instanceLifecycle", "spot")
            .maybe("spotInstanceRequestId", it.spot_request_id.as_ref());
    }
    nodes = nodes
        .maybe("clientToken", it.client_token.as_ref())
        .tags(&it.tags)
        .text("hypervisor", "xen")
        .with(interfaces(cloud, it));
    if let Some(profile) = &it.iam_instance_profile {
        let children = Nodes::new().maybe("arn", profile.arn.as_ref()).text("id", "AIPAPERENNIALLOCALCLO");
        nodes = nodes.node("iamInstanceProfile", children);
    }
    nodes
        .text("ebsOptimized", it.options.get("EbsOptimized").map_or("false", String::as_str))
        .text("enaSupport", it.ena_support)
        .maybe("sriovNetSupport", it.sriov_net_support.as_ref())
        .maybe("bootMode", it.boot_mode.as_ref())
        .text("currentInstanceBootMode", it.current_boot_mode)
        .maybe("tpmSupport", it.tpm_support.as_ref())
        .text("platformDetails", &it.billing.platform_details)
        .text("usageOperation", &it.billing.usage_operation)
        .time("usageOperationUpdateTime", it.launch_time)
        .with(settings(it))
}

fn monitoring(it: &Instance) -> &'static str {
    if it.options.get("Monitoring.Enabled").is_some_and(|value| value == "true") {
        "enabled"
    } else {
        "disabled"
    }
}

fn placement(it: &Instance) -> Nodes {
    let option = |name: &str| it.options.get(name);
    Nodes::new()
        .text("availabilityZone", &it.zone)
        .text("groupName", option("Placement.GroupName").map_or("", String::as_str))
        .text("tenancy", option("Placement.Tenancy").map_or("default", String::as_str))
        .maybe("partitionNumber", option("Placement.PartitionNumber"))
        .maybe("hostId", option("Placement.HostId"))
        .maybe("affinity", option("Placement.Affinity"))
}

fn devices(it: &Instance) -> Nodes {
    Nodes::new().list("blockDeviceMapping", &it.block_devices, |(name, device)| {
        let ebs = Nodes::new()
            .text("volumeId", &device.volume_id)
            .text("status", device.state.name())
            .time("attachTime", device.attach_time)
            .text("deleteOnTermination", device.delete_on_termination);
        Nodes::new().text("deviceName", name).node("ebs", ebs)
    })
}

fn interfaces(cloud: &Cloud, it: &Instance) -> Nodes {
    Nodes::new().list("networkInterfaceSet", &it.interfaces, |held| {
        let attachment = Nodes::new()
            .text("attachmentId", &held.attachment_id)
            .text("deviceIndex", held.device_index)
            .text("status", "attached")
            .time("attachTime", held.attach_time)
            .text("deleteOnTermination", held.delete_on_termination)
            .text("networkCardIndex", 0);
        let nodes = Nodes::new().text("networkInterfaceId", &held.network_interface_id);
        let Some(interface) = cloud.network_interface(&held.network_interface_id) else { return nodes };
        nodes
            .text("subnetId", &interface.subnet_id)
            .text("vpcId", &interface.vpc_id)
            .text("description", &interface.description)
            .text("ownerId", &cloud.settings().account)
            .text("status", interface.state().name())
            .text("macAddress", &interface.mac)
            .text("privateIpAddress", interface.private_ip)
            .text("privateDnsName", network::private_dns(interface.private_ip))
            .text("sourceDestCheck", interface.source_dest_check)
            .with(network::groups(cloud, "groupSet", &interface.groups))
            .node("attachment", attachment)
            .with(addresses::association(cloud, interface, interface.private_ip, Shown::Instance))
            .with(addresses::sets(cloud, interface, Shown::Instance))
            .text("interfaceType", "interface")
    })
}

/// Structures that show what the launch said, completed by AWS's defaults.
fn settings(it: &Instance) -> Nodes {
    let shown = |group: &str, defaults: &[(&'static str, &str)]| {
        let mut children = Nodes::new();
        for (member, default) in defaults {
            let value = it.options.get(&format!("{group}.{member}")).map_or(*default, String::as_str);
            children = children.text(camel(member), value);
        }
        children
    };
    let metadata = shown(
        "MetadataOptions",
        &[
            ("HttpTokens", "optional"),
            ("HttpPutResponseHopLimit", "1"),
            ("HttpEndpoint", "enabled"),
            ("HttpProtocolIpv6", "disabled"),
            ("InstanceMetadataTags", "disabled"),
        ],
    );
    let vcpus = crate::model::instance_type(&it.instance_type).map_or(1, |kind| kind.vcpus);
    let (threads, cores) = if it.architecture == crate::model::ARM64 { (1, vcpus) } else { (2, vcpus / 2) };
    let cpu =
        shown("CpuOptions", &[("CoreCount", &cores.to_string()), ("ThreadsPerCore", &threads.to_string())]);
    let reservation = shown("CapacityReservationSpecification", &[("CapacityReservationPreference", "open")]);
    let dns = shown(
        "PrivateDnsNameOptions",
        &[
            ("HostnameType", "ip-name"),
            ("EnableResourceNameDnsARecord", "false"),
            ("EnableResourceNameDnsAAAARecord", "false"),
        ],
    );
    Nodes::new()
        .node("cpuOptions", cpu)
        .node("capacityReservationSpecification", reservation)
        .node("hibernationOptions", shown("HibernationOptions", &[("Configured", "false")]))
        .node("metadataOptions", Nodes::new().text("state", "applied").with(metadata))
        .node("enclaveOptions", shown("EnclaveOptions", &[("Enabled", "false")]))
        .node("maintenanceOptions", shown("MaintenanceOptions", &[("AutoRecovery", "default")]))
        .node("privateDnsNameOptions", dns)
}

fn changes(changes: Vec<StateChange>) -> Nodes {
    Nodes::new().list("instancesSet", changes, |it| {
        Nodes::new()
            .text("instanceId", it.instance_id)
            .with(state("currentState", it.current))
            .with(state("previousState", it.previous))
    })
}

pub(super) fn terminate(cloud: &mut Cloud, p: &mut Params) -> Result<Nodes, ApiError> {
    let ids = p.list("InstanceId")?;
    // How the guest is shut down makes no difference here.
    p.flag("Force")?;
    p.flag("SkipOsShutdown")?;
    p.end()?;
    cloud.terminate_instances(&ids).map(changes)
}

pub(super) fn stop(cloud: &mut Cloud, p: &mut Params) -> Result<Nodes, ApiError> {
    let ids = p.list("InstanceId")?;
    p.flag("Force")?;
    p.flag("SkipOsShutdown")?;
    if p.flag("Hibernate")? == Some(true) {
        return Err(ApiError::new(
            "UnsupportedHibernationConfiguration",
            "The instances are not enabled for hibernation.",
        ));
    }
    p.end()?;
    cloud.stop_instances(&ids).map(changes)
}

pub(super) fn start(cloud: &mut Cloud, p: &mut Params) -> Result<Nodes, ApiError> {
    let ids = p.list("InstanceId")?;
    p.end()?;
    cloud.start_instances(&ids).map(changes)
}

pub(super) fn modify(cloud: &mut Cloud, p: &mut Params) -> Result<Nodes, ApiError> {
    let id = p.need("InstanceId")?;
    let mut devices = Vec::new();
    for mut part in p.parts("BlockDeviceMapping") {
        let mut ebs = part.part("Ebs");
        // AWS takes an omitted value for true (API reference, EbsInstanceBlockDeviceSpecification).
        let goes = ebs.flag("DeleteOnTermination")?.unwrap_or(true);
        let named = ebs.text("VolumeId");
        ebs.finish()?;
        let device = part.need("DeviceName")?;
        part.finish()?;
        let held = cloud.instance(&id).and_then(|it| it.block_devices.get(&device));
        if named.is_some_and(|volume| held.is_some_and(|it| it.volume_id != volume)) {
            return Err(ApiError::new(
                "InvalidInstanceAttributeValue",
                format!("The volume named is not the one at {device}."),
            ));
        }
        devices.push((device, goes));
    }
    p.end()?;
    if devices.is_empty() {
        return Err(ApiError::combination("No attributes specified."));
    }
    cloud.modify_block_devices(&id, &devices)?;
    Ok(done())
}

/// A status check with its one detail, which is whether the instance is reached.
fn checks(status: &'static str, impaired_since: Option<Timestamp>) -> Nodes {
    let result = match status {
        "not-applicable" => None,
        "ok" => Some("passed"),
        "impaired" => Some("failed"),
        _ => Some("initializing"),
    };
    Nodes::new().text("status", status).list("details", result, |result| {
        Nodes::new()
            .maybe("impairedSince", impaired_since.map(time))
            .text("name", "reachability")
            .text("status", result)
    })
}

pub(super) fn describe_status(cloud: &mut Cloud, p: &mut Params) -> Result<Nodes, ApiError> {
    let request = p.describe("InstanceId")?;
    let all = p.flag("IncludeAllInstances")?.unwrap_or(false);
    p.end()?;
    let page = cloud.describe_instance_status(&request, all)?;
    Ok(Nodes::new()
        .list("instanceStatusSet", &page.items, |it| {
            Nodes::new()
                .text("instanceId", &it.instance_id)
                .text("availabilityZone", &it.zone)
                .with(state("instanceState", it.state))
                .node("systemStatus", checks(it.system_status, None))
                .node("instanceStatus", checks(it.status, it.impaired_since))
                .node("attachedEbsStatus", checks(it.system_status, None))
        })
        .maybe("nextToken", page.next_token.as_ref()))
}

//! Network interfaces on the wire.

use crate::model::{ApiError, Cloud, CreateNetworkInterface, InterfaceChange, NetworkInterface};

use super::addresses::{self, Shown};
use super::query::Params;
use super::xml::Nodes;
use super::{done, network};

fn write(cloud: &Cloud, it: &NetworkInterface) -> Nodes {
    let account = &cloud.settings().account;
    let mut nodes = Nodes::new()
        .text("networkInterfaceId", &it.id)
        .text("subnetId", &it.subnet_id)
        .text("vpcId", &it.vpc_id)
        .text("availabilityZone", &it.zone)
        .text("description", &it.description)
        .text("ownerId", account)
        .text("requesterManaged", false)
        .text("status", it.state().name())
        .text("macAddress", &it.mac)
        .text("privateIpAddress", it.private_ip)
        .text("privateDnsName", network::private_dns(it.private_ip))
        .text("sourceDestCheck", it.source_dest_check)
        .with(network::groups(cloud, "groupSet", &it.groups));
    if let Some(held) = &it.attachment {
        let attachment = Nodes::new()
            .text("attachmentId", &held.id)
            .text("instanceId", &held.instance_id)
            .text("instanceOwnerId", account)
            .text("deviceIndex", held.device_index)
            .text("networkCardIndex", 0)
            .text("status", "attached")
            .time("attachTime", held.attach_time)
            .text("deleteOnTermination", held.delete_on_termination);
        nodes = nodes.node("attachment", attachment);
    }
    nodes
        .tags(&it.tags)
        .with(addresses::association(cloud, it, it.private_ip, Shown::Interface))
        .with(addresses::sets(cloud, it, Shown::Interface))
        .text("interfaceType", "interface")
}

pub(super) fn create(cloud: &mut Cloud, p: &mut Params) -> Result<Nodes, ApiError> {
    let request = CreateNetworkInterface {
        subnet_id: p.need("SubnetId")?,
        groups: p.list("SecurityGroupId")?,
        private_ip_address: p.text("PrivateIpAddress"),
        private_ip_addresses: addresses::private_ips(p)?,
        secondary_private_ip_address_count: p.number("SecondaryPrivateIpAddressCount")?,
        ipv6_addresses: addresses::ipv6_addresses(p)?,
        ipv6_address_count: p.number("Ipv6AddressCount")?,
        description: p.text("Description"),
        tag_specifications: p.tag_specifications()?,
        client_token: p.text("ClientToken").filter(|it| !it.is_empty()),
    };
    if p.text("InterfaceType").is_some_and(|it| it != "interface") {
        return Err(ApiError::value("The local cloud offers only the interface type 'interface'."));
    }
    p.end()?;
    let interface = cloud.create_network_interface(&request)?;
    Ok(Nodes::new()
        .node("networkInterface", write(cloud, &interface))
        .maybe("clientToken", request.client_token))
}

pub(super) fn delete(cloud: &mut Cloud, p: &mut Params) -> Result<Nodes, ApiError> {
    let id = p.need("NetworkInterfaceId")?;
    p.end()?;
    cloud.delete_network_interface(&id)?;
    Ok(done())
}

pub(super) fn describe(cloud: &mut Cloud, p: &mut Params) -> Result<Nodes, ApiError> {
    let request = p.describe("NetworkInterfaceId")?;
    p.end()?;
    let page = cloud.describe_network_interfaces(&request)?;
    Ok(Nodes::new()
        .list("networkInterfaceSet", &page.items, |it| write(cloud, it))
        .maybe("nextToken", page.next_token.as_ref()))
}

pub(super) fn modify(cloud: &mut Cloud, p: &mut Params) -> Result<Nodes, ApiError> {
    let id = p.need("NetworkInterfaceId")?;
    let mut changes = Vec::new();
    let mut attachment = p.part("Attachment");
    if !attachment.is_empty() {
        let value = attachment.flag("DeleteOnTermination")?;
        changes.push(InterfaceChange::DeleteOnTermination {
            attachment_id: attachment.need("AttachmentId")?,
            value: value.ok_or_else(|| ApiError::missing("attachment.deleteOnTermination"))?,
        });
    }
    attachment.finish()?;
    let groups = p.list("SecurityGroupId")?;
    if !groups.is_empty() {
        changes.push(InterfaceChange::Groups(groups));
    }
    let mut description = p.part("Description");
    changes.extend(description.text("Value").map(InterfaceChange::Description));
    description.finish()?;
    let mut check = p.part("SourceDestCheck");
    changes.extend(check.flag("Value")?.map(InterfaceChange::SourceDestCheck));
    check.finish()?;
    p.end()?;
    match changes.as_slice() {
        [change] => cloud.modify_network_interface(&id, change)?,
        [] => return Err(ApiError::combination("No attributes specified.")),
        [_, _, ..] => {
            return Err(ApiError::combination(
                "Fields for multiple attribute types specified: only one is allowed.",
            ));
        }
    }
    Ok(done())
}

//! Elastic IP addresses, secondary private addresses and IPv6 on the wire.

use std::net::Ipv4Addr;

use crate::model::{
    ApiError, AssignPrivateIpAddresses, AssociateAddress, Cloud, ElasticIp, NetworkInterface, PrivateIp,
    Subnet,
};

use super::query::Params;
use super::xml::Nodes;
use super::{done, network};

fn write(cloud: &Cloud, it: &ElasticIp) -> Nodes {
    let settings = cloud.settings();
    let mut nodes = Nodes::new()
        .maybe("instanceId", cloud.instance_of(it))
        .text("publicIp", it.public_ip)
        .text("allocationId", &it.id);
    if let Some(held) = &it.association {
        nodes = nodes
            .text("associationId", &held.id)
            .text("networkInterfaceId", &held.network_interface_id)
            .text("networkInterfaceOwnerId", &settings.account)
            .text("privateIpAddress", held.private_ip);
    }
    nodes
        .text("domain", "vpc")
        .tags(&it.tags)
        .text("publicIpv4Pool", "amazon")
        .text("networkBorderGroup", &settings.region)
}

/// Where an association is shown: DescribeInstances leaves its ids out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// With an interface of its own.
    Interface,
    /// With an instance.
    Instance,
}

/// `association` of a private address, if an Elastic IP address is on it.
pub(super) fn association(cloud: &Cloud, it: &NetworkInterface, address: Ipv4Addr, shown: Shown) -> Nodes {
    let Some(public) = cloud.elastic_ip_at(&it.id, address) else { return Nodes::new() };
    let mut nodes = Nodes::new()
        .text("publicIp", public.public_ip)
        .text("publicDnsName", "")
        .text("ipOwnerId", &cloud.settings().account);
    if shown == Shown::Interface {
        nodes = nodes
            .text("allocationId", &public.id)
            .maybe("associationId", public.association.as_ref().map(|held| &held.id));
    }
    Nodes::new().node("association", nodes)
}

/// `privateIpAddressesSet` and `ipv6AddressesSet` of an interface.
pub(super) fn sets(cloud: &Cloud, it: &NetworkInterface, shown: Shown) -> Nodes {
    Nodes::new()
        .list("privateIpAddressesSet", it.private_ips(), |address| {
            Nodes::new()
                .text("privateIpAddress", address)
                .text("privateDnsName", network::private_dns(address))
                .text("primary", address == it.private_ip)
                .with(association(cloud, it, address, shown))
        })
        .list("ipv6AddressesSet", &it.ipv6, |address| {
            Nodes::new().text("ipv6Address", address).text("isPrimaryIpv6", false)
        })
}

/// Reads `PrivateIpAddresses.N` of CreateNetworkInterface.
pub(super) fn private_ips(p: &mut Params) -> Result<Vec<PrivateIp>, ApiError> {
    let mut addresses = Vec::new();
    for mut part in p.parts("PrivateIpAddresses") {
        let primary = part.flag("Primary")?.unwrap_or(false);
        addresses.push(PrivateIp { address: part.need("PrivateIpAddress")?, primary });
        part.finish()?;
    }
    Ok(addresses)
}

/// Reads `Ipv6Addresses.N` of CreateNetworkInterface, which are structures there.
pub(super) fn ipv6_addresses(p: &mut Params) -> Result<Vec<String>, ApiError> {
    let mut addresses = Vec::new();
    for mut part in p.parts("Ipv6Addresses") {
        addresses.push(part.need("Ipv6Address")?);
        if part.flag("IsPrimaryIpv6")? == Some(true) {
            let message = "The local cloud has no primary IPv6 addresses.";
            return Err(ApiError::new("UnsupportedOperation", message));
        }
        part.finish()?;
    }
    Ok(addresses)
}

pub(super) fn allocate(cloud: &mut Cloud, p: &mut Params) -> Result<Nodes, ApiError> {
    let tags = p.tag_specifications()?;
    if let Some(other) = p.text("Domain").filter(|it| it != "vpc") {
        return Err(ApiError::value(format!("Invalid value '{other}' for domain. Valid value: vpc.")));
    }
    p.end()?;
    let address = cloud.allocate_address(&tags)?;
    Ok(Nodes::new()
        .text("publicIp", address.public_ip)
        .text("domain", "vpc")
        .text("allocationId", &address.id)
        .text("publicIpv4Pool", "amazon")
        .text("networkBorderGroup", &cloud.settings().region))
}

pub(super) fn release(cloud: &mut Cloud, p: &mut Params) -> Result<Nodes, ApiError> {
    let id = p.need("AllocationId")?;
    p.end()?;
    cloud.release_address(&id)?;
    Ok(done())
}

pub(super) fn describe(cloud: &mut Cloud, p: &mut Params) -> Result<Nodes, ApiError> {
    let request = p.describe("AllocationId")?;
    let public_ips = p.list("PublicIp")?;
    if request.max_results.is_some() || request.next_token.is_some() {
        let message =
            "DescribeAddresses knows no pages: the parameters MaxResults and NextToken are not recognized";
        return Err(ApiError::new("UnknownParameter", message));
    }
    p.end()?;
    let page = cloud.describe_addresses(&request, &public_ips)?;
    Ok(Nodes::new().list("addressesSet", &page.items, |it| write(cloud, it)))
}

pub(super) fn associate(cloud: &mut Cloud, p: &mut Params) -> Result<Nodes, ApiError> {
    let request = AssociateAddress {
        allocation_id: p.need("AllocationId")?,
        network_interface_id: p.text("NetworkInterfaceId"),
        instance_id: p.text("InstanceId"),
        private_ip_address: p.text("PrivateIpAddress"),
        allow_reassociation: p.flag("AllowReassociation")?,
    };
    p.end()?;
    let id = cloud.associate_address(&request)?;
    Ok(done().text("associationId", id))
}

pub(super) fn disassociate(cloud: &mut Cloud, p: &mut Params) -> Result<Nodes, ApiError> {
    let id = p.need("AssociationId")?;
    p.end()?;
    cloud.disassociate_address(&id)?;
    Ok(done())
}

pub(super) fn assign_private(cloud: &mut Cloud, p: &mut Params) -> Result<Nodes, ApiError> {
    let request = AssignPrivateIpAddresses {
        network_interface_id: p.need("NetworkInterfaceId")?,
        addresses: p.list("PrivateIpAddress")?,
        count: p.number("SecondaryPrivateIpAddressCount")?,
        allow_reassignment: p.flag("AllowReassignment")?.unwrap_or(false),
    };
    p.end()?;
    let assigned = cloud.assign_private_ip_addresses(&request)?;
    Ok(Nodes::new()
        .text("networkInterfaceId", request.network_interface_id)
        .list("assignedPrivateIpAddressesSet", assigned, |it| Nodes::new().text("privateIpAddress", it))
        .text("return", true))
}

pub(super) fn unassign_private(cloud: &mut Cloud, p: &mut Params) -> Result<Nodes, ApiError> {
    let (id, addresses) = (p.need("NetworkInterfaceId")?, p.list("PrivateIpAddress")?);
    p.end()?;
    cloud.unassign_private_ip_addresses(&id, &addresses)?;
    Ok(done())
}

pub(super) fn assign_ipv6(cloud: &mut Cloud, p: &mut Params) -> Result<Nodes, ApiError> {
    let (id, addresses) = (p.need("NetworkInterfaceId")?, p.list("Ipv6Addresses")?);
    let count = p.number("Ipv6AddressCount")?;
    p.end()?;
    let assigned = cloud.assign_ipv6_addresses(&id, &addresses, count)?;
    Ok(Nodes::new().text("networkInterfaceId", id).texts("assignedIpv6Addresses", assigned))
}

pub(super) fn unassign_ipv6(cloud: &mut Cloud, p: &mut Params) -> Result<Nodes, ApiError> {
    let (id, addresses) = (p.need("NetworkInterfaceId")?, p.list("Ipv6Addresses")?);
    p.end()?;
    let gone = cloud.unassign_ipv6_addresses(&id, &addresses)?;
    Ok(Nodes::new().text("networkInterfaceId", id).texts("unassignedIpv6Addresses", gone))
}

/// The children of a subnet's IPv6 block; its association has the subnet's digits.
pub(super) fn ipv6_block(it: &Subnet) -> Option<Nodes> {
    let state = Nodes::new().text("state", "associated");
    it.ipv6_cidr.map(|block| {
        Nodes::new()
            .text("associationId", it.id.replacen("subnet-", "subnet-cidr-assoc-", 1))
            .text("ipv6CidrBlock", block)
            .node("ipv6CidrBlockState", state)
    })
}

pub(super) fn associate_subnet(cloud: &mut Cloud, p: &mut Params) -> Result<Nodes, ApiError> {
    let (id, block) = (p.need("SubnetId")?, p.need("Ipv6CidrBlock")?);
    p.end()?;
    let subnet = cloud.associate_subnet_cidr_block(&id, &block)?;
    let block = ipv6_block(&subnet).unwrap_or_default();
    Ok(Nodes::new().text("subnetId", id).node("ipv6CidrBlockAssociation", block))
}

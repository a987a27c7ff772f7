//! Networks, subnets, security groups, Zones and tags on the wire.

use std::net::Ipv4Addr;

use crate::model::{ApiError, Cloud, SecurityGroup, Subnet, Vpc};

use super::query::Params;
use super::xml::Nodes;
use super::{addresses, done};

/// Host name of a private address, as us-east-1 writes it.
pub(super) fn private_dns(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("ip-{a}-{b}-{c}-{d}.ec2.internal")
}

/// A group set with ids and names.
pub(super) fn groups(cloud: &Cloud, name: &'static str, ids: &[String]) -> Nodes {
    Nodes::new().list(name, ids, |id| {
        let group = cloud.security_group(id).map_or("", |it| it.name.as_str());
        Nodes::new().text("groupId", id).text("groupName", group)
    })
}

fn write_vpc(cloud: &Cloud, it: &Vpc) -> Nodes {
    let state = Nodes::new().text("state", "associated");
    Nodes::new()
        .text("vpcId", &it.id)
        .text("state", "available")
        .text("cidrBlock", it.cidr)
        .text("dhcpOptionsId", "default")
        .text("ownerId", &cloud.settings().account)
        .text("instanceTenancy", "default")
        .text("isDefault", it.is_default)
        .node(
            "cidrBlockAssociationSet",
            Nodes::new().node(
                "item",
                Nodes::new()
                    .text("associationId", it.id.replacen("vpc-", "vpc-cidr-assoc-", 1))
                    .text("cidrBlock", it.cidr)
                    .node("cidrBlockState", state),
            ),
        )
        .tags(&it.tags)
}

fn write_subnet(cloud: &Cloud, it: &Subnet) -> Nodes {
    let settings = cloud.settings();
    Nodes::new()
        .text("subnetId", &it.id)
        .text("subnetArn", format!("arn:aws:ec2:{}:{}:subnet/{}", settings.region, settings.account, it.id))
        .text("state", "available")
        .text("vpcId", &it.vpc_id)
        .text("ownerId", &settings.account)
        .text("cidrBlock", it.cidr)
        .text("availableIpAddressCount", cloud.free_addresses(it))
        .text("availabilityZone", &it.zone)
        .maybe("availabilityZoneId", zone_id(cloud, &it.zone))
        .text("defaultForAz", it.is_default)
        .text("mapPublicIpOnLaunch", false)
        .text("assignIpv6AddressOnCreation", false)
        .text("ipv6Native", false)
        .list("ipv6CidrBlockAssociationSet", addresses::ipv6_block(it), |block| block)
        .tags(&it.tags)
}

fn write_group(cloud: &Cloud, it: &SecurityGroup) -> Nodes {
    let everywhere = Nodes::new()
        .text("ipProtocol", "-1")
        .list("ipRanges", ["0.0.0.0/0"], |cidr| Nodes::new().text("cidrIp", cidr));
    Nodes::new()
        .text("groupId", &it.id)
        .text("groupName", &it.name)
        .text("groupDescription", &it.description)
        .text("vpcId", &it.vpc_id)
        .text("ownerId", &cloud.settings().account)
        .text("securityGroupArn", group_arn(cloud, &it.id))
        .list("ipPermissions", std::iter::empty::<()>(), |()| Nodes::new())
        .node("ipPermissionsEgress", Nodes::new().node("item", everywhere))
        .tags(&it.tags)
}

fn group_arn(cloud: &Cloud, id: &str) -> String {
    let settings = cloud.settings();
    format!("arn:aws:ec2:{}:{}:security-group/{id}", settings.region, settings.account)
}

/// Zone ids as us-east-1 might number them: `use1-az1` for the first.
fn zone_id(cloud: &Cloud, zone: &str) -> Option<String> {
    let at = cloud.settings().zones.iter().position(|it| it == zone)?;
    Some(format!("use1-az{}", at + 1))
}

pub(super) fn create_vpc(cloud: &mut Cloud, p: &mut Params) -> Result<Nodes, ApiError> {
    let block = p.need("CidrBlock")?;
    let tags = p.tag_specifications()?;
    p.end()?;
    let vpc = cloud.create_vpc(&block, &tags)?;
    Ok(Nodes::new().node("vpc", write_vpc(cloud, &vpc)))
}

pub(super) fn describe_vpcs(cloud: &mut Cloud, p: &mut Params) -> Result<Nodes, ApiError> {
    let request = p.describe("VpcId")?;
    p.end()?;
    let page = cloud.describe_vpcs(&request)?;
    Ok(Nodes::new()
        .list("vpcSet", &page.items, |it| write_vpc(cloud, it))
        .maybe("nextToken", page.next_token.as_ref()))
}

pub(super) fn create_subnet(cloud: &mut Cloud, p: &mut Params) -> Result<Nodes, ApiError> {
    let (vpc_id, block) = (p.need("VpcId")?, p.need("CidrBlock")?);
    let zone = p.text("AvailabilityZone");
    let tags = p.tag_specifications()?;
    p.end()?;
    let subnet = cloud.create_subnet(&vpc_id, &block, zone.as_deref(), &tags)?;
    Ok(Nodes::new().node("subnet", write_subnet(cloud, &subnet)))
}

pub(super) fn describe_subnets(cloud: &mut Cloud, p: &mut Params) -> Result<Nodes, ApiError> {
    let request = p.describe("SubnetId")?;
    p.end()?;
    let page = cloud.describe_subnets(&request)?;
    Ok(Nodes::new()
        .list("subnetSet", &page.items, |it| write_subnet(cloud, it))
        .maybe("nextToken", page.next_token.as_ref()))
}

pub(super) fn create_security_group(cloud: &mut Cloud, p: &mut Params) -> Result<Nodes, ApiError> {
    let (name, description) = (p.need("GroupName")?, p.need("GroupDescription")?);
    let vpc_id = p.text("VpcId");
    let tags = p.tag_specifications()?;
    p.end()?;
    let group = cloud.create_security_group(&name, &description, vpc_id.as_deref(), &tags)?;
    Ok(Nodes::new()
        .text("return", true)
        .text("groupId", &group.id)
        .tags(&group.tags)
        .text("securityGroupArn", group_arn(cloud, &group.id)))
}

pub(super) fn describe_security_groups(cloud: &mut Cloud, p: &mut Params) -> Result<Nodes, ApiError> {
    let mut request = p.describe("GroupId")?;
    let names = p.list("GroupName")?;
    if !names.is_empty() {
        request.filters.push(crate::model::Filter { name: "group-name".to_owned(), values: names });
    }
    p.end()?;
    let page = cloud.describe_security_groups(&request)?;
    Ok(Nodes::new()
        .list("securityGroupInfo", &page.items, |it| write_group(cloud, it))
        .maybe("nextToken", page.next_token.as_ref()))
}

pub(super) fn describe_zones(cloud: &mut Cloud, p: &mut Params) -> Result<Nodes, ApiError> {
    let names = p.list("ZoneName")?;
    p.flag("AllAvailabilityZones")?;
    p.end()?;
    let settings = cloud.settings();
    if let Some(unknown) = names.iter().find(|name| !settings.zones.contains(name)) {
        return Err(ApiError::value(format!("Invalid availability zone: [{unknown}]")));
    }
    let shown = settings.zones.iter().filter(|zone| names.is_empty() || names.contains(zone));
    Ok(Nodes::new().list("availabilityZoneInfo", shown, |zone| {
        Nodes::new()
            .text("zoneName", zone)
            .text("zoneState", "available")
            .text("regionName", &settings.region)
            .maybe("zoneId", zone_id(cloud, zone))
            .text("zoneType", "availability-zone")
            .text("groupName", &settings.region)
            .text("networkBorderGroup", &settings.region)
            .text("optInStatus", "opt-in-not-required")
    }))
}

pub(super) fn create_tags(cloud: &mut Cloud, p: &mut Params) -> Result<Nodes, ApiError> {
    let (resources, tags) = (p.list("ResourceId")?, p.tags()?);
    p.end()?;
    cloud.create_tags(&resources, &tags)?;
    Ok(done())
}

pub(super) fn delete_tags(cloud: &mut Cloud, p: &mut Params) -> Result<Nodes, ApiError> {
    let resources = p.list("ResourceId")?;
    let mut tags = Vec::new();
    for mut part in p.parts("Tag") {
        let tag = (part.need("Key")?, part.text("Value"));
        part.finish()?;
        tags.push(tag);
    }
    p.end()?;
    cloud.delete_tags(&resources, &tags)?;
    Ok(done())
}

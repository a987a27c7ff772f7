//! Virtual networks, subnets and security groups: just enough for interfaces to have addresses, zones and groups.

use std::borrow::Cow;
use std::net::Ipv4Addr;

use ipnet::{Ipv4Net, Ipv6Net};
use jiff::Timestamp;

use super::filter::Described;
use super::tags::{self, TagSpecification, Tags};
use super::{ApiError, Cloud, Describe, Kind, Page};

/// A virtual network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vpc {
    /// Id.
    pub id: String,
    /// Address range.
    pub cidr: Ipv4Net,
    /// Whether it is the account's default one.
    pub is_default: bool,
    /// When it was made.
    pub created: Timestamp,
    /// Tags.
    pub tags: Tags,
}

/// A subnet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// Id.
    pub id: String,
    /// Network.
    pub vpc_id: String,
    /// Address range.
    pub cidr: Ipv4Net,
    /// IPv6 address range, once it has one.
    pub ipv6_cidr: Option<Ipv6Net>,
    /// Availability Zone.
    pub zone: String,
    /// Whether it is its Zone's default one.
    pub is_default: bool,
    /// When it was made.
    pub created: Timestamp,
    /// Tags.
    pub tags: Tags,
}

impl Subnet {
    /// Whether an address may be given to an interface: the first four and the last of a subnet are reserved (VPC User
    /// Guide, *Subnet CIDR blocks*).
    pub fn assignable(&self, address: Ipv4Addr) -> bool {
        let (first, last, it) =
            (u32::from(self.cidr.network()), u32::from(self.cidr.broadcast()), u32::from(address));
        it >= first + 4 && it < last
    }

    /// Addresses that can be assigned, lowest first.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> + use<> {
        let (first, last) = (u32::from(self.cidr.network()), u32::from(self.cidr.broadcast()));
        (first + 4..last).map(Ipv4Addr::from)
    }

    /// How many addresses can be assigned.
    pub(crate) fn capacity(&self) -> usize {
        (u32::from(self.cidr.broadcast()) - u32::from(self.cidr.network())).saturating_sub(4) as usize
    }
}

/// A security group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityGroup {
    /// Id.
    pub id: String,
    /// Name, unique in its network.
    pub name: String,
    /// Description.
    pub description: String,
    /// Network.
    pub vpc_id: String,
    /// When it was made.
    pub created: Timestamp,
    /// Tags.
    pub tags: Tags,
}

impl Described for Vpc {
    const KIND: Kind = Kind::Vpc;
    const FILTERS: &'static [&'static str] =
        &["vpc-id", "cidr", "is-default", "isDefault", "state", "owner-id"];

    fn tags(&self) -> &Tags {
        &self.tags
    }

    fn made(&self) -> Timestamp {
        self.created
    }

    fn values<'a>(&'a self, filter: &str, cloud: &'a Cloud) -> Vec<Cow<'a, str>> {
        let value: Option<Cow<'a, str>> = match filter {
            "vpc-id" => Some(self.id.as_str().into()),
            "cidr" => Some(self.cidr.to_string().into()),
            "is-default" | "isDefault" => Some(self.is_default.to_string().into()),
            "state" => Some("available".into()),
            "owner-id" => Some(cloud.settings.account.as_str().into()),
            _ => None,
        };
        value.into_iter().collect()
    }
}

impl Described for Subnet {
    const KIND: Kind = Kind::Subnet;
    const FILTERS: &'static [&'static str] = &[
        "subnet-id",
        "vpc-id",
        "availability-zone",
        "availabilityZone",
        "cidr-block",
        "cidr",
        "ipv6-cidr-block-association.ipv6-cidr-block",
        "default-for-az",
        "state",
        "owner-id",
    ];

    fn tags(&self) -> &Tags {
        &self.tags
    }

    fn made(&self) -> Timestamp {
        self.created
    }

    fn values<'a>(&'a self, filter: &str, cloud: &'a Cloud) -> Vec<Cow<'a, str>> {
        let value: Option<Cow<'a, str>> = match filter {
            "subnet-id" => Some(self.id.as_str().into()),
            "vpc-id" => Some(self.vpc_id.as_str().into()),
            "availability-zone" | "availabilityZone" => Some(self.zone.as_str().into()),
            "cidr-block" | "cidr" => Some(self.cidr.to_string().into()),
            "ipv6-cidr-block-association.ipv6-cidr-block" => self.ipv6_cidr.map(|it| it.to_string().into()),
            "default-for-az" => Some(self.is_default.to_string().into()),
            "state" => Some("available".into()),
            "owner-id" => Some(cloud.settings.account.as_str().into()),
            _ => None,
        };
        value.into_iter().collect()
    }
}

impl Described for SecurityGroup {
    const KIND: Kind = Kind::SecurityGroup;
    const IDS_EXCLUDE_PAGES: bool = false;
    const FILTERS: &'static [&'static str] = &["group-id", "group-name", "vpc-id", "description", "owner-id"];

    fn tags(&self) -> &Tags {
        &self.tags
    }

    fn made(&self) -> Timestamp {
        self.created
    }

    fn values<'a>(&'a self, filter: &str, cloud: &'a Cloud) -> Vec<Cow<'a, str>> {
        let value: Option<&str> = match filter {
            "group-id" => Some(&self.id),
            "group-name" => Some(&self.name),
            "vpc-id" => Some(&self.vpc_id),
            "description" => Some(&self.description),
            "owner-id" => Some(&cloud.settings.account),
            _ => None,
        };
        value.map(Cow::from).into_iter().collect()
    }
}

fn cidr(text: &str) -> Result<Ipv4Net, ApiError> {
    let invalid =
        |why: &str| ApiError::value(format!("Value ({text}) for parameter cidrBlock is invalid. {why}"));
    let net: Ipv4Net = text.parse().map_err(|_| invalid("This is not a valid CIDR block."))?;
    if !(16..=28).contains(&net.prefix_len()) {
        return Err(ApiError::new("InvalidVpc.Range", format!("The CIDR '{text}' is invalid.")));
    }
    Ok(net.trunc())
}

impl Cloud {
    /// CreateVpc.
    pub fn create_vpc(&mut self, block: &str, specifications: &[TagSpecification]) -> Result<Vpc, ApiError> {
        self.admit("CreateVpc")?;
        tags::check_specifications(specifications, &["vpc"])?;
        Ok(self.place_vpc(cidr(block)?, false, self.now, tags::for_type(specifications, "vpc")))
    }

    pub(crate) fn place_vpc(
        &mut self,
        cidr: Ipv4Net,
        is_default: bool,
        created: Timestamp,
        tags: Tags,
    ) -> Vpc {
        let vpc = Vpc { id: self.ids.of(Kind::Vpc), cidr, is_default, created, tags };
        self.vpcs.insert(vpc.id.clone(), vpc.clone());
        self.place_group("default", "default VPC security group", &vpc.id, created, Tags::new());
        vpc
    }

    /// CreateSubnet; without a Zone, the first one.
    pub fn create_subnet(
        &mut self,
        vpc_id: &str,
        block: &str,
        zone: Option<&str>,
        specifications: &[TagSpecification],
    ) -> Result<Subnet, ApiError> {
        self.admit("CreateSubnet")?;
        tags::check_specifications(specifications, &["subnet"])?;
        Kind::Vpc.check(vpc_id)?;
        let vpc = self.vpcs.get(vpc_id).ok_or_else(|| Kind::Vpc.not_found(vpc_id))?;
        let net = cidr(block)?;
        if !vpc.cidr.contains(&net) {
            return Err(ApiError::new("InvalidSubnet.Range", format!("The CIDR '{block}' is invalid.")));
        }
        let overlaps =
            |it: &&Subnet| it.vpc_id == vpc_id && (it.cidr.contains(&net) || net.contains(&it.cidr));
        if self.subnets.values().any(|it| overlaps(&it)) {
            return Err(ApiError::new(
                "InvalidSubnet.Conflict",
                format!("The CIDR '{block}' conflicts with another subnet"),
            ));
        }
        let zone = zone.or(self.settings.zones.first().map(String::as_str)).unwrap_or_default().to_owned();
        if !self.settings.zones.contains(&zone) {
            return Err(ApiError::value(format!(
                "Value ({zone}) for parameter availabilityZone is invalid. Subnets can currently only be created in the following availability zones: {}.",
                self.settings.zones.join(", ")
            )));
        }
        Ok(self.place_subnet(vpc_id, net, &zone, self.now, tags::for_type(specifications, "subnet")))
    }

    pub(crate) fn place_subnet(
        &mut self,
        vpc_id: &str,
        cidr: Ipv4Net,
        zone: &str,
        created: Timestamp,
        tags: Tags,
    ) -> Subnet {
        let is_default = self.vpcs.get(vpc_id).is_some_and(|vpc| vpc.is_default)
            && !self.subnets.values().any(|it| it.is_default && it.zone == zone);
        let subnet = Subnet {
            id: self.ids.of(Kind::Subnet),
            vpc_id: vpc_id.to_owned(),
            cidr,
            ipv6_cidr: None,
            zone: zone.to_owned(),
            is_default,
            created,
            tags,
        };
        self.subnets.insert(subnet.id.clone(), subnet.clone());
        subnet
    }

    /// CreateSecurityGroup; without a network, in the default one.
    pub fn create_security_group(
        &mut self,
        name: &str,
        description: &str,
        vpc_id: Option<&str>,
        specifications: &[TagSpecification],
    ) -> Result<SecurityGroup, ApiError> {
        self.admit("CreateSecurityGroup")?;
        tags::check_specifications(specifications, &["security-group"])?;
        let vpc_id = match vpc_id {
            Some(id) => {
                Kind::Vpc.check(id)?;
                self.vpcs.get(id).ok_or_else(|| Kind::Vpc.not_found(id))?.id.clone()
            }
            None => {
                let default = self.vpcs.values().find(|it| it.is_default);
                default
                    .ok_or_else(|| ApiError::new("VPCIdNotSpecified", "No default VPC for this user"))?
                    .id
                    .clone()
            }
        };
        if name.is_empty() || name.starts_with("sg-") || name.chars().count() > 255 {
            return Err(ApiError::value(format!("Value ({name}) for parameter GroupName is invalid.")));
        }
        if self.groups.values().any(|it| it.vpc_id == vpc_id && it.name == name) {
            return Err(ApiError::new(
                "InvalidGroup.Duplicate",
                format!("The security group '{name}' already exists for VPC '{vpc_id}'"),
            ));
        }
        let tags = tags::for_type(specifications, "security-group");
        Ok(self.place_group(name, description, &vpc_id, self.now, tags))
    }

    pub(crate) fn place_group(
        &mut self,
        name: &str,
        description: &str,
        vpc_id: &str,
        created: Timestamp,
        tags: Tags,
    ) -> SecurityGroup {
        let group = SecurityGroup {
            id: self.ids.of(Kind::SecurityGroup),
            name: name.to_owned(),
            description: description.to_owned(),
            vpc_id: vpc_id.to_owned(),
            created,
            tags,
        };
        self.groups.insert(group.id.clone(), group.clone());
        group
    }

    /// Checks that groups exist in a network; without any, the network's default group.
    pub(crate) fn groups_in(&self, vpc_id: &str, ids: &[String]) -> Result<Vec<String>, ApiError> {
        for id in ids {
            Kind::SecurityGroup.check(id)?;
            let group = self.groups.get(id).filter(|it| self.sees(it.created));
            let group = group.ok_or_else(|| Kind::SecurityGroup.not_found(id))?;
            if group.vpc_id != vpc_id {
                return Err(ApiError::new(
                    "InvalidParameter",
                    format!("Security group {id} and subnet belong to different networks."),
                ));
            }
        }
        if !ids.is_empty() {
            return Ok(ids.to_vec());
        }
        let default = self.groups.values().find(|it| it.vpc_id == vpc_id && it.name == "default");
        Ok(default.map(|it| it.id.clone()).into_iter().collect())
    }

    /// A subnet by id.
    pub(crate) fn subnet(&self, id: &str) -> Result<&Subnet, ApiError> {
        Kind::Subnet.check(id)?;
        let subnet = self.subnets.get(id).filter(|it| self.sees(it.created));
        subnet.ok_or_else(|| Kind::Subnet.not_found(id))
    }

    /// DescribeVpcs.
    pub fn describe_vpcs(&mut self, request: &Describe) -> Result<Page<Vpc>, ApiError> {
        self.admit_describe("DescribeVpcs", true)?;
        self.describe(&self.vpcs, request, |_| true)
    }

    /// DescribeSubnets.
    pub fn describe_subnets(&mut self, request: &Describe) -> Result<Page<Subnet>, ApiError> {
        self.admit_describe("DescribeSubnets", true)?;
        self.describe(&self.subnets, request, |_| true)
    }

    /// DescribeSecurityGroups.
    pub fn describe_security_groups(&mut self, request: &Describe) -> Result<Page<SecurityGroup>, ApiError> {
        self.admit_describe("DescribeSecurityGroups", request.is_narrow())?;
        self.describe(&self.groups, request, |_| true)
    }

    /// How many IPv4 addresses of a subnet are free.
    pub fn free_addresses(&self, subnet: &Subnet) -> usize {
        let here = self.interfaces.values().filter(|it| it.subnet_id == subnet.id);
        let taken = here.map(|it| 1 + it.secondary_ips.len()).sum();
        subnet.capacity().saturating_sub(taken)
    }
}

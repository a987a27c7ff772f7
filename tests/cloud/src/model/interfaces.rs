//! Network interfaces: an address and groups that outlive instances, bound to one subnet.
//!
//! An interface must never be on two instances, and an address never on two interfaces.

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use jiff::Timestamp;

use super::filter::Described;
use super::tags::{self, TagSpecification, Tags};
use super::{ApiError, Cloud, Describe, ElasticIp, Kind, Page, PrivateIp, Remembered};

/// Network interface states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InterfaceState {
    /// Attached to nothing.
    Available,
    /// Attached.
    InUse,
}

impl InterfaceState {
    /// The name the API uses.
    pub const fn name(self) -> &'static str {
        match self {
            InterfaceState::Available => "available",
            InterfaceState::InUse => "in-use",
        }
    }
}

/// An interface's attachment to an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceAttachment {
    /// Id, `eni-attach-`.
    pub id: String,
    /// The instance.
    pub instance_id: String,
    /// Position.
    pub device_index: u32,
    /// When it was attached.
    pub attach_time: Timestamp,
    /// Whether it goes with the instance.
    pub delete_on_termination: bool,
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkInterface {
    /// Id.
    pub id: String,
    /// Subnet.
    pub subnet_id: String,
    /// Network.
    pub vpc_id: String,
    /// Availability Zone.
    pub zone: String,
    /// Primary private address.
    pub private_ip: Ipv4Addr,
    /// Secondary private addresses, in the order they were assigned.
    pub secondary_ips: Vec<Ipv4Addr>,
    /// IPv6 addresses.
    pub ipv6: Vec<Ipv6Addr>,
    /// Hardware address.
    pub mac: String,
    /// Security groups.
    pub groups: Vec<String>,
    /// Description.
    pub description: String,
    /// Whether traffic not its own is dropped.
    pub source_dest_check: bool,
    /// Who holds it.
    pub attachment: Option<InterfaceAttachment>,
    /// When it was made.
    pub created: Timestamp,
    /// Tags.
    pub tags: Tags,
}

impl NetworkInterface {
    /// State.
    pub fn state(&self) -> InterfaceState {
        if self.attachment.is_some() { InterfaceState::InUse } else { InterfaceState::Available }
    }

    /// All private IPv4 addresses, the primary one first.
    pub fn private_ips(&self) -> impl Iterator<Item = Ipv4Addr> + use<'_> {
        [self.private_ip].into_iter().chain(self.secondary_ips.iter().copied())
    }
}

/// CreateNetworkInterface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CreateNetworkInterface {
    /// Subnet.
    pub subnet_id: String,
    /// Groups; the network's default group when empty.
    pub groups: Vec<String>,
    /// Address; a free one when absent.
    pub private_ip_address: Option<String>,
    /// Addresses with exactly one primary among them, instead of that address and of a count.
    pub private_ip_addresses: Vec<PrivateIp>,
    /// How many secondary addresses, the lowest free ones.
    pub secondary_private_ip_address_count: Option<u32>,
    /// IPv6 addresses, instead of a count.
    pub ipv6_addresses: Vec<String>,
    /// How many IPv6 addresses.
    pub ipv6_address_count: Option<u32>,
    /// Description.
    pub description: Option<String>,
    /// Tags.
    pub tag_specifications: Vec<TagSpecification>,
    /// Idempotency token.
    pub client_token: Option<String>,
}

/// The one attribute a ModifyNetworkInterfaceAttribute call changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InterfaceChange {
    /// Whether it goes with the instance it is attached to.
    DeleteOnTermination {
        /// The attachment.
        attachment_id: String,
        /// The new value.
        value: bool,
    },
    /// Security groups.
    Groups(Vec<String>),
    /// Description.
    Description(String),
    /// Source and destination check.
    SourceDestCheck(bool),
}

impl Described for NetworkInterface {
    const KIND: Kind = Kind::NetworkInterface;
    const FILTERS: &'static [&'static str] = &[
        "network-interface-id",
        "status",
        "subnet-id",
        "vpc-id",
        "availability-zone",
        "private-ip-address",
        "addresses.private-ip-address",
        "addresses.association.public-ip",
        "association.allocation-id",
        "association.association-id",
        "association.ip-owner-id",
        "association.public-ip",
        "ipv6-addresses.ipv6-address",
        "description",
        "group-id",
        "mac-address",
        "owner-id",
        "interface-type",
        "attachment.instance-id",
        "attachment.attachment-id",
        "attachment.status",
        "attachment.device-index",
        "attachment.delete-on-termination",
    ];

    fn tags(&self) -> &Tags {
        &self.tags
    }

    fn made(&self) -> Timestamp {
        self.created
    }

    fn values<'a>(&'a self, filter: &str, cloud: &'a Cloud) -> Vec<Cow<'a, str>> {
        let held = self.attachment.as_ref();
        // AWS shows the association of the primary address on the interface; that its filters find those of the
        // secondary ones as well is unverified.
        let public = |of: fn(&'a ElasticIp) -> Cow<'a, str>| cloud.elastic_ips_on(&self.id).map(of).collect();
        let value: Option<Cow<'a, str>> = match filter {
            "network-interface-id" => Some(self.id.as_str().into()),
            "status" => Some(self.state().name().into()),
            "subnet-id" => Some(self.subnet_id.as_str().into()),
            "vpc-id" => Some(self.vpc_id.as_str().into()),
            "availability-zone" => Some(self.zone.as_str().into()),
            "private-ip-address" | "addresses.private-ip-address" => {
                return self.private_ips().map(|it| it.to_string().into()).collect();
            }
            "ipv6-addresses.ipv6-address" => {
                return self.ipv6.iter().map(|it| it.to_string().into()).collect();
            }
            "association.allocation-id" => return public(|it| it.id.as_str().into()),
            "association.association-id" => {
                return public(|it| it.association.as_ref().map_or("", |held| &held.id).into());
            }
            "association.public-ip" | "addresses.association.public-ip" => {
                return public(|it| it.public_ip.to_string().into());
            }
            "association.ip-owner-id" => {
                let any = cloud.elastic_ips_on(&self.id).next();
                any.map(|_| cloud.settings.account.as_str().into())
            }
            "description" => Some(self.description.as_str().into()),
            "group-id" => return self.groups.iter().map(|it| it.as_str().into()).collect(),
            "mac-address" => Some(self.mac.as_str().into()),
            "owner-id" => Some(cloud.settings.account.as_str().into()),
            "interface-type" => Some("interface".into()),
            "attachment.instance-id" => held.map(|it| it.instance_id.as_str().into()),
            "attachment.attachment-id" => held.map(|it| it.id.as_str().into()),
            "attachment.status" => held.map(|_| "attached".into()),
            "attachment.device-index" => held.map(|it| it.device_index.to_string().into()),
            "attachment.delete-on-termination" => held.map(|it| it.delete_on_termination.to_string().into()),
            _ => None,
        };
        value.into_iter().collect()
    }
}

impl Cloud {
    /// Makes an interface of checked parts.
    pub(crate) fn build_interface(
        &mut self,
        subnet: &super::Subnet,
        private_ip: Ipv4Addr,
        groups: Vec<String>,
        description: &str,
        tags: Tags,
    ) -> String {
        let id = self.ids.of(Kind::NetworkInterface);
        let [a, b, c, d] = private_ip.octets();
        let interface = NetworkInterface {
            id: id.clone(),
            subnet_id: subnet.id.clone(),
            vpc_id: subnet.vpc_id.clone(),
            zone: subnet.zone.clone(),
            private_ip,
            secondary_ips: Vec::new(),
            ipv6: Vec::new(),
            mac: format!("02:00:{a:02x}:{b:02x}:{c:02x}:{d:02x}"),
            groups,
            description: description.to_owned(),
            source_dest_check: true,
            attachment: None,
            created: self.now,
            tags,
        };
        self.interfaces.insert(id.clone(), interface);
        id
    }

    /// CreateNetworkInterface.
    pub fn create_network_interface(
        &mut self,
        request: &CreateNetworkInterface,
    ) -> Result<NetworkInterface, ApiError> {
        const ACTION: &str = "CreateNetworkInterface";
        self.admit(ACTION)?;
        let token = request.client_token.as_ref().map(|token| (ACTION, token.clone()));
        if let Some(Remembered::Interface(earlier, id)) = token.as_ref().and_then(|key| self.tokens.get(key))
        {
            super::launch::same(&**earlier, request)?;
            return self.interfaces.get(id).cloned().ok_or_else(|| Kind::NetworkInterface.not_found(id));
        }
        tags::check_specifications(&request.tag_specifications, &["network-interface"])?;
        let subnet = self.subnet(&request.subnet_id)?.clone();
        let groups = self.groups_in(&subnet.vpc_id, &request.groups)?;
        self.check_interface_quota(1)?;
        let (address, secondary_ips) = self.choose_for_interface(&subnet, request)?;
        let ipv6 =
            self.choose_ipv6_for_interface(&subnet, &request.ipv6_addresses, request.ipv6_address_count)?;
        let tags = tags::for_type(&request.tag_specifications, "network-interface");
        let description = request.description.as_deref().unwrap_or_default();
        let id = self.build_interface(&subnet, address, groups, description, tags);
        if let Some(it) = self.interfaces.get_mut(&id) {
            (it.secondary_ips, it.ipv6) = (secondary_ips, ipv6);
        }
        if let Some(key) = token {
            self.tokens.insert(key, Remembered::Interface(Arc::new(request.clone()), id.clone()));
        }
        self.interfaces.get(&id).cloned().ok_or_else(|| Kind::NetworkInterface.not_found(&id))
    }

    /// Refuses more interfaces than the account may have in the Region.
    pub(crate) fn check_interface_quota(&self, more: usize) -> Result<(), ApiError> {
        if self.interfaces.len() + more > self.settings.network_interface_limit {
            let message = "The maximum number of network interfaces has been reached.";
            return Err(ApiError::new("NetworkInterfaceLimitExceeded", message));
        }
        Ok(())
    }

    /// An interface by id.
    pub(crate) fn interface(&self, id: &str) -> Result<&NetworkInterface, ApiError> {
        Kind::NetworkInterface.check(id)?;
        let interface = self.interfaces.get(id).filter(|it| self.sees(it.created));
        interface.ok_or_else(|| Kind::NetworkInterface.not_found(id))
    }

    /// DeleteNetworkInterface; refused while it is attached.
    pub fn delete_network_interface(&mut self, id: &str) -> Result<(), ApiError> {
        self.admit("DeleteNetworkInterface")?;
        if self.interface(id)?.attachment.is_some() {
            return Err(ApiError::new(
                "InvalidNetworkInterface.InUse",
                format!("Interface: [{id}] is currently in use."),
            ));
        }
        self.interfaces.remove(id);
        self.end_associations(id, None);
        Ok(())
    }

    /// ModifyNetworkInterfaceAttribute.
    pub fn modify_network_interface(&mut self, id: &str, change: &InterfaceChange) -> Result<(), ApiError> {
        self.admit("ModifyNetworkInterfaceAttribute")?;
        let interface = self.interface(id)?;
        match change {
            InterfaceChange::DeleteOnTermination { attachment_id, value } => {
                let held = interface.attachment.as_ref().filter(|it| it.id == *attachment_id);
                let held = held.ok_or_else(|| {
                    ApiError::new(
                        "InvalidAttachmentID.NotFound",
                        format!("The attachment ID '{attachment_id}' does not exist"),
                    )
                })?;
                let instance_id = held.instance_id.clone();
                if let Some(instance) = self.instances.get_mut(&instance_id) {
                    for it in instance.interfaces.iter_mut().filter(|it| it.network_interface_id == id) {
                        it.delete_on_termination = *value;
                    }
                }
                if let Some(it) = self.interfaces.get_mut(id).and_then(|it| it.attachment.as_mut()) {
                    it.delete_on_termination = *value;
                }
            }
            InterfaceChange::Groups(groups) => {
                let groups = self.groups_in(&interface.vpc_id, groups)?;
                let holder = interface.attachment.as_ref().filter(|it| it.device_index == 0);
                let holder = holder.map(|it| it.instance_id.clone());
                if let Some(instance) = holder.and_then(|it| self.instances.get_mut(&it)) {
                    instance.security_groups.clone_from(&groups);
                }
                if let Some(it) = self.interfaces.get_mut(id) {
                    it.groups = groups;
                }
            }
            InterfaceChange::Description(text) => {
                if let Some(it) = self.interfaces.get_mut(id) {
                    it.description.clone_from(text);
                }
            }
            InterfaceChange::SourceDestCheck(value) => {
                if let Some(it) = self.interfaces.get_mut(id) {
                    it.source_dest_check = *value;
                }
            }
        }
        Ok(())
    }

    /// Lets go of an interface after its instance terminated: deleted if it was to go with it, else `available`.
    pub(crate) fn release_interface(&mut self, id: &str) {
        let Some(interface) = self.interfaces.get_mut(id) else { return };
        let goes = interface.attachment.take().is_some_and(|it| it.delete_on_termination);
        if goes {
            self.interfaces.remove(id);
        }
        if goes || !self.settings.elastic_ips_survive_termination {
            self.end_associations(id, None);
        }
    }

    /// DescribeNetworkInterfaces.
    pub fn describe_network_interfaces(
        &mut self,
        request: &Describe,
    ) -> Result<Page<NetworkInterface>, ApiError> {
        self.admit_describe("DescribeNetworkInterfaces", request.is_narrow())?;
        self.describe(&self.interfaces, request, |_| true)
    }
}

//! Elastic IP addresses: public addresses of the account, associated with private addresses of network interfaces.
//!
//! A public address must never be on two private ones, nor a private one have two public ones; an association never
//! outlives the private address it is for. The model has no internet gateways, so that `Gateway.NotAttached` never comes.

use std::borrow::Cow;
use std::net::Ipv4Addr;

use jiff::Timestamp;

use super::filter::Described;
use super::tags::{self, TagSpecification, Tags};
use super::{ApiError, Cloud, Describe, Instance, InstanceState, Kind, NetworkInterface, Page};

/// Where public addresses are taken from: 198.18.0.0/15, which the internet does not route (RFC 2544).
const FIRST_PUBLIC: u32 = u32::from_be_bytes([198, 18, 0, 1]);
/// How many of them there are.
pub(crate) const PUBLIC_ADDRESSES: u32 = (1 << 17) - 2;

/// An Elastic IP address on a private address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Association {
    /// Id, `eipassoc-`.
    pub id: String,
    /// The interface.
    pub network_interface_id: String,
    /// One of its private addresses.
    pub private_ip: Ipv4Addr,
}

/// An Elastic IP address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElasticIp {
    /// Allocation id, `eipalloc-`.
    pub id: String,
    /// The public address.
    pub public_ip: Ipv4Addr,
    /// What it is associated with.
    pub association: Option<Association>,
    /// When it was allocated.
    pub created: Timestamp,
    /// Tags.
    pub tags: Tags,
}

/// AssociateAddress; exactly one of interface and instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AssociateAddress {
    /// Which Elastic IP address.
    pub allocation_id: String,
    /// The interface it goes to.
    pub network_interface_id: Option<String>,
    /// The instance whose only interface it goes to.
    pub instance_id: Option<String>,
    /// One of the interface's private addresses; the primary one when absent.
    pub private_ip_address: Option<String>,
    /// Whether it may be taken from elsewhere; see
    /// [`Settings::reassociate_by_default`](super::Settings::reassociate_by_default) when absent.
    pub allow_reassociation: Option<bool>,
}

impl Described for ElasticIp {
    const KIND: Kind = Kind::ElasticIp;
    const FILTERS: &'static [&'static str] = &[
        "allocation-id",
        "association-id",
        "domain",
        "instance-id",
        "network-border-group",
        "network-interface-id",
        "network-interface-owner-id",
        "private-ip-address",
        "public-ip",
    ];

    fn tags(&self) -> &Tags {
        &self.tags
    }

    fn made(&self) -> Timestamp {
        self.created
    }

    fn values<'a>(&'a self, filter: &str, cloud: &'a Cloud) -> Vec<Cow<'a, str>> {
        let held = self.association.as_ref();
        let value: Option<Cow<'a, str>> = match filter {
            "allocation-id" => Some(self.id.as_str().into()),
            "association-id" => held.map(|it| it.id.as_str().into()),
            "domain" => Some("vpc".into()),
            "instance-id" => cloud.instance_of(self).map(Into::into),
            "network-border-group" => Some(cloud.settings.region.as_str().into()),
            "network-interface-id" => held.map(|it| it.network_interface_id.as_str().into()),
            "network-interface-owner-id" => held.map(|_| cloud.settings.account.as_str().into()),
            "private-ip-address" => held.map(|it| it.private_ip.to_string().into()),
            "public-ip" => Some(self.public_ip.to_string().into()),
            _ => None,
        };
        value.into_iter().collect()
    }
}

fn already(message: String) -> ApiError {
    ApiError::new("Resource.AlreadyAssociated", message)
}

impl Cloud {
    /// AllocateAddress, for use in a VPC.
    ///
    /// # Errors
    /// `AddressLimitExceeded` at the account's quota, `InsufficientAddressCapacity` when no address is left.
    pub fn allocate_address(&mut self, specifications: &[TagSpecification]) -> Result<ElasticIp, ApiError> {
        self.admit("AllocateAddress")?;
        tags::check_specifications(specifications, &["elastic-ip"])?;
        if self.addresses.len() >= self.settings.elastic_ip_limit {
            let message = "The maximum number of addresses has been reached.";
            return Err(ApiError::new("AddressLimitExceeded", message));
        }
        if self.public_drawn >= PUBLIC_ADDRESSES {
            let message = "Insufficient address capacity.";
            return Err(ApiError::with_status("InsufficientAddressCapacity", message, 500));
        }
        let address = ElasticIp {
            id: self.ids.of(Kind::ElasticIp),
            public_ip: Ipv4Addr::from(FIRST_PUBLIC + self.public_drawn),
            association: None,
            created: self.now,
            tags: tags::for_type(specifications, "elastic-ip"),
        };
        // A released address is not given out again, so that a stale one is never mistaken for a new one.
        self.public_drawn += 1;
        self.addresses.insert(address.id.clone(), address.clone());
        Ok(address)
    }

    fn allocated(&self, id: &str) -> Result<&ElasticIp, ApiError> {
        Kind::ElasticIp.check(id)?;
        let address = self.addresses.get(id).filter(|it| self.sees(it.created));
        address.ok_or_else(|| Kind::ElasticIp.not_found(id))
    }

    /// ReleaseAddress.
    ///
    /// The API reference says that releasing one that is associated in a *default* VPC disassociates it first. The model
    /// refuses it in every VPC, which loses nobody's address; what AWS does today is unverified.
    ///
    /// # Errors
    /// `InvalidAllocationID.NotFound`, or `InvalidIPAddress.InUse` while it is associated.
    pub fn release_address(&mut self, allocation_id: &str) -> Result<(), ApiError> {
        self.admit("ReleaseAddress")?;
        let address = self.allocated(allocation_id)?;
        if address.association.is_some() {
            let message = format!("Address {} is in use.", address.public_ip);
            return Err(ApiError::new("InvalidIPAddress.InUse", message));
        }
        self.addresses.remove(allocation_id);
        Ok(())
    }

    /// DescribeAddresses; `public_ips` narrows further, and each of them must exist. There are no pages (API reference).
    pub fn describe_addresses(
        &mut self,
        request: &Describe,
        public_ips: &[String],
    ) -> Result<Page<ElasticIp>, ApiError> {
        self.admit_describe("DescribeAddresses", true)?;
        let known = |ip: &&String| {
            self.addresses.values().any(|it| it.public_ip.to_string() == **ip && self.sees(it.created))
        };
        if let Some(unknown) = public_ips.iter().find(|ip| !known(ip)) {
            let message = format!("Address '{unknown}' not found.");
            return Err(ApiError::new("InvalidAddress.NotFound", message));
        }
        self.describe(&self.addresses, request, |it| {
            public_ips.is_empty() || public_ips.contains(&it.public_ip.to_string())
        })
    }

    /// AssociateAddress: answers the association's id, the one there is when nothing changes.
    ///
    /// # Errors
    /// `Resource.AlreadyAssociated` when the address is elsewhere or the private address has another one, and
    /// reassociation is not allowed; `IncorrectInstanceState` while the interface's instance is pending; not found errors.
    pub fn associate_address(&mut self, request: &AssociateAddress) -> Result<String, ApiError> {
        self.admit("AssociateAddress")?;
        let address = self.allocated(&request.allocation_id)?;
        let target = self.association_target(request)?;
        let private_ip = match request.private_ip_address.as_deref() {
            None => target.private_ip,
            Some(text) => target.private_ips().find(|it| it.to_string() == text).ok_or_else(|| {
                let id = &target.id;
                ApiError::value(format!("The address {text} is not assigned to the network interface {id}."))
            })?,
        };
        let interface_id = target.id.clone();
        let there =
            |it: &&Association| it.network_interface_id == interface_id && it.private_ip == private_ip;
        if let Some(kept) = address.association.as_ref().filter(there) {
            return Ok(kept.id.clone());
        }
        if !request.allow_reassociation.unwrap_or(self.settings.reassociate_by_default) {
            if let Some(held) = &address.association {
                let (id, held) = (&address.id, &held.id);
                return Err(already(format!("resource {id} is already associated with associate-id {held}")));
            }
            if let Some(other) = self.elastic_ip_at(&interface_id, private_ip) {
                let public = other.public_ip;
                return Err(already(format!(
                    "resource {interface_id} and {private_ip} is already associated with public address {public}"
                )));
            }
        }
        let id = self.ids.next("eipassoc-");
        self.end_associations(&interface_id, Some(private_ip));
        if let Some(it) = self.addresses.get_mut(&request.allocation_id) {
            let association = Association { id: id.clone(), network_interface_id: interface_id, private_ip };
            it.association = Some(association);
        }
        Ok(id)
    }

    /// The interface an association goes to.
    fn association_target(&self, request: &AssociateAddress) -> Result<&NetworkInterface, ApiError> {
        match (&request.network_interface_id, &request.instance_id) {
            (Some(_), Some(_)) => {
                let message =
                    "You may specify either an instance ID or a network interface ID, but not both.";
                Err(ApiError::combination(message))
            }
            (None, None) => Err(ApiError::missing("InstanceId or NetworkInterfaceId")),
            (Some(id), None) => {
                let interface = self.interface(id)?;
                let holder = interface.attachment.as_ref().and_then(|it| self.instances.get(&it.instance_id));
                // EC2 developer guide, error codes: IncorrectInstanceState.
                match holder.filter(|it| it.state == InstanceState::Pending) {
                    None => Ok(interface),
                    Some(it) => Err(ApiError::new(
                        "IncorrectInstanceState",
                        format!(
                            "The pending instance '{}' is not in a valid state for this operation.",
                            it.id
                        ),
                    )),
                }
            }
            (None, Some(id)) => self.only_interface(id),
        }
    }

    /// The one interface of an instance that can be told an Elastic IP address.
    fn only_interface(&self, id: &str) -> Result<&NetworkInterface, ApiError> {
        Kind::Instance.check(id)?;
        let instance = self.instances.get(id).filter(|it| self.sees(it.created));
        let instance = instance.ok_or_else(|| Kind::Instance.not_found(id))?;
        // The code by instance differs from the one by interface, as users report it.
        let invalid = |message: String| Err(ApiError::new("InvalidInstanceID", message));
        match instance.state {
            InstanceState::Running | InstanceState::Stopping | InstanceState::Stopped => {}
            InstanceState::Pending | InstanceState::ShuttingDown | InstanceState::Terminated => {
                let state = instance.state.name();
                return invalid(format!(
                    "The {state} instance '{id}' is not in a valid state for this operation."
                ));
            }
        }
        match instance.interfaces.as_slice() {
            [only] => self.interface(&only.network_interface_id),
            [] | [_, _, ..] => invalid(format!(
                "There are multiple interfaces attached to instance '{id}'. Please specify an interface ID for the operation instead."
            )),
        }
    }

    /// DisassociateAddress.
    ///
    /// # Errors
    /// `InvalidAssociationID.NotFound`, also when it was ended before.
    pub fn disassociate_address(&mut self, association_id: &str) -> Result<(), ApiError> {
        self.admit("DisassociateAddress")?;
        let held = |it: &&mut ElasticIp| it.association.as_ref().is_some_and(|at| at.id == association_id);
        let address = self.addresses.values_mut().find(held).ok_or_else(|| {
            let message = format!("The association ID '{association_id}' does not exist");
            ApiError::new("InvalidAssociationID.NotFound", message)
        })?;
        address.association = None;
        Ok(())
    }

    /// Ends the associations of an interface: that of one private address, or all.
    pub(crate) fn end_associations(&mut self, interface_id: &str, private_ip: Option<Ipv4Addr>) {
        let ends = |it: &Association| {
            it.network_interface_id == interface_id && private_ip.is_none_or(|ip| ip == it.private_ip)
        };
        for address in self.addresses.values_mut() {
            address.association.take_if(|it| ends(it));
        }
    }

    /// All Elastic IP addresses.
    pub fn elastic_ips(&self) -> impl Iterator<Item = &ElasticIp> {
        self.addresses.values()
    }

    /// One Elastic IP address by its allocation id, whatever the read lag.
    pub fn elastic_ip(&self, allocation_id: &str) -> Option<&ElasticIp> {
        self.addresses.get(allocation_id)
    }

    /// The Elastic IP addresses on an interface, on whichever of its private addresses.
    pub fn elastic_ips_on<'a>(&'a self, interface_id: &'a str) -> impl Iterator<Item = &'a ElasticIp> {
        let on = move |it: &&ElasticIp| {
            it.association.as_ref().is_some_and(|at| at.network_interface_id == interface_id)
        };
        self.addresses.values().filter(on)
    }

    /// The Elastic IP address on a private address of an interface.
    pub fn elastic_ip_at(&self, interface_id: &str, private_ip: Ipv4Addr) -> Option<&ElasticIp> {
        let at = |it: &&ElasticIp| it.association.as_ref().is_some_and(|at| at.private_ip == private_ip);
        self.addresses
            .values()
            .filter(at)
            .find(|it| it.association.as_ref().is_some_and(|at| at.network_interface_id == interface_id))
    }

    /// The public address of an instance: the Elastic IP address on its primary private address.
    pub fn public_ip_of(&self, instance: &Instance) -> Option<Ipv4Addr> {
        let primary = instance.interfaces.iter().find(|held| held.device_index == 0)?;
        let address = self.elastic_ip_at(&primary.network_interface_id, instance.private_ip?);
        address.map(|it| it.public_ip)
    }

    /// The instance an Elastic IP address leads to.
    pub fn instance_of<'a>(&'a self, address: &ElasticIp) -> Option<&'a str> {
        let held = address.association.as_ref()?;
        let interface = self.interfaces.get(&held.network_interface_id)?;
        interface.attachment.as_ref().map(|it| it.instance_id.as_str())
    }
}

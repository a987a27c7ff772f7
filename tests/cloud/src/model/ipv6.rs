//! IPv6: a block per subnet, and addresses of interfaces from it.
//!
//! Kept small: networks have no IPv6 blocks of their own that a subnet's must lie in, there are no prefixes and no
//! primary IPv6 address, and blocks are not disassociated. An address must never be on two interfaces.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use ipnet::Ipv6Net;

use super::private_addresses::{distinct, one_of, over_limit};
use super::{ApiError, Cloud, NetworkInterface, Subnet};

/// Most addresses of an interface that is not attached: what the largest types take (EC2 User Guide, *IP addresses per
/// network interface*).
const MOST: usize = 50;

/// Whether an address may be given to an interface: the first four and the last of a block are reserved (VPC User
/// Guide, *Subnet CIDR blocks*).
fn assignable(block: Ipv6Net, address: Ipv6Addr) -> bool {
    let (first, last) = (u128::from(block.network()), u128::from(block.broadcast()));
    (first + 4..last).contains(&u128::from(address))
}

impl Cloud {
    /// AssociateSubnetCidrBlock: gives a subnet its IPv6 block, a /64.
    ///
    /// # Errors
    /// `InvalidParameterValue` for what is no /64, `InvalidSubnet.Conflict` when the subnet has a block or another has this
    /// one. Which codes AWS uses for these is unverified.
    pub fn associate_subnet_cidr_block(&mut self, subnet_id: &str, block: &str) -> Result<Subnet, ApiError> {
        self.admit("AssociateSubnetCidrBlock")?;
        let subnet = self.subnet(subnet_id)?;
        let net = block.parse::<Ipv6Net>().ok().filter(|it| it.prefix_len() == 64 && it.trunc() == *it);
        let net = net.ok_or_else(|| {
            ApiError::value(format!("Value ({block}) for parameter ipv6CidrBlock is invalid."))
        })?;
        if subnet.ipv6_cidr.is_some() || self.subnets.values().any(|it| it.ipv6_cidr == Some(net)) {
            return Err(ApiError::new(
                "InvalidSubnet.Conflict",
                format!("The CIDR '{block}' conflicts with another subnet"),
            ));
        }
        let subnet = Subnet { ipv6_cidr: Some(net), ..subnet.clone() };
        self.subnets.insert(subnet.id.clone(), subnet.clone());
        Ok(subnet)
    }

    /// Chooses addresses of a subnet's block for an interface that has `own`: those asked for, or the lowest free ones.
    /// (AWS picks random ones.)
    pub(crate) fn choose_ipv6(
        &self,
        subnet: &Subnet,
        own: &[Ipv6Addr],
        wanted: &[String],
        count: usize,
    ) -> Result<Vec<Ipv6Addr>, ApiError> {
        if wanted.is_empty() && count == 0 {
            return Ok(Vec::new());
        }
        let block = subnet
            .ipv6_cidr
            .ok_or_else(|| ApiError::value(format!("The subnet '{}' has no IPv6 CIDR block.", subnet.id)))?;
        let here = self.interfaces.values().filter(|it| it.subnet_id == subnet.id);
        let taken: BTreeSet<Ipv6Addr> =
            here.flat_map(|it| it.ipv6.iter().copied()).filter(|it| !own.contains(it)).collect();
        let mut chosen = Vec::new();
        for text in wanted {
            let address: Ipv6Addr =
                text.parse().map_err(|_| ApiError::value(format!("Invalid IPv6 address: '{text}'")))?;
            if !assignable(block, address) {
                let message =
                    format!("Address {address} is not assignable in the subnet's IPv6 range {block}.");
                return Err(ApiError::value(message));
            }
            if taken.contains(&address) {
                return Err(ApiError::new("InvalidIPAddress.InUse", format!("Address {address} is in use.")));
            }
            chosen.push(address);
        }
        distinct(&chosen)?;
        let candidates = (u128::from(block.network()) + 4..).map(Ipv6Addr::from);
        chosen.extend(candidates.filter(|it| !taken.contains(it) && !own.contains(it)).take(count));
        Ok(chosen)
    }

    /// Chooses the IPv6 addresses of a new interface.
    pub(crate) fn choose_ipv6_for_interface(
        &self,
        subnet: &Subnet,
        addresses: &[String],
        count: Option<u32>,
    ) -> Result<Vec<Ipv6Addr>, ApiError> {
        if addresses.is_empty() && count.is_none() {
            return Ok(Vec::new());
        }
        one_of(addresses, count, ("ipv6Addresses", "ipv6AddressCount"))?;
        let count = count.unwrap_or(0) as usize;
        if addresses.len() + count > MOST {
            return Err(over_limit());
        }
        self.choose_ipv6(subnet, &[], addresses, count)
    }

    /// AssignIpv6Addresses: answers the addresses, in the order asked for; one that the interface has changes nothing.
    ///
    /// # Errors
    /// As for [`Cloud::assign_private_ip_addresses`]; `InvalidIPAddress.InUse` for an address that another interface has.
    /// That the limit has the same code for both families is unverified at AWS.
    pub fn assign_ipv6_addresses(
        &mut self,
        interface_id: &str,
        addresses: &[String],
        count: Option<u32>,
    ) -> Result<Vec<Ipv6Addr>, ApiError> {
        self.admit("AssignIpv6Addresses")?;
        one_of(addresses, count, ("ipv6Addresses", "ipv6AddressCount"))?;
        let interface = self.interface(interface_id)?;
        let own = interface.ipv6.clone();
        let most = self.address_limit(interface).unwrap_or(MOST);
        let count = count.unwrap_or(0) as usize;
        if own.len() + count > most {
            return Err(over_limit());
        }
        let subnet = self.subnet(&interface.subnet_id)?;
        let chosen = self.choose_ipv6(subnet, &own, addresses, count)?;
        let added: Vec<Ipv6Addr> = chosen.iter().filter(|it| !own.contains(it)).copied().collect();
        if own.len() + added.len() > most {
            return Err(over_limit());
        }
        if let Some(it) = self.interfaces.get_mut(interface_id) {
            it.ipv6.extend(added);
        }
        Ok(chosen)
    }

    /// UnassignIpv6Addresses: all or none; answers what was unassigned.
    ///
    /// # Errors
    /// `InvalidParameterValue` for an address that is not on the interface.
    pub fn unassign_ipv6_addresses(
        &mut self,
        interface_id: &str,
        addresses: &[String],
    ) -> Result<Vec<Ipv6Addr>, ApiError> {
        self.admit("UnassignIpv6Addresses")?;
        if addresses.is_empty() {
            return Err(ApiError::missing("ipv6Addresses"));
        }
        let interface = self.interface(interface_id)?;
        let held = |text: &String| {
            let address = text.parse::<Ipv6Addr>().ok().filter(|it| interface.ipv6.contains(it));
            address.ok_or_else(|| {
                let id = &interface.id;
                ApiError::value(format!(
                    "Some of the specified addresses are not assigned to interface {id}: {text}"
                ))
            })
        };
        let gone: Vec<Ipv6Addr> = addresses.iter().map(held).collect::<Result<_, _>>()?;
        if let Some(it) = self.interfaces.get_mut(interface_id) {
            it.ipv6.retain(|ip| !gone.contains(ip));
        }
        Ok(gone)
    }
}

impl NetworkInterface {
    /// How many addresses of the larger family it has, which an instance type may be too small for.
    pub(crate) fn most_addresses(&self) -> usize {
        (1 + self.secondary_ips.len()).max(self.ipv6.len())
    }
}

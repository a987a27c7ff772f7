//! Private addresses of network interfaces: which are taken, which may be had, and the secondary ones.
//!
//! An address must never be on two interfaces of a subnet, and never one that the subnet reserves. Prefixes are not
//! modelled.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use super::catalog::addresses_per_interface;
use super::{ApiError, Cloud, CreateNetworkInterface, NetworkInterface, Subnet};

/// One element of CreateNetworkInterface's `PrivateIpAddresses`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrivateIp {
    /// Address.
    pub address: String,
    /// Whether it is to be the primary one.
    pub primary: bool,
}

/// AssignPrivateIpAddresses; exactly one of addresses and count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AssignPrivateIpAddresses {
    /// The interface.
    pub network_interface_id: String,
    /// Addresses.
    pub addresses: Vec<String>,
    /// How many, chosen by EC2.
    pub count: Option<u32>,
    /// Whether they may be taken from other interfaces; the model refuses that.
    pub allow_reassignment: bool,
}

/// The refusal of more addresses than the instance's type takes.
pub(crate) fn over_limit() -> ApiError {
    ApiError::new("PrivateIpAddressLimitExceeded", "Number of private addresses will exceed limit.")
}

/// Reads an address that must be assignable in a subnet, taken or not.
fn inside(subnet: &Subnet, text: &str) -> Result<Ipv4Addr, ApiError> {
    let address: Ipv4Addr =
        text.parse().map_err(|_| ApiError::value(format!("Invalid value '{text}' for privateIpAddress")))?;
    if !subnet.cidr.contains(&address) {
        return Err(ApiError::value(format!(
            "Address {address} does not fall within the subnet's address range"
        )));
    }
    if !subnet.assignable(address) {
        return Err(ApiError::value(format!("Address {address} is in subnet's reserved address range")));
    }
    Ok(address)
}

/// Refuses a list that names an address twice.
pub(crate) fn distinct<T: Ord + ToString>(addresses: &[T]) -> Result<(), ApiError> {
    let mut seen = BTreeSet::new();
    match addresses.iter().find(|it| !seen.insert(*it)) {
        None => Ok(()),
        Some(twice) => Err(ApiError::value(format!("Duplicate address {} specified.", twice.to_string()))),
    }
}

/// Refuses two ways to say how many, and none.
pub(crate) fn one_of(addresses: &[String], count: Option<u32>, names: (&str, &str)) -> Result<(), ApiError> {
    match (addresses, count) {
        ([], None) => Err(ApiError::missing(&format!("{} or {}", names.0, names.1))),
        ([_, ..], Some(_)) => Err(ApiError::combination(format!(
            "The parameter {} may not be used in combination with {}",
            names.0, names.1
        ))),
        ([], Some(0)) => Err(ApiError::value(format!("Value (0) for parameter {} is invalid.", names.1))),
        ([_, ..], None) | ([], Some(_)) => Ok(()),
    }
}

/// Refuses combinations of CreateNetworkInterface; answers the primary address asked for and the secondary ones.
///
/// That a list without a primary one is refused is unverified at AWS; the model asks callers to say which one it is.
fn asked(request: &CreateNetworkInterface) -> Result<(Option<&str>, Vec<&str>), ApiError> {
    let list = &request.private_ip_addresses;
    let Some((primary, secondary)) = primary_first(list)? else {
        return Ok((request.private_ip_address.as_deref(), Vec::new()));
    };
    let beside = |name: &str| {
        Err(ApiError::combination(format!("The parameter privateIpAddresses may not be used with {name}")))
    };
    if request.private_ip_address.is_some() {
        return beside("privateIpAddress");
    }
    if request.secondary_private_ip_address_count.is_some() {
        return beside("secondaryPrivateIpAddressCount");
    }
    Ok((Some(primary), secondary))
}

/// The primary address of a list and the others; nothing for an empty list.
fn primary_first(list: &[PrivateIp]) -> Result<Option<(&str, Vec<&str>)>, ApiError> {
    let (primary, secondary): (Vec<&PrivateIp>, Vec<&PrivateIp>) = list.iter().partition(|it| it.primary);
    match primary.as_slice() {
        [one] => Ok(Some((&one.address, secondary.iter().map(|it| it.address.as_str()).collect()))),
        [] if list.is_empty() => Ok(None),
        [] | [_, _, ..] => {
            Err(ApiError::value("Exactly one private IP address must be designated as primary."))
        }
    }
}

impl Cloud {
    /// The addresses of a subnet that interfaces have.
    fn taken(&self, subnet_id: &str) -> BTreeSet<Ipv4Addr> {
        let here = self.interfaces.values().filter(|it| it.subnet_id == subnet_id);
        here.flat_map(NetworkInterface::private_ips).collect()
    }

    /// The lowest free addresses of a subnet.
    fn lowest_free(
        subnet: &Subnet,
        taken: &BTreeSet<Ipv4Addr>,
        count: usize,
    ) -> Result<Vec<Ipv4Addr>, ApiError> {
        let free: Vec<Ipv4Addr> = subnet.addresses().filter(|it| !taken.contains(it)).take(count).collect();
        if free.len() < count {
            return Err(ApiError::new(
                "InsufficientFreeAddressesInSubnet",
                format!(
                    "There are not enough free addresses in subnet '{}' to satisfy the requested number of instances.",
                    subnet.id
                ),
            ));
        }
        Ok(free)
    }

    /// Chooses `count` addresses of a subnet: the one asked for, or the lowest free ones.
    pub(crate) fn choose_addresses(
        &self,
        subnet_id: &str,
        wanted: Option<&str>,
        count: usize,
    ) -> Result<Vec<Ipv4Addr>, ApiError> {
        let subnet = self.subnet(subnet_id)?;
        let taken = self.taken(subnet_id);
        match wanted {
            Some(text) => Ok(vec![Self::free_one(subnet, &taken, text)?]),
            None => Self::lowest_free(subnet, &taken, count),
        }
    }

    fn free_one(subnet: &Subnet, taken: &BTreeSet<Ipv4Addr>, text: &str) -> Result<Ipv4Addr, ApiError> {
        let address = inside(subnet, text)?;
        if taken.contains(&address) {
            return Err(ApiError::new("InvalidIPAddress.InUse", format!("Address {address} is in use.")));
        }
        Ok(address)
    }

    /// Chooses all addresses of a new interface: the primary one, and the secondary ones.
    pub(crate) fn choose_for_interface(
        &self,
        subnet: &Subnet,
        request: &CreateNetworkInterface,
    ) -> Result<(Ipv4Addr, Vec<Ipv4Addr>), ApiError> {
        let (primary, named) = asked(request)?;
        let mut taken = self.taken(&subnet.id);
        let primary = match primary {
            Some(text) => Self::free_one(subnet, &taken, text)?,
            None => Self::lowest_free(subnet, &taken, 1)?.first().copied().unwrap_or(Ipv4Addr::UNSPECIFIED),
        };
        let named: Vec<Ipv4Addr> =
            named.into_iter().map(|text| Self::free_one(subnet, &taken, text)).collect::<Result<_, _>>()?;
        let all: Vec<Ipv4Addr> = [primary].into_iter().chain(named.iter().copied()).collect();
        distinct(&all)?;
        taken.insert(primary);
        let more = request.secondary_private_ip_address_count.unwrap_or(0) as usize;
        let more = Self::lowest_free(subnet, &taken, more)?;
        Ok((primary, named.into_iter().chain(more).collect()))
    }

    /// How many addresses of one family an interface may have where it is attached; `None` for no limit.
    pub(crate) fn address_limit(&self, interface: &NetworkInterface) -> Option<usize> {
        let holder = self.instances.get(&interface.attachment.as_ref()?.instance_id)?;
        addresses_per_interface(&holder.instance_type)
    }

    /// AssignPrivateIpAddresses: answers the addresses, in the order asked for.
    ///
    /// One that the interface has already is answered and changes nothing; that AWS does the same is unverified.
    ///
    /// # Errors
    /// `PrivateIpAddressLimitExceeded` by the type of the instance it is attached to, `InvalidParameterValue` for an
    /// address that is foreign to the subnet or assigned elsewhere, `InsufficientFreeAddressesInSubnet`.
    pub fn assign_private_ip_addresses(
        &mut self,
        request: &AssignPrivateIpAddresses,
    ) -> Result<Vec<Ipv4Addr>, ApiError> {
        self.admit("AssignPrivateIpAddresses")?;
        one_of(&request.addresses, request.count, ("privateIpAddress", "secondaryPrivateIpAddressCount"))?;
        if request.allow_reassignment {
            let message = "The local cloud does not take addresses from other interfaces.";
            return Err(ApiError::new("UnsupportedOperation", message));
        }
        let interface = self.interface(&request.network_interface_id)?;
        let subnet = self.subnet(&interface.subnet_id)?;
        let own: Vec<Ipv4Addr> = interface.private_ips().collect();
        let count = request.count.unwrap_or(0) as usize;
        let wanted: Vec<Ipv4Addr> =
            request.addresses.iter().map(|text| inside(subnet, text)).collect::<Result<_, _>>()?;
        distinct(&wanted)?;
        let added = wanted.iter().filter(|it| !own.contains(it)).count() + count;
        if self.address_limit(interface).is_some_and(|most| own.len() + added > most) {
            return Err(over_limit());
        }
        let taken = self.taken(&subnet.id);
        let elsewhere: Vec<String> = wanted
            .iter()
            .filter(|it| taken.contains(it) && !own.contains(it))
            .map(Ipv4Addr::to_string)
            .collect();
        if !elsewhere.is_empty() {
            let message = format!("[{}] assigned, but move is not allowed.", elsewhere.join(", "));
            return Err(ApiError::value(message));
        }
        let chosen = if wanted.is_empty() { Self::lowest_free(subnet, &taken, count)? } else { wanted };
        if let Some(it) = self.interfaces.get_mut(&request.network_interface_id) {
            it.secondary_ips.extend(chosen.iter().filter(|ip| !own.contains(ip)));
        }
        Ok(chosen)
    }

    /// UnassignPrivateIpAddresses: all or none; their Elastic IP addresses are disassociated (EC2 User Guide, *Secondary
    /// IP addresses*).
    ///
    /// # Errors
    /// `InvalidParameterValue` for the primary address and for one that is not on the interface.
    pub fn unassign_private_ip_addresses(
        &mut self,
        interface_id: &str,
        addresses: &[String],
    ) -> Result<(), ApiError> {
        self.admit("UnassignPrivateIpAddresses")?;
        if addresses.is_empty() {
            return Err(ApiError::missing("privateIpAddress"));
        }
        let interface = self.interface(interface_id)?;
        let mut gone = Vec::new();
        for text in addresses {
            let held = interface.secondary_ips.iter().find(|it| it.to_string() == *text);
            // The sentences are not AWS's own.
            gone.push(*held.ok_or_else(|| {
                ApiError::value(if *text == interface.private_ip.to_string() {
                    format!("The primary address {text} of {interface_id} cannot be unassigned.")
                } else {
                    format!(
                        "Some of the specified addresses are not assigned to interface {interface_id}: {text}"
                    )
                })
            })?);
        }
        if let Some(it) = self.interfaces.get_mut(interface_id) {
            it.secondary_ips.retain(|ip| !gone.contains(ip));
        }
        for address in gone {
            self.end_associations(interface_id, Some(address));
        }
        Ok(())
    }
}

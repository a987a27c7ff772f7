//! Whether the addresses that an item asks for can be had: inside its subnets, not AWS's own, in nobody's
//! use, and claimed by no other item.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde_json::Value;

use super::reader::problem;
use super::references::{Referred, candidates};
use super::{Draft, GroupPart, Problem};
use crate::ids::{AllocationId, GroupName, InterfaceId, NodeName, SubnetId};
use crate::names::{TAG_DEPLOYMENT, TAG_GROUP, TAG_NODE};
use crate::observation::{InterfaceFacts, SubnetFacts};

/// What the deployment has already promised, and to whom.
#[derive(Clone, Debug, Default)]
pub struct Claims {
    /// The deployment.
    pub deployment: String,
    /// The nodes whose interfaces are the item's own: itself, or the members of the group.
    pub nodes: BTreeSet<NodeName>,
    /// The group whose interfaces are the item's own.
    pub group: Option<GroupName>,
    /// The interfaces that the item's own nodes are known to keep.
    pub interfaces: BTreeSet<InterfaceId>,
    /// What other groups have in their pools.
    pub others: Vec<Claim>,
}

/// What one other group has in its pools.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The group.
    pub group: GroupName,
    /// Its private addresses.
    pub private_ips: Vec<Ipv4Addr>,
    /// The subnets these are in, as far as its item names them.
    pub subnets: Vec<SubnetId>,
    /// Its Elastic IP addresses.
    pub elastic_ips: Vec<AllocationId>,
}

impl Claims {
    fn is_own(&self, interface: &InterfaceFacts) -> bool {
        let is = |tag: &str, value: &str| interface.tags.get(tag).is_some_and(|it| it == value);
        let names_own =
            interface.tags.get(TAG_NODE).is_some_and(|it| self.nodes.iter().any(|n| n.as_str() == it));
        let in_group = self.group.as_ref().is_some_and(|group| is(TAG_GROUP, group.as_str()));
        self.interfaces.contains(&interface.id)
            || (is(TAG_DEPLOYMENT, &self.deployment) && (names_own || in_group))
    }
}

/// Whether AWS keeps an address of a subnet to itself: the first four and the last.
pub fn is_reserved(cidr: Ipv4Net, address: Ipv4Addr) -> bool {
    let (first, last) = (u32::from(cidr.network()), u32::from(cidr.broadcast()));
    let address = u32::from(address);
    address < first.saturating_add(4) || address == last
}

/// How many addresses of a subnet can be had.
fn assignable(cidr: Ipv4Net) -> usize {
    let (first, last) = (u32::from(cidr.network()), u32::from(cidr.broadcast()));
    (last - first).saturating_sub(4) as usize
}

/// Judges the addresses of a node.
pub(super) fn check_node(draft: &Draft, referred: &Referred, problems: &mut Vec<Problem>) {
    let Some(network) = &draft.config.persist.network else { return };
    if let Some(address) = network.private_ip {
        problems.extend(private_ip("persist.network.privateIp", address, draft, referred));
    }
    if let Some(allocation) = &network.elastic_ip {
        problems.extend(elastic_ip("persist.network.elasticIp", allocation, referred));
    }
}

/// Judges the pools of a group.
pub fn check_pools(item: &Value, draft: &Draft, part: &GroupPart, referred: &Referred) -> Vec<Problem> {
    let mut problems = Vec::new();
    let subnets = candidates(draft, referred).unwrap_or_default();
    let room: usize = subnets.iter().map(|subnet| assignable(subnet.cidr)).sum();
    if !subnets.is_empty() && part.private_ips.len() > room {
        let remedy = format!(
            "larger than the subnets, which have {room} addresses: name more of them in launch.subnets, or fewer here"
        );
        problems.push(problem("persist.network.privateIpPool", &Value::from(part.private_ips.len()), remedy));
    }
    for address in &part.private_ips {
        let path = place(item, "privateIpPool", &address.to_string());
        problems.extend(private_ip(&path, *address, draft, referred));
    }
    for allocation in &part.elastic_ips {
        let path = place(item, "elasticIpPool", allocation.as_str());
        problems.extend(elastic_ip(&path, allocation, referred));
    }
    problems
}

/// Where a value stands in a pool of an item: others before it may not have been read at all.
fn place(item: &Value, pool: &str, value: &str) -> String {
    let all = item.pointer(&format!("/persist/network/{pool}")).and_then(Value::as_array);
    let at = all.and_then(|all| all.iter().position(|one| one == value));
    match at {
        Some(at) => format!("persist.network.{pool}[{at}]"),
        None => format!("persist.network.{pool}"),
    }
}

fn private_ip(path: &str, address: Ipv4Addr, draft: &Draft, referred: &Referred) -> Option<Problem> {
    let subnets = candidates(draft, referred)?;
    let refuse = |remedy: String| Some(problem(path, &Value::from(address.to_string()), remedy));
    if subnets.is_empty() {
        return refuse("outside every subnet, since none of them exists: correct launch.subnets".to_owned());
    }
    let Some(subnet) = subnets.iter().find(|subnet| subnet.cidr.contains(&address)) else {
        let ranges: Vec<_> = subnets.iter().map(|s| format!("{} ({})", s.id, s.cidr)).collect();
        return refuse(format!("outside every subnet: take one of {}", ranges.join(", ")));
    };
    if is_reserved(subnet.cidr, address) {
        let cidr = subnet.cidr;
        return refuse(format!(
            "AWS reserves the first four addresses and the last one of {cidr}: take another"
        ));
    }
    if let Some(claim) = referred.claims.others.iter().find(|claim| claims_address(claim, address, subnet)) {
        return refuse(format!("in the pool of group#{} already: take another", claim.group));
    }
    let holder = referred.holders.iter().find(|it| it.subnet == subnet.id && it.has(address))?;
    if referred.claims.is_own(holder) {
        return None;
    }
    refuse(format!("in use by {}: free it, or take another", holder.words()))
}

fn claims_address(claim: &Claim, address: Ipv4Addr, subnet: &SubnetFacts) -> bool {
    // The same address in another network is another one.
    claim.private_ips.contains(&address) && claim.subnets.contains(&subnet.id)
}

fn elastic_ip(path: &str, allocation: &AllocationId, referred: &Referred) -> Option<Problem> {
    let refuse = |remedy: String| Some(problem(path, &Value::from(allocation.as_str()), remedy));
    let Some(facts) = referred.elastic_ips.get(allocation) else {
        return refuse(
            "there is no such Elastic IP address in this account and Region: allocate it or correct the id"
                .to_owned(),
        );
    };
    if let Some(claim) = referred.claims.others.iter().find(|claim| claim.elastic_ips.contains(allocation)) {
        return refuse(format!("in the pool of group#{} already: an address serves one", claim.group));
    }
    let held = facts.association.as_ref()?;
    let holder = held.interface.as_ref();
    let facts = holder.and_then(|id| referred.holders.iter().find(|it| &it.id == id));
    if facts.is_some_and(|facts| referred.claims.is_own(facts)) {
        return None;
    }
    let words = holder.map_or("something that is no network interface".to_owned(), ToString::to_string);
    refuse(format!("associated with {words}, which is not Perennial's: disassociate it, or name another"))
}

#[cfg(test)]
mod tests;

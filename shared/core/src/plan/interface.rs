//! The kept network interface: made once, with the address the node is to have, and free before each launch.
//!
//! An address is never taken from anybody: where another interface has it, the node waits and says whose it
//! is. An interface that was deleted is made again with all addresses it had.

use std::net::Ipv4Addr;

use super::launching::obstructed;
use super::{Draft, Then};
use crate::absorb::keep;
use crate::config::DesiredState;
use crate::config::addresses::is_reserved;
use crate::ids::{InterfaceId, Resource, SubnetId};
use crate::launch::{Home, Obstacle, home, subnets_for};
use crate::limits;
use crate::names::{Purpose, TAG_DEPLOYMENT, TAG_GROUP, TAG_NODE, has_purpose};
use crate::observation::{InterfaceFacts, InterfaceState, Observation, SubnetFacts};
use crate::record::Network;
use crate::step::{InterfaceRequest, Step};

/// What a launch still needs of the node's interface; `None` if it is ready, or none is kept.
pub(super) fn ready(draft: &mut Draft<'_>, seen: &Observation) -> Option<Then> {
    match (draft.record.network.clone(), &draft.record.config().persist.network) {
        (Some(kept), _) => match seen.interfaces.get(&kept.eni_id) {
            Some(facts) if facts.state == InterfaceState::Available => {
                note(draft, facts);
                synchronise(draft, seen, facts)
            }
            Some(facts) => Some(in_use(draft, facts)),
            None => Some(missing(draft, seen, kept)),
        },
        (None, Some(_)) => make(draft, seen),
        (None, None) => None,
    }
}

/// What a node that rests still needs so that its address is there when it is resumed; `None` if nothing.
pub(super) fn reserved(draft: &mut Draft<'_>, seen: &Observation) -> Option<Then> {
    let wanted = draft.record.config().persist.network.as_ref()?.private_ip;
    match draft.record.network.clone() {
        Some(kept) => match seen.interfaces.get(&kept.eni_id) {
            Some(facts) => {
                note(draft, facts);
                None
            }
            None => Some(missing(draft, seen, kept)),
        },
        // Any address of the subnet will do: it need not be held before it is used.
        None => wanted.and_then(|_| make(draft, seen)),
    }
}

/// Gives up the interface of a node that is deallocated and whose address is another's now.
pub(super) fn give_up(draft: &mut Draft<'_>, seen: &Observation) -> Option<Then> {
    let policy = draft.record.config().persist.network.as_ref()?;
    if !policy.frees_address || draft.record.goal != DesiredState::Deallocated {
        return None;
    }
    let kept = draft.record.network.clone()?;
    match seen.interfaces.get(&kept.eni_id) {
        Some(facts) if facts.state == InterfaceState::Available => {
            // Written down with the intent: should the answer be lost, the group must not take it for kept.
            missing_since(draft);
            Some(draft.clear_away(Step::FreeAddress { interface: kept.eni_id, address: kept.private_ip }))
        }
        Some(_) => {
            // Whoever is to have the address waits for it.
            draft.appoint(limits::NEXT_TICK);
            None
        }
        None => {
            let since = missing_since(draft);
            if draft.now().duration_since(since) >= limits::QUIET {
                draft.note(format!("{} is gone, and its address {} is free", kept.eni_id, kept.private_ip));
                forget(draft);
            } else {
                draft.appoint(limits::NEXT_TICK);
            }
            None
        }
    }
}

/// The node keeps no interface any more. The next one is asked for with another token: the last one's stands
/// for an interface that is gone.
pub(crate) fn forget(draft: &mut Draft<'_>) {
    draft.record.network = None;
    draft.record.attempts += 1;
}

/// Writes down what must be the same again should the interface be deleted.
pub(super) fn note(draft: &mut Draft<'_>, facts: &InterfaceFacts) {
    if let Some(network) = draft.record.network.as_mut() {
        network.missing_since = None;
        network.secondary.clone_from(&facts.secondary);
        network.ipv6.clone_from(&facts.ipv6);
    }
}

/// Makes the node's interface, or says what keeps it from being made.
fn make(draft: &mut Draft<'_>, seen: &Observation) -> Option<Then> {
    // Without a template the ladder has the better words for what is wrong.
    let template = seen.template.as_ref()?;
    let wanted = draft.record.config().persist.network.as_ref().and_then(|n| n.private_ip);
    let home = home(&draft.record, seen);
    let candidates: Vec<&SubnetFacts> =
        subnets_for(&draft.record, template).iter().filter_map(|id| seen.subnets.get(id)).collect();
    let fitting: Vec<_> = candidates
        .into_iter()
        .filter(|subnet| wanted.is_none_or(|ip| subnet.cidr.contains(&ip) && !is_reserved(subnet.cidr, ip)))
        .filter(|subnet| home.admits(&subnet.zone))
        .collect();
    if fitting.is_empty() {
        let message = match (wanted, &home) {
            (wanted, Home::In(zone)) => {
                let address = wanted.map_or(String::new(), |ip| format!(" and holds the address {ip}"));
                format!("no subnet of the node is in {zone}, where its data volumes are{address}")
            }
            (Some(ip), _) => format!("no subnet of the node holds the address {ip}"),
            (None, _) => "no subnet of the node exists".to_owned(),
        };
        let remedy = "correct launch.subnets or persist.network.privateIp".to_owned();
        return Some(obstructed(draft, &Obstacle { code: "no-subnet", message, remedy }));
    }
    let Some(subnet) = fitting.get(draft.record.subnets_tried as usize) else {
        draft.record.subnets_tried = 0;
        let message = "no subnet of the node has a free address".to_owned();
        let remedy = "Free some, or name more subnets in launch.subnets; it is tried again every minute";
        draft.block("no-address", message.clone(), remedy, limits::LADDER_REST);
        return Some(draft.wait(limits::LADDER_REST, message));
    };
    if let Some(address) = wanted
        && let Some(then) = held(draft, seen, address, &subnet.id)
    {
        return Some(then);
    }
    let token = draft.names().interface(draft.record.attempts + 1, None);
    let request = InterfaceRequest {
        private_ip: wanted,
        groups: template.groups.clone(),
        ..request(draft, token, subnet.id.clone())
    };
    Some(draft.act(Step::CreateInterface(request)))
}

/// What follows from somebody having the address; `None` if nobody has.
fn held(draft: &mut Draft<'_>, seen: &Observation, address: Ipv4Addr, subnet: &SubnetId) -> Option<Then> {
    let holder = seen.holders.iter().find(|it| it.subnet == *subnet && it.has(address))?;
    let names = draft.names();
    let is_own = names.owns(&holder.tags) && has_purpose(&holder.tags, Purpose::Interface);
    if is_own && holder.private_ip == address && holder.state == InterfaceState::Available {
        // An earlier try made it, and nobody heard of it.
        keep(draft, holder);
        return Some(Then::Look);
    }
    // The own address of another member of the group may be about to be given up; a secondary one is not.
    let is = |tag: &str, value: &str| holder.tags.get(tag).is_some_and(|it| it == value);
    let group = draft.record.config().group.as_ref();
    let is_members = is(TAG_DEPLOYMENT, draft.scope.deployment)
        && group.is_some_and(|group| is(TAG_GROUP, group.as_str()))
        && holder.private_ip == address;
    let other = holder.tags.get(TAG_NODE).filter(|node| node.as_str() != draft.record.name.as_str());
    if let Some(other) = other.filter(|_| is_members)
        && !draft.is_stalled(limits::HAND_OVER_OVERDUE)
    {
        return Some(draft.wait(limits::NEXT_TICK, format!("{address} to be given up by {other}")));
    }
    let message = format!("the address {address} is taken by {}", holder.words());
    let remedy = "Free the address, or change persist.network; it is tried again every minute";
    draft.block("address-taken", message.clone(), remedy, limits::LADDER_REST);
    Some(draft.wait(limits::LADDER_REST, message))
}

/// A request for an interface with any address.
fn request(draft: &Draft<'_>, token: String, subnet: SubnetId) -> InterfaceRequest {
    let operator = &draft.record.config().tags;
    let tags = draft.names().tags(operator, draft.record.cycle, Purpose::Interface, &token);
    InterfaceRequest {
        token,
        subnet,
        private_ip: None,
        secondary: Vec::new(),
        ipv6: Vec::new(),
        groups: Vec::new(),
        tags,
        description: format!("kept for the node {} by Perennial", draft.record.name),
    }
}

fn missing_since(draft: &mut Draft<'_>) -> jiff::Timestamp {
    let now = draft.now();
    draft.record.network.as_mut().map_or(now, |network| *network.missing_since.get_or_insert(now))
}

/// Waits for a read that shows the interface; once it is sure that it was deleted, makes it again.
fn missing(draft: &mut Draft<'_>, seen: &Observation, kept: Network) -> Then {
    let since = missing_since(draft);
    let wanted = draft.record.config().persist.network.clone();
    if wanted.as_ref().is_some_and(|network| network.lost_address == Some(kept.private_ip)) {
        draft.note(format!(
            "{} is gone, and its address {} is another member's",
            kept.eni_id, kept.private_ip
        ));
        forget(draft);
        return Then::Look;
    }
    if draft.now().duration_since(since) < limits::QUIET {
        return draft.wait(limits::NEXT_TICK, format!("a read that shows {}", kept.eni_id));
    }
    let other = wanted.as_ref().and_then(|network| network.private_ip);
    if wanted.is_none() || other.is_some_and(|ip| ip != kept.private_ip) {
        draft.note(format!("{} is gone, and its address {} is not asked for", kept.eni_id, kept.private_ip));
        forget(draft);
        return Then::Look;
    }
    for address in std::iter::once(kept.private_ip).chain(kept.secondary.iter().copied()) {
        if let Some(then) = held(draft, seen, address, &kept.subnet_id) {
            return then;
        }
    }
    // Its addresses can be had again, unless somebody took them.
    let token = draft.names().interface(draft.record.attempts + 1, Some(&kept.eni_id));
    let request = InterfaceRequest {
        private_ip: Some(kept.private_ip),
        secondary: kept.secondary,
        ipv6: kept.ipv6,
        groups: seen.template.as_ref().map(|template| template.groups.clone()).unwrap_or_default(),
        ..request(draft, token, kept.subnet_id)
    };
    draft.act(Step::CreateInterface(request))
}

/// The step that gives the kept interface the groups and tags that a new one would get now.
fn synchronise(draft: &mut Draft<'_>, seen: &Observation, facts: &InterfaceFacts) -> Option<Then> {
    let wanted = seen.template.as_ref().map(|template| template.groups.clone()).unwrap_or_default();
    let sorted = |groups: &[String]| {
        let mut groups = groups.to_vec();
        groups.sort();
        groups
    };
    if !wanted.is_empty() && sorted(&wanted) != sorted(&facts.groups) {
        return Some(draft.act(Step::SetGroups { interface: facts.id.clone(), groups: wanted }));
    }
    let mut tags = draft.record.config().tags.clone();
    tags.retain(|key, value| facts.tags.get(key) != Some(value));
    let resource = Resource::Interface(facts.id.clone());
    (!tags.is_empty()).then(|| draft.act(Step::Tag { resource, tags }))
}

fn in_use(draft: &mut Draft<'_>, facts: &InterfaceFacts) -> Then {
    let what = format!("{} to become available", facts.id);
    if !draft.is_stalled(limits::RELEASE_OVERDUE) {
        return draft.poll(what);
    }
    let holder = facts.attached_to.as_ref().map_or("something".to_owned(), ToString::to_string);
    let message = format!("the kept interface {} is in use by {holder}", facts.id);
    let remedy =
        "Detach it from there, or terminate that instance; the node goes on as soon as it is available";
    draft.block("interface-in-use", message, remedy, limits::NEXT_TICK);
    draft.wait(limits::NEXT_TICK, what)
}

/// Whether this is the kept interface of the node.
pub(super) fn is_kept(draft: &Draft<'_>, interface: &InterfaceId) -> bool {
    draft.record.network.as_ref().is_some_and(|network| &network.eni_id == interface)
}

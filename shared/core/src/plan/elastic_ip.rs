//! The Elastic IP address of a node: associated with the kept interface, and found to be so after each launch.
//!
//! It is never taken from another interface and never released. A node that cannot have it runs all the
//! same: no public address is worth a data volume without its snapshots.

use std::net::Ipv4Addr;

use super::{Draft, Then, interface};
use crate::ids::AllocationId;
use crate::observation::{AddressFacts, InstanceFacts, Observation};
use crate::phase::Phase;
use crate::record::{ElasticIp, Network, Record};
use crate::step::Step;

/// What the codes of this trouble begin with. It is a mark that holds nothing else back.
const TROUBLE: &str = "elastic-ip-";

/// Whether a block only says that an Elastic IP address could not be had.
pub(crate) fn is_mark(code: &str) -> bool {
    code.starts_with(TROUBLE)
}

/// Which addresses to read.
pub(super) fn to_read(record: &Record) -> Vec<AllocationId> {
    if is_settled(record) {
        return Vec::new();
    }
    let known = known(record).map(|known| known.allocation_id.clone());
    let mut ids: Vec<AllocationId> = wanted(record).cloned().into_iter().chain(known).collect();
    ids.dedup();
    ids
}

fn known(record: &Record) -> Option<&ElasticIp> {
    record.network.as_ref().and_then(|network| network.elastic_ip.as_ref())
}

fn wanted(record: &Record) -> Option<&AllocationId> {
    record.config().persist.network.as_ref().and_then(|network| network.elastic_ip.as_ref())
}

/// Whether the node has what it is to have: found associated in this cycle, or nothing asked for.
pub(super) fn is_settled(record: &Record) -> bool {
    match (known(record), wanted(record)) {
        (None, None) => true,
        // Where no interface is kept there is nothing to associate it with.
        (None, Some(_)) => record.network.is_none(),
        (Some(known), Some(wanted)) => &known.allocation_id == wanted && known.cycle == record.cycle,
        (Some(_), None) => false,
    }
}

/// The step towards the right Elastic IP address of a running instance; `None` if there is nothing to do, or
/// nothing that can be done now.
pub(super) fn settle(draft: &mut Draft<'_>, seen: &Observation, facts: &InstanceFacts) -> Option<Then> {
    let network = draft.record.network.clone()?;
    doubt(draft, &network, facts);
    if is_settled(&draft.record) {
        lift(draft);
        return None;
    }
    if to_read(&draft.record).iter().any(|id| !seen.look.elastic_ips.contains(id)) {
        return Some(Then::Look);
    }
    if let Some(then) = take_off(draft, seen) {
        return Some(then);
    }
    let wanted = wanted(&draft.record)?.clone();
    match seen.elastic_ips.get(&wanted) {
        None => draft.mark("elastic-ip-missing", format!("there is no Elastic IP address {wanted}"), REMEDY),
        Some(address) => return associate(draft, (&network, shown(&network, facts)), address),
    }
    None
}

/// The public address that the instance shows on the kept interface.
fn shown(network: &Network, facts: &InstanceFacts) -> Option<Ipv4Addr> {
    facts.interfaces.iter().find(|it| it.interface == network.eni_id).and_then(|it| it.public_ip)
}

/// An instance that does not show the address makes a closer look worthwhile.
fn doubt(draft: &mut Draft<'_>, network: &Network, facts: &InstanceFacts) {
    let shown = shown(network, facts);
    if let Some(known) = draft.record.network.as_mut().and_then(|network| network.elastic_ip.as_mut())
        && shown != Some(known.public_ip)
    {
        known.cycle = 0;
    }
}

fn associate(
    draft: &mut Draft<'_>,
    (network, shown): (&Network, Option<Ipv4Addr>),
    address: &AddressFacts,
) -> Option<Then> {
    match &address.association {
        None if draft.record.address_not_before.is_some_and(|until| until > draft.now()) => None,
        None if shown.is_some_and(|ip| ip != address.public_ip) => {
            // Associating another one would take it off.
            let ip = shown.map(|ip| ip.to_string()).unwrap_or_default();
            let message = format!(
                "the kept interface {} has a public address already that is not the node's, {ip}",
                network.eni_id
            );
            draft.mark("elastic-ip-in-use", message, REMEDY);
            None
        }
        None => {
            intend(draft, address);
            Some(draft.act(Step::Associate {
                allocation: address.id.clone(),
                interface: network.eni_id.clone(),
                private_ip: network.private_ip,
            }))
        }
        Some(held)
            if held.interface.as_ref() == Some(&network.eni_id)
                && held.private_ip == Some(network.private_ip) =>
        {
            found(draft, address);
            None
        }
        Some(held) => {
            let holder = held.interface.as_ref().map_or("something else".to_owned(), ToString::to_string);
            let message = format!(
                "the Elastic IP address {} ({}) is associated with {holder}",
                address.id, address.public_ip
            );
            draft.mark("elastic-ip-in-use", message, REMEDY);
            None
        }
    }
}

/// Writes down which address is being associated: should nobody hear that it was, it is still taken off once
/// the node is to have it no more.
fn intend(draft: &mut Draft<'_>, address: &AddressFacts) {
    if let Some(network) = draft.record.network.as_mut() {
        let (allocation_id, public_ip) = (address.id.clone(), address.public_ip);
        network.elastic_ip = Some(ElasticIp { allocation_id, public_ip, cycle: 0 });
    }
}

/// Writes down that the address was found where it belongs.
fn found(draft: &mut Draft<'_>, address: &AddressFacts) {
    let cycle = draft.record.cycle;
    let is_news = known(&draft.record).is_none_or(|it| it.allocation_id != address.id || it.cycle == 0);
    if is_news {
        draft.note(format!("the Elastic IP address {} ({}) is associated", address.public_ip, address.id));
    }
    if let Some(network) = draft.record.network.as_mut() {
        network.elastic_ip =
            Some(ElasticIp { allocation_id: address.id.clone(), public_ip: address.public_ip, cycle });
    }
    draft.record.address_not_before = None;
    lift(draft);
}

/// Takes an address off the kept interface that the node is to have no more; `None` if there is none.
pub(super) fn take_off(draft: &mut Draft<'_>, seen: &Observation) -> Option<Then> {
    let known = known(&draft.record)?.clone();
    if wanted(&draft.record) == Some(&known.allocation_id) {
        return None;
    }
    if !seen.look.elastic_ips.contains(&known.allocation_id) {
        return Some(Then::Look);
    }
    let address = seen.elastic_ips.get(&known.allocation_id);
    let held = address.and_then(|address| address.association.as_ref());
    let own = held.filter(|held| held.interface.as_ref().is_some_and(|it| interface::is_kept(draft, it)));
    if let Some(own) = own {
        if let Some(until) = draft.record.address_not_before.filter(|until| *until > draft.now()) {
            draft.appoint(until.duration_since(draft.now()));
            return None;
        }
        let (allocation, association) = (known.allocation_id, own.id.clone());
        return Some(draft.act(Step::Disassociate { allocation, association }));
    }
    if let Some(network) = draft.record.network.as_mut() {
        network.elastic_ip = None;
    }
    draft.note(format!("the Elastic IP address {} is the node's no more", known.public_ip));
    None
}

/// What helps where an address cannot be had.
pub(crate) const REMEDY: &str = "The node runs without it. Disassociate it from there, or name another one in \
                                 persist.network; it is tried again every minute";

fn lift(draft: &mut Draft<'_>) {
    if draft.record.blocked.as_ref().is_some_and(|blocked| is_mark(&blocked.code)) {
        draft.lift();
    }
}

/// Whether the mark still says something of a node in this phase.
pub(super) fn counts_in(phase: Phase) -> bool {
    matches!(phase, Phase::Attaching | Phase::Running)
}

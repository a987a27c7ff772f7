//! What must be so of groups, of kept addresses and of Elastic IP addresses.
//!
//! Who has an address is told from the account where it can tell, and from the group's record where only
//! the group knows: the address of a member that has never been launched.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use perennial_cloud::model::{Cloud, ElasticIp, NetworkInterface};
use perennial_core::config::{self, DesiredState};
use perennial_core::group::{GroupRecord, Member, Seen, plan};
use perennial_core::ids::NodeName;
use perennial_core::names::{Purpose, TAG_NODE, TAG_PURPOSE};
use perennial_core::phase::Phase;
use perennial_core::record::Record;
use serde_json::Value;

use super::steps::tag;
use super::{Watch, backups, is_ours};
use crate::world::World;

/// An interface that a record names, as it was last seen.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    node: String,
    life: String,
    /// Whether it goes with its instance, by the operator's hand.
    doomed: bool,
}

/// What is remembered of groups and addresses from one look to the next.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    /// Interfaces that records name.
    kept: BTreeMap<String, Kept>,
    /// The address that each life had first.
    first: BTreeMap<String, Ipv4Addr>,
    /// Every Elastic IP address there is, and what of others it is associated with.
    elastic: BTreeMap<String, Option<String>>,
    /// Nodes that ran and were to run, at the last look.
    ran: BTreeSet<String>,
    /// The member of each group that is being replaced by its group's wish.
    rolling: BTreeMap<String, String>,
}

/// Whether a record is of a life that goes on, with its network kept for it.
fn lives(record: &Record) -> bool {
    !record.phase.is_final() && record.goal != DesiredState::Released
}

fn living(group: &GroupRecord) -> impl Iterator<Item = &Member> {
    group.members.iter().filter(|member| !member.given_up)
}

fn record_of<'w>(world: &'w World, member: &Member) -> Option<&'w Record> {
    world.records.get(member.name.as_str()).filter(|record| record.phase != Phase::Gone)
}

fn item_of<'w>(world: &'w World, member: &Member) -> Option<&'w Value> {
    world.config.get(&member.name.key()).filter(|item| !config::is_absent(item))
}

/// Whether a member's item was refused, and told why.
fn is_rejected(world: &World, member: &Member) -> bool {
    item_of(world, member).is_some_and(|item| item[config::STATUS]["accepted"] == false)
}

/// What the operator wrote into a member's item, if anything.
fn own_word<'w>(world: &'w World, member: &Member) -> Option<&'w str> {
    item_of(world, member)?["desiredState"].as_str()
}

/// The member of this name, in whichever group has it.
fn member_of<'w>(world: &'w World, node: &str) -> Option<&'w Member> {
    world.groups.values().flat_map(|group| &group.members).find(|member| member.name.as_str() == node)
}

/// The address that a member has, or is to have.
fn address_of(world: &World, member: &Member) -> Option<Ipv4Addr> {
    let kept = record_of(world, member).and_then(|record| record.network.as_ref());
    // Where the record speaks of an interface that went to make room for a successor, the account is right.
    let exists = |id: &str| world.cloud.network_interface(id).is_some();
    let made_room = member.frees_address || member.lost_address;
    let kept = kept.filter(|network| !made_room || exists(network.eni_id.as_str()));
    // Of one that has none yet, its item says it.
    let to_have = match item_of(world, member) {
        Some(item) => item.pointer("/persist/network/privateIp").and_then(|it| it.as_str()?.parse().ok()),
        None => member.private_ip,
    };
    kept.map(|network| network.private_ip).or(to_have.filter(|_| !member.lost_address))
}

/// The interface that a node keeps.
fn interface_of<'w>(world: &'w World, record: &Record) -> Option<&'w NetworkInterface> {
    world.cloud.network_interface(record.network.as_ref()?.eni_id.as_str())
}

fn is_held_by_others(cloud: &Cloud, record: &Record, address: Ipv4Addr) -> bool {
    let mut holders = cloud.network_interfaces().filter(|it| it.private_ips().any(|ip| ip == address));
    holders.any(|it| !is_ours(&it.tags) || tag(&it.tags, TAG_NODE) != record.name.as_str())
}

/// Whether an interface is one of the deployment's.
fn is_our_interface(cloud: &Cloud, id: &str) -> bool {
    cloud.network_interface(id).is_some_and(|it| is_ours(&it.tags))
}

/// The Elastic IP address that a node is to have.
fn wanted(record: &Record) -> Option<&str> {
    Some(record.config().persist.network.as_ref()?.elastic_ip.as_ref()?.as_str())
}

/// Whether a running node has the Elastic IP address that it is to have, and no other one.
fn has_elastic_ip(world: &World, record: &Record) -> bool {
    let Some(network) = &record.network else { return true };
    let on = world.cloud.elastic_ips_on(network.eni_id.as_str()).map(|it| it.id.as_str());
    on.eq(wanted(record))
}

/// Whether the Elastic IP address of a node is somebody else's, or gone: that only a person can mend.
fn lacks_elastic_ip(world: &World, record: &Record) -> bool {
    let code = record.blocked.as_ref().map(|blocked| blocked.code.as_str());
    let Some(wanted) = wanted(record) else { return false };
    match world.cloud.elastic_ip(wanted) {
        None => code == Some("elastic-ip-missing"),
        Some(ElasticIp { association: Some(held), .. }) => {
            code == Some("elastic-ip-in-use") && !is_our_interface(&world.cloud, &held.network_interface_id)
        }
        Some(ElasticIp { association: None, .. }) => false,
    }
}

/// Whether a running node only waits for an Elastic IP address that is not to be had.
pub(super) fn runs_without_elastic_ip(world: &World, record: &Record) -> bool {
    record.phase == Phase::Running && lacks_elastic_ip(world, record)
}

/// Whether nothing is left to be done for the addresses of a node at rest.
pub(super) fn addresses_settled(world: &World, record: &Record) -> bool {
    let policy = record.config().persist.network.as_ref();
    match record.phase {
        Phase::Running => has_elastic_ip(world, record) || lacks_elastic_ip(world, record),
        // A fixed address is held for the node while it rests, unless somebody else has it.
        Phase::Paused => policy.and_then(|network| network.private_ip).is_none_or(|address| {
            interface_of(world, record).is_some() || is_held_by_others(&world.cloud, record, address)
        }),
        Phase::Deallocated => {
            let no_elastic_ip = record
                .network
                .as_ref()
                .is_none_or(|network| world.cloud.elastic_ips_on(network.eni_id.as_str()).next().is_none());
            let frees = policy.is_some_and(|network| network.frees_address);
            (no_elastic_ip || wanted(record).is_some()) && !(frees && record.network.is_some())
        }
        _ => true,
    }
}

/// Whether a member whose item carries no verdict needs none: nothing of it was ever made, and its group
/// wishes for nothing; or its group is suspended and takes nobody in.
pub(super) fn needs_no_verdict(world: &World, node: &str) -> bool {
    let named = world.config.get(&format!("node#{node}")).and_then(|item| item["group"].as_str());
    let group = named.and_then(|name| world.groups.get(name));
    if group.is_some_and(|it| it.config.is_suspended() && member_of(world, node).is_none()) {
        return true;
    }
    let Some(member) = member_of(world, node).filter(|_| !world.records.contains_key(node)) else {
        return false;
    };
    let own = own_word(world, member).unwrap_or(member.wish.as_str());
    own == DesiredState::Deallocated.as_str() || own == DesiredState::Released.as_str()
}

/// Whether what a node's group says of it is in force.
pub(super) fn share_in_force(world: &World, record: &Record) -> bool {
    let Some(item) = world.config.get(&record.name.key()) else { return true };
    let group = item["group"].as_str().and_then(|name| world.groups.get(name));
    let share = group.and_then(|group| group.share(&record.name)).map(|share| share.hash());
    share.is_none() || record.config.share == share
}

/// Whether an edit of a group is in force.
pub(super) fn is_in_force(world: &World, name: &str, hash: &str) -> bool {
    world
        .groups
        .get(name)
        .is_some_and(|group| group.config.hash == hash && !group.removed && group.absent_since.is_none())
}

/// Whether a group has nothing left to decide, and its decisions have reached its members.
pub(super) fn is_at_rest(world: &World, group: &GroupRecord) -> bool {
    let has_item = world.config.get(&group.name.key()).is_some_and(|item| !config::is_absent(item));
    if group.config.is_suspended() {
        return true;
    }
    let item = world.config.get(&group.name.key());
    let is_refused = item.is_some_and(|item| item[config::STATUS]["accepted"] == false);
    if (has_item == group.removed && !is_refused) || (group.absent_since.is_some() && !group.removed) {
        return false;
    }
    let is_known = |member: &Member| match own_word(world, member).unwrap_or(member.wish.as_str()) {
        "running" | "paused" => {
            group.removed || record_of(world, member).is_some() || is_rejected(world, member)
        }
        _ => true,
    };
    let rolls = group.roll.as_ref().is_some_and(|roll| roll.stopped.is_none());
    group.items_to_put().is_empty() && !rolls && living(group).all(is_known) && is_decided(world, group)
}

/// Whether a node's group was removed and its item is there again, but refused: nothing is purged meanwhile.
pub(super) fn waits_for_its_group(world: &World, record: &Record) -> bool {
    let group = record.config().group.as_ref().and_then(|group| world.groups.get(group.as_str()));
    let item = |group: &GroupRecord| world.config.get(&group.name.key());
    group.is_some_and(|group| {
        group.removed && item(group).is_some_and(|it| it[config::STATUS]["accepted"] == false)
    })
}

/// Whether the group would decide now as it has decided.
fn is_decided(world: &World, group: &GroupRecord) -> bool {
    let mut items: BTreeMap<NodeName, Value> = BTreeMap::new();
    let mut taken = BTreeSet::new();
    for (id, item) in world.config.iter().filter(|(_, item)| !config::is_absent(item)) {
        let Some(node) = NodeName::from_key(id) else { continue };
        if item["group"] == group.name.as_str() || group.member(&node).is_some() {
            items.insert(node, item.clone());
        } else if group.name.could_name(&node) {
            taken.insert(node);
        }
    }
    let records: BTreeMap<NodeName, Record> = world
        .records
        .values()
        .filter(|record| items.contains_key(&record.name) || group.member(&record.name).is_some())
        .map(|record| (record.name.clone(), record.clone()))
        .collect();
    let seen = Seen { items: &items, all_items: true, records: &records, taken: &taken };
    plan(group.clone(), seen).record == *group
}

/// Takes note of what is there, once all checks have been made.
pub(super) fn follow(memory: &mut Memory, world: &World) {
    let cloud = &world.cloud;
    memory.kept.retain(|id, _| cloud.network_interface(id).is_some());
    // Also of those that are to be let go, and may be wanted back before they are.
    for (id, kept) in &mut memory.kept {
        let attachment = cloud.network_interface(id).and_then(|facts| facts.attachment.as_ref());
        kept.doomed = attachment.is_some_and(|held| held.delete_on_termination);
    }
    for record in world.records.values().filter(|record| lives(record)) {
        let Some(network) = &record.network else { continue };
        memory.first.entry(record.life.clone()).or_insert(network.private_ip);
        let Some(facts) = cloud.network_interface(network.eni_id.as_str()) else { continue };
        let doomed = facts.attachment.as_ref().is_some_and(|held| held.delete_on_termination);
        let (node, life) = (record.name.to_string(), record.life.clone());
        memory.kept.insert(network.eni_id.to_string(), Kept { node, life, doomed });
    }
    let up = |record: &&Record| matches!(record.phase, Phase::Attaching | Phase::Running);
    let wanted = |record: &&Record| record.goal == DesiredState::Running;
    let ran = world.records.values().filter(up).filter(wanted);
    memory.ran = ran.map(|record| record.name.to_string()).collect();
    memory.elastic.clear();
    for address in cloud.elastic_ips() {
        let held = address.association.as_ref();
        // With its instance an association may end by itself.
        let can_end = |interface: &str| {
            let attached = cloud.network_interface(interface).is_some_and(|it| it.attachment.is_some());
            attached && !cloud.settings().elastic_ips_survive_termination
        };
        let others = held.filter(|held| {
            !is_our_interface(cloud, &held.network_interface_id) && !can_end(&held.network_interface_id)
        });
        memory.elastic.insert(address.id.clone(), others.map(|held| held.id.clone()));
    }
}

/// 11. No address is promised to two members, and whoever has one keeps it.
pub(super) fn one_address(watch: &mut Watch, world: &World) -> Option<String> {
    for group in world.groups.values().filter(|group| !group.removed) {
        let mut held: BTreeMap<Ipv4Addr, &NodeName> = BTreeMap::new();
        for member in living(group) {
            let Some(address) = address_of(world, member) else { continue };
            if let Some(other) = held.insert(address, &member.name) {
                return Some(format!("{address} is {}'s and {other}'s", member.name));
            }
        }
    }
    for record in world.records.values().filter(|record| lives(record)) {
        let (Some(network), Some(first)) = (&record.network, watch.memory.first.get(&record.life)) else {
            continue;
        };
        let lost = member_of(world, record.name.as_str()).is_some_and(|member| member.lost_address);
        if network.private_ip != *first && !lost {
            return Some(format!("{} had {first}, and has {} now", record.name, network.private_ip));
        }
        let facts = interface_of(world, record);
        if let Some(other) = facts.filter(|facts| facts.private_ip != network.private_ip) {
            return Some(format!("{} is to have {}: {other:?}", record.name, network.private_ip));
        }
    }
    None
}

/// 12. Every address of a pool has one living member, whose interface holds it.
pub(super) fn pool(_: &Watch, world: &World) -> Option<String> {
    for group in world.groups.values().filter(|group| !group.removed && !group.config.is_suspended()) {
        for address in &group.config.part.private_ips {
            let of: Vec<&Member> =
                living(group).filter(|member| address_of(world, member) == Some(*address)).collect();
            let [member] = of.as_slice() else {
                let names: Vec<_> = of.iter().map(|member| member.name.as_str()).collect();
                return Some(format!("{address} of the pool of {} has the members {names:?}", group.name));
            };
            if is_rejected(world, member) {
                continue;
            }
            let Some(record) = record_of(world, member) else {
                return Some(format!("{}, which is to have {address}, has no record", member.name));
            };
            let holds = interface_of(world, record).is_some_and(|facts| facts.private_ip == *address);
            if !holds && !is_held_by_others(&world.cloud, record, *address) && !record.config().suspend {
                return Some(format!("{address} is {}'s, and nothing holds it", member.name));
            }
        }
        for member in living(group).filter(|member| member.made && !member.lost_address) {
            let Some(address) = member.private_ip else { continue };
            let own = item_of(world, member).and_then(|item| item.pointer("/persist/network/privateIp"));
            if own.is_some() && address_of(world, member) != Some(address) {
                return Some(format!("{} was made for {address} and has another one", member.name));
            }
        }
    }
    None
}

/// 13. An Elastic IP address is handed to one member, and never taken from anybody or given away.
pub(super) fn elastic_ip(watch: &mut Watch, world: &World) -> Option<String> {
    let mut handed: BTreeMap<&str, &NodeName> = BTreeMap::new();
    for member in world.groups.values().flat_map(living) {
        let Some(id) = &member.elastic_ip else { continue };
        if let Some(other) = handed.insert(id.as_str(), &member.name) {
            return Some(format!("{id} is {}'s and {other}'s", member.name));
        }
    }
    for (id, others) in &watch.memory.elastic {
        let Some(address) = world.cloud.elastic_ip(id) else {
            return Some(format!("{id} was released"));
        };
        let held = address.association.as_ref().map(|held| &held.id);
        if others.is_some() && held != others.as_ref() {
            return Some(format!("{id} was taken from a stranger's interface"));
        }
    }
    None
}

/// 13. Once all is quiet, whoever runs has its Elastic IP address, and nobody has one that is not its own.
pub(super) fn elastic_ip_at_rest(_: &Watch, world: &World) -> Option<String> {
    for address in world.cloud.elastic_ips() {
        let Some(held) = &address.association else { continue };
        let Some(facts) = world.cloud.network_interface(&held.network_interface_id) else {
            return Some(format!("{} is on an interface that is gone", address.id));
        };
        let Some(record) = world.records.get(tag(&facts.tags, TAG_NODE)).filter(|_| is_ours(&facts.tags))
        else {
            continue;
        };
        if wanted(record) != Some(address.id.as_str()) && !record.config().suspend {
            return Some(format!(
                "{} is on {} of {}, which has no use for it",
                address.id, facts.id, record.name
            ));
        }
    }
    for record in world.records.values().filter(|record| record.phase == Phase::Running) {
        if !record.config().suspend && !has_elastic_ip(world, record) && !lacks_elastic_ip(world, record) {
            return Some(format!("{} runs without its Elastic IP address {:?}", record.name, wanted(record)));
        }
    }
    None
}

/// 14. The interface of a living node goes only with its address handed to a successor.
pub(super) fn interface_kept(watch: &mut Watch, world: &World) -> Option<String> {
    for (id, kept) in &watch.memory.kept {
        if world.cloud.network_interface(id).is_some() || kept.doomed {
            continue;
        }
        let of_life = world.records.get(&kept.node).filter(|record| record.life == kept.life);
        let Some(record) = of_life.filter(|record| lives(record)) else { continue };
        if !may_go(world, record, watch.memory.first.get(&kept.life).copied()) {
            return Some(format!("{id} is gone, and {} is {}", kept.node, record.phase));
        }
    }
    None
}

/// Whether the interface of a node may be gone: the node is given up, and either another one has, or was made
/// for, its address, or it never was launched.
fn may_go(world: &World, record: &Record, address: Option<Ipv4Addr>) -> bool {
    let frees = record.config().persist.network.as_ref().is_some_and(|network| network.frees_address);
    let group = record.config().group.as_ref().and_then(|group| world.groups.get(group.as_str()));
    let others = group.into_iter().flat_map(|group| &group.members).filter(|it| it.name != record.name);
    let mut its = others.flat_map(|member| [address_of(world, member), member.private_ip]);
    let has_successor = its.any(|it| it.is_some() && it == address);
    frees && (has_successor || !record.launched)
}

/// 15. As many members as the capacity says are wished to run, and do; whoever is to rest rests.
pub(super) fn capacity(_: &Watch, world: &World) -> Option<String> {
    for group in world.groups.values().filter(|group| !group.removed && !group.config.is_suspended()) {
        let capacity = group.config.part.capacity as usize;
        let wished = living(group).filter(|member| member.wish == DesiredState::Running).count();
        if wished != capacity {
            return Some(format!("{wished} members of {} are wished to run, not {capacity}", group.name));
        }
        for member in living(group) {
            let Some(record) = record_of(world, member) else { continue };
            let is_rejected = is_rejected(world, member);
            let is_stopped = record.instance.as_ref().is_some_and(|it| it.stop_noted);
            if is_rejected || is_stopped || record.config().suspend || record.blocked.is_some() {
                continue;
            }
            let runs = record.phase == Phase::Running;
            let is_to_run = own_word(world, member).unwrap_or(member.wish.as_str()) == "running";
            if item_of(world, member).is_some() && runs != is_to_run {
                return Some(format!(
                    "{} is {}, and its group wishes {:?}",
                    member.name, record.phase, member.wish
                ));
            }
        }
    }
    None
}

/// 16. At most one member of a group is being replaced by its group's wish.
pub(super) fn one_at_a_time(watch: &mut Watch, world: &World) -> Option<String> {
    for (name, group) in &world.groups {
        let is_rolled = |node: &str| {
            let record = world.records.get(node).filter(|record| record.phase != Phase::Gone);
            record.is_some_and(|it| it.config().roll > it.rolled && it.goal == DesiredState::Running)
        };
        let is_back = |node: &str| {
            world.records.get(node).is_none_or(|it| {
                it.goal != DesiredState::Running
                    || it.phase == Phase::Gone
                    || (it.phase == Phase::Running && !it.is_unwanted())
            })
        };
        let rolling = &mut watch.memory.rolling;
        rolling.retain(|of, node| of != name || !is_back(node));
        let in_turn = living(group).map(|member| member.name.as_str());
        // Whoever has no instance, or one that ends anyway, serves the wish with its next launch.
        let ran = &watch.memory.ran;
        for node in in_turn.filter(|node| is_rolled(node) && ran.contains(*node)) {
            match rolling.get(name) {
                None => {
                    rolling.insert(name.clone(), node.to_owned());
                }
                Some(other) if other == node => {}
                Some(other) => {
                    return Some(format!("{node} is replaced while {other} is"));
                }
            }
        }
    }
    None
}

/// 14. Once all is quiet, no interface is under the tags of a node that keeps none.
pub(super) fn no_stray(_: &Watch, world: &World) -> Option<String> {
    let ours = world.cloud.network_interfaces().filter(|it| is_ours(&it.tags));
    let mut kept = ours.filter(|it| tag(&it.tags, TAG_PURPOSE) == Purpose::Interface.as_str());
    let stray = kept.find(|it| {
        let record = world.records.get(tag(&it.tags, TAG_NODE));
        record.is_some_and(|record| lives(record) && record.network.is_none() && !record.config().suspend)
    })?;
    Some(format!("{} of {} is in no record", stray.id, tag(&stray.tags, TAG_NODE)))
}

/// The end of a group, in words that are the same however it came to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupEnd {
    /// Its name.
    pub group: String,
    /// Its members: name, wish, the address each was made for, whether it was given up, whether it lost the address,
    /// whether it was handed an Elastic IP address.
    pub members: Vec<(String, DesiredState, Option<Ipv4Addr>, bool, bool, bool)>,
    /// Whether it is gone, and whether it stands in the middle of replacing its members.
    pub state: (bool, bool),
    /// Whether it has image backups, launches its members from one, and whether any are left.
    pub backups: (bool, bool, bool),
    /// What it tells the operator, but of backups: that depends on the moment, and names images.
    pub notices: Vec<String>,
}

/// The ends of all groups.
pub(super) fn ends(world: &World) -> Vec<GroupEnd> {
    let member = |it: &Member| {
        let has_elastic_ip = it.elastic_ip.is_some();
        (it.name.to_string(), it.wish, it.private_ip, it.given_up, it.lost_address, has_elastic_ip)
    };
    let end = |group: &GroupRecord| GroupEnd {
        group: group.name.to_string(),
        members: group.members.iter().map(member).collect(),
        state: (group.removed, group.roll.is_some()),
        backups: backups::end(world, group),
        notices: group.notices.iter().filter(|it| !it.starts_with("imageBackup")).cloned().collect(),
    };
    world.groups.values().map(end).collect()
}

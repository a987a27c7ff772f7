//! What a group wishes: which members there are, which run, and who has which address.
//!
//! Pure and the same from the same. What a member does is decided elsewhere; here a running member is
//! never paused for another's sake, and nothing that has run is ever given up for an address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use jiff::Timestamp;
use serde_json::Value;

use super::share::{asks_for, is_kept};
use super::{GroupRecord, Member, roll};
use crate::config::DesiredState::{self, Deallocated, Paused, Released, Running};
use crate::ids::{AllocationId, NodeName};
use crate::phase::Phase;
use crate::record::Record;

/// What a group decides from.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Items of nodes that name this group, and those of its members whatever they name.
    pub items: &'a BTreeMap<NodeName, Value>,
    /// Whether these are all that name it: only then is looked for members that the operator added.
    pub all_items: bool,
    /// The records of its members, as far as they have one.
    pub records: &'a BTreeMap<NodeName, Record>,
    /// Nodes whose names are taken by somebody else.
    pub taken: &'a BTreeSet<NodeName>,
    /// The time.
    pub now: Timestamp,
}

/// A group's decision.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The record as it is to be.
    pub record: GroupRecord,
    /// What was decided, a sentence each.
    pub notes: Vec<String>,
}

/// Decides what a group wishes, given what there is.
pub fn plan(record: GroupRecord, seen: Seen<'_>) -> Plan {
    let mut draft = Draft { record, seen, notes: Vec::new() };
    draft.list();
    if draft.record.removed {
        draft.give_all_up();
    } else {
        draft.judge();
        draft.fill_the_pool();
        draft.drop_surplus();
        draft.fill_capacity();
        draft.hand_out_elastic_ips();
        roll::advance(&mut draft);
        draft.tell();
    }
    Plan { record: draft.record, notes: draft.notes }
}

/// A group being decided on.
pub(super) struct Draft<'a> {
    pub(super) record: GroupRecord,
    seen: Seen<'a>,
    notes: Vec<String>,
}

impl Draft<'_> {
    pub(super) fn note(&mut self, what: String) {
        self.notes.push(what);
    }

    fn item(&self, member: &Member) -> Option<&Value> {
        self.seen.items.get(&member.name)
    }

    pub(super) fn record_of(&self, member: &Member) -> Option<&Record> {
        self.seen.records.get(&member.name).filter(|record| record.phase != Phase::Gone)
    }

    /// What the operator wrote into a member's item, if anything.
    fn own_word(&self, member: &Member) -> Option<DesiredState> {
        self.item(member).and_then(asks_for).flatten()
    }

    /// Whether a member runs or is to run, by the operator's word or else by the group's wish.
    pub(super) fn is_to_run(&self, member: &Member) -> bool {
        self.own_word(member).unwrap_or(member.wish) == Running
    }

    /// Whether a member has ever been sent on its way: then its address and its data are not given up for
    /// the pool's sake.
    fn was_launched(&self, member: &Member) -> bool {
        self.record_of(member).is_some_and(|record| record.launched)
    }

    /// The address that a member has, or is to have.
    fn address_of(&self, member: &Member) -> Option<Ipv4Addr> {
        let kept = self.record_of(member).and_then(|record| record.network.as_ref());
        if let Some(network) = kept {
            return Some(network.private_ip);
        }
        if member.lost_address {
            return None;
        }
        let said = self.item(member).and_then(|item| item.pointer("/persist/network/privateIp"));
        said.and_then(Value::as_str).and_then(|text| text.parse().ok()).or(member.private_ip)
    }

    fn living(&self) -> impl Iterator<Item = &Member> {
        self.record.members.iter().filter(|member| !member.given_up)
    }

    /// Takes in the nodes that the operator added, and forgets those of which nothing is left.
    fn list(&mut self) {
        let seen = self.seen;
        let (group, before) = (self.record.name.clone(), self.record.members.len());
        let is_left = |member: &Member| match seen.items.get(&member.name) {
            Some(item) => item["group"] == group.as_str(),
            None => {
                let is_coming = member.made && !member.item_put && !seen.taken.contains(&member.name);
                let lives = seen.records.get(&member.name).is_some_and(|record| {
                    record.phase != Phase::Gone && record.config().group.as_ref() == Some(&group)
                });
                is_coming || lives
            }
        };
        self.record.members.retain(is_left);
        if self.record.members.len() < before {
            self.note(format!("{} member(s) are no more", before - self.record.members.len()));
        }
        for member in &mut self.record.members {
            member.item_put |= seen.items.contains_key(&member.name);
        }
        if !seen.all_items || self.record.removed {
            return;
        }
        for (node, item) in seen.items {
            if item["group"] != group.as_str() || self.record.member(node).is_some() {
                continue;
            }
            if group.could_name(node) {
                let number = node.as_str().rsplit('-').next().and_then(|n| n.parse().ok()).unwrap_or(0);
                self.record.last_number = self.record.last_number.max(number);
            }
            let runs = seen.records.get(node).is_some_and(|record| record.goal == Running);
            let place = self.next_place();
            self.note(format!("{node} joins: its item names the group"));
            let wish = if runs { Running } else { Paused };
            self.record.members.push(Member { item_put: true, ..member(node.clone(), wish, place) });
            let recycle = self.record.config.part.recycle;
            if let Some(joined) = self.record.members.last_mut() {
                joined.recycle = recycle;
            }
        }
    }

    /// With the group all its members go.
    fn give_all_up(&mut self) {
        for member in &mut self.record.members {
            member.wish = Deallocated;
            member.elastic_ip = None;
        }
        self.record.roll = None;
        self.record.notices.clear();
    }

    /// Finds out who was given up, and gives a place to those who are wanted back.
    fn judge(&mut self) {
        for at in 0..self.record.members.len() {
            let member = &self.record.members[at];
            let asks = match self.item(member) {
                Some(item) => asks_for(item).is_none_or(is_kept(member.wish)),
                None => !member.item_put || self.is_awaited(member),
            };
            match (member.given_up, asks) {
                (false, false) => {
                    // The operator's word is in force before anybody takes the place.
                    let is_settled = self
                        .record_of(member)
                        .is_none_or(|record| matches!(record.goal, Deallocated | Released));
                    if is_settled {
                        let name = member.name.clone();
                        self.note(format!("{name} is given up"));
                        let member = &mut self.record.members[at];
                        member.given_up = true;
                        member.elastic_ip = None;
                        if member.wish == Running {
                            member.wish = Paused;
                        }
                    }
                }
                (true, true) => self.place_again(at),
                (false, true) | (true, false) => {}
            }
        }
    }

    /// Whether the item of a member is missing, and that is not yet confirmed.
    fn is_awaited(&self, member: &Member) -> bool {
        self.record_of(member).is_some_and(|record| !matches!(record.goal, Deallocated | Released))
    }

    /// Takes a member back that was given up: with its address, unless a successor has run on it.
    fn place_again(&mut self, at: usize) {
        let address = self.record.members[at].private_ip.filter(|_| self.record.members[at].frees_address);
        let successor = address.and_then(|address| {
            let is_other = |(n, member): &(usize, &Member)| {
                *n != at && !member.given_up && self.address_of(member) == Some(address)
            };
            self.record.members.iter().enumerate().find(is_other).map(|(n, _)| n)
        });
        let name = self.record.members[at].name.clone();
        let has_run = successor.is_some_and(|n| self.was_launched(&self.record.members[n]));
        if let Some(n) = successor.filter(|_| !has_run) {
            self.give_up(n, &format!("{name} is back, and it has never run"));
        }
        self.note(format!("{name} is wanted back"));
        let member = &mut self.record.members[at];
        member.given_up = false;
        member.frees_address = false;
        member.lost_address |= has_run;
        if member.wish == Deallocated {
            member.wish = Paused;
        }
    }

    /// Gives a member up that has never run: its address is free for others at once.
    fn give_up(&mut self, at: usize, why: &str) {
        let member = &mut self.record.members[at];
        member.wish = Deallocated;
        member.given_up = true;
        member.frees_address = true;
        member.elastic_ip = None;
        let name = member.name.clone();
        self.note(format!("{name} is deallocated: {why}"));
    }

    /// Makes a paused member for every address of the pool that has none.
    fn fill_the_pool(&mut self) {
        for address in self.record.config.part.private_ips.clone() {
            if self.living().any(|member| self.address_of(member) == Some(address)) {
                continue;
            }
            for member in &mut self.record.members {
                if member.given_up && member.private_ip == Some(address) {
                    member.frees_address = true;
                }
            }
            self.make(Some(address), Paused);
        }
    }

    /// Gives up members that were made for an address which is in the pool no more, and that never ran.
    fn drop_surplus(&mut self) {
        for at in 0..self.record.members.len() {
            let member = &self.record.members[at];
            let in_pool = member
                .private_ip
                .is_none_or(|address| self.record.config.part.private_ips.contains(&address));
            let surplus = member.made
                && !member.given_up
                && !in_pool
                && !self.was_launched(member)
                && self.own_word(member).is_none();
            if surplus {
                self.give_up(at, "its address is in the pool no more, and it has never run");
            }
        }
    }

    /// Wishes as many members to run as the capacity says; whoever runs goes on running, and of too many
    /// the youngest rest.
    fn fill_capacity(&mut self) {
        let capacity = self.record.config.part.capacity as usize;
        let mut running: Vec<usize> = self.at(|member| member.wish == Running);
        while running.len() > capacity {
            let Some(at) = running.pop() else { break };
            let name = self.record.members[at].name.clone();
            self.record.members[at].wish = Paused;
            self.note(format!("{name} is paused: the capacity is {capacity}"));
        }
        for at in self.candidates() {
            if running.len() >= capacity {
                return;
            }
            running.push(at);
            let name = self.record.members[at].name.clone();
            self.record.members[at].wish = Running;
            self.note(format!("{name} is resumed: the capacity is {capacity}"));
        }
        for _ in running.len()..capacity {
            self.make(None, Running);
        }
    }

    fn at(&self, which: impl Fn(&Member) -> bool) -> Vec<usize> {
        let living = self.record.members.iter().enumerate().filter(|(_, member)| !member.given_up);
        living.filter(|(_, member)| which(member)).map(|(at, _)| at).collect()
    }

    /// Who may be resumed, in this order: those that the operator runs anyway, those of the pool in its
    /// order, the rest by age. Whoever the operator paused stays paused.
    fn candidates(&self) -> Vec<usize> {
        let pool = &self.record.config.part.private_ips;
        let mut found: Vec<(bool, usize, usize)> = Vec::new();
        for at in self.at(|member| member.wish == Paused) {
            let member = &self.record.members[at];
            let runs_anyway = match self.own_word(member) {
                Some(Running) => true,
                Some(Paused | Deallocated | Released) => continue,
                None => false,
            };
            let address = self.address_of(member);
            let rank = pool.iter().position(|one| Some(*one) == address).unwrap_or(pool.len());
            found.push((!runs_anyway, rank, at));
        }
        found.sort_unstable();
        found.into_iter().map(|(_, _, at)| at).collect()
    }

    fn make(&mut self, address: Option<Ipv4Addr>, wish: DesiredState) {
        let Some((number, name)) = self.next_name() else {
            self.note("no name is left for another member".to_owned());
            return;
        };
        let place = self.next_place();
        self.record.last_number = number;
        let recycle = self.record.config.part.recycle;
        self.note(match address {
            Some(address) => format!("{name} is made for the address {address}"),
            None => format!("{name} is made"),
        });
        let made = Member { made: true, private_ip: address, recycle, ..member(name, wish, place) };
        self.record.members.push(made);
    }

    fn next_name(&self) -> Option<(u32, NodeName)> {
        let mut number = self.record.last_number;
        loop {
            number = number.checked_add(1)?;
            let name = self.record.name.member(number)?;
            if !self.seen.taken.contains(&name) && self.record.member(&name).is_none() {
                return Some((number, name));
            }
        }
    }

    /// The turn that the fewest living members have, so that subnets fill evenly.
    fn next_place(&self) -> u32 {
        let subnets = self.record.config.template.pointer("/launch/subnets").and_then(Value::as_array);
        let turns = subnets.map_or(1, |subnets| subnets.len().max(1)) as u32;
        let taken = |turn: u32| self.living().filter(|member| member.place % turns == turn).count();
        (0..turns).min_by_key(|turn| taken(*turn)).unwrap_or(0)
    }

    /// Hands an Elastic IP address to each member that runs and has none, in order; each keeps its own
    /// until it is given up.
    fn hand_out_elastic_ips(&mut self) {
        let held: BTreeSet<AllocationId> =
            self.living().filter_map(|member| member.elastic_ip.clone()).collect();
        let pool = self.record.config.part.elastic_ips.clone();
        let mut free = pool.into_iter().filter(|one| !held.contains(one));
        for at in self.without_elastic_ip() {
            let Some(one) = free.next() else { break };
            let name = self.record.members[at].name.clone();
            self.note(format!("{name} gets {one}"));
            self.record.members[at].elastic_ip = Some(one);
        }
    }

    /// Members that run and lack an Elastic IP address, those of the pool of addresses first, in its order.
    fn without_elastic_ip(&self) -> Vec<usize> {
        if self.record.config.part.elastic_ips.is_empty() {
            return Vec::new();
        }
        let pool = &self.record.config.part.private_ips;
        let lacks = |member: &Member| {
            let own = self.item(member).and_then(|item| item.pointer("/persist/network/elasticIp"));
            member.elastic_ip.is_none() && own.is_none() && self.is_to_run(member)
        };
        let mut found = self.at(lacks);
        found.sort_by_key(|at| {
            let address = self.address_of(&self.record.members[*at]);
            pool.iter().position(|one| Some(*one) == address).unwrap_or(pool.len())
        });
        found
    }

    /// Says what the operator should know of the group as it stands.
    fn tell(&mut self) {
        let mut notices = Vec::new();
        let names = |at: &[usize]| {
            at.iter().map(|at| self.record.members[*at].name.as_str()).collect::<Vec<_>>().join(", ")
        };
        let lacking = self.without_elastic_ip();
        if !lacking.is_empty() {
            notices.push(format!(
                "persist.network.elasticIpPool: too short: {} run(s) without an Elastic IP address; add one, or \
                 deallocate a member that has one",
                names(&lacking)
            ));
        }
        let pool = &self.record.config.part.elastic_ips;
        let kept = self.at(|member| member.elastic_ip.as_ref().is_some_and(|one| !pool.contains(one)));
        if !kept.is_empty() {
            notices.push(format!(
                "persist.network.elasticIpPool: {} keep(s) the Elastic IP address that was taken out, until deallocated",
                names(&kept)
            ));
        }
        let lost = self.at(|member| member.lost_address);
        if !lost.is_empty() {
            notices.push(format!(
                "persist.network.privateIpPool: {} came back after a successor had run on the address: another one",
                names(&lost)
            ));
        }
        if let Some(stopped) = self.record.roll.as_ref().and_then(|roll| roll.stopped.as_ref()) {
            notices.push(format!("recycle: {stopped}"));
        }
        self.record.notices = notices;
    }
}

fn member(name: NodeName, wish: DesiredState, place: u32) -> Member {
    Member {
        name,
        made: false,
        item_put: false,
        private_ip: None,
        elastic_ip: None,
        place,
        wish,
        recycle: 0,
        given_up: false,
        frees_address: false,
        lost_address: false,
    }
}

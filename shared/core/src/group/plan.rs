//! What a group wishes: which members there are, which run, and who has which address.
//!
//! Pure and the same from the same. What a member does is decided elsewhere; here a running member is
//! never paused for another's sake, and nothing that has run is ever given up for an address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use serde_json::Value;

use super::share::{asks_for, is_kept};
use super::{GroupRecord, Member, item_of, roll};
use crate::backup;
use crate::config;
use crate::config::DesiredState::{self, Deallocated, Paused, Released, Running};
use crate::ids::NodeName;
use crate::limits;
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
        draft.fall_silent();
    } else {
        draft.judge();
        draft.fill_the_pool();
        draft.drop_surplus();
        draft.free_addresses();
        draft.fill_capacity();
        draft.hand_out_elastic_ips();
        // Who was given up before its item was put has never been anything.
        draft.record.members.retain(|member| !(member.given_up && member.made && !member.item_put));
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

    /// Notes something of a member.
    pub(super) fn note_of(&mut self, at: usize, what: impl std::fmt::Display) {
        self.notes.push(format!("{} {what}", self.record.members[at].name));
    }

    pub(super) fn item(&self, member: &Member) -> Option<&Value> {
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

    /// The address that a member's interface has.
    fn kept_address(&self, member: &Member) -> Option<Ipv4Addr> {
        let kept = self.record_of(member).and_then(|record| record.network.as_ref());
        // An interface that was to go may be gone, and nobody have heard of it.
        let may_be_gone = member.frees_address || member.lost_address;
        let kept = kept.filter(|network| !(may_be_gone && network.missing_since.is_some()));
        kept.map(|network| network.private_ip)
    }

    /// The address that a member has, or is to have.
    fn address_of(&self, member: &Member) -> Option<Ipv4Addr> {
        let kept = self.kept_address(member);
        if kept.is_some() || member.lost_address {
            return kept;
        }
        self.asked_address(member)
    }

    /// The address that a member is to have by its item, or was made for.
    fn asked_address(&self, member: &Member) -> Option<Ipv4Addr> {
        let Some(item) = self.item(member) else { return member.private_ip };
        // The item counts, also where it is not what the group would have written.
        let said = item.pointer("/persist/network/privateIp").filter(|said| !said.is_null())?;
        said.as_str().and_then(|text| text.parse().ok()).or(member.private_ip)
    }

    /// Whether a member can be given up for another's sake: the group made it, it has never been sent on its
    /// way, and the operator has not asked for it.
    fn can_go(&self, member: &Member) -> bool {
        member.made && !member.given_up && !self.was_launched(member) && self.own_word(member).is_none()
    }

    fn living(&self) -> impl Iterator<Item = &Member> {
        self.record.members.iter().filter(|member| !member.given_up)
    }

    /// Takes in the nodes that the operator added, and forgets those of which nothing is left.
    fn list(&mut self) {
        let seen = self.seen;
        let (group, before) = (self.record.name.clone(), self.record.members.len());
        let is_removed = self.record.removed;
        let is_member = |node: &NodeName| {
            seen.records.get(node).is_some_and(|record| {
                record.phase != Phase::Gone && record.config().group.as_ref() == Some(&group)
            })
        };
        let is_left = |member: &Member| match seen.items.get(&member.name) {
            // An edit that is not in force takes nobody out.
            Some(item) => item["group"] == group.as_str() || is_member(&member.name),
            None => {
                let is_coming =
                    !is_removed && member.made && !member.item_put && !seen.taken.contains(&member.name);
                is_coming || is_member(&member.name)
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
                // A number far ahead is passed over when its turn comes, or none might be left.
                if number <= self.record.last_number.saturating_add(limits::CAPACITY_MAX) {
                    self.record.last_number = self.record.last_number.max(number);
                }
            }
            let runs = seen.records.get(node).is_some_and(|record| record.goal == Running);
            let (wish, place) = (if runs { Running } else { Paused }, self.next_place());
            let recycle = self.record.config.part.recycle;
            self.note(format!("{node} joins: its item names the group"));
            let (made, private_ip) = self.made_late(node, item);
            let joined =
                Member { item_put: true, recycle, made, private_ip, ..member(node.clone(), wish, place) };
            self.record.members.push(joined);
        }
    }

    /// Whether the group made a node that it does not know any more, and for which address: its item was put
    /// only after an edit of the pool had made it needless.
    fn made_late(&self, node: &NodeName, item: &Value) -> (bool, Option<Ipv4Addr>) {
        let number = self.record.name.could_name(node).then(|| node.as_str().rsplit('-').next());
        let number = number.flatten().and_then(|n| n.parse::<u32>().ok());
        let said = item.pointer("/persist/network/privateIp").and_then(Value::as_str);
        let address = said.and_then(|text| text.parse().ok());
        let like = Member { private_ip: address, ..member(node.clone(), Paused, 0) };
        let mut bare = item.clone();
        bare.as_object_mut().map(|map| map.remove(config::STATUS));
        let is_its_own = bare == item_of(&self.record.name, &like);
        match number.is_some_and(|n| n <= self.record.last_number) && is_its_own {
            true => (true, address),
            false => (false, None),
        }
    }

    /// With the group all its members go, and nothing is decided. What was wished of each is remembered, should
    /// the group be put back.
    fn fall_silent(&mut self) {
        self.record.roll = None;
        self.record.notices.clear();
    }

    /// Finds out who was given up, and gives a place to those who are wanted back.
    fn judge(&mut self) {
        for at in 0..self.record.members.len() {
            let member = &self.record.members[at];
            let asks = match self.item(member) {
                Some(item) => asks_for(item).is_none_or(is_kept(member.wish)) || self.has_overtaken(member),
                None => !member.given_up && (!member.item_put || self.is_awaited(member)),
            };
            // The operator's word is in force before anybody takes the place.
            let is_settled = self.record_of(member).is_none_or(|record| !record.goal.wants_a_node());
            match (member.given_up, asks) {
                (false, false) if is_settled => {
                    self.note_of(at, "is given up");
                    let member = &mut self.record.members[at];
                    member.given_up = true;
                    member.elastic_ip = None;
                    if member.wish == Running {
                        member.wish = Paused;
                    }
                }
                (true, true) => self.place_again(at),
                (false, _) | (true, false) => {}
            }
        }
    }

    /// Whether the item of a member is missing, and that is not yet confirmed.
    fn is_awaited(&self, member: &Member) -> bool {
        self.record_of(member).is_some_and(|record| record.goal.wants_a_node())
    }

    /// Whether a member that was given up because it had never run was sent on its way before it heard of it.
    fn has_overtaken(&self, member: &Member) -> bool {
        let is_given_up = member.given_up && member.wish == Deallocated && self.own_word(member).is_none();
        is_given_up && self.was_launched(member) && self.is_awaited(member)
    }

    /// Takes a member back that was given up: with its address, unless somebody else has it now who cannot
    /// be asked to give it up.
    fn place_again(&mut self, at: usize) {
        let kept = self.kept_address(&self.record.members[at]);
        let address = kept.or_else(|| self.asked_address(&self.record.members[at]));
        let successor = address.and_then(|_| {
            let others = (0..self.record.members.len()).filter(|n| *n != at);
            let mut others = others.filter(|n| !self.record.members[*n].given_up);
            others.find(|n| self.address_of(&self.record.members[*n]) == address)
        });
        let gives_way = successor.is_some_and(|n| self.can_go(&self.record.members[n]));
        let has_it = kept.is_some() && kept == address;
        if let Some(n) = successor.filter(|_| gives_way) {
            let name = &self.record.members[at].name;
            self.give_up(n, &format!("{name} is back, and it has never run"));
        } else if let Some(n) = successor.filter(|_| has_it) {
            self.record.members[n].lost_address = true;
        }
        self.note_of(at, "is wanted back");
        let is_taken = successor.is_some() && !gives_way && !has_it;
        let member = &mut self.record.members[at];
        member.given_up = false;
        member.frees_address = false;
        // One that was given another address keeps that one.
        member.lost_address = is_taken || (member.lost_address && kept.is_some());
        if is_taken {
            member.private_ip = address;
        }
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
        self.note_of(at, format!("is deallocated: {why}"));
    }

    /// Makes a paused member for every address of the pool that has none.
    fn fill_the_pool(&mut self) {
        for address in self.record.config.part.private_ips.clone() {
            if self.living().any(|member| self.address_of(member) == Some(address)) {
                continue;
            }
            self.make(Some(address), Paused);
        }
    }

    /// Has those who were given up give back the addresses that others are to have.
    fn free_addresses(&mut self) {
        let wanted: BTreeSet<Ipv4Addr> = self.living().filter_map(|member| self.address_of(member)).collect();
        for at in 0..self.record.members.len() {
            let member = &self.record.members[at];
            if member.given_up && self.address_of(member).is_some_and(|address| wanted.contains(&address)) {
                self.record.members[at].frees_address = true;
            }
        }
    }

    /// Gives up members that were made for an address and never ran: it is in the pool no more, or it is the
    /// one that AWS picked for another member before it could be held for this one.
    fn drop_surplus(&mut self) {
        for at in 0..self.record.members.len() {
            let member = &self.record.members[at];
            let made_for = member.private_ip.filter(|_| self.can_go(member));
            let Some(address) = made_for.filter(|one| self.address_of(member) == Some(*one)) else {
                continue;
            };
            if !self.record.config.part.private_ips.contains(&address) {
                self.give_up(at, "its address is in the pool no more, and it has never run");
                continue;
            }
            let is_held = |other: &&Member| self.kept_address(other) == Some(address);
            let holder = self.living().find(is_held).map(|holder| holder.name.clone());
            if let Some(holder) = holder.filter(|holder| *holder != member.name) {
                self.give_up(at, &format!("{holder} has its address, and it has never run"));
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
            self.record.members[at].wish = Paused;
            self.note_of(at, format!("is paused: the capacity is {capacity}"));
        }
        for at in self.candidates() {
            if running.len() >= capacity {
                return;
            }
            running.push(at);
            self.record.members[at].wish = Running;
            self.note_of(at, format!("is resumed: the capacity is {capacity}"));
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
        let mut found: Vec<(bool, usize, usize)> = Vec::new();
        for at in self.at(|member| member.wish == Paused) {
            let member = &self.record.members[at];
            let runs_anyway = match self.own_word(member) {
                Some(Running) => true,
                Some(Paused | Deallocated | Released) => continue,
                None => false,
            };
            found.push((!runs_anyway, self.rank(member), at));
        }
        found.sort_unstable();
        found.into_iter().map(|(_, _, at)| at).collect()
    }

    /// The place of a member's address in the pool; after all of them if it has none of it.
    fn rank(&self, member: &Member) -> usize {
        let (pool, address) = (&self.record.config.part.private_ips, self.address_of(member));
        pool.iter().position(|one| Some(*one) == address).unwrap_or(pool.len())
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

    /// The Elastic IP address that the operator names in a member's own item, unless that was refused.
    fn own_elastic_ip(&self, member: &Member) -> Option<&Value> {
        let own = self
            .item(member)
            .filter(|item| !config::is_refused(item))?
            .pointer("/persist/network/elasticIp")?;
        (!own.is_null()).then_some(own)
    }

    /// Hands an Elastic IP address to each member that runs and has none, in order; each keeps its own
    /// until it is given up, or the operator names another one for it.
    fn hand_out_elastic_ips(&mut self) {
        if self.record.config.template.pointer("/persist/network").is_none_or(Value::is_null) {
            // Without kept interfaces there is nothing to associate one with.
            self.record.members.iter_mut().for_each(|member| member.elastic_ip = None);
            return;
        }
        for at in self.at(|member| member.elastic_ip.is_some() && self.own_elastic_ip(member).is_some()) {
            self.record.members[at].elastic_ip = None;
        }
        let named = self.living().filter_map(|member| self.own_elastic_ip(member)?.as_str());
        let handed_out = self.living().filter_map(|member| Some(member.elastic_ip.as_ref()?.as_str()));
        let held: BTreeSet<&str> = named.chain(handed_out).collect();
        let mut pool = self.record.config.part.elastic_ips.clone();
        pool.retain(|one| !held.contains(one.as_str()));
        for (at, one) in self.without_elastic_ip().into_iter().zip(pool) {
            self.note_of(at, format!("gets {one}"));
            self.record.members[at].elastic_ip = Some(one);
        }
    }

    /// Members that run and lack an Elastic IP address, those of the pool of addresses first, in its order.
    fn without_elastic_ip(&self) -> Vec<usize> {
        if self.record.config.part.elastic_ips.is_empty() {
            return Vec::new();
        }
        let lacks = |member: &Member| {
            member.elastic_ip.is_none() && self.own_elastic_ip(member).is_none() && self.is_to_run(member)
        };
        let mut found = self.at(lacks);
        found.sort_by_key(|at| self.rank(&self.record.members[*at]));
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
                "persist.network.elasticIpPool: too short: there is none for {}; add one, or deallocate a member that has \
                 one",
                names(&lacking)
            ));
        }
        let pool = &self.record.config.part.elastic_ips;
        let kept = self.at(|member| member.elastic_ip.as_ref().is_some_and(|one| !pool.contains(one)));
        if !kept.is_empty() {
            notices.push(format!(
                "persist.network.elasticIpPool: what was taken out stays with {} until deallocated",
                names(&kept)
            ));
        }
        let lost = self.at(|member| member.lost_address);
        if !lost.is_empty() {
            notices.push(format!(
                "persist.network.privateIpPool: back to another address, since their own was another member's: {}",
                names(&lost)
            ));
        }
        if let Some(stopped) = self.record.roll.as_ref().and_then(|roll| roll.stopped.as_ref()) {
            notices.push(format!("recycle: {stopped}"));
        }
        notices.extend(backup::notices(&self.record));
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

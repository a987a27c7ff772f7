//! A small world for one group: a config table, the records of members, and the addresses of a subnet. Members
//! do what their configs say, one phase a tick, and nothing more than that.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::config::{NodeConfig, parse_group, transitions};
use crate::group::{Plan, Seen, plan};
use crate::ids::{InterfaceId, SubnetId};
use crate::plan::Scope;
use crate::record::{Accepted, Network};
use crate::removal;

#[derive(Clone)]
pub(super) struct World {
    pub(super) group: GroupRecord,
    /// The group's item, if it is there.
    pub(super) item: Option<Value>,
    pub(super) items: BTreeMap<NodeName, Value>,
    pub(super) records: BTreeMap<NodeName, Record>,
    /// Who has an address: a node, or a stranger.
    pub(super) holders: BTreeMap<Ipv4Addr, String>,
    /// The addresses that AWS picks from, one after the other.
    pub(super) free: Vec<u8>,
    /// Members that do not get any further.
    pub(super) stuck: BTreeSet<NodeName>,
    pub(super) now: Timestamp,
    pub(super) notes: Vec<String>,
}

impl World {
    pub(super) fn new(item: Value) -> Self {
        let now = Timestamp::from_second(1_790_000_000).unwrap();
        let (draft, part) = parse_group(&item);
        assert_eq!(draft.problems, []);
        let name = GroupName::parse("ring").unwrap();
        Self {
            group: GroupRecord::new(name, AcceptedGroup::new(&item, part), now),
            item: Some(item),
            items: BTreeMap::new(),
            records: BTreeMap::new(),
            holders: BTreeMap::new(),
            free: (100..200).collect(),
            stuck: BTreeSet::new(),
            now,
            notes: Vec::new(),
        }
    }

    pub(super) fn quiet(mut self) -> Self {
        self.settle();
        self
    }

    /// Ticks until all is at rest.
    pub(super) fn settle(&mut self) {
        self.notes.clear();
        for _ in 0..24 {
            self.tick();
        }
        let before = (self.group.clone(), self.records.clone());
        self.tick();
        assert!(before == (self.group.clone(), self.records.clone()), "no rest: {:?}", self.notes);
    }

    /// A minute: the group decides, items are put and judged, and each member does its next thing.
    pub(super) fn tick(&mut self) {
        self.decide();
        for node in self.items.keys().cloned().collect::<Vec<_>>() {
            self.configure(&node);
        }
        self.look_for_vanished();
        for node in self.records.keys().cloned().collect::<Vec<_>>() {
            if !self.stuck.contains(&node) {
                self.advance(&node);
            }
        }
    }

    /// The group's turn alone.
    pub(super) fn decide(&mut self) {
        self.now += SignedDuration::from_mins(1);
        match &self.item {
            Some(item) => {
                let (draft, part) = parse_group(item);
                assert_eq!(draft.problems, []);
                let accepted = AcceptedGroup::new(item, part);
                if accepted.hash != self.group.config.hash || self.group.removed {
                    self.group.put_in_force(accepted, self.now);
                }
            }
            None => self.group.removed = true,
        }
        let Plan { mut record, notes } = self.plan(self.group.clone());
        assert_eq!(self.plan(record.clone()).record, record, "decided again, it decides the same: {notes:?}");
        for (node, item) in record.items_to_put() {
            self.items.entry(node).or_insert(item);
        }
        for member in &mut record.members {
            member.item_put |= self.items.contains_key(&member.name);
        }
        self.notes.extend(notes);
        self.group = record;
    }

    fn plan(&self, group: GroupRecord) -> Plan {
        let name = group.name.clone();
        let is_own =
            |node: &NodeName, item: &Value| item["group"] == name.as_str() || group.member(node).is_some();
        let (own, others): (BTreeMap<_, _>, BTreeMap<_, _>) =
            self.items.clone().into_iter().partition(|(node, item)| is_own(node, item));
        let taken = others.into_keys().filter(|node| name.could_name(node)).collect();
        let seen = Seen { items: &own, all_items: true, records: &self.records, taken: &taken };
        plan(group, seen)
    }

    /// Judges an item and puts it in force, as far as nothing but its group has a say in it.
    fn configure(&mut self, node: &NodeName) {
        let item = &self.items[node];
        let share = if item["group"] == self.group.name.as_str() { self.group.share(node) } else { None };
        if share.as_ref().is_some_and(|share| share.must_be_placed(item)) {
            return;
        }
        let draft = share.as_ref().map_or_else(|| crate::config::parse(item), |share| share.draft(item));
        if item.get("group").is_some() && share.is_none() {
            return;
        }
        assert_eq!(draft.problems, [], "{item}");
        let (config, hash) = (draft.config, crate::config::hash(item));
        let (wanted, share) = (config.desired_state, share.map(|share| share.hash()));
        let needs_none = matches!(wanted, DesiredState::Deallocated | DesiredState::Released);
        let mut record = match self.records.remove(node) {
            None if needs_none => return,
            None => Record::new(node.clone(), "life-1".into(), accepted(&config), self.now),
            Some(record) if transitions::begins_anew(&record, wanted) => {
                let life = format!("{}+", record.life);
                transitions::next_life(&record, life, accepted(&config), self.now)
            }
            Some(record) => record,
        };
        let is_known = transitions::is_in_force(&record, &hash, share.as_deref(), wanted);
        if record.config.hash.is_empty() || !is_known {
            let accepted = Accepted { hash, share, ..accepted(&config) };
            transitions::put_in_force(&mut record, accepted, self.now);
        }
        self.records.insert(node.clone(), record);
    }

    fn look_for_vanished(&mut self) {
        let scope = Scope { deployment: "prod", now: self.now, tick: true, suspended: false };
        for record in self.records.values_mut().filter(|record| !self.items.contains_key(&record.name)) {
            if removal::is_expected(record) {
                *record = removal::vanished(record.clone(), None, scope).0;
            }
            let share = self.group.share(&record.name);
            let is_given_up = self.group.member(&record.name).is_some_and(|member| member.given_up);
            let is_told = |share: &Share| record.config.share.as_ref() == Some(&share.hash());
            let is_due = is_given_up && !record.phase.is_final();
            if let Some(share) = share.filter(|share| is_due && !is_told(share)) {
                share.impose(record, self.now);
            }
        }
    }

    /// What a member does next.
    fn advance(&mut self, node: &NodeName) {
        let Some(mut record) = self.records.remove(node) else { return };
        let goal = record.goal;
        match record.phase {
            Phase::Gone => {}
            _ if goal == DesiredState::Released => record.phase = Phase::Gone,
            Phase::Running if record.is_unwanted() => record.phase = Phase::Releasing,
            Phase::Launching if goal == DesiredState::Running => record.phase = Phase::Running,
            Phase::Running => {}
            _ => match goal {
                DesiredState::Running => self.launch(&mut record),
                DesiredState::Paused => {
                    record.phase = Phase::Paused;
                    if fixed(&record).is_some() {
                        self.take_address(&mut record);
                    }
                }
                DesiredState::Deallocated | DesiredState::Released => {
                    record.phase = Phase::Deallocated;
                    let frees = record.config().persist.network.as_ref().is_some_and(|it| it.frees_address);
                    if let Some(network) = record.network.take_if(|_| frees) {
                        self.holders.remove(&network.private_ip);
                    }
                }
            },
        }
        self.records.insert(node.clone(), record);
    }

    fn launch(&mut self, record: &mut Record) {
        if self.take_address(record) {
            (record.phase, record.launched) = (Phase::Launching, true);
            (record.rolled, record.recycled) = (record.config().roll, record.config().recycle);
            record.cycle += 1;
        }
    }

    /// Makes a member's interface, unless somebody else has the address.
    fn take_address(&mut self, record: &mut Record) -> bool {
        if record.network.is_some() || record.config().persist.network.is_none() {
            return true;
        }
        let address = fixed(record).unwrap_or_else(|| {
            let at = self.free.iter().position(|last| !self.holders.contains_key(&ip(*last))).unwrap();
            ip(self.free.remove(at))
        });
        if self.holders.contains_key(&address) {
            return false;
        }
        self.holders.insert(address, record.name.to_string());
        record.network = Some(Network {
            eni_id: InterfaceId::new(format!("eni-{address}")),
            private_ip: address,
            subnet_id: SubnetId::new("subnet-1"),
            zone: "us-east-1a".into(),
            secondary: Vec::new(),
            ipv6: Vec::new(),
            elastic_ip: None,
            missing_since: None,
        });
        true
    }

    /// The operator edits the group's item, and all comes to rest.
    pub(super) fn edit(&mut self, item: Value) {
        self.item = Some(item);
        self.settle();
    }

    /// The operator writes a state into a member's item, or takes it out, and all comes to rest.
    pub(super) fn say(&mut self, name: &str, state: Option<&str>) {
        self.write(name, state);
        self.settle();
    }

    /// The same, and nobody has looked yet.
    pub(super) fn write(&mut self, name: &str, state: Option<&str>) {
        let item = self.items.get_mut(&node(name)).unwrap();
        match state {
            Some(state) => item["desiredState"] = json!(state),
            None => drop(item.as_object_mut().unwrap().remove("desiredState")),
        }
    }

    /// The end of a member's retention.
    pub(super) fn purge(&mut self, name: &str) {
        let record = self.records.get_mut(&node(name)).unwrap();
        assert_eq!(record.phase, Phase::Deallocated);
        record.phase = Phase::Gone;
        if let Some(network) = record.network.take() {
            self.holders.remove(&network.private_ip);
        }
    }

    pub(super) fn member(&self, name: &str) -> &Member {
        self.group.member(&node(name)).unwrap()
    }

    pub(super) fn record(&self, name: &str) -> &Record {
        &self.records[&node(name)]
    }

    pub(super) fn record_mut(&mut self, name: &str) -> &mut Record {
        self.records.get_mut(&node(name)).unwrap()
    }

    /// Where each node stands, as `name phase address`, both names and addresses by what differs.
    pub(super) fn stand(&self) -> Vec<String> {
        let line = |record: &Record| {
            let address = record.network.as_ref().map(|it| it.private_ip.octets()[3]);
            let address = address.map_or("-".to_owned(), |last| last.to_string());
            format!("{} {} {address}", short(record), record.phase)
        };
        self.records.values().filter(|record| record.phase != Phase::Gone).map(line).collect()
    }

    /// The nodes that run.
    pub(super) fn running(&self) -> Vec<&str> {
        self.records.values().filter(|record| record.phase == Phase::Running).map(short).collect()
    }
}

fn short(record: &Record) -> &str {
    record.name.as_str().trim_start_matches("ring-")
}

fn accepted(config: &NodeConfig) -> Accepted {
    Accepted { hash: String::new(), share: None, notices: Vec::new(), config: config.clone() }
}

fn fixed(record: &Record) -> Option<Ipv4Addr> {
    record.config().persist.network.as_ref()?.private_ip
}

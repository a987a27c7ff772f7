//! What a member gets from its group: the template under its own item, and the group's wishes.

use std::net::Ipv4Addr;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{GroupRecord, Member};
use crate::backup::Backups;
use crate::config::{self, DesiredState, Draft, Problem};
use crate::ids::{AllocationId, GroupName, ImageId};
use crate::names::{TAG_GROUP, digest};
use crate::record::Record;

/// What a member's config has from its group.
#[derive(Clone, Debug, PartialEq)]
pub struct Share {
    group: GroupName,
    template: Value,
    wish: DesiredState,
    /// Whether the group is gone: then nothing else counts.
    overrides: bool,
    recycle: u32,
    elastic_ip: Option<AllocationId>,
    place: u32,
    frees_address: bool,
    lost_address: Option<Ipv4Addr>,
    given_up: bool,
    /// Whether images are made of members.
    backs_up: bool,
    /// The image that the operator named before members were launched from backups: what is said of it since then has
    /// no effect, and is no news to any member.
    pinned: Option<Option<ImageId>>,
}

impl Share {
    pub(super) fn of(record: &GroupRecord, member: &Member) -> Self {
        Self {
            group: record.name.clone(),
            template: record.config.template.clone(),
            wish: member.wish,
            overrides: record.removed,
            recycle: member.recycle,
            elastic_ip: member.elastic_ip.clone().filter(|_| !record.removed),
            place: member.place,
            frees_address: member.frees_address && !record.removed,
            lost_address: member.private_ip.filter(|_| member.lost_address),
            given_up: member.given_up,
            backs_up: record.config.part.image_backup.is_some() && !record.removed,
            pinned: record.backups.as_ref().and_then(Backups::pinned),
        }
    }

    /// A hash of all of it: a member whose record names another one is behind.
    pub fn hash(&self) -> String {
        digest(&[&format!("{self:?}")])[..32].to_owned()
    }

    /// Whether the member was given up and its item now asks for it again: the group must say first which
    /// address it gets.
    pub fn must_be_placed(&self, item: &Value) -> bool {
        self.given_up && !self.overrides && asks_for(item).is_some_and(is_kept(self.wish))
    }

    /// The group, if its item is gone and all its members are to go with it.
    pub fn removed_group(&self) -> Option<&GroupName> {
        self.overrides.then_some(&self.group)
    }

    /// Whether the group gave the member up because it had never run, and it has been sent on its way since:
    /// then the group must take it back first.
    pub fn is_overtaken(&self, record: &Record) -> bool {
        let is_given_up = self.given_up && !self.overrides && self.wish == DesiredState::Deallocated;
        is_given_up && record.launched && record.goal.wants_a_node()
    }

    /// The item of a member, completed by what its group says: maps merge leaf by leaf, lists replace.
    pub fn complete(&self, item: &Value) -> Value {
        let mut whole = self.template.clone();
        merge(&mut whole, item);
        name_one_template(&mut whole, item);
        whole.as_object_mut().map(|map| map.remove(config::STATUS));
        if self.overrides && whole["desiredState"] != DesiredState::Released.as_str() {
            whole["desiredState"] = Value::from(DesiredState::Deallocated.as_str());
        } else if whole["desiredState"].is_null() {
            whole["desiredState"] = Value::from(self.wish.as_str());
        }
        if let Some(pinned) = &self.pinned
            && let Some(launch) = whole.get_mut("launch").and_then(Value::as_object_mut)
        {
            launch.insert(
                "image".to_owned(),
                pinned.as_ref().map_or(Value::Null, |it| Value::from(it.as_str())),
            );
        }
        if let Some(network) = network_of(&mut whole) {
            if self.lost_address.is_some() {
                network.remove("privateIp");
            }
            if let Some(own) = &self.elastic_ip {
                let said = network.entry("elasticIp").or_insert(Value::Null);
                if said.is_null() {
                    *said = Value::from(own.as_str());
                }
            }
        }
        whole
    }

    /// The config of a member whose item says this.
    pub fn draft(&self, item: &Value) -> Draft {
        let mut draft = config::parse(&self.complete(item));
        if self.backs_up {
            self.refuse_what_is_kept(&mut draft);
        }
        let config = &mut draft.config;
        config.roll = self.recycle;
        config.place = Some(self.place);
        config.tags.insert(TAG_GROUP.to_owned(), self.group.to_string());
        if let Some(network) = config.persist.network.as_mut() {
            network.frees_address = self.frees_address;
            network.lost_address = self.lost_address;
        }
        draft
    }

    /// A member of a group with image backups starts from those, and so keeps no root and no data of its own.
    fn refuse_what_is_kept(&self, draft: &mut Draft) {
        let persist = &draft.config.persist;
        let kept = [("persist.root", persist.root.is_some()), ("persist.data", persist.data.is_some())];
        for (path, _) in kept.into_iter().filter(|(_, is_on)| *is_on) {
            draft.problems.push(Problem {
                path: path.to_owned(),
                value: "on".to_owned(),
                remedy: format!(
                    "imageBackup of group#{} and {path} exclude each other: remove one, or take this node out of the \
                     group",
                    self.group
                ),
            });
        }
    }

    /// Puts in force what concerns a member whose item is gone: what it is to give back.
    pub fn impose(&self, record: &mut Record, now: Timestamp) {
        let accepted = &mut record.config;
        accepted.share = Some(self.hash());
        accepted.config.suspend = self.template["suspend"] == true;
        if let Some(network) = accepted.config.persist.network.as_mut() {
            network.frees_address = self.frees_address;
            network.lost_address = self.lost_address;
            network.elastic_ip = network.elastic_ip.take().filter(|_| self.elastic_ip.is_some());
        }
        record.work_at = Some(now);
    }

    /// What to tell the operator in the member's item.
    pub fn notices(&self, item: &Value) -> Vec<String> {
        let mut notices = Vec::new();
        if let Some(address) = self.lost_address {
            notices.push(format!(
                "persist.network.privateIp: {address} belongs to another member now: this one gets another address"
            ));
        }
        if self.backs_up && item.pointer("/launch/image").is_some_and(|image| !image.is_null()) {
            notices.push(format!(
                "launch.image: has no effect while group#{} has imageBackup on: once there is a backup, all members are \
                 launched from it",
                self.group
            ));
        }
        let own = item.get("desiredState").is_some_and(|state| !state.is_null());
        if own && self.overrides {
            notices.push(format!(
                "desiredState: the item group#{} is gone, and with it all members are deallocated",
                self.group
            ));
        }
        notices
    }
}

/// What an item asks of its node by its own word, `Some(None)` if it leaves that to the group; `None` if it
/// asks for nothing that is known.
pub(super) fn asks_for(item: &Value) -> Option<Option<DesiredState>> {
    match item.get("desiredState") {
        None | Some(Value::Null) => Some(None),
        Some(word) => DesiredState::ALL.into_iter().find(|state| word == state.as_str()).map(Some),
    }
}

/// Whether there is to be a node, by the item's own word or else by the group's wish.
pub(super) fn is_kept(wish: DesiredState) -> impl Fn(Option<DesiredState>) -> bool {
    move |own| own.unwrap_or(wish).wants_a_node()
}

/// Puts one value over another: maps leaf by leaf, everything else whole.
fn merge(under: &mut Value, over: &Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (key, value) in over {
                merge(under.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (under, over) => *under = over.clone(),
    }
}

/// A launch template is named by its id or by its name: the member's way replaces the group's.
fn name_one_template(whole: &mut Value, item: &Value) {
    let own = |key: &str| item.pointer("/launch/template").and_then(|it| it.get(key)).is_some();
    let Some(template) = whole.pointer_mut("/launch/template").and_then(Value::as_object_mut) else { return };
    for (key, other) in [("id", "name"), ("name", "id")] {
        if own(key) && !own(other) {
            template.remove(other);
        }
    }
}

fn network_of(item: &mut Value) -> Option<&mut Map<String, Value>> {
    item.pointer_mut("/persist/network").and_then(Value::as_object_mut)
}

/// What the item of a group says of each member: all but what is of the group alone.
pub(super) fn template(item: &Value) -> Value {
    let mut template = item.clone();
    let Some(map) = template.as_object_mut() else { return Value::Object(Map::new()) };
    for own in ["id", config::STATUS, "capacity", "recycle", "imageBackup"] {
        map.remove(own);
    }
    if let Some(network) = network_of(&mut template) {
        network.remove("privateIpPool");
        network.remove("elasticIpPool");
    }
    template
}

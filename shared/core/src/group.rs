//! Groups: nodes made from one template.
//!
//! A group decides which members there are, which of them run, who has which address, and whose turn it is
//! to be replaced. It wishes and never acts: its wishes are in its record, and become part of its members'
//! configs. The operator's own word in a member's item always wins.

mod plan;
pub mod references;
mod roll;
mod share;

use std::net::Ipv4Addr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::backup::{self, Backups};
use crate::config::{DesiredState, GroupPart, hash, parse};
use crate::ids::{AllocationId, GroupName, ImageId, NodeName};
use crate::names::Tags;

pub use plan::{Plan, Seen, plan};
pub use roll::Roll;
pub use share::Share;

/// The schema of group records that this code writes. 2: a record may tell of backups, which code that knows only 1
/// would forget.
pub const SCHEMA_VERSION: u32 = 2;

/// What Perennial knows and intends for one group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupRecord {
    /// The schema it was written in.
    pub schema_version: u32,
    /// Grows by one with every write; every write is conditional on it.
    pub generation: u64,
    /// The group.
    pub name: GroupName,
    /// When it was last written.
    pub updated_at: Timestamp,
    /// The last accepted config.
    pub config: AcceptedGroup,
    /// The generation in which it was put in force.
    #[serde(default)]
    pub in_force_since: u64,
    /// Its members, the oldest first.
    #[serde(default)]
    pub members: Vec<Member>,
    /// The highest number that a member was given: none is given twice.
    #[serde(default)]
    pub last_number: u32,
    /// Since when the group's item is missing from the config table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absent_since: Option<Timestamp>,
    /// Whether it was confirmed that the item is gone: all members are given up.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub removed: bool,
    /// Since when it is so: from here on the retention of its backups counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed_at: Option<Timestamp>,
    /// Its image backups, from the first time they are turned on until all of them are gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backups: Option<Backups>,
    /// How far the replacement of all members is, while one is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roll: Option<Roll>,
    /// What the operator should know of the group as it stands, shortages above all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
}

/// The last accepted config of a group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AcceptedGroup {
    /// The hash of the item it was read from.
    pub hash: String,
    /// What the item says of each member: merged under the member's own item, leaf by leaf.
    pub template: Value,
    /// What it says of the group.
    #[serde(flatten)]
    pub part: GroupPart,
}

impl AcceptedGroup {
    /// The config of a group whose item says this.
    pub fn new(item: &Value, part: GroupPart) -> Self {
        Self { hash: hash(item), template: share::template(item), part }
    }

    /// The image that the operator names for all members, if any.
    pub fn image(&self) -> Option<ImageId> {
        self.template.pointer("/launch/image")?.as_str().and_then(ImageId::parse)
    }

    /// The operator's tags for all that is made for the group.
    pub fn tags(&self) -> Tags {
        parse(&self.template).config.tags
    }

    /// Whether nothing may be changed.
    pub fn is_suspended(&self) -> bool {
        self.template["suspend"] == true
    }
}

/// A member of a group, with what the group wishes of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// The node.
    pub name: NodeName,
    /// Whether the group made it; else the operator wrote its item.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub made: bool,
    /// Whether its item is known to have been there: without one it was deleted, not never made.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub item_put: bool,
    /// The address of the pool that it was made for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_ip: Option<Ipv4Addr>,
    /// The Elastic IP address that was handed to it, until it is given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elastic_ip: Option<AllocationId>,
    /// Its turn among the members, by which they are spread over subnets.
    #[serde(default)]
    pub place: u32,
    /// What the group wishes it to be.
    pub wish: DesiredState,
    /// The value of the group's `recycle` that it has been asked to serve.
    #[serde(default)]
    pub recycle: u32,
    /// Whether the operator, or the group, has given it up. Wanted back, it first gets a place again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub given_up: bool,
    /// Whether its interface is to go, so that its successor can have the address.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub frees_address: bool,
    /// Whether its address went to another member, which goes on having it: it is given another one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lost_address: bool,
}

impl GroupRecord {
    /// The first record of a group.
    pub fn new(name: GroupName, config: AcceptedGroup, now: Timestamp) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            generation: 0,
            name,
            updated_at: now,
            config,
            in_force_since: 0,
            members: Vec::new(),
            last_number: 0,
            absent_since: None,
            removed: false,
            removed_at: None,
            backups: None,
            roll: None,
            notices: Vec::new(),
        }
    }

    /// Puts an accepted config in force. After a removal the members are wished what they were before it.
    pub fn put_in_force(&mut self, config: AcceptedGroup, now: Timestamp) {
        backup::heed(self, &config, now);
        if self.removed {
            // An address that was taken out meanwhile may be another's by now.
            for member in &mut self.members {
                let is_in_pool = |one: &AllocationId| config.part.elastic_ips.contains(one);
                member.elastic_ip = member.elastic_ip.take().filter(is_in_pool);
            }
        }
        self.config = config;
        self.in_force_since = self.generation + 1;
        self.absent_since = None;
        (self.removed, self.removed_at) = (false, None);
    }

    /// The member of this name.
    pub fn member(&self, node: &NodeName) -> Option<&Member> {
        self.members.iter().find(|member| &member.name == node)
    }

    /// What a node gets from this group; `None` if the group does not know it as a member.
    pub fn share(&self, node: &NodeName) -> Option<Share> {
        self.member(node).map(|member| Share::of(self, member))
    }

    /// The names of those members whose items are still to be put, with what these say.
    pub fn items_to_put(&self) -> Vec<(NodeName, Value)> {
        let to_put = self.members.iter().filter(|member| member.made && !member.item_put);
        to_put.map(|member| (member.name.clone(), item_of(&self.name, member))).collect()
    }
}

/// The item of a member that its group makes: nothing but what no other member has.
fn item_of(group: &GroupName, member: &Member) -> Value {
    let mut item = serde_json::json!({ "id": member.name.key(), "group": group.as_str() });
    if let Some(address) = member.private_ip {
        item["persist"] = serde_json::json!({ "network": { "privateIp": address.to_string() } });
    }
    item
}

#[cfg(test)]
mod tests;

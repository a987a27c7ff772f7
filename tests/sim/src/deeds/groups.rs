//! What an operator, a stranger or chance does to groups, their addresses and their Elastic IP addresses.
//!
//! As everywhere among the deeds: what finds nothing to act on does nothing.

use std::net::Ipv4Addr;

use perennial_cloud::model::{AssignPrivateIpAddresses, AssociateAddress, CreateNetworkInterface};
use perennial_core::ids::NodeName;
use serde_json::{Value, json};

use crate::account::item_of;
use crate::run::Run;

/// The group of the stories.
pub const GROUP: &str = "cass";
/// Addresses for its pool, in both subnets of the account.
pub const POOL: [&str; 4] = ["10.0.1.20", "10.0.2.20", "10.0.1.21", "10.0.2.21"];

/// What a group of the stories begins with.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// How many members it keeps running.
    pub capacity: u32,
    /// So many of the addresses of [`POOL`].
    pub pool: usize,
    /// So many Elastic IP addresses.
    pub elastic_ips: usize,
}

/// The key of the group's item.
fn key() -> String {
    format!("group#{GROUP}")
}

/// The name of a member.
pub fn member(number: usize) -> String {
    format!("{GROUP}-{number}")
}

/// Edits of items.
impl Run {
    /// Puts the group's item as it is in the beginning, with Elastic IP addresses allocated for it.
    pub fn put_group(&mut self, shape: Shape) {
        let elastic_ips = self.allocate(shape.elastic_ips);
        let mut item = item_of(self, GROUP);
        item["id"] = json!(key());
        item["capacity"] = json!(shape.capacity);
        if shape.pool > 0 {
            item["persist"]["network"]["privateIpPool"] = json!(POOL[..shape.pool]);
        }
        if shape.elastic_ips > 0 {
            item["persist"]["network"]["elasticIpPool"] = json!(elastic_ips);
        }
        self.notes.insert("group item", item.to_string());
        self.put(item);
    }

    /// Puts the group's item once more, as it was when it was last put or edited.
    pub fn put_group_back(&mut self) {
        let is_there = self.world.0.borrow().config.contains_key(&key());
        let item = self.notes.get("group item").and_then(|text| serde_json::from_str(text).ok());
        if let Some(item) = item.filter(|_| !is_there) {
            self.put(item);
        }
    }

    /// Edits the group's item; one that is gone is not there to be edited.
    pub fn edit_group(&mut self, edit: impl FnOnce(&mut Value)) {
        let item = self.world.0.borrow().config.get(&key()).cloned();
        if let Some(mut item) = item {
            edit(&mut item);
            self.notes.insert("group item", item.to_string());
            self.put(item);
        }
    }

    /// Sets how many members are to run.
    pub fn set_capacity(&mut self, capacity: u32) {
        self.edit_group(|item| item["capacity"] = json!(capacity));
    }

    /// Sets the pool of addresses; with none the option goes.
    pub fn set_pool(&mut self, pool: &[&str]) {
        self.edit_group(|item| item["persist"]["network"]["privateIpPool"] = json!(pool));
    }

    /// Takes the pool of Elastic IP addresses to be those of the account that are noted as the group's.
    pub fn set_elastic_ips(&mut self, pool: &[String]) {
        self.edit_group(|item| item["persist"]["network"]["elasticIpPool"] = json!(pool));
    }

    /// Asks for all members to be replaced.
    pub fn roll(&mut self) {
        self.edit_group(|item| {
            let next = item["recycle"].as_u64().unwrap_or_default() + 1;
            item["recycle"] = json!(next);
        });
    }

    /// Deletes the group's item.
    pub fn delete_group(&mut self) {
        let mut world = self.world.0.borrow_mut();
        if world.config.remove(&key()).is_some() {
            world.stream.push(key());
        }
    }

    /// Leaves what a member is to be to its group.
    pub fn leave_it_to_the_group(&mut self, node: &str) {
        self.edit(node, |item| {
            item.as_object_mut().map(|item| item.remove("desiredState"));
        });
    }

    /// Puts the item of a member again that was deleted: as the group had made it.
    pub fn put_member_back(&mut self, node: &str) {
        let address = {
            let world = self.world.0.borrow();
            let group = world.groups.get(GROUP);
            let member = NodeName::parse(node).and_then(|name| group?.member(&name).cloned());
            if world.config.contains_key(&format!("node#{node}")) {
                return;
            }
            member.and_then(|member| member.private_ip)
        };
        let mut item = json!({"id": format!("node#{node}"), "group": GROUP});
        if let Some(address) = address {
            item["persist"] = json!({"network": {"privateIp": address.to_string()}});
        }
        self.put(item);
    }

    /// Puts a node of the operator's own into the group.
    pub fn join(&mut self, node: &str) {
        self.put(json!({"id": format!("node#{node}"), "group": GROUP}));
    }
}

/// Hands in the account.
impl Run {
    /// Allocates Elastic IP addresses, as far as the account's quota goes.
    pub fn allocate(&mut self, n: usize) -> Vec<String> {
        (0..n)
            .filter_map(|_| self.by_hand(|cloud| cloud.allocate_address(&[])).ok())
            .map(|it| it.id)
            .collect()
    }

    /// Every Elastic IP address of the account.
    pub fn elastic_ips(&self) -> Vec<String> {
        self.world.0.borrow().cloud.elastic_ips().map(|it| it.id.clone()).collect()
    }

    /// Disassociates an Elastic IP address by hand.
    pub fn disassociate(&mut self, allocation: &str) {
        let held = self.world.0.borrow().cloud.elastic_ip(allocation).and_then(|it| it.association.clone());
        if let Some(held) = held {
            let _ = self.by_hand(|cloud| cloud.disassociate_address(&held.id));
        }
    }

    /// A stranger takes an Elastic IP address, from whoever has it.
    pub fn take_elastic_ip(&mut self, allocation: &str) {
        let interface = match self.notes.get("stranger") {
            Some(interface) => interface.clone(),
            None => {
                let subnet_id = self.defaults.subnet_ids.first().cloned().unwrap_or_default();
                let request = CreateNetworkInterface { subnet_id, ..CreateNetworkInterface::default() };
                match self.by_hand(|cloud| cloud.create_network_interface(&request)) {
                    Ok(made) => made.id,
                    Err(_) => return,
                }
            }
        };
        self.notes.insert("stranger", interface.clone());
        let request = AssociateAddress {
            allocation_id: allocation.to_owned(),
            network_interface_id: Some(interface),
            allow_reassociation: Some(true),
            ..AssociateAddress::default()
        };
        let _ = self.by_hand(|cloud| cloud.associate_address(&request));
    }

    /// The stranger lets go of the Elastic IP address.
    pub fn free_elastic_ip(&mut self) {
        if let Some(id) = self.notes.remove("stranger") {
            let _ = self.by_hand(|cloud| cloud.delete_network_interface(&id));
        }
    }

    /// A stranger takes an address, if it is free.
    pub fn take(&mut self, address: &str) {
        // The account's subnets are 10.0.1.0/24, 10.0.2.0/24, …
        let Some(nth) = address.parse::<Ipv4Addr>().ok().map(|it| usize::from(it.octets()[2])) else {
            return;
        };
        let subnet = nth.checked_sub(1).and_then(|nth| self.defaults.subnet_ids.get(nth).cloned());
        let request = CreateNetworkInterface {
            subnet_id: subnet.unwrap_or_default(),
            private_ip_address: Some(address.to_owned()),
            ..CreateNetworkInterface::default()
        };
        if let Ok(made) = self.by_hand(|cloud| cloud.create_network_interface(&request)) {
            self.notes.insert("taker", made.id);
        }
    }

    /// Gives the interface of a node so many more addresses, if its instance's type takes them.
    pub fn assign_secondary(&mut self, node: &str, count: u32) {
        let Some(network) = self.record(node).and_then(|record| record.network) else { return };
        let request = AssignPrivateIpAddresses {
            network_interface_id: network.eni_id.to_string(),
            count: Some(count),
            ..AssignPrivateIpAddresses::default()
        };
        let _ = self.by_hand(|cloud| cloud.assign_private_ip_addresses(&request));
    }
}

/// What is seen of the group.
impl Run {
    /// The names of the members that the group has not given up, in its order.
    pub fn members(&self) -> Vec<String> {
        let world = self.world.0.borrow();
        let group = world.groups.get(GROUP).into_iter();
        let living = group.flat_map(|group| &group.members).filter(|member| !member.given_up);
        living.map(|member| member.name.to_string()).collect()
    }

    /// Those of them that run with nothing left to do.
    pub fn running_members(&self) -> Vec<String> {
        self.members().into_iter().filter(|node| self.is_settled(node)).collect()
    }

    /// The address that a node keeps.
    pub fn address(&self, node: &str) -> Option<String> {
        Some(self.record(node)?.network?.private_ip.to_string())
    }

    /// The Elastic IP addresses on the interface that a node keeps.
    pub fn elastic_ips_of(&self, node: &str) -> Vec<String> {
        let network = self.record(node).and_then(|record| record.network);
        let world = self.world.0.borrow();
        let on = network.iter().flat_map(|network| world.cloud.elastic_ips_on(network.eni_id.as_str()));
        on.map(|it| it.id.clone()).collect()
    }
}

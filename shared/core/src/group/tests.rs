//! What a group wishes, told as stories: edits of items on one side, and on the other what becomes of members.

mod capacity;
mod elastic_ips;
mod listing;
mod pool;
mod removal;
mod roll;
mod share;
mod walk;
mod world;

use std::net::Ipv4Addr;

use serde_json::json;

use super::*;
use crate::phase::Phase;
use crate::record::{Blocked, Record};
use world::World;

fn node(name: &str) -> NodeName {
    NodeName::parse(name).unwrap()
}

fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 1, last)
}

/// The item of a group with this capacity and these addresses and allocations in its pools.
fn group(capacity: u32, addresses: &[u8], allocations: &[&str]) -> Value {
    let addresses: Vec<String> = addresses.iter().map(|last| ip(*last).to_string()).collect();
    json!({"id": "group#ring", "capacity": capacity,
        "launch": {"template": {"name": "base"}, "subnets": ["subnet-1", "subnet-2"]},
        "persist": {"root": {}, "network": {"privateIpPool": addresses, "elasticIpPool": allocations}}})
}

/// A group of three with a pool of three, all of it at rest.
fn ring() -> World {
    World::new(group(3, &[11, 12, 13], &[])).quiet()
}

//! A group as its operator sees it: who its members are, which addresses each has, and what its record and its
//! item say.

use std::collections::{BTreeMap, BTreeSet};

use perennial_e2e::{Account, Interface};
use serde_json::{Value, json};

use crate::support::verdict;

/// The group of these stories.
pub(crate) const GROUP: &str = "ring";
/// Its item.
pub(crate) const ID: &str = "group#ring";

/// A group of this capacity with this pool of addresses, over both subnets.
pub(crate) fn group(account: &Account, capacity: usize, pool: &[&str]) -> Value {
    let defaults = account.server().defaults();
    json!({
        "id": ID,
        "capacity": capacity,
        "launch": {
            "template": {"name": defaults.launch_template_name},
            "instanceTypes": ["m5.large", "c5.large"],
            "subnets": defaults.subnet_ids,
        },
        "persist": {
            "root": {"snapshotEvery": "1m", "keep": 2},
            "network": {"privateIpPool": pool},
        },
        "tags": {"team": "storage"},
    })
}

/// The name of a member.
pub(crate) fn member(number: u32) -> String {
    format!("{GROUP}-{number}")
}

/// Puts an item and waits until it is accepted.
pub(crate) async fn put(account: &Account, item: &Value) -> Value {
    account.put(item).await;
    verdict(account, item["id"].as_str().unwrap(), true).await
}

/// Writes the operator's word into a member's item, or takes it out.
pub(crate) async fn wants(account: &Account, node: &str, state: Option<&str>) {
    let mut item = account.item(node).await;
    item.as_object_mut().unwrap().remove("_status");
    match state {
        Some(state) => item["desiredState"] = json!(state),
        None => drop(item.as_object_mut().unwrap().remove("desiredState")),
    }
    account.put(&item).await;
}

/// Waits until each of these members stands in this phase with nothing under way.
pub(crate) async fn stand(account: &Account, phases: &[(&str, &str)]) {
    for (node, phase) in phases {
        account
            .until(&format!("{node} is {phase}"), async || {
                let record = account.record(node).await;
                let is_quiet = ["claim", "outbox", "blocked"].iter().all(|field| record[*field].is_null());
                (record["phase"] == *phase && is_quiet).then_some(())
            })
            .await;
    }
}

/// The one interface of a member.
pub(crate) async fn interface(account: &Account, node: &str) -> Interface {
    let mut interfaces = account.interfaces(node).await;
    assert_eq!(interfaces.len(), 1, "{node} has one interface: {interfaces:?}");
    interfaces.remove(0)
}

/// Asserts that every address of the account is on one interface only, and which node has which.
pub(crate) async fn assert_addresses(account: &Account, wanted: &[(&str, &str)]) {
    let mut held: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (node, _) in wanted {
        for interface in account.interfaces(node).await {
            held.entry(interface.private_ip).or_default().push((*node).to_owned());
        }
    }
    let wanted: BTreeMap<String, Vec<String>> =
        wanted.iter().map(|(node, ip)| ((*ip).to_owned(), vec![(*node).to_owned()])).collect();
    assert_eq!(held, wanted);
}

/// Elastic IP addresses and the interface that each is associated with.
pub(crate) async fn associations(account: &Account) -> BTreeMap<String, String> {
    let answer = account.ec2("DescribeAddresses", &[]).await;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = answer["addressesSet"].as_array().cloned().unwrap_or_default();
    all.iter().map(|it| (text(&it["allocationId"]), text(&it["networkInterfaceId"]))).collect()
}

/// Allocates an Elastic IP address as the operator would.
pub(crate) async fn allocate(account: &Account) -> String {
    let answer = account.ec2("AllocateAddress", &[("Domain", "vpc")]).await;
    answer["allocationId"].as_str().unwrap().to_owned()
}

/// The record of the group.
pub(crate) async fn record(account: &Account) -> Value {
    account.group_record(GROUP).await
}

/// The names of all nodes that have an item.
pub(crate) async fn items(account: &Account) -> BTreeSet<String> {
    let scanned = account.dynamodb("Scan", &json!({"TableName": account.table("config")})).await;
    let all = scanned["Items"].as_array().cloned().unwrap_or_default();
    let ids = all.iter().filter_map(|item| item["id"]["S"].as_str());
    ids.filter_map(|id| id.strip_prefix("node#")).map(str::to_owned).collect()
}

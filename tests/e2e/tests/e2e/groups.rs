//! Groups, pools of addresses and Elastic IP addresses, by the real functions.

use std::collections::{BTreeMap, BTreeSet};

use perennial_e2e::{Account, Guest, Instance, Setup};
use serde_json::{Value, json};

use crate::ring::{
    GROUP, ID, allocate, assert_addresses, associations, group, interface, items, member, put, record, stand,
    wants,
};
use crate::support::{assert_no_failures, interrupt, running, ticks_pass, verdict};

const POOL: [&str; 3] = ["10.0.1.21", "10.0.1.22", "10.0.2.23"];

/// The members of the ring at work.
async fn begun(account: &Account, numbers: &[u32]) -> (Vec<Instance>, Vec<Guest>) {
    let (mut instances, mut guests) = (Vec::new(), Vec::new());
    for number in numbers {
        let guest = account.guest(&member(*number));
        instances.push(running(account, &member(*number), 1).await);
        account.until("the guest writes", async || guest.stays().first().cloned()).await;
        guests.push(guest);
    }
    (instances, guests)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ring_interrupted_at_once_comes_back_with_its_addresses_and_every_byte() {
    let account = Account::start(Setup { speed: 40.0, functions: true }).await;
    let public = [allocate(&account).await, allocate(&account).await];
    let mut item = group(&account, 3, &POOL);
    item["persist"]["network"]["elasticIpPool"] = json!(public);
    put(&account, &item).await;
    let (first, guests) = begun(&account, &[1, 2, 3]).await;
    let addresses: Vec<&str> = first.iter().map(|it| it.private_ip.as_str()).collect();
    assert_eq!(addresses, POOL, "in the order of the pool, over both subnets");
    let associated: BTreeMap<String, String> =
        public.iter().cloned().zip(first.iter().map(|it| it.interface.clone())).collect();
    assert_eq!(associations(&account).await, associated, "to the first two");

    for instance in &first {
        interrupt(&account, instance, true);
    }
    for (n, before) in first.iter().enumerate() {
        let now = running(&account, &member(n as u32 + 1), 2).await;
        assert_eq!((&now.private_ip, &now.interface), (&before.private_ip, &before.interface));
        assert_ne!(now.id, before.id);
        let guest = &guests[n];
        account.until("the guest writes on", async || (guest.stays().len() == 2).then_some(())).await;
        guest.assert_nothing_lost();
    }
    assert_eq!(associations(&account).await, associated, "and the Elastic IP addresses are where they were");

    let short = account
        .until("the shortage is told in the item", async || {
            let notices = account.config_item(ID).await["_status"]["notices"].to_string();
            notices.contains("elasticIpPool").then_some(notices)
        })
        .await;
    assert!(short.contains("ring-3"), "{short}");
    assert_eq!(record(&account).await["notices"].to_string(), short, "and in the record");
    let third = allocate(&account).await;
    item["persist"]["network"]["elasticIpPool"] = json!([public[0], public[1], third]);
    put(&account, &item).await;
    account
        .until("the shortage is healed", async || {
            let is_healed = associations(&account).await.get(&third) == Some(&first[2].interface);
            let notices = account.config_item(ID).await["_status"]["notices"].to_string();
            (is_healed && !notices.contains("elasticIpPool")).then_some(())
        })
        .await;
    assert_no_failures(&account);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_follow_the_pool_and_nothing_that_ran_is_given_up_for_it() {
    let account = Account::start(Setup { speed: 40.0, functions: true }).await;
    put(&account, &group(&account, 1, &POOL)).await;
    let (first, _guests) = begun(&account, &[1]).await;
    stand(&account, &[("ring-2", "paused"), ("ring-3", "paused")]).await;
    // Each address is held from the first moment, so that nobody else can be given it.
    assert_addresses(&account, &[("ring-1", POOL[0]), ("ring-2", POOL[1]), ("ring-3", POOL[2])]).await;

    // The operator resumes one by itself; it runs beside what the group keeps running.
    wants(&account, "ring-3", Some("running")).await;
    running(&account, "ring-3", 1).await;
    assert_eq!(account.live("ring-1").await[0].id, first[0].id, "and nobody else is touched for it");

    // One address goes whose member never ran, one whose member runs, and one comes.
    put(&account, &group(&account, 1, &["10.0.2.23", "10.0.1.40"])).await;
    stand(&account, &[("ring-2", "deallocated"), ("ring-4", "paused")]).await;
    account
        .until("the address of the one that never ran is free", async || {
            account.interfaces("ring-2").await.is_empty().then_some(())
        })
        .await;
    assert_eq!(interface(&account, "ring-4").await.private_ip, "10.0.1.40");
    assert_eq!(account.live("ring-1").await[0].id, first[0].id, "what ran stays");
    assert_eq!(account.record("ring-1").await["goal"], "running");

    // The option is taken out altogether.
    let mut without = group(&account, 1, &[]);
    without["persist"]["network"] = json!({});
    put(&account, &without).await;
    stand(&account, &[("ring-4", "deallocated"), ("ring-1", "running"), ("ring-3", "running")]).await;
    assert_no_failures(&account);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deallocated_member_of_the_pool_has_a_successor_with_its_address() {
    let account = Account::start(Setup { speed: 40.0, functions: true }).await;
    put(&account, &group(&account, 1, &POOL[..1])).await;
    let (first, guests) = begun(&account, &[1]).await;
    wants(&account, "ring-1", Some("deallocated")).await;
    let second = running(&account, "ring-2", 1).await;
    assert_eq!(second.private_ip, POOL[0], "the successor has the address");
    assert_ne!(second.interface, first[0].interface);
    let images = account.images("ring-1").await;
    assert_eq!(images.len(), 1, "the data of the first is kept for its retention: {images:?}");

    // Wanted back, it comes with every byte, and with another address, since its own has been used.
    wants(&account, "ring-1", Some("running")).await;
    let back = account
        .until("the first one runs again", async || {
            let live = account.live("ring-1").await;
            live.into_iter().find(|it| it.state == "running" && it.id != first[0].id)
        })
        .await;
    assert_ne!(back.private_ip, POOL[0]);
    account.until("its guest writes", async || (guests[0].stays().len() == 2).then_some(())).await;
    guests[0].assert_nothing_lost();
    let notices = account.item("ring-1").await["_status"]["notices"].to_string();
    assert!(notices.contains(POOL[0]) && notices.contains("another address"), "{notices}");
    assert_eq!(account.live("ring-2").await[0].id, second.id);
    assert_no_failures(&account);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_are_replaced_one_at_a_time_and_the_capacity_goes_up_and_down() {
    let account = Account::start(Setup { speed: 40.0, functions: true }).await;
    let mut item = group(&account, 2, &POOL);
    put(&account, &item).await;
    let (first, guests) = begun(&account, &[1, 2]).await;
    item["recycle"] = json!(1);
    put(&account, &item).await;
    for number in [1, 2] {
        running(&account, &member(number), 2).await;
    }
    account.until("it is done", async || record(&account).await["roll"].is_null().then_some(())).await;
    let ended = |id: &str| {
        let calls = account.calls(0);
        let ends = calls
            .iter()
            .find(|it| it["operation"] == "TerminateInstances" && it["parameters"].to_string().contains(id));
        ends.and_then(|it| it["seq"].as_u64()).unwrap_or_default()
    };
    let launched: Vec<u64> = account
        .calls(0)
        .iter()
        .filter(|it| it["operation"] == "RunInstances" && it["status"] == 200)
        .filter_map(|it| it["seq"].as_u64())
        .collect();
    assert!(ended(&first[0].id) < launched[2] && launched[2] < ended(&first[1].id), "one after the other");

    item["capacity"] = json!(3);
    put(&account, &item).await;
    running(&account, "ring-3", 1).await;
    item["capacity"] = json!(1);
    put(&account, &item).await;
    stand(&account, &[("ring-3", "paused"), ("ring-2", "paused"), ("ring-1", "running")]).await;
    assert_addresses(&account, &[("ring-1", POOL[0]), ("ring-2", POOL[1]), ("ring-3", POOL[2])]).await;
    for guest in &guests {
        guest.assert_nothing_lost();
    }
    // A member that is paused by hand still counts: no other takes its place.
    wants(&account, "ring-1", Some("paused")).await;
    stand(&account, &[("ring-1", "paused")]).await;
    ticks_pass(&account, 3).await;
    assert!(account.live("ring-2").await.is_empty() && account.live("ring-3").await.is_empty());
    assert_no_failures(&account);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_is_deleted_takes_its_members_along_and_back_and_leaves_nothing_after_retention() {
    // Retention at its shortest, one hour, passes in half a minute.
    let account = Account::start(Setup { speed: 120.0, functions: true }).await;
    let mut item = group(&account, 2, &POOL);
    item["retention"] = json!({"after": "1h"});
    put(&account, &item).await;
    let (first, guests) = begun(&account, &[1, 2]).await;
    account.remove_item(ID).await;
    stand(&account, &[("ring-1", "deallocated"), ("ring-2", "deallocated"), ("ring-3", "deallocated")]).await;
    put(&account, &item).await;
    for (n, before) in first.iter().enumerate() {
        let now = running(&account, &member(n as u32 + 1), 2).await;
        assert_eq!((&now.private_ip, &now.interface), (&before.private_ip, &before.interface));
        account.until("the guest writes", async || (guests[n].stays().len() == 2).then_some(())).await;
        guests[n].assert_nothing_lost();
    }
    stand(&account, &[("ring-3", "paused")]).await;

    account.remove_item(ID).await;
    for number in [1, 2, 3] {
        let node = member(number);
        account
            .until(&format!("{node} is gone"), async || {
                (account.record(&node).await["phase"] == "gone").then_some(())
            })
            .await;
        let (volumes, snapshots) = (account.volumes(&node).await, account.snapshots(&node).await);
        assert!(volumes.is_empty() && snapshots.is_empty(), "{volumes:?} {snapshots:?}");
        let (images, interfaces) = (account.images(&node).await, account.interfaces(&node).await);
        assert!(images.is_empty() && interfaces.is_empty(), "{images:?} {interfaces:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_wrong_with_a_group_is_refused_whole_with_its_place_and_makes_nothing() {
    let account = Account::start(Setup { speed: 20.0, functions: true }).await;
    put(&account, &group(&account, 0, &["10.0.1.50"])).await;
    stand(&account, &[("ring-1", "paused")]).await;
    let before = items(&account).await;
    assert_eq!(before, BTreeSet::from(["ring-1".to_owned()]));
    let taken = account.server().defaults().subnet_ids[0].clone();
    let made = [("SubnetId", taken.as_str()), ("PrivateIpAddress", "10.0.1.60")];
    account.ec2("CreateNetworkInterface", &made).await;

    let mut bad = group(&account, 2, &[]);
    bad["id"] = json!("group#bad");
    bad["capacity"] = json!(-1);
    bad["desiredState"] = json!("running");
    bad["persist"]["network"] = json!({"privateIp": "10.0.1.9", "elasticIpPool": ["eipalloc-0123456789abcdef0"],
        "privateIpPool": ["10.0.1.3", "10.0.1.255", "10.0.9.1", "10.0.1.50", "10.0.1.60", "10.0.1.60", "10.0.1.300"]});
    account.put(&bad).await;
    let problems = verdict(&account, "group#bad", false).await["problems"].clone();
    let said = |path: &str, value: &str, remedy: &str| {
        let all = problems.as_array().unwrap();
        let found =
            all.iter().find(|it| it["path"] == path).unwrap_or_else(|| panic!("{path}: {problems:#}"));
        assert_eq!(found["value"], value, "{found}");
        assert!(found["remedy"].as_str().unwrap().contains(remedy), "{found}");
    };
    said("capacity", "-1", "from 0 to 500");
    said("desiredState", "running", "of a node, not of a group");
    said("persist.network.privateIp", "10.0.1.9", "write privateIpPool");
    said("persist.network.elasticIpPool[0]", "eipalloc-0123456789abcdef0", "no such Elastic IP address");
    said("persist.network.privateIpPool[0]", "10.0.1.3", "AWS reserves");
    said("persist.network.privateIpPool[1]", "10.0.1.255", "AWS reserves");
    said("persist.network.privateIpPool[2]", "10.0.9.1", "outside every subnet");
    said("persist.network.privateIpPool[3]", "10.0.1.50", "in the pool of group#ring");
    said("persist.network.privateIpPool[4]", "10.0.1.60", "in use by eni-");
    said("persist.network.privateIpPool[5]", "10.0.1.60", "named twice");
    said("persist.network.privateIpPool[6]", "10.0.1.300", "an IPv4 address");

    let nodes: [(&str, Value, &str, &str); 3] = [
        ("node#lost", json!({"group": "nobody"}), "group", "there is no group of this name"),
        ("node#ring-9", json!({"launch": group(&account, 1, &[])["launch"]}), "id", "one of group#ring"),
        (
            "node#pooled",
            json!({"launch": group(&account, 1, &[])["launch"], "persist": {"network": {"privateIpPool": []}}}),
            "persist.network.privateIpPool",
            "of a group, not of a node",
        ),
    ];
    for (id, mut item, path, remedy) in nodes {
        item["id"] = json!(id);
        account.put(&item).await;
        let problems = verdict(&account, id, false).await["problems"].clone();
        let found = problems.as_array().unwrap().iter().find(|it| it["path"] == path);
        let found = found.unwrap_or_else(|| panic!("{id} {path}: {problems:#}"));
        assert!(found["remedy"].as_str().unwrap().contains(remedy), "{found}");
    }
    ticks_pass(&account, 2).await;
    let mut expected = before;
    expected.extend(["lost", "ring-9", "pooled"].map(str::to_owned));
    assert_eq!(items(&account).await, expected, "no member was made");
    assert_eq!(account.interfaces("pooled").await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn functions_that_die_while_a_group_is_made_leave_each_address_with_one_member() {
    let account = Account::start(Setup { speed: 40.0, functions: true }).await;
    let public = allocate(&account).await;
    let traps = [
        ("dynamodb", "PutItem"),
        ("ec2", "CreateNetworkInterface"),
        ("ec2", "AssociateAddress"),
        ("dynamodb", "TransactWriteItems"),
    ];
    for (service, operation) in traps {
        for function in ["config-change", "reconcile"] {
            let lost = json!([{"service": service, "operation": operation, "function": function, "when": "after",
                "times": 4, "error": {"code": "InternalError", "message": "the answer is lost", "status": 500}}]);
            account.control("POST", "faults", &lost);
        }
    }
    let mut item = group(&account, 2, &POOL);
    item["persist"]["network"]["elasticIpPool"] = json!([public]);
    account.put(&item).await;
    for _ in 0..3 {
        account.control("POST", "kill", &json!({"function": "config-change"}));
        account.control("POST", "kill", &json!({"function": "reconcile"}));
        ticks_pass(&account, 1).await;
    }
    let lost = account.calls(0).iter().filter(|it| it["error"] == "InternalError").count();
    assert!(lost >= 4, "answers were lost: {lost}");
    verdict(&account, ID, true).await;
    for number in [1, 2] {
        running(&account, &member(number), 1).await;
    }
    stand(&account, &[("ring-3", "paused")]).await;
    assert_addresses(&account, &[("ring-1", POOL[0]), ("ring-2", POOL[1]), ("ring-3", POOL[2])]).await;
    assert_eq!(items(&account).await, BTreeSet::from([1, 2, 3].map(member)), "no member twice");
    let first = interface(&account, "ring-1").await.id;
    account
        .until("the Elastic IP address is on the first member", async || {
            (associations(&account).await.get(&public) == Some(&first)).then_some(())
        })
        .await;
    assert!(record(&account).await["members"].as_array().is_some_and(|it| it.len() == 3), "{GROUP}");
}

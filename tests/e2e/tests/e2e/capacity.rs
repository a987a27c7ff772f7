//! The ladder: the next type, then on-demand, then patience.

use perennial_e2e::{Account, Instance, Setup};
use serde_json::{Value, json};

use crate::support::{NODE, assert_no_failures, begun, interrupt, launches, running, terminate, told, types};

/// Sets how many more instances there are of a type and market in the node's zone; null for no limit.
fn capacity(account: &Account, instance_type: &str, market: &str, available: Value) {
    let request = json!({"instanceType": instance_type, "zone": "us-east-1a", "market": market, "available": available});
    account.control("POST", "capacity", &request);
}

fn kind(instance: &Instance) -> (&str, bool) {
    (instance.instance_type.as_str(), instance.spot)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_capacity_the_next_type_then_on_demand_then_a_block_that_lifts_itself() {
    let account = Account::start(Setup::default()).await;
    let (first, guest) = begun(&account).await;
    assert_eq!(kind(&first), ("m5.large", true));

    capacity(&account, "m5.large", "spot", json!(0));
    interrupt(&account, &first, false);
    let second = running(&account, NODE, 2).await;
    assert_eq!(kind(&second), ("c5.large", true), "the next type");

    capacity(&account, "c5.large", "spot", json!(0));
    interrupt(&account, &second, false);
    let third = running(&account, NODE, 3).await;
    assert_eq!(kind(&third), ("m5.large", false), "on-demand");

    terminate(&account, &third).await;
    for instance_type in ["m5.large", "c5.large"] {
        capacity(&account, instance_type, "on-demand", json!(0));
    }
    let blocked = account
        .until("the node is blocked", async || {
            let record = account.record(NODE).await;
            (!record["blocked"].is_null()).then_some(record)
        })
        .await;
    assert_eq!((&blocked["blocked"]["code"], &blocked["phase"]), (&json!("capacity"), &json!("launching")));
    for part in ["message", "remedy", "since", "retryAt"] {
        assert!(
            blocked["blocked"][part].as_str().is_some_and(|text| !text.is_empty()),
            "{part}: {blocked:#}"
        );
    }
    let since = account.last_call();
    account
        .until("it is tried again", async || {
            let calls = account.calls(since);
            calls.iter().any(|it| it["operation"] == "RunInstances").then_some(())
        })
        .await;
    assert!(account.live(NODE).await.is_empty());

    capacity(&account, "m5.large", "spot", Value::Null);
    let fourth = running(&account, NODE, 4).await;
    assert_eq!(kind(&fourth), ("m5.large", true), "spot again, first of all");
    assert_eq!(fourth.private_ip, first.private_ip);
    account.until("the guest writes", async || (guest.stays().len() == 4).then_some(())).await;
    guest.assert_nothing_lost();
    assert_eq!(launches(&account).len(), 4, "one instance a cycle");
    let events = told(&account, NODE);
    let about_blocks: Vec<&str> = types(&events).into_iter().filter(|it| it.ends_with("locked")).collect();
    assert_eq!(about_blocks, ["Node Blocked", "Node Unblocked"], "told once each");
    assert_no_failures(&account);
}

//! A bad edit is refused whole, with all that is wrong with it, and touches nothing.

use perennial_e2e::{Account, Setup};
use serde_json::{Value, json};

use crate::support::{NODE, begun, item, running, ticks_pass, told, types, verdict};

/// The node's item.
const ID: &str = "node#db";

/// The item with every fault of the list: each at a path of its own.
fn spoiled(account: &Account) -> Value {
    let mut bad = item(account);
    bad["launch"]["template"] = json!({"name": "no-such-template"});
    bad["launch"]["subnets"] = json!([account.server().defaults().subnet_ids[0], "subnet-0123456789abcdef0"]);
    bad["launch"]["instanceType"] = json!("m5.large");
    bad["persist"]["root"] = json!({"snapshotEvery": "five minutes", "keep": "3"});
    bad["persist"]["network"]["privateIp"] = json!("10.9.9.9");
    bad["desiredState"] = json!("stop");
    bad
}

const FAULTS: [&str; 7] = [
    "desiredState",
    "launch.instanceType",
    "launch.subnets[1]",
    "launch.template.name",
    "persist.network.privateIp",
    "persist.root.keep",
    "persist.root.snapshotEvery",
];

fn rejections(account: &Account, node: &str) -> Vec<Value> {
    let mut events = told(account, node);
    events.retain(|event| event["detailType"] == "Config Rejected");
    events
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_edit_is_refused_whole_and_the_running_node_is_not_touched() {
    let account = Account::start(Setup::default()).await;
    let (first, _guest) = begun(&account).await;
    let in_force = account.record(NODE).await["config"].take();

    account.put(&spoiled(&account)).await;
    let status = verdict(&account, ID, false).await;
    let problems = status["problems"].as_array().unwrap();
    let paths: Vec<&str> = problems.iter().map(|problem| problem["path"].as_str().unwrap()).collect();
    assert_eq!(paths, FAULTS, "all at once: {status:#}");
    for problem in problems {
        for part in ["value", "remedy"] {
            assert!(problem[part].as_str().is_some_and(|text| !text.is_empty()), "{part}: {problem}");
        }
    }
    ticks_pass(&account, 3).await;
    assert_eq!(account.record(NODE).await["config"], in_force, "the last accepted config stays in force");
    assert_eq!(running(&account, NODE, 1).await.id, first.id);
    let rejected = rejections(&account, NODE);
    assert_eq!(rejected.len(), 1, "published once: {rejected:#?}");
    assert_eq!(rejected[0]["detail"]["problems"].as_array().unwrap().len(), FAULTS.len());

    let mut mended = item(&account);
    mended["persist"]["root"]["keep"] = json!(3);
    account.put(&mended).await;
    verdict(&account, ID, true).await;
    account
        .until("the mended config is in force", async || {
            (account.record(NODE).await["config"]["persist"]["root"]["keep"] == 3).then_some(())
        })
        .await;
    assert_eq!(running(&account, NODE, 1).await.id, first.id, "an edit is no reason to launch");
    let expected = ["Config Accepted", "Node Running", "Config Rejected", "Config Accepted"];
    assert_eq!(types(&told(&account, NODE)), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_item_of_a_new_node_makes_nothing() {
    let account = Account::start(Setup::default()).await;
    account.put(&spoiled(&account)).await;
    let status = verdict(&account, ID, false).await;
    assert_eq!(status["problems"].as_array().unwrap().len(), FAULTS.len(), "{status:#}");
    ticks_pass(&account, 2).await;
    assert_eq!(account.record(NODE).await, Value::Null);
    assert!(account.state_keys().await.is_empty(), "no node in the state table");
    assert!(account.instances(NODE).await.is_empty() && account.interfaces(NODE).await.is_empty());
    assert_eq!(rejections(&account, NODE).len(), 1);

    let odd = json!({"id": "node#Bad Name", "launch": {"template": {"name": "perennial-demo"}}});
    account.put(&odd).await;
    let status = verdict(&account, "node#Bad Name", false).await;
    assert_eq!(status["problems"][0]["path"], "id", "{status:#}");

    account.put(&item(&account)).await;
    verdict(&account, ID, true).await;
    running(&account, NODE, 1).await;
}

/// Edits that make no sense, where their problem is, and a part of what helps.
fn nonsense() -> [(&'static str, Value, &'static str); 6] {
    [
        ("desiredState", json!("stop"), "paused"),
        ("desiredState", json!(true), "paused"),
        ("recycle", json!(1), "2 or more"),
        ("retention.after", json!("0h"), "1h"),
        ("retention.after", json!("soon"), "1h"),
        ("retention.delete", json!("volumes"), "list"),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_is_answered_with_path_value_and_what_is_allowed_and_changes_nothing() {
    let account = Account::start(Setup::default()).await;
    let mut good = item(&account);
    good["recycle"] = json!(2);
    account.put(&good).await;
    let first = running(&account, NODE, 1).await;
    let in_force = account.record(NODE).await["config"].take();
    for (path, value, helps) in nonsense() {
        let mut bad = good.clone();
        match path.split_once('.') {
            Some((map, name)) => bad[map] = json!({name: value}),
            None => bad[path] = value.clone(),
        }
        account.put(&bad).await;
        let status = verdict(&account, ID, false).await;
        let problems = status["problems"].as_array().unwrap();
        assert_eq!(problems.len(), 1, "{status:#}");
        assert_eq!(problems[0]["path"], path, "{status:#}");
        let said = problems[0]["value"].as_str().unwrap_or_default();
        assert!(said.contains(value.as_str().unwrap_or_default()), "the value {value}: {status:#}");
        assert!(problems[0]["remedy"].as_str().unwrap().contains(helps), "{helps:?}: {status:#}");
    }
    ticks_pass(&account, 2).await;
    assert_eq!(account.record(NODE).await["config"], in_force, "what was accepted stays in force");
    assert_eq!(running(&account, NODE, 1).await.id, first.id);
    assert_eq!(account.instances(NODE).await.len(), 1);
}

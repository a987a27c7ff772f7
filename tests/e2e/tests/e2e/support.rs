//! The main story in pieces, and what must hold of the account at its end.

use std::collections::BTreeSet;

use perennial_e2e::{Account, Guest, Instance, Snapshot};
use serde_json::{Value, json};

/// The node of most stories.
pub(crate) const NODE: &str = "db";
/// The address it keeps.
pub(crate) const ADDRESS: &str = "10.0.1.20";
/// The snapshots it keeps.
pub(crate) const KEEP: usize = 2;
/// The deployment, as the template names it by default.
pub(crate) const DEPLOYMENT: &str = "perennial";

/// An item of a node with everything kept, in the first subnet.
pub(crate) fn item(account: &Account) -> Value {
    let defaults = account.server().defaults();
    json!({
        "id": format!("node#{NODE}"),
        "launch": {
            "template": {"name": defaults.launch_template_name},
            "instanceTypes": ["m5.large", "c5.large"],
            "subnets": [defaults.subnet_ids[0]],
        },
        "persist": {"root": {"snapshotEvery": "1m", "keep": KEEP}, "network": {"privateIp": ADDRESS}},
        "tags": {"team": "storage"},
    })
}

/// Whether a record says that the node runs in this cycle and every event of that is out.
pub(crate) fn runs(record: &Value, cycle: u64) -> bool {
    record["phase"] == "running"
        && record["cycle"] == cycle
        && record["outbox"].is_null()
        && record["claim"].is_null()
        && record["blocked"].is_null()
}

/// Waits until the node runs in this cycle; returns its instance.
pub(crate) async fn running(account: &Account, node: &str, cycle: u64) -> Instance {
    account
        .until(&format!("{node} runs in cycle {cycle}"), async || {
            runs(&account.record(node).await, cycle).then_some(())
        })
        .await;
    only(account.live(node).await)
}

/// The one live instance.
pub(crate) fn only(live: Vec<Instance>) -> Instance {
    assert_eq!(live.len(), 1, "one live instance: {live:#?}");
    live.into_iter().next().unwrap()
}

/// Puts the item and waits until the node runs and its guest has begun to write.
pub(crate) async fn begun(account: &Account) -> (Instance, Guest) {
    account.put(&item(account)).await;
    let guest = account.guest(NODE);
    let first = running(account, NODE, 1).await;
    account.until("the guest writes", async || guest.stays().first().cloned()).await;
    (first, guest)
}

/// Waits until the node runs in this cycle with nothing left to be cleaned up, and asserts all that a recovery
/// promises. Returns the instance.
pub(crate) async fn recovered(account: &Account, guest: &Guest, first: &Instance, cycle: u64) -> Instance {
    let now = running(account, NODE, cycle).await;
    assert_ne!(now.id, first.id);
    assert_eq!((now.private_ip.as_str(), &now.interface), (ADDRESS, &first.interface), "the same address");
    assert!(!now.root_deleted && !now.interface_deleted, "root and interface outlive the instance: {now:?}");
    let stays = account
        .until("the guest writes on the new root", async || {
            let stays = guest.stays();
            stays.iter().any(|stay| stay.instance == now.id).then_some(stays)
        })
        .await;
    assert_eq!(stays.len() as u64, cycle, "the guest was on one instance a cycle: {stays:#?}");
    guest.assert_nothing_lost();
    cleaned(account, &now).await;
    assert!(account.writes(&now.root) >= stays.last().unwrap().last);
    assert_eq!(only(account.live(NODE).await).id, now.id);
    assert_eq!(launches(account).len() as u64, cycle, "one launch a cycle");
    now
}

/// Waits until only the present root and its snapshots are left, `KEEP` of them completed.
async fn cleaned(account: &Account, now: &Instance) {
    account
        .until("old root, node image and final snapshot are gone", async || {
            let volumes = account.volumes(NODE).await;
            let only_root = volumes.len() == 1 && volumes[0].id == now.root;
            let no_images = account.images(NODE).await.is_empty();
            let snapshots = account.snapshots(NODE).await;
            let no_finals = snapshots.iter().all(|snapshot| snapshot.purpose() != "final");
            (only_root && no_images && no_finals && completed(&snapshots).len() == KEEP).then_some(())
        })
        .await;
    let interfaces = account.interfaces(NODE).await;
    assert_eq!(interfaces.len(), 1, "the kept interface and no other: {interfaces:?}");
    assert_eq!(interfaces[0].id, now.interface);
    account
        .until("the record forgets what is gone", async || {
            let record = account.record(NODE).await;
            (record["superseded"].is_null() && record["image"].is_null() && record["final"].is_null())
                .then_some(())
        })
        .await;
}

/// The completed snapshots that rotation counts.
pub(crate) fn completed(snapshots: &[Snapshot]) -> Vec<&Snapshot> {
    snapshots.iter().filter(|it| it.state == "completed" && it.purpose() != "final").collect()
}

/// Client tokens of all launches that EC2 carried out, or may have: those without a definite refusal.
pub(crate) fn launches(account: &Account) -> BTreeSet<String> {
    tokens(&account.calls(0))
}

/// The same of the launches for one node, by their tags.
pub(crate) fn launches_for(account: &Account, node: &str) -> BTreeSet<String> {
    let mut calls = account.calls(0);
    calls.retain(|call| speaks_of(call, node));
    tokens(&calls)
}

/// Whether a parameter of a call is this very word.
pub(crate) fn speaks_of(call: &Value, word: &str) -> bool {
    call["parameters"].as_object().is_some_and(|it| it.values().any(|value| value == word))
}

fn tokens(calls: &[Value]) -> BTreeSet<String> {
    let may_be = |call: &&Value| {
        let refused = call["status"].as_u64().is_some_and(|status| (400..500).contains(&status));
        !refused && call["error"] != "InsufficientInstanceCapacity"
    };
    let launches =
        calls.iter().filter(|call| call["operation"] == "RunInstances" && !call["function"].is_null());
    launches.filter(may_be).map(|call| text(&call["parameters"]["ClientToken"])).collect()
}

/// Waits for a verdict on an item as it stands now.
pub(crate) async fn verdict(account: &Account, id: &str, accepted: bool) -> Value {
    account
        .until(&format!("the verdict on {id} is {accepted}"), async || {
            let status = account.config_item(id).await["_status"].take();
            (status["accepted"] == accepted).then_some(status)
        })
        .await
}

/// Waits until the tick has gone by so many times.
pub(crate) async fn ticks_pass(account: &Account, times: usize) {
    let ended = || {
        let done = |it: &&Value| it["function"] == "reconcile" && it["outcome"] == "ok";
        account.invocations().iter().filter(done).count()
    };
    let wanted = ended() + times;
    account.until(&format!("{times} ticks"), async || (ended() >= wanted).then_some(())).await;
}

/// Own events about a node in order, each id once. That snapshots lag is told of the deployment, in other words at
/// each pass.
pub(crate) fn told(account: &Account, node: &str) -> Vec<Value> {
    let events = account.own_events(node).into_iter();
    each_once(events.filter(|it| it["detailType"] != "Snapshots Lagging"))
}

/// Each event once; asserts that repeats of an id say the same.
pub(crate) fn each_once(events: impl Iterator<Item = Value>) -> Vec<Value> {
    let mut told: Vec<Value> = Vec::new();
    for event in events {
        match told.iter().find(|known| known["detail"]["id"] == event["detail"]["id"]) {
            Some(known) => assert_eq!(
                (&known["detailType"], &known["detail"]),
                (&event["detailType"], &event["detail"]),
                "a repeated event says the same"
            ),
            None => told.push(event),
        }
    }
    told
}

/// The detail-types of events.
pub(crate) fn types(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["detailType"].as_str().unwrap()).collect()
}

/// Of these own events, those of an interruption survived in cycle 1.
pub(crate) const ONE_INTERRUPTION: [&str; 5] =
    ["Config Accepted", "Node Running", "Node Interrupted", "Node Running", "Node Recovered"];

/// The text of a JSON string.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// Takes the instance back, with or without notice.
pub(crate) fn interrupt(account: &Account, instance: &Instance, notice: bool) {
    account.control("POST", "interrupt", &json!({"instanceId": instance.id, "notice": notice}));
}

/// Terminates an instance as an operator would.
pub(crate) async fn terminate(account: &Account, instance: &Instance) {
    account.ec2("TerminateInstances", &[("InstanceId.1", &instance.id)]).await;
}

/// Whether a tick was given up since a busy machine kept it waiting: the next one does what it could not.
pub(crate) fn is_late_tick(letter: &Value) -> bool {
    let reason = letter["reason"].as_str().unwrap_or_default();
    letter["trigger"] == "Scheduled Event" && (reason.contains("timed out") || reason.contains("Timedout"))
}

/// Asserts that no event was given up, no invocation failed, and no log asks for a person.
pub(crate) fn assert_no_failures(account: &Account) {
    let failed: Vec<Value> = account
        .invocations()
        .into_iter()
        .filter(|it| !matches!(it["outcome"].as_str(), None | Some("ok")))
        .collect();
    assert!(failed.is_empty(), "failed invocations: {failed:#?}");
    assert!(account.dead_letters().is_empty(), "{:#?}", account.dead_letters());
    let log = account.log();
    let alarming: Vec<&str> =
        log.lines().filter(|line| line.contains("ERROR") || line.contains("WARN")).collect();
    assert!(alarming.is_empty(), "alarming log lines: {alarming:#?}");
}

/// Asserts that blocks were told of, and each of them of its end.
pub(crate) fn assert_told_of_block(account: &Account, node: &str) {
    let events = told(account, node);
    let blocks: Vec<&str> = types(&events).into_iter().filter(|it| it.ends_with("locked")).collect();
    let is_told = !blocks.is_empty() && blocks.chunks(2).all(|it| it == ["Node Blocked", "Node Unblocked"]);
    assert!(is_told, "{events:#?}");
}

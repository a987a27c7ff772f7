//! What is about all nodes of a deployment: suspension, and items that vanish in masses.

use perennial_e2e::{Account, Setup};
use serde_json::{Value, json};

use crate::support::{only, terminate, ticks_pass, verdict};
use crate::tale::Tale;

const SETUP: Setup = Setup { speed: 120.0, functions: true };

async fn settings(account: &Account, says: Value) {
    let mut item = says;
    item["id"] = json!("settings");
    account.put(&item).await;
    verdict(account, "settings", true).await;
}

/// Calls of functions to EC2 that change something.
fn mutating(account: &Account, since: u64) -> Vec<Value> {
    let mut calls = account.calls(since);
    calls.retain(|call| {
        let reads = call["operation"].as_str().is_some_and(|name| name.starts_with("Describe"));
        call["service"] == "ec2" && !call["function"].is_null() && !reads
    });
    calls
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn suspended_by_the_settings_nothing_is_changed_until_it_is_lifted() {
    let account = Account::start(SETUP).await;
    let (mut pausing, ending, mut itself) = tokio::join!(
        Tale::begin(&account, "pausing", 41),
        Tale::begin(&account, "ending", 42),
        Tale::begin(&account, "itself", 43),
    );
    // Of one node alone.
    itself.edit(|item| item["suspend"] = json!(true)).await;
    settings(&account, json!({"suspend": true})).await;
    // What was under way when the settings came in force may still end.
    ticks_pass(&account, 2).await;
    let since = account.last_call();
    assert_eq!(pausing.wants("paused").await["accepted"], true, "edits are still judged");
    terminate(&account, &ending.first).await;
    ticks_pass(&account, 6).await;
    let changed = mutating(&account, since);
    assert!(changed.is_empty(), "{changed:#?}");
    assert_eq!(only(account.live("pausing").await).id, pausing.first.id, "not terminated");
    assert!(account.live("ending").await.is_empty(), "not launched");

    settings(&account, json!({"suspend": false})).await;
    let first = pausing.first.clone();
    let (_rest, _second) = tokio::join!(pausing.rests("paused", &first), ending.runs(2));
    let since = account.last_call();
    terminate(&account, &itself.first).await;
    ticks_pass(&account, 6).await;
    assert!(account.live("itself").await.is_empty(), "a node's own suspension stands");
    let launched = mutating(&account, since);
    assert!(!launched.iter().any(|call| call["operation"] == "RunInstances"), "{launched:#?}");
    itself.edit(|item| item["suspend"] = json!(false)).await;
    itself.runs(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn items_that_vanish_in_masses_take_no_node_with_them_until_it_is_confirmed() {
    let account = Account::start(SETUP).await;
    let (a, b, c, d) = tokio::join!(
        Tale::begin(&account, "a", 51),
        Tale::begin(&account, "b", 52),
        Tale::begin(&account, "c", 53),
        Tale::begin(&account, "d", 54),
    );
    let vanished = [&a, &b, &c];
    for tale in vanished {
        account.remove(tale.node).await;
    }
    for tale in vanished {
        let blocked = tale.blocked("removal-unconfirmed").await;
        let remedy = blocked["remedy"].as_str().unwrap();
        assert!(remedy.contains("confirmRemoval to 3"), "{remedy}");
    }
    ticks_pass(&account, 4).await;
    for tale in vanished {
        assert_eq!(only(account.live(tale.node).await).id, tale.first.id, "it goes on running");
    }
    // The wrong number confirms nothing.
    settings(&account, json!({"confirmRemoval": 2})).await;
    ticks_pass(&account, 3).await;
    for tale in vanished {
        assert_eq!(account.record(tale.node).await["phase"], "running");
    }
    // One is put back: it was a mistake after all, and fewer than three are no mass.
    a.put().await;
    let (_, _) = tokio::join!(b.rests("deallocated", &b.first), c.rests("deallocated", &c.first));
    assert_eq!(a.runs(1).await.id, a.first.id, "it never noticed");
    assert_eq!(d.runs(1).await.id, d.first.id);
    b.put().await;
    b.runs(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_confirmed_removal_of_many_deallocates_them() {
    let account = Account::start(SETUP).await;
    let (a, b, c) = tokio::join!(
        Tale::begin(&account, "a", 51),
        Tale::begin(&account, "b", 52),
        Tale::begin(&account, "c", 53),
    );
    let all = [&a, &b, &c];
    for tale in all {
        account.remove(tale.node).await;
    }
    for tale in all {
        tale.blocked("removal-unconfirmed").await;
    }
    settings(&account, json!({"confirmRemoval": 3})).await;
    for tale in all {
        tale.rests("deallocated", &tale.first).await;
    }
    tokio::join!(a.put(), b.put(), c.put());
    tokio::join!(a.runs(2), b.runs(2), c.runs(2));
}

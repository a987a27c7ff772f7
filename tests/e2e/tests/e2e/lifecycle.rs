//! The life of a node by edits of its item, told three times: undisturbed, with every event and stream record lost,
//! and with functions that die after effects they never heard of. The end is the same.

use perennial_e2e::{Account, Setup};
use serde_json::{Value, json};

use crate::support::{is_late_tick, launches_for, running, speaks_of, ticks_pass};
use crate::tale::Tale;
use crate::traps;

/// Retention at its shortest, one hour, passes in half a minute.
const SETUP: Setup = Setup { speed: 120.0, functions: true };

/// Steps each of whose first carriers die of it.
const TRAPS: [(&str, &str); 12] = [
    ("ec2", "TerminateInstances"),
    ("ec2", "CreateSnapshot"),
    ("ec2", "RegisterImage"),
    ("ec2", "RunInstances"),
    ("ec2", "CreateNetworkInterface"),
    ("ec2", "DeleteVolume"),
    ("ec2", "DeregisterImage"),
    ("ec2", "DeleteSnapshot"),
    ("ec2", "DeleteNetworkInterface"),
    ("ec2", "DeleteTags"),
    ("dynamodb", "TransactWriteItems"),
    ("events", "PutEvents"),
];

/// The functions that have a part in these stories.
const FUNCTIONS: [&str; 5] =
    ["config-change", "instance-state", "reconcile", "snapshot-schedule", "storage-state"];

/// One tale for each story, begun.
struct Cast<'a> {
    pausing: Tale<'a>,
    recycling: Tale<'a>,
    returning: Tale<'a>,
    missing: Tale<'a>,
    ending: Tale<'a>,
    leaving: Tale<'a>,
}

impl<'a> Cast<'a> {
    async fn begin(account: &'a Account) -> Cast<'a> {
        let (pausing, recycling, returning, missing, ending, leaving) = tokio::join!(
            Tale::begin(account, "pausing", 21),
            Tale::begin(account, "recycling", 22),
            Tale::begin(account, "returning", 23),
            Tale::begin(account, "missing", 24),
            Tale::begin(account, "ending", 25),
            Tale::begin(account, "leaving", 26),
        );
        Cast { pausing, recycling, returning, missing, ending, leaving }
    }

    /// All stories side by side.
    async fn play(mut self) {
        tokio::join!(
            pause_and_resume(&mut self.pausing),
            recycle(&mut self.recycling),
            deallocate_and_restore(&mut self.returning),
            delete_and_put_back(&mut self.missing),
            purge_and_begin_anew(&mut self.ending),
            release(&mut self.leaving),
        );
    }
}

async fn pause_and_resume(tale: &mut Tale<'_>) {
    let first = tale.first.clone();
    tale.wants("paused").await;
    tale.rests("paused", &first).await;
    tale.wants("running").await;
    let second = tale.runs(2).await;
    assert_eq!(second.interface, first.interface, "the same interface");
    // A pause of a node that has been paused before leaves one recovery point as well.
    tale.wants("paused").await;
    tale.rests("paused", &second).await;
    tale.wants("running").await;
    let third = tale.runs(3).await;
    assert_eq!(third.interface, first.interface);
    let expected = [
        "Config Accepted",
        "Node Running",
        "Config Accepted",
        "Node Paused",
        "Config Accepted",
        "Node Running",
        "Node Recovered",
        "Config Accepted",
        "Node Paused",
        "Config Accepted",
        "Node Running",
        "Node Recovered",
    ];
    assert_eq!(tale.tells(), expected);
}

async fn recycle(tale: &mut Tale<'_>) {
    tale.edit(|item| item["recycle"] = json!(1)).await;
    let second = tale.runs(2).await;
    assert_eq!(second.interface, tale.first.interface);
    // The same number once more is no wish for another replacement.
    tale.edit(|item| item["tags"]["edited"] = json!("again")).await;
    ticks_pass(tale.account, 3).await;
    assert_eq!(running(tale.account, tale.node, 2).await.id, second.id, "replaced once");
    assert_eq!(launches_for(tale.account, tale.node).len(), 2);
    let expected = ["Config Accepted", "Node Running", "Config Accepted", "Node Running", "Node Recovered"];
    assert_eq!(tale.tells(), [&expected[..], &["Config Accepted"]].concat());
}

async fn deallocate_and_restore(tale: &mut Tale<'_>) {
    let first = tale.first.clone();
    tale.wants("deallocated").await;
    tale.rests("deallocated", &first).await;
    tale.wants("running").await;
    let second = tale.runs(2).await;
    assert_eq!(second.interface, first.interface);
    assert_eq!(tale.tells(), RESTORED);
}

const RESTORED: [&str; 7] = [
    "Config Accepted",
    "Node Running",
    "Config Accepted",
    "Node Deallocated",
    "Config Accepted",
    "Node Running",
    "Node Recovered",
];

async fn delete_and_put_back(tale: &mut Tale<'_>) {
    let first = tale.first.clone();
    tale.account.remove(tale.node).await;
    tale.rests("deallocated", &first).await;
    let journal = tale.journal().await;
    for words in ["its item is missing: looked for again at the next tick", "its item was deleted"] {
        assert!(journal.iter().any(|line| line.contains(words)), "{words:?} in {journal:#?}");
    }
    tale.put().await;
    let second = tale.runs(2).await;
    assert_eq!(second.interface, first.interface);
    // No edit led to the deallocation, so none is told of before it.
    assert_eq!(tale.tells(), [&RESTORED[..2], &RESTORED[3..]].concat());
}

async fn purge_and_begin_anew(tale: &mut Tale<'_>) {
    let (account, node, first) = (tale.account, tale.node, tale.first.clone());
    tale.edit(|item| {
        item["desiredState"] = json!("deallocated");
        item["retention"] = json!({"after": "1h"});
    })
    .await;
    let rest = tale.rests("deallocated", &first).await;
    let life = tale.stands("gone").await["life"].take();
    tale.assert_nothing_tagged().await;
    for gone in [&first.id, &first.root, &first.interface, &rest.image.id, &rest.last.id] {
        assert_eq!(account.owner(gone).await, Value::Null, "no pointer to {gone}");
    }
    let purged = ["Config Accepted", "Node Running", "Config Accepted", "Node Deallocated", "Node Purged"];
    assert_eq!(tale.tells(), purged);

    // The name is used again: a new life, which finds nothing of the old one.
    tale.guest = account.guest(node);
    let status = tale.wants("running").await;
    assert!(status["notices"].to_string().contains("this is a new life"), "{status:#}");
    let anew = running(account, node, 1).await;
    assert_ne!(account.record(node).await["life"], life);
    assert_ne!((&anew.root, &anew.interface), (&first.root, &first.interface));
    assert_eq!(anew.image, first.image, "from the base image again");
    account.until("the guest writes", async || tale.guest.stays().first().cloned()).await;
    tale.guest.assert_nothing_lost();
    assert_eq!(launches_for(account, node).len(), 2);
}

async fn release(tale: &mut Tale<'_>) {
    let (account, first) = (tale.account, tale.first.clone());
    account
        .until("there are periodic snapshots", async || {
            account.snapshots(tale.node).await.iter().any(|it| it.state == "completed").then_some(())
        })
        .await;
    let told_before = tale.wants("released").await["notices"].to_string();
    assert!(told_before.contains("managed no longer") && told_before.contains(&first.id), "{told_before}");
    let record = tale.stands("gone").await;
    tale.assert_nothing_tagged().await;

    let left = account.instance(&first.id).await.unwrap();
    assert_eq!((left.state.as_str(), &left.root), ("running", &first.root), "it goes on running");
    assert!(!left.root_deleted && !left.interface_deleted, "nothing of it goes with it: {left:?}");
    assert_eq!(left.tags.get("team").map(String::as_str), Some("storage"), "the operator's tags stay");
    assert!(!left.tags.keys().any(|key| key.starts_with("perennial:")), "{:?}", left.tags);
    let wrote = account.writes(&first.root);
    account.until("the guest goes on", async || (account.writes(&first.root) > wrote).then_some(())).await;

    let listed = tale.says("released; handed over:").await;
    for (kind, id) in [("instance", &first.id), ("volume", &first.root), ("interface", &first.interface)] {
        assert!(listed.contains(id.as_str()), "the {kind} {id} is listed: {listed}");
        assert_eq!(account.owner(id).await, Value::Null, "no pointer to {id}");
    }
    assert!(listed.contains("snap-"), "the snapshots are listed: {listed}");
    assert_eq!(record["handedOver"], account.record(tale.node).await["handedOver"], "the list stays");
    still_there(account, &record["handedOver"]).await;
    let expected = ["Config Accepted", "Node Running", "Config Accepted", "Node Released"];
    assert_eq!(tale.tells(), expected);
    let ended = account.calls(0);
    let ended = ended.iter().filter(|it| it["operation"] == "TerminateInstances" && speaks_of(it, &first.id));
    assert_eq!(ended.count(), 0);
}

/// Asserts that each listed snapshot exists; rotation may have taken the oldest while they were handed over.
async fn still_there(account: &Account, listed: &Value) {
    let words: Vec<&str> =
        listed.as_array().unwrap().iter().filter_map(Value::as_str).flat_map(|it| it.split(' ')).collect();
    let snapshots: Vec<&&str> = words.iter().filter(|word| word.starts_with("snap-")).collect();
    let mut there = 0;
    for id in &snapshots {
        match account.try_ec2("DescribeSnapshots", &[("SnapshotId.1", id)]).await {
            Ok(_) => there += 1,
            Err(refusal) => {
                let calls = account.calls(0);
                let rotated = |it: &&Value| it["operation"] == "DeleteSnapshot" && speaks_of(it, id);
                let by = calls.iter().find(rotated).map(|it| &it["function"]);
                assert_eq!(by, Some(&json!("snapshot-schedule")), "{id}: {refusal}");
            }
        }
    }
    assert!(there > 0, "snapshots stay: {snapshots:?}");
}

/// Asserts that no event was given up and no log asks for a person. What a fast clock makes late is tried again.
fn assert_nothing_given_up(account: &Account) {
    let mut given_up = account.dead_letters();
    given_up.retain(|letter| !is_late_tick(letter));
    assert!(given_up.is_empty(), "{given_up:#?}");
    let log = account.log();
    let is_error = |line: &&str| line.contains("ERROR") && !line.contains("request has timed out");
    let errors: Vec<&str> = log.lines().filter(is_error).collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_edit_of_a_life_does_what_it_says() {
    let account = Account::start(SETUP).await;
    Cast::begin(&account).await.play().await;
    assert_nothing_given_up(&account);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_every_event_and_stream_record_lost_each_edit_does_the_same() {
    let account = Account::start(SETUP).await;
    for kind in ["*", "stream"] {
        account.control("POST", "events", &json!({"detailType": kind, "action": "drop", "times": -1}));
    }
    Cast::begin(&account).await.play().await;
    let invocations = account.invocations();
    assert!(invocations.iter().all(|it| it["trigger"] == "Scheduled Event"), "only ticks: {invocations:#?}");
    assert_nothing_given_up(&account);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_functions_that_die_after_an_effect_each_edit_does_the_same() {
    let account = Account::start(SETUP).await;
    let cast = Cast::begin(&account).await;
    traps::lay(&account, &FUNCTIONS, &TRAPS);
    traps::amid(&account, &TRAPS, cast.play()).await;
    traps::assert_sprung(&account, &FUNCTIONS, &TRAPS);
}

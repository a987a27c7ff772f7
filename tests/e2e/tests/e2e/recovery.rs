//! The main job: an instance is taken, and the node comes back by itself with every byte and its address.

use perennial_e2e::{Account, Setup};
use serde_json::{Value, json};

use crate::support::{
    ADDRESS, DEPLOYMENT, KEEP, NODE, ONE_INTERRUPTION, assert_no_failures, begun, completed, interrupt, item,
    recovered, terminate, text, told, types,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_interruption_survived() {
    let account = Account::start(Setup::default()).await;
    let (first, guest) = begun(&account).await;
    assert_eq!((first.private_ip.as_str(), first.spot), (ADDRESS, true));
    assert!(!first.root_deleted && !first.interface_deleted, "kept from the start: {first:?}");
    let status = account.item(NODE).await["_status"].take();
    assert_eq!((&status["accepted"], &status["problems"]), (&json!(true), &json!([])), "{status}");
    assert_eq!(status["configHash"], account.record(NODE).await["config"]["hash"]);
    periodic_snapshots_are_kept(&account, &first.root).await;

    interrupt(&account, &first, true);
    let second = recovered(&account, &guest, &first, 2).await;
    assert_ne!(second.root, first.root);
    assert_eq!(second.instance_type, first.instance_type);
    the_launches_say_everything(&account);
    the_old_goes_last(&account, &first.root, &second.root);
    the_events_tell_it(&account, &first.id, &second.id).await;
    assert_no_failures(&account);
}

/// Waits for more snapshots than are kept, and sees that the newest stay.
async fn periodic_snapshots_are_kept(account: &Account, root: &str) {
    let mut seen = std::collections::BTreeSet::new();
    account
        .until("periodic snapshots come and go", async || {
            let snapshots = account.snapshots(NODE).await;
            seen.extend(snapshots.iter().map(|snapshot| snapshot.id.clone()));
            (seen.len() > KEEP + 1 && completed(&snapshots).len() == KEEP).then_some(())
        })
        .await;
    for snapshot in account.snapshots(NODE).await {
        assert_eq!((snapshot.purpose(), snapshot.volume.as_str()), ("periodic", root));
        let tag = |key: &str| snapshot.tags.get(key).map(String::as_str);
        assert_eq!((tag("perennial:deployment"), tag("team")), (Some(DEPLOYMENT), Some("storage")));
        assert!(tag("perennial:key").is_some_and(|key| !key.is_empty()));
    }
}

/// Each launch names token, tags and every parameter, and no template.
fn the_launches_say_everything(account: &Account) {
    let calls = account.calls(0);
    let launches: Vec<&Value> =
        calls.iter().filter(|it| it["operation"] == "RunInstances").map(|it| &it["parameters"]).collect();
    assert_eq!(launches.len(), 2);
    for launch in launches {
        let is = |name: &str, value: &str| assert_eq!(launch[name], value, "{name} in {launch:#}");
        let names: Vec<&String> = launch.as_object().unwrap().keys().collect();
        assert!(!names.iter().any(|name| name.starts_with("LaunchTemplate")), "no template: {names:?}");
        assert!(
            !names.iter().any(|name| name.starts_with("SecurityGroup") || *name == "SubnetId"),
            "{names:?}"
        );
        assert!((1..=64).contains(&text(&launch["ClientToken"]).len()));
        is("MinCount", "1");
        is("MaxCount", "1");
        is("InstanceType", "m5.large");
        is("InstanceMarketOptions.MarketType", "spot");
        is("InstanceMarketOptions.SpotOptions.SpotInstanceType", "one-time");
        is("InstanceMarketOptions.SpotOptions.InstanceInterruptionBehavior", "terminate");
        is("NetworkInterface.1.DeviceIndex", "0");
        assert!(text(&launch["NetworkInterface.1.NetworkInterfaceId"]).starts_with("eni-"));
        is("BlockDeviceMapping.1.DeviceName", "/dev/xvda");
        is("BlockDeviceMapping.1.Ebs.DeleteOnTermination", "false");
        is("MetadataOptions.HttpTokens", "required");
        let values: Vec<&Value> = names.iter().map(|name| &launch[name.as_str()]).collect();
        for kind in ["instance", "volume"] {
            assert!(values.iter().any(|value| **value == kind), "tags for the {kind}: {launch:#}");
        }
        for key in ["perennial:deployment", "perennial:node", "perennial:purpose", "perennial:key", "team"] {
            let times = values.iter().filter(|value| ***value == key).count();
            assert!(times >= 2, "{key} on instance and volume: {launch:#}");
        }
    }
}

/// Volume, image and final snapshot go in this order, after the new root has a snapshot of its own.
fn the_old_goes_last(account: &Account, old_root: &str, new_root: &str) {
    let calls = account.calls(0);
    let nth = |operation: &str, volume: Option<&str>| {
        let is = |call: &&Value| {
            call["operation"] == operation
                && call["status"] == 200
                && call["function"] != "snapshot-schedule"
                && volume.is_none_or(|volume| call["parameters"]["VolumeId"] == volume)
        };
        calls
            .iter()
            .find(is)
            .and_then(|call| call["seq"].as_u64())
            .unwrap_or_else(|| panic!("no {operation}"))
    };
    let proof = calls
        .iter()
        .find(|call| call["operation"] == "CreateSnapshot" && call["parameters"]["VolumeId"] == new_root)
        .and_then(|call| call["seq"].as_u64())
        .unwrap();
    let order = [
        nth("CreateSnapshot", Some(old_root)),
        nth("RegisterImage", None),
        proof,
        nth("DeleteVolume", Some(old_root)),
        nth("DeregisterImage", None),
        nth("DeleteSnapshot", None),
    ];
    assert!(order.is_sorted(), "{order:?}");
}

async fn the_events_tell_it(account: &Account, first: &str, second: &str) {
    let events = told(account, NODE);
    assert_eq!(types(&events), ONE_INTERRUPTION);
    let record = account.record(NODE).await;
    let expected = [(0, None), (1, Some(first)), (1, Some(first)), (2, Some(second)), (2, Some(second))];
    for (event, (cycle, instance)) in events.iter().zip(expected) {
        let detail = &event["detail"];
        assert_eq!((&detail["life"], &detail["cycle"]), (&record["life"], &json!(cycle)), "{event}");
        assert_eq!(detail["instanceId"].as_str(), instance, "{event}");
        assert!(!text(&detail["id"]).is_empty() && !text(&detail["reason"]).is_empty(), "{event}");
    }
    assert_eq!(events[2]["detail"]["phase"], "interrupting");
    let recovered = &events[4]["detail"];
    assert_eq!((&recovered["phase"], &recovered["eniId"]), (&json!("running"), &record["network"]["eniId"]));
    assert!(text(&recovered["imageId"]).starts_with("ami-"));
    assert_eq!(recovered["snapshotIds"].as_array().unwrap().len(), 1);
    for phase in ["interrupting", "releasing", "capturing", "imaging", "launching", "attaching"] {
        assert!(recovered["durations"][phase].is_u64(), "{phase}: {recovered}");
    }
    assert!(recovered["durations"]["interrupting"].as_u64() >= Some(100), "two minutes' notice: {recovered}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_every_event_and_stream_record_lost_the_tick_alone_brings_it_back() {
    let account = Account::start(Setup::default()).await;
    for kind in ["*", "stream"] {
        account.control("POST", "events", &json!({"detailType": kind, "action": "drop", "times": -1}));
    }
    let (first, guest) = begun(&account).await;
    interrupt(&account, &first, true);
    recovered(&account, &guest, &first, 2).await;
    assert_eq!(types(&told(&account, NODE)), ONE_INTERRUPTION);
    let invocations = account.invocations();
    assert!(invocations.iter().all(|it| it["trigger"] == "Scheduled Event"), "only ticks: {invocations:#?}");
    assert_no_failures(&account);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_everything_delivered_twice_it_happens_once() {
    let account = Account::start(Setup::default()).await;
    for kind in ["*", "stream", "Scheduled Event"] {
        account.control("POST", "events", &json!({"detailType": kind, "action": "duplicate", "times": -1}));
    }
    let (first, guest) = begun(&account).await;
    interrupt(&account, &first, true);
    recovered(&account, &guest, &first, 2).await;
    assert_eq!(types(&told(&account, NODE)), ONE_INTERRUPTION);
    let warnings = account.calls(0);
    let warnings = warnings.iter().filter(|it| is_snapshot_for(it, "warning")).count();
    assert_eq!(warnings, 1, "one warning snapshot for two notices");
    let keys: Vec<String> =
        account.snapshots(NODE).await.iter().map(|it| it.tags["perennial:key"].clone()).collect();
    let distinct: std::collections::BTreeSet<&String> = keys.iter().collect();
    assert_eq!(distinct.len(), keys.len(), "no snapshot twice: {keys:?}");
    assert_no_failures(&account);
}

fn is_snapshot_for(call: &Value, purpose: &str) -> bool {
    call["operation"] == "CreateSnapshot"
        && call["parameters"].as_object().is_some_and(|it| it.values().any(|value| value == purpose))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_without_notice_and_one_by_hand_are_survived_alike() {
    let account = Account::start(Setup::default()).await;
    let (first, guest) = begun(&account).await;
    interrupt(&account, &first, false);
    let second = recovered(&account, &guest, &first, 2).await;
    terminate(&account, &second).await;
    recovered(&account, &guest, &second, 3).await;
    let again = ["Node Interrupted", "Node Running", "Node Recovered"];
    assert_eq!(types(&told(&account, NODE)), [&ONE_INTERRUPTION[..], &again[..]].concat());
    assert_no_failures(&account);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_ends_before_anyone_saw_it_run_loses_nothing() {
    let account = Account::start(Setup::default()).await;
    for kind in ["*", "stream"] {
        account.control("POST", "events", &json!({"detailType": kind, "action": "drop", "times": -1}));
    }
    let guest = account.guest(NODE);
    account.put(&item(&account)).await;
    let stay = account.until("the guest writes", async || guest.stays().first().cloned()).await;
    let first = account.instance(&stay.instance).await.unwrap();
    interrupt(&account, &first, false);
    recovered(&account, &guest, &first, 2).await;
    assert_no_failures(&account);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_steady_node_writes_nothing() {
    let account = Account::start(Setup::default()).await;
    let (_first, _guest) = begun(&account).await;
    let ticks = |function: &str| {
        let done = |it: &&Value| it["function"] == function && it["outcome"] == "ok";
        account.invocations().iter().filter(done).count()
    };
    let passes = async |times: usize| {
        let (reconciled, snapshots) = (ticks("reconcile") + times, ticks("snapshot-schedule") + times);
        account
            .until("ticks go by", async || {
                (ticks("reconcile") >= reconciled && ticks("snapshot-schedule") >= snapshots).then_some(())
            })
            .await;
    };
    // The tick that was under way when the node began to run may still have had something to do.
    passes(1).await;
    let (since, record) = (account.last_call(), account.raw_record(NODE).await);
    passes(4).await;
    let calls: Vec<Value> = account.calls(since).into_iter().filter(|it| !it["function"].is_null()).collect();
    let reads = ["Query", "Scan", "GetItem", "BatchGetItem"];
    for call in calls.iter().filter(|it| it["service"] == "dynamodb") {
        assert!(reads.contains(&call["operation"].as_str().unwrap()), "a write: {call}");
    }
    assert!(!calls.iter().any(|it| it["service"] == "events"), "nothing to tell");
    let taken = calls.iter().filter(|it| it["operation"] == "CreateSnapshot").count();
    assert!(taken >= 2, "its snapshots go on: {taken}");
    assert_eq!(account.raw_record(NODE).await, record);
}

//! Data volumes that come along: the same ones, or others with every byte of theirs.

use std::collections::BTreeMap;

use perennial_e2e::{Account, Instance, Setup, Volume};
use serde_json::{Value, json};

use crate::estate::{BY_HAND, Estate, MAPPED, assert_alike};
use crate::support::{interrupt, terminate};
use crate::traps::{self, Trap};

/// Retention at its shortest, one hour, passes in half a minute.
const SETUP: Setup = Setup { speed: 120.0, functions: true };

const BOTH: [&str; 2] = [MAPPED, BY_HAND];

/// The volumes of an instance at their devices.
async fn volumes(estate: &Estate<'_>, instance: &Instance) -> BTreeMap<&'static str, Volume> {
    let mut volumes = BTreeMap::new();
    for device in BOTH {
        volumes.insert(device, estate.volume(instance, device).await);
    }
    volumes
}

/// Asserts what becomes of the volumes of one instance on the next one, and waits until those before are gone.
async fn assert_came_along(
    estate: &Estate<'_>,
    before: &BTreeMap<&'static str, Volume>,
    now: &Instance,
    spared: &[&str],
) {
    for (device, volume) in before {
        estate.assert_same(device, volume, now).await;
    }
    estate.cleaned(now, spared).await;
    for volume in before.values().map(|it| it.id.as_str()) {
        if estate.reattaches || spared.contains(&volume) {
            estate.assert_never_deleted(volume);
        } else {
            estate.assert_went_last(volume, now);
        }
    }
}

/// Makes the mapped volume larger and gives it a tag, by hand.
async fn improve(estate: &Estate<'_>, instance: &Instance) {
    let account = estate.tale.account;
    let id = estate.volume(instance, MAPPED).await.id;
    let tag = [("ResourceId.1", id.as_str()), ("Tag.1.Key", "tier"), ("Tag.1.Value", "gold")];
    account.ec2("CreateTags", &tag).await;
    account.ec2("ModifyVolume", &[("VolumeId", &id), ("Size", "12"), ("Iops", "5000")]).await;
    account
        .until("it is larger", async || {
            account.volume(&id).await.filter(|it| it.shape == ["12", "gp3", "5000", "200", "true"])
        })
        .await;
}

/// Lets the data volumes go with their instance, which is mended.
async fn expose(estate: &Estate<'_>, instance: &Instance) {
    let account = estate.tale.account;
    account
        .ec2(
            "ModifyInstanceAttribute",
            &[
                ("InstanceId", &instance.id),
                ("BlockDeviceMapping.1.DeviceName", MAPPED),
                ("BlockDeviceMapping.1.Ebs.DeleteOnTermination", "true"),
                ("BlockDeviceMapping.2.DeviceName", BY_HAND),
                ("BlockDeviceMapping.2.Ebs.DeleteOnTermination", "true"),
            ],
        )
        .await;
    account
        .until("both are kept again", async || {
            let now = account.instance(&instance.id).await?;
            now.disks.values().all(|disk| !disk.deleted).then_some(())
        })
        .await;
}

/// Recovery points, a volume attached by hand, one made larger, an interruption, a pause, a purge.
async fn a_life(account: &Account, node: &'static str, mode: &str, host: u8) {
    let mut estate = Estate::begin(account, node, mode, Some(host)).await;
    let first = estate.tale.first.clone();
    estate.sets_come_and_go(2).await;
    let by_hand = estate.attach(&first, &[]).await;
    estate.adopted(&first, BY_HAND, &by_hand).await;
    expose(&estate, &first).await;
    improve(&estate, &first).await;

    let before = volumes(&estate, &account.instance(&first.id).await.unwrap()).await;
    interrupt(account, &first, true);
    let second = estate.back(2, &BOTH).await;
    // What was attached by hand is never deleted: if it was copied, it stays beside its copy.
    let spared = if estate.reattaches { vec![] } else { vec![by_hand.as_str()] };
    assert_came_along(&estate, &before, &second, &spared).await;
    let left_with = account.writes(&by_hand);

    let before = volumes(&estate, &second).await;
    estate.tale.wants("paused").await;
    estate.rests(&second).await;
    estate.tale.wants("running").await;
    let third = estate.back(3, &BOTH).await;
    assert_came_along(&estate, &before, &third, &spared).await;

    let by_hand_before = account.volume(&by_hand).await.unwrap();
    estate
        .tale
        .edit(|item| {
            item["desiredState"] = json!("deallocated");
            item["retention"] = json!({"after": "1h"});
        })
        .await;
    estate.tale.stands("gone").await;
    estate.tale.assert_nothing_tagged().await;
    estate.assert_handed_over(&by_hand).await;
    assert_alike(&by_hand_before, &account.volume(&by_hand).await.unwrap());
    let used = estate.tale.guest.uses(BY_HAND).pop().unwrap();
    let expected = if estate.reattaches { used.last } else { left_with };
    assert_eq!(account.writes(&by_hand), expected, "with every byte that was written to it");
    for device in volumes_of(&third) {
        assert_eq!(account.volume(&device).await.is_some(), device == by_hand, "only that one is left");
    }
    estate.assert_launched(3);
}

fn volumes_of(instance: &Instance) -> Vec<String> {
    instance.disks.values().map(|disk| disk.volume.clone()).collect()
}

/// Sets of snapshots that completed woke `storage-state`, and none of their events was given up.
fn assert_completions_handled(account: &Account) {
    const COMPLETED: &str = "EBS Multi-Volume Snapshots Completion Status";
    let is_done = |it: &&Value| {
        (&it["function"], &it["trigger"], &it["outcome"])
            == (&json!("storage-state"), &json!(COMPLETED), &json!("ok"))
    };
    let handled = account.invocations().iter().filter(is_done).count();
    assert!(handled >= 8, "at least the first sets of each node: {handled}");
    let given_up = account.dead_letters();
    assert!(!given_up.iter().any(|it| it["trigger"] == COMPLETED), "{given_up:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_volumes_come_along_for_a_whole_life() {
    let account = Account::start(SETUP).await;
    tokio::join!(
        a_life(&account, "reattaching", "reattach", 41),
        a_life(&account, "copying", "snapshot", 42),
    );
    assert_completions_handled(&account);
}

/// A node with a second volume that was attached by hand.
async fn begin_with_two<'a>(
    account: &'a Account,
    node: &'static str,
    mode: &str,
    host: Option<u8>,
) -> (Estate<'a>, String) {
    let estate = Estate::begin(account, node, mode, host).await;
    let by_hand = estate.attach(&estate.tale.first, &[]).await;
    (estate, by_hand)
}

/// An interruption and an end without notice.
async fn two_ends((estate, by_hand): (Estate<'_>, String)) {
    let (account, first) = (estate.tale.account, &estate.tale.first);
    estate.adopted(first, BY_HAND, &by_hand).await;
    let before = volumes(&estate, &account.instance(&first.id).await.unwrap()).await;
    interrupt(account, first, true);
    let second = estate.back(2, &BOTH).await;
    let spared = if estate.reattaches { vec![] } else { vec![by_hand.as_str()] };
    assert_came_along(&estate, &before, &second, &spared).await;
    let before = volumes(&estate, &second).await;
    terminate(account, &second).await;
    let third = estate.back(3, &BOTH).await;
    assert_came_along(&estate, &before, &third, &spared).await;
    estate.assert_launched(3);
}

fn throttled(operation: &str) -> Value {
    let error = json!({"code": "RequestLimitExceeded", "status": 503, "message": "scripted"});
    json!({"service": "ec2", "operation": operation, "when": "before", "error": error, "times": 4})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_every_event_lost_and_calls_throttled_data_volumes_come_along() {
    let account = Account::start(SETUP).await;
    for kind in ["*", "stream"] {
        account.control("POST", "events", &json!({"detailType": kind, "action": "drop", "times": -1}));
    }
    let calls = ["AttachVolume", "CreateSnapshots", "CreateTags", "ModifyInstanceAttribute"];
    account.control("POST", "faults", &Value::Array(calls.map(throttled).to_vec()));
    let (reattaching, copying) = tokio::join!(
        begin_with_two(&account, "reattaching", "reattach", None),
        begin_with_two(&account, "copying", "snapshot", Some(42)),
    );
    tokio::join!(two_ends(reattaching), two_ends(copying));
    let invocations = account.invocations();
    assert!(invocations.iter().all(|it| it["trigger"] == "Scheduled Event"), "only ticks: {invocations:#?}");
}

/// Steps each of whose first carriers die of it.
const TRAPS: [Trap; 11] = [
    ("ec2", "AttachVolume"),
    ("ec2", "CreateSnapshots"),
    ("ec2", "CreateSnapshot"),
    ("ec2", "CreateTags"),
    ("ec2", "CreateVolume"),
    ("ec2", "RegisterImage"),
    ("ec2", "RunInstances"),
    ("ec2", "DeleteVolume"),
    ("ec2", "DeleteSnapshot"),
    ("dynamodb", "TransactWriteItems"),
    ("events", "PutEvents"),
];

/// The functions that have a part in these stories.
const FUNCTIONS: [&str; 6] = [
    "config-change",
    "instance-state",
    "reconcile",
    "snapshot-schedule",
    "spot-interruption",
    "storage-state",
];

/// A change of zone, for which volumes are made from their last snapshots.
async fn a_move(mut estate: Estate<'_>) {
    let account = estate.tale.account;
    let before = estate.volume(&estate.tale.first, MAPPED).await;
    let subnet = account.server().defaults().subnet_ids[1].clone();
    estate
        .tale
        .edit(|item| {
            item["launch"]["subnets"] = json!([subnet]);
            item["recycle"] = json!(1);
        })
        .await;
    let second = estate.back(2, &[MAPPED]).await;
    assert_alike(&before, &estate.volume(&second, MAPPED).await);
    estate.cleaned(&second, &[]).await;
    estate.assert_went_last(&before.id, &second);
    estate.assert_launched(2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_functions_that_die_after_an_effect_data_volumes_come_along() {
    let account = Account::start(SETUP).await;
    let (reattaching, copying, moving) = tokio::join!(
        begin_with_two(&account, "reattaching", "reattach", Some(41)),
        begin_with_two(&account, "copying", "snapshot", None),
        Estate::begin(&account, "moving", "reattach", None),
    );
    traps::lay(&account, &FUNCTIONS, &TRAPS);
    let stories = async {
        tokio::join!(two_ends(reattaching), two_ends(copying), a_move(moving));
    };
    traps::amid(&account, &TRAPS, stories).await;
    traps::assert_sprung(&account, &FUNCTIONS, &TRAPS);
}

//! Image backups while EC2 refuses, images fail and the function dies: nothing is made twice or left behind, and the
//! last good backup stays the one that members start from.

use perennial_e2e::{Account, Image};
use serde_json::{Value, json};

use crate::backed::{
    FUNCTION, GROUP, SETUP, assert_sound, backup, begun, carried_out, group, member, put, removed, told,
    write,
};
use crate::support::{interrupt, running};
use crate::traps;

/// So much that a copy of it takes a while: 64 MiB a second.
const MUCH: u64 = 20_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_fails_is_told_and_tried_again_and_the_one_before_stays_in_effect() {
    let account = Account::start(SETUP).await;
    put(&account, &group(&account, 2, json!({"keep": 2}))).await;
    let first = begun(&account, 2).await;
    let one = backup(&account, 1).await;

    // EC2 makes none for now: who comes up comes up from the last one.
    let refused = json!([{"service": "ec2", "operation": "CreateImage", "when": "before", "times": -1,
        "error": {"code": "RequestLimitExceeded", "status": 503, "message": "scripted"}}]);
    account.control("POST", "faults", &refused);
    account
        .until("the next one is refused", async || {
            account.calls(0).iter().any(|it| it["error"] == "RequestLimitExceeded").then_some(())
        })
        .await;
    let source = first.iter().find(|it| it.id == one.source).unwrap();
    let number = if source.id == first[0].id { 2 } else { 1 };
    interrupt(&account, &first[number - 1], false);
    assert_eq!(running(&account, &member(number), 2).await.image, one.id);

    // Now it makes one, which fails.
    write(&account, &source.id, MUCH);
    account.control("DELETE", "faults", &Value::Null);
    let failing = pending(&account).await;
    account.control("POST", "fail", &json!({"imageId": failing.id}));
    let failed = account
        .until("the failure is told", async || told(&account, "Backup Failed").into_iter().next())
        .await;
    assert_eq!((&failed["imageId"], &failed["instanceId"]), (&json!(failing.id), &json!(failing.source)));
    assert!(failed["reason"].as_str().is_some_and(|why| why.contains("EC2 says")), "{failed:#}");
    assert!(failed["durationSeconds"].is_u64() && failed["ageSeconds"].is_u64(), "{failed:#}");
    if told(&account, "Backup Created").len() == 1 {
        assert_eq!(account.group_record(GROUP).await["backups"]["effective"], one.id.as_str());
    }
    let two = backup(&account, 2).await;
    assert_ne!(two.id, failing.id);
    assert_sound(&account, &two).await;
    removed(&account, &failing).await;
    let left: Vec<Image> =
        account.backups(GROUP).await.into_iter().filter(|it| it.state == "failed").collect();
    assert_eq!(left, [], "nothing is left of what failed");
    let standing: Vec<String> =
        account.backups(GROUP).await.into_iter().flat_map(|it| it.snapshots).collect();
    for snapshot in account.backup_snapshots(GROUP).await {
        assert!(standing.contains(&snapshot.id), "no image stands on {snapshot:?}");
    }
}

/// Waits for a backup that is being made.
async fn pending(account: &Account) -> Image {
    account
        .until("a backup is being made", async || {
            account.backups(GROUP).await.into_iter().find(|it| it.state == "pending")
        })
        .await
}

/// Calls of each of which a function dies after the effect.
const TRAPS: [traps::Trap; 3] = [("ec2", "CreateImage"), ("ec2", "DeregisterImage"), ("events", "PutEvents")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_function_dies_after_each_effect_and_none_is_made_twice_or_left_behind() {
    let account = Account::start(SETUP).await;
    put(&account, &group(&account, 1, json!({"keep": 1}))).await;
    begun(&account, 1).await;
    // Only of this function: the others' work is done.
    account.control("POST", "kill", &json!({"function": FUNCTION}));
    for (service, operation) in TRAPS {
        let trap =
            json!([{"service": service, "operation": operation, "function": FUNCTION, "when": "timeout"}]);
        account.control("POST", "faults", &trap);
    }
    traps::amid(&account, &TRAPS, async {
        let one = backup(&account, 1).await;
        removed(&account, &one).await;
        backup(&account, 4).await;
    })
    .await;
    traps::assert_sprung(&account, &[FUNCTION], &TRAPS);
    let mut names: Vec<String> = carried_out(&account, "CreateImage")
        .iter()
        .map(|it| it["parameters"]["Name"].as_str().unwrap().to_owned())
        .collect();
    names.sort();
    let asked = names.len();
    names.dedup();
    assert_eq!(names.len(), asked, "each was made once: {names:#?}");
    account
        .until("no snapshot is left of what was removed", async || {
            let standing: Vec<String> =
                account.backups(GROUP).await.into_iter().flat_map(|it| it.snapshots).collect();
            let snapshots = account.backup_snapshots(GROUP).await;
            snapshots.iter().all(|it| standing.contains(&it.id)).then_some(())
        })
        .await;
}

//! Each function dies once in the middle of its work, after an effect that it never heard of: nothing changes but
//! the time it takes.

use perennial_e2e::{Account, Setup};
use serde_json::{Value, json};

use crate::support::{NODE, ONE_INTERRUPTION, begun, interrupt, item, recovered, running, told, types};

/// Makes the function's next call of this operation go unanswered.
fn lay_trap(account: &Account, function: &str, service: &str, operation: &str) {
    let fault =
        json!([{"service": service, "operation": operation, "function": function, "when": "timeout"}]);
    account.control("POST", "faults", &fault);
}

/// Waits until the function hangs in its call, whose effect has come about, and kills it there.
async fn kill_in_trap(account: &Account, function: &str, operation: &str) {
    kill_in_one_of(account, function, &[operation]).await;
}

/// The same of the first of several traps.
async fn kill_in_one_of(account: &Account, function: &str, operations: &[&str]) {
    account
        .until(&format!("{function} calls {operations:?}"), async || {
            let calls = account.calls(0);
            let hangs = |it: &&Value| {
                let trapped = operations.iter().any(|operation| it["operation"] == *operation);
                it["function"] == function && trapped && it["status"] == 0
            };
            calls.iter().find(hangs).map(|_| ())
        })
        .await;
    assert_eq!(account.control("POST", "kill", &json!({"function": function})), json!({"killed": "now"}));
}

fn killed(account: &Account) -> Vec<String> {
    let mut killed: Vec<String> = account
        .invocations()
        .iter()
        .filter(|it| it["outcome"] == "killed")
        .map(|it| it["function"].as_str().unwrap().to_owned())
        .collect();
    killed.sort();
    killed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_function_killed_once_after_an_effect_changes_nothing() {
    let account = Account::start(Setup::default()).await;
    // The first record is written, and nobody knows.
    lay_trap(&account, "config-change", "dynamodb", "TransactWriteItems");
    account.put(&item(&account)).await;
    kill_in_trap(&account, "config-change", "TransactWriteItems").await;
    let (first, guest) = begun(&account).await;
    lay_trap(&account, "snapshot-schedule", "ec2", "CreateSnapshot");
    kill_in_trap(&account, "snapshot-schedule", "CreateSnapshot").await;
    // The warning snapshot is taken, the claim on the step stays behind.
    lay_trap(&account, "spot-interruption", "ec2", "CreateSnapshot");
    lay_trap(&account, "instance-state", "dynamodb", "GetItem");
    lay_trap(&account, "storage-state", "dynamodb", "GetItem");
    // Whichever of the last steps falls to it: any function may take one that comes to find it due.
    let last = ["DeleteVolume", "DeregisterImage", "DeleteSnapshot"];
    for operation in last {
        lay_trap(&account, "reconcile", "ec2", operation);
    }
    interrupt(&account, &first, true);
    let deaf = async {
        kill_in_trap(&account, "storage-state", "GetItem").await;
        // From now on the last steps fall to the tick: a snapshot every minute would wake others for them.
        let deaf = json!({"detailType": "EBS Snapshot Notification", "action": "drop", "times": -1});
        account.control("POST", "events", &deaf);
    };
    tokio::join!(
        kill_in_trap(&account, "spot-interruption", "CreateSnapshot"),
        kill_in_trap(&account, "instance-state", "GetItem"),
        deaf,
        kill_in_one_of(&account, "reconcile", &last),
    );
    account.control("DELETE", "faults", &Value::Null);
    account.control("DELETE", "events", &Value::Null);
    recovered(&account, &guest, &first, 2).await;
    assert_eq!(types(&told(&account, NODE)), ONE_INTERRUPTION);
    let functions = [
        "config-change",
        "instance-state",
        "reconcile",
        "snapshot-schedule",
        "spot-interruption",
        "storage-state",
    ];
    assert_eq!(killed(&account), functions);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_does_a_step_may_die_right_after_its_effect() {
    let account = Account::start(Setup::default()).await;
    let (first, guest) = begun(&account).await;
    // One after the other, in the order of the story; whichever function gets there first dies of it.
    let steps = ["CreateSnapshot", "RegisterImage", "RunInstances"];
    let begun_at = account.last_call();
    interrupt(&account, &first, false);
    for operation in steps {
        account.control("DELETE", "faults", &Value::Null);
        for function in ["instance-state", "storage-state", "reconcile"] {
            lay_trap(&account, function, "ec2", operation);
        }
        let function = account
            .until(&format!("somebody calls {operation}"), async || {
                let calls = account.calls(begun_at);
                let hangs = |it: &&Value| it["operation"] == operation && it["status"] == 0;
                calls.iter().find(hangs).map(|it| it["function"].as_str().unwrap().to_owned())
            })
            .await;
        account.control("DELETE", "faults", &Value::Null);
        assert_eq!(account.control("POST", "kill", &json!({"function": function})), json!({"killed": "now"}));
    }
    running(&account, NODE, 2).await;
    recovered(&account, &guest, &first, 2).await;
    assert_eq!(killed(&account).len(), steps.len());
    let made = |operation: &str| {
        let calls = account.calls(begun_at);
        let by = |it: &&Value| it["operation"] == operation && !it["function"].is_null();
        calls.iter().filter(by).filter(|it| it["function"] != "snapshot-schedule").count()
    };
    assert_eq!((made("CreateSnapshot"), made("RegisterImage")), (1, 1), "found again, not made again");
}

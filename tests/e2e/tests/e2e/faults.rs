//! AWS answers late, wrongly or not at all, and nothing is done twice or forgotten.

use perennial_e2e::{Account, Setup};
use serde_json::{Value, json};

use crate::support::{NODE, ONE_INTERRUPTION, begun, interrupt, launches, recovered, terminate, told, types};

fn fault(service: &str, operation: &str, when: &str, error: Option<(&str, u16)>, times: i64) -> Value {
    let mut fault = json!({"service": service, "operation": operation, "when": when, "times": times});
    if let Some((code, status)) = error {
        fault["error"] = json!({"code": code, "status": status, "message": "scripted"});
    }
    fault
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_launch_whose_answer_is_lost_makes_one_instance() {
    let account = Account::start(Setup::default()).await;
    let lost = fault("ec2", "RunInstances", "after", Some(("InternalError", 500)), 1);
    account.control("POST", "faults", &json!([lost]));
    let (first, guest) = begun(&account).await;
    account.control("POST", "faults", &json!([fault("ec2", "RunInstances", "timeout", None, 1)]));
    terminate(&account, &first).await;
    recovered(&account, &guest, &first, 2).await;
    let instances = account.instances(NODE).await;
    assert_eq!(instances.len(), 2, "one a cycle, ended ones included: {instances:#?}");
    assert_eq!(launches(&account).len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn throttled_and_unpublished_everything_comes_about_at_last() {
    let account = Account::start(Setup::default()).await;
    let throttled = Some(("RequestLimitExceeded", 503));
    let full = Some(("ProvisionedThroughputExceededException", 400));
    account.control(
        "POST",
        "faults",
        &json!([
            fault("ec2", "CreateSnapshot", "before", throttled, 7),
            fault("ec2", "RegisterImage", "before", throttled, 4),
            fault("dynamodb", "TransactWriteItems", "before", full, 7),
            fault("events", "PutEvents", "before", Some(("InternalException", 500)), 7),
        ]),
    );
    let (first, guest) = begun(&account).await;
    interrupt(&account, &first, true);
    recovered(&account, &guest, &first, 2).await;
    assert_eq!(types(&told(&account, NODE)), ONE_INTERRUPTION, "late, in order, and complete");
    let refused = account.calls(0).iter().filter(|it| it["error"] == "RequestLimitExceeded").count();
    assert_eq!(refused, 11, "every fault was met");
}

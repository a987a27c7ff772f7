//! What does not concern Perennial, cannot be read, or comes from a newer version: noticed, and left alone.

use std::process::Stdio;

use perennial_e2e::{Account, Answer, Runtime, Setup};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::{NODE, begun, interrupt, item, running, text};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_for_an_unknown_instance_costs_one_read() {
    let account = Account::start(Setup::default()).await;
    let made = account
        .ec2(
            "RunInstances",
            &[
                ("MinCount", "1"),
                ("MaxCount", "1"),
                ("LaunchTemplate.LaunchTemplateName", &account.server().defaults().launch_template_name),
                ("InstanceMarketOptions.MarketType", "spot"),
            ],
        )
        .await;
    let id = text(&made["instancesSet"][0]["instanceId"]);
    let in_state = async |state: &str| {
        account
            .until(&format!("the instance is {state}"), async || {
                account.instance(&id).await.filter(|it| it.state == state)
            })
            .await
    };
    let foreign = in_state("running").await;
    account.ec2("CreateSnapshot", &[("VolumeId", &foreign.root)]).await;
    interrupt(&account, &foreign, true);
    in_state("terminated").await;
    // running, shutting-down and terminated; the notice; the completed snapshot.
    let expected =
        [("instance-state", 3, &id), ("spot-interruption", 1, &id), ("storage-state", 1, &foreign.root)];
    let ended = |function: &str| {
        account.invocations().iter().filter(|it| it["function"] == function && it["outcome"] == "ok").count()
    };
    account
        .until("all events are handled", async || {
            expected.iter().all(|(function, events, _)| ended(function) == *events).then_some(())
        })
        .await;
    for (function, events, resource) in expected {
        let calls: Vec<Value> =
            account.calls(0).into_iter().filter(|it| it["function"] == function).collect();
        assert_eq!(calls.len(), events, "one call for each event: {calls:#?}");
        for call in calls {
            assert_eq!((&call["service"], &call["operation"]), (&json!("dynamodb"), &json!("GetItem")));
            assert_eq!(call["parameters"]["Key"]["pk"]["S"], format!("resource#{resource}"));
        }
    }
}

/// The environment of a function that works on this account.
fn environment(url: &str) -> [(&str, &str); 6] {
    [
        ("PERENNIAL_CONFIG_TABLE", "perennial-config"),
        ("PERENNIAL_STATE_TABLE", "perennial-state"),
        ("PERENNIAL_EVENT_BUS", "perennial"),
        ("PERENNIAL_DEPLOYMENT", "perennial"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ENDPOINT_URL", url),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_malformed_event_is_logged_once_with_its_id_and_dropped() {
    let account = Account::start(Setup { functions: false, ..Setup::default() }).await;
    let url = account.server().url();
    let event = |id: &str, detail_type: &str, detail: Value| {
        json!({"version": "0", "id": id, "detail-type": detail_type, "source": "aws.ec2", "account": "123456789012",
            "time": "2026-11-20T10:00:00Z", "region": "us-east-1", "resources": [], "detail": detail})
    };
    let warning = "EC2 Spot Instance Interruption Warning";
    let state = "EC2 Instance State-change Notification";
    let cases = [
        ("spot-interruption", event("event-one", warning, json!({"instance-action": "terminate"}))),
        ("instance-state", event("event-two", state, json!({"instance-id": "vol-0123", "state": "running"}))),
        ("storage-state", event("event-three", "EC2 AMI State Change", json!({"State": "available"}))),
    ];
    for (function, event) in cases {
        let id = text(&event["id"]);
        let mut runtime = Runtime::serve(vec![event]).await;
        let process = runtime.command(function, &environment(&url)).spawn().unwrap();
        assert_eq!(runtime.answer().await, Some(Answer::Done), "Lambda has no reason to repeat it");
        let log = said(process).await;
        assert_eq!(log.lines().filter(|line| line.contains(&id)).count(), 1, "logged once: {log}");
        assert!(log.contains("malformed"), "{log}");
    }
    assert_eq!(account.last_call(), 0, "not one AWS call");
}

/// Ends a process and returns what it wrote.
async fn said(mut process: tokio::process::Child) -> String {
    process.start_kill().unwrap();
    let output = process.wait_with_output().await.unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_of_a_newer_version_is_left_alone_and_reported() {
    let account = Account::start(Setup::default()).await;
    let (first, _guest) = begun(&account).await;
    let mut record = account.raw_record(NODE).await;
    record["schemaVersion"] = json!({"N": "99"});
    record["whatIsToCome"] = json!({"M": {"a": {"L": [{"N": "1"}]}}});
    account.put_state(&record).await;

    interrupt(&account, &first, true);
    let mut edited = item(&account);
    edited["tags"] = json!({"team": "other"});
    account.put(&edited).await;
    let mut other = item(&account);
    other["id"] = json!("node#web");
    other["persist"]["network"] = json!({});
    account.put(&other).await;
    running(&account, "web", 1).await;
    account
        .until("the instance ends, and its events are handled", async || {
            let ended = account.instance(&first.id).await.is_none_or(|it| it.state == "terminated");
            let handled =
                account.invocations().iter().filter(|it| it["function"] == "instance-state").count() >= 4;
            (ended && handled).then_some(())
        })
        .await;
    let mark = account.invocations().len();
    account
        .until("the tick goes by", async || {
            let since = account.invocations();
            let done = |it: &&Value| it["function"] == "reconcile" && it["outcome"] == "ok";
            (since[mark..].iter().filter(done).count() >= 2).then_some(())
        })
        .await;

    assert_eq!(account.raw_record(NODE).await, record, "not one byte of it changed");
    assert!(account.live(NODE).await.is_empty(), "nothing is launched from what cannot be read");
    assert_eq!(account.volumes(NODE).await.len(), 1, "and nothing deleted");
    let log = account.log();
    let reported = |line: &&str| line.contains("ERROR") && line.contains(NODE) && line.contains("99");
    assert!(log.lines().any(|line| reported(&line)), "an error names the node and the version: {log}");
    assert_eq!(running(&account, "web", 1).await.tags["perennial:node"], "web", "other nodes go on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_or_malformed_environment_fails_the_start_with_all_problems_named() {
    let runtime = Runtime::serve(Vec::new()).await;
    let expect_failure = async |mut command: Command, named: &[&str]| {
        let output = command.stdin(Stdio::null()).output().await.unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(!output.status.success(), "it must not start: {said}");
        for name in named {
            assert!(said.contains(name), "{name} is not named: {said}");
        }
    };
    let variables =
        ["PERENNIAL_CONFIG_TABLE", "PERENNIAL_STATE_TABLE", "PERENNIAL_EVENT_BUS", "PERENNIAL_DEPLOYMENT"];
    for function in ["config-change", "reconcile"] {
        expect_failure(runtime.command(function, &[("AWS_REGION", "us-east-1")]), &variables).await;
    }
    let mut malformed = environment("http://127.0.0.1:1");
    malformed[0].1 = "a/b";
    malformed[3].1 = "Not A Deployment";
    let named = ["PERENNIAL_CONFIG_TABLE", "a/b", "PERENNIAL_DEPLOYMENT", "Not A Deployment"];
    expect_failure(runtime.command("instance-state", &malformed), &named).await;
}

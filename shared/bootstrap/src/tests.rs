//! Events as Lambda delivers them, against an engine that only notes what it is asked.

use std::cell::RefCell;
use std::io::Write;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use perennial_core::event::{AwsEvent, Envelope};
use perennial_core::failure::{Class, Failure};
use perennial_engine::backups::BackupTick;
use perennial_engine::configure::Configured;
use perennial_engine::passes::Tick;
use perennial_engine::ports::Reply;
use perennial_engine::snapshots::SnapshotTick;
use perennial_engine::wake::Woken;
use serde_json::{Value, json};

use crate::clock::FromTheFuture;
use crate::handle::{Entry, handle};
use crate::{Failed, Function};

#[derive(Default)]
struct Asked {
    calls: RefCell<Vec<String>>,
    fails_on: Option<&'static str>,
}

impl Asked {
    fn note<T>(&self, call: String, answer: T) -> Reply<T> {
        let fails = self.fails_on.is_some_and(|part| call.contains(part));
        self.calls.borrow_mut().push(call);
        if fails {
            Err(Failure::new(Class::Retry, "EC2:DescribeInstances", "Timeout", "late"))
        } else {
            Ok(answer)
        }
    }
}

impl Entry for &Asked {
    async fn take_event(&self, envelope: &Envelope) -> Reply<Woken> {
        let what = match &envelope.event {
            AwsEvent::SpotInterruption { instance, .. } => {
                format!("interrupted {instance} {}", envelope.time)
            }
            AwsEvent::InstanceState { instance, .. } => format!("wake {instance}"),
            AwsEvent::Snapshot { snapshots, .. } => format!("wake {}", snapshots[0].0),
            AwsEvent::Image { image, .. } => format!("wake {image}"),
            AwsEvent::Rebalance { .. } | AwsEvent::Other { .. } => return Ok(Woken::Unknown),
        };
        self.note(what, Woken::Unknown)
    }

    async fn configure(&self, id: &str) -> Reply<Configured> {
        self.note(format!("configure {id}"), Configured::Accepted)
    }

    async fn reconcile(&self) -> Reply<Tick> {
        self.note("reconcile".to_owned(), Tick::default())
    }

    async fn snapshot_pass(&self) -> Reply<SnapshotTick> {
        self.note("snapshot pass".to_owned(), SnapshotTick::default())
    }

    async fn backup_pass(&self) -> Reply<BackupTick> {
        self.note("backup pass".to_owned(), BackupTick::default())
    }

    fn whereabouts(&self) -> (&str, Timestamp) {
        ("prod", Timestamp::UNIX_EPOCH)
    }
}

async fn given(asked: &Asked, function: Function, event: &Value) -> Result<Value, Failed> {
    handle(function, event, |_| Ok(asked)).await
}

async fn calls(function: Function, event: Value) -> Vec<String> {
    let asked = Asked::default();
    given(&asked, function, &event).await.unwrap();
    asked.calls.into_inner()
}

fn aws(detail_type: &str, detail: Value) -> Value {
    json!({"version": "0", "id": "e1", "detail-type": detail_type, "source": "aws.ec2",
        "account": "123456789012", "time": "2026-11-20T10:00:00Z", "region": "us-east-2",
        "resources": ["arn:aws:ec2:us-east-2a:instance/i-1"], "detail": detail})
}

#[tokio::test(flavor = "current_thread")]
async fn a_notice_reaches_the_engine_with_the_time_of_the_event() {
    let detail = json!({"instance-id": "i-1", "instance-action": "terminate"});
    let event = aws("EC2 Spot Instance Interruption Warning", detail);
    let calls = calls(Function::SpotInterruption, event).await;
    assert_eq!(calls, ["interrupted i-1 2026-11-20T10:00:00Z"]);
}

#[tokio::test(flavor = "current_thread")]
async fn states_snapshots_and_images_wake_their_node() {
    let state =
        aws("EC2 Instance State-change Notification", json!({"instance-id": "i-1", "state": "terminated"}));
    assert_eq!(calls(Function::InstanceState, state).await, ["wake i-1"]);
    let snapshot = aws(
        "EBS Snapshot Notification",
        json!({"event": "createSnapshot", "result": "succeeded",
            "snapshot_id": "arn:aws:ec2::us-east-1:snapshot/snap-1", "source": "arn:aws:ec2::us-east-1:volume/vol-1"}),
    );
    assert_eq!(calls(Function::StorageState, snapshot).await, ["wake snap-1"]);
    let image =
        aws("EC2 AMI State Change", json!({"ImageId": "ami-1", "State": "available", "ErrorMessage": ""}));
    assert_eq!(calls(Function::StorageState, image).await, ["wake ami-1"]);
}

#[tokio::test(flavor = "current_thread")]
async fn a_malformed_or_foreign_event_is_dropped_and_not_repeated() {
    let no_instance = aws("EC2 Spot Instance Interruption Warning", json!({"instance-action": "terminate"}));
    let foreign = aws("EC2 Fleet Error", json!({}));
    let rebalance = aws("EC2 Instance Rebalance Recommendation", json!({"instance-id": "i-1"}));
    for event in [json!("nonsense"), json!({}), json!([1]), no_instance, foreign, rebalance] {
        assert_eq!(calls(Function::SpotInterruption, event.clone()).await, [""; 0], "{event}");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn an_event_from_the_future_is_dropped() {
    let event =
        aws("EC2 Instance State-change Notification", json!({"instance-id": "i-1", "state": "running"}));
    let future = |_| Err::<&Asked, _>(FromTheFuture { by: jiff::SignedDuration::from_secs(600) });
    assert_eq!(handle(Function::InstanceState, &event, future).await, Ok(Value::Null));
}

#[tokio::test(flavor = "current_thread")]
async fn a_tick_needs_no_body() {
    assert_eq!(calls(Function::Reconcile, json!({})).await, ["reconcile"]);
    assert_eq!(calls(Function::Reconcile, json!({"time": "2026-11-20T10:00:00Z"})).await, ["reconcile"]);
    assert_eq!(calls(Function::SnapshotSchedule, json!({})).await, ["snapshot pass"]);
    assert_eq!(calls(Function::Reconcile, json!({"id": "e", "time": "noon"})).await, [""; 0]);
}

#[tokio::test(flavor = "current_thread")]
async fn a_snapshot_tick_after_which_another_one_came_is_dropped() {
    // The engine's time is the beginning of 1970.
    let (late, stale) = (json!({"time": "1969-12-31T23:58:30Z"}), json!({"time": "1969-12-31T23:58:29Z"}));
    assert_eq!(calls(Function::SnapshotSchedule, late).await, ["snapshot pass"]);
    assert_eq!(calls(Function::SnapshotSchedule, stale.clone()).await, [""; 0]);
    assert_eq!(calls(Function::ImageBackup, stale.clone()).await, ["backup pass"]);
    assert_eq!(calls(Function::Reconcile, stale).await, ["reconcile"]);
}

#[tokio::test(flavor = "current_thread")]
async fn a_failure_is_told_to_lambda_under_a_stable_name() {
    let asked = Asked { fails_on: Some("reconcile"), ..Asked::default() };
    let failed = given(&asked, Function::Reconcile, &json!({})).await.unwrap_err();
    let told = lambda_runtime::Diagnostic::from(failed);
    assert_eq!(told.error_type, "Perennial.Retry");
    assert_eq!(told.error_message, "EC2:DescribeInstances answered Timeout: late");
}

fn change(number: &str, id: &str, old: Value, new: Value) -> Value {
    json!({"eventID": number, "eventName": "MODIFY", "eventSource": "aws:dynamodb",
        "dynamodb": {"ApproximateCreationDateTime": 1_795_168_800.5, "Keys": {"id": {"S": id}},
            "SequenceNumber": number, "OldImage": old, "NewImage": new}})
}

#[tokio::test(flavor = "current_thread")]
async fn each_changed_item_is_judged_once_in_order() {
    let none = Value::Null;
    let batch = json!({"Records": [
        change("1", "node#b", none.clone(), json!({"id": {"S": "node#b"}})),
        change("2", "node#a", json!({"id": {"S": "node#a"}}), none.clone()),
        change("3", "node#b", json!({"suspend": {"BOOL": true}}), json!({"suspend": {"BOOL": false}})),
    ]});
    assert_eq!(calls(Function::ConfigChange, batch).await, ["configure node#b", "configure node#a"]);
}

#[tokio::test(flavor = "current_thread")]
async fn our_own_answer_wakes_nobody() {
    let image = |status: &str| json!({"id": {"S": "node#a"}, "_status": {"S": status}});
    let batch = json!({"Records": [change("1", "node#a", image("old"), image("new"))]});
    assert_eq!(calls(Function::ConfigChange, batch).await, [""; 0]);
}

#[tokio::test(flavor = "current_thread")]
async fn a_failing_item_is_given_back_and_the_others_are_done() {
    let asked = Asked { fails_on: Some("node#b"), ..Asked::default() };
    let none = Value::Null;
    let batch = json!({"Records": [
        change("1", "node#a", none.clone(), none.clone()),
        change("2", "node#b", none.clone(), none.clone()),
        json!({"eventID": "odd", "dynamodb": {"Keys": {"id": {"N": "7"}}}}),
        change("4", "node#c", none.clone(), none),
    ]});
    let answer = given(&asked, Function::ConfigChange, &batch).await.unwrap();
    assert_eq!(answer, json!({"batchItemFailures": [{"itemIdentifier": "2"}]}));
    assert_eq!(asked.calls.into_inner(), ["configure node#a", "configure node#b", "configure node#c"]);
    let nothing = given(&Asked::default(), Function::ConfigChange, &json!({"x": 1})).await.unwrap();
    assert_eq!(nothing, json!({"batchItemFailures": []}));
}

/// A log that is kept.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(line)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn traces_which_hold_events_and_requests_whole_are_never_written() {
    use lambda_runtime::tracing::{Level, subscriber};

    let kept = Kept::default();
    let writer = kept.clone();
    let subscriber = subscriber::fmt()
        .with_max_level(Level::TRACE)
        .with_writer(crate::discreet(move || writer.clone()))
        .finish();
    tracing::subscriber::with_default(subscriber, || {
        tracing::trace!(body = "a whole event", "raw JSON event received from Lambda");
        tracing::debug!("an attempt begins");
        tracing::info!("driven");
    });
    let written = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
    assert!(written.contains("an attempt begins") && written.contains("driven"), "{written}");
    assert!(!written.contains("a whole event"), "{written}");
}

//! Scripted trouble does what it says: calls fail before or after their effect, processes die in the middle, and a
//! control request that makes no sense is refused.

use crate::support::{authorization, start, start_with};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

fn fault(when: &str) -> Value {
    json!([{"service": "dynamodb", "operation": "PutItem", "when": when,
            "error": {"code": "ProvisionedThroughputExceededException", "status": 400, "message": "slow down"}}])
}

#[tokio::test]
async fn a_fault_before_the_effect_leaves_nothing_behind() {
    let cloud = start(1.0).await;
    cloud.control("POST", "faults", &fault("before"));
    let refused = cloud.put("a", 1).await;
    assert_eq!(refused.status, 400);
    assert_eq!(refused.json()["__type"], "ProvisionedThroughputExceededException");
    assert_eq!(cloud.get("a").await, Value::Null);
    assert_eq!(cloud.put("a", 1).await.status, 200, "the fault is used up");
}

#[tokio::test]
async fn a_fault_after_the_effect_hides_a_success() {
    let cloud = start(1.0).await;
    cloud.control("POST", "faults", &fault("after"));
    assert_eq!(cloud.put("a", 1).await.status, 400);
    assert_eq!(cloud.get("a").await["v"]["N"], "1");
}

#[tokio::test]
async fn a_timeout_has_its_effect_and_no_answer() {
    let cloud = start(1.0).await;
    cloud.control(
        "POST",
        "faults",
        &json!([{"service": "dynamodb", "operation": "PutItem", "when": "timeout"}]),
    );
    let body = json!({"TableName": "things", "Item": {"id": {"S": "a"}}}).to_string();
    let mut unanswered = TcpStream::connect(cloud.server.address()).await.unwrap();
    let head = format!(
        "POST / HTTP/1.1\r\nhost: localhost\r\nx-amz-target: DynamoDB_20120810.PutItem\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    unanswered.write_all((head + &body).as_bytes()).await.unwrap();
    while cloud.get("a").await == Value::Null {}
    let calls = cloud.control("GET", "calls", &Value::Null)["calls"].clone();
    let put = calls.as_array().unwrap().iter().find(|call| call["operation"] == "PutItem").unwrap();
    assert_eq!((&put["status"], &put["error"]), (&json!(0), &json!("no answer")));
    assert_eq!(unanswered.try_read(&mut [0; 1]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn the_call_log_names_the_function_and_its_parameters() {
    let cloud = start(1.0).await;
    let get = json!({"TableName": "things", "Key": {"id": {"S": "a"}}});
    cloud.aws("DynamoDB_20120810.GetItem", Some("ticking"), &get).await;
    cloud.aws("DynamoDB_20120810.GetItem", None, &json!({"TableName": "things", "Key": {}})).await;
    let headers = [("authorization", authorization(Some("listening")))];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    cloud.send("POST", "/", &headers, "Action=DescribeVolumes&Version=2016-11-15").await;
    let calls = cloud.control("GET", "calls", &Value::Null)["calls"].clone();
    assert_eq!((&calls[0]["function"], &calls[0]["parameters"]), (&json!("ticking"), &get));
    assert_eq!((&calls[0]["status"], &calls[0]["seq"]), (&json!(200), &json!(1)));
    assert_eq!((&calls[1]["function"], &calls[1]["error"]), (&json!(null), &json!("ValidationException")));
    assert_eq!((&calls[2]["service"], &calls[2]["operation"]), (&json!("ec2"), &json!("DescribeVolumes")));
    assert_eq!(calls[2]["function"], "listening");
    let later = cloud.control("GET", "calls?since=2", &Value::Null)["calls"].clone();
    assert_eq!(later.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn an_ec2_fault_reads_like_ec2() {
    let cloud = start(1.0).await;
    cloud.control(
        "POST",
        "faults",
        &json!([{"service": "ec2", "operation": "*", "when": "before",
                 "error": {"code": "RequestLimitExceeded", "status": 503, "message": "a < b"}}]),
    );
    let refused = cloud.send("POST", "/", &[], "Action=DescribeVolumes&Version=2016-11-15").await;
    assert_eq!(refused.status, 503);
    assert!(
        refused.body.contains("<Code>RequestLimitExceeded</Code><Message>a &lt; b</Message>"),
        "{}",
        refused.body
    );
}

#[tokio::test]
async fn the_next_attachment_of_a_volume_hangs_as_told_and_guests_write_to_the_others() {
    let cloud = start(500.0).await;
    let call = async |rest: &str| {
        let answer = cloud.send("POST", "/", &[], &format!("Version=2016-11-15&Action={rest}")).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body
    };
    let field = |body: &str, name: &str| -> String {
        let (_, rest) = body.split_once(&format!("<{name}>")).unwrap();
        rest.split_once('<').unwrap().0.to_owned()
    };
    let run =
        call("RunInstances&MinCount=1&MaxCount=1&LaunchTemplate.LaunchTemplateName=perennial-demo").await;
    let instance = field(&run, "instanceId");
    let mut volumes = Vec::new();
    for _ in 0..2 {
        let made = call("CreateVolume&AvailabilityZone=us-east-1a&Size=1").await;
        volumes.push(field(&made, "volumeId"));
    }
    let shows = async |volume: &str, status: &str| {
        let body = call(&format!("DescribeVolumes&VolumeId.1={volume}")).await;
        body.contains(&format!("<status>{status}</status>"))
    };
    while !call("DescribeInstances").await.contains("<name>running</name>") {}
    while !shows(&volumes[1], "available").await {}
    cloud.control("POST", "hang", &json!({"volumeId": volumes[0]}));
    for (volume, device) in volumes.iter().zip(["sdf", "sdg"]) {
        call(&format!("AttachVolume&VolumeId={volume}&InstanceId={instance}&Device={device}")).await;
    }
    while !shows(&volumes[1], "attached").await {}
    assert!(shows(&volumes[0], "attaching").await, "the earlier one hangs");
    let written = cloud.control("POST", "write", &json!({"instanceId": instance, "allVolumes": true}));
    assert_eq!(written["volumes"].as_object().unwrap().len(), 2, "the root and the other: {written}");
    assert_eq!(written["volumes"][&volumes[1]], 1);
    call(&format!("DetachVolume&VolumeId={}", volumes[0])).await;
    while !shows(&volumes[0], "available").await {}
}

#[tokio::test]
async fn a_kill_comes_after_the_effect_of_the_next_call_and_the_event_is_tried_again() {
    let cloud = start(1000.0).await;
    assert_eq!(cloud.control("POST", "kill", &json!({"function": "listening"})), json!({"killed": "next"}));
    cloud.publish("Something Happened", json!({})).await;
    let work = cloud.next("listening").await;
    let put = json!({"TableName": "things", "Item": {"id": {"S": "made"}}});
    tokio::select! {
        answer = cloud.aws("DynamoDB_20120810.PutItem", Some("listening"), &put) => panic!("answered: {answer:?}"),
        // The effect is there although the caller never hears of it; the event comes again.
        again = cloud.next("listening") => assert_eq!(again.id, work.id),
    }
    assert_eq!(cloud.get("made").await["id"]["S"], "made");
    assert_eq!(cloud.outcomes("listening")[0], "killed");
    assert_eq!(
        cloud.respond("listening", &work, &json!({})).await.status,
        202,
        "the second attempt may answer"
    );
}

#[tokio::test]
async fn a_kill_in_the_middle_ends_the_invocation_at_once() {
    let cloud = start(1.0).await;
    cloud.publish("Something Happened", json!({})).await;
    let work = cloud.next("listening").await;
    assert_eq!(cloud.control("POST", "kill", &json!({"function": "listening"})), json!({"killed": "now"}));
    assert_eq!(cloud.outcomes("listening"), ["killed"]);
    assert_eq!(cloud.respond("listening", &work, &json!({})).await.status, 400, "its answer comes too late");
}

#[tokio::test]
async fn an_invocation_over_its_deadline_is_a_timeout_and_is_tried_again() {
    // The shortest deadline is five real seconds, whatever the speed.
    let cloud = start(1000.0).await;
    cloud.publish("Something Happened", json!({})).await;
    let work = cloud.next("listening").await;
    let again = cloud.next("listening").await;
    assert_eq!(again.id, work.id);
    assert_eq!(cloud.outcomes("listening")[0], "timeout");
}

#[tokio::test]
async fn control_requests_that_make_no_sense_are_refused_with_a_reason() {
    let cloud = start(1.0).await;
    let cases = [
        ("POST", "interrupt", json!({"instanceId": "i-1", "notise": true}), 400, "notise"),
        ("POST", "interrupt", json!({}), 400, "instanceId"),
        ("POST", "interrupt", json!({"instanceId": "i-0123456789abcdef0"}), 404, "i-0123456789abcdef0"),
        ("POST", "write", json!({}), 400, "volumeId"),
        ("POST", "write", json!({"instanceId": "i-1", "volumeId": "vol-1"}), 400, "volumeId"),
        ("POST", "write", json!({"volumeId": "vol-1", "times": -1}), 400, "-1"),
        ("POST", "write", json!({"volumeId": "vol-1", "allVolumes": true}), 400, "allVolumes"),
        ("POST", "hang", json!({}), 400, "volumeId"),
        ("POST", "hang", json!({"volumeId": "vol-0123456789abcdef0"}), 404, "vol-0123456789abcdef0"),
        (
            "POST",
            "capacity",
            json!({"instanceType": "t3.micro", "zone": "mars-1a", "market": "spot", "available": 0}),
            400,
            "mars-1a",
        ),
        (
            "POST",
            "capacity",
            json!({"instanceType": "t3.micro", "zone": "us-east-1a", "market": "gift", "available": 0}),
            400,
            "gift",
        ),
        ("POST", "events", json!({"detailType": "*", "action": "delay"}), 400, "delaySeconds"),
        ("POST", "events", json!({"detailType": "*", "action": "lose"}), 400, "lose"),
        ("POST", "faults", json!([{"service": "s3", "operation": "*", "when": "before"}]), 400, "s3"),
        ("POST", "faults", json!([{"service": "ec2", "operation": "*", "when": "before"}]), 400, "error"),
        ("POST", "fail", json!({}), 400, "imageId"),
        ("POST", "fail", json!({"imageId": "ami-1", "snapshotId": "snap-1"}), 400, "snapshotId"),
        ("POST", "fail", json!({"volumeId": "vol-1"}), 400, "volumeId"),
        ("POST", "fail", json!({"imageId": "ami-0123456789abcdef0"}), 404, "ami-0123456789abcdef0"),
        ("POST", "fail", json!({"snapshotId": "snap-0123456789abcdef0"}), 404, "snap-0123456789abcdef0"),
        ("POST", "impair", json!({"impaired": true}), 400, "instanceId"),
        ("POST", "impair", json!({"instanceId": "i-0123456789abcdef0"}), 404, "i-0123456789abcdef0"),
        ("POST", "impair", json!({"instanceId": "i-0123456789abcdef0", "ill": true}), 400, "ill"),
        ("POST", "spoil", json!({"imageId": "ami-0123456789abcdef0"}), 404, "ami-0123456789abcdef0"),
        ("POST", "spoil", json!({"imageId": "ami-0123456789abcdef0", "once": true}), 400, "once"),
        ("POST", "kill", json!({"function": "nobody"}), 404, "listening"),
        ("GET", "volumes/vol-1", Value::Null, 404, "vol-1"),
        ("GET", "calls?since=x", Value::Null, 400, "x"),
        ("GET", "clock?at=now", Value::Null, 400, "at=now"),
        ("GET", "nowhere", Value::Null, 404, "clock"),
        ("POST", "clock", json!({}), 404, "clock"),
    ];
    for (method, path, body, status, named) in cases {
        let answer = cloud.send(method, &format!("/_cloud/{path}"), &[], &body.to_string()).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.body);
        let reason = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(reason.contains(named), "{method} {path}: {reason}");
    }
    let clock = cloud.send("GET", "/_cloud/clock", &[], "").await.json();
    assert_eq!(clock["speed"], 1.0);
    assert!(clock["now"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
}

#[tokio::test]
async fn images_fail_and_guests_are_impaired_as_told() {
    let cloud = start_with(|options| {
        let zero = jiff::SignedDuration::ZERO;
        (options.settings.boot, options.settings.status_checks) = (zero, zero);
        // So slow that they are still pending when they are made to fail.
        options.settings.snapshot_base = jiff::SignedDuration::from_hours(1);
        options.settings.create_image_limit = 9;
    })
    .await;
    let ask = async |rest: &str| {
        let answer = cloud.send("POST", "/", &[], &format!("Version=2016-11-15&Action={rest}")).await;
        assert_eq!(answer.status, 200, "{rest}: {}", answer.body);
        answer.body
    };
    let base = cloud.server.defaults().image_id.clone();
    let launch = async || {
        let run = format!("RunInstances&MinCount=1&MaxCount=1&InstanceType=m5.large&ImageId={base}");
        element(&ask(&run).await, "instanceId")
    };
    let health = async |id: &str| {
        let answer = ask(&format!("DescribeInstanceStatus&InstanceId.1={id}")).await;
        element(&element(&answer, "instanceStatus"), "status")
    };
    let id = launch().await;
    assert_eq!(health(&id).await, "ok");
    cloud.control("POST", "impair", &json!({"instanceId": id}));
    assert_eq!(health(&id).await, "impaired");
    cloud.control("POST", "impair", &json!({"instanceId": id, "impaired": false}));
    assert_eq!(health(&id).await, "ok");
    cloud.control("POST", "spoil", &json!({"imageId": base}));
    let spoiled = launch().await;
    assert_eq!((health(&spoiled).await.as_str(), health(&id).await.as_str()), ("impaired", "ok"));

    let image = async |name: &str| {
        let make = format!("CreateImage&NoReboot=true&InstanceId={id}&Name={name}");
        element(&ask(&make).await, "imageId")
    };
    let shown = async |id: &str| ask(&format!("DescribeImages&ImageId.1={id}")).await;
    let one = image("one").await;
    assert_eq!(element(&shown(&one).await, "imageState"), "pending");
    cloud.control("POST", "fail", &json!({"imageId": one}));
    assert_eq!(element(&shown(&one).await, "imageState"), "failed");
    let two = image("two").await;
    let snapshot = element(&shown(&two).await, "snapshotId");
    cloud.control("POST", "fail", &json!({"snapshotId": snapshot}));
    assert_eq!(element(&shown(&two).await, "imageState"), "failed");
    let (status, again) = cloud.server.control("POST", "fail", &json!({"imageId": two}));
    assert_eq!((status, &again["code"]), (400, &json!("IncorrectState")));
}

/// The content of the first element of a name.
fn element(body: &str, name: &str) -> String {
    let (_, rest) = body.split_once(&format!("<{name}>")).unwrap_or_else(|| panic!("no {name} in {body}"));
    rest.split_once(&format!("</{name}>")).unwrap().0.to_owned()
}

#[tokio::test]
async fn a_bare_cloud_matches_events_and_runs_nothing() {
    let cloud = start_with(|_| {}).await;
    assert_eq!(cloud.publish("Something Happened", json!({})).await.json()["FailedEntryCount"], 0);
    assert_eq!(cloud.control("GET", "functions", &Value::Null), json!({"functions": {}}));
    let poll = cloud.send("GET", "/_lambda/listening/2018-06-01/runtime/invocation/next", &[], "").await;
    assert_eq!(poll.status, 404);
}

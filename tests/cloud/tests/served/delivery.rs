//! Events reach functions as on AWS: in order from streams, retried when a function fails, buried when it keeps failing.

use crate::support::start;
use serde_json::{Value, json};

#[tokio::test]
async fn a_schedule_ticks_each_minute_of_cloud_time() {
    let cloud = start(600.0).await;
    let first = cloud.next("ticking").await;
    assert_eq!(first.event["detail-type"], "Scheduled Event");
    assert_eq!(first.event["source"], "aws.events");
    assert_eq!(first.event["resources"], json!(["arn:aws:events:us-east-1:123456789012:rule/TickingMinute"]));
    assert!(first.headers["lambda-runtime-deadline-ms"].to_str().unwrap().parse::<u64>().unwrap() > 0);
    assert_eq!(cloud.respond("ticking", &first, &json!({})).await.status, 202);
    let second = cloud.next("ticking").await;
    let time = |event: &Value| event["time"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let apart = time(&second.event).duration_since(time(&first.event));
    assert_eq!(apart.as_secs() % 60, 0, "ticks are whole minutes apart");
    assert_eq!(cloud.outcomes("ticking")[0], "ok");
}

#[tokio::test]
async fn a_failing_event_is_tried_three_times_and_then_buried() {
    let cloud = start(1000.0).await;
    cloud.publish("Something Happened", json!({"node": "db"})).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        let work = cloud.next("listening").await;
        assert_eq!(work.event["detail"], json!({"node": "db"}));
        ids.push(work.id.clone());
        cloud.fail("listening", &work).await;
    }
    assert!(ids.iter().all(|id| *id == ids[0]), "one event keeps its request id: {ids:?}");
    assert_eq!(cloud.outcomes("listening"), ["error", "error", "error"]);
    let buried = cloud.control("GET", "dead-letters", &Value::Null)["deadLetters"].clone();
    assert_eq!(buried[0]["function"], "listening");
    assert_eq!(buried[0]["attempts"], 3);
    assert_eq!(buried[0]["payload"]["detail-type"], "Something Happened");
    assert!(buried[0]["reason"].as_str().unwrap().contains("Boom"), "{buried}");

    let invocations = cloud.control("GET", "invocations", &Value::Null)["invocations"].clone();
    let time = |index: usize, field: &str| -> jiff::Timestamp {
        let mine: Vec<&Value> =
            invocations.as_array().unwrap().iter().filter(|entry| entry["function"] == "listening").collect();
        mine[index][field].as_str().unwrap().parse().unwrap()
    };
    assert!(
        time(1, "start").duration_since(time(0, "end")).as_secs() >= 60,
        "a minute before the first retry"
    );
    assert!(time(2, "start").duration_since(time(1, "end")).as_secs() >= 120, "two before the second");
}

#[tokio::test]
async fn changes_of_a_table_come_in_order_with_both_images() {
    let cloud = start(1.0).await;
    for value in 1..=3 {
        cloud.put("a", value).await;
    }
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let work = cloud.next("reading").await;
        for record in work.event["Records"].as_array().unwrap() {
            assert_eq!(record["eventSource"], "aws:dynamodb");
            assert_eq!(record["awsRegion"], "us-east-1");
            let arn = record["eventSourceARN"].as_str().unwrap();
            assert!(arn.starts_with("arn:aws:dynamodb:us-east-1:123456789012:table/things/stream/"), "{arn}");
            let change = &record["dynamodb"];
            assert!(change["ApproximateCreationDateTime"].is_number());
            seen.push((
                record["eventName"].clone(),
                change["OldImage"]["v"]["N"].clone(),
                change["NewImage"]["v"]["N"].clone(),
            ));
        }
        cloud.respond("reading", &work, &json!({"batchItemFailures": []})).await;
    }
    assert_eq!(json!(seen), json!([["INSERT", null, "1"], ["MODIFY", "1", "2"], ["MODIFY", "2", "3"]]));
}

#[tokio::test]
async fn reported_records_are_tried_again_and_buried_at_the_limit() {
    let cloud = start(100.0).await;
    cloud.put("bad", 1).await;
    for _ in 0..2 {
        let work = cloud.next("reading").await;
        let number = work.event["Records"][0]["dynamodb"]["SequenceNumber"].clone();
        cloud.respond("reading", &work, &json!({"batchItemFailures": [{"itemIdentifier": number}]})).await;
    }
    let buried = cloud.control("GET", "dead-letters", &Value::Null)["deadLetters"].clone();
    assert_eq!(buried[0]["trigger"], "stream");
    assert_eq!(buried[0]["payload"]["Records"][0]["dynamodb"]["Keys"], json!({"id": {"S": "bad"}}));
    cloud.put("good", 1).await;
    let work = cloud.next("reading").await;
    assert_eq!(work.event["Records"][0]["dynamodb"]["Keys"], json!({"id": {"S": "good"}}));
}

#[tokio::test]
async fn events_are_dropped_doubled_and_delayed_as_told() {
    let cloud = start(1000.0).await;
    let fault = json!({"detailType": "Lost", "action": "drop", "times": -1});
    cloud.control("POST", "events", &fault);
    cloud.control("POST", "events", &json!({"detailType": "Double", "action": "duplicate"}));
    let fault = json!({"detailType": "Late", "action": "delay", "delaySeconds": 3600, "node": "db"});
    cloud.control("POST", "events", &fault);
    for (detail_type, node) in [("Lost", "db"), ("Late", "db"), ("Double", "db"), ("Late", "web")] {
        cloud.publish(detail_type, json!({"node": node})).await;
    }
    let mut order = Vec::new();
    for _ in 0..4 {
        let work = cloud.next("listening").await;
        order.push(format!(
            "{} {}",
            work.event["detail-type"].as_str().unwrap(),
            work.event["detail"]["node"].as_str().unwrap()
        ));
        cloud.respond("listening", &work, &Value::Null).await;
    }
    assert_eq!(order, ["Double db", "Double db", "Late web", "Late db"]);
    cloud.control("DELETE", "events", &Value::Null);
    cloud.publish("Lost", json!({})).await;
    assert_eq!(cloud.next("listening").await.event["detail-type"], "Lost");
}

#[tokio::test]
async fn published_events_can_be_read_back_and_bad_entries_fail_alone() {
    let cloud = start(1.0).await;
    let entries = json!({"Entries": [
        {"Source": "test", "DetailType": "Good", "Detail": "{\"a\":1}", "EventBusName": "own", "Resources": ["r"]},
        {"Source": "test", "DetailType": "Bad", "Detail": "[1]", "EventBusName": "own"},
        {"Source": "aws.ec2", "DetailType": "Forged", "Detail": "{}"},
        {"Source": "test", "DetailType": "Astray", "Detail": "{}", "EventBusName": "nowhere"},
        {"DetailType": "Anonymous", "Detail": "{}"},
    ]});
    let answer = cloud.aws("AWSEvents.PutEvents", None, &entries).await.json();
    assert_eq!(answer["FailedEntryCount"], 4);
    let codes: Vec<Value> =
        answer["Entries"].as_array().unwrap().iter().map(|entry| entry["ErrorCode"].clone()).collect();
    assert_eq!(
        json!(codes),
        json!([
            null,
            "MalformedDetail",
            "NotAuthorizedForSourceException",
            "ResourceNotFoundException",
            "InvalidArgument"
        ])
    );
    let events = cloud.control("GET", "events?since=0", &Value::Null)["events"].clone();
    assert_eq!(events.as_array().unwrap().len(), 1);
    assert_eq!(events[0]["bus"], "own");
    assert_eq!(events[0]["detailType"], "Good");
    assert_eq!(events[0]["detail"], json!({"a": 1}));
    assert_eq!(events[0]["resources"], json!(["r"]));
    assert_eq!(cloud.control("GET", "events?since=1", &Value::Null)["events"], json!([]));
    let many = json!({"Entries": vec![json!({"Source": "s", "DetailType": "d", "Detail": "{}"}); 11]});
    assert_eq!(cloud.aws("AWSEvents.PutEvents", None, &many).await.status, 400);
}

#[tokio::test]
async fn an_instance_that_starts_wakes_its_function_and_is_written_to_and_interrupted() {
    let cloud = start(500.0).await;
    let run = "Action=RunInstances&Version=2016-11-15&MinCount=1&MaxCount=1&InstanceMarketOptions.MarketType=spot\
               &LaunchTemplate.LaunchTemplateName=perennial-demo\
               &TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=perennial:node\
               &TagSpecification.1.Tag.1.Value=";
    // Events about one node are lost, those about the other are not.
    let fault = json!({"detailType": "*", "node": "web", "action": "drop", "times": -1});
    cloud.control("POST", "events", &fault);
    for node in ["web", "db"] {
        let answer = cloud.send("POST", "/", &[], &format!("{run}{node}")).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    let work = cloud.next("listening").await;
    assert_eq!(work.event["detail"]["state"], "running");
    let id = work.event["detail"]["instance-id"].as_str().unwrap().to_owned();
    let query = format!("Action=DescribeInstances&Version=2016-11-15&InstanceId.1={id}");
    let described = cloud.send("POST", "/", &[], &query).await.body;
    assert!(described.contains("<value>db</value>"), "{described}");

    assert_eq!(cloud.control("POST", "write", &json!({"instanceId": id, "times": 3})), json!({"writes": 3}));
    let (_, volume) = described.split_once("<volumeId>").unwrap();
    let (volume, _) = volume.split_once('<').unwrap();
    let contents = cloud.control("GET", &format!("volumes/{volume}"), &Value::Null);
    assert_eq!(contents["writes"], 3);
    cloud.control("POST", "interrupt", &json!({"instanceId": id}));
    cloud.respond("listening", &work, &Value::Null).await;
    assert_eq!(cloud.outcomes("listening"), ["ok"], "the other instance's event never came");
}

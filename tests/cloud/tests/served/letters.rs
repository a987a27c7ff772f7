//! Under the project's own template, what a function fails on to the end lies in its own queue, by its own right.

use std::collections::BTreeSet;

use crate::support::{Running, authorization, own_template, start_with};
use perennial_cloud::Functions;
use serde_json::{Value, json};

/// Makes every kind of trigger happen: an edit, a spot instance that runs and is taken back, a snapshot; ticks come by
/// themselves.
async fn wake_everyone(cloud: &Running) {
    let item = json!({"TableName": "perennial-config", "Item": {"id": {"S": "node#a"}}});
    assert_eq!(cloud.aws("DynamoDB_20120810.PutItem", None, &item).await.status, 200);
    let made = cloud.server.defaults();
    let launch = form_urlencoded::Serializer::new(String::new())
        .append_pair("Action", "RunInstances")
        .append_pair("Version", "2016-11-15")
        .extend_pairs([("ImageId", made.image_id.as_str()), ("SubnetId", made.subnet_ids[0].as_str())])
        .extend_pairs([("InstanceType", "m5.large"), ("MinCount", "1"), ("MaxCount", "1")])
        .append_pair("InstanceMarketOptions.MarketType", "spot")
        .finish();
    let answer = cloud.send("POST", "/", &[("authorization", &authorization(None))], &launch).await;
    let id = |name: &str, body: &str| {
        let (_, rest) = body.split_once(&format!("<{name}>")).unwrap_or_else(|| panic!("no {name}: {body}"));
        rest.split('<').next().unwrap_or_default().to_owned()
    };
    let instance = id("instanceId", &answer.body);
    let form = |action: &str, rest: &str| format!("Action={action}&Version=2016-11-15&{rest}");
    let volume = loop {
        let describe = form("DescribeInstances", &format!("InstanceId.1={instance}"));
        let shown = cloud.send("POST", "/", &[], &describe).await.body;
        if shown.contains("<name>running</name>") {
            break id("volumeId", &shown);
        }
    };
    let snapshot = cloud.send("POST", "/", &[], &form("CreateSnapshot", &format!("VolumeId={volume}"))).await;
    assert_eq!(snapshot.status, 200, "{}", snapshot.body);
    cloud.control("POST", "interrupt", &json!({"instanceId": instance}));
}

#[tokio::test]
async fn every_function_leaves_what_it_failed_on_in_its_own_queue() {
    let cloud = start_with(|options| {
        options.template = own_template();
        options.functions = Functions::Elsewhere;
        options.speed = 600.0;
    })
    .await;
    wake_everyone(&cloud).await;
    let functions: BTreeSet<String> = cloud.server.functions().iter().cloned().collect();
    assert_eq!(functions.len(), 7);
    for function in &functions {
        let is_buried = || {
            let letters = cloud.control("GET", "dead-letters", &Value::Null)["deadLetters"].clone();
            letters.as_array().is_some_and(|all| all.iter().any(|it| it["function"] == function.as_str()))
        };
        while !is_buried() {
            let work = cloud.next(function).await;
            cloud.fail(function, &work).await;
        }
    }
    assert_eq!(cloud.control("GET", "rights", &Value::Null)["denied"], json!([]));
}

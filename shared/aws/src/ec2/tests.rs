//! What goes over the wire, against a server that answers from a list.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_ec2::config::{BehaviorVersion, Credentials, Region};
use perennial_core::launch::{LaunchNetwork, Market, Settings};
use perennial_core::names::Tags;

use super::*;

/// An EC2 that gives these answers, one after the other, and notes what it was sent.
fn ec2(answers: Vec<(u16, &'static str)>) -> (Ec2Adapter, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let sent = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&sent);
    std::thread::spawn(move || {
        for (status, body) in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(&stream);
            let (mut line, mut length) = (String::new(), 0);
            while reader.read_line(&mut line).unwrap() > 2 {
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
            }
            let mut request = vec![0; length];
            reader.read_exact(&mut request).unwrap();
            noted.lock().unwrap().push(String::from_utf8(request).unwrap());
            let size = body.len();
            let head = format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {size}\r\n\r\n");
            stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        }
    });
    let config = aws_sdk_ec2::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new("eu-west-1"))
        .endpoint_url(url)
        .credentials_provider(Credentials::new("key", "secret", None, None, "test"))
        .retry_config(RetryConfig::standard().with_initial_backoff(Duration::from_millis(1)));
    (Ec2Adapter::new(Client::from_conf(config.build())), sent)
}

fn request() -> LaunchRequest {
    LaunchRequest {
        token: "token".into(),
        template_id: "lt-1".into(),
        template_version: 1,
        image_id: ImageId::new("ami-1"),
        instance_type: "t3.small".into(),
        market: Market::Spot,
        max_spot_price: None,
        zone: "eu-west-1a".into(),
        network: LaunchNetwork::Kept { eni_id: InterfaceId::new("eni-1") },
        devices: Vec::new(),
        settings: Settings::default(),
        instance_tags: Tags::new(),
        volume_tags: Tags::new(),
    }
}

const NO_CAPACITY: &str = "<Response><Errors><Error><Code>InsufficientInstanceCapacity</Code>\
    <Message>none left</Message></Error></Errors><RequestID>r</RequestID></Response>";
const THROTTLED: &str = "<Response><Errors><Error><Code>RequestLimitExceeded</Code>\
    <Message>slower</Message></Error></Errors><RequestID>r</RequestID></Response>";
const NO_TEMPLATE: &str = "<Response><Errors><Error><Code>InvalidLaunchTemplateId.NotFound</Code>\
    <Message>no such template</Message></Error></Errors><RequestID>r</RequestID></Response>";

#[tokio::test(flavor = "current_thread")]
async fn a_launch_is_sent_once_even_where_the_sdk_would_repeat() {
    let (ec2, sent) = ec2(vec![(500, NO_CAPACITY), (500, NO_CAPACITY)]);
    let failure = ec2.launch(&request()).await.unwrap_err();
    assert_eq!((failure.class, failure.code.as_str()), (Class::NextRung, "InsufficientInstanceCapacity"));
    let sent = sent.lock().unwrap();
    assert_eq!(sent.len(), 1);
    assert!(sent[0].contains("Action=RunInstances") && sent[0].contains("ClientToken=token"), "{}", sent[0]);
    assert!(!sent[0].contains("LaunchTemplate"), "{}", sent[0]);
}

#[tokio::test(flavor = "current_thread")]
async fn another_call_is_repeated_after_a_throttle() {
    let found = "<DescribeVolumesResponse><volumeSet><item><volumeId>vol-1</volumeId><size>8</size>\
        <status>available</status></item></volumeSet></DescribeVolumesResponse>";
    let (ec2, sent) = ec2(vec![(503, THROTTLED), (200, found)]);
    let volumes = ec2.volumes(&[VolumeId::new("vol-1"), VolumeId::new("vol-2")]).await.unwrap();
    assert_eq!(volumes.len(), 1, "what does not exist is left out");
    let sent = sent.lock().unwrap();
    assert_eq!(sent.len(), 2);
    assert!(sent[1].contains("Filter.1.Name=volume-id&Filter.1.Value.1=vol-1&Filter.1.Value.2=vol-2"));
    assert!(!sent[1].contains("VolumeId."), "{}", sent[1]);
}

#[tokio::test(flavor = "current_thread")]
async fn reads_go_through_every_page_and_nothing_is_read_for_no_ids() {
    let page = "<DescribeSnapshotsResponse><snapshotSet><item><snapshotId>snap-1</snapshotId>\
        <volumeId>vol-1</volumeId><status>completed</status><startTime>2026-11-20T10:00:00.000Z</startTime>\
        </item></snapshotSet><nextToken>more</nextToken></DescribeSnapshotsResponse>";
    let last = "<DescribeSnapshotsResponse><snapshotSet><item><snapshotId>snap-2</snapshotId>\
        <volumeId>vol-1</volumeId><status>pending</status><startTime>2026-11-20T10:05:00.000Z</startTime>\
        </item></snapshotSet></DescribeSnapshotsResponse>";
    let (ec2, sent) = ec2(vec![(200, page), (200, last)]);
    assert!(ec2.snapshots(&[]).await.unwrap().is_empty());
    let found = ec2.snapshots_for("prod", &Purpose::ROTATED).await.unwrap();
    assert_eq!(found.iter().map(|s| s.id.as_str()).collect::<Vec<_>>(), ["snap-1", "snap-2"]);
    let sent = sent.lock().unwrap();
    assert_eq!(sent.len(), 2);
    assert!(sent[0].contains("Owner.1=self") && sent[1].contains("NextToken=more"));
}

#[tokio::test(flavor = "current_thread")]
async fn a_template_that_does_not_exist_is_an_answer() {
    let (ec2, _) = ec2(vec![(400, NO_TEMPLATE)]);
    let spec = TemplateSpec { which: TemplateRef::Id("lt-1".into()), version: "$Default".into() };
    assert_eq!(ec2.template(&spec).await, Ok(None));
}

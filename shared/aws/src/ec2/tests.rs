//! What goes over the wire, against a server that answers from a list.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_ec2::config::{BehaviorVersion, Credentials, Region};
use perennial_core::launch::{LaunchNetwork, Market, Settings};
use perennial_core::observation::{ImageState, VolumeShape, VolumeState};

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
const TAKEN: &str = "<CreateSnapshotResponse><snapshotId>snap-2</snapshotId><volumeId>vol-1</volumeId>\
    <status>pending</status><startTime>2026-11-20T10:05:00.000Z</startTime></CreateSnapshotResponse>";
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

fn snapshot(purpose: Purpose) -> SnapshotRequest {
    SnapshotRequest {
        volume: VolumeId::new("vol-1"),
        purpose,
        key: "k".into(),
        tags: Tags::new(),
        description: String::new(),
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_throttle_of_what_the_pass_paces_comes_back_at_once() {
    let (ec2, sent) = ec2(vec![(503, THROTTLED), (503, THROTTLED), (503, THROTTLED), (200, TAKEN)]);
    let refused = ec2.create_snapshot(&snapshot(Purpose::Periodic)).await.unwrap_err();
    assert_eq!(refused.class, Class::Retry);
    let refused = ec2.delete_snapshot(&SnapshotId::new("snap-1")).await.unwrap_err();
    assert_eq!(refused.class, Class::Retry);
    assert_eq!(sent.lock().unwrap().len(), 2);
    let last = ec2.create_snapshot(&snapshot(Purpose::Final)).await.unwrap();
    assert_eq!((last.id.as_str(), last.full_bytes), ("snap-2", None), "a final one is asked for again");
    assert_eq!(sent.lock().unwrap().len(), 4);
}

fn set(purpose: Purpose) -> SetRequest {
    SetRequest {
        instance: InstanceId::new("i-1"),
        volumes: vec![VolumeId::new("vol-1"), VolumeId::new("vol-2")],
        without_root: true,
        without: vec![VolumeId::new("vol-9")],
        purpose,
        key: "k".into(),
        tags: Tags::from([("perennial:parts".into(), "2".into())]),
        description: String::new(),
    }
}

const SET_TAKEN: &str = "<CreateSnapshotsResponse><snapshotSet>\
    <item><snapshotId>snap-1</snapshotId><volumeId>vol-1</volumeId><state>pending</state>\
    <startTime>2026-11-20T10:05:00.000Z</startTime></item>\
    <item><snapshotId>snap-2</snapshotId><volumeId>vol-2</volumeId><state>pending</state>\
    <startTime>2026-11-20T10:05:00.000Z</startTime></item>\
    </snapshotSet></CreateSnapshotsResponse>";

#[tokio::test(flavor = "current_thread")]
async fn a_set_is_one_call_that_is_sent_once_where_the_pass_paces_it() {
    let (ec2, sent) = ec2(vec![(503, THROTTLED), (503, THROTTLED), (503, THROTTLED), (200, SET_TAKEN)]);
    for purpose in [Purpose::Periodic, Purpose::Rebalance] {
        let refused = ec2.create_snapshots(&set(purpose)).await.unwrap_err();
        assert_eq!((refused.class, refused.call), (Class::Retry, "EC2:CreateSnapshots"));
    }
    assert_eq!(sent.lock().unwrap().len(), 2);
    let taken = ec2.create_snapshots(&set(Purpose::Warning)).await.unwrap();
    let told: Vec<_> = taken.iter().map(|it| (it.id.as_str(), it.volume.as_str())).collect();
    assert_eq!(told, [("snap-1", "vol-1"), ("snap-2", "vol-2")], "at a notice it is asked for again");
    let sent = sent.lock().unwrap();
    assert_eq!(sent.len(), 4);
    for part in [
        "Action=CreateSnapshots&",
        "InstanceSpecification.InstanceId=i-1",
        "InstanceSpecification.ExcludeBootVolume=true",
        "InstanceSpecification.ExcludeDataVolumeId.1=vol-9",
        "TagSpecification.1.ResourceType=snapshot",
        "TagSpecification.1.Tag.1.Key=perennial%3Aparts&TagSpecification.1.Tag.1.Value=2",
    ] {
        assert!(sent[3].contains(part), "{part}: {}", sent[3]);
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_volume_is_made_under_its_token_and_attached_as_its_device() {
    let made = "<CreateVolumeResponse><volumeId>vol-2</volumeId><size>20</size><status>creating</status>\
        <snapshotId>snap-1</snapshotId></CreateVolumeResponse>";
    let attaching = "<AttachVolumeResponse><volumeId>vol-2</volumeId><status>attaching</status>\
        </AttachVolumeResponse>";
    let in_use = "<Response><Errors><Error><Code>VolumeInUse</Code><Message>in use</Message></Error></Errors>\
        <RequestID>r</RequestID></Response>";
    let (ec2, sent) = ec2(vec![(503, THROTTLED), (200, made), (200, attaching), (400, in_use)]);
    let request = VolumeRequest {
        token: "token".into(),
        device: "/dev/sdf".into(),
        snapshot: SnapshotId::new("snap-1"),
        zone: "eu-west-1a".into(),
        shape: VolumeShape { size_gib: 20, volume_type: "gp3".into(), ..VolumeShape::default() },
        tags: Tags::from([("perennial:key".into(), "token".into())]),
    };
    let volume = ec2.create_volume(&request).await.unwrap();
    assert_eq!((volume.id.as_str(), volume.state), ("vol-2", VolumeState::Creating));
    ec2.attach_volume(&volume.id, &InstanceId::new("i-1"), "/dev/sdf").await.unwrap();
    let refused = ec2.attach_volume(&volume.id, &InstanceId::new("i-2"), "/dev/sdf").await.unwrap_err();
    assert_eq!((refused.class, refused.call), (Class::NotYet, "EC2:AttachVolume"));
    let sent = sent.lock().unwrap();
    assert!(sent[1].contains("Action=CreateVolume&") && sent[1].contains("ClientToken=token"), "{}", sent[1]);
    assert!(sent[1].contains("SnapshotId=snap-1") && !sent[1].contains("Encrypted"), "{}", sent[1]);
    assert!(sent[1].contains("TagSpecification.1.ResourceType=volume"), "{}", sent[1]);
    for part in ["Action=AttachVolume&", "Device=%2Fdev%2Fsdf", "InstanceId=i-1", "VolumeId=vol-2"] {
        assert!(sent[2].contains(part), "{part}: {}", sent[2]);
    }
}

#[tokio::test(flavor = "current_thread")]
async fn snapshots_of_several_volumes_are_one_read() {
    let (ec2, sent) = ec2(vec![(200, "<DescribeSnapshotsResponse/>")]);
    assert!(ec2.snapshots_of(&[]).await.unwrap().is_empty());
    let volumes = [VolumeId::new("vol-1"), VolumeId::new("vol-2")];
    assert!(ec2.snapshots_of(&volumes).await.unwrap().is_empty());
    let sent = sent.lock().unwrap();
    assert_eq!(sent.len(), 1);
    assert!(sent[0].contains("Filter.1.Name=volume-id&Filter.1.Value.1=vol-1&Filter.1.Value.2=vol-2"));
    assert!(sent[0].contains("Owner.1=self"), "{}", sent[0]);
}

#[tokio::test(flavor = "current_thread")]
async fn reads_go_through_every_page_and_nothing_is_read_for_no_ids() {
    let page = "<DescribeSnapshotsResponse><snapshotSet><item><snapshotId>snap-1</snapshotId>\
        <volumeId>vol-1</volumeId><status>completed</status><startTime>2026-11-20T10:00:00.000Z</startTime>\
        <fullSnapshotSizeInBytes>8589934592</fullSnapshotSizeInBytes>\
        </item></snapshotSet><nextToken>more</nextToken></DescribeSnapshotsResponse>";
    let last = "<DescribeSnapshotsResponse><snapshotSet><item><snapshotId>snap-2</snapshotId>\
        <volumeId>vol-1</volumeId><status>pending</status><startTime>2026-11-20T10:05:00.000Z</startTime>\
        </item></snapshotSet></DescribeSnapshotsResponse>";
    let (ec2, sent) = ec2(vec![(200, page), (200, last)]);
    assert!(ec2.snapshots(&[]).await.unwrap().is_empty());
    let rotated = Tagged { purposes: &Purpose::ROTATED, ..Tagged::of("prod") };
    let found = ec2.snapshots_tagged(&rotated).await.unwrap();
    assert_eq!(found.iter().map(|s| s.id.as_str()).collect::<Vec<_>>(), ["snap-1", "snap-2"]);
    assert_eq!(found.iter().map(|s| s.full_bytes).collect::<Vec<_>>(), [Some(8 << 30), None]);
    let sent = sent.lock().unwrap();
    assert_eq!(sent.len(), 2);
    assert!(sent[0].contains("Owner.1=self") && sent[1].contains("NextToken=more"));
    assert!(sent[0].contains("Filter.1.Name=tag%3Aperennial%3Adeployment&Filter.1.Value.1=prod"));
    let purposes =
        "Filter.2.Name=tag%3Aperennial%3Apurpose&Filter.2.Value.1=periodic&Filter.2.Value.2=warning";
    assert!(sent[0].contains(purposes), "{}", sent[0]);
}

#[tokio::test(flavor = "current_thread")]
async fn a_template_that_does_not_exist_is_an_answer() {
    let (ec2, _) = ec2(vec![(400, NO_TEMPLATE)]);
    let spec = TemplateSpec { which: TemplateRef::Id("lt-1".into()), version: "$Default".into() };
    assert_eq!(ec2.template(&spec).await, Ok(None));
}

const DONE: &str = "<Response><return>true</return></Response>";

#[tokio::test(flavor = "current_thread")]
async fn reads_by_tags_ask_for_all_of_them() {
    let (ec2, sent) = ec2(vec![
        (200, "<DescribeInstancesResponse/>"),
        (200, "<DescribeVolumesResponse/>"),
        (200, "<DescribeNetworkInterfacesResponse/>"),
        (200, "<DescribeImagesResponse/>"),
    ]);
    let tagged = Tagged { life: Some(("db", "life1")), keys: &["k"], ..Tagged::of("prod") };
    assert!(ec2.instances_tagged(&tagged).await.unwrap().is_empty());
    assert!(ec2.volumes_tagged(&tagged).await.unwrap().is_empty());
    assert!(ec2.interfaces_tagged(&tagged).await.unwrap().is_empty());
    assert!(ec2.images_tagged(&tagged).await.unwrap().is_empty());
    let sent = sent.lock().unwrap();
    let actions = ["DescribeInstances", "DescribeVolumes", "DescribeNetworkInterfaces", "DescribeImages"];
    for (request, action) in sent.iter().zip(actions) {
        assert!(request.contains(&format!("Action={action}&")), "{request}");
        for (nth, (key, value)) in
            [("deployment", "prod"), ("node", "db"), ("life", "life1"), ("key", "k")].iter().enumerate()
        {
            let nth = nth + 1;
            let filter = format!("Filter.{nth}.Name=tag%3Aperennial%3A{key}&Filter.{nth}.Value.1={value}");
            assert!(request.contains(&filter), "{request}");
        }
    }
    assert!(sent[3].contains("Owner.1=self"), "an image of others is never ours: {}", sent[3]);
}

#[tokio::test(flavor = "current_thread")]
async fn images_that_can_no_longer_be_launched_are_gone_however_little_is_left_of_them() {
    let found = "<DescribeImagesResponse><imagesSet>\
        <item><imageId>ami-1</imageId><imageState>deregistered</imageState></item>\
        <item><imageId>ami-2</imageId><imageState>disabled</imageState><blockDeviceMapping>\
        <item><deviceName>/dev/xvda</deviceName></item></blockDeviceMapping></item>\
        </imagesSet></DescribeImagesResponse>";
    let (ec2, _) = ec2(vec![(200, found)]);
    let images = ec2.images_tagged(&Tagged::of("prod")).await.unwrap();
    assert_eq!(images.iter().map(|i| i.state).collect::<Vec<_>>(), [ImageState::Gone, ImageState::Gone]);
    assert!(images.iter().all(|image| image.root_snapshot.is_none()));
}

#[tokio::test(flavor = "current_thread")]
async fn tags_are_set_by_value_and_taken_off_by_key_alone() {
    let (ec2, sent) = ec2(vec![(200, DONE), (200, DONE)]);
    let volume = Resource::Volume(VolumeId::new("vol-1"));
    let tags = Tags::from([("perennial:purpose".into(), "adopted".into()), ("team".into(), "db".into())]);
    ec2.tag(&volume, &tags).await.unwrap();
    ec2.untag(&volume, &["perennial:key".into(), "perennial:node".into()]).await.unwrap();
    // Nothing is sent for nothing: without a key EC2 would take off all tags.
    ec2.tag(&volume, &Tags::new()).await.unwrap();
    ec2.untag(&volume, &[]).await.unwrap();
    let sent = sent.lock().unwrap();
    assert_eq!(sent.len(), 2);
    assert!(sent[0].contains("Action=CreateTags") && sent[0].contains("ResourceId.1=vol-1"), "{}", sent[0]);
    assert!(sent[0].contains("Tag.1.Key=perennial%3Apurpose&Tag.1.Value=adopted&Tag.2.Key=team"));
    assert!(sent[1].contains("Action=DeleteTags") && sent[1].contains("ResourceId.1=vol-1"), "{}", sent[1]);
    assert!(sent[1].contains("Tag.1.Key=perennial%3Akey&Tag.2.Key=perennial%3Anode"), "{}", sent[1]);
    assert!(!sent[1].contains(".Value"), "{}", sent[1]);
}

#[tokio::test(flavor = "current_thread")]
async fn groups_are_set_alone_and_an_interface_is_deleted_once_it_is_free() {
    let in_use = "<Response><Errors><Error><Code>InvalidNetworkInterface.InUse</Code>\
        <Message>in use</Message></Error></Errors><RequestID>r</RequestID></Response>";
    let (ec2, sent) = ec2(vec![(200, DONE), (400, in_use), (200, DONE)]);
    let id = InterfaceId::new("eni-1");
    ec2.set_groups(&id, &["sg-1".into(), "sg-2".into()]).await.unwrap();
    assert_eq!(ec2.delete_interface(&id).await.unwrap_err().class, Class::NotYet);
    ec2.delete_interface(&id).await.unwrap();
    let sent = sent.lock().unwrap();
    assert!(sent[0].contains("Action=ModifyNetworkInterfaceAttribute"), "{}", sent[0]);
    assert!(sent[0].contains("SecurityGroupId.1=sg-1&SecurityGroupId.2=sg-2"), "{}", sent[0]);
    assert!(!sent[0].contains("Attachment"), "{}", sent[0]);
    assert!(
        sent[2].contains("Action=DeleteNetworkInterface") && sent[2].contains("NetworkInterfaceId=eni-1")
    );
}

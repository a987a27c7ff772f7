//! Data volumes, modifications and snapshot sets as the AWS CLI sends and reads them.

use super::*;

pub(super) fn ok(cloud: &mut Cloud, action: &str, rest: &str) -> String {
    let answer = call(cloud, action, rest);
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body
}

pub(super) fn code(cloud: &mut Cloud, action: &str, rest: &str) -> String {
    call(cloud, action, rest).error_code.unwrap_or_default()
}

pub(super) fn pass(cloud: &mut Cloud, seconds: i64) {
    cloud.pass(jiff::SignedDuration::from_secs(seconds));
}

/// A running instance and a volume that can be attached to it.
pub(super) fn furnished() -> (Cloud, String, String) {
    let (mut cloud, _) = cloud();
    let run = "&MinCount=1&MaxCount=1&LaunchTemplate.LaunchTemplateName=perennial-demo";
    let instance = field(&ok(&mut cloud, "RunInstances", run), "instanceId").to_owned();
    let create = "&AvailabilityZone=us-east-1a&Size=10&VolumeType=gp3";
    let volume = field(&ok(&mut cloud, "CreateVolume", create), "volumeId").to_owned();
    pass(&mut cloud, 12);
    (cloud, instance, volume)
}

pub(super) fn attach(cloud: &mut Cloud, instance: &str, volume: &str) -> String {
    let request = format!("&VolumeId={volume}&InstanceId={instance}&Device=%2Fdev%2Fsdf");
    ok(cloud, "AttachVolume", &request)
}

#[test]
fn an_attachment_is_answered_and_shown_with_its_status() {
    let (mut cloud, instance, volume) = furnished();
    let held = |status: &str| {
        format!(
            "<volumeId>{volume}</volumeId><instanceId>{instance}</instanceId><device>/dev/sdf</device><status>{status}</status><attachTime>2026-11-20T10:00:12.000Z</attachTime><deleteOnTermination>false</deleteOnTermination>"
        )
    };
    let answer = attach(&mut cloud, &instance, &volume);
    assert!(answer.contains(&held("attaching")), "{answer}");
    for (status, seconds) in [("attaching", 4), ("attached", 0)] {
        let one = ok(&mut cloud, "DescribeVolumes", &format!("&VolumeId.1={volume}"));
        let shown = format!(
            "<status>in-use</status><createTime>2026-11-20T10:00:00.000Z</createTime><attachmentSet><item>{}</item></attachmentSet>",
            held(status)
        );
        assert!(one.contains(&shown), "{one}");
        let instances = ok(&mut cloud, "DescribeInstances", "");
        let ebs = format!("<ebs><volumeId>{volume}</volumeId><status>{status}</status>");
        assert!(instances.contains(&ebs), "{instances}");
        pass(&mut cloud, seconds);
    }
    let detach = format!("&VolumeId={volume}&InstanceId={instance}&Device=%2Fdev%2Fsdf&Force=false");
    let answer = ok(&mut cloud, "DetachVolume", &detach);
    assert!(answer.contains(&held("detaching")), "{answer}");
    let filter = "&Filter.1.Name=attachment.status&Filter.1.Value.1=detaching";
    assert!(ok(&mut cloud, "DescribeVolumes", filter).contains(&held("detaching")));
    pass(&mut cloud, 5);
    let one = ok(&mut cloud, "DescribeVolumes", &format!("&VolumeId.1={volume}"));
    assert_eq!((field(&one, "status"), field(&one, "attachmentSet")), ("available", ""));
}

#[test]
fn multi_attach_is_asked_for_at_creation_and_shown() {
    let (mut cloud, _, volume) = furnished();
    let plain = ok(&mut cloud, "DescribeVolumes", &format!("&VolumeId.1={volume}"));
    assert_eq!(field(&plain, "multiAttachEnabled"), "false");
    let create = |volume_type: &str| {
        format!(
            "&AvailabilityZone=us-east-1a&Size=10&Iops=500&MultiAttachEnabled=true&VolumeType={volume_type}"
        )
    };
    let made = ok(&mut cloud, "CreateVolume", &create("io1"));
    assert_eq!(field(&made, "multiAttachEnabled"), "true");
    let id = field(&made, "volumeId");
    let filter = "&Filter.1.Name=multi-attach-enabled&Filter.1.Value.1=true";
    assert_eq!(field(&ok(&mut cloud, "DescribeVolumes", filter), "volumeId"), id);
    assert_eq!(code(&mut cloud, "CreateVolume", &create("standard")), "InvalidParameterCombination");
    // A launch has no such member.
    let run = "&MinCount=1&MaxCount=1&LaunchTemplate.LaunchTemplateName=perennial-demo&BlockDeviceMapping.1.DeviceName=%2Fdev%2Fsdf&BlockDeviceMapping.1.Ebs.VolumeType=io1&BlockDeviceMapping.1.Ebs.Iops=500&BlockDeviceMapping.1.Ebs.VolumeSize=10&BlockDeviceMapping.1.Ebs.MultiAttachEnabled=true";
    assert_eq!(code(&mut cloud, "RunInstances", run), "UnknownParameter");
}

#[test]
fn a_set_of_snapshots_is_answered_with_what_each_is() {
    let (mut cloud, instance, volume) = furnished();
    attach(&mut cloud, &instance, &volume);
    pass(&mut cloud, 4);
    let spec = format!("&InstanceSpecification.InstanceId={instance}");
    let request = format!(
        "{spec}&InstanceSpecification.ExcludeBootVolume=true&Description=all&TagSpecification.1.ResourceType=snapshot&TagSpecification.1.Tag.1.Key=a&TagSpecification.1.Tag.1.Value=b"
    );
    let answer = ok(&mut cloud, "CreateSnapshots", &request);
    let id = field(&answer, "snapshotId");
    let expected = format!(
        "<snapshotSet><item><description>all</description><tagSet><item><key>a</key><value>b</value></item></tagSet><encrypted>false</encrypted><volumeId>{volume}</volumeId><state>pending</state><volumeSize>10</volumeSize><startTime>2026-11-20T10:00:16.000Z</startTime><progress>0%</progress><ownerId>123456789012</ownerId><snapshotId>{id}</snapshotId></item></snapshotSet>"
    );
    assert!(answer.contains(&expected), "{answer}");
    pass(&mut cloud, 15);
    let rest = format!("{spec}&InstanceSpecification.ExcludeDataVolumeId.1={volume}");
    let answer = ok(&mut cloud, "CreateSnapshots", &rest);
    assert_eq!(answer.matches("<snapshotId>").count(), 1);
    assert!(!answer.contains(&volume), "{answer}");
    let unknown = ["&CopyTagsFromSource=volume", "&Location=local", "&InstanceSpecification.Colour=red"];
    for unknown in unknown {
        assert_eq!(code(&mut cloud, "CreateSnapshots", &format!("{spec}{unknown}")), "UnknownParameter");
    }
    assert_eq!(code(&mut cloud, "CreateSnapshots", ""), "MissingParameter");
    assert_eq!(cloud.snapshots().count(), 3, "with that of the image");
}

#[test]
fn a_modification_is_answered_and_described() {
    let (mut cloud, _, volume) = furnished();
    let modify = format!("&VolumeId={volume}&Size=20&VolumeType=gp3&Iops=4000&Throughput=250");
    let answer = ok(&mut cloud, "ModifyVolume", &modify);
    let told = |state: &str, progress: &str| {
        format!(
            "<volumeId>{volume}</volumeId><modificationState>{state}</modificationState><targetSize>20</targetSize><targetIops>4000</targetIops><targetVolumeType>gp3</targetVolumeType><targetThroughput>250</targetThroughput><targetMultiAttachEnabled>false</targetMultiAttachEnabled><originalSize>10</originalSize><originalIops>3000</originalIops><originalVolumeType>gp3</originalVolumeType><originalThroughput>125</originalThroughput><originalMultiAttachEnabled>false</originalMultiAttachEnabled><progress>{progress}</progress><startTime>2026-11-20T10:00:12.000Z</startTime>"
        )
    };
    let expected = format!("<volumeModification>{}</volumeModification>", told("modifying", "0"));
    assert!(answer.contains(&expected), "{answer}");
    assert_eq!(code(&mut cloud, "ModifyVolume", &modify), "IncorrectModificationState");
    pass(&mut cloud, 65);
    let ids = format!("&VolumeId.1={volume}");
    let answer = ok(&mut cloud, "DescribeVolumesModifications", &ids);
    let done = format!(
        "<volumeModificationSet><item>{}<endTime>2026-11-20T10:01:17.000Z</endTime></item></volumeModificationSet>",
        told("completed", "100")
    );
    assert!(answer.contains(&done), "{answer}");
    assert_eq!(code(&mut cloud, "ModifyVolume", &modify), "VolumeModificationRateExceeded");
    let described = ok(&mut cloud, "DescribeVolumes", &ids);
    assert_eq!((field(&described, "size"), field(&described, "iops")), ("20", "4000"));
}

#[test]
fn what_is_not_known_of_volumes_is_refused() {
    let (mut cloud, instance, volume) = furnished();
    let of = format!("&VolumeId={volume}");
    let attach = format!("{of}&InstanceId={instance}&Device=%2Fdev%2Fsdf");
    for (action, request) in [
        ("AttachVolume", format!("{attach}&EbsCardIndex=1")),
        ("DetachVolume", format!("{of}&Colour=red")),
        ("ModifyVolume", format!("{of}&MultiAttachEnabled=true")),
        ("DescribeVolumesModifications", "&Colour=red".to_owned()),
    ] {
        assert_eq!(code(&mut cloud, action, &request), "UnknownParameter", "{action}");
    }
    assert_eq!(code(&mut cloud, "AttachVolume", &of), "MissingParameter");
    assert_eq!(code(&mut cloud, "AttachVolume", &format!("{attach}&DryRun=true")), "DryRunOperation");
    assert_eq!(code(&mut cloud, "DetachVolume", &of), "IncorrectState");
    let filter = "&Filter.1.Name=colour&Filter.1.Value.1=red";
    assert_eq!(code(&mut cloud, "DescribeVolumesModifications", filter), "InvalidParameterValue");
}

#[test]
fn a_launch_takes_data_volumes_and_leaves_devices_out() {
    let (mut cloud, _, _) = furnished();
    let run = "&MinCount=1&MaxCount=1&LaunchTemplate.LaunchTemplateName=perennial-demo&BlockDeviceMapping.1.DeviceName=%2Fdev%2Fsdf&BlockDeviceMapping.1.Ebs.VolumeSize=3&BlockDeviceMapping.2.DeviceName=%2Fdev%2Fsdg&BlockDeviceMapping.2.NoDevice=";
    let body = ok(&mut cloud, "RunInstances", run);
    assert!(body.contains("<deviceName>/dev/sdf</deviceName>") && !body.contains("/dev/sdg"), "{body}");
    let twice =
        format!("{run}&BlockDeviceMapping.3.DeviceName=%2Fdev%2Fsdf&BlockDeviceMapping.3.Ebs.VolumeSize=4");
    assert_eq!(code(&mut cloud, "RunInstances", &twice), "InvalidBlockDeviceMapping");
}

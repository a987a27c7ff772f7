//! Images made of instances, as the AWS CLI asks for them and reads them.

use super::storage::{attach, code, furnished, ok, pass};
use super::*;

/// A running instance with a data volume on `/dev/sdf`.
fn with_data() -> (Cloud, String, String) {
    let (mut cloud, instance, volume) = furnished();
    attach(&mut cloud, &instance, &volume);
    pass(&mut cloud, 4);
    (cloud, instance, volume)
}

#[test]
fn an_image_of_an_instance_is_answered_by_id_and_described_with_its_source() {
    let (mut cloud, instance, volume) = with_data();
    let request = format!(
        "&InstanceId={instance}&Name=node-1&Description=as+it+is&NoReboot=true&BlockDeviceMapping.1.DeviceName=%2Fdev%2Fsdf&BlockDeviceMapping.1.Ebs.DeleteOnTermination=true&TagSpecification.1.ResourceType=image&TagSpecification.1.Tag.1.Key=a&TagSpecification.1.Tag.1.Value=b&TagSpecification.2.ResourceType=snapshot&TagSpecification.2.Tag.1.Key=c&TagSpecification.2.Tag.1.Value=d"
    );
    let answer = ok(&mut cloud, "CreateImage", &request);
    let id = field(&answer, "imageId").to_owned();
    assert!(answer.ends_with(&format!("<imageId>{id}</imageId></CreateImageResponse>")), "{answer}");
    let filter = format!("&Filter.1.Name=source-instance-id&Filter.1.Value.1={instance}");
    let shown = ok(&mut cloud, "DescribeImages", &filter);
    let of = |name: &str| field(&shown, name);
    assert_eq!((of("imageId"), of("imageState"), of("sourceInstanceId")), (&*id, "pending", &*instance));
    assert_eq!((of("name"), of("description"), of("rootDeviceName")), ("node-1", "as it is", "/dev/xvda"));
    assert_eq!((of("imdsSupport"), of("usageOperation"), of("enaSupport")), ("v2.0", "RunInstances", "true"));
    assert_eq!(of("tagSet"), "<item><key>a</key><value>b</value></item>");
    let snapshots =
        ok(&mut cloud, "DescribeSnapshots", &format!("&Filter.1.Name=volume-id&Filter.1.Value.1={volume}"));
    assert_eq!(field(&snapshots, "tagSet"), "<item><key>c</key><value>d</value></item>");
    assert_eq!(field(&snapshots, "description"), format!("Created by CreateImage({instance}) for {id}"));
    let ebs = format!(
        "<item><deviceName>/dev/sdf</deviceName><ebs><snapshotId>{}</snapshotId><volumeSize>10</volumeSize><volumeType>gp3</volumeType><iops>3000</iops><throughput>125</throughput><deleteOnTermination>true</deleteOnTermination><encrypted>false</encrypted></ebs></item>",
        field(&snapshots, "snapshotId")
    );
    assert!(shown.contains(&ebs), "{shown}");
    pass(&mut cloud, 12);
    let shown = ok(&mut cloud, "DescribeImages", &filter);
    assert_eq!(field(&shown, "imageState"), "available");
    let own = ok(&mut cloud, "DescribeImages", "&Filter.1.Name=name&Filter.1.Value.1=base-*");
    assert!(!own.contains("sourceInstanceId"), "of CreateImage only: {own}");
}

#[test]
fn a_device_is_left_out_of_an_image_by_an_empty_value() {
    let (mut cloud, instance, _) = with_data();
    let request = format!(
        "&InstanceId={instance}&Name=node-1&NoReboot=true&BlockDeviceMapping.1.DeviceName=%2Fdev%2Fsdf&BlockDeviceMapping.1.NoDevice="
    );
    let answer = ok(&mut cloud, "CreateImage", &request);
    let which = format!("&ImageId.1={}", field(&answer, "imageId"));
    let shown = ok(&mut cloud, "DescribeImages", &which);
    assert_eq!(shown.matches("<deviceName>").count(), 1, "{shown}");
    assert_eq!(field(&shown, "deviceName"), "/dev/xvda");
}

#[test]
fn what_an_image_of_an_instance_cannot_be_is_refused() {
    let (mut cloud, instance, _) = with_data();
    let named = format!("&InstanceId={instance}&Name=node-1");
    let asked = format!("{named}&NoReboot=true");
    let device = format!("{asked}&BlockDeviceMapping.1.DeviceName=%2Fdev%2Fsdf&BlockDeviceMapping.1");
    let mut refused = |rest: &str| code(&mut cloud, "CreateImage", rest);
    assert_eq!(refused(&named), "InvalidParameterValue");
    assert_eq!(refused(&format!("{named}&NoReboot=false")), "InvalidParameterValue");
    assert_eq!(refused(&format!("{named}&NoReboot=perhaps")), "InvalidParameterValue");
    assert_eq!(refused(&format!("&InstanceId={instance}&NoReboot=true")), "MissingParameter");
    assert_eq!(refused("&Name=node-1&NoReboot=true"), "MissingParameter");
    for unknown in ["&BootModeOverride=uefi", "&SnapshotLocation=local", "&Tag.1.Key=a"] {
        assert_eq!(refused(&format!("{asked}{unknown}")), "UnknownParameter");
    }
    assert_eq!(refused(&format!("{device}.Ebs.VolumeSize=20")), "InvalidBlockDeviceMapping");
    assert_eq!(refused(&format!("{device}.Ebs.Colour=red")), "UnknownParameter");
    assert_eq!(refused(&format!("{asked}&DryRun=true")), "DryRunOperation");
    assert_eq!((cloud.images().count(), cloud.snapshots().count()), (1, 1), "those of the account");
    ok(&mut cloud, "CreateImage", &asked);
    let again = asked.replace("node-1", "node-2");
    assert_eq!(code(&mut cloud, "CreateImage", &asked), "InvalidAMIName.Duplicate");
    assert_eq!(code(&mut cloud, "CreateImage", &again), "ConcurrentCreateImageNoRebootLimitExceeded");
}

#[test]
fn a_failed_image_says_so_and_is_deregistered_with_all_its_snapshots() {
    let (mut cloud, instance, _) = with_data();
    let answer = ok(&mut cloud, "CreateImage", &format!("&InstanceId={instance}&Name=node-1&NoReboot=true"));
    let id = field(&answer, "imageId").to_owned();
    cloud.fail_image(&id).unwrap();
    let shown = ok(&mut cloud, "DescribeImages", &format!("&ImageId.1={id}"));
    assert_eq!((field(&shown, "imageState"), field(&shown, "code")), ("failed", "Server.InternalError"));
    let rest = format!("&ImageId={id}&DeleteAssociatedSnapshots=true");
    let answer = ok(&mut cloud, "DeregisterImage", &rest);
    assert_eq!(answer.matches("<returnCode>success</returnCode>").count(), 2, "{answer}");
    pass(&mut cloud, 4);
    assert_eq!(cloud.snapshots().count(), 1, "that of the account");
}

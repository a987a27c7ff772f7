//! What goes over the wire: shapes, refusals, and that nothing is ignored.

mod addresses;
mod images;
mod storage;

use jiff::Timestamp;

use super::*;
use crate::model::Settings;

fn cloud() -> (Cloud, crate::model::Defaults) {
    let start: Timestamp = "2026-11-20T10:00:00Z".parse().unwrap();
    let mut cloud = Cloud::new(start, 1, Settings::default());
    let ids = cloud.seed_defaults();
    (cloud, ids)
}

fn call(cloud: &mut Cloud, action: &str, rest: &str) -> Response {
    handle(cloud, &format!("Action={action}&Version=2016-11-15{rest}"), "req-1")
}

/// The text of the first element of a name.
fn field<'a>(body: &'a str, name: &str) -> &'a str {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let from = body.find(&open).unwrap_or_else(|| panic!("no {name} in {body}")) + open.len();
    &body[from..from + body[from..].find(&close).unwrap()]
}

#[test]
fn a_launch_by_template_is_answered_as_a_reservation() {
    let (mut cloud, _) = cloud();
    let answer = call(
        &mut cloud,
        "RunInstances",
        "&MinCount=1&MaxCount=1&LaunchTemplate.LaunchTemplateName=perennial-demo&TagSpecification.1.ResourceType=volume&TagSpecification.1.Tag.1.Key=a%26b&TagSpecification.1.Tag.1.Value=%3Cx%3E",
    );
    assert_eq!((answer.status, answer.operation.as_str()), (200, "RunInstances"), "{}", answer.body);
    let root = r#"<RunInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>req-1</requestId>"#;
    assert!(answer.body.contains(root), "{}", answer.body);
    assert_eq!(field(&answer.body, "launchTime"), "2026-11-20T10:00:00.000Z");
    let volume = field(&answer.body, "volumeId").to_owned();
    let described = call(&mut cloud, "DescribeVolumes", &format!("&VolumeId.1={volume}"));
    assert!(described.body.contains("<key>a&amp;b</key><value>&lt;x&gt;</value>"), "{}", described.body);
}

#[test]
fn refusals_have_code_message_and_request_id() {
    let (mut cloud, _) = cloud();
    let answer = call(&mut cloud, "DescribeVolumes", "&VolumeId.1=vol-0123456789abcdef0");
    assert_eq!((answer.status, answer.error_code.as_deref()), (400, Some("InvalidVolume.NotFound")));
    assert_eq!(
        field(&answer.body, "Errors"),
        "<Error><Code>InvalidVolume.NotFound</Code><Message>The volume &apos;vol-0123456789abcdef0&apos; does not exist.</Message></Error>"
    );
    assert!(answer.body.ends_with("<RequestID>req-1</RequestID></Response>"), "{}", answer.body);
}

#[test]
fn unknown_operations_and_parameters_are_refused() {
    let (mut cloud, ids) = cloud();
    let code = |answer: Response| answer.error_code.unwrap_or_default();
    assert_eq!(code(call(&mut cloud, "BuyTheMoon", "")), "InvalidAction");
    assert_eq!(code(call(&mut cloud, "DescribeVolumes", "&Colour=red")), "UnknownParameter");
    assert_eq!(
        code(call(&mut cloud, "DescribeVolumes", "&Filter.1.Name=size&Filter.1.Colour=red")),
        "UnknownParameter"
    );
    let launch = format!(
        "&MinCount=1&MaxCount=1&ImageId={}&InstanceType=m5.large&NetworkInterface.1.DeviceIndex=0&NetworkInterface.1.Ipv6AddressCount=1",
        ids.image_id
    );
    assert_eq!(code(call(&mut cloud, "RunInstances", &launch)), "UnknownParameter");
    assert_eq!(code(call(&mut cloud, "DescribeVolumes", "&MaxResults=many")), "InvalidParameterValue");
    let dry = call(&mut cloud, "DescribeVolumes", "&DryRun=true");
    assert_eq!((dry.status, code(dry)), (412, "DryRunOperation".to_owned()));
    assert_eq!(cloud.instances().count(), 0);
}

#[test]
fn an_impaired_instance_fails_its_check_and_its_host_does_not() {
    let (mut cloud, instance, _) = storage::furnished();
    cloud.impair(&instance, true).unwrap();
    let mut shown = |seconds: i64| {
        cloud.pass(jiff::SignedDuration::from_secs(seconds));
        let ask = format!("&InstanceId.1={instance}");
        field(&call(&mut cloud, "DescribeInstanceStatus", &ask).body, "instanceStatusSet").to_owned()
    };
    let check = |name: &str, status: &str, details: &str| {
        format!("<{name}><status>{status}</status><details><item>{details}</item></details></{name}>")
    };
    let starting = "<name>reachability</name><status>initializing</status>";
    let early = shown(44);
    for name in ["systemStatus", "instanceStatus", "attachedEbsStatus"] {
        assert!(early.contains(&check(name, "initializing", starting)), "{early}");
    }
    let late = shown(1);
    for name in ["systemStatus", "attachedEbsStatus"] {
        let passed = "<name>reachability</name><status>passed</status>";
        assert!(late.contains(&check(name, "ok", passed)), "{late}");
    }
    let failed = "<impairedSince>2026-11-20T10:00:12.000Z</impairedSince><name>reachability</name><status>failed</status>";
    assert!(late.contains(&check("instanceStatus", "impaired", failed)), "{late}");
}

#[test]
fn modify_calls_change_one_attribute() {
    let (mut cloud, ids) = cloud();
    let subnet = &ids.subnet_ids[0];
    let made = call(&mut cloud, "CreateNetworkInterface", &format!("&SubnetId={subnet}"));
    let eni = field(&made.body, "networkInterfaceId").to_owned();
    let two = format!("&NetworkInterfaceId={eni}&Description.Value=a&SourceDestCheck.Value=false");
    let answer = call(&mut cloud, "ModifyNetworkInterfaceAttribute", &two);
    assert_eq!(answer.error_code.as_deref(), Some("InvalidParameterCombination"));
    let one = format!("&NetworkInterfaceId={eni}&Description.Value=a");
    assert_eq!(call(&mut cloud, "ModifyNetworkInterfaceAttribute", &one).status, 200);
    assert_eq!(cloud.network_interface(&eni).unwrap().description, "a");
}

#[test]
fn an_omitted_delete_on_termination_means_true_in_a_modify_call() {
    let (mut cloud, _) = cloud();
    let run = "&MinCount=1&MaxCount=1&LaunchTemplate.LaunchTemplateName=perennial-demo&BlockDeviceMapping.1.DeviceName=%2Fdev%2Fxvda&BlockDeviceMapping.1.Ebs.DeleteOnTermination=false";
    let answer = call(&mut cloud, "RunInstances", run);
    let id = field(&answer.body, "instanceId").to_owned();
    let goes = |cloud: &Cloud| cloud.instance(&id).unwrap().root().unwrap().delete_on_termination;
    assert!(!goes(&cloud));
    let modify = format!("&InstanceId={id}&BlockDeviceMapping.1.DeviceName=%2Fdev%2Fxvda");
    assert_eq!(call(&mut cloud, "ModifyInstanceAttribute", &modify).status, 200);
    assert!(goes(&cloud));
}

#[test]
fn template_data_comes_back_as_it_was_given() {
    let (mut cloud, _) = cloud();
    let data = "&LaunchTemplateName=mine&LaunchTemplateData.ImageId=ami-0123456789abcdef0&LaunchTemplateData.MetadataOptions.HttpTokens=required&LaunchTemplateData.MetadataOptions.HttpEndpoint=enabled&LaunchTemplateData.EbsOptimized=true&LaunchTemplateData.SecurityGroupId.1=sg-1";
    assert_eq!(call(&mut cloud, "CreateLaunchTemplate", data).status, 200);
    let answer = call(
        &mut cloud,
        "DescribeLaunchTemplateVersions",
        "&LaunchTemplateName=mine&LaunchTemplateVersion.1=%24Latest",
    );
    let expected = "<launchTemplateData><imageId>ami-0123456789abcdef0</imageId><securityGroupIdSet><item>sg-1</item></securityGroupIdSet><ebsOptimized>true</ebsOptimized><metadataOptions><httpEndpoint>enabled</httpEndpoint><httpTokens>required</httpTokens></metadataOptions></launchTemplateData>";
    assert!(answer.body.contains(expected), "{}", answer.body);
    let unknown = call(&mut cloud, "DescribeLaunchTemplateVersions", "&LaunchTemplateName=nobody");
    assert_eq!(unknown.error_code.as_deref(), Some("InvalidLaunchTemplateName.NotFoundException"));
}

#[test]
fn parameters_are_shown_decoded_without_the_protocol() {
    let shown = parameters("Action=CreateTags&Version=2016-11-15&Tag.1.Key=a%2Fb&Tag.1.Value=c+d");
    assert_eq!(shown, serde_json::json!({"Tag.1.Key": "a/b", "Tag.1.Value": "c d"}));
}

#[test]
fn a_launch_template_is_deleted_by_name() {
    let (mut cloud, ids) = cloud();
    let which = "&LaunchTemplateName=perennial-demo";
    let answer = call(&mut cloud, "DeleteLaunchTemplate", which);
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(field(&answer.body, "launchTemplateId"), ids.launch_template_id);
    let again = call(&mut cloud, "DeleteLaunchTemplate", which);
    assert_eq!(again.error_code.as_deref(), Some("InvalidLaunchTemplateName.NotFoundException"));
}

//! What calls ask for, and how roles judge it.

use serde_json::json;

use super::*;
use crate::model::{Cloud, Settings};
use crate::world::Identity;

fn role(statements: &Value) -> Role {
    let statements = Statement::read_all("P", &json!({"Statement": statements})).unwrap();
    Role { arn: "arn:aws:sts::1:assumed-role/R/f".to_owned(), statements }
}

fn rights(statements: &Value) -> Rights {
    Rights::new(BTreeMap::from([("f".to_owned(), role(statements))]), None)
}

#[test]
fn every_ask_needs_an_allowance_and_a_denial_wins() {
    let mut rights = rights(&json!([
        {"Sid": "A", "Effect": "Allow", "Action": ["ec2:Run", "ec2:Stop"], "Resource": ["arn:a/*", "arn:b/*"]},
        {"Sid": "D", "Effect": "Deny", "Action": "ec2:Stop", "Resource": "arn:b/*"},
    ]));
    let ask = |action: &str, resource: &str| Ask::new(action, resource);
    assert!(rights.judge("f", &[ask("ec2:Run", "arn:a/1"), ask("ec2:Run", "arn:b/1")]).is_ok());
    let half = rights.judge("f", &[ask("ec2:Run", "arn:a/1"), ask("ec2:Run", "arn:c/1")]).unwrap_err();
    assert_eq!(half.ask.resource, "arn:c/1");
    assert!(half.message().contains("no identity-based policy allows the ec2:Run action"));
    assert!(rights.judge("f", &[ask("ec2:Stop", "arn:a/1")]).is_ok());
    let denial = rights.judge("f", &[ask("ec2:Stop", "arn:b/1")]).unwrap_err();
    assert!(denial.message().contains("explicit deny"), "{}", denial.message());
    assert!(rights.judge("someone", &[ask("ec2:Stop", "arn:b/1")]).is_ok(), "has no role in the template");
    assert_eq!(rights.to_json()["denied"].as_array().unwrap().len(), 2);
    let used: Vec<_> = rights.used.iter().map(|it| (it.action.as_str(), it.resource.as_str())).collect();
    assert_eq!(used, [("ec2:Run", "arn:a/*"), ("ec2:Run", "arn:b/*"), ("ec2:Stop", "arn:a/*")]);
}

fn form(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

fn asked(cloud: &Cloud, operation: &str, pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let asks = asks_of_ec2(cloud, operation, &form(pairs));
    asks.into_iter().map(|ask| (ask.action, ask.resource)).collect()
}

#[test]
fn a_launch_asks_for_all_that_it_uses_makes_tags_and_passes() {
    let cloud = Cloud::new("2026-01-01T00:00:00Z".parse().unwrap(), 0, Settings::default());
    let launch = [
        ("ImageId", "ami-00000001"),
        ("KeyName", "mine"),
        ("Placement.GroupName", "close"),
        ("NetworkInterface.1.DeviceIndex", "0"),
        ("NetworkInterface.1.SubnetId", "subnet-00000001"),
        ("NetworkInterface.1.SecurityGroupId.1", "sg-00000001"),
        ("BlockDeviceMapping.1.DeviceName", "/dev/sda"),
        ("BlockDeviceMapping.1.Ebs.VolumeSize", "8"),
        ("BlockDeviceMapping.2.DeviceName", "/dev/sdf"),
        ("BlockDeviceMapping.2.Ebs.SnapshotId", "snap-00000001"),
        ("BlockDeviceMapping.2.Ebs.KmsKeyId", "11111111-2222"),
        ("IamInstanceProfile.Arn", "arn:aws:iam::123456789012:instance-profile/team/database"),
        ("TagSpecification.1.ResourceType", "instance"),
        ("TagSpecification.1.Tag.1.Key", "a"),
        ("TagSpecification.1.Tag.1.Value", "b"),
    ];
    let asks = asks_of_ec2(&cloud, "RunInstances", &form(&launch));
    let told: Vec<_> = asks.iter().map(|ask| format!("{} {}", ask.action, ask.resource)).collect();
    for (action, resource) in [
        ("ec2:RunInstances", "ec2:us-east-1::image/ami-00000001"),
        ("ec2:RunInstances", "ec2:us-east-1:123456789012:instance/*"),
        ("ec2:RunInstances", "ec2:us-east-1:123456789012:volume/*"),
        ("ec2:RunInstances", "ec2:us-east-1:123456789012:network-interface/*"),
        ("ec2:RunInstances", "ec2:us-east-1:123456789012:subnet/subnet-00000001"),
        ("ec2:RunInstances", "ec2:us-east-1:123456789012:security-group/sg-00000001"),
        ("ec2:RunInstances", "ec2:us-east-1:123456789012:key-pair/mine"),
        ("ec2:RunInstances", "ec2:us-east-1:123456789012:placement-group/close"),
        ("ec2:RunInstances", "ec2:us-east-1::snapshot/snap-00000001"),
        ("ec2:CreateTags", "ec2:us-east-1:123456789012:instance/*"),
        ("iam:PassRole", "iam::123456789012:role/database"),
        ("kms:CreateGrant", "kms:us-east-1:123456789012:key/11111111-2222"),
        ("kms:ReEncryptTo", "kms:us-east-1:123456789012:key/11111111-2222"),
    ] {
        assert!(told.contains(&format!("{action} arn:aws:{resource}")), "{action} {resource} in {told:#?}");
    }
    let tagging = asks.iter().find(|ask| ask.action == "ec2:CreateTags").unwrap();
    assert_eq!(tagging.keys["ec2:CreateAction"], ["RunInstances"]);
    assert_eq!(tagging.keys["aws:RequestTag/a"], ["b"]);
    assert_eq!(tagging.keys["aws:TagKeys"], ["a"]);
    let grant = asks.iter().find(|ask| ask.action == "kms:CreateGrant").unwrap();
    assert_eq!(grant.keys["kms:ViaService"], ["ec2.us-east-1.amazonaws.com"]);
    assert_eq!(grant.keys["kms:GrantIsForAWSResource"], ["true"]);
}

#[test]
fn a_resource_comes_with_its_tags_and_one_that_is_not_there_with_none() {
    let mut cloud = Cloud::new("2026-01-01T00:00:00Z".parse().unwrap(), 0, Settings::default());
    let made = cloud.seed_defaults();
    let tags = BTreeMap::from([("perennial:deployment".to_owned(), "p".to_owned())]);
    cloud.create_tags(std::slice::from_ref(&made.image_id), &tags).unwrap();
    let asks = asks_of_ec2(&cloud, "DeregisterImage", &form(&[("ImageId", &made.image_id)]));
    assert_eq!(asks[0].keys["aws:ResourceTag/perennial:deployment"], ["p"]);
    let asks = asks_of_ec2(&cloud, "DeleteVolume", &form(&[("VolumeId", "vol-00000000")]));
    assert!(asks[0].keys.is_empty());
    assert_eq!(asked(&cloud, "DescribeVolumes", &[]), [("ec2:DescribeVolumes".to_owned(), "*".to_owned())]);
    let along = [("ImageId", made.image_id.as_str()), ("DeleteAssociatedSnapshots", "true")];
    let asked = asked(&cloud, "DeregisterImage", &along);
    assert!(asked.iter().any(|(action, _)| action == "ec2:DeleteSnapshot"), "{asked:?}");
}

#[test]
fn a_transaction_asks_for_its_parts_and_a_write_names_its_attributes() {
    let identity = Identity { region: "r".to_owned(), account: "1".to_owned() };
    let keys = PartitionKeys::from([("t".to_owned(), "id".to_owned())]);
    let asks =
        |operation: &str, body: Value| asks_of_dynamodb(&identity, &keys, operation, &body.to_string());
    let put = asks(
        "PutItem",
        json!({"TableName": "t", "Item": {"id": {"S": "node#a"}, "group": {"S": "g"}},
               "ConditionExpression": "attribute_not_exists(#x) AND size(y.z) > :n",
               "ExpressionAttributeNames": {"#x": "extra"}}),
    );
    assert_eq!(put[0].resource, "arn:aws:dynamodb:r:1:table/t");
    assert_eq!(put[0].keys["dynamodb:LeadingKeys"], ["node#a"]);
    assert_eq!(put[0].keys["dynamodb:Attributes"], ["extra", "group", "id", "y"]);
    let parts = asks(
        "TransactWriteItems",
        json!({"TransactItems": [
            {"Put": {"TableName": "t", "Item": {"id": {"S": "a"}}}},
            {"ConditionCheck": {"TableName": "u", "Key": {"id": {"S": "b"}}}},
        ]}),
    );
    let parts: Vec<_> = parts.iter().map(|ask| ask.action.as_str()).collect();
    assert_eq!(parts, ["dynamodb:PutItem", "dynamodb:ConditionCheckItem"]);
    let query = asks("Query", json!({"TableName": "t", "IndexName": "work"}));
    assert_eq!(query[0].resource, "arn:aws:dynamodb:r:1:table/t/index/work");
    assert_eq!(asks("Imagine", json!({}))[0].resource, "*");
}

#[test]
fn an_event_asks_for_its_bus_with_its_source() {
    let identity = Identity { region: "r".to_owned(), account: "1".to_owned() };
    let body = json!({"Entries": [{"Source": "s", "EventBusName": "arn:aws:events:r:1:event-bus/b"}, {"Source": "t"}]});
    let asks = asks_of_events(&identity, "PutEvents", &body.to_string());
    let told: Vec<_> =
        asks.iter().map(|it| (it.resource.as_str(), it.keys["events:source"][0].as_str())).collect();
    assert_eq!(
        told,
        [("arn:aws:events:r:1:event-bus/b", "s"), ("arn:aws:events:r:1:event-bus/default", "t")]
    );
}

#[test]
fn a_record_of_rights_is_read_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("used");
    let used = Use {
        function: "f".to_owned(),
        statement: "P/S".to_owned(),
        action: "a:B".to_owned(),
        resource: "arn:*".to_owned(),
    };
    Record::open(&path).unwrap().add(&used);
    Record::open(&path).unwrap().add(&used);
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(record::read(&text).unwrap(), [used.clone(), used]);
    assert_eq!(record::read("f\tP/S\ta:B\tarn\nodd\n"), Err(2));
}

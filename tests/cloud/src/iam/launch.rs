//! What RunInstances asks for: the call with the most resources, and the only one that passes a role.
//!
//! After the Service Authorization Reference. An interface that is there already has no tags in the keys of this
//! action, so that no policy can tell whose it is. An instance profile has the name of its one role here.

use super::Ask;
use super::ec2::Call;

pub(super) fn asks(call: &Call<'_>) -> Vec<Ask> {
    let mut asks = Vec::new();
    asks.extend(call.param("ImageId").map(|id| call.on(id)));
    asks.extend(call.made("instance"));
    asks.extend(call.made("volume"));
    asks.extend(network(call));
    asks.extend(call.param("KeyName").map(|name| call.ask(call.arn("key-pair", name))));
    let group = call.param("Placement.GroupName");
    asks.extend(group.map(|name| call.ask(call.arn("placement-group", name))));
    let snapshots = call.list("BlockDeviceMapping", "Ebs.SnapshotId");
    asks.extend(snapshots.into_iter().map(|id| call.on(id)));
    if !call.tags_for("spot-instances-request").is_empty() {
        asks.extend(call.made("spot-instances-request"));
    }
    asks.extend(role(call));
    asks.extend(keys(call).into_iter().flat_map(|id| key(call, &id)));
    asks
}

/// Interfaces, subnets and security groups.
fn network(call: &Call<'_>) -> Vec<Ask> {
    let mut asks = Vec::new();
    let kept = call.list("NetworkInterface", "NetworkInterfaceId");
    for id in &kept {
        asks.push(call.ask(call.arn("network-interface", id)));
        let interface = call.cloud.interfaces.get(*id);
        asks.extend(interface.map(|it| call.on(&it.subnet_id)));
        asks.extend(interface.into_iter().flat_map(|it| &it.groups).map(|id| call.on(id)));
    }
    if kept.is_empty() {
        asks.extend(call.made("network-interface"));
    }
    let subnets = call.list("NetworkInterface", "SubnetId").into_iter().chain(call.param("SubnetId"));
    asks.extend(subnets.map(|id| call.on(id)));
    let mut groups = call.list("SecurityGroupId", "");
    groups.extend(call.list("NetworkInterface.1.SecurityGroupId", ""));
    asks.extend(groups.into_iter().map(|id| call.on(id)));
    asks
}

/// The right to pass the profile's role to EC2.
fn role(call: &Call<'_>) -> Option<Ask> {
    let by_arn = call.param("IamInstanceProfile.Arn").and_then(|arn| arn.rsplit('/').next());
    let name = by_arn.or(call.param("IamInstanceProfile.Name"))?;
    let role = format!("arn:aws:iam::{}:role/{name}", call.cloud.settings().account);
    Some(Ask::new("iam:PassRole", role).with("iam:PassedToService", vec!["ec2.amazonaws.com".to_owned()]))
}

/// The keys of the volumes that the launch makes: named by a mapping, or those of the snapshots they are made from.
fn keys(call: &Call<'_>) -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    keys.extend(call.list("BlockDeviceMapping", "Ebs.KmsKeyId").into_iter().map(str::to_owned));
    let image = call.param("ImageId").and_then(|id| call.cloud.images.get(id));
    let of_image = image.into_iter().flat_map(|it| &it.spec.block_devices);
    let of_image = of_image.filter_map(|device| device.ebs.as_ref()?.snapshot_id.as_deref());
    let snapshots = call.list("BlockDeviceMapping", "Ebs.SnapshotId").into_iter().chain(of_image);
    let found = snapshots.filter_map(|id| call.cloud.snapshots.get(id)?.kms_key_id.clone());
    keys.extend(found);
    keys.sort();
    keys.dedup();
    keys
}

/// What using a customer-managed key through EC2 asks for (EBS User Guide, *How Amazon EBS encryption works*,
/// permissions). The key of AWS itself lets every principal of the account use it through EC2.
pub(super) fn key(call: &Call<'_>, id: &str) -> Vec<Ask> {
    const ACTIONS: [&str; 6] = [
        "kms:CreateGrant",
        "kms:Decrypt",
        "kms:DescribeKey",
        "kms:GenerateDataKeyWithoutPlaintext",
        "kms:ReEncryptFrom",
        "kms:ReEncryptTo",
    ];
    let settings = call.cloud.settings();
    if id.ends_with("alias/aws/ebs") {
        return Vec::new();
    }
    let arn = match id.strip_prefix("arn:") {
        Some(_) => id.to_owned(),
        None => format!("arn:aws:kms:{}:{}:key/{id}", settings.region, settings.account),
    };
    let through = format!("ec2.{}.amazonaws.com", settings.region);
    let ask = |action: &&str| {
        let ask = Ask::new(*action, arn.as_str()).with("kms:ViaService", vec![through.clone()]);
        match *action {
            "kms:CreateGrant" => ask.with("kms:GrantIsForAWSResource", vec!["true".to_owned()]),
            _ => ask,
        }
    };
    ACTIONS.iter().map(ask).collect()
}

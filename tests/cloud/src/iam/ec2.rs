//! What an EC2 call asks for: its action on each resource that it names, uses or makes.
//!
//! After the Service Authorization Reference, *Actions, resources, and condition keys for Amazon EC2*, read strictly:
//! a resource that an action may concern is asked for whenever the call names it, and one that does not exist has no
//! tags. A call with tags for what it makes asks for `ec2:CreateTags` as well (EC2 User Guide, *Grant permission to
//! tag Amazon EC2 resources during creation*). Decides nothing; it only tells what must be decided.

use std::collections::BTreeMap;

use crate::model::{Cloud, Kind, Tags};

use super::{Ask, launch};

/// One call, as far as rights go.
pub(super) struct Call<'a> {
    pub(super) cloud: &'a Cloud,
    pub(super) operation: &'a str,
    pub(super) params: BTreeMap<String, String>,
}

/// What a call asks for; `body` is the form that the SDKs send.
pub(crate) fn asks(cloud: &Cloud, operation: &str, body: &str) -> Vec<Ask> {
    let params = form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    let call = Call { cloud, operation, params };
    match operation {
        "RunInstances" => launch::asks(&call),
        "TerminateInstances" => call.listed("InstanceId"),
        "ModifyInstanceAttribute" => modify_instance(&call),
        "CreateVolume" => create_volume(&call),
        "AttachVolume" => attach_volume(&call),
        "DeleteVolume" => call.named(&["VolumeId"]),
        "CreateSnapshot" => call.making(&["VolumeId"], &["snapshot"]),
        "CreateSnapshots" => create_snapshots(&call),
        "DeleteSnapshot" => call.named(&["SnapshotId"]),
        "RegisterImage" => register_image(&call),
        "CreateImage" => call.making(&["InstanceId"], &["image", "snapshot"]),
        "DeregisterImage" => deregister_image(&call),
        "CreateNetworkInterface" => {
            let mut asks = call.making(&["SubnetId"], &["network-interface"]);
            asks.extend(call.listed("SecurityGroupId"));
            asks
        }
        "DeleteNetworkInterface" => call.named(&["NetworkInterfaceId"]),
        "ModifyNetworkInterfaceAttribute" => modify_interface(&call),
        "AssociateAddress" => call.named(&["AllocationId", "NetworkInterfaceId", "InstanceId"]),
        "DisassociateAddress" => disassociate_address(&call),
        "CreateTags" | "DeleteTags" => tagging(&call),
        // Describe calls know no resources; of any other call no function has need.
        _ => vec![call.ask("*")],
    }
}

impl<'a> Call<'a> {
    pub(super) fn param(&self, name: &str) -> Option<&str> {
        self.params.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The elements of a list: `name.1`, `name.2` …, with `member` of each.
    pub(super) fn list(&self, name: &str, member: &str) -> Vec<&str> {
        let numbered = (1..).map(|number| format!("{name}.{number}"));
        let element = |prefix: &String| {
            let member = if member.is_empty() { prefix.clone() } else { format!("{prefix}.{member}") };
            self.param(&member)
        };
        let is_there = |prefix: &String| {
            let dotted = format!("{prefix}.");
            self.params.contains_key(prefix) || self.params.keys().any(|key| key.starts_with(&dotted))
        };
        numbered.take_while(is_there).filter_map(|prefix| element(&prefix)).collect()
    }

    pub(super) fn ask(&self, resource: impl Into<String>) -> Ask {
        Ask::new(format!("ec2:{}", self.operation), resource)
    }

    /// The ARN of a resource; images and snapshots have no account in theirs.
    pub(super) fn arn(&self, kind: &str, id: &str) -> String {
        let settings = self.cloud.settings();
        let account = if matches!(kind, "image" | "snapshot") { "" } else { settings.account.as_str() };
        format!("arn:aws:ec2:{}:{account}:{kind}/{id}", settings.region)
    }

    /// The call's action on a resource that is there, with its tags.
    pub(super) fn on(&self, id: &str) -> Ask {
        let (kind, tags) = found(self.cloud, id);
        let ask = self.ask(self.arn(kind, id));
        tags.into_iter()
            .flatten()
            .fold(ask, |ask, (key, value)| ask.with(format!("aws:ResourceTag/{key}"), vec![value.clone()]))
    }

    /// The call's action on the resources that these parameters name, where they are given.
    fn named(&self, params: &[&str]) -> Vec<Ask> {
        params.iter().filter_map(|name| self.param(name)).map(|id| self.on(id)).collect()
    }

    fn listed(&self, param: &str) -> Vec<Ask> {
        self.list(param, "").into_iter().map(|id| self.on(id)).collect()
    }

    /// The call's action on what it names and on what it makes, and the tags of the latter.
    fn making(&self, params: &[&str], kinds: &[&str]) -> Vec<Ask> {
        let mut asks = self.named(params);
        for kind in kinds {
            asks.extend(self.made(kind));
        }
        asks
    }

    /// The call's action on a resource that it makes, and the right to tag it so.
    pub(super) fn made(&self, kind: &str) -> Vec<Ask> {
        let tags = self.tags_for(kind);
        let arn = self.arn(kind, "*");
        let mut asks = vec![requested(self.ask(&arn), &tags)];
        if !tags.is_empty() {
            let tagging = Ask::new("ec2:CreateTags", arn);
            asks.push(requested(tagging, &tags).with("ec2:CreateAction", vec![self.operation.to_owned()]));
        }
        asks
    }

    /// The tags that the call gives to what it makes of this kind.
    pub(super) fn tags_for(&self, kind: &str) -> Tags {
        let numbered = (1..).map(|number| format!("TagSpecification.{number}"));
        let mut specifications = numbered.map_while(|prefix| {
            let of = self.param(&format!("{prefix}.ResourceType"))?;
            Some((of, prefix))
        });
        let Some((_, prefix)) = specifications.find(|(of, _)| *of == kind) else { return Tags::new() };
        self.tags(&format!("{prefix}.Tag"))
    }

    fn tags(&self, list: &str) -> Tags {
        let numbered = (1..).map(|number| format!("{list}.{number}"));
        let tag = |prefix: String| {
            let key = self.param(&format!("{prefix}.Key"))?;
            let value = self.param(&format!("{prefix}.Value")).unwrap_or_default();
            Some((key.to_owned(), value.to_owned()))
        };
        numbered.map_while(tag).collect()
    }
}

/// An ask with the tags of the request.
fn requested(ask: Ask, tags: &Tags) -> Ask {
    let ask = ask.with("aws:TagKeys", tags.keys().cloned().collect());
    tags.iter().fold(ask, |ask, (key, value)| ask.with(format!("aws:RequestTag/{key}"), vec![value.clone()]))
}

/// What an id names, as ARNs say it, and its tags if it exists.
fn found<'a>(cloud: &'a Cloud, id: &str) -> (&'static str, Option<&'a Tags>) {
    match Kind::of(id) {
        Some(Kind::Instance) => ("instance", cloud.instances.get(id).map(|it| &it.tags)),
        Some(Kind::Volume) => ("volume", cloud.volumes.get(id).map(|it| &it.tags)),
        Some(Kind::Snapshot) => ("snapshot", cloud.snapshots.get(id).map(|it| &it.tags)),
        Some(Kind::Image) => ("image", cloud.images.get(id).map(|it| &it.tags)),
        Some(Kind::NetworkInterface) => ("network-interface", cloud.interfaces.get(id).map(|it| &it.tags)),
        Some(Kind::Subnet) => ("subnet", cloud.subnets.get(id).map(|it| &it.tags)),
        Some(Kind::Vpc) => ("vpc", cloud.vpcs.get(id).map(|it| &it.tags)),
        Some(Kind::SecurityGroup) => ("security-group", cloud.groups.get(id).map(|it| &it.tags)),
        Some(Kind::LaunchTemplate) => ("launch-template", cloud.templates.get(id).map(|it| &it.tags)),
        Some(Kind::ElasticIp) => ("elastic-ip", cloud.addresses.get(id).map(|it| &it.tags)),
        None => ("unknown", None),
    }
}

/// The instance, and the volumes whose mappings are changed.
fn modify_instance(call: &Call<'_>) -> Vec<Ask> {
    let mut asks = call.named(&["InstanceId"]);
    let instance = call.param("InstanceId").and_then(|id| call.cloud.instances.get(id));
    let devices = call.list("BlockDeviceMapping", "DeviceName").into_iter();
    let volumes = devices.filter_map(|device| instance?.block_devices.get(device));
    asks.extend(volumes.map(|device| call.on(&device.volume_id)));
    asks
}

fn create_volume(call: &Call<'_>) -> Vec<Ask> {
    let mut asks = call.making(&["SnapshotId"], &["volume"]);
    let snapshot = call.param("SnapshotId").and_then(|id| call.cloud.snapshots.get(id));
    let of_snapshot = snapshot.and_then(|it| it.kms_key_id.as_deref());
    asks.extend(call.param("KmsKeyId").or(of_snapshot).into_iter().flat_map(|key| launch::key(call, key)));
    asks
}

fn attach_volume(call: &Call<'_>) -> Vec<Ask> {
    let mut asks = call.named(&["InstanceId", "VolumeId"]);
    let volume = call.param("VolumeId").and_then(|id| call.cloud.volumes.get(id));
    let key = volume.and_then(|it| it.kms_key_id.as_deref());
    asks.extend(key.into_iter().flat_map(|key| launch::key(call, key)));
    asks
}

/// The instance and all its volumes, those left out too: whether EC2 asks for these is not documented.
fn create_snapshots(call: &Call<'_>) -> Vec<Ask> {
    let instance = call.param("InstanceSpecification.InstanceId");
    let mut asks: Vec<Ask> = instance.into_iter().map(|id| call.on(id)).collect();
    let found = instance.and_then(|id| call.cloud.instances.get(id));
    let volumes = found.into_iter().flat_map(|it| it.block_devices.values());
    asks.extend(volumes.map(|device| call.on(&device.volume_id)));
    asks.extend(call.made("snapshot"));
    asks
}

fn register_image(call: &Call<'_>) -> Vec<Ask> {
    let mut asks = call.made("image");
    asks.extend(call.list("BlockDeviceMapping", "Ebs.SnapshotId").into_iter().map(|id| call.on(id)));
    asks
}

/// The image; deleting its snapshots along asks for the right to delete each.
fn deregister_image(call: &Call<'_>) -> Vec<Ask> {
    let mut asks = call.named(&["ImageId"]);
    if call.param("DeleteAssociatedSnapshots") == Some("true") {
        let image = call.param("ImageId").and_then(|id| call.cloud.images.get(id));
        let devices = image.into_iter().flat_map(|it| &it.spec.block_devices);
        let snapshots = devices.filter_map(|device| device.ebs.as_ref()?.snapshot_id.as_deref());
        let delete = |id: &str| Ask { action: "ec2:DeleteSnapshot".to_owned(), ..call.on(id) };
        asks.extend(snapshots.map(delete));
    }
    asks
}

/// The interface, the groups it is to have, and the instance whose attachment is changed.
fn modify_interface(call: &Call<'_>) -> Vec<Ask> {
    let mut asks = call.named(&["NetworkInterfaceId"]);
    asks.extend(call.listed("SecurityGroupId"));
    if call.param("Attachment.AttachmentId").is_some() {
        let interface = call.param("NetworkInterfaceId").and_then(|id| call.cloud.interfaces.get(id));
        let held = interface.and_then(|it| it.attachment.as_ref());
        asks.extend(held.map(|held| call.on(&held.instance_id)));
    }
    asks
}

fn disassociate_address(call: &Call<'_>) -> Vec<Ask> {
    let wanted = call.param("AssociationId");
    let held = call.cloud.addresses.values().find_map(|address| {
        let association = address.association.as_ref().filter(|it| Some(it.id.as_str()) == wanted)?;
        Some((address.id.as_str(), association.network_interface_id.as_str()))
    });
    match held {
        Some((address, interface)) => vec![call.on(address), call.on(interface)],
        None => vec![call.ask(call.arn("elastic-ip", "*"))],
    }
}

fn tagging(call: &Call<'_>) -> Vec<Ask> {
    let tags = call.tags("Tag");
    call.listed("ResourceId").into_iter().map(|ask| requested(ask, &tags)).collect()
}

//! The launch of a member from its group's newest backup.

use super::*;
use crate::config::parse;
use crate::ids::SubnetId;
use crate::launch::{Device, LaunchRequest, TemplateFacts, resolve};
use crate::observation::{Observation, SubnetFacts};

fn device(name: &str) -> Device {
    Device { device_name: name.into(), ..Device::default() }
}

fn image(id: &str, devices: &[&str]) -> ImageFacts {
    ImageFacts {
        id: ami(id),
        name: id.into(),
        state: ImageState::Available,
        state_reason: String::new(),
        root_device: "/dev/xvda".into(),
        ebs_root: true,
        root_snapshot: None,
        devices: devices.iter().map(|it| (*it).to_owned()).collect(),
        snapshots: Vec::new(),
        created_at: None,
        platform: Platform::default(),
        tags: Tags::new(),
    }
}

fn record(says: Value) -> Record {
    let mut item = json!({"id": "node#ring-1", "launch": {"template": {"name": "base"},
        "instanceTypes": ["m5.large"], "subnets": ["subnet-1"]}});
    for (key, value) in says.as_object().unwrap() {
        item[key] = value.clone();
    }
    if let Some(image) = says.get("image") {
        item.as_object_mut().unwrap().remove("image");
        item["launch"]["image"] = image.clone();
    }
    let draft = parse(&item);
    assert_eq!(draft.problems, []);
    let accepted = Accepted { hash: String::new(), share: None, notices: Vec::new(), config: draft.config };
    Record::new(group_name().member(1).unwrap(), "life-1".into(), accepted, at(0))
}

fn group_image(is_on: bool) -> GroupImage {
    GroupImage { effective: ami("ami-b"), base: None, is_on }
}

/// What a member that says this is launched with, where the template has these devices and the backup those.
fn launch(says: Value, is_on: bool, template: Vec<Device>, mapped: &[&str]) -> LaunchRequest {
    let mut seen = Observation { group_image: Some(group_image(is_on)), ..Observation::default() };
    seen.template =
        Some(TemplateFacts { image: Some(ami("ami-t")), devices: template, ..TemplateFacts::default() });
    for it in [image("ami-t", &["/dev/xvda"]), image("ami-own", &["/dev/xvda"]), image("ami-b", mapped)] {
        seen.images.insert(it.id.clone(), it);
    }
    let cidr = "10.0.1.0/24".parse().unwrap();
    let subnet = SubnetFacts { id: SubnetId::new("subnet-1"), zone: "us-east-1a".into(), cidr };
    seen.subnets.insert(subnet.id.clone(), subnet);
    resolve(&record(says), &seen, DEPLOYMENT).unwrap().unwrap()
}

#[test]
fn a_member_starts_from_the_backup_unless_it_has_an_image_of_its_own_or_the_operator_a_new_one() {
    for (says, is_on, from) in [
        (json!({}), true, "ami-b"),
        (json!({"image": "ami-own"}), true, "ami-b"),
        (json!({}), false, "ami-b"),
        (json!({"image": "ami-own"}), false, "ami-own"),
        (json!({"persist": {"root": {}}}), true, "ami-t"),
        (json!({"persist": {"data": {}}}), true, "ami-t"),
        (json!({"persist": {"network": {}}}), true, "ami-b"),
    ] {
        let is_bare = says.pointer("/persist/network").is_some();
        if is_bare {
            // A kept interface is made before the launch; the image is the same.
            continue;
        }
        assert_eq!(launch(says.clone(), is_on, Vec::new(), &["/dev/xvda"]).image_id, ami(from), "{says}");
    }
}

#[test]
fn what_the_image_maps_keeps_its_size_and_goes_with_the_instance() {
    let template = vec![Device { size_gib: Some(8), volume_type: Some("io2".into()), ..device("/dev/xvda") }];
    let request = launch(json!({}), true, template, &["/dev/xvda", "/dev/sdb"]);
    let goes = |name: &str| Device { delete_on_termination: Some(true), ..device(name) };
    assert_eq!(request.devices, [goes("/dev/xvda"), goes("/dev/sdb")]);
}

#[test]
fn the_template_says_what_stays_and_what_the_image_lacks() {
    let template = vec![
        Device { delete_on_termination: Some(false), size_gib: Some(8), ..device("/dev/sdb") },
        Device { size_gib: Some(50), ..device("sdc") },
        Device { virtual_name: Some("ephemeral0".into()), ..device("/dev/sdd") },
    ];
    let request = launch(json!({}), true, template.clone(), &["/dev/xvda", "/dev/sdb"]);
    let stays = Device { delete_on_termination: Some(false), ..device("/dev/sdb") };
    let goes = Device { delete_on_termination: Some(true), ..device("/dev/xvda") };
    assert_eq!(request.devices, [goes, stays, template[1].clone(), template[2].clone()]);
    // With or without its folder it is the same device.
    let request = launch(json!({}), true, template, &["/dev/xvda", "sdb", "/dev/sdc"]);
    let names: Vec<&str> = request.devices.iter().map(|it| it.device_name.as_str()).collect();
    assert_eq!(names, ["/dev/xvda", "sdb", "/dev/sdc", "/dev/sdd"]);
    assert_eq!(request.devices[1].delete_on_termination, Some(false));
}

#[test]
fn without_a_backup_the_devices_are_the_templates_as_ever() {
    let template = vec![Device { size_gib: Some(8), ..device("/dev/xvda") }];
    let request = launch(json!({"image": "ami-own"}), false, template.clone(), &["/dev/xvda", "/dev/sdb"]);
    assert_eq!(request.devices, template);
}

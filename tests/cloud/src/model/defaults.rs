//! What a fresh cloud is furnished with, so that the first instance can be launched at once.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use jiff::SignedDuration;

use super::images::{ImageState, RegisterImage};
use super::launch_spec::{BlockDeviceMapping, Ebs, LaunchSpec};
use super::tags::{TagSpecification, Tags};
use super::templates::CreateLaunchTemplate;
use super::{Billing, Cloud};

/// Ids of what [`Cloud::seed_defaults`] made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// Default network, 10.0.0.0/16.
    pub vpc_id: String,
    /// One subnet a Zone: 10.0.1.0/24, 10.0.2.0/24, …
    pub subnet_ids: Vec<String>,
    /// Security group `perennial-demo`.
    pub security_group_id: String,
    /// Base image, x86_64, 8 GiB root on `/dev/xvda`.
    pub image_id: String,
    /// The snapshot it stands on.
    pub snapshot_id: String,
    /// Launch template.
    pub launch_template_id: String,
    /// Its name, `perennial-demo`.
    pub launch_template_name: String,
}

/// Name of the launch template and the security group.
const NAME: &str = "perennial-demo";
/// Root device of the base image.
const ROOT: &str = "/dev/xvda";
/// Size of its root volume, GiB.
const ROOT_SIZE: u32 = 8;

fn network(third: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new(Ipv4Addr::new(10, 0, third, 0), length).unwrap_or_default()
}

impl Cloud {
    /// Makes a default network with a subnet in each Zone, a security group, a base image with its snapshot, and the
    /// launch template `perennial-demo` that uses them. Everything counts as made a day ago and emits no event.
    pub fn seed_defaults(&mut self) -> Defaults {
        let made = self.now.checked_sub(SignedDuration::from_hours(24)).unwrap_or(self.now);
        let named = |name: &str| Tags::from([("Name".to_owned(), name.to_owned())]);
        let vpc = self.place_vpc(network(0, 16), true, made, named("default"));
        let zones = self.settings.zones.clone();
        let subnet_ids = (1u8..)
            .zip(&zones)
            .map(|(third, zone)| {
                self.place_subnet(&vpc.id, network(third, 24), zone, made, named(&format!("default-{zone}")))
                    .id
            })
            .collect();
        let group = self.place_group(NAME, "Instances of the demonstration", &vpc.id, made, Tags::new());
        let snapshot_id = self.place_snapshot(ROOT_SIZE, Billing::linux(), made);
        let root = BlockDeviceMapping {
            device_name: ROOT.to_owned(),
            ebs: Some(Ebs {
                snapshot_id: Some(snapshot_id.clone()),
                volume_size: Some(ROOT_SIZE),
                volume_type: Some("gp3".to_owned()),
                delete_on_termination: Some(true),
                encrypted: Some(false),
                ..Ebs::default()
            }),
            ..BlockDeviceMapping::default()
        };
        let image = RegisterImage {
            name: "base-linux-x86_64".to_owned(),
            description: Some("Base image of the local cloud".to_owned()),
            architecture: Some("x86_64".to_owned()),
            root_device_name: Some(ROOT.to_owned()),
            block_devices: vec![root],
            virtualization_type: Some("hvm".to_owned()),
            ena_support: Some(true),
            sriov_net_support: Some("simple".to_owned()),
            boot_mode: Some("uefi-preferred".to_owned()),
            imds_support: Some("v2.0".to_owned()),
            ..RegisterImage::default()
        };
        let image = self.place_image(image, Billing::linux(), made, ImageState::Available);
        let template = self.place_template(&demo_template(&image.id, &group.id), made);
        Defaults {
            vpc_id: vpc.id,
            subnet_ids,
            security_group_id: group.id,
            image_id: image.id,
            snapshot_id,
            launch_template_id: template.id,
            launch_template_name: template.name,
        }
    }
}

fn demo_template(image_id: &str, group_id: &str) -> CreateLaunchTemplate {
    let options = [
        ("MetadataOptions.HttpTokens", "required"),
        ("MetadataOptions.HttpEndpoint", "enabled"),
        ("MetadataOptions.HttpPutResponseHopLimit", "2"),
        ("Monitoring.Enabled", "false"),
    ];
    let data = LaunchSpec {
        image_id: Some(image_id.to_owned()),
        instance_type: Some("t3.medium".to_owned()),
        security_group_ids: vec![group_id.to_owned()],
        tag_specifications: vec![TagSpecification {
            resource_type: "instance".to_owned(),
            tags: Tags::from([("Name".to_owned(), NAME.to_owned())]),
        }],
        options: options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        ..LaunchSpec::default()
    };
    CreateLaunchTemplate {
        name: NAME.to_owned(),
        version_description: Some("Made with the cloud".to_owned()),
        data,
        ..CreateLaunchTemplate::default()
    }
}

//! The launch: from a launch template and a config to one explicit request, rung by rung.
//!
//! RunInstances is never given the template itself: security groups at its top level and a kept network
//! interface in the request exclude each other. The template's version is expanded here, once, into a
//! request that is stored before it is sent and repeated as it stands.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::config::DataMode;
use crate::ids::{ImageId, InterfaceId, SubnetId};
use crate::names::{Purpose, Tags, choose};
use crate::observation::{ImageFacts, ImageState, Observation, VolumeShape};
use crate::record::Record;

/// How an instance is paid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Market {
    /// Spot: one-time, terminated at interruption.
    Spot,
    /// On-demand.
    OnDemand,
}

impl Market {
    /// The word for it in records and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Spot => "spot",
            Self::OnDemand => "on-demand",
        }
    }
}

/// Something a template sets that a stateful node cannot carry from one instance to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// What, in the words of the EC2 API.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

/// One version of a launch template.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TemplateFacts {
    /// Its id.
    pub id: String,
    /// The version as a number.
    pub version: u64,
    /// Its image.
    pub image: Option<ImageId>,
    /// Its instance type.
    pub instance_type: Option<String>,
    /// Its subnet, if it names one.
    pub subnet: Option<SubnetId>,
    /// Its security groups by id.
    pub groups: Vec<String>,
    /// Whether new interfaces get a public address; the subnet decides if absent.
    pub public_ip: Option<bool>,
    /// What is passed on as it stands.
    pub settings: Settings,
    /// Its block devices.
    pub devices: Vec<Device>,
    /// Its tags for instances.
    pub instance_tags: Tags,
    /// Its tags for volumes.
    pub volume_tags: Tags,
    /// What it sets that cannot be carried.
    pub unsupported: Vec<Unsupported>,
}

/// User data in base64: it may hold secrets, so that nothing shows it but the request it is meant for.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UserData(pub String);

impl fmt::Debug for UserData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UserData({} characters)", self.0.len())
    }
}

/// Launch settings that are passed on as the template has them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Settings {
    /// Key pair.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_name: Option<String>,
    /// Instance profile by ARN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile_arn: Option<String>,
    /// Instance profile by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile_name: Option<String>,
    /// User data, in base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_data: Option<UserData>,
    /// Detailed monitoring.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monitoring: Option<bool>,
    /// EBS optimisation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ebs_optimized: Option<bool>,
    /// CPU credits of burstable types: `standard` or `unlimited`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_credits: Option<String>,
    /// Tenancy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenancy: Option<String>,
    /// Placement group by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement_group: Option<String>,
    /// IMDS: `required` or `optional` tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imds_tokens: Option<String>,
    /// IMDS: hops a response may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imds_hop_limit: Option<i32>,
    /// IMDS: `enabled` or `disabled`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imds_endpoint: Option<String>,
    /// IMDS: tags shown to the guest, `enabled` or `disabled`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imds_tags: Option<String>,
}

/// A block device of a template or a request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Device {
    /// Device name.
    pub device_name: String,
    /// Instance-store device, as `ephemeral0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtual_name: Option<String>,
    /// Whether the image's mapping of this device is left out.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub omit: bool,
    /// Snapshot of the volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_id: Option<String>,
    /// Size in GiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_gib: Option<i32>,
    /// Volume type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_type: Option<String>,
    /// Provisioned operations per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iops: Option<i32>,
    /// Provisioned MiB per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throughput: Option<i32>,
    /// Whether it is encrypted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encrypted: Option<bool>,
    /// Key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kms_key: Option<String>,
    /// Whether EC2 deletes it with the instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delete_on_termination: Option<bool>,
}

/// One launch, fully resolved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LaunchRequest {
    /// Client token, and the key in the tags of what it makes.
    pub token: String,
    /// The template it was expanded from.
    pub template_id: String,
    /// That template's version.
    pub template_version: u64,
    /// The image.
    pub image_id: ImageId,
    /// The instance type.
    pub instance_type: String,
    /// How it is paid for.
    pub market: Market,
    /// The most to be paid an hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_spot_price: Option<String>,
    /// The zone.
    pub zone: String,
    /// Its network.
    pub network: LaunchNetwork,
    /// Its block devices; the root among them.
    pub devices: Vec<Device>,
    /// What is passed on from the template.
    pub settings: Settings,
    /// Tags of the instance.
    pub instance_tags: Tags,
    /// Tags of its volumes.
    pub volume_tags: Tags,
}

/// The primary network interface of a launch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum LaunchNetwork {
    /// The node's own: subnet, groups and address are the interface's.
    #[serde(rename_all = "camelCase")]
    Kept {
        /// The interface.
        eni_id: InterfaceId,
    },
    /// One that lives and dies with the instance.
    #[serde(rename_all = "camelCase")]
    Fresh {
        /// Its subnet.
        subnet_id: SubnetId,
        /// Its security groups.
        groups: Vec<String>,
        /// Whether it gets a public address.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        public_ip: Option<bool>,
    },
}

/// Why a launch cannot be resolved at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// Code of the block.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// What helps.
    pub remedy: String,
}

/// One thing to try: a market, a type and a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rung {
    /// How it is paid for.
    pub market: Market,
    /// Which type.
    pub instance_type: String,
    /// Which subnet; the kept interface's if there is one.
    pub subnet: SubnetId,
}

/// The image a node's next instance starts from: its own once it has one, else its group's newest backup, else the
/// base image.
fn image_for(record: &Record, seen: &Observation, template: &TemplateFacts) -> Option<ImageId> {
    let said = record.config().launch.image.as_ref();
    let backup = || backup_for(record, seen).cloned();
    own_image(record).or_else(backup).or_else(|| said.cloned()).or_else(|| template.image.clone())
}

/// The backup that a member is launched from; none if it keeps a root or data of its own.
fn backup_for<'s>(record: &Record, seen: &'s Observation) -> Option<&'s ImageId> {
    let persist = &record.config().persist;
    let group = seen.group_image.as_ref().filter(|_| persist.root.is_none() && persist.data.is_none());
    group.and_then(|group| group.over(record.config().launch.image.as_ref()))
}

/// The node image, if root persistence is on and there is one that can be launched.
fn own_image(record: &Record) -> Option<ImageId> {
    record.config().persist.root.as_ref()?;
    let image = record.image.as_ref().filter(|image| image.state == ImageState::Available)?;
    // Any other cycle's image would be an older recovery point: resolving refuses it.
    (image.cycle + 1 == record.cycle).then(|| image.id.clone()).flatten()
}

/// The subnets a node may be placed in, in the order in which this life tries them.
pub fn subnets_for(record: &Record, template: &TemplateFacts) -> Vec<SubnetId> {
    if let Some(network) = &record.network {
        return vec![network.subnet_id.clone()];
    }
    let mut subnets = record.config().launch.subnets.clone();
    if subnets.is_empty() {
        subnets.extend(template.subnet.clone());
    }
    if !subnets.is_empty() {
        let spread = || choose(&record.life, "subnet", subnets.len());
        let first = record.config().place.map_or_else(spread, |place| place as usize % subnets.len());
        subnets.rotate_left(first);
    }
    subnets
}

/// Where a node can be launched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Home {
    /// In this zone alone: something of it that is kept is there.
    In(String),
    /// Wherever it has subnets.
    Anywhere,
    /// Not in this zone any more, though its data volumes are there: it has no subnet in it.
    Left(String),
}

impl Home {
    /// Whether what is in this zone can stay where it is.
    pub fn is_in(&self, zone: &str) -> bool {
        match self {
            Self::In(home) => home == zone,
            Self::Anywhere => true,
            Self::Left(_) => false,
        }
    }

    /// Whether the node can be launched in this zone.
    pub fn admits(&self, zone: &str) -> bool {
        match self {
            Self::In(home) => home == zone,
            Self::Anywhere | Self::Left(_) => true,
        }
    }
}

/// The zone rule: a node is bound to the zone of its kept interface, or of any data volume that is to be attached
/// again and exists. From the latter it moves only when its subnets exclude that zone.
pub fn home(record: &Record, seen: &Observation) -> Home {
    if let Some(network) = &record.network {
        return Home::In(network.zone.clone());
    }
    let mode = record.config().persist.data.as_ref().map(|data| data.mode);
    let is_there = |id| seen.volumes.get(id).filter(|it| !it.is_lost());
    let bound = record.data.iter().find_map(|it| is_there(&it.volume_id));
    let Some(volume) = bound.filter(|_| mode == Some(DataMode::Reattach)) else { return Home::Anywhere };
    let subnets = seen.template.iter().flat_map(|template| subnets_for(record, template));
    let mut zones = subnets.filter_map(|id| seen.subnets.get(&id)).map(|subnet| &subnet.zone).peekable();
    // Without having seen the subnets nobody knows better.
    if zones.peek().is_none() || zones.any(|zone| *zone == volume.zone) {
        Home::In(volume.zone.clone())
    } else {
        Home::Left(volume.zone.clone())
    }
}

/// All rungs in order: a cheaper market before a dearer one, in it the preferred type first, and each
/// type in every place before the next.
pub fn ladder(record: &Record, template: &TemplateFacts) -> Vec<Rung> {
    let launch = &record.config().launch;
    let mut types = launch.instance_types.clone();
    if types.is_empty() {
        types.extend(template.instance_type.clone());
    }
    let subnets = subnets_for(record, template);
    let mut rungs = Vec::new();
    for &market in launch.market.markets() {
        for instance_type in &types {
            for subnet in &subnets {
                rungs.push(Rung { market, instance_type: instance_type.clone(), subnet: subnet.clone() });
            }
        }
    }
    rungs
}

/// Resolves the rung at which the record stands into a request; `None` when the ladder is climbed.
///
/// # Errors
/// An [`Obstacle`] that no rung can get round.
pub fn resolve(
    record: &Record,
    seen: &Observation,
    deployment: &str,
) -> Result<Option<LaunchRequest>, Obstacle> {
    let template = seen.template.as_ref().ok_or_else(|| Obstacle {
        code: "template-missing",
        message: "the launch template or its version does not exist any more".to_owned(),
        remedy: "create it again or name another in launch.template".to_owned(),
    })?;
    if let Some(unsupported) = template.unsupported.first() {
        return Err(Obstacle {
            code: "template-unsupported",
            message: format!("version {} of the launch template sets {}", template.version, unsupported.what),
            remedy: unsupported.remedy.clone(),
        });
    }
    if record.config().persist.root.is_some() && record.image.is_some() && own_image(record).is_none() {
        return Err(Obstacle {
            code: "image-stale",
            message: "the node image that the record names is not the one of the cycle before".to_owned(),
            remedy: "Ask for help: nothing older is launched by itself, and nothing is deleted".to_owned(),
        });
    }
    let wanted = image_for(record, seen, template);
    let image = wanted.as_ref().and_then(|id| seen.images.get(id)).ok_or_else(|| Obstacle {
        code: "image-missing",
        message: match &wanted {
            Some(id) => format!("the image {id} does not exist or is not shared with this account"),
            None => "neither the config nor the launch template names an image".to_owned(),
        },
        remedy: match backup_for(record, seen).is_some() {
            true => "It is a backup of the group, and was deregistered: another one takes its place within minutes",
            false => "name an image that exists in launch.image or in the launch template",
        }
        .to_owned(),
    })?;
    if !image.ebs_root {
        return Err(Obstacle {
            code: "image-unsupported",
            message: format!("the root of the image {} is an instance store", image.id),
            remedy: "use an EBS-backed image".to_owned(),
        });
    }
    let mut rungs = ladder(record, template);
    let home = home(record, seen);
    rungs.retain(|rung| seen.subnets.get(&rung.subnet).is_none_or(|subnet| home.admits(&subnet.zone)));
    if rungs.is_empty() {
        return Err(Obstacle {
            code: "launch-incomplete",
            message: "no instance type or no subnet is named by the config or the launch template".to_owned(),
            remedy: "name them in launch.instanceTypes and launch.subnets".to_owned(),
        });
    }
    let Some(rung) = rungs.get(record.rung) else { return Ok(None) };
    request(record, seen, template, image, rung, deployment).map(Some)
}

fn request(
    record: &Record,
    seen: &Observation,
    template: &TemplateFacts,
    image: &ImageFacts,
    rung: &Rung,
    deployment: &str,
) -> Result<LaunchRequest, Obstacle> {
    let names = record.names(deployment);
    let token = names.launch(record.cycle, record.attempts + 1);
    let (zone, network) = match &record.network {
        Some(kept) => (kept.zone.clone(), LaunchNetwork::Kept { eni_id: kept.eni_id.clone() }),
        None => {
            let subnet = seen.subnets.get(&rung.subnet).ok_or_else(|| Obstacle {
                code: "subnet-missing",
                message: format!("the subnet {} does not exist any more", rung.subnet),
                remedy: "correct launch.subnets".to_owned(),
            })?;
            let fresh = LaunchNetwork::Fresh {
                subnet_id: subnet.id.clone(),
                groups: template.groups.clone(),
                public_ip: template.public_ip,
            };
            (subnet.zone.clone(), fresh)
        }
    };
    let operator = &record.config().tags;
    let merged = |base: &Tags| base.iter().chain(operator).map(|(k, v)| (k.clone(), v.clone())).collect();
    let instance_tags: Tags = merged(&template.instance_tags);
    let mut volume_tags: Tags = merged(&template.volume_tags);
    let devices = match backup_for(record, seen) == Some(&image.id) {
        true => devices_of_backup(template, image),
        false => devices(record, template, image),
    };
    if devices.iter().any(|device| is_made(device, &image.root_device)) {
        // EC2 gives all volumes of a launch the same tags, so that none of them can say which it is.
        volume_tags.entry("Name".to_owned()).or_insert_with(|| format!("{} volume", record.name));
    }
    Ok(LaunchRequest {
        template_id: template.id.clone(),
        template_version: template.version,
        image_id: image.id.clone(),
        instance_type: rung.instance_type.clone(),
        market: rung.market,
        max_spot_price: record.config().launch.max_spot_price.clone().filter(|_| rung.market == Market::Spot),
        zone,
        network,
        devices,
        settings: template.settings.clone(),
        instance_tags: names.tags(&instance_tags, record.cycle, Purpose::Instance, &token),
        volume_tags: names.tags(&volume_tags, record.cycle, Purpose::Root, &token),
        token,
    })
}

/// The devices of a launch from a backup: what the image maps is as the instance had it, sizes that have grown since
/// included; of the template only what the image does not know. All of them are copies, which go with the instance
/// unless the template says otherwise.
fn devices_of_backup(template: &TemplateFacts, image: &ImageFacts) -> Vec<Device> {
    let said = |name: &str| template.devices.iter().find(|device| bare(&device.device_name) == bare(name));
    let copied = image.devices.iter().map(|name| {
        let goes = said(name).and_then(|device| device.delete_on_termination).unwrap_or(true);
        Device { device_name: name.clone(), delete_on_termination: Some(goes), ..Device::default() }
    });
    let is_new = |device: &&Device| !image.devices.iter().any(|name| bare(name) == bare(&device.device_name));
    copied.chain(template.devices.iter().filter(is_new).cloned()).collect()
}

/// The template's devices, with the root under the exact name the image gives it. Of a node image the
/// root's shape is what the last root volume had, not what the template once said.
fn devices(record: &Record, template: &TemplateFacts, image: &ImageFacts) -> Vec<Device> {
    let mut devices = template.devices.clone();
    if record.config().persist.data.is_some() {
        devices.retain(|device| device.device_name == image.root_device);
        devices.extend(data_devices(record, template, image));
    }
    let at = match devices.iter().position(|d| d.device_name == image.root_device) {
        Some(at) => at,
        None => {
            devices.insert(0, Device { device_name: image.root_device.clone(), ..Device::default() });
            0
        }
    };
    let from_own_image = own_image(record).is_some();
    let root = &mut devices[at];
    if from_own_image {
        let name = root.device_name.clone();
        *root = Device { device_name: name, ..last_shape(record) };
    }
    if record.config().persist.root.is_some() {
        root.delete_on_termination = Some(false);
    }
    devices
}

/// The devices beside the root of a node that keeps its data volumes. Template and image say what the first
/// instance has; from then on it is what the last one had.
fn data_devices(record: &Record, template: &TemplateFacts, image: &ImageFacts) -> Vec<Device> {
    let is_root = |name: &str| name == image.root_device;
    let said = template.devices.iter().filter(|device| !is_root(&device.device_name));
    let mapped = image.devices.iter().filter(|name| !is_root(name));
    let plain = |name: &String| Device { device_name: name.clone(), ..Device::default() };
    if !record.data_known {
        let is_said = |name: &&String| template.devices.iter().any(|device| device.device_name == **name);
        let kept = |device: Device| match device.virtual_name.is_some() || device.omit {
            true => device,
            false => Device { delete_on_termination: Some(false), ..device },
        };
        let mapped = mapped.filter(|name| !is_said(name)).map(plain);
        return said.cloned().chain(mapped).map(kept).collect();
    }
    // Instance stores are new with every instance, and so the template's.
    let mut devices: Vec<Device> = said.filter(|device| device.virtual_name.is_some()).cloned().collect();
    let mode = record.config().persist.data.as_ref().map(|data| data.mode);
    let collides = |name: &str| bare(name) == bare(&image.root_device);
    let made = record.data.iter().filter(|it| mode == Some(DataMode::Snapshot) && !collides(&it.device_name));
    devices.extend(made.filter_map(|it| {
        Some(Device {
            device_name: it.device_name.clone(),
            snapshot_id: Some(it.point()?.to_string()),
            delete_on_termination: Some(false),
            ..shaped(&it.next_shape())
        })
    }));
    let free = |name: &&String| !devices.iter().any(|device| device.device_name == **name);
    let omitted: Vec<Device> = mapped.filter(free).map(|name| Device { omit: true, ..plain(name) }).collect();
    devices.extend(omitted);
    devices
}

/// A device name without its folder: with and without it is the same device.
pub(crate) fn bare(device: &str) -> &str {
    device.strip_prefix("/dev/").unwrap_or(device)
}

/// The data volumes that a launch is to make.
pub fn mapped(request: &LaunchRequest, root_device: &str) -> Vec<Device> {
    request.devices.iter().filter(|device| is_made(device, root_device)).cloned().collect()
}

/// Whether a launch makes a data volume for a device.
fn is_made(device: &Device, root_device: &str) -> bool {
    device.device_name != root_device && !device.omit && device.virtual_name.is_none()
}

fn last_shape(record: &Record) -> Device {
    record.root_shape.as_ref().map(shaped).unwrap_or_default()
}

/// Size and performance as a launch asks for them.
fn shaped(shape: &VolumeShape) -> Device {
    let VolumeShape { size_gib, volume_type, iops, throughput, .. } = shape.clone();
    // Encryption and key are the snapshot's and cannot be said again here.
    Device {
        // None of its own if it is restored from a snapshot of unknown size: then the snapshot's counts.
        size_gib: Some(size_gib).filter(|size| *size > 0),
        volume_type: Some(volume_type.clone()).filter(|kind| !kind.is_empty()),
        iops: iops.filter(|_| matches!(volume_type.as_str(), "gp3" | "io1" | "io2")),
        throughput: throughput.filter(|_| volume_type == "gp3"),
        ..Device::default()
    }
}

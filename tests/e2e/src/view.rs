//! What an account holds, as DescribeInstances and its like show it.
//!
//! Only what tests look at is read; what AWS left out is empty.

use std::collections::BTreeMap;

use serde_json::Value;

/// An instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Its id.
    pub id: String,
    /// `pending`, `running` …
    pub state: String,
    /// Its type.
    pub instance_type: String,
    /// The image it was launched from.
    pub image: String,
    /// Whether it is a spot instance.
    pub spot: bool,
    /// Its primary private address, while it has one.
    pub private_ip: String,
    /// Its root volume, while it shows one.
    pub root: String,
    /// `DeleteOnTermination` of the root.
    pub root_deleted: bool,
    /// Its primary network interface, while it shows one.
    pub interface: String,
    /// `DeleteOnTermination` of the interface.
    pub interface_deleted: bool,
    /// Its Availability Zone.
    pub zone: String,
    /// The volumes beside its root, by device name.
    pub disks: BTreeMap<String, Disk>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// A volume on an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// The volume.
    pub volume: String,
    /// `attaching`, `attached` …
    pub state: String,
    /// `DeleteOnTermination`.
    pub deleted: bool,
}

/// A volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Its id.
    pub id: String,
    /// `available`, `in-use` …
    pub state: String,
    /// What it is like: size, type, operations and MiB a second, whether it is encrypted; as AWS writes it.
    pub shape: [String; 5],
    /// Its Availability Zone.
    pub zone: String,
    /// The snapshot it was made from.
    pub source: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// A snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its id.
    pub id: String,
    /// `pending`, `completed` or `error`.
    pub state: String,
    /// The volume it was taken of.
    pub volume: String,
    /// When it was started, as AWS writes it: text that sorts as time.
    pub started: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

impl Snapshot {
    /// What it was taken for: its tag `perennial:purpose`.
    #[must_use]
    pub fn purpose(&self) -> &str {
        self.tags.get("perennial:purpose").map_or("", String::as_str)
    }
}

/// An image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its id.
    pub id: String,
    /// `pending`, `available` …
    pub state: String,
    /// Its unique name.
    pub name: String,
    /// When it was asked for, as AWS writes it: text that sorts as time.
    pub created: String,
    /// The instance it was made of; empty if of none.
    pub source: String,
    /// The snapshots it stands on.
    pub snapshots: Vec<String>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its id.
    pub id: String,
    /// `available`, `in-use` …
    pub state: String,
    /// Its primary private address.
    pub private_ip: String,
    /// Its security groups.
    pub groups: Vec<String>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The items of a set; an empty one has none.
pub(crate) fn items(set: &Value) -> &[Value] {
    set.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn tags(value: &Value) -> BTreeMap<String, String> {
    items(&value["tagSet"]).iter().map(|tag| (text(&tag["key"]), text(&tag["value"]))).collect()
}

impl Instance {
    pub(crate) fn read(value: &Value) -> Instance {
        let (roots, disks): (Vec<&Value>, Vec<&Value>) = items(&value["blockDeviceMapping"])
            .iter()
            .partition(|device| device["deviceName"] == value["rootDeviceName"]);
        let root = roots.first().map_or(&Value::Null, |device| &device["ebs"]);
        let interface = items(&value["networkInterfaceSet"]).first().unwrap_or(&Value::Null);
        Instance {
            id: text(&value["instanceId"]),
            state: text(&value["instanceState"]["name"]),
            instance_type: text(&value["instanceType"]),
            image: text(&value["imageId"]),
            spot: value["instanceLifecycle"] == "spot",
            private_ip: text(&value["privateIpAddress"]),
            root: text(&root["volumeId"]),
            root_deleted: root["deleteOnTermination"] == "true",
            interface: text(&interface["networkInterfaceId"]),
            interface_deleted: interface["attachment"]["deleteOnTermination"] == "true",
            zone: text(&value["placement"]["availabilityZone"]),
            disks: disks.into_iter().map(|it| (text(&it["deviceName"]), Disk::read(&it["ebs"]))).collect(),
            tags: tags(value),
        }
    }

    /// Neither ended nor ending.
    #[must_use]
    pub fn is_live(&self) -> bool {
        !matches!(self.state.as_str(), "shutting-down" | "terminated")
    }
}

impl Disk {
    fn read(value: &Value) -> Disk {
        Disk {
            volume: text(&value["volumeId"]),
            state: text(&value["status"]),
            deleted: value["deleteOnTermination"] == "true",
        }
    }
}

impl Volume {
    pub(crate) fn read(value: &Value) -> Volume {
        Volume {
            id: text(&value["volumeId"]),
            state: text(&value["status"]),
            shape: ["size", "volumeType", "iops", "throughput", "encrypted"].map(|part| text(&value[part])),
            zone: text(&value["availabilityZone"]),
            source: text(&value["snapshotId"]),
            tags: tags(value),
        }
    }
}

impl Snapshot {
    pub(crate) fn read(value: &Value) -> Snapshot {
        Snapshot {
            id: text(&value["snapshotId"]),
            state: text(&value["status"]),
            volume: text(&value["volumeId"]),
            started: text(&value["startTime"]),
            tags: tags(value),
        }
    }
}

impl Image {
    pub(crate) fn read(value: &Value) -> Image {
        let devices = items(&value["blockDeviceMapping"]).iter().map(|it| text(&it["ebs"]["snapshotId"]));
        Image {
            id: text(&value["imageId"]),
            state: text(&value["imageState"]),
            name: text(&value["name"]),
            created: text(&value["creationDate"]),
            source: text(&value["sourceInstanceId"]),
            snapshots: devices.filter(|id| !id.is_empty()).collect(),
            tags: tags(value),
        }
    }
}

impl Interface {
    pub(crate) fn read(value: &Value) -> Interface {
        Interface {
            id: text(&value["networkInterfaceId"]),
            state: text(&value["status"]),
            private_ip: text(&value["privateIpAddress"]),
            groups: items(&value["groupSet"]).iter().map(|group| text(&group["groupId"])).collect(),
            tags: tags(value),
        }
    }
}

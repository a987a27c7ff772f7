//! The parts of EC2's XML answers that the demonstration shows or proves something with.
//!
//! Decides nothing. Elements that are not named here are skipped; one that is missing is a default, never a failure
//! of the whole read.

use jiff::{SignedDuration, Timestamp};
use perennial_core::limits::SNAPSHOT_SPACING;
use serde::Deserialize;

/// How much longer than EC2's least time between two snapshots is waited before an interruption, in cloud time.
const SETTLED: SignedDuration = SignedDuration::from_secs(5);

/// A list as EC2 writes it: one `item` for each.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Items<T> {
    #[serde(default = "Vec::new")]
    pub(crate) item: Vec<T>,
}

impl<T> Default for Items<T> {
    fn default() -> Self {
        Items { item: Vec::new() }
    }
}

macro_rules! answers {
    ($($name:ident, $set:literal, $item:ty;)*) => {$(
        #[doc = concat!("An answer whose list is `", $set, "`.")]
        #[derive(Clone, Debug, Deserialize)]
        pub(crate) struct $name {
            #[serde(rename = $set, default)]
            pub(crate) set: Items<$item>,
        }
    )*};
}

answers! {
    DescribeInstances, "reservationSet", Reservation;
    Reservation, "instancesSet", Instance;
    DescribeVolumes, "volumeSet", Volume;
    DescribeSnapshots, "snapshotSet", Snapshot;
    DescribeImages, "imagesSet", Image;
    DescribeInterfaces, "networkInterfaceSet", Interface;
    DescribeAddresses, "addressesSet", ElasticIp;
}

/// The value of one of these tags, or nothing.
pub(crate) fn tag<'a>(tags: &'a Items<Tag>, key: &str) -> &'a str {
    tags.item.iter().find(|tag| tag.key == key).map_or("", |tag| &tag.value)
}

/// A tag.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Tag {
    pub(crate) key: String,
    #[serde(default)]
    pub(crate) value: String,
}

/// The state of an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct State {
    pub(crate) name: String,
}

/// An instance.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Instance {
    pub(crate) instance_id: String,
    pub(crate) instance_type: String,
    pub(crate) instance_state: State,
    /// `spot`, or nothing for on-demand.
    pub(crate) instance_lifecycle: Option<String>,
    pub(crate) private_ip_address: Option<String>,
    pub(crate) image_id: String,
    pub(crate) block_device_mapping: Items<Device>,
    pub(crate) tag_set: Items<Tag>,
}

impl Instance {
    /// Its id, type, market and state.
    pub(crate) fn described(&self) -> String {
        let market = self.instance_lifecycle.as_deref().unwrap_or("on-demand");
        format!("{} {} {market} {}", self.instance_id, self.instance_type, self.instance_state.name)
    }

    /// Whether it runs, or may still do so.
    pub(crate) fn is_live(&self) -> bool {
        !matches!(self.instance_state.name.as_str(), "shutting-down" | "terminated")
    }
}

/// A volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Volume {
    pub(crate) volume_id: String,
    pub(crate) status: String,
    pub(crate) attachment_set: Items<Attachment>,
    pub(crate) tag_set: Items<Tag>,
}

impl Volume {
    /// Its state, and where it is.
    pub(crate) fn described(&self) -> String {
        match self.attachment_set.item.first() {
            Some(attachment) => format!("{} at {}", self.status, attachment.device),
            None => self.status.clone(),
        }
    }
}

/// Where a volume is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Attachment {
    pub(crate) device: String,
}

/// A snapshot.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Snapshot {
    pub(crate) snapshot_id: String,
    pub(crate) volume_id: String,
    pub(crate) status: String,
    /// Such as `42%`.
    pub(crate) progress: String,
    pub(crate) start_time: Option<Timestamp>,
    pub(crate) completion_time: Option<Timestamp>,
    pub(crate) tag_set: Items<Tag>,
}

impl Snapshot {
    /// Whether EC2 allows another one of the same volume by now.
    pub(crate) fn is_settled(&self, now: Timestamp) -> bool {
        self.start_time.is_none_or(|start| now.duration_since(start) > SNAPSHOT_SPACING + SETTLED)
    }

    /// The value of one of its tags, or nothing.
    pub(crate) fn tag(&self, key: &str) -> &str {
        tag(&self.tag_set, key)
    }
}

/// An image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Image {
    pub(crate) image_id: String,
    pub(crate) image_state: String,
    pub(crate) creation_date: Option<Timestamp>,
    /// What it was made of, if that was an instance.
    pub(crate) source_instance_id: String,
    pub(crate) block_device_mapping: Items<Device>,
    pub(crate) tag_set: Items<Tag>,
}

/// A device of an instance or an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Device {
    pub(crate) device_name: String,
    pub(crate) ebs: Ebs,
}

/// What a device is: of an instance a volume, of an image the snapshot that it is made from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Ebs {
    pub(crate) volume_id: String,
    pub(crate) snapshot_id: String,
    /// Whether the volume ends with its instance; not having read it is not taken for a no.
    pub(crate) delete_on_termination: Option<bool>,
}

/// A network interface.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Interface {
    pub(crate) network_interface_id: String,
    pub(crate) status: String,
    pub(crate) private_ip_addresses_set: Items<PrivateAddress>,
    pub(crate) tag_set: Items<Tag>,
}

impl Interface {
    /// Its private addresses, the primary one first.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = &str> {
        let all = || self.private_ip_addresses_set.item.iter();
        let primary = all().filter(|address| address.primary);
        primary.chain(all().filter(|address| !address.primary)).map(|it| it.private_ip_address.as_str())
    }
}

/// A private address of an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PrivateAddress {
    pub(crate) private_ip_address: String,
    pub(crate) primary: bool,
}

/// An Elastic IP address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ElasticIp {
    pub(crate) allocation_id: String,
    pub(crate) public_ip: String,
    /// Where it is, if it is anywhere.
    pub(crate) network_interface_id: Option<String>,
}

impl ElasticIp {
    /// Whether it is on this interface.
    pub(crate) fn is_on(&self, interface: &str) -> bool {
        self.network_interface_id.as_deref() == Some(interface)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_are_read_through_their_reservations() {
        let xml = r#"<?xml version="1.0" encoding="UTF-8"?>
<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>r</requestId>
<reservationSet><item><reservationId>r-1</reservationId><instancesSet><item><instanceId>i-1</instanceId>
<instanceState><code>16</code><name>running</name></instanceState><instanceType>m5.large</instanceType>
<instanceLifecycle>spot</instanceLifecycle><privateIpAddress>10.0.1.20</privateIpAddress></item></instancesSet></item>
<item><instancesSet><item><instanceId>i-2</instanceId><instanceState><name>terminated</name></instanceState></item>
</instancesSet></item></reservationSet></DescribeInstancesResponse>"#;
        let read: DescribeInstances = quick_xml::de::from_str(xml).unwrap();
        let all: Vec<_> = read.set.item.into_iter().flat_map(|r| r.set.item).collect();
        let ids: Vec<_> = all.iter().map(|i| (i.instance_id.as_str(), i.is_live())).collect();
        assert_eq!(ids, [("i-1", true), ("i-2", false)]);
        assert_eq!(all[0].instance_lifecycle.as_deref(), Some("spot"));
    }

    #[test]
    fn a_snapshot_has_times_and_tags_and_an_empty_list_is_no_failure() {
        let xml = r#"<DescribeSnapshotsResponse><snapshotSet><item><snapshotId>snap-1</snapshotId>
<startTime>2026-01-01T00:00:00.000Z</startTime><progress>42%</progress><tagSet><item><key>a</key><value>b</value></item>
<item><key>c</key><value></value></item></tagSet></item></snapshotSet></DescribeSnapshotsResponse>"#;
        let read: DescribeSnapshots = quick_xml::de::from_str(xml).unwrap();
        let snapshot = &read.set.item[0];
        assert_eq!((snapshot.tag("a"), snapshot.tag("c"), snapshot.tag("x")), ("b", "", ""));
        assert!(snapshot.start_time.is_some() && snapshot.completion_time.is_none());
        let none: DescribeSnapshots = quick_xml::de::from_str(
            "<DescribeSnapshotsResponse><snapshotSet></snapshotSet></DescribeSnapshotsResponse>",
        )
        .unwrap();
        assert!(none.set.item.is_empty());
    }
}

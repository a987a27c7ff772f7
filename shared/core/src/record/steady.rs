//! What the scheduled passes need of a running node, projected into the work index.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::Record;
use crate::ids::{InstanceId, InterfaceId, NodeName, VolumeId};
use crate::names::Tags;
use crate::phase::Phase;

/// What the scheduled passes need of a running node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Steady {
    /// The schema of the record it was projected from; of a newer one nothing is touched.
    #[serde(default)]
    pub schema_version: u32,
    /// The node.
    pub node: NodeName,
    /// Its life.
    pub life: String,
    /// Its cycle.
    pub cycle: u32,
    /// The first cycle of its root's descent.
    #[serde(default)]
    pub descent: u32,
    /// Its instance.
    pub instance: InstanceId,
    /// Its root volume.
    pub volume: VolumeId,
    /// Device name of the root.
    pub device: String,
    /// Whether the root is not kept.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rootless: bool,
    /// Whether data volumes are kept, and so any that appears is to be looked at.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keeps_data: bool,
    /// The data volumes that are on its instance.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<SteadyVolume>,
    /// Volumes on its instance that do not come back with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_alone: Vec<VolumeId>,
    /// How often what is kept is snapshotted; absent where nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "crate::config::optional_duration")]
    pub snapshot_every: Option<jiff::SignedDuration>,
    /// How many complete recovery points are kept.
    pub keep: u32,
    /// The kept interface, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_interface: Option<InterfaceId>,
    /// The public address that is to be seen on it, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_ip: Option<Ipv4Addr>,
    /// Whether nothing may be changed.
    #[serde(default)]
    pub suspend: bool,
    /// The operator's tags.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
}

/// A data volume of a running node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SteadyVolume {
    /// The volume.
    pub volume: VolumeId,
    /// Its device name.
    pub device: String,
    /// Whether it still lacks our tags: then no snapshot of it is allowed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub untagged: bool,
}

impl Steady {
    /// Whether the root outlives its instance. An entry of an older version says that it does not by having no
    /// interval.
    pub fn keeps_root(&self) -> bool {
        !self.rootless && self.snapshot_every.is_some()
    }

    /// The volumes whose snapshots make a recovery point, with their device names; the root first.
    pub fn secured(&self) -> impl Iterator<Item = (&VolumeId, &str)> {
        let root = (!self.rootless).then_some((&self.volume, self.device.as_str()));
        let data = self.data.iter().filter(|it| !it.untagged).map(|it| (&it.volume, it.device.as_str()));
        root.into_iter().chain(data)
    }
}

impl Record {
    /// What the snapshot pass needs of a running node; projected into the work index.
    pub fn steady(&self) -> Option<Steady> {
        let (instance, root) = (self.instance.as_ref()?, self.root.as_ref()?);
        if self.phase != Phase::Running {
            return None;
        }
        let persist = &self.config().persist;
        let points = persist.points();
        let attached = self.data.iter().filter(|it| it.attached && persist.data.is_some());
        Some(Steady {
            schema_version: self.schema_version,
            node: self.name.clone(),
            life: self.life.clone(),
            cycle: self.cycle,
            descent: self.descent,
            instance: instance.id.clone(),
            volume: root.volume_id.clone(),
            device: root.device_name.clone(),
            rootless: persist.root.is_none(),
            keeps_data: persist.data.is_some(),
            data: attached
                .map(|it| SteadyVolume {
                    volume: it.volume_id.clone(),
                    device: it.device_name.clone(),
                    untagged: it.untagged,
                })
                .collect(),
            left_alone: self.left_alone.iter().map(|it| it.volume_id.clone()).collect(),
            snapshot_every: points.map(|points| points.every),
            keep: points.map_or(0, |points| points.keep),
            kept_interface: self.network.as_ref().map(|n| n.eni_id.clone()),
            public_ip: self.network.as_ref().and_then(|n| n.elastic_ip.as_ref()).map(|it| it.public_ip),
            suspend: self.config().suspend,
            tags: self.config().tags.clone(),
        })
    }
}

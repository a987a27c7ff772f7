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
    /// How often the root is snapshotted; absent without root persistence.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "crate::config::optional_duration")]
    pub snapshot_every: Option<jiff::SignedDuration>,
    /// How many completed snapshots are kept.
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

impl Record {
    /// What the snapshot pass needs of a running node; projected into the work index.
    pub fn steady(&self) -> Option<Steady> {
        let (instance, root) = (self.instance.as_ref()?, self.root.as_ref()?);
        if self.phase != Phase::Running {
            return None;
        }
        let policy = self.config().persist.root.as_ref();
        Some(Steady {
            schema_version: self.schema_version,
            node: self.name.clone(),
            life: self.life.clone(),
            cycle: self.cycle,
            descent: self.descent,
            instance: instance.id.clone(),
            volume: root.volume_id.clone(),
            device: root.device_name.clone(),
            snapshot_every: policy.map(|p| p.snapshot_every),
            keep: policy.map_or(0, |p| p.keep),
            kept_interface: self.network.as_ref().map(|n| n.eni_id.clone()),
            public_ip: self.network.as_ref().and_then(|n| n.elastic_ip.as_ref()).map(|it| it.public_ip),
            suspend: self.config().suspend,
            tags: self.config().tags.clone(),
        })
    }
}

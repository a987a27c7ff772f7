//! What the orphan pass finds, seen alike whatever its kind, and the event that tells of it.
//!
//! Nothing is judged here; tags are read, never trusted beyond what they say.

use jiff::Timestamp;

use crate::ids::Resource;
use crate::journal::{Detail, Kind, OwnEvent};
use crate::names::{TAG_CYCLE, TAG_DEPLOYMENT, TAG_GROUP, TAG_LIFE, TAG_NODE, Tags};
use crate::observation::{
    ImageFacts, ImageState, InstanceFacts, InterfaceFacts, Observation, SnapshotFacts, VolumeFacts,
    VolumeState,
};
use crate::record::Record;

/// Something that carries the tags of a deployment.
#[derive(Clone, Copy, Debug)]
pub enum Found<'a> {
    /// An instance.
    Instance(&'a InstanceFacts),
    /// A volume.
    Volume(&'a VolumeFacts),
    /// A snapshot.
    Snapshot(&'a SnapshotFacts),
    /// An image.
    Image(&'a ImageFacts),
    /// A network interface.
    Interface(&'a InterfaceFacts),
}

/// Everything that one look showed, images before the snapshots they stand on: the order in which it can
/// be deleted.
pub fn all(seen: &Observation) -> Vec<Found<'_>> {
    let mut all: Vec<Found<'_>> = seen.images.values().map(Found::Image).collect();
    all.extend(seen.snapshots.values().map(Found::Snapshot));
    all.extend(seen.volumes.values().map(Found::Volume));
    all.extend(seen.interfaces.values().map(Found::Interface));
    all.extend(seen.instances.values().map(Found::Instance));
    all
}

impl<'a> Found<'a> {
    /// The same as a resource.
    pub fn resource(&self) -> Resource {
        match self {
            Self::Instance(it) => Resource::Instance(it.id.clone()),
            Self::Volume(it) => Resource::Volume(it.id.clone()),
            Self::Snapshot(it) => Resource::Snapshot(it.id.clone()),
            Self::Image(it) => Resource::Image(it.id.clone()),
            Self::Interface(it) => Resource::Interface(it.id.clone()),
        }
    }

    /// Its tags.
    pub fn tags(&self) -> &'a Tags {
        match self {
            Self::Instance(it) => &it.tags,
            Self::Volume(it) => &it.tags,
            Self::Snapshot(it) => &it.tags,
            Self::Image(it) => &it.tags,
            Self::Interface(it) => &it.tags,
        }
    }

    fn tag(&self, tag: &str) -> Option<&'a str> {
        self.tags().get(tag).map(String::as_str)
    }

    /// The node that its tags name.
    pub fn node(&self) -> Option<&'a str> {
        self.tag(TAG_NODE)
    }

    /// The life that its tags name.
    pub fn life(&self) -> Option<&'a str> {
        self.tag(TAG_LIFE)
    }

    /// The cycle that its tags name.
    pub(super) fn cycle(&self) -> Option<u32> {
        self.tag(TAG_CYCLE)?.parse().ok()
    }

    /// Whether it belongs to this deployment, and to this account.
    pub(super) fn is_of(&self, deployment: &str) -> bool {
        let own = match self {
            Self::Snapshot(it) => it.own,
            Self::Instance(_) | Self::Volume(_) | Self::Image(_) | Self::Interface(_) => true,
        };
        own && self.tag(TAG_DEPLOYMENT) == Some(deployment)
    }

    /// Whether it is on its way out, or only still shown.
    pub(super) fn is_past(&self) -> bool {
        match self {
            Self::Instance(it) => it.state.has_ended(),
            Self::Volume(it) => it.state == VolumeState::Deleting,
            Self::Image(it) => it.state == ImageState::Gone,
            Self::Snapshot(_) | Self::Interface(_) => false,
        }
    }
}

/// The event that tells of an orphan. Its id is the same at every pass, whether or not there is a record.
pub fn event(found: Found<'_>, record: Option<&Record>, why: &str, now: Timestamp) -> OwnEvent {
    let resource = found.resource();
    let id = resource.id().to_owned();
    let mut detail = Detail {
        id: format!("orphan-{id}"),
        node: found.node().unwrap_or_default().to_owned(),
        group: found.tag(TAG_GROUP).filter(|_| found.node().is_none()).map(str::to_owned),
        life: found.life().unwrap_or_default().to_owned(),
        cycle: found.cycle().unwrap_or_default(),
        phase: record.filter(|record| found.life() == Some(&record.life)).map(|record| record.phase),
        reason: format!("{resource} carries our tags and no record explains it: {why}"),
        ..Detail::default()
    };
    match resource {
        Resource::Instance(_) => detail.instance_id = Some(id),
        Resource::Image(_) => detail.image_id = Some(id),
        Resource::Snapshot(_) => detail.snapshot_ids.push(id),
        Resource::Volume(_) => detail.volume_ids.push(id),
        Resource::Interface(_) => detail.eni_id = Some(id),
    }
    OwnEvent { kind: Kind::OrphanFound, time: now, detail }
}

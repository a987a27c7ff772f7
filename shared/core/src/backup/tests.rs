//! Backups, told as stories: a group, an account, and a pass that may die at every point.

mod account;
mod attempts;
mod changing;
mod crashes;
mod hands;
mod launching;
mod orphans;
mod removing;
mod rotation;
mod schedules;
mod shapes;
mod sources;
mod walk;
mod world;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Value, json};

use super::*;
use crate::config::parse_group;
use crate::failure::{Class, Failure};
use crate::guard::{Verdict, backup_image, backup_snapshot};
use crate::ids::{GroupName, Resource, VolumeId};
use crate::launch::Market;
use crate::names::{GroupNames, TAG_PREFIX, Tags};
use crate::observation::{
    AttachedVolume, ImageFacts, ImageState, InstanceFacts, InstanceState, Platform, SnapshotFacts,
    SnapshotState,
};
use crate::phase::Phase;
use crate::record::{Accepted, Instance, LaunchIntent, Notice, Record};
use crate::step::BackupRequest;
use account::{Trouble, is_ours};
use world::World;

const DEPLOYMENT: &str = "prod";

/// A Monday, shortly after midnight in UTC.
fn at(second: i64) -> Timestamp {
    "2026-03-02T00:00:30Z".parse::<Timestamp>().unwrap() + SignedDuration::from_secs(second)
}

fn group_name() -> GroupName {
    GroupName::parse("ring").unwrap()
}

/// The item of a group whose backups say this.
fn item(says: Value) -> Value {
    json!({"id": "group#ring", "capacity": 2, "retention": {"after": "2h"}, "imageBackup": says,
        "launch": {"template": {"name": "base"}, "image": "ami-base1", "subnets": ["subnet-1"]}})
}

/// The same without backups.
fn off() -> Value {
    without(item(json!({})), "/imageBackup")
}

/// An item with this image; none if empty.
fn with_image(mut item: Value, image: &str) -> Value {
    if image.is_empty() {
        return without(item, "/launch/image");
    }
    item["launch"]["image"] = json!(image);
    item
}

fn without(mut item: Value, path: &str) -> Value {
    let (over, key) = path.rsplit_once('/').unwrap();
    item.pointer_mut(over).unwrap().as_object_mut().unwrap().remove(key);
    item
}

/// A group with hourly backups, of which two are kept, and members that are well.
fn hourly() -> World {
    World::new(item(json!({"frequency": "hourly", "keep": 2}))).quiet()
}

/// The same every ten minutes.
fn continuous(keep: u32) -> World {
    World::new(item(json!({"keep": keep}))).quiet()
}

fn ami(id: &str) -> ImageId {
    ImageId::new(id)
}

//! What an operator, EC2 or chance does to a group's image backups, and what is seen of them.

use perennial_cloud::model::{CreateImage, Image, ImageState, Instance, RegisterImage};
use perennial_core::backup::Backups;
use perennial_core::journal::Kind;
use perennial_core::names::{TAG_GROUP, TAG_PURPOSE, Tags};
use serde_json::{Value, json};

use super::GROUP;
use crate::account::{base_image, item_of};
use crate::run::{DEPLOYMENT, Run};

/// Whether something is a backup that this deployment made.
pub(crate) fn is_backup(tags: &Tags) -> bool {
    let is = |tag: &str, value: &str| tags.get(tag).is_some_and(|it| it == value);
    is(perennial_core::names::TAG_DEPLOYMENT, DEPLOYMENT)
        && is(TAG_PURPOSE, perennial_core::names::Purpose::Backup.as_str())
}

/// Edits of items.
impl Run {
    /// Puts a group that keeps nothing of its members and is backed up so.
    pub fn put_backed_up(&mut self, capacity: u32, policy: Value) {
        let item = item_of(self, GROUP);
        self.put_backed_up_as(item, capacity, policy);
    }

    /// The same whose launch template maps a data volume.
    pub fn put_backed_up_with_data(&mut self, capacity: u32, policy: Value) {
        let item = self.item_with_data(GROUP, Value::Null);
        self.put_backed_up_as(item, capacity, policy);
    }

    fn put_backed_up_as(&mut self, mut item: Value, capacity: u32, policy: Value) {
        item.as_object_mut().map(|item| item.remove("persist"));
        item["id"] = json!(format!("group#{GROUP}"));
        item["capacity"] = json!(capacity);
        item["imageBackup"] = policy;
        self.notes.insert("group item", item.to_string());
        self.put(item);
    }

    /// Sets how the group is backed up; with none no longer.
    pub fn set_backups(&mut self, policy: Option<Value>) {
        self.edit_group(|item| match policy {
            Some(policy) => item["imageBackup"] = policy,
            None => {
                item.as_object_mut().map(|item| item.remove("imageBackup"));
            }
        });
    }

    /// Asks for a backup at once.
    pub fn back_up_now(&mut self) {
        self.edit_group(|item| {
            let next = item["imageBackup"]["now"].as_u64().unwrap_or_default() + 1;
            if item["imageBackup"].is_object() {
                item["imageBackup"]["now"] = json!(next);
            }
        });
    }

    /// Names another image for the group; one that is made is remembered as `image`.
    pub fn say_image(&mut self) {
        if !self.notes.contains_key("image") {
            self.make_image();
        }
        let Some(image) = self.notes.get("image").cloned() else { return };
        self.edit_group(|item| item["launch"]["image"] = json!(image));
    }
}

/// Hands in the account.
impl Run {
    /// Makes the guest of a node fail its status check from now on, or pass it again.
    pub fn impair(&mut self, node: &str, impaired: bool) {
        if let Some(id) = self.instance(node) {
            // One that is going down is neither.
            let _ = self.world.0.borrow_mut().cloud.impair(&id, impaired);
        }
    }

    /// Makes the newest backup one whose instances never come up.
    pub fn spoil_backup(&mut self) {
        if let Some(id) = self.available_backups().pop() {
            let _ = self.world.0.borrow_mut().cloud.spoil_image(&id);
        }
    }

    /// Deregisters the image that members are launched from, by hand and without its snapshots.
    pub fn deregister_effective(&mut self) {
        if let Some(id) = self.effective() {
            let image = self.world.0.borrow().cloud.image(&id).cloned();
            let stood_on: Vec<String> =
                image.iter().flat_map(|it| it.snapshot_ids()).map(str::to_owned).collect();
            let _ = self.by_hand(|cloud| cloud.deregister_image(&id, false));
            // The pass over orphans tells of them, and deletes them a day later.
            for snapshot in stood_on {
                self.watch.took(&snapshot);
            }
        }
    }

    /// Makes an image of a node's instance by hand; remembered as `own image`.
    pub fn image_by_hand(&mut self, node: &str) {
        let Some(instance_id) = self.instance(node) else { return };
        let request = CreateImage {
            instance_id,
            name: "by-hand".to_owned(),
            no_reboot: true,
            ..CreateImage::default()
        };
        if let Ok(made) = self.by_hand(|cloud| cloud.create_image(&request)) {
            self.notes.insert("own image", made.id);
        }
    }

    /// Registers images that all but name this deployment's group: nobody may touch them.
    pub fn add_foreign_backups(&mut self) {
        for deployment in ["other", ""] {
            let tags = [
                (perennial_core::names::TAG_DEPLOYMENT, deployment),
                (TAG_GROUP, GROUP),
                (TAG_PURPOSE, "backup"),
                (perennial_core::names::TAG_KEY, "another-key"),
            ];
            let tags = tags.into_iter().filter(|(_, value)| !value.is_empty());
            let tags: Tags = tags.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
            let spec = RegisterImage {
                name: format!("backup-of-{deployment}"),
                tag_specifications: vec![perennial_cloud::model::TagSpecification {
                    resource_type: "image".to_owned(),
                    tags,
                }],
                ..base_image(&self.world.0.borrow().cloud, &self.defaults)
            };
            let Ok(made) = self.by_hand(|cloud| cloud.register_image(&spec)) else { continue };
            // What it is from then on it must stay.
            self.until(jiff::SignedDuration::from_mins(5), |run| {
                let world = run.world.0.borrow();
                world.cloud.image(&made.id).is_some_and(|it| it.state == ImageState::Available)
            });
            let made = self.world.0.borrow().cloud.image(&made.id).cloned();
            made.into_iter().for_each(|made| self.watch.foreign.add_image(made));
        }
    }
}

/// What is seen of the group's backups.
impl Run {
    /// What the group knows of its backups.
    pub fn backups(&self) -> Option<Backups> {
        self.world.0.borrow().groups.get(GROUP)?.backups.clone()
    }

    /// The image that the group's members are launched from, if it is a backup.
    pub fn effective(&self) -> Option<String> {
        Some(self.backups()?.effective?.to_string())
    }

    /// The group's backups in this state, the oldest first, as the account shows them.
    fn backups_that_are(&self, state: ImageState) -> Vec<String> {
        let world = self.world.0.borrow();
        let mut images: Vec<&Image> =
            world.cloud.images().filter(|it| is_backup(&it.tags) && it.state == state).collect();
        images.sort_by_key(|it| (it.creation_date, it.id.clone()));
        images.into_iter().map(|it| it.id.clone()).collect()
    }

    /// Those that can be launched, the oldest first.
    pub fn available_backups(&self) -> Vec<String> {
        self.backups_that_are(ImageState::Available)
    }

    /// Those under way.
    pub fn pending_backups(&self) -> Vec<String> {
        self.backups_that_are(ImageState::Pending)
    }

    /// How many backups were told to have been made.
    pub fn backups_made(&self) -> usize {
        let world = self.world.0.borrow();
        let made = world.published.iter().filter(|it| it.kind == Kind::BackupCreated);
        made.map(|it| &it.detail.id).collect::<std::collections::BTreeSet<_>>().len()
    }

    /// The image that a node's instance was launched from.
    pub fn launched_from(&self, node: &str) -> Option<String> {
        let id = self.instance(node)?;
        self.world.0.borrow().cloud.instance(&id).map(|it| it.image_id.clone())
    }

    /// How many writes the root of a node's instance holds.
    pub fn written(&self, node: &str) -> u64 {
        let id = self.instance(node);
        let world = self.world.0.borrow();
        let root = id.and_then(|id| world.cloud.instance(&id)?.root().map(|root| root.volume_id.clone()));
        root.and_then(|id| world.cloud.volume(&id)).map_or(0, |it| it.contents.writes)
    }

    /// Whether every volume of a node's instance descends from the backup it was launched from, and has what was
    /// written up to then.
    pub fn descends_from_backup(&self, node: &str) -> bool {
        let (Some(id), Some(image)) = (self.instance(node), self.launched_from(node)) else { return false };
        let world = self.world.0.borrow();
        let (Some(instance), Some(image)) = (world.cloud.instance(&id), world.cloud.image(&image)) else {
            return false;
        };
        is_backup(&image.tags) && image.spec.block_devices.iter().all(|it| holds(&world, instance, it))
    }
}

/// Whether an instance has a volume of what an image maps.
fn holds(
    world: &crate::world::World,
    instance: &Instance,
    mapped: &perennial_cloud::model::BlockDeviceMapping,
) -> bool {
    let snapshot = mapped.ebs.as_ref().and_then(|ebs| world.cloud.snapshot(ebs.snapshot_id.as_ref()?));
    let held = instance.block_devices.get(&mapped.device_name);
    let volume = held.and_then(|held| world.cloud.volume(&held.volume_id));
    snapshot.zip(volume).is_some_and(|(snapshot, volume)| {
        volume.contents.lineage.contains(&snapshot.id) && volume.contents.writes >= snapshot.contents.writes
    })
}

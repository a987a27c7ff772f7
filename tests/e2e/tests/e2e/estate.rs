//! A node with data volumes: what its operator does to them by hand, where they are, and what is left of those before.
//!
//! Only what the account shows is asserted: volumes, snapshots and tags, and what the guest finds on its disks.

use std::collections::{BTreeMap, BTreeSet};

use perennial_e2e::{Account, Instance, Snapshot, Volume};
use serde_json::{Value, json};

use crate::support::{completed, launches_for, speaks_of, text};
use crate::tale::{self, Tale};

/// The device of the volume that the launch template maps.
pub(crate) const MAPPED: &str = "/dev/sdf";
/// The device of a volume that is attached by hand.
pub(crate) const BY_HAND: &str = "/dev/sdg";
/// Recovery points that a node keeps.
const KEEP: usize = 2;
/// The mapped volume, as AWS writes it: size, type, operations and MiB a second, and that it is encrypted.
const SHAPE: [&str; 5] = ["8", "gp3", "4000", "200", "true"];

/// A tale about data volumes.
pub(crate) struct Estate<'a> {
    pub(crate) tale: Tale<'a>,
    /// Whether the same volumes come back, and no others.
    pub(crate) reattaches: bool,
}

/// An item of a node with root and data kept in this mode, under a template of its own that maps a data volume.
pub(crate) async fn item(account: &Account, node: &str, mode: &str) -> Value {
    let defaults = account.server().defaults();
    let [size, kind, iops, throughput, encrypted] = SHAPE;
    let parameters: [(&str, &str); 9] = [
        ("LaunchTemplateName", node),
        ("LaunchTemplateData.ImageId", &defaults.image_id),
        ("LaunchTemplateData.SecurityGroupId.1", &defaults.security_group_id),
        ("LaunchTemplateData.BlockDeviceMapping.1.DeviceName", MAPPED),
        ("LaunchTemplateData.BlockDeviceMapping.1.Ebs.VolumeSize", size),
        ("LaunchTemplateData.BlockDeviceMapping.1.Ebs.VolumeType", kind),
        ("LaunchTemplateData.BlockDeviceMapping.1.Ebs.Iops", iops),
        ("LaunchTemplateData.BlockDeviceMapping.1.Ebs.Throughput", throughput),
        ("LaunchTemplateData.BlockDeviceMapping.1.Ebs.Encrypted", encrypted),
    ];
    account.ec2("CreateLaunchTemplate", &parameters).await;
    let mut item = tale::item(account, node, 0);
    item["launch"]["template"] = json!({"name": node});
    item["persist"] = json!({
        "root": {"snapshotEvery": "1m", "keep": KEEP},
        "data": {"mode": mode, "snapshotEvery": "1m", "keep": KEEP},
    });
    item
}

impl<'a> Estate<'a> {
    /// A node that keeps data in this mode, and its address if `host` says which.
    pub(crate) async fn begin(
        account: &'a Account,
        node: &'static str,
        mode: &str,
        host: Option<u8>,
    ) -> Estate<'a> {
        let mut item = item(account, node, mode).await;
        if let Some(host) = host {
            item["persist"]["network"] = json!({"privateIp": format!("10.0.1.{host}")});
        }
        Estate::begin_with(account, node, item).await
    }

    /// The same with an item of its own.
    pub(crate) async fn begin_with(account: &'a Account, node: &'static str, item: Value) -> Estate<'a> {
        let reattaches = item["persist"]["data"]["mode"] == "reattach";
        let estate = Estate { tale: Tale::begin_with(account, node, item).await, reattaches };
        let mapped = estate.volume(&estate.tale.first, MAPPED).await;
        assert_eq!(mapped.shape, SHAPE, "as the template says");
        estate.in_use(&estate.tale.first, &[MAPPED]).await;
        estate
    }

    /// The volume at a device of an instance.
    pub(crate) async fn volume(&self, instance: &Instance, device: &str) -> Volume {
        let id = &instance.disks.get(device).unwrap_or_else(|| panic!("nothing at {device}")).volume;
        self.tale.account.volume(id).await.unwrap()
    }

    /// Makes a volume of the operator's and attaches it to an instance by hand.
    pub(crate) async fn attach(&self, instance: &Instance, kind: &[(&str, &str)]) -> String {
        let account = self.tale.account;
        let mut parameters = vec![
            ("AvailabilityZone", instance.zone.as_str()),
            ("Size", "4"),
            ("TagSpecification.1.ResourceType", "volume"),
            ("TagSpecification.1.Tag.1.Key", "owner"),
            ("TagSpecification.1.Tag.1.Value", "the operator"),
        ];
        parameters.extend(kind);
        let id = text(&account.ec2("CreateVolume", &parameters).await["volumeId"]);
        let place = [("VolumeId", id.as_str()), ("InstanceId", &instance.id), ("Device", BY_HAND)];
        account
            .until("it is ready to be attached", async || account.try_ec2("AttachVolume", &place).await.ok())
            .await;
        id
    }

    /// Waits until a volume is the node's for good: tagged, and kept when its instance ends.
    pub(crate) async fn adopted(&self, instance: &Instance, device: &str, id: &str) {
        let (account, node) = (self.tale.account, self.tale.node);
        account
            .until(&format!("{id} is adopted"), async || {
                let volume = account.volume(id).await?;
                let tag = |key: &str| volume.tags.get(key).map_or("", String::as_str);
                let is_ours = (tag("perennial:node"), tag("perennial:purpose")) == (node, "adopted");
                let now = account.instance(&instance.id).await?;
                (is_ours && !now.disks.get(device)?.deleted).then_some(())
            })
            .await;
    }

    /// Waits until the guest writes to all these devices, and asserts that the instance has no others.
    async fn in_use(&self, now: &Instance, devices: &[&str]) {
        let (account, guest) = (self.tale.account, &self.tale.guest);
        let held: Vec<&str> = now.disks.keys().map(String::as_str).collect();
        assert_eq!(held, devices, "under the same device names: {now:#?}");
        for (device, disk) in &now.disks {
            assert_eq!((disk.state.as_str(), disk.deleted), ("attached", false), "{device}: {now:#?}");
            account
                .until(&format!("the guest writes to {device}"), async || {
                    guest.uses(device).iter().any(|it| it.instance == now.id).then_some(())
                })
                .await;
        }
    }

    /// Waits until the node runs in this cycle, on this one of its instances. Asserts that every byte is on every
    /// volume, and that nothing else is attached.
    pub(crate) async fn back(&self, cycle: u64, devices: &[&str]) -> Instance {
        self.back_on(cycle, cycle, devices).await
    }

    /// The same of a node whose instances and cycles are not as many.
    pub(crate) async fn back_on(&self, cycle: u64, instances: u64, devices: &[&str]) -> Instance {
        let now = self.tale.back(cycle, instances).await;
        self.in_use(&now, devices).await;
        self.tale.guest.assert_nothing_lost();
        for device in devices {
            self.tale.guest.assert_nothing_lost_at(device);
        }
        now
    }

    /// Asserts that the volume at a device is what it was on an instance before: the same one, or one that is like it.
    pub(crate) async fn assert_same(&self, device: &str, before: &Volume, now: &Instance) {
        let after = self.volume(now, device).await;
        assert_eq!(after.id == before.id, self.reattaches, "{device}: {before:#?} {after:#?}");
        assert_alike(before, &after);
    }

    /// Waits until of the node only the present volumes, their recovery points and `spared` volumes are left.
    pub(crate) async fn cleaned(&self, now: &Instance, spared: &[&str]) {
        let (account, node) = (self.tale.account, self.tale.node);
        let mut wanted: BTreeSet<&str> = now.disks.values().map(|disk| disk.volume.as_str()).collect();
        wanted.insert(&now.root);
        wanted.extend(spared);
        account
            .until(&format!("what {node} needs no more is gone"), async || {
                let volumes = account.volumes(node).await;
                let snapshots = account.snapshots(node).await;
                let record = account.record(node).await;
                let left: BTreeSet<&str> = volumes.iter().map(|volume| volume.id.as_str()).collect();
                let is_clean = left == wanted
                    && account.images(node).await.is_empty()
                    && snapshots.iter().all(|snapshot| snapshot.purpose() != "final")
                    && complete_sets(&snapshots) == KEEP
                    && record["superseded"].is_null();
                is_clean.then_some(())
            })
            .await;
    }

    /// Asserts that a data volume was deleted, and only after the instance with the new one had a recovery point.
    pub(crate) fn assert_went_last(&self, old: &str, now: &Instance) {
        let calls = self.tale.account.calls(0);
        let nth = |operation: &str, word: &str| {
            let is = |it: &&Value| it["operation"] == operation && it["status"] == 200 && speaks_of(it, word);
            let call = calls.iter().find(is).unwrap_or_else(|| panic!("no {operation} of {word}"));
            call["seq"].as_u64().unwrap()
        };
        assert!(nth("CreateSnapshots", &now.id) < nth("DeleteVolume", old), "no proof before {old} went");
    }

    /// Asserts that no function ever tried to delete this.
    pub(crate) fn assert_never_deleted(&self, volume: &str) {
        let calls = self.tale.account.calls(0);
        let deletes = |it: &&Value| {
            it["operation"] == "DeleteVolume" && !it["function"].is_null() && speaks_of(it, volume)
        };
        assert_eq!(calls.iter().find(deletes), None);
    }

    /// Waits until the node is paused and only its newest recovery points are left. Asserts that they are of all its
    /// volumes, and that these are there, unused, with every byte. `last` is its last instance.
    pub(crate) async fn rests(&self, last: &Instance) {
        let (account, node) = (self.tale.account, self.tale.node);
        self.tale.stands("paused").await;
        let mut wanted: Vec<&str> = last.disks.values().map(|disk| disk.volume.as_str()).collect();
        wanted.push(&last.root);
        wanted.sort_unstable();
        account
            .until(&format!("of {node} only the newest recovery points are kept"), async || {
                let (images, snapshots) = (account.images(node).await, account.snapshots(node).await);
                let mut of: Vec<&str> = snapshots.iter().map(|it| it.volume.as_str()).collect();
                of.sort_unstable();
                let is_newest = |it: &Snapshot| (it.purpose(), it.state.as_str()) == ("final", "completed");
                (images.len() == 1 && of == wanted && snapshots.iter().all(is_newest)).then_some(())
            })
            .await;
        assert!(account.live(node).await.is_empty(), "no instance");
        for (device, disk) in &last.disks {
            let used = self.tale.guest.uses(device).pop().unwrap();
            assert_eq!((&used.instance, &used.volume), (&last.id, &disk.volume));
            assert_eq!(account.writes(&disk.volume), used.last, "every byte is on the volume at {device}");
            assert_eq!(account.volume(&disk.volume).await.unwrap().state, "available");
        }
    }

    /// Asserts that a volume is the operator's: free, and without any tag of ours.
    pub(crate) async fn assert_handed_over(&self, volume: &str) {
        let left = self.tale.account.volume(volume).await.unwrap();
        assert_eq!(left.state, "available", "{left:#?}");
        assert!(!left.tags.keys().any(|key| key.starts_with("perennial:")), "{left:#?}");
    }

    /// Waits until recovery points come and go. Asserts that each is of all volumes at once, taken by one call, and
    /// that only whole ones are counted.
    pub(crate) async fn sets_come_and_go(&self, volumes: usize) {
        let (account, node) = (self.tale.account, self.tale.node);
        let mut seen = BTreeSet::new();
        let snapshots = account
            .until("sets of snapshots come and go", async || {
                let snapshots = account.snapshots(node).await;
                seen.extend(snapshots.iter().map(|it| it.tags["perennial:key"].clone()));
                (seen.len() > KEEP + 1 && complete_sets(&snapshots) == KEEP).then_some(snapshots)
            })
            .await;
        for snapshot in &snapshots {
            let tag = |key: &str| snapshot.tags.get(key).map_or("", String::as_str);
            assert_eq!((tag("perennial:purpose"), tag("team")), ("periodic", "storage"), "{snapshot:?}");
            assert_eq!(tag("perennial:parts"), volumes.to_string(), "{snapshot:?}");
        }
        let calls = account.calls(0);
        let for_node = |it: &&Value| !it["function"].is_null() && speaks_of(it, node);
        let taken = calls.iter().filter(|it| it["operation"] == "CreateSnapshots").filter(for_node);
        let keys: Vec<&String> = taken.filter_map(|it| seen.iter().find(|key| speaks_of(it, key))).collect();
        let distinct: BTreeSet<&&String> = keys.iter().collect();
        assert_eq!((keys.len(), distinct.len()), (seen.len(), seen.len()), "one call an interval");
        let alone = calls.iter().filter(|it| it["operation"] == "CreateSnapshot").filter(for_node);
        assert_eq!(alone.count(), 0, "none of one volume alone");
    }

    /// Asserts that one instance was launched for each of these.
    pub(crate) fn assert_launched(&self, times: usize) {
        assert_eq!(launches_for(self.tale.account, self.tale.node).len(), times);
    }
}

/// Asserts that a volume is like another one: size, type, performance, encryption and the operator's tags.
pub(crate) fn assert_alike(before: &Volume, after: &Volume) {
    assert_eq!(after.shape, before.shape, "{before:#?} {after:#?}");
    assert_eq!(operators(after), operators(before), "{before:#?} {after:#?}");
}

/// The tags of a volume that are the operator's, without those that everything made for the node has.
fn operators(volume: &Volume) -> BTreeMap<&str, &str> {
    let tags = volume.tags.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    tags.filter(|(key, _)| !key.starts_with("perennial:") && !["Name", "team"].contains(key)).collect()
}

/// How many whole recovery points there are: every part of the same moment, each complete.
fn complete_sets(snapshots: &[Snapshot]) -> usize {
    let mut sets: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
    for snapshot in completed(snapshots) {
        let parts = snapshot.tags.get("perennial:parts").map_or("1", String::as_str);
        let set = sets.entry(&snapshot.tags["perennial:key"]).or_insert((0, parts));
        set.0 += 1;
    }
    sets.values().filter(|(there, wanted)| there.to_string() == **wanted).count()
}

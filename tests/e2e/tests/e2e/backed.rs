//! A group with image backups as its operator sees it: what EC2 shows of its images and members, and what is told.

use perennial_e2e::{Account, Image, Instance, Setup};
use serde_json::{Value, json};

use crate::support::{DEPLOYMENT, each_once, running, speaks_of, verdict};

/// The group of these stories.
pub(crate) const GROUP: &str = "web";
/// Its item.
pub(crate) const ID: &str = "group#web";
/// Ten minutes pass in five seconds, and retention at its shortest, one hour, in half a minute.
pub(crate) const SETUP: Setup = Setup { speed: 120.0, functions: true };
/// The function that makes and removes backups.
pub(crate) const FUNCTION: &str = "image-backup";

/// A group of this capacity that keeps nothing, with these backups.
pub(crate) fn group(account: &Account, capacity: usize, backups: Value) -> Value {
    let defaults = account.server().defaults();
    json!({
        "id": ID,
        "capacity": capacity,
        "launch": {
            "template": {"name": defaults.launch_template_name},
            "instanceTypes": ["m5.large", "c5.large"],
            "subnets": defaults.subnet_ids,
        },
        "imageBackup": backups,
        "tags": {"team": "web"},
    })
}

/// Puts the item and waits until it is accepted.
pub(crate) async fn put(account: &Account, item: &Value) {
    account.put(item).await;
    verdict(account, ID, true).await;
}

/// Waits until the item tells this.
pub(crate) async fn notice(account: &Account, words: &str) -> String {
    account
        .until(&format!("the item tells {words:?}"), async || {
            let notices = account.config_item(ID).await["_status"]["notices"].take();
            let mut notices = notices.as_array()?.iter().filter_map(Value::as_str);
            notices.find(|it| it.contains(words)).map(str::to_owned)
        })
        .await
}

/// The name of a member.
pub(crate) fn member(number: usize) -> String {
    format!("{GROUP}-{number}")
}

/// Waits until each of so many members runs its first instance.
pub(crate) async fn begun(account: &Account, capacity: usize) -> Vec<Instance> {
    let mut instances = Vec::new();
    for number in 1..=capacity {
        instances.push(running(account, &member(number), 1).await);
    }
    instances
}

/// The details of the own events of this type about the group's backups, in order, each once.
pub(crate) fn told(account: &Account, word: &str) -> Vec<Value> {
    let events = each_once(account.backup_events(GROUP).into_iter());
    events.into_iter().filter(|it| it["detailType"] == word).map(|mut it| it["detail"].take()).collect()
}

/// The calls of this operation that the backups' function made and EC2 carried out, answered or not.
pub(crate) fn carried_out(account: &Account, operation: &str) -> Vec<Value> {
    let mut calls = account.calls(0);
    calls.retain(|it| it["function"] == FUNCTION && it["operation"] == operation);
    calls.retain(|it| matches!(it["status"].as_u64(), Some(0 | 200)));
    calls
}

/// Waits until so many backups have been told of, and returns the last of these as EC2 shows it.
pub(crate) async fn backup(account: &Account, nth: usize) -> Image {
    let created = account
        .until(&format!("{GROUP} has backup {nth}"), async || {
            told(account, "Backup Created").into_iter().nth(nth - 1)
        })
        .await;
    let found = account.backups(GROUP).await.into_iter().find(|it| created["imageId"] == it.id.as_str());
    found.unwrap_or_else(|| panic!("EC2 shows it: {created:#}"))
}

/// Waits for the first backup that is begun from now on.
pub(crate) async fn fresh_backup(account: &Account) -> Image {
    let begun: Vec<String> = account.backups(GROUP).await.into_iter().map(|it| it.id).collect();
    account
        .until("a backup is begun and available", async || {
            let events = told(account, "Backup Created");
            let mut backups = account.backups(GROUP).await.into_iter();
            backups.find(|it| {
                !begun.contains(&it.id) && events.iter().any(|event| event["imageId"] == it.id.as_str())
            })
        })
        .await
}

/// Waits until a backup is gone, with every snapshot that it stood on, and told of. Returns what was told.
pub(crate) async fn removed(account: &Account, backup: &Image) -> Value {
    let told = account
        .until(&format!("{} is removed", backup.id), async || {
            told(account, "Backup Removed").into_iter().find(|it| it["imageId"] == backup.id.as_str())
        })
        .await;
    let left: Vec<Image> = account.backups(GROUP).await.into_iter().filter(|it| it.id == backup.id).collect();
    assert_eq!(left, [], "the image is gone");
    assert!(!backup.snapshots.is_empty(), "{backup:?}");
    for id in &backup.snapshots {
        let refusal = account.try_ec2("DescribeSnapshots", &[("SnapshotId.1", id)]).await.unwrap_err();
        assert!(refusal.contains("InvalidSnapshot.NotFound"), "{id}: {refusal}");
    }
    told
}

/// Asserts all that a backup promises: whose it is, that its instance went on running meanwhile, and what is told.
pub(crate) async fn assert_sound(account: &Account, backup: &Image) {
    assert_eq!(backup.state, "available");
    let snapshots = account.backup_snapshots(GROUP).await;
    let of_it: Vec<_> = snapshots.iter().filter(|it| backup.snapshots.contains(&it.id)).collect();
    assert_eq!(of_it.len(), backup.snapshots.len(), "its snapshots carry the tags as well: {snapshots:#?}");
    let tagged = of_it.iter().map(|it| (&it.id, &it.tags)).chain([(&backup.id, &backup.tags)]);
    for (id, tags) in tagged {
        let wanted = [
            ("perennial:deployment", DEPLOYMENT),
            ("perennial:group", GROUP),
            ("perennial:purpose", "backup"),
            ("perennial:key", &backup.name),
            ("team", "web"),
        ];
        for (tag, value) in wanted {
            assert_eq!(tags.get(tag).map(String::as_str), Some(value), "{tag} of {id}");
        }
    }
    let asked = carried_out(account, "CreateImage");
    let asked: Vec<&Value> = asked.iter().filter(|it| speaks_of(it, &backup.name)).collect();
    assert_eq!(asked.len(), 1, "asked for once: {asked:#?}");
    assert_eq!(asked[0]["parameters"]["NoReboot"], "true");
    assert_eq!(asked[0]["parameters"]["InstanceId"], backup.source.as_str());

    let created = told(account, "Backup Created");
    let created = created.iter().find(|it| it["imageId"] == backup.id.as_str()).unwrap();
    assert_eq!(created["instanceId"], backup.source.as_str(), "{created:#}");
    assert_eq!(created["snapshotIds"], json!(backup.snapshots), "{created:#}");
    let source = account.instance(&backup.source).await;
    let node = source.and_then(|it| it.tags.get("perennial:node").cloned());
    assert_eq!(created["node"].as_str(), node.as_deref(), "the member it was taken of: {created:#}");
    let (age, took) = (created["ageSeconds"].as_u64(), created["durationSeconds"].as_u64());
    assert!(took.is_some_and(|took| took > 0) && age >= took, "{created:#}");
}

/// Asserts that no function ever did anything to an instance but look at it and take its image.
pub(crate) fn assert_untouched(account: &Account, instance: &Instance) {
    let touches = ["StopInstances", "RebootInstances", "TerminateInstances", "ModifyInstanceAttribute"];
    let calls = account.calls(0);
    let touched = calls.iter().filter(|it| !it["function"].is_null() && speaks_of(it, &instance.id));
    let touched: Vec<&Value> =
        touched.filter(|it| touches.iter().any(|touch| it["operation"] == *touch)).collect();
    assert!(touched.is_empty(), "{touched:#?}");
}

/// The guest on an instance writes so often to its root.
pub(crate) fn write(account: &Account, instance: &str, times: u64) {
    account.control("POST", "write", &json!({"instanceId": instance, "times": times}));
}

/// Registers an image as the operator would, and waits until it can be launched.
pub(crate) async fn register(account: &Account, name: &str) -> String {
    let snapshot = account.server().defaults().snapshot_id.clone();
    let parameters = [
        ("Name", name),
        ("Architecture", "x86_64"),
        ("RootDeviceName", "/dev/xvda"),
        ("VirtualizationType", "hvm"),
        ("EnaSupport", "true"),
        ("BlockDeviceMapping.1.DeviceName", "/dev/xvda"),
        ("BlockDeviceMapping.1.Ebs.SnapshotId", &snapshot),
    ];
    let image = account.ec2("RegisterImage", &parameters).await["imageId"].as_str().unwrap().to_owned();
    account
        .until("the operator's image is available", async || {
            let found = account.ec2("DescribeImages", &[("ImageId.1", &image)]).await;
            (found["imagesSet"][0]["imageState"] == "available").then_some(())
        })
        .await;
    image
}

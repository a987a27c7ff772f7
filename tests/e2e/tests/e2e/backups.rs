//! Image backups of groups, by the real functions: when they are made, who starts from them, and when they go.

use std::collections::BTreeSet;

use perennial_e2e::{Account, Instance, Setup};
use serde_json::{Value, json};

use crate::backed::{
    GROUP, ID, SETUP, assert_sound, assert_untouched, backup, begun, carried_out, fresh_backup, group,
    member, notice, put, register, removed, told, write,
};
use crate::support::{DEPLOYMENT, interrupt, running, ticks_pass, verdict};

/// Due at no time that these stories last: what is made is asked for.
const RARELY: &str = "0 0 29 2 *";

/// The member whose instance this is, and the instance of another one.
fn parted(instances: &[Instance], source: &str) -> [Instance; 2] {
    let find = |is: bool| instances.iter().find(|it| (it.id == source) == is).cloned().unwrap();
    [find(true), find(false)]
}

fn number_of(instance: &Instance) -> usize {
    let node = &instance.tags["perennial:node"];
    node.strip_prefix("web-").and_then(|it| it.parse().ok()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_come_back_from_the_newest_backup_and_older_ones_go_with_their_snapshots() {
    let account = Account::start(SETUP).await;
    put(&account, &group(&account, 2, json!({"frequency": "continuous", "keep": 2}))).await;
    let first = begun(&account, 2).await;
    let base = &account.server().defaults().image_id;
    assert!(
        first.iter().all(|it| it.image == *base),
        "from the operator's image as long as there is no other"
    );

    let one = backup(&account, 1).await;
    assert_sound(&account, &one).await;
    let served = account.group_record(GROUP).await["backups"]["served"].clone();
    let [source, other] = parted(&first, &one.source);
    write(&account, &source.id, 7);
    let two = fresh_backup(&account).await;
    assert_sound(&account, &two).await;
    assert_ne!(account.group_record(GROUP).await["backups"]["served"], served, "another time was due");
    write(&account, &source.id, 5);

    interrupt(&account, &other, true);
    let back = running(&account, &member(number_of(&other)), 2).await;
    let newest: Vec<String> = told(&account, "Backup Created")
        .iter()
        .skip_while(|it| it["imageId"] != two.id.as_str())
        .map(|it| it["imageId"].as_str().unwrap().to_owned())
        .collect();
    assert!(newest.contains(&back.image), "launched from {}, the newest are {newest:?}", back.image);
    let holds = if back.image == two.id { 7 } else { 12 };
    assert_eq!(account.writes(&back.root), holds, "what the source had written up to the backup");

    // The latest launched is what the next ones are taken of; the oldest ones make room.
    let next = account
        .until("a backup of the new instance", async || {
            account
                .backups(GROUP)
                .await
                .into_iter()
                .find(|it| it.source == back.id && it.state == "available")
        })
        .await;
    let gone = removed(&account, &one).await;
    assert_eq!(gone["instanceId"], one.source.as_str(), "{gone:#}");
    assert!(gone["ageSeconds"].as_u64().is_some_and(|age| age >= 20 * 60), "it was the third last: {gone:#}");
    assert_ne!(next.id, one.id);
    assert_eq!(account.live(&member(number_of(&source))).await[0], source, "and nobody else was touched");
    assert_untouched(&account, &source);
    assert_eq!(told(&account, "Backup Failed"), [] as [Value; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_is_the_newest_and_the_last_one_that_a_member_came_up_well_from() {
    let account = Account::start(SETUP).await;
    put(&account, &group(&account, 2, json!({"keep": 1}))).await;
    let first = begun(&account, 2).await;
    let proven = backup(&account, 1).await;
    let [_, other] = parted(&first, &proven.source);
    interrupt(&account, &other, false);
    let back = running(&account, &member(number_of(&other)), 2).await;
    account
        .until("it is known to have come up well", async || {
            let record = account.group_record(GROUP).await;
            let list = record["backups"]["list"].as_array()?;
            let entry = list.iter().find(|it| it["image"] == back.image.as_str())?;
            (!entry["provenAt"].is_null()).then_some(())
        })
        .await;
    // Nobody is launched any more: of what follows, nothing is known to be well, and the newest takes its place.
    let unproven = fresh_backup(&account).await;
    removed(&account, &unproven).await;
    let newest = told(&account, "Backup Created").pop().unwrap();
    let kept: BTreeSet<String> = account.backups(GROUP).await.into_iter().map(|it| it.id).collect();
    assert!(kept.contains(&back.image), "{} is kept beyond its place: {kept:?}", back.image);
    assert!(kept.contains(newest["imageId"].as_str().unwrap()), "{newest:#}: {kept:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_operator_changes_the_image_by_turning_backups_off_and_on_again() {
    let account = Account::start(SETUP).await;
    let mut item = group(&account, 2, json!({"keep": 2}));
    put(&account, &item).await;
    let first = begun(&account, 2).await;
    let one = backup(&account, 1).await;
    let [_, other] = parted(&first, &one.source);
    let new = register(&account, "the operator's second image").await;

    // While they are on, an edit of the image has no effect, and says so.
    item["launch"]["image"] = json!(new);
    put(&account, &item).await;
    let told_so = notice(&account, "launch.image: has no effect").await;
    for words in [new.as_str(), "remove imageBackup", "raise recycle", "turn it on again"] {
        assert!(told_so.contains(words), "{words:?}: {told_so}");
    }
    interrupt(&account, &other, false);
    let back = running(&account, &member(number_of(&other)), 2).await;
    let backups: Vec<String> = account.backups(GROUP).await.into_iter().map(|it| it.id).collect();
    assert!(backups.contains(&back.image), "{} is a backup: {backups:?}", back.image);

    // Off: the operator's word counts.
    item.as_object_mut().unwrap().remove("imageBackup");
    put(&account, &item).await;
    item["recycle"] = json!(1);
    put(&account, &item).await;
    let new = &new;
    let all_new = async |capacity: usize| {
        for number in 1..=capacity {
            account
                .until(&format!("web-{number} runs the new image"), async || {
                    let live = account.live(&member(number)).await;
                    let runs = matches!(live.as_slice(), [it] if it.state == "running" && it.image == *new);
                    (runs && account.record(&member(number)).await["phase"] == "running").then_some(())
                })
                .await;
        }
    };
    all_new(2).await;
    let old: Vec<String> = account.backups(GROUP).await.into_iter().map(|it| it.id).collect();
    assert!(!old.is_empty(), "the old backups are kept until the group is deleted");

    // On again: nobody starts from one of them any more, and the next one is taken of the new image.
    item["imageBackup"] = json!({"keep": 2});
    item["capacity"] = json!(3);
    put(&account, &item).await;
    let third = running(&account, &member(3), 1).await;
    assert_eq!(third.image, *new, "until there is a backup of it, from the new image itself");
    let made = fresh_backup(&account).await;
    let source = account.instance(&made.source).await.unwrap();
    assert_eq!(source.image, *new, "taken of an instance that runs it");
    assert!(!old.contains(&made.id));
    assert_sound(&account, &made).await;
    write(&account, &third.id, 3);
    interrupt(&account, &third, false);
    let back = running(&account, &member(3), 2).await;
    let line: Vec<String> = account.backups(GROUP).await.into_iter().map(|it| it.id).collect();
    assert!(line.contains(&back.image) && !old.contains(&back.image), "{} of {line:?}", back.image);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn off_with_the_image_as_it_is_members_go_on_from_the_last_backup() {
    let account = Account::start(SETUP).await;
    let rarely = json!({"frequency": "cron", "cron": RARELY, "now": 1});
    let mut item = group(&account, 1, rarely);
    put(&account, &item).await;
    let first = begun(&account, 1).await.remove(0);
    let one = backup(&account, 1).await;
    item.as_object_mut().unwrap().remove("imageBackup");
    put(&account, &item).await;
    let told_so = notice(&account, "imageBackup: is off").await;
    assert!(told_so.contains(&one.id), "{told_so}");
    interrupt(&account, &first, false);
    assert_eq!(running(&account, &member(1), 2).await.image, one.id);
    assert_eq!(carried_out(&account, "CreateImage").len(), 1, "and none is made");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_made_at_once_whenever_now_is_raised() {
    let account = Account::start(SETUP).await;
    let mut item =
        group(&account, 1, json!({"frequency": "cron", "cron": RARELY, "timezone": "Europe/Berlin"}));
    put(&account, &item).await;
    let instance = begun(&account, 1).await.remove(0);
    ticks_pass(&account, 3).await;
    assert_eq!(account.backups(GROUP).await, [], "none is due");
    for now in [1, 2] {
        write(&account, &instance.id, 4);
        item["imageBackup"]["now"] = json!(now);
        put(&account, &item).await;
        let made = backup(&account, now).await;
        assert_sound(&account, &made).await;
        // The same number once more asks for nothing.
        item["tags"]["edited"] = json!(now.to_string());
        item["tags"]["team"] = json!("web");
        put(&account, &item).await;
        ticks_pass(&account, 3).await;
        assert_eq!(account.backups(GROUP).await.len(), now, "one for each time it was raised");
    }
    interrupt(&account, &instance, false);
    let back = running(&account, &member(1), 2).await;
    assert_eq!((&back.image, account.writes(&back.root)), (&backup(&account, 2).await.id, 8));
    assert_untouched(&account, &instance);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_group_leaves_no_image_and_no_snapshot_after_its_retention() {
    let account = Account::start(SETUP).await;
    let mut item = group(&account, 2, json!({"keep": 50}));
    item["persist"] = json!({"network": {}});
    item["retention"] = json!({"after": "1h"});
    put(&account, &item).await;
    let first = begun(&account, 2).await;
    let kept = [backup(&account, 1).await, backup(&account, 2).await];
    let [_, other] = parted(&first, &kept[1].source);
    interrupt(&account, &other, false);
    let back = running(&account, &member(number_of(&other)), 2).await;
    assert_eq!(back.private_ip, other.private_ip, "the member keeps its address, and starts from a backup");
    assert_ne!(back.image, other.image);

    account.remove_item(ID).await;
    for number in [1, 2] {
        let node = member(number);
        account
            .until(&format!("{node} is gone"), async || {
                (account.record(&node).await["phase"] == "gone").then_some(())
            })
            .await;
        assert_eq!(account.interfaces(&node).await, [], "{node}");
        assert_eq!(account.volumes(&node).await, [], "{node}");
    }
    for backup in &kept {
        removed(&account, backup).await;
    }
    account
        .until("nothing is left of its backups", async || {
            let is_bare = account.backups(GROUP).await.is_empty()
                && account.backup_snapshots(GROUP).await.is_empty()
                && account.group_record(GROUP).await["backups"].is_null();
            is_bare.then_some(())
        })
        .await;
    assert_eq!(account.deployment_snapshots(DEPLOYMENT).await, [], "no snapshot of the deployment at all");
    let time = |of: &Value| of.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let removed_at = time(&account.group_record(GROUP).await["removedAt"]);
    for call in carried_out(&account, "DeregisterImage") {
        let after = time(&call["time"]).duration_since(removed_at);
        assert!(after >= jiff::SignedDuration::from_hours(1), "not before its retention is over: {call:#}");
    }
    let made = told(&account, "Backup Created").len();
    assert_eq!(told(&account, "Backup Removed").len(), made, "each was told of");
}

/// Maps at `imageBackup` that make no sense, where their problem is, what is said to stand there, and a part of
/// what helps.
fn nonsense() -> [(Value, &'static str, &'static str, &'static str); 9] {
    [
        (json!({"frequency": "cron", "cron": "every day"}), "cron", "every day", "five fields"),
        (json!({"frequency": "cron", "cron": "0 3 31 2 *"}), "cron", "0 3 31 2 *", "never due"),
        (json!({"frequency": "cron", "cron": "*/5 * * * *"}), "cron", "*/5 * * * *", "leave at least 10"),
        (json!({"frequency": "cron"}), "cron", "null", "required with frequency \"cron\""),
        (json!({"frequency": "daily", "timezone": "Berlin"}), "timezone", "Berlin", "Europe/Berlin"),
        (json!({"frequency": "daily", "timezone": "Middle/Earth"}), "timezone", "Middle/Earth", "IANA"),
        (json!({"keep": 0}), "keep", "0", "remove imageBackup"),
        (json!({"keep": 100_000}), "keep", "100000", "from 1 to 200"),
        (json!({"frequency": "often"}), "frequency", "often", "\"continuous\""),
    ]
}

/// Asserts that the item is refused with this one problem.
async fn refused(account: &Account, item: &Value, path: &str, value: &str, remedy: &str) {
    let id = item["id"].as_str().unwrap();
    account.put(item).await;
    let status = verdict(account, id, false).await;
    let problems = status["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 1, "{status:#}");
    assert_eq!((&problems[0]["path"], &problems[0]["value"]), (&json!(path), &json!(value)), "{status:#}");
    assert!(problems[0]["remedy"].as_str().unwrap().contains(remedy), "{remedy:?}: {status:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backups_that_make_no_sense_are_refused_with_path_value_and_remedy_and_change_nothing() {
    let account = Account::start(Setup { speed: 20.0, functions: true }).await;
    let good = group(&account, 1, json!({"frequency": "cron", "cron": RARELY}));
    put(&account, &good).await;
    let first = begun(&account, 1).await.remove(0);
    let in_force = account.group_record(GROUP).await["config"].take();
    for (says, path, value, remedy) in nonsense() {
        let bad = group(&account, 1, says);
        refused(&account, &bad, &format!("imageBackup.{path}"), value, remedy).await;
    }
    let exclusive =
        [("persist.root", json!({"root": {}})), ("persist.data", json!({"data": {"mode": "reattach"}}))];
    for (kept, persist) in exclusive {
        let mut bad = good.clone();
        bad["persist"] = persist;
        refused(&account, &bad, "imageBackup", kept, "exclude each other").await;
    }
    let mut node = good.clone();
    node["id"] = json!("node#alone");
    node.as_object_mut().unwrap().remove("capacity");
    let map = node["imageBackup"].to_string();
    refused(&account, &node, "imageBackup", &map, "of a group").await;

    ticks_pass(&account, 2).await;
    assert_eq!(account.group_record(GROUP).await["config"], in_force, "what was accepted stays in force");
    assert_eq!(account.live(&member(1)).await, [first], "and the member runs on");
    assert_eq!(account.backups(GROUP).await, []);
    assert_eq!(account.record("alone").await, Value::Null);
}

//! The end of a life: what is deleted, what is handed over, and edits that come too late.

use perennial_e2e::{Account, Setup};
use serde_json::{Value, json};

use crate::support::{ticks_pass, verdict};
use crate::tale::Tale;

/// Retention at its shortest, one hour, passes in fifteen seconds.
const SETUP: Setup = Setup { speed: 240.0, functions: true };

/// Asserts that the item as it stands is refused for `desiredState`, and that the ended node stays as it is.
async fn too_late(tale: &mut Tale<'_>, state: &str) {
    let before = tale.account.raw_record(tale.node).await;
    tale.item["desiredState"] = json!(state);
    tale.account.put(&tale.item).await;
    let status = verdict(tale.account, &tale.id(), false).await;
    let problem = &status["problems"][0];
    assert_eq!((&problem["path"], &problem["value"]), (&json!("desiredState"), &json!(state)), "{status:#}");
    assert!(problem["remedy"].as_str().is_some_and(|it| it.contains("\"running\"")), "{status:#}");
    ticks_pass(tale.account, 2).await;
    assert_eq!(tale.account.raw_record(tale.node).await, before, "nothing changes");
    assert!(tale.account.live(tale.node).await.is_empty());
}

async fn volumes_and_interface_stay(account: &Account) {
    let mut tale = Tale::begin(account, "partial", 61).await;
    let first = tale.first.clone();
    tale.edit(|item| {
        item["desiredState"] = json!("deallocated");
        item["retention"] = json!({"after": "1h", "delete": ["images", "snapshots"]});
    })
    .await;
    let rest = tale.rests("deallocated", &first).await;
    let record = tale.stands("gone").await;
    tale.assert_nothing_tagged().await;
    let handed = record["handedOver"].to_string();
    for id in [&first.root, &first.interface] {
        assert!(handed.contains(id.as_str()), "{id} is listed: {handed}");
        assert_eq!(account.owner(id).await, Value::Null);
    }
    let listed = tale.says("purged; handed over:").await;
    assert!(listed.contains(&first.root) && listed.contains(&first.interface), "{listed}");
    let volumes = account.ec2("DescribeVolumes", &[("VolumeId.1", &first.root)]).await;
    assert_eq!(volumes["volumeSet"][0]["status"], "available", "{volumes}");
    assert_eq!(account.writes(&first.root), tale.guest.stays()[0].last, "with every byte");
    account.ec2("DescribeNetworkInterfaces", &[("NetworkInterfaceId.1", &first.interface)]).await;
    account.try_ec2("DescribeSnapshots", &[("SnapshotId.1", &rest.last.id)]).await.unwrap_err();
    account.try_ec2("DescribeImages", &[("ImageId.1", &rest.image.id)]).await.ok();
    let events = ["Config Accepted", "Node Running", "Config Accepted", "Node Deallocated", "Node Purged"];
    assert_eq!(tale.tells(), events);
    too_late(&mut tale, "paused").await;
    too_late(&mut tale, "released").await;
}

async fn released_cannot_be_paused(account: &Account) {
    let mut tale = Tale::begin(account, "released", 62).await;
    tale.wants("released").await;
    tale.stands("gone").await;
    too_late(&mut tale, "paused").await;
    let left = account.instance(&tale.first.id).await.unwrap();
    assert_eq!(left.state, "running", "nobody's business any more");
}

/// A retention that has passed already is told of first, and can still be taken back.
async fn a_shorter_retention_is_told_before_it_counts(account: &Account) {
    let mut tale = Tale::begin(account, "hasty", 63).await;
    let first = tale.first.clone();
    tale.wants("deallocated").await;
    tale.rests("deallocated", &first).await;
    let since = tale.stands("deallocated").await["deallocatedAt"].as_str().unwrap().to_owned();
    let hour = since.parse::<jiff::Timestamp>().unwrap() + jiff::SignedDuration::from_hours(1);
    account
        .until("an hour goes by", async || {
            let now = account.control("GET", "clock", &Value::Null)["now"].as_str()?.parse().ok()?;
            (hour < now).then_some(())
        })
        .await;
    let status = tale.edit(|item| item["retention"] = json!({"after": "1h"})).await;
    let told = status["notices"].to_string();
    assert!(told.contains("retention.after has already passed"), "{status:#}");
    let told_at = status["checkedAt"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let purged = tale.stands("gone").await;
    tale.assert_nothing_tagged().await;
    let journal = account.journal(tale.node).await;
    let begun = journal.iter().find(|entry| entry["phase"] == "purging").unwrap();
    let begun = begun["time"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert!(begun.duration_since(told_at).as_secs() >= 45, "a tick went by: {told_at} {begun} {purged:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_to_be_deleted_is_handed_over_and_an_ended_life_takes_no_edit() {
    let account = Account::start(SETUP).await;
    tokio::join!(
        volumes_and_interface_stay(&account),
        released_cannot_be_paused(&account),
        a_shorter_retention_is_told_before_it_counts(&account),
    );
}

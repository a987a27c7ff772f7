//! Data volumes that are moved, lost, stuck or taken away by hand.

use perennial_e2e::{Account, Setup};
use serde_json::{Value, json};

use crate::estate::{self, Estate, MAPPED, assert_alike};
use crate::support::{assert_told_of_block, completed, interrupt, speaks_of, text, ticks_pass, told, types};

const SETUP: Setup = Setup { speed: 120.0, functions: true };

/// To another zone; then paused, and the volume that is kept deleted by hand.
async fn moved_and_bereft(account: &Account, node: &'static str, mode: &str) {
    let mut estate = Estate::begin(account, node, mode, None).await;
    let first = estate.tale.first.clone();
    let before = estate.volume(&first, MAPPED).await;
    let subnets = account.server().defaults().subnet_ids.clone();
    estate.tale.edit(|item| item["launch"]["subnets"] = json!([subnets[1]])).await;
    ticks_pass(account, 2).await;
    assert_eq!(estate.back(1, &[MAPPED]).await.id, first.id, "not before the next launch");
    estate.tale.edit(|item| item["recycle"] = json!(1)).await;
    let second = estate.back(2, &[MAPPED]).await;
    assert_ne!(second.zone, first.zone, "in another zone");
    let moved = estate.volume(&second, MAPPED).await;
    assert_ne!((&moved.id, &moved.zone), (&before.id, &before.zone));
    assert_alike(&before, &moved);
    estate.cleaned(&second, &[]).await;
    estate.assert_went_last(&before.id, &second);

    estate.tale.wants("paused").await;
    estate.rests(&second).await;
    account.ec2("DeleteVolume", &[("VolumeId", &moved.id)]).await;
    estate.tale.wants("running").await;
    let third = estate.back(3, &[MAPPED]).await;
    let again = estate.volume(&third, MAPPED).await;
    assert_eq!((again.zone == moved.zone, again.id == moved.id), (true, false), "made from its last bytes");
    assert_alike(&moved, &again);
    estate.cleaned(&third, &[]).await;
}

/// What several instances may hold never becomes the node's own; what is detached by hand leaves it.
async fn shared_and_detached(account: &Account) {
    let mut estate = Estate::begin(account, "parting", "reattach", Some(51)).await;
    let first = estate.tale.first.clone();
    let kind = [("VolumeType", "io2"), ("Iops", "100"), ("MultiAttachEnabled", "true")];
    let shared = estate.attach(&first, &kind).await;
    let blocked = estate.tale.blocked("volume-left-alone").await;
    assert!(text(&blocked["message"]).contains(&shared), "{blocked:#}");
    let set = account
        .until("a recovery point is taken without it", async || {
            let calls = account.calls(0);
            let without = |it: &&Value| {
                it["operation"] == "CreateSnapshots" && it["status"] == 200 && speaks_of(it, &shared)
            };
            let call = calls.iter().find(without)?;
            let mut snapshots = account.snapshots(estate.tale.node).await;
            snapshots.retain(|it| speaks_of(call, &it.tags["perennial:key"]));
            (!snapshots.is_empty()).then_some(snapshots)
        })
        .await;
    let of: Vec<&str> = set.iter().map(|it| it.volume.as_str()).collect();
    assert!(of.len() == 2 && !of.contains(&shared.as_str()), "{set:#?}");

    let parted = estate.volume(&first, MAPPED).await.id;
    account.ec2("DetachVolume", &[("VolumeId", &parted)]).await;
    account
        .until("it is the operator's", async || {
            let left = account.volume(&parted).await?;
            let is_free = left.state == "available" && !left.tags.contains_key("perennial:node");
            is_free.then_some(())
        })
        .await;
    assert_eq!(account.volume(&parted).await.unwrap().tags["team"], "storage", "the operator's tags stay");

    estate.tale.edit(|item| item["recycle"] = json!(1)).await;
    // Neither comes along, and the template has no say any more.
    let second = estate.back(2, &[]).await;
    estate.cleaned(&second, &[]).await;
    for volume in [&parted, &shared] {
        estate.assert_handed_over(volume).await;
        estate.assert_never_deleted(volume);
    }
    assert_told_of_block(account, estate.tale.node);
}

/// An attachment that EC2 never ends: told of, and gone on with once it is detached by hand.
async fn stuck(account: &Account) {
    let estate = Estate::begin(account, "stuck", "reattach", Some(52)).await;
    let (first, tale) = (&estate.tale.first, &estate.tale);
    let before = estate.volume(first, MAPPED).await;
    account.control("POST", "hang", &json!({"volumeId": before.id}));
    interrupt(account, first, false);
    let blocked = tale.blocked("attach-stalled").await;
    assert!(text(&blocked["message"]).contains(&before.id), "{blocked:#}");
    assert!(text(&blocked["remedy"]).contains("detach"), "{blocked:#}");
    ticks_pass(account, 3).await;
    let calls = account.calls(0);
    let tries = calls.iter().filter(|it| it["operation"] == "AttachVolume" && speaks_of(it, &before.id));
    assert_eq!(tries.count(), 1, "not in a loop");
    account.ec2("DetachVolume", &[("VolumeId", &before.id), ("Force", "true")]).await;
    let second = estate.back(2, &[MAPPED]).await;
    estate.assert_same(MAPPED, &before, &second).await;
    estate.cleaned(&second, &[]).await;
    estate.assert_never_deleted(&before.id);
    assert_told_of_block(account, tale.node);
}

fn capacity(account: &Account, instance_type: &str, available: Option<u32>) {
    let zone = format!("{}a", account.server().region());
    for market in ["spot", "on-demand"] {
        let limit =
            json!({"instanceType": instance_type, "zone": zone, "market": market, "available": available});
        account.control("POST", "capacity", &limit);
    }
}

/// Deleted by hand before its node had it back: only the operator's word brings an older one.
async fn lost(account: &Account) {
    // A type of its own, which nobody else waits for.
    let kind = "r5.large";
    let mut item = estate::item(account, "bereaved", "reattach").await;
    item["launch"]["instanceTypes"] = json!([kind]);
    let mut estate = Estate::begin_with(account, "bereaved", item).await;
    let first = estate.tale.first.clone();
    let before = estate.volume(&first, MAPPED).await;
    estate.sets_come_and_go(2).await;
    capacity(account, kind, Some(0));
    interrupt(account, &first, false);
    estate.tale.blocked("capacity").await;
    account.ec2("DeleteVolume", &[("VolumeId", &before.id)]).await;
    capacity(account, kind, None);

    let blocked = estate.tale.blocked("data-missing").await;
    let snapshots = account.snapshots(estate.tale.node).await;
    let points: Vec<&str> = completed(&snapshots)
        .into_iter()
        .filter(|it| it.volume == before.id)
        .map(|it| it.id.as_str())
        .collect();
    assert!(!points.is_empty(), "{snapshots:#?}");
    for point in &points {
        assert!(text(&blocked["message"]).contains(point), "{point} is a candidate: {blocked:#}");
    }
    ticks_pass(account, 3).await;
    let left = account.snapshots(estate.tale.node).await;
    for point in &points {
        assert!(left.iter().any(|it| it.id == *point), "nothing is deleted: {left:#?}");
    }
    let chosen = points.last().unwrap().to_string();
    estate.tale.edit(|item| item["restoreFrom"] = json!(chosen)).await;
    let second = estate.tale.back(2, 2).await;
    let restored = estate.volume(&second, MAPPED).await;
    assert_ne!(restored.id, before.id);
    assert_alike(&before, &restored);
    let uses = account
        .until("the guest writes to it", async || {
            Some(estate.tale.guest.uses(MAPPED)).filter(|uses| uses.len() == 2)
        })
        .await;
    let found = uses[1].first - 1;
    assert!((1..=uses[0].last).contains(&found), "what the chosen point has: {uses:#?}");
    estate.tale.guest.assert_nothing_lost();
    estate.tale.says("at the operator's word").await;
    let events = told(account, estate.tale.node);
    let mut blocks = types(&events).into_iter().filter(|it| it.ends_with("locked"));
    assert_eq!(blocks.next_back(), Some("Node Unblocked"), "{events:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_volumes_moved_lost_stuck_or_taken_away_lose_no_byte_unsaid() {
    let account = Account::start(SETUP).await;
    tokio::join!(
        moved_and_bereft(&account, "moving", "reattach"),
        moved_and_bereft(&account, "moving-copies", "snapshot"),
        shared_and_detached(&account),
        stuck(&account),
        lost(&account),
    );
    let calls = account.calls(0);
    let detached: Vec<&Value> =
        calls.iter().filter(|it| it["operation"] == "DetachVolume" && !it["function"].is_null()).collect();
    assert!(detached.is_empty(), "nobody but the operator takes a volume off: {detached:#?}");
}

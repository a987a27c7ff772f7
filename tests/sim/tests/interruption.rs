//! One interruption survived, whatever goes wrong on the way.

use jiff::SignedDuration;
use perennial_core::journal::Kind;
use perennial_core::phase::Phase;
use perennial_sim::account::{NODE, item};
use perennial_sim::faults::Plan;
use perennial_sim::run::{Delivery, Run};
use serde_json::json;

/// A node that has run for a while.
fn settled() -> Run {
    let mut run = Run::new(7, Delivery::Faithful, Plan::None);
    let item = item(&run);
    run.put(item);
    assert!(run.until_settled(NODE, 1, SignedDuration::from_mins(30)));
    run
}

/// Calls to EC2 that change something, so far.
fn changes(run: &Run) -> u64 {
    let world = run.world.0.borrow();
    let changing = world.calls.iter().filter(|(name, _)| {
        name.strip_prefix("EC2:").is_some_and(|operation| !operation.starts_with("Describe"))
    });
    changing.map(|(_, n)| n).sum()
}

#[test]
fn a_suspended_node_is_watched_and_nothing_is_changed_until_it_goes_on() {
    let mut run = settled();
    let mut suspended = item(&run);
    suspended["suspend"] = json!(true);
    run.put(suspended);
    run.pass(SignedDuration::from_secs(5));
    let before = changes(&run);
    let instance = run.record(NODE).unwrap().instance.unwrap().id;
    run.world.0.borrow_mut().cloud.interrupt(instance.as_str(), true).unwrap();
    run.pass(SignedDuration::from_mins(20));
    assert_eq!(changes(&run), before, "no call that changes anything");
    assert!(run.world.0.borrow().published.iter().any(|e| e.kind == Kind::NodeInterrupted));
    assert_ne!(run.record(NODE).unwrap().phase, Phase::Running, "what happened is seen");
    let item = item(&run);
    run.put(item);
    assert!(run.until_settled(NODE, 2, SignedDuration::from_mins(30)), "and it goes on from there");
    assert_eq!(run.watch.broken, None);
}

#[test]
fn a_rejected_edit_changes_nothing_and_is_told_once() {
    let mut run = settled();
    let before = run.record(NODE).unwrap();
    let mut bad = item(&run);
    bad["launch"]["template"] = json!({"name": "no-such-template"});
    bad["retention"] = json!({"after": "soon"});
    run.put(bad);
    run.pass(SignedDuration::from_mins(10));
    let after = run.record(NODE).unwrap();
    assert_eq!((after.config, after.instance), (before.config, before.instance));
    let world = run.world.0.borrow();
    let status = &world.config[&format!("node#{NODE}")]["_status"];
    let paths: Vec<_> =
        status["problems"].as_array().unwrap().iter().map(|p| p["path"].as_str().unwrap()).collect();
    assert_eq!(
        (status["accepted"].as_bool(), paths),
        (Some(false), vec!["launch.template.name", "retention.after"])
    );
    assert_eq!(world.published.iter().filter(|e| e.kind == Kind::ConfigRejected).count(), 1);
}

#[test]
fn items_that_are_not_supported_yet_say_so() {
    let mut run = settled();
    let mut item = item(&run);
    item["id"] = json!("group#web");
    item["persist"] = json!({"network": {}});
    item["targetGroups"] = json!([]);
    run.put(item);
    run.pass(SignedDuration::from_mins(3));
    let world = run.world.0.borrow();
    let status = &world.config["group#web"]["_status"];
    assert_eq!(status["accepted"], false);
    assert_eq!(status["problems"][0]["path"], "targetGroups");
    assert!(status["problems"][0]["remedy"].as_str().unwrap().contains("not supported yet"));
    assert!(!world.config.keys().any(|id| id.starts_with("node#web-")), "and no member is made");
}

#[test]
fn a_steady_node_writes_nothing() {
    let mut run = settled();
    run.pass(SignedDuration::from_mins(12));
    assert!(run.is_settled(NODE));
    let generation = run.record(NODE).unwrap().generation;
    run.pass(SignedDuration::from_mins(60));
    assert_eq!(run.record(NODE).unwrap().generation, generation);
}

#[test]
fn root_persistence_taken_out_by_mistake_and_put_back_deletes_nothing_of_the_old_root() {
    let mut run = settled();
    run.pass(SignedDuration::from_mins(10));
    run.guests_write = false;
    let record = run.record(NODE).unwrap();
    let (old, first) = (record.root.unwrap().volume_id, record.instance.unwrap().id);
    let written = run.watch.acknowledged(NODE);
    let mut forgotten = item(&run);
    forgotten["persist"] = json!({"network": {}});
    run.put(forgotten);
    run.pass(SignedDuration::from_secs(5));
    run.world.0.borrow_mut().cloud.interrupt(first.as_str(), true).unwrap();
    assert!(run.until_settled(NODE, 2, SignedDuration::from_mins(30)));
    let item = item(&run);
    run.put(item);
    run.pass(SignedDuration::from_mins(40));
    assert!(run.is_settled(NODE));
    let world = run.world.0.borrow();
    assert_eq!(
        world.cloud.contents(old.as_str()).map(|c| c.writes),
        Some(written),
        "the old root is still there"
    );
    let of_old = |s: &&perennial_cloud::model::Snapshot| s.volume_id == old.as_str();
    assert!(world.cloud.snapshots().filter(of_old).count() >= 3, "and so are its snapshots");
}

#[test]
fn a_root_swapped_by_hand_for_another_volume_is_what_comes_back() {
    let mut run = settled();
    let record = run.record(NODE).unwrap();
    let (old, first) = (record.root.unwrap().volume_id, record.instance.unwrap().id);
    // As CreateReplaceRootVolumeTask leaves it: another volume, with DeleteOnTermination on.
    let new = run.world.0.borrow_mut().cloud.swap_root(first.as_str()).unwrap();
    run.guests_write = false;
    run.pass(SignedDuration::from_mins(5));
    assert_eq!(run.record(NODE).unwrap().root.unwrap().volume_id.as_str(), new);
    run.world.0.borrow_mut().cloud.interrupt(first.as_str(), true).unwrap();
    assert!(run.until(SignedDuration::from_mins(30), |run| {
        run.record(NODE).is_some_and(|r| r.cycle == 2 && r.phase == Phase::Running)
    }));
    let root = run.record(NODE).unwrap().root.unwrap().volume_id;
    let lineage = run.world.0.borrow().cloud.contents(root.as_str()).unwrap().lineage;
    assert!(lineage.contains(&new) && !lineage.contains(&old.to_string()), "{lineage:?}");
}

#[test]
fn a_change_of_the_image_that_has_no_effect_is_told_in_the_status() {
    let mut run = settled();
    run.make_image();
    run.pass(SignedDuration::from_mins(1));
    let image = run.notes["image"].clone();
    run.edit(NODE, |item| item["launch"]["image"] = json!(image));
    run.pass(SignedDuration::from_mins(2));
    let notices = run.status(NODE)["notices"].to_string();
    assert!(notices.contains("launch.image") && notices.contains("no effect"), "{notices}");
}

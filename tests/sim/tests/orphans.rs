//! What carries our tags and nobody explains: adopted, told of once, deleted only on proof and after a day.

#![expect(clippy::unwrap_used, reason = "the helpers of tests stop a test as the tests themselves do")]

use jiff::SignedDuration;
use perennial_cloud::model::{CreateNetworkInterface, CreateVolume, RegisterImage, SnapshotState};
use perennial_core::ids::{InterfaceId, NodeName, VolumeId};
use perennial_core::journal::{Kind, OwnEvent};
use perennial_core::names::{Names, Purpose, TAG_DEPLOYMENT, TAG_LIFE, TAG_PURPOSE, Tags};
use perennial_core::phase::Phase;
use perennial_core::record::{Record, Superseded};
use perennial_sim::account::{NODE, item};
use perennial_sim::convert::tagged;
use perennial_sim::faults::Plan;
use perennial_sim::run::{DEPLOYMENT, Delivery, Run};
use serde_json::{Value, json};

const MINUTES: fn(i64) -> SignedDuration = SignedDuration::from_mins;
const HOURS: fn(i64) -> SignedDuration = SignedDuration::from_hours;

/// A node that has run for a while.
fn settled() -> Run {
    let mut run = Run::new(11, Delivery::Faithful, Plan::None);
    let item = item(&run);
    run.put(item);
    assert!(run.until_settled(NODE, 1, MINUTES(30)));
    run.pass(MINUTES(10));
    run.guests_write = false;
    run
}

/// The name of the stories' node.
fn node() -> NodeName {
    NodeName::parse(NODE).unwrap()
}

/// The tags of something made for the present life of the node.
fn tags(run: &Run, cycle: u32, purpose: Purpose, key: impl Fn(&Names<'_>) -> String) -> Tags {
    let record = run.record(NODE).unwrap();
    let names = Names { deployment: DEPLOYMENT, node: &node(), life: &record.life };
    names.tags(&Tags::new(), cycle, purpose, &key(&names))
}

/// The same tags with another value of one of them.
fn with(tags: &Tags, tag: &str, value: &str) -> Tags {
    let mut tags = tags.clone();
    tags.insert(tag.to_owned(), value.to_owned());
    tags
}

fn volume(run: &Run, tags: &Tags) -> String {
    let zone = run.record(NODE).and_then(|r| r.network).map_or("us-east-1a".to_owned(), |n| n.zone);
    let request = CreateVolume {
        zone,
        size: Some(8),
        volume_type: Some("gp3".into()),
        tag_specifications: vec![tagged("volume", tags)],
        ..CreateVolume::default()
    };
    run.world.0.borrow_mut().cloud.create_volume(&request).unwrap().id
}

fn interface(run: &Run, tags: &Tags) -> String {
    let request = CreateNetworkInterface {
        subnet_id: run.defaults.subnet_ids[0].clone(),
        tag_specifications: vec![tagged("network-interface", tags)],
        ..CreateNetworkInterface::default()
    };
    run.world.0.borrow_mut().cloud.create_network_interface(&request).unwrap().id
}

fn snapshot(run: &Run, volume: &str, tags: &Tags) -> String {
    let specifications = [tagged("snapshot", tags)];
    run.world.0.borrow_mut().cloud.create_snapshot(volume, "by hand", &specifications).unwrap().id
}

fn told(run: &Run) -> Vec<OwnEvent> {
    let world = run.world.0.borrow();
    world.published.iter().filter(|event| event.kind == Kind::OrphanFound).cloned().collect()
}

fn told_of(run: &Run, id: &str) -> usize {
    told(run).iter().filter(|event| event.detail.id == format!("orphan-{id}")).count()
}

fn has_interface(run: &Run, id: &str) -> bool {
    run.world.0.borrow().cloud.network_interface(id).is_some()
}

fn has_volume(run: &Run, id: &str) -> bool {
    run.world.0.borrow().cloud.volume(id).is_some()
}

fn journal(run: &Run) -> Vec<String> {
    let world = run.world.0.borrow();
    let lines = world.state.iter().filter(|((_, sk), _)| sk.starts_with("event#"));
    lines.filter_map(|(_, entry): (_, &Value)| Some(entry["what"].as_str()?.to_owned())).collect()
}

#[test]
fn a_duplicate_of_the_kept_interface_is_told_of_once_and_deleted_after_a_day() {
    let mut run = settled();
    let kept = run.record(NODE).unwrap().network.unwrap().eni_id;
    let ours = tags(&run, 1, Purpose::Interface, |names| names.interface(2, None));
    let duplicate = interface(&run, &ours);
    let second = tags(&run, 1, Purpose::Interface, |names| names.interface(1, Some(&kept)));
    let second = interface(&run, &second);
    let foreign = [
        interface(&run, &with(&ours, TAG_DEPLOYMENT, "another")),
        interface(&run, &with(&ours, TAG_PURPOSE, "adopted")),
        interface(&run, &Tags::new()),
    ];
    let unproven = [
        interface(&run, &with(&ours, TAG_LIFE, "no-such-life")),
        interface(
            &run,
            &tags(&run, 1, Purpose::Interface, |names| {
                names.interface(1, Some(&InterfaceId::new("eni-0fff")))
            }),
        ),
    ];
    run.pass(HOURS(3));
    assert_eq!((told_of(&run, &duplicate), told_of(&run, &second)), (1, 1));
    run.pass(HOURS(20));
    assert!(has_interface(&run, &duplicate) && has_interface(&run, &second), "not within a day");
    run.pass(HOURS(5));
    assert!(!has_interface(&run, &duplicate) && !has_interface(&run, &second));
    assert!(journal(&run).iter().any(|line| line.contains(&duplicate) && line.contains("being deleted")));
    for id in &foreign {
        assert!(has_interface(&run, id) && told_of(&run, id) == 0, "{id} is none of ours");
    }
    for id in &unproven {
        assert!(has_interface(&run, id) && told_of(&run, id) == 1, "{id} is told of and left alone");
    }
    assert!(has_interface(&run, kept.as_str()) && run.is_settled(NODE));
    assert_eq!(told(&run).len(), 4, "each orphan once");
}

#[test]
fn a_duplicate_that_the_operator_takes_our_tags_off_is_kept() {
    let mut run = settled();
    let ours = tags(&run, 1, Purpose::Interface, |names| names.interface(2, None));
    let duplicate = interface(&run, &ours);
    run.pass(HOURS(3));
    let off: Vec<_> = ours.keys().map(|key| (key.clone(), None)).collect();
    run.world.0.borrow_mut().cloud.delete_tags(std::slice::from_ref(&duplicate), &off).unwrap();
    run.pass(HOURS(30));
    assert!(has_interface(&run, &duplicate));
}

#[test]
fn without_a_record_things_are_told_of_and_never_deleted() {
    let mut run = settled();
    let ghost = NodeName::parse("ghost").unwrap();
    let names = Names { deployment: DEPLOYMENT, node: &ghost, life: "life" };
    let volume = volume(&run, &names.tags(&Tags::new(), 1, Purpose::Root, &names.launch(1, 1)));
    let interface =
        interface(&run, &names.tags(&Tags::new(), 1, Purpose::Interface, &names.interface(1, None)));
    run.pass(HOURS(50));
    assert!(has_volume(&run, &volume) && has_interface(&run, &interface));
    assert_eq!((told_of(&run, &volume), told_of(&run, &interface)), (1, 1));
    let event = told(&run).into_iter().find(|e| e.detail.volume_ids.contains(&volume)).unwrap();
    assert_eq!((event.detail.node.as_str(), event.detail.phase), ("ghost", None));
}

#[test]
fn what_a_crash_left_of_an_earlier_cycle_goes_with_what_is_superseded() {
    let mut run = settled();
    let first = run.record(NODE).unwrap().instance.unwrap().id;
    run.world.0.borrow_mut().cloud.interrupt(first.as_str(), true).unwrap();
    // The first cycle's snapshot is complete, and its volume is still there.
    assert!(run.until(MINUTES(30), |run| run.record(NODE).unwrap().phase == Phase::Imaging));
    let root = run.record(NODE).unwrap().root.unwrap().volume_id;
    let key = |root: &VolumeId, attempt| {
        let root = root.clone();
        move |names: &Names<'_>| names.last(1, &root, attempt)
    };
    let of_cycle = tags(&run, 1, Purpose::Final, key(&root, 5));
    // EC2 takes no two snapshots of a volume within 15 seconds.
    run.pass(SignedDuration::from_secs(20));
    let leftover = snapshot(&run, root.as_str(), &of_cycle);
    run.pass(SignedDuration::from_secs(20));
    let foreign = snapshot(&run, root.as_str(), &with(&of_cycle, TAG_DEPLOYMENT, "another"));
    run.pass(SignedDuration::from_secs(20));
    let unproven = tags(&run, 1, Purpose::Final, |_| "no key of ours".to_owned());
    let unproven = snapshot(&run, root.as_str(), &unproven);
    let is_complete = |run: &Run, id: &str| {
        run.world.0.borrow().cloud.snapshot(id).is_some_and(|s| s.state == SnapshotState::Completed)
    };
    assert!(run.until(MINUTES(30), |run| is_complete(run, &leftover)));
    let image = image(&run, &leftover);
    assert!(run.until_settled(NODE, 2, MINUTES(60)));
    run.pass(HOURS(4));
    {
        let world = run.world.0.borrow();
        assert!(world.cloud.image(&image).is_none(), "the leftover image is deregistered");
        assert!(world.cloud.snapshot(&leftover).is_none(), "and the leftover snapshot deleted");
        assert!(world.cloud.snapshot(&foreign).is_some() && world.cloud.snapshot(&unproven).is_some());
    }
    assert_eq!(told(&run).len(), 1, "only what nothing proves is told of: {:?}", told(&run));
    assert_eq!(told_of(&run, &unproven), 1);
    assert!(run.is_settled(NODE));
    assert_eq!(run.watch.broken, None);
}

/// An image of the first cycle under a later attempt's name.
fn image(run: &Run, snapshot: &str) -> String {
    let life = run.record(NODE).unwrap().life;
    let name = Names { deployment: DEPLOYMENT, node: &node(), life: &life }.image(1, 7);
    let root = perennial_cloud::model::BlockDeviceMapping {
        device_name: "/dev/xvda".into(),
        ebs: Some(perennial_cloud::model::Ebs {
            snapshot_id: Some(snapshot.to_owned()),
            ..Default::default()
        }),
        ..Default::default()
    };
    let request = RegisterImage {
        name: name.clone(),
        architecture: Some("x86_64".into()),
        root_device_name: Some("/dev/xvda".into()),
        block_devices: vec![root],
        virtualization_type: Some("hvm".into()),
        tag_specifications: vec![tagged("image", &tags(run, 1, Purpose::Image, |_| name.clone()))],
        ..RegisterImage::default()
    };
    run.world.0.borrow_mut().cloud.register_image(&request).unwrap().id
}

#[test]
fn a_root_whose_bytes_no_final_snapshot_holds_is_told_of_and_kept() {
    let mut run = settled();
    let first = run.record(NODE).unwrap().instance.unwrap().id;
    run.world.0.borrow_mut().cloud.interrupt(first.as_str(), true).unwrap();
    assert!(run.until_settled(NODE, 2, MINUTES(60)));
    let leftover = volume(&run, &tags(&run, 1, Purpose::Root, |names| names.launch(1, 1)));
    run.pass(HOURS(50));
    assert!(has_volume(&run, &leftover));
    assert_eq!(told_of(&run, &leftover), 1);
}

#[test]
fn a_superseded_root_that_was_wrongly_believed_to_be_deleted_goes_after_all() {
    let mut run = settled();
    let record = run.record(NODE).unwrap();
    let (first, root) = (record.instance.unwrap().id, record.root.unwrap().volume_id);
    run.world.0.borrow_mut().cloud.interrupt(first.as_str(), true).unwrap();
    assert!(run.until(MINUTES(30), |run| run.record(NODE).is_some_and(|r| !r.superseded.is_empty())));
    // As after one answer of EC2 that does not show the volume.
    let mut record = run.record(NODE).unwrap();
    record.forget(&Superseded::Volume(root.clone()));
    put_back(&run, record);
    assert!(run.until_settled(NODE, 2, MINUTES(30)));
    assert!(has_volume(&run, root.as_str()));
    run.pass(HOURS(3));
    assert!(!has_volume(&run, root.as_str()));
    assert!(run.is_settled(NODE) && told(&run).is_empty());
    assert_eq!(run.watch.broken, None);
}

/// Puts a record into the state table past all functions.
fn put_back(run: &Run, record: Record) {
    let mut world = run.world.0.borrow_mut();
    let key = (record.name.key(), "record".to_owned());
    world.state.insert(key, serde_json::to_value(&record).unwrap());
    world.records.insert(record.name.to_string(), record);
}

#[test]
fn an_instance_that_its_record_lost_is_adopted() {
    let mut run = settled();
    let mut record = run.record(NODE).unwrap();
    let instance = record.instance.take().unwrap().id;
    // As after a launch whose record was put back to an older state.
    let later = run.now() + HOURS(5);
    (record.phase, record.attempts, record.root) = (Phase::Launching, 1, None);
    (record.not_before, record.work_at) = (Some(later), Some(later));
    put_back(&run, record);
    assert!(run.until_settled(NODE, 1, HOURS(3)));
    assert_eq!(run.record(NODE).unwrap().instance.unwrap().id, instance);
    let ours = |tags: &Tags| tags.get(TAG_DEPLOYMENT).is_some_and(|d| d == DEPLOYMENT);
    assert_eq!(run.world.0.borrow().cloud.live_instances().filter(|i| ours(&i.tags)).count(), 1);
    assert_eq!(told(&run), []);
}

#[test]
fn what_a_purged_life_left_is_deleted_after_a_day_as_its_retention_said() {
    let mut run = settled();
    let tag = |run: &Run, purpose| tags(run, 1, purpose, |names| names.launch(1, 1));
    let (of_volume, of_interface) = (tag(&run, Purpose::Root), tag(&run, Purpose::Interface));
    let mut deallocated = item(&run);
    deallocated["desiredState"] = json!("deallocated");
    deallocated["retention"] = json!({"after": "1h", "delete": ["images", "snapshots", "volumes"]});
    run.put(deallocated);
    assert!(run.until(HOURS(4), |run| run.record(NODE).is_some_and(|r| r.phase == Phase::Gone)));
    let (leftover, kept) = (volume(&run, &of_volume), interface(&run, &of_interface));
    let adopted = volume(&run, &with(&of_volume, TAG_PURPOSE, "adopted"));
    run.pass(HOURS(20));
    assert!(has_volume(&run, &leftover), "not within a day");
    // A new life of the same name changes nothing about it.
    let item = item(&run);
    run.put(item);
    run.pass(HOURS(8));
    assert!(run.is_settled(NODE));
    assert!(!has_volume(&run, &leftover));
    assert!(has_interface(&run, &kept) && has_volume(&run, &adopted));
    assert_eq!((told_of(&run, &leftover), told_of(&run, &kept), told_of(&run, &adopted)), (1, 1, 0));
}

#[test]
fn while_suspended_orphans_are_told_of_and_nothing_is_deleted() {
    let mut run = settled();
    run.put(json!({"id": "settings", "suspend": true}));
    run.pass(MINUTES(2));
    let duplicate = interface(&run, &tags(&run, 1, Purpose::Interface, |names| names.interface(2, None)));
    run.pass(HOURS(40));
    assert!(has_interface(&run, &duplicate));
    assert_eq!(told_of(&run, &duplicate), 1);
    run.put(json!({"id": "settings", "suspend": false}));
    run.pass(HOURS(2));
    assert!(!has_interface(&run, &duplicate));
}

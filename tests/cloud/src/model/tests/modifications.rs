//! ModifyVolume: when a change is in force, and when it is refused.

use super::*;

fn modify(volume: &str, size: Option<u32>, volume_type: Option<&str>) -> ModifyVolume {
    ModifyVolume {
        volume_id: volume.to_owned(),
        size,
        volume_type: volume_type.map(str::to_owned),
        ..ModifyVolume::default()
    }
}

fn state(w: &mut World, volume: &str) -> (&'static str, u8) {
    let page = w.cloud.describe_volumes_modifications(&Describe::ids([volume])).unwrap();
    (page.items[0].state.name(), page.items[0].progress(w.cloud.now()))
}

#[test]
fn a_volume_grows_and_changes_its_type_some_seconds_later() {
    let mut w = world();
    let (_, root) = w.running();
    w.events();
    let made = w.cloud.modify_volume(&modify(&root, Some(20), Some("gp2"))).unwrap();
    assert_eq!((made.original.size, made.target.size), (8, 20));
    assert_eq!((made.original.volume_type.as_str(), made.target.volume_type.as_str()), ("gp3", "gp2"));
    let seen = |w: &World| {
        let volume = w.cloud.volume(&root).unwrap();
        (volume.size, volume.volume_type.clone(), volume.iops, volume.throughput)
    };
    assert_eq!(seen(&w), (8, "gp3".to_owned(), Some(3000), Some(125)));
    assert_eq!(state(&mut w, &root), ("modifying", 0));
    w.pass(4);
    assert_eq!(seen(&w).0, 8);
    w.pass(1);
    assert_eq!(seen(&w), (20, "gp2".to_owned(), Some(100), None));
    assert_eq!(state(&mut w, &root), ("optimizing", 7));
    let event = &w.cloud.take_events()[0];
    assert_eq!(event["detail-type"], "EBS Volume Notification");
    assert_eq!(event["resources"][0], format!("arn:aws:ec2:us-east-1:123456789012:volume/{root}"));
    assert_eq!(
        (&event["detail"]["event"], &event["detail"]["result"]),
        (&"modifyVolume".into(), &"optimizing".into())
    );
    w.pass(60);
    assert_eq!(state(&mut w, &root), ("completed", 100));
    assert!(w.cloud.take_events().is_empty());
}

#[test]
fn a_volume_is_modified_once_at_a_time_and_once_in_six_hours() {
    let mut w = world();
    let (_, root) = w.running();
    w.cloud.modify_volume(&modify(&root, Some(9), None)).unwrap();
    refused(w.cloud.modify_volume(&modify(&root, Some(10), None)), "IncorrectModificationState");
    w.pass(10);
    refused(w.cloud.modify_volume(&modify(&root, Some(10), None)), "IncorrectModificationState");
    w.pass(55);
    refused(w.cloud.modify_volume(&modify(&root, Some(10), None)), "VolumeModificationRateExceeded");
    // Another volume has a time of its own.
    let data = w.data();
    w.cloud.modify_volume(&modify(&data, Some(11), None)).unwrap();
    w.pass(6 * 3600 - 67);
    w.cloud.modify_volume(&modify(&root, Some(10), None)).unwrap();
}

#[test]
fn how_often_a_volume_is_modified_can_be_set() {
    let mut w = world_with(Settings {
        throttling: false,
        modification_limit: 2,
        modification_window: SignedDuration::from_hours(24),
        ..Settings::default()
    });
    let data = w.data();
    for size in [11, 12] {
        w.cloud.modify_volume(&modify(&data, Some(size), None)).unwrap();
        w.pass(3600);
    }
    refused(w.cloud.modify_volume(&modify(&data, Some(13), None)), "VolumeModificationRateExceeded");
    w.pass(22 * 3600);
    w.cloud.modify_volume(&modify(&data, Some(13), None)).unwrap();
    w.pass(60);
    refused(w.cloud.modify_volume(&modify(&data, Some(14), None)), "IncorrectModificationState");
}

#[test]
fn modifications_aws_refuses() {
    let mut w = world();
    let (_, root) = w.running();
    refused(w.cloud.modify_volume(&modify(&root, Some(7), None)), "InvalidParameterValue");
    refused(w.cloud.modify_volume(&modify(&root, Some(70_000), None)), "InvalidParameterValue");
    refused(w.cloud.modify_volume(&modify(&root, Some(20), Some("io1"))), "MissingParameter");
    refused(w.cloud.modify_volume(&modify(&root, None, None)), "MissingParameter");
    refused(w.cloud.modify_volume(&modify("vol-0123456789abcdef0", Some(9), None)), "InvalidVolume.NotFound");
    let fast = ModifyVolume { throughput: Some(200), ..modify(&root, None, Some("gp2")) };
    refused(w.cloud.modify_volume(&fast), "InvalidParameterCombination");
    let creating = CreateVolume { zone: "us-east-1a".to_owned(), size: Some(1), ..CreateVolume::default() };
    let creating = w.cloud.create_volume(&creating).unwrap().id;
    refused(w.cloud.modify_volume(&modify(&creating, Some(2), None)), "IncorrectState");
    let ids = Describe::ids([&root]);
    refused(w.cloud.describe_volumes_modifications(&ids), "InvalidVolumeModification.NotFound");
}

#[test]
fn what_was_provisioned_stays_when_only_the_size_changes() {
    let mut w = world();
    let fast = w.volume(CreateVolume {
        volume_type: Some("gp3".to_owned()),
        iops: Some(4000),
        throughput: Some(250),
        ..CreateVolume::default()
    });
    w.cloud.modify_volume(&modify(&fast, Some(20), None)).unwrap();
    w.pass(5);
    let volume = w.cloud.volume(&fast).unwrap();
    assert_eq!((volume.size, volume.iops, volume.throughput), (20, Some(4000), Some(250)));
    let plain = w.volume(CreateVolume { size: Some(100), ..CreateVolume::default() });
    w.cloud.modify_volume(&modify(&plain, Some(200), None)).unwrap();
    w.pass(5);
    assert_eq!(w.cloud.volume(&plain).unwrap().iops, Some(600));
}

#[test]
fn a_volume_deleted_meanwhile_takes_its_modification_along() {
    let mut w = world();
    let data = w.data();
    w.cloud.modify_volume(&modify(&data, Some(20), None)).unwrap();
    w.cloud.delete_volume(&data).unwrap();
    w.pass(120);
    let all = w.cloud.describe_volumes_modifications(&Describe::all()).unwrap();
    assert!(all.items.is_empty());
}

#[test]
fn modifications_are_found_by_state_and_not_by_tag() {
    let mut w = world();
    let (one, two) = (w.data(), w.data());
    w.cloud.modify_volume(&modify(&one, Some(11), None)).unwrap();
    w.pass(65);
    w.cloud.modify_volume(&modify(&two, Some(11), None)).unwrap();
    let mut found = |name: &str, value: &str| {
        let page = w.cloud.describe_volumes_modifications(&Describe::filter(name, value));
        page.map(|page| page.items.into_iter().map(|it| it.volume_id).collect::<Vec<_>>())
    };
    assert_eq!(found("modification-state", "completed").unwrap(), [one.as_str()]);
    assert_eq!(found("volume-id", &two).unwrap(), [two.as_str()]);
    assert_eq!(found("target-size", "12").unwrap(), Vec::<String>::new());
    refused(found("tag:use", "data"), "InvalidParameterValue");
}

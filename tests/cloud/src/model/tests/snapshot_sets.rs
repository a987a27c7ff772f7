//! CreateSnapshots: one point in time for all volumes of an instance.

use super::*;

fn of(instance: &str) -> CreateSnapshots {
    CreateSnapshots { instance_id: instance.to_owned(), ..CreateSnapshots::default() }
}

/// A running instance with two data volumes: instance, root, data volumes.
fn furnished(w: &mut World) -> (String, String, [String; 2]) {
    let (instance, root) = w.running();
    let data = ["/dev/sdf", "/dev/sdg"].map(|device| w.attached(&instance, device));
    (instance, root, data)
}

fn volumes(snapshots: &[Snapshot]) -> Vec<&str> {
    let mut volumes: Vec<&str> = snapshots.iter().map(|it| it.volume_id.as_str()).collect();
    volumes.sort_unstable();
    volumes
}

fn sorted<'a>(ids: impl IntoIterator<Item = &'a String>) -> Vec<&'a str> {
    let mut ids: Vec<&str> = ids.into_iter().map(String::as_str).collect();
    ids.sort_unstable();
    ids
}

#[test]
fn all_volumes_are_taken_at_one_point_in_time_and_each_completes_by_its_own_delta() {
    let mut w = world();
    let (instance, root, [small, large]) = furnished(&mut w);
    w.cloud.write_all(&instance, 1).unwrap();
    w.cloud.write(WriteTarget::Volume(large.clone()), 640).unwrap();
    w.events();
    let tags = Tags::from([("set".to_owned(), "1".to_owned())]);
    let request = CreateSnapshots {
        description: "all of it".to_owned(),
        tag_specifications: vec![TagSpecification {
            resource_type: "snapshot".to_owned(),
            tags: tags.clone(),
        }],
        ..of(&instance)
    };
    let made = w.cloud.create_snapshots(&request).unwrap();
    assert_eq!(volumes(&made), sorted([&root, &small, &large]));
    // Written after the call: in none of them.
    w.cloud.write_all(&instance, 1).unwrap();
    for snapshot in &made {
        let writes = if snapshot.volume_id == large { 641 } else { 1 };
        assert_eq!((snapshot.contents.writes, snapshot.start_time), (writes, w.cloud.now()));
        assert_eq!((snapshot.description.as_str(), &snapshot.tags), ("all of it", &tags));
        assert_eq!(w.cloud.snapshot(&snapshot.id), Some(snapshot));
    }
    w.pass(5);
    let states = |w: &World| -> Vec<bool> {
        let done = |it: &Snapshot| w.cloud.snapshot(&it.id).unwrap().state == SnapshotState::Completed;
        made.iter().map(done).collect()
    };
    assert_eq!(states(&w), made.iter().map(|it| it.volume_id != large).collect::<Vec<_>>());
    // The set has not ended, and its parts have no events of their own.
    assert!(w.events().is_empty());
    w.pass(15);
    assert_eq!(states(&w), [true; 3]);
    let kind = "EBS Multi-Volume Snapshots Completion Status".to_owned();
    assert_eq!(w.events(), [(kind, "succeeded".to_owned())]);
}

#[test]
fn the_event_of_a_set_names_all_its_snapshots() {
    let mut w = world();
    let (instance, ..) = furnished(&mut w);
    w.cloud.take_events();
    let request = CreateSnapshots { exclude_boot_volume: true, ..of(&instance) };
    let at = w.cloud.now().to_string();
    let made = w.cloud.create_snapshots(&request).unwrap();
    w.pass(4);
    let events = w.cloud.take_events();
    assert_eq!((events.len(), &events[0]["source"]), (1, &"aws.ec2".into()));
    let arn = |kind: &str, id: &str| format!("arn:aws:ec2::us-east-1:{kind}/{id}");
    let arns: Vec<String> = made.iter().map(|it| arn("snapshot", &it.id)).collect();
    assert_eq!(events[0]["resources"], serde_json::json!(arns));
    let parts: Vec<_> = made
        .iter()
        .map(|it| {
            serde_json::json!({
                "snapshot_id": arn("snapshot", &it.id),
                "source": arn("volume", &it.volume_id),
                "status": "completed",
            })
        })
        .collect();
    assert_eq!(
        events[0]["detail"],
        serde_json::json!({
            "event": "createSnapshots", "result": "succeeded", "cause": "", "request-id": "",
            "startTime": at, "endTime": w.cloud.now().to_string(), "snapshots": parts,
        })
    );
}

#[test]
fn one_failed_part_fails_the_set() {
    let mut w = world();
    let (instance, root, _) = furnished(&mut w);
    w.cloud.take_events();
    let made = w.cloud.create_snapshots(&of(&instance)).unwrap();
    let failed = made.iter().find(|it| it.volume_id == root).unwrap();
    w.cloud.fail_snapshot(&failed.id).unwrap();
    assert!(w.cloud.take_events().is_empty());
    w.pass(4);
    let events = w.cloud.take_events();
    assert_eq!((events.len(), &events[0]["detail"]["result"]), (1, &"failed".into()));
    let cause = format!("Snapshot {} is in status error", failed.id);
    assert_eq!(events[0]["detail"]["cause"], cause);
    let parts = events[0]["detail"]["snapshots"].as_array().unwrap();
    for (part, snapshot) in parts.iter().zip(&made) {
        let status = if snapshot.id == failed.id { "error" } else { "completed" };
        assert_eq!(part["status"], status);
    }
    assert_eq!(w.cloud.snapshot(&failed.id).unwrap().state, SnapshotState::Error);
}

#[test]
fn volumes_can_be_left_out() {
    let mut w = world();
    let (instance, root, [one, two]) = furnished(&mut w);
    let stray = w.data();
    let without = |ids: &[&String]| CreateSnapshots {
        exclude_data_volume_ids: ids.iter().map(|it| (*it).clone()).collect(),
        ..of(&instance)
    };
    refused(w.cloud.create_snapshots(&without(&[&root])), "InvalidParameterValue");
    refused(w.cloud.create_snapshots(&without(&[&stray])), "InvalidParameterValue");
    refused(
        w.cloud.create_snapshots(&without(&[&"vol-0123456789abcdef0".to_owned()])),
        "InvalidVolume.NotFound",
    );
    refused(w.cloud.create_snapshots(&without(&[&one; 41])), "InvalidParameterValue");
    let nothing = CreateSnapshots { exclude_boot_volume: true, ..without(&[&one, &two]) };
    refused(w.cloud.create_snapshots(&nothing), "InvalidParameterValue");
    let made = w.cloud.create_snapshots(&without(&[&one])).unwrap();
    assert_eq!(volumes(&made), sorted([&root, &two]));
}

#[test]
fn only_what_is_attached_is_taken() {
    let mut w = world();
    let (instance, root, [one, two]) = furnished(&mut w);
    w.detach(&one).unwrap();
    let late = w.data();
    w.cloud.hang_next_attach(&late).unwrap();
    w.attach(&late, &instance, "/dev/sdh").unwrap();
    let made = w.cloud.create_snapshots(&of(&instance)).unwrap();
    assert_eq!(volumes(&made), sorted([&root, &two]));
}

#[test]
fn a_volume_with_multi_attach_is_taken_with_the_instance_named() {
    let mut w = world();
    let (one, root) = w.running();
    let (two, _) = w.running();
    let shared = w.volume(CreateVolume {
        volume_type: Some("io2".to_owned()),
        iops: Some(1000),
        multi_attach: Some(true),
        ..CreateVolume::default()
    });
    for instance in [&one, &two] {
        w.attach(&shared, instance, "/dev/sdf").unwrap();
    }
    w.pass(4);
    let made = w.cloud.create_snapshots(&of(&one)).unwrap();
    assert_eq!(volumes(&made), sorted([&root, &shared]));
}

#[test]
fn a_rule_that_forbids_one_part_forbids_all() {
    let mut w = world();
    let (instance, _, [one, _]) = furnished(&mut w);
    w.snapshot(&one);
    refused(w.cloud.create_snapshots(&of(&instance)), "SnapshotCreationPerVolumeRateExceeded");
    assert_eq!(w.cloud.snapshots().filter(|it| it.state == SnapshotState::Pending).count(), 1);
    w.pass(15);
    for _ in 0..5 {
        w.cloud.write(WriteTarget::Volume(one.clone()), 64 * 600).unwrap();
        w.snapshot(&one);
        w.pass(15);
    }
    refused(w.cloud.create_snapshots(&of(&instance)), "ConcurrentSnapshotLimitExceeded");
    w.pass(600);
    w.cloud.create_snapshots(&of(&instance)).unwrap();
    // And what a set took counts for the single calls.
    refused(w.cloud.create_snapshot(&one, "", &[]), "SnapshotCreationPerVolumeRateExceeded");
}

#[test]
fn the_instance_runs_or_is_stopped() {
    let mut w = world();
    let mut request = w.request();
    request.spec.market = None;
    let id = w.launch(&request).id;
    refused(w.cloud.create_snapshots(&of(&id)), "IncorrectInstanceState");
    w.pass(12);
    let ids = std::slice::from_ref(&id);
    w.cloud.stop_instances(ids).unwrap();
    refused(w.cloud.create_snapshots(&of(&id)), "IncorrectInstanceState");
    w.pass(15);
    w.cloud.create_snapshots(&of(&id)).unwrap();
    w.cloud.terminate_instances(ids).unwrap();
    w.pass(60);
    refused(w.cloud.create_snapshots(&of(&id)), "IncorrectInstanceState");
    refused(w.cloud.create_snapshots(&of("i-0123456789abcdef0")), "InvalidInstanceID.NotFound");
    refused(w.cloud.create_snapshots(&of("web")), "InvalidInstanceID.Malformed");
}

#[test]
fn a_part_deleted_while_pending_still_ends_the_set() {
    let mut w = world();
    let (instance, _, [one, _]) = furnished(&mut w);
    w.events();
    let made = w.cloud.create_snapshots(&of(&instance)).unwrap();
    let doomed = made.iter().find(|it| it.volume_id == one).unwrap();
    w.cloud.delete_snapshot(&doomed.id).unwrap();
    w.pass(4);
    assert!(w.cloud.snapshot(&doomed.id).is_none());
    assert_eq!(w.events().len(), 1);
}

#[test]
fn sets_have_a_bucket_of_their_own() {
    let mut w = world_with(Settings::default());
    let (instance, ..) = furnished(&mut w);
    w.cloud.create_snapshots(&of(&instance)).unwrap();
    for _ in 0..99 {
        refused(w.cloud.create_snapshots(&of(&instance)), "SnapshotCreationPerVolumeRateExceeded");
    }
    refused(w.cloud.create_snapshots(&of(&instance)), "RequestLimitExceeded");
    let data = w.data();
    w.cloud.create_snapshot(&data, "", &[]).unwrap();
    w.pass(1);
    for _ in 0..5 {
        refused(w.cloud.create_snapshots(&of(&instance)), "SnapshotCreationPerVolumeRateExceeded");
    }
}

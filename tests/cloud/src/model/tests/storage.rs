//! Volumes, snapshots and images: what is in them, and when they may be used or deleted.

use super::*;

#[test]
fn bytes_travel_from_volume_to_snapshot_to_image_to_the_next_root() {
    let mut w = world();
    let (instance, root) = w.running();
    w.cloud.write(WriteTarget::Instance(instance.clone()), 10).unwrap();
    let snapshot = w.snapshot(&root);
    // Written after the call: not in the snapshot.
    w.cloud.write(WriteTarget::Instance(instance), 1).unwrap();
    w.pass(10);
    let registered = w.cloud.register_image(&w.registration("node-1", &snapshot.id)).unwrap();
    w.pass(8);
    let mut request = w.request();
    request.spec.image_id = Some(registered.id);
    let next = w.launch(&request);
    let volume = next.root().unwrap().volume_id.clone();
    let contents = w.cloud.contents(&volume).unwrap();
    assert_eq!(contents.writes, 10);
    assert_eq!(
        contents.lineage[contents.lineage.len() - 3..],
        [w.ids.snapshot_id.clone(), root, snapshot.id]
    );
    assert_eq!(next.billing, Billing::linux());
}

#[test]
fn a_snapshot_takes_as_long_as_what_changed_since_the_last_one() {
    let mut w = world();
    let (instance, root) = w.running();
    w.cloud.write(WriteTarget::Instance(instance.clone()), 640).unwrap();
    let first = w.snapshot(&root);
    w.pass(13);
    let seen = w.cloud.snapshot(&first.id).unwrap();
    assert_eq!((seen.state, seen.progress(w.cloud.now())), (SnapshotState::Pending, 92));
    assert_eq!(seen.full_size(), None, "told once it is completed");
    w.pass(1);
    let seen = w.cloud.snapshot(&first.id).unwrap();
    assert_eq!((seen.state, seen.full_size()), (SnapshotState::Completed, Some((1024 + 640) << 20)));
    w.pass(15);
    let second = w.snapshot(&root);
    w.events();
    w.pass(4);
    assert_eq!(w.cloud.snapshot(&second.id).unwrap().state, SnapshotState::Completed);
    assert_eq!(w.events(), [("EBS Snapshot Notification".to_owned(), "succeeded".to_owned())]);
}

#[test]
fn a_failed_snapshot_is_no_base_for_the_next() {
    let mut w = world();
    let (instance, root) = w.running();
    w.cloud.write(WriteTarget::Instance(instance), 640).unwrap();
    let first = w.snapshot(&root);
    w.cloud.fail_snapshot(&first.id).unwrap();
    w.pass(15);
    refused(w.cloud.register_image(&w.registration("node-1", &first.id)), "IncorrectState");
    let second = w.snapshot(&root);
    w.pass(13);
    assert_eq!(w.cloud.snapshot(&second.id).unwrap().state, SnapshotState::Pending);
    assert_eq!(w.cloud.snapshot(&first.id).unwrap().state, SnapshotState::Error);
    assert_eq!(w.cloud.contents(&root).unwrap().writes, 640);
}

#[test]
fn snapshots_of_a_volume_are_limited_in_rate_and_number() {
    let mut w = world();
    let (instance, root) = w.running();
    for _ in 0..5 {
        w.cloud.write(WriteTarget::Instance(instance.clone()), 64 * 600).unwrap();
        w.snapshot(&root);
        refused(
            w.cloud.create_snapshot(&root, "", &[]).map(|it| it.id),
            if w.cloud.volume(&root).unwrap().unfinished.len() == 5 {
                "ConcurrentSnapshotLimitExceeded"
            } else {
                "SnapshotCreationPerVolumeRateExceeded"
            },
        );
        w.pass(15);
    }
    refused(w.cloud.create_snapshot(&root, "", &[]), "ConcurrentSnapshotLimitExceeded");
    w.pass(600);
    w.snapshot(&root);
}

#[test]
fn a_pending_snapshot_makes_neither_volume_nor_image_and_deletes_only_when_done() {
    let mut w = world();
    let (_, root) = w.running();
    let snapshot = w.snapshot(&root);
    let volume = CreateVolume {
        zone: "us-east-1a".to_owned(),
        snapshot_id: Some(snapshot.id.clone()),
        ..CreateVolume::default()
    };
    refused(w.cloud.create_volume(&volume), "IncorrectState");
    refused(w.cloud.register_image(&w.registration("node-1", &snapshot.id)), "IncorrectState");
    w.cloud.delete_snapshot(&snapshot.id).unwrap();
    assert!(w.cloud.snapshot(&snapshot.id).is_some());
    w.pass(4);
    assert!(w.cloud.snapshot(&snapshot.id).is_none());
    assert!(w.cloud.volume(&root).unwrap().unfinished.is_empty());
}

#[test]
fn an_image_keeps_its_snapshot_and_for_a_while_after_deregistration() {
    let mut w = world();
    let (_, root) = w.running();
    let snapshot = w.snapshot(&root);
    w.pass(4);
    let image = w.cloud.register_image(&w.registration("node-1", &snapshot.id)).unwrap();
    refused(w.cloud.register_image(&w.registration("node-1", &snapshot.id)), "InvalidAMIName.Duplicate");
    refused(w.cloud.register_image(&w.registration("no|pipes", &snapshot.id)), "InvalidAMIName.Malformed");
    let mut request = w.request();
    request.spec.image_id = Some(image.id.clone());
    refused(w.cloud.run_instances(&request), "InvalidAMIID.Unavailable");
    w.events();
    w.pass(8);
    assert_eq!(w.events(), [("EC2 AMI State Change".to_owned(), "available".to_owned())]);
    refused(w.cloud.delete_snapshot(&snapshot.id), "InvalidSnapshot.InUse");
    assert!(w.cloud.deregister_image(&image.id, false).unwrap().is_empty());
    refused(w.cloud.deregister_image(&image.id, false), "InvalidAMIID.Unavailable");
    refused(w.cloud.run_instances(&request), "InvalidAMIID.Unavailable");
    refused(w.cloud.delete_snapshot(&snapshot.id), "InvalidSnapshot.InUse");
    w.pass(20);
    w.cloud.delete_snapshot(&snapshot.id).unwrap();
    refused(w.cloud.delete_snapshot(&snapshot.id), "InvalidSnapshot.NotFound");
}

#[test]
fn deregistration_deletes_only_snapshots_no_other_image_stands_on() {
    let mut w = world();
    let (_, root) = w.running();
    let snapshot = w.snapshot(&root);
    w.pass(4);
    let one = w.cloud.register_image(&w.registration("one", &snapshot.id)).unwrap();
    let two = w.cloud.register_image(&w.registration("two", &snapshot.id)).unwrap();
    let code = |results: Vec<Deregistered>| results[0].return_code;
    assert_eq!(code(w.cloud.deregister_image(&one.id, true).unwrap()), "skipped");
    assert!(w.cloud.snapshot(&snapshot.id).is_some());
    assert_eq!(code(w.cloud.deregister_image(&two.id, true).unwrap()), "success");
    assert!(w.cloud.snapshot(&snapshot.id).is_none());
}

#[test]
fn a_failed_image_cannot_be_launched() {
    let mut w = world();
    let (_, root) = w.running();
    let snapshot = w.snapshot(&root);
    w.pass(4);
    let image = w.cloud.register_image(&w.registration("one", &snapshot.id)).unwrap();
    w.cloud.fail_image(&image.id).unwrap();
    w.pass(60);
    assert_eq!(w.cloud.image(&image.id).unwrap().state, ImageState::Failed);
    let mut request = w.request();
    request.spec.image_id = Some(image.id);
    refused(w.cloud.run_instances(&request), "InvalidAMIID.Unavailable");
}

#[test]
fn billing_follows_the_disk_into_a_new_image() {
    let mut w = world();
    let (_, root) = w.running();
    let windows =
        Billing { platform_details: "Windows".to_owned(), usage_operation: "RunInstances:0002".to_owned() };
    w.cloud.volumes.get_mut(&root).unwrap().billing = Some(windows.clone());
    let snapshot = w.snapshot(&root);
    w.pass(4);
    let image = w.cloud.register_image(&w.registration("one", &snapshot.id)).unwrap();
    assert_eq!(image.billing, windows);
}

#[test]
fn an_attached_volume_is_not_deleted_and_a_deleted_one_is_gone() {
    let mut w = world();
    let (instance, root) = w.running();
    refused(w.cloud.delete_volume(&root), "VolumeInUse");
    w.cloud.terminate_instances(&[instance]).unwrap();
    w.pass(25);
    refused(w.cloud.delete_volume(&root), "VolumeInUse");
    w.pass(3);
    w.cloud.delete_volume(&root).unwrap();
    refused(w.cloud.delete_volume(&root), "InvalidVolume.NotFound");
}

#[test]
fn a_volume_token_answers_with_the_first_volume() {
    let mut w = world();
    let mut request = CreateVolume {
        zone: "us-east-1b".to_owned(),
        size: Some(9),
        volume_type: Some("gp3".to_owned()),
        client_token: Some("data".to_owned()),
        ..CreateVolume::default()
    };
    let first = w.cloud.create_volume(&request).unwrap();
    assert_eq!((first.state, first.iops, first.throughput), (VolumeState::Creating, Some(3000), Some(125)));
    w.pass(2);
    let again = w.cloud.create_volume(&request).unwrap();
    assert_eq!((again.id, again.state), (first.id, VolumeState::Available));
    request.size = Some(10);
    refused(w.cloud.create_volume(&request), "IdempotentParameterMismatch");
    request.client_token = None;
    request.volume_type = Some("gp2".to_owned());
    request.throughput = Some(200);
    refused(w.cloud.create_volume(&request), "InvalidParameterCombination");
}

#[test]
fn a_deleted_launch_template_is_found_no_more() {
    let mut w = world();
    let which = TemplateRef { id: Some(w.ids.launch_template_id.clone()), name: None, version: None };
    w.cloud.delete_launch_template(&which).unwrap();
    assert_eq!(w.cloud.launch_templates().count(), 0);
    refused(w.cloud.delete_launch_template(&which), "InvalidLaunchTemplateId.NotFound");
}

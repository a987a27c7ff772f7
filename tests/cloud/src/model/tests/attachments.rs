//! Data volumes: attached, written to, detached, and let go with their instance.

use super::*;

const DATA: &str = "/dev/sdf";

fn multi() -> CreateVolume {
    CreateVolume {
        volume_type: Some("io2".to_owned()),
        iops: Some(1000),
        multi_attach: Some(true),
        ..CreateVolume::default()
    }
}

#[test]
fn an_attachment_takes_some_seconds_and_both_sides_tell_of_it() {
    let mut w = world();
    let (instance, _) = w.running();
    let data = w.data();
    let held = w.attach(&data, &instance, DATA).unwrap();
    assert_eq!((held.state, held.delete_on_termination), (AttachmentState::Attaching, false));
    assert_eq!(w.volume_state(&data), ("in-use", vec!["attaching"]));
    assert_eq!(w.devices(&instance), [(DATA, "attaching"), ("/dev/xvda", "attached")]);
    w.pass(3);
    assert_eq!(w.volume_state(&data), ("in-use", vec!["attaching"]));
    w.pass(1);
    assert_eq!(w.volume_state(&data), ("in-use", vec!["attached"]));
    assert_eq!(w.devices(&instance), [(DATA, "attached"), ("/dev/xvda", "attached")]);
}

#[test]
fn a_detachment_takes_some_seconds_and_frees_the_volume_for_another() {
    let mut w = world();
    let (one, _) = w.running();
    let (two, _) = w.running();
    let data = w.attached(&one, DATA);
    assert_eq!(w.detach(&data).unwrap().state, AttachmentState::Detaching);
    assert_eq!(w.volume_state(&data), ("in-use", vec!["detaching"]));
    assert_eq!(w.devices(&one), [(DATA, "detaching"), ("/dev/xvda", "attached")]);
    refused(w.attach(&data, &two, DATA), "VolumeInUse");
    refused(w.cloud.delete_volume(&data), "VolumeInUse");
    refused(w.detach(&data), "IncorrectState");
    let forced = DetachVolume { volume_id: data.clone(), force: true, ..DetachVolume::default() };
    w.cloud.detach_volume(&forced).unwrap();
    w.pass(5);
    assert_eq!(w.volume_state(&data), ("available", vec![]));
    assert_eq!(w.devices(&one), [("/dev/xvda", "attached")]);
    refused(w.detach(&data), "IncorrectState");
    w.attach(&data, &two, DATA).unwrap();
}

#[test]
fn attachments_aws_refuses() {
    let mut w = world();
    let request = w.request();
    let pending = w.launch(&request).id;
    let data = w.data();
    refused(w.attach(&data, &pending, DATA), "IncorrectState");
    w.pass(12);
    let instance = pending;
    refused(w.attach("vol-0123456789abcdef0", &instance, DATA), "InvalidVolume.NotFound");
    refused(w.attach(&data, "i-0123456789abcdef0", DATA), "InvalidInstanceID.NotFound");
    refused(w.attach("data", &instance, DATA), "InvalidVolumeID.Malformed");
    refused(w.attach(&data, &instance, "/dev/disk1"), "InvalidParameterValue");
    let taken = w.attach(&data, &instance, "/dev/xvda").unwrap_err();
    assert_eq!(
        (taken.code.as_ref(), taken.message.as_str()),
        (
            "InvalidParameterValue",
            "Invalid value '/dev/xvda' for unixDevice. Attachment point /dev/xvda is already in use"
        )
    );
    let creating = CreateVolume { zone: "us-east-1a".to_owned(), size: Some(1), ..CreateVolume::default() };
    let creating = w.cloud.create_volume(&creating).unwrap().id;
    refused(w.attach(&creating, &instance, DATA), "IncorrectState");
    let elsewhere = CreateVolume { zone: "us-east-1b".to_owned(), size: Some(1), ..CreateVolume::default() };
    let elsewhere = w.cloud.create_volume(&elsewhere).unwrap().id;
    w.pass(2);
    refused(w.attach(&elsewhere, &instance, DATA), "InvalidVolume.ZoneMismatch");
    w.attach(&data, &instance, DATA).unwrap();
    refused(w.attach(&data, &instance, "/dev/sdg"), "VolumeInUse");
    w.cloud.terminate_instances(std::slice::from_ref(&instance)).unwrap();
    refused(w.attach(&creating, &instance, "/dev/sdg"), "IncorrectState");
}

#[test]
fn an_instance_takes_only_so_many_volumes() {
    let mut w = world_with(Settings { throttling: false, attachment_limit: 2, ..Settings::default() });
    let (instance, _) = w.running();
    w.attached(&instance, DATA);
    let more = w.data();
    refused(w.attach(&more, &instance, "/dev/sdg"), "AttachmentLimitExceeded");
    let mut request = w.request();
    for device in ["/dev/sdf", "/dev/sdg"] {
        request.spec.block_devices.push(BlockDeviceMapping {
            device_name: device.to_owned(),
            ebs: Some(Ebs { volume_size: Some(1), ..Ebs::default() }),
            ..BlockDeviceMapping::default()
        });
    }
    refused(w.cloud.run_instances(&request), "AttachmentLimitExceeded");
}

#[test]
fn a_detachment_names_what_is_attached() {
    let mut w = world();
    let (one, root) = w.running();
    let (two, _) = w.running();
    let data = w.attached(&one, DATA);
    let of = |instance: Option<&str>, device: Option<&str>| DetachVolume {
        volume_id: data.clone(),
        instance_id: instance.map(str::to_owned),
        device: device.map(str::to_owned),
        force: false,
    };
    refused(w.cloud.detach_volume(&of(Some(&two), None)), "InvalidAttachment.NotFound");
    refused(w.cloud.detach_volume(&of(None, Some("/dev/sdg"))), "InvalidAttachment.NotFound");
    refused(w.cloud.detach_volume(&of(Some("i-0123456789abcdef0"), None)), "InvalidInstanceID.NotFound");
    refused(w.detach(&root), "OperationNotPermitted");
    w.cloud.detach_volume(&of(Some(&one), Some(DATA))).unwrap();
}

#[test]
fn the_root_of_a_stopped_instance_can_be_taken_and_put_back() {
    let mut w = world();
    let mut request = w.request();
    request.spec.market = None;
    let instance = w.launch(&request);
    let (id, root) = (instance.id.clone(), instance.root().unwrap().volume_id.clone());
    w.pass(12);
    let ids = std::slice::from_ref(&id);
    w.cloud.stop_instances(ids).unwrap();
    refused(w.detach(&root), "OperationNotPermitted");
    w.pass(15);
    w.detach(&root).unwrap();
    refused(w.cloud.start_instances(ids), "InvalidParameterValue");
    w.pass(5);
    refused(w.cloud.start_instances(ids), "InvalidParameterValue");
    w.attach(&root, &id, "/dev/xvda").unwrap();
    w.pass(4);
    w.cloud.start_instances(ids).unwrap();
    w.pass(12);
    assert_eq!(w.cloud.write(WriteTarget::Instance(id), 1).unwrap(), 1);
}

#[test]
fn a_guest_writes_only_to_what_is_attached_while_it_runs() {
    let mut w = world();
    let (instance, root) = w.running();
    let data = w.data();
    let write = |w: &mut World| w.cloud.write(WriteTarget::Volume(data.clone()), 2);
    refused(write(&mut w), "IncorrectState");
    w.attach(&data, &instance, DATA).unwrap();
    refused(write(&mut w), "IncorrectState");
    assert_eq!(w.cloud.write_all(&instance, 1).unwrap(), [(root.clone(), 1)].into());
    w.pass(4);
    assert_eq!(write(&mut w).unwrap(), 2);
    assert_eq!(w.cloud.write_all(&instance, 1).unwrap(), [(root, 2), (data.clone(), 3)].into());
    w.detach(&data).unwrap();
    refused(write(&mut w), "IncorrectState");
    w.pass(5);
    w.cloud.interrupt(&instance, false).unwrap();
    refused(w.cloud.write_all(&instance, 1), "IncorrectInstanceState");
    assert_eq!(w.cloud.contents(&data).unwrap().writes, 3);
}

#[test]
fn a_hanging_attachment_stays_until_it_is_detached() {
    let mut w = world();
    let (instance, _) = w.running();
    let data = w.data();
    refused(w.cloud.hang_next_attach("vol-0123456789abcdef0"), "InvalidVolume.NotFound");
    w.cloud.hang_next_attach(&data).unwrap();
    w.attach(&data, &instance, DATA).unwrap();
    w.pass(3600);
    assert_eq!(w.volume_state(&data), ("in-use", vec!["attaching"]));
    w.detach(&data).unwrap();
    w.pass(5);
    assert_eq!(w.volume_state(&data), ("available", vec![]));
    // Only that one hung.
    w.attach(&data, &instance, DATA).unwrap();
    w.pass(4);
    assert_eq!(w.volume_state(&data), ("in-use", vec!["attached"]));
}

#[test]
fn what_was_planned_for_one_attachment_does_not_touch_the_next() {
    let attach_volume = SignedDuration::from_secs(60);
    let mut w = world_with(Settings { throttling: false, attach_volume, ..Settings::default() });
    let (instance, _) = w.running();
    let data = w.data();
    w.attach(&data, &instance, DATA).unwrap();
    w.detach(&data).unwrap();
    w.pass(5);
    w.attach(&data, &instance, DATA).unwrap();
    w.pass(55);
    assert_eq!(w.volume_state(&data), ("in-use", vec!["attaching"]));
    w.pass(5);
    assert_eq!(w.volume_state(&data), ("in-use", vec!["attached"]));
}

#[test]
fn the_end_of_an_instance_lets_go_of_everything_it_held() {
    let mut w = world();
    let (instance, root) = w.running();
    let kept = w.attached(&instance, "/dev/sdf");
    let goes = w.attached(&instance, "/dev/sdg");
    let devices = [("/dev/sdg".to_owned(), true)];
    w.cloud.modify_block_devices(&instance, &devices).unwrap();
    let hangs = w.data();
    w.cloud.hang_next_attach(&hangs).unwrap();
    w.attach(&hangs, &instance, "/dev/sdh").unwrap();
    w.cloud.interrupt(&instance, false).unwrap();
    w.pass(25);
    assert_eq!(w.state(&instance), InstanceState::Terminated);
    assert!(w.devices(&instance).is_empty());
    assert_eq!(w.volume_state(&kept), ("in-use", vec!["attached"]));
    assert_eq!(w.volume_state(&hangs), ("in-use", vec!["attaching"]));
    w.pass(3);
    for volume in [root, kept, hangs] {
        assert_eq!(w.volume_state(&volume), ("available", vec![]));
    }
    assert!(w.cloud.volume(&goes).is_none());
}

#[test]
fn several_instances_hold_a_volume_with_multi_attach() {
    let mut w = world();
    let (one, _) = w.running();
    let (two, _) = w.running();
    let shared = w.volume(multi());
    w.attach(&shared, &one, DATA).unwrap();
    refused(w.attach(&shared, &one, "/dev/sdg"), "VolumeInUse");
    w.attach(&shared, &two, DATA).unwrap();
    w.pass(4);
    assert_eq!(w.volume_state(&shared), ("in-use", vec!["attached", "attached"]));
    refused(w.detach(&shared), "MissingParameter");
    let of_one =
        DetachVolume { volume_id: shared.clone(), instance_id: Some(one.clone()), ..DetachVolume::default() };
    w.cloud.detach_volume(&of_one).unwrap();
    w.pass(5);
    assert_eq!(w.volume_state(&shared), ("in-use", vec!["attached"]));
    let volume = w.cloud.volume(&shared).unwrap();
    assert_eq!(volume.attachment().unwrap().instance_id, two);
    assert!(volume.attachment_to(&one).is_none());
    w.attach(&shared, &one, DATA).unwrap();
    w.cloud.interrupt(&two, false).unwrap();
    w.pass(28);
    let holders = &w.cloud.volume(&shared).unwrap().attachments;
    assert_eq!(holders.iter().map(|it| it.instance_id.as_str()).collect::<Vec<_>>(), [one.as_str()]);
}

#[test]
fn a_shared_volume_goes_with_the_last_that_holds_it() {
    let mut w = world();
    let shared = w.volume(multi());
    let mut instances = Vec::new();
    for _ in 0..2 {
        let (id, _) = w.running();
        w.attach(&shared, &id, DATA).unwrap();
        w.pass(4);
        w.cloud.modify_block_devices(&id, &[(DATA.to_owned(), true)]).unwrap();
        instances.push(id);
    }
    w.cloud.interrupt(&instances[0], false).unwrap();
    w.pass(28);
    assert_eq!(w.volume_state(&shared), ("in-use", vec!["attached"]));
    w.cloud.interrupt(&instances[1], false).unwrap();
    w.pass(28);
    assert!(w.cloud.volume(&shared).is_none());
}

#[test]
fn volumes_are_found_by_who_holds_them_and_how() {
    let mut w = world();
    let (instance, root) = w.running();
    let data = w.attached(&instance, DATA);
    let free = w.volume(multi());
    let tags = Tags::from([("use".to_owned(), "data".to_owned())]);
    w.cloud.create_tags(std::slice::from_ref(&data), &tags).unwrap();
    let snapshot = w.ids.snapshot_id.clone();
    w.detach(&data).unwrap();
    let found = |w: &mut World, name: &str, value: &str| -> Vec<String> {
        let page = w.cloud.describe_volumes(&Describe::filter(name, value)).unwrap();
        page.items.into_iter().map(|it| it.id).collect()
    };
    let mut both = vec![root.clone(), data.clone()];
    both.sort();
    assert_eq!(found(&mut w, "attachment.instance-id", &instance), both);
    assert_eq!(found(&mut w, "attachment.device", DATA), [data.as_str()]);
    assert_eq!(found(&mut w, "attachment.status", "detaching"), [data.as_str()]);
    assert_eq!(found(&mut w, "attachment.delete-on-termination", "true"), Vec::<String>::new());
    assert_eq!(found(&mut w, "status", "available"), [free.as_str()]);
    assert_eq!(found(&mut w, "tag:use", "d*"), [data.as_str()]);
    assert_eq!(found(&mut w, "snapshot-id", &snapshot), [root]);
    assert_eq!(found(&mut w, "multi-attach-enabled", "true"), [free]);
    let by_status = Describe::filter("block-device-mapping.status", "detaching");
    assert_eq!(w.cloud.describe_instances(&by_status).unwrap().items[0].id, instance);
}

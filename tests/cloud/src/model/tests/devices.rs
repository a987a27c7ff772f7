//! The volumes of a launch: the image's, the request's, and none at all.

use super::*;

fn mapping(device: &str, ebs: Ebs) -> BlockDeviceMapping {
    BlockDeviceMapping { device_name: device.to_owned(), ebs: Some(ebs), ..BlockDeviceMapping::default() }
}

fn blank(size: u32) -> Ebs {
    Ebs { volume_size: Some(size), volume_type: Some("gp3".to_owned()), ..Ebs::default() }
}

/// A completed snapshot of a data volume with five writes.
fn data_snapshot(w: &mut World) -> String {
    let (instance, _) = w.running();
    let data = w.attached(&instance, "/dev/sdf");
    w.cloud.write(WriteTarget::Volume(data.clone()), 5).unwrap();
    let snapshot = w.snapshot(&data).id;
    w.pass(5);
    snapshot
}

fn at(w: &World, instance: &Instance, device: &str) -> Volume {
    w.cloud.volume(&instance.block_devices[device].volume_id).unwrap().clone()
}

#[test]
fn data_volumes_of_a_launch_come_from_snapshots_or_blank_attached_at_once() {
    let mut w = world();
    let snapshot = data_snapshot(&mut w);
    let mut request = w.request();
    let of_snapshot = Ebs { snapshot_id: Some(snapshot.clone()), ..Ebs::default() };
    request.spec.block_devices.push(mapping("/dev/sdf", of_snapshot));
    request.spec.block_devices.push(mapping("/dev/sdg", blank(3)));
    let tags = Tags::from([("use".to_owned(), "data".to_owned())]);
    request.spec.tag_specifications =
        vec![TagSpecification { resource_type: "volume".to_owned(), tags: tags.clone() }];
    let instance = w.launch(&request);
    let (full, empty) = (at(&w, &instance, "/dev/sdf"), at(&w, &instance, "/dev/sdg"));
    assert_eq!((full.contents.writes, full.size), (5, 10));
    assert_eq!(full.contents.lineage.last(), Some(&snapshot));
    assert_eq!((empty.contents.clone(), empty.size), (Contents::default(), 3));
    for volume in [&full, &empty] {
        assert_eq!(volume.tags, tags);
        let held = volume.attachment().unwrap();
        assert_eq!((held.state, held.delete_on_termination), (AttachmentState::Attached, true));
        assert!(instance.block_devices[&held.device].delete_on_termination);
    }
    w.pass(12);
    assert_eq!(w.cloud.write_all(&instance.id, 1).unwrap().len(), 3);
    w.cloud.interrupt(&instance.id, false).unwrap();
    w.pass(28);
    assert!(w.cloud.volume(&full.id).is_none() && w.cloud.volume(&empty.id).is_none());
    assert!(w.cloud.volume(&instance.root().unwrap().volume_id).is_some(), "kept, as the request said");
}

#[test]
fn a_data_volume_of_a_launch_is_kept_when_the_request_says_so() {
    let mut w = world();
    let mut request = w.request();
    let kept = Ebs { delete_on_termination: Some(false), ..blank(1) };
    request.spec.block_devices.push(mapping("/dev/sdf", kept));
    let instance = w.launch(&request);
    let data = at(&w, &instance, "/dev/sdf").id;
    w.pass(12);
    w.cloud.interrupt(&instance.id, false).unwrap();
    w.pass(28);
    assert_eq!(w.volume_state(&data), ("available", vec![]));
}

#[test]
fn an_image_with_several_devices_gives_several_volumes_unless_one_is_left_out() {
    let mut w = world();
    let snapshot = data_snapshot(&mut w);
    let mut registration = w.registration("two", &w.ids.snapshot_id.clone());
    registration
        .block_devices
        .push(mapping("/dev/sdf", Ebs { snapshot_id: Some(snapshot), ..Ebs::default() }));
    registration.block_devices.push(mapping("/dev/sdg", blank(2)));
    let image = w.cloud.register_image(&registration).unwrap();
    w.pass(8);
    let mut request = w.request();
    request.spec.image_id = Some(image.id);
    let whole = w.launch(&request);
    assert_eq!(whole.block_devices.keys().collect::<Vec<_>>(), ["/dev/sdf", "/dev/sdg", "/dev/xvda"]);
    assert_eq!(at(&w, &whole, "/dev/sdf").contents.writes, 5);
    // A part of what the image says can be changed, or left out.
    request.spec.block_devices.push(mapping("/dev/sdf", Ebs { volume_size: Some(30), ..Ebs::default() }));
    request.spec.block_devices.push(BlockDeviceMapping {
        device_name: "/dev/sdg".to_owned(),
        no_device: Some(String::new()),
        ..BlockDeviceMapping::default()
    });
    let part = w.launch(&request);
    assert_eq!(part.block_devices.keys().collect::<Vec<_>>(), ["/dev/sdf", "/dev/xvda"]);
    let grown = at(&w, &part, "/dev/sdf");
    assert_eq!((grown.size, grown.contents.writes), (30, 5));
}

#[test]
fn block_devices_aws_refuses() {
    let mut w = world();
    let (_, root) = w.running();
    let pending = w.snapshot(&root).id;
    let base = w.request();
    let mut code = |devices: Vec<BlockDeviceMapping>| {
        let mut request = base.clone();
        request.spec.block_devices.extend(devices);
        w.cloud.run_instances(&request).unwrap_err().code
    };
    let from = |id: &str| Ebs { snapshot_id: Some(id.to_owned()), ..Ebs::default() };
    let twice = || vec![mapping("/dev/sdf", blank(1)), mapping("/dev/sdf", blank(2))];
    assert_eq!(code(twice()), "InvalidBlockDeviceMapping");
    assert_eq!(code(vec![mapping("/dev/xvda", blank(9))]), "InvalidBlockDeviceMapping");
    assert_eq!(code(vec![mapping("/dev/sdf", from(&pending))]), "IncorrectState");
    assert_eq!(code(vec![mapping("/dev/sdf", from("snap-0123456789abcdef0"))]), "InvalidSnapshot.NotFound");
    assert_eq!(code(vec![mapping("/dev/sdf", Ebs::default())]), "MissingParameter");
    let nothing = BlockDeviceMapping { device_name: "/dev/sdf".to_owned(), ..BlockDeviceMapping::default() };
    assert_eq!(code(vec![nothing]), "MissingParameter");
    w.pass(5);
    let mut small = w.request();
    small.spec.block_devices.push(mapping("/dev/sdf", Ebs { volume_size: Some(7), ..from(&pending) }));
    refused(w.cloud.run_instances(&small), "InvalidBlockDeviceMapping");
    let mut rootless = w.request();
    rootless.spec.block_devices[0] = BlockDeviceMapping {
        device_name: "/dev/xvda".to_owned(),
        no_device: Some(String::new()),
        ..BlockDeviceMapping::default()
    };
    refused(w.cloud.run_instances(&rootless), "InvalidBlockDeviceMapping");
    let mut registration = w.registration("twice", &pending);
    registration.block_devices.extend(twice());
    refused(w.cloud.register_image(&registration), "InvalidBlockDeviceMapping");
    assert_eq!(w.cloud.instances().count(), 1);
}

#[test]
fn data_volumes_do_not_change_what_the_root_is_billed_as() {
    let mut w = world();
    let windows =
        Billing { platform_details: "Windows".to_owned(), usage_operation: "RunInstances:0002".to_owned() };
    let (_, other) = w.running();
    w.cloud.volumes.get_mut(&other).unwrap().billing = Some(windows.clone());
    let foreign = w.snapshot(&other).id;
    w.pass(4);
    let of_foreign = || Ebs { snapshot_id: Some(foreign.clone()), ..Ebs::default() };
    let mut request = w.request();
    request.spec.block_devices.push(mapping("/dev/sdf", of_foreign()));
    let instance = w.launch(&request);
    assert_eq!(instance.billing, Billing::linux());
    assert_eq!(at(&w, &instance, "/dev/xvda").billing, Some(Billing::linux()));
    assert_eq!(at(&w, &instance, "/dev/sdf").billing, Some(windows));
    // Nor what an image is billed as that maps it beside its root.
    let root = w.snapshot(&instance.root().unwrap().volume_id.clone()).id;
    w.pass(4);
    let mut registration = w.registration("mixed", &root);
    registration.block_devices.insert(0, mapping("/dev/sdf", of_foreign()));
    assert_eq!(w.cloud.register_image(&registration).unwrap().billing, Billing::linux());
}

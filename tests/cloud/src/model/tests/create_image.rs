//! CreateImage: an image of an instance as it is now, and what is launched from it.

use super::*;

fn of(instance: &str, name: &str) -> CreateImage {
    CreateImage {
        instance_id: instance.to_owned(),
        name: name.to_owned(),
        no_reboot: true,
        ..CreateImage::default()
    }
}

fn mapping(device: &str, ebs: Ebs) -> BlockDeviceMapping {
    BlockDeviceMapping { device_name: device.to_owned(), ebs: Some(ebs), ..BlockDeviceMapping::default() }
}

fn without(device: &str) -> BlockDeviceMapping {
    BlockDeviceMapping {
        device_name: device.to_owned(),
        no_device: Some(String::new()),
        ..BlockDeviceMapping::default()
    }
}

fn goes(value: bool) -> Ebs {
    Ebs { delete_on_termination: Some(value), ..Ebs::default() }
}

/// A running instance with two data volumes: instance, root, data volumes.
fn furnished(w: &mut World) -> (String, String, [String; 2]) {
    let (instance, root) = w.running();
    let data = ["/dev/sdf", "/dev/sdg"].map(|device| w.attached(&instance, device));
    (instance, root, data)
}

/// A running on-demand instance.
fn regular(w: &mut World) -> String {
    let mut request = w.request();
    request.spec.market = None;
    let id = w.launch(&request).id;
    w.pass(12);
    id
}

fn at(w: &World, instance: &Instance, device: &str) -> Volume {
    w.cloud.volume(&instance.block_devices[device].volume_id).unwrap().clone()
}

fn snapshot_at(image: &Image, device: &str) -> String {
    let mapping = image.spec.block_devices.iter().find(|it| it.device_name == device).unwrap();
    mapping.ebs.as_ref().unwrap().snapshot_id.clone().unwrap()
}

fn image_state(w: &World, image: &Image) -> ImageState {
    w.cloud.image(&image.id).unwrap().state
}

/// The snapshots of an image that exist.
fn kept(w: &World, image: &Image) -> usize {
    image.snapshot_ids().filter(|id| w.cloud.snapshot(id).is_some()).count()
}

#[test]
fn an_image_holds_every_volume_as_it_was_at_the_call() {
    let mut w = world();
    let (instance, root, [small, large]) = furnished(&mut w);
    w.cloud.write_all(&instance, 1).unwrap();
    w.cloud.write(WriteTarget::Volume(large.clone()), 640).unwrap();
    let tag = |kind: &str| TagSpecification {
        resource_type: kind.to_owned(),
        tags: Tags::from([("of".to_owned(), kind.to_owned())]),
    };
    let request = CreateImage {
        description: Some("as it is".to_owned()),
        tag_specifications: vec![tag("image"), tag("snapshot")],
        ..of(&instance, "node-1")
    };
    let image = w.cloud.create_image(&request).unwrap();
    // Written after the call: in none of them.
    w.cloud.write_all(&instance, 1).unwrap();
    assert_eq!((image.state, image.source_instance_id.as_deref()), (ImageState::Pending, Some(&*instance)));
    assert_eq!((&image.tags, image.spec.description.as_deref()), (&tag("image").tags, Some("as it is")));
    for (device, volume, writes) in
        [("/dev/xvda", &root, 1), ("/dev/sdf", &small, 1), ("/dev/sdg", &large, 641)]
    {
        let snapshot = w.cloud.snapshot(&snapshot_at(&image, device)).unwrap();
        assert_eq!((&snapshot.volume_id, snapshot.contents.writes), (volume, writes));
        assert_eq!((snapshot.start_time, snapshot.set.as_ref()), (w.cloud.now(), None));
        assert_eq!(snapshot.tags, tag("snapshot").tags);
        assert_eq!(snapshot.description, format!("Created by CreateImage({instance}) for {}", image.id));
    }
    assert_eq!(kept(&w, &image), 3);
    let found = w.cloud.describe_images(&Describe::filter("source-instance-id", &instance)).unwrap();
    assert_eq!(found.items, [image]);
}

#[test]
fn an_image_says_of_each_volume_what_the_instance_has() {
    let mut w = world();
    let (instance, _) = w.running();
    let (fast, plain) = (
        w.volume(CreateVolume {
            volume_type: Some("gp3".to_owned()),
            size: Some(20),
            iops: Some(4000),
            throughput: Some(250),
            encrypted: Some(true),
            ..CreateVolume::default()
        }),
        w.volume(CreateVolume { volume_type: Some("gp2".to_owned()), ..CreateVolume::default() }),
    );
    w.attach(&fast, &instance, "/dev/sdf").unwrap();
    w.attach(&plain, &instance, "/dev/sdg").unwrap();
    w.pass(4);
    let request =
        CreateImage { block_devices: vec![mapping("/dev/sdg", goes(true))], ..of(&instance, "mixed") };
    let image = w.cloud.create_image(&request).unwrap();
    let base = w.cloud.image(&w.ids.image_id).unwrap();
    let said = |device: &str, like: Ebs| Ebs { snapshot_id: Some(snapshot_at(&image, device)), ..like };
    let ebs = |volume_type: &str, size: u32, goes: bool, encrypted: bool| Ebs {
        volume_size: Some(size),
        volume_type: Some(volume_type.to_owned()),
        delete_on_termination: Some(goes),
        encrypted: Some(encrypted),
        ..Ebs::default()
    };
    let fast = Ebs { iops: Some(4000), throughput: Some(250), ..ebs("gp3", 20, false, true) };
    let root = Ebs { iops: Some(3000), throughput: Some(125), ..ebs("gp3", 8, false, false) };
    let expected = [
        mapping("/dev/sdf", said("/dev/sdf", fast)),
        mapping("/dev/sdg", said("/dev/sdg", ebs("gp2", 10, true, false))),
        mapping("/dev/xvda", said("/dev/xvda", root)),
    ];
    assert_eq!(image.spec.block_devices, expected);
    let like_base = RegisterImage {
        name: "mixed".to_owned(),
        description: None,
        block_devices: expected.to_vec(),
        ..base.spec.clone()
    };
    assert_eq!((image.spec, image.billing), (like_base, base.billing.clone()));
    // The choice was the image's, not the instance's.
    assert!(!w.cloud.instance(&instance).unwrap().block_devices["/dev/sdg"].delete_on_termination);
}

#[test]
fn what_the_first_image_supported_outlives_it() {
    let mut w = world();
    let (_, root) = w.running();
    let snapshot = w.snapshot(&root).id;
    w.pass(4);
    let windows =
        Billing { platform_details: "Windows".to_owned(), usage_operation: "RunInstances:0002".to_owned() };
    w.cloud.snapshots.get_mut(&snapshot).unwrap().billing = Some(windows.clone());
    let first = RegisterImage {
        tpm_support: Some("v2.0".to_owned()),
        imds_support: Some("v2.0".to_owned()),
        uefi_data: Some("QU1aTlVFRkk=".to_owned()),
        boot_mode: Some("uefi".to_owned()),
        ena_support: Some(true),
        sriov_net_support: Some("simple".to_owned()),
        ..w.registration("first", &snapshot)
    };
    let image = w.cloud.register_image(&first).unwrap();
    w.pass(8);
    let mut request = w.request();
    request.spec.image_id = Some(image.id.clone());
    let instance = w.launch(&request).id;
    w.pass(12);
    w.cloud.deregister_image(&image.id, false).unwrap();
    let second = w.cloud.create_image(&of(&instance, "second")).unwrap();
    let block_devices = second.spec.block_devices.clone();
    assert_eq!(second.spec, RegisterImage { name: "second".to_owned(), block_devices, ..first });
    assert_eq!(second.billing, windows);
}

#[test]
fn an_image_is_available_once_its_last_snapshot_is_copied_and_it_is_registered() {
    let mut w = world();
    let (instance, _, [_, large]) = furnished(&mut w);
    w.cloud.write(WriteTarget::Volume(large), 640).unwrap();
    w.events();
    let image = w.cloud.create_image(&of(&instance, "node-1")).unwrap();
    let mut request = w.request();
    request.spec.image_id = Some(image.id.clone());
    w.pass(13);
    // Two of three are copied.
    let copied = ("EBS Snapshot Notification".to_owned(), "succeeded".to_owned());
    assert_eq!(w.events(), [copied.clone(), copied.clone()]);
    refused(w.cloud.run_instances(&request), "InvalidAMIID.Unavailable");
    refused(w.cloud.delete_snapshot(&snapshot_at(&image, "/dev/sdf")), "InvalidSnapshot.InUse");
    w.pass(1 + 7);
    assert_eq!((w.events(), image_state(&w, &image)), (vec![copied], ImageState::Pending));
    w.pass(1);
    assert_eq!(w.events(), [("EC2 AMI State Change".to_owned(), "available".to_owned())]);
    assert_eq!(image_state(&w, &image), ImageState::Available);
    w.launch(&request);
}

#[test]
fn an_image_outlives_the_instance_and_even_its_volumes() {
    let mut w = world();
    let mut request = w.request();
    request.spec.block_devices[0].ebs = Some(goes(true));
    let instance = w.launch(&request).id;
    w.pass(12);
    w.cloud.write(WriteTarget::Instance(instance.clone()), 6400).unwrap();
    let image = w.cloud.create_image(&of(&instance, "last")).unwrap();
    w.cloud.interrupt(&instance, false).unwrap();
    w.pass(28);
    assert_eq!(w.cloud.volumes().count(), 0);
    assert_eq!(image_state(&w, &image), ImageState::Pending);
    w.pass(104 + 8 - 28);
    assert_eq!(image_state(&w, &image), ImageState::Available);
    request.spec.image_id = Some(image.id);
    let next = w.launch(&request);
    assert_eq!(at(&w, &next, "/dev/xvda").contents.writes, 6400);
}

#[test]
fn a_failed_snapshot_fails_the_image_and_nothing_else() {
    let mut w = world();
    let (instance, ..) = furnished(&mut w);
    w.events();
    let image = w.cloud.create_image(&of(&instance, "node-1")).unwrap();
    w.cloud.fail_snapshot(&snapshot_at(&image, "/dev/sdf")).unwrap();
    let failed = |kind: &str| (kind.to_owned(), "failed".to_owned());
    assert_eq!(w.events(), [failed("EBS Snapshot Notification"), failed("EC2 AMI State Change")]);
    // A second one says nothing more of the image.
    w.cloud.fail_snapshot(&snapshot_at(&image, "/dev/sdg")).unwrap();
    assert_eq!(w.events(), [failed("EBS Snapshot Notification")]);
    w.pass(60);
    assert_eq!(w.events(), [("EBS Snapshot Notification".to_owned(), "succeeded".to_owned())]);
    assert_eq!((image_state(&w, &image), kept(&w, &image)), (ImageState::Failed, 3));
    refused(w.cloud.create_image(&of(&instance, "node-1")), "InvalidAMIName.Duplicate");
    let results = w.cloud.deregister_image(&image.id, true).unwrap();
    assert_eq!(results.iter().map(|it| it.return_code).collect::<Vec<_>>(), ["success"; 3]);
    assert_eq!(kept(&w, &image), 0);
    w.cloud.create_image(&of(&instance, "node-1")).unwrap();
}

#[test]
fn an_image_told_to_fail_fails_while_copying_and_while_registering() {
    for seconds in [0, 5] {
        let mut w = world();
        let (instance, _) = w.running();
        let image = w.cloud.create_image(&of(&instance, "node-1")).unwrap();
        w.pass(seconds);
        w.events();
        w.cloud.fail_image(&image.id).unwrap();
        assert_eq!(w.events(), [("EC2 AMI State Change".to_owned(), "failed".to_owned())]);
        w.pass(60);
        assert_eq!((image_state(&w, &image), kept(&w, &image)), (ImageState::Failed, 1));
        let snapshot = w.cloud.snapshot(&snapshot_at(&image, "/dev/xvda")).unwrap();
        assert_eq!(snapshot.state, SnapshotState::Completed);
        refused(w.cloud.fail_image(&image.id), "IncorrectState");
    }
}

#[test]
fn devices_are_left_out_or_kept_as_they_are() {
    let mut w = world();
    let (instance, _, [one, _]) = furnished(&mut w);
    let mut code = |mapping: BlockDeviceMapping| {
        let request = CreateImage { block_devices: vec![mapping], ..of(&instance, "node-1") };
        w.cloud.create_image(&request).unwrap_err().code
    };
    let wrong = "InvalidBlockDeviceMapping";
    assert_eq!(code(without("/dev/xvda")), wrong);
    assert_eq!(code(without("/dev/sdz")), wrong);
    assert_eq!(code(mapping("/dev/sdz", goes(true))), wrong);
    assert_eq!(code(mapping("/dev/sdf", Ebs { volume_size: Some(30), ..goes(true) })), wrong);
    assert_eq!(code(mapping("/dev/sdf", Ebs { encrypted: Some(true), ..Ebs::default() })), wrong);
    let of_other = Ebs { snapshot_id: Some("snap-0123456789abcdef0".to_owned()), ..Ebs::default() };
    assert_eq!(code(mapping("/dev/sdf", of_other)), wrong);
    assert_eq!(code(BlockDeviceMapping { ebs: Some(goes(true)), ..without("/dev/sdf") }), wrong);
    let store = Some("ephemeral0".to_owned());
    assert_eq!(code(BlockDeviceMapping { virtual_name: store, ..mapping("/dev/sdf", goes(true)) }), wrong);
    let nothing = BlockDeviceMapping { device_name: "/dev/sdf".to_owned(), ..BlockDeviceMapping::default() };
    assert_eq!(code(nothing), "MissingParameter");
    let twice = vec![without("/dev/sdf"), mapping("/dev/sdf", goes(true))];
    refused(w.cloud.create_image(&CreateImage { block_devices: twice, ..of(&instance, "node-1") }), wrong);
    // Nor is what is on its way in or out part of the image, whether it is named or not.
    w.detach(&one).unwrap();
    let named =
        CreateImage { block_devices: vec![mapping("/dev/sdf", goes(true))], ..of(&instance, "node-1") };
    refused(w.cloud.create_image(&named), wrong);
    assert_eq!(w.cloud.images().count(), 1, "that of the account");
    let request = CreateImage { block_devices: vec![without("/dev/sdg")], ..of(&instance, "node-1") };
    let image = w.cloud.create_image(&request).unwrap();
    let devices: Vec<&str> = image.spec.block_devices.iter().map(|it| it.device_name.as_str()).collect();
    assert_eq!((devices, w.cloud.snapshots().count()), (vec!["/dev/xvda"], 2));
}

#[test]
fn the_instance_runs_and_is_left_running_or_is_stopped_with_a_root() {
    let mut w = world();
    let mut request = w.request();
    request.spec.market = None;
    let id = w.launch(&request).id;
    refused(w.cloud.create_image(&of(&id, "node-1")), "IncorrectInstanceState");
    w.pass(12);
    let rebooting = CreateImage { no_reboot: false, ..of(&id, "stopped") };
    let error = w.cloud.create_image(&rebooting).unwrap_err();
    assert_eq!(error.code, "InvalidParameterValue");
    assert!(error.message.contains("NoReboot=true"), "{error}");
    let ids = std::slice::from_ref(&id);
    w.cloud.stop_instances(ids).unwrap();
    refused(w.cloud.create_image(&of(&id, "node-1")), "IncorrectInstanceState");
    w.pass(15);
    // There is nothing to reboot.
    w.cloud.create_image(&rebooting).unwrap();
    w.pass(12);
    let root = w.cloud.instance(&id).unwrap().root().unwrap().volume_id.clone();
    w.detach(&root).unwrap();
    refused(w.cloud.create_image(&of(&id, "node-1")), "InvalidParameterValue");
    w.cloud.terminate_instances(ids).unwrap();
    refused(w.cloud.create_image(&of(&id, "node-1")), "IncorrectInstanceState");
    w.pass(60);
    refused(w.cloud.create_image(&of(&id, "node-1")), "IncorrectInstanceState");
    refused(w.cloud.create_image(&of("i-0123456789abcdef0", "node-1")), "InvalidInstanceID.NotFound");
    refused(w.cloud.create_image(&of("web", "node-1")), "InvalidInstanceID.Malformed");
}

#[test]
fn names_and_tags_are_checked_as_in_a_registration() {
    let mut w = world();
    let (instance, _) = w.running();
    refused(w.cloud.create_image(&of(&instance, "no|pipes")), "InvalidAMIName.Malformed");
    refused(w.cloud.create_image(&of(&instance, "ab")), "InvalidAMIName.Malformed");
    refused(w.cloud.create_image(&of(&instance, "base-linux-x86_64")), "InvalidAMIName.Duplicate");
    let specification = TagSpecification { resource_type: "instance".to_owned(), tags: Tags::new() };
    let tagged = CreateImage { tag_specifications: vec![specification], ..of(&instance, "node-1") };
    refused(w.cloud.create_image(&tagged), "InvalidParameterValue");
    w.cloud.create_image(&of(&instance, "node-1")).unwrap();
    refused(
        w.cloud.register_image(&w.registration("node-1", &w.ids.snapshot_id)),
        "InvalidAMIName.Duplicate",
    );
}

#[test]
fn one_image_of_an_instance_is_made_at_a_time() {
    let mut w = world();
    let (one, two) = (w.running().0, w.running().0);
    w.cloud.create_image(&of(&one, "one")).unwrap();
    refused(w.cloud.create_image(&of(&one, "two")), "ConcurrentCreateImageNoRebootLimitExceeded");
    w.cloud.create_image(&of(&two, "two")).unwrap();
    w.pass(11);
    refused(w.cloud.create_image(&of(&one, "three")), "ConcurrentCreateImageNoRebootLimitExceeded");
    w.pass(1);
    let third = w.cloud.create_image(&of(&one, "three")).unwrap();
    w.cloud.fail_image(&third.id).unwrap();
    w.cloud.create_image(&of(&one, "four")).unwrap();
}

#[test]
fn a_volume_with_too_many_pending_snapshots_refuses_the_whole_image() {
    let mut w = world_with(Settings { throttling: false, create_image_limit: 9, ..Settings::default() });
    let (instance, _, [one, _]) = furnished(&mut w);
    for number in 0..5 {
        // Without the spacing of CreateSnapshot.
        w.cloud.write(WriteTarget::Volume(one.clone()), 64 * 600).unwrap();
        w.cloud.create_image(&of(&instance, &format!("image-{number}"))).unwrap();
        w.pass(5);
    }
    let before = w.cloud.snapshots().count();
    refused(w.cloud.create_image(&of(&instance, "image-5")), "ConcurrentSnapshotLimitExceeded");
    assert_eq!((w.cloud.snapshots().count(), w.cloud.images().count()), (before, 6));
    let request = CreateImage { block_devices: vec![without("/dev/sdf")], ..of(&instance, "image-5") };
    w.cloud.create_image(&request).unwrap();
    let root = w.cloud.instance(&instance).unwrap().root().unwrap().volume_id.clone();
    refused(w.cloud.create_snapshot(&root, "", &[]), "SnapshotCreationPerVolumeRateExceeded");
}

#[test]
fn images_have_a_bucket_of_their_own() {
    let mut w = world_with(Settings::default());
    let (instance, _) = w.running();
    for _ in 0..50 {
        refused(w.cloud.create_image(&of(&instance, "no|pipes")), "InvalidAMIName.Malformed");
    }
    refused(w.cloud.create_image(&of(&instance, "node-1")), "RequestLimitExceeded");
    w.pass(1);
    for _ in 0..5 {
        refused(w.cloud.create_image(&of(&instance, "no|pipes")), "InvalidAMIName.Malformed");
    }
    refused(w.cloud.create_image(&of(&instance, "node-1")), "RequestLimitExceeded");
}

#[test]
fn a_deregistered_image_takes_its_snapshots_along_even_those_still_pending() {
    let mut w = world();
    let (instance, _, [_, large]) = furnished(&mut w);
    w.cloud.write(WriteTarget::Volume(large), 640).unwrap();
    let image = w.cloud.create_image(&of(&instance, "node-1")).unwrap();
    w.pass(5);
    let sdf = snapshot_at(&image, "/dev/sdf");
    let other = w.cloud.register_image(&w.registration("other", &sdf)).unwrap();
    w.events();
    let results = w.cloud.deregister_image(&image.id, true).unwrap();
    let told: Vec<(&str, &str)> =
        results.iter().map(|it| (it.snapshot_id.as_str(), it.return_code)).collect();
    let snapshots: Vec<&str> = image.snapshot_ids().collect();
    assert_eq!(told, [(snapshots[0], "skipped"), (snapshots[1], "success"), (snapshots[2], "success")]);
    // The pending one goes when it is copied, and the image never comes back.
    assert_eq!(kept(&w, &image), 2);
    w.pass(60);
    assert!(w.cloud.snapshot(&sdf).is_some() && kept(&w, &image) == 1);
    let said = |kind: &str, what: &str| (kind.to_owned(), what.to_owned());
    assert_eq!(
        w.events(),
        [
            said("EC2 AMI State Change", "deregistered"),
            said("EC2 AMI State Change", "available"),
            said("EBS Snapshot Notification", "succeeded"),
        ]
    );
    let results = w.cloud.deregister_image(&other.id, true).unwrap();
    assert_eq!((results[0].return_code, w.cloud.snapshot(&sdf)), ("success", None));
}

#[test]
fn a_snapshot_of_two_devices_is_deleted_once() {
    let mut w = world();
    let mut registration = w.registration("twins", &w.ids.snapshot_id.clone());
    let same = Ebs { snapshot_id: Some(w.ids.snapshot_id.clone()), ..Ebs::default() };
    registration.block_devices.push(mapping("/dev/sdf", same));
    let image = w.cloud.register_image(&registration).unwrap();
    w.pass(8);
    w.cloud.deregister_image(&w.ids.image_id.clone(), false).unwrap();
    let results = w.cloud.deregister_image(&image.id, true).unwrap();
    assert_eq!(results.iter().map(|it| it.return_code).collect::<Vec<_>>(), ["success"]);
}

#[test]
fn a_launch_brings_back_every_volume_of_the_image() {
    let mut w = world();
    let (instance, root, [one, _]) = furnished(&mut w);
    w.cloud.write(WriteTarget::Volume(one.clone()), 7).unwrap();
    let image = w.cloud.create_image(&of(&instance, "node-1")).unwrap();
    w.pass(13);
    let mut request = w.request();
    request.spec.image_id = Some(image.id.clone());
    let whole = w.launch(&request);
    for (device, volume, writes) in [("/dev/xvda", &root, 0), ("/dev/sdf", &one, 7)] {
        let made = at(&w, &whole, device);
        let from = [volume.clone(), snapshot_at(&image, device)];
        assert_eq!(made.contents.writes, writes);
        assert!(made.contents.lineage.ends_with(&from), "{:?}", made.contents.lineage);
        assert_eq!((made.snapshot_id.as_ref(), made.volume_type.as_str()), (Some(&from[1]), "gp3"));
    }
    assert!(!whole.block_devices["/dev/sdg"].delete_on_termination, "as the image says");
    // What the request says of a device goes over the image's; the snapshot stays the image's.
    let wish = |size: u32| {
        let ebs = Ebs { volume_size: Some(size), volume_type: Some("gp2".to_owned()), ..goes(true) };
        mapping("/dev/sdf", ebs)
    };
    request.spec.block_devices.push(wish(30));
    let grown = w.launch(&request);
    let made = at(&w, &grown, "/dev/sdf");
    assert_eq!((made.size, made.contents.writes, made.volume_type.as_str()), (30, 7, "gp2"));
    assert!(grown.block_devices["/dev/sdf"].delete_on_termination);
    request.spec.block_devices[1] = wish(9);
    refused(w.cloud.run_instances(&request), "InvalidBlockDeviceMapping");
    request.spec.block_devices[1] = without("/dev/sdf");
    assert_eq!(w.launch(&request).block_devices.keys().collect::<Vec<_>>(), ["/dev/sdg", "/dev/xvda"]);
}

#[test]
fn an_image_of_a_launch_from_an_image_goes_on_with_the_descent() {
    let mut w = world();
    let mut id = regular(&mut w);
    for generation in 1..=3 {
        w.cloud.write(WriteTarget::Instance(id.clone()), 1).unwrap();
        let image = w.cloud.create_image(&of(&id, &format!("generation-{generation}"))).unwrap();
        w.pass(13);
        let mut request = w.request();
        request.spec.image_id = Some(image.id);
        let next = w.launch(&request);
        let contents = at(&w, &next, "/dev/xvda").contents;
        assert_eq!((contents.writes, contents.lineage.len()), (generation, 2 + 2 * generation as usize));
        w.pass(12);
        id = next.id;
    }
}

//! Where a node is launched, and with which devices.

use super::account::{DEVICE, ROOT};
use super::node::{Keeps, Living, REATTACH, SNAPSHOT, every_way, policy};
use super::*;
use crate::config::DataMode;
use crate::launch::{Device, Home, LaunchRequest, home, mapped, resolve};
use crate::record::FinalSnapshot;

const A: &str = "us-east-1a";
const B: &str = "us-east-1b";

fn zones(node: &mut Living, subnets: &[&str]) {
    let subnets = subnets.iter().map(|id| SubnetId::new(*id)).collect();
    node.edit(|config| config.launch.subnets = subnets);
}

/// A node without an instance that is wanted, as it is about to be launched, with what it would see.
fn about_to_launch(keeps: Keeps) -> (Record, Observation) {
    let mut node = Living::running(keeps);
    node.wants(DesiredState::Paused);
    node.until(Phase::Paused);
    let record = Record { phase: Phase::Launching, ..wants(node.record.clone(), DesiredState::Running) };
    let seen = node.ec2.observe(look(&record, "prod"));
    (record, seen)
}

fn request(record: &Record, seen: &Observation) -> LaunchRequest {
    resolve(record, seen, "prod").unwrap().expect("a rung")
}

fn device<'r>(request: &'r LaunchRequest, name: &str) -> Option<&'r Device> {
    request.devices.iter().find(|it| it.device_name == name)
}

#[test]
fn a_node_is_at_home_where_its_interface_or_else_its_volumes_are() {
    let with = |keeps: Keeps, change: &dyn Fn(&mut Record, &mut Observation)| {
        let (mut record, mut seen) = about_to_launch(keeps);
        change(&mut record, &mut seen);
        home(&record, &seen)
    };
    let only = |id: &'static str| {
        move |record: &mut Record, _: &mut Observation| {
            record.config.config.launch.subnets = vec![SubnetId::new(id)];
        }
    };
    let networked = Keeps { network: true, ..REATTACH };
    assert_eq!(with(REATTACH, &|_, _| {}), Home::In(A.into()));
    assert_eq!(with(REATTACH, &only("subnet-1")), Home::In(A.into()));
    assert_eq!(
        with(REATTACH, &only("subnet-2")),
        Home::Left(A.into()),
        "the operator has taken its zone out"
    );
    assert_eq!(with(networked, &only("subnet-2")), Home::In(A.into()), "the interface binds it all the same");
    assert_eq!(with(SNAPSHOT, &|_, _| {}), Home::Anywhere, "the next volumes are made anew");
    assert_eq!(with(REATTACH, &|_, seen| seen.subnets.clear()), Home::In(A.into()), "nobody knows better");
    assert_eq!(
        with(REATTACH, &|_, seen| seen.volumes.clear()),
        Home::Anywhere,
        "gone: only a snapshot is left"
    );
    let erred = |_: &mut Record, seen: &mut Observation| {
        seen.volumes.values_mut().for_each(|it| it.state = VolumeState::Error);
    };
    assert_eq!(with(REATTACH, &erred), Home::Anywhere);
    assert_eq!(with(REATTACH, &|record, _| record.data.clear()), Home::Anywhere);
    assert_eq!(with(REATTACH, &|record, _| record.config.config.persist.data = None), Home::Anywhere);
}

#[test]
fn a_home_says_what_may_stay_and_where_to_launch() {
    let told = |home: Home| [home.is_in(A), home.is_in(B), home.admits(A), home.admits(B)];
    assert_eq!(told(Home::In(A.into())), [true, false, true, false]);
    assert_eq!(told(Home::Anywhere), [true, true, true, true]);
    assert_eq!(told(Home::Left(A.into())), [false, false, true, true]);
}

#[test]
fn no_rung_leads_out_of_the_zone_that_a_volume_binds_the_node_to() {
    for (keeps, both) in [(REATTACH, false), (SNAPSHOT, true)] {
        let (mut record, seen) = about_to_launch(keeps);
        let mut zones = std::collections::BTreeSet::new();
        while let Some(request) = resolve(&record, &seen, "prod").unwrap() {
            zones.insert(request.zone);
            record.rung += 1;
        }
        assert_eq!(zones.contains(B), both, "{keeps:?}: {zones:?}");
        assert!(zones.contains(A));
    }
}

#[test]
fn a_node_stays_in_the_zone_of_its_volumes_while_it_has_a_subnet_there() {
    for keeps in every_way().filter(|keeps| keeps.mode == Some(DataMode::Reattach)) {
        let mut node = Living::running(keeps);
        let id = node.volume(DEVICE);
        // No capacity there: it waits rather than go elsewhere.
        node.faults = vec![("launch", Fault::Refused(Class::NextRung)); 8];
        node.interrupt();
        node.comes_back();
        node.assert_whole();
        let zones: Vec<&str> = node
            .steps
            .iter()
            .filter_map(|step| match step {
                Step::Launch(request) => Some(request.zone.as_str()),
                _ => None,
            })
            .collect();
        assert!(zones.len() > 8 && zones.iter().all(|zone| *zone == A), "{zones:?}");
        assert_eq!((node.volume(DEVICE), node.took("create-volume")), (id, 0));
    }
}

#[test]
fn a_change_of_zone_goes_through_final_snapshots_of_the_existing_volumes() {
    for keeps in every_way().filter(|keeps| !keeps.network) {
        let mut node = Living::running(keeps);
        node.ec2.attach_by_hand("/dev/sdg", Tags::new());
        node.ticks(2);
        node.secure();
        node.write();
        let old = [node.volume(DEVICE), node.volume("/dev/sdg")];
        let points: Vec<SnapshotId> = node.ec2.snapshots.keys().cloned().collect();
        zones(&mut node, &["subnet-2"]);
        node.interrupt();
        node.comes_back();
        assert_eq!(node.ec2.living().zone, B, "{keeps:?}");
        node.assert_whole();
        for device in [DEVICE, "/dev/sdg"] {
            let volume = &node.ec2.volumes[&node.volume(device)];
            assert_eq!((volume.zone.as_str(), node.at(device).zone.as_str()), (B, B));
            assert!(!points.contains(volume.source.as_ref().unwrap()), "no periodic one is used");
        }
        assert!(old.iter().all(|id| node.ec2.volumes.contains_key(id)), "until the next are proven");
        node.secure();
        node.ticks(10);
        assert!(!node.ec2.volumes.contains_key(&old[0]), "{}", node.story());
        assert!(node.ec2.volumes.contains_key(&old[1]), "it was attached by hand");
        node.assert_whole();
    }
}

#[test]
fn a_node_that_may_go_back_to_its_zone_before_it_was_launched_takes_the_volumes_themselves() {
    let mut node = Living::running(REATTACH);
    let id = node.volume(DEVICE);
    zones(&mut node, &["subnet-2"]);
    node.faults = vec![("launch", Fault::Refused(Class::Terminal))];
    node.interrupt();
    node.until_blocked("launch-refused");
    assert!(node.at(DEVICE).point().is_some());
    zones(&mut node, &["subnet-1"]);
    node.until(Phase::Running);
    node.assert_whole();
    assert_eq!((node.volume(DEVICE), node.ec2.living().zone.as_str()), (id, A));
    assert_eq!(node.at(DEVICE).point(), None, "the snapshot of then holds the last bytes no longer");
}

#[test]
fn the_first_instance_has_the_volumes_of_template_and_image_and_each_outlives_it() {
    for (keeps, kept) in
        [(REATTACH, Some(false)), (SNAPSHOT, Some(false)), (Keeps { mode: None, ..REATTACH }, None)]
    {
        let mut node = Living::new(keeps);
        let base = node.ec2.images.get_mut(&ImageId::new("ami-base")).unwrap();
        base.devices = vec![ROOT.into(), DEVICE.into(), "/dev/sdk".into()];
        let store = Device { virtual_name: Some("ephemeral0".into()), ..Device::default() };
        node.ec2.devices.push(Device { device_name: "/dev/sdc".into(), ..store });
        node.until_it("launched", |node| node.took("launch") == 1);
        let asked = node.launch();
        let said = device(asked, DEVICE).unwrap();
        assert_eq!((said.size_gib, said.delete_on_termination), (Some(10), kept));
        assert_eq!(device(asked, ROOT).unwrap().delete_on_termination, Some(false));
        let store = device(asked, "/dev/sdc").unwrap();
        assert_eq!((store.virtual_name.as_deref(), store.delete_on_termination), (Some("ephemeral0"), None));
        let of_image = device(asked, "/dev/sdk").map(|it| (it.omit, it.delete_on_termination));
        assert_eq!(of_image, kept.map(|kept| (false, Some(kept))), "{keeps:?}");
        let data: Vec<_> = mapped(asked, ROOT).into_iter().map(|it| it.device_name).collect();
        if keeps.mode.is_some() {
            assert_eq!(data, [DEVICE, "/dev/sdk"], "an instance store is no volume");
        }
    }
}

#[test]
fn a_later_instance_has_the_volumes_of_the_last_one_and_no_others() {
    for keeps in [REATTACH, SNAPSHOT, Keeps { root: false, ..REATTACH }, Keeps { root: false, ..SNAPSHOT }] {
        let (mut record, mut seen) = about_to_launch(keeps);
        let other = Device { device_name: "/dev/sdz".into(), ..Device::default() };
        let store = Device {
            virtual_name: Some("ephemeral0".into()),
            device_name: "/dev/sdc".into(),
            ..other.clone()
        };
        seen.template.as_mut().unwrap().devices.extend([other, store]);
        for image in seen.images.values_mut() {
            image.devices = vec![ROOT.into(), DEVICE.into(), "/dev/sdk".into()];
        }
        let shape = VolumeShape {
            size_gib: 33,
            volume_type: "gp3".into(),
            iops: Some(5000),
            throughput: Some(250),
            encrypted: true,
            kms_key: Some("key".into()),
        };
        record.data[0].shape = shape;
        let asked = request(&record, &seen);
        assert!(device(&asked, "/dev/sdz").is_none(), "the template has no say any more");
        assert!(device(&asked, "/dev/sdk").unwrap().omit, "nor has the image");
        assert!(device(&asked, "/dev/sdc").is_some(), "instance stores are new each time");
        let own = device(&asked, DEVICE).unwrap();
        if keeps.mode == Some(DataMode::Snapshot) {
            let point = record.data[0].point().unwrap();
            assert_eq!(own.snapshot_id.as_deref(), Some(point.as_str()));
            assert_eq!((own.size_gib, own.iops, own.throughput), (Some(33), Some(5000), Some(250)));
            assert_eq!((own.encrypted, own.kms_key.as_deref()), (None, None), "those are the snapshot's");
            assert_eq!((own.delete_on_termination, own.volume_type.as_deref()), (Some(false), Some("gp3")));
            assert_eq!(mapped(&asked, ROOT), std::slice::from_ref(own));
        } else {
            assert!(own.omit, "the volume itself is attached later");
            assert_eq!(mapped(&asked, ROOT), []);
        }
    }
}

#[test]
fn a_device_that_the_root_has_is_asked_for_once() {
    for name in [ROOT, "xvda"] {
        let (mut record, seen) = about_to_launch(SNAPSHOT);
        record.data[0].device_name = name.into();
        let asked = request(&record, &seen);
        let at_root = asked.devices.iter().filter(|it| it.device_name.ends_with("xvda")).count();
        assert_eq!(at_root, 1, "{:?}", asked.devices);
        assert_eq!(device(&asked, ROOT).unwrap().snapshot_id, None, "and it is the root");
    }
}

#[test]
fn an_accepted_older_point_is_launched_from_in_its_own_size() {
    let (mut record, seen) = about_to_launch(SNAPSHOT);
    record.data[0].restore = Some(SnapshotId::new("snap-old"));
    let asked = request(&record, &seen);
    let own = device(&asked, DEVICE).unwrap();
    assert_eq!((own.snapshot_id.as_deref(), own.size_gib), (Some("snap-old"), None));
}

#[test]
fn only_a_complete_final_snapshot_is_a_point() {
    let (mut record, seen) = about_to_launch(SNAPSHOT);
    let last = record.data[0].last.clone().unwrap();
    for state in [SnapshotState::Pending, SnapshotState::Error] {
        record.data[0].last = Some(FinalSnapshot { state, ..last.clone() });
        assert!(device(&request(&record, &seen), DEVICE).is_none(), "{state:?}");
    }
    record.data[0].last = Some(last);
    assert!(device(&request(&record, &seen), DEVICE).is_some());
}

#[test]
fn volumes_of_snapshot_mode_are_there_when_the_instance_boots_and_carry_on_from_the_old_ones() {
    for keeps in every_way().filter(|keeps| keeps.mode == Some(DataMode::Snapshot)) {
        let mut node = Living::running(keeps);
        let id = node.volume(DEVICE);
        node.ec2.volumes.get_mut(&id).unwrap().tags.insert("team".into(), "db".into());
        node.interrupt();
        node.comes_back();
        node.assert_whole();
        assert_eq!((node.took("attach-volume"), node.took("create-volume")), (0, 0));
        let known = node.at(DEVICE);
        assert_eq!((&known.former, &known.last, known.attached), (&vec![id.clone()], &None, true));
        assert!(node.record.superseded.contains(&Superseded::DataVolume(id)));
        assert_eq!(node.ec2.volumes[&node.volume(DEVICE)].tags["team"], "db", "{}", node.story());
    }
}

#[test]
fn an_edit_of_the_mode_counts_from_the_next_end_on() {
    for (from, to) in [(REATTACH, DataMode::Snapshot), (SNAPSHOT, DataMode::Reattach)] {
        let mut node = Living::running(from);
        let id = node.volume(DEVICE);
        node.edit(|config| config.persist.data = Some(policy(to)));
        node.ticks(3);
        assert_eq!(node.took("hand-over") + node.took("final-snapshot"), 0);
        node.interrupt();
        node.comes_back();
        node.assert_whole();
        assert_eq!(node.volume(DEVICE) == id, to == DataMode::Reattach);
    }
}

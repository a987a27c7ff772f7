//! What a proven successor makes needless: of the root by the root's proof, of data volumes by theirs.

use super::account::{DEVICE, ROOT};
use super::node::{Keeps, Living, SNAPSHOT, every_way};
use super::*;
use crate::names::TAG_DEVICE;

/// A node in snapshot mode in its second cycle, with everything of the first still there.
fn second_cycle(keeps: Keeps) -> Living {
    let mut node = Living::running(keeps);
    node.ec2.healthy = false;
    node.ec2.attach_by_hand("/dev/sdg", Tags::new());
    node.ticks(2);
    node.write();
    node.interrupt();
    node.comes_back();
    node.ticks(3);
    node
}

fn of_data(node: &Living) -> (usize, usize) {
    let data = node.record.superseded.iter().filter(|it| it.is_data()).count();
    (data, node.record.needless().len() - data)
}

/// Snapshots of these devices are lost again.
fn lose(node: &mut Living, devices: &[&str]) {
    let is_lost = |it: &SnapshotFacts| {
        let of = it.tags.get(TAG_DEVICE).is_some_and(|device| devices.contains(&device.as_str()));
        of && it.id.as_str().starts_with("snap-p-")
    };
    node.ec2.snapshots.retain(|_, it| !is_lost(it));
}

#[test]
fn nothing_goes_before_the_next_instance_has_passed_its_checks() {
    let mut node = second_cycle(SNAPSHOT);
    let before = (of_data(&node), node.ec2.volumes.len(), node.ec2.snapshots.len());
    assert_eq!(before.0, (3, 3), "{:?}", node.record.superseded);
    node.secure();
    let taken = node.ec2.snapshots.len() - before.2;
    node.ticks(20);
    assert_eq!((of_data(&node), node.ec2.volumes.len()), (before.0, before.1), "{}", node.story());
    node.ec2.healthy = true;
    node.ticks(10);
    assert_eq!((of_data(&node), node.ec2.snapshots.len()), ((0, 0), taken));
    node.assert_whole();
}

#[test]
fn root_and_data_volumes_are_proven_each_by_a_snapshot_of_its_own() {
    for (lost, stays) in [(&[ROOT][..], (0, 3)), (&[DEVICE], (2, 0)), (&["/dev/sdg"], (1, 0))] {
        let mut node = second_cycle(SNAPSHOT);
        node.ec2.healthy = true;
        node.secure();
        lose(&mut node, lost);
        node.ticks(20);
        assert_eq!(of_data(&node), stays, "without a snapshot of {lost:?}: {}", node.story());
        assert!(node.record.work_at.is_some());
        node.secure();
        node.ticks(10);
        assert_eq!((of_data(&node), node.record.work_at), ((0, 0), None));
    }
}

#[test]
fn a_volume_that_cannot_be_attached_keeps_nothing_of_the_others() {
    let mut node = second_cycle(SNAPSHOT);
    let id = node.volume("/dev/sdg");
    // A snapshot of it is there; it is not on the instance.
    node.secure();
    node.ec2.detach_by_hand(&id);
    let entry = node.record.data.iter_mut().find(|it| it.volume_id == id).unwrap();
    (entry.attached, entry.device_name) = (false, "xvda".into());
    node.ec2.healthy = true;
    node.ticks(10);
    assert_eq!(of_data(&node), (1, 0), "its own final snapshot stays: {}", node.story());
    assert!(node.ec2.volumes.contains_key(&id));
}

#[test]
fn only_a_complete_snapshot_of_our_own_taking_proves_a_data_volume() {
    let spoilt: [fn(&mut SnapshotFacts); 5] = [
        |it| it.state = SnapshotState::Pending,
        |it| it.state = SnapshotState::Error,
        |it| it.own = false,
        |it| drop(it.tags.insert("perennial:purpose".into(), "data".into())),
        |it| drop(it.tags.insert("perennial:life".into(), "life-0".into())),
    ];
    for spoil in spoilt {
        let mut node = second_cycle(SNAPSHOT);
        node.secure();
        let is_spoilt =
            |it: &&mut SnapshotFacts| it.tags[TAG_DEVICE] == DEVICE && it.id.as_str().starts_with("snap-p-");
        spoil(node.ec2.snapshots.values_mut().find(is_spoilt).unwrap());
        node.ec2.slow = true;
        node.ec2.healthy = true;
        node.ticks(20);
        assert_eq!(of_data(&node), (2, 0), "the other volume is proven: {}", node.story());
    }
}

#[test]
fn volumes_go_before_the_snapshots_they_were_made_from_and_adopted_ones_stay() {
    for keeps in every_way() {
        let mut node = second_cycle(keeps);
        let adopted = node
            .ec2
            .volumes
            .values()
            .find(|it| it.tags.get("perennial:purpose").is_some_and(|purpose| purpose == "adopted"));
        let adopted = adopted.map(|it| it.id.clone()).expect("the volume that was attached by hand");
        node.steps.clear();
        node.secure();
        node.ec2.healthy = true;
        node.ticks(10);
        let order: Vec<&Step> = node.steps.iter().filter(|it| matches!(it, Step::Delete(_))).collect();
        let volume = order.iter().rposition(|it| it.name() == "delete-volume");
        let snapshot = order.iter().position(|it| it.name() == "delete-snapshot");
        assert!(volume.is_none() || volume < snapshot, "{order:?}");
        assert!(node.ec2.volumes.contains_key(&adopted), "{keeps:?}");
        assert_eq!(of_data(&node), (0, 0));
        node.assert_whole();
    }
}

#[test]
fn what_a_volume_was_made_from_stays_when_the_volume_leaves_the_node() {
    for deleted in [false, true] {
        let mut node = second_cycle(SNAPSHOT);
        let id = node.volume(DEVICE);
        let old = node.at(DEVICE).former.clone();
        let point = node.ec2.snapshots.values().find(|it| old.contains(&it.volume)).unwrap().id.clone();
        if deleted {
            node.delete_by_hand(&id);
            node.ticks(3);
            node.later(601);
        } else {
            node.ec2.detach_by_hand(&id);
        }
        node.ticks(5);
        assert_eq!(node.record.data.len(), 1, "{}", node.story());
        node.secure();
        node.ec2.healthy = true;
        node.ticks(20);
        assert_eq!((of_data(&node), node.record.work_at), ((0, 0), None), "the rest is cleaned away");
        assert!(node.ec2.volumes.contains_key(&old[0]), "{}", node.story());
        assert!(node.ec2.snapshots.contains_key(&point), "{}", node.story());
        assert_eq!(node.record.aside.len(), 2);
    }
}

#[test]
fn a_superseded_data_volume_that_somebody_attaches_keeps_nothing_from_running() {
    let mut node = second_cycle(SNAPSHOT);
    let old = node.record.superseded.iter().find_map(|it| match it {
        Superseded::DataVolume(id) => Some(id.clone()),
        _ => None,
    });
    let old = old.unwrap();
    let volume = node.ec2.volumes.get_mut(&old).unwrap();
    (volume.state, volume.attached_to) = (VolumeState::InUse, vec![InstanceId::new("i-9")]);
    node.secure();
    node.ec2.healthy = true;
    node.ticks(10);
    assert!(node.ec2.volumes.contains_key(&old));
    node.ec2.detach_by_hand(&old);
    node.ticks(10);
    assert_eq!((of_data(&node), node.ec2.volumes.contains_key(&old)), ((0, 0), false), "{}", node.story());
}

#[test]
fn what_is_no_longer_ours_is_left_alone() {
    let mut node = second_cycle(SNAPSHOT);
    let old = node.at(DEVICE).former[0].clone();
    node.ec2.volumes.get_mut(&old).unwrap().tags.clear();
    node.secure();
    node.ec2.healthy = true;
    node.ticks(10);
    assert!(node.ec2.volumes.contains_key(&old) && node.says("is left alone"));
    assert_eq!(of_data(&node), (0, 0));
}

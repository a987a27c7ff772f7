//! A data volume of which nothing holds the last bytes: the operator is asked, and nothing older is used unasked.

use super::account::{DEVICE, ROOT};
use super::node::{Keeps, Living, REATTACH, SNAPSHOT, every_way};
use super::*;
use crate::names::TAG_DEVICE;

/// A node whose volume at a device was deleted before it could be captured, with an older snapshot of everything.
fn lost(keeps: Keeps, devices: &[&str]) -> Living {
    let mut node = Living::running(keeps);
    node.ec2.attach_by_hand("/dev/sdg", Tags::new());
    node.ticks(2);
    node.write();
    node.secure();
    let then = node.written.clone();
    node.write();
    node.interrupt();
    node.ec2.settle();
    for device in devices {
        let id = match *device {
            ROOT => node.record.root.as_ref().unwrap().volume_id.clone(),
            device => node.volume(device),
        };
        node.delete_by_hand(&id);
        node.written.insert((*device).to_owned(), then[*device]);
    }
    node.until_blocked("data-missing");
    node
}

/// The older snapshot of what is at a device.
fn older(node: &Living, device: &str) -> SnapshotId {
    let of = |it: &&SnapshotFacts| it.tags[TAG_DEVICE] == device && it.id.as_str().starts_with("snap-p-");
    node.ec2.snapshots.values().find(of).expect("an older one").id.clone()
}

fn message(node: &Living) -> &str {
    &node.record.blocked.as_ref().expect("blocked").message
}

fn restore(node: &mut Living, id: &SnapshotId) {
    node.edit(|config| config.restore_from = Some(id.clone()));
    node.ticks(2);
}

#[test]
fn nothing_is_launched_before_the_operator_has_accepted_what_is_lost() {
    for keeps in every_way() {
        let mut node = lost(keeps, &[DEVICE]);
        let launches = node.took("launch");
        node.later(4000);
        node.ticks(20);
        assert_eq!((node.took("launch"), node.code()), (launches, "data-missing"));
        assert_eq!(node.record.outbox.iter().filter(|it| it.kind == Kind::NodeBlocked).count(), 1);
        assert!(node.record.work_at.is_some());
        let own = older(&node, DEVICE);
        assert!(message(&node).contains(own.as_str()) && message(&node).contains("minutes old"));
        for other in ["/dev/sdg", ROOT].iter().filter(|it| keeps.root || **it != ROOT) {
            let other = older(&node, other);
            assert!(!message(&node).contains(other.as_str()), "of its own line alone: {}", message(&node));
        }
        assert_eq!((node.took("delete-volume"), node.took("delete-snapshot")), (0, 0));
        restore(&mut node, &own);
        node.until(Phase::Running);
        node.assert_whole();
        let told = node.record.outbox.iter().find(|it| it.kind == Kind::NodeUnblocked).unwrap();
        let told = serde_json::to_string(told).unwrap();
        assert!(told.contains("is lost") && told.contains(own.as_str()), "{told}");
        assert_eq!(node.record.restored, Some(own.clone()));
        node.secure();
        node.ticks(10);
        assert!(node.ec2.snapshots.contains_key(&own), "something newer may be among what was taken before");
    }
}

#[test]
fn a_snapshot_of_anything_else_is_refused_and_named() {
    let mut node = lost(REATTACH, &[DEVICE]);
    for wrong in [older(&node, ROOT), older(&node, "/dev/sdg"), SnapshotId::new("snap-nowhere")] {
        let launches = node.took("launch");
        restore(&mut node, &wrong);
        node.ticks(3);
        assert_eq!((node.code(), node.took("launch")), ("data-missing", launches), "{wrong}");
        assert!(message(&node).contains(wrong.as_str()), "{}", message(&node));
    }
    let pending = older(&node, DEVICE);
    node.ec2.slow = true;
    node.ec2.snapshots.get_mut(&pending).unwrap().state = SnapshotState::Pending;
    restore(&mut node, &pending);
    assert!(message(&node).contains("is not complete, or lacks Perennial's tags"), "{}", message(&node));
    node.ec2.snapshots.get_mut(&pending).unwrap().state = SnapshotState::Completed;
    node.later(301);
    node.until(Phase::Running);
    node.assert_whole();
}

#[test]
fn the_roots_loss_is_not_answered_by_a_snapshot_of_a_data_volume() {
    let mut node = lost(REATTACH, &[ROOT]);
    let wrong = older(&node, DEVICE);
    assert!(!message(&node).contains(wrong.as_str()), "nor is it offered: {}", message(&node));
    restore(&mut node, &wrong);
    node.ticks(3);
    assert!(message(&node).contains("is a snapshot of a data volume"), "{}", message(&node));
    let right = older(&node, ROOT);
    restore(&mut node, &right);
    node.until(Phase::Running);
    node.assert_whole();
}

#[test]
fn each_loss_is_answered_by_its_own_word() {
    for keeps in every_way().filter(|keeps| keeps.root) {
        let mut node = lost(keeps, &[ROOT, DEVICE, "/dev/sdg"]);
        for device in [ROOT, DEVICE, "/dev/sdg"] {
            node.until_blocked("data-missing");
            let id = older(&node, device);
            assert!(message(&node).contains(id.as_str()), "{device}: {}", message(&node));
            restore(&mut node, &id);
        }
        node.until(Phase::Running);
        node.assert_whole();
    }
}

#[test]
fn a_word_is_used_once() {
    let mut node = lost(REATTACH, &[DEVICE]);
    let id = older(&node, DEVICE);
    restore(&mut node, &id);
    node.until(Phase::Running);
    node.write();
    let volume = node.volume(DEVICE);
    node.interrupt();
    node.ec2.settle();
    node.delete_by_hand(&volume);
    node.written.remove(DEVICE);
    node.until_blocked("data-missing");
    node.later(4000);
    assert_eq!(node.code(), "data-missing", "it stands in the item from another day");
}

#[test]
fn a_volume_that_comes_back_is_used_as_it_is_and_the_older_point_forgotten() {
    for keeps in every_way() {
        let mut node = Living::running(keeps);
        node.secure();
        node.write();
        let id = node.volume(DEVICE);
        let hidden = node.ec2.volumes[&id].clone();
        node.interrupt();
        node.ec2.settle();
        node.ec2.volumes.remove(&id);
        let bytes = node.written.remove(DEVICE).unwrap();
        node.until_blocked("data-missing");
        let back = VolumeFacts { state: VolumeState::Available, attached_to: Vec::new(), ..hidden };
        node.ec2.volumes.insert(id, back);
        node.written.insert(DEVICE.into(), bytes);
        node.later(301);
        node.until(Phase::Running);
        node.assert_whole();
        assert_eq!(node.at(DEVICE).restore, None);
    }
}

#[test]
fn an_accepted_point_ends_with_the_return_of_the_volume() {
    // Accepted, and then the volume is there again before another is made.
    let mut node = Living::running(REATTACH);
    node.secure();
    node.write();
    let id = node.volume(DEVICE);
    let hidden = node.ec2.volumes[&id].clone();
    node.interrupt();
    node.ec2.settle();
    node.ec2.volumes.remove(&id);
    let bytes = node.written.remove(DEVICE).unwrap();
    node.until_blocked("data-missing");
    let chosen = older(&node, DEVICE);
    restore(&mut node, &chosen);
    let back = VolumeFacts { state: VolumeState::Available, attached_to: Vec::new(), ..hidden };
    node.ec2.volumes.insert(id.clone(), back);
    node.until(Phase::Running);
    node.written.insert(DEVICE.into(), bytes);
    node.assert_whole();
    assert_eq!((node.volume(DEVICE), node.at(DEVICE).restore.clone()), (id, None));
    node.write();
    node.edit(|config| config.persist.data = Some(super::node::policy(config::DataMode::Snapshot)));
    node.interrupt();
    node.comes_back();
    node.assert_whole();
}

#[test]
fn an_accepted_point_that_vanishes_is_asked_for_again() {
    let mut node = lost(REATTACH, &[DEVICE]);
    let chosen = older(&node, DEVICE);
    node.wants(DesiredState::Paused);
    node.until(Phase::Paused);
    node.until_blocked("data-missing");
    restore(&mut node, &chosen);
    assert_eq!(node.code(), "");
    node.ec2.snapshots.remove(&chosen);
    node.written.remove(DEVICE);
    node.wants(DesiredState::Running);
    node.until_blocked("data-missing");
    assert!(message(&node).contains("Older ones: none"), "{}", message(&node));
    node.edit(|config| config.persist.data = None);
    node.written.remove("/dev/sdg");
    node.until(Phase::Running);
    node.assert_whole();
}

#[test]
fn the_older_point_of_a_volume_that_has_grown_is_used_in_its_own_size() {
    for keeps in [REATTACH, SNAPSHOT] {
        let mut node = lost(keeps, &[DEVICE]);
        let id = older(&node, DEVICE);
        restore(&mut node, &id);
        node.until(Phase::Running);
        let made = node.steps.iter().find_map(|step| match step {
            Step::CreateVolume(request) => Some(request.shape.size_gib),
            _ => None,
        });
        let asked =
            node.launch().devices.iter().find(|it| it.device_name == DEVICE).and_then(|it| it.size_gib);
        assert_eq!((made.unwrap_or(0), asked), (0, None), "{keeps:?}: no size of its own is asked for");
        node.assert_whole();
    }
}

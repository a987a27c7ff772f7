//! Attaching: the same volumes, or new ones from their last bytes, before anybody is told that the node runs.

use super::account::{DEVICE, ROOT};
use super::node::{Keeps, Living, REATTACH, SNAPSHOT, every_way};
use super::*;
use crate::config::DataMode;
use crate::names::TAG_DEVICE;
use crate::step::VolumeRequest;

/// A node with two data volumes whose instance has just ended.
fn ended(keeps: Keeps) -> Living {
    let mut node = Living::running(keeps);
    node.ec2.attach_by_hand("/dev/sdg", Tags::new());
    node.ticks(2);
    node.write();
    node.interrupt();
    node
}

fn reattaching() -> impl Iterator<Item = Keeps> {
    every_way().filter(|keeps| keeps.mode == Some(DataMode::Reattach))
}

fn made(node: &Living) -> Vec<VolumeRequest> {
    let made = node.steps.iter().filter_map(|step| match step {
        Step::CreateVolume(request) => Some((**request).clone()),
        _ => None,
    });
    made.collect()
}

/// A paused node of whose data volume only the final snapshot is left, wanted back.
fn lost_while_paused() -> Living {
    let mut node = Living::running(REATTACH);
    let id = node.volume(DEVICE);
    let volume = node.ec2.volumes.get_mut(&id).unwrap();
    let shape = VolumeShape { size_gib: 30, iops: Some(4000), throughput: Some(300), ..volume.shape.clone() };
    volume.shape = shape;
    volume.tags.insert("team".into(), "db".into());
    node.wants(DesiredState::Paused);
    node.until(Phase::Paused);
    node.delete_by_hand(&id);
    node.wants(DesiredState::Running);
    node
}

#[test]
fn the_same_volumes_are_attached_before_anybody_is_told_that_the_node_runs() {
    for keeps in reattaching() {
        let mut node = ended(keeps);
        let volumes = [node.volume(DEVICE), node.volume("/dev/sdg")];
        node.until(Phase::Attaching);
        let hung = [volumes[0].clone(), volumes[1].clone()];
        node.ec2.hanging.extend(hung);
        node.ticks(6);
        assert_eq!(
            (node.record.phase, node.took("attach-volume")),
            (Phase::Attaching, 2),
            "{}",
            node.story()
        );
        let running =
            |node: &Living| node.record.outbox.iter().filter(|it| it.kind == Kind::NodeRunning).count();
        assert_eq!(running(&node), 1, "that of the first cycle");
        node.ec2.hanging.clear();
        node.until(Phase::Running);
        assert_eq!((running(&node), node.code()), (2, ""));
        assert_eq!([node.volume(DEVICE), node.volume("/dev/sdg")], volumes);
        assert_eq!((node.took("create-volume"), node.took("final-snapshot")), (0, usize::from(keeps.root)));
        node.assert_whole();
        assert!(node.launch().devices.iter().all(|it| it.device_name == ROOT), "none is made beside them");
    }
}

#[test]
fn an_attachment_that_hangs_is_told_once_and_not_asked_for_again_and_ends_with_the_operators_help() {
    let mut node = ended(REATTACH);
    let (hung, other) = (node.volume(DEVICE), node.volume("/dev/sdg"));
    node.ec2.hanging.insert(hung.clone());
    node.until(Phase::Attaching);
    node.ticks(29);
    assert_eq!((node.code(), node.took("attach-volume")), ("", 2), "{}", node.story());
    node.until_blocked("attach-stalled");
    let told = node.record.blocked.as_ref().unwrap();
    assert!(told.message.contains(hung.as_str()) && told.remedy.contains("detach"), "{told:?}");
    node.ticks(60);
    let blocked = node.record.outbox.iter().filter(|it| it.kind == Kind::NodeBlocked).count();
    assert_eq!((blocked, node.took("attach-volume"), node.record.phase), (1, 2, Phase::Attaching));
    assert!(node.ec2.living().volumes.iter().any(|it| it.volume == other && !it.attaching), "nor held up");
    node.ec2.detach_by_hand(&hung);
    node.ec2.hanging.clear();
    node.until(Phase::Running);
    assert_eq!((node.took("attach-volume"), node.code(), node.took("hand-over")), (3, "", 0));
    node.assert_whole();
}

#[test]
fn an_attachment_that_hangs_can_be_left_behind_with_its_instance() {
    let mut node = ended(REATTACH);
    node.ec2.hanging.insert(node.volume(DEVICE));
    node.until_blocked("attach-stalled");
    node.ec2.hanging.clear();
    node.edit(|config| config.recycle += 1);
    node.comes_back();
    node.assert_whole();
}

#[test]
fn a_node_that_waited_for_something_else_does_not_count_that_as_a_hanging_attachment() {
    let mut node = ended(REATTACH);
    node.faults = vec![("attach-volume", Fault::Refused(Class::Terminal)); 4];
    node.until(Phase::Attaching);
    node.until_it("tried", |node| node.took("attach-volume") == 5);
    assert!(at(node.second).duration_since(node.record.phase_since) > limits::ATTACHES_WITHIN);
    node.ec2.hanging.insert(node.volume(DEVICE));
    node.ticks(3);
    assert_eq!((node.code(), node.record.phase), ("", Phase::Attaching), "{}", node.story());
}

#[test]
fn a_device_that_something_else_has_is_told_and_free_when_that_is_detached() {
    for goes in [0, 1] {
        let mut node = ended(REATTACH);
        node.ec2.hanging.insert(node.volume(DEVICE));
        node.until(Phase::Attaching);
        node.until_it("attaching", |node| node.took("attach-volume") == 2);
        // The first volume is taken off, and another one attached in its place.
        let own = node.volume(DEVICE);
        node.ec2.detach_by_hand(&own);
        let other = node.ec2.attach_by_hand(DEVICE, Tags::new());
        node.ec2.hanging.clear();
        node.until_blocked("device-taken");
        let told = node.record.blocked.as_ref().unwrap();
        assert!(told.message.contains(own.as_str()) && told.message.contains(other.as_str()), "{told:?}");
        if goes == 0 {
            node.ec2.detach_by_hand(&other);
        } else {
            // Moved to a name of its own.
            let volumes = &mut node.ec2.living_mut().volumes;
            volumes.iter_mut().find(|it| it.volume == other).unwrap().device = "/dev/sdk".into();
        }
        node.until(Phase::Running);
        node.ticks(5);
        assert_eq!(node.volume(DEVICE), own, "{}", node.story());
        assert_eq!(node.record.data.len(), 2 + goes);
        node.assert_whole();
        assert_eq!(node.code(), "");
    }
}

#[test]
fn a_refused_attachment_is_told_and_tried_again_in_its_time() {
    let mut node = ended(REATTACH);
    node.faults = vec![("attach-volume", Fault::Refused(Class::Terminal))];
    node.until_blocked("attach-refused");
    let since = node.second;
    node.ticks(5);
    assert_eq!((node.took("attach-volume"), node.record.phase), (1, Phase::Attaching), "it is no loop");
    node.until(Phase::Running);
    assert!(node.second - since >= limits::REFUSED_REST.as_secs());
    assert_eq!((node.took("attach-volume"), node.code()), (3, ""));
    node.assert_whole();
}

/// For one tick reads show a volume on the instance that held it last.
fn lags(node: &mut Living, id: &VolumeId) {
    let free = node.ec2.volumes[id].clone();
    assert_eq!(free.state, VolumeState::Available, "{}", node.story());
    let attached_to = vec![InstanceId::new("i-old")];
    let stale = VolumeFacts { state: VolumeState::InUse, attached_to, ..free.clone() };
    node.ec2.volumes.insert(id.clone(), stale);
    node.tick();
    node.ec2.volumes.insert(id.clone(), free);
}

#[test]
fn a_read_that_lags_takes_no_volume_off_the_node() {
    // Wherever it comes: before the launch, before the attachment, before the final snapshot.
    for (keeps, call, phase) in [
        (REATTACH, "launch", Phase::Launching),
        (REATTACH, "attach-volume", Phase::Attaching),
        (SNAPSHOT, "final-snapshot", Phase::Capturing),
    ] {
        let mut node = Living::running(keeps);
        let id = node.volume(DEVICE);
        let class = if call == "launch" { Class::Terminal } else { Class::NotYet };
        node.faults = vec![(call, Fault::Refused(class)); 3];
        node.interrupt();
        node.until_it("refused", |node| node.record.phase == phase && node.faults.len() < 3);
        for _ in 0..2 {
            // Again after a while: what was seen in between counts.
            if call == "launch" {
                node.second += 301;
            }
            lags(&mut node, &id);
            assert_eq!((node.record.phase, node.volume(DEVICE)), (phase, id.clone()), "{}", node.story());
            node.tick();
        }
        node.until(Phase::Running);
        node.assert_whole();
        assert_eq!(node.took("hand-over"), 0, "{}", node.story());
    }
}

#[test]
fn a_volume_detached_by_hand_while_others_are_attached_leaves_by_two_reads() {
    let mut node = ended(REATTACH);
    let (id, hung) = (node.volume(DEVICE), node.volume("/dev/sdg"));
    node.ec2.hanging.insert(hung);
    node.until(Phase::Attaching);
    node.until_it("attached", |node| node.at(DEVICE).attached);
    node.ec2.detach_by_hand(&id);
    node.tick();
    assert_eq!((node.took("hand-over"), node.volume(DEVICE)), (0, id), "one is not enough");
    node.ticks(3);
    assert_eq!((node.took("hand-over"), node.record.data.len()), (1, 1), "{}", node.story());
    assert_eq!(node.took("attach-volume"), 2, "nor is it attached again");
}

#[test]
fn a_volume_that_the_operator_gives_to_another_instance_leaves_wherever_its_node_stands() {
    for keeps in every_way() {
        for phase in [Phase::Paused, Phase::Deallocated] {
            let mut node = Living::running(keeps);
            let id = node.volume(DEVICE);
            node.wants(if phase == Phase::Paused { DesiredState::Paused } else { DesiredState::Deallocated });
            node.until(phase);
            let volume = node.ec2.volumes.get_mut(&id).unwrap();
            (volume.state, volume.attached_to) = (VolumeState::InUse, vec![InstanceId::new("i-9")]);
            node.ticks(3);
            node.wants(DesiredState::Running);
            node.written.remove(DEVICE);
            node.comes_back();
            node.ticks(5);
            node.assert_whole();
            let left = !node.record.data.iter().any(|it| it.volume_id == id);
            assert!(left, "{keeps:?} {phase}: {}", node.story());
            assert!(node.ec2.volumes.contains_key(&id));
        }
    }
}

#[test]
fn a_volume_that_is_gone_is_made_again_as_it_was_from_its_last_bytes() {
    let mut node = lost_while_paused();
    let old = node.volume(DEVICE);
    node.until(Phase::Running);
    node.assert_whole();
    let [request] = made(&node).try_into().unwrap();
    let VolumeShape { size_gib, iops, throughput, .. } = request.shape;
    assert_eq!((size_gib, iops, throughput), (30, Some(4000), Some(300)));
    assert_eq!((request.device.as_str(), request.zone.as_str()), (DEVICE, "us-east-1a"));
    let tags = &node.ec2.volumes[&node.volume(DEVICE)].tags;
    assert_eq!((tags["team"].as_str(), tags["perennial:purpose"].as_str()), ("db", "data"));
    assert_eq!(tags["perennial:key"], request.token, "so that a repeat finds it");
    let known = node.at(DEVICE);
    assert_eq!((&known.former, &known.made, known.adopted), (&vec![old], &None, false));
}

#[test]
fn a_volume_is_made_once_however_often_the_process_dies() {
    for fault in [Fault::DiesBefore, Fault::DiesAfter, Fault::Unheard, Fault::Refused(Class::Retry)] {
        let mut node = lost_while_paused();
        let before = node.ec2.volumes.len();
        node.faults = [fault, Fault::DiesAfter, fault].map(|fault| ("create-volume", fault)).to_vec();
        node.until(Phase::Running);
        node.assert_whole();
        let tokens: std::collections::BTreeSet<_> = made(&node).into_iter().map(|it| it.token).collect();
        assert_eq!(tokens.len(), 1, "{fault:?}: {}", node.story());
        assert_eq!(node.ec2.volumes.len(), before + 2, "the root and the data volume");
    }
}

#[test]
fn a_spent_token_and_a_volume_that_came_to_nothing_are_followed_by_another() {
    let mut node = lost_while_paused();
    node.until_it("asked", |node| node.took("create-volume") == 1);
    let first = node.at(DEVICE).made.clone().expect("being made");
    node.ec2.volumes.get_mut(&first).unwrap().state = VolumeState::Error;
    node.until(Phase::Running);
    node.assert_whole();
    assert_ne!(node.volume(DEVICE), first);
    let tokens: std::collections::BTreeSet<_> = made(&node).into_iter().map(|it| it.token).collect();
    assert_eq!(tokens.len(), 2);
    assert!(node.record.superseded.contains(&Superseded::DataVolume(first)));

    let mut node = lost_while_paused();
    node.faults = vec![("create-volume", Fault::Refused(Class::TokenMismatch))];
    node.until(Phase::Running);
    node.assert_whole();
    assert_eq!(node.at(DEVICE).attempts, 0, "counted for the next time from nothing");
}

#[test]
fn a_volume_made_for_an_instance_that_ends_serves_the_next_one_and_is_not_cleaned_away() {
    let mut node = lost_while_paused();
    node.until_it("asked", |node| node.took("create-volume") == 1);
    let made = node.at(DEVICE).made.clone().unwrap();
    let before = node.second;
    node.interrupt();
    node.until_it("launched", |node| node.record.phase == Phase::Launching);
    assert!(node.second - before < 300, "a volume that is known to be gone is not waited for");
    node.until(Phase::Running);
    node.assert_whole();
    assert_eq!(node.volume(DEVICE), made);
    node.secure();
    node.ticks(10);
    assert_eq!((node.record.superseded.as_slice(), node.record.work_at), (&[][..], None), "{}", node.story());
    assert!(node.ec2.volumes.contains_key(&made));
}

#[test]
fn one_read_that_does_not_show_a_volume_just_made_makes_no_other() {
    let mut node = lost_while_paused();
    // How long the one before has been missing does not count for the one that is made.
    node.record.data[0].missing_since = Some(at(0));
    node.second = 1000;
    node.until_it("asked", |node| node.took("create-volume") == 1);
    let id = node.at(DEVICE).made.clone().unwrap();
    let hidden = node.ec2.volumes.remove(&id).unwrap();
    node.tick();
    node.ec2.volumes.insert(id.clone(), hidden);
    node.until(Phase::Running);
    assert_eq!((node.volume(DEVICE), node.took("create-volume")), (id, 1), "{}", node.story());
}

#[test]
fn a_snapshot_that_vanishes_before_its_volume_is_made_is_told_and_an_older_one_can_be_chosen() {
    let mut node = Living::running(REATTACH);
    node.secure();
    let older = node.ec2.snapshots.values().find(|it| it.tags.get(TAG_DEVICE).is_some_and(|d| d == DEVICE));
    let older = older.unwrap().clone();
    let bytes = node.ec2.bytes[older.id.as_str()];
    let id = node.volume(DEVICE);
    node.write();
    node.wants(DesiredState::Paused);
    node.until(Phase::Paused);
    node.ec2.snapshots.insert(older.id.clone(), older.clone());
    let point = node.at(DEVICE).point().cloned().unwrap();
    node.wants(DesiredState::Running);
    node.until_it("launched", |node| node.record.instance.is_some());
    node.delete_by_hand(&id);
    node.ec2.snapshots.remove(&point);
    node.written.remove(DEVICE);
    node.until_blocked("data-missing");
    assert_eq!((node.record.phase, node.took("create-volume")), (Phase::Attaching, 0));
    node.edit(|config| config.restore_from = Some(older.id.clone()));
    node.until(Phase::Running);
    node.written.insert(DEVICE.into(), bytes);
    node.assert_whole();
}

#[test]
fn a_volume_in_another_zone_without_a_snapshot_is_told_with_what_helps() {
    let mut node = ended(REATTACH);
    node.until(Phase::Attaching);
    let id = node.volume("/dev/sdg");
    node.ec2.detach_by_hand(&id);
    for entry in &mut node.record.data {
        entry.attached = false;
    }
    node.ec2.volumes.get_mut(&id).unwrap().zone = "us-east-1b".into();
    node.until_blocked("volume-elsewhere");
    node.edit(|config| config.recycle += 1);
    node.comes_back();
    node.assert_whole();
    assert_ne!(node.volume("/dev/sdg"), id, "from its final snapshot");
}

//! The end of an instance, in every phase that has one: its volumes are waited for, found, and captured where the
//! next instance, or a rest, needs it.

use super::account::{DEVICE, ROOT};
use super::node::{Keeps, Living, REATTACH, SNAPSHOT, every_way};
use super::*;
use crate::config::DataMode;
use crate::launch::Device;
use crate::names::TAG_DEVICE;

/// A node whose guest has written to root, the template's volume and one that was attached by hand.
fn running(keeps: Keeps) -> Living {
    let mut node = Living::running(keeps);
    node.ec2.attach_by_hand("/dev/sdg", Tags::new());
    node.ticks(2);
    node.write();
    node
}

#[test]
fn an_instance_that_ends_in_any_phase_leaves_everything_to_the_next() {
    for keeps in every_way() {
        for phase in
            [Phase::Launching, Phase::Attaching, Phase::Running, Phase::Interrupting, Phase::Stopping]
        {
            let mut node = running(keeps);
            match phase {
                Phase::Interrupting => node.notify(),
                Phase::Stopping => node.edit(|config| config.recycle += 1),
                Phase::Running => {}
                _ => {
                    node.interrupt();
                    node.until_it("launched", |node| {
                        node.record.phase == Phase::Launching && node.record.instance.is_some()
                    });
                }
            }
            if phase == Phase::Attaching {
                // The guest may have what is attached before anybody has seen it attached.
                node.tick();
                node.ec2.settle();
                node.write();
            }
            node.interrupt();
            node.comes_back();
            node.assert_whole();
            assert_eq!((node.code(), node.record.data.len()), ("", 2), "{keeps:?} {phase}");
        }
    }
}

#[test]
fn only_what_the_next_instance_cannot_have_as_it_is_gets_a_final_snapshot() {
    let finals = |node: &Living| {
        let taken = node.steps.iter().filter_map(|step| match step {
            Step::Snapshot(request) => Some(request.volumes()[0].clone()),
            _ => None,
        });
        taken.collect::<std::collections::BTreeSet<_>>()
    };
    for keeps in every_way() {
        for goal in [DesiredState::Running, DesiredState::Paused, DesiredState::Deallocated] {
            let mut node = running(keeps);
            let data = [node.volume(DEVICE), node.volume("/dev/sdg")];
            node.interrupt();
            node.wants(goal);
            node.ticks(30);
            let always = keeps.mode == Some(DataMode::Snapshot) || goal != DesiredState::Running;
            let taken = finals(&node);
            assert_eq!(data.iter().all(|id| taken.contains(id)), always, "{keeps:?} {goal:?}");
            assert_eq!(taken.len(), usize::from(keeps.root) + if always { 2 } else { 0 });
        }
    }
}

#[test]
fn the_final_snapshots_are_taken_side_by_side_and_say_what_they_are_of() {
    for keeps in every_way().filter(|keeps| keeps.mode == Some(DataMode::Snapshot)) {
        let mut node = running(keeps);
        node.ec2.slow = true;
        node.interrupt();
        node.ticks(4);
        assert_eq!(node.took("final-snapshot"), 2 + usize::from(keeps.root), "{}", node.story());
        assert_eq!(node.record.phase, Phase::Capturing);
        for device in [DEVICE, "/dev/sdg"] {
            let known = node.at(device);
            let last = known.last.as_ref().unwrap();
            let taken = &node.ec2.snapshots[last.snapshot_id.as_ref().unwrap()];
            let tags =
                [TAG_DEVICE, "perennial:volume", "perennial:purpose"].map(|tag| taken.tags[tag].as_str());
            assert_eq!(tags, [device, known.volume_id.as_str(), "final"]);
        }
        node.ticks(10);
        assert_eq!(
            (node.record.phase, node.took("launch")),
            (Phase::Capturing, 1),
            "all of them are waited for"
        );
        node.ec2.slow = false;
        node.until(Phase::Running);
        node.assert_whole();
    }
}

#[test]
fn a_final_snapshot_is_not_taken_before_its_volume_is_free() {
    let mut node = running(SNAPSHOT);
    let id = node.volume(DEVICE);
    let instance = node.record.instance.as_ref().unwrap().id.clone();
    node.interrupt();
    node.ec2.settle();
    let volume = node.ec2.volumes.get_mut(&id).unwrap();
    (volume.state, volume.attached_to) = (VolumeState::InUse, vec![instance]);
    node.ticks(5);
    assert_eq!((node.record.phase, node.took("final-snapshot")), (Phase::Releasing, 0));
    node.later(601);
    assert_eq!(node.code(), "not-released");
    assert!(node.record.work_at.is_some() && node.took("hand-over") == 0);
    node.ec2.detach_by_hand(&id);
    node.until(Phase::Running);
    node.assert_whole();
}

#[test]
fn a_failed_final_snapshot_of_a_data_volume_is_deleted_and_taken_again() {
    let mut node = running(SNAPSHOT);
    let id = node.volume(DEVICE);
    node.ec2.failing.insert(id.clone());
    node.interrupt();
    node.until_blocked("snapshot-failed");
    node.ticks(8);
    let failed = node.ec2.snapshots.values().filter(|it| it.state == SnapshotState::Error).count();
    assert!(failed <= 1, "each is deleted before the next: {failed}");
    assert_eq!((node.record.phase, node.took("launch")), (Phase::Capturing, 1));
    node.ec2.failing.clear();
    node.until(Phase::Running);
    node.assert_whole();
    assert!(node.ec2.snapshots.values().all(|it| it.state == SnapshotState::Completed));
}

#[test]
fn a_final_snapshot_that_vanishes_is_taken_again_while_its_volume_is_there() {
    let mut node = running(SNAPSHOT);
    node.ec2.slow = true;
    node.interrupt();
    node.until_it("taken", |node| node.took("final-snapshot") == 3);
    let gone = node.at(DEVICE).last.as_ref().unwrap().snapshot_id.clone().unwrap();
    node.ec2.snapshots.remove(&gone);
    node.ticks(3);
    assert_eq!(node.took("final-snapshot"), 3, "a read may lag");
    node.later(601);
    node.ticks(2);
    assert_eq!(node.took("final-snapshot"), 4);
    node.ec2.slow = false;
    node.until(Phase::Running);
    node.assert_whole();
}

#[test]
fn what_carries_the_final_key_of_a_data_volume_counts_only_if_it_is_its_final_snapshot() {
    let spoilt: [fn(&mut SnapshotFacts); 6] = [
        |it| it.started_at = at(0),
        |it| it.own = false,
        |it| it.volume = VolumeId::new("vol-x"),
        |it| drop(it.tags.insert("perennial:cycle".into(), "9".into())),
        |it| drop(it.tags.insert("perennial:purpose".into(), "periodic".into())),
        |it| drop(it.tags.insert("perennial:life".into(), "life-0".into())),
    ];
    for (n, spoil) in spoilt.into_iter().map(Some).chain([None]).enumerate() {
        let mut node = running(SNAPSHOT);
        node.faults = vec![("final-snapshot", Fault::None), ("final-snapshot", Fault::DiesAfter)];
        node.interrupt();
        node.until_it("died", |node| node.took("final-snapshot") == 2);
        let unheard = node.ec2.snapshots.values_mut().find(|it| it.tags[TAG_DEVICE] == DEVICE).unwrap();
        let id = unheard.id.clone();
        if let Some(spoil) = spoil {
            spoil(unheard);
        }
        node.ticks(2);
        let taken = node.at(DEVICE).last.clone().unwrap();
        assert_eq!(taken.snapshot_id == Some(id), spoil.is_none(), "{n}: {}", node.story());
        assert_eq!(taken.attempt, if spoil.is_none() { 1 } else { 2 });
    }
}

#[test]
fn a_final_snapshot_of_an_earlier_rest_is_not_taken_for_that_of_now() {
    let mut node = Living::running(REATTACH);
    node.faults = vec![("launch", Fault::Refused(Class::Terminal))];
    node.interrupt();
    node.until_blocked("launch-refused");
    // It is captured for a rest that begins in the cycle of the launch, and so under that cycle's key.
    node.wants(DesiredState::Paused);
    node.until(Phase::Paused);
    let (cycle, first) = (node.record.cycle, node.at(DEVICE).point().cloned().unwrap());
    node.wants(DesiredState::Running);
    node.until(Phase::Attaching);
    // The guest writes, and the instance ends, before anybody has seen the volume attached.
    node.ec2.settle();
    node.write();
    node.interrupt();
    node.wants(DesiredState::Paused);
    node.until(Phase::Capturing);
    assert_eq!(node.record.cycle, cycle);
    node.until(Phase::Paused);
    assert_ne!(node.at(DEVICE).point(), Some(&first), "{}", node.story());
    let id = node.volume(DEVICE);
    node.ticks(3);
    node.delete_by_hand(&id);
    node.wants(DesiredState::Running);
    node.until(Phase::Running);
    node.assert_whole();
}

/// A node whose launch is answered to nobody, and whose instance ends before anybody sees it.
fn unseen(keeps: Keeps, change: impl FnOnce(&mut Living)) -> Living {
    let mut node = Living::new(keeps);
    change(&mut node);
    node.faults = vec![("launch", Fault::DiesAfter)];
    node.until_it("launched", |node| node.took("launch") == 1);
    node.ec2.settle();
    node.ec2.settle();
    node.write();
    node.interrupt();
    node.ec2.settle();
    node
}

#[test]
fn the_volumes_of_an_instance_that_nobody_saw_are_found_by_their_key() {
    for keeps in every_way() {
        for is_shown in [true, false] {
            let mut node = unseen(keeps, |_| {});
            if !is_shown {
                node.ec2.instances.clear();
                // The read by its token shows nothing, and what it made is all there is.
                node.faults = vec![("launch", Fault::Refused(Class::TokenSpent))];
            }
            node.until(Phase::Running);
            assert_eq!(node.record.data.len(), 1, "{keeps:?} {is_shown}: {}", node.story());
            node.assert_whole();
            node.secure();
            node.ticks(10);
            node.assert_whole();
            assert!(node.record.data_known);
        }
    }
}

#[test]
fn the_volumes_of_an_instance_that_was_seen_only_starting_are_found_by_their_key() {
    for keeps in every_way() {
        let mut node = Living::new(keeps);
        node.until_it("launched", |node| node.record.instance.is_some());
        node.ec2.settle();
        node.write();
        node.interrupt();
        node.comes_back();
        node.assert_whole();
        assert_eq!(node.record.data.len(), 1);
    }
}

#[test]
fn no_blank_volume_takes_the_place_of_one_that_holds_data() {
    // Whatever the record says of the template's word, a launch that asks for a blank volume made no successor.
    for keeps in every_way() {
        let mut node = running(keeps);
        node.record.data_known = false;
        let id = node.volume(DEVICE);
        node.interrupt();
        node.comes_back();
        node.assert_whole();
        node.secure();
        node.ticks(10);
        node.assert_whole();
        let is_kept = keeps.mode == Some(DataMode::Reattach);
        assert_eq!(node.volume(DEVICE) == id, is_kept, "{keeps:?}: {}", node.story());
    }
}

#[test]
fn a_blank_volume_that_a_launch_made_all_the_same_is_no_successor() {
    for keeps in every_way().filter(|keeps| keeps.mode == Some(DataMode::Reattach)) {
        let mut node = running(keeps);
        let id = node.volume(DEVICE);
        node.interrupt();
        node.until_it("launched", |node| {
            node.record.phase == Phase::Launching && node.record.instance.is_some()
        });
        // With the key of the launch, as all that it makes, but of nobody's bytes.
        let tags = node.launch().volume_tags.clone();
        let blank = node.ec2.attach_by_hand(DEVICE, tags);
        node.until_blocked("device-taken");
        assert_eq!(node.record.data.iter().filter(|it| it.volume_id == id).count(), 1, "{keeps:?}");
        let needless = Superseded::DataVolume(id.clone());
        assert!(!node.record.superseded.contains(&needless), "{}", node.story());
        node.ec2.detach_by_hand(&blank);
        node.until(Phase::Running);
        node.assert_whole();
        assert_eq!(node.volume(DEVICE), id);
    }
}

#[test]
fn the_root_of_an_unseen_instance_is_no_candidate_for_a_device() {
    for mode in [DataMode::Reattach, DataMode::Snapshot] {
        let mut node = unseen(Keeps { mode: Some(mode), root: false, network: false }, |node| {
            let root =
                Device { device_name: ROOT.into(), delete_on_termination: Some(false), ..Device::default() };
            node.ec2.devices = vec![root, Device { size_gib: None, ..node.ec2.devices[0].clone() }];
        });
        node.written.remove(ROOT);
        node.until_it("known", |node| !node.record.data.is_empty() || node.code() == "data-unknown");
        assert_ne!(node.code(), "data-unknown", "{}", node.story());
        node.until(Phase::Running);
        node.assert_whole();
        assert_eq!(node.record.data.len(), 1);
    }
}

#[test]
fn volumes_of_an_unseen_launch_that_fit_several_devices_wait_for_the_operators_word() {
    for keeps in every_way() {
        let mut node = unseen(keeps, |node| {
            let mut other = node.ec2.devices[0].clone();
            other.device_name = "/dev/sdg".into();
            node.ec2.devices.push(other);
        });
        node.until_blocked("data-unknown");
        let told = node.record.blocked.clone().unwrap();
        assert_eq!((node.record.phase, node.took("launch")), (Phase::Releasing, 1));
        assert!(told.remedy.contains(&format!("{TAG_DEVICE} = {DEVICE}")), "{}", told.remedy);
        let right =
            node.ec2.volumes.values().find(|it| node.ec2.bytes[it.id.as_str()] == node.written["/dev/sdg"]);
        let (right, left) = (right.unwrap().id.clone(), told.message);
        assert!(left.contains(right.as_str()), "{left}");
        // It is the other device's that the operator tells.
        node.ec2.volumes.get_mut(&right).unwrap().tags.insert(TAG_DEVICE.into(), "/dev/sdg".into());
        node.until(Phase::Running);
        node.assert_whole();
        assert_eq!(node.volume("/dev/sdg") == right, keeps.mode == Some(DataMode::Reattach), "{keeps:?}");
    }
}

#[test]
fn a_launch_that_came_to_nothing_leaves_the_template_its_word() {
    let mut node = Living::new(Keeps { root: false, ..REATTACH });
    node.until_it("launched", |node| node.record.instance.is_some());
    node.interrupt();
    node.ec2.last_mut().volumes.clear();
    node.ec2.volumes.clear();
    node.comes_back();
    assert_eq!(node.record.data.len(), 1, "{}", node.story());
}

#[test]
fn a_volume_that_is_taken_away_while_it_is_to_be_captured_leaves_and_the_others_go_on() {
    let mut node = running(SNAPSHOT);
    let id = node.volume("/dev/sdg");
    node.faults = vec![("final-snapshot", Fault::Refused(Class::NotYet))];
    node.interrupt();
    node.until(Phase::Capturing);
    let volume = node.ec2.volumes.get_mut(&id).unwrap();
    (volume.state, volume.attached_to) = (VolumeState::InUse, vec![InstanceId::new("i-9")]);
    node.written.remove("/dev/sdg");
    node.until(Phase::Running);
    assert_eq!((node.record.data.len(), node.took("hand-over")), (1, 1));
    node.assert_whole();
}

#[test]
fn a_lost_root_does_not_make_the_node_lose_sight_of_its_data_volumes() {
    let mut node = Living::new(REATTACH);
    node.until_it("launched", |node| node.record.instance.is_some());
    node.ec2.settle();
    node.write();
    let root = node.record.root.as_ref().map(|root| root.volume_id.clone());
    let root = root.unwrap_or_else(|| node.ec2.living().volumes[0].volume.clone());
    let instance = node.record.instance.as_ref().unwrap().id.clone();
    node.interrupt();
    node.ec2.settle();
    node.delete_by_hand(&root);
    // The data volume takes its time to be let go of.
    let id = node.ec2.volumes.keys().next().unwrap().clone();
    let volume = node.ec2.volumes.get_mut(&id).unwrap();
    (volume.state, volume.attached_to) = (VolumeState::InUse, vec![instance]);
    node.later(601);
    node.later(601);
    node.ticks(3);
    assert_eq!((node.took("hand-over"), node.record.phase), (0, Phase::Releasing), "{}", node.story());
    node.ec2.detach_by_hand(&id);
    node.until_blocked("data-missing");
    assert_eq!((node.volume(DEVICE), node.record.phase), (id, Phase::Launching));
}

#[test]
fn a_volume_that_grew_until_the_last_moment_comes_back_as_large() {
    for keeps in every_way().filter(|keeps| keeps.mode == Some(DataMode::Snapshot)) {
        let mut node = running(keeps);
        node.faults = vec![("final-snapshot", Fault::Refused(Class::NotYet)); 3];
        node.interrupt();
        node.until(Phase::Capturing);
        let id = node.volume(DEVICE);
        node.ec2.volumes.get_mut(&id).unwrap().shape.size_gib = 99;
        node.ec2.slow = true;
        let is_taken =
            |node: &Living| node.at(DEVICE).last.as_ref().is_some_and(|it| it.snapshot_id.is_some());
        node.until_it("taken", is_taken);
        // Nobody can look it up any more.
        node.delete_by_hand(&id);
        node.ec2.slow = false;
        node.until(Phase::Running);
        let asked = node.launch().devices.iter().find(|it| it.device_name == DEVICE).unwrap();
        assert_eq!(asked.size_gib, Some(99), "{}", node.story());
    }
}

#[test]
fn of_two_volumes_for_one_device_the_one_that_was_detached_leaves() {
    for turned in [false, true] {
        let mut node = running(REATTACH);
        let old = node.volume(DEVICE);
        node.ec2.detach_by_hand(&old);
        let new = node.ec2.attach_by_hand(DEVICE, Tags::new());
        node.tick();
        assert_eq!(node.record.data.len(), 3);
        if turned {
            node.record.data.reverse();
        }
        node.write();
        node.interrupt();
        node.comes_back();
        node.assert_whole();
        assert_eq!((node.volume(DEVICE), node.record.data.len()), (new, 2));
        assert!(node.ec2.volumes.contains_key(&old));
    }
}

#[test]
fn a_volume_that_the_tick_has_not_tagged_yet_is_tagged_before_its_node_goes_on() {
    for keeps in every_way() {
        let mut node = Living::running(keeps);
        node.tick = false;
        let id = node.ec2.attach_by_hand("/dev/sdg", Tags::new());
        node.tick();
        node.write();
        node.interrupt();
        node.ticks(5);
        assert_eq!(
            (node.record.phase, node.took("adopt-volume")),
            (Phase::Releasing, 0),
            "no rights without"
        );
        node.tick = true;
        node.comes_back();
        node.assert_whole();
        assert!(node.ec2.volumes.contains_key(&id));
    }
}

#[test]
fn a_volume_that_is_deleted_before_it_was_tagged_is_not_waited_for_without_end() {
    let mut node = Living::running(REATTACH);
    node.tick = false;
    let id = node.ec2.attach_by_hand("/dev/sdg", Tags::new());
    node.tick();
    node.interrupt();
    node.ec2.settle();
    node.delete_by_hand(&id);
    node.tick = true;
    node.until_blocked("data-missing");
    assert_eq!(
        node.record.phase,
        Phase::Launching,
        "where the operator can say what is to be: {}",
        node.story()
    );
}

#[test]
fn a_termination_names_every_volume_that_must_outlive_it() {
    for keeps in every_way() {
        let mut node = running(keeps);
        let mut kept = vec![node.volume(DEVICE), node.volume("/dev/sdg")];
        if keeps.root {
            kept.insert(0, node.record.root.as_ref().unwrap().volume_id.clone());
        }
        node.wants(DesiredState::Paused);
        node.until(Phase::Paused);
        let Some(Step::Terminate(termination)) = node.steps.iter().find(|it| it.name() == "terminate") else {
            panic!("{}", node.story())
        };
        assert_eq!(termination.volumes, kept);
    }
}

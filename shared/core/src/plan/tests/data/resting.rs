//! Paused, deallocated, purged, released: what is captured for the rest, what stays, and what a node is resumed from.

use super::account::{DEVICE, ROOT, names};
use super::node::{Keeps, Living, REATTACH, every_way};
use super::*;
use crate::config::Retained;

fn running(keeps: Keeps) -> Living {
    let mut node = Living::running(keeps);
    node.ec2.attach_by_hand("/dev/sdg", Tags::new());
    node.ticks(2);
    node.write();
    node
}

fn rests(mut node: Living, goal: DesiredState) -> Living {
    node.wants(goal);
    node.until(if goal == DesiredState::Paused { Phase::Paused } else { Phase::Deallocated });
    node.ticks(5);
    node
}

const RESTS: [DesiredState; 2] = [DesiredState::Paused, DesiredState::Deallocated];

#[test]
fn a_node_that_rests_has_every_byte_twice_and_comes_back_with_all_of_them() {
    for keeps in every_way() {
        for goal in RESTS {
            let mut node = rests(running(keeps), goal);
            for device in [DEVICE, "/dev/sdg"] {
                let known = node.at(device);
                let point = known.point().expect("a final snapshot").as_str();
                assert_eq!(node.ec2.bytes[point], node.written[device]);
                assert_eq!(
                    node.ec2.bytes[known.volume_id.as_str()],
                    node.written[device],
                    "the volume stays"
                );
            }
            let before = node.ec2.volumes.clone();
            node.later(40_000);
            assert_eq!(node.ec2.volumes, before, "{keeps:?} {goal:?}");
            if !keeps.root {
                node.written.remove(ROOT);
            }
            node.wants(DesiredState::Running);
            node.until(Phase::Running);
            node.assert_whole();
        }
    }
}

#[test]
fn whatever_goes_while_a_node_is_paused_it_comes_back_whole_from_what_is_left() {
    for keeps in every_way() {
        for (gone, stays) in [("vol-", "snap-"), ("snap-", "vol-")] {
            for device in [DEVICE, "/dev/sdg"] {
                let mut node = rests(running(keeps), DesiredState::Paused);
                let (id, point) = (node.volume(device), node.at(device).point().cloned().unwrap());
                if gone == "vol-" {
                    node.delete_by_hand(&id);
                } else {
                    node.ec2.snapshots.remove(&point);
                    node.later(301);
                    node.later(601);
                    node.ticks(5);
                    let again = node.at(device).point().expect("taken again");
                    assert_ne!(again, &point);
                }
                node.ticks(5);
                if !keeps.root {
                    node.written.remove(ROOT);
                }
                node.wants(DesiredState::Running);
                node.until(Phase::Running);
                node.assert_whole();
                assert_eq!(node.code(), "", "{keeps:?} {device} of {stays}");
                node.secure();
                node.ticks(10);
                assert_eq!(node.record.superseded, []);
                node.assert_whole();
            }
        }
    }
}

#[test]
fn a_volume_deleted_while_deallocated_comes_back_too() {
    for keeps in every_way() {
        let mut node = rests(running(keeps), DesiredState::Deallocated);
        let id = node.volume(DEVICE);
        node.delete_by_hand(&id);
        node.later(5000);
        if !keeps.root {
            node.written.remove(ROOT);
        }
        node.wants(DesiredState::Running);
        node.until(Phase::Running);
        node.assert_whole();
        assert_eq!(node.at(DEVICE).former.last(), Some(&id));
    }
}

#[test]
fn a_volume_that_was_lost_before_it_was_captured_is_told_while_paused_and_does_not_keep_it_from_pausing() {
    for keeps in every_way() {
        let mut node = running(keeps);
        node.secure();
        let id = node.volume(DEVICE);
        node.interrupt();
        node.wants(DesiredState::Paused);
        node.ec2.settle();
        node.delete_by_hand(&id);
        node.written.remove(DEVICE);
        node.until_blocked("data-missing");
        assert_eq!((node.record.phase, node.took("prune-snapshot")), (Phase::Paused, 0));
        node.wants(DesiredState::Deallocated);
        node.until(Phase::Deallocated);
        node.ticks(3);
        assert_eq!(node.code(), "", "a node that is given up waits for nobody");
        assert_eq!(node.took("prune-snapshot"), 0, "something older may be all there is");
        node.wants(DesiredState::Running);
        node.until_blocked("data-missing");
        assert_eq!(node.record.phase, Phase::Launching);
    }
}

#[test]
fn older_points_go_only_once_every_line_has_its_newest() {
    for keeps in every_way() {
        let mut node = running(keeps);
        node.secure();
        let older: Vec<SnapshotId> = node.ec2.snapshots.keys().cloned().collect();
        assert_eq!(older.len(), 2 + usize::from(keeps.root));
        node.write();
        let id = node.volume("/dev/sdg");
        node.wants(DesiredState::Paused);
        node.ec2.failing.insert(id);
        node.ticks(20);
        let is_there = |node: &Living| older.iter().all(|id| node.ec2.snapshots.contains_key(id));
        assert!(is_there(&node), "{keeps:?}: {}", node.story());
        node.ec2.failing.clear();
        node.until(Phase::Paused);
        node.ticks(5);
        assert!(older.iter().all(|id| !node.ec2.snapshots.contains_key(id)), "{}", node.story());
        let kept = node.ec2.snapshots.len();
        assert_eq!(kept, 2 + usize::from(keeps.root), "of each line the final one stays");
    }
}

#[test]
fn a_node_paused_twice_keeps_only_what_the_second_pause_needs() {
    for keeps in every_way() {
        let mut node = rests(running(keeps), DesiredState::Paused);
        for _ in 0..3 {
            if !keeps.root {
                node.written.remove(ROOT);
            }
            node.wants(DesiredState::Running);
            node.until(Phase::Running);
            node.assert_whole();
            node.write();
            node = rests(node, DesiredState::Paused);
        }
        let finals = node.ec2.snapshots.len();
        assert_eq!(finals, 2 + usize::from(keeps.root), "{keeps:?}: {}", node.story());
        for device in [DEVICE, "/dev/sdg"] {
            assert_eq!(node.ec2.bytes[node.at(device).point().unwrap().as_str()], node.written[device]);
        }
    }
}

#[test]
fn a_point_that_the_operator_chose_is_not_tidied_away() {
    let mut node = rests(running(REATTACH), DesiredState::Paused);
    node.wants(DesiredState::Running);
    node.until(Phase::Running);
    // Superseded, and not yet cleaned away.
    let superseded = node.record.superseded.iter().filter_map(|it| match it {
        Superseded::DataSnapshot(id) => Some(id.clone()),
        _ => None,
    });
    let id = node.volume(DEVICE);
    let chosen =
        superseded.into_iter().find(|it| node.ec2.snapshots[it].volume == id).expect("one of its line");
    node.wants(DesiredState::Paused);
    node.until_it("ended", |node| node.record.phase == Phase::Releasing);
    node.ec2.settle();
    node.delete_by_hand(&id);
    node.written.remove(DEVICE);
    node.until_blocked("data-missing");
    assert_eq!(node.record.phase, Phase::Paused);
    let told = node.record.blocked.as_ref().unwrap().message.clone();
    assert!(told.contains(chosen.as_str()), "{told}");
    node.edit(|config| config.restore_from = Some(chosen.clone()));
    node.ticks(20);
    assert!(node.ec2.snapshots.contains_key(&chosen), "{}", node.story());
    node.wants(DesiredState::Running);
    node.written.insert(DEVICE.into(), node.ec2.bytes[chosen.as_str()]);
    node.until(Phase::Running);
    node.assert_whole();
}

#[test]
fn a_node_whose_data_volume_cannot_be_captured_can_be_given_up() {
    for keeps in every_way() {
        let mut node = running(keeps);
        node.faults = vec![("final-snapshot", Fault::Refused(Class::Terminal)); 400];
        node.wants(DesiredState::Deallocated);
        node.until(Phase::Deallocated);
        assert!(node.record.data.iter().all(|it| node.ec2.volumes.contains_key(&it.volume_id)), "{keeps:?}");
        node.faults.clear();
        if !keeps.root {
            node.written.remove(ROOT);
        }
        node.wants(DesiredState::Running);
        node.until(Phase::Running);
        node.assert_whole();
    }
}

#[test]
fn at_the_end_of_retention_what_was_made_goes_and_what_was_adopted_is_handed_over() {
    for keeps in every_way() {
        for delete in [vec![], vec![Retained::Volumes], Retained::ALL.to_vec()] {
            let mut node = rests(running(keeps), DesiredState::Deallocated);
            let (made, adopted) = (node.volume(DEVICE), node.volume("/dev/sdg"));
            let chosen = delete.clone();
            node.edit(|config| config.retention.delete = chosen);
            node.later(97 * 3600);
            node.until(Phase::Gone);
            let goes = delete.contains(&Retained::Volumes);
            assert_eq!(node.ec2.volumes.contains_key(&made), !goes, "{keeps:?} {delete:?}");
            assert!(node.ec2.volumes.contains_key(&adopted));
            let ours = node.ec2.volumes.values().map(|it| &it.tags);
            let mut ours = ours.chain(node.ec2.snapshots.values().map(|it| &it.tags));
            assert!(ours.all(|tags| !names().owns(tags)), "{}", node.story());
            assert!(node.record.data.is_empty() && node.record.left_alone.is_empty());
        }
    }
}

#[test]
fn a_released_node_leaves_every_volume_where_it_is() {
    for keeps in every_way() {
        for phase in [Phase::Running, Phase::Paused] {
            let mut node = running(keeps);
            if phase == Phase::Paused {
                node = rests(node, DesiredState::Paused);
            }
            let before: Vec<VolumeId> = node.ec2.volumes.keys().cloned().collect();
            node.wants(DesiredState::Released);
            node.until(Phase::Gone);
            assert_eq!(node.ec2.volumes.keys().cloned().collect::<Vec<_>>(), before);
            assert!(node.ec2.volumes.values().all(|it| !names().owns(&it.tags)));
        }
    }
}

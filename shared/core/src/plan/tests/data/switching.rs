//! Data persistence taken out and put in, wherever the node stands.

use super::account::{DEVICE, ROOT};
use super::node::{Keeps, Living, REATTACH, every_way, policy, root_policy};
use super::*;
use crate::config::DataMode;

fn running(keeps: Keeps) -> Living {
    let mut node = Living::running(keeps);
    node.ec2.attach_by_hand("/dev/sdg", Tags::new());
    node.ticks(2);
    node.write();
    node
}

fn take_out(node: &mut Living) {
    node.written.retain(|device, _| device == ROOT);
    node.edit(|config| config.persist.data = None);
}

#[test]
fn taken_out_every_volume_becomes_the_operators_and_nothing_is_deleted() {
    for keeps in every_way() {
        for phase in [Phase::Running, Phase::Releasing, Phase::Paused, Phase::Deallocated] {
            let mut node = running(keeps);
            let ids = [node.volume(DEVICE), node.volume("/dev/sdg")];
            match phase {
                Phase::Paused => node.wants(DesiredState::Paused),
                Phase::Deallocated => node.wants(DesiredState::Deallocated),
                Phase::Releasing => node.interrupt(),
                _ => {}
            }
            if phase.is_resting() {
                node.until(phase);
                node.ticks(3);
            }
            let points: Vec<SnapshotId> =
                node.record.data.iter().filter_map(|it| it.point().cloned()).collect();
            take_out(&mut node);
            node.ticks(3);
            if phase == Phase::Paused {
                assert_eq!((node.record.data.len(), node.took("hand-over")), (0, 2), "at once");
            }
            if phase.is_resting() {
                if !keeps.root {
                    node.written.remove(ROOT);
                }
                node.wants(DesiredState::Running);
            }
            node.until(Phase::Running);
            node.ticks(5);
            node.assert_whole();
            assert_eq!(node.record.data, [], "{keeps:?} {phase}: {}", node.story());
            for id in &ids {
                let volume = &node.ec2.volumes[id];
                assert!(volume.tags.keys().all(|key| !key.starts_with("perennial:")), "{phase}");
            }
            assert!(points.iter().all(|id| node.ec2.snapshots.contains_key(id)), "kept until the life ends");
            node.secure();
            node.ticks(10);
            assert_eq!((node.record.superseded.as_slice(), node.record.work_at), (&[][..], None));
        }
    }
}

#[test]
fn put_in_what_is_there_comes_along_from_then_on() {
    for keeps in every_way() {
        let mut node = Living::running(Keeps { mode: None, ..keeps });
        node.ec2.attach_by_hand("/dev/sdg", Tags::new());
        node.edit(|config| config.persist.data = keeps.mode.map(policy));
        node.ticks(2);
        assert_eq!(node.record.data.len(), 2, "{keeps:?}");
        assert!(node.ec2.living().volumes.iter().all(|it| it.device == ROOT || !it.delete_on_termination));
        assert!(!node.at(DEVICE).adopted && node.at("/dev/sdg").adopted);
        node.write();
        node.interrupt();
        node.comes_back();
        node.assert_whole();
    }
}

#[test]
fn taken_out_and_put_in_again_what_was_made_is_adopted() {
    for keeps in every_way() {
        let mut node = running(keeps);
        let id = node.volume(DEVICE);
        take_out(&mut node);
        node.ticks(3);
        node.edit(|config| config.persist.data = keeps.mode.map(policy));
        node.ticks(3);
        assert!(node.at(DEVICE).adopted && node.volume(DEVICE) == id, "{}", node.story());
        node.write();
        node.interrupt();
        node.comes_back();
        node.assert_whole();
        node.secure();
        node.ticks(10);
        assert!(node.ec2.volumes.contains_key(&id), "{keeps:?}: it is the operator's now");
    }
}

#[test]
fn the_mark_of_a_volume_left_alone_goes_with_data_persistence() {
    let mut node = running(REATTACH);
    let foreign = Tags::from([("perennial:deployment".into(), "test".into())]);
    node.ec2.attach_by_hand("/dev/sdh", foreign);
    node.until_blocked("volume-left-alone");
    take_out(&mut node);
    node.ticks(4);
    assert_eq!((node.code(), node.record.left_alone.len()), ("", 0));
}

#[test]
fn what_was_superseded_is_kept_when_no_snapshot_will_prove_it_needless_any_more() {
    let mut node = running(Keeps { mode: Some(DataMode::Snapshot), ..REATTACH });
    node.interrupt();
    node.comes_back();
    let kept: Vec<Superseded> = node.record.superseded.iter().filter(|it| it.is_data()).cloned().collect();
    assert_eq!(kept.len(), 3);
    take_out(&mut node);
    node.ticks(3);
    node.secure();
    node.ticks(10);
    for needless in kept {
        let resource = needless.resource();
        assert!(node.record.aside.contains(&resource), "{resource}: {}", node.story());
    }
    assert_eq!(node.record.superseded, []);
}

#[test]
fn root_persistence_comes_and_goes_without_a_word_to_the_data_volumes() {
    for keeps in every_way() {
        let mut node = running(keeps);
        for _ in 0..2 {
            let is_kept = node.record.config().persist.root.is_some();
            node.edit(|config| config.persist.root = (!is_kept).then(root_policy));
            node.written.remove(ROOT);
            node.ticks(2);
            node.interrupt();
            node.comes_back();
            node.assert_whole();
            node.write();
            node.secure();
            node.ticks(10);
        }
        assert_eq!(node.record.data.len(), 2, "{keeps:?}");
    }
}

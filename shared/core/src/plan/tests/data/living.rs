//! While there is an instance: which volumes come along, which leave, and which are left alone.

use super::account::{DEVICE, Ec2, ROOT};
use super::node::{Keeps, Living, REATTACH, every_way};
use super::*;
use crate::ids::Resource;

#[test]
fn an_interruption_brings_every_byte_back_at_its_device() {
    for keeps in every_way() {
        let mut node = Living::running(keeps);
        node.ec2.attach_by_hand("/dev/sdg", Tags::new());
        node.ticks(2);
        node.write();
        for _ in 0..3 {
            node.interrupt();
            node.comes_back();
            node.assert_whole();
            node.secure();
            node.ticks(10);
            node.write();
        }
        assert_eq!(node.record.superseded, [], "{keeps:?}\n{}", node.story());
        assert_eq!(node.record.data.len(), 2);
        assert_eq!(node.at(DEVICE).attempts, 0);
        assert!(node.record.work_at.is_none(), "and all is well");
    }
}

#[test]
fn a_volume_attached_by_hand_comes_along_at_once_and_is_tagged_by_the_tick_alone() {
    for keeps in every_way() {
        let mut node = Living::running(keeps);
        node.tick = false;
        let id = node.ec2.attach_by_hand("/dev/sdg", Tags::from([("team".into(), "db".into())]));
        node.ticks(5);
        assert_eq!(node.took("adopt-volume"), 0, "no event has the right to");
        let known = node.at("/dev/sdg");
        assert_eq!((&known.volume_id, known.adopted, known.untagged), (&id, true, true));
        assert_eq!(known.tags, Tags::from([("team".into(), "db".into())]));
        assert!(node.record.work_at.is_some(), "the tick comes by");
        node.tick = true;
        node.tick();
        assert_eq!(node.took("adopt-volume"), 1);
        assert!(!node.at("/dev/sdg").untagged && node.record.work_at.is_none());
        let tags = &node.ec2.volumes[&id].tags;
        assert_eq!(tags["perennial:purpose"], "adopted");
        assert_eq!((tags.get("Name"), tags["team"].as_str()), (None, "db"), "its name is the operator's");
    }
}

#[test]
fn an_adopted_volume_outlives_snapshot_mode_and_the_life_of_its_node() {
    for keeps in every_way() {
        let mut node = Living::running(keeps);
        let id = node.ec2.attach_by_hand("/dev/sdg", Tags::new());
        node.ticks(2);
        node.write();
        node.interrupt();
        node.comes_back();
        node.assert_whole();
        node.secure();
        node.ticks(10);
        assert!(node.ec2.volumes.contains_key(&id), "{keeps:?}: it is never deleted");
        node.wants(DesiredState::Deallocated);
        node.until(Phase::Deallocated);
        node.later(97 * 3600);
        node.until(Phase::Gone);
        assert!(node.ec2.volumes[&id].tags.keys().all(|key| !key.starts_with("perennial:")));
        assert_eq!(node.ec2.volumes.len(), 1, "and it is all there is: {:?}", node.ec2.volumes);
        assert!(node.record.handed_over.contains(&Resource::Volume(id).to_string()));
    }
}

#[test]
fn the_end_of_an_instance_takes_no_volume_off_the_node() {
    let mut node = Living::running(REATTACH);
    let known = node.volume(DEVICE);
    node.interrupt();
    node.tick();
    assert_ne!(node.record.phase, Phase::Running);
    assert_eq!(node.volume(DEVICE), known);
    // Neither does a read that lags and shows one that is starting up without anything.
    let mut node = Living::running(REATTACH);
    let volumes = std::mem::take(&mut node.ec2.living_mut().volumes);
    node.tick();
    node.ec2.living_mut().volumes = volumes;
    node.ticks(3);
    assert_eq!(node.volume(DEVICE), known);
    assert_eq!(node.took("hand-over"), 0);
    assert_eq!(node.at(DEVICE).detached_since, None);
}

#[test]
fn a_volume_leaves_when_two_reads_show_it_detached() {
    for keeps in every_way() {
        let mut node = Living::running(keeps);
        let id = node.volume(DEVICE);
        node.ec2.detach_by_hand(&id);
        node.tick();
        assert_eq!((node.took("hand-over"), node.volume(DEVICE)), (0, id.clone()), "one is not enough");
        assert!(node.record.work_at.is_some());
        node.ticks(2);
        assert_eq!((node.took("hand-over"), node.record.data.len()), (1, 0));
        assert!(node.ec2.volumes[&id].tags.keys().all(|key| !key.starts_with("perennial:")));
        node.written.remove(DEVICE);
        node.interrupt();
        node.comes_back();
        node.assert_whole();
        assert!(node.ec2.living().volumes.iter().all(|it| it.device == ROOT), "nor is another one made");
    }
}

#[test]
fn a_volume_that_only_the_instance_does_not_show_stays() {
    let mut node = Living::running(REATTACH);
    let attached = node.ec2.living().volumes.clone();
    node.ec2.living_mut().volumes.retain(|it| it.device == ROOT);
    node.ticks(20);
    assert_eq!(node.took("hand-over"), 0, "the volume's own read shows it there");
    node.ec2.living_mut().volumes = attached;
    node.ticks(3);
    assert_eq!((node.record.data.len(), node.record.work_at), (1, None));
}

#[test]
fn a_volume_deleted_by_hand_under_a_running_instance_leaves_once_that_is_sure() {
    let mut node = Living::running(REATTACH);
    let id = node.volume(DEVICE);
    node.delete_by_hand(&id);
    node.ticks(6);
    assert_eq!(node.record.data.len(), 1, "a read may lag");
    node.later(601);
    assert_eq!(node.record.data.len(), 0);
    assert!(node.says("it was detached and deleted by hand"));
    assert!(node.record.work_at.is_none());
}

#[test]
fn a_volume_keeps_its_place_under_the_name_it_was_last_attached_by() {
    let mut node = Living::running(REATTACH);
    let id = node.volume(DEVICE);
    let volumes = &mut node.ec2.living_mut().volumes;
    volumes.iter_mut().find(|it| it.volume == id).unwrap().device = "/dev/sdk".into();
    let bytes = node.written.remove(DEVICE).unwrap();
    node.written.insert("/dev/sdk".into(), bytes);
    node.tick();
    node.interrupt();
    node.comes_back();
    node.assert_whole();
}

#[test]
fn what_would_be_deleted_with_the_instance_is_kept_as_soon_as_it_is_known() {
    for keeps in every_way() {
        let mut node = Living::running(keeps);
        node.ec2.attach_by_hand("/dev/sdg", Tags::new());
        node.ec2.living_mut().volumes.last_mut().unwrap().delete_on_termination = true;
        node.tick();
        assert!(
            node.ec2.living().volumes.last().is_some_and(|it| !it.delete_on_termination),
            "{}",
            node.story()
        );
        // Turned on again by hand.
        node.ec2.living_mut().volumes.last_mut().unwrap().delete_on_termination = true;
        node.tick();
        assert!(node.ec2.living().volumes.last().is_some_and(|it| !it.delete_on_termination));
        node.write();
        node.interrupt();
        node.comes_back();
        node.assert_whole();
    }
}

#[test]
fn nobody_is_told_that_a_node_runs_before_its_volumes_are_read_back_as_kept() {
    // The template's word is not heard by an account that has none of its own.
    let mut node = Living::new(REATTACH);
    node.until(Phase::Launching);
    while node.ec2.instances.is_empty() {
        node.tick();
    }
    for volume in &mut node.ec2.living_mut().volumes {
        volume.delete_on_termination = true;
    }
    node.until(Phase::Running);
    let kept = node.steps.iter().filter_map(|step| match step {
        Step::KeepVolumes { devices, .. } => Some(devices.clone()),
        _ => None,
    });
    let kept: Vec<String> = kept.flatten().collect();
    assert_eq!(kept, [ROOT, DEVICE]);
    let told = node.told.iter().position(|line| line.contains("attaching → running")).unwrap();
    let last = node.told.iter().rposition(|line| line.contains("keep-volumes")).unwrap();
    assert!(last < told, "{}", node.story());
}

#[test]
fn a_volume_is_kept_before_a_stopped_or_noticed_instance_goes() {
    for keeps in every_way() {
        for stops in [false, true] {
            let mut node = Living::running(keeps);
            node.notify();
            node.ec2.attach_by_hand("/dev/sdg", Tags::new());
            let facts = node.ec2.living_mut();
            facts.volumes.last_mut().unwrap().delete_on_termination = true;
            if stops {
                facts.state = InstanceState::Stopped;
            }
            node.ec2.bytes.insert(node.ec2.living().volumes.last().unwrap().volume.to_string(), 77);
            node.written.insert("/dev/sdg".into(), 77);
            node.tick();
            if !stops {
                node.interrupt();
            } else if !keeps.root {
                node.written.remove(ROOT);
            }
            node.comes_back();
            node.assert_whole();
        }
    }
}

/// Why a volume must not be touched, its tags, and what else is to be known of it.
type Stranger = (&'static str, Tags, fn(&mut VolumeFacts));

/// How a volume on the instance can be one that the node must not touch.
fn strangers() -> Vec<Stranger> {
    let tag = |key: &str, value: &str| {
        let mut tags = tags(Purpose::Data, 1, "k");
        tags.insert(format!("perennial:{key}"), value.into());
        tags
    };
    vec![
        ("the deployment test", tag("deployment", "test"), |_| {}),
        ("the node web", tag("node", "web"), |_| {}),
        ("another life of db", tag("life", "life-0"), |_| {}),
        ("the tag perennial:key", Tags::from([("perennial:key".into(), "k".into())]), |_| {}),
        ("several instances", Tags::new(), |it| it.multi_attach = true),
        ("several instances", Tags::new(), |it| it.attached_to.push(InstanceId::new("i-9"))),
        ("a former volume", tags(Purpose::Root, 1, "of another launch"), |_| {}),
    ]
}

#[test]
fn what_may_be_somebody_elses_is_left_alone_and_told_and_holds_nothing_up() {
    for keeps in every_way() {
        for (why, tags, change) in strangers() {
            let mut node = Living::running(keeps);
            let id = node.ec2.attach_by_hand("/dev/sdg", tags.clone());
            change(node.ec2.volumes.get_mut(&id).unwrap());
            let as_it_was = node.ec2.volumes[&id].clone();
            node.ticks(2);
            assert_eq!((node.code(), node.record.data.len()), ("volume-left-alone", 1), "{why}");
            let told = &node.record.blocked.as_ref().unwrap().message;
            assert!(told.contains(why) && told.contains(id.as_str()), "{told}");
            assert_eq!(node.record.work_at, None, "nothing is waited for");
            assert_eq!(node.ec2.volumes[&id], as_it_was, "nothing was done to it");
            // The next one comes and is cleared up behind as ever.
            node.interrupt();
            node.comes_back();
            node.assert_whole();
            node.secure();
            node.ticks(10);
            assert_eq!((node.record.superseded.as_slice(), node.code()), (&[][..], ""), "{why}");
            assert!(node.ec2.volumes.contains_key(&id));
        }
    }
}

#[test]
fn the_mark_of_a_volume_left_alone_goes_with_it_and_with_nothing_else() {
    let mut node = Living::running(REATTACH);
    let foreign = Tags::from([("perennial:deployment".into(), "test".into())]);
    let id = node.ec2.attach_by_hand("/dev/sdg", foreign);
    node.ticks(2);
    let since = node.record.blocked.as_ref().unwrap().since;
    // Other steps succeed meanwhile.
    node.ec2.attach_by_hand("/dev/sdh", Tags::new());
    node.ticks(5);
    assert_eq!((node.took("adopt-volume"), node.record.data.len()), (1, 2));
    assert_eq!(node.record.blocked.as_ref().map(|it| it.since), Some(since), "told of once");
    let blocked = |node: &Living| node.record.outbox.iter().filter(|it| it.kind == Kind::NodeBlocked).count();
    assert_eq!(blocked(&node), 1);
    node.ec2.detach_by_hand(&id);
    node.ticks(2);
    assert_eq!(node.code(), "");
    assert!(node.record.left_alone.is_empty());
    assert!(node.record.outbox.iter().any(|it| it.kind == Kind::NodeUnblocked));
}

#[test]
fn a_volume_whose_device_name_is_the_roots_is_told_and_left_where_it_is() {
    for keeps in every_way() {
        let mut node = Living::running(keeps);
        let id = node.volume(DEVICE);
        node.ec2.living_mut().volumes.iter_mut().find(|it| it.volume == id).unwrap().device = "xvda".into();
        node.ticks(2);
        assert_eq!(node.code(), "volume-left-alone");
        node.written.remove(DEVICE);
        node.interrupt();
        node.comes_back();
        node.assert_whole();
        assert_eq!(node.code(), "volume-left-alone", "{}", node.story());
        let told = &node.record.blocked.as_ref().unwrap().message;
        assert!(told.contains("the root is at its device name"), "{told}");
        assert_eq!(node.took("attach-volume"), 0);
        node.secure();
        node.ticks(10);
        assert!(
            node.ec2.volumes.contains_key(&id),
            "{keeps:?}: it is never deleted for it\n{}",
            node.story()
        );
        assert_eq!(node.volume("xvda"), id);
    }
}

#[test]
fn a_volume_that_somebody_else_tagged_first_is_left_alone() {
    let mut node = Living::running(REATTACH);
    node.tick = false;
    let id = node.ec2.attach_by_hand("/dev/sdg", Tags::new());
    node.ticks(2);
    let tags = &mut node.ec2.volumes.get_mut(&id).unwrap().tags;
    tags.insert("perennial:deployment".into(), "test".into());
    node.tick = true;
    node.ticks(2);
    assert_eq!(node.record.data.len(), 1, "{}", node.story());
    assert_eq!((node.record.left_alone[0].volume_id.clone(), node.code()), (id, "volume-left-alone"));
}

#[test]
fn a_refused_adoption_keeps_nothing_else_waiting() {
    let mut node = Living::running(REATTACH);
    node.ec2.attach_by_hand("/dev/sdg", Tags::new());
    node.faults = vec![("adopt-volume", Fault::Refused(Class::Terminal))];
    node.tick();
    assert_eq!(node.code(), "adopt-refused");
    node.tick();
    assert_eq!(node.took("adopt-volume"), 1, "it is not tried again at once");
    node.ec2.living_mut().volumes[0].delete_on_termination = true;
    node.tick();
    assert!(!node.ec2.living().volumes[0].delete_on_termination, "the root is secured");
    node.later(301);
    assert_eq!((node.took("adopt-volume"), node.code()), (2, ""));
    assert!(node.record.work_at.is_none());
}

#[test]
fn a_volume_that_was_superseded_and_is_attached_by_hand_is_needless_no_longer() {
    let mut node = Living::running(REATTACH);
    let id = node.ec2.attach_by_hand("/dev/sdg", tags(Purpose::Data, 1, "k"));
    node.record.superseded.push(Superseded::DataVolume(id.clone()));
    node.ticks(2);
    assert_eq!((node.volume("/dev/sdg"), node.record.superseded.as_slice()), (id, &[][..]));
}

#[test]
fn without_data_persistence_no_volume_is_touched() {
    let mut node = Living::running(Keeps { mode: None, root: true, network: false });
    let before = node.ec2.volumes.clone();
    let id = node.ec2.attach_by_hand("/dev/sdg", Tags::new());
    node.ticks(3);
    assert_eq!((node.record.data.len(), node.took("adopt-volume"), node.took("keep-volumes")), (0, 0, 0));
    assert_eq!(Ec2::new().volumes.len() + before.len() + 1, node.ec2.volumes.len());
    assert_eq!(node.ec2.volumes[&id].tags, Tags::new());
}

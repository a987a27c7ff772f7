//! Every story with every call going wrong in every way: a step that is repeated does no harm.

use super::account::DEVICE;
use super::node::{Keeps, Living, every_way};
use super::*;
use crate::config::DataMode;

const FAULTS: [Fault; 6] = [
    Fault::DiesBefore,
    Fault::DiesAfter,
    Fault::Unheard,
    Fault::Refused(Class::NotYet),
    Fault::Refused(Class::Retry),
    Fault::Refused(Class::Terminal),
];

fn interrupted(node: &mut Living) {
    node.interrupt();
    node.comes_back();
}

fn paused(node: &mut Living) {
    node.wants(DesiredState::Paused);
    node.until(Phase::Paused);
    node.wants(DesiredState::Running);
    node.until(Phase::Running);
}

/// Paused, the volume deleted, resumed.
fn bereft(node: &mut Living) {
    node.wants(DesiredState::Paused);
    node.until(Phase::Paused);
    let id = node.volume(DEVICE);
    node.delete_by_hand(&id);
    node.wants(DesiredState::Running);
    node.until(Phase::Running);
}

/// Out of the zone that its volumes are in.
fn moved(node: &mut Living) {
    node.edit(|config| {
        config.launch.subnets = vec![SubnetId::new("subnet-2")];
        config.recycle += 1;
    });
    node.comes_back();
}

/// From one mode to the other.
fn switched(node: &mut Living) {
    let other = match node.record.config().persist.data.as_ref().map(|data| data.mode) {
        Some(DataMode::Reattach) => DataMode::Snapshot,
        Some(DataMode::Snapshot) | None => DataMode::Reattach,
    };
    node.edit(|config| config.persist.data = Some(super::node::policy(other)));
    node.interrupt();
    node.comes_back();
}

/// One story of a node that keeps this, with one fault at one call; `false` if it has no such call.
fn survives(keeps: Keeps, story: fn(&mut Living), n: usize, fault: Fault) -> bool {
    let mut node = Living::running(keeps);
    node.ec2.attach_by_hand("/dev/sdg", Tags::new());
    node.ticks(2);
    node.write();
    node.steps.clear();
    node.nth = Some((n, fault));
    story(&mut node);
    node.ticks(5);
    let (is_story, told) = (node.steps.len() > n, format!("{keeps:?} {n} {fault:?}"));
    if !keeps.root {
        node.written.remove(super::account::ROOT);
    }
    node.assert_whole();
    node.write();
    node.secure();
    node.ticks(30);
    node.assert_whole();
    assert_eq!(node.record.superseded, [], "{told}: {}", node.story());
    assert_eq!((node.code(), node.record.work_at), ("", None), "{told}: {}", node.story());
    assert_eq!(node.record.data.len(), 2, "{told}: {}", node.story());
    is_story
}

fn survives_everything(ways: impl Iterator<Item = Keeps>, story: fn(&mut Living)) {
    for keeps in ways {
        for fault in FAULTS {
            let mut n = 0;
            while survives(keeps, story, n, fault) {
                n += 1;
            }
            assert!(n > 1, "{keeps:?}: a story has steps");
        }
    }
}

#[test]
fn an_interruption_survives_every_fault_at_every_call() {
    survives_everything(every_way(), interrupted);
}

#[test]
fn a_pause_survives_every_fault_at_every_call() {
    survives_everything(every_way(), paused);
}

#[test]
fn a_volume_lost_while_paused_survives_every_fault_at_every_call() {
    survives_everything(every_way(), bereft);
}

#[test]
fn a_change_of_zone_survives_every_fault_at_every_call() {
    survives_everything(every_way().filter(|keeps| !keeps.network), moved);
}

#[test]
fn a_change_of_mode_survives_every_fault_at_every_call() {
    survives_everything(every_way(), switched);
}

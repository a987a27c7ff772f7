//! Walks through random orders of facts: reads that lag, calls that are lost, processes that die, instances that
//! end, and an operator who changes everything. What a guest wrote is never lost, and the node comes back.

use super::account::{ROOT, names};
use super::node::{Dice, Keeps, Living, every_way, policy};
use super::*;
use crate::config::DataMode;

/// The operator sees to a node that waits for a person.
fn mend(node: &mut Living) {
    match node.code() {
        "data-missing" => {
            // What is lost was deleted by hand, and nothing newer than this holds it.
            let message = node.record.blocked.as_ref().unwrap().message.clone();
            let device =
                node.written.keys().find(|device| message.contains(&format!("at {device} "))).cloned();
            let device = device.unwrap_or_else(|| ROOT.to_owned());
            let newest = message.split("Older ones: ").nth(1).and_then(|it| it.split(' ').next());
            node.written.remove(&device);
            match newest.filter(|it| it.starts_with("snap-")).map(str::to_owned) {
                Some(id) => {
                    node.edit(|config| config.restore_from = None);
                    node.edit(|config| config.restore_from = Some(SnapshotId::new(id)));
                }
                None => give_up_data(node),
            }
        }
        "device-taken" => {
            let message = node.record.blocked.as_ref().unwrap().message.clone();
            let taker = message.rsplit(' ').next().unwrap().to_owned();
            forget(node, &VolumeId::new(taker.clone()));
            node.ec2.detach_by_hand(&VolumeId::new(taker));
        }
        "attach-stalled" => node.ec2.hanging.clear(),
        _ => {}
    }
}

/// Nothing is left of a volume: the operator takes data persistence out, and with it everything there is.
fn give_up_data(node: &mut Living) {
    if node.record.data.is_empty() {
        node.edit(|config| config.persist.root = None);
        node.written.remove(ROOT);
    } else {
        let kept: Vec<String> = node.record.data.iter().map(|it| it.device_name.clone()).collect();
        node.written.retain(|device, _| !kept.contains(device));
        node.edit(|config| config.persist.data = None);
    }
}

/// A volume is the operator's own affair from now on.
fn forget(node: &mut Living, volume: &VolumeId) {
    let bytes = node.ec2.bytes.get(volume.as_str()).copied();
    node.written.retain(|_, is| Some(*is) != bytes);
}

fn lives(node: &Living) -> bool {
    node.ec2.instances.values().any(|it| !it.state.has_ended())
}

fn runs(node: &Living) -> bool {
    node.ec2.instances.values().any(|it| it.state == InstanceState::Running)
}

/// One thing that the operator or EC2 does; not every one is possible at any time.
fn act(node: &mut Living, dice: &mut Dice, keeps: Keeps) {
    match dice.roll(26) {
        0..=2 => node.write(),
        3..=5 if lives(node) => {
            if dice.roll(2) == 0 {
                // The guest writes before anybody has looked.
                node.ec2.settle();
                node.write();
            }
            node.interrupt();
        }
        6 if runs(node) => {
            node.notify();
            node.ticks(1 + dice.roll(3) as usize);
            if lives(node) {
                node.interrupt();
            }
        }
        7 if runs(node) => attach_by_hand(node, dice),
        8 if runs(node) && node.record.phase == Phase::Running => detach_by_hand(node, dice),
        9 => node.wants(DesiredState::Paused),
        10 => node.wants(DesiredState::Deallocated),
        11..=13 => node.wants(DesiredState::Running),
        14 if node.record.config().persist.data.is_some() => {
            let mode = [DataMode::Reattach, DataMode::Snapshot][dice.roll(2) as usize];
            node.edit(|config| config.persist.data = Some(policy(mode)));
        }
        15 if !keeps.network => {
            let subnets = [&["subnet-1"][..], &["subnet-2"], &["subnet-1", "subnet-2"]];
            let subnets = subnets[dice.roll(3) as usize];
            node.edit(|config| config.launch.subnets = subnets.iter().map(|id| SubnetId::new(*id)).collect());
        }
        16 => node.secure(),
        17 => node.ec2.volumes.values_mut().for_each(|volume| volume.shape.size_gib += 1),
        18 => node.edit(|config| config.recycle += 1),
        19 if dice.roll(2) == 0 => delete_by_hand(node, dice),
        20 => {
            let volumes: Vec<VolumeId> = node.ec2.volumes.keys().cloned().collect();
            if dice.roll(2) == 0 {
                node.ec2.hanging.extend(volumes.into_iter().take(4));
            } else {
                node.ec2.failing.extend(volumes);
            }
        }
        21 => {
            node.ec2.hanging.clear();
            node.ec2.failing.clear();
        }
        22 if runs(node) => node.ec2.living_mut().state = InstanceState::Stopping,
        23 if lives(node) && node.ec2.living().state == InstanceState::Stopped => {
            node.ec2.living_mut().state = InstanceState::Running;
        }
        24 if dice.roll(4) == 0 => {
            node.written.retain(|device, _| device == ROOT);
            node.edit(|config| config.persist.data = None);
        }
        25 if node.record.config().persist.data.is_none() => {
            node.edit(|config| config.persist.data = keeps.mode.map(policy));
        }
        _ => node.tick = !node.tick,
    }
}

fn attach_by_hand(node: &mut Living, dice: &mut Dice) {
    let device = ["/dev/sdg", "/dev/sdh"][dice.roll(2) as usize];
    let is_free = node.ec2.living().volumes.iter().all(|it| it.device != device);
    // What belongs there and is not there yet would be in its way: a story of its own.
    if is_free && node.record.data.iter().all(|it| it.device_name != device) {
        let foreign = Tags::from([("perennial:deployment".to_owned(), "test".to_owned())]);
        let is_foreign = dice.roll(4) == 0;
        node.ec2.attach_by_hand(device, if is_foreign { foreign } else { Tags::new() });
    }
}

fn detach_by_hand(node: &mut Living, dice: &mut Dice) {
    let others: Vec<_> = node.ec2.living().volumes.iter().filter(|it| it.device != ROOT).collect();
    let Some(volume) = others.first().map(|it| it.volume.clone()) else { return };
    forget(node, &volume);
    node.ec2.detach_by_hand(&volume);
    node.ticks(3 + dice.roll(5) as usize);
}

/// Deletes a free volume of the node, or a snapshot that one is to be made from.
fn delete_by_hand(node: &mut Living, dice: &mut Dice) {
    let Some(entry) = node.record.data.iter().find(|it| !it.attached).cloned() else { return };
    let bytes = node.ec2.bytes.get(entry.volume_id.as_str()).copied();
    let ec2 = &mut node.ec2;
    if dice.roll(3) == 0 {
        if let Some(point) = entry.point().filter(|_| ec2.volumes.contains_key(&entry.volume_id)) {
            ec2.snapshots.remove(point);
        }
    } else if ec2.volumes.get(&entry.volume_id).is_some_and(|it| it.state == VolumeState::Available) {
        ec2.volumes.remove(&entry.volume_id);
    }
    let will_do = |it: &SnapshotFacts| match it.state {
        SnapshotState::Completed => true,
        SnapshotState::Pending => !ec2.failing.contains(&it.volume),
        SnapshotState::Error => false,
    };
    let of_bytes = |id: &str| bytes.is_some() && ec2.bytes.get(id).copied() == bytes;
    let is_safe = ec2.snapshots.values().any(|it| of_bytes(it.id.as_str()) && will_do(it))
        || ec2.volumes.keys().any(|id| of_bytes(id.as_str()));
    if !is_safe {
        node.written.retain(|_, is| Some(*is) != bytes);
    }
}

fn walk(seed: u64, keeps: Keeps) {
    let mut dice = Dice(seed);
    let mut node = Living::running(keeps);
    node.dice = Some(Dice(seed.wrapping_mul(7919)));
    for _ in 0..40 {
        act(&mut node, &mut dice, keeps);
        node.ticks(1 + dice.roll(6) as usize);
        if dice.roll(8) == 0 {
            node.later(700);
        }
        mend(&mut node);
    }
    // From here on nothing goes wrong any more.
    (node.dice, node.tick) = (None, true);
    node.ec2.hanging.clear();
    node.ec2.failing.clear();
    for facts in node.ec2.instances.values_mut().filter(|it| it.state == InstanceState::Stopped) {
        facts.state = InstanceState::Running;
    }
    node.edit(|config| {
        config.desired_state = DesiredState::Running;
        config.launch.subnets = vec![SubnetId::new("subnet-1"), SubnetId::new("subnet-2")];
    });
    comes_to_rest(&mut node, seed);
    comes_to_nothing(&mut node, seed);
}

/// The node runs with everything that was written, and clears away what it does not need any more.
fn comes_to_rest(node: &mut Living, seed: u64) {
    let is_done = |node: &Living| node.record.phase == Phase::Running && !node.record.is_unwanted();
    for _ in 0..300 {
        if is_done(node) {
            break;
        }
        node.tick();
        mend(node);
    }
    let (phase, blocked) = (node.record.phase, &node.record.blocked);
    assert!(is_done(node), "seed {seed}: {phase} {blocked:?}\n{}", node.story());
    node.ticks(10);
    node.assert_whole();
    node.secure();
    node.ticks(40);
    assert_eq!(node.record.superseded, [], "seed {seed}:\n{}", node.story());
    let code = node.code();
    assert!(["", "volume-left-alone"].contains(&code), "seed {seed}: {code}\n{}", node.story());
    assert_eq!(node.record.work_at, None, "seed {seed}:\n{}", node.story());
}

/// At the end of its life nothing of the node is left but what is the operator's.
fn comes_to_nothing(node: &mut Living, seed: u64) {
    let is_adopted = |it: &&VolumeFacts| crate::names::has_purpose(&it.tags, Purpose::Adopted);
    let adopted: Vec<VolumeId> =
        node.ec2.volumes.values().filter(is_adopted).map(|it| it.id.clone()).collect();
    node.wants(DesiredState::Deallocated);
    for _ in 0..100 {
        node.tick();
        mend(node);
    }
    assert_eq!(node.record.phase, Phase::Deallocated, "seed {seed}:\n{}", node.story());
    node.later(97 * 3600);
    node.until(Phase::Gone);
    let is_there = |id: &VolumeId| node.ec2.volumes.contains_key(id);
    assert!(adopted.iter().all(is_there), "seed {seed}:\n{}", node.story());
    assert!(node.ec2.volumes.values().all(|it| !names().owns(&it.tags)), "seed {seed}:\n{}", node.story());
    assert!(node.ec2.snapshots.values().all(|it| !names().owns(&it.tags)), "seed {seed}:\n{}", node.story());
}

/// How many walks there are of each kind of node; any number of others can be walked by raising it.
const WALKS: u64 = 8;

fn walks(mode: DataMode) {
    for keeps in every_way().filter(|keeps| keeps.mode == Some(mode)) {
        for seed in 0..WALKS {
            walk(seed, keeps);
        }
    }
}

#[test]
fn whatever_happens_nothing_that_was_written_to_reattached_volumes_is_lost() {
    walks(DataMode::Reattach);
}

#[test]
fn whatever_happens_nothing_that_was_written_to_volumes_made_from_snapshots_is_lost() {
    walks(DataMode::Snapshot);
}

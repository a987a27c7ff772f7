//! What to read before deciding: as little as the phase needs, and what the next phase will need if it
//! is likely to come at once.

use super::capturing::{line, lines};
use super::elastic_ip;
use crate::observation::Look;
use crate::phase::Phase;
use crate::record::{Record, Superseded};

/// What to read for a node as its record stands.
pub fn look(record: &Record, deployment: &str) -> Look {
    let mut look = Look::default();
    match record.phase {
        Phase::New | Phase::Gone => {}
        Phase::Launching => launching(record, &mut look),
        Phase::Stopping => {
            instance(record, &mut look);
            sighted(record, &mut look);
        }
        Phase::Paused => {
            resting(record, &mut look);
            reserved(record, &mut look);
        }
        Phase::Deallocated => {
            resting(record, &mut look);
            look.item = Some(record.name.clone());
            given_up(record, &mut look);
        }
        Phase::Purging => purging(record, &mut look),
        Phase::Attaching => {
            instance(record, &mut look);
            look.volumes.extend(record.root.iter().map(|r| r.volume_id.clone()));
            look.images.extend(record.instance.iter().map(|i| i.image_id.clone()));
            look.elastic_ips = elastic_ip::to_read(record);
            data(record, &mut look);
        }
        Phase::Running => {
            instance(record, &mut look);
            running(record, &mut look);
        }
        Phase::Interrupting => {
            instance(record, &mut look);
            sighted(record, &mut look);
            // The end is near: what comes next is read along, which saves a round trip when it is here.
            releasing(record, deployment, &mut look);
        }
        Phase::Releasing => {
            instance(record, &mut look);
            releasing(record, deployment, &mut look);
        }
        Phase::Capturing => capturing(record, deployment, &mut look),
        Phase::Imaging => imaging(record, deployment, &mut look),
    }
    look
}

fn instance(record: &Record, look: &mut Look) {
    let Some(instance) = &record.instance else { return };
    look.instances.push(instance.id.clone());
    if instance.missing_since.is_some() {
        // It counts as gone only if nothing kept is still attached to it.
        look.volumes.extend(record.root.iter().map(|r| r.volume_id.clone()));
        look.volumes.extend(record.data.iter().map(|it| it.volume_id.clone()));
        look.interfaces.extend(record.network.iter().map(|n| n.eni_id.clone()));
    }
}

/// Volumes on the instance that are to be judged, or were seen to have left it.
fn sighted(record: &Record, look: &mut Look) {
    look.volumes.extend(record.sighted.iter().map(|it| it.volume_id.clone()));
    let detached = record.data.iter().filter(|it| it.detached_since.is_some());
    look.volumes.extend(detached.map(|it| it.volume_id.clone()));
}

/// The data volumes, and what they can be brought back from.
fn data(record: &Record, look: &mut Look) {
    sighted(record, look);
    look.volumes.extend(record.data.iter().map(|it| it.volume_id.clone()));
    look.volumes.extend(record.data.iter().filter_map(|it| it.made.clone()));
    look.snapshots.extend(record.data.iter().filter_map(|it| it.point().cloned()));
    if record.data.iter().any(|it| it.missing_since.is_some()) {
        look.line_of = Some(life(record));
        look.snapshots.extend(record.restore.clone());
    }
}

fn launching(record: &Record, look: &mut Look) {
    if record.instance.is_some() {
        return instance(record, look);
    }
    if let Some(intent) = &record.intent {
        look.launch_token = Some(intent.request.token.clone());
        look.volume_key = Some(intent.request.token.clone());
        return;
    }
    let launch = &record.config().launch;
    placed(record, look);
    look.group.clone_from(&record.config().group);
    look.images.extend(launch.image.clone());
    look.images.extend(record.image.iter().filter_map(|i| i.id.clone()));
    recovery(record, look);
    data(record, look);
}

/// The interface of a node that is to have one, and what making it needs.
fn placed(record: &Record, look: &mut Look) {
    let launch = &record.config().launch;
    look.template = Some(launch.template.clone());
    look.subnets.extend(launch.subnets.iter().cloned());
    match &record.network {
        Some(network) => {
            look.interfaces.push(network.eni_id.clone());
            if network.missing_since.is_some() {
                look.holders_of.push(network.private_ip);
                look.holders_of.extend(&network.secondary);
            }
        }
        None => {
            let policy = record.config().persist.network.as_ref();
            look.holders_of.extend(policy.and_then(|network| network.private_ip));
        }
    }
}

/// The address that a resting node holds, or is to hold.
fn reserved(record: &Record, look: &mut Look) {
    let policy = record.config().persist.network.as_ref();
    match &record.network {
        Some(network) if network.missing_since.is_none() => look.interfaces.push(network.eni_id.clone()),
        Some(_) => placed(record, look),
        None if policy.is_some_and(|policy| policy.private_ip.is_some()) => placed(record, look),
        None => {}
    }
    look.elastic_ips = elastic_ip::to_read(record);
}

/// What a deallocated node gives up before its retention is over.
fn given_up(record: &Record, look: &mut Look) {
    if record.config().persist.network.as_ref().is_some_and(|network| network.frees_address) {
        look.interfaces.extend(record.network.iter().map(|network| network.eni_id.clone()));
    }
    look.elastic_ips = elastic_ip::to_read(record);
}

/// What a node without an instance can be brought back from: the image, and once that is missing, what
/// else may hold every byte.
fn recovery(record: &Record, look: &mut Look) {
    if record.config().persist.root.is_none() {
        return;
    }
    if let Some(lost) = &record.lost {
        look.volumes.push(lost.volume_id.clone());
        look.snapshots.extend(record.restore.clone());
        look.line_of = Some(life(record));
    } else if let Some(image) = &record.image {
        look.images.extend(image.id.clone());
        if image.missing_since.is_some() {
            look.snapshots.extend(record.finals.iter().filter_map(|last| last.snapshot_id.clone()));
            look.volumes.extend(record.finals.iter().map(|last| last.volume_id.clone()));
        }
    }
}

fn life(record: &Record) -> (String, String) {
    let (node, life) = record.life();
    (node.to_owned(), life.to_owned())
}

fn resting(record: &Record, look: &mut Look) {
    recovery(record, look);
    data(record, look);
    let has_root = record.image.is_some() && record.config().persist.root.is_some();
    if !has_root && record.data.is_empty() {
        return;
    }
    look.line_of = Some(life(record));
    needless(record, look);
}

/// Everything that may have to go, by id; of volumes only a running node can prove that.
fn needless(record: &Record, look: &mut Look) {
    for needless in record.needless() {
        match needless {
            Superseded::Volume(id) | Superseded::DataVolume(id) if record.phase == Phase::Running => {
                look.volumes.push(id);
            }
            Superseded::Volume(_) | Superseded::DataVolume(_) => {}
            Superseded::Image(id) => look.images.push(id),
            Superseded::Snapshot(id) | Superseded::DataSnapshot(id) => look.snapshots.push(id),
        }
    }
}

fn purging(record: &Record, look: &mut Look) {
    look.all_of = Some(life(record));
    // By id as well: a read by tags may lag behind what a record has known for long.
    look.instances.extend(record.instance.iter().map(|i| i.id.clone()));
    look.volumes.extend(record.root.iter().map(|r| r.volume_id.clone()));
    look.volumes.extend(record.data.iter().map(|it| it.volume_id.clone()));
    look.volumes.extend(record.data.iter().filter_map(|it| it.made.clone()));
    look.snapshots.extend(record.data.iter().filter_map(|it| it.last.as_ref()?.snapshot_id.clone()));
    look.interfaces.extend(record.network.iter().map(|n| n.eni_id.clone()));
    for known in record.needless() {
        match known {
            Superseded::Volume(id) | Superseded::DataVolume(id) => look.volumes.push(id),
            Superseded::Image(id) => look.images.push(id),
            Superseded::Snapshot(id) | Superseded::DataSnapshot(id) => look.snapshots.push(id),
        }
    }
}

fn running(record: &Record, look: &mut Look) {
    look.elastic_ips = elastic_ip::to_read(record);
    look.volumes.extend(record.root.iter().filter(|root| root.swapped).map(|root| root.volume_id.clone()));
    sighted(record, look);
    if record.needless().is_empty() {
        return;
    }
    look.status_of = record.instance.as_ref().map(|i| i.id.clone());
    look.snapshots_of.extend(record.root.iter().map(|r| r.volume_id.clone()));
    look.snapshots_of.extend(record.data.iter().map(|it| it.volume_id.clone()));
    needless(record, look);
}

fn releasing(record: &Record, deployment: &str, look: &mut Look) {
    look.interfaces.extend(record.network.iter().map(|n| n.eni_id.clone()));
    look.volumes.extend(record.data.iter().map(|it| it.volume_id.clone()));
    if !record.mapped.is_empty() {
        look.volume_key = launch_key(record);
    }
    match &record.root {
        Some(root) => {
            look.volumes.push(root.volume_id.clone());
            if root.missing_since.is_some() {
                look.snapshots_of.push(root.volume_id.clone());
            }
            // Likely needed at once: whether the final snapshot was taken before a crash.
            if record.config().persist.root.is_some() {
                look.snapshot_keys.push(record.names(deployment).last(record.cycle, &root.volume_id, 1));
            }
        }
        None => {
            look.volume_key = launch_key(record);
            look.images.extend(record.instance.iter().map(|i| i.image_id.clone()));
            look.images.extend(record.unseen.iter().map(|u| u.image_id.clone()));
        }
    }
}

/// The key of the launch whose volumes nobody may have seen.
fn launch_key(record: &Record) -> Option<String> {
    let key = record.instance.as_ref().map(|instance| &instance.key);
    key.or(record.unseen.as_ref().map(|unseen| &unseen.key)).cloned()
}

fn capturing(record: &Record, deployment: &str, look: &mut Look) {
    given_up(record, look);
    for (volume, last) in lines(record).filter_map(|it| line(record, it)) {
        match last.and_then(|last| last.snapshot_id.clone()) {
            Some(id) => look.snapshots.push(id),
            None => {
                let attempt = last.map_or(1, |last| last.attempt);
                look.snapshot_keys.push(record.names(deployment).last(record.cycle, &volume, attempt));
            }
        }
        look.volumes.push(volume);
    }
}

fn imaging(record: &Record, deployment: &str, look: &mut Look) {
    look.images.extend(record.unseen.iter().map(|u| u.image_id.clone()));
    let last = record.finals.first();
    if record.image.as_ref().is_none_or(|image| image.id.is_none()) {
        look.snapshots.extend(last.and_then(|last| last.snapshot_id.clone()));
    }
    if last.is_some_and(|last| last.missing_since.is_some()) {
        look.volumes.extend(record.root.iter().map(|r| r.volume_id.clone()));
    }
    match record.image.as_ref().map(|image| (image.id.clone(), image.attempt)) {
        Some((Some(id), _)) => look.images.push(id),
        Some((None, attempt)) => {
            look.image_name = Some(record.names(deployment).image(record.cycle, attempt));
        }
        None => look.image_name = Some(record.names(deployment).image(record.cycle, 1)),
    }
}

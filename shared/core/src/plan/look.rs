//! What to read before deciding: as little as the phase needs, and what the next phase will need if it
//! is likely to come at once.

use crate::observation::Look;
use crate::phase::Phase;
use crate::record::{Record, Superseded};

/// What to read for a node as its record stands.
pub fn look(record: &Record, deployment: &str) -> Look {
    let mut look = Look::default();
    match record.phase {
        Phase::New => {}
        Phase::Launching => launching(record, &mut look),
        Phase::Attaching => {
            instance(record, &mut look);
            look.volumes.extend(record.root.iter().map(|r| r.volume_id.clone()));
            look.images.extend(record.instance.iter().map(|i| i.image_id.clone()));
        }
        Phase::Running => {
            instance(record, &mut look);
            running(record, &mut look);
        }
        Phase::Interrupting => {
            instance(record, &mut look);
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
        look.interfaces.extend(record.network.iter().map(|n| n.eni_id.clone()));
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
    look.template = Some(launch.template.clone());
    look.subnets.extend(launch.subnets.iter().cloned());
    look.interfaces.extend(record.network.iter().map(|n| n.eni_id.clone()));
    look.images.extend(launch.image.clone());
    look.images.extend(record.image.iter().filter_map(|i| i.id.clone()));
}

fn running(record: &Record, look: &mut Look) {
    let needless = record.needless();
    if needless.is_empty() {
        return;
    }
    look.status_of = record.instance.as_ref().map(|i| i.id.clone());
    look.snapshots_of = record.root.as_ref().map(|r| r.volume_id.clone());
    for needless in needless {
        match needless {
            Superseded::Volume(id) => look.volumes.push(id),
            Superseded::Image(id) => look.images.push(id),
            Superseded::Snapshot(id) => look.snapshots.push(id),
        }
    }
}

fn releasing(record: &Record, deployment: &str, look: &mut Look) {
    look.interfaces.extend(record.network.iter().map(|n| n.eni_id.clone()));
    match &record.root {
        Some(root) => {
            look.volumes.push(root.volume_id.clone());
            if root.missing_since.is_some() {
                look.snapshots_of = Some(root.volume_id.clone());
            }
            // Likely needed at once: whether the final snapshot was taken before a crash.
            if record.config().persist.root.is_some() {
                look.snapshot_key = Some(record.names(deployment).last(record.cycle, &root.volume_id, 1));
            }
        }
        None => {
            let unseen = record.unseen.as_ref();
            look.volume_key = record.instance.as_ref().map(|i| &i.key).or(unseen.map(|u| &u.key)).cloned();
            look.images.extend(record.instance.iter().map(|i| i.image_id.clone()));
            look.images.extend(unseen.map(|u| u.image_id.clone()));
        }
    }
}

fn capturing(record: &Record, deployment: &str, look: &mut Look) {
    let Some(root) = &record.root else { return };
    look.volumes.push(root.volume_id.clone());
    let last = record.finals.first();
    match last.and_then(|f| f.snapshot_id.clone()) {
        Some(id) => look.snapshots.push(id),
        None => {
            let attempt = last.map_or(1, |f| f.attempt);
            look.snapshot_key = Some(record.names(deployment).last(record.cycle, &root.volume_id, attempt));
        }
    }
}

fn imaging(record: &Record, deployment: &str, look: &mut Look) {
    look.images.extend(record.unseen.iter().map(|u| u.image_id.clone()));
    match record.image.as_ref().map(|image| (image.id.clone(), image.attempt)) {
        Some((Some(id), _)) => look.images.push(id),
        Some((None, attempt)) => {
            look.image_name = Some(record.names(deployment).image(record.cycle, attempt));
        }
        None => look.image_name = Some(record.names(deployment).image(record.cycle, 1)),
    }
}

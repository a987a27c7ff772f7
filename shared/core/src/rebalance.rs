//! A rebalance recommendation: whether it is answered with an extra snapshot of the root.
//!
//! EC2 says that a spot instance is at elevated risk of interruption, often long before the notice and often
//! for nothing. A snapshot taken then makes the final one small. It is best effort: nothing of it is written
//! down, and where it cannot be taken at once the periodic ones do. It counts in rotation like those.

use jiff::Timestamp;

use crate::config::OnRebalance;
use crate::ids::{InstanceId, VolumeId};
use crate::limits;
use crate::names::{Purpose, TAG_DEVICE, TAG_VOLUME, has_key, has_purpose};
use crate::observation::{InstanceFacts, InstanceState, SnapshotFacts, SnapshotState};
use crate::phase::Phase;
use crate::record::Record;
use crate::step::SnapshotRequest;

/// A recommendation to the instance of a node.
#[derive(Clone, Copy, Debug)]
pub struct Recommended<'a> {
    /// Which instance.
    pub instance: &'a InstanceId,
    /// When EC2 gave it.
    pub at: Timestamp,
    /// Now.
    pub now: Timestamp,
}

/// The volume a snapshot would be taken of, as far as the record alone can say.
///
/// # Errors
/// Why none is taken.
pub fn wanted<'r>(record: &'r Record, told: Recommended<'_>) -> Result<&'r VolumeId, &'static str> {
    let root = record.root.as_ref().ok_or("the node has no root volume")?;
    let is_current = record.instance.as_ref().is_some_and(|instance| instance.id == *told.instance);
    if told.now.duration_since(told.at) > limits::NOTICE_FRESH {
        Err("it is too old")
    } else if record.phase != Phase::Running {
        Err("the node is not running")
    } else if !is_current {
        Err("it is for another instance than the node's")
    } else if record.config().suspend {
        Err("the node is suspended")
    } else if record.config().persist.root.is_none() {
        Err("its root is not kept")
    } else {
        match record.config().on_rebalance {
            OnRebalance::Ignore => Err("the config says to ignore it"),
            OnRebalance::Snapshot => Ok(&root.volume_id),
        }
    }
}

/// The snapshot to be taken, from the instance and the snapshots of the volume as they are now.
///
/// # Errors
/// Why none is taken.
pub fn snapshot(
    record: &Record,
    told: Recommended<'_>,
    instances: &[InstanceFacts],
    snapshots: &[SnapshotFacts],
    deployment: &str,
) -> Result<SnapshotRequest, &'static str> {
    let volume = wanted(record, told)?;
    let names = record.names(deployment);
    let key = names.rebalance(volume, told.at);
    let is_attached = |it: &InstanceFacts| {
        it.id == *told.instance
            && it.state == InstanceState::Running
            && it.volumes.iter().any(|held| held.volume == *volume)
    };
    if !instances.iter().any(is_attached) {
        return Err("no running instance holds the root volume");
    }
    let of_volume = || snapshots.iter().filter(|it| it.volume == *volume);
    if of_volume().any(|it| it.own && has_key(&it.tags, &key)) {
        return Err("its snapshot was taken already");
    }
    // Whoever took it: EC2 counts them all.
    if of_volume().any(|it| it.state == SnapshotState::Pending) {
        return Err("a snapshot is pending, which serves as well");
    }
    let is_younger = |it: &SnapshotFacts, than| told.now.duration_since(it.started_at) < than;
    if of_volume().any(|it| is_younger(it, limits::REBALANCE_FRESH)) {
        return Err("a snapshot was started less than two minutes ago, which serves as well");
    }
    let is_extra = |it: &&SnapshotFacts| it.own && has_purpose(&it.tags, Purpose::Rebalance);
    if of_volume().filter(is_extra).any(|it| is_younger(it, limits::REBALANCE_EVERY)) {
        return Err("an extra one was taken less than ten minutes ago");
    }
    let mut tags = names.tags(&record.config().tags, record.cycle, Purpose::Rebalance, &key);
    if let Some(root) = &record.root {
        tags.insert(TAG_DEVICE.to_owned(), root.device_name.clone());
    }
    tags.insert(TAG_VOLUME.to_owned(), volume.to_string());
    let description = format!("Perennial: rebalance snapshot of {}, recommended at {}", record.name, told.at);
    Ok(SnapshotRequest { volume: volume.clone(), purpose: Purpose::Rebalance, key, tags, description })
}

/// Whether so many extra snapshots were just taken in the deployment that no more may be: when EC2 recommends
/// to move hundreds of instances at once, notices follow, and their snapshots need the calls more.
pub fn is_crowded(taken: &[SnapshotFacts], now: Timestamp) -> bool {
    let fresh = taken.iter().filter(|it| now.duration_since(it.started_at) < limits::BEAT * 60);
    fresh.count() >= limits::REBALANCES_AT_ONCE
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::ids::SnapshotId;
    use crate::names::{Tags, has_purpose};
    use crate::observation::{AttachedVolume, Platform};
    use crate::record::Stored;

    /// A node that runs, as it was once written.
    fn running() -> Record {
        let json = include_str!("../../../tests/records/v2-running.json");
        let Ok(Stored::Known(record)) = Stored::read(&serde_json::from_str(json).unwrap()) else { panic!() };
        assert_eq!(record.phase, Phase::Running);
        *record
    }

    fn at() -> Timestamp {
        Timestamp::from_second(1_790_000_000).unwrap()
    }

    fn instance(record: &Record, state: InstanceState) -> InstanceFacts {
        let held = record.root.as_ref().unwrap();
        InstanceFacts {
            id: record.instance.as_ref().unwrap().id.clone(),
            state,
            state_reason: String::new(),
            instance_type: "m5.large".into(),
            spot: true,
            zone: "z".into(),
            subnet: None,
            private_ip: None,
            image: crate::ids::ImageId::new("ami-1"),
            launched_at: None,
            root_device: held.device_name.clone(),
            ebs_root: true,
            volumes: vec![AttachedVolume {
                device: held.device_name.clone(),
                volume: held.volume_id.clone(),
                delete_on_termination: false,
                attaching: false,
            }],
            interfaces: Vec::new(),
            client_token: None,
            tags: Tags::new(),
            platform: Platform::default(),
        }
    }

    /// A snapshot of the root, by whomever, so many seconds before the recommendation.
    fn taken(record: &Record, ago: i64, state: SnapshotState) -> SnapshotFacts {
        SnapshotFacts {
            id: SnapshotId::new("snap-1"),
            state,
            volume: record.root.as_ref().unwrap().volume_id.clone(),
            started_at: at() - SignedDuration::from_secs(ago),
            progress: String::new(),
            own: true,
            full_bytes: None,
            tags: Tags::new(),
        }
    }

    /// Decides so many seconds after the recommendation.
    fn decide(
        record: &Record,
        later: i64,
        state: InstanceState,
        snapshots: &[SnapshotFacts],
    ) -> Result<SnapshotRequest, &'static str> {
        let facts = instance(&running(), state);
        let told =
            Recommended { instance: &facts.id, at: at(), now: at() + SignedDuration::from_secs(later) };
        snapshot(record, told, std::slice::from_ref(&facts), snapshots, "prod")
    }

    use InstanceState::Running;
    use SnapshotState::{Completed, Pending};

    #[test]
    fn a_running_node_gets_one_extra_snapshot_of_its_root() {
        let record = running();
        let request = decide(&record, 2, Running, &[taken(&record, 200, Completed)]).unwrap();
        assert_eq!(Some(&request.volume), record.root.as_ref().map(|root| &root.volume_id));
        assert!(has_purpose(&request.tags, Purpose::Rebalance) && has_key(&request.tags, &request.key));
        assert!(record.names("prod").owns(&request.tags) && request.tags.contains_key(TAG_DEVICE));
        assert_eq!(request.tags[TAG_VOLUME], request.volume.as_str());
        // The event comes again, when the first snapshot has long completed.
        let first = SnapshotFacts { tags: request.tags, ..taken(&record, 0, Completed) };
        assert_eq!(decide(&record, 200, Running, &[first]), Err("its snapshot was taken already"));
    }

    #[test]
    fn none_is_taken_beside_a_pending_or_a_fresh_one() {
        let record = running();
        assert!(decide(&record, 0, Running, &[taken(&record, 900, Pending)]).is_err());
        assert!(decide(&record, 9, Running, &[taken(&record, 110, Completed)]).is_err());
        assert!(decide(&record, 10, Running, &[taken(&record, 110, Completed)]).is_ok());
        let mut extra = taken(&record, 500, Completed);
        extra.tags = record.names("prod").tags(&Tags::new(), 1, Purpose::Rebalance, "of another event");
        assert!(decide(&record, 99, Running, std::slice::from_ref(&extra)).is_err());
        assert!(decide(&record, 100, Running, &[extra]).is_ok());
        let another = SnapshotFacts { volume: VolumeId::new("vol-9"), ..taken(&record, 0, Pending) };
        assert!(decide(&record, 0, Running, &[another]).is_ok());
    }

    #[test]
    fn none_is_taken_when_hundreds_are_asked_for_at_once() {
        let taken = |ago| vec![taken(&running(), ago, Pending); 20];
        assert!(is_crowded(&taken(59), at()) && !is_crowded(&taken(59)[1..], at()));
        assert!(!is_crowded(&taken(60), at()));
    }

    #[test]
    fn none_is_taken_where_it_makes_no_sense() {
        let record = running();
        let is_refused = |change: &dyn Fn(&mut Record)| {
            let mut changed = record.clone();
            change(&mut changed);
            decide(&changed, 0, Running, &[]).is_err()
        };
        assert!(!is_refused(&|_| {}));
        assert!(is_refused(&|it| it.phase = Phase::Interrupting));
        assert!(is_refused(&|it| it.instance = None));
        assert!(is_refused(&|it| it.root = None));
        assert!(is_refused(&|it| it.config.config.suspend = true));
        assert!(is_refused(&|it| it.config.config.persist.root = None));
        assert!(is_refused(&|it| it.config.config.on_rebalance = OnRebalance::Ignore));
        assert!(decide(&record, 300, Running, &[]).is_ok());
        assert!(decide(&record, 301, Running, &[]).is_err(), "a stale recommendation");
        for state in [InstanceState::Stopping, InstanceState::Stopped, InstanceState::ShuttingDown] {
            assert!(decide(&record, 0, state, &[]).is_err());
        }
        let other = InstanceId::new("i-9");
        let told = Recommended { instance: &other, at: at(), now: at() };
        assert!(snapshot(&record, told, &[instance(&record, Running)], &[], "prod").is_err());
    }
}

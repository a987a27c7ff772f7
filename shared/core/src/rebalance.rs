//! A rebalance recommendation: whether it is answered with an extra recovery point.
//!
//! EC2 says that a spot instance is at elevated risk of interruption, often long before the notice and often
//! for nothing. Snapshots taken then make the final ones small. It is best effort: nothing of it is written
//! down, and where it cannot be taken at once the periodic ones do. It counts in rotation like those.

use jiff::Timestamp;

use crate::config::OnRebalance;
use crate::ids::InstanceId;
use crate::limits;
use crate::names::{Purpose, has_key, has_purpose};
use crate::observation::{InstanceFacts, InstanceState, SnapshotFacts, SnapshotState};
use crate::phase::Phase;
use crate::record::{Record, Steady};
use crate::snapshots::{Asked, Why, request, sets};
use crate::step::PointRequest;

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

/// The node as the passes know it, whose secured volumes a recovery point would be taken of; as far as the
/// record alone can say.
///
/// # Errors
/// Why none is taken.
pub fn wanted(record: &Record, told: Recommended<'_>) -> Result<Steady, Why> {
    let is_current = record.instance.as_ref().is_some_and(|instance| instance.id == *told.instance);
    if told.now.duration_since(told.at) > limits::NOTICE_FRESH {
        return Err("it is too old".into());
    } else if record.phase != Phase::Running {
        return Err("the node is not running".into());
    } else if !is_current {
        return Err("it is for another instance than the node's".into());
    } else if record.config().suspend {
        return Err("the node is suspended".into());
    } else if record.config().on_rebalance == OnRebalance::Ignore {
        return Err("the config says to ignore it".into());
    }
    let steady = record.steady().ok_or("the node has no root volume")?;
    if steady.snapshot_every.is_none() || steady.secured().next().is_none() {
        return Err("it has no volume that is kept".into());
    }
    Ok(steady)
}

/// The recovery point to be taken, from the instance and the snapshots of its volumes as they are now.
///
/// # Errors
/// Why none is taken.
pub fn snapshot(
    record: &Record,
    told: Recommended<'_>,
    instances: &[InstanceFacts],
    snapshots: &[SnapshotFacts],
    deployment: &str,
) -> Result<PointRequest, Why> {
    let steady = wanted(record, told)?;
    let secured: Vec<_> = steady.secured().collect();
    let (first, _) = secured.first().ok_or("it has no volume that is kept")?;
    let names = record.names(deployment);
    let key = names.rebalance(first, told.at);
    let is_running = |it: &&InstanceFacts| it.id == *told.instance && it.state == InstanceState::Running;
    let instance = instances.iter().find(is_running).ok_or("EC2 shows no such running instance")?;
    let of_volumes = || snapshots.iter().filter(|it| secured.iter().any(|(volume, _)| it.volume == **volume));
    if of_volumes().any(|it| it.own && has_key(&it.tags, &key)) {
        return Err("its snapshot was taken already".into());
    }
    // Whoever took it: EC2 counts them all.
    if of_volumes().any(|it| it.state == SnapshotState::Pending) {
        return Err("a snapshot is pending, which serves as well".into());
    }
    let is_younger = |it: &SnapshotFacts, than| told.now.duration_since(it.started_at) < than;
    if of_volumes().any(|it| is_younger(it, limits::REBALANCE_FRESH)) {
        return Err("a snapshot was started less than two minutes ago, which serves as well".into());
    }
    let is_extra = |it: &&SnapshotFacts| it.own && has_purpose(&it.tags, Purpose::Rebalance);
    if of_volumes().filter(is_extra).any(|it| is_younger(it, limits::REBALANCE_EVERY)) {
        return Err("an extra one was taken less than ten minutes ago".into());
    }
    let tags = names.tags(&record.config().tags, record.cycle, Purpose::Rebalance, &key);
    let description = format!("Perennial: rebalance snapshot of {}, recommended at {}", record.name, told.at);
    request(instance, &secured, Asked { purpose: Purpose::Rebalance, key, tags, description })
}

/// Whether so many extra recovery points were just taken in the deployment that no more may be: when EC2
/// recommends to move hundreds of instances at once, notices follow, and their snapshots need the calls more.
pub fn is_crowded(taken: &[SnapshotFacts], now: Timestamp) -> bool {
    let fresh = |at: Timestamp| now.duration_since(at) < limits::BEAT * 60;
    // A set is one call, however many snapshots it makes.
    sets(taken, now).iter().filter(|set| fresh(set.started_at)).count() >= limits::REBALANCES_AT_ONCE
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::ids::{SnapshotId, VolumeId};
    use crate::names::{TAG_DEVICE, TAG_KEY, TAG_PARTS, TAG_VOLUME, Tags, has_purpose};
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
    ) -> Result<PointRequest, Why> {
        let mut facts = instance(&running(), state);
        facts.volumes.extend(record.data.iter().map(|held| AttachedVolume {
            device: held.device_name.clone(),
            volume: held.volume_id.clone(),
            delete_on_termination: false,
            attaching: false,
        }));
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
        let PointRequest::One(request) = request else { panic!() };
        assert_eq!(Some(&request.volume), record.root.as_ref().map(|root| &root.volume_id));
        assert!(has_purpose(&request.tags, Purpose::Rebalance) && has_key(&request.tags, &request.key));
        assert!(record.names("prod").owns(&request.tags) && request.tags.contains_key(TAG_DEVICE));
        assert_eq!(request.tags[TAG_VOLUME], request.volume.as_str());
        // The event comes again, when the first snapshot has long completed.
        let first = SnapshotFacts { tags: request.tags, ..taken(&record, 0, Completed) };
        assert_eq!(decide(&record, 200, Running, &[first]), Err("its snapshot was taken already".into()));
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

    /// The same node with a data volume that is kept as well.
    fn with_data() -> Record {
        let mut record = running();
        let policy = serde_json::from_str(r#"{"mode":"reattach","snapshotEvery":"300s","keep":3}"#);
        record.config.config.persist.data = policy.unwrap();
        let volume = r#"{"deviceName":"/dev/sdf","volumeId":"vol-f","zone":"z","attached":true}"#;
        record.data.push(serde_json::from_str(volume).unwrap());
        record
    }

    #[test]
    fn data_volumes_are_taken_at_the_same_moment_or_by_themselves() {
        let mut record = with_data();
        let root = record.root.as_ref().unwrap().volume_id.clone();
        let PointRequest::Set(set) = decide(&record, 2, Running, &[]).unwrap() else { panic!() };
        assert_eq!(set.volumes, [root.clone(), VolumeId::new("vol-f")]);
        assert_eq!((set.without_root, set.purpose), (false, Purpose::Rebalance));
        assert_eq!((set.tags[TAG_PARTS].as_str(), &set.tags[TAG_KEY]), ("2", &set.key));
        assert_eq!(set.key, record.names("prod").rebalance(&root, at()));
        record.config.config.persist.root = None;
        let PointRequest::One(one) = decide(&record, 2, Running, &[]).unwrap() else { panic!() };
        assert_eq!((one.volume.as_str(), one.tags[TAG_DEVICE].as_str()), ("vol-f", "/dev/sdf"));
        record.data[0].attached = false;
        assert!(decide(&record, 2, Running, &[]).is_err(), "nothing of it is on its instance");
    }

    #[test]
    fn whatever_stands_against_one_volume_stands_against_all() {
        let record = with_data();
        let of_data =
            |ago, state| SnapshotFacts { volume: VolumeId::new("vol-f"), ..taken(&record, ago, state) };
        assert!(decide(&record, 0, Running, &[of_data(900, Pending)]).is_err());
        assert!(decide(&record, 9, Running, &[of_data(110, Completed)]).is_err());
        assert!(decide(&record, 10, Running, &[of_data(110, Completed)]).is_ok());
        let gone = Recommended { instance: &record.instance.as_ref().unwrap().id, at: at(), now: at() };
        let without_it = instance(&record, Running);
        assert_eq!(
            snapshot(&record, gone, &[without_it], &[], "prod"),
            Err("its instance does not hold /dev/sdf".into())
        );
    }

    #[test]
    fn a_set_counts_once_among_those_just_taken() {
        let part = |n: usize, volume: &str| {
            let mut facts = SnapshotFacts { volume: VolumeId::new(volume), ..taken(&running(), 9, Pending) };
            facts.tags.insert(TAG_KEY.into(), format!("k{n}"));
            facts.tags.insert(TAG_PARTS.into(), "2".into());
            facts
        };
        let sets: Vec<_> = (0..20).flat_map(|n| [part(n, "vol-1"), part(n, "vol-2")]).collect();
        assert!(is_crowded(&sets, at()) && !is_crowded(&sets[2..], at()));
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

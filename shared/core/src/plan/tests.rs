//! What comes next, for the moments in which a wrong answer would cost an instance or a byte.

mod data;
mod elastic_ip;
mod ending;
mod giving_up;
mod interface;
mod launching;
mod living;
mod purging;
mod recovery;
mod resting;
mod stopping;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::{Plan, Poll, Scope, Then, look, notice, plan};
use crate::absorb::absorb;
use crate::config::{self, DesiredState};
use crate::failure::{Class, Failure};
use crate::ids::{ImageId, InstanceId, InterfaceId, NodeName, SnapshotId, SubnetId, VolumeId};
use crate::journal::Kind;
use crate::launch::{LaunchNetwork, TemplateFacts};
use crate::limits;
use crate::names::{Names, Purpose, Tags};
use crate::observation::*;
use crate::phase::Phase;
use crate::record::{Accepted, Network, Record, Superseded};
use crate::step::{Outcome, Step, Termination};

const LIFE: &str = "life-1";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + second).unwrap()
}

fn scope(second: i64) -> Scope<'static> {
    Scope { deployment: "prod", now: at(second), tick: true, suspended: false }
}

fn node() -> NodeName {
    NodeName::parse("db").unwrap()
}

fn tags(purpose: Purpose, cycle: u32, key: &str) -> Tags {
    Names { deployment: "prod", node: &node(), life: LIFE }.tags(&Tags::new(), cycle, purpose, key)
}

/// A record of a node that keeps root and network, with its interface.
fn new_record() -> Record {
    let item = json!({"id": "node#db", "persist": {"root": {}, "network": {}}, "launch": {
        "template": {"name": "base"}, "instanceTypes": ["m5.large", "c5.large"], "subnets": ["subnet-1"]}});
    let draft = config::parse(&item);
    assert_eq!(draft.problems, []);
    let accepted =
        Accepted { hash: config::hash(&item), share: None, notices: Vec::new(), config: draft.config };
    let mut record = Record::new(node(), LIFE.to_owned(), accepted, at(0));
    record.generation = 1;
    record.network = Some(Network {
        eni_id: InterfaceId::new("eni-1"),
        private_ip: "10.0.1.4".parse().unwrap(),
        subnet_id: SubnetId::new("subnet-1"),
        zone: "us-east-1a".into(),
        secondary: Vec::new(),
        ipv6: Vec::new(),
        elastic_ip: None,
        missing_since: None,
    });
    record
}

fn instance(state: InstanceState) -> InstanceFacts {
    InstanceFacts {
        id: InstanceId::new("i-1"),
        state,
        state_reason: String::new(),
        instance_type: "m5.large".into(),
        spot: true,
        zone: "us-east-1a".into(),
        subnet: None,
        private_ip: None,
        image: ImageId::new("ami-base"),
        launched_at: None,
        root_device: "/dev/xvda".into(),
        ebs_root: true,
        volumes: vec![AttachedVolume {
            device: "/dev/xvda".into(),
            volume: VolumeId::new("vol-1"),
            delete_on_termination: false,
            attaching: false,
        }],
        interfaces: Vec::new(),
        client_token: None,
        tags: tags(Purpose::Instance, 1, "k"),
        platform: Platform { usage_operation: Some("RunInstances".into()), ..Platform::default() },
    }
}

/// The termination of [`instance`] with all that is kept of it.
fn termination() -> Termination {
    Termination {
        instance: InstanceId::new("i-1"),
        volumes: vec![VolumeId::new("vol-1")],
        interface: Some(InterfaceId::new("eni-1")),
    }
}

fn gone(mut facts: InstanceFacts) -> InstanceFacts {
    facts.state = InstanceState::Terminated;
    facts.volumes.clear();
    facts
}

fn volume(state: VolumeState) -> VolumeFacts {
    VolumeFacts {
        id: VolumeId::new("vol-1"),
        state,
        attached_to: Vec::new(),
        device: None,
        multi_attach: false,
        shape: VolumeShape { size_gib: 8, volume_type: "gp3".into(), ..VolumeShape::default() },
        source: None,
        zone: "us-east-1a".into(),
        tags: tags(Purpose::Root, 1, "k"),
    }
}

fn snapshot(id: &str, state: SnapshotState, second: i64, tags: Tags) -> SnapshotFacts {
    SnapshotFacts {
        id: SnapshotId::new(id),
        state,
        volume: VolumeId::new("vol-1"),
        started_at: at(second),
        progress: String::new(),
        full_bytes: None,
        own: true,
        tags,
    }
}

fn image(id: &str, state: ImageState) -> ImageFacts {
    ImageFacts {
        id: ImageId::new(id),
        name: id.to_owned(),
        state,
        state_reason: String::new(),
        root_device: "/dev/xvda".into(),
        ebs_root: true,
        root_snapshot: Some(SnapshotId::new("snap-base")),
        devices: vec!["/dev/xvda".into()],
        snapshots: Vec::new(),
        created_at: None,
        platform: Platform { usage_operation: Some("RunInstances".into()), ..Platform::default() },
        tags: Tags::new(),
    }
}

/// A look at a world in which there is just what is given, and everything was looked for.
fn seen(record: &Record, fill: impl FnOnce(&mut Observation)) -> Observation {
    let mut seen = Observation { look: look(record, "prod"), ..Observation::default() };
    fill(&mut seen);
    seen
}

fn world(seen: &mut Observation) {
    seen.template = Some(TemplateFacts {
        id: "lt-1".into(),
        version: 3,
        image: Some(ImageId::new("ami-base")),
        ..Default::default()
    });
    seen.images.insert(ImageId::new("ami-base"), image("ami-base", ImageState::Available));
    let cidr = "10.0.1.0/24".parse().unwrap();
    let subnet = SubnetFacts { id: SubnetId::new("subnet-1"), zone: "us-east-1a".into(), cidr };
    seen.subnets.insert(subnet.id.clone(), subnet);
    let kept = free_interface("eni-1");
    seen.interfaces.insert(kept.id.clone(), kept);
}

/// An interface that has the node's address.
fn free_interface(id: &str) -> InterfaceFacts {
    InterfaceFacts {
        id: InterfaceId::new(id),
        state: InterfaceState::Available,
        subnet: SubnetId::new("subnet-1"),
        zone: "us-east-1a".into(),
        private_ip: "10.0.1.4".parse().unwrap(),
        secondary: Vec::new(),
        ipv6: Vec::new(),
        description: String::new(),
        groups: Vec::new(),
        attached_to: None,
        tags: Tags::new(),
    }
}

/// Decides in a world, looking again as often as asked.
fn decide(record: Record, second: i64, fill: impl Fn(&mut Observation)) -> Plan {
    let mut decided = Plan { record, entries: Vec::new(), then: Then::Look };
    for _ in 0..10 {
        let observation = seen(&decided.record, &fill);
        let next = plan(decided.record, &observation, scope(second)).unwrap();
        decided.entries.extend(next.entries);
        (decided.record, decided.then) = (next.record, next.then);
        if decided.then != Then::Look {
            return decided;
        }
    }
    panic!("looks for ever: {:?}", decided.record);
}

fn step(plan: &Plan) -> &Step {
    match &plan.then {
        Then::Act(step) => step,
        other => panic!("no step but {other:?}; blocked: {:?}", plan.record.blocked),
    }
}

fn fail(record: Record, step: &Step, class: Class, second: i64) -> Record {
    let failure = Failure::new(class, "EC2:Call", "Code", "message");
    absorb(record, step, &Outcome::Failed(failure), scope(second)).0
}

/// The record of a node whose launch has just been decided, with the launch.
fn launching() -> (Record, Step) {
    let plan = decide(new_record(), 0, world);
    let launch = step(&plan).clone();
    (plan.record, launch)
}

/// The record of a node that runs.
fn running() -> Record {
    let (record, launch) = launching();
    let outcome = Outcome::Launched(Box::new(instance(InstanceState::Pending)));
    let (record, _) = absorb(record, &launch, &outcome, scope(1));
    let plan = decide(record, 20, |seen| {
        seen.instances.insert(InstanceId::new("i-1"), instance(InstanceState::Running));
        seen.volumes.insert(VolumeId::new("vol-1"), volume(VolumeState::InUse));
    });
    assert_eq!(plan.record.phase, Phase::Running);
    plan.record
}

/// The record of a node whose instance has ended and let go of everything.
fn capturing() -> Plan {
    decide(running(), 100, |seen| {
        world(seen);
        seen.instances.insert(InstanceId::new("i-1"), gone(instance(InstanceState::Terminated)));
        seen.volumes.insert(VolumeId::new("vol-1"), volume(VolumeState::Available));
    })
}

/// The record of a node that has been captured and has its image, as its next launch begins.
fn captured() -> Record {
    let plan = capturing();
    let taken = snapshot("snap-1", SnapshotState::Pending, 101, tags(Purpose::Final, 1, "f"));
    let (record, _) = absorb(plan.record.clone(), step(&plan), &Outcome::Snapshots(vec![taken]), scope(102));
    let plan = decide(record, 110, kept);
    let (record, _) =
        absorb(plan.record.clone(), step(&plan), &Outcome::Image(ImageId::new("ami-n")), scope(111));
    let plan = decide(record, 120, kept);
    assert_eq!((plan.record.phase, plan.record.cycle), (Phase::Launching, 2));
    Record { intent: None, attempts: 0, ..plan.record }
}

/// A world in which everything of [`captured`] is there, and nothing is attached.
fn kept(seen: &mut Observation) {
    world(seen);
    seen.volumes.insert(VolumeId::new("vol-1"), volume(VolumeState::Available));
    let last = snapshot("snap-1", SnapshotState::Completed, 101, tags(Purpose::Final, 1, "f"));
    seen.snapshots.insert(last.id.clone(), last);
    let own = image("ami-n", ImageState::Available);
    seen.images.insert(own.id.clone(), ImageFacts { tags: tags(Purpose::Image, 1, "n"), ..own });
}

/// The same record, with another wish of the operator in force.
fn wants(mut record: Record, goal: DesiredState) -> Record {
    record.goal = goal;
    record.config.config.desired_state = goal;
    record.not_before = None;
    record
}

/// The plan for a node whose item lost its root persistence before the instance ended.
fn no_longer_kept() -> Plan {
    let mut record = running();
    record.config.config.persist.root = None;
    decide(record, 100, |seen| {
        world(seen);
        seen.instances.insert(InstanceId::new("i-1"), gone(instance(InstanceState::Terminated)));
        seen.volumes.insert(VolumeId::new("vol-1"), volume(VolumeState::Available));
    })
}

//! What comes next, for the moments in which a wrong answer would cost an instance or a byte.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::{Plan, Poll, Scope, Then, look, notice, plan};
use crate::absorb::absorb;
use crate::config;
use crate::failure::{Class, Failure};
use crate::ids::{ImageId, InstanceId, InterfaceId, NodeName, SnapshotId, SubnetId, VolumeId};
use crate::journal::Kind;
use crate::launch::{LaunchNetwork, TemplateFacts};
use crate::limits;
use crate::names::{Names, Purpose, Tags};
use crate::observation::*;
use crate::phase::Phase;
use crate::record::{Accepted, Network, Record, Superseded};
use crate::step::{Outcome, Step};

const LIFE: &str = "life-1";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + second).unwrap()
}

fn scope(second: i64) -> Scope<'static> {
    Scope { deployment: "prod", now: at(second) }
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
    let accepted = Accepted { hash: config::hash(&item), config: draft.config };
    let mut record = Record::new(node(), LIFE.to_owned(), accepted, at(0));
    record.generation = 1;
    record.network = Some(Network {
        eni_id: InterfaceId::new("eni-1"),
        private_ip: "10.0.1.4".parse().unwrap(),
        subnet_id: SubnetId::new("subnet-1"),
        zone: "us-east-1a".into(),
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
        }],
        interfaces: Vec::new(),
        client_token: None,
        tags: tags(Purpose::Instance, 1, "k"),
        platform: Platform { usage_operation: Some("RunInstances".into()), ..Platform::default() },
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
    let kept = InterfaceFacts {
        id: InterfaceId::new("eni-1"),
        state: InterfaceState::Available,
        subnet: SubnetId::new("subnet-1"),
        zone: "us-east-1a".into(),
        private_ip: "10.0.1.4".parse().unwrap(),
        groups: Vec::new(),
        attached_to: None,
        tags: Tags::new(),
    };
    seen.interfaces.insert(kept.id.clone(), kept);
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

#[test]
fn a_launch_is_explicit_and_keeps_root_and_interface() {
    let (record, launch) = launching();
    let Step::Launch(request) = launch else { panic!("{launch:?}") };
    assert_eq!(request.network, LaunchNetwork::Kept { eni_id: InterfaceId::new("eni-1") });
    assert_eq!((request.template_version, request.instance_type.as_str()), (3, "m5.large"));
    let root = request.devices.iter().find(|d| d.device_name == "/dev/xvda").unwrap();
    assert_eq!(root.delete_on_termination, Some(false));
    assert_eq!(request.volume_tags["perennial:key"], request.token);
    assert_eq!(record.intent.unwrap().request, *request, "the intent is written whole before it is sent");
}

#[test]
fn the_ladder_goes_on_at_a_refusal_and_rests_when_it_is_climbed() {
    let (mut record, mut launch) = launching();
    let mut tried = Vec::new();
    loop {
        let Step::Launch(request) = &launch else { panic!("{launch:?}") };
        tried.push((request.market.as_str(), request.instance_type.clone(), request.token.clone()));
        record = fail(record, &launch, Class::NextRung, 1);
        let next = decide(record, 1, world);
        record = next.record.clone();
        match next.then {
            Then::Act(step) => launch = *step,
            Then::Wait(_) => break,
            Then::Look => unreachable!(),
        }
    }
    let rungs: Vec<_> = tried.iter().map(|(market, kind, _)| (*market, kind.as_str())).collect();
    let expected =
        [("spot", "m5.large"), ("spot", "c5.large"), ("on-demand", "m5.large"), ("on-demand", "c5.large")];
    assert_eq!(rungs, expected);
    let tokens: std::collections::BTreeSet<_> = tried.iter().map(|(_, _, token)| token).collect();
    assert_eq!(tokens.len(), 4, "another rung has another token");
    let blocked = record.blocked.as_ref().unwrap();
    assert_eq!(blocked.code, "capacity");
    assert!(matches!(decide(record.clone(), 30, world).then, Then::Wait(_)), "it rests for a minute");
    let again = decide(record, 62, world);
    let Step::Launch(request) = step(&again) else { panic!() };
    assert_eq!((request.market.as_str(), request.instance_type.as_str()), ("spot", "m5.large"));
}

#[test]
fn an_unanswered_launch_is_repeated_identically_while_young_and_then_only_read() {
    let (record, launch) = launching();
    let record = fail(record, &launch, Class::Retry, 10);
    let young = decide(record.clone(), 60, |_| {});
    assert_eq!(step(&young), &launch, "the same request and token");
    let old = decide(record.clone(), 31 * 60, |_| {});
    assert!(matches!(old.then, Then::Wait(_)), "an old token is never sent again");
    let quiet = decide(old.record, 42 * 60, world);
    let (Step::Launch(first), Step::Launch(second)) = (&launch, step(&quiet)) else { panic!() };
    assert_ne!(first.token, second.token, "ten quiet minutes later another attempt begins");
    assert!(quiet.entries.iter().any(|e| e.what.contains("came to nothing")));
}

#[test]
fn a_launch_found_by_its_token_is_adopted_and_never_repeated() {
    let (record, launch) = launching();
    let Step::Launch(request) = &launch else { panic!() };
    let token = request.token.clone();
    let record = fail(record, &launch, Class::Retry, 10);
    let plan = decide(record, 60, |seen| {
        let found = InstanceFacts { client_token: Some(token.clone()), ..instance(InstanceState::Pending) };
        seen.instances.insert(found.id.clone(), found);
    });
    assert!(matches!(plan.then, Then::Wait(_)));
    let instance = plan.record.instance.unwrap();
    assert_eq!((instance.id.as_str(), &instance.key), ("i-1", &token));
    assert!(plan.record.intent.is_none());
}

#[test]
fn an_instance_that_lived_unseen_is_captured_by_the_key_of_its_volume() {
    let (record, launch) = launching();
    let Step::Launch(request) = &launch else { panic!() };
    let key = request.token.clone();
    let record = fail(record, &launch, Class::TokenSpent, 10);
    let left = move |seen: &mut Observation| {
        world(seen);
        let orphan = VolumeFacts { tags: tags(Purpose::Root, 1, &key), ..volume(VolumeState::Available) };
        seen.volumes.insert(orphan.id.clone(), orphan);
    };
    let waiting = decide(record, 60, &left);
    assert!(matches!(waiting.then, Then::Wait(_)), "the instance may still show itself");
    let plan = decide(waiting.record, 60 + 601, &left);
    assert_eq!(plan.record.phase, Phase::Capturing);
    let Step::Snapshot(request) = step(&plan) else { panic!("{:?}", plan.then) };
    assert_eq!((request.volume.as_str(), request.purpose), ("vol-1", Purpose::Final));
}

#[test]
fn a_notice_counts_for_the_present_instance_while_it_is_fresh() {
    let record = running();
    let current = InstanceId::new("i-1");
    let plan = notice(record.clone(), &current, at(200), scope(210)).unwrap().unwrap();
    assert_eq!(plan.record.phase, Phase::Interrupting);
    assert!(plan.record.outbox.iter().any(|e| e.kind == Kind::NodeInterrupted));
    let stale = limits::NOTICE_FRESH.as_secs() + 1;
    assert!(notice(record.clone(), &current, at(200), scope(200 + stale)).unwrap().is_none());
    assert!(notice(record.clone(), &InstanceId::new("i-0"), at(200), scope(210)).unwrap().is_none());
    assert!(notice(plan.record, &current, at(200), scope(210)).unwrap().is_none(), "known already");
    assert!(notice(new_record(), &current, at(200), scope(210)).unwrap().is_none());
}

#[test]
fn a_notice_brings_one_warning_snapshot_and_a_spared_instance_goes_on() {
    let current = InstanceId::new("i-1");
    let noticed = notice(running(), &current, at(200), scope(200)).unwrap().unwrap().record;
    let alive = |seen: &mut Observation| {
        seen.instances.insert(InstanceId::new("i-1"), instance(InstanceState::Running));
        seen.volumes.insert(VolumeId::new("vol-1"), volume(VolumeState::InUse));
    };
    let plan = decide(noticed, 201, alive);
    let warning = step(&plan).clone();
    assert!(matches!(&warning, Step::Snapshot(request) if request.purpose == Purpose::Warning));
    let soon = fail(plan.record.clone(), &warning, Class::NotYet, 202);
    assert!(matches!(&decide(soon.clone(), 203, alive).then, Then::Wait(wait) if wait.poll == Poll::Yes));
    assert_eq!(step(&decide(soon, 220, alive)), &warning, "too close to the last one: again in 15 seconds");
    let record = fail(plan.record, &warning, Class::Terminal, 202);
    assert!(record.blocked.is_none(), "it was best effort");
    let plan = decide(record, 203, alive);
    assert!(matches!(plan.then, Then::Wait(_)), "tried once");
    let plan = decide(plan.record, 200 + 601, alive);
    assert_eq!(plan.record.phase, Phase::Running);
    assert!(plan.record.notice.is_none());
}

#[test]
fn a_missing_instance_is_gone_only_after_an_hour_and_with_nothing_attached_to_it() {
    let missing = decide(running(), 100, |_| {});
    assert_eq!(missing.record.phase, Phase::Running);
    let soon = decide(missing.record.clone(), 100 + 3000, |_| {});
    assert_eq!(soon.record.phase, Phase::Running);
    let held = decide(missing.record.clone(), 100 + 3700, |seen| {
        let attached =
            VolumeFacts { attached_to: vec![InstanceId::new("i-1")], ..volume(VolumeState::InUse) };
        seen.volumes.insert(attached.id.clone(), attached);
    });
    assert_eq!(held.record.phase, Phase::Running);
    let gone = decide(missing.record, 100 + 3700, |seen| {
        world(seen);
        seen.volumes.insert(VolumeId::new("vol-1"), volume(VolumeState::Available));
    });
    assert_eq!(gone.record.phase, Phase::Capturing);
}

#[test]
fn the_final_snapshot_waits_until_the_volume_is_free() {
    let record = running();
    let busy = |seen: &mut Observation| {
        world(seen);
        seen.instances.insert(InstanceId::new("i-1"), gone(instance(InstanceState::Terminated)));
        let held = VolumeFacts { attached_to: vec![InstanceId::new("i-1")], ..volume(VolumeState::InUse) };
        seen.volumes.insert(held.id.clone(), held);
    };
    let plan = decide(record, 100, busy);
    assert_eq!(plan.record.phase, Phase::Releasing);
    assert!(matches!(&plan.then, Then::Wait(wait) if wait.poll == Poll::Yes), "no event tells of it: poll");
    let late = decide(plan.record, 100 + 601, busy);
    assert_eq!(late.record.blocked.as_ref().unwrap().code, "not-released");
    assert!(late.record.work_at.is_some());
    let free = capturing();
    assert!(matches!(step(&free), Step::Snapshot(request) if request.purpose == Purpose::Final));
}

#[test]
fn a_snapshot_under_the_final_key_is_adopted_only_if_it_proves_to_be_the_final_one() {
    let plan = capturing();
    let Step::Snapshot(request) = step(&plan).clone() else { panic!() };
    let free = |seen: &mut Observation| {
        seen.volumes.insert(VolumeId::new("vol-1"), volume(VolumeState::Available));
    };
    let good = snapshot("snap-1", SnapshotState::Pending, 101, request.tags.clone());
    let adopt = |facts: SnapshotFacts| {
        decide(plan.record.clone(), 110, |seen| {
            free(seen);
            // The account answers a look by key with what carries that key.
            if seen.look.snapshot_key.as_deref() == Some(&request.key)
                || seen.look.snapshots.contains(&facts.id)
            {
                seen.snapshots.insert(facts.id.clone(), facts.clone());
            }
        })
    };
    let adopted = adopt(good.clone());
    assert_eq!(adopted.record.finals[0].snapshot_id, Some(good.id.clone()));
    let with = |tag: &str, value: &str| {
        let mut facts = good.clone();
        facts.tags.insert(tag.into(), value.into());
        facts
    };
    for bad in [
        SnapshotFacts { started_at: at(50), ..good.clone() },
        SnapshotFacts { volume: VolumeId::new("vol-2"), ..good.clone() },
        SnapshotFacts { own: false, ..good.clone() },
        with("perennial:life", "life-0"),
        with("perennial:cycle", "7"),
        with("perennial:purpose", "periodic"),
        with("perennial:node", "web"),
    ] {
        let plan = adopt(bad);
        assert_eq!(plan.record.finals[0].attempt, 2, "left alone, and taken again under another key");
        assert!(matches!(step(&plan), Step::Snapshot(again) if again.key != request.key));
    }
}

#[test]
fn a_failed_final_snapshot_is_taken_again_and_a_lost_root_is_never_papered_over() {
    let plan = capturing();
    let taken = snapshot("snap-1", SnapshotState::Pending, 101, Tags::new());
    let (record, _) = absorb(plan.record.clone(), step(&plan), &Outcome::Snapshot(taken.clone()), scope(102));
    let failed = decide(record, 110, |seen| {
        seen.volumes.insert(VolumeId::new("vol-1"), volume(VolumeState::Available));
        if seen.look.snapshots.contains(&taken.id) {
            seen.snapshots
                .insert(taken.id.clone(), SnapshotFacts { state: SnapshotState::Error, ..taken.clone() });
        }
    });
    assert!(matches!(step(&failed), Step::Snapshot(request) if request.purpose == Purpose::Final));
    assert_eq!(failed.record.finals[0].attempt, 2);
    assert!(failed.record.superseded.contains(&Superseded::Snapshot(taken.id)));

    let ended = |seen: &mut Observation| {
        world(seen);
        seen.instances.insert(InstanceId::new("i-1"), gone(instance(InstanceState::Terminated)));
    };
    let missing = decide(running(), 100, ended);
    assert!(missing.record.blocked.is_none(), "a read may lag");
    let lost = decide(missing.record, 100 + 601, ended);
    assert_eq!(lost.record.phase, Phase::Releasing);
    assert_eq!(lost.record.blocked.as_ref().unwrap().code, "data-missing");
    assert!(lost.record.outbox.iter().any(|e| e.kind == Kind::NodeBlocked));
    assert!(lost.record.work_at.is_some());
}

/// A node in its second cycle, with everything of the first still there.
fn recovered() -> Record {
    let mut record = running();
    record.cycle = 2;
    record.superseded = vec![
        Superseded::Snapshot(SnapshotId::new("snap-f")),
        Superseded::Image(ImageId::new("ami-n")),
        Superseded::Volume(VolumeId::new("vol-0")),
    ];
    record
}

fn second_cycle(seen: &mut Observation) {
    seen.instances.insert(InstanceId::new("i-1"), instance(InstanceState::Running));
    let old = VolumeFacts { id: VolumeId::new("vol-0"), ..volume(VolumeState::Available) };
    seen.volumes.insert(old.id.clone(), old);
    let node_image =
        ImageFacts { tags: tags(Purpose::Image, 1, "k"), ..image("ami-n", ImageState::Available) };
    seen.images.insert(node_image.id.clone(), node_image);
    let last = snapshot("snap-f", SnapshotState::Completed, 5, tags(Purpose::Final, 1, "k"));
    seen.snapshots.insert(last.id.clone(), SnapshotFacts { volume: VolumeId::new("vol-0"), ..last });
}

fn proven(seen: &mut Observation) {
    second_cycle(seen);
    seen.checks_passed = true;
    let own = snapshot("snap-p", SnapshotState::Completed, 300, tags(Purpose::Periodic, 2, "k"));
    seen.snapshots.insert(own.id.clone(), own);
}

#[test]
fn nothing_older_goes_before_the_present_instance_is_proven() {
    let without_checks = |seen: &mut Observation| {
        proven(seen);
        seen.checks_passed = false;
    };
    let without_snapshot = |seen: &mut Observation| {
        second_cycle(seen);
        seen.checks_passed = true;
    };
    let with_a_pending_one = |seen: &mut Observation| {
        proven(seen);
        seen.snapshots.get_mut(&SnapshotId::new("snap-p")).unwrap().state = SnapshotState::Pending;
    };
    let with_one_of_another_volume = |seen: &mut Observation| {
        proven(seen);
        seen.snapshots.get_mut(&SnapshotId::new("snap-p")).unwrap().volume = VolumeId::new("vol-0");
    };
    let unproven: [&dyn Fn(&mut Observation); 4] =
        [&without_checks, &without_snapshot, &with_a_pending_one, &with_one_of_another_volume];
    for fill in unproven {
        let plan = decide(recovered(), 400, fill);
        assert!(matches!(plan.then, Then::Wait(_)), "{:?}", plan.then);
        assert_eq!(plan.record.superseded.len(), 3);
    }
}

#[test]
fn what_is_superseded_goes_in_order_volume_image_snapshot() {
    let mut record = recovered();
    let mut order = Vec::new();
    loop {
        let next = decide(record, 400, proven);
        let Then::Act(step) = next.then else { break };
        order.push(step.name());
        record = absorb(next.record, &step, &Outcome::Done, scope(400)).0;
    }
    assert_eq!(order, ["delete-volume", "deregister-image", "delete-snapshot"]);
}

#[test]
fn what_is_no_longer_ours_is_handed_over_and_what_is_gone_is_forgotten() {
    let plan = decide(recovered(), 400, |seen| {
        proven(seen);
        seen.volumes.get_mut(&VolumeId::new("vol-0")).unwrap().tags.clear();
        seen.images.clear();
    });
    assert_eq!(step(&plan).name(), "delete-snapshot");
    let told: Vec<_> = plan.entries.iter().map(|e| e.what.as_str()).collect();
    assert!(told[0].contains("ami-n is gone"), "{told:?}");
    assert!(told[1].contains("vol-0 is left alone and handed over"), "{told:?}");
}

#[test]
fn delete_on_termination_turned_back_on_is_turned_off_again() {
    let plan = decide(running(), 100, |seen| {
        let mut facts = instance(InstanceState::Running);
        facts.volumes[0].delete_on_termination = true;
        seen.instances.insert(facts.id.clone(), facts);
    });
    assert!(matches!(step(&plan), Step::KeepVolumes { devices, .. } if devices == &["/dev/xvda"]));
}

#[test]
fn a_steady_node_changes_nothing() {
    let record = running();
    let plan = decide(record.clone(), 300, |seen| {
        seen.instances.insert(InstanceId::new("i-1"), instance(InstanceState::Running));
    });
    assert!(matches!(plan.then, Then::Wait(_)));
    assert_eq!(plan.record, record, "so nothing is written");
    assert_eq!(plan.entries, []);
    assert!(plan.record.work_at.is_none());
}

#[test]
fn an_image_that_would_be_billed_otherwise_blocks() {
    let plan = capturing();
    let taken = snapshot("snap-1", SnapshotState::Pending, 101, Tags::new());
    let (record, _) = absorb(plan.record.clone(), step(&plan), &Outcome::Snapshot(taken.clone()), scope(102));
    let complete = |seen: &mut Observation| {
        let done = SnapshotFacts { state: SnapshotState::Completed, ..taken.clone() };
        seen.snapshots.insert(done.id.clone(), done);
        seen.volumes.insert(VolumeId::new("vol-1"), volume(VolumeState::Available));
    };
    let plan = decide(record, 110, complete);
    let Step::RegisterImage(request) = step(&plan) else { panic!("{:?}", plan.then) };
    assert_eq!(request.snapshot, taken.id);
    let outcome = Outcome::Image(ImageId::new("ami-n"));
    let (record, _) = absorb(plan.record.clone(), step(&plan), &outcome, scope(111));
    let other = |seen: &mut Observation| {
        let mut facts = image("ami-n", ImageState::Available);
        facts.platform.usage_operation = Some("RunInstances:0002".into());
        seen.images.insert(facts.id.clone(), facts);
    };
    let blocked = decide(record.clone(), 120, other);
    assert_eq!(blocked.record.blocked.unwrap().code, "image-mismatch");
    let good = decide(record, 120, |seen| {
        world(seen);
        seen.images.insert(ImageId::new("ami-n"), image("ami-n", ImageState::Available));
    });
    assert_eq!((good.record.phase, good.record.cycle), (Phase::Launching, 2));
    let Step::Launch(request) = step(&good) else { panic!("{:?}", good.then) };
    assert_eq!(request.image_id.as_str(), "ami-n");
    assert_eq!(request.devices[0].size_gib, Some(8));
    assert!(good.record.superseded.contains(&Superseded::Volume(VolumeId::new("vol-1"))));
}

#[test]
fn a_wait_keeps_an_earlier_appointment_and_never_forgets_one() {
    let mut record = running();
    record.work_at = Some(at(130));
    let plan = decide(record, 100, |_| {});
    assert_eq!(plan.record.work_at, Some(at(130)));
    let late = decide(plan.record, 500, |_| {});
    assert_eq!(late.record.work_at, Some(at(500) + limits::NEXT_TICK));
    assert!(limits::NEXT_TICK < SignedDuration::from_mins(1));
}

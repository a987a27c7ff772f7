//! The launch: what is sent, repeated, found again and given up.

use super::*;

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
        let orphan = VolumeFacts {
            tags: tags(Purpose::Root, 1, &key),
            source: Some(SnapshotId::new("snap-base")),
            ..volume(VolumeState::Available)
        };
        let data = VolumeFacts { id: VolumeId::new("vol-0"), source: None, ..orphan.clone() };
        seen.volumes.insert(orphan.id.clone(), orphan);
        seen.volumes.insert(data.id.clone(), data);
    };
    let waiting = decide(record, 60, &left);
    assert!(matches!(waiting.then, Then::Wait(_)), "the instance may still show itself");
    let plan = decide(waiting.record, 60 + 601, &left);
    assert_eq!(plan.record.phase, Phase::Capturing);
    let Step::Snapshot(request) = step(&plan) else { panic!("{:?}", plan.then) };
    assert_eq!((request.volumes()[0].as_str(), request.purpose()), ("vol-1", Purpose::Final));
}

#[test]
fn the_root_of_an_unseen_instance_is_known_though_its_image_was_deregistered_meanwhile() {
    let plan = decide(captured(), 200, kept);
    let Step::Launch(request) = step(&plan) else { panic!("{:?}", plan.then) };
    let key = request.token.clone();
    let record = fail(plan.record.clone(), step(&plan), Class::TokenSpent, 210);
    let left = move |seen: &mut Observation| {
        kept(seen);
        seen.images.retain(|id, _| id.as_str() == "ami-base");
        let source = Some(SnapshotId::new("snap-1"));
        let tags = tags(Purpose::Root, 2, &key);
        let made = VolumeFacts { id: VolumeId::new("vol-2"), source, tags, ..volume(VolumeState::Available) };
        seen.volumes.insert(made.id.clone(), made);
    };
    let waiting = decide(record, 260, &left);
    let plan = decide(waiting.record, 260 + 601, &left);
    let Step::Snapshot(request) = step(&plan) else { panic!("{:?}", plan.then) };
    assert_eq!((request.volumes()[0].as_str(), request.purpose()), ("vol-2", Purpose::Final));
    assert_eq!(plan.record.root.unwrap().device_name, "/dev/xvda");
}

#[test]
fn an_older_cycles_image_is_never_launched_silently() {
    let mut record = no_longer_kept().record;
    record.intent = None;
    let policy = config::RootPolicy { snapshot_every: SignedDuration::from_mins(5), keep: 3 };
    record.config.config.persist.root = Some(policy);
    record.image = Some(crate::record::NodeImage {
        id: Some(ImageId::new("ami-old")),
        cycle: 0,
        attempt: 1,
        snapshot_id: SnapshotId::new("snap-old"),
        state: ImageState::Available,
        missing_since: None,
    });
    let plan = decide(record, 200, world);
    assert_eq!(plan.record.blocked.unwrap().code, "image-stale");
}

#[test]
fn a_lost_interface_is_made_again_with_its_address() {
    let without = |seen: &mut Observation| {
        world(seen);
        seen.interfaces.clear();
    };
    let missing = decide(new_record(), 0, without);
    assert!(matches!(missing.then, Then::Wait(_)));
    let again = decide(missing.record, 601, without);
    let Step::CreateInterface(request) = step(&again) else { panic!("{:?}", again.then) };
    assert_eq!(
        (request.private_ip, request.subnet.as_str()),
        (Some("10.0.1.4".parse().unwrap()), "subnet-1")
    );
    // Somebody was quicker: the next look shows who.
    let taken = fail(again.record.clone(), step(&again), Class::AddressTaken, 602);
    assert_eq!(taken.blocked, None);
    let held = |seen: &mut Observation| {
        without(seen);
        let stranger = seen.look.holders_of.first().map(|address| InterfaceFacts {
            id: InterfaceId::new("eni-9"),
            private_ip: *address,
            attached_to: Some(InstanceId::new("i-9")),
            tags: Tags::new(),
            ..stranger()
        });
        seen.holders.extend(stranger);
    };
    let blocked = decide(taken, 606, held).record.blocked.unwrap();
    assert_eq!(blocked.code, "address-taken");
    assert!(
        blocked.message.contains("10.0.1.4") && blocked.message.contains("eni-9 of i-9"),
        "{}",
        blocked.message
    );
}

fn stranger() -> InterfaceFacts {
    InterfaceFacts { state: InterfaceState::InUse, ..free_interface("eni-9") }
}

#[test]
fn a_kept_interface_in_use_elsewhere_is_reported() {
    let busy = |seen: &mut Observation| {
        world(seen);
        let kept = seen.interfaces.get_mut(&InterfaceId::new("eni-1")).unwrap();
        (kept.state, kept.attached_to) = (InterfaceState::InUse, Some(InstanceId::new("i-9")));
    };
    let plan = decide(new_record(), 0, busy);
    assert!(plan.record.blocked.is_none());
    let blocked = decide(plan.record, 601, busy).record.blocked.unwrap();
    assert_eq!(blocked.code, "interface-in-use");
    assert!(blocked.message.contains("i-9"), "{}", blocked.message);
}

#[test]
fn a_thing_that_one_read_does_not_show_does_not_block() {
    let without = |seen: &mut Observation| {
        world(seen);
        seen.images.clear();
    };
    let plan = decide(new_record(), 0, without);
    assert!(plan.record.blocked.is_none());
    assert_eq!(decide(plan.record, 60, without).record.blocked.unwrap().code, "image-missing");
}

#[test]
fn a_deleted_interface_of_a_node_that_keeps_none_any_more_is_let_go_of() {
    let mut record = captured();
    record.config.config.persist.network = None;
    let no_eni = |seen: &mut Observation| {
        kept(seen);
        seen.interfaces.clear();
    };
    let mut second = 200;
    for _ in 0..40 {
        let plan = decide(record, second, no_eni);
        record = plan.record;
        if let Then::Act(s) = &plan.then {
            let Step::Launch(request) = &**s else { panic!("{s:?}") };
            assert!(matches!(request.network, LaunchNetwork::Fresh { .. }), "{:?}", request.network);
            return;
        }
        second += 400;
    }
    panic!("{:?}", record.blocked);
}

#[test]
fn another_address_is_used_once_the_kept_one_is_taken() {
    let record = captured();
    let no_eni = |seen: &mut Observation| {
        kept(seen);
        seen.interfaces.clear();
    };
    let plan = decide(record, 200, no_eni);
    let plan = decide(plan.record, 801, no_eni);
    let s = step(&plan).clone();
    let mut record = fail(plan.record, &s, Class::AddressTaken, 802);
    record.config.config.persist.network.as_mut().unwrap().private_ip = Some("10.0.1.77".parse().unwrap());
    record.not_before = None;
    let plan = decide(record, 900, no_eni);
    let Step::CreateInterface(r) = step(&plan) else { panic!() };
    assert_eq!(r.private_ip, Some("10.0.1.77".parse().unwrap()));
}

#[test]
fn a_refused_repeat_of_an_unanswered_launch_is_still_looked_for() {
    let (record, launch) = launching();
    let Step::Launch(request) = &launch else { panic!("{launch:?}") };
    let first = request.token.clone();
    let record = fail(record, &launch, Class::Retry, 1); // timed out; it was launched
    let plan = decide(record, 20, world); // reads lag
    let record = fail(plan.record.clone(), step(&plan), Class::Terminal, 21); // rights were taken meanwhile
    let plan = decide(record, 400, world);
    assert!(matches!(plan.then, Then::Wait(_)), "the first try may have launched one: {:?}", plan.then);
    assert!(plan.record.intent.is_some());
    let plan = decide(plan.record, 400 + 601, world);
    assert!(matches!(step(&plan), Step::Launch(next) if next.token != first), "ten quiet minutes later");
}

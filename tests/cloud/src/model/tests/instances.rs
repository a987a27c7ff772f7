//! Launches, interruptions, ends.

use super::*;

#[test]
fn an_interruption_gives_two_minutes_then_releases_what_was_kept() {
    let mut w = world();
    let eni = w.interface();
    let request = w.request_on(&eni.id);
    let instance = w.launch(&request);
    let root = instance.root().unwrap().volume_id.clone();
    w.pass(12);
    w.cloud.write(WriteTarget::Instance(instance.id.clone()), 3).unwrap();
    w.events();
    w.cloud.interrupt(&instance.id, true).unwrap();
    w.pass(119);
    assert_eq!(w.state(&instance.id), InstanceState::Running);
    // The guest still writes during the notice; nothing of it may be lost.
    assert_eq!(w.cloud.write(WriteTarget::Volume(root.clone()), 2).unwrap(), 5);
    w.pass(1);
    assert_eq!(w.state(&instance.id), InstanceState::ShuttingDown);
    refused(w.cloud.write(WriteTarget::Volume(root.clone()), 1), "IncorrectState");
    w.pass(25);
    let ended = w.cloud.instance(&instance.id).unwrap().clone();
    assert_eq!(ended.state, InstanceState::Terminated);
    assert_eq!(ended.state_reason.unwrap().0, "Server.SpotInstanceTermination");
    assert!(ended.block_devices.is_empty() && ended.interfaces.is_empty() && ended.private_ip.is_none());
    // `terminated` comes before the volume and the interface are free.
    assert_eq!(w.cloud.volume(&root).unwrap().state, VolumeState::InUse);
    refused(w.cloud.run_instances(&w.request_on(&eni.id)), "InvalidNetworkInterface.InUse");
    w.pass(2);
    assert_eq!(w.cloud.network_interface(&eni.id).unwrap().state(), InterfaceState::Available);
    w.pass(1);
    assert_eq!(w.cloud.volume(&root).unwrap().state, VolumeState::Available);
    assert_eq!(w.cloud.contents(&root).unwrap().writes, 5);
    let names: Vec<String> = w.events().into_iter().map(|(_, said)| said).collect();
    assert_eq!(names, ["terminate", "shutting-down", "terminated"]);
    w.pass(3600);
    refused(w.cloud.describe_instances(&Describe::ids([&instance.id])), "InvalidInstanceID.NotFound");
}

#[test]
fn an_interruption_without_notice_ends_the_instance_at_once() {
    let mut w = world();
    let (instance, _) = w.running();
    w.events();
    w.cloud.interrupt(&instance, false).unwrap();
    assert_eq!(w.state(&instance), InstanceState::ShuttingDown);
    assert_eq!(
        w.events(),
        [("EC2 Instance State-change Notification".to_owned(), "shutting-down".to_owned())]
    );
}

#[test]
fn only_running_spot_instances_can_be_interrupted_and_only_once() {
    let mut w = world();
    let mut request = w.request();
    let pending = w.launch(&request).id;
    refused(w.cloud.interrupt(&pending, true), "IncorrectInstanceState");
    request.spec.market = None;
    let on_demand = w.launch(&request).id;
    w.pass(12);
    refused(w.cloud.interrupt(&on_demand, true), "UnsupportedOperation");
    w.cloud.interrupt(&pending, true).unwrap();
    refused(w.cloud.interrupt(&pending, true), "IncorrectInstanceState");
}

#[test]
fn a_user_termination_during_the_notice_keeps_its_own_reason() {
    let mut w = world();
    let (instance, _) = w.running();
    w.cloud.interrupt(&instance, true).unwrap();
    w.pass(60);
    w.cloud.terminate_instances(std::slice::from_ref(&instance)).unwrap();
    w.pass(300);
    let ended = w.cloud.instance(&instance).unwrap();
    assert_eq!(ended.state, InstanceState::Terminated);
    assert_eq!(ended.state_reason.unwrap().0, "Client.UserInitiatedShutdown");
    let again = w.cloud.terminate_instances(&[instance]).unwrap();
    assert_eq!(again[0].current, InstanceState::Terminated);
}

#[test]
fn a_token_answers_with_the_first_launch_until_that_has_ended() {
    let mut w = world();
    let mut request = w.request();
    request.client_token = Some("node-1".to_owned());
    let first = w.launch(&request);
    w.pass(12);
    let again = w.launch(&request);
    assert_eq!((again.id.as_str(), again.state), (first.id.as_str(), InstanceState::Running));
    assert_eq!(w.cloud.instances().count(), 1);
    let mut other = request.clone();
    other.spec.instance_type = Some("m5.large".to_owned());
    refused(w.cloud.run_instances(&other), "IdempotentParameterMismatch");
    w.cloud.terminate_instances(&[first.id]).unwrap();
    w.pass(30);
    refused(w.cloud.run_instances(&request), "IdempotentInstanceTerminated");
    w.pass(4000);
    refused(w.cloud.run_instances(&request), "IdempotentInstanceTerminated");
}

#[test]
fn a_refused_launch_leaves_nothing_and_does_not_use_up_its_token() {
    let mut w = world();
    let mut request = w.request();
    request.client_token = Some("node-1".to_owned());
    w.cloud.set_capacity("m6i.large", "us-east-1a", Market::Spot, Some(0));
    let error = w.cloud.run_instances(&request).unwrap_err();
    assert_eq!((error.code.as_ref(), error.status), ("InsufficientInstanceCapacity", 500));
    let left = (w.cloud.instances().count(), w.cloud.volumes().count(), w.cloud.network_interfaces().count());
    assert_eq!(left, (0, 0, 0));
    w.cloud.set_capacity("m6i.large", "us-east-1a", Market::Spot, Some(1));
    w.launch(&request);
    request.client_token = None;
    refused(w.cloud.run_instances(&request), "InsufficientInstanceCapacity");
    // The other market and Zone are untouched.
    request.spec.market = None;
    w.launch(&request);
}

#[test]
fn delete_on_termination_comes_from_the_request_then_the_image_and_can_be_changed_while_running() {
    let mut w = world();
    let mut request = w.request();
    request.spec.block_devices.clear();
    let instance = w.launch(&request);
    let root = instance.root().unwrap().clone();
    assert!(root.delete_on_termination);
    w.pass(12);
    let device = "/dev/xvda".to_owned();
    w.cloud.modify_block_devices(&instance.id, &[(device.clone(), false)]).unwrap();
    refused(
        w.cloud.modify_block_devices(&instance.id, &[("/dev/sdz".to_owned(), false)]),
        "InvalidInstanceAttributeValue",
    );
    w.cloud.terminate_instances(std::slice::from_ref(&instance.id)).unwrap();
    refused(w.cloud.modify_block_devices(&instance.id, &[(device, true)]), "IncorrectInstanceState");
    w.pass(60);
    assert_eq!(w.cloud.volume(&root.volume_id).unwrap().state, VolumeState::Available);

    let gone = w.launch(&request);
    let root = gone.root().unwrap().volume_id.clone();
    let eni = gone.interfaces[0].network_interface_id.clone();
    w.cloud.terminate_instances(&[gone.id]).unwrap();
    w.pass(60);
    assert!(w.cloud.volume(&root).is_none() && w.cloud.network_interface(&eni).is_none());
}

#[test]
fn on_demand_instances_stop_and_start_with_their_disk_spot_instances_do_not_stop() {
    let mut w = world();
    let (spot, _) = w.running();
    refused(w.cloud.stop_instances(&[spot]), "UnsupportedOperation");
    let mut request = w.request();
    request.spec.market = None;
    let instance = w.launch(&request);
    refused(w.cloud.stop_instances(std::slice::from_ref(&instance.id)), "IncorrectInstanceState");
    w.pass(12);
    w.cloud.write(WriteTarget::Instance(instance.id.clone()), 4).unwrap();
    w.cloud.stop_instances(std::slice::from_ref(&instance.id)).unwrap();
    assert_eq!(w.state(&instance.id), InstanceState::Stopping);
    w.pass(15);
    assert_eq!(w.state(&instance.id), InstanceState::Stopped);
    refused(w.cloud.write(WriteTarget::Instance(instance.id.clone()), 1), "IncorrectState");
    w.cloud.start_instances(std::slice::from_ref(&instance.id)).unwrap();
    w.pass(12);
    assert_eq!(w.state(&instance.id), InstanceState::Running);
    assert_eq!(w.cloud.write(WriteTarget::Instance(instance.id), 1).unwrap(), 5);
}

#[test]
fn a_template_is_merged_below_the_request() {
    let mut w = world();
    let request = RunInstances {
        spec: LaunchSpec { instance_type: Some("c5.large".to_owned()), ..LaunchSpec::default() },
        min_count: 1,
        max_count: 1,
        launch_template: Some(TemplateRef {
            name: Some("perennial-demo".to_owned()),
            ..TemplateRef::default()
        }),
        ..RunInstances::default()
    };
    let instance = w.launch(&request);
    assert_eq!(instance.instance_type, "c5.large");
    assert_eq!(instance.image_id, w.ids.image_id);
    assert_eq!(instance.security_groups, [w.ids.security_group_id.clone()]);
    assert_eq!(instance.tags["Name"], "perennial-demo");
    // The template's groups and an interface of the request exclude each other.
    let eni = w.interface();
    let mut kept = request;
    kept.spec.interfaces = w.request_on(&eni.id).spec.interfaces;
    refused(w.cloud.run_instances(&kept), "InvalidParameterCombination");
}

#[test]
fn launches_aws_refuses() {
    let mut w = world();
    let change = |w: &World, change: &dyn Fn(&mut LaunchSpec)| {
        let mut request = w.request();
        change(&mut request.spec);
        request
    };
    let price = |text: &str| {
        let text = text.to_owned();
        move |spec: &mut LaunchSpec| spec.market.as_mut().unwrap().max_price = Some(text.clone())
    };
    let request = change(&w, &|spec| spec.instance_type = Some("m9.huge".to_owned()));
    refused(w.cloud.run_instances(&request), "InvalidParameterValue");
    let request = change(&w, &|spec| spec.instance_type = Some("m7g.large".to_owned()));
    refused(w.cloud.run_instances(&request), "InvalidParameterValue");
    let request = change(&w, &|spec| spec.image_id = Some("ami-0123456789abcdef0".to_owned()));
    refused(w.cloud.run_instances(&request), "InvalidAMIID.NotFound");
    let request = change(&w, &price("0.002"));
    refused(w.cloud.run_instances(&request), "SpotMaxPriceTooLow");
    let request = change(&w, &price("1"));
    w.launch(&request);
    let request = change(&w, &|spec| spec.user_data = Some("not base64!".to_owned()));
    refused(w.cloud.run_instances(&request), "InvalidUserData.Malformed");
    let request = change(&w, &|spec| spec.block_devices[0].ebs.as_mut().unwrap().volume_size = Some(4));
    refused(w.cloud.run_instances(&request), "InvalidBlockDeviceMapping");
}

#[test]
fn status_checks_pass_some_time_after_running() {
    let mut w = world();
    let request = w.request();
    let id = w.launch(&request).id;
    let status = |w: &mut World, all: bool| {
        let page = w.cloud.describe_instance_status(&Describe::ids([&id]), all).unwrap();
        page.items.first().map(|it| it.status)
    };
    assert_eq!((status(&mut w, false), status(&mut w, true)), (None, Some("not-applicable")));
    w.pass(12);
    assert_eq!(status(&mut w, false), Some("initializing"));
    w.pass(45);
    assert_eq!(status(&mut w, false), Some("ok"));
}

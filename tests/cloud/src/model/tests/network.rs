//! Interfaces, addresses, describes.

use super::*;

#[test]
fn addresses_are_unique_within_a_subnet_and_inside_it() {
    let mut w = world();
    let with = |w: &World, address: &str| CreateNetworkInterface {
        subnet_id: w.ids.subnet_ids[0].clone(),
        private_ip_address: Some(address.to_owned()),
        ..CreateNetworkInterface::default()
    };
    assert_eq!(w.interface().private_ip.to_string(), "10.0.1.4");
    let request = with(&w, "10.0.1.20");
    w.cloud.create_network_interface(&request).unwrap();
    refused(w.cloud.create_network_interface(&request), "InvalidIPAddress.InUse");
    for outside in ["10.0.2.20", "10.0.1.0", "10.0.1.3", "10.0.1.255"] {
        let request = with(&w, outside);
        refused(w.cloud.create_network_interface(&request), "InvalidParameterValue");
    }
    assert_eq!(w.interface().private_ip.to_string(), "10.0.1.5");
}

#[test]
fn a_kept_interface_carries_its_address_to_the_next_instance() {
    let mut w = world();
    let eni = w.interface();
    let request = w.request_on(&eni.id);
    let first = w.launch(&request);
    assert_eq!(first.private_ip, Some(eni.private_ip));
    assert!(!first.interfaces[0].delete_on_termination);
    refused(w.cloud.run_instances(&request), "InvalidNetworkInterface.InUse");
    refused(w.cloud.delete_network_interface(&eni.id), "InvalidNetworkInterface.InUse");
    w.cloud.terminate_instances(&[first.id]).unwrap();
    w.pass(27);
    assert_eq!(w.launch(&request).private_ip, Some(eni.private_ip));
}

#[test]
fn an_existing_interface_excludes_what_describes_a_new_one() {
    let mut w = world();
    let eni = w.interface();
    let (subnet, group) = (w.ids.subnet_ids[0].clone(), w.ids.security_group_id.clone());
    let changes: [&dyn Fn(&mut LaunchSpec); 8] = [
        &|spec| spec.subnet_id = Some(subnet.clone()),
        &|spec| spec.security_group_ids = vec![group.clone()],
        &|spec| spec.private_ip_address = Some("10.0.1.9".to_owned()),
        &|spec| spec.interfaces[0].delete_on_termination = Some(true),
        &|spec| spec.interfaces[0].groups = vec![group.clone()],
        &|spec| spec.interfaces[0].subnet_id = Some(subnet.clone()),
        &|spec| spec.interfaces[0].private_ip_address = Some("10.0.1.9".to_owned()),
        &|spec| spec.interfaces[0].description = Some("x".to_owned()),
    ];
    for change in changes {
        let mut request = w.request_on(&eni.id);
        change(&mut request.spec);
        refused(w.cloud.run_instances(&request), "InvalidParameterCombination");
    }
    let mut request = w.request_on(&eni.id);
    request.max_count = 2;
    refused(w.cloud.run_instances(&request), "InvalidParameterCombination");
    let mut request = w.request_on(&eni.id);
    request.spec.options.insert("Placement.AvailabilityZone".to_owned(), "us-east-1b".to_owned());
    refused(w.cloud.run_instances(&request), "InvalidParameterValue");
    let mut request = w.request_on(&eni.id);
    request.spec.interfaces[0].device_index = Some(1);
    refused(w.cloud.run_instances(&request), "InvalidParameterValue");
    assert_eq!(w.cloud.instances().count(), 0);
}

#[test]
fn the_interface_of_a_launch_can_be_kept_by_changing_its_attachment() {
    let mut w = world();
    let (instance, _) = w.running();
    let held = w.cloud.instance(&instance).unwrap().interfaces[0].clone();
    assert!(held.delete_on_termination);
    let change = InterfaceChange::DeleteOnTermination { attachment_id: held.attachment_id, value: false };
    w.cloud.modify_network_interface(&held.network_interface_id, &change).unwrap();
    assert!(!w.cloud.instance(&instance).unwrap().interfaces[0].delete_on_termination);
    w.cloud.terminate_instances(&[instance]).unwrap();
    w.pass(27);
    let kept = w.cloud.network_interface(&held.network_interface_id).unwrap();
    assert_eq!(kept.state(), InterfaceState::Available);
    refused(
        w.cloud.modify_network_interface(&held.network_interface_id, &change),
        "InvalidAttachmentID.NotFound",
    );
}

#[test]
fn filters_narrow_and_unknown_ones_are_refused() {
    let mut w = world();
    let (instance, root) = w.running();
    let tags = Tags::from([("perennial:node".to_owned(), "db-1".to_owned())]);
    w.cloud.create_tags(&[instance.clone(), root.clone()], &tags).unwrap();
    let request = w.request();
    w.launch(&request);
    let mut count = |name: &str, value: &str| {
        w.cloud.describe_instances(&Describe::filter(name, value)).map(|page| page.items.len())
    };
    assert_eq!(count("tag:perennial:node", "db-?").unwrap(), 1);
    assert_eq!(count("tag-key", "perennial:*").unwrap(), 1);
    assert_eq!(count("instance-state-name", "pending").unwrap(), 1);
    assert_eq!(count("instance-state-name", "p*").unwrap(), 1);
    assert_eq!(count("tag:perennial:node", "db").unwrap(), 0);
    refused(count("colour", "red"), "InvalidParameterValue");
    let held = w.cloud.describe_volumes(&Describe::filter("attachment.instance-id", &instance)).unwrap();
    assert_eq!(held.items[0].id, root);
}

#[test]
fn pages_cover_everything_once() {
    let mut w = world();
    for _ in 0..12 {
        w.interface();
    }
    let mut request = Describe { max_results: Some(5), ..Describe::default() };
    let (mut seen, mut pages) = (Vec::new(), 0);
    loop {
        let page = w.cloud.describe_network_interfaces(&request).unwrap();
        seen.extend(page.items.into_iter().map(|it| it.id));
        pages += 1;
        request.next_token = page.next_token;
        if request.next_token.is_none() {
            break;
        }
    }
    let all: Vec<String> = w.cloud.network_interfaces().map(|it| it.id.clone()).collect();
    assert_eq!((seen, pages), (all.clone(), 3));
    let both = Describe { ids: all, max_results: Some(5), ..Describe::default() };
    refused(w.cloud.describe_network_interfaces(&both), "InvalidParameterCombination");
    let few = Describe { max_results: Some(4), ..Describe::default() };
    refused(w.cloud.describe_network_interfaces(&few), "InvalidParameterValue");
}

#[test]
fn tags_are_put_on_all_or_none_and_keep_to_the_limits() {
    let mut w = world();
    let (instance, _) = w.running();
    let tag = |key: &str| Tags::from([(key.to_owned(), "x".to_owned())]);
    let unknown = "vol-0123456789abcdef0".to_owned();
    refused(w.cloud.create_tags(&[instance.clone(), unknown], &tag("a")), "InvalidVolume.NotFound");
    assert!(w.cloud.instance(&instance).unwrap().tags.is_empty());
    refused(w.cloud.create_tags(std::slice::from_ref(&instance), &tag("aws:x")), "InvalidParameterValue");
    let many: Tags = (0..51).map(|n| (format!("k{n}"), String::new())).collect();
    refused(w.cloud.create_tags(std::slice::from_ref(&instance), &many), "TagLimitExceeded");
    w.cloud.create_tags(std::slice::from_ref(&instance), &tag("a")).unwrap();
    let other = [("a".to_owned(), Some("y".to_owned()))];
    w.cloud.delete_tags(std::slice::from_ref(&instance), &other).unwrap();
    assert_eq!(w.cloud.instance(&instance).unwrap().tags.len(), 1);
    w.cloud.delete_tags(std::slice::from_ref(&instance), &[("a".to_owned(), None)]).unwrap();
    assert!(w.cloud.instance(&instance).unwrap().tags.is_empty());
}

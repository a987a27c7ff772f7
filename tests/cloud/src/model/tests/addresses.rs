//! Elastic IP addresses: where they are, what they refuse, and what becomes of them.

use super::*;

fn to(address: &ElasticIp, interface: &NetworkInterface) -> AssociateAddress {
    AssociateAddress {
        allocation_id: address.id.clone(),
        network_interface_id: Some(interface.id.clone()),
        ..AssociateAddress::default()
    }
}

fn never(request: AssociateAddress) -> AssociateAddress {
    AssociateAddress { allow_reassociation: Some(false), ..request }
}

fn by_instance(address: &ElasticIp, instance: &str) -> AssociateAddress {
    AssociateAddress {
        allocation_id: address.id.clone(),
        instance_id: Some(instance.to_owned()),
        ..AssociateAddress::default()
    }
}

impl World {
    fn elastic_ip(&mut self) -> ElasticIp {
        self.cloud.allocate_address(&[]).unwrap()
    }

    /// The interface an Elastic IP address is on.
    fn home(&self, address: &ElasticIp) -> Option<String> {
        let held = self.cloud.elastic_ip(&address.id).unwrap().association.as_ref();
        held.map(|it| it.network_interface_id.clone())
    }
}

#[test]
fn the_account_has_a_quota_of_elastic_ips() {
    let mut w = world();
    let all: Vec<ElasticIp> = (0..5).map(|_| w.elastic_ip()).collect();
    refused(w.cloud.allocate_address(&[]), "AddressLimitExceeded");
    w.cloud.release_address(&all[0].id).unwrap();
    let new = w.elastic_ip();
    assert!(all.iter().all(|it| it.public_ip != new.public_ip), "an address was given out again");
    refused(w.cloud.allocate_address(&[]), "AddressLimitExceeded");
    let raised = Settings { elastic_ip_limit: 6, throttling: false, ..Settings::default() };
    let mut w = world_with(raised);
    assert_eq!((0..6).map(|_| w.elastic_ip()).count(), 6);
    refused(w.cloud.allocate_address(&[]), "AddressLimitExceeded");
}

#[test]
fn public_addresses_run_out() {
    let mut w = world();
    w.cloud.public_drawn = crate::model::addresses::PUBLIC_ADDRESSES - 1;
    assert_eq!(w.elastic_ip().public_ip.to_string(), "198.19.255.254");
    let error = w.cloud.allocate_address(&[]).unwrap_err();
    assert_eq!((error.code.as_ref(), error.status), ("InsufficientAddressCapacity", 500));
}

#[test]
fn elastic_ips_are_tagged_at_birth_and_later() {
    let mut w = world();
    let tags = |name: &str| Tags::from([("Name".to_owned(), name.to_owned())]);
    let of =
        |resource_type: &str| TagSpecification { resource_type: resource_type.to_owned(), tags: tags("a") };
    refused(w.cloud.allocate_address(&[of("instance")]), "InvalidParameterValue");
    let address = w.cloud.allocate_address(&[of("elastic-ip")]).unwrap();
    w.elastic_ip();
    let found = w.cloud.describe_addresses(&Describe::filter("tag:Name", "a"), &[]).unwrap();
    assert_eq!(found.items, std::slice::from_ref(&address));
    w.cloud.create_tags(std::slice::from_ref(&address.id), &tags("b")).unwrap();
    assert_eq!(w.cloud.elastic_ip(&address.id).unwrap().tags, tags("b"));
}

#[test]
fn an_associated_address_is_not_released() {
    let mut w = world();
    let (address, eni) = (w.elastic_ip(), w.interface());
    let association = w.cloud.associate_address(&to(&address, &eni)).unwrap();
    refused(w.cloud.release_address(&address.id), "InvalidIPAddress.InUse");
    w.cloud.disassociate_address(&association).unwrap();
    refused(w.cloud.disassociate_address(&association), "InvalidAssociationID.NotFound");
    w.cloud.release_address(&address.id).unwrap();
    refused(w.cloud.release_address(&address.id), "InvalidAllocationID.NotFound");
    refused(w.cloud.release_address("eipalloc-x"), "InvalidAllocationID.NotFound");
    refused(w.cloud.associate_address(&to(&address, &eni)), "InvalidAllocationID.NotFound");
}

#[test]
fn an_address_is_not_taken_when_that_is_not_allowed() {
    let mut w = world();
    let (first, second) = (w.elastic_ip(), w.elastic_ip());
    let (here, there) = (w.interface(), w.interface());
    let association = w.cloud.associate_address(&never(to(&first, &here))).unwrap();
    // The same again is no reassociation.
    assert_eq!(w.cloud.associate_address(&never(to(&first, &here))).unwrap(), association);
    let elsewhere = w.cloud.associate_address(&never(to(&first, &there))).unwrap_err();
    assert_eq!(
        elsewhere.to_string(),
        format!(
            "Resource.AlreadyAssociated: resource {} is already associated with associate-id {association}",
            first.id
        )
    );
    let occupied = w.cloud.associate_address(&never(to(&second, &here))).unwrap_err();
    assert_eq!(
        occupied.to_string(),
        format!(
            "Resource.AlreadyAssociated: resource {} and 10.0.1.4 is already associated with public address 198.18.0.1",
            here.id
        )
    );
    assert_eq!((w.home(&first), w.home(&second)), (Some(here.id), None));
}

#[test]
fn reassociation_is_automatic_unless_the_account_is_an_old_one() {
    let mut w = world();
    let (first, second) = (w.elastic_ip(), w.elastic_ip());
    let (here, there) = (w.interface(), w.interface());
    let association = w.cloud.associate_address(&to(&first, &here)).unwrap();
    assert_ne!(w.cloud.associate_address(&to(&first, &there)).unwrap(), association);
    w.cloud.associate_address(&to(&second, &there)).unwrap();
    assert_eq!((w.home(&first), w.home(&second)), (None, Some(there.id)));

    let old = Settings { reassociate_by_default: false, throttling: false, ..Settings::default() };
    let mut w = world_with(old);
    let (address, here, there) = (w.elastic_ip(), w.interface(), w.interface());
    w.cloud.associate_address(&to(&address, &here)).unwrap();
    refused(w.cloud.associate_address(&to(&address, &there)), "Resource.AlreadyAssociated");
    let allowed = AssociateAddress { allow_reassociation: Some(true), ..to(&address, &there) };
    w.cloud.associate_address(&allowed).unwrap();
    assert_eq!(w.home(&address), Some(there.id));
}

#[test]
fn each_private_address_can_have_one_of_its_own() {
    let mut w = world();
    let (first, second, eni) = (w.elastic_ip(), w.elastic_ip(), w.interface());
    let request = AssignPrivateIpAddresses {
        network_interface_id: eni.id.clone(),
        count: Some(1),
        ..AssignPrivateIpAddresses::default()
    };
    let secondary = w.cloud.assign_private_ip_addresses(&request).unwrap()[0];
    let on = |address: &ElasticIp, ip: &str| AssociateAddress {
        private_ip_address: Some(ip.to_owned()),
        ..never(to(address, &eni))
    };
    w.cloud.associate_address(&on(&first, "10.0.1.4")).unwrap();
    w.cloud.associate_address(&on(&second, &secondary.to_string())).unwrap();
    refused(w.cloud.associate_address(&on(&first, "10.0.1.77")), "InvalidParameterValue");
    // The same interface, but another address: that is elsewhere.
    refused(w.cloud.associate_address(&on(&first, "10.0.1.5")), "Resource.AlreadyAssociated");
    assert_eq!(w.cloud.elastic_ips_on(&eni.id).count(), 2);
    assert_eq!(w.cloud.elastic_ip_at(&eni.id, secondary).map(|it| &it.id), Some(&second.id));
    w.cloud.unassign_private_ip_addresses(&eni.id, &[secondary.to_string()]).unwrap();
    assert_eq!((w.home(&first), w.home(&second)), (Some(eni.id), None));
}

#[test]
fn the_target_must_be_one_and_ready() {
    let mut w = world();
    let (address, eni) = (w.elastic_ip(), w.interface());
    let neither = AssociateAddress { network_interface_id: None, ..to(&address, &eni) };
    refused(w.cloud.associate_address(&neither), "MissingParameter");
    let request = w.request_on(&eni.id);
    let instance = w.launch(&request);
    let both = AssociateAddress { instance_id: Some(instance.id.clone()), ..to(&address, &eni) };
    refused(w.cloud.associate_address(&both), "InvalidParameterCombination");
    let gone = AssociateAddress {
        network_interface_id: Some("eni-0123456789abcdef0".to_owned()),
        ..to(&address, &eni)
    };
    refused(w.cloud.associate_address(&gone), "InvalidNetworkInterfaceID.NotFound");
    let nobody = by_instance(&address, "i-0123456789abcdef0");
    refused(w.cloud.associate_address(&nobody), "InvalidInstanceID.NotFound");

    refused(w.cloud.associate_address(&to(&address, &eni)), "IncorrectInstanceState");
    refused(w.cloud.associate_address(&by_instance(&address, &instance.id)), "InvalidInstanceID");
    w.pass(12);
    let association = w.cloud.associate_address(&by_instance(&address, &instance.id)).unwrap();
    assert_eq!(w.cloud.associate_address(&to(&address, &eni)).unwrap(), association);
    w.cloud.terminate_instances(std::slice::from_ref(&instance.id)).unwrap();
    refused(w.cloud.associate_address(&by_instance(&address, &instance.id)), "InvalidInstanceID");
}

#[test]
fn an_instance_with_several_interfaces_is_ambiguous() {
    let mut w = world();
    let (address, first, second) = (w.elastic_ip(), w.interface(), w.interface());
    let mut request = w.request_on(&first.id);
    let other = InterfaceSpec {
        device_index: Some(1),
        network_interface_id: Some(second.id.clone()),
        ..InterfaceSpec::default()
    };
    request.spec.interfaces.push(other);
    let instance = w.launch(&request);
    w.pass(12);
    refused(w.cloud.associate_address(&by_instance(&address, &instance.id)), "InvalidInstanceID");
    w.cloud.associate_address(&to(&address, &second)).unwrap();
    let instance = w.cloud.instance(&instance.id).unwrap();
    assert_eq!(w.cloud.public_ip_of(instance), None, "it is on the second interface");
}

#[test]
fn a_kept_interface_keeps_its_elastic_ip_or_loses_it_as_the_account_is_told() {
    for survives in [true, false] {
        let settings =
            Settings { elastic_ips_survive_termination: survives, throttling: false, ..Settings::default() };
        let mut w = world_with(settings);
        let (address, eni) = (w.elastic_ip(), w.interface());
        w.cloud.associate_address(&to(&address, &eni)).unwrap();
        let request = w.request_on(&eni.id);
        let instance = w.launch(&request);
        w.pass(12);
        let instance = w.cloud.instance(&instance.id).unwrap().clone();
        assert_eq!(w.cloud.public_ip_of(&instance), Some(address.public_ip));
        assert_eq!(w.cloud.instance_of(w.cloud.elastic_ip(&address.id).unwrap()), Some(instance.id.as_str()));
        w.cloud.terminate_instances(&[instance.id]).unwrap();
        w.pass(27);
        assert_eq!(w.cloud.network_interface(&eni.id).unwrap().state(), InterfaceState::Available);
        assert_eq!(w.home(&address), survives.then(|| eni.id.clone()));
        assert_eq!(w.cloud.instance_of(w.cloud.elastic_ip(&address.id).unwrap()), None);
    }
}

#[test]
fn a_stopped_instance_keeps_its_elastic_ip_and_can_be_given_one() {
    let mut w = world();
    let (first, second) = (w.elastic_ip(), w.elastic_ip());
    let mut request = w.request();
    request.spec.market = None;
    let instance = w.launch(&request).id;
    w.pass(12);
    w.cloud.associate_address(&by_instance(&first, &instance)).unwrap();
    w.cloud.stop_instances(std::slice::from_ref(&instance)).unwrap();
    w.pass(15);
    assert_eq!(w.cloud.public_ip_of(w.cloud.instance(&instance).unwrap()), Some(first.public_ip));
    w.cloud.associate_address(&by_instance(&second, &instance)).unwrap();
    w.cloud.start_instances(std::slice::from_ref(&instance)).unwrap();
    w.pass(12);
    assert_eq!(w.cloud.public_ip_of(w.cloud.instance(&instance).unwrap()), Some(second.public_ip));
}

#[test]
fn an_association_ends_with_its_interface() {
    let mut w = world();
    let (address, eni) = (w.elastic_ip(), w.interface());
    w.cloud.associate_address(&to(&address, &eni)).unwrap();
    w.cloud.delete_network_interface(&eni.id).unwrap();
    assert_eq!(w.home(&address), None);
    let (instance, _) = w.running();
    w.cloud.associate_address(&by_instance(&address, &instance)).unwrap();
    assert!(w.home(&address).is_some());
    w.cloud.terminate_instances(&[instance]).unwrap();
    w.pass(27);
    assert_eq!(w.home(&address), None, "the interface went with the instance");
    w.cloud.release_address(&address.id).unwrap();
}

#[test]
fn addresses_are_found_by_what_they_are_on() {
    let mut w = world();
    let (address, other) = (w.elastic_ip(), w.elastic_ip());
    let (instance, _) = w.running();
    let association = w.cloud.associate_address(&by_instance(&address, &instance)).unwrap();
    let held = w.cloud.elastic_ip(&address.id).unwrap().clone();
    let eni = held.association.as_ref().unwrap().network_interface_id.clone();
    let public = address.public_ip.to_string();
    let filters = [
        ("allocation-id", address.id.as_str()),
        ("association-id", &association),
        ("instance-id", &instance),
        ("network-interface-id", &eni),
        ("network-interface-owner-id", "123456789012"),
        ("private-ip-address", "10.0.1.4"),
        ("public-ip", &public),
    ];
    for (name, value) in filters {
        let found = w.cloud.describe_addresses(&Describe::filter(name, value), &[]).unwrap();
        assert_eq!(found.items, std::slice::from_ref(&held), "{name}");
    }
    for (name, value) in [("domain", "vpc"), ("network-border-group", "us-east-1")] {
        let all = w.cloud.describe_addresses(&Describe::filter(name, value), &[]).unwrap();
        assert_eq!(all.items.len(), 2, "{name}");
    }
    refused(w.cloud.describe_addresses(&Describe::filter("colour", "red"), &[]), "InvalidParameterValue");
    let by_ip = w.cloud.describe_addresses(&Describe::all(), &[other.public_ip.to_string()]).unwrap();
    assert_eq!(by_ip.items, [other]);
    let unknown = w.cloud.describe_addresses(&Describe::all(), &["192.0.2.1".to_owned()]);
    refused(unknown, "InvalidAddress.NotFound");
    let unknown = w.cloud.describe_addresses(&Describe::ids(["eipalloc-0123456789abcdef0"]), &[]);
    refused(unknown, "InvalidAllocationID.NotFound");
    let found = w.cloud.describe_instances(&Describe::filter("ip-address", &public)).unwrap();
    assert_eq!(found.items[0].id, instance);
}

#[test]
fn interfaces_are_found_by_their_elastic_ips_on_secondary_addresses_too() {
    let mut w = world();
    let (address, eni) = (w.elastic_ip(), w.interface());
    w.interface();
    let request = AssignPrivateIpAddresses {
        network_interface_id: eni.id.clone(),
        addresses: vec!["10.0.1.50".to_owned()],
        ..AssignPrivateIpAddresses::default()
    };
    w.cloud.assign_private_ip_addresses(&request).unwrap();
    let on_secondary =
        AssociateAddress { private_ip_address: Some("10.0.1.50".to_owned()), ..to(&address, &eni) };
    let association = w.cloud.associate_address(&on_secondary).unwrap();
    let public = address.public_ip.to_string();
    let filters = [
        ("association.allocation-id", address.id.as_str()),
        ("association.association-id", &association),
        ("association.ip-owner-id", "123456789012"),
        ("association.public-ip", &public),
        ("addresses.association.public-ip", &public),
        ("addresses.private-ip-address", "10.0.1.50"),
        ("private-ip-address", "10.0.1.50"),
    ];
    for (name, value) in filters {
        let found = w.cloud.describe_network_interfaces(&Describe::filter(name, value)).unwrap();
        assert_eq!(found.items.iter().map(|it| &it.id).collect::<Vec<_>>(), [&eni.id], "{name}");
    }
}

#[test]
fn a_new_address_is_not_seen_before_the_read_lag_is_over() {
    let settings = Settings { read_lag: SignedDuration::from_secs(3), ..Settings::default() };
    let mut w = world_with(settings);
    let address = w.elastic_ip();
    refused(w.cloud.release_address(&address.id), "InvalidAllocationID.NotFound");
    let by_ip = w.cloud.describe_addresses(&Describe::all(), &[address.public_ip.to_string()]);
    refused(by_ip, "InvalidAddress.NotFound");
    w.pass(3);
    w.cloud.release_address(&address.id).unwrap();
}

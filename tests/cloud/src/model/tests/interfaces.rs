//! Secondary and IPv6 addresses of interfaces, and the limits on them.

use super::*;

fn text(addresses: &[&str]) -> Vec<String> {
    addresses.iter().map(|it| (*it).to_owned()).collect()
}

/// A list for CreateNetworkInterface whose addresses marked with `*` are primary.
fn list(addresses: &[&str]) -> Vec<PrivateIp> {
    let one = |it: &&str| PrivateIp { address: it.replace('*', ""), primary: it.ends_with('*') };
    addresses.iter().map(one).collect()
}

impl World {
    fn create(
        &mut self,
        change: impl FnOnce(&mut CreateNetworkInterface),
    ) -> Result<NetworkInterface, ApiError> {
        let mut request = CreateNetworkInterface {
            subnet_id: self.ids.subnet_ids[0].clone(),
            ..CreateNetworkInterface::default()
        };
        change(&mut request);
        self.cloud.create_network_interface(&request)
    }

    fn assign(&mut self, eni: &str, addresses: &[&str]) -> Result<Vec<std::net::Ipv4Addr>, ApiError> {
        self.cloud.assign_private_ip_addresses(&AssignPrivateIpAddresses {
            network_interface_id: eni.to_owned(),
            addresses: text(addresses),
            ..AssignPrivateIpAddresses::default()
        })
    }

    fn assign_some(&mut self, eni: &str, count: u32) -> Result<Vec<std::net::Ipv4Addr>, ApiError> {
        self.cloud.assign_private_ip_addresses(&AssignPrivateIpAddresses {
            network_interface_id: eni.to_owned(),
            count: Some(count),
            ..AssignPrivateIpAddresses::default()
        })
    }

    /// All private addresses of an interface.
    fn addresses(&self, eni: &str) -> Vec<String> {
        self.cloud.network_interface(eni).unwrap().private_ips().map(|it| it.to_string()).collect()
    }

    fn free(&mut self) -> usize {
        let subnet = self.cloud.describe_subnets(&Describe::ids([&self.ids.subnet_ids[0]])).unwrap();
        self.cloud.free_addresses(&subnet.items[0])
    }

    /// Gives the first subnet its IPv6 block.
    fn with_ipv6(mut self) -> World {
        let subnet = self.ids.subnet_ids[0].clone();
        self.cloud.associate_subnet_cidr_block(&subnet, "2001:db8:0:1::/64").unwrap();
        self
    }
}

#[test]
fn an_interface_is_made_with_secondary_addresses() {
    let mut w = world();
    let free = w.free();
    let named =
        w.create(|it| it.private_ip_addresses = list(&["10.0.1.31", "10.0.1.30*", "10.0.1.32"])).unwrap();
    assert_eq!(w.addresses(&named.id), ["10.0.1.30", "10.0.1.31", "10.0.1.32"]);
    let counted = w.create(|it| it.secondary_private_ip_address_count = Some(2)).unwrap();
    assert_eq!(w.addresses(&counted.id), ["10.0.1.4", "10.0.1.5", "10.0.1.6"]);
    let both = w.create(|it| {
        it.private_ip_address = Some("10.0.1.40".to_owned());
        it.secondary_private_ip_address_count = Some(1);
    });
    assert_eq!(w.addresses(&both.unwrap().id), ["10.0.1.40", "10.0.1.7"]);
    assert_eq!(w.free(), free - 8);
    let taken = w.create(|it| it.private_ip_address = Some("10.0.1.31".to_owned()));
    refused(taken, "InvalidIPAddress.InUse");
    let taken = w.create(|it| it.private_ip_addresses = list(&["10.0.1.90*", "10.0.1.5"]));
    refused(taken, "InvalidIPAddress.InUse");
    let found =
        w.cloud.describe_network_interfaces(&Describe::filter("addresses.private-ip-address", "10.0.1.31"));
    assert_eq!(found.unwrap().items[0].id, named.id);
}

#[test]
fn contradictory_addresses_make_no_interface() {
    let mut w = world();
    for wrong in [
        list(&["10.0.1.30", "10.0.1.31"]),
        list(&["10.0.1.30*", "10.0.1.31*"]),
        list(&["10.0.1.30*", "10.0.1.30"]),
        list(&["10.0.1.30*", "10.0.1.31", "10.0.1.31"]),
        list(&["10.0.1.30*", "10.0.2.31"]),
        list(&["10.0.1.30*", "10.0.1.3"]),
        list(&["10.0.1.30*", "ten"]),
    ] {
        refused(w.create(|it| it.private_ip_addresses = wrong), "InvalidParameterValue");
    }
    let beside = w.create(|it| {
        it.private_ip_addresses = list(&["10.0.1.30*"]);
        it.private_ip_address = Some("10.0.1.30".to_owned());
    });
    refused(beside, "InvalidParameterCombination");
    let beside = w.create(|it| {
        it.private_ip_addresses = list(&["10.0.1.30*"]);
        it.secondary_private_ip_address_count = Some(1);
    });
    refused(beside, "InvalidParameterCombination");
    let many = w.create(|it| it.secondary_private_ip_address_count = Some(1000));
    refused(many, "InsufficientFreeAddressesInSubnet");
    assert_eq!(w.cloud.network_interfaces().count(), 0);
}

#[test]
fn secondary_addresses_come_and_go() {
    let mut w = world();
    let (eni, other) = (w.interface(), w.interface());
    let free = w.free();
    assert_eq!(w.assign(&eni.id, &["10.0.1.60", "10.0.1.61"]).unwrap().len(), 2);
    assert_eq!(w.assign_some(&eni.id, 1).unwrap()[0].to_string(), "10.0.1.6");
    // What it has already is answered, and is not there twice.
    assert_eq!(w.assign(&eni.id, &["10.0.1.60", "10.0.1.62"]).unwrap().len(), 2);
    assert_eq!(w.addresses(&eni.id), ["10.0.1.4", "10.0.1.60", "10.0.1.61", "10.0.1.6", "10.0.1.62"]);
    assert_eq!(w.free(), free - 4);
    let moved = w.assign(&other.id, &["10.0.1.63", "10.0.1.4", "10.0.1.60"]).unwrap_err();
    assert_eq!(
        moved.to_string(),
        "InvalidParameterValue: [10.0.1.4, 10.0.1.60] assigned, but move is not allowed."
    );
    w.cloud.unassign_private_ip_addresses(&eni.id, &text(&["10.0.1.60", "10.0.1.6"])).unwrap();
    assert_eq!(w.addresses(&eni.id), ["10.0.1.4", "10.0.1.61", "10.0.1.62"]);
    w.assign(&other.id, &["10.0.1.60"]).unwrap();
    assert_eq!(w.free(), free - 3);
}

#[test]
fn wrong_assignments_change_nothing() {
    let mut w = world();
    let eni = w.interface();
    for wrong in [&["10.0.2.60"][..], &["10.0.1.255"], &["ten"], &["10.0.1.60", "10.0.1.60"]] {
        refused(w.assign(&eni.id, wrong), "InvalidParameterValue");
    }
    refused(w.assign(&eni.id, &[]), "MissingParameter");
    refused(w.assign_some(&eni.id, 0), "InvalidParameterValue");
    refused(w.assign_some(&eni.id, 300), "InsufficientFreeAddressesInSubnet");
    refused(w.assign_some("eni-0123456789abcdef0", 1), "InvalidNetworkInterfaceID.NotFound");
    let mut request = AssignPrivateIpAddresses {
        network_interface_id: eni.id.clone(),
        addresses: text(&["10.0.1.60"]),
        count: Some(1),
        allow_reassignment: false,
    };
    refused(w.cloud.assign_private_ip_addresses(&request), "InvalidParameterCombination");
    (request.count, request.allow_reassignment) = (None, true);
    refused(w.cloud.assign_private_ip_addresses(&request), "UnsupportedOperation");
    w.assign(&eni.id, &["10.0.1.70"]).unwrap();
    for wrong in [&["10.0.1.4"][..], &["10.0.1.70", "10.0.1.71"]] {
        let answer = w.cloud.unassign_private_ip_addresses(&eni.id, &text(wrong));
        refused(answer, "InvalidParameterValue");
    }
    refused(w.cloud.unassign_private_ip_addresses(&eni.id, &[]), "MissingParameter");
    assert_eq!(w.addresses(&eni.id), ["10.0.1.4", "10.0.1.70"]);
}

#[test]
fn secondary_addresses_stay_with_a_kept_interface() {
    let mut w = world().with_ipv6();
    let eni = w
        .create(|it| {
            it.secondary_private_ip_address_count = Some(2);
            it.ipv6_addresses = text(&["2001:db8:0:1::10"]);
        })
        .unwrap();
    let request = w.request_on(&eni.id);
    let instance = w.launch(&request);
    w.pass(12);
    w.cloud.terminate_instances(&[instance.id]).unwrap();
    w.pass(27);
    assert_eq!(w.cloud.network_interface(&eni.id), Some(&eni));
}

#[test]
fn a_subnet_gets_one_ipv6_block() {
    let mut w = world();
    let [first, second] = [0, 1].map(|n| w.ids.subnet_ids[n].clone());
    for wrong in ["2001:db8::/56", "2001:db8::1/64", "10.0.0.0/24", "block"] {
        refused(w.cloud.associate_subnet_cidr_block(&first, wrong), "InvalidParameterValue");
    }
    let unknown = w.cloud.associate_subnet_cidr_block("subnet-0123456789abcdef0", "2001:db8::/64");
    refused(unknown, "InvalidSubnetID.NotFound");
    w.cloud.associate_subnet_cidr_block(&first, "2001:db8::/64").unwrap();
    let again = w.cloud.associate_subnet_cidr_block(&first, "2001:db8:0:1::/64");
    refused(again, "InvalidSubnet.Conflict");
    refused(w.cloud.associate_subnet_cidr_block(&second, "2001:db8::/64"), "InvalidSubnet.Conflict");
    let by_block = Describe::filter("ipv6-cidr-block-association.ipv6-cidr-block", "2001:db8::/64");
    let found = w.cloud.describe_subnets(&by_block).unwrap();
    assert_eq!(found.items.iter().map(|it| &it.id).collect::<Vec<_>>(), [&first]);
}

#[test]
fn ipv6_addresses_come_and_go() {
    let mut w = world();
    let none = w.create(|it| it.ipv6_address_count = Some(1));
    refused(none, "InvalidParameterValue");
    let mut w = w.with_ipv6();
    let free = w.free();
    let eni = w.create(|it| it.ipv6_addresses = text(&["2001:db8:0:1::10", "2001:db8:0:1::5"])).unwrap();
    let other = w.create(|it| it.ipv6_address_count = Some(2)).unwrap();
    let shown = |w: &World, id: &str| -> Vec<String> {
        w.cloud.network_interface(id).unwrap().ipv6.iter().map(ToString::to_string).collect()
    };
    assert_eq!(shown(&w, &other.id), ["2001:db8:0:1::4", "2001:db8:0:1::6"]);
    assert_eq!(w.free(), free - 2, "only IPv4 addresses are counted");
    let taken = w.cloud.assign_ipv6_addresses(&other.id, &text(&["2001:db8:0:1::10"]), None);
    refused(taken, "InvalidIPAddress.InUse");
    for wrong in [
        &["2001:db8:0:1::3"][..],
        &["2001:db8:0:1:ffff:ffff:ffff:ffff"],
        &["2001:db8:0:2::10"],
        &["10.0.1.9"],
        &["2001:db8:0:1::30", "2001:db8:0:1::30"],
    ] {
        let answer = w.cloud.assign_ipv6_addresses(&eni.id, &text(wrong), None);
        refused(answer, "InvalidParameterValue");
    }
    refused(w.cloud.assign_ipv6_addresses(&eni.id, &[], None), "MissingParameter");
    let both = w.cloud.assign_ipv6_addresses(&eni.id, &text(&["2001:db8:0:1::30"]), Some(1));
    refused(both, "InvalidParameterCombination");
    let more = w.cloud.assign_ipv6_addresses(&eni.id, &text(&["2001:db8:0:1::10", "2001:db8:0:1::30"]), None);
    assert_eq!(more.unwrap().len(), 2);
    w.cloud.assign_ipv6_addresses(&eni.id, &[], Some(1)).unwrap();
    let all = ["2001:db8:0:1::10", "2001:db8:0:1::5", "2001:db8:0:1::30", "2001:db8:0:1::7"];
    assert_eq!(shown(&w, &eni.id), all);
    let foreign = w.cloud.unassign_ipv6_addresses(&eni.id, &text(&["2001:db8:0:1::10", "2001:db8:0:1::4"]));
    refused(foreign, "InvalidParameterValue");
    refused(w.cloud.unassign_ipv6_addresses(&eni.id, &[]), "MissingParameter");
    // However it is written.
    let gone = w.cloud.unassign_ipv6_addresses(&eni.id, &text(&["2001:DB8:0:1:0:0:0:10"])).unwrap();
    assert_eq!(gone[0].to_string(), "2001:db8:0:1::10");
    assert_eq!(shown(&w, &eni.id), all[1..]);
    let by_address = Describe::filter("ipv6-addresses.ipv6-address", "2001:db8:0:1::30");
    assert_eq!(w.cloud.describe_network_interfaces(&by_address).unwrap().items[0].id, eni.id);
}

#[test]
fn an_interface_that_is_not_attached_takes_fifty_ipv6_addresses() {
    let mut w = world().with_ipv6();
    refused(w.create(|it| it.ipv6_address_count = Some(51)), "PrivateIpAddressLimitExceeded");
    let eni = w.create(|it| it.ipv6_address_count = Some(49)).unwrap();
    w.cloud.assign_ipv6_addresses(&eni.id, &[], Some(1)).unwrap();
    refused(w.cloud.assign_ipv6_addresses(&eni.id, &[], Some(1)), "PrivateIpAddressLimitExceeded");
    let one = w.cloud.assign_ipv6_addresses(&eni.id, &text(&["2001:db8:0:1::ffff"]), None);
    refused(one, "PrivateIpAddressLimitExceeded");
}

#[test]
fn a_type_for_fewer_addresses_is_refused_at_launch() {
    let mut w = world().with_ipv6();
    let eni = w.create(|it| it.secondary_private_ip_address_count = Some(2)).unwrap();
    let mut request = w.request_on(&eni.id);
    request.spec.instance_type = Some("t3.micro".to_owned());
    refused(w.cloud.run_instances(&request), "InvalidInterface.IpAddressLimitExceeded");
    request.spec.instance_type = Some("t3.small".to_owned());
    w.launch(&request);
    let six = w.create(|it| it.ipv6_address_count = Some(3)).unwrap();
    let mut request = w.request_on(&six.id);
    request.spec.instance_type = Some("t3.micro".to_owned());
    refused(w.cloud.run_instances(&request), "InvalidInterface.IpAddressLimitExceeded");
    assert_eq!(w.cloud.instances().count(), 1);
}

#[test]
fn an_attached_interface_takes_as_many_addresses_as_its_type() {
    let mut w = world().with_ipv6();
    let eni = w.interface();
    let mut request = w.request_on(&eni.id);
    request.spec.instance_type = Some("t3.small".to_owned());
    let instance = w.launch(&request);
    refused(w.assign_some(&eni.id, 4), "PrivateIpAddressLimitExceeded");
    w.assign(&eni.id, &["10.0.1.60", "10.0.1.61", "10.0.1.62"]).unwrap();
    refused(w.assign(&eni.id, &["10.0.1.63"]), "PrivateIpAddressLimitExceeded");
    // One that it has needs no room.
    w.assign(&eni.id, &["10.0.1.62"]).unwrap();
    let six = w.cloud.assign_ipv6_addresses(&eni.id, &[], Some(5));
    refused(six, "PrivateIpAddressLimitExceeded");
    w.cloud.assign_ipv6_addresses(&eni.id, &[], Some(4)).unwrap();
    w.cloud.terminate_instances(&[instance.id]).unwrap();
    w.pass(27);
    w.assign(&eni.id, &["10.0.1.63"]).unwrap();
}

#[test]
fn every_type_offered_has_a_limit_and_others_have_none() {
    assert!(TYPES.iter().all(|it| addresses_per_interface(it.name).is_some()));
    for (name, most) in [
        ("t3.nano", Some(2)),
        ("t3.small", Some(4)),
        ("t4g.medium", Some(6)),
        ("t3a.large", Some(12)),
        ("t3.2xlarge", Some(15)),
        ("m7g.medium", Some(4)),
        ("r5.large", Some(10)),
        ("m7i.2xlarge", Some(15)),
        ("c5.4xlarge", Some(30)),
        ("m5.medium", None),
        ("x9.large", None),
        ("m5", None),
    ] {
        assert_eq!(addresses_per_interface(name), most, "{name}");
    }
}

#[test]
fn the_account_has_a_quota_of_interfaces() {
    let settings = Settings { network_interface_limit: 2, throttling: false, ..Settings::default() };
    let mut w = world_with(settings);
    let eni = w.interface();
    let mut request = w.request();
    request.max_count = 2;
    refused(w.cloud.run_instances(&request), "NetworkInterfaceLimitExceeded");
    w.interface();
    refused(w.create(|_| {}), "NetworkInterfaceLimitExceeded");
    let request = w.request();
    refused(w.cloud.run_instances(&request), "NetworkInterfaceLimitExceeded");
    // A kept one is not a new one.
    let request = w.request_on(&eni.id);
    w.launch(&request);
}

#[test]
fn address_calls_draw_from_their_own_buckets() {
    let mut w = world_with(Settings::default());
    let association = "eipassoc-0123456789abcdef0";
    for _ in 0..50 {
        refused(w.cloud.disassociate_address(association), "InvalidAssociationID.NotFound");
    }
    refused(w.cloud.disassociate_address(association), "RequestLimitExceeded");
    let nowhere = "eni-0123456789abcdef0";
    for _ in 0..100 {
        refused(w.assign_some(nowhere, 1), "InvalidNetworkInterfaceID.NotFound");
    }
    refused(w.assign_some(nowhere, 1), "RequestLimitExceeded");
}

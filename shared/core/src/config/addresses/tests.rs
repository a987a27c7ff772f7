//! Addresses that cannot be had, each with its place and what is wrong with it.

use serde_json::json;

use super::*;
use crate::config::references::check;
use crate::config::{parse, parse_group};
use crate::launch::TemplateFacts;
use crate::names::{Names, Purpose, Tags};
use crate::observation::{AddressFacts, Association, InterfaceState};

fn subnet(id: &str, cidr: &str) -> SubnetFacts {
    SubnetFacts { id: SubnetId::new(id), zone: "us-east-1a".into(), cidr: cidr.parse().unwrap() }
}

fn holder(id: &str, subnet: &str, address: &str, tags: Tags) -> InterfaceFacts {
    InterfaceFacts {
        id: InterfaceId::new(id),
        state: InterfaceState::Available,
        subnet: SubnetId::new(subnet),
        zone: "us-east-1a".into(),
        private_ip: address.parse().unwrap(),
        secondary: Vec::new(),
        ipv6: Vec::new(),
        description: "the printer".into(),
        groups: Vec::new(),
        attached_to: None,
        tags,
    }
}

fn made_for(node: &str, deployment: &str) -> Tags {
    let node = NodeName::parse(node).unwrap();
    Names { deployment, node: &node, life: "life-1" }.tags(&Tags::new(), 1, Purpose::Interface, "key")
}

fn elastic(id: &str, on: Option<&str>) -> (AllocationId, AddressFacts) {
    let association = on.map(|interface| Association {
        id: "eipassoc-1".into(),
        interface: Some(InterfaceId::new(interface)),
        private_ip: None,
    });
    let id = AllocationId::new(id);
    (id.clone(), AddressFacts { id, public_ip: "198.51.100.1".parse().unwrap(), association })
}

/// An account with a template, two subnets and two free Elastic IP addresses.
fn account() -> Referred {
    let template = TemplateFacts {
        id: "lt-1".into(),
        version: 1,
        image: None,
        instance_type: Some("m5.large".into()),
        ..TemplateFacts::default()
    };
    let subnets = [subnet("subnet-1", "10.0.1.0/24"), subnet("subnet-2", "10.0.2.0/28")];
    Referred {
        template: Some(template),
        subnets: subnets.into_iter().map(|subnet| (subnet.id.clone(), subnet)).collect(),
        elastic_ips: [elastic("eipalloc-1", None), elastic("eipalloc-2", None)].into(),
        claims: Claims { deployment: "prod".into(), ..Claims::default() },
        ..Referred::default()
    }
}

fn in_pools(addresses: &[&str], allocations: &[&str], account: &Referred) -> Vec<(String, String)> {
    let item = json!({"id": "group#ring",
        "launch": {"template": {"name": "base"}, "subnets": ["subnet-1", "subnet-2"]},
        "persist": {"network": {"privateIpPool": addresses, "elasticIpPool": allocations}}});
    let (draft, part) = parse_group(&item);
    assert_eq!(draft.problems, []);
    check_pools(&item, &draft, &part, account).into_iter().map(|it| (it.path, it.remedy)).collect()
}

fn of_node(network: Value, account: &Referred) -> Vec<(String, String)> {
    let launch = json!({"template": {"name": "base"}, "subnets": ["subnet-1"]});
    let draft = parse(&json!({"id": "node#db", "launch": launch, "persist": {"network": network}}));
    assert_eq!(draft.problems, []);
    let found = check(&draft, account).into_iter().filter(|it| it.path.starts_with("persist"));
    found.map(|it| (it.path, it.remedy)).collect()
}

/// The only problem, which is at this place.
fn only(found: Vec<(String, String)>, path: &str) -> String {
    assert_eq!(found.iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>(), [path], "{found:?}");
    found.into_iter().next().unwrap().1
}

#[test]
fn a_pool_may_span_the_subnets() {
    let addresses = ["10.0.1.4", "10.0.1.254", "10.0.2.4", "10.0.2.14"];
    assert_eq!(in_pools(&addresses, &["eipalloc-1", "eipalloc-2"], &account()), []);
}

#[test]
fn an_address_outside_all_subnets_is_refused_with_their_ranges() {
    let remedy =
        only(in_pools(&["10.0.1.20", "10.0.2.16"], &[], &account()), "persist.network.privateIpPool[1]");
    assert!(remedy.contains("subnet-1 (10.0.1.0/24), subnet-2 (10.0.2.0/28)"), "{remedy}");
}

#[test]
fn addresses_that_aws_keeps_to_itself_are_refused() {
    for address in ["10.0.2.0", "10.0.2.1", "10.0.2.2", "10.0.2.3", "10.0.2.15", "10.0.1.255"] {
        let remedy = only(in_pools(&[address], &[], &account()), "persist.network.privateIpPool[0]");
        assert!(remedy.contains("AWS reserves"), "{address}: {remedy}");
    }
}

#[test]
fn a_pool_larger_than_its_subnets_is_refused_as_such() {
    let mut account = account();
    account.subnets.remove(&SubnetId::new("subnet-1"));
    let addresses: Vec<String> = (4..16).map(|last| format!("10.0.2.{last}")).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let found = in_pools(&addresses, &[], &account);
    assert!(
        found[0].0 == "persist.network.privateIpPool" && found[0].1.contains("11 addresses"),
        "{found:?}"
    );
    assert_eq!(in_pools(&addresses[..11], &[], &account), [], "all there are can be had");
}

#[test]
fn an_address_in_use_by_a_stranger_is_refused_naming_him() {
    let mut account = account();
    account.holders.push(holder("eni-9", "subnet-1", "10.0.1.20", Tags::new()));
    let remedy = only(in_pools(&["10.0.1.20"], &[], &account), "persist.network.privateIpPool[0]");
    assert!(remedy.contains("eni-9 (the printer)"), "{remedy}");
    only(of_node(json!({"privateIp": "10.0.1.20"}), &account), "persist.network.privateIp");
    account.holders[0].private_ip = "10.0.1.30".parse().unwrap();
    account.holders[0].secondary = vec!["10.0.1.20".parse().unwrap()];
    only(in_pools(&["10.0.1.20"], &[], &account), "persist.network.privateIpPool[0]");
}

#[test]
fn the_same_address_in_another_subnet_is_another_one() {
    let mut account = account();
    account.holders.push(holder("eni-9", "subnet-7", "10.0.1.20", Tags::new()));
    assert_eq!(in_pools(&["10.0.1.20"], &[], &account), []);
}

#[test]
fn what_the_groups_own_members_have_is_its_own() {
    let mut account = account();
    account.claims.nodes = [NodeName::parse("ring-1").unwrap()].into();
    account.holders.push(holder("eni-9", "subnet-1", "10.0.1.20", made_for("ring-1", "prod")));
    account.elastic_ips = [elastic("eipalloc-1", Some("eni-9"))].into();
    assert_eq!(in_pools(&["10.0.1.20"], &["eipalloc-1"], &account), []);
    account.holders[0].tags = made_for("ring-1", "test");
    let found = in_pools(&["10.0.1.20"], &["eipalloc-1"], &account);
    assert_eq!(found.len(), 2, "another deployment's node of this name is a stranger: {found:?}");
    account.claims.interfaces = [InterfaceId::new("eni-9")].into();
    assert_eq!(in_pools(&["10.0.1.20"], &["eipalloc-1"], &account), [], "what a record names needs no tags");
}

#[test]
fn what_carries_the_groups_tag_is_its_own_though_its_member_is_forgotten() {
    let mut account = account();
    account.claims.group = GroupName::parse("ring");
    let mut tags = made_for("ring-1", "prod");
    tags.insert(TAG_GROUP.into(), "ring".into());
    account.holders.push(holder("eni-9", "subnet-1", "10.0.1.20", tags));
    assert_eq!(in_pools(&["10.0.1.20"], &[], &account), []);
    account.claims.group = GroupName::parse("other");
    only(in_pools(&["10.0.1.20"], &[], &account), "persist.network.privateIpPool[0]");
}

#[test]
fn what_is_in_another_groups_pool_is_refused_naming_the_group() {
    let mut account = account();
    account.claims.others.push(Claim {
        group: GroupName::parse("web").unwrap(),
        private_ips: vec!["10.0.1.20".parse().unwrap()],
        subnets: vec![SubnetId::new("subnet-1")],
        elastic_ips: vec![AllocationId::new("eipalloc-1")],
    });
    let found = in_pools(&["10.0.1.20"], &["eipalloc-2", "eipalloc-1"], &account);
    let paths: Vec<_> = found.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, ["persist.network.privateIpPool[0]", "persist.network.elasticIpPool[1]"]);
    assert!(found.iter().all(|(_, remedy)| remedy.contains("group#web")), "{found:?}");
    let found = of_node(json!({"privateIp": "10.0.1.20", "elasticIp": "eipalloc-1"}), &account);
    assert_eq!(found.len(), 2, "nor can a node have it: {found:?}");
    account.claims.others[0].subnets = vec![SubnetId::new("subnet-7")];
    assert_eq!(in_pools(&["10.0.1.20"], &[], &account), [], "the same numbers in another network");
}

#[test]
fn an_unknown_elastic_ip_address_is_refused() {
    let remedy = only(in_pools(&[], &["eipalloc-9"], &account()), "persist.network.elasticIpPool[0]");
    assert!(remedy.contains("no such Elastic IP address"), "{remedy}");
    only(of_node(json!({"elasticIp": "eipalloc-9"}), &account()), "persist.network.elasticIp");
}

#[test]
fn an_elastic_ip_address_on_a_strangers_interface_is_refused_naming_it() {
    let mut account = account();
    account.elastic_ips = [elastic("eipalloc-1", Some("eni-9"))].into();
    let remedy = only(in_pools(&[], &["eipalloc-1"], &account), "persist.network.elasticIpPool[0]");
    assert!(remedy.contains("eni-9"), "{remedy}");
    account.elastic_ips.values_mut().next().unwrap().association.as_mut().unwrap().interface = None;
    let remedy = only(in_pools(&[], &["eipalloc-1"], &account), "persist.network.elasticIpPool[0]");
    assert!(remedy.contains("no network interface"), "{remedy}");
}

#[test]
fn with_no_subnet_that_exists_every_address_is_outside() {
    let mut account = account();
    account.subnets.clear();
    let remedy = only(in_pools(&["10.0.1.20"], &[], &account), "persist.network.privateIpPool[0]");
    assert!(remedy.contains("none of them exists"), "{remedy}");
}

//! The items of groups.

use super::*;

fn ring() -> Value {
    json!({"id": "group#ring", "launch": {"template": {"name": "base"}}, "persist": {"root": {}, "network": {}}})
}

/// The same with one attribute, whose place is given by a dotted path.
fn with(path: &str, value: Value) -> Value {
    let mut item = ring();
    *path.split('.').fold(&mut item, |at, key| &mut at[key]) = value;
    item
}

fn faults(item: &Value) -> Vec<String> {
    parse_group(item).0.problems.into_iter().map(|problem| problem.path).collect()
}

fn remedy(item: &Value) -> String {
    let problems = parse_group(item).0.problems;
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems.into_iter().next().unwrap().remedy
}

const ADDRESSES: &str = "persist.network.privateIpPool";
const ALLOCATIONS: &str = "persist.network.elasticIpPool";

#[test]
fn a_group_that_says_nothing_of_itself_has_one_member() {
    let (draft, part) = parse_group(&ring());
    assert_eq!(draft.problems, []);
    assert_eq!(part, GroupPart { capacity: 1, ..GroupPart::default() });
    assert_eq!(draft.config.persist.network, Some(NetworkPolicy::default()));
}

#[test]
fn a_capacity_is_a_whole_number_within_a_sane_limit() {
    for (value, capacity) in [(json!(0), 0), (json!(500), 500), (json!(2.0), 2)] {
        let (draft, part) = parse_group(&with("capacity", value));
        assert_eq!((draft.problems, part.capacity), (vec![], capacity));
    }
    for bad in [json!(-1), json!(501), json!(2.5), json!("3"), json!(true), json!([3]), json!(1e30)] {
        let item = with("capacity", bad.clone());
        assert_eq!(faults(&item), ["capacity"], "{bad}");
        assert!(remedy(&item).contains("from 0 to 500"));
    }
}

#[test]
fn a_groups_recycle_is_a_whole_number() {
    assert_eq!(parse_group(&with("recycle", json!(7))).1.recycle, 7);
    for bad in [json!(-1), json!(1.5), json!("1"), json!(1_000_001)] {
        assert_eq!(faults(&with("recycle", bad.clone())), ["recycle"], "{bad}");
    }
}

#[test]
fn pools_are_read_in_their_order() {
    let mut item = with(ADDRESSES, json!(["10.0.1.21", "10.0.1.20"]));
    item["persist"]["network"]["elasticIpPool"] = json!(["eipalloc-2", "eipalloc-1"]);
    let (draft, part) = parse_group(&item);
    assert_eq!(draft.problems, []);
    assert_eq!(part.private_ips, [Ipv4Addr::new(10, 0, 1, 21), Ipv4Addr::new(10, 0, 1, 20)]);
    assert_eq!(part.elastic_ips, [AllocationId::new("eipalloc-2"), AllocationId::new("eipalloc-1")]);
    assert_eq!(draft.config.persist.network, Some(NetworkPolicy::default()), "no member has them all");
}

#[test]
fn a_malformed_or_doubled_address_is_refused_in_its_place() {
    for bad in ["10.0.1.256", "10.0.1", "10.0.1.020", "10.0.1.20/32", " 10.0.1.20", "::1", "", "db"] {
        let item = with(ADDRESSES, json!(["10.0.1.4", bad]));
        assert_eq!(faults(&item), [format!("{ADDRESSES}[1]")], "{bad}");
        assert!(remedy(&item).contains("IPv4"), "{bad}");
    }
    let doubled = with(ADDRESSES, json!(["10.0.1.4", "10.0.1.5", "10.0.1.4"]));
    assert_eq!(faults(&doubled), [format!("{ADDRESSES}[2]")]);
    assert!(remedy(&doubled).contains("named twice"));
    for bad in [json!("10.0.1.4"), json!({"a": "10.0.1.4"}), json!(4)] {
        assert_eq!(faults(&with(ADDRESSES, bad.clone())), [ADDRESSES], "{bad}");
    }
    assert_eq!(faults(&with(ADDRESSES, json!([4]))), [format!("{ADDRESSES}[0]")]);
}

#[test]
fn a_malformed_or_doubled_allocation_id_is_refused_in_its_place() {
    for bad in ["eipalloc-", "198.51.100.1", "eni-1", "", "eipalloc-a/b"] {
        assert_eq!(faults(&with(ALLOCATIONS, json!([bad]))), [format!("{ALLOCATIONS}[0]")], "{bad}");
    }
    let doubled = with(ALLOCATIONS, json!(["eipalloc-1", "eipalloc-1"]));
    assert_eq!(faults(&doubled), [format!("{ALLOCATIONS}[1]")]);
    assert_eq!(faults(&with(ALLOCATIONS, json!("eipalloc-1"))), [ALLOCATIONS]);
}

#[test]
fn a_pool_of_more_than_a_group_can_have_members_is_refused() {
    let addresses = |n: u32| (0..n).map(|n| format!("10.0.{}.{}", n / 250, n % 250)).collect::<Vec<_>>();
    assert_eq!(faults(&with(ADDRESSES, json!(addresses(500)))), [""; 0]);
    let item = with(ADDRESSES, json!(addresses(501)));
    assert_eq!(faults(&item), [ADDRESSES]);
    assert!(remedy(&item).contains("at most 500"));
}

#[test]
fn what_is_a_nodes_alone_is_refused_with_what_a_group_says_instead() {
    for (path, value, says) in [
        ("desiredState", json!("running"), "capacity"),
        ("restoreFrom", json!("snap-1"), "member's item"),
        ("group", json!("web"), "in no group"),
        ("persist.network.privateIp", json!("10.0.1.20"), "privateIpPool"),
        ("persist.network.elasticIp", json!("eipalloc-1"), "elasticIpPool"),
    ] {
        let item = with(path, value);
        assert_eq!(faults(&item), [path]);
        assert!(remedy(&item).contains(says), "{path}: {}", remedy(&item));
    }
}

#[test]
fn what_is_a_groups_alone_is_refused_in_a_node() {
    let network = json!({"privateIpPool": ["10.0.1.20"], "elasticIpPool": ["eipalloc-1"]});
    let launch = json!({"template": {"name": "base"}});
    let item = json!({"id": "node#db", "capacity": 2, "launch": launch, "persist": {"network": network},
        "imageBackup": {}});
    assert_eq!(paths(&item), ["capacity", "imageBackup", ALLOCATIONS, ADDRESSES]);
    for problem in parse(&item).problems.into_iter().filter(|problem| problem.path != "capacity") {
        assert!(problem.remedy.contains("write it in the group's item"), "{problem:?}");
    }
}

#[test]
fn what_comes_later_is_refused_as_such_and_a_typo_is_guessed_in_groups_too() {
    assert!(remedy(&with("targetGroups", json!({}))).contains("not supported yet"));
    assert!(remedy(&with("Capacity", json!(1))).contains("did you mean \"capacity\""));
}

#[test]
fn all_faults_of_a_group_are_reported_together() {
    let item = json!({"id": "group#ring", "capacity": -1, "desiredState": "paused", "launch": {},
        "persist": {"network": {"privateIpPool": ["x"], "elasticIpPool": ["y"]}}});
    let (address, allocation) = (format!("{ADDRESSES}[0]"), format!("{ALLOCATIONS}[0]"));
    assert_eq!(faults(&item), ["capacity", "desiredState", "launch.template", &allocation, &address]);
}

#[test]
fn the_name_of_a_group_leaves_room_for_its_members() {
    assert_eq!(group_name("group#ring-1").unwrap().as_str(), "ring-1");
    assert!(group_name(&format!("group#{}", "g".repeat(42))).is_ok());
    let long = format!("group#{}", "g".repeat(43));
    for bad in ["group#", "group#Ring", "ring", "groups#ring", "group#-a", long.as_str()] {
        assert_eq!(group_name(bad).unwrap_err().path, "id", "{bad}");
    }
}

#[test]
fn the_group_of_a_node_is_named_bare() {
    let mut item = good();
    item["group"] = json!("web");
    assert_eq!(parse(&item).config.group, GroupName::parse("web"));
    for bad in [json!("group#web"), json!("Web"), json!(""), json!(5)] {
        item["group"] = bad.clone();
        assert_eq!(paths(&item), ["group"], "{bad}");
    }
}

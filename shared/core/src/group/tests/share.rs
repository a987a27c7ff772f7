//! What a member has from its group.

use super::*;
use crate::config::NodeConfig;

/// `item` with more attributes.
fn with(mut item: Value, says: Value) -> Value {
    for (key, value) in says.as_object().unwrap() {
        item[key] = value.clone();
    }
    item
}

fn item(says: Value) -> Value {
    with(json!({"id": "node#ring-1", "group": "ring"}), says)
}

/// The share of a member that runs, after a change of it, in a group that says this besides.
fn share(says: Value, change: impl FnOnce(&mut Member)) -> Share {
    let mut world = World::new(with(group(1, &[11], &["eipalloc-1"]), says));
    let mut member: Member = serde_json::from_value(json!({"name": "ring-1", "wish": "running"})).unwrap();
    change(&mut member);
    world.group.members.push(member);
    world.group.share(&node("ring-1")).unwrap()
}

fn config(share: &Share, says: Value) -> NodeConfig {
    let draft = share.draft(&item(says));
    assert_eq!(draft.problems, []);
    draft.config
}

#[test]
fn an_item_that_says_nothing_is_completed_by_its_group() {
    let says = json!({"tags": {"team": "a"}, "retention": {"after": "2h"}, "recycle": 2});
    let config = config(&share(says, |_| {}), json!({}));
    assert_eq!(config.desired_state, DesiredState::Running);
    assert_eq!((config.retention.after.as_hours(), config.launch.subnets.len()), (2, 2));
    assert_eq!((config.tags["team"].as_str(), config.tags["perennial:group"].as_str()), ("a", "ring"));
    assert!(config.persist.root.is_some() && config.persist.network.is_some());
    assert_eq!((config.place, config.recycle), (Some(0), 0), "the count of the group is not its own");
}

#[test]
fn a_members_item_counts_leaf_by_leaf_and_its_lists_whole() {
    let share = share(json!({"tags": {"team": "a", "tier": "x"}, "recycle": 2}), |_| {});
    let says = json!({"tags": {"team": "b"}, "launch": {"subnets": ["subnet-9"]}, "recycle": 4,
        "persist": {"root": {"keep": 7}, "network": {"privateIp": "10.0.1.11"}}});
    let config = config(&share, says);
    assert_eq!((config.tags["team"].as_str(), config.tags["tier"].as_str()), ("b", "x"));
    assert_eq!(config.launch.subnets.iter().map(|one| one.as_str()).collect::<Vec<_>>(), ["subnet-9"]);
    assert_eq!((config.persist.root.unwrap().keep, config.recycle), (7, 4));
    assert_eq!(config.persist.network.unwrap().private_ip, Some(ip(11)));
}

#[test]
fn the_wish_counts_where_the_operator_has_no_word_of_his_own() {
    let share = share(json!({}), |member| member.wish = DesiredState::Paused);
    for says in [json!({}), json!({"desiredState": null})] {
        assert_eq!(config(&share, says).desired_state, DesiredState::Paused);
    }
    for state in DesiredState::ALL {
        assert_eq!(config(&share, json!({"desiredState": state.as_str()})).desired_state, state);
    }
}

#[test]
fn an_elastic_ip_address_of_the_items_own_comes_before_that_of_the_pool() {
    let share = share(json!({}), |member| member.elastic_ip = AllocationId::parse("eipalloc-1"));
    let of = |says: Value| config(&share, says).persist.network.unwrap().elastic_ip.unwrap().to_string();
    assert_eq!(of(json!({})), "eipalloc-1");
    assert_eq!(of(json!({"persist": {"network": {"elasticIp": "eipalloc-2"}}})), "eipalloc-2");
    assert_eq!(of(json!({"persist": {"network": {"elasticIp": null}}})), "eipalloc-1");
}

#[test]
fn an_address_that_is_lost_is_not_asked_for() {
    let lost = |member: &mut Member| (member.private_ip, member.lost_address) = (Some(ip(11)), true);
    let says = json!({"persist": {"network": {"privateIp": "10.0.1.11"}}});
    assert_eq!(config(&share(json!({}), lost), says).persist.network.unwrap().private_ip, None);
}

#[test]
fn what_only_a_group_can_say_is_refused_in_a_members_item() {
    let says = json!({"capacity": 3, "persist": {"network": {"privateIpPool": []}}});
    let draft = share(json!({}), |_| {}).draft(&item(says));
    let paths: Vec<_> = draft.problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(paths, ["capacity", "persist.network.privateIpPool"]);
}

#[test]
fn everything_that_a_member_has_from_its_group_changes_the_hash_and_nothing_else_does() {
    let plain = share(json!({}), |_| {}).hash();
    assert_eq!(share(json!({"capacity": 7, "recycle": 3}), |_| {}).hash(), plain);
    let changes: [fn(&mut Member); 7] = [
        |member| member.wish = DesiredState::Paused,
        |member| member.recycle = 1,
        |member| member.place = 1,
        |member| member.elastic_ip = AllocationId::parse("eipalloc-1"),
        |member| member.frees_address = true,
        |member| (member.private_ip, member.lost_address) = (Some(ip(11)), true),
        |member| member.given_up = true,
    ];
    let mut all: Vec<String> = changes.into_iter().map(|change| share(json!({}), change).hash()).collect();
    all.push(share(json!({"tags": {"a": "b"}}), |_| {}).hash());
    all.push(plain);
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 9);
}

#[test]
fn a_member_wanted_back_must_be_placed_first() {
    let (paused, gone) = (DesiredState::Paused, DesiredState::Deallocated);
    for (wish, says, must) in [
        (paused, json!({}), true),
        (gone, json!({}), false),
        (gone, json!({"desiredState": "running"}), true),
        (gone, json!({"desiredState": "paused"}), true),
        (paused, json!({"desiredState": "deallocated"}), false),
        (paused, json!({"desiredState": "released"}), false),
        (paused, json!({"desiredState": "nonsense"}), false),
    ] {
        let share = share(json!({}), |member| (member.given_up, member.wish) = (true, wish));
        assert_eq!(share.must_be_placed(&item(says.clone())), must, "{wish:?} {says}");
    }
    assert!(!share(json!({}), |_| {}).must_be_placed(&item(json!({}))));
}

#[test]
fn a_member_without_an_item_is_told_what_it_is_to_give_back() {
    let mut world = World::new(group(1, &[11], &["eipalloc-1"])).quiet();
    let mut record = Record { work_at: None, ..world.record("ring-1").clone() };
    let member = &mut world.group.members[0];
    (member.given_up, member.frees_address, member.elastic_ip) = (true, true, None);
    let share = world.group.share(&node("ring-1")).unwrap();
    share.impose(&mut record, world.now);
    let network = record.config().persist.network.clone().unwrap();
    assert_eq!((network.frees_address, network.elastic_ip, network.private_ip), (true, None, Some(ip(11))));
    assert_eq!((record.config.share.clone(), record.work_at), (Some(share.hash()), Some(world.now)));
    assert_eq!(record.goal, DesiredState::Running, "what it is to be is nobody's to say here");
}

#[test]
fn the_template_is_all_that_is_not_the_groups_alone() {
    let item = group(1, &[11], &["eipalloc-1"]);
    let config = World::new(item.clone()).group.config;
    assert_eq!(config.hash, crate::config::hash(&item));
    let expected = json!({"launch": item["launch"], "persist": {"root": {}, "network": {}}});
    assert_eq!(config.template, expected);
}

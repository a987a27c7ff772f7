//! What is read of an item, and everything that is said of one that is wrong.

mod group;

use serde_json::json;

use super::*;

fn good() -> Value {
    json!({"id": "node#db", "launch": {"template": {"name": "base"}}, "persist": {"root": {}, "network": {}}})
}

fn paths(item: &Value) -> Vec<String> {
    parse(item).problems.into_iter().map(|p| p.path).collect()
}

#[test]
fn a_present_map_turns_an_option_on_with_defaults() {
    let draft = parse(&good());
    assert_eq!(draft.problems, []);
    let root = draft.config.persist.root.unwrap();
    assert_eq!((root.snapshot_every.as_mins(), root.keep), (5, 3));
    assert_eq!(draft.config.persist.network, Some(NetworkPolicy::default()));
    assert_eq!(draft.config.retention.after.as_hours(), 96);
    assert_eq!(draft.config.launch.market, MarketPolicy::SpotThenOnDemand);
    assert_eq!(draft.config.launch.template.version, "$Default");
    let bare = parse(&json!({"id": "node#db", "launch": {"template": {"id": "lt-1"}}}));
    assert_eq!(bare.config.persist, Persist::default());
}

#[test]
fn all_faults_are_reported_together_with_their_places() {
    let item = json!({"id": "node#db", "desiredstate": "running", "suspend": "yes",
        "launch": {"template": {"name": "base", "id": "lt-1", "version": "newest"}, "instanceTypes": ["m5.large", 7, "m5.large"],
            "subnets": "subnet-1", "market": "cheap", "maxSpotPrice": "free", "image": "img"},
        "persist": {"root": {"snapshotEvery": "30s", "keep": 0, "restore": "tape"}, "network": {"privateIp": "10.0.0.256"},
            "data": {"mode": "copy", "keep": 501, "snapshotEvery": "soon", "restore": "image"}},
        "retention": {"after": "soon", "delete": ["images", "everything"]},
        "tags": {"perennial:node": "x", "n": 1}});
    assert_eq!(
        paths(&item),
        [
            "desiredstate",
            "launch.image",
            "launch.instanceTypes[1]",
            "launch.instanceTypes[2]",
            "launch.market",
            "launch.maxSpotPrice",
            "launch.subnets",
            "launch.template",
            "launch.template.version",
            "persist.data.keep",
            "persist.data.mode",
            "persist.data.restore",
            "persist.data.snapshotEvery",
            "persist.network.privateIp",
            "persist.root.keep",
            "persist.root.restore",
            "persist.root.snapshotEvery",
            "retention.after",
            "retention.delete[1]",
            "suspend",
            "tags.n",
            "tags.perennial:node",
        ]
    );
}

#[test]
fn what_comes_later_is_refused_as_such_and_a_typo_is_guessed() {
    let mut item = good();
    item["desiredstate"] = json!("running");
    let problems = parse(&item).problems;
    assert!(problems[0].remedy.contains("did you mean \"desiredState\""), "{problems:?}");
    let later = json!({"id": "node#db", "launch": {"template": {"name": "base"}}, 
        "onRebalance": "replace", "targetGroups": [],
        "persist": {"root": {"restore": "volume"}, "network": {}}});
    let problems = parse(&later).problems;
    let expected = ["onRebalance", "persist.root.restore", "targetGroups"];
    assert_eq!(problems.iter().map(|p| p.path.as_str()).collect::<Vec<_>>(), expected);
    for problem in problems {
        assert!(problem.remedy.contains("not supported yet"), "{problem:?}");
    }
}

#[test]
fn data_volumes_are_attached_again_unless_the_item_says_otherwise() {
    let persist = |says: serde_json::Value| {
        let mut item = good();
        item["persist"] = says;
        let draft = parse(&item);
        assert_eq!(draft.problems, []);
        let again = serde_json::to_value(&draft.config).unwrap();
        assert_eq!(serde_json::from_value::<NodeConfig>(again).unwrap(), draft.config);
        draft.config.persist
    };
    let data = persist(json!({"data": {}})).data.unwrap();
    assert_eq!((data.mode, data.snapshot_every.as_mins(), data.keep), (DataMode::Reattach, 5, 3));
    let data = persist(json!({"data": {"mode": "snapshot", "snapshotEvery": "1h", "keep": 7}})).data.unwrap();
    assert_eq!((data.mode, data.snapshot_every.as_mins(), data.keep), (DataMode::Snapshot, 60, 7));
}

#[test]
fn root_and_data_share_one_line_of_recovery_points() {
    let points = |says: serde_json::Value| {
        let mut item = good();
        item["persist"] = says;
        parse(&item).config.persist.points().map(|points| (points.every.as_mins(), points.keep))
    };
    let (root, data) = (json!({"snapshotEvery": "5m", "keep": 3}), json!({"snapshotEvery": "1h", "keep": 9}));
    assert_eq!(points(json!({"network": {}})), None);
    assert_eq!(points(json!({"root": root})), Some((5, 3)));
    assert_eq!(points(json!({"data": data})), Some((60, 9)));
    assert_eq!(points(json!({"root": root, "data": data})), Some((5, 9)), "never fewer than either asks for");
}

#[test]
fn every_state_is_read_and_another_word_is_told_all_of_them() {
    for state in DesiredState::ALL {
        let mut item = good();
        item["desiredState"] = json!(state.as_str());
        let draft = parse(&item);
        assert_eq!((draft.config.desired_state, draft.problems), (state, vec![]));
    }
    assert_eq!(parse(&good()).config.desired_state, DesiredState::Running);
    for word in ["stop", "Paused", "", "terminated"] {
        let mut item = good();
        item["desiredState"] = json!(word);
        let problems = parse(&item).problems;
        assert_eq!((problems.len(), problems[0].value.as_str()), (1, word));
        for state in DesiredState::ALL {
            assert!(problems[0].remedy.contains(state.as_str()), "{problems:?}");
        }
    }
}

#[test]
fn a_reaction_to_a_recommendation_is_to_ignore_it_or_to_take_a_snapshot() {
    assert_eq!(parse(&good()).config.on_rebalance, OnRebalance::Snapshot);
    for (word, reaction) in [("ignore", OnRebalance::Ignore), ("snapshot", OnRebalance::Snapshot)] {
        let mut item = good();
        item["onRebalance"] = json!(word);
        let draft = parse(&item);
        assert_eq!((draft.config.on_rebalance, draft.problems), (reaction, vec![]));
        let again = serde_json::to_value(&parse(&item).config).unwrap();
        assert_eq!(serde_json::from_value::<NodeConfig>(again).unwrap().on_rebalance, reaction);
    }
    for bad in [json!("Snapshot"), json!(""), json!(true), json!({})] {
        let mut item = good();
        item["onRebalance"] = bad.clone();
        assert_eq!(paths(&item), ["onRebalance"], "{bad}");
    }
}

#[test]
fn recycle_is_a_whole_number_and_restore_from_a_snapshot() {
    let mut item = good();
    item["recycle"] = json!(7);
    item["restoreFrom"] = json!("snap-0abc");
    let draft = parse(&item);
    assert_eq!(draft.problems, []);
    assert_eq!((draft.config.recycle, draft.config.restore_from), (7, Some(SnapshotId::new("snap-0abc"))));
    for bad in [json!(-1), json!(1.5), json!("1"), json!(1_000_001), json!(true)] {
        item["recycle"] = bad.clone();
        assert_eq!(paths(&item), ["recycle"], "{bad}");
    }
    item["recycle"] = json!(0);
    for bad in [json!("ami-1"), json!("snap-"), json!(1), json!(["snap-1"])] {
        item["restoreFrom"] = bad.clone();
        assert_eq!(paths(&item), ["restoreFrom"], "{bad}");
    }
}

#[test]
fn an_impossible_retention_is_refused_with_the_range() {
    for bad in ["0h", "soon", "59m", "-1h", "4000d", ""] {
        let mut item = good();
        item["retention"] = json!({"after": bad});
        let problems = parse(&item).problems;
        assert_eq!((problems.len(), problems[0].path.as_str()), (1, "retention.after"), "{bad}");
        assert!(problems[0].remedy.contains("from 1h to 87600h"), "{problems:?}");
    }
    let mut item = good();
    item["retention"] = json!({"after": "1h", "delete": []});
    let draft = parse(&item);
    assert_eq!((draft.problems, draft.config.retention.delete), (vec![], vec![]));
}

#[test]
fn a_missing_or_wrong_launch_is_one_problem() {
    for (launch, path) in [
        (Value::Null, "launch"),
        (json!([]), "launch"),
        (json!({}), "launch.template"),
        (json!({"template": 5}), "launch.template"),
        (json!({"template": {}}), "launch.template"),
        (json!({"template": {"id": 5}}), "launch.template.id"),
        (json!({"template": {"id": "template-1"}}), "launch.template.id"),
        (json!({"template": {"name": "ab"}}), "launch.template.name"),
    ] {
        let item = json!({"id": "node#db", "launch": launch});
        assert_eq!(paths(&item), [path], "{launch}");
    }
}

#[test]
fn durations_are_a_number_and_a_unit() {
    for (text, secs) in [("5m", 300), ("60s", 60), ("1h", 3600), ("1d", 86400)] {
        assert_eq!(super::super::reader::plain_duration(text).unwrap().as_secs(), secs);
    }
    for text in ["", "5", "m", "-5m", "5 m", "5min", "1h30m", "5µ", "99999999999999999999s"] {
        assert!(super::super::reader::plain_duration(text).is_none(), "{text}");
    }
}

#[test]
fn an_id_of_no_node_says_what_is_wrong_with_it() {
    assert_eq!(node_name("node#db-1").unwrap().as_str(), "db-1");
    for bad in ["setting", "db", "node#", "node#DB", "node#-x", "nodes#x"] {
        let problem = node_name(bad).unwrap_err();
        assert_eq!((problem.path.as_str(), problem.value.as_str()), ("id", bad));
    }
}

#[test]
fn a_hostile_value_is_shown_shortened() {
    let mut item = good();
    item["launch"]["market"] = json!("x".repeat(10_000));
    assert!(parse(&item).problems[0].value.len() < 200);
}

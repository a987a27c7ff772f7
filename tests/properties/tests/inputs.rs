//! Whatever comes in, nothing panics, nothing that was accepted gets lost, and what is told of it is bounded.
//!
//! A few hundred cases each time; `PROPTEST_CASES=100000` for many more.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail as loudly as the test itself")]

use std::path::Path;

use perennial_core::config::{self, NodeConfig, Problem, settings};
use perennial_core::event;
use perennial_core::group::GroupRecord;
use perennial_core::ids::NodeName;
use perennial_core::launch::Settings;
use perennial_core::record::{SCHEMA_VERSION, Stored};
use perennial_core::shown::SHOWN_MAX;
use perennial_properties::{changed, changes, odd, places};
use proptest::prelude::*;
use serde_json::{Value, json};

/// JSON files of a folder under `tests`.
fn golden(folder: &str) -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    paths.retain(|path| path.is_file());
    paths.sort();
    paths.iter().map(|path| serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()).collect()
}

/// A node's item with every attribute, none of them as it is without being written.
fn node_item() -> Value {
    json!({"id": "node#db", "desiredState": "paused", "recycle": 3, "restoreFrom": "snap-1", "suspend": true,
        "group": "web", "launch": {"template": {"id": "lt-1", "version": "7"}, "image": "ami-1",
            "instanceTypes": ["m7i.large", "m7a.large"], "subnets": ["subnet-1", "subnet-2"], "market": "spot",
            "maxSpotPrice": "0.05"},
        "persist": {"root": {"snapshotEvery": "10m", "keep": 5}, "data": {"mode": "snapshot", "snapshotEvery": "10m",
            "keep": 5}, "network": {"privateIp": "10.0.1.20", "elasticIp": "eipalloc-1"}},
        "onRebalance": "ignore", "retention": {"after": "48h", "delete": ["images", "volumes"]},
        "tags": {"team": "db", "stage": "prod"}})
}

fn group_item() -> Value {
    json!({"id": "group#web", "capacity": 3, "recycle": 2, "suspend": true,
        "launch": {"template": {"name": "base", "version": "$Latest"}},
        "persist": {"network": {"privateIpPool": ["10.0.1.20", "10.0.1.21"], "elasticIpPool": ["eipalloc-1"]}},
        "imageBackup": {"frequency": "cron", "cron": "0 3 * * *", "timezone": "Europe/Berlin", "keep": 5, "now": 2},
        "onRebalance": "ignore", "retention": {"after": "48h"}, "tags": {"team": "web"}})
}

fn settings_item() -> Value {
    json!({"id": "settings", "suspend": true, "confirmRemoval": 12, "snapshotsPerSecond": 9})
}

/// Nested as deep as DynamoDB and Lambda never have it.
fn deep(depth: usize) -> Value {
    (0..depth).fold(json!(1), |inner, n| if n % 2 == 0 { json!([inner]) } else { json!({"a": inner}) })
}

fn assert_told_well(problems: &[Problem]) {
    let told = config::at_most_told(problems.to_vec());
    assert!(told.len() <= 51);
    for Problem { path, value, remedy } in told {
        // One more for the ellipsis.
        assert!(
            path.chars().count() <= SHOWN_MAX + 1 && value.chars().count() <= SHOWN_MAX + 1,
            "{path}: {value}"
        );
        assert!(!remedy.is_empty() && remedy.chars().count() < 500, "{path}: {remedy}");
    }
}

/// Reads an item as each kind of item, and holds what was accepted against what is read back from a record.
fn read_item(item: &Value) {
    let _ = (config::hash(item), config::is_absent(item), config::is_refused(item));
    let node = config::parse(item);
    let (group, _) = config::parse_group(item);
    for draft in [node, group] {
        assert_told_well(&draft.problems);
        let written = serde_json::to_value(&draft.config).unwrap();
        assert_eq!(NodeConfig::deserialize_from(&written), draft.config);
    }
    match settings::parse(item) {
        Ok(said) => {
            let written = serde_json::to_value(&said).unwrap();
            assert_eq!(serde_json::from_value::<settings::Settings>(written).unwrap(), said);
        }
        Err(problems) => assert_told_well(&problems),
    }
}

trait Back: Sized {
    fn deserialize_from(value: &Value) -> Self;
}

impl Back for NodeConfig {
    fn deserialize_from(value: &Value) -> Self {
        serde_json::from_value(value.clone()).unwrap()
    }
}

fn read_event(event: &Value) {
    match event::parse(event) {
        Ok(envelope) => assert!(envelope.id.chars().count() <= 81),
        Err(malformed) => assert!(malformed.to_string().chars().count() < 400, "{malformed}"),
    }
}

/// A record that is accepted says the same when it is written again.
fn read_record(json: &Value) {
    if let Ok(Stored::Known(record)) = Stored::read(json) {
        let written = serde_json::to_value(&record).unwrap();
        assert_eq!(Stored::read(&written).unwrap(), Stored::Known(record.clone()));
        let _ = (record.steady(), record.standing(), record.wakes_at(), record.resources());
    }
    if let Ok(group) = serde_json::from_value::<GroupRecord>(json.clone()) {
        let written = serde_json::to_value(&group).unwrap();
        assert_eq!(serde_json::from_value::<GroupRecord>(written).unwrap(), group);
    }
}

proptest! {
    #[test]
    fn any_json_is_read_or_refused(json in odd()) {
        read_event(&json);
        read_item(&json);
        read_record(&json);
    }

    #[test]
    fn changed_events_are_read_or_refused(which in any::<usize>(), changes in changes()) {
        let events = golden("events");
        read_event(&changed(events[which % events.len()].clone(), changes));
    }

    #[test]
    fn changed_items_are_read_or_refused(which in 0..3_usize, changes in changes()) {
        let item = [node_item(), group_item(), settings_item()][which].clone();
        read_item(&changed(item, changes));
    }

    #[test]
    fn changed_records_are_read_or_refused(which in any::<usize>(), changes in changes()) {
        let records = [golden("records"), golden("records/group")].concat();
        read_record(&changed(records[which % records.len()].clone(), changes));
    }

    #[test]
    fn a_record_of_a_newer_schema_is_told_apart_whatever_was_changed(which in any::<usize>(), changes in changes(),
        newer in SCHEMA_VERSION + 1..)
    {
        let records = golden("records");
        let mut json = changed(records[which % records.len()].clone(), changes);
        if let Some(map) = json.as_object_mut() {
            map.insert("schemaVersion".to_owned(), json!(newer));
            prop_assert_eq!(Stored::read(&json), Ok(Stored::Newer { schema_version: newer.into() }));
        }
    }

    #[test]
    fn what_a_record_has_besides_changes_nothing_else(which in any::<usize>(), key in "x[a-z]{1,9}", odd in odd()) {
        let records = golden("records");
        let json = records[which % records.len()].clone();
        let mut more = json.clone();
        more.as_object_mut().unwrap().insert(key, odd);
        prop_assert_eq!(Stored::read(&more), Stored::read(&json));
    }

    #[test]
    fn names_are_read_back_from_their_keys(text in ".{0,60}") {
        if let Some(name) = NodeName::parse(&text) {
            prop_assert_eq!(NodeName::from_key(&name.key()), Some(name));
        }
        prop_assert!(config::node_name(&text).is_ok() || config::node_name(&text).is_err_and(|it| !it.remedy.is_empty()));
    }
}

/// Takes out each attribute in turn: something else must be in force then, or be refused.
fn assert_each_counts<T: PartialEq>(item: &Value, read: impl Fn(&Value) -> (T, usize)) {
    let (whole, problems) = read(item);
    assert_eq!(problems, 0, "the item is accepted as it stands");
    let mut all = Vec::new();
    places(item, "", &mut all);
    for place in all.iter().filter(|place| !place.is_empty() && *place != "/id") {
        let (parent, key) = place.rsplit_once('/').unwrap();
        let mut less = item.clone();
        match less.pointer_mut(parent).unwrap() {
            Value::Object(map) => _ = map.remove(key).unwrap(),
            Value::Array(list) => _ = list.remove(key.parse().unwrap()),
            _ => unreachable!("only maps and lists have parts"),
        }
        let (said, problems) = read(&less);
        assert!(problems > 0 || said != whole, "{place} was accepted and means nothing");
    }
}

#[test]
fn no_attribute_is_accepted_and_lost() {
    assert_each_counts(&node_item(), |item| {
        let draft = config::parse(item);
        (draft.config, draft.problems.len())
    });
    assert_each_counts(&group_item(), |item| {
        let (draft, part) = config::parse_group(item);
        ((draft.config, part), draft.problems.len())
    });
    assert_each_counts(&settings_item(), |item| {
        let said = settings::parse(item);
        (said.clone().ok(), said.err().map_or(0, |problems| problems.len()))
    });
}

#[test]
fn deep_nesting_is_read_or_refused() {
    for depth in [32, 128, 1000] {
        for key in ["launch", "persist", "tags", "retention", "unheard"] {
            let mut item = node_item();
            item[key] = deep(depth);
            read_item(&item);
            read_event(&item);
        }
    }
}

#[test]
fn a_long_list_is_refused_before_it_is_compared() {
    let mut item = node_item();
    item["launch"]["subnets"] = Value::from((0..100_000).map(|n| format!("subnet-{n}")).collect::<Vec<_>>());
    let problems = config::parse(&item).problems;
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!((problems[0].path.as_str(), problems[0].value.as_str()), ("launch.subnets", "100000"));
}

#[test]
fn a_flood_of_problems_is_told_of_within_bounds() {
    let mut item = node_item();
    for n in 0..5000 {
        item[format!("{n}{}", "x".repeat(200))] = json!("y".repeat(200));
    }
    let told = config::at_most_told(config::parse(&item).problems);
    assert_told_well(&told);
    assert_eq!((told.len(), told[50].value.as_str()), (51, "4950 more"));
    assert!(serde_json::to_vec(&told).unwrap().len() < 64 * 1024);
}

#[test]
fn a_number_with_a_sign_is_no_number() {
    let mut item = node_item();
    item["launch"]["template"]["version"] = json!("+7");
    item["retention"]["after"] = json!("+48h");
    let problems = config::parse(&item).problems;
    let paths: Vec<&str> = problems.iter().map(|it| it.path.as_str()).collect();
    assert_eq!(paths, ["launch.template.version", "retention.after"]);
}

#[test]
fn a_launch_template_id_has_the_form_of_one() {
    for id in ["lt-", "lt-a b", "lt-../x", &format!("lt-{}", "a".repeat(65))] {
        let mut item = node_item();
        item["launch"]["template"]["id"] = json!(id);
        assert_eq!(config::parse(&item).problems[0].path, "launch.template.id", "{id}");
    }
}

#[test]
fn user_data_is_not_shown() {
    let said = json!({"userData": "c2VjcmV0"});
    let settings: Settings = serde_json::from_value(said.clone()).unwrap();
    let shown = format!("{settings:?}");
    assert!(shown.contains("UserData(8 characters)") && !shown.contains("c2VjcmV0"), "{shown}");
    assert_eq!(serde_json::to_value(&settings).unwrap(), said, "but it is written down for the launch");
}

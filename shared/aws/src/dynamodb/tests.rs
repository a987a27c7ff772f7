//! What is sent to the tables and what is read back, without a table.

use aws_sdk_dynamodb::types::AttributeValue;
use perennial_core::config::parse;
use perennial_core::ids::{ImageId, InstanceId, VolumeId};
use perennial_core::journal::{Detail, Entry, Kind, OwnEvent};
use perennial_core::launch::Market;
use perennial_core::observation::{Platform, VolumeShape};
use perennial_core::phase::Phase;
use perennial_core::record::{Accepted, Instance, Record, Root};
use serde_json::json;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn record() -> Record {
    let item = json!({"id": "node#db", "launch": {"template": {"id": "lt-1"}, "instanceTypes": ["t3.small"]},
        "persist": {"root": {}}, "tags": {"team": "db"}});
    let config = parse(&item).config;
    let accepted = Accepted { hash: "h".into(), config };
    let mut record =
        Record::new(NodeName::parse("db").unwrap(), "life1".into(), accepted, at("2026-11-20T10:00:00.25Z"));
    record.generation = 7;
    record
}

fn running() -> Record {
    let mut record = record();
    record.phase = Phase::Running;
    record.work_at = None;
    record.instance = Some(Instance {
        id: InstanceId::new("i-1"),
        instance_type: "t3.small".into(),
        zone: "eu-west-1a".into(),
        market: Market::Spot,
        image_id: ImageId::new("ami-1"),
        launched_at: None,
        key: "k".into(),
        heir: false,
        platform: Platform::default(),
        missing_since: None,
        ended_at: None,
        stop_noted: false,
    });
    record.root = Some(Root {
        volume_id: VolumeId::new("vol-1"),
        device_name: "/dev/xvda".into(),
        shape: VolumeShape::default(),
        available_at: None,
        missing_since: None,
        replaced_by: None,
    });
    record
}

fn read(item: &Item) -> Record {
    match items::stored("test", item).unwrap() {
        Stored::Known(record) => *record,
        Stored::Newer { schema_version } => panic!("newer: {schema_version}"),
    }
}

fn commit(record: Record) -> Commit {
    let entry = Entry { time: at("2026-11-20T10:00:01.5Z"), what: "w".into(), phase: Phase::New, cycle: 0 };
    Commit {
        expected: Some(record.generation - 1),
        record,
        point: vec!["i-1".into(), "vol-1".into()],
        unpoint: vec!["i-0".into(), "vol-1".into()],
        entries: vec![entry],
    }
}

#[test]
fn a_record_survives_the_way_there_and_back() {
    for record in [record(), running()] {
        let item = items::record_item("test", &record).unwrap();
        assert_eq!(read(&item), record);
    }
}

#[test]
fn unfinished_work_is_in_its_shard_in_whole_seconds() {
    let item = items::record_item("test", &record()).unwrap();
    assert!(items::text_of(&item, WORK_SHARD).unwrap().starts_with("todo#"));
    assert_eq!(items::text_of(&item, WORK_AT), Some("2026-11-20T10:00:00Z"));
    assert!(!item.contains_key("steady"));
    let due = due_of(&item).unwrap();
    assert_eq!((due.node.as_str(), due.at), ("db", at("2026-11-20T10:00:00Z")));
}

#[test]
fn a_running_node_is_steady_and_never_due() {
    let item = items::record_item("test", &running()).unwrap();
    assert!(items::text_of(&item, WORK_SHARD).unwrap().starts_with("steady#"));
    assert!(items::text_of(&item, WORK_AT).unwrap() > "9999");
    let steady = steady_of(&item).unwrap();
    assert_eq!(steady, running().steady().unwrap());
    assert_eq!(steady.tags["team"], "db");
}

#[test]
fn a_running_node_with_unpublished_events_is_due_soon_and_reads_back_unchanged() {
    let mut record = running();
    let detail = Detail::default();
    record.outbox.push(OwnEvent { kind: Kind::NodeRunning, time: record.updated_at, detail });
    let item = items::record_item("test", &record).unwrap();
    assert_eq!(items::text_of(&item, WORK_AT), Some("2026-11-20T10:00:45Z"));
    assert_eq!(read(&item), record);
    record.work_at = Some(at("2026-11-20T10:00:30Z"));
    let item = items::record_item("test", &record).unwrap();
    assert_eq!(items::text_of(&item, WORK_AT), Some("2026-11-20T10:00:30Z"));
}

#[test]
fn a_newer_record_is_reported_and_a_broken_one_named() {
    let mut item = items::record_item("test", &record()).unwrap();
    item.insert("schemaVersion".into(), attributes::number(99));
    assert_eq!(items::stored("test", &item).unwrap(), Stored::Newer { schema_version: 99 });
    item.remove("schemaVersion");
    let failure = items::stored("test", &item).unwrap_err();
    assert_eq!(failure.class, Class::Terminal);
    assert!(failure.message.starts_with("node#db: "), "{failure}");
}

#[test]
fn a_write_replaces_only_the_generation_and_life_that_were_read() {
    let put = items::put_record("test", "t", &commit(record())).unwrap();
    assert_eq!(put.condition_expression(), Some("#generation = :generation AND #life = :life"));
    let values = put.expression_attribute_values().unwrap();
    assert_eq!(values[":generation"], AttributeValue::N("6".into()));
    assert_eq!(values[":life"], AttributeValue::S("life1".into()));
    let first = Commit { expected: None, ..commit(record()) };
    let put = items::put_record("test", "t", &first).unwrap();
    assert_eq!(put.condition_expression(), Some("attribute_not_exists(pk)"));
}

#[test]
fn a_transaction_touches_each_item_once() {
    let (writes, parts) = items::transaction("test", "t", &commit(record())).unwrap();
    let pointer = |id: &str| Part::Pointer(id.to_owned());
    assert_eq!(parts, [Part::Record, pointer("i-1"), pointer("vol-1"), pointer("i-0"), Part::Line]);
    assert!(writes[1].put().is_some() && writes[3].delete().is_some());
    let owner = writes[1].put().unwrap().item();
    assert_eq!(items::text_of(owner, "pk"), Some("resource#i-1"));
    assert_eq!((items::text_of(owner, "node"), items::text_of(owner, "life")), (Some("db"), Some("life1")));
    let line = writes[4].put().unwrap().item();
    assert_eq!(items::text_of(line, "sk"), Some("event#2026-11-20T10:00:01Z#00000007-00"));
    let thirty_days = at("2026-12-20T10:00:01Z").as_second().to_string();
    assert_eq!(line["expiresAt"], AttributeValue::N(thirty_days));
}

#[test]
fn the_same_write_has_the_same_token_and_another_content_another() {
    let one = items::token(&commit(record()));
    assert_eq!(one, items::token(&commit(record())));
    assert_eq!(one.len(), 36);
    let mut other = commit(record());
    other.record.reason = "else".into();
    assert_ne!(one, items::token(&other));
    other = commit(record());
    other.unpoint.clear();
    assert_ne!(one, items::token(&other));
}

#[test]
fn a_refused_transaction_says_whose_word_it_was() {
    let parts = [Part::Record, Part::Pointer("i-1".into()), Part::Line];
    let reasons = |codes: [&str; 3]| {
        codes.map(|code| CancellationReason::builder().code(code).message("why").build()).to_vec()
    };
    let refused = |codes| refusal(&parts, &reasons(codes));
    assert_eq!(refused(["ConditionalCheckFailed", "None", "None"]), Ok(Written::Conflict));
    assert_eq!(refused(["ConditionalCheckFailed", "ConditionalCheckFailed", "None"]), Ok(Written::Conflict));
    assert_eq!(refused(["None", "TransactionConflict", "None"]), Ok(Written::Conflict));
    let owned = refused(["None", "ConditionalCheckFailed", "None"]).unwrap_err();
    assert_eq!((owned.class, owned.message.as_str()), (Class::Terminal, "i-1 belongs to another node"));
    assert_eq!(refused(["None", "ThrottlingError", "None"]).unwrap_err().class, Class::Retry);
    assert_eq!(refused(["ValidationError", "None", "None"]).unwrap_err().class, Class::Terminal);
    assert_eq!(refused(["None", "None", "None"]).unwrap_err().class, Class::Retry);
}

#[test]
fn a_status_is_written_alone_and_only_while_the_item_says_what_was_judged() {
    let judged = Item::from([
        ("id".into(), text("node#db")),
        ("recycle".into(), attributes::number(1)),
        ("odd name".into(), AttributeValue::Ss(vec!["a".into()])),
        (STATUS.into(), text("old")),
    ]);
    let status = Status {
        accepted: true,
        config_hash: "h".into(),
        problems: Vec::new(),
        notices: Vec::new(),
        checked_at: "2026-11-20T10:00:00Z".into(),
    };
    let update = status_update("c", "node#db", &judged, &status).unwrap().build().unwrap();
    assert_eq!(update.update_expression(), Some("SET #status = :status"));
    let condition = update.condition_expression().unwrap();
    let names = update.expression_attribute_names().unwrap();
    let values = update.expression_attribute_values().unwrap();
    assert!(
        condition.starts_with("attribute_exists(id) AND #a0 = :a0 AND #a1 = :a1 AND attribute_not_exists(")
    );
    assert_eq!((names["#a0"].as_str(), names["#a1"].as_str()), ("odd name", "recycle"));
    assert_eq!(values[":a0"], AttributeValue::Ss(vec!["a".into()]));
    assert!(!names.values().any(|name| name == "id"), "the key needs no condition");
    // Each attribute that was absent when judged must still be absent.
    let absent = names.iter().filter(|(alias, _)| alias.starts_with("#m")).count();
    assert_eq!(absent, ATTRIBUTES.len() - 2);
}

#[test]
fn the_largest_condition_fits_what_dynamodb_takes() {
    let judged: Item = (0..400).map(|n| (format!("attribute{n}"), attributes::number(n))).collect();
    let status = Status {
        accepted: false,
        config_hash: String::new(),
        problems: Vec::new(),
        notices: Vec::new(),
        checked_at: String::new(),
    };
    let update = status_update("c", "node#db", &judged, &status).unwrap();
    assert!(update.get_condition_expression().as_ref().unwrap().len() < 4096);
}

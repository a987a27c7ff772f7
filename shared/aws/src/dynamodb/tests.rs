//! What is sent to the tables and what is read back, without a table.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;

use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_dynamodb::types::AttributeValue;
use perennial_core::config::parse;
use perennial_core::config::settings::Settings;
use perennial_core::ids::{ImageId, InstanceId, VolumeId};
use perennial_core::journal::{Detail, Entry, Kind, OwnEvent};
use perennial_core::launch::Market;
use perennial_core::observation::{Platform, VolumeShape};
use perennial_core::phase::Phase;
use perennial_core::record::{Accepted, Instance, Record, Root};
use perennial_engine::ports::Base;
use serde_json::json;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn record() -> Record {
    let item = json!({"id": "node#db", "launch": {"template": {"id": "lt-1"}, "instanceTypes": ["t3.small"]},
        "persist": {"root": {}}, "tags": {"team": "db"}});
    let config = parse(&item).config;
    let accepted = Accepted { hash: "h".into(), share: None, notices: Vec::new(), config };
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
        terminating: false,
        ran: true,
    });
    record.root = Some(Root {
        volume_id: VolumeId::new("vol-1"),
        device_name: "/dev/xvda".into(),
        shape: VolumeShape::default(),
        available_at: None,
        missing_since: None,
        replaced_by: None,
        swapped: false,
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
        expected: Some(Base { generation: record.generation - 1, life: record.life.clone() }),
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
    let indexed = indexed_of(&item).unwrap();
    assert_eq!((indexed.node.as_str(), indexed.at), ("db", Some(at("2026-11-20T10:00:00Z"))));
    assert_eq!((indexed.steady, indexed.standing), (None, record().standing()));
}

#[test]
fn only_a_node_that_does_not_simply_run_tells_how_it_stands() {
    let item = items::record_item("test", &running()).unwrap();
    assert!(!item.contains_key(STANDING), "a steady node costs no more than before");
    assert_eq!(indexed_of(&item).unwrap().standing, None);
    let since = at("2026-11-20T10:00:00Z");
    let away = Record { phase: Phase::Releasing, away_since: Some(since), ..running() };
    let mut item = items::record_item("test", &away).unwrap();
    let standing = indexed_of(&item).unwrap().standing.unwrap();
    assert_eq!((standing.phase, standing.missed_since), (Phase::Releasing, Some(since)));
    assert_eq!(read(&item), away);
    item.insert(STANDING.into(), text("odd"));
    assert_eq!(indexed_of(&item).unwrap().standing, None, "then the record is asked");
}

#[test]
fn a_running_node_is_steady_and_never_due() {
    let item = items::record_item("test", &running()).unwrap();
    assert!(items::text_of(&item, WORK_SHARD).unwrap().starts_with("steady#"));
    assert!(items::text_of(&item, WORK_AT).unwrap() > "9999");
    let steady = steady_of(&item).unwrap();
    assert_eq!(steady, running().steady().unwrap());
    assert_eq!(steady.tags["team"], "db");
    let indexed = indexed_of(&item).unwrap();
    assert_eq!((indexed.at, indexed.steady), (None, Some(steady)));
}

#[test]
fn a_node_that_is_gone_is_not_in_the_index_and_reads_back_unchanged() {
    let mut record = running();
    record.phase = Phase::Gone;
    record.work_at = Some(at("2026-11-20T10:00:30Z"));
    let item = items::record_item("test", &record).unwrap();
    for attribute in [WORK_SHARD, WORK_AT, STANDING, STEADY] {
        assert!(!item.contains_key(attribute), "{attribute}");
    }
    assert_eq!(read(&item), record);
}

#[test]
fn the_longest_due_come_first_what_waits_for_nothing_last_and_each_node_once() {
    let indexed = |name: &str, time: Option<&str>| Indexed {
        node: NodeName::parse(name).unwrap(),
        at: time.map(at),
        steady: None,
        standing: None,
    };
    let nodes = in_order(vec![
        indexed("idle", None),
        indexed("late", Some("2026-11-20T10:00:09Z")),
        indexed("both", None),
        indexed("both", Some("2026-11-20T10:00:05Z")),
        indexed("a", None),
        indexed("early", Some("2026-11-20T10:00:01Z")),
    ]);
    assert_eq!(
        nodes.iter().map(|n| n.node.as_str()).collect::<Vec<_>>(),
        ["early", "both", "late", "a", "idle"]
    );
}

#[test]
fn a_node_whose_time_cannot_be_read_is_looked_at_and_what_is_no_node_is_left_out() {
    let mut item = items::record_item("test", &record()).unwrap();
    item.insert(WORK_AT.into(), text("soon"));
    assert_eq!(indexed_of(&item).unwrap().at, Some(Timestamp::UNIX_EPOCH));
    item.insert("pk".into(), text("resource#i-1"));
    assert_eq!(indexed_of(&item), None);
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
    // A name that is used again: the new life replaces the record of the old one.
    let base = Base { generation: 41, life: "life0".into() };
    let again = Commit { expected: Some(base), ..commit(record()) };
    let put = items::put_record("test", "t", &again).unwrap();
    let values = put.expression_attribute_values().unwrap();
    assert_eq!(values[":generation"], AttributeValue::N("41".into()));
    assert_eq!(values[":life"], AttributeValue::S("life0".into()));
    assert_eq!(items::text_of(put.item(), "life"), Some("life1"));
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

fn settings() -> AcceptedSettings {
    let settings = Settings { suspend: true, confirm_removal: Some(4), snapshots_per_second: 9 };
    AcceptedSettings { generation: 3, hash: "h".into(), settings }
}

#[test]
fn settings_and_orphans_survive_the_way_there_and_back() {
    let put = items::put_common("test", "t", SETTINGS, &settings(), 2).unwrap();
    assert_eq!(
        (items::text_of(put.item(), "pk"), items::text_of(put.item(), "sk")),
        (Some("settings"), Some("record"))
    );
    assert!(!put.item().contains_key(WORK_SHARD));
    assert_eq!(items::common::<AcceptedSettings>("test", SETTINGS, put.item()), Ok(settings()));
    let orphans = Orphans {
        generation: 1,
        checked_at: Some(at("2026-11-20T10:00:00Z")),
        since: [("vol-1".to_owned(), at("2026-11-19T10:00:00.5Z"))].into(),
        told: ["vol-1".to_owned()].into(),
    };
    let put = items::put_common("test", "t", ORPHANS, &orphans, 0).unwrap();
    assert_eq!(items::text_of(put.item(), "pk"), Some("orphans"));
    assert_eq!(items::common::<Orphans>("test", ORPHANS, put.item()), Ok(orphans));
    let broken = Item::from([("generation".into(), text("many"))]);
    let failure = items::common::<Orphans>("test", ORPHANS, &broken).unwrap_err();
    assert_eq!((failure.class, &failure.message[..9]), (Class::Terminal, "orphans: "));
}

#[test]
fn settings_replace_only_the_generation_that_was_read() {
    let put = items::put_common("test", "t", SETTINGS, &settings(), 2).unwrap();
    assert_eq!(put.condition_expression(), Some("#generation = :generation"));
    assert_eq!(put.expression_attribute_names().unwrap()["#generation"], "generation");
    assert_eq!(put.expression_attribute_values().unwrap()[":generation"], AttributeValue::N("2".into()));
    let first = items::put_common("test", "t", SETTINGS, &settings(), 0).unwrap();
    assert_eq!(first.condition_expression(), Some("attribute_not_exists(pk)"));
    assert_eq!(first.expression_attribute_values(), None);
}

/// A table that gives this answer to every call.
fn tables(status: u16, body: String) -> Tables {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(&stream);
            let (mut line, mut length) = (String::new(), 0);
            while reader.read_line(&mut line).unwrap() > 2 {
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
            }
            reader.read_exact(&mut vec![0; length]).unwrap();
            let size = body.len();
            let head = format!(
                "HTTP/1.1 {status} X\r\ncontent-type: application/x-amz-json-1.0\r\nconnection: close\r\n\
                 content-length: {size}\r\n\r\n"
            );
            stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        }
    });
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new("eu-west-1"))
        .endpoint_url(url)
        .credentials_provider(Credentials::new("key", "secret", None, None, "test"));
    Tables::new(Client::from_conf(config.build()), "c", "t")
}

#[tokio::test(flavor = "current_thread")]
async fn a_write_whose_answer_was_lost_is_done_and_one_that_came_too_late_a_conflict() {
    let refused = |suspend: bool| {
        json!({"__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException",
            "message": "The conditional request failed",
            "Item": {"pk": {"S": "settings"}, "sk": {"S": "record"}, "generation": {"N": "3"},
                "hash": {"S": "h"}, "suspend": {"BOOL": suspend}, "confirmRemoval": {"N": "4"},
                "snapshotsPerSecond": {"N": "9"}}})
        .to_string()
    };
    let ours = tables(400, refused(true));
    assert_eq!(ours.write_settings(&settings(), 2).await, Ok(Written::Done));
    let theirs = tables(400, refused(false));
    assert_eq!(theirs.write_settings(&settings(), 2).await, Ok(Written::Conflict));
    let done = tables(200, "{}".into());
    assert_eq!(done.write_settings(&settings(), 2).await, Ok(Written::Done));
    assert_eq!(done.settings().await, Ok(None));
}

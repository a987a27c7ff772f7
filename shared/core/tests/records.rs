//! Every record ever written still loads, and says the same when it is written again.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail as loudly as the test itself")]

use std::path::Path;

use perennial_core::group::GroupRecord;
use perennial_core::record::{SCHEMA_VERSION, Stored};
use serde_json::Value;

fn records(folder: &str) -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/records").join(folder);
    let read = |path: std::path::PathBuf| {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        (name, serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())
    };
    let paths = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    paths.filter(|path| path.is_file()).map(read).collect()
}

fn assert_kept(name: &str, written: &Value, again: &Value) {
    for (field, value) in written.as_object().unwrap() {
        assert_eq!(again.get(field), Some(value), "{name}: {field}");
    }
}

#[test]
fn every_record_ever_written_loads_and_keeps_what_it_says() {
    let records = records("");
    for version in 1..=SCHEMA_VERSION {
        let prefix = format!("v{version}-");
        assert!(records.iter().any(|(name, _)| name.starts_with(&prefix)), "no record of version {version}");
    }
    for (name, json) in records {
        let Ok(Stored::Known(record)) = Stored::read(&json) else { panic!("{name} does not load") };
        assert_kept(&name, &json, &serde_json::to_value(&record).unwrap());
    }
}

#[test]
fn every_record_of_a_group_ever_written_loads_and_keeps_what_it_says() {
    for (name, json) in records("group") {
        let record: GroupRecord = serde_json::from_value(json.clone()).unwrap();
        assert_kept(&name, &json, &serde_json::to_value(&record).unwrap());
    }
}

#[test]
fn a_record_of_a_newer_schema_is_told_apart_whatever_else_it_says() {
    let newer = serde_json::json!({"schemaVersion": SCHEMA_VERSION + 1, "anything": "else"});
    let Ok(Stored::Newer { schema_version }) = Stored::read(&newer) else { panic!() };
    assert_eq!(schema_version, u64::from(SCHEMA_VERSION) + 1);
    assert!(Stored::read(&serde_json::json!({"phase": "running"})).is_err(), "no version is no record");
}

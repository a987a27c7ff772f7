//! Every event fixture in `tests/events` is read, odd ARNs included, as what it is.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail as loudly as the test itself")]

use std::collections::BTreeMap;
use std::path::Path;

use perennial_core::event::{AwsEvent, parse};
use serde_json::Value;

fn fixtures() -> BTreeMap<String, Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/events");
    std::fs::read_dir(folder)
        .unwrap()
        .map(|file| {
            let path = file.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())
        })
        .collect()
}

/// What each fixture must be read as; a fixture without a line here fails the test.
fn told(name: &str) -> &'static str {
    match name {
        "spot-interruption-warning" => "interruption i-1234567890abcdef0 terminate",
        "rebalance-recommendation" => "rebalance i-1234567890abcdef0",
        "instance-state-running" => "instance i-abcd1111 running",
        "instance-state-stopped" => "instance i-abcd1111 stopped",
        "instance-state-shutting-down" => "instance i-abcd1111 shutting-down",
        "instance-state-terminated" => "instance i-abcd1111 terminated",
        "snapshot-succeeded" => "snapshot snap-01234567 of vol-01234567 succeeded",
        "snapshot-failed" => "snapshot snap-01234567 of vol-01234567 failed",
        "snapshots-succeeded" => {
            "snapshot snap-01234567 of vol-01234567, snap-012345678 of vol-012345678 succeeded"
        }
        "snapshots-failed" => {
            "snapshot snap-01234567 of vol-01234567, snap-012345678 of vol-012345678 failed"
        }
        "image-available" => "image ami-0123456789example available",
        "image-failed" => "image ami-0123456789example failed",
        "snapshot-copied" | "volume-created" | "fleet-instance-change" => "nothing of ours",
        other => panic!("no expectation for the fixture {other}"),
    }
}

fn tell(event: &AwsEvent) -> String {
    match event {
        AwsEvent::SpotInterruption { instance, action } => format!("interruption {instance} {action}"),
        AwsEvent::Rebalance { instance } => format!("rebalance {instance}"),
        AwsEvent::InstanceState { instance, state } => format!("instance {instance} {state}"),
        AwsEvent::Snapshot { snapshots, succeeded } => {
            let parts = snapshots
                .iter()
                .map(|(snapshot, volume)| format!("{snapshot} of {}", volume.as_ref().unwrap()));
            let result = if *succeeded { "succeeded" } else { "failed" };
            format!("snapshot {} {result}", parts.collect::<Vec<_>>().join(", "))
        }
        AwsEvent::Image { image, state } => format!("image {image} {state}"),
        AwsEvent::Other { .. } => "nothing of ours".to_owned(),
    }
}

#[test]
fn every_fixture_is_read_as_what_it_is() {
    let fixtures = fixtures();
    assert!(fixtures.len() >= 15, "fixtures are missing");
    for (name, json) in fixtures {
        let envelope = parse(&json).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(tell(&envelope.event), told(&name), "{name}");
        assert_eq!(envelope.id, json["id"], "{name}");
        assert_eq!(envelope.time.to_string(), "2026-11-20T10:00:00Z", "{name}");
    }
}

#[test]
fn every_fixture_survives_losing_any_one_part() {
    for (name, json) in fixtures() {
        for part in json.as_object().unwrap().keys() {
            let mut torn = json.clone();
            torn.as_object_mut().unwrap().remove(part);
            // It is read or refused with the place; it never panics.
            if let Err(error) = parse(&torn) {
                assert!(error.path.starts_with(part.as_str()), "{name} without {part}: {error}");
            }
        }
    }
}

//! What happened in a cloud, for the reader of a failed test: records, journals, calls, invocations, logs.
//!
//! Only tells; the last of what there is, since a failure is seldom about the beginning.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::Account;

/// Calls told.
const CALLS: usize = 40;
/// Invocations told.
const INVOCATIONS: usize = 25;
/// Log lines told.
const LINES: usize = 60;

/// The story of the nodes and groups of these items, and of their cloud.
pub(crate) async fn of(account: &Account, items: &BTreeSet<String>) -> String {
    let mut story = String::new();
    for group in items.iter().filter_map(|id| id.strip_prefix("group#")) {
        of_group(account, group, &mut story).await;
    }
    for node in items.iter().filter_map(|id| id.strip_prefix("node#")) {
        of_node(account, node, &mut story).await;
    }
    let calls = account.calls(0);
    line(&mut story, &format!("=== calls of functions, the last {CALLS}"));
    let calls: Vec<&Value> = calls.iter().filter(|call| !call["function"].is_null()).collect();
    for call in calls.iter().skip(calls.len().saturating_sub(CALLS)) {
        let words = ["seq", "time", "function", "service", "operation", "status", "error"];
        line(&mut story, &joined(call, &words));
    }
    let invocations = account.invocations();
    line(&mut story, &format!("=== invocations, the last {INVOCATIONS}"));
    for invocation in invocations.iter().skip(invocations.len().saturating_sub(INVOCATIONS)) {
        line(&mut story, &joined(invocation, &["start", "end", "function", "trigger", "outcome"]));
    }
    for letter in account.dead_letters() {
        line(
            &mut story,
            &format!("=== dead letter {}", joined(&letter, &["time", "function", "trigger", "reason"])),
        );
    }
    let functions = account.control("GET", "functions", &Value::Null);
    line(&mut story, &format!("=== functions {functions}"));
    let log = account.log();
    let lines: Vec<&str> = log.lines().collect();
    line(&mut story, &format!("=== log, the last {LINES} lines"));
    for text in lines.iter().skip(lines.len().saturating_sub(LINES)) {
        line(&mut story, text);
    }
    story
}

async fn of_group(account: &Account, group: &str, story: &mut String) {
    line(story, &format!("=== group {group}"));
    line(story, &format!("item: {}", account.config_item(&format!("group#{group}")).await));
    let record = account.group_record(group).await;
    line(story, &format!("record: {record:#}"));
    for image in account.backups(group).await {
        let (id, state, name) = (&image.id, &image.state, &image.name);
        line(story, &format!("backup {id} {state} {name} of {} on {:?}", image.source, image.snapshots));
    }
    for snapshot in account.backup_snapshots(group).await {
        let (id, state, volume) = (&snapshot.id, &snapshot.state, &snapshot.volume);
        line(story, &format!("its snapshot {id} {state} of {volume} {}", snapshot.started));
    }
    for event in account.backup_events(group) {
        line(story, &format!("event {}: {}", joined(&event, &["time", "detailType"]), event["detail"]));
    }
    for member in record["members"].as_array().into_iter().flatten() {
        of_node(account, member["name"].as_str().unwrap_or_default(), story).await;
    }
}

async fn of_node(account: &Account, node: &str, story: &mut String) {
    line(story, &format!("=== node {node}"));
    line(story, &format!("item: {}", account.item(node).await));
    line(story, &format!("record: {:#}", account.record(node).await));
    for entry in account.journal(node).await {
        line(story, &joined(&entry, &["time", "cycle", "phase", "what"]));
    }
    for instance in account.instances(node).await {
        let (id, state, kind) = (&instance.id, &instance.state, &instance.instance_type);
        line(
            story,
            &format!("instance {id} {state} {kind} root {} eni {}", instance.root, instance.interface),
        );
    }
    for volume in account.volumes(node).await {
        line(story, &format!("volume {} {}", volume.id, volume.state));
    }
    for snapshot in account.snapshots(node).await {
        let (id, state, volume) = (&snapshot.id, &snapshot.state, &snapshot.volume);
        line(
            story,
            &format!("snapshot {id} {state} {} of {volume} {}", snapshot.purpose(), snapshot.started),
        );
    }
    for image in account.images(node).await {
        line(story, &format!("image {} {}", image.id, image.state));
    }
    for event in account.own_events(node) {
        line(story, &format!("event {}: {}", joined(&event, &["time", "detailType"]), event["detail"]));
    }
}

fn joined(value: &Value, names: &[&str]) -> String {
    let words = names.iter().filter_map(|name| match &value[*name] {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    });
    words.collect::<Vec<_>>().join("  ")
}

fn line(story: &mut String, text: &str) {
    story.push_str(text);
    story.push('\n');
}

/// Tells a story where the test runner shows it.
#[expect(clippy::print_stderr, reason = "the reader of a failed test reads it there")]
pub(crate) fn tell(story: &str) {
    eprintln!("{story}");
}

//! The items of the state table: records, pointers and journal lines, and the write of all three; and the
//! two that are about all nodes, settings and orphans.
//!
//! Pure. Keys, index attributes and conditions are decided here and nowhere else.

use aws_sdk_dynamodb::types::builders::PutBuilder;
use aws_sdk_dynamodb::types::{
    AttributeValue, Delete, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem,
};
use jiff::Timestamp;
use perennial_core::failure::{Class, Failure};
use perennial_core::group::{self, GroupRecord};
use perennial_core::ids::{GroupName, NodeName};
use perennial_core::journal::Entry;
use perennial_core::limits::JOURNAL_KEPT;
use perennial_core::names::{digest, shard, whole_second};
use perennial_core::record::{Record, Stored};
use perennial_engine::ports::{Commit, Reply};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::attributes::{Item, number, text, to_attribute, to_item, to_json};

/// Partition key of the settings in force.
pub(super) const SETTINGS: &str = "settings";
/// Partition key of what the orphan pass remembers.
pub(super) const ORPHANS: &str = "orphans";
/// Shard of the work index that lists the groups.
pub(super) const GROUPS: &str = "groups";
/// Sort key of a record.
pub(super) const RECORD: &str = "record";
/// Sort key of a pointer.
pub(super) const OWNER: &str = "owner";
/// Partition key of the work index.
pub(super) const WORK_SHARD: &str = "workShard";
/// Sort key of the work index: RFC 3339 in whole seconds of UTC, so that text sorts as time.
pub(super) const WORK_AT: &str = "workAt";
/// What the passes need of a running node; projected into the work index.
pub(super) const STEADY: &str = "steady";
/// What the figures need of a node that does not simply run; projected into the work index.
pub(super) const STANDING: &str = "standing";
/// The record's own `workAt`, exactly and only if it has one: the index needs a value always.
const WAKE_AT: &str = "wakeAt";
/// `workAt` of a node that waits for nothing: later than any time.
pub(super) const NEVER: &str = "9999-12-31T23:59:59Z";

/// Shard of running nodes.
pub(super) fn steady_shard(shard: &str) -> String {
    format!("steady#{shard}")
}

/// Shard of nodes with something unfinished.
pub(super) fn todo_shard(shard: &str) -> String {
    format!("todo#{shard}")
}

/// A time as the work index has it.
pub(super) fn index_time(at: Timestamp) -> String {
    whole_second(at).to_string()
}

/// The partition key of a pointer.
pub(super) fn pointer_key(resource: &str) -> String {
    format!("resource#{resource}")
}

/// A record as an item, with what the work index needs.
pub(super) fn record_item(call: &'static str, record: &Record) -> Reply<Item> {
    let value = serde_json::to_value(record)
        .map_err(|e| Failure::new(Class::Terminal, call, "Construction", e.to_string()))?;
    let mut item = to_item(call, &value)?;
    item.insert("pk".into(), text(record.name.key()));
    item.insert("sk".into(), text(RECORD));
    if let Some(own) = item.remove(WORK_AT) {
        item.insert(WAKE_AT.into(), own);
    }
    if !record.is_indexed() {
        // The index is sparse: what lacks its keys is not in it.
        return Ok(item);
    }
    let wakes = record.wakes_at();
    item.insert(WORK_AT.into(), text(wakes.map_or_else(|| NEVER.to_owned(), index_time)));
    if let Some(standing) = record.standing() {
        item.insert(STANDING.into(), to_attribute(call, &standing)?);
    }
    let shard = shard(&record.name);
    match record.steady() {
        Some(steady) => {
            item.insert(WORK_SHARD.into(), text(steady_shard(&shard)));
            item.insert(STEADY.into(), to_attribute(call, &steady)?);
        }
        None => {
            item.insert(WORK_SHARD.into(), text(todo_shard(&shard)));
        }
    }
    Ok(item)
}

/// Reads a record's item.
///
/// # Errors
/// A terminal failure with the place: what is in the table is no record, and nobody but a person may
/// touch it.
pub(super) fn stored(call: &'static str, item: &Item) -> Reply<Stored> {
    let mut value = to_json(item);
    if let Some(map) = value.as_object_mut() {
        map.remove(WORK_AT);
        if let Some(own) = map.remove(WAKE_AT) {
            map.insert(WORK_AT.into(), own);
        }
    }
    Stored::read(&value).map_err(|why| {
        let pk = value["pk"].as_str().unwrap_or_default();
        Failure::new(Class::Terminal, call, "UnreadableRecord", format!("{pk}: {why}"))
    })
}

/// A put that says, if it is refused, what was there instead.
fn put(table: &str, item: Item) -> PutBuilder {
    Put::builder()
        .table_name(table)
        .set_item(Some(item))
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
}

fn built(call: &'static str, put: PutBuilder) -> Reply<Put> {
    put.build().map_err(|e| Failure::new(Class::Terminal, call, "Construction", e.to_string()))
}

/// The condition under which a record may be written: nobody did since it was read.
pub(super) fn put_record(call: &'static str, table: &str, commit: &Commit) -> Reply<Put> {
    let put = put(table, record_item(call, &commit.record)?);
    let put = match &commit.expected {
        None => put.condition_expression("attribute_not_exists(pk)"),
        Some(base) => put
            .condition_expression("#generation = :generation AND #life = :life")
            .expression_attribute_names("#generation", "generation")
            .expression_attribute_names("#life", "life")
            .expression_attribute_values(":generation", number(base.generation))
            .expression_attribute_values(":life", text(&base.life)),
    };
    built(call, put)
}

/// The write of an item that is about all nodes, if nobody did since that of this generation was read;
/// 0 if there was none.
pub(super) fn put_common(
    call: &'static str,
    table: &str,
    pk: &str,
    value: &impl Serialize,
    expected: u64,
) -> Reply<Put> {
    let mut item = to_item(call, value)?;
    item.insert("pk".into(), text(pk));
    item.insert("sk".into(), text(RECORD));
    conditional(call, put(table, item), expected)
}

/// Only if nobody wrote since that of this generation was read; 0 if there was none.
fn conditional(call: &'static str, put: PutBuilder, expected: u64) -> Reply<Put> {
    let put = match expected {
        0 => put.condition_expression("attribute_not_exists(pk)"),
        generation => put
            .condition_expression("#generation = :generation")
            .expression_attribute_names("#generation", "generation")
            .expression_attribute_values(":generation", number(generation)),
    };
    built(call, put)
}

/// The write of a group's record, under the same condition. The work index lists groups in a shard of their
/// own, so that the tick finds those whose item is gone; those with image backups have an appointment there, which
/// does not move, so that no write of theirs costs one of the index.
pub(super) fn put_group(call: &'static str, table: &str, record: &GroupRecord, expected: u64) -> Reply<Put> {
    let mut item = to_item(call, record)?;
    item.insert("pk".into(), text(record.name.key()));
    item.insert("sk".into(), text(RECORD));
    item.insert(WORK_SHARD.into(), text(GROUPS));
    let backups = record.backups.as_ref().map(|backups| index_time(backups.line_since));
    item.insert(WORK_AT.into(), text(backups.unwrap_or_else(|| NEVER.to_owned())));
    conditional(call, put(table, item), expected)
}

/// Reads the record of a group.
///
/// # Errors
/// A terminal failure with the place: what is in the table is no record of a group, or one that a newer
/// version wrote, and must not be touched.
pub(super) fn group(call: &'static str, name: &GroupName, item: &Item) -> Reply<GroupRecord> {
    let value = to_json(item);
    let version = value["schemaVersion"].as_u64().unwrap_or_default();
    if version > u64::from(group::SCHEMA_VERSION) {
        let why = format!(
            "the record of group#{name} has schema version {version}, newer than {}: left alone. Deploy the version of \
             Perennial that wrote it",
            group::SCHEMA_VERSION
        );
        return Err(Failure::new(Class::Terminal, call, "NewerSchema", why));
    }
    common(call, &name.key(), item)
}

/// The item of a new member, unless one of its id is there.
pub(super) fn put_member(call: &'static str, table: &str, item: &Value) -> Reply<Put> {
    let put = put(table, to_item(call, item)?).condition_expression("attribute_not_exists(id)");
    built(call, put)
}

/// Reads an item that is about all nodes.
///
/// # Errors
/// A terminal failure with the place, as for a record.
pub(super) fn common<T: DeserializeOwned>(call: &'static str, pk: &str, item: &Item) -> Reply<T> {
    serde_json::from_value(to_json(item))
        .map_err(|why| Failure::new(Class::Terminal, call, "UnreadableItem", format!("{pk}: {why}")))
}

/// What the parts of a transaction are about, in its order: the record first, then pointers, then journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The record.
    Record,
    /// The pointer of a resource.
    Pointer(String),
    /// A line of the journal.
    Line,
}

/// All writes of a commit.
pub(super) fn transaction(
    call: &'static str,
    table: &str,
    commit: &Commit,
) -> Reply<(Vec<TransactWriteItem>, Vec<Part>)> {
    let broken = |e: aws_sdk_dynamodb::error::BuildError| {
        Failure::new(Class::Terminal, call, "Construction", e.to_string())
    };
    let node = &commit.record.name;
    let mut writes = vec![TransactWriteItem::builder().put(put_record(call, table, commit)?).build()];
    let mut parts = vec![Part::Record];
    // One transaction may touch an item once; what is pointed to is not unpointed.
    let mut seen: Vec<&String> = Vec::new();
    for (resource, wanted) in
        commit.point.iter().map(|r| (r, true)).chain(commit.unpoint.iter().map(|r| (r, false)))
    {
        if seen.contains(&resource) {
            continue;
        }
        seen.push(resource);
        let write = TransactWriteItem::builder();
        let write = if wanted {
            write.put(pointer(table, resource, commit).map_err(broken)?)
        } else {
            write.delete(unpointer(table, resource, node).map_err(broken)?)
        };
        writes.push(write.build());
        parts.push(Part::Pointer(resource.clone()));
    }
    for (nth, entry) in commit.entries.iter().enumerate() {
        let put = line(call, table, commit, nth, entry)?;
        writes.push(TransactWriteItem::builder().put(put).build());
        parts.push(Part::Line);
    }
    Ok((writes, parts))
}

/// A pointer may be set anew by its node, never taken from another.
const OURS_OR_FREE: &str = "attribute_not_exists(pk) OR #node = :node";

fn pointer(table: &str, resource: &str, commit: &Commit) -> Result<Put, aws_sdk_dynamodb::error::BuildError> {
    let node = text(commit.record.name.as_str());
    Put::builder()
        .table_name(table)
        .item("pk", text(pointer_key(resource)))
        .item("sk", text(OWNER))
        .item("node", node.clone())
        .item("life", text(&commit.record.life))
        .condition_expression(OURS_OR_FREE)
        .expression_attribute_names("#node", "node")
        .expression_attribute_values(":node", node)
        .build()
}

fn unpointer(
    table: &str,
    resource: &str,
    node: &NodeName,
) -> Result<Delete, aws_sdk_dynamodb::error::BuildError> {
    Delete::builder()
        .table_name(table)
        .key("pk", text(pointer_key(resource)))
        .key("sk", text(OWNER))
        .condition_expression(OURS_OR_FREE)
        .expression_attribute_names("#node", "node")
        .expression_attribute_values(":node", text(node.as_str()))
        .build()
}

fn line(call: &'static str, table: &str, commit: &Commit, nth: usize, entry: &Entry) -> Reply<Put> {
    let record = &commit.record;
    let expires = entry.time.saturating_add(JOURNAL_KEPT).unwrap_or(Timestamp::MAX);
    let mut item = to_item(call, entry)?;
    item.insert("pk".into(), text(record.name.key()));
    item.insert(
        "sk".into(),
        text(format!("event#{}#{:08}-{nth:02}", index_time(entry.time), record.generation)),
    );
    item.insert("life".into(), text(&record.life));
    item.insert("generation".into(), number(record.generation));
    item.insert("expiresAt".into(), number(expires.as_second()));
    let put = Put::builder().table_name(table).set_item(Some(item));
    put.condition_expression("attribute_not_exists(pk)")
        .build()
        .map_err(|e| Failure::new(Class::Terminal, call, "Construction", e.to_string()))
}

/// The token of a transaction, at most 36 characters: sending the very same again is one write, while
/// another content of the same generation is another transaction, which its condition refuses.
pub(super) fn token(commit: &Commit) -> String {
    let content = serde_json::to_string(&commit.record).unwrap_or_default();
    let entries = serde_json::to_string(&commit.entries).unwrap_or_default();
    let pointers = format!("{:?}{:?}", commit.point, commit.unpoint);
    let generation = commit.record.generation.to_string();
    let parts =
        [commit.record.name.as_str(), &commit.record.life, &generation, &content, &entries, &pointers];
    digest(&parts)[..36].to_owned()
}

/// Whether an item already is what was to be written: then an earlier attempt of this very write got
/// through, and its answer was lost.
pub(super) fn is_same(ours: &Item, theirs: &Item) -> bool {
    to_json(ours) == to_json(theirs)
}

/// The operator's part of a config item: all but our status.
pub(super) fn judged_part(item: &Value) -> Value {
    let mut item = item.clone();
    if let Some(map) = item.as_object_mut() {
        map.remove(perennial_core::config::STATUS);
    }
    item
}

/// Text of an attribute.
pub(super) fn text_of<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name).and_then(|value| AttributeValue::as_s(value).ok()).map(String::as_str)
}

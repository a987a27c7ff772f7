//! The two tables behind the engine's port.
//!
//! Every write is conditional; what a failed condition means is decided by which item it guards: a record
//! was written by somebody else (a conflict), a pointer belongs to another node (a person must look).

mod attributes;
mod items;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::put_item::builders::PutItemInputBuilder;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemInputBuilder;
use aws_sdk_dynamodb::types::{CancellationReason, Put};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use perennial_core::config::settings::AcceptedSettings;
use perennial_core::config::{ATTRIBUTES, STATUS, Status};
use perennial_core::failure::{Class, Failure};
use perennial_core::group::GroupRecord;
use perennial_core::ids::{GroupName, NodeName};
use perennial_core::names::shards;
use perennial_core::orphans::Orphans;
use perennial_core::record::{Standing, Steady, Stored};
use perennial_engine::ports::{Commit, Indexed, Reply, Store, Written};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::classify::failure;
use attributes::{Item, text, to_attribute, to_json};
use items::{NEVER, ORPHANS, OWNER, Part, RECORD, SETTINGS, STANDING, STEADY, WORK_AT, WORK_SHARD};

const GET_ITEM: &str = "DynamoDB:GetItem";
const PUT_ITEM: &str = "DynamoDB:PutItem";
const UPDATE_ITEM: &str = "DynamoDB:UpdateItem";
const QUERY: &str = "DynamoDB:Query";
const SCAN: &str = "DynamoDB:Scan";
const TRANSACT: &str = "DynamoDB:TransactWriteItems";

/// The index that the passes read.
const WORK_INDEX: &str = "work";
/// Shards read at the same time: enough to hide the way, few enough for the connections of one function.
const SHARDS_AT_ONCE: usize = 8;
/// A condition expression has at most 4 KB; an item with more attributes than this is refused anyway.
const JUDGED_AT_MOST: usize = 150;

/// The config table and the state table.
#[derive(Clone, Debug)]
pub struct Tables {
    client: Client,
    config: String,
    state: String,
}

impl Tables {
    /// The tables of these names.
    pub fn new(client: Client, config: impl Into<String>, state: impl Into<String>) -> Self {
        Self { client, config: config.into(), state: state.into() }
    }

    async fn get(&self, table: &str, key: [(&str, &str); 2]) -> Reply<Option<Item>> {
        let mut get = self.client.get_item().table_name(table).consistent_read(true);
        for (name, value) in key.into_iter().filter(|(name, _)| !name.is_empty()) {
            get = get.key(name, text(value));
        }
        let answer = get.send().await.map_err(|e| failure(GET_ITEM, &e))?;
        Ok(answer.item)
    }

    async fn raw_config_item(&self, id: &str) -> Reply<Option<Item>> {
        self.get(&self.config, [("id", id), ("", "")]).await
    }

    /// One shard of the work index, through every page.
    async fn shard(&self, shard: String) -> Reply<Vec<Item>> {
        let query = self
            .client
            .query()
            .table_name(&self.state)
            .index_name(WORK_INDEX)
            .key_condition_expression("#shard = :shard")
            .expression_attribute_names("#shard", WORK_SHARD)
            .expression_attribute_values(":shard", text(shard));
        let found = query.into_paginator().items().send().try_collect().await;
        found.map_err(|e| failure(QUERY, &e))
    }

    async fn shards(&self, names: Vec<String>) -> Reply<Vec<Item>> {
        let reads = stream::iter(names).map(|name| self.shard(name));
        let found: Vec<Vec<Item>> = reads.buffer_unordered(SHARDS_AT_ONCE).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// The records of the groups that an index lists; strongly consistent.
    async fn read_groups(&self, listed: &[Item]) -> Reply<Vec<GroupRecord>> {
        let names: Vec<GroupName> =
            listed.iter().filter_map(|item| GroupName::from_key(items::text_of(item, "pk")?)).collect();
        let reads = stream::iter(&names).map(|name| self.group(name));
        let found: Vec<Reply<Option<GroupRecord>>> = reads.buffered(SHARDS_AT_ONCE).collect().await;
        let mut groups = Vec::new();
        for group in found {
            match group {
                Ok(group) => groups.extend(group),
                // One that cannot be read, or must not be, is no reason to leave the others alone.
                Err(failure) if failure.class == Class::Terminal => {
                    tracing::error!(code = %failure.code, "a group is left alone: {failure}");
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(groups)
    }

    /// An item that is about all nodes; strongly consistent.
    async fn common<T: DeserializeOwned>(&self, pk: &str) -> Reply<Option<T>> {
        let item = self.get(&self.state, [("pk", pk), ("sk", RECORD)]).await?;
        item.map(|item| items::common(GET_ITEM, pk, &item)).transpose()
    }

    /// Writes such an item, if nobody did since that of this generation was read.
    async fn put_common(&self, pk: &str, value: &impl Serialize, expected: u64) -> Reply<Written> {
        self.put(items::put_common(PUT_ITEM, &self.state, pk, value, expected)?).await
    }

    /// Writes one item, conditionally. That it is there already is no conflict: then an earlier attempt
    /// of this very write got through, and its answer was lost.
    async fn put(&self, put: Put) -> Reply<Written> {
        let item = put.item.clone();
        let answer = PutItemInputBuilder::default()
            .table_name(put.table_name)
            .set_item(Some(put.item))
            .set_condition_expression(put.condition_expression)
            .set_expression_attribute_names(put.expression_attribute_names)
            .set_expression_attribute_values(put.expression_attribute_values)
            .set_return_values_on_condition_check_failure(put.return_values_on_condition_check_failure)
            .send_with(&self.client)
            .await;
        match answer {
            Ok(_) => Ok(Written::Done),
            Err(error) => match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(refused)) => {
                    let theirs = refused.item().is_some_and(|theirs| items::is_same(&item, theirs));
                    Ok(if theirs { Written::Done } else { Written::Conflict })
                }
                Some(PutItemError::TransactionConflictException(_)) => Ok(Written::Conflict),
                _ => Err(failure(PUT_ITEM, &error)),
            },
        }
    }

    async fn transact(&self, commit: &Commit) -> Reply<Written> {
        let (writes, parts) = items::transaction(TRANSACT, &self.state, commit)?;
        let call = self.client.transact_write_items().set_transact_items(Some(writes));
        match call.client_request_token(items::token(commit)).send().await {
            Ok(_) => Ok(Written::Done),
            Err(error) => match error.as_service_error() {
                Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
                    refusal(&parts, cancelled.cancellation_reasons())
                }
                Some(TransactWriteItemsError::IdempotentParameterMismatchException(_)) => {
                    Ok(Written::Conflict)
                }
                _ => Err(failure(TRANSACT, &error)),
            },
        }
    }
}

/// Why a transaction was refused, by the first part that says so; the record's word counts before all.
fn refusal(parts: &[Part], reasons: &[CancellationReason]) -> Reply<Written> {
    let codes =
        || parts.iter().zip(reasons.iter()).map(|(part, why)| (part, why.code().unwrap_or("None"), why));
    for (part, code, _) in codes() {
        let conflict = code == "TransactionConflict"
            || (code == "ConditionalCheckFailed" && matches!(part, Part::Record | Part::Line));
        if conflict {
            return Ok(Written::Conflict);
        }
    }
    for (part, code, why) in codes() {
        let message = why.message().unwrap_or_default();
        let class = match (code, part) {
            ("None", _) => continue,
            ("ConditionalCheckFailed", Part::Pointer(resource)) => {
                let message = format!("{resource} belongs to another node");
                return Err(Failure::new(Class::Terminal, TRANSACT, "ResourceOwned", message));
            }
            ("ThrottlingError" | "ProvisionedThroughputExceeded" | "RequestLimitExceeded", _) => Class::Retry,
            _ => Class::Terminal,
        };
        return Err(Failure::new(class, TRANSACT, code, message));
    }
    Err(Failure::new(Class::Retry, TRANSACT, "TransactionCanceled", "cancelled without a reason"))
}

/// The write of a status: `_status` alone, only while every attribute is what it was when judged.
fn status_update(table: &str, id: &str, judged: &Item, status: &Status) -> Reply<UpdateItemInputBuilder> {
    let mut update = UpdateItemInputBuilder::default()
        .table_name(table)
        .key("id", text(id))
        .update_expression("SET #status = :status")
        .expression_attribute_names("#status", STATUS)
        .expression_attribute_values(":status", to_attribute(UPDATE_ITEM, status)?);
    let mut conditions = vec!["attribute_exists(id)".to_owned()];
    let mut names: Vec<_> = judged.keys().filter(|n| !matches!(n.as_str(), STATUS | "id")).collect();
    names.sort();
    for (nth, name) in names.into_iter().take(JUDGED_AT_MOST).enumerate() {
        conditions.push(format!("#a{nth} = :a{nth}"));
        update = update
            .expression_attribute_names(format!("#a{nth}"), name)
            .expression_attribute_values(format!(":a{nth}"), judged[name].clone());
    }
    for (nth, name) in ATTRIBUTES.iter().filter(|name| !judged.contains_key(**name)).enumerate() {
        conditions.push(format!("attribute_not_exists(#m{nth})"));
        update = update.expression_attribute_names(format!("#m{nth}"), *name);
    }
    Ok(update.condition_expression(conditions.join(" AND ")))
}

fn is_conflict<R>(error: &SdkError<aws_sdk_dynamodb::operation::update_item::UpdateItemError, R>) -> bool {
    error.as_service_error().is_some_and(|e| e.is_conditional_check_failed_exception())
}

impl Store for Tables {
    async fn load(&self, node: &NodeName) -> Reply<Option<Stored>> {
        let item = self.get(&self.state, [("pk", &node.key()), ("sk", RECORD)]).await?;
        item.map(|item| items::stored(GET_ITEM, &item)).transpose()
    }

    async fn owner(&self, resource: &str) -> Reply<Option<NodeName>> {
        let key = items::pointer_key(resource);
        let item = self.get(&self.state, [("pk", &key), ("sk", OWNER)]).await?;
        Ok(item.as_ref().and_then(|item| items::text_of(item, "node")).and_then(NodeName::parse))
    }

    async fn commit(&self, commit: &Commit) -> Reply<Written> {
        if commit.point.is_empty() && commit.unpoint.is_empty() && commit.entries.is_empty() {
            // A record alone: half the price of a transaction.
            self.put(items::put_record(PUT_ITEM, &self.state, commit)?).await
        } else {
            self.transact(commit).await
        }
    }

    async fn nodes(&self) -> Reply<Vec<Indexed>> {
        let names = shards().flat_map(|s| [items::todo_shard(&s), items::steady_shard(&s)]).collect();
        let found = self.shards(names).await?;
        Ok(in_order(found.iter().filter_map(indexed_of).collect()))
    }

    async fn steady(&self) -> Reply<Vec<Steady>> {
        let names = shards().map(|s| items::steady_shard(&s)).collect();
        let found = self.shards(names).await?;
        let mut steady: Vec<Steady> = found.iter().filter_map(steady_of).collect();
        steady.sort_by(|a, b| a.node.cmp(&b.node));
        Ok(steady)
    }

    async fn config_item(&self, id: &str) -> Reply<Option<Value>> {
        Ok(self.raw_config_item(id).await?.as_ref().map(to_json))
    }

    async fn config_items(&self) -> Reply<Vec<Value>> {
        let scan = self.client.scan().table_name(&self.config).consistent_read(true);
        let found = scan.into_paginator().items().send().try_collect().await;
        Ok(found.map_err(|e| failure(SCAN, &e))?.iter().map(to_json).collect())
    }

    async fn settings(&self) -> Reply<Option<AcceptedSettings>> {
        self.common(SETTINGS).await
    }

    async fn write_settings(&self, settings: &AcceptedSettings, expected: u64) -> Reply<Written> {
        self.put_common(SETTINGS, settings, expected).await
    }

    async fn group(&self, group: &GroupName) -> Reply<Option<GroupRecord>> {
        let item = self.get(&self.state, [("pk", &group.key()), ("sk", RECORD)]).await?;
        item.map(|item| items::group(GET_ITEM, group, &item)).transpose()
    }

    async fn groups(&self) -> Reply<Vec<GroupRecord>> {
        let found = self.shard(items::GROUPS.to_owned()).await?;
        self.read_groups(&found).await
    }

    async fn groups_with_backups(&self) -> Reply<Vec<GroupRecord>> {
        let found = self.shard(items::GROUPS.to_owned()).await?;
        let has_some = |item: &&Item| items::text_of(item, WORK_AT).is_some_and(|at| at != NEVER);
        let with: Vec<Item> = found.iter().filter(has_some).cloned().collect();
        self.read_groups(&with).await
    }

    async fn write_group(&self, record: &GroupRecord, expected: u64) -> Reply<Written> {
        self.put(items::put_group(PUT_ITEM, &self.state, record, expected)?).await
    }

    async fn put_member(&self, item: &Value) -> Reply<Written> {
        self.put(items::put_member(PUT_ITEM, &self.config, item)?).await
    }

    async fn orphans(&self) -> Reply<Option<Orphans>> {
        self.common(ORPHANS).await
    }

    async fn write_orphans(&self, orphans: &Orphans, expected: u64) -> Reply<Written> {
        self.put_common(ORPHANS, orphans, expected).await
    }

    async fn write_status(&self, id: &str, judged: &Value, status: &Status) -> Reply<Written> {
        // The condition must compare attributes as the table has them (a set is no list, and a number has
        // 38 digits), so the item is read again and the write is conditional on that read.
        let Some(now) = self.raw_config_item(id).await? else { return Ok(Written::Conflict) };
        if items::judged_part(&to_json(&now)) != items::judged_part(judged) {
            return Ok(Written::Conflict);
        }
        let update = status_update(&self.config, id, &now, status)?;
        match update.send_with(&self.client).await {
            Ok(_) => Ok(Written::Done),
            Err(error) if is_conflict(&error) => Ok(Written::Conflict),
            Err(error) => Err(failure(UPDATE_ITEM, &error)),
        }
    }
}

/// The longest due first, what waits for nothing last; each node once, though an index that lags behind
/// may show one in two shards.
fn in_order(mut nodes: Vec<Indexed>) -> Vec<Indexed> {
    nodes.sort_by(|a, b| (a.at.is_none(), a.at, &a.node).cmp(&(b.at.is_none(), b.at, &b.node)));
    let mut seen = BTreeSet::new();
    nodes.retain(|indexed| seen.insert(indexed.node.clone()));
    nodes
}

fn indexed_of(item: &Item) -> Option<Indexed> {
    let pk = items::text_of(item, "pk");
    let Some(node) = pk.and_then(NodeName::from_key) else {
        tracing::warn!(pk, "an item of the work index is no node");
        return None;
    };
    let at = match items::text_of(item, WORK_AT) {
        Some(NEVER) => None,
        // A time that cannot be read is no reason to leave a node alone.
        at => Some(at.and_then(|at| at.parse().ok()).unwrap_or_else(|| {
            tracing::warn!(pk, "the time of a node in the work index cannot be read");
            Timestamp::UNIX_EPOCH
        })),
    };
    let steady = item.contains_key(STEADY).then(|| steady_of(item)).flatten();
    let standing = item.contains_key(STANDING).then(|| standing_of(item)).flatten();
    Some(Indexed { node, at, steady, standing })
}

/// One that cannot be read is none: then the record is asked.
fn standing_of(item: &Item) -> Option<Standing> {
    Standing::deserialize(&to_json(item)[STANDING]).ok()
}

fn steady_of(item: &Item) -> Option<Steady> {
    let value = to_json(item);
    match Steady::deserialize(&value[STEADY]) {
        Ok(steady) => Some(steady),
        Err(error) => {
            let pk = items::text_of(item, "pk");
            tracing::warn!(pk, %error, "a running node's projection cannot be read");
            None
        }
    }
}

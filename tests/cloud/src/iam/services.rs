//! What calls of the other services ask for, and what Lambda does in a function's name.
//!
//! After the Service Authorization Reference. A transaction asks for each of its parts. Of expressions only the names
//! of attributes are read. Decides nothing.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Ask;
use crate::world::Identity;

/// The partition keys of the tables, by table.
pub(crate) type PartitionKeys = BTreeMap<String, String>;

/// What a DynamoDB call asks for.
pub(crate) fn asks_of_dynamodb(
    identity: &Identity,
    keys: &PartitionKeys,
    operation: &str,
    body: &str,
) -> Vec<Ask> {
    let request: Value = serde_json::from_str(body).unwrap_or(Value::Null);
    let one = |operation: &str, part: &Value| of_part(identity, keys, operation, part);
    match operation {
        "TransactWriteItems" => {
            let parts = request["TransactItems"].as_array().into_iter().flatten();
            let parts = parts.filter_map(|part| part.as_object()?.iter().next());
            parts.map(|(kind, part)| one(item_operation(kind), part)).collect()
        }
        "TransactGetItems" => {
            let parts = request["TransactItems"].as_array().into_iter().flatten();
            parts.map(|part| one("GetItem", &part["Get"])).collect()
        }
        "BatchGetItem" | "BatchWriteItem" => {
            let tables = request["RequestItems"].as_object().into_iter().flatten();
            tables.map(|(table, _)| Ask::new(action(operation), arn(identity, table, None))).collect()
        }
        _ => vec![one(operation, &request)],
    }
}

fn action(operation: &str) -> String {
    format!("dynamodb:{operation}")
}

fn item_operation(kind: &str) -> &str {
    match kind {
        "Put" => "PutItem",
        "Update" => "UpdateItem",
        "Delete" => "DeleteItem",
        "ConditionCheck" => "ConditionCheckItem",
        other => other,
    }
}

fn arn(identity: &Identity, table: &str, index: Option<&str>) -> String {
    let index = index.map(|index| format!("/index/{index}")).unwrap_or_default();
    let table = table.rsplit_once(":table/").map_or(table, |(_, table)| table);
    format!("arn:aws:dynamodb:{}:{}:table/{table}{index}", identity.region, identity.account)
}

fn of_part(identity: &Identity, keys: &PartitionKeys, operation: &str, part: &Value) -> Ask {
    let Some(table) = part["TableName"].as_str() else { return Ask::new(action(operation), "*") };
    let ask = Ask::new(action(operation), arn(identity, table, part["IndexName"].as_str()));
    let item = if part["Item"].is_object() { &part["Item"] } else { &part["Key"] };
    let leading = keys.get(table).and_then(|key| item[key]["S"].as_str());
    let ask = match leading {
        Some(leading) => ask.with("dynamodb:LeadingKeys", vec![leading.to_owned()]),
        None => ask,
    };
    match attributes(part) {
        attributes if attributes.is_empty() => ask,
        attributes => ask.with("dynamodb:Attributes", attributes),
    }
}

/// Names of the top-level attributes that a request names: in its item or key, and in its expressions.
fn attributes(part: &Value) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for item in ["Item", "Key"] {
        names.extend(part[item].as_object().into_iter().flatten().map(|(name, _)| name.clone()));
    }
    for expression in ["ConditionExpression", "UpdateExpression", "ProjectionExpression"] {
        let text = part[expression].as_str().unwrap_or_default();
        let mut words = text.split(|letter: char| !(letter.is_alphanumeric() || "_#:.".contains(letter)));
        names.extend(words.by_ref().filter_map(|word| name_of(part, word)));
    }
    names.sort();
    names.dedup();
    names
}

/// The attribute that a word of an expression names; `None` for values, functions and keywords.
fn name_of(part: &Value, word: &str) -> Option<String> {
    const WORDS: [&str; 13] = [
        "AND",
        "OR",
        "NOT",
        "SET",
        "REMOVE",
        "ADD",
        "DELETE",
        "attribute_exists",
        "attribute_not_exists",
        "attribute_type",
        "begins_with",
        "if_not_exists",
        "size",
    ];
    let first = word.split('.').next().filter(|first| !first.is_empty())?;
    if first.starts_with(':') || WORDS.contains(&first) {
        return None;
    }
    match first.strip_prefix('#') {
        Some(_) => part["ExpressionAttributeNames"][first].as_str().map(str::to_owned),
        None => Some(first.to_owned()),
    }
}

/// What an EventBridge call asks for: each entry for its bus and source.
pub(crate) fn asks_of_events(identity: &Identity, operation: &str, body: &str) -> Vec<Ask> {
    let action = format!("events:{operation}");
    if operation != "PutEvents" {
        return vec![Ask::new(action, "*")];
    }
    let request: Value = serde_json::from_str(body).unwrap_or(Value::Null);
    let entry = |entry: &Value| {
        let bus = entry["EventBusName"].as_str().unwrap_or("default");
        let bus = bus.rsplit_once(":event-bus/").map_or(bus, |(_, bus)| bus);
        let arn = format!("arn:aws:events:{}:{}:event-bus/{bus}", identity.region, identity.account);
        let source = entry["Source"].as_str().unwrap_or_default().to_owned();
        Ask::new(action.as_str(), arn).with("events:source", vec![source])
    };
    request["Entries"].as_array().into_iter().flatten().map(entry).collect()
}

/// What Lambda asks for to write a function's log.
pub(crate) fn asks_of_logs(identity: &Identity, group: &str) -> Vec<Ask> {
    let stream =
        format!("arn:aws:logs:{}:{}:log-group:{group}:log-stream:local", identity.region, identity.account);
    ["logs:CreateLogStream", "logs:PutLogEvents"].map(|action| Ask::new(action, stream.as_str())).into()
}

/// What Lambda asks for to put what a function failed on into a queue.
pub(crate) fn asks_of_queue(queue: &str) -> Vec<Ask> {
    vec![Ask::new("sqs:SendMessage", queue)]
}

/// What Lambda asks for to read a table's stream for a function (Lambda developer guide, *Using Lambda with DynamoDB*).
pub(crate) fn asks_of_stream(identity: &Identity, table: &str) -> Vec<Ask> {
    let stream = format!("{}/stream/latest", arn(identity, table, None));
    ["DescribeStream", "GetRecords", "GetShardIterator", "ListStreams"]
        .map(|operation| Ask::new(action(operation), stream.as_str()))
        .into()
}

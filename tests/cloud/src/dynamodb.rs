//! DynamoDB: an embedded engine behind the JSON 1.0 wire names.
//!
//! Decides which operations exist here and how ARNs are shown; the semantics of every one of them are the engine's
//! (`dynoxide`). Never interprets items.

use std::sync::Arc;

use dynoxide::{Database, DynoxideError};
use serde_json::{Value, json};

use crate::clock::Clock;
use crate::template::Table;

/// The tables of one cloud.
#[derive(Clone)]
pub(crate) struct Tables {
    database: Database,
    /// ARN prefix as the engine writes it and as this cloud shows it.
    arn: (String, String),
}

/// An answer on the DynamoDB wire.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
    /// The error's short name, without its namespace.
    pub(crate) error: Option<String>,
}

impl Tables {
    /// An empty database whose stream records and expiry follow `clock`.
    pub(crate) fn new(clock: Clock, region: &str, account: &str) -> Result<Tables, String> {
        let database = Database::memory_with_clock(Arc::new(clock)).map_err(|error| error.to_string())?;
        let engine = format!(
            "arn:aws:dynamodb:{}:{}:",
            dynoxide::streams::LOCAL_REGION,
            dynoxide::streams::LOCAL_ACCOUNT
        );
        Ok(Tables { database, arn: (engine, format!("arn:aws:dynamodb:{region}:{account}:")) })
    }

    /// Creates a table of the template.
    pub(crate) fn create(&self, table: &Table) -> Result<(), String> {
        self.required("CreateTable", &table.create)?;
        if let Some(attribute) = &table.time_to_live {
            let request = json!({
                "TableName": table.name,
                "TimeToLiveSpecification": {"AttributeName": attribute, "Enabled": true},
            });
            self.required("UpdateTimeToLive", &request)?;
        }
        Ok(())
    }

    /// Executes one call; `body` is the request's JSON.
    pub(crate) fn call(&self, operation: &str, body: &str) -> Answer {
        let (engine, shown) = &self.arn;
        let request = if body.contains(shown) { body.replace(shown, engine) } else { body.to_owned() };
        match dispatch(&self.database, operation, &request) {
            Some(Ok(body)) => {
                let body = if body.contains(engine) { body.replace(engine, shown) } else { body };
                Answer { status: 200, body, error: None }
            }
            Some(Err(error)) => {
                let kind = error.error_type();
                let short = kind.rsplit_once('#').map_or(kind, |(_, short)| short).to_owned();
                Answer { status: error.status_code(), body: error.to_json(), error: Some(short) }
            }
            None => Answer {
                status: 400,
                body: json!({"__type": "com.amazon.coral.service#UnknownOperationException",
                             "message": format!("the local cloud does not know the operation {operation}")})
                .to_string(),
                error: Some("UnknownOperationException".to_owned()),
            },
        }
    }

    /// The stream of `table`: its ARN and an iterator at its beginning.
    pub(crate) fn open_stream(&self, table: &str) -> Result<(String, String), String> {
        let described = self.required("DescribeTable", &json!({"TableName": table}))?;
        let arn = described["Table"]["LatestStreamArn"].as_str().unwrap_or_default().to_owned();
        if arn.is_empty() {
            return Err(format!("table '{table}' has no stream"));
        }
        let stream = self.required("DescribeStream", &json!({"StreamArn": arn}))?;
        let shard = &stream["StreamDescription"]["Shards"][0]["ShardId"];
        let request = json!({"StreamArn": arn, "ShardId": shard, "ShardIteratorType": "TRIM_HORIZON"});
        let iterator = self.required("GetShardIterator", &request)?;
        Ok((arn, iterator["ShardIterator"].as_str().unwrap_or_default().to_owned()))
    }

    /// Stream records after `iterator`, oldest first, and the iterator that follows them.
    pub(crate) fn read_stream(&self, iterator: &str) -> Result<(Vec<Value>, String), String> {
        let answer = self.required("GetRecords", &json!({"ShardIterator": iterator}))?;
        let records = answer["Records"].as_array().cloned().unwrap_or_default();
        let next = answer["NextShardIterator"].as_str().unwrap_or(iterator).to_owned();
        Ok((records, next))
    }

    /// Removes items past their expiry.
    pub(crate) fn expire_items(&self) -> Result<usize, String> {
        self.database.sweep_ttl().map_err(|error| error.to_string())
    }

    fn required(&self, operation: &str, request: &Value) -> Result<Value, String> {
        let answer = self.call(operation, &request.to_string());
        if answer.status != 200 {
            return Err(format!("{operation} failed: {}", answer.body));
        }
        serde_json::from_str(&answer.body).map_err(|error| format!("{operation} answered no JSON: {error}"))
    }
}

/// Whether `operation` may change items, so that streams are worth reading after it.
pub(crate) fn writes(operation: &str) -> bool {
    matches!(
        operation,
        "PutItem"
            | "UpdateItem"
            | "DeleteItem"
            | "BatchWriteItem"
            | "TransactWriteItems"
            | "ExecuteStatement"
            | "ExecuteTransaction"
            | "BatchExecuteStatement"
    )
}

/// `None` for an operation that the engine does not have.
fn dispatch(database: &Database, operation: &str, body: &str) -> Option<Result<String, DynoxideError>> {
    macro_rules! call {
        ($method:ident) => {
            parse(body).and_then(|request| database.$method(request)).and_then(|answer| {
                serde_json::to_string(&answer)
                    .map_err(|error| DynoxideError::InternalServerError(error.to_string()))
            })
        };
    }
    Some(match operation {
        "CreateTable" => call!(create_table),
        "DeleteTable" => call!(delete_table),
        "DescribeTable" => call!(describe_table),
        "ListTables" => call!(list_tables),
        "UpdateTable" => call!(update_table),
        "PutItem" => call!(put_item),
        "GetItem" => call!(get_item),
        "DeleteItem" => call!(delete_item),
        "UpdateItem" => call!(update_item),
        "Query" => call!(query),
        "Scan" => call!(scan),
        "BatchGetItem" => call!(batch_get_item),
        "BatchWriteItem" => call!(batch_write_item),
        "TransactWriteItems" => call!(transact_write_items),
        "TransactGetItems" => call!(transact_get_items),
        "ListStreams" => call!(list_streams),
        "DescribeStream" => call!(describe_stream),
        "GetShardIterator" => call!(get_shard_iterator),
        "GetRecords" => call!(get_records),
        "UpdateTimeToLive" => call!(update_time_to_live),
        "DescribeTimeToLive" => call!(describe_time_to_live),
        "ExecuteStatement" => call!(execute_statement),
        "ExecuteTransaction" => call!(execute_transaction),
        "BatchExecuteStatement" => call!(batch_execute_statement),
        "TagResource" => call!(tag_resource),
        "UntagResource" => call!(untag_resource),
        "ListTagsOfResource" => call!(list_tags_of_resource),
        _ => return None,
    })
}

/// Reads a request; a refusal is classed as DynamoDB does: wrong JSON type is a serialization error, the rest validation.
fn parse<T: serde::de::DeserializeOwned>(body: &str) -> Result<T, DynoxideError> {
    serde_json::from_str(body).map_err(|error| {
        let text = error.to_string();
        let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message);
        // The engine's own readers begin their messages with a marker in capitals.
        let marked = text.split_once(':').filter(|(marker, _)| {
            marker.chars().all(|letter| letter.is_ascii_uppercase() || letter == '_') && !marker.is_empty()
        });
        match marked {
            Some((marker, message)) if marker.starts_with("SERIALIZATION") => {
                DynoxideError::SerializationException(message.to_owned())
            }
            Some((_, message)) => DynoxideError::ValidationException(message.to_owned()),
            None if error.is_data() && text.starts_with("invalid type") && !text.contains("null") => {
                DynoxideError::SerializationException(text.to_owned())
            }
            None if error.is_data() => DynoxideError::ValidationException(text.to_owned()),
            None => DynoxideError::SerializationException(String::new()),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables() -> Tables {
        let clock = Clock::new("2026-01-01T00:00:00Z".parse().unwrap(), 1.0);
        let tables = Tables::new(clock, "us-east-1", "123456789012").unwrap();
        let create = json!({
            "TableName": "things", "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
            "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
            "StreamSpecification": {"StreamEnabled": true, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        });
        let table = Table {
            logical_id: "T".to_owned(),
            name: "things".to_owned(),
            create,
            time_to_live: Some("expiresAt".to_owned()),
        };
        tables.create(&table).unwrap();
        tables
    }

    #[test]
    fn arns_are_those_of_this_cloud_in_both_directions() {
        let tables = tables();
        let described = tables.call("DescribeTable", r#"{"TableName":"things"}"#);
        let described: Value = serde_json::from_str(&described.body).unwrap();
        let arn = described["Table"]["TableArn"].as_str().unwrap();
        assert_eq!(arn, "arn:aws:dynamodb:us-east-1:123456789012:table/things");
        let tags = tables.call("ListTagsOfResource", &json!({"ResourceArn": arn}).to_string());
        assert_eq!(tags.status, 200, "{}", tags.body);
    }

    #[test]
    fn the_stream_tells_every_change_once_and_in_order() {
        let tables = tables();
        let (arn, iterator) = tables.open_stream("things").unwrap();
        assert!(arn.starts_with("arn:aws:dynamodb:us-east-1:123456789012:table/things/stream/"), "{arn}");
        for value in ["1", "2"] {
            let put = json!({"TableName": "things", "Item": {"id": {"S": "a"}, "v": {"N": value}}});
            assert_eq!(tables.call("PutItem", &put.to_string()).status, 200);
        }
        tables.call("DeleteItem", r#"{"TableName":"things","Key":{"id":{"S":"a"}}}"#);
        let (records, next) = tables.read_stream(&iterator).unwrap();
        let names: Vec<&Value> = records.iter().map(|record| &record["eventName"]).collect();
        assert_eq!(names, ["INSERT", "MODIFY", "REMOVE"]);
        assert_eq!(records[1]["dynamodb"]["OldImage"]["v"]["N"], "1");
        assert_eq!(records[1]["dynamodb"]["NewImage"]["v"]["N"], "2");
        assert!(tables.read_stream(&next).unwrap().0.is_empty());
    }

    #[test]
    fn errors_have_their_name_and_class() {
        let tables = tables();
        let put = json!({"TableName": "things", "Item": {"id": {"S": "a"}},
                         "ConditionExpression": "attribute_exists(id)"});
        let refused = tables.call("PutItem", &put.to_string());
        assert_eq!(
            (refused.status, refused.error.as_deref()),
            (400, Some("ConditionalCheckFailedException"))
        );
        assert_eq!(
            tables.call("GetItem", r#"{"TableName":7}"#).error.as_deref(),
            Some("SerializationException")
        );
        assert_eq!(tables.call("GetItem", "{").error.as_deref(), Some("SerializationException"));
        assert_eq!(tables.call("Imagine", "{}").error.as_deref(), Some("UnknownOperationException"));
        let missing = tables.call("GetItem", r#"{"TableName":"nope","Key":{"id":{"S":"a"}}}"#);
        assert_eq!(missing.error.as_deref(), Some("ResourceNotFoundException"));
    }
}

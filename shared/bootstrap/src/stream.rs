//! Batches of the config table's stream.
//!
//! A record only says which item to read again. What changed only our own answer is passed over, so that
//! answering does not wake us; an item that fails is given back to be replayed, and the others are done.

use aws_lambda_events::event::streams::{DynamoDbBatchItemFailure, DynamoDbEventResponse};
use jiff::Timestamp;
use perennial_core::config::STATUS;
use perennial_core::shown::{SHOWN_MAX, bounded};
use serde_json::Value;

use crate::failed::Failed;
use crate::handle::Entry;

/// What a batch asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Batch {
    /// When the youngest record was written.
    pub(crate) time: Option<Timestamp>,
    /// Changed items in order of first appearance, each with the number of that record.
    pub(crate) items: Vec<(String, String)>,
}

/// Reads a batch; what cannot be read is logged and dropped.
pub(crate) fn read(event: &Value) -> Batch {
    let mut batch = Batch::default();
    let Some(records) = event["Records"].as_array() else {
        tracing::warn!(path = "Records", "a malformed batch is dropped");
        return batch;
    };
    for record in records {
        let change = &record["dynamodb"];
        let written = change["ApproximateCreationDateTime"].as_f64().and_then(seconds);
        batch.time = batch.time.max(written);
        let (id, number) = (change["Keys"]["id"]["S"].as_str(), change["SequenceNumber"].as_str());
        let (Some(id), Some(number)) = (id, number) else {
            let event = record["eventID"].as_str().unwrap_or("without id");
            tracing::warn!(
                event.id = bounded(event, SHOWN_MAX),
                path = "dynamodb.Keys.id.S",
                "a malformed record is dropped"
            );
            continue;
        };
        if !is_only_status(change) && batch.items.iter().all(|(known, _)| known != id) {
            batch.items.push((id.to_owned(), number.to_owned()));
        }
    }
    batch
}

fn seconds(epoch: f64) -> Option<Timestamp> {
    // Milliseconds are all that a stream tells; the cast saturates.
    Timestamp::from_millisecond((epoch * 1000.0) as i64).ok()
}

/// Whether nothing but our answer changed.
fn is_only_status(change: &Value) -> bool {
    let operators_part = |image: &Value| {
        let mut image = image.as_object()?.clone();
        image.remove(STATUS);
        Some(image)
    };
    match (operators_part(&change["OldImage"]), operators_part(&change["NewImage"])) {
        (Some(old), Some(new)) => old == new,
        _ => false,
    }
}

/// Has each item judged, and gives back those that failed.
pub(crate) async fn configure<N: Entry>(engine: &N, batch: Batch) -> Value {
    let mut response = DynamoDbEventResponse::default();
    for (id, number) in batch.items {
        match engine.configure(&id).await {
            Ok(configured) => tracing::info!(item.id = bounded(id, SHOWN_MAX), ?configured, "judged"),
            Err(failure) => {
                Failed::logged(failure);
                let mut failed = DynamoDbBatchItemFailure::default();
                failed.item_identifier = Some(number);
                response.batch_item_failures.push(failed);
            }
        }
    }
    serde_json::to_value(response).unwrap_or_default()
}

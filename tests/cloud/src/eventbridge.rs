//! EventBridge: PutEvents, ListEventBuses and ListRules behind the JSON 1.1 wire names.
//!
//! Decides which entries are events. A bad entry fails alone, as on AWS; a bad request fails whole. After the
//! EventBridge API reference, `PutEvents` and `PutEventsRequestEntry`.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::bus::event_time;
use crate::dynamodb::Answer;
use crate::world::State;

/// Most entries of one PutEvents call.
const MOST_ENTRIES: usize = 10;
/// Most bytes of all entries of one call: 1 MB.
const MOST_BYTES: usize = 1_048_576;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct PutEvents {
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Entry {
    source: Option<String>,
    detail_type: Option<String>,
    detail: Option<String>,
    event_bus_name: Option<String>,
    #[serde(default)]
    resources: Vec<String>,
    /// Seconds since the Unix epoch.
    time: Option<f64>,
    trace_header: Option<String>,
}

/// Executes one call; `body` is the request's JSON.
pub(crate) fn call(state: &mut State, operation: &str, body: &str) -> Answer {
    match operation {
        "PutEvents" => put_events(state, body),
        "ListEventBuses" => ok(&json!({"EventBuses": buses(state)})),
        "ListRules" => list_rules(state, body),
        _ => refused(
            "UnknownOperationException",
            &format!("the local cloud does not know the operation {operation}"),
        ),
    }
}

fn put_events(state: &mut State, body: &str) -> Answer {
    let request: PutEvents = match serde_json::from_str(body) {
        Ok(request) => request,
        Err(error) => return refused("SerializationException", &error.to_string()),
    };
    if request.entries.is_empty() || request.entries.len() > MOST_ENTRIES {
        let message = format!(
            "1 validation error detected: Value at 'entries' failed to satisfy constraint: Member must have \
             length between 1 and {MOST_ENTRIES}, inclusive, and has {}",
            request.entries.len()
        );
        return refused("ValidationException", &message);
    }
    if body.len() > MOST_BYTES {
        return refused("ValidationException", "Total size of the entries in the request is over the limit.");
    }
    let mut failed = 0;
    let mut answers = Vec::new();
    for entry in &request.entries {
        match event(state, entry) {
            Ok((bus, event)) => {
                answers.push(json!({"EventId": event["id"]}));
                state.publish(&bus, event);
            }
            Err((code, message)) => {
                failed += 1;
                answers.push(json!({"ErrorCode": code, "ErrorMessage": message}));
            }
        }
    }
    ok(&json!({"FailedEntryCount": failed, "Entries": answers}))
}

/// The bus and the envelope of an entry, or the error that it gets.
fn event(state: &mut State, entry: &Entry) -> Result<(String, Value), (&'static str, String)> {
    let required = |field: &Option<String>, name: &str| match field.as_deref() {
        None | Some("") => Err((
            "InvalidArgument",
            format!("Parameter {name} is not valid. Reason: {name} is a required argument."),
        )),
        Some(text) => Ok(text.to_owned()),
    };
    let source = required(&entry.source, "Source")?;
    let detail_type = required(&entry.detail_type, "DetailType")?;
    let detail = required(&entry.detail, "Detail")?;
    if source.starts_with("aws.") {
        return Err(("NotAuthorizedForSourceException", format!("Not authorized for the source {source}.")));
    }
    let detail: Value = serde_json::from_str(&detail)
        .ok()
        .filter(Value::is_object)
        .ok_or_else(|| ("MalformedDetail", "Detail is malformed.".to_owned()))?;
    let named = entry.event_bus_name.as_deref().unwrap_or("default");
    let bus = named.rsplit_once(":event-bus/").map_or(named, |(_, name)| name).to_owned();
    if bus != "default" && !state.buses.contains(&bus) {
        return Err(("ResourceNotFoundException", format!("Event bus {bus} does not exist.")));
    }
    if entry.trace_header.as_ref().is_some_and(|header| header.len() > 500) {
        return Err(("InvalidArgument", "Parameter TraceHeader is not valid.".to_owned()));
    }
    let time = match entry.time {
        None => state.now,
        Some(seconds) => Timestamp::from_duration(jiff::SignedDuration::from_secs_f64(seconds))
            .map_err(|_| ("InvalidArgument", "Parameter Time is not valid.".to_owned()))?,
    };
    let event = json!({
        "version": "0", "id": state.new_id(), "detail-type": detail_type, "source": source,
        "account": state.identity.account, "time": event_time(time), "region": state.identity.region,
        "resources": entry.resources, "detail": detail,
    });
    Ok((bus, event))
}

fn buses(state: &State) -> Vec<Value> {
    let identity = &state.identity;
    let arn =
        |name: &str| format!("arn:aws:events:{}:{}:event-bus/{name}", identity.region, identity.account);
    std::iter::once("default")
        .chain(state.buses.iter().map(String::as_str))
        .map(|name| json!({"Name": name, "Arn": arn(name)}))
        .collect()
}

fn list_rules(state: &State, body: &str) -> Answer {
    let request: Value = match serde_json::from_str(body) {
        Ok(request) => request,
        Err(error) => return refused("SerializationException", &error.to_string()),
    };
    let bus = request["EventBusName"].as_str().unwrap_or("default");
    if bus != "default" && !state.buses.iter().any(|known| known == bus) {
        return refused("ResourceNotFoundException", &format!("Event bus {bus} does not exist."));
    }
    let prefix = request["NamePrefix"].as_str().unwrap_or_default();
    let identity = &state.identity;
    let rules: Vec<Value> = state
        .rules
        .iter()
        .filter(|rule| rule.bus == bus && rule.name.starts_with(prefix))
        .map(|rule| {
            json!({
                "Name": rule.name, "EventBusName": rule.bus, "State": "ENABLED",
                "Arn": format!("arn:aws:events:{}:{}:rule/{}", identity.region, identity.account, rule.name),
                "EventPattern": rule.source.to_string(),
            })
        })
        .collect();
    ok(&json!({"Rules": rules}))
}

fn ok(body: &Value) -> Answer {
    Answer { status: 200, body: body.to_string(), error: None }
}

fn refused(code: &str, message: &str) -> Answer {
    Answer {
        status: 400,
        body: json!({"__type": code, "message": message}).to_string(),
        error: Some(code.to_owned()),
    }
}

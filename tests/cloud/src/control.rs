//! The control endpoints under `/_cloud/`: what a test or a demonstration may do to the cloud and ask of it.
//!
//! Decides nothing about AWS. A path, method or field that does not exist is refused with a sentence, never ignored,
//! so that a misspelt test does not pass.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::faults::{ApiFault, EventFault};
use crate::model::{ApiError, Market, WriteTarget};
use crate::world::State;

/// A refusal: HTTP status and body.
struct Refusal {
    status: u16,
    message: String,
    code: Option<String>,
}

type Answer = Result<Value, Refusal>;

fn refuse(status: u16, message: impl Into<String>) -> Refusal {
    Refusal { status, message: message.into(), code: None }
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Refusal {
        let status = if error.code.contains("NotFound") { 404 } else { 400 };
        Refusal { status, message: error.message, code: Some(error.code.into_owned()) }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Interrupt {
    instance_id: String,
    #[serde(default = "yes")]
    notice: bool,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Write {
    instance_id: Option<String>,
    volume_id: Option<String>,
    #[serde(default)]
    all_volumes: bool,
    #[serde(default = "once")]
    times: u64,
}

fn once() -> u64 {
    1
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Hang {
    volume_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Fail {
    image_id: Option<String>,
    snapshot_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Impair {
    instance_id: String,
    #[serde(default = "yes")]
    impaired: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Spoil {
    image_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Capacity {
    instance_type: String,
    zone: String,
    market: MarketName,
    /// Null for no limit.
    available: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum MarketName {
    Spot,
    OnDemand,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Kill {
    function: String,
}

/// Answers one control request: HTTP status and JSON.
pub(crate) fn handle(state: &mut State, method: &str, path: &str, query: &str, body: &str) -> (u16, Value) {
    let path = path.trim_matches('/');
    match answer(state, method, path, query, body) {
        Ok(value) => (200, value),
        Err(refusal) => {
            let mut value = json!({"error": refusal.message});
            if let Some(code) = refusal.code {
                value["code"] = json!(code);
            }
            (refusal.status, value)
        }
    }
}

fn answer(state: &mut State, method: &str, path: &str, query: &str, body: &str) -> Answer {
    match (method, path) {
        ("GET", "clock") => {
            nothing(query)?;
            Ok(json!({"now": state.now.to_string(), "speed": state.clock.speed()}))
        }
        ("POST", "interrupt") => interrupt(state, read(body)?),
        ("POST", "write") => write(state, read(body)?),
        ("POST", "hang") => {
            let request: Hang = read(body)?;
            state.cloud.hang_next_attach(&request.volume_id)?;
            Ok(json!({}))
        }
        ("POST", "fail") => fail(state, read(body)?),
        ("POST", "impair") => {
            let request: Impair = read(body)?;
            state.cloud.impair(&request.instance_id, request.impaired)?;
            Ok(json!({}))
        }
        ("POST", "spoil") => {
            let request: Spoil = read(body)?;
            state.cloud.spoil_image(&request.image_id)?;
            Ok(json!({}))
        }
        ("POST", "capacity") => capacity(state, &read(body)?),
        ("POST", "kill") => kill(state, &read(body)?),
        ("POST", "events") => {
            let fault: EventFault = read(body)?;
            state.faults.add_events(fault).map_err(|problem| refuse(400, problem))?;
            Ok(json!({}))
        }
        ("DELETE", "events") => {
            state.faults.clear_events();
            Ok(json!({}))
        }
        ("POST", "faults") => {
            let faults: Vec<ApiFault> = read(body)?;
            state.faults.add_calls(faults).map_err(|problem| refuse(400, problem))?;
            Ok(json!({}))
        }
        ("DELETE", "faults") => {
            state.faults.clear_calls();
            Ok(json!({}))
        }
        ("GET", "events" | "emitted" | "calls" | "invocations" | "dead-letters") => list(state, path, query),
        ("GET", "rights") => {
            nothing(query)?;
            Ok(state.rights.to_json())
        }
        ("GET", "functions") => {
            nothing(query)?;
            Ok(functions(state))
        }
        ("GET", path) if path.starts_with("volumes/") => volume(state, path),
        _ => Err(not_found(method, path)),
    }
}

fn interrupt(state: &mut State, request: Interrupt) -> Answer {
    state.cloud.interrupt(&request.instance_id, request.notice)?;
    Ok(json!({}))
}

fn write(state: &mut State, request: Write) -> Answer {
    let target = match (request.instance_id, request.volume_id) {
        (Some(id), None) if request.all_volumes => {
            return Ok(json!({"volumes": state.cloud.write_all(&id, request.times)?}));
        }
        (_, Some(_)) if request.all_volumes => {
            return Err(refuse(400, "'allVolumes' goes with 'instanceId' only"));
        }
        (Some(id), None) => WriteTarget::Instance(id),
        (None, Some(id)) => WriteTarget::Volume(id),
        (Some(_), Some(_)) | (None, None) => {
            return Err(refuse(400, "give one of 'instanceId' (its root volume) and 'volumeId'"));
        }
    };
    let writes = state.cloud.write(target, request.times)?;
    Ok(json!({"writes": writes}))
}

fn fail(state: &mut State, request: Fail) -> Answer {
    match (request.image_id, request.snapshot_id) {
        (Some(id), None) => state.cloud.fail_image(&id)?,
        (None, Some(id)) => state.cloud.fail_snapshot(&id)?,
        (Some(_), Some(_)) | (None, None) => {
            return Err(refuse(400, "give one of 'imageId' and 'snapshotId'"));
        }
    }
    Ok(json!({}))
}

fn capacity(state: &mut State, request: &Capacity) -> Answer {
    let market = match request.market {
        MarketName::Spot => Market::Spot,
        MarketName::OnDemand => Market::OnDemand,
    };
    if crate::model::instance_type(&request.instance_type).is_none() {
        return Err(refuse(400, format!("'instanceType' names no known type: '{}'", request.instance_type)));
    }
    let zones = &state.cloud.settings().zones;
    if !zones.contains(&request.zone) {
        return Err(refuse(
            400,
            format!("'zone' must be one of {}, not '{}'", zones.join(", "), request.zone),
        ));
    }
    state.cloud.set_capacity(&request.instance_type, &request.zone, market, request.available);
    Ok(json!({}))
}

/// Kills now if an invocation runs, else in the middle of the next one: at its first AWS call, after the effect.
fn kill(state: &mut State, request: &Kill) -> Answer {
    let known: Vec<String> = state.hosts.keys().cloned().collect();
    let Some(host) = state.hosts.get_mut(&request.function) else {
        let known = if known.is_empty() { "none is run".to_owned() } else { known.join(", ") };
        return Err(refuse(404, format!("there is no function '{}' ({known})", request.function)));
    };
    if host.under_way.is_none() {
        host.kill_armed = true;
        return Ok(json!({"killed": "next"}));
    }
    state.kill_now(&request.function);
    Ok(json!({"killed": "now"}))
}

fn list(state: &State, path: &str, query: &str) -> Answer {
    let since = since(query)?;
    Ok(match path {
        "events" => {
            let entries = state.published.after(since).map(|(seq, entry)| entry.to_json(seq));
            json!({"events": entries.collect::<Vec<_>>()})
        }
        "emitted" => {
            let entries = state.emitted.after(since).map(|(seq, event)| json!({"seq": seq, "event": event}));
            json!({"events": entries.collect::<Vec<_>>()})
        }
        "calls" => {
            let entries = state.calls.after(since).map(|(seq, entry)| entry.to_json(seq));
            json!({"calls": entries.collect::<Vec<_>>()})
        }
        "dead-letters" => {
            let entries = state.dead_letters.after(since).map(|(seq, entry)| entry.to_json(seq));
            json!({"deadLetters": entries.collect::<Vec<_>>()})
        }
        _ => {
            let entries = state.invocations.after(since).map(|(_, entry)| entry.to_json());
            json!({"invocations": entries.collect::<Vec<_>>()})
        }
    })
}

fn functions(state: &State) -> Value {
    let entries: BTreeMap<&str, Value> = state
        .hosts
        .iter()
        .map(|(folder, host)| {
            let entry = json!({
                "ready": host.polled, "busy": host.under_way.is_some(), "waiting": host.waiting(),
                "starts": host.starts, "droppedTicks": host.dropped_ticks, "startError": host.start_error,
            });
            (folder.as_str(), entry)
        })
        .collect();
    json!({"functions": entries})
}

fn volume(state: &State, path: &str) -> Answer {
    let id = path.trim_start_matches("volumes/");
    let contents =
        state.cloud.contents(id).ok_or_else(|| refuse(404, format!("there is no volume '{id}'")))?;
    Ok(json!({"writes": contents.writes, "lineage": contents.lineage}))
}

fn since(query: &str) -> Result<u64, Refusal> {
    match query.split_once('=') {
        None if query.is_empty() => Ok(0),
        Some(("since", number)) => number
            .parse()
            .map_err(|_| refuse(400, format!("'since' must be the number of an entry, not '{number}'"))),
        Some(_) | None => Err(refuse(400, format!("unknown query '{query}'; 'since' is all there is"))),
    }
}

fn nothing(query: &str) -> Result<(), Refusal> {
    if query.is_empty() {
        Ok(())
    } else {
        Err(refuse(400, format!("this path takes no query, and has '{query}'")))
    }
}

fn read<T: DeserializeOwned>(body: &str) -> Result<T, Refusal> {
    let body = if body.trim().is_empty() { "{}" } else { body };
    serde_json::from_str(body).map_err(|error| refuse(400, error.to_string()))
}

fn not_found(method: &str, path: &str) -> Refusal {
    refuse(
        404,
        format!(
            "there is no {method} /_cloud/{path}; there are GET clock, volumes/ID, calls, invocations, events, \
             emitted, dead-letters, functions, rights; POST interrupt, write, hang, fail, impair, spoil, capacity, \
             events, faults, kill; DELETE events, faults"
        ),
    )
}

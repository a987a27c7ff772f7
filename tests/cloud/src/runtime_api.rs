//! The Lambda Runtime API, one per function under `/_lambda/<folder>/2018-06-01/`.
//!
//! Decides which process is given which invocation and which answers are still wanted. After the Lambda developer
//! guide, "Using the Lambda runtime API for custom runtimes".

use std::sync::Arc;

use serde_json::{Value, json};

use crate::invocations::Work;
use crate::journal::Outcome;
use crate::world::World;

/// The path after the function's folder.
const VERSION: &str = "2018-06-01/runtime/";

/// An answer of the Runtime API.
pub(crate) enum Reply {
    Work(Work),
    Json(u16, Value),
}

/// Answers one request of a function's runtime; a poll waits until there is work.
pub(crate) async fn handle(world: &Arc<World>, method: &str, path: &str, body: &str) -> Reply {
    let Some((folder, rest)) = path.trim_start_matches('/').split_once('/') else {
        return unknown(path);
    };
    let Some(rest) = rest.strip_prefix(VERSION) else { return unknown(path) };
    if world.at_present(|state| !state.hosts.contains_key(folder)) {
        return unknown(path);
    }
    let parts: Vec<&str> = rest.split('/').collect();
    match (method, parts.as_slice()) {
        ("GET", ["invocation", "next"]) => Reply::Work(next(world, folder).await),
        ("POST", ["invocation", id, "response"]) => end(world, folder, id, Outcome::Ok, Ok(body)),
        ("POST", ["invocation", id, "error"]) => {
            end(world, folder, id, Outcome::Error, Err(error_text(body).as_str()))
        }
        ("POST", ["init", "error"]) => {
            let text = error_text(body);
            world.at_present(|state| {
                if let Some(host) = state.hosts.get_mut(folder) {
                    host.init_error = Some(text);
                }
            });
            accepted()
        }
        _ => unknown(path),
    }
}

/// Waits for work. A poll of a process that has ended meanwhile waits for ever; its connection is gone anyway.
async fn next(world: &Arc<World>, folder: &str) -> Work {
    let (generation, notify) = world.at_present(|state| {
        let host = state.hosts.get_mut(folder);
        host.map_or_else(Default::default, |host| (host.generation, Arc::clone(&host.work)))
    });
    loop {
        let (work, current) = world.at_present(|state| {
            let work = state.hand_out(folder, generation);
            (work, state.hosts.get(folder).is_some_and(|host| host.generation == generation))
        });
        if let Some(work) = work {
            return work;
        }
        if !current {
            // The wake-up was meant for the process that came after this one.
            notify.notify_one();
            std::future::pending::<()>().await;
        }
        notify.notified().await;
    }
}

fn end(world: &Arc<World>, folder: &str, id: &str, outcome: Outcome, result: Result<&str, &str>) -> Reply {
    world.at_present(|state| {
        let under_way = state.hosts.get(folder).and_then(|host| host.under_way.as_ref());
        if under_way.is_none_or(|under_way| under_way.delivery.request_id != id) {
            return Reply::Json(
                400,
                json!({"errorType": "InvalidRequestID", "errorMessage": "Invalid request ID"}),
            );
        }
        state.finish(folder, outcome, result);
        accepted()
    })
}

/// `errorType: errorMessage` of an error body. A Rust function's error type is often a path of no use to a reader.
fn error_text(body: &str) -> String {
    let error: Value = serde_json::from_str(body).unwrap_or(Value::Null);
    let message = error["errorMessage"].as_str().unwrap_or("no message");
    match error["errorType"].as_str() {
        Some(kind) if !kind.contains("::") => format!("{kind}: {message}"),
        Some(_) | None => message.to_owned(),
    }
}

fn accepted() -> Reply {
    Reply::Json(202, json!({"status": "OK"}))
}

fn unknown(path: &str) -> Reply {
    Reply::Json(
        404,
        json!({"errorType": "NotFound", "errorMessage": format!("no runtime API at /_lambda{path}")}),
    )
}

//! The bus: own events over PutEvents.

use aws_sdk_eventbridge::Client;
use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use aws_smithy_types::DateTime;
use perennial_core::failure::{Class, Failure};
use perennial_core::journal::{OwnEvent, SOURCE};
use perennial_engine::ports::{Bus, Reply};

use crate::classify::failure;

const PUT_EVENTS: &str = "EventBridge:PutEvents";
/// PutEvents takes at most this many entries (EventBridge API reference).
const ENTRIES_PER_CALL: usize = 10;

/// The deployment's bus.
#[derive(Clone, Debug)]
pub struct EventBus {
    client: Client,
    name: String,
}

impl EventBus {
    /// The bus of this name.
    pub fn new(client: Client, name: impl Into<String>) -> Self {
        Self { client, name: name.into() }
    }
}

impl Bus for EventBus {
    async fn publish(&self, events: &[OwnEvent]) -> Reply<()> {
        for events in events.chunks(ENTRIES_PER_CALL) {
            let entries = events.iter().map(|event| entry(&self.name, event)).collect::<Reply<_>>()?;
            let answer = self.client.put_events().set_entries(Some(entries)).send().await;
            let answer = answer.map_err(|e| failure(PUT_EVENTS, &e))?;
            // A call that succeeds may still have refused single entries.
            if answer.failed_entry_count() > 0 {
                let refused = answer.entries().iter().find(|e| e.error_code().is_some());
                let code = refused.and_then(|e| e.error_code()).unwrap_or("Unknown");
                let message = refused.and_then(|e| e.error_message()).unwrap_or("entries were refused");
                return Err(Failure::new(Class::Retry, PUT_EVENTS, code, message));
            }
        }
        Ok(())
    }
}

fn entry(bus: &str, event: &OwnEvent) -> Reply<PutEventsRequestEntry> {
    let detail = serde_json::to_string(&event.detail)
        .map_err(|e| Failure::new(Class::Terminal, PUT_EVENTS, "Construction", e.to_string()))?;
    Ok(PutEventsRequestEntry::builder()
        .event_bus_name(bus)
        .source(SOURCE)
        .detail_type(event.kind.detail_type())
        .time(DateTime::from_secs(event.time.as_second()))
        .detail(detail)
        .build())
}

#[cfg(test)]
mod tests {
    use perennial_core::journal::{Detail, Kind};

    use super::*;

    #[test]
    fn an_entry_says_what_when_and_about_whom() {
        let event = OwnEvent {
            kind: Kind::NodeRecovered,
            time: "2026-11-20T10:00:00Z".parse().unwrap(),
            detail: Detail { id: "l1-7-0".into(), node: "db".into(), ..Detail::default() },
        };
        let entry = entry("perennial", &event).unwrap();
        assert_eq!(entry.source(), Some("perennial"));
        assert_eq!(entry.detail_type(), Some("Node Recovered"));
        assert_eq!(entry.event_bus_name(), Some("perennial"));
        assert_eq!(entry.time().map(DateTime::secs), Some(1_795_168_800));
        let detail: serde_json::Value = serde_json::from_str(entry.detail().unwrap()).unwrap();
        assert_eq!((&detail["id"], &detail["node"]), (&"l1-7-0".into(), &"db".into()));
    }
}

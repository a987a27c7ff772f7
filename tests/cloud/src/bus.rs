//! The event buses: which events go to which functions, and with what fate.
//!
//! Decides by the template's rules and the scripted faults alone. Delivery itself, retries included, is
//! `invocations`' affair.

use jiff::Timestamp;
use serde_json::Value;

use crate::faults::Fate;
use crate::host::{Delivery, Trigger};
use crate::model::{Cloud, Tags};
use crate::world::{State, Task};

/// The tag by which a resource says which node it was made for.
const NODE_TAG: &str = "perennial:node";

/// A time as EventBridge writes it: whole seconds.
pub(crate) fn event_time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

impl State {
    /// Sends `event` to the functions whose rules on `bus` match it.
    pub(crate) fn route(&mut self, bus: &str, event: &Value) {
        let targets: Vec<String> = self
            .rules
            .iter()
            .filter(|rule| rule.bus == bus && rule.pattern.matches(event))
            .flat_map(|rule| rule.targets.iter().cloned())
            .collect();
        let detail_type = event["detail-type"].as_str().unwrap_or_default();
        for function in targets {
            self.deliver(&function, Trigger::Event(detail_type.to_owned()), event);
        }
    }

    /// Queues `event` for `function` as the faults decide. A stream's batch is past its faults already.
    pub(crate) fn deliver(&mut self, function: &str, trigger: Trigger, event: &Value) {
        if !self.hosts_functions() {
            return;
        }
        let fate = match &trigger {
            Trigger::Stream(_) => Fate::Deliver,
            Trigger::Event(kind) => {
                let from_aws = event["source"].as_str().is_some_and(|source| source.starts_with("aws."));
                let cloud = &self.cloud;
                self.faults.of_delivery(kind, from_aws, |node| concerns(cloud, event, node))
            }
            Trigger::Schedule(_) => self.faults.of_delivery(trigger.name(), false, |_| false),
        };
        let copies = match fate {
            Fate::Drop => 0,
            Fate::Deliver | Fate::Late(_) => 1,
            Fate::Twice => 2,
        };
        for _ in 0..copies {
            let delivery = Delivery {
                request_id: self.new_id(),
                trigger: trigger.clone(),
                payload: event.to_string(),
                failures: 0,
                since: self.now,
            };
            match fate {
                Fate::Late(delay) => {
                    self.agenda.add(self.now + delay, Task::Deliver(function.to_owned(), delivery));
                }
                Fate::Deliver | Fate::Drop | Fate::Twice => {
                    if let Some(host) = self.hosts.get_mut(function) {
                        host.enqueue(delivery);
                    }
                }
            }
        }
    }
}

/// Whether an event is about `node`: by its own detail, or by the tags of a resource that it names.
fn concerns(cloud: &Cloud, event: &Value, node: &str) -> bool {
    let detail = &event["detail"];
    if detail["node"] == node {
        return true;
    }
    let named = ["instance-id", "ImageId", "snapshot_id", "source"].into_iter().filter_map(|field| {
        let text = detail[field].as_str()?;
        // Snapshot events name resources by ARN.
        Some(text.rsplit_once('/').map_or(text, |(_, id)| id))
    });
    named
        .filter_map(|id| tags_of(cloud, id))
        .any(|tags| tags.get(NODE_TAG).is_some_and(|name| name.as_str() == node))
}

fn tags_of<'a>(cloud: &'a Cloud, id: &str) -> Option<&'a Tags> {
    let (kind, _) = id.split_once('-')?;
    match kind {
        "i" => cloud.instances.get(id).map(|instance| &instance.tags),
        "vol" => cloud.volumes.get(id).map(|volume| &volume.tags),
        "snap" => cloud.snapshots.get(id).map(|snapshot| &snapshot.tags),
        "ami" => cloud.images.get(id).map(|image| &image.tags),
        _ => None,
    }
}

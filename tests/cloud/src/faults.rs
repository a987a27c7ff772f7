//! Scripted trouble: API calls that fail, and events that are dropped, doubled or late.
//!
//! Decides which call or delivery a fault applies to. The first fault that matches is used, and counts down.

use jiff::SignedDuration;
use serde::Deserialize;

/// How often a fault applies; negative for always.
fn used(times: &mut i64) -> bool {
    match *times {
        0 => false,
        negative if negative < 0 => true,
        _ => {
            *times -= 1;
            true
        }
    }
}

fn once() -> i64 {
    1
}

/// A fault of one AWS operation.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ApiFault {
    service: Service,
    /// The operation's name, or `*`.
    operation: String,
    /// Only calls of this function.
    function: Option<String>,
    pub(crate) when: When,
    pub(crate) error: Option<FaultError>,
    #[serde(default = "once")]
    times: i64,
}

/// The services on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Service {
    Ec2,
    Dynamodb,
    Events,
}

impl Service {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Service::Ec2 => "ec2",
            Service::Dynamodb => "dynamodb",
            Service::Events => "events",
        }
    }
}

/// When a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum When {
    /// Nothing is executed and the error is answered.
    Before,
    /// The call is executed and the error is answered.
    After,
    /// The call is executed and nothing is answered until the caller gives up.
    Timeout,
}

/// The error to answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FaultError {
    pub(crate) code: String,
    #[serde(default = "bad_request")]
    pub(crate) status: u16,
    #[serde(default)]
    pub(crate) message: String,
}

fn bad_request() -> u16 {
    400
}

/// Trouble with the delivery of events to functions.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct EventFault {
    /// A detail-type, `*` for all events of AWS services but schedules, or `stream` for records of table streams.
    detail_type: String,
    /// Only what concerns this node.
    node: Option<String>,
    action: EventAction,
    delay_seconds: Option<f64>,
    #[serde(default = "once")]
    times: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum EventAction {
    Drop,
    Duplicate,
    Delay,
}

/// What happens to one delivery.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fate {
    Deliver,
    Drop,
    Twice,
    /// Later by this much cloud time.
    Late(SignedDuration),
}

/// All trouble of one cloud.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    calls: Vec<ApiFault>,
    events: Vec<EventFault>,
}

impl Faults {
    /// Adds faults of operations.
    ///
    /// # Errors
    /// Names the fault that cannot work.
    pub(crate) fn add_calls(&mut self, faults: Vec<ApiFault>) -> Result<(), String> {
        for (index, fault) in faults.iter().enumerate() {
            if fault.when != When::Timeout && fault.error.is_none() {
                return Err(format!("fault {index} needs 'error' {{code, status, message}} to answer with"));
            }
            if fault.error.as_ref().is_some_and(|error| !(400..=599).contains(&error.status)) {
                return Err(format!("fault {index} has an error status outside 400 to 599"));
            }
        }
        self.calls.extend(faults);
        Ok(())
    }

    /// Adds trouble with events.
    ///
    /// # Errors
    /// Says what is missing.
    pub(crate) fn add_events(&mut self, fault: EventFault) -> Result<(), String> {
        let delayed =
            fault.delay_seconds.is_some_and(|delay| delay.is_finite() && (0.0..=1e9).contains(&delay));
        match (fault.action, fault.delay_seconds) {
            (EventAction::Delay, _) if !delayed => {
                return Err(
                    "action 'delay' needs 'delaySeconds', a number of cloud seconds from 0 up".to_owned()
                );
            }
            (EventAction::Drop | EventAction::Duplicate, Some(_)) => {
                return Err("'delaySeconds' goes with action 'delay' only".to_owned());
            }
            _ => {}
        }
        self.events.push(fault);
        Ok(())
    }

    pub(crate) fn clear_calls(&mut self) {
        self.calls.clear();
    }

    pub(crate) fn clear_events(&mut self) {
        self.events.clear();
    }

    /// The fault of this call, if any.
    pub(crate) fn of_call(
        &mut self,
        service: Service,
        operation: &str,
        function: Option<&str>,
    ) -> Option<ApiFault> {
        self.calls.iter_mut().find_map(|fault| {
            let applies = fault.service == service
                && (fault.operation == "*" || fault.operation == operation)
                && fault.function.as_deref().is_none_or(|wanted| function == Some(wanted))
                && used(&mut fault.times);
            applies.then(|| fault.clone())
        })
    }

    /// The fate of one delivery; `kind` is `stream` or the detail-type, `concerns` tells whether a node is meant.
    pub(crate) fn of_delivery(
        &mut self,
        kind: &str,
        from_aws: bool,
        concerns: impl Fn(&str) -> bool,
    ) -> Fate {
        let fault = self.events.iter_mut().find_map(|fault| {
            let applies = (fault.detail_type == kind || (fault.detail_type == "*" && from_aws))
                && fault.node.as_deref().is_none_or(&concerns)
                && used(&mut fault.times);
            applies.then_some((fault.action, fault.delay_seconds))
        });
        match fault {
            None => Fate::Deliver,
            Some((EventAction::Drop, _)) => Fate::Drop,
            Some((EventAction::Duplicate, _)) => Fate::Twice,
            Some((EventAction::Delay, delay)) => {
                Fate::Late(SignedDuration::from_secs_f64(delay.unwrap_or_default()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn faults(calls: Value) -> Faults {
        let mut faults = Faults::default();
        faults.add_calls(serde_json::from_value(calls).unwrap()).unwrap();
        faults
    }

    #[test]
    fn a_fault_applies_to_its_operation_and_function_and_counts_down() {
        let mut faults =
            faults(json!([{"service": "ec2", "operation": "RunInstances", "function": "reconcile",
            "when": "before", "error": {"code": "RequestLimitExceeded", "status": 503}, "times": 2}]));
        assert!(faults.of_call(Service::Ec2, "RunInstances", Some("instance-state")).is_none());
        assert!(faults.of_call(Service::Ec2, "DescribeInstances", Some("reconcile")).is_none());
        assert!(faults.of_call(Service::Dynamodb, "RunInstances", Some("reconcile")).is_none());
        for _ in 0..2 {
            let fault = faults.of_call(Service::Ec2, "RunInstances", Some("reconcile")).unwrap();
            assert_eq!(fault.error.unwrap().status, 503);
        }
        assert!(faults.of_call(Service::Ec2, "RunInstances", Some("reconcile")).is_none());
    }

    #[test]
    fn minus_one_lasts_until_it_is_cleared() {
        let mut faults =
            faults(json!([{"service": "dynamodb", "operation": "*", "when": "timeout", "times": -1}]));
        for _ in 0..5 {
            assert!(faults.of_call(Service::Dynamodb, "PutItem", None).is_some());
        }
        faults.clear_calls();
        assert!(faults.of_call(Service::Dynamodb, "PutItem", None).is_none());
    }

    #[test]
    fn star_means_events_of_aws_and_not_streams_or_own_events() {
        let mut faults = Faults::default();
        let fault = json!({"detailType": "*", "action": "drop", "times": -1});
        faults.add_events(serde_json::from_value(fault).unwrap()).unwrap();
        assert_eq!(faults.of_delivery("EC2 AMI State Change", true, |_| false), Fate::Drop);
        assert_eq!(faults.of_delivery("Node Running", false, |_| false), Fate::Deliver);
        assert_eq!(faults.of_delivery("stream", false, |_| false), Fate::Deliver);
    }

    #[test]
    fn a_node_narrows_and_a_delay_needs_its_seconds() {
        let mut faults = Faults::default();
        let fault = json!({"detailType": "stream", "node": "db", "action": "delay", "delaySeconds": 2});
        faults.add_events(serde_json::from_value(fault).unwrap()).unwrap();
        assert_eq!(faults.of_delivery("stream", false, |node| node == "web"), Fate::Deliver);
        let late = Fate::Late(SignedDuration::from_secs(2));
        assert_eq!(faults.of_delivery("stream", false, |node| node == "db"), late);
        let bad = serde_json::from_value(json!({"detailType": "*", "action": "delay"})).unwrap();
        assert!(faults.add_events(bad).unwrap_err().contains("delaySeconds"));
        assert!(serde_json::from_value::<EventFault>(json!({"detailType": "*", "action": "lose"})).is_err());
    }
}

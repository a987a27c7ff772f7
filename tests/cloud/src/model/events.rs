//! The events AWS puts on the default bus, in the shapes its documentation shows, odd ARNs included.
//!
//! An interruption warning names its Zone instead of Region and account (EC2 User Guide, *Spot Instance interruption
//! notices*); a snapshot event leaves the account empty and the Region after two colons (EBS User Guide, *EventBridge
//! for Amazon EBS*). Events are kept as facts and written as JSON only when taken.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::ids::uuid_text;
use super::{Cloud, InstanceState};

/// An event not yet taken.
#[derive(Clone, Debug)]
pub(crate) struct Emitted {
    id: (u64, u64),
    time: Timestamp,
    fact: Fact,
}

/// What an event reports.
#[derive(Clone, Debug)]
pub(crate) enum Fact {
    /// An instance entered a state.
    State { instance: String, state: InstanceState },
    /// A spot instance will be interrupted in two minutes.
    Warning { instance: String, zone: String },
    /// A spot instance is at elevated risk of interruption.
    Rebalance { instance: String },
    /// A snapshot completed or failed.
    Snapshot { snapshot: String, volume: String, started: Timestamp, failed: bool },
    /// An image entered a state: `available`, `failed` or `deregistered`.
    Image { image: String, state: &'static str, error: String },
    /// A volume came or went: `createVolume` with result `available`, or `deleteVolume` with result `deleted`.
    Volume { volume: String, event: &'static str, result: &'static str },
}

/// Whole seconds, as EventBridge writes times.
fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

impl Cloud {
    pub(crate) fn emit(&mut self, fact: Fact) {
        let id = self.ids.uuid();
        self.events.push(Emitted { id, time: self.now, fact });
    }

    /// The EventBridge envelopes of everything that happened since the last call, oldest first.
    pub fn take_events(&mut self) -> Vec<Value> {
        std::mem::take(&mut self.events).into_iter().map(|event| self.envelope(event)).collect()
    }

    fn envelope(&self, event: Emitted) -> Value {
        let (region, account) = (&self.settings.region, &self.settings.account);
        let (detail_type, resource, detail) = match event.fact {
            Fact::State { instance, state } => (
                "EC2 Instance State-change Notification",
                format!("arn:aws:ec2:{region}:{account}:instance/{instance}"),
                json!({"instance-id": instance, "state": state.name()}),
            ),
            Fact::Warning { instance, zone } => (
                "EC2 Spot Instance Interruption Warning",
                format!("arn:aws:ec2:{zone}:instance/{instance}"),
                json!({"instance-id": instance, "instance-action": "terminate"}),
            ),
            Fact::Rebalance { instance } => (
                "EC2 Instance Rebalance Recommendation",
                format!("arn:aws:ec2:{region}:{account}:instance/{instance}"),
                json!({"instance-id": instance}),
            ),
            Fact::Snapshot { snapshot, volume, started, failed } => {
                let arn = format!("arn:aws:ec2::{region}:snapshot/{snapshot}");
                let detail = json!({
                    "event": "createSnapshot",
                    "result": if failed { "failed" } else { "succeeded" },
                    "cause": "",
                    "request-id": "",
                    "snapshot_id": arn,
                    "source": format!("arn:aws:ec2::{region}:volume/{volume}"),
                    "startTime": seconds(started),
                    "endTime": seconds(event.time),
                });
                ("EBS Snapshot Notification", arn, detail)
            }
            Fact::Image { image, state, error } => (
                "EC2 AMI State Change",
                format!("arn:aws:ec2:{region}::image/{image}"),
                json!({
                    "RequestId": uuid_text((event.id.1, event.id.0)),
                    "ImageId": image,
                    "State": state,
                    "ErrorMessage": error,
                }),
            ),
            Fact::Volume { volume, event: name, result } => (
                "EBS Volume Notification",
                format!("arn:aws:ec2:{region}:{account}:volume/{volume}"),
                json!({
                    "event": name,
                    "result": result,
                    "cause": "",
                    "request-id": uuid_text((event.id.1, event.id.0)),
                }),
            ),
        };
        json!({
            "version": "0",
            "id": uuid_text(event.id),
            "detail-type": detail_type,
            "source": "aws.ec2",
            "account": account,
            "time": seconds(event.time),
            "region": region,
            "resources": [resource],
            "detail": detail,
        })
    }
}

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
    /// All snapshots of one CreateSnapshots call have ended: snapshot, volume, whether it failed.
    Snapshots { parts: Vec<(String, String, bool)>, started: Timestamp },
    /// An image entered a state: `available`, `failed` or `deregistered`.
    Image { image: String, state: &'static str, error: String },
    /// A volume came, went or changed: `createVolume` with result `available`, `deleteVolume` with `deleted`,
    /// `modifyVolume` with `optimizing`.
    Volume { volume: String, event: &'static str, result: &'static str },
}

/// Whole seconds, as EventBridge writes times.
fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The ARN of a snapshot or a volume as snapshot events have it.
fn storage_arn(region: &str, kind: &str, id: &str) -> String {
    format!("arn:aws:ec2::{region}:{kind}/{id}")
}

/// ARNs of the snapshots and detail of a *Multi-Volume Snapshots Completion Status*.
fn completion(
    region: &str,
    parts: &[(String, String, bool)],
    started: Timestamp,
    ended: Timestamp,
) -> (Vec<String>, Value) {
    let arns: Vec<String> = parts.iter().map(|(id, ..)| storage_arn(region, "snapshot", id)).collect();
    let failed = parts.iter().find(|(.., failed)| *failed);
    let snapshots: Vec<Value> = parts
        .iter()
        .map(|(snapshot, volume, failed)| {
            json!({
                "snapshot_id": storage_arn(region, "snapshot", snapshot),
                "source": storage_arn(region, "volume", volume),
                "status": if *failed { "error" } else { "completed" },
            })
        })
        .collect();
    let detail = json!({
        "event": "createSnapshots",
        "result": if failed.is_some() { "failed" } else { "succeeded" },
        "cause": failed.map_or_else(String::new, |(id, ..)| format!("Snapshot {id} is in status error")),
        "request-id": "",
        "startTime": seconds(started),
        "endTime": seconds(ended),
        "snapshots": snapshots,
    });
    (arns, detail)
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
        let (id, time) = (event.id, event.time);
        let (detail_type, resources, detail) = self.told(event);
        json!({
            "version": "0",
            "id": uuid_text(id),
            "detail-type": detail_type,
            "source": "aws.ec2",
            "account": self.settings.account,
            "time": seconds(time),
            "region": self.settings.region,
            "resources": resources,
            "detail": detail,
        })
    }

    /// Detail type, resources and detail.
    fn told(&self, event: Emitted) -> (&'static str, Vec<String>, Value) {
        let (region, account) = (&self.settings.region, &self.settings.account);
        let request_id = uuid_text((event.id.1, event.id.0));
        match event.fact {
            Fact::State { instance, state } => (
                "EC2 Instance State-change Notification",
                vec![format!("arn:aws:ec2:{region}:{account}:instance/{instance}")],
                json!({"instance-id": instance, "state": state.name()}),
            ),
            Fact::Warning { instance, zone } => (
                "EC2 Spot Instance Interruption Warning",
                vec![format!("arn:aws:ec2:{zone}:instance/{instance}")],
                json!({"instance-id": instance, "instance-action": "terminate"}),
            ),
            Fact::Rebalance { instance } => (
                "EC2 Instance Rebalance Recommendation",
                vec![format!("arn:aws:ec2:{region}:{account}:instance/{instance}")],
                json!({"instance-id": instance}),
            ),
            Fact::Snapshot { snapshot, volume, started, failed } => {
                let arn = storage_arn(region, "snapshot", &snapshot);
                let detail = json!({
                    "event": "createSnapshot",
                    "result": if failed { "failed" } else { "succeeded" },
                    "cause": "",
                    "request-id": "",
                    "snapshot_id": arn,
                    "source": storage_arn(region, "volume", &volume),
                    "startTime": seconds(started),
                    "endTime": seconds(event.time),
                });
                ("EBS Snapshot Notification", vec![arn], detail)
            }
            Fact::Snapshots { parts, started } => {
                let (arns, detail) = completion(region, &parts, started, event.time);
                ("EBS Multi-Volume Snapshots Completion Status", arns, detail)
            }
            Fact::Image { image, state, error } => (
                "EC2 AMI State Change",
                vec![format!("arn:aws:ec2:{region}::image/{image}")],
                json!({"RequestId": request_id, "ImageId": image, "State": state, "ErrorMessage": error}),
            ),
            Fact::Volume { volume, event: name, result } => (
                "EBS Volume Notification",
                vec![format!("arn:aws:ec2:{region}:{account}:volume/{volume}")],
                json!({"event": name, "result": result, "cause": "", "request-id": request_id}),
            ),
        }
    }
}

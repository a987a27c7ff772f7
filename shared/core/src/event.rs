//! The events of AWS that wake Perennial, read from their JSON.
//!
//! An event only says *which* resource to look at; nothing is decided from its body, the interruption
//! notice aside, which no read of EC2 shows. The ARNs of these events are odd (the spot warning carries a
//! zone where the Region belongs and no account, snapshot ARNs have their Region after two colons), so
//! ids are taken from `detail` or from behind the last `/`, and checked by their prefix.

use jiff::Timestamp;
use serde_json::Value;

use crate::ids::{ImageId, InstanceId, SnapshotId, VolumeId};
use crate::shown::bounded;

/// An event that Perennial acts on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AwsEvent {
    /// EC2 takes the instance back in two minutes.
    SpotInterruption {
        /// Which instance.
        instance: InstanceId,
        /// `terminate`, `stop` or `hibernate`.
        action: String,
    },
    /// The instance is at elevated risk.
    Rebalance {
        /// Which instance.
        instance: InstanceId,
    },
    /// The instance changed its state.
    InstanceState {
        /// Which instance.
        instance: InstanceId,
        /// The state it reached.
        state: String,
    },
    /// A snapshot ended, or all of a set taken of one instance at one moment; well or badly.
    Snapshot {
        /// Which snapshots, with the volume of each where the event names it; never none.
        snapshots: Vec<(SnapshotId, Option<VolumeId>)>,
        /// Whether all of them succeeded.
        succeeded: bool,
    },
    /// An image changed its state.
    Image {
        /// Which image.
        image: ImageId,
        /// The state it reached.
        state: String,
    },
    /// A kind that Perennial does not act on.
    Other {
        /// Its `detail-type`.
        detail_type: String,
    },
}

/// An event with its envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// EventBridge's id of the event.
    pub id: String,
    /// When it happened.
    pub time: Timestamp,
    /// What happened.
    pub event: AwsEvent,
}

/// Why an event could not be read. It is logged once and dropped: reading it again would not help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event {id}: {path}: {problem}")]
pub struct Malformed {
    /// The event's id, or `without id`.
    pub id: String,
    /// Where in the event.
    pub path: &'static str,
    /// What is wrong there.
    pub problem: String,
}

/// Reads an event.
///
/// # Errors
/// [`Malformed`] with the place and the value, if what this kind of event must have is not there.
pub fn parse(json: &Value) -> Result<Envelope, Malformed> {
    let id = id_of(json);
    let reader = Reader { json, id: &id };
    let time = reader.text("time", &json["time"])?;
    let time = time.parse().map_err(|e: jiff::Error| {
        reader.bad(
            "time",
            format!("{} is not an RFC 3339 time: {}", shown(&json["time"]), bounded(e.to_string(), SHOWN)),
        )
    })?;
    let source = reader.text("source", &json["source"])?;
    let detail_type = reader.text("detail-type", &json["detail-type"])?;
    let event = match (source, detail_type) {
        ("aws.ec2", "EC2 Spot Instance Interruption Warning") => AwsEvent::SpotInterruption {
            instance: reader.instance()?,
            action: reader.text("detail.instance-action", &json["detail"]["instance-action"])?.to_owned(),
        },
        ("aws.ec2", "EC2 Instance Rebalance Recommendation") => {
            AwsEvent::Rebalance { instance: reader.instance()? }
        }
        ("aws.ec2", "EC2 Instance State-change Notification") => AwsEvent::InstanceState {
            instance: reader.instance()?,
            state: reader.text("detail.state", &json["detail"]["state"])?.to_owned(),
        },
        ("aws.ec2", "EBS Snapshot Notification") => reader.snapshot()?,
        ("aws.ec2", "EBS Multi-Volume Snapshots Completion Status") => reader.snapshots()?,
        ("aws.ec2", "EC2 AMI State Change") => AwsEvent::Image {
            image: reader.id_of("detail.ImageId", &json["detail"]["ImageId"], ImageId::parse)?,
            state: reader.text("detail.State", &json["detail"]["State"])?.to_owned(),
        },
        _ => AwsEvent::Other { detail_type: detail_type.to_owned() },
    };
    Ok(Envelope { id, time, event })
}

struct Reader<'a> {
    json: &'a Value,
    id: &'a str,
}

impl<'a> Reader<'a> {
    fn bad(&self, path: &'static str, problem: String) -> Malformed {
        Malformed { id: self.id.to_owned(), path, problem }
    }

    fn text(&self, path: &'static str, value: &'a Value) -> Result<&'a str, Malformed> {
        value.as_str().ok_or_else(|| self.bad(path, format!("expected text, found {}", shown(value))))
    }

    /// Reads an id, alone or at the end of an ARN.
    fn id_of<T>(
        &self,
        path: &'static str,
        value: &'a Value,
        parse: fn(&str) -> Option<T>,
    ) -> Result<T, Malformed> {
        let text = self.text(path, value)?;
        let id = text.rsplit('/').next().unwrap_or(text);
        parse(id).ok_or_else(|| self.bad(path, format!("{} is not an id of this kind", shown(value))))
    }

    fn instance(&self) -> Result<InstanceId, Malformed> {
        self.id_of("detail.instance-id", &self.json["detail"]["instance-id"], InstanceId::parse)
    }

    fn snapshot(&self) -> Result<AwsEvent, Malformed> {
        let detail = &self.json["detail"];
        if !matches!(self.text("detail.event", &detail["event"])?.trim(), "createSnapshot") {
            return Ok(AwsEvent::Other { detail_type: "EBS Snapshot Notification".to_owned() });
        }
        let snapshot = self.id_of("detail.snapshot_id", &detail["snapshot_id"], SnapshotId::parse)?;
        // A failed snapshot's source may be missing; the id alone is enough to find its node.
        let volume = self.id_of("detail.source", &detail["source"], VolumeId::parse).ok();
        let succeeded = self.text("detail.result", &detail["result"])? == "succeeded";
        Ok(AwsEvent::Snapshot { snapshots: vec![(snapshot, volume)], succeeded })
    }

    fn snapshots(&self) -> Result<AwsEvent, Malformed> {
        let detail = &self.json["detail"];
        if self.text("detail.event", &detail["event"])?.trim() != "createSnapshots" {
            let detail_type = "EBS Multi-Volume Snapshots Completion Status".to_owned();
            return Ok(AwsEvent::Other { detail_type });
        }
        let parts = detail["snapshots"].as_array().filter(|parts| !parts.is_empty()).ok_or_else(|| {
            let found = shown(&detail["snapshots"]);
            self.bad("detail.snapshots", format!("expected a list of snapshots, found {found}"))
        })?;
        let part = |part: &'a Value| {
            let snapshot =
                self.id_of("detail.snapshots.snapshot_id", &part["snapshot_id"], SnapshotId::parse)?;
            let volume = self.id_of("detail.snapshots.source", &part["source"], VolumeId::parse).ok();
            Ok((snapshot, volume))
        };
        let succeeded = self.text("detail.result", &detail["result"])? == "succeeded";
        Ok(AwsEvent::Snapshot { snapshots: parts.iter().map(part).collect::<Result<_, _>>()?, succeeded })
    }
}

/// The id of an event, as it may be shown in a log: those of EventBridge have 36 characters.
pub fn id_of(json: &Value) -> String {
    bounded(json["id"].as_str().unwrap_or("without id"), SHOWN)
}

/// So much of a value is shown in a log, so that a hostile event cannot flood it.
const SHOWN: usize = 80;

fn shown(value: &Value) -> String {
    bounded(value.to_string(), SHOWN)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn warning() -> Value {
        json!({"id": "e1", "time": "2026-11-20T10:00:00Z", "source": "aws.ec2",
            "detail-type": "EC2 Spot Instance Interruption Warning",
            "resources": ["arn:aws:ec2:us-east-2a:instance/i-1234567890abcdef0"],
            "detail": {"instance-id": "i-1234567890abcdef0", "instance-action": "terminate"}})
    }

    #[test]
    fn a_missing_or_wrong_part_is_named_with_its_place() {
        for (pointer, value, place) in [
            ("/time", json!("noon"), "time"),
            ("/time", json!(7), "time"),
            ("/source", Value::Null, "source"),
            ("/detail-type", json!([]), "detail-type"),
            ("/detail/instance-id", json!("vol-1"), "detail.instance-id"),
            ("/detail/instance-id", json!("i-../../x y"), "detail.instance-id"),
            ("/detail/instance-action", json!(null), "detail.instance-action"),
        ] {
            let mut event = warning();
            *event.pointer_mut(pointer).unwrap() = value;
            let error = parse(&event).unwrap_err();
            assert_eq!((error.path, error.id.as_str()), (place, "e1"), "{pointer}");
        }
        assert_eq!(parse(&json!("nonsense")).unwrap_err().id, "without id");
    }

    #[test]
    fn a_set_is_read_with_all_its_parts_or_not_at_all() {
        let event = |snapshots: Value| {
            parse(&json!({"id": "e1", "time": "2026-11-20T10:00:00Z", "source": "aws.ec2",
                "detail-type": "EBS Multi-Volume Snapshots Completion Status",
                "detail": {"event": "createSnapshots", "result": "failed", "snapshots": snapshots}}))
        };
        let one = json!({"snapshot_id": "arn:aws:ec2::us-east-1:snapshot/snap-1", "status": "error"});
        let AwsEvent::Snapshot { snapshots, succeeded } = event(json!([one])).unwrap().event else {
            panic!()
        };
        assert_eq!((snapshots, succeeded), (vec![(SnapshotId::new("snap-1"), None)], false));
        for none in [json!(null), json!([]), json!({}), json!("snap-1")] {
            assert_eq!(event(none).unwrap_err().path, "detail.snapshots");
        }
        let odd = json!({"snapshot_id": "vol-1"});
        assert_eq!(event(json!([one, odd])).unwrap_err().path, "detail.snapshots.snapshot_id");
    }

    #[test]
    fn a_hostile_value_is_shown_bounded() {
        let mut event = warning();
        event["detail"]["instance-id"] = json!("ü".repeat(100_000));
        assert!(parse(&event).unwrap_err().to_string().len() < 400);
        event["id"] = json!("ü".repeat(100_000));
        event["time"] = json!("ü".repeat(100_000));
        assert!(parse(&event).unwrap_err().to_string().len() < 800);
    }

    #[test]
    fn foreign_kinds_are_not_errors() {
        let mut event = warning();
        event["source"] = json!("aws.ec2fleet");
        assert!(matches!(parse(&event).unwrap().event, AwsEvent::Other { .. }));
    }
}

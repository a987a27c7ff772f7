//! Metrics, in CloudWatch's embedded format: a line of the log that CloudWatch reads as figures.
//!
//! It costs no call. What is a metric is billed as one, so only what an alarm needs is; the rest of the line
//! is for queries over the log.

use jiff::{SignedDuration, Timestamp};
use perennial_engine::backups::BackupTick;
use perennial_engine::snapshots::SnapshotTick;
use serde_json::{Value, json};

/// The namespace of all metrics; their one dimension is the deployment.
const NAMESPACE: &str = "Perennial";

/// The figures of a snapshot pass; `None` if there was no node to tell of.
pub(crate) fn of_snapshots(tick: &SnapshotTick, deployment: &str, now: Timestamp) -> Option<Value> {
    let metrics = [("RecoveryPointAgeSeconds", tick.recovery_point_age?), ("SnapshotLagSeconds", tick.lag)];
    let rest = json!({
        "nodes": tick.nodes,
        "taken": tick.taken,
        "deleted": tick.dropped,
        "left": tick.left,
        "failed": tick.failed,
        "held": tick.held,
        "refused": tick.refused,
        "throttled": tick.throttled,
    });
    Some(line(metrics, ("snapshots", rest), deployment, now))
}

/// The figures of a pass over image backups; `None` if no group has them on.
pub(crate) fn of_backups(tick: &BackupTick, deployment: &str, now: Timestamp) -> Option<Value> {
    let metrics = [("BackupAgeSeconds", tick.age?), ("BackupLagSeconds", tick.lag)];
    let rest = json!({
        "groups": tick.groups,
        "created": tick.created,
        "failed": tick.failed,
        "removed": tick.removed,
        "left": tick.left,
    });
    Some(line(metrics, ("backups", rest), deployment, now))
}

/// A line with durations in seconds as metrics, and what else is to be found in the log.
fn line(
    metrics: [(&str, SignedDuration); 2],
    (key, rest): (&str, Value),
    deployment: &str,
    now: Timestamp,
) -> Value {
    let announced = metrics.map(|(name, _)| json!({"Name": name, "Unit": "Seconds"}));
    let mut line = json!({
        "_aws": {
            "Timestamp": now.as_millisecond(),
            "CloudWatchMetrics": [
                {"Namespace": NAMESPACE, "Dimensions": [["Deployment"]], "Metrics": announced}
            ],
        },
        "Deployment": deployment,
    });
    for (name, duration) in metrics {
        line[name] = json!(duration.as_secs());
    }
    line[key] = rest;
    line
}

/// Writes them where CloudWatch finds them.
#[expect(
    clippy::print_stdout,
    reason = "the log of a function is its standard output, and this line is no message"
)]
pub(crate) fn tell(figures: &Value) {
    println!("{figures}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_that_is_announced_is_in_the_line() {
        let tick = SnapshotTick {
            nodes: 3,
            recovery_point_age: Some(SignedDuration::from_secs(321)),
            lag: SignedDuration::from_secs(7),
            ..SnapshotTick::default()
        };
        let told = of_snapshots(&tick, "prod", Timestamp::from_second(1_790_000_000).unwrap()).unwrap();
        assert_eq!(told["_aws"]["Timestamp"], 1_790_000_000_000_i64);
        let announced = &told["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(announced["Namespace"], "Perennial");
        assert_eq!(announced["Dimensions"], json!([["Deployment"]]));
        assert_eq!(told["Deployment"], "prod");
        let values = announced["Metrics"].as_array().unwrap().iter();
        let values: Vec<_> = values.map(|metric| told[metric["Name"].as_str().unwrap()].as_i64()).collect();
        assert_eq!(values, [Some(321), Some(7)]);
    }

    #[test]
    fn the_age_of_backups_is_told_once_a_group_has_them_on() {
        let tick = BackupTick {
            groups: 1,
            age: Some(SignedDuration::from_secs(640)),
            lag: SignedDuration::from_secs(40),
            ..BackupTick::default()
        };
        let now = Timestamp::from_second(1_790_000_000).unwrap();
        let told = of_backups(&tick, "prod", now).unwrap();
        assert_eq!((&told["BackupAgeSeconds"], &told["BackupLagSeconds"]), (&json!(640), &json!(40)));
        assert_eq!(told["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array().unwrap().len(), 2);
        assert_eq!(of_backups(&BackupTick::default(), "prod", now), None);
    }

    #[test]
    fn without_a_node_nothing_is_told() {
        let now = Timestamp::from_second(1_790_000_000).unwrap();
        assert_eq!(of_snapshots(&SnapshotTick::default(), "prod", now), None);
    }
}

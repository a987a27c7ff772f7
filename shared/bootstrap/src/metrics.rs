//! Metrics, in CloudWatch's embedded format: a line of the log that CloudWatch reads as figures.
//!
//! It costs no call. What is a metric is billed as one, so only what an alarm needs is; the rest of the line
//! is for queries over the log.

use jiff::{SignedDuration, Timestamp};
use perennial_engine::backups::BackupTick;
use perennial_engine::passes::Tick;
use perennial_engine::snapshots::SnapshotTick;
use serde_json::{Value, json};

/// The namespace of all metrics; their one dimension is the deployment.
const NAMESPACE: &str = "Perennial";

/// The figures of a snapshot pass; `None` if there was no node to tell of.
pub(crate) fn of_snapshots(tick: &SnapshotTick, deployment: &str, now: Timestamp) -> Option<Value> {
    let metrics = [
        seconds("RecoveryPointAgeSeconds", tick.recovery_point_age?),
        seconds("SnapshotLagSeconds", tick.lag),
    ];
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
    let metrics = [seconds("BackupAgeSeconds", tick.age?), seconds("BackupLagSeconds", tick.lag)];
    let rest = json!({
        "groups": tick.groups,
        "created": tick.created,
        "failed": tick.failed,
        "removed": tick.removed,
        "left": tick.left,
    });
    Some(line(metrics, ("backups", rest), deployment, now))
}

/// The figures of all nodes. They are told without a node too: that none is missed is news as well.
pub(crate) fn of_nodes(tick: &Tick, deployment: &str, now: Timestamp) -> Value {
    let census = &tick.census;
    let blocked = ("BlockedNodes", "Count", i64::try_from(census.blocked_nodes()).unwrap_or(i64::MAX));
    let metrics = [blocked, seconds("RecoverySeconds", census.recovery(now))];
    let rest = json!({
        "phases": census.phases,
        "blocked": census.blocked,
        "away": census.away,
        "longestAway": census.longest.as_ref().map(|(node, _)| node),
        "unread": census.unread,
        "configured": tick.configured,
        "driven": tick.driven,
        "failed": tick.failed,
        "cutShort": tick.cut_short,
    });
    line(metrics, ("nodes", rest), deployment, now)
}

/// A metric: its name, its unit as CloudWatch calls it, and its value.
type Metric = (&'static str, &'static str, i64);

fn seconds(name: &'static str, duration: SignedDuration) -> Metric {
    (name, "Seconds", duration.as_secs())
}

/// A line with metrics, and what else is to be found in the log.
fn line(metrics: [Metric; 2], (key, rest): (&str, Value), deployment: &str, now: Timestamp) -> Value {
    let announced = metrics.map(|(name, unit, _)| json!({"Name": name, "Unit": unit}));
    let mut line = json!({
        "_aws": {
            "Timestamp": now.as_millisecond(),
            "CloudWatchMetrics": [
                {"Namespace": NAMESPACE, "Dimensions": [["Deployment"]], "Metrics": announced}
            ],
        },
        "Deployment": deployment,
    });
    for (name, _, value) in metrics {
        line[name] = json!(value);
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
    use perennial_core::ids::NodeName;
    use perennial_core::phase::Phase;
    use perennial_core::record::Standing;

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
    fn blocked_nodes_and_the_longest_recovery_are_told_every_minute() {
        let now = Timestamp::from_second(1_790_000_000).unwrap();
        let standing = |blocked: Option<&str>, missed_since| Standing {
            phase: Phase::Capturing,
            blocked: blocked.map(str::to_owned),
            missed_since,
        };
        let mut tick = Tick { driven: 2, ..Tick::default() };
        tick.census.count(&NodeName::parse("a").unwrap(), None);
        let away = standing(Some("volume-stuck"), Some(now - SignedDuration::from_secs(700)));
        tick.census.count(&NodeName::parse("b").unwrap(), Some(&away));
        let told = of_nodes(&tick, "prod", now);
        assert_eq!((&told["BlockedNodes"], &told["RecoverySeconds"]), (&json!(1), &json!(700)));
        let announced = json!([{"Name": "BlockedNodes", "Unit": "Count"}, {"Name": "RecoverySeconds", "Unit": "Seconds"}]);
        assert_eq!(told["_aws"]["CloudWatchMetrics"][0]["Metrics"], announced);
        assert_eq!(told["nodes"]["phases"], json!({"running": 1, "capturing": 1}));
        assert_eq!(told["nodes"]["blocked"], json!({"volume-stuck": 1}));
        assert_eq!((&told["nodes"]["longestAway"], &told["nodes"]["driven"]), (&json!("b"), &json!(2)));
        let nobody = of_nodes(&Tick::default(), "prod", now);
        assert_eq!((&nobody["BlockedNodes"], &nobody["RecoverySeconds"]), (&json!(0), &json!(0)));
    }

    #[test]
    fn without_a_node_nothing_is_told_of_snapshots() {
        let now = Timestamp::from_second(1_790_000_000).unwrap();
        assert_eq!(of_snapshots(&SnapshotTick::default(), "prod", now), None);
    }
}

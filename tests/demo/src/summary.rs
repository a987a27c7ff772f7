//! The numbers at the end: how long the node was away, what it cost in calls.
//!
//! Pure. Says only what was measured, or set as a latency of the local cloud; a number that was not seen is left out.

use jiff::Timestamp;
use perennial_cloud::model::Settings;
use serde_json::Value;

use crate::render::grouped;

/// Moments of the interruption, in cloud time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moments {
    /// EC2 gave notice.
    pub(crate) noticed: Option<Timestamp>,
    /// The guest was first seen unable to write.
    pub(crate) shutting_down: Option<Timestamp>,
    /// The instance was first seen `terminated`.
    pub(crate) terminated: Option<Timestamp>,
    /// The record first said `running` again.
    pub(crate) running: Option<Timestamp>,
    /// The final snapshot's own times.
    pub(crate) final_snapshot: Option<(Timestamp, Timestamp)>,
    /// Whether data volumes were attached once the next instance ran.
    pub(crate) attached: bool,
}

fn between(from: Option<Timestamp>, to: Option<Timestamp>) -> Option<f64> {
    Some(to?.duration_since(from?).as_secs_f64())
}

/// How long the node was away; each line a label and a sentence.
pub(crate) fn downtime(moments: &Moments, cloud: &Settings, speed: f64) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(all) = between(moments.noticed, moments.running) {
        let usable = between(moments.noticed, moments.shutting_down)
            .map(|usable| format!("; the guest worked through {usable:.0} s of it"))
            .unwrap_or_default();
        lines.push(format!("notice to running again      {all:.0} s of cloud time{usable}"));
    }
    let Some(down) = between(moments.terminated, moments.running) else { return lines };
    let mut line = format!("terminated to running again  {down:.0} s of cloud time");
    if let Some((start, end)) = moments.final_snapshot {
        let copy = end.duration_since(start).as_secs_f64();
        let release = cloud.release_volume.max(cloud.release_interface).as_secs_f64();
        let (image, boot) = (cloud.register_image.as_secs_f64(), cloud.boot.as_secs_f64());
        let attach = if moments.attached { cloud.attach_volume.as_secs_f64() } else { 0.0 };
        let aws = release + copy + image + boot + attach;
        let attach = if moments.attached { format!(", attach {attach:.0}") } else { String::new() };
        line.push_str(&format!(
            ": EC2 takes {aws:.0} s (release {release:.0}, final snapshot {copy:.0}, image {image:.0}, launch \
             {boot:.0}{attach}), Perennial adds {:.0} s",
            (down - aws).max(0.0)
        ));
        lines.push(line);
        lines.push(format!(
            "                             (50 ms of its real work count as {:.1} s at this speed)",
            speed * 0.05
        ));
        return lines;
    }
    lines.push(line);
    lines
}

/// How long a group was away, if that was seen.
pub(crate) fn away(noticed: Option<Timestamp>, returned: Option<Timestamp>) -> Vec<String> {
    let away = between(noticed, returned);
    let line = |away| {
        format!("notice to all running again  {away:.0} s of cloud time, two minutes of it the notice")
    };
    away.map(line).into_iter().collect()
}

/// Calls of the functions, by service, and their invocations.
pub(crate) fn effort(calls: &Value, invocations: &Value) -> String {
    let list = |value: &Value, name: &str| value[name].as_array().cloned().unwrap_or_default();
    // An operator's calls, such as those of the demonstration itself, name no function.
    let calls: Vec<Value> =
        list(calls, "calls").into_iter().filter(|call| !call["function"].is_null()).collect();
    let of = |service: &str| calls.iter().filter(|call| call["service"] == service).count() as u64;
    let invocations = list(invocations, "invocations");
    let failed =
        invocations.iter().filter(|it| !it["outcome"].is_null() && it["outcome"] != "ok").count() as u64;
    format!(
        "work of the functions        {} invocations ({} failed), calls: {} EC2, {} DynamoDB, {} EventBridge",
        grouped(invocations.len() as u64),
        grouped(failed),
        grouped(of("ec2")),
        grouped(of("dynamodb")),
        grouped(of("events")),
    )
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use serde_json::json;

    use super::*;

    fn at(second: i64) -> Option<Timestamp> {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        Some(start + SignedDuration::from_secs(second))
    }

    #[test]
    fn the_share_of_ec2_is_its_latencies_and_the_rest_is_ours() {
        let moments = Moments {
            noticed: at(0),
            shutting_down: at(120),
            terminated: at(145),
            running: at(180),
            final_snapshot: at(149).zip(at(154)),
            attached: false,
        };
        let lines = downtime(&moments, &Settings::default(), 20.0);
        assert_eq!(
            lines,
            [
                "notice to running again      180 s of cloud time; the guest worked through 120 s of it",
                "terminated to running again  35 s of cloud time: EC2 takes 28 s (release 3, final snapshot 5, \
                 image 8, launch 12), Perennial adds 7 s",
                "                             (50 ms of its real work count as 1.0 s at this speed)",
            ]
        );
        let attached = downtime(&Moments { attached: true, ..moments }, &Settings::default(), 20.0);
        let share =
            "EC2 takes 32 s (release 3, final snapshot 5, image 8, launch 12, attach 4), Perennial adds 3 s";
        assert!(attached[1].contains(share), "{}", attached[1]);
    }

    #[test]
    fn what_was_not_seen_is_left_out() {
        assert_eq!(downtime(&Moments::default(), &Settings::default(), 1.0), Vec::<String>::new());
        let moments = Moments { terminated: at(0), running: at(9), ..Moments::default() };
        assert_eq!(
            downtime(&moments, &Settings::default(), 1.0),
            ["terminated to running again  9 s of cloud time"]
        );
    }

    #[test]
    fn only_calls_of_functions_are_counted() {
        let calls = json!({"calls": [
            {"function": null, "service": "ec2"}, {"function": "reconcile", "service": "ec2"},
            {"function": "reconcile", "service": "dynamodb"}, {"function": "storage-state", "service": "dynamodb"},
        ]});
        let invocations =
            json!({"invocations": [{"outcome": "ok"}, {"outcome": null}, {"outcome": "error"}]});
        assert_eq!(
            effort(&calls, &invocations),
            "work of the functions        3 invocations (1 failed), calls: 1 EC2, 2 DynamoDB, 0 EventBridge"
        );
    }
}

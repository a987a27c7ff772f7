//! Time, replay, events, request limits, read lag.

use super::*;

#[test]
fn the_same_seed_and_calls_replay_exactly_whatever_the_steps_of_time() {
    let story = |step: i64| {
        let mut w = world();
        let (instance, root) = w.running();
        w.cloud.interrupt(&instance, true).unwrap();
        w.snapshot(&root);
        for _ in 0..(240 / step) {
            w.pass(step);
        }
        let states: Vec<Volume> = w.cloud.volumes().cloned().collect();
        (w.cloud.take_events(), states, w.cloud.now())
    };
    assert_eq!(story(1), story(240));
}

#[test]
fn next_change_names_the_moment_something_happens() {
    let mut w = world();
    let request = w.request();
    let id = w.launch(&request).id;
    let at = w.cloud.next_change().unwrap();
    assert_eq!(at, start() + SignedDuration::from_secs(12));
    w.cloud.advance(at - SignedDuration::from_nanos(1));
    assert_eq!(w.state(&id), InstanceState::Pending);
    w.cloud.advance(at);
    assert_eq!(w.state(&id), InstanceState::Running);
    w.cloud.advance(start());
    assert_eq!((w.cloud.now(), w.cloud.next_change()), (at, None));
}

#[test]
fn events_have_the_documented_shapes() {
    let mut w = world();
    let (instance, root) = w.running();
    w.cloud.take_events();
    w.cloud.interrupt(&instance, true).unwrap();
    let snapshot = w.snapshot(&root);
    w.pass(4);
    w.cloud.recommend_rebalance(&instance).unwrap();
    let events = w.cloud.take_events();
    let rebalance = &events[2];
    assert_eq!(rebalance["detail-type"], "EC2 Instance Rebalance Recommendation");
    assert_eq!(rebalance["resources"][0], format!("arn:aws:ec2:us-east-1:123456789012:instance/{instance}"));
    assert_eq!(rebalance["detail"], serde_json::json!({"instance-id": instance}));
    let warning = &events[0];
    assert_eq!(warning["detail-type"], "EC2 Spot Instance Interruption Warning");
    assert_eq!(warning["source"], "aws.ec2");
    assert_eq!(warning["time"], "2026-11-20T10:00:12Z");
    assert_eq!(warning["resources"][0], format!("arn:aws:ec2:us-east-1a:instance/{instance}"));
    assert_eq!(
        warning["detail"],
        serde_json::json!({"instance-id": instance, "instance-action": "terminate"})
    );
    let done = &events[1];
    let arn = format!("arn:aws:ec2::us-east-1:snapshot/{}", snapshot.id);
    assert_eq!(done["resources"][0], arn);
    assert_eq!(
        done["detail"],
        serde_json::json!({
            "event": "createSnapshot", "result": "succeeded", "cause": "", "request-id": "",
            "snapshot_id": arn, "source": format!("arn:aws:ec2::us-east-1:volume/{root}"),
            "startTime": "2026-11-20T10:00:12Z", "endTime": "2026-11-20T10:00:16Z",
        })
    );
    let id = done["id"].as_str().unwrap();
    assert_eq!((id.len(), id.matches('-').count()), (36, 4));
    assert!(w.cloud.take_events().is_empty());
}

#[test]
fn request_buckets_empty_and_refill() {
    let mut w = world_with(Settings::default());
    let request = w.request();
    for _ in 0..5 {
        w.launch(&request);
    }
    let error = w.cloud.run_instances(&request).unwrap_err();
    assert_eq!((error.code.as_ref(), error.status), ("RequestLimitExceeded", 503));
    // Other actions have their own bucket.
    w.cloud.describe_instances(&Describe::all()).unwrap();
    w.pass(1);
    w.launch(&request);
    w.launch(&request);
    refused(w.cloud.run_instances(&request), "RequestLimitExceeded");
    // Unfiltered describes draw from the small bucket, filtered ones from the large.
    let narrow = Describe::filter("instance-state-name", "running");
    while w.cloud.describe_instances(&Describe::all()).is_ok() {}
    w.cloud.describe_instances(&narrow).unwrap();
}

#[test]
fn what_was_just_made_is_not_seen_within_the_read_lag() {
    let lag = SignedDuration::from_secs(2);
    let mut w = world_with(Settings { throttling: false, read_lag: lag, ..Settings::default() });
    let mut request = w.request();
    request.client_token = Some("t".to_owned());
    let instance = w.launch(&request);
    let ids = Describe::ids([&instance.id]);
    refused(w.cloud.describe_instances(&ids), "InvalidInstanceID.NotFound");
    assert!(w.cloud.describe_instances(&Describe::all()).unwrap().items.is_empty());
    refused(w.cloud.terminate_instances(std::slice::from_ref(&instance.id)), "InvalidInstanceID.NotFound");
    // The token still finds it.
    assert_eq!(w.launch(&request).id, instance.id);
    w.pass(2);
    assert_eq!(w.cloud.describe_instances(&ids).unwrap().items.len(), 1);
}

//! What an operator should know of an edit though nothing is wrong with it.
//!
//! Pure. A notice says what an attribute does not do, or does not do yet; it never decides anything.

use jiff::Timestamp;

use super::transitions::{begins_anew, honoured, is_missing_data, is_over};
use super::{DataMode, DesiredState, NodeConfig, Retained};
use crate::phase::Phase;
use crate::record::{Accepted, Record};

/// What to tell of an edit, before it is put in force; `record` is as the edit finds it.
pub fn notices(record: &Record, accepted: &Accepted, now: Timestamp) -> Vec<String> {
    let new = &accepted.config;
    let mut notices = Vec::new();
    if record.phase.is_final() {
        notices.extend(of_the_ended(record, new));
        if begins_anew(record, new.desired_state) {
            notices.extend(of_retention(record, new, now));
        }
        return notices;
    }
    notices.extend(of_recycle(record, new));
    notices.extend(of_restore(record, new));
    notices.extend(of_launch(record, new));
    of_data(record, new, &mut notices);
    of_network(record, new, &mut notices);
    notices.extend(of_retention(record, new, now));
    notices.extend(of_release(record, new));
    notices
}

fn of_the_ended(record: &Record, new: &NodeConfig) -> Option<String> {
    let what = if record.goal == DesiredState::Released { "released" } else { "purged" };
    match (record.phase, new.desired_state) {
        (Phase::Gone, DesiredState::Running | DesiredState::Paused) => {
            Some(format!("the node was {what}: this is a new life, which has nothing of the one before it"))
        }
        (Phase::Gone, DesiredState::Deallocated) => {
            Some("desiredState: the node was purged: nothing is left to deallocate".to_owned())
        }
        (Phase::Gone, DesiredState::Released) => Some(format!(
            "desiredState: the node was released; left as they were: {}",
            listed(&record.handed_over)
        )),
        (_, DesiredState::Running | DesiredState::Paused) => {
            Some(format!("the node is being {what}, which cannot be undone: a new life begins after it"))
        }
        (_, DesiredState::Deallocated | DesiredState::Released) => {
            Some(format!("the node is being {what}, which cannot be undone"))
        }
    }
}

fn of_recycle(record: &Record, new: &NodeConfig) -> Option<String> {
    let is_raised = new.recycle > record.config().recycle;
    let has_none = record.phase.is_resting();
    let wants_none = match new.desired_state {
        DesiredState::Running => false,
        DesiredState::Paused | DesiredState::Deallocated | DesiredState::Released => true,
    };
    (is_raised && (has_none || wants_none)).then(|| {
        "recycle: there is no instance to replace: it takes effect with the next launch anyway".to_owned()
    })
}

fn of_restore(record: &Record, new: &NodeConfig) -> Option<String> {
    let value = new.restore_from.as_ref()?;
    if honoured(record, new).is_some() || record.restore.as_ref() == Some(value) {
        return None;
    }
    let why = if record.restored.as_ref() == Some(value) {
        format!("{value} has been used")
    } else if is_missing_data(record) {
        format!("{value} is not used: it was set before the node was blocked with data-missing")
    } else {
        format!("{value} is not used: the node is not blocked with data-missing")
    };
    Some(format!(
        "restoreFrom: {why}; each value is used once: to use it again, remove it, then set it while the node is blocked"
    ))
}

fn of_launch(record: &Record, new: &NodeConfig) -> Vec<String> {
    let old = record.config();
    let mut notices = Vec::new();
    let (has_instance, keeps_root) = (record.instance.is_some(), new.persist.root.is_some());
    // A root that has once been kept is what the next instance starts from.
    let has_run = has_instance || record.image.is_some() || !record.finals.is_empty();
    let image_is_void = keeps_root && has_run && old.launch.image != new.launch.image;
    let mut rest = old.launch.clone();
    if image_is_void {
        rest.image.clone_from(&new.launch.image);
    }
    if has_instance && rest != new.launch {
        notices.push("launch: takes effect at the next launch, not on the present instance".to_owned());
    }
    if image_is_void {
        notices
            .push("launch.image: has no effect on a node that has run while persist.root is on".to_owned());
    }
    if has_run && old.persist.root.is_some() && !keeps_root {
        let notice = "persist.root: taken out: the next instance starts from the base image, without the node's data; \
                      its root volume, image and snapshots are kept aside until the node is purged or released";
        notices.push(notice.to_owned());
    }
    notices
}

fn of_data(record: &Record, new: &NodeConfig, notices: &mut Vec<String>) {
    let old = record.config();
    if let (Some(root), Some(data), Some(points)) =
        (&new.persist.root, &new.persist.data, new.persist.points())
        && ((root.snapshot_every, root.keep) != (data.snapshot_every, data.keep))
        && old.persist != new.persist
    {
        notices.push(format!(
            "persist: root and data volumes are snapshotted together, every {} s, and {} of these sets are kept",
            points.every.as_secs(),
            points.keep
        ));
    }
    if record.data.is_empty() {
        return;
    }
    let listed: Vec<String> = record.data.iter().map(|it| it.volume_id.to_string()).collect();
    if new.persist.data.is_none() {
        notices.push(format!(
            "persist.data: taken out: {} lose Perennial's tags, stay as they are and do not come back with the node",
            listed.join(", ")
        ));
        return;
    }
    if old.persist.data.as_ref().map(|data| data.mode) != new.persist.data.as_ref().map(|data| data.mode) {
        notices.push("persist.data.mode: takes effect when the instance ends".to_owned());
    }
    let is_bound = record.network.is_none()
        && new.persist.data.as_ref().is_some_and(|data| data.mode == DataMode::Reattach);
    if is_bound && old.launch.subnets != new.launch.subnets {
        let zone = record.data.first().map(|it| it.zone.clone()).unwrap_or_default();
        notices.push(format!(
            "launch.subnets: the data volumes bind the node to {zone}; if no subnet is there, the next instance gets new \
             volumes made from final snapshots, and the old ones go once it is proven"
        ));
    }
}

fn of_network(record: &Record, new: &NodeConfig, notices: &mut Vec<String>) {
    let wanted = new.persist.network.as_ref();
    let Some(kept) = &record.network else {
        if wanted.is_some() && record.instance.is_some() {
            let notice =
                "persist.network: the interface is made, and its address kept, from the next launch on";
            notices.push(notice.to_owned());
        }
        return;
    };
    if wanted.is_none() {
        notices
            .push(format!("persist.network: removed, but {} stays with the node all the same", kept.eni_id));
    } else if wanted.and_then(|n| n.private_ip).is_some_and(|ip| ip != kept.private_ip) {
        notices.push(format!(
            "persist.network.privateIp: the node keeps the address it has, {}",
            kept.private_ip
        ));
    }
    if record.config().launch.subnets != new.launch.subnets {
        notices
            .push(format!("launch.subnets: has no effect while the interface in {} is kept", kept.subnet_id));
    }
}

fn of_retention(record: &Record, new: &NodeConfig, now: Timestamp) -> Vec<String> {
    let mut notices = Vec::new();
    if let Some(since) = is_over(record, new, now) {
        notices.push(format!(
            "retention.after has already passed since {since}: the node is purged at the next tick; put desiredState \
             back to \"running\" to keep it"
        ));
    }
    let deletes = |kind: Retained| new.retention.delete.contains(&kind);
    if deletes(Retained::Snapshots) && !deletes(Retained::Images) {
        let notice = "retention.delete: AWS does not delete a snapshot that an image is made of: without \"images\", \
                      the snapshots behind the kept images are handed over with them";
        notices.push(notice.to_owned());
    }
    notices
}

fn of_release(record: &Record, new: &NodeConfig) -> Option<String> {
    if new.desired_state != DesiredState::Released {
        return None;
    }
    let mut left: Vec<String> = record.instance.iter().map(|i| format!("instance {}", i.id)).collect();
    left.extend(record.root.iter().map(|root| format!("volume {}", root.volume_id)));
    left.extend(record.data.iter().map(|it| format!("volume {}", it.volume_id)));
    left.extend(record.network.iter().map(|network| format!("network interface {}", network.eni_id)));
    left.extend(record.image.iter().filter_map(|i| i.id.as_ref()).map(|id| format!("image {id}")));
    left.extend(
        record.finals.iter().filter_map(|f| f.snapshot_id.as_ref()).map(|id| format!("snapshot {id}")),
    );
    Some(format!(
        "desiredState: managed no longer: Perennial's tags and records of the node go; left as they are, and yours \
         from then on: {}, and the periodic snapshots",
        listed(&left)
    ))
}

fn listed(what: &[String]) -> String {
    if what.is_empty() { "nothing".to_owned() } else { what.join(", ") }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use jiff::SignedDuration;
    use serde_json::{Value, json};

    use super::*;
    use crate::config::transitions::put_in_force;
    use crate::config::transitions::tests::{accepted, missing_data, node, now};
    use crate::ids::{ImageId, InterfaceId, SnapshotId, SubnetId};
    use crate::observation::ImageState;
    use crate::record::{Network, NodeImage};

    fn told(record: &Record, says: Value) -> Vec<String> {
        notices(record, &accepted("h2", says), now() + SignedDuration::from_hours(2))
    }

    fn resting(says: Value) -> Record {
        let mut record = node(Phase::Paused, says);
        record.image = Some(NodeImage {
            id: Some(ImageId::new("ami-9")),
            cycle: 1,
            attempt: 1,
            snapshot_id: SnapshotId::new("snap-9"),
            state: ImageState::Available,
            missing_since: None,
        });
        record.network = Some(Network {
            eni_id: InterfaceId::new("eni-9"),
            private_ip: Ipv4Addr::new(10, 0, 1, 20),
            subnet_id: SubnetId::new("subnet-1"),
            zone: "us-east-1a".into(),
            secondary: Vec::new(),
            ipv6: Vec::new(),
            elastic_ip: None,
            missing_since: None,
        });
        record
    }

    fn launch(image: &str, root: bool) -> Value {
        let mut item =
            json!({"launch": {"template": {"name": "base"}, "image": image}, "persist": {"network": {}}});
        if root {
            item["persist"]["root"] = json!({});
        }
        item
    }

    #[test]
    fn an_edit_without_surprises_is_told_nothing_of() {
        assert_eq!(told(&node(Phase::New, json!({})), json!({"persist": {"root": {}}})), [""; 0]);
        let same = || json!({"persist": {"root": {}, "network": {}}});
        assert_eq!(told(&resting(same()), same()), [""; 0]);
    }

    #[test]
    fn another_base_image_does_nothing_for_a_node_that_has_run_and_keeps_its_root() {
        let found = told(&resting(launch("ami-1", true)), launch("ami-2", true));
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("launch.image: has no effect"), "{found:?}");
        assert_eq!(told(&resting(launch("ami-1", false)), launch("ami-2", false)), [""; 0]);
        assert_eq!(told(&node(Phase::Launching, launch("ami-1", true)), launch("ami-2", true)), [""; 0]);
    }

    #[test]
    fn what_a_kept_interface_binds_is_told() {
        let item = |subnet: &str, network: Value| {
            let launch = json!({"template": {"name": "base"}, "subnets": [subnet]});
            json!({"launch": launch, "persist": network})
        };
        let record = resting(item("subnet-1", json!({"network": {}})));
        let found = told(&record, item("subnet-2", json!({"network": {"privateIp": "10.0.1.21"}})));
        assert_eq!(found.len(), 2);
        assert!(found[0].contains("keeps the address it has, 10.0.1.20"), "{found:?}");
        assert!(found[1].starts_with("launch.subnets: has no effect"), "{found:?}");
        let found = told(&record, item("subnet-1", json!({})));
        assert!(found.len() == 1 && found[0].contains("eni-9 stays"), "{found:?}");
    }

    #[test]
    fn a_recovery_point_that_is_not_used_is_told_with_the_reason() {
        let says = json!({"restoreFrom": "snap-1"});
        let record = node(Phase::Launching, json!({}));
        assert!(told(&record, says.clone())[0].contains("not blocked with data-missing"));
        let mut blocked = missing_data(record);
        assert_eq!(told(&blocked, says.clone()), [""; 0], "it is used");
        put_in_force(&mut blocked, accepted("h2", says.clone()), now());
        assert_eq!(told(&blocked, says.clone()), [""; 0], "it is going to be used");
        blocked.restored = blocked.restore.take();
        let found = told(&blocked, says.clone());
        assert!(found.len() == 1 && found[0].contains("snap-1 has been used; each value is used once"));
        let stale = missing_data(node(Phase::Launching, says.clone()));
        assert!(told(&stale, says)[0].contains("set before the node was blocked"));
    }

    #[test]
    fn recycling_a_node_without_an_instance_is_told_to_be_needless() {
        for (phase, state, is_told) in [
            (Phase::Paused, "paused", true),
            (Phase::Paused, "running", true),
            (Phase::Deallocated, "deallocated", true),
            (Phase::Running, "paused", true),
            (Phase::Running, "running", false),
            (Phase::Launching, "running", false),
        ] {
            let found = told(&node(phase, json!({})), json!({"recycle": 1, "desiredState": state}));
            assert_eq!(found.iter().any(|n| n.starts_with("recycle:")), is_told, "{phase} {state}");
        }
    }

    #[test]
    fn a_retention_that_has_passed_is_told_before_it_is_acted_on() {
        let says = |after: &str| json!({"desiredState": "deallocated", "retention": {"after": after}});
        let mut record = node(Phase::Deallocated, says("96h"));
        record.deallocated_at = Some(now());
        let found = told(&record, says("2h"));
        assert_eq!(found.len(), 1);
        for part in [&now().to_string(), "purged at the next tick", "\"running\""] {
            assert!(found[0].contains(part), "{found:?}");
        }
        assert_eq!(told(&record, says("3h")), [""; 0]);
        assert_eq!(told(&record, json!({"retention": {"after": "1h"}})), [""; 0], "it is to run again");
    }

    #[test]
    fn snapshots_behind_kept_images_are_told_to_stay() {
        let delete =
            |kinds: Value| told(&node(Phase::New, json!({})), json!({"retention": {"delete": kinds}}));
        assert!(delete(json!(["snapshots", "volumes"]))[0].starts_with("retention.delete:"));
        assert_eq!(delete(json!(["volumes"])), [""; 0]);
        assert_eq!(delete(json!(["images", "snapshots"])), [""; 0]);
    }

    #[test]
    fn what_a_release_leaves_is_listed() {
        let found = told(
            &resting(json!({"persist": {"network": {}}})),
            json!({"desiredState": "released", "persist": {"network": {}}}),
        );
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("network interface eni-9, image ami-9"), "{found:?}");
    }

    #[test]
    fn an_edit_of_a_life_that_ends_or_has_ended_is_told_what_comes_of_it() {
        let ended = |phase: Phase, goal: DesiredState| {
            let mut record = node(phase, json!({}));
            record.goal = goal;
            record.handed_over = vec!["image ami-9".to_owned()];
            record
        };
        let (purged, released) = (DesiredState::Deallocated, DesiredState::Released);
        for (phase, goal, state, says) in [
            (
                Phase::Purging,
                purged,
                "running",
                "is being purged, which cannot be undone: a new life begins after it",
            ),
            (Phase::Purging, purged, "deallocated", "is being purged, which cannot be undone"),
            (Phase::Purging, released, "running", "is being released, which cannot be undone: a new life"),
            (Phase::Gone, purged, "running", "this is a new life"),
            (Phase::Gone, purged, "deallocated", "nothing is left to deallocate"),
            (Phase::Gone, released, "released", "left as they were: image ami-9"),
        ] {
            let found = told(
                &ended(phase, goal),
                json!({"desiredState": state, "recycle": 9, "restoreFrom": "snap-1"}),
            );
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].contains(says), "{found:?}");
        }
    }
}

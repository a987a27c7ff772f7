//! The first act from beginning to end: a node is made, written to, interrupted, and comes back.
//!
//! Decides what the demonstration does and waits for, and collects what the proofs will need. Touches the node only as
//! an operator may: one config item, and the guest's own writes.

mod proofs;
mod render;
mod view;

use jiff::Timestamp;
use perennial_cloud::model::Settings;
use perennial_core::names::TAG_PURPOSE;
use perennial_core::phase::Phase;
use serde_json::{Value, json};

use self::proofs::{Evidence, Identity};
use self::view::{Observed, Thing, View, view};
use crate::access::{Access, Reply};
use crate::guest::Guest;
use crate::proof::note;
use crate::screen::Screen;
use crate::stage::{Broken, Moment, Scene, Stage, Told, standing};
use crate::summary::{self, Moments};

/// Name of the node.
const NODE: &str = "demo";
/// Its address, in the first default subnet.
const ADDRESS: &str = "10.0.1.20";
/// Its types, in order of preference.
const TYPES: [&str; 2] = ["m5.large", "m6i.large"];
/// Recovery points to keep.
const KEEP: usize = 3;
/// Periodic snapshots before the interruption.
const PERIODIC: usize = 3;

/// Tells it all.
///
/// # Errors
/// When the cloud does not answer, the item is refused, or a stage does not come.
pub(crate) async fn tell(
    access: &Access,
    screen: &mut Screen,
    speed: f64,
    latencies: &Settings,
) -> Result<Told, Broken> {
    let mut story = Stage::new(access, screen, speed, Node::default())?;
    let told = acts(&mut story).await;
    story.finish();
    told?;
    let Node { evidence, moments, .. } = &story.scene;
    Ok(Told {
        proofs: proofs::judge(evidence),
        numbers: summary::downtime(moments, latencies, speed),
        seconds: story.at,
    })
}

async fn acts(story: &mut Stage<'_, Node>) -> Result<(), Broken> {
    story.functions_start().await?;
    let item = item(story.access);
    story.configure("the config item is judged", &key(), &item).await?;
    story.until("the node starts for the first time", |seen| runs(seen, 1)).await?;
    story.scene.evidence.before = identity(story.seen.as_ref());
    story.scene.writes = true;
    story.until("the guest writes; periodic snapshots are taken", enough_snapshots).await?;
    interrupt(story)?;
    let first = story.scene.evidence.before.instance.clone();
    story
        .until("EC2 gives two minutes' notice; the guest writes on", |seen| {
            seen.resources.instances.iter().all(|i| i.instance_id != first || !i.is_live())
        })
        .await?;
    story.scene.writes = false;
    story.scene.evidence.acknowledged = story.scene.guest.acknowledged;
    story.until("EC2 takes the instance; the node comes back", |seen| runs(seen, 2)).await?;
    let after = identity(story.seen.as_ref());
    story.scene.evidence.restored = story.access.contents(&after.root)?;
    story.scene.evidence.after = after;
    story.scene.writes = true;
    let old = story.scene.evidence.before.root.clone();
    story.until("the node runs again; what it no longer needs is removed", |seen| tidy(seen, &old)).await?;
    let events = story.access.control("GET", "events", &Value::Null)?;
    if let Some(seen) = &story.seen {
        gather(&mut story.scene.evidence, seen, &events);
    }
    Ok(())
}

fn key() -> String {
    format!("node#{NODE}")
}

/// The one thing an operator does: the config item, in DynamoDB's own JSON.
fn item(access: &Access) -> Value {
    let defaults = access.defaults();
    let subnet = defaults.subnet_ids.first().cloned().unwrap_or_default();
    let types: Vec<Value> = TYPES.iter().map(|name| json!({"S": name})).collect();
    json!({
        "id": {"S": key()},
        "launch": {"M": {
            "template": {"M": {"name": {"S": defaults.launch_template_name}}},
            "instanceTypes": {"L": types},
            "subnets": {"L": [{"S": subnet}]},
            "market": {"S": "spot-then-on-demand"},
        }},
        "persist": {"M": {
            "root": {"M": {"snapshotEvery": {"S": "1m"}, "keep": {"N": KEEP.to_string()}}},
            "network": {"M": {"privateIp": {"S": ADDRESS}}},
        }},
    })
}

/// Takes the instance back, as EC2 does when it needs the capacity: that type has none left in that zone.
fn interrupt(story: &mut Stage<'_, Node>) -> Result<(), Broken> {
    let instance = story.seen.as_ref().and_then(|seen| seen.record.as_ref()?.instance.as_ref());
    if let Some(instance) = instance {
        let taken = json!({"instanceType": instance.instance_type, "zone": instance.zone, "market": "spot",
                           "available": 0});
        story.access.control("POST", "capacity", &taken)?;
    }
    let body = json!({"instanceId": story.scene.evidence.before.instance, "notice": true});
    story.access.control("POST", "interrupt", &body)?;
    story.scene.moments.noticed = Some(story.access.now()?);
    Ok(())
}

/// The node, as the act looks at it.
#[derive(Debug, Default)]
struct Node {
    guest: Guest,
    /// Whether the guest is to write.
    writes: bool,
    evidence: Evidence,
    moments: Moments,
}

impl Scene for Node {
    type Seen = Observed;
    type View = View;

    async fn look(&mut self, access: &Access, last: Option<&Observed>) -> Reply<Observed> {
        let instance = last.and_then(|seen| seen.record.as_ref()?.instance.as_ref());
        match instance.filter(|_| self.writes) {
            Some(instance) => self.guest.write(access, instance.id.as_str(), access.now()?)?,
            None => self.guest.rest(),
        }
        let now = access.now()?;
        // The journal first, so that the record is never older than what the journal tells.
        let journal = access.journal(&key()).await?;
        let record = access.record(&key()).await?;
        let seen = Observed { now, record, journal, resources: access.resources().await? };
        self.note(&seen);
        Ok(seen)
    }

    fn time(seen: &Observed) -> Timestamp {
        seen.now
    }

    fn view(&self, seen: &Observed, moment: Moment<'_>) -> View {
        view(seen, moment, &self.guest)
    }

    fn standing(&self, seen: Option<&Observed>) -> String {
        let record = seen.and_then(|seen| seen.record.as_ref());
        let state = record.map_or("there is no record of the node".to_owned(), |record| {
            format!("the node {}", standing(record))
        });
        let waits = seen.map(view::waiting).filter(|waits| !waits.is_empty());
        format!("{state}, and waits for: {}", waits.as_deref().unwrap_or("nothing"))
    }
}

impl Node {
    /// Keeps what will be gone by the time of the proofs.
    fn note(&mut self, seen: &Observed) {
        let (moments, evidence) = (&mut self.moments, &mut self.evidence);
        if !evidence.before.instance.is_empty() {
            let first = seen.resources.instances.iter().find(|i| i.instance_id == evidence.before.instance);
            if first.is_some_and(|i| !i.is_live()) {
                moments.shutting_down.get_or_insert(seen.now);
            }
            if first.is_some_and(|i| i.instance_state.name == "terminated") {
                moments.terminated.get_or_insert(seen.now);
            }
        }
        if runs(seen, 2) {
            moments.running.get_or_insert(seen.now);
        }
        for snapshot in seen.resources.snapshots.iter().filter(|s| s.tag(TAG_PURPOSE) == "final") {
            note(&mut evidence.finals_made, snapshot.snapshot_id.clone());
            if let Some(times) = snapshot.start_time.zip(snapshot.completion_time) {
                moments.final_snapshot = Some(times);
            }
        }
        for image in &seen.resources.images {
            note(&mut evidence.images_made, image.image_id.clone());
        }
    }
}

/// Who the node is now, as its record says.
fn identity(seen: Option<&Observed>) -> Identity {
    let Some(record) = seen.and_then(|seen| seen.record.as_ref()) else {
        return Identity::default();
    };
    let network = record.network.as_ref();
    Identity {
        instance: record.instance.as_ref().map(|i| i.id.to_string()).unwrap_or_default(),
        root: record.root.as_ref().map(|r| r.volume_id.to_string()).unwrap_or_default(),
        interface: network.map(|n| n.eni_id.to_string()).unwrap_or_default(),
        address: network.map(|n| n.private_ip.to_string()).unwrap_or_default(),
    }
}

/// Completes the evidence with the last look.
fn gather(e: &mut Evidence, seen: &Observed, events: &Value) {
    let resources = &seen.resources;
    let snapshots = |wanted: &dyn Fn(&str, &str) -> bool| -> Vec<String> {
        let all = resources.snapshots.iter();
        all.filter(|s| wanted(s.tag(TAG_PURPOSE), &s.status)).map(|s| s.snapshot_id.clone()).collect()
    };
    let recovery = |purpose: &str| matches!(purpose, "periodic" | "warning" | "rebalance");
    ADDRESS.clone_into(&mut e.wanted_address);
    e.keep = KEEP;
    let live = || resources.instances.iter().filter(|i| i.is_live());
    e.live = live().map(|i| i.instance_id.clone()).collect();
    e.seen_address = live().find_map(|i| i.private_ip_address.clone()).unwrap_or_default();
    let thing = |id: &str, state: &str| Thing { id: id.to_owned(), state: state.to_owned() };
    e.volumes = resources.volumes.iter().map(|v| thing(&v.volume_id, &v.status)).collect();
    e.interfaces = (resources.interfaces.iter()).map(|i| thing(&i.network_interface_id, &i.status)).collect();
    e.images = resources.images.iter().map(|i| i.image_id.clone()).collect();
    e.finals = snapshots(&|purpose, _| purpose == "final");
    e.kept = snapshots(&|purpose, state| recovery(purpose) && state == "completed");
    e.pending = snapshots(&|purpose, state| recovery(purpose) && state == "pending");
    e.odd = snapshots(&|purpose, state| {
        purpose != "final" && !(recovery(purpose) && matches!(state, "completed" | "pending"))
    });
    e.events = kinds(events);
}
/// The node runs, in this cycle.
fn runs(seen: &Observed, cycle: u32) -> bool {
    seen.phase() == Some(Phase::Running) && seen.record.as_ref().is_some_and(|r| r.cycle == cycle)
}

/// There are recovery points, and the newest is old enough for EC2 to allow a warning snapshot at the notice.
fn enough_snapshots(seen: &Observed) -> bool {
    seen.recovery_points().filter(|snapshot| snapshot.status == "completed").count() >= PERIODIC
        && seen.recovery_points().all(|snapshot| snapshot.is_settled(seen.now))
}

/// All that the successor made needless is gone, and rotation has caught up.
fn tidy(seen: &Observed, old_root: &str) -> bool {
    let needless = seen.record.as_ref().is_none_or(|record| !record.needless().is_empty());
    let completed = seen.recovery_points().filter(|snapshot| snapshot.status == "completed").count();
    let finals = seen.resources.snapshots.iter().any(|snapshot| snapshot.tag(TAG_PURPOSE) == "final");
    let old = seen.resources.volumes.iter().any(|volume| volume.volume_id == old_root);
    !needless && !old && !finals && seen.resources.images.is_empty() && completed == KEEP
}

/// Kinds of the node's own events in the order of publishing. An event may be published twice, and counts once.
fn kinds(events: &Value) -> Vec<String> {
    let mut known: Vec<&Value> = Vec::new();
    let all = events["events"].as_array().map(Vec::as_slice).unwrap_or_default();
    let ours = all.iter().filter(|event| event["source"] == "perennial" && event["detail"]["node"] == NODE);
    let mut kinds = Vec::new();
    for event in ours {
        let id = &event["detail"]["id"];
        if !known.contains(&id) {
            known.push(id);
            kinds.push(event["detailType"].as_str().unwrap_or_default().to_owned());
        }
    }
    kinds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_published_twice_counts_once_and_foreign_ones_not_at_all() {
        let event = |kind: &str, id: &str, node: &str| {
            json!({"source": "perennial", "detailType": kind,
                                                              "detail": {"id": id, "node": node}})
        };
        let events = json!({"events": [
            event("Config Accepted", "1", NODE), event("Node Running", "2", NODE), event("Node Running", "2", NODE),
            event("Node Running", "3", "other"), event("Node Running", "4", NODE),
        ]});
        assert_eq!(kinds(&events), ["Config Accepted", "Node Running", "Node Running"]);
    }
}

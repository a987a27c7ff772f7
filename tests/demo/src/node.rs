//! What the acts about one node share: it is made, written to, interrupted, and comes back.
//!
//! Decides what is done and waited for, and collects what the proofs will need. Touches the node only as an operator
//! may: one config item, volumes attached by hand, and the guest's own writes.

pub(crate) mod proofs;
mod render;
pub(crate) mod view;

use jiff::Timestamp;
use perennial_cloud::model::Settings;
use perennial_core::names::TAG_PURPOSE;
use perennial_core::phase::Phase;
use serde_json::{Value, json};

use self::proofs::{DataVolume, Disk, Evidence, Identity};
use self::view::{Observed, Point, Thing, View, view};
use crate::access::{Access, Reply};
use crate::ec2::tag;
use crate::examples::Example;
use crate::guest::Guest;
use crate::proof::{Proof, note};
use crate::screen::Screen;
use crate::stage::{Broken, Moment, Scene, Stage, Told, standing};
use crate::summary::{self, Moments};

/// Recovery points before the interruption.
const POINTS: usize = 3;

/// An act about a node, under way.
pub(crate) type Story<'a> = Stage<'a, Node>;

/// An act that begins with this item.
///
/// # Errors
/// When the cloud has no clock.
pub(crate) fn story<'a>(
    access: &'a Access,
    screen: &'a mut Screen,
    speed: f64,
    example: Example,
) -> Reply<Story<'a>> {
    let item = example.plain();
    let evidence = Evidence {
        wanted_address: item["persist"]["network"]["privateIp"].as_str().map(str::to_owned),
        keep: item["persist"]["root"]["keep"].as_u64().unwrap_or_default() as usize,
        ..Evidence::default()
    };
    let node = Node {
        example,
        guest: Guest::default(),
        writes: false,
        evidence,
        moments: Moments::default(),
        by_hand: None,
    };
    Stage::new(access, screen, speed, node)
}

/// Leaves the last view standing, and hands over what was shown, with how long the node was away.
///
/// # Errors
/// What kept the act from its end.
pub(crate) fn conclude(
    mut story: Story<'_>,
    told: Result<(), Broken>,
    judge: fn(&Evidence) -> Vec<Proof>,
    (latencies, speed): (&Settings, f64),
) -> Result<Told, Broken> {
    story.finish();
    told?;
    let Node { evidence, moments, .. } = &story.scene;
    Ok(Told {
        proofs: judge(evidence),
        numbers: summary::downtime(moments, latencies, speed),
        seconds: story.at,
    })
}

/// The item is put, and the node starts for the first time; then its guest writes.
///
/// # Errors
/// When the item is refused, or a stage does not come.
pub(crate) async fn begin(story: &mut Story<'_>) -> Result<(), Broken> {
    story.functions_start().await?;
    let example = story.scene.example.clone();
    story.configure("the config item is judged", example.id(), example.item()).await?;
    story.until("the node starts for the first time", |seen| runs(seen, 1)).await?;
    story.scene.writes = true;
    Ok(())
}

/// Recovery points are taken; then EC2 takes the instance, and the node comes back.
///
/// # Errors
/// When a stage does not come.
pub(crate) async fn interruption(story: &mut Story<'_>) -> Result<(), Broken> {
    story.until("the guest writes; periodic snapshots are taken", enough_points).await?;
    story.scene.evidence.before = identity(story.seen.as_ref());
    take_back(story)?;
    let first = story.scene.evidence.before.instance.clone();
    story
        .until("EC2 gives two minutes' notice; the guest writes on", |seen| {
            seen.resources.instances.iter().all(|i| i.instance_id != first || !i.is_live())
        })
        .await?;
    story.scene.writes = false;
    story.until("EC2 takes the instance; the node comes back", |seen| runs(seen, 2)).await?;
    let after = identity(story.seen.as_ref());
    story.scene.returned(story.access, after)?;
    let old = story.scene.evidence.before.root.clone();
    let keep = story.scene.evidence.keep;
    story
        .until("the node runs again; what it no longer needs is removed", |seen| tidy(seen, &old, keep))
        .await?;
    let events = story.access.control("GET", "events", &Value::Null)?;
    if let Some(seen) = &story.seen {
        let kinds = kinds(&events, story.scene.example.name());
        gather(&mut story.scene.evidence, seen, kinds);
    }
    Ok(())
}

/// Takes the instance back, as EC2 does when it needs the capacity: that type has none left in that zone.
fn take_back(story: &mut Story<'_>) -> Result<(), Broken> {
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

/// A volume that the operator attaches, as soon as EC2 takes it.
#[derive(Clone, Debug)]
pub(crate) struct ByHand {
    pub(crate) volume: String,
    pub(crate) device: &'static str,
}

/// The node, as the act looks at it.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) example: Example,
    pub(crate) evidence: Evidence,
    pub(crate) moments: Moments,
    /// What is to be attached by hand.
    pub(crate) by_hand: Option<ByHand>,
    guest: Guest,
    /// Whether the guest is to write.
    writes: bool,
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
        if let (Some(instance), Some(by_hand)) = (instance, &self.by_hand)
            && access.attach_volume(&by_hand.volume, instance.id.as_str(), by_hand.device).await?
        {
            self.by_hand = None;
        }
        let now = access.now()?;
        let key = self.example.id();
        // The journal first, so that the record is never older than what the journal tells.
        let journal = access.journal(key).await?;
        let record = access.record(key).await?;
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

    /// The node runs again: what is on its volumes is read, and only then the guest writes on.
    fn returned(&mut self, access: &Access, after: Identity) -> Reply<()> {
        let written = |volume: &String| self.guest.on_volumes.get(volume).copied().unwrap_or_default();
        let e = &mut self.evidence;
        e.acknowledged = written(&e.before.root);
        e.restored = access.contents(&after.root)?;
        for (device, volume) in &e.before.data {
            let there = after.data.get(device).cloned().unwrap_or_default();
            let found = if there.is_empty() { Default::default() } else { access.contents(&there)? };
            let acknowledged = written(volume);
            e.data.push(DataVolume {
                device: device.clone(),
                volume: volume.clone(),
                acknowledged,
                there,
                found,
            });
        }
        e.after = after;
        (self.writes, self.moments.attached) = (true, !e.data.is_empty());
        Ok(())
    }
}

/// Who the node is now: as its record says, and of data volumes as EC2 shows its instance.
fn identity(seen: Option<&Observed>) -> Identity {
    let Some((seen, record)) = seen.and_then(|seen| Some((seen, seen.record.as_ref()?))) else {
        return Identity::default();
    };
    let network = record.network.as_ref();
    let instance = record.instance.as_ref().map(|i| i.id.to_string()).unwrap_or_default();
    let root = record.root.as_ref().map(|r| r.volume_id.to_string()).unwrap_or_default();
    let disks = disks(seen, &instance).into_iter().filter(|disk| disk.volume != root);
    Identity {
        data: disks.map(|disk| (disk.device, disk.volume)).collect(),
        instance,
        root,
        interface: network.map(|n| n.eni_id.to_string()).unwrap_or_default(),
        address: network.map(|n| n.private_ip.to_string()).unwrap_or_default(),
    }
}

/// The volumes of an instance, as EC2 shows it.
fn disks(seen: &Observed, instance: &str) -> Vec<Disk> {
    let instance = seen.resources.instances.iter().find(|i| i.instance_id == instance);
    let devices = instance.into_iter().flat_map(|i| &i.block_device_mapping.item);
    devices
        .map(|it| Disk {
            device: it.device_name.clone(),
            volume: it.ebs.volume_id.clone(),
            outlives: it.ebs.delete_on_termination == Some(false),
        })
        .collect()
}

/// Completes the evidence with the last look.
fn gather(e: &mut Evidence, seen: &Observed, events: Vec<String>) {
    let resources = &seen.resources;
    let snapshots = |wanted: &dyn Fn(&str, &str) -> bool| -> Vec<String> {
        let all = resources.snapshots.iter();
        all.filter(|s| wanted(s.tag(TAG_PURPOSE), &s.status)).map(|s| s.snapshot_id.clone()).collect()
    };
    let recovery = |purpose: &str| matches!(purpose, "periodic" | "warning" | "rebalance");
    let live = || resources.instances.iter().filter(|i| i.is_live());
    e.live = live().map(|i| i.instance_id.clone()).collect();
    e.seen_address = live().find_map(|i| i.private_ip_address.clone()).unwrap_or_default();
    e.disks = disks(seen, &e.after.instance);
    let thing = |id: &str, state: &str| Thing { id: id.to_owned(), state: state.to_owned() };
    e.volumes = resources.volumes.iter().map(|v| thing(&v.volume_id, &v.status)).collect();
    let adopted = resources.volumes.iter().filter(|v| tag(&v.tag_set, TAG_PURPOSE) == "adopted");
    e.adopted = adopted.map(|v| v.volume_id.clone()).collect();
    e.interfaces = (resources.interfaces.iter()).map(|i| thing(&i.network_interface_id, &i.status)).collect();
    e.images = resources.images.iter().map(|i| i.image_id.clone()).collect();
    e.finals = snapshots(&|purpose, _| purpose == "final");
    e.kept = seen.points().into_iter().filter(Point::is_complete).map(|point| point.snapshots).collect();
    e.pending = snapshots(&|purpose, state| recovery(purpose) && state == "pending");
    e.odd = snapshots(&|purpose, state| {
        purpose != "final" && !(recovery(purpose) && matches!(state, "completed" | "pending"))
    });
    e.events = events;
}

/// The node runs, in this cycle.
fn runs(seen: &Observed, cycle: u32) -> bool {
    seen.phase() == Some(Phase::Running) && seen.record.as_ref().is_some_and(|r| r.cycle == cycle)
}

/// There are recovery points of all volumes, and the newest is old enough for EC2 to allow a warning snapshot at the
/// notice.
fn enough_points(seen: &Observed) -> bool {
    let volumes = seen.record.as_ref().map_or(0, |record| 1 + record.data.len());
    let whole =
        seen.points().into_iter().filter(|point| point.is_complete() && point.snapshots.len() == volumes);
    whole.count() >= POINTS && seen.recovery_snapshots().all(|snapshot| snapshot.is_settled(seen.now))
}

/// All that the successor made needless is gone, and rotation has caught up.
fn tidy(seen: &Observed, old_root: &str, keep: usize) -> bool {
    let needless = seen.record.as_ref().is_none_or(|record| !record.needless().is_empty());
    let completed = seen.points().iter().filter(|point| point.is_complete()).count();
    let finals = seen.resources.snapshots.iter().any(|snapshot| snapshot.tag(TAG_PURPOSE) == "final");
    let old = seen.resources.volumes.iter().any(|volume| volume.volume_id == old_root);
    !needless && !old && !finals && seen.resources.images.is_empty() && completed == keep
}

/// Kinds of the node's own events in the order of publishing. An event may be published twice, and counts once.
fn kinds(events: &Value, node: &str) -> Vec<String> {
    let mut known: Vec<&Value> = Vec::new();
    let all = events["events"].as_array().map(Vec::as_slice).unwrap_or_default();
    let ours = all.iter().filter(|event| event["source"] == "perennial" && event["detail"]["node"] == node);
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
            event("Config Accepted", "1", "box"), event("Node Running", "2", "box"), event("Node Running", "2", "box"),
            event("Node Running", "3", "other"), event("Node Running", "4", "box"),
        ]});
        assert_eq!(kinds(&events, "box"), ["Config Accepted", "Node Running", "Node Running"]);
    }
}

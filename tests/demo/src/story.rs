//! One act from beginning to end: a node is made, written to, interrupted, and comes back.
//!
//! Decides what the demonstration does and waits for, and collects what the proofs will need. Waits by looking, never
//! by a fixed time, and gives up on a stage with everything that tells why. Touches the node only as an operator may:
//! one config item, and the guest's own writes.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use perennial_core::limits::SNAPSHOT_SPACING;
use perennial_core::names::{TAG_PURPOSE, whole_second};
use perennial_core::phase::Phase;
use serde_json::{Value, json};

use crate::access::{Access, AccessError};
use crate::proofs::{Evidence, Identity};
use crate::screen::Screen;
use crate::summary::Moments;
use crate::view::{Observed, Thing, View, Writing, view};

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
/// How much longer than EC2's least time between two snapshots the interruption waits, in cloud time.
const SETTLED: SignedDuration = SignedDuration::from_secs(5);
/// Real time between two looks.
const BEAT: Duration = Duration::from_millis(40);
/// The guest's writes in a cloud second; each changes one MiB.
const WRITES_PER_SECOND: f64 = 2.0;
/// Real time a stage may take at least, whatever the speed.
const PATIENCE: Duration = Duration::from_secs(60);
/// Cloud time a stage may take: several times the longest.
const PATIENCE_IN_CLOUD: f64 = 1200.0;

/// Why the story did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// The cloud could not be asked.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The config item was refused.
    #[error("the config item of the demonstration was rejected: {0}")]
    Rejected(String),
    /// A stage did not come.
    #[error("stage \"{stage}\" did not come within {seconds} s of real time; {state}")]
    Late {
        /// The stage.
        stage: String,
        /// Real seconds waited.
        seconds: u64,
        /// Where the node stands.
        state: String,
    },
}

/// What happened, for the proofs and the summary.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) evidence: Evidence,
    pub(crate) moments: Moments,
    /// Cloud seconds that the whole story took.
    pub(crate) seconds: i64,
}

/// The story under way.
pub(crate) struct Story<'a> {
    access: &'a Access,
    screen: &'a mut Screen,
    speed: f64,
    start: Timestamp,
    stage: String,
    guest: Guest,
    facts: Facts,
    seen: Option<Observed>,
    view: View,
}

/// The program on the instance that writes.
#[derive(Debug, Default)]
struct Guest {
    started: bool,
    acknowledged: u64,
    writing: bool,
    last: Option<Timestamp>,
}

impl<'a> Story<'a> {
    /// A story about to begin.
    pub(crate) fn new(access: &'a Access, screen: &'a mut Screen, speed: f64) -> Result<Story<'a>, Broken> {
        let start = whole_second(access.now()?);
        Ok(Story {
            access,
            screen,
            speed,
            start,
            stage: String::new(),
            guest: Guest::default(),
            facts: Facts::default(),
            seen: None,
            view: View::default(),
        })
    }

    /// Tells it all.
    ///
    /// # Errors
    /// When the cloud does not answer, the item is refused, or a stage does not come.
    pub(crate) async fn tell(mut self) -> Result<Facts, Broken> {
        let told = self.acts().await;
        self.screen.finish(&self.view);
        told?;
        self.facts.seconds = self.view.at;
        Ok(self.facts)
    }

    async fn acts(&mut self) -> Result<(), Broken> {
        let access = self.access;
        self.until("the functions start", |_| access.functions_ready().unwrap_or(false)).await?;
        access.put_config(&self.item()).await?;
        self.accepted().await?;
        self.until("the node starts for the first time", |seen| runs(seen, 1)).await?;
        self.facts.evidence.before = self.identity();
        self.guest.started = true;
        self.until("the guest writes; periodic snapshots are taken", enough_snapshots).await?;
        self.interrupt()?;
        let first = self.facts.evidence.before.instance.clone();
        self.until("EC2 gives two minutes' notice; the guest writes on", |seen| {
            seen.resources.instances.iter().all(|i| i.instance_id != first || !i.is_live())
        })
        .await?;
        self.guest.started = false;
        self.facts.evidence.acknowledged = self.guest.acknowledged;
        self.until("EC2 takes the instance; the node comes back", |seen| runs(seen, 2)).await?;
        self.facts.evidence.after = self.identity();
        self.facts.evidence.restored = self.access.contents(&self.facts.evidence.after.root)?;
        self.guest.started = true;
        let old = self.facts.evidence.before.root.clone();
        self.until("the node runs again; what it no longer needs is removed", |seen| tidy(seen, &old))
            .await?;
        self.gather()
    }

    /// The one thing an operator does: the config item, in DynamoDB's own JSON.
    fn item(&self) -> Value {
        let defaults = self.access.defaults();
        let subnet = defaults.subnet_ids.first().cloned().unwrap_or_default();
        let types: Vec<Value> = TYPES.iter().map(|name| json!({"S": name})).collect();
        json!({
            "id": {"S": format!("node#{NODE}")},
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

    async fn accepted(&mut self) -> Result<(), Broken> {
        let (access, since) = (self.access, Instant::now());
        "the config item is judged".clone_into(&mut self.stage);
        loop {
            self.beat().await?;
            if let Some(status) = access.config_status(&format!("node#{NODE}")).await? {
                if status["accepted"] == true {
                    return Ok(());
                }
                return Err(Broken::Rejected(status["problems"].to_string()));
            }
            self.patience(since)?;
            tokio::time::sleep(BEAT).await;
        }
    }

    /// Takes the instance back, as EC2 does when it needs the capacity: that type has none left in that zone.
    fn interrupt(&mut self) -> Result<(), Broken> {
        let instance = self.seen.as_ref().and_then(|seen| seen.record.as_ref()?.instance.as_ref());
        if let Some(instance) = instance {
            let taken = json!({"instanceType": instance.instance_type, "zone": instance.zone, "market": "spot",
                               "available": 0});
            self.access.control("POST", "capacity", &taken)?;
        }
        let body = json!({"instanceId": self.facts.evidence.before.instance, "notice": true});
        self.access.control("POST", "interrupt", &body)?;
        self.facts.moments.noticed = Some(self.access.now()?);
        Ok(())
    }

    /// Looks again and again until `done`, while the guest writes.
    async fn until(&mut self, stage: &str, done: impl Fn(&Observed) -> bool) -> Result<(), Broken> {
        let since = Instant::now();
        stage.clone_into(&mut self.stage);
        loop {
            self.beat().await?;
            if self.seen.as_ref().is_some_and(&done) {
                return Ok(());
            }
            self.patience(since)?;
            tokio::time::sleep(BEAT).await;
        }
    }

    fn patience(&self, since: Instant) -> Result<(), Broken> {
        let limit = PATIENCE.max(Duration::from_secs_f64(PATIENCE_IN_CLOUD / self.speed));
        if since.elapsed() < limit {
            return Ok(());
        }
        let record = self.seen.as_ref().and_then(|seen| seen.record.as_ref());
        let state = record.map_or("there is no record of the node".to_owned(), |record| {
            let blocked = record.blocked.as_ref().map_or("not blocked".to_owned(), |blocked| {
                format!("blocked as {}: {} ({})", blocked.code, blocked.message, blocked.remedy)
            });
            let (phase, reason) = (record.phase.as_str(), &record.reason);
            format!("the node is {phase} in cycle {} because \"{reason}\", {blocked}", record.cycle)
        });
        let waits = if self.view.waiting.is_empty() { "nothing" } else { self.view.waiting.as_str() };
        let mut state = format!("{state}, and waits for: {waits}");
        for error in self.access.start_errors() {
            state.push_str("; ");
            state.push_str(&error);
        }
        Err(Broken::Late { stage: self.stage.clone(), seconds: since.elapsed().as_secs(), state })
    }

    /// One look at everything, shown; and what the guest writes meanwhile.
    async fn beat(&mut self) -> Result<(), Broken> {
        self.write()?;
        let node = format!("node#{NODE}");
        let now = self.access.now()?;
        // The journal first, so that the record is never older than what the journal tells.
        let journal = self.access.journal(&node).await?;
        let record = self.access.record(&node).await?;
        let seen = Observed { now, record, journal, resources: self.access.resources().await? };
        self.note(&seen);
        let guest = Writing { writes: self.guest.acknowledged, now: self.guest.writing };
        self.view = view(&seen, self.start, &self.stage, guest);
        self.seen = Some(seen);
        self.screen.show(&self.view);
        Ok(())
    }

    /// The guest writes what it would have written since the last look; a refusal means that it does not run.
    fn write(&mut self) -> Result<(), Broken> {
        let now = self.access.now()?;
        let instance = self.seen.as_ref().and_then(|seen| seen.record.as_ref()?.instance.as_ref());
        let Some(instance) = instance.filter(|_| self.guest.started) else {
            (self.guest.writing, self.guest.last) = (false, None);
            return Ok(());
        };
        let since = self.guest.last.map_or(0.0, |last| now.duration_since(last).as_secs_f64());
        let times = (since * WRITES_PER_SECOND).round().max(1.0) as u64;
        let body = json!({"instanceId": instance.id.to_string(), "times": times});
        match self.access.control("POST", "write", &body) {
            Ok(_) => {
                self.guest.acknowledged += times;
                (self.guest.writing, self.guest.last) = (true, Some(now));
            }
            Err(AccessError::Refused { .. }) => (self.guest.writing, self.guest.last) = (false, None),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Keeps what will be gone by the time of the proofs.
    fn note(&mut self, seen: &Observed) {
        let (moments, evidence) = (&mut self.facts.moments, &mut self.facts.evidence);
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
            if !evidence.finals_made.contains(&snapshot.snapshot_id) {
                evidence.finals_made.push(snapshot.snapshot_id.clone());
            }
            if let Some(times) = snapshot.start_time.zip(snapshot.completion_time) {
                moments.final_snapshot = Some(times);
            }
        }
        for image in &seen.resources.images {
            if !evidence.images_made.contains(&image.image_id) {
                evidence.images_made.push(image.image_id.clone());
            }
        }
    }

    /// Who the node is now, as its record says.
    fn identity(&self) -> Identity {
        let Some(record) = self.seen.as_ref().and_then(|seen| seen.record.as_ref()) else {
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
    fn gather(&mut self) -> Result<(), Broken> {
        let events = self.access.control("GET", "events", &Value::Null)?;
        let Some(seen) = &self.seen else { return Ok(()) };
        let resources = &seen.resources;
        let snapshots = |wanted: &dyn Fn(&str, &str) -> bool| -> Vec<String> {
            let all = resources.snapshots.iter();
            all.filter(|s| wanted(s.tag(TAG_PURPOSE), &s.status)).map(|s| s.snapshot_id.clone()).collect()
        };
        let recovery = |purpose: &str| matches!(purpose, "periodic" | "warning" | "rebalance");
        let e = &mut self.facts.evidence;
        ADDRESS.clone_into(&mut e.wanted_address);
        e.keep = KEEP;
        let live = || resources.instances.iter().filter(|i| i.is_live());
        e.live = live().map(|i| i.instance_id.clone()).collect();
        e.seen_address = live().find_map(|i| i.private_ip_address.clone()).unwrap_or_default();
        let thing = |id: &str, state: &str| Thing { id: id.to_owned(), state: state.to_owned() };
        e.volumes = resources.volumes.iter().map(|v| thing(&v.volume_id, &v.status)).collect();
        e.interfaces =
            (resources.interfaces.iter()).map(|i| thing(&i.network_interface_id, &i.status)).collect();
        e.images = resources.images.iter().map(|i| i.image_id.clone()).collect();
        e.finals = snapshots(&|purpose, _| purpose == "final");
        e.kept = snapshots(&|purpose, state| recovery(purpose) && state == "completed");
        e.pending = snapshots(&|purpose, state| recovery(purpose) && state == "pending");
        e.odd = snapshots(&|purpose, state| {
            purpose != "final" && !(recovery(purpose) && matches!(state, "completed" | "pending"))
        });
        e.events = kinds(&events);
        Ok(())
    }
}

/// The node runs, in this cycle.
fn runs(seen: &Observed, cycle: u32) -> bool {
    seen.phase() == Some(Phase::Running) && seen.record.as_ref().is_some_and(|r| r.cycle == cycle)
}

/// There are recovery points, and the newest is old enough for EC2 to allow a warning snapshot at the notice.
fn enough_snapshots(seen: &Observed) -> bool {
    let settled = |start| seen.now.duration_since(start) > SNAPSHOT_SPACING + SETTLED;
    seen.recovery_points().filter(|snapshot| snapshot.status == "completed").count() >= PERIODIC
        && seen.recovery_points().filter_map(|snapshot| snapshot.start_time).all(settled)
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

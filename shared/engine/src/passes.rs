//! The scheduled passes: whatever no event came for.
//!
//! `reconcile` goes through everything unfinished, every running node's instance and every config item;
//! `snapshot_pass` takes and rotates the periodic snapshots. Both read AWS in batches and drive nodes one
//! by one; one node's failure never keeps the others waiting.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt;
use perennial_core::config;
use perennial_core::ids::{InstanceId, NodeName};
use perennial_core::names::{Names, Purpose, whole_second};
use perennial_core::observation::{InstanceFacts, InstanceState};
use perennial_core::record::{Steady, Stored};
use perennial_core::snapshots::{Todo, by_node, todo};
use perennial_core::step::Outcome;

use crate::Engine;
use crate::drive::Patience;
use crate::ports::{Bus, Clock, Ec2, Reply, Store};

/// What a reconcile tick did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tick {
    /// Config items judged, since their hash was not the accepted one.
    pub configured: usize,
    /// Nodes driven.
    pub driven: usize,
    /// Nodes or items that failed; each is logged, and tried again at the next tick.
    pub failed: usize,
    /// Whether the deadline came first; the rest stays due.
    pub cut_short: bool,
}

/// How many nodes or items one tick works on side by side.
const AT_ONCE: usize = 16;
/// With at most so many nodes to drive a tick has time to wait for what events should have told. More of
/// them asking EC2 every second would eat up the quota of reads (20 a second).
const IDLE_AT_MOST: usize = 4;

/// How one node's or item's share of a tick ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Well,
    Settled,
    Failed,
    Untouched,
}

/// What a snapshot pass did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotTick {
    /// Running nodes looked at.
    pub nodes: usize,
    /// Snapshots taken.
    pub taken: usize,
    /// Snapshots deleted.
    pub dropped: usize,
    /// Calls that failed; what they were for stays due.
    pub failed: usize,
    /// Whether the deadline came first; the rest stays due.
    pub cut_short: bool,
}

impl<E: Ec2, S: Store, B: Bus, C: Clock> Engine<E, S, B, C> {
    /// Goes through everything that may have been missed.
    ///
    /// # Errors
    /// A failure of the reads that say what there is to do.
    pub async fn reconcile(&self) -> Reply<Tick> {
        let mut tick = Tick::default();
        // What is due comes before all: no other read that fails may keep a recovery waiting.
        let due = self.store.due(whole_second(self.clock.now())).await?;
        if let Err(failure) = self.reconcile_configs(&mut tick).await {
            tick.failed += 1;
            tracing::warn!(code = %failure.code, "the config items were not read: {failure}");
        }
        let drifted = self.drifted().await.unwrap_or_else(|failure| {
            tick.failed += 1;
            tracing::warn!(code = %failure.code, "the running instances were not read: {failure}");
            Vec::new()
        });
        let mut nodes: BTreeSet<NodeName> = BTreeSet::new();
        // The longest due first: a set would lose that order, so it only weeds out doubles.
        let due =
            due.into_iter().map(|due| due.node).filter(|node| nodes.insert(node.clone())).collect::<Vec<_>>();
        let drifted = drifted.into_iter().filter(|node| nodes.insert(node.clone()));
        let all: Vec<NodeName> = due.into_iter().chain(drifted.collect::<Vec<_>>()).collect();
        // Side by side, since a node may spend its time polling while others could go on.
        let patience = if all.len() <= IDLE_AT_MOST { Patience::Idle } else { Patience::Events };
        let drives = all.iter().map(|node| self.drive_in_time(node, patience));
        let ends: Vec<Ended> = futures::stream::iter(drives).buffer_unordered(AT_ONCE).collect().await;
        tick.driven = ends.iter().filter(|end| **end == Ended::Well).count();
        tick.failed += ends.iter().filter(|end| **end == Ended::Failed).count();
        tick.cut_short |= ends.contains(&Ended::Untouched);
        Ok(tick)
    }

    async fn drive_in_time(&self, node: &NodeName, patience: Patience) -> Ended {
        if !self.has_time_for(2) {
            return Ended::Untouched;
        }
        match self.drive_with(node, None, patience).await {
            Ok(_) => Ended::Well,
            Err(failure) => {
                tracing::warn!(%node, code = %failure.code, "{failure}");
                Ended::Failed
            }
        }
    }

    /// Judges the items that say something else than what is in force, or that carry no verdict on what
    /// they say: the stream may have lost their edit.
    async fn reconcile_configs(&self, tick: &mut Tick) -> Reply<()> {
        let items = self.store.config_items().await?;
        let judged = items.iter().filter_map(|item| {
            let id = item["id"].as_str()?;
            (!config::is_absent(item)).then(|| self.configure_in_time(id, item))
        });
        let ends: Vec<Ended> = futures::stream::iter(judged).buffer_unordered(AT_ONCE).collect().await;
        tick.configured = ends.iter().filter(|end| **end == Ended::Well).count();
        tick.failed += ends.iter().filter(|end| **end == Ended::Failed).count();
        tick.cut_short |= ends.contains(&Ended::Untouched);
        Ok(())
    }

    async fn configure_in_time(&self, id: &str, item: &serde_json::Value) -> Ended {
        if !self.has_time_for(2) {
            return Ended::Untouched;
        }
        let judged = match self.is_settled(id, item).await {
            Ok(true) => return Ended::Settled,
            Ok(false) => self.configure(id).await.map(|_| ()),
            Err(failure) => Err(failure),
        };
        match judged {
            Ok(()) => Ended::Well,
            Err(failure) => {
                tracing::warn!(id, code = %failure.code, "{failure}");
                Ended::Failed
            }
        }
    }

    /// Whether an item carries a verdict on what it says now, and an accepted one is in force. A rejected
    /// item is judged again only when it changes, or when the operator's doing elsewhere mends it: the
    /// verdict is then a minute old at most, so it is repeated while it stands.
    async fn is_settled(&self, id: &str, item: &serde_json::Value) -> Reply<bool> {
        let status = &item[config::STATUS];
        let hash = config::hash(item);
        if status["configHash"] != hash.as_str() || status["accepted"] != true {
            return Ok(false);
        }
        let Some(node) = NodeName::from_key(id) else { return Ok(true) };
        Ok(match self.store.load(&node).await? {
            Some(Stored::Known(record)) => record.config.hash == hash,
            Some(Stored::Newer { .. }) => true,
            None => false,
        })
    }

    /// Running nodes whose instance is not as it should be, by one batched read of the deployment.
    async fn drifted(&self) -> Reply<Vec<NodeName>> {
        let steady = self.store.steady().await?;
        if steady.is_empty() {
            return Ok(Vec::new());
        }
        let fleet = self.fleet().await?;
        Ok(steady.into_iter().filter(|node| has_drifted(node, &fleet)).map(|node| node.node).collect())
    }

    async fn fleet(&self) -> Reply<BTreeMap<InstanceId, InstanceFacts>> {
        let fleet = self.ec2.fleet(&self.deployment).await?;
        Ok(fleet.into_iter().map(|instance| (instance.id.clone(), instance)).collect())
    }

    /// Takes the periodic snapshots that are due and deletes those that newer ones replace.
    ///
    /// # Errors
    /// A failure of the reads that say what there is to do.
    pub async fn snapshot_pass(&self) -> Reply<SnapshotTick> {
        let mut tick = SnapshotTick::default();
        // What is due is told at the beginning: the reads take a while, and slots are as short as a tick.
        let now = self.clock.now();
        let steady = self.store.steady().await?;
        tick.nodes = steady.len();
        if steady.is_empty() {
            return Ok(tick);
        }
        let fleet = self.fleet().await?;
        let snapshots = self.ec2.snapshots_for(&self.deployment, &Purpose::ROTATED).await?;
        let groups = by_node(&snapshots);
        for node in &steady {
            let own = groups.get(&(node.node.as_str(), node.life.as_str())).map_or(&[][..], Vec::as_slice);
            for todo in todo(node, own, &fleet, &self.deployment, now) {
                if !self.has_time_for(2) {
                    tick.cut_short = true;
                    return Ok(tick);
                }
                self.snapshot_todo(&todo, &mut tick).await;
            }
        }
        Ok(tick)
    }

    async fn snapshot_todo(&self, todo: &Todo, tick: &mut SnapshotTick) {
        let (outcome, count) = match todo {
            Todo::Take(request) => (self.snapshot_once(request).await, &mut tick.taken),
            Todo::Drop { node, life, snapshot } => {
                let names = Names { deployment: &self.deployment, node, life };
                (self.delete_snapshot_ours(snapshot, &names, &Purpose::ROTATED).await, &mut tick.dropped)
            }
        };
        match outcome {
            Ok(Outcome::NotOurs(why)) => tracing::warn!(?todo, "left alone: {why}"),
            Ok(_) => *count += 1,
            Err(failure) => {
                tick.failed += 1;
                tracing::info!(code = %failure.code, "a snapshot stays due: {failure}");
            }
        }
    }
}

/// Whether a running node's instance needs a closer look.
fn has_drifted(node: &Steady, fleet: &BTreeMap<InstanceId, InstanceFacts>) -> bool {
    let Some(instance) = fleet.get(&node.instance) else { return true };
    let root = instance.volumes.iter().find(|volume| volume.device == instance.root_device);
    let root_at_risk = root.is_some_and(|root| {
        root.volume != node.volume || (node.snapshot_every.is_some() && root.delete_on_termination)
    });
    let interface_at_risk = instance
        .interfaces
        .iter()
        .any(|i| Some(&i.interface) == node.kept_interface.as_ref() && i.delete_on_termination);
    instance.state != InstanceState::Running || root_at_risk || interface_at_risk
}

//! The scheduled passes: whatever no event came for.
//!
//! `reconcile` goes through everything unfinished, every running node's instance and every config item. It
//! reads AWS in batches and drives nodes one by one; one node's failure never keeps the others waiting.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt;
use perennial_core::census::Census;
use perennial_core::config;
use perennial_core::config::settings::SETTINGS;
use perennial_core::group::GroupRecord;
use perennial_core::ids::{GroupName, InstanceId, NodeName, VolumeId};
use perennial_core::names::{Tagged, whole_second};
use perennial_core::observation::{InstanceFacts, InstanceState};
use perennial_core::record::{Steady, SteadyVolume, Stored};
use perennial_core::shown::{SHOWN_MAX, bounded};
use serde_json::Value;

use crate::Engine;
use crate::configure::settings_have_lapsed;
use crate::drive::Driver;
use crate::groups::Known;
use crate::ports::{Bus, Clock, Ec2, Indexed, Reply, Store};

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
    /// All nodes, as the tick found them.
    pub census: Census,
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

impl Tick {
    fn count(&mut self, ends: &[Ended]) {
        self.failed += ends.iter().filter(|end| **end == Ended::Failed).count();
        self.cut_short |= ends.contains(&Ended::Untouched);
    }
}

impl<E: Ec2, S: Store, B: Bus, C: Clock> Engine<E, S, B, C> {
    /// Goes through everything that may have been missed.
    ///
    /// # Errors
    /// A failure of the read that says which nodes there are.
    pub async fn reconcile(&self) -> Reply<Tick> {
        let mut tick = Tick::default();
        let now = whole_second(self.clock.now());
        // What is due comes before all: no other read that fails may keep a recovery waiting.
        let nodes = self.store.nodes().await?;
        tick.census = self.census(&nodes).await;
        let removed = match self.reconcile_configs(&nodes, &mut tick).await {
            Ok(removed) => removed,
            Err(failure) => {
                tick.failed += 1;
                tracing::warn!(code = %failure.code, "the config items were not read: {failure}");
                Vec::new()
            }
        };
        let drifted = self.drifted(&nodes).await.unwrap_or_else(|failure| {
            tick.failed += 1;
            tracing::warn!(code = %failure.code, "the running instances were not read: {failure}");
            Vec::new()
        });
        // The longest due first: a set would lose that order, so it only weeds out doubles.
        let due = nodes.iter().filter(|node| node.at.is_some_and(|at| at <= now)).map(|node| &node.node);
        let mut seen: BTreeSet<NodeName> = BTreeSet::new();
        let all = due.cloned().chain(drifted).chain(removed);
        let all: Vec<NodeName> = all.filter(|node| seen.insert(node.clone())).collect();
        // Side by side, since a node may spend its time polling while others could go on.
        let driver = if all.len() <= IDLE_AT_MOST { Driver::IdleTick } else { Driver::Tick };
        let drives = all.iter().map(|node| self.drive_in_time(node, driver));
        let ends: Vec<Ended> = futures::stream::iter(drives).buffer_unordered(AT_ONCE).collect().await;
        tick.count(&ends);
        tick.driven = ends.iter().filter(|end| **end == Ended::Well).count();
        if let Err(failure) = self.orphan_pass().await {
            tick.failed += 1;
            tracing::warn!(code = %failure.code, "the orphans were not looked for: {failure}");
        }
        Ok(tick)
    }

    /// Counts all nodes, by what the index says of them. Only of those that a version wrote last which told
    /// nothing, and that do not simply run, the records are read, until their next write: few, and not for long.
    async fn census(&self, nodes: &[Indexed]) -> Census {
        let is_untold =
            |node: &&Indexed| node.standing.is_none() && (node.steady.is_none() || node.at.is_some());
        let (untold, told): (Vec<&Indexed>, Vec<&Indexed>) = nodes.iter().partition(is_untold);
        let mut census = Census::default();
        for node in told {
            census.count(&node.node, node.standing.as_ref());
        }
        let reads = untold.into_iter().map(async |node| match self.has_time_for(4) {
            true => (&node.node, self.store.load(&node.node).await.ok().flatten()),
            false => (&node.node, None),
        });
        let read: Vec<_> = futures::stream::iter(reads).buffer_unordered(AT_ONCE).collect().await;
        for (node, record) in read {
            match record {
                Some(Stored::Known(record)) => census.count(node, record.standing().as_ref()),
                Some(Stored::Newer { .. }) | None => census.unread += 1,
            }
        }
        census
    }

    async fn drive_in_time(&self, node: &NodeName, driver: Driver) -> Ended {
        if !self.has_time_for(2) {
            return Ended::Untouched;
        }
        match self.drive_with(node, None, driver).await {
            Ok(_) => Ended::Well,
            Err(failure) => {
                tracing::warn!(%node, code = %failure.code, "{failure}");
                Ended::Failed
            }
        }
    }

    /// Judges the items that say something else than what is in force, or that carry no verdict on what
    /// they say: the stream may have lost their edit. Then finds the nodes whose item is gone.
    async fn reconcile_configs(&self, nodes: &[Indexed], tick: &mut Tick) -> Reply<Vec<NodeName>> {
        let items = self.store.config_items().await?;
        let settings = self.store.settings().await?;
        if settings_have_lapsed(settings.as_ref(), &items) {
            self.configure(SETTINGS).await?;
        }
        let said = items.iter().filter(|item| !config::is_absent(item));
        let said: Vec<(&str, &Value)> = said.filter_map(|item| Some((item["id"].as_str()?, item))).collect();
        // The settings first: a suspension must not come after what it is to hold back. Then the groups, whose
        // wishes are part of what their members' items say.
        let known = Known { groups: self.groups_by_name().await?, ..Known::default() };
        let is_common = |id: &str| id == SETTINGS || id.starts_with(GroupName::KEY_PREFIX);
        let (common, nodes_said): (Vec<_>, Vec<_>) = said.iter().copied().partition(|(id, _)| is_common(id));
        self.judge_all(common.iter().filter(|(id, _)| *id == SETTINGS), &known, tick).await;
        self.judge_all(common.iter().filter(|(id, _)| *id != SETTINGS), &known, tick).await;
        let has_groups = !known.groups.is_empty() || common.iter().any(|(id, _)| *id != SETTINGS);
        let known = if has_groups { self.groups_pass(&said).await? } else { known };
        self.judge_all(nodes_said.iter(), &known, tick).await;
        for (group, members) in &known.to_judge {
            if let Err(failure) = self.judge_members(group, members.clone()).await {
                tick.failed += 1;
                tracing::warn!(%group, code = %failure.code, "{failure}");
            }
        }
        let ids: BTreeSet<&str> = said.iter().map(|(id, _)| *id).collect();
        self.removals(nodes, &ids, tick).await
    }

    async fn judge_all<'i>(
        &self,
        items: impl Iterator<Item = &'i (&'i str, &'i Value)>,
        known: &Known,
        tick: &mut Tick,
    ) {
        let judged: Vec<_> = items.map(|(id, item)| self.configure_in_time(id, item, known)).collect();
        let ends: Vec<Ended> = futures::stream::iter(judged).buffered(AT_ONCE).collect().await;
        tick.count(&ends);
        tick.configured += ends.iter().filter(|end| **end == Ended::Well).count();
    }

    async fn groups_by_name(&self) -> Reply<BTreeMap<GroupName, GroupRecord>> {
        Ok(self.store.groups().await?.into_iter().map(|group| (group.name.clone(), group)).collect())
    }

    async fn configure_in_time(&self, id: &str, item: &Value, known: &Known) -> Ended {
        if !self.has_time_for(2) {
            return Ended::Untouched;
        }
        let judged = match self.is_in_force(id, item, known).await {
            Ok(true) => return Ended::Settled,
            Ok(false) => self.configure(id).await.map(|_| ()),
            Err(failure) => Err(failure),
        };
        match judged {
            Ok(()) => Ended::Well,
            Err(failure) => {
                tracing::warn!(id = bounded(id, SHOWN_MAX), code = %failure.code, "{failure}");
                Ended::Failed
            }
        }
    }

    /// Running nodes whose instance is not as it should be, by one batched read of the deployment.
    async fn drifted(&self, nodes: &[Indexed]) -> Reply<Vec<NodeName>> {
        let steady: Vec<&Steady> = nodes.iter().filter_map(|node| node.steady.as_ref()).collect();
        if steady.is_empty() {
            return Ok(Vec::new());
        }
        let fleet = self.fleet().await?;
        let drifted = steady.into_iter().filter(|node| has_drifted(node, &fleet));
        Ok(drifted.map(|node| node.node.clone()).collect())
    }

    /// Every instance of the deployment, by id.
    pub(crate) async fn fleet(&self) -> Reply<BTreeMap<InstanceId, InstanceFacts>> {
        let fleet = self.ec2.instances_tagged(&Tagged::of(&self.deployment)).await?;
        Ok(fleet.into_iter().map(|instance| (instance.id.clone(), instance)).collect())
    }
}

/// Whether a running node's instance needs a closer look.
fn has_drifted(node: &Steady, fleet: &BTreeMap<InstanceId, InstanceFacts>) -> bool {
    let Some(instance) = fleet.get(&node.instance) else { return true };
    let root = instance.volumes.iter().find(|volume| volume.device == instance.root_device);
    let root_at_risk = root
        .is_some_and(|root| root.volume != node.volume || (node.keeps_root() && root.delete_on_termination));
    let kept = instance.interfaces.iter().find(|i| Some(&i.interface) == node.kept_interface.as_ref());
    let interface_at_risk = kept.is_some_and(|kept| {
        kept.delete_on_termination || node.public_ip.is_some_and(|public| kept.public_ip != Some(public))
    });
    instance.state != InstanceState::Running
        || root_at_risk
        || interface_at_risk
        || (node.keeps_data && has_other_data(node, instance))
}

/// Whether the instance shows other data volumes than the record knows of, or one elsewhere or at risk.
fn has_other_data(node: &Steady, instance: &InstanceFacts) -> bool {
    let mut data = instance.volumes.iter().filter(|held| held.device != instance.root_device);
    let held = |volume: &VolumeId| instance.volumes.iter().find(|held| held.volume == *volume);
    let is_known = |volume: &VolumeId| {
        node.data.iter().any(|it| it.volume == *volume) || node.left_alone.contains(volume)
    };
    let is_in_place = |it: &SteadyVolume| {
        held(&it.volume).is_some_and(|held| held.device == it.device && !held.delete_on_termination)
    };
    data.any(|held| !is_known(&held.volume))
        || !node.data.iter().all(is_in_place)
        || node.left_alone.iter().any(|volume| held(volume).is_none())
}

#[cfg(test)]
mod tests;

//! Nodes whose config item is gone: counted, confirmed by reads of their own, and noted in their records.

use std::collections::BTreeSet;

use perennial_core::config;
use perennial_core::ids::NodeName;
use perennial_core::record::Record;
use perennial_core::removal::{is_expected, is_held, vanished};

use crate::Engine;
use crate::commit::Working;
use crate::passes::Tick;
use crate::ports::{Bus, Clock, Ec2, Indexed, Reply, Store, Written};

impl<E: Ec2, S: Store, B: Bus, C: Clock> Engine<E, S, B, C> {
    /// Takes note of every node that is managed and has no item. Returns those that are to be driven.
    pub(crate) async fn removals(
        &self,
        nodes: &[Indexed],
        items: &BTreeSet<&str>,
        tick: &mut Tick,
    ) -> Reply<Vec<NodeName>> {
        let mut gone: Vec<Record> = Vec::new();
        for node in nodes.iter().filter(|node| !items.contains(node.node.key().as_str())) {
            if !self.has_time_for(4) {
                // A count that is not complete could take a mass for a few.
                tick.cut_short = true;
                return Ok(Vec::new());
            }
            let Ok(record) = self.load(&node.node).await? else { continue };
            let item = self.store.config_item(&node.node.key()).await?;
            if is_expected(&record) && item.is_none_or(|item| config::is_absent(&item)) {
                gone.push(record);
            }
        }
        if gone.is_empty() {
            return Ok(Vec::new());
        }
        let confirmed = self.store.settings().await?.and_then(|in_force| in_force.settings.confirm_removal);
        let many = gone.len();
        let held = is_held(many, nodes.len(), confirmed).then_some(many);
        let mut noted = Vec::new();
        for record in gone {
            let name = record.name.clone();
            let mut working = Working::read(record);
            let scope = self.scope_of_tick(&working.record);
            let (record, entries) = vanished(working.record.clone(), held, scope);
            working.take(record, entries);
            if self.write(&mut working).await? == Written::Done {
                noted.push(name);
            }
        }
        Ok(noted)
    }
}

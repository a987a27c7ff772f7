//! Edits of the settings: judged and answered like those of a node, and put in force for all of them.
//!
//! Without an item the defaults are in force: whoever deletes it lifts what it said.

use perennial_core::config;
use perennial_core::config::settings::{AcceptedSettings, SETTINGS, Settings, parse};
use perennial_core::journal::{Detail, Kind, OwnEvent};
use serde_json::Value;

use super::{Configured, says};
use crate::Engine;
use crate::ports::{Bus, Clock, Ec2, Reply, Store, Written};

impl<E: Ec2, S: Store, B: Bus, C: Clock> Engine<E, S, B, C> {
    /// Judges the item of the settings and puts it in force, or says why not; `None` if a write was
    /// lost and everything must be read again.
    pub(super) async fn configure_settings(&self) -> Reply<Option<Configured>> {
        // Read before the item: whoever puts a newer one in force meanwhile makes this write conflict.
        let in_force = self.store.settings().await?;
        let item = self.said_item(SETTINGS).await?;
        let Some(item) = item else {
            let Some(in_force) = in_force.filter(|s| !s.hash.is_empty()) else {
                return Ok(Some(Configured::Nothing));
            };
            return Ok(match self.replace(&in_force, String::new(), Settings::default()).await? {
                Written::Done => Some(Configured::Nothing),
                Written::Conflict => None,
            });
        };
        let settings = match parse(&item) {
            Ok(settings) => settings,
            Err(problems) => return self.reject(SETTINGS, &item, None, problems).await.map(Some),
        };
        let in_force = in_force.unwrap_or_default();
        let hash = config::hash(&item);
        let mut generation = in_force.generation;
        if in_force.hash != hash {
            if self.replace(&in_force, hash.clone(), settings).await? == Written::Conflict {
                return Ok(None);
            }
            generation += 1;
        }
        if !says(&item, &hash, true, &[]) {
            // Published before it is answered, as a rejection is: a crash in between repeats the same id.
            self.bus.publish(&[self.accepted(&hash, generation)]).await?;
            self.answer(SETTINGS, &item, true, Vec::new(), Vec::new()).await?;
        }
        Ok(Some(Configured::Accepted))
    }

    async fn replace(&self, old: &AcceptedSettings, hash: String, settings: Settings) -> Reply<Written> {
        let next = AcceptedSettings { generation: old.generation + 1, hash, settings };
        let written = self.store.write_settings(&next, old.generation).await?;
        if written == Written::Done {
            tracing::info!(generation = next.generation, settings = ?next.settings, "settings are in force");
        }
        Ok(written)
    }

    fn accepted(&self, hash: &str, generation: u64) -> OwnEvent {
        let short = &hash[..12.min(hash.len())];
        let detail = Detail {
            id: format!("{SETTINGS}-accepted-{generation}-{short}"),
            node: SETTINGS.to_owned(),
            reason: format!("config {short} accepted"),
            ..Detail::default()
        };
        OwnEvent { kind: Kind::ConfigAccepted, time: self.clock.now(), detail }
    }
}

/// Whether settings are in force that no item says any more, given all config items.
pub(crate) fn have_lapsed(in_force: Option<&AcceptedSettings>, items: &[Value]) -> bool {
    let is_said = items.iter().any(|item| item["id"] == SETTINGS && !config::is_absent(item));
    !is_said && in_force.is_some_and(|settings| !settings.hash.is_empty())
}

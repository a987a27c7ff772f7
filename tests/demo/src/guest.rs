//! The program on an instance that writes, as the local cloud lets it.
//!
//! Counts only what was acknowledged: a write that was refused is none.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::json;

use crate::access::{Access, AccessError, Reply};

/// The guest's writes in a cloud second; each changes one MiB.
const WRITES_PER_SECOND: f64 = 2.0;

/// A program that writes again and again, each time to every volume that is attached.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guest {
    /// Writes that were acknowledged.
    pub(crate) acknowledged: u64,
    /// How many of them went to each volume.
    pub(crate) on_volumes: BTreeMap<String, u64>,
    /// Whether the last one was.
    pub(crate) writing: bool,
    last: Option<Timestamp>,
}

impl Guest {
    /// Writes what it would have written since the last time; a refusal means that its instance does not run.
    ///
    /// # Errors
    /// When the cloud cannot be asked.
    pub(crate) fn write(&mut self, access: &Access, instance: &str, now: Timestamp) -> Reply<()> {
        let since = self.last.map_or(0.0, |last| now.duration_since(last).as_secs_f64());
        let times = (since * WRITES_PER_SECOND).round().max(1.0) as u64;
        let write = json!({"instanceId": instance, "times": times, "allVolumes": true});
        match access.control("POST", "write", &write) {
            Ok(answer) => {
                self.acknowledged += times;
                for volume in answer["volumes"].as_object().into_iter().flat_map(|all| all.keys()) {
                    *self.on_volumes.entry(volume.clone()).or_default() += times;
                }
                (self.writing, self.last) = (true, Some(now));
            }
            Err(AccessError::Refused { .. }) => self.rest(),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Writes nothing for now.
    pub(crate) fn rest(&mut self) {
        (self.writing, self.last) = (false, None);
    }
}

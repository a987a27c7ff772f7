//! Writing: one transaction for record, pointers and journal, conditional on the generation read.

use std::collections::BTreeSet;

use perennial_core::journal::Entry;
use perennial_core::record::{Record, SCHEMA_VERSION};

use crate::Engine;
use crate::ports::{Base, Bus, Clock, Commit, Ec2, Reply, Store, Written};

/// A record between two writes: as it was read or last written, and as it is to be.
#[derive(Clone, Debug)]
pub(crate) struct Working {
    /// As the table has it; `None` if it has none yet.
    base: Option<Record>,
    /// As it is to be.
    pub(crate) record: Record,
    /// What the next write adds to the journal.
    pub(crate) entries: Vec<Entry>,
}

impl Working {
    pub(crate) fn read(record: Record) -> Self {
        Self { base: Some(record.clone()), record, entries: Vec::new() }
    }

    pub(crate) fn new(record: Record) -> Self {
        Self { base: None, record, entries: Vec::new() }
    }

    /// A new life over the record of an old one.
    pub(crate) fn over(old: Record, record: Record) -> Self {
        Self { base: Some(old), record, entries: Vec::new() }
    }

    /// Whether there is anything to write.
    pub(crate) fn is_changed(&self) -> bool {
        !self.entries.is_empty() || self.base.as_ref() != Some(&self.record)
    }

    /// Takes over what was decided.
    pub(crate) fn take(&mut self, record: Record, entries: Vec<Entry>) {
        self.record = record;
        self.entries.extend(entries);
    }
}

impl<E: Ec2, S: Store, B: Bus, C: Clock> Engine<E, S, B, C> {
    /// Writes what changed. After [`Written::Conflict`] nothing is written, and `working` is stale.
    ///
    /// # Errors
    /// The failure of the table; whether it was written is then unknown, and a reload tells.
    pub(crate) async fn write(&self, working: &mut Working) -> Reply<Written> {
        if !working.is_changed() {
            return Ok(Written::Done);
        }
        let mut record = working.record.clone();
        record.schema_version = SCHEMA_VERSION;
        let base = working.base.as_ref();
        let expected = base.map(|base| Base { generation: base.generation, life: base.life.clone() });
        record.generation = base.map_or(1, |base| base.generation + 1);
        record.updated_at = perennial_core::names::whole_second(self.now_for(&record));
        let before = working.base.as_ref().map(Record::resources).unwrap_or_default();
        let after = record.resources();
        let only = |a: &BTreeSet<String>, b: &BTreeSet<String>| a.difference(b).cloned().collect();
        let commit = Commit {
            point: only(&after, &before),
            unpoint: only(&before, &after),
            entries: std::mem::take(&mut working.entries),
            expected,
            record,
        };
        let written = self.store.commit(&commit).await?;
        if written == Written::Done {
            for entry in &commit.entries {
                tracing::info!(node = %commit.record.name, cycle = entry.cycle, phase = %entry.phase, "{}", entry.what);
            }
            *working = Working::read(commit.record);
        }
        Ok(written)
    }
}

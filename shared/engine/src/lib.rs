//! How Perennial acts: the ports, the drive loop and the scheduled passes, without AWS.
//!
//! Nothing is decided here. The engine reads what [`perennial_core`] asks for, does what it plans, and
//! writes what it concludes; every write is conditional, every step is claimed before it is done.

pub mod backups;
pub mod commit;
pub mod configure;
pub mod drive;
pub mod groups;
pub mod observe;
pub mod orphans;
pub mod passes;
pub mod perform;
pub mod ports;
pub mod removal;
pub mod snapshots;
pub mod wake;

use ports::{Bus, Clock, Ec2, Store};

/// One invocation at work: the ports, and who it is.
#[derive(Debug)]
pub struct Engine<E, S, B, C> {
    /// EC2 and EBS.
    pub ec2: E,
    /// The tables.
    pub store: S,
    /// The bus.
    pub bus: B,
    /// Time.
    pub clock: C,
    /// The deployment that everything belongs to.
    pub deployment: String,
    /// The id of this invocation: who claims a step.
    pub invocation: String,
}

impl<E: Ec2, S: Store, B: Bus, C: Clock> Engine<E, S, B, C> {
    /// The time a node's decisions use: never before its last write, so that its story runs forward.
    fn now_for(&self, record: &perennial_core::record::Record) -> jiff::Timestamp {
        self.clock.now().max(record.updated_at)
    }
}

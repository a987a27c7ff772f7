//! What Perennial decides, and nothing else.
//!
//! Everything here is a pure function of its arguments: no async, no AWS, no clock, no environment, no
//! randomness. The engine reads the world into [`observation::Observation`], asks [`plan::plan`] what
//! comes next, does it, and gives the answer to [`absorb::absorb`]. A decision that is not in this crate
//! is a bug.

pub mod absorb;
pub mod backup;
pub mod census;
pub mod config;
pub mod event;
pub mod failure;
pub mod group;
pub mod guard;
pub mod ids;
pub mod journal;
pub mod launch;
pub mod limits;
pub mod names;
pub mod observation;
pub mod orphans;
pub mod pace;
pub mod phase;
pub mod plan;
pub mod rebalance;
pub mod record;
pub mod removal;
pub mod shown;
pub mod snapshots;
pub mod step;

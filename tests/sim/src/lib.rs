//! Seeded fault simulation: the engine over the local cloud's model, in virtual time.
//!
//! No network, no threads, no real clock: one seed is one run. A [`world::World`] holds the account and
//! the tables; [`faults`] decides which call to the world goes wrong and how; [`run`] delivers events and
//! ticks; [`invariants`] looks at the account after every step, as its owner would. [`stories`] tell what
//! happens to a node, [`matrix`] breaks every call of every story in every way, [`schedule`] draws what
//! happens from a seed, and [`sabotage`] breaks the engine's surroundings to see whether anyone notices.

pub mod account;
pub mod bench;
pub mod clock;
pub mod convert;
pub mod deeds;
pub mod ec2;
pub mod faults;
pub mod invariants;
pub mod matrix;
pub mod run;
pub mod sabotage;
pub mod scale;
pub mod schedule;
pub mod store;
pub mod stories;
pub mod world;

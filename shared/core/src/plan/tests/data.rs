//! Data volumes: what comes back, what is left alone, and that nothing a guest wrote is lost.

mod account;
mod bringing;
mod cleaning;
mod ending;
mod faults;
mod launching;
mod living;
mod missing;
mod node;
mod outcomes;
mod resting;
mod switching;
mod walk;

use super::*;
use node::Fault;

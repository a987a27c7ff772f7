//! A harness for tests of the real function binaries in the local cloud.
//!
//! An [`Account`] is a local cloud with all functions running, spoken to as an operator would: items are put over
//! the DynamoDB wire, what EC2 has is described over the EC2 wire. A [`Guest`] writes to all volumes all the
//! time, so that a lost byte shows. Nothing here knows the inside of a function; nothing sleeps to decide anything,
//! and whatever is waited for too long is told with its whole story.

mod account;
mod binaries;
mod guest;
mod runtime;
mod story;
mod view;
mod wire;

pub use account::{Account, KEY, ROLE, Setup};
pub use binaries::binary;
pub use guest::{Guest, Stay, Use};
pub use runtime::{Answer, Runtime};
pub use view::{Disk, Image, Instance, Interface, Snapshot, Volume};
pub use wire::{from_attributes, to_attribute};

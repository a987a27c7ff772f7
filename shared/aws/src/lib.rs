//! The engine's ports over the AWS SDK: one adapter per service, one table of error codes.
//!
//! The only crate that names an SDK type. It translates and never decides: what a failed call means is
//! said in [`classify`], what to do about it is said elsewhere.

pub mod classify;
pub mod clients;
pub mod dynamodb;
pub mod ec2;
pub mod eventbridge;

use jiff::Timestamp;

/// A time of the SDK as ours; `None` if it lies outside the calendar.
fn timestamp(at: &aws_smithy_types::DateTime) -> Option<Timestamp> {
    Timestamp::new(at.secs(), i32::try_from(at.subsec_nanos()).ok()?).ok()
}

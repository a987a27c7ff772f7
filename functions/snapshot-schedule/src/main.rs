//! Woken every minute.
//!
//! Takes the periodic snapshots of running nodes that are due by the clock, and rotates old ones.

use perennial_bootstrap::{Function, run};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    run(Function::SnapshotSchedule).await
}

//! Woken every minute.
//!
//! Drives every node with something unfinished, overdue or drifted, and judges config items that the stream
//! missed: with every event lost, this alone brings a node back.

use perennial_bootstrap::{Function, run};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    run(Function::Reconcile).await
}

//! Woken when a snapshot ends and when an image changes its state.
//!
//! Finds the node that waits for it and drives it on, so that no recovery waits for the next tick.

use perennial_bootstrap::{Function, run};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    run(Function::StorageState).await
}

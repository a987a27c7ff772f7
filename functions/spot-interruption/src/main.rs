//! Woken by EC2's spot interruption warnings and rebalance recommendations.
//!
//! Writes the notice into the node's record first; then, best effort in the two minutes left, has the
//! warning snapshot taken. Never terminates or launches by itself: that follows from what EC2 says next.

use perennial_bootstrap::{Function, run};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    run(Function::SpotInterruption).await
}

//! Woken by EC2's instance state-change notifications.
//!
//! Finds the node that the instance belongs to and drives it on. An instance of nobody costs one read.

use perennial_bootstrap::{Function, run};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    run(Function::InstanceState).await
}

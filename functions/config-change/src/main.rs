//! Woken by the stream of the config table.
//!
//! Has each changed item read again, judged and answered in its `_status`; what is accepted is put in force.

use perennial_bootstrap::{Function, run};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    run(Function::ConfigChange).await
}

//! Woken every minute.
//!
//! Makes the images of groups' members that are due, has members launched from the newest one, and removes old ones.

use perennial_bootstrap::{Function, run};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    run(Function::ImageBackup).await
}

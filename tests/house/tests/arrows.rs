//! The arrows between the crates hold.

use perennial_house::{arrows, assert_clean};

#[test]
fn no_arrow_turns_back_and_only_aws_knows_aws() {
    assert_clean(arrows::check(&arrows::members().unwrap()));
}

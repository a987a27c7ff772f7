//! Where the functions' binaries are: built beside the tests, or where `PERENNIAL_FUNCTIONS` says.
//!
//! Never builds anything: a test that began with a build would hide what it tests behind minutes of compiling.

use std::path::PathBuf;

/// Names the directory of the functions' binaries, when they were not built by this workspace's dev profile.
const VARIABLE: &str = "PERENNIAL_FUNCTIONS";

/// The directory that holds the functions' binaries.
pub(crate) fn directory() -> PathBuf {
    if let Some(given) = std::env::var_os(VARIABLE) {
        return given.into();
    }
    let test = std::env::current_exe().unwrap_or_default();
    // target/<profile>/deps/<test>: the binaries lie one above.
    test.ancestors().nth(2).map(PathBuf::from).unwrap_or_default()
}

/// The binary of the function in this folder.
///
/// # Panics
/// If it has not been built.
#[must_use]
pub fn binary(folder: &str) -> PathBuf {
    let path = directory().join(format!("perennial-{folder}"));
    assert!(path.is_file(), "{}", missing(&path.display().to_string()));
    path
}

/// The one sentence for a binary that is not there.
pub(crate) fn missing(what: &str) -> String {
    format!(
        "the functions are not built ({what}): run `cargo build --workspace --bins` first (`make e2e` does), or set \
         {VARIABLE} to the directory of their binaries"
    )
}

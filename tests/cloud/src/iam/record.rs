//! The record of rights that were used, across all clouds that write to one file.
//!
//! Each right is written once by each cloud, as one line in one write, so that clouds and processes may share a file.
//! What cannot be written is told and then forgotten: a record that misses a right fails its check, loudly.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use super::Use;

/// A file of used rights.
#[derive(Debug)]
pub(crate) struct Record(File);

impl Record {
    /// Opens the file, making it if it is not there.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn open(path: &Path) -> std::io::Result<Record> {
        Ok(Record(OpenOptions::new().create(true).append(true).open(path)?))
    }

    pub(super) fn add(&self, used: &Use) {
        let Use { function, statement, action, resource } = used;
        let line = format!("{function}\t{statement}\t{action}\t{resource}\n");
        if let Err(error) = (&self.0).write_all(line.as_bytes()) {
            drop(writeln!(std::io::stderr(), "perennial-cloud: the record of rights: {error}"));
        }
    }
}

/// Reads a record.
///
/// # Errors
/// The number of a line that is none.
pub(super) fn read(text: &str) -> Result<Vec<Use>, usize> {
    let lines = text.lines().enumerate();
    lines
        .map(|(at, line)| {
            let parts: Vec<&str> = line.split('\t').collect();
            let [function, statement, action, resource] = parts.as_slice() else { return Err(at + 1) };
            let [function, statement, action, resource] =
                [function, statement, action, resource].map(|part| (*part).to_owned());
            Ok(Use { function, statement, action, resource })
        })
        .collect()
}

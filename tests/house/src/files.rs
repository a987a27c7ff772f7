//! The files of the repository, as text.
//!
//! Decides which files count: everything below the root but build output and hidden folders other than
//! `.ci`. Never writes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A text file of the repository.
#[derive(Clone, Debug)]
pub struct File {
    /// Its path from the root, with `/` between the parts.
    pub path: String,
    /// What it says.
    pub text: String,
}

impl File {
    /// Whether its name ends like this.
    pub fn is(&self, ending: &str) -> bool {
        self.path.ends_with(ending)
    }

    /// Whether it lies in this folder or below.
    pub fn is_in(&self, folder: &str) -> bool {
        self.path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
    }
}

/// The root of the repository.
pub fn root() -> PathBuf {
    // As cargo says at run time: two checkouts that share a target directory may share this binary.
    let told = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let package = told.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    package.ancestors().nth(2).unwrap_or(&package).to_owned()
}

/// Reads every text file of the repository, in order of path.
///
/// # Errors
/// A folder or file that cannot be read.
pub fn all() -> io::Result<Vec<File>> {
    let mut files = Vec::new();
    collect(&root(), "", &mut files)?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

/// The Rust sources of the repository.
///
/// # Errors
/// As for [`all`].
pub fn rust() -> io::Result<Vec<File>> {
    Ok(all()?.into_iter().filter(|file| file.is(".rs")).collect())
}

/// One file by its path from the root.
///
/// # Errors
/// If it cannot be read; the message names it.
pub fn one(path: &str) -> io::Result<File> {
    let text = fs::read_to_string(root().join(path))
        .map_err(|error| io::Error::new(error.kind(), format!("{path}: {error}")))?;
    Ok(File { path: path.to_owned(), text })
}

/// The names of the folders directly below a folder, in order.
///
/// # Errors
/// If it cannot be read.
pub fn folders(path: &str) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root().join(path))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn collect(folder: &Path, below: &str, files: &mut Vec<File>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if below.is_empty() { name.clone() } else { format!("{below}/{name}") };
        if entry.file_type()?.is_dir() {
            if name == ".ci" || !(name == "target" || name.starts_with('.')) {
                collect(&entry.path(), &path, files)?;
            }
        } else if let Ok(text) = fs::read_to_string(entry.path()) {
            // What is not UTF-8 is not text.
            files.push(File { path, text });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_is_read_without_its_build_output() {
        let files = all().unwrap();
        assert!(files.iter().any(|file| file.path == "Cargo.toml"));
        assert!(files.iter().any(|file| file.path == "tests/house/src/files.rs"));
        assert!(!files.iter().any(|file| file.is_in("target") || file.is_in(".git")));
    }

    #[test]
    fn a_folder_is_not_a_prefix_of_letters() {
        let file = File { path: "shared/core-extra/src/lib.rs".to_owned(), text: String::new() };
        assert!(file.is_in("shared") && !file.is_in("shared/core"));
    }
}

//! Rules on files as lines: length, the opening comment, and places of one machine.
//!
//! Decides nothing about what the lines mean.

use crate::Finding;
use crate::files::File;

/// The most lines a file may have.
pub const FILE_MOST: usize = 600;
/// The most lines of the deployment: CloudFormation reads one file, which cannot be split.
pub const DEPLOYMENT_MOST: usize = 1500;
/// The most lines the `main.rs` of a function may have: it only wires.
pub const MAIN_MOST: usize = 60;

/// Whether a file is short enough to be read in one go.
pub fn length(file: &File) -> Option<Finding> {
    let is_main = file.is_in("functions") && file.is("/src/main.rs");
    let most = match file.path.as_str() {
        "infra/template.yaml" => DEPLOYMENT_MOST,
        _ if is_main => MAIN_MOST,
        _ => FILE_MOST,
    };
    let lines = file.text.lines().count();
    (lines > most).then(|| {
        let remedy = if is_main {
            "move what is more than wiring to shared/bootstrap or shared/engine"
        } else {
            "split it by what its parts decide"
        };
        Finding::new(&file.path, most + 1, format!("at most {most} lines, not {lines}"), remedy)
    })
}

/// Whether a module says first what it is for.
pub fn opening(file: &File) -> Option<Finding> {
    let says = file.text.lines().next().is_some_and(|line| line.starts_with("//! "));
    (!says).then(|| {
        let remedy = "open it with //! on what it decides and what it must never do";
        Finding::new(&file.path, 1, "every module opens with //!", remedy)
    })
}

/// Absolute paths of somebody's machine.
pub fn machine_paths(file: &File) -> Vec<Finding> {
    // Put together here, so that this file does not break its own rule.
    let places = ["work", "home", "root", "tmp", "Users"].map(|place| format!("/{place}/"));
    let mut findings = Vec::new();
    for (n, line) in file.text.lines().enumerate() {
        for place in &places {
            let begins = |(at, _): (usize, &str)| {
                let before = line[..at].chars().next_back();
                before.is_none_or(|c| !(c.is_alphanumeric() || "/._-~*}".contains(c)))
            };
            if line.match_indices(place.as_str()).any(begins) {
                let remedy =
                    "use a path from the root of the repository, or a temporary directory of the test";
                let rule = format!("no path of one machine: {place}");
                findings.push(Finding::new(&file.path, n + 1, rule, remedy));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: impl Into<String>) -> File {
        File { path: path.to_owned(), text: text.into() }
    }

    #[test]
    fn a_long_file_is_found_and_a_function_must_be_shorter() {
        assert!(length(&file("shared/x.rs", "x\n".repeat(600))).is_none());
        assert_eq!(length(&file("shared/x.rs", "x\n".repeat(601))).unwrap().line, 601);
        assert!(length(&file("functions/x/src/main.rs", "x\n".repeat(61))).is_some());
        assert!(length(&file("functions/x/src/main.rs", "x\n".repeat(60))).is_none());
    }

    #[test]
    fn a_module_without_an_opening_is_found() {
        assert!(opening(&file("x.rs", "//! Decides.\n")).is_none());
        for bad in ["", "use std::fmt;\n", "// Decides.\n", "//!\n", "\n//! Late.\n"] {
            assert!(opening(&file("x.rs", bad)).is_some(), "{bad:?}");
        }
    }

    #[test]
    fn a_path_of_one_machine_is_found_wherever_it_begins() {
        for place in ["home", "tmp", "work", "root"] {
            for before in ["", "\"", "see ", "(", "="] {
                let line = format!("{before}/{place}/x");
                let found = machine_paths(&file("x.md", format!("ok\n{line}")));
                assert_eq!(found.iter().map(|f| f.line).collect::<Vec<_>>(), [2], "{line}");
            }
        }
        let fine = format!("docs{0}x target{0}y https://example.com{0}z", format_args!("/{}/", "home"));
        assert!(machine_paths(&file("x.md", fine)).is_empty());
    }
}

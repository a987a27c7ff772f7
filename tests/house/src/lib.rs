//! The house rules as checks: each takes text and answers what breaks a rule, where, and what to do.
//!
//! The checks decide from what they are given and read no files, so that each can be shown to fail on a bad
//! sample; only [`files`] reads the repository. The rules are applied in this package's `tests` folder.

pub mod arrows;
pub mod codes;
pub mod dependencies;
pub mod deployment;
pub mod documents;
pub mod files;
pub mod lines;
pub mod logs;
pub mod machine;
pub mod reference;
pub mod roles;
pub mod source;
pub mod stack;
pub mod tokens;

use std::fmt;

/// One place where a rule is broken.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The file, from the root of the repository.
    pub file: String,
    /// The line, from 1; 1 where the whole file is meant.
    pub line: usize,
    /// The rule, as a statement that should hold.
    pub rule: String,
    /// What to do.
    pub remedy: String,
}

impl Finding {
    /// A finding with all its parts.
    pub fn new(file: &str, line: usize, rule: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, rule: rule.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}\n    remedy: {}", self.file, self.line, self.rule, self.remedy)
    }
}

/// Fails a test with everything that was found.
///
/// # Panics
/// If anything was found.
pub fn assert_clean(mut findings: Vec<Finding>) {
    findings.sort();
    findings.dedup();
    let all: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(all.is_empty(), "{} broken house rule(s):\n{}\n", all.len(), all.join("\n"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_names_place_rule_and_remedy() {
        let finding = Finding::new("a/b.rs", 7, "no sleeping", "wait for the state");
        assert_eq!(finding.to_string(), "a/b.rs:7: no sleeping\n    remedy: wait for the state");
    }

    #[test]
    #[should_panic(expected = "a.rs:1")]
    fn anything_found_fails() {
        assert_clean(vec![Finding::new("a.rs", 1, "rule", "remedy")]);
    }
}

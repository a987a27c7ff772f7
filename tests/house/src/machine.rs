//! The table of the state machine, as the code has it.
//!
//! Decides how it is written in the documents; what it says comes from `Phase::after` alone.

use perennial_core::phase::{Phase, Signal};

use crate::Finding;
use crate::files::File;

/// The table: a row for each signal, a column for each phase, `–` where the pair is illegal.
pub fn table() -> Vec<String> {
    let phases: Vec<&str> = Phase::ALL.iter().map(|phase| phase.as_str()).collect();
    let mut lines = vec![format!("| signal \\ phase | {} |", phases.join(" | "))];
    lines.push(format!("|---|{}", "---|".repeat(phases.len())));
    for signal in Signal::ALL {
        let cells = Phase::ALL.map(|phase| phase.after(signal).map_or("–", Phase::as_str));
        lines.push(format!("| `{signal:?}` | {} |", cells.join(" | ")));
    }
    lines
}

/// Holds a document's table against one.
pub fn check(document: &File, table: &[String]) -> Vec<Finding> {
    let lines: Vec<&str> = document.text.lines().collect();
    let Some(start) = lines.iter().position(|line| line.starts_with("| signal ")) else {
        let remedy = format!("put it in:\n{}", table.join("\n"));
        return vec![Finding::new(&document.path, 1, "has the table of phases and signals", remedy)];
    };
    let mut findings = Vec::new();
    for (n, expected) in table.iter().enumerate() {
        if lines.get(start + n) != Some(&expected.as_str()) {
            let rule = "the table says what Phase::after says";
            findings.push(Finding::new(&document.path, start + n + 1, rule, format!("write: {expected}")));
        }
    }
    if lines.get(start + table.len()).is_some_and(|line| line.starts_with('|')) {
        let line = start + table.len() + 1;
        findings.push(Finding::new(&document.path, line, "the table has no further rows", "take it out"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_cell_a_missing_table_and_a_row_too_many_are_found() {
        let table = table();
        let file = |text: String| File { path: "x.md".to_owned(), text };
        assert!(check(&file(format!("# T\n\n{}\n\nmore", table.join("\n"))), &table).is_empty());
        let wrong = table.join("\n").replacen("| launching |", "| running |", 1);
        assert!(!check(&file(wrong), &table).is_empty());
        assert_eq!(check(&file("# nothing".to_owned()), &table).len(), 1);
        let more = format!("{}\n| `Other` | new |", table.join("\n"));
        assert_eq!(check(&file(more), &table).len(), 1);
    }
}

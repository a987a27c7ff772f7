//! What a person at the terminal sees: one line for each invocation and problem, and function output if wanted.
//!
//! Decides where lines go. Never fails a request because a line could not be written.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

/// Where the output of the functions goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum FunctionOutput {
    /// Nowhere; what a function that fails to start wrote is shown all the same.
    #[default]
    Discard,
    /// To stderr, each line after the function's name.
    Stderr,
    /// To a file, each line after the function's name.
    File(PathBuf),
}

/// The lines of one cloud.
#[derive(Debug)]
pub(crate) struct Log {
    quiet: bool,
    output: Output,
}

#[derive(Debug)]
enum Output {
    Discard,
    Stderr,
    File(Mutex<File>),
}

impl Log {
    /// Opens the log; fails only when the file for function output cannot be created.
    pub(crate) fn open(quiet: bool, output: &FunctionOutput) -> std::io::Result<Log> {
        let output = match output {
            FunctionOutput::Discard => Output::Discard,
            FunctionOutput::Stderr => Output::Stderr,
            FunctionOutput::File(path) => Output::File(Mutex::new(File::create(path)?)),
        };
        Ok(Log { quiet, output })
    }

    /// A line about the cloud, unless quiet.
    pub(crate) fn line(&self, now: Timestamp, text: &str) {
        if !self.quiet {
            drop(writeln!(std::io::stderr().lock(), "{} {text}", now.strftime("%H:%M:%S")));
        }
    }

    /// A line that must be seen even when quiet: something does not work.
    pub(crate) fn problem(&self, now: Timestamp, text: &str) {
        drop(writeln!(std::io::stderr().lock(), "{} {text}", now.strftime("%H:%M:%S")));
    }

    /// A line that a function wrote.
    pub(crate) fn output(&self, function: &str, line: &str) {
        match &self.output {
            Output::Discard => {}
            Output::Stderr => drop(writeln!(std::io::stderr().lock(), "{function}: {line}")),
            Output::File(file) => {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                drop(writeln!(file, "{function}: {line}"));
            }
        }
    }
}

/// The first and the last lines of a process's output: a panic's message comes before its backtrace.
#[derive(Debug, Default)]
pub(crate) struct Excerpt {
    first: Vec<String>,
    last: VecDeque<String>,
    left_out: usize,
}

impl Excerpt {
    /// Lines kept at each end.
    const KEPT: usize = 6;

    pub(crate) fn push(&mut self, line: &str) {
        if self.first.len() < Excerpt::KEPT {
            self.first.push(line.to_owned());
            return;
        }
        if self.last.len() == Excerpt::KEPT {
            self.last.pop_front();
            self.left_out += 1;
        }
        self.last.push_back(line.to_owned());
    }

    /// The lines, each on one of its own.
    pub(crate) fn text(&self) -> String {
        let gap = (self.left_out > 0).then(|| format!("... {} lines ...", self.left_out));
        self.first.iter().chain(&gap).chain(&self.last).map(|line| format!("\n    {line}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_has_both_ends_and_says_what_it_leaves_out() {
        let mut excerpt = Excerpt::default();
        for line in 1..=15 {
            excerpt.push(&line.to_string());
        }
        let text = excerpt.text();
        let lines: Vec<&str> = text.lines().skip(1).map(str::trim).collect();
        assert_eq!(
            lines,
            ["1", "2", "3", "4", "5", "6", "... 3 lines ...", "10", "11", "12", "13", "14", "15"]
        );
    }
}

//! What the lines of every act are made of.
//!
//! Pure. Lines carry their meaning in words; a tone is only a hint for a terminal with colours.

use console::{Alignment, measure_text_width, pad_str, truncate_str};
use jiff::Timestamp;

/// How a line is meant, for terminals with colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// As any other.
    Plain,
    /// A heading.
    Strong,
    /// Good news.
    Good,
    /// Bad news.
    Bad,
    /// What is being waited for.
    Quiet,
}

/// A line of the panel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) text: String,
    pub(crate) tone: Tone,
}

/// Columns of the labels.
pub(crate) const LABEL: usize = 11;
/// Narrower than this, nothing sensible can be shown.
pub(crate) const NARROWEST: usize = 20;

/// Columns between two cells of a table.
const GAP: usize = 2;

/// A line at a moment of the story: the clock, what it is about, and the text.
pub(crate) fn dated(at: i64, what: &str, text: &str) -> String {
    one_line(&format!("{} {what:LABEL$}{text}", clock(at)))
}

/// The text on one line: a newline in a message of AWS would tear the panel.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\r', '\t'], " ")
}

/// A label and what it labels; `-` where there is nothing.
pub(crate) fn label(label: &str, parts: &[&str]) -> String {
    let parts: Vec<&str> = parts.iter().copied().filter(|part| !part.is_empty()).collect();
    let text = if parts.is_empty() { "-".to_owned() } else { parts.join("  ") };
    format!("{label:LABEL$}{text}")
}

/// One line of at most so many columns.
pub(crate) fn fit(text: &str, width: usize) -> String {
    truncate_str(&one_line(text), width, "…").into_owned()
}

/// A table of these rows, each column as wide as its widest cell.
pub(crate) fn columns(rows: &[Vec<String>]) -> Vec<String> {
    let count = rows.iter().map(Vec::len).max().unwrap_or_default();
    let cells = |column: usize| rows.iter().filter_map(move |row| row.get(column));
    let widest = |column| cells(column).map(|cell: &String| measure_text_width(cell)).max();
    let widths: Vec<usize> = (0..count).map(|column| widest(column).unwrap_or_default() + GAP).collect();
    let padded = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths);
        let text: String = cells.map(|(cell, width)| pad_str(cell, *width, Alignment::Left, None)).collect();
        text.trim_end().to_owned()
    };
    rows.iter().map(padded).collect()
}

/// A cell of a table; `-` where there is nothing.
pub(crate) fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

/// The cell of a guest's writes, with a sign that there will be more.
pub(crate) fn writes(writes: u64, writing: bool) -> String {
    match (writes, writing) {
        (0, false) => "-".to_owned(),
        (writes, true) => format!("{}…", grouped(writes)),
        (writes, false) => grouped(writes),
    }
}

/// Breaks a line between words so that no part is wider than `width`; the parts after the first are indented.
pub(crate) fn wrapped(text: &str, width: usize) -> Vec<String> {
    const INDENT: &str = "    ";
    let width = width.max(NARROWEST);
    let mut lines: Vec<String> = Vec::new();
    // Spaces stay with the word before them, so that columns of labels survive.
    for word in text.split_inclusive(' ') {
        let fits = |line: &String| measure_text_width(line) + measure_text_width(word.trim_end()) <= width;
        match lines.last_mut() {
            Some(line) if fits(line) => line.push_str(word),
            Some(_) => lines.push(format!("{INDENT}{word}")),
            None => lines.push(word.to_owned()),
        }
    }
    if lines.is_empty() {
        lines.push(String::new());
    }
    lines.into_iter().map(|line| line.trim_end().to_owned()).collect()
}

/// Cloud seconds since the start as `+mm:ss`.
pub(crate) fn clock(seconds: i64) -> String {
    format!("+{:02}:{:02}", seconds.max(0) / 60, seconds.max(0) % 60)
}

/// A number with a comma between thousands.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (nth, digit) in digits.chars().enumerate() {
        if nth > 0 && (digits.len() - nth).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Whole seconds from one moment to another; a part of a second does not count, as in the record.
pub(crate) fn seconds(from: Timestamp, to: Timestamp) -> i64 {
    to.duration_since(from).as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        let told: Vec<_> = [0, 999, 1_000, 12_345, 1_234_567].into_iter().map(grouped).collect();
        assert_eq!(told, ["0", "999", "1,000", "12,345", "1,234,567"]);
    }

    #[test]
    fn a_long_line_breaks_between_words_and_keeps_its_columns() {
        assert_eq!(wrapped("", 80), [""]);
        assert_eq!(wrapped("a  b", 80), ["a  b"]);
        assert_eq!(wrapped("label    one two three four", 20), ["label    one two", "    three four"]);
        let id = "x".repeat(30);
        assert_eq!(wrapped(&format!("one {id}"), 20), ["one".to_owned(), format!("    {id}")]);
    }
}

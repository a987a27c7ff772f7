//! Reading one attribute at a time, collecting problems instead of stopping at the first.

use jiff::SignedDuration;
use serde_json::{Map, Value};

use super::Problem;
use crate::limits;
use crate::shown::{SHOWN_MAX, bounded};

/// A map of an item, with its place, the attributes asked for so far, and the problems found so far.
pub(super) struct Reader<'a> {
    path: String,
    map: Option<&'a Map<String, Value>>,
    asked: Vec<&'static str>,
    later: Vec<&'static str>,
    pub(super) problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(path: &str, value: Option<&'a Value>) -> Self {
        let mut reader = Self {
            path: path.to_owned(),
            map: value.and_then(Value::as_object),
            asked: Vec::new(),
            later: Vec::new(),
            problems: Vec::new(),
        };
        if let Some(value) = value.filter(|v| !v.is_object()) {
            reader.problems.push(problem(path, value, "expected a map (M)"));
        }
        reader
    }

    /// Whether there is a map at all to read.
    pub(super) fn is_map(&self) -> bool {
        self.map.is_some()
    }

    pub(super) fn at(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// The value of an attribute, which from now on is a known one.
    pub(super) fn get(&mut self, key: &'static str) -> Option<&'a Value> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
        self.map.and_then(|map| map.get(key)).filter(|value| !value.is_null())
    }

    /// Knows an attribute of a later version, so that it is refused with the right words.
    pub(super) fn not_yet(&mut self, keys: &[&'static str]) {
        self.later.extend_from_slice(keys);
    }

    pub(super) fn refuse(&mut self, key: &str, value: &Value, remedy: impl Into<String>) {
        let path = self.at(key);
        self.problems.push(problem(&path, value, remedy));
    }

    pub(super) fn text(&mut self, key: &'static str, what: &str) -> Option<&'a str> {
        let value = self.get(key)?;
        match value.as_str() {
            Some(text) => Some(text),
            None => {
                self.refuse(key, value, format!("expected {what} as a string (S)"));
                None
            }
        }
    }

    pub(super) fn boolean(&mut self, key: &'static str) -> Option<bool> {
        let value = self.get(key)?;
        if value.as_bool().is_none() {
            self.refuse(key, value, "expected true or false (BOOL)");
        }
        value.as_bool()
    }

    pub(super) fn whole(&mut self, key: &'static str, least: u32, most: u32) -> Option<u32> {
        let value = self.get(key)?;
        // DynamoDB writes 3 and 3.0 alike as a number; only a whole one is meant.
        let from_fraction = || value.as_f64().filter(|n| *n >= 0.0 && n.fract() == 0.0).map(|n| n as u64);
        let number = value.as_u64().or_else(from_fraction);
        match number.and_then(|n| u32::try_from(n).ok()).filter(|n| (least..=most).contains(n)) {
            Some(number) if value.is_number() => Some(number),
            _ => {
                self.refuse(key, value, format!("expected a whole number (N) from {least} to {most}"));
                None
            }
        }
    }

    pub(super) fn duration(
        &mut self,
        key: &'static str,
        least: SignedDuration,
        most: SignedDuration,
    ) -> Option<SignedDuration> {
        let value = self.get(key)?;
        let read = value.as_str().and_then(plain_duration);
        if let Some(duration) = read.filter(|d| (least..=most).contains(d)) {
            return Some(duration);
        }
        let range = format!("from {} to {}", words(least), words(most));
        let remedy = match read {
            Some(_) => format!("out of range: write a duration {range}"),
            None => {
                format!("no duration: write a number with s, m, h or d, such as \"5m\" or \"96h\", {range}")
            }
        };
        self.refuse(key, value, remedy);
        None
    }

    /// A list of distinct strings, each as `read` wants it.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        what: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Option<Vec<T>> {
        let value = self.get(key)?;
        let Some(items) = value.as_array() else {
            self.refuse(key, value, format!("expected a list (L) of {what}"));
            return None;
        };
        if items.len() > limits::LIST_MAX {
            self.refuse(
                key,
                &Value::from(items.len()),
                format!("too many: at most {} are read", limits::LIST_MAX),
            );
            return None;
        }
        let mut out = Vec::with_capacity(items.len());
        for (n, item) in items.iter().enumerate() {
            let at = format!("{key}[{n}]");
            if items[..n].contains(item) {
                self.refuse(&at, item, "named twice: remove one");
            } else if let Some(read) = item.as_str().and_then(&read) {
                out.push(read);
            } else {
                self.refuse(&at, item, format!("expected {what} (S)"));
            }
        }
        Some(out)
    }

    /// A map below this one; `None` if it is absent.
    pub(super) fn map(&mut self, key: &'static str) -> Option<Reader<'a>> {
        let value = self.get(key)?;
        Some(Reader::new(&self.at(key), Some(value)))
    }

    /// Ends with this map: whatever was not asked for is a typo or comes later.
    pub(super) fn finish(mut self, into: &mut Vec<Problem>) {
        for (key, value) in self.map.into_iter().flatten() {
            if self.asked.contains(&key.as_str()) {
                continue;
            }
            let remedy = if self.later.contains(&key.as_str()) {
                "not supported yet by this version of Perennial: remove it".to_owned()
            } else {
                unknown(key, &self.asked)
            };
            self.refuse(key, value, remedy);
        }
        into.append(&mut self.problems);
    }
}

fn unknown(key: &str, known: &[&'static str]) -> String {
    let near = known.iter().find(|k| {
        let (a, b) = (k.to_lowercase(), key.to_lowercase());
        a == b || a.starts_with(&b) || b.starts_with(&a)
    });
    match near {
        Some(near) => format!("unknown attribute: did you mean {near:?}?"),
        None => {
            let known: Vec<_> =
                known.iter().filter(|k| !["id", super::STATUS].contains(*k)).copied().collect();
            format!("unknown attribute: remove it; known here: {}", known.join(", "))
        }
    }
}

/// A number of digits alone: no sign, nothing else that a parser of numbers lets through.
pub(super) fn plain_number(text: &str) -> Option<u32> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// A number with one unit, as people write durations; nothing else, so that `5` or `5 minutes ago` are
/// errors. Days are 24 hours.
pub(super) fn plain_duration(text: &str) -> Option<SignedDuration> {
    let unit = text.chars().last()?;
    let number = plain_number(&text[..text.len() - unit.len_utf8()])?;
    let secs = match unit {
        's' => 1,
        'm' => 60,
        'h' => 60 * 60,
        'd' => 24 * 60 * 60,
        _ => return None,
    };
    Some(SignedDuration::from_secs(i64::from(number) * secs))
}

fn words(duration: SignedDuration) -> String {
    let secs = duration.as_secs();
    match secs {
        s if s % 3600 == 0 => format!("{}h", s / 3600),
        s if s % 60 == 0 => format!("{}m", s / 60),
        s => format!("{s}s"),
    }
}

/// A problem, with its place and its value as text of bounded length.
pub(super) fn problem(path: &str, value: &Value, remedy: impl Into<String>) -> Problem {
    let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    Problem { path: bounded(path, SHOWN_MAX), value: bounded(shown, SHOWN_MAX), remedy: remedy.into() }
}

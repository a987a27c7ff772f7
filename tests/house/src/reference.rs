//! Rules on the reference of the configuration: it has every attribute that the readers know, and none else, and the
//! ranges that they accept.
//!
//! Decides from what the readers answer to items that cannot be right; whether a default or the moment at which an
//! attribute takes effect is told truly is for people.

use std::collections::BTreeSet;

use perennial_core::config::{self, Problem};
use serde_json::{Map, Value, json};

use crate::Finding;
use crate::documents::attributes;
use crate::files::File;

/// A kind of item: the sections whose tables say what it may have, and its reader.
struct Kind {
    sections: &'static [&'static str],
    /// The maps in it, the item itself as the empty path.
    maps: &'static [&'static str],
    read: fn(&Value) -> Vec<Problem>,
}

const NODE: &str = "Supported attributes";
const GROUP: &str = "Attributes of a group";
const SETTINGS: &str = "The settings";

const KINDS: [Kind; 3] = [
    Kind {
        sections: &[NODE],
        maps: &["", "launch", "launch.template", "persist", "persist.root", "persist.data", "retention"],
        read: |item| config::parse(item).problems,
    },
    Kind {
        sections: &[NODE, GROUP],
        maps: &["persist.network", "imageBackup"],
        read: |item| config::parse_group(item).0.problems,
    },
    Kind {
        sections: &[SETTINGS],
        maps: &[""],
        read: |item| config::settings::parse(item).err().unwrap_or_default(),
    },
];

/// What no attribute is called.
const NOBODY: &str = "zz";

/// Every attribute has its row, every row its attribute, and every range is the one that is accepted.
pub fn check(document: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    for kind in &KINDS {
        let rows: Vec<_> = kind.sections.iter().flat_map(|section| attributes(document, section)).collect();
        let paths: BTreeSet<&str> = rows.iter().map(|(path, _)| path.as_str()).collect();
        for missing in known(kind).into_iter().filter(|path| !is_told(path, &paths)) {
            let rule = format!("every attribute has a row in the reference: {missing} has none");
            findings.push(Finding::new(&document.path, 1, rule, "add a row for it"));
        }
    }
    for (section, read) in [(NODE, KINDS[0].read), (GROUP, KINDS[1].read), (SETTINGS, KINDS[2].read)] {
        for (path, line) in attributes(document, section) {
            let row = document.text.lines().nth(line - 1).unwrap_or_default();
            findings.extend(check_row(document, (&path, line, row), &read(&with(&path, json!([[]])))));
        }
    }
    findings
}

fn check_row(document: &File, (path, line, row): (&str, usize, &str), said: &[Problem]) -> Option<Finding> {
    if let Some(unknown) = said.iter().find(|problem| problem.remedy.contains("unknown attribute")) {
        let rule = format!("every row is about an attribute: {} is none", unknown.path);
        return Some(Finding::new(&document.path, line, rule, "correct or remove the row"));
    }
    let problem = said.iter().find(|problem| problem.path == path)?;
    let (least, most) = range(&problem.remedy)?;
    let words = [format!("{least} to {most}"), format!("`{least}` to `{most}`")];
    (!words.iter().any(|words| row.contains(words))).then(|| {
        let rule = format!("the range of {path} is told as it is, {least} to {most}");
        Finding::new(&document.path, line, rule, "correct the row")
    })
}

/// The attributes that the reader of a kind knows in its maps, as it lists them for one that it does not know.
fn known(kind: &Kind) -> Vec<String> {
    let mut found = Vec::new();
    for map in kind.maps {
        let at = if map.is_empty() { NOBODY.to_owned() } else { format!("{map}.{NOBODY}") };
        let problems = (kind.read)(&with(&at, json!(1)));
        let listed = problems.iter().find(|problem| problem.path == at);
        let names = listed.and_then(|problem| problem.remedy.split_once("known here: ")).map(|it| it.1);
        let names = names.into_iter().flat_map(|names| names.split(", "));
        found.extend(names.map(|name| at.replace(NOBODY, name)));
    }
    found
}

/// Whether an attribute has a row, or is a map whose parts have. What a reader knows in order to refuse it with the
/// place where it belongs has its row there.
fn is_told(path: &str, rows: &BTreeSet<&str>) -> bool {
    let elsewhere = ["imageBackup", "persist.network.privateIp", "persist.network.elasticIp"];
    let is_map_of = |row: &&str| row.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'));
    rows.contains(path) || rows.iter().any(is_map_of) || elsewhere.contains(&path)
}

/// An item with this value at this path, and what is otherwise needed.
fn with(path: &str, mut value: Value) -> Value {
    for part in path.rsplit('.') {
        value = Value::Object(Map::from_iter([(part.to_owned(), value)]));
    }
    value["id"] = json!("node#example");
    value
}

/// The range in a remedy such as "… from 0 to 1000000", with the separators that people read.
fn range(remedy: &str) -> Option<(String, String)> {
    let (_, range) = remedy.rsplit_once("from ")?;
    let (least, most) = range.split_once(" to ")?;
    let most = most.split([',', ' ']).next()?;
    Some((grouped(least), grouped(most)))
}

fn grouped(number: &str) -> String {
    if !number.bytes().all(|b| b.is_ascii_digit()) {
        return number.to_owned();
    }
    let digits = number.len();
    let mut out = String::new();
    for (n, digit) in number.chars().enumerate() {
        if n > 0 && (digits - n).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Every item that a document shows as JSON of DynamoDB is one that would be accepted, as far as AWS need not be asked.
pub fn check_examples(document: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (item, line) in examples(&document.text) {
        let id = item["id"].as_str().unwrap_or_default();
        let problems = match id.split('#').next() {
            Some("node") => config::parse(&item).problems,
            Some("group") => config::parse_group(&item).0.problems,
            _ => (KINDS[2].read)(&item),
        };
        findings.extend(problems.into_iter().map(|problem| {
            let rule = format!("every item shown is accepted: in {id} {} is not", problem.path);
            Finding::new(&document.path, line, rule, problem.remedy)
        }));
    }
    findings
}

/// The items shown in blocks of JSON, with the lines of these.
fn examples(text: &str) -> Vec<(Value, usize)> {
    let mut found = Vec::new();
    let mut block: Option<(String, usize)> = None;
    for (n, line) in text.lines().enumerate() {
        match (&mut block, line.trim()) {
            (None, "```json") => block = Some((String::new(), n + 1)),
            (Some((shown, at)), "```") => {
                let item: Option<Value> = serde_json::from_str(shown).ok();
                let is_item = |item: &Value| item["id"]["S"].is_string();
                found.extend(item.filter(is_item).map(|item| (plain(&json!({"M": item})), *at)));
                block = None;
            }
            (Some((shown, _)), _) => *shown += line,
            (None, _) => {}
        }
    }
    found
}

/// A value of DynamoDB as the readers take it.
fn plain(value: &Value) -> Value {
    let Some((kind, value)) = value.as_object().and_then(|map| map.iter().next()) else { return Value::Null };
    match (kind.as_str(), value) {
        ("M", Value::Object(map)) => map.iter().map(|(key, value)| (key.clone(), plain(value))).collect(),
        ("L", Value::Array(list)) => list.iter().map(plain).collect(),
        ("N", Value::String(number)) => serde_json::from_str(number).unwrap_or(Value::Null),
        (_, value) => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_readers_write_them() {
        let is = |least: &str, most: &str| Some((least.to_owned(), most.to_owned()));
        assert_eq!(range("expected a whole number (N) from 0 to 1000000"), is("0", "1,000,000"));
        assert_eq!(range("expected a whole number (N) from 1 to 200, as many as …"), is("1", "200"));
        assert_eq!(range("no duration: write …, from 1m to 24h"), is("1m", "24h"));
        assert_eq!(range("expected true or false (BOOL)"), None);
    }

    #[test]
    fn the_readers_say_what_they_know() {
        let of = |n: usize| known(&KINDS[n]);
        for (n, path) in [
            (0, "desiredState"),
            (0, "launch.template.version"),
            (0, "persist.data.mode"),
            (0, "retention.delete"),
            (1, "persist.network.elasticIpPool"),
            (1, "imageBackup.volumes"),
            (2, "confirmRemoval"),
        ] {
            assert!(of(n).iter().any(|known| known == path), "{path}: {:?}", of(n));
        }
    }

    #[test]
    fn a_row_too_few_too_many_or_with_a_wrong_range_is_found() {
        let row = |path: &str, limits: &str| format!("| `{path}` | N | x | {limits} | y | z |\n");
        let table = |section: &str, kind: &Kind, bad: &str| {
            let mut text = format!("## {section}\n");
            for path in known(kind).iter().filter(|path| *path != bad) {
                let said = (kind.read)(&with(path, json!([[]])));
                let limits =
                    said.iter().find(|problem| problem.path == *path).and_then(|it| range(&it.remedy));
                let limits = limits.map(|(least, most)| format!("{least} to {most}"));
                text += &row(path, &limits.unwrap_or_default());
            }
            text
        };
        let doc = |bad: &str, more: &str| {
            let text = table(NODE, &KINDS[0], bad)
                + more
                + &table(GROUP, &KINDS[1], bad)
                + &table(SETTINGS, &KINDS[2], bad);
            check(&File { path: "C.md".into(), text })
        };
        let rules = |found: Vec<Finding>| found.into_iter().map(|it| it.rule).collect::<Vec<_>>();
        assert_eq!(rules(doc("", "")), [""; 0]);
        let missing = rules(doc("retention.after", ""));
        assert_eq!(missing.len(), 1, "{missing:?}");
        assert!(missing[0].contains("retention.after has none"));
        let wrong = rules(doc("", &(row("recycle", "0 to 7") + &row("launch.typo", ""))));
        assert_eq!(wrong.len(), 2, "{wrong:?}");
        assert!(wrong[0].contains("0 to 1,000,000") && wrong[1].contains("launch.typo is none"));
    }

    #[test]
    fn an_item_shown_that_would_be_refused_is_found() {
        let shown = |item: &str| {
            let text = format!("# Top\n```json\n{item}\n```\n");
            check_examples(&File { path: "C.md".into(), text })
        };
        let launch = r#""launch": {"M": {"template": {"M": {"name": {"S": "base"}}}}}"#;
        assert_eq!(shown(&format!(r#"{{"id": {{"S": "node#a"}}, {launch}, "recycle": {{"N": "2"}}}}"#)), []);
        assert_eq!(shown(r#"{"id": {"S": "settings"}, "suspend": {"BOOL": true}}"#), []);
        assert_eq!(shown(r#"{"Version": "2012-10-17"}"#), []);
        let bad = shown(&format!(r#"{{"id": {{"S": "group#a"}}, {launch}, "capcity": {{"N": "2"}}}}"#));
        assert_eq!(bad.iter().map(|it| it.line).collect::<Vec<_>>(), [2]);
        assert!(bad[0].rule.contains("in group#a capcity is not"), "{bad:?}");
        assert_eq!(shown(r#"{"id": {"S": "node#a"}, "tags": {"L": [{"S": "x"}]}}"#).len(), 2);
    }
}

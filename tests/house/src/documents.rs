//! Rules on documents: links lead somewhere, commands exist, and what is said of the config is so.
//!
//! Decides from Markdown as parsed; whether the prose is true is for people.

use std::collections::BTreeSet;

use perennial_core::config;
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
use serde_json::{Map, Value, json};

use crate::Finding;
use crate::files::File;

fn parse(text: &str) -> impl Iterator<Item = (Event<'_>, usize)> {
    let events = Parser::new_ext(text, Options::ENABLE_TABLES).into_offset_iter();
    events.map(|(event, range)| (event, text[..range.start].matches('\n').count() + 1))
}

/// Every relative link leads to a file or folder, and to a heading if it names one.
pub fn check_links(
    document: &File,
    exists: &dyn Fn(&str) -> bool,
    read: &dyn Fn(&str) -> Option<String>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (event, line) in parse(&document.text) {
        let Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) = event else { continue };
        if dest_url.contains("://") || dest_url.starts_with("mailto:") {
            continue;
        }
        let (path, heading) = dest_url.split_once('#').unwrap_or((&dest_url, ""));
        let target = resolve(&document.path, path);
        if !target.as_deref().is_some_and(exists) {
            let rule = format!("every link leads somewhere: {dest_url} does not");
            findings.push(Finding::new(&document.path, line, rule, "correct the link"));
            continue;
        }
        let text =
            if path.is_empty() { Some(document.text.clone()) } else { target.as_deref().and_then(read) };
        if !heading.is_empty() && !text.is_some_and(|text| anchors(&text).contains(heading)) {
            let rule = format!("every link leads to a heading that is there: {dest_url} does not");
            findings.push(Finding::new(&document.path, line, rule, "correct the part after #"));
        }
    }
    findings
}

/// The path a link means, from the root; `None` if it leads out of the repository.
fn resolve(from: &str, link: &str) -> Option<String> {
    if link.is_empty() {
        return Some(from.to_owned());
    }
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// The anchors that a forge makes of headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    let mut heading: Option<String> = None;
    for (event, _) in parse(text) {
        match event {
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::End(TagEnd::Heading(_)) => {
                let words = heading.take().unwrap_or_default().to_lowercase().replace(' ', "-");
                anchors.insert(words.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect());
            }
            Event::Text(part) | Event::Code(part) => {
                if let Some(heading) = heading.as_mut() {
                    heading.push_str(&part);
                }
            }
            _ => {}
        }
    }
    anchors
}

/// The targets of a Makefile, with their lines.
pub fn targets(makefile: &File) -> Vec<(String, usize)> {
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b"-0123456789".contains(&b))
    };
    let rules = makefile.text.lines().enumerate().filter_map(|(n, line)| {
        let (name, rest) = line.split_once(':')?;
        (is_name(name) && !rest.starts_with('=')).then(|| (name.to_owned(), n + 1))
    });
    rules.collect()
}

/// Every target says what it does, for `make help`.
pub fn check_targets(makefile: &File) -> Vec<Finding> {
    let lines: Vec<&str> = makefile.text.lines().collect();
    let silent = targets(makefile).into_iter().filter(|(_, line)| !lines[line - 1].contains("## "));
    silent
        .map(|(name, line)| {
            let rule = format!("every target says what it does: {name} does not");
            Finding::new(&makefile.path, line, rule, "add \"## …\" after its prerequisites")
        })
        .collect()
}

/// Every `make` target that a document names exists.
pub fn check_commands(document: &File, targets: &[(String, usize)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut in_block = false;
    for (event, line) in parse(&document.text) {
        let code = match event {
            Event::Start(Tag::CodeBlock(_)) => {
                in_block = true;
                continue;
            }
            Event::End(TagEnd::CodeBlock) => {
                in_block = false;
                continue;
            }
            Event::Code(code) => code,
            Event::Text(text) if in_block => text,
            _ => continue,
        };
        for (n, command) in code.lines().enumerate() {
            let mut words = command.trim_start_matches(['$', ' ']).split_whitespace();
            let named =
                if words.next() == Some("make") { words.find(|word| !word.contains('=')) } else { None };
            let Some(named) = named.filter(|word| word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'))
            else {
                continue;
            };
            if !targets.iter().any(|(target, _)| target == named) {
                let rule = format!("every command named exists: make {named} does not");
                findings.push(Finding::new(&document.path, line + n, rule, "correct it, or add the target"));
            }
        }
    }
    findings
}

/// The attributes in the first column of the tables under a heading: paths in code quotes.
pub fn attributes(document: &File, heading: &str) -> Vec<(String, usize)> {
    let mut under = false;
    let mut found = Vec::new();
    for (n, line) in document.text.lines().enumerate() {
        if line.starts_with("## ") {
            under = line.trim_start_matches("## ") == heading;
        } else if under && let Some(path) = line.strip_prefix("| `").and_then(|rest| rest.split_once('`')) {
            found.push((path.0.to_owned(), n + 1));
        }
    }
    found
}

/// An item that sets one attribute to something it cannot mean, and what is otherwise needed.
fn item_with(path: &str) -> Value {
    let mut item = json!([[]]);
    for part in path.rsplit('.') {
        item = Value::Object(Map::from_iter([(part.to_owned(), item)]));
    }
    item["id"] = json!("node#example");
    if item["launch"]["template"].is_null() {
        // Indexing an absent map makes one.
        item["launch"]["template"] = json!({"name": "example"});
    }
    item
}

/// What the config reader says of an attribute that it does not take yet.
const NOT_YET: &str = "not supported yet";

/// The attributes of the two sections are read, and refused, as they say; and none is left out.
pub fn check_attributes(document: &File) -> Vec<Finding> {
    let mut found = Vec::new();
    let supported = attributes(document, "Supported attributes");
    let refused = attributes(document, "Refused for now");
    for (path, line) in &supported {
        let problems = config::parse(&item_with(path)).problems;
        if problems.iter().any(|p| p.remedy.contains(NOT_YET) || p.remedy.contains("unknown attribute")) {
            found.push(Finding::new(
                &document.path,
                *line,
                format!("{path} is supported"),
                "move or correct it",
            ));
        }
    }
    for (path, line) in &refused {
        let problems = config::parse(&item_with(path)).problems;
        if !problems.iter().any(|p| p.path == *path && p.remedy.contains(NOT_YET)) {
            let rule = format!("{path} is refused as {NOT_YET}");
            found.push(Finding::new(&document.path, *line, rule, "move or correct it"));
        }
    }
    for attribute in config::ATTRIBUTES {
        if !document.text.contains(&format!("`{attribute}")) {
            let rule = format!("every attribute is documented: {attribute} is not");
            found.push(Finding::new(&document.path, 1, rule, "add a row for it"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn a_link_that_leads_nowhere_is_found() {
        let exists = |path: &str| ["docs/A.md", "README.md", "docs"].contains(&path);
        let read = |path: &str| (path == "docs/A.md").then(|| "# The `first` part\n".to_owned());
        let text = "# Top\n[a](../README.md) [b](A.md#the-first-part) [c](#top) [d](https://example.com/x)\n\
                    ![e](none.png)\n[f](A.md#other)\n[g](#none)\n[h](../../out.md)\n";
        let found = check_links(&file("docs/B.md", text), &|p| exists(p) || p == "docs/B.md", &read);
        assert_eq!(found.iter().map(|f| f.line).collect::<Vec<_>>(), [3, 4, 5, 6], "{found:?}");
    }

    #[test]
    fn a_command_that_does_not_exist_is_found() {
        let makefile = file("Makefile", "X := 1\n.PHONY: a\ndemo: build ## Shows it.\n\tcargo run\nbuild:\n");
        let targets = targets(&makefile);
        assert_eq!(targets, [("demo".to_owned(), 3), ("build".to_owned(), 5)]);
        assert_eq!(check_targets(&makefile)[0].line, 5);
        let text = "`make demo` and `make ACT=x demo`, do make sure.\n\n```\n$ make demo\nmake absent\n```\n`make gone`\n";
        let found = check_commands(&file("R.md", text), &targets);
        assert_eq!(found.iter().map(|f| f.line).collect::<Vec<_>>(), [5, 7], "{found:?}");
    }

    #[test]
    fn attributes_are_read_from_the_tables_of_one_section() {
        let text = "## One\n| `a.b` | x |\n| plain | y |\n## Two\n| `c` | z |\n";
        assert_eq!(attributes(&file("C.md", text), "One"), [("a.b".to_owned(), 2)]);
    }

    #[test]
    fn an_attribute_that_is_not_as_documented_is_found() {
        let all: String = config::ATTRIBUTES.iter().map(|name| format!("`{name}` ")).collect();
        let right =
            "## Supported attributes\n| `launch.market` | x |\n## Refused for now\n| `targetGroups` | y |\n";
        assert!(check_attributes(&file("C.md", &format!("{all}\n{right}"))).is_empty());
        let wrong = "## Supported attributes\n| `targetGroups` | x |\n| `launch.typo` | x |\n\
                     ## Refused for now\n| `launch.market` | y |\n";
        let found = check_attributes(&file("C.md", &format!("{all}\n{wrong}")));
        assert_eq!(found.iter().map(|f| f.line).collect::<Vec<_>>(), [3, 4, 6], "{found:?}");
        assert_eq!(check_attributes(&file("C.md", right)).len(), config::ATTRIBUTES.len() - 2);
    }
}

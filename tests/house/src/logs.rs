//! What a log line may show: words and ids, never an event, an item, a record or a request whole.
//!
//! Decides from the text of the calls of `tracing`: a value is shown only under a name that is known to stand for
//! something short. It does not follow a name to its type; what is new is looked at by a person once.

use crate::Finding;
use crate::files::File;

/// Names of values that are short, and hold nothing of what the operator or a guest wrote but names.
const SHORT: [&str; 15] = [
    "bad",
    "class",
    "code",
    "configured",
    "end",
    "error",
    "group",
    "instance",
    "name",
    "newer",
    "node",
    "phase",
    "resource",
    "settings",
    "snapshot",
];
const LEVELS: [&str; 5] = ["trace", "debug", "info", "warn", "error"];
const REMEDY: &str = "show its id, or bound it with core::shown and name it for what it is; a new short one is listed \
                      in the house rules";

/// Every value in a call of `tracing` that may be long or secret.
pub fn check(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (at, level) in LEVELS.iter().flat_map(|level| calls(&file.text, level)) {
        let call = arguments(&file.text[at..]);
        let line = file.text[..at].lines().count().max(1);
        for shown in shown(call).into_iter().filter(|shown| !is_short(shown)) {
            let rule = format!("a log shows nothing whole: tracing::{level}! shows {shown}");
            findings.push(Finding::new(&file.path, line, rule, REMEDY));
        }
    }
    findings
}

fn calls<'l>(text: &str, level: &'l str) -> Vec<(usize, &'l str)> {
    let call = format!("tracing::{level}!(");
    text.match_indices(&call).map(|(at, _)| (at + call.len(), level)).collect()
}

/// What stands between the brackets of a call that has just been opened.
fn arguments(text: &str) -> &str {
    let mut depth = 1;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &text[..at];
        }
    }
    text
}

/// The values that are shown by their own `Debug` or `Display`: `?x`, `%x`, and `{x:?}` in the sentence.
fn shown(call: &str) -> Vec<&str> {
    let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    let sigils = call.match_indices(['?', '%']).filter(|(at, _)| {
        // At the beginning of a field; an operator stands behind a value.
        call[..*at].trim_end().ends_with([',', '=']) || call[..*at].trim().is_empty()
    });
    let mut found: Vec<&str> = sigils
        .map(|(at, _)| {
            let rest = &call[at + 1..];
            let rest = rest.strip_prefix('&').unwrap_or(rest);
            &rest[..rest.find(|c| !is_path(c)).unwrap_or(rest.len())]
        })
        .collect();
    for (at, _) in call.match_indices(":?}").chain(call.match_indices(":#?}")) {
        let begin = call[..at].rfind('{').map_or(at, |begin| begin + 1);
        found.push(&call[begin..at]);
    }
    found
}

fn is_short(shown: &str) -> bool {
    shown.rsplit('.').next().is_some_and(|last| SHORT.contains(&last))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(usize, String)> {
        let file = File { path: "a.rs".to_owned(), text: text.to_owned() };
        check(&file).into_iter().map(|it| (it.line, it.rule)).collect()
    }

    #[test]
    fn what_may_be_long_is_found_however_it_is_shown() {
        for call in [
            "tracing::warn!(?event, \"malformed\");",
            "tracing::info!(id, item = ?change.item, \"judged\");",
            "tracing::debug!(%payload);",
            "tracing::error!(\n    node = %record.name,\n    \"{request:?}\",\n);",
            "tracing::trace!(\"{:?}\", event);",
        ] {
            assert_eq!(found(call).len(), 1, "{call}");
        }
        assert_eq!(found("fn f() {\n    tracing::warn!(?event, \"x\");\n}")[0].0, 2);
    }

    #[test]
    fn ids_words_and_sentences_are_not() {
        let text = "tracing::info!(%node, code = %failure.code, ?end, left = a % b, \"{failure} at {}\", x.parse()?);";
        assert_eq!(found(text), []);
    }
}

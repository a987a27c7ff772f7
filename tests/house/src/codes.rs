//! The codes of `blocked`: those that core can write are those that the runbook explains.
//!
//! Decides from the literals in the source: the first argument of `.block(…)` and `.mark(…)`, or what a constant there
//! stands for, the `code` of an obstacle, and everything that `refusal_code` answers.

use std::collections::BTreeMap;

use crate::Finding;
use crate::files::File;
use crate::tokens::Tokens;

/// Every code in the sources of core, with a place where it stands.
pub fn written(sources: &[File]) -> BTreeMap<String, (String, usize)> {
    let mut codes = BTreeMap::new();
    for file in sources.iter().filter(|file| file.is_in("shared/core/src")) {
        let Ok(tokens) = Tokens::read(&file.text) else { continue };
        let tokens = tokens.without_tests();
        let marks = tokens.first_arguments("mark");
        let found = tokens.first_arguments("block").into_iter().chain(tokens.field_values("code"));
        for code in found.chain(marks).chain(tokens.body_of("refusal_code").strings()) {
            codes.entry(code.what).or_insert((file.path.clone(), code.line));
        }
    }
    codes
}

/// Holds the codes against the headings of the runbook, which are the codes in code quotes.
pub fn check(written: &BTreeMap<String, (String, usize)>, runbook: &File) -> Vec<Finding> {
    let explained: BTreeMap<&str, usize> = runbook
        .text
        .lines()
        .enumerate()
        .filter_map(|(n, line)| Some((line.strip_prefix("### `")?.strip_suffix('`')?, n + 1)))
        .collect();
    let mut findings = Vec::new();
    for (code, (path, line)) in written {
        if !explained.contains_key(code.as_str()) {
            let remedy = format!("add a paragraph \"### `{code}`\" to {}", runbook.path);
            findings.push(Finding::new(path, *line, "every code of `blocked` is explained", remedy));
        }
    }
    for (code, line) in explained {
        if !written.contains_key(code) {
            let rule = format!("every code explained exists: {code:?} does not");
            findings.push(Finding::new(&runbook.path, line, rule, "take the paragraph out"));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn codes_are_found_in_all_forms_and_compared_both_ways() {
        let source = r#"
            const LEFT: &str = "left-alone";
            fn f(draft: D) { draft.block("capacity", m); draft.block(o.code, m); draft.mark(LEFT, m) }
            fn g() -> O { O { code: "no-subnet", m } }
            fn refusal_code(s: S) -> &'static str { match s { A => "a-refused", B => "b-refused" } }
            #[cfg(test)] mod tests { fn h() { d.block("not-real", m) } }
        "#;
        let written = written(&[file("shared/core/src/x.rs", source), file("tests/x.rs", source)]);
        let codes: Vec<_> = written.keys().map(String::as_str).collect();
        assert_eq!(codes, ["a-refused", "b-refused", "capacity", "left-alone", "no-subnet"]);
        let runbook = file(
            "docs/R.md",
            "### `capacity`\n### `no-subnet`\n### `left-alone`\n### `a-refused`\n### `gone`\n",
        );
        let findings = check(&written, &runbook);
        assert_eq!(findings.len(), 2, "{findings:?}");
        assert!(findings.iter().any(|f| f.file == "docs/R.md" && f.line == 5));
        assert!(findings.iter().any(|f| f.remedy.contains("b-refused")));
    }
}

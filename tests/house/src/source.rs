//! Rules on what Rust sources may say.
//!
//! Decides by tokens: a rule is broken by code, never by a comment or a string that speaks of it.

use crate::Finding;
use crate::files::File;
use crate::tokens::Tokens;

/// What a crate must not name outside its tests: the segments that must not stand side by side in a path.
#[derive(Clone, Copy, Debug)]
struct Banned {
    path: &'static [&'static str],
    instead: &'static str,
}

const TIME: &str = "take the time as an argument; only shared/bootstrap reads a clock";
const ENVIRONMENT: &str = "take the setting as an argument; only shared/bootstrap reads the environment";
const CHANCE: &str = "derive it from what it is for (core::names); nothing here is left to chance";
const ASYNC: &str = "core decides and does nothing: move what waits to shared/engine";
const AWS: &str = "say it in our own words behind a port; only shared/aws knows AWS";

/// What neither core nor engine may name.
const HIDDEN_INPUTS: [Banned; 13] = [
    Banned { path: &["SystemTime"], instead: TIME },
    Banned { path: &["Instant", "now"], instead: TIME },
    Banned { path: &["Timestamp", "now"], instead: TIME },
    Banned { path: &["Zoned", "now"], instead: TIME },
    Banned { path: &["std", "env"], instead: ENVIRONMENT },
    Banned { path: &["std", "process"], instead: ENVIRONMENT },
    Banned { path: &["std", "fs"], instead: ENVIRONMENT },
    Banned { path: &["rand"], instead: CHANCE },
    Banned { path: &["getrandom"], instead: CHANCE },
    Banned { path: &["fastrand"], instead: CHANCE },
    Banned { path: &["uuid"], instead: CHANCE },
    Banned { path: &["tokio"], instead: AWS },
    Banned { path: &["lambda_runtime"], instead: AWS },
];

/// What core may not name besides.
const ASYNCHRONY: [Banned; 3] = [
    Banned { path: &["async"], instead: ASYNC },
    Banned { path: &["await"], instead: ASYNC },
    Banned { path: &["futures"], instead: ASYNC },
];

/// Ways to wait by the clock.
const SLEEPS: [Banned; 2] = [
    Banned { path: &["thread", "sleep"], instead: "wait for a state, or let the virtual clock pass" },
    Banned { path: &["time", "sleep"], instead: "wait for a state, or use the Clock port" },
];

/// Checks one Rust source against everything that applies to its place.
pub fn check(file: &File) -> Vec<Finding> {
    let tokens = match Tokens::read(&file.text) {
        Ok(tokens) => tokens,
        Err(problem) => {
            let remedy = "mend it; the house rules read every source";
            return vec![Finding::new(
                &file.path,
                problem.line,
                format!("is Rust: {}", problem.what),
                remedy,
            )];
        }
    };
    let mut findings = unfinished(&file.path, &tokens);
    let production = tokens.without_tests();
    let is_test =
        file.is_in("shared/core/tests") || file.is_in("shared/engine/tests") || file.is("/tests.rs");
    if !is_test && file.is_in("shared/core") {
        findings.extend(banned(&file.path, &production, &HIDDEN_INPUTS, "core is pure"));
        findings.extend(banned(&file.path, &production, &ASYNCHRONY, "core is pure"));
        findings.extend(aws(&file.path, &production));
    }
    if !is_test && file.is_in("shared/engine") {
        findings.extend(banned(&file.path, &production, &HIDDEN_INPUTS, "engine has no hidden input"));
        findings.extend(aws(&file.path, &production));
    }
    if ["shared/core", "shared/engine", "tests/sim"].iter().any(|folder| file.is_in(folder)) {
        findings.extend(banned(&file.path, &tokens, &SLEEPS, "nothing here waits by the wall clock"));
    }
    findings
}

/// Code that says of itself that it is not finished, and tests that do not run.
fn unfinished(path: &str, tokens: &Tokens) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in tokens.macros() {
        if ["todo", "unimplemented", "dbg"].contains(&name.what.as_str()) {
            let rule = format!("no {}! in the repository", name.what);
            findings.push(Finding::new(path, name.line, rule, "finish it, or take it out"));
        }
    }
    for attribute in tokens.attributes() {
        let (rule, remedy) = match attribute.what.as_str() {
            "ignore" => ("every test runs", "make the test pass, or delete it"),
            "allow" => (
                "an exception from a lint is expected, with its reason",
                "write #[expect(…, reason = \"…\")]",
            ),
            _ => continue,
        };
        findings.push(Finding::new(path, attribute.line, rule, remedy));
    }
    findings
}

fn banned(path: &str, tokens: &Tokens, list: &[Banned], why: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for named in tokens.paths() {
        for ban in list {
            let is_named = named.what.windows(ban.path.len()).any(|part| part == ban.path);
            if is_named {
                let rule = format!("{why}: no `{}`", ban.path.join("::"));
                findings.push(Finding::new(path, named.line, rule, ban.instead));
            }
        }
    }
    findings
}

fn aws(path: &str, tokens: &Tokens) -> Vec<Finding> {
    let named = tokens.paths().into_iter().filter(|p| p.what.first().is_some_and(|s| s.starts_with("aws_")));
    named
        .map(|p| Finding::new(path, p.line, format!("no AWS crate here: `{}`", p.what.join("::")), AWS))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(path: &str, text: &str) -> Vec<(usize, String)> {
        let file = File { path: path.to_owned(), text: text.to_owned() };
        check(&file).into_iter().map(|f| (f.line, f.rule)).collect()
    }

    #[test]
    fn core_is_refused_every_hidden_input() {
        for code in [
            "use std::time::SystemTime;",
            "fn f() { let t = Instant::now(); }",
            "fn f() { let t = jiff::Timestamp::now(); }",
            "use std::{env, fmt};",
            "fn f() { rand::random(); }",
            "use tokio::time;",
            "use futures::join;",
            "async fn f() {}",
            "use aws_sdk_ec2::Client;",
            "use aws_config::Region;",
        ] {
            assert_eq!(rules("shared/core/src/x.rs", code).len(), 1, "{code}");
        }
        assert!(rules("shared/core/src/x.rs", "use std::fmt; fn f(now: jiff::Timestamp) {}").is_empty());
    }

    #[test]
    fn engine_may_be_asynchronous_and_nothing_more() {
        assert!(rules("shared/engine/src/x.rs", "use futures::join; async fn f() { g().await }").is_empty());
        for code in ["use tokio::spawn;", "fn f() { std::env::var(\"X\"); }", "use aws_sdk_ec2::Client;"] {
            assert_eq!(rules("shared/engine/src/x.rs", code).len(), 1, "{code}");
        }
    }

    #[test]
    fn tests_of_core_may_do_what_core_may_not_but_nobody_sleeps() {
        let test = "#[cfg(test)] mod tests { use std::env; }";
        assert!(rules("shared/core/src/x.rs", test).is_empty());
        assert!(rules("shared/aws/src/x.rs", "use std::env;").is_empty());
        for code in ["fn f() { std::thread::sleep(d); }", "async fn f() { tokio::time::sleep(d).await }"] {
            assert_eq!(rules("tests/sim/src/x.rs", code).len(), 1, "{code}");
        }
    }

    #[test]
    fn unfinished_code_is_found_and_talk_of_it_is_not() {
        let found = rules("functions/x/src/main.rs", "#[test]\n#[ignore]\nfn f() { todo!() }");
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].0, 3);
        assert!(rules("tests/x.rs", "// todo!()\nfn f() { g(\"dbg!()\") }").is_empty());
        assert_eq!(rules("tests/x.rs", "#[allow(dead_code)] fn f() {}").len(), 1);
    }

    #[test]
    fn a_source_that_cannot_be_read_is_found() {
        assert_eq!(rules("tests/x.rs", "fn f( {").len(), 1);
    }
}

//! Rust source as tokens: paths, macros, attributes and literals with their lines.
//!
//! Comments and the insides of strings are no code here, so a rule cannot be broken by being spoken of.
//! Resolves no names: a path is what stands in the source, with the groups of a `use` spread out.

use std::collections::BTreeMap;
use std::str::FromStr;

use proc_macro2::{Delimiter, Group, Span, TokenStream, TokenTree};

/// Something at a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At<T> {
    /// The line, from 1.
    pub line: usize,
    /// What stands there.
    pub what: T,
}

/// The tokens of a source.
#[derive(Clone, Debug)]
pub struct Tokens(Vec<TokenTree>);

impl Tokens {
    /// Reads a source.
    ///
    /// # Errors
    /// The line and the problem, if it is not Rust.
    pub fn read(text: &str) -> Result<Self, At<String>> {
        match TokenStream::from_str(text) {
            Ok(stream) => Ok(Self(stream.into_iter().collect())),
            Err(error) => Err(At { line: error.span().start().line.max(1), what: error.to_string() }),
        }
    }

    /// The same without everything that only tests are compiled with.
    pub fn without_tests(&self) -> Self {
        Self(without_tests(&self.0))
    }

    /// Every path, as its segments.
    pub fn paths(&self) -> Vec<At<Vec<String>>> {
        let mut found = Vec::new();
        paths(&self.0, &mut found);
        found
    }

    /// The names of every macro that is called.
    pub fn macros(&self) -> Vec<At<String>> {
        let mut found = Vec::new();
        every_level(&self.0, &mut |level| {
            for three in level.windows(3) {
                if let [TokenTree::Ident(name), TokenTree::Punct(mark), TokenTree::Group(_)] = three
                    && mark.as_char() == '!'
                {
                    found.push(at(name.span(), name.to_string()));
                }
            }
        });
        found
    }

    /// The first word of every attribute.
    pub fn attributes(&self) -> Vec<At<String>> {
        let mut found = Vec::new();
        every_level(&self.0, &mut |level| {
            for (n, token) in level.iter().enumerate() {
                if !is(token, '#') {
                    continue;
                }
                let after = if level.get(n + 1).is_some_and(|t| is(t, '!')) { n + 2 } else { n + 1 };
                if let Some(TokenTree::Group(group)) = level.get(after)
                    && group.delimiter() == Delimiter::Bracket
                    && let Some(TokenTree::Ident(word)) = group.stream().into_iter().next()
                {
                    found.push(at(word.span(), word.to_string()));
                }
            }
        });
        found
    }

    /// Every plain string literal.
    pub fn strings(&self) -> Vec<At<String>> {
        let mut found = Vec::new();
        every_level(&self.0, &mut |level| {
            found.extend(level.iter().filter_map(string));
        });
        found
    }

    /// The string literals that come first in the arguments of a call of this method, or the constants of this
    /// source that stand for one there.
    pub fn first_arguments(&self, method: &str) -> Vec<At<String>> {
        let constants = self.constants();
        let mut found = Vec::new();
        every_level(&self.0, &mut |level| {
            for three in level.windows(3) {
                if let [dot, TokenTree::Ident(name), TokenTree::Group(arguments)] = three
                    && is(dot, '.')
                    && name == method
                {
                    let first = arguments.stream().into_iter().next();
                    found.extend(first.as_ref().and_then(|first| match first {
                        TokenTree::Ident(name) => constants.get(&name.to_string()).cloned(),
                        other => string(other),
                    }));
                }
            }
        });
        found
    }

    /// The string literals that constants stand for, by their names.
    fn constants(&self) -> BTreeMap<String, At<String>> {
        let mut found = BTreeMap::new();
        every_level(&self.0, &mut |level| {
            for (n, two) in level.windows(2).enumerate() {
                if let [TokenTree::Ident(word), TokenTree::Ident(name)] = two
                    && word == "const"
                {
                    let value = level[n..].iter().take_while(|token| !is(token, ';')).last();
                    found.extend(value.and_then(string).map(|value| (name.to_string(), value)));
                }
            }
        });
        found
    }

    /// The string literals given to a field of this name.
    pub fn field_values(&self, field: &str) -> Vec<At<String>> {
        let mut found = Vec::new();
        every_level(&self.0, &mut |level| {
            for three in level.windows(3) {
                if let [TokenTree::Ident(name), colon, value] = three
                    && name == field
                    && is(colon, ':')
                {
                    found.extend(string(value));
                }
            }
        });
        found
    }

    /// The body of a function; nothing if there is none of this name.
    pub fn body_of(&self, function: &str) -> Self {
        let mut body = Vec::new();
        every_level(&self.0, &mut |level| {
            let start = level.windows(2).position(|two| {
                matches!(two, [TokenTree::Ident(word), TokenTree::Ident(name)] if word == "fn" && name == function)
            });
            let rest = start.map_or(&[][..], |start| &level[start..]);
            let block = rest.iter().find_map(|token| match token {
                TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => Some(group),
                TokenTree::Group(_) | TokenTree::Ident(_) | TokenTree::Punct(_) | TokenTree::Literal(_) => {
                    None
                }
            });
            body.extend(block.into_iter().flat_map(|group| group.stream()));
        });
        Self(body)
    }
}

fn at<T>(span: Span, what: T) -> At<T> {
    At { line: span.start().line, what }
}

fn is(token: &TokenTree, mark: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == mark)
}

fn string(token: &TokenTree) -> Option<At<String>> {
    let TokenTree::Literal(literal) = token else { return None };
    let text = literal.to_string();
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    Some(at(literal.span(), inner.to_owned()))
}

/// Hands every level of nesting to `see`, the outermost first.
fn every_level(level: &[TokenTree], see: &mut dyn FnMut(&[TokenTree])) {
    see(level);
    for token in level {
        if let TokenTree::Group(group) = token {
            let inner: Vec<_> = group.stream().into_iter().collect();
            every_level(&inner, see);
        }
    }
}

fn without_tests(level: &[TokenTree]) -> Vec<TokenTree> {
    let mut kept = Vec::new();
    let mut n = 0;
    while n < level.len() {
        if is(&level[n], '#') {
            if level.get(n + 1).is_some_and(is_cfg_test) {
                n = after_item(level, n + 2);
                continue;
            }
            if level.get(n + 1).is_some_and(|t| is(t, '!')) && level.get(n + 2).is_some_and(is_cfg_test) {
                return Vec::new();
            }
        }
        kept.push(match &level[n] {
            TokenTree::Group(group) => {
                let inner: Vec<_> = group.stream().into_iter().collect();
                let mut same = Group::new(group.delimiter(), without_tests(&inner).into_iter().collect());
                same.set_span(group.span());
                TokenTree::Group(same)
            }
            other => other.clone(),
        });
        n += 1;
    }
    kept
}

fn is_cfg_test(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Bracket
        && group.stream().to_string().replace(' ', "") == "cfg(test)")
}

/// The position after the item that begins here: after its block or its semicolon.
fn after_item(level: &[TokenTree], from: usize) -> usize {
    let ends = |token: &TokenTree| {
        is(token, ';') || matches!(token, TokenTree::Group(g) if g.delimiter() == Delimiter::Brace)
    };
    level[from..].iter().position(ends).map_or(level.len(), |end| from + end + 1)
}

fn paths(level: &[TokenTree], found: &mut Vec<At<Vec<String>>>) {
    let mut n = 0;
    while n < level.len() {
        match &level[n] {
            TokenTree::Ident(first) => {
                let mut path = at(first.span(), vec![first.to_string()]);
                n += 1;
                while level.get(n).is_some_and(|t| is(t, ':')) && level.get(n + 1).is_some_and(|t| is(t, ':'))
                {
                    match level.get(n + 2) {
                        Some(TokenTree::Ident(next)) => path.what.push(next.to_string()),
                        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                            spread(&path.what, group, found);
                            n += 3;
                            break;
                        }
                        Some(TokenTree::Group(_) | TokenTree::Punct(_) | TokenTree::Literal(_)) | None => {
                            break;
                        }
                    }
                    n += 3;
                }
                found.push(path);
            }
            TokenTree::Group(group) => {
                let inner: Vec<_> = group.stream().into_iter().collect();
                paths(&inner, found);
                n += 1;
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => n += 1,
        }
    }
}

/// `a::{b, c::d}` is `a::b` and `a::c::d`.
fn spread(prefix: &[String], group: &Group, found: &mut Vec<At<Vec<String>>>) {
    let inner: Vec<_> = group.stream().into_iter().collect();
    let mut below = Vec::new();
    paths(&inner, &mut below);
    found.extend(
        below
            .into_iter()
            .map(|path| At { line: path.line, what: prefix.iter().cloned().chain(path.what).collect() }),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = r#"//! dbg!() in a comment
use std::{env, time::{Duration, SystemTime}};
#[ignore]
fn f() { todo!("std::rand"); x.block("code", y); let z = S { code: "other" }; }
#[cfg(test)]
mod tests { use tokio::time; }
fn named() -> &'static str { "inside" }
"#;

    fn joined(tokens: &Tokens) -> Vec<String> {
        tokens.paths().into_iter().map(|p| p.what.join("::")).collect()
    }

    #[test]
    fn the_groups_of_a_use_are_spread_out_with_their_lines() {
        let tokens = Tokens::read(SAMPLE).unwrap();
        let paths = joined(&tokens);
        for path in ["std::env", "std::time::Duration", "std::time::SystemTime", "tokio::time"] {
            assert!(paths.iter().any(|p| p == path), "{path} in {paths:?}");
        }
        assert!(!paths.iter().any(|p| p.contains("rand")), "a string is no code");
        let env = tokens.paths().into_iter().find(|p| p.what == ["std", "env"]).unwrap();
        assert_eq!(env.line, 2);
    }

    #[test]
    fn what_only_tests_have_is_left_out() {
        let tokens = Tokens::read(SAMPLE).unwrap().without_tests();
        assert!(!joined(&tokens).iter().any(|p| p.starts_with("tokio")));
        assert!(joined(&tokens).iter().any(|p| p == "named"));
        assert!(Tokens::read("#![cfg(test)]\nuse rand::x;").unwrap().without_tests().paths().is_empty());
    }

    #[test]
    fn macros_attributes_and_literals_are_found() {
        let tokens = Tokens::read(SAMPLE).unwrap();
        assert_eq!(tokens.macros(), [At { line: 4, what: "todo".to_owned() }]);
        assert!(tokens.attributes().contains(&At { line: 3, what: "ignore".to_owned() }));
        assert_eq!(tokens.first_arguments("block"), [At { line: 4, what: "code".to_owned() }]);
        assert_eq!(tokens.field_values("code"), [At { line: 4, what: "other".to_owned() }]);
        assert_eq!(tokens.body_of("named").strings(), [At { line: 7, what: "inside".to_owned() }]);
    }

    #[test]
    fn what_is_not_rust_is_said_with_its_line() {
        assert!(Tokens::read("fn f() {\n\"open").is_err());
    }
}

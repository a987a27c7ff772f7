//! The table of rights: what each function may do, written from the template, and whether tests needed all of it.
//!
//! Decides what counts as needed: each action and each resource of a statement, by any of the functions that have it.
//! It never says that a right is safe; that is for the reader, and for the attacks of the tests.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::Statement;
use super::condition::Condition;
use super::record;
use crate::template::{Place, Template, TemplateError};

/// Why rights could not be told or compared.
#[derive(Debug, thiserror::Error)]
pub enum RightsError {
    /// The template cannot be used.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The record cannot be read.
    #[error("record of rights {path}: {problem}")]
    Record {
        /// The file.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
}

const HEAD: &str = "\
# Rights

What each function may do in the account, as [the template](../infra/template.yaml) grants it. `make rights` writes this
page, a test holds it against the template, and `make test` fails on a right that no test needed.
[SECURITY.md](../SECURITY.md) tells why each is there. In angle brackets: parameters of the deployment, its Region and its account.

";

/// Statements by name, with the functions that have them.
type Statements = BTreeMap<String, (Statement, BTreeSet<String>)>;

fn statements(
    template: &Path,
    region: &str,
    account: &str,
    parameters: &BTreeMap<String, String>,
) -> Result<Statements, TemplateError> {
    let place =
        Place { region: region.to_owned(), account: account.to_owned(), parameters: parameters.clone() };
    let mut statements = Statements::new();
    for function in Template::load(template, &place)?.functions {
        for statement in function.role.into_iter().flat_map(|role| role.statements) {
            let entry = statements.entry(statement.name.clone());
            entry.or_insert_with(|| (statement, BTreeSet::new())).1.insert(function.folder.clone());
        }
    }
    Ok(statements)
}

/// The table of rights of a template, as Markdown.
///
/// # Errors
/// When the template cannot be used.
pub fn rights_table(template: &Path, parameters: &BTreeMap<String, String>) -> Result<String, RightsError> {
    let statements = statements(template, "<region>", "<account>", parameters)?;
    let functions: BTreeSet<&String> = statements.values().flat_map(|(_, functions)| functions).collect();
    let mut out = HEAD.to_owned();
    let row = |out: &mut String, cells: &[String]| out.push_str(&format!("| {} |\n", cells.join(" | ")));

    out.push_str("## Who may do what\n\n");
    let mut head = vec!["action".to_owned()];
    head.extend(functions.iter().map(|function| (*function).clone()));
    row(&mut out, &head);
    row(&mut out, &vec!["---".to_owned(); head.len()]);
    let mut actions: BTreeMap<&String, BTreeSet<&String>> = BTreeMap::new();
    for (statement, functions) in statements.values().filter(|(statement, _)| statement.allows) {
        for action in &statement.actions {
            actions.entry(action).or_default().extend(functions);
        }
    }
    for (action, holders) in actions {
        let mark = |function: &&String| if holders.contains(function) { "✓" } else { "" }.to_owned();
        let mut cells = vec![format!("`{action}`")];
        cells.extend(functions.iter().map(mark));
        row(&mut out, &cells);
    }

    out.push_str("\n## On what, and under which conditions\n");
    let mut last = "";
    for (name, (statement, functions)) in &statements {
        let (policy, sid) = name.split_once('/').unwrap_or(("", name));
        if policy != last {
            let functions: Vec<_> = functions.iter().map(|function| format!("`{function}`")).collect();
            out.push_str(&format!("\n### {policy}: {}\n\n", functions.join(", ")));
            out.push_str("| statement | actions | on | only if |\n|---|---|---|---|\n");
            last = policy;
        }
        let effect = if statement.allows { "" } else { " (deny)" };
        let lines =
            |items: &[String]| items.iter().map(|item| format!("`{item}`")).collect::<Vec<_>>().join("<br>");
        let conditions: Vec<String> = statement.conditions.iter().map(sentence).collect();
        let cells = [
            format!("{sid}{effect}"),
            lines(&statement.actions),
            lines(&statement.resources),
            conditions.join("<br>"),
        ];
        row(&mut out, &cells);
    }
    Ok(out)
}

/// A condition in words.
fn sentence(condition: &Condition) -> String {
    let values: Vec<_> = condition.values.iter().map(|value| format!("`{value}`")).collect();
    let (key, values) = (format!("`{}`", condition.key), values.join(" or "));
    let (set, plain) = match condition.operator.split_once(':') {
        Some(("ForAllValues", plain)) => ("every ", plain),
        Some((_, plain)) => ("any ", plain),
        None => ("", condition.operator.as_str()),
    };
    match plain {
        "Null" if condition.values == ["true"] => format!("no {key}"),
        "Null" => format!("some {key}"),
        "StringEquals" | "ArnEquals" | "Bool" => format!("{set}{key} is {values}"),
        "StringNotEquals" => format!("{set}{key} is not {values}"),
        "StringLike" | "ArnLike" => format!("{set}{key} is like {values}"),
        "StringNotLike" => format!("{set}{key} is not like {values}"),
        other => format!("{other}: {set}{key} {values}"),
    }
}

/// Rights of the template that no recorded call needed, one sentence each.
///
/// # Errors
/// When the template or the record cannot be used.
pub fn unused_rights(
    template: &Path,
    parameters: &BTreeMap<String, String>,
    recorded: &Path,
) -> Result<Vec<String>, RightsError> {
    let wrong = |problem: String| RightsError::Record { path: recorded.display().to_string(), problem };
    let settings = crate::model::Settings::default();
    let statements = statements(template, &settings.region, &settings.account, parameters)?;
    let text = std::fs::read_to_string(recorded).map_err(|error| wrong(error.to_string()))?;
    let uses = record::read(&text).map_err(|line| wrong(format!("line {line} is no right")))?;
    let mut unused = Vec::new();
    for (name, (statement, _)) in statements.iter().filter(|(_, (statement, _))| statement.allows) {
        let of_statement: Vec<_> = uses.iter().filter(|used| used.statement == *name).collect();
        if of_statement.is_empty() {
            unused.push(format!("{name}: no call needed it"));
            continue;
        }
        for action in &statement.actions {
            if !of_statement.iter().any(|used| used.action == *action) {
                unused.push(format!("{name}: no call needed the action {action}"));
            }
        }
        for resource in &statement.resources {
            if !of_statement.iter().any(|used| used.resource == *resource) {
                unused.push(format!("{name}: no call needed the resource {resource}"));
            }
        }
    }
    Ok(unused)
}

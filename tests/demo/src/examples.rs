//! The items of `infra/examples`, put as a new operator puts them: placeholders replaced by what the account has.
//!
//! Decides what a placeholder is. What an act changes besides, so that hours fit into half a minute, is remembered and
//! said; nothing else of an item is written here.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::access::{Access, plain};

/// The launch template that every example names.
const TEMPLATE: &str = "my-launch-template";
/// Letters and digits of an EC2 id after its kind.
const ID_LENGTH: usize = 17;

/// An item on its way to the config table, in DynamoDB's own JSON.
#[derive(Clone, Debug)]
pub(crate) struct Example {
    file: String,
    item: Value,
    changes: Vec<String>,
}

impl Example {
    /// Reads the example of this name.
    ///
    /// # Errors
    /// If there is no such file or it is no JSON: which, why, and what helps.
    pub(crate) fn read(folder: &Path, name: &str) -> Result<Example, String> {
        let file = format!("{name}.json");
        let path = folder.join(&file);
        let remedy = "run from the root of the repository, or say with --examples where they are";
        let text = std::fs::read(&path).map_err(|error| format!("{}: {error}; {remedy}", path.display()))?;
        let item = serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Example { file, item, changes: Vec::new() })
    }

    /// The same with one attribute set to another text; the path is that of the item as a person reads it.
    ///
    /// # Errors
    /// If the example does not have the attribute: it is then no longer the one that the act was made for.
    pub(crate) fn with(mut self, path: &str, text: &str) -> Result<Example, String> {
        let value = attribute(&mut self.item, path).filter(|value| value["S"].is_string());
        let Some(value) = value else { return Err(format!("{}: no text at {path}", self.file)) };
        value["S"] = Value::from(text);
        self.changes.push(format!("{path} = {text}"));
        Ok(self)
    }

    /// Which item it is, and what was changed of it.
    pub(crate) fn told(&self) -> String {
        let with = if self.changes.is_empty() { "" } else { ", with " };
        format!("The item is infra/examples/{}{with}{}.", self.file, self.changes.join(" and "))
    }

    /// Replaces what every account has: subnets, in their order, and the launch template.
    pub(crate) fn fill(&mut self, access: &Access, template: &str) {
        self.replace(TEMPLATE, template);
        for (placeholder, subnet) in self.placeholders("subnet").iter().zip(&access.defaults().subnet_ids) {
            self.replace(placeholder, subnet);
        }
    }

    /// The placeholders of a kind, such as `subnet`, in order.
    pub(crate) fn placeholders(&self, kind: &str) -> Vec<String> {
        let mut found = BTreeSet::new();
        texts(&self.item, &mut |text| {
            if is_placeholder(text, kind) {
                found.insert(text.to_owned());
            }
        });
        found.into_iter().collect()
    }

    /// Writes something else wherever this text stands.
    pub(crate) fn replace(&mut self, text: &str, with: &str) {
        texts_mut(&mut self.item, &mut |found| {
            if found == text {
                with.clone_into(found);
            }
        });
    }

    /// Replaces a list of texts, in the order given.
    pub(crate) fn set_list(&mut self, path: &str, all: &[String]) {
        if let Some(list) = attribute(&mut self.item, path) {
            *list = serde_json::json!({"L": all.iter().map(|text| serde_json::json!({"S": text})).collect::<Vec<_>>()});
        }
    }

    /// Its id, `node#…` or `group#…`.
    pub(crate) fn id(&self) -> &str {
        self.item["id"]["S"].as_str().unwrap_or_default()
    }

    /// What stands behind the `#` of its id.
    pub(crate) fn name(&self) -> &str {
        self.id().split_once('#').map_or("", |(_, name)| name)
    }

    /// The item, in DynamoDB's own JSON.
    pub(crate) fn item(&self) -> &Value {
        &self.item
    }

    /// The item as ordinary JSON.
    pub(crate) fn plain(&self) -> Value {
        plain(&serde_json::json!({"M": self.item}))
    }
}

/// Whether a text is an id of this kind that nobody has: a 0, and one letter again and again.
fn is_placeholder(text: &str, kind: &str) -> bool {
    let id = text.strip_prefix(kind).and_then(|rest| rest.strip_prefix('-'));
    let Some(letters) = id.filter(|id| id.len() == ID_LENGTH).and_then(|id| id.strip_prefix('0')) else {
        return false;
    };
    letters.chars().all(|letter| letters.starts_with(letter))
}

/// An attribute by its path.
fn attribute<'a>(item: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    item.pointer_mut(&format!("/{}", path.replace('.', "/M/")))
}

fn texts(value: &Value, found: &mut dyn FnMut(&str)) {
    match value {
        Value::String(text) => found(text),
        Value::Array(all) => all.iter().for_each(|it| texts(it, found)),
        Value::Object(all) => all.values().for_each(|it| texts(it, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn texts_mut(value: &mut Value, found: &mut dyn FnMut(&mut String)) {
    match value {
        Value::String(text) => found(text),
        Value::Array(all) => all.iter_mut().for_each(|it| texts_mut(it, found)),
        Value::Object(all) => all.values_mut().for_each(|it| texts_mut(it, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests;

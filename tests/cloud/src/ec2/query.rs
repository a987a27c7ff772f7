//! Decoded Query parameters of one call, handed out once each.
//!
//! Whatever nobody asked for by the end is unknown, and the call is refused: no parameter is ever ignored.

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::model::{ApiError, Describe, Filter, TagSpecification, Tags};

/// Parameters that belong to the protocol, not to an operation.
const PROTOCOL: &[&str] = &[
    "Action",
    "Version",
    "AWSAccessKeyId",
    "Signature",
    "SignatureMethod",
    "SignatureVersion",
    "SecurityToken",
    "Timestamp",
];

/// Parameters below one name.
#[derive(Debug, Default)]
pub(super) struct Params {
    /// Name of the structure they are members of, with its dot; empty at the top.
    path: String,
    map: BTreeMap<String, String>,
}

impl Params {
    /// Reads a form body; answers the action and its parameters.
    pub(super) fn parse(body: &str) -> (String, Params) {
        let mut map: BTreeMap<String, String> =
            form_urlencoded::parse(body.as_bytes()).into_owned().collect();
        let action = map.remove("Action").unwrap_or_default();
        map.retain(|name, _| !PROTOCOL.contains(&name.as_str()) && !name.starts_with("X-Amz-"));
        (action, Params { path: String::new(), map })
    }

    /// A text.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        self.map.remove(name)
    }

    /// A text that must be there.
    pub(super) fn need(&mut self, name: &str) -> Result<String, ApiError> {
        let value = self.text(name).filter(|it| !it.is_empty());
        value.ok_or_else(|| ApiError::missing(&format!("{}{name}", self.path)))
    }

    /// A number.
    pub(super) fn number<T: FromStr>(&mut self, name: &str) -> Result<Option<T>, ApiError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        match text.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(ApiError::value(format!(
                "Invalid value '{text}' for {}{name}. Must be a number.",
                self.path
            ))),
        }
    }

    /// A truth value.
    pub(super) fn flag(&mut self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.text(name).as_deref() {
            None => Ok(None),
            Some("true" | "True" | "1") => Ok(Some(true)),
            Some("false" | "False" | "0") => Ok(Some(false)),
            Some(other) => Err(ApiError::value(format!(
                "Invalid value '{other}' for {}{name}. Must be true or false.",
                self.path
            ))),
        }
    }

    /// A structure's members: `name.member`.
    pub(super) fn part(&mut self, name: &str) -> Params {
        let prefix = format!("{name}.");
        let members: Vec<String> = self.map.keys().filter(|it| it.starts_with(&prefix)).cloned().collect();
        let mut map = BTreeMap::new();
        for member in members {
            if let Some(value) = self.map.remove(&member) {
                map.insert(member[prefix.len()..].to_owned(), value);
            }
        }
        Params { path: format!("{}{prefix}", self.path), map }
    }

    /// A list's elements by position: `name.1`, `name.2.member`, in numeric order.
    fn elements(&mut self, name: &str) -> BTreeMap<u32, Params> {
        let whole = self.part(name);
        let mut elements: BTreeMap<u32, Params> = BTreeMap::new();
        for (key, value) in whole.map {
            let (number, rest) = key.split_once('.').unwrap_or((&key, ""));
            match number.parse::<u32>() {
                Ok(position) => {
                    let element = elements.entry(position).or_insert_with(|| Params {
                        path: format!("{}{position}.", whole.path),
                        map: BTreeMap::new(),
                    });
                    element.map.insert(rest.to_owned(), value);
                }
                // Put back under its name, to be refused as unknown.
                Err(_) => {
                    self.map.insert(format!("{name}.{key}"), value);
                }
            }
        }
        elements
    }

    /// A list of texts.
    pub(super) fn list(&mut self, name: &str) -> Result<Vec<String>, ApiError> {
        let mut values = Vec::new();
        for mut element in self.elements(name).into_values() {
            values.extend(element.map.remove(""));
            element.finish()?;
        }
        Ok(values)
    }

    /// A list of structures.
    pub(super) fn parts(&mut self, name: &str) -> Vec<Params> {
        self.elements(name).into_values().collect()
    }

    /// Whether nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Refuses what is left.
    pub(super) fn finish(&self) -> Result<(), ApiError> {
        match self.map.keys().next() {
            None => Ok(()),
            Some(name) => {
                let name = format!("{}{name}", self.path);
                let name = name.trim_end_matches('.');
                Err(ApiError::new("UnknownParameter", format!("The parameter {name} is not recognized")))
            }
        }
    }

    /// Ends the reading of a call: refuses what is left, and ends a dry run.
    pub(super) fn end(&mut self) -> Result<(), ApiError> {
        let dry = self.flag("DryRun")?.unwrap_or(false);
        self.finish()?;
        if dry {
            return Err(ApiError::with_status(
                "DryRunOperation",
                "Request would have succeeded, but DryRun flag is set.",
                412,
            ));
        }
        Ok(())
    }

    /// `Tag.N.Key`, `Tag.N.Value`.
    pub(super) fn tags(&mut self) -> Result<Tags, ApiError> {
        let mut tags = Tags::new();
        for mut tag in self.parts("Tag") {
            let key = tag.text("Key").unwrap_or_default();
            let value = tag.text("Value").unwrap_or_default();
            tag.finish()?;
            if tags.insert(key.clone(), value).is_some() {
                return Err(ApiError::value(format!("Duplicate tag key '{key}' specified.")));
            }
        }
        Ok(tags)
    }

    /// `TagSpecification.N`.
    pub(super) fn tag_specifications(&mut self) -> Result<Vec<TagSpecification>, ApiError> {
        let mut specifications = Vec::new();
        for mut part in self.parts("TagSpecification") {
            let resource_type = part.need("ResourceType")?;
            let tags = part.tags()?;
            part.finish()?;
            specifications.push(TagSpecification { resource_type, tags });
        }
        Ok(specifications)
    }

    /// Ids, filters and paging of a describe call.
    pub(super) fn describe(&mut self, ids: &str) -> Result<Describe, ApiError> {
        let mut filters = Vec::new();
        for mut part in self.parts("Filter") {
            let filter = Filter { name: part.need("Name")?, values: part.list("Value")? };
            part.finish()?;
            filters.push(filter);
        }
        // Nothing here is managed by an AWS service, so that including it changes nothing.
        self.flag("IncludeManagedResources")?;
        Ok(Describe {
            ids: if ids.is_empty() { Vec::new() } else { self.list(ids)? },
            filters,
            max_results: self.number("MaxResults")?,
            next_token: self.text("NextToken").filter(|it| !it.is_empty()),
            owners: Vec::new(),
        })
    }
}

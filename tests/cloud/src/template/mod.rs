//! The SAM template, as far as the local cloud is made from it: tables, buses, functions and what wakes them.
//!
//! Decides names, keys, triggers, retries and environments from `infra/template.yaml`, so that the local cloud and a
//! real stack cannot differ in them. What it does not understand it refuses with its place; it never guesses.

mod conditions;
mod functions;
mod resolve;
mod roles;
mod yaml;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

#[cfg(test)]
pub(crate) use functions::InvokeSettings;
pub(crate) use functions::{Function, StreamSource};

use crate::pattern::Pattern;
use resolve::{Resolver, Resource};

/// A template could not be used; says where, what, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("template {}: {problem}", path.display())]
pub struct TemplateError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it, beginning with the place.
    pub problem: String,
}

/// What is wrong, and where.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {what}")]
pub(crate) struct Problem {
    place: String,
    what: String,
}

impl Problem {
    fn new(place: impl Into<String>, what: impl Into<String>) -> Problem {
        Problem { place: place.into(), what: what.into() }
    }
}

/// Where the stack is made, and with which parameters.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The Region, such as `us-east-1`.
    pub(crate) region: String,
    /// The twelve-digit account id.
    pub(crate) account: String,
    /// Values of template parameters; those left out take the template's defaults.
    pub(crate) parameters: BTreeMap<String, String>,
}

/// What the local cloud is made from.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    /// Tables, in order of logical id.
    pub(crate) tables: Vec<Table>,
    /// Names of the custom event buses; `default` always exists besides.
    pub(crate) buses: Vec<String>,
    /// Functions, in order of logical id.
    pub(crate) functions: Vec<Function>,
    /// Rules of all buses.
    pub(crate) rules: Vec<Rule>,
}

/// A table to create.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    /// The id within the template.
    pub(crate) logical_id: String,
    /// The physical name.
    pub(crate) name: String,
    /// The body of the CreateTable call.
    pub(crate) create: Value,
    /// The attribute that holds an item's expiry, if any.
    pub(crate) time_to_live: Option<String>,
}

impl Table {
    /// Its name and that of its partition key.
    pub(crate) fn partition_key(&self) -> (String, String) {
        let schema = self.create["KeySchema"].as_array().into_iter().flatten();
        let mut hash = schema.filter(|key| key["KeyType"] == "HASH");
        let key = hash.next().and_then(|key| key["AttributeName"].as_str()).unwrap_or_default();
        (self.name.clone(), key.to_owned())
    }
}

/// A rule: which events of a bus go to which functions.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    /// The rule's name.
    pub(crate) name: String,
    /// The name of its bus.
    pub(crate) bus: String,
    /// What it matches.
    pub(crate) pattern: Pattern,
    /// The pattern as written, for ListRules.
    pub(crate) source: Value,
    /// Folders of the functions it invokes.
    pub(crate) targets: Vec<String>,
}

impl Template {
    /// Reads the template at `path`.
    ///
    /// # Errors
    /// When the file cannot be read, is not YAML, or holds something this cloud cannot make.
    pub(crate) fn load(path: &Path, place: &Place) -> Result<Template, TemplateError> {
        let fail = |problem: String| TemplateError { path: path.to_owned(), problem };
        let text = std::fs::read_to_string(path).map_err(|error| {
            fail(format!("cannot be read ({error}); name an existing file with --template"))
        })?;
        Template::read(&text, place).map_err(fail)
    }

    /// Reads a template's text.
    ///
    /// # Errors
    /// A sentence naming the place and what is wrong there.
    pub(crate) fn read(text: &str, place: &Place) -> Result<Template, String> {
        let document = yaml::read(text)?;
        from_document(&document, place).map_err(|problem| problem.to_string())
    }
}

fn from_document(document: &Value, place: &Place) -> Result<Template, Problem> {
    let resources = document
        .get("Resources")
        .and_then(Value::as_object)
        .ok_or_else(|| Problem::new("Resources", "is missing; a SAM template with resources is wanted"))?;
    let resolver = resolver(document, resources, place)?;
    let mut template =
        Template { tables: Vec::new(), buses: Vec::new(), functions: Vec::new(), rules: Vec::new() };
    let of_kind = |wanted: &str| {
        let (wanted, left_out) = (wanted.to_owned(), &resolver.left_out);
        resources.iter().filter(move |(id, resource)| kind(resource) == wanted && !left_out.contains_key(*id))
    };
    for (id, resource) in of_kind("AWS::DynamoDB::Table") {
        template.tables.push(table(id, resource, &resolver)?);
    }
    for (id, _) in of_kind("AWS::Events::EventBus") {
        template.buses.push(name_of(&resolver, id));
    }
    let globals = &document["Globals"]["Function"];
    for (id, _) in of_kind("AWS::Serverless::Function") {
        let (function, rules) = functions::read(id, resources, globals, &resolver)?;
        template.functions.push(function);
        template.rules.extend(rules);
    }
    for (id, resource) in of_kind("AWS::Events::Rule") {
        functions::stand_alone_rule(id, resource, &resolver, &mut template)?;
    }
    for rule in &template.rules {
        if rule.bus != "default" && !template.buses.contains(&rule.bus) {
            return Err(Problem::new(&rule.name, format!("its bus '{}' is not in this template", rule.bus)));
        }
    }
    Ok(template)
}

fn resolver(document: &Value, resources: &Map<String, Value>, place: &Place) -> Result<Resolver, Problem> {
    let mut resolver = Resolver {
        region: place.region.clone(),
        account: place.account.clone(),
        parameters: parameters(&document["Parameters"], place)?,
        conditions: BTreeMap::new(),
        resources: BTreeMap::new(),
        left_out: BTreeMap::new(),
    };
    resolver.conditions = conditions::decide(&document["Conditions"], &resolver)?;
    // Names may use parameters only, which is all that CloudFormation allows without a dependency.
    let mut named = BTreeMap::new();
    for (id, resource) in resources {
        if let Some(condition) = resource["Condition"].as_str() {
            match resolver.conditions.get(condition) {
                Some(true) => {}
                Some(false) => {
                    resolver.left_out.insert(id.clone(), condition.to_owned());
                    continue;
                }
                None => {
                    let place = format!("Resources.{id}.Condition");
                    return Err(Problem::new(place, format!("there is no condition '{condition}'")));
                }
            }
        }
        let kind = kind(resource);
        let property = match kind.as_str() {
            "AWS::DynamoDB::Table" => "TableName",
            "AWS::Events::EventBus" | "AWS::Events::Rule" => "Name",
            "AWS::Logs::LogGroup" => "LogGroupName",
            "AWS::SQS::Queue" => "QueueName",
            "AWS::SNS::Topic" => "TopicName",
            "AWS::Serverless::Function" => "FunctionName",
            _ => "",
        };
        let name = match &resource["Properties"][property] {
            Value::Null => id.clone(),
            value => resolver.text(value, &format!("Resources.{id}.Properties.{property}"))?,
        };
        named.insert(id.clone(), Resource { kind, name });
    }
    resolver.resources = named;
    Ok(resolver)
}

/// The values of the parameters: those given, else the defaults. Of a list they are arrays of texts.
fn parameters(declared: &Value, place: &Place) -> Result<BTreeMap<String, Value>, Problem> {
    let declared = declared.as_object().cloned().unwrap_or_default();
    if let Some(unknown) = place.parameters.keys().find(|name| !declared.contains_key(*name)) {
        return Err(Problem::new("Parameters", format!("there is no parameter '{unknown}' to set")));
    }
    let mut parameters = BTreeMap::new();
    for (name, declaration) in &declared {
        let text = match (place.parameters.get(name), &declaration["Default"]) {
            (Some(value), _) => value.clone(),
            (None, Value::String(default)) => default.clone(),
            (None, Value::Null) => {
                return Err(Problem::new(
                    format!("Parameters.{name}"),
                    format!("has no default; give a value with --parameter {name}=VALUE"),
                ));
            }
            (None, other) => other.to_string(),
        };
        let kind = declaration["Type"].as_str().unwrap_or("String");
        let is_list = kind == "CommaDelimitedList" || kind.starts_with("List<");
        let value = match text.as_str() {
            text if !is_list => json!(text),
            "" => json!([]),
            text => text.split(',').map(|entry| Value::from(entry.trim())).collect(),
        };
        parameters.insert(name.clone(), value);
    }
    Ok(parameters)
}

/// Makes the CreateTable request from what CloudFormation calls the same things nearly the same.
fn table(id: &str, resource: &Value, resolver: &Resolver) -> Result<Table, Problem> {
    let place = format!("Resources.{id}.Properties");
    let properties = resolver.resolve(&resource["Properties"], &place)?;
    let name = name_of(resolver, id);
    let mut create = Map::from_iter([("TableName".to_owned(), json!(name))]);
    for (property, value) in properties.as_object().into_iter().flatten() {
        match property.as_str() {
            "AttributeDefinitions"
            | "KeySchema"
            | "BillingMode"
            | "GlobalSecondaryIndexes"
            | "LocalSecondaryIndexes"
            | "ProvisionedThroughput"
            | "DeletionProtectionEnabled"
            | "TableClass"
            | "Tags" => drop(create.insert(property.clone(), value.clone())),
            "StreamSpecification" => {
                let view = value["StreamViewType"].clone();
                create.insert(property.clone(), json!({"StreamEnabled": true, "StreamViewType": view}));
            }
            // Backups and encryption change nothing a caller of the data plane can see.
            "TableName"
            | "TimeToLiveSpecification"
            | "PointInTimeRecoverySpecification"
            | "SSESpecification"
            | "ContributorInsightsSpecification" => {}
            _ => return Err(Problem::new(format!("{place}.{property}"), "is not known to the local cloud")),
        }
    }
    let expiry = &properties["TimeToLiveSpecification"];
    let time_to_live = (expiry["Enabled"] == json!(true))
        .then(|| expiry["AttributeName"].as_str().map(str::to_owned))
        .flatten();
    Ok(Table { logical_id: id.to_owned(), name, create: Value::Object(create), time_to_live })
}

fn kind(resource: &Value) -> String {
    resource["Type"].as_str().unwrap_or_default().to_owned()
}

fn name_of(resolver: &Resolver, id: &str) -> String {
    resolver.resources.get(id).map_or_else(|| id.to_owned(), |resource| resource.name.clone())
}

#[cfg(test)]
mod tests;

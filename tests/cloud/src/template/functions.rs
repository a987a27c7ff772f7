//! Functions of the template and the triggers that stand in their `Events`.
//!
//! Decides which binary belongs to a function (from its `CodeUri`), its environment and limits, and what
//! wakes it. A trigger of a kind this cloud cannot deliver is refused.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde_json::{Map, Value};

use super::resolve::Resolver;
use super::{Problem, Rule, Template, name_of, roles};
use crate::iam::Role;
use crate::pattern::Pattern;

/// A function to host.
#[derive(Clone, Debug)]
pub(crate) struct Function {
    /// The folder of its code, which is also how the control endpoints and the call log name it.
    pub(crate) folder: String,
    /// The physical name, as `AWS_LAMBDA_FUNCTION_NAME` shows it.
    pub(crate) name: String,
    /// The function's ARN.
    pub(crate) arn: String,
    /// Memory in MB.
    pub(crate) memory: u64,
    /// How long an invocation may take, in cloud time.
    pub(crate) timeout: SignedDuration,
    /// Environment variables of the template.
    pub(crate) environment: BTreeMap<String, String>,
    /// What happens to an event that the function fails on.
    pub(crate) invoke: InvokeSettings,
    /// Schedules that invoke it.
    pub(crate) schedules: Vec<Schedule>,
    /// Table streams that it reads.
    pub(crate) streams: Vec<StreamSource>,
    /// What it may do; none in a template that does not say so.
    pub(crate) role: Option<Role>,
    /// The log group it writes to.
    pub(crate) log_group: String,
    /// The ARN of the queue that takes what it failed on.
    pub(crate) dead_letters: Option<String>,
}

/// Settings of asynchronous invocation. Defaults are Lambda's: two retries, six hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InvokeSettings {
    /// Retries after the first attempt, 0 to 2.
    pub(crate) retries: u32,
    /// Events older than this are not tried again.
    pub(crate) max_age: SignedDuration,
}

/// A schedule of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Schedule {
    /// The rule's ARN, as the event's `resources` shows it.
    pub(crate) rule_arn: String,
    /// The interval.
    pub(crate) every: SignedDuration,
}

/// A table stream that a function reads: an event source mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StreamSource {
    /// The table's name.
    pub(crate) table: String,
    /// Records in one invocation at most.
    pub(crate) batch_size: usize,
    /// Retries of a failed batch; `None` until the records expire.
    pub(crate) retries: Option<u32>,
    /// Whether a failed batch is split in two.
    pub(crate) bisect: bool,
    /// Whether the function's answer names the records that failed.
    pub(crate) partial_failures: bool,
}

/// Reads one `AWS::Serverless::Function`.
pub(super) fn read(
    id: &str,
    resources: &Map<String, Value>,
    globals: &Value,
    resolver: &Resolver,
) -> Result<(Function, Vec<Rule>), Problem> {
    let place = format!("Resources.{id}.Properties");
    let properties = merged(globals, &resources[id]["Properties"]);
    let code = resolver.text(&properties["CodeUri"], &format!("{place}.CodeUri"))?;
    let folder = folder(&code)
        .ok_or_else(|| Problem::new(format!("{place}.CodeUri"), format!("'{code}' names no folder")))?;
    let mut environment = BTreeMap::new();
    let variables = &properties["Environment"]["Variables"];
    for (name, value) in variables.as_object().into_iter().flatten() {
        let place = format!("{place}.Environment.Variables.{name}");
        environment.insert(name.clone(), resolver.text(value, &place)?);
    }
    let invoke = &properties["EventInvokeConfig"];
    let name = name_of(resolver, id);
    let queue = &invoke["DestinationConfig"]["OnFailure"]["Destination"];
    let group = &properties["LoggingConfig"]["LogGroup"];
    let text = |value: &Value, what: &str| match value {
        Value::Null => Ok(None),
        value => resolver.text(value, &format!("{place}.{what}")).map(Some),
    };
    let log_group = text(group, "LoggingConfig.LogGroup")?;
    let mut function = Function {
        role: roles::read(id, &properties["Role"], resources, resolver)?,
        log_group: log_group.unwrap_or_else(|| format!("/aws/lambda/{name}")),
        dead_letters: text(queue, "EventInvokeConfig.DestinationConfig")?,
        arn: format!("arn:aws:lambda:{}:{}:function:{name}", resolver.region, resolver.account),
        folder: folder.to_owned(),
        name,
        memory: whole(&properties["MemorySize"], 128, &format!("{place}.MemorySize"))?,
        timeout: seconds(&properties["Timeout"], 3, &format!("{place}.Timeout"))?,
        environment,
        invoke: InvokeSettings {
            retries: count(&invoke["MaximumRetryAttempts"], 2, &format!("{place}.EventInvokeConfig"))?,
            max_age: seconds(
                &invoke["MaximumEventAgeInSeconds"],
                21_600,
                &format!("{place}.EventInvokeConfig"),
            )?,
        },
        schedules: Vec::new(),
        streams: Vec::new(),
    };
    let mut rules = Vec::new();
    for (event, declaration) in properties["Events"].as_object().into_iter().flatten() {
        trigger(id, event, declaration, resolver, &mut function, &mut rules)?;
    }
    Ok((function, rules))
}

/// The folder of a function's source: what `CodeUri` ends in, or what the zip is of that cargo-lambda made there,
/// `…/perennial-<folder>/bootstrap.zip`.
fn folder(code: &str) -> Option<&str> {
    let (path, prefix) = match code.strip_suffix("/bootstrap.zip") {
        Some(zipped) => (zipped, "perennial-"),
        None => (code.trim_end_matches('/'), ""),
    };
    let folder = path.rsplit('/').next()?.strip_prefix(prefix)?;
    (!folder.is_empty() && !folder.starts_with('.')).then_some(folder)
}

/// Adds one entry of `Events` to the function or to the rules.
fn trigger(
    id: &str,
    event: &str,
    declaration: &Value,
    resolver: &Resolver,
    function: &mut Function,
    rules: &mut Vec<Rule>,
) -> Result<(), Problem> {
    let place = format!("Resources.{id}.Properties.Events.{event}");
    let properties = resolver.resolve(&declaration["Properties"], &format!("{place}.Properties"))?;
    for unsupported in ["Input", "InputPath", "InputTransformer", "FilterCriteria", "State", "Enabled"] {
        if !properties[unsupported].is_null() {
            return Err(Problem::new(
                format!("{place}.Properties.{unsupported}"),
                "is not known to the local cloud",
            ));
        }
    }
    let name = format!("{id}{event}");
    match declaration["Type"].as_str().unwrap_or_default() {
        "EventBridgeRule" | "CloudWatchEvent" => rules.push(Rule {
            name,
            bus: bus(&properties["EventBusName"]),
            pattern: Pattern::parse(&properties["Pattern"])
                .map_err(|problem| Problem::new(format!("{place}.Properties.Pattern"), problem))?,
            source: properties["Pattern"].clone(),
            targets: vec![function.folder.clone()],
        }),
        kind @ ("Schedule" | "ScheduleV2") => {
            let property = if kind == "Schedule" { "Schedule" } else { "ScheduleExpression" };
            function.schedules.push(Schedule {
                rule_arn: rule_arn(resolver, &name),
                every: rate(&properties[property], &format!("{place}.Properties.{property}"))?,
            });
        }
        "DynamoDB" => function.streams.push(stream(&properties, &place)?),
        other => {
            return Err(Problem::new(
                format!("{place}.Type"),
                format!(
                    "'{other}' is not a trigger the local cloud delivers; use EventBridgeRule, Schedule or DynamoDB"
                ),
            ));
        }
    }
    Ok(())
}

fn stream(properties: &Value, place: &str) -> Result<StreamSource, Problem> {
    let arn = properties["Stream"].as_str().unwrap_or_default();
    let table = arn
        .split_once(":table/")
        .and_then(|(_, rest)| rest.split_once("/stream/"))
        .map(|(table, _)| table.to_owned())
        .ok_or_else(|| {
            Problem::new(
                format!("{place}.Properties.Stream"),
                format!("'{arn}' is not the ARN of a table stream"),
            )
        })?;
    let retries = match &properties["MaximumRetryAttempts"] {
        Value::Null => None,
        value if value.as_i64() == Some(-1) => None,
        value => Some(count(value, 0, &format!("{place}.Properties.MaximumRetryAttempts"))?),
    };
    let batch = whole(&properties["BatchSize"], 100, &format!("{place}.Properties.BatchSize"))?;
    Ok(StreamSource {
        table,
        batch_size: usize::try_from(batch).unwrap_or(usize::MAX).max(1),
        retries,
        bisect: properties["BisectBatchOnFunctionError"] == Value::Bool(true),
        partial_failures: properties["FunctionResponseTypes"]
            .as_array()
            .is_some_and(|types| types.iter().any(|kind| kind == "ReportBatchItemFailures")),
    })
}

/// Adds an `AWS::Events::Rule` to the template's rules, or to its targets as a schedule.
pub(super) fn stand_alone_rule(
    id: &str,
    resource: &Value,
    resolver: &Resolver,
    template: &mut Template,
) -> Result<(), Problem> {
    let place = format!("Resources.{id}.Properties");
    let properties = resolver.resolve(&resource["Properties"], &place)?;
    let name = name_of(resolver, id);
    let mut targets = Vec::new();
    for target in properties["Targets"].as_array().into_iter().flatten() {
        let arn = target["Arn"].as_str().unwrap_or_default();
        // Targets other than functions have no one here to receive them.
        let Some(function) = template.functions.iter_mut().find(|function| function.arn == arn) else {
            continue;
        };
        targets.push(function.folder.clone());
        if !properties["ScheduleExpression"].is_null() {
            function.schedules.push(Schedule {
                rule_arn: rule_arn(resolver, &name),
                every: rate(&properties["ScheduleExpression"], &format!("{place}.ScheduleExpression"))?,
            });
        }
    }
    if !properties["EventPattern"].is_null() {
        template.rules.push(Rule {
            bus: bus(&properties["EventBusName"]),
            pattern: Pattern::parse(&properties["EventPattern"])
                .map_err(|problem| Problem::new(format!("{place}.EventPattern"), problem))?,
            source: properties["EventPattern"].clone(),
            name,
            targets,
        });
    }
    Ok(())
}

/// `rate(5 minutes)` as a duration.
fn rate(value: &Value, place: &str) -> Result<SignedDuration, Problem> {
    let wrong = || {
        Problem::new(
            place,
            format!("{value} is not a rate such as rate(1 minute); the local cloud knows no other schedule"),
        )
    };
    let inner =
        value.as_str().and_then(|text| text.strip_prefix("rate(")).and_then(|text| text.strip_suffix(')'));
    let (number, unit) = inner.and_then(|text| text.split_once(' ')).ok_or_else(wrong)?;
    let number: i64 = number.trim().parse().ok().filter(|number| *number > 0).ok_or_else(wrong)?;
    let seconds = match unit.trim() {
        "minute" | "minutes" => 60,
        "hour" | "hours" => 3_600,
        "day" | "days" => 86_400,
        _ => return Err(wrong()),
    };
    number.checked_mul(seconds).map(SignedDuration::from_secs).ok_or_else(wrong)
}

/// SAM's `Globals`: maps are merged key by key, anything else is replaced.
fn merged(base: &Value, over: &Value) -> Value {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            let mut map: Map<String, Value> = base.clone();
            for (key, value) in over {
                let value = base.get(key).map_or_else(|| value.clone(), |own| merged(own, value));
                map.insert(key.clone(), value);
            }
            Value::Object(map)
        }
        (base, Value::Null) => base.clone(),
        (_, over) => over.clone(),
    }
}

fn bus(name: &Value) -> String {
    let name = name.as_str().unwrap_or("default");
    name.rsplit_once(":event-bus/").map_or(name, |(_, name)| name).to_owned()
}

fn rule_arn(resolver: &Resolver, name: &str) -> String {
    format!("arn:aws:events:{}:{}:rule/{name}", resolver.region, resolver.account)
}

fn whole(value: &Value, default: u64, place: &str) -> Result<u64, Problem> {
    match value {
        Value::Null => Ok(default),
        value => value
            .as_u64()
            .ok_or_else(|| Problem::new(place, format!("must be a whole number of at least 0, not {value}"))),
    }
}

fn count(value: &Value, default: u32, place: &str) -> Result<u32, Problem> {
    let number = whole(value, u64::from(default), place)?;
    u32::try_from(number).map_err(|_| Problem::new(place, format!("{number} is too large")))
}

fn seconds(value: &Value, default: u32, place: &str) -> Result<SignedDuration, Problem> {
    count(value, default, place).map(|seconds| SignedDuration::from_secs(i64::from(seconds)))
}

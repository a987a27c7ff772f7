//! Rules on the deployment template: it fits the folders, the settings and the recorded events.
//!
//! Decides from the template as data; what it deploys to is nobody's business here.

use std::collections::{BTreeMap, BTreeSet};

use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::{Map, Value};

use crate::Finding;
use crate::files::File;
use crate::tokens::Tokens;

/// The template as JSON; the tags of intrinsic functions are left out and their arguments kept.
///
/// # Errors
/// What the YAML parser says.
pub fn read(template: &File) -> Result<Value, Finding> {
    let broken = |what: String| Finding::new(&template.path, 1, format!("is YAML: {what}"), "mend it");
    let documents = Yaml::load_from_str(&template.text).map_err(|e| broken(e.to_string()))?;
    documents.first().map(json).ok_or_else(|| broken("it is empty".to_owned()))
}

fn json(node: &Yaml<'_>) -> Value {
    match node {
        Yaml::Value(Scalar::String(text)) => Value::from(text.as_ref()),
        Yaml::Value(Scalar::Boolean(flag)) => Value::from(*flag),
        Yaml::Value(Scalar::Integer(number)) => Value::from(*number),
        Yaml::Value(Scalar::FloatingPoint(number)) => Value::from(number.into_inner()),
        Yaml::Value(Scalar::Null) | Yaml::Alias(_) | Yaml::BadValue => Value::Null,
        Yaml::Sequence(items) => items.iter().map(json).collect(),
        Yaml::Mapping(entries) => {
            let entries =
                entries.iter().map(|(key, value)| (json(key).as_str().unwrap_or("").to_owned(), json(value)));
            Value::Object(entries.collect::<Map<_, _>>())
        }
        Yaml::Tagged(_, inner) => json(inner),
        Yaml::Representation(text, ..) => Value::from(text.as_ref()),
    }
}

pub(crate) fn functions(template: &Value) -> BTreeMap<&str, &Value> {
    of_kind(template, "AWS::Serverless::Function")
}

/// The resources of one kind, by their names in the template.
pub(crate) fn of_kind<'a>(template: &'a Value, kind: &str) -> BTreeMap<&'a str, &'a Value> {
    let resources = template["Resources"].as_object().into_iter().flatten();
    let wanted = resources.filter(|(_, resource)| resource["Type"] == kind);
    wanted.map(|(name, resource)| (name.as_str(), resource)).collect()
}

pub(crate) fn line_of(text: &str, what: &str) -> usize {
    text.lines().position(|line| line.contains(what)).map_or(1, |n| n + 1)
}

/// Every folder of a function has its resource, and every resource the zip that `make build` makes of a folder.
pub fn check_functions(file: &File, template: &Value, folders: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut deployed = BTreeSet::new();
    for (name, resource) in functions(template) {
        let code = resource["Properties"]["CodeUri"].as_str().unwrap_or_default();
        let Some(folder) = folders.iter().find(|folder| code == zip(folder)) else {
            let line = line_of(&file.text, &format!("  {name}:"));
            let rule = format!("every function is the zip of a folder: {name} has {code:?}");
            findings.push(Finding::new(
                &file.path,
                line,
                rule,
                format!("set CodeUri to {}", zip("<folder>")),
            ));
            continue;
        };
        deployed.insert(folder);
    }
    for folder in folders.iter().filter(|folder| !deployed.contains(folder)) {
        let rule = "every folder of a function is deployed";
        let remedy = format!("add a function with CodeUri {} to {}", zip(folder), file.path);
        findings.push(Finding::new(&format!("functions/{folder}/Cargo.toml"), 1, rule, remedy));
    }
    findings
}

/// Where cargo-lambda puts a function's zip, as seen from `infra`.
fn zip(folder: &str) -> String {
    format!("../target/lambda/perennial-{folder}/bootstrap.zip")
}

/// Every detail-type that a rule of the template lets through has a recorded event.
pub fn check_events(file: &File, template: &Value, fixtures: &[File]) -> Vec<Finding> {
    let recorded: BTreeSet<String> = fixtures
        .iter()
        .filter_map(|fixture| serde_json::from_str::<Value>(&fixture.text).ok())
        .filter_map(|event| event["detail-type"].as_str().map(str::to_owned))
        .collect();
    let mut findings = Vec::new();
    for function in functions(template).values() {
        for trigger in function["Properties"]["Events"].as_object().into_iter().flatten().map(|(_, t)| t) {
            let types = trigger["Properties"]["Pattern"]["detail-type"].as_array().into_iter().flatten();
            for wanted in types.filter_map(Value::as_str).filter(|wanted| !recorded.contains(*wanted)) {
                let rule = format!("every detail-type has a recorded event: {wanted:?} has none");
                let line = line_of(&file.text, wanted);
                findings.push(Finding::new(&file.path, line, rule, "add one to tests/events"));
            }
        }
    }
    findings
}

/// A tick is neither repeated nor queued for longer than until the next one: they would run side by side.
pub fn check_schedules(file: &File, template: &Value) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, function) in functions(template) {
        let mut triggers = function["Properties"]["Events"].as_object().into_iter().flatten();
        let invoked = &function["Properties"]["EventInvokeConfig"];
        let is_scheduled = triggers.any(|(_, trigger)| trigger["Type"] == "Schedule");
        if is_scheduled && (invoked["MaximumRetryAttempts"] != 0 || invoked["MaximumEventAgeInSeconds"] != 60)
        {
            let line = line_of(&file.text, &format!("  {name}:"));
            let rule = format!("a tick is not repeated and waits for a minute at most: {name}'s is");
            let remedy =
                "set MaximumRetryAttempts: 0 and MaximumEventAgeInSeconds: 60 in its EventInvokeConfig";
            findings.push(Finding::new(&file.path, line, rule, remedy));
        }
    }
    findings
}

/// The variables of ours that a source names.
pub fn variables(source: &File) -> BTreeSet<String> {
    let Ok(tokens) = Tokens::read(&source.text) else { return BTreeSet::new() };
    let strings = tokens.without_tests().strings().into_iter().map(|literal| literal.what);
    strings.filter(|text| text.starts_with("PERENNIAL_") && !text.contains(' ')).collect()
}

/// What the settings read is what the template sets, or what only the local cloud's host sets.
pub fn check_variables(file: &File, template: &Value, settings: &File, host: &File) -> Vec<Finding> {
    let set: BTreeSet<String> = template["Globals"]["Function"]["Environment"]["Variables"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, _)| key.clone())
        .collect();
    let (read, hosted) = (variables(settings), variables(host));
    let mut findings = Vec::new();
    for key in read.iter().filter(|key| !set.contains(*key) && !hosted.contains(*key)) {
        let remedy = format!("set it in {} under Globals.Function.Environment", file.path);
        let rule = format!("every variable that is read is set: {key} is not");
        findings.push(Finding::new(&settings.path, line_of(&settings.text, key), rule, remedy));
    }
    for key in set.iter().filter(|key| !read.contains(*key)) {
        let rule = format!("every variable that is set is read: {key} is not");
        findings.push(Finding::new(&file.path, line_of(&file.text, key), rule, "take it out"));
    }
    for key in set.intersection(&hosted) {
        let rule = format!("a function in AWS keeps AWS's time: {key} is for the local cloud only");
        findings.push(Finding::new(&file.path, line_of(&file.text, key), rule, "take it out"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPLATE: &str = r#"
Globals:
  Function:
    Environment:
      Variables:
        PERENNIAL_A: !Ref Table
        PERENNIAL_UNREAD: x
        PERENNIAL_CLOCK: event
Resources:
  Good:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: ../target/lambda/perennial-good/bootstrap.zip
      Events:
        One: {Type: EventBridgeRule, Properties: {Pattern: {detail-type: [Known, Unknown]}}}
  Misnamed:
    Type: AWS::Serverless::Function
    Properties: {CodeUri: ../functions/misnamed}
  Lost:
    Type: AWS::Serverless::Function
    Properties: {CodeUri: ../target/lambda/perennial-nowhere/bootstrap.zip}
  Table: {Type: "AWS::DynamoDB::Table"}
"#;

    fn file(path: &str, text: &str) -> File {
        File { path: path.to_owned(), text: text.to_owned() }
    }

    fn rules(findings: &[Finding]) -> String {
        findings.iter().map(|f| format!("{}:{} {}\n", f.file, f.line, f.rule)).collect()
    }

    #[test]
    fn functions_and_folders_are_compared_both_ways() {
        let template = file("t.yaml", TEMPLATE);
        let folders = ["good", "misnamed", "forgotten"].map(str::to_owned);
        let findings = check_functions(&template, &read(&template).unwrap(), &folders);
        let said = rules(&findings);
        assert_eq!(findings.len(), 4, "{said}");
        for part in ["t.yaml:16", "Lost", "functions/forgotten", "functions/misnamed/Cargo.toml"] {
            assert!(said.contains(part), "{part} in {said}");
        }
    }

    #[test]
    fn a_detail_type_without_a_recorded_event_is_found() {
        let template = file("t.yaml", TEMPLATE);
        let fixtures = [file("e.json", r#"{"detail-type": "Known"}"#), file("bad.json", "{")];
        let findings = check_events(&template, &read(&template).unwrap(), &fixtures);
        assert_eq!(findings.len(), 1);
        assert!(findings[0].rule.contains("Unknown"));
    }

    #[test]
    fn a_tick_that_is_repeated_or_queued_is_found() {
        let said = |retries: u32, age: u32| {
            let text = format!(
                "Resources:\n  Tick:\n    Type: AWS::Serverless::Function\n    Properties:\n      EventInvokeConfig: \
                 {{MaximumRetryAttempts: {retries}, MaximumEventAgeInSeconds: {age}}}\n      Events: {{Minute: {{Type: Schedule}}}}\n"
            );
            let template = file("t.yaml", &text);
            check_schedules(&template, &read(&template).unwrap()).len()
        };
        assert_eq!((said(0, 60), said(2, 60), said(0, 3600)), (0, 1, 1));
    }

    #[test]
    fn variables_are_compared_both_ways() {
        let template = file("t.yaml", TEMPLATE);
        let settings = file(
            "s.rs",
            r#"const A: &str = "PERENNIAL_A"; const B: &str = "PERENNIAL_UNSET"; const C: &str = "PERENNIAL_CLOCK";"#,
        );
        let host = file("h.rs", r#"fn f() { set("PERENNIAL_CLOCK"); }"#);
        let said = rules(&check_variables(&template, &read(&template).unwrap(), &settings, &host));
        for part in [
            "s.rs:1 every variable that is read is set: PERENNIAL_UNSET",
            "PERENNIAL_UNREAD",
            "keeps AWS's time",
        ] {
            assert!(said.contains(part), "{part} in {said}");
        }
        assert_eq!(said.lines().count(), 3, "{said}");
    }

    #[test]
    fn a_template_that_is_not_yaml_is_found() {
        assert!(read(&file("t.yaml", "a: [1\nb: 2")).is_err());
    }
}

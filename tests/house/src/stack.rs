//! Rules on what the deployment template asks of AWS that no emulator applies, so that no other test would miss it.
//!
//! Decides from the template as data, in which a reference is the name it refers to. Whether AWS keeps what it is asked
//! for is nobody's business here.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::Finding;
use crate::deployment::{functions, line_of, of_kind};
use crate::files::File;
use crate::tokens::Tokens;

/// The properties that name what is made.
const NAMES: [&str; 8] = [
    "AlarmName",
    "DashboardName",
    "FunctionName",
    "LogGroupName",
    "Name",
    "QueueName",
    "TableName",
    "TopicName",
];
/// Lambda's longest event age, in seconds (Lambda API reference, *PutFunctionEventInvokeConfig*).
const LONGEST_EVENT_AGE: u64 = 21_600;

/// What was found, with what is needed to say where.
struct Findings<'a> {
    file: &'a File,
    found: Vec<Finding>,
}

impl<'a> Findings<'a> {
    fn new(file: &'a File) -> Self {
        Findings { file, found: Vec::new() }
    }

    /// Notes that the resource `name` breaks `rule`, unless it does not.
    fn unless(&mut self, holds: bool, name: &str, rule: &str, remedy: &str) {
        if !holds {
            let line = line_of(&self.file.text, &format!("  {name}:"));
            self.found.push(Finding::new(&self.file.path, line, format!("{rule}: {name}"), remedy));
        }
    }
}

/// Tables outlive the stack, cannot be deleted by mistake, can be put back to any second, and forget old journals.
pub fn check_tables(file: &File, template: &Value) -> Vec<Finding> {
    let mut findings = Findings::new(file);
    for (name, table) in of_kind(template, "AWS::DynamoDB::Table") {
        let properties = &table["Properties"];
        let kept = table["DeletionPolicy"] == "Retain" && table["UpdateReplacePolicy"] == "Retain";
        findings.unless(kept, name, "a table outlives its stack", "set both policies to Retain");
        let protected = properties["DeletionProtectionEnabled"] == true;
        findings.unless(
            protected,
            name,
            "a table is not deleted by mistake",
            "set DeletionProtectionEnabled: true",
        );
        let restorable = properties["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"] == true;
        findings.unless(
            restorable,
            name,
            "a table can be restored",
            "enable PointInTimeRecoverySpecification",
        );
        let on_demand = properties["BillingMode"] == "PAY_PER_REQUEST";
        findings.unless(on_demand, name, "a table has no capacity to run out of", "set PAY_PER_REQUEST");
        let has_journal = properties["KeySchema"][1]["AttributeName"] == "sk";
        let expiry = json!({"AttributeName": "expiresAt", "Enabled": true});
        let expires = properties["TimeToLiveSpecification"] == expiry;
        findings.unless(
            expires == has_journal,
            name,
            "journals expire, operators' items do not",
            "mend its expiry",
        );
    }
    findings.found
}

/// Every function gives up in the end, hands what it gave up to a queue of its own, and has a log that ends.
pub fn check_functions(file: &File, template: &Value) -> Vec<Finding> {
    let mut findings = Findings::new(file);
    let queues = of_kind(template, "AWS::SQS::Queue");
    let logs = of_kind(template, "AWS::Logs::LogGroup");
    let format = &template["Globals"]["Function"]["LoggingConfig"]["LogFormat"];
    let mut taken = BTreeSet::new();
    for (name, function) in functions(template) {
        let properties = &function["Properties"];
        let invoke = &properties["EventInvokeConfig"];
        let retries = invoke["MaximumRetryAttempts"].as_u64().is_some_and(|retries| retries <= 2);
        findings.unless(
            retries,
            name,
            "retries are limited",
            "set MaximumRetryAttempts in its EventInvokeConfig",
        );
        let age = invoke["MaximumEventAgeInSeconds"].as_u64();
        let ages = age.is_some_and(|age| (60..=LONGEST_EVENT_AGE).contains(&age));
        findings.unless(
            ages,
            name,
            "events grow too old",
            "set MaximumEventAgeInSeconds in its EventInvokeConfig",
        );
        let queue = destination(&invoke["DestinationConfig"]).filter(|queue| queues.contains_key(queue));
        let own = queue.is_some_and(|queue| taken.insert(queue));
        findings.unless(own, name, "a function has a dead-letter queue of its own", "name one in OnFailure");

        let logging = &properties["LoggingConfig"];
        let json = logging["LogFormat"].as_str().or(format.as_str()) == Some("JSON");
        findings.unless(json, name, "a function logs JSON", "set LogFormat: JSON in its LoggingConfig");
        let log = logging["LogGroup"].as_str().and_then(|log| logs.get(log)).map(|log| &log["Properties"]);
        let ends = log.is_some_and(|log| !log["RetentionInDays"].is_null());
        findings.unless(
            ends,
            name,
            "a function's log is not kept for ever",
            "name a log group with RetentionInDays",
        );
        let function_name = properties["FunctionName"].as_str().unwrap_or("-");
        let named = log.is_some_and(|log| log["LogGroupName"] == format!("/aws/lambda/{function_name}"));
        findings.unless(
            named,
            name,
            "a function's log is named for it",
            "name its log group /aws/lambda/<function>",
        );
    }
    findings.found
}

/// A stream is read from its beginning, one bad record does not hold up the others, and what is given up is not lost.
pub fn check_streams(file: &File, template: &Value) -> Vec<Finding> {
    let mut findings = Findings::new(file);
    for (name, function) in functions(template) {
        let queue = destination(&function["Properties"]["EventInvokeConfig"]["DestinationConfig"]);
        let triggers = function["Properties"]["Events"].as_object().into_iter().flatten();
        for (_, trigger) in triggers.filter(|(_, trigger)| trigger["Type"] == "DynamoDB") {
            let stream = &trigger["Properties"];
            let first = stream["StartingPosition"] == "TRIM_HORIZON";
            findings.unless(
                first,
                name,
                "a stream is read from its beginning",
                "set StartingPosition: TRIM_HORIZON",
            );
            let split = stream["BisectBatchOnFunctionError"] == true;
            findings.unless(split, name, "a failed batch is split", "set BisectBatchOnFunctionError: true");
            let partial = stream["FunctionResponseTypes"] == json!(["ReportBatchItemFailures"]);
            findings.unless(partial, name, "only what failed is repeated", "set ReportBatchItemFailures");
            let (retries, age) = (&stream["MaximumRetryAttempts"], &stream["MaximumRecordAgeInSeconds"]);
            let limited = [retries, age].iter().all(|limit| limit.as_u64().is_some_and(|limit| limit > 0));
            let remedy = "set MaximumRetryAttempts and MaximumRecordAgeInSeconds, neither to -1";
            findings.unless(limited, name, "a bad record holds up its shard for a while only", remedy);
            let handed = destination(&stream["DestinationConfig"]);
            let kept = handed.is_some() && handed == queue;
            findings.unless(
                kept,
                name,
                "what is given up goes to the function's queue",
                "name it in OnFailure",
            );
        }
    }
    findings.found
}

/// All alarms go to one topic and say what missing data means; every queue and function is watched.
pub fn check_alarms(file: &File, template: &Value) -> Vec<Finding> {
    let mut findings = Findings::new(file);
    let topics: Vec<&str> = of_kind(template, "AWS::SNS::Topic").into_keys().collect();
    findings.unless(
        topics.len() == 1,
        "Resources",
        "there is one topic for alarms",
        "keep one AWS::SNS::Topic",
    );
    let alarms = of_kind(template, "AWS::CloudWatch::Alarm");
    for (name, alarm) in &alarms {
        let properties = &alarm["Properties"];
        let told = ["AlarmActions", "OKActions"].iter().all(|action| properties[action] == json!(topics));
        findings.unless(
            told,
            name,
            "an alarm and its end go to the topic",
            "set AlarmActions and OKActions to it",
        );
        let decided = properties["TreatMissingData"].is_string();
        findings.unless(decided, name, "an alarm says what missing data means", "set TreatMissingData");
    }
    let watched: BTreeSet<(&str, &str)> =
        alarms.values().flat_map(|alarm| metrics(&alarm["Properties"])).collect();
    let ticks = functions(template).into_iter().filter(|(_, function)| {
        let triggers = function["Properties"]["Events"].as_object().into_iter().flatten();
        triggers.into_iter().any(|(_, trigger)| trigger["Type"] == "Schedule")
    });
    let ticks: BTreeMap<&str, &Value> = ticks.collect();
    for name in functions(template).into_keys() {
        let errors = watched.contains(&("Errors", name));
        findings.unless(errors, name, "a function that fails is an alarm", "add an alarm on its Errors");
        let missing = !ticks.contains_key(name) || watched.contains(&("Invocations", name));
        findings.unless(
            missing,
            name,
            "a tick that does not come is an alarm",
            "add an alarm on its Invocations",
        );
    }
    for name in of_kind(template, "AWS::SQS::Queue").into_keys() {
        let letters = watched.contains(&("ApproximateNumberOfMessagesVisible", name));
        findings.unless(
            letters,
            name,
            "a dead letter is an alarm",
            "add the queue to the alarm on dead letters",
        );
    }
    findings.found
}

/// Every figure of ours that an alarm or the dashboard looks at is one that is written: no emulator would miss it.
pub fn check_metrics(file: &File, template: &Value, written: &File) -> Vec<Finding> {
    let mut findings = Findings::new(file);
    let told = Tokens::read(&written.text).map(|tokens| tokens.without_tests().strings()).unwrap_or_default();
    let told: BTreeSet<String> = told.into_iter().map(|literal| literal.what).collect();
    let remedy = format!("correct it, or write it in {}", written.path);
    for (name, alarm) in of_kind(template, "AWS::CloudWatch::Alarm") {
        let metric = alarm["Properties"]["MetricName"].as_str().unwrap_or_default();
        let holds = alarm["Properties"]["Namespace"] != "Perennial" || told.contains(metric);
        findings.unless(
            holds,
            name,
            &format!("every figure of an alarm is written, and {metric} is not"),
            &remedy,
        );
    }
    for (name, dashboard) in of_kind(template, "AWS::CloudWatch::Dashboard") {
        // Parameters stand in it as figures, which `${…}` is not.
        let body = dashboard["Properties"]["DashboardBody"]
            .as_str()
            .unwrap_or_default()
            .replace("${RecoveryPointAgeAlarm}", "0");
        let body: Value = serde_json::from_str(&body).unwrap_or_default();
        findings.unless(body.is_object(), name, "a dashboard is JSON", "mend its DashboardBody");
        for widget in body["widgets"].as_array().into_iter().flatten() {
            let rows = widget["properties"]["metrics"].as_array().into_iter().flatten();
            let own = rows.scan("", |namespace, row| {
                // A dot repeats what the row above has in its place.
                *namespace = row[0].as_str().filter(|text| !text.starts_with('.')).unwrap_or(namespace);
                Some((*namespace, row[1].as_str().unwrap_or_default()))
            });
            for (_, metric) in own.filter(|(namespace, _)| *namespace == "Perennial") {
                let rule = format!("every figure of the dashboard is written, and {metric} is not");
                findings.unless(told.contains(metric), name, &rule, &remedy);
            }
        }
    }
    findings.found
}

/// Whatever has a name has that of its deployment in it, so that two deployments fit into one account.
pub fn check_names(file: &File, template: &Value) -> Vec<Finding> {
    let mut findings = Findings::new(file);
    for (name, resource) in template["Resources"].as_object().into_iter().flatten() {
        let properties = resource["Properties"].as_object().into_iter().flatten();
        for (_, value) in properties.filter(|(property, _)| NAMES.contains(&property.as_str())) {
            let text = value.as_str().unwrap_or_default();
            let holds = (text.contains("${Deployment}") || text == "Deployment") && !text.contains('*');
            findings.unless(holds, name, "a name begins with its deployment's", "put ${Deployment} into it");
        }
    }
    findings.found
}

/// The resource that a failure destination names: `!GetAtt Queue.Arn`.
fn destination(config: &Value) -> Option<&str> {
    let failure = &config["OnFailure"];
    let arn = failure["Destination"].as_str().filter(|_| failure["Type"] == "SQS")?;
    arn.strip_suffix(".Arn")
}

/// The metrics that an alarm looks at, each with the resource that it is of.
fn metrics(alarm: &Value) -> Vec<(&str, &str)> {
    let inner =
        alarm["Metrics"].as_array().into_iter().flatten().map(|metric| &metric["MetricStat"]["Metric"]);
    let all = inner.chain([alarm]).filter_map(|metric| {
        let of = metric["Dimensions"][0]["Value"].as_str()?;
        Some((metric["MetricName"].as_str()?, of.split('.').next()?))
    });
    all.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deployment::read;

    const GOOD: &str = r#"
Globals: {Function: {LoggingConfig: {LogFormat: JSON}}}
Resources:
  State:
    Type: AWS::DynamoDB::Table
    DeletionPolicy: Retain
    UpdateReplacePolicy: Retain
    Properties:
      TableName: !Sub "${Deployment}-state"
      BillingMode: PAY_PER_REQUEST
      KeySchema: [{AttributeName: pk, KeyType: HASH}, {AttributeName: sk, KeyType: RANGE}]
      TimeToLiveSpecification: {AttributeName: expiresAt, Enabled: true}
      PointInTimeRecoverySpecification: {PointInTimeRecoveryEnabled: true}
      DeletionProtectionEnabled: true
  Tick:
    Type: AWS::Serverless::Function
    Properties:
      FunctionName: !Sub "${Deployment}-tick"
      LoggingConfig: {LogGroup: !Ref TickLog}
      EventInvokeConfig:
        MaximumRetryAttempts: 0
        MaximumEventAgeInSeconds: 60
        DestinationConfig: {OnFailure: {Type: SQS, Destination: !GetAtt TickLetters.Arn}}
      Events:
        Minute: {Type: Schedule, Properties: {Schedule: rate(1 minute)}}
        Stream:
          Type: DynamoDB
          Properties:
            StartingPosition: TRIM_HORIZON
            BisectBatchOnFunctionError: true
            FunctionResponseTypes: [ReportBatchItemFailures]
            MaximumRetryAttempts: 10
            MaximumRecordAgeInSeconds: 3600
            DestinationConfig: {OnFailure: {Type: SQS, Destination: !GetAtt TickLetters.Arn}}
  TickLetters: {Type: "AWS::SQS::Queue", Properties: {QueueName: !Sub "${Deployment}-tick-dead-letters"}}
  TickLog:
    Type: AWS::Logs::LogGroup
    Properties: {LogGroupName: !Sub "/aws/lambda/${Deployment}-tick", RetentionInDays: !Ref Days}
  Topic: {Type: "AWS::SNS::Topic", Properties: {TopicName: !Sub "${Deployment}-alarms"}}
  Failing:
    Type: AWS::CloudWatch::Alarm
    Properties: {MetricName: Errors, Dimensions: [{Name: FunctionName, Value: !Ref Tick}],
      TreatMissingData: ignore, AlarmActions: [!Ref Topic], OKActions: [!Ref Topic]}
  Missing:
    Type: AWS::CloudWatch::Alarm
    Properties: {MetricName: Invocations, Dimensions: [{Name: FunctionName, Value: !Ref Tick}],
      TreatMissingData: breaching, AlarmActions: [!Ref Topic], OKActions: [!Ref Topic]}
  Letters:
    Type: AWS::CloudWatch::Alarm
    Properties:
      TreatMissingData: notBreaching
      AlarmActions: [!Ref Topic]
      OKActions: [!Ref Topic]
      Metrics: [{Id: all, Expression: SUM(METRICS())}, {Id: m1, MetricStat: {Metric:
        {MetricName: ApproximateNumberOfMessagesVisible, Dimensions: [{Value: !GetAtt TickLetters.QueueName}]}}}]
"#;

    fn findings(text: &str) -> Vec<Finding> {
        let file = File { path: "t.yaml".to_owned(), text: text.to_owned() };
        let template = read(&file).unwrap();
        let checks = [check_tables, check_functions, check_streams, check_alarms, check_names];
        checks.iter().flat_map(|check| check(&file, &template)).collect()
    }

    #[test]
    fn a_template_that_asks_for_everything_is_clean() {
        assert_eq!(findings(GOOD), []);
    }

    #[test]
    fn each_thing_left_out_is_found() {
        let spoilt = [
            ("DeletionPolicy: Retain\n    Update", "Update", "outlives its stack"),
            ("DeletionProtectionEnabled: true", "X: 1", "deleted by mistake"),
            ("PointInTimeRecoveryEnabled: true", "X: 1", "can be restored"),
            ("PAY_PER_REQUEST", "PROVISIONED", "no capacity"),
            ("AttributeName: expiresAt", "AttributeName: other", "journals expire"),
            ("MaximumRetryAttempts: 0", "X: 1", "retries are limited"),
            ("MaximumEventAgeInSeconds: 60", "MaximumEventAgeInSeconds: 30000", "grow too old"),
            ("TickLetters.Arn}}\n      Events", "Other.Arn}}\n      Events", "queue of its own"),
            ("LogFormat: JSON", "LogFormat: Text", "logs JSON"),
            ("RetentionInDays: !Ref Days", "X: 1", "kept for ever"),
            ("/aws/lambda/${Deployment}-tick", "/aws/lambda/${Deployment}-tock", "named for it"),
            ("TRIM_HORIZON", "LATEST", "from its beginning"),
            ("BisectBatchOnFunctionError: true", "X: 1", "is split"),
            ("[ReportBatchItemFailures]", "[]", "only what failed"),
            ("MaximumRecordAgeInSeconds: 3600", "MaximumRecordAgeInSeconds: -1", "holds up its shard"),
            ("3600\n            DestinationConfig", "3600\n            X", "goes to the function's queue"),
            ("OKActions: [!Ref Topic]}\n  Missing", "OKActions: [!Ref Mine]}\n  Missing", "go to the topic"),
            ("TreatMissingData: ignore, ", "", "what missing data means"),
            ("MetricName: Errors", "MetricName: Throttles", "that fails"),
            ("MetricName: Invocations", "MetricName: Duration", "does not come"),
            ("Value: !GetAtt TickLetters.QueueName", "Value: other", "a dead letter"),
            ("TopicName: !Sub \"${Deployment}-alarms\"", "TopicName: alarms", "a name begins"),
        ];
        for (from, to, rule) in spoilt {
            assert!(GOOD.contains(from), "{from}");
            let found = findings(&GOOD.replacen(from, to, 1));
            assert!(found.iter().any(|finding| finding.rule.contains(rule)), "{rule}: {found:#?}");
        }
    }

    #[test]
    fn a_figure_that_nobody_writes_is_found() {
        let text = r#"
Resources:
  Good: {Type: "AWS::CloudWatch::Alarm", Properties: {Namespace: Perennial, MetricName: Told}}
  Other: {Type: "AWS::CloudWatch::Alarm", Properties: {Namespace: AWS/Lambda, MetricName: Errors}}
  Bad: {Type: "AWS::CloudWatch::Alarm", Properties: {Namespace: Perennial, MetricName: Mistold}}
  Board:
    Type: AWS::CloudWatch::Dashboard
    Properties:
      DashboardBody: !Sub |
        {"widgets": [{"properties": {"limit": ${RecoveryPointAgeAlarm}, "metrics": [
          ["Perennial", "Told", "Deployment", "${Deployment}"], [".", "Untold", ".", "."]]}},
          {"properties": {"metrics": [["AWS/SQS", "Visible"], ["...", "x"]]}}]}
  Broken: {Type: "AWS::CloudWatch::Dashboard", Properties: {DashboardBody: "{"}}
"#;
        let file = File { path: "t.yaml".to_owned(), text: text.to_owned() };
        let written = File { path: "m.rs".to_owned(), text: r#"const NAME: &str = "Told";"#.to_owned() };
        let found = check_metrics(&file, &read(&file).unwrap(), &written);
        let rules: Vec<&str> = found.iter().map(|finding| finding.rule.as_str()).collect();
        assert_eq!(rules.len(), 3, "{rules:#?}");
        for part in ["Mistold is not: Bad", "Untold is not: Board", "is JSON: Broken"] {
            assert!(rules.iter().any(|rule| rule.contains(part)), "{part} in {rules:#?}");
        }
    }

    #[test]
    fn two_functions_do_not_share_a_queue_and_alarms_not_two_topics() {
        let second = "  Tock:\n    Type: AWS::Serverless::Function\n    Properties:\n      EventInvokeConfig: {DestinationConfig: \
                      {OnFailure: {Type: SQS, Destination: !GetAtt TickLetters.Arn}}}\n  Second: {Type: 'AWS::SNS::Topic'}\n";
        let found = findings(&format!("{GOOD}{second}"));
        for rule in ["queue of its own: Tock", "one topic for alarms", "go to the topic: Failing"] {
            assert!(found.iter().any(|finding| finding.rule.contains(rule)), "{rule}: {found:#?}");
        }
    }
}

//! The project's own template is read whole, and what cannot be made is refused with its place.

use jiff::SignedDuration;

use super::*;

fn place() -> Place {
    Place { region: "us-east-1".to_owned(), account: "123456789012".to_owned(), parameters: BTreeMap::new() }
}

fn own() -> Template {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../infra/template.yaml");
    Template::load(&path, &place()).unwrap()
}

fn function<'a>(template: &'a Template, folder: &str) -> &'a Function {
    template.functions.iter().find(|function| function.folder == folder).unwrap()
}

#[test]
fn tables_have_the_keys_index_stream_and_expiry_of_the_template() {
    let template = own();
    let [config, state] = template.tables.as_slice() else { panic!("two tables") };
    assert_eq!((config.name.as_str(), state.name.as_str()), ("perennial-config", "perennial-state"));
    assert_eq!(config.create["KeySchema"], json!([{"AttributeName": "id", "KeyType": "HASH"}]));
    assert_eq!(
        config.create["StreamSpecification"],
        json!({"StreamEnabled": true, "StreamViewType": "NEW_AND_OLD_IMAGES"})
    );
    assert_eq!(state.create["GlobalSecondaryIndexes"][0]["IndexName"], "work");
    assert_eq!(state.time_to_live.as_deref(), Some("expiresAt"));
    assert_eq!(template.buses, ["perennial"]);
}

#[test]
fn functions_have_their_environment_limits_and_triggers() {
    let template = own();
    let folders: Vec<&str> = template.functions.iter().map(|function| function.folder.as_str()).collect();
    let expected = [
        "config-change",
        "image-backup",
        "instance-state",
        "reconcile",
        "snapshot-schedule",
        "spot-interruption",
        "storage-state",
    ];
    assert!(expected.iter().all(|folder| folders.contains(folder)), "{folders:?}");

    let reconcile = function(&template, "reconcile");
    assert_eq!(reconcile.environment["PERENNIAL_CONFIG_TABLE"], "perennial-config");
    assert_eq!(reconcile.environment["PERENNIAL_EVENT_BUS"], "perennial");
    assert_eq!(reconcile.environment["PERENNIAL_DEPLOYMENT"], "perennial");
    assert_eq!(reconcile.timeout, SignedDuration::from_secs(120));
    assert_eq!(reconcile.schedules[0].every, SignedDuration::from_mins(1));
    assert_eq!(reconcile.invoke, InvokeSettings { retries: 0, max_age: SignedDuration::from_mins(1) });
    let state = function(&template, "instance-state");
    assert_eq!(state.invoke, InvokeSettings { retries: 2, max_age: SignedDuration::from_hours(1) });

    let stream = &function(&template, "config-change").streams[0];
    assert_eq!(
        (stream.table.as_str(), stream.batch_size, stream.retries),
        ("perennial-config", 10, Some(10))
    );
    assert!(stream.bisect && stream.partial_failures);
}

#[test]
fn every_event_of_a_recovery_finds_its_function() {
    let template = own();
    let woken = |detail_type: &str, detail: Value| -> Vec<String> {
        let event = json!({"source": "aws.ec2", "detail-type": detail_type, "detail": detail});
        let rules = template.rules.iter().filter(|rule| rule.pattern.matches(&event));
        rules.flat_map(|rule| rule.targets.clone()).collect()
    };
    assert_eq!(woken("EC2 Spot Instance Interruption Warning", json!({})), ["spot-interruption"]);
    assert_eq!(woken("EC2 Instance Rebalance Recommendation", json!({})), ["spot-interruption"]);
    for state in ["running", "stopped", "shutting-down", "terminated"] {
        assert_eq!(
            woken("EC2 Instance State-change Notification", json!({"state": state})),
            ["instance-state"]
        );
    }
    assert!(woken("EC2 Instance State-change Notification", json!({"state": "pending"})).is_empty());
    assert_eq!(woken("EBS Snapshot Notification", json!({"event": "createSnapshot"})), ["storage-state"]);
    assert_eq!(woken("EC2 AMI State Change", json!({"State": "available"})), ["storage-state"]);
    assert!(woken("EBS Volume Notification", json!({"event": "createVolume"})).is_empty());
}

#[test]
fn a_deployment_of_another_name_is_named_throughout() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../infra/template.yaml");
    let parameters = BTreeMap::from([("Deployment".to_owned(), "pets".to_owned())]);
    let template = Template::load(&path, &Place { parameters, ..place() }).unwrap();
    assert_eq!(template.tables[0].name, "pets-config");
    assert_eq!(function(&template, "reconcile").environment["PERENNIAL_STATE_TABLE"], "pets-state");
    assert_eq!(function(&template, "config-change").streams[0].table, "pets-config");
}

#[test]
fn a_function_is_known_by_its_folder_or_by_the_zip_made_of_it() {
    let folder = |code: &str| {
        let text = format!(
            "Resources: {{F: {{Type: 'AWS::Serverless::Function', Properties: {{CodeUri: '{code}'}}}}}}"
        );
        Template::read(&text, &place()).map(|template| template.functions[0].folder.clone())
    };
    for code in
        ["../functions/reading", "functions/reading/", "../target/lambda/perennial-reading/bootstrap.zip"]
    {
        assert_eq!(folder(code).unwrap(), "reading", "{code}");
    }
    for code in ["..", "./", "../target/lambda/reading/bootstrap.zip", "perennial-/bootstrap.zip"] {
        let problem = folder(code).unwrap_err();
        assert!(problem.contains("Resources.F.Properties.CodeUri"), "{problem}");
    }
}

#[test]
fn a_resource_whose_condition_does_not_hold_is_not_made() {
    let text = "
Parameters:
  Names: {Type: CommaDelimitedList, Default: ''}
  Audited: {Type: Number, Default: 0}
Conditions:
  Named: !Not [!Equals [!Join ['', !Ref Names], '']]
  IsAudited: !Equals [!Ref Audited, 1]
Resources:
  Extra: {Type: 'AWS::Events::EventBus', Condition: Named, Properties: {Name: !Select [0, !Ref Names]}}
  Audit: {Type: 'AWS::Events::EventBus', Condition: IsAudited}
  F:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: functions/f
      Environment: {Variables: {BUS: !If [Named, !Ref Extra, default]}}
";
    let made = |parameters: &[(&str, &str)]| {
        let parameters =
            parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let template = Template::read(text, &Place { parameters, ..place() }).unwrap();
        (template.buses, template.functions[0].environment["BUS"].clone())
    };
    assert_eq!(made(&[]), (vec![], "default".to_owned()));
    assert_eq!(made(&[("Names", "one, two")]), (vec!["one".to_owned()], "one".to_owned()));
    assert_eq!(made(&[("Audited", "1")]), (vec!["Audit".to_owned()], "default".to_owned()));

    let unknown = "Resources: {B: {Type: 'AWS::Events::EventBus', Condition: Never}}";
    let problem = Template::read(unknown, &place()).unwrap_err();
    assert!(problem.contains("Resources.B.Condition") && problem.contains("Never"), "{problem}");
}

#[test]
fn what_cannot_be_made_is_refused_with_its_place() {
    let cases = [
        ("Parameters: {}", "Resources"),
        ("Parameters: {P: {Type: String}}\nResources: {}", "--parameter P=VALUE"),
        (
            "Resources: {T: {Type: 'AWS::DynamoDB::Table', Properties: {KeySchemas: []}}}",
            "Resources.T.Properties.KeySchemas",
        ),
        (
            "Resources: {F: {Type: 'AWS::Serverless::Function', Properties: {CodeUri: f, Events: \
             {E: {Type: Schedule, Properties: {Schedule: cron(0 0 * * ? *)}}}}}}",
            "Resources.F.Properties.Events.E.Properties.Schedule",
        ),
        (
            "Resources: {F: {Type: 'AWS::Serverless::Function', Properties: {CodeUri: f, Events: \
             {E: {Type: SQS, Properties: {}}}}}}",
            "Resources.F.Properties.Events.E.Type",
        ),
    ];
    for (text, place_named) in cases {
        let problem = Template::read(text, &place()).unwrap_err();
        assert!(problem.contains(place_named), "{problem}");
    }
    let missing = Template::load(Path::new("no-such.yaml"), &place()).unwrap_err().to_string();
    assert!(missing.contains("no-such.yaml") && missing.contains("--template"), "{missing}");
}

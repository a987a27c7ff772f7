//! Placeholders are found and replaced, and every statement of the examples' own README does what it says.

use std::path::PathBuf;

use perennial_cloud::{Functions, Options, Server};
use perennial_core::config;
use serde_json::json;

use super::*;

/// Every example, in the order in which the README's statements want them to be there.
const ALL: [&str; 4] = ["single-box", "database", "ring", "web"];

fn infra() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../infra")
}

fn read(name: &str) -> Example {
    Example::read(&infra().join("examples"), name).unwrap()
}

/// A cloud without functions: what is tested is what DynamoDB makes of a statement.
async fn cloud() -> Access {
    let options = Options { functions: Functions::None, ..Options::new(infra().join("template.yaml")) };
    Access::new(Server::start(options).await.unwrap())
}

#[test]
fn placeholders_are_ids_of_nobody() {
    assert!(is_placeholder("subnet-0aaaaaaaaaaaaaaaa", "subnet"));
    for text in ["subnet-0aaaaaaaaaaaaaaab", "subnet-0aaaaaaaa", "subnet-aaaaaaaaaaaaaaaaa", "subnet-", "a"] {
        assert!(!is_placeholder(text, "subnet"), "{text}");
    }
    assert!(!is_placeholder("eipalloc-0aaaaaaaaaaaaaaaa", "subnet"));
    let ring = read("ring");
    assert_eq!(ring.placeholders("subnet").len(), 2);
    let ids = ["a", "b", "c"].map(|letter| format!("eipalloc-0{}", letter.repeat(16)));
    assert_eq!(ring.placeholders("eipalloc"), ids);
}

#[test]
fn what_is_changed_is_told_and_what_is_not_there_is_refused() {
    let example = read("single-box");
    assert_eq!(example.told(), "The item is infra/examples/single-box.json.");
    let example = example.with("persist.root.snapshotEvery", "1m").unwrap();
    assert_eq!(
        example.told(),
        "The item is infra/examples/single-box.json, with persist.root.snapshotEvery = 1m."
    );
    assert_eq!(example.plain()["persist"]["root"]["snapshotEvery"], "1m");
    assert_eq!((example.id(), example.name()), ("node#box", "box"));
    let refusal = example.with("persist.data.snapshotEvery", "1m").unwrap_err();
    assert_eq!(refusal, "single-box.json: no text at persist.data.snapshotEvery");
    let missing = Example::read(&infra(), "none").unwrap_err();
    assert!(missing.contains("none.json") && missing.contains("--examples"), "{missing}");
}

#[test]
fn a_list_is_replaced_whole() {
    let mut ring = read("ring");
    ring.set_list("persist.network.privateIpPool", &["10.0.1.9".to_owned()]);
    assert_eq!(ring.plain()["persist"]["network"]["privateIpPool"], json!(["10.0.1.9"]));
}

#[tokio::test]
async fn every_example_is_filled_with_what_the_account_has() {
    let access = cloud().await;
    for name in ALL {
        let mut example = read(name);
        example.fill(&access, "perennial-demo");
        assert_eq!(example.placeholders("subnet"), [""; 0], "{name}");
        let launch = &example.plain()["launch"];
        assert_eq!(launch["template"]["name"], "perennial-demo", "{name}");
        assert_eq!(launch["subnets"][0], access.defaults().subnet_ids[0], "{name}");
    }
    access.stop().await;
}

/// Commands in the README's code blocks.
fn commands() -> Vec<String> {
    let text = std::fs::read_to_string(infra().join("examples/README.md")).unwrap();
    text.lines().filter(|line| line.starts_with("aws ")).map(str::to_owned).collect()
}

/// The statement of a command, as the shell hands it over.
fn statement(command: &str) -> Option<String> {
    let quoted = command.strip_prefix("aws dynamodb execute-statement --statement \"")?.strip_suffix('"')?;
    Some(quoted.replace("\\\"", "\""))
}

/// What is wrong with an item, by the same reader that judges it.
fn problems(item: &Value) -> Vec<config::Problem> {
    match item["id"].as_str().unwrap() {
        "settings" => config::settings::parse(item).err().unwrap_or_default(),
        id if id.starts_with("group#") => config::parse_group(item).0.problems,
        _ if item.get("group").is_some() => Vec::new(),
        _ => config::parse(item).problems,
    }
}

/// What a statement must have done: the item that it is about, a place in it, and what is there afterwards.
const DONE: [(&str, &str, &str, &str); 19] = [
    ("SET desiredState='paused' WHERE id='node#box'", "node#box", "/desiredState", "\"paused\""),
    ("SET desiredState='running'", "node#box", "/desiredState", "\"running\""),
    ("SET recycle=recycle+1 WHERE id='node#box'", "node#box", "/recycle", "1"),
    ("SET recycle=recycle+1 WHERE id='group#ring'", "group#ring", "/recycle", "1"),
    ("SET suspend=true", "node#box", "/suspend", "true"),
    ("REMOVE suspend", "node#box", "/suspend", "null"),
    ("INSERT INTO", "settings", "/suspend", "true"),
    ("SET suspend=false", "settings", "/suspend", "false"),
    ("SET snapshotsPerSecond=8", "settings", "/snapshotsPerSecond", "8"),
    ("SET \"capacity\"=2", "group#ring", "/capacity", "2"),
    ("SET desiredState='paused' WHERE id='node#ring-1'", "node#ring-1", "/desiredState", "\"paused\""),
    ("REMOVE desiredState", "node#ring-1", "/desiredState", "null"),
    ("SET imageBackup.now", "group#web", "/imageBackup/now", "1"),
    ("SET launch.instanceTypes", "node#db", "/launch/instanceTypes", "[\"m6i.large\",\"m5.large\"]"),
    ("SET persist.root.keep=5", "node#db", "/persist/data/keep", "5"),
    ("SET retention.\"after\"='30d'", "node#db", "/retention/after", "\"30d\""),
    ("SET restoreFrom", "node#db", "/restoreFrom", "\"snap-0aaaaaaaaaaaaaaaa\""),
    ("SET desiredState='deallocated'", "node#box", "/desiredState", "\"deallocated\""),
    ("DELETE FROM", "node#box", "/id", "null"),
];

#[tokio::test]
async fn every_statement_of_the_readme_does_what_it_says() {
    let access = cloud().await;
    for name in ALL {
        access.put_config(read(name).item()).await.unwrap();
    }
    // The group makes it; here nobody does.
    let member = json!({"id": {"S": "node#ring-1"}, "group": {"S": "ring"}});
    access.put_config(&member).await.unwrap();
    let mut left = DONE.iter();
    for command in commands() {
        let Some(statement) = statement(&command) else {
            assert!(command.ends_with("--item file://infra/examples/single-box.json"), "{command}");
            continue;
        };
        let found = access.statement(&statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
        if statement.starts_with("SELECT") {
            assert!(found.len() <= 1, "{statement}: {found:?}");
            continue;
        }
        let Some((part, id, place, wanted)) = left.next() else { panic!("nothing is known of {statement}") };
        assert!(statement.contains(part), "{statement} is not {part}");
        let item = access.config_item(id).await.unwrap().map_or(Value::Null, Value::Object);
        assert_eq!(item.pointer(place).unwrap_or(&Value::Null).to_string(), *wanted, "{statement}");
        if !item.is_null() {
            assert_eq!(problems(&item), [], "{statement}");
        }
    }
    assert_eq!(left.next(), None, "statements are missing");
    access.stop().await;
}

#[tokio::test]
async fn rejected_items_are_selected_by_their_answer() {
    let access = cloud().await;
    for (id, accepted) in [("node#a", true), ("node#b", false)] {
        let status = json!({"M": {"accepted": {"BOOL": accepted}}});
        access.put_config(&json!({"id": {"S": id}, "_status": status})).await.unwrap();
    }
    let all = commands().into_iter().filter_map(|command| statement(&command));
    let select = all.into_iter().find(|it| it.contains("\"accepted\"=false")).unwrap();
    let found = access.statement(&select).await.unwrap();
    assert_eq!(found, [json!({"id": "node#b", "_status": {"accepted": false}})]);
    access.stop().await;
}

#[tokio::test]
async fn an_update_of_an_item_that_is_not_there_is_refused_and_makes_none() {
    let access = cloud().await;
    let statement = "UPDATE \"perennial-config\" SET desiredState='paused' WHERE id='node#nobody'";
    let refused = access.statement(statement).await.unwrap_err().to_string();
    assert!(refused.contains("ConditionalCheckFailedException"), "{refused}");
    assert_eq!(access.config_item("node#nobody").await.unwrap(), None);
    access.stop().await;
}

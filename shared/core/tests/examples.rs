//! Every example in `infra/examples` is accepted as it stands, in an account that has what it names, and nothing is
//! told of it.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail as loudly as the test itself")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use perennial_core::config::notices::notices;
use perennial_core::config::references::{Referred, check};
use perennial_core::config::{self, Draft, GroupPart, Problem, transitions};
use perennial_core::group::references;
use perennial_core::ids::{AllocationId, ImageId, NodeName, SubnetId};
use perennial_core::launch::TemplateFacts;
use perennial_core::observation::{AddressFacts, ImageFacts, ImageState, Platform, SubnetFacts};
use perennial_core::record::{Accepted, Record};
use serde_json::{Map, Value, json};

/// The launch template that every example names until somebody writes their own.
const TEMPLATE: &str = "my-launch-template";

fn examples() -> BTreeMap<String, Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../infra/examples");
    let paths = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|ending| ending == "json"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let item: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
            (name, plain(&json!({"M": item})))
        })
        .collect()
}

/// DynamoDB's JSON as ordinary JSON. It knows the types that items have, and no others.
fn plain(attribute: &Value) -> Value {
    let attribute = attribute.as_object().unwrap();
    let [(kind, value)] = attribute.iter().collect::<Vec<_>>()[..] else { panic!("{attribute:?}") };
    match kind.as_str() {
        "S" => Value::from(value.as_str().unwrap()),
        "BOOL" => Value::from(value.as_bool().unwrap()),
        "N" => serde_json::from_str(value.as_str().unwrap()).unwrap(),
        "L" => value.as_array().unwrap().iter().map(plain).collect(),
        "M" => value.as_object().unwrap().iter().map(|(key, it)| (key.clone(), plain(it))).collect(),
        other => panic!("no item has the type {other}"),
    }
}

/// What each example must be read as; an example without a line here fails the test.
fn told(name: &str) -> &'static str {
    match name {
        "single-box" => "node#box keeps root, network",
        "database" => "node#db keeps root, data (reattach), network at 10.0.1.20",
        "ring" => "group#ring of 3 keeps root, network; pool of 3, Elastic IPs 3",
        "web" => "group#web of 2 keeps nothing; backups continuous, 3 kept",
        other => panic!("no expectation for the example {other}"),
    }
}

fn tell(id: &str, draft: &Draft, part: Option<&GroupPart>) -> String {
    let persist = &draft.config.persist;
    let kept = [
        persist.root.as_ref().map(|_| "root".to_owned()),
        persist.data.as_ref().map(|data| format!("data ({})", data.mode.as_str())),
        persist.network.as_ref().map(|network| match network.private_ip {
            Some(address) => format!("network at {address}"),
            None => "network".to_owned(),
        }),
    ];
    let kept: Vec<String> = kept.into_iter().flatten().collect();
    let kept = if kept.is_empty() { "nothing".to_owned() } else { kept.join(", ") };
    let Some(part) = part else { return format!("{id} keeps {kept}") };
    let mut text = format!("{id} of {} keeps {kept}", part.capacity);
    if !part.private_ips.is_empty() {
        text += &format!("; pool of {}, Elastic IPs {}", part.private_ips.len(), part.elastic_ips.len());
    }
    if let Some(backup) = &part.image_backup {
        text += &format!("; backups {}, {} kept", backup.frequency.as_str(), backup.keep);
    }
    text
}

/// An account that has what the placeholders of an example name: its subnets are 10.0.1.0/24, 10.0.2.0/24 and so on.
fn account(draft: &Draft, part: &GroupPart) -> Referred {
    let subnet = |(n, id): (usize, &SubnetId)| {
        let cidr = format!("10.0.{}.0/24", n + 1).parse().unwrap();
        (id.clone(), SubnetFacts { id: id.clone(), zone: "us-east-1a".into(), cidr })
    };
    let image = ImageFacts {
        id: ImageId::new("ami-1"),
        name: String::new(),
        state: ImageState::Available,
        state_reason: String::new(),
        root_device: "/dev/xvda".into(),
        ebs_root: true,
        root_snapshot: None,
        devices: Vec::new(),
        snapshots: Vec::new(),
        created_at: None,
        platform: Platform::default(),
        tags: Default::default(),
    };
    let template = TemplateFacts {
        id: "lt-1".into(),
        version: 1,
        image: Some(image.id.clone()),
        ..TemplateFacts::default()
    };
    let free = |id: &AllocationId| {
        (id.clone(), AddressFacts { id: id.clone(), public_ip: [198, 51, 100, 1].into(), association: None })
    };
    Referred {
        template: Some(template),
        subnets: draft.config.launch.subnets.iter().enumerate().map(subnet).collect(),
        images: [(image.id.clone(), image)].into(),
        elastic_ips: part.elastic_ips.iter().map(free).collect(),
        ..Referred::default()
    }
}

/// Everything that is wrong with the item of a node, and what is told of it.
fn judge_node(id: &str, item: &Value) -> (Draft, Vec<Problem>, Vec<String>) {
    let name = config::node_name(id).unwrap();
    let draft = config::parse(item);
    let mut problems = draft.problems.clone();
    problems.extend(transitions::check(None, &draft.config, item));
    problems.extend(check(&draft, &account(&draft, &GroupPart::default())));
    let accepted = || Accepted {
        hash: config::hash(item),
        share: None,
        notices: Vec::new(),
        config: draft.config.clone(),
    };
    let now = "2026-11-22T03:00:00Z".parse().unwrap();
    let record = Record::new(NodeName::parse(name.as_str()).unwrap(), "1".to_owned(), accepted(), now);
    let notices = notices(&record, &accepted(), now);
    (draft, problems, notices)
}

fn judge_group(id: &str, item: &Value) -> (Draft, GroupPart, Vec<Problem>) {
    let name = config::group_name(id).unwrap();
    let (draft, part) = config::parse_group(item);
    let mut problems = draft.problems.clone();
    let now = "2026-11-22T03:00:00Z".parse().unwrap();
    problems.extend(part.image_backup.iter().flat_map(|policy| config::backup::check(policy, now)));
    let account = account(&draft, &part);
    problems.extend(references::problems(&name, None, item, (&draft, &part), &account, &[]));
    (draft, part, problems)
}

#[test]
fn every_example_is_accepted_as_what_it_is_and_nothing_is_told_of_it() {
    let examples = examples();
    assert!(examples.len() >= 4, "examples are missing");
    for (name, item) in examples {
        let id = item["id"].as_str().unwrap();
        let (draft, part) = if id.starts_with("group#") {
            let (draft, part, problems) = judge_group(id, &item);
            assert_eq!(problems, [], "{name}");
            (draft, Some(part))
        } else {
            let (draft, problems, notices) = judge_node(id, &item);
            assert_eq!((problems, notices), (vec![], vec![]), "{name}");
            (draft, None)
        };
        assert_eq!(tell(id, &draft, part.as_ref()), told(&name));
    }
}

/// Every text of an item with the name of its attribute.
fn texts(value: &Value, attribute: &str, found: &mut BTreeSet<(String, String)>) {
    match value {
        Value::String(text) => drop(found.insert((attribute.to_owned(), text.clone()))),
        Value::Array(all) => all.iter().for_each(|it| texts(it, attribute, found)),
        Value::Object(all) => all.iter().for_each(|(key, it)| texts(it, key, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[test]
fn what_must_be_replaced_in_an_example_is_easy_to_see() {
    for (name, item) in examples() {
        let mut found = BTreeSet::new();
        texts(&item, "", &mut found);
        for (attribute, text) in &found {
            // An id of nobody's: a 0 and then one letter, as long as an id of EC2.
            let is_placeholder = |kind: &str| {
                let digits = text.strip_prefix(kind).and_then(|it| it.strip_prefix("-0"));
                let first = digits.and_then(|it| it.chars().next());
                digits.is_some_and(|it| it.len() == 16 && it.chars().all(|c| Some(c) == first))
            };
            match attribute.as_str() {
                "subnets" => assert!(is_placeholder("subnet"), "{name}: {text}"),
                "elasticIpPool" | "elasticIp" => assert!(is_placeholder("eipalloc"), "{name}: {text}"),
                "name" => assert_eq!(text, TEMPLATE, "{name}"),
                _ => assert!(!text.contains("-0"), "{name}: {attribute} holds an id of an account: {text}"),
            }
        }
    }
}

#[test]
fn what_statements_raise_is_there_to_be_raised() {
    // PartiQL raises a number only if there is one: `SET recycle = recycle + 1` fails on an item without it.
    for (name, item) in examples() {
        assert_eq!(item["recycle"], 0, "{name}");
        if let Some(backup) = item.get("imageBackup") {
            assert_eq!(backup["now"], 0, "{name}");
        }
        let after = item.pointer("/retention/after").and_then(Value::as_str);
        assert!(after.is_some(), "{name}: a nested attribute is set only in a map that is there");
    }
}

#[test]
fn an_example_with_a_typo_would_be_found() {
    let item = examples().remove("single-box").unwrap();
    let mut torn: Map<String, Value> = item.as_object().unwrap().clone();
    torn.insert("persists".to_owned(), json!({}));
    let (_, problems, _) = judge_node("node#box", &Value::Object(torn));
    assert_eq!(problems.iter().map(|it| it.path.as_str()).collect::<Vec<_>>(), ["persists"]);
}

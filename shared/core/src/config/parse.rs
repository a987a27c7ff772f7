//! From an item to a config, or to everything that is wrong with it.

use std::net::Ipv4Addr;

use serde_json::Value;

use super::reader::{Reader, problem};
use super::{
    DesiredState, Launch, MarketPolicy, NetworkPolicy, NodeConfig, OnRebalance, Persist, Problem, Retained,
    Retention, RootPolicy, TemplateRef, TemplateSpec,
};
use crate::ids::{ImageId, NodeName, SnapshotId, SubnetId};
use crate::limits;
use crate::names::{TAG_PREFIX, Tags};

/// What could be read of an item. The config has defaults where something could not be read, so that what
/// it refers to can be checked together with the rest; it is in force only if there are no problems.
#[derive(Clone, Debug)]
pub struct Draft {
    /// What could be read.
    pub config: NodeConfig,
    /// Whether a launch template could be read.
    pub has_template: bool,
    /// Everything that is wrong.
    pub problems: Vec<Problem>,
}

/// Reads the item of a node, whose `id` is known to be good.
pub fn parse(item: &Value) -> Draft {
    let mut problems = Vec::new();
    let mut top = Reader::new("", Some(item));
    top.get("id");
    top.get(super::STATUS);
    top.not_yet(&["group", "targetGroups"]);
    let desired_state = desired_state(&mut top);
    let recycle = top.whole("recycle", 0, limits::RECYCLE_MAX).unwrap_or(0);
    let restore_from = restore_from(&mut top);
    let suspend = top.boolean("suspend").unwrap_or(false);
    let on_rebalance = on_rebalance(&mut top);
    let template_and_launch = top.map("launch").map(|reader| launch(reader, &mut problems));
    if template_and_launch.is_none() && top.get("launch").is_none() {
        problems.push(problem(
            "launch",
            &Value::Null,
            "required: write launch.template with an id or a name",
        ));
    }
    let persist = top.map("persist").map(|reader| persist(reader, &mut problems)).unwrap_or_default();
    let retention = top.map("retention").map(|reader| retention(reader, &mut problems)).unwrap_or_default();
    let tags = tags(&mut top);
    top.finish(&mut problems);
    problems.sort_by(|a, b| a.path.cmp(&b.path));
    let (template, launch) = template_and_launch.unwrap_or((false, no_launch()));
    Draft {
        config: NodeConfig {
            desired_state,
            recycle,
            restore_from,
            launch,
            persist,
            on_rebalance,
            retention,
            suspend,
            tags,
        },
        has_template: template,
        problems,
    }
}

fn no_launch() -> Launch {
    Launch {
        template: TemplateSpec { which: TemplateRef::Name(String::new()), version: "$Default".to_owned() },
        image: None,
        instance_types: Vec::new(),
        subnets: Vec::new(),
        market: MarketPolicy::default(),
        max_spot_price: None,
    }
}

fn desired_state(top: &mut Reader<'_>) -> DesiredState {
    let Some(text) = top.text("desiredState", "running, paused, deallocated or released") else {
        return DesiredState::default();
    };
    DesiredState::ALL.into_iter().find(|state| state.as_str() == text).unwrap_or_else(|| {
        let allowed = "unknown state: write \"running\", \"paused\", \"deallocated\" or \"released\"";
        top.refuse("desiredState", &Value::from(text), allowed);
        DesiredState::default()
    })
}

fn restore_from(top: &mut Reader<'_>) -> Option<SnapshotId> {
    let text = top.text("restoreFrom", "a snapshot id")?;
    let snapshot = SnapshotId::parse(text);
    if snapshot.is_none() {
        let remedy = "no snapshot id: write one that begins with \"snap-\"";
        top.refuse("restoreFrom", &Value::from(text), remedy);
    }
    snapshot
}

fn on_rebalance(top: &mut Reader<'_>) -> OnRebalance {
    let remedy = match top.text("onRebalance", "ignore or snapshot") {
        None | Some("snapshot") => return OnRebalance::Snapshot,
        Some("ignore") => return OnRebalance::Ignore,
        Some("replace") => "not supported yet by this version of Perennial: write \"snapshot\" or \"ignore\"",
        Some(_) => "unknown reaction: write \"snapshot\" or \"ignore\"",
    };
    let value = top.get("onRebalance").cloned().unwrap_or(Value::Null);
    top.refuse("onRebalance", &value, remedy);
    OnRebalance::default()
}

fn launch(mut reader: Reader<'_>, problems: &mut Vec<Problem>) -> (bool, Launch) {
    if !reader.is_map() {
        reader.finish(problems);
        return (false, no_launch());
    }
    let template = match reader.map("template") {
        Some(template_reader) => template(template_reader, problems),
        None => {
            let value = reader.get("template").cloned().unwrap_or(Value::Null);
            reader.refuse(
                "template",
                &value,
                "required: write {id} or {name}, and a version if not $Default",
            );
            None
        }
    };
    let mut launch = no_launch();
    let has_template = template.is_some();
    if let Some(template) = template {
        launch.template = template;
    }
    if let Some(image) = reader.text("image", "an image id") {
        launch.image = ImageId::parse(image);
        if launch.image.is_none() {
            reader.refuse("image", &Value::from(image), "no image id: write one that begins with \"ami-\"");
        }
    }
    launch.instance_types = reader
        .list("instanceTypes", "instance types such as \"m7i.large\"", instance_type)
        .unwrap_or_default();
    launch.subnets =
        reader.list("subnets", "subnet ids such as \"subnet-0abc\"", SubnetId::parse).unwrap_or_default();
    launch.market = match reader.text("market", "a market") {
        None | Some("spot-then-on-demand") => MarketPolicy::SpotThenOnDemand,
        Some("spot") => MarketPolicy::Spot,
        Some("on-demand") => MarketPolicy::OnDemand,
        Some(other) => {
            let remedy = "unknown market: write \"spot-then-on-demand\", \"spot\" or \"on-demand\"";
            reader.refuse("market", &Value::from(other), remedy);
            MarketPolicy::default()
        }
    };
    launch.max_spot_price = max_spot_price(&mut reader, launch.market);
    reader.finish(problems);
    (has_template, launch)
}

fn template(mut reader: Reader<'_>, problems: &mut Vec<Problem>) -> Option<TemplateSpec> {
    let id = reader.text("id", "a launch template id");
    let name = reader.text("name", "a launch template name");
    let version = reader.get("version").map_or("$Default".to_owned(), |version| {
        version.as_str().map_or_else(|| version.to_string(), str::to_owned)
    });
    if !(version == "$Default" || version == "$Latest" || version.parse::<u64>().is_ok_and(|n| n > 0)) {
        let remedy = "no version: write a number, \"$Default\" or \"$Latest\"";
        reader.refuse("version", &Value::from(version.as_str()), remedy);
    }
    let path = reader.at("");
    let path = path.trim_end_matches('.');
    let which = match (id, name) {
        (Some(id), None) if id.starts_with("lt-") => Some(TemplateRef::Id(id.to_owned())),
        (Some(id), None) => {
            reader.refuse(
                "id",
                &Value::from(id),
                "no launch template id: write one that begins with \"lt-\"",
            );
            None
        }
        (None, Some(name)) if (3..=128).contains(&name.len()) => Some(TemplateRef::Name(name.to_owned())),
        (None, Some(name)) => {
            reader.refuse("name", &Value::from(name), "no launch template name: 3 to 128 characters");
            None
        }
        (Some(_), Some(name)) => {
            problems.push(problem(path, &Value::from(name), "both id and name: write one of them"));
            None
        }
        (None, None) => {
            if reader.problems.is_empty() {
                problems.push(problem(path, &Value::Null, "neither id nor name: write one of them"));
            }
            None
        }
    };
    reader.finish(problems);
    which.map(|which| TemplateSpec { which, version })
}

fn instance_type(text: &str) -> Option<String> {
    let (family, size) = text.split_once('.')?;
    let ok = |part: &str| {
        !part.is_empty()
            && part.len() <= 32
            && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    (ok(family) && ok(size)).then(|| text.to_owned())
}

fn max_spot_price(reader: &mut Reader<'_>, market: MarketPolicy) -> Option<String> {
    let price = reader.text("maxSpotPrice", "a price in dollars an hour")?;
    let (whole, fraction) = price.split_once('.').unwrap_or((price, "0"));
    let digits = |s: &str| (1..=9).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_digit());
    let dollars = if digits(whole) && digits(fraction) { price.parse::<f64>().ok() } else { None };
    // AWS refuses a maximum price of a tenth of a cent or less.
    if dollars.is_none_or(|dollars| dollars <= 0.001) {
        let remedy = "no price: write dollars an hour above 0.001 as a decimal string, such as \"0.05\"";
        reader.refuse("maxSpotPrice", &Value::from(price), remedy);
        return None;
    }
    if market == MarketPolicy::OnDemand {
        let remedy = "has no meaning with launch.market \"on-demand\": remove one of them";
        reader.refuse("maxSpotPrice", &Value::from(price), remedy);
    }
    Some(price.to_owned())
}

fn persist(mut reader: Reader<'_>, problems: &mut Vec<Problem>) -> Persist {
    reader.not_yet(&["data"]);
    let root = reader.map("root").map(|root| root_policy(root, problems));
    let network = reader.map("network").map(|mut network| {
        network.not_yet(&["elasticIp", "privateIpPool", "elasticIpPool"]);
        let text = network.text("privateIp", "an IPv4 address");
        let private_ip = text.and_then(|text| text.parse::<Ipv4Addr>().ok());
        if let Some(text) = text.filter(|_| private_ip.is_none()) {
            network.refuse(
                "privateIp",
                &Value::from(text),
                "no IPv4 address: write one such as \"10.0.1.20\"",
            );
        }
        network.finish(problems);
        NetworkPolicy { private_ip }
    });
    reader.finish(problems);
    Persist { root, network }
}

fn root_policy(mut reader: Reader<'_>, problems: &mut Vec<Problem>) -> RootPolicy {
    let every = reader.duration("snapshotEvery", limits::SNAPSHOT_EVERY_MIN, limits::SNAPSHOT_EVERY_MAX);
    let keep = reader.whole("keep", 1, limits::SNAPSHOTS_KEPT_MAX);
    match reader.text("restore", "a way to restore") {
        None | Some("image") => {}
        Some("volume") => {
            let remedy = "not supported yet by this version of Perennial: write \"image\"";
            reader.refuse("restore", &Value::from("volume"), remedy);
        }
        Some(other) => {
            reader.refuse("restore", &Value::from(other), "unknown way to restore: write \"image\"")
        }
    }
    reader.finish(problems);
    RootPolicy {
        snapshot_every: every.unwrap_or(jiff::SignedDuration::from_mins(5)),
        keep: keep.unwrap_or(3),
    }
}

fn retention(mut reader: Reader<'_>, problems: &mut Vec<Problem>) -> Retention {
    let default = Retention::default();
    let after = reader.duration("after", limits::RETENTION_MIN, limits::RETENTION_MAX);
    let kinds = "of \"images\", \"snapshots\", \"volumes\", \"networkInterfaces\"";
    let delete = reader.list("delete", kinds, |text| match text {
        "images" => Some(Retained::Images),
        "snapshots" => Some(Retained::Snapshots),
        "volumes" => Some(Retained::Volumes),
        "networkInterfaces" => Some(Retained::NetworkInterfaces),
        _ => None,
    });
    reader.finish(problems);
    Retention { after: after.unwrap_or(default.after), delete: delete.unwrap_or(default.delete) }
}

fn tags(top: &mut Reader<'_>) -> Tags {
    let Some(value) = top.get("tags") else { return Tags::new() };
    let Some(map) = value.as_object() else {
        top.refuse("tags", value, "expected a map (M) of strings");
        return Tags::new();
    };
    if map.len() > limits::OPERATOR_TAGS_MAX {
        let most = limits::OPERATOR_TAGS_MAX;
        top.refuse(
            "tags",
            &Value::from(map.len()),
            format!("too many: at most {most}, AWS allows 50 with ours"),
        );
    }
    let mut tags = Tags::new();
    for (key, value) in map {
        let at = format!("tags.{key}");
        let lower = key.to_lowercase();
        match value.as_str() {
            _ if lower.starts_with(TAG_PREFIX) || lower.starts_with("aws:") => {
                top.refuse(&at, value, "\"perennial:\" and \"aws:\" are reserved: use another key");
            }
            _ if key.is_empty() || key.chars().count() > 128 => {
                top.refuse(&at, value, "a tag's key has 1 to 128 characters");
            }
            Some(text) if text.chars().count() <= 256 => {
                tags.insert(key.clone(), text.to_owned());
            }
            Some(_) => top.refuse(&at, value, "too long: a tag's value has at most 256 characters"),
            None => top.refuse(&at, value, "expected a string (S)"),
        }
    }
    tags
}

/// The name in the `id` of a node's item.
///
/// # Errors
/// The problem with it.
pub fn node_name(id: &str) -> Result<NodeName, Problem> {
    if id.starts_with("group#") {
        let remedy = "not supported yet by this version of Perennial: nothing of this item is in force";
        return Err(problem("id", &Value::from(id), remedy));
    }
    NodeName::from_key(id).ok_or_else(|| {
        let remedy = "no node: write \"node#<name>\", the name of a-z, 0-9 and -, not beginning with -, at most 48; \
                      or \"settings\", for the whole deployment";
        problem("id", &Value::from(id), remedy)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn good() -> Value {
        json!({"id": "node#db", "launch": {"template": {"name": "base"}}, "persist": {"root": {}, "network": {}}})
    }

    fn paths(item: &Value) -> Vec<String> {
        parse(item).problems.into_iter().map(|p| p.path).collect()
    }

    #[test]
    fn a_present_map_turns_an_option_on_with_defaults() {
        let draft = parse(&good());
        assert_eq!(draft.problems, []);
        let root = draft.config.persist.root.unwrap();
        assert_eq!((root.snapshot_every.as_mins(), root.keep), (5, 3));
        assert_eq!(draft.config.persist.network, Some(NetworkPolicy::default()));
        assert_eq!(draft.config.retention.after.as_hours(), 96);
        assert_eq!(draft.config.launch.market, MarketPolicy::SpotThenOnDemand);
        assert_eq!(draft.config.launch.template.version, "$Default");
        let bare = parse(&json!({"id": "node#db", "launch": {"template": {"id": "lt-1"}}}));
        assert_eq!(bare.config.persist, Persist::default());
    }

    #[test]
    fn all_faults_are_reported_together_with_their_places() {
        let item = json!({"id": "node#db", "desiredstate": "running", "suspend": "yes",
            "launch": {"template": {"name": "base", "id": "lt-1", "version": "newest"}, "instanceTypes": ["m5.large", 7, "m5.large"],
                "subnets": "subnet-1", "market": "cheap", "maxSpotPrice": "free", "image": "img"},
            "persist": {"root": {"snapshotEvery": "30s", "keep": 0, "restore": "tape"}, "network": {"privateIp": "10.0.0.256"}, "data": {}},
            "retention": {"after": "soon", "delete": ["images", "everything"]},
            "tags": {"perennial:node": "x", "n": 1}});
        assert_eq!(
            paths(&item),
            [
                "desiredstate",
                "launch.image",
                "launch.instanceTypes[1]",
                "launch.instanceTypes[2]",
                "launch.market",
                "launch.maxSpotPrice",
                "launch.subnets",
                "launch.template",
                "launch.template.version",
                "persist.data",
                "persist.network.privateIp",
                "persist.root.keep",
                "persist.root.restore",
                "persist.root.snapshotEvery",
                "retention.after",
                "retention.delete[1]",
                "suspend",
                "tags.n",
                "tags.perennial:node",
            ]
        );
    }

    #[test]
    fn what_comes_later_is_refused_as_such_and_a_typo_is_guessed() {
        let mut item = good();
        item["desiredstate"] = json!("running");
        let problems = parse(&item).problems;
        assert!(problems[0].remedy.contains("did you mean \"desiredState\""), "{problems:?}");
        let later = json!({"id": "node#db", "launch": {"template": {"name": "base"}}, "group": "web",
            "onRebalance": "replace", "targetGroups": [],
            "persist": {"data": {}, "root": {"restore": "volume"}, "network": {"elasticIp": "eipalloc-1",
                "privateIpPool": [], "elasticIpPool": []}}});
        let problems = parse(&later).problems;
        let expected = [
            "group",
            "onRebalance",
            "persist.data",
            "persist.network.elasticIp",
            "persist.network.elasticIpPool",
            "persist.network.privateIpPool",
            "persist.root.restore",
            "targetGroups",
        ];
        assert_eq!(problems.iter().map(|p| p.path.as_str()).collect::<Vec<_>>(), expected);
        for problem in problems {
            assert!(problem.remedy.contains("not supported yet"), "{problem:?}");
        }
    }

    #[test]
    fn every_state_is_read_and_another_word_is_told_all_of_them() {
        for state in DesiredState::ALL {
            let mut item = good();
            item["desiredState"] = json!(state.as_str());
            let draft = parse(&item);
            assert_eq!((draft.config.desired_state, draft.problems), (state, vec![]));
        }
        assert_eq!(parse(&good()).config.desired_state, DesiredState::Running);
        for word in ["stop", "Paused", "", "terminated"] {
            let mut item = good();
            item["desiredState"] = json!(word);
            let problems = parse(&item).problems;
            assert_eq!((problems.len(), problems[0].value.as_str()), (1, word));
            for state in DesiredState::ALL {
                assert!(problems[0].remedy.contains(state.as_str()), "{problems:?}");
            }
        }
    }

    #[test]
    fn a_reaction_to_a_recommendation_is_to_ignore_it_or_to_take_a_snapshot() {
        assert_eq!(parse(&good()).config.on_rebalance, OnRebalance::Snapshot);
        for (word, reaction) in [("ignore", OnRebalance::Ignore), ("snapshot", OnRebalance::Snapshot)] {
            let mut item = good();
            item["onRebalance"] = json!(word);
            let draft = parse(&item);
            assert_eq!((draft.config.on_rebalance, draft.problems), (reaction, vec![]));
            let again = serde_json::to_value(&parse(&item).config).unwrap();
            assert_eq!(serde_json::from_value::<NodeConfig>(again).unwrap().on_rebalance, reaction);
        }
        for bad in [json!("Snapshot"), json!(""), json!(true), json!({})] {
            let mut item = good();
            item["onRebalance"] = bad.clone();
            assert_eq!(paths(&item), ["onRebalance"], "{bad}");
        }
    }

    #[test]
    fn recycle_is_a_whole_number_and_restore_from_a_snapshot() {
        let mut item = good();
        item["recycle"] = json!(7);
        item["restoreFrom"] = json!("snap-0abc");
        let draft = parse(&item);
        assert_eq!(draft.problems, []);
        assert_eq!(
            (draft.config.recycle, draft.config.restore_from),
            (7, Some(SnapshotId::new("snap-0abc")))
        );
        for bad in [json!(-1), json!(1.5), json!("1"), json!(1_000_001), json!(true)] {
            item["recycle"] = bad.clone();
            assert_eq!(paths(&item), ["recycle"], "{bad}");
        }
        item["recycle"] = json!(0);
        for bad in [json!("ami-1"), json!("snap-"), json!(1), json!(["snap-1"])] {
            item["restoreFrom"] = bad.clone();
            assert_eq!(paths(&item), ["restoreFrom"], "{bad}");
        }
    }

    #[test]
    fn an_impossible_retention_is_refused_with_the_range() {
        for bad in ["0h", "soon", "59m", "-1h", "4000d", ""] {
            let mut item = good();
            item["retention"] = json!({"after": bad});
            let problems = parse(&item).problems;
            assert_eq!((problems.len(), problems[0].path.as_str()), (1, "retention.after"), "{bad}");
            assert!(problems[0].remedy.contains("from 1h to 87600h"), "{problems:?}");
        }
        let mut item = good();
        item["retention"] = json!({"after": "1h", "delete": []});
        let draft = parse(&item);
        assert_eq!((draft.problems, draft.config.retention.delete), (vec![], vec![]));
    }

    #[test]
    fn a_missing_or_wrong_launch_is_one_problem() {
        for (launch, path) in [
            (Value::Null, "launch"),
            (json!([]), "launch"),
            (json!({}), "launch.template"),
            (json!({"template": 5}), "launch.template"),
            (json!({"template": {}}), "launch.template"),
            (json!({"template": {"id": 5}}), "launch.template.id"),
            (json!({"template": {"id": "template-1"}}), "launch.template.id"),
            (json!({"template": {"name": "ab"}}), "launch.template.name"),
        ] {
            let item = json!({"id": "node#db", "launch": launch});
            assert_eq!(paths(&item), [path], "{launch}");
        }
    }

    #[test]
    fn durations_are_a_number_and_a_unit() {
        for (text, secs) in [("5m", 300), ("60s", 60), ("1h", 3600), ("1d", 86400)] {
            assert_eq!(super::super::reader::plain_duration(text).unwrap().as_secs(), secs);
        }
        for text in ["", "5", "m", "-5m", "5 m", "5min", "1h30m", "5µ", "99999999999999999999s"] {
            assert!(super::super::reader::plain_duration(text).is_none(), "{text}");
        }
    }

    #[test]
    fn an_id_of_no_node_says_what_is_wrong_with_it() {
        assert_eq!(node_name("node#db-1").unwrap().as_str(), "db-1");
        assert!(node_name("group#web").unwrap_err().remedy.contains("not supported yet"));
        for bad in ["setting", "db", "node#", "node#DB", "node#-x", "nodes#x"] {
            let problem = node_name(bad).unwrap_err();
            assert_eq!((problem.path.as_str(), problem.value.as_str()), ("id", bad));
        }
    }

    #[test]
    fn a_hostile_value_is_shown_shortened() {
        let mut item = good();
        item["launch"]["market"] = json!("x".repeat(10_000));
        assert!(parse(&item).problems[0].value.len() < 200);
    }
}

//! From an item to a config, or to everything that is wrong with it.

use std::net::Ipv4Addr;

use serde_json::Value;

use super::backup;
use super::reader::{Reader, plain_number, problem};
use super::{
    DataMode, DataPolicy, DesiredState, GroupPart, Launch, MarketPolicy, NetworkPolicy, NodeConfig,
    OnRebalance, Persist, Problem, Retained, Retention, RootPolicy, TemplateRef, TemplateSpec,
};
use crate::ids::{AllocationId, GroupName, ImageId, NodeName, SnapshotId, SubnetId};
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
    let (mut reader, mut problems) = (Reader::new("", Some(item)), Vec::new());
    let top = &mut reader;
    let desired_state = desired_state(top);
    let restore_from = restore_from(top);
    let group = group(top);
    let recycle = top.whole("recycle", 0, limits::RECYCLE_MAX).unwrap_or(0);
    if let Some(value) = top.get("imageBackup") {
        top.refuse("imageBackup", value, "of a group, not of a node: write it in the group's item");
    }
    let pools = &mut Pools::NotHere;
    let (config, has_template) = common(top, pools, &mut problems);
    reader.finish(&mut problems);
    problems.sort_by(|a, b| a.path.cmp(&b.path));
    let config = NodeConfig { desired_state, restore_from, group, recycle, ..config };
    Draft { config, has_template, problems }
}

/// Reads the item of a group, whose `id` is known to be good: what it says of each member, as if it were
/// the item of one, and what it says of itself.
pub fn parse_group(item: &Value) -> (Draft, GroupPart) {
    let (mut reader, mut problems) = (Reader::new("", Some(item)), Vec::new());
    let top = &mut reader;
    for (key, remedy) in [
        (
            "desiredState",
            "of a node, not of a group: write capacity here, or desiredState in a member's item",
        ),
        ("restoreFrom", "of a node, not of a group: write it in the member's item"),
        ("group", "a group is in no group: remove it"),
    ] {
        if let Some(value) = top.get(key) {
            top.refuse(key, value, remedy);
        }
    }
    let image_backup = top.map("imageBackup").map(|reader| backup::read(reader, &mut problems));
    let capacity = top.whole("capacity", 0, limits::CAPACITY_MAX).unwrap_or(1);
    let recycle = top.whole("recycle", 0, limits::RECYCLE_MAX).unwrap_or(0);
    let mut pools = Pools::Here { private_ips: Vec::new(), elastic_ips: Vec::new() };
    let (config, has_template) = common(top, &mut pools, &mut problems);
    if image_backup.is_some() {
        backup::beside(&config.persist, &mut problems);
    }
    reader.finish(&mut problems);
    problems.sort_by(|a, b| a.path.cmp(&b.path));
    let (private_ips, elastic_ips) = match pools {
        Pools::Here { private_ips, elastic_ips } => (private_ips, elastic_ips),
        Pools::NotHere => (Vec::new(), Vec::new()),
    };
    let part = GroupPart { capacity, recycle, private_ips, elastic_ips, image_backup };
    (Draft { config, has_template, problems }, part)
}

/// Where the pools of addresses are read to: only a group has them.
enum Pools {
    NotHere,
    Here { private_ips: Vec<Ipv4Addr>, elastic_ips: Vec<AllocationId> },
}

/// What nodes and groups have in common.
fn common(top: &mut Reader<'_>, pools: &mut Pools, problems: &mut Vec<Problem>) -> (NodeConfig, bool) {
    top.get("id");
    top.get(super::STATUS);
    top.not_yet(&["targetGroups"]);
    let suspend = top.boolean("suspend").unwrap_or(false);
    let on_rebalance = on_rebalance(top);
    let template_and_launch = top.map("launch").map(|reader| launch(reader, problems));
    if template_and_launch.is_none() && top.get("launch").is_none() {
        let remedy = "required: write launch.template with an id or a name";
        problems.push(problem("launch", &Value::Null, remedy));
    }
    let persist = top.map("persist").map(|reader| persist(reader, pools, problems)).unwrap_or_default();
    let retention = top.map("retention").map(|reader| retention(reader, problems)).unwrap_or_default();
    let tags = tags(top);
    let (has_template, launch) = template_and_launch.unwrap_or((false, no_launch()));
    let config = NodeConfig {
        desired_state: DesiredState::default(),
        recycle: 0,
        restore_from: None,
        group: None,
        roll: 0,
        place: None,
        launch,
        persist,
        on_rebalance,
        retention,
        suspend,
        tags,
    };
    (config, has_template)
}

fn group(top: &mut Reader<'_>) -> Option<GroupName> {
    let text = top.text("group", "the bare name of a group")?;
    let group = GroupName::parse(text);
    if group.is_none() {
        let remedy = "no name of a group: write it bare, as in \"web\" for the item \"group#web\"";
        top.refuse("group", &Value::from(text), remedy);
    }
    group
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
    if !(version == "$Default" || version == "$Latest" || plain_number(&version).is_some_and(|n| n > 0)) {
        let remedy = "no version: write a number, \"$Default\" or \"$Latest\"";
        reader.refuse("version", &Value::from(version.as_str()), remedy);
    }
    let path = reader.at("");
    let path = path.trim_end_matches('.');
    let which = match (id, name) {
        (Some(id), None) if is_template_id(id) => Some(TemplateRef::Id(id.to_owned())),
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

fn is_template_id(text: &str) -> bool {
    let plausible =
        |rest: &str| (1..=64).contains(&rest.len()) && rest.bytes().all(|b| b.is_ascii_alphanumeric());
    text.strip_prefix("lt-").is_some_and(plausible)
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

fn persist(mut reader: Reader<'_>, pools: &mut Pools, problems: &mut Vec<Problem>) -> Persist {
    let root = reader.map("root").map(|root| root_policy(root, problems));
    let data = reader.map("data").map(|data| data_policy(data, problems));
    let network = reader.map("network").map(|network| network_policy(network, pools, problems));
    reader.finish(problems);
    Persist { root, data, network }
}

fn network_policy(mut reader: Reader<'_>, pools: &mut Pools, problems: &mut Vec<Problem>) -> NetworkPolicy {
    let mut policy = NetworkPolicy::default();
    match pools {
        Pools::NotHere => {
            for key in ["privateIpPool", "elasticIpPool"] {
                if let Some(value) = reader.get(key) {
                    reader.refuse(key, value, "of a group, not of a node: write it in the group's item");
                }
            }
            policy.private_ip = private_ip(&mut reader);
            policy.elastic_ip = elastic_ip(&mut reader);
        }
        Pools::Here { private_ips, elastic_ips } => {
            for (key, pool) in [("privateIp", "privateIpPool"), ("elasticIp", "elasticIpPool")] {
                if let Some(value) = reader.get(key) {
                    let remedy = format!("every member would have the same one: write {pool} in a group");
                    reader.refuse(key, value, remedy);
                }
            }
            let address = "an IPv4 address such as \"10.0.1.20\"";
            *private_ips =
                reader.list("privateIpPool", address, |text| text.parse().ok()).unwrap_or_default();
            let allocation = "an allocation id such as \"eipalloc-0abc\"";
            *elastic_ips = reader.list("elasticIpPool", allocation, AllocationId::parse).unwrap_or_default();
            too_many(&mut reader, "privateIpPool", private_ips.len());
            too_many(&mut reader, "elasticIpPool", elastic_ips.len());
        }
    }
    reader.finish(problems);
    policy
}

fn too_many(reader: &mut Reader<'_>, key: &'static str, many: usize) {
    let most = limits::CAPACITY_MAX as usize;
    if many > most {
        reader.refuse(key, &Value::from(many), format!("too many: a group has at most {most} members"));
    }
}

fn private_ip(reader: &mut Reader<'_>) -> Option<Ipv4Addr> {
    let text = reader.text("privateIp", "an IPv4 address")?;
    let address = text.parse::<Ipv4Addr>().ok();
    if address.is_none() {
        let remedy = "no IPv4 address: write one such as \"10.0.1.20\"";
        reader.refuse("privateIp", &Value::from(text), remedy);
    }
    address
}

fn elastic_ip(reader: &mut Reader<'_>) -> Option<AllocationId> {
    let text = reader.text("elasticIp", "an allocation id")?;
    let allocation = AllocationId::parse(text);
    if allocation.is_none() {
        let remedy = "no allocation id: write one that begins with \"eipalloc-\"";
        reader.refuse("elasticIp", &Value::from(text), remedy);
    }
    allocation
}

/// How often snapshots are taken, and how many are kept.
fn points(reader: &mut Reader<'_>) -> (jiff::SignedDuration, u32) {
    let every = reader.duration("snapshotEvery", limits::SNAPSHOT_EVERY_MIN, limits::SNAPSHOT_EVERY_MAX);
    let keep = reader.whole("keep", 1, limits::SNAPSHOTS_KEPT_MAX);
    (every.unwrap_or(jiff::SignedDuration::from_mins(5)), keep.unwrap_or(3))
}

fn data_policy(mut reader: Reader<'_>, problems: &mut Vec<Problem>) -> DataPolicy {
    let (snapshot_every, keep) = points(&mut reader);
    let mode = match reader.text("mode", "a way to bring data volumes back") {
        None | Some("reattach") => DataMode::Reattach,
        Some("snapshot") => DataMode::Snapshot,
        Some(other) => {
            let remedy = "unknown way to bring data volumes back: write \"reattach\" or \"snapshot\"";
            reader.refuse("mode", &Value::from(other), remedy);
            DataMode::default()
        }
    };
    reader.finish(problems);
    DataPolicy { mode, snapshot_every, keep }
}

fn root_policy(mut reader: Reader<'_>, problems: &mut Vec<Problem>) -> RootPolicy {
    let (snapshot_every, keep) = points(&mut reader);
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
    RootPolicy { snapshot_every, keep }
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
    NodeName::from_key(id).ok_or_else(|| {
        let remedy = "no node: write \"node#<name>\", the name of a-z, 0-9 and -, not beginning with -, at most 48; \
                      \"group#<name>\"; or \"settings\", for the whole deployment";
        problem("id", &Value::from(id), remedy)
    })
}

/// The name in the `id` of a group's item.
///
/// # Errors
/// The problem with it.
pub fn group_name(id: &str) -> Result<GroupName, Problem> {
    let name = GroupName::from_key(id).filter(|name| name.as_str().len() <= GroupName::LONGEST);
    name.ok_or_else(|| {
        let remedy = format!(
            "no group: write \"group#<name>\", the name of a-z, 0-9 and -, not beginning with -, at most {}, so that \
             its members can be named for it",
            GroupName::LONGEST
        );
        problem("id", &Value::from(id), remedy)
    })
}

#[cfg(test)]
mod tests;

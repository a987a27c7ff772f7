//! A fleet through the real function and the wire: what it costs to keep its recovery points young.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use perennial_aws::dynamodb::Tables;
use perennial_core::config::settings::AcceptedSettings;
use perennial_core::ids::{InstanceId, NodeName, VolumeId};
use perennial_core::names::{self, Names, TAG_DEPLOYMENT, TAG_KEY, TAG_NODE, due_slot};
use perennial_core::record::Record;
use perennial_e2e::{Account, Snapshot};
use perennial_engine::ports::{Commit, Store, Written};
use serde_json::{Value, json};

use crate::support::{DEPLOYMENT, is_late_tick, text};

/// Nodes of the fleet: as many as the default quota of CreateSnapshot, 5 a second, carries at an interval of 5 minutes.
const NODES: usize = 1500;
/// The interval of each node.
const EVERY: SignedDuration = SignedDuration::from_mins(5);
/// Intervals that pass: in the first one each node gets a snapshot, in the second one another that replaces it.
const INTERVALS: i32 = 2;
/// Cloud seconds for each real second: as fast as an unoptimised function reads its fleet well within a tick.
const SPEED: f64 = 10.0;
/// Completed snapshots that are kept of each node.
const KEEP: u32 = 1;
/// The most instances that one call of RunInstances launches.
const LAUNCHED_AT_ONCE: usize = 1000;
const FUNCTION: &str = "snapshot-schedule";
/// A record as the simulation wrote it: that of a node that runs.
const RUNNING: &str = include_str!("../../../records/v2-running.json");

/// One node of the fleet.
struct Member {
    node: NodeName,
    life: String,
    volume: VolumeId,
}

impl Member {
    /// The keys that its snapshots may carry: of each slot that was the last one at some time of a period.
    fn keys(&self, from: Timestamp, to: Timestamp) -> BTreeSet<String> {
        let names = Names { deployment: DEPLOYMENT, node: &self.node, life: &self.life };
        let slots = (0..).map(|nth| from + EVERY * nth).take_while(|at| *at < to).chain([to]);
        slots.map(|at| names.periodic(&self.volume, due_slot(&self.life, "snapshot", EVERY, at))).collect()
    }
}

/// The tables, written to as the functions do.
fn tables(account: &Account) -> Tables {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(account.server().region().to_owned()))
        .endpoint_url(account.server().url())
        .credentials_provider(Credentials::new("operator", "local", None, None, "test"));
    let client = aws_sdk_dynamodb::Client::from_conf(config.build());
    Tables::new(client, account.table("config"), account.table("state"))
}

/// Launches the instances of the fleet in few calls; returns each with its root volume.
async fn instances(account: &Account) -> Vec<(InstanceId, VolumeId)> {
    let defaults = account.server().defaults();
    // A subnet of the default network has room for a small fleet only.
    let network = [("VpcId", defaults.vpc_id.as_str()), ("CidrBlock", "10.0.128.0/20")];
    let subnet = text(&account.ec2("CreateSubnet", &network).await["subnet"]["subnetId"]);
    let mut launched = Vec::new();
    while launched.len() < NODES {
        let count = (NODES - launched.len()).min(LAUNCHED_AT_ONCE).to_string();
        // The quota of instances fills up at two a second.
        let some =
            account.until("instances may be launched", async || launch(account, &subnet, &count).await);
        launched.extend(some.await);
    }
    launched
}

/// Launches so many instances in one call, unless that is too soon after the last ones.
async fn launch(account: &Account, subnet: &str, count: &str) -> Option<Vec<(InstanceId, VolumeId)>> {
    let launch = [
        ("ImageId", account.server().defaults().image_id.as_str()),
        ("InstanceType", "t3.medium"),
        ("SubnetId", subnet),
        ("MinCount", count),
        ("MaxCount", count),
        ("TagSpecification.1.ResourceType", "instance"),
        ("TagSpecification.1.Tag.1.Key", TAG_DEPLOYMENT),
        ("TagSpecification.1.Tag.1.Value", DEPLOYMENT),
        ("TagSpecification.2.ResourceType", "volume"),
        ("TagSpecification.2.Tag.1.Key", TAG_DEPLOYMENT),
        ("TagSpecification.2.Tag.1.Value", DEPLOYMENT),
    ];
    let launched = match account.try_ec2("RunInstances", &launch).await {
        Ok(launched) => launched,
        Err(refusal) if refusal.contains("RequestLimitExceeded") => return None,
        Err(refusal) => panic!("{refusal}"),
    };
    let both = |it: &Value| {
        let root = &it["blockDeviceMapping"][0]["ebs"]["volumeId"];
        (InstanceId::new(text(&it["instanceId"])), VolumeId::new(text(root)))
    };
    Some(launched["instancesSet"].as_array().unwrap().iter().map(both).collect())
}

/// The record of a member that runs on this instance.
fn record(member: &Member, instance: InstanceId) -> Record {
    let mut golden: Value = serde_json::from_str(RUNNING).unwrap();
    golden["name"] = json!(member.node);
    golden["life"] = json!(member.life);
    golden["instance"]["id"] = json!(instance);
    golden["root"]["volumeId"] = json!(member.volume);
    golden["config"]["persist"]["root"] =
        json!({"snapshotEvery": format!("{}s", EVERY.as_secs()), "keep": KEEP});
    serde_json::from_value(golden).unwrap()
}

/// Puts the fleet in place: instances, records and the settings in force.
async fn fleet(account: &Account) -> Vec<Member> {
    let tables = tables(account);
    let settings = json!({"generation": 1, "hash": "h", "suspend": false, "snapshotsPerSecond": 5});
    let settings: AcceptedSettings = serde_json::from_value(settings).unwrap();
    assert_eq!(tables.write_settings(&settings, 0).await, Ok(Written::Done));
    let mut members = Vec::new();
    let mut records = Vec::new();
    for (nth, (instance, volume)) in instances(account).await.into_iter().enumerate() {
        let node = NodeName::parse(&format!("node-{nth}")).unwrap();
        let life = names::life(DEPLOYMENT, &node, "seeded", Timestamp::UNIX_EPOCH);
        let member = Member { node, life, volume };
        records.push(record(&member, instance));
        members.push(member);
    }
    let writes = records.into_iter().map(|record| {
        let commit = Commit { record, expected: None, point: vec![], unpoint: vec![], entries: vec![] };
        let tables = &tables;
        async move { tables.commit(&commit).await }
    });
    let written: Vec<_> = futures::stream::iter(writes).buffer_unordered(8).collect().await;
    assert!(written.iter().all(|it| *it == Ok(Written::Done)), "{written:?}");
    members
}

/// The moment that the cloud's clock shows.
fn now(account: &Account) -> Timestamp {
    text(&account.control("GET", "clock", &Value::Null)["now"]).parse().unwrap()
}

/// How many ticks of the function have ended.
fn ticks(account: &Account) -> usize {
    account.invocations().iter().filter(|it| it["function"] == FUNCTION && !it["end"].is_null()).count()
}

/// What the function was charged for: its calls by service and operation, and those of EC2 that were throttled.
#[derive(Debug, Default)]
struct Costs {
    calls: BTreeMap<(String, String), usize>,
    throttled: usize,
}

impl Costs {
    fn of(calls: &[Value]) -> Costs {
        let mut costs = Costs::default();
        for call in calls.iter().filter(|call| call["function"] == FUNCTION) {
            *costs.calls.entry((text(&call["service"]), text(&call["operation"]))).or_default() += 1;
            costs.throttled += usize::from(call["error"] == "RequestLimitExceeded");
        }
        costs
    }

    fn of_service<'a>(&'a self, wanted: &'a str) -> impl Iterator<Item = (&'a str, usize)> {
        let of_it = self.calls.iter().filter(move |((service, _), _)| service == wanted);
        of_it.map(|((_, operation), count)| (operation.as_str(), *count))
    }
}

/// Asserts of each node: never two snapshots of a slot, none of a slot that is not its own, and as many as every other
/// node has, however many this machine lets the function take in the time.
fn assert_one_a_slot(fleet: &[Member], taken: &[&Value], from: Timestamp, to: Timestamp) {
    let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for call in taken {
        let tags: BTreeMap<&str, &str> = tags_of(call).collect();
        keys.entry(tags[TAG_NODE].to_owned()).or_default().push(tags[TAG_KEY].to_owned());
    }
    let least = taken.len() / fleet.len();
    assert!(least >= 1, "every node is served: {} snapshots", taken.len());
    for member in fleet {
        let had = keys.remove(member.node.as_str()).unwrap_or_default();
        let distinct: BTreeSet<String> = had.iter().cloned().collect();
        assert_eq!(distinct.len(), had.len(), "{}: one snapshot a slot", member.node);
        assert!(distinct.is_subset(&member.keys(from, to)), "{}: {distinct:?}", member.node);
        assert!(had.len() >= least, "{}: {} snapshots, and {least} are one for each", member.node, had.len());
    }
    assert!(keys.is_empty(), "of no node: {keys:?}");
}

/// The tags that a call asks for.
fn tags_of(call: &Value) -> impl Iterator<Item = (&str, &str)> {
    let parameters = call["parameters"].as_object().into_iter().flatten();
    parameters.filter_map(|(name, key)| {
        let value = name.strip_suffix(".Key")?;
        Some((key.as_str()?, call["parameters"][format!("{value}.Value")].as_str()?))
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_at_the_quota_gets_its_snapshots_evenly_and_writes_nothing() {
    let account = Account::start_unhosted(SPEED).await;
    let fleet = fleet(&account).await;
    let since = account.last_call();
    // The tick that waits for the process may be as old as this.
    let from = now(&account) - SignedDuration::from_mins(1);
    let _process = account.host(FUNCTION);
    account
        .until("the first tick begins", async || {
            account.invocations().iter().any(|it| it["function"] == FUNCTION).then_some(())
        })
        .await;
    let enough = now(&account) + EVERY * INTERVALS;
    account
        .until("the intervals and one tick have passed", async || (now(&account) >= enough).then_some(()))
        .await;
    let wanted = ticks(&account) + 1;
    account.until("the last tick ends", async || (ticks(&account) >= wanted).then_some(())).await;
    let calls = account.calls(since);
    let to = now(&account);

    let costs = Costs::of(&calls);
    let is_read = |operation: &str| matches!(operation, "GetItem" | "Query");
    let written: Vec<_> = costs.of_service("dynamodb").filter(|(operation, _)| !is_read(operation)).collect();
    assert!(written.is_empty(), "a running node writes nothing: {written:?}");
    let taken: Vec<&Value> =
        calls.iter().filter(|it| it["operation"] == "CreateSnapshot" && it["status"] == 200).collect();
    let ec2: usize = costs.of_service("ec2").map(|(_, count)| count).sum();
    let a_slot = ec2 as f64 / taken.len() as f64;
    assert!(a_slot <= 2.1, "{a_slot:.3} EC2 calls for each snapshot: {costs:?}");
    assert!(costs.throttled * 1000 < ec2, "{costs:?}");
    assert_one_a_slot(&fleet, &taken, from, to);
    assert_rotated(&account, &fleet).await;
    let mut given_up = account.dead_letters();
    given_up.retain(|letter| !is_late_tick(letter));
    assert!(given_up.is_empty(), "given up: {given_up:#?}");
    let log = account.log();
    let is_error = |line: &&str| line.contains("ERROR") && !line.contains("timed out");
    let errors: Vec<&str> = log.lines().filter(is_error).collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

/// Asserts that of each node's volume as many completed snapshots are left as are kept, and one more at most that
/// the next tick replaces.
async fn assert_rotated(account: &Account, fleet: &[Member]) {
    let mut left: BTreeMap<String, Vec<Snapshot>> = BTreeMap::new();
    for snapshot in account.deployment_snapshots(DEPLOYMENT).await {
        left.entry(snapshot.volume.clone()).or_default().push(snapshot);
    }
    for member in fleet {
        let of_it = left.get(member.volume.as_str()).map_or(&[][..], Vec::as_slice);
        let completed = of_it.iter().filter(|it| it.state == "completed").count();
        let kept = KEEP as usize;
        assert!((kept..=kept + 1).contains(&completed), "{}: {of_it:?}", member.node);
    }
}

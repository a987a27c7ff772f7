//! One account in a local cloud with all functions running, as its operator sees it.
//!
//! Decides how many clouds run side by side, and how long is too long. Reads are made over the wire, never from the
//! inside of a function.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use perennial_cloud::{FunctionOutput, Functions, Options, Server, StartError};
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::story;
use crate::view::{Image, Instance, Interface, Snapshot, Volume, items};
use crate::wire::{self, from_attributes, from_xml, to_attributes};
use crate::{Guest, binaries};

/// Each cloud is seven processes, which mostly wait: more than three at a time only slow each other down on a small
/// machine.
static CLOUDS: Semaphore = Semaphore::const_new(3);
/// Real time after which a wait has failed. Generous, since nothing is decided by how long something takes.
const TOO_LONG: Duration = Duration::from_secs(90);
/// The role that the deployment of the tests is told of: instances may have it. `make test` names the same.
pub const ROLE: &str = "arn:aws:iam::123456789012:role/database";
/// The key that the deployment of the tests is told of: volumes may be encrypted with it. `make test` names the same.
pub const KEY: &str = "arn:aws:kms:us-east-1:123456789012:key/0e0e0e0e-1111-2222-3333-444444444444";
/// Real time between two looks.
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// How an account's cloud is to be.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Cloud seconds for each real second.
    pub speed: f64,
    /// Whether the functions run.
    pub functions: bool,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup { speed: 60.0, functions: true }
    }
}

/// A local cloud that serves one account. Its functions end with it.
pub struct Account {
    server: Arc<Server>,
    log: PathBuf,
    /// Whether calls may be refused for want of rights.
    refusing: bool,
    /// Items of nodes and groups whose story is told when the test fails.
    items: Mutex<BTreeSet<String>>,
    _folder: tempfile::TempDir,
    _permit: SemaphorePermit<'static>,
}

/// The project's template: the one source of triggers and table shapes.
fn template() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../infra/template.yaml")
}

/// Which images or snapshots are a group's backups.
fn of_backups(group: &str) -> [(&'static str, &str); 5] {
    [
        ("Owner.1", "self"),
        ("Filter.1.Name", "tag:perennial:group"),
        ("Filter.1.Value.1", group),
        ("Filter.2.Name", "tag:perennial:purpose"),
        ("Filter.2.Value.1", "backup"),
    ]
}

impl Account {
    /// Starts a cloud with all functions.
    ///
    /// # Panics
    /// If it cannot start, for instance because the functions are not built.
    pub async fn start(setup: Setup) -> Account {
        let functions =
            if setup.functions { Functions::Directory(binaries::directory()) } else { Functions::None };
        Account::open(setup.speed, functions).await
    }

    /// Starts a cloud with all functions, in which a call may be refused for want of rights.
    ///
    /// # Panics
    /// As [`Account::start`].
    pub async fn start_refusing(setup: Setup) -> Account {
        let mut account = Account::start(setup).await;
        account.refusing = true;
        account
    }

    /// Starts a cloud whose events and ticks wait for functions that the test starts with [`Account::host`].
    ///
    /// # Panics
    /// If it cannot start.
    pub async fn start_unhosted(speed: f64) -> Account {
        Account::open(speed, Functions::Elsewhere).await
    }

    async fn open(speed: f64, functions: Functions) -> Account {
        let Ok(permit) = CLOUDS.acquire().await else { panic!("the semaphore of clouds was closed") };
        let folder = match tempfile::tempdir() {
            Ok(folder) => folder,
            Err(error) => panic!("no folder for the functions' log: {error}"),
        };
        let log = folder.path().join("functions.log");
        let mut options = Options::new(template());
        options.speed = speed;
        options.output = FunctionOutput::File(log.clone());
        options.functions = functions;
        let told_of = [("InstanceRoleArns", ROLE), ("KmsKeyArns", KEY)];
        options.parameters = BTreeMap::from(told_of.map(|(name, value)| (name.to_owned(), value.to_owned())));
        options.rights = std::env::var_os("PERENNIAL_RIGHTS").map(PathBuf::from);
        let server = match Server::start(options).await {
            Ok(server) => Arc::new(server),
            Err(error @ StartError::Function { .. }) => panic!("{}", binaries::missing(&error.to_string())),
            Err(error) => panic!("{error}"),
        };
        Account { server, log, refusing: false, items: Mutex::default(), _folder: folder, _permit: permit }
    }

    /// Starts the process of one function of a cloud whose functions run elsewhere; it ends when dropped.
    ///
    /// # Panics
    /// If the function is not built.
    pub fn host(&self, folder: &str) -> Child {
        let speed = self.control("GET", "clock", &Value::Null)["speed"].to_string();
        let server = &self.server;
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log);
        let output =
            || log.as_ref().ok().and_then(|file| file.try_clone().ok()).map_or_else(Stdio::null, Stdio::from);
        let mut command = Command::new(binaries::binary(folder));
        command
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", format!("{}/_lambda/{folder}", server.url()))
            .env("AWS_LAMBDA_FUNCTION_NAME", folder)
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .env("AWS_ENDPOINT_URL", server.url())
            .env("AWS_REGION", server.region())
            // The cloud tells by its key who calls.
            .env("AWS_ACCESS_KEY_ID", format!("PERENNIAL{}", folder.to_ascii_uppercase()))
            .env("AWS_SECRET_ACCESS_KEY", "local")
            .env("PERENNIAL_CONFIG_TABLE", self.table("config"))
            .env("PERENNIAL_STATE_TABLE", self.table("state"))
            .env("PERENNIAL_EVENT_BUS", server.buses().first().map_or("", String::as_str))
            .env("PERENNIAL_DEPLOYMENT", "perennial")
            .env("PERENNIAL_CLOCK", "event")
            .env("PERENNIAL_TIME_FACTOR", speed)
            .stdin(Stdio::null())
            .stdout(output())
            .stderr(output())
            .kill_on_drop(true);
        match command.spawn() {
            Ok(child) => child,
            Err(error) => panic!("{folder} does not start: {error}"),
        }
    }

    /// The cloud behind it.
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// A control request that must succeed; the path begins after `/_cloud/`.
    ///
    /// # Panics
    /// If it is refused.
    pub fn control(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = self.server.control(method, path, body);
        assert_eq!(status, 200, "{method} {path} {body}: {answer}");
        answer
    }

    /// What a listing control endpoint has, from entry `since` on.
    fn listed(&self, path: &str, name: &str) -> Vec<Value> {
        match self.control("GET", path, &Value::Null)[name].take() {
            Value::Array(list) => list,
            other => panic!("{path} has no list {name}: {other}"),
        }
    }

    /// The AWS calls numbered above `since`.
    pub fn calls(&self, since: u64) -> Vec<Value> {
        self.listed(&format!("calls?since={since}"), "calls")
    }

    /// The number of the last AWS call so far.
    pub fn last_call(&self) -> u64 {
        self.calls(0).last().and_then(|call| call["seq"].as_u64()).unwrap_or_default()
    }

    /// All invocations so far.
    pub fn invocations(&self) -> Vec<Value> {
        self.listed("invocations", "invocations")
    }

    /// What was given up after all retries.
    pub fn dead_letters(&self) -> Vec<Value> {
        self.listed("dead-letters", "deadLetters")
    }

    /// Own events about a node, in the order of publishing, repeats included.
    pub fn own_events(&self, node: &str) -> Vec<Value> {
        let mut events = self.listed("events", "events");
        events.retain(|event| event["source"] == "perennial" && event["detail"]["node"] == node);
        events
    }

    /// Own events about the image backups of a group, in the order of publishing, repeats included.
    pub fn backup_events(&self, group: &str) -> Vec<Value> {
        let mut events = self.listed("events", "events");
        let is_backup =
            |it: &Value| it["detailType"].as_str().is_some_and(|word| word.starts_with("Backup "));
        events.retain(|it| it["source"] == "perennial" && it["detail"]["group"] == group && is_backup(it));
        events
    }

    /// What the functions have written to their logs.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// A DynamoDB call that must succeed.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn dynamodb(&self, operation: &str, body: &Value) -> Value {
        let target = format!("DynamoDB_20120810.{operation}");
        let answer = wire::post(self.server.address(), Some(&target), body.to_string()).await;
        assert_eq!(answer.status, 200, "{operation} {body}: {}", answer.body);
        match serde_json::from_str(&answer.body) {
            Ok(answer) => answer,
            Err(error) => panic!("{operation} answered no JSON: {error}: {}", answer.body),
        }
    }

    /// An EC2 call that must succeed.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn ec2(&self, action: &str, parameters: &[(&str, &str)]) -> Value {
        match self.try_ec2(action, parameters).await {
            Ok(answer) => answer,
            Err(refusal) => panic!("{action} {parameters:?}: {refusal}"),
        }
    }

    /// An EC2 call.
    ///
    /// # Errors
    /// What EC2 says when it refuses.
    pub async fn try_ec2(&self, action: &str, parameters: &[(&str, &str)]) -> Result<Value, String> {
        let answer = wire::post(self.server.address(), None, wire::query(action, parameters)).await;
        if answer.status == 200 { Ok(from_xml(&answer.body)) } else { Err(answer.body) }
    }

    /// The name of the table of this kind, `config` or `state`.
    ///
    /// # Panics
    /// If the template has none.
    pub fn table(&self, kind: &str) -> &str {
        let found = self.server.tables().iter().find(|name| name.ends_with(kind));
        found.map_or_else(|| panic!("the template has no table {kind}"), String::as_str)
    }

    /// Puts a config item.
    pub async fn put(&self, item: &Value) {
        let id = item["id"].as_str().unwrap_or_default();
        self.items.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned());
        let body = json!({"TableName": self.table("config"), "Item": to_attributes(item)});
        self.dynamodb("PutItem", &body).await;
    }

    /// Deletes the config item of a node.
    pub async fn remove(&self, node: &str) {
        self.remove_item(&format!("node#{node}")).await;
    }

    /// Deletes a config item.
    pub async fn remove_item(&self, id: &str) {
        let key = json!({"id": {"S": id}});
        self.dynamodb("DeleteItem", &json!({"TableName": self.table("config"), "Key": key})).await;
    }

    /// The config item of a node as it stands, `_status` included.
    pub async fn item(&self, node: &str) -> Value {
        self.config_item(&format!("node#{node}")).await
    }

    /// A config item as it stands, `_status` included.
    pub async fn config_item(&self, id: &str) -> Value {
        let key = json!({"id": {"S": id}});
        let body = json!({"TableName": self.table("config"), "Key": key, "ConsistentRead": true});
        from_attributes(&self.dynamodb("GetItem", &body).await["Item"])
    }

    /// The record of a node as the table has it, typed; null if there is none.
    pub async fn raw_record(&self, node: &str) -> Value {
        let key = json!({"pk": {"S": format!("node#{node}")}, "sk": {"S": "record"}});
        let body = json!({"TableName": self.table("state"), "Key": key, "ConsistentRead": true});
        self.dynamodb("GetItem", &body).await["Item"].take()
    }

    /// The record of a group as plain JSON; null if there is none.
    pub async fn group_record(&self, group: &str) -> Value {
        let key = json!({"pk": {"S": format!("group#{group}")}, "sk": {"S": "record"}});
        let body = json!({"TableName": self.table("state"), "Key": key, "ConsistentRead": true});
        from_attributes(&self.dynamodb("GetItem", &body).await["Item"])
    }

    /// The record of a node as plain JSON; null if there is none.
    pub async fn record(&self, node: &str) -> Value {
        match self.raw_record(node).await {
            Value::Null => Value::Null,
            item => from_attributes(&item),
        }
    }

    /// The node that the state table says owns a resource, by the resource's id; null if none.
    pub async fn owner(&self, resource: &str) -> Value {
        let key = json!({"pk": {"S": format!("resource#{resource}")}, "sk": {"S": "owner"}});
        let body = json!({"TableName": self.table("state"), "Key": key, "ConsistentRead": true});
        from_attributes(&self.dynamodb("GetItem", &body).await["Item"])["node"].take()
    }

    /// Puts a typed item into the state table, as somebody with a newer version would.
    pub async fn put_state(&self, item: &Value) {
        self.dynamodb("PutItem", &json!({"TableName": self.table("state"), "Item": item})).await;
    }

    /// The journal of a node, oldest first.
    pub async fn journal(&self, node: &str) -> Vec<Value> {
        let body = json!({"TableName": self.table("state"),
            "KeyConditionExpression": "pk = :pk AND begins_with(sk, :sk)", "ConsistentRead": true,
            "ExpressionAttributeValues": {":pk": {"S": format!("node#{node}")}, ":sk": {"S": "event#"}}});
        items(&self.dynamodb("Query", &body).await["Items"]).iter().map(from_attributes).collect()
    }

    /// The partition keys in the state table that are about nodes and their resources.
    pub async fn state_keys(&self) -> BTreeSet<String> {
        let scanned = self.dynamodb("Scan", &json!({"TableName": self.table("state")})).await;
        let keys = items(&scanned["Items"]).iter().filter_map(|item| item["pk"]["S"].as_str());
        keys.filter(|key| key.starts_with("node#") || key.starts_with("resource#"))
            .map(str::to_owned)
            .collect()
    }

    /// The images that carry the tags of a group's backups, in whatever state, oldest first.
    pub async fn backups(&self, group: &str) -> Vec<Image> {
        let found = self.ec2("DescribeImages", &of_backups(group)).await;
        let mut images: Vec<Image> = items(&found["imagesSet"]).iter().map(Image::read).collect();
        images.sort_by(|a, b| a.created.cmp(&b.created));
        images
    }

    /// The snapshots that carry the same tags, oldest first.
    pub async fn backup_snapshots(&self, group: &str) -> Vec<Snapshot> {
        let found = self.ec2("DescribeSnapshots", &of_backups(group)).await;
        let mut snapshots: Vec<Snapshot> = items(&found["snapshotSet"]).iter().map(Snapshot::read).collect();
        snapshots.sort_by(|a, b| a.started.cmp(&b.started));
        snapshots
    }

    async fn tagged(&self, action: &str, set: &str, node: &str, own: bool) -> Vec<Value> {
        let mut parameters = vec![("Filter.1.Name", "tag:perennial:node"), ("Filter.1.Value.1", node)];
        if own {
            parameters.push(("Owner.1", "self"));
        }
        items(&self.ec2(action, &parameters).await[set]).to_vec()
    }

    /// The instances of a node, ended ones of the last hour included, oldest first.
    pub async fn instances(&self, node: &str) -> Vec<Instance> {
        let reservations = self.tagged("DescribeInstances", "reservationSet", node, false).await;
        let mut all: Vec<&Value> = reservations.iter().flat_map(|it| items(&it["instancesSet"])).collect();
        all.sort_by_key(|it| it["launchTime"].as_str().unwrap_or_default());
        all.into_iter().map(Instance::read).collect()
    }

    /// One instance, whoever's it is.
    pub async fn instance(&self, id: &str) -> Option<Instance> {
        let answer = self.ec2("DescribeInstances", &[("InstanceId.1", id)]).await;
        items(&answer["reservationSet"])
            .iter()
            .flat_map(|it| items(&it["instancesSet"]))
            .map(Instance::read)
            .next()
    }

    /// The instances of a node that have not ended.
    pub async fn live(&self, node: &str) -> Vec<Instance> {
        self.instances(node).await.into_iter().filter(Instance::is_live).collect()
    }

    /// The volumes of a node.
    pub async fn volumes(&self, node: &str) -> Vec<Volume> {
        self.tagged("DescribeVolumes", "volumeSet", node, false).await.iter().map(Volume::read).collect()
    }

    /// One volume, whoever's it is; none if it does not exist.
    pub async fn volume(&self, id: &str) -> Option<Volume> {
        let answer =
            self.ec2("DescribeVolumes", &[("Filter.1.Name", "volume-id"), ("Filter.1.Value.1", id)]).await;
        items(&answer["volumeSet"]).iter().map(Volume::read).next()
    }

    /// The snapshots of a node, oldest first.
    pub async fn snapshots(&self, node: &str) -> Vec<Snapshot> {
        let found = self.tagged("DescribeSnapshots", "snapshotSet", node, true).await;
        let mut snapshots: Vec<Snapshot> = found.iter().map(Snapshot::read).collect();
        snapshots.sort_by(|a, b| a.started.cmp(&b.started));
        snapshots
    }

    /// All snapshots of a deployment.
    pub async fn deployment_snapshots(&self, deployment: &str) -> Vec<Snapshot> {
        let filter = [("Filter.1.Name", "tag:perennial:deployment"), ("Filter.1.Value.1", deployment)];
        let found = self.ec2("DescribeSnapshots", &filter).await;
        items(&found["snapshotSet"]).iter().map(Snapshot::read).collect()
    }

    /// The images of a node.
    pub async fn images(&self, node: &str) -> Vec<Image> {
        self.tagged("DescribeImages", "imagesSet", node, true).await.iter().map(Image::read).collect()
    }

    /// The network interfaces of a node.
    pub async fn interfaces(&self, node: &str) -> Vec<Interface> {
        let found = self.tagged("DescribeNetworkInterfaces", "networkInterfaceSet", node, false).await;
        found.iter().map(Interface::read).collect()
    }

    /// How often a volume was written to, counting what it was made from.
    pub fn writes(&self, volume: &str) -> u64 {
        let contents = self.control("GET", &format!("volumes/{volume}"), &Value::Null);
        contents["writes"].as_u64().unwrap_or_default()
    }

    /// A guest that from now on writes on whatever instance the node has.
    #[must_use]
    pub fn guest(&self, node: &str) -> Guest {
        Guest::begin(Arc::clone(&self.server), node)
    }

    /// Looks again and again until `condition` gives something.
    ///
    /// # Panics
    /// If that takes too long; the stories of all nodes are told then.
    pub async fn until<T>(&self, what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(found) = condition().await {
                return found;
            }
            assert!(begun.elapsed() < TOO_LONG, "{what}: not within {} real seconds", TOO_LONG.as_secs());
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
    }
}

impl Drop for Account {
    /// A test that passes must not have met a call that the template's policies refuse. One that fails tells what
    /// happened in its cloud.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let (_, rights) = self.server.control("GET", "rights", &Value::Null);
            let denied = rights["denied"].as_array().map_or(0, Vec::len);
            assert!(
                denied == 0 || self.refusing,
                "calls that the template's policies do not allow: {rights:#}"
            );
            return;
        }
        let items = self.items.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let account: &Account = self;
        // The test's own runtime cannot be waited for from here; its workers still serve the cloud.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
                    return;
                };
                story::tell(&runtime.block_on(story::of(account, &items)));
            });
        });
    }
}

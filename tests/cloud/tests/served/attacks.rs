//! What a function that somebody else got hold of cannot do, by the policies of the project's own template.
//!
//! Every attack has a twin that is allowed, so that a call which is refused for another reason proves nothing.

use crate::support::{Running, authorization, own_template, start_with};
use perennial_cloud::Functions;
use serde_json::{Value, json};

const ALL: [&str; 7] = [
    "config-change",
    "image-backup",
    "instance-state",
    "reconcile",
    "snapshot-schedule",
    "spot-interruption",
    "storage-state",
];
/// Those that an event or an edit wakes.
const WOKEN: [&str; 4] = ["config-change", "instance-state", "spot-interruption", "storage-state"];

type Parameters<'a> = &'a [(&'a str, &'a str)];

/// An account with things of this deployment, of another one and of nobody.
struct Account {
    cloud: Running,
    subnet: String,
    image: String,
}

impl Account {
    async fn start() -> Account {
        let cloud = start_with(|options| {
            options.template = own_template();
            options.functions = Functions::Elsewhere;
            options.speed = 3_600.0;
            let roles = ("InstanceRoleArns".to_owned(), "arn:aws:iam::123456789012:role/database".to_owned());
            options.parameters = [roles].into();
        })
        .await;
        assert_eq!(cloud.server.functions(), ALL, "no function is left out");
        let made = cloud.server.defaults();
        let (subnet, image) = (made.subnet_ids[0].clone(), made.image_id.clone());
        Account { cloud, subnet, image }
    }

    async fn call(&self, function: Option<&str>, action: &str, parameters: Parameters<'_>) -> (u16, String) {
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.append_pair("Action", action).append_pair("Version", "2016-11-15").extend_pairs(parameters);
        let key = authorization(function);
        let answer = self.cloud.send("POST", "/", &[("authorization", &key)], &body.finish()).await;
        (answer.status, answer.body)
    }

    /// The operator's call, and the text of one element of its answer.
    async fn make(&self, action: &str, parameters: Parameters<'_>, element: &str) -> String {
        let (status, body) = self.call(None, action, parameters).await;
        assert_eq!(status, 200, "{action} {parameters:?}: {body}");
        let (open, close) = (format!("<{element}>"), format!("</{element}>"));
        let text = body.split_once(&open).and_then(|(_, rest)| rest.split_once(&close));
        text.map(|(text, _)| text.to_owned()).unwrap_or_else(|| panic!("no {element} in {body}"))
    }

    async fn tag(&self, id: &str, deployment: &str, purpose: &str) {
        let tags = [
            ("ResourceId.1", id),
            ("Tag.1.Key", "perennial:deployment"),
            ("Tag.1.Value", deployment),
            ("Tag.2.Key", "perennial:purpose"),
            ("Tag.2.Value", purpose),
        ];
        self.make("CreateTags", &tags, "return").await;
    }

    /// Looks until what was made is in a state to be used; an hour of the cloud passes in a second.
    async fn ready(&self, id: String, describe: &str, ids: &str, state: &str) -> String {
        let status = format!("<status>{state}</status>");
        while !self.call(None, describe, &[(ids, &id)]).await.1.contains(&status) {}
        id
    }

    async fn volume(&self) -> String {
        let size = [("AvailabilityZone", "us-east-1a"), ("Size", "8")];
        let id = self.make("CreateVolume", &size, "volumeId").await;
        self.ready(id, "DescribeVolumes", "VolumeId.1", "available").await
    }

    async fn snapshot(&self, volume: &str) -> String {
        let id = self.make("CreateSnapshot", &[("VolumeId", volume)], "snapshotId").await;
        self.ready(id, "DescribeSnapshots", "SnapshotId.1", "completed").await
    }

    async fn own_volume(&self, purpose: &str) -> String {
        let id = self.volume().await;
        self.tag(&id, "perennial", purpose).await;
        id
    }

    async fn instance(&self) -> String {
        let launch = [
            ("ImageId", self.image.as_str()),
            ("InstanceType", "t3.micro"),
            ("MinCount", "1"),
            ("MaxCount", "1"),
            ("SubnetId", self.subnet.as_str()),
        ];
        self.make("RunInstances", &launch, "instanceId").await
    }

    async fn denied(&self, function: &str, action: &str, parameters: Parameters<'_>) {
        let (status, body) = self.call(Some(function), action, parameters).await;
        let is_denied = status == 403 && body.contains("<Code>UnauthorizedOperation</Code>");
        assert!(is_denied, "{function} may {action} {parameters:?}: {status} {body}");
    }

    async fn allowed(&self, function: &str, action: &str, parameters: Parameters<'_>) {
        let (status, body) = self.call(Some(function), action, parameters).await;
        assert_eq!(status, 200, "{function} may not {action} {parameters:?}: {body}");
    }

    async fn item(&self, function: &str, operation: &str, body: &Value) -> (u16, Value) {
        let target = format!("DynamoDB_20120810.{operation}");
        let answer = self.cloud.aws(&target, Some(function), body).await;
        (answer.status, answer.json())
    }

    async fn item_denied(&self, function: &str, operation: &str, body: &Value) {
        let (status, answer) = self.item(function, operation, body).await;
        let is_denied = status == 400 && answer["__type"] == "AccessDeniedException";
        assert!(is_denied, "{function} may {operation} {body}: {status} {answer}");
    }
}

#[tokio::test]
async fn nothing_is_deleted_but_what_was_made_for_this_deployment() {
    let account = Account::start().await;
    let (untagged, other, adopted) =
        (account.volume().await, account.volume().await, account.own_volume("adopted").await);
    account.tag(&other, "another", "root").await;
    for function in ALL {
        for volume in [&untagged, &other, &adopted] {
            account.denied(function, "DeleteVolume", &[("VolumeId", volume)]).await;
        }
        account.denied(function, "DeregisterImage", &[("ImageId", &account.image)]).await;
    }
    account.allowed("reconcile", "DeleteVolume", &[("VolumeId", &account.own_volume("root").await)]).await;
}

#[tokio::test]
async fn what_an_event_wakes_deletes_nothing_at_all_and_takes_no_tag_off() {
    let account = Account::start().await;
    let volume = account.own_volume("root").await;
    let source = account.own_volume("root").await;
    let snapshot = account.snapshot(&source).await;
    account.tag(&snapshot, "perennial", "periodic").await;
    let interface =
        account.make("CreateNetworkInterface", &[("SubnetId", &account.subnet)], "networkInterfaceId").await;
    account.tag(&interface, "perennial", "interface").await;
    let untag = [("ResourceId.1", volume.as_str()), ("Tag.1.Key", "perennial:deployment")];
    let deletions: [(&str, Parameters<'_>); 4] = [
        ("DeleteVolume", &[("VolumeId", &volume)]),
        ("DeleteSnapshot", &[("SnapshotId", &snapshot)]),
        ("DeleteNetworkInterface", &[("NetworkInterfaceId", &interface)]),
        ("DeleteTags", &untag),
    ];
    for function in WOKEN {
        for (action, parameters) in deletions {
            account.denied(function, action, parameters).await;
        }
    }
    for (action, parameters) in [deletions[1], deletions[2], deletions[3]] {
        account.allowed("reconcile", action, parameters).await;
    }
}

#[tokio::test]
async fn the_passes_delete_only_their_own_kind() {
    let account = Account::start().await;
    let mut of = Vec::new();
    for purpose in ["periodic", "final", "backup"] {
        let source = account.own_volume("root").await;
        let id = account.snapshot(&source).await;
        account.tag(&id, "perennial", purpose).await;
        of.push(id);
    }
    let [periodic, last, backup] = of.as_slice() else { panic!("three") };
    let delete = "DeleteSnapshot";
    account.denied("snapshot-schedule", delete, &[("SnapshotId", last)]).await;
    account.denied("snapshot-schedule", delete, &[("SnapshotId", backup)]).await;
    account.denied("image-backup", delete, &[("SnapshotId", periodic)]).await;
    account.denied("image-backup", delete, &[("SnapshotId", last)]).await;
    account.allowed("snapshot-schedule", delete, &[("SnapshotId", periodic)]).await;
    account.allowed("image-backup", delete, &[("SnapshotId", backup)]).await;
}

/// Tag, untag and retag in every order: nothing that was not made for the deployment becomes deletable.
#[tokio::test]
async fn tags_are_no_way_around_the_rights() {
    let account = Account::start().await;
    let (deployment, purpose) = ("perennial:deployment", "perennial:purpose");
    let delete = "DeleteVolume";
    let stranger = account.volume().await;
    let tags = |id: &str, deployment_value: &str, purpose_value: &str| {
        [
            ("ResourceId.1".to_owned(), id.to_owned()),
            ("Tag.1.Key".to_owned(), deployment.to_owned()),
            ("Tag.1.Value".to_owned(), deployment_value.to_owned()),
            ("Tag.2.Key".to_owned(), purpose.to_owned()),
            ("Tag.2.Value".to_owned(), purpose_value.to_owned()),
        ]
    };
    for function in ALL {
        let steal = tags(&stranger, "perennial", "root");
        let steal: Vec<_> = steal.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        account.denied(function, "CreateTags", &steal).await;
        account.denied(function, delete, &[("VolumeId", &stranger)]).await;
    }
    // Adopted, it can be neither deleted nor said to be something else.
    let adopt = tags(&stranger, "perennial", "adopted");
    let adopt: Vec<_> = adopt.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    for function in ALL.into_iter().filter(|function| *function != "reconcile") {
        account.denied(function, "CreateTags", &adopt).await;
    }
    account.allowed("reconcile", "CreateTags", &adopt).await;
    account.denied("reconcile", delete, &[("VolumeId", &stranger)]).await;
    let claim = [("ResourceId.1", stranger.as_str()), ("Tag.1.Key", purpose), ("Tag.1.Value", "root")];
    account.denied("reconcile", "CreateTags", &claim).await;
    // Without its purpose it is deletable as nothing, and gets no new one.
    let untag = [("ResourceId.1", stranger.as_str()), ("Tag.1.Key", purpose)];
    account.allowed("reconcile", "DeleteTags", &untag).await;
    account.denied("reconcile", delete, &[("VolumeId", &stranger)]).await;
    account.denied("reconcile", "CreateTags", &claim).await;
    account.denied("reconcile", "CreateTags", &adopt).await;
    // Without the deployment it can be adopted again, and no more than that.
    let untag = [("ResourceId.1", stranger.as_str()), ("Tag.1.Key", deployment)];
    account.allowed("reconcile", "DeleteTags", &untag).await;
    account.allowed("reconcile", "CreateTags", &adopt).await;
    account.denied("reconcile", delete, &[("VolumeId", &stranger)]).await;
    // What is another's stays so, and nobody takes all tags off at once.
    let other = account.volume().await;
    account.tag(&other, "another", "adopted").await;
    let untag = [("ResourceId.1", other.as_str()), ("Tag.1.Key", deployment)];
    account.denied("reconcile", "DeleteTags", &untag).await;
    let own = account.own_volume("root").await;
    account.denied("reconcile", "DeleteTags", &[("ResourceId.1", &own)]).await;
    let names = [("ResourceId.1", own.as_str()), ("Tag.1.Key", "Name")];
    account.denied("reconcile", "DeleteTags", &names).await;
    let name = [("ResourceId.1", own.as_str()), ("Tag.1.Key", "Name"), ("Tag.1.Value", "db")];
    account.allowed("storage-state", "CreateTags", &name).await;
}

#[tokio::test]
async fn instances_of_others_are_neither_ended_nor_changed_nor_copied() {
    let account = Account::start().await;
    let (foreign, own) = (account.instance().await, account.instance().await);
    account.tag(&own, "perennial", "instance").await;
    let (volume, mine) = (account.volume().await, account.own_volume("data").await);
    let keep = [
        ("InstanceId", foreign.as_str()),
        ("BlockDeviceMapping.1.DeviceName", "/dev/xvda"),
        ("BlockDeviceMapping.1.Ebs.DeleteOnTermination", "false"),
    ];
    for function in ALL {
        account.denied(function, "TerminateInstances", &[("InstanceId.1", &foreign)]).await;
        account.denied(function, "StopInstances", &[("InstanceId.1", &own)]).await;
        account.denied(function, "ModifyInstanceAttribute", &keep).await;
        account.denied(function, "CreateSnapshot", &[("VolumeId", &volume)]).await;
        account.denied(function, "CreateImage", &[("InstanceId", &foreign), ("Name", "copy")]).await;
        account.denied(function, "DetachVolume", &[("VolumeId", &mine)]).await;
        let attach =
            |volume, instance| [("VolumeId", volume), ("InstanceId", instance), ("Device", "/dev/sdf")];
        account.denied(function, "AttachVolume", &attach(volume.as_str(), own.as_str())).await;
        account.denied(function, "AttachVolume", &attach(mine.as_str(), foreign.as_str())).await;
        let share = [("SnapshotId", "snap-00000000"), ("Attribute", "createVolumePermission")];
        account.denied(function, "ModifySnapshotAttribute", &share).await;
        account.denied(function, "ModifyImageAttribute", &[("ImageId", &account.image)]).await;
    }
    account.allowed("instance-state", "TerminateInstances", &[("InstanceId.1", &own)]).await;
}

#[tokio::test]
async fn nothing_is_made_without_this_deployments_tag_and_no_volume_from_others_snapshots() {
    let account = Account::start().await;
    let foreign = account.volume().await;
    let snapshot = account.snapshot(&foreign).await;
    let own = account.own_volume("root").await;
    let tagged = [
        ("TagSpecification.1.ResourceType", "volume"),
        ("TagSpecification.1.Tag.1.Key", "perennial:deployment"),
        ("TagSpecification.1.Tag.1.Value", "perennial"),
    ];
    let volume = [("AvailabilityZone", "us-east-1a"), ("SnapshotId", snapshot.as_str())];
    let image = [
        ("Name", "restored"),
        ("RootDeviceName", "/dev/xvda"),
        ("BlockDeviceMapping.1.DeviceName", "/dev/xvda"),
        ("BlockDeviceMapping.1.Ebs.SnapshotId", snapshot.as_str()),
        ("TagSpecification.1.ResourceType", "image"),
        ("TagSpecification.1.Tag.1.Key", "perennial:deployment"),
        ("TagSpecification.1.Tag.1.Value", "perennial"),
    ];
    for function in ALL {
        account.denied(function, "CreateVolume", &[volume.as_slice(), &tagged].concat()).await;
        account.denied(function, "CreateVolume", &[("AvailabilityZone", "us-east-1a"), ("Size", "8")]).await;
        account.denied(function, "RegisterImage", &image[..4]).await;
        account.denied(function, "CreateSnapshot", &[("VolumeId", &own)]).await;
        account.denied(function, "CreateNetworkInterface", &[("SubnetId", &account.subnet)]).await;
    }
    account.tag(&snapshot, "perennial", "final").await;
    account.allowed("instance-state", "CreateVolume", &[volume.as_slice(), &tagged].concat()).await;
    account.allowed("instance-state", "RegisterImage", &image).await;
}

#[tokio::test]
async fn no_role_is_passed_but_those_named_at_the_deployment() {
    let account = Account::start().await;
    let launch = |role: &'static str| {
        let fixed = [
            ("ImageId", account.image.as_str()),
            ("InstanceType", "t3.micro"),
            ("MinCount", "1"),
            ("MaxCount", "1"),
            ("SubnetId", account.subnet.as_str()),
            ("IamInstanceProfile.Name", role),
        ];
        let tags = ["instance", "volume"].into_iter().zip([
            [
                ("TagSpecification.1.ResourceType", "instance"),
                ("TagSpecification.1.Tag.1.Key", "perennial:deployment"),
                ("TagSpecification.1.Tag.1.Value", "perennial"),
            ],
            [
                ("TagSpecification.2.ResourceType", "volume"),
                ("TagSpecification.2.Tag.1.Key", "perennial:deployment"),
                ("TagSpecification.2.Tag.1.Value", "perennial"),
            ],
        ]);
        fixed.into_iter().chain(tags.flat_map(|(_, tags)| tags)).collect::<Vec<_>>()
    };
    for function in ALL {
        account.denied(function, "RunInstances", &launch("administrator")).await;
    }
    // Without the tags, and with those of the instance alone.
    account.denied("instance-state", "RunInstances", &launch("database")[..6]).await;
    account.denied("instance-state", "RunInstances", &launch("database")[..9]).await;
    account.allowed("instance-state", "RunInstances", &launch("database")).await;
}

#[tokio::test]
async fn what_the_operator_wants_is_not_written_and_other_tables_are_not_read() {
    let account = Account::start().await;
    let put = |item: Value| json!({"TableName": "perennial-config", "Item": item});
    let key = json!({"id": {"S": "node#a"}});
    let member = json!({"id": {"S": "node#ring-1"}, "group": {"S": "ring"}});
    for function in ALL {
        for id in ["settings", "group#ring"] {
            account.item_denied(function, "PutItem", &put(json!({"id": {"S": id}}))).await;
        }
        let own_launch = json!({"id": {"S": "node#ring-1"}, "launch": {"M": {}}});
        account.item_denied(function, "PutItem", &put(own_launch)).await;
        account
            .item_denied(function, "DeleteItem", &json!({"TableName": "perennial-config", "Key": key}))
            .await;
        account.item_denied(function, "GetItem", &json!({"TableName": "customers", "Key": key})).await;
        account.item_denied(function, "Scan", &json!({"TableName": "perennial-state"})).await;
        let delete = json!({"TransactItems": [{"Delete": {"TableName": "perennial-config", "Key": key}}]});
        account.item_denied(function, "TransactWriteItems", &delete).await;
        let batch = json!({"RequestItems": {"perennial-config": [{"DeleteRequest": {"Key": key}}]}});
        account.item_denied(function, "BatchWriteItem", &batch).await;
        let statement = json!({"Statement": "SELECT * FROM \"perennial-config\""});
        account.item_denied(function, "ExecuteStatement", &statement).await;
        account.item_denied(function, "DeleteTable", &json!({"TableName": "perennial-state"})).await;
    }
    for function in ALL.into_iter().filter(|function| !["config-change", "reconcile"].contains(function)) {
        account.item_denied(function, "PutItem", &put(member.clone())).await;
    }
    assert_eq!(account.item("reconcile", "PutItem", &put(member)).await.0, 200);
}

#[tokio::test]
async fn nothing_is_published_but_on_the_deployments_own_bus() {
    let account = Account::start().await;
    let publish = async |function: &str, bus: &str| {
        let entry = json!({"Source": "perennial", "DetailType": "T", "Detail": "{}", "EventBusName": bus});
        let entries = json!({"Entries": [entry]});
        account.cloud.aws("AWSEvents.PutEvents", Some(function), &entries).await
    };
    for function in ALL {
        let answer = publish(function, "default").await;
        assert_eq!((answer.status, &answer.json()["__type"]), (400, &json!("AccessDeniedException")));
        assert_eq!(publish(function, "perennial").await.status, 200);
    }
}

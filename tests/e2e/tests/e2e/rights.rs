//! Rights that only some nodes need: to pass a role, to use a key, to launch into a placement group, to follow what the
//! operator changes by hand, and to let go of what is to stay.

use perennial_e2e::{Account, KEY, ROLE, Setup};
use serde_json::{Value, json};

use crate::backed;
use crate::ring::{allocate, associations};
use crate::support::{interrupt, running, text};
use crate::tale::{self, Tale};

const NODE: &str = "vault";

/// Makes a launch template that names all this.
async fn template(account: &Account, role: &str) {
    let defaults = account.server().defaults();
    let parameters: [(&str, &str); 10] = [
        ("LaunchTemplateName", role),
        ("LaunchTemplateData.ImageId", &defaults.image_id),
        ("LaunchTemplateData.SecurityGroupId.1", &defaults.security_group_id),
        ("LaunchTemplateData.IamInstanceProfile.Name", role),
        ("LaunchTemplateData.KeyName", "ops"),
        ("LaunchTemplateData.Placement.GroupName", "close"),
        ("LaunchTemplateData.BlockDeviceMapping.1.DeviceName", "/dev/sdf"),
        ("LaunchTemplateData.BlockDeviceMapping.1.Ebs.VolumeSize", "8"),
        ("LaunchTemplateData.BlockDeviceMapping.1.Ebs.Encrypted", "true"),
        ("LaunchTemplateData.BlockDeviceMapping.1.Ebs.KmsKeyId", KEY),
    ];
    account.ec2("CreateLaunchTemplate", &parameters).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_a_role_a_key_and_a_placement_group_comes_back() {
    let account = Account::start(Setup::default()).await;
    // In the local cloud an instance profile has the role of its own name.
    let (_, profile) = ROLE.rsplit_once('/').unwrap();
    template(&account, profile).await;
    let mut item = tale::item(&account, NODE, 30);
    item["launch"]["template"] = json!({"name": profile});
    item["persist"]["data"] = json!({});
    let tale = Tale::begin_with(&account, NODE, item).await;
    let data = tale.first.disks["/dev/sdf"].volume.clone();
    interrupt(&account, &tale.first, false);
    let next = running(&account, NODE, 2).await;
    assert_eq!(next.disks["/dev/sdf"].volume, data, "the same encrypted volume");
    tale.guest.assert_nothing_lost();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_the_deployment_was_not_told_of_blocks_the_node_and_says_so() {
    let account = Account::start_refusing(Setup::default()).await;
    template(&account, "administrator").await;
    let mut item = tale::item(&account, NODE, 30);
    item["launch"]["template"] = json!({"name": "administrator"});
    account.put(&item).await;
    let blocked = account
        .until("the node is blocked", async || {
            let record = account.record(NODE).await;
            (!record["blocked"].is_null()).then(|| record["blocked"].clone())
        })
        .await;
    assert_eq!(blocked["code"], "launch-refused");
    let message = text(&blocked["message"]);
    assert!(message.contains("iam:PassRole") && message.contains("role/administrator"), "{message}");
    assert!(account.live(NODE).await.is_empty(), "nothing was launched");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interface_follows_what_its_operator_does_to_it_and_to_its_item() {
    let account = Account::start(Setup::default()).await;
    let address = allocate(&account).await;
    let mut item = tale::item(&account, NODE, 31);
    item["persist"]["network"]["elasticIp"] = json!(address);
    let mut tale = Tale::begin_with(&account, NODE, item).await;
    let interface = tale.first.interface.clone();
    let is_on = async |wanted: &str| {
        let now = associations(&account).await.remove(&address).unwrap_or_default();
        (now == wanted).then_some(())
    };
    account.until("the address is on the interface", async || is_on(&interface).await).await;

    let shown = account.ec2("DescribeNetworkInterfaces", &[("NetworkInterfaceId.1", &interface)]).await;
    let attachment = text(&shown["networkInterfaceSet"][0]["attachment"]["attachmentId"]);
    let expose = [
        ("NetworkInterfaceId", interface.as_str()),
        ("Attachment.AttachmentId", attachment.as_str()),
        ("Attachment.DeleteOnTermination", "true"),
    ];
    account.ec2("ModifyNetworkInterfaceAttribute", &expose).await;
    account
        .until("the interface is kept again", async || {
            account.instance(&tale.first.id).await.filter(|it| !it.interface_deleted)
        })
        .await;

    tale.edit(|item| {
        drop(item["persist"]["network"].as_object_mut().unwrap().remove("elasticIp"));
        item["tags"] = json!({"team": "search"});
        item["recycle"] = json!(1);
    })
    .await;
    account.until("the address is free", async || is_on("").await).await;
    let next = running(&account, NODE, 2).await;
    assert_eq!(next.interface, interface);
    let tags = account.interfaces(NODE).await.remove(0).tags;
    assert_eq!(tags.get("team").map(String::as_str), Some("search"), "{tags:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_node_that_is_released_leaves_its_image_to_the_operator() {
    let account = Account::start(Setup::default()).await;
    let mut tale = Tale::begin(&account, NODE, 32).await;
    tale.wants("paused").await;
    let record = tale.stands("paused").await;
    let image = text(&record["image"]["id"]);
    tale.wants("released").await;
    let record = tale.stands("gone").await;
    tale.assert_nothing_tagged().await;
    assert!(record["handedOver"].to_string().contains(&image), "{record:#}");
    let shown = account.ec2("DescribeImages", &[("ImageId.1", &image)]).await;
    assert_eq!(shown["imagesSet"][0]["imageState"], "available", "it is the operator's now");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backups_that_are_to_stay_lose_our_tags_and_nothing_else() {
    let account = Account::start(backed::SETUP).await;
    let mut item = backed::group(&account, 1, json!({}));
    item["retention"] = json!({"after": "1h", "delete": []});
    backed::put(&account, &item).await;
    backed::begun(&account, 1).await;
    let backup = backed::backup(&account, 1).await;
    account.remove_item(backed::ID).await;
    let shown = account
        .until("the backup is handed over", async || {
            let shown = account.ec2("DescribeImages", &[("ImageId.1", &backup.id)]).await;
            (!shown["imagesSet"][0]["tagSet"].to_string().contains("perennial:")).then_some(shown)
        })
        .await;
    let image: &Value = &shown["imagesSet"][0];
    assert_eq!(image["imageState"], "available");
    assert!(image["tagSet"].to_string().contains("team"), "the operator's tags stay: {image:#}");
    let left = async || account.backup_snapshots(backed::GROUP).await.is_empty().then_some(());
    account.until("so are its snapshots", left).await;
    for id in &backup.snapshots {
        account.ec2("DescribeSnapshots", &[("SnapshotId.1", id)]).await;
    }
}

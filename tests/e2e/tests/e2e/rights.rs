//! Rights that only some nodes need: to pass a role, to use a key, to launch into a placement group.

use perennial_e2e::{Account, Setup};
use serde_json::json;

use crate::support::{interrupt, running, text};
use crate::tale::{self, Tale};

const NODE: &str = "vault";
/// The role and the key that the account's deployment was told of.
const ROLE: &str = "database";
const KEY: &str = "arn:aws:kms:us-east-1:123456789012:key/0e0e0e0e-1111-2222-3333-444444444444";

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
    template(&account, ROLE).await;
    let mut item = tale::item(&account, NODE, 30);
    item["launch"]["template"] = json!({"name": ROLE});
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

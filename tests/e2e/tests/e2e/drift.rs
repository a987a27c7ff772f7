//! What happens to a node behind Perennial's back, by hand: found, mended or reported, never made worse.

use perennial_e2e::{Account, Setup};
use serde_json::{Value, json};

use crate::support::{assert_told_of_block, completed, only, running, terminate, text, ticks_pass};
use crate::tale::{Tale, item};

const SETUP: Setup = Setup { speed: 120.0, functions: true };

/// Makes a launch template like the account's, with this security group.
async fn template(account: &Account, action: &str, name: &str, group: &str) {
    let defaults = account.server().defaults();
    account
        .ec2(
            action,
            &[
                ("LaunchTemplateName", name),
                ("LaunchTemplateData.ImageId", &defaults.image_id),
                ("LaunchTemplateData.InstanceType", "t3.medium"),
                ("LaunchTemplateData.SecurityGroupId.1", group),
                ("LaunchTemplateData.MetadataOptions.HttpTokens", "required"),
            ],
        )
        .await;
}

/// A node under a template of its own.
async fn begin_under<'a>(account: &'a Account, node: &'static str, host: u8) -> Tale<'a> {
    template(account, "CreateLaunchTemplate", node, &account.server().defaults().security_group_id).await;
    let mut item = item(account, node, host);
    item["launch"]["template"] = json!({"name": node, "version": "$Latest"});
    Tale::begin_with(account, node, item).await
}

async fn image_deregistered_while_paused(account: &Account) {
    let mut tale = Tale::begin(account, "imageless", 31).await;
    let first = tale.first.clone();
    tale.wants("paused").await;
    let rest = tale.rests("paused", &first).await;
    account.ec2("DeregisterImage", &[("ImageId", &rest.image.id)]).await;
    tale.wants("running").await;
    let second = tale.runs_on(3, 2).await;
    assert_ne!(second.image, rest.image.id, "from another image");
    assert_ne!(second.image, first.image, "that is not the base image");
}

async fn image_and_snapshot_deleted_while_paused(account: &Account) {
    let mut tale = Tale::begin(account, "bare", 32).await;
    let first = tale.first.clone();
    tale.wants("paused").await;
    let rest = tale.rests("paused", &first).await;
    account.ec2("DeregisterImage", &[("ImageId", &rest.image.id)]).await;
    account
        .until("EC2 lets the snapshot go", async || {
            account.try_ec2("DeleteSnapshot", &[("SnapshotId", &rest.last.id)]).await.ok()
        })
        .await;
    tale.wants("running").await;
    // The volume still holds every byte.
    tale.runs_on(3, 2).await;
}

async fn interface_deleted_while_paused(account: &Account) {
    let mut tale = Tale::begin(account, "faceless", 33).await;
    let first = tale.first.clone();
    tale.wants("paused").await;
    tale.rests("paused", &first).await;
    account.ec2("DeleteNetworkInterface", &[("NetworkInterfaceId", &first.interface)]).await;
    tale.wants("running").await;
    let second = tale.runs(2).await;
    assert_ne!(second.interface, first.interface, "another interface, the same address");
}

async fn stopped_and_started_by_hand(account: &Account) {
    let mut item = item(account, "halted", 34);
    // EC2 does not let a one-time spot instance be stopped.
    item["launch"]["market"] = json!("on-demand");
    let tale = Tale::begin_with(account, "halted", item).await;
    let first = &tale.first;
    account.ec2("StopInstances", &[("InstanceId.1", &first.id)]).await;
    tale.says("was stopped by hand: left alone until it runs again").await;
    account
        .until("it is stopped", async || {
            account.instance(&first.id).await.filter(|instance| instance.state == "stopped")
        })
        .await;
    ticks_pass(account, 3).await;
    let left = account.instance(&first.id).await.unwrap();
    assert_eq!((left.state.as_str(), &left.root), ("stopped", &first.root), "left alone");
    let stopped_with = account.writes(&first.root);
    account.ec2("StartInstances", &[("InstanceId.1", &first.id)]).await;
    tale.says("runs again").await;
    account
        .until("the guest goes on", async || (account.writes(&first.root) > stopped_with).then_some(()))
        .await;
    assert_eq!(tale.runs(1).await.id, first.id, "no reason to launch");
    assert_eq!(tale.tells(), ["Config Accepted", "Node Running"]);
}

async fn template_deleted(account: &Account) {
    let tale = begin_under(account, "rootless", 35).await;
    account.ec2("DeleteLaunchTemplate", &[("LaunchTemplateName", tale.node)]).await;
    terminate(account, &tale.first).await;
    tale.blocked("template-missing").await;
    assert!(account.live(tale.node).await.is_empty());
    let group = &account.server().defaults().security_group_id;
    template(account, "CreateLaunchTemplate", tale.node, group).await;
    tale.runs(2).await;
    assert_told_of_block(account, tale.node);
}

async fn security_groups_changed(account: &Account) {
    let mut tale = begin_under(account, "guarded", 36).await;
    let vpc = &account.server().defaults().vpc_id;
    let made = account
        .ec2(
            "CreateSecurityGroup",
            &[("GroupName", "stricter"), ("GroupDescription", "Lets nobody in"), ("VpcId", vpc)],
        )
        .await;
    let group = text(&made["groupId"]);
    template(account, "CreateLaunchTemplateVersion", tale.node, &group).await;
    ticks_pass(account, 2).await;
    assert_ne!(
        account.interfaces(tale.node).await[0].groups,
        std::slice::from_ref(&group),
        "not before the next launch"
    );
    tale.edit(|item| item["recycle"] = json!(1)).await;
    let second = tale.runs(2).await;
    assert_eq!(second.interface, tale.first.interface, "the kept interface");
    assert_eq!(account.interfaces(tale.node).await[0].groups, [group], "has the groups of the template");
}

async fn deletion_on_termination_turned_on(account: &Account) {
    let tale = Tale::begin(account, "exposed", 37).await;
    let first = &tale.first;
    account
        .ec2(
            "ModifyInstanceAttribute",
            &[
                ("InstanceId", &first.id),
                ("BlockDeviceMapping.1.DeviceName", "/dev/xvda"),
                ("BlockDeviceMapping.1.Ebs.DeleteOnTermination", "true"),
            ],
        )
        .await;
    account
        .until("the root is kept again", async || {
            account.instance(&first.id).await.filter(|instance| !instance.root_deleted)
        })
        .await;
    terminate(account, first).await;
    tale.runs(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_lost_or_changed_by_hand_is_found_and_mended() {
    let account = Account::start(SETUP).await;
    tokio::join!(
        image_deregistered_while_paused(&account),
        image_and_snapshot_deleted_while_paused(&account),
        interface_deleted_while_paused(&account),
        stopped_and_started_by_hand(&account),
        template_deleted(&account),
        security_groups_changed(&account),
        deletion_on_termination_turned_on(&account),
    );
}

/// Lets no function see a volume, so that the node waits for its root.
fn hide_volumes(account: &Account) {
    for function in ["config-change", "instance-state", "reconcile", "storage-state"] {
        let error = json!({"code": "RequestLimitExceeded", "status": 503, "message": "scripted"});
        let fault = json!([{"service": "ec2", "operation": "DescribeVolumes", "function": function,
            "when": "before", "error": error, "times": -1}]);
        account.control("POST", "faults", &fault);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_root_deleted_before_its_last_snapshot_waits_for_the_operators_word() {
    let account = Account::start(SETUP).await;
    let mut tale = Tale::begin(&account, "db", 20).await;
    let first = tale.first.clone();
    account
        .until("there is a recovery point", async || {
            completed(&account.snapshots(tale.node).await).first().map(|_| ())
        })
        .await;
    hide_volumes(&account);
    terminate(&account, &first).await;
    account
        .until("the root is free", async || {
            let volumes = account.volumes(tale.node).await;
            volumes.iter().any(|volume| volume.state == "available").then_some(())
        })
        .await;
    let snapshots = account.snapshots(tale.node).await;
    assert!(snapshots.iter().all(|it| it.purpose() != "final"), "no last snapshot yet: {snapshots:?}");
    account.ec2("DeleteVolume", &[("VolumeId", &first.root)]).await;
    account.control("DELETE", "faults", &Value::Null);

    let blocked = tale.blocked("data-missing").await;
    let snapshots = account.snapshots(tale.node).await;
    let points = completed(&snapshots);
    assert!(!points.is_empty());
    for point in &points {
        let message = blocked["message"].as_str().unwrap();
        assert!(message.contains(&point.id), "{} is a candidate: {message}", point.id);
    }
    assert!(blocked["remedy"].as_str().unwrap().contains("restoreFrom"), "{blocked:#}");
    ticks_pass(&account, 3).await;
    assert!(account.live(tale.node).await.is_empty(), "nothing older is used by itself");
    assert_eq!(account.snapshots(tale.node).await, snapshots, "and nothing is deleted");

    let chosen = points.last().unwrap().id.clone();
    tale.edit(|item| item["restoreFrom"] = json!(chosen)).await;
    let second = tale.back(3, 2).await;
    assert_eq!(second.interface, first.interface);
    let stays = tale.guest.stays();
    let found = stays[1].first - 1;
    assert!((1..=stays[0].last).contains(&found), "what the chosen point has: {stays:#?}");
    assert_told_of_block(&account, tale.node);
    // Taken out and set again while all is well, it does nothing.
    let status = tale.edit(|item| item["tags"]["edited"] = json!("yes")).await;
    assert_eq!(status["accepted"], true);
    ticks_pass(&account, 2).await;
    assert_eq!(only(account.live(tale.node).await).id, running(&account, tale.node, 3).await.id);
}

//! Names, tags, guards, what is refused beside backups, and how a record is written.

use super::*;
use crate::ids::{GroupName, NodeName, SnapshotId};
use crate::names::{TAG_DEPLOYMENT, TAG_GROUP, TAG_KEY, TAG_PURPOSE};

fn names(group: &GroupName) -> GroupNames<'_> {
    GroupNames { deployment: DEPLOYMENT, group }
}

#[test]
fn a_backups_name_fits_what_aws_allows_and_no_two_are_alike() {
    let group = GroupName::parse(&"g".repeat(48)).unwrap();
    let longest = GroupNames { deployment: &"d".repeat(32), group: &group };
    let (one, other) = (InstanceId::new("i-0123456789abcdef0"), InstanceId::new("i-0123456789abcdef1"));
    let name = longest.backup(at(0), &one);
    assert!((3..=128).contains(&name.len()), "{name}");
    assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b"()[] ./-'@_".contains(&b)), "{name}");
    assert_eq!(name, longest.backup(at(0), &one), "it is the token");
    let ring = group_name();
    let others =
        [longest.backup(at(1), &one), longest.backup(at(0), &other), names(&ring).backup(at(0), &one)];
    assert!(!others.contains(&name));
    assert!(others[2].starts_with("prod/ring/20260302T000030Z-"), "{}", others[2]);
}

#[test]
fn our_tags_win_and_only_all_of_them_say_that_it_is_ours() {
    let ring = group_name();
    let operator = Tags::from([("Name".into(), "mine".into()), (TAG_GROUP.into(), "other".into())]);
    let tags = names(&ring).tags(&operator, "a-name");
    assert_eq!(
        (tags["Name"].as_str(), tags[TAG_GROUP].as_str(), tags[TAG_KEY].as_str()),
        ("mine", "ring", "a-name")
    );
    assert!(names(&ring).owns(&tags));
    for tag in [TAG_DEPLOYMENT, TAG_GROUP, TAG_PURPOSE] {
        let mut without = tags.clone();
        without.remove(tag);
        assert!(!names(&ring).owns(&without), "{tag}");
        without.insert(tag.into(), "other".into());
        assert!(!names(&ring).owns(&without), "{tag}");
    }
    let other = GroupName::parse("ring-2").unwrap();
    assert!(!names(&other).owns(&tags));
}

#[test]
fn only_what_is_ours_may_go() {
    let world = hourly().backed_up(1);
    let ring = group_name();
    let image = world.account.image(&world.available()[0]).unwrap().clone();
    assert_eq!(backup_image(&names(&ring), &image), Verdict::Go);
    let foreign = ImageFacts { tags: Tags::new(), ..image.clone() };
    assert!(matches!(backup_image(&names(&ring), &foreign), Verdict::NotOurs(_)));
    let snapshots = world.account.snapshots(|_| true);
    let snapshot = snapshots.values().next().unwrap().clone();
    assert_eq!(backup_snapshot(&names(&ring), &snapshot), Verdict::Go);
    let pending = SnapshotFacts { state: SnapshotState::Pending, ..snapshot.clone() };
    assert!(matches!(backup_snapshot(&names(&ring), &pending), Verdict::NotYet(_)));
    let shared = SnapshotFacts { own: false, ..snapshot.clone() };
    assert!(matches!(backup_snapshot(&names(&ring), &shared), Verdict::NotOurs(_)));
    let mut adopted = snapshot;
    adopted.tags.insert(TAG_PURPOSE.into(), "adopted".into());
    assert!(matches!(backup_snapshot(&names(&ring), &adopted), Verdict::NotOurs(_)));
}

#[test]
fn a_member_that_keeps_root_or_data_is_refused_while_backups_are_on() {
    let world = hourly();
    let node = group_name().member(1).unwrap();
    let refused = |group: &GroupRecord, persist: Value| {
        let item = json!({"id": "node#ring-1", "group": "ring", "persist": persist});
        let draft = group.share(&node).unwrap().draft(&item);
        draft.problems.into_iter().map(|it| it.path).collect::<Vec<_>>()
    };
    assert_eq!(refused(&world.group, json!({"root": {}})), ["persist.root"]);
    assert_eq!(refused(&world.group, json!({"data": {}})), ["persist.data"]);
    assert_eq!(refused(&world.group, json!({"root": {}, "data": {}})).len(), 2);
    assert_eq!(refused(&world.group, json!({"network": {}})), Vec::<String>::new());
    let mut off_world = hourly();
    off_world.edit(off());
    assert_eq!(refused(&off_world.group, json!({"root": {}})), Vec::<String>::new());
    let mut gone = hourly();
    gone.remove();
    assert_eq!(refused(&gone.group, json!({"root": {}})), Vec::<String>::new(), "it is to be let go of");
}

#[test]
fn a_members_own_image_is_told_to_have_no_effect_while_backups_are_on() {
    let mut world = hourly();
    let node = group_name().member(1).unwrap();
    let told = |world: &World, image: Value| {
        world.group.share(&node).unwrap().notices(&json!({"id": "node#ring-1", "launch": {"image": image}}))
    };
    assert!(told(&world, json!("ami-own"))[0].starts_with("launch.image: has no effect while group#ring"));
    assert_eq!(told(&world, Value::Null), Vec::<String>::new());
    world.edit(off());
    assert_eq!(told(&world, json!("ami-own")), Vec::<String>::new());
}

#[test]
fn a_members_share_changes_with_backups_and_its_template_does_not_tell_of_them() {
    let node = group_name().member(1).unwrap();
    let (on, mut other) = (hourly(), hourly());
    other.edit(off());
    assert_ne!(on.group.share(&node).unwrap().hash(), other.group.share(&node).unwrap().hash());
    assert!(on.group.config.template.get("imageBackup").is_none());
}

#[test]
fn a_record_with_backups_is_read_as_it_was_written() {
    let source = Source { node: NodeName::parse("ring-1").unwrap(), instance: InstanceId::new("i-1") };
    let mut world = hourly().backed_up(2);
    world.until_made(3);
    let backups = world.group.backups.as_mut().unwrap();
    let removing = Removing {
        keeps_image: true,
        keeps_snapshots: true,
        is_off: true,
        not_before: Some(at(1)),
        held: Some("held".into()),
        ..Removing::new("why".into(), at(0))
    };
    backups.list[0] = Backup {
        source: Some(source.clone()),
        snapshots: vec![SnapshotId::new("snap-1")],
        proven_at: Some(at(2)),
        superseded_at: Some(at(3)),
        missing_since: Some(at(4)),
        removing: Some(removing),
        ..backups.list[0].clone()
    };
    backups.former.push(ami("ami-old"));
    backups.failed = Some(Failed { due: Due::Asked(3), times: 2, at: at(5), why: "why".into() });
    (backups.sourceless_since, backups.bare_since, backups.not_before) =
        (Some(at(6)), Some(at(7)), Some(at(8)));
    backups.skipped = Some("nobody".into());
    let written = serde_json::to_string(&world.group).unwrap();
    assert_eq!(serde_json::from_str::<GroupRecord>(&written).unwrap(), world.group);
    assert_eq!(world.group.schema_version, 2);
}

#[test]
fn a_record_from_before_there_were_backups_loads_and_turning_them_on_begins_them() {
    let mut world = World::new(off());
    let mut old = serde_json::to_value(&world.group).unwrap();
    old["schemaVersion"] = json!(1);
    assert!(old.get("backups").is_none() && old.get("removedAt").is_none());
    world.group = serde_json::from_value(old).unwrap();
    assert_eq!(world.group.backups, None);
    let said = look(&world.group, Scope { deployment: DEPLOYMENT, now: world.now });
    assert_eq!(said, Look::default());
    world.edit(item(json!({"frequency": "hourly", "keep": 2})));
    let world = world.quiet().backed_up(1);
    assert_eq!(world.effective(), world.available().pop());
}

#[test]
fn an_event_has_the_same_id_however_often_it_is_told() {
    let world = hourly().backed_up(3);
    let world = world.backed_up(1);
    let ids: Vec<&str> = world.events.keys().map(String::as_str).collect();
    assert!(ids.iter().all(|id| id.starts_with("group#ring-backup-")), "{ids:?}");
    for (id, it) in &world.events {
        assert_eq!(it.detail.group.as_deref(), Some("ring"), "{id}");
        assert!(it.detail.image_id.is_some() && !it.detail.reason.is_empty(), "{id}");
        assert_eq!(it.detail.snapshot_ids.len(), if it.kind == Kind::BackupCreated { 2 } else { 0 }, "{id}");
    }
}

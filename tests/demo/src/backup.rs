//! The third act from beginning to end: a group of two that keeps nothing of its members has images made of one of
//! them every ten minutes; both are interrupted at once and come back from the newest; then the group is deleted, and
//! after its retention nothing is left.
//!
//! Decides what the demonstration does and waits for. Touches the group only as an operator may: its config item, and
//! the guests' own writes.

mod look;
mod proofs;
mod render;
mod view;

use serde_json::{Value, json};

use self::look::{Group, Observed};
use crate::access::{Access, Reply};
use crate::screen::Screen;
use crate::stage::{Broken, Stage, Told};

/// Name of the group.
const GROUP: &str = "web";
/// Nodes it keeps running.
const CAPACITY: usize = 2;
/// Backups it keeps.
const KEEP: usize = 2;
/// Backups that are made before the interruption: one more than are kept.
const MADE: usize = KEEP + 1;
/// How long its backups are kept once it is deleted: as short as can be, in hours.
const RETENTION_HOURS: i64 = 1;
/// Types of its members, in order of preference.
const TYPES: [&str; 2] = ["m5.large", "m6i.large"];

/// Tells it all.
///
/// # Errors
/// When the cloud does not answer, the item is refused, or a stage does not come.
pub(crate) async fn tell(access: &Access, screen: &mut Screen, speed: f64) -> Result<Told, Broken> {
    let mut story = Stage::new(access, screen, speed, Group::default())?;
    let told = acts(&mut story).await;
    story.finish();
    told?;
    let evidence = &story.scene.evidence;
    Ok(Told { proofs: proofs::judge(evidence), numbers: proofs::numbers(evidence), seconds: story.at })
}

async fn acts(story: &mut Stage<'_, Group>) -> Result<(), Broken> {
    story.functions_start().await?;
    begin(story).await?;
    interruption(story).await?;
    end(story).await?;
    let evidence = &mut story.scene.evidence;
    evidence.calls = list(story.access, "calls")?;
    evidence.events = list(story.access, "events")?;
    Ok(())
}

/// Two members start, their guests write, and images are made of one until the oldest makes room.
async fn begin(story: &mut Stage<'_, Group>) -> Result<(), Broken> {
    let item = item(story.access);
    story.configure("the group's item is judged", &key(), &item).await?;
    story.until("both start from the operator's image", |seen| all_run(seen, 1)).await?;
    story.scene.writes = true;
    story
        .until("guests write; an image is made of one of them every ten minutes", |seen| {
            seen.told.created.len() >= MADE
        })
        .await?;
    story
        .until("the oldest makes room, with its snapshots", |seen| {
            let (backups, snapshots) = (seen.backups(), seen.backup_snapshots());
            let stands = |id: &String| backups.iter().any(|backup| backup.snapshots.contains(id));
            backups.len() == KEEP && !seen.told.removed.is_empty() && snapshots.iter().all(stands)
        })
        .await?;
    let Some(seen) = &story.seen else { return Ok(()) };
    let evidence = &mut story.scene.evidence;
    (evidence.kept, evidence.kept_snapshots) = (seen.backups(), seen.backup_snapshots());
    evidence.made = seen.told.created.clone();
    evidence.gone = seen.told.removed.clone();
    Ok(())
}

/// EC2 takes both back at once.
async fn interruption(story: &mut Stage<'_, Group>) -> Result<(), Broken> {
    let Some(seen) = &story.seen else { return Ok(()) };
    let before = seen.members();
    for instance in before.iter().flat_map(|member| &member.live) {
        let taken = json!({"instanceId": instance, "notice": true});
        story.access.control("POST", "interrupt", &taken)?;
    }
    story.scene.evidence.noticed = Some(story.access.now()?);
    story.scene.evidence.before = before;
    story
        .until("EC2 takes both back; they come up again from the newest backup", |seen| {
            all_run(seen, 2)
                && seen.members().iter().all(|member| seen.found.contains_key(&member.instance_id()))
        })
        .await?;
    let Some(seen) = &story.seen else { return Ok(()) };
    (story.scene.evidence.returned, story.scene.evidence.back) = (Some(seen.now), seen.members());
    Ok(())
}

/// The group is deleted; its retention passes.
async fn end(story: &mut Stage<'_, Group>) -> Result<(), Broken> {
    story.scene.evidence.deleted = Some(story.access.now()?);
    story.access.delete_config(&key()).await?;
    story
        .until("the group is deleted: its members go, its backups stay for an hour", |seen| {
            seen.left().instances.is_empty()
        })
        .await?;
    story
        .until("the hour passes; then every image and snapshot goes", |seen| {
            let is_over = seen.group.as_ref().is_none_or(|group| group.backups.is_none());
            is_over && seen.left().is_nothing() && seen.told.removed.len() >= seen.told.created.len()
        })
        .await?;
    let left = story.seen.as_ref().map(Observed::left);
    story.scene.evidence.left = left;
    Ok(())
}

/// What one of the local cloud's logs has.
fn list(access: &Access, name: &str) -> Reply<Vec<Value>> {
    let mut answer = access.control("GET", name, &Value::Null)?;
    Ok(serde_json::from_value(answer[name].take()).unwrap_or_default())
}

/// As many members as the group is to keep run, each on its first, or on a later, instance.
fn all_run(seen: &Observed, cycle: u32) -> bool {
    let members = seen.members();
    members.iter().filter(|it| it.runs() && it.cycle >= cycle && it.live.len() == 1).count() == CAPACITY
}

fn key() -> String {
    format!("group#{GROUP}")
}

/// The item of the group, in DynamoDB's own JSON.
fn item(access: &Access) -> Value {
    let defaults = access.defaults();
    let texts = |all: &[String]| all.iter().map(|text| json!({"S": text})).collect::<Vec<_>>();
    json!({
        "id": {"S": key()},
        "capacity": {"N": CAPACITY.to_string()},
        "launch": {"M": {
            "template": {"M": {"name": {"S": defaults.launch_template_name}}},
            "instanceTypes": {"L": TYPES.map(|name| json!({"S": name}))},
            "subnets": {"L": texts(&defaults.subnet_ids)},
        }},
        "imageBackup": {"M": {"frequency": {"S": "continuous"}, "keep": {"N": KEEP.to_string()}}},
        "retention": {"M": {"after": {"S": format!("{RETENTION_HOURS}h")}}},
    })
}

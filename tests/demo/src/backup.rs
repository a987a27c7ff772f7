//! The third act from beginning to end: a group of two that keeps nothing of its members has images made of one of
//! them every ten minutes; both are interrupted at once and come back from the newest; then the group is deleted, and
//! after its retention nothing is left.
//!
//! Decides what the demonstration does and waits for. Touches the group only as an operator may: its config item, and
//! the guests' own writes.

mod look;
mod proofs;
mod view;

use std::path::Path;

use serde_json::{Value, json};

use self::look::{Group, Observed};
use self::proofs::Wanted;
use crate::access::{Access, DEPLOYMENT, Reply};
use crate::examples::Example;
use crate::screen::Screen;
use crate::stage::{Broken, Stage, Told};

/// How long its backups are kept once it is deleted: as short as can be, in hours.
const RETENTION_HOURS: i64 = 1;

/// Its item.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn example(folder: &Path) -> Result<Example, String> {
    Example::read(folder, "web")
}

/// Tells it all.
///
/// # Errors
/// When the cloud does not answer, the item is refused, or a stage does not come.
pub(crate) async fn tell(
    access: &Access,
    screen: &mut Screen,
    speed: f64,
    mut example: Example,
) -> Result<Told, Broken> {
    example.fill(access, &access.defaults().launch_template_name);
    let mut story = Stage::new(access, screen, speed, Group::new(&example))?;
    let told = acts(&mut story, &example).await;
    story.finish();
    told?;
    let evidence = &story.scene.evidence;
    Ok(Told { proofs: proofs::judge(evidence), numbers: proofs::numbers(evidence), seconds: story.at })
}

async fn acts(story: &mut Stage<'_, Group>, example: &Example) -> Result<(), Broken> {
    story.functions_start().await?;
    begin(story, example).await?;
    interruption(story).await?;
    end(story, example.id()).await?;
    let evidence = &mut story.scene.evidence;
    evidence.calls = list(story.access, "calls")?;
    evidence.events = list(story.access, "events")?;
    Ok(())
}

/// Two members start, their guests write, and images are made of one until the oldest makes room.
async fn begin(story: &mut Stage<'_, Group>, example: &Example) -> Result<(), Broken> {
    let Wanted { capacity, keep } = story.scene.evidence.wanted;
    story.configure("the group's item is judged", example.id(), example.item()).await?;
    story.until("both start from the operator's image", |seen| seen.look.all_run(capacity, 1)).await?;
    story.scene.writes = true;
    story
        .until("guests write; an image is made of one of them every ten minutes", |seen| {
            seen.told.created.len() > keep
        })
        .await?;
    story
        .until("the oldest makes room, with its snapshots", |seen| {
            let (backups, snapshots) = (seen.backups(), seen.backup_snapshots());
            let stands = |id: &String| backups.iter().any(|backup| backup.snapshots.contains(id));
            backups.len() == keep && !seen.told.removed.is_empty() && snapshots.iter().all(stands)
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
    let (before, capacity) = (seen.look.members(), story.scene.evidence.wanted.capacity);
    for instance in before.iter().flat_map(|member| &member.live) {
        let taken = json!({"instanceId": instance, "notice": true});
        story.access.control("POST", "interrupt", &taken)?;
    }
    story.scene.evidence.noticed = Some(story.access.now()?);
    story.scene.evidence.before = before;
    story
        .until("EC2 takes both back; they come up again from the newest backup", |seen| {
            seen.look.all_run(capacity, 2)
                && seen.look.members().iter().all(|member| seen.found.contains_key(&member.instance_id()))
        })
        .await?;
    let Some(seen) = &story.seen else { return Ok(()) };
    (story.scene.evidence.returned, story.scene.evidence.back) = (Some(seen.look.now), seen.look.members());
    Ok(())
}

/// The retention is shortened, the group is deleted, and its retention passes.
async fn end(story: &mut Stage<'_, Group>, id: &str) -> Result<(), Broken> {
    let statement = format!(
        "UPDATE \"{DEPLOYMENT}-config\" SET retention.\"after\"='{RETENTION_HOURS}h' WHERE id='{id}'"
    );
    story.access.statement(&statement).await?;
    story
        .until("its retention is set to an hour, in one line of PartiQL", |seen| seen.look.is_in_force())
        .await?;
    story.access.delete_config(id).await?;
    // Until the absence is confirmed the group goes on, and so does the rotation of its backups.
    story
        .until("the group is deleted: its members go, its backups stay for an hour", |seen| {
            seen.removed_at().is_some() && seen.left().instances.is_empty()
        })
        .await?;
    story.scene.evidence.deleted = story.seen.as_ref().and_then(Observed::removed_at);
    story
        .until("the hour passes; then every image and snapshot goes", |seen| {
            let is_over = seen.look.group.as_ref().is_none_or(|group| group.backups.is_none());
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

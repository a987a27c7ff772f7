//! The act about data volumes: a node keeps one that its launch template maps and one that is attached to it by hand;
//! it is interrupted, and comes back with both, under the same device names, and with every write.

mod proofs;

use std::path::Path;

use perennial_cloud::model::Settings;

use crate::access::Access;
use crate::examples::Example;
use crate::node::{self, ByHand, Story};
use crate::screen::Screen;
use crate::stage::{Broken, Told};

/// The launch template that the operator makes for it.
const TEMPLATE: &str = "database";
/// The device that the template maps.
const MAPPED: &str = "/dev/sdf";
/// The device of the volume that is attached by hand.
const BY_HAND: &str = "/dev/sdg";
/// Size of either volume, GiB.
const SIZE: &str = "20";

/// Its item, with snapshots so often that there are enough of them after three minutes.
///
/// # Errors
/// If the example is not what it was made for.
pub(crate) fn example(folder: &Path) -> Result<Example, String> {
    let example = Example::read(folder, "database")?;
    example.with("persist.root.snapshotEvery", "1m")?.with("persist.data.snapshotEvery", "1m")
}

/// Tells it all.
///
/// # Errors
/// When the cloud does not answer, the item is refused, or a stage does not come.
pub(crate) async fn tell(
    access: &Access,
    screen: &mut Screen,
    speed: f64,
    (mut example, latencies): (Example, &Settings),
) -> Result<Told, Broken> {
    access.create_template(TEMPLATE, MAPPED, SIZE).await?;
    example.fill(access, TEMPLATE);
    let mut story = node::story(access, screen, speed, example)?;
    let told = acts(&mut story).await;
    node::conclude(story, told, proofs::judge, (latencies, speed))
}

async fn acts(story: &mut Story<'_>) -> Result<(), Broken> {
    node::begin(story).await?;
    attach(story).await?;
    node::interruption(story).await
}

/// The operator makes a volume, attaches it, and does nothing more.
async fn attach(story: &mut Story<'_>) -> Result<(), Broken> {
    let instance = story.seen.as_ref().and_then(|seen| seen.record.as_ref()?.instance.clone());
    let Some(instance) = instance else { return Ok(()) };
    let volume = story.access.create_volume(&instance.zone, SIZE).await?;
    story.scene.evidence.by_hand.clone_from(&volume);
    story.scene.by_hand = Some(ByHand { volume: volume.clone(), device: BY_HAND });
    story
        .until("a volume is attached by hand; Perennial notices it, and keeps it from now on", |seen| {
            let known = seen.record.iter().flat_map(|record| &record.data);
            known.into_iter().any(|it| it.volume_id.as_str() == volume && !it.untagged)
        })
        .await
}

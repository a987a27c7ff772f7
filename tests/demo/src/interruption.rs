//! The first act: a node that keeps its root and its network interface is interrupted, and comes back.

use std::path::Path;

use perennial_cloud::model::Settings;

use crate::access::Access;
use crate::examples::Example;
use crate::node::{self, Story, proofs};
use crate::screen::Screen;
use crate::stage::{Broken, Told};

/// Its item, with snapshots so often that there are enough of them after three minutes.
///
/// # Errors
/// If the example is not what it was made for.
pub(crate) fn example(folder: &Path) -> Result<Example, String> {
    Example::read(folder, "single-box")?.with("persist.root.snapshotEvery", "1m")
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
    example.fill(access, &access.defaults().launch_template_name);
    let mut story = node::story(access, screen, speed, example)?;
    let told = acts(&mut story).await;
    node::conclude(story, told, proofs::judge, (latencies, speed))
}

async fn acts(story: &mut Story<'_>) -> Result<(), Broken> {
    node::begin(story).await?;
    node::interruption(story).await
}

//! The second act from beginning to end: a group of three with a pool of addresses and too few Elastic IP addresses is
//! made, written to, interrupted all at once, and comes back; then what it lacked is added, and its pool changes.
//!
//! Decides what the demonstration does and waits for. Touches the group only as an operator may: its config item,
//! Elastic IP addresses of the account, and the guests' own writes.

mod look;
mod proofs;
mod view;

use std::collections::BTreeSet;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use self::look::Ring;
use crate::access::{Access, Reply};
use crate::examples::Example;
use crate::members::Look;
use crate::screen::Screen;
use crate::stage::{Broken, Stage, Told};
use crate::summary;

/// An address that is added to the pool and taken out before its member ever runs.
const SPARE: &str = "10.0.2.40";
/// An address that is added to the pool and stays there.
const ADDED: &str = "10.0.2.22";
/// How long is looked on in the end whether anything else changes, in cloud time: more than one tick.
const QUIET: SignedDuration = SignedDuration::from_secs(65);

/// Its item, with snapshots more often, and yet so seldom that there are moments when none of three roots has a fresh one.
///
/// # Errors
/// If the example is not what it was made for.
pub(crate) fn example(folder: &Path) -> Result<Example, String> {
    Example::read(folder, "ring")?.with("persist.root.snapshotEvery", "2m")
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
    let mut story = Stage::new(access, screen, speed, Ring::new(example.id()))?;
    let told = acts(&mut story, example).await;
    story.finish();
    told?;
    let evidence = &story.scene.evidence;
    Ok(Told {
        proofs: proofs::judge(evidence),
        numbers: summary::away(evidence.noticed, evidence.returned),
        seconds: story.at,
    })
}

async fn acts(story: &mut Stage<'_, Ring>, example: Example) -> Result<(), Broken> {
    story.functions_start().await?;
    let mut wishes = Wishes::new(story.access, example).await?;
    begin(story, &wishes).await?;
    interruption(story).await?;
    heal(story, &mut wishes).await?;
    change_the_pool(story, &mut wishes).await?;
    let since = story.access.now()?;
    story
        .until("another minute: nothing else changes", |seen| seen.now.duration_since(since) > QUIET)
        .await?;
    let Some(seen) = &story.seen else { return Ok(()) };
    let evidence = &mut story.scene.evidence;
    (evidence.end, evidence.wanted, evidence.assigned) = (seen.members(), seen.wanted(), seen.assigned());
    evidence.notices = seen.shortages();
    evidence.live = seen.live();
    evidence.interfaces = seen.interfaces.iter().map(|it| it.network_interface_id.clone()).collect();
    Ok(())
}

/// Three members appear, one for each address; all run; the shortage is told; all are written to.
async fn begin(story: &mut Stage<'_, Ring>, wishes: &Wishes) -> Result<(), Broken> {
    edit(story, "the group's item is judged", wishes).await?;
    story
        .until("a member for each address appears; all start; one Elastic IP is lacking, and told", |seen| {
            let elastic_ips = seen.wanted().elastic_ips.len();
            all_run(seen, 1) && with_elastic_ip(seen) == elastic_ips && !seen.shortages().is_empty()
        })
        .await?;
    story.scene.writes = true;
    let since = story.access.now()?;
    story
        .until("guests write on each; periodic snapshots are taken", |seen| {
            seen.running().iter().all(|member| seen.has_recovery_point(member, since))
        })
        .await
}

/// EC2 takes all three back at once.
async fn interruption(story: &mut Stage<'_, Ring>) -> Result<(), Broken> {
    let Some(seen) = &story.seen else { return Ok(()) };
    let before = seen.members();
    let first: BTreeSet<String> = before.iter().flat_map(|member| member.live.clone()).collect();
    let evidence = &mut story.scene.evidence;
    evidence.wanted_before = seen.wanted();
    evidence.noticed = Some(interrupt(story.access, seen)?);
    evidence.before = before;
    story
        .until("EC2 gives all three two minutes' notice; the guests write on", |seen| {
            seen.resources.instances.iter().all(|i| !first.contains(&i.instance_id) || !i.is_live())
        })
        .await?;
    story.until("EC2 takes all three; they come back", |seen| all_run(seen, 2)).await?;
    let evidence = &mut story.scene.evidence;
    evidence.returned = story.seen.as_ref().map(|seen| seen.now);
    evidence.back = story.seen.as_ref().map(Look::members).unwrap_or_default();
    Ok(())
}

/// Takes all instances back, as EC2 does when it needs the capacity: their type has none left in their zones.
fn interrupt(access: &Access, seen: &Look) -> Reply<Timestamp> {
    let instances: Vec<_> = seen.nodes.values().flatten().filter_map(|node| node.instance.as_ref()).collect();
    for instance in &instances {
        let taken = json!({"instanceType": instance.instance_type, "zone": instance.zone, "market": "spot",
                           "available": 0});
        access.control("POST", "capacity", &taken)?;
    }
    for instance in &instances {
        access.control("POST", "interrupt", &json!({"instanceId": instance.id.as_str(), "notice": true}))?;
    }
    access.now()
}

/// What the group lacks is allocated and added to its pool.
async fn heal(story: &mut Stage<'_, Ring>, wishes: &mut Wishes) -> Result<(), Broken> {
    wishes.elastic_ips.push(story.access.allocate_address().await?.allocation_id);
    edit(story, "one more Elastic IP is allocated and added to the pool", wishes).await?;
    story
        .until("the member that has none gets it", |seen| {
            with_elastic_ip(seen) == seen.wanted().capacity && seen.shortages().is_empty()
        })
        .await
}

/// An address is added and taken out again before its member runs, one is taken out whose member has run, and one
/// is added that stays.
async fn change_the_pool(story: &mut Stage<'_, Ring>, wishes: &mut Wishes) -> Result<(), Broken> {
    wishes.pool.push(SPARE.to_owned());
    edit(story, &format!("{SPARE} is added to the pool"), wishes).await?;
    story.until("a paused member reserves it", |seen| is_reserved(seen, SPARE)).await?;
    // The last address of the example, before the spare one.
    let leaves = wishes.pool.iter().rev().nth(1).cloned().unwrap_or_default();
    wishes.pool.retain(|address| *address != SPARE && *address != leaves);
    wishes.pool.push(ADDED.to_owned());
    let stage =
        format!("{leaves}, in use, and {SPARE}, never used, are taken out of the pool; {ADDED} is added");
    edit(story, &stage, wishes).await?;
    story
        .until("the new address gets its member; the member that never ran goes", |seen| {
            is_reserved(seen, ADDED) && seen.interfaces_with(SPARE).is_empty()
        })
        .await
}

/// The group's item is written anew, and accepted.
async fn edit(story: &mut Stage<'_, Ring>, stage: &str, wishes: &Wishes) -> Result<(), Broken> {
    let example = wishes.example();
    story.configure(stage, example.id(), example.item()).await
}

/// As many members as the group is to keep run, each on its first, or on a later, instance.
fn all_run(seen: &Look, cycle: u32) -> bool {
    seen.all_run(seen.wanted().capacity, cycle)
}

fn with_elastic_ip(seen: &Look) -> usize {
    seen.running().iter().filter(|member| !member.elastic_ips.is_empty()).count()
}

/// A paused member has an interface with this address.
fn is_reserved(seen: &Look, address: &str) -> bool {
    seen.members().iter().any(|member| member.is_paused() && member.address() == address)
}

/// What the operator wants of the group.
struct Wishes {
    example: Example,
    pool: Vec<String>,
    elastic_ips: Vec<String>,
}

impl Wishes {
    /// What is wanted at first: the example, with an Elastic IP address allocated for each placeholder but one.
    async fn new(access: &Access, example: Example) -> Reply<Wishes> {
        let mut elastic_ips = Vec::new();
        for _ in example.placeholders("eipalloc").iter().skip(1) {
            elastic_ips.push(access.allocate_address().await?.allocation_id);
        }
        let pool = texts(&example.plain()["persist"]["network"]["privateIpPool"]);
        Ok(Wishes { example, pool, elastic_ips })
    }

    /// The item of the group.
    fn example(&self) -> Example {
        let mut example = self.example.clone();
        example.set_list("persist.network.privateIpPool", &self.pool);
        example.set_list("persist.network.elasticIpPool", &self.elastic_ips);
        example
    }
}

/// The texts of a list.
fn texts(list: &Value) -> Vec<String> {
    let all = list.as_array().into_iter().flatten();
    all.filter_map(Value::as_str).map(str::to_owned).collect()
}

//! Which instance a backup is taken of: the latest launched running member that is well.
//!
//! What runs an image of a former line is never taken: the operator has moved on from it.

use std::collections::BTreeMap;

use crate::config::DesiredState;
use crate::ids::{ImageId, NodeName};
use crate::observation::{InstanceFacts, InstanceState};
use crate::phase::Phase;
use crate::record::{Instance, Record};

use super::plan::Seen;
use super::{Backups, Source};

/// A member that runs.
struct Candidate<'a> {
    node: &'a NodeName,
    instance: &'a Instance,
}

/// The latest launched member that a backup can be taken of, with its instance as EC2 shows it.
///
/// # Errors
/// Why there is none, as half a sentence with its remedy.
pub(super) fn choose<'s>(backups: &Backups, seen: &Seen<'s>) -> Result<(Source, &'s InstanceFacts), String> {
    let Some(members) = seen.members else { return Err("the members were not read".to_owned()) };
    let running = candidates(members, seen);
    if running.is_empty() {
        return Err("no member runs that is under no notice; the next one in time is used".to_owned());
    }
    let n = running.len();
    let mut of_line: Vec<_> = running.into_iter().filter(|it| is_of_line(backups, it.instance)).collect();
    if of_line.is_empty() {
        let base = backups
            .base
            .as_ref()
            .map_or_else(|| "the launch template's image".to_owned(), ImageId::to_string);
        return Err(format!(
            "none of {n} running member(s) runs {base} or a backup of it. Raise recycle, and all will, without what is on \
             them now; to keep that, name the image they run in launch.image, with imageBackup off for a moment"
        ));
    }
    of_line.sort_by(|a, b| (b.instance.launched_at, b.node).cmp(&(a.instance.launched_at, a.node)));
    let well = of_line.iter().find_map(|it| {
        let facts = seen.instances.get(&it.instance.id)?;
        seen.passed.contains(&facts.id).then_some((it, facts))
    });
    match well {
        Some((it, facts)) => Ok((Source { node: it.node.clone(), instance: it.instance.id.clone() }, facts)),
        None => Err(format!("none of {n} running member(s) has passed both status checks")),
    }
}

/// Members that run, as their records and EC2 say, and are meant to go on running.
fn candidates<'a>(members: &'a BTreeMap<NodeName, Record>, seen: &Seen<'_>) -> Vec<Candidate<'a>> {
    let is_well = |record: &Record| {
        record.phase == Phase::Running
            && record.goal == DesiredState::Running
            && record.notice.is_none()
            && !record.is_unwanted()
            && !record.config().suspend
    };
    let runs = |instance: &Instance| {
        seen.instances.get(&instance.id).is_some_and(|facts| facts.state == InstanceState::Running)
    };
    let well = members.iter().filter(|(_, record)| is_well(record));
    let known =
        well.filter_map(|(node, record)| Some(Candidate { node, instance: record.instance.as_ref()? }));
    known.filter(|it| !it.instance.terminating && runs(it.instance)).collect()
}

/// Whether an instance runs the line's first image or a backup that descends from it.
fn is_of_line(backups: &Backups, instance: &Instance) -> bool {
    let image = &instance.image_id;
    let is_known = backups.list.iter().any(|it| it.image == *image && it.line == backups.line);
    let is_base = match &backups.base {
        Some(base) => base == image,
        // Which image is the launch template's nobody knows here: in a later line, what ran before it may descend from
        // a backup that has long been removed.
        None => backups.line == 1 || instance.launched_at.is_some_and(|at| at >= backups.line_since),
    };
    !backups.former.contains(image) && (is_base || is_known || backups.kin.contains(image))
}

//! What the third act claims in the end, each claim judged from what was read and not from what was intended.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::RETENTION_HOURS;
use super::look::Backup;
use crate::access::Contents;
use crate::members::Member;
use crate::proof::{Proof, listed, told_of_each};
use crate::render::{clock, grouped};
use crate::summary;

/// What was on an instance's disk at a moment: no less, and no more than at the reading before and what was written
/// since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) at: Timestamp,
    pub(super) writes: u64,
}

/// How an instance began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Start {
    /// What it was launched from.
    pub(super) image: String,
    pub(super) root: String,
    /// The newest backup that was available at the look before it appeared.
    pub(super) newest: Option<Backup>,
    /// What was on its root before its guest wrote.
    pub(super) found: Option<Contents>,
}

/// What EC2 shows of the deployment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Left {
    /// Those that live.
    pub(super) instances: Vec<String>,
    pub(super) images: Vec<String>,
    pub(super) snapshots: Vec<String>,
    pub(super) volumes: Vec<String>,
}

impl Left {
    pub(super) fn is_nothing(&self) -> bool {
        *self == Left::default()
    }
}

/// What the item asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) capacity: usize,
    /// Backups to keep.
    pub(super) keep: usize,
}

/// Everything that was read, for the proofs to judge.
#[derive(Clone, Debug, Default)]
pub(super) struct Evidence {
    pub(super) wanted: Wanted,
    /// The members before the interruption.
    pub(super) before: Vec<Member>,
    /// When both ran again.
    pub(super) back: Vec<Member>,
    /// Each instance that ever lived.
    pub(super) starts: BTreeMap<String, Start>,
    /// What was on each instance's disk, from look to look.
    pub(super) readings: BTreeMap<String, Vec<Reading>>,
    /// Every backup that was ever seen available.
    pub(super) backups: BTreeMap<String, Backup>,
    /// Backups that had been made before the interruption.
    pub(super) made: Vec<String>,
    /// Those of them that had been removed.
    pub(super) gone: Vec<String>,
    /// Those that EC2 showed then.
    pub(super) kept: Vec<Backup>,
    /// And snapshots of backups.
    pub(super) kept_snapshots: Vec<String>,
    /// How often was looked.
    pub(super) looks: u64,
    /// Members that were ever seen with two live instances.
    pub(super) crowds: Vec<String>,
    /// When EC2 gave notice.
    pub(super) noticed: Option<Timestamp>,
    /// When both ran again.
    pub(super) returned: Option<Timestamp>,
    /// Since when the group counted as deleted.
    pub(super) deleted: Option<Timestamp>,
    /// What was left in the end.
    pub(super) left: Option<Left>,
    /// Every AWS call.
    pub(super) calls: Vec<Value>,
    /// Everything that was published.
    pub(super) events: Vec<Value>,
}

impl Evidence {
    /// Those that ran before the interruption, each with what it was then and when both were back.
    fn survivors(&self) -> Vec<[Member; 2]> {
        let back = |name: &str| self.back.iter().find(|it| it.name == name).cloned().unwrap_or_default();
        let ran = self.before.iter().filter(|member| member.runs());
        ran.map(|it| [it.clone(), back(&it.name)]).collect()
    }

    /// The start of a member's instance, and the backup that it was launched from.
    fn start(&self, member: &Member) -> Option<(&Start, &Backup)> {
        let start = self.starts.get(&member.instance_id())?;
        Some((start, self.backups.get(&start.image)?))
    }

    /// How many writes were on an instance's disk at a moment that is known to the second: at least and at most.
    fn writes_at(&self, instance: &str, at: Timestamp) -> Option<(u64, u64)> {
        let readings = self.readings.get(instance)?;
        let least = readings.iter().rev().find(|it| it.at <= at)?;
        let most = readings.iter().find(|it| it.at.duration_since(at) >= SignedDuration::from_secs(1))?;
        Some((least.writes, most.writes))
    }

    /// Calls of functions that EC2 carried out.
    fn calls_of(&self, operation: &str) -> Vec<&Value> {
        let carried_out = |it: &&Value| !it["function"].is_null() && it["status"] == 200;
        self.calls.iter().filter(carried_out).filter(|it| it["operation"] == operation).collect()
    }

    /// What was told of a backup, if it was.
    fn told_of(&self, image: &str, word: &str) -> Option<&Value> {
        let is_of = |it: &&Value| it["detailType"] == word && it["detail"]["imageId"] == image;
        self.events.iter().find(is_of).map(|it| &it["detail"])
    }
}

/// Judges everything.
pub(super) fn judge(e: &Evidence) -> Vec<Proof> {
    vec![
        at_once(e),
        from_newest(e),
        with_data(e),
        one_instance(e),
        untouched(e),
        rotation(e),
        told(e),
        retention(e),
        nothing_left(e),
    ]
}

/// Measurements, a line each.
pub(super) fn numbers(e: &Evidence) -> Vec<String> {
    summary::away(e.noticed, e.returned)
}

/// A claim on each member that was interrupted: something must be said of each.
fn each(e: &Evidence, claim: &'static str, judge: impl Fn(&[Member; 2]) -> (bool, String)) -> Proof {
    let (holds, values): (Vec<bool>, Vec<String>) = e.survivors().iter().map(judge).unzip();
    let holds = !holds.is_empty() && holds.len() == e.wanted.capacity && holds.into_iter().all(|it| it);
    Proof { holds, claim, values: told_of_each(&values) }
}

fn at_once(e: &Evidence) -> Proof {
    each(e, "both interrupted, both on new instances", |[before, back]| {
        let (old, new) = (before.instance_id(), back.instance_id());
        let holds = !old.is_empty() && !new.is_empty() && old != new && back.cycle > before.cycle;
        (holds, format!("{} {new} after {old}", before.name))
    })
}

fn from_newest(e: &Evidence) -> Proof {
    each(e, "each from the newest backup", |[member, back]| {
        let Some((start, backup)) = e.start(back) else {
            return (false, format!("{} from {}, no backup", member.name, back.image));
        };
        let newest = start.newest.as_ref();
        // One that became available between the look and the launch is newer still.
        let holds = newest.is_some_and(|newest| newest.taken.is_some() && backup.taken >= newest.taken);
        let of = newest.map_or("none", |newest| newest.image.as_str());
        (holds, format!("{} from {}, the newest was {of}", member.name, backup.image))
    })
}

fn with_data(e: &Evidence) -> Proof {
    each(e, "with all that was written before it was taken", |[member, back]| {
        let read = || {
            let (start, backup) = e.start(back)?;
            let found = start.found.as_ref()?;
            let (least, most) = e.writes_at(&backup.source, backup.taken?)?;
            let descends = found.lineage.contains(&e.starts.get(&backup.source)?.root);
            Some((found.writes, least, most, descends))
        };
        let Some((found, least, most, descends)) = read() else {
            return (false, format!("{}: what it found was not read", member.name));
        };
        let holds = descends && least > 0 && (least..=most).contains(&found);
        let (found, least, most) = (grouped(found), grouped(least), grouped(most));
        (holds, format!("{} found {found}, the source had {least} to {most}", member.name))
    })
}

fn one_instance(e: &Evidence) -> Proof {
    let mut proof = each(e, "exactly one live instance each", |[_, back]| {
        (back.live.len() == 1, format!("{} {}", back.name, listed(&back.live)))
    });
    proof.holds &= e.looks > 0 && e.crowds.is_empty();
    proof.values.push_str(&match e.crowds.is_empty() {
        true => format!("; never two in {} looks", grouped(e.looks)),
        false => format!("; but {}", e.crowds.join(", ")),
    });
    proof
}

fn untouched(e: &Evidence) -> Proof {
    let made = e.calls_of("CreateImage");
    let without = made.iter().filter(|it| it["parameters"]["NoReboot"] == "true").count();
    let stops = e.calls_of("StopInstances").len() + e.calls_of("RebootInstances").len();
    Proof {
        holds: made.len() > e.wanted.keep && without == made.len() && stops == 0,
        claim: "no member was stopped or rebooted for it",
        values: format!("{without} of {} images with NoReboot, {stops} stops or reboots", made.len()),
    }
}

fn rotation(e: &Evidence) -> Proof {
    let stands: BTreeSet<&String> = e.kept.iter().flat_map(|backup| &backup.snapshots).collect();
    let stray = e.kept_snapshots.iter().filter(|id| !stands.contains(id)).count();
    let is_kept = |image: &String| e.kept.iter().any(|backup| backup.image == *image);
    let kept: Vec<String> = e.kept.iter().map(|backup| backup.image.clone()).collect();
    Proof {
        holds: e.made.len() > e.wanted.keep
            && kept.len() == e.wanted.keep
            && !e.gone.is_empty()
            && !e.gone.iter().any(is_kept)
            && !stands.is_empty()
            && stray == 0,
        claim: "the newest are kept, older ones gone with their snapshots",
        values: format!(
            "{} made, {} kept; {} gone, {stray} stray snapshots",
            e.made.len(),
            listed(&kept),
            listed(&e.gone)
        ),
    }
}

fn told(e: &Evidence) -> Proof {
    let is_told = |backup: &&Backup| {
        let created = e.told_of(&backup.image, "Backup Created");
        let took = created.and_then(|it| it["durationSeconds"].as_i64());
        created.is_some_and(|it| !backup.source.is_empty() && it["instanceId"] == backup.source.as_str())
            && took.is_some_and(|took| took > 0)
    };
    let created = e.backups.values().filter(is_told).count();
    let removed = e.backups.keys().filter(|image| e.told_of(image, "Backup Removed").is_some()).count();
    let all = e.backups.len();
    Proof {
        holds: all > e.wanted.keep && created == all && removed == all,
        claim: "each backup was told of, and its removal",
        values: format!("of {all} backups {created} with their source, and {removed} removals"),
    }
}

fn retention(e: &Evidence) -> Proof {
    let claim = "the deleted group's backups stayed for its retention";
    let time = |it: &&Value| it["time"].as_str().and_then(|time| time.parse::<Timestamp>().ok());
    let ended: Vec<Timestamp> = e.calls_of("DeregisterImage").iter().filter_map(time).collect();
    let first = |deleted: Timestamp| ended.iter().filter(|at| **at >= deleted).min().copied();
    let Some((deleted, first)) = e.deleted.and_then(|deleted| Some((deleted, first(deleted)?))) else {
        return Proof { holds: false, claim, values: "none was removed after it".to_owned() };
    };
    let after = first.duration_since(deleted);
    Proof {
        holds: after >= SignedDuration::from_hours(RETENTION_HOURS),
        claim,
        values: format!("{RETENTION_HOURS} h; the first was removed {} after", clock(after.as_secs())),
    }
}

fn nothing_left(e: &Evidence) -> Proof {
    let claim = "then nothing is left";
    let Some(left) = &e.left else { return Proof { holds: false, claim, values: "not read".to_owned() } };
    let Left { instances, images, snapshots, volumes } = left;
    let counts =
        [("images", images), ("snapshots", snapshots), ("volumes", volumes), ("instances", instances)];
    let values: Vec<String> = counts.iter().map(|(what, ids)| format!("{} {what}", ids.len())).collect();
    Proof { holds: left.is_nothing(), claim, values: values.join(", ") }
}

#[cfg(test)]
mod tests;

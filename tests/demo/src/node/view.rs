//! What a person is shown at one moment, as plain values.
//!
//! Built from what was observed; knows nothing of terminals, and is all that `render` knows. Times are whole cloud
//! seconds since the start of the demonstration.

use jiff::Timestamp;
use perennial_core::journal::Entry;
use perennial_core::launch::Market;
use perennial_core::limits;
use perennial_core::names::{TAG_KEY, TAG_PARTS, TAG_PURPOSE};
use perennial_core::phase::Phase;
use perennial_core::record::Record;

use crate::access::Resources;
use crate::guest::Guest;
use crate::render::seconds;
use crate::stage::Moment;

/// How long EC2 waits after a notice (EC2 User Guide, *Spot Instance interruption notices*), seconds.
const NOTICE_SECONDS: i64 = 120;

/// One moment of the story.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct View {
    /// Cloud seconds since the start.
    pub(crate) at: i64,
    /// What the demonstration does or awaits.
    pub(crate) stage: String,
    /// What the node itself waits for.
    pub(crate) waiting: String,
    /// The node, such as `running, cycle 1`.
    pub(crate) node: String,
    /// Address and interface.
    pub(crate) network: String,
    /// The instance of the record: id, type and market.
    pub(crate) instance: String,
    /// The instances of the node: id and state.
    pub(crate) instances: Vec<Thing>,
    /// The guest's writes that were acknowledged.
    pub(crate) writes: u64,
    /// Of them, those to each data volume, by device name.
    pub(crate) data: Vec<(String, u64)>,
    /// Whether the guest can write.
    pub(crate) writing: bool,
    /// The phases so far.
    pub(crate) steps: Vec<Step>,
    /// Snapshots, oldest first.
    pub(crate) snapshots: Vec<Snapshot>,
    /// Volumes.
    pub(crate) volumes: Vec<Thing>,
    /// Node images.
    pub(crate) images: Vec<Thing>,
    /// What keeps the node from going on, if anything does.
    pub(crate) blocked: Option<String>,
}

/// An id and the state it is in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Thing {
    pub(crate) id: String,
    pub(crate) state: String,
}

/// One stay in one phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) cycle: u32,
    pub(crate) phase: &'static str,
    /// When it began.
    pub(crate) at: i64,
    /// How long it lasted, or has lasted.
    pub(crate) seconds: i64,
    /// Why it began.
    pub(crate) why: String,
}

/// One snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) id: String,
    /// `periodic`, `warning` or `final`.
    pub(crate) purpose: String,
    pub(crate) volume: String,
    /// `pending`, `completed` or `error`.
    pub(crate) state: String,
    /// Percent copied.
    pub(crate) progress: u8,
}

/// What was read of the cloud at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    pub(crate) now: Timestamp,
    pub(crate) record: Option<Record>,
    pub(crate) journal: Vec<Entry>,
    pub(crate) resources: Resources,
}

impl Observed {
    /// The phase of the node, if it has a record.
    pub(crate) fn phase(&self) -> Option<Phase> {
        self.record.as_ref().map(|record| record.phase)
    }

    /// Snapshots that rotation counts: all but final ones.
    pub(crate) fn recovery_snapshots(&self) -> impl Iterator<Item = &crate::ec2::Snapshot> {
        self.resources.snapshots.iter().filter(|snapshot| snapshot.tag(TAG_PURPOSE) != "final")
    }

    /// The recovery points that they make, oldest first: those of several volumes share a key, and say how many they
    /// are.
    pub(crate) fn points(&self) -> Vec<Point> {
        let mut points: Vec<(&str, Point)> = Vec::new();
        for snapshot in self.recovery_snapshots() {
            let (key, id) = (snapshot.tag(TAG_KEY), snapshot.snapshot_id.clone());
            let parts: usize = snapshot.tag(TAG_PARTS).parse().unwrap_or(1);
            let completed = usize::from(snapshot.status == "completed");
            match points.iter_mut().find(|(known, _)| *known == key) {
                Some((_, point)) => {
                    point.snapshots.push(id);
                    point.missing = point.missing.saturating_sub(completed);
                }
                None => {
                    let missing = parts.saturating_sub(completed);
                    points.push((key, Point { snapshots: vec![id], missing }));
                }
            }
        }
        points.into_iter().map(|(_, point)| point).collect()
    }
}

/// Snapshots of one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Point {
    pub(crate) snapshots: Vec<String>,
    /// How many of its parts have not completed.
    pub(crate) missing: usize,
}

impl Point {
    pub(crate) fn is_complete(&self) -> bool {
        self.missing == 0
    }
}

/// Puts a view together.
pub(crate) fn view(seen: &Observed, Moment { start, stage }: Moment<'_>, guest: &Guest) -> View {
    let record = seen.record.as_ref();
    let thing = |id: &str, state: &str| Thing { id: id.to_owned(), state: state.to_owned() };
    View {
        at: seconds(start, seen.now),
        stage: stage.to_owned(),
        waiting: waiting(seen),
        node: record.map(|r| format!("{}, cycle {}", r.phase.as_str(), r.cycle)).unwrap_or_default(),
        network: record
            .and_then(|r| r.network.as_ref())
            .map(|network| format!("{} on {}", network.private_ip, network.eni_id))
            .unwrap_or_default(),
        instance: record
            .and_then(|r| r.instance.as_ref())
            .map(|i| format!("{} {} {}", i.id, i.instance_type, market(i.market)))
            .unwrap_or_default(),
        instances: (seen.resources.instances.iter())
            .map(|i| thing(&i.instance_id, &i.instance_state.name))
            .collect(),
        writes: guest.acknowledged,
        data: record.map(|record| data(record, guest)).unwrap_or_default(),
        writing: guest.writing,
        steps: steps(&seen.journal, record, start, seen.now),
        snapshots: (seen.resources.snapshots.iter())
            .map(|s| Snapshot {
                id: s.snapshot_id.clone(),
                purpose: s.tag(TAG_PURPOSE).to_owned(),
                volume: s.volume_id.clone(),
                state: s.status.clone(),
                progress: s.progress.trim_end_matches('%').parse().unwrap_or_default(),
            })
            .collect(),
        volumes: seen.resources.volumes.iter().map(|v| thing(&v.volume_id, &v.described())).collect(),
        images: seen.resources.images.iter().map(|i| thing(&i.image_id, &i.image_state)).collect(),
        blocked: record
            .and_then(|r| r.blocked.as_ref())
            .map(|b| format!("{}: {} ({})", b.code, b.message, b.remedy)),
    }
}

/// The guest's writes to each data volume, by device name.
fn data(record: &Record, guest: &Guest) -> Vec<(String, u64)> {
    let writes = |id: &str| guest.on_volumes.get(id).copied().unwrap_or_default();
    record.data.iter().map(|it| (it.device_name.clone(), writes(it.volume_id.as_str()))).collect()
}

fn market(market: Market) -> &'static str {
    match market {
        Market::Spot => "spot",
        Market::OnDemand => "on-demand",
    }
}

/// The stays in phases that a journal tells of; the record knows the cycle of the present one.
fn steps(journal: &[Entry], record: Option<&Record>, start: Timestamp, now: Timestamp) -> Vec<Step> {
    let mut stays: Vec<(&Entry, u32)> = Vec::new();
    for entry in journal {
        match stays.last_mut().filter(|(first, _)| first.phase == entry.phase) {
            // The entry that tells of the change to launching is still one of the cycle before.
            Some((_, cycle)) => *cycle = entry.cycle.max(*cycle),
            None => stays.push((entry, entry.cycle)),
        }
    }
    if let (Some((entry, cycle)), Some(record)) = (stays.last_mut(), record)
        && entry.phase == record.phase
    {
        *cycle = record.cycle;
    }
    let ends = stays.iter().skip(1).map(|(next, _)| next.time).chain([now]);
    stays
        .iter()
        .zip(ends)
        .map(|((entry, cycle), end)| Step {
            // Before its first cycle a node is only accepted, which belongs to the first.
            cycle: (*cycle).max(1),
            phase: entry.phase.as_str(),
            at: seconds(start, entry.time).max(0),
            seconds: seconds(entry.time, end).max(0),
            // "running → interrupting after 201 s: why" - the phases are shown anyway.
            why: entry.what.split_once(" s: ").map_or(entry.what.as_str(), |(_, why)| why).to_owned(),
        })
        .collect()
}

/// What the node waits for, in words.
pub(crate) fn waiting(seen: &Observed) -> String {
    let Some(record) = &seen.record else { return "config-change to read the new item".to_owned() };
    if let Some(blocked) = &record.blocked {
        return format!("blocked: {} ({})", blocked.message, blocked.remedy);
    }
    let state = |id: &str| {
        let instance = seen.resources.instances.iter().find(|i| i.instance_id == id);
        instance.map_or("not yet seen".to_owned(), |i| i.instance_state.name.clone())
    };
    let instance = record.instance.as_ref().map(|i| i.id.to_string());
    match record.phase {
        Phase::New => "the first look at the node".to_owned(),
        Phase::Launching => match instance {
            Some(id) => format!("{id} to run ({})", state(&id)),
            None => "EC2 to take the launch request".to_owned(),
        },
        Phase::Attaching => attaching(record),
        Phase::Running => match record.needless().len() {
            0 => String::new(),
            n => format!("status checks and a snapshot of the new root, before {n} older resources go"),
        },
        Phase::Interrupting => interrupting(record, seen.now, instance.as_deref().map(state)),
        Phase::Releasing => releasing(record, seen),
        Phase::Capturing => capturing(record, seen),
        Phase::Imaging => "the node image to become available".to_owned(),
        Phase::Stopping => "the instance to end".to_owned(),
        Phase::Paused => "the operator, who paused the node".to_owned(),
        Phase::Deallocated => "the end of its retention".to_owned(),
        Phase::Purging => "everything kept to be gone".to_owned(),
        Phase::Gone => String::new(),
    }
}

fn attaching(record: &Record) -> String {
    let lacking: Vec<&str> =
        record.data.iter().filter(|it| !it.attached).map(|it| it.device_name.as_str()).collect();
    if lacking.is_empty() {
        "proof that what is kept outlives the instance".to_owned()
    } else {
        format!("EC2 to attach {}", lacking.join(" and "))
    }
}

fn interrupting(record: &Record, now: Timestamp, state: Option<String>) -> String {
    let left = record.notice.as_ref().map(|notice| NOTICE_SECONDS - seconds(notice.at, now));
    match left {
        Some(left) if left > 0 && left < limits::NOTICE_FRESH.as_secs() => {
            format!("EC2 to take the instance back (notice, {left} s left)")
        }
        Some(_) | None => format!("the instance to end ({})", state.unwrap_or_default()),
    }
}

fn releasing(record: &Record, seen: &Observed) -> String {
    let kept: Vec<&str> = (record.root.iter().map(|root| root.volume_id.as_str()))
        .chain(record.data.iter().map(|it| it.volume_id.as_str()))
        .collect();
    let held_volume = (seen.resources.volumes.iter())
        .filter(|v| kept.contains(&v.volume_id.as_str()) && v.status != "available")
        .map(|v| v.volume_id.as_str());
    let interface = record.network.as_ref().map(|network| network.eni_id.to_string());
    let held_interface = (seen.resources.interfaces.iter())
        .filter(|i| Some(&i.network_interface_id) == interface.as_ref() && i.status != "available")
        .map(|i| i.network_interface_id.as_str());
    let held: Vec<&str> = held_volume.chain(held_interface).collect();
    if held.is_empty() {
        "the next look: volumes and interface are free".to_owned()
    } else {
        format!("EC2 to let go of {}", held.join(" and "))
    }
}

fn capturing(record: &Record, seen: &Observed) -> String {
    let ids: Vec<String> =
        record.finals.iter().filter_map(|f| f.snapshot_id.as_ref()).map(ToString::to_string).collect();
    match seen.resources.snapshots.iter().find(|s| ids.contains(&s.snapshot_id)) {
        Some(snapshot) => format!("the final snapshot {} ({})", snapshot.snapshot_id, snapshot.progress),
        None => "the final snapshot to begin".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recovery_point_is_complete_when_all_its_parts_are() {
        let snapshot = |id: &str, key: &str, parts: &str, status: &str| {
            let tags = [(TAG_KEY, key), (TAG_PARTS, parts), (TAG_PURPOSE, "periodic")]
                .map(|(key, value)| format!("<item><key>{key}</key><value>{value}</value></item>"));
            let xml = format!(
                "<item><snapshotId>{id}</snapshotId><status>{status}</status><tagSet>{}</tagSet></item>",
                tags.concat()
            );
            quick_xml::de::from_str(&xml).unwrap()
        };
        let snapshots = vec![
            snapshot("snap-1", "a", "2", "completed"),
            snapshot("snap-2", "b", "2", "completed"),
            snapshot("snap-3", "a", "2", "completed"),
            snapshot("snap-4", "c", "", "completed"),
            snapshot("snap-5", "d", "2", "completed"),
            snapshot("snap-6", "d", "2", "pending"),
        ];
        let seen = Observed {
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            record: None,
            journal: Vec::new(),
            resources: Resources { snapshots, ..Resources::default() },
        };
        let told: Vec<_> =
            seen.points().iter().map(|it| (it.snapshots.join("+"), it.is_complete())).collect();
        let wanted = [("snap-1+snap-3", true), ("snap-2", false), ("snap-4", true), ("snap-5+snap-6", false)];
        assert_eq!(told, wanted.map(|(ids, complete)| (ids.to_owned(), complete)));
    }

    #[test]
    fn entries_of_one_phase_are_one_stay_and_the_last_goes_on() {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let entry = |second: i64, what: &str, phase, cycle| Entry {
            time: start + jiff::SignedDuration::from_secs(second),
            what: what.to_owned(),
            phase,
            cycle,
        };
        let journal = [
            entry(1, "config accepted", Phase::New, 0),
            entry(2, "new → launching after 1 s: the first launch", Phase::Launching, 0),
            entry(3, "launched i-1", Phase::Launching, 1),
            entry(15, "launching → attaching after 13 s: i-1 runs", Phase::Attaching, 1),
        ];
        let steps = steps(&journal, None, start, start + jiff::SignedDuration::from_secs(20));
        let told: Vec<_> =
            steps.iter().map(|s| (s.cycle, s.phase, s.at, s.seconds, s.why.as_str())).collect();
        assert_eq!(
            told,
            [
                (1, "new", 1, 1, "config accepted"),
                (1, "launching", 2, 13, "the first launch"),
                (1, "attaching", 15, 5, "i-1 runs"),
            ]
        );
    }
}

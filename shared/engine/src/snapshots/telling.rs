//! What a snapshot pass tells: the nodes with the oldest recovery points, and who lags and why.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use perennial_core::failure::{Class, Failure};
use perennial_core::ids::NodeName;
use perennial_core::journal::{Detail, Kind, OwnEvent};
use perennial_core::limits;
use perennial_core::phase::Phase;
use perennial_core::snapshots::{Point, Round, Standing};

use super::{Ended, Played, SnapshotTick};

/// One line a tick: the nodes with the oldest recovery points.
pub(super) fn worst(points: &[Point], put_off: &BTreeSet<NodeName>, nodes: usize) {
    let worst: Vec<String> = points.iter().take(limits::WORST_TOLD).map(words).collect();
    let count = |is: fn(&Standing) -> bool| points.iter().filter(|point| is(&point.standing)).count();
    let idle = count(|standing| matches!(standing, Standing::Idle(_)));
    let unserved = count(|standing| matches!(standing, Standing::Unserved(_)));
    let put_off = put_off.len();
    tracing::info!(nodes, idle, unserved, put_off, "oldest recovery points: {}", worst.join(", "));
}

/// Whether the nodes need more than the pace allows. A second of each minute is left out of it.
fn is_outgrown(round: &Round, pace: u32) -> bool {
    round.needed > f64::from(pace) * 59.0 / 60.0
}

/// A line a tick while the pace does not suffice. It may still do so to take all: of a set that is one call, and
/// only its deletions, of which nobody else hears, fall behind.
pub(super) fn outgrown(round: &Round, pace: u32) {
    if is_outgrown(round, pace) {
        let needed = round.needed;
        tracing::warn!(
            pace,
            "the nodes need {needed:.1} snapshots a second: older ones pile up, or newer ones lag"
        );
    }
}

fn words(point: &Point) -> String {
    let mut about = match (&point.snapshot, point.bytes) {
        (Some(snapshot), Some(bytes)) => format!("{snapshot}, {} MiB", bytes.div_ceil(1 << 20)),
        (Some(snapshot), None) => snapshot.to_string(),
        (None, _) => "none yet".to_owned(),
    };
    if let Some(pending) = point.pending {
        about += &format!(", the next pending for {} s", pending.as_secs());
    }
    match &point.standing {
        Standing::Served => {}
        Standing::Idle(why) => about += &format!(", {why}"),
        Standing::Unserved(why) => about += &format!(", {why}"),
    }
    format!("{} {} s ({about})", point.node, point.age.as_secs())
}

/// Why a node is behind its interval.
enum Cause<'a> {
    /// Not all could be taken.
    Left,
    /// EC2 refused its snapshot in this pass.
    Refused(&'a Failure),
    /// EC2 refused it in earlier ones, as it seems.
    PutOff,
    /// None can be taken.
    Unserved(&'a str),
    /// The last one takes long to complete.
    Pending(SignedDuration),
}

impl Cause<'_> {
    /// How far behind a node is that is told of.
    fn told_from(&self) -> SignedDuration {
        match self {
            Self::Left => limits::LAGGING,
            Self::Refused(_) | Self::PutOff | Self::Unserved(_) => limits::STUCK,
            Self::Pending(_) => limits::PENDING_LONG,
        }
    }
}

/// The event that tells who is behind and why, at the first pass of every ten minutes and at the one that
/// finds it first: its id is the same whoever sends it in them.
pub(super) fn lagging(
    round: &Round,
    due: &BTreeSet<NodeName>,
    played: &Played,
    tick: &SnapshotTick,
    pace: u32,
    now: Timestamp,
) -> Option<OwnEvent> {
    let behind = round.points.iter().filter_map(|point| {
        let cause = cause(point, round, due, played, tick)?;
        (point.lag >= cause.told_from()).then_some((point, cause))
    });
    let behind: Vec<_> = behind.collect();
    let (worst, cause) = behind.iter().max_by_key(|(point, _)| point.lag)?;
    let window = |at: i64| at.div_euclid(limits::LAGGING_TOLD.as_secs());
    // A schedule is not to the second: rather told twice, under one id, than not at all.
    let shortly = SignedDuration::from_secs(90);
    let (since, window) = (window(now.as_second() - shortly.as_secs()), window(now.as_second()));
    let is_new = !matches!(cause, Cause::Left) && worst.lag < cause.told_from() + shortly;
    if since == window && !is_new {
        return None;
    }
    let (node, lag) = (&worst.node, worst.lag.as_secs());
    let others = match behind.len() {
        1 => String::new(),
        n => format!(" (one of {n} that are behind)"),
    };
    let reason =
        format!("{node}{others} is {lag} s behind its interval: {}", why(cause, round, played, tick, pace));
    let detail = Detail {
        id: format!("snapshots-lagging-{window}"),
        node: node.to_string(),
        life: worst.life.clone(),
        cycle: worst.cycle,
        phase: Some(Phase::Running),
        reason,
        snapshot_ids: worst.snapshot.iter().map(ToString::to_string).collect(),
        ..Detail::default()
    };
    Some(OwnEvent { kind: Kind::SnapshotsLagging, time: now, detail })
}

fn cause<'p>(
    point: &'p Point,
    round: &Round,
    due: &BTreeSet<NodeName>,
    played: &'p Played,
    tick: &SnapshotTick,
) -> Option<Cause<'p>> {
    match (&point.standing, played.refused.get(&point.node), point.pending) {
        (Standing::Idle(_), _, _) => None,
        (Standing::Unserved(why), _, _) => Some(Cause::Unserved(why)),
        (Standing::Served, Some(failure), _) if failure.class != Class::Retry => {
            Some(Cause::Refused(failure))
        }
        _ if round.put_off.contains(&point.node) => Some(Cause::PutOff),
        (Standing::Served, _, Some(pending)) => Some(Cause::Pending(pending)),
        // Whoever was first in turn was behind just as well.
        (Standing::Served, failure, None) => {
            let is_behind = due.contains(&point.node) && tick.left > 0 && played.ended != Ended::Suspended;
            (is_behind || failure.is_some()).then_some(Cause::Left)
        }
    }
}

/// The cause in words, with its remedy.
fn why(cause: &Cause<'_>, round: &Round, played: &Played, tick: &SnapshotTick, pace: u32) -> String {
    match cause {
        Cause::Refused(failure) => format!(
            "its snapshot is refused ({failure}). Mend what EC2 names; it is tried again every few minutes"
        ),
        Cause::PutOff => {
            "its snapshots were refused again and again. The log says why at \"a snapshot stays due\"; it is \
                          tried again every few minutes"
                .to_owned()
        }
        Cause::Unserved(why) => format!("{why}, so no snapshot can be taken. Mend that, or suspend the node"),
        Cause::Pending(pending) => format!(
            "its last snapshot has been pending for {} s, and none is taken beside it. EC2 copies as fast as it can; \
             lengthen snapshotEvery if that is usual",
            pending.as_secs()
        ),
        Cause::Left => left(round, played, tick, pace),
    }
}

fn left(round: &Round, played: &Played, tick: &SnapshotTick, pace: u32) -> String {
    let (left, needed) = (tick.left, round.needed);
    match played.ended {
        Ended::Throttled => format!(
            "{left} recovery points were due and not taken, since EC2 throttled {} calls. Have its quotas for CreateSnapshot, \
             CreateSnapshots and DeleteSnapshot raised, or find out who else uses them up; settings.snapshotsPerSecond \
             ({pace}) must stay below them",
            tick.throttled
        ),
        Ended::OutOfTime if !is_outgrown(round, pace) => format!(
            "{left} recovery points were due and not taken, since the pass ran out of time: its reads alone took {} s. Look at \
             what slows EC2's answers down, or split the deployment",
            played.read_for.as_secs()
        ),
        Ended::Through | Ended::OutOfTime | Ended::Suspended => format!(
            "{left} recovery points were due and not taken: the nodes need {needed:.1} snapshots a second, and \
             settings.snapshotsPerSecond allows {pace}. Raise it, together with EC2's quotas for CreateSnapshot, \
             CreateSnapshots and DeleteSnapshot, or lengthen snapshotEvery"
        ),
    }
}

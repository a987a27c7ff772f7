//! The snapshot pass: takes what is due and deletes what newer snapshots replace, at the pace that is set.
//!
//! It reads AWS in batches, works in beats of a second, and writes nothing to the tables. What it does not
//! get to stays due: the next pass finds it by the clock and by the tags again.

use std::collections::BTreeSet;

use futures::future::{join, join_all};
use jiff::{SignedDuration, Timestamp};
use perennial_core::failure::{Class, Failure};
use perennial_core::guard::{self, Verdict};
use perennial_core::ids::SnapshotId;
use perennial_core::journal::{Detail, Kind, OwnEvent};
use perennial_core::limits;
use perennial_core::names::{Names, Purpose, Tagged};
use perennial_core::pace::Lane;
use perennial_core::phase::Phase;
use perennial_core::snapshots::{Needless, Point, Round, round};
use perennial_core::step::SnapshotRequest;

use crate::Engine;
use crate::ports::{Bus, Clock, Ec2, Reply, Store};

/// What a snapshot pass found and did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SnapshotTick {
    /// Running nodes looked at.
    pub nodes: usize,
    /// Snapshots taken.
    pub taken: usize,
    /// Snapshots deleted.
    pub dropped: usize,
    /// Snapshots found that had ended in an error.
    pub failed: usize,
    /// Snapshots that something holds: they should have been deleted an hour ago.
    pub held: usize,
    /// Calls that were refused; what they were for stays due.
    pub refused: usize,
    /// Calls that were throttled or not answered, among them.
    pub throttled: usize,
    /// Snapshots that were due and not taken.
    pub left: usize,
    /// The age of the oldest of the nodes' newest recovery points; `None` without nodes that have any.
    pub recovery_point_age: Option<SignedDuration>,
    /// How far behind its own interval the node is that is furthest behind.
    pub lag: SignedDuration,
}

/// What became of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Done,
    Nothing,
    Refused,
    Throttled,
}

impl<E: Ec2, S: Store, B: Bus, C: Clock> Engine<E, S, B, C> {
    /// Takes the periodic snapshots that are due and deletes those that newer ones replace.
    ///
    /// # Errors
    /// A failure of the reads that say what there is to do.
    pub async fn snapshot_pass(&self) -> Reply<SnapshotTick> {
        let mut tick = SnapshotTick::default();
        let settings = self.store.settings().await?.map(|in_force| in_force.settings).unwrap_or_default();
        if settings.suspend {
            tracing::info!("the deployment is suspended: no snapshot is taken or deleted");
            return Ok(tick);
        }
        // What is due is told at the beginning: the reads take a while, and slots are as short as a tick.
        let now = self.clock.now();
        let steady = self.store.steady().await?;
        tick.nodes = steady.len();
        if steady.is_empty() {
            return Ok(tick);
        }
        let rotated = Tagged { purposes: &Purpose::ROTATED, ..Tagged::of(&self.deployment) };
        let (fleet, snapshots) = join(self.fleet(), self.ec2.snapshots_tagged(&rotated)).await;
        let mut round = round(&steady, &snapshots?, &fleet?, &self.deployment, now);
        tick.failed = round.failed;
        tick.recovery_point_age = round.points.first().map(|worst| worst.age);
        tick.lag = round.points.iter().map(|point| point.lag).max().unwrap_or_default();
        let pace = settings.snapshots_per_second;
        tick.held = round.drop.iter().filter(|it| it.is_held(now)).count();
        let take = Lane::new(std::mem::take(&mut round.take), pace);
        let drop = Lane::new(std::mem::take(&mut round.drop), pace);
        self.play(take, drop, now, &mut tick).await;
        tell_worst(&round.points, &tick);
        if let Some(event) = lagging(&round, &tick, pace, now) {
            // Told again while it lasts: a failure to tell is no failure of the pass.
            if let Err(failure) = self.bus.publish(&[event]).await {
                tracing::warn!(code = %failure.code, "that snapshots lag was not published: {failure}");
            }
        }
        Ok(tick)
    }

    /// Beat by beat, both kinds side by side: each has a quota of its own.
    async fn play(
        &self,
        mut take: Lane<SnapshotRequest>,
        mut drop: Lane<Needless>,
        began: Timestamp,
        tick: &mut SnapshotTick,
    ) {
        let mut read_again = BTreeSet::new();
        let first = self.clock.now();
        for beat in 1..=limits::BEATS {
            // A read, then a creation beside a deletion: each may take its whole timeout.
            let is_late = self.clock.now().duration_since(began) >= limits::PASS_AT_MOST;
            if is_late || !self.has_time_for(2) {
                break;
            }
            self.read_again(&mut drop, &mut read_again, tick).await;
            let (taken, dropped) = join(self.take_all(take.beat()), self.drop_all(drop.beat())).await;
            take.heard(taken.contains(&Said::Throttled));
            drop.heard(dropped.contains(&Said::Throttled));
            tick.count(&taken, &dropped);
            if !take.has_more() && !drop.has_more() {
                break;
            }
            let next = first.saturating_add(limits::BEAT * i32::try_from(beat).unwrap_or(i32::MAX));
            let rest = next.map_or(SignedDuration::ZERO, |next| next.duration_since(self.clock.now()));
            if rest.is_positive() {
                self.clock.pause(rest).await;
            }
        }
        tick.left = take.waiting();
    }

    /// Reads what is to be deleted next again by id, unless that was done: filters prove nothing. What may
    /// not go is left out.
    async fn read_again(
        &self,
        drop: &mut Lane<Needless>,
        known: &mut BTreeSet<SnapshotId>,
        tick: &mut SnapshotTick,
    ) {
        if drop.next(1).all(|next| known.contains(&next.snapshot)) {
            return;
        }
        let ids: Vec<SnapshotId> =
            drop.next(limits::REREAD_AT_ONCE).map(|next| next.snapshot.clone()).collect();
        let found = match self.ec2.snapshots(&ids).await {
            Ok(found) => found,
            Err(failure) => {
                tracing::info!(code = %failure.code, "what is needless stays for now: {failure}");
                tick.count(&[], &[said(&failure)]);
                drop.leave_out(|_| true);
                return;
            }
        };
        let mut out = BTreeSet::new();
        for next in drop.next(limits::REREAD_AT_ONCE) {
            let names = Names { deployment: &self.deployment, node: &next.node, life: &next.life };
            let facts = found.iter().find(|facts| facts.id == next.snapshot);
            match facts.map(|facts| guard::snapshot(&names, facts, &Purpose::ROTATED)) {
                Some(Verdict::Go) => {}
                Some(Verdict::NotOurs(why) | Verdict::NotYet(why)) => {
                    tracing::warn!(node = %next.node, snapshot = %next.snapshot, "left alone: {why}");
                    out.insert(next.snapshot.clone());
                }
                None => {
                    out.insert(next.snapshot.clone());
                }
            }
        }
        drop.leave_out(|next| out.contains(&next.snapshot));
        known.extend(ids);
    }

    async fn take_all(&self, requests: Vec<SnapshotRequest>) -> Vec<Said> {
        let take = async |request: SnapshotRequest| match self.ec2.create_snapshot(&request).await {
            Ok(_) => Said::Done,
            Err(failure) => {
                tracing::info!(volume = %request.volume, code = %failure.code, "a snapshot stays due: {failure}");
                said(&failure)
            }
        };
        join_all(requests.into_iter().map(take)).await
    }

    async fn drop_all(&self, needless: Vec<Needless>) -> Vec<Said> {
        let drop = async |it: Needless| match self.ec2.delete_snapshot(&it.snapshot).await {
            Ok(()) => Said::Done,
            Err(failure) if failure.class == Class::NotFound => Said::Nothing,
            Err(failure) => {
                let (node, snapshot) = (&it.node, &it.snapshot);
                if it.is_held(self.clock.now()) {
                    tracing::warn!(%node, %snapshot, code = %failure.code, "held by something: {failure}");
                } else {
                    tracing::info!(%node, %snapshot, code = %failure.code, "needless, and stays: {failure}");
                }
                said(&failure)
            }
        };
        join_all(needless.into_iter().map(drop)).await
    }
}

impl SnapshotTick {
    fn count(&mut self, taken: &[Said], dropped: &[Said]) {
        let n = |said: &[Said], what| said.iter().filter(|said| **said == what).count();
        self.taken += n(taken, Said::Done);
        self.dropped += n(dropped, Said::Done);
        for said in [taken, dropped] {
            self.refused += n(said, Said::Refused) + n(said, Said::Throttled);
            self.throttled += n(said, Said::Throttled);
        }
    }
}

/// Throttles, timeouts and broken answers alike are signs to go slower.
fn said(failure: &Failure) -> Said {
    match failure.class {
        Class::Retry => Said::Throttled,
        _ => Said::Refused,
    }
}

/// One line a tick: the nodes with the oldest recovery points.
fn tell_worst(points: &[Point], tick: &SnapshotTick) {
    let worst: Vec<String> = points.iter().take(limits::WORST_TOLD).map(words).collect();
    let (nodes, taken, dropped) = (tick.nodes, tick.taken, tick.dropped);
    tracing::info!(nodes, taken, dropped, left = tick.left, "oldest recovery points: {}", worst.join(", "));
}

fn words(point: &Point) -> String {
    let age = point.age.as_secs();
    match (&point.snapshot, point.bytes) {
        (Some(snapshot), Some(bytes)) => {
            format!("{} {age} s ({snapshot}, {} MiB)", point.node, bytes.div_ceil(1 << 20))
        }
        (Some(snapshot), None) => format!("{} {age} s ({snapshot})", point.node),
        (None, _) => format!("{} {age} s (none yet)", point.node),
    }
}

/// The event that tells of a fleet that outgrew its pace, at the first pass of every ten minutes: its id is
/// the same whoever sends it in them.
fn lagging(round: &Round, tick: &SnapshotTick, pace: u32, now: Timestamp) -> Option<OwnEvent> {
    if tick.left == 0 || tick.lag < limits::LAGGING {
        return None;
    }
    let window = |at: i64| at.div_euclid(limits::LAGGING_TOLD.as_secs());
    // A schedule is not to the second: rather told twice, under one id, than not at all.
    let (since, window) = (window(now.as_second() - 90), window(now.as_second()));
    let worst = round.points.iter().max_by_key(|point| point.lag).filter(|_| since != window)?;
    let reason = format!(
        "{} snapshots were due and not taken: the nodes need {:.1} a second, and settings.snapshotsPerSecond \
         allows {pace}; {} is {} s behind its interval. Raise it, together with EC2's quotas for CreateSnapshot \
         and DeleteSnapshot, or lengthen persist.root.snapshotEvery",
        tick.left,
        round.needed,
        worst.node,
        worst.lag.as_secs()
    );
    let detail = Detail {
        id: format!("snapshots-lagging-{window}"),
        node: worst.node.to_string(),
        life: worst.life.clone(),
        cycle: worst.cycle,
        phase: Some(Phase::Running),
        reason,
        snapshot_ids: worst.snapshot.iter().map(ToString::to_string).collect(),
        ..Detail::default()
    };
    Some(OwnEvent { kind: Kind::SnapshotsLagging, time: now, detail })
}

//! The snapshot pass: takes what is due and deletes what newer snapshots replace, at the pace that is set.
//!
//! It reads AWS in batches, works in beats of a second, and writes nothing to the tables. What it does not
//! get to stays due: the next pass finds it by the clock and by the tags again.

mod telling;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use futures::future::{join, join_all, try_join, try_join_all};
use futures::stream::{self, StreamExt, TryStreamExt};
use jiff::{SignedDuration, Timestamp};
use perennial_core::failure::{Class, Failure};
use perennial_core::guard::{self, Verdict};
use perennial_core::ids::{InstanceId, NodeName, SnapshotId};
use perennial_core::limits;
use perennial_core::names::{Names, Purpose, Tagged};
use perennial_core::observation::{InstanceFacts, SnapshotFacts, SnapshotState};
use perennial_core::pace::Lane;
use perennial_core::record::Steady;
use perennial_core::snapshots::{Due, Needless, Standing, round};

use crate::Engine;
use crate::ports::{Bus, Clock, Ec2, Reply, Store};

/// What a snapshot pass found and did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SnapshotTick {
    /// Running nodes looked at.
    pub nodes: usize,
    /// Snapshots taken; each part of a set counts.
    pub taken: usize,
    /// Snapshots deleted.
    pub dropped: usize,
    /// Snapshots found that had ended in an error.
    pub failed: usize,
    /// Snapshots that something holds: they should long be gone, and their deletion was refused.
    pub held: usize,
    /// Calls that were refused; what they were for stays due.
    pub refused: usize,
    /// Calls that were throttled or not answered, among them.
    pub throttled: usize,
    /// Recovery points that were due and not taken.
    pub left: usize,
    /// The age of the oldest of the nodes' newest recovery points; `None` without nodes that have any. Suspended
    /// nodes do not count.
    pub recovery_point_age: Option<SignedDuration>,
    /// How far behind its own interval the node is that is furthest behind.
    pub lag: SignedDuration,
}

/// Why a pass left something to the next one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Ended {
    /// It did not, or its minute's calls were made.
    #[default]
    Through,
    /// EC2 throttled its creations.
    Throttled,
    /// Its time was over.
    OutOfTime,
    /// The deployment was suspended meanwhile, or whether it was could not be read.
    Suspended,
}

/// When a pass began, and when its calls.
#[derive(Clone, Copy, Debug)]
struct Began {
    pass: Timestamp,
    calls: Timestamp,
}

/// What came of the creations of one pass, beside their number.
#[derive(Debug, Default)]
struct Played {
    tick: SnapshotTick,
    ended: Ended,
    /// The nodes whose snapshots were refused, and how.
    refused: BTreeMap<NodeName, Failure>,
    /// How long the reads took.
    read_for: SignedDuration,
}

/// What may be deleted, by a read of it that is young enough.
#[derive(Debug, Default)]
struct Proven {
    at: Option<Timestamp>,
    snapshots: BTreeSet<SnapshotId>,
}

impl<E: Ec2, S: Store, B: Bus, C: Clock> Engine<E, S, B, C> {
    /// Takes the periodic snapshots that are due and deletes those that newer ones replace.
    ///
    /// # Errors
    /// A failure of the reads that say what there is to do.
    pub async fn snapshot_pass(&self) -> Reply<SnapshotTick> {
        let mut tick = SnapshotTick::default();
        let settings = self.store.settings().await?.map(|in_force| in_force.settings).unwrap_or_default();
        // What is due is told at the beginning: the reads take a while, and slots are as short as a tick.
        let now = self.clock.now();
        let mut steady = self.store.steady().await?;
        tick.nodes = steady.len();
        steady.retain(|node| node.snapshot_every.is_some());
        if steady.is_empty() {
            return Ok(tick);
        }
        // What stands still is looked at all the same: how old its recovery points grow is to be told.
        steady.iter_mut().for_each(|node| node.suspend |= settings.suspend);
        let (holders, snapshots) = try_join(self.holders(&steady), self.rotated(&steady)).await?;
        let pace = settings.snapshots_per_second;
        let mut round = round(&steady, &snapshots, &holders, &self.deployment, pace, now);
        tick.failed = round.failed;
        let counted = || round.points.iter().filter(|point| !matches!(point.standing, Standing::Idle(_)));
        tick.recovery_point_age = counted().map(|point| point.age).max();
        tick.lag = counted().map(|point| point.lag).max().unwrap_or_default();
        // Before anything is done: it holds also if this invocation does not come to its end.
        telling::worst(&round.points, &round.put_off, tick.nodes);
        telling::outgrown(&round, pace);
        let due: BTreeSet<NodeName> = round.take.iter().map(|due| due.node.clone()).collect();
        let take = Lane::new(std::mem::take(&mut round.take), pace);
        let drop = Lane::new(std::mem::take(&mut round.drop), pace);
        let began = Began { pass: now, calls: self.clock.now() };
        // Side by side: each has a quota of its own, and a call that hangs keeps only its own kind waiting.
        let (played, dropped) = join(self.take_all(take, began), self.drop_all(drop, began)).await;
        tick.add(&played.tick);
        tick.add(&dropped);
        if let Some(event) = telling::lagging(&round, &due, &played, &tick, pace, now)
            && self.has_time_for(1)
        {
            // Told again while it lasts: a failure to tell is no failure of the pass.
            if let Err(failure) = self.bus.publish(&[event]).await {
                tracing::warn!(code = %failure.code, "that snapshots lag was not published: {failure}");
            }
        }
        Ok(tick)
    }

    /// The instances of these nodes, by their ids: one that lost its tags is found all the same.
    async fn holders(&self, nodes: &[Steady]) -> Reply<BTreeMap<InstanceId, InstanceFacts>> {
        let reads = nodes.chunks(limits::NODES_PER_READ).map(async |nodes| {
            self.in_time()?;
            let ids: Vec<_> = nodes.iter().map(|node| node.instance.clone()).collect();
            self.ec2.instances(&ids).await
        });
        let found: Vec<_> = stream::iter(reads).buffer_unordered(limits::READS_AT_ONCE).try_collect().await?;
        Ok(found.into_iter().flatten().map(|instance| (instance.id.clone(), instance)).collect())
    }

    /// The snapshots of these nodes that are rotated.
    async fn rotated(&self, nodes: &[Steady]) -> Reply<Vec<SnapshotFacts>> {
        let reads = nodes.chunks(limits::NODES_PER_READ).map(async |nodes| {
            self.in_time()?;
            let lives: Vec<_> = nodes.iter().map(|node| node.life.as_str()).collect();
            let tagged =
                Tagged { lives: &lives, purposes: &Purpose::ROTATED, ..Tagged::of(&self.deployment) };
            self.ec2.snapshots_tagged(&tagged).await
        });
        let found: Vec<_> = stream::iter(reads).buffer_unordered(limits::READS_AT_ONCE).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Fails while there is time to tell: Lambda would end the invocation without a word.
    fn in_time(&self) -> Reply<()> {
        let late = || {
            let why = "the reads that say which snapshots are due took all the time of the invocation";
            Failure::new(Class::Retry, "EC2:DescribeSnapshots", "OutOfTime", why)
        };
        self.has_time_for(2).then_some(()).ok_or_else(late)
    }

    /// Takes what is due, beat by beat.
    async fn take_all(&self, mut lane: Lane<Due>, began: Began) -> Played {
        let mut played = Played { read_for: began.calls.duration_since(began.pass), ..Played::default() };
        let mut asked = began.pass;
        while lane.has_more() {
            let begun = self.clock.now();
            if let Some(ended) = self.must_end(began, begun, &mut asked).await {
                let was_throttled = ended == Ended::OutOfTime && played.ended == Ended::Throttled;
                played.ended = if was_throttled { Ended::Throttled } else { ended };
                break;
            }
            let calls = lane.beat().into_iter().map(async |due: Due| {
                let said = self.take_point(&due.request).await;
                (due, said)
            });
            let (mut throttled, mut passed) = (0, 0);
            for (due, said) in join_all(calls).await {
                match said.map_err(|failure| played.refuse(due, failure)) {
                    Ok(taken) => {
                        played.tick.taken += taken.len();
                        passed += 1;
                    }
                    Err(was_throttled) if was_throttled => throttled += 1,
                    Err(_) => passed += 1,
                }
            }
            played.tick.throttled += throttled;
            lane.heard(throttled, passed);
            self.rest(begun, lane.has_more()).await;
        }
        played.tick.left = lane.waiting();
        played
    }

    /// Deletes what is needless, beat by beat.
    async fn drop_all(&self, mut lane: Lane<Needless>, began: Began) -> SnapshotTick {
        let (mut tick, mut proven) = (SnapshotTick::default(), Proven::default());
        let mut asked = began.pass;
        while lane.has_more() {
            self.prove(&mut lane, &mut proven, &mut tick).await;
            let begun = self.clock.now();
            if self.must_end(began, begun, &mut asked).await.is_some() {
                break;
            }
            let calls = lane.beat().into_iter().map(async |it: Needless| {
                let said = self.ec2.delete_snapshot(&it.snapshot).await;
                (it, said)
            });
            // What the next beats need to know is read beside this one's calls: it must not delay theirs.
            let calls = join_all(calls);
            let (said, ()) = join(calls, self.prove(&mut lane, &mut proven, &mut tick)).await;
            let (mut throttled, mut passed) = (0, 0);
            for (it, said) in said {
                match self.dropped(&it, said, &mut tick) {
                    true => throttled += 1,
                    false => passed += 1,
                }
            }
            tick.throttled += throttled;
            lane.heard(throttled, passed);
            self.rest(begun, lane.has_more()).await;
        }
        tick
    }

    /// Counts what became of a deletion; `true` if it was throttled.
    fn dropped(&self, it: &Needless, said: Reply<()>, tick: &mut SnapshotTick) -> bool {
        let (node, snapshot) = (&it.node, &it.snapshot);
        let failure = match said {
            Ok(()) => {
                tick.dropped += 1;
                return false;
            }
            Err(failure) if failure.class == Class::NotFound => return false,
            Err(failure) => failure,
        };
        tick.refused += 1;
        let is_throttle = is_throttle(&failure);
        if !is_throttle && it.is_overdue(self.clock.now()) {
            tick.held += 1;
            tracing::warn!(%node, %snapshot, code = %failure.code, "held by something: {failure}");
        } else {
            tracing::info!(%node, %snapshot, code = %failure.code, "needless, and stays: {failure}");
        }
        is_throttle
    }

    /// Whether no further beat may begin, and why. However long the reads took, some beats are made.
    async fn must_end(&self, began: Began, now: Timestamp, asked: &mut Timestamp) -> Option<Ended> {
        let is_late = now.duration_since(began.pass) >= limits::PASS_AT_MOST
            && now.duration_since(began.calls) >= limits::BEATS_AT_LEAST;
        // A read, then the calls of the beat: each may take its whole timeout.
        if is_late || !self.has_time_for(2) {
            return Some(Ended::OutOfTime);
        }
        if now.duration_since(*asked) < limits::SUSPENSION_ASKED {
            return None;
        }
        *asked = now;
        self.may_be_suspended().await.then_some(Ended::Suspended)
    }

    /// Lets the rest of a beat pass. Never two beats within a second, however long one took: what did not get
    /// its turn in time is not made good in a burst.
    async fn rest(&self, begun: Timestamp, has_more: bool) {
        let rest = limits::BEAT - self.clock.now().duration_since(begun);
        if has_more && rest.is_positive() {
            self.clock.pause(rest).await;
        }
    }

    /// Whether the deployment was suspended meanwhile. What cannot be read may say so.
    async fn may_be_suspended(&self) -> bool {
        match self.is_suspended().await {
            Ok(suspended) => suspended,
            Err(failure) => {
                tracing::warn!(code = %failure.code, "whether all is suspended was not read: {failure}");
                true
            }
        }
    }

    /// Reads what the next beats delete again by id, unless that was just done: filters prove nothing, and a
    /// person may have changed their mind. What may not go is left out.
    async fn prove(&self, drop: &mut Lane<Needless>, proven: &mut Proven, tick: &mut SnapshotTick) {
        let n = drop.size();
        let is_fresh = proven.at.is_some_and(|at| self.clock.now().duration_since(at) < limits::REREAD_FRESH);
        if n == 0 || (is_fresh && drop.next(n).all(|it| proven.snapshots.contains(&it.snapshot))) {
            return;
        }
        let ahead = n.max((n * limits::REREAD_BEATS).min(limits::REREAD_AT_ONCE));
        let ahead: Vec<Needless> = drop.next(ahead).cloned().collect();
        let ids: BTreeSet<_> =
            ahead.iter().flat_map(|it| std::iter::once(&it.snapshot).chain(&it.instead)).collect();
        let ids: Vec<SnapshotId> = ids.into_iter().cloned().collect();
        let reads = ids.chunks(2 * limits::REREAD_AT_ONCE).map(|ids| self.ec2.snapshots(ids));
        let found: BTreeMap<_, _> = match try_join_all(reads).await {
            Ok(found) => found.into_iter().flatten().map(|facts| (facts.id.clone(), facts)).collect(),
            Err(failure) => {
                tracing::info!(code = %failure.code, "what is needless stays for now: {failure}");
                tick.refused += 1;
                tick.throttled += usize::from(failure.class == Class::Retry);
                drop.leave_out(|_| true);
                return;
            }
        };
        let may_go = |it: &&Needless| may_go(it, &found, &self.deployment);
        let going: BTreeSet<_> = ahead.iter().filter(may_go).map(|it| it.snapshot.clone()).collect();
        let out: BTreeSet<_> =
            ahead.into_iter().map(|it| it.snapshot).filter(|id| !going.contains(id)).collect();
        drop.leave_out(|next| out.contains(&next.snapshot));
        *proven = Proven { at: Some(self.clock.now()), snapshots: going };
    }
}

impl Played {
    /// Counts a recovery point that was not taken; `true` if it was throttled.
    fn refuse(&mut self, due: Due, failure: Failure) -> bool {
        self.tick.refused += 1;
        let node = &due.node;
        let volumes: Vec<_> = due.request.volumes().iter().map(ToString::to_string).collect();
        let volumes = volumes.join(" ");
        match failure.class {
            Class::Retry | Class::NotYet => {
                tracing::info!(%node, volumes, code = %failure.code, "a snapshot stays due: {failure}");
            }
            _ => {
                tracing::warn!(%node, volumes, code = %failure.code, "a snapshot stays due: {failure}");
            }
        }
        let is_throttle = is_throttle(&failure);
        if is_throttle {
            self.ended = Ended::Throttled;
        }
        self.refused.insert(due.node, failure);
        is_throttle
    }
}

impl SnapshotTick {
    /// Adds what was counted of one kind of call.
    fn add(&mut self, other: &Self) {
        self.taken += other.taken;
        self.dropped += other.dropped;
        self.held += other.held;
        self.refused += other.refused;
        self.throttled += other.throttled;
        self.left += other.left;
    }
}

/// Whether a snapshot may go, as it is now: it is still ours, and what replaces it is still there, to the last
/// part.
fn may_go(it: &Needless, found: &BTreeMap<SnapshotId, SnapshotFacts>, deployment: &str) -> bool {
    let (node, snapshot) = (&it.node, &it.snapshot);
    let names = Names { deployment, node, life: &it.life };
    // What is gone already needs no word.
    let Some(facts) = found.get(snapshot) else { return false };
    match guard::snapshot(&names, facts, &Purpose::ROTATED) {
        Verdict::Go => {}
        Verdict::NotOurs(why) | Verdict::NotYet(why) => {
            tracing::warn!(%node, %snapshot, "left alone: {why}");
            return false;
        }
    }
    let is_there = |id: &SnapshotId| {
        found.get(id).is_some_and(|newer| {
            newer.state == SnapshotState::Completed
                && guard::snapshot(&names, newer, &Purpose::ROTATED) == Verdict::Go
        })
    };
    let stays = it.instead.iter().find(|id| !is_there(id));
    if let Some(newer) = stays {
        tracing::warn!(%node, %snapshot, %newer, "left alone: what replaces it is there no longer");
    }
    stays.is_none()
}

/// Throttles, timeouts and broken answers alike are signs to go slower.
fn is_throttle(failure: &Failure) -> bool {
    failure.class == Class::Retry
}

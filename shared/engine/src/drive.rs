//! The drive loop: load → observe → plan → claim → act → commit, again, until the node must wait.
//!
//! Events and the minute tick come through here alike. A step is claimed in the record before it is
//! taken, so two drivers never take the same one; whoever loses a write leaves or looks again.

use perennial_core::absorb::{absorb, newer_schema};
use perennial_core::failure::{Class, Failure};
use perennial_core::ids::{InstanceId, NodeName};
use perennial_core::journal::OwnEvent;
use perennial_core::limits;
use perennial_core::plan::{Poll, Scope, Then, Wait, look, notice, plan};
use perennial_core::record::{Claim, Record, Stored};
use perennial_core::step::{Outcome, Step};

use futures::join;
use jiff::Timestamp;

use crate::Engine;
use crate::commit::Working;
use crate::ports::{Bus, Clock, Ec2, Reply, Store, Written};

/// Why a drive ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Drive {
    /// There is no record of this node.
    NoRecord,
    /// The record was written by a newer version and is left alone.
    Newer,
    /// What the event told changes nothing for the node: it was not looked at.
    Steady,
    /// The node waits; what for.
    Waits(String),
    /// Another invocation is taking a step.
    Claimed,
    /// The operator suspended the node, and it has come to a step that would change something.
    Suspended,
    /// This invocation is nearly over; the tick goes on.
    OutOfTime,
}

/// What drives a node, and so what an invocation stays for instead of leaving it to an event or the tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Driver {
    /// An event or an edit: it stays for what no event tells of.
    Event,
    /// The scheduled tick with much to do: it stays for no more than an event does.
    Tick,
    /// The scheduled tick with little to do: it need not trust in events.
    IdleTick,
}

impl Driver {
    fn stays_for(self, poll: Poll) -> bool {
        match poll {
            Poll::Yes => true,
            Poll::IfIdle => self == Self::IdleTick,
            Poll::No => false,
        }
    }

    fn is_tick(self) -> bool {
        matches!(self, Self::Tick | Self::IdleTick)
    }
}

/// How many times a driver that lost a write looks again before it leaves the node to the winner.
const CONFLICTS_AT_MOST: usize = 5;

impl<E: Ec2, S: Store, B: Bus, C: Clock> Engine<E, S, B, C> {
    /// Drives a node as far as it goes now.
    ///
    /// # Errors
    /// A failure of a read or a write; the node is as it was last written, and a repeat goes on from there.
    pub async fn drive(&self, node: &NodeName) -> Reply<Drive> {
        self.drive_with(node, None, Driver::Event).await
    }

    /// Drives a node: a notice to its instance is written down before anything else.
    ///
    /// # Errors
    /// As for [`Engine::drive`].
    pub(crate) async fn drive_with(
        &self,
        node: &NodeName,
        noticed: Option<(&InstanceId, Timestamp)>,
        driver: Driver,
    ) -> Reply<Drive> {
        for _ in 0..CONFLICTS_AT_MOST {
            let (record, suspended) = join!(self.load(node), self.is_suspended());
            let record = match record? {
                Ok(record) => record,
                Err(end) => return Ok(end),
            };
            let suspended = suspended?;
            let mut working = Working::read(record);
            if let Some((instance, at)) = noticed {
                let scope = self.scope(&working.record, driver, false);
                if let Some(plan) = notice(working.record.clone(), instance, at, scope).map_err(defect)? {
                    working.take(plan.record, plan.entries);
                    if self.write(&mut working).await? == Written::Conflict {
                        continue;
                    }
                }
            }
            match self.advance(&mut working, driver, suspended).await? {
                Some(end) => return self.finish(working, end).await,
                None => continue,
            }
        }
        Ok(Drive::Claimed)
    }

    /// Loads a record, or says why there is nothing to drive.
    pub(crate) async fn load(&self, node: &NodeName) -> Reply<Result<Record, Drive>> {
        Ok(match self.store.load(node).await? {
            None => Err(Drive::NoRecord),
            Some(Stored::Newer { schema_version }) => {
                tracing::error!(%node, schema_version, "{}", newer_schema(node, schema_version));
                Err(Drive::Newer)
            }
            Some(Stored::Known(record)) => Ok(*record),
        })
    }

    fn scope(&self, record: &Record, driver: Driver, suspended: bool) -> Scope<'_> {
        let now = perennial_core::names::whole_second(self.now_for(record));
        let suspended = suspended || record.config().suspend;
        Scope { deployment: &self.deployment, now, tick: driver.is_tick(), suspended }
    }

    /// The scope of a decision that the scheduled tick makes.
    pub(crate) fn scope_of_tick(&self, record: &Record) -> Scope<'_> {
        self.scope(record, Driver::Tick, false)
    }

    /// Goes on until the node waits; `None` if a write was lost and everything must be read again.
    async fn advance(&self, working: &mut Working, driver: Driver, suspended: bool) -> Reply<Option<Drive>> {
        let polls_until =
            self.clock.now().saturating_add(limits::POLL_AT_MOST).unwrap_or_else(|_| self.clock.now());
        for _ in 0..limits::STEPS_PER_DRIVE {
            let scope = self.scope(&working.record, driver, suspended);
            if self.is_claimed(&working.record, scope.now) {
                return Ok(Some(Drive::Claimed));
            }
            if !self.has_time_for(1) {
                return self.leave(working, Drive::OutOfTime).await;
            }
            // What is left of a claim is our own or that of an invocation that died: nobody works on the node.
            working.record.claim = None;
            let seen = self.observe(look(&working.record, &self.deployment)).await?;
            let plan = plan(working.record.clone(), &seen, scope).map_err(defect)?;
            if let (Then::Act(step), true) = (&plan.then, scope.suspended) {
                let (node, step) = (&working.record.name, step.name());
                tracing::info!(%node, step, "{node} is suspended: {step} is held back");
                return self.hold(working).await;
            }
            working.take(plan.record, plan.entries);
            match plan.then {
                Then::Look => {}
                Then::Act(step) => {
                    if !self.has_time_for(2) {
                        return self.leave(working, Drive::OutOfTime).await;
                    }
                    if !self.take_step(working, &step, driver).await? {
                        return Ok(None);
                    }
                }
                Then::Wait(Wait { why, poll }) => {
                    if self.write(working).await? == Written::Conflict {
                        return Ok(None);
                    }
                    tracing::debug!(node = %working.record.name, phase = %working.record.phase, "waits for {why}");
                    let now = self.clock.now();
                    if !driver.stays_for(poll) || now >= polls_until || !self.has_time_for(2) {
                        return Ok(Some(Drive::Waits(why)));
                    }
                    self.clock.pause(limits::POLL_EVERY).await;
                }
            }
        }
        tracing::error!(node = %working.record.name, phase = %working.record.phase,
            "the node took more steps than any story has: left to the next tick");
        self.leave(working, Drive::OutOfTime).await
    }

    /// Whether another invocation is taking a step for the node.
    fn is_claimed(&self, record: &Record, now: Timestamp) -> bool {
        record.claim.as_ref().is_some_and(|claim| claim.by != self.invocation && claim.until > now)
    }

    /// Whether this invocation outlives so many more calls, each as long as it may be.
    pub(crate) fn has_time_for(&self, calls: i32) -> bool {
        let needed = self.clock.call_timeout().saturating_mul(calls);
        self.clock.deadline().duration_since(self.clock.now()) > needed
    }

    /// Claims a step, takes it, and writes what became of it. `false` if a write was lost.
    async fn take_step(&self, working: &mut Working, step: &Step, driver: Driver) -> Reply<bool> {
        let until = self.clock.deadline().saturating_add(limits::CLAIM_GRACE);
        working.record.claim = Some(Claim {
            by: self.invocation.clone(),
            step: step.name().to_owned(),
            until: until.map(perennial_core::names::whole_second).unwrap_or(working.record.updated_at),
        });
        // A crash from here on must be found by the tick.
        self.appoint_tick(working);
        if self.write(working).await? == Written::Conflict {
            return Ok(false);
        }
        let names = working.record.names(&self.deployment);
        let outcome = self.perform(step, &names).await;
        if let Outcome::Failed(failure) = &outcome {
            tracing::info!(node = %working.record.name, step = step.name(), code = %failure.code, "{failure}");
        }
        self.conclude(working, step, &outcome, driver).await
    }

    /// Writes the outcome. A notice may have been written meanwhile: then the outcome goes into the newer
    /// record, as long as the claim in it is still ours.
    async fn conclude(
        &self,
        working: &mut Working,
        step: &Step,
        outcome: &Outcome,
        driver: Driver,
    ) -> Reply<bool> {
        for _ in 0..CONFLICTS_AT_MOST {
            let scope = self.scope(&working.record, driver, false);
            let mut record = working.record.clone();
            record.claim = None;
            let (record, entries) = absorb(record, step, outcome, scope);
            working.take(record, entries);
            if self.write(working).await? == Written::Done {
                return Ok(true);
            }
            let fresh = match self.load(&working.record.name.clone()).await? {
                Ok(record) => record,
                Err(_) => return Ok(false),
            };
            if fresh.claim.as_ref().is_none_or(|claim| claim.by != self.invocation) {
                return Ok(false);
            }
            *working = Working::read(fresh);
        }
        Ok(false)
    }

    /// Writes what was seen of a suspended node, so that it is looked at again.
    async fn hold(&self, working: &mut Working) -> Reply<Option<Drive>> {
        if working.is_changed() {
            self.appoint_tick(working);
        }
        Ok((self.write(working).await? == Written::Done).then_some(Drive::Suspended))
    }

    /// Makes sure that the tick comes by.
    fn appoint_tick(&self, working: &mut Working) {
        let soon = self.clock.now().saturating_add(limits::NEXT_TICK).unwrap_or(working.record.updated_at);
        let soon = perennial_core::names::whole_second(soon);
        working.record.work_at = Some(working.record.work_at.map_or(soon, |at| at.min(soon)));
    }

    /// Writes what was decided and leaves the rest to the tick.
    async fn leave(&self, working: &mut Working, end: Drive) -> Reply<Option<Drive>> {
        let now = perennial_core::names::whole_second(self.now_for(&working.record));
        if working.record.work_at.is_none_or(|at| at > now) {
            working.record.work_at = Some(now);
        }
        Ok((self.write(working).await? == Written::Done).then_some(end))
    }

    /// Publishes what the outbox holds and empties it. An event may go out twice, never not at all: while
    /// the outbox is not empty the node has work to do.
    pub(crate) async fn finish(&self, mut working: Working, end: Drive) -> Reply<Drive> {
        let events: Vec<OwnEvent> = working.record.outbox.clone();
        // Whoever holds the claim publishes; writing now would only cost them a conflict.
        if events.is_empty() || end == Drive::Claimed {
            return Ok(end);
        }
        self.bus.publish(&events).await?;
        working.record.outbox.clear();
        if self.write(&mut working).await? == Written::Conflict {
            tracing::debug!(node = %working.record.name, "another invocation wrote first: it publishes again");
        }
        Ok(end)
    }
}

/// A signal that a phase does not know is a defect of ours, not of the node: nothing is written.
pub(crate) fn defect(illegal: perennial_core::phase::Illegal) -> Failure {
    Failure::new(Class::Terminal, "Perennial:Plan", "IllegalTransition", illegal.to_string())
}

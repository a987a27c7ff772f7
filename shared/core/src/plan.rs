//! What comes next: the one function that decides for a node.
//!
//! [`look()`] says what to read, [`plan`] decides from what was read. A plan is a changed record and one of
//! three things: a step to take, another look, or a wait. It never takes a step itself, never reads a
//! clock, and decides the same from the same.

mod capturing;
pub(crate) mod data;
pub(crate) mod elastic_ip;
pub(crate) mod ending;
mod imaging;
pub(crate) mod interface;
mod launching;
mod living;
mod look;
mod purging;
mod recovery;
mod resting;
mod stopping;

use jiff::{SignedDuration, Timestamp};

pub(crate) use launching::adopt;
pub(crate) use living::word;
pub use look::look;

use crate::config::DesiredState;
use crate::ids::{ImageId, InstanceId, Resource};
use crate::journal::{Entry, Kind, OwnEvent};
use crate::limits;
use crate::names::Names;
use crate::observation::{InstanceFacts, Observation};
use crate::phase::{Illegal, Phase, Signal};
use crate::record::{Blocked, Blueprint, Notice, Record, Superseded};
use crate::removal::UNCONFIRMED;
use crate::step::Step;

/// What is to happen next.
#[derive(Clone, Debug, PartialEq)]
pub enum Then {
    /// Claim this step, take it, and come back with its outcome.
    Act(Box<Step>),
    /// Look again: the record asks for more than was seen.
    Look,
    /// Nothing can be done now.
    Wait(Wait),
}

/// A wait. When it ends is in the record's `workAt`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// What is waited for.
    pub why: String,
    /// Whether looking again within the same invocation is worthwhile.
    pub poll: Poll,
}

/// Whether a wait is worth looking again for within the same invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poll {
    /// No event will tell, and it is a matter of seconds.
    Yes,
    /// An event should tell within seconds, but may be lost: for an invocation with little else to do.
    IfIdle,
    /// An event or the tick is soon enough.
    No,
}

/// A decision.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The record as it is to be.
    pub record: Record,
    /// What to add to the journal.
    pub entries: Vec<Entry>,
    /// What comes next.
    pub then: Then,
}

/// Where and when a decision is made.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The deployment.
    pub deployment: &'a str,
    /// The time.
    pub now: Timestamp,
    /// Whether the scheduled tick asks: retention ends at no other time.
    pub tick: bool,
    /// Whether nothing may be changed.
    pub suspended: bool,
}

/// Decides what comes next for a node, as far as one observation carries.
///
/// # Errors
/// [`Illegal`] if a phase met a signal that it does not know: a defect, reported and not acted on.
pub fn plan(record: Record, seen: &Observation, scope: Scope<'_>) -> Result<Plan, Illegal> {
    let mut draft = Draft::new(record, scope);
    // Each turn moves the node on by one phase at most; a life has no more phases than this.
    for _ in 0..Phase::ALL.len() {
        if let Some(wait) = draft.dismiss()? {
            return Ok(draft.done(wait));
        }
        recovery::give_up(&mut draft, seen)?;
        let phase = draft.record.phase;
        if !look(&draft.record, scope.deployment).is_covered_by(&seen.look) {
            return Ok(draft.done(Then::Look));
        }
        let then = match phase {
            Phase::New => {
                draft.begin_cycle();
                draft.signal(Signal::Accepted, "config accepted")?;
                Then::Look
            }
            Phase::Launching => launching::launching(&mut draft, seen)?,
            Phase::Attaching => living::attaching(&mut draft, seen)?,
            Phase::Running => living::running(&mut draft, seen)?,
            Phase::Interrupting => living::interrupting(&mut draft, seen)?,
            Phase::Releasing => ending::releasing(&mut draft, seen)?,
            Phase::Capturing => capturing::capturing(&mut draft, seen)?,
            Phase::Imaging => imaging::imaging(&mut draft, seen)?,
            Phase::Stopping => stopping::stopping(&mut draft, seen)?,
            Phase::Paused => resting::paused(&mut draft, seen)?,
            Phase::Deallocated => resting::deallocated(&mut draft, seen)?,
            Phase::Purging => purging::purging(&mut draft, seen)?,
            Phase::Gone => draft.rest("nothing: the node is gone"),
        };
        if then != Then::Look {
            return Ok(draft.done(then));
        }
    }
    Ok(draft.done(Then::Look))
}

/// What an interruption notice makes of a node, before anything is read: the notice comes first, since
/// the instance has two minutes. `None` if it is not for this node's instance, is stale, or is known.
///
/// # Errors
/// [`Illegal`], as for [`plan`].
pub fn notice(
    record: Record,
    instance: &InstanceId,
    at: Timestamp,
    scope: Scope<'_>,
) -> Result<Option<Plan>, Illegal> {
    let current = record.instance.as_ref().is_some_and(|i| &i.id == instance);
    let age = scope.now.duration_since(at);
    if !current || age > limits::NOTICE_FRESH || !record.phase.heeds_notice() {
        return Ok(None);
    }
    let mut draft = Draft::new(record, scope);
    draft.record.notice = Some(Notice { instance_id: instance.clone(), at, snapshot_tried: false });
    draft.signal(Signal::Noticed, "EC2 gave notice to take the spot instance back")?;
    draft.publish(Kind::NodeInterrupted);
    draft.record.work_at = Some(scope.now.saturating_add(limits::NEXT_TICK).unwrap_or(scope.now));
    Ok(Some(draft.done(Then::Look)))
}

/// A record being changed.
pub(crate) struct Draft<'a> {
    pub(crate) record: Record,
    pub(crate) scope: Scope<'a>,
    entries: Vec<Entry>,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(record: Record, scope: Scope<'a>) -> Self {
        Self { record, scope, entries: Vec::new() }
    }

    fn done(self, then: Then) -> Plan {
        Plan { record: self.record, entries: self.entries, then }
    }

    /// Ends a change that is not a plan.
    pub(crate) fn into_parts(self) -> (Record, Vec<Entry>) {
        (self.record, self.entries)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.scope.now
    }

    pub(crate) fn after(&self, pause: SignedDuration) -> Timestamp {
        self.scope.now.saturating_add(pause).unwrap_or(self.scope.now)
    }

    pub(crate) fn names(&self) -> Names<'_> {
        self.record.names(self.scope.deployment)
    }

    /// Adds a line to the journal.
    pub(crate) fn note(&mut self, what: impl Into<String>) {
        let entry = Entry {
            time: self.scope.now,
            what: what.into(),
            phase: self.record.phase,
            cycle: self.record.cycle,
        };
        self.entries.push(entry);
    }

    /// Puts an own event about the node as it now stands into the outbox.
    pub(crate) fn publish(&mut self, kind: Kind) {
        let nth = self.record.outbox.len();
        let event = OwnEvent::about(&self.record, kind, &self.record.reason, nth, self.scope.now);
        self.record.outbox.push(event);
    }

    /// Moves the node on. Getting anywhere lifts a block and ends a pause.
    pub(crate) fn signal(&mut self, signal: Signal, reason: impl Into<String>) -> Result<(), Illegal> {
        let (from, now) = (self.record.phase, self.scope.now);
        let to = from.after(signal)?;
        let spent = now.duration_since(self.record.phase_since).as_secs().max(0);
        if from != Phase::Running {
            *self.record.durations.entry(from).or_default() += spent;
        }
        self.record.moved(from, to, now);
        self.record.phase = to;
        self.record.phase_since = now;
        self.record.reason = reason.into();
        self.record.not_before = None;
        self.record.clean_not_before = None;
        self.record.stalled_since = None;
        self.note(format!("{from} → {to} after {spent} s: {}", self.record.reason));
        self.unblock();
        Ok(())
    }

    /// Marks the node as blocked, and tells of it if that is news.
    pub(crate) fn block(&mut self, code: &str, message: String, remedy: &str, retry: SignedDuration) {
        let retry_at = self.after(retry);
        self.record.not_before = Some(retry_at);
        let now = self.scope.now;
        let known = self.record.blocked.as_ref().filter(|b| b.code == code).map(|b| b.since);
        self.record.blocked = Some(Blocked {
            code: code.to_owned(),
            message: message.clone(),
            remedy: remedy.to_owned(),
            since: known.unwrap_or(now),
            retry_at,
        });
        if known.is_none() {
            self.note(format!("blocked ({code}): {message}. {remedy}"));
            let reason = std::mem::replace(&mut self.record.reason, format!("{message}. {remedy}"));
            self.publish(Kind::NodeBlocked);
            self.record.reason = reason;
        }
    }

    /// Marks the node as [`Draft::block`] does, and lets it go on.
    pub(crate) fn mark(&mut self, code: &str, message: String, remedy: &str) {
        let not_before = self.record.not_before;
        self.block(code, message, remedy, limits::LADDER_REST);
        self.record.not_before = not_before;
    }

    /// Lifts a block, now that something has gone well. A removal is confirmed by nothing that AWS does, and an
    /// Elastic IP address is not had because something else was.
    pub(crate) fn unblock(&mut self) {
        let (phase, is_absent) = (self.record.phase, self.record.absent_since.is_some());
        let stays = self.record.blocked.as_ref().is_some_and(|blocked| {
            (blocked.code == UNCONFIRMED && is_absent)
                || (elastic_ip::is_mark(&blocked.code) && elastic_ip::counts_in(phase))
                || data::is_mark(&self.record, &blocked.code)
        });
        if !stays {
            self.lift();
        }
    }

    /// Takes the mark off, whatever it is.
    pub(crate) fn lift(&mut self) {
        if let Some(blocked) = self.record.blocked.take() {
            self.note(format!("no longer blocked ({})", blocked.code));
            self.publish(Kind::NodeUnblocked);
        }
    }

    /// The operator accepted a recovery point of this time: what was written after it is lost.
    pub(crate) fn lose_since(&mut self, taken: Timestamp) {
        let taken = crate::names::whole_second(taken);
        let since = self.record.lost_since.map_or(taken, |since| since.min(taken));
        self.record.lost_since = Some(since);
    }

    /// A wait of at most `pause`; an earlier appointment stands.
    pub(crate) fn wait(&mut self, pause: SignedDuration, why: impl Into<String>) -> Then {
        self.appoint(pause);
        Then::Wait(Wait { why: why.into(), poll: Poll::No })
    }

    /// A wait for something that an event tells of, and that is a matter of seconds.
    pub(crate) fn expect(&mut self, why: impl Into<String>) -> Then {
        self.appoint(limits::NEXT_TICK);
        Then::Wait(Wait { why: why.into(), poll: Poll::IfIdle })
    }

    /// A wait for something that no event tells of and that is a matter of seconds.
    pub(crate) fn poll(&mut self, why: impl Into<String>) -> Then {
        self.appoint(limits::NEXT_TICK);
        Then::Wait(Wait { why: why.into(), poll: Poll::Yes })
    }

    /// A wait for nothing: all is done.
    pub(crate) fn rest(&mut self, why: impl Into<String>) -> Then {
        self.record.work_at = None;
        Then::Wait(Wait { why: why.into(), poll: Poll::No })
    }

    fn appoint(&mut self, pause: SignedDuration) {
        let (now, until) = (self.scope.now, self.after(pause));
        let stands = self.record.work_at.is_some_and(|at| at > now && at <= until);
        if !stands {
            self.record.work_at = Some(until);
        }
    }

    /// The wait that stands in the way of any step, if one does.
    pub(crate) fn paused(&mut self) -> Option<Then> {
        let until = self.record.not_before.filter(|until| *until > self.scope.now)?;
        let left = until.duration_since(self.scope.now);
        let why = match &self.record.blocked {
            Some(blocked) => format!("blocked ({}), tried again at {until}", blocked.code),
            None => format!("a short rest before the next try at {until}"),
        };
        let soon = self.record.blocked.is_none() && left <= limits::POLL_AT_MOST;
        let poll = if soon { Poll::Yes } else { Poll::No };
        self.appoint(left);
        Some(Then::Wait(Wait { why, poll }))
    }

    /// Takes a step, unless a pause stands in the way, or the step is for the tick.
    pub(crate) fn act(&mut self, step: Step) -> Then {
        match self.paused() {
            Some(wait) => wait,
            None if step.is_for_the_tick() && !self.scope.tick => {
                self.wait(limits::NEXT_TICK, format!("the tick, which alone may {}", step.name()))
            }
            None => Then::Act(Box::new(step)),
        }
    }

    /// Takes a step that clears away, unless the last try of one was answered with a pause. Clearing away
    /// keeps nothing else waiting.
    pub(crate) fn clear_away(&mut self, step: Step) -> Then {
        match self.record.clean_not_before.filter(|until| *until > self.scope.now) {
            Some(until) => self
                .wait(until.duration_since(self.scope.now), format!("the next try at {until} to clear away")),
            None => self.act(step),
        }
    }

    /// Whether what should have passed by itself has lasted so long that a person must be told.
    pub(crate) fn is_stalled(&mut self, patience: SignedDuration) -> bool {
        let now = self.scope.now;
        let since = *self.record.stalled_since.get_or_insert(now);
        now.duration_since(since) >= patience
    }

    /// Leaves alone what is not, or no longer, provably ours.
    pub(crate) fn let_go(&mut self, needless: &Superseded, why: &str) {
        self.note(format!("{} is left alone: {why}", living::word(needless)));
        self.record.forget(needless);
    }

    /// Keeps something until the life ends: nothing that a later instance does can prove it needless.
    pub(crate) fn set_aside(&mut self, resource: Resource, why: &str) {
        self.note(format!("{resource} is kept aside: {why}"));
        if !self.record.aside.contains(&resource) {
            self.record.aside.push(resource);
        }
    }

    /// Keeps everything of the root that is superseded, and what the present cycle was launched from, until the
    /// life ends: the next instance does not descend from it.
    pub(crate) fn set_all_aside(&mut self, why: &str) {
        self.spare_all(|it| !it.is_data(), why);
        self.record.image = None;
        self.record.finals.clear();
    }

    /// Keeps everything of data volumes that is superseded until the life ends.
    pub(crate) fn set_data_aside(&mut self, why: &str) {
        self.spare_all(Superseded::is_data, why);
    }

    fn spare_all(&mut self, is_meant: fn(&Superseded) -> bool, why: &str) {
        for needless in self.record.needless().iter().filter(|it| is_meant(it)) {
            self.set_aside(needless.resource(), why);
        }
        self.record.superseded.retain(|it| !is_meant(it));
    }

    /// Keeps one of what is superseded until the life ends.
    pub(crate) fn spare(&mut self, needless: &Superseded, why: &str) {
        self.set_aside(needless.resource(), why);
        self.record.superseded.retain(|it| it != needless);
    }

    /// Whether an instance from this image descends from the node's last root. If it does not, a new
    /// descent begins, and whatever was lost of the old one is no longer waited for.
    pub(crate) fn descends_from(&mut self, image: &ImageId) -> bool {
        let heir = self.record.image.as_ref().is_some_and(|own| own.id.as_ref() == Some(image));
        if !heir {
            self.set_all_aside("the instance launched now does not descend from it");
            self.record.descent = self.record.cycle;
            self.record.restore = None;
            if let Some(lost) = self.record.lost.take() {
                let volume = Resource::Volume(lost.volume_id);
                self.set_aside(volume, "it was lost, and the node began anew from its base image");
            }
        }
        heir
    }

    /// What the cycle now ending was launched from stays until the next one is proven.
    pub(crate) fn supersede_parent(&mut self) {
        let record = &mut self.record;
        record.superseded.extend(record.image.take().and_then(|i| i.id).map(Superseded::Image));
        let finals = record.finals.drain(..).filter_map(|last| last.snapshot_id);
        record.superseded.extend(finals.map(Superseded::Snapshot));
        // The operator may have chosen a recovery point that was set aside then.
        record.superseded.retain(|superseded| !record.aside.contains(&superseded.resource()));
    }

    /// Lets go of a node that is to be managed no longer, as soon as no launch of it is in the air.
    fn dismiss(&mut self) -> Result<Option<Then>, Illegal> {
        let record = &self.record;
        if record.goal != DesiredState::Released || record.intent.is_some() || record.phase.is_final() {
            return Ok(None);
        }
        if self.scope.suspended {
            // In purging no edit of the item could lift its own suspension any more.
            let wait = self.wait(limits::NEXT_TICK, "the suspension to be lifted, before it is let go of");
            return Ok(Some(wait));
        }
        self.signal(Signal::Dismissed, "desiredState is released: everything is left as it is")?;
        Ok(None)
    }

    /// Begins the next cycle: nothing of the last instance is left in it.
    pub(crate) fn begin_cycle(&mut self) {
        let record = &mut self.record;
        if let (Some(root), Some(instance)) = (&record.root, &record.instance) {
            let (device_name, platform) = (root.device_name.clone(), instance.platform.clone());
            record.blueprint = Some(Blueprint { device_name, platform });
            // An instance that ended before its root was described tells nothing of it.
            if !root.shape.volume_type.is_empty() {
                record.root_shape = Some(root.shape.clone());
            }
        }
        for entry in &mut record.data {
            (entry.attached, entry.detached_since) = (false, None);
            record.superseded.extend(entry.made.take().map(Superseded::DataVolume));
        }
        record.mapped.clear();
        record.sighted.clear();
        record.left_alone.clear();
        record.cycle += 1;
        record.instance = None;
        record.root = None;
        record.notice = None;
        record.intent = None;
        record.unseen = None;
        record.attempts = 0;
        record.rung = 0;
    }

    /// Notes that the instance of this cycle is ending or has ended, and moves on.
    pub(crate) fn ended(&mut self, facts: Option<&InstanceFacts>) -> Result<(), Illegal> {
        let now = self.scope.now;
        let was_up = matches!(self.record.phase, Phase::Attaching | Phase::Running);
        if let Some(facts) = facts {
            living::note_root(self, facts);
        }
        if let Some(root) = self.record.root.as_mut() {
            // That the instance did not show it says nothing about the volume.
            root.missing_since = None;
        }
        if let Some(instance) = self.record.instance.as_mut() {
            instance.ended_at.get_or_insert(now);
        }
        let why = match facts {
            Some(facts) if !facts.state_reason.is_empty() => {
                format!("the instance has ended: {}", facts.state_reason)
            }
            Some(_) => "the instance has ended".to_owned(),
            None => "the instance is gone".to_owned(),
        };
        self.signal(Signal::Ended, why)?;
        if was_up {
            self.publish(Kind::NodeInterrupted);
        }
        Ok(())
    }
}

/// What one read says of the instance of this cycle.
pub(crate) enum Alive<'a> {
    /// It was seen, and has not ended.
    Yes(&'a InstanceFacts),
    /// It was seen ending or ended.
    Ending(&'a InstanceFacts),
    /// It was not seen, and that does not prove anything yet.
    Unsure,
    /// It was not seen for so long, with nothing attached to it, that it is gone.
    Gone,
}

/// The instance of this cycle, or what comes of not having it.
pub(crate) enum Present<'a> {
    /// It lives.
    Here(&'a InstanceFacts),
    /// It has ended, and the node has moved on; or nobody knows, and the node waits.
    Otherwise(Then),
}

/// Moves a node on whose instance has ended; what a living one means is the phase's own matter.
pub(crate) fn present<'s>(draft: &mut Draft<'_>, seen: &'s Observation) -> Result<Present<'s>, Illegal> {
    let ended = match alive(draft, seen) {
        Alive::Yes(facts) => return Ok(Present::Here(facts)),
        Alive::Unsure => {
            let wait = draft.wait(limits::NEXT_TICK, "a read that shows the instance");
            return Ok(Present::Otherwise(wait));
        }
        Alive::Ending(facts) => Some(facts),
        Alive::Gone => None,
    };
    draft.ended(ended)?;
    Ok(Present::Otherwise(Then::Look))
}

/// Judges the instance of this cycle. Not seeing it is no proof that it ended: EC2 may lag, and a
/// terminated instance is shown for about an hour.
pub(crate) fn alive<'s>(draft: &mut Draft<'_>, seen: &'s Observation) -> Alive<'s> {
    let now = draft.scope.now;
    let Some(instance) = draft.record.instance.as_mut() else { return Alive::Gone };
    match seen.instances.get(&instance.id) {
        Some(facts) => {
            instance.missing_since = None;
            if facts.state.has_ended() { Alive::Ending(facts) } else { Alive::Yes(facts) }
        }
        None => {
            let since = *instance.missing_since.get_or_insert(now);
            let id = instance.id.clone();
            let held = seen.volumes.values().any(|v| v.attached_to.contains(&id))
                || seen.interfaces.values().any(|i| i.attached_to.as_ref() == Some(&id));
            let long_enough = now.duration_since(since) >= limits::MISSING_IS_GONE;
            if long_enough && !held { Alive::Gone } else { Alive::Unsure }
        }
    }
}

#[cfg(test)]
mod tests;

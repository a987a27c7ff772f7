//! The orphan pass, once an hour: everything that carries our tags, held against the records.
//!
//! Everything is read first and the records after it, so that what was written before a resource was found
//! is known. What is told, adopted or about to be deleted is written down in the record as it was judged:
//! whoever wrote meanwhile is left alone until the next hour. Nothing is changed while suspended.

mod backups;

use std::collections::BTreeMap;

use futures::{StreamExt, join};
use jiff::Timestamp;
use perennial_core::ids::{NodeName, Resource};
use perennial_core::limits;
use perennial_core::names::{Names, Tagged, made_for, whole_second};
use perennial_core::observation::Observation;
use perennial_core::orphans::{
    Adoption, Finding, Found, Orphans, Sight, adopt, all, deleting, event, is_backup, judge, tell,
};
use perennial_core::phase::Phase;
use perennial_core::record::Record;
use perennial_core::step::Outcome;

use crate::Engine;
use crate::commit::Working;
use crate::drive::Drive;
use crate::ports::{Bus, Clock, Ec2, Reply, Store, Written};

/// How many records are read side by side.
const AT_ONCE: usize = 16;
/// Calls that must fit into what is left of an invocation for the pass to begin.
const CALLS_TO_BEGIN: i32 = 3;

/// A pass under way.
struct Pass<'a> {
    seen: &'a Observation,
    now: Timestamp,
    suspended: bool,
    /// What was remembered before it.
    known: Orphans,
    /// What will be.
    next: Orphans,
    /// Adoptions and deletions that it may still make.
    changes: usize,
    /// Orphans that it may still tell of.
    reports: usize,
}

/// What is found of one node.
struct Group<'a> {
    node: Option<NodeName>,
    found: Vec<Found<'a>>,
}

/// The record of a group's node, as far as it can be known.
enum Read {
    /// There is none.
    None,
    /// This.
    Known(Box<Record>),
    /// One of a newer version, or one that could not be read: its node's things are left alone.
    Unknown,
    /// The invocation is nearly over.
    OutOfTime,
}

/// What one group's judgement leads to once the record is written.
#[derive(Default)]
struct Verdicts<'a> {
    /// Told of for the first time, and why.
    told: Vec<(Found<'a>, String)>,
    /// To be deleted.
    doomed: Vec<Found<'a>>,
}

impl Pass<'_> {
    /// Keeps in mind that something is an orphan.
    fn remember(&mut self, id: &str) {
        if self.next.since.len() < limits::ORPHANS_REMEMBERED || self.known.since.contains_key(id) {
            let since = self.known.since.get(id).copied().unwrap_or(self.now);
            self.next.since.insert(id.to_owned(), since);
            if self.known.told.contains(id) {
                self.next.told.insert(id.to_owned());
            }
        }
    }

    /// Whether something is to be told of now.
    fn is_news(&mut self, id: &str) -> bool {
        let news = self.next.since.contains_key(id) && !self.known.told.contains(id) && self.reports > 0;
        self.reports -= usize::from(news);
        news
    }

    /// Whether one more change may be made.
    fn may_change(&mut self, suspended: bool) -> bool {
        let may = !suspended && self.changes > 0;
        self.changes -= usize::from(may);
        may
    }
}

impl<E: Ec2, S: Store, B: Bus, C: Clock> Engine<E, S, B, C> {
    /// Looks for orphans, if it is time to.
    ///
    /// # Errors
    /// A failure of the reads by tag, or of the write of what is remembered: the next tick begins again.
    pub(crate) async fn orphan_pass(&self) -> Reply<()> {
        if !self.has_time_for(CALLS_TO_BEGIN) {
            return Ok(());
        }
        let known = self.store.orphans().await?.unwrap_or_default();
        let now = whole_second(self.clock.now());
        if !known.is_due(now) {
            return Ok(());
        }
        let suspended = self.is_suspended().await?;
        let seen = self.whole_deployment().await?;
        let groups = by_node(&seen);
        let reads: Vec<_> = groups.iter().map(|group| self.record_of(group)).collect();
        let reads: Vec<Read> = futures::stream::iter(reads).buffered(AT_ONCE).collect().await;
        if reads.iter().any(|read| matches!(read, Read::OutOfTime)) {
            return Ok(());
        }
        let generation = known.generation;
        let next = Orphans { generation: generation + 1, checked_at: Some(now), ..Orphans::default() };
        let (changes, reports) = (limits::ORPHAN_CHANGES, limits::ORPHAN_REPORTS);
        let mut pass = Pass { seen: &seen, now, suspended, known, next, changes, reports };
        for (group, read) in groups.iter().zip(reads) {
            self.judge_group(&mut pass, group, read).await;
        }
        if let Err(failure) = self.judge_backups(&mut pass).await {
            tracing::warn!(code = %failure.code, "orphans among the backups were not looked for: {failure}");
        }
        if self.store.write_orphans(&pass.next, generation).await? == Written::Conflict {
            tracing::info!("another invocation has just looked for orphans");
        }
        Ok(())
    }

    /// Everything that carries the tags of this deployment.
    async fn whole_deployment(&self) -> Reply<Observation> {
        let (ec2, tagged) = (&self.ec2, Tagged::of(&self.deployment));
        let (instances, volumes, interfaces, snapshots, images) = join!(
            ec2.instances_tagged(&tagged),
            ec2.volumes_tagged(&tagged),
            ec2.interfaces_tagged(&tagged),
            ec2.snapshots_tagged(&tagged),
            ec2.images_tagged(&tagged),
        );
        let mut seen = Observation::default();
        seen.instances.extend(instances?.into_iter().map(|it| (it.id.clone(), it)));
        seen.volumes.extend(volumes?.into_iter().map(|it| (it.id.clone(), it)));
        seen.interfaces.extend(interfaces?.into_iter().map(|it| (it.id.clone(), it)));
        seen.snapshots.extend(snapshots?.into_iter().map(|it| (it.id.clone(), it)));
        seen.images.extend(images?.into_iter().map(|it| (it.id.clone(), it)));
        Ok(seen)
    }

    async fn record_of(&self, group: &Group<'_>) -> Read {
        let Some(node) = &group.node else { return Read::None };
        if !self.has_time_for(2) {
            return Read::OutOfTime;
        }
        match self.load(node).await {
            Ok(Ok(record)) => Read::Known(Box::new(record)),
            Ok(Err(Drive::NoRecord)) => Read::None,
            Ok(Err(_)) => Read::Unknown,
            Err(failure) => {
                tracing::warn!(%node, code = %failure.code, "its orphans are not looked for: {failure}");
                Read::Unknown
            }
        }
    }

    /// Judges what is found of one node, and does what comes of it.
    async fn judge_group(&self, pass: &mut Pass<'_>, group: &Group<'_>, read: Read) {
        let mut working = match read {
            Read::Known(record) if self.has_time_for(CALLS_TO_BEGIN) => Some(Working::read(*record)),
            Read::None if self.has_time_for(CALLS_TO_BEGIN) => None,
            Read::Known(_) | Read::None | Read::Unknown | Read::OutOfTime => {
                let ids = group.found.iter().map(|found| found.resource());
                let known: Vec<_> = ids.filter(|it| pass.known.since.contains_key(it.id())).collect();
                known.iter().for_each(|resource| pass.remember(resource.id()));
                return;
            }
        };
        let mut verdicts = Verdicts::default();
        let mut adopted = Vec::new();
        for found in &group.found {
            let finding = self.judge_one(pass, *found, working.as_ref());
            if let Finding::Adopt(_) = &finding {
                adopted.push(found.resource());
            }
            self.take_finding(pass, *found, finding, working.as_mut(), &mut verdicts);
        }
        match self.settle(working.as_mut(), &verdicts, pass.now).await {
            Ok(Written::Done) => {
                pass.next
                    .told
                    .extend(verdicts.told.iter().map(|(found, _)| found.resource().id().to_owned()));
                self.delete_orphans(pass, group, &verdicts).await;
            }
            Ok(Written::Conflict) => adopted.iter().for_each(|resource| pass.remember(resource.id())),
            Err(failure) => {
                adopted.iter().for_each(|resource| pass.remember(resource.id()));
                tracing::warn!(code = %failure.code, "orphans were found and not told of: {failure}");
            }
        }
    }

    fn judge_one(&self, pass: &Pass<'_>, found: Found<'_>, working: Option<&Working>) -> Finding {
        let again = pass.known.since.contains_key(found.resource().id());
        let sight = Sight { deployment: &self.deployment, now: pass.now, again };
        judge(found, working.map(|working| &working.record), pass.seen, sight)
    }

    /// Changes the record as a finding asks, and notes what is to follow its write.
    fn take_finding<'f>(
        &self,
        pass: &mut Pass<'_>,
        found: Found<'f>,
        finding: Finding,
        working: Option<&mut Working>,
        verdicts: &mut Verdicts<'f>,
    ) {
        let resource = found.resource();
        let suspended =
            pass.suspended || working.as_ref().is_some_and(|working| working.record.config().suspend);
        match finding {
            Finding::Explained => {}
            Finding::Unsettled => pass.remember(resource.id()),
            Finding::Adopt(adoption) => match working {
                Some(working) if pass.may_change(suspended) => self.take_in(working, &adoption),
                Some(_) | None => pass.remember(resource.id()),
            },
            Finding::Report(why) => {
                pass.remember(resource.id());
                self.tell_of(pass, found, format!("{why}. It is left alone"), working, verdicts);
            }
            Finding::Delete(why) => {
                pass.remember(resource.id());
                if !pass.known.told.contains(resource.id()) {
                    let keep = "It is deleted a day after it was first seen: to keep it, take its tags off";
                    self.tell_of(pass, found, format!("{why}. {keep}"), working, verdicts);
                } else if let Some(working) = working
                    && pass.known.may_go(resource.id(), pass.now)
                    && pass.may_change(suspended)
                {
                    let scope = self.scope_of_tick(&working.record);
                    let (record, entries) = deleting(working.record.clone(), &resource, &why, scope);
                    working.take(record, entries);
                    verdicts.doomed.push(found);
                }
            }
        }
    }

    fn take_in(&self, working: &mut Working, adoption: &Adoption) {
        let scope = self.scope_of_tick(&working.record);
        let (record, entries) = adopt(working.record.clone(), adoption, scope);
        working.take(record, entries);
    }

    fn tell_of<'f>(
        &self,
        pass: &mut Pass<'_>,
        found: Found<'f>,
        why: String,
        working: Option<&mut Working>,
        verdicts: &mut Verdicts<'f>,
    ) {
        if !pass.is_news(found.resource().id()) {
            return;
        }
        if let Some(working) = working {
            let scope = self.scope_of_tick(&working.record);
            let (record, entries) = tell(working.record.clone(), found, &why, scope);
            working.take(record, entries);
        }
        verdicts.told.push((found, why));
    }

    /// Writes the record and publishes what there is to tell. A record that is gone, or is not there, has
    /// no outbox: its events go out at once, and again at the next pass if that fails.
    async fn settle(
        &self,
        working: Option<&mut Working>,
        verdicts: &Verdicts<'_>,
        now: Timestamp,
    ) -> Reply<Written> {
        let living = working.as_ref().is_some_and(|working| working.record.phase != Phase::Gone);
        let mut record = None;
        if let Some(working) = working {
            if !working.is_changed() {
                return Ok(Written::Done);
            }
            if self.write(working).await? == Written::Conflict {
                return Ok(Written::Conflict);
            }
            record = Some(&working.record);
            if living {
                let end = Drive::Waits("the next orphan pass".to_owned());
                // What is not published now is by the tick: the outbox holds it.
                if let Err(failure) = self.finish(working.clone(), end).await {
                    tracing::info!(code = %failure.code, "orphans are told of later: {failure}");
                }
            }
        }
        for (found, why) in &verdicts.told {
            tracing::warn!(resource = found.resource().id(), node = found.node(), "an orphan: {why}");
        }
        if !living && !verdicts.told.is_empty() {
            let told = verdicts.told.iter();
            let events: Vec<_> = told.map(|(found, why)| event(*found, record, why, now)).collect();
            self.bus.publish(&events).await?;
        }
        Ok(Written::Done)
    }

    /// Deletes what is proven not to be needed. What cannot be deleted now is tried again in an hour.
    async fn delete_orphans(&self, pass: &mut Pass<'_>, group: &Group<'_>, verdicts: &Verdicts<'_>) {
        let Some(node) = &group.node else { return };
        for found in &verdicts.doomed {
            if !self.has_time_for(2) {
                return;
            }
            let (resource, life) = (found.resource(), found.life().unwrap_or_default());
            let names = Names { deployment: &self.deployment, node, life };
            if self.delete_orphan(&resource, &names).await {
                pass.next.since.remove(resource.id());
                pass.next.told.remove(resource.id());
            }
        }
    }

    async fn delete_orphan(&self, resource: &Resource, names: &Names<'_>) -> bool {
        match self.delete_ours(resource, names, made_for(resource)).await {
            Ok(Outcome::NotOurs(why)) => {
                tracing::warn!(resource = resource.id(), "left alone: {why}");
                false
            }
            Ok(Outcome::Failed(failure)) | Err(failure) => {
                tracing::info!(resource = resource.id(), code = %failure.code, "not deleted yet: {failure}");
                false
            }
            Ok(_) => true,
        }
    }
}

/// What is found of nodes, by the node that its tags name. A name that no node can have is like none.
fn by_node(seen: &Observation) -> Vec<Group<'_>> {
    let mut groups: BTreeMap<Option<NodeName>, Vec<Found<'_>>> = BTreeMap::new();
    for found in all(seen).into_iter().filter(|found| !is_backup(*found)) {
        groups.entry(found.node().and_then(NodeName::parse)).or_default().push(found);
    }
    groups.into_iter().map(|(node, found)| Group { node, found }).collect()
}

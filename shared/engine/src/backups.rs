//! The pass over image backups, every minute: what is due is begun, what is under way is followed, and what is
//! beyond its time goes.
//!
//! Nothing is decided here. Each step is written down before it is taken, under the group's generation; what may be
//! deleted is read once more by its id right before.

use std::collections::{BTreeMap, BTreeSet};
use std::slice::from_ref;

use futures::{StreamExt, TryStreamExt, join, stream};
use jiff::SignedDuration;
use perennial_core::backup::{Look, Scope, Seen, Step, absorb, look, plan};
use perennial_core::failure::{Class, Failure};
use perennial_core::group::GroupRecord;
use perennial_core::guard::{self, Verdict};
use perennial_core::ids::{ImageId, InstanceId, NodeName, Resource, SnapshotId};
use perennial_core::journal::Kind;
use perennial_core::limits;
use perennial_core::names::{GroupNames, Purpose, Tagged, whole_second};
use perennial_core::observation::{ImageFacts, InstanceFacts, InstanceState, SnapshotFacts};
use perennial_core::record::Record;

use crate::Engine;
use crate::drive::Drive;
use crate::ports::{Bus, Clock, Ec2, Reply, Store, Written};

/// How many groups, or members of one, are worked on side by side.
const AT_ONCE: usize = 8;
/// So many instances' status is read in one call (EC2 API reference, *DescribeInstanceStatus*).
const STATUS_AT_ONCE: usize = 100;

/// What a pass did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackupTick {
    /// Groups whose backups are on.
    pub groups: usize,
    /// Backups that became available.
    pub created: usize,
    /// Attempts that came to nothing.
    pub failed: usize,
    /// Backups that were removed.
    pub removed: usize,
    /// Groups that were not gone through to the end, for a failure or for want of time.
    pub left: usize,
    /// The age of the oldest among the groups' newest backups.
    pub age: Option<SignedDuration>,
    /// For how long a backup has been due that is not there, in the group that is worst off.
    pub lag: SignedDuration,
}

/// What all groups are held against, read once a pass.
struct World {
    /// All backups of the deployment.
    images: BTreeMap<ImageId, ImageFacts>,
    /// All instances of the deployment.
    fleet: BTreeMap<InstanceId, InstanceFacts>,
    suspended: bool,
}

/// What is known for one decision.
#[derive(Default)]
struct Facts {
    images: BTreeMap<ImageId, ImageFacts>,
    snapshots: BTreeMap<SnapshotId, SnapshotFacts>,
    asked: BTreeSet<SnapshotId>,
    members: Option<BTreeMap<NodeName, Record>>,
    passed: BTreeSet<InstanceId>,
    is_gone: bool,
    leftovers: bool,
}

impl<E: Ec2, S: Store, B: Bus, C: Clock> Engine<E, S, B, C> {
    /// Goes through the backups of all groups. A group that fails keeps the others not waiting.
    ///
    /// # Errors
    /// A failure of the reads that all groups are held against.
    pub async fn backup_pass(&self) -> Reply<BackupTick> {
        let mut tick = BackupTick::default();
        let groups = self.store.groups_with_backups().await?;
        if groups.is_empty() {
            return Ok(tick);
        }
        let backups = Tagged { purposes: &[Purpose::Backup], ..Tagged::of(&self.deployment) };
        let (suspended, images, fleet) =
            join!(self.is_suspended(), self.ec2.images_tagged(&backups), self.fleet());
        let images = images?.into_iter().map(|it| (it.id.clone(), it)).collect();
        let world = World { images, fleet: fleet?, suspended: suspended? };
        let passes = groups.into_iter().map(|group| self.group_backups(group, &world));
        let ends: Vec<BackupTick> = stream::iter(passes).buffer_unordered(AT_ONCE).collect().await;
        for end in ends {
            tick.add(&end);
        }
        Ok(tick)
    }

    async fn group_backups(&self, mut record: GroupRecord, world: &World) -> BackupTick {
        let mut tick = BackupTick::default();
        let is_suspended = world.suspended || record.config.is_suspended();
        if !is_suspended && let Err(failure) = self.advance_backups(&mut record, world, &mut tick).await {
            tick.left += 1;
            tracing::warn!(group = %record.name, code = %failure.code, "{failure}");
        }
        if let Some(backups) = record.backups.as_ref().filter(|_| !record.removed) {
            let now = self.clock.now();
            tick.groups = usize::from(backups.since.is_some());
            (tick.age, tick.lag) = (backups.age(now), backups.lag(&record, now));
        }
        tick
    }

    /// Goes on with one group until there is nothing to be done now.
    async fn advance_backups(
        &self,
        record: &mut GroupRecord,
        world: &World,
        tick: &mut BackupTick,
    ) -> Reply<()> {
        for _ in 0..limits::STEPS_PER_DRIVE {
            if !self.has_time_for(4) {
                tick.left += 1;
                break;
            }
            let asked = look(record, self.backup_scope());
            let facts = self.look_at_backups(record, asked, world).await?;
            // Time has passed meanwhile; what was read is judged as of now.
            let scope = self.backup_scope();
            let decided = plan(record, facts.seen(world), scope);
            let is_changed = decided.record != *record;
            if !self.take_backups(record, decided.record, decided.notes).await? {
                // Somebody else wrote first: the next tick looks again.
                return Ok(());
            }
            let Some(step) = decided.step else {
                if is_changed {
                    continue;
                }
                break;
            };
            let outcome = self.perform_backup(record, &step).await;
            if !self.conclude_backup(record, &step, outcome).await? {
                return Ok(());
            }
        }
        self.publish_backups(record, tick).await
    }

    fn backup_scope(&self) -> Scope<'_> {
        Scope { deployment: &self.deployment, now: whole_second(self.clock.now()) }
    }

    /// Writes what was decided, if it is anything; `false` if somebody else wrote first.
    async fn take_backups(
        &self,
        record: &mut GroupRecord,
        mut next: GroupRecord,
        notes: Vec<String>,
    ) -> Reply<bool> {
        if next != *record {
            let generation = record.generation;
            if self.write_group(&mut next, generation).await? == Written::Conflict {
                return Ok(false);
            }
            *record = next;
        }
        for note in notes {
            tracing::info!(group = %record.name, "backups: {note}");
        }
        Ok(true)
    }

    /// Writes what became of a step. An edit may have been written meanwhile: then it goes into the newer record.
    async fn conclude_backup(
        &self,
        record: &mut GroupRecord,
        step: &Step,
        outcome: Result<Option<ImageId>, Failure>,
    ) -> Reply<bool> {
        for _ in 0..3 {
            let said = absorb(record, step, outcome.clone(), self.backup_scope());
            if self.take_backups(record, said.record, said.notes).await? {
                return Ok(true);
            }
            match self.store.group(&record.name).await? {
                Some(fresh) => *record = fresh,
                None => return Ok(false),
            }
        }
        Ok(false)
    }

    /// Publishes what the outbox holds and empties it. An event may go out twice, never not at all.
    async fn publish_backups(&self, record: &mut GroupRecord, tick: &mut BackupTick) -> Reply<()> {
        let events = record.backups.as_ref().map(|backups| backups.outbox.clone()).unwrap_or_default();
        if events.is_empty() {
            return Ok(());
        }
        self.bus.publish(&events).await?;
        for event in &events {
            match event.kind {
                Kind::BackupCreated => tick.created += 1,
                Kind::BackupFailed => tick.failed += 1,
                _ => tick.removed += 1,
            }
        }
        let mut next = record.clone();
        if let Some(backups) = next.backups.as_mut() {
            backups.outbox.clear();
        }
        self.take_backups(record, next, Vec::new()).await?;
        Ok(())
    }

    /// Reads what a decision asks for.
    async fn look_at_backups(&self, record: &GroupRecord, asked: Look, world: &World) -> Reply<Facts> {
        let mut facts = Facts { leftovers: asked.leftovers, ..Facts::default() };
        let names = GroupNames { deployment: &self.deployment, group: &record.name };
        let own = world.images.iter().filter(|(_, it)| names.owns(&it.tags));
        facts.images.extend(own.map(|(id, it)| (id.clone(), it.clone())));
        // By id as well, also those that nobody knows: a read by tags may lag behind, and what was seen at the beginning
        // of the pass may be past, such as a backup that this very pass removed.
        let known: BTreeSet<&ImageId> = asked.images.iter().collect();
        let unknown = facts.images.keys().filter(|id| !known.contains(id));
        let by_id: Vec<ImageId> = known.iter().copied().chain(unknown).cloned().collect();
        if !by_id.is_empty() {
            let found = self.ec2.images(&by_id).await?;
            facts.images = found.into_iter().map(|it| (it.id.clone(), it)).collect();
        }
        if let Some(name) = &asked.name {
            let found = self.ec2.images_by_name(name).await?;
            facts.images.extend(found.into_iter().map(|it| (it.id.clone(), it)));
        }
        if !asked.snapshots.is_empty() {
            let found = self.ec2.snapshots(&asked.snapshots).await?;
            facts.snapshots.extend(found.into_iter().map(|it| (it.id.clone(), it)));
            facts.asked.extend(asked.snapshots);
        }
        if asked.leftovers {
            facts.is_gone = !self.has_item(&record.name.key()).await?;
            let tagged = Tagged { purposes: &[Purpose::Backup], ..Tagged::of(&self.deployment) };
            let found = self.ec2.snapshots_tagged(&tagged).await?;
            let own = found.into_iter().filter(|it| names.owns(&it.tags));
            facts.snapshots.extend(own.map(|it| (it.id.clone(), it)));
        }
        if asked.members {
            facts.members = self.all_members(record).await?;
        }
        let of_members = facts.members.iter().flatten().filter_map(|(_, it)| Some(&it.instance.as_ref()?.id));
        let proofs = world.fleet.values().filter(|it| asked.proof_of.contains(&it.image)).map(|it| &it.id);
        let runs =
            |id: &&InstanceId| world.fleet.get(*id).is_some_and(|it| it.state == InstanceState::Running);
        let to_prove: BTreeSet<&InstanceId> = of_members.chain(proofs).filter(runs).collect();
        let to_prove: Vec<InstanceId> = to_prove.into_iter().cloned().collect();
        for ids in to_prove.chunks(STATUS_AT_ONCE) {
            facts.passed.extend(self.ec2.checks_passed(ids).await?);
        }
        Ok(facts)
    }

    /// The records of all members; `None` if one of them cannot be known, and so may say anything.
    async fn all_members(&self, record: &GroupRecord) -> Reply<Option<BTreeMap<NodeName, Record>>> {
        let reads = record.members.iter().map(|member| self.load(&member.name));
        let read: Vec<_> = stream::iter(reads).buffered(AT_ONCE).try_collect().await?;
        let mut members = BTreeMap::new();
        for one in read {
            match one {
                Ok(record) => {
                    members.insert(record.name.clone(), record);
                }
                Err(Drive::NoRecord) => {}
                Err(_) => return Ok(None),
            }
        }
        Ok(Some(members))
    }

    /// Takes a step.
    async fn perform_backup(&self, record: &GroupRecord, step: &Step) -> Result<Option<ImageId>, Failure> {
        let names = GroupNames { deployment: &self.deployment, group: &record.name };
        match step {
            Step::Create(request) => self.ec2.create_image(request).await.map(Some),
            Step::Deregister { image, with_snapshots } => {
                let found = self.ec2.images(from_ref(image)).await?;
                match found.iter().find(|it| it.id == *image).map(|it| guard::backup_image(&names, it)) {
                    None => {}
                    Some(Verdict::Go) if *with_snapshots => {
                        self.ec2.deregister_with_snapshots(image).await?;
                    }
                    Some(Verdict::Go) => self.ec2.deregister_image(image).await?,
                    Some(verdict) => return Err(refused(verdict)),
                }
                Ok(None)
            }
            Step::DeleteSnapshot(id) => {
                let found = self.ec2.snapshots(from_ref(id)).await?;
                match found.iter().find(|it| it.id == *id).map(|it| guard::backup_snapshot(&names, it)) {
                    None => {}
                    Some(Verdict::Go) => self.ec2.delete_snapshot(id).await?,
                    Some(verdict) => return Err(refused(verdict)),
                }
                Ok(None)
            }
            Step::HandOver(resource) => self.part_with(resource, &names).await.map(|()| None),
        }
    }

    /// Hands something over, if it is still a backup of this group.
    async fn part_with(&self, resource: &Resource, names: &GroupNames<'_>) -> Reply<()> {
        let Some(tags) = self.tags_of(resource).await?.filter(|tags| names.owns(tags)) else { return Ok(()) };
        self.untag_ours(resource, tags).await
    }
}

fn refused(verdict: Verdict) -> Failure {
    let (class, why) = match verdict {
        Verdict::NotYet(why) => (Class::NotYet, why),
        Verdict::NotOurs(why) => (Class::Terminal, why),
        Verdict::Go => (Class::Retry, String::new()),
    };
    Failure::new(class, "EC2:Delete", "NotFree", why)
}

impl Facts {
    fn seen<'a>(&'a self, world: &'a World) -> Seen<'a> {
        Seen {
            images: &self.images,
            snapshots: &self.snapshots,
            asked: &self.asked,
            members: self.members.as_ref(),
            instances: &world.fleet,
            passed: &self.passed,
            is_gone: self.is_gone,
            leftovers: self.leftovers,
        }
    }
}

impl BackupTick {
    /// Adds what became of one group.
    fn add(&mut self, other: &Self) {
        self.groups += other.groups;
        self.created += other.created;
        self.failed += other.failed;
        self.removed += other.removed;
        self.left += other.left;
        self.age = self.age.max(other.age);
        self.lag = self.lag.max(other.lag);
    }
}

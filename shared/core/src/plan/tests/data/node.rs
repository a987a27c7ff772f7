//! A node that lives in the account, with a guest that writes: driven tick by tick, with faults if wanted.

use std::collections::BTreeMap;

use super::super::*;
use super::account::{Ec2, ROOT, names};
use crate::config::{DataMode, DataPolicy, RootPolicy};
use crate::ids::Resource;
use crate::record::DataVolume;

/// How far apart two ticks are, in seconds.
const TICK: i64 = 20;

/// What a node is to keep.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keeps {
    pub(super) mode: Option<DataMode>,
    pub(super) root: bool,
    pub(super) network: bool,
}

/// Both modes, with and without root and network.
pub(super) fn every_way() -> impl Iterator<Item = Keeps> {
    [DataMode::Reattach, DataMode::Snapshot].into_iter().flat_map(|mode| {
        let bools = [true, false];
        bools.into_iter().flat_map(move |root| {
            bools.into_iter().map(move |network| Keeps { mode: Some(mode), root, network })
        })
    })
}

pub(super) const REATTACH: Keeps = Keeps { mode: Some(DataMode::Reattach), root: true, network: false };
pub(super) const SNAPSHOT: Keeps = Keeps { mode: Some(DataMode::Snapshot), root: true, network: false };

pub(super) fn policy(mode: DataMode) -> DataPolicy {
    DataPolicy { mode, snapshot_every: SignedDuration::from_mins(5), keep: 3 }
}

/// Chance from a seed, always the same for the same seed (Steele, Lea and Flood, *SplitMix*).
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// The process dies before it is sent.
    DiesBefore,
    /// It is done, and the process dies before that is written down.
    DiesAfter,
    /// It is done, and its answer is lost.
    Unheard,
    /// It is refused for now.
    Refused(Class),
}

pub(super) struct Living {
    pub(super) ec2: Ec2,
    pub(super) record: Record,
    pub(super) second: i64,
    /// The steps taken.
    pub(super) steps: Vec<Step>,
    /// The lines of the journal.
    pub(super) told: Vec<String>,
    /// What the guest last wrote to each device.
    pub(super) written: BTreeMap<String, u64>,
    /// Whether the scheduled tick drives the node.
    pub(super) tick: bool,
    /// Chance of faults and of reads that lag, if there is any.
    pub(super) dice: Option<Dice>,
    /// What becomes of the next calls of these names.
    pub(super) faults: Vec<(&'static str, Fault)>,
    /// What becomes of the call that comes after so many others.
    pub(super) nth: Option<(usize, Fault)>,
    past: Ec2,
    last: u64,
    full: u32,
}

impl Living {
    /// A node before its first launch.
    pub(super) fn new(keeps: Keeps) -> Self {
        let mut record = Record { network: None, ..new_record() };
        let config = &mut record.config.config;
        config.launch.subnets = vec![SubnetId::new("subnet-1"), SubnetId::new("subnet-2")];
        config.place = Some(0);
        config.persist.data = keeps.mode.map(policy);
        if !keeps.root {
            config.persist.root = None;
        }
        if !keeps.network {
            config.persist.network = None;
        }
        let ec2 = Ec2::new();
        Self {
            past: ec2.clone(),
            ec2,
            record,
            second: 0,
            steps: Vec::new(),
            told: Vec::new(),
            written: BTreeMap::new(),
            tick: true,
            dice: None,
            faults: Vec::new(),
            nth: None,
            last: 0,
            full: 0,
        }
    }

    /// A node that runs, and whose guest has written to all its disks.
    pub(super) fn running(keeps: Keeps) -> Self {
        let mut node = Self::new(keeps);
        node.until(Phase::Running);
        node.write();
        node
    }

    /// Every volume that is attached and not the root is written to, and so is the root.
    pub(super) fn write(&mut self) {
        for facts in self.ec2.instances.values().filter(|it| it.state == InstanceState::Running) {
            let persist = &self.record.config().persist;
            let is_kept = |device: &str| match device == ROOT {
                true => persist.root.is_some(),
                false => persist.data.is_some(),
            };
            let is_foreign = |id: &VolumeId| {
                let tags = &self.ec2.volumes[id].tags;
                tags.contains_key("perennial:deployment") && !names().owns(tags)
            };
            let written = facts.volumes.iter().filter(|it| {
                // What would be deleted with the instance is not the node's to keep yet.
                !it.attaching && !it.delete_on_termination && is_kept(&it.device)
            });
            let written = written.filter(|it| !is_foreign(&it.volume)).collect::<Vec<_>>();
            for volume in written {
                self.last += 1;
                self.ec2.bytes.insert(volume.volume.to_string(), self.last);
                self.written.insert(volume.device.clone(), self.last);
            }
        }
    }

    /// One tick: the account goes on, and the node is driven until it waits.
    pub(super) fn tick(&mut self) {
        self.second += TICK;
        self.past = self.ec2.clone();
        self.ec2.settle();
        self.drive();
    }

    pub(super) fn ticks(&mut self, n: usize) {
        for _ in 0..n {
            self.tick();
        }
    }

    /// For so many seconds nothing but time goes by, then one tick.
    pub(super) fn later(&mut self, seconds: i64) {
        self.second += seconds;
        self.tick();
    }

    /// Ticks until the node stands there.
    pub(super) fn until(&mut self, phase: Phase) {
        self.until_it(phase.as_str(), |node| node.record.phase == phase);
    }

    pub(super) fn until_it(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        for _ in 0..400 {
            if is_so(self) {
                return;
            }
            self.tick();
        }
        panic!("never {what}: {} {:?}\n{}", self.record.phase, self.record.blocked, self.story());
    }

    pub(super) fn until_blocked(&mut self, code: &str) {
        self.until_it(code, |node| node.code() == code);
    }

    /// The code of what blocks the node; empty if nothing does.
    pub(super) fn code(&self) -> &str {
        self.record.blocked.as_ref().map_or("", |blocked| blocked.code.as_str())
    }

    /// The journal as far as it got.
    pub(super) fn story(&self) -> String {
        self.told.join("\n")
    }

    fn scope(&self) -> Scope<'static> {
        Scope { tick: self.tick, ..scope(self.second) }
    }

    fn look(&mut self) -> Observation {
        let look = look(&self.record, "prod");
        let lags = self.dice.as_mut().is_some_and(|dice| dice.roll(8) == 0);
        if lags { self.past.observe(look) } else { self.ec2.observe(look) }
    }

    /// Drives the node until it waits or its process dies.
    pub(super) fn drive(&mut self) {
        let mut looks = 0;
        for _ in 0..limits::STEPS_PER_DRIVE {
            let seen = self.look();
            let before = self.record.clone();
            let decided = plan(before, &seen, self.scope()).unwrap_or_else(|illegal| {
                panic!("{illegal}\n{}", self.story());
            });
            self.record = decided.record;
            self.tell(decided.entries);
            match decided.then {
                Then::Wait(wait) => return self.waits(&wait.why),
                Then::Look => {
                    looks += 1;
                    assert!(looks < 30, "looks for ever in {}:\n{}", self.record.phase, self.story());
                }
                Then::Act(step) => {
                    if !self.take(&step) {
                        return;
                    }
                }
            }
        }
        // An invocation takes no more, and leaves the rest to the next tick.
        self.full += 1;
        assert!(self.full < 10, "steps without end in {}:\n{}", self.record.phase, self.story());
    }

    /// Whatever is unfinished is looked at again, and the record survives its table.
    fn waits(&mut self, why: &str) {
        let waits = format!("waits for {why}");
        if !self.told.last().is_some_and(|line| line.ends_with(&waits)) {
            self.told.push(format!("{}: {waits}", self.second));
        }
        let phase = self.record.phase;
        let rests = matches!(phase, Phase::Running | Phase::Gone);
        assert!(rests || self.record.work_at.is_some(), "forgotten in {phase}:\n{}", self.story());
        let stored = serde_json::to_value(&self.record).unwrap();
        assert_eq!(serde_json::from_value::<Record>(stored).unwrap(), self.record);
    }

    fn tell(&mut self, entries: Vec<crate::journal::Entry>) {
        let second = self.second;
        self.told.extend(entries.into_iter().map(|it| format!("{second}: {}", it.what)));
    }

    fn fault(&mut self, step: &Step) -> Fault {
        if let Some(at) = self.faults.iter().position(|(name, _)| *name == step.name()) {
            return self.faults.remove(at).1;
        }
        if let Some((n, fault)) = self.nth
            && n == self.steps.len()
        {
            return fault;
        }
        match self.dice.as_mut().map(|dice| dice.roll(40)) {
            Some(0) => Fault::DiesBefore,
            Some(1) => Fault::DiesAfter,
            Some(2) => Fault::Unheard,
            Some(3) => Fault::Refused(Class::NotYet),
            Some(4) => Fault::Refused(Class::Retry),
            Some(_) | None => Fault::None,
        }
    }

    /// Takes a step; `false` if the process died over it.
    fn take(&mut self, step: &Step) -> bool {
        self.is_right(step);
        let fault = self.fault(step);
        let what: String = format!("{step:?}").chars().take(120).collect();
        self.told.push(format!("{}: {fault:?} {} {what}", self.second, step.name()));
        self.steps.push(step.clone());
        let outcome = match fault {
            Fault::DiesBefore | Fault::Refused(_) => None,
            Fault::None | Fault::DiesAfter | Fault::Unheard => Some(self.ec2.perform(step, self.second)),
        };
        self.has_everything(step);
        let lost = |class| Outcome::Failed(Failure::new(class, "EC2:Call", "Code", "message"));
        let outcome = match (fault, outcome) {
            (Fault::DiesBefore | Fault::DiesAfter, _) => return false,
            (Fault::Unheard, _) => lost(Class::Retry),
            (Fault::Refused(class), _) => lost(class),
            (_, Some(outcome)) => outcome,
            (Fault::None, None) => return false,
        };
        let (record, entries) = absorb(self.record.clone(), step, &outcome, self.scope());
        self.record = record;
        self.tell(entries);
        true
    }

    /// What must hold of every step before it is taken.
    fn is_right(&self, step: &Step) {
        let (record, story) = (&self.record, || self.story());
        let target = match step {
            Step::Delete(needless) => needless.resource(),
            Step::Prune(id) => Resource::Snapshot(id.clone()),
            Step::Purge(resource) => resource.clone(),
            _ => return,
        };
        let adopted = |id: &VolumeId| {
            self.ec2.volumes.get(id).is_some_and(|it| {
                !names().owns(&it.tags) || crate::names::has_purpose(&it.tags, Purpose::Adopted)
            })
        };
        if let Resource::Volume(id) = &target {
            assert!(!adopted(id), "{id} is the operator's\n{}", story());
        }
        if record.phase == Phase::Purging {
            return;
        }
        for entry in &record.data {
            let volumes = std::iter::once(&entry.volume_id).chain(&entry.made);
            let named = volumes.map(|id| Resource::Volume(id.clone()));
            let point = entry.point().map(|id| Resource::Snapshot(id.clone()));
            assert!(!named.chain(point).any(|it| it == target), "{target} is needed\n{}", story());
        }
    }

    /// What the guest wrote last is somewhere: on a disk, or in a snapshot.
    fn has_everything(&self, step: &Step) {
        if self.record.phase == Phase::Purging {
            return;
        }
        for (device, bytes) in &self.written {
            let is_there = self.ec2.bytes.iter().any(|(id, is)| {
                let exists = self.ec2.volumes.contains_key(&VolumeId::new(id.as_str()))
                    || self.ec2.snapshots.contains_key(&SnapshotId::new(id.as_str()));
                is == bytes && exists
            });
            assert!(is_there, "what was written to {device} is lost after {step:?}\n{}", self.story());
        }
    }

    /// The guest finds what it wrote last, at the device where it wrote it.
    pub(super) fn assert_whole(&self) {
        let facts = self.ec2.living();
        for (device, bytes) in &self.written {
            let found = facts.volumes.iter().find(|it| it.device == *device && !it.attaching);
            let found = found.map(|it| self.ec2.bytes[it.volume.as_str()]);
            assert_eq!(found, Some(*bytes), "at {device}\n{}", self.story());
        }
    }

    // The operator, and EC2.

    pub(super) fn wants(&mut self, goal: DesiredState) {
        self.edit(|config| config.desired_state = goal);
    }

    /// An edit of the item, put in force.
    pub(super) fn edit(&mut self, edit: impl FnOnce(&mut config::NodeConfig)) {
        let mut accepted = self.record.config.clone();
        edit(&mut accepted.config);
        config::transitions::put_in_force(&mut self.record, accepted, at(self.second));
    }

    /// The instance ends without notice. What of it is not kept is gone with it.
    pub(super) fn interrupt(&mut self) {
        self.ec2.living_mut().state = InstanceState::ShuttingDown;
        if self.record.config().persist.root.is_none() {
            self.written.remove(ROOT);
        }
    }

    /// Ticks until another instance runs than the present one.
    pub(super) fn comes_back(&mut self) {
        let old = self.record.instance.as_ref().map(|it| it.id.clone());
        self.until_it("back", |node| {
            let now = node.record.instance.as_ref().map(|it| it.id.clone());
            node.record.phase == Phase::Running && now != old
        });
    }

    /// EC2 gives notice.
    pub(super) fn notify(&mut self) {
        let Some(id) = self.record.instance.as_ref().map(|it| it.id.clone()) else { return };
        let noticed = notice(self.record.clone(), &id, at(self.second), self.scope()).unwrap();
        if let Some(noticed) = noticed {
            self.record = noticed.record;
        }
    }

    /// A complete recovery point of every disk that the node keeps, as the snapshot pass would take it.
    pub(super) fn secure(&mut self) {
        let Some(steady) = self.record.steady() else { return };
        for (volume, device) in steady.secured() {
            let id = SnapshotId::new(format!("snap-p-{}-{}", self.second, volume));
            let Some(bytes) = self.ec2.bytes.get(volume.as_str()).copied() else { continue };
            let mut tags = tags(Purpose::Periodic, self.record.cycle, "p");
            tags.insert(crate::names::TAG_DEVICE.into(), device.into());
            tags.insert(crate::names::TAG_VOLUME.into(), volume.to_string());
            let taken = snapshot(id.as_str(), SnapshotState::Completed, self.second, tags);
            self.ec2.bytes.insert(id.to_string(), bytes);
            self.ec2.snapshots.insert(id, SnapshotFacts { volume: volume.clone(), ..taken });
        }
    }

    /// A volume is deleted by hand.
    pub(super) fn delete_by_hand(&mut self, volume: &VolumeId) {
        self.ec2.detach_by_hand(volume);
        self.ec2.volumes.remove(volume);
    }

    /// What the record says of the volume at a device.
    pub(super) fn at(&self, device: &str) -> &DataVolume {
        let found = self.record.data.iter().find(|it| it.device_name == device);
        found.unwrap_or_else(|| panic!("nothing at {device}\n{}", self.story()))
    }

    /// The volume at a device.
    pub(super) fn volume(&self, device: &str) -> VolumeId {
        self.at(device).volume_id.clone()
    }

    /// The last launch that was asked for.
    pub(super) fn launch(&self) -> &crate::launch::LaunchRequest {
        let launches = self.steps.iter().rev();
        let mut launches = launches.filter_map(|step| match step {
            Step::Launch(request) => Some(&**request),
            _ => None,
        });
        launches.next().expect("a launch")
    }

    pub(super) fn took(&self, name: &str) -> usize {
        self.steps.iter().filter(|step| step.name() == name).count()
    }

    /// Whether the journal says this.
    pub(super) fn says(&self, what: &str) -> bool {
        self.told.iter().any(|line| line.contains(what))
    }
}

/// A root policy, for switching it on.
pub(super) fn root_policy() -> RootPolicy {
    RootPolicy { snapshot_every: SignedDuration::from_mins(5), keep: 3 }
}

//! A group with its members and its record, and the pass over its backups as the engine makes it: look, read, decide,
//! write, act, write. It may die at any point of that, and what must hold is looked at after every minute.

use super::account::Account;
use super::*;

/// The pass died.
struct Crash;

#[derive(Clone)]
pub(super) struct World {
    pub(super) now: Timestamp,
    pub(super) account: Account,
    pub(super) group: GroupRecord,
    pub(super) item: Option<Value>,
    pub(super) members: BTreeMap<NodeName, Record>,
    /// What a member read of its group and has not yet written down.
    read: BTreeMap<NodeName, ImageId>,
    /// Images that do not boot.
    pub(super) bad: BTreeSet<ImageId>,
    /// Whether what is launched of a backup comes up at all.
    pub(super) boots: bool,
    /// A member's record cannot be read.
    pub(super) is_unreadable: bool,
    /// No member goes on.
    pub(super) is_frozen: bool,
    /// At which point the pass dies.
    pub(super) dies_at: Option<usize>,
    pub(super) points: usize,
    pub(super) notes: Vec<String>,
    pub(super) events: BTreeMap<String, OwnEvent>,
    /// When a member launched from a backup was first seen to be well.
    first_well: BTreeMap<ImageId, Timestamp>,
    /// How often an image was taken of which instance.
    pub(super) sources: Vec<InstanceId>,
}

impl World {
    pub(super) fn new(item: Value) -> Self {
        let now = at(0);
        let config = accepted(&item);
        let mut group = GroupRecord::new(group_name(), config.clone(), now);
        group.put_in_force(config, now);
        for number in 1..=2 {
            let name = group_name().member(number).unwrap();
            group.members.push(serde_json::from_value(json!({"name": name, "wish": "running"})).unwrap());
        }
        let mut world = Self {
            now,
            account: Account::new(now),
            group,
            item: Some(item),
            members: BTreeMap::new(),
            read: BTreeMap::new(),
            bad: BTreeSet::new(),
            boots: true,
            is_unreadable: false,
            is_frozen: false,
            dies_at: None,
            points: 0,
            notes: Vec::new(),
            events: BTreeMap::new(),
            first_well: BTreeMap::new(),
            sources: Vec::new(),
        };
        for number in 1..=2 {
            let node = group_name().member(number).unwrap();
            let item = json!({"id": node.key(), "group": group_name().as_str()});
            let config = world.group.share(&node).unwrap().draft(&item).config;
            let config = Accepted { hash: String::new(), share: None, notices: Vec::new(), config };
            let mut record = Record::new(node.clone(), "life-1".into(), config, now);
            record.phase = Phase::Launching;
            world.members.insert(node, record);
        }
        world
    }

    /// The same, with members that are up and well.
    pub(super) fn quiet(mut self) -> Self {
        self.minutes(9);
        self
    }

    pub(super) fn backups(&self) -> &Backups {
        self.group.backups.as_ref().unwrap()
    }

    pub(super) fn effective(&self) -> Option<ImageId> {
        self.group.backups.as_ref()?.effective.clone()
    }

    pub(super) fn available(&self) -> Vec<ImageId> {
        self.account.ours(ImageState::Available)
    }

    pub(super) fn minutes(&mut self, many: i64) {
        for _ in 0..many {
            self.minute();
        }
    }

    /// Minutes until so many backups have been asked for.
    pub(super) fn until_made(&mut self, many: usize) {
        for _ in 0..20_000 {
            if self.account.made.len() >= many {
                return;
            }
            self.minute();
        }
        panic!("no backup: {:#?}\n{:#?}", self.notes, self.group.backups);
    }

    /// Minutes until so many backups are there beyond those that are.
    pub(super) fn backed_up(mut self, many: usize) -> Self {
        let made = self.account.made.len() + many;
        self.until_made(made);
        self.minutes(6);
        self
    }

    /// A minute: the members go on, then the pass is made.
    pub(super) fn minute(&mut self) {
        self.now += SignedDuration::from_mins(1);
        self.now = whole_minute(self.now);
        self.account.settle(self.now);
        for node in self.members.keys().cloned().collect::<Vec<_>>() {
            if !self.is_frozen {
                self.advance(&node);
            }
        }
        // What died is gone through again at the next tick.
        let _ = self.pass();
        self.check();
    }

    fn point(&mut self) -> Result<(), Crash> {
        self.points += 1;
        self.now += SignedDuration::from_secs(1);
        self.account.settle(self.now);
        if self.dies_at == Some(self.points) { Err(Crash) } else { Ok(()) }
    }

    fn scope(&self) -> Scope<'static> {
        Scope { deployment: DEPLOYMENT, now: self.now }
    }

    /// The pass over this group, as the engine makes it.
    fn pass(&mut self) -> Result<(), Crash> {
        if self.group.backups.is_none() || self.group.config.is_suspended() {
            return Ok(());
        }
        let tagged = self.account.images(|it| is_ours(&it.tags));
        for round in 0.. {
            assert!(round < 60, "it spins: {:#?}", self.notes);
            let facts = self.look(&tagged);
            let record = self.group.clone();
            let decided = plan(&record, facts.seen(&self.account.instances), self.scope());
            if decided.record != record {
                let again = plan(&record, facts.seen(&self.account.instances), self.scope());
                assert_eq!((&decided.record, &decided.step), (&again.record, &again.step), "the same again");
            }
            self.write(decided.record.clone(), decided.notes)?;
            let Some(step) = decided.step else {
                if decided.record != record {
                    continue;
                }
                break;
            };
            self.point()?;
            let outcome = self.perform(&step);
            self.point()?;
            let said = absorb(&self.group, &step, outcome, self.scope());
            self.write(said.record, said.notes)?;
        }
        self.publish()
    }

    fn write(&mut self, next: GroupRecord, notes: Vec<String>) -> Result<(), Crash> {
        if next != self.group {
            self.point()?;
            // What is stored is what is read again.
            let stored = serde_json::to_value(&next).unwrap();
            self.group = serde_json::from_value(stored).unwrap();
            assert_eq!(self.group, next, "what is written is what is read");
            self.group.generation += 1;
            self.point()?;
        }
        self.notes.extend(notes);
        Ok(())
    }

    fn publish(&mut self) -> Result<(), Crash> {
        let Some(backups) = &self.group.backups else { return Ok(()) };
        let events = backups.outbox.clone();
        if events.is_empty() {
            return Ok(());
        }
        self.point()?;
        self.events.extend(events.into_iter().map(|it| (it.detail.id.clone(), it)));
        let mut next = self.group.clone();
        next.backups.as_mut().unwrap().outbox.clear();
        self.write(next, Vec::new())
    }

    fn look(&self, tagged: &BTreeMap<ImageId, ImageFacts>) -> Facts {
        let asked = look(&self.group, self.scope());
        let mut facts = Facts { leftovers: asked.leftovers, images: tagged.clone(), ..Facts::default() };
        facts.images.retain(|id, _| !asked.images.contains(id));
        facts.images.extend(self.account.images(|it| asked.images.contains(&it.id)));
        if let Some(name) = &asked.name {
            facts.images.extend(self.account.images(|it| it.name == *name));
        }
        facts.snapshots = self.account.snapshots(|it| asked.snapshots.contains(&it.id));
        facts.asked.extend(asked.snapshots);
        if asked.leftovers {
            facts.is_gone = self.item.is_none();
            facts.snapshots.extend(self.account.snapshots(|it| is_ours(&it.tags)));
        }
        if asked.members && !self.is_unreadable {
            facts.members = Some(self.members.clone());
        }
        let of_members = facts.members.iter().flatten().filter_map(|(_, it)| Some(&it.instance.as_ref()?.id));
        let proofs = self.account.instances.values().filter(|it| asked.proof_of.contains(&it.image));
        let asked = of_members.chain(proofs.map(|it| &it.id));
        facts.passed = asked.filter(|id| self.account.has_passed(id)).cloned().collect();
        facts
    }

    fn perform(&mut self, step: &Step) -> Result<Option<ImageId>, Failure> {
        let group = group_name();
        let names = GroupNames { deployment: DEPLOYMENT, group: &group };
        match step {
            Step::Create(request) => {
                let made = self.account.made.len();
                let outcome = self.account.create(request);
                if self.account.made.len() > made {
                    self.sources.push(request.instance.clone());
                }
                outcome.map(Some)
            }
            Step::Deregister { image, with_snapshots } => {
                let found = self.account.images(|it| it.id == *image);
                match found.get(image).map(|it| backup_image(&names, it)) {
                    None => Ok(None),
                    Some(Verdict::Go) => {
                        self.assert_not_needed(image);
                        self.account.deregister(image, *with_snapshots).map(|()| None)
                    }
                    Some(verdict) => panic!("{image}: {verdict:?}"),
                }
            }
            Step::DeleteSnapshot(id) => {
                let found = self.account.snapshots(|it| it.id == *id);
                match found.get(id).map(|it| backup_snapshot(&names, it)) {
                    None => Ok(None),
                    Some(Verdict::Go) => self.account.delete_snapshot(id).map(|()| None),
                    Some(_) => Err(Failure::new(Class::NotYet, "EC2:Delete", "NotFree", "pending")),
                }
            }
            Step::HandOver(resource) => {
                self.account.untag(resource);
                Ok(None)
            }
        }
    }

    fn assert_not_needed(&self, image: &ImageId) {
        let is_asked_for =
            |it: &Record| it.intent.as_ref().is_some_and(|intent| intent.request.image_id == *image);
        assert!(!self.members.values().any(is_asked_for), "{image} is in a launch that is written down");
        assert_ne!(self.effective().as_ref(), Some(image), "it is the one members start from");
        assert!(!self.read.values().any(|it| it == image), "{image} was read by a member just before");
    }

    /// What a member does next: it reads what it is to start from, writes that down, launches, and comes up.
    fn advance(&mut self, node: &NodeName) {
        let image = self.image_for();
        let record = self.members.get_mut(node).unwrap();
        match record.phase {
            Phase::Launching if record.intent.is_some() => {
                let image = record.intent.take().unwrap().request.image_id;
                let exists = image.as_str().starts_with("ami-base") || self.account.image(&image).is_some();
                if !exists {
                    let by_others = self.account.by_others.contains_key(&image);
                    assert!(by_others, "{image} is gone, and {node} is being launched from it");
                    return;
                }
                let is_good = !self.bad.contains(&image) && (self.boots || image.as_str().contains("base"));
                let facts = self.account.run(&image, is_good);
                record.instance = Some(instance_of(&facts));
                (record.phase, record.rolled) = (Phase::Attaching, record.config.config.roll);
            }
            Phase::Launching => match self.read.remove(node) {
                Some(image) => record.intent = Some(intent(&image, self.now)),
                None => drop(self.read.insert(node.clone(), image)),
            },
            Phase::Attaching => record.phase = Phase::Running,
            Phase::Interrupting => {
                let instance = record.instance.take().unwrap();
                self.account.end(&instance.id);
                (record.phase, record.notice) = (Phase::Launching, None);
            }
            _ => {}
        }
    }

    fn image_for(&self) -> ImageId {
        let said = self.group.config.image();
        let group = self.group.backups.as_ref().and_then(Backups::image);
        let backup = group.as_ref().and_then(|it| it.over(said.as_ref()).cloned());
        backup.or(said).unwrap_or_else(|| ImageId::new("ami-base"))
    }

    /// A member's instance gets its notice, and ends a minute later.
    pub(super) fn interrupt(&mut self, number: u32) {
        let record = self.member(number);
        let Some(instance) = &record.instance else { return };
        let instance_id = instance.id.clone();
        record.notice = Some(Notice { instance_id, at: at(0), snapshot_tried: false });
        record.phase = Phase::Interrupting;
    }

    pub(super) fn member(&mut self, number: u32) -> &mut Record {
        let node = group_name().member(number).unwrap();
        self.members.get_mut(&node).unwrap()
    }

    /// All members are replaced, one after the other.
    pub(super) fn recycle(&mut self) {
        for number in 1..=2 {
            self.interrupt(number);
            self.minutes(8);
        }
    }

    pub(super) fn runs(&mut self, number: u32) -> (InstanceId, ImageId) {
        let it = self.member(number).instance.clone().unwrap();
        (it.id, it.image_id)
    }

    /// The operator writes the group's item.
    pub(super) fn edit(&mut self, item: Value) {
        let config = accepted(&item);
        self.item = Some(item);
        if config.hash != self.group.config.hash || self.group.removed {
            let was_removed = self.group.removed;
            self.group.put_in_force(config, self.now);
            for record in self.members.values_mut().filter(|_| was_removed) {
                record.phase = Phase::Launching;
            }
        }
    }

    /// The operator deletes the group's item; its members end.
    pub(super) fn remove(&mut self) {
        self.item = None;
        (self.group.removed, self.group.removed_at) = (true, Some(self.now));
        self.read.clear();
        for record in self.members.values_mut() {
            record.phase = Phase::Deallocated;
            (record.notice, record.intent) = (None, None);
            if let Some(instance) = record.instance.take() {
                self.account.end(&instance.id);
            }
        }
    }

    /// What must hold whatever happens.
    fn check(&mut self) {
        let now = self.now;
        assert!(self.account.ours(ImageState::Pending).len() <= 1, "one backup at a time");
        let Some(backups) = self.group.backups.clone() else { return };
        if let Some(effective) = &backups.effective
            && !self.account.is_available(effective)
        {
            let gone = self.account.by_others.get(effective).copied();
            let slack = limits::BACKUP_MISSING_IS_GONE + SignedDuration::from_mins(2);
            let is_fresh = gone.is_some_and(|at| now.duration_since(at) < slack);
            assert!(
                is_fresh || self.group.config.is_suspended(),
                "{effective} is in effect and is not there"
            );
        }
        let of_list = backups.list.iter().filter(|it| it.removing.is_none()).map(|it| &it.image);
        let listed: BTreeSet<ImageId> = of_list.cloned().collect();
        for it in self.account.instances.values() {
            if listed.contains(&it.image) && self.account.has_passed(&it.id) && backups.since.is_some() {
                self.first_well.entry(it.image.clone()).or_insert(now);
            }
        }
        let taken = |id: &ImageId| self.account.by_others.contains_key(id);
        let last_well = self.first_well.iter().filter(|(id, _)| !taken(id)).max_by_key(|(_, at)| **at);
        if let Some((image, first)) = last_well.filter(|_| !self.group.removed) {
            let same =
                self.first_well.iter().filter(|(id, at)| *at == first && self.account.is_available(id));
            assert!(same.count() > 0, "{image} was the last that came up well: {:#?}", self.notes);
            // One that went when another had come up well since is no matter any more.
            self.first_well.retain(|id, _| self.account.is_available(id));
        }
    }

    /// Minutes until shortly before it is due at the full hour.
    pub(super) fn before_due(mut self) -> Self {
        while self.now.as_second() / 60 % 60 != 58 {
            self.minute();
        }
        self
    }

    /// Where it all stands, by what does not depend on when it came about.
    pub(super) fn stand(&self) -> String {
        let newest = self.available().last().cloned();
        let effective = self.effective();
        let is_newest = effective.is_some() && effective == newest;
        let Some(backups) = &self.group.backups else {
            return format!("none, {} snapshots", self.account.our_snapshots().len());
        };
        format!(
            "{} there, {} listed, {} snapshots of {}, effective is newest: {is_newest}, attempt: {}, failed: {}, \
             skipped: {:?}, asked: {}, on: {}, line {}",
            self.available().len(),
            backups.list.len(),
            self.account.our_snapshots().len(),
            self.account.all_snapshots(),
            backups.attempt.is_some(),
            backups.failed.is_some(),
            backups.skipped,
            backups.asked,
            backups.since.is_some(),
            backups.line,
        )
    }

    pub(super) fn told(&self, kind: Kind) -> usize {
        self.events.values().filter(|it| it.kind == kind).count()
    }

    /// After a purge members' images may have gone.
    pub(super) fn forget_proofs(&mut self) {
        self.first_well.clear();
    }
}

/// What was read for one decision.
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

impl Facts {
    fn seen<'a>(&'a self, instances: &'a BTreeMap<InstanceId, InstanceFacts>) -> Seen<'a> {
        Seen {
            images: &self.images,
            snapshots: &self.snapshots,
            asked: &self.asked,
            members: self.members.as_ref(),
            instances,
            passed: &self.passed,
            is_gone: self.is_gone,
            leftovers: self.leftovers,
        }
    }
}

pub(super) fn accepted(item: &Value) -> AcceptedGroup {
    let (draft, part) = parse_group(item);
    assert_eq!(draft.problems, []);
    AcceptedGroup::new(item, part)
}

fn whole_minute(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second().div_euclid(60) * 60).unwrap()
}

fn instance_of(facts: &InstanceFacts) -> Instance {
    Instance {
        id: facts.id.clone(),
        instance_type: facts.instance_type.clone(),
        zone: facts.zone.clone(),
        market: Market::Spot,
        image_id: facts.image.clone(),
        launched_at: facts.launched_at,
        key: String::new(),
        heir: false,
        platform: Platform::default(),
        missing_since: None,
        ran: true,
        ended_at: None,
        stop_noted: false,
        terminating: false,
    }
}

pub(super) fn intent(image: &ImageId, since: Timestamp) -> LaunchIntent {
    let intent = json!({"since": since, "request": {
        "token": "t", "templateId": "lt-1", "templateVersion": 1, "imageId": image, "instanceType": "m5.large",
        "market": "spot", "zone": "us-east-1a", "network": {"kind": "kept", "eniId": "eni-1"}, "devices": [],
        "settings": {}, "instanceTags": {}, "volumeTags": {}}});
    serde_json::from_value(intent).unwrap()
}

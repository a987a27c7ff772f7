//! An account with nothing in it but what backups touch: instances, images and the snapshots they stand on. It takes
//! its time as EC2 does, its reads may lag behind, and it watches over what must never be done to it.

use super::*;

/// What goes wrong with the next call that makes an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It is done, and nobody hears of it.
    Lost,
    /// The image is made and fails.
    Fails,
    /// The image is made and vanishes.
    Vanishes,
    /// Refused, with this.
    Refused(Class),
    /// Somebody else takes the name just before.
    NameTaken,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Shelf {
    images: BTreeMap<ImageId, ImageFacts>,
    snapshots: BTreeMap<SnapshotId, SnapshotFacts>,
}

#[derive(Clone, Debug)]
pub(super) struct Account {
    pub(super) now: Timestamp,
    shelf: Shelf,
    /// How it looked before each change.
    past: Vec<(Timestamp, Shelf)>,
    pub(super) instances: BTreeMap<InstanceId, InstanceFacts>,
    /// When each instance passes its status checks, if it ever does.
    pub(super) well_at: BTreeMap<InstanceId, Timestamp>,
    /// When each pending image is done, and how.
    ends: BTreeMap<ImageId, (Timestamp, ImageState)>,
    /// Reads show how it was so long ago.
    pub(super) lag: SignedDuration,
    /// How long an image is pending.
    pub(super) pending: SignedDuration,
    pub(super) troubles: VecDeque<Trouble>,
    /// Deletions are refused so many times.
    pub(super) in_use: u32,
    last: u32,
    /// The names of the images made of ours.
    pub(super) made: Vec<String>,
    /// What other hands removed or took over, and when.
    pub(super) by_others: BTreeMap<ImageId, Timestamp>,
}

fn refuse(class: Class, code: &str) -> Failure {
    Failure::new(class, "EC2:Fake", code, "as the story has it")
}

impl Account {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            now,
            shelf: Shelf::default(),
            past: Vec::new(),
            instances: BTreeMap::new(),
            well_at: BTreeMap::new(),
            ends: BTreeMap::new(),
            lag: SignedDuration::ZERO,
            pending: SignedDuration::from_mins(4),
            troubles: VecDeque::new(),
            in_use: 0,
            last: 0,
            made: Vec::new(),
            by_others: BTreeMap::new(),
        }
    }

    fn number(&mut self) -> u32 {
        self.last += 1;
        self.last
    }

    fn keep_past(&mut self) {
        self.past.push((self.now, self.shelf.clone()));
        if self.past.len() > 24 {
            self.past.remove(0);
        }
    }

    /// Time has passed: what was pending ends.
    pub(super) fn settle(&mut self, now: Timestamp) {
        self.now = now;
        let done: Vec<ImageId> =
            self.ends.iter().filter(|(_, (at, _))| *at <= now).map(|(id, _)| id.clone()).collect();
        for id in done {
            let Some((_, state)) = self.ends.remove(&id) else { continue };
            self.keep_past();
            if state == ImageState::Gone
                && let Some(it) = self.shelf.images.remove(&id)
            {
                self.shelf.snapshots.retain(|snapshot, _| !it.snapshots.contains(snapshot));
            }
            let Some(it) = self.shelf.images.get_mut(&id) else { continue };
            it.state = state;
            for snapshot in it.snapshots.clone() {
                if let Some(snapshot) = self.shelf.snapshots.get_mut(&snapshot) {
                    snapshot.state = SnapshotState::Completed;
                }
            }
        }
    }

    fn view(&self) -> &Shelf {
        let at = self.now - self.lag;
        self.past.iter().find(|(until, _)| *until > at).map_or(&self.shelf, |(_, shelf)| shelf)
    }

    pub(super) fn images(&self, is_wanted: impl Fn(&ImageFacts) -> bool) -> BTreeMap<ImageId, ImageFacts> {
        let found = self.view().images.iter().filter(|(_, it)| is_wanted(it));
        found.map(|(id, it)| (id.clone(), it.clone())).collect()
    }

    pub(super) fn snapshots(
        &self,
        is_wanted: impl Fn(&SnapshotFacts) -> bool,
    ) -> BTreeMap<SnapshotId, SnapshotFacts> {
        let found = self.view().snapshots.iter().filter(|(_, it)| is_wanted(it));
        found.map(|(id, it)| (id.clone(), it.clone())).collect()
    }

    /// How an image stands in truth.
    pub(super) fn image(&self, id: &ImageId) -> Option<&ImageFacts> {
        self.shelf.images.get(id)
    }

    pub(super) fn is_available(&self, id: &ImageId) -> bool {
        self.image(id).is_some_and(|it| it.state == ImageState::Available)
    }

    /// The backups there are in this state, the oldest first.
    pub(super) fn ours(&self, state: ImageState) -> Vec<ImageId> {
        let ours = self.shelf.images.values().filter(|it| is_ours(&it.tags) && it.state == state);
        let mut ours: Vec<_> = ours.map(|it| (it.created_at, it.id.clone())).collect();
        ours.sort();
        ours.into_iter().map(|(_, id)| id).collect()
    }

    pub(super) fn our_snapshots(&self) -> Vec<SnapshotId> {
        let ours = self.shelf.snapshots.values().filter(|it| is_ours(&it.tags));
        ours.map(|it| it.id.clone()).collect()
    }

    /// The snapshots that backups stand on.
    pub(super) fn stood_on(&self) -> usize {
        let ours = self.shelf.snapshots.values().filter(|it| is_ours(&it.tags) && self.is_stood_on(&it.id));
        ours.count()
    }

    pub(super) fn all_snapshots(&self) -> usize {
        self.shelf.snapshots.len()
    }

    pub(super) fn has_passed(&self, id: &InstanceId) -> bool {
        self.well_at.get(id).is_some_and(|at| *at <= self.now)
    }

    /// Makes an image, as `CreateImage` does.
    pub(super) fn create(&mut self, request: &BackupRequest) -> Result<ImageId, Failure> {
        let trouble = self.troubles.pop_front();
        if let Some(Trouble::Refused(class)) = trouble {
            return Err(refuse(class, "Refused"));
        }
        if trouble == Some(Trouble::NameTaken) {
            self.image_of_theirs(&request.name);
        }
        if self.shelf.images.values().any(|it| it.name == request.name) {
            return Err(refuse(Class::NameTaken, "InvalidAMIName.Duplicate"));
        }
        let runs = |it: &InstanceFacts| it.state == InstanceState::Running;
        let Some(instance) = self.instances.get(&request.instance).filter(|it| runs(it)).cloned() else {
            return Err(refuse(Class::Terminal, "IncorrectInstanceState"));
        };
        assert_eq!(self.ours(ImageState::Pending), [], "one backup at a time");
        let devices: Vec<String> = instance.volumes.iter().map(|it| it.device.clone()).collect();
        let devices = devices.into_iter().filter(|it| !request.without.contains(it)).collect();
        let id = self.put_image(&request.name, devices, ImageState::Pending, &request.tags);
        let ends = match trouble {
            Some(Trouble::Fails) => ImageState::Failed,
            Some(Trouble::Vanishes) => ImageState::Gone,
            _ => ImageState::Available,
        };
        self.ends.insert(id.clone(), (self.now + self.pending, ends));
        self.made.push(request.name.clone());
        match trouble {
            Some(Trouble::Lost) => Err(refuse(Class::Retry, "Timeout")),
            _ => Ok(id),
        }
    }

    fn put_image(&mut self, name: &str, devices: Vec<String>, state: ImageState, tags: &Tags) -> ImageId {
        self.keep_past();
        let number = self.number();
        let id = ImageId::new(format!("ami-{number:04}"));
        let snapshots: Vec<SnapshotId> =
            (0..devices.len()).map(|at| SnapshotId::new(format!("snap-{number:04}{at}"))).collect();
        for snapshot in &snapshots {
            let facts = SnapshotFacts {
                id: snapshot.clone(),
                state: match state {
                    ImageState::Available => SnapshotState::Completed,
                    _ => SnapshotState::Pending,
                },
                volume: VolumeId::new("vol-1"),
                started_at: self.now,
                progress: String::new(),
                full_bytes: None,
                own: true,
                tags: tags.clone(),
            };
            self.shelf.snapshots.insert(snapshot.clone(), facts);
        }
        let facts = ImageFacts {
            id: id.clone(),
            name: name.to_owned(),
            state,
            state_reason: String::new(),
            root_device: "/dev/xvda".into(),
            ebs_root: true,
            root_snapshot: snapshots.first().cloned(),
            devices,
            snapshots,
            created_at: Some(self.now),
            platform: Platform::default(),
            tags: tags.clone(),
        };
        self.shelf.images.insert(id.clone(), facts);
        id
    }

    /// An image of somebody else's.
    pub(super) fn image_of_theirs(&mut self, name: &str) -> ImageId {
        self.put_image(name, vec!["/dev/xvda".into()], ImageState::Available, &Tags::new())
    }

    /// One of ours that no record knows.
    pub(super) fn image_from_nowhere(&mut self, name: &str, state: ImageState) -> ImageId {
        let tags = names().tags(&Tags::new(), name);
        self.put_image(name, vec!["/dev/xvda".into()], state, &tags)
    }

    pub(super) fn deregister(&mut self, id: &ImageId, with_snapshots: bool) -> Result<(), Failure> {
        if self.is_held() {
            return Err(refuse(Class::Retry, "Throttled"));
        }
        let Some(it) = self.image(id).cloned() else { return Err(refuse(Class::NotFound, "Unavailable")) };
        assert!(is_ours(&it.tags), "{id} is none of ours");
        self.keep_past();
        self.shelf.images.remove(id);
        self.ends.remove(id);
        if with_snapshots {
            for snapshot in it.snapshots.iter().filter(|id| !self.is_stood_on(id)).collect::<Vec<_>>() {
                let gone = self.shelf.snapshots.remove(snapshot);
                assert!(gone.is_none_or(|it| is_ours(&it.tags)), "{snapshot} is none of ours");
            }
        }
        Ok(())
    }

    fn is_held(&mut self) -> bool {
        let is_held = self.in_use > 0;
        self.in_use = self.in_use.saturating_sub(1);
        is_held
    }

    fn is_stood_on(&self, id: &SnapshotId) -> bool {
        self.shelf.images.values().any(|it| it.snapshots.contains(id))
    }

    pub(super) fn delete_snapshot(&mut self, id: &SnapshotId) -> Result<(), Failure> {
        if self.is_stood_on(id) || self.is_held() {
            return Err(refuse(Class::NotYet, "InvalidSnapshot.InUse"));
        }
        let Some(it) = self.shelf.snapshots.get(id) else { return Err(refuse(Class::NotFound, "NotFound")) };
        assert!(is_ours(&it.tags), "{id} is none of ours");
        self.keep_past();
        self.shelf.snapshots.remove(id);
        Ok(())
    }

    /// Takes our tags off something; whoever does.
    pub(super) fn untag(&mut self, resource: &Resource) {
        self.keep_past();
        let tags = match resource {
            Resource::Image(id) => self.shelf.images.get_mut(id).map(|it| &mut it.tags),
            Resource::Snapshot(id) => self.shelf.snapshots.get_mut(id).map(|it| &mut it.tags),
            _ => None,
        };
        if let Some(tags) = tags {
            tags.retain(|key, _| !key.starts_with(TAG_PREFIX));
        }
    }

    /// Another hand deregisters an image.
    pub(super) fn deregister_by_hand(&mut self, id: &ImageId) {
        self.keep_past();
        self.shelf.images.remove(id);
        self.ends.remove(id);
        self.by_others.insert(id.clone(), self.now);
    }

    /// Another hand takes an image for its own.
    pub(super) fn untag_by_hand(&mut self, id: &ImageId) {
        self.untag(&Resource::Image(id.clone()));
        self.by_others.insert(id.clone(), self.now);
    }

    /// Another hand registers an image on a snapshot of ours.
    pub(super) fn stand_on(&mut self, snapshot: &SnapshotId) -> ImageId {
        let id = self.image_of_theirs("theirs");
        if let Some(it) = self.shelf.images.get_mut(&id) {
            it.snapshots.push(snapshot.clone());
        }
        id
    }

    /// Launches an instance that comes up well after three minutes, or never.
    pub(super) fn run(&mut self, image: &ImageId, is_good: bool) -> InstanceFacts {
        let id = InstanceId::new(format!("i-{:04}", self.number()));
        let volume = |device: &str, n: u32| AttachedVolume {
            device: device.into(),
            volume: VolumeId::new(format!("vol-{n}")),
            delete_on_termination: true,
            attaching: false,
        };
        let facts = InstanceFacts {
            id: id.clone(),
            state: InstanceState::Running,
            state_reason: String::new(),
            instance_type: "m5.large".into(),
            spot: true,
            zone: "us-east-1a".into(),
            subnet: None,
            private_ip: None,
            image: image.clone(),
            launched_at: Some(self.now),
            root_device: "/dev/xvda".into(),
            ebs_root: true,
            volumes: vec![volume("/dev/xvda", 1), volume("/dev/sdb", 2)],
            interfaces: Vec::new(),
            client_token: None,
            tags: Tags::new(),
            platform: Platform::default(),
        };
        if is_good {
            self.well_at.insert(id.clone(), self.now + SignedDuration::from_mins(3));
        }
        self.instances.insert(id, facts.clone());
        facts
    }

    pub(super) fn end(&mut self, id: &InstanceId) {
        self.instances.remove(id);
        self.well_at.remove(id);
    }
}

fn names() -> GroupNames<'static> {
    static GROUP: std::sync::LazyLock<GroupName> = std::sync::LazyLock::new(group_name);
    GroupNames { deployment: DEPLOYMENT, group: &GROUP }
}

pub(super) fn is_ours(tags: &Tags) -> bool {
    names().owns(tags)
}

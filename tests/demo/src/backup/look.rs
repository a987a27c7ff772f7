//! What one look at the group reads, and the guests that write on its members.
//!
//! Who a member is and which backups there are, is put together from what EC2 says, by tag and by id. Notes what will be
//! gone by the time of the proofs.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use perennial_core::group::GroupRecord;
use perennial_core::names::{TAG_GROUP, TAG_NODE, TAG_PURPOSE};
use perennial_core::phase::Phase;
use perennial_core::record::Record;
use serde_json::{Map, Value};

use super::proofs::{Evidence, Left, Reading, Start};
use super::view::{View, view};
use super::{GROUP, key, list};
use crate::access::{Access, Contents, Reply, Resources};
use crate::ec2::{self, Items, Tag, tag};
use crate::guest::Guest;
use crate::proof::note;
use crate::stage::{Moment, Scene, blocked, standing_of_all};

/// What was read at one moment.
#[derive(Clone, Debug)]
pub(super) struct Observed {
    pub(super) now: Timestamp,
    /// The group's item in the config table, with what Perennial answers in it.
    pub(super) item: Option<Map<String, Value>>,
    pub(super) group: Option<GroupRecord>,
    /// Of every member that the group ever had, `None` if it has no record.
    pub(super) nodes: BTreeMap<String, Option<Record>>,
    pub(super) resources: Resources,
    /// What was on the root of each instance before its guest wrote.
    pub(super) found: BTreeMap<String, Contents>,
    /// What was told of backups.
    pub(super) told: BackupsTold,
}

/// Images that were told of on the bus.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct BackupsTold {
    pub(super) created: Vec<String>,
    pub(super) removed: Vec<String>,
}

/// A member at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) name: String,
    /// By its record.
    pub(super) phase: Option<Phase>,
    pub(super) cycle: u32,
    pub(super) reason: String,
    pub(super) blocked: Option<String>,
    /// Its live instances.
    pub(super) live: Vec<String>,
    /// What they were launched from.
    pub(super) image: String,
    /// The root of the last of them.
    pub(super) root: String,
    /// Id, type, market and state.
    pub(super) instance: String,
}

impl Member {
    pub(super) fn runs(&self) -> bool {
        self.phase == Some(Phase::Running)
    }

    /// Its instance, if it has exactly one.
    pub(super) fn instance_id(&self) -> String {
        match self.live.as_slice() {
            [instance] => instance.clone(),
            _ => String::new(),
        }
    }
}

/// A backup as EC2 shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Backup {
    pub(super) image: String,
    pub(super) state: String,
    /// The instance it was made of.
    pub(super) source: String,
    pub(super) taken: Option<Timestamp>,
    pub(super) snapshots: Vec<String>,
}

impl Backup {
    pub(super) fn is_available(&self) -> bool {
        self.state == "available"
    }
}

impl Observed {
    /// Every member, by name.
    pub(super) fn members(&self) -> Vec<Member> {
        self.nodes.iter().map(|(name, record)| self.member(name, record.as_ref())).collect()
    }

    fn member(&self, name: &str, record: Option<&Record>) -> Member {
        let own = self.resources.instances.iter().filter(|i| tag(&i.tag_set, TAG_NODE) == name);
        let live: Vec<&ec2::Instance> = own.filter(|i| i.is_live()).collect();
        let last = live.last();
        let root = last.and_then(|i| i.block_device_mapping.item.first());
        Member {
            name: name.to_owned(),
            phase: record.map(|record| record.phase),
            cycle: record.map(|record| record.cycle).unwrap_or_default(),
            reason: record.map(|record| record.reason.clone()).unwrap_or_default(),
            blocked: record.and_then(|record| record.blocked.as_ref()).map(blocked),
            live: live.iter().map(|i| i.instance_id.clone()).collect(),
            image: last.map(|i| i.image_id.clone()).unwrap_or_default(),
            root: root.map(|device| device.ebs.volume_id.clone()).unwrap_or_default(),
            instance: last.map(|i| i.described()).unwrap_or_default(),
        }
    }

    /// Every backup of the group that EC2 shows, the newest first.
    pub(super) fn backups(&self) -> Vec<Backup> {
        let own = self.resources.images.iter().filter(|it| is_backup(&it.tag_set));
        let mut backups: Vec<Backup> = own.map(backup).collect();
        backups.sort_by(|a, b| (b.taken, &b.image).cmp(&(a.taken, &a.image)));
        backups
    }

    /// Every snapshot that carries the same tags.
    pub(super) fn backup_snapshots(&self) -> Vec<String> {
        let own = self.resources.snapshots.iter().filter(|it| is_backup(&it.tag_set));
        own.map(|it| it.snapshot_id.clone()).collect()
    }

    /// The image that members are launched from, as the group's record says.
    pub(super) fn effective(&self) -> Option<String> {
        let backups = self.group.as_ref()?.backups.as_ref()?;
        Some(backups.effective.as_ref()?.to_string())
    }

    /// Everything of the deployment that EC2 shows, whosever.
    pub(super) fn left(&self) -> Left {
        let live = self.resources.instances.iter().filter(|i| i.is_live());
        Left {
            instances: live.map(|i| i.instance_id.clone()).collect(),
            images: self.resources.images.iter().map(|it| it.image_id.clone()).collect(),
            snapshots: self.resources.snapshots.iter().map(|it| it.snapshot_id.clone()).collect(),
            volumes: self.resources.volumes.iter().map(|it| it.volume_id.clone()).collect(),
        }
    }
}

fn is_backup(tags: &Items<Tag>) -> bool {
    tag(tags, TAG_GROUP) == GROUP && tag(tags, TAG_PURPOSE) == "backup"
}

fn backup(it: &ec2::Image) -> Backup {
    let snapshots = it.block_device_mapping.item.iter().map(|device| device.ebs.snapshot_id.clone());
    Backup {
        image: it.image_id.clone(),
        state: it.image_state.clone(),
        source: it.source_instance_id.clone(),
        taken: it.creation_date,
        snapshots: snapshots.filter(|id| !id.is_empty()).collect(),
    }
}

/// What the own events say of the group's backups, each once.
fn told(events: &[Value]) -> BackupsTold {
    let mut told = BackupsTold::default();
    for event in events.iter().filter(|it| it["detail"]["group"] == GROUP) {
        let image = event["detail"]["imageId"].as_str().unwrap_or_default().to_owned();
        match event["detailType"].as_str() {
            Some("Backup Created") => note(&mut told.created, image),
            Some("Backup Removed") => note(&mut told.removed, image),
            _ => {}
        }
    }
    told
}

/// The guest of one member.
#[derive(Clone, Debug, Default)]
pub(super) struct OnMember {
    pub(super) guest: Guest,
    /// What is on the disk of the instance it is on.
    pub(super) on_disk: u64,
    /// That instance.
    on: Option<String>,
}

/// The group, as the act looks at it.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// Whether guests are to write.
    pub(super) writes: bool,
    pub(super) evidence: Evidence,
    guests: BTreeMap<String, OnMember>,
    /// Every member that the group ever had.
    names: BTreeSet<String>,
}

impl Scene for Group {
    type Seen = Observed;
    type View = View;

    async fn look(&mut self, access: &Access, last: Option<&Observed>) -> Reply<Observed> {
        for member in last.map(Observed::members).unwrap_or_default() {
            self.write(access, &member)?;
        }
        let now = access.now()?;
        let item = access.config_item(&key()).await?;
        let group = access.group(&key()).await?;
        let named = group.iter().flat_map(|group| &group.members).map(|member| member.name.to_string());
        self.names.extend(named);
        let mut nodes = BTreeMap::new();
        for name in &self.names {
            nodes.insert(name.clone(), access.record(&format!("node#{name}")).await?);
        }
        let resources = access.resources().await?;
        let told = told(&list(access, "events")?);
        let found =
            self.evidence.starts.iter().filter_map(|(id, start)| Some((id.clone(), start.found.clone()?)));
        let seen = Observed { now, item, group, nodes, resources, found: found.collect(), told };
        self.note(&seen, last);
        Ok(seen)
    }

    fn time(seen: &Observed) -> Timestamp {
        seen.now
    }

    fn view(&self, seen: &Observed, moment: Moment<'_>) -> View {
        view(seen, moment, &self.guests)
    }

    fn standing(&self, seen: Option<&Observed>) -> String {
        standing_of_all(GROUP, seen.into_iter().flat_map(|seen| &seen.nodes))
    }
}

impl Group {
    /// The guest of a member writes while its instance lives, and begins anew on the next one that runs.
    fn write(&mut self, access: &Access, member: &Member) -> Reply<()> {
        let guest = self.guests.entry(member.name.clone()).or_default();
        match (&guest.on, member.live.as_slice()) {
            (Some(on), live) if live.contains(on) => {
                guest.guest.write(access, on, access.now()?)?;
                if guest.guest.writing {
                    guest.on_disk = access.contents(&member.root)?.writes;
                    let reading = Reading { at: access.now()?, writes: guest.on_disk };
                    self.evidence.readings.entry(on.clone()).or_default().push(reading);
                }
            }
            (None, [instance]) if self.writes && member.runs() => {
                let found = access.contents(&member.root)?;
                guest.on_disk = found.writes;
                self.evidence.starts.entry(instance.clone()).or_default().found = Some(found);
                guest.on = Some(instance.clone());
            }
            (_, _) => {
                guest.on = None;
                guest.guest.rest();
            }
        }
        Ok(())
    }

    /// Keeps what will be gone by the time of the proofs.
    fn note(&mut self, seen: &Observed, last: Option<&Observed>) {
        let e = &mut self.evidence;
        e.looks += 1;
        let before = last.map(Observed::backups).unwrap_or_default();
        let newest = before.into_iter().find(Backup::is_available);
        for member in seen.members() {
            if member.live.len() > 1 {
                note(&mut e.crowds, format!("{} on {}", member.name, member.live.join(" and ")));
            }
            if let [instance] = member.live.as_slice() {
                let start = e.starts.entry(instance.clone()).or_default();
                if start.image.is_empty() {
                    *start = Start {
                        image: member.image.clone(),
                        root: member.root.clone(),
                        newest: newest.clone(),
                        found: None,
                    };
                }
                if start.root.is_empty() {
                    start.root.clone_from(&member.root);
                }
            }
        }
        for backup in seen.backups().into_iter().filter(Backup::is_available) {
            e.backups.insert(backup.image.clone(), backup);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn image(id: &str, group: &str, purpose: &str, second: u32) -> ec2::Image {
        let tags = [(TAG_GROUP, group), (TAG_PURPOSE, purpose)]
            .map(|(key, value)| format!("<item><key>{key}</key><value>{value}</value></item>"))
            .concat();
        let xml = format!(
            "<item><imageId>{id}</imageId><imageState>available</imageState><sourceInstanceId>i-1</sourceInstanceId>\
             <creationDate>2026-01-01T00:00:{second:02}.000Z</creationDate><blockDeviceMapping><item><deviceName>/dev/xvda\
             </deviceName><ebs><snapshotId>snap-1</snapshotId></ebs></item></blockDeviceMapping><tagSet>{tags}</tagSet></item>"
        );
        quick_xml::de::from_str(&xml).unwrap()
    }

    #[test]
    fn backups_are_what_carries_their_tags_the_newest_first() {
        let images = vec![
            image("ami-1", GROUP, "backup", 1),
            image("ami-3", GROUP, "backup", 3),
            image("ami-2", GROUP, "backup", 2),
            image("ami-4", "other", "backup", 4),
            image("ami-5", GROUP, "node", 5),
        ];
        let seen = Observed {
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            item: None,
            group: None,
            nodes: BTreeMap::new(),
            resources: Resources { images, ..Resources::default() },
            found: BTreeMap::new(),
            told: BackupsTold::default(),
        };
        let backups = seen.backups();
        let ids: Vec<&str> = backups.iter().map(|backup| backup.image.as_str()).collect();
        assert_eq!(ids, ["ami-3", "ami-2", "ami-1"]);
        assert_eq!((backups[0].source.as_str(), &backups[0].snapshots), ("i-1", &vec!["snap-1".to_owned()]));
        assert_eq!(seen.left().images.len(), 5, "whosever");
    }

    #[test]
    fn what_is_told_twice_is_told_once() {
        let event = |word: &str, group: &str, image: &str| json!({"detailType": word, "detail": {"group": group, "imageId": image}});
        let events = [
            event("Backup Created", GROUP, "ami-1"),
            event("Backup Created", GROUP, "ami-1"),
            event("Backup Created", "other", "ami-9"),
            event("Backup Removed", GROUP, "ami-1"),
            event("Node Running", GROUP, "ami-1"),
        ];
        let all = |id: &str| vec![id.to_owned()];
        assert_eq!(told(&events), BackupsTold { created: all("ami-1"), removed: all("ami-1") });
    }
}

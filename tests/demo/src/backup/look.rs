//! What one look at the group reads besides: its backups, what is told of them, and what guests found.
//!
//! Which backups there are, is put together from what EC2 says, by tag and by id. Notes what will be gone by the time of
//! the proofs.

use std::collections::BTreeMap;

use jiff::Timestamp;
use perennial_core::names::{TAG_GROUP, TAG_PURPOSE};
use serde_json::Value;

use super::list;
use super::proofs::{Evidence, Left, Reading, Start, Wanted};
use super::view::view;
use crate::access::{Access, Contents, Reply};
use crate::board::Board;
use crate::ec2::{self, Items, Tag, tag};
use crate::examples::Example;
use crate::members::{Deed, Guests, Look, Member, Reader};
use crate::proof::note;
use crate::stage::{Moment, Scene};

/// What was read at one moment.
#[derive(Clone, Debug)]
pub(super) struct Observed {
    /// The name of the group.
    pub(super) name: String,
    pub(super) look: Look,
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
    /// Every backup of the group that EC2 shows, the newest first.
    pub(super) fn backups(&self) -> Vec<Backup> {
        let own = self.look.resources.images.iter().filter(|it| self.is_backup(&it.tag_set));
        let mut backups: Vec<Backup> = own.map(backup).collect();
        backups.sort_by(|a, b| (b.taken, &b.image).cmp(&(a.taken, &a.image)));
        backups
    }

    /// Every snapshot that carries the same tags.
    pub(super) fn backup_snapshots(&self) -> Vec<String> {
        let own = self.look.resources.snapshots.iter().filter(|it| self.is_backup(&it.tag_set));
        own.map(|it| it.snapshot_id.clone()).collect()
    }

    fn is_backup(&self, tags: &Items<Tag>) -> bool {
        tag(tags, TAG_GROUP) == self.name && tag(tags, TAG_PURPOSE) == "backup"
    }

    /// The image that members are launched from, as the group's record says.
    pub(super) fn effective(&self) -> Option<String> {
        let backups = self.look.group.as_ref()?.backups.as_ref()?;
        Some(backups.effective.as_ref()?.to_string())
    }

    /// Since when the group counts as deleted, by its record: from here on its retention runs.
    pub(super) fn removed_at(&self) -> Option<Timestamp> {
        self.look.group.as_ref()?.removed_at
    }

    /// Everything of the deployment that EC2 shows, whosever.
    pub(super) fn left(&self) -> Left {
        Left {
            instances: self.look.live(),
            images: self.look.resources.images.iter().map(|it| it.image_id.clone()).collect(),
            snapshots: self.look.resources.snapshots.iter().map(|it| it.snapshot_id.clone()).collect(),
            volumes: self.look.resources.volumes.iter().map(|it| it.volume_id.clone()).collect(),
        }
    }
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
fn told(events: &[Value], group: &str) -> BackupsTold {
    let mut told = BackupsTold::default();
    for event in events.iter().filter(|it| it["detail"]["group"] == group) {
        let image = event["detail"]["imageId"].as_str().unwrap_or_default().to_owned();
        match event["detailType"].as_str() {
            Some("Backup Created") => note(&mut told.created, image),
            Some("Backup Removed") => note(&mut told.removed, image),
            _ => {}
        }
    }
    told
}

/// The group, as the act looks at it.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// Whether guests are to write.
    pub(super) writes: bool,
    pub(super) evidence: Evidence,
    guests: Guests,
    /// What is on the disk of each member's instance.
    on_disk: BTreeMap<String, u64>,
    reader: Reader,
}

impl Scene for Group {
    type Seen = Observed;
    type View = Board;

    async fn look(&mut self, access: &Access, last: Option<&Observed>) -> Reply<Observed> {
        for member in last.map(|seen| seen.look.members()).unwrap_or_default() {
            self.write(access, &member)?;
        }
        let (look, name) = (self.reader.read(access).await?, self.reader.name().to_owned());
        let told = told(&list(access, "events")?, &name);
        let found =
            self.evidence.starts.iter().filter_map(|(id, start)| Some((id.clone(), start.found.clone()?)));
        let seen = Observed { name, look, found: found.collect(), told };
        self.note(&seen, last);
        Ok(seen)
    }

    fn time(seen: &Observed) -> Timestamp {
        seen.look.now
    }

    fn view(&self, seen: &Observed, moment: Moment<'_>) -> Board {
        view(seen, moment, &self.guests, &self.on_disk)
    }

    fn standing(&self, seen: Option<&Observed>) -> String {
        seen.map(|seen| seen.look.standing()).unwrap_or_default()
    }
}

impl Group {
    /// The group of this item.
    pub(super) fn new(example: &Example) -> Group {
        let item = example.plain();
        let number = |value: &Value| value.as_u64().unwrap_or_default() as usize;
        let wanted =
            Wanted { capacity: number(&item["capacity"]), keep: number(&item["imageBackup"]["keep"]) };
        let evidence = Evidence { wanted, ..Evidence::default() };
        Group { evidence, reader: Reader::new(example.id()), ..Group::default() }
    }

    /// The guest of a member writes; what it finds where it begins, and what is on its disk, is kept.
    fn write(&mut self, access: &Access, member: &Member) -> Reply<()> {
        match self.guests.write(access, member, self.writes)? {
            Deed::Began(found) => {
                self.on_disk.insert(member.name.clone(), found.writes);
                self.evidence.starts.entry(member.instance_id()).or_default().found = Some(found);
            }
            Deed::Wrote => {
                let writes = access.contents(&member.root)?.writes;
                self.on_disk.insert(member.name.clone(), writes);
                let reading = Reading { at: access.now()?, writes };
                self.evidence.readings.entry(member.instance_id()).or_default().push(reading);
            }
            Deed::Nothing => {}
        }
        Ok(())
    }

    /// Keeps what will be gone by the time of the proofs.
    fn note(&mut self, seen: &Observed, last: Option<&Observed>) {
        let e = &mut self.evidence;
        e.looks += 1;
        let before = last.map(Observed::backups).unwrap_or_default();
        let newest = before.into_iter().find(Backup::is_available);
        for member in seen.look.members() {
            if let Some(crowd) = member.crowd() {
                note(&mut e.crowds, crowd);
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
    use crate::access::Resources;

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
            image("ami-1", "web", "backup", 1),
            image("ami-3", "web", "backup", 3),
            image("ami-2", "web", "backup", 2),
            image("ami-4", "other", "backup", 4),
            image("ami-5", "web", "node", 5),
        ];
        let look = Look {
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            item: None,
            group: None,
            nodes: BTreeMap::new(),
            resources: Resources { images, ..Resources::default() },
            interfaces: Vec::new(),
            elastic_ips: Vec::new(),
        };
        let (found, told) = (BTreeMap::new(), BackupsTold::default());
        let seen = Observed { name: "web".to_owned(), look, found, told };
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
            event("Backup Created", "web", "ami-1"),
            event("Backup Created", "web", "ami-1"),
            event("Backup Created", "other", "ami-9"),
            event("Backup Removed", "web", "ami-1"),
            event("Node Running", "web", "ami-1"),
        ];
        let all = |id: &str| vec![id.to_owned()];
        assert_eq!(told(&events, "web"), BackupsTold { created: all("ami-1"), removed: all("ami-1") });
    }
}

//! Deterministic names: client tokens, keys, image names, tags, shards and slots.
//!
//! A name is a function of what a step is *for* (deployment, node, life, cycle, step, attempt …), never
//! of when or by whom it is done. So a step that is repeated after a crash finds what its first run made.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::ids::{GroupName, InstanceId, InterfaceId, NodeName, Resource, SnapshotId, VolumeId};
use crate::limits::WORK_SHARDS;

/// Tags as AWS has them.
pub type Tags = BTreeMap<String, String>;

/// Which deployment a resource belongs to.
pub const TAG_DEPLOYMENT: &str = "perennial:deployment";
/// Which node, by bare name.
pub const TAG_NODE: &str = "perennial:node";
/// Which group the node is a member of, by bare name.
pub const TAG_GROUP: &str = "perennial:group";
/// Which life of that node.
pub const TAG_LIFE: &str = "perennial:life";
/// Which cycle of that life.
pub const TAG_CYCLE: &str = "perennial:cycle";
/// What the resource is for: a [`Purpose`].
pub const TAG_PURPOSE: &str = "perennial:purpose";
/// The step that made it.
pub const TAG_KEY: &str = "perennial:key";
/// The device a snapshot was taken of: with the node it names the line.
pub const TAG_DEVICE: &str = "perennial:device";
/// The volume a snapshot was taken of. A copy of it carries the same tag and another volume's id.
pub const TAG_VOLUME: &str = "perennial:volume";
/// Of how many snapshots a set of one moment consists; each of them carries it, and the set's key.
pub const TAG_PARTS: &str = "perennial:parts";
/// Prefix that operators cannot use in their own tags.
pub const TAG_PREFIX: &str = "perennial:";

/// What a resource is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// An instance of a node.
    Instance,
    /// A root volume.
    Root,
    /// A data volume. Those that a launch makes carry the root's word: EC2 gives all volumes of a launch the
    /// same tags.
    Data,
    /// A network interface kept for a node.
    Interface,
    /// A snapshot taken on cadence.
    Periodic,
    /// A snapshot taken at the interruption notice.
    Warning,
    /// A snapshot taken at a rebalance recommendation.
    Rebalance,
    /// The snapshot taken after termination.
    Final,
    /// The image registered from a final snapshot.
    Image,
    /// An image of a group's member, made on a schedule, and the snapshots it stands on.
    Backup,
    /// Something of the operator's that a node uses: never deleted.
    Adopted,
}

impl Purpose {
    /// The value of the purpose tag.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Instance => "instance",
            Self::Root => "root",
            Self::Data => "data",
            Self::Interface => "interface",
            Self::Periodic => "periodic",
            Self::Warning => "warning",
            Self::Rebalance => "rebalance",
            Self::Final => "final",
            Self::Image => "image",
            Self::Backup => "backup",
            Self::Adopted => "adopted",
        }
    }

    /// The snapshots that Perennial takes.
    pub const SNAPSHOTS: [Self; 4] = [Self::Periodic, Self::Warning, Self::Rebalance, Self::Final];

    /// The volumes that are made for a node.
    pub const VOLUMES: [Self; 2] = [Self::Root, Self::Data];

    /// Snapshots of these purposes are rotated together; no others are ever rotated.
    pub const ROTATED: [Self; 3] = [Self::Periodic, Self::Warning, Self::Rebalance];
}

/// What a read by tags asks for: resources that carry all of this. An optimisation, never a proof:
/// whoever acts on what is found checks its tags again.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tagged<'a> {
    /// The deployment.
    pub deployment: &'a str,
    /// The node and its life, if only theirs are asked for.
    pub life: Option<(&'a str, &'a str)>,
    /// Any of these lives, if only theirs are asked for: at most 200, as many values as one filter takes
    /// (EC2 API reference, *Filter*).
    pub lives: &'a [&'a str],
    /// One of these keys of the steps that made them; any if empty.
    pub keys: &'a [&'a str],
    /// One of these purposes; any if empty.
    pub purposes: &'a [Purpose],
}

impl<'a> Tagged<'a> {
    /// Everything of a deployment.
    pub fn of(deployment: &'a str) -> Self {
        Self { deployment, ..Self::default() }
    }

    /// The same as tags and the values they may have.
    pub fn filters(&self) -> Vec<(&'static str, Vec<&'a str>)> {
        let mut filters = Vec::new();
        if !self.lives.is_empty() {
            filters.push((TAG_LIFE, self.lives.to_vec()));
        }
        filters.push((TAG_DEPLOYMENT, vec![self.deployment]));
        if let Some((node, life)) = self.life {
            filters.push((TAG_NODE, vec![node]));
            filters.push((TAG_LIFE, vec![life]));
        }
        if !self.keys.is_empty() {
            filters.push((TAG_KEY, self.keys.to_vec()));
        }
        if !self.purposes.is_empty() {
            filters.push((TAG_PURPOSE, self.purposes.iter().map(|p| p.as_str()).collect()));
        }
        filters
    }
}

/// What Perennial makes such a resource for, and so may delete it for at the end of a life. Backup
/// products copy the tags of what they back up: a snapshot with a volume's purpose is not ours.
pub fn made_for(resource: &Resource) -> &'static [Purpose] {
    match resource {
        Resource::Image(_) => &[Purpose::Image],
        Resource::Snapshot(_) => &Purpose::SNAPSHOTS,
        Resource::Volume(_) => &Purpose::VOLUMES,
        Resource::Interface(_) => &[Purpose::Interface],
        Resource::Instance(_) => &[Purpose::Instance],
    }
}

/// Whose names these are.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// The deployment.
    pub deployment: &'a str,
    /// The node.
    pub node: &'a NodeName,
    /// The node's life.
    pub life: &'a str,
}

impl Names<'_> {
    /// Hashes a step's coordinates into 40 characters that every token and tag of AWS accepts (≤ 64).
    fn key(&self, step: &str, parts: &[&str]) -> String {
        let mut all = vec![self.deployment, self.node.as_str(), self.life, step];
        all.extend_from_slice(parts);
        digest(&all)[..40].to_owned()
    }

    /// Client token of a launch, and the key on what the launch makes.
    pub fn launch(&self, cycle: u32, attempt: u32) -> String {
        self.key("launch", &[&cycle.to_string(), &attempt.to_string()])
    }

    /// Client token of the node's network interface; of one that replaces a lost one, with its id.
    pub fn interface(&self, attempt: u32, lost: Option<&InterfaceId>) -> String {
        let lost = lost.map_or("", InterfaceId::as_str);
        self.key("interface", &[&attempt.to_string(), lost])
    }

    /// Client token of a data volume made from a snapshot for this device in this zone, and the key on it.
    pub fn volume(&self, device: &str, snapshot: &SnapshotId, zone: &str, attempt: u32) -> String {
        self.key("volume", &[device, snapshot.as_str(), zone, &attempt.to_string()])
    }

    /// Key of the snapshot, or of the set of them, taken at an interruption notice; of a set with its first
    /// volume.
    pub fn warning(&self, cycle: u32, volume: &VolumeId) -> String {
        self.key("warning", &[&cycle.to_string(), volume.as_str()])
    }

    /// Key of a final snapshot.
    pub fn last(&self, cycle: u32, volume: &VolumeId, attempt: u32) -> String {
        self.key("final", &[&cycle.to_string(), volume.as_str(), &attempt.to_string()])
    }

    /// Key of a periodic snapshot; of a set of them with its first volume.
    pub fn periodic(&self, volume: &VolumeId, due: Timestamp) -> String {
        self.key("periodic", &[volume.as_str(), &due.as_second().to_string()])
    }

    /// Key of the snapshot taken at a rebalance recommendation of this second.
    pub fn rebalance(&self, volume: &VolumeId, at: Timestamp) -> String {
        self.key("rebalance", &[volume.as_str(), &at.as_second().to_string()])
    }

    /// Unique name of a node image; AWS allows 3 to 128 characters.
    pub fn image(&self, cycle: u32, attempt: u32) -> String {
        let hash = self.key("image", &[&cycle.to_string(), &attempt.to_string()]);
        format!("{}/{}/{}-{}", self.deployment, self.node, cycle, &hash[..16])
    }

    /// The tags of a resource made for this node: the operator's first, ours win.
    pub fn tags(&self, operator: &Tags, cycle: u32, purpose: Purpose, key: &str) -> Tags {
        let mut tags = operator.clone();
        let name = || format!("{} {}", self.node, purpose.as_str());
        tags.entry("Name".to_owned()).or_insert_with(|| match purpose {
            Purpose::Instance => self.node.to_string(),
            _ => name(),
        });
        for (tag, value) in [
            (TAG_DEPLOYMENT, self.deployment),
            (TAG_NODE, self.node.as_str()),
            (TAG_LIFE, self.life),
            (TAG_CYCLE, &cycle.to_string()),
            (TAG_PURPOSE, purpose.as_str()),
            (TAG_KEY, key),
        ] {
            tags.insert(tag.to_owned(), value.to_owned());
        }
        tags
    }

    /// Whether tags say "made by this deployment for this very life of this node".
    pub fn owns(&self, tags: &Tags) -> bool {
        let is = |tag: &str, value: &str| tags.get(tag).is_some_and(|v| v == value);
        is(TAG_DEPLOYMENT, self.deployment) && is(TAG_NODE, self.node.as_str()) && is(TAG_LIFE, self.life)
    }
}

/// Whose backups these are.
#[derive(Clone, Copy, Debug)]
pub struct GroupNames<'a> {
    /// The deployment.
    pub deployment: &'a str,
    /// The group.
    pub group: &'a GroupName,
}

impl GroupNames<'_> {
    /// Unique name of a backup that is begun at this moment; AWS allows 3 to 128 characters.
    pub fn backup(&self, at: Timestamp, instance: &InstanceId) -> String {
        let hash = digest(&[self.deployment, self.group.as_str(), instance.as_str(), &at.to_string()]);
        format!("{}/{}/{}-{}", self.deployment, self.group, at.strftime("%Y%m%dT%H%M%SZ"), &hash[..8])
    }

    /// The tags of the backup of this name, and of its snapshots: the operator's first, ours win.
    pub fn tags(&self, operator: &Tags, name: &str) -> Tags {
        let mut tags = operator.clone();
        tags.entry("Name".to_owned()).or_insert_with(|| format!("{} backup", self.group));
        for (tag, value) in [
            (TAG_DEPLOYMENT, self.deployment),
            (TAG_GROUP, self.group.as_str()),
            (TAG_PURPOSE, Purpose::Backup.as_str()),
            (TAG_KEY, name),
        ] {
            tags.insert(tag.to_owned(), value.to_owned());
        }
        tags
    }

    /// Whether tags say "a backup that this deployment made for this group".
    pub fn owns(&self, tags: &Tags) -> bool {
        let is = |tag: &str, value: &str| tags.get(tag).is_some_and(|v| v == value);
        is(TAG_DEPLOYMENT, self.deployment)
            && is(TAG_GROUP, self.group.as_str())
            && has_purpose(tags, Purpose::Backup)
    }
}

/// Whether tags carry this purpose.
pub fn has_purpose(tags: &Tags, purpose: Purpose) -> bool {
    tags.get(TAG_PURPOSE).is_some_and(|p| p == purpose.as_str())
}

/// Whether tags carry this key.
pub fn has_key(tags: &Tags, key: &str) -> bool {
    tags.get(TAG_KEY).is_some_and(|k| k == key)
}

/// A new life: never the same twice, because no two invocations share an id.
pub fn life(deployment: &str, node: &NodeName, invocation: &str, now: Timestamp) -> String {
    digest(&[deployment, node.as_str(), "life", invocation, &now.to_string()])[..16].to_owned()
}

/// The shard of the work index that a node belongs to, as two digits.
pub fn shard(node: &NodeName) -> String {
    format!("{:02}", number(&["shard", node.as_str()]) % u64::from(WORK_SHARDS))
}

/// All shards of the work index.
pub fn shards() -> impl Iterator<Item = String> {
    (0..WORK_SHARDS).map(|n| format!("{n:02}"))
}

/// Picks one of `n` for a life, evenly over lives; `n` must not be zero.
pub fn choose(life: &str, what: &str, n: usize) -> usize {
    (number(&[what, life]) % n.max(1) as u64) as usize
}

/// The latest moment at or before `now` at which something periodic was due for this life: its slot is
/// a hash within the interval, so that many nodes make an even stream and not a burst.
pub fn due_slot(life: &str, what: &str, every: SignedDuration, now: Timestamp) -> Timestamp {
    let every = every.as_secs().max(1);
    let slot = (number(&[what, life]) % every as u64) as i64;
    let since = (now.as_second() - slot).rem_euclid(every);
    now.checked_sub(SignedDuration::from_secs(since)).map_or(now, whole_second)
}

/// Cuts a time to the second, the resolution of records and keys.
pub fn whole_second(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

/// SHA-256 over length-prefixed parts, so that no two lists of parts collide by concatenation; hex.
pub fn digest(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A number that spreads ids evenly, always the same for the same id.
pub fn spread(id: &str) -> u64 {
    number(&["spread", id])
}

fn number(parts: &[&str]) -> u64 {
    u64::from_str_radix(&digest(parts)[..16], 16).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names<'a>(node: &'a NodeName, life: &'a str) -> Names<'a> {
        Names { deployment: "prod", node, life }
    }

    #[test]
    fn tokens_differ_in_every_coordinate_and_repeat_exactly() {
        let (a, b) = (NodeName::parse("a").unwrap(), NodeName::parse("b").unwrap());
        let one = names(&a, "l1").launch(1, 1);
        assert_eq!(one, names(&a, "l1").launch(1, 1));
        assert!(one.len() <= 64 && one.is_ascii());
        for other in [
            names(&a, "l1").launch(1, 2),
            names(&a, "l1").launch(2, 1),
            names(&a, "l2").launch(1, 1),
            names(&b, "l1").launch(1, 1),
            names(&a, "l1").launch(11, 1),
            names(&a, "l1").launch(1, 11),
            names(&a, "l1").interface(1, None),
            names(&a, "l1").interface(1, Some(&InterfaceId::new("eni-1"))),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn an_image_name_fits_what_aws_allows() {
        let node = NodeName::parse(&"n".repeat(48)).unwrap();
        let name = Names { deployment: &"d".repeat(32), node: &node, life: "l" }.image(u32::MAX, 9);
        assert!((3..=128).contains(&name.len()), "{name}");
        assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b"()[] ./-'@_".contains(&b)), "{name}");
    }

    #[test]
    fn our_tags_win_over_the_operators_and_prove_ownership() {
        let node = NodeName::parse("a").unwrap();
        let names = names(&node, "l1");
        let operator = Tags::from([("team".into(), "db".into()), (TAG_NODE.into(), "evil".into())]);
        let tags = names.tags(&operator, 3, Purpose::Root, "k");
        assert_eq!(tags["team"], "db");
        assert_eq!(tags[TAG_NODE], "a");
        assert!(names.owns(&tags) && has_purpose(&tags, Purpose::Root) && has_key(&tags, "k"));
        assert!(!Names { life: "l2", ..names }.owns(&tags));
        assert!(!Names { deployment: "other", ..names }.owns(&tags));
    }

    #[test]
    fn a_slot_is_due_once_per_interval_and_never_in_the_future() {
        let every = SignedDuration::from_mins(5);
        let start = Timestamp::from_second(1_790_000_000).unwrap();
        let mut dues = std::collections::BTreeSet::new();
        for second in 0..3600 {
            let now = start + SignedDuration::from_secs(second);
            let due = due_slot("life", "snapshot", every, now);
            assert!(due <= now && now.duration_since(due) < every);
            dues.insert(due);
        }
        assert!((12..=13).contains(&dues.len()));
    }

    #[test]
    fn nodes_spread_over_all_shards() {
        let used: std::collections::BTreeSet<_> =
            (0..500).map(|n| shard(&NodeName::parse(&format!("n{n}")).unwrap())).collect();
        assert_eq!(used.len(), usize::from(WORK_SHARDS));
        assert!(shards().all(|s| used.contains(&s)));
    }
}

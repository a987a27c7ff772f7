//! Deliberate defects: adapters that lie and tables that forget, so that the simulation is known to see.
//!
//! A test-only switch of a world; nothing outside the simulation knows of it. Each defect stands for a
//! mistake that a change to the engine or to an adapter could make, and names the rule it breaks.

use std::collections::BTreeMap;

use perennial_cloud::model as cloud;
use perennial_core::config::{DesiredState, Retained};
use perennial_core::group::GroupRecord;
use perennial_core::names::{
    Purpose, TAG_DEPLOYMENT, TAG_KEY, TAG_LIFE, TAG_NODE, TAG_PARTS, TAG_PURPOSE, has_purpose,
};
use perennial_core::observation::{
    AddressFacts, ImageFacts, ImageState, InstanceFacts, InstanceState, SnapshotFacts, SnapshotState,
    VolumeFacts, VolumeState,
};
use perennial_core::phase::Phase;
use perennial_core::record::{Record, Stored};

/// The device of every root in the simulation.
const ROOT_DEVICE: &str = "/dev/xvda";

/// Something that is wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// RunInstances is sent without its client token.
    NoClientToken,
    /// The tables take every write, whatever it was based on.
    UnconditionalWrite,
    /// A write that came too late is reported as done.
    LostWrite,
    /// Reads by token, key or name find nothing.
    KeysFindNothing,
    /// The status checks have passed before the instance has booted.
    ChecksAlwaysPass,
    /// Pending snapshots are shown as completed.
    PendingIsCompleted,
    /// An instance counts as terminated from its interruption notice on.
    NoticeIsTheEnd,
    /// The same, and its volumes count as available.
    NoticeFreesVolumes,
    /// The record forgets what is under way: intent and claim.
    IntentForgotten,
    /// The record forgets the events that are still to be published.
    OutboxForgotten,
    /// `DeleteOnTermination` is read as off, whatever it is.
    KeptByHearsay,
    /// The purge deletes everything, whatever `retention.delete` names.
    PurgeTakesAll,
    /// The item is not read again before the purge.
    ItemNotReread,
    /// `suspend` is not heeded.
    SuspendIgnored,
    /// Whatever a read shows of volumes, snapshots and instances counts as tagged ours.
    AnyTagIsOurs,
    /// An address is asked for at random instead of the one the node had: identity is lost.
    AddressForgotten,
    /// Elastic IP addresses are shown as free, and taken from wherever they are.
    TakesElasticIps,
    /// Nobody is seen to have an address that is asked for.
    HoldersUnseen,
    /// An instance is shown with its Elastic IP address, whether it has it or not.
    ElasticIpByHearsay,
    /// The record of a group is written, whatever the decision was based on.
    GroupUnconditional,
    /// A deallocated node gives up its interface though nobody is to have the address.
    AddressFreedEarly,
    /// All members are asked at once to be replaced.
    RolledAtOnce,
    /// Data volumes are shown neither on their instance nor as attached to anything.
    DataUnseen,
    /// A volume that was attached by hand counts as made.
    AdoptedIsMade,
    /// Each part of a set counts as a whole recovery point.
    PartsForgotten,
    /// Pending images are shown as available.
    PendingImageIsAvailable,
    /// The pass over backups sees no launch under way, nor what was in effect a moment ago.
    LaunchUnseen,
    /// Backups are deregistered without their snapshots, which no read shows.
    SnapshotsLeft,
    /// Whoever fails its status checks counts as well.
    ImpairedIsWell,
    /// All backups of a group are asked for under one name.
    NameNotUnique,
}

impl Defect {
    /// Every defect.
    pub const ALL: [Self; 30] = [
        Self::NoClientToken,
        Self::UnconditionalWrite,
        Self::LostWrite,
        Self::KeysFindNothing,
        Self::ChecksAlwaysPass,
        Self::PendingIsCompleted,
        Self::NoticeIsTheEnd,
        Self::NoticeFreesVolumes,
        Self::IntentForgotten,
        Self::OutboxForgotten,
        Self::KeptByHearsay,
        Self::PurgeTakesAll,
        Self::ItemNotReread,
        Self::SuspendIgnored,
        Self::AnyTagIsOurs,
        Self::AddressForgotten,
        Self::TakesElasticIps,
        Self::HoldersUnseen,
        Self::ElasticIpByHearsay,
        Self::GroupUnconditional,
        Self::AddressFreedEarly,
        Self::RolledAtOnce,
        Self::DataUnseen,
        Self::AdoptedIsMade,
        Self::PartsForgotten,
        Self::PendingImageIsAvailable,
        Self::LaunchUnseen,
        Self::SnapshotsLeft,
        Self::ImpairedIsWell,
        Self::NameNotUnique,
    ];

    /// The rule that it breaks.
    pub fn rule(self) -> &'static str {
        match self {
            Self::NoClientToken => "a repeated launch carries the token of the first",
            Self::UnconditionalWrite => "every write is conditional on the generation it was based on",
            Self::LostWrite => "whoever loses a write reloads or leaves",
            Self::KeysFindNothing => "what an unanswered call made is looked up by its key",
            Self::ChecksAlwaysPass => "nothing old goes before both status checks of the new have passed",
            Self::PendingIsCompleted => "a pending snapshot is no recovery point",
            Self::NoticeIsTheEnd => "events only wake: AWS says whether an instance has ended",
            Self::NoticeFreesVolumes => "a final snapshot is taken of a free volume only",
            Self::IntentForgotten => "intent before effect",
            Self::OutboxForgotten => "own events are written with the transition and published at least once",
            Self::KeptByHearsay => "DeleteOnTermination is read back",
            Self::PurgeTakesAll => "the purge deletes what retention.delete names, nothing else",
            Self::ItemNotReread => "the purge reads the item again before its first deletion",
            Self::SuspendIgnored => "suspend means no changing call",
            Self::AnyTagIsOurs => "only what is tagged for this very life is touched",
            Self::AddressForgotten => "a kept address is had again, or the node waits for it",
            Self::TakesElasticIps => "an Elastic IP address is never taken from another interface",
            Self::HoldersUnseen => "whoever waits for an address says who has it",
            Self::ElasticIpByHearsay => "an association that has ended is made again",
            Self::GroupUnconditional => "a group's record is written only over the one it was decided from",
            Self::AddressFreedEarly => "an interface goes only when a successor is to have its address",
            Self::RolledAtOnce => "the members of a group are replaced one at a time",
            Self::DataUnseen => "a data volume leaves the node only when it is seen elsewhere",
            Self::AdoptedIsMade => "what was attached by hand is never deleted",
            Self::PartsForgotten => "a set of snapshots is a recovery point only as a whole",
            Self::PendingImageIsAvailable => "a backup counts only once EC2 says that it is available",
            Self::LaunchUnseen => "no backup goes that a member in launch depends on",
            Self::SnapshotsLeft => "the snapshots of a backup go with it",
            Self::ImpairedIsWell => "a backup is taken of a member that has passed both status checks",
            Self::NameNotUnique => "the name of a backup is unique, and serves as its token",
        }
    }

    /// The defect that no story can show, and the guard that stands behind it.
    pub fn guarded_by(self) -> Option<&'static str> {
        match self {
            Self::NoticeIsTheEnd => {
                Some("the final snapshot and the launch wait for the volume to be available")
            }
            Self::LaunchUnseen => Some(
                "a backup goes five minutes after another one took its place, and no launch of a story is under way \
                 for so long: core `one_that_a_launch_needs_stays_until_it_is_up`",
            ),
            Self::LostWrite => Some(
                "names are deterministic: whoever acts on a record that was not written makes nothing twice",
            ),
            Self::GroupUnconditional => {
                Some("whatever was decided last is decided again from what there is, at the next tick")
            }
            _ => None,
        }
    }

    /// An instance as it is shown.
    pub(crate) fn instance(
        self,
        it: &cloud::Instance,
        mut facts: InstanceFacts,
        records: &BTreeMap<String, Record>,
    ) -> InstanceFacts {
        match self {
            Self::NoticeIsTheEnd | Self::NoticeFreesVolumes if it.reclaimed_at.is_some() => {
                facts.state = InstanceState::Terminated;
            }
            Self::KeptByHearsay => {
                facts.volumes.iter_mut().for_each(|held| held.delete_on_termination = false);
                facts.interfaces.iter_mut().for_each(|held| held.delete_on_termination = false);
            }
            Self::DataUnseen => facts.volumes.retain(|held| held.device == facts.root_device),
            Self::ElasticIpByHearsay => {
                for held in &mut facts.interfaces {
                    let kept = records.values().filter_map(|record| record.network.as_ref());
                    let mut kept = kept.filter(|network| network.eni_id == held.interface);
                    let known = kept.find_map(|network| network.elastic_ip.as_ref());
                    held.public_ip = known.map(|known| known.public_ip).or(held.public_ip);
                }
            }
            _ => {}
        }
        facts
    }

    /// A volume as it is shown.
    pub(crate) fn volume(self, mut facts: VolumeFacts, records: &BTreeMap<String, Record>) -> VolumeFacts {
        match self {
            Self::NoticeFreesVolumes if facts.state == VolumeState::InUse => {
                facts.state = VolumeState::Available;
                facts.attached_to.clear();
            }
            Self::AnyTagIsOurs => claim(&mut facts.tags, records),
            Self::DataUnseen if facts.device.as_deref().is_some_and(|it| it != ROOT_DEVICE) => {
                facts.state = VolumeState::Available;
                facts.attached_to.clear();
            }
            Self::AdoptedIsMade if has_purpose(&facts.tags, Purpose::Adopted) => {
                facts.tags.insert(TAG_PURPOSE.to_owned(), Purpose::Data.as_str().to_owned());
            }
            _ => {}
        }
        facts
    }

    /// A snapshot as it is shown.
    pub(crate) fn snapshot(
        self,
        mut facts: SnapshotFacts,
        records: &BTreeMap<String, Record>,
    ) -> SnapshotFacts {
        match self {
            Self::PendingIsCompleted if facts.state == SnapshotState::Pending => {
                facts.state = SnapshotState::Completed;
            }
            // Each with a key of its own.
            Self::PartsForgotten if facts.tags.remove(TAG_PARTS).is_some() => {
                facts.tags.insert(TAG_KEY.to_owned(), facts.id.to_string());
            }
            Self::AnyTagIsOurs => claim(&mut facts.tags, records),
            Self::SnapshotsLeft if has_purpose(&facts.tags, Purpose::Backup) => {
                facts.tags.remove(TAG_DEPLOYMENT);
            }
            _ => {}
        }
        facts
    }

    /// An image as it is shown.
    pub(crate) fn image(self, mut facts: ImageFacts) -> ImageFacts {
        if self == Self::PendingImageIsAvailable && facts.state == ImageState::Pending {
            facts.state = ImageState::Available;
        }
        // Else it would be found that not all it stands on is ours.
        if self == Self::SnapshotsLeft {
            facts.snapshots.clear();
        }
        facts
    }

    /// The name that a backup is asked for under.
    pub(crate) fn backup_name(self, name: &str) -> String {
        match self {
            Self::NameNotUnique => name.rsplit_once('/').map_or(name, |(group, _)| group).to_owned(),
            _ => name.to_owned(),
        }
    }

    /// A record as it is written.
    pub(crate) fn written(self, record: &Record) -> Record {
        let mut record = record.clone();
        match self {
            Self::IntentForgotten => (record.intent, record.claim) = (None, None),
            Self::OutboxForgotten => record.outbox.clear(),
            _ => {}
        }
        record
    }

    /// A record as it is read.
    pub(crate) fn loaded(self, stored: Stored, by_backups: bool) -> Stored {
        let Stored::Known(mut record) = stored else { return stored };
        match self {
            Self::LaunchUnseen
                if by_backups && matches!(record.phase, Phase::Launching | Phase::Attaching) =>
            {
                (record.intent, record.instance) = (None, None);
            }
            Self::PurgeTakesAll if record.goal != DesiredState::Released => {
                record.config.config.retention.delete = Retained::ALL.to_vec();
            }
            Self::SuspendIgnored => record.config.config.suspend = false,
            Self::AddressFreedEarly => {
                if let Some(network) = record.config.config.persist.network.as_mut() {
                    network.frees_address = true;
                }
            }
            Self::AddressForgotten => {
                if let Some(network) = record.network.as_mut().filter(|n| n.missing_since.is_some()) {
                    let [a, b, c, d] = network.private_ip.octets();
                    network.private_ip = [a, b, c, d ^ 64].into();
                }
            }
            _ => {}
        }
        Stored::Known(record)
    }

    /// A group as it is read.
    pub(crate) fn group(self, mut group: GroupRecord) -> GroupRecord {
        if self == Self::RolledAtOnce {
            let recycle = group.config.part.recycle;
            group.members.iter_mut().for_each(|member| member.recycle = recycle);
        }
        if self == Self::LaunchUnseen {
            let listed = group.backups.iter_mut().flat_map(|it| &mut it.list);
            listed.for_each(|it| it.superseded_at = None);
        }
        group
    }

    /// An Elastic IP address as it is shown.
    pub(crate) fn elastic_ip(self, mut facts: AddressFacts) -> AddressFacts {
        if self == Self::TakesElasticIps {
            facts.association = None;
        }
        facts
    }

    /// Whether an item is hidden from a read by its id.
    pub(crate) fn hides(self, id: &str, records: &BTreeMap<String, Record>) -> bool {
        let record = id.strip_prefix("node#").and_then(|node| records.get(node));
        self == Self::ItemNotReread && record.is_some_and(|record| record.phase == Phase::Deallocated)
    }
}

/// Makes what carries the name of a node look as if it were of that node's present life.
fn claim(tags: &mut BTreeMap<String, String>, lives: &BTreeMap<String, Record>) {
    if let Some(record) = tags.get(TAG_NODE).and_then(|node| lives.get(node)) {
        tags.insert(TAG_LIFE.to_owned(), record.life.clone());
        tags.insert(TAG_DEPLOYMENT.to_owned(), crate::run::DEPLOYMENT.to_owned());
    }
}

//! The orphan pass: what carries our tags and is explained by no record.
//!
//! Nothing is deleted on the word of a missing record: only a key or an ended life that proves a resource
//! to be a duplicate or a leftover lets it go, and only a day after it was first seen. What an operator may
//! still want (a root that was swapped by hand, a recovery point older than the present root's descent) is
//! reported and left alone. An instance is never deleted here.

mod backups;
mod found;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use backups::{group_of, is_backup, judge_backup};
pub use found::{Found, all, event};

use crate::config::{DesiredState, Retained};
use crate::ids::{InterfaceId, Resource};
use crate::journal::Entry;
use crate::limits;
use crate::names::{Names, Purpose, TAG_DEVICE, has_key, has_purpose, made_for};
use crate::observation::{
    ImageFacts, InstanceFacts, InterfaceFacts, InterfaceState, Observation, SnapshotFacts, SnapshotState,
    VolumeFacts, VolumeState,
};
use crate::phase::Phase;
use crate::plan::{Draft, Scope};
use crate::record::{Network, Record, Superseded};

/// What the pass remembers from one hour to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Orphans {
    /// Grows by one with every write; every write is conditional on it.
    pub generation: u64,
    /// When the pass last went through everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked_at: Option<Timestamp>,
    /// Since when each orphan has been one, by id.
    #[serde(default)]
    pub since: BTreeMap<String, Timestamp>,
    /// Those among them that have been told of, by id: each is told of once.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub told: BTreeSet<String>,
}

impl Orphans {
    /// Whether it is time to go through everything again.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.checked_at.is_none_or(|at| now.duration_since(at) >= limits::ORPHANS_EVERY)
    }

    /// Whether something has been an orphan for so long that it may be deleted.
    pub fn may_go(&self, id: &str, now: Timestamp) -> bool {
        self.since.get(id).is_some_and(|since| now.duration_since(*since) >= limits::ORPHAN_KEPT)
    }
}

/// When and by whom something is judged.
#[derive(Clone, Copy, Debug)]
pub struct Sight<'a> {
    /// The deployment.
    pub deployment: &'a str,
    /// The time.
    pub now: Timestamp,
    /// Whether an earlier pass has seen it without explaining it.
    pub again: bool,
}

/// What the pass makes of something.
#[derive(Clone, Debug, PartialEq)]
pub enum Finding {
    /// It is no orphan, or none of ours.
    Explained,
    /// A write that is under way, or has just been made, may explain it: judged again at the next pass.
    Unsettled,
    /// A crash left it: it belongs into the record.
    Adopt(Adoption),
    /// Nothing explains it and nothing proves that it is not needed. Why, as half a sentence.
    Report(String),
    /// It is proven not to be needed, and goes when it has been an orphan for a day. Why, likewise.
    Delete(String),
}

/// What a record takes in.
#[derive(Clone, Debug, PartialEq)]
pub enum Adoption {
    /// Something of an earlier cycle that the present one descends from: goes when the present one is proven.
    Superseded(Superseded),
    /// The instance of the present cycle.
    Instance(Box<InstanceFacts>),
    /// The interface that the node was to keep.
    Interface(Box<InterfaceFacts>),
}

/// Judges something found by its tags. `record` must be that of the node its tags name, read after it was
/// found, so that what was written before is known; `None` if the node has none.
pub fn judge(found: Found<'_>, record: Option<&Record>, seen: &Observation, sight: Sight<'_>) -> Finding {
    if !found.is_of(sight.deployment) || has_purpose(found.tags(), Purpose::Adopted) || found.is_past() {
        return Finding::Explained;
    }
    let Some(record) = record else {
        return Finding::Report("there is no record of its node".to_owned());
    };
    if found.node() != Some(record.name.as_str()) {
        return Finding::Report("the record at hand is another node's".to_owned());
    }
    let finding = if !record.names(sight.deployment).owns(found.tags()) {
        of_former_life(found, record)
    } else {
        match record.phase {
            Phase::Purging => Finding::Explained,
            Phase::Gone => {
                let released = record.goal == DesiredState::Released;
                let deleted = if released { &[][..] } else { &record.config().retention.delete };
                leftover(found, deleted)
            }
            Phase::New
            | Phase::Launching
            | Phase::Attaching
            | Phase::Running
            | Phase::Interrupting
            | Phase::Stopping
            | Phase::Releasing
            | Phase::Capturing
            | Phase::Imaging
            | Phase::Paused
            | Phase::Deallocated => of_living(found, record, seen, sight),
        }
    };
    if finding != Finding::Explained && is_unsettled(record, sight) { Finding::Unsettled } else { finding }
}

/// Whether the record may be about to say more, or reads may not show yet what it last did. A record that
/// is written every minute must not hide an orphan for ever: what an earlier pass has seen is no news.
fn is_unsettled(record: &Record, sight: Sight<'_>) -> bool {
    let claimed = record.claim.as_ref().is_some_and(|claim| claim.until > sight.now);
    let fresh = sight.now.duration_since(record.updated_at) < limits::ORPHAN_SETTLES;
    claimed || (fresh && !sight.again)
}

fn of_former_life(found: Found<'_>, record: &Record) -> Finding {
    match record.former.iter().find(|former| found.life() == Some(&former.life)) {
        Some(former) => leftover(found, &former.deleted),
        None => Finding::Report("its life is not known to the record of its node".to_owned()),
    }
}

/// Judges what a life left behind whose end was to delete these kinds.
fn leftover(found: Found<'_>, deleted: &[Retained]) -> Finding {
    let deletes = |kind| deleted.contains(&kind);
    let was_to_go = match found {
        Found::Image(_) => deletes(Retained::Images),
        // As at the purge: what an image stands on stays with it.
        Found::Snapshot(it) => {
            let alone = !has_purpose(&it.tags, Purpose::Final);
            deletes(Retained::Snapshots) && (deletes(Retained::Images) || alone)
        }
        Found::Volume(_) => deletes(Retained::Volumes),
        Found::Interface(_) => deletes(Retained::NetworkInterfaces),
        Found::Instance(_) => false,
    };
    let made = made_for(&found.resource()).iter().any(|purpose| has_purpose(found.tags(), *purpose));
    match (was_to_go && made, found.is_free()) {
        (false, _) => Finding::Report("its life has ended, and its end was not to delete it".to_owned()),
        (true, false) => Finding::Report("its life has ended, but it is in use".to_owned()),
        (true, true) => Finding::Delete("its life has ended, and its end was to delete it".to_owned()),
    }
}

fn of_living(found: Found<'_>, record: &Record, seen: &Observation, sight: Sight<'_>) -> Finding {
    if is_named(record, &found.resource()) {
        return Finding::Explained;
    }
    let names = record.names(sight.deployment);
    match found {
        Found::Instance(it) => instance(it, record, &names),
        Found::Volume(it) => volume(it, record, &names, seen),
        Found::Snapshot(it) => snapshot(it, record, &names),
        Found::Image(it) => image(it, record, &names),
        Found::Interface(it) => interface(it, record, &names, seen),
    }
}

/// Whether a record names a resource by its id.
fn is_named(record: &Record, resource: &Resource) -> bool {
    let known = |id: &str| id == resource.id();
    let volumes = record.lost.iter().map(|lost| lost.volume_id.as_str());
    let volumes = volumes.chain(record.finals.iter().map(|last| last.volume_id.as_str()));
    let swapped = record.root.iter().filter_map(|root| root.replaced_by.as_ref());
    let volumes = volumes.chain(swapped.map(|new| new.volume_id.as_str()));
    let mut volumes = volumes.chain(record.sighted.iter().map(|it| it.volume_id.as_str()));
    let data = record.data.iter().filter_map(|it| it.last.as_ref());
    let failed = record.finals.iter().chain(data).filter_map(|last| last.failed.as_ref());
    let chosen = record.image.iter().map(|image| &image.snapshot_id).chain(&record.restore);
    let chosen = chosen.chain(record.data.iter().filter_map(|it| it.restore.as_ref()));
    let mut snapshots = failed.chain(chosen).map(crate::ids::SnapshotId::as_str);
    record.resources().contains(resource.id())
        || record.aside.contains(resource)
        || record.superseded.iter().any(|superseded| superseded.resource() == *resource)
        || volumes.any(known)
        || snapshots.any(known)
}

/// Whether something carries the key of the launch at hand, or of the one that made the present instance.
fn is_of_present_launch(found: Found<'_>, record: &Record) -> bool {
    let intent = record.intent.iter().map(|intent| &intent.request.token);
    let keys = intent.chain(record.instance.iter().map(|instance| &instance.key));
    let mut keys = keys.chain(record.unseen.iter().map(|unseen| &unseen.key));
    keys.any(|key| !key.is_empty() && has_key(found.tags(), key))
}

/// Whether a key is one of those that a step of this node may have had: attempts are counted anew in
/// every cycle, and how many an earlier one made is not recorded.
fn is_one_of(found: Found<'_>, key: impl Fn(u32) -> String) -> bool {
    (1..=limits::ORPHAN_KEYS_TRIED).any(|attempt| has_key(found.tags(), &key(attempt)))
}

fn instance(facts: &InstanceFacts, record: &Record, names: &Names<'_>) -> Finding {
    let found = Found::Instance(facts);
    if record.intent.as_ref().is_some_and(|intent| has_key(&facts.tags, &intent.request.token)) {
        return Finding::Explained;
    }
    let nothing_at_hand = record.instance.is_none() && record.intent.is_none() && record.unseen.is_none();
    let of_cycle = found.cycle() == Some(record.cycle)
        && has_purpose(&facts.tags, Purpose::Instance)
        && is_one_of(found, |attempt| names.launch(record.cycle, attempt));
    let token_agrees = facts.client_token.as_deref().is_some_and(|token| has_key(&facts.tags, token));
    if record.phase == Phase::Launching && nothing_at_hand && of_cycle && token_agrees {
        return Finding::Adopt(Adoption::Instance(Box::new(facts.clone())));
    }
    Finding::Report(
        "it is not the instance of its node; instances are never deleted by themselves".to_owned(),
    )
}

/// Whether what was made in this cycle is superseded by the present root, once that is proven: the present
/// root descends from it. Older things, and those of a node without a root, only the operator can judge.
fn descends_from(record: &Record, cycle: u32) -> bool {
    let heir = record.instance.as_ref().is_none_or(|instance| instance.heir);
    let undisturbed = record.lost.is_none() && record.restore.is_none();
    let descended = record.descent > 0 && record.descent <= cycle && cycle < record.cycle;
    record.config().persist.root.is_some() && heir && undisturbed && descended
}

fn volume(facts: &VolumeFacts, record: &Record, names: &Names<'_>, seen: &Observation) -> Finding {
    let found = Found::Volume(facts);
    // What hangs on an instance is that instance's matter.
    if is_of_present_launch(found, record) || (found.cycle() == Some(record.cycle) && !found.is_free()) {
        return Finding::Explained;
    }
    let superseded = found.cycle().is_some_and(|cycle| {
        descends_from(record, cycle)
            && has_purpose(&facts.tags, Purpose::Root)
            && is_one_of(found, |attempt| names.launch(cycle, attempt))
            && (has_departed(record, facts) || is_captured(facts, record, cycle, names, seen))
    });
    if superseded && found.is_free() {
        return Finding::Adopt(Adoption::Superseded(Superseded::Volume(facts.id.clone())));
    }
    let as_data = Superseded::DataVolume(facts.id.clone());
    if record.departed.contains(&as_data) && found.is_free() {
        // An answer of EC2 misled: it goes as it would have gone.
        return Finding::Adopt(Adoption::Superseded(as_data));
    }
    Finding::Report("it is not the root of its node, and what is on it may be nowhere else".to_owned())
}

/// Whether a volume was superseded and is believed to be deleted: an answer of EC2 misled.
fn has_departed(record: &Record, facts: &VolumeFacts) -> bool {
    record.departed.contains(&Superseded::Volume(facts.id.clone()))
}

/// Whether a completed final snapshot of a volume exists: a launch that nobody followed up, or a swap by
/// hand, leaves a root whose key alone proves nothing about the bytes on it.
fn is_captured(
    facts: &VolumeFacts,
    record: &Record,
    cycle: u32,
    names: &Names<'_>,
    seen: &Observation,
) -> bool {
    seen.snapshots.values().any(|snapshot| {
        let found = Found::Snapshot(snapshot);
        snapshot.volume == facts.id
            && !is_of_data(snapshot, record)
            && snapshot.state == SnapshotState::Completed
            && is_final(snapshot, names)
            && found.cycle() == Some(cycle)
            && is_one_of(found, |attempt| names.last(cycle, &facts.id, attempt))
    })
}

/// Whether a final snapshot says that it was taken of another device than the root's.
fn is_of_data(snapshot: &SnapshotFacts, record: &Record) -> bool {
    let root = record.root.as_ref().map(|root| &root.device_name);
    let root = root.or(record.blueprint.as_ref().map(|blueprint| &blueprint.device_name));
    let device = snapshot.tags.get(TAG_DEVICE);
    device.is_some_and(|device| root.is_some_and(|root| root != device))
}

fn is_final(snapshot: &SnapshotFacts, names: &Names<'_>) -> bool {
    snapshot.own && names.owns(&snapshot.tags) && has_purpose(&snapshot.tags, Purpose::Final)
}

fn snapshot(facts: &SnapshotFacts, record: &Record, names: &Names<'_>) -> Finding {
    let found = Found::Snapshot(facts);
    if Purpose::ROTATED.iter().any(|purpose| has_purpose(&facts.tags, *purpose)) {
        return Finding::Explained;
    }
    let of_step = |cycle| {
        is_final(facts, names) && is_one_of(found, |attempt| names.last(cycle, &facts.volume, attempt))
    };
    let superseded = match is_of_data(facts, record) {
        true => Superseded::DataSnapshot(facts.id.clone()),
        false => Superseded::Snapshot(facts.id.clone()),
    };
    of_step_of(found, record, of_step, superseded)
}

fn image(facts: &ImageFacts, record: &Record, names: &Names<'_>) -> Finding {
    let found = Found::Image(facts);
    let of_step = |cycle| {
        has_purpose(&facts.tags, Purpose::Image)
            && has_key(&facts.tags, &facts.name)
            && is_one_of(found, |attempt| names.image(cycle, attempt))
    };
    of_step_of(found, record, of_step, Superseded::Image(facts.id.clone()))
}

/// Judges a final snapshot or an image by the step that its key says made it.
fn of_step_of(
    found: Found<'_>,
    record: &Record,
    of_step: impl Fn(u32) -> bool,
    superseded: Superseded,
) -> Finding {
    match found.cycle() {
        // The cycle at hand finds it by its key; if it has no use for it, the next cycle's pass takes it.
        Some(cycle) if cycle == record.cycle && of_step(cycle) => Finding::Explained,
        Some(cycle) if descends_from(record, cycle) && of_step(cycle) => {
            Finding::Adopt(Adoption::Superseded(superseded))
        }
        Some(_) | None => Finding::Report("nothing proves that its node does not need it".to_owned()),
    }
}

fn interface(facts: &InterfaceFacts, record: &Record, names: &Names<'_>, seen: &Observation) -> Finding {
    let found = Found::Interface(facts);
    let kept = record.network.as_ref();
    let mut lost = vec![None];
    lost.extend(kept.map(|network| Some(&network.eni_id)));
    let next = record.attempts.saturating_add(1);
    let is_next = lost.iter().any(|lost| has_key(&facts.tags, &names.interface(next, *lost)));
    let launching = matches!(record.phase, Phase::New | Phase::Launching) && record.instance.is_none();
    if is_of_present_launch(found, record) || (launching && is_next) {
        return Finding::Explained;
    }
    let is_made_for = |lost: Option<&InterfaceId>| {
        has_purpose(&facts.tags, Purpose::Interface)
            && is_one_of(found, |attempt| names.interface(attempt, lost))
    };
    let missed = kept.filter(|kept| is_missed(kept, seen)).map(|kept| &kept.eni_id);
    let fills_the_place = (kept.is_none() || missed.is_some()) && is_made_for(missed);
    if fills_the_place && record.instance.is_none() && found.is_free() && is_asked_for(facts, record) {
        return Finding::Adopt(Adoption::Interface(Box::new(facts.clone())));
    }
    let keyed = lost.iter().any(|lost| is_made_for(*lost));
    let unneeded = keyed && kept.is_some_and(|kept| is_second_to(facts, kept));
    match (unneeded, facts.state) {
        (true, InterfaceState::Available) => {
            Finding::Delete("it is a duplicate of the interface that its node keeps".to_owned())
        }
        (true, InterfaceState::InUse) => {
            Finding::Report("it is a duplicate of the interface that its node keeps, but in use".to_owned())
        }
        (false, _) => Finding::Report("it is not the interface of its node".to_owned()),
    }
}

/// Whether the interface that a node keeps is another one, and reads show it.
fn is_second_to(facts: &InterfaceFacts, kept: &Network) -> bool {
    kept.eni_id != facts.id && kept.missing_since.is_none()
}

/// Whether the interface that a node keeps is gone, as far as reads tell.
fn is_missed(kept: &Network, seen: &Observation) -> bool {
    kept.missing_since.is_some() && !seen.interfaces.contains_key(&kept.eni_id)
}

/// Whether a node is to keep an interface, and this one has the address it is to have.
fn is_asked_for(facts: &InterfaceFacts, record: &Record) -> bool {
    let wanted = record.config().persist.network.as_ref();
    wanted.is_some_and(|network| network.private_ip.is_none_or(|ip| ip == facts.private_ip))
}

/// Takes something into the record of its node; the node then has work to do.
pub fn adopt(record: Record, adoption: &Adoption, scope: Scope<'_>) -> (Record, Vec<Entry>) {
    let mut draft = Draft::new(record, scope);
    match adoption {
        Adoption::Superseded(superseded) => {
            let resource = superseded.resource();
            draft.note(format!("{resource} was found by its key: it goes with all that is superseded"));
            if !draft.record.superseded.contains(superseded) {
                draft.record.superseded.push(superseded.clone());
            }
        }
        Adoption::Instance(facts) => {
            draft.note(format!("{} was found by its key: it is the instance of this cycle", facts.id));
            crate::plan::adopt(&mut draft, facts);
        }
        Adoption::Interface(facts) => crate::absorb::keep(&mut draft, facts),
    }
    draft.record.work_at = Some(scope.now);
    draft.into_parts()
}

/// Tells of an orphan in the journal of its node and, while the node lives, in its outbox: nobody empties
/// that of a node that is gone.
pub fn tell(record: Record, found: Found<'_>, why: &str, scope: Scope<'_>) -> (Record, Vec<Entry>) {
    let event = event(found, Some(&record), why, scope.now);
    let mut draft = Draft::new(record, scope);
    draft.note(event.detail.reason.clone());
    let known = draft.record.outbox.iter().any(|other| other.detail.id == event.detail.id);
    if draft.record.phase != Phase::Gone && !known {
        draft.record.outbox.push(event);
    }
    draft.into_parts()
}

/// Writes down that an orphan is about to be deleted: before it is, so that no deletion goes untold.
pub fn deleting(record: Record, resource: &Resource, why: &str, scope: Scope<'_>) -> (Record, Vec<Entry>) {
    let mut draft = Draft::new(record, scope);
    draft.note(format!("{resource} is being deleted: it has been an orphan for a day, and {why}"));
    draft.into_parts()
}

impl Found<'_> {
    /// Whether nothing uses it.
    fn is_free(&self) -> bool {
        match self {
            Self::Volume(it) => {
                matches!(it.state, VolumeState::Available | VolumeState::Error) && it.attached_to.is_empty()
            }
            Self::Interface(it) => it.state == InterfaceState::Available && it.attached_to.is_none(),
            Self::Instance(_) => false,
            Self::Snapshot(_) | Self::Image(_) => true,
        }
    }
}

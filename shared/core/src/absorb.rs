//! What became of a step, written into the record.
//!
//! A success is noted; a failure decides how long to rest and whether a person must be told. Nothing is
//! undone: the next plan looks at the world again and goes on from there.

use crate::failure::{Class, Failure};
use crate::ids::{NodeName, Resource};
use crate::journal::Entry;
use crate::limits;
use crate::names::Purpose;
use crate::observation::{InterfaceFacts, SnapshotFacts, SnapshotState};
use crate::plan::{Draft, Scope, adopt, data, elastic_ip, interface, word};
use crate::record::{Network, Record};
use crate::step::{Outcome, Step, Termination};

/// Takes in the outcome of a step.
pub fn absorb(record: Record, step: &Step, outcome: &Outcome, scope: Scope<'_>) -> (Record, Vec<Entry>) {
    let mut draft = Draft::new(record, scope);
    match outcome {
        Outcome::Failed(failure) => failed(&mut draft, step, failure),
        done => succeeded(&mut draft, step, done),
    }
    draft.into_parts()
}

/// Takes in the interface that the node keeps from now on.
pub(crate) fn keep(draft: &mut Draft<'_>, facts: &InterfaceFacts) {
    draft.note(format!("{} keeps the address {}", facts.id, facts.private_ip));
    draft.record.network = Some(Network::of(facts));
    draft.record.subnets_tried = 0;
}

fn succeeded(draft: &mut Draft<'_>, step: &Step, outcome: &Outcome) {
    draft.record.not_before = None;
    draft.record.clean_not_before = None;
    draft.record.stalled_since = None;
    match outcome {
        Outcome::Interface(facts) => keep(draft, facts),
        Outcome::Launched(facts) => adopt(draft, facts),
        Outcome::Snapshots(taken) => {
            for facts in taken {
                draft.note(format!("{} of {} is {}", facts.id, facts.volume, step.name()));
                if matches!(step, Step::Snapshot(request) if request.purpose() == Purpose::Final) {
                    note_final(draft, facts);
                }
            }
        }
        Outcome::Volume(facts) => {
            draft.note(format!("{} is being made", facts.id));
            if let Step::CreateVolume(request) = step {
                data::made(draft, &request.device, facts);
            }
        }
        Outcome::Image(id) => {
            draft.note(format!("{id} is being registered"));
            if let Some(image) = draft.record.image.as_mut() {
                image.id = Some(id.clone());
            }
        }
        Outcome::NotOurs(why) => return not_ours(draft, step, why),
        Outcome::Done => done(draft, step),
        Outcome::Failed(_) => {}
    }
    draft.unblock();
}

/// Writes down a final snapshot: of the root, or of a data volume.
fn note_final(draft: &mut Draft<'_>, facts: &SnapshotFacts) {
    let data = draft.record.data.iter_mut().filter_map(|it| it.last.as_mut());
    for last in draft.record.finals.iter_mut().chain(data).filter(|last| last.volume_id == facts.volume) {
        last.snapshot_id = Some(facts.id.clone());
        last.state = SnapshotState::Pending;
    }
}

/// What turned out not to be ours is left alone; where the node cannot go on without it, a person is told.
fn not_ours(draft: &mut Draft<'_>, step: &Step, why: &str) {
    match step {
        Step::Delete(needless) => {
            draft.let_go(needless, why);
            draft.unblock();
        }
        Step::Adopt { volume, .. } => data::not_adopted(draft, volume, why),
        Step::Tag { resource: Resource::Volume(volume), .. } => data::not_tagged(draft, volume, why),
        // The next look by tags leaves it out.
        Step::Prune(_) | Step::Purge(_) | Step::HandOver(_) | Step::Tag { .. } => {
            draft.note(format!("{} was not done: {why}", step.name()));
        }
        step => {
            let message = format!("{} was not done: {why}", step.name());
            let remedy = "Put the tags of Perennial back on the resource, or end it by hand";
            draft.block(refusal_code(step), message, remedy, limits::REFUSED_REST);
        }
    }
}

fn done(draft: &mut Draft<'_>, step: &Step) {
    match step {
        Step::Delete(needless) => {
            draft.note(format!("{} is deleted", word(needless)));
            draft.record.forget(needless);
        }
        Step::KeepVolumes { instance, devices } => {
            draft.note(format!("{} of {instance} will outlive it", devices.join(", ")));
        }
        Step::KeepInterface { interface, .. } => draft.note(format!("{interface} will outlive its instance")),
        Step::SetGroups { interface, groups } => {
            draft.note(format!("{interface} has the security groups {}", groups.join(", ")));
        }
        Step::Tag { resource, tags } => {
            let keys: Vec<_> = tags.keys().map(String::as_str).collect();
            draft.note(format!("{resource} is tagged anew: {}", keys.join(", ")));
        }
        Step::Associate { allocation, interface, .. } => {
            draft.note(format!("{allocation} is associated with {interface}"));
        }
        Step::Disassociate { allocation, .. } => {
            draft.note(format!("{allocation} is disassociated"));
            // The instance may go on showing it for some seconds.
            draft.record.address_not_before = Some(draft.after(limits::RETRY_SOON));
        }
        Step::FreeAddress { interface, address } => {
            draft.note(format!("{interface} is deleted, so that another member can have {address}"));
            interface::forget(draft);
        }
        Step::Prune(id) => draft.note(format!("the snapshot {id} is deleted: a newer one holds more")),
        Step::Purge(resource) => draft.note(format!("{resource} is deleted: its retention is over")),
        Step::HandOver(resource) => {
            draft.note(format!("{resource} is handed over: it carries no tags of Perennial any more"));
            data::handed_over(draft, resource);
        }
        Step::Terminate(Termination { instance, .. }) => {
            draft.note(format!("{instance} is being terminated"));
            // Reads may lag behind; asking once more would only add lines to the journal.
            pause(draft, limits::RETRY_SOON);
        }
        Step::Attach { volume, instance, device } => {
            draft.note(format!("{volume} is being attached to {instance} as {device}"));
            // Reads may lag behind: asking once more would be refused.
            pause(draft, limits::NOT_YET_REST);
        }
        Step::Adopt { volume, .. } => data::adopted(draft, volume),
        Step::CreateVolume(_)
        | Step::CreateInterface(_)
        | Step::Launch(_)
        | Step::Snapshot(_)
        | Step::RegisterImage(_) => {}
    }
}

fn failed(draft: &mut Draft<'_>, step: &Step, failure: &Failure) {
    match step {
        Step::Launch(_) => launch_failed(draft, failure),
        // Best effort: the final snapshot holds the same bytes and more. But within the two minutes a
        // refusal for want of distance to the last snapshot passes.
        Step::Snapshot(request) if request.purpose() == Purpose::Warning => match failure.class {
            Class::NotYet | Class::Retry => {
                if let Some(notice) = draft.record.notice.as_mut() {
                    notice.snapshot_tried = false;
                }
                pause(draft, limits::SNAPSHOT_SPACING);
            }
            _ => draft.note(format!("no warning snapshot: {failure}")),
        },
        Step::Delete(needless) if failure.class == Class::NotFound => {
            draft.note(format!("{} is gone", word(needless)));
            draft.record.forget(needless);
        }
        Step::HandOver(resource) if failure.class == Class::NotFound => {
            // It went on its own, by the rotation that was under way: nothing of it is left to be listed.
            let listed = resource.to_string();
            draft.record.handed_over.retain(|other| *other != listed);
            data::handed_over(draft, resource);
        }
        Step::Associate { .. } | Step::Disassociate { .. } => address_failed(draft, step, failure),
        Step::Tag { resource: Resource::Volume(volume), .. }
            if matches!(failure.class, Class::Terminal | Class::Quota) =>
        {
            data::not_tagged(draft, volume, &failure.to_string());
        }
        Step::CreateVolume(request) if matches!(failure.class, Class::TokenMismatch | Class::TokenSpent) => {
            draft.note(format!("{failure}: another token is used"));
            data::token_spent(draft, &request.device);
            pause(draft, limits::NOT_YET_REST);
        }
        Step::CreateInterface(_) if failure.class == Class::NextRung => {
            draft.note(format!("another subnet: {failure}"));
            draft.record.subnets_tried += 1;
            draft.record.attempts += 1;
        }
        Step::FreeAddress { .. } if failure.class == Class::NotFound => interface::forget(draft),
        Step::Terminate(_) | Step::Prune(_) | Step::Purge(_) if failure.class == Class::NotFound => {}
        Step::Delete(_) | Step::Prune(_) | Step::FreeAddress { .. } | Step::Adopt { .. } => {
            // Nothing waits for this, least of all what keeps data safe.
            let not_before = draft.record.not_before;
            rest_or_block(draft, step, failure);
            draft.record.clean_not_before = draft.record.not_before;
            draft.record.not_before = not_before;
        }
        _ => rest_or_block(draft, step, failure),
    }
}

fn rest_or_block(draft: &mut Draft<'_>, step: &Step, failure: &Failure) {
    match failure.class {
        // EC2 may hold on to a deregistered image's snapshot for minutes, and nothing waits for this.
        Class::NotYet if matches!(step, Step::Delete(_) | Step::Prune(_)) => pause(draft, limits::NEXT_TICK),
        Class::NotYet | Class::NotFound | Class::NameTaken | Class::Retry
            if draft.is_stalled(limits::QUIET) =>
        {
            let remedy =
                "It should have passed by itself; look at what AWS names. It is tried again every minute";
            draft.block("step-stalled", failure.to_string(), remedy, limits::LADDER_REST);
        }
        Class::NotYet | Class::NotFound | Class::NameTaken => pause(draft, limits::NOT_YET_REST),
        Class::Retry => {
            if let Some(intent) = draft.record.intent.as_mut() {
                intent.unanswered = true;
            }
            pause(draft, limits::RETRY_SOON);
        }
        Class::TokenMismatch | Class::TokenSpent => {
            // What the token once made had other parameters; the orphan pass finds it by its tags.
            draft.record.attempts += 1;
            draft.note(format!("{failure}: another token is used"));
            pause(draft, limits::NOT_YET_REST);
        }
        Class::AddressTaken if draft.is_stalled(limits::QUIET) => {
            let remedy = "Free the address or change persist.network.privateIp; it is tried again by itself";
            draft.block("address-taken", failure.to_string(), remedy, limits::LADDER_REST);
        }
        // The next look shows who has it.
        Class::AddressTaken => pause(draft, limits::NOT_YET_REST),
        Class::Quota | Class::NextRung => {
            let remedy = "Ask AWS to raise the quota or free some of it; it is tried again by itself";
            draft.block("quota", failure.to_string(), remedy, limits::LADDER_REST);
        }
        Class::Terminal => {
            let remedy = "Mend what AWS names, rights and parameters above all; it is tried again by itself";
            let rest = match step {
                // Until it is mended, an interruption costs data.
                Step::KeepVolumes { .. } | Step::KeepInterface { .. } => limits::LADDER_REST,
                _ => limits::REFUSED_REST,
            };
            draft.block(refusal_code(step), failure.to_string(), remedy, rest);
        }
    }
}

fn refusal_code(step: &Step) -> &'static str {
    match step {
        Step::CreateInterface(_) => "interface-refused",
        Step::Launch(_) => "launch-refused",
        Step::KeepVolumes { .. } | Step::KeepInterface { .. } => "keep-refused",
        Step::Attach { .. } => "attach-refused",
        Step::CreateVolume(_) => "volume-refused",
        Step::Adopt { .. } => "adopt-refused",
        Step::Snapshot(_) => "snapshot-refused",
        Step::RegisterImage(_) => "image-refused",
        Step::Tag { resource: Resource::Volume(_), .. } => "volume-refused",
        Step::SetGroups { .. } | Step::Tag { .. } => "interface-refused",
        Step::Associate { .. } | Step::Disassociate { .. } => "elastic-ip-refused",
        Step::Terminate(_) => "terminate-refused",
        Step::Delete(_) | Step::Prune(_) | Step::Purge(_) | Step::FreeAddress { .. } => "delete-refused",
        Step::HandOver(_) => "hand-over-refused",
    }
}

/// A node whose Elastic IP address was refused goes on without it, and tries again.
fn address_failed(draft: &mut Draft<'_>, step: &Step, failure: &Failure) {
    let passes = match failure.class {
        Class::NotYet | Class::Retry | Class::NotFound => true,
        // The next look shows who has it, unless it is the interface that has another one.
        Class::AddressTaken => false,
        Class::NextRung | Class::Quota | Class::NameTaken | Class::TokenMismatch | Class::TokenSpent => false,
        Class::Terminal => false,
    };
    let rest = if passes { limits::RETRY_SOON } else { limits::LADDER_REST };
    draft.record.address_not_before = Some(draft.after(rest));
    if !passes {
        draft.mark(refusal_code(step), failure.to_string(), elastic_ip::REMEDY);
    }
}

fn pause(draft: &mut Draft<'_>, how_long: jiff::SignedDuration) {
    draft.record.not_before = Some(draft.after(how_long));
}

fn launch_failed(draft: &mut Draft<'_>, failure: &Failure) {
    let now = draft.now();
    match failure.class {
        Class::NextRung => {
            draft.note(format!("next rung: {failure}"));
            draft.record.intent = None;
            draft.record.rung += 1;
        }
        Class::Quota => {
            draft.record.intent = None;
            let remedy = "Ask AWS to raise the quota; a just ended instance still counts for a while";
            draft.block("quota", failure.to_string(), remedy, limits::LADDER_REST);
        }
        Class::Terminal | Class::AddressTaken | Class::NameTaken => {
            // Refused now; but an earlier try of the same request may have been answered to nobody.
            match draft.record.intent.as_mut().filter(|intent| intent.unanswered) {
                Some(intent) => intent.closed = Some(failure.to_string()),
                None => draft.record.intent = None,
            }
            let remedy =
                "Mend what AWS names, in the launch template or in the node's item; it is tried again";
            draft.block("launch-refused", failure.to_string(), remedy, limits::REFUSED_REST);
        }
        // Refused for now, so nothing was launched: what it needs is still changing its state or not yet
        // visible. If that lasts, a fresh resolution of the request is worth a try.
        Class::NotYet | Class::NotFound => {
            let since = draft.record.intent.as_ref().map_or(now, |intent| intent.since);
            if now.duration_since(since) >= limits::QUIET {
                draft.record.intent = None;
                let remedy = "It is tried again with a fresh look at the launch template and the image";
                draft.block("launch-refused", failure.to_string(), remedy, limits::LADDER_REST);
            } else {
                pause(draft, limits::NOT_YET_REST);
            }
        }
        // The effect may have happened: the intent stands, and is followed up by reads.
        Class::Retry => pause(draft, limits::RETRY_SOON),
        Class::TokenMismatch | Class::TokenSpent => {
            draft.note(format!("{failure}: its instance is looked for"));
            if let Some(intent) = draft.record.intent.as_mut() {
                intent.closed = Some(failure.to_string());
            }
        }
    }
}

/// The journal's line for a record that cannot be read by this version.
pub fn newer_schema(node: &NodeName, schema_version: u64) -> String {
    format!(
        "the record of {node} has schema version {schema_version}, newer than {}: left alone. \
         Deploy the version of Perennial that wrote it",
        crate::record::SCHEMA_VERSION
    )
}

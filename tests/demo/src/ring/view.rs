//! What a person is shown of the group at one moment, as plain values.
//!
//! Built from what was observed; knows nothing of terminals. Times are whole cloud seconds since the start.

use std::collections::BTreeMap;

use super::GROUP;
use super::look::{Interface, Member, Observed, OnMember};
use crate::render::seconds;
use crate::stage::Moment;

/// One moment of the story.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct View {
    /// Cloud seconds since the start.
    pub(super) at: i64,
    /// What the demonstration does or awaits.
    pub(super) stage: String,
    /// What the group's item asks for.
    pub(super) wants: String,
    /// What Perennial answers in it.
    pub(super) told: Vec<String>,
    /// Its members, by name.
    pub(super) rows: Vec<Row>,
}

/// One member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) name: String,
    /// Phase and cycle, such as `running 2`.
    pub(super) phase: String,
    /// Why it is in that phase.
    pub(super) reason: String,
    pub(super) address: String,
    pub(super) interface: String,
    pub(super) elastic_ip: String,
    /// Id, type, market and state.
    pub(super) instance: String,
    /// The guest's writes that were acknowledged.
    pub(super) writes: u64,
    /// Whether the guest can write.
    pub(super) writing: bool,
    /// Whether nothing more is awaited of it.
    pub(super) settled: bool,
    pub(super) blocked: Option<String>,
}

/// Puts a view together.
pub(super) fn view(seen: &Observed, moment: Moment<'_>, guests: &BTreeMap<String, OnMember>) -> View {
    let wanted = seen.wanted();
    let wants = format!(
        "{GROUP}: capacity {}, pool {}, Elastic IPs {}",
        wanted.capacity,
        if wanted.pool.is_empty() { "empty".to_owned() } else { wanted.pool.join(" ") },
        wanted.elastic_ips.len()
    );
    View {
        at: seconds(moment.start, seen.now),
        stage: moment.stage.to_owned(),
        wants: if seen.item.is_some() { wants } else { String::new() },
        told: seen.notices(),
        rows: seen.members().into_iter().map(|member| row(member, guests)).collect(),
    }
}

fn row(member: Member, guests: &BTreeMap<String, OnMember>) -> Row {
    let guest = guests.get(&member.name).map(|on| &on.guest);
    let phase = match member.phase {
        Some(phase) if member.launched => format!("{} {}", phase.as_str(), member.cycle),
        Some(phase) => phase.as_str().to_owned(),
        None => String::new(),
    };
    let joined =
        |part: fn(&Interface) -> &str| member.interfaces.iter().map(part).collect::<Vec<_>>().join(" ");
    Row {
        phase,
        address: joined(|interface| &interface.address),
        interface: joined(|interface| &interface.id),
        elastic_ip: member.elastic_ips.join(" "),
        writes: guest.map_or(0, |guest| guest.acknowledged),
        writing: guest.is_some_and(|guest| guest.writing),
        settled: member.runs() || member.is_paused() || member.is_gone(),
        name: member.name,
        reason: member.reason,
        instance: member.instance,
        blocked: member.blocked,
    }
}

//! What a person is shown of the group and its backups at one moment, as plain values.
//!
//! Built from what was observed; knows nothing of terminals. Times are whole cloud seconds since the start.

use std::collections::BTreeMap;

use super::GROUP;
use super::look::{Backup, Member, Observed, OnMember};
use crate::access::notices;
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
    /// Its backups, the newest first.
    pub(super) backups: Vec<Image>,
}

/// One member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) name: String,
    /// Phase and cycle, such as `running 2`.
    pub(super) phase: String,
    /// Why it is in that phase.
    pub(super) reason: String,
    /// What its instance was launched from.
    pub(super) image: String,
    /// Id, type, market and state.
    pub(super) instance: String,
    /// Writes that are on its disk.
    pub(super) writes: u64,
    /// Whether the guest can write.
    pub(super) writing: bool,
    pub(super) blocked: Option<String>,
}

/// One backup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) id: String,
    pub(super) state: String,
    /// The instance it was made of.
    pub(super) source: String,
    /// Cloud seconds since the start at which it was taken.
    pub(super) taken: Option<i64>,
    /// Whether members are launched from it.
    pub(super) effective: bool,
}

/// Puts a view together.
pub(super) fn view(seen: &Observed, moment: Moment<'_>, guests: &BTreeMap<String, OnMember>) -> View {
    let effective = seen.effective();
    let image = |it: Backup| Image {
        effective: effective.as_ref() == Some(&it.image),
        taken: it.taken.map(|taken| seconds(moment.start, taken)),
        id: it.image,
        state: it.state,
        source: it.source,
    };
    let wants = seen.item.as_ref().map(|item| {
        let backups = &item.get("imageBackup").cloned().unwrap_or_default();
        let (capacity, frequency) =
            (item.get("capacity").cloned().unwrap_or_default(), &backups["frequency"]);
        let frequency = frequency.as_str().unwrap_or_default();
        format!("{GROUP}: capacity {capacity}, backups {frequency}, {} kept", backups["keep"])
    });
    View {
        at: seconds(moment.start, seen.now),
        stage: moment.stage.to_owned(),
        wants: wants.unwrap_or_default(),
        told: seen.item.as_ref().map(notices).unwrap_or_default(),
        rows: seen.members().into_iter().map(|member| row(member, guests)).collect(),
        backups: seen.backups().into_iter().map(image).collect(),
    }
}

fn row(member: Member, guests: &BTreeMap<String, OnMember>) -> Row {
    let guest = guests.get(&member.name);
    Row {
        phase: member.phase.map(|phase| format!("{} {}", phase.as_str(), member.cycle)).unwrap_or_default(),
        writes: guest.filter(|_| !member.live.is_empty()).map_or(0, |on| on.on_disk),
        writing: guest.is_some_and(|on| on.guest.writing),
        name: member.name,
        reason: member.reason,
        image: member.image,
        instance: member.instance,
        blocked: member.blocked,
    }
}

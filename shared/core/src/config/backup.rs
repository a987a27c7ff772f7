//! What a group says of its backups: when images are made of a member, of which volumes, and how many are kept.
//!
//! Decides what is a policy and what is refused. When one is due is decided by [`schedule`]. Nothing here may ask
//! what time it is: what depends on that is judged by [`check`], which is told.

mod cron;
pub mod schedule;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::reader::{Reader, problem};
use super::{Persist, Problem, is_zero};
use crate::limits;

/// The zone that backups go by unless the item names another.
const UTC: &str = "UTC";

/// When images are made of a group's member, of what, and how many are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupPolicy {
    /// How often.
    pub frequency: Frequency,
    /// When, with frequency "cron": five fields with one space between them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// The IANA time zone in which it is midnight, Sunday or a full hour; without meaning where it is continuous.
    pub timezone: String,
    /// How many backups are kept.
    pub keep: u32,
    /// Raised to take one at once.
    #[serde(skip_serializing_if = "is_zero")]
    pub now: u32,
    /// Of which volumes.
    #[serde(skip_serializing_if = "BackupVolumes::is_default")]
    pub volumes: BackupVolumes,
}

impl Default for BackupPolicy {
    fn default() -> Self {
        Self {
            frequency: Frequency::default(),
            cron: None,
            timezone: UTC.to_owned(),
            keep: 3,
            now: 0,
            volumes: BackupVolumes::default(),
        }
    }
}

/// How often backups are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Frequency {
    /// Every ten minutes.
    #[default]
    Continuous,
    /// At every full hour.
    Hourly,
    /// At midnight.
    Daily,
    /// At midnight before Sunday.
    Weekly,
    /// As a cron expression says.
    Cron,
}

impl Frequency {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Continuous, Self::Hourly, Self::Daily, Self::Weekly, Self::Cron];

    /// The word for it in items and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Continuous => "continuous",
            Self::Hourly => "hourly",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Cron => "cron",
        }
    }
}

/// Which volumes of the member are in a backup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackupVolumes {
    /// The root and the data volumes, as the instance has them.
    #[default]
    All,
    /// The root alone.
    Root,
}

impl BackupVolumes {
    /// The word for it in items and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Root => "root",
        }
    }

    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Reads the map at `imageBackup`. What cannot be read has its default, so that the rest is judged all the same.
pub(super) fn read(mut reader: Reader<'_>, problems: &mut Vec<Problem>) -> BackupPolicy {
    let frequency = frequency(&mut reader);
    let policy = BackupPolicy {
        frequency: frequency.unwrap_or_default(),
        cron: expression(&mut reader, frequency),
        timezone: timezone(&mut reader, frequency).unwrap_or_else(|| UTC.to_owned()),
        keep: keep(&mut reader).unwrap_or(BackupPolicy::default().keep),
        now: reader.whole("now", 0, limits::RECYCLE_MAX).unwrap_or(0),
        volumes: volumes(&mut reader),
    };
    reader.finish(problems);
    policy
}

/// The frequency; `None` if what stands there is none, so that nothing is refused for the sake of it.
fn frequency(reader: &mut Reader<'_>) -> Option<Frequency> {
    let key = "frequency";
    let Some(value) = reader.get(key) else { return Some(Frequency::default()) };
    let text = reader.text(key, "a frequency")?;
    let found = Frequency::ALL.into_iter().find(|frequency| frequency.as_str() == text);
    if found.is_none() {
        let words = "write \"continuous\", \"hourly\", \"daily\", \"weekly\" or \"cron\"";
        reader.refuse(key, value, format!("unknown frequency: {words}"));
    }
    found
}

fn expression(reader: &mut Reader<'_>, frequency: Option<Frequency>) -> Option<String> {
    let key = "cron";
    let value = reader.get(key);
    match (frequency, value) {
        (Some(Frequency::Cron), None) => {
            let remedy = format!("required with frequency \"cron\": {}", cron::WRITE);
            reader.refuse(key, &Value::Null, remedy);
        }
        (Some(other), Some(value)) if other != Frequency::Cron => {
            let word = other.as_str();
            let remedy =
                format!("has no meaning with frequency \"{word}\": remove it, or write frequency \"cron\"");
            reader.refuse(key, value, remedy);
            return None;
        }
        _ => {}
    }
    let text = reader.text(key, "a cron expression")?;
    match cron::read(text) {
        Ok(_) => Some(cron::plain(text)),
        Err(remedy) => {
            reader.refuse(key, &Value::from(text), remedy);
            None
        }
    }
}

fn timezone(reader: &mut Reader<'_>, frequency: Option<Frequency>) -> Option<String> {
    let key = "timezone";
    let value = reader.get(key)?;
    if frequency == Some(Frequency::Continuous) {
        let remedy = "has no meaning with frequency \"continuous\", every ten minutes in every zone: remove it, or \
                      write another frequency";
        reader.refuse(key, value, remedy);
        return None;
    }
    let text = reader.text(key, "an IANA time zone")?;
    let zone = schedule::zone(text);
    if zone.is_none() {
        let remedy = match schedule::place(text) {
            Some(name) => format!("unknown time zone: did you mean {name:?}?"),
            None => "unknown time zone: write an IANA name such as \"Europe/Berlin\" or \"UTC\"".to_owned(),
        };
        reader.refuse(key, value, remedy);
    }
    // As the database writes it, whose names are the same in upper and lower case.
    zone.map(|zone| zone.iana_name().unwrap_or(text).to_owned())
}

fn keep(reader: &mut Reader<'_>) -> Option<u32> {
    let (key, most) = ("keep", limits::BACKUPS_KEPT_MAX);
    let value = reader.get(key)?;
    let before = reader.problems.len();
    let keep = reader.whole(key, 1, most);
    if keep.is_none() {
        reader.problems.truncate(before);
        let remedy = format!(
            "expected a whole number (N) from 1 to {most}, as many as the group's record has room for; to take no \
             backups remove imageBackup"
        );
        reader.refuse(key, value, remedy);
    }
    keep
}

fn volumes(reader: &mut Reader<'_>) -> BackupVolumes {
    match reader.text("volumes", "which volumes") {
        None | Some("all") => BackupVolumes::All,
        Some("root") => BackupVolumes::Root,
        Some(other) => {
            let remedy = "unknown choice of volumes: write \"all\" or \"root\"";
            reader.refuse("volumes", &Value::from(other), remedy);
            BackupVolumes::default()
        }
    }
}

/// Refuses what cannot be together with backups: a member whose volumes outlive its instances starts from those,
/// never from the group's latest image.
pub(super) fn beside(persist: &Persist, problems: &mut Vec<Problem>) {
    for (path, is_on) in [("persist.root", persist.root.is_some()), ("persist.data", persist.data.is_some())]
    {
        if is_on {
            let remedy = format!(
                "imageBackup and {path} exclude each other: members start from the group's latest image, or each \
                 from what it left itself; remove one"
            );
            problems.push(problem("imageBackup", &Value::from(path), remedy));
        }
    }
}

/// What is wrong with a policy as of now, though it can be read: a cron expression that is never due, or so often
/// that images would pile up. Both are told with the next times it stands for.
///
/// Whether two times are too close is a question of the clock on the wall: an hour that the clock repeats does not
/// make a good expression a bad one.
pub fn check(policy: &BackupPolicy, now: Timestamp) -> Vec<Problem> {
    let (Frequency::Cron, Some(text)) = (policy.frequency, &policy.cron) else { return Vec::new() };
    let (Ok(expression), Some(zone)) = (cron::parse(text), schedule::zone(&policy.timezone)) else {
        return Vec::new();
    };
    let times = cron::upcoming(&expression, &now.to_zoned(zone));
    let until = now.saturating_add(limits::BACKUP_DUE_WITHIN).unwrap_or(Timestamp::MAX);
    let mut remedies = Vec::new();
    if times.first().is_none_or(|first| first.timestamp() > until) {
        remedies.push(
            "never due within ten years: write days that the months have, such as \"0 3 1 * *\" for the first of \
             each"
                .to_owned(),
        );
    }
    if let Some(minutes) = times.first().and_then(|first| cron::closest(&expression, first.datetime())) {
        let least = limits::BACKUP_EVERY_MIN.as_mins();
        if minutes < least {
            remedies.push(format!(
                "due twice within {minutes} min: leave at least {least} between two, as \"*/{least} * * * *\" does, \
                 else images pile up"
            ));
        }
    }
    let next: Vec<_> =
        times.iter().map(|at| at.timestamp().display_with_offset(at.offset()).to_string()).collect();
    let told = |remedy: String| match next.is_empty() {
        true => remedy,
        false => format!("{remedy}; its next times are {}", next.join(", ")),
    };
    let at = |remedy| problem("imageBackup.cron", &Value::from(text.as_str()), told(remedy));
    remedies.into_iter().map(at).collect()
}

#[cfg(test)]
mod tests;

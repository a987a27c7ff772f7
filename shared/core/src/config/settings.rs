//! The settings of a deployment: the one item that is about all nodes.
//!
//! Like a node's config they are judged whole and answered in the item; what was accepted last stays in
//! force, in the state table. No item means the defaults.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Problem;
use super::reader::Reader;
use crate::limits;

/// The id of the settings' item.
pub const SETTINGS: &str = "settings";

/// The validated settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Settings {
    /// True: observe and report, change nothing, for every node.
    pub suspend: bool,
    /// So many nodes may be deallocated because their items vanished at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirm_removal: Option<u32>,
    /// How many periodic snapshots a second are taken at most, and as many deleted.
    pub snapshots_per_second: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { suspend: false, confirm_removal: None, snapshots_per_second: limits::SNAPSHOTS_PER_SECOND }
    }
}

/// The settings in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AcceptedSettings {
    /// Grows by one with every write; every write is conditional on it.
    pub generation: u64,
    /// The hash of the item they were read from; empty if the item is absent.
    pub hash: String,
    /// What they say.
    #[serde(flatten)]
    pub settings: Settings,
}

/// Reads the item of the settings.
///
/// # Errors
/// Every problem with it, in the order of their places.
pub fn parse(item: &Value) -> Result<Settings, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut top = Reader::new("", Some(item));
    top.get("id");
    top.get(super::STATUS);
    top.not_yet(&["launchesPerSecond"]);
    let pace = top.whole("snapshotsPerSecond", 1, limits::SNAPSHOTS_PER_SECOND_MAX);
    let settings = Settings {
        suspend: top.boolean("suspend").unwrap_or(false),
        confirm_removal: top.whole("confirmRemoval", 1, limits::REMOVALS_MAX),
        snapshots_per_second: pace.unwrap_or(limits::SNAPSHOTS_PER_SECOND),
    };
    top.finish(&mut problems);
    problems.sort_by(|a, b| a.path.cmp(&b.path));
    if problems.is_empty() { Ok(settings) } else { Err(problems) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_are_read_with_their_defaults() {
        assert_eq!(parse(&json!({"id": "settings"})), Ok(Settings::default()));
        let item = json!({"id": "settings", "suspend": true, "confirmRemoval": 12, "snapshotsPerSecond": 9,
            "_status": {"accepted": true}});
        let said = Settings { suspend: true, confirm_removal: Some(12), snapshots_per_second: 9 };
        assert_eq!(parse(&item), Ok(said));
    }

    #[test]
    fn all_faults_are_reported_together_with_their_places() {
        let item = json!({"id": "settings", "suspend": "yes", "confirmRemoval": 0, "confirmremoval": 3,
            "launchesPerSecond": 2, "snapshotsPerSecond": 0, "colour": "green"});
        let problems = parse(&item).unwrap_err();
        let said: Vec<_> = problems.iter().map(|p| (p.path.as_str(), p.remedy.as_str())).collect();
        let wanted = [
            ("colour", "unknown attribute: remove it"),
            ("confirmRemoval", "expected a whole number"),
            ("confirmremoval", "did you mean \"confirmRemoval\""),
            ("launchesPerSecond", "not supported yet"),
            ("snapshotsPerSecond", "expected a whole number"),
            ("suspend", "expected true or false"),
        ];
        assert_eq!(said.len(), wanted.len(), "{said:?}");
        for ((path, remedy), (at, says)) in said.iter().zip(wanted) {
            assert!(*path == at && remedy.contains(says), "{path}: {remedy}");
        }
    }

    #[test]
    fn settings_in_force_say_again_what_was_written() {
        let settings = Settings { suspend: true, ..Settings::default() };
        let accepted = AcceptedSettings { generation: 3, hash: "h".into(), settings };
        let written = serde_json::to_value(&accepted).unwrap();
        assert_eq!(written, json!({"generation": 3, "hash": "h", "suspend": true, "snapshotsPerSecond": 4}));
        assert_eq!(serde_json::from_value::<AcceptedSettings>(written).unwrap(), accepted);
    }
}

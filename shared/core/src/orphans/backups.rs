//! Backups among what carries our tags: they belong to a group, and no record of a node explains them.
//!
//! An image is the matter of its group's own pass, which takes in whatever it does not know. Only a snapshot that no
//! image stands on any more is proven not to be needed.

use super::{Finding, Found};
use crate::group::GroupRecord;
use crate::ids::GroupName;
use crate::names::{Purpose, TAG_GROUP, TAG_KEY, has_purpose};
use crate::observation::Observation;

/// Whether something found is a backup, or a snapshot that one stands on.
pub fn is_backup(found: Found<'_>) -> bool {
    has_purpose(found.tags(), Purpose::Backup)
}

/// The group that the tags of a backup name.
pub fn group_of(found: Found<'_>) -> Option<GroupName> {
    found.tags().get(TAG_GROUP).and_then(|name| GroupName::parse(name))
}

/// Judges a backup. `record` must be that of the group its tags name, read after it was found.
pub fn judge_backup(found: Found<'_>, record: Option<&GroupRecord>, seen: &Observation) -> Finding {
    if found.is_past() {
        return Finding::Explained;
    }
    let Some(record) = record else {
        return Finding::Report("there is no record of its group".to_owned());
    };
    match found {
        Found::Image(_) if record.backups.is_some() => Finding::Explained,
        Found::Image(_) => Finding::Report("its group has no backups, as far as it knows".to_owned()),
        Found::Snapshot(it) => {
            let stands = seen.images.values().any(|image| image.snapshots.contains(&it.id));
            if stands || is_known(found, record) {
                return Finding::Explained;
            }
            Finding::Delete("no image stands on it any more".to_owned())
        }
        Found::Instance(_) | Found::Volume(_) | Found::Interface(_) => {
            Finding::Report("a backup is an image, and it is none".to_owned())
        }
    }
}

/// Whether the group is at work on it: it belongs to the backup under way, or to one that is being removed.
fn is_known(found: Found<'_>, record: &GroupRecord) -> bool {
    let Some(backups) = &record.backups else { return false };
    let resource = found.resource();
    let is_listed = |id: &str| id == resource.id();
    let key = found.tags().get(TAG_KEY);
    backups.attempt.as_ref().is_some_and(|attempt| Some(&attempt.name) == key)
        || backups.list.iter().flat_map(|it| &it.snapshots).any(|id| is_listed(id.as_str()))
}

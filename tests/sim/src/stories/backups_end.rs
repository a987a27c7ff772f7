//! Image backups of a group that is suspended, deleted, put back or purged.

use perennial_core::phase::Phase;
use serde_json::json;

use super::Act::{self, Do, Minutes, Must, Until};
use super::Story;
use super::shared::*;
use crate::deeds::is_backup;
use crate::run::Run;

const A: &str = "cass-1";
const B: &str = "cass-2";

const ONE: Act = Do(|run| run.put_backed_up(1, json!({"frequency": "daily", "keep": 2, "now": 1})));
const ONE_RUNS: Act = Until("one member runs", |run| run.running_members().len() == 1);
const REMEMBER: Act = Do(remember_backup);
const FIRST: Act = Until("there is a backup", |run| run.effective().is_some());
const NOW: Act = Do(Run::back_up_now);
const DELETE: Act = Do(Run::delete_group);
const DEALLOCATED: Act = Until("it is deallocated", |run| stands(run, A, Phase::Deallocated));
const GONE: Act = Until("it is gone, and nothing is known of backups", |run| {
    stands(run, A, Phase::Gone) && run.backups().is_none()
});

/// Whether anything carries our tags.
fn nothing_is_left(run: &Run) -> bool {
    let world = run.world.0.borrow();
    let ours = |tags: &perennial_cloud::model::Tags| run.watch.is_ours(tags);
    !world.cloud.volumes().any(|it| ours(&it.tags))
        && !world.cloud.snapshots().any(|it| ours(&it.tags))
        && !world.cloud.images().any(|it| ours(&it.tags))
        && !world.cloud.network_interfaces().any(|it| ours(&it.tags))
}

fn no_backup_is_left(run: &Run) -> bool {
    let world = run.world.0.borrow();
    !world.cloud.images().any(|it| is_backup(&it.tags))
        && !world.cloud.snapshots().any(|it| is_backup(&it.tags))
}

/// Whether the remembered image is there with its snapshots, and nothing of it carries our tags.
fn is_handed_over(run: &Run) -> bool {
    let world = run.world.0.borrow();
    let image = world.cloud.image(&run.notes["effective"]);
    image.is_some_and(|image| {
        let mut snapshots = image.snapshot_ids();
        let is_free = |id: &str| world.cloud.snapshot(id).is_some_and(|it| !run.watch.is_ours(&it.tags));
        !run.watch.is_ours(&image.tags) && snapshots.all(is_free)
    })
}

pub(super) const STORIES: &[Story] = &[
    Story {
        name: "backups: the group deleted and purged",
        acts: &[
            ONE,
            ONE_RUNS,
            FIRST,
            DELETE,
            DEALLOCATED,
            Must("they are kept", |run| backups(run) == 1),
            GONE,
            Must("nothing is left", nothing_is_left),
        ],
    },
    Story {
        name: "backups: the group deleted and purged, with addresses kept",
        acts: &[
            Do(|run| {
                run.put_backed_up(2, json!({"frequency": "daily", "keep": 2, "now": 1}));
                run.edit_group(|item| item["persist"] = json!({"network": {}}));
            }),
            Until("both run", |run| run.running_members().len() == 2),
            FIRST,
            REMEMBER,
            NOW,
            Until("there is another backup", newer_backup),
            DELETE,
            GONE,
            Until("the other one is gone", |run| stands(run, B, Phase::Gone)),
            Must("nothing is left", nothing_is_left),
        ],
    },
    Story {
        name: "backups: the group deleted while one is under way",
        acts: &[
            ONE,
            ONE_RUNS,
            Until("one is under way", |run| !run.pending_backups().is_empty()),
            DELETE,
            GONE,
            Must("nothing is left", nothing_is_left),
        ],
    },
    Story {
        name: "backups: the group deleted, and put back within retention",
        acts: &[
            ONE,
            ONE_RUNS,
            FIRST,
            REMEMBER,
            DELETE,
            DEALLOCATED,
            Minutes(10),
            Do(Run::put_group_back),
            Until("it runs in its second cycle", |run| runs_in(run, A, 2)),
            Must("it is from the backup", |run| {
                same_backup(run) && run.launched_from(A) == run.effective() && run.descends_from_backup(A)
            }),
            REMEMBER,
            NOW,
            Until("there is a newer backup", newer_backup),
        ],
    },
    Story {
        name: "backups: handed over where the retention names no images",
        acts: &[
            ONE,
            ONE_RUNS,
            FIRST,
            REMEMBER,
            Do(|run| run.edit_group(|item| item["retention"]["delete"] = json!(["snapshots", "volumes"]))),
            Until("that is in force", super::backups::is_in_force),
            DELETE,
            GONE,
            Must("nothing carries our tags", no_backup_is_left),
            Must("the image is the operator's", is_handed_over),
        ],
    },
    Story {
        name: "backups: the group suspended",
        acts: &[
            ONE,
            ONE_RUNS,
            FIRST,
            Do(|run| run.edit_group(|item| item["suspend"] = json!(true))),
            Until("that is in force", super::backups::is_in_force),
            REMEMBER,
            NOW,
            Minutes(15),
            Must("nothing was made", |run| same_backup(run) && backups(run) == 1),
            Do(|run| run.edit_group(|item| item["suspend"] = json!(false))),
            Until("there is a newer backup", newer_backup),
        ],
    },
    Story {
        name: "backups: all suspended while one is under way",
        acts: &[
            ONE,
            ONE_RUNS,
            FIRST,
            REMEMBER,
            NOW,
            Until("one is under way", |run| !run.pending_backups().is_empty()),
            Do(|run| run.settings(json!({"suspend": true}))),
            Minutes(10),
            Must("it is not in effect", same_backup),
            Do(|run| run.settings(json!({"suspend": false}))),
            Until("there is a newer backup", newer_backup),
        ],
    },
];

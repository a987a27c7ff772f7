//! Data volumes that get lost, stuck or moved: from zone to zone, and by other hands.

use super::Act::{Do, Minutes, Must, Until};
use super::data::{ANOTHER_VOLUME, BACK, REATTACHED};
use super::shared::*;
use super::{Act, NODE, Story};
use crate::deeds::{BY_HAND, MAPPED};
use crate::run::Run;
use jiff::SignedDuration;
use serde_json::json;

/// Root and data, free to move.
fn put_free(run: &mut Run, mode: &str) {
    let data = json!({"mode": mode, "snapshotEvery": "2m"});
    let item = run.item_with_data(NODE, json!({"root": {"snapshotEvery": "2m"}, "data": data}));
    run.put(item);
    run.move_to_zone(NODE, 0);
}

const FREE: Act = Do(|run| put_free(run, "reattach"));
const FREE_COPIES: Act = Do(|run| put_free(run, "snapshot"));
const MOVE: Act = Do(|run| run.move_to_zone(NODE, 1));
const KNOWN: Act = Do(|run| {
    remember(run);
    let (volume, zone) = (run.data_volume(NODE, MAPPED), run.zone(NODE));
    run.notes.insert("data", volume.unwrap_or_default());
    run.notes.insert("zone", zone.unwrap_or_default());
});
const ELSEWHERE: Act =
    Must("it runs in another zone", |run| run.zone(NODE).as_ref() != run.notes.get("zone"));
const NOWHERE: Act = Do(|run| run.capacity(Some(0)));
const WAITING: Act = Until("it waits for capacity", |run| blocked(run, "capacity"));
const LEFT_ALONE: Act =
    Until("it is told that a volume does not come back", |run| blocked(run, "volume-left-alone"));

pub(super) const STORIES: &[Story] = &[
    Story {
        name: "moved to another zone with its data",
        acts: &[
            FREE,
            RUNS,
            Minutes(5),
            KNOWN,
            MOVE,
            RECYCLE,
            RUNS_AGAIN,
            ELSEWHERE,
            BACK,
            ANOTHER_VOLUME,
            Minutes(7),
        ],
    },
    Story {
        name: "moved to another zone with copies of its data",
        acts: &[FREE_COPIES, RUNS, Minutes(5), KNOWN, MOVE, RECYCLE, RUNS_AGAIN, ELSEWHERE, BACK, Minutes(7)],
    },
    Story {
        name: "moved to another zone while paused",
        acts: &[FREE, RUNS, Minutes(3), KNOWN, PAUSE, RESTS, MOVE, RUN, RUNS_AGAIN, ELSEWHERE, BACK],
    },
    Story {
        name: "a move called off before it began",
        acts: &[
            FREE,
            RUNS,
            KNOWN,
            MOVE,
            Minutes(2),
            Do(|run| run.move_to_zone(NODE, 0)),
            RECYCLE,
            RUNS_AGAIN,
            BACK,
            Must("it is where it was", |run| run.zone(NODE).as_ref() == run.notes.get("zone")),
        ],
    },
    Story {
        name: "a data volume lost during a recovery is restored at the operator's word",
        acts: &[
            REATTACHED,
            RUNS,
            Minutes(7),
            KNOWN,
            NOWHERE,
            INTERRUPT,
            WAITING,
            Do(|run| run.delete_data(NODE, MAPPED)),
            Do(|run| run.capacity(None)),
            DATA_MISSING,
            Do(|run| run.restore_data_from_newest(NODE, MAPPED)),
            RUNS_AGAIN,
            BACK,
            ANOTHER_VOLUME,
            Minutes(7),
        ],
    },
    Story {
        name: "a data volume lost during a recovery, and the node given up",
        acts: &[
            REATTACHED,
            RUNS,
            Minutes(7),
            NOWHERE,
            INTERRUPT,
            WAITING,
            Do(|run| run.delete_data(NODE, MAPPED)),
            Do(|run| run.capacity(None)),
            DATA_MISSING,
            DEALLOCATE,
            GONE,
        ],
    },
    Story {
        name: "an attachment that hangs is told of, and goes on once it is detached by hand",
        acts: &[
            REATTACHED,
            RUNS,
            KNOWN,
            Do(|run| run.hang_next_attach(NODE, MAPPED)),
            INTERRUPT,
            Until("it is told that the attachment hangs", |run| blocked(run, "attach-stalled")),
            Do(unhang),
            RUNS_AGAIN,
            BACK,
        ],
    },
    Story {
        name: "a volume that several instances may hold is left alone",
        acts: &[
            REATTACHED,
            RUNS,
            Do(|run| drop(run.attach_fresh(NODE, BY_HAND, true))),
            LEFT_ALONE,
            Minutes(5),
            INTERRUPT,
            RUNS_AGAIN,
            BACK,
            Must("it did not come back", |run| run.data_volume(NODE, BY_HAND).is_none()),
        ],
    },
    Story {
        name: "a kept volume attached elsewhere leaves the node",
        acts: &[
            REATTACHED,
            RUNS,
            PAUSE,
            RESTS,
            Do(given_away),
            RUN,
            RUNS_AGAIN,
            Must("it did not come back", |run| run.data_volume(NODE, MAPPED).is_none()),
        ],
    },
    Story {
        name: "data volumes of a node without capacity wait",
        acts: &[
            REATTACHED,
            RUNS,
            KNOWN,
            Do(|run| run.capacity(Some(0))),
            INTERRUPT,
            Until("it is blocked for want of capacity", |run| blocked(run, "capacity")),
            PAUSE,
            RESTS,
            Do(|run| run.capacity(None)),
            RUN,
            RUNS_AGAIN,
            BACK,
        ],
    },
    Story {
        name: "from attached again to copied, and back",
        acts: &[
            REATTACHED,
            RUNS,
            KNOWN,
            Do(|run| run.keep_data(NODE, Some("snapshot"))),
            Minutes(1),
            INTERRUPT,
            RUNS_AGAIN,
            BACK,
            ANOTHER_VOLUME,
            Do(|run| run.keep_data(NODE, Some("reattach"))),
            Minutes(7),
            KNOWN,
            INTERRUPT,
            Until("the node runs steadily in its third cycle", |run| is_settled_in(run, 3)),
            BACK,
        ],
    },
    Story {
        name: "suspended with a volume attached by hand",
        acts: &[
            REATTACHED,
            RUNS,
            Do(|run| run.edit(NODE, |item| item["suspend"] = json!(true))),
            Minutes(2),
            Do(|run| drop(run.attach_fresh(NODE, BY_HAND, false))),
            Minutes(3),
            Do(|run| run.edit(NODE, |item| item["suspend"] = json!(false))),
            Until("it is adopted", |run| {
                let is = |it: &perennial_core::record::DataVolume| it.device_name == BY_HAND && !it.untagged;
                record_of(run, |record| record.data.iter().any(is)) == Some(true) && run.is_settled(NODE)
            }),
        ],
    },
];

const INTERRUPT: Act = Do(|run| run.interrupt(NODE, true));

/// The operator detaches what hangs; it is still the node's.
fn unhang(run: &mut Run) {
    let Some(volume) = run.data_volume(NODE, MAPPED) else { return };
    let request = perennial_cloud::model::DetachVolume {
        volume_id: volume,
        force: true,
        ..perennial_cloud::model::DetachVolume::default()
    };
    let _ = run.by_hand(|cloud| cloud.detach_volume(&request));
}

/// The operator attaches the kept volume to an instance of somebody else.
fn given_away(run: &mut Run) {
    let Some(volume) = run.data_volume(NODE, MAPPED) else { return };
    let Some(instance_id) = run.launch_stranger(NODE) else { return };
    run.pass(SignedDuration::from_mins(3));
    let request = perennial_cloud::model::AttachVolume {
        volume_id: volume.clone(),
        instance_id,
        device: "/dev/sdh".to_owned(),
    };
    let _ = run.by_hand(|cloud| cloud.attach_volume(&request));
    run.watch.left(&volume);
}

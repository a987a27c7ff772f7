//! Data volumes: they come along, in both ways, whatever happens to the node.

use perennial_core::phase::Phase;
use serde_json::json;

use super::Act::{Do, Minutes, Must, Until};
use super::shared::*;
use super::{Act, NODE, Story};
use crate::deeds::{BY_HAND, MAPPED};
use crate::run::Run;

fn put(run: &mut Run, mode: &str) {
    let data = json!({"mode": mode, "snapshotEvery": "2m"});
    let persist = json!({"root": {"snapshotEvery": "2m"}, "data": data, "network": {}});
    let item = run.item_with_data(NODE, persist);
    run.put(item);
}

pub(super) const REATTACHED: Act = Do(|run| put(run, "reattach"));
pub(super) const COPIED: Act = Do(|run| put(run, "snapshot"));
/// The node keeps its data volumes, and nothing else.
const DATA_ALONE: Act = Do(|run| {
    let item = run.item_with_data(NODE, json!({"data": {"snapshotEvery": "2m"}}));
    run.put(item);
});
const COPIES_ALONE: Act = Do(|run| {
    let item = run.item_with_data(NODE, json!({"data": {"mode": "snapshot", "snapshotEvery": "2m"}}));
    run.put(item);
});
const INTERRUPTED: Act = Do(|run| run.interrupt(NODE, true));
const ATTACH: Act = Do(|run| {
    if let Some(id) = run.attach_fresh(NODE, BY_HAND, false) {
        run.notes.insert("by-hand", id);
    }
});
const ADOPTED: Act = Until("the volume attached by hand is adopted", |run| {
    entry(run, BY_HAND, |it| it.attached && !it.untagged) && run.is_settled(NODE)
});
const KNOWN: Act = Do(|run| {
    remember(run);
    let volume = run.data_volume(NODE, MAPPED).unwrap_or_default();
    run.notes.insert("data", volume);
});

fn entry(run: &Run, device: &str, is: impl Fn(&perennial_core::record::DataVolume) -> bool) -> bool {
    record_of(run, |record| record.data.iter().any(|it| it.device_name == device && is(it))) == Some(true)
}

fn has(run: &Run, device: &str, size: u32) -> bool {
    run.devices(NODE).iter().any(|(name, gib)| name == device && *gib == size)
}

fn is_same(run: &Run) -> bool {
    run.data_volume(NODE, MAPPED).as_ref() == run.notes.get("data")
}

pub(super) const BACK: Act = Must("its data volume is back", |run| has(run, MAPPED, 4));
pub(super) const SAME_VOLUME: Act = Must("it is the same volume", is_same);
pub(super) const ANOTHER_VOLUME: Act = Must("it is another volume", |run| !is_same(run));
const BOTH_BACK: Act = Must("both data volumes are back", |run| has(run, MAPPED, 4) && has(run, BY_HAND, 4));
const THIRD: Act = Until("the node runs steadily in its third cycle", |run| is_settled_in(run, 3));
const FORTH: Act = RUN;

pub(super) const STORIES: &[Story] = &[
    Story {
        name: "data attached again after an interruption",
        acts: &[REATTACHED, RUNS, Minutes(5), KNOWN, INTERRUPTED, RUNS_AGAIN, BACK, SAME_VOLUME, Minutes(7)],
    },
    Story {
        name: "data copied over an interruption",
        acts: &[COPIED, RUNS, Minutes(5), KNOWN, INTERRUPTED, RUNS_AGAIN, BACK, ANOTHER_VOLUME, Minutes(7)],
    },
    Story {
        name: "data attached again, interrupted twice without notice",
        acts: &[
            REATTACHED,
            RUNS,
            KNOWN,
            Do(|run| run.interrupt(NODE, false)),
            RUNS_AGAIN,
            Do(|run| run.interrupt(NODE, false)),
            THIRD,
            BACK,
            SAME_VOLUME,
        ],
    },
    Story {
        name: "data copied, interrupted twice without notice",
        acts: &[
            COPIED,
            RUNS,
            Do(|run| run.interrupt(NODE, false)),
            RUNS_AGAIN,
            Do(|run| run.interrupt(NODE, false)),
            THIRD,
            BACK,
        ],
    },
    Story {
        name: "data attached again after a pause",
        acts: &[
            REATTACHED,
            RUNS,
            Minutes(3),
            KNOWN,
            PAUSE,
            RESTS,
            FORTH,
            RUNS_AGAIN,
            BACK,
            SAME_VOLUME,
            Minutes(7),
        ],
    },
    Story {
        name: "data copied over a pause",
        acts: &[
            COPIED,
            RUNS,
            Minutes(3),
            KNOWN,
            PAUSE,
            RESTS,
            FORTH,
            RUNS_AGAIN,
            BACK,
            ANOTHER_VOLUME,
            Minutes(7),
        ],
    },
    Story {
        name: "a volume attached by hand comes along",
        acts: &[REATTACHED, RUNS, ATTACH, ADOPTED, Minutes(5), INTERRUPTED, RUNS_AGAIN, BOTH_BACK],
    },
    Story {
        name: "a copy of a volume attached by hand comes along",
        acts: &[
            COPIED,
            RUNS,
            ATTACH,
            ADOPTED,
            Minutes(5),
            INTERRUPTED,
            RUNS_AGAIN,
            BOTH_BACK,
            Minutes(7),
            Must("the operator's own volume is still there", |run| {
                let id = run.notes.get("by-hand").cloned().unwrap_or_default();
                run.world.0.borrow().cloud.volume(&id).is_some()
            }),
        ],
    },
    Story {
        name: "a data volume made larger keeps its size",
        acts: &[
            REATTACHED,
            RUNS,
            Minutes(3),
            Do(|run| run.grow_data(NODE, MAPPED)),
            Minutes(3),
            INTERRUPTED,
            RUNS_AGAIN,
            Must("it has its new size", |run| has(run, MAPPED, 9)),
        ],
    },
    Story {
        name: "the copy of a data volume made larger has its size",
        acts: &[
            COPIED,
            RUNS,
            Minutes(3),
            Do(|run| run.grow_data(NODE, MAPPED)),
            Minutes(3),
            INTERRUPTED,
            RUNS_AGAIN,
            Must("it has its new size", |run| has(run, MAPPED, 9)),
        ],
    },
    Story {
        name: "a data volume deleted while paused comes back from its final snapshot",
        acts: &[
            REATTACHED,
            RUNS,
            Minutes(3),
            KNOWN,
            PAUSE,
            RESTS,
            Do(|run| run.delete_data(NODE, MAPPED)),
            Minutes(12),
            FORTH,
            RUNS_AGAIN,
            BACK,
            ANOTHER_VOLUME,
        ],
    },
    Story {
        name: "the old volume of a copy deleted while paused is not missed",
        acts: &[
            COPIED,
            RUNS,
            Minutes(3),
            KNOWN,
            PAUSE,
            RESTS,
            Do(|run| run.delete_data(NODE, MAPPED)),
            Minutes(2),
            FORTH,
            RUNS_AGAIN,
            BACK,
        ],
    },
    Story {
        name: "the final snapshot of a data volume deleted while paused is taken again",
        acts: &[
            COPIED,
            RUNS,
            Minutes(3),
            PAUSE,
            RESTS,
            Do(|run| run.delete_data_finals(NODE)),
            Minutes(20),
            FORTH,
            RUNS_AGAIN,
            BACK,
        ],
    },
    Story {
        name: "deallocated with data and restored within retention",
        acts: &[
            REATTACHED,
            RUNS,
            KNOWN,
            DEALLOCATE,
            DEALLOCATED,
            Minutes(20),
            FORTH,
            RUNS_AGAIN,
            BACK,
            SAME_VOLUME,
        ],
    },
    Story {
        name: "deallocated with data and purged",
        acts: &[
            COPIED,
            RUNS,
            ATTACH,
            ADOPTED,
            DEALLOCATE,
            GONE,
            Must("only the operator's own volume is left, without our tags", |run| {
                let by_hand = run.notes.get("by-hand").cloned().unwrap_or_default();
                let world = run.world.0.borrow();
                let ours = world.cloud.volumes().any(|it| run.watch.is_ours(&it.tags));
                !ours && world.cloud.volume(&by_hand).is_some()
            }),
        ],
    },
    Story {
        name: "released with data",
        acts: &[
            REATTACHED,
            RUNS,
            Minutes(3),
            RELEASE,
            GONE,
            Must("its volumes stay on the instance", |run| {
                let world = run.world.0.borrow();
                world.cloud.live_instances().any(|it| it.block_devices.contains_key(MAPPED))
            }),
        ],
    },
    Story {
        name: "a data volume detached by hand leaves the node",
        acts: &[
            REATTACHED,
            RUNS,
            ATTACH,
            ADOPTED,
            Do(|run| drop(run.detach(NODE, BY_HAND))),
            Until("it has left", |run| !entry(run, BY_HAND, |_| true)),
            INTERRUPTED,
            RUNS_AGAIN,
            BACK,
            Must("what was detached does not come back", |run| !has(run, BY_HAND, 4)),
        ],
    },
    Story {
        name: "data volumes to go with their instance, found by the tick",
        acts: &[
            REATTACHED,
            RUNS,
            KNOWN,
            Do(|run| run.data_goes_with_it(NODE)),
            Minutes(2),
            Do(|run| run.terminate(NODE)),
            RUNS_AGAIN,
            BACK,
            SAME_VOLUME,
        ],
    },
    Story {
        name: "data alone, attached again",
        acts: &[DATA_ALONE, RUNS, Minutes(5), KNOWN, INTERRUPTED, RUNS_AGAIN, BACK, SAME_VOLUME, Minutes(5)],
    },
    Story {
        name: "data alone, copied over an interruption and a pause",
        acts: &[
            COPIES_ALONE,
            RUNS,
            Minutes(5),
            INTERRUPTED,
            RUNS_AGAIN,
            BACK,
            Minutes(5),
            PAUSE,
            Until("it is paused", |run| is(run, Phase::Paused)),
            Minutes(5),
            FORTH,
            THIRD,
            BACK,
        ],
    },
    Story {
        name: "data persistence taken out and put back",
        acts: &[
            REATTACHED,
            RUNS,
            KNOWN,
            Do(|run| run.keep_data(NODE, None)),
            Until("its volume is the operator's", |run| {
                !entry(run, MAPPED, |_| true) && run.is_settled(NODE)
            }),
            Do(|run| run.keep_data(NODE, Some("reattach"))),
            Until("it is adopted", |run| entry(run, MAPPED, |it| it.adopted && !it.untagged)),
            INTERRUPTED,
            RUNS_AGAIN,
            BACK,
            SAME_VOLUME,
        ],
    },
    Story {
        name: "taken with data before anyone saw it run",
        acts: &[
            REATTACHED,
            Until("there is an instance", |run| run.instance(NODE).is_some()),
            Do(super::life::lives_unseen),
            Until("it is back with its data volume", |run| run.is_settled(NODE) && has(run, MAPPED, 4)),
        ],
    },
    Story {
        name: "taken with copies before anyone saw it run again",
        acts: &[
            COPIED,
            RUNS,
            Do(|run| run.interrupt(NODE, false)),
            Until("there is another instance", |run| {
                record_of(run, |it| it.cycle == 2) == Some(true) && run.instance(NODE).is_some()
            }),
            Do(super::life::lives_unseen),
            THIRD,
            BACK,
        ],
    },
];

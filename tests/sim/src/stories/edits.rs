//! Edits in quick succession, in the middle of something, while blocked or suspended.

use jiff::SignedDuration;
use perennial_core::journal::Kind;
use perennial_core::phase::Phase;
use serde_json::json;

use super::Act::{self, Do, Minutes, Must, Until};
use super::shared::*;
use super::{NODE, Story};
use crate::run::Run;

const TERMINATE: Act = Do(|run| run.terminate(NODE));
const LAUNCHING: Act = Until("it has been launched", |run| run.instance(NODE).is_some());
const RELEASING: Act = Until("it waits for the release", |run| past(run, Phase::Releasing));
const CAPTURING: Act = Until("it is captured", |run| past(run, Phase::Capturing));
const IMAGING: Act = Until("its image is made", |run| past(run, Phase::Imaging));

/// Whether the node stands there, or has come by already: under faults a phase may pass within a tick.
fn past(run: &Run, phase: Phase) -> bool {
    record_of(run, |record| {
        record.phase == phase || record.cycle > 1 || record.durations.contains_key(&phase)
    }) == Some(true)
}

fn suspend(run: &mut Run, suspend: bool) {
    run.edit(NODE, |item| item["suspend"] = json!(suspend));
}

fn noticed(run: &Run) -> bool {
    run.world.0.borrow().published.iter().any(|event| event.kind == Kind::NodeInterrupted)
}

fn instance_is_old(run: &Run) -> bool {
    let live = run.instance(NODE);
    live.is_none() || live.as_ref() == run.notes.get("instance")
}

pub(super) const STORIES: &[Story] = &[
    Story {
        name: "several edits in quick succession, running in the end",
        acts: &[PUT, RUNS, PAUSE, DEALLOCATE, RECYCLE, RUN, Minutes(1), PAUSE, RUN, Minutes(15), RUNS],
    },
    Story {
        name: "several edits in quick succession, paused in the end",
        acts: &[
            PUT,
            RUNS,
            RECYCLE,
            DEALLOCATE,
            Do(|run| run.pass(SignedDuration::from_secs(30))),
            RUN,
            PAUSE,
            RESTS,
        ],
    },
    Story {
        name: "root taken out by mistake, put back before the instance ran",
        acts: &[
            PUT,
            RUNS,
            Minutes(5),
            PAUSE,
            RESTS,
            Do(|run| {
                let root = run.root(NODE).unwrap_or_default();
                run.notes.insert("left behind", root);
            }),
            Do(|run| {
                run.keep_root(NODE, false);
                run.want(NODE, "running");
            }),
            LAUNCHING,
            Do(|run| {
                run.keep_root(NODE, true);
                run.want(NODE, "paused");
            }),
            Minutes(15),
            RUN,
            Minutes(30),
            Must("the root that was left behind is still there", |run| {
                let left = &run.notes["left behind"];
                run.world.0.borrow().cloud.volume(left).is_some()
            }),
        ],
    },
    Story { name: "paused while launching", acts: &[PUT, LAUNCHING, PAUSE, RESTS] },
    Story { name: "deallocated while launching", acts: &[PUT, LAUNCHING, DEALLOCATE, DEALLOCATED] },
    Story {
        name: "deallocated before there was an instance",
        acts: &[PUT, Until("it is known", |run| run.record(NODE).is_some()), DEALLOCATE, GONE],
    },
    Story { name: "released while launching", acts: &[PUT, LAUNCHING, RELEASE, GONE] },
    Story { name: "recycled while launching", acts: &[PUT, LAUNCHING, RECYCLE, Minutes(10), RUNS] },
    Story { name: "paused while releasing", acts: &[PUT, RUNS, TERMINATE, RELEASING, PAUSE, RESTS] },
    Story { name: "paused while capturing", acts: &[PUT, RUNS, TERMINATE, CAPTURING, PAUSE, RESTS] },
    Story {
        name: "deallocated while capturing",
        acts: &[PUT, RUNS, TERMINATE, CAPTURING, DEALLOCATE, DEALLOCATED],
    },
    Story { name: "released while imaging", acts: &[PUT, RUNS, TERMINATE, IMAGING, RELEASE, GONE] },
    Story { name: "recycled while imaging", acts: &[PUT, RUNS, TERMINATE, IMAGING, RECYCLE, RUNS_AGAIN] },
    Story {
        name: "paused during the interruption notice",
        acts: &[
            PUT,
            RUNS,
            Do(|run| run.interrupt(NODE, true)),
            Do(|run| run.pass(SignedDuration::from_secs(30))),
            PAUSE,
            RESTS,
        ],
    },
    Story {
        name: "paused, and to run again while its instance ends",
        acts: &[
            PUT,
            RUNS,
            PAUSE,
            Until("its instance ends", |run| run.instance(NODE).is_none()),
            RUN,
            RUNS_AGAIN,
        ],
    },
    Story {
        name: "item deleted while imaging and put back",
        acts: &[PUT, RUNS, TERMINATE, IMAGING, Do(|run| run.delete_item(NODE)), Minutes(4), PUT, RUNS_AGAIN],
    },
    Story {
        name: "paused while blocked for want of capacity",
        acts: &[
            PUT,
            RUNS,
            TERMINATE,
            Do(|run| run.capacity(Some(0))),
            Until("it is blocked for want of capacity", |run| blocked(run, "capacity")),
            PAUSE,
            RESTS,
            Do(|run| run.capacity(None)),
            RUN,
            RUNS_AGAIN,
        ],
    },
    Story {
        name: "invalid edits change nothing",
        acts: &[
            PUT,
            RUNS,
            RECYCLE,
            RUNS_AGAIN,
            Do(remember),
            Do(|run| run.edit(NODE, |item| item["recycle"] = json!(0))),
            Do(|run| run.edit(NODE, |item| item["desiredState"] = json!("stop"))),
            Do(|run| run.edit(NODE, |item| item["retention"] = json!({"after": "soon"}))),
            Minutes(5),
            Must("all three are reported together", |run| {
                run.status(NODE)["accepted"] == false
                    && run.status(NODE)["problems"].as_array().is_some_and(|p| p.len() == 3)
            }),
            Must("the instance is the same", |run| run.instance(NODE).as_ref() == run.notes.get("instance")),
            Do(|run| run.edit(NODE, |item| item["desiredState"] = json!("running"))),
            Do(|run| run.edit(NODE, |item| item["retention"] = json!({"after": "1h"}))),
            RECYCLE,
            Minutes(3),
        ],
    },
    Story {
        name: "suspended by its item while it is interrupted",
        acts: &[
            PUT,
            RUNS,
            Do(remember),
            Do(|run| suspend(run, true)),
            Until("the edit is in force", |run| record_of(run, |r| r.config().suspend) == Some(true)),
            Do(|run| run.interrupt(NODE, true)),
            Minutes(15),
            Must("the notice or the end was told of, and no other instance made", |run| {
                noticed(run) && instance_is_old(run)
            }),
            Do(|run| suspend(run, false)),
            RUNS_AGAIN,
        ],
    },
    Story {
        name: "suspended by the settings in the middle of a recovery",
        acts: &[
            PUT,
            RUNS,
            Do(remember),
            TERMINATE,
            CAPTURING,
            Do(|run| run.settings(json!({"suspend": true}))),
            Minutes(10),
            Do(|run| run.settings(json!({"suspend": false}))),
            RUNS_AGAIN,
        ],
    },
    Story {
        name: "suspended over the end of its retention",
        acts: &[
            PUT,
            RUNS,
            DEALLOCATE,
            DEALLOCATED,
            Do(|run| suspend(run, true)),
            Minutes(80),
            Must("nothing was purged", |run| is(run, Phase::Deallocated)),
            Do(|run| suspend(run, false)),
            GONE,
        ],
    },
];

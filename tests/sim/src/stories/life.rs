//! The life of a node as its operator and EC2 have it.

use jiff::SignedDuration;
use perennial_core::phase::Phase;
use serde_json::json;

use super::Act::{Do, Minutes, Must, Until};
use super::shared::*;
use super::{NODE, Story};
use crate::account::item_of;
use crate::run::Run;

/// Its guest writes and it is gone before any function is told.
pub(super) fn lives_unseen(run: &mut Run) {
    let boot = run.world.0.borrow().cloud.settings().boot + SignedDuration::from_secs(3);
    run.world.0.borrow_mut().cloud.pass(boot);
    run.guests();
    run.interrupt(NODE, false);
}

fn delete_only(run: &mut Run, what: &[&str]) {
    run.edit(NODE, |item| item["retention"]["delete"] = json!(what));
}

/// What is left under the tags of the node: volumes, snapshots, images, interfaces.
fn left(run: &Run) -> [usize; 4] {
    let world = run.world.0.borrow();
    let ours = |tags: &perennial_cloud::model::Tags| run.watch.is_ours(tags);
    [
        world.cloud.volumes().filter(|it| ours(&it.tags)).count(),
        world.cloud.snapshots().filter(|it| ours(&it.tags)).count(),
        world.cloud.images().filter(|it| ours(&it.tags)).count(),
        world.cloud.network_interfaces().filter(|it| ours(&it.tags)).count(),
    ]
}

fn new_life(run: &Run) -> bool {
    record_of(run, |record| Some(&record.life) != run.notes.get("life")) == Some(true)
}

pub(super) const STORIES: &[Story] = &[
    Story { name: "launched", acts: &[PUT, RUNS, Minutes(9)] },
    Story {
        name: "interrupted with notice",
        acts: &[PUT, RUNS, Minutes(5), Do(remember), Do(|run| run.interrupt(NODE, true)), RUNS_AGAIN, SAME],
    },
    Story {
        name: "rebalance recommended, then interrupted",
        acts: &[
            PUT,
            RUNS,
            Minutes(5),
            Do(remember),
            Do(|run| run.recommend_rebalance(NODE)),
            Minutes(3),
            Do(|run| run.interrupt(NODE, true)),
            RUNS_AGAIN,
            SAME,
        ],
    },
    Story {
        name: "interrupted without notice",
        acts: &[PUT, RUNS, Minutes(5), Do(remember), Do(|run| run.interrupt(NODE, false)), RUNS_AGAIN, SAME],
    },
    Story {
        name: "terminated by hand",
        acts: &[PUT, RUNS, Minutes(5), Do(remember), Do(|run| run.terminate(NODE)), RUNS_AGAIN, SAME],
    },
    Story {
        name: "taken before anyone saw it run",
        acts: &[
            PUT,
            Until("there is an instance", |run| run.instance(NODE).is_some()),
            Do(lives_unseen),
            Until("it is back", |run| run.is_settled(NODE)),
        ],
    },
    Story {
        name: "interrupted, without a kept interface",
        acts: &[
            Do(|run| {
                let mut item = item_of(run, NODE);
                item["persist"] = json!({"root": {"snapshotEvery": "2m"}});
                run.put(item);
            }),
            RUNS,
            Do(|run| run.interrupt(NODE, true)),
            RUNS_AGAIN,
        ],
    },
    Story {
        name: "interrupted twice in a row",
        acts: &[
            PUT,
            RUNS,
            Do(|run| run.interrupt(NODE, true)),
            Until("the second instance is up", |run| {
                record_of(run, |r| r.cycle == 2 && r.instance.is_some()) == Some(true)
                    && run.instance(NODE).is_some()
            }),
            Minutes(1),
            Do(|run| run.interrupt(NODE, false)),
            Until("all is done", |run| run.is_settled(NODE)),
        ],
    },
    Story {
        name: "no capacity for a while, and on-demand in the end",
        acts: &[
            PUT,
            RUNS,
            Do(|run| run.capacity(Some(0))),
            Do(|run| run.interrupt(NODE, true)),
            Until("it is blocked for want of capacity", |run| blocked(run, "capacity")),
            Do(|run| run.capacity(None)),
            RUNS_AGAIN,
        ],
    },
    Story { name: "paused", acts: &[PUT, RUNS, Minutes(3), PAUSE, RESTS] },
    Story {
        name: "paused and resumed",
        acts: &[PUT, RUNS, Minutes(3), Do(remember), PAUSE, RESTS, RUN, RUNS_AGAIN, SAME],
    },
    Story {
        name: "paused, resumed, paused",
        acts: &[PUT, RUNS, PAUSE, RESTS, RUN, RUNS_AGAIN, Minutes(3), PAUSE, RESTS],
    },
    Story { name: "recycled", acts: &[PUT, RUNS, Minutes(3), Do(remember), RECYCLE, RUNS_AGAIN, SAME] },
    Story { name: "deallocated", acts: &[PUT, RUNS, Minutes(3), DEALLOCATE, DEALLOCATED] },
    Story {
        name: "deallocated and restored within retention",
        acts: &[PUT, RUNS, Do(remember), DEALLOCATE, DEALLOCATED, Minutes(20), RUN, RUNS_AGAIN, SAME],
    },
    Story {
        name: "deallocated and purged",
        acts: &[PUT, RUNS, DEALLOCATE, DEALLOCATED, GONE, Must("nothing is left", |run| left(run) == [0; 4])],
    },
    Story {
        name: "purged of images and snapshots only",
        acts: &[
            PUT,
            RUNS,
            Do(|run| delete_only(run, &["images", "snapshots"])),
            Do(remember),
            DEALLOCATE,
            GONE,
            Must("volume and interface are there, without our tags", |run| {
                let world = run.world.0.borrow();
                left(run) == [0; 4]
                    && world.cloud.volume(&run.notes["root"]).is_some()
                    && world.cloud.network_interface(&run.notes["eni"]).is_some()
            }),
        ],
    },
    Story {
        name: "purged of snapshots and volumes only: what an image stands on stays",
        acts: &[
            PUT,
            RUNS,
            Do(|run| delete_only(run, &["snapshots", "volumes"])),
            Do(remember),
            DEALLOCATE,
            GONE,
            Must("the image is there with its snapshot, without our tags", |run| {
                let world = run.world.0.borrow();
                let made = |id: &str| id != run.defaults.image_id && !run.watch.foreign.has_image(id);
                let images = world.cloud.images().filter(|image| made(&image.id));
                left(run) == [0; 4]
                    && world.cloud.volume(&run.notes["root"]).is_none()
                    && images
                        .flat_map(|image| image.snapshot_ids())
                        .any(|id| world.cloud.snapshot(id).is_some())
            }),
        ],
    },
    Story {
        name: "purged with something adopted",
        acts: &[
            PUT,
            RUNS,
            Do(|run| run.adopt_volume(NODE)),
            DEALLOCATE,
            GONE,
            Must("what was adopted is there, without our tags", |run| {
                let world = run.world.0.borrow();
                left(run) == [0; 4] && world.cloud.volume(&run.notes["adopted"]).is_some()
            }),
        ],
    },
    Story {
        name: "released",
        acts: &[
            PUT,
            RUNS,
            Minutes(3),
            Do(remember),
            RELEASE,
            GONE,
            Must("its instance still runs, and nothing carries our tags", |run| {
                let world = run.world.0.borrow();
                let alive = world.cloud.live_instances().any(|i| i.id == run.notes["instance"]);
                alive && left(run) == [0; 4]
            }),
        ],
    },
    Story {
        name: "released while paused",
        acts: &[PUT, RUNS, PAUSE, RESTS, RELEASE, GONE, Must("no tags", |run| left(run) == [0; 4])],
    },
    Story {
        name: "item deleted and put back within retention",
        acts: &[
            PUT,
            RUNS,
            Do(remember),
            Do(|run| run.delete_item(NODE)),
            DEALLOCATED,
            Minutes(10),
            PUT,
            RUNS_AGAIN,
            SAME,
        ],
    },
    Story {
        name: "item deleted and put back before the next tick",
        acts: &[
            PUT,
            RUNS,
            Do(remember),
            Do(|run| run.delete_item(NODE)),
            Do(|run| run.pass(SignedDuration::from_secs(20))),
            PUT,
            Minutes(5),
            RUNS,
            SAME,
        ],
    },
    Story {
        name: "item deleted and purged",
        acts: &[
            PUT,
            RUNS,
            Do(|run| run.delete_item(NODE)),
            GONE,
            Must("nothing is left", |run| left(run) == [0; 4]),
        ],
    },
    Story {
        name: "the same name used again after purge",
        acts: &[
            PUT,
            RUNS,
            Do(remember),
            Do(|run| run.delete_item(NODE)),
            GONE,
            PUT,
            Until("a new life runs", |run| run.is_settled(NODE) && new_life(run)),
            Must("it finds nothing of the old one", |run| {
                record_of(run, |r| r.cycle == 1 && r.image.is_none()) == Some(true) && !same_interface(run)
            }),
        ],
    },
    Story {
        name: "retention lowered below the time already passed",
        acts: &[
            PUT,
            RUNS,
            Do(|run| run.edit(NODE, |item| item["retention"]["after"] = json!("96h"))),
            DEALLOCATE,
            DEALLOCATED,
            Minutes(90),
            Do(|run| run.edit(NODE, |item| item["retention"]["after"] = json!("1h"))),
            GONE,
        ],
    },
    Story {
        name: "items of three nodes of three deleted at once",
        acts: &[
            Do(|run| ["a", "b", "c"].into_iter().for_each(|node| run.put_node(node))),
            Until("all run", |run| run.nodes().len() == 3 && quiet(run)),
            Do(|run| ["a", "b", "c"].into_iter().for_each(|node| run.delete_item(node))),
            Minutes(5),
            Must("all still run", |run| {
                run.world.0.borrow().records.values().all(|r| r.phase == Phase::Running)
            }),
            Do(|run| run.settings(json!({"confirmRemoval": 3}))),
            Until("all are deallocated", |run| {
                run.world.0.borrow().records.values().all(|r| r.phase == Phase::Deallocated)
            }),
            Do(|run| {
                let item = item_of(run, "a");
                run.put(item);
            }),
            Until("one is restored", |run| run.is_settled("a")),
        ],
    },
];

/// It has the interface it had.
const SAME: super::Act = Must("it has its interface still", same_interface);

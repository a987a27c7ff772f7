//! What an operator or chance does to the things that a node keeps.

use jiff::SignedDuration;
use perennial_cloud::model::InstanceState;
use perennial_core::phase::Phase;
use perennial_core::record::Record;
use serde_json::json;

use super::Act::{Do, Minutes, Must, Until};
use super::shared::*;
use super::{Act, NODE, Story};
use crate::account::item_of;
use crate::run::Run;

/// The node begins on-demand: spot instances cannot be stopped.
const PUT_ON_DEMAND: Act = Do(|run| {
    let mut item = item_of(run, NODE);
    item["launch"]["market"] = json!("on-demand");
    run.put(item);
});

/// The operator's own snapshot of the root, remembered as known to be the node's.
fn own_snapshot(run: &mut Run) {
    // EC2 wants some time between two snapshots of a volume.
    run.pass(SignedDuration::from_mins(1));
    if let Some(root) = run.root(NODE)
        && let Ok(made) = run.by_hand(|cloud| cloud.create_snapshot(&root, "by the operator", &[]))
    {
        run.notes.insert("own", made.id);
    }
    run.pass(SignedDuration::from_mins(1));
}

fn restore_from_own(run: &mut Run) {
    let id = run.notes.get("own").cloned();
    run.edit(NODE, |item| item["restoreFrom"] = json!(id));
}

/// Takes everything that a paused node could come back from.
fn take_all(run: &mut Run) {
    run.deregister_image(NODE);
    run.delete_final(NODE);
    run.delete_root(NODE);
}

/// Lets the instance boot and stops it, before an event or a tick tells of it.
fn stops_unseen(run: &mut Run) {
    let boot = run.world.0.borrow().cloud.settings().boot + SignedDuration::from_secs(3);
    run.world.0.borrow_mut().cloud.pass(boot);
    run.stop(NODE);
    run.world.0.borrow_mut().cloud.pass(SignedDuration::from_mins(2));
}

fn is_stopped(run: &Run) -> bool {
    let Some(id) = run.instance(NODE) else { return false };
    run.world.0.borrow().cloud.instance(&id).is_some_and(|it| it.state == InstanceState::Stopped)
}

/// Terminates the instance and deletes its root the moment it is free.
fn lose_root(run: &mut Run) {
    let Some(root) = run.root(NODE) else { return };
    run.terminate(NODE);
    for _ in 0..120 {
        let free =
            run.world.0.borrow().cloud.volume(&root).is_none_or(|volume| volume.attachments.is_empty());
        if free {
            break;
        }
        run.world.0.borrow_mut().cloud.pass(SignedDuration::from_secs(1));
    }
    let _ = run.by_hand(|cloud| cloud.delete_volume(&root));
}

fn groups_are_new(run: &Run) -> bool {
    let world = run.world.0.borrow();
    let network = world.records.get(NODE).and_then(|r| r.network.clone());
    let interface = network.and_then(|n| world.cloud.network_interface(n.eni_id.as_str()).cloned());
    interface.is_some_and(|interface| interface.groups.iter().eq(run.notes.get("group")))
}

fn has_grown(run: &Run) -> bool {
    let root = run.root(NODE);
    let world = run.world.0.borrow();
    let root = root.and_then(|id| world.cloud.volume(&id).cloned());
    root.is_some_and(|root| (root.size, root.volume_type.as_str()) == (16, "gp2"))
}

fn runs_image(run: &Run, key: &str) -> bool {
    let Some(id) = run.instance(NODE) else { return false };
    let world = run.world.0.borrow();
    world.cloud.instance(&id).map(|instance| &instance.image_id) == run.notes.get(key)
}

fn tags_and_type_are_new(run: &Run) -> bool {
    let Some(id) = run.instance(NODE) else { return false };
    let world = run.world.0.borrow();
    let Some(instance) = world.cloud.instance(&id) else { return false };
    let network = world.records.get(NODE).and_then(|r| r.network.clone());
    let interface = network.and_then(|n| world.cloud.network_interface(n.eni_id.as_str()));
    let tagged = |tags: &perennial_cloud::model::Tags| tags.get("team").is_some_and(|team| team == "blue");
    instance.instance_type == "c5.large"
        && tagged(&instance.tags)
        && interface.is_some_and(|i| tagged(&i.tags))
}

pub(super) const STORIES: &[Story] = &[
    Story {
        name: "stopped by hand and started again",
        acts: &[
            PUT_ON_DEMAND,
            RUNS,
            Do(remember),
            Do(|run| run.stop(NODE)),
            Minutes(5),
            Must("it is left alone", |run| is(run, Phase::Running) && run.instance(NODE).is_some()),
            Do(|run| run.start(NODE)),
            Minutes(5),
            RUNS,
            Must("it is the same instance", |run| run.instance(NODE).as_ref() == run.notes.get("instance")),
        ],
    },
    Story {
        name: "stopped by hand before anyone saw it run, and started again",
        acts: &[
            PUT_ON_DEMAND,
            Until("there is an instance", |run| run.instance(NODE).is_some()),
            Do(stops_unseen),
            Minutes(3),
            // Whoever looked sooner found it running.
            Must("it is left alone", |run| is_stopped(run) && !is(run, Phase::Launching)),
            Do(|run| run.start(NODE)),
            RUNS,
        ],
    },
    Story {
        name: "stopped by hand, then paused",
        acts: &[PUT_ON_DEMAND, RUNS, Do(|run| run.stop(NODE)), Minutes(3), PAUSE, RESTS, RUN, RUNS_AGAIN],
    },
    Story {
        name: "root to go with its instance, found by the tick, then terminated",
        acts: &[
            PUT,
            RUNS,
            Do(|run| run.root_goes_with_it(NODE)),
            Minutes(3),
            Do(|run| run.terminate(NODE)),
            RUNS_AGAIN,
        ],
    },
    Story {
        name: "root to go with its instance, terminated before anyone looked",
        acts: &[
            PUT,
            RUNS,
            Until("there is a recovery point", |run| run.has_recovery_point(NODE)),
            Do(|run| run.root_goes_with_it(NODE)),
            Do(|run| run.terminate(NODE)),
            DATA_MISSING,
            Must("candidates are named", |run| {
                record_of(run, |r| r.blocked.as_ref().is_some_and(|b| b.message.contains("snap-")))
                    == Some(true)
            }),
            Do(|run| run.restore_from_newest(NODE)),
            RUNS_AGAIN,
        ],
    },
    Story {
        name: "interface to go with its instance, terminated before anyone looked",
        acts: &[
            PUT,
            RUNS,
            Do(|run| run.interface_goes_with_it(NODE)),
            Do(|run| run.terminate(NODE)),
            RUNS_AGAIN,
        ],
    },
    Story {
        name: "kept interface deleted while paused",
        acts: &[PUT, RUNS, PAUSE, RESTS, Do(|run| run.drop_interface(NODE)), Minutes(2), RUN, RUNS_AGAIN],
    },
    Story {
        name: "kept interface deleted and its address taken, then freed",
        acts: &[
            PUT,
            RUNS,
            PAUSE,
            RESTS,
            Do(|run| run.drop_interface(NODE)),
            Do(|run| run.take_address(NODE)),
            RUN,
            Until("it is blocked: address-taken", |run| blocked(run, "address-taken")),
            Do(Run::free_address),
            RUNS_AGAIN,
        ],
    },
    Story {
        name: "image deregistered while paused",
        acts: &[
            PUT,
            RUNS,
            PAUSE,
            RESTS,
            Do(|run| run.deregister_image(NODE)),
            Minutes(40),
            RESTS,
            RUN,
            RUNS_AGAIN,
        ],
    },
    Story {
        name: "image deregistered while paused, and resumed at once",
        acts: &[PUT, RUNS, PAUSE, RESTS, Do(|run| run.deregister_image(NODE)), RUN, RUNS_AGAIN],
    },
    Story {
        name: "image and final snapshot deleted while paused",
        acts: &[
            PUT,
            RUNS,
            PAUSE,
            RESTS,
            Do(|run| run.deregister_image(NODE)),
            Do(|run| run.delete_final(NODE)),
            Minutes(40),
            RESTS,
            RUN,
            RUNS_AGAIN,
        ],
    },
    Story {
        name: "image, final snapshot and volume deleted while paused",
        acts: &[
            PUT,
            RUNS,
            PAUSE,
            RESTS,
            Do(own_snapshot),
            Do(take_all),
            DATA_MISSING,
            RUN,
            Minutes(3),
            Do(restore_from_own),
            RUNS_AGAIN,
        ],
    },
    Story {
        name: "root deleted while releasing, restored from an older point",
        acts: &[
            PUT,
            RUNS,
            Minutes(5),
            Do(lose_root),
            DATA_MISSING,
            Do(|run| run.restore_from_newest(NODE)),
            RUNS_AGAIN,
        ],
    },
    Story {
        name: "root deleted in the second cycle, restored from the final snapshot of the first",
        acts: &[
            PUT,
            RUNS,
            Minutes(5),
            RECYCLE,
            Until("it runs in its second cycle", |run| {
                is(run, Phase::Running) && record_of(run, |record| record.cycle) == Some(2)
            }),
            Do(lose_root),
            DATA_MISSING,
            Do(|run| run.restore_from_newest_final(NODE)),
            Until("it runs steadily again", |run| is_settled_in(run, 4)),
        ],
    },
    Story {
        name: "root deleted while releasing, then given up",
        acts: &[PUT, RUNS, Minutes(5), Do(lose_root), DATA_MISSING, DEALLOCATE, GONE],
    },
    Story {
        name: "root deleted while releasing, then released",
        acts: &[PUT, RUNS, Minutes(5), Do(lose_root), DATA_MISSING, RELEASE, GONE],
    },
    Story {
        name: "root grown and of another type",
        acts: &[
            PUT,
            RUNS,
            Do(|run| run.grow_root(NODE)),
            RECYCLE,
            RUNS_AGAIN,
            Must("the new root is as large and of that type", has_grown),
        ],
    },
    Story {
        name: "root swapped by hand",
        acts: &[
            PUT,
            RUNS,
            Do(|run| run.swap_root(NODE)),
            Minutes(5),
            Do(|run| run.interrupt(NODE, true)),
            RUNS_AGAIN,
        ],
    },
    Story {
        name: "launch template deleted",
        acts: &[
            PUT,
            RUNS,
            Do(Run::delete_template),
            Do(|run| run.interrupt(NODE, true)),
            Until("it is blocked: template-missing", |run| blocked(run, "template-missing")),
            Do(Run::make_template),
            Do(|run| {
                let id = run.notes.get("template").cloned();
                run.edit(NODE, |item| item["launch"]["template"] = json!({"id": id}));
            }),
            RUNS_AGAIN,
        ],
    },
    Story {
        name: "groups, types and tags changed",
        acts: &[
            PUT,
            RUNS,
            Do(Run::change_groups),
            Do(|run| {
                run.edit(NODE, |item| {
                    item["launch"]["template"]["version"] = json!("$Latest");
                    item["launch"]["instanceTypes"] = json!(["c5.large"]);
                    item["tags"] = json!({"team": "blue"});
                });
            }),
            Minutes(3),
            Must("nothing changes before the next launch", |run| !groups_are_new(run)),
            RECYCLE,
            RUNS_AGAIN,
            Must("the kept interface has the new groups", groups_are_new),
            Must("instance and interface have the new tags, and the type is new", tags_and_type_are_new),
        ],
    },
    Story {
        name: "image changed with the root kept",
        acts: &[
            PUT,
            RUNS,
            Do(Run::make_image),
            Minutes(2),
            Do(|run| {
                let id = run.notes.get("image").cloned();
                run.edit(NODE, |item| item["launch"]["image"] = json!(id));
            }),
            Until("the edit is accepted, and the answer says that it has no effect", |run| {
                let id = run.notes.get("image");
                let in_force = record_of(run, |r| r.config().launch.image.as_ref().map(|id| id.to_string()));
                let status = run.status(NODE);
                let is_told = status["notices"].to_string().contains("launch.image");
                in_force.flatten().as_ref() == id && status["accepted"] == true && is_told
            }),
            RECYCLE,
            RUNS_AGAIN,
            Must("it does not run that image", |run| !runs_image(run, "image")),
        ],
    },
    Story {
        name: "image changed by taking the root out for one cycle",
        acts: &[
            PUT,
            RUNS,
            Do(Run::make_image),
            Minutes(2),
            Do(|run| {
                let id = run.notes.get("image").cloned();
                run.edit(NODE, |item| {
                    item["persist"] = json!({"network": {}});
                    item["launch"]["image"] = json!(id);
                });
            }),
            RECYCLE,
            RUNS_AGAIN,
            Must("it runs that image", |run| runs_image(run, "image")),
            Do(|run| {
                run.edit(NODE, |item| {
                    item["persist"] = json!({"root": {"snapshotEvery": "2m"}, "network": {}})
                })
            }),
            Minutes(5),
            RUNS,
            Do(|run| run.interrupt(NODE, true)),
            Until("it runs in a third cycle", |run| is_settled_in(run, 3)),
        ],
    },
    Story {
        name: "the final snapshot fails once",
        acts: &[
            PUT,
            RUNS,
            Do(|run| run.terminate(NODE)),
            Until("the final snapshot is taken", |run| {
                let taken = |r: &Record| r.finals.first().is_some_and(|f| f.snapshot_id.is_some());
                record_of(run, |r| r.cycle > 1 || (r.phase == Phase::Capturing && taken(r))) == Some(true)
            }),
            Do(Run::fail_snapshots),
            RUNS_AGAIN,
        ],
    },
    Story {
        name: "the image fails once",
        acts: &[
            PUT,
            RUNS,
            Do(|run| run.terminate(NODE)),
            Until("the image is registered", |run| {
                let registered = |r: &Record| r.image.as_ref().is_some_and(|i| i.id.is_some());
                record_of(run, |r| r.cycle > 1 || (r.phase == Phase::Imaging && registered(r))) == Some(true)
            }),
            Do(Run::fail_images),
            RUNS_AGAIN,
        ],
    },
];

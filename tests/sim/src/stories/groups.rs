//! Groups: capacity, templates, replacing all members, members that come and go, the end of a group.

use jiff::SignedDuration;
use perennial_core::phase::Phase;
use serde_json::json;

use super::Act::{self, Do, Minutes, Must, Until};
use super::Story;
use super::shared::*;
use crate::deeds::{BY_HAND, Shape};
use crate::run::Run;

const A: &str = "cass-1";
const B: &str = "cass-2";
const C: &str = "cass-3";
/// A node of the operator's own.
const OWN: &str = "seed";

const ONE: Act = Do(|run| run.put_group(Shape { capacity: 1, pool: 0, elastic_ips: 0 }));
const TWO: Act = Do(|run| run.put_group(Shape { capacity: 2, pool: 0, elastic_ips: 0 }));
const POOL_OF_TWO: Act = Do(|run| run.put_group(Shape { capacity: 2, pool: 2, elastic_ips: 0 }));
const ONE_RUNS: Act = Until("one member runs", |run| run_steadily(run, 1));
const TWO_RUN: Act = Until("two members run", |run| run_steadily(run, 2));
const REMEMBER: Act = Do(remember_members);
const ROLL: Act = Do(Run::roll);
const SAME_ADDRESSES: Act = Must("each has its address still", same_addresses);
const SAME_INSTANCES: Act = Must("each is on its instance still", same_instances);
const TWO_RUN_ANEW: Act =
    Until("both run in their second cycle", |run| runs_in(run, A, 2) && runs_in(run, B, 2) && quiet(run));

/// Whether the first member is being replaced, or was.
fn first_is_replaced(run: &Run) -> bool {
    run.record(A).is_some_and(|record| record.phase != Phase::Running || record.cycle > 1)
}

fn suspend(run: &mut Run, suspend: bool) {
    run.edit_group(|item| item["suspend"] = json!(suspend));
}

fn is_suspended(run: &Run, suspend: bool) -> bool {
    let world = run.world.0.borrow();
    let is = |node: &str| world.records.get(node).is_some_and(|it| it.config().suspend == suspend);
    is(A) && is(B)
}

fn runs_type(run: &Run, instance_type: &str) -> bool {
    let Some(id) = run.instance(A) else { return false };
    run.world.0.borrow().cloud.instance(&id).is_some_and(|it| it.instance_type == instance_type)
}

fn all_stand(run: &Run, phase: Phase) -> bool {
    stands(run, A, phase) && stands(run, B, phase)
}

/// What is left under our tags: volumes, snapshots, images, interfaces.
fn nothing_is_left(run: &Run) -> bool {
    let world = run.world.0.borrow();
    let ours = |tags: &perennial_cloud::model::Tags| run.watch.is_ours(tags);
    !world.cloud.volumes().any(|it| ours(&it.tags))
        && !world.cloud.snapshots().any(|it| ours(&it.tags))
        && !world.cloud.images().any(|it| ours(&it.tags))
        && !world.cloud.network_interfaces().any(|it| ours(&it.tags))
}

pub(super) const STORIES: &[Story] = &[
    Story {
        name: "group: capacity up, down, to nothing and up again",
        acts: &[
            ONE,
            ONE_RUNS,
            Do(|run| run.set_capacity(2)),
            TWO_RUN,
            REMEMBER,
            Do(|run| run.set_capacity(1)),
            Until("the youngest rests", |run| run_steadily(run, 1) && stands(run, B, Phase::Paused)),
            Do(|run| run.set_capacity(0)),
            Until("both rest", |run| all_stand(run, Phase::Paused) && quiet(run)),
            Do(|run| run.set_capacity(2)),
            TWO_RUN,
            SAME_ADDRESSES,
        ],
    },
    Story {
        name: "group: an address kept over pause, resume and interruption",
        acts: &[
            ONE,
            ONE_RUNS,
            REMEMBER,
            Do(|run| run.want(A, "paused")),
            Until("it rests", |run| stands(run, A, Phase::Paused) && quiet(run)),
            SAME_ADDRESSES,
            Do(|run| run.leave_it_to_the_group(A)),
            ONE_RUNS,
            Do(|run| run.interrupt(A, true)),
            Until("it runs in its third cycle", |run| runs_in(run, A, 3) && quiet(run)),
            SAME_ADDRESSES,
        ],
    },
    Story {
        name: "group: a data volume comes along with its member",
        acts: &[
            TWO,
            TWO_RUN,
            Do(|run| run.edit_group(|item| item["persist"]["data"] = json!({"snapshotEvery": "2m"}))),
            Do(|run| drop(run.attach_fresh(A, BY_HAND, false))),
            Until("it is adopted", |run| {
                let is = |it: perennial_core::record::Record| it.data.iter().any(|it| !it.untagged);
                run.record(A).is_some_and(is) && quiet(run)
            }),
            Do(|run| run.interrupt(A, true)),
            Until("it runs in its second cycle", |run| runs_in(run, A, 2) && quiet(run)),
            Must("its data volume is back, and nobody else has one", |run| {
                run.data_volume(A, BY_HAND).is_some() && run.data_volume(B, BY_HAND).is_none()
            }),
        ],
    },
    Story {
        name: "group: a member paused by hand still counts",
        acts: &[
            TWO,
            TWO_RUN,
            Do(|run| run.want(B, "paused")),
            Until("it rests", |run| stands(run, B, Phase::Paused) && quiet(run)),
            Must("no other one is made", |run| run.members().len() == 2),
            Do(|run| run.leave_it_to_the_group(B)),
            TWO_RUN,
        ],
    },
    Story {
        name: "group: a new template reaches a member with its next launch",
        acts: &[
            TWO,
            TWO_RUN,
            REMEMBER,
            Do(|run| run.edit_group(|item| item["launch"]["instanceTypes"] = json!(["c5.large"]))),
            Minutes(4),
            SAME_INSTANCES,
            Do(|run| run.terminate(A)),
            Until("it runs in its second cycle", |run| runs_in(run, A, 2) && quiet(run)),
            Must("it is of the new type", |run| runs_type(run, "c5.large")),
            SAME_ADDRESSES,
        ],
    },
    Story {
        name: "group: all members replaced, one interrupted meanwhile",
        acts: &[
            TWO,
            TWO_RUN,
            REMEMBER,
            ROLL,
            Until("the first is replaced", first_is_replaced),
            Do(|run| run.interrupt(B, false)),
            TWO_RUN_ANEW,
            SAME_ADDRESSES,
        ],
    },
    Story {
        name: "group: replacing members stops at the first that is blocked",
        acts: &[
            TWO,
            TWO_RUN,
            ROLL,
            Until("its instance ends", |run| run.instance(A).is_none()),
            Do(|run| run.capacity(Some(0))),
            Until("the first is blocked for want of capacity", |run| run.is_blocked(A, "capacity")),
            Minutes(3),
            Must("the second is left alone", |run| run.record(B).is_some_and(|it| it.cycle == 1)),
            Do(|run| run.capacity(None)),
            TWO_RUN_ANEW,
        ],
    },
    Story {
        name: "group: all members replaced while one rests",
        acts: &[
            TWO,
            TWO_RUN,
            Do(|run| run.want(B, "paused")),
            Until("one rests", |run| stands(run, B, Phase::Paused) && quiet(run)),
            ROLL,
            Until("the other is replaced", |run| runs_in(run, A, 2) && quiet(run)),
            Do(|run| run.leave_it_to_the_group(B)),
            TWO_RUN,
            Minutes(3),
            Must("it was launched once for both", |run| run.record(B).is_some_and(|it| it.cycle == 2)),
        ],
    },
    Story {
        name: "group: deleted, and put back within retention",
        acts: &[
            TWO,
            TWO_RUN,
            REMEMBER,
            Do(Run::delete_group),
            Until("both are deallocated", |run| all_stand(run, Phase::Deallocated)),
            Minutes(5),
            Do(Run::put_group_back),
            TWO_RUN,
            SAME_ADDRESSES,
        ],
    },
    Story {
        name: "group: deleted, and put back before the next tick",
        acts: &[
            TWO,
            TWO_RUN,
            REMEMBER,
            Do(Run::delete_group),
            Do(|run| run.pass(SignedDuration::from_secs(20))),
            Do(Run::put_group_back),
            Minutes(5),
            TWO_RUN,
            SAME_ADDRESSES,
            SAME_INSTANCES,
        ],
    },
    Story {
        name: "group: deleted and purged",
        acts: &[
            POOL_OF_TWO,
            TWO_RUN,
            Do(Run::delete_group),
            Until("both are gone", |run| all_stand(run, Phase::Gone)),
            Must("nothing is left", nothing_is_left),
        ],
    },
    Story {
        name: "group: a member's item deleted, and another made in its place",
        acts: &[
            TWO,
            TWO_RUN,
            Do(|run| run.delete_item(B)),
            Until("another one runs", |run| run_steadily(run, 2) && run.is_settled(C)),
            Must("it is deallocated", |run| stands(run, B, Phase::Deallocated)),
        ],
    },
    Story {
        name: "group: a member's item deleted and put back within retention",
        acts: &[
            TWO,
            TWO_RUN,
            Do(|run| run.delete_item(B)),
            Until("another one runs", |run| run_steadily(run, 2) && run.is_settled(C)),
            Do(|run| run.put_member_back(B)),
            Until("it rests, since the capacity is served", |run| {
                stands(run, B, Phase::Paused) && quiet(run)
            }),
            Do(|run| run.set_capacity(3)),
            Until("all three run", |run| run_steadily(run, 3)),
        ],
    },
    Story {
        name: "group: a member deallocated by hand and purged",
        acts: &[
            TWO,
            TWO_RUN,
            Do(|run| run.want(B, "deallocated")),
            Until("another one runs", |run| run_steadily(run, 2) && run.is_settled(C)),
            Until("it is gone", |run| stands(run, B, Phase::Gone) && quiet(run)),
        ],
    },
    Story {
        name: "group: a node joins, and leaves again",
        acts: &[
            ONE,
            ONE_RUNS,
            Do(|run| run.join(OWN)),
            Until("it rests, since the capacity is served", |run| {
                stands(run, OWN, Phase::Paused) && quiet(run)
            }),
            Do(|run| run.set_capacity(2)),
            Until("it runs", |run| run_steadily(run, 2) && run.is_settled(OWN)),
            Must("no other one was made", |run| run.members() == [A, OWN]),
            Do(|run| run.put_node(OWN)),
            Until("another one runs in its place", |run| run_steadily(run, 2) && run.is_settled(B)),
            Must("it runs on by itself", |run| run.is_settled(OWN)),
        ],
    },
    Story {
        name: "group: a node that runs joins, and runs on",
        acts: &[
            Do(|run| run.put_node(OWN)),
            Until("it runs", |run| run.is_settled(OWN) && quiet(run)),
            ONE,
            ONE_RUNS,
            Do(|run| run.edit(OWN, |item| item["group"] = json!("cass"))),
            Until("it is a member", |run| run.members().len() == 2 && quiet(run)),
            Minutes(3),
        ],
    },
    Story {
        name: "group: suspended while one of it is interrupted",
        acts: &[
            TWO,
            TWO_RUN,
            REMEMBER,
            Do(|run| suspend(run, true)),
            Until("the edit has reached all", |run| is_suspended(run, true)),
            Do(|run| run.interrupt(A, true)),
            Do(|run| run.set_capacity(3)),
            Minutes(12),
            Must("nothing was launched", |run| run.instance(A).is_none() && run.record(C).is_none()),
            Do(|run| suspend(run, false)),
            Until("all three run", |run| run_steadily(run, 3)),
        ],
    },
    Story {
        name: "group: several edits in quick succession",
        acts: &[
            ONE,
            ONE_RUNS,
            Do(|run| run.set_capacity(0)),
            Do(|run| run.pass(SignedDuration::from_secs(30))),
            Do(|run| run.set_capacity(1)),
            Do(Run::roll),
            Do(|run| run.set_capacity(2)),
            Minutes(20),
            TWO_RUN,
        ],
    },
];

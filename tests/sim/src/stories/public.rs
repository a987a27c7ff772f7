//! Elastic IP addresses: handed out, kept, lost and found.

use perennial_core::phase::Phase;

use super::Act::{self, Do, Minutes, Must, Until};
use super::Story;
use super::shared::*;
use crate::deeds::Shape;
use crate::run::Run;

const A: &str = "cass-1";
const B: &str = "cass-2";
const C: &str = "cass-3";

const ONE_WITH_ONE: Act = Do(|run| run.put_group(Shape { capacity: 1, pool: 0, elastic_ips: 1 }));
const TWO_WITH_ONE: Act = Do(|run| run.put_group(Shape { capacity: 2, pool: 0, elastic_ips: 1 }));
const ONE_RUNS: Act = Until("one member runs", |run| run_steadily(run, 1));
const TWO_RUN: Act = Until("two members run", |run| run_steadily(run, 2));
const REMEMBER: Act = Do(remember_members);
const SAME_ADDRESSES: Act = Must("each has its addresses still", same_addresses);
const FIRST_HAS_ONE: Act = Must("the first has it", |run| run.elastic_ips_of(A).len() == 1);

fn first(run: &Run) -> String {
    run.elastic_ips().first().cloned().unwrap_or_default()
}

fn notices(run: &Run) -> usize {
    run.world.0.borrow().groups.values().map(|group| group.notices.len()).sum()
}

/// Whether the operator is told in the group's item that a pool is too short.
fn shortage_is_told(run: &Run) -> bool {
    let world = run.world.0.borrow();
    let item = world.config.get("group#cass");
    item.is_some_and(|item| item["_status"]["notices"].to_string().contains("too short"))
}

pub(super) const STORIES: &[Story] = &[
    Story {
        name: "elastic ip: associated, and found again after an interruption",
        acts: &[
            ONE_WITH_ONE,
            ONE_RUNS,
            FIRST_HAS_ONE,
            REMEMBER,
            Do(|run| run.interrupt(A, true)),
            Until("it runs again", |run| runs_in(run, A, 2) && quiet(run)),
            SAME_ADDRESSES,
        ],
    },
    Story {
        name: "elastic ip: gone with the instance, and associated again",
        acts: &[
            ONE_WITH_ONE,
            ONE_RUNS,
            REMEMBER,
            Do(|run| run.terminate(A)),
            Until("its instance ends", |run| run.instance(A).is_none()),
            Do(|run| {
                let id = first(run);
                run.disassociate(&id);
            }),
            Until("it runs again", |run| runs_in(run, A, 2) && quiet(run)),
            SAME_ADDRESSES,
        ],
    },
    Story {
        name: "elastic ip: disassociated by hand, and associated again",
        acts: &[
            ONE_WITH_ONE,
            ONE_RUNS,
            REMEMBER,
            Do(|run| {
                let id = first(run);
                run.disassociate(&id);
            }),
            Minutes(3),
            ONE_RUNS,
            SAME_ADDRESSES,
        ],
    },
    Story {
        name: "elastic ip: taken by a stranger, then freed",
        acts: &[
            ONE_WITH_ONE,
            ONE_RUNS,
            REMEMBER,
            Do(|run| {
                let id = first(run);
                run.take_elastic_ip(&id);
            }),
            Until("it is marked", |run| run.is_blocked(A, "elastic-ip-in-use")),
            Minutes(3),
            Must("it runs all the same", |run| stands(run, A, Phase::Running)),
            Do(Run::free_elastic_ip),
            ONE_RUNS,
            SAME_ADDRESSES,
        ],
    },
    Story {
        name: "elastic ip: taken by a stranger while its node is interrupted, then freed",
        acts: &[
            ONE_WITH_ONE,
            ONE_RUNS,
            REMEMBER,
            Do(|run| run.interrupt(A, false)),
            Do(|run| {
                let id = first(run);
                run.take_elastic_ip(&id);
            }),
            Until("it is marked", |run| run.is_blocked(A, "elastic-ip-in-use")),
            Do(Run::free_elastic_ip),
            Until("it runs again", |run| runs_in(run, A, 2) && quiet(run)),
            SAME_ADDRESSES,
        ],
    },
    Story {
        name: "elastic ip: too few, healed by adding one",
        acts: &[
            TWO_WITH_ONE,
            TWO_RUN,
            FIRST_HAS_ONE,
            Until("the operator is told", |run| notices(run) == 1 && shortage_is_told(run)),
            Do(|run| {
                run.allocate(1);
                let all = run.elastic_ips();
                run.set_elastic_ips(&all);
            }),
            Until("the second has one", |run| run.elastic_ips_of(B).len() == 1 && quiet(run)),
            Must("no shortage is left", |run| notices(run) == 0),
        ],
    },
    Story {
        name: "elastic ip: too few, healed by deallocating who has one",
        acts: &[
            TWO_WITH_ONE,
            TWO_RUN,
            FIRST_HAS_ONE,
            Do(|run| run.want(A, "deallocated")),
            Until("the second has it", |run| run.elastic_ips_of(B).len() == 1 && run_steadily(run, 2)),
            Must("the first has none", |run| run.elastic_ips_of(A).is_empty() && run.is_settled(C)),
        ],
    },
    Story {
        name: "elastic ip: kept by one that rests",
        acts: &[
            TWO_WITH_ONE,
            TWO_RUN,
            REMEMBER,
            Do(|run| run.want(A, "paused")),
            Until("it rests", |run| stands(run, A, Phase::Paused) && quiet(run)),
            FIRST_HAS_ONE,
            Do(|run| run.leave_it_to_the_group(A)),
            TWO_RUN,
            SAME_ADDRESSES,
        ],
    },
    Story {
        name: "elastic ip: taken out of the pool, and kept by who has it",
        acts: &[
            ONE_WITH_ONE,
            ONE_RUNS,
            REMEMBER,
            Do(|run| run.set_elastic_ips(&[])),
            Minutes(3),
            ONE_RUNS,
            SAME_ADDRESSES,
            Until("the operator is told", |run| notices(run) == 1),
        ],
    },
    Story {
        name: "elastic ip: one of a node's own, replaced by another and taken out",
        acts: &[
            Do(|run| {
                run.put_node("seed");
                run.allocate(2);
                let own = run.elastic_ips();
                run.edit("seed", |item| {
                    item["persist"]["network"] = serde_json::json!({"elasticIp": own[0]});
                });
            }),
            Until("it has the first", |run| {
                run.elastic_ips_of("seed") == run.elastic_ips()[..1] && run.is_settled("seed")
            }),
            Do(|run| {
                let other = run.elastic_ips().get(1).cloned();
                run.edit("seed", |item| item["persist"]["network"]["elasticIp"] = serde_json::json!(other));
            }),
            Until("it has the second", |run| run.elastic_ips_of("seed") == run.elastic_ips()[1..]),
            Do(|run| {
                run.edit("seed", |item| item["persist"]["network"] = serde_json::json!({}));
            }),
            Until("it has none", |run| run.elastic_ips_of("seed").is_empty() && quiet(run)),
        ],
    },
    Story {
        name: "elastic ip: its group deleted, so that a node can have it",
        acts: &[
            ONE_WITH_ONE,
            ONE_RUNS,
            Do(Run::delete_group),
            Until("it is deallocated", |run| stands(run, A, Phase::Deallocated) && quiet(run)),
            Must("it has none", |run| run.elastic_ips_of(A).is_empty()),
            Do(|run| {
                run.put_node("seed");
                let id = first(run);
                run.edit("seed", |item| {
                    item["persist"]["network"] = serde_json::json!({"elasticIp": id});
                });
            }),
            Until("the node has it", |run| run.elastic_ips_of("seed").len() == 1 && run.is_settled("seed")),
        ],
    },
];

//! Pools of private addresses: who has which, and what becomes of it.

use perennial_core::phase::Phase;
use serde_json::json;

use super::Act::{self, Do, Minutes, Must, Until};
use super::Story;
use super::shared::*;
use crate::deeds::{POOL, Shape};
use crate::run::Run;

const A: &str = "cass-1";
const B: &str = "cass-2";
const C: &str = "cass-3";
const D: &str = "cass-4";

const ONE_OF_TWO: Act = Do(|run| run.put_group(Shape { capacity: 1, pool: 2, elastic_ips: 0 }));
const TWO_OF_TWO: Act = Do(|run| run.put_group(Shape { capacity: 2, pool: 2, elastic_ips: 0 }));
const NONE_OF_ONE: Act = Do(|run| run.put_group(Shape { capacity: 0, pool: 1, elastic_ips: 0 }));
const ONE_RUNS: Act = Until("one member runs", |run| run_steadily(run, 1));
const TWO_RUN: Act = Until("two members run", |run| run_steadily(run, 2));
const QUIET: Act = Until("all is quiet", quiet);
const REMEMBER: Act = Do(remember_members);
const SAME_ADDRESSES: Act = Must("each has its address still", same_addresses);

fn has(run: &Run, node: &str, address: &str) -> bool {
    run.address(node).is_some_and(|it| it == address)
}

fn rests_with(run: &Run, node: &str, address: &str) -> bool {
    stands(run, node, Phase::Paused) && has(run, node, address) && quiet(run)
}

fn is_given_up(run: &Run, node: &str) -> bool {
    let gone = run.record(node).is_none_or(|it| matches!(it.phase, Phase::Deallocated | Phase::Gone));
    gone && !run.members().iter().any(|member| member == node)
}

pub(super) const STORIES: &[Story] = &[
    Story {
        name: "pool: a ring of three interrupted at once comes back with its addresses",
        acts: &[
            Do(|run| run.put_group(Shape { capacity: 3, pool: 3, elastic_ips: 2 })),
            Until("all three run", |run| run_steadily(run, 3)),
            REMEMBER,
            Do(|run| [A, B, C].into_iter().for_each(|node| run.interrupt(node, true))),
            Until("all three run again", |run| {
                [A, B, C].into_iter().all(|node| runs_in(run, node, 2)) && quiet(run)
            }),
            SAME_ADDRESSES,
            Must("they are those of the pool, in its order", |run| {
                [A, B, C].into_iter().zip(POOL).all(|(node, address)| has(run, node, address))
            }),
            Must("the first two have Elastic IP addresses", |run| {
                [A, B, C].map(|node| run.elastic_ips_of(node).len()) == [1, 1, 0]
            }),
        ],
    },
    Story {
        name: "pool: larger than the capacity, and one resumed by the operator",
        acts: &[
            ONE_OF_TWO,
            ONE_RUNS,
            Must("the other rests with its address", |run| rests_with(run, B, POOL[1])),
            Do(|run| run.want(B, "running")),
            TWO_RUN,
            Must("each has its address", |run| has(run, A, POOL[0]) && has(run, B, POOL[1])),
        ],
    },
    Story {
        name: "pool: more members than addresses",
        acts: &[
            Do(|run| run.put_group(Shape { capacity: 2, pool: 1, elastic_ips: 0 })),
            TWO_RUN,
            Must("the first has the pool's", |run| has(run, A, POOL[0]) && run.address(B).is_some()),
            Do(|run| run.set_pool(&POOL[..2])),
            Until("the new address has its member", |run| rests_with(run, C, POOL[1])),
        ],
    },
    Story {
        name: "pool: a member that ran is deallocated, and its successor has the address",
        acts: &[
            TWO_OF_TWO,
            TWO_RUN,
            Do(|run| run.want(A, "deallocated")),
            Until("its successor runs", |run| run_steadily(run, 2) && run.is_settled(C)),
            Must("with the address", |run| has(run, C, POOL[0]) && is_given_up(run, A)),
        ],
    },
    Story {
        name: "pool: a member's item is deleted, and its successor has the address",
        acts: &[
            TWO_OF_TWO,
            TWO_RUN,
            Do(|run| run.delete_item(A)),
            Until("its successor runs", |run| run_steadily(run, 2) && run.is_settled(C)),
            Must("with the address", |run| has(run, C, POOL[0]) && is_given_up(run, A)),
        ],
    },
    Story {
        name: "pool: a deallocated member put back before its successor ran",
        acts: &[
            TWO_OF_TWO,
            TWO_RUN,
            Do(|run| run.set_capacity(1)),
            Until("the second rests", |run| rests_with(run, B, POOL[1])),
            Do(|run| run.want(B, "deallocated")),
            Until("its successor rests with the address", |run| rests_with(run, C, POOL[1])),
            Do(|run| run.leave_it_to_the_group(B)),
            Until("it has its address again", |run| rests_with(run, B, POOL[1])),
            Must("the successor is given up", |run| is_given_up(run, C)),
            Do(|run| run.set_capacity(2)),
            TWO_RUN,
            Must("with its address", |run| has(run, B, POOL[1])),
        ],
    },
    Story {
        name: "pool: a deallocated member put back after its successor ran",
        acts: &[
            TWO_OF_TWO,
            TWO_RUN,
            Do(|run| run.want(B, "deallocated")),
            Until("its successor runs", |run| run_steadily(run, 2) && run.is_settled(C)),
            Do(|run| run.want(B, "running")),
            Until("all three run", |run| run_steadily(run, 3)),
            Must("it has another address, and knows of it", |run| {
                let notices = run.status(B)["notices"].to_string();
                !has(run, B, POOL[1]) && has(run, C, POOL[1]) && notices.contains(POOL[1])
            }),
        ],
    },
    Story {
        name: "pool: the address of a member that never ran removed, and added again",
        acts: &[
            ONE_OF_TWO,
            ONE_RUNS,
            Do(|run| run.set_pool(&POOL[..1])),
            Until("its member is given up", |run| is_given_up(run, B) && quiet(run)),
            Do(|run| run.set_pool(&POOL[..2])),
            Until("a member rests with the address", |run| {
                [B, C].into_iter().any(|node| rests_with(run, node, POOL[1]))
            }),
        ],
    },
    Story {
        name: "pool: the address of a member that ran removed, and added again",
        acts: &[
            TWO_OF_TWO,
            TWO_RUN,
            REMEMBER,
            Do(|run| run.set_pool(&POOL[..1])),
            Minutes(4),
            SAME_ADDRESSES,
            Do(|run| run.set_pool(&POOL[..2])),
            Minutes(4),
            TWO_RUN,
            SAME_ADDRESSES,
        ],
    },
    Story {
        name: "pool: one address removed and another added at once",
        acts: &[
            ONE_OF_TWO,
            ONE_RUNS,
            Do(|run| run.set_pool(&[POOL[2], POOL[0]])),
            Until("the new address has its member", |run| rests_with(run, C, POOL[2])),
            Must("the old one has none", |run| is_given_up(run, B) && run.is_settled(A)),
        ],
    },
    Story {
        name: "pool: the option removed",
        acts: &[
            ONE_OF_TWO,
            ONE_RUNS,
            REMEMBER,
            Do(|run| run.edit_group(|item| item["persist"]["network"] = json!({}))),
            Until("whoever never ran is given up", |run| is_given_up(run, B) && quiet(run)),
            Must("whoever ran runs on", |run| run.is_settled(A) && has(run, A, POOL[0])),
        ],
    },
    Story {
        name: "pool: put in with the capacity at nothing, resumed, and rested again",
        acts: &[
            NONE_OF_ONE,
            Until("it rests with its address", |run| rests_with(run, A, POOL[0])),
            Do(|run| run.set_capacity(1)),
            ONE_RUNS,
            Do(|run| run.set_capacity(0)),
            Until("it rests with its address", |run| rests_with(run, A, POOL[0])),
        ],
    },
    Story {
        name: "pool: the interface of one that rests deleted by hand",
        acts: &[
            NONE_OF_ONE,
            Until("it rests with its address", |run| rests_with(run, A, POOL[0])),
            Do(|run| run.drop_interface(A)),
            Until("its address is held again", |run| rests_with(run, A, POOL[0])),
            Do(|run| run.set_capacity(1)),
            ONE_RUNS,
            Must("it has its address", |run| has(run, A, POOL[0])),
        ],
    },
    Story {
        name: "pool: the interface of one that rests deleted, and its address taken and freed",
        acts: &[
            NONE_OF_ONE,
            Until("it rests with its address", |run| rests_with(run, A, POOL[0])),
            Do(|run| run.drop_interface(A)),
            Do(|run| run.take_address(A)),
            Do(|run| run.set_capacity(1)),
            Until("it is blocked, naming who has it", |run| {
                let taker = run.notes.get("taker").cloned().unwrap_or_default();
                run.record(A)
                    .and_then(|it| it.blocked)
                    .is_some_and(|it| it.code == "address-taken" && it.message.contains(&taker))
            }),
            Do(Run::free_address),
            ONE_RUNS,
            Must("it has its address", |run| has(run, A, POOL[0])),
        ],
    },
    Story {
        name: "pool: an address in use is refused, and accepted once it is free",
        acts: &[
            Do(|run| run.take(POOL[0])),
            NONE_OF_ONE,
            Minutes(3),
            Must("nothing was made", |run| run.world.0.borrow().groups.is_empty() && run.nodes().is_empty()),
            Do(Run::free_address),
            Until("it rests with its address", |run| rests_with(run, A, POOL[0])),
        ],
    },
    Story {
        name: "pool: secondary addresses stay with an interface that is made again",
        acts: &[
            Do(|run| run.put_group(Shape { capacity: 1, pool: 1, elastic_ips: 0 })),
            ONE_RUNS,
            Do(|run| run.assign_secondary(A, 2)),
            Do(|run| run.interrupt(A, false)),
            Until("it runs again", |run| runs_in(run, A, 2) && quiet(run)),
            Do(|run| run.set_capacity(0)),
            Until("it rests with its address", |run| rests_with(run, A, POOL[0])),
            Do(|run| run.drop_interface(A)),
            Until("its address is held again", |run| rests_with(run, A, POOL[0])),
            Must("the others as well", |run| {
                let network = run.record(A).and_then(|it| it.network);
                let world = run.world.0.borrow();
                let facts = network.and_then(|it| world.cloud.network_interface(it.eni_id.as_str()).cloned());
                facts.is_some_and(|it| it.secondary_ips.len() == 2)
            }),
        ],
    },
    Story {
        name: "pool: more addresses than the first type takes, so the next one is used",
        acts: &[
            NONE_OF_ONE,
            Until("it rests with its address", |run| rests_with(run, A, POOL[0])),
            Do(|run| run.assign_secondary(A, 2)),
            Do(|run| {
                run.edit_group(|item| {
                    item["launch"]["instanceTypes"] = json!(["t3.micro", "m5.large"]);
                    item["capacity"] = json!(1);
                });
            }),
            ONE_RUNS,
            Must("it is of the second type", |run| {
                let id = run.instance(A).unwrap_or_default();
                run.world.0.borrow().cloud.instance(&id).is_some_and(|it| it.instance_type == "m5.large")
            }),
        ],
    },
    Story {
        name: "pool: all members replaced, one at a time, with their addresses",
        acts: &[
            TWO_OF_TWO,
            TWO_RUN,
            REMEMBER,
            Do(Run::roll),
            Until("both run in their second cycle", |run| {
                runs_in(run, A, 2) && runs_in(run, B, 2) && quiet(run)
            }),
            SAME_ADDRESSES,
        ],
    },
    Story {
        name: "pool: deallocated twice over, and the first wanted back",
        acts: &[
            TWO_OF_TWO,
            TWO_RUN,
            Do(|run| run.set_capacity(1)),
            Until("the second rests", |run| rests_with(run, B, POOL[1])),
            Do(|run| run.want(B, "deallocated")),
            Until("its successor rests with the address", |run| rests_with(run, C, POOL[1])),
            Do(|run| run.want(C, "deallocated")),
            Until("the next one rests with the address", |run| rests_with(run, D, POOL[1])),
            Do(|run| run.leave_it_to_the_group(B)),
            Until("the first has its address again", |run| rests_with(run, B, POOL[1])),
            QUIET,
        ],
    },
];

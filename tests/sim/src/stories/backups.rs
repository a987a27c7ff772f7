//! Image backups of a group: taken, launched from, rotated; and what keeps them from being taken.

use jiff::SignedDuration;
use perennial_core::phase::Phase;
use serde_json::json;

use super::Act::{self, Do, Minutes, Must, Until};
use super::Story;
use super::shared::*;
use crate::deeds::MAPPED;
use crate::run::Run;

const A: &str = "cass-1";
const B: &str = "cass-2";

/// One member, backed up every ten minutes.
const ONE: Act = Do(|run| {
    run.add_foreign_backups();
    run.put_backed_up(1, json!({"keep": 2}));
});
const TWO: Act = Do(|run| run.put_backed_up(2, json!({"keep": 1})));
const ONE_RUNS: Act = Until("one member runs", |run| run.running_members().len() == 1);
const TWO_RUN: Act = Until("two members run", |run| run.running_members().len() == 2);
const REMEMBER: Act = Do(remember_backup);
const FIRST: Act = Until("there is a backup", |run| run.effective().is_some());
const NOW: Act = Do(Run::back_up_now);
const NEWER: Act = Until("there is a newer backup", newer_backup);
const A_IS_BACK: Act = Until("it runs in its second cycle", |run| runs_in(run, A, 2));
const DESCENDS: Act =
    Must("its volumes descend from its backup, with what was written", |run| has_what_was_written(run, A));

/// Whether the group's item was judged as it stands, and is in force.
pub(super) fn is_in_force(run: &Run) -> bool {
    let world = run.world.0.borrow();
    let item = world.config.get("group#cass");
    item.is_some_and(|item| {
        let hash = perennial_core::config::hash(item);
        item["_status"]["configHash"] == hash.as_str()
            && world.groups.get("cass").is_some_and(|group| group.config.hash == hash)
    })
}

/// Whether the group tells its operator something with this in it.
fn tells(run: &Run, what: &str) -> bool {
    let world = run.world.0.borrow();
    let status = world.config.get("group#cass").map(|item| item["_status"]["notices"].to_string());
    status.is_some_and(|status| status.contains(what))
}

/// No function runs for so long.
fn outage(run: &mut Run) {
    run.world.0.borrow_mut().cloud.pass(SignedDuration::from_mins(200));
}

/// Every image that is begun fails, until none is begun any more.
fn fail_until_given_up(run: &mut Run) {
    while run.until(SignedDuration::from_mins(10), |run| !run.pending_backups().is_empty())
        && run.watch.broken.is_none()
    {
        run.fail_images();
    }
}

/// The first member is taken back so that its next instance is not up yet at the tick.
fn interrupt_so_that_it_launches_at_the_tick(run: &mut Run) {
    let wait = (28 - run.now().as_second()).rem_euclid(60);
    run.pass(SignedDuration::from_secs(wait));
    run.interrupt(A, false);
}

fn all_impaired(run: &mut Run, impaired: bool) {
    run.impair(A, impaired);
    run.impair(B, impaired);
}

pub(super) const STORIES: &[Story] = &[
    Story {
        name: "backups: a member without persistence is back from the newest",
        acts: &[
            ONE,
            ONE_RUNS,
            FIRST,
            REMEMBER,
            NEWER,
            Do(|run| run.interrupt(A, true)),
            A_IS_BACK,
            DESCENDS,
            Must("it is from one of the two newest", |run| {
                run.launched_from(A).is_some_and(|it| run.available_backups().contains(&it))
            }),
        ],
    },
    Story {
        name: "backups: rotated to as many as are kept",
        acts: &[
            ONE,
            ONE_RUNS,
            Until("four were made", |run| run.backups_made() >= 4),
            Minutes(8),
            Must("two are left", |run| backups(run) == 2),
            Must("the first member runs on", |run| run.record(A).is_some_and(|it| it.cycle == 1)),
        ],
    },
    Story {
        name: "backups: on demand",
        acts: &[
            Do(|run| run.put_backed_up(1, json!({"frequency": "weekly", "keep": 3}))),
            ONE_RUNS,
            Minutes(2),
            REMEMBER,
            NOW,
            FIRST,
            REMEMBER,
            NOW,
            NEWER,
            Minutes(3),
            // Counted in the account: an event may be published a minute later.
            Must("one was made for each", |run| run.available_backups().len() == 2),
            Do(|run| run.terminate(A)),
            A_IS_BACK,
            DESCENDS,
        ],
    },
    Story {
        name: "backups: the image changed by hand, as the manual has it",
        acts: &[
            Do(|run| run.put_backed_up(2, json!({"frequency": "daily", "keep": 2, "now": 1}))),
            TWO_RUN,
            FIRST,
            REMEMBER,
            Do(|run| run.set_backups(None)),
            Until("that is in force", is_in_force),
            Must("the backup is still the one", same_backup),
            Do(Run::say_image),
            Until("that is in force", is_in_force),
            Must("the operator's image is the one", |run| run.effective().is_none()),
            Do(Run::roll),
            Until("both run the new image", |run| {
                let new = |node: &str| run.launched_from(node).as_ref() == run.notes.get("image");
                runs_in(run, A, 2) && runs_in(run, B, 2) && new(A) && new(B)
            }),
            Do(|run| run.set_backups(Some(json!({"frequency": "daily", "keep": 2, "now": 2})))),
            NEWER,
            REMEMBER,
            Do(|run| run.interrupt(A, false)),
            Until("it runs in its third cycle", |run| runs_in(run, A, 3)),
            Must("it descends from a backup of the new image", |run| {
                run.descends_from_backup(A) && same_backup(run)
            }),
        ],
    },
    Story {
        name: "backups: launch.image changed while they are on",
        acts: &[
            Do(|run| run.put_backed_up(1, json!({"frequency": "daily", "keep": 2, "now": 1}))),
            ONE_RUNS,
            FIRST,
            REMEMBER,
            Do(Run::say_image),
            Until("that is in force", is_in_force),
            Until("it is told that this has no effect", |run| tells(run, "launch.image")),
            Do(|run| run.interrupt(A, true)),
            A_IS_BACK,
            Must("it is from the backup", |run| {
                run.launched_from(A).as_ref() == run.notes.get("effective") && run.descends_from_backup(A)
            }),
        ],
    },
    Story {
        name: "backups: nobody is well, and then somebody is",
        acts: &[
            Do(|run| run.put_backed_up(2, json!({"frequency": "daily", "keep": 2}))),
            TWO_RUN,
            Do(|run| all_impaired(run, true)),
            NOW,
            Until("it is skipped, and told", |run| tells(run, "skipped")),
            Must("nothing was made", |run| backups(run) == 0 && run.pending_backups().is_empty()),
            Do(|run| all_impaired(run, false)),
            NOW,
            FIRST,
            Until("nothing is told any more", |run| !tells(run, "skipped")),
        ],
    },
    Story {
        name: "backups: an image made by hand is in the way",
        acts: &[
            Do(|run| run.put_backed_up(1, json!({"frequency": "daily", "keep": 2}))),
            ONE_RUNS,
            Minutes(2),
            Do(|run| run.image_by_hand(A)),
            NOW,
            FIRST,
            Must("the image made by hand is there still", |run| {
                run.world.0.borrow().cloud.image(&run.notes["own image"]).is_some()
            }),
        ],
    },
    Story {
        name: "backups: an image fails",
        acts: &[
            Do(|run| run.put_backed_up(1, json!({"frequency": "daily", "keep": 2, "now": 1}))),
            ONE_RUNS,
            FIRST,
            REMEMBER,
            NOW,
            Until("one is under way", |run| !run.pending_backups().is_empty()),
            Do(Run::fail_images),
            Minutes(1),
            Must("the one before is the one", same_backup),
            NEWER,
            Minutes(3),
            Must("both of them are there and nothing else", |run| backups(run) == 2),
        ],
    },
    Story {
        name: "backups: the snapshot of an image fails",
        acts: &[
            Do(|run| run.put_backed_up_with_data(1, json!({"frequency": "daily", "keep": 2, "now": 1}))),
            ONE_RUNS,
            FIRST,
            REMEMBER,
            NOW,
            Until("one is under way", |run| !run.pending_backups().is_empty()),
            Do(Run::fail_snapshots),
            Minutes(1),
            Must("the one before is the one", same_backup),
            NEWER,
            Minutes(3),
            Must("both of them are there and nothing else", |run| backups(run) == 2),
        ],
    },
    Story {
        name: "backups: none can be made, until somebody asks again",
        acts: &[
            Do(|run| run.put_backed_up(1, json!({"frequency": "weekly", "keep": 2}))),
            ONE_RUNS,
            Minutes(2),
            NOW,
            Do(fail_until_given_up),
            Must("nothing is there", |run| backups(run) == 0 && run.effective().is_none()),
            NOW,
            FIRST,
        ],
    },
    Story {
        name: "backups: the one in effect is deregistered by hand",
        acts: &[
            Do(|run| run.put_backed_up(1, json!({"frequency": "daily", "keep": 2, "now": 1}))),
            ONE_RUNS,
            FIRST,
            REMEMBER,
            NOW,
            NEWER,
            Do(Run::deregister_effective),
            Until("the one before takes its place", same_backup),
            Do(|run| run.interrupt(A, true)),
            A_IS_BACK,
            Must("it is from that", |run| run.launched_from(A).as_ref() == run.notes.get("effective")),
            Do(Run::deregister_effective),
            Until("none is left", |run| run.effective().is_none()),
            Do(|run| run.terminate(A)),
            Until("it runs from the template's image", |run| {
                runs_in(run, A, 3) && run.launched_from(A).as_ref() == Some(&run.defaults.image_id)
            }),
        ],
    },
    Story {
        name: "backups: members of the newest never come up",
        acts: &[
            TWO,
            TWO_RUN,
            FIRST,
            Do(|run| run.interrupt(A, false)),
            A_IS_BACK,
            Until("a member is known to have come up from it", |run| {
                run.backups().is_some_and(|it| it.list.iter().any(|it| it.proven_at.is_some()))
            }),
            REMEMBER,
            Do(|run| {
                let good = run.launched_from(A).unwrap_or_default();
                run.notes.insert("good", good);
            }),
            NOW,
            NEWER,
            Do(Run::spoil_backup),
            Do(|run| {
                let spoiled = run.effective().unwrap_or_default();
                run.notes.insert("spoiled", spoiled);
            }),
            Do(|run| run.interrupt(A, false)),
            Do(|run| run.interrupt(B, false)),
            Minutes(3),
            REMEMBER,
            Minutes(35),
            Must("no backup was taken of them", |run| made_since(run) == 0),
            Must("the last good image is there", |run| run.available_backups().contains(&run.notes["good"])),
            Do(Run::deregister_effective),
            Until("members are launched from it", |run| run.effective().as_ref() == run.notes.get("good")),
            Do(|run| run.terminate(A)),
            Do(|run| run.terminate(B)),
            // Whoever comes late finds a newer one, made of the other.
            Until("both are back from it, or from one that descends from it", |run| {
                let good = |node: &str| {
                    let from = run.launched_from(node);
                    from.is_some() && from.as_ref() != run.notes.get("spoiled")
                };
                run.is_settled(A) && run.is_settled(B) && good(A) && good(B)
            }),
        ],
    },
    Story {
        name: "backups: a missed one is made up for once",
        acts: &[
            Do(|run| run.put_backed_up(1, json!({"frequency": "hourly", "keep": 3}))),
            ONE_RUNS,
            FIRST,
            REMEMBER,
            Do(outage),
            NEWER,
            Minutes(10),
            Must("one was made for all of them", |run| made_since(run) == 1),
        ],
    },
    Story {
        name: "backups: a new member starts from the newest",
        acts: &[
            Do(|run| run.put_backed_up(1, json!({"frequency": "daily", "keep": 2}))),
            ONE_RUNS,
            Minutes(2),
            REMEMBER,
            NOW,
            FIRST,
            Do(|run| run.set_capacity(2)),
            TWO_RUN,
            Must("it has what was written on the first", |run| has_what_was_written(run, B)),
            Must("the first one runs on", |run| stands(run, A, Phase::Running) && runs_in(run, A, 1)),
        ],
    },
    Story {
        name: "backups: a member comes up while another image takes the place of its own",
        acts: &[
            Do(|run| run.put_backed_up(2, json!({"frequency": "daily", "keep": 1, "now": 1}))),
            TWO_RUN,
            FIRST,
            REMEMBER,
            NOW,
            Until("one is under way", |run| !run.pending_backups().is_empty()),
            Do(interrupt_so_that_it_launches_at_the_tick),
            NEWER,
            A_IS_BACK,
            Must("it is from one of them", |run| run.descends_from_backup(A)),
        ],
    },
    Story {
        name: "backups: a data volume that has grown",
        acts: &[
            Do(|run| run.put_backed_up_with_data(1, json!({"frequency": "daily", "keep": 2}))),
            ONE_RUNS,
            Minutes(2),
            Do(|run| run.grow_data(A, MAPPED)),
            Minutes(2),
            REMEMBER,
            NOW,
            FIRST,
            Do(|run| run.interrupt(A, true)),
            A_IS_BACK,
            DESCENDS,
            Must("it is as large as it was", |run| run.devices(A).contains(&(MAPPED.to_owned(), 9))),
        ],
    },
];

//! The invariants of the design, told from the account as its owner sees it.
//!
//! [`INVARIANTS`] is the complete list. Most are checked after every step, some once all is quiet, one by
//! comparing runs. A check looks at the account and at the records; it never trusts what the engine says of
//! itself where the account can tell.

mod backups;
mod data;
mod groups;
mod quiet;
mod steps;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use perennial_core::failure::Failure;
use perennial_core::names::{TAG_DEPLOYMENT, Tags};

pub use groups::GroupEnd;
pub use quiet::{End, NodeEnd, end, settled};

use crate::account::Foreign;
use crate::run::DEPLOYMENT;
use crate::world::World;

/// One invariant.
#[derive(Debug)]
pub struct Invariant {
    /// Its number in the design.
    pub number: usize,
    /// Its name.
    pub name: &'static str,
    /// What it says.
    pub says: &'static str,
    /// How it is checked.
    pub when: When,
}

/// When an invariant is checked.
#[derive(Clone, Copy, Debug)]
pub enum When {
    /// After every step.
    Always(fn(&mut Watch, &World) -> Option<String>),
    /// After every step, and more closely once all is quiet.
    AlwaysAndAtRest(fn(&mut Watch, &World) -> Option<String>, fn(&Watch, &World) -> Option<String>),
    /// Once all is quiet.
    AtRest(fn(&Watch, &World) -> Option<String>),
    /// By comparing the ends of runs that should end alike.
    AcrossRuns,
}

/// All of them, in the order of the design.
pub const INVARIANTS: [Invariant; 20] = [
    Invariant {
        number: 1,
        name: "no-byte-lost",
        says: "What the guest wrote before shutdown is on the next cycle's volumes, or the operator accepted the loss",
        when: When::AlwaysAndAtRest(steps::bytes, quiet::bytes),
    },
    Invariant {
        number: 2,
        name: "recovery-point",
        says: "A recovery point exists from the first completed snapshot until purge, and never gets older",
        when: When::Always(steps::recovery_point),
    },
    Invariant {
        number: 3,
        name: "one-instance",
        says: "At most one live instance per node; a kept interface or volume is on at most one instance",
        when: When::Always(steps::one_instance),
    },
    Invariant {
        number: 4,
        name: "successor-first",
        says: "A root or data volume, node image or final snapshot goes only as cleaning, rest or purge allows",
        when: When::Always(steps::successors),
    },
    Invariant {
        number: 5,
        name: "hands-off",
        says: "Nothing untagged, adopted or of another deployment is deleted or changed",
        when: When::Always(steps::foreign),
    },
    Invariant {
        number: 6,
        name: "rotation",
        says: "A line keeps as many completed snapshots as it is to keep; a resting node only the final one",
        when: When::AlwaysAndAtRest(steps::rotation, quiet::rotation),
    },
    Invariant {
        number: 7,
        name: "reachable",
        says: "Everything made is reachable from a record; after purge nothing is left but what was handed over",
        when: When::AtRest(quiet::reachable),
    },
    Invariant {
        number: 8,
        name: "same-end",
        says: "The same end whatever was lost, doubled, delayed or reordered, and wherever an invocation died",
        when: When::AcrossRuns,
    },
    Invariant {
        number: 9,
        name: "suspension",
        says: "Suspended means no changing call",
        when: When::Always(steps::suspension),
    },
    Invariant {
        number: 10,
        name: "no-dead-end",
        says: "Unfinished work has an appointment, and whatever is blocked names its remedy",
        when: When::AlwaysAndAtRest(steps::appointment, quiet::no_dead_end),
    },
    Invariant {
        number: 11,
        name: "one-address",
        says: "An address belongs to at most one member at a time, and whoever has one keeps it",
        when: When::Always(groups::one_address),
    },
    Invariant {
        number: 12,
        name: "pool",
        says: "Every address of a pool has one living member, whose interface holds it",
        when: When::AtRest(groups::pool),
    },
    Invariant {
        number: 13,
        name: "elastic-ip",
        says: "An Elastic IP address is on at most one member; none is taken from others or released",
        when: When::AlwaysAndAtRest(groups::elastic_ip, groups::elastic_ip_at_rest),
    },
    Invariant {
        number: 14,
        name: "interface-kept",
        says: "No interface goes while its node lives, unless a successor has its address",
        when: When::AlwaysAndAtRest(groups::interface_kept, groups::no_stray),
    },
    Invariant {
        number: 15,
        name: "capacity",
        says: "As many members as the capacity says run, and the others rest",
        when: When::AtRest(groups::capacity),
    },
    Invariant {
        number: 16,
        name: "one-at-a-time",
        says: "At most one member of a group is being replaced by its group's wish",
        when: When::Always(groups::one_at_a_time),
    },
    Invariant {
        number: 17,
        name: "backup-in-effect",
        says: "The backup that members are launched from can be launched, and so can the one a launch names",
        when: When::AlwaysAndAtRest(backups::in_effect, backups::in_effect_at_rest),
    },
    Invariant {
        number: 18,
        name: "one-backup",
        says: "At most one backup of a group is under way, and each is taken of a member that is well",
        when: When::Always(backups::one_at_once),
    },
    Invariant {
        number: 19,
        name: "backups-kept",
        says: "As many backups are kept as there are to be, the last one that a member came up from among them",
        when: When::AlwaysAndAtRest(backups::kept, backups::kept_at_rest),
    },
    Invariant {
        number: 20,
        name: "no-backup-left",
        says: "No snapshot of a backup outlives its image, and no backup its group beyond the retention",
        when: When::AtRest(backups::nothing_left),
    },
];

/// Something that may only go once its successor is proven.
#[derive(Clone, Debug)]
struct Kept {
    node: String,
    life: String,
    purpose: String,
    /// What of the node it is of.
    part: steps::Part,
    /// Whether it goes with its instance, or holds nothing.
    doomed: bool,
}

/// Watches a run. The first broken invariant is kept; later ones may only be its consequences.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    /// Things of others.
    pub foreign: Foreign,
    /// The last write that each node's guest was told is on its disk.
    acknowledged: BTreeMap<String, u64>,
    /// Which node each volume and snapshot ever seen under its tags belongs to.
    known: BTreeMap<String, String>,
    /// What the operator deleted and may only be gone later, such as a pending snapshot.
    taken: BTreeSet<String>,
    /// What each node's instance was proven good for at the last look: within one invocation much can happen.
    proven: BTreeSet<(String, steps::Part)>,
    /// Nodes whose last bytes the operator destroyed.
    lost: BTreeSet<String>,
    /// Nodes whose root the operator lets go with its instance.
    at_risk: BTreeSet<String>,
    /// Nodes whose root is not to be kept.
    unkept: BTreeSet<String>,
    /// What held each node's bytes when its root was taken out of the item: some of it must stay until the
    /// life ends, or until the root is kept again.
    left_behind: BTreeMap<String, BTreeSet<String>>,
    /// The recovery point that each node was restored from at the operator's word.
    restored: BTreeMap<String, String>,
    /// Root volumes, node images and final snapshots seen so far.
    kept: BTreeMap<String, Kept>,
    /// The newest recovery point of each life.
    newest: BTreeMap<(String, String), (Timestamp, String)>,
    /// Lines that have had as many completed rotated snapshots as they are to keep.
    full: BTreeSet<(String, u32)>,
    /// What is remembered of data volumes.
    data: data::Memory,
    /// What is remembered of groups and addresses.
    memory: groups::Memory,
    /// What is remembered of image backups.
    backups: backups::Memory,
    /// How often each invariant was checked.
    pub checked: [u64; INVARIANTS.len()],
    /// What was broken first, if anything was.
    pub broken: Option<String>,
    /// Failures that reached a handler.
    pub failures: Vec<Failure>,
    /// How often it looked.
    pub looks: u64,
}

impl Watch {
    /// A watch over an account that has these things of others.
    pub fn over(foreign: Foreign) -> Self {
        Self { foreign, ..Self::default() }
    }

    /// A guest was told that its write is on the disk.
    pub fn wrote(&mut self, node: &str, writes: u64) {
        let last = self.acknowledged.entry(node.to_owned()).or_default();
        if writes <= *last && !self.unkept.contains(node) {
            let found = writes - 1;
            let broken =
                format!("1 no-byte-lost: {node}: the guest found {found} writes where it had made {last}");
            self.broken.get_or_insert(broken);
        }
        *last = writes;
    }

    /// A guest was told that its write is on a data volume.
    pub fn wrote_data(&mut self, world: &World, volume: &str, writes: u64) {
        if let Err(broken) = self.data.wrote(world, volume, writes) {
            self.broken.get_or_insert(format!("1 no-byte-lost: {broken}"));
        }
    }

    /// The operator took a data volume off its node.
    pub fn left(&mut self, volume: &str) {
        self.data.left(volume);
    }

    /// The operator lets a data volume go with its instance.
    pub fn data_at_risk(&mut self, volume: &str) {
        self.data.at_risk(volume);
    }

    /// Whether a volume or snapshot is of a data volume.
    pub fn is_data(&self, id: &str) -> bool {
        self.data.line_of(id).is_some()
    }

    /// The last acknowledged write of a node.
    pub fn acknowledged(&self, node: &str) -> u64 {
        self.acknowledged.get(node).copied().unwrap_or_default()
    }

    /// The operator gave the node another root, with so many writes on it.
    pub fn starts_over(&mut self, node: &str, writes: u64) {
        self.acknowledged.insert(node.to_owned(), writes);
    }

    /// The operator lets the node's root go with its instance: what is lost by that is the operator's.
    pub fn at_risk(&mut self, node: &str) {
        self.at_risk.insert(node.to_owned());
    }

    /// The operator deleted something.
    pub fn took(&mut self, id: &str) {
        self.taken.insert(id.to_owned());
    }

    /// Whether a volume or snapshot was ever seen under a node's tags.
    pub fn is_of(&self, id: &str, node: &str) -> bool {
        self.known.get(id).is_some_and(|of| of == node)
    }

    /// Whether something carries the tag of this deployment.
    pub fn is_ours(&self, tags: &Tags) -> bool {
        is_ours(tags)
    }

    /// What is missing now was taken by the operator.
    pub fn forgive(&mut self, world: &World) {
        data::forgive(&mut self.data, world);
        steps::forgive(self, world);
        backups::forgive(&mut self.backups, world);
        groups::follow(&mut self.memory, world);
    }

    /// Looks at everything that must be so at any time.
    pub fn look(&mut self, world: &World) {
        self.looks += 1;
        if self.broken.is_some() {
            return;
        }
        data::follow(&mut self.data, world);
        steps::follow(self, world);
        for (n, invariant) in INVARIANTS.iter().enumerate() {
            let (When::Always(check) | When::AlwaysAndAtRest(check, _)) = invariant.when else { continue };
            self.checked[n] += 1;
            if let Some(broken) = check(self, world) {
                self.report(invariant, world, &broken);
                return;
            }
        }
        groups::follow(&mut self.memory, world);
        backups::follow(&mut self.backups, world);
    }

    /// Looks at what must be so once all is quiet.
    pub fn look_at_rest(&mut self, world: &World) {
        for (n, invariant) in INVARIANTS.iter().enumerate() {
            let (When::AtRest(check) | When::AlwaysAndAtRest(_, check)) = invariant.when else { continue };
            self.checked[n] += 1;
            if let (None, Some(broken)) = (&self.broken, check(self, world)) {
                self.report(invariant, world, &broken);
            }
        }
    }

    /// Two runs that should end alike were compared.
    pub fn compared(&mut self) {
        self.checked[7] += 1;
    }

    fn report(&mut self, invariant: &Invariant, world: &World, broken: &str) {
        let (number, name, now) = (invariant.number, invariant.name, world.cloud.now());
        self.broken = Some(format!("{number} {name}: {broken} (at {now})"));
    }
}

fn is_ours(tags: &Tags) -> bool {
    tags.get(TAG_DEPLOYMENT).is_some_and(|deployment| deployment == DEPLOYMENT)
}

/// The list of the invariants, and how often each was checked.
pub fn report(checked: &[u64; INVARIANTS.len()]) -> String {
    let line = |(invariant, times): (&Invariant, &u64)| {
        let Invariant { number, name, says, .. } = invariant;
        format!("  {number:>2} {name:<16} checked {times:>10} times  {says}\n")
    };
    INVARIANTS.iter().zip(checked).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_invariant_has_its_number_and_a_name_of_its_own() {
        let numbers: Vec<_> = INVARIANTS.iter().map(|i| i.number).collect();
        assert_eq!(numbers, (1..=20).collect::<Vec<_>>());
        let names: BTreeSet<_> = INVARIANTS.iter().map(|i| i.name).collect();
        assert_eq!(names.len(), INVARIANTS.len());
        let listed = report(&[0; 20]);
        assert!(INVARIANTS.iter().all(|i| listed.contains(i.name) && listed.contains(i.says)));
    }
}

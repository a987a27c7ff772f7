//! What a seed makes of data volumes.

use serde_json::{Value, json};

use super::{Deed, put};
use crate::deeds::{BY_HAND, MAPPED};
use crate::run::Run;

/// Something that happens to the data volumes of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataDeed {
    /// They are kept in this way, or no longer.
    Keep(Option<&'static str>),
    /// A fresh volume is attached by hand.
    Attach,
    /// The volume of the launch, or the one attached by hand, is detached.
    Detach(bool),
    /// The volume of the launch is made larger.
    Grow,
    /// It is deleted, if it is free.
    Delete,
    /// Its final snapshot is deleted.
    DeleteFinals,
    /// They are to go with their instance.
    Goes,
    /// The node is to be launched in another zone.
    Move(usize),
}

/// How the nodes of a schedule keep their data volumes in the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataShape {
    mode: &'static str,
    root: bool,
    network: bool,
}

/// Sets the draws of data volumes apart from all others.
const APART: u64 = 59_130_000;

/// The shape of a seed, if its nodes have data volumes.
pub(super) fn of(draw: &impl Fn(u64, u64) -> u64) -> Option<DataShape> {
    (draw(APART, 3) == 0).then(|| DataShape {
        mode: if draw(APART + 1, 2) == 0 { "reattach" } else { "snapshot" },
        root: draw(APART + 2, 6) != 0,
        network: draw(APART + 3, 2) == 0,
    })
}

fn deed(draw: impl Fn(u64) -> u64) -> Deed {
    Deed::Data(match draw(18) {
        0 => DataDeed::Keep(None),
        1..=2 => DataDeed::Keep(Some("reattach")),
        3 => DataDeed::Keep(Some("snapshot")),
        4..=7 => DataDeed::Attach,
        8 => DataDeed::Detach(false),
        9..=10 => DataDeed::Detach(true),
        11 => DataDeed::Grow,
        12 => DataDeed::Delete,
        13 => DataDeed::DeleteFinals,
        14 => DataDeed::Goes,
        15 => DataDeed::Move(0),
        _ => DataDeed::Move(1),
    })
}

/// The deeds of a schedule with those of data volumes among them.
pub(super) fn among(
    deeds: Vec<(i64, usize, Deed)>,
    nodes: u64,
    draw: &impl Fn(u64, u64) -> u64,
) -> Vec<(i64, usize, Deed)> {
    let mut all = Vec::new();
    for (n, one) in deeds.into_iter().enumerate() {
        let draw = |what: u64, most: u64| draw(APART + 100 + 10 * n as u64 + what, most);
        if draw(0, 2) == 0 {
            let pause = if draw(2, 2) == 0 { draw(3, 30) } else { draw(4, 300) } as i64;
            let which = draw(1, nodes) as usize;
            all.push((pause, which, deed(|most| draw(6, most * 7919) % most)));
        }
        all.push(one);
    }
    all
}

impl DataShape {
    /// Puts the nodes' items so from the beginning.
    pub(super) fn put(self, run: &mut Run, node: &str) {
        let mut persist = json!({"data": {"mode": self.mode, "snapshotEvery": "2m"}});
        if self.root {
            persist["root"] = json!({"snapshotEvery": "2m"});
        }
        if self.network {
            persist["network"] = json!({});
        }
        run.notes.insert("persist", persist.to_string());
        put(run, node);
    }
}

/// The item of a node as the schedule began with it.
pub(super) fn item(run: &mut Run, node: &str) -> Option<Value> {
    let persist = serde_json::from_str(run.notes.get("persist")?).ok()?;
    Some(run.item_with_data(node, persist))
}

impl DataDeed {
    pub(super) fn be_done(self, run: &mut Run, node: &str) {
        match self {
            Self::Keep(mode) => run.keep_data(node, mode),
            Self::Attach => {
                let is_free = run.data_volume(node, BY_HAND).is_none();
                if is_free {
                    run.attach_fresh(node, BY_HAND, false);
                }
            }
            Self::Detach(by_hand) => drop(run.detach(node, if by_hand { BY_HAND } else { MAPPED })),
            Self::Grow => run.grow_data(node, MAPPED),
            Self::Delete => run.delete_data(node, MAPPED),
            Self::DeleteFinals => run.delete_data_finals(node),
            Self::Goes => run.data_goes_with_it(node),
            Self::Move(nth) => run.move_to_zone(node, nth),
        }
    }
}

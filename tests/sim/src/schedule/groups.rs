//! What a seed makes of a group beside the single nodes.

use serde_json::json;

use super::{Deed, NODES};
use crate::deeds::{POOL, Shape, member};
use crate::faults::mix;
use crate::run::Run;

/// Something that happens to the group, to one of its members, or to an address of theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupDeed {
    /// So many are to run.
    Capacity(u32),
    /// Its pool has these addresses: a bit for each.
    Pool(u8),
    /// Its pool has so many of the account's Elastic IP addresses.
    ElasticIps(usize),
    /// Another Elastic IP address is allocated.
    Allocate,
    /// All members are to be replaced.
    Roll,
    /// Its item is deleted.
    Delete,
    /// Its item is put back.
    PutBack,
    /// Its item is suspended, or no longer.
    Suspend(bool),
    /// Its template names other types.
    Types(bool),
    /// What a member is to be is left to the group.
    Leave,
    /// A member's item is put back as the group had made it.
    PutMember,
    /// A stranger takes an Elastic IP address of the account, from whoever has it.
    TakeElasticIp(usize),
    /// The stranger lets go of it.
    FreeElasticIp,
    /// An Elastic IP address is disassociated by hand.
    Disassociate(usize),
    /// A stranger takes an address of the pool, if it is free.
    TakeAddress(usize),
    /// The interface of a member gets another address.
    Secondary,
    /// A single node is put into the group.
    Join(usize),
}

/// Where the numbers of members begin among those of nodes.
pub(super) const MEMBERS: usize = 10;
/// Sets the draws of groups apart from all others, so that seeds which failed before there were groups stand for
/// what they stood for.
const APART: u64 = 83_720_000;

/// The name of a node, or of a member.
pub(super) fn name(number: usize) -> String {
    match number.checked_sub(MEMBERS) {
        None => NODES[number].to_owned(),
        Some(nth) => member(nth + 1),
    }
}

/// The group of a seed, if it has one.
pub(super) fn of(draw: &impl Fn(u64, u64) -> u64) -> Option<Shape> {
    (draw(APART, 3) == 0).then(|| Shape {
        capacity: draw(APART + 1, 4) as u32,
        pool: draw(APART + 2, 4) as usize,
        elastic_ips: draw(APART + 3, 3) as usize,
    })
}

/// What happens to members as to other nodes, the likely deeds more than once.
const OF_MEMBERS: [Deed; 26] = [
    Deed::Want("running"),
    Deed::Want("paused"),
    Deed::Want("paused"),
    Deed::Want("deallocated"),
    Deed::Want("deallocated"),
    Deed::Want("deallocated"),
    Deed::Want("released"),
    Deed::Recycle,
    Deed::Delete,
    Deed::Delete,
    Deed::Spoil,
    Deed::Interrupt(true),
    Deed::Interrupt(true),
    Deed::Interrupt(true),
    Deed::Interrupt(false),
    Deed::Interrupt(false),
    Deed::Terminate,
    Deed::RootGoes,
    Deed::InterfaceGoes,
    Deed::DropInterface,
    Deed::DropInterface,
    Deed::TakeAddress,
    Deed::FreeAddress,
    Deed::Deregister,
    Deed::Rebalance,
    Deed::DeleteNewest,
];

/// A deed of a group, of a member, or of one of its addresses.
fn deed(draw: impl Fn(u64) -> u64) -> Deed {
    let (some, other) = (draw(5) as usize, draw(16));
    Deed::Group(match draw(24) {
        0..=2 => GroupDeed::Capacity(other as u32 % 4),
        3..=5 => GroupDeed::Pool(other as u8),
        6 => GroupDeed::ElasticIps(some.min(3)),
        7 => GroupDeed::Allocate,
        8..=9 => GroupDeed::Roll,
        10 => GroupDeed::Delete,
        11 => GroupDeed::PutBack,
        12 => GroupDeed::Suspend(other % 3 == 0),
        13 => GroupDeed::Types(other % 2 == 0),
        14..=16 => GroupDeed::Leave,
        17..=18 => GroupDeed::PutMember,
        19 => GroupDeed::TakeElasticIp(some % 3),
        20 => match other % 2 {
            0 => GroupDeed::FreeElasticIp,
            _ => GroupDeed::Disassociate(some % 3),
        },
        21 => GroupDeed::TakeAddress(some % POOL.len()),
        22 => GroupDeed::Secondary,
        _ => GroupDeed::Join(some % 2),
    })
}

/// The deeds of a schedule with those of the group among them.
pub(super) fn among(
    deeds: Vec<(i64, usize, Deed)>,
    draw: &impl Fn(u64, u64) -> u64,
) -> Vec<(i64, usize, Deed)> {
    let mut all = Vec::new();
    for (n, one) in deeds.into_iter().enumerate() {
        let draw = |what: u64, most: u64| draw(APART + 100 + 10 * n as u64 + what, most);
        let which = MEMBERS + draw(1, 5) as usize;
        let pause = if draw(2, 2) == 0 { draw(3, 30) } else { draw(4, 300) } as i64;
        match draw(0, 4) {
            0 => all.push(one),
            1 => all.push((one.0, which, OF_MEMBERS[draw(5, OF_MEMBERS.len() as u64) as usize])),
            2 => all.push((pause, which, deed(|most| draw(6, most * 7919) % most))),
            _ => {
                all.push((pause, which, deed(|most| draw(6, most * 7919) % most)));
                all.push(one);
            }
        }
    }
    all
}

impl GroupDeed {
    pub(super) fn be_done(self, run: &mut Run, node: &str) {
        let elastic_ip = |run: &Run, nth: usize| run.elastic_ips().get(nth).cloned().unwrap_or_default();
        match self {
            Self::Capacity(capacity) => run.set_capacity(capacity),
            Self::Pool(bits) => {
                let in_pool =
                    |(nth, address): (usize, &'static str)| (bits >> nth & 1 == 1).then_some(address);
                let pool: Vec<&str> = POOL.into_iter().enumerate().filter_map(in_pool).collect();
                run.set_pool(&pool);
            }
            Self::ElasticIps(n) => {
                let mut all = run.elastic_ips();
                all.truncate(n);
                run.set_elastic_ips(&all);
            }
            Self::Allocate => {
                run.allocate(1);
            }
            Self::Roll => run.roll(),
            Self::Delete => run.delete_group(),
            Self::PutBack => run.put_group_back(),
            Self::Suspend(is) => run.edit_group(|item| item["suspend"] = json!(is)),
            Self::Types(other) => {
                let types = if other { ["c5.large", "m5.large"] } else { ["m5.large", "c5.large"] };
                run.edit_group(|item| item["launch"]["instanceTypes"] = json!(types));
            }
            Self::Leave => run.leave_it_to_the_group(node),
            Self::PutMember => run.put_member_back(node),
            Self::TakeElasticIp(nth) => {
                let id = elastic_ip(run, nth);
                run.take_elastic_ip(&id);
            }
            Self::FreeElasticIp => run.free_elastic_ip(),
            Self::Disassociate(nth) => {
                let id = elastic_ip(run, nth);
                run.disassociate(&id);
            }
            Self::TakeAddress(nth) => run.take(POOL[nth]),
            Self::Secondary => run.assign_secondary(node, 1),
            Self::Join(nth) => run.edit(NODES[nth], |item| item["group"] = json!(crate::deeds::GROUP)),
        }
    }
}

/// The operator puts right what the operator must, and decides what is to become of the group.
pub(super) fn calm(run: &mut Run, seed: u64) {
    run.free_elastic_ip();
    if !mix(seed ^ APART).is_multiple_of(4) {
        run.put_group_back();
    }
    run.edit_group(|item| item["suspend"] = json!(false));
    for nth in MEMBERS..MEMBERS + 9 {
        let node = name(nth);
        run.start(&node);
        run.edit(&node, |item| {
            item.as_object_mut().map(|item| item.remove("retention"));
        });
    }
}

//! What the second act claims in the end, each claim judged from what was read and not from what was intended.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::look::Wanted;
use crate::access::Contents;
use crate::members::Member;
use crate::proof::{Proof, listed, same, told_of_each};
use crate::render::grouped;

/// An address, and a member's interface that carried it at some look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) address: String,
    pub(super) member: String,
    pub(super) interface: String,
}

/// What a guest found when it began on an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Life {
    pub(super) instance: String,
    pub(super) root: String,
    /// What was on the root, before it wrote.
    pub(super) found: Contents,
    /// Its writes that had been acknowledged until then.
    pub(super) acknowledged: u64,
}

/// What was told when Elastic IP addresses were lacking.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shortage {
    pub(super) notice: String,
    /// Members that ran without one at that look, as EC2 says.
    pub(super) without: Vec<String>,
}

/// Everything that was read, for the proofs to judge.
#[derive(Clone, Debug, Default)]
pub(super) struct Evidence {
    /// What the item asked for before the interruption.
    pub(super) wanted_before: Wanted,
    /// And in the end.
    pub(super) wanted: Wanted,
    /// The members before the interruption.
    pub(super) before: Vec<Member>,
    /// When all ran again.
    pub(super) back: Vec<Member>,
    /// In the end.
    pub(super) end: Vec<Member>,
    /// Every live instance in the end.
    pub(super) live: Vec<String>,
    /// Every interface of the account in the end.
    pub(super) interfaces: Vec<String>,
    /// What the group's record says in the end: member and address.
    pub(super) assigned: Vec<(String, String)>,
    /// Each member's guest, from instance to instance.
    pub(super) lives: BTreeMap<String, Vec<Life>>,
    /// How often was looked.
    pub(super) looks: u64,
    /// Addresses that were ever seen on two interfaces.
    pub(super) doubles: Vec<String>,
    /// Members that were ever seen with two live instances.
    pub(super) crowds: Vec<String>,
    /// Every address that was ever in the pool.
    pub(super) pools: Vec<String>,
    /// Who ever had which address.
    pub(super) held: Vec<Held>,
    /// The first lack of Elastic IP addresses that was told.
    pub(super) told: Option<Shortage>,
    /// What is told of them in the end.
    pub(super) notices: Vec<String>,
    /// When EC2 gave notice.
    pub(super) noticed: Option<Timestamp>,
    /// When all ran again.
    pub(super) returned: Option<Timestamp>,
}

impl Evidence {
    /// A member in the end.
    fn last(&self, name: &str) -> Option<&Member> {
        self.end.iter().find(|member| member.name == name)
    }

    /// Those that ran before the interruption, each with what it was then, when all were back, and in the end.
    fn survivors(&self) -> Vec<[Member; 3]> {
        let of =
            |all: &[Member], name: &str| all.iter().find(|it| it.name == name).cloned().unwrap_or_default();
        let ran = self.before.iter().filter(|member| member.runs());
        ran.map(|it| [it.clone(), of(&self.back, &it.name), of(&self.end, &it.name)]).collect()
    }

    /// Who held an address that was in the pool and is there no more.
    fn removed(&self) -> Vec<&Held> {
        let is_out =
            |held: &&Held| self.pools.contains(&held.address) && !self.wanted.pool.contains(&held.address);
        self.held.iter().filter(is_out).collect()
    }

    fn has_run(&self, name: &str) -> bool {
        self.lives.contains_key(name) || self.last(name).is_some_and(|member| member.launched)
    }
}

/// Judges everything.
pub(super) fn judge(e: &Evidence) -> Vec<Proof> {
    vec![
        at_once(e),
        addresses(e),
        interfaces(e),
        elastic_ips(e),
        writes(e),
        one_instance(e),
        doubles(e),
        told(e),
        healed(e),
        bijection(e),
        added(e),
        never_ran(e),
        stays(e),
        capacity(e),
    ]
}

/// A claim on each member that was interrupted: something must be said of each.
fn each(e: &Evidence, claim: &'static str, judge: impl Fn(&[Member; 3]) -> (bool, String)) -> Proof {
    let judged: Vec<(bool, String)> = e.survivors().iter().map(judge).collect();
    let wanted = e.wanted_before.capacity;
    let values: Vec<String> = judged.iter().map(|(_, value)| value.clone()).collect();
    let holds = wanted > 0 && judged.len() == wanted && judged.iter().all(|(holds, _)| *holds);
    Proof { holds, claim, values: told_of_each(&values) }
}

fn at_once(e: &Evidence) -> Proof {
    each(e, "all interrupted, all on new instances", |[before, back, _]| {
        let (old, new) = (before.live.join("+"), back.live.join("+"));
        let holds = !old.is_empty() && !new.is_empty() && old != new && back.cycle > before.cycle;
        (holds, format!("{} {new} after {old}", before.name))
    })
}

fn addresses(e: &Evidence) -> Proof {
    each(e, "same private address", |[before, back, end]| {
        let (was, is) = (before.address(), back.address());
        let seen = [before, back, end].iter().all(|it| it.live_addresses == [was.to_owned()]);
        let holds = same(was, is)
            && same(was, end.address())
            && seen
            && e.wanted_before.pool.iter().any(|it| it == was);
        (
            holds,
            format!("{} {was} before, {is} after, {} as EC2 says", before.name, end.live_addresses.join("+")),
        )
    })
}

fn interfaces(e: &Evidence) -> Proof {
    each(e, "same network interface", |members| {
        let [was, is, last] =
            members.each_ref().map(|it| it.interface().map_or("", |interface| interface.id.as_str()));
        let holds = same(was, is) && same(was, last);
        (holds, format!("{} {was}", members[0].name) + if holds { "" } else { " no more" })
    })
}

fn elastic_ips(e: &Evidence) -> Proof {
    let mut proof = each(e, "same Elastic IP", |[before, back, end]| {
        let had = before.elastic_ips.join("+");
        // Who had none may have got one since.
        let kept = had.is_empty() || end.elastic_ips == before.elastic_ips;
        let (was, is) = (listed(&before.elastic_ips), listed(&back.elastic_ips));
        (kept && back.elastic_ips == before.elastic_ips, format!("{} {was} before, {is} after", before.name))
    });
    let had: BTreeSet<&String> = e.before.iter().flat_map(|member| &member.elastic_ips).collect();
    proof.holds &= !had.is_empty() && had.len() == e.wanted_before.elastic_ips.len();
    proof
}

fn writes(e: &Evidence) -> Proof {
    each(e, "no write lost", |[before, _, _]| {
        let lives = e.lives.get(&before.name).map(Vec::as_slice).unwrap_or_default();
        let mut pairs = lives.iter().zip(lives.iter().skip(1)).peekable();
        let value = match lives {
            [_, .., last] => format!(
                "{} {} acknowledged, {} on {}",
                before.name,
                grouped(last.acknowledged),
                grouped(last.found.writes),
                last.root
            ),
            [_] | [] => format!("{} never wrote again", before.name),
        };
        let kept = |(old, new): (&Life, &Life)| {
            new.acknowledged > 0
                && new.acknowledged <= new.found.writes
                && new.root != old.root
                && new.found.lineage.contains(&old.root)
        };
        (pairs.peek().is_some() && pairs.all(kept), value)
    })
}

fn one_instance(e: &Evidence) -> Proof {
    let mut proof = each(e, "exactly one live instance each", |[_, _, end]| {
        (end.live.len() == 1, format!("{} {}", end.name, listed(&end.live)))
    });
    proof.holds &= e.looks > 0 && e.crowds.is_empty();
    proof.values.push_str(&match e.crowds.is_empty() {
        true => format!("; never two in {} looks", grouped(e.looks)),
        false => format!("; but {}", e.crowds.join(", ")),
    });
    proof
}

fn doubles(e: &Evidence) -> Proof {
    let held: BTreeSet<&String> = e.held.iter().map(|held| &held.address).collect();
    let values = if e.doubles.is_empty() {
        format!("none of {} addresses in {} looks", held.len(), grouped(e.looks))
    } else {
        e.doubles.join(", ")
    };
    Proof {
        holds: !held.is_empty() && e.looks > 0 && e.doubles.is_empty(),
        claim: "no address on two interfaces",
        values,
    }
}

fn told(e: &Evidence) -> Proof {
    let claim = "the lack of an Elastic IP was told";
    let Some(told) = &e.told else { return Proof { holds: false, claim, values: "nothing told".to_owned() } };
    let named = |name: &String| words(&told.notice).any(|word| word == name);
    Proof {
        holds: !told.without.is_empty() && told.without.iter().all(named),
        claim,
        values: format!("{} had none: \"{}\"", listed(&told.without), told.notice),
    }
}

/// Words of a sentence, without what separates them.
fn words(sentence: &str) -> impl Iterator<Item = &str> {
    sentence.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'))
}

fn healed(e: &Evidence) -> Proof {
    let running = || e.end.iter().filter(|member| member.runs());
    let all: BTreeSet<&String> = running().flat_map(|member| &member.elastic_ips).collect();
    let each_one = running().all(|member| member.elastic_ips.len() == 1);
    let values: Vec<String> =
        running().map(|it| format!("{} {}", it.name, listed(&it.elastic_ips))).collect();
    let lacked = e.told.iter().flat_map(|told| &told.without);
    let has = |name: &String| e.last(name).is_some_and(|member| member.elastic_ips.len() == 1);
    let told = if e.notices.is_empty() { "nothing told any more".to_owned() } else { e.notices.join(" ") };
    Proof {
        holds: e.told.is_some()
            && lacked.into_iter().all(has)
            && e.notices.is_empty()
            && each_one
            && !all.is_empty()
            && all.len() == running().count(),
        claim: "and healed: one for each",
        values: format!("{}; {told}", listed(&values)),
    }
}

/// Addresses of the pool with the members that have them, and members with addresses of the pool, by what EC2 says and
/// by the group's record alike.
fn bijection(e: &Evidence) -> Proof {
    let in_pool = |address: &str| e.wanted.pool.iter().any(|one| one == address);
    let living = e.end.iter().filter(|member| !member.is_gone());
    let mut by_ec2: Vec<(String, String)> = living
        .flat_map(|member| member.interfaces.iter().map(|it| (member.name.clone(), it.address.clone())))
        .filter(|(_, address)| in_pool(address))
        .collect();
    let mut by_record: Vec<_> = e.assigned.iter().filter(|(_, address)| in_pool(address)).cloned().collect();
    by_ec2.sort();
    by_record.sort();
    let members: BTreeSet<&String> = by_ec2.iter().map(|(member, _)| member).collect();
    let addresses: BTreeSet<&String> = by_ec2.iter().map(|(_, address)| address).collect();
    let (pool, pairs) = (e.wanted.pool.len(), by_ec2.len());
    let told: Vec<String> = by_ec2.iter().map(|(member, address)| format!("{address} {member}")).collect();
    let beside: Vec<String> = (e.end.iter())
        .filter(|member| !member.is_gone() && !in_pool(member.address()))
        .map(|member| format!("{} {}", member.address(), member.name))
        .collect();
    let beside = if beside.is_empty() { String::new() } else { format!("; beside it {}", listed(&beside)) };
    let differs = if by_ec2 == by_record { "" } else { "; the group's record says otherwise" };
    Proof {
        holds: pool > 0
            && pairs == pool
            && members.len() == pairs
            && addresses.len() == pairs
            && by_ec2 == by_record,
        claim: "each address of the pool has one member, and each member one address",
        values: format!("{} of {pool}: {}{beside}{differs}", addresses.len(), listed(&told)),
    }
}

fn added(e: &Evidence) -> Proof {
    let new = || e.wanted.pool.iter().filter(|address| !e.wanted_before.pool.contains(address));
    let judged: Vec<(bool, String)> = new()
        .map(|address| {
            let has = e.end.iter().find(|member| member.address() == address);
            let reserved = |member: &&Member| {
                member.is_paused()
                    && member.live.is_empty()
                    && member.interface().is_some_and(|interface| interface.status == "available")
            };
            let value = has.map_or(format!("{address} has no member"), |member| {
                let interface = member.interface().map(|it| format!("{} {}", it.id, it.status));
                let phase = member.phase.map_or("without a record", |phase| phase.as_str());
                format!("{address} {} {phase}, {}", member.name, interface.unwrap_or_default())
            });
            (has.as_ref().is_some_and(reserved), value)
        })
        .collect();
    let values: Vec<String> = judged.iter().map(|(_, value)| value.clone()).collect();
    Proof {
        holds: !judged.is_empty() && judged.iter().all(|(holds, _)| *holds),
        claim: "the added address is reserved by a paused member",
        values: told_of_each(&values),
    }
}

fn never_ran(e: &Evidence) -> Proof {
    let removed: Vec<&Held> = e.removed().into_iter().filter(|held| !e.has_run(&held.member)).collect();
    let judged = removed.iter().map(|held| {
        let last = e.last(&held.member);
        let phase = last.and_then(|member| member.phase).map_or("no more", |phase| phase.as_str());
        let left = e.interfaces.contains(&held.interface);
        let after = if left { "still there" } else { "gone" };
        let holds = !left && last.is_none_or(Member::is_gone);
        (holds, format!("{} {} {phase}, {} {after}", held.address, held.member, held.interface))
    });
    let (holds, values): (Vec<bool>, Vec<String>) = judged.unzip();
    Proof {
        holds: !holds.is_empty() && holds.into_iter().all(|it| it),
        claim: "the removed address that was never used is free, its member deallocated",
        values: told_of_each(&values),
    }
}

fn stays(e: &Evidence) -> Proof {
    let removed: Vec<&Held> = e.removed().into_iter().filter(|held| e.has_run(&held.member)).collect();
    let judged = removed.iter().map(|held| {
        let back = e.back.iter().find(|member| member.name == held.member);
        let instances = |member: Option<&Member>| member.map(|it| it.live.clone()).unwrap_or_default();
        let last = e.last(&held.member);
        let stays = last.is_some_and(|member| {
            member.runs() && member.live_addresses == [held.address.clone()] && member.live.len() == 1
        });
        let live = instances(last);
        (stays && live == instances(back), format!("{} {} {}", held.address, held.member, listed(&live)))
    });
    let (holds, values): (Vec<bool>, Vec<String>) = judged.unzip();
    Proof {
        holds: !holds.is_empty() && holds.into_iter().all(|it| it),
        claim: "the removed address in use stays with its member, which runs on",
        values: told_of_each(&values),
    }
}

fn capacity(e: &Evidence) -> Proof {
    let running = e.end.iter().filter(|member| member.runs() && member.live.len() == 1).count();
    let live = e.live.len();
    let wanted = e.wanted.capacity;
    Proof {
        holds: wanted > 0 && running == wanted && live == wanted,
        claim: "capacity kept",
        values: format!("{running} of {wanted} run, {live} live instances"),
    }
}

#[cfg(test)]
mod tests;

//! A good ring proves everything; each fault fails its own proof.

use perennial_core::phase::Phase;

use super::*;
use crate::members::Interface;

fn texts(all: &[&str]) -> Vec<String> {
    all.iter().map(|text| (*text).to_owned()).collect()
}

/// A member that runs on `instance`.
fn runs(n: u32, address: &str, instance: &str, cycle: u32, elastic_ip: Option<&str>) -> Member {
    Member {
        name: format!("ring-{n}"),
        phase: Some(Phase::Running),
        cycle,
        launched: true,
        root: format!("vol-{n}-{cycle}"),
        live: texts(&[instance]),
        live_addresses: texts(&[address]),
        interfaces: vec![Interface {
            id: format!("eni-{n}"),
            address: address.to_owned(),
            status: "in-use".to_owned(),
        }],
        elastic_ips: elastic_ip.map(str::to_owned).into_iter().collect(),
        ..Member::default()
    }
}

/// A member that never ran.
fn rests(n: u32, address: &str) -> Member {
    let mut member = Member { phase: Some(Phase::Paused), ..runs(n, address, "", 0, None) };
    (member.launched, member.live, member.live_addresses) = (false, Vec::new(), Vec::new());
    "available".clone_into(&mut member.interfaces[0].status);
    member
}

fn lives(n: u32) -> (String, Vec<Life>) {
    let life = |cycle: u32, writes: u64, lineage: &[&str]| Life {
        instance: format!("i-{n}-{cycle}"),
        root: format!("vol-{n}-{cycle}"),
        found: Contents { writes, lineage: texts(lineage) },
        acknowledged: writes,
    };
    (format!("ring-{n}"), vec![life(1, 0, &[]), life(2, 1200, &[&format!("vol-{n}-1"), "snap-1"])])
}

/// Two members whose group keeps two running; the address of the second is taken out, a spare one comes and goes.
fn good() -> Evidence {
    let wanted = |pool: &[&str], elastic_ips: &[&str]| Wanted {
        capacity: 2,
        pool: texts(pool),
        elastic_ips: texts(elastic_ips),
    };
    let held = |n: u32, address: &str| Held {
        address: address.to_owned(),
        member: format!("ring-{n}"),
        interface: format!("eni-{n}"),
    };
    let gone = Member { name: "ring-3".to_owned(), phase: Some(Phase::Deallocated), ..Member::default() };
    let (one, two) = (Some("198.18.0.1"), Some("198.18.0.2"));
    let assigned = [("ring-1", "10.0.1.1"), ("ring-2", "10.0.1.2"), ("ring-4", "10.0.1.4")];
    Evidence {
        wanted_before: wanted(&["10.0.1.1", "10.0.1.2"], &["eipalloc-1"]),
        wanted: wanted(&["10.0.1.1", "10.0.1.4"], &["eipalloc-1", "eipalloc-2"]),
        before: vec![runs(1, "10.0.1.1", "i-1-1", 1, one), runs(2, "10.0.1.2", "i-2-1", 1, None)],
        back: vec![runs(1, "10.0.1.1", "i-1-2", 2, one), runs(2, "10.0.1.2", "i-2-2", 2, None)],
        end: vec![
            runs(1, "10.0.1.1", "i-1-2", 2, one),
            runs(2, "10.0.1.2", "i-2-2", 2, two),
            gone,
            rests(4, "10.0.1.4"),
        ],
        live: texts(&["i-1-2", "i-2-2"]),
        interfaces: texts(&["eni-1", "eni-2", "eni-4"]),
        assigned: assigned.map(|(member, address)| (member.to_owned(), address.to_owned())).to_vec(),
        lives: [lives(1), lives(2)].into(),
        looks: 7,
        pools: texts(&["10.0.1.1", "10.0.1.2", "10.0.1.3", "10.0.1.4"]),
        held: vec![held(1, "10.0.1.1"), held(2, "10.0.1.2"), held(3, "10.0.1.3"), held(4, "10.0.1.4")],
        told: Some(Shortage { notice: "too short: ring-2 run(s)".to_owned(), without: texts(&["ring-2"]) }),
        ..Evidence::default()
    }
}

const AT_ONCE: &str = "all interrupted, all on new instances";
const ADDRESS: &str = "same private address";
const INTERFACE: &str = "same network interface";
const ELASTIC_IP: &str = "same Elastic IP";
const WRITES: &str = "no write lost";
const ONE: &str = "exactly one live instance each";
const DOUBLES: &str = "no address on two interfaces";
const TOLD: &str = "the lack of an Elastic IP was told";
const HEALED: &str = "and healed: one for each";
const BIJECTION: &str = "each address of the pool has one member, and each member one address";
const ADDED: &str = "the added address is reserved by a paused member";
const NEVER_RAN: &str = "the removed address that was never used is free, its member deallocated";
const STAYS: &str = "the removed address in use stays with its member, which runs on";
const CAPACITY: &str = "capacity kept";

fn failed(change: impl FnOnce(&mut Evidence)) -> Vec<&'static str> {
    let mut evidence = good();
    change(&mut evidence);
    judge(&evidence).into_iter().filter(|proof| !proof.holds).map(|proof| proof.claim).collect()
}

fn life(e: &mut Evidence, n: usize) -> &mut Life {
    &mut e.lives.get_mut("ring-2").unwrap()[n]
}

#[test]
fn a_good_ring_proves_everything() {
    assert_eq!(failed(|_| {}), Vec::<&str>::new());
    let proofs = judge(&good());
    assert_eq!(proofs.len(), 14);
    assert_eq!(
        proofs[4].line(5),
        "✓ proven  5  no write lost: ring-1 1,200 acknowledged, 1,200 on vol-1-2; ring-2 1,200 acknowledged, 1,200 on \
         vol-2-2"
    );
    assert_eq!(proofs[9].values, "2 of 2: 10.0.1.1 ring-1, 10.0.1.4 ring-4; beside it 10.0.1.2 ring-2");
    assert_eq!(proofs[11].values, "10.0.1.3 ring-3 deallocated, eni-3 gone");
}

#[test]
fn nothing_read_proves_nothing() {
    let proofs = judge(&Evidence::default());
    assert!(proofs.iter().all(|proof| !proof.holds), "{proofs:?}");
}

#[test]
fn an_identity_that_changes_fails() {
    assert_eq!(failed(|e| e.back[0].interfaces[0].address = "10.0.1.9".into()), [ADDRESS]);
    assert_eq!(failed(|e| e.back[0].live_addresses = texts(&["10.0.1.2"])), [ADDRESS]);
    assert_eq!(failed(|e| e.end[0].interfaces[0].id = "eni-9".into()), [INTERFACE]);
    assert_eq!(failed(|e| e.back[0].elastic_ips.clear()), [ELASTIC_IP]);
    assert_eq!(failed(|e| e.wanted_before.elastic_ips.push("eipalloc-9".into())), [ELASTIC_IP]);
    assert_eq!(failed(|e| e.end[0].elastic_ips = texts(&["198.18.0.9"])), [ELASTIC_IP]);
    assert_eq!(failed(|e| e.back[0].live = texts(&["i-1-1"])), [AT_ONCE]);
}

#[test]
fn a_member_that_was_not_seen_fails_whatever_is_said_of_each() {
    let all = [AT_ONCE, ADDRESS, INTERFACE, ELASTIC_IP, WRITES, ONE];
    assert_eq!(failed(|e| drop(e.before.pop())), all);
}

#[test]
fn a_lost_write_or_a_root_of_other_descent_fails() {
    assert_eq!(failed(|e| life(e, 1).found.writes = 1199), [WRITES]);
    assert_eq!(failed(|e| life(e, 1).found.writes = 1201), Vec::<&str>::new());
    assert_eq!(failed(|e| life(e, 1).found.lineage.clear()), [WRITES]);
    assert_eq!(failed(|e| drop(e.lives.get_mut("ring-2").unwrap().pop())), [WRITES]);
    assert_eq!(failed(|e| (life(e, 1).acknowledged, life(e, 1).found.writes) = (0, 0)), [WRITES]);
}

#[test]
fn too_many_of_anything_fails() {
    assert_eq!(failed(|e| e.crowds.push("ring-1 on i-1-2 and i-9".into())), [ONE]);
    assert_eq!(failed(|e| e.end[0].live.push("i-9".into())), [ONE, CAPACITY]);
    assert_eq!(failed(|e| e.live.push("i-9".into())), [CAPACITY]);
    assert_eq!(failed(|e| e.doubles.push("10.0.1.1 on eni-1 and eni-9".into())), [DOUBLES]);
}

#[test]
fn a_lack_that_was_not_told_of_each_or_is_not_healed_fails() {
    assert_eq!(failed(|e| e.told.as_mut().unwrap().notice = "too short: ring-22".into()), [TOLD]);
    assert_eq!(failed(|e| e.told = None), [TOLD, HEALED]);
    assert_eq!(failed(|e| e.end[1].elastic_ips.clear()), [HEALED]);
    assert_eq!(failed(|e| e.end[1].elastic_ips = texts(&["198.18.0.1"])), [HEALED]);
    assert_eq!(failed(|e| e.notices.push("too short".into())), [HEALED]);
}

#[test]
fn a_pool_that_is_no_bijection_fails() {
    assert_eq!(failed(|e| e.wanted.pool.push("10.0.1.5".into())), [BIJECTION, ADDED]);
    assert_eq!(failed(|e| e.end.push(rests(5, "10.0.1.4"))), [BIJECTION]);
    assert_eq!(failed(|e| drop(e.assigned.pop())), [BIJECTION]);
    assert_eq!(failed(|e| e.end[3].phase = Some(Phase::Gone)), [BIJECTION, ADDED]);
}

#[test]
fn a_change_of_the_pool_that_does_not_come_fails() {
    assert_eq!(failed(|e| e.end[3].interfaces[0].status = "in-use".into()), [ADDED]);
    assert_eq!(failed(|e| e.interfaces.push("eni-3".into())), [NEVER_RAN]);
    assert_eq!(failed(|e| e.end[2].phase = Some(Phase::Paused)), [NEVER_RAN]);
    assert_eq!(failed(|e| e.held.retain(|held| held.member != "ring-3")), [NEVER_RAN]);
    assert_eq!(failed(|e| e.held.retain(|held| held.member != "ring-2")), [STAYS]);
    assert_eq!(failed(|e| e.end[1].live = texts(&["i-2-3"])), [STAYS]);
    let paused = |e: &mut Evidence| e.end[1].phase = Some(Phase::Paused);
    assert_eq!(failed(paused), [STAYS, CAPACITY]);
}

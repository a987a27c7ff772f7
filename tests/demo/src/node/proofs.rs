//! What the acts about one node claim in the end, each claim judged from what was read and not from what was intended.
//!
//! Pure. A proof says the exact values it rests on, so that a person can check it; it never passes because something
//! could not be read: nothing is not equal to nothing here.

use std::collections::BTreeMap;

use super::view::Thing;
use crate::access::Contents;
use crate::proof::{Proof, listed, same};
use crate::render::grouped;

/// Own events of one survived interruption, in order.
pub(crate) const EVENTS: [&str; 5] =
    ["Config Accepted", "Node Running", "Node Interrupted", "Node Running", "Node Recovered"];

/// What identified the node at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) instance: String,
    pub(crate) root: String,
    pub(crate) interface: String,
    pub(crate) address: String,
    /// Its data volumes by device name.
    pub(crate) data: BTreeMap<String, String>,
}

/// A data volume, as the guest left it and found it again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DataVolume {
    pub(crate) device: String,
    pub(crate) volume: String,
    /// Writes to it that were acknowledged before the first instance shut down.
    pub(crate) acknowledged: u64,
    /// The volume under the same device name when the node ran again.
    pub(crate) there: String,
    /// What was on that one when nobody had written yet.
    pub(crate) found: Contents,
}

/// A volume of an instance, as EC2 shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Disk {
    pub(crate) device: String,
    pub(crate) volume: String,
    /// Whether it is said to outlive its instance.
    pub(crate) outlives: bool,
}

/// Everything that was read, for the proofs to judge.
#[derive(Clone, Debug, Default)]
pub(crate) struct Evidence {
    /// The address the item asked for, if it asked for one.
    pub(crate) wanted_address: Option<String>,
    /// Before the interruption.
    pub(crate) before: Identity,
    /// After the recovery.
    pub(crate) after: Identity,
    /// Writes to the root that were acknowledged before the first instance shut down.
    pub(crate) acknowledged: u64,
    /// What was on the new root when the node ran again and nobody had written yet.
    pub(crate) restored: Contents,
    /// The data volumes that the node had before the interruption.
    pub(crate) data: Vec<DataVolume>,
    /// The volume that the operator attached by hand, if there is one.
    pub(crate) by_hand: String,
    /// Volumes that are tagged as attached by hand.
    pub(crate) adopted: Vec<String>,
    /// The volumes of the live instance.
    pub(crate) disks: Vec<Disk>,
    /// Private address of the live instance as EC2 says.
    pub(crate) seen_address: String,
    /// Instances that run or may still do so.
    pub(crate) live: Vec<String>,
    /// Volumes that exist, with their state.
    pub(crate) volumes: Vec<Thing>,
    /// Interfaces that exist, with their state.
    pub(crate) interfaces: Vec<Thing>,
    /// Node images that exist.
    pub(crate) images: Vec<String>,
    /// Final snapshots that exist.
    pub(crate) finals: Vec<String>,
    /// Completed recovery points that exist: periodic and warning ones, each with its snapshots.
    pub(crate) kept: Vec<Vec<String>>,
    /// Snapshots of recovery points under way.
    pub(crate) pending: Vec<String>,
    /// Snapshots that are none of these.
    pub(crate) odd: Vec<String>,
    /// How many recovery points are to be kept.
    pub(crate) keep: usize,
    /// Node images that were ever seen.
    pub(crate) images_made: Vec<String>,
    /// Final snapshots that were ever seen.
    pub(crate) finals_made: Vec<String>,
    /// Kinds of the node's own events in the order of publishing, each event once.
    pub(crate) events: Vec<String>,
}

/// Judges everything.
pub(crate) fn judge(e: &Evidence) -> Vec<Proof> {
    [came_back(e), tidied(e)].concat()
}

/// That it is the same node.
pub(crate) fn came_back(e: &Evidence) -> Vec<Proof> {
    vec![address(e), interface(e), writes(e), lineage(e)]
}

/// That nothing is there twice, left over or missing.
pub(crate) fn tidied(e: &Evidence) -> Vec<Proof> {
    vec![one_instance(e), removed(e), kept(e), nothing_else(e), events(e)]
}

fn address(e: &Evidence) -> Proof {
    let (before, after) = (&e.before.address, &e.after.address);
    Proof {
        holds: same(before, after)
            && e.wanted_address.as_ref().is_none_or(|wanted| wanted == before)
            && *after == e.seen_address,
        claim: "same private address",
        values: format!("{before} before, {after} after, {} as EC2 says", e.seen_address),
    }
}

fn interface(e: &Evidence) -> Proof {
    let (before, after) = (&e.before.interface, &e.after.interface);
    Proof {
        holds: same(before, after),
        claim: "same network interface",
        values: format!("{before} before, {after} after"),
    }
}

fn writes(e: &Evidence) -> Proof {
    Proof {
        holds: e.acknowledged > 0 && e.acknowledged == e.restored.writes,
        claim: "no write lost",
        values: format!(
            "{} acknowledged before shutdown, {} on the new root",
            grouped(e.acknowledged),
            grouped(e.restored.writes)
        ),
    }
}

fn lineage(e: &Evidence) -> Proof {
    let (before, after) = (&e.before.root, &e.after.root);
    let descent: Vec<&str> =
        e.restored.lineage.iter().skip_while(|id| *id != before).map(String::as_str).collect();
    Proof {
        holds: !before.is_empty()
            && !after.is_empty()
            && before != after
            && e.restored.lineage.contains(before),
        claim: "new root, descended from the old one",
        values: format!("{after} from {}", descent.into_iter().rev().collect::<Vec<_>>().join(" from ")),
    }
}

fn one_instance(e: &Evidence) -> Proof {
    Proof {
        holds: e.live == [e.after.instance.clone()] && e.after.instance != e.before.instance,
        claim: "exactly one live instance",
        values: format!("{}, after {}", listed(&e.live), e.before.instance),
    }
}

fn removed(e: &Evidence) -> Proof {
    let made = !e.images_made.is_empty() && !e.finals_made.is_empty() && !e.before.root.is_empty();
    let old_root = e.volumes.iter().any(|volume| volume.id == e.before.root);
    let left: Vec<String> = (old_root.then(|| e.before.root.clone()).into_iter())
        .chain(e.images_made.iter().filter(|id| e.images.contains(id)).cloned())
        .chain(e.finals_made.iter().filter(|id| e.finals.contains(id)).cloned())
        .collect();
    let values = if left.is_empty() {
        format!("{}, {}, {}", e.before.root, listed(&e.images_made), listed(&e.finals_made))
    } else {
        format!("still there: {}", left.join(", "))
    };
    Proof { holds: made && left.is_empty(), claim: "old root, node image and final snapshot removed", values }
}

fn kept(e: &Evidence) -> Proof {
    let under_way =
        if e.pending.is_empty() { String::new() } else { format!(", {} more under way", e.pending.len()) };
    let points: Vec<String> = e.kept.iter().map(|snapshots| snapshots.join("+")).collect();
    Proof {
        holds: e.keep > 0 && e.kept.len() == e.keep,
        claim: "recovery points kept as configured",
        values: format!("keep = {}, completed {}{under_way} ({})", e.keep, e.kept.len(), listed(&points)),
    }
}

fn nothing_else(e: &Evidence) -> Proof {
    let wanted: Vec<&String> =
        [&e.after.root, &e.after.interface].into_iter().chain(e.before.data.values()).collect();
    let things = e.volumes.iter().chain(&e.interfaces).filter(|thing| !wanted.contains(&&thing.id));
    let extra: Vec<String> = things
        .map(|thing| thing.id.clone())
        .chain(e.live.iter().filter(|id| **id != e.after.instance).cloned())
        .chain(e.images.iter().chain(&e.finals).chain(&e.odd).cloned())
        .collect();
    let present = wanted.iter().all(|id| {
        e.volumes.iter().chain(&e.interfaces).any(|thing| thing.id == **id && thing.state == "in-use")
    });
    let values = match (extra.is_empty(), present) {
        (true, true) => {
            format!("only {}, {} and the recovery points", e.after.instance, listed(&wanted))
        }
        (true, false) => format!("one of {} is not in use", listed(&wanted)),
        (false, _) => format!("left over: {}", listed(&extra)),
    };
    Proof { holds: extra.is_empty() && present, claim: "nothing else left over", values }
}

fn events(e: &Evidence) -> Proof {
    Proof { holds: e.events == EVENTS, claim: "own events in order", values: e.events.join(", ") }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn thing(id: &str) -> Thing {
        Thing { id: id.to_owned(), state: "in-use".to_owned() }
    }

    /// What a node without data volumes leaves behind that came back as it should.
    pub(crate) fn good() -> Evidence {
        let identity = |instance: &str, root: &str| Identity {
            instance: instance.to_owned(),
            root: root.to_owned(),
            interface: "eni-1".to_owned(),
            address: "10.0.1.20".to_owned(),
            data: BTreeMap::new(),
        };
        let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
        Evidence {
            wanted_address: None,
            before: identity("i-1", "vol-1"),
            after: identity("i-2", "vol-2"),
            acknowledged: 1234,
            restored: Contents { writes: 1234, lineage: ids(&["vol-1", "snap-9"]) },
            seen_address: "10.0.1.20".to_owned(),
            live: ids(&["i-2"]),
            volumes: vec![thing("vol-2")],
            interfaces: vec![thing("eni-1")],
            images: Vec::new(),
            finals: Vec::new(),
            kept: [ids(&["snap-1"]), ids(&["snap-2"]), ids(&["snap-3"])].to_vec(),
            pending: Vec::new(),
            odd: Vec::new(),
            keep: 3,
            images_made: ids(&["ami-1"]),
            finals_made: ids(&["snap-9"]),
            events: EVENTS.iter().map(|kind| (*kind).to_owned()).collect(),
            ..Evidence::default()
        }
    }

    fn failed(change: impl FnOnce(&mut Evidence)) -> Vec<&'static str> {
        let mut evidence = good();
        change(&mut evidence);
        judge(&evidence).into_iter().filter(|proof| !proof.holds).map(|proof| proof.claim).collect()
    }

    #[test]
    fn a_good_recovery_proves_everything() {
        assert_eq!(failed(|_| {}), Vec::<&str>::new());
        assert_eq!(
            judge(&good())[2].line(3),
            "✓ proven  3  no write lost: 1,234 acknowledged before shutdown, 1,234 on the new root"
        );
    }

    #[test]
    fn each_fault_fails_its_own_proof() {
        assert_eq!(failed(|e| e.after.address = "10.0.1.21".into()), ["same private address"]);
        assert_eq!(failed(|e| e.seen_address.clear()), ["same private address"]);
        assert_eq!(failed(|e| e.wanted_address = Some("10.0.1.9".into())), ["same private address"]);
        assert_eq!(failed(|e| e.wanted_address = Some("10.0.1.20".into())), [""; 0]);
        assert_eq!(failed(|e| e.restored.writes = 1233), ["no write lost"]);
        assert_eq!(failed(|e| e.restored.lineage.clear()), ["new root, descended from the old one"]);
        assert_eq!(
            failed(|e| e.live.push("i-3".into())),
            ["exactly one live instance", "nothing else left over"]
        );
        assert_eq!(failed(|e| e.kept.truncate(2)), ["recovery points kept as configured"]);
        assert_eq!(failed(|e| e.odd.push("snap-x".into())), ["nothing else left over"]);
        assert_eq!(failed(|e| drop(e.events.pop())), ["own events in order"]);
        assert_eq!(
            failed(|e| e.volumes.push(thing("vol-1"))),
            ["old root, node image and final snapshot removed", "nothing else left over"]
        );
    }

    #[test]
    fn nothing_read_proves_nothing() {
        assert!(judge(&Evidence::default()).iter().all(|proof| !proof.holds));
        let line = judge(&Evidence::default())[2].line(3);
        assert!(line.starts_with("✗ FAILED  3  no write lost: 0 acknowledged"), "{line}");
    }
}

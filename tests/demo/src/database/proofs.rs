//! What the act about data volumes claims besides, each claim judged from what was read and not from what was intended.

use crate::node::proofs::{DataVolume, Evidence, came_back, tidied};
use crate::proof::{Proof, listed, same, told_of_each};
use crate::render::grouped;

/// Judges everything.
pub(super) fn judge(e: &Evidence) -> Vec<Proof> {
    let data = vec![same_volumes(e), writes(e), by_hand(e), outlive(e), of_one_moment(e)];
    [came_back(e), data, tidied(e)].concat()
}

/// A claim on each data volume: the one that the template maps and the one attached by hand, at least.
fn each(e: &Evidence, claim: &'static str, judge: impl Fn(&DataVolume) -> (bool, String)) -> Proof {
    let (holds, values): (Vec<bool>, Vec<String>) = e.data.iter().map(judge).unzip();
    let holds = holds.len() >= 2 && holds.into_iter().all(|it| it);
    Proof { holds, claim, values: told_of_each(&values) }
}

fn same_volumes(e: &Evidence) -> Proof {
    let mut proof = each(e, "same data volumes, under the same device names", |it| {
        (same(&it.volume, &it.there), format!("{} {} before, {} after", it.device, it.volume, it.there))
    });
    proof.holds &= e.before.data == e.after.data;
    proof
}

fn writes(e: &Evidence) -> Proof {
    each(e, "no write lost on any of them", |it| {
        let (acknowledged, found) = (grouped(it.acknowledged), grouped(it.found.writes));
        let holds = it.acknowledged > 0 && it.acknowledged == it.found.writes;
        (holds, format!("{} {acknowledged} acknowledged, {found} on {}", it.device, it.there))
    })
}

fn by_hand(e: &Evidence) -> Proof {
    let was = e.before.data.iter().find(|(_, volume)| **volume == e.by_hand);
    let is_back = was.is_some_and(|(device, volume)| e.after.data.get(device) == Some(volume));
    let tagged = if e.adopted.contains(&e.by_hand) { "adopted" } else { "not marked" };
    let device = was.map_or("nowhere", |(device, _)| device.as_str());
    Proof {
        holds: !e.by_hand.is_empty() && is_back && e.adopted == [e.by_hand.clone()],
        claim: "the one attached by hand came along, and is marked as the operator's",
        values: format!("{} at {device}, {tagged}", e.by_hand),
    }
}

fn outlive(e: &Evidence) -> Proof {
    let safe = e.disks.iter().filter(|disk| disk.outlives);
    let safe: Vec<String> = safe.map(|disk| format!("{} {}", disk.device, disk.volume)).collect();
    let kept = || std::iter::once(&e.after.root).chain(e.after.data.values());
    let shown = |volume: &String| e.disks.iter().any(|disk| disk.volume == *volume);
    Proof {
        holds: safe.len() == e.disks.len()
            && e.disks.len() > 1
            && kept().all(shown)
            && e.disks.len() == kept().count(),
        claim: "every volume outlives the new instance, as EC2 says",
        values: format!("{} of {}: {}", safe.len(), e.disks.len(), listed(&safe)),
    }
}

fn of_one_moment(e: &Evidence) -> Proof {
    let volumes = 1 + e.before.data.len();
    let whole = e.kept.iter().filter(|snapshots| snapshots.len() == volumes).count();
    Proof {
        holds: volumes > 1 && whole > 0 && whole == e.kept.len(),
        claim: "every recovery point holds all volumes at one moment",
        values: format!("{whole} of {}, of {volumes} snapshots each", e.kept.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Contents;
    use crate::node::proofs::{Disk, tests as node};
    use crate::node::view::Thing;

    const VOLUMES: [(&str, &str); 2] = [("/dev/sdf", "vol-f"), ("/dev/sdg", "vol-g")];

    fn good() -> Evidence {
        let mut e = node::good();
        e.wanted_address = Some("10.0.1.20".to_owned());
        let data = VOLUMES.map(|(device, volume)| (device.to_owned(), volume.to_owned()));
        (e.before.data, e.after.data) = (data.clone().into(), data.clone().into());
        e.data = data.clone().into_iter().map(|(device, volume)| data_volume(device, volume)).collect();
        let thing = |(_, id)| Thing { id, state: "in-use".to_owned() };
        e.volumes.extend(data.into_iter().map(thing));
        let disk = |device: &str, volume: &str| Disk {
            device: device.to_owned(),
            volume: volume.to_owned(),
            outlives: true,
        };
        e.disks = vec![disk("/dev/xvda", "vol-2"), disk("/dev/sdf", "vol-f"), disk("/dev/sdg", "vol-g")];
        (e.by_hand, e.adopted) = ("vol-g".to_owned(), vec!["vol-g".to_owned()]);
        e.kept = (1..=3).map(|n| ["a", "f", "g"].map(|at| format!("snap-{n}{at}")).to_vec()).collect();
        e
    }

    fn data_volume(device: String, volume: String) -> DataVolume {
        let found = Contents { writes: 700, lineage: Vec::new() };
        DataVolume { device, there: volume.clone(), volume, acknowledged: 700, found }
    }

    fn failed(change: impl FnOnce(&mut Evidence)) -> Vec<&'static str> {
        let mut evidence = good();
        change(&mut evidence);
        judge(&evidence).into_iter().filter(|proof| !proof.holds).map(|proof| proof.claim).collect()
    }

    const SAME: &str = "same data volumes, under the same device names";
    const WRITES: &str = "no write lost on any of them";
    const BY_HAND: &str = "the one attached by hand came along, and is marked as the operator's";
    const OUTLIVE: &str = "every volume outlives the new instance, as EC2 says";
    const MOMENT: &str = "every recovery point holds all volumes at one moment";

    #[test]
    fn a_good_recovery_proves_everything_with_its_values() {
        assert_eq!(failed(|_| {}), [""; 0]);
        let proofs = judge(&good());
        assert_eq!(proofs.len(), 14);
        let values: Vec<&str> = proofs[4..9].iter().map(|proof| proof.values.as_str()).collect();
        assert_eq!(
            values,
            [
                "/dev/sdf vol-f before, vol-f after; /dev/sdg vol-g before, vol-g after",
                "/dev/sdf 700 acknowledged, 700 on vol-f; /dev/sdg 700 acknowledged, 700 on vol-g",
                "vol-g at /dev/sdg, adopted",
                "3 of 3: /dev/xvda vol-2, /dev/sdf vol-f, /dev/sdg vol-g",
                "3 of 3, of 3 snapshots each",
            ]
        );
    }

    #[test]
    fn nothing_read_proves_nothing() {
        let proofs = judge(&Evidence::default());
        let holding: Vec<&str> = proofs.iter().filter(|proof| proof.holds).map(|proof| proof.claim).collect();
        assert_eq!(holding, [""; 0]);
    }

    #[test]
    fn each_fault_fails_its_own_proof() {
        assert_eq!(failed(|e| e.data[0].there = "vol-9".into()), [SAME]);
        assert_eq!(failed(|e| drop(e.data.pop())), [SAME, WRITES]);
        assert_eq!(failed(|e| e.data[1].found.writes = 699), [WRITES]);
        assert_eq!(failed(|e| (e.data[1].found.writes, e.data[1].acknowledged) = (0, 0)), [WRITES]);
        assert_eq!(failed(|e| e.adopted.clear()), [BY_HAND]);
        assert_eq!(failed(|e| e.adopted.push("vol-f".into())), [BY_HAND]);
        assert_eq!(failed(|e| e.disks[1].outlives = false), [OUTLIVE]);
        assert_eq!(failed(|e| drop(e.disks.pop())), [OUTLIVE]);
        assert_eq!(failed(|e| drop(e.kept[1].pop())), [MOMENT]);
        assert_eq!(failed(|e| drop(e.after.data.remove("/dev/sdg"))), [SAME, BY_HAND, OUTLIVE]);
        let detached = |e: &mut Evidence| e.volumes[1].state = "available".into();
        assert_eq!(failed(detached), ["nothing else left over"]);
    }
}

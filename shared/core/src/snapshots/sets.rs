//! Recovery points: which snapshots belong together, and whether together they hold all of a node.
//!
//! Snapshots of several volumes are taken at one moment, all or none, and are of use together only. Each
//! carries the key of its set and of how many parts that consists; one that says nothing of parts is a set by
//! itself. Never is a set with a part missing, failed or pending taken for a recovery point.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::limits;
use crate::names::{TAG_KEY, TAG_PARTS};
use crate::observation::{SnapshotFacts, SnapshotState};

/// What a set is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worth {
    /// All of its parts are there and complete.
    Complete,
    /// It may still become so.
    Pending,
    /// It never will: a part failed, or one is missing that reads should long have shown.
    Broken,
}

/// The snapshots of one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Set<'s> {
    /// Its parts, never none.
    pub parts: Vec<&'s SnapshotFacts>,
    /// When it was requested.
    pub started_at: Timestamp,
    /// What it is worth.
    pub worth: Worth,
}

/// The sets that these snapshots of one node make, the newest first. Copies must have been left out.
pub fn sets<'s>(snapshots: impl IntoIterator<Item = &'s SnapshotFacts>, now: Timestamp) -> Vec<Set<'s>> {
    let mut sets = Vec::new();
    let mut by_key: BTreeMap<(usize, Option<&String>), Vec<&SnapshotFacts>> = BTreeMap::new();
    for snapshot in snapshots {
        match wanted(snapshot) {
            1 => sets.extend(Set::of(vec![snapshot], 1, now)),
            parts => by_key.entry((parts, snapshot.tags.get(TAG_KEY))).or_default().push(snapshot),
        }
    }
    for ((wanted, _), mut parts) in by_key {
        parts.sort_by(|a, b| (a.started_at, &a.id).cmp(&(b.started_at, &b.id)));
        let mut moment: Vec<&SnapshotFacts> = Vec::new();
        for part in parts {
            // Two passes side by side may take a set twice. Halves of both are not one.
            if moment.iter().any(|other| is_of_another_moment(other, part)) {
                sets.extend(Set::of(std::mem::take(&mut moment), wanted, now));
            }
            moment.push(part);
        }
        sets.extend(Set::of(moment, wanted, now));
    }
    sets.sort_by(|a, b| (b.started_at, b.first()).cmp(&(a.started_at, a.first())));
    sets
}

/// Of how many parts its set consists, as the snapshot says: one where it says nothing, and more than there
/// can be where it says nonsense, so that what cannot be understood never counts as complete.
fn wanted(snapshot: &SnapshotFacts) -> usize {
    let read = |parts: &String| parts.parse().ok().filter(|parts| *parts > 0).unwrap_or(usize::MAX);
    snapshot.tags.get(TAG_PARTS).map_or(1, read)
}

/// EC2 takes no two snapshots of a volume within 15 seconds, and those of a set at once.
fn is_of_another_moment(earlier: &SnapshotFacts, later: &SnapshotFacts) -> bool {
    earlier.volume == later.volume
        || later.started_at.duration_since(earlier.started_at) >= limits::SNAPSHOT_SPACING
}

impl<'s> Set<'s> {
    /// A set of these parts, the earliest first; `None` without any.
    fn of(parts: Vec<&'s SnapshotFacts>, wanted: usize, now: Timestamp) -> Option<Self> {
        let started_at = parts.first()?.started_at;
        let any = |state| parts.iter().any(|part| part.state == state);
        let lacks = parts.len() < wanted;
        let worth = if any(SnapshotState::Error) || (lacks && now.duration_since(started_at) > limits::QUIET)
        {
            Worth::Broken
        } else if lacks || any(SnapshotState::Pending) {
            // Also beside enough completed ones: of a volume that was attached between the look and the call there
            // is one part more than wanted, and which of them that is, nothing tells.
            Worth::Pending
        } else {
            Worth::Complete
        };
        Some(Self { parts, started_at, worth })
    }

    /// Whether it is a recovery point.
    pub fn is_complete(&self) -> bool {
        self.worth == Worth::Complete
    }

    /// The part that stands for all.
    pub fn first(&self) -> Option<&'s crate::ids::SnapshotId> {
        self.parts.first().map(|part| &part.id)
    }

    /// Bytes of all blocks in its parts; `None` while EC2 does not tell those of each.
    pub fn bytes(&self) -> Option<u64> {
        self.parts.iter().map(|part| part.full_bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::ids::{SnapshotId, VolumeId};
    use crate::names::Tags;

    use SnapshotState::{Completed, Error, Pending};

    fn now() -> Timestamp {
        Timestamp::from_second(1_790_000_000).unwrap()
    }

    /// `snap-<key>-<volume>`, taken so many seconds ago as one of so many parts.
    fn part(key: &str, volume: &str, parts: Option<&str>, ago: i64, state: SnapshotState) -> SnapshotFacts {
        let mut tags = Tags::from([(TAG_KEY.into(), key.into())]);
        tags.extend(parts.map(|parts| (TAG_PARTS.to_owned(), parts.to_owned())));
        SnapshotFacts {
            id: SnapshotId::new(format!("snap-{key}-{volume}-{ago}")),
            state,
            volume: VolumeId::new(volume),
            started_at: now() - SignedDuration::from_secs(ago),
            progress: String::new(),
            full_bytes: None,
            own: true,
            tags,
        }
    }

    /// What these snapshots make: how long ago each set was taken, of how many parts, and its worth.
    fn told(snapshots: &[SnapshotFacts]) -> Vec<(i64, usize, Worth)> {
        let sets = sets(snapshots, now());
        sets.iter()
            .map(|set| (now().duration_since(set.started_at).as_secs(), set.parts.len(), set.worth))
            .collect()
    }

    #[test]
    fn a_single_snapshot_is_a_set_of_one_part() {
        for (state, worth) in
            [(Completed, Worth::Complete), (Pending, Worth::Pending), (Error, Worth::Broken)]
        {
            for parts in [None, Some("1")] {
                for ago in [10, 100_000] {
                    assert_eq!(told(&[part("k", "vol-1", parts, ago, state)]), [(ago, 1, worth)]);
                }
            }
        }
        // Two of one key are two recovery points, however close.
        let twice = [part("k", "vol-1", None, 20, Completed), part("k", "vol-1", None, 40, Completed)];
        assert_eq!(told(&twice), [(20, 1, Worth::Complete), (40, 1, Worth::Complete)]);
        assert!(sets(&[], now()).is_empty());
    }

    #[test]
    fn a_set_is_worth_what_its_parts_are_together() {
        for (one, other, worth) in [
            (Completed, Completed, Worth::Complete),
            (Completed, Pending, Worth::Pending),
            (Pending, Pending, Worth::Pending),
            (Completed, Error, Worth::Broken),
            (Pending, Error, Worth::Broken),
            (Error, Error, Worth::Broken),
        ] {
            for (one, other) in [(one, other), (other, one)] {
                for ago in [10, 100_000] {
                    let both = ["vol-1", "vol-2"].into_iter().zip([one, other]);
                    let both: Vec<_> =
                        both.map(|(volume, state)| part("k", volume, Some("2"), ago, state)).collect();
                    assert_eq!(told(&both), [(ago, 2, worth)], "{one:?} {other:?}");
                }
            }
        }
    }

    #[test]
    fn a_set_that_lacks_parts_is_waited_for_and_then_given_up() {
        for (ago, worth) in [(10, Worth::Pending), (600, Worth::Pending), (601, Worth::Broken)] {
            for state in [Completed, Pending] {
                let two =
                    [part("k", "vol-1", Some("3"), ago, state), part("k", "vol-2", Some("3"), ago, state)];
                assert_eq!(told(&two), [(ago, 2, worth)], "{state:?}");
            }
        }
    }

    #[test]
    fn one_part_too_many_must_be_complete_as_well() {
        for (state, worth) in
            [(Completed, Worth::Complete), (Pending, Worth::Pending), (Error, Worth::Broken)]
        {
            let mut all: Vec<_> =
                ["vol-1", "vol-2"].map(|it| part("k", it, Some("2"), 100, Completed)).into();
            all.push(part("k", "vol-9", Some("2"), 100, state));
            assert_eq!(told(&all), [(100, 3, worth)]);
        }
    }

    #[test]
    fn halves_of_a_set_that_was_taken_twice_make_no_whole() {
        let of = |volume: &str, ago| part("k", volume, Some("2"), ago, Completed);
        let both = [of("vol-1", 900), of("vol-2", 900), of("vol-1", 880), of("vol-2", 880)];
        assert_eq!(told(&both), [(880, 2, Worth::Complete), (900, 2, Worth::Complete)]);
        assert_eq!(told(&both[1..]), [(880, 2, Worth::Complete), (900, 1, Worth::Broken)]);
        let halves = [both[1].clone(), both[2].clone()];
        assert_eq!(told(&halves), [(880, 1, Worth::Broken), (900, 1, Worth::Broken)]);
        let halves = [both[0].clone(), both[2].clone()];
        assert_eq!(told(&halves), [(880, 1, Worth::Broken), (900, 1, Worth::Broken)]);
        // However close by their stamps, two of one volume are of two moments.
        let twice = [of("vol-1", 900), of("vol-1", 890)];
        assert_eq!(told(&twice), [(890, 1, Worth::Broken), (900, 1, Worth::Broken)]);
        // EC2 may stamp the parts of one moment with seconds that differ.
        assert_eq!(told(&[of("vol-1", 900), of("vol-2", 899)]), [(900, 2, Worth::Complete)]);
    }

    #[test]
    fn sets_are_told_apart_by_key_and_size() {
        let one = part("a", "vol-1", Some("2"), 700, Completed);
        let other = part("b", "vol-2", Some("2"), 700, Completed);
        assert_eq!(told(&[one.clone(), other]), [(700, 1, Worth::Broken), (700, 1, Worth::Broken)]);
        let larger = part("a", "vol-2", Some("3"), 700, Completed);
        assert_eq!(told(&[one, larger]).len(), 2);
    }

    #[test]
    fn a_number_of_parts_that_is_nonsense_is_never_reached() {
        for nonsense in ["", "0", "-1", "two", "99999999999999999999999"] {
            let it = part("k", "vol-1", Some(nonsense), 700, Completed);
            assert_eq!(told(&[it]), [(700, 1, Worth::Broken)], "{nonsense:?}");
        }
    }

    #[test]
    fn the_newest_comes_first_and_bytes_are_those_of_all_parts() {
        let mut all = vec![
            part("a", "vol-1", None, 900, Completed),
            part("b", "vol-1", Some("2"), 300, Completed),
            part("b", "vol-2", Some("2"), 300, Completed),
            part("c", "vol-1", None, 600, Completed),
        ];
        all[1].full_bytes = Some(5);
        assert_eq!(told(&all).iter().map(|(ago, ..)| *ago).collect::<Vec<_>>(), [300, 600, 900]);
        assert_eq!(sets(&all, now())[0].bytes(), None, "a part that is not told of");
        all[2].full_bytes = Some(7);
        let sets = sets(&all, now());
        assert_eq!((sets[0].bytes(), sets[0].first().unwrap().as_str()), (Some(12), "snap-b-vol-1-300"));
    }
}

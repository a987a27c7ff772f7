//! All nodes of a deployment, counted: how many stand where, how many are blocked, and who is missed longest.
//!
//! Figures for people and alarms; nothing is decided from them.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::ids::NodeName;
use crate::phase::Phase;
use crate::record::Standing;

/// The nodes of a deployment that are not gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// How many stand in which phase.
    pub phases: BTreeMap<Phase, usize>,
    /// How many have a `blocked` mark of which code.
    pub blocked: BTreeMap<String, usize>,
    /// How many are away although they should run.
    pub away: usize,
    /// Who of them is away longest, and since when.
    pub longest: Option<(NodeName, Timestamp)>,
    /// How many could not be counted: their records were not read, or are of a newer version.
    pub unread: usize,
}

impl Census {
    /// Counts a node; one without a [`Standing`] runs and waits for nothing.
    pub fn count(&mut self, node: &NodeName, standing: Option<&Standing>) {
        let phase = standing.map_or(Phase::Running, |standing| standing.phase);
        *self.phases.entry(phase).or_default() += 1;
        let Some(standing) = standing else { return };
        if let Some(code) = &standing.blocked {
            *self.blocked.entry(code.clone()).or_default() += 1;
        }
        if let Some(since) = standing.missed_since {
            self.away += 1;
            if self.longest.as_ref().is_none_or(|(_, longest)| since < *longest) {
                self.longest = Some((node.clone(), since));
            }
        }
    }

    /// How many nodes have a `blocked` mark.
    pub fn blocked_nodes(&self) -> usize {
        self.blocked.values().sum()
    }

    /// How long the node is away that is away longest; zero if none is.
    pub fn recovery(&self, now: Timestamp) -> SignedDuration {
        let longest = self.longest.as_ref().map(|(_, since)| now.duration_since(*since));
        longest.unwrap_or_default().max(SignedDuration::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn standing(phase: Phase, blocked: Option<&str>, missed_since: Option<i64>) -> Standing {
        Standing { phase, blocked: blocked.map(str::to_owned), missed_since: missed_since.map(at) }
    }

    #[test]
    fn every_node_is_counted_once_and_the_longest_absence_is_told() {
        let mut census = Census::default();
        let nodes = [
            ("a", None),
            ("b", Some(standing(Phase::Running, Some("root-untagged"), None))),
            ("c", Some(standing(Phase::Capturing, None, Some(400)))),
            ("d", Some(standing(Phase::Launching, Some("capacity"), Some(100)))),
            ("e", Some(standing(Phase::Launching, Some("capacity"), Some(200)))),
            ("f", Some(standing(Phase::Paused, None, None))),
        ];
        for (name, standing) in &nodes {
            census.count(&NodeName::parse(name).unwrap(), standing.as_ref());
        }
        let phases = [(Phase::Launching, 2), (Phase::Running, 2), (Phase::Capturing, 1), (Phase::Paused, 1)];
        assert_eq!(census.phases, BTreeMap::from(phases));
        assert_eq!((census.blocked_nodes(), census.blocked["capacity"], census.away), (3, 2, 3));
        assert_eq!(census.longest, Some((NodeName::parse("d").unwrap(), at(100))));
        assert_eq!(census.recovery(at(1000)), SignedDuration::from_secs(900));
        assert_eq!(census.recovery(at(50)), SignedDuration::ZERO, "clocks differ");
    }

    #[test]
    fn without_anyone_missed_there_is_no_recovery() {
        let mut census = Census::default();
        census.count(&NodeName::parse("a").unwrap(), None);
        assert_eq!((census.recovery(at(1000)), census.blocked_nodes()), (SignedDuration::ZERO, 0));
    }
}

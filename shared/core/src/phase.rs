//! The phases of a node and the one function that changes them.
//!
//! Each signal leads from a few phases to exactly one: any other pair must not happen and is an
//! [`Illegal`], never a silent no-op.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a node stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Accepted, nothing made yet.
    New,
    /// Wants an instance: climbs the ladder, then waits for `running`.
    Launching,
    /// Has a running instance; what must survive it is being secured.
    Attaching,
    /// All is well.
    Running,
    /// EC2 takes the instance back; waits for its end.
    Interrupting,
    /// The operator wants no instance, or another one: terminates it and waits for its end.
    Stopping,
    /// The instance has ended; waits until it let go of what is kept.
    Releasing,
    /// Final snapshots are being taken.
    Capturing,
    /// The node image is being registered.
    Imaging,
    /// No instance, by the operator's wish; can be resumed at any time.
    Paused,
    /// No instance, and what is kept is deleted when the time of retention is over.
    Deallocated,
    /// What was kept is being deleted or handed over; there is no way back.
    Purging,
    /// Nothing is left. The name can be used again, for a new life.
    Gone,
}

/// What happened to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signal {
    /// Its first config was accepted.
    Accepted,
    /// Its instance runs.
    Up,
    /// What must survive the instance will, as read back from AWS.
    Secured,
    /// EC2 gave notice to its instance.
    Noticed,
    /// The operator wants no instance, or another one.
    Unwanted,
    /// Its instance outlived the notice, or is wanted after all.
    Spared,
    /// Its instance is ending or has ended.
    Ended,
    /// The launch came to nothing: no instance, no volume.
    CameToNothing,
    /// Everything kept is free, and a final snapshot is needed.
    Released,
    /// Everything kept is free, and nothing of it needs a snapshot.
    ReleasedBare,
    /// All final snapshots are complete.
    Captured,
    /// The same, and none of them is the root's.
    CapturedBare,
    /// Data volumes must be captured before their node is launched or rests.
    CaptureNeeded,
    /// The node image can be launched.
    Imaged,
    /// The node image is gone; the final snapshot behind it is not.
    ImageLost,
    /// The final snapshot is gone; the volume it was taken of is not.
    SnapshotLost,
    /// The last bytes are nowhere to be found: the operator must choose an older recovery point.
    DataLost,
    /// The operator chose one.
    Restored,
    /// The operator wants it paused, and it has no instance.
    Rested,
    /// The operator wants it deallocated, and it has no instance.
    Retired,
    /// The operator wants it to run again.
    Resumed,
    /// The operator wants it to be managed no longer.
    Dismissed,
    /// The time of retention is over.
    Expired,
    /// Nothing is left of it.
    Purged,
}

/// A signal that a phase does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a node that is {phase} cannot take the signal {signal:?}")]
pub struct Illegal {
    /// Where the node stood.
    pub phase: Phase,
    /// What was signalled.
    pub signal: Signal,
}

impl Signal {
    /// All signals, in the order of a life.
    pub const ALL: [Self; 24] = [
        Self::Accepted,
        Self::Up,
        Self::Secured,
        Self::Noticed,
        Self::Unwanted,
        Self::Spared,
        Self::Ended,
        Self::CameToNothing,
        Self::Released,
        Self::ReleasedBare,
        Self::Captured,
        Self::CapturedBare,
        Self::CaptureNeeded,
        Self::Imaged,
        Self::ImageLost,
        Self::SnapshotLost,
        Self::DataLost,
        Self::Restored,
        Self::Rested,
        Self::Retired,
        Self::Resumed,
        Self::Dismissed,
        Self::Expired,
        Self::Purged,
    ];

    /// The phases that know the signal, and the one it leads to.
    fn leads(self) -> (&'static [Phase], Phase) {
        use Phase as P;
        match self {
            Self::Accepted => (&[P::New], P::Launching),
            Self::Up => (&[P::Launching], P::Attaching),
            Self::Secured => (&[P::Attaching], P::Running),
            Self::Noticed => (&[P::Launching, P::Attaching, P::Running], P::Interrupting),
            Self::Unwanted => (&[P::Attaching, P::Running], P::Stopping),
            Self::Spared => (&[P::Interrupting, P::Stopping], P::Attaching),
            Self::Ended => {
                (&[P::Launching, P::Attaching, P::Running, P::Interrupting, P::Stopping], P::Releasing)
            }
            Self::CameToNothing => (&[P::Launching, P::Releasing], P::Launching),
            Self::Released => (&[P::Releasing], P::Capturing),
            Self::ReleasedBare => (&[P::Releasing], P::Launching),
            Self::Captured => (&[P::Capturing], P::Imaging),
            Self::CapturedBare => (&[P::Capturing], P::Launching),
            Self::CaptureNeeded => (&[P::Launching, P::Paused], P::Capturing),
            Self::Imaged => (&[P::Imaging], P::Launching),
            Self::ImageLost => (&[P::Launching, P::Paused], P::Imaging),
            Self::SnapshotLost => (&[P::Launching, P::Paused], P::Capturing),
            Self::DataLost => (&[P::Releasing, P::Capturing, P::Imaging], P::Launching),
            Self::Restored => (&[P::Launching, P::Paused], P::Imaging),
            Self::Rested => (&[P::Launching, P::Deallocated], P::Paused),
            Self::Retired => (&[P::Launching, P::Paused], P::Deallocated),
            Self::Resumed => (&[P::Paused, P::Deallocated], P::Launching),
            Self::Dismissed => (Phase::ALL.split_at(Phase::ALL.len() - 2).0, P::Purging),
            Self::Expired => (&[P::Deallocated], P::Purging),
            Self::Purged => (&[P::Purging], P::Gone),
        }
    }
}

impl Phase {
    /// All phases, in the order of a life.
    pub const ALL: [Self; 13] = [
        Self::New,
        Self::Launching,
        Self::Attaching,
        Self::Running,
        Self::Interrupting,
        Self::Stopping,
        Self::Releasing,
        Self::Capturing,
        Self::Imaging,
        Self::Paused,
        Self::Deallocated,
        Self::Purging,
        Self::Gone,
    ];

    /// The word for it in records, events and documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Launching => "launching",
            Self::Attaching => "attaching",
            Self::Running => "running",
            Self::Interrupting => "interrupting",
            Self::Stopping => "stopping",
            Self::Releasing => "releasing",
            Self::Capturing => "capturing",
            Self::Imaging => "imaging",
            Self::Paused => "paused",
            Self::Deallocated => "deallocated",
            Self::Purging => "purging",
            Self::Gone => "gone",
        }
    }

    /// The phase after this one, given a signal.
    ///
    /// # Errors
    /// [`Illegal`] if this phase does not know the signal: a defect of the caller.
    pub fn after(self, signal: Signal) -> Result<Self, Illegal> {
        let (from, to) = signal.leads();
        if from.contains(&self) { Ok(to) } else { Err(Illegal { phase: self, signal }) }
    }

    /// Whether an interruption notice for the node's instance means anything in this phase.
    pub fn heeds_notice(self) -> bool {
        self.after(Signal::Noticed).is_ok()
    }

    /// Whether a node rests here, without an instance, until it is wanted again.
    pub fn is_resting(self) -> bool {
        matches!(self, Self::Paused | Self::Deallocated)
    }

    /// Whether a life ends here or has ended: no edit changes it any more.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Purging | Self::Gone)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_interruption_survived_walks_the_whole_circle() {
        let story = [
            (Signal::Accepted, Phase::Launching),
            (Signal::Up, Phase::Attaching),
            (Signal::Secured, Phase::Running),
            (Signal::Noticed, Phase::Interrupting),
            (Signal::Ended, Phase::Releasing),
            (Signal::Released, Phase::Capturing),
            (Signal::Captured, Phase::Imaging),
            (Signal::Imaged, Phase::Launching),
        ];
        let mut phase = Phase::New;
        for (signal, next) in story {
            phase = phase.after(signal).unwrap();
            assert_eq!(phase, next);
        }
    }

    #[test]
    fn an_instance_that_ends_goes_to_releasing_from_every_phase_that_has_one() {
        use Phase::*;
        for phase in [Launching, Attaching, Running, Interrupting, Stopping] {
            assert_eq!(phase.after(Signal::Ended), Ok(Phase::Releasing));
        }
    }

    #[test]
    fn a_node_can_be_let_go_of_in_every_phase_until_its_purge() {
        for phase in Phase::ALL {
            assert_eq!(phase.after(Signal::Dismissed).is_ok(), !phase.is_final(), "{phase}");
        }
    }

    #[test]
    fn nothing_leads_out_of_a_purge_but_its_end() {
        for signal in Signal::ALL {
            assert_eq!(Phase::Purging.after(signal).is_ok(), signal == Signal::Purged, "{signal:?}");
            assert!(Phase::Gone.after(signal).is_err(), "{signal:?}");
        }
    }

    #[test]
    fn an_illegal_pair_names_both() {
        let error = Phase::Capturing.after(Signal::Up).unwrap_err();
        assert_eq!(error.to_string(), "a node that is capturing cannot take the signal Up");
    }
}

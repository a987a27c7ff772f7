//! The phases of a node and the one function that changes them.
//!
//! Every pair of phase and signal is spelled out: a pair that must not happen is an [`Illegal`], never a
//! silent no-op.

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
    /// The instance has ended; waits until it let go of what is kept.
    Releasing,
    /// Final snapshots are being taken.
    Capturing,
    /// The node image is being registered.
    Imaging,
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
    /// Its instance outlived the notice.
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
    /// The node image can be launched.
    Imaged,
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

impl Phase {
    /// All phases, in the order of a life.
    pub const ALL: [Self; 8] = [
        Self::New,
        Self::Launching,
        Self::Attaching,
        Self::Running,
        Self::Interrupting,
        Self::Releasing,
        Self::Capturing,
        Self::Imaging,
    ];

    /// The word for it in records, events and documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Launching => "launching",
            Self::Attaching => "attaching",
            Self::Running => "running",
            Self::Interrupting => "interrupting",
            Self::Releasing => "releasing",
            Self::Capturing => "capturing",
            Self::Imaging => "imaging",
        }
    }

    /// The phase after this one, given a signal.
    ///
    /// # Errors
    /// [`Illegal`] if this phase does not know the signal: a defect of the caller.
    pub fn after(self, signal: Signal) -> Result<Self, Illegal> {
        use Phase as P;
        use Signal as S;
        let illegal = Err(Illegal { phase: self, signal });
        match self {
            P::New => match signal {
                S::Accepted => Ok(P::Launching),
                S::Up | S::Secured | S::Noticed | S::Spared | S::Ended | S::CameToNothing => illegal,
                S::Released | S::ReleasedBare | S::Captured | S::Imaged => illegal,
            },
            P::Launching => match signal {
                S::Up => Ok(P::Attaching),
                S::Noticed => Ok(P::Interrupting),
                S::Ended => Ok(P::Releasing),
                S::CameToNothing => Ok(P::Launching),
                S::Accepted | S::Secured | S::Spared | S::Released | S::ReleasedBare => illegal,
                S::Captured | S::Imaged => illegal,
            },
            P::Attaching => match signal {
                S::Secured => Ok(P::Running),
                S::Noticed => Ok(P::Interrupting),
                S::Ended => Ok(P::Releasing),
                S::Accepted | S::Up | S::Spared | S::CameToNothing | S::Released => illegal,
                S::ReleasedBare | S::Captured | S::Imaged => illegal,
            },
            P::Running => match signal {
                S::Noticed => Ok(P::Interrupting),
                S::Ended => Ok(P::Releasing),
                S::Accepted | S::Up | S::Secured | S::Spared | S::CameToNothing => illegal,
                S::Released | S::ReleasedBare | S::Captured | S::Imaged => illegal,
            },
            P::Interrupting => match signal {
                S::Spared => Ok(P::Attaching),
                S::Ended => Ok(P::Releasing),
                S::Accepted | S::Up | S::Secured | S::Noticed | S::CameToNothing => illegal,
                S::Released | S::ReleasedBare | S::Captured | S::Imaged => illegal,
            },
            P::Releasing => match signal {
                S::Released => Ok(P::Capturing),
                S::ReleasedBare | S::CameToNothing => Ok(P::Launching),
                S::Accepted | S::Up | S::Secured | S::Noticed | S::Spared | S::Ended => illegal,
                S::Captured | S::Imaged => illegal,
            },
            P::Capturing => match signal {
                S::Captured => Ok(P::Imaging),
                S::Accepted | S::Up | S::Secured | S::Noticed | S::Spared | S::Ended => illegal,
                S::CameToNothing | S::Released | S::ReleasedBare | S::Imaged => illegal,
            },
            P::Imaging => match signal {
                S::Imaged => Ok(P::Launching),
                S::Accepted | S::Up | S::Secured | S::Noticed | S::Spared | S::Ended => illegal,
                S::CameToNothing | S::Released | S::ReleasedBare | S::Captured => illegal,
            },
        }
    }

    /// Whether an interruption notice for the node's instance means anything in this phase.
    pub fn heeds_notice(self) -> bool {
        self.after(Signal::Noticed).is_ok()
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
        for phase in [Phase::Launching, Phase::Attaching, Phase::Running, Phase::Interrupting] {
            assert_eq!(phase.after(Signal::Ended), Ok(Phase::Releasing));
        }
    }

    #[test]
    fn an_illegal_pair_names_both() {
        let error = Phase::Capturing.after(Signal::Up).unwrap_err();
        assert_eq!(error.to_string(), "a node that is capturing cannot take the signal Up");
    }
}

//! Which call to the world goes wrong, and how.

use perennial_core::failure::{Class, Failure};

/// How a call goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The invocation dies before the call has its effect.
    DieBefore,
    /// The invocation dies after the call had its effect.
    DieAfter,
    /// The call is throttled: no effect, and says so.
    Throttle,
    /// The call has its effect, and its answer is lost.
    LoseAnswer,
    /// The call has no effect, and its answer is lost.
    LoseCall,
    /// What the call needs is not there yet: no effect.
    NotYet,
}

impl Fault {
    /// Every way.
    pub const ALL: [Self; 6] =
        [Self::DieBefore, Self::DieAfter, Self::Throttle, Self::LoseAnswer, Self::LoseCall, Self::NotYet];

    /// Whether the call has its effect all the same.
    pub fn has_effect(self) -> bool {
        matches!(self, Self::DieAfter | Self::LoseAnswer)
    }

    /// Whether the invocation dies of it.
    pub fn kills(self) -> bool {
        matches!(self, Self::DieBefore | Self::DieAfter)
    }

    /// What the caller is told, if it lives to hear it.
    pub fn failure(self, call: &'static str) -> Failure {
        let (class, code) = match self {
            Self::Throttle => (Class::Retry, "RequestLimitExceeded"),
            Self::NotYet => (Class::NotYet, "IncorrectState"),
            Self::LoseAnswer | Self::LoseCall | Self::DieBefore | Self::DieAfter => (Class::Retry, "Timeout"),
        };
        Failure::new(class, call, code, "injected by the simulation")
    }
}

/// The plan of one run: at most one fault, at one call.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plan {
    /// The number of the call, from 0, and what happens to it.
    pub at: Option<(u64, Fault)>,
}

impl Plan {
    /// Nothing goes wrong.
    pub const NONE: Self = Self { at: None };

    /// One call goes wrong.
    pub fn one(call: u64, fault: Fault) -> Self {
        Self { at: Some((call, fault)) }
    }

    /// What happens to a call.
    pub fn at(&self, call: u64) -> Option<Fault> {
        self.at.filter(|(at, _)| *at == call).map(|(_, fault)| fault)
    }
}

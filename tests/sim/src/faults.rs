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
    /// The call goes well, but another invocation's tick goes by just before it.
    Overtaken,
    /// The call is refused with one of the other classes of the error table: no effect.
    Refused(Class),
}

impl Fault {
    /// Every way.
    pub const ALL: [Self; 15] = [
        Self::DieBefore,
        Self::DieAfter,
        Self::Throttle,
        Self::LoseAnswer,
        Self::LoseCall,
        Self::NotYet,
        Self::Overtaken,
        Self::Refused(Class::NextRung),
        Self::Refused(Class::Quota),
        Self::Refused(Class::NotFound),
        Self::Refused(Class::NameTaken),
        Self::Refused(Class::TokenMismatch),
        Self::Refused(Class::TokenSpent),
        Self::Refused(Class::AddressTaken),
        Self::Refused(Class::Terminal),
    ];

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
            Self::Refused(class) => (class, "Injected"),
            Self::LoseAnswer | Self::LoseCall | Self::DieBefore | Self::DieAfter | Self::Overtaken => {
                (Class::Retry, "Timeout")
            }
        };
        Failure::new(class, call, code, "injected by the simulation")
    }
}

/// What goes wrong in one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Nothing.
    None,
    /// One call, by its number from 0.
    One(u64, Fault),
    /// The first answer to every changing call of EC2 is lost, so that each step is taken twice.
    Repeat,
    /// One call in so many is overtaken by another invocation, as a seed has it.
    Overtake {
        /// Which calls.
        seed: u64,
        /// One in so many.
        one_in: u64,
    },
    /// Calls picked by a seed, until so many calls were made: then the world behaves.
    Random {
        /// Which calls, and how.
        seed: u64,
        /// One call in so many goes wrong.
        one_in: u64,
        /// After so many calls none does.
        calls: u64,
    },
}

impl Plan {
    /// What happens to a call.
    pub fn at(&self, call: u64) -> Option<Fault> {
        match *self {
            Self::None | Self::Repeat => None,
            Self::One(at, fault) => (at == call).then_some(fault),
            Self::Overtake { seed, one_in } => {
                mix(seed ^ mix(call)).is_multiple_of(one_in).then_some(Fault::Overtaken)
            }
            Self::Random { calls, .. } if call >= calls => None,
            Self::Random { seed, one_in, .. } => {
                let draw = mix(seed ^ mix(call));
                draw.is_multiple_of(one_in)
                    .then(|| Fault::ALL[(mix(draw) % Fault::ALL.len() as u64) as usize])
            }
        }
    }
}

/// A good mix of 64 bits (the finaliser of SplitMix64): all the randomness a run has.
pub fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

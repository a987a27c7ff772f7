//! What a failed call means for the step that made it.
//!
//! Only the AWS adapter turns error codes into a [`Class`]; everything else decides by class. A `code` is
//! carried for people to read, never to branch on.

use std::fmt;

use crate::shown::{MESSAGE_MAX, SHOWN_MAX, bounded};

/// How a caller should take a failed call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// The resource is changing state, or a read does not show it yet: wait.
    NotYet,
    /// Throttled, timed out or broken on the way; the effect may have happened. Repeat identically.
    Retry,
    /// A definite "not here, not this type": the next rung of the launch ladder.
    NextRung,
    /// An account quota: waiting helps, other rungs of the same market do not.
    Quota,
    /// The id names nothing. After a delete that is success, after a create it is "not yet".
    NotFound,
    /// The unique name is taken: look up who has it.
    NameTaken,
    /// The token was used with other parameters: look up what it made.
    TokenMismatch,
    /// The token made an instance that has ended since.
    TokenSpent,
    /// A private address that somebody else holds.
    AddressTaken,
    /// Refused for a reason that repeating will not change: a person must act.
    Terminal,
}

/// A failed call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Failure {
    /// What it means.
    pub class: Class,
    /// The error code of AWS, or a word of ours for failures on the way.
    pub code: String,
    /// AWS's sentence.
    pub message: String,
    /// Which call, as `Service:Operation`.
    pub call: &'static str,
}

impl Failure {
    /// A failure with all its parts, which are bounded here: it ends up in logs, records and events.
    pub fn new(
        class: Class,
        call: &'static str,
        code: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self { class, code: bounded(code, SHOWN_MAX), message: bounded(message, MESSAGE_MAX), call }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} answered {}: {}", self.call, self.code, self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_of_aws_is_bounded_and_still_says_who_may_not_do_what() {
        let who = "You are not authorized to perform this operation. User: arn:aws:sts::123456789012:assumed-role/reconcile \
                   is not authorized to perform: ec2:RunInstances";
        let message = format!("{who}. Encoded authorization failure message: {}", "x".repeat(3000));
        let failure = Failure::new(Class::Terminal, "EC2:RunInstances", "UnauthorizedOperation", message);
        assert!(failure.message.starts_with(who));
        assert!(failure.to_string().chars().count() < 700);
    }
}

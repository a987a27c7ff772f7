//! What Lambda is told when an invocation failed.

use lambda_runtime::Diagnostic;
use perennial_core::failure::{Class, Failure};

/// An invocation that failed, after it was logged. Lambda repeats it; the tick goes on from there anyway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed(pub Failure);

impl Failed {
    /// Logs a failure, once and with all its parts, and wraps it for Lambda.
    pub(crate) fn logged(failure: Failure) -> Self {
        let Failure { class, code, message, call } = &failure;
        if *class == Class::Terminal {
            tracing::error!(call, code, message, "a call was refused; a person must act");
        } else {
            tracing::warn!(call, code, message, ?class, "a call failed; it will be repeated");
        }
        Self(failure)
    }
}

impl From<Failed> for Diagnostic {
    fn from(failed: Failed) -> Self {
        Self { error_type: error_type(failed.0.class).to_owned(), error_message: failed.0.to_string() }
    }
}

/// Stable names, for alarms and metric filters.
fn error_type(class: Class) -> &'static str {
    match class {
        Class::NotYet => "Perennial.NotYet",
        Class::Retry => "Perennial.Retry",
        Class::NextRung => "Perennial.NextRung",
        Class::Quota => "Perennial.Quota",
        Class::NotFound => "Perennial.NotFound",
        Class::NameTaken => "Perennial.NameTaken",
        Class::TokenMismatch => "Perennial.TokenMismatch",
        Class::TokenSpent => "Perennial.TokenSpent",
        Class::AddressTaken => "Perennial.AddressTaken",
        Class::Terminal => "Perennial.Terminal",
    }
}

//! Request buckets: how many calls of each API an account may make (EC2 developer guide, *Request throttling for the
//! Amazon EC2 API*), in virtual time.
//!
//! Each bucket belongs to one action; a call takes one token, buckets refill evenly. Nothing here knows real time.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{ApiError, Cloud, Quota};

/// The buckets of one account and Region that were ever drawn from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Throttle {
    buckets: BTreeMap<(&'static str, Class), Bucket>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at: Timestamp,
}

/// Which of an action's buckets is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    /// Requests.
    Requests,
    /// Describe requests without filter and page length.
    Unfiltered,
    /// Instances launched, terminated, stopped.
    Resources,
}

/// `(size, refill per second)` of an action's bucket.
fn limits(action: &str, class: Class) -> (f64, f64) {
    match class {
        Class::Unfiltered => (50.0, 10.0),
        Class::Resources if action == "RunInstances" => (1000.0, 2.0),
        Class::Resources => (1000.0, 20.0),
        Class::Requests => match action {
            "RunInstances" | "StartInstances" => (5.0, 2.0),
            "CreateTags" | "DeleteTags" => (100.0, 10.0),
            "CreateSnapshot"
            | "CreateSnapshots"
            | "DeleteSnapshot"
            | "CreateVolume"
            | "DeleteVolume"
            | "TerminateInstances"
            | "DeregisterImage"
            | "CreateNetworkInterface"
            | "DeleteNetworkInterface"
            | "ModifyNetworkInterfaceAttribute"
            | "AssignPrivateIpAddresses"
            | "CreateLaunchTemplateVersion" => (100.0, 5.0),
            describe if describe.starts_with("Describe") => (100.0, 20.0),
            // The guide's class of all other mutating actions.
            _ => (50.0, 5.0),
        },
    }
}

impl Throttle {
    /// Takes so many tokens, if they are there; `raised` stands in for the guide's bucket.
    fn take(
        &mut self,
        (action, class): (&'static str, Class),
        raised: Option<&Quota>,
        units: f64,
        now: Timestamp,
    ) -> bool {
        let (size, refill) = raised.map_or_else(|| limits(action, class), |it| (it.burst, it.per_second));
        let bucket = self.buckets.entry((action, class)).or_insert(Bucket { tokens: size, at: now });
        let passed = now.duration_since(bucket.at).as_secs_f64().max(0.0);
        bucket.tokens = (bucket.tokens + passed * refill).min(size);
        bucket.at = now;
        // A call for more than there is takes what is there, so that one large call is not refused for ever.
        let enough = bucket.tokens >= units.min(size);
        if enough {
            bucket.tokens -= units;
        }
        enough
    }
}

impl Cloud {
    fn draw(&mut self, action: &'static str, class: Class, units: f64) -> Result<(), ApiError> {
        let raised = (class == Class::Requests).then(|| self.settings.raised.get(action)).flatten();
        if !self.settings.throttling || self.throttle.take((action, class), raised, units, self.now) {
            return Ok(());
        }
        Err(ApiError::with_status("RequestLimitExceeded", "Request limit exceeded.", 503))
    }

    /// Draws one request of `action`.
    pub(crate) fn admit(&mut self, action: &'static str) -> Result<(), ApiError> {
        self.draw(action, Class::Requests, 1.0)
    }

    /// Draws one describe request, from the small bucket when it is neither filtered nor paginated.
    pub(crate) fn admit_describe(&mut self, action: &'static str, narrow: bool) -> Result<(), ApiError> {
        self.draw(action, if narrow { Class::Requests } else { Class::Unfiltered }, 1.0)
    }

    /// Draws the instances a call is about.
    pub(crate) fn admit_resources(&mut self, action: &'static str, count: usize) -> Result<(), ApiError> {
        self.draw(action, Class::Resources, count as f64)
    }
}

//! The cloud's clock: real time since the start, multiplied by a factor.
//!
//! Decides what "now" is for everything a caller can see. Never goes back, and is never read by the model itself,
//! which is only told how far to advance.

use std::time::{Duration, Instant};

use dynoxide::storage_backend::Clock as DatabaseClock;
use jiff::{SignedDuration, Timestamp};

/// Maps the machine's monotonic clock to cloud time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Timestamp,
    origin: Instant,
    speed: f64,
}

impl Clock {
    /// A clock that shows `start` now and runs `speed` cloud seconds for each real second (`speed` ≥ 1).
    #[must_use]
    pub(crate) fn new(start: Timestamp, speed: f64) -> Clock {
        Clock { start, origin: Instant::now(), speed }
    }

    /// The cloud time at which this clock was started.
    #[must_use]
    pub(crate) fn start(&self) -> Timestamp {
        self.start
    }

    /// Cloud seconds for each real second.
    #[must_use]
    pub(crate) fn speed(&self) -> f64 {
        self.speed
    }

    /// Cloud time now.
    #[must_use]
    pub(crate) fn now(&self) -> Timestamp {
        let elapsed = SignedDuration::from_secs_f64(self.origin.elapsed().as_secs_f64() * self.speed);
        self.start.checked_add(elapsed).unwrap_or(Timestamp::MAX)
    }

    /// How long, in real time, until the clock shows `at`; zero when it already has.
    #[must_use]
    pub(crate) fn real_until(&self, at: Timestamp) -> Duration {
        let ahead = at.duration_since(self.now()).as_secs_f64() / self.speed;
        Duration::try_from_secs_f64(ahead.max(0.0)).unwrap_or(Duration::MAX)
    }

    /// The cloud duration that passes in `real`.
    #[must_use]
    pub(crate) fn cloud_duration(&self, real: Duration) -> SignedDuration {
        SignedDuration::from_secs_f64(real.as_secs_f64() * self.speed)
    }
}

/// DynamoDB's stream records and expiry follow cloud time as well.
impl DatabaseClock for Clock {
    fn now_unix_secs(&self) -> u64 {
        u64::try_from(self.now().as_second()).unwrap_or(0)
    }

    fn now_unix_secs_f64(&self) -> f64 {
        self.now().as_duration().as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_faster_clock_needs_less_real_time_for_the_same_wait() {
        let clock = Clock::new("2026-01-01T00:00:00Z".parse().unwrap(), 60.0);
        let wait = clock.real_until(clock.start() + SignedDuration::from_mins(10));
        assert!(wait <= Duration::from_secs(10), "ten cloud minutes are ten real seconds at 60: {wait:?}");
        assert_eq!(clock.real_until(clock.start()), Duration::ZERO);
        assert_eq!(clock.cloud_duration(Duration::from_secs(5)), SignedDuration::from_mins(5));
    }
}

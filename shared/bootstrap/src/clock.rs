//! The time of one invocation.
//!
//! Decisions run on the wall clock; the time an event carries only says when what it tells of happened. A
//! late delivery therefore never makes a claim look alive, and an event from the future moves nothing.
//! Under a local cloud the event's time *is* the time, and runs faster than the wall clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jiff::{SignedDuration, Timestamp};
use perennial_engine::ports::Clock;

use crate::settings::{ClockSource, Settings};

/// How far an event may be ahead of the wall clock: clocks differ, but not by more than this.
const AHEAD_AT_MOST: SignedDuration = SignedDuration::from_secs(60);
/// The longest that one call may take, retries included.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Under a fast clock a call still needs this much real time; several must fit into the five seconds that
/// a local cloud gives an invocation at least, or the engine would start nothing.
const CALL_TIMEOUT_LEAST: Duration = Duration::from_secs(1);
/// The SDK's own first pause before it repeats a call.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);

/// The wall clock.
pub(crate) fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    SignedDuration::try_from(since).ok().and_then(|s| Timestamp::from_duration(s).ok()).unwrap_or_default()
}

/// The timeout of one call in real time.
pub(crate) fn real_call_timeout(factor: f64) -> Duration {
    CALL_TIMEOUT.div_f64(factor).max(CALL_TIMEOUT_LEAST)
}

/// The pause before the first repeat of a call in real time: pauses follow the cloud's clock.
pub(crate) fn real_first_backoff(factor: f64) -> Duration {
    FIRST_BACKOFF.div_f64(factor)
}

/// When an invocation began, on the clocks of this machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start {
    /// The wall clock.
    pub(crate) wall: Timestamp,
    /// The monotonic clock, at the same moment.
    pub(crate) instant: Instant,
    /// When Lambda ends the invocation, on the wall clock.
    pub(crate) lambda_deadline: Timestamp,
}

/// An event that says it happened later than now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FromTheFuture {
    /// How much later.
    pub(crate) by: SignedDuration,
}

/// The clock of one invocation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InvocationClock {
    base: Timestamp,
    instant: Instant,
    factor: f64,
    deadline: Timestamp,
}

impl InvocationClock {
    /// The clock of an invocation that began at `start` with an event of this time.
    pub(crate) fn new(
        settings: &Settings,
        start: &Start,
        event: Option<Timestamp>,
    ) -> Result<Self, FromTheFuture> {
        let factor = settings.time_factor;
        let base = base(settings.clock, start.wall, event)?;
        let remaining = start.lambda_deadline.duration_since(start.wall).max(SignedDuration::ZERO);
        let deadline =
            base.saturating_add(scaled(remaining.unsigned_abs(), factor)).unwrap_or(Timestamp::MAX);
        Ok(Self { base, instant: start.instant, factor, deadline })
    }
}

fn base(source: ClockSource, wall: Timestamp, event: Option<Timestamp>) -> Result<Timestamp, FromTheFuture> {
    match (source, event) {
        (ClockSource::Event, Some(event)) => Ok(event),
        (ClockSource::Wall, Some(event)) => {
            let by = event.duration_since(wall);
            if by > AHEAD_AT_MOST { Err(FromTheFuture { by }) } else { Ok(event.max(wall)) }
        }
        (ClockSource::Event | ClockSource::Wall, None) => Ok(wall),
    }
}

fn scaled(real: Duration, factor: f64) -> SignedDuration {
    let seconds = real.as_secs_f64() * factor;
    SignedDuration::try_from_secs_f64(seconds).unwrap_or(SignedDuration::MAX)
}

impl Clock for InvocationClock {
    fn now(&self) -> Timestamp {
        let elapsed = scaled(self.instant.elapsed(), self.factor);
        self.base.saturating_add(elapsed).unwrap_or(Timestamp::MAX)
    }

    fn deadline(&self) -> Timestamp {
        self.deadline
    }

    fn call_timeout(&self) -> SignedDuration {
        scaled(real_call_timeout(self.factor), self.factor)
    }

    async fn pause(&self, how_long: SignedDuration) {
        let real = Duration::try_from(how_long.max(SignedDuration::ZERO)).unwrap_or_default();
        tokio::time::sleep(real.div_f64(self.factor)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    const WALL: &str = "2026-11-20T10:00:00Z";

    #[test]
    fn an_old_event_does_not_turn_the_clock_back() {
        for event in ["2026-11-20T09:00:00Z", "2026-11-20T09:59:59Z"] {
            assert_eq!(base(ClockSource::Wall, at(WALL), Some(at(event))), Ok(at(WALL)));
        }
        assert_eq!(base(ClockSource::Wall, at(WALL), None), Ok(at(WALL)));
    }

    #[test]
    fn an_event_a_little_ahead_is_followed_and_one_from_the_future_refused() {
        let ahead = at("2026-11-20T10:01:00Z");
        assert_eq!(base(ClockSource::Wall, at(WALL), Some(ahead)), Ok(ahead));
        let future = base(ClockSource::Wall, at(WALL), Some(at("2026-11-20T10:01:01Z")));
        assert_eq!(future, Err(FromTheFuture { by: SignedDuration::from_secs(61) }));
    }

    #[test]
    fn a_local_cloud_is_followed_wherever_it_is() {
        for event in ["2020-01-01T00:00:00Z", "2036-01-01T00:00:00Z"] {
            assert_eq!(base(ClockSource::Event, at(WALL), Some(at(event))), Ok(at(event)));
        }
    }

    #[test]
    fn deadline_and_timeouts_are_on_the_same_clock_as_now() {
        let settings = Settings {
            config_table: String::new(),
            state_table: String::new(),
            event_bus: String::new(),
            deployment: String::new(),
            region: String::new(),
            clock: ClockSource::Event,
            time_factor: 20.0,
        };
        let start =
            Start { wall: at(WALL), instant: Instant::now(), lambda_deadline: at("2026-11-20T10:00:05Z") };
        let clock = InvocationClock::new(&settings, &start, Some(at("2030-01-01T00:00:00Z"))).unwrap();
        assert_eq!(clock.deadline(), at("2030-01-01T00:01:40Z"));
        // One real second, the least that a call needs, is twenty here.
        assert_eq!(clock.call_timeout(), SignedDuration::from_secs(20));
        assert!(clock.now() >= at("2030-01-01T00:00:00Z"));
        let past = Start { lambda_deadline: at("2026-11-20T09:00:00Z"), ..start };
        let clock = InvocationClock::new(&settings, &past, Some(at("2030-01-01T00:00:00Z"))).unwrap();
        assert_eq!(clock.deadline(), at("2030-01-01T00:00:00Z"));
    }

    #[test]
    fn a_call_takes_ten_seconds_at_most() {
        assert_eq!(real_call_timeout(1.0), Duration::from_secs(10));
        assert_eq!(real_call_timeout(2.0), Duration::from_secs(5));
        assert_eq!(real_first_backoff(20.0), Duration::from_millis(50));
        assert_eq!(real_call_timeout(100.0), Duration::from_secs(1));
    }
}

//! The environment of a function, read once and completely.
//!
//! A missing or malformed variable fails the start with all problems named: a function that starts can
//! work.

use std::fmt;

/// Where the time of an invocation comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockSource {
    /// The wall clock.
    Wall,
    /// The event, unclamped: only where a local cloud keeps its own time.
    Event,
}

/// The settings of a function.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// `PERENNIAL_CONFIG_TABLE`: what the operator wants.
    pub config_table: String,
    /// `PERENNIAL_STATE_TABLE`: what Perennial knows and intends.
    pub state_table: String,
    /// `PERENNIAL_EVENT_BUS`: where own events go.
    pub event_bus: String,
    /// `PERENNIAL_DEPLOYMENT`: whose resources these are.
    pub deployment: String,
    /// `AWS_REGION`.
    pub region: String,
    /// `PERENNIAL_CLOCK`: absent, or `event`.
    pub clock: ClockSource,
    /// `PERENNIAL_TIME_FACTOR`: how many seconds pass in one real second; 1 if absent.
    pub time_factor: f64,
}

/// One variable that is missing or malformed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The variable.
    pub key: &'static str,
    /// What is wrong and what is expected.
    pub what: String,
}

/// Everything that is wrong with an environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadSettings(pub Vec<Problem>);

impl fmt::Display for BadSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<_> = self.0.iter().map(|p| format!("{}: {}", p.key, p.what)).collect();
        f.write_str(&all.join("; "))
    }
}

impl std::error::Error for BadSettings {}

const CONFIG_TABLE: &str = "PERENNIAL_CONFIG_TABLE";
const STATE_TABLE: &str = "PERENNIAL_STATE_TABLE";
const EVENT_BUS: &str = "PERENNIAL_EVENT_BUS";
const DEPLOYMENT: &str = "PERENNIAL_DEPLOYMENT";
const REGION: &str = "AWS_REGION";
const CLOCK: &str = "PERENNIAL_CLOCK";
const TIME_FACTOR: &str = "PERENNIAL_TIME_FACTOR";

/// A day a second: beyond it nothing waits any more.
const TIME_FACTOR_MAX: f64 = 86_400.0;

impl Settings {
    /// Reads the settings through a look-up, so that tests need no environment.
    ///
    /// # Errors
    /// [`BadSettings`] with all problems at once.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, BadSettings> {
        let mut reader = Reader { lookup, problems: Vec::new() };
        let settings = Self {
            config_table: reader.required(CONFIG_TABLE, TABLE_NAME, is_table_name),
            state_table: reader.required(STATE_TABLE, TABLE_NAME, is_table_name),
            event_bus: reader.required(EVENT_BUS, "the name or ARN of an event bus", is_bus_name),
            deployment: reader.required(
                DEPLOYMENT,
                "1 to 32 lower-case letters, digits and hyphens, beginning with a letter or digit",
                is_deployment,
            ),
            region: reader.required(REGION, "the name of a Region", is_region),
            clock: reader.clock(),
            time_factor: reader.time_factor(),
        };
        if reader.problems.is_empty() { Ok(settings) } else { Err(BadSettings(reader.problems)) }
    }
}

struct Reader<L> {
    lookup: L,
    problems: Vec<Problem>,
}

impl<L: Fn(&str) -> Option<String>> Reader<L> {
    fn required(&mut self, key: &'static str, expected: &str, is_good: fn(&str) -> bool) -> String {
        match (self.lookup)(key) {
            Some(value) if is_good(&value) => return value,
            Some(value) => self.malformed(key, &value, expected),
            None => self.problems.push(Problem { key, what: format!("is not set; expected {expected}") }),
        }
        String::new()
    }

    fn malformed(&mut self, key: &'static str, value: &str, expected: &str) {
        let shown: String = value.chars().take(80).collect();
        self.problems.push(Problem { key, what: format!("is {shown:?}; expected {expected}") });
    }

    fn clock(&mut self) -> ClockSource {
        match (self.lookup)(CLOCK).as_deref() {
            None => ClockSource::Wall,
            Some("event") => ClockSource::Event,
            Some(value) => {
                self.malformed(CLOCK, value, "\"event\", or nothing for the wall clock");
                ClockSource::Wall
            }
        }
    }

    fn time_factor(&mut self) -> f64 {
        let Some(value) = (self.lookup)(TIME_FACTOR) else { return 1.0 };
        match value.parse::<f64>() {
            Ok(factor) if (1.0..=TIME_FACTOR_MAX).contains(&factor) => factor,
            Ok(_) | Err(_) => {
                self.malformed(TIME_FACTOR, &value, "a number from 1 to 86400");
                1.0
            }
        }
    }
}

const TABLE_NAME: &str = "3 to 255 letters, digits, underscores, dots and hyphens";

fn is_made_of(text: &str, lengths: std::ops::RangeInclusive<usize>, more: &[u8]) -> bool {
    lengths.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || more.contains(&b))
}

fn is_table_name(text: &str) -> bool {
    is_made_of(text, 3..=255, b"_.-")
}

fn is_bus_name(text: &str) -> bool {
    is_made_of(text, 1..=1600, b"/._:-")
}

fn is_deployment(text: &str) -> bool {
    is_made_of(text, 1..=32, b"-") && !text.starts_with('-') && !text.bytes().any(|b| b.is_ascii_uppercase())
}

fn is_region(text: &str) -> bool {
    is_made_of(text, 1..=64, b"-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good(key: &str) -> Option<String> {
        let value = match key {
            CONFIG_TABLE => "perennial-config",
            STATE_TABLE => "perennial-state",
            EVENT_BUS => "perennial",
            DEPLOYMENT => "prod-1",
            REGION => "eu-west-1",
            _ => return None,
        };
        Some(value.to_owned())
    }

    #[test]
    fn what_is_optional_has_its_default() {
        let settings = Settings::from_lookup(good).unwrap();
        assert_eq!(settings.deployment, "prod-1");
        assert_eq!((settings.clock, settings.time_factor), (ClockSource::Wall, 1.0));
    }

    #[test]
    fn an_empty_environment_is_refused_with_everything_it_lacks() {
        let bad = Settings::from_lookup(|_| None).unwrap_err();
        let keys: Vec<_> = bad.0.iter().map(|p| p.key).collect();
        assert_eq!(keys, [CONFIG_TABLE, STATE_TABLE, EVENT_BUS, DEPLOYMENT, REGION]);
        for key in keys {
            assert!(bad.to_string().contains(key), "{bad}");
        }
    }

    #[test]
    fn each_malformed_value_is_named_beside_the_others() {
        for (key, value) in [
            (CONFIG_TABLE, "ab"),
            (STATE_TABLE, "a/b/c"),
            (EVENT_BUS, ""),
            (DEPLOYMENT, "Prod"),
            (DEPLOYMENT, "-prod"),
            (DEPLOYMENT, "ppppppppppppppppppppppppppppppppp"),
            (REGION, "eu west"),
            (CLOCK, "wall"),
            (TIME_FACTOR, "0.5"),
            (TIME_FACTOR, "NaN"),
            (TIME_FACTOR, "fast"),
        ] {
            let bad = Settings::from_lookup(|k| if k == key { Some(value.to_owned()) } else { good(k) });
            let bad = bad.unwrap_err();
            assert_eq!(bad.0.len(), 1, "{key}={value}: {bad}");
            assert_eq!(bad.0[0].key, key);
        }
        let all = Settings::from_lookup(|_| Some("?".to_owned())).unwrap_err();
        assert_eq!(all.0.len(), 7, "{all}");
    }

    #[test]
    fn a_local_cloud_may_bring_its_own_time() {
        let settings = Settings::from_lookup(|key| match key {
            CLOCK => Some("event".to_owned()),
            TIME_FACTOR => Some("20".to_owned()),
            _ => good(key),
        });
        let settings = settings.unwrap();
        assert_eq!((settings.clock, settings.time_factor), (ClockSource::Event, 20.0));
    }
}

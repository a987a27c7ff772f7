//! Cron expressions: which ones Perennial takes, and what they mean before there is a time zone.
//!
//! Five fields as in Vixie cron, with names of months and weekdays, and in the fields of days also `L` (the last),
//! `15W` (the weekday nearest to the 15th), `FRI#2` (the second Friday) and `FRIL` (the last). No seconds, no years,
//! no `?`, and no nicknames such as `@daily`, for which there are frequencies. What an expression means is decided by
//! a library; nothing here may do so by itself, only refuse what the library takes for something else than it says.

use croner::parser::{CronParser, Seconds, Year};
use croner::{Cron, errors::CronError};
use jiff::Zoned;
use jiff::civil::{DateTime, Time};

use crate::limits;

/// How an expression is written.
pub(super) const WRITE: &str = "write five fields, minute, hour, day of month, month and day of week, such as \
                                \"30 2 * * *\" for half past two every day";

const FIELDS: [&str; 5] = ["minute", "hour", "day of month", "month", "day of week"];
const DAY_OF_MONTH: usize = 2;
const MONTH: usize = 3;
const DAY_OF_WEEK: usize = 4;
const MONTHS: [&str; 12] =
    ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

const MINUTES_A_DAY: i64 = 24 * 60;

/// Reads an expression.
///
/// # Errors
/// What is wrong with each of its fields, and how to write one.
pub(super) fn read(text: &str) -> Result<Cron, String> {
    let longest = limits::CRON_LENGTH_MAX;
    if text.len() > longest {
        return Err(format!("too long: at most {longest} characters; {WRITE}"));
    }
    let fields: Vec<_> = text.split_ascii_whitespace().collect();
    if fields.len() == 1 && text.contains('@') {
        return Err(format!("no nicknames: write frequency \"hourly\", \"daily\" or \"weekly\", or {WRITE}"));
    }
    if fields.len() != FIELDS.len() {
        return Err(format!("{} fields: {WRITE}", fields.len()));
    }
    let faults: Vec<_> = fields.iter().enumerate().filter_map(|(n, field)| fault(n, field)).collect();
    if !faults.is_empty() {
        return Err(format!("{}: {WRITE}", faults.join("; ")));
    }
    parse(&fields.join(" ")).map_err(|error| format!("{error}: {WRITE}"))
}

/// The expression with one space between its fields.
pub(super) fn plain(text: &str) -> String {
    text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

/// Reads an expression as the library does: one that [`read`] found good, which looks at it several times.
///
/// # Errors
/// What the library says.
pub(super) fn parse(text: &str) -> Result<Cron, CronError> {
    CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build().parse(text)
}

/// What is wrong with one field. The library does not say in which one it met a fault, so it reads each beside
/// stars.
fn fault(n: usize, field: &str) -> Option<String> {
    let at = |says: &str| Some(format!("{} {field:?}: {says}", FIELDS[n]));
    for part in field.split(',') {
        if let Some(word) = part.split(['-', '/', '#']).find(|word| !is_word(n, word)) {
            return at(&if word.is_empty() {
                "something is missing".to_owned()
            } else {
                format!("no {word:?} here")
            });
        }
    }
    let mut alone = ["*"; FIELDS.len()];
    alone[n] = field;
    match parse(&alone.join(" ")).err()? {
        CronError::ComponentError(says)
        | CronError::IllegalCharacters(says)
        | CronError::InvalidPattern(says) => at(says.trim_end_matches('.')),
        error => at(error.to_string().trim_end_matches('.')),
    }
}

/// Whether a word means something in a field. The library replaces names wherever they are, also within other words
/// and in other fields, and ignores what is missing between commas.
fn is_word(n: usize, word: &str) -> bool {
    let word = word.to_ascii_uppercase();
    let is_number = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
    let is_weekday = |word: &str| is_number(word) || WEEKDAYS.contains(&word);
    is_number(&word)
        || word == "*"
        || match n {
            DAY_OF_MONTH => word == "L" || word == "LW" || word.strip_suffix('W').is_some_and(is_number),
            MONTH => MONTHS.contains(&word.as_str()),
            DAY_OF_WEEK => is_weekday(&word) || word.strip_suffix('L').is_some_and(is_weekday),
            _ => false,
        }
}

/// The next times after `now`, three at most.
pub(super) fn upcoming(cron: &Cron, now: &Zoned) -> Vec<Zoned> {
    // The library's own iterator writes to standard error.
    let next = |at: &Zoned| cron.find_next_occurrence(at, false).ok();
    std::iter::successors(next(now), next).take(3).collect()
}

/// How many minutes by the clock on the wall are between two times in a row at least, in the years after the first.
pub(super) fn closest(cron: &Cron, first: DateTime) -> Option<i64> {
    let minutes = cron.pattern.minutes.values();
    let of_hour = |hour: u16| minutes.iter().map(move |minute| i64::from(hour) * 60 + i64::from(*minute));
    let of_day: Vec<_> = cron.pattern.hours.values().into_iter().flat_map(of_hour).collect();
    let within = of_day.windows(2).map(|pair| pair[1] - pair[0]).min();
    let overnight = of_day.first()? + MINUTES_A_DAY - of_day.last()?;
    match within {
        Some(within) if within <= overnight || !is_due_on_the_next_day_too(cron, first) => Some(within),
        _ => Some(overnight),
    }
}

/// Whether an expression is due on two days in a row, in the years after its first time.
fn is_due_on_the_next_day_too(cron: &Cron, first: DateTime) -> bool {
    let until = first.saturating_add(limits::BACKUP_DUE_WITHIN);
    let mut day = first.date();
    while day.to_datetime(Time::midnight()) < until {
        // The first time after the end of a day is of the next day on which it is due at all.
        let end = day.to_datetime(Time::MAX);
        let Ok(after) = cron.find_next_occurrence(&end, false) else { return false };
        if day.tomorrow().is_ok_and(|tomorrow| tomorrow == after.date()) {
            return true;
        }
        day = after.date();
    }
    false
}

//! Event source mappings: table streams to functions, in batches.
//!
//! Decides which records go into the next batch, what is tried again and what is given up. One batch of a mapping is
//! under way at a time, so that changes of an item arrive in order. After the Lambda developer guide, "Using AWS
//! Lambda with Amazon DynamoDB": `BatchSize`, `MaximumRetryAttempts`, `BisectBatchOnFunctionError` (a split does not
//! count as a retry) and `ReportBatchItemFailures`.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::faults::Fate;
use crate::template::StreamSource;

/// Pause before the first retry of a batch, in cloud time; doubled each time.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_secs(1);
/// Longest pause between retries.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_secs(60);

/// One mapping.
#[derive(Debug)]
pub(crate) struct Mapping {
    pub(crate) source: StreamSource,
    pub(crate) function: String,
    arn: String,
    region: String,
    /// Where the stream was read up to.
    pub(crate) iterator: String,
    pending: VecDeque<(Value, Option<Timestamp>)>,
    retry: VecDeque<Batch>,
    under_way: Option<Batch>,
    not_before: Option<Timestamp>,
    /// The time for which a wake-up is already on the agenda.
    pub(crate) wakes_at: Option<Timestamp>,
}

#[derive(Clone, Debug)]
struct Batch {
    records: Vec<Value>,
    /// Failed attempts so far.
    failures: u32,
}

/// What can be delivered now.
#[derive(Debug, PartialEq)]
pub(crate) enum Next {
    /// This event, to be delivered at once.
    Batch(Value),
    /// Nothing before this time.
    Wait(Timestamp),
    /// Nothing until a batch ends or a record comes.
    Idle,
}

/// A batch that was given up.
#[derive(Debug, PartialEq)]
pub(crate) struct GivenUp {
    pub(crate) records: Vec<Value>,
    pub(crate) attempts: u32,
    pub(crate) reason: String,
}

impl Mapping {
    pub(crate) fn new(
        source: StreamSource,
        function: &str,
        (arn, iterator): (String, String),
        region: &str,
    ) -> Mapping {
        Mapping {
            source,
            function: function.to_owned(),
            arn,
            region: region.to_owned(),
            iterator,
            pending: VecDeque::new(),
            retry: VecDeque::new(),
            under_way: None,
            not_before: None,
            wakes_at: None,
        }
    }

    /// Takes a record of the stream, with its fate. A late record holds up those behind it, as its shard does.
    pub(crate) fn accept(&mut self, mut record: Value, fate: Fate, now: Timestamp) {
        record["eventSourceARN"] = json!(self.arn);
        record["awsRegion"] = json!(self.region);
        match fate {
            Fate::Drop => {}
            Fate::Deliver => self.pending.push_back((record, None)),
            Fate::Twice => {
                self.pending.push_back((record.clone(), None));
                self.pending.push_back((record, None));
            }
            Fate::Late(delay) => self.pending.push_back((record, Some(now + delay))),
        }
    }

    /// The next batch, which is under way from then on.
    pub(crate) fn next(&mut self, now: Timestamp) -> Next {
        if self.under_way.is_some() {
            return Next::Idle;
        }
        if let Some(at) = self.not_before.filter(|at| *at > now) {
            return Next::Wait(at);
        }
        self.not_before = None;
        let batch = match self.retry.pop_front() {
            Some(batch) => batch,
            None => {
                let mut records = Vec::new();
                while records.len() < self.source.batch_size {
                    let Some((_, due)) = self.pending.front() else { break };
                    match due.filter(|due| *due > now) {
                        Some(due) if records.is_empty() => return Next::Wait(due),
                        Some(_) => break,
                        None => records.extend(self.pending.pop_front().map(|(record, _)| record)),
                    }
                }
                Batch { records, failures: 0 }
            }
        };
        if batch.records.is_empty() {
            return Next::Idle;
        }
        let event = json!({"Records": batch.records});
        self.under_way = Some(batch);
        Next::Batch(event)
    }

    /// Ends the batch under way: `Ok` with the function's answer, `Err` with the reason it failed.
    pub(crate) fn complete(&mut self, result: Result<&str, &str>, now: Timestamp) -> Option<GivenUp> {
        let batch = self.under_way.take()?;
        let (failed, reason, at_record) = match result {
            Err(reason) => (batch.records, reason.to_owned(), false),
            Ok(_) if !self.source.partial_failures => return None,
            Ok(answer) => match first_failure(answer, &batch.records) {
                Reported::Nothing => return None,
                Reported::From(index) => {
                    (batch.records[index..].to_vec(), "the function reported failed records".to_owned(), true)
                }
                Reported::Unreadable(reason) => (batch.records, reason, false),
            },
        };
        let failures = batch.failures + 1;
        if self.source.retries.is_some_and(|limit| failures > limit) {
            return Some(GivenUp { records: failed, attempts: failures, reason });
        }
        if self.source.bisect && failed.len() > 1 && !at_record {
            let (first, second) = failed.split_at(failed.len() / 2);
            self.retry.push_front(Batch { records: second.to_vec(), failures: batch.failures });
            self.retry.push_front(Batch { records: first.to_vec(), failures: batch.failures });
        } else {
            self.retry.push_front(Batch { records: failed, failures });
        }
        let doublings = i32::try_from(batch.failures.min(6)).unwrap_or(0);
        self.not_before = Some(now + (FIRST_PAUSE * 2_i32.pow(doublings.unsigned_abs())).min(LONGEST_PAUSE));
        None
    }
}

enum Reported {
    Nothing,
    From(usize),
    Unreadable(String),
}

/// The first record that the answer reports as failed; from there on everything is tried again.
fn first_failure(answer: &str, records: &[Value]) -> Reported {
    let answer: Value = match serde_json::from_str(answer.trim()) {
        Ok(answer) => answer,
        Err(_) if answer.trim().is_empty() => Value::Null,
        Err(error) => return Reported::Unreadable(format!("its answer is not JSON: {error}")),
    };
    let mut first: Option<usize> = None;
    for failure in answer["batchItemFailures"].as_array().into_iter().flatten() {
        let number = &failure["itemIdentifier"];
        match records.iter().position(|record| record["dynamodb"]["SequenceNumber"] == *number) {
            Some(index) => first = Some(first.map_or(index, |first| first.min(index))),
            None => {
                return Reported::Unreadable(format!(
                    "its answer reports {number}, not a record of the batch"
                ));
            }
        }
    }
    first.map_or(Reported::Nothing, Reported::From)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(batch_size: usize, retries: u32, bisect: bool) -> Mapping {
        let source = StreamSource {
            table: "t".to_owned(),
            batch_size,
            retries: Some(retries),
            bisect,
            partial_failures: true,
        };
        Mapping::new(source, "config-change", ("arn:stream".to_owned(), String::new()), "us-east-1")
    }

    fn record(number: u32) -> Value {
        json!({"eventName": "MODIFY", "dynamodb": {"SequenceNumber": number.to_string()}})
    }

    fn now() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    fn numbers(next: &Next) -> Vec<String> {
        let Next::Batch(event) = next else { panic!("a batch, not {next:?}") };
        let records = event["Records"].as_array().unwrap();
        records
            .iter()
            .map(|record| record["dynamodb"]["SequenceNumber"].as_str().unwrap().to_owned())
            .collect()
    }

    fn later(seconds: i64) -> Timestamp {
        now() + SignedDuration::from_secs(seconds)
    }

    #[test]
    fn records_come_in_order_one_batch_at_a_time() {
        let mut mapping = mapping(2, 1, false);
        for number in 1..=3 {
            mapping.accept(record(number), Fate::Deliver, now());
        }
        assert_eq!(numbers(&mapping.next(now())), ["1", "2"]);
        assert_eq!(mapping.next(now()), Next::Idle);
        assert_eq!(mapping.complete(Ok("{\"batchItemFailures\":[]}"), now()), None);
        assert_eq!(numbers(&mapping.next(now())), ["3"]);
        mapping.complete(Ok("null"), now());
        assert_eq!(mapping.next(now()), Next::Idle);
    }

    #[test]
    fn a_reported_failure_is_tried_again_with_everything_after_it() {
        let mut mapping = mapping(10, 5, true);
        for number in 1..=3 {
            mapping.accept(record(number), Fate::Deliver, now());
        }
        mapping.next(now());
        mapping.complete(Ok(r#"{"batchItemFailures":[{"itemIdentifier":"2"}]}"#), now());
        assert_eq!(mapping.next(now()), Next::Wait(later(1)));
        assert_eq!(numbers(&mapping.next(later(1))), ["2", "3"]);
    }

    #[test]
    fn a_failed_batch_is_halved_until_the_bad_record_stands_alone_and_is_given_up() {
        let mut mapping = mapping(10, 1, true);
        for number in 1..=2 {
            mapping.accept(record(number), Fate::Deliver, now());
        }
        let mut time = now();
        let (mut handled, mut given_up) = (Vec::new(), Vec::new());
        for _ in 0..10 {
            time += SignedDuration::from_mins(5);
            let next = mapping.next(time);
            if next == Next::Idle {
                break;
            }
            let batch = numbers(&next);
            if batch.contains(&"1".to_owned()) {
                given_up.extend(mapping.complete(Err("boom"), time));
            } else {
                mapping.complete(Ok(""), time);
                handled.extend(batch);
            }
        }
        assert_eq!(handled, ["2"]);
        assert_eq!(given_up.len(), 1);
        assert_eq!((given_up[0].records.len(), given_up[0].attempts), (1, 2));
    }

    #[test]
    fn an_answer_that_names_no_record_of_the_batch_fails_it_whole() {
        let mut mapping = mapping(10, 1, false);
        mapping.accept(record(1), Fate::Deliver, now());
        mapping.next(now());
        mapping.complete(Ok(r#"{"batchItemFailures":[{"itemIdentifier":""}]}"#), now());
        assert_eq!(numbers(&mapping.next(later(1))), ["1"]);
    }

    #[test]
    fn a_late_record_holds_up_those_behind_it_and_a_doubled_one_comes_twice() {
        let mut mapping = mapping(10, 1, false);
        mapping.accept(record(1), Fate::Late(SignedDuration::from_secs(30)), now());
        mapping.accept(record(2), Fate::Twice, now());
        mapping.accept(record(3), Fate::Drop, now());
        assert_eq!(mapping.next(now()), Next::Wait(later(30)));
        assert_eq!(numbers(&mapping.next(later(30))), ["1", "2", "2"]);
    }
}

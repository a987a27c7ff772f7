//! EventBridge event patterns: decides whether an event matches a rule.
//!
//! Knows exact values, `prefix`, `suffix`, `equals-ignore-case`, `anything-but` and `exists`, nested to any depth.
//! Any other content filter is refused when the template is read, never treated as matching or not matching.
//! Semantics after the EventBridge User Guide, "Creating Amazon EventBridge event patterns".

use serde_json::{Map, Value};

/// A parsed event pattern: all named fields must match.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pattern {
    fields: Vec<(String, Field)>,
}

#[derive(Clone, Debug, PartialEq)]
enum Field {
    /// A nested object.
    Within(Pattern),
    /// A leaf: at least one of the tests must hold.
    AnyOf(Vec<Test>),
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    Equals(Value),
    Prefix(String),
    Suffix(String),
    EqualsIgnoreCase(String),
    NoneOf(Vec<Value>),
    NoPrefixOf(Vec<String>),
    Exists(bool),
}

impl Pattern {
    /// Reads a pattern as it stands in a rule.
    ///
    /// # Errors
    /// A sentence naming the field that is not a pattern or uses a filter this cloud does not know.
    pub(crate) fn parse(pattern: &Value) -> Result<Pattern, String> {
        Pattern::parse_at(pattern, "")
    }

    fn parse_at(pattern: &Value, place: &str) -> Result<Pattern, String> {
        let Value::Object(map) = pattern else {
            return Err(format!("{} must be an object of event fields, not {pattern}", named(place)));
        };
        if map.is_empty() {
            return Err(format!("{} is empty; name at least one event field", named(place)));
        }
        let fields = map
            .iter()
            .map(|(key, value)| {
                let place = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
                let field = match value {
                    Value::Array(tests) if tests.is_empty() => {
                        return Err(format!("{} is an empty list; give at least one value", named(&place)));
                    }
                    Value::Array(tests) => Field::AnyOf(
                        tests.iter().map(|test| Test::parse(test, &place)).collect::<Result<_, _>>()?,
                    ),
                    Value::Object(_) => Field::Within(Pattern::parse_at(value, &place)?),
                    Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                        return Err(format!("{} must be a list of values, not {value}", named(&place)));
                    }
                };
                Ok((key.clone(), field))
            })
            .collect::<Result<_, String>>()?;
        Ok(Pattern { fields })
    }

    /// Whether `event`, a whole EventBridge envelope, matches.
    #[must_use]
    pub(crate) fn matches(&self, event: &Value) -> bool {
        let empty = Map::new();
        let object = event.as_object().unwrap_or(&empty);
        self.fields.iter().all(|(key, field)| field.matches(object.get(key)))
    }
}

impl Field {
    fn matches(&self, value: Option<&Value>) -> bool {
        match (self, value) {
            // A list of objects matches when one of them does.
            (Field::Within(pattern), Some(Value::Array(items))) => {
                items.iter().any(|item| pattern.matches(item))
            }
            (Field::Within(pattern), value) => pattern.matches(value.unwrap_or(&Value::Null)),
            (Field::AnyOf(tests), value) => tests.iter().any(|test| test.matches(value)),
        }
    }
}

impl Test {
    fn parse(test: &Value, place: &str) -> Result<Test, String> {
        let Value::Object(filter) = test else {
            return match test {
                Value::Array(_) => Err(format!("{} holds a list within a list", named(place))),
                value => Ok(Test::Equals(value.clone())),
            };
        };
        let unknown =
            || format!("{} uses the filter {test}, which the local cloud does not know", named(place));
        let mut entries = filter.iter();
        let (Some((name, argument)), None) = (entries.next(), entries.next()) else {
            return Err(unknown());
        };
        let text = || argument.as_str().map(str::to_owned).ok_or_else(unknown);
        match name.as_str() {
            "prefix" => Ok(Test::Prefix(text()?)),
            "suffix" => Ok(Test::Suffix(text()?)),
            "equals-ignore-case" => Ok(Test::EqualsIgnoreCase(text()?)),
            "exists" => argument.as_bool().map(Test::Exists).ok_or_else(unknown),
            "anything-but" => match argument {
                Value::Array(values) => Ok(Test::NoneOf(values.clone())),
                Value::Object(inner) if inner.len() == 1 => match inner.get("prefix") {
                    Some(Value::String(prefix)) => Ok(Test::NoPrefixOf(vec![prefix.clone()])),
                    Some(Value::Array(prefixes)) => prefixes
                        .iter()
                        .map(|prefix| prefix.as_str().map(str::to_owned).ok_or_else(unknown))
                        .collect::<Result<_, _>>()
                        .map(Test::NoPrefixOf),
                    Some(_) | None => Err(unknown()),
                },
                Value::Object(_) => Err(unknown()),
                value => Ok(Test::NoneOf(vec![value.clone()])),
            },
            _ => Err(unknown()),
        }
    }

    fn matches(&self, value: Option<&Value>) -> bool {
        match (self, value) {
            // `exists` is about leaves: an object under the name is not a leaf.
            (Test::Exists(wanted), value) => *wanted == value.is_some_and(|value| !value.is_object()),
            (_, None) => false,
            (_, Some(Value::Array(items))) => items.iter().any(|item| self.matches(Some(item))),
            (Test::Equals(wanted), Some(value)) => wanted == value,
            (Test::Prefix(prefix), Some(value)) => {
                value.as_str().is_some_and(|text| text.starts_with(prefix))
            }
            (Test::Suffix(suffix), Some(value)) => value.as_str().is_some_and(|text| text.ends_with(suffix)),
            (Test::EqualsIgnoreCase(wanted), Some(value)) => {
                value.as_str().is_some_and(|text| text.to_lowercase() == wanted.to_lowercase())
            }
            (Test::NoneOf(values), Some(value)) => !values.contains(value),
            (Test::NoPrefixOf(prefixes), Some(value)) => {
                value.as_str().is_some_and(|text| !prefixes.iter().any(|prefix| text.starts_with(prefix)))
            }
        }
    }
}

fn named(place: &str) -> String {
    if place.is_empty() { "the pattern".to_owned() } else { format!("pattern field '{place}'") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn matches(pattern: Value, event: Value) -> bool {
        Pattern::parse(&pattern).unwrap().matches(&event)
    }

    fn state_change(state: &str) -> Value {
        json!({"source": "aws.ec2", "detail-type": "EC2 Instance State-change Notification",
               "resources": ["arn:aws:ec2:us-east-1:123456789012:instance/i-1"],
               "detail": {"instance-id": "i-1", "state": state}})
    }

    #[test]
    fn all_fields_and_one_value_of_each_must_match() {
        let pattern = json!({"source": ["aws.ec2"], "detail-type": ["EC2 Instance State-change Notification"],
                             "detail": {"state": ["running", "terminated"]}});
        assert!(matches(pattern.clone(), state_change("running")));
        assert!(matches(pattern.clone(), state_change("terminated")));
        assert!(!matches(pattern.clone(), state_change("pending")));
        let mut foreign = state_change("running");
        foreign["source"] = json!("my.app");
        assert!(!matches(pattern, foreign));
    }

    #[test]
    fn content_filters() {
        let event = || state_change("running");
        assert!(matches(json!({"resources": [{"prefix": "arn:aws:ec2:"}]}), event()));
        assert!(!matches(json!({"resources": [{"prefix": "arn:aws:s3"}]}), event()));
        assert!(matches(json!({"detail": {"instance-id": [{"suffix": "-1"}]}}), event()));
        assert!(matches(json!({"detail": {"state": [{"equals-ignore-case": "RUNNING"}]}}), event()));
        assert!(matches(json!({"detail": {"state": [{"anything-but": ["pending", "stopping"]}]}}), event()));
        assert!(!matches(json!({"detail": {"state": [{"anything-but": "running"}]}}), event()));
        assert!(!matches(json!({"detail": {"state": [{"anything-but": {"prefix": "run"}}]}}), event()));
    }

    #[test]
    fn exists_looks_at_leaves_and_at_missing_parents() {
        assert!(matches(json!({"detail": {"state": [{"exists": true}]}}), state_change("running")));
        assert!(!matches(json!({"detail": {"state": [{"exists": false}]}}), state_change("running")));
        assert!(matches(
            json!({"detail": {"other": {"deep": [{"exists": false}]}}}),
            state_change("running")
        ));
        assert!(!matches(json!({"detail": {"other": [{"anything-but": "x"}]}}), state_change("running")));
    }

    #[test]
    fn what_it_does_not_know_is_refused_by_name() {
        let problem = Pattern::parse(&json!({"detail": {"size": [{"numeric": [">", 0]}]}})).unwrap_err();
        assert!(problem.contains("detail.size") && problem.contains("numeric"), "{problem}");
        let problem = Pattern::parse(&json!({"source": "aws.ec2"})).unwrap_err();
        assert!(problem.contains("source") && problem.contains("list"), "{problem}");
        assert!(Pattern::parse(&json!({"source": []})).is_err());
    }
}

//! Conditions of statements: decides whether the keys of an ask meet them.
//!
//! After the IAM User Guide, *IAM JSON policy elements: Condition operators* and *Multivalued context keys*: operators
//! and keys of one statement must all be met, one of the values of a key is enough; for a negated operator none may
//! match. An operator or key that is not modelled is refused when the template is read.

use serde_json::Value;

use super::Keys;
use super::policy::like;

/// How many of the values of a key must meet the test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Set {
    /// The key has one value.
    One,
    /// Every value; none at all will do.
    All,
    /// At least one value.
    Any,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Test {
    Equals,
    NotEquals,
    Like,
    NotLike,
    /// Whether the key is absent.
    Null,
}

/// One key of one operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    /// As the policy writes them, for the table of rights.
    pub(crate) operator: String,
    pub(crate) key: String,
    pub(crate) values: Vec<String>,
    set: Set,
    test: Test,
    if_exists: bool,
}

/// Keys that asks may carry, a tag's key left out.
const KEYS: &[&str] = &[
    "aws:RequestTag/",
    "aws:ResourceTag/",
    "aws:TagKeys",
    "dynamodb:Attributes",
    "dynamodb:LeadingKeys",
    "ec2:CreateAction",
    "events:source",
    "iam:PassedToService",
    "kms:GrantIsForAWSResource",
    "kms:ViaService",
];

impl Condition {
    /// Reads one operator and key.
    ///
    /// # Errors
    /// What is not known here.
    pub(super) fn read(operator: &str, key: &str, values: &Value) -> Result<Condition, String> {
        let (set, plain) = match operator.split_once(':') {
            None => (Set::One, operator),
            Some(("ForAllValues", plain)) => (Set::All, plain),
            Some(("ForAnyValue", plain)) => (Set::Any, plain),
            Some((other, _)) => return Err(format!("'{other}' is no qualifier of an operator")),
        };
        let (plain, if_exists) = match plain.strip_suffix("IfExists") {
            Some(plain) => (plain, true),
            None => (plain, false),
        };
        let test = match plain {
            "StringEquals" | "Bool" | "ArnEquals" => Test::Equals,
            "StringNotEquals" => Test::NotEquals,
            "StringLike" | "ArnLike" => Test::Like,
            "StringNotLike" => Test::NotLike,
            "Null" => Test::Null,
            other => return Err(format!("the operator '{other}' is not known to the local cloud")),
        };
        if !KEYS.iter().any(|known| key == *known || known.ends_with('/') && key.starts_with(known)) {
            return Err(format!("the condition key '{key}' is not known to the local cloud"));
        }
        let values = texts(values).ok_or_else(|| format!("{values} is no text and no list of texts"))?;
        if values.iter().any(|value| value.contains("${")) {
            return Err(format!("policy variables are not known to the local cloud: {values:?}"));
        }
        let (operator, key) = (operator.to_owned(), key.to_owned());
        Ok(Condition { operator, key, values, set, test, if_exists })
    }

    /// Whether an ask with these keys meets it.
    pub(super) fn is_met(&self, keys: &Keys) -> bool {
        let present = keys.get(&self.key).map(Vec::as_slice).filter(|values| !values.is_empty());
        if self.test == Test::Null {
            let wanted = self.values.iter().any(|value| value == "true");
            return present.is_none() == wanted;
        }
        let Some(present) = present else {
            return match self.set {
                Set::All => true,
                Set::Any => false,
                Set::One => self.if_exists || matches!(self.test, Test::NotEquals | Test::NotLike),
            };
        };
        match self.set {
            Set::One | Set::All => present.iter().all(|value| self.holds(value)),
            Set::Any => present.iter().any(|value| self.holds(value)),
        }
    }

    fn holds(&self, value: &str) -> bool {
        let equals = || self.values.iter().any(|wanted| wanted == value);
        let is_like = || self.values.iter().any(|wanted| like(wanted, value));
        match self.test {
            Test::Equals => equals(),
            Test::NotEquals => !equals(),
            Test::Like => is_like(),
            Test::NotLike => !is_like(),
            Test::Null => false,
        }
    }
}

/// One text, or a list of them; numbers and truth values count as their text.
pub(super) fn texts(value: &Value) -> Option<Vec<String>> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    };
    match value {
        Value::Array(items) => items.iter().map(text).collect(),
        single => text(single).map(|single| vec![single]),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TAG: &str = "aws:ResourceTag/a";

    fn met(operator: &str, key: &str, wanted: Value, present: &[&str]) -> bool {
        let keys = if present.is_empty() {
            Keys::new()
        } else {
            Keys::from([(key.to_owned(), present.iter().map(|it| (*it).to_owned()).collect())])
        };
        Condition::read(operator, key, &wanted).unwrap().is_met(&keys)
    }

    #[test]
    fn an_absent_key_meets_only_negations_null_and_what_is_said_of_all() {
        assert!(!met("StringEquals", TAG, json!("x"), &[]));
        assert!(!met("StringLike", TAG, json!("*"), &[]));
        assert!(met("StringNotEquals", TAG, json!("x"), &[]));
        assert!(met("StringEqualsIfExists", TAG, json!("x"), &[]));
        assert!(met("Null", TAG, json!("true"), &[]));
        assert!(!met("Null", TAG, json!("false"), &[]));
        assert!(met("ForAllValues:StringEquals", "aws:TagKeys", json!(["x"]), &[]));
        assert!(!met("ForAnyValue:StringEquals", "aws:TagKeys", json!(["x"]), &[]));
    }

    #[test]
    fn a_present_key_is_compared_with_each_value() {
        assert!(met("StringEquals", TAG, json!(["x", "y"]), &["y"]));
        assert!(!met("StringEquals", TAG, json!("x"), &["X"]));
        assert!(!met("StringNotEquals", TAG, json!(["x", "y"]), &["y"]));
        assert!(!met("StringEqualsIfExists", TAG, json!("x"), &["z"]));
        assert!(met("StringLike", TAG, json!("per?nnial:*"), &["perennial:node"]));
        assert!(met("StringNotLike", TAG, json!("perennial:*"), &["Name"]));
        assert!(!met("Null", TAG, json!(true), &["x"]));
        assert!(met("Bool", "kms:GrantIsForAWSResource", json!(true), &["true"]));
    }

    #[test]
    fn sets_are_judged_whole_or_by_one() {
        let keys = &["perennial:node", "Name"];
        assert!(!met("ForAllValues:StringLike", "aws:TagKeys", json!("perennial:*"), keys));
        assert!(met("ForAnyValue:StringLike", "aws:TagKeys", json!("perennial:*"), keys));
        assert!(!met("ForAllValues:StringNotLike", "aws:TagKeys", json!("perennial:*"), keys));
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for (operator, key) in [
            ("NumericEquals", TAG),
            ("ForSomeValues:StringEquals", TAG),
            ("StringEquals", "aws:SourceIp"),
            ("StringEquals", "aws:TagKey"),
        ] {
            assert!(Condition::read(operator, key, &json!("x")).is_err(), "{operator} {key}");
        }
        assert!(Condition::read("StringEquals", TAG, &json!("${aws:username}")).is_err());
        assert!(Condition::read("StringEquals", TAG, &json!({"a": 1})).is_err());
    }
}

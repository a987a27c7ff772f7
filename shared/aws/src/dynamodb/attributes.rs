//! Items as JSON and back.
//!
//! Everything that a person can put into an item can be read: a kind that JSON lacks becomes something
//! that a validator refuses with its place, never an error that hides the whole item.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use perennial_core::failure::{Class, Failure};
use perennial_engine::ports::Reply;
use serde::Serialize;
use serde_json::{Map, Number, Value};

/// An item as DynamoDB has it.
pub(super) type Item = HashMap<String, AttributeValue>;

/// Text.
pub(super) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

/// A whole number.
pub(super) fn number(value: impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// An item as a JSON object.
pub(super) fn to_json(item: &Item) -> Value {
    Value::Object(item.iter().map(|(name, value)| (name.clone(), value_of(value))).collect())
}

fn value_of(raw: &AttributeValue) -> Value {
    let texts = |set: &[String]| Value::Array(set.iter().map(|s| Value::String(s.clone())).collect());
    match raw {
        AttributeValue::S(text) => Value::String(text.clone()),
        AttributeValue::N(digits) => number_of(digits),
        AttributeValue::Bool(bool) => Value::Bool(*bool),
        AttributeValue::Null(_) => Value::Null,
        AttributeValue::L(list) => Value::Array(list.iter().map(value_of).collect()),
        AttributeValue::M(map) => {
            Value::Object(map.iter().map(|(k, v)| (k.clone(), value_of(v))).collect::<Map<_, _>>())
        }
        AttributeValue::Ss(set) => texts(set),
        AttributeValue::Ns(set) => Value::Array(set.iter().map(|n| number_of(n)).collect()),
        AttributeValue::B(_) | AttributeValue::Bs(_) => Value::String("(binary)".to_owned()),
        _ => Value::String("(unknown)".to_owned()),
    }
}

/// A number as exactly as JSON can have it; DynamoDB keeps 38 digits.
fn number_of(digits: &str) -> Value {
    let whole = digits.parse::<i64>().map(Number::from).or_else(|_| digits.parse::<u64>().map(Number::from));
    let number = whole.ok().or_else(|| digits.parse().ok().and_then(Number::from_f64));
    number.map_or_else(|| Value::String(digits.to_owned()), Value::Number)
}

/// Anything that is a map as an item.
pub(super) fn to_item(call: &'static str, value: &impl Serialize) -> Reply<Item> {
    serde_dynamo::aws_sdk_dynamodb_1::to_item(value).map_err(|e| unwritable(call, &e))
}

/// Anything as an attribute.
pub(super) fn to_attribute(call: &'static str, value: &impl Serialize) -> Reply<AttributeValue> {
    serde_dynamo::aws_sdk_dynamodb_1::to_attribute_value(value).map_err(|e| unwritable(call, &e))
}

fn unwritable(call: &'static str, error: &serde_dynamo::Error) -> Failure {
    Failure::new(Class::Terminal, call, "Construction", error.to_string())
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::primitives::Blob;
    use serde_json::json;

    use super::*;

    #[test]
    fn json_survives_the_way_there_and_back() {
        let value = json!({"id": "node#a", "n": 3, "f": 1.5, "neg": -7, "big": u64::MAX, "on": true,
            "none": null, "list": [1, "a", {"x": []}], "map": {"": {}}});
        assert_eq!(to_json(&to_item("test", &value).unwrap()), value);
    }

    #[test]
    fn numbers_are_numbers_in_the_table() {
        let item = to_item("test", &json!({"generation": 12})).unwrap();
        assert_eq!(item["generation"], AttributeValue::N("12".into()));
    }

    #[test]
    fn kinds_that_json_lacks_can_still_be_read() {
        let item = Item::from([
            ("set".into(), AttributeValue::Ss(vec!["a".into(), "b".into()])),
            ("numbers".into(), AttributeValue::Ns(vec!["1".into(), "2.5".into()])),
            ("bytes".into(), AttributeValue::B(Blob::new([1, 2]))),
            ("long".into(), AttributeValue::N("12345678901234567890123".into())),
        ]);
        let value = to_json(&item);
        assert_eq!(value["set"], json!(["a", "b"]));
        assert_eq!(value["numbers"], json!([1, 2.5]));
        assert_eq!(value["bytes"], json!("(binary)"));
        assert!(value["long"].is_number());
    }
}

//! What may come in: JSON of any kind, and good JSON that something was done to.
//!
//! Decides how odd it gets; what must hold of those who read it is for the tests. A crate of its own, with its generator
//! as an ordinary dependency, so that binaries and tests are built with the same features of what they share: else the
//! SDK would be compiled for each.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// The places of all values within a value, itself included, as JSON pointers.
pub fn places(value: &Value, at: &str, into: &mut Vec<String>) {
    into.push(at.to_owned());
    let escaped = |key: &str| key.replace('~', "~0").replace('/', "~1");
    match value {
        Value::Object(map) => map.iter().for_each(|(k, v)| places(v, &format!("{at}/{}", escaped(k)), into)),
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(n, v)| places(v, &format!("{at}/{n}"), into))
        }
        _ => {}
    }
}

/// Something odd to be put somewhere.
pub fn odd() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|n| json!(n)),
        prop_oneof![Just(u64::MAX), Just(u64::from(u32::MAX) + 1), Just(0)].prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        prop_oneof![
            Just("+5m".to_owned()),
            Just("+7".to_owned()),
            Just("99999999999d".to_owned()),
            Just("ü".repeat(70_000)),
            Just("9999-12-31T23:59:59Z".to_owned()),
            Just("-009999-01-01T00:00:00Z".to_owned()),
            Just("* * * * *".to_owned()),
            Just("$Default".to_owned()),
            Just("i-".to_owned()),
            Just(String::new()),
        ]
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(".{0,12}", inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// What is done to a value: at which place (of all there are), what is put there, and how.
pub fn changes() -> impl Strategy<Value = Vec<(usize, u8, Value)>> {
    prop::collection::vec((any::<usize>(), 0..4_u8, odd()), 1..4)
}

/// The value after these changes.
#[must_use]
pub fn changed(mut value: Value, changes: Vec<(usize, u8, Value)>) -> Value {
    for (place, how, odd) in changes {
        let mut all = Vec::new();
        places(&value, "", &mut all);
        let at = &all[place % all.len()];
        let Some(spot) = value.pointer_mut(at) else { continue };
        match (how, spot) {
            (0, Value::Object(map)) => _ = map.insert("unheard".to_owned(), odd),
            (0, Value::Array(list)) => list.push(odd),
            (1, Value::Object(map)) => map.clear(),
            (1, Value::Array(list)) => list.truncate(1),
            (2, Value::Array(list)) => list.extend(list.clone()),
            (2, Value::Object(map)) => map.retain(|key, _| key.len() % 2 == 0),
            (_, spot) => *spot = odd,
        }
    }
    value
}

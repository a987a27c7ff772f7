//! CloudFormation YAML as JSON: decides how the short forms of intrinsic functions are read.
//!
//! `!Ref x` becomes `{"Ref": "x"}`, `!Sub x` becomes `{"Fn::Sub": "x"}` and so on, so that everything after this
//! module sees one form. Resolves nothing.

use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::{Map, Value, json};

/// Reads one YAML (or JSON) document.
///
/// # Errors
/// A sentence with line and column when the text is not YAML, or naming what it holds that JSON cannot.
pub(super) fn read(text: &str) -> Result<Value, String> {
    let documents = Yaml::load_from_str(text).map_err(|error| format!("it is not valid YAML: {error}"))?;
    match documents.as_slice() {
        [document] => value(document),
        [] => Err("it is empty".to_owned()),
        more => Err(format!("it holds {} YAML documents, and one is wanted", more.len())),
    }
}

fn value(node: &Yaml<'_>) -> Result<Value, String> {
    match node {
        Yaml::Value(scalar) => Ok(scalar_value(scalar)),
        Yaml::Sequence(items) => items.iter().map(value).collect::<Result<Vec<_>, _>>().map(Value::Array),
        Yaml::Mapping(entries) => {
            let mut map = Map::new();
            for (key, entry) in entries {
                map.insert(key_text(key)?, value(entry)?);
            }
            Ok(Value::Object(map))
        }
        Yaml::Tagged(tag, inner) if tag.is_yaml_core_schema() => value(inner),
        Yaml::Tagged(tag, inner) => intrinsic(&tag.suffix, value(inner)?),
        Yaml::Representation(text, ..) => Ok(Value::String(text.to_string())),
        Yaml::Alias(_) => Err("it uses a YAML alias, which CloudFormation does not take".to_owned()),
        Yaml::BadValue => Err("it holds a value that does not fit its YAML tag".to_owned()),
    }
}

fn scalar_value(scalar: &Scalar<'_>) -> Value {
    match scalar {
        Scalar::Null => Value::Null,
        Scalar::Boolean(flag) => json!(flag),
        Scalar::Integer(number) => json!(number),
        Scalar::FloatingPoint(number) => json!(number.into_inner()),
        Scalar::String(text) => json!(text),
    }
}

fn key_text(key: &Yaml<'_>) -> Result<String, String> {
    match value(key)? {
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(flag) => Ok(flag.to_string()),
        other @ (Value::Null | Value::Array(_) | Value::Object(_)) => {
            Err(format!("a mapping has the key {other}, and a text is wanted"))
        }
    }
}

fn intrinsic(name: &str, argument: Value) -> Result<Value, String> {
    match name {
        "Ref" | "Condition" => Ok(json!({ name: argument })),
        // The dotted short form and the list of the long form are the same thing.
        "GetAtt" => match argument.as_str().map(|text| text.split_once('.')) {
            Some(Some((resource, attribute))) => Ok(json!({"Fn::GetAtt": [resource, attribute]})),
            Some(None) => Err(format!("!GetAtt {argument} names no attribute")),
            None => Ok(json!({"Fn::GetAtt": argument})),
        },
        "" => Err("it has an empty YAML tag '!'".to_owned()),
        _ => Ok(json!({ format!("Fn::{name}"): argument })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_forms_are_read_alike() {
        let short =
            read("a: !Ref X\nb: !GetAtt T.Arn\nc: !Sub '${X}-y'\nd: !Join ['-', [!Ref X, z]]").unwrap();
        let long = read(
            "a: {Ref: X}\nb: {'Fn::GetAtt': [T, Arn]}\nc: {'Fn::Sub': '${X}-y'}\nd: {'Fn::Join': ['-', [{Ref: X}, z]]}",
        )
        .unwrap();
        assert_eq!(short, long);
    }

    #[test]
    fn values_keep_their_types() {
        assert_eq!(
            read("n: 5\nf: 1.5\nt: true\ns: \"5\"\nz: ~\nl: [a, {b: c}]").unwrap(),
            json!({"n": 5, "f": 1.5, "t": true, "s": "5", "z": null, "l": ["a", {"b": "c"}]})
        );
    }

    #[test]
    fn broken_text_is_reported_with_its_place() {
        let problem = read("a: [1\nb: 2").unwrap_err();
        assert!(problem.contains("line"), "{problem}");
        assert!(read("").is_err());
    }
}

//! Intrinsic functions: decides what `Ref`, `Fn::Sub`, `Fn::GetAtt`, `Fn::Join`, `Fn::Split`, `Fn::Select` and `Fn::If`
//! stand for in this cloud; the conditions that `Fn::If` asks for have been decided in `conditions`.
//!
//! Anything else is refused where it is used, never passed on unresolved.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::Problem;

/// A resource as other resources may refer to it.
#[derive(Clone, Debug)]
pub(super) struct Resource {
    pub(super) kind: String,
    /// The physical name.
    pub(super) name: String,
}

/// What names in a template stand for.
#[derive(Clone, Debug)]
pub(super) struct Resolver {
    pub(super) region: String,
    pub(super) account: String,
    /// A text, or of a parameter that is a list an array of texts.
    pub(super) parameters: BTreeMap<String, Value>,
    /// What each condition comes to.
    pub(super) conditions: BTreeMap<String, bool>,
    pub(super) resources: BTreeMap<String, Resource>,
    /// Resources that are not made, with the condition that does not hold.
    pub(super) left_out: BTreeMap<String, String>,
}

impl Resolver {
    /// `value` with every intrinsic function replaced by what it stands for.
    pub(super) fn resolve(&self, value: &Value, place: &str) -> Result<Value, Problem> {
        match value {
            Value::Object(map) => match map.iter().next() {
                Some((name, argument)) if map.len() == 1 && is_intrinsic(name) => {
                    self.intrinsic(name, argument, place)
                }
                _ => {
                    let mut resolved = Map::new();
                    for (key, entry) in map {
                        match self.resolve(entry, &format!("{place}.{key}"))? {
                            Value::Null => {}
                            value => drop(resolved.insert(key.clone(), value)),
                        }
                    }
                    Ok(Value::Object(resolved))
                }
            },
            // `AWS::NoValue` leaves an entry out of a list as it does of a map.
            Value::Array(items) => items
                .iter()
                .enumerate()
                .map(|(index, item)| self.resolve(item, &format!("{place}[{index}]")))
                .filter(|item| !matches!(item, Ok(Value::Null)))
                .collect::<Result<Vec<_>, _>>()
                .map(Value::Array),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(value.clone()),
        }
    }

    /// As [`Resolver::resolve`], for what must come out as a text.
    pub(super) fn text(&self, value: &Value, place: &str) -> Result<String, Problem> {
        match self.resolve(value, place)? {
            Value::String(text) => Ok(text),
            Value::Number(number) => Ok(number.to_string()),
            Value::Bool(flag) => Ok(flag.to_string()),
            other @ (Value::Null | Value::Array(_) | Value::Object(_)) => {
                Err(Problem::new(place, format!("must be a text, not {other}")))
            }
        }
    }

    fn intrinsic(&self, name: &str, argument: &Value, place: &str) -> Result<Value, Problem> {
        let wrong = |wanted: &str| Problem::new(place, format!("{name} takes {wanted}, not {argument}"));
        match name {
            "Ref" => {
                let target = argument.as_str().ok_or_else(|| wrong("a name"))?;
                match (target, self.parameters.get(target)) {
                    ("AWS::NoValue", _) => Ok(Value::Null),
                    (_, Some(value)) => Ok(value.clone()),
                    (_, None) => self.reference(target, place).map(Value::String),
                }
            }
            "Fn::GetAtt" => match argument.as_array().map(Vec::as_slice) {
                Some([Value::String(resource), Value::String(attribute)]) => {
                    self.attribute(resource, attribute, place).map(Value::String)
                }
                _ => Err(wrong("a resource and an attribute")),
            },
            "Fn::Join" => match argument.as_array().map(Vec::as_slice) {
                Some([Value::String(separator), parts]) => {
                    let parts = self.list(parts, place)?;
                    let parts: Vec<String> =
                        parts.iter().map(|part| self.text(part, place)).collect::<Result<_, _>>()?;
                    Ok(Value::String(parts.join(separator)))
                }
                _ => Err(wrong("a separator and a list")),
            },
            "Fn::Split" => match argument.as_array().map(Vec::as_slice) {
                Some([Value::String(separator), text]) => {
                    Ok(self.text(text, place)?.split(separator.as_str()).map(Value::from).collect())
                }
                _ => Err(wrong("a separator and a text")),
            },
            "Fn::Select" => match argument.as_array().map(Vec::as_slice) {
                Some([index, items]) => {
                    let (index, items) = (self.text(index, place)?, self.list(items, place)?);
                    let chosen = index.parse().ok().and_then(|index: usize| items.get(index).cloned());
                    chosen.ok_or_else(|| wrong("an index within its list"))
                }
                _ => Err(wrong("an index and a list")),
            },
            "Fn::If" => match argument.as_array().map(Vec::as_slice) {
                // What is not chosen is not looked at: it may name what is not made.
                Some([Value::String(condition), then, otherwise]) => match self.conditions.get(condition) {
                    Some(holds) => self.resolve(if *holds { then } else { otherwise }, place),
                    None => Err(Problem::new(place, format!("there is no condition '{condition}'"))),
                },
                _ => Err(wrong("a condition and two values")),
            },
            "Fn::Sub" => match argument {
                Value::String(text) => self.substitute(text, &Map::new(), place).map(Value::String),
                Value::Array(pair) => match pair.as_slice() {
                    [Value::String(text), Value::Object(own)] => {
                        self.substitute(text, own, place).map(Value::String)
                    }
                    _ => Err(wrong("a text and a map")),
                },
                _ => Err(wrong("a text")),
            },
            _ => Err(Problem::new(
                place,
                format!(
                    "{name} is not known to the local cloud; use Ref, Fn::Sub, Fn::GetAtt, Fn::Join, Fn::Split, \
                     Fn::Select or Fn::If here"
                ),
            )),
        }
    }

    /// As [`Resolver::resolve`], for what must come out as a list.
    fn list(&self, value: &Value, place: &str) -> Result<Vec<Value>, Problem> {
        match self.resolve(value, place)? {
            Value::Array(items) => Ok(items),
            other => Err(Problem::new(place, format!("must be a list, not {other}"))),
        }
    }

    fn substitute(&self, text: &str, own: &Map<String, Value>, place: &str) -> Result<String, Problem> {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            out.push_str(before);
            let (name, tail) = after
                .split_once('}')
                .ok_or_else(|| Problem::new(place, format!("'{text}' has a '${{' without its '}}'")))?;
            match (name.strip_prefix('!'), own.get(name), name.split_once('.')) {
                // `${!name}` stands for the text `${name}`.
                (Some(literal), ..) => out.push_str(&format!("${{{literal}}}")),
                (None, Some(value), _) => out.push_str(&self.text(value, place)?),
                (None, None, Some((resource, attribute))) => {
                    out.push_str(&self.attribute(resource, attribute, place)?);
                }
                (None, None, None) => out.push_str(&self.reference(name, place)?),
            }
            rest = tail;
        }
        out.push_str(rest);
        Ok(out)
    }

    fn reference(&self, name: &str, place: &str) -> Result<String, Problem> {
        match name {
            "AWS::Region" => return Ok(self.region.clone()),
            "AWS::AccountId" => return Ok(self.account.clone()),
            "AWS::Partition" => return Ok("aws".to_owned()),
            "AWS::URLSuffix" => return Ok("amazonaws.com".to_owned()),
            "AWS::StackName" => return Ok("local".to_owned()),
            _ => {}
        }
        match self.parameters.get(name) {
            Some(Value::String(value)) => return Ok(value.clone()),
            Some(other) => {
                return Err(Problem::new(
                    place,
                    format!("'{name}' is a list ({other}); join it with Fn::Join"),
                ));
            }
            None => {}
        }
        let resource = self.resource(name, place)?;
        Ok(match resource.kind.as_str() {
            "AWS::SQS::Queue" => {
                format!("https://sqs.{}.amazonaws.com/{}/{}", self.region, self.account, resource.name)
            }
            "AWS::SNS::Topic" => format!("arn:aws:sns:{}:{}:{}", self.region, self.account, resource.name),
            _ => resource.name.clone(),
        })
    }

    fn attribute(&self, name: &str, attribute: &str, place: &str) -> Result<String, Problem> {
        let resource = self.resource(name, place)?;
        let arn = |service: &str, path: &str| {
            format!("arn:aws:{service}:{}:{}:{path}{}", self.region, self.account, resource.name)
        };
        match (resource.kind.as_str(), attribute) {
            ("AWS::DynamoDB::Table", "Arn") => Ok(arn("dynamodb", "table/")),
            ("AWS::DynamoDB::Table", "StreamArn") => {
                Ok(format!("{}/stream/latest", arn("dynamodb", "table/")))
            }
            ("AWS::Events::EventBus", "Arn") => Ok(arn("events", "event-bus/")),
            ("AWS::Events::EventBus", "Name") | ("AWS::SQS::Queue", "QueueName") => Ok(resource.name.clone()),
            ("AWS::Serverless::Function", "Arn") => Ok(arn("lambda", "function:")),
            ("AWS::SQS::Queue", "Arn") => Ok(arn("sqs", "")),
            ("AWS::SNS::Topic", "TopicArn") => Ok(arn("sns", "")),
            // With its streams, as CloudFormation gives it.
            ("AWS::Logs::LogGroup", "Arn") => Ok(format!("{}:*", arn("logs", "log-group:"))),
            (kind, _) => Err(Problem::new(
                place,
                format!("attribute '{attribute}' of '{name}' ({kind}) is not known to the local cloud"),
            )),
        }
    }

    fn resource(&self, name: &str, place: &str) -> Result<&Resource, Problem> {
        self.resources.get(name).ok_or_else(|| {
            let what = match self.left_out.get(name) {
                Some(condition) => {
                    format!("'{name}' is not made, as its condition {condition} does not hold; use Fn::If")
                }
                None => format!("'{name}' is neither a parameter nor a resource of this template"),
            };
            Problem::new(place, what)
        })
    }
}

/// Whether a map of this one key is an intrinsic function. (`Condition` is one only in `Conditions`; elsewhere it is a
/// key like any other, such as that of a policy's statement.)
fn is_intrinsic(name: &str) -> bool {
    name == "Ref" || name.starts_with("Fn::")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn resolver() -> Resolver {
        Resolver {
            region: "eu-west-1".to_owned(),
            account: "111122223333".to_owned(),
            parameters: BTreeMap::from([
                ("Deployment".to_owned(), json!("pets")),
                ("Roles".to_owned(), json!(["a", "b"])),
                ("Keys".to_owned(), json!([])),
            ]),
            conditions: BTreeMap::from([("Yes".to_owned(), true), ("No".to_owned(), false)]),
            left_out: BTreeMap::from([("Mail".to_owned(), "No".to_owned())]),
            resources: BTreeMap::from([(
                "T".to_owned(),
                Resource { kind: "AWS::DynamoDB::Table".to_owned(), name: "pets-config".to_owned() },
            )]),
        }
    }

    #[test]
    fn names_become_what_they_stand_for() {
        let value = json!({
            "ref": {"Ref": "Deployment"}, "table": {"Ref": "T"}, "gone": {"Ref": "AWS::NoValue"},
            "sub": {"Fn::Sub": "${Deployment}-${AWS::Region}-${!raw}-${T.Arn}"},
            "own": {"Fn::Sub": ["${a}/${Deployment}", {"a": {"Ref": "T"}}]},
            "join": {"Fn::Join": [":", ["x", {"Ref": "Deployment"}]]},
        });
        assert_eq!(
            resolver().resolve(&value, "p").unwrap(),
            json!({
                "ref": "pets", "table": "pets-config",
                "sub": "pets-eu-west-1-${raw}-arn:aws:dynamodb:eu-west-1:111122223333:table/pets-config",
                "own": "pets-config/pets", "join": "x:pets",
            })
        );
    }

    #[test]
    fn lists_are_split_joined_and_chosen_from() {
        let value = json!({
            "roles": {"Ref": "Roles"}, "none": {"Ref": "Keys"},
            "joined": {"Fn::Join": ["+", {"Ref": "Roles"}]}, "empty": {"Fn::Join": ["", {"Ref": "Keys"}]},
            "split": {"Fn::Split": ["-", "x-y"]},
            "second": {"Fn::Select": [1, {"Fn::Split": ["-", {"Ref": "T"}]}]},
        });
        assert_eq!(
            resolver().resolve(&value, "p").unwrap(),
            json!({
                "roles": ["a", "b"], "none": [], "joined": "a+b", "empty": "", "split": ["x", "y"],
                "second": "config",
            })
        );
        for wrong in [
            json!({"Fn::Select": [2, {"Ref": "Roles"}]}),
            json!({"Fn::Join": ["", {"Ref": "Deployment"}]}),
            json!({"Fn::Sub": "${Roles}"}),
        ] {
            let problem = resolver().resolve(&wrong, "P").unwrap_err().to_string();
            assert!(problem.starts_with("P: "), "{problem}");
        }
    }

    #[test]
    fn conditions_choose_and_what_is_not_chosen_is_not_looked_at() {
        let none = json!({"Ref": "AWS::NoValue"});
        let value = json!({
            "statements": [
                {"Fn::If": ["Yes", {"Sid": "Pass", "Resource": {"Ref": "Roles"}}, none]},
                {"Fn::If": ["No", {"Sid": "Grant", "Resource": {"Ref": "Mail"}}, none]},
            ],
            "gone": {"Fn::If": ["No", 1, none]},
        });
        assert_eq!(
            resolver().resolve(&value, "p").unwrap(),
            json!({"statements": [{"Sid": "Pass", "Resource": ["a", "b"]}]})
        );
        let problem = resolver().resolve(&json!({"Ref": "Mail"}), "P").unwrap_err().to_string();
        assert!(problem.contains("condition No does not hold"), "{problem}");
        let problem = resolver().resolve(&json!({"Fn::If": ["Maybe", 1, 2]}), "P").unwrap_err().to_string();
        assert!(problem.contains("no condition 'Maybe'"), "{problem}");
    }

    #[test]
    fn unknown_names_and_functions_are_named_with_their_place() {
        let problem =
            resolver().resolve(&json!({"a": {"Ref": "Nope"}}), "Resources.X").unwrap_err().to_string();
        assert!(problem.contains("Resources.X.a") && problem.contains("Nope"), "{problem}");
        let problem = resolver().resolve(&json!({"Fn::Cidr": ["c", 1, 2]}), "P").unwrap_err().to_string();
        assert!(problem.contains("Fn::Cidr"), "{problem}");
    }
}

//! The template's `Conditions`: decides which hold, from the values of parameters alone.
//!
//! As in CloudFormation a condition may name other conditions and parameters, never a resource. One that names itself,
//! by whatever way round, is refused.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::Problem;
use super::resolve::Resolver;

/// What every condition comes to. `resolver` knows the parameters, and no resource yet.
pub(super) fn decide(declared: &Value, resolver: &Resolver) -> Result<BTreeMap<String, bool>, Problem> {
    let none = Map::new();
    let declared = declared.as_object().unwrap_or(&none);
    let mut judge = Judge { declared, resolver, under_way: Vec::new() };
    declared.keys().map(|name| Ok((name.clone(), judge.named(name, "Conditions")?))).collect()
}

struct Judge<'a> {
    declared: &'a Map<String, Value>,
    resolver: &'a Resolver,
    /// The conditions that led to the present one.
    under_way: Vec<String>,
}

impl Judge<'_> {
    fn named(&mut self, name: &str, from: &str) -> Result<bool, Problem> {
        let condition = self
            .declared
            .get(name)
            .ok_or_else(|| Problem::new(from, format!("there is no condition '{name}'")))?;
        let place = format!("Conditions.{name}");
        if self.under_way.iter().any(|other| other == name) {
            return Err(Problem::new(place, "leads back to itself"));
        }
        self.under_way.push(name.to_owned());
        let holds = self.holds(condition, &place)?;
        self.under_way.pop();
        Ok(holds)
    }

    fn holds(&mut self, condition: &Value, place: &str) -> Result<bool, Problem> {
        let wrong = || {
            Problem::new(
                place,
                format!("{condition} is not Fn::Equals, Fn::Not, Fn::And, Fn::Or or a Condition"),
            )
        };
        let (function, argument) = match condition.as_object().map(|map| (map.len(), map.iter().next())) {
            Some((1, Some((function, argument)))) => (function.as_str(), argument),
            _ => return Err(wrong()),
        };
        match (function, argument, argument.as_array().map_or(&[][..], Vec::as_slice)) {
            ("Condition", Value::String(name), _) => self.named(name, place),
            // Parameters are texts, so a number is compared as one.
            ("Fn::Equals", _, [one, other]) => {
                Ok(self.resolver.text(one, place)? == self.resolver.text(other, place)?)
            }
            ("Fn::Not", _, [one]) => Ok(!self.holds(one, place)?),
            ("Fn::And" | "Fn::Or", _, parts @ [_, _, ..]) if parts.len() <= 10 => {
                let parts =
                    parts.iter().map(|part| self.holds(part, place)).collect::<Result<Vec<_>, _>>()?;
                let all = function == "Fn::And";
                Ok(if all { parts.iter().all(|part| *part) } else { parts.iter().any(|part| *part) })
            }
            _ => Err(wrong()),
        }
    }
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
                ("Mail".to_owned(), json!("a@b")),
                ("Age".to_owned(), json!("0")),
                ("Roles".to_owned(), json!([])),
            ]),
            conditions: BTreeMap::new(),
            resources: BTreeMap::new(),
            left_out: BTreeMap::new(),
        }
    }

    #[test]
    fn each_function_is_decided_from_parameters() {
        let declared = json!({
            "Mails": {"Fn::Not": [{"Fn::Equals": [{"Ref": "Mail"}, ""]}]},
            "Ages": {"Fn::Equals": [{"Ref": "Age"}, 0]},
            "Passes": {"Fn::Not": [{"Fn::Equals": [{"Fn::Join": ["", {"Ref": "Roles"}]}, ""]}]},
            "Both": {"Fn::And": [{"Condition": "Mails"}, {"Condition": "Passes"}]},
            "Either": {"Fn::Or": [{"Condition": "Passes"}, {"Condition": "Mails"}]},
        });
        let decided = decide(&declared, &resolver()).unwrap();
        let expected =
            [("Ages", true), ("Both", false), ("Either", true), ("Mails", true), ("Passes", false)];
        assert_eq!(decided, expected.map(|(name, holds)| (name.to_owned(), holds)).into());
        assert!(decide(&Value::Null, &resolver()).unwrap().is_empty());
    }

    #[test]
    fn what_cannot_be_decided_is_refused_with_its_place() {
        let cases = [
            (
                json!({"A": {"Condition": "B"}, "B": {"Fn::Not": [{"Condition": "A"}]}}),
                "leads back to itself",
            ),
            (json!({"A": {"Condition": "B"}}), "Conditions.A: there is no condition 'B'"),
            (json!({"A": {"Fn::Equals": [{"Ref": "Table"}, ""]}}), "Conditions.A: 'Table' is neither"),
            (json!({"A": {"Fn::Equals": ["x"]}}), "Conditions.A"),
            (json!({"A": true}), "Conditions.A"),
        ];
        for (declared, expected) in cases {
            let problem = decide(&declared, &resolver()).unwrap_err().to_string();
            assert!(problem.contains(expected), "{expected} in {problem}");
        }
    }
}

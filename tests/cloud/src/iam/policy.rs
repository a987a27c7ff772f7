//! Statements of policies: reads them, and decides whether one speaks of an ask.
//!
//! What IAM knows and this module does not (`NotAction`, `NotResource`, principals) is refused, never left out.

use serde_json::Value;

use super::Ask;
use super::condition::{Condition, texts};

/// One statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Statement {
    /// `Policy/Sid`.
    pub(crate) name: String,
    /// Allow, or deny.
    pub(crate) allows: bool,
    pub(crate) actions: Vec<String>,
    pub(crate) resources: Vec<String>,
    pub(crate) conditions: Vec<Condition>,
}

impl Statement {
    /// Reads the statements of one policy document; intrinsic functions are resolved already.
    ///
    /// # Errors
    /// What is wrong, with the place in the document.
    pub(crate) fn read_all(policy: &str, document: &Value) -> Result<Vec<Statement>, String> {
        let statements = match &document["Statement"] {
            Value::Array(statements) => statements.as_slice(),
            single @ Value::Object(_) => std::slice::from_ref(single),
            other => return Err(format!("Statement: must be a list of statements, not {other}")),
        };
        let mut read: Vec<Statement> = Vec::new();
        for (at, statement) in statements.iter().enumerate() {
            let statement = Statement::read(policy, statement)
                .map_err(|problem| format!("Statement[{at}]: {problem}"))?;
            if read.iter().any(|earlier| earlier.name == statement.name) {
                return Err(format!("Statement[{at}]: there are two statements {}", statement.name));
            }
            read.push(statement);
        }
        Ok(read)
    }

    fn read(policy: &str, statement: &Value) -> Result<Statement, String> {
        const KNOWN: [&str; 5] = ["Sid", "Effect", "Action", "Resource", "Condition"];
        let map = statement.as_object().ok_or_else(|| format!("{statement} is no statement"))?;
        if let Some(other) = map.keys().find(|name| !KNOWN.contains(&name.as_str())) {
            return Err(format!("the element {other} is not known to the local cloud"));
        }
        let sid = statement["Sid"].as_str().ok_or("needs a Sid, by which the table of rights names it")?;
        let allows = match statement["Effect"].as_str() {
            Some("Allow") => true,
            Some("Deny") => false,
            _ => return Err(format!("Effect must be Allow or Deny, not {}", statement["Effect"])),
        };
        let list = |name: &str| {
            texts(&statement[name])
                .filter(|list| !list.is_empty())
                .ok_or_else(|| format!("{name} must be a text or a list of texts, not {}", statement[name]))
        };
        let mut conditions = Vec::new();
        for (operator, keys) in statement["Condition"].as_object().into_iter().flatten() {
            let keys = keys.as_object().ok_or_else(|| format!("Condition.{operator} must be a map"))?;
            for (key, values) in keys {
                conditions.push(Condition::read(operator, key, values)?);
            }
        }
        let (actions, resources) = (list("Action")?, list("Resource")?);
        Ok(Statement { name: format!("{policy}/{sid}"), allows, actions, resources, conditions })
    }

    /// The action and resource by which it speaks of an ask; `None` if it does not.
    pub(super) fn matches(&self, ask: &Ask) -> Option<(&str, &str)> {
        // Names of actions are compared without regard to case.
        let asked = ask.action.to_ascii_lowercase();
        let action = self.actions.iter().find(|action| like(&action.to_ascii_lowercase(), &asked))?;
        let resource = self.resources.iter().find(|resource| like(resource, &ask.resource))?;
        self.conditions.iter().all(|condition| condition.is_met(&ask.keys)).then_some((action, resource))
    }
}

/// Whether `text` is what `pattern` stands for: `*` any characters, `?` one.
pub(super) fn like(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut seen) = (0, 0);
    // Where the last `*` stood, and how far it reaches so far.
    let mut star: Option<(usize, usize)> = None;
    while seen < text.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, seen));
                at += 1;
            }
            Some(letter) if *letter == '?' || *letter == text[seen] => {
                at += 1;
                seen += 1;
            }
            _ => {
                let Some((stood, reached)) = star else { return false };
                star = Some((stood, reached + 1));
                at = stood + 1;
                seen = reached + 1;
            }
        }
    }
    pattern[at..].iter().all(|letter| *letter == '*')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn patterns_stand_for_texts() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abcd", false),
            ("a*b*c", "a-b-b-c", true),
            ("?", "", false),
            ("a?c", "abc", true),
            ("arn:aws:ec2:*:*:volume/*", "arn:aws:ec2:r:1:volume/vol-1", true),
            ("arn:aws:ec2:*:*:volume/*", "arn:aws:ec2:r:1:snapshot/snap-1", false),
        ] {
            assert_eq!(like(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_statement_speaks_of_its_actions_on_its_resources_under_its_conditions() {
        let document = json!({"Statement": [{
            "Sid": "Own", "Effect": "Allow", "Action": ["ec2:Delete*"], "Resource": "arn:x/*",
            "Condition": {"StringEquals": {"aws:ResourceTag/d": "mine"}},
        }]});
        let statement = Statement::read_all("P", &document).unwrap().remove(0);
        assert_eq!(statement.name, "P/Own");
        let ask = |action: &str, resource: &str, owner: &str| {
            Ask::new(action, resource).with("aws:ResourceTag/d", vec![owner.to_owned()])
        };
        let allowed = statement.matches(&ask("EC2:deleteVolume", "arn:x/1", "mine"));
        assert_eq!(allowed, Some(("ec2:Delete*", "arn:x/*")));
        assert_eq!(statement.matches(&ask("ec2:CreateVolume", "arn:x/1", "mine")), None);
        assert_eq!(statement.matches(&ask("ec2:DeleteVolume", "arn:y/1", "mine")), None);
        assert_eq!(statement.matches(&ask("ec2:DeleteVolume", "arn:x/1", "other")), None);
    }

    #[test]
    fn what_is_not_known_is_refused_with_its_place() {
        let refused =
            |statement: Value| Statement::read_all("P", &json!({"Statement": [statement]})).unwrap_err();
        let good = json!({"Sid": "S", "Effect": "Allow", "Action": "a:B", "Resource": "*"});
        let with = |name: &str, value: Value| {
            let mut statement = good.clone();
            statement[name] = value;
            statement
        };
        assert!(refused(with("NotAction", json!("x"))).contains("Statement[0]: the element NotAction"));
        assert!(refused(with("Effect", json!("Maybe"))).contains("Effect"));
        assert!(refused(with("Sid", Value::Null)).contains("Sid"));
        assert!(refused(with("Action", json!([]))).contains("Action"));
        assert!(refused(with("Condition", json!({"Odd": {"aws:TagKeys": "x"}}))).contains("Odd"));
        let twice = json!({"Statement": [good.clone(), good]});
        assert!(Statement::read_all("P", &twice).unwrap_err().contains("two statements P/S"));
    }
}

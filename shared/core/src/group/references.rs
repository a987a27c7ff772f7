//! Whether a group can be what its item says: its name, and what it refers to.

use serde_json::Value;

use super::GroupRecord;
use crate::config::addresses::check_pools;
use crate::config::references::{Referred, check};
use crate::config::{Draft, GroupPart, Problem};
use crate::ids::{GroupName, NodeName};

/// Holds the item of a group against what AWS and the tables say. Returns every problem.
pub fn problems(
    name: &GroupName,
    record: Option<&GroupRecord>,
    item: &Value,
    (draft, part): (&Draft, &GroupPart),
    referred: &Referred,
    nodes: &[Value],
) -> Vec<Problem> {
    let mut problems = check(draft, referred);
    problems.extend(check_pools(item, draft, part, referred));
    problems.extend(collision(name, record, nodes));
    problems.extend(lowered(record, part));
    problems
}

/// A node that is no member and has the group's name, or one that the group would give to a member.
fn collision(name: &GroupName, record: Option<&GroupRecord>, items: &[Value]) -> Option<Problem> {
    if record.is_some_and(|record| !record.members.is_empty()) {
        // Members exist: names that others have taken since are passed over.
        return None;
    }
    let collides = |item: &&Value| {
        let node = item["id"].as_str().and_then(NodeName::from_key);
        node.is_some_and(|node| node.as_str() == name.as_str() || name.could_name(&node))
            && item["group"] != name.as_str()
    };
    let other = items.iter().find(collides)?["id"].as_str()?;
    let remedy = format!("collides with the item {other}, which is no member: give the group another name");
    Some(Problem { path: "id".to_owned(), value: name.key(), remedy })
}

fn lowered(record: Option<&GroupRecord>, part: &GroupPart) -> Option<Problem> {
    let least = record?.config.part.recycle;
    let remedy = format!("write {least} or more; raise it to replace all members, one at a time");
    (part.recycle < least).then(|| Problem {
        path: "recycle".to_owned(),
        value: part.recycle.to_string(),
        remedy,
    })
}

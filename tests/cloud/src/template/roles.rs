//! Roles of functions: decides which statements a function has, from its role and the policies that it names.
//!
//! Every right must stand in the template: a policy of AWS's own, or one that is not there, is refused.

use serde_json::{Map, Value};

use super::resolve::Resolver;
use super::{Problem, kind};
use crate::iam::{Role, Statement};

/// Reads the role that the `Role` of a function names; `None` if it names none.
pub(super) fn read(
    function: &str,
    role: &Value,
    resources: &Map<String, Value>,
    resolver: &Resolver,
) -> Result<Option<Role>, Problem> {
    let place = format!("Resources.{function}.Properties.Role");
    if role.is_null() {
        return Ok(None);
    }
    let Some(id) = role["Fn::GetAtt"][0].as_str() else {
        return Err(Problem::new(place, format!("must be !GetAtt of a role of this template, not {role}")));
    };
    let resource = resources.get(id).filter(|resource| kind(resource) == "AWS::IAM::Role");
    let resource = resource.ok_or_else(|| Problem::new(place, format!("there is no role '{id}'")))?;
    let place = format!("Resources.{id}.Properties");
    let properties = &resource["Properties"];
    let mut statements = Vec::new();
    let named = resolver.resolve(&properties["ManagedPolicyArns"], &format!("{place}.ManagedPolicyArns"))?;
    for named in named.as_array().into_iter().flatten() {
        // A policy of this template stands for its logical id here.
        let policy = named.as_str().unwrap_or_default();
        let resource = resources.get(policy).filter(|it| kind(it) == "AWS::IAM::ManagedPolicy");
        let resource = resource.ok_or_else(|| {
            let what = format!("'{policy}' is no policy of this template: write its statements out");
            Problem::new(format!("{place}.ManagedPolicyArns"), what)
        })?;
        let place = format!("Resources.{policy}.Properties.PolicyDocument");
        statements.extend(document(policy, &resource["Properties"]["PolicyDocument"], &place, resolver)?);
    }
    for (at, inline) in properties["Policies"].as_array().into_iter().flatten().enumerate() {
        let place = format!("{place}.Policies[{at}].PolicyDocument");
        statements.extend(document(id, &inline["PolicyDocument"], &place, resolver)?);
    }
    let arn = format!("arn:aws:sts::{}:assumed-role/{id}/{function}", resolver.account);
    Ok(Some(Role { arn, statements }))
}

fn document(
    policy: &str,
    document: &Value,
    place: &str,
    resolver: &Resolver,
) -> Result<Vec<Statement>, Problem> {
    let document = resolver.resolve(document, place)?;
    Statement::read_all(policy, &document).map_err(|problem| Problem::new(place, problem))
}

//! Rules on the rights that the deployment template gives: a role for each function, written out, and bounded.
//!
//! Decides from the template as data, in which a reference is the name it refers to. Whether a right is needed is
//! decided by the tests that use it; this module only says what no right may look like.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::Finding;
use crate::deployment::{functions, line_of, of_kind};
use crate::files::File;

/// Every function has a role of its own, which Lambda alone can take on.
pub fn check_roles(file: &File, template: &Value) -> Vec<Finding> {
    let roles = of_kind(template, "AWS::IAM::Role");
    let mut findings = Vec::new();
    let mut taken = BTreeSet::new();
    let mut find = |name: &str, rule: &str, remedy: &str| {
        let line = line_of(&file.text, &format!("  {name}:"));
        findings.push(Finding::new(&file.path, line, format!("{rule}: {name}"), remedy));
    };
    for (name, function) in functions(template) {
        let role = function["Properties"]["Role"].as_str().and_then(|role| role.strip_suffix(".Arn"));
        let own =
            role.filter(|role| roles.contains_key(role)).is_some_and(|role| taken.insert(role.to_owned()));
        if !own {
            find(name, "a function has a role of its own", "set Role: !GetAtt <function>Role.Arn");
        }
    }
    for (name, role) in roles {
        let trust = &role["Properties"]["AssumeRolePolicyDocument"]["Statement"];
        let lambda_alone = trust.as_array().is_some_and(|statements| {
            statements.len() == 1 && statements[0]["Principal"]["Service"] == "lambda.amazonaws.com"
        });
        if !lambda_alone {
            find(name, "Lambda alone takes on a role", "let lambda.amazonaws.com alone assume it");
        }
    }
    findings
}

/// No statement allows more than it names: no action with a wildcard, and every resource only to look.
pub fn check_statements(file: &File, template: &Value) -> Vec<Finding> {
    let policies = of_kind(template, "AWS::IAM::ManagedPolicy").into_values();
    let inline = of_kind(template, "AWS::IAM::Role").into_values();
    let inline = inline.flat_map(|role| role["Properties"]["Policies"].as_array().into_iter().flatten());
    let documents = policies.map(|policy| &policy["Properties"]["PolicyDocument"]);
    let documents = documents.chain(inline.map(|policy| &policy["PolicyDocument"]));
    let statements = documents.flat_map(|document| document["Statement"].as_array().into_iter().flatten());
    let mut findings = Vec::new();
    for statement in statements {
        let sid = statement["Sid"].as_str().unwrap_or("without a Sid");
        let actions = texts(&statement["Action"]);
        let wide = actions.is_empty() || actions.iter().any(|action| action.contains('*'));
        let looks = actions.iter().all(|action| action.starts_with("ec2:Describe"));
        let everywhere = texts(&statement["Resource"]).contains(&"*") && !looks;
        if wide || everywhere {
            let line = line_of(&file.text, &format!("Sid: {sid}"));
            let rule = format!("a statement names its actions and resources: {sid}");
            findings.push(Finding::new(&file.path, line, rule, "name them; only ec2:Describe… is for all"));
        }
    }
    findings
}

fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
        single => single.as_str().into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deployment::read;

    const TEMPLATE: &str = r#"
Resources:
  OneRole:
    Type: AWS::IAM::Role
    Properties:
      AssumeRolePolicyDocument: {Statement: [{Principal: {Service: lambda.amazonaws.com}}]}
      Policies: [{PolicyDocument: {Statement: [{Sid: Wide, Action: "ec2:*", Resource: arn}]}}]
  OpenRole:
    Type: AWS::IAM::Role
    Properties: {AssumeRolePolicyDocument: {Statement: [{Principal: {Service: ec2.amazonaws.com}}]}}
  Rights:
    Type: AWS::IAM::ManagedPolicy
    Properties:
      PolicyDocument:
        Statement:
          - {Sid: Look, Action: ec2:DescribeVolumes, Resource: "*"}
          - {Sid: Everywhere, Action: [ec2:DescribeVolumes, ec2:DeleteVolume], Resource: "*"}
          - {Sid: Named, Action: ec2:DeleteVolume, Resource: "arn:volume/*"}
  One: {Type: "AWS::Serverless::Function", Properties: {Role: !GetAtt OneRole.Arn}}
  Two: {Type: "AWS::Serverless::Function", Properties: {Role: !GetAtt OneRole.Arn}}
  Zero: {Type: "AWS::Serverless::Function"}
"#;

    fn said(check: fn(&File, &Value) -> Vec<Finding>) -> Vec<String> {
        let file = File { path: "t.yaml".to_owned(), text: TEMPLATE.to_owned() };
        check(&file, &read(&file).unwrap()).into_iter().map(|finding| finding.rule).collect()
    }

    #[test]
    fn a_shared_a_missing_and_an_open_role_are_found() {
        let expected =
            ["a role of its own: Two", "a role of its own: Zero", "Lambda alone takes on a role: OpenRole"];
        let said = said(check_roles);
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(said.iter().zip(expected).all(|(said, expected)| said.ends_with(expected)), "{said:?}");
    }

    #[test]
    fn a_right_without_bounds_is_found() {
        let said = said(check_statements);
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said[0].ends_with("Everywhere") && said[1].ends_with("Wide"), "{said:?}");
    }
}

//! IAM: decides whether a function may make a call, from the policies of the template.
//!
//! A call asks for one or more actions on resources ([`Ask`]); every ask needs a statement that allows it, and none
//! that denies it (IAM User Guide, *Policy evaluation logic*). Callers that are no function of the template are the
//! operator and may do everything. Which resources and condition keys an action has is after the Service
//! Authorization Reference. This module must never let a policy element pass that it does not understand.

mod condition;
mod ec2;
mod launch;
mod policy;
mod record;
mod services;
mod table;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

pub(crate) use ec2::asks as asks_of_ec2;
pub(crate) use policy::Statement;
pub(crate) use record::Record;
pub(crate) use services::{
    PartitionKeys, asks_of_dynamodb, asks_of_events, asks_of_logs, asks_of_queue, asks_of_stream,
};
pub use table::{RightsError, rights_table, unused_rights};

/// Values of condition keys in one ask.
pub(crate) type Keys = BTreeMap<String, Vec<String>>;

/// One action on one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    /// For example `ec2:DeleteVolume`.
    pub(crate) action: String,
    /// The resource's ARN, or `*` for an action that knows none.
    pub(crate) resource: String,
    pub(crate) keys: Keys,
}

impl Ask {
    pub(crate) fn new(action: impl Into<String>, resource: impl Into<String>) -> Ask {
        Ask { action: action.into(), resource: resource.into(), keys: Keys::new() }
    }

    /// The same ask with one more condition key.
    pub(crate) fn with(mut self, key: impl Into<String>, values: Vec<String>) -> Ask {
        self.keys.insert(key.into(), values);
        self
    }
}

/// A statement that allowed something, and what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Use {
    pub(crate) function: String,
    /// `Policy/Sid`.
    pub(crate) statement: String,
    /// The action as the statement writes it.
    pub(crate) action: String,
    /// The resource as the statement writes it.
    pub(crate) resource: String,
}

/// A refused call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Denial {
    function: String,
    role: String,
    ask: Ask,
    /// Whether a statement denies it, instead of none allowing it.
    explicit: bool,
}

impl Denial {
    /// The sentence that AWS answers with.
    pub(crate) fn message(&self) -> String {
        let Ask { action, resource, .. } = &self.ask;
        let why = if self.explicit {
            format!("with an explicit deny in an identity-based policy: {action}")
        } else {
            format!("because no identity-based policy allows the {action} action")
        };
        format!("User: {} is not authorized to perform: {action} on resource: {resource} {why}", self.role)
    }

    fn to_json(&self) -> Value {
        let Ask { action, resource, keys } = &self.ask;
        json!({"function": self.function, "action": action, "resource": resource, "keys": keys})
    }
}

/// What one function may do.
#[derive(Clone, Debug)]
pub(crate) struct Role {
    /// The role as callers are named in refusals.
    pub(crate) arn: String,
    pub(crate) statements: Vec<Statement>,
}

/// The rights of all functions, and what became of them.
#[derive(Debug, Default)]
pub(crate) struct Rights {
    /// By function; a function without a role is not judged.
    roles: BTreeMap<String, Role>,
    used: BTreeSet<Use>,
    denied: Vec<Denial>,
    record: Option<Record>,
}

impl Rights {
    pub(crate) fn new(roles: BTreeMap<String, Role>, record: Option<Record>) -> Rights {
        Rights { roles, record, ..Rights::default() }
    }

    /// Judges a call of a function.
    ///
    /// # Errors
    /// The first ask that is not allowed.
    pub(crate) fn judge(&mut self, function: &str, asks: &[Ask]) -> Result<(), Box<Denial>> {
        let Some(role) = self.roles.get(function) else { return Ok(()) };
        let mut uses = BTreeSet::new();
        for ask in asks {
            match decide(role, ask) {
                Ok((statement, action, resource)) => {
                    let (action, resource) = (action.to_owned(), resource.to_owned());
                    let statement = statement.name.clone();
                    uses.insert(Use { function: function.to_owned(), statement, action, resource });
                }
                Err(explicit) => {
                    let (function, role) = (function.to_owned(), role.arn.clone());
                    let denial = Denial { function, role, ask: ask.clone(), explicit };
                    self.denied.push(denial.clone());
                    return Err(Box::new(denial));
                }
            }
        }
        for used in uses {
            if !self.used.contains(&used) {
                if let Some(record) = &self.record {
                    record.add(&used);
                }
                self.used.insert(used);
            }
        }
        Ok(())
    }

    /// What was refused so far, for tests.
    pub(crate) fn to_json(&self) -> Value {
        json!({"denied": self.denied.iter().map(Denial::to_json).collect::<Vec<_>>()})
    }
}

/// The statement that allows an ask, with its action and resource that matched; else whether one denies it.
fn decide<'a>(role: &'a Role, ask: &Ask) -> Result<(&'a Statement, &'a str, &'a str), bool> {
    let mut allowed = None;
    for statement in &role.statements {
        let Some((action, resource)) = statement.matches(ask) else { continue };
        if !statement.allows {
            return Err(true);
        }
        allowed.get_or_insert((statement, action, resource));
    }
    allowed.ok_or(false)
}

#[cfg(test)]
mod tests;

//! Whether the item of a node can be what it says: its syntax, where its node stands, its group, and what it
//! refers to in AWS and in the tables.

use std::collections::BTreeSet;

use perennial_core::config::addresses::{Claim, Claims};
use perennial_core::config::references::{Referred, check};
use perennial_core::config::settings::SETTINGS;
use perennial_core::config::{self, DesiredState, Draft, GroupPart, Problem, transitions};
use perennial_core::group::{GroupRecord, Share};
use perennial_core::ids::{GroupName, InterfaceId, NodeName, SubnetId};
use perennial_core::observation::Look;
use perennial_core::record::{Record, Stored};
use serde_json::Value;

use super::Verdict;
use crate::Engine;
use crate::groups::Known;
use crate::ports::{Bus, Clock, Ec2, Reply, Store};

/// What an item has to do with a group.
pub(super) enum Membership {
    /// It names none.
    None,
    /// It names one that knows it.
    Member(Share),
    /// It names one that does not know it yet.
    Unlisted,
    /// What it names is no group.
    NoGroup(Problem),
}

impl<E: Ec2, S: Store, B: Bus, C: Clock> Engine<E, S, B, C> {
    /// Whether an item carries an accepted verdict on what it says now, and that is in force. A rejected
    /// item never is: the operator's doing elsewhere may mend it.
    ///
    /// # Errors
    /// A failure of the read of what is in force.
    pub(crate) async fn is_in_force(&self, id: &str, item: &Value, known: &Known) -> Reply<bool> {
        let status = &item[config::STATUS];
        let hash = config::hash(item);
        if status["configHash"] != hash.as_str() || status["accepted"] != true {
            return Ok(false);
        }
        if id == SETTINGS {
            return Ok(self.store.settings().await?.is_some_and(|in_force| in_force.hash == hash));
        }
        if let Some(group) = GroupName::from_key(id) {
            let record = known.groups.get(&group);
            return Ok(record.is_some_and(|it| it.config.hash == hash && it.absent_since.is_none()));
        }
        let Some(node) = NodeName::from_key(id) else { return Ok(true) };
        let share = known.share(&node, item);
        let wanted = match &share {
            Some(share) => share.draft(item).config.desired_state,
            None => config::parse(item).config.desired_state,
        };
        let record = match known.records.get(&node) {
            Some(record) => Some(Stored::Known(Box::new(record.clone()))),
            None => self.store.load(&node).await?,
        };
        Ok(match record {
            Some(Stored::Known(record)) => {
                transitions::is_in_force(&record, &hash, share.map(|share| share.hash()).as_deref(), wanted)
            }
            Some(Stored::Newer { .. }) => true,
            // Of a member that never was nothing is needed if it is to be none.
            None => share.is_some() && !wanted.wants_a_node(),
        })
    }

    /// What the item of a node has to do with a group.
    pub(super) async fn share_of(&self, node: &NodeName, item: &Value) -> Reply<Membership> {
        let Some(named) = item.get("group").filter(|named| !named.is_null()) else {
            return Ok(Membership::None);
        };
        // What is no name of a group is told of with everything else that is wrong.
        let Some(name) = named.as_str().and_then(GroupName::parse) else { return Ok(Membership::None) };
        Ok(match self.store.group(&name).await? {
            Some(group) if group.removed && group.member(node).is_none() => no_group(&name),
            Some(group) => group.share(node).map_or(Membership::Unlisted, Membership::Member),
            None => no_group(&name),
        })
    }

    /// A new node whose name is a group's, or one that a group would give to a member.
    pub(super) async fn collision(&self, node: &NodeName) -> Reply<Option<Problem>> {
        let stem = node.as_str().rsplit_once('-').map(|(stem, _)| stem);
        for name in [Some(node.as_str()), stem].into_iter().flatten().filter_map(GroupName::parse) {
            let collides = name.as_str() == node.as_str() || name.could_name(node);
            if collides && self.store.group(&name).await?.is_some_and(|group| !group.removed) {
                let remedy =
                    format!("the name is one of group#{name}: take another, or write group = \"{name}\"");
                return Ok(Some(Problem { path: "id".to_owned(), value: node.key(), remedy }));
            }
        }
        Ok(None)
    }

    /// Every problem of a draft, those that only AWS and the node's record can tell of included.
    pub(super) async fn judge(
        &self,
        draft: &Draft,
        item: &Value,
        node: &NodeName,
        record: Option<&Record>,
    ) -> Reply<Verdict> {
        let mut verdict = Verdict { problems: draft.problems.clone(), notices: Vec::new() };
        for problem in transitions::check(record, &draft.config, item) {
            if !is_known(&verdict.problems, &problem) {
                verdict.problems.push(problem);
            }
        }
        // Unread if no launch is to be expected.
        if !draft.config.desired_state.wants_a_node() {
            return Ok(verdict);
        }
        let interfaces = record.and_then(|record| record.network.as_ref()).map(|kept| kept.eni_id.clone());
        let own = Own {
            nodes: [node.clone()].into(),
            group: draft.config.group.clone(),
            interfaces: interfaces.into_iter().collect(),
        };
        let referred = self.referred(draft, &GroupPart::default(), own).await?;
        // What its group hands to a member is no edit of anybody's: the node itself says what is wrong with it.
        let is_handed = item.pointer("/persist/network/elasticIp").is_none_or(Value::is_null);
        for problem in check(draft, &referred) {
            if is_handed && problem.path == "persist.network.elasticIp" {
                continue;
            }
            if is_known(&verdict.problems, &problem) {
                continue;
            }
            match draft.config.desired_state {
                DesiredState::Running => verdict.problems.push(problem),
                // What is wrong today may be right when it is needed.
                DesiredState::Paused | DesiredState::Deallocated | DesiredState::Released => {
                    verdict.notices.push(format!("{}: {}", problem.path, problem.remedy));
                }
            }
        }
        verdict.problems.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(verdict)
    }

    /// What AWS and the tables say of everything that a draft refers to.
    pub(super) async fn referred(&self, draft: &Draft, part: &GroupPart, own: Own) -> Reply<Referred> {
        let (launch, network) = (&draft.config.launch, draft.config.persist.network.as_ref());
        let mut addresses = part.private_ips.clone();
        addresses.extend(network.and_then(|network| network.private_ip));
        let mut allocations = part.elastic_ips.clone();
        allocations.extend(network.and_then(|network| network.elastic_ip.clone()));
        let claims_something = !addresses.is_empty() || !allocations.is_empty();
        let look = Look {
            template: draft.has_template.then(|| launch.template.clone()),
            images: launch.image.iter().cloned().collect(),
            subnets: launch.subnets.clone(),
            elastic_ips: allocations,
            holders_of: addresses,
            ..Look::default()
        };
        let mut seen = self.observe(look).await?;
        let associated = seen.elastic_ips.values().filter_map(|it| it.association.as_ref());
        let holders: Vec<InterfaceId> = associated.filter_map(|it| it.interface.clone()).collect();
        if !holders.is_empty() {
            seen.holders.extend(self.ec2.interfaces(&holders).await?);
        }
        let others = if claims_something { self.store.groups().await? } else { Vec::new() };
        let is_other = |group: &&GroupRecord| !group.removed && Some(&group.name) != own.group.as_ref();
        Ok(Referred {
            template: seen.template,
            subnets: seen.subnets,
            images: seen.images,
            holders: seen.holders,
            elastic_ips: seen.elastic_ips,
            claims: Claims {
                deployment: self.deployment.clone(),
                others: others.iter().filter(is_other).map(claim).collect(),
                nodes: own.nodes,
                group: own.group,
                interfaces: own.interfaces,
            },
        })
    }
}

/// What is the item's own among what others may hold.
pub(super) struct Own {
    pub(super) nodes: BTreeSet<NodeName>,
    pub(super) group: Option<GroupName>,
    pub(super) interfaces: BTreeSet<InterfaceId>,
}

fn claim(group: &GroupRecord) -> Claim {
    let named = group.config.template.pointer("/launch/subnets").and_then(Value::as_array);
    let subnets = named.into_iter().flatten().filter_map(|id| id.as_str().and_then(SubnetId::parse));
    Claim {
        group: group.name.clone(),
        private_ips: group.config.part.private_ips.clone(),
        subnets: subnets.collect(),
        elastic_ips: group.config.part.elastic_ips.clone(),
    }
}

/// What is wrong in itself need not be reported as missing, or as out of place, as well.
pub(super) fn is_known(problems: &[Problem], new: &Problem) -> bool {
    problems.iter().any(|p| p.path == new.path || new.path.starts_with(&format!("{}[", p.path)))
}

fn no_group(name: &GroupName) -> Membership {
    let remedy =
        format!("there is no group of this name: write the item \"group#{name}\" first, or correct it");
    let value = name.to_string();
    Membership::NoGroup(Problem { path: "group".to_owned(), value, remedy })
}

//! Edits of config items: judged whole, answered in the item, and put in force in the record.
//!
//! The stream only wakes: the item is read again, consistently. A rejected edit changes nothing; the last
//! accepted config stays in force.

use perennial_core::config::references::{Referred, check};
use perennial_core::config::{self, Draft, Problem, Status};
use perennial_core::ids::NodeName;
use perennial_core::journal::{Detail, Entry, Kind, OwnEvent};
use perennial_core::names::{digest, life, whole_second};
use perennial_core::observation::Look;
use perennial_core::record::{Accepted, Record};
use serde_json::Value;

use crate::Engine;
use crate::commit::Working;
use crate::ports::{Bus, Clock, Ec2, Reply, Store, Written};

/// What became of an edit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Configured {
    /// The item is in force.
    Accepted,
    /// The item is not in force, and says why.
    Rejected,
    /// There is nothing to judge: the item is absent, or not one of a node.
    Nothing,
    /// Somebody else wrote meanwhile; the next tick judges again.
    Later,
}

impl<E: Ec2, S: Store, B: Bus, C: Clock> Engine<E, S, B, C> {
    /// Judges a config item and puts it in force, or says why not. Harmless to repeat.
    ///
    /// # Errors
    /// A failure of a read or a write; a repeat goes on from there.
    pub async fn configure(&self, id: &str) -> Reply<Configured> {
        let item = match self.store.config_item(id).await? {
            Some(item) if !config::is_absent(&item) => item,
            _ => {
                tracing::info!(id, "the item is absent: its node, if there is one, stays as it is");
                return Ok(Configured::Nothing);
            }
        };
        let node = match config::node_name(id) {
            Ok(node) => node,
            Err(problem) => return self.reject(id, &item, None, vec![problem]).await,
        };
        let draft = config::parse(&item);
        let problems = self.judge(&draft).await?;
        if !problems.is_empty() {
            return self.reject(id, &item, Some(&node), problems).await;
        }
        self.accept(id, &item, node, draft).await
    }

    /// Every problem of a draft, those that only AWS can tell of included.
    async fn judge(&self, draft: &Draft) -> Reply<Vec<Problem>> {
        let launch = &draft.config.launch;
        let seen = self
            .observe(Look {
                template: draft.has_template.then(|| launch.template.clone()),
                images: launch.image.iter().cloned().collect(),
                subnets: launch.subnets.clone(),
                ..Look::default()
            })
            .await?;
        let referred = Referred { template: seen.template, subnets: seen.subnets, images: seen.images };
        let mut problems = draft.problems.clone();
        for problem in check(draft, &referred) {
            // What is wrong in itself need not be reported as missing as well.
            if !problems
                .iter()
                .any(|p| p.path == problem.path || problem.path.starts_with(&format!("{}[", p.path)))
            {
                problems.push(problem);
            }
        }
        problems.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(problems)
    }

    async fn reject(
        &self,
        id: &str,
        item: &Value,
        node: Option<&NodeName>,
        problems: Vec<Problem>,
    ) -> Reply<Configured> {
        let hash = config::hash(item);
        if says(item, &hash, false, &problems) {
            return Ok(Configured::Rejected);
        }
        let reason =
            format!("the item {id} was rejected: {} problem(s); nothing of it is in force", problems.len());
        tracing::warn!(id, "{reason}");
        let record = match node {
            Some(node) => self.load(node).await?.ok(),
            None => None,
        };
        let detail = Detail {
            id: format!("{}-rejected-{}", bare(id), &digest(&[&hash, &format!("{problems:?}")])[..16]),
            node: bare(id).to_owned(),
            life: record.as_ref().map(|r| r.life.clone()).unwrap_or_default(),
            cycle: record.as_ref().map_or(0, |r| r.cycle),
            phase: record.as_ref().map(|r| r.phase),
            reason,
            problems: problems.iter().map(|p| format!("{} = {}: {}", p.path, p.value, p.remedy)).collect(),
            ..Detail::default()
        };
        // Published before it is answered: a crash in between repeats the event under the same id, and
        // never leaves an answer without its event.
        let event = OwnEvent { kind: Kind::ConfigRejected, time: self.clock.now(), detail };
        self.bus.publish(&[event]).await?;
        self.answer(id, item, false, problems, Vec::new()).await?;
        Ok(Configured::Rejected)
    }

    async fn accept(&self, id: &str, item: &Value, node: NodeName, draft: Draft) -> Reply<Configured> {
        let hash = config::hash(item);
        let accepted = Accepted { hash: hash.clone(), config: draft.config };
        let mut working = match self.load(&node).await? {
            Ok(record) => Working::read(record),
            Err(crate::drive::Drive::NoRecord) => {
                let now = whole_second(self.clock.now());
                let life = life(&self.deployment, &node, &self.invocation, now);
                Working::new(Record::new(node.clone(), life, accepted.clone(), now))
            }
            Err(_) => return Ok(Configured::Later),
        };
        let notices = notices(&working.record, &accepted);
        let is_new = working.record.generation == 0;
        if is_new || working.record.config.hash != hash {
            self.put_in_force(&mut working, accepted);
            if self.write(&mut working).await? == Written::Conflict {
                return Ok(Configured::Later);
            }
        }
        if !says(item, &hash, true, &[]) {
            self.answer(id, item, true, Vec::new(), notices).await?;
        }
        self.drive(&node).await?;
        Ok(Configured::Accepted)
    }

    fn put_in_force(&self, working: &mut Working, accepted: Accepted) {
        let now = whole_second(self.now_for(&working.record));
        let record = &mut working.record;
        record.goal = accepted.config.desired_state;
        record.config = accepted;
        // What a person has just changed may be what the node was blocked on.
        record.not_before = None;
        record.work_at = Some(now);
        let what = format!("config {} accepted", &record.config.hash[..12.min(record.config.hash.len())]);
        let nth = record.outbox.len();
        let event = OwnEvent::about(record, Kind::ConfigAccepted, &what, nth, now);
        record.outbox.push(event);
        working.entries.push(Entry { time: now, what, phase: record.phase, cycle: record.cycle });
    }

    async fn answer(
        &self,
        id: &str,
        item: &Value,
        accepted: bool,
        problems: Vec<Problem>,
        notices: Vec<String>,
    ) -> Reply<()> {
        let status = Status {
            accepted,
            config_hash: config::hash(item),
            problems,
            notices,
            checked_at: whole_second(self.clock.now()).to_string(),
        };
        if self.store.write_status(id, item, &status).await? == Written::Conflict {
            tracing::info!(id, "the item changed while it was judged: its newer state is judged next");
        }
        Ok(())
    }
}

/// Whether the item already carries this verdict.
fn says(item: &Value, hash: &str, accepted: bool, problems: &[Problem]) -> bool {
    serde_json::from_value::<Status>(item[config::STATUS].clone())
        .is_ok_and(|s| s.accepted == accepted && s.config_hash == hash && s.problems == problems)
}

fn bare(id: &str) -> &str {
    id.strip_prefix(NodeName::KEY_PREFIX).unwrap_or(id)
}

/// What an operator should know about an edit of a node that has an instance.
fn notices(record: &Record, accepted: &Accepted) -> Vec<String> {
    let (old, new) = (record.config(), &accepted.config);
    let mut notices = Vec::new();
    if record.instance.is_none() {
        return notices;
    }
    if old.launch != new.launch {
        notices.push("launch: takes effect at the next launch, not on the present instance".to_owned());
    }
    if new.persist.root.is_some() && old.launch.image != new.launch.image {
        notices
            .push("launch.image: has no effect on a node that has run while persist.root is on".to_owned());
    }
    if old.persist.root.is_some() && new.persist.root.is_none() {
        let notice = "persist.root: taken out: when the present instance ends, its root volume is left alone and \
                      handed over, and the next instance starts from the base image";
        notices.push(notice.to_owned());
    }
    if let Some(kept) = &record.network {
        let wanted = new.persist.network.as_ref();
        if wanted.is_none() {
            notices.push(format!(
                "persist.network: removed, but {} stays with the node all the same",
                kept.eni_id
            ));
        } else if wanted.and_then(|n| n.private_ip).is_some_and(|ip| ip != kept.private_ip) {
            notices.push(format!(
                "persist.network.privateIp: the node keeps the address it has, {}",
                kept.private_ip
            ));
        }
        if old.launch.subnets != new.launch.subnets {
            notices.push(format!(
                "launch.subnets: has no effect while the interface in {} is kept",
                kept.subnet_id
            ));
        }
    } else if new.persist.network.is_some() {
        notices.push(
            "persist.network: the interface is made, and its address kept, from the next launch on"
                .to_owned(),
        );
    }
    notices
}

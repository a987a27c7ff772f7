//! Edits of config items: judged whole, answered in the item, and put in force in the record.
//!
//! The stream only wakes: the item is read again, consistently. A rejected edit changes nothing; the last
//! accepted config stays in force. Absence is not judged here: the reconciling pass confirms it first.

mod group;
mod judge;
mod settings;

pub(crate) use settings::have_lapsed as settings_have_lapsed;

use perennial_core::config::settings::SETTINGS;
use perennial_core::config::{self, NodeConfig, Problem, Status, notices::notices, transitions};
use perennial_core::ids::{GroupName, NodeName};
use perennial_core::journal::{Detail, Entry, Kind, OwnEvent};
use perennial_core::names::{digest, life, whole_second};
use perennial_core::phase::Phase;
use perennial_core::record::{Accepted, Record};
use perennial_core::shown::{SHOWN_MAX, bounded};
use serde_json::Value;

use judge::Membership;

use crate::Engine;
use crate::commit::Working;
use crate::drive::Drive;
use crate::ports::{Bus, Clock, Ec2, Reply, Store, Written};

/// What became of an edit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Configured {
    /// The item is in force.
    Accepted,
    /// The item is not in force, and says why.
    Rejected,
    /// There is nothing to judge: the item is absent.
    Nothing,
    /// Not now: somebody else wrote meanwhile, or the life before has not ended yet. The tick judges again.
    Later,
}

/// How many times an edit that lost a write is judged again before it is left to the tick.
const CONFLICTS_AT_MOST: usize = 3;

/// An edit that is to be put in force.
struct Edit<'a> {
    id: &'a str,
    item: &'a Value,
    share: Option<String>,
    config: NodeConfig,
}

/// What is to be said of a draft.
#[derive(Debug, Default)]
struct Verdict {
    problems: Vec<Problem>,
    notices: Vec<String>,
}

impl<E: Ec2, S: Store, B: Bus, C: Clock> Engine<E, S, B, C> {
    /// Judges a config item and puts it in force, or says why not. Harmless to repeat.
    ///
    /// # Errors
    /// A failure of a read or a write; a repeat goes on from there.
    pub async fn configure(&self, id: &str) -> Reply<Configured> {
        for _ in 0..CONFLICTS_AT_MOST {
            let done = match id {
                SETTINGS => self.configure_settings().await?,
                id if id.starts_with(GroupName::KEY_PREFIX) => self.configure_group(id).await?,
                _ => self.configure_node(id).await?,
            };
            if let Some(configured) = done {
                return Ok(configured);
            }
        }
        Ok(Configured::Later)
    }

    /// Judges the item of a node; `None` if a write was lost and everything must be read again.
    async fn configure_node(&self, id: &str) -> Reply<Option<Configured>> {
        let named = config::node_name(id);
        // Read before the item: whoever puts a newer item in force meanwhile makes our write conflict, so
        // that an older edit never comes after a newer one.
        let record = match &named {
            Ok(node) => match self.load(node).await? {
                Ok(record) => Some(record),
                Err(Drive::NoRecord) => None,
                Err(_) => return Ok(Some(Configured::Later)),
            },
            Err(_) => None,
        };
        let item = match self.said_item(id).await? {
            Some(item) => item,
            None => {
                tracing::info!(id, "the item is absent: its node, if there is one, stays as it is for now");
                return Ok(Some(Configured::Nothing));
            }
        };
        let node = match named {
            Ok(node) => node,
            Err(problem) => return self.reject(id, &item, None, vec![problem]).await.map(Some),
        };
        let share = match self.share_of(&node, &item).await? {
            Membership::None => None,
            Membership::Member(share) if share.must_be_placed(&item) => return Ok(Some(Configured::Later)),
            Membership::Member(share) if record.as_ref().is_some_and(|it| share.is_overtaken(it)) => {
                return Ok(Some(Configured::Later));
            }
            Membership::Member(share) => Some(share),
            // Its group takes it in at the next tick, and only then is there something to judge.
            Membership::Unlisted => return Ok(Some(Configured::Later)),
            Membership::NoGroup(problem) => {
                return self.reject(id, &item, record.as_ref(), vec![problem]).await.map(Some);
            }
        };
        if let Some(group) = share.as_ref().and_then(|share| share.removed_group()) {
            match self.said_item(&group.key()).await? {
                // It has been put back: nobody goes with a group that is about to be judged.
                Some(back) if !config::is_refused(&back) => return Ok(Some(Configured::Later)),
                Some(_) => {
                    let remedy =
                        format!("the item group#{group} is there again and was refused: mend it first");
                    let value = group.to_string();
                    let problem = Problem { path: "group".to_owned(), value, remedy };
                    return self.reject(id, &item, record.as_ref(), vec![problem]).await.map(Some);
                }
                None => {}
            }
        }
        let draft = share.as_ref().map_or_else(|| config::parse(&item), |share| share.draft(&item));
        if record.is_none() && draft.config.group.is_some() && !draft.config.desired_state.wants_a_node() {
            // A member that never was, and of which nothing is needed.
            let notices = share.iter().flat_map(|share| share.notices(&item)).collect();
            if !says(&item, &config::hash(&item), true, &[]) {
                self.answer(id, &item, true, Vec::new(), notices).await?;
            }
            return Ok(Some(Configured::Nothing));
        }
        let mut verdict = self.judge(&draft, &item, &node, record.as_ref()).await?;
        if record.is_none() && draft.config.group.is_none() {
            verdict.problems.extend(self.collision(&node).await?);
        }
        if !verdict.problems.is_empty() {
            return self.reject(id, &item, record.as_ref(), verdict.problems).await.map(Some);
        }
        verdict.notices.extend(share.iter().flat_map(|share| share.notices(&item)));
        let edit = Edit { id, item: &item, share: share.map(|share| share.hash()), config: draft.config };
        self.accept(edit, (node, record), verdict.notices).await
    }

    async fn reject(
        &self,
        id: &str,
        item: &Value,
        record: Option<&Record>,
        problems: Vec<Problem>,
    ) -> Reply<Configured> {
        let (hash, problems) = (config::hash(item), config::at_most_told(problems));
        if says(item, &hash, false, &problems) {
            return Ok(Configured::Rejected);
        }
        // What is no name may be as long as a key of DynamoDB.
        let shown = bounded(id, SHOWN_MAX);
        let reason = format!(
            "the item {shown} was rejected: {} problem(s); nothing of it is in force",
            problems.len()
        );
        tracing::warn!(id = shown, "{reason}");
        let unique = digest(&[id, &hash, &format!("{problems:?}")]);
        let detail = Detail {
            id: format!("{}-rejected-{}", bare(&shown), &unique[..16]),
            node: if id.starts_with(GroupName::KEY_PREFIX) { String::new() } else { bare(&shown).to_owned() },
            group: shown.strip_prefix(GroupName::KEY_PREFIX).map(str::to_owned),
            life: record.map(|r| r.life.clone()).unwrap_or_default(),
            cycle: record.map_or(0, |r| r.cycle),
            phase: record.map(|r| r.phase),
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

    async fn accept(
        &self,
        edit: Edit<'_>,
        (node, record): (NodeName, Option<Record>),
        mut told: Vec<String>,
    ) -> Reply<Option<Configured>> {
        let Edit { id, item, share, config } = edit;
        let hash = config::hash(item);
        let wanted = config.desired_state;
        let mut accepted = Accepted { hash: hash.clone(), share: share.clone(), notices: Vec::new(), config };
        let now = whole_second(record.as_ref().map_or_else(|| self.clock.now(), |r| self.now_for(r)));
        let is_first = record.is_none();
        let mut working = match record {
            Some(record) => Working::read(record),
            None => {
                let life = life(&self.deployment, &node, &self.invocation, now);
                Working::new(Record::new(node.clone(), life, accepted.clone(), now))
            }
        };
        let in_force = &working.record.config;
        if !is_first && in_force.hash == hash && in_force.share == share && !in_force.notices.is_empty() {
            // Found when it was put in force, before it changed what they were found by.
            told.clone_from(&in_force.notices);
        } else {
            told.extend(notices(&working.record, &accepted, now));
        }
        accepted.notices.clone_from(&told);
        let begins_anew = transitions::begins_anew(&working.record, wanted);
        let is_ending = working.record.phase == Phase::Purging;
        if begins_anew {
            let life = life(&self.deployment, &node, &self.invocation, now);
            let next = transitions::next_life(&working.record, life, accepted.clone(), now);
            working = Working::over(working.record, next);
        }
        if is_first
            || begins_anew
            || !transitions::is_in_force(&working.record, &hash, share.as_deref(), wanted)
        {
            put_in_force(&mut working, accepted, now);
            if self.write(&mut working).await? == Written::Conflict {
                return Ok(None);
            }
        }
        if !says(item, &hash, true, &[]) {
            self.answer(id, item, true, Vec::new(), told).await?;
        }
        self.drive(&node).await?;
        Ok(Some(if is_ending { Configured::Later } else { Configured::Accepted }))
    }

    pub(crate) async fn answer(
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

/// Changes the record, and says so in its journal and outbox.
fn put_in_force(working: &mut Working, accepted: Accepted, now: jiff::Timestamp) {
    let record = &mut working.record;
    transitions::put_in_force(record, accepted, now);
    let what = format!("config {} accepted", &record.config.hash[..12.min(record.config.hash.len())]);
    let nth = record.outbox.len();
    let event = OwnEvent::about(record, Kind::ConfigAccepted, &what, nth, now);
    record.outbox.push(event);
    working.entries.push(Entry { time: now, what, phase: record.phase, cycle: record.cycle });
}

/// Whether the item already carries this verdict.
fn says(item: &Value, hash: &str, accepted: bool, problems: &[Problem]) -> bool {
    serde_json::from_value::<Status>(item[config::STATUS].clone())
        .is_ok_and(|s| s.accepted == accepted && s.config_hash == hash && s.problems == problems)
}

/// The name of a node's item, or the id of any other.
fn bare(id: &str) -> &str {
    id.strip_prefix(NodeName::KEY_PREFIX).unwrap_or(id)
}

//! Edits of a group's item: judged whole, answered in the item, and put in force in the group's record. What
//! follows for its members is decided with what is known of them, in the pass over groups.

use perennial_core::config::{self, Problem};
use perennial_core::group::{AcceptedGroup, GroupRecord, references};
use perennial_core::ids::GroupName;
use perennial_core::journal::{Detail, Kind, OwnEvent};
use perennial_core::names::whole_second;
use perennial_core::record::Record;
use serde_json::Value;

use super::judge::Own;
use super::{Configured, says};
use crate::Engine;
use crate::ports::{Bus, Clock, Ec2, Reply, Store, Written};

impl<E: Ec2, S: Store, B: Bus, C: Clock> Engine<E, S, B, C> {
    /// Judges the item of a group and puts it in force, or says why not; `None` if a write was lost and
    /// everything must be read again.
    pub(super) async fn configure_group(&self, id: &str) -> Reply<Option<Configured>> {
        let named = config::group_name(id);
        // Read before the item: whoever puts a newer one in force meanwhile makes this write conflict.
        let record = match &named {
            Ok(name) => self.store.group(name).await?,
            Err(_) => None,
        };
        let item = match self.said_item(id).await? {
            Some(item) => item,
            None => {
                tracing::info!(id, "the item is absent: its group, if there is one, stays as it is for now");
                return Ok(Some(Configured::Nothing));
            }
        };
        let name = match named {
            Ok(name) => name,
            Err(problem) => return self.reject(id, &item, None, vec![problem]).await.map(Some),
        };
        let (draft, part) = config::parse_group(&item);
        let mut problems = draft.problems.clone();
        let backups = part.image_backup.as_ref();
        problems.extend(backups.iter().flat_map(|policy| config::backup::check(policy, self.clock.now())));
        let referred = self.referred(&draft, &part, self.own(&name, record.as_ref()).await?).await?;
        let items = if record.is_none() { self.store.config_items().await? } else { Vec::new() };
        for problem in references::problems(&name, record.as_ref(), &item, (&draft, &part), &referred, &items)
        {
            if !super::judge::is_known(&problems, &problem) {
                problems.push(problem);
            }
        }
        if !problems.is_empty() {
            problems.sort_by(|a, b| a.path.cmp(&b.path));
            return self.reject(id, &item, None, problems).await.map(Some);
        }
        self.accept_group(id, &item, (name, record), AcceptedGroup::new(&item, part)).await
    }

    /// What belongs to the group among what others may hold.
    async fn own(&self, name: &GroupName, record: Option<&GroupRecord>) -> Reply<Own> {
        let members = record.map(|record| record.members.as_slice()).unwrap_or_default();
        let mut interfaces = std::collections::BTreeSet::new();
        let records: Vec<Record> = self.members_of(members).await?;
        interfaces
            .extend(records.iter().filter_map(|it| it.network.as_ref()).map(|kept| kept.eni_id.clone()));
        Ok(Own {
            nodes: members.iter().map(|member| member.name.clone()).collect(),
            group: Some(name.clone()),
            interfaces,
        })
    }

    async fn accept_group(
        &self,
        id: &str,
        item: &Value,
        (name, record): (GroupName, Option<GroupRecord>),
        accepted: AcceptedGroup,
    ) -> Reply<Option<Configured>> {
        let hash = accepted.hash.clone();
        let now = whole_second(self.clock.now());
        let generation = record.as_ref().map_or(0, |record| record.generation);
        let is_in_force = record.as_ref().is_some_and(|record| {
            record.config.hash == hash && record.absent_since.is_none() && !record.removed
        });
        let mut next = record.unwrap_or_else(|| GroupRecord::new(name.clone(), accepted.clone(), now));
        if !is_in_force {
            next.put_in_force(accepted, now);
            if self.write_group(&mut next, generation).await? == Written::Conflict {
                return Ok(None);
            }
        }
        // Decided before it is answered, so that the answer says what the group is short of.
        let (decided, to_judge) = self.group_woken(next).await?;
        if !says(item, &hash, true, &[]) {
            // Published before it is answered, as a rejection is: a crash in between repeats the same id.
            self.bus.publish(&[accepted_event(&decided, &hash, now)]).await?;
            self.answer(id, item, true, Vec::<Problem>::new(), decided.notices.clone()).await?;
        }
        self.judge_members(&decided.name, to_judge).await?;
        Ok(Some(Configured::Accepted))
    }
}

fn accepted_event(group: &GroupRecord, hash: &str, now: jiff::Timestamp) -> OwnEvent {
    let short = &hash[..12.min(hash.len())];
    let detail = Detail {
        id: format!("{}-accepted-{}-{short}", group.name.key(), group.in_force_since),
        group: Some(group.name.to_string()),
        reason: format!("config {short} accepted"),
        ..Detail::default()
    };
    OwnEvent { kind: Kind::ConfigAccepted, time: now, detail }
}

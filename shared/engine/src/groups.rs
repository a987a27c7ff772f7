//! The pass over groups: what is known of members is read, the group decides, its wishes are written down, and
//! then the members it made get their items.
//!
//! The group's record comes first, so that a crash between any two lines leaves a member that is known and
//! whose item is still to be put, never an item that nobody knows.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, TryStreamExt, stream};
use perennial_core::config;
use perennial_core::group::{GroupRecord, Member, SCHEMA_VERSION, Seen, Share, plan};
use perennial_core::ids::{GroupName, NodeName};
use perennial_core::limits;
use perennial_core::names::whole_second;
use perennial_core::record::Record;
use perennial_core::removal::{is_expected, is_group_held};
use serde_json::Value;

use crate::Engine;
use crate::commit::Working;
use crate::ports::{Bus, Clock, Ec2, Reply, Store, Written};

/// How many members are read, or given their items, side by side.
const AT_ONCE: usize = 16;

/// What a tick has read of groups and their members.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// Every group, as it was last written.
    pub(crate) groups: BTreeMap<GroupName, GroupRecord>,
    /// The records of their members.
    pub(crate) records: BTreeMap<NodeName, Record>,
    /// Members whose items were put only now, by their groups.
    pub(crate) to_judge: Vec<(GroupName, Vec<NodeName>)>,
}

impl Known {
    /// What a member's group says of it.
    pub(crate) fn share(&self, node: &NodeName, item: &Value) -> Option<Share> {
        let group = item["group"].as_str().and_then(GroupName::parse)?;
        self.groups.get(&group)?.share(node)
    }
}

impl<E: Ec2, S: Store, B: Bus, C: Clock> Engine<E, S, B, C> {
    /// Lets every group decide, given all config items. A group that fails keeps the others not waiting.
    pub(crate) async fn groups_pass(&self, items: &[(&str, &Value)]) -> Reply<Known> {
        let mut known = Known::default();
        let suspended = self.is_suspended().await?;
        for record in self.store.groups().await? {
            let name = record.name.clone();
            let read = self.group_pass(record.clone(), items, suspended, &mut known).await;
            let record = read.unwrap_or_else(|failure| {
                tracing::warn!(group = %name, code = %failure.code, "{failure}");
                record
            });
            known.groups.insert(name, record);
        }
        Ok(known)
    }

    async fn group_pass(
        &self,
        mut record: GroupRecord,
        items: &[(&str, &Value)],
        suspended: bool,
        known: &mut Known,
    ) -> Reply<GroupRecord> {
        let is_there = items.iter().any(|(id, _)| *id == record.name.key());
        if is_there && record.absent_since.is_some() && !record.removed {
            // It was missed at one look only, whatever is said of it now.
            record.absent_since = None;
            let generation = record.generation;
            if self.write_group(&mut record, generation).await? == Written::Conflict {
                return Ok(record);
            }
        }
        if !is_there && !self.group_vanished(&mut record, items).await? {
            return Ok(record);
        }
        let mut own: BTreeMap<NodeName, Value> = BTreeMap::new();
        let mut taken = BTreeSet::new();
        for (id, item) in items {
            let Some(node) = NodeName::from_key(id) else { continue };
            if item["group"] == record.name.as_str() || record.member(&node).is_some() {
                own.insert(node, (*item).clone());
            } else if record.name.could_name(&node) {
                taken.insert(node);
            }
        }
        let joined = own.keys().filter(|node| record.member(node).is_none());
        let nodes: Vec<NodeName> =
            record.members.iter().map(|member| member.name.clone()).chain(joined.cloned()).collect();
        let records = self.records_of(&nodes).await?;
        self.read_unseen(&record, &records, &mut own).await?;
        known.records.extend(records.iter().map(|it| (it.name.clone(), it.clone())));
        if suspended || record.config.is_suspended() {
            return Ok(record);
        }
        let facts = Facts { items: own, all_items: true, records, taken };
        let (record, put) = self.decide(record, &facts).await?;
        self.tell(&record, items).await?;
        known.to_judge.push((record.name.clone(), put));
        for member in record.members.iter().filter(|member| !facts.items.contains_key(&member.name)) {
            self.impose(&record, member, &facts).await?;
        }
        Ok(record)
    }

    /// Reads the items of members that have none among those read before, and no record either: such an item
    /// may have been put since, and a member is forgotten only if there is nothing of it.
    async fn read_unseen(
        &self,
        group: &GroupRecord,
        records: &[Record],
        own: &mut BTreeMap<NodeName, Value>,
    ) -> Reply<()> {
        let lives = |node: &NodeName| records.iter().any(|it| &it.name == node && !it.phase.is_final());
        for member in group.members.iter().filter(|it| it.item_put && !lives(&it.name)) {
            if own.contains_key(&member.name) {
                continue;
            }
            if let Some(item) = self.said_item(&member.name.key()).await? {
                own.insert(member.name.clone(), item);
            }
        }
        Ok(())
    }

    /// Takes note of a group whose item is missing; whether it has been removed.
    async fn group_vanished(&self, record: &mut GroupRecord, items: &[(&str, &Value)]) -> Reply<bool> {
        if record.removed {
            return Ok(true);
        }
        if self.has_item(&record.name.key()).await? {
            return Ok(false);
        }
        let now = whole_second(self.clock.now());
        let missing = self.missing_members(record, items).await?;
        let nodes = items.iter().filter(|(id, _)| NodeName::from_key(id).is_some()).count() + missing;
        let confirmed = self.store.settings().await?.and_then(|it| it.settings.confirm_removal);
        match record.absent_since {
            Some(_) if is_group_held(missing, nodes, confirmed) => {
                tracing::warn!(group = %record.name, missing, "its item is gone with those of its members: nothing \
                    is given up before the items are back, or the setting confirmRemoval says how many");
                return Ok(false);
            }
            None => {
                record.absent_since = Some(now);
                tracing::info!(group = %record.name, "its item is missing: looked for again at the next tick");
            }
            // Two ticks that overlap are one look.
            Some(since) if now.duration_since(since) >= limits::NEXT_TICK => {
                (record.removed, record.removed_at) = (true, Some(now));
                tracing::info!(group = %record.name, "its item was deleted: all its members are deallocated");
            }
            Some(_) => return Ok(false),
        }
        let generation = record.generation;
        let is_removed = record.removed;
        Ok(self.write_group(record, generation).await? == Written::Done && is_removed)
    }

    /// How many living members have no item, as far as the scan of all items tells.
    async fn missing_members(&self, record: &GroupRecord, items: &[(&str, &Value)]) -> Reply<usize> {
        let there: BTreeSet<&str> = items.iter().map(|(id, _)| *id).collect();
        let gone = record.members.iter().filter(|it| !it.given_up && !there.contains(it.name.key().as_str()));
        let names: Vec<NodeName> = gone.map(|member| member.name.clone()).collect();
        Ok(self.records_of(&names).await?.iter().filter(|record| is_expected(record)).count())
    }

    /// Lets one group decide at once, after an edit of its item; the tick would do it within a minute. Returns
    /// it with the members whose configs are behind.
    pub(crate) async fn group_woken(&self, record: GroupRecord) -> Reply<(GroupRecord, Vec<NodeName>)> {
        let suspended = self.is_suspended().await?;
        if suspended || record.config.is_suspended() || record.removed {
            return Ok((record, Vec::new()));
        }
        let nodes: Vec<NodeName> = record.members.iter().map(|member| member.name.clone()).collect();
        let records = self.records_of(&nodes).await?;
        let reads = stream::iter(&nodes).map(|node| async move {
            Ok(self.said_item(&node.key()).await?.map(|item| (node.clone(), item)))
        });
        let items: Vec<Option<(NodeName, Value)>> = reads.buffered(AT_ONCE).try_collect().await?;
        let items = items.into_iter().flatten().collect();
        let facts = Facts { items, all_items: false, records, taken: BTreeSet::new() };
        let (record, put) = self.decide(record, &facts).await?;
        let behind = record.members.iter().filter(|member| {
            let of = facts.records.iter().find(|it| it.name == member.name);
            let share = record.share(&member.name).map(|share| share.hash());
            of.is_none_or(|of| of.config.share != share)
        });
        let behind: BTreeSet<NodeName> = behind.map(|member| member.name.clone()).chain(put).collect();
        Ok((record, behind.into_iter().collect()))
    }

    /// Judges members anew whose group has a new word for them; those that time does not suffice for are the
    /// tick's.
    pub(crate) async fn judge_members(&self, group: &GroupName, members: Vec<NodeName>) -> Reply<()> {
        let judged = members.into_iter().map(|node| async move {
            if !self.has_time_for(4) {
                tracing::info!(%group, %node, "out of time: left to the tick");
                return Ok(());
            }
            Box::pin(self.configure(&node.key())).await.map(|_| ())
        });
        let judged: Vec<Reply<()>> = stream::iter(judged).buffer_unordered(AT_ONCE).collect().await;
        judged.into_iter().collect()
    }

    /// Decides, writes the decision down, and puts the items of new members. Returns whose were put.
    async fn decide(&self, record: GroupRecord, facts: &Facts) -> Reply<(GroupRecord, Vec<NodeName>)> {
        let records = facts.records.iter().map(|it| (it.name.clone(), it.clone())).collect();
        let seen =
            Seen { items: &facts.items, all_items: facts.all_items, records: &records, taken: &facts.taken };
        let generation = record.generation;
        let decided = plan(record.clone(), seen);
        let mut next = decided.record;
        if next != record {
            if self.write_group(&mut next, generation).await? == Written::Conflict {
                // Somebody else decided from the same; the next tick looks again.
                return Ok((record, Vec::new()));
            }
            for note in decided.notes {
                tracing::info!(group = %next.name, "{note}");
            }
        }
        let put = self.put_members(&mut next).await?;
        Ok((next, put))
    }

    async fn put_members(&self, record: &mut GroupRecord) -> Reply<Vec<NodeName>> {
        let mut put = Vec::new();
        for (node, item) in record.items_to_put() {
            if !self.has_time_for(4) {
                break;
            }
            match self.store.put_member(&item).await? {
                Written::Done => put.push(node),
                // It is there: put by an earlier try, or by somebody else; the next tick reads whose it is.
                Written::Conflict => {}
            }
        }
        if !put.is_empty() {
            for member in record.members.iter_mut().filter(|member| put.contains(&member.name)) {
                member.item_put = true;
            }
            let generation = record.generation;
            if self.write_group(record, generation).await? == Written::Conflict {
                tracing::debug!(group = %record.name, "another invocation wrote first: the next tick takes note");
            }
        }
        Ok(put)
    }

    /// Answers anew in the group's item when what the operator should know has changed.
    async fn tell(&self, record: &GroupRecord, items: &[(&str, &Value)]) -> Reply<()> {
        let key = record.name.key();
        let Some((_, item)) = items.iter().find(|(id, _)| *id == key) else { return Ok(()) };
        let status = serde_json::from_value::<config::Status>(item[config::STATUS].clone()).ok();
        let is_told = status.is_some_and(|status| {
            !status.accepted || status.config_hash != record.config.hash || status.notices == record.notices
        });
        // What is not answered yet is answered by whoever judges it.
        if is_told || item.get(config::STATUS).is_none() {
            return Ok(());
        }
        self.answer(&key, item, true, Vec::new(), record.notices.clone()).await
    }

    /// Puts in force what a group says of a member that has no item any more.
    async fn impose(&self, group: &GroupRecord, member: &Member, facts: &Facts) -> Reply<()> {
        let Some(record) = facts.records.iter().find(|it| it.name == member.name) else { return Ok(()) };
        let Some(share) = group.share(&member.name).filter(|_| member.given_up) else { return Ok(()) };
        if record.config.share.as_ref() == Some(&share.hash()) || record.phase.is_final() {
            return Ok(());
        }
        let mut working = Working::read(record.clone());
        share.impose(&mut working.record, whole_second(self.now_for(record)));
        self.write(&mut working).await?;
        Ok(())
    }

    /// The records of members, as far as they have one that can be read.
    pub(crate) async fn members_of(&self, members: &[Member]) -> Reply<Vec<Record>> {
        let nodes: Vec<NodeName> = members.iter().map(|member| member.name.clone()).collect();
        self.records_of(&nodes).await
    }

    async fn records_of(&self, nodes: &[NodeName]) -> Reply<Vec<Record>> {
        let reads = stream::iter(nodes).map(|node| self.load(node));
        let found: Vec<_> = reads.buffered(AT_ONCE).try_collect().await?;
        Ok(found.into_iter().filter_map(Result::ok).collect())
    }

    /// Writes a group; its generation is then the new one.
    pub(crate) async fn write_group(&self, record: &mut GroupRecord, expected: u64) -> Reply<Written> {
        record.generation = expected + 1;
        record.schema_version = SCHEMA_VERSION;
        record.updated_at = whole_second(self.clock.now()).max(record.updated_at);
        self.store.write_group(record, expected).await
    }
}

/// What was read of one group's members.
struct Facts {
    items: BTreeMap<NodeName, Value>,
    all_items: bool,
    records: Vec<Record>,
    taken: BTreeSet<NodeName>,
}

//! Orphans among the backups of groups: told of on the bus, since no node's journal is theirs, and deleted a day after
//! they were first seen.

use std::collections::BTreeMap;

use perennial_core::group::GroupRecord;
use perennial_core::guard::{Verdict, backup_snapshot};
use perennial_core::ids::{GroupName, Resource};
use perennial_core::names::GroupNames;
use perennial_core::orphans::{Finding, Found, all, event, group_of, is_backup, judge_backup};

use super::Pass;
use crate::Engine;
use crate::ports::{Bus, Clock, Ec2, Reply, Store};

impl<E: Ec2, S: Store, B: Bus, C: Clock> Engine<E, S, B, C> {
    /// Judges what is found of backups, and does what comes of it.
    pub(super) async fn judge_backups(&self, pass: &mut Pass<'_>) -> Reply<()> {
        let found: Vec<Found<'_>> = all(pass.seen).into_iter().filter(|found| is_backup(*found)).collect();
        if found.is_empty() {
            return Ok(());
        }
        // Remembered first: whatever fails, what was known to be an orphan stays one.
        for it in &found {
            if pass.known.since.contains_key(it.resource().id()) {
                pass.remember(it.resource().id());
            }
        }
        let groups = self.store.groups().await?;
        let groups: BTreeMap<GroupName, GroupRecord> =
            groups.into_iter().map(|it| (it.name.clone(), it)).collect();
        for it in found {
            let group = group_of(it);
            let record = group.as_ref().and_then(|group| groups.get(group));
            let finding = judge_backup(it, record, pass.seen);
            let is_suspended = pass.suspended || record.is_some_and(|record| record.config.is_suspended());
            match finding {
                Finding::Report(why) => {
                    pass.remember(it.resource().id());
                    self.tell_of_backup(pass, it, &format!("{why}. It is left alone")).await?;
                }
                Finding::Delete(why) => {
                    pass.remember(it.resource().id());
                    let keep = "It is deleted a day after it was first seen: to keep it, take its tags off";
                    self.tell_of_backup(pass, it, &format!("{why}. {keep}")).await?;
                    let may_go = pass.known.told.contains(it.resource().id())
                        && pass.known.may_go(it.resource().id(), pass.now);
                    if may_go && self.has_time_for(2) && pass.may_change(is_suspended) {
                        self.delete_backup_orphan(pass, it, group.as_ref()).await;
                    }
                }
                Finding::Explained | Finding::Unsettled | Finding::Adopt(_) => {
                    pass.next.since.remove(it.resource().id());
                    pass.next.told.remove(it.resource().id());
                }
            }
        }
        Ok(())
    }

    async fn tell_of_backup(&self, pass: &mut Pass<'_>, found: Found<'_>, why: &str) -> Reply<()> {
        let id = found.resource().id().to_owned();
        if !pass.is_news(&id) {
            return Ok(());
        }
        tracing::warn!(resource = id, "an orphan: {why}");
        self.bus.publish(&[event(found, None, why, pass.now)]).await?;
        pass.next.told.insert(id);
        Ok(())
    }

    /// Deletes a snapshot that is proven not to be needed, if a read of it alone still says that it is ours. What
    /// cannot be deleted now is tried again in an hour.
    async fn delete_backup_orphan(&self, pass: &mut Pass<'_>, found: Found<'_>, group: Option<&GroupName>) {
        let (Resource::Snapshot(id), Some(group)) = (found.resource(), group) else { return };
        let names = GroupNames { deployment: &self.deployment, group };
        let read = self.ec2.snapshots(std::slice::from_ref(&id)).await;
        let verdict = read.map(|read| read.first().map(|it| backup_snapshot(&names, it)));
        let done = match verdict {
            Ok(None) => Ok(()),
            Ok(Some(Verdict::Go)) => self.ec2.delete_snapshot(&id).await,
            Ok(Some(Verdict::NotOurs(why) | Verdict::NotYet(why))) => {
                tracing::warn!(resource = id.as_str(), "left alone: {why}");
                return;
            }
            Err(failure) => Err(failure),
        };
        match done {
            Ok(()) => {
                tracing::info!(resource = id.as_str(), "an orphan was deleted");
                pass.next.since.remove(id.as_str());
                pass.next.told.remove(id.as_str());
            }
            Err(failure) => {
                tracing::info!(resource = id.as_str(), code = %failure.code, "not deleted yet: {failure}");
            }
        }
    }
}

//! The tables in memory, with the conditions of the real ones: no write is unconditional.

use perennial_core::config::settings::AcceptedSettings;
use perennial_core::config::{STATUS, Status};
use perennial_core::failure::{Class, Failure};
use perennial_core::group::GroupRecord;
use perennial_core::ids::{GroupName, NodeName};
use perennial_core::journal::OwnEvent;
use perennial_core::orphans::Orphans;
use perennial_core::record::{Record, Steady, Stored};
use perennial_engine::ports::{Base, Bus, Commit, Indexed, Reply, Store, Written};
use serde_json::{Value, json};

use crate::sabotage::Defect;
use crate::world::{Handle, World};

/// Partition key of the settings in force.
const SETTINGS: &str = "settings";
/// Partition key of what the orphan pass remembers.
const ORPHANS: &str = "orphans";

/// The tables and the bus of a world.
#[derive(Clone, Debug)]
pub struct Tables(pub Handle);

fn broken(call: &'static str, why: impl ToString) -> Failure {
    Failure::new(Class::Terminal, call, "Broken", why.to_string())
}

fn record_key(node: &NodeName) -> (String, String) {
    (node.key(), "record".to_owned())
}

fn owner_key(resource: &str) -> (String, String) {
    (format!("resource#{resource}"), "owner".to_owned())
}

fn apply(world: &mut World, commit: &Commit) -> Reply<Written> {
    let record = &commit.record;
    let base = |item: &Value| {
        Some(Base { generation: item["generation"].as_u64()?, life: item["life"].as_str()?.to_owned() })
    };
    let is_expected = world.state.get(&record_key(&record.name)).and_then(base) == commit.expected;
    if !is_expected {
        match world.defect {
            Some(Defect::UnconditionalWrite) => {}
            Some(Defect::LostWrite) => return Ok(Written::Done),
            _ => return Ok(Written::Conflict),
        }
    }
    let spoilt = world.defect.map(|defect| defect.written(record));
    let record = spoilt.as_ref().unwrap_or(record);
    let mine = json!({ "node": record.name });
    for resource in commit.point.iter().chain(&commit.unpoint) {
        if world.state.get(&owner_key(resource)).is_some_and(|owner| *owner != mine) {
            return Err(broken("Store:Commit", format!("{resource} belongs to another node")));
        }
    }
    let item = serde_json::to_value(record).map_err(|e| broken("Store:Commit", e))?;
    let read = match Stored::read(&item) {
        Ok(Stored::Known(read)) => *read,
        Ok(Stored::Newer { .. }) | Err(_) => {
            return Err(broken("Store:Commit", "the record does not read back"));
        }
    };
    if read.phase.is_resting() {
        world.rested.insert(record.name.to_string());
    }
    world.untold.remove(record.name.as_str());
    world.records.insert(record.name.to_string(), read);
    world.state.insert(record_key(&record.name), item);
    for resource in &commit.point {
        world.state.insert(owner_key(resource), mine.clone());
    }
    for resource in &commit.unpoint {
        world.state.remove(&owner_key(resource));
    }
    for (n, entry) in commit.entries.iter().enumerate() {
        let sk = format!("event#{}#{}-{n:02}", entry.time, record.generation);
        let entry = serde_json::to_value(entry).map_err(|e| broken("Store:Commit", e))?;
        world.state.insert((record.name.key(), sk), entry);
    }
    Ok(Written::Done)
}

/// A node as the work index has it; `None` if it is not in it.
fn indexed(world: &World, record: &Record) -> Option<Indexed> {
    if !record.is_indexed() {
        return None;
    }
    let standing = record.standing().filter(|_| !world.untold.contains(record.name.as_str()));
    Some(Indexed { node: record.name.clone(), at: record.wakes_at(), steady: record.steady(), standing })
}

/// The key of an item that is about all nodes.
fn common_key(pk: &str) -> (String, String) {
    (pk.to_owned(), "record".to_owned())
}

/// Writes such an item in place of the one of that generation; that it is there already is no conflict.
fn write_common(
    world: &mut World,
    call: &'static str,
    pk: &str,
    item: Value,
    expected: u64,
) -> Reply<Written> {
    if item["generation"].as_u64() != Some(expected + 1) {
        return Err(broken(call, format!("{pk} are to be of the generation after {expected}: {item}")));
    }
    let there = world.state.get(&common_key(pk));
    if there == Some(&item) {
        return Ok(Written::Done);
    }
    if there.map_or(Some(0), |there| there["generation"].as_u64()) != Some(expected) {
        return Ok(Written::Conflict);
    }
    world.state.insert(common_key(pk), item);
    Ok(Written::Done)
}

impl Store for Tables {
    async fn load(&self, node: &NodeName) -> Reply<Option<Stored>> {
        let key = record_key(node);
        let read = |world: &mut World| match world.state.get(&key) {
            None => Ok(None),
            Some(item) => {
                let read = Stored::read(item).map_err(|e| broken("Store:Load", e))?;
                Ok(Some(world.defect.map_or(read.clone(), |defect| defect.loaded(read, world.backing_up))))
            }
        };
        self.0.call("Store:Load", read).await
    }

    async fn owner(&self, resource: &str) -> Reply<Option<NodeName>> {
        let key = owner_key(resource);
        let read = |world: &mut World| {
            Ok(world.state.get(&key).and_then(|owner| NodeName::parse(owner["node"].as_str()?)))
        };
        self.0.call("Store:Owner", read).await
    }

    async fn commit(&self, commit: &Commit) -> Reply<Written> {
        self.0.call("Store:Commit", |world| apply(world, commit)).await
    }

    async fn nodes(&self) -> Reply<Vec<Indexed>> {
        let read = |world: &mut World| {
            let mut nodes: Vec<Indexed> =
                world.records.values().filter_map(|record| indexed(world, record)).collect();
            nodes.sort_by(|a, b| (a.at.is_none(), a.at, &a.node).cmp(&(b.at.is_none(), b.at, &b.node)));
            Ok(nodes)
        };
        self.0.call("Store:Nodes", read).await
    }

    async fn steady(&self) -> Reply<Vec<Steady>> {
        let read = |world: &mut World| Ok(world.records.values().filter_map(Record::steady).collect());
        self.0.call("Store:Steady", read).await
    }

    async fn config_item(&self, id: &str) -> Reply<Option<Value>> {
        let read = |world: &mut World| {
            let is_hidden = world.defect.is_some_and(|defect| defect.hides(id, &world.records));
            Ok(world.config.get(id).filter(|_| !is_hidden).cloned())
        };
        self.0.call("Store:ConfigItem", read).await
    }

    async fn config_items(&self) -> Reply<Vec<Value>> {
        self.0.call("Store:ConfigItems", |world| Ok(world.config.values().cloned().collect())).await
    }

    async fn settings(&self) -> Reply<Option<AcceptedSettings>> {
        let read = |world: &mut World| {
            let item = world.state.get(&common_key(SETTINGS)).cloned();
            let item = item.map(serde_json::from_value::<AcceptedSettings>).transpose();
            let mut item = item.map_err(|e| broken("Store:Settings", e))?;
            if let (Some(Defect::SuspendIgnored), Some(item)) = (world.defect, item.as_mut()) {
                item.settings.suspend = false;
            }
            Ok(item)
        };
        self.0.call("Store:Settings", read).await
    }

    async fn write_settings(&self, settings: &AcceptedSettings, expected: u64) -> Reply<Written> {
        let call = "Store:WriteSettings";
        let item = serde_json::to_value(settings).map_err(|e| broken(call, e))?;
        if serde_json::from_value::<AcceptedSettings>(item.clone()).ok().as_ref() != Some(settings) {
            return Err(broken(call, "the settings do not read back"));
        }
        self.0.call(call, |world| write_common(world, call, SETTINGS, item, expected)).await
    }

    async fn group(&self, group: &GroupName) -> Reply<Option<GroupRecord>> {
        let read = |world: &mut World| {
            let read = world.groups.get(group.as_str()).cloned();
            Ok(read.map(|group| world.defect.map_or(group.clone(), |defect| defect.group(group))))
        };
        self.0.call("Store:Group", read).await
    }

    async fn groups(&self) -> Reply<Vec<GroupRecord>> {
        let read = |world: &mut World| {
            let groups = world.groups.values().cloned();
            Ok(groups.map(|group| world.defect.map_or(group.clone(), |defect| defect.group(group))).collect())
        };
        self.0.call("Store:Groups", read).await
    }

    async fn groups_with_backups(&self) -> Reply<Vec<GroupRecord>> {
        let with = self.groups().await?;
        Ok(with.into_iter().filter(|group| group.backups.is_some()).collect())
    }

    async fn write_group(&self, record: &GroupRecord, expected: u64) -> Reply<Written> {
        let call = "Store:WriteGroup";
        let item = serde_json::to_value(record).map_err(|e| broken(call, e))?;
        let read: GroupRecord = serde_json::from_value(item.clone()).map_err(|e| broken(call, e))?;
        if read != *record {
            return Err(broken(call, "the group does not read back"));
        }
        let write = |world: &mut World| {
            let mut written = write_common(world, call, &record.name.key(), item.clone(), expected)?;
            if written == Written::Conflict && world.defect == Some(Defect::GroupUnconditional) {
                world.state.insert(common_key(&record.name.key()), item);
                written = Written::Done;
            }
            if written == Written::Done {
                world.groups.insert(record.name.to_string(), read);
            }
            Ok(written)
        };
        self.0.call(call, write).await
    }

    async fn put_member(&self, item: &Value) -> Reply<Written> {
        let call = "Store:PutMember";
        let id = item["id"].as_str().unwrap_or_default().to_owned();
        if NodeName::from_key(&id).is_none() {
            return Err(broken(call, format!("no item of a node: {item}")));
        }
        let write = |world: &mut World| {
            if world.config.contains_key(&id) {
                return Ok(Written::Conflict);
            }
            world.config.insert(id.clone(), item.clone());
            world.stream.push(id);
            Ok(Written::Done)
        };
        self.0.call(call, write).await
    }

    async fn orphans(&self) -> Reply<Option<Orphans>> {
        let read = |world: &mut World| {
            let item = world.state.get(&common_key(ORPHANS)).cloned();
            item.map(serde_json::from_value).transpose().map_err(|e| broken("Store:Orphans", e))
        };
        self.0.call("Store:Orphans", read).await
    }

    async fn write_orphans(&self, orphans: &Orphans, expected: u64) -> Reply<Written> {
        let call = "Store:WriteOrphans";
        let item = serde_json::to_value(orphans).map_err(|e| broken(call, e))?;
        if serde_json::from_value::<Orphans>(item.clone()).ok().as_ref() != Some(orphans) {
            return Err(broken(call, "the orphans do not read back"));
        }
        self.0.call(call, |world| write_common(world, call, ORPHANS, item, expected)).await
    }

    async fn write_status(&self, id: &str, judged: &Value, status: &Status) -> Reply<Written> {
        let write = |world: &mut World| {
            let Some(item) = world.config.get_mut(id) else { return Ok(Written::Conflict) };
            let bare = |item: &Value| {
                let mut item = item.clone();
                item.as_object_mut().map(|map| map.remove(STATUS));
                item
            };
            if bare(item) != bare(judged) {
                return Ok(Written::Conflict);
            }
            item[STATUS] = serde_json::to_value(status).map_err(|e| broken("Store:WriteStatus", e))?;
            world.stream.push(id.to_owned());
            Ok(Written::Done)
        };
        self.0.call("Store:WriteStatus", write).await
    }
}

impl Bus for Tables {
    async fn publish(&self, events: &[OwnEvent]) -> Reply<()> {
        let write = |world: &mut World| {
            world.published.extend_from_slice(events);
            Ok(())
        };
        self.0.call("Bus:Publish", write).await
    }
}

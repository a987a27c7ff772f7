//! The tables in memory, with the conditions of the real ones: no write is unconditional.

use jiff::Timestamp;
use perennial_core::config::{STATUS, Status};
use perennial_core::failure::{Class, Failure};
use perennial_core::ids::NodeName;
use perennial_core::journal::OwnEvent;
use perennial_core::record::{Record, Steady, Stored};
use perennial_engine::ports::{Bus, Commit, Due, Reply, Store, Written};
use serde_json::{Value, json};

use crate::world::{Handle, World};

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
    let now = world.state.get(&record_key(&record.name)).and_then(|item| item["generation"].as_u64());
    if now != commit.expected {
        return Ok(Written::Conflict);
    }
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

impl Store for Tables {
    async fn load(&self, node: &NodeName) -> Reply<Option<Stored>> {
        let key = record_key(node);
        let read = |world: &mut World| match world.state.get(&key) {
            None => Ok(None),
            Some(item) => Stored::read(item).map(Some).map_err(|e| broken("Store:Load", e)),
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

    async fn due(&self, now: Timestamp) -> Reply<Vec<Due>> {
        let read = |world: &mut World| {
            let mut due: Vec<Due> = world
                .records
                .values()
                .filter_map(|record| {
                    let soon = record.updated_at + perennial_core::limits::NEXT_TICK;
                    let at = if record.outbox.is_empty() {
                        record.work_at
                    } else {
                        Some(record.work_at.map_or(soon, |at| at.min(soon)))
                    };
                    let at = at.filter(|at| *at <= now)?;
                    Some(Due { node: record.name.clone(), at })
                })
                .collect();
            due.sort_by_key(|due| due.at);
            Ok(due)
        };
        self.0.call("Store:Due", read).await
    }

    async fn steady(&self) -> Reply<Vec<Steady>> {
        let read = |world: &mut World| Ok(world.records.values().filter_map(Record::steady).collect());
        self.0.call("Store:Steady", read).await
    }

    async fn config_item(&self, id: &str) -> Reply<Option<Value>> {
        self.0.call("Store:ConfigItem", |world| Ok(world.config.get(id).cloned())).await
    }

    async fn config_items(&self) -> Reply<Vec<Value>> {
        self.0.call("Store:ConfigItems", |world| Ok(world.config.values().cloned().collect())).await
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

//! The guest: whatever runs on a node's instance and writes to its disks.
//!
//! Writes to all of them as long as the instance takes writes, to the very moment of its shutdown, and remembers what
//! was acknowledged. That is what a recovery must bring back, no more and no less.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use perennial_cloud::Server;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::view::{Instance, items};
use crate::wire::{self, from_xml};

/// Real time between two writes.
const PACE: Duration = Duration::from_millis(20);

/// The guest's time on one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stay {
    /// The instance.
    pub instance: String,
    /// The count of writes after its first write there.
    pub first: u64,
    /// The count of writes after the last one that was acknowledged there.
    pub last: u64,
}

/// The guest's time with one volume beside the root, on one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// The instance.
    pub instance: String,
    /// The volume.
    pub volume: String,
    /// Its device name, once that is known.
    pub device: Option<String>,
    /// The count of writes after its first write there.
    pub first: u64,
    /// The count of writes after the last one that was acknowledged there.
    pub last: u64,
}

/// What a guest remembers.
#[derive(Default)]
struct Memory {
    stays: Vec<Stay>,
    uses: Vec<Use>,
}

/// A guest at work; it stops when dropped.
pub struct Guest {
    memory: Arc<Mutex<Memory>>,
    task: JoinHandle<()>,
}

impl Guest {
    pub(crate) fn begin(server: Arc<Server>, node: &str) -> Guest {
        let memory = Arc::new(Mutex::new(Memory::default()));
        let task = tokio::spawn(work(server, node.to_owned(), Arc::clone(&memory)));
        Guest { memory, task }
    }

    /// Its stays so far, in order.
    #[must_use]
    pub fn stays(&self) -> Vec<Stay> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).stays.clone()
    }

    /// What it has used at a device so far, in order.
    #[must_use]
    pub fn uses(&self, device: &str) -> Vec<Use> {
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.uses.iter().filter(|it| it.device.as_deref() == Some(device)).cloned().collect()
    }

    /// Asserts that each stay found every write of the one before, and nothing else.
    ///
    /// # Panics
    /// If one did not.
    pub fn assert_nothing_lost(&self) {
        let stays = self.stays();
        assert!(is_unbroken(&stays), "the disk is not what the guest left: {stays:#?}");
    }

    /// Asserts the same of what it found at a device, whose first volume was empty.
    ///
    /// # Panics
    /// If it is not so.
    pub fn assert_nothing_lost_at(&self, device: &str) {
        let uses = self.uses(device);
        let counts = uses.iter().map(|it| (it.first, it.last));
        assert!(!uses.is_empty() && is_chain(counts), "{device} is not what the guest left: {uses:#?}");
    }
}

/// Whether each stay began with exactly the writes of the one before; the first one with an unwritten disk.
fn is_unbroken(stays: &[Stay]) -> bool {
    is_chain(stays.iter().map(|stay| (stay.first, stay.last)))
}

fn is_chain(mut counts: impl Iterator<Item = (u64, u64)>) -> bool {
    let mut acknowledged = 0;
    counts.all(|(first, last)| std::mem::replace(&mut acknowledged, last) + 1 == first)
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn work(server: Arc<Server>, node: String, memory: Arc<Mutex<Memory>>) {
    let mut present: Option<Instance> = None;
    loop {
        match &present {
            None => present = running(server.address(), &node).await,
            Some(instance) => {
                let request = json!({"instanceId": instance.id, "allVolumes": true});
                let (status, answer) = server.control("POST", "write", &request);
                let writes = answer["volumes"].as_object().filter(|_| status == 200);
                let Some(writes) = writes else {
                    present = None;
                    continue;
                };
                if !note(&memory, instance, writes) {
                    // Something was attached since the last look.
                    present = running(server.address(), &node).await;
                }
            }
        }
        tokio::time::sleep(PACE).await;
    }
}

/// Remembers what was acknowledged; whether each volume's place is known.
fn note(memory: &Mutex<Memory>, instance: &Instance, writes: &serde_json::Map<String, Value>) -> bool {
    let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
    let mut all_known = true;
    for (volume, writes) in writes {
        let writes = writes.as_u64().unwrap_or_default();
        if *volume == instance.root {
            match memory.stays.last_mut().filter(|stay| stay.instance == instance.id) {
                Some(stay) => stay.last = writes,
                None => {
                    memory.stays.push(Stay { instance: instance.id.clone(), first: writes, last: writes });
                }
            }
            continue;
        }
        let device = instance.disks.iter().find(|(_, disk)| disk.volume == *volume);
        let device = device.map(|(device, _)| device.clone());
        all_known &= device.is_some();
        let same = |it: &&mut Use| it.instance == instance.id && it.volume == *volume;
        match memory.uses.iter_mut().find(same) {
            Some(known) => (known.last, known.device) = (writes, device.or(known.device.take())),
            None => memory.uses.push(Use {
                instance: instance.id.clone(),
                volume: volume.clone(),
                device,
                first: writes,
                last: writes,
            }),
        }
    }
    all_known
}

/// The running instance of a node, if it has one.
async fn running(address: SocketAddr, node: &str) -> Option<Instance> {
    let filters = [
        ("Filter.1.Name", "tag:perennial:node"),
        ("Filter.1.Value.1", node),
        ("Filter.2.Name", "instance-state-name"),
        ("Filter.2.Value.1", "running"),
    ];
    let body = wire::query("DescribeInstances", &filters);
    let answer: Value = from_xml(&wire::post(address, None, body).await.body);
    let found = items(&answer["reservationSet"]).iter().flat_map(|it| items(&it["instancesSet"]));
    found.map(Instance::read).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stays(counts: &[(u64, u64)]) -> Vec<Stay> {
        counts
            .iter()
            .map(|(first, last)| Stay { instance: "i".to_owned(), first: *first, last: *last })
            .collect()
    }

    #[test]
    fn a_lost_write_and_one_too_many_both_show() {
        assert!(is_unbroken(&stays(&[(1, 7), (8, 8), (9, 20)])));
        assert!(!is_unbroken(&stays(&[(1, 7), (7, 9)])), "the seventh write is lost");
        assert!(!is_unbroken(&stays(&[(1, 7), (9, 9)])), "a write that was never acknowledged");
        assert!(!is_unbroken(&stays(&[(2, 7)])), "the disk was not empty");
    }
}

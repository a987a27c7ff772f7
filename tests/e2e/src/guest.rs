//! The guest: whatever runs on a node's instance and writes to its disk.
//!
//! Writes as long as the instance takes writes, to the very moment of its shutdown, and remembers what was
//! acknowledged. That is what a recovery must bring back, no more and no less.

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

/// A guest at work; it stops when dropped.
pub struct Guest {
    stays: Arc<Mutex<Vec<Stay>>>,
    task: JoinHandle<()>,
}

impl Guest {
    pub(crate) fn begin(server: Arc<Server>, node: &str) -> Guest {
        let stays = Arc::new(Mutex::new(Vec::new()));
        let task = tokio::spawn(work(server, node.to_owned(), Arc::clone(&stays)));
        Guest { stays, task }
    }

    /// Its stays so far, in order.
    #[must_use]
    pub fn stays(&self) -> Vec<Stay> {
        self.stays.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asserts that each stay found every write of the one before, and nothing else.
    ///
    /// # Panics
    /// If one did not.
    pub fn assert_nothing_lost(&self) {
        let stays = self.stays();
        assert!(is_unbroken(&stays), "the disk is not what the guest left: {stays:#?}");
    }
}

/// Whether each stay began with exactly the writes of the one before; the first one with an unwritten disk.
fn is_unbroken(stays: &[Stay]) -> bool {
    let mut acknowledged = 0;
    stays.iter().all(|stay| std::mem::replace(&mut acknowledged, stay.last) + 1 == stay.first)
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn work(server: Arc<Server>, node: String, stays: Arc<Mutex<Vec<Stay>>>) {
    let mut present = None;
    loop {
        match &present {
            None => present = running(server.address(), &node).await,
            Some(instance) => {
                let (status, answer) = server.control("POST", "write", &json!({"instanceId": instance}));
                match answer["writes"].as_u64().filter(|_| status == 200) {
                    Some(writes) => note(&stays, instance, writes),
                    None => present = None,
                }
            }
        }
        tokio::time::sleep(PACE).await;
    }
}

fn note(stays: &Mutex<Vec<Stay>>, instance: &str, writes: u64) {
    let mut stays = stays.lock().unwrap_or_else(PoisonError::into_inner);
    match stays.last_mut().filter(|stay| stay.instance == instance) {
        Some(stay) => stay.last = writes,
        None => stays.push(Stay { instance: instance.to_owned(), first: writes, last: writes }),
    }
}

/// The running instance of a node, if it has one.
async fn running(address: SocketAddr, node: &str) -> Option<String> {
    let filters = [
        ("Filter.1.Name", "tag:perennial:node"),
        ("Filter.1.Value.1", node),
        ("Filter.2.Name", "instance-state-name"),
        ("Filter.2.Value.1", "running"),
    ];
    let body = wire::query("DescribeInstances", &filters);
    let answer: Value = from_xml(&wire::post(address, None, body).await.body);
    let found = items(&answer["reservationSet"]).iter().flat_map(|it| items(&it["instancesSet"]));
    found.map(Instance::read).map(|it| it.id).next()
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

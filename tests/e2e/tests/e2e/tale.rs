//! The tale of one node: its item as the operator edits it, its guest, and what must hold of it whatever became of
//! the events and the functions on the way.

use perennial_e2e::{Account, Guest, Image, Instance, Snapshot};
use serde_json::{Value, json};

use crate::support::{completed, launches_for, running, told, types, verdict};

/// Completed snapshots that a node of a tale keeps.
const KEEP: usize = 2;

/// A node with everything kept, and its guest.
pub(crate) struct Tale<'a> {
    pub(crate) account: &'a Account,
    pub(crate) node: &'static str,
    /// The address it keeps, if it keeps one.
    pub(crate) address: Option<String>,
    /// What its operator has written last.
    pub(crate) item: Value,
    pub(crate) guest: Guest,
    /// Its first instance.
    pub(crate) first: Instance,
}

/// What is left of a node that rests.
pub(crate) struct Rest {
    pub(crate) image: Image,
    pub(crate) last: Snapshot,
}

/// An item of a node in the first subnet, whose address ends in `host`.
pub(crate) fn item(account: &Account, node: &str, host: u8) -> Value {
    let defaults = account.server().defaults();
    json!({
        "id": format!("node#{node}"),
        "launch": {
            "template": {"name": defaults.launch_template_name},
            "instanceTypes": ["m5.large", "c5.large"],
            "subnets": [defaults.subnet_ids[0]],
        },
        "persist": {
            "root": {"snapshotEvery": "1m", "keep": KEEP},
            "network": {"privateIp": format!("10.0.1.{host}")},
        },
        "tags": {"team": "storage"},
    })
}

impl<'a> Tale<'a> {
    /// Puts the item and waits until the node runs and its guest writes.
    pub(crate) async fn begin(account: &'a Account, node: &'static str, host: u8) -> Tale<'a> {
        Tale::begin_with(account, node, item(account, node, host)).await
    }

    /// The same with an item of its own.
    pub(crate) async fn begin_with(account: &'a Account, node: &'static str, item: Value) -> Tale<'a> {
        account.put(&item).await;
        let guest = account.guest(node);
        let first = running(account, node, 1).await;
        account.until("the guest writes", async || guest.stays().first().cloned()).await;
        let address = item["persist"]["network"]["privateIp"].as_str().map(str::to_owned);
        assert!(address.is_none() || address.as_ref() == Some(&first.private_ip), "{first:?}");
        Tale { account, node, address, item, guest, first }
    }

    /// The id of its item.
    pub(crate) fn id(&self) -> String {
        format!("node#{}", self.node)
    }

    /// Edits the item, and waits until the edit is accepted. Returns the verdict.
    pub(crate) async fn edit(&mut self, change: impl FnOnce(&mut Value)) -> Value {
        change(&mut self.item);
        self.put().await
    }

    /// Puts the item as it was written last, and waits until it is accepted.
    pub(crate) async fn put(&self) -> Value {
        self.account.put(&self.item).await;
        verdict(self.account, &self.id(), true).await
    }

    /// Edits `desiredState`.
    pub(crate) async fn wants(&mut self, state: &str) -> Value {
        self.edit(|item| item["desiredState"] = json!(state)).await
    }

    /// Waits until the node stands in this phase with nothing under way and every event out.
    pub(crate) async fn stands(&self, phase: &str) -> Value {
        let at_rest = |record: &Value| {
            record["phase"] == phase
                && record["claim"].is_null()
                && record["outbox"].is_null()
                && record["blocked"].is_null()
        };
        self.account
            .until(&format!("{} is {phase}", self.node), async || {
                Some(self.account.record(self.node).await).filter(at_rest)
            })
            .await
    }

    /// Waits until the node is blocked with this code; returns what the record says of it.
    pub(crate) async fn blocked(&self, code: &str) -> Value {
        let blocked = self
            .account
            .until(&format!("{} is blocked with {code}", self.node), async || {
                let blocked = self.account.record(self.node).await["blocked"].take();
                (blocked["code"] == code).then_some(blocked)
            })
            .await;
        for part in ["message", "remedy", "since", "retryAt"] {
            assert!(blocked[part].as_str().is_some_and(|text| !text.is_empty()), "{part}: {blocked:#}");
        }
        blocked
    }

    /// Waits until the node runs in this cycle with nothing left to clean up. Asserts what every way back promises:
    /// every byte, the same address, one launch a cycle, and nothing that is needless. Returns the instance.
    pub(crate) async fn runs(&self, cycle: u64) -> Instance {
        self.runs_on(cycle, cycle).await
    }

    /// The same of a node whose present instance is this one of its instances: recovering its image took a cycle.
    pub(crate) async fn runs_on(&self, cycle: u64, instances: u64) -> Instance {
        let now = self.back(cycle, instances).await;
        self.guest.assert_nothing_lost();
        self.cleaned(&now).await;
        now
    }

    /// The same, but of neither the bytes nor what was before.
    pub(crate) async fn back(&self, cycle: u64, instances: u64) -> Instance {
        let now = running(self.account, self.node, cycle).await;
        assert!(!now.root_deleted, "the root outlives the instance: {now:?}");
        if let Some(address) = &self.address {
            assert_eq!(now.private_ip, *address, "the same address");
            assert!(!now.interface_deleted, "the interface outlives the instance: {now:?}");
        }
        let stays = self
            .account
            .until("the guest writes on the new root", async || {
                let stays = self.guest.stays();
                stays.iter().any(|stay| stay.instance == now.id).then_some(stays)
            })
            .await;
        assert_eq!(stays.len() as u64, instances, "the guest was on each instance: {stays:#?}");
        assert_eq!(
            launches_for(self.account, self.node).len() as u64,
            instances,
            "and no other was launched"
        );
        now
    }

    /// Waits until only the present root, its snapshots and the interface are left.
    async fn cleaned(&self, now: &Instance) {
        let (account, node) = (self.account, self.node);
        account
            .until(&format!("what {node} needs no more is gone"), async || {
                let volumes = account.volumes(node).await;
                let snapshots = account.snapshots(node).await;
                let record = account.record(node).await;
                let is_clean = volumes.len() == 1
                    && volumes[0].id == now.root
                    && account.images(node).await.is_empty()
                    && snapshots.iter().all(|snapshot| snapshot.purpose() != "final")
                    && completed(&snapshots).len() == KEEP
                    && ["superseded", "image", "final"].iter().all(|field| record[*field].is_null());
                is_clean.then_some(())
            })
            .await;
        let interfaces = account.interfaces(node).await;
        assert_eq!(interfaces.len(), 1, "the kept interface and no other: {interfaces:?}");
        assert_eq!(interfaces[0].id, now.interface);
    }

    /// Waits until only the newest recovery point of a resting node is left. Asserts that it has every byte, and that
    /// the old volume and the interface are there, unused. `last` is its last instance.
    pub(crate) async fn rests(&self, phase: &str, last: &Instance) -> Rest {
        let (account, node) = (self.account, self.node);
        self.stands(phase).await;
        let rest = account
            .until(&format!("of {node} only the newest recovery point is kept"), async || {
                let mut images = account.images(node).await;
                let mut snapshots = account.snapshots(node).await;
                let is_newest = snapshots.len() == 1
                    && (snapshots[0].purpose(), snapshots[0].state.as_str()) == ("final", "completed");
                let is_alone = images.len() == 1 && images[0].state == "available";
                (is_newest && is_alone).then(|| Rest { image: images.remove(0), last: snapshots.remove(0) })
            })
            .await;
        assert!(account.live(node).await.is_empty(), "no instance");
        assert_eq!(rest.last.volume, last.root);
        let stay = self.guest.stays().pop().unwrap();
        assert_eq!(stay.instance, last.id);
        assert_eq!(account.writes(&last.root), stay.last, "every byte is on the volume");
        let volumes = account.volumes(node).await;
        let root = volumes.iter().find(|volume| volume.id == last.root);
        assert!(root.is_some_and(|root| root.state == "available"), "the old volume is kept: {volumes:?}");
        let interfaces = account.interfaces(node).await;
        assert_eq!(interfaces.len(), 1, "{interfaces:?}");
        let kept = &interfaces[0];
        assert_eq!(
            (&kept.id, kept.state.as_str(), Some(&kept.private_ip)),
            (&last.interface, "available", self.address.as_ref())
        );
        rest
    }

    /// Asserts that nothing in the account carries the node's tags, an ended instance aside.
    pub(crate) async fn assert_nothing_tagged(&self) {
        let (account, node) = (self.account, self.node);
        let live = account.live(node).await;
        assert!(live.is_empty(), "{live:?}");
        let (volumes, snapshots) = (account.volumes(node).await, account.snapshots(node).await);
        assert!(volumes.is_empty() && snapshots.is_empty(), "{volumes:?} {snapshots:?}");
        let (images, interfaces) = (account.images(node).await, account.interfaces(node).await);
        assert!(images.is_empty() && interfaces.is_empty(), "{images:?} {interfaces:?}");
    }

    /// The own events about the node in order, each once, those about blocks aside.
    pub(crate) fn tells(&self) -> Vec<String> {
        let events = told(self.account, self.node);
        let words = types(&events).into_iter().filter(|word| !word.ends_with("locked"));
        words.map(str::to_owned).collect()
    }

    /// Everything the journal says, a line each.
    pub(crate) async fn journal(&self) -> Vec<String> {
        let entries = self.account.journal(self.node).await;
        entries.iter().map(|entry| entry["what"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Waits until the journal says this somewhere.
    pub(crate) async fn says(&self, words: &str) -> String {
        self.account
            .until(&format!("the journal of {} says {words:?}", self.node), async || {
                self.journal().await.into_iter().find(|line| line.contains(words))
            })
            .await
    }
}

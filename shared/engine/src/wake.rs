//! Waking: from the id in an event to the node that is driven.
//!
//! Events of every instance, snapshot and image of the account arrive here; all but a few belong to
//! nobody, and finding that out costs one read.

use futures::join;
use jiff::Timestamp;
use perennial_core::event::{AwsEvent, Envelope};
use perennial_core::ids::{InstanceId, NodeName, SnapshotId, VolumeId};
use perennial_core::names::{Purpose, Tagged};
use perennial_core::rebalance::{self, Recommended};
use perennial_core::record::Record;
use perennial_core::step::SnapshotRequest;

use crate::Engine;
use crate::drive::{Drive, Driver};
use crate::ports::{Bus, Clock, Ec2, Reply, Store};

/// What became of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Woken {
    /// It concerns nothing of ours.
    Unknown,
    /// It woke a node.
    Driven {
        /// Which.
        node: NodeName,
        /// How far it went.
        end: Drive,
    },
}

impl<E: Ec2, S: Store, B: Bus, C: Clock> Engine<E, S, B, C> {
    /// Takes an event of AWS, whichever it is.
    ///
    /// # Errors
    /// As for [`Engine::drive`].
    pub async fn take_event(&self, envelope: &Envelope) -> Reply<Woken> {
        match &envelope.event {
            AwsEvent::SpotInterruption { instance, .. } => self.interrupted(instance, envelope.time).await,
            AwsEvent::InstanceState { instance, .. } => self.wake(instance.as_str()).await,
            AwsEvent::Snapshot { snapshots, .. } => {
                let mut woken = Woken::Unknown;
                for (snapshot, volume) in snapshots {
                    let ended = self.snapshot_ended(snapshot, volume.as_ref());
                    if let driven @ Woken::Driven { .. } = ended.await? {
                        woken = driven;
                    }
                }
                Ok(woken)
            }
            AwsEvent::Image { image, .. } => self.wake(image.as_str()).await,
            AwsEvent::Rebalance { instance } => self.rebalance(instance, envelope.time).await,
            AwsEvent::Other { .. } => Ok(Woken::Unknown),
        }
    }

    /// Takes the end of a snapshot. A running node remembers none of its own, so it is found by the volume, which
    /// the record names as long as any snapshot of it is waited for. This happens every few minutes for each, and
    /// costs a steady one no more than two reads of the table.
    async fn snapshot_ended(&self, snapshot: &SnapshotId, volume: Option<&VolumeId>) -> Reply<Woken> {
        let Some(volume) = volume else { return self.wake(snapshot.as_str()).await };
        let Some(node) = self.store.owner(volume.as_str()).await? else { return Ok(Woken::Unknown) };
        let end = match self.load(&node).await? {
            Ok(record) if record.heeds_snapshot(snapshot) => self.drive(&node).await?,
            Ok(_) => Drive::Steady,
            Err(end) => end,
        };
        Ok(Woken::Driven { node, end })
    }

    /// Takes a rebalance recommendation: an extra snapshot, best effort, and nothing written down.
    async fn rebalance(&self, instance: &InstanceId, at: Timestamp) -> Reply<Woken> {
        let Some(node) = self.store.owner(instance.as_str()).await? else { return Ok(Woken::Unknown) };
        let (record, suspended) = join!(self.load(&node), self.is_suspended());
        let record = match record? {
            Ok(record) => record,
            Err(end) => return Ok(Woken::Driven { node, end }),
        };
        let asked = match suspended? {
            true => Err("the deployment is suspended"),
            false => self.rebalance_snapshot(&record, instance, at).await?,
        };
        match asked {
            Err(why) => tracing::info!(%node, %instance, "rebalance recommended: no extra snapshot, {why}"),
            Ok(request) => match self.ec2.create_snapshot(&request).await {
                Ok(taken) => {
                    tracing::info!(%node, %instance, snapshot = %taken.id, "rebalance recommended: {} taken", taken.id);
                }
                // Not tried again, whatever it was: a periodic one follows, and final snapshots need the calls.
                Err(failure) => {
                    tracing::warn!(%node, %instance, code = %failure.code, "no rebalance snapshot: {failure}");
                }
            },
        }
        Ok(Woken::Driven { node, end: Drive::Steady })
    }

    /// The snapshot that a recommendation asks for, or why none is taken.
    async fn rebalance_snapshot(
        &self,
        record: &Record,
        instance: &InstanceId,
        at: Timestamp,
    ) -> Reply<Result<SnapshotRequest, &'static str>> {
        let told = Recommended { instance, at, now: self.clock.now() };
        let volume = match rebalance::wanted(record, told) {
            Ok(volume) => volume,
            Err(why) => return Ok(Err(why)),
        };
        let ids = [instance.clone()];
        let extra = Tagged { purposes: &[Purpose::Rebalance], ..Tagged::of(&self.deployment) };
        let (instances, snapshots, extra) = join!(
            self.ec2.instances(&ids),
            self.ec2.snapshots_of(std::slice::from_ref(volume)),
            self.ec2.snapshots_tagged(&extra)
        );
        if rebalance::is_crowded(&extra?, self.clock.now()) {
            return Ok(Err("many others have just got one, and notices may follow"));
        }
        Ok(rebalance::snapshot(record, told, &instances?, &snapshots?, &self.deployment))
    }

    /// Wakes the node that a resource belongs to.
    ///
    /// # Errors
    /// As for [`Engine::drive`].
    pub async fn wake(&self, resource: &str) -> Reply<Woken> {
        match self.store.owner(resource).await? {
            None => Ok(Woken::Unknown),
            Some(node) => {
                let end = self.drive(&node).await?;
                Ok(Woken::Driven { node, end })
            }
        }
    }

    /// Takes an interruption notice: written down first, acted on afterwards.
    ///
    /// # Errors
    /// As for [`Engine::drive`]; the notice itself may already be written.
    pub async fn interrupted(&self, instance: &InstanceId, at: Timestamp) -> Reply<Woken> {
        match self.store.owner(instance.as_str()).await? {
            None => Ok(Woken::Unknown),
            Some(node) => {
                let end = self.drive_with(&node, Some((instance, at)), Driver::Event).await?;
                Ok(Woken::Driven { node, end })
            }
        }
    }
}

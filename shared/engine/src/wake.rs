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
use perennial_core::snapshots::Why;
use perennial_core::step::PointRequest;

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
            AwsEvent::Snapshot { snapshots, .. } => self.snapshots_ended(snapshots).await,
            AwsEvent::Image { image, .. } => self.wake(image.as_str()).await,
            AwsEvent::Rebalance { instance } => self.rebalance(instance, envelope.time).await,
            AwsEvent::Other { .. } => Ok(Woken::Unknown),
        }
    }

    /// Takes the end of a snapshot, or of all of a set: of one instance, and so of one node, which is woken once.
    /// A running node remembers none of its own, so it is found by a volume, which the record names as long as any
    /// snapshot of it is waited for. This happens every few minutes for each, and costs a steady one no more than
    /// two reads of the table.
    async fn snapshots_ended(&self, ended: &[(SnapshotId, Option<VolumeId>)]) -> Reply<Woken> {
        for (snapshot, volume) in ended {
            let resource = volume.as_ref().map_or(snapshot.as_str(), |volume| volume.as_str());
            // Beside the node's own there may be volumes of nobody.
            let Some(node) = self.store.owner(resource).await? else { continue };
            let heeds = |record: &Record| ended.iter().any(|(id, _)| record.heeds_snapshot(id));
            let end = match self.load(&node).await? {
                Ok(record) if volume.is_none() || heeds(&record) => self.drive(&node).await?,
                Ok(_) => Drive::Steady,
                Err(end) => end,
            };
            return Ok(Woken::Driven { node, end });
        }
        Ok(Woken::Unknown)
    }

    /// Takes a rebalance recommendation: an extra recovery point, best effort, and nothing written down.
    async fn rebalance(&self, instance: &InstanceId, at: Timestamp) -> Reply<Woken> {
        let Some(node) = self.store.owner(instance.as_str()).await? else { return Ok(Woken::Unknown) };
        let (record, suspended) = join!(self.load(&node), self.is_suspended());
        let record = match record? {
            Ok(record) => record,
            Err(end) => return Ok(Woken::Driven { node, end }),
        };
        let asked = match suspended? {
            true => Err("the deployment is suspended".into()),
            false => self.rebalance_point(&record, instance, at).await?,
        };
        match asked {
            Err(why) => tracing::info!(%node, %instance, "rebalance recommended: no extra snapshot, {why}"),
            Ok(request) => match self.take_point(&request).await {
                Ok(taken) => {
                    let ids: Vec<_> = taken.iter().map(|part| part.id.as_str()).collect();
                    tracing::info!(%node, %instance, "rebalance recommended: {} taken", ids.join(", "));
                }
                // Not tried again, whatever it was: a periodic one follows, and final snapshots need the calls.
                Err(failure) => {
                    tracing::warn!(%node, %instance, code = %failure.code, "no rebalance snapshot: {failure}");
                }
            },
        }
        Ok(Woken::Driven { node, end: Drive::Steady })
    }

    /// What a recommendation asks for, or why nothing is taken.
    async fn rebalance_point(
        &self,
        record: &Record,
        instance: &InstanceId,
        at: Timestamp,
    ) -> Reply<Result<PointRequest, Why>> {
        let told = Recommended { instance, at, now: self.clock.now() };
        let volumes: Vec<VolumeId> = match rebalance::wanted(record, told) {
            Ok(steady) => steady.secured().map(|(volume, _)| volume.clone()).collect(),
            Err(why) => return Ok(Err(why)),
        };
        let ids = [instance.clone()];
        let extra = Tagged { purposes: &[Purpose::Rebalance], ..Tagged::of(&self.deployment) };
        let (instances, snapshots, extra) = join!(
            self.ec2.instances(&ids),
            self.ec2.snapshots_of(&volumes),
            self.ec2.snapshots_tagged(&extra)
        );
        if rebalance::is_crowded(&extra?, self.clock.now()) {
            return Ok(Err("many others have just got one, and notices may follow".into()));
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

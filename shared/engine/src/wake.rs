//! Waking: from the id in an event to the node that is driven.
//!
//! Events of every instance, snapshot and image of the account arrive here; all but a few belong to
//! nobody, and finding that out costs one read.

use jiff::Timestamp;
use perennial_core::event::{AwsEvent, Envelope};
use perennial_core::ids::{InstanceId, NodeName};

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
                for (snapshot, _) in snapshots {
                    if let driven @ Woken::Driven { .. } = self.wake(snapshot.as_str()).await? {
                        woken = driven;
                    }
                }
                Ok(woken)
            }
            AwsEvent::Image { image, .. } => self.wake(image.as_str()).await,
            // What to do at a rebalance recommendation is not supported yet; the notice comes anyway.
            AwsEvent::Rebalance { .. } | AwsEvent::Other { .. } => Ok(Woken::Unknown),
        }
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

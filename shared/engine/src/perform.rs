//! Doing: one step, once, with the look that must come right before it.

use perennial_core::failure::{Class, Failure};
use perennial_core::guard::{self, Verdict};
use perennial_core::names::{Names, Purpose, has_key};
use perennial_core::record::Superseded;
use perennial_core::step::{Outcome, SnapshotRequest, Step};

use crate::Engine;
use crate::ports::{Bus, Clock, Ec2, Reply, Store};

impl<E: Ec2, S: Store, B: Bus, C: Clock> Engine<E, S, B, C> {
    /// Takes a step. Failures are outcomes: what they mean is decided elsewhere.
    pub(crate) async fn perform(&self, step: &Step, names: &Names<'_>) -> Outcome {
        let outcome = match step {
            Step::CreateInterface(request) => {
                self.ec2.create_interface(request).await.map(Outcome::Interface)
            }
            Step::Launch(request) => {
                self.ec2.launch(request).await.map(|facts| Outcome::Launched(Box::new(facts)))
            }
            Step::KeepVolumes { instance, devices } => {
                self.ec2.keep_volumes(instance, devices).await.map(|()| Outcome::Done)
            }
            Step::KeepInterface { interface, attachment } => {
                self.ec2.keep_interface(interface, attachment).await.map(|()| Outcome::Done)
            }
            Step::Snapshot(request) => self.snapshot_once(request).await,
            Step::RegisterImage(request) => self.ec2.register_image(request).await.map(Outcome::Image),
            Step::Terminate(id) => self.terminate_ours(id, names).await,
            Step::Delete(needless) => self.delete_ours(needless, names).await,
        };
        outcome.unwrap_or_else(Outcome::Failed)
    }

    /// Takes a snapshot unless one with its key exists: CreateSnapshot has no client token.
    pub(crate) async fn snapshot_once(&self, request: &SnapshotRequest) -> Reply<Outcome> {
        let same = |s: &perennial_core::observation::SnapshotFacts| {
            s.own && s.volume == request.volume && has_key(&s.tags, &request.key)
        };
        // A plan for a final snapshot has just looked by its key, and judges what it finds more strictly.
        if request.purpose != Purpose::Final {
            let found = self.ec2.snapshots_by_key(&request.key).await?;
            if let Some(facts) = found.into_iter().find(same) {
                return Ok(Outcome::Snapshot(facts));
            }
        }
        self.ec2.create_snapshot(request).await.map(Outcome::Snapshot)
    }

    async fn terminate_ours(
        &self,
        id: &perennial_core::ids::InstanceId,
        names: &Names<'_>,
    ) -> Reply<Outcome> {
        let facts = self.ec2.instances(std::slice::from_ref(id)).await?;
        match facts.iter().find(|i| i.id == *id).map(|i| guard::instance(names, i)) {
            None => Ok(Outcome::Done),
            Some(Verdict::Go) => self.ec2.terminate(id).await.map(|()| Outcome::Done),
            Some(verdict) => Ok(refused(verdict, "EC2:TerminateInstances")),
        }
    }

    async fn delete_ours(&self, needless: &Superseded, names: &Names<'_>) -> Reply<Outcome> {
        match needless {
            Superseded::Volume(id) => {
                let found = self.ec2.volumes(std::slice::from_ref(id)).await?;
                match found.iter().find(|v| v.id == *id).map(|v| guard::volume(names, v)) {
                    None => Ok(Outcome::Done),
                    Some(Verdict::Go) => self.ec2.delete_volume(id).await.map(|()| Outcome::Done),
                    Some(verdict) => Ok(refused(verdict, "EC2:DeleteVolume")),
                }
            }
            Superseded::Image(id) => {
                let found = self.ec2.images(std::slice::from_ref(id)).await?;
                match found.iter().find(|i| i.id == *id).map(|i| guard::image(names, i)) {
                    None => Ok(Outcome::Done),
                    Some(Verdict::Go) => self.ec2.deregister_image(id).await.map(|()| Outcome::Done),
                    Some(verdict) => Ok(refused(verdict, "EC2:DeregisterImage")),
                }
            }
            Superseded::Snapshot(id) => self.delete_snapshot_ours(id, names, &[Purpose::Final]).await,
        }
    }

    /// Deletes a snapshot of ours that serves one of these purposes.
    pub(crate) async fn delete_snapshot_ours(
        &self,
        id: &perennial_core::ids::SnapshotId,
        names: &Names<'_>,
        purposes: &[Purpose],
    ) -> Reply<Outcome> {
        let found = self.ec2.snapshots(std::slice::from_ref(id)).await?;
        match found.iter().find(|s| s.id == *id).map(|s| guard::snapshot(names, s, purposes)) {
            None => Ok(Outcome::Done),
            Some(Verdict::Go) => self.ec2.delete_snapshot(id).await.map(|()| Outcome::Done),
            Some(verdict) => Ok(refused(verdict, "EC2:DeleteSnapshot")),
        }
    }
}

fn refused(verdict: Verdict, call: &'static str) -> Outcome {
    match verdict {
        Verdict::NotOurs(why) => Outcome::NotOurs(why),
        Verdict::NotYet(why) => Outcome::Failed(Failure::new(Class::NotYet, call, "NotFree", why)),
        Verdict::Go => Outcome::Done,
    }
}

//! Doing: one step, once, with the look that must come right before it.

use perennial_core::failure::{Class, Failure};
use perennial_core::guard::{self, Verdict};
use perennial_core::ids::{AllocationId, Resource, VolumeId};
use perennial_core::names::{Names, Purpose, TAG_PREFIX, Tagged, Tags, has_key, made_for};
use perennial_core::observation::SnapshotFacts;
use perennial_core::step::{Outcome, PointRequest, Step, Termination};

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
            Step::Attach { volume, instance, device } => {
                self.ec2.attach_volume(volume, instance, device).await.map(|()| Outcome::Done)
            }
            Step::CreateVolume(request) => self.ec2.create_volume(request).await.map(Outcome::Volume),
            Step::Adopt { volume, tags } => self.adopt(volume, tags, names).await,
            Step::Snapshot(request) => self.point_once(request).await,
            Step::RegisterImage(request) => self.ec2.register_image(request).await.map(Outcome::Image),
            Step::SetGroups { interface, groups } => {
                self.ec2.set_groups(interface, groups).await.map(|()| Outcome::Done)
            }
            Step::Associate { allocation, interface, private_ip } => {
                self.ec2.associate(allocation, interface, *private_ip).await.map(|()| Outcome::Done)
            }
            Step::Disassociate { allocation, association } => {
                self.disassociate_ours(allocation, association).await
            }
            Step::FreeAddress { interface, .. } => {
                let interface = Resource::Interface(interface.clone());
                self.delete_ours(&interface, names, &[Purpose::Interface]).await
            }
            Step::Tag { resource, tags } => self.tag_ours(resource, tags, names).await,
            Step::Terminate(termination) => self.terminate_ours(termination, names).await,
            Step::Delete(needless) => {
                self.delete_ours(&needless.resource(), names, needless.purposes()).await
            }
            Step::Prune(id) => {
                self.delete_ours(&Resource::Snapshot(id.clone()), names, &Purpose::ROTATED).await
            }
            Step::Purge(resource) => self.delete_ours(resource, names, made_for(resource)).await,
            Step::HandOver(resource) => self.hand_over_ours(resource, names).await,
        };
        outcome.unwrap_or_else(Outcome::Failed)
    }

    /// Takes a recovery point unless one with its key exists: CreateSnapshot has no client token.
    async fn point_once(&self, request: &PointRequest) -> Reply<Outcome> {
        let same = |s: &SnapshotFacts| {
            s.own && request.volumes().contains(&s.volume) && has_key(&s.tags, request.key())
        };
        // A plan for a final snapshot has just looked by its key, and judges what it finds more strictly.
        if request.purpose() != Purpose::Final {
            let tagged = Tagged { keys: &[request.key()], ..Tagged::of(&self.deployment) };
            let mut found = self.ec2.snapshots_tagged(&tagged).await?;
            found.retain(same);
            if !found.is_empty() {
                return Ok(Outcome::Snapshots(found));
            }
        }
        self.take_point(request).await.map(Outcome::Snapshots)
    }

    /// Takes a recovery point.
    pub(crate) async fn take_point(&self, request: &PointRequest) -> Reply<Vec<SnapshotFacts>> {
        match request {
            PointRequest::One(request) => self.ec2.create_snapshot(request).await.map(|taken| vec![taken]),
            PointRequest::Set(request) => self.ec2.create_snapshots(request).await,
        }
    }

    /// Puts our tags on a volume that nobody has put any on.
    async fn adopt(&self, volume: &VolumeId, tags: &Tags, names: &Names<'_>) -> Reply<Outcome> {
        let resource = Resource::Volume(volume.clone());
        if let Some(owner) = self.store.owner(volume.as_str()).await?
            && owner != *names.node
        {
            return Ok(Outcome::NotOurs(format!("the record of the node {owner} names it")));
        }
        match self.tags_of(&resource).await? {
            Some(now) if names.owns(&now) => Ok(Outcome::Done),
            Some(now) if now.keys().any(|key| key.starts_with(TAG_PREFIX)) => {
                Ok(Outcome::NotOurs("it carries tags of another node or deployment".to_owned()))
            }
            Some(_) => self.ec2.tag(&resource, tags).await.map(|()| Outcome::Done),
            None => Ok(Outcome::Failed(gone(&resource))),
        }
    }

    async fn terminate_ours(&self, termination: &Termination, names: &Names<'_>) -> Reply<Outcome> {
        let id = &termination.instance;
        let facts = self.ec2.instances(std::slice::from_ref(id)).await?;
        match facts.iter().find(|i| i.id == *id).map(|i| guard::instance(names, i, termination)) {
            None => Ok(Outcome::Done),
            Some(Verdict::Go) => self.ec2.terminate(id).await.map(|()| Outcome::Done),
            Some(verdict) => Ok(refused(verdict, "EC2:TerminateInstances")),
        }
    }

    /// Ends an association, if it is still the one that was seen.
    async fn disassociate_ours(&self, allocation: &AllocationId, association: &str) -> Reply<Outcome> {
        let found = self.ec2.elastic_ips(std::slice::from_ref(allocation)).await?;
        let held = found.iter().filter_map(|address| address.association.as_ref());
        if held.into_iter().any(|held| held.id == association) {
            self.ec2.disassociate(association).await?;
        }
        Ok(Outcome::Done)
    }

    /// Deletes something of ours that was made for one of these purposes, if it is free.
    pub(crate) async fn delete_ours(
        &self,
        resource: &Resource,
        names: &Names<'_>,
        purposes: &[Purpose],
    ) -> Reply<Outcome> {
        // Only the deletion itself may say that there is nothing to delete.
        let unread = |failure: Failure| match failure.class {
            Class::NotFound => Failure { class: Class::Retry, ..failure },
            _ => failure,
        };
        let verdict = self.verdict(resource, names, purposes).await.map_err(unread)?;
        let (ec2, go) = (&self.ec2, verdict == Some(Verdict::Go));
        match (verdict, resource) {
            (None, _) => Ok(Outcome::Done),
            (Some(verdict), _) if !go => Ok(refused(verdict, "EC2:Delete")),
            (_, Resource::Image(id)) => ec2.deregister_image(id).await.map(|()| Outcome::Done),
            (_, Resource::Snapshot(id)) => ec2.delete_snapshot(id).await.map(|()| Outcome::Done),
            (_, Resource::Volume(id)) => ec2.delete_volume(id).await.map(|()| Outcome::Done),
            (_, Resource::Interface(id)) => ec2.delete_interface(id).await.map(|()| Outcome::Done),
            (_, Resource::Instance(_)) => Ok(Outcome::NotOurs("an instance is never deleted".to_owned())),
        }
    }

    /// Whether a resource may be deleted, by a read of it alone; `None` if it does not exist.
    async fn verdict(
        &self,
        resource: &Resource,
        names: &Names<'_>,
        purposes: &[Purpose],
    ) -> Reply<Option<Verdict>> {
        use std::slice::from_ref;
        let ec2 = &self.ec2;
        Ok(match resource {
            Resource::Image(id) => {
                let found = ec2.images(from_ref(id)).await?;
                found.iter().find(|it| it.id == *id).map(|it| guard::image(names, it, purposes))
            }
            Resource::Snapshot(id) => {
                let found = ec2.snapshots(from_ref(id)).await?;
                found.iter().find(|it| it.id == *id).map(|it| guard::snapshot(names, it, purposes))
            }
            Resource::Volume(id) => {
                let found = ec2.volumes(from_ref(id)).await?;
                found.iter().find(|it| it.id == *id).map(|it| guard::volume(names, it, purposes))
            }
            Resource::Interface(id) => {
                let found = ec2.interfaces(from_ref(id)).await?;
                found.iter().find(|it| it.id == *id).map(|it| guard::interface(names, it, purposes))
            }
            Resource::Instance(_) => None,
        })
    }

    /// The tags that a resource carries now; `None` if it does not exist.
    pub(crate) async fn tags_of(&self, resource: &Resource) -> Reply<Option<Tags>> {
        use std::slice::from_ref;
        let ec2 = &self.ec2;
        let tags = match resource {
            Resource::Image(id) => ec2.images(from_ref(id)).await?.pop().map(|it| it.tags),
            Resource::Snapshot(id) => ec2.snapshots(from_ref(id)).await?.pop().map(|it| it.tags),
            Resource::Volume(id) => ec2.volumes(from_ref(id)).await?.pop().map(|it| it.tags),
            Resource::Interface(id) => ec2.interfaces(from_ref(id)).await?.pop().map(|it| it.tags),
            Resource::Instance(id) => ec2.instances(from_ref(id)).await?.pop().map(|it| it.tags),
        };
        Ok(tags)
    }

    async fn tag_ours(&self, resource: &Resource, tags: &Tags, names: &Names<'_>) -> Reply<Outcome> {
        match self.tags_of(resource).await? {
            Some(now) if names.owns(&now) => self.ec2.tag(resource, tags).await.map(|()| Outcome::Done),
            Some(_) => Ok(Outcome::NotOurs("its tags do not name this life of this node".to_owned())),
            None => Ok(Outcome::Done),
        }
    }

    /// Takes every tag of ours off a resource that carries these; the operator's own stay.
    pub(crate) async fn untag_ours(&self, resource: &Resource, tags: Tags) -> Reply<()> {
        let ours: Vec<String> = tags.into_keys().filter(|key| key.starts_with(TAG_PREFIX)).collect();
        self.ec2.untag(resource, &ours).await
    }

    /// Hands a resource of a node over, if it is still that node's.
    async fn hand_over_ours(&self, resource: &Resource, names: &Names<'_>) -> Reply<Outcome> {
        match self.tags_of(resource).await? {
            Some(tags) if names.owns(&tags) => self.untag_ours(resource, tags).await.map(|()| Outcome::Done),
            Some(_) => Ok(Outcome::Done),
            None => Ok(Outcome::Failed(gone(resource))),
        }
    }
}

fn gone(resource: &Resource) -> Failure {
    Failure::new(Class::NotFound, "EC2:CreateTags", "Gone", format!("{resource} does not exist any more"))
}

fn refused(verdict: Verdict, call: &'static str) -> Outcome {
    match verdict {
        Verdict::NotOurs(why) => Outcome::NotOurs(why),
        Verdict::NotYet(why) => Outcome::Failed(Failure::new(Class::NotYet, call, "NotFree", why)),
        Verdict::Go => Outcome::Done,
    }
}

//! Looking: everything a decision asks for, read at once.

use futures::join;
use perennial_core::launch::TemplateFacts;
use perennial_core::observation::{ImageFacts, Look, Observation, SubnetFacts};

use crate::Engine;
use crate::ports::{Bus, Clock, Ec2, Reply, Store};

impl<E: Ec2, S: Store, B: Bus, C: Clock> Engine<E, S, B, C> {
    /// Reads what a look asks for. Everything is read side by side, since a recovery waits for the sum of
    /// what is read one after the other.
    ///
    /// # Errors
    /// The first failure; nothing is decided from half a look.
    pub(crate) async fn observe(&self, look: Look) -> Reply<Observation> {
        let ec2 = &self.ec2;
        let (
            instances,
            launched,
            volumes,
            keyed_volumes,
            interfaces,
            snapshots,
            keyed,
            of_volume,
            named,
            checks,
            base,
        ) = join!(
            some(!look.instances.is_empty(), ec2.instances(&look.instances)),
            some(look.launch_token.is_some(), ec2.instances_by_token(text(&look.launch_token))),
            some(!look.volumes.is_empty(), ec2.volumes(&look.volumes)),
            some(look.volume_key.is_some(), ec2.volumes_by_key(text(&look.volume_key))),
            some(!look.interfaces.is_empty(), ec2.interfaces(&look.interfaces)),
            some(!look.snapshots.is_empty(), ec2.snapshots(&look.snapshots)),
            some(look.snapshot_key.is_some(), ec2.snapshots_by_key(text(&look.snapshot_key))),
            async {
                match &look.snapshots_of {
                    Some(volume) => ec2.snapshots_of(volume).await,
                    None => Ok(Vec::new()),
                }
            },
            some(look.image_name.is_some(), ec2.images_by_name(text(&look.image_name))),
            async {
                match &look.status_of {
                    Some(instance) => ec2.checks_passed(instance).await,
                    None => Ok(false),
                }
            },
            self.base(&look),
        );
        let (template, images, subnets) = base?;
        let mut seen = Observation { checks_passed: checks?, template, ..Observation::default() };
        seen.instances.extend(launched?.into_iter().chain(instances?).map(|i| (i.id.clone(), i)));
        seen.volumes.extend(keyed_volumes?.into_iter().chain(volumes?).map(|v| (v.id.clone(), v)));
        seen.interfaces.extend(interfaces?.into_iter().map(|i| (i.id.clone(), i)));
        let snapshots = keyed?.into_iter().chain(of_volume?).chain(snapshots?);
        seen.snapshots.extend(snapshots.map(|s| (s.id.clone(), s)));
        seen.images.extend(named?.into_iter().chain(images).map(|i| (i.id.clone(), i)));
        seen.subnets.extend(subnets.into_iter().map(|s| (s.id.clone(), s)));
        seen.look = look;
        Ok(seen)
    }

    /// The launch template, then images and subnets with those that it names.
    async fn base(&self, look: &Look) -> Reply<(Option<TemplateFacts>, Vec<ImageFacts>, Vec<SubnetFacts>)> {
        let template = match &look.template {
            Some(spec) => self.ec2.template(spec).await?,
            None => None,
        };
        let (mut images, mut subnets) = (look.images.clone(), look.subnets.clone());
        if let Some(template) = &template {
            images.extend(template.image.clone());
            subnets.extend(template.subnet.clone());
        }
        let (images, subnets) = join!(
            some(!images.is_empty(), self.ec2.images(&images)),
            some(!subnets.is_empty(), self.ec2.subnets(&subnets)),
        );
        Ok((template, images?, subnets?))
    }
}

async fn some<T>(asked: bool, read: impl Future<Output = Reply<Vec<T>>>) -> Reply<Vec<T>> {
    if asked { read.await } else { Ok(Vec::new()) }
}

fn text(value: &Option<String>) -> &str {
    value.as_deref().unwrap_or_default()
}

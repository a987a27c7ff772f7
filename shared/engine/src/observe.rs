//! Looking: everything a decision asks for, read at once.

use futures::join;
use perennial_core::backup::GroupImage;
use perennial_core::config;
use perennial_core::ids::{GroupName, NodeName};
use perennial_core::launch::TemplateFacts;
use perennial_core::names::Tagged;
use perennial_core::observation::{
    ImageFacts, ItemFacts, Look, Observation, SnapshotFacts, SubnetFacts, VolumeFacts,
};

use serde_json::Value;

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
        let all_of = look.all_of.as_ref();
        let lined = all_of.or(look.line_of.as_ref());
        let (
            instances,
            launched,
            volumes,
            keyed_volumes,
            interfaces,
            snapshots,
            keyed,
            of_volume,
            lined,
            named,
            checks,
            base,
            rest,
            item,
            elastic_ips,
            holders,
        ) = join!(
            some(!look.instances.is_empty(), ec2.instances(&look.instances)),
            some(look.launch_token.is_some(), ec2.instances_by_token(text(&look.launch_token))),
            some(!look.volumes.is_empty(), ec2.volumes(&look.volumes)),
            some(look.volume_key.is_some(), self.volumes_keyed(text(&look.volume_key))),
            some(!look.interfaces.is_empty(), ec2.interfaces(&look.interfaces)),
            some(!look.snapshots.is_empty(), ec2.snapshots(&look.snapshots)),
            some(!look.snapshot_keys.is_empty(), self.snapshots_keyed(&look.snapshot_keys)),
            some(!look.snapshots_of.is_empty(), ec2.snapshots_of(&look.snapshots_of)),
            async {
                match lined {
                    Some(life) => ec2.snapshots_tagged(&self.of_life(life)).await,
                    None => Ok(Vec::new()),
                }
            },
            some(look.image_name.is_some(), ec2.images_by_name(text(&look.image_name))),
            async {
                match &look.status_of {
                    Some(instance) => {
                        let passed = ec2.checks_passed(std::slice::from_ref(instance)).await;
                        passed.map(|passed| passed.contains(instance))
                    }
                    None => Ok(false),
                }
            },
            self.base(&look),
            self.everything(all_of),
            self.item(look.item.as_ref()),
            some(!look.elastic_ips.is_empty(), ec2.elastic_ips(&look.elastic_ips)),
            some(!look.holders_of.is_empty(), ec2.interfaces_with(&look.holders_of)),
        );
        let Base { template, images, subnets, group_image } = base?;
        let (item, holders) = (item?, holders?);
        let mut seen = Observation { checks_passed: checks?, template, item, holders, group_image, ..rest? };
        seen.elastic_ips.extend(elastic_ips?.into_iter().map(|it| (it.id.clone(), it)));
        seen.instances.extend(launched?.into_iter().chain(instances?).map(|i| (i.id.clone(), i)));
        seen.volumes.extend(keyed_volumes?.into_iter().chain(volumes?).map(|v| (v.id.clone(), v)));
        seen.interfaces.extend(interfaces?.into_iter().map(|i| (i.id.clone(), i)));
        let snapshots = lined?.into_iter().chain(keyed?).chain(of_volume?).chain(snapshots?);
        seen.snapshots.extend(snapshots.map(|s| (s.id.clone(), s)));
        seen.images.extend(named?.into_iter().chain(images).map(|i| (i.id.clone(), i)));
        seen.subnets.extend(subnets.into_iter().map(|s| (s.id.clone(), s)));
        seen.look = look;
        Ok(seen)
    }

    async fn volumes_keyed(&self, key: &str) -> Reply<Vec<VolumeFacts>> {
        self.ec2.volumes_tagged(&Tagged { keys: &[key], ..Tagged::of(&self.deployment) }).await
    }

    async fn snapshots_keyed(&self, keys: &[String]) -> Reply<Vec<SnapshotFacts>> {
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        self.ec2.snapshots_tagged(&Tagged { keys: &keys, ..Tagged::of(&self.deployment) }).await
    }

    fn of_life<'a>(&'a self, (node, life): &'a (String, String)) -> Tagged<'a> {
        Tagged { life: Some((node, life)), ..Tagged::of(&self.deployment) }
    }

    /// The item of a node, completed by what its group says.
    async fn item(&self, node: Option<&NodeName>) -> Reply<Option<ItemFacts>> {
        let Some(node) = node else { return Ok(None) };
        let Some(item) = self.said_item(&node.key()).await? else { return Ok(None) };
        let group = match item["group"].as_str().and_then(GroupName::parse) {
            Some(group) => self.store.group(&group).await?,
            None => None,
        };
        let share = group.and_then(|group| group.share(node));
        let group_is_back = match share.as_ref().and_then(|share| share.removed_group()) {
            Some(group) if self.has_item(&group.key()).await? => Some(group.clone()),
            Some(_) | None => None,
        };
        let whole = share.as_ref().map_or_else(|| item.clone(), |share| share.complete(&item));
        Ok(Some(ItemFacts { item, whole, share: share.map(|share| share.hash()), group_is_back }))
    }

    /// Whether there is a config item of this id that says anything, by a read of it alone.
    pub(crate) async fn has_item(&self, id: &str) -> Reply<bool> {
        Ok(self.said_item(id).await?.is_some())
    }

    /// The config item of this id, unless it says nothing.
    pub(crate) async fn said_item(&self, id: &str) -> Reply<Option<Value>> {
        Ok(self.store.config_item(id).await?.filter(|item| !config::is_absent(item)))
    }

    /// Whether the settings in force suspend the whole deployment.
    pub(crate) async fn is_suspended(&self) -> Reply<bool> {
        Ok(self.store.settings().await?.is_some_and(|in_force| in_force.settings.suspend))
    }

    /// Everything but the snapshots that carries the tags of a life.
    async fn everything(&self, life: Option<&(String, String)>) -> Reply<Observation> {
        let mut seen = Observation::default();
        let Some(life) = life else { return Ok(seen) };
        let (ec2, tagged) = (&self.ec2, self.of_life(life));
        let (instances, volumes, interfaces, images) = join!(
            ec2.instances_tagged(&tagged),
            ec2.volumes_tagged(&tagged),
            ec2.interfaces_tagged(&tagged),
            ec2.images_tagged(&tagged),
        );
        seen.instances.extend(instances?.into_iter().map(|i| (i.id.clone(), i)));
        seen.volumes.extend(volumes?.into_iter().map(|v| (v.id.clone(), v)));
        seen.interfaces.extend(interfaces?.into_iter().map(|i| (i.id.clone(), i)));
        seen.images.extend(images?.into_iter().map(|i| (i.id.clone(), i)));
        Ok(seen)
    }

    /// The launch template and the group's backup, then images and subnets with those that they name.
    async fn base(&self, look: &Look) -> Reply<Base> {
        let template = async {
            match &look.template {
                Some(spec) => self.ec2.template(spec).await,
                None => Ok(None),
            }
        };
        let (template, group_image) = join!(template, self.group_image(look.group.as_ref()));
        let (template, group_image) = (template?, group_image?);
        let (mut images, mut subnets) = (look.images.clone(), look.subnets.clone());
        images.extend(group_image.as_ref().map(|group| group.effective().clone()));
        if let Some(template) = &template {
            images.extend(template.image.clone());
            subnets.extend(template.subnet.clone());
        }
        let (images, subnets) = join!(
            some(!images.is_empty(), self.ec2.images(&images)),
            some(!subnets.is_empty(), self.ec2.subnets(&subnets)),
        );
        Ok(Base { template, images: images?, subnets: subnets?, group_image })
    }

    /// The backup that members of a group are launched from, as its record says now.
    async fn group_image(&self, group: Option<&GroupName>) -> Reply<Option<GroupImage>> {
        let Some(group) = group else { return Ok(None) };
        let record = self.store.group(group).await?;
        Ok(record.and_then(|record| record.backups).and_then(|backups| backups.image()))
    }
}

/// What launches begin with.
struct Base {
    template: Option<TemplateFacts>,
    images: Vec<ImageFacts>,
    subnets: Vec<SubnetFacts>,
    group_image: Option<GroupImage>,
}

async fn some<T>(asked: bool, read: impl Future<Output = Reply<Vec<T>>>) -> Reply<Vec<T>> {
    if asked { read.await } else { Ok(Vec::new()) }
}

fn text(value: &Option<String>) -> &str {
    value.as_deref().unwrap_or_default()
}

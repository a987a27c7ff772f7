//! EC2 and EBS behind the engine's port.
//!
//! Reads by id go by *filter*, never by the id parameter: so one id that does not exist does not fail the
//! read of the others. Reads go through every page. RunInstances is sent once: want of capacity is a
//! server error by status, and the SDK would repeat it instead of letting the ladder climb. Periodic and
//! rebalance snapshots, alone or as a set, and deletions of snapshots are sent once too: their pass slows down for a throttle.

mod facts;
mod requests;
mod template;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt::Display;
use std::net::Ipv4Addr;
use std::slice::from_ref;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::config::retry::RetryConfig;
use aws_sdk_ec2::types::{Filter, InstanceStatus, NetworkInterfaceAttachmentChanges, SummaryStatus, Tag};
use perennial_core::config::{TemplateRef, TemplateSpec};
use perennial_core::failure::Class;
use perennial_core::ids::{
    AllocationId, ImageId, InstanceId, InterfaceId, Resource, SnapshotId, SubnetId, VolumeId,
};
use perennial_core::launch::{LaunchRequest, TemplateFacts};
use perennial_core::names::{Purpose, Tagged, Tags};
use perennial_core::observation::{
    AddressFacts, ImageFacts, InstanceFacts, InterfaceFacts, SnapshotFacts, SubnetFacts, VolumeFacts,
};
use perennial_core::step::{
    BackupRequest, ImageRequest, InterfaceRequest, SetRequest, SnapshotRequest, VolumeRequest,
};
use perennial_engine::ports::{Ec2, Reply};

use crate::classify::{
    ATTACH_VOLUME, DELETE_INTERFACE, DEREGISTER_IMAGE, RUN_INSTANCES, failure, incomplete,
};

/// A filter takes at most 200 values (EC2 API reference, *Filter*).
const VALUES_PER_FILTER: usize = 200;
/// The largest page that all these reads accept.
const PAGE: i32 = 1000;

const DESCRIBE_INSTANCES: &str = "EC2:DescribeInstances";
const DESCRIBE_INSTANCE_STATUS: &str = "EC2:DescribeInstanceStatus";
const DESCRIBE_VOLUMES: &str = "EC2:DescribeVolumes";
const DESCRIBE_INTERFACES: &str = "EC2:DescribeNetworkInterfaces";
const DESCRIBE_SNAPSHOTS: &str = "EC2:DescribeSnapshots";
const DESCRIBE_IMAGES: &str = "EC2:DescribeImages";
const DESCRIBE_SUBNETS: &str = "EC2:DescribeSubnets";
const DESCRIBE_TEMPLATE_VERSIONS: &str = "EC2:DescribeLaunchTemplateVersions";
const TERMINATE_INSTANCES: &str = "EC2:TerminateInstances";
const MODIFY_INSTANCE: &str = "EC2:ModifyInstanceAttribute";
const MODIFY_INTERFACE: &str = "EC2:ModifyNetworkInterfaceAttribute";
const CREATE_INTERFACE: &str = "EC2:CreateNetworkInterface";
const DESCRIBE_ADDRESSES: &str = "EC2:DescribeAddresses";
const ASSOCIATE_ADDRESS: &str = "EC2:AssociateAddress";
const DISASSOCIATE_ADDRESS: &str = "EC2:DisassociateAddress";
const CREATE_SNAPSHOT: &str = "EC2:CreateSnapshot";
const CREATE_SNAPSHOTS: &str = "EC2:CreateSnapshots";
const CREATE_VOLUME: &str = "EC2:CreateVolume";
const REGISTER_IMAGE: &str = "EC2:RegisterImage";
const CREATE_IMAGE: &str = "EC2:CreateImage";
const DELETE_VOLUME: &str = "EC2:DeleteVolume";
const DELETE_SNAPSHOT: &str = "EC2:DeleteSnapshot";
const CREATE_TAGS: &str = "EC2:CreateTags";
const DELETE_TAGS: &str = "EC2:DeleteTags";

/// EC2 of one account and Region.
#[derive(Clone, Debug)]
pub struct Ec2Adapter {
    client: Client,
    /// The same, but a call is sent once only.
    once: Client,
}

fn filter(name: impl Into<String>, values: impl IntoIterator<Item = impl Into<String>>) -> Filter {
    Filter::builder().name(name).set_values(Some(values.into_iter().map(Into::into).collect())).build()
}

fn by_tags(tagged: &Tagged<'_>) -> Vec<Filter> {
    tagged.filters().into_iter().map(|(key, values)| filter(format!("tag:{key}"), values)).collect()
}

/// Reads by id, as many at a time as one filter takes; nothing is sent for no ids.
async fn by_ids<T>(
    ids: &[impl Display],
    name: &str,
    read: impl AsyncFn(Vec<Filter>) -> Reply<Vec<T>>,
) -> Reply<Vec<T>> {
    let mut all = Vec::new();
    for ids in ids.chunks(VALUES_PER_FILTER) {
        all.extend(read(vec![filter(name, ids.iter().map(ToString::to_string))]).await?);
    }
    Ok(all)
}

impl Ec2Adapter {
    /// EC2 over a client.
    pub fn new(client: Client) -> Self {
        let once = client.config().to_builder().retry_config(RetryConfig::disabled()).build();
        Self { client, once: Client::from_conf(once) }
    }

    /// The client that takes snapshots of a purpose. A periodic one stays due: a throttle is for the pass to heed,
    /// which paces all of them. An extra one is not worth a second call.
    fn for_snapshots(&self, purpose: Purpose) -> &Client {
        match purpose {
            Purpose::Periodic | Purpose::Rebalance => &self.once,
            _ => &self.client,
        }
    }

    async fn instances_where(&self, filters: Vec<Filter>) -> Reply<Vec<InstanceFacts>> {
        let pages = self.client.describe_instances().set_filters(Some(filters)).into_paginator();
        let found = pages.page_size(PAGE).items().send().try_collect().await;
        let reservations = found.map_err(|e| failure(DESCRIBE_INSTANCES, &e))?;
        let raw: Vec<_> = reservations.into_iter().flat_map(|r| r.instances.unwrap_or_default()).collect();
        Ok(facts::all(&raw, "instance", facts::instance))
    }

    async fn volumes_where(&self, filters: Vec<Filter>) -> Reply<Vec<VolumeFacts>> {
        let pages = self.client.describe_volumes().set_filters(Some(filters)).into_paginator();
        let found = pages.page_size(PAGE).items().send().try_collect().await;
        Ok(facts::all(&found.map_err(|e| failure(DESCRIBE_VOLUMES, &e))?, "volume", facts::volume))
    }

    async fn interfaces_where(&self, filters: Vec<Filter>) -> Reply<Vec<InterfaceFacts>> {
        let pages = self.client.describe_network_interfaces().set_filters(Some(filters)).into_paginator();
        let found = pages.page_size(PAGE).items().send().try_collect().await;
        let raw = found.map_err(|e| failure(DESCRIBE_INTERFACES, &e))?;
        Ok(facts::all(&raw, "network interface", facts::interface))
    }

    async fn addresses_where(&self, filters: Vec<Filter>) -> Reply<Vec<AddressFacts>> {
        // This read has no pages.
        let answer = self.client.describe_addresses().set_filters(Some(filters)).send().await;
        let answer = answer.map_err(|e| failure(DESCRIBE_ADDRESSES, &e))?;
        Ok(facts::all(answer.addresses(), "Elastic IP address", facts::address))
    }

    async fn snapshots_where(&self, filters: Vec<Filter>) -> Reply<Vec<SnapshotFacts>> {
        let own = self.client.describe_snapshots().owner_ids("self");
        let pages = own.set_filters(Some(filters)).into_paginator();
        let found = pages.page_size(PAGE).items().send().try_collect().await;
        Ok(facts::all(&found.map_err(|e| failure(DESCRIBE_SNAPSHOTS, &e))?, "snapshot", facts::snapshot))
    }

    async fn images_where(&self, owner: Option<&str>, filters: Vec<Filter>) -> Reply<Vec<ImageFacts>> {
        // A deprecated image can still be launched, and a disabled one still holds its snapshot.
        let images = self.client.describe_images().include_deprecated(true).include_disabled(true);
        let images = images.set_owners(owner.map(|o| vec![o.to_owned()])).set_filters(Some(filters));
        let found = images.into_paginator().page_size(PAGE).items().send().try_collect().await;
        Ok(facts::all(&found.map_err(|e| failure(DESCRIBE_IMAGES, &e))?, "image", facts::image))
    }

    async fn subnets_where(&self, filters: Vec<Filter>) -> Reply<Vec<SubnetFacts>> {
        let pages = self.client.describe_subnets().set_filters(Some(filters)).into_paginator();
        let found = pages.page_size(PAGE).items().send().try_collect().await;
        Ok(facts::all(&found.map_err(|e| failure(DESCRIBE_SUBNETS, &e))?, "subnet", facts::subnet))
    }
}

impl Ec2Adapter {
    /// Those of these instances whose status checks have both passed. By id, since this read has no such filter; only
    /// running instances are listed.
    async fn statuses(&self, ids: &[InstanceId]) -> Reply<BTreeSet<InstanceId>> {
        let asked = Some(ids.iter().map(ToString::to_string).collect());
        let answer = self.client.describe_instance_status().set_instance_ids(asked).send().await;
        let answer = answer.map_err(|e| failure(DESCRIBE_INSTANCE_STATUS, &e))?;
        let ok = Some(&SummaryStatus::Ok);
        let has_passed = |status: &&InstanceStatus| {
            status.instance_status().and_then(|s| s.status()) == ok
                && status.system_status().and_then(|s| s.status()) == ok
        };
        let passed = answer.instance_statuses().iter().filter(has_passed);
        Ok(passed.filter_map(|status| status.instance_id()).map(InstanceId::new).collect())
    }
}

impl Ec2 for Ec2Adapter {
    async fn instances(&self, ids: &[InstanceId]) -> Reply<Vec<InstanceFacts>> {
        by_ids(ids, "instance-id", async |f| self.instances_where(f).await).await
    }

    async fn instances_by_token(&self, token: &str) -> Reply<Vec<InstanceFacts>> {
        self.instances_where(vec![filter("client-token", [token])]).await
    }

    async fn instances_tagged(&self, tagged: &Tagged<'_>) -> Reply<Vec<InstanceFacts>> {
        self.instances_where(by_tags(tagged)).await
    }

    async fn checks_passed(&self, ids: &[InstanceId]) -> Reply<BTreeSet<InstanceId>> {
        let all = match self.statuses(ids).await {
            Ok(passed) => return Ok(passed),
            // One that EC2 does not know spoils the answer about all others.
            Err(failure) if failure.class == Class::NotFound && ids.len() > 1 => ids,
            Err(failure) if failure.class == Class::NotFound => return Ok(BTreeSet::new()),
            Err(failure) => return Err(failure),
        };
        let mut passed = BTreeSet::new();
        for id in all {
            match self.statuses(from_ref(id)).await {
                Ok(one) => passed.extend(one),
                Err(failure) if failure.class == Class::NotFound => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(passed)
    }

    async fn volumes(&self, ids: &[VolumeId]) -> Reply<Vec<VolumeFacts>> {
        by_ids(ids, "volume-id", async |f| self.volumes_where(f).await).await
    }

    async fn volumes_tagged(&self, tagged: &Tagged<'_>) -> Reply<Vec<VolumeFacts>> {
        self.volumes_where(by_tags(tagged)).await
    }

    async fn interfaces(&self, ids: &[InterfaceId]) -> Reply<Vec<InterfaceFacts>> {
        by_ids(ids, "network-interface-id", async |f| self.interfaces_where(f).await).await
    }

    async fn interfaces_with(&self, addresses: &[Ipv4Addr]) -> Reply<Vec<InterfaceFacts>> {
        by_ids(addresses, "addresses.private-ip-address", async |f| self.interfaces_where(f).await).await
    }

    async fn elastic_ips(&self, ids: &[AllocationId]) -> Reply<Vec<AddressFacts>> {
        by_ids(ids, "allocation-id", async |f| self.addresses_where(f).await).await
    }

    async fn interfaces_tagged(&self, tagged: &Tagged<'_>) -> Reply<Vec<InterfaceFacts>> {
        self.interfaces_where(by_tags(tagged)).await
    }

    async fn snapshots(&self, ids: &[SnapshotId]) -> Reply<Vec<SnapshotFacts>> {
        by_ids(ids, "snapshot-id", async |f| self.snapshots_where(f).await).await
    }

    async fn snapshots_tagged(&self, tagged: &Tagged<'_>) -> Reply<Vec<SnapshotFacts>> {
        self.snapshots_where(by_tags(tagged)).await
    }

    async fn snapshots_of(&self, volumes: &[VolumeId]) -> Reply<Vec<SnapshotFacts>> {
        by_ids(volumes, "volume-id", async |f| self.snapshots_where(f).await).await
    }

    async fn images(&self, ids: &[ImageId]) -> Reply<Vec<ImageFacts>> {
        by_ids(ids, "image-id", async |f| self.images_where(None, f).await).await
    }

    async fn images_by_name(&self, name: &str) -> Reply<Vec<ImageFacts>> {
        self.images_where(Some("self"), vec![filter("name", [name])]).await
    }

    async fn images_tagged(&self, tagged: &Tagged<'_>) -> Reply<Vec<ImageFacts>> {
        // Anybody may share an image that carries tags like ours.
        self.images_where(Some("self"), by_tags(tagged)).await
    }

    async fn subnets(&self, ids: &[SubnetId]) -> Reply<Vec<SubnetFacts>> {
        by_ids(ids, "subnet-id", async |f| self.subnets_where(f).await).await
    }

    async fn template(&self, spec: &TemplateSpec) -> Reply<Option<TemplateFacts>> {
        let (id, name) = match &spec.which {
            TemplateRef::Id(id) => (Some(id.clone()), None),
            TemplateRef::Name(name) => (None, Some(name.clone())),
        };
        let versions = self.client.describe_launch_template_versions().versions(&spec.version);
        let answer = versions.set_launch_template_id(id).set_launch_template_name(name).send().await;
        match answer.map_err(|e| failure(DESCRIBE_TEMPLATE_VERSIONS, &e)) {
            Ok(answer) => Ok(answer.launch_template_versions().first().and_then(template::template)),
            // What cannot be an id or a name does not exist either.
            Err(failure) if failure.class == Class::NotFound || failure.code.contains("Malformed") => {
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }

    async fn launch(&self, request: &LaunchRequest) -> Reply<InstanceFacts> {
        let answer = requests::run_instances(request).send_with(&self.once).await;
        let answer = answer.map_err(|e| failure(RUN_INSTANCES, &e))?;
        let made = answer.instances().first().and_then(facts::instance);
        made.ok_or_else(|| incomplete(RUN_INSTANCES, "the instance"))
    }

    async fn terminate(&self, id: &InstanceId) -> Reply<()> {
        let answer = self.client.terminate_instances().instance_ids(id.as_str()).send().await;
        answer.map(drop).map_err(|e| failure(TERMINATE_INSTANCES, &e))
    }

    async fn keep_volumes(&self, instance: &InstanceId, devices: &[String]) -> Reply<()> {
        let change = self.client.modify_instance_attribute().instance_id(instance.as_str());
        let answer = change.set_block_device_mappings(Some(requests::kept_devices(devices))).send().await;
        answer.map(drop).map_err(|e| failure(MODIFY_INSTANCE, &e))
    }

    async fn keep_interface(&self, interface: &InterfaceId, attachment: &str) -> Reply<()> {
        let kept = NetworkInterfaceAttachmentChanges::builder()
            .attachment_id(attachment)
            .delete_on_termination(false)
            .build();
        let change = self.client.modify_network_interface_attribute();
        let answer = change.network_interface_id(interface.as_str()).attachment(kept).send().await;
        answer.map(drop).map_err(|e| failure(MODIFY_INTERFACE, &e))
    }

    async fn set_groups(&self, interface: &InterfaceId, groups: &[String]) -> Reply<()> {
        // One attribute a call: groups and the attachment are never changed together.
        let change = self.client.modify_network_interface_attribute();
        let change = change.network_interface_id(interface.as_str()).set_groups(Some(groups.to_vec()));
        change.send().await.map(drop).map_err(|e| failure(MODIFY_INTERFACE, &e))
    }

    async fn tag(&self, resource: &Resource, tags: &Tags) -> Reply<()> {
        if tags.is_empty() {
            return Ok(());
        }
        let tags = tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect();
        let call = self.client.create_tags().resources(resource.id()).set_tags(Some(tags));
        call.send().await.map(drop).map_err(|e| failure(CREATE_TAGS, &e))
    }

    async fn untag(&self, resource: &Resource, keys: &[String]) -> Reply<()> {
        // Without a key EC2 would take off every tag (EC2 API reference, *DeleteTags*).
        if keys.is_empty() {
            return Ok(());
        }
        // Without a value a tag goes whatever its value is; an empty one would mean just that value.
        let tags = keys.iter().map(|key| Tag::builder().key(key).build()).collect();
        let call = self.client.delete_tags().resources(resource.id()).set_tags(Some(tags));
        call.send().await.map(drop).map_err(|e| failure(DELETE_TAGS, &e))
    }

    async fn create_interface(&self, request: &InterfaceRequest) -> Reply<InterfaceFacts> {
        let answer = requests::create_interface(request).send_with(&self.client).await;
        let answer = answer.map_err(|e| failure(CREATE_INTERFACE, &e))?;
        let made = answer.network_interface().and_then(facts::interface);
        made.ok_or_else(|| incomplete(CREATE_INTERFACE, "the interface"))
    }

    async fn associate(&self, address: &AllocationId, interface: &InterfaceId, to: Ipv4Addr) -> Reply<()> {
        // Left out, the permission to reassociate counts as given in a VPC (EC2 API reference, *AssociateAddress*).
        let call = self.client.associate_address().allow_reassociation(false);
        let call = call.allocation_id(address.as_str()).network_interface_id(interface.as_str());
        let answer = call.private_ip_address(to.to_string()).send().await;
        answer.map(drop).map_err(|e| failure(ASSOCIATE_ADDRESS, &e))
    }

    async fn disassociate(&self, association: &str) -> Reply<()> {
        let answer = self.client.disassociate_address().association_id(association).send().await;
        answer.map(drop).map_err(|e| failure(DISASSOCIATE_ADDRESS, &e))
    }

    async fn create_volume(&self, request: &VolumeRequest) -> Reply<VolumeFacts> {
        let answer = requests::create_volume(request).send_with(&self.client).await;
        let answer = answer.map_err(|e| failure(CREATE_VOLUME, &e))?;
        facts::new_volume(&answer).ok_or_else(|| incomplete(CREATE_VOLUME, "the volume"))
    }

    async fn attach_volume(&self, volume: &VolumeId, instance: &InstanceId, device: &str) -> Reply<()> {
        let call = self.client.attach_volume().volume_id(volume.as_str()).instance_id(instance.as_str());
        call.device(device).send().await.map(drop).map_err(|e| failure(ATTACH_VOLUME, &e))
    }

    async fn create_snapshot(&self, request: &SnapshotRequest) -> Reply<SnapshotFacts> {
        let answer = requests::create_snapshot(request).send_with(self.for_snapshots(request.purpose)).await;
        let answer = answer.map_err(|e| failure(CREATE_SNAPSHOT, &e))?;
        facts::new_snapshot(&answer).ok_or_else(|| incomplete(CREATE_SNAPSHOT, "the snapshot"))
    }

    async fn create_snapshots(&self, request: &SetRequest) -> Reply<Vec<SnapshotFacts>> {
        let answer = requests::create_snapshots(request).send_with(self.for_snapshots(request.purpose)).await;
        let answer = answer.map_err(|e| failure(CREATE_SNAPSHOTS, &e))?;
        facts::new_set(answer.snapshots()).ok_or_else(|| incomplete(CREATE_SNAPSHOTS, "the snapshots"))
    }

    async fn register_image(&self, request: &ImageRequest) -> Reply<ImageId> {
        let answer = requests::register_image(request).send_with(&self.client).await;
        let answer = answer.map_err(|e| failure(REGISTER_IMAGE, &e))?;
        answer.image_id().map(ImageId::new).ok_or_else(|| incomplete(REGISTER_IMAGE, "the image id"))
    }

    async fn create_image(&self, request: &BackupRequest) -> Reply<ImageId> {
        // Tried again at the next tick, which first looks for what an unheard answer may have made.
        let answer = requests::create_image(request).send_with(&self.once).await;
        let answer = answer.map_err(|e| failure(CREATE_IMAGE, &e))?;
        answer.image_id().map(ImageId::new).ok_or_else(|| incomplete(CREATE_IMAGE, "the image id"))
    }

    async fn delete_volume(&self, id: &VolumeId) -> Reply<()> {
        let answer = self.client.delete_volume().volume_id(id.as_str()).send().await;
        answer.map(drop).map_err(|e| failure(DELETE_VOLUME, &e))
    }

    async fn deregister_image(&self, id: &ImageId) -> Reply<()> {
        // Its snapshots are deleted in steps of their own, each with its own proof.
        let answer = self.client.deregister_image().image_id(id.as_str()).send().await;
        answer.map(drop).map_err(|e| failure(DEREGISTER_IMAGE, &e))
    }

    async fn deregister_with_snapshots(&self, id: &ImageId) -> Reply<()> {
        let deregister =
            self.client.deregister_image().image_id(id.as_str()).delete_associated_snapshots(true);
        let answer = deregister.send().await.map_err(|e| failure(DEREGISTER_IMAGE, &e))?;
        // Which of them are gone a read tells; what stays is deleted on its own.
        for left in answer.delete_snapshot_results() {
            let code = left.return_code().map(|code| code.as_str()).unwrap_or_default();
            if code != "success" {
                let snapshot = left.snapshot_id().unwrap_or_default();
                tracing::info!(image = id.as_str(), snapshot, code, "a snapshot of the image stays for now");
            }
        }
        Ok(())
    }

    async fn delete_snapshot(&self, id: &SnapshotId) -> Reply<()> {
        // As for periodic snapshots: what is refused now goes at the next tick.
        let answer = self.once.delete_snapshot().snapshot_id(id.as_str()).send().await;
        answer.map(drop).map_err(|e| failure(DELETE_SNAPSHOT, &e))
    }

    async fn delete_interface(&self, id: &InterfaceId) -> Reply<()> {
        let answer = self.client.delete_network_interface().network_interface_id(id.as_str()).send().await;
        answer.map(drop).map_err(|e| failure(DELETE_INTERFACE, &e))
    }
}

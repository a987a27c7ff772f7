//! The engine's EC2 port, straight onto the model.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use perennial_cloud::model as cloud;
use perennial_cloud::model::TemplateRef as ModelTemplateRef;
use perennial_cloud::model::{
    ApiError, AssociateAddress, AttachVolume, BlockDeviceMapping, Cloud, Describe, Ebs, Filter,
    InterfaceChange, Page, RegisterImage, Versions,
};
use perennial_core::config::{TemplateRef, TemplateSpec};
use perennial_core::failure::{Class, Failure};
use perennial_core::ids::{
    AllocationId, ImageId, InstanceId, InterfaceId, Resource, SnapshotId, SubnetId, VolumeId,
};
use perennial_core::launch::{LaunchRequest, TemplateFacts};
use perennial_core::names::{Tagged, Tags};
use perennial_core::observation::*;
use perennial_core::step::{
    BackupRequest, ImageRequest, InterfaceRequest, SetRequest, SnapshotRequest, VolumeRequest,
};
use perennial_engine::ports::{Ec2, Reply};

use crate::convert;
use crate::sabotage::Defect;
use crate::world::{Handle, World};

/// EC2 as the simulation has it.
#[derive(Clone, Debug)]
pub struct SimEc2(pub Handle);

/// Items of one page, as the functions' own adapter asks for.
const PAGE: u32 = 1000;

impl SimEc2 {
    async fn ask<T>(
        &self,
        call: &'static str,
        ask: impl FnOnce(&mut Cloud) -> Result<T, ApiError>,
    ) -> Reply<T> {
        let effect = |world: &mut World| ask(&mut world.cloud).map_err(|error| refused(world, call, &error));
        self.0.call(call, effect).await
    }
}

impl SimEc2 {
    /// A call that changes the account; `what` tells it from others of its name.
    async fn change<T>(
        &self,
        call: &'static str,
        what: String,
        ask: impl FnOnce(&mut Cloud) -> Result<T, ApiError>,
    ) -> Reply<T> {
        let effect = |world: &mut World| ask(&mut world.cloud).map_err(|error| refused(world, call, &error));
        self.0.change(call, what, effect).await
    }

    fn defect(&self) -> Option<Defect> {
        self.0.0.borrow().defect
    }

    /// Instances as they are shown.
    fn shown_instances(&self, items: &[cloud::Instance]) -> Vec<InstanceFacts> {
        let world = self.0.0.borrow();
        let facts = items.iter().map(|it| (it, convert::instance(it, &world.cloud)));
        match self.defect() {
            None => facts.map(|(_, facts)| facts).collect(),
            Some(defect) => facts.map(|(it, facts)| defect.instance(it, facts, &world.records)).collect(),
        }
    }

    /// Volumes as they are shown.
    fn shown_volumes(&self, items: &[cloud::Volume]) -> Vec<VolumeFacts> {
        let facts = items.iter().map(convert::volume);
        match self.defect() {
            None => facts.collect(),
            Some(defect) => {
                let world = self.0.0.borrow();
                facts.map(|facts| defect.volume(facts, &world.records)).collect()
            }
        }
    }

    /// Snapshots as they are shown.
    fn shown_snapshots(&self, items: &[cloud::Snapshot]) -> Vec<SnapshotFacts> {
        let facts = items.iter().map(convert::snapshot);
        match self.defect() {
            None => facts.collect(),
            Some(defect) => {
                let world = self.0.0.borrow();
                facts.map(|facts| defect.snapshot(facts, &world.records)).collect()
            }
        }
    }

    /// Images as they are shown.
    fn shown_images(&self, items: &[cloud::Image]) -> Vec<ImageFacts> {
        let facts = items.iter().map(convert::image);
        match self.defect() {
            None => facts.collect(),
            Some(defect) => facts.map(|facts| defect.image(facts)).collect(),
        }
    }

    /// A read of many, page by page: each page is a call.
    async fn pages<T>(
        &self,
        call: &'static str,
        mut request: Describe,
        read: impl Fn(&mut Cloud, &Describe) -> Result<Page<T>, ApiError>,
    ) -> Reply<Vec<T>> {
        request.max_results = Some(PAGE);
        let mut items = Vec::new();
        loop {
            let page = self.ask(call, |cloud| read(cloud, &request)).await?;
            items.extend(page.items);
            if page.next_token.is_none() {
                return Ok(items);
            }
            request.next_token = page.next_token;
        }
    }

    /// Whether a defect keeps a read by key from finding anything.
    fn is_blind(&self) -> bool {
        self.defect() == Some(Defect::KeysFindNothing)
    }

    /// The filter of a read by tags, as it is sent.
    fn tagged(&self, tagged: &Tagged<'_>) -> Describe {
        if self.defect() == Some(Defect::AnyTagIsOurs) {
            return Describe::default();
        }
        with_tags(tagged)
    }
}

fn among(name: &str, values: impl IntoIterator<Item = impl ToString>) -> Describe {
    let values = values.into_iter().map(|value| value.to_string()).collect();
    Describe { filters: vec![Filter { name: name.to_owned(), values }], ..Describe::default() }
}

/// Only what the account owns.
fn own(request: Describe) -> Describe {
    Describe { owners: vec!["self".to_owned()], ..request }
}

fn with_tags(tagged: &Tagged<'_>) -> Describe {
    let filter = |(key, values): (&str, Vec<&str>)| Filter {
        name: format!("tag:{key}"),
        values: values.into_iter().map(str::to_owned).collect(),
    };
    Describe { filters: tagged.filters().into_iter().map(filter).collect(), ..Describe::default() }
}

/// A group that does not exist is the operator's to mend, as in the functions' own table: waiting for it
/// would hide it.
fn failure(call: &'static str, error: &ApiError) -> Failure {
    let mut failure = convert::failure(call, error);
    if error.code == "InvalidGroup.NotFound" {
        failure.class = Class::Terminal;
    }
    failure
}

/// The same, counted if it is for want of tokens in a request bucket.
fn refused(world: &mut World, call: &'static str, error: &ApiError) -> Failure {
    world.throttled += u64::from(error.code == "RequestLimitExceeded");
    failure(call, error)
}

impl Ec2 for SimEc2 {
    async fn instances(&self, ids: &[InstanceId]) -> Reply<Vec<InstanceFacts>> {
        let ask = |cloud: &mut Cloud| cloud.describe_instances(&among("instance-id", ids));
        Ok(self.shown_instances(&self.ask("EC2:DescribeInstances", ask).await?.items))
    }

    async fn instances_by_token(&self, token: &str) -> Reply<Vec<InstanceFacts>> {
        if self.is_blind() {
            return Ok(Vec::new());
        }
        let ask = |cloud: &mut Cloud| cloud.describe_instances(&among("client-token", [token]));
        Ok(self.shown_instances(&self.ask("EC2:DescribeInstances", ask).await?.items))
    }

    async fn instances_tagged(&self, tagged: &Tagged<'_>) -> Reply<Vec<InstanceFacts>> {
        let request = self.tagged(tagged);
        Ok(self
            .shown_instances(&self.pages("EC2:DescribeInstances", request, Cloud::describe_instances).await?))
    }

    async fn checks_passed(&self, ids: &[InstanceId]) -> Reply<BTreeSet<InstanceId>> {
        if self.defect() == Some(Defect::ChecksAlwaysPass) {
            return Ok(ids.iter().cloned().collect());
        }
        let asked = Describe::ids(ids.iter().map(ToString::to_string));
        let ask = |cloud: &mut Cloud| cloud.describe_instance_status(&asked, false);
        match self.ask("EC2:DescribeInstanceStatus", ask).await {
            Ok(page) => {
                let is_blind = self.defect() == Some(Defect::ImpairedIsWell);
                let is_ok = |status: &str| status == "ok" || (is_blind && status == "impaired");
                let passed = page.items.iter().filter(|status| is_ok(status.status));
                Ok(passed.map(|status| InstanceId::new(&status.instance_id)).collect())
            }
            Err(failure) if failure.class == Class::NotFound => Ok(BTreeSet::new()),
            Err(failure) => Err(failure),
        }
    }

    async fn volumes(&self, ids: &[VolumeId]) -> Reply<Vec<VolumeFacts>> {
        let ask = |cloud: &mut Cloud| cloud.describe_volumes(&among("volume-id", ids));
        Ok(self.shown_volumes(&self.ask("EC2:DescribeVolumes", ask).await?.items))
    }

    async fn volumes_tagged(&self, tagged: &Tagged<'_>) -> Reply<Vec<VolumeFacts>> {
        if !tagged.keys.is_empty() && self.is_blind() {
            return Ok(Vec::new());
        }
        let request = self.tagged(tagged);
        Ok(self.shown_volumes(&self.pages("EC2:DescribeVolumes", request, Cloud::describe_volumes).await?))
    }

    async fn interfaces(&self, ids: &[InterfaceId]) -> Reply<Vec<InterfaceFacts>> {
        let ask = |cloud: &mut Cloud| cloud.describe_network_interfaces(&among("network-interface-id", ids));
        let page = self.ask("EC2:DescribeNetworkInterfaces", ask).await?;
        Ok(page.items.iter().map(convert::interface).collect())
    }

    async fn interfaces_with(&self, addresses: &[Ipv4Addr]) -> Reply<Vec<InterfaceFacts>> {
        if self.defect() == Some(Defect::HoldersUnseen) {
            return Ok(Vec::new());
        }
        let request = among("addresses.private-ip-address", addresses);
        let ask = |cloud: &mut Cloud| cloud.describe_network_interfaces(&request);
        let page = self.ask("EC2:DescribeNetworkInterfaces", ask).await?;
        Ok(page.items.iter().map(convert::interface).collect())
    }

    async fn elastic_ips(&self, ids: &[AllocationId]) -> Reply<Vec<AddressFacts>> {
        let ask = |cloud: &mut Cloud| cloud.describe_addresses(&among("allocation-id", ids), &[]);
        let page = self.ask("EC2:DescribeAddresses", ask).await?;
        let shown = page.items.iter().map(convert::address);
        Ok(match self.defect() {
            None => shown.collect(),
            Some(defect) => shown.map(|facts| defect.elastic_ip(facts)).collect(),
        })
    }

    async fn interfaces_tagged(&self, tagged: &Tagged<'_>) -> Reply<Vec<InterfaceFacts>> {
        let request = self.tagged(tagged);
        let ask = |cloud: &mut Cloud| cloud.describe_network_interfaces(&request);
        let page = self.ask("EC2:DescribeNetworkInterfaces", ask).await?;
        Ok(page.items.iter().map(convert::interface).collect())
    }

    async fn snapshots(&self, ids: &[SnapshotId]) -> Reply<Vec<SnapshotFacts>> {
        let ask = |cloud: &mut Cloud| cloud.describe_snapshots(&among("snapshot-id", ids));
        Ok(self.shown_snapshots(&self.ask("EC2:DescribeSnapshots", ask).await?.items))
    }

    async fn snapshots_tagged(&self, tagged: &Tagged<'_>) -> Reply<Vec<SnapshotFacts>> {
        if !tagged.keys.is_empty() && self.is_blind() {
            return Ok(Vec::new());
        }
        let request = own(self.tagged(tagged));
        Ok(self
            .shown_snapshots(&self.pages("EC2:DescribeSnapshots", request, Cloud::describe_snapshots).await?))
    }

    async fn snapshots_of(&self, volumes: &[VolumeId]) -> Reply<Vec<SnapshotFacts>> {
        let ask = |cloud: &mut Cloud| cloud.describe_snapshots(&among("volume-id", volumes));
        Ok(self.shown_snapshots(&self.ask("EC2:DescribeSnapshots", ask).await?.items))
    }

    async fn images(&self, ids: &[ImageId]) -> Reply<Vec<ImageFacts>> {
        let ask = |cloud: &mut Cloud| cloud.describe_images(&among("image-id", ids));
        Ok(self.shown_images(&self.ask("EC2:DescribeImages", ask).await?.items))
    }

    async fn images_by_name(&self, name: &str) -> Reply<Vec<ImageFacts>> {
        if self.is_blind() {
            return Ok(Vec::new());
        }
        let ask = |cloud: &mut Cloud| cloud.describe_images(&among("name", [name]));
        Ok(self.shown_images(&self.ask("EC2:DescribeImages", ask).await?.items))
    }

    async fn images_tagged(&self, tagged: &Tagged<'_>) -> Reply<Vec<ImageFacts>> {
        let request = own(self.tagged(tagged));
        let ask = |cloud: &mut Cloud| cloud.describe_images(&request);
        Ok(self.shown_images(&self.ask("EC2:DescribeImages", ask).await?.items))
    }

    async fn subnets(&self, ids: &[SubnetId]) -> Reply<Vec<SubnetFacts>> {
        let ask = |cloud: &mut Cloud| cloud.describe_subnets(&among("subnet-id", ids));
        Ok(self.ask("EC2:DescribeSubnets", ask).await?.items.iter().map(convert::subnet).collect())
    }

    async fn template(&self, spec: &TemplateSpec) -> Reply<Option<TemplateFacts>> {
        let (id, name) = match &spec.which {
            TemplateRef::Id(id) => (Some(id.clone()), None),
            TemplateRef::Name(name) => (None, Some(name.clone())),
        };
        let request = Versions {
            template: ModelTemplateRef { id, name, version: None },
            names: vec![spec.version.clone()],
            ..Versions::default()
        };
        let ask = |cloud: &mut Cloud| cloud.describe_launch_template_versions(&request);
        match self.ask("EC2:DescribeLaunchTemplateVersions", ask).await {
            Ok(page) => Ok(page.items.first().map(convert::template)),
            Err(failure) if failure.class == Class::NotFound => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    async fn launch(&self, request: &LaunchRequest) -> Reply<InstanceFacts> {
        let call = "EC2:RunInstances";
        let mut launch = convert::launch(request);
        if self.defect() == Some(Defect::NoClientToken) {
            launch.client_token = None;
        }
        let made = self.change(call, request.token.clone(), |cloud| cloud.run_instances(&launch)).await?;
        let none = || Failure::new(Class::Retry, call, "Empty", "no instance in the answer");
        let cloud = &self.0.0.borrow().cloud;
        made.first().map(|it| convert::instance(it, cloud)).ok_or_else(none)
    }

    async fn terminate(&self, id: &InstanceId) -> Reply<()> {
        let ask = |cloud: &mut Cloud| cloud.terminate_instances(&[id.to_string()]);
        self.change("EC2:TerminateInstances", id.to_string(), ask).await.map(|_| ())
    }

    async fn keep_volumes(&self, instance: &InstanceId, devices: &[String]) -> Reply<()> {
        let kept: Vec<_> = devices.iter().map(|device| (device.clone(), false)).collect();
        let ask = |cloud: &mut Cloud| cloud.modify_block_devices(instance.as_str(), &kept);
        self.change("EC2:ModifyInstanceAttribute", format!("{instance} {devices:?}"), ask).await
    }

    async fn keep_interface(&self, interface: &InterfaceId, attachment: &str) -> Reply<()> {
        let change =
            InterfaceChange::DeleteOnTermination { attachment_id: attachment.to_owned(), value: false };
        let ask = |cloud: &mut Cloud| cloud.modify_network_interface(interface.as_str(), &change);
        self.change("EC2:ModifyNetworkInterfaceAttribute", attachment.to_owned(), ask).await
    }

    async fn set_groups(&self, interface: &InterfaceId, groups: &[String]) -> Reply<()> {
        let change = InterfaceChange::Groups(groups.to_vec());
        let ask = |cloud: &mut Cloud| cloud.modify_network_interface(interface.as_str(), &change);
        self.change("EC2:ModifyNetworkInterfaceAttribute", format!("{interface} {groups:?}"), ask).await
    }

    async fn tag(&self, resource: &Resource, tags: &Tags) -> Reply<()> {
        if tags.is_empty() {
            return Ok(());
        }
        let ask = |cloud: &mut Cloud| cloud.create_tags(&[resource.id().to_owned()], tags);
        self.change("EC2:CreateTags", format!("{resource} {tags:?}"), ask).await
    }

    async fn untag(&self, resource: &Resource, keys: &[String]) -> Reply<()> {
        // Without a key all tags would go.
        if keys.is_empty() {
            return Ok(());
        }
        let tags: Vec<_> = keys.iter().map(|key| (key.clone(), None)).collect();
        let ask = |cloud: &mut Cloud| cloud.delete_tags(&[resource.id().to_owned()], &tags);
        self.change("EC2:DeleteTags", format!("{resource} {keys:?}"), ask).await
    }

    async fn create_interface(&self, request: &InterfaceRequest) -> Reply<InterfaceFacts> {
        let token = request.token.clone();
        let request = convert::new_interface(request);
        let ask = |cloud: &mut Cloud| cloud.create_network_interface(&request);
        Ok(convert::interface(&self.change("EC2:CreateNetworkInterface", token, ask).await?))
    }

    async fn associate(&self, address: &AllocationId, interface: &InterfaceId, to: Ipv4Addr) -> Reply<()> {
        let request = AssociateAddress {
            allocation_id: address.to_string(),
            network_interface_id: Some(interface.to_string()),
            private_ip_address: Some(to.to_string()),
            allow_reassociation: Some(self.defect() == Some(Defect::TakesElasticIps)),
            ..AssociateAddress::default()
        };
        let ask = |cloud: &mut Cloud| cloud.associate_address(&request);
        self.change("EC2:AssociateAddress", format!("{address} {interface}"), ask).await.map(|_| ())
    }

    async fn disassociate(&self, association: &str) -> Reply<()> {
        let ask = |cloud: &mut Cloud| cloud.disassociate_address(association);
        self.change("EC2:DisassociateAddress", association.to_owned(), ask).await
    }

    async fn create_volume(&self, request: &VolumeRequest) -> Reply<VolumeFacts> {
        let token = request.token.clone();
        let request = convert::new_volume(request);
        let ask = |cloud: &mut Cloud| cloud.create_volume(&request);
        Ok(convert::volume(&self.change("EC2:CreateVolume", token, ask).await?))
    }

    async fn attach_volume(&self, volume: &VolumeId, instance: &InstanceId, device: &str) -> Reply<()> {
        let request = AttachVolume {
            volume_id: volume.to_string(),
            instance_id: instance.to_string(),
            device: device.to_owned(),
        };
        let ask = |cloud: &mut Cloud| cloud.attach_volume(&request);
        self.change("EC2:AttachVolume", format!("{volume} {instance}"), ask).await.map(|_| ())
    }

    async fn create_snapshots(&self, request: &SetRequest) -> Reply<Vec<SnapshotFacts>> {
        let key = request.key.clone();
        let request = convert::new_set(request);
        let ask = |cloud: &mut Cloud| cloud.create_snapshots(&request);
        let taken = self.change("EC2:CreateSnapshots", key, ask).await?;
        Ok(taken.iter().map(convert::snapshot).collect())
    }

    async fn create_snapshot(&self, request: &SnapshotRequest) -> Reply<SnapshotFacts> {
        let tags = [convert::tagged("snapshot", &request.tags)];
        if self.0.0.borrow().refused.contains(request.volume.as_str()) {
            let call = "EC2:CreateSnapshot";
            let refused =
                Failure::new(Class::Terminal, call, "KMSKeyDisabled", "the volume's key is disabled");
            return self.0.change(call, request.key.clone(), |_| Err(refused)).await;
        }
        let ask =
            |cloud: &mut Cloud| cloud.create_snapshot(request.volume.as_str(), &request.description, &tags);
        Ok(convert::snapshot(&self.change("EC2:CreateSnapshot", request.key.clone(), ask).await?))
    }

    async fn register_image(&self, request: &ImageRequest) -> Reply<ImageId> {
        let unsigned = |n: i32| u32::try_from(n).unwrap_or_default();
        let root = BlockDeviceMapping {
            device_name: request.root_device.clone(),
            ebs: Some(Ebs {
                snapshot_id: Some(request.snapshot.to_string()),
                volume_size: Some(unsigned(request.shape.size_gib)).filter(|size| *size > 0),
                volume_type: Some(request.shape.volume_type.clone()).filter(|kind| !kind.is_empty()),
                delete_on_termination: Some(true),
                ..Ebs::default()
            }),
            ..BlockDeviceMapping::default()
        };
        let (platform, name) = (&request.platform, request.name.clone());
        let request = RegisterImage {
            name: request.name.clone(),
            description: Some(request.description.clone()),
            architecture: Some(platform.architecture.clone()),
            root_device_name: Some(request.root_device.clone()),
            block_devices: vec![root],
            virtualization_type: Some(platform.virtualization.clone()),
            ena_support: Some(platform.ena),
            sriov_net_support: platform.sriov_net.clone(),
            boot_mode: platform.boot_mode.clone(),
            tpm_support: platform.tpm.clone(),
            imds_support: platform.imds.clone(),
            tag_specifications: vec![convert::tagged("image", &request.tags)],
            ..RegisterImage::default()
        };
        let ask = |cloud: &mut Cloud| cloud.register_image(&request);
        Ok(ImageId::new(self.change("EC2:RegisterImage", name, ask).await?.id))
    }

    async fn create_image(&self, request: &BackupRequest) -> Reply<ImageId> {
        let left_out = request.without.iter().map(|device| BlockDeviceMapping {
            device_name: device.clone(),
            no_device: Some(String::new()),
            ..BlockDeviceMapping::default()
        });
        let tags = |kind| convert::tagged(kind, &request.tags);
        let asked = cloud::CreateImage {
            instance_id: request.instance.to_string(),
            name: self.defect().map_or(request.name.clone(), |defect| defect.backup_name(&request.name)),
            description: Some(request.description.clone()),
            no_reboot: true,
            block_devices: left_out.collect(),
            tag_specifications: vec![tags("image"), tags("snapshot")],
        };
        let ask = |cloud: &mut Cloud| cloud.create_image(&asked);
        Ok(ImageId::new(self.change("EC2:CreateImage", request.name.clone(), ask).await?.id))
    }

    async fn delete_volume(&self, id: &VolumeId) -> Reply<()> {
        self.change("EC2:DeleteVolume", id.to_string(), |cloud| cloud.delete_volume(id.as_str())).await
    }

    async fn deregister_image(&self, id: &ImageId) -> Reply<()> {
        self.change("EC2:DeregisterImage", id.to_string(), |cloud| cloud.deregister_image(id.as_str(), false))
            .await
            .map(|_| ())
    }

    async fn deregister_with_snapshots(&self, id: &ImageId) -> Reply<()> {
        let with_snapshots = self.defect() != Some(Defect::SnapshotsLeft);
        let ask = |cloud: &mut Cloud| cloud.deregister_image(id.as_str(), with_snapshots);
        self.change("EC2:DeregisterImage", id.to_string(), ask).await.map(|_| ())
    }

    async fn delete_snapshot(&self, id: &SnapshotId) -> Reply<()> {
        self.change("EC2:DeleteSnapshot", id.to_string(), |cloud| cloud.delete_snapshot(id.as_str())).await
    }

    async fn delete_interface(&self, id: &InterfaceId) -> Reply<()> {
        let ask = |cloud: &mut Cloud| cloud.delete_network_interface(id.as_str());
        self.change("EC2:DeleteNetworkInterface", id.to_string(), ask).await
    }
}

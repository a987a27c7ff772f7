//! The engine's EC2 port, straight onto the model.

use perennial_cloud::model::TemplateRef as ModelTemplateRef;
use perennial_cloud::model::{
    ApiError, BlockDeviceMapping, Cloud, CreateNetworkInterface, Describe, Ebs, Filter, InterfaceChange,
    RegisterImage, Versions,
};
use perennial_core::config::{TemplateRef, TemplateSpec};
use perennial_core::failure::Class;
use perennial_core::ids::{ImageId, InstanceId, InterfaceId, SnapshotId, SubnetId, VolumeId};
use perennial_core::launch::{LaunchRequest, TemplateFacts};
use perennial_core::names::{Purpose, TAG_DEPLOYMENT, TAG_KEY, TAG_PURPOSE};
use perennial_core::observation::*;
use perennial_core::step::{ImageRequest, InterfaceRequest, SnapshotRequest};
use perennial_engine::ports::{Ec2, Reply};

use crate::convert;
use crate::world::Handle;

/// EC2 as the simulation has it.
#[derive(Clone, Debug)]
pub struct SimEc2(pub Handle);

impl SimEc2 {
    async fn ask<T>(
        &self,
        call: &'static str,
        ask: impl FnOnce(&mut Cloud) -> Result<T, ApiError>,
    ) -> Reply<T> {
        let effect = |world: &mut crate::world::World| {
            ask(&mut world.cloud).map_err(|error| convert::failure(call, &error))
        };
        self.0.call(call, effect).await
    }
}

fn among(name: &str, values: impl IntoIterator<Item = impl ToString>) -> Describe {
    let values = values.into_iter().map(|value| value.to_string()).collect();
    Describe { filters: vec![Filter { name: name.to_owned(), values }], ..Describe::default() }
}

fn tag(key: &str) -> String {
    format!("tag:{key}")
}

impl Ec2 for SimEc2 {
    async fn instances(&self, ids: &[InstanceId]) -> Reply<Vec<InstanceFacts>> {
        let ask = |cloud: &mut Cloud| cloud.describe_instances(&among("instance-id", ids));
        Ok(self.ask("EC2:DescribeInstances", ask).await?.items.iter().map(convert::instance).collect())
    }

    async fn instances_by_token(&self, token: &str) -> Reply<Vec<InstanceFacts>> {
        let ask = |cloud: &mut Cloud| cloud.describe_instances(&among("client-token", [token]));
        Ok(self.ask("EC2:DescribeInstances", ask).await?.items.iter().map(convert::instance).collect())
    }

    async fn fleet(&self, deployment: &str) -> Reply<Vec<InstanceFacts>> {
        let ask = |cloud: &mut Cloud| cloud.describe_instances(&among(&tag(TAG_DEPLOYMENT), [deployment]));
        Ok(self.ask("EC2:DescribeInstances", ask).await?.items.iter().map(convert::instance).collect())
    }

    async fn checks_passed(&self, id: &InstanceId) -> Reply<bool> {
        let ask = |cloud: &mut Cloud| cloud.describe_instance_status(&Describe::ids([id.to_string()]), false);
        match self.ask("EC2:DescribeInstanceStatus", ask).await {
            Ok(page) => Ok(page.items.iter().any(|status| status.status == "ok")),
            Err(failure) if failure.class == Class::NotFound => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    async fn volumes(&self, ids: &[VolumeId]) -> Reply<Vec<VolumeFacts>> {
        let ask = |cloud: &mut Cloud| cloud.describe_volumes(&among("volume-id", ids));
        Ok(self.ask("EC2:DescribeVolumes", ask).await?.items.iter().map(convert::volume).collect())
    }

    async fn volumes_by_key(&self, key: &str) -> Reply<Vec<VolumeFacts>> {
        let ask = |cloud: &mut Cloud| cloud.describe_volumes(&among(&tag(TAG_KEY), [key]));
        Ok(self.ask("EC2:DescribeVolumes", ask).await?.items.iter().map(convert::volume).collect())
    }

    async fn interfaces(&self, ids: &[InterfaceId]) -> Reply<Vec<InterfaceFacts>> {
        let ask = |cloud: &mut Cloud| cloud.describe_network_interfaces(&among("network-interface-id", ids));
        Ok(self
            .ask("EC2:DescribeNetworkInterfaces", ask)
            .await?
            .items
            .iter()
            .map(convert::interface)
            .collect())
    }

    async fn snapshots(&self, ids: &[SnapshotId]) -> Reply<Vec<SnapshotFacts>> {
        let ask = |cloud: &mut Cloud| cloud.describe_snapshots(&among("snapshot-id", ids));
        Ok(self.ask("EC2:DescribeSnapshots", ask).await?.items.iter().map(convert::snapshot).collect())
    }

    async fn snapshots_by_key(&self, key: &str) -> Reply<Vec<SnapshotFacts>> {
        let ask = |cloud: &mut Cloud| cloud.describe_snapshots(&among(&tag(TAG_KEY), [key]));
        Ok(self.ask("EC2:DescribeSnapshots", ask).await?.items.iter().map(convert::snapshot).collect())
    }

    async fn snapshots_of(&self, volume: &VolumeId) -> Reply<Vec<SnapshotFacts>> {
        let ask = |cloud: &mut Cloud| cloud.describe_snapshots(&among("volume-id", [volume]));
        Ok(self.ask("EC2:DescribeSnapshots", ask).await?.items.iter().map(convert::snapshot).collect())
    }

    async fn snapshots_for(&self, deployment: &str, purposes: &[Purpose]) -> Reply<Vec<SnapshotFacts>> {
        let mut request = among(&tag(TAG_DEPLOYMENT), [deployment]);
        request.filters.extend(among(&tag(TAG_PURPOSE), purposes.iter().map(|p| p.as_str())).filters);
        let ask = |cloud: &mut Cloud| cloud.describe_snapshots(&request);
        Ok(self.ask("EC2:DescribeSnapshots", ask).await?.items.iter().map(convert::snapshot).collect())
    }

    async fn images(&self, ids: &[ImageId]) -> Reply<Vec<ImageFacts>> {
        let ask = |cloud: &mut Cloud| cloud.describe_images(&among("image-id", ids));
        Ok(self.ask("EC2:DescribeImages", ask).await?.items.iter().map(convert::image).collect())
    }

    async fn images_by_name(&self, name: &str) -> Reply<Vec<ImageFacts>> {
        let ask = |cloud: &mut Cloud| cloud.describe_images(&among("name", [name]));
        Ok(self.ask("EC2:DescribeImages", ask).await?.items.iter().map(convert::image).collect())
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
        let made = self.ask(call, |cloud| cloud.run_instances(&convert::launch(request))).await?;
        let none = || {
            perennial_core::failure::Failure::new(Class::Retry, call, "Empty", "no instance in the answer")
        };
        made.first().map(convert::instance).ok_or_else(none)
    }

    async fn terminate(&self, id: &InstanceId) -> Reply<()> {
        let ask = |cloud: &mut Cloud| cloud.terminate_instances(&[id.to_string()]);
        self.ask("EC2:TerminateInstances", ask).await.map(|_| ())
    }

    async fn keep_volumes(&self, instance: &InstanceId, devices: &[String]) -> Reply<()> {
        let kept: Vec<_> = devices.iter().map(|device| (device.clone(), false)).collect();
        let ask = |cloud: &mut Cloud| cloud.modify_block_devices(instance.as_str(), &kept);
        self.ask("EC2:ModifyInstanceAttribute", ask).await
    }

    async fn keep_interface(&self, interface: &InterfaceId, attachment: &str) -> Reply<()> {
        let change =
            InterfaceChange::DeleteOnTermination { attachment_id: attachment.to_owned(), value: false };
        let ask = |cloud: &mut Cloud| cloud.modify_network_interface(interface.as_str(), &change);
        self.ask("EC2:ModifyNetworkInterfaceAttribute", ask).await
    }

    async fn create_interface(&self, request: &InterfaceRequest) -> Reply<InterfaceFacts> {
        let request = CreateNetworkInterface {
            subnet_id: request.subnet.to_string(),
            groups: request.groups.clone(),
            private_ip_address: request.private_ip.map(|ip| ip.to_string()),
            description: Some(request.description.clone()),
            tag_specifications: vec![convert::tagged("network-interface", &request.tags)],
            client_token: Some(request.token.clone()),
        };
        let ask = |cloud: &mut Cloud| cloud.create_network_interface(&request);
        Ok(convert::interface(&self.ask("EC2:CreateNetworkInterface", ask).await?))
    }

    async fn create_snapshot(&self, request: &SnapshotRequest) -> Reply<SnapshotFacts> {
        let tags = [convert::tagged("snapshot", &request.tags)];
        let ask =
            |cloud: &mut Cloud| cloud.create_snapshot(request.volume.as_str(), &request.description, &tags);
        Ok(convert::snapshot(&self.ask("EC2:CreateSnapshot", ask).await?))
    }

    async fn register_image(&self, request: &ImageRequest) -> Reply<ImageId> {
        let unsigned = |n: i32| u32::try_from(n).unwrap_or_default();
        let root = BlockDeviceMapping {
            device_name: request.root_device.clone(),
            ebs: Some(Ebs {
                snapshot_id: Some(request.snapshot.to_string()),
                volume_size: Some(unsigned(request.shape.size_gib)),
                volume_type: Some(request.shape.volume_type.clone()),
                delete_on_termination: Some(true),
                ..Ebs::default()
            }),
            ..BlockDeviceMapping::default()
        };
        let platform = &request.platform;
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
        Ok(ImageId::new(self.ask("EC2:RegisterImage", ask).await?.id))
    }

    async fn delete_volume(&self, id: &VolumeId) -> Reply<()> {
        self.ask("EC2:DeleteVolume", |cloud| cloud.delete_volume(id.as_str())).await
    }

    async fn deregister_image(&self, id: &ImageId) -> Reply<()> {
        self.ask("EC2:DeregisterImage", |cloud| cloud.deregister_image(id.as_str(), false)).await.map(|_| ())
    }

    async fn delete_snapshot(&self, id: &SnapshotId) -> Reply<()> {
        self.ask("EC2:DeleteSnapshot", |cloud| cloud.delete_snapshot(id.as_str())).await
    }
}

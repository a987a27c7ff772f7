//! What an instance is launched with: the same structure in a RunInstances request and in a launch template, and how
//! the two are merged (the request wins, part by part).

use std::collections::BTreeMap;

use super::tags::TagSpecification;
use super::volumes::Wish;

/// Purchasing option.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Market {
    /// Spare capacity that EC2 may take back.
    Spot,
    /// Regular capacity.
    OnDemand,
}

impl Market {
    /// The name the project and the control endpoints use.
    pub const fn name(self) -> &'static str {
        match self {
            Market::Spot => "spot",
            Market::OnDemand => "on-demand",
        }
    }

    /// Reads [`Market::name`] back.
    pub fn parse(name: &str) -> Option<Market> {
        [Market::Spot, Market::OnDemand].into_iter().find(|it| it.name() == name)
    }
}

/// `InstanceMarketOptions`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MarketOptions {
    /// `spot`, or absent.
    pub market_type: Option<String>,
    /// Highest price, dollars an hour.
    pub max_price: Option<String>,
    /// `one-time` or `persistent`.
    pub spot_type: Option<String>,
    /// `terminate`, `stop` or `hibernate`.
    pub interruption_behavior: Option<String>,
    /// End of a persistent request.
    pub valid_until: Option<String>,
}

/// The EBS part of a block device mapping.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ebs {
    /// Snapshot.
    pub snapshot_id: Option<String>,
    /// GiB.
    pub volume_size: Option<u32>,
    /// Type.
    pub volume_type: Option<String>,
    /// Operations a second.
    pub iops: Option<u32>,
    /// MiB a second.
    pub throughput: Option<u32>,
    /// Whether the volume goes with the instance.
    pub delete_on_termination: Option<bool>,
    /// Encryption.
    pub encrypted: Option<bool>,
    /// Key.
    pub kms_key_id: Option<String>,
    /// MiB a second at which the volume is filled; accepted, without effect on the model.
    pub initialization_rate: Option<u32>,
}

impl Ebs {
    pub(crate) fn wish(&self) -> Wish<'_> {
        Wish {
            size: self.volume_size,
            volume_type: self.volume_type.as_deref(),
            iops: self.iops,
            throughput: self.throughput,
            encrypted: self.encrypted,
            kms_key_id: self.kms_key_id.as_deref(),
            snapshot_id: self.snapshot_id.as_deref(),
            multi_attach: None,
        }
    }

    /// Fills what is absent here from `base`; performance only when both speak of the same type.
    fn over(mut self, base: &Ebs) -> Ebs {
        let same_type = self.volume_type.is_none() || self.volume_type == base.volume_type;
        self.snapshot_id = self.snapshot_id.or_else(|| base.snapshot_id.clone());
        self.volume_size = self.volume_size.or(base.volume_size);
        if same_type {
            self.iops = self.iops.or(base.iops);
            self.throughput = self.throughput.or(base.throughput);
        }
        self.volume_type = self.volume_type.or_else(|| base.volume_type.clone());
        self.delete_on_termination = self.delete_on_termination.or(base.delete_on_termination);
        self.encrypted = self.encrypted.or(base.encrypted);
        self.kms_key_id = self.kms_key_id.or_else(|| base.kms_key_id.clone());
        self.initialization_rate = self.initialization_rate.or(base.initialization_rate);
        self
    }
}

/// One block device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockDeviceMapping {
    /// Device name, for example `/dev/xvda`.
    pub device_name: String,
    /// EBS volume.
    pub ebs: Option<Ebs>,
    /// Leaves a device of the image out (any value).
    pub no_device: Option<String>,
    /// Instance store name; accepted and kept, no volume is made.
    pub virtual_name: Option<String>,
}

/// One network interface of a launch: an existing one, or what to make.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfaceSpec {
    /// Position; 0 is the primary one.
    pub device_index: Option<u32>,
    /// An existing interface.
    pub network_interface_id: Option<String>,
    /// Subnet of a new one.
    pub subnet_id: Option<String>,
    /// Security groups of a new one.
    pub groups: Vec<String>,
    /// Address of a new one.
    pub private_ip_address: Option<String>,
    /// Description of a new one.
    pub description: Option<String>,
    /// Whether it goes with the instance; true by default for a new one.
    pub delete_on_termination: Option<bool>,
    /// Accepted, without effect: the model gives out no public addresses but Elastic IP addresses.
    pub associate_public_ip_address: Option<bool>,
    /// `interface`, the only kind here.
    pub interface_type: Option<String>,
}

/// `IamInstanceProfile`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InstanceProfile {
    /// ARN.
    pub arn: Option<String>,
    /// Name.
    pub name: Option<String>,
}

/// Everything a launch can be told, in a request or in a template.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaunchSpec {
    /// Image.
    pub image_id: Option<String>,
    /// Type.
    pub instance_type: Option<String>,
    /// Key pair.
    pub key_name: Option<String>,
    /// Security groups by id.
    pub security_group_ids: Vec<String>,
    /// Security groups by name.
    pub security_group_names: Vec<String>,
    /// Subnet.
    pub subnet_id: Option<String>,
    /// Private address.
    pub private_ip_address: Option<String>,
    /// User data, base64.
    pub user_data: Option<String>,
    /// Instance profile.
    pub iam_instance_profile: Option<InstanceProfile>,
    /// Block devices.
    pub block_devices: Vec<BlockDeviceMapping>,
    /// Network interfaces.
    pub interfaces: Vec<InterfaceSpec>,
    /// Tags by resource type.
    pub tag_specifications: Vec<TagSpecification>,
    /// Market.
    pub market: Option<MarketOptions>,
    /// All other settings, by the API's dotted name, for example `MetadataOptions.HttpTokens` = `required`.
    pub options: BTreeMap<String, String>,
}

/// Which version of which template.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TemplateRef {
    /// Id; exactly one of id and name.
    pub id: Option<String>,
    /// Name.
    pub name: Option<String>,
    /// `$Default` when absent, `$Latest` or a number.
    pub version: Option<String>,
}

/// RunInstances.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunInstances {
    /// What the request itself says.
    pub spec: LaunchSpec,
    /// Least number of instances.
    pub min_count: u32,
    /// Most.
    pub max_count: u32,
    /// Idempotency token.
    pub client_token: Option<String>,
    /// Template beneath.
    pub launch_template: Option<TemplateRef>,
}

/// Mappings of `over` on top of those of `base`, by device name; `NoDevice` takes one away.
pub(crate) fn merge_devices(
    base: &[BlockDeviceMapping],
    over: &[BlockDeviceMapping],
) -> Vec<BlockDeviceMapping> {
    let mut merged: Vec<BlockDeviceMapping> = base.to_vec();
    for mapping in over {
        let place = merged.iter().position(|it| it.device_name == mapping.device_name);
        match place {
            Some(at) => {
                if let (Some(below), Some(ebs)) = (&merged[at].ebs, &mapping.ebs) {
                    let ebs = ebs.clone().over(below);
                    merged[at] = BlockDeviceMapping { ebs: Some(ebs), ..mapping.clone() };
                } else {
                    merged[at] = mapping.clone();
                }
            }
            None => merged.push(mapping.clone()),
        }
    }
    merged
}

fn either<T: Clone>(over: Vec<T>, base: &[T]) -> Vec<T> {
    if over.is_empty() { base.to_vec() } else { over }
}

impl LaunchSpec {
    /// This request on top of a template's data.
    pub(crate) fn over(mut self, base: &LaunchSpec) -> LaunchSpec {
        let mut tags = base.tag_specifications.clone();
        for own in self.tag_specifications {
            match tags.iter_mut().find(|it| it.resource_type == own.resource_type) {
                Some(specification) => specification.tags.extend(own.tags),
                None => tags.push(own),
            }
        }
        let group = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
        let said: Vec<String> = self.options.keys().map(|name| group(name)).collect();
        for (name, value) in &base.options {
            if !said.contains(&group(name)) {
                self.options.insert(name.clone(), value.clone());
            }
        }
        let groups_said = !self.security_group_ids.is_empty() || !self.security_group_names.is_empty();
        let below = |list: &[String]| if groups_said { Vec::new() } else { list.to_vec() };
        LaunchSpec {
            image_id: self.image_id.or_else(|| base.image_id.clone()),
            instance_type: self.instance_type.or_else(|| base.instance_type.clone()),
            key_name: self.key_name.or_else(|| base.key_name.clone()),
            security_group_ids: either(self.security_group_ids, &below(&base.security_group_ids)),
            security_group_names: either(self.security_group_names, &below(&base.security_group_names)),
            subnet_id: self.subnet_id.or_else(|| base.subnet_id.clone()),
            private_ip_address: self.private_ip_address.or_else(|| base.private_ip_address.clone()),
            user_data: self.user_data.or_else(|| base.user_data.clone()),
            iam_instance_profile: self.iam_instance_profile.or_else(|| base.iam_instance_profile.clone()),
            block_devices: merge_devices(&base.block_devices, &self.block_devices),
            interfaces: either(self.interfaces, &base.interfaces),
            tag_specifications: tags,
            market: self.market.or_else(|| base.market.clone()),
            options: self.options,
        }
    }

    /// One of [`LaunchSpec::options`].
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(String::as_str)
    }
}

//! RunInstances: everything is checked before anything is made, so that a refused launch leaves nothing behind.
//!
//! A client token answers with what its first successful call made, and is not used up by a refusal. The combinations
//! refused here are those the API reference names for network interfaces and markets; block devices are decided in
//! `launch_devices`.

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::catalog::{ARM64, InstanceType, addresses_per_interface, instance_type};
use super::instances::{Instance, InstanceInterface, InstanceState};
use super::interfaces::InterfaceAttachment;
use super::launch_devices::{PlannedDevice, check_mappings};
use super::launch_spec::{InstanceProfile, InterfaceSpec, LaunchSpec, RunInstances};
use super::tags;
use super::{ApiError, Cloud, Image, Kind, Market, Remembered, Subnet};

/// Resource types RunInstances can tag.
const TAGGABLE: &[&str] = &["instance", "volume", "network-interface", "spot-instances-request"];

/// Most bytes of user data before encoding (EC2 User Guide, *Run commands at launch*).
const USER_DATA_LIMIT: usize = 16 * 1024;

/// Refuses a token that was used with other parameters.
pub(crate) fn same<T: PartialEq>(earlier: &T, now: &T) -> Result<(), ApiError> {
    if earlier == now {
        return Ok(());
    }
    Err(ApiError::new(
        "IdempotentParameterMismatch",
        "The client token you have provided is associated with a resource that is already deleted or whose parameters differ. Please use a different client token.",
    ))
}

/// An interface of a launch, checked.
enum Nic {
    Existing(String),
    New { subnet: Subnet, addresses: Vec<Ipv4Addr>, groups: Vec<String>, description: String },
}

/// A checked launch.
struct Plan {
    image: Image,
    kind: &'static InstanceType,
    market: Market,
    zone: String,
    /// Position, interface, whether it goes with the instance.
    nics: Vec<(u32, Nic, bool)>,
    devices: Vec<PlannedDevice>,
    spec: LaunchSpec,
}

fn check_counts(request: &RunInstances) -> Result<(), ApiError> {
    if request.min_count == 0 || request.max_count == 0 {
        return Err(ApiError::value("The minimum and maximum count must be greater than 0."));
    }
    if request.min_count > request.max_count {
        return Err(ApiError::combination("The minimum count must not be greater than the maximum count."));
    }
    if request.max_count > 1000 {
        return Err(ApiError::value("The maximum count must not be greater than 1000."));
    }
    check_token(request.client_token.as_deref())
}

/// Refuses a token that is too long, or not ASCII (EC2 developer guide, *Ensuring idempotency*).
pub(crate) fn check_token(token: Option<&str>) -> Result<(), ApiError> {
    if token.is_some_and(|it| it.is_empty() || it.len() > 64 || !it.is_ascii()) {
        return Err(ApiError::value("The client token must be 1 to 64 ASCII characters."));
    }
    Ok(())
}

fn check_user_data(spec: &LaunchSpec) -> Result<(), ApiError> {
    let Some(data) = &spec.user_data else { return Ok(()) };
    let shaped = |c: u8| c.is_ascii_alphanumeric() || b"+/=\n\r".contains(&c);
    if !data.bytes().all(shaped) {
        return Err(ApiError::new("InvalidUserData.Malformed", "Invalid BASE64 encoding of user data."));
    }
    if data.len() / 4 * 3 > USER_DATA_LIMIT + 2 {
        return Err(ApiError::value("User data is limited to 16384 bytes"));
    }
    Ok(())
}

/// What may not stand beside network interfaces in one request.
fn check_interface_combinations(spec: &LaunchSpec, max_count: u32) -> Result<(), ApiError> {
    if spec.interfaces.is_empty() {
        if spec.private_ip_address.is_some() && max_count > 1 {
            return Err(ApiError::combination(
                "A private IP address may not be specified for multiple instances",
            ));
        }
        return Ok(());
    }
    let beside = |what: &str| {
        Err(ApiError::combination(format!(
            "Network interfaces and an instance-level {what} may not be specified on the same request"
        )))
    };
    if spec.subnet_id.is_some() {
        return beside("subnet ID");
    }
    if !spec.security_group_ids.is_empty() || !spec.security_group_names.is_empty() {
        return beside("security groups");
    }
    if spec.private_ip_address.is_some() {
        return beside("private address");
    }
    let mut taken = Vec::new();
    for nic in &spec.interfaces {
        check_interface(nic, max_count)?;
        let index = nic.device_index.unwrap_or(0);
        if taken.contains(&index) {
            return Err(ApiError::value(format!(
                "Each network interface requires a unique device index: {index} is given twice."
            )));
        }
        taken.push(index);
    }
    if !taken.contains(&0) {
        return Err(ApiError::value("A network interface with device index 0 is required."));
    }
    Ok(())
}

fn check_interface(nic: &InterfaceSpec, max_count: u32) -> Result<(), ApiError> {
    if nic.device_index.is_none() {
        return Err(ApiError::value("Each network interface requires a device index."));
    }
    if nic.interface_type.as_deref().is_some_and(|it| it != "interface") {
        return Err(ApiError::value("The local cloud offers only the interface type 'interface'."));
    }
    if nic.network_interface_id.is_none() {
        if nic.private_ip_address.is_some() && max_count > 1 {
            return Err(ApiError::combination(
                "A private IP address may not be specified for multiple instances",
            ));
        }
        return Ok(());
    }
    let beside = |what: &str| {
        Err(ApiError::combination(format!(
            "A network interface may not specify both a network interface ID and {what}"
        )))
    };
    if nic.subnet_id.is_some() {
        return beside("a subnet ID");
    }
    if !nic.groups.is_empty() {
        return beside("security groups");
    }
    if nic.private_ip_address.is_some() {
        return beside("a private IP address");
    }
    if nic.description.is_some() {
        return beside("a description");
    }
    if nic.associate_public_ip_address == Some(true) {
        return beside("the associatePublicIPAddress parameter");
    }
    if nic.delete_on_termination == Some(true) {
        return beside("delete on termination as true");
    }
    if max_count > 1 {
        return Err(ApiError::combination(
            "A network interface ID may not be specified for multiple instances",
        ));
    }
    Ok(())
}

impl Cloud {
    /// RunInstances.
    pub fn run_instances(&mut self, request: &RunInstances) -> Result<Vec<Instance>, ApiError> {
        const ACTION: &str = "RunInstances";
        self.admit(ACTION)?;
        check_counts(request)?;
        let token = request.client_token.as_ref().map(|token| (ACTION, token.clone()));
        if let Some(Remembered::Run(earlier, ids)) = token.as_ref().and_then(|key| self.tokens.get(key)) {
            same(&**earlier, request)?;
            return self.launched_before(ids);
        }
        let plan = self.plan_launch(request)?;
        self.admit_resources(ACTION, request.max_count as usize)?;
        let (least, most) = (request.min_count, request.max_count);
        let count = self.take_capacity(plan.kind.name, &plan.zone, plan.market, least, most)?;
        let reservation = self.ids.next("r-");
        let ids: Vec<String> =
            (0..count).map(|index| self.launch(&plan, &reservation, index, request)).collect();
        if let Some(key) = token {
            self.tokens.insert(key, Remembered::Run(Arc::new(request.clone()), ids.clone()));
        }
        Ok(ids.iter().filter_map(|id| self.instances.get(id).cloned()).collect())
    }

    /// The answer to a token used before: the instances as they are now.
    fn launched_before(&self, ids: &[String]) -> Result<Vec<Instance>, ApiError> {
        let found: Vec<Instance> = ids
            .iter()
            .filter_map(|id| self.instances.get(id))
            .filter(|it| it.state != InstanceState::Terminated)
            .cloned()
            .collect();
        if found.is_empty() {
            return Err(ApiError::new(
                "IdempotentInstanceTerminated",
                "The instance launched with this client token has been terminated.",
            ));
        }
        Ok(found)
    }

    fn plan_launch(&self, request: &RunInstances) -> Result<Plan, ApiError> {
        let mut spec = request.spec.clone();
        check_mappings(&spec.block_devices)?;
        if let Some(which) = &request.launch_template {
            let version = which.version.as_deref().unwrap_or("$Default");
            let data = &self.template(which)?.version(version)?.data;
            check_mappings(&data.block_devices)?;
            spec = spec.over(data);
        }
        tags::check_specifications(&spec.tag_specifications, TAGGABLE)?;
        check_user_data(&spec)?;
        check_interface_combinations(&spec, request.max_count)?;
        let image_id = spec.image_id.as_deref().ok_or_else(|| ApiError::missing("ImageId"))?;
        let type_name = spec.instance_type.as_deref().unwrap_or("m1.small");
        let kind = instance_type(type_name)
            .ok_or_else(|| ApiError::value(format!("Invalid value '{type_name}' for InstanceType.")))?;
        let image = self.launchable_image(image_id)?.clone();
        if image.architecture() != kind.architecture {
            return Err(ApiError::value(format!(
                "The architecture '{}' of the specified instance type does not match the architecture '{}' of the specified AMI. Specify an instance type and an AMI that have matching architectures, and try again.",
                kind.architecture,
                image.architecture()
            )));
        }
        if image.virtualization() != "hvm" {
            return Err(ApiError::combination(format!(
                "Non-Windows instances with a virtualization type of '{}' are not supported for this instance type.",
                image.virtualization()
            )));
        }
        let market = Cloud::check_market(spec.market.as_ref(), kind)?;
        if market == Market::Spot && spec.option("DisableApiTermination") == Some("true") {
            return Err(ApiError::combination(
                "Termination protection cannot be enabled for Spot instances.",
            ));
        }
        let devices = self.plan_devices(&image, &spec)?;
        let nics = self.plan_interfaces(&spec, request.max_count)?;
        self.check_address_limits(&nics, kind)?;
        let zone = self.zone_of(&nics, &spec)?;
        Ok(Plan { image, kind, market, zone, nics, devices, spec })
    }

    fn plan_interfaces(&self, spec: &LaunchSpec, count: u32) -> Result<Vec<(u32, Nic, bool)>, ApiError> {
        let count = count as usize;
        if spec.interfaces.is_empty() {
            let subnet = match &spec.subnet_id {
                Some(id) => self.subnet(id)?.clone(),
                None => self.default_subnet(spec.option("Placement.AvailabilityZone"))?.clone(),
            };
            let mut groups = spec.security_group_ids.clone();
            for name in &spec.security_group_names {
                let named = |it: &&super::SecurityGroup| it.vpc_id == subnet.vpc_id && it.name == *name;
                let group = self.groups.values().find(named);
                groups.push(group.ok_or_else(|| Kind::SecurityGroup.not_found(name))?.id.clone());
            }
            let groups = self.groups_in(&subnet.vpc_id, &groups)?;
            let addresses = self.choose_addresses(&subnet.id, spec.private_ip_address.as_deref(), count)?;
            let nic = Nic::New { subnet, addresses, groups, description: String::new() };
            return Ok(vec![(0, nic, true)]);
        }
        let mut nics = Vec::new();
        for nic in &spec.interfaces {
            let index = nic.device_index.unwrap_or(0);
            if let Some(id) = &nic.network_interface_id {
                if self.interface(id)?.attachment.is_some() {
                    return Err(ApiError::new(
                        "InvalidNetworkInterface.InUse",
                        format!("Interface: [{id}] in use."),
                    ));
                }
                nics.push((index, Nic::Existing(id.clone()), false));
                continue;
            }
            let subnet = match &nic.subnet_id {
                Some(id) => self.subnet(id)?.clone(),
                None => self.default_subnet(spec.option("Placement.AvailabilityZone"))?.clone(),
            };
            let groups = self.groups_in(&subnet.vpc_id, &nic.groups)?;
            let addresses = self.choose_addresses(&subnet.id, nic.private_ip_address.as_deref(), count)?;
            let description = nic.description.clone().unwrap_or_default();
            let goes = nic.delete_on_termination.unwrap_or(true);
            nics.push((index, Nic::New { subnet, addresses, groups, description }, goes));
        }
        nics.sort_by_key(|(index, _, _)| *index);
        Ok(nics)
    }

    /// Refuses kept interfaces with more addresses than the type takes, and new ones beyond the account's quota.
    fn check_address_limits(&self, nics: &[(u32, Nic, bool)], kind: &InstanceType) -> Result<(), ApiError> {
        let most = addresses_per_interface(kind.name).unwrap_or(usize::MAX);
        let mut new = 0;
        for (_, nic, _) in nics {
            match nic {
                Nic::New { addresses, .. } => new += addresses.len(),
                Nic::Existing(id) if self.interface(id)?.most_addresses() > most => {
                    return Err(ApiError::new(
                        "InvalidInterface.IpAddressLimitExceeded",
                        format!(
                            "The number of IP addresses of the network interface {id} exceeds the limit of {most} for the instance type {}.",
                            kind.name
                        ),
                    ));
                }
                Nic::Existing(_) => {}
            }
        }
        self.check_interface_quota(new)
    }

    fn default_subnet(&self, zone: Option<&str>) -> Result<&Subnet, ApiError> {
        if let Some(zone) = zone.filter(|zone| !self.settings.zones.iter().any(|it| it == zone)) {
            return Err(ApiError::value(format!("Invalid availability zone: [{zone}]")));
        }
        let fits = |it: &&Subnet| it.is_default && zone.is_none_or(|zone| zone == it.zone);
        // The first Zone's, so that the answer does not depend on how ids happen to sort.
        self.subnets.values().filter(fits).min_by(|a, b| a.zone.cmp(&b.zone)).ok_or_else(|| {
            ApiError::new("MissingInput", "No subnets found for the default VPC. Please specify a subnet.")
        })
    }

    /// The Zone all interfaces are in, which must also be the one asked for.
    fn zone_of(&self, nics: &[(u32, Nic, bool)], spec: &LaunchSpec) -> Result<String, ApiError> {
        let mut zone = spec.option("Placement.AvailabilityZone").map(str::to_owned);
        for (_, nic, _) in nics {
            let its = match nic {
                Nic::Existing(id) => self.interface(id)?.zone.clone(),
                Nic::New { subnet, .. } => subnet.zone.clone(),
            };
            if zone.as_ref().is_some_and(|zone| *zone != its) {
                return Err(ApiError::value(format!(
                    "The network interfaces of the request are in zone {its}, the request is for zone {}.",
                    zone.unwrap_or_default()
                )));
            }
            zone = Some(its);
        }
        zone.ok_or_else(|| ApiError::missing("SubnetId"))
    }

    /// Makes one instance of a checked launch.
    fn launch(&mut self, plan: &Plan, reservation: &str, index: u32, request: &RunInstances) -> String {
        let mut instance = self.draft(plan, reservation, index, request);
        let tags = tags::for_type(&plan.spec.tag_specifications, "volume");
        for device in &plan.devices {
            self.make_device(&mut instance, device, tags.clone());
        }
        for (position, nic, goes) in &plan.nics {
            self.make_interface(&mut instance, *position, nic, *goes, plan);
        }
        let id = instance.id.clone();
        self.instances.insert(id.clone(), instance);
        self.begin_start(&id);
        id
    }

    fn draft(&mut self, plan: &Plan, reservation: &str, index: u32, request: &RunInstances) -> Instance {
        let (image, spec) = (&plan.image, &plan.spec);
        let boot_mode = image.spec.boot_mode.clone();
        let current_boot_mode = match boot_mode.as_deref() {
            Some("uefi" | "uefi-preferred") => "uefi",
            None if plan.kind.architecture == ARM64 => "uefi",
            Some(_) | None => "legacy-bios",
        };
        let account = &self.settings.account;
        let profile = spec.iam_instance_profile.as_ref().map(|it| InstanceProfile {
            arn: it.arn.clone().or_else(|| {
                it.name.as_ref().map(|name| format!("arn:aws:iam::{account}:instance-profile/{name}"))
            }),
            name: it.name.clone(),
        });
        Instance {
            id: self.ids.of(Kind::Instance),
            reservation_id: reservation.to_owned(),
            launch_index: index,
            state: InstanceState::Pending,
            image_id: image.id.clone(),
            instance_type: plan.kind.name.to_owned(),
            market: plan.market,
            spot_request_id: (plan.market == Market::Spot).then(|| self.ids.spot_request()),
            launch_time: self.now,
            running_since: None,
            reclaimed_at: None,
            state_reason: None,
            ended: None,
            root_device_name: image.root_device().to_owned(),
            block_devices: std::collections::BTreeMap::new(),
            interfaces: Vec::new(),
            private_ip: None,
            subnet_id: None,
            vpc_id: None,
            zone: plan.zone.clone(),
            architecture: plan.kind.architecture.to_owned(),
            billing: image.billing.clone(),
            virtualization_type: image.virtualization().to_owned(),
            ena_support: image.spec.ena_support.unwrap_or(false),
            sriov_net_support: image.spec.sriov_net_support.clone(),
            boot_mode,
            current_boot_mode,
            tpm_support: image.spec.tpm_support.clone(),
            imds_support: image.spec.imds_support.clone(),
            uefi_data: image.spec.uefi_data.clone(),
            client_token: request.client_token.clone(),
            tags: tags::for_type(&spec.tag_specifications, "instance"),
            security_groups: Vec::new(),
            key_name: spec.key_name.clone(),
            iam_instance_profile: profile,
            user_data: spec.user_data.clone(),
            options: spec.options.clone(),
            impaired_since: self.spoiled.contains(&image.id).then_some(self.now),
            created: self.now,
            epoch: 0,
        }
    }

    fn make_interface(
        &mut self,
        instance: &mut Instance,
        position: u32,
        nic: &Nic,
        delete_on_termination: bool,
        plan: &Plan,
    ) {
        let id = match nic {
            Nic::Existing(id) => id.clone(),
            Nic::New { subnet, addresses, groups, description } => {
                let address = addresses.get(instance.launch_index as usize).copied();
                let tags = tags::for_type(&plan.spec.tag_specifications, "network-interface");
                let address = address.unwrap_or(Ipv4Addr::UNSPECIFIED);
                self.build_interface(subnet, address, groups.clone(), description, tags)
            }
        };
        let held = InterfaceAttachment {
            id: self.ids.next("eni-attach-"),
            instance_id: instance.id.clone(),
            device_index: position,
            attach_time: self.now,
            delete_on_termination,
        };
        let Some(interface) = self.interfaces.get_mut(&id) else { return };
        if position == 0 {
            instance.private_ip = Some(interface.private_ip);
            instance.subnet_id = Some(interface.subnet_id.clone());
            instance.vpc_id = Some(interface.vpc_id.clone());
            instance.security_groups.clone_from(&interface.groups);
        }
        instance.interfaces.push(InstanceInterface {
            network_interface_id: id,
            attachment_id: held.id.clone(),
            device_index: position,
            delete_on_termination,
            attach_time: self.now,
        });
        interface.attachment = Some(held);
    }
}

//! Whether what a config refers to exists in AWS and fits together.
//!
//! The syntax is right or its problems are known already; here the launch template, the image, the
//! subnets and the address are held against what AWS says of them.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde_json::Value;

use super::reader::problem;
use super::{Draft, Problem, TemplateRef};
use crate::ids::{ImageId, SubnetId};
use crate::launch::TemplateFacts;
use crate::observation::{ImageFacts, ImageState, SubnetFacts};

/// What AWS says of the things a config refers to.
#[derive(Clone, Debug, Default)]
pub struct Referred {
    /// The launch template in the version meant, if it exists.
    pub template: Option<TemplateFacts>,
    /// Subnets that exist, the template's own included.
    pub subnets: BTreeMap<SubnetId, SubnetFacts>,
    /// Images that exist, the template's own included.
    pub images: BTreeMap<ImageId, ImageFacts>,
}

/// Holds a draft against what AWS says. Returns every problem, in the order of their places.
pub fn check(draft: &Draft, referred: &Referred) -> Vec<Problem> {
    let mut problems = Vec::new();
    let template = referred.template.as_ref();
    if draft.has_template {
        check_template(draft, template, &mut problems);
    }
    check_image(draft, referred, &mut problems);
    check_subnets(draft, referred, &mut problems);
    problems
}

fn check_template(draft: &Draft, template: Option<&TemplateFacts>, problems: &mut Vec<Problem>) {
    let spec = &draft.config.launch.template;
    let (path, name) = match &spec.which {
        TemplateRef::Id(id) => ("launch.template.id", id),
        TemplateRef::Name(name) => ("launch.template.name", name),
    };
    let Some(template) = template else {
        let remedy = format!(
            "there is no such launch template with version {} in this account and Region: correct it or create it",
            spec.version
        );
        problems.push(problem(path, &Value::from(name.as_str()), remedy));
        return;
    };
    for unsupported in &template.unsupported {
        let remedy = format!(
            "version {} of the launch template sets {}, which a stateful node cannot carry: {}",
            template.version, unsupported.what, unsupported.remedy
        );
        problems.push(problem(path, &Value::from(name.as_str()), remedy));
    }
    if draft.config.launch.instance_types.is_empty() && template.instance_type.is_none() {
        let remedy = "neither the item nor the launch template names an instance type: name at least one";
        problems.push(problem("launch.instanceTypes", &Value::Null, remedy));
    }
}

fn check_image(draft: &Draft, referred: &Referred, problems: &mut Vec<Problem>) {
    let own = draft.config.launch.image.as_ref();
    let of_template = referred.template.as_ref().and_then(|t| t.image.as_ref());
    let Some(id) = own.or(of_template) else {
        if referred.template.is_some() {
            let remedy = "neither the item nor the launch template names an image: name one";
            problems.push(problem("launch.image", &Value::Null, remedy));
        }
        return;
    };
    let value = Value::from(id.as_str());
    match referred.images.get(id) {
        None => {
            let remedy = "there is no such image for this account in this Region: correct it or share it";
            problems.push(problem("launch.image", &value, remedy));
        }
        Some(image) if !image.ebs_root => {
            let remedy = "its root is an instance store, which nothing can keep: use an EBS-backed image";
            problems.push(problem("launch.image", &value, remedy));
        }
        Some(image) if !matches!(image.state, ImageState::Available | ImageState::Pending) => {
            let remedy = "the image cannot be launched in its present state: use one that is available";
            problems.push(problem("launch.image", &value, remedy));
        }
        Some(_) => {}
    }
}

fn check_subnets(draft: &Draft, referred: &Referred, problems: &mut Vec<Problem>) {
    let launch = &draft.config.launch;
    for (n, id) in launch.subnets.iter().enumerate() {
        if !referred.subnets.contains_key(id) {
            let remedy = "there is no such subnet in this account and Region: correct it";
            problems.push(problem(&format!("launch.subnets[{n}]"), &Value::from(id.as_str()), remedy));
        }
    }
    let of_template = referred.template.as_ref().and_then(|t| t.subnet.clone());
    let candidates: Vec<_> = if launch.subnets.is_empty() {
        of_template.iter().filter_map(|id| referred.subnets.get(id)).collect()
    } else {
        launch.subnets.iter().filter_map(|id| referred.subnets.get(id)).collect()
    };
    if launch.subnets.is_empty() && of_template.is_none() && referred.template.is_some() {
        let remedy = "neither the item nor the launch template names a subnet: name at least one";
        problems.push(problem("launch.subnets", &Value::Null, remedy));
    }
    let address = draft.config.persist.network.as_ref().and_then(|n| n.private_ip);
    if let Some(address) = address.filter(|_| !candidates.is_empty()) {
        let value = Value::from(address.to_string());
        match candidates.iter().find(|subnet| subnet.cidr.contains(&address)) {
            None => {
                let ranges: Vec<_> = candidates.iter().map(|s| format!("{} ({})", s.id, s.cidr)).collect();
                let remedy = format!("outside every subnet of the node: {}", ranges.join(", "));
                problems.push(problem("persist.network.privateIp", &value, remedy));
            }
            Some(subnet) if is_reserved(subnet.cidr, address) => {
                let remedy = format!(
                    "AWS reserves the first four addresses and the last one of {}: take another",
                    subnet.cidr
                );
                problems.push(problem("persist.network.privateIp", &value, remedy));
            }
            Some(_) => {}
        }
    }
}

/// Whether AWS keeps an address of a subnet to itself: the first four and the last.
pub fn is_reserved(cidr: Ipv4Net, address: Ipv4Addr) -> bool {
    let (first, last) = (u32::from(cidr.network()), u32::from(cidr.broadcast()));
    let address = u32::from(address);
    address < first.saturating_add(4) || address == last
}

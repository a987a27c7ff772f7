//! Whether what a config refers to exists in AWS and fits together.
//!
//! The syntax is right or its problems are known already; here the launch template, the image, the
//! subnets and the address are held against what AWS says of them.

use serde_json::Value;
use std::collections::BTreeMap;

use super::addresses::Claims;
use super::reader::problem;
use super::{Draft, Problem, TemplateRef, addresses};
use crate::ids::{AllocationId, ImageId, SubnetId};
use crate::launch::TemplateFacts;
use crate::observation::{AddressFacts, ImageFacts, ImageState, InterfaceFacts, SubnetFacts};

/// What AWS says of the things a config refers to.
#[derive(Clone, Debug, Default)]
pub struct Referred {
    /// The launch template in the version meant, if it exists.
    pub template: Option<TemplateFacts>,
    /// Subnets that exist, the template's own included.
    pub subnets: BTreeMap<SubnetId, SubnetFacts>,
    /// Images that exist, the template's own included.
    pub images: BTreeMap<ImageId, ImageFacts>,
    /// Interfaces that have an address asked for.
    pub holders: Vec<InterfaceFacts>,
    /// Elastic IP addresses that exist.
    pub elastic_ips: BTreeMap<AllocationId, AddressFacts>,
    /// What others of the deployment claim.
    pub claims: Claims,
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
    addresses::check_node(draft, referred, &mut problems);
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
    if launch.subnets.is_empty() && of_template.is_none() && referred.template.is_some() {
        let remedy = "neither the item nor the launch template names a subnet: name at least one";
        problems.push(problem("launch.subnets", &Value::Null, remedy));
    }
}

/// The subnets that a config may place its nodes in, as far as they exist; `None` if none is named.
pub(super) fn candidates<'r>(draft: &Draft, referred: &'r Referred) -> Option<Vec<&'r SubnetFacts>> {
    let named = &draft.config.launch.subnets;
    let of_template = referred.template.as_ref().and_then(|t| t.subnet.clone());
    let ids: Vec<_> = if named.is_empty() { of_template.into_iter().collect() } else { named.clone() };
    (!ids.is_empty()).then(|| ids.iter().filter_map(|id| referred.subnets.get(id)).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::parse;
    use crate::launch::Unsupported;
    use crate::observation::Platform;

    fn subnet(id: &str, cidr: &str) -> SubnetFacts {
        SubnetFacts { id: SubnetId::new(id), zone: "us-east-1a".into(), cidr: cidr.parse().unwrap() }
    }

    fn image(id: &str) -> ImageFacts {
        ImageFacts {
            id: ImageId::new(id),
            name: String::new(),
            state: ImageState::Available,
            state_reason: String::new(),
            root_device: "/dev/xvda".into(),
            ebs_root: true,
            root_snapshot: None,
            devices: Vec::new(),
            snapshots: Vec::new(),
            created_at: None,
            platform: Platform::default(),
            tags: Default::default(),
        }
    }

    /// An account with one template, one image and two subnets.
    fn account() -> Referred {
        let template = TemplateFacts {
            id: "lt-1".into(),
            version: 4,
            image: Some(ImageId::new("ami-1")),
            instance_type: Some("m5.large".into()),
            subnet: Some(SubnetId::new("subnet-1")),
            ..TemplateFacts::default()
        };
        let subnets = [subnet("subnet-1", "10.0.1.0/24"), subnet("subnet-2", "10.0.2.0/24")];
        Referred {
            template: Some(template),
            subnets: subnets.into_iter().map(|s| (s.id.clone(), s)).collect(),
            images: [(ImageId::new("ami-1"), image("ami-1"))].into(),
            ..Referred::default()
        }
    }

    fn problems(launch: Value, network: Value, account: &Referred) -> Vec<String> {
        let mut item = json!({"id": "node#db", "launch": {"template": {"name": "base"}}});
        for (key, value) in launch.as_object().unwrap() {
            item["launch"][key] = value.clone();
        }
        if !network.is_null() {
            item["persist"] = json!({"network": network});
        }
        let draft = parse(&item);
        assert_eq!(draft.problems, []);
        check(&draft, account).into_iter().map(|p| p.path).collect()
    }

    #[test]
    fn an_item_that_leaves_all_to_a_good_template_is_good() {
        assert_eq!(problems(json!({}), json!({"privateIp": "10.0.1.20"}), &account()), [""; 0]);
    }

    #[test]
    fn what_does_not_exist_is_named_each_in_its_place() {
        let launch = json!({"image": "ami-9", "subnets": ["subnet-2", "subnet-9"]});
        let found = problems(launch, json!({"privateIp": "10.0.1.20"}), &account());
        assert_eq!(found, ["launch.image", "launch.subnets[1]", "persist.network.privateIp"]);
        let none = Referred { template: None, ..account() };
        let found = problems(json!({"subnets": ["subnet-9"]}), json!({"privateIp": "10.0.1.20"}), &none);
        assert_eq!(found, ["launch.template.name", "launch.subnets[0]", "persist.network.privateIp"]);
    }

    #[test]
    fn addresses_that_aws_reserves_are_refused() {
        for last in [0, 1, 2, 3, 255] {
            let network = json!({"privateIp": format!("10.0.1.{last}")});
            assert_eq!(problems(json!({}), network, &account()), ["persist.network.privateIp"], "{last}");
        }
        for last in [4, 254] {
            let network = json!({"privateIp": format!("10.0.1.{last}")});
            assert_eq!(problems(json!({}), network, &account()), [""; 0], "{last}");
        }
    }

    #[test]
    fn what_nobody_names_or_nothing_can_keep_is_refused() {
        let mut bare = account();
        bare.template = Some(TemplateFacts { version: 1, ..TemplateFacts::default() });
        let expected = ["launch.instanceTypes", "launch.image", "launch.subnets"];
        assert_eq!(problems(json!({}), Value::Null, &bare), expected);
        let mut ephemeral = account();
        ephemeral.images.get_mut(&ImageId::new("ami-1")).unwrap().ebs_root = false;
        assert_eq!(problems(json!({}), Value::Null, &ephemeral), ["launch.image"]);
        let mut hibernating = account();
        let what = Unsupported { what: "HibernationOptions".into(), remedy: "remove it".into() };
        hibernating.template.as_mut().unwrap().unsupported.push(what);
        assert_eq!(problems(json!({}), Value::Null, &hibernating), ["launch.template.name"]);
    }
}

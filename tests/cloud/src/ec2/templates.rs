//! Launch templates on the wire.

use crate::model::{
    ApiError, Cloud, CreateLaunchTemplate, LaunchTemplate, TemplateRef, TemplateVersion, Versions,
};

use super::launch;
use super::query::Params;
use super::xml::Nodes;

fn creator(cloud: &Cloud) -> String {
    format!("arn:aws:iam::{}:root", cloud.settings().account)
}

fn write(cloud: &Cloud, it: &LaunchTemplate) -> Nodes {
    Nodes::new()
        .text("launchTemplateId", &it.id)
        .text("launchTemplateName", &it.name)
        .time("createTime", it.create_time)
        .text("createdBy", creator(cloud))
        .text("defaultVersionNumber", it.default_version)
        .text("latestVersionNumber", it.latest_version())
        .tags(&it.tags)
}

fn write_version(cloud: &Cloud, it: &TemplateVersion) -> Nodes {
    let default = cloud.launch_templates().find(|template| template.id == it.template_id);
    Nodes::new()
        .text("launchTemplateId", &it.template_id)
        .text("launchTemplateName", &it.template_name)
        .text("versionNumber", it.number)
        .maybe("versionDescription", it.description.as_ref())
        .time("createTime", it.create_time)
        .text("createdBy", creator(cloud))
        .text("defaultVersion", default.is_some_and(|template| template.default_version == it.number))
        .node("launchTemplateData", launch::write(&it.data))
}

fn data(p: &mut Params) -> Result<crate::model::LaunchSpec, ApiError> {
    let mut part = p.part("LaunchTemplateData");
    if part.is_empty() {
        return Err(ApiError::missing("LaunchTemplateData"));
    }
    let data = launch::read(&mut part)?;
    part.finish()?;
    if data.subnet_id.is_some() || data.private_ip_address.is_some() {
        return Err(ApiError::new(
            "UnknownParameter",
            "Launch template data has no SubnetId or PrivateIpAddress outside its network interfaces",
        ));
    }
    Ok(data)
}

pub(super) fn create(cloud: &mut Cloud, p: &mut Params) -> Result<Nodes, ApiError> {
    let request = CreateLaunchTemplate {
        name: p.need("LaunchTemplateName")?,
        version_description: p.text("VersionDescription"),
        data: data(p)?,
        tag_specifications: p.tag_specifications()?,
        client_token: p.text("ClientToken").filter(|it| !it.is_empty()),
    };
    p.end()?;
    let template = cloud.create_launch_template(&request)?;
    Ok(Nodes::new().node("launchTemplate", write(cloud, &template)))
}

fn which(p: &mut Params) -> TemplateRef {
    TemplateRef { id: p.text("LaunchTemplateId"), name: p.text("LaunchTemplateName"), version: None }
}

pub(super) fn create_version(cloud: &mut Cloud, p: &mut Params) -> Result<Nodes, ApiError> {
    let template = which(p);
    let description = p.text("VersionDescription");
    let data = data(p)?;
    p.end()?;
    let version = cloud.create_launch_template_version(&template, description, data)?;
    Ok(Nodes::new().node("launchTemplateVersion", write_version(cloud, &version)))
}

pub(super) fn delete(cloud: &mut Cloud, p: &mut Params) -> Result<Nodes, ApiError> {
    let template = which(p);
    p.end()?;
    let gone = cloud.delete_launch_template(&template)?;
    Ok(Nodes::new().node("launchTemplate", write(cloud, &gone)))
}

pub(super) fn describe(cloud: &mut Cloud, p: &mut Params) -> Result<Nodes, ApiError> {
    let request = p.describe("LaunchTemplateId")?;
    let names = p.list("LaunchTemplateName")?;
    p.end()?;
    let page = cloud.describe_launch_templates(&request, &names)?;
    Ok(Nodes::new()
        .list("launchTemplates", &page.items, |it| write(cloud, it))
        .maybe("nextToken", page.next_token.as_ref()))
}

pub(super) fn describe_versions(cloud: &mut Cloud, p: &mut Params) -> Result<Nodes, ApiError> {
    let request = Versions {
        template: which(p),
        names: p.list("LaunchTemplateVersion")?,
        least: p.number("MinVersion")?,
        most: p.number("MaxVersion")?,
        page: p.describe("")?,
    };
    // Image ids in templates are plain here, never aliases of a parameter store.
    p.flag("ResolveAlias")?;
    p.end()?;
    let page = cloud.describe_launch_template_versions(&request)?;
    Ok(Nodes::new()
        .list("launchTemplateVersionSet", &page.items, |it| write_version(cloud, it))
        .maybe("nextToken", page.next_token.as_ref()))
}

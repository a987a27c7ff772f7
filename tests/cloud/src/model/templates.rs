//! Launch templates: named launch data in numbered versions.

use std::borrow::Cow;
use std::sync::Arc;

use jiff::Timestamp;

use super::filter::Described;
use super::launch_spec::{LaunchSpec, TemplateRef};
use super::tags::{self, TagSpecification, Tags};
use super::{ApiError, Cloud, Describe, Kind, Page, Remembered};

/// One version of a template; never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateVersion {
    /// Template id.
    pub template_id: String,
    /// Template name.
    pub template_name: String,
    /// Number, from 1.
    pub number: u64,
    /// Description.
    pub description: Option<String>,
    /// When it was made.
    pub create_time: Timestamp,
    /// Launch data.
    pub data: Arc<LaunchSpec>,
}

/// A launch template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchTemplate {
    /// Id.
    pub id: String,
    /// Name, unique in the account.
    pub name: String,
    /// When it was made.
    pub create_time: Timestamp,
    /// The version `$Default` means.
    pub default_version: u64,
    /// Versions, oldest first.
    pub versions: Vec<TemplateVersion>,
    /// Tags.
    pub tags: Tags,
}

impl LaunchTemplate {
    /// Number of the newest version.
    pub fn latest_version(&self) -> u64 {
        self.versions.last().map_or(0, |it| it.number)
    }

    /// A version by `$Default`, `$Latest` or number.
    pub(crate) fn version(&self, name: &str) -> Result<&TemplateVersion, ApiError> {
        let number = match name {
            "$Default" => Some(self.default_version),
            "$Latest" => Some(self.latest_version()),
            number => number.parse().ok(),
        };
        let number = number.ok_or_else(|| {
            ApiError::new(
                "InvalidLaunchTemplateVersion.Malformed",
                format!("Invalid launch template version: {name}. Use a number, $Default or $Latest."),
            )
        })?;
        self.versions.iter().find(|it| it.number == number).ok_or_else(|| {
            ApiError::new(
                "InvalidLaunchTemplateId.VersionNotFound",
                format!(
                    "Could not find the specified version {name} for the launch template with ID {}.",
                    self.id
                ),
            )
        })
    }
}

/// CreateLaunchTemplate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CreateLaunchTemplate {
    /// Name.
    pub name: String,
    /// Description of the version.
    pub version_description: Option<String>,
    /// Launch data.
    pub data: LaunchSpec,
    /// Tags for the template.
    pub tag_specifications: Vec<TagSpecification>,
    /// Idempotency token.
    pub client_token: Option<String>,
}

/// Which versions DescribeLaunchTemplateVersions asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Versions {
    /// The template; `version` is not read.
    pub template: TemplateRef,
    /// Versions by name; all when empty.
    pub names: Vec<String>,
    /// Lowest number.
    pub least: Option<u64>,
    /// Highest number.
    pub most: Option<u64>,
    /// Page length and token.
    pub page: Describe,
}

impl Described for LaunchTemplate {
    const KIND: Kind = Kind::LaunchTemplate;
    const PAGE: (u32, u32) = (1, 200);
    const IDS_EXCLUDE_PAGES: bool = false;
    const FILTERS: &'static [&'static str] = &["launch-template-name", "create-time"];

    fn tags(&self) -> &Tags {
        &self.tags
    }

    fn made(&self) -> Timestamp {
        self.create_time
    }

    fn values<'a>(&'a self, filter: &str, _: &'a Cloud) -> Vec<Cow<'a, str>> {
        let value: Option<Cow<'a, str>> = match filter {
            "launch-template-name" => Some(self.name.as_str().into()),
            "create-time" => Some(self.create_time.to_string().into()),
            _ => None,
        };
        value.into_iter().collect()
    }
}

impl Cloud {
    /// CreateLaunchTemplate. The data is kept as given; AWS too checks it only at launch.
    pub fn create_launch_template(
        &mut self,
        request: &CreateLaunchTemplate,
    ) -> Result<LaunchTemplate, ApiError> {
        const ACTION: &str = "CreateLaunchTemplate";
        self.admit(ACTION)?;
        let token = request.client_token.as_ref().map(|token| (ACTION, token.clone()));
        if let Some(Remembered::Template(earlier, id)) = token.as_ref().and_then(|key| self.tokens.get(key)) {
            super::launch::same(&**earlier, request)?;
            return self.templates.get(id).cloned().ok_or_else(|| Kind::LaunchTemplate.not_found(id));
        }
        tags::check_specifications(&request.tag_specifications, &["launch-template"])?;
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.()/".contains(c);
        if !(3..=128).contains(&request.name.len()) || !request.name.chars().all(allowed) {
            return Err(ApiError::new(
                "InvalidLaunchTemplateName.MalformedException",
                "A launch template name must be between 3 and 128 characters, and may contain letters, numbers, and the following characters: - ( ) . / _.",
            ));
        }
        if self.templates.values().any(|it| it.name == request.name) {
            return Err(ApiError::new(
                "InvalidLaunchTemplateName.AlreadyExistsException",
                format!("Launch template name already in use: {}", request.name),
            ));
        }
        let template = self.place_template(request, self.now);
        if let Some(key) = token {
            self.tokens.insert(key, Remembered::Template(Arc::new(request.clone()), template.id.clone()));
        }
        Ok(template)
    }

    pub(crate) fn place_template(
        &mut self,
        request: &CreateLaunchTemplate,
        create_time: Timestamp,
    ) -> LaunchTemplate {
        let id = self.ids.of(Kind::LaunchTemplate);
        let version = TemplateVersion {
            template_id: id.clone(),
            template_name: request.name.clone(),
            number: 1,
            description: request.version_description.clone(),
            create_time,
            data: Arc::new(request.data.clone()),
        };
        let template = LaunchTemplate {
            id: id.clone(),
            name: request.name.clone(),
            create_time,
            default_version: 1,
            versions: vec![version],
            tags: tags::for_type(&request.tag_specifications, "launch-template"),
        };
        self.templates.insert(id, template.clone());
        template
    }

    /// CreateLaunchTemplateVersion, without a source version: the data stands alone.
    pub fn create_launch_template_version(
        &mut self,
        template: &TemplateRef,
        description: Option<String>,
        data: LaunchSpec,
    ) -> Result<TemplateVersion, ApiError> {
        self.admit("CreateLaunchTemplateVersion")?;
        let id = self.template(template)?.id.clone();
        let create_time = self.now;
        let template = self.templates.get_mut(&id).ok_or_else(|| Kind::LaunchTemplate.not_found(&id))?;
        let version = TemplateVersion {
            template_id: id,
            template_name: template.name.clone(),
            number: template.latest_version() + 1,
            description,
            create_time,
            data: Arc::new(data),
        };
        template.versions.push(version.clone());
        Ok(version)
    }

    /// DeleteLaunchTemplate, with all its versions.
    pub fn delete_launch_template(&mut self, template: &TemplateRef) -> Result<LaunchTemplate, ApiError> {
        self.admit("DeleteLaunchTemplate")?;
        let id = self.template(template)?.id.clone();
        self.templates.remove(&id).ok_or_else(|| Kind::LaunchTemplate.not_found(&id))
    }

    /// A template by id or name.
    pub(crate) fn template(&self, which: &TemplateRef) -> Result<&LaunchTemplate, ApiError> {
        match (&which.id, &which.name) {
            (Some(id), None) => {
                Kind::LaunchTemplate.check(id)?;
                let found = self.templates.get(id).filter(|it| self.sees(it.create_time));
                found.ok_or_else(|| Kind::LaunchTemplate.not_found(id))
            }
            (None, Some(name)) => {
                let found = self.templates.values().find(|it| it.name == *name && self.sees(it.create_time));
                found.ok_or_else(|| name_not_found(name))
            }
            (Some(_), Some(_)) => Err(ApiError::combination(
                "Either launchTemplateId or launchTemplateName must be specified, but not both.",
            )),
            (None, None) => Err(ApiError::new(
                "MissingParameter",
                "Either launchTemplateId or launchTemplateName must be specified.",
            )),
        }
    }

    /// DescribeLaunchTemplates, by ids, names or filters.
    pub fn describe_launch_templates(
        &mut self,
        request: &Describe,
        names: &[String],
    ) -> Result<Page<LaunchTemplate>, ApiError> {
        self.admit_describe("DescribeLaunchTemplates", true)?;
        for name in names {
            if !self.templates.values().any(|it| it.name == *name && self.sees(it.create_time)) {
                return Err(name_not_found(name));
            }
        }
        self.describe(&self.templates, request, |it| names.is_empty() || names.contains(&it.name))
    }

    /// DescribeLaunchTemplateVersions.
    pub fn describe_launch_template_versions(
        &mut self,
        request: &Versions,
    ) -> Result<Page<TemplateVersion>, ApiError> {
        self.admit_describe("DescribeLaunchTemplateVersions", true)?;
        if let Some(filter) = request.page.filters.first() {
            return Err(ApiError::value(format!("The filter '{}' is invalid", filter.name)));
        }
        let named = |template: &LaunchTemplate, names: &[String]| -> Result<Vec<TemplateVersion>, ApiError> {
            names.iter().map(|name| template.version(name).cloned()).collect()
        };
        let mut versions = Vec::new();
        if request.template == TemplateRef::default() && !request.names.is_empty() {
            // Without a template, `$Default` or `$Latest` of every one.
            for template in self.templates.values().filter(|it| self.sees(it.create_time)) {
                versions.extend(named(template, &request.names)?);
            }
        } else {
            let template = self.template(&request.template)?;
            versions.extend(if request.names.is_empty() {
                template.versions.iter().rev().cloned().collect()
            } else {
                named(template, &request.names)?
            });
        }
        let (least, most) = (request.least.unwrap_or(0), request.most.unwrap_or(u64::MAX));
        versions.retain(|it| (least..=most).contains(&it.number));
        let mut keyed: Vec<(String, TemplateVersion)> = versions
            .into_iter()
            .map(|it| (format!("{}:{:020}", it.template_id, u64::MAX - it.number), it))
            .collect();
        keyed.sort_by(|a, b| a.0.cmp(&b.0));
        let page = super::cut(keyed, |(key, _)| key.as_str(), &request.page, (1, 200))?;
        let items = page.items.into_iter().map(|(_, version)| version).collect();
        Ok(Page { items, next_token: page.next_token })
    }
}

fn name_not_found(name: &str) -> ApiError {
    ApiError::new(
        "InvalidLaunchTemplateName.NotFoundException",
        format!("At least one of the launch templates specified in the request does not exist: {name}"),
    )
}

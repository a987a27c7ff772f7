//! Tags: the limits AWS sets on them, tag-on-create, and tagging by id afterwards.
//!
//! This module must never let a tag of the reserved `aws:` space through.

use std::collections::BTreeMap;

use super::{ApiError, Cloud, Kind};

/// Tags of one resource.
pub type Tags = BTreeMap<String, String>;

/// Tags to put on resources of one type while they are made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TagSpecification {
    /// Resource type as the API writes it, for example `network-interface`.
    pub resource_type: String,
    /// Tags.
    pub tags: Tags,
}

/// Most tags on one resource (EC2 User Guide, *Tag your resources*).
const MOST_TAGS: usize = 50;

/// Refuses tags that break AWS's limits: 50 a resource, key 1–127 and value 0–255 characters, no `aws:` keys.
pub(crate) fn check(tags: &Tags) -> Result<(), ApiError> {
    for (key, value) in tags {
        if key.is_empty() {
            return Err(ApiError::value("Tag key cannot be empty."));
        }
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err(ApiError::value("Tag keys starting with 'aws:' are reserved for internal use"));
        }
        if key.chars().count() > 127 {
            return Err(ApiError::value(format!(
                "Tag key exceeds the maximum length of 127 characters: '{key}'"
            )));
        }
        if value.chars().count() > 255 {
            return Err(ApiError::value(format!(
                "Tag value exceeds the maximum length of 255 characters: '{value}'"
            )));
        }
    }
    limit(tags.len())
}

fn limit(count: usize) -> Result<(), ApiError> {
    if count > MOST_TAGS {
        return Err(ApiError::new("TagLimitExceeded", "More than 50 tags specified"));
    }
    Ok(())
}

/// Checks tag specifications against the types the call can tag.
pub(crate) fn check_specifications(
    specifications: &[TagSpecification],
    taggable: &[&str],
) -> Result<(), ApiError> {
    for (at, specification) in specifications.iter().enumerate() {
        if !taggable.contains(&specification.resource_type.as_str()) {
            return Err(ApiError::value(format!(
                "'{}' is not a valid taggable resource type for this operation.",
                specification.resource_type
            )));
        }
        if specifications.iter().take(at).any(|earlier| earlier.resource_type == specification.resource_type)
        {
            return Err(ApiError::value(format!(
                "Value ({}) for parameter TagSpecifications is invalid. Duplicate resource type.",
                specification.resource_type
            )));
        }
        check(&specification.tags)?;
    }
    Ok(())
}

/// The tags given for one resource type.
pub(crate) fn for_type(specifications: &[TagSpecification], resource_type: &str) -> Tags {
    specifications
        .iter()
        .find(|specification| specification.resource_type == resource_type)
        .map(|specification| specification.tags.clone())
        .unwrap_or_default()
}

impl Cloud {
    /// CreateTags: adds or overwrites tags on every resource named, or on none if one of them is unknown.
    pub fn create_tags(&mut self, resources: &[String], tags: &Tags) -> Result<(), ApiError> {
        self.admit("CreateTags")?;
        if resources.is_empty() {
            return Err(ApiError::missing("resourceIdSet"));
        }
        if tags.is_empty() {
            return Err(ApiError::missing("tagSet"));
        }
        check(tags)?;
        for id in resources {
            let kept = self.tags_of(id)?;
            limit(kept.len() + tags.keys().filter(|key| !kept.contains_key(*key)).count())?;
        }
        for id in resources {
            self.tags_of(id)?.extend(tags.iter().map(|(key, value)| (key.clone(), value.clone())));
        }
        Ok(())
    }

    /// DeleteTags: removes the keys named; with a value, only where the value is equal; without any key, all tags.
    pub fn delete_tags(
        &mut self,
        resources: &[String],
        tags: &[(String, Option<String>)],
    ) -> Result<(), ApiError> {
        self.admit("DeleteTags")?;
        if resources.is_empty() {
            return Err(ApiError::missing("resourceIdSet"));
        }
        for id in resources {
            self.tags_of(id)?;
        }
        for id in resources {
            let kept = self.tags_of(id)?;
            if tags.is_empty() {
                kept.clear();
            }
            for (key, value) in tags {
                if value.is_none() || kept.get(key) == value.as_ref() {
                    kept.remove(key);
                }
            }
        }
        Ok(())
    }

    fn tags_of(&mut self, id: &str) -> Result<&mut Tags, ApiError> {
        let Some(kind) = Kind::of(id) else {
            return Err(ApiError::new("InvalidID", format!("The ID '{id}' is not valid")));
        };
        kind.check(id)?;
        let lag = (self.now, self.settings.read_lag);
        let found = match kind {
            Kind::Instance => self.instances.get_mut(id).map(|it| (it.created, &mut it.tags)),
            Kind::Volume => self.volumes.get_mut(id).map(|it| (it.create_time, &mut it.tags)),
            Kind::Snapshot => self.snapshots.get_mut(id).map(|it| (it.start_time, &mut it.tags)),
            Kind::Image => self.images.get_mut(id).map(|it| (it.creation_date, &mut it.tags)),
            Kind::NetworkInterface => self.interfaces.get_mut(id).map(|it| (it.created, &mut it.tags)),
            Kind::Subnet => self.subnets.get_mut(id).map(|it| (it.created, &mut it.tags)),
            Kind::Vpc => self.vpcs.get_mut(id).map(|it| (it.created, &mut it.tags)),
            Kind::SecurityGroup => self.groups.get_mut(id).map(|it| (it.created, &mut it.tags)),
            Kind::ElasticIp => self.addresses.get_mut(id).map(|it| (it.created, &mut it.tags)),
            Kind::LaunchTemplate => self.templates.get_mut(id).map(|it| (it.create_time, &mut it.tags)),
        };
        match found {
            Some((made, tags)) if super::seen(made, lag.0, lag.1) => Ok(tags),
            Some(_) | None => Err(kind.not_found(id)),
        }
    }
}

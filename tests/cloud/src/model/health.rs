//! Status checks: whether EC2 finds an instance well, and what makes it ill.
//!
//! Decides what DescribeInstanceStatus answers. Ill health changes nothing else: no state, no event, nothing on a disk;
//! and it must never pass by itself.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;

use super::filter::Described;
use super::instances::{Instance, InstanceState};
use super::tags::Tags;
use super::{ApiError, Cloud, Describe, Kind, Page};

/// Status checks of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceStatus {
    /// Instance.
    pub instance_id: String,
    /// Availability Zone.
    pub zone: String,
    /// State.
    pub state: InstanceState,
    /// The check of the instance: `initializing`, `ok`, `impaired`, or `not-applicable` unless running.
    pub status: &'static str,
    /// The checks of its host and of its volumes, which never fail here: the same without `impaired`.
    pub system_status: &'static str,
    /// Since when it is `impaired`.
    pub impaired_since: Option<Timestamp>,
    tags: Tags,
    made: Timestamp,
}

impl Described for InstanceStatus {
    const KIND: Kind = Kind::Instance;
    const FILTERS: &'static [&'static str] = &[
        "availability-zone",
        "instance-state-name",
        "instance-state-code",
        "instance-status.status",
        "system-status.status",
    ];

    fn tags(&self) -> &Tags {
        &self.tags
    }

    fn made(&self) -> Timestamp {
        self.made
    }

    fn values<'a>(&'a self, filter: &str, _: &'a Cloud) -> Vec<Cow<'a, str>> {
        let value: Option<Cow<'a, str>> = match filter {
            "availability-zone" => Some(self.zone.as_str().into()),
            "instance-state-name" => Some(self.state.name().into()),
            "instance-state-code" => Some(self.state.code().to_string().into()),
            "instance-status.status" => Some(self.status.into()),
            "system-status.status" => Some(self.system_status.into()),
            _ => None,
        };
        value.into_iter().collect()
    }
}

impl Cloud {
    /// DescribeInstanceStatus: running instances only, unless `all`.
    pub fn describe_instance_status(
        &mut self,
        request: &Describe,
        all: bool,
    ) -> Result<Page<InstanceStatus>, ApiError> {
        self.admit_describe("DescribeInstanceStatus", request.is_narrow())?;
        let asked = |id: &String| request.ids.is_empty() || request.ids.contains(id);
        let map: BTreeMap<String, InstanceStatus> = self
            .instances
            .iter()
            .filter(|(id, _)| asked(id))
            .map(|(id, it)| (id.clone(), self.status(it)))
            .collect();
        self.describe(&map, request, |it| all || it.state == InstanceState::Running)
    }

    fn status(&self, instance: &Instance) -> InstanceStatus {
        let passed = |since: Timestamp| self.now.duration_since(since) >= self.settings.status_checks;
        let system_status = match instance.running_since {
            None => "not-applicable",
            Some(since) if passed(since) => "ok",
            Some(_) => "initializing",
        };
        // Of an instance that was ill from the start this is its launch (API reference, InstanceStatusDetails).
        let since = instance.impaired_since.map(|since| since.max(instance.launch_time));
        let impaired_since = since.filter(|_| system_status == "ok");
        InstanceStatus {
            instance_id: instance.id.clone(),
            zone: instance.zone.clone(),
            state: instance.state,
            status: if impaired_since.is_some() { "impaired" } else { system_status },
            system_status,
            impaired_since,
            tags: instance.tags.clone(),
            made: instance.created,
        }
    }

    /// Makes the guest of an instance fail its status check from now on, or pass it again; a restart changes neither.
    pub fn impair(&mut self, instance_id: &str, impaired: bool) -> Result<(), ApiError> {
        Kind::Instance.check(instance_id)?;
        let now = self.now;
        let instance = self.instances.get_mut(instance_id);
        let instance = instance.ok_or_else(|| Kind::Instance.not_found(instance_id))?;
        if matches!(instance.state, InstanceState::ShuttingDown | InstanceState::Terminated) {
            return Err(super::lifecycle::wrong_state(instance_id, "impaired or well"));
        }
        instance.impaired_since = impaired.then(|| instance.impaired_since.unwrap_or(now));
        Ok(())
    }

    /// Makes every instance launched from an image from now on one whose guest never comes up: impaired from its launch.
    pub fn spoil_image(&mut self, image_id: &str) -> Result<(), ApiError> {
        Kind::Image.check(image_id)?;
        if !self.images.contains_key(image_id) {
            return Err(Kind::Image.not_found(image_id));
        }
        self.spoiled.insert(image_id.to_owned());
        Ok(())
    }
}

//! What starts, stops and ends instances, and what becomes of what they held.
//!
//! A terminated instance shows neither block devices nor interfaces and is forgotten after an hour. What lets go of a
//! volume is decided in `attachments`, never here.

use super::attachments::AttachmentState;
use super::events::Fact;
use super::instances::{InstanceState, StateChange};
use super::{ApiError, BlockDevice, Cloud, Due, Ebs, Instance, Kind, Market, Tags};

impl Cloud {
    /// Puts an instance into a state, with its event; answers the new epoch.
    fn enter(&mut self, id: &str, state: InstanceState) -> u32 {
        let Some(instance) = self.instances.get_mut(id) else { return 0 };
        instance.state = state;
        instance.epoch += 1;
        let epoch = instance.epoch;
        self.emit(Fact::State { instance: id.to_owned(), state });
        epoch
    }

    /// Starts a new or stopped instance: `pending`, later `running`.
    pub(crate) fn begin_start(&mut self, id: &str) {
        let epoch = self.enter(id, InstanceState::Pending);
        self.plan(self.settings.boot, Due::Running(id.to_owned(), epoch));
    }

    fn is_at(&self, id: &str, epoch: u32) -> bool {
        self.instances.get(id).is_some_and(|it| it.epoch == epoch)
    }

    pub(crate) fn finish_start(&mut self, id: &str, epoch: u32) {
        if !self.is_at(id, epoch) {
            return;
        }
        let now = self.now;
        if let Some(instance) = self.instances.get_mut(id) {
            instance.running_since = Some(now);
        }
        self.enter(id, InstanceState::Running);
    }

    /// Ends an instance for good.
    fn begin_shutdown(&mut self, id: &str, by: &'static str, reason: (&'static str, &'static str)) {
        let now = self.now;
        if let Some(instance) = self.instances.get_mut(id) {
            instance.running_since = None;
            instance.state_reason = Some(reason);
            instance.ended = Some((by, now));
        }
        let epoch = self.enter(id, InstanceState::ShuttingDown);
        self.plan(self.settings.shut_down, Due::Terminated(id.to_owned(), epoch));
    }

    /// `terminated`: what the instance held is let go a little later, and it no longer tells what that was.
    pub(crate) fn finish_shutdown(&mut self, id: &str, epoch: u32) {
        if !self.is_at(id, epoch) {
            return;
        }
        let Some(instance) = self.instances.get_mut(id) else { return };
        let devices = std::mem::take(&mut instance.block_devices);
        let interfaces = std::mem::take(&mut instance.interfaces);
        (instance.private_ip, instance.subnet_id, instance.vpc_id) = (None, None, None);
        instance.security_groups.clear();
        for device in devices.into_values() {
            self.plan(self.settings.release_volume, Due::ReleaseVolume(device.volume_id, id.to_owned()));
        }
        for interface in interfaces {
            self.plan(self.settings.release_interface, Due::ReleaseInterface(interface.network_interface_id));
        }
        self.enter(id, InstanceState::Terminated);
        self.plan(self.settings.remember_terminated, Due::Forget(id.to_owned()));
    }

    pub(crate) fn finish_stop(&mut self, id: &str, epoch: u32) {
        if self.is_at(id, epoch) {
            self.enter(id, InstanceState::Stopped);
        }
    }

    /// Interrupts a running spot instance: with the two-minute notice, or (as EC2 may) without.
    pub fn interrupt(&mut self, instance_id: &str, notice: bool) -> Result<(), ApiError> {
        Kind::Instance.check(instance_id)?;
        let at = self.after(self.settings.notice);
        let now = self.now;
        let instance = self.instances.get_mut(instance_id);
        let instance = instance.ok_or_else(|| Kind::Instance.not_found(instance_id))?;
        if instance.market != Market::Spot {
            return Err(ApiError::new(
                "UnsupportedOperation",
                format!("The instance '{instance_id}' is not a Spot instance."),
            ));
        }
        if instance.state != InstanceState::Running || (notice && instance.reclaimed_at.is_some()) {
            let why =
                if instance.reclaimed_at.is_some() { "already interrupted" } else { instance.state.name() };
            return Err(ApiError::new(
                "IncorrectInstanceState",
                format!("The instance '{instance_id}' cannot be interrupted: it is {why}."),
            ));
        }
        if !notice {
            instance.reclaimed_at = Some(now);
            self.reclaim(instance_id);
            return Ok(());
        }
        instance.reclaimed_at = Some(at);
        let zone = instance.zone.clone();
        self.emit(Fact::Warning { instance: instance_id.to_owned(), zone });
        self.plan(self.settings.notice, Due::Reclaim(instance_id.to_owned()));
        Ok(())
    }

    /// Tells that a running spot instance is at elevated risk of interruption; nothing else comes of it.
    pub fn recommend_rebalance(&mut self, instance_id: &str) -> Result<(), ApiError> {
        Kind::Instance.check(instance_id)?;
        let instance = self.instances.get(instance_id);
        let instance = instance.ok_or_else(|| Kind::Instance.not_found(instance_id))?;
        if instance.market != Market::Spot {
            let what = format!("The instance '{instance_id}' is not a Spot instance.");
            return Err(ApiError::new("UnsupportedOperation", what));
        }
        if instance.state != InstanceState::Running {
            let what = format!("The instance '{instance_id}' is {}, not running.", instance.state.name());
            return Err(ApiError::new("IncorrectInstanceState", what));
        }
        self.emit(Fact::Rebalance { instance: instance_id.to_owned() });
        Ok(())
    }

    /// EC2 takes a spot instance back, unless it has ended meanwhile.
    pub(crate) fn reclaim(&mut self, id: &str) {
        if self.instances.get(id).is_some_and(|it| it.state == InstanceState::Running) {
            let reason = (
                "Server.SpotInstanceTermination",
                "Server.SpotInstanceTermination: Spot instance termination",
            );
            self.begin_shutdown(id, "Service", reason);
        }
    }

    /// The states of all instances named, or the error for the first that is unknown.
    fn known(&mut self, ids: &[String]) -> Result<Vec<(String, InstanceState)>, ApiError> {
        if ids.is_empty() {
            return Err(ApiError::missing("InstanceId"));
        }
        ids.iter()
            .map(|id| {
                Kind::Instance.check(id)?;
                let instance = self.instances.get(id).filter(|it| self.sees(it.created));
                instance.map(|it| (id.clone(), it.state)).ok_or_else(|| Kind::Instance.not_found(id))
            })
            .collect()
    }

    fn changes(&self, before: Vec<(String, InstanceState)>) -> Vec<StateChange> {
        let current = |id: &str, previous| self.instances.get(id).map_or(previous, |it| it.state);
        before
            .into_iter()
            .map(|(id, previous)| StateChange { current: current(&id, previous), previous, instance_id: id })
            .collect()
    }

    /// TerminateInstances: all or none; ending again what has ended changes nothing.
    pub fn terminate_instances(&mut self, ids: &[String]) -> Result<Vec<StateChange>, ApiError> {
        self.admit("TerminateInstances")?;
        self.admit_resources("TerminateInstances", ids.len())?;
        let before = self.known(ids)?;
        let protected = |id: &String| {
            self.instances.get(id).is_some_and(|it| {
                it.options.get("DisableApiTermination").is_some_and(|value| value == "true")
            })
        };
        if let Some(id) = ids.iter().find(|id| protected(id)) {
            return Err(ApiError::new(
                "OperationNotPermitted",
                format!(
                    "The instance '{id}' may not be terminated. Modify its 'disableApiTermination' instance attribute and try again."
                ),
            ));
        }
        for (id, state) in &before {
            match state {
                InstanceState::ShuttingDown | InstanceState::Terminated => {}
                InstanceState::Pending
                | InstanceState::Running
                | InstanceState::Stopping
                | InstanceState::Stopped => {
                    if let Some(it) = self.instances.get(id).cloned().filter(|it| it.reclaimed_at.is_none()) {
                        self.return_capacity(&it.instance_type, &it.zone, it.market);
                    }
                    let reason = (
                        "Client.UserInitiatedShutdown",
                        "Client.UserInitiatedShutdown: User initiated shutdown",
                    );
                    self.begin_shutdown(id, "User", reason);
                }
            }
        }
        Ok(self.changes(before))
    }

    /// StopInstances; refused for one-time spot instances.
    pub fn stop_instances(&mut self, ids: &[String]) -> Result<Vec<StateChange>, ApiError> {
        self.admit("StopInstances")?;
        self.admit_resources("StopInstances", ids.len())?;
        let before = self.known(ids)?;
        for (id, state) in &before {
            if self.instances.get(id).is_some_and(|it| it.market == Market::Spot) {
                return Err(ApiError::new(
                    "UnsupportedOperation",
                    format!(
                        "You can't stop the Spot Instance '{id}' because it is associated with a one-time Spot Instance request. You can only stop Spot Instances associated with persistent Spot Instance requests."
                    ),
                ));
            }
            match state {
                InstanceState::Running | InstanceState::Stopping | InstanceState::Stopped => {}
                InstanceState::Pending | InstanceState::ShuttingDown | InstanceState::Terminated => {
                    return Err(wrong_state(id, "stopped"));
                }
            }
        }
        for (id, state) in &before {
            if *state == InstanceState::Running {
                let now = self.now;
                if let Some(it) = self.instances.get_mut(id) {
                    it.running_since = None;
                    it.state_reason = Some((
                        "Client.UserInitiatedShutdown",
                        "Client.UserInitiatedShutdown: User initiated shutdown",
                    ));
                    it.ended = Some(("User", now));
                }
                let epoch = self.enter(id, InstanceState::Stopping);
                self.plan(self.settings.stop, Due::Stopped(id.clone(), epoch));
            }
        }
        Ok(self.changes(before))
    }

    /// StartInstances.
    pub fn start_instances(&mut self, ids: &[String]) -> Result<Vec<StateChange>, ApiError> {
        self.admit("StartInstances")?;
        let before = self.known(ids)?;
        for (id, state) in &before {
            match state {
                InstanceState::Stopped | InstanceState::Pending | InstanceState::Running => {}
                InstanceState::Stopping | InstanceState::ShuttingDown | InstanceState::Terminated => {
                    return Err(wrong_state(id, "started"));
                }
            }
            let incomplete = |it: &&Instance| {
                it.state == InstanceState::Stopped
                    && it.root().is_none_or(|root| root.state != AttachmentState::Attached)
            };
            if let Some(it) = self.instances.get(id).filter(incomplete) {
                return Err(rootless(it));
            }
        }
        for (id, state) in &before {
            if *state == InstanceState::Stopped {
                let now = self.now;
                if let Some(it) = self.instances.get_mut(id) {
                    it.launch_time = now;
                    (it.state_reason, it.ended) = (None, None);
                }
                self.begin_start(id);
            }
        }
        Ok(self.changes(before))
    }

    /// ModifyInstanceAttribute of block devices: whether each volume goes with the instance.
    pub fn modify_block_devices(
        &mut self,
        instance_id: &str,
        devices: &[(String, bool)],
    ) -> Result<(), ApiError> {
        self.admit("ModifyInstanceAttribute")?;
        Kind::Instance.check(instance_id)?;
        let (now, lag) = (self.now, self.settings.read_lag);
        let instance = self.instances.get_mut(instance_id).filter(|it| super::seen(it.created, now, lag));
        let instance = instance.ok_or_else(|| Kind::Instance.not_found(instance_id))?;
        if matches!(instance.state, InstanceState::ShuttingDown | InstanceState::Terminated) {
            return Err(ApiError::new(
                "IncorrectInstanceState",
                format!("The instance '{instance_id}' is {}.", instance.state.name()),
            ));
        }
        if let Some((name, _)) = devices.iter().find(|(name, _)| !instance.block_devices.contains_key(name)) {
            return Err(ApiError::new(
                "InvalidInstanceAttributeValue",
                format!("No device is currently mapped at {name}"),
            ));
        }
        for (name, value) in devices {
            let Some(device) = instance.block_devices.get_mut(name) else { continue };
            device.delete_on_termination = *value;
            let volume = self.volumes.get_mut(&device.volume_id);
            let attachments = volume.into_iter().flat_map(|it| it.attachments.iter_mut());
            for held in attachments.filter(|it| it.instance_id == instance_id) {
                held.delete_on_termination = *value;
            }
        }
        Ok(())
    }

    /// Swaps the root volume of a running instance for a fresh one from the same snapshot, as an operator's root
    /// replacement leaves it: the new one goes with the instance, the old one is `available`. Answers the new id.
    pub fn swap_root(&mut self, instance_id: &str) -> Result<String, ApiError> {
        let instance =
            self.instances.get(instance_id).ok_or_else(|| Kind::Instance.not_found(instance_id))?;
        let (device, zone) = (instance.root_device_name.clone(), instance.zone.clone());
        let old = instance.root().map(|root| root.volume_id.clone());
        let old = old.filter(|_| instance.state == InstanceState::Running);
        let old = old.ok_or_else(|| wrong_state(instance_id, "given another root"))?;
        let source = self.volumes.get(&old).and_then(|volume| volume.snapshot_id.clone());
        let ebs = Ebs { snapshot_id: source, ..Ebs::default() };
        let blueprint = self.blueprint(&ebs.wish())?;
        let held = self.new_attachment(instance_id, &device, AttachmentState::Attached, true);
        let (state, attach_time) = (held.state, held.attach_time);
        let new = self.build_volume(blueprint, &zone, Some(held), Tags::new());
        self.let_go(&old, |it| it.instance_id == instance_id);
        if let Some(instance) = self.instances.get_mut(instance_id) {
            let held =
                BlockDevice { volume_id: new.clone(), delete_on_termination: true, state, attach_time };
            instance.block_devices.insert(device, held);
        }
        Ok(new)
    }
}

pub(super) fn rootless(instance: &Instance) -> ApiError {
    ApiError::value(format!(
        "Invalid value '{}' for instanceId. Instance does not have a volume attached at root ({})",
        instance.id, instance.root_device_name
    ))
}

pub(super) fn wrong_state(id: &str, what: &str) -> ApiError {
    ApiError::new(
        "IncorrectInstanceState",
        format!("The instance '{id}' is not in a state from which it can be {what}."),
    )
}

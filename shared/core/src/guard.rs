//! The last look before anything is deleted or terminated.
//!
//! A filter or a record is no proof of ownership: the resource is read again by id, and only its own tags
//! and state say whether it may go.

use crate::names::{GroupNames, Names, Purpose, Tags, has_purpose};
use crate::observation::{
    ImageFacts, InstanceFacts, InterfaceFacts, InterfaceState, SnapshotFacts, SnapshotState, VolumeFacts,
    VolumeState,
};
use crate::step::Termination;

/// Whether a resource may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is ours and free.
    Go,
    /// It is ours, but not free yet.
    NotYet(String),
    /// It is not, or no longer, ours: hands off.
    NotOurs(String),
}

fn ours(names: &Names<'_>, tags: &Tags, purposes: &[Purpose]) -> Result<(), Verdict> {
    if has_purpose(tags, Purpose::Adopted) {
        return Err(Verdict::NotOurs("it was adopted, not made, by Perennial".to_owned()));
    }
    if !names.owns(tags) {
        return Err(Verdict::NotOurs("its tags do not name this life of this node".to_owned()));
    }
    if !purposes.iter().any(|purpose| has_purpose(tags, *purpose)) {
        return Err(Verdict::NotOurs("its purpose tag is another one".to_owned()));
    }
    Ok(())
}

/// What is left to ask of something that is ours.
fn judged(ours: Result<(), Verdict>, free: impl FnOnce() -> Verdict) -> Verdict {
    match ours {
        Err(verdict) => verdict,
        Ok(()) => free(),
    }
}

fn free_volume(facts: &VolumeFacts) -> Verdict {
    match facts.state {
        VolumeState::Available | VolumeState::Error if facts.attached_to.is_empty() => Verdict::Go,
        VolumeState::Available | VolumeState::Error | VolumeState::InUse => {
            Verdict::NotYet("it is attached to an instance".to_owned())
        }
        VolumeState::Creating | VolumeState::Deleting => {
            Verdict::NotYet("it is changing its state".to_owned())
        }
    }
}

fn free_snapshot(facts: &SnapshotFacts) -> Verdict {
    match facts.state {
        _ if !facts.own => Verdict::NotOurs("it belongs to another account".to_owned()),
        SnapshotState::Pending => Verdict::NotYet("it is still pending".to_owned()),
        SnapshotState::Completed | SnapshotState::Error => Verdict::Go,
    }
}

/// Whether a volume of one of these purposes may be deleted.
pub fn volume(names: &Names<'_>, facts: &VolumeFacts, purposes: &[Purpose]) -> Verdict {
    judged(ours(names, &facts.tags, purposes), || free_volume(facts))
}

/// Whether an image of one of these purposes may be deregistered.
pub fn image(names: &Names<'_>, facts: &ImageFacts, purposes: &[Purpose]) -> Verdict {
    judged(ours(names, &facts.tags, purposes), || Verdict::Go)
}

/// Whether a snapshot of one of these purposes may be deleted. A pending one waits: deleting it would only
/// take effect when it completes, and it would go on occupying the volume's limit.
pub fn snapshot(names: &Names<'_>, facts: &SnapshotFacts, purposes: &[Purpose]) -> Verdict {
    judged(ours(names, &facts.tags, purposes), || free_snapshot(facts))
}

fn of_group(names: &GroupNames<'_>, tags: &Tags) -> Result<(), Verdict> {
    if names.owns(tags) {
        return Ok(());
    }
    Err(Verdict::NotOurs("its tags do not name it a backup of this group".to_owned()))
}

/// Whether a backup of a group may be deregistered.
pub fn backup_image(names: &GroupNames<'_>, facts: &ImageFacts) -> Verdict {
    judged(of_group(names, &facts.tags), || Verdict::Go)
}

/// Whether a snapshot that a backup of a group stands on may be deleted.
pub fn backup_snapshot(names: &GroupNames<'_>, facts: &SnapshotFacts) -> Verdict {
    judged(of_group(names, &facts.tags), || free_snapshot(facts))
}

/// Whether an instance may be terminated: it is ours, and nothing that is kept goes with it.
pub fn instance(names: &Names<'_>, facts: &InstanceFacts, termination: &Termination) -> Verdict {
    let volume = facts
        .volumes
        .iter()
        .find(|v| v.delete_on_termination && termination.volumes.contains(&v.volume))
        .map(|v| v.volume.to_string());
    let interface = facts
        .interfaces
        .iter()
        .find(|i| i.delete_on_termination && termination.interface.as_ref() == Some(&i.interface))
        .map(|i| i.interface.to_string());
    judged(ours(names, &facts.tags, &[Purpose::Instance]), || match volume.or(interface) {
        Some(kept) => Verdict::NotYet(format!("{kept} would be deleted with it")),
        None => Verdict::Go,
    })
}

/// Whether a network interface of one of these purposes may be deleted.
pub fn interface(names: &Names<'_>, facts: &InterfaceFacts, purposes: &[Purpose]) -> Verdict {
    judged(ours(names, &facts.tags, purposes), || match facts.state {
        InterfaceState::Available => Verdict::Go,
        InterfaceState::InUse => Verdict::NotYet("it is in use".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{NodeName, VolumeId};
    use crate::names::{TAG_DEPLOYMENT, TAG_LIFE, TAG_NODE, TAG_PURPOSE};

    fn root(names: &Names<'_>) -> VolumeFacts {
        VolumeFacts {
            id: VolumeId::new("vol-1"),
            state: VolumeState::Available,
            attached_to: Vec::new(),
            device: None,
            multi_attach: false,
            shape: Default::default(),
            source: None,
            zone: "us-east-1a".into(),
            tags: names.tags(&Tags::new(), 1, Purpose::Root, "key"),
        }
    }

    #[test]
    fn only_our_own_free_volume_may_go() {
        let node = NodeName::parse("db").unwrap();
        let names = Names { deployment: "prod", node: &node, life: "l1" };
        assert_eq!(volume(&names, &root(&names), &[Purpose::Root]), Verdict::Go);
        for (tag, value) in [
            (TAG_DEPLOYMENT, "test"),
            (TAG_NODE, "web"),
            (TAG_LIFE, "l0"),
            (TAG_PURPOSE, "adopted"),
            (TAG_PURPOSE, "periodic"),
        ] {
            let mut foreign = root(&names);
            foreign.tags.insert(tag.into(), value.into());
            assert!(
                matches!(volume(&names, &foreign, &[Purpose::Root]), Verdict::NotOurs(_)),
                "{tag}={value}"
            );
            foreign.tags.remove(tag);
            assert!(
                matches!(volume(&names, &foreign, &[Purpose::Root]), Verdict::NotOurs(_)),
                "{tag} missing"
            );
        }
        let attached = VolumeFacts {
            state: VolumeState::InUse,
            attached_to: vec![crate::ids::InstanceId::new("i-1")],
            ..root(&names)
        };
        assert!(matches!(volume(&names, &attached, &[Purpose::Root]), Verdict::NotYet(_)));
    }
}

//! What is asked of EC2 for a recovery point: one snapshot, or several of one moment.
//!
//! Both calls would take what they are not meant to: CreateSnapshots takes every volume on the instance that
//! is not left out by name. So what the instance holds is looked at first, and nothing is asked for unless it
//! holds every volume that belongs to the point: without one of them it would be none of the node.

use std::borrow::Cow;

use crate::ids::VolumeId;
use crate::limits;
use crate::names::{Purpose, TAG_DEVICE, TAG_PARTS, TAG_VOLUME, Tags};
use crate::observation::InstanceFacts;
use crate::step::{PointRequest, SetRequest, SnapshotRequest};

/// Why something is not done, as half a sentence.
pub type Why = Cow<'static, str>;

/// A recovery point to be asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    /// What it is for.
    pub purpose: Purpose,
    /// Its key.
    pub key: String,
    /// The tags of each of its snapshots, the key among them.
    pub tags: Tags,
    /// The description of each.
    pub description: String,
}

/// What CreateSnapshots is told to leave out.
struct LeftOut {
    root: bool,
    others: Vec<VolumeId>,
}

/// The request for a recovery point of these volumes of an instance, each with its device name.
///
/// # Errors
/// Why there can be none: see [`obstacle`]; or there is nothing to take.
pub fn request(
    instance: &InstanceFacts,
    secured: &[(&VolumeId, &str)],
    asked: Asked,
) -> Result<PointRequest, Why> {
    let left_out = left_out(instance, secured)?;
    let Asked { purpose, key, mut tags, description } = asked;
    match secured {
        [] => Err("it has no volume to be secured".into()),
        [(volume, device)] => {
            tags.insert(TAG_DEVICE.to_owned(), (*device).to_owned());
            tags.insert(TAG_VOLUME.to_owned(), volume.to_string());
            let volume = (*volume).clone();
            Ok(PointRequest::One(SnapshotRequest { volume, purpose, key, tags, description }))
        }
        several => {
            tags.insert(TAG_PARTS.to_owned(), several.len().to_string());
            Ok(PointRequest::Set(SetRequest {
                instance: instance.id.clone(),
                volumes: several.iter().map(|(volume, _)| (*volume).clone()).collect(),
                without_root: left_out.root,
                without: left_out.others,
                purpose,
                key,
                tags,
                description,
            }))
        }
    }
}

/// Why no recovery point of these volumes of an instance can be taken, if so: it does not hold one of them,
/// not yet, or holds more others than EC2 lets us leave out.
pub fn obstacle(instance: &InstanceFacts, secured: &[(&VolumeId, &str)]) -> Option<Why> {
    left_out(instance, secured).err()
}

fn left_out(instance: &InstanceFacts, secured: &[(&VolumeId, &str)]) -> Result<LeftOut, Why> {
    for (volume, device) in secured {
        match instance.volumes.iter().find(|held| held.volume == **volume) {
            None if *device == instance.root_device => {
                return Err("its instance does not hold its root".into());
            }
            None => return Err(format!("its instance does not hold {device}").into()),
            Some(held) if held.attaching => {
                return Err(format!("its instance does not hold {device} yet").into());
            }
            Some(_) => {}
        }
    }
    let is_secured = |volume: &VolumeId| secured.iter().any(|(it, _)| *it == volume);
    // The root is left out by a word of its own: EC2 refuses its id among the others (EC2 API reference,
    // *InstanceSpecification*).
    let (roots, others): (Vec<_>, Vec<_>) =
        instance.volumes.iter().partition(|held| held.device == instance.root_device);
    let others: Vec<VolumeId> =
        others.into_iter().map(|held| &held.volume).filter(|it| !is_secured(it)).cloned().collect();
    if secured.len() > 1 && others.len() > limits::LEFT_OUT_MAX {
        let most = limits::LEFT_OUT_MAX;
        return Err(
            format!("its instance holds more than {most} volumes that do not come back with it").into()
        );
    }
    Ok(LeftOut { root: !roots.iter().any(|root| is_secured(&root.volume)), others })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ImageId, InstanceId};
    use crate::observation::{AttachedVolume, InstanceState, Platform};

    /// A running instance with a root and these volumes at `/dev/sdf` and so on.
    fn instance(data: &[&str]) -> InstanceFacts {
        let attached = |device: String, volume: &str| AttachedVolume {
            device,
            volume: VolumeId::new(volume),
            delete_on_termination: false,
            attaching: false,
        };
        let data =
            data.iter().zip('f'..).map(|(volume, letter)| attached(format!("/dev/sd{letter}"), volume));
        InstanceFacts {
            id: InstanceId::new("i-1"),
            state: InstanceState::Running,
            state_reason: String::new(),
            instance_type: "m5.large".into(),
            spot: true,
            zone: "z".into(),
            subnet: None,
            private_ip: None,
            image: ImageId::new("ami-1"),
            launched_at: None,
            root_device: "/dev/xvda".into(),
            ebs_root: true,
            volumes: std::iter::once(attached("/dev/xvda".into(), "vol-root")).chain(data).collect(),
            interfaces: Vec::new(),
            client_token: None,
            tags: Tags::new(),
            platform: Platform::default(),
        }
    }

    fn asked() -> Asked {
        Asked {
            purpose: Purpose::Periodic,
            key: "k".into(),
            tags: Tags::from([("perennial:key".into(), "k".into())]),
            description: "d".into(),
        }
    }

    /// Asks for a point of these volumes, each with its device.
    fn ask(instance: &InstanceFacts, secured: &[(&str, &str)]) -> Result<PointRequest, Why> {
        let ids: Vec<_> = secured.iter().map(|(volume, device)| (VolumeId::new(*volume), *device)).collect();
        let secured: Vec<_> = ids.iter().map(|(volume, device)| (volume, *device)).collect();
        let asked = request(instance, &secured, asked());
        assert_eq!(
            asked.as_ref().err().filter(|_| !secured.is_empty()),
            obstacle(instance, &secured).as_ref()
        );
        asked
    }

    fn set(point: Result<PointRequest, Why>) -> SetRequest {
        match point.unwrap() {
            PointRequest::Set(set) => set,
            PointRequest::One(one) => panic!("{one:?}"),
        }
    }

    const ROOT: (&str, &str) = ("vol-root", "/dev/xvda");
    const DATA: (&str, &str) = ("vol-f", "/dev/sdf");

    #[test]
    fn one_volume_is_snapshotted_alone_and_named_in_the_tags() {
        let instance = instance(&["vol-f", "vol-g"]);
        for (volume, device) in [ROOT, DATA] {
            let PointRequest::One(one) = ask(&instance, &[(volume, device)]).unwrap() else { panic!() };
            assert_eq!(
                (one.volume.as_str(), one.key.as_str(), one.purpose),
                (volume, "k", Purpose::Periodic)
            );
            assert_eq!((one.tags[TAG_VOLUME].as_str(), one.tags[TAG_DEVICE].as_str()), (volume, device));
            assert!(!one.tags.contains_key(TAG_PARTS) && one.tags.contains_key("perennial:key"));
        }
    }

    #[test]
    fn several_are_one_set_without_what_is_not_part_of_it() {
        let instance = instance(&["vol-f", "vol-left", "vol-g"]);
        let all = set(ask(&instance, &[ROOT, DATA, ("vol-g", "/dev/sdh")]));
        assert_eq!(all.instance, instance.id);
        assert_eq!(all.volumes, ["vol-root", "vol-f", "vol-g"].map(VolumeId::new));
        assert_eq!((all.without_root, all.without), (false, vec![VolumeId::new("vol-left")]));
        assert_eq!(all.tags[TAG_PARTS], "3");
        assert!(!all.tags.contains_key(TAG_VOLUME) && !all.tags.contains_key(TAG_DEVICE));
        // The root is never among the others.
        let data = set(ask(&instance, &[DATA, ("vol-g", "/dev/sdh")]));
        assert_eq!((data.without_root, data.without), (true, vec![VolumeId::new("vol-left")]));
        assert_eq!(data.tags[TAG_PARTS], "2");
        let swapped = set(ask(&instance, &[("vol-f", "/dev/xvda"), ("vol-g", "/dev/sdh")]));
        assert!(swapped.without_root, "another root than the node's is not part of it");
    }

    #[test]
    fn what_the_instance_does_not_hold_stands_against_the_whole_point() {
        let mut instance = instance(&["vol-f"]);
        let gone = ("vol-g", "/dev/sdg");
        for secured in [&[ROOT, gone][..], &[gone], &[DATA, gone]] {
            assert_eq!(ask(&instance, secured).unwrap_err(), "its instance does not hold /dev/sdg");
        }
        let other_root = ("vol-9", "/dev/xvda");
        assert_eq!(ask(&instance, &[other_root, DATA]).unwrap_err(), "its instance does not hold its root");
        instance.volumes[1].attaching = true;
        for secured in [&[ROOT, DATA][..], &[DATA]] {
            assert_eq!(ask(&instance, secured).unwrap_err(), "its instance does not hold /dev/sdf yet");
        }
        assert!(ask(&instance, &[ROOT]).is_ok());
        assert!(ask(&instance, &[]).is_err());
    }

    #[test]
    fn no_more_volumes_are_left_out_than_ec2_allows() {
        let ids: Vec<String> = (0..42).map(|n| format!("vol-{n}")).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let mut instance = instance(&ids);
        let (root, first) = (ROOT, ("vol-0", "/dev/sdf"));
        let why = "its instance holds more than 40 volumes that do not come back with it";
        assert_eq!(ask(&instance, &[root, first]).unwrap_err(), why);
        assert!(ask(&instance, &[root]).is_ok(), "a single snapshot leaves nothing out");
        instance.volumes.pop();
        assert_eq!(set(ask(&instance, &[root, first])).without.len(), 40);
    }
}

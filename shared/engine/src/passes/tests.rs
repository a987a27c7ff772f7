//! What of an instance asks for a closer look.

use std::collections::BTreeMap;

use perennial_core::ids::ImageId;
use perennial_core::names::Tags;
use perennial_core::observation::{AttachedVolume, Platform};

use super::*;

/// A node with this root alone, as a version without data volumes put it into the index.
fn steady() -> Steady {
    let json = r#"{"schemaVersion": 3, "node": "db", "life": "l1", "cycle": 1, "instance": "i-1",
        "volume": "vol-1", "device": "/dev/xvda", "snapshotEvery": "300s", "keep": 3}"#;
    serde_json::from_str(json).unwrap()
}

/// The same with a data volume beside it, and one that is left alone.
fn with_data() -> Steady {
    let data = SteadyVolume { volume: VolumeId::new("vol-f"), device: "/dev/sdf".into(), untagged: false };
    Steady { keeps_data: true, data: vec![data], left_alone: vec![VolumeId::new("vol-x")], ..steady() }
}

fn instance(volumes: &[(&str, &str, bool)]) -> InstanceFacts {
    let volumes = volumes.iter().map(|(volume, device, delete_on_termination)| AttachedVolume {
        device: (*device).into(),
        volume: VolumeId::new(*volume),
        delete_on_termination: *delete_on_termination,
        attaching: false,
    });
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
        volumes: volumes.collect(),
        interfaces: Vec::new(),
        client_token: None,
        tags: Tags::new(),
        platform: Platform::default(),
    }
}

fn drifted(node: &Steady, volumes: &[(&str, &str, bool)]) -> bool {
    has_drifted(node, &BTreeMap::from([(InstanceId::new("i-1"), instance(volumes))]))
}

const ROOT: (&str, &str, bool) = ("vol-1", "/dev/xvda", false);
const DATA: (&str, &str, bool) = ("vol-f", "/dev/sdf", false);
const LEFT: (&str, &str, bool) = ("vol-x", "/dev/sdx", true);

#[test]
fn a_root_that_is_kept_must_be_in_place_and_outlive_its_instance() {
    assert!(!drifted(&steady(), &[ROOT]));
    assert!(drifted(&steady(), &[("vol-9", "/dev/xvda", false)]));
    let at_risk = ("vol-1", "/dev/xvda", true);
    assert!(drifted(&steady(), &[at_risk]));
    // Where the root is not kept it may go with its instance.
    let rootless = Steady { rootless: true, ..with_data() };
    assert!(!drifted(&rootless, &[at_risk, DATA, LEFT]));
    let by_an_older_version = Steady { snapshot_every: None, ..steady() };
    assert!(!drifted(&by_an_older_version, &[at_risk]));
}

#[test]
fn data_volumes_must_be_just_those_that_the_record_knows() {
    let node = with_data();
    assert!(!drifted(&node, &[ROOT, DATA, LEFT]));
    assert!(drifted(&node, &[ROOT, DATA, LEFT, ("vol-new", "/dev/sdg", false)]), "attached by hand");
    assert!(drifted(&node, &[ROOT, LEFT]), "detached");
    assert!(drifted(&node, &[ROOT, ("vol-f", "/dev/sdg", false), LEFT]), "on another device");
    assert!(drifted(&node, &[ROOT, ("vol-f", "/dev/sdf", true), LEFT]), "at risk");
    assert!(drifted(&node, &[ROOT, DATA]), "what was left alone is there no longer");
    assert!(drifted(&node, &[("vol-f", "/dev/xvda", false), LEFT]), "in the root's place");
}

#[test]
fn where_no_data_is_kept_nobody_looks_at_it() {
    let node = Steady { left_alone: vec![VolumeId::new("vol-x")], ..steady() };
    assert!(!drifted(&node, &[ROOT, DATA]));
}

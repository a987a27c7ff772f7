//! What was of data volumes is never mistaken for what was of the root.

use super::*;
use crate::names::TAG_DEVICE;

fn of_device(mut snapshot: SnapshotFacts, device: &str) -> SnapshotFacts {
    snapshot.tags.insert(TAG_DEVICE.into(), device.into());
    snapshot
}

#[test]
fn a_final_snapshot_of_a_data_volume_is_superseded_as_such() {
    let root = of_device(final_of("vol-1", 1), "/dev/xvda");
    assert_superseded(judged(Found::Snapshot(&root), &running()), Superseded::Snapshot(root.id.clone()));
    let data = of_device(final_of("vol-1", 1), "/dev/sdf");
    assert_superseded(judged(Found::Snapshot(&data), &running()), Superseded::DataSnapshot(data.id.clone()));
}

#[test]
fn a_captured_data_volume_is_no_root_that_is_superseded() {
    // EC2 gives all volumes of a launch the same tags.
    let volume = volume_facts("vol-1", 1, &launch(1, 1));
    let mut seen = Observation::default();
    let data = of_device(final_of("vol-1", 1), "/dev/sdf");
    seen.snapshots.insert(data.id.clone(), data);
    assert_reported(judged_among(Found::Volume(&volume), &running(), &seen));
}

#[test]
fn a_data_volume_that_was_believed_to_be_deleted_goes_as_it_would_have_gone() {
    let volume = volume_facts("vol-1", 1, &launch(1, 1));
    let superseded = Superseded::DataVolume(volume.id.clone());
    let mut misled = running();
    misled.superseded.push(superseded.clone());
    misled.forget(&superseded);
    assert_superseded(judged(Found::Volume(&volume), &misled), superseded);
    let held = VolumeFacts { state: VolumeState::InUse, ..volume };
    assert!(!matches!(judged(Found::Volume(&held), &misled), Finding::Adopt(_) | Finding::Delete(_)));
}

#[test]
fn what_a_record_names_of_its_data_volumes_is_explained() {
    let json = include_str!("../../../../../tests/records/v4-data-launching.json");
    let Ok(crate::record::Stored::Known(record)) =
        crate::record::Stored::read(&serde_json::from_str(json).unwrap())
    else {
        panic!()
    };
    let named = |id: &str| is_named(&record, &Resource::Volume(VolumeId::new(id)));
    for entry in &record.data {
        assert!(named(entry.volume_id.as_str()));
        let last = entry.last.as_ref().unwrap().snapshot_id.clone().unwrap();
        assert!(is_named(&record, &Resource::Snapshot(last)));
    }
    assert!(!named("vol-0123456789abcdef0"));
}

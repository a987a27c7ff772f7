//! How an orphan is told of.

use super::*;

#[test]
fn an_orphan_is_told_of_under_one_id_in_outbox_and_journal() {
    let scope = Scope { deployment: "prod", now: at(HOUR), tick: true, suspended: false };
    let volume = volume_facts("vol-1", 2, "k");
    let found = Found::Volume(&volume);
    let (record, entries) = tell(running(), found, "nobody knows it", scope);
    let told = &record.outbox[0];
    assert_eq!((told.kind, told.detail.id.as_str()), (Kind::OrphanFound, "orphan-vol-1"));
    assert_eq!((told.detail.volume_ids.as_slice(), told.detail.cycle), (&["vol-1".to_owned()][..], 2));
    assert_eq!((told.detail.node.as_str(), told.detail.phase), ("db", Some(Phase::Running)));
    assert_eq!(told.detail.instance_id, None, "the orphan's ids, not its node's");
    assert_eq!(entries[0].what, told.detail.reason);
    let (again, _) = tell(record.clone(), found, "nobody knows it", scope);
    assert_eq!(again.outbox.len(), 1);
    let (ended, entries) = tell(gone(&[]), found, "nobody knows it", scope);
    assert_eq!((ended.outbox.len(), entries.len()), (0, 1));
    let without = event(found, None, "nobody knows it", at(HOUR));
    assert_eq!((without.detail.id.as_str(), without.detail.phase), ("orphan-vol-1", None));
}

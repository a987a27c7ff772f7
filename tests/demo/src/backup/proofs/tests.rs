//! A good act proves everything; each fault fails its own proof.

use perennial_core::phase::Phase;
use serde_json::json;

use super::*;

fn at(second: i64) -> Timestamp {
    "2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_secs(second)
}

fn texts(all: &[&str]) -> Vec<String> {
    all.iter().map(|text| (*text).to_owned()).collect()
}

/// A member that runs on `instance`, launched from `image`.
fn runs(n: u32, instance: &str, cycle: u32, image: &str) -> Member {
    Member {
        name: format!("web-{n}"),
        phase: Some(Phase::Running),
        cycle,
        live: texts(&[instance]),
        image: image.to_owned(),
        root: format!("vol-{instance}"),
        ..Member::default()
    }
}

fn backup(n: i64) -> Backup {
    Backup {
        image: format!("ami-{n}"),
        state: "available".to_owned(),
        source: "i-1".to_owned(),
        taken: Some(at(n * 600)),
        snapshots: vec![format!("snap-{n}")],
    }
}

fn start(instance: &str, newest: Option<i64>) -> (String, Start) {
    let found = Contents { writes: 1205, lineage: texts(&["vol-i-1", "snap-3"]) };
    let start = Start {
        image: newest.map_or("ami-0".to_owned(), |n| format!("ami-{n}")),
        root: format!("vol-{instance}"),
        newest: newest.map(backup),
        found: newest.map(|_| found),
    };
    (instance.to_owned(), start)
}

/// Two members; three images of the first one's instance, the oldest of which is gone; an interruption; the end.
fn good() -> Evidence {
    let call = |operation: &str, second: i64| {
        json!({"function": "image-backup", "operation": operation, "status": 200, "time": at(second).to_string(),
               "parameters": {"NoReboot": "true"}})
    };
    let event = |word: &str, image: &str| json!({"detailType": word, "detail": {"imageId": image, "instanceId": "i-1", "durationSeconds": 20}});
    let images = ["ami-1", "ami-2", "ami-3"];
    let reading = |second: i64, writes: u64| Reading { at: at(second), writes };
    Evidence {
        wanted: Wanted { capacity: 2, keep: 2 },
        before: vec![runs(1, "i-1", 1, "ami-0"), runs(2, "i-2", 1, "ami-0")],
        back: vec![runs(1, "i-3", 2, "ami-3"), runs(2, "i-4", 2, "ami-3")],
        starts: [start("i-1", None), start("i-2", None), start("i-3", Some(3)), start("i-4", Some(3))].into(),
        readings: [("i-1".to_owned(), vec![reading(1790, 1200), reading(1800, 1204), reading(1802, 1210)])]
            .into(),
        backups: [1, 2, 3].map(|n| (format!("ami-{n}"), backup(n))).into(),
        made: texts(&images),
        gone: texts(&images[..1]),
        kept: vec![backup(3), backup(2)],
        kept_snapshots: texts(&["snap-2", "snap-3"]),
        looks: 100,
        crowds: Vec::new(),
        noticed: Some(at(1900)),
        returned: Some(at(2060)),
        deleted: Some(at(2100)),
        left: Some(Left::default()),
        calls: vec![
            call("CreateImage", 600),
            call("CreateImage", 1200),
            call("CreateImage", 1800),
            call("DeregisterImage", 1830),
            call("DeregisterImage", 5720),
        ],
        events: images
            .iter()
            .flat_map(|image| [event("Backup Created", image), event("Backup Removed", image)])
            .collect(),
    }
}

/// The one claim that fails after this change.
fn failing(change: impl FnOnce(&mut Evidence)) -> Proof {
    let mut evidence = good();
    change(&mut evidence);
    let mut failed = judge(&evidence);
    failed.retain(|proof| !proof.holds);
    assert_eq!(failed.len(), 1, "{failed:#?}");
    failed.remove(0)
}

#[test]
fn a_good_act_proves_everything_with_its_values() {
    let proofs = judge(&good());
    let values: Vec<&str> = proofs.iter().map(|proof| proof.values.as_str()).collect();
    assert!(proofs.iter().all(|proof| proof.holds), "{proofs:#?}");
    assert_eq!(
        values,
        [
            "web-1 i-3 after i-1; web-2 i-4 after i-2",
            "web-1 from ami-3, the newest was ami-3; web-2 from ami-3, the newest was ami-3",
            "web-1 found 1,205, the source had 1,204 to 1,210; web-2 found 1,205, the source had 1,204 to 1,210",
            "web-1 i-3; web-2 i-4; never two in 100 looks",
            "3 of 3 images with NoReboot, 0 stops or reboots",
            "3 made, ami-3, ami-2 kept; ami-1 gone, 0 stray snapshots",
            "of 3 backups 3 with their source, and 3 removals",
            "1 h; the first was removed +60:20 after",
            "0 images, 0 snapshots, 0 volumes, 0 instances",
        ]
    );
    assert_eq!(numbers(&good()).len(), 1);
}

#[test]
fn nothing_read_proves_nothing() {
    assert!(judge(&Evidence::default()).iter().all(|proof| !proof.holds));
}

#[test]
fn whoever_starts_from_an_older_backup_is_found_out() {
    let proof = failing(|e| {
        let start = e.starts.get_mut("i-4").unwrap();
        // What it found is right for that one.
        "ami-2".clone_into(&mut start.image);
        start.found.as_mut().unwrap().writes = 701;
        let then = [Reading { at: at(1190), writes: 700 }, Reading { at: at(1202), writes: 702 }];
        e.readings.get_mut("i-1").unwrap().splice(0..0, then);
    });
    assert_eq!(
        proof.values,
        "web-1 from ami-3, the newest was ami-3; web-2 from ami-2, the newest was ami-3"
    );
}

#[test]
fn a_write_lost_or_too_many_or_of_another_disk_fails_one_proof() {
    let claim = "with all that was written before it was taken";
    let found = |change: fn(&mut Contents)| {
        failing(move |e| change(e.starts.get_mut("i-3").unwrap().found.as_mut().unwrap())).claim
    };
    assert_eq!(found(|contents| contents.writes = 1203), claim);
    assert_eq!(found(|contents| contents.writes = 1211), claim);
    assert_eq!(found(|contents| contents.lineage.clear()), claim);
}

#[test]
fn each_other_fault_fails_its_own_proof() {
    let claim = |change: fn(&mut Evidence)| failing(change).claim;
    assert_eq!(claim(|e| e.crowds = texts(&["web-1 on i-1 and i-3"])), "exactly one live instance each");
    let touched = "no member was stopped or rebooted for it";
    assert_eq!(claim(|e| e.calls[0]["parameters"]["NoReboot"] = json!("false")), touched);
    assert_eq!(
        claim(|e| e
            .calls
            .push(json!({"function": "image-backup", "operation": "StopInstances", "status": 200}))),
        touched
    );
    let kept = "the newest are kept, older ones gone with their snapshots";
    assert_eq!(claim(|e| e.kept_snapshots.push("snap-1".to_owned())), kept);
    assert_eq!(claim(|e| e.kept.push(backup(1))), kept);
    assert_eq!(claim(|e| drop(e.events.pop())), "each backup was told of, and its removal");
    assert_eq!(
        claim(|e| e.calls[4]["time"] = json!(at(5699).to_string())),
        "the deleted group's backups stayed for its retention"
    );
    assert_eq!(
        claim(|e| e.left.as_mut().unwrap().snapshots.push("snap-9".to_owned())),
        "then nothing is left"
    );
}

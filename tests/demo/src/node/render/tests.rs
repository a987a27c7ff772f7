//! The lines as a person sees them, at fixed widths and without colour.

use super::*;

fn thing(id: &str, state: &str) -> Thing {
    Thing { id: id.to_owned(), state: state.to_owned() }
}

fn step(cycle: u32, phase: &'static str, at: i64, seconds: i64) -> Step {
    Step { cycle, phase, at, seconds, why: format!("why {phase}") }
}

fn snapshot(id: &str, purpose: &str, state: &str, progress: u8) -> Snapshot {
    Snapshot {
        id: id.to_owned(),
        purpose: purpose.to_owned(),
        volume: "vol-1".to_owned(),
        state: state.to_owned(),
        progress,
    }
}

fn capturing() -> View {
    View {
        at: 372,
        stage: "the node comes back".to_owned(),
        waiting: "the final snapshot snap-3 (45%)".to_owned(),
        node: "capturing, cycle 1".to_owned(),
        network: "10.0.1.20 on eni-1".to_owned(),
        instance: "i-1 m5.large spot".to_owned(),
        instances: vec![thing("i-1", "terminated"), thing("i-10", "running")],
        writes: 1234,
        data: Vec::new(),
        writing: false,
        steps: vec![
            step(1, "launching", 2, 13),
            step(1, "running", 16, 201),
            step(1, "interrupting", 217, 145),
            step(1, "releasing", 362, 5),
            step(1, "capturing", 367, 5),
        ],
        snapshots: vec![
            snapshot("snap-2", "periodic", "completed", 100),
            snapshot("snap-3", "final", "pending", 45),
        ],
        volumes: vec![thing("vol-1", "available")],
        images: Vec::new(),
        blocked: None,
    }
}

fn texts(lines: &[Line]) -> Vec<&str> {
    lines.iter().map(|line| line.text.as_str()).collect()
}

#[test]
fn the_panel_shows_phases_progress_and_what_is_waited_for() {
    assert_eq!(
        texts(&capturing().panel(80, 24)),
        [
            "stage      +06:12  the node comes back",
            "node       capturing, cycle 1  10.0.1.20 on eni-1",
            "instance   i-1 m5.large spot  terminated",
            "volumes    vol-1 available",
            "guest      not writing  1,234 writes acknowledged",
            "cycle 1    launching 13 s › running 201 s › interrupting 145 s › releasing 5 s",
            "           › capturing 5 s…",
            "snapshots  snap-2 periodic  [####################] 100% completed of vol-1",
            "           snap-3 final     [#########-----------]  45% pending of vol-1",
            "waits for  the final snapshot snap-3 (45%)",
        ]
    );
}

#[test]
fn no_line_is_wider_than_the_terminal_however_long_the_values() {
    let mut view = capturing();
    view.stage = "long ".repeat(100);
    view.waiting = "änd\nwide ".repeat(40);
    view.instance = format!("i-{} x", "0".repeat(90));
    view.snapshots = (0..20).map(|n| snapshot(&format!("snap-{n}"), "periodic", "completed", 100)).collect();
    for (width, height) in [(20, 30), (40, 10), (79, 24), (200, 5)] {
        let lines = view.panel(width, height);
        assert!(lines.len() <= height);
        for line in &lines {
            assert!(measure_text_width(&line.text) <= width, "{width}: {}", line.text);
            assert!(!line.text.contains('\n'));
        }
    }
}

#[test]
fn a_low_terminal_loses_old_snapshots_before_anything_else() {
    let mut view = capturing();
    view.snapshots = (0..9).map(|n| snapshot(&format!("snap-{n}"), "periodic", "completed", 100)).collect();
    let lines = view.panel(80, 10);
    assert_eq!(lines.len(), 10);
    assert!(lines[7].text.starts_with("snapshots  snap-7"), "{}", lines[7].text);
    assert!(lines[9].text.starts_with("waits for"), "{}", lines[9].text);
}

#[test]
fn an_empty_view_is_a_panel_too() {
    assert_eq!(
        texts(
            &View { waiting: "config-change to read the new item".to_owned(), ..View::default() }
                .panel(60, 24)
        ),
        [
            "stage      +00:00  ",
            "node       -",
            "instance   -",
            "volumes    -",
            "guest      not writing  0 writes acknowledged",
            "waits for  config-change to read the new item",
        ]
    );
}

#[test]
fn a_block_takes_the_place_of_the_wait() {
    let view = View { blocked: Some("quota: too many (ask for more)".to_owned()), ..capturing() };
    let lines = view.panel(80, 24);
    let last = lines.last().unwrap();
    assert_eq!((last.text.as_str(), last.tone), ("blocked    quota: too many (ask for more)", Tone::Bad));
}

#[test]
fn each_change_is_one_line_and_no_change_is_none() {
    let before = capturing();
    assert_eq!(before.changes(&before), Vec::<String>::new());
    let mut after = before.clone();
    after.at = 380;
    after.steps.push(step(1, "imaging", 379, 1));
    after.snapshots = vec![snapshot("snap-3", "final", "completed", 100)];
    after.images = vec![thing("ami-1", "pending")];
    after.volumes.clear();
    after.writing = true;
    assert_eq!(
        after.changes(&before),
        [
            "+06:19 phase      imaging, cycle 1: why imaging",
            "+06:20 volume     vol-1: removed",
            "+06:20 image      ami-1: pending",
            "+06:20 snapshot   snap-3 final of vol-1: completed, 100%",
            "+06:20 snapshot   snap-2 periodic: removed",
            "+06:20 guest      begins to write; acknowledged so far: 1,234",
        ]
    );
}

#[test]
fn progress_alone_makes_no_line() {
    let before = capturing();
    let mut after = before.clone();
    after.at += 1;
    after.snapshots[1].progress = 80;
    after.waiting = "the final snapshot snap-3 (80%)".to_owned();
    assert_eq!(after.changes(&before), Vec::<String>::new());
}

//! From a view to lines of text: a panel that is drawn again and again, or one line for each change.
//!
//! Pure. Lines carry their meaning in words; a tone is only a hint for a terminal with colours.

use console::measure_text_width;

use super::view::{Snapshot, Step, Thing, View};
use crate::render::{LABEL, Line, NARROWEST, Tone, clock, dated, fit, grouped, label};
use crate::screen::Shown;

/// Cells of a progress bar.
const BAR: usize = 20;
/// Snapshots shown at most: the newest.
const SNAPSHOTS: usize = 6;

impl Shown for View {
    fn panel(&self, width: usize, height: usize) -> Vec<Line> {
        panel(self, width, height)
    }

    fn changes(&self, before: &View) -> Vec<String> {
        changes(before, self)
    }
}

/// The panel, each line at most `width` columns and at most `height` lines.
fn panel(view: &View, width: usize, height: usize) -> Vec<Line> {
    let width = width.max(NARROWEST);
    let mut lines = Vec::new();
    let line = |tone, text: String| Line { text: fit(&text, width), tone };
    let mut add = |tone, text: String| lines.push(line(tone, text));
    let state = |id: &str| view.instances.iter().find(|i| view.instance.starts_with(id) && i.id == id);
    add(Tone::Strong, format!("{:LABEL$}{}  {}", "stage", clock(view.at), view.stage));
    add(Tone::Plain, label("node", &[&view.node, &view.network]));
    let id = view.instance.split(' ').next().unwrap_or_default();
    let state = state(id).map(|i| i.state.as_str()).unwrap_or_default();
    add(Tone::Plain, label("instance", &[&view.instance, state]));
    let volumes: Vec<String> = view.volumes.iter().map(|v| format!("{} {}", v.id, v.state)).collect();
    add(Tone::Plain, label("volumes", &[&volumes.join(", ")]));
    let guest = if view.writing { "writing" } else { "not writing" };
    add(Tone::Plain, label("guest", &[guest, &written(view)]));
    for line in phases(&view.steps, width) {
        add(Tone::Plain, line);
    }
    let mut last: Vec<Line> = view
        .images
        .iter()
        .map(|image| line(Tone::Plain, label("image", &[&image.id, &image.state])))
        .collect();
    match &view.blocked {
        Some(blocked) => last.push(line(Tone::Bad, label("blocked", &[blocked]))),
        None if view.waiting.is_empty() => {}
        None => last.push(line(Tone::Quiet, label("waits for", &[&view.waiting]))),
    }
    // On a low terminal the oldest snapshots give way, not what is being waited for.
    let room = height.saturating_sub(lines.len() + last.len()).min(SNAPSHOTS);
    let skipped = view.snapshots.len().saturating_sub(room);
    for (nth, snapshot) in view.snapshots.iter().skip(skipped).enumerate() {
        let text = format!("{:LABEL$}{}", if nth == 0 { "snapshots" } else { "" }, bar(snapshot));
        lines.push(line(Tone::Plain, text));
    }
    lines.extend(last);
    lines.truncate(height.max(1));
    lines
}

/// The phases with their durations, one cycle after the other, wrapped between phases.
fn phases(steps: &[Step], width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut cycle = None;
    for (nth, step) in steps.iter().enumerate() {
        let running = if nth + 1 == steps.len() { "…" } else { "" };
        let word = format!("{} {} s{running}", step.phase, step.seconds);
        if cycle != Some(step.cycle) {
            cycle = Some(step.cycle);
            lines.push(format!("{:LABEL$}{word}", format!("cycle {}", step.cycle)));
            continue;
        }
        match lines.last_mut() {
            Some(line) if measure_text_width(line) + 3 + measure_text_width(&word) <= width => {
                line.push_str(" › ");
                line.push_str(&word);
            }
            Some(_) | None => lines.push(format!("{:LABEL$}› {word}", "")),
        }
    }
    lines
}

fn written(view: &View) -> String {
    format!("{} writes acknowledged", counts(view))
}

/// The guest's writes to the root, and to each data volume.
fn counts(view: &View) -> String {
    let data = view.data.iter().map(|(device, writes)| format!(", {device} {}", grouped(*writes)));
    grouped(view.writes) + &data.collect::<String>()
}

fn bar(snapshot: &Snapshot) -> String {
    let full = BAR * usize::from(snapshot.progress.min(100)) / 100;
    format!(
        "{} {:9} [{}{}] {:3}% {} of {}",
        snapshot.id,
        snapshot.purpose,
        "#".repeat(full),
        "-".repeat(BAR - full),
        snapshot.progress,
        snapshot.state,
        snapshot.volume,
    )
}

/// What changed between two views, a line for each in order of time; the first view is compared with an empty one.
fn changes(before: &View, after: &View) -> Vec<String> {
    let mut lines = Vec::new();
    let mut add = |at: i64, what: &str, text: String| {
        lines.push((at, dated(at, what, &text)));
    };
    if after.stage != before.stage {
        add(after.at, "stage", after.stage.clone());
    }
    for step in after.steps.iter().skip(before.steps.len()) {
        add(step.at, "phase", format!("{}, cycle {}: {}", step.phase, step.cycle, step.why));
    }
    if !after.network.is_empty() && after.network != before.network {
        add(after.at, "network", after.network.clone());
    }
    if !after.instance.is_empty() && after.instance != before.instance {
        add(after.at, "instance", after.instance.clone());
    }
    for (what, old, new) in [
        ("instance", &before.instances, &after.instances),
        ("volume", &before.volumes, &after.volumes),
        ("image", &before.images, &after.images),
    ] {
        things(old, new, |text| add(after.at, what, text));
    }
    for snapshot in &after.snapshots {
        let old = before.snapshots.iter().find(|old| old.id == snapshot.id);
        if old.is_none_or(|old| old.state != snapshot.state) {
            let Snapshot { id, purpose, volume, state, progress } = snapshot;
            add(after.at, "snapshot", format!("{id} {purpose} of {volume}: {state}, {progress}%"));
        }
    }
    for gone in before.snapshots.iter().filter(|old| after.snapshots.iter().all(|new| new.id != old.id)) {
        add(after.at, "snapshot", format!("{} {}: removed", gone.id, gone.purpose));
    }
    if before.writing != after.writing {
        let what = if after.writing { "begins to write" } else { "cannot write any more" };
        add(after.at, "guest", format!("{what}; acknowledged so far: {}", counts(after)));
    }
    match &after.blocked {
        Some(blocked) if after.blocked != before.blocked => add(after.at, "blocked", blocked.clone()),
        None if before.blocked.is_some() => add(after.at, "blocked", "no more".to_owned()),
        Some(_) | None => {}
    }
    lines.sort_by_key(|(at, _)| *at);
    lines.into_iter().map(|(_, line)| line).collect()
}

fn things(before: &[Thing], after: &[Thing], mut add: impl FnMut(String)) {
    for thing in after.iter().filter(|thing| !before.contains(thing)) {
        add(format!("{}: {}", thing.id, thing.state));
    }
    for gone in before.iter().filter(|old| after.iter().all(|new| new.id != old.id)) {
        add(format!("{}: removed", gone.id));
    }
}

#[cfg(test)]
mod tests;

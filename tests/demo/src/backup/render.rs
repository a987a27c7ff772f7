//! From a view of the group and its backups to lines of text: tables that are drawn again and again, or one line for
//! each change.

use super::view::{Image, Row, View};
use crate::render::{
    Line, NARROWEST, Tone, clock, columns, dated, fit, grouped, label, of_block, or_dash, writes,
};
use crate::screen::Shown;

/// Headings of the table of members.
const MEMBERS: [&str; 5] = ["member", "phase", "from image", "on disk", "instance"];
/// Headings of the table of backups.
const BACKUPS: [&str; 5] = ["backup", "state", "taken", "of", ""];

impl Shown for View {
    fn panel(&self, width: usize, height: usize) -> Vec<Line> {
        let width = width.max(NARROWEST);
        let line = |tone, text: String| Line { text: fit(&text, width), tone };
        let mut lines = vec![
            line(Tone::Strong, label("stage", &[&clock(self.at), &self.stage])),
            line(Tone::Plain, label("group", &[&self.wants])),
        ];
        let (members, backups) = (table(MEMBERS, &self.rows, member), table(BACKUPS, &self.backups, backup));
        for table in [members, backups] {
            let tones = std::iter::once(Tone::Strong).chain(std::iter::repeat(Tone::Plain));
            lines.extend(table.into_iter().zip(tones).map(|(text, tone)| line(tone, text)));
        }
        lines.extend(self.told.iter().map(|told| line(Tone::Bad, label("told", &[told]))));
        let blocked = self.rows.iter().filter_map(|row| Some((&row.name, row.blocked.as_ref()?)));
        lines.extend(blocked.map(|(name, why)| line(Tone::Bad, label("blocked", &[name, why]))));
        lines.truncate(height.max(1));
        lines
    }

    fn changes(&self, before: &View) -> Vec<String> {
        let mut lines = Vec::new();
        if self.stage != before.stage {
            lines.push(dated(self.at, "stage", &self.stage));
        }
        if self.wants != before.wants {
            lines.push(dated(self.at, "group", if self.wants.is_empty() { "deleted" } else { &self.wants }));
        }
        for row in &self.rows {
            let old = before.rows.iter().find(|old| old.name == row.name);
            let texts = row_changes(old.unwrap_or(&Row::default()), row);
            lines.extend(texts.iter().map(|text| dated(self.at, &row.name, text)));
        }
        for image in &self.backups {
            let old = before.backups.iter().find(|old| old.id == image.id);
            let texts = image_changes(old, image);
            lines.extend(texts.iter().map(|text| dated(self.at, "backup", text)));
        }
        for image in before.backups.iter().filter(|old| self.backups.iter().all(|it| it.id != old.id)) {
            lines.push(dated(self.at, "backup", &format!("{}: removed", image.id)));
        }
        for told in self.told.iter().filter(|told| !before.told.contains(told)) {
            lines.push(dated(self.at, "told", told));
        }
        lines
    }
}

fn table<T, const N: usize>(headings: [&str; N], rows: &[T], cells: fn(&T) -> [String; N]) -> Vec<String> {
    columns(&std::iter::once(headings.map(str::to_owned)).chain(rows.iter().map(cells)).collect::<Vec<_>>())
}

fn member(row: &Row) -> [String; 5] {
    let [phase, image, instance] = [&row.phase, &row.image, &row.instance].map(|it| or_dash(it));
    [row.name.clone(), phase, image, writes(row.writes, row.writing), instance]
}

fn backup(image: &Image) -> [String; 5] {
    let effect = if image.effective { "members start from it" } else { "" };
    let taken = image.taken.map(clock).unwrap_or_default();
    [image.id.clone(), image.state.clone(), or_dash(&taken), or_dash(&image.source), effect.to_owned()]
}

/// What changed of one member, in words.
fn row_changes(before: &Row, after: &Row) -> Vec<String> {
    let mut texts = Vec::new();
    if after.phase != before.phase {
        texts.push(format!("{}: {}", after.phase, after.reason));
    }
    if after.instance != before.instance && !after.instance.is_empty() {
        texts.push(format!("{} from {}", after.instance, after.image));
    }
    if after.writing != before.writing {
        texts.push(match after.writing {
            true => format!("the guest begins to write; on its disk: {}", grouped(after.writes)),
            false => "the guest cannot write any more".to_owned(),
        });
    }
    texts.extend(of_block(before.blocked.as_deref(), after.blocked.as_deref()));
    texts
}

/// What changed of one backup, in words.
fn image_changes(before: Option<&Image>, after: &Image) -> Vec<String> {
    let mut texts = Vec::new();
    if before.is_none_or(|before| before.state != after.state) {
        texts.push(format!("{} of {}: {}", after.id, or_dash(&after.source), after.state));
    }
    if after.effective && before.is_none_or(|before| !before.effective) {
        texts.push(format!("{}: members start from it from now on", after.id));
    }
    texts
}

#[cfg(test)]
mod tests {
    use console::measure_text_width;

    use super::*;

    fn row(name: &str) -> Row {
        Row {
            name: name.to_owned(),
            phase: "running 1".to_owned(),
            reason: "why".to_owned(),
            image: "ami-0".to_owned(),
            instance: "i-1 m5.large spot running".to_owned(),
            writes: 1234,
            writing: true,
            blocked: None,
        }
    }

    fn image(id: &str, effective: bool) -> Image {
        let (state, source) = ("available".to_owned(), "i-1".to_owned());
        Image { id: id.to_owned(), state, source, taken: Some(61), effective }
    }

    fn one() -> View {
        View {
            at: 90,
            stage: "guests write".to_owned(),
            wants: "web: capacity 1".to_owned(),
            told: Vec::new(),
            rows: vec![row("web-1")],
            backups: vec![image("ami-2", true), image("ami-1", false)],
        }
    }

    fn texts(lines: &[Line]) -> Vec<&str> {
        lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn members_and_backups_are_tables() {
        assert_eq!(
            texts(&one().panel(100, 24)),
            [
                "stage      +01:30  guests write",
                "group      web: capacity 1",
                "member  phase      from image  on disk  instance",
                "web-1   running 1  ami-0       1,234…   i-1 m5.large spot running",
                "backup  state      taken   of",
                "ami-2   available  +01:01  i-1  members start from it",
                "ami-1   available  +01:01  i-1",
            ]
        );
    }

    #[test]
    fn what_is_told_or_blocked_is_said_below() {
        let mut view = one();
        view.told.push("skipped: no member runs".to_owned());
        view.rows[0].blocked = Some("no-capacity: none left (wait)".to_owned());
        let lines = view.panel(100, 24);
        assert_eq!(
            texts(&lines)[7..],
            ["told       skipped: no member runs", "blocked    web-1  no-capacity: none left (wait)"]
        );
        assert!(lines[7..].iter().all(|line| line.tone == Tone::Bad));
    }

    #[test]
    fn no_line_is_wider_and_the_panel_no_higher_than_the_terminal() {
        let mut view = one();
        view.stage = "long ".repeat(50);
        view.told = vec!["änd\nwide ".repeat(40)];
        view.rows = (0..30).map(|n| row(&format!("web-{n}"))).collect();
        for (width, height) in [(20, 30), (40, 10), (200, 5), (80, 0)] {
            let lines = view.panel(width, height);
            assert!(lines.len() <= height.max(1));
            assert!(lines.iter().all(|line| measure_text_width(&line.text) <= width));
        }
        assert_eq!(View::default().panel(80, 24).len(), 4, "an empty view is a panel too");
    }

    #[test]
    fn each_change_is_one_line_and_no_change_is_none() {
        let before = one();
        assert_eq!(before.changes(&before), Vec::<String>::new());
        let mut after = before.clone();
        after.wants = String::new();
        after.rows[0] = Row {
            phase: "launching 2".to_owned(),
            instance: "i-2 m5.large spot pending".to_owned(),
            image: "ami-3".to_owned(),
            writing: false,
            ..row("web-1")
        };
        after.backups = vec![image("ami-3", true), image("ami-2", false)];
        assert_eq!(
            after.changes(&before),
            [
                "+01:30 group      deleted",
                "+01:30 web-1      launching 2: why",
                "+01:30 web-1      i-2 m5.large spot pending from ami-3",
                "+01:30 web-1      the guest cannot write any more",
                "+01:30 backup     ami-3 of i-1: available",
                "+01:30 backup     ami-3: members start from it from now on",
                "+01:30 backup     ami-1: removed",
            ]
        );
    }
}

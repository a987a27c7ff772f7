//! From a view of the group to lines of text: a table that is drawn again and again, or one line for each change.

use super::view::{Row, View};
use crate::render::{
    Line, NARROWEST, Tone, clock, columns, dated, fit, label, of_block, of_guest, or_dash, writes,
};
use crate::screen::Shown;

/// Headings of the table.
const HEADINGS: [&str; 6] = ["member", "phase", "address", "Elastic IP", "writes", "instance"];

impl Shown for View {
    fn panel(&self, width: usize, height: usize) -> Vec<Line> {
        let width = width.max(NARROWEST);
        let line = |tone, text: String| Line { text: fit(&text, width), tone };
        let mut lines = vec![
            line(Tone::Strong, label("stage", &[&clock(self.at), &self.stage])),
            line(Tone::Plain, label("group", &[&self.wants])),
        ];
        for (nth, text) in table(&self.rows).into_iter().enumerate() {
            lines.push(line(if nth == 0 { Tone::Strong } else { Tone::Plain }, text));
        }
        lines.extend(self.told.iter().map(|told| line(Tone::Bad, label("told", &[told]))));
        for row in &self.rows {
            match &row.blocked {
                Some(blocked) => lines.push(line(Tone::Bad, label("blocked", &[&row.name, blocked]))),
                None if row.settled => {}
                None => lines.push(line(Tone::Quiet, label("under way", &[&row.name, &row.reason]))),
            }
        }
        lines.truncate(height.max(1));
        lines
    }

    fn changes(&self, before: &View) -> Vec<String> {
        let mut lines = Vec::new();
        if self.stage != before.stage {
            lines.push(dated(self.at, "stage", &self.stage));
        }
        if self.wants != before.wants && !self.wants.is_empty() {
            lines.push(dated(self.at, "group", &self.wants));
        }
        for row in &self.rows {
            let old = before.rows.iter().find(|old| old.name == row.name);
            let texts = row_changes(old.unwrap_or(&Row::default()), row);
            lines.extend(texts.iter().map(|text| dated(self.at, &row.name, text)));
        }
        for told in self.told.iter().filter(|told| !before.told.contains(told)) {
            lines.push(dated(self.at, "told", told));
        }
        for told in before.told.iter().filter(|told| !self.told.contains(told)) {
            lines.push(dated(self.at, "no more", told));
        }
        lines
    }
}

/// The table with its headings.
fn table(rows: &[Row]) -> Vec<String> {
    let headings = HEADINGS.map(str::to_owned);
    columns(&std::iter::once(headings).chain(rows.iter().map(cells)).collect::<Vec<_>>())
}

fn cells(row: &Row) -> [String; 6] {
    let writes = writes(row.writes, row.writing);
    let instance = match (row.instance.is_empty(), row.interface.is_empty()) {
        (true, false) => format!("none, {} keeps the address", row.interface),
        (true, true) | (false, _) => or_dash(&row.instance),
    };
    let [phase, address, elastic_ip] = [&row.phase, &row.address, &row.elastic_ip].map(|it| or_dash(it));
    [row.name.clone(), phase, address, elastic_ip, writes, instance]
}

/// What changed of one member, in words.
fn row_changes(before: &Row, after: &Row) -> Vec<String> {
    let mut texts = Vec::new();
    if after.phase != before.phase {
        texts.push(format!("{}: {}", after.phase, after.reason));
    }
    match (before.interface.is_empty(), after.interface.is_empty()) {
        (_, false) if before.interface != after.interface => {
            texts.push(format!("{} on {}", after.address, after.interface));
        }
        (false, true) => texts.push(format!("{}: removed", before.interface)),
        (_, _) => {}
    }
    if after.elastic_ip != before.elastic_ip {
        texts.push(match after.elastic_ip.as_str() {
            "" => format!("Elastic IP {}: no more", before.elastic_ip),
            one => format!("Elastic IP {one}"),
        });
    }
    if after.instance != before.instance && !after.instance.is_empty() {
        texts.push(after.instance.clone());
    }
    if after.writing != before.writing {
        texts.push(of_guest(after.writing, after.writes));
    }
    texts.extend(of_block(before.blocked.as_deref(), after.blocked.as_deref()));
    texts
}

#[cfg(test)]
mod tests {
    use console::measure_text_width;

    use super::*;

    fn row(name: &str, phase: &str) -> Row {
        Row {
            name: name.to_owned(),
            phase: phase.to_owned(),
            reason: format!("why {phase}"),
            address: "10.0.1.21".to_owned(),
            interface: "eni-1".to_owned(),
            elastic_ip: "198.18.0.1".to_owned(),
            instance: "i-1 m5.large spot running".to_owned(),
            writes: 1234,
            writing: true,
            settled: true,
            blocked: None,
        }
    }

    fn two() -> View {
        let paused = Row {
            address: "10.0.2.22".to_owned(),
            interface: "eni-2".to_owned(),
            elastic_ip: String::new(),
            instance: String::new(),
            writes: 0,
            writing: false,
            ..row("ring-12", "paused")
        };
        View {
            at: 61,
            stage: "they come back".to_owned(),
            wants: "ring: capacity 1".to_owned(),
            told: vec!["too short".to_owned()],
            rows: vec![row("ring-1", "running 2"), paused],
        }
    }

    fn texts(lines: &[Line]) -> Vec<&str> {
        lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn the_table_has_a_row_for_each_member_in_columns() {
        assert_eq!(
            texts(&two().panel(100, 24)),
            [
                "stage      +01:01  they come back",
                "group      ring: capacity 1",
                "member   phase      address    Elastic IP  writes  instance",
                "ring-1   running 2  10.0.1.21  198.18.0.1  1,234…  i-1 m5.large spot running",
                "ring-12  paused     10.0.2.22  -           -       none, eni-2 keeps the address",
                "told       too short",
            ]
        );
    }

    #[test]
    fn what_is_under_way_or_blocked_is_said_below() {
        let mut view = two();
        view.told.clear();
        view.rows[0] = Row { settled: false, ..row("ring-1", "releasing 1") };
        view.rows[1].blocked = Some("address-taken: by eni-9 (free it)".to_owned());
        let lines = view.panel(100, 24);
        assert_eq!(
            texts(&lines)[5..],
            ["under way  ring-1  why releasing 1", "blocked    ring-12  address-taken: by eni-9 (free it)"]
        );
        assert_eq!((lines[5].tone, lines[6].tone), (Tone::Quiet, Tone::Bad));
    }

    #[test]
    fn no_line_is_wider_and_the_panel_no_higher_than_the_terminal() {
        let mut view = two();
        view.stage = "long ".repeat(50);
        view.told = vec!["änd\nwide ".repeat(40)];
        view.rows = (0..30).map(|n| row(&format!("ring-{n}"), "running 1")).collect();
        for (width, height) in [(20, 30), (40, 10), (200, 5), (80, 0)] {
            let lines = view.panel(width, height);
            assert!(lines.len() <= height.max(1));
            assert!(lines.iter().all(|line| measure_text_width(&line.text) <= width));
        }
    }

    #[test]
    fn an_empty_view_is_a_panel_too() {
        let lines = View::default().panel(80, 24);
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[1].text, "group      -");
    }

    #[test]
    fn each_change_is_one_line_and_no_change_is_none() {
        let before = two();
        assert_eq!(before.changes(&before), Vec::<String>::new());
        let mut after = before.clone();
        after.at = 65;
        after.told = Vec::new();
        after.rows[0].writes += 5;
        after.rows[1] =
            Row { interface: String::new(), address: String::new(), ..row("ring-12", "deallocated") };
        after.rows[1].writing = false;
        after.rows[1].instance = String::new();
        after.rows.push(Row { name: "ring-13".to_owned(), phase: "new".to_owned(), ..Row::default() });
        assert_eq!(
            after.changes(&before),
            [
                "+01:05 ring-12    deallocated: why deallocated",
                "+01:05 ring-12    eni-2: removed",
                "+01:05 ring-12    Elastic IP 198.18.0.1",
                "+01:05 ring-13    new: ",
                "+01:05 no more    too short",
            ]
        );
    }
}

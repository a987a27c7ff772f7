//! Tables of what there is, drawn again and again, or one line for each change.
//!
//! Pure. Decides what of a table is shown and what of two moments is told; what stands in it is the act's own. Lines
//! carry their meaning in words; a tone is only a hint for a terminal with colours.

use crate::render::{Line, NARROWEST, Tone, clock, columns, dated, fit, label};
use crate::screen::Shown;

/// One moment of a story told in tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Board {
    /// Cloud seconds since the start.
    pub(crate) at: i64,
    /// What the demonstration does or awaits.
    pub(crate) stage: String,
    /// What the group's item asks for; nothing once it is deleted.
    pub(crate) wants: String,
    /// What there is.
    pub(crate) tables: Vec<Table>,
    /// What Perennial answers in the item.
    pub(crate) told: Vec<String>,
}

/// Things of a kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) headings: Vec<&'static str>,
    pub(crate) rows: Vec<Row>,
}

/// One thing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Row {
    /// By which it is known again.
    pub(crate) name: String,
    /// What lines about it begin with.
    pub(crate) label: String,
    pub(crate) cells: Vec<String>,
    /// What is told when it changes, in this order.
    pub(crate) facts: Vec<Fact>,
    /// What keeps it waiting, and how bad that is.
    pub(crate) waits: Option<(Tone, String)>,
    /// What is told when it is there no more, if anything is.
    pub(crate) removed: Option<String>,
}

/// Something that may change, and how that is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fact {
    /// What it is; nothing if it is not so.
    pub(crate) is: String,
    /// That it is so now.
    pub(crate) says: String,
    /// That it is so no more; empty where that is not worth a line.
    pub(crate) ends: String,
}

impl Fact {
    /// A fact that is told when it becomes another one.
    pub(crate) fn new(is: &str, says: impl Into<String>) -> Fact {
        Fact { is: is.to_owned(), says: says.into(), ends: String::new() }
    }

    /// The same, told as well when it ends.
    pub(crate) fn ending(self, ends: impl Into<String>) -> Fact {
        Fact { ends: ends.into(), ..self }
    }

    /// What there is to say of it after `before`.
    fn change(&self, before: &Fact) -> Option<String> {
        let says = match (self.is == before.is, self.is.is_empty()) {
            (true, _) => return None,
            (false, false) => &self.says,
            // What has ended may be known only by what it was.
            (false, true) if self.ends.is_empty() => &before.ends,
            (false, true) => &self.ends,
        };
        (!says.is_empty()).then(|| says.clone())
    }
}

impl Shown for Board {
    fn panel(&self, width: usize, height: usize) -> Vec<Line> {
        let width = width.max(NARROWEST);
        let line = |tone, text: String| Line { text: fit(&text, width), tone };
        let mut lines = vec![
            line(Tone::Strong, label("stage", &[&clock(self.at), &self.stage])),
            line(Tone::Plain, label("group", &[&self.wants])),
        ];
        for table in &self.tables {
            let tones = std::iter::once(Tone::Strong).chain(std::iter::repeat(Tone::Plain));
            lines.extend(drawn(table).into_iter().zip(tones).map(|(text, tone)| line(tone, text)));
        }
        lines.extend(self.told.iter().map(|told| line(Tone::Bad, label("told", &[told]))));
        let waiting = self.tables.iter().flat_map(|table| &table.rows);
        for (row, (tone, why)) in waiting.filter_map(|row| Some((row, row.waits.as_ref()?))) {
            let what = if *tone == Tone::Bad { "blocked" } else { "under way" };
            lines.push(line(*tone, label(what, &[&row.name, why])));
        }
        lines.truncate(height.max(1));
        lines
    }

    fn changes(&self, before: &Board) -> Vec<String> {
        let mut lines = Vec::new();
        if self.stage != before.stage {
            lines.push(dated(self.at, "stage", &self.stage));
        }
        if self.wants != before.wants {
            lines.push(dated(self.at, "group", if self.wants.is_empty() { "deleted" } else { &self.wants }));
        }
        let none = Table::default();
        for (nth, table) in self.tables.iter().enumerate() {
            let old = before.tables.get(nth).unwrap_or(&none);
            lines.extend(table.changes(old).into_iter().map(|(what, text)| dated(self.at, &what, &text)));
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

impl Table {
    /// What changed, each with what its line begins with.
    fn changes(&self, before: &Table) -> Vec<(String, String)> {
        let (mut changes, unknown) = (Vec::new(), Fact::default());
        for row in &self.rows {
            let old = before.rows.iter().find(|old| old.name == row.name);
            for (nth, fact) in row.facts.iter().enumerate() {
                let old = old.and_then(|old| old.facts.get(nth)).unwrap_or(&unknown);
                changes.extend(fact.change(old).map(|text| (row.label.clone(), text)));
            }
        }
        let gone = before.rows.iter().filter(|old| self.rows.iter().all(|row| row.name != old.name));
        changes.extend(gone.filter_map(|old| Some((old.label.clone(), old.removed.clone()?))));
        changes
    }
}

/// A table with its headings.
fn drawn(table: &Table) -> Vec<String> {
    let headings: Vec<String> = table.headings.iter().map(|&heading| heading.to_owned()).collect();
    columns(
        &std::iter::once(headings).chain(table.rows.iter().map(|row| row.cells.clone())).collect::<Vec<_>>(),
    )
}

#[cfg(test)]
mod tests {
    use console::measure_text_width;

    use super::*;

    fn row(name: &str, state: &str) -> Row {
        Row {
            name: name.to_owned(),
            label: name.to_owned(),
            cells: vec![name.to_owned(), state.to_owned()],
            facts: vec![
                Fact::new(state, format!("{state}: why")),
                Fact::new("eni-1", "10.0.1.21 on eni-1").ending("eni-1: removed"),
            ],
            ..Row::default()
        }
    }

    fn two() -> Board {
        let headings = vec!["member", "phase"];
        Board {
            at: 61,
            stage: "they come back".to_owned(),
            wants: "ring: capacity 1".to_owned(),
            tables: vec![Table {
                headings,
                rows: vec![row("ring-1", "running 2"), row("ring-12", "paused")],
            }],
            told: vec!["too short".to_owned()],
        }
    }

    fn texts(lines: &[Line]) -> Vec<&str> {
        lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn a_table_has_a_row_for_each_in_columns() {
        assert_eq!(
            texts(&two().panel(100, 24)),
            [
                "stage      +01:01  they come back",
                "group      ring: capacity 1",
                "member   phase",
                "ring-1   running 2",
                "ring-12  paused",
                "told       too short",
            ]
        );
    }

    #[test]
    fn what_is_under_way_or_blocked_is_said_below() {
        let mut board = two();
        board.told.clear();
        board.tables[0].rows[0].waits = Some((Tone::Quiet, "why releasing 1".to_owned()));
        board.tables[0].rows[1].waits = Some((Tone::Bad, "address-taken: by eni-9 (free it)".to_owned()));
        let lines = board.panel(100, 24);
        assert_eq!(
            texts(&lines)[5..],
            ["under way  ring-1  why releasing 1", "blocked    ring-12  address-taken: by eni-9 (free it)"]
        );
        assert_eq!((lines[5].tone, lines[6].tone), (Tone::Quiet, Tone::Bad));
    }

    #[test]
    fn no_line_is_wider_and_the_panel_no_higher_than_the_terminal() {
        let mut board = two();
        board.stage = "long ".repeat(50);
        board.told = vec!["änd\nwide ".repeat(40)];
        board.tables[0].rows = (0..30).map(|n| row(&format!("ring-{n}"), "running 1")).collect();
        for (width, height) in [(20, 30), (40, 10), (200, 5), (80, 0)] {
            let lines = board.panel(width, height);
            assert!(lines.len() <= height.max(1));
            assert!(lines.iter().all(|line| measure_text_width(&line.text) <= width));
        }
        let empty = Board::default().panel(80, 24);
        assert_eq!(texts(&empty), ["stage      +00:00", "group      -"], "an empty board is a panel too");
    }

    #[test]
    fn each_change_is_one_line_and_no_change_is_none() {
        let before = two();
        assert_eq!(before.changes(&before), Vec::<String>::new());
        let mut after = before.clone();
        (after.at, after.told, after.wants) = (65, Vec::new(), String::new());
        after.tables[0].rows[0].cells[1] = "what is not watched".to_owned();
        after.tables[0].rows[1] = row("ring-12", "deallocated");
        after.tables[0].rows[1].facts[1] = Fact::default();
        after.tables[0].rows.push(Row { facts: vec![Fact::new("new", "new: ")], ..row("ring-13", "") });
        after.tables.push(Table { headings: vec!["backup"], rows: vec![row("ami-1", "pending")] });
        assert_eq!(
            after.changes(&before),
            [
                "+01:05 group      deleted",
                "+01:05 ring-12    deallocated: why",
                "+01:05 ring-12    eni-1: removed",
                "+01:05 ring-13    new: ",
                "+01:05 ami-1      pending: why",
                "+01:05 ami-1      10.0.1.21 on eni-1",
                "+01:05 no more    too short",
            ]
        );
    }

    #[test]
    fn a_row_that_goes_is_told_if_it_says_how() {
        let mut before = two();
        before.tables[0].rows[0].removed = Some("ring-1: removed".to_owned());
        let mut after = before.clone();
        after.tables[0].rows.clear();
        assert_eq!(after.changes(&before), ["+01:01 ring-1     ring-1: removed"]);
    }

    #[test]
    fn what_ends_says_so_by_what_is_known_now_or_else_then() {
        let begins = Fact::new("yes", "begins: 0").ending("ended: 0");
        let ended = Fact::new("", "").ending("ended: 7");
        assert_eq!(ended.change(&begins).as_deref(), Some("ended: 7"));
        assert_eq!(Fact::default().change(&begins).as_deref(), Some("ended: 0"));
        assert_eq!(Fact::default().change(&Fact::new("yes", "begins")), None);
        assert_eq!(ended.change(&Fact::default()), None, "nothing ends that never was");
    }
}

//! Where the lines go: a panel that is redrawn on a terminal, or lines appended where there is none.
//!
//! Decides how much a terminal is used. Never moves the cursor, colours or hides anything unless standard output is a
//! terminal that can and the environment does not ask otherwise (`NO_COLOR`, `TERM=dumb`). A line that cannot be
//! written, because the reader has gone, is no failure of the demonstration.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use console::{Style, Term};

use crate::render::{Line, Tone, wrapped};

/// Real time between two drawings of the panel: fast enough for a clock, slow enough for a slow line.
const REDRAW: Duration = Duration::from_millis(100);

/// What a person is shown at one moment. The default is what there is before the first look.
pub(crate) trait Shown: Default {
    /// The panel, each line at most `width` columns and at most `height` lines.
    fn panel(&self, width: usize, height: usize) -> Vec<Line>;

    /// What changed since `before`, a line for each in order of time.
    fn changes(&self, before: &Self) -> Vec<String>;
}

/// Where a person looks.
pub(crate) enum Screen {
    /// A terminal with a panel of so many lines at the bottom.
    Panel {
        /// The terminal, buffered so that a panel appears at once.
        term: Term,
        /// Lines of the panel now on the terminal.
        drawn: usize,
        /// When it was drawn.
        last: Option<Instant>,
    },
    /// Anything else.
    Plain,
}

impl Screen {
    /// The screen that suits standard output and the environment.
    pub(crate) fn choose() -> Screen {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let dumb = set("TERM").is_none_or(|term| term == "dumb");
        if !std::io::stdout().is_terminal() || dumb || set("NO_COLOR").is_some() {
            return Screen::Plain;
        }
        let term = Term::buffered_stdout();
        drop(term.hide_cursor());
        Screen::Panel { term, drawn: 0, last: None }
    }

    /// Shows a view: draws the panel anew, or says what changed since the view shown before.
    pub(crate) fn show<V: Shown>(&mut self, before: &V, view: &V) {
        match self {
            Screen::Panel { term, drawn, last } => {
                if last.is_none_or(|last| last.elapsed() >= REDRAW) {
                    *last = Some(Instant::now());
                    drop(draw(term, drawn, view));
                }
            }
            Screen::Plain => view.changes(before).iter().for_each(|line| append(line)),
        }
    }

    /// Leaves the last view standing and lets lines follow it.
    pub(crate) fn finish<V: Shown>(&mut self, view: &V) {
        match self {
            Screen::Panel { term, drawn, last } => {
                drop(draw(term, drawn, view));
                (*drawn, *last) = (0, None);
            }
            Screen::Plain => {}
        }
    }

    /// Writes a line for good; a panel must have been finished before.
    pub(crate) fn line(&mut self, text: &str, tone: Tone) {
        match self {
            Screen::Panel { term, .. } => {
                for part in wrapped(text, usize::from(term.size().1)) {
                    drop(term.write_line(&painted(&part, tone)));
                }
                drop(term.flush());
            }
            Screen::Plain => append(text),
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if let Screen::Panel { term, .. } = self {
            drop(term.show_cursor());
            drop(term.flush());
        }
    }
}

fn append(line: &str) {
    drop(writeln!(std::io::stdout().lock(), "{line}"));
}

fn draw<V: Shown>(term: &Term, drawn: &mut usize, view: &V) -> std::io::Result<()> {
    let (rows, columns) = term.size();
    // The last row stays free for the cursor, the last column so that no terminal wraps.
    let lines = view.panel(usize::from(columns).saturating_sub(1), usize::from(rows).saturating_sub(1));
    term.move_cursor_up(*drawn)?;
    for Line { text, tone } in &lines {
        term.clear_line()?;
        term.write_line(&painted(text, *tone))?;
    }
    term.clear_to_end_of_screen()?;
    *drawn = lines.len();
    term.flush()
}

fn painted(text: &str, tone: Tone) -> String {
    let style = match tone {
        Tone::Plain => return text.to_owned(),
        Tone::Strong => Style::new().bold(),
        Tone::Good => Style::new().green(),
        Tone::Bad => Style::new().red(),
        Tone::Quiet => Style::new().cyan(),
    };
    style.apply_to(text).to_string()
}

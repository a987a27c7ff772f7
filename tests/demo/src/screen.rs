//! Where the lines go: a panel that is redrawn on a terminal, or lines appended where there is none.
//!
//! Decides how much a terminal is used. Never moves the cursor, colours or hides anything unless standard output is a
//! terminal that can and the environment does not ask otherwise (`NO_COLOR`, `TERM=dumb`). A line that cannot be
//! written, because the reader has gone, is no failure of the demonstration.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use console::{Style, Term};

use crate::render::{Line, Tone, changes, panel, wrapped};
use crate::view::View;

/// Real time between two drawings of the panel: fast enough for a clock, slow enough for a slow line.
const REDRAW: Duration = Duration::from_millis(100);

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
    /// Anything else, and the view that was told of last.
    Plain(Box<View>),
}

impl Screen {
    /// The screen that suits standard output and the environment.
    pub(crate) fn choose() -> Screen {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let dumb = set("TERM").is_none_or(|term| term == "dumb");
        if !std::io::stdout().is_terminal() || dumb || set("NO_COLOR").is_some() {
            return Screen::Plain(Box::default());
        }
        let term = Term::buffered_stdout();
        drop(term.hide_cursor());
        Screen::Panel { term, drawn: 0, last: None }
    }

    /// Shows a view: draws the panel anew, or says what changed.
    pub(crate) fn show(&mut self, view: &View) {
        match self {
            Screen::Panel { term, drawn, last } => {
                if last.is_none_or(|last| last.elapsed() >= REDRAW) {
                    *last = Some(Instant::now());
                    drop(draw(term, drawn, view));
                }
            }
            Screen::Plain(before) => {
                let lines = changes(before, view);
                **before = view.clone();
                for line in lines {
                    append(&line);
                }
            }
        }
    }

    /// Leaves the last view standing and lets lines follow it.
    pub(crate) fn finish(&mut self, view: &View) {
        match self {
            Screen::Panel { term, drawn, last } => {
                drop(draw(term, drawn, view));
                (*drawn, *last) = (0, None);
            }
            Screen::Plain(_) => self.show(view),
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
            Screen::Plain(_) => append(text),
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

fn draw(term: &Term, drawn: &mut usize, view: &View) -> std::io::Result<()> {
    let (rows, columns) = term.size();
    // The last row stays free for the cursor, the last column so that no terminal wraps.
    let lines = panel(view, usize::from(columns).saturating_sub(1), usize::from(rows).saturating_sub(1));
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

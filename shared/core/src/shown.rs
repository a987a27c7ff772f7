//! What is shown of text that came from outside: in logs, answers, journal and own events.
//!
//! Bounded, so that nobody can flood them, and so that no item or event is ever told whole.

/// The longest an id, a path or a value is shown, in characters.
pub const SHOWN_MAX: usize = 120;
/// The longest sentence of AWS that is kept. What says who may not do what comes first; after it an
/// `UnauthorizedOperation` has thousands of characters in code.
pub const MESSAGE_MAX: usize = 600;

/// The beginning of a text, with an ellipsis if there was more.
pub fn bounded(text: impl Into<String>, most: usize) -> String {
    let mut text = text.into();
    if let Some((end, _)) = text.char_indices().nth(most) {
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_short_stays_and_what_is_long_ends_between_characters() {
        assert_eq!(bounded("äöü", 3), "äöü");
        assert_eq!(bounded("äöüß", 3), "äöü…");
        assert_eq!(bounded("", 0), "");
    }
}

//! A claim and whether it holds.
//!
//! Pure. A proof says the exact values it rests on, so that a person can check it; it never passes because something
//! could not be read: nothing is not equal to nothing here.

/// One claim and whether it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proof {
    pub(crate) holds: bool,
    pub(crate) claim: &'static str,
    /// The values it rests on.
    pub(crate) values: String,
}

impl Proof {
    /// The proof as a line, readable without colour; `number` is its place among the others, from 1.
    pub(crate) fn line(&self, number: usize) -> String {
        let (mark, word) = if self.holds { ("✓", "proven") } else { ("✗", "FAILED") };
        format!("{mark} {word} {number:>2}  {}: {}", self.claim, self.values)
    }
}

/// Whether both were read and are equal.
pub(crate) fn same(before: &str, after: &str) -> bool {
    !before.is_empty() && before == after
}

/// Ids as a person reads them.
pub(crate) fn listed<S: AsRef<str>>(ids: &[S]) -> String {
    let ids: Vec<&str> = ids.iter().map(AsRef::as_ref).collect();
    if ids.is_empty() { "none".to_owned() } else { ids.join(", ") }
}

/// What is said of each, where each may be a list itself.
pub(crate) fn told_of_each(values: &[String]) -> String {
    if values.is_empty() { listed(values) } else { values.join("; ") }
}

/// Notes what is not yet noted.
pub(crate) fn note<T: PartialEq>(known: &mut Vec<T>, what: T) {
    if !known.contains(&what) {
        known.push(what);
    }
}

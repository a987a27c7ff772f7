//! Describe calls: ids, filters and pages, the same way for every type.
//!
//! An unknown filter is refused even when nothing would have matched; it is never ignored.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use jiff::Timestamp;

use super::{ApiError, Cloud, Kind, Tags};

/// One filter of a describe call; the values are alternatives, several filters must all hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Filter name, for example `tag:Name`.
    pub name: String,
    /// Values; `*` stands for any characters, `?` for one, `\` takes the next character as it is.
    pub values: Vec<String>,
}

impl Filter {
    /// A filter with one value.
    pub fn new(name: &str, value: &str) -> Filter {
        Filter { name: name.to_owned(), values: vec![value.to_owned()] }
    }
}

/// What a describe call asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Describe {
    /// Ids; every one must exist.
    pub ids: Vec<String>,
    /// Filters.
    pub filters: Vec<Filter>,
    /// Page length.
    pub max_results: Option<u32>,
    /// Where the previous page ended.
    pub next_token: Option<String>,
    /// Owners (images and snapshots only): `self`, an account number or an alias.
    pub owners: Vec<String>,
}

impl Describe {
    /// Everything.
    pub fn all() -> Describe {
        Describe::default()
    }

    /// By ids.
    pub fn ids<S: Into<String>>(ids: impl IntoIterator<Item = S>) -> Describe {
        Describe { ids: ids.into_iter().map(Into::into).collect(), ..Describe::default() }
    }

    /// By one filter.
    pub fn filter(name: &str, value: &str) -> Describe {
        Describe { filters: vec![Filter::new(name, value)], ..Describe::default() }
    }

    /// Whether the call draws from the large request bucket: filtered or paginated.
    pub(crate) fn is_narrow(&self) -> bool {
        !self.ids.is_empty() || !self.filters.is_empty() || self.max_results.is_some()
    }
}

/// One page of a describe call's answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page<T> {
    /// Resources, in id order.
    pub items: Vec<T>,
    /// Given back to read on; absent on the last page.
    pub next_token: Option<String>,
}

/// What a type must tell so that it can be described.
pub(crate) trait Described: Clone {
    /// Its kind.
    const KIND: Kind;
    /// The bounds AWS sets on `MaxResults`.
    const PAGE: (u32, u32) = (5, 1000);
    /// Whether `MaxResults` together with ids is refused.
    const IDS_EXCLUDE_PAGES: bool = true;
    /// Names of its filters besides `tag:<key>` and `tag-key`; the one by the map's key, if there is one, is
    /// `<kind>-id` and the first.
    const FILTERS: &'static [&'static str];

    /// Its tags.
    fn tags(&self) -> &Tags;
    /// When it was made, for the read lag.
    fn made(&self) -> Timestamp;
    /// The values a filter of [`Self::FILTERS`] is compared with.
    fn values<'a>(&'a self, filter: &str, cloud: &'a Cloud) -> Vec<Cow<'a, str>>;
}

fn known<T: Described>(filter: &Filter) -> Result<(), ApiError> {
    let name = filter.name.as_str();
    if name.starts_with("tag:") || name == "tag-key" || T::FILTERS.contains(&name) {
        Ok(())
    } else {
        Err(ApiError::value(format!("The filter '{name}' is invalid")))
    }
}

/// A filter whose literal values are looked up: a fleet is asked for by hundreds of them.
struct Wanted<'f> {
    name: &'f str,
    literal: BTreeSet<&'f str>,
    patterns: Vec<&'f str>,
}

impl<'f> Wanted<'f> {
    fn of(filter: &'f Filter) -> Self {
        let values = filter.values.iter().map(String::as_str);
        let (patterns, literal): (Vec<_>, BTreeSet<_>) = (
            values.clone().filter(|value| value.contains(WILD)).collect(),
            values.filter(|value| !value.contains(WILD)).collect(),
        );
        Self { name: &filter.name, literal, patterns }
    }

    fn any(&self, text: &str) -> bool {
        self.literal.contains(text) || self.patterns.iter().any(|pattern| matches(pattern, text))
    }

    fn holds<T: Described>(&self, item: &T, cloud: &Cloud) -> bool {
        if let Some(key) = self.name.strip_prefix("tag:") {
            return item.tags().get(key).is_some_and(|value| self.any(value));
        }
        if self.name == "tag-key" {
            return item.tags().keys().any(|key| self.any(key));
        }
        item.values(self.name, cloud).iter().any(|value| self.any(value))
    }
}

/// What makes a value a pattern.
const WILD: [char; 3] = ['*', '?', '\\'];

/// Whether `text` fits `pattern` (`*`, `?`, and `\` to take them literally).
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    if !pattern.contains(WILD) {
        return pattern == text;
    }
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some('?') => (p, t) = (p + 1, t + 1),
            Some('\\') if pattern.get(p + 1) == text.get(t) => (p, t) = (p + 2, t + 1),
            Some(c) if *c != '\\' && Some(c) == text.get(t) => (p, t) = (p + 1, t + 1),
            Some(_) | None => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    (p, t) = (at + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(p).all(|c| *c == '*')
}

/// The items that can be meant, in order: a read on begins where the page before ended, and a filter by literal ids
/// names them. A fleet of thousands is read every minute, and not every item by every page.
fn candidates<'a, T>(
    map: &'a BTreeMap<String, T>,
    request: &Describe,
    filters: &[&str],
) -> Box<dyn Iterator<Item = (&'a str, &'a T)> + 'a> {
    let literal = |filter: &&Filter| {
        filters.first() == Some(&filter.name.as_str())
            && filter.name.ends_with("-id")
            && !filter.values.iter().any(|value| value.contains(WILD))
    };
    let after = request.next_token.as_deref().and_then(|token| token.strip_prefix("after-"));
    if let Some(named) = request.filters.iter().find(literal) {
        let ids: BTreeSet<&str> = named.values.iter().map(String::as_str).collect();
        let ids = ids.into_iter().filter(|id| after.is_none_or(|after| *id > after));
        let found: Vec<_> = ids.filter_map(|id| map.get_key_value(id)).collect();
        return Box::new(found.into_iter().map(|(id, item)| (id.as_str(), item)));
    }
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    Box::new(map.range::<str, _>((from, Bound::Unbounded)).map(|(id, item)| (id.as_str(), item)))
}

/// Checks the page parameters and cuts a sorted selection into a page.
pub(crate) fn cut<T>(
    mut items: Vec<T>,
    id: impl Fn(&T) -> &str,
    request: &Describe,
    bounds: (u32, u32),
) -> Result<Page<T>, ApiError> {
    if let Some(token) = &request.next_token {
        let Some(last) = token.strip_prefix("after-") else {
            return Err(ApiError::value("Unable to parse pagination token"));
        };
        items.retain(|item| id(item) > last);
    }
    let Some(most) = request.max_results else { return Ok(Page { items, next_token: None }) };
    let (least, greatest) = bounds;
    if most < least || most > greatest.max(1000) {
        return Err(ApiError::value(format!(
            "Value ( {most} ) for parameter maxResults is invalid. Expecting a value greater than or equal to {least} and at most {greatest}."
        )));
    }
    let most = most.min(greatest) as usize;
    let next_token = (items.len() > most).then(|| format!("after-{}", id(&items[most - 1])));
    items.truncate(most);
    Ok(Page { items, next_token })
}

impl Cloud {
    /// The common body of the describe calls; `shown` narrows by what a filter cannot say (owners).
    pub(crate) fn describe<T: Described>(
        &self,
        map: &BTreeMap<String, T>,
        request: &Describe,
        shown: impl Fn(&T) -> bool,
    ) -> Result<Page<T>, ApiError> {
        request.filters.iter().try_for_each(known::<T>)?;
        let wanted: Vec<Wanted<'_>> = request.filters.iter().map(Wanted::of).collect();
        let fits = |item: &T| {
            self.sees(item.made()) && shown(item) && wanted.iter().all(|wanted| wanted.holds(item, self))
        };
        let items: Vec<(&str, &T)> = if request.ids.is_empty() {
            let candidates = candidates(map, request, T::FILTERS);
            // One more than the page holds says that there is a next one.
            let most = request.max_results.map_or(usize::MAX, |most| most.max(1000) as usize + 1);
            candidates.filter(|(_, item)| fits(item)).take(most).collect()
        } else {
            if T::IDS_EXCLUDE_PAGES && request.max_results.is_some() {
                return Err(ApiError::combination(format!(
                    "The parameter {} cannot be used with the parameter maxResults",
                    T::KIND.set_name()
                )));
            }
            let mut found = BTreeMap::new();
            for id in &request.ids {
                T::KIND.check(id)?;
                let item = map.get(id).filter(|item| self.sees(item.made()));
                let item = item.ok_or_else(|| T::KIND.not_found(id))?;
                if fits(item) {
                    found.insert(id.as_str(), item);
                }
            }
            found.into_iter().collect()
        };
        let page = cut(items, |(id, _)| id, request, T::PAGE)?;
        Ok(Page {
            items: page.items.into_iter().map(|(_, item)| item.clone()).collect(),
            next_token: page.next_token,
        })
    }
}

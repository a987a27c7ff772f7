//! What the project is made of: licences, doubles, sources, and what ends up in a function.
//!
//! Reads cargo's own resolution under the lock file, for the platform that is deployed; asks no network for
//! anything that a build does not need anyway. Says nothing of advisories: those need a database that is fetched.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{CargoOpt, DependencyKind, Metadata, MetadataCommand, Package, PackageId};

use crate::Finding;
use crate::files::{File, root};

/// The licences that may be in what is shipped or built with: permissive ones, whose only duty is attribution. Of a
/// choice (`OR`) one of these must be among the offered, of a sum (`AND`) every one must be.
const LICENCES: [&str; 8] =
    ["Apache-2.0", "BSD-3-Clause", "ISC", "MIT", "MIT-0", "Unicode-3.0", "Unlicense", "Zlib"];

/// Crates that are there in several versions, and who asks for the older one. Whoever adds a line says why no single
/// version will do.
const DOUBLES: [(&str, &[&str], &str); 11] = [
    ("base64", &["0.21", "0.22", "0.23"], "serde_dynamo has 0.21, the runtime and events of Lambda 0.22"),
    ("darling", &["0.20", "0.24"], "derive_builder of lambda_runtime has 0.20; only at build time"),
    ("darling_core", &["0.20", "0.24"], "as darling"),
    ("darling_macro", &["0.20", "0.24"], "as darling"),
    ("foldhash", &["0.1", "0.2"], "as hashlink; only in tests"),
    ("getrandom", &["0.2", "0.4"], "ring, below the TLS of tests, has 0.2"),
    ("hashbrown", &["0.12", "0.15", "0.17"], "indexmap 1 has 0.12; the SQLite of the local cloud 0.15"),
    ("hashlink", &["0.10", "0.12"], "the SQLite of the local cloud has 0.10; only in tests"),
    ("indexmap", &["1", "2"], "serde_with, below the events of Lambda, offers both"),
    ("schemars", &["0.9", "1"], "serde_with, below the events of Lambda, offers both"),
    ("syn", &["2", "3"], "half of the derive macros have moved on; only at build time"),
];

/// The platform of the functions. That of the other architecture differs in no crate.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

const LOCK: &str = "Cargo.lock";

/// What cargo says of all packages, as they are resolved for a function's platform.
///
/// # Errors
/// Whatever cargo says.
pub fn resolved() -> Result<Metadata, cargo_metadata::Error> {
    let mut command = MetadataCommand::new();
    command.manifest_path(root().join("Cargo.toml")).features(CargoOpt::AllFeatures);
    command.other_options(["--locked", "--filter-platform", PLATFORM].map(str::to_owned)).exec()
}

/// Whether a licence expression can be met with the licences that are allowed.
pub fn is_allowed(expression: &str) -> bool {
    // An expression has no more levels than brackets within a sum: "A AND (B OR C)".
    let spaced = expression.replace('/', " OR ").replace(" WITH LLVM-exception", "");
    parts(&spaced, " AND ").iter().all(|part| {
        let part = part.trim();
        let inner = part.strip_prefix('(').and_then(|it| it.strip_suffix(')'));
        match inner {
            Some(inner) if part != spaced.trim() => is_allowed(inner),
            _ => parts(part, " OR ").iter().any(|one| LICENCES.contains(&one.trim())),
        }
    })
}

/// Splits at a word that stands in no brackets.
fn parts<'t>(text: &'t str, word: &str) -> Vec<&'t str> {
    let (mut depth, mut begin, mut parts) = (0, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ if depth == 0 && at >= begin && text[at..].starts_with(word) => {
                parts.push(&text[begin..at]);
                begin = at + word.len();
            }
            _ => {}
        }
    }
    parts.push(&text[begin..]);
    parts
}

/// Every crate whose licence is not allowed, or that comes from somewhere else than the registry.
pub fn check_origin(packages: &[Package]) -> Vec<Finding> {
    let foreign = packages.iter().filter(|package| package.source.is_some());
    let mut findings = Vec::new();
    for package in foreign {
        let told = format!("{} {}", package.name, package.version);
        // Cargo's own registry.
        if let Some(source) = package.source.as_ref().filter(|source| !source.is_crates_io()) {
            let rule = format!("every crate comes from the registry: {told} comes from {source}");
            findings.push(Finding::new(LOCK, 1, rule, "publish it, or do without"));
        }
        let licence = package.license.as_deref().unwrap_or("none that is stated");
        if !is_allowed(licence) {
            let rule = format!("every licence is permissive: {told} has {licence}");
            findings.push(Finding::new(LOCK, 1, rule, "do without it, or allow it with a reason"));
        }
    }
    let outside = packages.iter().filter(|package| package.source.is_none());
    findings.extend(outside.filter(|it| !it.manifest_path.as_std_path().starts_with(root())).map(|it| {
        let rule = format!("no crate comes from a folder outside: {} does", it.name);
        Finding::new(LOCK, 1, rule, "make it a member of the workspace, or publish it")
    }));
    findings
}

/// Every crate that is there in several versions without a line that says why, and every line without need.
pub fn check_doubles<'p>(packages: impl Iterator<Item = (&'p str, String)>) -> Vec<Finding> {
    let mut versions: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (name, version) in packages {
        versions.entry(name).or_default().insert(version);
    }
    let told: BTreeMap<&str, BTreeSet<String>> = DOUBLES
        .iter()
        .map(|(name, versions, _)| (*name, versions.iter().map(|it| (*it).to_owned()).collect()))
        .collect();
    let mut findings = Vec::new();
    for (name, all) in versions.iter().filter(|(_, all)| all.len() > 1) {
        if told.get(name) != Some(all) {
            let rule = format!("a crate has one version: {name} has {}", list(all));
            let remedy = "move to one of them, or pin these in the house rules with the reason";
            findings.push(Finding::new(LOCK, 1, rule, remedy));
        }
    }
    for name in told.keys().filter(|name| versions.get(*name).is_none_or(|all| all.len() < 2)) {
        let rule = format!("what is pinned as a double is one: {name} is none");
        findings.push(Finding::new(LOCK, 1, rule, "take its line out of the house rules"));
    }
    findings
}

/// A version as far as it must agree for two crates to share it: `1`, or `0.21`.
pub fn series(version: &cargo_metadata::semver::Version) -> String {
    if version.major > 0 { version.major.to_string() } else { format!("0.{}", version.minor) }
}

fn list(all: &BTreeSet<String>) -> String {
    all.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// The names of the crates from outside that a function is linked of or built with.
pub fn in_functions(metadata: &Metadata) -> BTreeSet<String> {
    let packages: BTreeMap<&PackageId, &Package> = metadata.packages.iter().map(|it| (&it.id, it)).collect();
    let nodes: BTreeMap<&PackageId, &cargo_metadata::Node> =
        metadata.resolve.iter().flat_map(|resolve| &resolve.nodes).map(|node| (&node.id, node)).collect();
    let is_function = |package: &&Package| {
        let folder = package.manifest_path.parent().and_then(|folder| folder.parent());
        package.source.is_none() && folder.is_some_and(|folder| folder.ends_with("functions"))
    };
    let mut next: Vec<&PackageId> = metadata.packages.iter().filter(is_function).map(|it| &it.id).collect();
    let mut seen: BTreeSet<&PackageId> = BTreeSet::new();
    while let Some(id) = next.pop() {
        if !seen.insert(id) {
            continue;
        }
        let deps = nodes.get(id).into_iter().flat_map(|node| &node.deps);
        let normal = deps.filter(|dep| dep.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal));
        next.extend(normal.map(|dep| &dep.pkg));
    }
    let found = seen.into_iter().filter_map(|id| packages.get(id));
    found.filter(|package| package.source.is_some()).map(|package| package.name.to_string()).collect()
}

/// Holds what functions are made of against the list of what has been looked at.
pub fn check_functions(made_of: &BTreeSet<String>, listed: &File) -> Vec<Finding> {
    let lines = listed.text.lines().enumerate();
    let known: BTreeMap<&str, usize> = lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(n, line)| (line, n + 1))
        .collect();
    let added = made_of.iter().filter(|name| !known.contains_key(name.as_str())).map(|name| {
        let rule = format!("what a function is made of is known: {name} is new");
        Finding::new(&listed.path, 1, rule, "look at who brings it and why, then add its line")
    });
    let gone = known.iter().filter(|(name, _)| !made_of.contains(**name)).map(|(name, line)| {
        let rule = format!("what a function is made of is known: {name} is in none");
        Finding::new(&listed.path, *line, rule, "take its line out")
    });
    added.chain(gone).collect()
}

/// The names by which code knows the crates that are not called as their packages are.
pub fn libraries(packages: &[Package]) -> BTreeMap<String, String> {
    let library = |package: &Package| {
        let target = package
            .targets
            .iter()
            .find(|target| target.is_lib() || target.is_rlib() || target.is_proc_macro())?;
        Some((package.name.to_string(), target.name.replace('-', "_")))
    };
    packages.iter().filter_map(library).collect()
}

/// Every dependency that a member declares and does not name in its sources.
pub fn check_used(
    package: &Package,
    folder: &str,
    sources: &[File],
    libraries: &BTreeMap<String, String>,
) -> Vec<Finding> {
    let file = format!("{folder}/Cargo.toml");
    let own: Vec<&File> = sources.iter().filter(|source| source.is_in(folder)).collect();
    let unused = package.dependencies.iter().filter(|dependency| {
        let library = libraries.get(&dependency.name).unwrap_or(&dependency.name);
        let name = dependency.rename.as_ref().unwrap_or(library).replace('-', "_");
        !own.iter().any(|source| names(&source.text, &name))
    });
    let find = |dependency: &cargo_metadata::Dependency| {
        let rule = format!("what is declared is used: {} is not", dependency.name);
        Finding::new(&file, 1, rule, "take it out")
    };
    unused.map(find).collect()
}

/// Whether code, comments aside, names a crate.
fn names(text: &str, name: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.into_iter().any(|line| {
        line.match_indices(name).any(|(at, _)| {
            let (before, after) = (&line[..at], &line[at + name.len()..]);
            !before.ends_with(is_word) && !after.starts_with(is_word)
        })
    })
}

/// Every line of the table of versions that no member uses.
pub fn check_table(manifest: &File, declared: &BTreeSet<String>) -> Vec<Finding> {
    let table = manifest.text.lines().enumerate().skip_while(|(_, line)| *line != "[workspace.dependencies]");
    let lines = table.skip(1).take_while(|(_, line)| !line.starts_with('['));
    let named = lines.filter_map(|(n, line)| Some((n + 1, line.split_once(" = ")?.0)));
    let unused = named.filter(|(_, name)| !name.starts_with('#') && !declared.contains(*name));
    let find = |(line, name)| {
        let rule = format!("the table of versions has what is used: nobody uses {name}");
        Finding::new(&manifest.path, line, rule, "take it out")
    };
    unused.map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_needs_one_allowed_licence_and_a_sum_all() {
        for good in [
            "MIT",
            "MIT/Apache-2.0",
            "Apache-2.0 WITH LLVM-exception OR GPL-3.0",
            "GPL-2.0 OR MIT",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "ISC AND (Apache-2.0 OR ISC)",
        ] {
            assert!(is_allowed(good), "{good}");
        }
        for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "(GPL-3.0 OR MPL-2.0) AND MIT", "AGPL-3.0 OR SSPL-1.0"]
        {
            assert!(!is_allowed(bad), "{bad}");
        }
    }

    #[test]
    fn a_double_without_a_reason_and_a_reason_without_a_double_are_found() {
        let pinned = DOUBLES.iter().flat_map(|(name, all, _)| all.iter().map(|it| (*name, (*it).to_owned())));
        let pinned: Vec<_> = pinned.collect();
        assert!(check_doubles(pinned.iter().cloned()).is_empty());
        let more = pinned.iter().cloned().chain([("x", "1".to_owned()), ("x", "2".to_owned())]);
        assert_eq!(check_doubles(more).len(), 1);
        let third = pinned.iter().cloned().chain([("syn", "4".to_owned())]);
        assert_eq!(check_doubles(third).len(), 1);
        assert_eq!(check_doubles(pinned.iter().filter(|(name, _)| *name != "syn").cloned()).len(), 1);
    }

    #[test]
    fn what_a_function_is_made_of_and_the_list_agree() {
        let text = "# why\n\nserde\ntokio\n".to_owned();
        let listed = File { path: "list".to_owned(), text };
        let made_of = |names: &[&str]| names.iter().map(|it| (*it).to_owned()).collect();
        assert!(check_functions(&made_of(&["serde", "tokio"]), &listed).is_empty());
        let found = check_functions(&made_of(&["serde", "rusqlite"]), &listed);
        assert_eq!(found.iter().map(|it| it.line).collect::<Vec<_>>(), [1, 4]);
    }

    #[test]
    fn a_crate_is_named_by_a_whole_word_of_code() {
        assert!(names("use serde_json::Value;", "serde_json"));
        assert!(names("#[tokio::main]", "tokio"));
        assert!(!names("// serde_json is not needed\nuse serde::Serialize;", "serde_json"));
        assert!(!names("use serde_json::Value;", "serde"));
    }

    #[test]
    fn a_line_of_the_table_that_nobody_uses_is_found() {
        let text =
            "[workspace.dependencies]\n# a = b\nserde = \"1\"\nrand = \"0.9\"\n\n[profile.dev]\nopt = 1\n";
        let manifest = File { path: "Cargo.toml".to_owned(), text: text.to_owned() };
        let found = check_table(&manifest, &BTreeSet::from(["serde".to_owned()]));
        assert_eq!(found.iter().map(|it| it.line).collect::<Vec<_>>(), [4]);
    }
}

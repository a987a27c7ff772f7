//! The arrows between the crates: `functions → bootstrap → {aws, engine} → core`, `aws → engine`,
//! `tests → anything`; never back.
//!
//! Decides from declared dependencies of every kind; what is declared and not used is an arrow too.

use std::path::Path;

use cargo_metadata::{MetadataCommand, Package};

use crate::Finding;
use crate::files::root;

/// A member of the workspace and what it depends on.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its folder from the root.
    pub folder: String,
    /// Its manifest.
    pub manifest: String,
    /// What it declares.
    pub dependencies: Vec<Dependency>,
}

/// A declared dependency.
#[derive(Clone, Debug)]
pub struct Dependency {
    /// The package.
    pub name: String,
    /// Its folder from the root, if it is a member.
    pub folder: Option<String>,
    /// Whether only tests have it.
    pub is_dev: bool,
}

/// The only crates that core may be made of: none of them has a clock, a socket or a die.
const CORE_IS_MADE_OF: [&str; 7] = ["croner", "ipnet", "jiff", "serde", "serde_json", "sha2", "thiserror"];
/// What engine must not be made of: a runtime or Lambda, which are its callers' business.
const NOT_IN_ENGINE: [&str; 6] = ["getrandom", "lambda_runtime", "rand", "rand_core", "tokio", "uuid"];

/// Reads the members of the workspace.
///
/// # Errors
/// Whatever cargo or the file system says.
pub fn members() -> Result<Vec<Member>, Box<dyn std::error::Error>> {
    let root = root();
    let metadata = MetadataCommand::new().manifest_path(root.join("Cargo.toml")).no_deps().exec()?;
    metadata.packages.iter().map(|package| member(package, &root)).collect()
}

fn member(package: &Package, root: &Path) -> Result<Member, Box<dyn std::error::Error>> {
    let manifest_path = package.manifest_path.as_std_path();
    let dependencies = package.dependencies.iter().map(|dependency| Dependency {
        name: dependency.name.clone(),
        folder: dependency.path.as_ref().map(|path| below(path.as_std_path(), root)),
        is_dev: dependency.kind == cargo_metadata::DependencyKind::Development,
    });
    Ok(Member {
        folder: below(manifest_path.parent().unwrap_or(root), root),
        manifest: std::fs::read_to_string(manifest_path)?,
        dependencies: dependencies.collect(),
    })
}

fn below(path: &Path, root: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned()
}

/// The folders a member may have an arrow to; `None` for any.
fn may_use(folder: &str) -> Result<Option<&'static [&'static str]>, ()> {
    match folder {
        "shared/core" => Ok(Some(&[])),
        "shared/engine" => Ok(Some(&["shared/core"])),
        "shared/aws" => Ok(Some(&["shared/engine", "shared/core"])),
        "shared/bootstrap" => Ok(Some(&["shared/aws", "shared/engine", "shared/core"])),
        _ if folder.starts_with("functions/") => Ok(Some(&["shared/bootstrap"])),
        _ if folder.starts_with("tests/") => Ok(None),
        _ => Err(()),
    }
}

/// Every arrow that must not be.
pub fn check(members: &[Member]) -> Vec<Finding> {
    members.iter().flat_map(check_member).collect()
}

fn check_member(member: &Member) -> Vec<Finding> {
    let file = format!("{}/Cargo.toml", member.folder);
    let Ok(may_use) = may_use(&member.folder) else {
        let remedy = "put it under functions, shared or tests, and say in the house rules what it may use";
        return vec![Finding::new(&file, 1, "every package has its place", remedy)];
    };
    let mut findings = Vec::new();
    for dependency in &member.dependencies {
        let line = line_of(&member.manifest, &dependency.name);
        let mut find = |rule: String, remedy: &str| findings.push(Finding::new(&file, line, rule, remedy));
        if let (Some(to), Some(allowed)) = (&dependency.folder, may_use)
            && !allowed.contains(&to.as_str())
        {
            let rule = format!("the arrows never turn back: {} must not use {to}", member.folder);
            find(rule, "move what is needed to where both may reach it");
        }
        if let Some(why) = foreign(&member.folder, dependency) {
            find(
                format!("{} must not use {}: {why}", member.folder, dependency.name),
                "put it behind a port",
            );
        }
    }
    findings
}

/// Why a crate from outside must not be used here, if so.
fn foreign(folder: &str, dependency: &Dependency) -> Option<&'static str> {
    if dependency.folder.is_some() || folder.starts_with("tests/") {
        return None;
    }
    let name = dependency.name.as_str();
    if name.starts_with("aws-") || name.starts_with("aws_") {
        return match folder {
            "shared/aws" => None,
            "shared/bootstrap" if !name.starts_with("aws-sdk-") => None,
            _ => Some("only shared/aws names the SDK, and only shared/bootstrap the events of Lambda"),
        };
    }
    match folder {
        "shared/core" if !dependency.is_dev && !CORE_IS_MADE_OF.contains(&name) => {
            Some("core is pure, and this crate is not on the list of those known to be")
        }
        "shared/engine" if !dependency.is_dev && NOT_IN_ENGINE.contains(&name) => {
            Some("the runtime, Lambda and chance are its callers' business")
        }
        "shared/aws" if name == "lambda_runtime" => Some("Lambda is the business of shared/bootstrap"),
        _ => None,
    }
}

fn line_of(manifest: &str, name: &str) -> usize {
    let declares = |line: &str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['.', ' ', '=']));
    manifest.lines().position(declares).map_or(1, |n| n + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(folder: &str, name: &str, to: Option<&str>, is_dev: bool) -> usize {
        let dependency = Dependency { name: name.to_owned(), folder: to.map(str::to_owned), is_dev };
        let manifest = format!("[dependencies]\n{name}.workspace = true\n");
        let member = Member { folder: folder.to_owned(), manifest, dependencies: vec![dependency] };
        let findings = check(&[member]);
        assert!(findings.iter().all(|f| f.line == 2), "{findings:?}");
        findings.len()
    }

    #[test]
    fn an_arrow_that_turns_back_is_found_in_tests_too() {
        for (from, to) in [
            ("shared/core", "shared/engine"),
            ("shared/engine", "shared/aws"),
            ("shared/aws", "shared/bootstrap"),
            ("shared/core", "tests/cloud"),
            ("functions/reconcile", "shared/core"),
            ("shared/bootstrap", "functions/reconcile"),
        ] {
            assert_eq!(found(from, "x", Some(to), false), 1, "{from} → {to}");
            assert_eq!(found(from, "x", Some(to), true), 1, "{from} → {to} in tests");
        }
        assert_eq!(found("functions/reconcile", "x", Some("shared/bootstrap"), false), 0);
        assert_eq!(found("tests/e2e", "x", Some("functions/reconcile"), false), 0);
    }

    #[test]
    fn only_aws_names_the_sdk() {
        for folder in ["shared/core", "shared/engine", "shared/bootstrap", "functions/reconcile"] {
            assert_eq!(found(folder, "aws-sdk-ec2", None, false), 1, "{folder}");
        }
        assert_eq!(found("shared/aws", "aws-sdk-ec2", None, false), 0);
        assert_eq!(found("shared/bootstrap", "aws_lambda_events", None, false), 0);
        assert_eq!(found("shared/engine", "aws_lambda_events", None, false), 1);
        assert_eq!(found("tests/cloud", "aws-config", None, false), 0);
    }

    #[test]
    fn core_is_made_of_known_crates_and_engine_has_no_runtime() {
        for name in ["tokio", "futures", "rand", "lambda_runtime", "chrono"] {
            assert_eq!(found("shared/core", name, None, false), 1, "{name}");
        }
        assert_eq!(found("shared/core", "proptest", None, true), 0);
        assert_eq!(found("shared/engine", "tokio", None, false), 1);
        assert_eq!(found("shared/engine", "futures", None, false), 0);
    }

    #[test]
    fn a_package_without_a_place_is_found() {
        let member = Member { folder: "tools/x".into(), manifest: String::new(), dependencies: Vec::new() };
        assert_eq!(check(&[member]).len(), 1);
    }
}

//! What the project is made of is known, permissively licensed, and used.

use std::collections::BTreeSet;

use perennial_house::{assert_clean, dependencies, files};

#[test]
fn every_crate_comes_from_the_registry_under_a_permissive_licence() {
    assert_clean(dependencies::check_origin(&dependencies::resolved().unwrap().packages));
}

#[test]
fn no_crate_is_there_twice_without_a_reason() {
    let metadata = dependencies::resolved().unwrap();
    let versions = metadata
        .packages
        .iter()
        .map(|package| (package.name.as_str(), dependencies::series(&package.version)));
    assert_clean(dependencies::check_doubles(versions));
}

#[test]
fn what_functions_are_made_of_has_been_looked_at() {
    let made_of = dependencies::in_functions(&dependencies::resolved().unwrap());
    assert_clean(dependencies::check_functions(
        &made_of,
        &files::one("tests/house/in-functions.txt").unwrap(),
    ));
}

#[test]
fn what_is_declared_is_used() {
    let metadata = dependencies::resolved().unwrap();
    let libraries = dependencies::libraries(&metadata.packages);
    let (root, sources) = (files::root(), files::rust().unwrap());
    let mut found = Vec::new();
    let mut declared = BTreeSet::new();
    for package in metadata.workspace_packages() {
        declared.extend(package.dependencies.iter().map(|dependency| dependency.name.clone()));
        let folder = package.manifest_path.parent().unwrap().as_std_path();
        let folder = folder.strip_prefix(&root).unwrap().to_str().unwrap();
        found.extend(dependencies::check_used(package, folder, &sources, &libraries));
    }
    found.extend(dependencies::check_table(&files::one("Cargo.toml").unwrap(), &declared));
    assert_clean(found);
}

//! The documents say what is so.

use perennial_house::{assert_clean, codes, documents, files, machine, reference};

fn markdown() -> std::io::Result<Vec<files::File>> {
    Ok(files::all()?.into_iter().filter(|file| file.is(".md")).collect())
}

#[test]
fn every_link_leads_somewhere() {
    let exists = |path: &str| files::root().join(path).exists();
    let read = |path: &str| files::one(path).ok().map(|file| file.text);
    assert_clean(
        markdown().unwrap().iter().flat_map(|file| documents::check_links(file, &exists, &read)).collect(),
    );
}

#[test]
fn every_make_target_named_exists_and_says_what_it_does() {
    let makefile = files::one("Makefile").unwrap();
    let targets = documents::targets(&makefile);
    let mut found = documents::check_targets(&makefile);
    found.extend(markdown().unwrap().iter().flat_map(|file| documents::check_commands(file, &targets)));
    assert_clean(found);
}

#[test]
fn the_table_of_phases_is_the_code() {
    let document = files::one("docs/STATE_MACHINE.md").unwrap();
    assert_clean(machine::check(&document, &machine::table()));
}

#[test]
fn every_code_of_blocked_is_explained() {
    let runbook = files::one("docs/BLOCKED.md").unwrap();
    assert_clean(codes::check(&codes::written(&files::rust().unwrap()), &runbook));
}

#[test]
fn the_documented_attributes_are_those_that_are_read() {
    let document = files::one("docs/CONFIG.md").unwrap();
    assert_clean(documents::check_attributes(&document));
}

#[test]
fn the_reference_has_every_attribute_with_its_range() {
    let document = files::one("docs/CONFIG.md").unwrap();
    assert_clean(reference::check(&document));
}

#[test]
fn every_item_shown_would_be_accepted() {
    assert_clean(markdown().unwrap().iter().flat_map(reference::check_examples).collect());
}

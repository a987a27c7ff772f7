//! Every source keeps to its place, its length and its promises.

use perennial_house::{Finding, assert_clean, files, lines, logs, source};

#[test]
fn core_is_pure_engine_has_no_hidden_input_and_nothing_is_unfinished() {
    let found: Vec<Finding> = files::rust().unwrap().iter().flat_map(source::check).collect();
    assert_clean(found);
}

#[test]
fn every_module_opens_with_what_it_is_for() {
    assert_clean(files::rust().unwrap().iter().filter_map(lines::opening).collect());
}

#[test]
fn no_file_is_too_long() {
    let files = files::all().unwrap();
    let read =
        files.iter().filter(|f| [".rs", ".md", ".yaml", ".toml", "Makefile"].iter().any(|end| f.is(end)));
    assert_clean(read.filter_map(lines::length).collect());
}

#[test]
fn nothing_names_a_path_of_one_machine() {
    assert_clean(files::all().unwrap().iter().flat_map(lines::machine_paths).collect());
}

#[test]
fn no_log_shows_an_event_an_item_or_a_request_whole() {
    let all = files::rust().unwrap();
    let shipped = all.iter().filter(|file| file.is_in("shared") || file.is_in("functions"));
    assert_clean(shipped.flat_map(logs::check).collect());
}

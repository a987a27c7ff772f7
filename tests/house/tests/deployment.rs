//! The deployment template fits the code.

use perennial_house::{assert_clean, deployment, files, roles, stack};

#[test]
fn every_function_is_deployed_and_every_deployed_function_exists() {
    let file = files::one("infra/template.yaml").unwrap();
    let template = deployment::read(&file).unwrap();
    assert_clean(deployment::check_functions(&file, &template, &files::folders("functions").unwrap()));
}

#[test]
fn every_event_that_is_let_through_is_recorded() {
    let file = files::one("infra/template.yaml").unwrap();
    let template = deployment::read(&file).unwrap();
    let all = files::all().unwrap();
    let fixtures: Vec<_> = all.into_iter().filter(|f| f.is_in("tests/events") && f.is(".json")).collect();
    assert_clean(deployment::check_events(&file, &template, &fixtures));
}

#[test]
fn ticks_are_neither_repeated_nor_queued() {
    let file = files::one("infra/template.yaml").unwrap();
    let template = deployment::read(&file).unwrap();
    assert_clean(deployment::check_schedules(&file, &template));
}

#[test]
fn the_settings_that_are_read_are_those_that_are_set() {
    let file = files::one("infra/template.yaml").unwrap();
    let template = deployment::read(&file).unwrap();
    let settings = files::one("shared/bootstrap/src/settings.rs").unwrap();
    let host = files::one("tests/cloud/src/process.rs").unwrap();
    assert_clean(deployment::check_variables(&file, &template, &settings, &host));
}

#[test]
fn what_no_emulator_applies_is_asked_for() {
    let file = files::one("infra/template.yaml").unwrap();
    let template = deployment::read(&file).unwrap();
    let checks = [
        stack::check_tables,
        stack::check_functions,
        stack::check_streams,
        stack::check_alarms,
        stack::check_names,
        roles::check_roles,
        roles::check_statements,
    ];
    assert_clean(checks.iter().flat_map(|check| check(&file, &template)).collect());
}

#[test]
fn every_figure_that_is_watched_is_written() {
    let file = files::one("infra/template.yaml").unwrap();
    let template = deployment::read(&file).unwrap();
    let written = files::one("shared/bootstrap/src/metrics.rs").unwrap();
    assert_clean(stack::check_metrics(&file, &template, &written));
}

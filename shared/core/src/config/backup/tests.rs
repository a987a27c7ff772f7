//! What is read of `imageBackup`, and everything that is said of one that is wrong.

use serde_json::json;

use super::*;
use crate::config::parse_group;

/// An item of a group with these backups.
fn item(says: Value) -> Value {
    let launch = json!({"template": {"name": "base"}});
    json!({"id": "group#web", "launch": launch, "persist": {"network": {}}, "imageBackup": says})
}

fn good(says: Value) -> BackupPolicy {
    let (draft, part) = parse_group(&item(says));
    assert_eq!(draft.problems, []);
    let written = serde_json::to_value(&part).unwrap();
    assert_eq!(serde_json::from_value::<crate::config::GroupPart>(written).unwrap(), part);
    part.image_backup.unwrap()
}

fn problems(says: Value) -> Vec<Problem> {
    parse_group(&item(says)).0.problems
}

/// The one problem: place below `imageBackup`, value and remedy.
fn refused(says: Value) -> (String, String, String) {
    let mut problems = problems(says);
    assert_eq!(problems.len(), 1, "{problems:?}");
    let Problem { path, value, remedy } = problems.remove(0);
    (path.trim_start_matches("imageBackup.").to_owned(), value, remedy)
}

#[test]
fn an_empty_map_turns_backups_on_with_defaults() {
    let policy = good(json!({}));
    let default = BackupPolicy {
        frequency: Frequency::Continuous,
        cron: None,
        timezone: "UTC".into(),
        keep: 3,
        now: 0,
        volumes: BackupVolumes::All,
    };
    assert_eq!((&policy, &BackupPolicy::default()), (&default, &default));
    let mut without = item(json!({}));
    without.as_object_mut().unwrap().remove("imageBackup");
    let (draft, part) = parse_group(&without);
    assert_eq!((draft.problems, part.image_backup.clone()), (vec![], None));
    assert_eq!(serde_json::to_value(&part).unwrap().get("imageBackup"), None);
}

#[test]
fn everything_can_be_said() {
    let policy =
        good(json!({"frequency": "cron", "cron": " 30  2 * *\tmon-Fri ", "timezone": "europe/berlin",
        "keep": 200, "now": 7, "volumes": "root"}));
    let said = BackupPolicy {
        frequency: Frequency::Cron,
        cron: Some("30 2 * * mon-Fri".into()),
        timezone: "Europe/Berlin".into(),
        keep: 200,
        now: 7,
        volumes: BackupVolumes::Root,
    };
    assert_eq!(policy, said);
    let written = json!({"frequency": "cron", "cron": "30 2 * * mon-Fri", "timezone": "Europe/Berlin", "keep": 200,
        "now": 7, "volumes": "root"});
    assert_eq!(serde_json::to_value(&policy).unwrap(), written);
    let short = json!({"frequency": "continuous", "timezone": "UTC", "keep": 3});
    assert_eq!(serde_json::to_value(good(json!({}))).unwrap(), short);
    assert_eq!(serde_json::from_value::<BackupPolicy>(json!({})).unwrap(), BackupPolicy::default());
}

#[test]
fn every_frequency_and_choice_of_volumes_is_read() {
    for frequency in Frequency::ALL {
        let cron = (frequency == Frequency::Cron).then_some("0 * * * *");
        let policy = good(json!({"frequency": frequency.as_str(), "cron": cron}));
        assert_eq!((policy.frequency, policy.cron.as_deref()), (frequency, cron));
        assert_eq!(serde_json::to_value(frequency).unwrap(), frequency.as_str());
    }
    for volumes in [BackupVolumes::All, BackupVolumes::Root] {
        assert_eq!(good(json!({"volumes": volumes.as_str()})).volumes, volumes);
        assert_eq!(serde_json::to_value(volumes).unwrap(), volumes.as_str());
    }
    for frequency in ["hourly", "daily", "weekly"] {
        let policy = good(json!({"frequency": frequency, "timezone": "Asia/Kolkata", "keep": 1}));
        assert_eq!((policy.timezone.as_str(), policy.keep), ("Asia/Kolkata", 1));
    }
}

#[test]
fn what_is_wrong_is_named_with_its_place_value_and_remedy() {
    for (says, path, value, remedy) in [
        (json!(true), "imageBackup", "true", "expected a map (M)"),
        (json!([]), "imageBackup", "[]", "expected a map (M)"),
        (json!({"frequency": "monthly"}), "frequency", "monthly", "\"daily\", \"weekly\" or \"cron\""),
        (json!({"frequency": "Daily"}), "frequency", "Daily", "unknown frequency"),
        (json!({"frequency": 10}), "frequency", "10", "expected a frequency as a string (S)"),
        (json!({"frequency": "cron"}), "cron", "null", "required with frequency \"cron\": write five fields"),
        (json!({"frequency": "cron", "cron": 5}), "cron", "5", "expected a cron expression as a string (S)"),
        (json!({"cron": "0 3 * * *"}), "cron", "0 3 * * *", "or write frequency \"cron\""),
        (
            json!({"frequency": "daily", "cron": "no"}),
            "cron",
            "no",
            "no meaning with frequency \"daily\": remove it",
        ),
        (
            json!({"timezone": "Asia/Tokyo"}),
            "timezone",
            "Asia/Tokyo",
            "remove it, or write another frequency",
        ),
        (
            json!({"frequency": "daily", "timezone": "Europe/Bonn"}),
            "timezone",
            "Europe/Bonn",
            "\"Europe/Berlin\"",
        ),
        (
            json!({"frequency": "daily", "timezone": "Berlin"}),
            "timezone",
            "Berlin",
            "mean \"Europe/Berlin\"?",
        ),
        (json!({"frequency": "daily", "timezone": 1}), "timezone", "1", "as a string (S)"),
        (json!({"keep": 0}), "keep", "0", "from 1 to 200, as many as the group's record has room for"),
        (json!({"keep": 201}), "keep", "201", "to take no backups remove imageBackup"),
        (json!({"keep": 1.5}), "keep", "1.5", "from 1 to 200"),
        (json!({"keep": "3"}), "keep", "3", "from 1 to 200"),
        (json!({"now": -1}), "now", "-1", "from 0 to 1000000"),
        (json!({"now": true}), "now", "true", "from 0 to 1000000"),
        (json!({"volumes": "data"}), "volumes", "data", "write \"all\" or \"root\""),
        (json!({"volumes": ["root"]}), "volumes", "[\"root\"]", "as a string (S)"),
        (json!({"Keep": 3}), "Keep", "3", "did you mean \"keep\"?"),
        (
            json!({"every": "1h"}),
            "every",
            "1h",
            "remove it; known here: frequency, cron, timezone, keep, now, volumes",
        ),
    ] {
        let (at, shown, says) = refused(says);
        assert_eq!((at.as_str(), shown.as_str()), (path, value));
        assert!(says.contains(remedy), "{at}: {says}");
    }
}

#[test]
fn all_faults_are_reported_together() {
    let says = json!({"frequency": "cron", "cron": "60 24 * * *", "timezone": "Bonn", "keep": 0, "now": -1,
        "volumes": "none", "at": "noon"});
    let mut item = item(says);
    item["persist"] = json!({"root": {}, "data": {}, "network": {}});
    item["capacity"] = json!(-1);
    let (draft, part) = parse_group(&item);
    let paths: Vec<_> =
        draft.problems.iter().map(|problem| problem.path.trim_start_matches("imageBackup.")).collect();
    let wanted =
        ["capacity", "imageBackup", "imageBackup", "at", "cron", "keep", "now", "timezone", "volumes"];
    assert_eq!(paths, wanted);
    let default = BackupPolicy { frequency: Frequency::Cron, ..BackupPolicy::default() };
    assert_eq!(part.image_backup, Some(default), "what cannot be read is as if it were absent");
    // What depends on a frequency is not refused where there is none to read.
    assert_eq!(refused(json!({"frequency": "x", "cron": "0 3 * * *", "timezone": "CET"})).0, "frequency");
}

#[test]
fn what_members_keep_themselves_excludes_backups() {
    for (persist, named) in [
        (json!({"root": {}}), vec!["persist.root"]),
        (json!({"data": {}, "network": {}}), vec!["persist.data"]),
        (json!({"root": {}, "data": {}}), vec!["persist.root", "persist.data"]),
        (json!({"network": {}}), vec![]),
        (json!({}), vec![]),
    ] {
        let mut item = item(json!({"frequency": "daily"}));
        item["persist"] = persist;
        let problems = parse_group(&item).0.problems;
        assert_eq!(problems.iter().map(|problem| problem.value.as_str()).collect::<Vec<_>>(), named);
        for problem in problems {
            let both = format!("imageBackup and {} exclude each other", problem.value);
            assert_eq!(problem.path, "imageBackup");
            assert!(
                problem.remedy.starts_with(&both) && problem.remedy.ends_with("remove one"),
                "{problem:?}"
            );
        }
    }
}

#[test]
fn an_expression_that_cannot_be_read_is_told_field_by_field() {
    for (text, says) in [
        ("", "0 fields: write five fields, minute, hour, day of month, month and day of week"),
        ("0 3 * *", "4 fields"),
        ("0 0 3 * * *", "6 fields"),
        ("0 3 * * * 2026", "6 fields"),
        ("0 0 3 * * * 2026", "7 fields"),
        ("@daily", "no nicknames: write frequency \"hourly\", \"daily\" or \"weekly\""),
        ("60 3 * * *", "minute \"60\": Number out of bounds:"),
        ("0 24 32 * *", "hour \"24\": Number out of bounds; day of month \"32\": Number out of bounds:"),
        ("0 3 0 * *", "day of month \"0\""),
        ("0 3 * 13 *", "month \"13\""),
        ("0 3 * * 8", "day of week \"8\""),
        ("0 3 ? * *", "day of month \"?\": no \"?\" here"),
        ("0 3 * * +MON", "no \"+MON\" here"),
        ("0 3 1,,2 * *", "day of month \"1,,2\": something is missing"),
        ("0, 3 * * *", "minute \"0,\": something is missing"),
        ("5-1 3 * * *", "minute \"5-1\": Range out of bounds"),
        ("*/0 3 * * *", "minute \"*/0\": Step cannot be zero"),
        ("0/10 3 * * *", "Use \"*/10\""),
        ("MON 3 * * *", "minute \"MON\": no \"MON\" here"),
        ("0 3 * MON *", "month \"MON\": no \"MON\" here"),
        ("0 3 * JANFEB *", "no \"JANFEB\" here"),
        ("0 3 * * MONTUE", "no \"MONTUE\" here"),
        ("0 3 * * L", "no \"L\" here"),
        ("0 3 * * MON#6", "day of week \"MON#6\""),
        ("0 3 1#2 * *", "day of month \"1#2\""),
        ("L 3 * * *", "no \"L\" here"),
        ("0 3 * * ٣", "no \"٣\" here"),
        ("every day at three o'clock", "minute \"every\": no \"every\" here; hour \"day\""),
    ] {
        let (path, value, remedy) = refused(json!({"frequency": "cron", "cron": text}));
        assert_eq!((path.as_str(), value.as_str()), ("cron", text));
        assert!(remedy.contains(says) && remedy.contains("\"30 2 * * *\""), "{text}: {remedy}");
    }
    let (_, value, remedy) = refused(json!({"frequency": "cron", "cron": "*".repeat(500)}));
    assert!(value.chars().count() < 130 && remedy.contains("at most 400 characters"), "{remedy}");
}

#[test]
fn an_expression_of_five_fields_is_read() {
    let all = |range: std::ops::Range<u32>| range.map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    let longest = [all(0..60), all(0..24), all(1..32), all(1..13), all(0..7)].join(" ");
    assert!(cron::read(&longest).is_ok());
    for text in [
        "* * * * *",
        "*/10 * * * *",
        "5-55/10 1,3-5 * * *",
        "0 3 L * *",
        "0 3 LW,15W * *",
        "0 3 * jan-Mar,DEC SAT-SUN",
        "0 3 * * 1#1,FRI#5",
        "0 3 * * 5L,monL",
        "00 03 01 01 07",
    ] {
        assert_eq!(good(json!({"frequency": "cron", "cron": text})).cron.as_deref(), Some(text));
    }
}

fn checked(text: &str, timezone: &str) -> Vec<String> {
    let now = "2026-03-28T12:00:00.5Z".parse().unwrap();
    let policy = good(json!({"frequency": "cron", "cron": text, "timezone": timezone}));
    let problems = check(&policy, now);
    for problem in &problems {
        assert_eq!((problem.path.as_str(), problem.value.as_str()), ("imageBackup.cron", text));
    }
    problems.into_iter().map(|problem| problem.remedy).collect()
}

#[test]
fn an_expression_that_is_never_due_is_refused() {
    for text in ["0 3 31 2 *", "0 3 30 2 *", "0 3 31 4,6,9,11 *"] {
        let remedies = checked(text, "UTC");
        assert_eq!(remedies.len(), 1);
        let says = "never due within ten years: write days that the months have, such as \"0 3 1 * *\" for the first \
                    of each";
        assert_eq!(remedies[0], says, "{text}");
    }
    // The fifth Monday of a February comes every 28 years.
    let next = "2044-02-29T03:00:00+01:00, 2072-02-29T03:00:00+01:00, 2112-02-29T03:00:00+01:00";
    assert!(checked("0 3 * 2 MON#5", "Europe/Berlin")[0].ends_with(&format!("its next times are {next}")));
    for text in ["0 3 29 2 *", "0 3 31 * *", "0 3 * * MON#5", "59 23 31 12 *"] {
        assert_eq!(checked(text, "Europe/Berlin"), [""; 0], "{text}");
    }
    let policy = BackupPolicy {
        cron: Some("0 3 29 2 *".into()),
        frequency: Frequency::Cron,
        ..BackupPolicy::default()
    };
    assert_eq!(check(&policy, "2096-03-01T00:00:00Z".parse().unwrap()), [], "2100 is no leap year");
}

#[test]
fn an_expression_that_is_due_too_often_is_refused_with_its_next_times() {
    let remedies = checked("*/5 * * * *", "Europe/Berlin");
    let says = "due twice within 5 min: leave at least 10 between two, as \"*/10 * * * *\" does, else images pile up; \
                its next times are 2026-03-28T13:05:00+01:00, 2026-03-28T13:10:00+01:00, 2026-03-28T13:15:00+01:00";
    assert_eq!(remedies, [says]);
    for (text, minutes) in [
        ("* * * * *", 1),
        ("0,9 3 * * *", 9),
        ("*/9 * * * *", 6),
        ("0,55 * * * *", 5),
        ("55 3 * * *", 1440),
        // Only from one hour or day to the next, and only where both are due.
        ("0,55 3,4 * * *", 5),
        ("0,55 0,23 * * *", 5),
        ("0,55 0,23 1,31 * *", 5),
        ("0,55 0,23 1,28 * *", 5),
        ("0,55 0,23 31 12 *", 55),
        ("0,55 0,23 1,15 * *", 55),
        ("0,55 0,23 * * SUN,TUE", 55),
    ] {
        let remedies = checked(text, "UTC");
        assert_eq!(remedies.is_empty(), minutes >= 10, "{text}: {remedies:?}");
        assert!(
            remedies.iter().all(|says| says.contains(&format!("within {minutes} min"))),
            "{text}: {remedies:?}"
        );
    }
    let now: Timestamp = "2026-11-01T00:00:00Z".parse().unwrap();
    let often = BackupPolicy {
        cron: Some("0,5 3 * 2 MON#5".into()),
        frequency: Frequency::Cron,
        ..Default::default()
    };
    assert_eq!(check(&often, now).len(), 2, "both are told");
}

#[test]
fn an_hour_that_is_repeated_makes_no_expression_a_bad_one() {
    for now in
        ["2026-10-24T20:00:00Z", "2026-10-25T00:10:00Z", "2026-10-25T01:10:00Z", "2026-03-29T00:30:00Z"]
    {
        for text in ["0 * * * *", "*/10 * * * *", "*/15 1-3 * * *", "0,55 2 * * *", "30 2 * * *"] {
            let policy = good(json!({"frequency": "cron", "cron": text, "timezone": "Europe/Berlin"}));
            assert_eq!(check(&policy, now.parse().unwrap()), [], "{text} {now}");
        }
    }
}

#[test]
fn there_is_nothing_to_check_without_an_expression() {
    let now = "2026-11-01T00:00:00Z".parse().unwrap();
    for frequency in Frequency::ALL {
        assert_eq!(check(&BackupPolicy { frequency, ..BackupPolicy::default() }, now), []);
    }
}

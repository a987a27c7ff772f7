//! When backups are due: every frequency through days, weeks and years, and through the changes of clocks.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use jiff::civil::Weekday;

use super::*;

const SECOND: SignedDuration = SignedDuration::from_secs(1);

fn group() -> GroupName {
    GroupName::parse("web").unwrap()
}

fn policy(frequency: Frequency, timezone: &str) -> BackupPolicy {
    BackupPolicy { frequency, timezone: timezone.to_owned(), ..BackupPolicy::default() }
}

fn cron(text: &str, timezone: &str) -> BackupPolicy {
    BackupPolicy { cron: Some(text.to_owned()), ..policy(Frequency::Cron, timezone) }
}

/// A time in UTC, by day or by minute.
fn at(text: &str) -> Timestamp {
    let text = if text.contains('T') { format!("{text}:00Z") } else { format!("{text}T00:00:00Z") };
    text.parse().unwrap()
}

fn latest_of(policy: &BackupPolicy, now: Timestamp) -> Timestamp {
    latest(policy, &group(), now).unwrap()
}

fn next_of(policy: &BackupPolicy, after: Timestamp) -> Timestamp {
    next(policy, &group(), after).unwrap()
}

/// What is due from one moment until before another. Forwards and backwards it is the same.
fn due(policy: &BackupPolicy, from: Timestamp, until: Timestamp) -> Vec<Timestamp> {
    let chain = std::iter::successors(Some(next_of(policy, from - SECOND)), |at| Some(next_of(policy, *at)));
    let due: Vec<_> = chain.take_while(|at| *at < until).collect();
    for pair in due.windows(2) {
        assert!(pair[0] < pair[1], "{pair:?}");
        assert_eq!(latest_of(policy, pair[1] - SECOND), pair[0]);
    }
    for at in &due {
        assert_eq!(latest_of(policy, *at), *at);
    }
    due
}

/// The same as the clock on the wall says, on two days from noon to noon and with every few minutes between them.
fn around(policy: &BackupPolicy, day: &str) -> Vec<String> {
    let zone = zone(&policy.timezone).unwrap();
    let noon = day.parse::<jiff::civil::Date>().unwrap().at(12, 0, 0, 0).to_zoned(zone.clone()).unwrap();
    let (from, until) = (noon.yesterday().unwrap().timestamp(), noon.tomorrow().unwrap().timestamp());
    let due = due(policy, from, until);
    let mut now = from;
    while now < until {
        let (before, after): (Vec<_>, Vec<_>) = due.iter().partition(|at| **at <= now);
        if let Some(last) = before.last() {
            assert_eq!(latest_of(policy, now), *last, "{now}");
        }
        if let Some(first) = after.first() {
            assert_eq!(next_of(policy, now), *first, "{now}");
        }
        now += SignedDuration::from_mins(29);
    }
    due.iter().map(|at| at.to_zoned(zone.clone()).strftime("%d %H:%M%:z").to_string()).collect()
}

/// What is due on the day itself.
fn on(policy: &BackupPolicy, day: &str) -> Vec<String> {
    of(day, around(policy, day))
}

fn of(day: &str, due: Vec<String>) -> Vec<String> {
    due.into_iter().filter_map(|at| at.strip_prefix(&format!("{} ", &day[8..])).map(str::to_owned)).collect()
}

#[test]
fn continuous_is_every_ten_minutes_in_a_slot_of_the_group() {
    let policy = policy(Frequency::Continuous, "UTC");
    let due = due(&policy, at("2026-03-01"), at("2026-03-02"));
    assert_eq!(due.len(), 144);
    assert!(due.windows(2).all(|pair| pair[1].duration_since(pair[0]) == SignedDuration::from_mins(10)));
    let elsewhere = BackupPolicy { timezone: "Australia/Lord_Howe".to_owned(), ..policy.clone() };
    assert_eq!(latest_of(&elsewhere, due[7]), due[7]);
    let slots: BTreeSet<_> = (0..100)
        .map(|n| latest(&policy, &GroupName::parse(&format!("g{n}")).unwrap(), at("2026-03-01")))
        .collect();
    assert!(slots.len() > 80, "{} slots", slots.len());
}

#[test]
fn hourly_is_every_full_hour_of_utc_unless_a_zone_is_named() {
    let due = due(&policy(Frequency::Hourly, "UTC"), at("2026-03-01"), at("2026-03-08"));
    let hours: Vec<_> = (0..7 * 24).map(|n| at("2026-03-01") + SignedDuration::from_hours(n)).collect();
    assert_eq!(due, hours);
}

#[test]
fn daily_is_every_midnight_of_a_year() {
    for (year, days) in [(2026, 365), (2028, 366)] {
        let (from, until) = (at(&format!("{year}-01-01")), at(&format!("{}-01-01", year + 1)));
        let due = due(&policy(Frequency::Daily, "UTC"), from, until);
        let midnights: Vec<_> = (0..days).map(|n| from + SignedDuration::from_hours(24 * n)).collect();
        assert_eq!(due, midnights);
    }
}

#[test]
fn weekly_is_the_midnight_before_every_sunday_of_a_year() {
    let due = due(&policy(Frequency::Weekly, "UTC"), at("2026-01-01"), at("2027-01-01"));
    assert_eq!((due[0], due.len()), (at("2026-01-04"), 52));
    for at in due {
        let at = at.to_zoned(TimeZone::UTC);
        assert_eq!((at.weekday(), at.hour(), at.minute()), (Weekday::Sunday, 0, 0));
    }
}

#[test]
fn hourly_is_whenever_the_clock_on_the_wall_shows_a_full_hour() {
    for (name, days) in [
        ("Europe/Berlin", ["2026-03-29", "2026-10-25"]),
        ("America/New_York", ["2026-03-08", "2026-11-01"]),
        ("Asia/Kolkata", ["2026-03-29", "2026-10-25"]),
        ("Asia/Kathmandu", ["2026-03-29", "2026-10-25"]),
        ("Australia/Lord_Howe", ["2026-04-05", "2026-10-04"]),
    ] {
        let zone = zone(name).unwrap();
        for day in days {
            let (from, until) =
                (at(day) - SignedDuration::from_hours(36), at(day) + SignedDuration::from_hours(36));
            let due = due(&policy(Frequency::Hourly, name), from, until);
            let minutes = (0..72 * 60).map(|n| from + SignedDuration::from_mins(n));
            let full: Vec<_> = minutes.filter(|at| at.to_zoned(zone.clone()).minute() == 0).collect();
            assert_eq!(due, full, "{name} {day}");
            assert_eq!(due, self::due(&cron("0 * * * *", name), from, until), "{name} {day}");
            // Where clocks are changed by half an hour, full hours are an hour and a half apart once.
            let lengths: BTreeSet<_> =
                due.windows(2).map(|pair| pair[1].as_second() - pair[0].as_second()).collect();
            let halves = name == "Australia/Lord_Howe";
            assert!(
                lengths.iter().eq(if halves { [3600, 5400].iter() } else { [3600].iter() }),
                "{lengths:?}"
            );
        }
    }
}

#[test]
fn zones_between_full_hours_have_midnights_of_their_own() {
    for (name, time) in
        [("Asia/Kolkata", "T18:30"), ("Asia/Kathmandu", "T18:15"), ("America/St_Johns", "T02:30")]
    {
        let due = due(&policy(Frequency::Daily, name), at("2026-07-01"), at("2026-07-02"));
        assert_eq!(due, [at(&format!("2026-07-01{time}"))], "{name}");
    }
}

#[test]
fn midnight_and_sunday_come_once_where_clocks_change_at_night() {
    for (name, day, shown) in [
        ("Europe/Berlin", "2026-03-29", "00:00+01:00"),
        ("Europe/Berlin", "2026-10-25", "00:00+02:00"),
        ("America/New_York", "2026-03-08", "00:00-05:00"),
        ("America/New_York", "2026-11-01", "00:00-04:00"),
        // Where midnight itself is left out, the first moment of the day.
        ("Asia/Beirut", "2026-03-29", "01:00+03:00"),
        ("America/Santiago", "2026-09-06", "01:00-03:00"),
        ("America/Havana", "2026-03-08", "01:00-04:00"),
        // Where it is repeated, or the hour before it, once.
        ("America/Havana", "2026-11-01", "00:00-04:00"),
        ("Asia/Beirut", "2026-10-25", "00:00+02:00"),
        ("America/Santiago", "2026-04-05", "00:00-04:00"),
        ("Australia/Lord_Howe", "2026-04-05", "00:00+11:00"),
        ("Australia/Lord_Howe", "2026-10-04", "00:00+10:30"),
    ] {
        for (frequency, times) in [(Frequency::Daily, 2), (Frequency::Weekly, 1)] {
            let due = around(&policy(frequency, name), day);
            assert_eq!(due.len(), times, "{name} {day} {due:?}");
            assert_eq!(of(day, due), [shown], "{name} {day}");
        }
    }
    // Not on a Sunday.
    assert_eq!(on(&policy(Frequency::Daily, "Africa/Cairo"), "2026-04-24"), ["01:00+03:00"]);
    assert_eq!(on(&policy(Frequency::Daily, "Africa/Cairo"), "2026-10-30"), ["00:00+02:00"]);
    assert_eq!(around(&policy(Frequency::Weekly, "Africa/Cairo"), "2026-04-24"), [""; 0]);
}

#[test]
fn daily_is_once_for_every_day_of_the_calendar() {
    for name in ["Africa/Cairo", "America/Havana", "America/Santiago", "Asia/Beirut", "Europe/Berlin"] {
        let zone = zone(name).unwrap();
        let due = due(&policy(Frequency::Daily, name), at("2026-01-01"), at("2027-01-01"));
        let days: BTreeSet<_> = due.iter().map(|at| at.to_zoned(zone.clone()).date()).collect();
        assert_eq!((days.len(), due.len()), (365, 365), "{name}");
        for at in due {
            let at = at.to_zoned(zone.clone());
            assert_eq!(at.timestamp(), at.start_of_day().unwrap().timestamp(), "{name}");
        }
    }
}

#[test]
fn what_is_due_once_a_day_is_due_once_when_clocks_change_too() {
    for (text, name, day, shown) in [
        ("30 2 * * *", "Europe/Berlin", "2026-03-29", "03:00+02:00"),
        ("30 2 * * *", "Europe/Berlin", "2026-10-25", "02:30+02:00"),
        ("30 2 * * *", "America/New_York", "2026-03-08", "03:00-04:00"),
        ("30 2 * * *", "America/New_York", "2026-11-01", "02:30-05:00"),
        ("30 1 * * *", "America/New_York", "2026-11-01", "01:30-04:00"),
        ("15 2 * * *", "Australia/Lord_Howe", "2026-10-04", "02:30+11:00"),
        ("45 1 * * *", "Australia/Lord_Howe", "2026-04-05", "01:45+11:00"),
        ("30 2 * * SUN", "Europe/Berlin", "2026-03-29", "03:00+02:00"),
        ("30 2 29 3 *", "Europe/Berlin", "2026-03-29", "03:00+02:00"),
        ("0 3 * * *", "Europe/Berlin", "2026-03-29", "03:00+02:00"),
        ("59 1 * * *", "Europe/Berlin", "2026-03-29", "01:59+01:00"),
    ] {
        assert_eq!(on(&cron(text, name), day), [shown], "{text} {name} {day}");
    }
}

#[test]
fn what_is_due_at_several_times_goes_by_the_clock_on_the_wall() {
    let quarters = |hours: &[&str]| -> Vec<String> {
        let of =
            |hour: &&str| ["00", "15", "30", "45"].map(|minute| hour.replace(':', &format!(":{minute}")));
        hours.iter().flat_map(of).collect()
    };
    for (name, day, hours) in [
        ("Europe/Berlin", "2026-03-29", vec!["01:+01|00", "03:+02|00"]),
        ("Europe/Berlin", "2026-10-25", vec!["01:+02|00", "02:+02|00", "02:+01|00", "03:+01|00"]),
        ("America/New_York", "2026-03-08", vec!["01:-05|00", "03:-04|00"]),
        ("America/New_York", "2026-11-01", vec!["01:-04|00", "01:-05|00", "02:-05|00", "03:-05|00"]),
    ] {
        let shown: Vec<_> = quarters(&hours).into_iter().map(|at| at.replace('|', ":")).collect();
        assert_eq!(on(&cron("*/15 1-3 * * *", name), day), shown, "{name} {day}");
    }
    // So of two times of a day one may not come, or come twice.
    assert_eq!(on(&cron("30 2,14 * * *", "Europe/Berlin"), "2026-03-29"), ["14:30+02:00"]);
    assert_eq!(
        on(&cron("30 2,14 * * *", "Europe/Berlin"), "2026-10-25"),
        ["02:30+02:00", "02:30+01:00", "14:30+01:00"]
    );
}

#[test]
fn days_are_counted_as_an_expression_says() {
    for (text, after, dates) in [
        ("0 3 29 2 *", "2026-11-01", ["2028-02-29", "2032-02-29"]),
        ("0 3 29 2 *", "2096-03-01", ["2104-02-29", "2108-02-29"]),
        ("0 3 L * *", "2028-02-01", ["2028-02-29", "2028-03-31"]),
        ("0 3 * * FRI#2", "2026-11-01", ["2026-11-13", "2026-12-11"]),
        ("0 3 * * fril", "2026-11-01", ["2026-11-27", "2026-12-25"]),
        ("0 3 15W * *", "2026-11-01", ["2026-11-16", "2026-12-15"]),
        ("0 3 31 * *", "2026-11-01", ["2026-12-31", "2027-01-31"]),
        ("0 3 * * 7", "2026-11-02", ["2026-11-08", "2026-11-15"]),
        // As in Vixie cron: either of them.
        ("0 3 13 * FRI", "2026-10-31", ["2026-11-06", "2026-11-13"]),
    ] {
        let policy = cron(text, "UTC");
        let mut now = at(after);
        for date in dates {
            now = next_of(&policy, now);
            assert_eq!(now, at(&format!("{date}T03:00")), "{text}");
        }
    }
    assert_eq!(latest_of(&cron("0 3 29 2 *", "UTC"), at("2026-11-01")), at("2024-02-29T03:00"));
}

#[test]
fn moments_are_whole_seconds_and_a_moment_is_not_after_itself() {
    for frequency in Frequency::ALL {
        let policy = BackupPolicy { cron: Some("0 0 * * *".into()), ..policy(frequency, "Europe/Berlin") };
        let due = next_of(&policy, at("2026-06-01"));
        let nanos = SignedDuration::from_nanos(1);
        assert_eq!(latest_of(&policy, due), due);
        assert_eq!(latest_of(&policy, due + nanos), due);
        assert_eq!(next_of(&policy, due - nanos), due);
        assert!(latest_of(&policy, due - nanos) < due && next_of(&policy, due) > due);
        assert_eq!(next_of(&policy, due + nanos), next_of(&policy, due));
        assert_eq!(whole_second(due), due);
    }
}

#[test]
fn a_policy_that_cannot_be_due_never_is() {
    for policy in [cron("0 3 31 2 *", "UTC"), cron("0 3 * * *", "Nowhere"), policy(Frequency::Cron, "UTC")] {
        assert_eq!(latest(&policy, &group(), at("2026-11-01")), None);
        assert_eq!(next(&policy, &group(), at("2026-11-01")), None);
    }
}

#[test]
fn forwards_and_backwards_agree_at_any_time() {
    let crons = ["*/15 1-3 * * *", "30 2 * * *", "5 4 1,15 * *", "0 0 * * MON-FRI", "59 23 31 12 *"];
    let zones =
        ["UTC", "Europe/Berlin", "America/New_York", "Africa/Cairo", "America/Havana", "Australia/Lord_Howe"];
    let mut seed = 7_u64;
    for name in zones {
        let policies = Frequency::ALL.into_iter().filter(|frequency| *frequency != Frequency::Cron);
        let policies =
            policies.map(|frequency| policy(frequency, name)).chain(crons.map(|text| cron(text, name)));
        for policy in policies {
            for _ in 0..20 {
                // A linear congruential generator: the same times in every run.
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let minutes = (seed >> 33) % (4 * 366 * 24 * 60);
                let now = at("2024-01-01") + SignedDuration::from_mins(minutes as i64);
                let (before, after) = (latest_of(&policy, now), next_of(&policy, now));
                assert!(before <= now && now < after, "{policy:?} {now}");
                assert_eq!(latest_of(&policy, before), before, "{policy:?} {now}");
                assert_eq!(latest_of(&policy, after), after, "{policy:?} {now}");
                assert_eq!(latest_of(&policy, after - SECOND), before, "{policy:?} {now}");
                assert_eq!(next_of(&policy, before), after, "{policy:?} {now}");
                assert_eq!(next_of(&policy, before - SECOND), before, "{policy:?} {now}");
            }
        }
    }
}

#[test]
fn a_zone_is_known_by_its_name_and_a_place_is_guessed() {
    for name in
        ["UTC", "Europe/Berlin", "europe/berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+3", "CET"]
    {
        assert!(zone(name).is_some(), "{name}");
    }
    for name in ["", "Berlin", "Europe/Bonn", "+02:00", "Etc/Unknown", "local", "EST5EDT4", "../UTC", "UTC "]
    {
        assert!(zone(name).is_none(), "{name}");
    }
    for (text, name) in [("Berlin", "Europe/Berlin"), ("new york", "America/New_York"), ("utc ", "Etc/UTC")] {
        assert_eq!(place(text).as_deref(), Some(name));
    }
    assert_eq!(place("Bonn"), None);
}

//! Times around clock changes, and decisions about times that were missed or overlap.

use std::time::Instant;

use proptest::prelude::*;

use super::*;
use backline_model::fixtures::zone;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().expect("a time")
}

fn timetable(cron: &str, timezone: Zone) -> Timetable {
    table(cron, timezone, CatchUp::default(), Overlap::default())
}

fn table(cron: &str, timezone: Zone, catch_up: CatchUp, overlap: Overlap) -> Timetable {
    let spec = ScheduleSpec { cron: cron.to_owned(), timezone, catch_up, overlap, ..ScheduleSpec::default() };
    Timetable::of(&spec).unwrap_or_else(|error| panic!("{cron}: {error}"))
}

/// The next times, in the zone's local time.
fn times(cron: &str, zone: Zone, after: &str, n: usize) -> Vec<String> {
    let timetable = timetable(cron, zone.clone());
    let fires = std::iter::successors(timetable.next_after(at(after)), |time| timetable.next_after(*time));
    let shown = |time| format!("{} {}", zone.civil_at(time).format("%m-%d %H:%M"), zone.abbreviation_at(time));
    fires.take(n).map(shown).collect()
}

#[test]
fn a_time_that_is_left_out_fires_right_after_the_gap() {
    assert_eq!(
        times("30 2 * * *", zone("America/New_York"), "2026-03-06T12:00:00Z", 4),
        ["03-07 02:30 EST", "03-08 03:00 EDT", "03-09 02:30 EDT", "03-10 02:30 EDT"]
    );
    assert_eq!(
        times("0 2,14 * * *", zone("Europe/Berlin"), "2026-03-28T12:00:00Z", 4),
        ["03-28 14:00 CET", "03-29 03:00 CEST", "03-29 14:00 CEST", "03-30 02:00 CEST"],
        "also where there is more than one hour"
    );
    assert_eq!(
        times("0,30 2,3 * * *", zone("Europe/Berlin"), "2026-03-28T12:00:00Z", 3),
        ["03-29 03:00 CEST", "03-29 03:30 CEST", "03-30 02:00 CEST"],
        "several of the same instant are one"
    );
    // The whole of 30 December 2011 was skipped.
    assert_eq!(
        times("0 2 * * *", zone("Pacific/Apia"), "2011-12-28T23:00:00Z", 3),
        ["12-29 02:00 -10", "12-31 00:00 +14", "12-31 02:00 +14"]
    );
}

#[test]
fn a_time_that_comes_twice_fires_once() {
    assert_eq!(
        times("30 1 * * *", zone("America/New_York"), "2026-10-31T12:00:00Z", 2),
        ["11-01 01:30 EDT", "11-02 01:30 EST"]
    );
    assert_eq!(
        times("30 2,14 * * *", zone("Europe/Berlin"), "2026-10-24T20:00:00Z", 3),
        ["10-25 02:30 CEST", "10-25 14:30 CET", "10-26 02:30 CET"]
    );
    // Asked in the second of the two hours.
    assert_eq!(times("45 1 * * *", zone("America/New_York"), "2026-11-01T06:10:00Z", 1), ["11-02 01:45 EST"]);
    assert_eq!(
        times("*/30 2 * * *", zone("Europe/Berlin"), "2026-10-25T00:00:00.5Z", 2),
        ["10-25 02:30 CEST", "10-26 02:00 CET"]
    );
}

#[test]
fn a_pattern_for_every_hour_goes_by_the_hours_that_pass() {
    assert_eq!(
        times("15 * * * *", zone("America/New_York"), "2026-11-01T04:30:00Z", 4),
        ["11-01 01:15 EDT", "11-01 01:15 EST", "11-01 02:15 EST", "11-01 03:15 EST"]
    );
    assert_eq!(
        times("15 * * * *", zone("America/New_York"), "2026-03-08T05:30:00Z", 3),
        ["03-08 01:15 EST", "03-08 03:15 EDT", "03-08 04:15 EDT"]
    );
    assert_eq!(
        times("*/30 */2 * * *", zone("Europe/Berlin"), "2026-10-24T23:59:00Z", 4),
        ["10-25 02:00 CEST", "10-25 02:30 CEST", "10-25 02:00 CET", "10-25 02:30 CET"]
    );
    // The last hour of the day occurs twice, and the next matching one is a year later, at standard time.
    assert_eq!(
        times("30 */23 1 4 *", zone("America/Santiago"), "2028-04-01T12:00:00Z", 3),
        ["04-01 23:30 -03", "04-01 23:30 -04", "04-01 00:30 -03"]
    );
    // The clock is set back by half an hour on Lord Howe Island.
    assert_eq!(
        times("*/20 * * * *", zone("Australia/Lord_Howe"), "2026-04-04T14:10:00Z", 4),
        ["04-05 01:20 +11", "04-05 01:40 +11", "04-05 01:40 +1030", "04-05 02:00 +1030"]
    );
}

#[test]
fn days_and_weekdays_are_those_of_the_zone() {
    assert_eq!(times("0 2 * * MON", zone("UTC"), "2026-11-22T12:00:00Z", 2), ["11-23 02:00 UTC", "11-30 02:00 UTC"]);
    assert_eq!(times("0 0 1 * *", zone("Pacific/Auckland"), "2026-11-22T12:00:00Z", 1), ["12-01 00:00 NZDT"]);
    assert_eq!(times("0 0 29 2 *", zone("UTC"), "2026-11-22T12:00:00Z", 1), ["02-29 00:00 UTC"]);
}

#[test]
fn what_cannot_be_read_is_named_with_an_example() {
    let refused = |cron: &str| Cron::parse(cron).expect_err(cron).to_string();
    assert_eq!(
        refused("0 2 * *"),
        "'0 2 * *' has 4 fields; write five, minute hour day month weekday, such as '0 2 * * *'"
    );
    assert!(refused("0 0 2 * * *").starts_with("'0 0 2 * * *' has 6 fields"), "{}", refused("0 0 2 * * *"));
    assert!(refused("@daily").contains("1 fields"), "{}", refused("@daily"));
    for (cron, field) in [
        ("61 2 * * *", "minute, '61'"),
        ("0 24 * * *", "hour, '24'"),
        ("0 2 0 * *", "day of the month, '0'"),
        ("0 2 * 13 *", "month, '13'"),
        ("0 2 * * 8", "day of the week, '8'"),
        ("0 zwei * * *", "hour, 'zwei'"),
    ] {
        let text = refused(cron);
        assert!(
            text.starts_with(&format!("the field for the {field}, is wrong: ")) && text.contains("; write "),
            "{text}"
        );
    }
    assert_eq!(refused("0 2 30 2 *"), "'0 2 30 2 *' names a day that never comes, such as 30 February");
}

#[test]
fn names_are_plain() {
    for name in ["daily", "0", "a-b_c9", &"x".repeat(63)] {
        assert_eq!(check_name(name), Ok(()), "{name}");
    }
    for name in ["", "Daily", "-a", "_a", "a b", "é", &"x".repeat(64), "a.b"] {
        assert!(matches!(check_name(name), Err(ScheduleError::Name { .. })), "{name}");
    }
    for name in ["manual", "activation", "backfill"] {
        assert!(matches!(check_name(name), Err(ScheduleError::NameTaken { .. })), "{name}");
    }
}

use FireDecision::{Missed, Queued, Skipped, Started};

fn decisions(catch_up: CatchUp, overlap: Overlap, until: &str, now: &str, busy: bool) -> Vec<FireDecision> {
    let decided = table("0 2 * * *", zone("UTC"), catch_up, overlap).due(at(until), at(now), busy);
    assert!(decided.next_fire.is_some_and(|next| next > at(now)));
    decided.fires.into_iter().map(|(_, decision)| decision).collect()
}

#[test]
fn missed_times_are_caught_up_on_as_configured() {
    let (until, now) = ("2026-11-19T12:00:00Z", "2026-11-22T12:00:00Z");
    let of = |catch_up, busy| decisions(catch_up, Overlap::Skip, until, now, busy);
    assert_eq!(of(CatchUp::All, false), [Started, Queued, Queued]);
    assert_eq!(of(CatchUp::All, true), [Queued, Queued, Queued], "all would mean nothing if they were skipped");
    assert_eq!(of(CatchUp::Last, false), [Missed, Missed, Started]);
    assert_eq!(of(CatchUp::Last, true), [Missed, Missed, Queued]);
    assert_eq!(of(CatchUp::None, false), [Missed, Missed, Missed]);
}

#[test]
fn a_time_that_is_a_little_late_is_not_missed() {
    let of = |now| decisions(CatchUp::None, Overlap::Skip, "2026-11-21T12:00:00Z", now, false);
    assert_eq!(of("2026-11-22T01:59:59.999999Z"), []);
    assert_eq!(of("2026-11-22T02:00:00Z"), [Started]);
    assert_eq!(of("2026-11-22T02:05:00Z"), [Started]);
    assert_eq!(of("2026-11-22T02:05:00.000001Z"), [Missed]);
}

#[test]
fn a_time_that_comes_too_soon_is_skipped_or_queued() {
    let of = |overlap, busy| decisions(CatchUp::All, overlap, "2026-11-21T12:00:00Z", "2026-11-22T02:00:01Z", busy);
    assert_eq!(of(Overlap::Skip, true), [Skipped]);
    assert_eq!(of(Overlap::Queue, true), [Queued]);
    assert_eq!(of(Overlap::Skip, false), [Started]);
    let minutely = table("* * * * *", zone("UTC"), CatchUp::All, Overlap::Skip);
    let decided = minutely.due(at("2026-11-22T02:00:00Z"), at("2026-11-22T02:02:10Z"), false);
    assert_eq!(decided.fires, [(at("2026-11-22T02:01:00Z"), Started), (at("2026-11-22T02:02:00Z"), Skipped)]);
}

#[test]
fn a_clock_that_was_put_back_decides_nothing_twice() {
    let daily = timetable("0 2 * * *", zone("UTC"));
    let decided = daily.due(at("2026-11-22T02:00:00Z"), at("2026-11-22T01:59:00Z"), false);
    assert_eq!(decided.fires, []);
    assert_eq!(decided.next_fire, Some(at("2026-11-23T02:00:00Z")), "a decided time is not decided again");
}

#[test]
fn an_outage_of_years_costs_little() {
    let started = Instant::now();
    for catch_up in [CatchUp::All, CatchUp::Last, CatchUp::None] {
        let minutely = table("* * * * *", zone("America/New_York"), catch_up, Overlap::Skip);
        let decided = minutely.due(at("1990-01-01T00:00:00Z"), at("2026-11-22T12:00:30Z"), false);
        assert_eq!(decided.fires.len(), MISSED_MAX + 5, "the missed ones, and those of the last five minutes");
        assert_eq!(decided.fires[0].0, at("2026-11-21T19:16:00Z"), "the latest");
        let caught_up = decided.fires.iter().filter(|(_, decision)| matches!(decision, Started | Queued)).count();
        assert_eq!(
            caught_up,
            match catch_up {
                CatchUp::All => MISSED_MAX,
                _ => 1,
            }
        );
    }
    let yearly = table("0 0 29 2 *", zone("UTC"), CatchUp::All, Overlap::Skip);
    assert_eq!(yearly.due(at("1990-01-01T00:00:00Z"), at("2026-11-22T12:00:00Z"), true).fires.len(), 9);
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}

fn zones() -> impl Strategy<Value = Zone> {
    prop::sample::select(vec![
        zone("UTC"),
        zone("America/New_York"),
        zone("America/Santiago"),
        zone("Europe/Berlin"),
        zone("Pacific/Apia"),
        zone("Australia/Lord_Howe"),
        zone("Asia/Beirut"),
    ])
}

#[test]
fn a_queue_has_room_for_a_day_of_hourly_runs_or_for_all_that_is_caught_up_on() {
    let room = |catch_up| table("0 * * * *", Zone::utc(), catch_up, Overlap::Queue).queue_max();
    assert_eq!((room(CatchUp::Last), room(CatchUp::None), room(CatchUp::All)), (24, 24, 1_000));
}

#[test]
fn whether_a_time_came_is_asked_of_the_schedules_that_cover_a_platform() {
    let platform = |name: &str| Platform::new(name).expect("a name");
    let spec = |cron: &str, platforms: &[&str]| ScheduleSpec {
        cron: cron.to_owned(),
        platforms: platforms.iter().map(|name| platform(name)).collect(),
        ..ScheduleSpec::default()
    };
    let came = |specs: &[ScheduleSpec], since: &str| {
        time_came(specs, &platform("youtube"), at(since), at(since) + TimeDelta::days(1))
    };
    let monday = [spec("0 2 * * 1", &["youtube"])];
    assert_eq!(came(&monday, "2026-11-22T12:00:00Z"), Some(true));
    assert_eq!(came(&monday, "2026-11-23T02:00:00Z"), Some(false), "its own time is before");
    let both = [spec("0 2 * * 1", &["youtube"]), spec("0 5 * * *", &[])];
    assert_eq!(came(&both, "2026-11-23T02:00:00Z"), Some(true), "another one is daily");
    let elsewhere = [spec("0 5 * * *", &["spotify"])];
    assert_eq!(came(&elsewhere, "2026-11-23T02:00:00Z"), None);
    let off = [ScheduleSpec { enabled: false, ..spec("0 5 * * *", &[]) }];
    assert_eq!(came(&off, "2026-11-23T02:00:00Z"), None);
    assert_eq!(came(&[spec("nonsense", &[])], "2026-11-23T02:00:00Z"), Some(true));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_time_is_lost_or_doubled_however_the_clock_is_looked_at(
        cron in prop::sample::select(vec![
            "30 2 * * *",
            "0 0 * * *",
            "0,30 1,2 * * *",
            "17 * * * *",
            "*/20 */2 * * *",
            "0 0 * * SUN",
        ]),
        zone in zones(),
        // The first day of each month from 2010 to 2026: every clock change is near one of them.
        month in 0u32..200,
        steps in prop::collection::vec(1i64..400_000, 1..12),
        busy in any::<bool>(),
    ) {
        let timetable = table(cron, zone, CatchUp::All, Overlap::Queue);
        let start = at("2010-01-15T00:00:30Z") + TimeDelta::days(i64::from(month) * 30);
        let end = start + TimeDelta::seconds(steps.iter().sum());
        let expected: Vec<_> = std::iter::successors(timetable.next_after(start), |time| timetable.next_after(*time))
            .take_while(|time| *time <= end).collect();
        prop_assert!(expected.windows(2).all(|pair| pair[0] < pair[1]), "strictly later each time: {expected:?}");

        let (mut now, mut until, mut decided) = (start, start, Vec::new());
        for step in steps {
            now += TimeDelta::seconds(step);
            let decisions = timetable.due(until, now, busy);
            prop_assert_eq!(decisions.next_fire, timetable.next_after(now));
            prop_assert!(decisions.fires.iter().all(|(_, decision)| matches!(decision, Started | Queued)));
            decided.extend(decisions.fires.iter().map(|(time, _)| *time));
            until = decided.last().copied().unwrap_or(until);
        }
        prop_assert_eq!(decided, expected);
    }

    #[test]
    fn a_fixed_hour_fires_on_every_day_of_the_zone(
        zone in zones(),
        day in 0i64..6_000,
        minute in 0u32..60,
        hour in 0u32..24,
    ) {
        let timetable = timetable(&format!("{minute} {hour} * * *"), zone.clone());
        let after = at("2012-01-05T12:00:00Z") + TimeDelta::days(day);
        let first = timetable.next_after(after).expect("a time");
        let second = timetable.next_after(first).expect("a time");
        let days = zone.date_at(second) - zone.date_at(first);
        prop_assert_eq!(days.num_days(), 1, "{} then {}", first, second);
    }
}

/// A field of a pattern, with the numbers that it stands for.
fn field(least: u32, most: u32) -> impl Strategy<Value = (String, Vec<u32>)> {
    let all = move || (least..=most).collect::<Vec<u32>>();
    prop_oneof![
        2 => Just(("*".to_owned(), all())),
        2 => (least..=most).prop_map(|one| (one.to_string(), vec![one])),
        1 => prop::collection::btree_set(least..=most, 1..5).prop_map(|some| {
            let texts: Vec<String> = some.iter().map(u32::to_string).collect();
            (texts.join(","), some.into_iter().collect::<Vec<u32>>())
        }),
        1 => (least..most, 1..=most).prop_map(move |(first, more)| {
            let last = (first + more).min(most);
            (format!("{first}-{last}"), (first..=last).collect::<Vec<u32>>())
        }),
        1 => (2..=(most - least).min(15)).prop_map(move |step| {
            let numbers = all().into_iter().filter(|number| (number - least).is_multiple_of(step));
            (format!("*/{step}"), numbers.collect::<Vec<u32>>())
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    // A second implementation: every minute is looked at.
    #[test]
    fn the_next_time_is_the_first_minute_that_every_field_names(
        minutes in field(0, 59),
        hours in field(0, 23),
        days in field(1, 31),
        weekdays in field(0, 6),
        of_weekdays in any::<bool>(),
        start in 1_700_000_000_i64..1_900_000_000,
    ) {
        use chrono::{Datelike as _, Timelike as _};

        // Where both are given, either suffices; one at a time is enough here.
        let every = |least, most| ("*".to_owned(), (least..=most).collect::<Vec<u32>>());
        let (days, weekdays) = if of_weekdays { (every(1, 31), weekdays) } else { (days, every(0, 6)) };
        let cron = format!("{} {} {} * {}", minutes.0, hours.0, days.0, weekdays.0);
        let start = DateTime::from_timestamp(start, 0).expect("a time");
        let first = start.with_second(0).expect("a time") + TimeDelta::minutes(1);
        let is_named = |time: &DateTime<Utc>| {
            minutes.1.contains(&time.minute())
                && hours.1.contains(&time.hour())
                && days.1.contains(&time.day())
                && weekdays.1.contains(&time.weekday().num_days_from_sunday())
        };
        // Each day of a month comes within two months.
        let expected = (0..62 * 1_440).map(|later| first + TimeDelta::minutes(later)).find(is_named);
        prop_assert_eq!(timetable(&cron, zone("UTC")).next_after(start), expected, "{} after {}", cron, start);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,40}|[0-9*/,A-Z#?LW -]{0,40}") {
        if let Ok(cron) = Cron::parse(&text) {
            prop_assert!(cron.next_after(&zone("UTC"), at("2026-11-22T12:00:00Z")).is_some(), "{}", text);
        }
    }
}

#[test]
fn the_latest_time_is_found_that_has_come() {
    let table = |cron| table(cron, zone("UTC"), CatchUp::Last, Overlap::Skip);
    let daily = table("0 2 * * *");
    for (until, latest) in [
        ("2026-11-22T02:00:00Z", "2026-11-22T02:00:00Z"),
        ("2026-11-22T23:59:59Z", "2026-11-22T02:00:00Z"),
        ("2026-11-22T01:59:59Z", "2026-11-21T02:00:00Z"),
    ] {
        assert_eq!(daily.latest_until(at(until)), Some(at(latest)), "{until}");
    }
    assert_eq!(table("* * * * *").latest_until(at("2026-11-22T02:00:30Z")), Some(at("2026-11-22T02:00:00Z")));
    assert_eq!(table("0 2 1 1 *").latest_until(at("2026-11-22T00:00:00Z")), Some(at("2026-01-01T02:00:00Z")));
    assert_eq!(table("0 2 29 2 *").latest_until(at("2026-11-22T00:00:00Z")), None);
}

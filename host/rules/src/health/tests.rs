//! Tests of rates, objectives, recommendations, costs and alerts.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use proptest::prelude::*;

use super::fixtures::{everything_wrong, failing, figures, healthy, now, platform, report_of, since};
use super::*;
use backline_model::health::{
    Alert, AlertName, PauseFigures, Recommendation, RecommendationKind as Kind, ReleaseFigures, UnreadableRow, Urgency,
};
use backline_model::outcome::{Exclusion, FailureClass};
use backline_model::{Digest, Tally};

fn run(number: u128) -> RunId {
    RunId(uuid::Uuid::from_u128(number))
}

/// Kinds of a report's recommendations.
fn kinds(report: &HealthReport) -> Vec<Kind> {
    report.recommendations.iter().map(|recommendation| recommendation.kind).collect()
}

#[test]
fn what_was_superseded_lowers_completion_and_is_no_error() {
    let figures = PlatformFigures { collected: 60, superseded: 40, ..PlatformFigures::default() };
    let health = health([&figures].into_iter(), now());
    assert_eq!((health.planned, health.superseded, health.failed), (100, 40, 0));
    assert_eq!((health.completion, health.error_rate), (Some(0.6), Some(0.0)));
}

#[test]
fn five_healthy_platforms_are_a_hundred_percent_and_no_more() {
    let names = ["youtube", "spotify", "instagram", "tiktok", "deezer"];
    let report = report_of(&figures(names.map(|name| (name, healthy(10)))), &Suspects::default());
    assert_eq!(
        (report.total.completion, report.total.error_rate, report.total.score),
        (Some(1.0), Some(0.0), Some(100.0))
    );
    assert_eq!(kinds(&report), []);
    assert!(report.objectives.iter().take(3).all(|objective| objective.met == Some(true)), "{:?}", report.objectives);
}

#[test]
fn the_score_follows_the_formula_on_the_right_inputs() {
    let report = report_of(
        &figures([("youtube", healthy(60)), ("spotify", failing(0, FailureClass::Unavailable, 40))]),
        &Suspects::default(),
    );
    let total = &report.total;
    assert_eq!((total.planned, total.completion, total.error_rate), (100, Some(0.6), Some(0.4)));
    // 100 - 50 * 0.4 - 50 * 0.4
    assert!((total.score.expect("a score") - 60.0).abs() < 1e-9, "{total:?}");
    assert_eq!(kinds(&report), [Kind::PlatformDown, Kind::CompletionLow, Kind::ErrorRateHigh]);
    assert_eq!(report.recommendations[0].blame.platform, Some(platform("spotify")));
}

#[test]
fn what_waits_or_is_excluded_or_has_just_begun_is_apart_and_what_is_overdue_is_not() {
    let apart = PlatformFigures {
        deferred: 5,
        under_way: 7,
        excluded: BTreeMap::from([(Exclusion::NoConsent, 9)]),
        ..healthy(10)
    };
    let report = report_of(&figures([("youtube", apart.clone())]), &Suspects::default());
    assert_eq!((report.total.planned, report.total.completion), (10, Some(1.0)));
    assert_eq!((report.total.deferred, report.total.under_way, report.total.excluded), (5, 7, 9));
    let late = PlatformFigures { due: 4, overdue: 6, ..apart };
    let report = report_of(&figures([("youtube", late)]), &Suspects::default());
    assert_eq!((report.total.planned, report.total.overdue, report.total.completion), (20, 10, Some(0.5)));
    assert_eq!(report.total.score, Some(75.0), "nothing failed, but half is missing");
}

#[test]
fn where_nothing_was_planned_there_is_no_data_and_not_a_hundred_percent() {
    let idle = PlatformFigures { eligible: 3, eligible_before: 3, has_release: true, ..PlatformFigures::default() };
    let report = report_of(&figures([("youtube", idle)]), &Suspects::default());
    assert_eq!((report.total.completion, report.total.score, report.total.accepted), (None, None, None));
    assert!(report.objectives.iter().all(|objective| objective.met.is_none() && objective.value.is_none()));
    assert_eq!(kinds(&report), [Kind::NothingPlanned]);
    assert!(report.recommendations[0].sentence.contains("no schedule is on"), "{:?}", report.recommendations);
    let empty = report_of(&figures([("youtube", PlatformFigures::default())]), &Suspects::default());
    assert_eq!(kinds(&empty), [], "no account is eligible");
    let weekly = PlatformFigures { eligible: 3, has_release: true, not_due: true, ..PlatformFigures::default() };
    assert_eq!(kinds(&report_of(&figures([("youtube", weekly)]), &Suspects::default())), [], "nothing was due");
}

#[test]
fn an_optional_platform_is_shown_and_is_left_out_of_the_total() {
    let apple = PlatformFigures { optional: true, reconnect: 4, ..failing(0, FailureClass::Unavailable, 10) };
    let figures = figures([("youtube", healthy(10)), ("apple_music", apple)]);
    let report = report_of(&figures, &Suspects::default());
    assert_eq!((report.total.score, report.total.planned, report.total.reconnect), (Some(100.0), 10, 0));
    let apple = &report.platforms[0];
    assert_eq!((apple.optional, apple.health.score), (true, Some(0.0)));
    assert!(
        report.recommendations.iter().all(|found| found.urgency == Urgency::Notice),
        "{:?}",
        report.recommendations
    );
    let watched = readings(&report, &figures, &HealthConfig::default());
    assert!(watched.iter().all(|reading| reading.platform != Some(platform("apple_music"))), "it fires no alert");
}

#[test]
fn ninety_five_of_a_hundred_rows_decide_the_lag() {
    let lags = vec![
        Lag { seconds: 9_000.0, accounts: 5 },
        Lag { seconds: 10.0, accounts: 90 },
        Lag { seconds: 20.0, accounts: 5 },
    ];
    assert_eq!(lag(lags), (Some(20.0), Some(9_000.0)));
    assert_eq!(lag(vec![Lag { seconds: 7.0, accounts: 1 }]), (Some(7.0), Some(7.0)));
    assert_eq!(lag(Vec::new()), (None, None));
}

#[test]
fn a_run_takes_as_long_as_its_batches_are_running_together() {
    let span = |number, from: i64, until: i64| BusySpan {
        run: run(number),
        from: since() + TimeDelta::minutes(from),
        until: since() + TimeDelta::minutes(until),
    };
    // The first one waits for its budget from 15 to 600.
    let work = [span(1, 0, 10), span(1, 5, 15), span(1, 600, 605), span(2, 0, 19), span(1, 2, 3)];
    assert_eq!(longest_run_s(&work), Some(20.0 * 60.0));
    assert_eq!(longest_run_s(&[]), None);
}

#[test]
fn a_host_that_comes_back_under_another_name_is_not_missed() {
    let host = |name: &str, started: i64, seen: i64| HostFigures {
        name: name.to_owned(),
        started_at: now() - TimeDelta::minutes(started),
        seen_at: now() - TimeDelta::minutes(seen),
        refreshes_tokens: true,
    };
    let names =
        |hosts: &[HostFigures]| lost_hosts(hosts, now()).iter().map(|host| host.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&[host("a", 100, 0), host("b", 100, 30)]), ["b"]);
    assert_eq!(names(&[host("a", 100, 0), host("b", 100, 30), host("b2", 29, 0)]), Vec::<String>::new());
    assert_eq!(names(&[host("a", 100, 40), host("b", 100, 30), host("c", 29, 0)]), ["a"], "one takes one's place");
    assert_eq!(names(&[host("a", 100, 30)]), ["a"]);
}

/// Every kind of recommendation at once.
#[test]
fn recommendations_name_whom_or_what_to_blame() {
    let report = everything_wrong();
    let of =
        |kind| report.recommendations.iter().find(|found| found.kind == kind).unwrap_or_else(|| panic!("no {kind:?}"));
    let reconnect = of(Kind::Reconnect);
    assert!(
        reconnect.sentence.contains("5 accounts") && reconnect.sentence.ends_with("Ada and others"),
        "{reconnect:?}"
    );
    assert_eq!(reconnect.blame.accounts.len(), 1);
    assert!(reconnect.remedy.starts_with("backline accounts attention --platform "), "{reconnect:?}");
    let webhooks: Vec<_> =
        report.recommendations.iter().filter(|found| found.kind == Kind::EventsUndelivered).collect();
    let names: Vec<_> = webhooks.iter().map(|found| found.blame.webhook.as_deref()).collect();
    assert_eq!(names, [Some("app"), Some("gone")]);
    assert!(
        webhooks[0].sentence.contains("3 events") && webhooks[0].remedy.ends_with("resend app --parked"),
        "{webhooks:?}"
    );
    assert!(
        webhooks[1].sentence.contains("it answered 410") && webhooks[1].remedy.ends_with("enable gone"),
        "{webhooks:?}"
    );
    assert_eq!(of(Kind::HostLost).blame.host.as_deref(), Some("lost"));
    let release = of(Kind::ReleaseFailing);
    assert_eq!(release.blame.release.as_deref(), Some("1.2.0"));
    assert!(release.sentence.contains("10 of 20 accounts, mostly 'trapped'"), "{}", release.sentence);
    let spent = of(Kind::BudgetSpent);
    assert_eq!(spent.blame.budget.as_deref(), Some("youtube units"), "{spent:?}");
    assert!(spent.sentence.contains("2026-11-20T15:00:00Z"), "{spent:?}");
    assert_eq!(of(Kind::CredentialDead).blame.platform, Some(platform("spotify")), "in the order of platforms");
    assert_eq!(of(Kind::CredentialExpiring).blame.credential.as_deref(), Some("spotify app"));
    for kind in
        [Kind::NoRelease, Kind::Overdue, Kind::BatchesDead, Kind::QuarantineHeld, Kind::NoConsent, Kind::PlatformDown]
    {
        assert!(of(kind).blame.platform.is_some(), "{kind:?}");
    }
    for kind in [
        Kind::Misconfigured,
        Kind::AccountsNotFound,
        Kind::AccountsForbidden,
        Kind::AccountsHostKilled,
        Kind::ConnectorFailing,
    ] {
        assert_eq!(of(kind).blame.platform, Some(platform("tiktok")), "{kind:?}");
    }
    let urgencies: Vec<_> = report.recommendations.iter().rev().skip(1).rev().map(|found| found.urgency).collect();
    assert!(urgencies.is_sorted(), "the most urgent first: {urgencies:?}");
}

#[test]
fn whatever_accounts_fail_of_one_recommendation_says_what_to_do() {
    for class in FailureClass::ALL {
        for failed in [1, 60] {
            // What such a failure leaves behind, as the database counts it.
            let dead = if class.leaves_a_dead_batch() { failed } else { 0 };
            let reconnect = if class == FailureClass::Reconnect { failed } else { 0 };
            let counted = PlatformFigures { dead, reconnect, ..failing(40, class, failed) };
            let report = report_of(&figures([("youtube", counted)]), &Suspects::default());
            let of_platform = |found: &&Recommendation| found.blame.platform == Some(platform("youtube"));
            let told = report.recommendations.iter().filter(of_platform).count();
            assert_eq!(told, 1, "{failed} failed with {class:?}: {:?}", report.recommendations);
        }
    }
}

#[test]
fn accounts_that_are_unknown_refused_or_left_out_are_told_with_what_to_do() {
    let counted = PlatformFigures {
        failed: BTreeMap::from([(FailureClass::NotFound, 2), (FailureClass::Forbidden, 1)]),
        excluded: BTreeMap::from([(Exclusion::HostKilled, 1)]),
        ..healthy(90)
    };
    let report = report_of(&figures([("youtube", counted.clone())]), &Suspects::default());
    assert_eq!(kinds(&report), [Kind::AccountsNotFound, Kind::AccountsForbidden, Kind::AccountsHostKilled]);
    let [unknown, forbidden, killed] = &report.recommendations[..] else { panic!("one for each") };
    let said = "youtube does not know 2 accounts: add the right ids, and remove those that were added by mistake";
    assert_eq!((&*unknown.sentence, &*unknown.remedy), (said, "backline runs list"));
    assert!(forbidden.sentence.starts_with("youtube refuses 1 account for lack of permissions"), "{forbidden:?}");
    assert_eq!(killed.remedy, "backline accounts attention --platform youtube");
    assert!(report.recommendations.iter().all(|found| found.urgency == Urgency::Warning));

    let excluded = BTreeMap::from([(Exclusion::NotFound, 5)]);
    let later = PlatformFigures { excluded, optional: true, ..counted };
    let report = report_of(&figures([("youtube", later)]), &Suspects::default());
    let unknown = &report.recommendations[0];
    assert!(unknown.sentence.starts_with("youtube does not know 7 accounts"), "{unknown:?}");
    assert_eq!(unknown.remedy, "backline accounts attention --platform youtube", "it lists those that are left out");
    assert!(report.recommendations.iter().all(|found| found.urgency == Urgency::Notice), "it is optional");
}

#[test]
fn a_connector_that_fails_for_another_reason_than_its_activation_is_named_once() {
    let release = |age: TimeDelta| ReleaseFigures {
        platform: platform("youtube"),
        digest: Digest::of(b"a"),
        name: "tube".to_owned(),
        version: "2.0.0".to_owned(),
        spent: Vec::new(),
        activated_at: now() - age,
        since: Tally { accounts: 100, failed: BTreeMap::from([(FailureClass::Unexpected, 40)]), ..Tally::default() },
        before: None,
    };
    let told = |failed: u64, age: TimeDelta| {
        let suspects = Suspects { releases: vec![release(age)], ..Suspects::default() };
        let counted = failing(100 - failed, FailureClass::Unexpected, failed);
        let found = report_of(&figures([("youtube", counted)]), &suspects).recommendations.into_iter();
        let found = found.filter(|found| found.blame.platform.is_some());
        found.map(|found| (found.kind, found.urgency, found.remedy)).collect::<Vec<_>>()
    };
    let test = || "backline plugins test tube".to_owned();
    assert_eq!(told(40, TimeDelta::days(30)), [(Kind::ConnectorFailing, Urgency::Warning, test())]);
    assert_eq!(told(10, TimeDelta::days(30)), [(Kind::ConnectorFailing, Urgency::Notice, test())], "it is not much");
    let kinds: Vec<Kind> = told(40, TimeDelta::hours(1)).into_iter().map(|(kind, ..)| kind).collect();
    assert_eq!(kinds, [Kind::ReleaseFailing]);
}

#[test]
fn a_platform_that_asked_for_a_pause_is_named_instead_of_a_budget() {
    let said = |credentials| {
        let until = now() + TimeDelta::hours(2);
        let suspects = Suspects {
            pauses: vec![PauseFigures { platform: platform("youtube"), credentials, until }],
            ..Suspects::default()
        };
        let counted = PlatformFigures { deferred: 3, deferred_until: Some(until), ..healthy(10) };
        let report = report_of(&figures([("youtube", counted)]), &suspects);
        assert_eq!(kinds(&report), [Kind::PlatformPaused]);
        report.recommendations[0].sentence.clone()
    };
    let until = (now() + TimeDelta::hours(2)).format("%Y-%m-%dT%H:%M:%SZ");
    assert_eq!(said(0), format!("youtube asked for a pause until {until}: 3 accounts wait"));
    assert_eq!(said(2), format!("youtube asked for a pause of 2 credentials until {until}: 3 accounts wait"));
}

#[test]
fn rows_that_can_not_be_read_are_counted_and_named_by_table() {
    let row = |table: &str, name: &str| UnreadableRow {
        table: table.to_owned(),
        name: name.to_owned(),
        column: "timezone".to_owned(),
        problem: "'Mars/Phobos'".to_owned(),
    };
    let mut unreadable = vec![row("webhooks", "crm"), row("artists", "018f4e6a-7c1d-7b3a-9c55-3f1d2a4b5c6d")];
    unreadable.extend((0..7).map(|n| row("schedules", &format!("nightly-{n}"))));
    let unreadable_others = BTreeMap::from([("webhooks".to_owned(), 9)]);
    let suspects = Suspects { unreadable, unreadable_others, ..Suspects::default() };
    let report = report_of(&figures([("youtube", healthy(10))]), &suspects);
    assert_eq!(kinds(&report), [Kind::RowsUnreadable, Kind::RowsUnreadable, Kind::RowsUnreadable]);
    let [artists, schedules, webhooks] = &report.recommendations[..] else { panic!("one for each table") };
    assert_eq!((artists.sentence.starts_with("1 row of artists"), &*artists.remedy), (true, "backline artists list"));
    assert!(schedules.sentence.starts_with("7 rows of schedules can't be read"), "{}", schedules.sentence);
    assert!(schedules.sentence.ends_with("nightly-4 (timezone: 'Mars/Phobos') and others"), "{}", schedules.sentence);
    assert_eq!(schedules.remedy, "backline schedules list");
    assert!(webhooks.sentence.starts_with("10 rows of webhooks") && webhooks.sentence.contains("crm"), "{webhooks:?}");
    assert!(webhooks.sentence.ends_with(" and others"), "those that are only counted count: {}", webhooks.sentence);
}

#[test]
fn a_clock_that_differs_from_the_other_is_urgent() {
    for (ahead, told) in [
        (TimeDelta::days(40), "40 days ahead of the one"),
        (TimeDelta::hours(-3), "3 hours behind the one"),
        (TimeDelta::minutes(6), "6 minutes ahead of the one"),
    ] {
        let suspects = Suspects { clock_ahead: Some(ahead), ..Suspects::default() };
        let report = report_of(&figures([("youtube", healthy(10))]), &suspects);
        assert_eq!(kinds(&report), [Kind::ClockDiffers]);
        assert!(report.recommendations[0].sentence.contains(told), "{:?}", report.recommendations);
    }
}

#[test]
fn a_release_is_blamed_only_for_what_it_began() {
    let blamed = |since: u64, before: Option<u64>, age: TimeDelta, class| {
        let tally = |failed| Tally { accounts: 20, failed: BTreeMap::from([(class, failed)]), ..Tally::default() };
        let suspects = Suspects {
            releases: vec![ReleaseFigures {
                platform: platform("youtube"),
                digest: Digest::of(b"a"),
                name: "youtube".to_owned(),
                version: "2.0.0".to_owned(),
                spent: Vec::new(),
                activated_at: now() - age,
                since: tally(since),
                before: before.map(tally),
            }],
            ..Suspects::default()
        };
        kinds(&report_of(&figures([("youtube", healthy(10))]), &suspects)) == [Kind::ReleaseFailing]
    };
    let hour = TimeDelta::hours(1);
    assert!(blamed(10, Some(0), hour, FailureClass::NotNormalised));
    assert!(blamed(10, None, hour, FailureClass::Trapped));
    assert!(!blamed(10, Some(8), hour, FailureClass::Trapped), "the release before was hardly better");
    assert!(!blamed(2, Some(0), hour, FailureClass::Trapped), "two prove nothing");
    assert!(!blamed(10, Some(0), TimeDelta::days(30), FailureClass::Trapped), "it was healthy for a month");
    assert!(!blamed(10, Some(0), hour, FailureClass::Reconnect), "only the artists can fix that");
}

#[test]
fn a_months_cost_is_for_a_thousand_artists() {
    let mut asked = figures([("youtube", PlatformFigures { requests: 2_000, ..PlatformFigures::default() })]);
    asked.platforms.get_mut(&platform("youtube")).expect("it is there").units =
        BTreeMap::from([("units".to_owned(), 4_000)]);
    let free = estimate(&asked, TimeDelta::hours(24), &CostsConfig::default());
    assert_eq!(free.per_1000_artists, Some(0.0));
    assert!(free.basis.contains("no price is configured"), "{}", free.basis);
    let price = PlatformPrice {
        per_1000_requests: 0.5,
        per_1000_units: BTreeMap::from([("units".to_owned(), 0.25)]),
        monthly: 10.0,
    };
    let prices = CostsConfig { host_monthly: 5.0, platforms: BTreeMap::from([(platform("youtube"), price)]) };
    // A day: 2,000 requests and 4,000 units are 2 dollars for 10 artists; a month of them is 60, and 6,000 for 1,000
    // artists. The fixed monthly price is the same for 1,000.
    let ten = estimate(&asked, TimeDelta::hours(24), &prices);
    assert_eq!((ten.per_1000_artists, ten.monthly), (Some(6_015.0), Some(75.0)));
    asked.artists = 2_000;
    let many = estimate(&asked, TimeDelta::hours(24), &prices);
    assert_eq!(many.per_1000_artists, Some(37.5));
    asked.artists = 0;
    assert_eq!(estimate(&asked, TimeDelta::hours(24), &prices).per_1000_artists, None);
    let silent = figures([("youtube", PlatformFigures::default())]);
    assert_eq!(estimate(&silent, TimeDelta::hours(24), &prices).per_1000_artists, None, "nothing was asked");
}

/// What an alert on completion does while the figure takes these values, a minute each.
fn course(values: &[Option<f64>], config: &HealthConfig) -> Vec<Option<Crossing>> {
    let mut alert: Option<Alert> = None;
    let mut crossings = Vec::new();
    for (minute, value) in (0..).zip(values) {
        let figures = figures([("youtube", PlatformFigures::default())]);
        let mut report = report_of(&figures, &Suspects::default());
        report.platforms[0].health.completion = *value;
        let readings = readings(&report, &figures, config);
        let reading = readings.iter().find(|reading| reading.name == AlertName::Completion).expect("it is watched");
        let step = step(alert.as_ref(), reading, now() + TimeDelta::minutes(minute), config);
        crossings.push(step.as_ref().and_then(|step| step.crossing));
        alert = step.map(|step| step.alert).or(alert);
    }
    crossings
}

#[test]
fn an_alert_fires_once_and_stops_only_when_it_is_better_by_the_margin() {
    let config = HealthConfig::default();
    let (degraded, recovered) = (Some(Crossing::Degraded), Some(Crossing::Recovered));
    let values = [1.0, 0.8, 0.79, 0.5, 0.79, 0.81, 0.79, 0.81, 0.82, 0.81, 0.79].map(Some);
    let expected = [None, None, degraded, None, None, None, None, None, recovered, None, degraded];
    assert_eq!(course(&values, &config), expected);
    // No data changes nothing.
    assert_eq!(
        course(&[None, Some(0.5), None, None, Some(0.5), Some(1.0)], &config),
        [None, degraded, None, None, None, recovered]
    );
}

#[test]
fn an_alert_fires_whatever_a_clock_that_was_ahead_wrote_down() {
    let config = HealthConfig { for_minutes: 10, ..HealthConfig::default() };
    let figures = figures([("youtube", PlatformFigures::default())]);
    let mut report = report_of(&figures, &Suspects::default());
    report.platforms[0].health.completion = Some(0.5);
    let readings = readings(&report, &figures, &config);
    let reading = readings.iter().find(|reading| reading.name == AlertName::Completion).expect("it is watched");
    let alert = |worse_since| Alert {
        name: AlertName::Completion,
        platform: Some(platform("youtube")),
        firing: false,
        since: since(),
        value: 0.5,
        threshold: 0.8,
        worse_since: Some(worse_since),
        crossings: 0,
        changed_at: since(),
    };
    let after = |worse_since| step(Some(&alert(worse_since)), reading, now(), &config).expect("it is worse");
    let written = after(now() + TimeDelta::days(40));
    assert_eq!((written.crossing, written.alert.worse_since), (None, Some(now())), "it counts from now");
    assert_eq!(after(now() - TimeDelta::minutes(10)).crossing, Some(Crossing::Degraded));
    let later = now() + TimeDelta::minutes(3);
    assert_eq!(after(later).alert.worse_since, Some(later), "another host's clock may be a little ahead");
}

#[test]
fn an_alert_may_have_to_be_worse_for_a_while() {
    let config = HealthConfig { for_minutes: 2, ..HealthConfig::default() };
    let values = [0.5, 0.5, 0.9, 0.5, 0.5, 0.5, 0.5].map(Some);
    let expected = [None, None, None, None, None, Some(Crossing::Degraded), None];
    assert_eq!(course(&values, &config), expected);
}

#[test]
fn an_account_known_all_the_time_and_never_planned_is_an_alert() {
    let value = |figures: PlatformFigures| {
        let figures = self::figures([("youtube", figures)]);
        let report = report_of(&figures, &Suspects::default());
        let readings = readings(&report, &figures, &HealthConfig::default());
        readings.iter().find(|reading| reading.name == AlertName::NoData).and_then(|reading| reading.value)
    };
    let idle = PlatformFigures { eligible: 4, eligible_before: 3, ..PlatformFigures::default() };
    assert_eq!(value(idle.clone()), Some(3.0));
    assert_eq!(value(PlatformFigures { deferred: 1, ..idle.clone() }), Some(0.0), "a budget is spent");
    assert_eq!(value(PlatformFigures { under_way: 1, ..idle.clone() }), Some(0.0));
    assert_eq!(value(PlatformFigures { not_due: true, ..idle.clone() }), None, "no schedule's time came");
    assert_eq!(value(PlatformFigures { not_due: true, under_way: 1, ..idle.clone() }), Some(0.0), "a run all the same");
    assert_eq!(value(PlatformFigures { eligible_before: 0, ..idle }), Some(0.0), "every account is new");
}

#[test]
fn an_account_that_no_schedule_was_due_for_is_not_missed() {
    let config = HealthConfig::default();
    let reading = |missing: Option<u64>| {
        let idle = PlatformFigures { eligible: 4, eligible_before: 4, ..PlatformFigures::default() };
        let figures = match missing {
            Some(0) => PlatformFigures { under_way: 4, ..idle },
            Some(_) => idle,
            None => PlatformFigures { not_due: true, ..idle },
        };
        let figures = self::figures([("youtube", figures)]);
        let all = readings(&report_of(&figures, &Suspects::default()), &figures, &config);
        all.into_iter().find(|reading| reading.name == AlertName::NoData).expect("it is watched")
    };
    // By the hour, from the end of a weekly run's day to the next run, which is a minute late.
    let mut alert: Option<Alert> = None;
    let mut crossings = Vec::new();
    let mut look = |missing, minutes: i64| {
        let at = now() + TimeDelta::minutes(minutes);
        let Some(step) = step(alert.as_ref(), &reading(missing), at, &config) else { return };
        crossings.extend(step.crossing.map(|crossing| (minutes, crossing)));
        alert = Some(step.alert);
    };
    look(Some(4), 0);
    look(Some(4), 60);
    look(None, 120);
    look(None, 180);
    look(Some(4), 7 * 1_440);
    look(Some(0), 7 * 1_440 + 1);
    // A run that never comes is missed, and is not forgotten where nothing is due any more.
    look(Some(4), 14 * 1_440);
    look(Some(4), 14 * 1_440 + 120);
    look(None, 15 * 1_440);
    look(Some(0), 21 * 1_440);
    assert_eq!(crossings, [(14 * 1_440 + 120, Crossing::Degraded), (21 * 1_440, Crossing::Recovered)]);
}

#[test]
fn an_alert_without_a_reading_stops() {
    let config = HealthConfig::default();
    let ceases = |figures: PlatformFigures, name, firing| {
        let figures = self::figures([("youtube", figures)]);
        let readings = readings(&report_of(&figures, &Suspects::default()), &figures, &config);
        let alert = Alert {
            name,
            platform: (name != AlertName::RunTime).then(|| platform("youtube")),
            firing,
            since: since(),
            value: 0.5,
            threshold: 0.8,
            worse_since: None,
            crossings: 3,
            changed_at: since(),
        };
        cease(&alert, &readings, &figures, now())
    };
    let (empty, eligible) = (PlatformFigures::default(), PlatformFigures { eligible: 1, ..PlatformFigures::default() });
    let ceased = ceases(empty.clone(), AlertName::Completion, true).expect("no account is left");
    assert_eq!((ceased.firing, ceased.since, ceased.crossings, ceased.value), (false, now(), 4, 0.5));
    assert_eq!(ceases(empty.clone(), AlertName::Completion, false), None, "it does not fire");
    assert_eq!(ceases(eligible.clone(), AlertName::Completion, true), None, "no data yet");
    assert_eq!(ceases(empty, AlertName::RunTime, true), None, "it is of no platform");
    let optional = PlatformFigures { optional: true, ..eligible };
    assert!(ceases(optional, AlertName::Completion, true).is_some(), "it is optional now");
}

#[test]
fn invalid_values_are_refused_by_their_key() {
    let wrong = |change: fn(&mut HealthConfig)| {
        let mut config = HealthConfig::default();
        change(&mut config);
        config.check().expect_err("it is not valid").0
    };
    assert_eq!(HealthConfig::default().check(), Ok(()));
    assert_eq!(wrong(|config| config.every_s = 0), "health.every_s");
    assert_eq!(wrong(|config| config.window_hours = 0), "health.window_hours");
    assert_eq!(wrong(|config| config.margin = 2.0), "health.margin");
    assert_eq!(wrong(|config| config.targets.run_minutes = f64::NAN), "health.targets.run_minutes");
    assert_eq!(wrong(|config| config.alerts.completion = -0.1), "health.alerts.completion");
    let prices = PlatformPrice { monthly: -1.0, ..PlatformPrice::default() };
    let costs = CostsConfig { platforms: BTreeMap::from([(platform("youtube"), prices)]), ..CostsConfig::default() };
    assert_eq!(costs.check().expect_err("not a price").0, "costs.platforms.youtube.monthly");
}

prop_compose! {
    fn any_platform()(
        optional in any::<bool>(),
        collected in 0..1_000_u64,
        failed in 0..1_000_u64,
        due in 0..100_u64,
        overdue in 0..100_u64,
        deferred in 0..100_u64,
        excluded in 0..100_u64,
        values in 0..10_000_u64,
        rejected in 0..10_000_u64,
    ) -> PlatformFigures {
        PlatformFigures {
            optional,
            collected,
            failed: BTreeMap::from([(FailureClass::Unavailable, failed)]),
            due,
            overdue,
            deferred,
            excluded: BTreeMap::from([(Exclusion::NoConsent, excluded)]),
            values: values.max(rejected),
            rejected,
            ..PlatformFigures::default()
        }
    }
}

proptest! {
    #[test]
    fn shares_are_shares_and_the_score_is_between_0_and_100(platforms in prop::collection::vec(any_platform(), 1..6)) {
        let names = ["a", "b", "c", "d", "e"];
        let counted = platforms.into_iter().zip(names).map(|(figures, name)| (platform(name), figures)).collect();
        let report = report_of(&Figures { platforms: counted, ..Figures::default() }, &Suspects::default());
        for health in report.platforms.iter().map(|platform| &platform.health).chain([&report.total]) {
            for share in [health.completion, health.error_rate, health.accepted].into_iter().flatten() {
                prop_assert!((0.0..=1.0).contains(&share), "{health:?}");
            }
            prop_assert_eq!(health.score.is_none(), health.planned == 0);
            prop_assert!(health.score.is_none_or(|score| (0.0..=100.0).contains(&score)), "{:?}", health);
        }
    }

    #[test]
    fn one_more_collected_never_lowers_the_score_and_one_more_failed_never_raises_it(figures in any_platform()) {
        let score = |figures: PlatformFigures| health([&figures].into_iter(), now()).score;
        let before = score(figures.clone());
        let better = score(PlatformFigures { collected: figures.collected + 1, ..figures.clone() });
        let mut worse = figures;
        *worse.failed.entry(FailureClass::Trapped).or_default() += 1;
        let worse = score(worse);
        if let (Some(before), Some(better), Some(worse)) = (before, better, worse) {
            prop_assert!(worse <= before + 1e-9 && before <= better + 1e-9, "{worse} {before} {better}");
        }
    }
}

#[test]
fn a_host_that_refreshes_no_token_is_named_and_is_urgent_where_no_other_does() {
    let host = |name: &str, seen: i64, refreshes_tokens| HostFigures {
        name: name.to_owned(),
        started_at: now() - TimeDelta::hours(1),
        seen_at: now() - TimeDelta::minutes(seen),
        refreshes_tokens,
    };
    let told = |hosts: Vec<HostFigures>| {
        let mut figures = figures([("youtube", healthy(1))]);
        figures.hosts = hosts;
        let found = report_of(&figures, &Suspects::default()).recommendations.into_iter();
        let found = found.filter(|found| found.kind == Kind::TokensNotRefreshed);
        found.map(|found| (found.blame.host.unwrap_or_default(), found.urgency)).collect::<Vec<_>>()
    };
    assert_eq!(told(vec![host("a", 0, true)]), []);
    assert_eq!(told(vec![host("a", 0, true), host("b", 0, false)]), [("b".to_owned(), Urgency::Warning)]);
    assert_eq!(told(vec![host("a", 30, true), host("b", 0, false)]), [("b".to_owned(), Urgency::Urgent)]);
    assert_eq!(told(vec![host("b", 30, false)]), [], "one that is gone is told as lost");
}

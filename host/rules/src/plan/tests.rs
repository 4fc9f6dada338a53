//! Which accounts are planned, in which batches, for which date and window, and what that will take.

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use backline_model::ArtistId;
use backline_model::fixtures::{day, manifest, time, zone};

fn candidate(number: u128) -> Candidate {
    Candidate {
        account_id: AccountId(Uuid::from_u128(number)),
        artist_id: ArtistId(Uuid::from_u128(1000 + number)),
        platform: Platform::new("example").unwrap(),
        tenant: Tenant::default(),
        timezone: zone("UTC"),
        subscription_status: SubscriptionStatus::Active,
        data_collection_enabled: true,
        account_status: AccountStatus::Active,
        consented: true,
        last_collected: None,
        last_failed: None,
        unreadable: None,
    }
}

fn planned(candidates: Vec<Candidate>, options: &PlanOptions) -> Planned {
    plan(candidates, &manifest(), Digest::of(b"release"), options)
}

fn noon() -> PlanOptions {
    PlanOptions::at(time("2026-11-22T12:00:00Z"))
}

fn numbers(batch: &PlannedBatch) -> Vec<u128> {
    batch.accounts.iter().map(|account| account.account_id.0.as_u128()).collect()
}

#[test]
fn accounts_become_batches_of_the_connectors_size_in_a_stable_order() {
    let planned = planned([3, 1, 5, 2, 4, 3].map(candidate).to_vec(), &noon());
    assert_eq!(planned.batches.iter().map(numbers).collect::<Vec<_>>(), [vec![1, 2], vec![3, 4], vec![5]]);
    assert_eq!(planned.batches[0].release, Digest::of(b"release"));
    assert_eq!(planned.excluded, []);
}

#[test]
fn accounts_that_have_waited_longest_come_first_whatever_their_id_or_date() {
    let of = |number, last: Option<&str>| Candidate { last_collected: last.map(time), ..candidate(number) };
    let candidates = vec![
        of(1, Some("2026-11-21T12:00:00Z")),
        of(2, Some("2026-11-20T12:00:00Z")),
        of(3, Some("2026-11-20T12:00:00Z")),
        of(4, None),
        // A clock was wrong: it does not wait until then.
        of(5, Some("2036-01-01T00:00:00Z")),
        // It has waited longer than the others, and its date is the last.
        Candidate { timezone: zone("Pacific/Kiritimati"), ..of(6, Some("2026-11-19T12:00:00Z")) },
    ];
    let found = planned(candidates, &noon());
    assert_eq!(found.batches.iter().map(numbers).collect::<Vec<_>>(), [vec![4, 5], vec![6], vec![2, 3], vec![1]]);
    assert_eq!(found.batches.iter().map(|batch| batch.new_accounts).collect::<Vec<_>>(), [1, 0, 0, 0]);
}

#[test]
fn accounts_that_fail_each_day_take_their_turn_and_no_more() {
    let of = |number, collected: Option<&str>, failed: Option<&str>| Candidate {
        last_collected: collected.map(time),
        last_failed: failed.map(time),
        ..candidate(number)
    };
    let candidates = vec![
        of(1, None, Some("2026-11-21T12:00:00Z")),
        of(2, Some("2026-11-10T12:00:00Z"), Some("2026-11-21T13:00:00Z")),
        of(3, Some("2026-11-20T12:00:00Z"), Some("2026-11-19T12:00:00Z")),
        of(4, Some("2026-11-19T12:00:00Z"), None),
        of(5, None, None),
        // A clock was wrong.
        of(6, None, Some("2036-01-01T00:00:00Z")),
    ];
    let found = planned(candidates, &noon());
    assert_eq!(found.batches.iter().map(numbers).collect::<Vec<_>>(), [[5, 6], [4, 3], [1, 2]]);
    assert_eq!(found.batches.iter().map(|batch| batch.new_accounts).collect::<Vec<_>>(), [2, 0, 1]);
}

#[test]
fn a_batch_has_one_tenant_and_one_date() {
    let other_tenant = Candidate { tenant: Tenant::new("acme").unwrap(), ..candidate(1) };
    // At noon UTC it is already tomorrow on Kiritimati.
    let tomorrow = Candidate { timezone: zone("Pacific/Kiritimati"), ..candidate(2) };
    let planned = planned(vec![other_tenant, tomorrow, candidate(3)], &noon());
    let seen: Vec<_> =
        planned.batches.iter().map(|batch| (batch.tenant.as_str(), batch.metric_date, numbers(batch))).collect();
    assert_eq!(
        seen,
        [
            ("acme", day("2026-11-22"), vec![1]),
            ("default", day("2026-11-22"), vec![3]),
            ("default", day("2026-11-23"), vec![2])
        ]
    );
}

#[test]
fn metric_date_is_the_artists_local_today() {
    let at = PlanOptions::at(time("2026-11-22T03:00:00Z"));
    let los_angeles = Candidate { timezone: zone("America/Los_Angeles"), ..candidate(1) };
    let batch = planned(vec![los_angeles], &at).batches.remove(0);
    assert_eq!(batch.metric_date, day("2026-11-21"));
    assert_eq!(batch.window.until, at.now, "its own today ends now, although the UTC date is over");
    assert_eq!(batch.window.since, at.now - TimeDelta::days(28));
    assert_eq!(batch.accounts[0].metric_date, day("2026-11-21"));
}

#[test]
fn a_past_dates_window_ends_with_the_date() {
    let options = PlanOptions { date: Some(day("2026-11-10")), window_days: 7, late: TimeDelta::days(100), ..noon() };
    let batch = planned(vec![candidate(1)], &options).batches.remove(0);
    assert_eq!(batch.metric_date, day("2026-11-10"));
    assert_eq!(batch.window, Window { since: time("2026-11-04T00:00:00Z"), until: time("2026-11-11T00:00:00Z") });
}

#[test]
fn a_past_dates_window_ends_where_the_artist_is() {
    let until = |timezone, date: &str, now: &str| {
        let options = PlanOptions { date: Some(day(date)), late: TimeDelta::days(100), ..PlanOptions::at(time(now)) };
        planned(vec![Candidate { timezone, ..candidate(1) }], &options).batches.remove(0).window.until
    };
    let of_november = |timezone| until(timezone, "2026-11-10", "2026-11-22T12:00:00Z");
    assert_eq!(of_november(zone("Pacific/Kiritimati")), time("2026-11-10T10:00:00Z"));
    assert_eq!(of_november(zone("America/Los_Angeles")), time("2026-11-11T08:00:00Z"));
    // Clocks skip midnight there: 6 September begins at one o'clock.
    assert_eq!(until(zone("America/Santiago"), "2026-09-05", "2026-11-22T12:00:00Z"), time("2026-09-06T04:00:00Z"));
    // The 30th was skipped as a whole.
    assert_eq!(until(zone("Pacific/Apia"), "2011-12-29", "2012-01-22T12:00:00Z"), time("2011-12-30T10:00:00Z"));
}

#[test]
fn a_window_never_ends_in_the_future() {
    let of = |date| planned(vec![candidate(1)], &PlanOptions { date: Some(date), ..noon() });
    assert_eq!(of(day("2026-11-22")).batches.remove(0).window.until, noon().now);
    for date in ["2026-11-23", "2030-01-01"].map(day).into_iter().chain([NaiveDate::MAX, NaiveDate::MIN]) {
        let left_out = of(date);
        assert_eq!(left_out.batches, [], "{date}");
        assert_eq!(left_out.excluded.len(), 1, "{date}");
    }
}

#[test]
fn with_history_a_window_ends_with_its_date_even_today() {
    let mut with_history = manifest();
    with_history.metrics[0].history = true;
    let ends = |now: &str, manifest: &Manifest| -> Vec<_> {
        let zones = ["America/Los_Angeles", "UTC", "Asia/Tokyo"];
        let candidates = zones.into_iter().zip(1..).map(|(name, n)| Candidate { timezone: zone(name), ..candidate(n) });
        let planned = plan(candidates.collect(), manifest, Digest::of(b"release"), &PlanOptions::at(time(now)));
        planned.batches.iter().map(|batch| (batch.metric_date.to_string(), batch.window.until)).collect()
    };
    // A batch that waited for its budget for days would otherwise ask for the day before its own.
    assert_eq!(
        ends("2026-11-22T03:00:00Z", &with_history),
        [
            ("2026-11-21".to_owned(), time("2026-11-22T08:00:00Z")),
            ("2026-11-22".to_owned(), time("2026-11-22T15:00:00Z")),
            ("2026-11-22".to_owned(), time("2026-11-23T00:00:00Z")),
        ]
    );
    let now = time("2026-11-22T03:00:00Z");
    assert!(ends("2026-11-22T03:00:00Z", &manifest()).iter().all(|(_, until)| *until == now));
}

#[test]
fn one_date_with_two_windows_makes_two_batches() {
    // 2026-11-21 is still today in Los Angeles and yesterday in UTC.
    let at = PlanOptions { date: Some(day("2026-11-21")), ..PlanOptions::at(time("2026-11-22T03:00:00Z")) };
    let los_angeles = Candidate { timezone: zone("America/Los_Angeles"), ..candidate(1) };
    let planned = planned(vec![los_angeles, candidate(2)], &at);
    let ends: Vec<_> = planned.batches.iter().map(|batch| (batch.window.until, numbers(batch))).collect();
    assert_eq!(ends, [(time("2026-11-22T00:00:00Z"), vec![2]), (at.now, vec![1])]);
}

#[test]
fn everyone_else_is_excluded_with_a_reason() {
    let status = |status| Candidate { subscription_status: status, ..candidate(1) };
    let cases = [
        (Candidate { platform: Platform::new("elsewhere").unwrap(), ..candidate(1) }, Exclusion::NoConnector),
        (Candidate { unreadable: Some("timezone".to_owned()), ..candidate(1) }, Exclusion::Unreadable),
        (status(SubscriptionStatus::Trialing), Exclusion::NotSubscribed),
        (status(SubscriptionStatus::PastDue), Exclusion::NotSubscribed),
        (status(SubscriptionStatus::Inactive), Exclusion::NotSubscribed),
        (status(SubscriptionStatus::Canceled), Exclusion::NotSubscribed),
        (Candidate { data_collection_enabled: false, ..candidate(1) }, Exclusion::CollectionDisabled),
        (Candidate { consented: false, ..candidate(1) }, Exclusion::NoConsent),
        (Candidate { account_status: AccountStatus::Disabled, ..candidate(1) }, Exclusion::AccountDisabled),
        (Candidate { account_status: AccountStatus::ReconnectNeeded, ..candidate(1) }, Exclusion::ReconnectNeeded),
        (Candidate { account_status: AccountStatus::HostKilled, ..candidate(1) }, Exclusion::HostKilled),
        (Candidate { account_status: AccountStatus::NotFound, ..candidate(1) }, Exclusion::NotFound),
    ];
    for (candidate, reason) in cases {
        let planned = planned(vec![candidate.clone()], &noon());
        assert_eq!(planned.batches, [], "{reason:?}");
        assert_eq!(planned.excluded, [(candidate.account_id, day("2026-11-22"), reason)]);
    }
}

#[test]
fn the_first_of_several_reasons_is_given() {
    let mut candidate = Candidate {
        platform: Platform::new("elsewhere").unwrap(),
        subscription_status: SubscriptionStatus::Canceled,
        data_collection_enabled: false,
        account_status: AccountStatus::Disabled,
        consented: false,
        ..candidate(1)
    };
    let reason = |candidate: &Candidate| {
        planned(vec![candidate.clone()], &noon()).excluded.first().map(|(_, _, reason)| *reason)
    };
    let mut seen = vec![reason(&candidate)];
    candidate.platform = Platform::new("example").unwrap();
    seen.push(reason(&candidate));
    candidate.subscription_status = SubscriptionStatus::Active;
    seen.push(reason(&candidate));
    candidate.data_collection_enabled = true;
    seen.push(reason(&candidate));
    candidate.consented = true;
    seen.push(reason(&candidate));
    candidate.account_status = AccountStatus::Active;
    seen.push(reason(&candidate));
    use Exclusion::{AccountDisabled, CollectionDisabled, NoConnector, NoConsent, NotSubscribed};
    let expected = [
        Some(NoConnector),
        Some(NotSubscribed),
        Some(CollectionDisabled),
        Some(NoConsent),
        Some(AccountDisabled),
        None,
    ];
    assert_eq!(seen, expected);
}

#[test]
fn a_forecast_counts_requests_and_units() {
    let planned = planned((1..=5).map(candidate).collect(), &noon());
    let forecast = forecast(&planned.batches, &manifest(), &ForecastOptions::default());
    assert_eq!((forecast.batches, forecast.accounts), (3, 5));
    assert_eq!(forecast.requests, 3 + 5 * 2);
    // daily: /artists costs 1, /posts… costs 5; the others charge 1 for every request.
    let units = [("daily", 3 + 10 * 5), ("minute", 13), ("own", 13)].map(|(name, units)| (name.to_owned(), units));
    assert_eq!(forecast.units, BTreeMap::from(units));
}

#[test]
fn requests_of_first_collections_are_told_apart() {
    let with = |text: &str| {
        let mut manifest = manifest();
        manifest.requests = vec![toml::from_str(text).unwrap()];
        manifest
    };
    // Batches of 2, 2 and 1 accounts; two accounts were collected before, so the three new ones come first.
    let before = |number: u128| (number <= 2).then(|| time("2026-11-21T12:00:00Z"));
    let candidates = (1..=5).map(|number| Candidate { last_collected: before(number), ..candidate(number) }).collect();
    let planned = planned(candidates, &noon());
    let requests = |text: &str| forecast(&planned.batches, &with(text), &ForecastOptions::default()).requests;
    let text = |per: &str, of: &str, count: u64| {
        format!("name = \"x\"\npath = \"/x\"\nper = \"{per}\"\nof = \"{of}\"\ncount = {count}")
    };
    assert_eq!(requests(&text("account", "new", 1)), 3);
    assert_eq!(requests(&text("account", "known", 3)), 6);
    assert_eq!(requests(&text("batch", "all", 5)), 15);
    // Nothing of the first batch, half of the second (rounded up), all of the third; and the reverse.
    assert_eq!(requests(&text("batch", "known", 5)), 3 + 5);
    assert_eq!(requests(&text("batch", "new", 5)), 5 + 3);
}

#[test]
fn a_forecasts_duration_is_the_larger_of_work_and_budget() {
    let planned = planned((1..=5).map(candidate).collect(), &noon());
    let mut manifest = manifest();
    let options = ForecastOptions { request_latency_ms: 1000, batches_at_once: 1, requests_at_once: 2 };
    // 13 units at 4 a minute: three windows have to pass. The account-owned hourly budget adds nothing.
    assert_eq!(forecast(&planned.batches, &manifest, &options).duration_s, 180.0);
    // 8 units are exactly two windows' worth: the second one is waited for, a third is not.
    assert_eq!(forecast(&planned.batches[1..], &manifest, &options).duration_s, 60.0);
    manifest.budgets.clear();
    // Batches of 5, 5 and 3 requests, two at a time: 3 + 3 + 2 rounds of a second.
    assert_eq!(forecast(&planned.batches, &manifest, &options).duration_s, 8.0);
    let at_once = ForecastOptions { batches_at_once: 100, ..options };
    assert_eq!(forecast(&planned.batches, &manifest, &at_once).duration_s, 3.0, "never shorter than the longest batch");
    assert_eq!(forecast(&[], &manifest, &options), Forecast::default());
}

#[test]
fn a_daily_allowance_spreads_what_exceeds_it_over_days() {
    let of = |units: &[(&str, u64)], limits: &[(&str, u64)]| {
        let by_name = |pairs: &[(&str, u64)]| pairs.iter().map(|(name, units)| ((*name).to_owned(), *units)).collect();
        days(&by_name(units), &manifest(), &by_name(limits))
    };
    assert_eq!(of(&[], &[]), 1);
    assert_eq!(of(&[("daily", 10_000)], &[]), 1);
    assert_eq!(of(&[("daily", 12_600)], &[]), 2);
    assert_eq!(of(&[("daily", 12_600)], &[("daily", 50_000)]), 1, "the operator was granted more");
    assert_eq!(of(&[("daily", 12_600)], &[("daily", 1_000), ("minute", 1)]), 13);
    assert_eq!(of(&[("minute", 12_600), ("own", 12_600)], &[]), 1, "they are no daily ones");
}

#[test]
fn a_run_that_is_planned_late_is_for_the_date_it_was_due() {
    // Due on the 20th at 3:00 UTC, which is the 19th in New York and the 20th in Berlin; planned two days later.
    let now = time("2026-11-22T12:00:00Z");
    let options = PlanOptions { due: time("2026-11-20T03:00:00Z"), ..PlanOptions::at(now) };
    let of = |timezone| {
        let batch = planned(vec![Candidate { timezone, ..candidate(1) }], &options).batches.remove(0);
        (batch.metric_date, batch.window.until)
    };
    assert_eq!(of(zone("America/New_York")), (day("2026-11-19"), time("2026-11-20T05:00:00Z")));
    assert_eq!(of(zone("Europe/Berlin")), (day("2026-11-20"), time("2026-11-20T23:00:00Z")));
    let an_hour_ago = PlanOptions { due: time("2026-11-22T11:00:00Z"), ..PlanOptions::at(now) };
    let batch = planned(vec![candidate(1)], &an_hour_ago).batches.remove(0);
    assert_eq!((batch.metric_date, batch.window.until), (day("2026-11-22"), now), "today's window ends now");
}

proptest! {
    /// Every account is planned once or excluded once, in batches within the size, in whatever order candidates come.
    #[test]
    fn no_account_is_lost_or_planned_twice(
        candidates in prop::collection::vec((0..40u128, any::<bool>()), 0..60)
            .prop_map(|given| given.into_iter().map(|(number, consented)| {
                let names = ["UTC", "Asia/Tokyo", "America/Los_Angeles"];
                let zone = zone(names[usize::try_from(number % 3).unwrap()]);
                Candidate { timezone: zone, consented: consented || number % 2 == 0, ..candidate(number) }
            }).collect::<Vec<_>>()),
    ) {
        let ids: std::collections::BTreeSet<_> = candidates.iter().map(|candidate| candidate.account_id).collect();
        let planned = planned(candidates, &noon());
        let accounts = planned.batches.iter().flat_map(|batch| &batch.accounts);
        let mut seen: Vec<_> = accounts.map(|account| account.account_id).collect();
        seen.extend(planned.excluded.iter().map(|(account, _, _)| *account));
        seen.sort();
        prop_assert_eq!(seen, ids.into_iter().collect::<Vec<_>>());
        for batch in &planned.batches {
            prop_assert!((1..=2).contains(&batch.accounts.len()));
            prop_assert!(batch.accounts.iter().all(|account| account.metric_date == batch.metric_date));
        }
    }
}

#[test]
fn a_canarys_accounts_are_in_separate_batches_and_the_same_every_day() {
    let share = |share, now: &str| PlanOptions { canary_share: share, ..PlanOptions::at(time(now)) };
    let candidates = || (1..=2_000).map(candidate).collect::<Vec<_>>();
    let canarys = |options: &PlanOptions| {
        let planned = planned(candidates(), options);
        let all: usize = planned.batches.iter().map(|batch| batch.accounts.len()).sum();
        assert_eq!(all, 2_000, "no account is planned twice or forgotten");
        let of_canary = planned.batches.iter().filter(|batch| batch.canary);
        of_canary.flat_map(numbers).collect::<std::collections::BTreeSet<_>>()
    };
    let (today, tomorrow) = ("2026-11-22T12:00:00Z", "2026-11-23T12:00:00Z");
    let tenth = canarys(&share(1_000, today));
    assert!((150..=250).contains(&tenth.len()), "{} of 2,000 are a tenth", tenth.len());
    assert_eq!(tenth, canarys(&share(1_000, tomorrow)));
    assert!(tenth.is_subset(&canarys(&share(2_000, today))), "a larger share includes the smaller one");
    assert_eq!(canarys(&share(0, today)).len(), 0);
    assert_eq!(canarys(&share(10_000, today)).len(), 2_000);
}

#[test]
fn a_date_is_planned_only_while_its_numbers_can_be_observed_or_where_there_is_history() {
    let of = |date: &str, manifest: &Manifest| {
        let options = PlanOptions { date: Some(day(date)), ..noon() };
        let planned = plan(vec![candidate(1), candidate(2)], manifest, Digest::of(b"release"), &options);
        let left_out = planned.excluded.iter().filter(|(_, _, reason)| *reason == Exclusion::DateNotServed).count();
        assert_eq!(left_out, planned.unserved.len());
        (planned.batches.iter().map(|batch| batch.accounts.len()).sum::<usize>(), left_out)
    };
    let mut with_history = manifest();
    with_history.metrics[0].history = true;
    let today = noon().now.date_naive();
    let [yesterday, today, tomorrow] =
        [today.pred_opt(), Some(today), today.succ_opt()].map(|date| date.unwrap().to_string());
    assert_eq!([&yesterday, &today, &tomorrow].map(|date| of(date, &manifest())), [(0, 2), (2, 0), (0, 2)]);
    assert_eq!([&yesterday, &today, &tomorrow].map(|date| of(date, &with_history)), [(2, 0), (2, 0), (0, 2)]);
}

#[test]
fn of_a_date_that_has_ended_for_some_only_the_others_are_planned() {
    // At 05:30 UTC the 21st ended five and a half hours ago in UTC, and six and a half hours ago in Berlin.
    let options = PlanOptions { date: Some(day("2026-11-21")), ..PlanOptions::at(time("2026-11-22T05:30:00Z")) };
    let in_berlin = Candidate { timezone: zone("Europe/Berlin"), ..candidate(1) };
    let disabled = Candidate { account_status: AccountStatus::Disabled, ..in_berlin.clone() };
    let disabled = Candidate { account_id: AccountId(Uuid::from_u128(3)), ..disabled };
    let planned = planned(vec![in_berlin.clone(), candidate(2), disabled], &options);
    assert_eq!(planned.batches.iter().flat_map(numbers).collect::<Vec<_>>(), [2]);
    let reasons: Vec<_> = planned.excluded.iter().map(|(_, _, reason)| *reason).collect();
    assert_eq!(reasons, [Exclusion::DateNotServed, Exclusion::AccountDisabled], "its own reason comes first");
    assert_eq!(planned.unserved, [in_berlin.artist_id].into());
    // A schedule's run that is late goes on with the date it was due for: a collection decides about it.
    let due = PlanOptions { due: time("2026-11-20T12:00:00Z"), date: None, ..options };
    assert_eq!(super::plan(vec![in_berlin], &manifest(), Digest::of(b"release"), &due).batches.len(), 1);
}

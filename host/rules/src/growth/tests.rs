//! Every rule of growth, and the properties that hold for late data.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use proptest::prelude::*;

use super::*;
use backline_model::fixtures::{day, engagement, ints, manifest, name, row, time};

fn history(days: &[(&str, &[(&str, i64)])]) -> History {
    let mut history = History::default();
    for (date, values) in days {
        history.insert(day(date), ints(values), None);
    }
    history
}

/// The change of one metric, given its value on 2026-11-20 and its earlier values.
fn changes(metric: &str, value: i64, days: &[(&str, i64)]) -> BTreeMap<u16, GrowthChange> {
    let mut past = History::default();
    for (date, value) in days {
        past.insert(day(date), ints(&[(metric, *value)]), None);
    }
    let row = row(day("2026-11-20"), ints(&[(metric, value)]));
    growth(row.metric_date, &manifest(), &row, &past).changes.remove(metric).unwrap()
}

fn no_change(reason: NoChange) -> GrowthChange {
    GrowthChange { reason: Some(reason), ..GrowthChange::default() }
}

#[test]
fn change_and_percent_for_each_span() {
    let changes = changes(
        "followers",
        1100,
        &[("2026-11-19", 1000), ("2026-11-13", 900), ("2026-10-23", 300), ("2026-08-22", 2200)],
    );
    let change = |absolute, percent, gap_days| GrowthChange {
        absolute: Some(absolute),
        percent: Some(percent),
        gap_days: Some(gap_days),
        daily_percent: None,
        reason: None,
    };
    assert_eq!(
        changes,
        BTreeMap::from([
            (1, change(100.0, 10.0, 1)),
            (7, change(200.0, 22.22, 7)),
            (28, change(800.0, 266.67, 28)),
            (90, change(-1100.0, -50.0, 90)),
        ])
    );
}

#[test]
fn first_value_has_no_change() {
    assert!(changes("followers", 5, &[]).values().all(|change| *change == no_change(NoChange::First)));
    let later_only = changes("followers", 5, &[("2026-11-21", 4)]);
    assert!(later_only.values().all(|change| *change == no_change(NoChange::First)), "later dates are not used");
}

#[test]
fn zero_base_has_no_percent() {
    let change = changes("followers", 5, &[("2026-11-19", 0)])[&1];
    assert_eq!((change.absolute, change.percent, change.reason), (Some(5.0), None, Some(NoChange::ZeroBase)));
    let still = changes("followers", 0, &[("2026-11-19", 0)])[&1];
    assert_eq!((still.absolute, still.percent, still.reason), (Some(0.0), None, Some(NoChange::ZeroBase)));
}

#[test]
fn gap_has_a_daily_rate_beside_it() {
    let changes = changes("followers", 1210, &[("2026-11-18", 1000)]);
    assert_eq!(changes[&1], GrowthChange { gap_days: Some(2), daily_percent: Some(10.0), ..no_change(NoChange::Gap) });
    // The base of the 7-day span is missing and nothing is older, so the latest earlier value is used.
    assert_eq!(changes[&7], GrowthChange { gap_days: Some(2), daily_percent: Some(10.0), ..no_change(NoChange::Gap) });
}

#[test]
fn gap_is_measured_from_the_latest_earlier_value() {
    let changes = changes("followers", 1000, &[("2026-11-18", 640), ("2026-11-12", 500)]);
    let measured: Vec<_> =
        changes.values().map(|change| (change.reason, change.gap_days, change.daily_percent)).collect();
    assert_eq!(measured, [(Some(NoChange::Gap), Some(2), Some(25.0)); 4]);
}

#[test]
fn break_stops_growth_between_base_and_date() {
    let with_views = |date: &str, base: &str| {
        let row = row(day(date), ints(&[("total_views", 200)]));
        let past = history(&[(base, &[("total_views", 100)])]);
        growth(row.metric_date, &manifest(), &row, &past).changes[&name("total_views")][&1]
    };
    let across = GrowthChange { gap_days: Some(1), ..no_change(NoChange::Break) };
    assert_eq!(with_views("2026-08-27", "2026-08-26"), across, "the date itself is the first of the new meaning");
    assert_eq!(with_views("2026-08-28", "2026-08-27").percent, Some(100.0), "the base already has the new meaning");
    assert_eq!(with_views("2026-08-26", "2026-08-25").percent, Some(100.0));
    let gap = with_views("2026-08-28", "2026-08-26");
    assert_eq!((gap.reason, gap.daily_percent), (Some(NoChange::Gap), None), "no daily rate across a break either");
}

#[test]
fn absent_metric_has_no_change() {
    let row = row(day("2026-11-20"), ints(&[("followers", 5)]));
    let past = history(&[("2026-11-19", &[("likes", 5)])]);
    let growth = growth(row.metric_date, &manifest(), &row, &past);
    assert!(growth.changes[&name("likes")].values().all(|change| *change == no_change(NoChange::Absent)));
    assert!(!growth.changes.contains_key(&name("top_track")), "titles have no growth");
    assert!(!growth.changes.contains_key(&name("streams")), "nor do metrics that the platform does not offer");
}

#[test]
fn engagement_moves_in_points_between_equal_bases_only() {
    let rate = |value: f64| BTreeMap::from([(name(ENGAGEMENT_RATE), Value::Decimal(value))]);
    let change = |before, after| {
        let mut past = History::default();
        past.insert(day("2026-11-19"), rate(4.1), before);
        let mut row = row(day("2026-11-20"), rate(6.0));
        row.engagement = Some(engagement(after));
        growth(row.metric_date, &manifest(), &row, &past).changes[&name(ENGAGEMENT_RATE)][&1]
    };
    let points = change(Some(EngagementBasis::Views), EngagementBasis::Views);
    assert_eq!(points, GrowthChange { absolute: Some(1.9), gap_days: Some(1), ..GrowthChange::default() });
    let incomparable = GrowthChange { gap_days: Some(1), ..no_change(NoChange::Break) };
    assert_eq!(change(Some(EngagementBasis::Followers), EngagementBasis::Views), incomparable);
    assert_eq!(change(None, EngagementBasis::Views), incomparable, "an unknown basis is no equal one");
}

#[test]
fn engagement_is_missing_where_either_side_is() {
    let past = history(&[("2026-11-19", &[("followers", 1)])]);
    let mut with_rate = row(day("2026-11-20"), ints(&[("followers", 1)]));
    let before = growth(with_rate.metric_date, &manifest(), &with_rate, &past);
    assert_eq!(before.changes[&name(ENGAGEMENT_RATE)][&1], no_change(NoChange::Absent));
    with_rate.values.insert(name(ENGAGEMENT_RATE), Value::Decimal(3.0));
    let after = growth(with_rate.metric_date, &manifest(), &with_rate, &past);
    assert_eq!(after.changes[&name(ENGAGEMENT_RATE)][&1], no_change(NoChange::First));
}

#[test]
fn an_index_grows_like_a_gauge() {
    let change = changes("popularity", 60, &[("2026-11-19", 50)])[&1];
    assert_eq!((change.absolute, change.percent), (Some(10.0), Some(20.0)));
}

#[test]
fn counts_of_64_bits_neither_overflow_nor_lose_a_difference() {
    let change = changes("total_views", i64::MAX, &[("2026-11-19", i64::MAX - 3)])[&1];
    assert_eq!((change.absolute, change.percent), (Some(3.0), Some(0.0)));
    let widest = changes("total_views", i64::MIN, &[("2026-11-19", i64::MAX)])[&1];
    assert_eq!(widest.percent, Some(-200.0));
}

#[test]
fn a_row_replaces_what_the_history_holds_for_its_date() {
    let past = history(&[
        ("2026-11-17", &[("followers", 100)]),
        ("2026-11-18", &[("followers", 7)]),
        ("2026-11-20", &[("followers", 400)]),
    ]);
    let after = |values: &[(&str, i64)]| {
        let row = row(day("2026-11-18"), ints(values));
        growth(day("2026-11-20"), &manifest(), &row, &past).changes[&name("followers")][&1]
    };
    let corrected = after(&[("followers", 100)]);
    assert_eq!((corrected.gap_days, corrected.daily_percent), (Some(2), Some(100.0)));
    let without = after(&[]);
    assert_eq!((without.gap_days, without.daily_percent), (Some(3), Some(58.74)));
}

#[test]
fn touched_dates_of_the_newest_row_are_its_own() {
    let past = history(&[("2026-11-19", &[("followers", 1)])]);
    let newest = row(day("2026-11-20"), ints(&[("followers", 2)]));
    assert_eq!(touched_dates(&newest, &past), [day("2026-11-20")]);
}

#[test]
fn touched_dates_of_a_late_row() {
    let mut past = History::default();
    for date in ["2026-11-09", "2026-11-12", "2026-11-13", "2026-11-17", "2026-12-08"] {
        past.insert(day(date), ints(&[("followers", 5)]), None);
    }
    past.insert(day("2026-11-11"), ints(&[("likes", 5)]), None);
    // The next date with the metric, and the dates 7 and 28 days later. 11-11 has no followers, and 11-13 measures its
    // gaps from 11-12.
    let late = row(day("2026-11-10"), ints(&[("followers", 4)]));
    assert_eq!(touched_dates(&late, &past), ["2026-11-10", "2026-11-12", "2026-11-17", "2026-12-08"].map(day));
}

#[test]
fn first_value_ever_is_significant() {
    let config = SignificanceConfig::default();
    let first = row(day("2026-11-20"), ints(&[("followers", 5)]));
    let change = significant_change(&first, &History::default(), &manifest(), &config).unwrap();
    assert!(change.first);
    let nothing = row(day("2026-11-20"), BTreeMap::new());
    assert_eq!(significant_change(&nothing, &History::default(), &manifest(), &config), None);
    let empty_day = history(&[("2026-11-19", &[])]);
    assert!(
        significant_change(&first, &empty_day, &manifest(), &config).unwrap().first,
        "a day without values is no earlier value"
    );
    let backfilled = history(&[("2026-11-21", &[("followers", 5)])]);
    assert_eq!(
        significant_change(&first, &backfilled, &manifest(), &config),
        None,
        "values of a later date came first"
    );
}

#[test]
fn followers_past_the_threshold_are_significant() {
    let change = |value, base| {
        let past = history(&[("2026-11-18", &[("followers", base)])]);
        let row = row(day("2026-11-20"), ints(&[("followers", value)]));
        significant_change(&row, &past, &manifest(), &SignificanceConfig::default())
            .and_then(|change| change.followers_percent)
    };
    assert_eq!(change(1050, 1000), None, "5 % is not more than 5 %");
    assert_eq!(change(1051, 1000), Some(5.1));
    assert_eq!(change(949, 1000), Some(-5.1));
    assert_eq!(change(5, 0), None, "there is no rate from nothing");
    assert_eq!(change(100_005, 95_239), Some(5.0), "compared before rounding: it is 5.004 %");
}

#[test]
fn engagement_past_the_threshold_is_significant_between_equal_bases() {
    let change = |value: f64, basis| {
        let rate = |value: f64| BTreeMap::from([(name(ENGAGEMENT_RATE), Value::Decimal(value))]);
        let mut past = History::default();
        past.insert(day("2026-11-19"), rate(3.1), Some(EngagementBasis::Views));
        let mut row = row(day("2026-11-20"), rate(value));
        row.engagement = Some(engagement(basis));
        significant_change(&row, &past, &manifest(), &SignificanceConfig::default())
            .and_then(|change| change.engagement_points)
    };
    assert_eq!(change(5.1, EngagementBasis::Views), None, "2 points are not more than 2 points");
    assert_eq!(change(5.11, EngagementBasis::Views), Some(2.01));
    assert_eq!(change(1.0, EngagementBasis::Views), Some(-2.1));
    assert_eq!(change(9.0, EngagementBasis::Reach), None, "rates of different bases are never compared");
}

#[test]
fn nothing_is_significant_across_a_break() {
    let past = history(&[("2026-03-09", &[("followers", 100)])]);
    let row = row(day("2026-03-10"), ints(&[("followers", 1000)]));
    assert_eq!(significant_change(&row, &past, &manifest(), &SignificanceConfig::default()), None);
}

#[test]
fn significance_thresholds_can_be_configured() {
    let past = history(&[("2026-11-19", &[("followers", 100)])]);
    let row = row(day("2026-11-20"), ints(&[("followers", 102)]));
    let config: SignificanceConfig = serde_json::from_str(r#"{"followers_percent": 1}"#).unwrap();
    assert!(significant_change(&row, &past, &manifest(), &config).is_some());
    assert_eq!(significant_change(&row, &past, &manifest(), &SignificanceConfig::default()), None);
}

/// Up to 60 dates within 160 days, each with some of three metrics.
fn sparse_days() -> impl Strategy<Value = BTreeMap<i64, BTreeMap<usize, i64>>> {
    prop::collection::btree_map(0..160i64, prop::collection::btree_map(0..3usize, 0..50i64, 0..4), 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Exactly the touched dates change when a row appears: recomputing them equals recomputing everything, and no date
    /// is recomputed without need.
    #[test]
    fn recomputing_touched_dates_equals_recomputing_everything(
        days in sparse_days(),
        at in 0..160i64,
        values in prop::collection::btree_map(0..3usize, 0..50i64, 0..4),
    ) {
        let metrics = ["followers", "total_views", ENGAGEMENT_RATE];
        let date = |offset: i64| day("2026-07-01") + TimeDelta::days(offset);
        let named = |values: &BTreeMap<usize, i64>| {
            ints(&values.iter().map(|(metric, value)| (metrics[*metric], *value)).collect::<Vec<_>>())
        };
        let manifest = manifest();
        let mut others = History::default();
        for (offset, values) in days.iter().filter(|(offset, _)| **offset != at) {
            others.insert(date(*offset), named(values), None);
        }
        let arrived = row(date(at), named(&values));
        let nothing = row(date(at), BTreeMap::new());

        let mut expected = BTreeSet::from([date(at)]);
        for offset in days.keys().filter(|offset| **offset != at) {
            let of = |row: &MetricsRow| growth(date(*offset), &manifest, row, &others);
            if of(&nothing) != of(&arrived) {
                expected.insert(date(*offset));
            }
        }
        prop_assert_eq!(touched_dates(&arrived, &others), expected.into_iter().collect::<Vec<_>>());
    }

    /// A corrected row changes only the touched dates, even if the history still holds the values that it replaces.
    #[test]
    fn a_corrected_row_moves_touched_dates_only(
        days in sparse_days(),
        at in 0..160i64,
        before in 0..50i64,
        after in 0..50i64,
    ) {
        let date = |offset: i64| day("2026-07-01") + TimeDelta::days(offset);
        let manifest = manifest();
        let mut all = History::default();
        for (offset, values) in &days {
            let followers: Vec<_> = values.values().map(|value| ("followers", *value)).collect();
            all.insert(date(*offset), ints(&followers), None);
        }
        all.insert(date(at), ints(&[("followers", before)]), None);
        let replaced = row(date(at), ints(&[("followers", before)]));
        let corrected = row(date(at), ints(&[("followers", after)]));
        let touched = touched_dates(&corrected, &all);
        for offset in days.keys().filter(|offset| !touched.contains(&date(**offset))) {
            let of = |row: &MetricsRow| growth(date(*offset), &manifest, row, &all);
            prop_assert_eq!(of(&replaced), of(&corrected));
        }
    }

    /// A store only needs to load the values that growth uses: those on the start dates of spans, and each metric's
    /// latest earlier value.
    #[test]
    fn growth_looks_at_nothing_but_what_it_says(days in sparse_days(), at in 0..160i64) {
        let metrics = ["followers", "total_views", ENGAGEMENT_RATE];
        let date = |offset: i64| day("2026-07-01") + TimeDelta::days(offset);
        let named = |values: &BTreeMap<usize, i64>| {
            ints(&values.iter().map(|(metric, value)| (metrics[*metric], *value)).collect::<Vec<_>>())
        };
        let (mut all, mut needed) = (History::default(), History::default());
        for (offset, values) in &days {
            all.insert(date(*offset), named(values), None);
        }
        let starts = SPANS_DAYS.map(|span_days| span_start(date(at), span_days));
        let latest = metrics.map(|metric| all.latest_before(metric, date(at)).map(|(day, _)| day));
        for (offset, values) in &days {
            if starts.contains(&date(*offset)) || latest.contains(&Some(date(*offset))) {
                needed.insert(date(*offset), named(values), None);
            }
        }
        let row = row(date(at), ints(&metrics.map(|metric| (metric, 7))));
        prop_assert_eq!(growth(date(at), &manifest(), &row, &needed), growth(date(at), &manifest(), &row, &all));
    }

    /// For any values, a change has a finite percentage or a reason.
    #[test]
    fn percent_or_reason(value in any::<i64>(), base in any::<i64>()) {
        for change in changes("followers", value, &[("2026-11-19", base)]).into_values() {
            prop_assert_eq!(change.percent.is_none(), change.reason.is_some());
            let numbers = [change.absolute, change.percent, change.daily_percent];
            prop_assert!(numbers.into_iter().flatten().all(f64::is_finite));
        }
    }
}

#[test]
fn what_was_observed_too_close_together_for_its_dates_has_no_growth() {
    let row = row(day("2026-11-20"), ints(&[("followers", 1_100)]));
    let from = |date: &str, observed: &str, others: &[(&str, &str)]| {
        let mut past = History::default();
        past.insert(day(date), ints(&[("followers", 1_000)]), None);
        let others = others.iter().map(|(metric, at)| (name(metric), time(at))).collect();
        past.observe(day(date), time(observed), others);
        growth(row.metric_date, &manifest(), &row, &past).changes.remove(&name("followers")).unwrap()
    };
    // The row itself was observed at noon.
    let late = GrowthChange { gap_days: Some(1), reason: Some(NoChange::Late), ..GrowthChange::default() };
    assert_eq!(from("2026-11-19", "2026-11-20T00:00:01Z", &[])[&1], late);
    assert_eq!(from("2026-11-19", "2026-11-20T00:00:00Z", &[])[&1].percent, Some(10.0), "half of the distance");
    assert_eq!(from("2026-11-13", "2026-11-20T11:00:00Z", &[])[&7], GrowthChange { gap_days: Some(7), ..late });
    assert_eq!(
        from("2026-11-13", "2026-11-20T11:00:00Z", &[])[&1],
        GrowthChange { gap_days: Some(7), ..late },
        "across a gap"
    );
    assert_eq!(from("2026-11-19", "2026-11-20T13:00:00Z", &[])[&1], late, "observed after the later date");
    // A metric's own time counts, not its row's.
    assert_eq!(from("2026-11-19", "2026-11-20T11:00:00Z", &[("followers", "2026-11-19T11:00:00Z")])[&1].reason, None);
}

#[test]
fn what_a_platform_tells_of_past_dates_is_of_its_date_whenever_it_was_observed() {
    let mut manifest = manifest();
    manifest.metrics.iter_mut().find(|entry| entry.name.as_str() == "total_views").unwrap().history = true;
    let row = row(day("2026-11-20"), ints(&[("total_views", 1_100)]));
    let mut past = History::default();
    past.insert(day("2026-11-19"), ints(&[("total_views", 1_000)]), None);
    past.observe(day("2026-11-19"), row.observed_at, std::collections::BTreeMap::new());
    let change = growth(row.metric_date, &manifest, &row, &past).changes[&name("total_views")][&1];
    assert_eq!((change.percent, change.reason), (Some(10.0), None));
}

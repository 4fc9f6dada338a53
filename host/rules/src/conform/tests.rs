//! The result of each kind of report, and the engagement rate.

use proptest::prelude::*;

use super::*;
use backline_model::fixtures::{manifest, name};
use backline_model::snapshot::Coverage;

fn reported(metric: &str, value: Result<Value, Absence>) -> Reported {
    Reported { name: metric.to_owned(), value, coverage: None }
}

fn conformed(metrics: Vec<Reported>) -> Conformed {
    conform(Snapshot { metrics, engagement: None, notes: Vec::new() }, &manifest())
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

/// The result for a metric of the example catalogue: a value, or `None` if the report is a misfit.
fn becomes(metric: &str, value: Value) -> Option<Value> {
    let conformed = conformed(vec![reported(metric, Ok(value.clone()))]);
    match &conformed.values[&name(metric)] {
        Ok(value) => Some(value.clone()),
        Err(absence) => {
            assert_eq!(*absence, Absence::Unavailable);
            assert!(matches!(&conformed.misfits[..], [misfit] if misfit.name == metric), "{:?}", conformed.misfits);
            None
        }
    }
}

#[test]
fn missing_is_never_zero() {
    let conformed = conformed(Vec::new());
    for column in COLUMNS {
        let is_declared = manifest().metric(column).is_some();
        let expected = if is_declared { Absence::Unavailable } else { Absence::NotOffered };
        assert_eq!(conformed.values[&name(column)], Err(expected), "{column}");
    }
    assert_eq!(
        conformed.values[&name("subscribers")],
        Err(Absence::Unavailable),
        "a catalogue metric without a column"
    );
    assert_eq!(conformed.misfits, []);
}

#[test]
fn an_absence_is_kept_as_reported() {
    let conformed = conformed(vec![
        reported("followers", Err(Absence::Hidden)),
        reported("likes", Err(Absence::NotAuthorized)),
        // It is not in the catalogue but has a column: the connector may report why it is missing.
        reported("streams", Err(Absence::NotAuthorized)),
    ]);
    assert_eq!(conformed.values[&name("followers")], Err(Absence::Hidden));
    assert_eq!(conformed.values[&name("likes")], Err(Absence::NotAuthorized));
    assert_eq!(conformed.values[&name("streams")], Err(Absence::NotAuthorized));
    assert_eq!(conformed.misfits, []);
}

#[test]
fn zero_is_a_value() {
    assert_eq!(becomes("followers", Value::Integer(0)), Some(Value::Integer(0)));
}

#[test]
fn counts_have_64_bits() {
    assert_eq!(becomes("total_views", Value::Integer(3_331_930_783)), Some(Value::Integer(3_331_930_783)));
    assert_eq!(becomes("total_views", Value::Integer(i64::MAX)), Some(Value::Integer(i64::MAX)));
}

#[test]
fn integral_floats_and_decimal_strings_are_counts() {
    assert_eq!(becomes("followers", Value::Decimal(33920.0)), Some(Value::Integer(33920)));
    assert_eq!(becomes("followers", Value::Decimal(-5.0)), Some(Value::Integer(-5)), "judging it is validation's");
    assert_eq!(becomes("total_views", text("3331930783")), Some(Value::Integer(3_331_930_783)));
    for wrong in [
        Value::Decimal(1.5),
        Value::Decimal(1e300),
        text("1e3"),
        text("+1"),
        text("12 "),
        text(""),
        text("-"),
        text("99999999999999999999"),
    ] {
        assert_eq!(becomes("followers", wrong.clone()), None, "{wrong:?}");
    }
}

#[test]
fn a_value_of_the_wrong_kind_is_a_misfit() {
    assert_eq!(becomes("popularity", text("57")), None);
    assert_eq!(becomes("popularity", Value::Integer(57)), Some(Value::Integer(57)));
    assert_eq!(becomes("popularity", Value::Decimal(57.5)), Some(Value::Decimal(57.5)));
    assert_eq!(becomes("top_track", Value::Texts(vec![])), None, "the column holds one text");
    assert_eq!(becomes("top_track", Value::Integer(1)), None);
    assert_eq!(becomes("genres", text("pop")), None, "the column holds a list");
    assert_eq!(
        becomes("genres", Value::Texts(vec![])),
        Some(Value::Texts(vec![])),
        "an empty list is a value: not classified"
    );
    assert_eq!(becomes("mood", text("calm")), Some(text("calm")));
    assert_eq!(becomes("mood", Value::Texts(vec!["calm".into()])), Some(Value::Texts(vec!["calm".into()])));
}

#[test]
fn a_columns_type_decides_over_the_catalogues_kind() {
    let mut manifest = manifest();
    manifest.metrics.iter_mut().find(|entry| entry.name.as_str() == "followers").unwrap().kind = Kind::Label;
    let snapshot =
        Snapshot { metrics: vec![reported("followers", Ok(text("many")))], engagement: None, notes: Vec::new() };
    assert_eq!(conform(snapshot, &manifest).misfits.len(), 1);
}

#[test]
fn numbers_that_are_not_finite_are_misfits() {
    for wrong in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(becomes("popularity", Value::Decimal(wrong)), None);
        assert_eq!(becomes("followers", Value::Decimal(wrong)), None);
    }
}

#[test]
fn unknown_names_are_misfits() {
    for unknown in ["plays", "streams", "Not A Name", ""] {
        let conformed = conformed(vec![reported(unknown, Ok(Value::Integer(1)))]);
        assert_eq!(conformed.misfits.len(), 1, "{unknown}");
    }
    assert_eq!(conformed(vec![reported("plays", Err(Absence::Hidden))]).misfits.len(), 1);
}

#[test]
fn of_two_reports_neither_is_used() {
    let conformed = conformed(vec![reported("likes", Ok(Value::Integer(1))), reported("likes", Ok(Value::Integer(2)))]);
    assert_eq!(conformed.values[&name("likes")], Err(Absence::Unavailable));
    assert_eq!(conformed.misfits.len(), 2);
}

#[test]
fn coverage_goes_with_its_metric() {
    let counted = Coverage { counted: 3, skipped: 1 };
    let conformed = conformed(vec![
        Reported { coverage: Some(counted), ..reported("likes", Ok(Value::Integer(1))) },
        Reported { coverage: Some(counted), ..reported("plays", Ok(Value::Integer(1))) },
    ]);
    assert_eq!(conformed.coverage, BTreeMap::from([(name("likes"), counted)]));
}

#[test]
fn notes_are_few_short_and_without_nul() {
    let notes = std::iter::repeat_n("a\0".repeat(1000), 60).collect();
    let conformed = conform(Snapshot { metrics: Vec::new(), engagement: None, notes }, &manifest());
    assert_eq!(conformed.notes, vec!["a".repeat(NOTE_CHARS_MAX); NOTES_MAX]);
}

fn counts(basis: EngagementBasis) -> Engagement {
    Engagement { interactions: 345, base: Some(1000), basis, posts_counted: 3, posts_skipped: 1 }
}

/// The engagement rate of these counts, given these other reports.
fn rate(engagement: Option<Engagement>, metrics: Vec<Reported>) -> Result<Value, Absence> {
    let conformed = conform(Snapshot { metrics, engagement, notes: Vec::new() }, &manifest());
    assert_eq!(conformed.engagement, engagement, "the basis is kept");
    conformed.values[&name(ENGAGEMENT_RATE)].clone()
}

#[test]
fn engagement_rate_by_followers_is_per_post_and_follower() {
    assert_eq!(rate(Some(counts(EngagementBasis::Followers)), vec![]), Ok(Value::Decimal(11.5)));
}

#[test]
fn engagement_rate_by_views_or_reach_is_per_view_or_account_reached() {
    assert_eq!(rate(Some(counts(EngagementBasis::Views)), vec![]), Ok(Value::Decimal(34.5)));
    assert_eq!(rate(Some(counts(EngagementBasis::Reach)), vec![]), Ok(Value::Decimal(34.5)));
}

#[test]
fn engagement_rate_has_two_decimals() {
    let third = Engagement { interactions: 1, base: Some(3), ..counts(EngagementBasis::Views) };
    assert_eq!(rate(Some(third), vec![]), Ok(Value::Decimal(33.33)));
    let tiny = Engagement { interactions: -1, base: Some(i64::MAX), ..counts(EngagementBasis::Views) };
    assert_eq!(rate(Some(tiny), vec![]).map(|rate| rate.to_string()), Ok("0".to_owned()), "and no −0");
}

#[test]
fn zero_interactions_are_a_rate_of_zero() {
    let ignored = Engagement { interactions: 0, ..counts(EngagementBasis::Views) };
    assert_eq!(rate(Some(ignored), vec![]), Ok(Value::Decimal(0.0)));
}

#[test]
fn engagement_rate_is_missing_where_the_base_is_missing_or_zero() {
    let without_base = |basis| Some(Engagement { base: None, ..counts(basis) });
    assert_eq!(rate(without_base(EngagementBasis::Views), vec![]), Err(Absence::Unavailable));
    let hidden = vec![reported("followers", Err(Absence::Hidden))];
    assert_eq!(rate(without_base(EngagementBasis::Followers), hidden), Err(Absence::Hidden), "as the followers are");
    let known = vec![reported("followers", Ok(Value::Integer(5)))];
    assert_eq!(rate(without_base(EngagementBasis::Followers), known), Err(Absence::Unavailable));
    let no_followers = Engagement { base: Some(0), ..counts(EngagementBasis::Followers) };
    assert_eq!(rate(Some(no_followers), vec![]), Err(Absence::NotFound));
}

#[test]
fn engagement_rate_is_missing_where_no_post_was_counted() {
    let none = Engagement { posts_counted: 0, posts_skipped: 0, ..counts(EngagementBasis::Views) };
    assert_eq!(rate(Some(none), vec![]), Err(Absence::NotFound));
    let uncounted = Engagement { posts_skipped: 2, ..none };
    assert_eq!(rate(Some(uncounted), vec![]), Err(Absence::Unavailable));
}

#[test]
fn engagement_rate_is_missing_where_nothing_was_counted() {
    assert_eq!(rate(None, vec![]), Err(Absence::Unavailable), "the catalogue declares it");
    let mut silent = manifest();
    silent.metrics.retain(|entry| entry.name.as_str() != ENGAGEMENT_RATE);
    let snapshot = Snapshot { metrics: Vec::new(), engagement: None, notes: Vec::new() };
    assert_eq!(conform(snapshot, &silent).values[&name(ENGAGEMENT_RATE)], Err(Absence::NotOffered));
    let reason = vec![reported(ENGAGEMENT_RATE, Err(Absence::NotAuthorized))];
    assert_eq!(rate(None, reason.clone()), Err(Absence::NotAuthorized), "the connector knows best why");
    assert_eq!(
        rate(Some(Engagement { base: None, ..counts(EngagementBasis::Views) }), reason),
        Err(Absence::NotAuthorized)
    );
}

#[test]
fn a_reported_engagement_rate_is_a_misfit() {
    let conformed = conform(
        Snapshot {
            metrics: vec![reported(ENGAGEMENT_RATE, Ok(Value::Decimal(99.0)))],
            engagement: Some(counts(EngagementBasis::Views)),
            notes: Vec::new(),
        },
        &manifest(),
    );
    assert_eq!(conformed.values[&name(ENGAGEMENT_RATE)], Ok(Value::Decimal(34.5)), "the host's own stands");
    assert_eq!(conformed.misfits.len(), 1);
}

fn any_value() -> impl Strategy<Value = Result<Value, Absence>> {
    prop_oneof![
        any::<i64>().prop_map(|integer| Ok(Value::Integer(integer))),
        any::<f64>().prop_map(|decimal| Ok(Value::Decimal(decimal))),
        "[0-9-]{0,22}|.{0,5}".prop_map(|text| Ok(Value::Text(text))),
        prop::collection::vec(".{0,5}", 0..3).prop_map(|texts| Ok(Value::Texts(texts))),
        Just(Err(Absence::Hidden)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever a connector sends, every column and catalogue metric is a value or an absence, every number is finite,
    /// and no report is lost.
    #[test]
    fn every_metric_is_a_value_or_an_absence(
        reports in prop::collection::vec(
            ("followers|popularity|top_track|genres|mood|streams|plays|engagement_rate|.{0,3}", any_value()),
            0..8,
        ),
        counted in prop::option::of((any::<i64>(), prop::option::of(any::<i64>()), any::<u32>(), any::<u32>())),
    ) {
        let engagement = counted.map(|(interactions, base, posts_counted, posts_skipped)| {
            Engagement { interactions, base, basis: EngagementBasis::Followers, posts_counted, posts_skipped }
        });
        let metrics: Vec<_> = reports.into_iter().map(|(metric, value)| reported(&metric, value)).collect();
        let conformed = conform(Snapshot { metrics: metrics.clone(), engagement, notes: Vec::new() }, &manifest());
        let expected: std::collections::BTreeSet<_> =
            COLUMNS.into_iter().map(name).chain(manifest().metrics.into_iter().map(|entry| entry.name)).collect();
        prop_assert_eq!(conformed.values.keys().cloned().collect::<std::collections::BTreeSet<_>>(), expected);
        for value in conformed.values.values().flatten() {
            prop_assert!(value.as_f64().is_none_or(f64::is_finite));
        }
        for report in metrics.iter().filter(|report| report.value.is_ok()) {
            let has_value = conformed.values.get(report.name.as_str()).is_some_and(Result::is_ok);
            let is_kept = has_value && report.name != ENGAGEMENT_RATE;
            let is_misfit = conformed.misfits.iter().any(|misfit| misfit.name == report.name);
            prop_assert!(is_kept != is_misfit, "{report:?}");
        }
    }
}

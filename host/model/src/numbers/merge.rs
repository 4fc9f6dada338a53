//! Merges two observations of one account and date into one row, metric by metric: the newer observation wins, and an
//! absence never replaces a value. So a rerun that half fails does no harm, in whatever order results arrive.

use std::collections::{BTreeMap, BTreeSet};

use crate::metric::names::ENGAGEMENT_RATE;
use crate::row::MetricsRow;

impl MetricsRow {
    /// Merges a new observation into the stored row of the same account and date.
    ///
    /// A metric with a value in both rows: the later observation; at equal times the incoming one.
    /// A metric with a value in one row only: that value, with its own time in `observed`.
    /// A metric with no value: the reason of the later row.
    /// `coverage` stays with its value, and `engagement` with the engagement rate that it explains.
    /// Everything that describes the whole observation (window, findings, score, notes, release, run, document): the
    /// later row's.
    #[must_use]
    pub fn merge(existing: Self, new: Self) -> Self {
        debug_assert_eq!(
            (existing.account_id, existing.metric_date),
            (new.account_id, new.metric_date),
            "rows of different accounts or dates are different rows"
        );
        // From here on, `latest` wins unless the values themselves decide.
        let incoming_is_latest = new.observed_at >= existing.observed_at;
        let (latest, earlier) = if incoming_is_latest { (new, existing) } else { (existing, new) };

        let mut values = BTreeMap::new();
        let mut absent = BTreeMap::new();
        let mut coverage = BTreeMap::new();
        let mut observed = BTreeMap::new();
        let mut engagement = latest.engagement.or(earlier.engagement);

        let metrics: BTreeSet<_> =
            [&latest, &earlier].into_iter().flat_map(|row| row.values.keys().chain(row.absent.keys())).collect();
        for metric in metrics {
            let source = match (latest.values.contains_key(metric), earlier.values.contains_key(metric)) {
                // The earlier row can hold a later value only if it was itself merged. Ties go to the incoming row.
                (true, true) => match latest.observed_at(metric).cmp(&earlier.observed_at(metric)) {
                    std::cmp::Ordering::Greater => &latest,
                    std::cmp::Ordering::Less => &earlier,
                    std::cmp::Ordering::Equal if incoming_is_latest => &latest,
                    std::cmp::Ordering::Equal => &earlier,
                },
                (true, false) => &latest,
                (false, true) => &earlier,
                (false, false) => {
                    if let Some(reason) = latest.absent.get(metric).or_else(|| earlier.absent.get(metric)) {
                        absent.insert(metric.clone(), reason.clone());
                    }
                    if let Some(counted) = latest.coverage.get(metric).or_else(|| earlier.coverage.get(metric)) {
                        coverage.insert(metric.clone(), *counted);
                    }
                    continue;
                }
            };
            if let Some(value) = source.values.get(metric) {
                values.insert(metric.clone(), value.clone());
            }
            if let Some(counted) = source.coverage.get(metric) {
                coverage.insert(metric.clone(), *counted);
            }
            let at = source.observed_at(metric);
            if at != latest.observed_at {
                observed.insert(metric.clone(), at);
            }
            if metric.as_str() == ENGAGEMENT_RATE {
                engagement = source.engagement;
            }
        }
        Self { values, absent, coverage, observed, engagement, ..latest }
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta, Utc};
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::ids::{AccountId, ArtistId, Digest, DocumentId, Platform, RunId};
    use crate::metric::{Absence, MetricName, Value};
    use crate::snapshot::{Coverage, Engagement, EngagementBasis, Window};

    fn at(minute: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::days(20_000) + TimeDelta::minutes(minute)
    }

    fn name(text: &str) -> MetricName {
        MetricName::new(text).unwrap()
    }

    fn row(minute: i64, values: &[(&str, i64)], absent: &[&str]) -> MetricsRow {
        MetricsRow {
            account_id: AccountId(Uuid::from_u128(1)),
            artist_id: ArtistId(Uuid::from_u128(2)),
            platform: Platform::new("youtube").unwrap(),
            metric_date: at(0).date_naive(),
            values: values.iter().map(|(metric, value)| (name(metric), Value::Integer(*value))).collect(),
            absent: absent.iter().map(|metric| (name(metric), Absence::Unavailable)).collect(),
            coverage: values
                .iter()
                .map(|(metric, value)| {
                    (name(metric), Coverage { counted: u32::try_from(*value % 100).unwrap(), skipped: 0 })
                })
                .collect(),
            observed: BTreeMap::new(),
            engagement: None,
            window: Window { since: at(minute), until: at(minute + 1) },
            quality_score: 1.0,
            findings: Vec::new(),
            notes: vec![format!("observed in minute {minute}")],
            collection_source: "api".to_owned(),
            observed_at: at(minute),
            release: Digest::of(b"release"),
            wit_version: "1.0.0".to_owned(),
            run_id: RunId(Uuid::from_u128(3)),
            document_id: DocumentId(Uuid::from_u128(u128::try_from(minute).unwrap())),
        }
    }

    #[test]
    fn the_newer_observation_wins_and_describes_the_row() {
        let merged = MetricsRow::merge(row(1, &[("followers", 10)], &[]), row(2, &[("followers", 11)], &[]));
        assert_eq!(merged, row(2, &[("followers", 11)], &[]));
        let late = MetricsRow::merge(row(2, &[("followers", 11)], &[]), row(1, &[("followers", 10)], &[]));
        assert_eq!(late, row(2, &[("followers", 11)], &[]));
    }

    #[test]
    fn an_absence_never_replaces_a_value_of_the_same_date() {
        let merged =
            MetricsRow::merge(row(1, &[("followers", 10)], &["likes"]), row(2, &[("likes", 5)], &["followers"]));
        assert_eq!(merged.values, row(1, &[("followers", 10), ("likes", 5)], &[]).values);
        assert_eq!(merged.absent, BTreeMap::new());
        assert_eq!(merged.observed, BTreeMap::from([(name("followers"), at(1))]), "the value keeps its own time");
        assert_eq!(merged.coverage[&name("followers")].counted, 10);
        assert_eq!(merged.observed_at, at(2));

        let newest = MetricsRow::merge(merged, row(3, &[("followers", 12)], &[]));
        assert_eq!(newest.values[&name("followers")], Value::Integer(12));
        assert_eq!(newest.observed, BTreeMap::from([(name("likes"), at(2))]));
    }

    #[test]
    fn at_equal_times_the_incoming_row_wins() {
        let merged = MetricsRow::merge(row(1, &[("followers", 10)], &[]), row(1, &[("followers", 11)], &[]));
        assert_eq!(merged.values[&name("followers")], Value::Integer(11));
    }

    #[test]
    fn the_counts_behind_an_engagement_rate_stay_with_it() {
        let counted = Engagement {
            interactions: 5,
            base: Some(100),
            basis: EngagementBasis::Views,
            posts_counted: 1,
            posts_skipped: 0,
        };
        let with_rate = MetricsRow { engagement: Some(counted), ..row(1, &[(ENGAGEMENT_RATE, 5)], &[]) };
        let without = MetricsRow {
            engagement: Some(Engagement { base: None, basis: EngagementBasis::Followers, ..counted }),
            ..row(2, &[], &[ENGAGEMENT_RATE])
        };
        assert_eq!(MetricsRow::merge(with_rate, without).engagement, Some(counted));
    }

    /// Observations of one account and date, in order of time and shuffled.
    fn observations() -> impl Strategy<Value = (Vec<MetricsRow>, Vec<MetricsRow>)> {
        let observation = prop::collection::btree_map(0..4usize, prop::option::of(0..100i64), 0..4);
        prop::collection::vec(observation, 1..6)
            .prop_map(|observations| {
                (0i64..).zip(observations).map(|(minute, observation)| observed(minute, &observation)).collect()
            })
            .prop_flat_map(|rows: Vec<MetricsRow>| (Just(rows.clone()), Just(rows).prop_shuffle()))
    }

    /// The row of one observation: a value, or an absence, for some of four metrics.
    fn observed(minute: i64, observation: &BTreeMap<usize, Option<i64>>) -> MetricsRow {
        let metrics = ["followers", "likes", "comments", ENGAGEMENT_RATE];
        let values: Vec<_> =
            observation.iter().filter_map(|(metric, value)| Some((metrics[*metric], (*value)?))).collect();
        let absent: Vec<_> =
            observation.iter().filter(|(_, value)| value.is_none()).map(|(metric, _)| metrics[*metric]).collect();
        let basis = EngagementBasis::Views;
        let counted = Engagement { interactions: minute, base: None, basis, posts_counted: 1, posts_skipped: 0 };
        let has_rate = values.iter().any(|(metric, _)| *metric == ENGAGEMENT_RATE);
        MetricsRow { engagement: has_rate.then_some(counted), ..row(minute, &values, &absent) }
    }

    proptest! {
        /// In whatever order the results of a day arrive, the same values and times are stored.
        #[test]
        fn any_order_of_merges_gives_the_same_values((in_order, shuffled) in observations()) {
            let expected = in_order.into_iter().reduce(MetricsRow::merge).unwrap();
            let merged = shuffled.iter().cloned().reduce(MetricsRow::merge).unwrap();
            prop_assert_eq!(&merged.values, &expected.values);
            prop_assert_eq!(&merged.observed, &expected.observed);
            prop_assert_eq!(&merged.coverage, &expected.coverage);
            prop_assert_eq!(merged.engagement, expected.engagement);
            prop_assert_eq!(merged.document_id, expected.document_id);
            prop_assert!(merged.values.keys().all(|metric| !merged.absent.contains_key(metric)));
            // Grouping does not matter either: (a (b (c d))) is ((a b) c) d.
            let backwards = shuffled.into_iter().rev();
            let from_the_right = backwards.reduce(|later, earlier| MetricsRow::merge(earlier, later)).unwrap();
            prop_assert_eq!(from_the_right.values, expected.values);
        }
    }
}

//! Under which date numbers are stored: the one that was planned, or the one on which they were observed.
//!
//! Platforms tell what is true now. So a row's date is the date on which its numbers were observed, in the artist's
//! time zone; only a collection that is a little late keeps the date that it was planned for. Metrics that a platform
//! tells of past dates too are declared with `history = true`.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};

use backline_model::metric::names::ENGAGEMENT_RATE;
use backline_model::snapshot::Reported;
use backline_model::{Absence, Candidate, Manifest, MetricName, MetricsRow, Snapshot, Window, Zone};

/// Until when after the end of a date its numbers may be observed, unless configured: a night's run that is late, or
/// that waits for the reset of a budget, is still about the day before.
pub const LATE_S_DEFAULT: u32 = 6 * 3_600;

/// Where an account's numbers belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoredDate {
    /// All of them under the planned date.
    Planned,
    /// Under the planned date, but only the metrics that the connector can fetch for past dates.
    History,
    /// Under this date, on which they were observed; nowhere, if it is collected already.
    Observed(NaiveDate),
}

/// Whether the planned date is kept for numbers that were observed at a time: it has begun in the artist's time zone,
/// and ended less than `late` ago.
#[must_use]
pub fn is_kept(planned: NaiveDate, zone: &Zone, observed_at: DateTime<Utc>, late: TimeDelta) -> bool {
    let earliest = observed_at.checked_sub_signed(late).unwrap_or(observed_at);
    zone.date_at(earliest) <= planned && planned <= zone.date_at(observed_at)
}

/// Where numbers belong that were planned for one date and are fetched up to a time, at which their window ends. It is
/// decided once, before the fetch: one that goes on past midnight, or past what may be late, changes nothing.
///
/// A window that ends at midnight where the artist is belongs to the date that ends then.
///
/// ```
/// use backline_model::fixtures::{day, manifest, time, zone};
/// use backline_rules::dates::{StoredDate, place};
/// use chrono::TimeDelta;
///
/// let of_berlin = |until| {
///     place(day("2026-11-20"), &zone("Europe/Berlin"), time(until), TimeDelta::hours(6), &manifest())
/// };
/// assert_eq!(of_berlin("2026-11-21T04:59:00Z"), StoredDate::Planned);
/// assert_eq!(of_berlin("2026-11-21T05:00:00Z"), StoredDate::Observed(day("2026-11-21")));
/// ```
#[must_use]
pub fn place(
    planned: NaiveDate,
    zone: &Zone,
    until: DateTime<Utc>,
    late: TimeDelta,
    manifest: &Manifest,
) -> StoredDate {
    let last = last_date(zone, until);
    if is_kept(planned, zone, until, late) || planned == last {
        StoredDate::Planned
    } else if planned < last && manifest.has_history() {
        StoredDate::History
    } else {
        StoredDate::Observed(last)
    }
}

/// The date of the last moment before a time.
fn last_date(zone: &Zone, until: DateTime<Utc>) -> NaiveDate {
    zone.date_at(until.checked_sub_signed(TimeDelta::microseconds(1)).unwrap_or(until))
}

/// The midnight that ends a date where the artist is; `None` only for the last date of chrono, which has no successor.
/// Where clocks skip midnight, the date ends when the next one begins.
pub(crate) fn date_end(metric_date: NaiveDate, zone: &Zone) -> Option<DateTime<Utc>> {
    Some(zone.instant_of(metric_date.succ_opt()?.and_time(NaiveTime::MIN)))
}

/// Whether a collection at a time can bring numbers of a planned date.
#[must_use]
pub fn is_served(
    planned: NaiveDate,
    candidate: &Candidate,
    now: DateTime<Utc>,
    late: TimeDelta,
    manifest: &Manifest,
) -> bool {
    !matches!(place(planned, &candidate.timezone, now, late, manifest), StoredDate::Observed(_))
}

/// The window that numbers of the time of observation cover: as long as the planned one, up to now.
#[must_use]
pub fn window_until(planned: Window, now: DateTime<Utc>) -> Window {
    let since = now.checked_sub_signed(planned.until - planned.since).unwrap_or(planned.since);
    Window { since, until: now }
}

/// The window that a collection of a past date alone would have: as long as the planned one, up to the midnight that
/// ends the date. `None` where the date ends at different times for these zones, so that one window does not serve all.
#[must_use]
pub fn past_window<'a>(date: NaiveDate, zones: impl IntoIterator<Item = &'a Zone>, planned: Window) -> Option<Window> {
    let mut ends = zones.into_iter().map(|zone| date_end(date, zone));
    let until = ends.next()??;
    ends.all(|end| end == Some(until)).then(|| window_until(planned, until))
}

/// Whether the platform has told a row's date: a metric with history has a number, or a reason that a later collection
/// would not change. A row of the day itself has none of them yet.
#[must_use]
pub fn is_told(row: &MetricsRow, manifest: &Manifest) -> bool {
    manifest.metrics.iter().filter(|entry| entry.history).any(|entry| {
        row.values.contains_key(&entry.name)
            || row.absent.get(&entry.name).is_some_and(|reason| *reason != Absence::Unavailable)
    })
}

/// Whether a value may stand under a date: its date was kept for the time of its observation, or the metric is one that
/// platforms tell of past dates.
#[must_use]
pub fn may_hold(
    date: NaiveDate,
    metric: &str,
    zone: &Zone,
    observed_at: DateTime<Utc>,
    late: TimeDelta,
    manifest: &Manifest,
) -> bool {
    match place(date, zone, observed_at, late, manifest) {
        StoredDate::Planned => true,
        StoredDate::History => has_history(manifest, metric),
        StoredDate::Observed(_) => false,
    }
}

fn has_history(manifest: &Manifest, metric: &str) -> bool {
    manifest.metric(metric).is_some_and(|entry| entry.history)
}

/// The note of a row that was stored after its date had ended.
pub const ONLY_HISTORY: &str = "observed after its date had ended: only metrics with history are stored";

/// Takes out what is not of the past date that a snapshot was fetched for: the values of metrics without history, and
/// the counted interactions, which are of the time of observation. What is missing for another reason keeps that
/// reason. Returns the names of what was taken out.
pub fn keep_history(snapshot: &mut Snapshot, manifest: &Manifest) -> BTreeSet<String> {
    let mut late = BTreeSet::new();
    for reported in &mut snapshot.metrics {
        if reported.value.is_ok() && !has_history(manifest, &reported.name) {
            reported.value = Err(Absence::Unavailable);
            reported.coverage = None;
            late.insert(reported.name.clone());
        }
    }
    // The rate that would have been computed is not one that the connector never had.
    let is_reported = snapshot.metrics.iter().any(|reported| reported.name == ENGAGEMENT_RATE);
    if snapshot.engagement.take().is_some() && !is_reported {
        let (name, value) = (ENGAGEMENT_RATE.to_owned(), Err(Absence::Unavailable));
        snapshot.metrics.push(Reported { name, value, coverage: None });
        late.insert(ENGAGEMENT_RATE.to_owned());
    }
    snapshot.notes.push(ONLY_HISTORY.to_owned());
    late
}

/// Gives metrics that were taken out as late the reason back for which they were missing when the date was collected.
pub fn keep_reasons(
    absent: &mut BTreeMap<MetricName, Absence>,
    late: &BTreeSet<String>,
    before: &BTreeMap<MetricName, Absence>,
) {
    for (metric, reason) in absent {
        if let Some(earlier) = before.get(metric).filter(|_| late.contains(metric.as_str())) {
            reason.clone_from(earlier);
        }
    }
}

#[cfg(test)]
mod tests {
    use backline_model::fixtures::{day, manifest, time, zone};
    use backline_model::{EngagementBasis, Value};
    use proptest::prelude::*;

    use super::*;

    const LATE: TimeDelta = TimeDelta::hours(6);

    fn with_history() -> Manifest {
        let mut manifest = manifest();
        let entry = manifest.metrics.iter_mut().find(|entry| entry.name.as_str() == "total_views");
        entry.expect("it is in the fixture").history = true;
        manifest
    }

    #[test]
    fn the_planned_date_is_kept_until_it_ended_so_long_ago_in_the_artists_zone() {
        let planned = day("2026-11-20");
        for (name, observed, kept) in [
            ("UTC", "2026-11-19T23:59:59Z", false),
            ("UTC", "2026-11-20T00:00:00Z", true),
            ("UTC", "2026-11-21T05:59:59Z", true),
            ("UTC", "2026-11-21T06:00:00Z", false),
            ("America/Los_Angeles", "2026-11-21T13:59:59Z", true),
            ("America/Los_Angeles", "2026-11-21T14:00:00Z", false),
            ("Pacific/Kiritimati", "2026-11-19T10:00:00Z", true),
            ("Pacific/Kiritimati", "2026-11-20T16:00:00Z", false),
        ] {
            assert_eq!(is_kept(planned, &zone(name), time(observed), LATE), kept, "{name} {observed}");
        }
    }

    #[test]
    fn a_day_of_23_or_25_hours_ends_when_its_clock_says_so() {
        // Berlin went to summer time on 2026-03-29 at 01:00 UTC and back on 2026-10-25 at 01:00 UTC.
        for (planned, last) in [("2026-03-29", "2026-03-30T03:59:59Z"), ("2026-10-25", "2026-10-26T04:59:59Z")] {
            let kept = |at| is_kept(day(planned), &zone("Europe/Berlin"), at, LATE);
            assert!(kept(time(last)), "{planned}");
            assert!(!kept(time(last) + TimeDelta::seconds(1)), "{planned}");
        }
    }

    #[test]
    fn a_window_that_ends_at_midnight_belongs_to_the_date_that_ends_however_long_that_was() {
        for (name, date, midnight, next) in [
            ("UTC", "2026-11-20", "2026-11-21T00:00:00Z", "2026-11-21"),
            ("America/Los_Angeles", "2026-11-20", "2026-11-21T08:00:00Z", "2026-11-21"),
            // 23 and 25 hours.
            ("Europe/Berlin", "2026-03-29", "2026-03-29T22:00:00Z", "2026-03-30"),
            ("Europe/Berlin", "2026-10-25", "2026-10-25T23:00:00Z", "2026-10-26"),
            // Clocks are put forward at midnight, so that the next date begins at one.
            ("America/Santiago", "2026-09-05", "2026-09-06T04:00:00Z", "2026-09-06"),
            // The next date was left out.
            ("Pacific/Apia", "2011-12-29", "2011-12-30T10:00:00Z", "2011-12-31"),
        ] {
            let (zone, midnight) = (zone(name), time(midnight));
            let of = |planned: &str, until| place(day(planned), &zone, until, TimeDelta::zero(), &manifest());
            assert_eq!(of(date, midnight), StoredDate::Planned, "{name}");
            assert_eq!(of(date, midnight + TimeDelta::seconds(1)), StoredDate::Observed(day(next)), "{name}");
            // Planned for days before, and fetched up to that midnight.
            assert_eq!(of("2011-12-01", midnight), StoredDate::Observed(day(date)), "{name}");
            assert_eq!(of(next, midnight), StoredDate::Planned, "{name}: it has begun");
        }
    }

    #[test]
    fn a_past_dates_window_is_the_one_that_a_run_of_it_alone_would_have() {
        let planned = Window { since: time("2026-10-01T07:00:00Z"), until: time("2026-10-29T07:00:00Z") };
        let of = |date: &str, zones: &[&str]| {
            let zones: Vec<Zone> = zones.iter().map(|name| zone(name)).collect();
            past_window(day(date), &zones, planned)
        };
        let window = of("2026-10-20", &["America/Los_Angeles"]).expect("one zone");
        assert_eq!(window.until, time("2026-10-21T07:00:00Z"));
        assert_eq!(window.until - window.since, planned.until - planned.since);
        // 25 hours: the end of the day is that of its clock.
        let window = of("2026-10-25", &["Europe/Berlin", "Europe/Rome"]).expect("the same midnight");
        assert_eq!(window.until, time("2026-10-25T23:00:00Z"));
        // Both are an hour ahead of UTC in winter; the first one also in summer.
        assert!(of("2026-11-20", &["Africa/Lagos", "Europe/Berlin"]).is_some());
        assert_eq!(of("2026-07-20", &["Africa/Lagos", "Europe/Berlin"]), None);
        assert_eq!(of("2026-10-20", &[]), None);
    }

    #[test]
    fn past_that_only_history_keeps_a_past_date_and_nothing_a_future_one() {
        let of = |planned, manifest: &Manifest| {
            place(day(planned), &zone("UTC"), time("2026-11-22T12:00:00Z"), LATE, manifest)
        };
        let today = StoredDate::Observed(day("2026-11-22"));
        assert_eq!(of("2026-11-22", &manifest()), StoredDate::Planned);
        assert_eq!((of("2026-11-21", &manifest()), of("2026-11-21", &with_history())), (today, StoredDate::History));
        assert_eq!((of("2026-11-23", &manifest()), of("2026-11-23", &with_history())), (today, today));
    }

    #[test]
    fn of_a_past_date_nothing_is_kept_but_history() {
        let reported =
            |metric: &str| Reported { name: metric.to_owned(), value: Ok(Value::Integer(7)), coverage: None };
        let mut snapshot = Snapshot {
            metrics: vec![reported("followers"), reported("total_views"), reported("unheard_of")],
            engagement: Some(backline_model::fixtures::engagement(EngagementBasis::Followers)),
            notes: Vec::new(),
        };
        let late = keep_history(&mut snapshot, &with_history());
        assert_eq!(late.iter().map(String::as_str).collect::<Vec<_>>(), ["engagement_rate", "followers", "unheard_of"]);
        let kept: Vec<_> = snapshot.metrics.iter().filter(|reported| reported.value.is_ok()).collect();
        assert_eq!(kept.iter().map(|reported| reported.name.as_str()).collect::<Vec<_>>(), ["total_views"]);
        assert!(snapshot.metrics.iter().all(|reported| reported.value != Err(Absence::NotOffered)));
        assert!(snapshot.engagement.is_none(), "what was counted is of now");
        assert_eq!(snapshot.notes.len(), 1);
    }

    #[test]
    fn what_was_missing_for_another_reason_stays_missing_for_it() {
        let reported = |metric: &str, value| Reported { name: metric.to_owned(), value, coverage: None };
        let mut snapshot = Snapshot {
            metrics: vec![
                reported("followers", Err(Absence::NotAuthorized)),
                reported("following", Err(Absence::NotOffered)),
                reported("engagement_rate", Err(Absence::Hidden)),
                reported("likes", Ok(Value::Integer(7))),
            ],
            engagement: Some(backline_model::fixtures::engagement(EngagementBasis::Followers)),
            notes: Vec::new(),
        };
        let late = keep_history(&mut snapshot, &with_history());
        let reasons: Vec<_> = snapshot.metrics.iter().map(|reported| reported.value.clone().err()).collect();
        let expected = [Absence::NotAuthorized, Absence::NotOffered, Absence::Hidden, Absence::Unavailable];
        assert_eq!(reasons, expected.map(Some));
        assert_eq!(late, ["likes".to_owned()].into());

        // So does what was missing when the date itself was collected.
        let name = |metric: &str| MetricName::new(metric).expect("a name");
        let of = |reasons: &[(&str, Absence)]| -> BTreeMap<MetricName, Absence> {
            reasons.iter().map(|(metric, reason)| (name(metric), reason.clone())).collect()
        };
        let mut absent = of(&[("likes", Absence::Unavailable), ("followers", Absence::NotAuthorized)]);
        keep_reasons(&mut absent, &late, &of(&[("likes", Absence::Hidden), ("followers", Absence::Hidden)]));
        assert_eq!(absent, of(&[("likes", Absence::Hidden), ("followers", Absence::NotAuthorized)]));
    }

    #[test]
    fn a_value_stands_only_under_a_date_that_was_kept_for_it_or_where_it_has_history() {
        let holds = |metric: &str, observed| {
            may_hold(day("2026-11-20"), metric, &zone("Europe/Berlin"), time(observed), LATE, &with_history())
        };
        assert!(holds("followers", "2026-11-20T12:00:00Z") && holds("followers", "2026-11-21T04:59:00Z"));
        assert!(!holds("followers", "2026-11-21T05:00:00Z") && !holds("unheard_of", "2026-11-21T05:00:00Z"));
        assert!(holds("total_views", "2026-11-25T05:00:00Z"), "platforms tell it of past dates");
        assert!(!holds("total_views", "2026-11-19T05:00:00Z"), "and of none that has not begun");
    }

    #[test]
    fn a_window_of_now_is_as_long_as_the_planned_one() {
        let planned = Window { since: time("2026-10-24T00:00:00Z"), until: time("2026-11-21T00:00:00Z") };
        let now = time("2026-11-22T12:00:00Z");
        assert_eq!(window_until(planned, now), Window { since: time("2026-10-25T12:00:00Z"), until: now });
    }

    proptest! {
        /// No numbers are ever stored under a date on which they were not observed, but for the time allowed.
        #[test]
        fn a_date_is_that_of_the_observation_or_of_shortly_before(
            days in -40_i64..40, minutes in 0_i64..600_000, late in 0_u32..200_000,
            name in prop::sample::select(vec!["UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Apia"]),
        ) {
            let zone = zone(name);
            let at = time("2026-01-01T00:00:00Z") + TimeDelta::minutes(minutes);
            let planned = zone.date_at(at) + TimeDelta::days(days);
            let late = TimeDelta::seconds(i64::from(late));
            let stored = match place(planned, &zone, at, late, &manifest()) {
                StoredDate::Planned => planned,
                StoredDate::Observed(date) => date,
                StoredDate::History => panic!("the fixture has no history"),
            };
            // A window that ends at midnight is the day's before.
            prop_assert!(last_date(&zone, at - late) <= stored && stored <= zone.date_at(at));
        }
    }
}

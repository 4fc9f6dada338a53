//! One metric of an account, day by day: as a chart, and as a table that says the same in words.

use std::collections::BTreeMap;

use chrono::{NaiveDate, NaiveTime};
use maud::{Markup, html};
use serde_json::json;

use crate::dashboard::frame::{table, text};
use crate::pipeline::words::{NONE, change_text, no_change_text, reason_text, value_text};
use backline_model::{GrowthRow, Manifest, MetricName, MetricsRow, NoChange};

/// One day of a metric.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Day {
    date: NaiveDate,
    /// None is a gap, which is never drawn as 0 and never bridged.
    value: Option<f64>,
    shown: String,
    change: String,
    remark: String,
    is_late: bool,
    /// Whether the platform counts something else from this day on.
    is_break: bool,
}

/// The days from the first row to the last one, also those without a row, the earliest first.
pub(super) fn days(
    rows: &[MetricsRow],
    growth: &[GrowthRow],
    manifest: Option<&Manifest>,
    metric: &MetricName,
) -> Vec<Day> {
    let by_date: BTreeMap<NaiveDate, &MetricsRow> = rows.iter().map(|row| (row.metric_date, row)).collect();
    let grown: BTreeMap<NaiveDate, &GrowthRow> = growth.iter().map(|row| (row.metric_date, row)).collect();
    let (Some((first, _)), Some((last, _))) = (by_date.first_key_value(), by_date.last_key_value()) else {
        return Vec::new();
    };
    let breaks: BTreeMap<NaiveDate, &str> = manifest
        .into_iter()
        .flat_map(|manifest| &manifest.breaks)
        .filter(|one| one.metric == *metric)
        .map(|one| (one.date, one.note.as_str()))
        .collect();
    first
        .iter_days()
        .take_while(|date| date <= last)
        .map(|date| {
            let row = by_date.get(&date);
            let value = row.and_then(|row| row.values.get(metric));
            let change = grown.get(&date).and_then(|row| row.changes.get(metric)?.get(&1));
            let reason = change.and_then(|change| change.reason);
            let mut remarks = Vec::new();
            match (row, row.and_then(|row| row.absent.get(metric))) {
                (None, _) => remarks.push("nothing was collected".to_owned()),
                (Some(_), Some(absence)) => remarks.push(reason_text(absence)),
                (Some(_), None) if value.is_none() => remarks.push("this connector did not report it".to_owned()),
                (Some(_), None) => remarks.extend(reason.map(|reason| no_change_text(reason).to_owned())),
            }
            remarks.extend(breaks.get(&date).map(|note| format!("counted differently from this day on: {note}")));
            Day {
                date,
                value: value.and_then(backline_model::Value::as_f64),
                shown: value.map_or_else(|| NONE.to_owned(), value_text),
                change: change.map_or_else(|| NONE.to_owned(), change_text),
                remark: remarks.join("; "),
                is_late: reason == Some(NoChange::Late),
                is_break: breaks.contains_key(&date) || reason == Some(NoChange::Break),
            }
        })
        .collect()
}

/// The days of a metric under its name.
pub(super) struct Series<'a> {
    metric: &'a MetricName,
    days: Vec<Day>,
}

impl<'a> Series<'a> {
    pub(super) fn of(metric: &'a MetricName, days: Vec<Day>) -> Self {
        Self { metric, days }
    }

    /// What the script draws. Without it, nothing is there, and the table says the same.
    pub(super) fn chart(&self) -> Markup {
        if !self.days.iter().any(|day| day.value.is_some()) {
            return Markup::default();
        }
        let at = |wanted: fn(&Day) -> bool| -> Vec<usize> {
            self.days.iter().enumerate().filter(|(_, day)| wanted(day)).map(|(index, _)| index).collect()
        };
        let second = |day: &Day| day.date.and_time(NaiveTime::MIN).and_utc().timestamp();
        let data = json!({
            "label": self.metric.as_str(),
            "x": self.days.iter().map(second).collect::<Vec<_>>(),
            "y": self.days.iter().map(|day| day.value).collect::<Vec<_>>(),
            "late": at(|day| day.is_late),
            "breaks": at(|day| day.is_break),
        });
        html! {
            div.chart role="img" aria-label={ "Chart of " (self.metric.as_str()) "; the table below has its numbers" }
                data-chart=(data.to_string()) {}
            p.none {
                "A day without a number interrupts the line. A large point was observed late. A dashed line is a day \
                 from which the platform counts something else."
            }
        }
    }

    /// The same in words, the latest day first.
    pub(super) fn table(&self) -> Markup {
        let rows = self
            .days
            .iter()
            .rev()
            .map(|day| vec![text(day.date), text(&day.shown), text(&day.change), text(&day.remark)]);
        let caption = format!("{}, day by day", self.metric);
        table(
            &caption,
            &["Date", "Value", "Change since the day before", "Remark"],
            rows.collect(),
            "No day has a row.",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use backline_model::fixtures::{day, ints, name, row};
    use backline_model::{Absence, GrowthChange};

    fn grown(like: &MetricsRow, reason: NoChange) -> GrowthRow {
        let change = GrowthChange { reason: Some(reason), ..GrowthChange::default() };
        GrowthRow {
            account_id: like.account_id,
            artist_id: like.artist_id,
            platform: like.platform.clone(),
            metric_date: like.metric_date,
            changes: BTreeMap::from([(name("followers"), BTreeMap::from([(1, change)]))]),
        }
    }

    #[test]
    fn a_gap_is_no_number_and_says_why() {
        let first = row(day("2026-11-20"), ints(&[("followers", 100)]));
        let mut hidden = row(day("2026-11-22"), ints(&[("likes", 1)]));
        hidden.absent.insert(name("followers"), Absence::Hidden);
        let last = row(day("2026-11-23"), ints(&[("followers", 120)]));
        let growth = [grown(&last, NoChange::Gap)];
        let metric = name("followers");
        let days = days(&[last, hidden, first], &growth, None, &metric);
        let told: Vec<_> = days.iter().map(|day| (day.value, day.remark.as_str())).collect();
        assert_eq!(
            told,
            [
                (Some(100.0), ""),
                (None, "nothing was collected"),
                (None, "the owner hides it"),
                (Some(120.0), "the day before has no value"),
            ]
        );
        let series = Series::of(&metric, days);
        let chart = series.chart().into_string();
        assert!(chart.contains("&quot;y&quot;:[100.0,null,null,120.0]"), "{chart}");
        assert!(series.table().into_string().contains("the owner hides it"));
    }

    #[test]
    fn breaks_and_late_days_are_marked() {
        let rows = ["2026-11-20", "2026-11-21", "2026-11-22"].map(|date| row(day(date), ints(&[("followers", 1)])));
        let growth = [grown(&rows[1], NoChange::Break), grown(&rows[2], NoChange::Late)];
        let metric = name("followers");
        let days = days(&rows, &growth, None, &metric);
        let marks: Vec<_> = days.iter().map(|day| (day.is_break, day.is_late)).collect();
        assert_eq!(marks, [(false, false), (true, false), (false, true)]);
        let chart = Series::of(&metric, days).chart().into_string();
        assert!(chart.contains("&quot;breaks&quot;:[1]") && chart.contains("&quot;late&quot;:[2]"), "{chart}");
    }

    #[test]
    fn without_rows_there_is_no_chart() {
        let metric = name("followers");
        let series = Series::of(&metric, days(&[], &[], None, &metric));
        assert_eq!(series.chart().into_string(), "");
        assert!(series.table().into_string().contains("No day has a row."));
    }
}

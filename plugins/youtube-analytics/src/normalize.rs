//! Turns a document into a snapshot.

use backline_sdk::{prelude::*, read_part};

use crate::collect::FINAL_AFTER_DAYS_MAX;
use crate::table::{self, Cell};
use crate::{COUNTRY_METRICS, METRICS, day};

/// Builds the snapshot of a document `{day, final_after_days, reports, countries, refused_metrics}`.
///
/// Numbers of a day that is not delivered yet are absent whatever the platform sent: until then it sends nothing, a
/// part of the number, or 0.
pub(crate) fn snapshot(document: &Document) -> Result<Snapshot, String> {
    let body = document.json()?;
    let day = text(&body["day"]).ok_or("the document names no day")?;
    let after_days = integer(&body["final_after_days"]).filter(|days| (0..=FINAL_AFTER_DAYS_MAX).contains(days));
    let is_delivered = after_days.and_then(|days| day::is_delivered(&day, days, document.observed_at)) == Some(true);
    let reports = list(&body, "reports").unwrap_or(&[]);
    let is_lost = |name: &str| list(&body, "refused_metrics").is_ok_and(|lost| lost.iter().any(|lost| lost == name));
    let cell = |name: &str| reports.iter().find_map(|report| table::cell(report, name, &day));
    let mut snapshot = Snapshot::builder();
    let mut is_without_row = false;
    for (name, column) in METRICS {
        let value = match cell(column) {
            _ if is_lost(column) => Err(Absence::NotOffered),
            _ if !is_delivered => Err(Absence::Unavailable),
            Some(Cell::Number(number)) => Ok(Value::Integer(number)),
            Some(Cell::NoRow) => {
                is_without_row = true;
                Err(Absence::NotFound)
            }
            Some(Cell::Unread) | None => Err(Absence::Unavailable),
        };
        snapshot = snapshot.metric(name, value);
    }
    let countries = read_part(&body["countries"], "data");
    for (name, column) in COUNTRY_METRICS {
        let value = match countries {
            Err(Absence::NotOffered) => Err(Absence::NotOffered),
            _ if !is_delivered => Err(Absence::Unavailable),
            Err(reason) => Err(reason),
            Ok(table) => table::countries(table, column).and_then(|countries| {
                if countries.is_empty() { Err(Absence::NotFound) } else { Ok(Value::Texts(countries)) }
            }),
        };
        snapshot = snapshot.metric(name, value);
    }
    if !is_delivered {
        snapshot = snapshot.note("the platform delivers the numbers of a day some days after it ended");
    } else if is_without_row {
        snapshot = snapshot.note("the platform has no numbers for this day, as on a day without activity");
    }
    Ok(snapshot.build())
}

//! Reads the platform's result tables: rows of cells, whose meaning is in the headers.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use backline_sdk::prelude::*;

use crate::collect::COUNTRIES_MAX;

/// Name of the column with the day of a row.
pub(crate) const DAY: &str = "day";

/// Name of the column with the country of a row.
pub(crate) const COUNTRY: &str = "country";

/// What a table says of a metric on a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    /// The number.
    Number(i64),
    /// There is no row for the day, which the platform leaves out when there is nothing to say.
    NoRow,
    /// There is a row, and no number that can be read.
    Unread,
}

/// Checks that a body is a result table by this dimension. The platform leaves `rows` out if it has none.
///
/// # Errors
/// [`FetchError::Unexpected`] if a list is missing or holds what no table does. A header that can't be read, and rows
/// of another width, leave it open which cell is which.
pub(crate) fn check(body: &Json, dimension: &str) -> Result<(), FetchError> {
    let unexpected = |problem: &str| Err(FetchError::Unexpected(problem.to_owned()));
    let (names, odd) = list_of(body, "columnHeaders", |header| text(&header["name"]))?;
    if odd > 0 || !names.iter().any(|name| name == dimension) {
        return unexpected("the report has a column without a name, or not the one of its rows");
    }
    if body.get("rows").is_none() {
        return Ok(());
    }
    let is_row = |row: &Json| row.as_array().is_some_and(|cells| cells.len() == names.len());
    match list_of(body, "rows", |row| is_row(row).then_some(()))? {
        (_, 0) => Ok(()),
        _ => unexpected("a row of the report has not as many cells as there are columns"),
    }
}

/// The cell of a metric on a day; `None` if the table has no such column.
pub(crate) fn cell(table: &Json, metric: &str, day: &str) -> Option<Cell> {
    let headers = list(table, "columnHeaders").ok()?;
    let column = |name: &str| headers.iter().position(|header| header["name"] == name);
    let (of_day, of_metric) = (column(DAY)?, column(metric)?);
    let rows = match table.get("rows") {
        None => &[],
        Some(_) => list(table, "rows").ok()?,
    };
    let mut of_the_day = rows.iter().filter(|row| row[of_day] == day);
    Some(match (of_the_day.next(), of_the_day.next()) {
        (None, _) => Cell::NoRow,
        (Some(row), None) => integer(&row[of_metric]).map_or(Cell::Unread, Cell::Number),
        // Two rows for one day: which of them counts is unknown.
        (Some(_), Some(_)) => Cell::Unread,
    })
}

/// The countries with the highest numbers of a metric, each with its number, the highest first: `US 1234`. Empty if the
/// table has no row.
///
/// # Errors
/// `Unavailable` if a row can't be read, or a country has two: the country may be any, so the list would be a guess.
pub(crate) fn countries(table: &Json, metric: &str) -> Result<Vec<String>, Absence> {
    let headers = list(table, "columnHeaders")?;
    let column = |name: &str| headers.iter().position(|header| header["name"] == name).ok_or(Absence::Unavailable);
    let (of_country, of_metric) = (column(COUNTRY)?, column(metric)?);
    if table.get("rows").is_none() {
        return Ok(Vec::new());
    }
    let row = |row: &Json| {
        let country = text(&row[of_country]).filter(|country| country.len() == 2)?;
        Some((Reverse(count_of(&row[of_metric])?), country))
    };
    let (mut rows, odd) = list_of(table, "rows", row)?;
    let countries: BTreeSet<&String> = rows.iter().map(|(_, country)| country).collect();
    if odd > 0 || countries.len() < rows.len() {
        return Err(Absence::Unavailable);
    }
    rows.sort();
    Ok(rows.into_iter().take(COUNTRIES_MAX).map(|(Reverse(number), country)| format!("{country} {number}")).collect())
}

//! Reads the platform's result tables: rows of cells, whose meaning is in the headers.

use backline_sdk::prelude::*;

/// Name of the column with the day of a row.
const DAY: &str = "day";

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

/// Checks that a body is a result table. The platform leaves `rows` out if it has none.
///
/// # Errors
/// [`FetchError::Unexpected`] if a list is missing or holds what no table does. A header that can't be read, and rows
/// of another width, leave it open which cell is which.
pub(crate) fn check(body: &Json) -> Result<(), FetchError> {
    let unexpected = |problem: &str| Err(FetchError::Unexpected(problem.to_owned()));
    let (names, odd) = list_of(body, "columnHeaders", |header| text(&header["name"]))?;
    if odd > 0 || !names.iter().any(|name| name == DAY) {
        return unexpected("the report has a column without a name, or none of days");
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

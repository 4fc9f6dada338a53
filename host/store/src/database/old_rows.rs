//! Rows that have served their time are deleted together. Where the database refuses that, they are deleted in parts,
//! down to the row that is refused: a trigger or a constraint of another program keeps its own row, and no other.

use serde_json::{Value as Json, json};
use sqlx::any::AnyRow;

use crate::database::connection::{Store, Work};
use crate::database::dialect::{Columns as _, json};
use crate::database::error::StoreError;
use crate::database::readable::Extent;

/// Most rows that are deleted in parts at once. What is left comes with the next time.
const APART_MAX: i64 = 1_000;

/// Rows that may be refused before the others of the table are left alone too: each costs a statement for every halving
/// of the rows, and a table that refuses so many most likely refuses all.
const REFUSED_MAX: usize = 20;

/// Rows of a table that have served their time. [`old_rows!`] makes the statements.
pub(crate) struct OldRows {
    /// What deleting them is called, as an infinitive.
    pub(crate) what: &'static str,
    pub(crate) table: &'static str,
    /// Deletes them: all, or those of the keys in the first parameter. The second one is a time.
    pub(crate) delete: &'static str,
    /// Their keys, in two columns, and what each is called. Parameters: how many, and the time.
    pub(crate) keys: &'static str,
}

/// Deletes the rows of a table, given with its key, that a selection from it under an alias finds.
macro_rules! delete_selected {
    ($table:literal, $key:literal, $($selection:tt)+) => {
        concat!(
            "DELETE FROM ", $table, " WHERE (", $key, ") IN (SELECT ", $key, " FROM ", $table, " ", $($selection)+, ")"
        )
    };
}

pub(crate) use delete_selected;

/// Rows of a table: its key, the key as `m` has it (`first`, `second`) with the row's `name`, the key as the rows of a
/// parameter have it, and when `m` has served its time, by a time that is parameter 2. What another transaction holds
/// is left for the next time: mostly an erasure, with which it goes.
macro_rules! old_rows {
    ($what:literal, $table:literal, $key:literal, $shown:literal, $given:literal, $due:literal) => {
        $crate::database::old_rows::OldRows {
            what: $what,
            table: $table,
            delete: $crate::database::old_rows::delete_selected!(
                $table,
                $key,
                "m WHERE ",
                $due,
                " AND ($1::jsonb IS NULL OR (",
                $key,
                ") IN (SELECT ",
                $given,
                " FROM {rows})) FOR UPDATE OF m SKIP LOCKED"
            ),
            keys: concat!("SELECT ", $shown, " FROM ", $table, " m WHERE ", $due, " ORDER BY ", $key, " LIMIT $1"),
        }
    };
}

pub(crate) use old_rows;

/// A row by its key, and what it is called.
struct OldRow {
    key: Json,
    name: String,
}

impl Store {
    /// Deletes rows that have served their time, as of a time in the form in which times are stored. Returns how many.
    ///
    /// # Errors
    /// [`StoreError::Kept`] when the database refuses some of them: the others are deleted. Otherwise when it fails.
    pub(crate) async fn old_rows_delete(&self, old: &OldRows, until: String) -> Result<u64, StoreError> {
        // All in one transaction: PostgreSQL tells of a refusal before it frees the rows, so that a transaction on
        // another connection would pass over them as if another one held them.
        let mut work = self.begin().await?;
        let all = work.query(old.delete).bind(None::<String>).bind(until.clone());
        let done = match work.execute_part(old.what, all).await {
            Err(error) if !error.is_outage() => self.old_rows_delete_apart_in_txn(&mut work, old, &until, error).await,
            done => done,
        };
        if matches!(done, Ok(_) | Err(StoreError::Kept { .. })) {
            work.commit().await?;
        }
        done
    }

    /// `error`: why they can't be deleted together.
    async fn old_rows_delete_apart_in_txn(
        &self,
        work: &mut Work,
        old: &OldRows,
        until: &str,
        error: StoreError,
    ) -> Result<u64, StoreError> {
        let statement = work.query(old.keys).bind(APART_MAX).bind(until.to_owned());
        let rows = work.rows(old.what, statement).await?;
        let rows = self.unreadable.read(old.table, "name", Extent::Columns, &rows, old_row_of)?;
        if rows.is_empty() {
            return Err(error);
        }
        let (mut deleted, mut refused, mut why) = (0, Vec::new(), None);
        let mut parts = vec![rows.as_slice()];
        while let Some(part) = parts.pop() {
            let keys: Vec<&Json> = part.iter().map(|row| &row.key).collect();
            let statement = work.query(old.delete).bind(Some(json("keys", &keys)?)).bind(until.to_owned());
            let error = match work.execute_part(old.what, statement).await {
                Ok(rows) => {
                    deleted += rows;
                    continue;
                }
                Err(error) if error.is_outage() => return Err(error),
                Err(error) => error,
            };
            if let [one] = part {
                refused.push(one.name.clone());
                why.get_or_insert(error);
            } else {
                let (first, second) = part.split_at(part.len() / 2);
                parts.extend([second, first]);
            }
            if refused.len() >= REFUSED_MAX {
                break;
            }
        }
        match why {
            None => Ok(deleted),
            Some(source) => {
                Err(StoreError::Kept { what: old.what, rows: refused.join(", "), source: Box::new(source) })
            }
        }
    }
}

fn old_row_of(row: &AnyRow) -> Result<OldRow, StoreError> {
    // The number of an event is one in a file too, where a text would not be found.
    let second = match row.int_or_null("second") {
        Ok(number) => json!(number),
        Err(_) => json!(row.text("second")?),
    };
    Ok(OldRow { key: json!({ "first": row.text("first")?, "second": second }), name: row.told("name")? })
}

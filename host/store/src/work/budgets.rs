//! Budgets of credentials, shared by every host on the database and never overspent.

use chrono::{DateTime, Duration, Utc};

use crate::database::connection::Store;
use crate::database::dialect::{Columns as _, time_text};
use crate::database::error::StoreError;
use backline_model::CredentialId;

/// How long a window that is over is kept, for operators.
const WINDOW_RETENTION: Duration = Duration::days(7);

/// Largest number of units that is computed with: two of them still add up within 64 bits.
const UNITS_MAX: u64 = i64::MAX as u64 / 4;

/// Which budget: a credential's, by the name its connector's manifest gives it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BudgetKey {
    /// The credential that the budget belongs to.
    pub credential: CredentialId,
    /// Its name in the manifest.
    pub budget: String,
}

impl Store {
    /// Takes up to `want` units of a window that allows `limit` in all; returns how many were granted, 0 when it is
    /// spent. Exact however many hosts take at once: it is one statement.
    ///
    /// # Errors
    /// When the credential is unknown or the database fails.
    pub async fn budget_take(
        &self,
        key: &BudgetKey,
        window_start: DateTime<Utc>,
        window_end: DateTime<Utc>,
        limit: u64,
        want: u64,
        now: DateTime<Utc>,
    ) -> Result<u64, StoreError> {
        let units = |units: u64| i64::try_from(units.min(UNITS_MAX)).unwrap_or(i64::MAX);
        let statement = self.query(
            "INSERT INTO budgets (credential_id, budget, window_start, window_end, spent, last_granted)
             VALUES ($1::uuid, $2, $3::timestamptz, $4::timestamptz, $5, $5)
             ON CONFLICT (credential_id, budget, window_start) DO UPDATE SET
                 window_end = excluded.window_end,
                 spent = budgets.spent + CASE
                     WHEN budgets.spent >= $6 THEN 0 WHEN budgets.spent + $7 > $6 THEN $6 - budgets.spent ELSE $7 END,
                 last_granted = CASE
                     WHEN budgets.spent >= $6 THEN 0 WHEN budgets.spent + $7 > $6 THEN $6 - budgets.spent ELSE $7 END
             RETURNING spent, last_granted",
        );
        let statement = statement
            .bind(key.credential.to_string())
            .bind(key.budget.clone())
            .bind(time_text(window_start))
            .bind(time_text(window_end))
            .bind(units(want.min(limit)))
            .bind(units(limit))
            .bind(units(want));
        let Some(row) = self.write_returning("take from a budget", statement).await? else { return Ok(0) };
        let granted = row.count("last_granted")?;
        if granted == row.count("spent")? {
            // The window's first taker also removes long gone windows: those of a second each would pile up otherwise.
            let statement = self.query(
                "DELETE FROM budgets WHERE credential_id = $1::uuid AND budget = $2 AND window_end < $3::timestamptz",
            );
            let statement = statement
                .bind(key.credential.to_string())
                .bind(key.budget.clone())
                .bind(time_text(now - WINDOW_RETENTION));
            self.write("remove old windows of a budget", statement).await?;
        }
        Ok(granted)
    }

    /// Returns units to a window that were taken and not used.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn budget_give_back(
        &self,
        key: &BudgetKey,
        window_start: DateTime<Utc>,
        units: u64,
    ) -> Result<(), StoreError> {
        let statement = self.query(
            "UPDATE budgets SET spent = CASE WHEN spent > $4 THEN spent - $4 ELSE 0 END
             WHERE credential_id = $1::uuid AND budget = $2 AND window_start = $3::timestamptz",
        );
        let statement = statement
            .bind(key.credential.to_string())
            .bind(key.budget.clone())
            .bind(time_text(window_start))
            .bind(i64::try_from(units.min(UNITS_MAX)).unwrap_or(i64::MAX));
        self.write("return units to a budget", statement).await?;
        Ok(())
    }
}

//! Budgets of credentials and platforms, shared by every host on the database and never overspent.

use std::collections::HashMap;

use chrono::{DateTime, Duration, Utc};
use serde_json::json;
use sqlx::any::AnyRow;

use crate::database::connection::Store;
use crate::database::dialect::{Columns as _, json, time_text};
use crate::database::error::StoreError;
use crate::database::readable::Extent;
use backline_model::Holder;
use backline_model::pace::{PlaceAsk, Places};

/// How long a window that is over is kept, for operators.
const WINDOW_RETENTION: Duration = Duration::days(7);

/// Largest number of units that is computed with: two of them still add up within 64 bits.
const UNITS_MAX: u64 = i64::MAX as u64 / 4;

/// Which budget: a credential's or a platform's, by the name that the connector's manifest gives it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BudgetKey {
    /// Whose units they are.
    pub holder: Holder,
    /// Its name in the manifest; empty for a pace that was learned from refusals.
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
            "INSERT INTO budgets (holder, budget, window_start, window_end, spent, last_granted, credential_id)
             VALUES ($1, $2, $3::timestamptz, $4::timestamptz, $5, $5, $8::uuid)
             ON CONFLICT (holder, budget, window_start) DO UPDATE SET
                 window_end = excluded.window_end,
                 spent = CASE WHEN budgets.spent < 0 THEN $5 WHEN budgets.spent >= $6 THEN budgets.spent
                     WHEN budgets.spent + $7 > $6 THEN $6 ELSE budgets.spent + $7 END,
                 last_granted = CASE WHEN budgets.spent < 0 THEN $5
                     WHEN budgets.spent >= $6 THEN 0 WHEN budgets.spent + $7 > $6 THEN $6 - budgets.spent ELSE $7 END
             RETURNING spent, last_granted",
        );
        let statement = statement
            .bind(key.holder.to_string())
            .bind(key.budget.clone())
            .bind(time_text(window_start))
            .bind(time_text(window_end))
            .bind(units(want.min(limit)))
            .bind(units(limit))
            .bind(units(want))
            .bind(key.holder.credential().map(|credential| credential.to_string()));
        let Some(row) = self.write_returning("take from a budget", statement).await? else { return Ok(0) };
        let granted = row.count("last_granted")?;
        if granted == row.count("spent")? {
            // The window's first taker also removes long gone windows: those of a second each would pile up otherwise.
            // They are gone by the database's clock too: a taker whose clock is ahead must not free what is spent.
            let statement = self.query(
                "DELETE FROM budgets WHERE (holder, budget, window_start) IN (
                     SELECT b.holder, b.budget, b.window_start FROM budgets b
                     WHERE b.holder = $1 AND b.budget = $2 AND b.window_end < $3::timestamptz AND b.window_end < {now}
                     FOR UPDATE SKIP LOCKED)",
            );
            let statement =
                statement.bind(key.holder.to_string()).bind(key.budget.clone()).bind(time_text(now - WINDOW_RETENTION));
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
             WHERE holder = $1 AND budget = $2 AND window_start = $3::timestamptz",
        );
        let statement = statement
            .bind(key.holder.to_string())
            .bind(key.budget.clone())
            .bind(time_text(window_start))
            .bind(i64::try_from(units.min(UNITS_MAX)).unwrap_or(i64::MAX));
        self.write("return units to a budget", statement).await?;
        Ok(())
    }

    /// How many units of these windows are taken, each by its budget and its beginning. A window of which nothing was
    /// taken is left out.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn budgets_of(
        &self,
        windows: &[(BudgetKey, DateTime<Utc>)],
    ) -> Result<HashMap<BudgetKey, u64>, StoreError> {
        let rows: Vec<_> = windows
            .iter()
            .map(|(key, start)| {
                json!({ "holder": key.holder.to_string(), "budget": key.budget, "start": time_text(*start) })
            })
            .collect();
        let statement = self.query(
            "SELECT b.holder, b.budget, b.spent FROM {rows} LEFT JOIN budgets b ON b.holder = r.value->>'holder'
                 AND b.budget = r.value->>'budget' AND b.window_start = (r.value->>'start')::timestamptz
             WHERE (b.holder IS NULL) = FALSE",
        );
        let found = self.rows("read budgets", statement.bind(json("budgets", &rows)?)).await?;
        let spent = |row: &AnyRow| Ok((name_of(row)?, row.count("spent")?));
        let spent = self.unreadable.read("budgets", "holder", Extent::Part, &found, spent)?;
        Ok(keyed(windows.iter().map(|(key, _)| key), spent))
    }

    /// The next free place of each of these budgets whose window rolls, in microseconds since 1970. One of which none
    /// was taken is left out.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn paces_of(&self, keys: &[BudgetKey]) -> Result<HashMap<BudgetKey, i64>, StoreError> {
        let rows: Vec<_> =
            keys.iter().map(|key| json!({ "holder": key.holder.to_string(), "budget": key.budget })).collect();
        let statement = self.query(
            "SELECT p.holder, p.budget, p.next_us FROM {rows} LEFT JOIN paces p ON p.holder = r.value->>'holder'
                 AND p.budget = r.value->>'budget' WHERE (p.holder IS NULL) = FALSE",
        );
        let found = self.rows("read paces", statement.bind(json("budgets", &rows)?)).await?;
        let next = |row: &AnyRow| Ok((name_of(row)?, row.int("next_us")?));
        let next = self.unreadable.read("paces", "holder", Extent::Part, &found, next)?;
        Ok(keyed(keys.iter(), next))
    }

    /// Takes places of a budget whose window rolls; none where the first one would be later than asked. Exact however
    /// many hosts take at once: it is one statement, and computes what [`PlaceAsk::answer`] does.
    ///
    /// # Errors
    /// When the credential is unknown or the database fails.
    pub async fn pace_take(&self, key: &BudgetKey, ask: &PlaceAsk) -> Result<Places, StoreError> {
        let statement = self.query(
            "INSERT INTO paces (holder, budget, credential_id, first_us, next_us)
             VALUES ($1, $2, $3::uuid, $4::bigint, $4::bigint + $5::bigint)
             ON CONFLICT (holder, budget) DO UPDATE SET
                 first_us = CASE WHEN paces.next_us < $4 THEN $4 WHEN paces.next_us > $7 THEN $7
                     ELSE paces.next_us END,
                 next_us = CASE WHEN paces.next_us < $4 THEN $4 + $5 WHEN paces.next_us <= $6 THEN paces.next_us + $5
                     WHEN paces.next_us > $7 THEN $7 ELSE paces.next_us END
             RETURNING first_us, next_us",
        );
        let statement = statement
            .bind(key.holder.to_string())
            .bind(key.budget.clone())
            .bind(key.holder.credential().map(|credential| credential.to_string()))
            .bind(ask.now_us)
            .bind(ask.step_us)
            .bind(ask.latest_us)
            .bind(ask.furthest_us);
        let Some(row) = self.write_returning("take places of a budget", statement).await? else {
            return Err(StoreError::NotFound { what: "budget", id: key.budget.clone() });
        };
        Ok(Places { first_us: row.int("first_us")?, next_us: row.int("next_us")? })
    }
}

/// The holder and the budget that a row names.
fn name_of(row: &AnyRow) -> Result<(String, String), StoreError> {
    Ok((row.text("holder")?, row.text("budget")?))
}

/// Values by the key that each of them is named by.
fn keyed<'a, T>(keys: impl Iterator<Item = &'a BudgetKey>, named: Vec<((String, String), T)>) -> HashMap<BudgetKey, T> {
    let by_name: HashMap<(String, String), &BudgetKey> =
        keys.map(|key| ((key.holder.to_string(), key.budget.clone()), key)).collect();
    named.into_iter().filter_map(|(name, value)| Some(((*by_name.get(&name)?).clone(), value))).collect()
}

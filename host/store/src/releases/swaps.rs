//! Swaps: which release collected a platform, since when.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::any::AnyRow;

use crate::database::connection::Store;
use crate::database::dialect::Columns as _;
use crate::database::error::StoreError;
use crate::database::readable::{Extent, left_of, more_after};
use backline_model::{Digest, Platform, SwapCause};

/// A change of a platform's active release.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Swap {
    /// The platform.
    pub platform: Platform,
    /// What was active afterwards, if anything was.
    pub release: Option<Digest>,
    /// What was active before, if anything was.
    pub before: Option<Digest>,
    /// What caused the swap.
    pub cause: SwapCause,
    /// Reason, as text for operators.
    pub reason: Option<String>,
    /// Time of the swap.
    pub at: DateTime<Utc>,
}

impl Store {
    /// The swaps of a platform, or of all of them, the latest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn swaps_list(&self, platform: Option<&Platform>, limit: u32) -> Result<Vec<Swap>, StoreError> {
        let swaps = self.swaps_before_list(platform, None, limit).await?;
        Ok(swaps.into_iter().map(|(_, swap)| swap).collect())
    }

    /// The same, each with its place, and only those before a place: where the next page begins.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn swaps_before_list(
        &self,
        platform: Option<&Platform>,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<(i64, Swap)>, StoreError> {
        let (mut before, mut found) = (before.unwrap_or(i64::MAX), Vec::new());
        loop {
            let asked = left_of(limit, found.len());
            let statement = self.query(
                "SELECT seq, platform, release_digest, before, cause, reason, at::text AS at FROM release_activations
                 WHERE seq < $1 AND ($2::text IS NULL OR platform = $2) ORDER BY seq DESC LIMIT $3",
            );
            let statement = statement
                .bind(before)
                .bind(platform.map(|platform| platform.as_str().to_owned()))
                .bind(i64::from(asked));
            let rows = self.rows("read swaps", statement).await?;
            found.extend(
                self.unreadable.read("release_activations", "at", Extent::Part, &rows, |row| {
                    Ok((row.int("seq")?, swap_of(row)?))
                })?,
            );
            let Some(last) = more_after(&rows, asked, found.len(), limit) else { return Ok(found) };
            before = last.number("seq")?;
        }
    }
}

fn swap_of(row: &AnyRow) -> Result<Swap, StoreError> {
    Ok(Swap {
        platform: row.parsed("platform")?,
        release: row.parsed_or_null("release_digest")?,
        before: row.parsed_or_null("before")?,
        cause: row.named("cause", SwapCause::parse)?,
        reason: row.text_or_null("reason")?,
        at: row.time("at")?,
    })
}

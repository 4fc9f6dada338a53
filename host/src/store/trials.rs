//! What batches said for or against releases.

use chrono::{DateTime, Utc};

use super::dialect::{json, time_text};
use super::{StoreError, Work};
use crate::domain::{Batch, Tally};

/// Writes down what a batch says of the release that collected it.
pub(super) async fn insert_tally(
    work: &mut Work,
    batch: &Batch,
    tally: &Tally,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    if tally.is_empty() {
        return Ok(());
    }
    let statement = work.query(
        "INSERT INTO release_batches (release_digest, platform, run_id, canary, at, tally)
         VALUES ($1, $2, $3::uuid, $4, $5::timestamptz, $6::jsonb)",
    );
    let statement = statement
        .bind(batch.release.to_string())
        .bind(batch.platform.as_str().to_owned())
        .bind(batch.run_id.to_string())
        .bind(batch.canary)
        .bind(time_text(now))
        .bind(json("a tally", tally)?);
    work.execute("write down what a batch says of its release", statement).await?;
    Ok(())
}

//! Artists whose first collection is due. Triggers write them down; a plan takes them out.

use serde_json::json;

use super::dialect::{Columns as _, json};
use super::{Store, StoreError, Work};
use crate::domain::{ArtistId, Platform};

/// An artist to be collected as soon as may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activation {
    /// Who.
    pub artist_id: ArtistId,
    /// Where; none means everywhere.
    pub platform: Option<Platform>,
    /// What has happened: `activation`, `consent` or `account`.
    pub cause: String,
}

impl Store {
    /// Whose first collection is due, the longest waiting first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn pending_activations(&self, limit: u32) -> Result<Vec<Activation>, StoreError> {
        let statement = self.query(
            "SELECT artist_id::text AS artist_id, platform, cause FROM activations ORDER BY at, artist_id, platform LIMIT $1",
        );
        let rows = self.rows("read who is to be collected first", statement.bind(i64::from(limit))).await?;
        rows.iter()
            .map(|row| {
                let platform = row.text("platform")?;
                Ok(Activation {
                    artist_id: row.parsed("artist_id")?,
                    platform: if platform.is_empty() { None } else { Some(row.parsed("platform")?) },
                    cause: row.text("cause")?,
                })
            })
            .collect()
    }
}

/// The rows of a statement that names activations.
pub(super) fn activation_rows(activations: &[Activation]) -> Result<String, StoreError> {
    let rows: Vec<_> = activations
        .iter()
        .map(|activation| {
            json!({ "artist": activation.artist_id, "platform": activation.platform.as_ref().map_or("", Platform::as_str) })
        })
        .collect();
    json("activations", &rows)
}

/// Takes activations out. One that is written anew meanwhile waits for the commit, and stays.
pub(super) async fn delete_activations(work: &mut Work, activations: &[Activation]) -> Result<(), StoreError> {
    let statement = work.query(
        "DELETE FROM activations WHERE (artist_id, platform) IN
             (SELECT (r.value->>'artist')::uuid, r.value->>'platform' FROM {rows})",
    );
    work.execute("take activations out", statement.bind(activation_rows(activations)?)).await?;
    Ok(())
}

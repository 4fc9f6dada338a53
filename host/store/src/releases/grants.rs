//! What releases were granted, changed while they may be collecting: every batch reads its grant again.

use chrono::{DateTime, Utc};
use sqlx::any::AnyRow;

use crate::database::connection::{Store, Work};
use crate::database::dialect::{Columns as _, clean, json};
use crate::database::error::StoreError;
use crate::database::notifications::notify;
use crate::database::readable::Extent;
use crate::database::topic::Topic;
use crate::releases::installed::swap_add_in_txn;
use crate::releases::stored_grant::grant_of_row;
use backline_model::{Digest, Grant, Platform, SwapCause};

/// What became of a connector's grants when they were narrowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NarrowedGrants {
    /// How many releases' grants changed.
    pub changed: u64,
    /// Digests of those among them whose grant could not be read. Nothing is left of it.
    pub emptied: Vec<String>,
}

impl Store {
    /// Grants a release what it may do from its next batch on, whatever was granted or taken back before. One that was
    /// rolled back stays so.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such release, or its component was removed.
    pub async fn release_grant(&self, digest: Digest, grant: &Grant) -> Result<(), StoreError> {
        let mut work = self.begin().await?;
        let statement = work.query(
            "UPDATE releases SET granted = $2::jsonb,
                 state_reason = CASE WHEN state = 'withdrawn' THEN state_reason END,
                 state = CASE WHEN state = 'withdrawn' THEN state ELSE 'granted' END
             WHERE digest = $1 AND state <> 'removed'",
        );
        let statement = statement.bind(digest.to_string()).bind(json("a grant", grant)?);
        if work.execute("grant a release", statement).await? == 0 {
            return Err(StoreError::NotFound { what: "release", id: digest.to_string() });
        }
        notify(&mut work, Topic::Releases).await?;
        work.commit().await
    }

    /// Revokes a connector's grants, of all its releases: otherwise the next rollback would bring one of them back.
    /// One that was active is deactivated, its platform's batches end, and it is activated again as soon as it is
    /// granted. Returns the releases whose grant was revoked.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn releases_revoke(
        &self,
        name: &str,
        reason: &str,
        now: DateTime<Utc>,
    ) -> Result<Vec<Digest>, StoreError> {
        let mut work = self.begin().await?;
        connector_platforms_lock_in_txn(&mut work, name).await?;
        let statement = work.query(
            "SELECT digest, platform, active::int AS active FROM releases
             WHERE name = $1 AND state IN ('granted', 'withdrawn') ORDER BY digest FOR UPDATE",
        );
        let rows = work.rows("read what is granted", statement.bind(name.to_owned())).await?;
        let statement = work.query(
            "UPDATE releases SET state = 'revoked', state_reason = $2, wanted = active, active = FALSE,
                 staged_until = NULL
             WHERE name = $1 AND state IN ('granted', 'withdrawn')",
        );
        work.execute("revoke grants", statement.bind(name.to_owned()).bind(clean(reason))).await?;
        let statement = work.query(
            "DELETE FROM canaries WHERE release_digest IN (SELECT digest FROM releases WHERE name = $1
                 AND state = 'revoked')",
        );
        work.execute("end a canary", statement.bind(name.to_owned())).await?;
        // Of what can't be read, such as a platform of no possible name, no swap can be told: it is revoked too.
        let read = |row: &AnyRow| {
            Ok((row.parsed::<Digest>("digest")?, row.truth("active")?, row.parsed::<Platform>("platform")))
        };
        let read = work.unreadable.read("releases", "digest", Extent::Columns, &rows, read)?;
        let mut revoked = Vec::with_capacity(read.len());
        for (digest, is_active, platform) in read {
            if let (true, Ok(platform)) = (is_active, platform) {
                swap_add_in_txn(&mut work, &platform, None, Some(digest), SwapCause::Revoked, Some(reason), now)
                    .await?;
            }
            revoked.push(digest);
        }
        notify(&mut work, Topic::Releases).await?;
        work.commit().await?;
        Ok(revoked)
    }

    /// Narrows a connector's grants, of all its releases; `narrow` returns what is left of one, or none
    /// where nothing changes. Of a grant that can't be read nothing is left: it may have had what is taken back.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn grants_narrow(
        &self,
        name: &str,
        narrow: impl Fn(&Grant) -> Option<Grant>,
    ) -> Result<NarrowedGrants, StoreError> {
        let mut work = self.begin().await?;
        connector_platforms_lock_in_txn(&mut work, name).await?;
        let statement = work.query(
            "SELECT digest, manifest::text AS manifest, imports::text AS imports, granted::text AS granted FROM releases
             WHERE name = $1 AND state <> 'removed' ORDER BY digest FOR UPDATE",
        );
        let rows = work.rows("read grants", statement.bind(name.to_owned())).await?;
        let mut narrowed = NarrowedGrants::default();
        for row in &rows {
            let digest = row.told("digest")?;
            let left = match grant_of_row(row) {
                Ok(grant) => narrow(&grant),
                Err(StoreError::Unreadable { .. }) => {
                    narrowed.emptied.push(digest.clone());
                    Some(Grant::default())
                }
                Err(error) => return Err(error),
            };
            let Some(left) = left else { continue };
            let statement = work.query("UPDATE releases SET granted = $2::jsonb WHERE digest = $1");
            let statement = statement.bind(digest).bind(json("a grant", &left)?);
            narrowed.changed += work.execute("narrow a grant", statement).await?;
        }
        notify(&mut work, Topic::Releases).await?;
        work.commit().await?;
        Ok(narrowed)
    }
}

/// Locks the rows of the platforms a connector collects, as every swap does before it touches a release.
async fn connector_platforms_lock_in_txn(work: &mut Work, name: &str) -> Result<(), StoreError> {
    let statement = work.query(
        "SELECT platform FROM platforms WHERE platform IN (SELECT platform FROM releases WHERE name = $1)
             ORDER BY platform FOR UPDATE",
    );
    work.rows("lock a platform", statement.bind(name.to_owned())).await.map(drop)
}

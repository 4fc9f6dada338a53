//! What releases were granted, changed while they may be collecting: every batch reads its grant anew.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value as Json;
use sqlx::any::AnyRow;

use crate::database::dialect::{Columns as _, clean, json, unreadable};
use crate::database::notifications::notify;
use crate::releases::installed::record_swap;
use crate::{Store, StoreError, Topic, Work};
use backline_model::grant::GrantedHost;
use backline_model::{Digest, Grant, Manifest, Platform, SwapCause};

/// A grant as it was saved before slots, terms and imports were part of it: slots by name, and whatever else the manifest said.
#[derive(Deserialize)]
struct EarlyGrant {
    #[serde(default, rename = "host")]
    hosts: Vec<GrantedHost>,
    slots: Vec<String>,
    #[serde(default)]
    budgets: std::collections::BTreeMap<String, u64>,
}

/// Reads a row's grant. One of the early form means what it meant: the slots named, as the release's own manifest describes them.
pub(crate) fn grant_of(row: &AnyRow, manifest: &Manifest, imports: &[String]) -> Result<Grant, StoreError> {
    let stored: Json = row.json("granted")?;
    let wrong = |error: serde_json::Error| unreadable("granted", error.to_string());
    if stored.get("slots").is_none() {
        return serde_json::from_value(stored).map_err(wrong);
    }
    let early: EarlyGrant = serde_json::from_value(stored).map_err(wrong)?;
    let mut grant = Grant::all_of(manifest, imports).with_budgets(early.budgets);
    grant.slots.retain(|slot| early.slots.contains(&slot.slot));
    grant.hosts = early.hosts;
    Ok(grant)
}

impl Store {
    /// Grants a release what it may do from its next batch on, whatever was granted or taken back before. One that was rolled back stays so.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such release, or its component was removed.
    pub async fn grant_release(&self, digest: Digest, grant: &Grant) -> Result<(), StoreError> {
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

    /// Takes a connector's grants back, of all its releases: otherwise the next rollback would bring one of them back. One that was active
    /// is active no longer, its platform's batches wait, and it is wanted again as soon as it is granted. Answers whose grant was taken.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn revoke_releases(
        &self,
        name: &str,
        reason: &str,
        now: DateTime<Utc>,
    ) -> Result<Vec<Digest>, StoreError> {
        let mut work = self.begin().await?;
        lock_platforms(&mut work, name).await?;
        let statement = work.query(
            "SELECT digest, platform, active::int AS active FROM releases
             WHERE name = $1 AND state IN ('granted', 'withdrawn') ORDER BY digest FOR UPDATE",
        );
        let rows = work.rows("read what is granted", statement.bind(name.to_owned())).await?;
        let statement = work.query(
            "UPDATE releases SET state = 'revoked', state_reason = $2, wanted = active, active = FALSE, staged_until = NULL
             WHERE name = $1 AND state IN ('granted', 'withdrawn')",
        );
        work.execute("revoke grants", statement.bind(name.to_owned()).bind(clean(reason))).await?;
        let statement = work.query(
            "DELETE FROM canaries WHERE release_digest IN (SELECT digest FROM releases WHERE name = $1 AND state = 'revoked')",
        );
        work.execute("end a canary", statement.bind(name.to_owned())).await?;
        let mut revoked = Vec::with_capacity(rows.len());
        for row in &rows {
            let digest: Digest = row.parsed("digest")?;
            if row.truth("active")? {
                let platform: Platform = row.parsed("platform")?;
                record_swap(&mut work, &platform, None, Some(digest), SwapCause::Revoked, Some(reason), now).await?;
            }
            revoked.push(digest);
        }
        notify(&mut work, Topic::Releases).await?;
        work.commit().await?;
        Ok(revoked)
    }

    /// Takes a part of a connector's grants back, of all its releases; `narrow` answers with what is left of one, or with none where it
    /// has nothing to take. Answers how many grants were narrowed.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn narrow_grants(&self, name: &str, narrow: impl Fn(&Grant) -> Option<Grant>) -> Result<u64, StoreError> {
        let mut work = self.begin().await?;
        lock_platforms(&mut work, name).await?;
        let statement = work.query(
            "SELECT digest, manifest::text AS manifest, imports::text AS imports, granted::text AS granted FROM releases
             WHERE name = $1 AND state <> 'removed' ORDER BY digest FOR UPDATE",
        );
        let rows = work.rows("read grants", statement.bind(name.to_owned())).await?;
        let mut narrowed = 0;
        for row in &rows {
            let (manifest, imports): (Manifest, Vec<String>) = (row.json("manifest")?, row.json("imports")?);
            let Some(grant) = narrow(&grant_of(row, &manifest, &imports)?) else { continue };
            let statement = work.query("UPDATE releases SET granted = $2::jsonb WHERE digest = $1");
            let statement = statement.bind(row.text("digest")?).bind(json("a grant", &grant)?);
            narrowed += work.execute("narrow a grant", statement).await?;
        }
        notify(&mut work, Topic::Releases).await?;
        work.commit().await?;
        Ok(narrowed)
    }
}

/// Holds the rows of the platforms a connector collects, as every swap does before it touches a release.
async fn lock_platforms(work: &mut Work, name: &str) -> Result<(), StoreError> {
    let statement = work.query(
        "SELECT platform FROM platforms WHERE platform IN (SELECT platform FROM releases WHERE name = $1) ORDER BY platform FOR UPDATE",
    );
    work.rows("hold a platform", statement.bind(name.to_owned())).await.map(drop)
}

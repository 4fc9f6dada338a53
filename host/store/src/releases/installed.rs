//! Releases of connectors: their bytes, what was granted, which one is active, which hosts have loaded it, and what is
//! known of them.

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use serde_json::json;
use sqlx::any::AnyRow;

use crate::database::connection::{Store, Work};
use crate::database::dialect::{Columns as _, clean, json, time_text};
use crate::database::error::StoreError;
use crate::database::link::Link;
use crate::database::notifications::notify;
use crate::database::readable::Extent;
use crate::database::topic::Topic;
use crate::events::outbox::events_write_in_txn;
use crate::releases::stored_grant::{grant_of, grant_of_row};
use crate::scope::Scope;
use backline_model::clock::latest_believed;
use backline_model::event::types;
use backline_model::kill_points::{Point, point};
use backline_model::{Digest, Event, Grant, Manifest, Platform, Release, ReleaseState, SwapCause};

/// How long a lost metric is not asked for.
pub(crate) const LOST_FOR: TimeDelta = TimeDelta::days(7);

macro_rules! release_sql {
    ($which:literal) => {
        concat!(
            "SELECT digest, manifest::text AS manifest, wit_version, size_bytes, granted::text AS granted,
                 active::int AS active, ",
            "installed_at::text AS installed_at, imports::text AS imports, state, state_reason, wanted::int AS wanted,
                 source, signed_by ",
            "FROM releases ",
            $which
        )
    };
}

/// What a host reports of a release that it is to load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LoadReport {
    /// Name of the host.
    pub host: String,
    /// Why it could not be loaded; none where it was.
    pub problem: Option<String>,
}

/// A release that hosts are to have loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InUse {
    /// Digest of the release.
    pub digest: Digest,
    /// Platform that it collects.
    pub platform: Platform,
    /// Whether batches are collected with it already: it is active, or a canary.
    pub collects: bool,
    /// Until when an activation waits for every host to load it; none where none does.
    pub staged_until: Option<DateTime<Utc>>,
}

impl Store {
    /// Platforms that a connector was ever installed for, in order of name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn platforms_list(&self) -> Result<Vec<Platform>, StoreError> {
        let statement = self.query("SELECT platform FROM platforms UNION SELECT platform FROM releases");
        let rows = self.rows("list platforms", statement).await?;
        let named = |row: &AnyRow| row.parsed("platform");
        let mut platforms = self.unreadable.read("platforms", "platform", Extent::Whole, &rows, named)?;
        platforms.sort_unstable();
        Ok(platforms)
    }

    /// Whether a connector was ever installed for a platform, or an artist has an account on it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn platform_is_known(&self, platform: &Platform) -> Result<bool, StoreError> {
        let statement = self.query(
            "SELECT CASE WHEN EXISTS (SELECT 1 FROM platforms p WHERE p.platform = $1)
                 OR EXISTS (SELECT 1 FROM releases r WHERE r.platform = $1)
                 OR EXISTS (SELECT 1 FROM accounts a WHERE a.platform = $1) THEN 1 ELSE 0 END AS is_known",
        );
        let row = self.row("look for a platform", statement.bind(platform.as_str().to_owned())).await?;
        row.map_or(Ok(false), |row| row.truth("is_known"))
    }

    /// Saves a release with its component's bytes; one that is installed already gets the new grant, state and origin,
    /// and its bytes and manifest back where it was removed or can't be read. Whether it is active is not changed: see
    /// [`Store::release_activate`].
    ///
    /// # Errors
    /// When the database fails.
    pub async fn release_save(&self, release: &Release, component: &[u8]) -> Result<(), StoreError> {
        let mut work = self.begin().await?;
        let statement = work.query(
            "INSERT INTO releases (digest, name, platform, version, manifest, wit_version, component, size_bytes,
                 granted, active,
                 installed_at, imports, state, state_reason, wanted, source, signed_by)
             VALUES ($1, $2, $3, $4, $5::jsonb, $6, $7, $8, $9::jsonb, FALSE, $10::timestamptz, $11::jsonb, $12, $13,
                 $14, $15, $16)
             ON CONFLICT (digest) DO UPDATE SET granted = excluded.granted, state = excluded.state,
                 state_reason = excluded.state_reason,
                 wanted = excluded.wanted, source = excluded.source, signed_by = excluded.signed_by,
                 component = excluded.component, manifest = excluded.manifest, imports = excluded.imports",
        );
        let statement = statement
            .bind(release.digest.to_string())
            .bind(release.manifest.connector.name.clone())
            .bind(release.platform().as_str().to_owned())
            .bind(release.manifest.connector.version.to_string())
            .bind(json("a manifest", &release.manifest)?)
            .bind(release.wit_version.clone())
            .bind(component.to_vec())
            .bind(i64::try_from(component.len()).unwrap_or(i64::MAX))
            .bind(json("a grant", &release.grant)?)
            .bind(time_text(release.installed_at))
            .bind(json("imports", &release.imports)?)
            .bind(release.state.as_str())
            .bind(release.state_reason.as_deref().map(clean))
            .bind(release.wanted)
            .bind(clean(&release.source))
            .bind(release.signed_by.as_deref().map(clean));
        work.execute("save a release", statement).await?;
        notify(&mut work, Topic::Releases).await?;
        work.commit().await
    }

    /// Every release that can be read, the latest installed first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn releases_list(&self) -> Result<Vec<Release>, StoreError> {
        let statement = self.query(release_sql!("ORDER BY installed_at DESC, digest"));
        let rows = self.rows("list releases", statement).await?;
        self.unreadable.read("releases", "digest", Extent::Whole, &rows, release_of)
    }

    /// A release by its digest.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn release_get(&self, digest: Digest) -> Result<Option<Release>, StoreError> {
        let statement = self.query(release_sql!("WHERE digest = $1"));
        let row = self.row("read a release", statement.bind(digest.to_string())).await?;
        row.as_ref().map(release_of).transpose()
    }

    /// The platform's active release.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn active_release_get(&self, platform: &Platform) -> Result<Option<Release>, StoreError> {
        let statement = self.query(release_sql!("WHERE platform = $1 AND active"));
        let row = self.row("read the active release", statement.bind(platform.as_str().to_owned())).await?;
        row.as_ref().map(release_of).transpose()
    }

    /// A release's component; none where there is no such release, or its component was removed.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn component_get(&self, digest: Digest) -> Result<Option<Vec<u8>>, StoreError> {
        let statement = self.query("SELECT component FROM releases WHERE digest = $1 AND state <> 'removed'");
        let row = self.row("read a component", statement.bind(digest.to_string())).await?;
        row.map(|row| row.bytes("component")).transpose()
    }

    /// Where a release stands at this moment, and what it was granted; none where there is no such release.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn grant_get(&self, digest: Digest) -> Result<Option<(ReleaseState, Grant)>, StoreError> {
        let mut link = self.link("read a grant").await?;
        self.grant_on(&mut link, digest).await
    }

    pub(crate) async fn grant_on(
        &self,
        link: &mut Link,
        digest: Digest,
    ) -> Result<Option<(ReleaseState, Grant)>, StoreError> {
        // Asked for with each batch. Only a grant of the early form needs the manifest, which may be large.
        let statement = self.query(
            "SELECT state, granted::text AS granted, imports::text AS imports,
                 CASE WHEN granted->>'slots' IS NULL THEN NULL ELSE manifest::text END AS manifest
             FROM releases WHERE digest = $1",
        );
        let row = link.row("read a grant", statement.bind(digest.to_string())).await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some((row.named("state", ReleaseState::parse)?, grant_of_row(&row)?)))
    }

    /// Makes a release the one its platform is collected with: the swap is this one transaction. The platform is
    /// registered with it, a canary of the same release ends, and `connector.activated` is written.
    /// Returns the release that was active before, where another one was.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such release, [`StoreError::NotGranted`] when it may not be activated.
    pub async fn release_activate(
        &self,
        digest: Digest,
        cause: SwapCause,
        now: DateTime<Utc>,
    ) -> Result<Option<Digest>, StoreError> {
        let mut work = self.begin().await?;
        let (_, before) = release_activate_in_txn(&mut work, digest, cause, None, now).await?;
        point(Point::ActivationWritten);
        work.commit().await?;
        point(Point::ActivationCommitted);
        Ok(before)
    }

    /// Stages a release that is about to be activated, so that every host loads it and reports. Earlier reports are
    /// removed.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such release, [`StoreError::NotGranted`] when it may not be activated.
    pub async fn release_stage(&self, digest: Digest, until: DateTime<Utc>) -> Result<(), StoreError> {
        let mut work = self.begin().await?;
        release_lock_in_txn(&mut work, digest).await?;
        let statement = work.query("DELETE FROM release_hosts WHERE release_digest = $1");
        work.execute("remove load reports", statement.bind(digest.to_string())).await?;
        let statement = work.query("UPDATE releases SET staged_until = $2::timestamptz WHERE digest = $1");
        work.execute("stage a release", statement.bind(digest.to_string()).bind(time_text(until))).await?;
        notify(&mut work, Topic::Releases).await?;
        work.commit().await
    }

    /// Ends the staging of a release that [`Store::release_stage`] began with the same `until`. A later one, of another
    /// activation, goes on.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn release_unstage(&self, digest: Digest, until: DateTime<Utc>) -> Result<(), StoreError> {
        let statement =
            self.query("UPDATE releases SET staged_until = NULL WHERE digest = $1 AND staged_until = $2::timestamptz");
        self.write("unstage a release", statement.bind(digest.to_string()).bind(time_text(until))).await?;
        Ok(())
    }

    /// Grants a release again that was rolled back.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn release_regrant(&self, digest: Digest) -> Result<(), StoreError> {
        let statement = self.query(
            "UPDATE releases SET state = 'granted', state_reason = NULL WHERE digest = $1 AND state = 'withdrawn'",
        );
        self.write("allow a release again", statement.bind(digest.to_string())).await?;
        Ok(())
    }

    /// Releases that hosts are to have loaded: active ones, canaries, and those about to be activated.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn releases_in_use_list(&self, now: DateTime<Utc>) -> Result<Vec<InUse>, StoreError> {
        let statement = self.query(
            "SELECT r.digest, r.platform, CASE
                 WHEN r.staged_until > $1::timestamptz THEN r.staged_until::text END AS staged_until,
                 CASE WHEN r.active OR c.platform IS NOT NULL THEN 1 ELSE 0 END AS collects
             FROM releases r LEFT JOIN canaries c ON c.platform = r.platform AND c.release_digest = r.digest
             WHERE r.active OR c.platform IS NOT NULL OR r.staged_until > $1::timestamptz
             ORDER BY r.platform, r.digest",
        );
        let rows = self.rows("list releases in use", statement.bind(time_text(now))).await?;
        self.unreadable.read("releases in use", "digest", Extent::Whole, &rows, |row| {
            Ok(InUse {
                digest: row.parsed("digest")?,
                platform: row.parsed("platform")?,
                collects: row.truth("collects")?,
                staged_until: row.time_or_null("staged_until")?,
            })
        })
    }

    /// Records whether a host could load a release. A report that says the same as the one before, of a host that has
    /// not started since, keeps the time of that. One of a host that is not on record is left out, such as one that
    /// arrives after the host has stopped.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn load_report_save(
        &self,
        host: &str,
        digest: Digest,
        problem: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let statement = self.query(
            "INSERT INTO release_hosts (host, release_digest, state, message, at)
             SELECT n.name, $2, $3, $4, $5::timestamptz FROM hosts n WHERE n.name = $1
             ON CONFLICT (host, release_digest) DO UPDATE SET state = excluded.state, message = excluded.message,
                 at = CASE WHEN release_hosts.state = excluded.state AND release_hosts.at <= excluded.at
                         AND release_hosts.at >= (SELECT h.started_at FROM hosts h WHERE h.name = $1)
                     THEN release_hosts.at ELSE excluded.at END",
        );
        let statement = statement
            .bind(clean(host))
            .bind(digest.to_string())
            .bind(if problem.is_some() { "failed" } else { "loaded" })
            .bind(problem.map(clean))
            .bind(time_text(now));
        self.write("report how loading a release ended", statement).await?;
        Ok(())
    }

    /// Hosts' reports on a release, in the order of their names.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn load_reports_list(&self, digest: Digest) -> Result<Vec<LoadReport>, StoreError> {
        let statement =
            self.query("SELECT host, state, message FROM release_hosts WHERE release_digest = $1 ORDER BY host");
        let rows = self.rows("read load reports", statement.bind(digest.to_string())).await?;
        rows.iter()
            .map(|row| {
                let message = row.told_or_null("message")?;
                let problem = (row.told("state")? == "failed").then(|| message.unwrap_or_default());
                Ok(LoadReport { host: row.told("host")?, problem })
            })
            .collect()
    }

    /// Removes the component of a release. Its row stays, so that what it collected can be traced to it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such release, [`StoreError::ReleaseInUse`] when it is active, a canary
    /// or about to be.
    pub async fn release_remove(&self, digest: Digest, reason: &str, now: DateTime<Utc>) -> Result<(), StoreError> {
        let mut work = self.begin().await?;
        let statement = work.query(
            "SELECT CASE WHEN active OR staged_until > $2::timestamptz
                 OR EXISTS (SELECT 1 FROM canaries c WHERE c.release_digest = releases.digest) THEN 1 ELSE 0 END AS used
             FROM releases WHERE digest = $1 FOR UPDATE",
        );
        let statement = statement.bind(digest.to_string()).bind(time_text(now));
        let Some(row) = work.row("read a release", statement).await? else {
            return Err(StoreError::NotFound { what: "release", id: digest.to_string() });
        };
        if row.truth("used")? {
            return Err(StoreError::ReleaseInUse { digest });
        }
        let statement = work.query(
            "UPDATE releases SET state = 'removed', state_reason = $2, wanted = FALSE, component = $3
                 WHERE digest = $1",
        );
        let statement = statement.bind(digest.to_string()).bind(clean(reason)).bind(Vec::new());
        work.execute("remove a release", statement).await?;
        notify(&mut work, Topic::Releases).await?;
        work.commit().await
    }

    /// How many documents were fetched with a release.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn release_documents_count(&self, scope: &Scope, digest: Digest) -> Result<u64, StoreError> {
        let statement = self.scoped(
            scope,
            "SELECT COUNT(*)::bigint AS n FROM documents WHERE release_digest = $1 {and_artist: documents.artist_id}",
        );
        let row = self.row("count a release's documents", statement.bind(digest.to_string())).await?;
        row.map_or(Ok(0), |row| row.count("n"))
    }

    /// The digest of a compiled file, by component and engine.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn compiled_get(&self, key: &str) -> Result<Option<Digest>, StoreError> {
        let statement = self.query("SELECT digest FROM compiled WHERE key = $1");
        let row = self.row("read a compiled file's digest", statement.bind(key.to_owned())).await?;
        row.map(|row| row.parsed("digest")).transpose()
    }

    /// Remembers the digest of a compiled file.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn compiled_save(&self, key: &str, digest: Digest) -> Result<(), StoreError> {
        let statement = self.query(
            "INSERT INTO compiled (key, digest) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE
                 SET digest = excluded.digest",
        );
        self.write("save a compiled file's digest", statement.bind(key.to_owned()).bind(digest.to_string())).await?;
        Ok(())
    }

    /// Platform metrics that were refused by name under a release within the last week, in the order of their names.
    /// What was refused before that is asked for again: a platform may offer it once more. So is what a clock that was
    /// ahead wrote down.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn lost_metrics_list(&self, release: Digest, now: DateTime<Utc>) -> Result<Vec<String>, StoreError> {
        let mut link = self.link("read lost metrics").await?;
        self.lost_metrics_on(&mut link, release, now).await
    }

    pub(crate) async fn lost_metrics_on(
        &self,
        link: &mut Link,
        release: Digest,
        now: DateTime<Utc>,
    ) -> Result<Vec<String>, StoreError> {
        let statement = self.query(
            "SELECT name FROM lost_metrics WHERE release_digest = $1
                 AND first_seen > $2::timestamptz AND first_seen <= $3::timestamptz",
        );
        let statement = statement.bind(release.to_string()).bind(time_text(now - LOST_FOR));
        let statement = statement.bind(time_text(latest_believed(now)));
        let rows = link.rows("read lost metrics", statement).await?;
        // What is not UTF-8 is no metric's name.
        let mut names: Vec<_> = rows.iter().filter_map(|row| row.text("name").ok()).collect();
        names.sort();
        Ok(names)
    }
}

/// Reads a release that is to become active, and holds it until the end of the transaction.
pub(crate) async fn release_lock_in_txn(work: &mut Work, digest: Digest) -> Result<Release, StoreError> {
    let statement = work.query(release_sql!("WHERE digest = $1 FOR UPDATE"));
    let Some(row) = work.row("read a release", statement.bind(digest.to_string())).await? else {
        return Err(StoreError::NotFound { what: "release", id: digest.to_string() });
    };
    let release = release_of(&row)?;
    if release.state != ReleaseState::Granted {
        return Err(StoreError::NotGranted { digest, state: release.state });
    }
    Ok(release)
}

/// The swap itself: within the transaction this release becomes its platform's active one. Returns it, and the one
/// before, where that was another. The platform's row is locked before any release's, so that two swaps can't wait for
/// each other.
///
/// # Errors
/// When there is no such release, or it may not be activated.
pub(crate) async fn release_activate_in_txn(
    work: &mut Work,
    digest: Digest,
    cause: SwapCause,
    reason: Option<&str>,
    now: DateTime<Utc>,
) -> Result<(Release, Option<Digest>), StoreError> {
    let statement = work.query(release_sql!("WHERE digest = $1"));
    let Some(row) = work.row("read a release", statement.bind(digest.to_string())).await? else {
        return Err(StoreError::NotFound { what: "release", id: digest.to_string() });
    };
    register_platform(work, &release_of(&row)?, now).await?;
    let release = release_lock_in_txn(work, digest).await?;
    let (platform, info) = (release.platform().as_str().to_owned(), &release.manifest.connector);
    let statement = work.query("UPDATE releases SET staged_until = NULL, wanted = FALSE WHERE digest = $1");
    work.execute("unstage a release", statement.bind(release.digest.to_string())).await?;
    let statement = work.query("DELETE FROM canaries WHERE platform = $1 AND release_digest = $2");
    work.execute("end a canary", statement.bind(platform.clone()).bind(release.digest.to_string())).await?;
    let before = platform_deactivate_in_txn(work, release.platform()).await?;
    if before == Some(release.digest) {
        set_active(work, release.digest, None).await?;
        return Ok((release, None));
    }
    set_active(work, release.digest, Some(now)).await?;
    swap_add_in_txn(work, release.platform(), Some(release.digest), before, cause, reason, now).await?;
    let event = Event {
        id: uuid::Uuid::now_v7(),
        kind: types::CONNECTOR_ACTIVATED.to_owned(),
        artist_id: None,
        occurred_at: now,
        dedup_key: None,
        data: json!({
            "platform": release.platform(), "name": info.name, "version": info.version, "digest": release.digest,
            "before": before,
            "cause": cause,
        }),
    };
    events_write_in_txn(work, &[event]).await?;
    // Batches that waited for a release have one now.
    notify(work, Topic::Releases).await?;
    notify(work, Topic::Work).await?;
    Ok((release, before))
}

/// Records a platform, and holds its row: two hosts that swap at once meet there, so that exactly one release ends
/// up active.
async fn register_platform(work: &mut Work, release: &Release, now: DateTime<Utc>) -> Result<(), StoreError> {
    let info = &release.manifest.connector;
    let statement = work.query(
        "INSERT INTO platforms (platform, title, optional, registered_at, updated_at)
         VALUES ($1, $2, $3, $4::timestamptz, $4::timestamptz)
         ON CONFLICT (platform) DO UPDATE SET title = excluded.title, optional = excluded.optional,
             updated_at = excluded.updated_at",
    );
    let statement = statement.bind(info.platform.as_str().to_owned()).bind(info.title.clone());
    work.execute("register a platform", statement.bind(info.optional).bind(time_text(now))).await?;
    Ok(())
}

/// Leaves a platform without an active release; its batches end as excluded. Returns the one that was active. The
/// platform's row is the caller's to lock.
pub(crate) async fn platform_deactivate_in_txn(
    work: &mut Work,
    platform: &Platform,
) -> Result<Option<Digest>, StoreError> {
    let statement = work.query("SELECT digest FROM releases WHERE platform = $1 AND active");
    let before = work.row("read the active release", statement.bind(platform.as_str().to_owned())).await?;
    let before: Option<Digest> = before.map(|row| row.parsed("digest")).transpose()?;
    if before.is_some() {
        let statement = work.query("UPDATE releases SET active = FALSE WHERE platform = $1 AND active");
        work.execute("deactivate a release", statement.bind(platform.as_str().to_owned())).await?;
    }
    Ok(before)
}

async fn set_active(work: &mut Work, digest: Digest, since: Option<DateTime<Utc>>) -> Result<(), StoreError> {
    let statement = work.query(
        "UPDATE releases SET active = TRUE, activated_at = COALESCE($2::timestamptz, activated_at) WHERE digest = $1",
    );
    work.execute("activate a release", statement.bind(digest.to_string()).bind(since.map(time_text))).await?;
    Ok(())
}

/// Records a swap.
pub(crate) async fn swap_add_in_txn(
    work: &mut Work,
    platform: &Platform,
    release: Option<Digest>,
    before: Option<Digest>,
    cause: SwapCause,
    reason: Option<&str>,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let statement = work.query(
        "INSERT INTO release_activations (platform, release_digest, before, cause, reason, at)
         VALUES ($1, $2, $3, $4, $5, $6::timestamptz)",
    );
    let statement = statement
        .bind(platform.as_str().to_owned())
        .bind(release.map(|digest| digest.to_string()))
        .bind(before.map(|digest| digest.to_string()))
        .bind(cause.as_str())
        .bind(reason.map(clean))
        .bind(time_text(now));
    work.execute("record a swap", statement).await?;
    Ok(())
}

/// Reads a release out of a row of [`release_sql`].
pub(crate) fn release_of(row: &AnyRow) -> Result<Release, StoreError> {
    let (manifest, imports): (Manifest, Vec<String>) = (row.json("manifest")?, row.json("imports")?);
    Ok(Release {
        digest: row.parsed("digest")?,
        grant: grant_of(row, &manifest, &imports)?,
        manifest,
        wit_version: row.text("wit_version")?,
        imports,
        state: row.named("state", ReleaseState::parse)?,
        state_reason: row.text_or_null("state_reason")?,
        wanted: row.truth("wanted")?,
        active: row.truth("active")?,
        source: row.text("source")?,
        signed_by: row.text_or_null("signed_by")?,
        installed_at: row.time("installed_at")?,
        size_bytes: row.count("size_bytes")?,
    })
}

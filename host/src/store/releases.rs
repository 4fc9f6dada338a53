//! Releases of connectors: their bytes, what was granted, which one is active, and what is known of them.

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::any::AnyRow;

use super::dialect::{Columns as _, json, time_text};
use super::events::insert_events;
use super::{Store, StoreError};
use crate::domain::event::types;
use crate::domain::{Digest, Event, Platform, Release};

macro_rules! release_sql {
    ($which:literal) => {
        concat!(
            "SELECT digest, manifest::text AS manifest, wit_version, size_bytes, granted::text AS granted, active::int AS active, ",
            "installed_at::text AS installed_at FROM releases ",
            $which
        )
    };
}

impl Store {
    /// Saves a release with its component's bytes; one that is installed already gets the new grant. Whether it is active is not changed:
    /// see [`Store::activate`].
    ///
    /// # Errors
    /// When the database fails.
    pub async fn save_release(&self, release: &Release, component: &[u8]) -> Result<(), StoreError> {
        let statement = self.query(
            "INSERT INTO releases (digest, name, platform, version, manifest, wit_version, component, size_bytes, granted, active, installed_at)
             VALUES ($1, $2, $3, $4, $5::jsonb, $6, $7, $8, $9::jsonb, FALSE, $10::timestamptz)
             ON CONFLICT (digest) DO UPDATE SET granted = excluded.granted",
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
            .bind(time_text(release.installed_at));
        self.write("save a release", statement).await?;
        Ok(())
    }

    /// Every release, the latest installed first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_releases(&self) -> Result<Vec<Release>, StoreError> {
        let statement = self.query(release_sql!("ORDER BY installed_at DESC, digest"));
        self.rows("list releases", statement).await?.iter().map(release_of).collect()
    }

    /// One release.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn get_release(&self, digest: Digest) -> Result<Option<Release>, StoreError> {
        let statement = self.query(release_sql!("WHERE digest = $1"));
        let row = self.row("read a release", statement.bind(digest.to_string())).await?;
        row.as_ref().map(release_of).transpose()
    }

    /// The platform's active release.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn active_release(&self, platform: &Platform) -> Result<Option<Release>, StoreError> {
        let statement = self.query(release_sql!("WHERE platform = $1 AND active"));
        let row = self.row("read the active release", statement.bind(platform.as_str().to_owned())).await?;
        row.as_ref().map(release_of).transpose()
    }

    /// A release's component.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn component(&self, digest: Digest) -> Result<Option<Vec<u8>>, StoreError> {
        let statement = self.query("SELECT component FROM releases WHERE digest = $1");
        let row = self.row("read a component", statement.bind(digest.to_string())).await?;
        row.map(|row| row.bytes("component")).transpose()
    }

    /// Makes a release the one its platform is collected with: the swap is this one transaction. The platform is registered with it, and
    /// `connector.activated` is written. Answers the release that was active before, where another one was.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such release.
    pub async fn activate(&self, digest: Digest, now: DateTime<Utc>) -> Result<Option<Digest>, StoreError> {
        let mut work = self.begin().await?;
        let statement = work.query(release_sql!("WHERE digest = $1 FOR UPDATE"));
        let Some(row) = work.row("read a release", statement.bind(digest.to_string())).await? else {
            return Err(StoreError::NotFound { what: "release", id: digest.to_string() });
        };
        let release = release_of(&row)?;
        let platform = release.platform().as_str().to_owned();
        let info = &release.manifest.connector;

        let statement = work.query(
            "INSERT INTO platforms (platform, title, optional, registered_at, updated_at)
             VALUES ($1, $2, $3, $4::timestamptz, $4::timestamptz)
             ON CONFLICT (platform) DO UPDATE SET title = excluded.title, optional = excluded.optional, updated_at = excluded.updated_at",
        );
        let statement =
            statement.bind(platform.clone()).bind(info.title.clone()).bind(info.optional).bind(time_text(now));
        // Two hosts that activate at once meet at this row, so that exactly one release ends up active.
        work.execute("register a platform", statement).await?;

        let statement = work.query("SELECT digest FROM releases WHERE platform = $1 AND active");
        let before = work.row("read the active release", statement.bind(platform.clone())).await?;
        let before: Option<Digest> = before.map(|row| row.parsed("digest")).transpose()?;
        if before == Some(digest) {
            work.commit().await?;
            return Ok(None);
        }
        let statement = work.query("UPDATE releases SET active = FALSE WHERE platform = $1 AND active");
        work.execute("deactivate a release", statement.bind(platform)).await?;
        let statement =
            work.query("UPDATE releases SET active = TRUE, activated_at = $2::timestamptz WHERE digest = $1");
        work.execute("activate a release", statement.bind(digest.to_string()).bind(time_text(now))).await?;
        let event = Event {
            id: uuid::Uuid::now_v7(),
            kind: types::CONNECTOR_ACTIVATED.to_owned(),
            artist_id: None,
            occurred_at: now,
            dedup_key: None,
            data: json!({
                "platform": release.platform(), "name": info.name, "version": info.version, "digest": digest, "before": before,
            }),
        };
        insert_events(&mut work, &[event]).await?;
        work.commit().await?;
        Ok(before)
    }

    /// The digest of a compiled file, by component and engine.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn compiled(&self, key: &str) -> Result<Option<Digest>, StoreError> {
        let statement = self.query("SELECT digest FROM compiled WHERE key = $1");
        let row = self.row("read a compiled file's digest", statement.bind(key.to_owned())).await?;
        row.map(|row| row.parsed("digest")).transpose()
    }

    /// Remembers the digest of a compiled file.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn save_compiled(&self, key: &str, digest: Digest) -> Result<(), StoreError> {
        let statement =
            self.query("INSERT INTO compiled (key, digest) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET digest = excluded.digest");
        self.write("save a compiled file's digest", statement.bind(key.to_owned()).bind(digest.to_string())).await?;
        Ok(())
    }

    /// Platform metrics that were refused by name under a release, in the order of their names.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn lost_metrics(&self, release: Digest) -> Result<Vec<String>, StoreError> {
        let statement = self.query("SELECT name FROM lost_metrics WHERE release_digest = $1");
        let rows = self.rows("read lost metrics", statement.bind(release.to_string())).await?;
        let mut names = rows.iter().map(|row| row.text("name")).collect::<Result<Vec<_>, _>>()?;
        names.sort();
        Ok(names)
    }
}

fn release_of(row: &AnyRow) -> Result<Release, StoreError> {
    Ok(Release {
        digest: row.parsed("digest")?,
        manifest: row.json("manifest")?,
        wit_version: row.text("wit_version")?,
        grant: row.json("granted")?,
        active: row.truth("active")?,
        installed_at: row.time("installed_at")?,
        size_bytes: row.count("size_bytes")?,
    })
}

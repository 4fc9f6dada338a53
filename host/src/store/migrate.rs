//! The schema's versions: bringing a database up to date, and refusing one that is older or newer than this binary.

use std::borrow::Cow;

use sqlx::SqlSafeStr as _;
use sqlx::migrate::{Migration, MigrationType, Migrator};

use super::dialect::{Columns as _, DatabaseKind};
use super::{Store, StoreError};

/// Version, name, and the text for SQLite and for PostgreSQL.
const MIGRATIONS: [(i64, &str, &str, &str); 3] = [
    (
        1,
        "first",
        include_str!("../../../migrations/sqlite/0001_first.sql"),
        include_str!("../../../migrations/postgres/0001_first.sql"),
    ),
    (
        2,
        "service",
        include_str!("../../../migrations/sqlite/0002_service.sql"),
        include_str!("../../../migrations/postgres/0002_service.sql"),
    ),
    (
        3,
        "releases",
        include_str!("../../../migrations/sqlite/0003_releases.sql"),
        include_str!("../../../migrations/postgres/0003_releases.sql"),
    ),
];

/// The version this binary needs.
const VERSION: i64 = MIGRATIONS[MIGRATIONS.len() - 1].0;

/// What a migration did.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct MigrationReport {
    /// Names of the migrations applied now, in order; empty where the database was up to date.
    pub applied: Vec<String>,
    /// The schema's version afterwards.
    pub version: i64,
}

impl Store {
    /// Brings the schema up to date. Harmless when it is already, and when several hosts do it at once.
    ///
    /// # Errors
    /// When the schema is newer than this binary (nothing is changed), or a migration fails (it is undone).
    pub async fn migrate(&self) -> Result<MigrationReport, StoreError> {
        let found = self.schema_version().await?;
        if found > VERSION {
            return Err(StoreError::NewerSchema { found, known: VERSION });
        }
        let _writer = self.writer().await;
        migrator(self.kind()).run(&self.pool).await.map_err(|source| StoreError::Migration { source })?;
        let applied = MIGRATIONS
            .iter()
            .filter(|(version, ..)| *version > found)
            .map(|(version, name, ..)| format!("{version:04}_{name}"))
            .collect();
        Ok(MigrationReport { applied, version: VERSION })
    }

    /// Checks that the schema is the one this binary was made for.
    ///
    /// # Errors
    /// [`StoreError::NotMigrated`] or [`StoreError::NewerSchema`] when it is not.
    pub async fn check_schema(&self) -> Result<(), StoreError> {
        match self.schema_version().await? {
            VERSION => Ok(()),
            found if found > VERSION => Err(StoreError::NewerSchema { found, known: VERSION }),
            found => Err(StoreError::NotMigrated { found, needed: VERSION }),
        }
    }

    /// The schema's version; 0 where nothing was ever migrated.
    async fn schema_version(&self) -> Result<i64, StoreError> {
        let exists = match self.kind() {
            DatabaseKind::Sqlite => {
                "SELECT COUNT(*) AS n FROM sqlite_master WHERE type = 'table' AND name = '_sqlx_migrations'"
            }
            DatabaseKind::Postgres => "SELECT COUNT(to_regclass('_sqlx_migrations')) AS n",
        };
        let found = self.row("look for the schema", self.query(exists)).await?;
        if found.map(|row| row.int("n")).transpose()?.unwrap_or(0) == 0 {
            return Ok(0);
        }
        let latest = "SELECT COALESCE(MAX(version), 0)::bigint AS n FROM _sqlx_migrations WHERE success";
        let row = self.row("read the schema's version", self.query(latest)).await?;
        Ok(row.map(|row| row.int("n")).transpose()?.unwrap_or(0))
    }
}

fn migrator(kind: DatabaseKind) -> Migrator {
    let migrations = MIGRATIONS
        .iter()
        .map(|(version, name, sqlite, postgres)| {
            let text = match kind {
                DatabaseKind::Sqlite => *sqlite,
                DatabaseKind::Postgres => *postgres,
            };
            Migration::new(*version, Cow::Borrowed(*name), MigrationType::Simple, text.into_sql_str(), false)
        })
        .collect();
    Migrator::with_migrations(migrations)
}

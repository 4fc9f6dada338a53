//! The schema's versions: bringing a database up to date, and refusing one that is older or newer than this binary.

use std::borrow::Cow;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AnyConnection, Executor as _, SqlSafeStr as _};

use crate::database::connection::Store;
use crate::database::dialect::{Columns as _, DatabaseKind};
use crate::database::error::{During as _, StoreError};
use crate::database::limits::{self, MIGRATION_MAX, answer_within};

/// Version, name, and the text for SQLite and for PostgreSQL.
const MIGRATIONS: [(i64, &str, &str, &str); 23] = [
    (
        1,
        "first",
        include_str!("../../../../migrations/sqlite/0001_first.sql"),
        include_str!("../../../../migrations/postgres/0001_first.sql"),
    ),
    (
        2,
        "service",
        include_str!("../../../../migrations/sqlite/0002_service.sql"),
        include_str!("../../../../migrations/postgres/0002_service.sql"),
    ),
    (
        3,
        "releases",
        include_str!("../../../../migrations/sqlite/0003_releases.sql"),
        include_str!("../../../../migrations/postgres/0003_releases.sql"),
    ),
    (
        4,
        "layout",
        include_str!("../../../../migrations/sqlite/0004_layout.sql"),
        include_str!("../../../../migrations/postgres/0004_layout.sql"),
    ),
    (
        5,
        "deliveries",
        include_str!("../../../../migrations/sqlite/0005_deliveries.sql"),
        include_str!("../../../../migrations/postgres/0005_deliveries.sql"),
    ),
    (
        6,
        "health",
        include_str!("../../../../migrations/sqlite/0006_health.sql"),
        include_str!("../../../../migrations/postgres/0006_health.sql"),
    ),
    (
        7,
        "archive",
        include_str!("../../../../migrations/sqlite/0007_archive.sql"),
        include_str!("../../../../migrations/postgres/0007_archive.sql"),
    ),
    (
        8,
        "privacy",
        include_str!("../../../../migrations/sqlite/0008_privacy.sql"),
        include_str!("../../../../migrations/postgres/0008_privacy.sql"),
    ),
    (
        9,
        "reading",
        include_str!("../../../../migrations/sqlite/0009_reading.sql"),
        include_str!("../../../../migrations/postgres/0009_reading.sql"),
    ),
    (
        10,
        "linear",
        include_str!("../../../../migrations/sqlite/0010_linear.sql"),
        include_str!("../../../../migrations/postgres/0010_linear.sql"),
    ),
    (
        11,
        "order",
        include_str!("../../../../migrations/sqlite/0011_order.sql"),
        include_str!("../../../../migrations/postgres/0011_order.sql"),
    ),
    (
        12,
        "lean",
        include_str!("../../../../migrations/sqlite/0012_lean.sql"),
        include_str!("../../../../migrations/postgres/0012_lean.sql"),
    ),
    (
        13,
        "compact",
        include_str!("../../../../migrations/sqlite/0013_compact.sql"),
        include_str!("../../../../migrations/postgres/0013_compact.sql"),
    ),
    (
        14,
        "allowances",
        include_str!("../../../../migrations/sqlite/0014_allowances.sql"),
        include_str!("../../../../migrations/postgres/0014_allowances.sql"),
    ),
    (
        15,
        "installation",
        include_str!("../../../../migrations/sqlite/0015_installation.sql"),
        include_str!("../../../../migrations/postgres/0015_installation.sql"),
    ),
    (
        16,
        "access",
        include_str!("../../../../migrations/sqlite/0016_access.sql"),
        include_str!("../../../../migrations/postgres/0016_access.sql"),
    ),
    (
        17,
        "logs",
        include_str!("../../../../migrations/sqlite/0017_logs.sql"),
        include_str!("../../../../migrations/postgres/0017_logs.sql"),
    ),
    (
        18,
        "answers",
        include_str!("../../../../migrations/sqlite/0018_answers.sql"),
        include_str!("../../../../migrations/postgres/0018_answers.sql"),
    ),
    (
        19,
        "alerts",
        include_str!("../../../../migrations/sqlite/0019_alerts.sql"),
        include_str!("../../../../migrations/postgres/0019_alerts.sql"),
    ),
    (
        20,
        "acts",
        include_str!("../../../../migrations/sqlite/0020_acts.sql"),
        include_str!("../../../../migrations/postgres/0020_acts.sql"),
    ),
    (
        21,
        "digests",
        include_str!("../../../../migrations/sqlite/0021_digests.sql"),
        include_str!("../../../../migrations/postgres/0021_digests.sql"),
    ),
    (
        22,
        "artists",
        include_str!("../../../../migrations/sqlite/0022_artists.sql"),
        include_str!("../../../../migrations/postgres/0022_artists.sql"),
    ),
    (
        23,
        "numbers",
        include_str!("../../../../migrations/sqlite/0023_numbers.sql"),
        include_str!("../../../../migrations/postgres/0023_numbers.sql"),
    ),
];

/// Makes the schema of Backline's own tables, and moves the list of migrations there where an older
/// version put it elsewhere. Hosts that do so at once wait for each other.
const SCHEMA: &str = "DO $$
BEGIN
    PERFORM pg_advisory_xact_lock(7135240011896);
    IF to_regnamespace('backline') IS NULL THEN
        CREATE SCHEMA backline;
    END IF;
    IF to_regclass('public._sqlx_migrations') IS NOT NULL AND to_regclass('public.batch_accounts') IS NOT NULL
        AND to_regclass('backline._sqlx_migrations') IS NULL
    THEN
        ALTER TABLE public._sqlx_migrations SET SCHEMA backline;
    END IF;
END
$$";

/// The version this binary needs.
const VERSION: i64 = MIGRATIONS[MIGRATIONS.len() - 1].0;

/// What a migration did.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct MigrationReport {
    /// Names of the migrations applied now, in order; empty where the database was up to date.
    pub applied: Vec<String>,
    /// The schema's version afterwards.
    pub version: i64,
    /// A statement that the owner of the publication `supabase_realtime` has yet to run: Backline's role may not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_to_owner: Option<String>,
}

impl Store {
    /// Refuses a database whose encoding lacks characters. SQLite's is always UTF-8 or UTF-16.
    async fn encoding_require(&self) -> Result<(), StoreError> {
        if self.kind() == DatabaseKind::Sqlite {
            return Ok(());
        }
        let statement = self.query("SELECT current_setting('server_encoding') AS encoding");
        let row = self.row("read the database's encoding", statement).await?;
        let found = row.map(|row| row.text("encoding")).transpose()?.unwrap_or_default();
        if found == "UTF8" { Ok(()) } else { Err(StoreError::Encoding { found }) }
    }

    /// Brings the schema up to date. Calling it again, or on several hosts at once, is harmless.
    ///
    /// # Errors
    /// When the schema is newer than this binary (nothing is changed), or a migration fails (it is rolled back; of one
    /// that is made in steps, those that were done stay, and the next try does them again).
    pub async fn migrate(&self) -> Result<MigrationReport, StoreError> {
        let found = self.schema_version().await?;
        if found > VERSION {
            return Err(StoreError::NewerSchema { found, known: VERSION });
        }
        self.encoding_require().await?;
        let _writer = self.writer().await?;
        let mut connection = self.pool.acquire().await.during("begin a migration")?;
        let migrated = self.migrate_on(&mut connection).await;
        // Its settings are not those of the others.
        let closed = limits::within(self.limits.connect, connection.close()).await;
        migrated?;
        closed.during("end a migration")?;
        if self.kind() == DatabaseKind::Postgres {
            let statement = self.query("SELECT 1 AS one FROM backline.grant_roles()");
            self.row("grant roles what they may read", statement).await?;
        }
        let applied = MIGRATIONS
            .iter()
            .filter(|(version, ..)| *version > found)
            .map(|(version, name, ..)| format!("{version:04}_{name}"))
            .collect();
        Ok(MigrationReport { applied, version: VERSION, left_to_owner: self.publication_statement().await? })
    }

    /// Applies what is missing. The connection is not to be used afterwards.
    async fn migrate_on(&self, connection: &mut AnyConnection) -> Result<(), StoreError> {
        if self.kind() == DatabaseKind::Postgres {
            // Moving a large table takes its time, and a host waits for another one that migrates.
            let unbounded = connection.execute("SET statement_timeout = 0; SET lock_timeout = 0");
            answer_within(self.limits.statement, "prepare a migration", unbounded).await?;
            let schema = self.query(SCHEMA).into_query().execute(&mut *connection);
            answer_within(MIGRATION_MAX, "make Backline's schema", schema).await?;
        }
        let migrator = migrator(self.kind());
        let run = async { migrator.run(&mut *connection).await.map_err(|source| StoreError::Migration { source }) };
        StoreError::in_time(MIGRATION_MAX, "migrate", run).await
    }

    /// What adds the table `metrics` to Supabase's stream of changes, where that exists and it is not in it.
    async fn publication_statement(&self) -> Result<Option<String>, StoreError> {
        if self.kind() == DatabaseKind::Sqlite {
            return Ok(None);
        }
        let statement = self.query(
            "SELECT format('ALTER PUBLICATION supabase_realtime ADD TABLE %I.%I; '
                 'ALTER PUBLICATION supabase_realtime SET (publish_via_partition_root = true);',
                 n.nspname, c.relname) AS statement
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE c.oid = to_regclass('metrics')
                 AND EXISTS (SELECT 1 FROM pg_publication WHERE pubname = 'supabase_realtime' AND NOT puballtables)
                 AND NOT EXISTS (SELECT 1 FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
                     WHERE p.pubname = 'supabase_realtime' AND r.prrelid = c.oid)",
        );
        let row = self.row("look for a publication", statement).await?;
        row.map(|row| row.text("statement")).transpose()
    }

    /// Checks that the schema is the one this binary was made for.
    ///
    /// # Errors
    /// [`StoreError::NotMigrated`] or [`StoreError::NewerSchema`] when it is not.
    pub async fn schema_check(&self) -> Result<(), StoreError> {
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
            // The platform's own code may keep such a list in `public` too.
            DatabaseKind::Postgres => {
                "SELECT COUNT(COALESCE(to_regclass('backline._sqlx_migrations'),
                     CASE WHEN to_regclass('public.batch_accounts') IS NOT NULL
                         THEN to_regclass('public._sqlx_migrations') END)) AS n"
            }
        };
        let found = self.row("find the schema", self.query(exists)).await?;
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

//! Tests of opening and migrating databases, and that both kinds have the same tables.

use std::collections::BTreeSet;

use backline_store::{DatabaseKind, Store, StoreError, StoreOptions};
use sqlx::any::AnyPoolOptions;
use sqlx::{AnyPool, Row as _};

use crate::support::database::{each_database, each_empty_database};

pub async fn raw(url: &str) -> AnyPool {
    sqlx::any::install_default_drivers();
    AnyPoolOptions::new().max_connections(1).connect(url).await.unwrap()
}

#[tokio::test]
async fn migrating_twice_is_harmless_and_a_newer_schema_is_refused() {
    each_empty_database(async |url| {
        let store = Store::open(url, StoreOptions::default()).await.unwrap();
        let error = store.schema_check().await.unwrap_err();
        assert!(matches!(error, StoreError::NotMigrated { found: 0, .. }), "{error}");
        assert!(error.to_string().contains("backline migrate"), "{error}");

        let first = store.migrate().await.unwrap();
        assert_eq!(
            first.applied,
            [
                "0001_first",
                "0002_service",
                "0003_releases",
                "0004_layout",
                "0005_deliveries",
                "0006_health",
                "0007_archive",
                "0008_privacy",
                "0009_reading",
                "0010_linear",
                "0011_order",
                "0012_lean",
                "0013_compact",
                "0014_allowances",
                "0015_installation",
                "0016_access",
                "0017_logs",
                "0018_answers",
                "0019_alerts",
                "0020_acts",
                "0021_digests",
                "0022_artists",
                "0023_numbers"
            ]
        );
        store.schema_check().await.unwrap();
        let second = store.migrate().await.unwrap();
        assert!(second.applied.is_empty());
        assert_eq!(second.version, first.version);

        let pool = raw(url).await;
        let future = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                      SELECT 999, 'future', success, checksum, 0 FROM _sqlx_migrations WHERE version = 1";
        sqlx::query(future).execute(&pool).await.unwrap();
        for error in [store.schema_check().await.unwrap_err(), store.migrate().await.unwrap_err()] {
            assert!(matches!(error, StoreError::NewerSchema { found: 999, .. }), "{error}");
        }
        pool.close().await;
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn hosts_can_migrate_at_the_same_time() {
    each_empty_database(async |url| {
        let open = || async {
            let store = Store::open(url, StoreOptions::default()).await?;
            store.migrate().await?;
            store.schema_check().await
        };
        // SQLite has no lock for migrations, so the hosts migrate one after the other.
        if url.starts_with("sqlite") {
            open().await.unwrap();
            open().await.unwrap();
        } else {
            let (one, other) = tokio::join!(open(), open());
            one.unwrap();
            other.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn both_kinds_have_the_same_tables_and_columns() {
    let found: std::cell::RefCell<Vec<BTreeSet<String>>> = std::cell::RefCell::default();
    each_database(async |store, url| {
        let pool = raw(url).await;
        let columns = match store.kind() {
            DatabaseKind::Sqlite => {
                "SELECT t.name AS table_name, c.name AS column_name,
                     CASE WHEN c.\"notnull\" = 1 OR c.pk > 0 THEN 1 ELSE 0 END AS required
                 FROM sqlite_master t JOIN pragma_table_info(t.name) c WHERE t.type = 'table'"
            }
            DatabaseKind::Postgres => {
                "SELECT c.table_name::text AS table_name, c.column_name::text AS column_name,
                     CASE WHEN c.is_nullable = 'NO' THEN 1 ELSE 0 END AS required
                 FROM information_schema.columns c JOIN information_schema.tables t USING (table_schema, table_name)
                 WHERE c.table_schema IN ('public', 'backline') AND t.table_type = 'BASE TABLE'
                     -- The months of a table are not tables of their own.
                     AND NOT (SELECT relispartition FROM pg_class
                         WHERE oid = format('%I.%I', c.table_schema, c.table_name)::regclass)"
            }
        };
        let mut columns: BTreeSet<String> = sqlx::query(columns)
            .fetch_all(&pool)
            .await
            .unwrap()
            .iter()
            .map(|row| {
                let required: i64 = row.get("required");
                format!("{}.{} {required}", row.get::<String, _>("table_name"), row.get::<String, _>("column_name"))
            })
            .filter(|column| !column.starts_with("_sqlx") && !column.starts_with("sqlite_"))
            .collect();
        let view = sqlx::query("SELECT * FROM (SELECT 1 AS one) s LEFT JOIN data_collection_logs l ON 1 = 0");
        let view: sqlx::any::AnyRow = match store.kind() {
            DatabaseKind::Sqlite => view.fetch_one(&pool).await.unwrap(),
            // The Any driver can't return the view's PostgreSQL types, so its columns are read from the catalogue.
            DatabaseKind::Postgres => sqlx::query(
                "SELECT string_agg(column_name, ',' ORDER BY ordinal_position) AS names FROM information_schema.columns
                 WHERE table_name = 'data_collection_logs'",
            )
            .fetch_one(&pool)
            .await
            .unwrap(),
        };
        let names = match store.kind() {
            DatabaseKind::Sqlite => {
                use sqlx::Column as _;
                view.columns().iter().skip(1).map(|column| column.name().to_owned()).collect::<Vec<_>>().join(",")
            }
            DatabaseKind::Postgres => view.get::<String, _>("names"),
        };
        columns.insert(format!("data_collection_logs: {names}"));
        assert!(columns.contains("metrics.followers 0"), "{columns:?}");
        found.borrow_mut().push(columns);
        pool.close().await;
    })
    .await;
    let found = found.into_inner();
    let only: Vec<_> = found[0].symmetric_difference(&found[1]).collect();
    assert!(only.is_empty(), "only one kind has {only:?}");
}

#[tokio::test]
async fn a_database_that_cannot_be_opened_is_named_without_its_password() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("postgres://operator:canary-password@127.0.0.1:{closed}/backline");
    let error = Store::open(&url, StoreOptions::default()).await.unwrap_err();
    let mut said = error.to_string();
    assert!(said.contains(&format!("127.0.0.1:{closed}/backline")), "{said}");
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        said.push_str(&format!(" / {cause} / {cause:?}"));
        source = cause.source();
    }
    assert!(!said.contains("canary-password") && !format!("{error:?}").contains("canary-password"), "{said}");

    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("no-such-folder").join("backline.db");
    let error = Store::open(missing.to_str().unwrap(), StoreOptions::default()).await.unwrap_err();
    assert!(matches!(error, StoreError::File { .. }), "{error}");
    assert!(error.to_string().contains("no-such-folder"), "{error}");
}

#[tokio::test]
async fn a_file_with_an_unusual_name_is_opened_under_that_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("50% of #1?.db");
    let store = Store::open(path.to_str().unwrap(), StoreOptions::default()).await.unwrap();
    store.migrate().await.unwrap();
    store.close().await;
    assert!(path.is_file(), "{:?}", std::fs::read_dir(folder.path()).unwrap().collect::<Vec<_>>());
}

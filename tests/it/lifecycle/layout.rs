//! Tests of the layout of PostgreSQL's tables, and of who may read them.

use std::borrow::Cow;

use backline_simulator::SimulatorConfig;
use backline_store::{DatabaseKind, MetricsFilter, Scope, Store, StoreOptions};
use chrono::NaiveDate;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _, SqlSafeStr as _};

use crate::support::database::{each_database, each_empty_database};
use crate::support::stage::Stage;
use crate::support::tables::number;

/// The migrations of an older Backline.
const BEFORE: [(i64, &str, &str); 3] = [
    (1, "first", include_str!("../../../migrations/postgres/0001_first.sql")),
    (2, "service", include_str!("../../../migrations/postgres/0002_service.sql")),
    (3, "releases", include_str!("../../../migrations/postgres/0003_releases.sql")),
];

/// Sets up a server like Supabase: its roles, grants on everything in `public` to all of them, and its publication.
const SUPABASE: &str = "
    DO $$
    DECLARE
        name TEXT;
    BEGIN
        FOREACH name IN ARRAY ARRAY['anon', 'authenticated', 'service_role'] LOOP
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', name);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL;
            END;
        END LOOP;
    END
    $$;
    GRANT USAGE ON SCHEMA public TO anon, authenticated, service_role;
    ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON TABLES TO anon, authenticated, service_role;
    ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON SEQUENCES TO anon, authenticated, service_role;
    CREATE PUBLICATION supabase_realtime";

/// A connection with the default search path.
async fn plain(url: &str) -> PgConnection {
    let mut database = PgConnection::connect(url).await.unwrap();
    database.execute("SET search_path = \"$user\", public").await.unwrap();
    database
}

fn date() -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 3, 20).unwrap()
}

async fn collected(url: &str) -> Stage {
    let simulator = SimulatorConfig { artists: 3, date: date(), ..SimulatorConfig::default() };
    let stage = Stage::set(url, simulator, |_| {}).await;
    let report = stage.run(date()).await;
    assert_eq!((report.run.counts.collected, report.run.counts.failed), (15, 0), "{report:?}");
    stage
}

/// Number of rows that a role sees in a table; `None` without permission.
async fn seen(database: &mut PgConnection, role: &str, table: &str) -> Option<i64> {
    let mut look = database.begin().await.unwrap();
    look.execute(AssertSqlSafe(format!("SET LOCAL ROLE {role}"))).await.unwrap();
    let rows = sqlx::query(AssertSqlSafe(format!("SELECT COUNT(*) FROM {table}"))).fetch_one(&mut *look).await;
    look.rollback().await.unwrap();
    match rows {
        Ok(row) => Some(row.get(0)),
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42501") => None,
        Err(error) => panic!("{table} as {role}: {error}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_role_reads_only_the_rows_it_may() {
    each_empty_database(async |url| {
        if url.starts_with("sqlite") {
            return;
        }
        let mut database = plain(url).await;
        database.execute(SUPABASE).await.unwrap();
        let stage = collected(url).await;

        let tables: Vec<String> = sqlx::query_scalar(
            "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE c.relkind IN ('r', 'p', 'v', 'm') AND n.nspname NOT LIKE 'pg\\_%'
                 AND n.nspname <> 'information_schema' ORDER BY 1",
        )
        .fetch_all(&mut database)
        .await
        .unwrap();
        for expected in ["public.metrics", "public.artists", "backline.credentials", "backline.metrics_2026_03"] {
            assert!(tables.iter().any(|table| table == expected), "{expected} is missing from {tables:?}");
        }
        for table in &tables {
            assert!(matches!(seen(&mut database, "anon", table).await, None | Some(0)), "anon reads {table}");
        }

        let artist = stage.simulator.world().artist(0).id;
        for (role, artists, metrics) in [("authenticated", 0, 0), ("service_role", 3, 15)] {
            assert_eq!(seen(&mut database, role, "public.artists").await, Some(artists), "{role}");
            assert_eq!(seen(&mut database, role, "public.metrics").await, Some(metrics), "{role}");
        }
        let claims = format!("SET request.jwt.claims = '{{\"sub\": \"{artist}\", \"role\": \"authenticated\"}}'");
        database.execute(AssertSqlSafe(claims)).await.unwrap();
        let visible = [("artists", 1), ("metrics", 5), ("growth", 5), ("metrics_all", 5), ("metrics_archive", 0)];
        for (table, rows) in visible {
            let table = format!("public.{table}");
            assert_eq!(seen(&mut database, "authenticated", &table).await, Some(rows), "{table}");
        }
        for role in ["authenticated", "service_role"] {
            assert_eq!(seen(&mut database, role, "backline.credentials").await, None, "{role}");
            assert_eq!(seen(&mut database, role, "backline.metrics_2026_03").await, None, "{role}");
        }
        assert_eq!(seen(&mut database, "service_role", "public.data_collection_logs").await, Some(3));

        // Published tables can still be updated, which needs a primary key.
        let published = "SELECT COUNT(*) FROM pg_publication_tables
            WHERE pubname = 'supabase_realtime' AND schemaname = 'public' AND tablename = 'metrics'";
        assert_eq!(number(&mut database, published).await, 1);
        let again = stage.run(date()).await;
        assert_eq!((again.run.counts.collected, again.run.counts.failed), (15, 0), "{again:?}");
        database.execute("GRANT UPDATE ON public.artists TO authenticated").await.unwrap();
        let report = stage.host.store().migrate().await.unwrap();
        assert_eq!(number(&mut database, published).await, 1, "migrating again adds it once");
        assert_eq!(report.left_to_owner, None);
        let kept = "SELECT has_table_privilege('authenticated', 'public.artists', 'UPDATE')::int::bigint";
        assert_eq!(number(&mut database, kept).await, 1, "grants that the operator adds later stay");
        database.execute("DROP POLICY backline_authenticated ON public.artists").await.unwrap();
        stage.host.store().migrate().await.unwrap();
        let policies = "SELECT COUNT(*) FROM pg_policy WHERE polname = 'backline_authenticated'";
        assert_eq!(number(&mut database, policies).await, 2, "and so do policies that the operator removes");

        // A month that was archived as a whole stays private too.
        for step in ["archive_month_state", "archive_month_check"] {
            assert_eq!(number(&mut database, &format!("SELECT backline.{step}('2026-03-01')::int::bigint")).await, 1);
        }
        assert_eq!(number(&mut database, "SELECT backline.archive_month('2026-03-01')").await, 15);
        for (table, rows) in [("metrics", 0), ("metrics_archive", 5), ("metrics_all", 5)] {
            let table = format!("public.{table}");
            assert_eq!(seen(&mut database, "authenticated", &table).await, Some(rows), "{table}");
            assert!(matches!(seen(&mut database, "anon", &table).await, None | Some(0)), "anon reads {table}");
        }
        for role in ["anon", "authenticated", "service_role"] {
            assert_eq!(seen(&mut database, role, "backline.metrics_archive_2026_03").await, None, "{role}");
        }

        // As where the publication is another role's: what is left to its owner can be run as it is printed.
        database.execute("ALTER PUBLICATION supabase_realtime DROP TABLE public.metrics").await.unwrap();
        database
            .execute("CREATE OR REPLACE FUNCTION backline.grant_roles() RETURNS VOID LANGUAGE plpgsql AS 'BEGIN END'")
            .await
            .unwrap();
        let report = stage.host.store().migrate().await.unwrap();
        let statement = report.left_to_owner.expect("it is named");
        assert!(statement.contains("ADD TABLE public.metrics;"), "{statement}");
        database.execute(AssertSqlSafe(statement)).await.unwrap();
        assert_eq!(number(&mut database, published).await, 1);
        assert_eq!(stage.host.store().migrate().await.unwrap().left_to_owner, None);
    })
    .await;
}

#[tokio::test]
async fn an_older_database_keeps_all_data_in_the_new_schema() {
    each_empty_database(async |url| {
        if url.starts_with("sqlite") {
            return;
        }
        let mut database = plain(url).await;
        database.execute(SUPABASE).await.unwrap();
        let migrations = BEFORE.map(|(version, name, text)| {
            Migration::new(version, Cow::Borrowed(name), MigrationType::Simple, text.into_sql_str(), false)
        });
        Migrator::with_migrations(migrations.to_vec()).run(&mut database).await.unwrap();
        database
            .execute(
                "INSERT INTO artists
                     (id, name, tenant, subscription_status, data_collection_enabled, timezone, created_at, updated_at)
                 VALUES ('00000000-0000-0000-0000-0000000000aa', 'A', 'default', 'active', TRUE, 'UTC', now(), now());
                 INSERT INTO accounts (id, artist_id, platform, platform_id, settings, status, created_at, updated_at)
                 VALUES ('00000000-0000-0000-0000-0000000000bb', '00000000-0000-0000-0000-0000000000aa', 'youtube',
                     'UCx', '{}', 'active', now(), now());
                 INSERT INTO metrics (account_id, artist_id, platform, metric_date, followers, extra, absent, coverage,
                     observed, window_since, window_until, collection_source, data_quality_score, findings, notes,
                     observed_at, release_digest, wit_version, run_id, document_id, created_at, updated_at)
                 SELECT '00000000-0000-0000-0000-0000000000bb', '00000000-0000-0000-0000-0000000000aa', 'youtube', d,
                     5, '{}', '{}', '{}', '{}', now(), now(), 'api', 1, '[]', '[]', now(),
                     'sha256:0000000000000000000000000000000000000000000000000000000000000000', '1.0.0',
                     '00000000-0000-0000-0000-0000000000cc', '00000000-0000-0000-0000-0000000000dd', now(), now()
                 FROM unnest(ARRAY['2024-02-29', '2026-01-31', '2026-02-01']::date[]) AS d",
            )
            .await
            .unwrap();

        let store = Store::open(url, StoreOptions::default()).await.unwrap();
        let migrated = store.migrate().await.unwrap();
        assert_eq!(migrated.applied.first().map(String::as_str), Some("0004_layout"), "{migrated:?}");
        store.schema_check().await.unwrap();
        let rows = store.metrics_list(&Scope::all_tenants(), &MetricsFilter::default()).await.unwrap();
        assert_eq!(rows.len(), 3);
        for (what, expected) in [
            ("SELECT COUNT(*) FROM backline.metrics_2024_02", 1),
            ("SELECT COUNT(*) FROM backline.metrics_2026_01", 1),
            ("SELECT COUNT(*) FROM backline.metrics_2026_02", 1),
            ("SELECT COUNT(*) FROM backline.activations", 2),
            ("SELECT COUNT(*) FROM pg_tables WHERE schemaname = 'public' AND tablename <> ALL (
                ARRAY['artists', 'metrics', 'metrics_archive'])", 0),
            // Grants from the time when these tables were in `public`.
            ("SELECT COUNT(*) FROM pg_class c CROSS JOIN unnest(ARRAY['anon', 'authenticated', 'service_role']) AS role
              WHERE c.relnamespace = 'backline'::regnamespace AND c.relkind IN ('r', 'p', 'v')
                  AND has_table_privilege(role, c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE')
                  AND NOT (role = 'service_role' AND c.relname IN ('collection_outcomes', 'outcomes_all'))", 0),
            ("SELECT COUNT(*) FROM pg_class c CROSS JOIN unnest(ARRAY['anon', 'authenticated', 'service_role']) AS role
              WHERE c.relnamespace = 'backline'::regnamespace AND c.relkind = 'S'
                  AND has_sequence_privilege(role, c.oid, 'USAGE')", 0),
        ] {
            assert_eq!(number(&mut database, what).await, expected, "{what}");
        }
        // Triggers find their tables for every role.
        let pause = "UPDATE public.artists SET subscription_status = 'paused'; TRUNCATE backline.activations";
        database.execute(pause).await.unwrap();
        database.execute("UPDATE public.artists SET subscription_status = 'active'").await.unwrap();
        assert_eq!(number(&mut database, "SELECT COUNT(*) FROM backline.activations").await, 1);
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn hosts_that_create_a_month_at_once_all_succeed() {
    each_database(async |store, url| {
        for year in 2031..2036 {
            let month = NaiveDate::from_ymd_opt(year, 7, 31).unwrap();
            let needing = (0..8).map(|_| store.months_ensure([month].into_iter()));
            for got in futures::future::join_all(needing).await {
                got.unwrap();
            }
            if url.starts_with("postgres") {
                let attached = format!(
                    "SELECT COUNT(*) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                     WHERE c.relname LIKE '%\\_{year}\\_07'"
                );
                let mut database = plain(url).await;
                assert_eq!(number(&mut database, &attached).await, 2, "{year}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn tables_of_the_artist_platform_are_not_changed() {
    each_empty_database(async |url| {
        if url.starts_with("sqlite") {
            return;
        }
        let mut database = plain(url).await;
        database.execute("CREATE TABLE artists (id INT); INSERT INTO artists VALUES (7)").await.unwrap();
        let store = Store::open(url, StoreOptions::default()).await.unwrap();
        store.migrate().await.unwrap();
        store.schema_check().await.unwrap();
        assert_eq!(number(&mut database, "SELECT id::bigint FROM public.artists").await, 7);
        assert_eq!(number(&mut database, "SELECT COUNT(*) FROM backline.artists").await, 0);
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn tables_are_found_without_a_search_path_setting() {
    each_database(async |store, url| {
        if store.kind() == DatabaseKind::Sqlite {
            return;
        }
        let mut database = plain(url).await;
        let name: String =
            sqlx::query_scalar("SELECT current_database()::text").fetch_one(&mut database).await.unwrap();
        database.execute(AssertSqlSafe(format!("ALTER DATABASE {name} RESET search_path"))).await.unwrap();
        let stage = collected(url).await;
        assert_eq!(
            stage.host.store().metrics_list(&Scope::all_tenants(), &MetricsFilter::default()).await.unwrap().len(),
            15
        );
    })
    .await;
}

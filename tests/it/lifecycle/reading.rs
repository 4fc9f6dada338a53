//! Signed-in users read their own artist's rows by an index, and an operator's own rules survive the change to it.

use std::borrow::Cow;

use backline_store::{Store, StoreOptions};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, SqlSafeStr as _};

use crate::support::database::each_empty_database;
use crate::support::tables::number;

/// Every migration up to the version before reading by index.
const BEFORE: [(i64, &str, &str); 8] = [
    (1, "first", include_str!("../../../migrations/postgres/0001_first.sql")),
    (2, "service", include_str!("../../../migrations/postgres/0002_service.sql")),
    (3, "releases", include_str!("../../../migrations/postgres/0003_releases.sql")),
    (4, "layout", include_str!("../../../migrations/postgres/0004_layout.sql")),
    (5, "deliveries", include_str!("../../../migrations/postgres/0005_deliveries.sql")),
    (6, "health", include_str!("../../../migrations/postgres/0006_health.sql")),
    (7, "archive", include_str!("../../../migrations/postgres/0007_archive.sql")),
    (8, "privacy", include_str!("../../../migrations/postgres/0008_privacy.sql")),
];

/// Four artists with one account each and twenty days of numbers.
const ROWS: &str = "
    INSERT INTO artists (id, name, tenant, subscription_status, data_collection_enabled, timezone, created_at,
        updated_at)
    SELECT ('00000000-0000-0000-0000-0000000000a' || n)::uuid, 'A', 'default', 'active', TRUE, 'UTC', now(), now()
    FROM generate_series(1, 4) AS n;
    INSERT INTO accounts (id, artist_id, platform, platform_id, settings, status, created_at, updated_at)
    SELECT ('00000000-0000-0000-0000-0000000000b' || n)::uuid, ('00000000-0000-0000-0000-0000000000a' || n)::uuid,
        'youtube', 'UC' || n, '{}', 'active', now(), now()
    FROM generate_series(1, 4) AS n;
    CREATE TABLE backline.metrics_2026_01 PARTITION OF metrics FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
    INSERT INTO metrics (account_id, artist_id, platform, metric_date, followers, extra, absent, coverage, observed,
        window_since, window_until, collection_source, data_quality_score, findings, notes, observed_at, release_digest,
        wit_version, run_id, document_id, created_at, updated_at)
    SELECT ('00000000-0000-0000-0000-0000000000b' || n)::uuid, ('00000000-0000-0000-0000-0000000000a' || n)::uuid,
        'youtube', DATE '2026-01-01' + d, 5, '{}', '{}', '{}', '{}', now(), now(), 'api', 1, '[]', '[]', now(), 'd',
        '1.0.0', '00000000-0000-0000-0000-0000000000cc', '00000000-0000-0000-0000-0000000000dd', now(), now()
    FROM generate_series(1, 4) AS n, generate_series(0, 19) AS d";

/// A database as the version before left it, with the role of signed-in users and rows.
async fn before(url: &str) -> PgConnection {
    let mut database = PgConnection::connect(url).await.unwrap();
    database
        .execute(
            "DO $$ BEGIN CREATE ROLE authenticated NOLOGIN;
             EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
             CREATE SCHEMA backline",
        )
        .await
        .unwrap();
    let migrations = BEFORE.map(|(version, name, text)| {
        Migration::new(version, Cow::Borrowed(name), MigrationType::Simple, text.into_sql_str(), false)
    });
    Migrator::with_migrations(migrations.to_vec()).run(&mut database).await.unwrap();
    database.execute("SELECT backline.grant_roles()").await.unwrap();
    database.execute(ROWS).await.unwrap();
    database
}

/// Runs a test on such a database. Only PostgreSQL has signed-in users.
async fn on_version_before(test: impl AsyncFn(PgConnection, &str)) {
    each_empty_database(async |url| {
        if !url.starts_with("sqlite") {
            test(before(url).await, url).await;
        }
    })
    .await;
}

async fn migrate(url: &str) {
    let store = Store::open(url, StoreOptions::default()).await.unwrap();
    let migrated = store.migrate().await.unwrap();
    assert_eq!(migrated.applied.first().map(String::as_str), Some("0009_reading"), "{migrated:?}");
    store.close().await;
}

/// What a signed-in user with these claims gets from a statement that answers one number.
async fn as_user(database: &mut PgConnection, claims: &str, statement: &'static str) -> i64 {
    let mut user = database.begin().await.unwrap();
    user.execute("SET LOCAL ROLE authenticated").await.unwrap();
    let claims = format!("SET LOCAL request.jwt.claims = '{claims}'");
    user.execute(AssertSqlSafe(claims)).await.unwrap();
    let answer: i64 = sqlx::query_scalar(statement).fetch_one(&mut *user).await.unwrap();
    user.rollback().await.unwrap();
    answer
}

/// How a signed-in user's read of every row is carried out.
async fn plan(database: &mut PgConnection) -> String {
    let mut user = database.begin().await.unwrap();
    // A table this small is read whole otherwise, whatever its indexes could do.
    user.execute("SET LOCAL enable_seqscan = off; SET LOCAL ROLE authenticated").await.unwrap();
    let lines: Vec<String> =
        sqlx::query_scalar("EXPLAIN SELECT followers FROM public.metrics").fetch_all(&mut *user).await.unwrap();
    user.rollback().await.unwrap();
    lines.join("\n")
}

const COUNT: &str = "SELECT COUNT(*) FROM public.metrics";
const BOTH: &str =
    r#"{"sub": "00000000-0000-0000-0000-0000000000a1", "artist_id": "00000000-0000-0000-0000-0000000000a2"}"#;
const FIRST: &str = r#"{"sub": "00000000-0000-0000-0000-0000000000a1"}"#;

#[tokio::test]
async fn a_signed_in_users_read_is_an_index_look_up() {
    on_version_before(async |mut database, url| {
        assert!(!plan(&mut database).await.contains("Index Cond"), "the version before asked for each row");
        assert_eq!(as_user(&mut database, FIRST, COUNT).await, 20);
        migrate(url).await;
        let plan = plan(&mut database).await;
        assert!(plan.contains("Index Cond: (artist_id = ANY"), "{plan}");
        assert!(!plan.contains("Filter:"), "no row is looked at in vain: {plan}");
        for (claims, rows) in [
            (FIRST, 20),
            (r#"{"sub": "someone-else", "artist_id": "00000000-0000-0000-0000-0000000000A2"}"#, 20),
            (BOTH, 40),
            (r#"{"sub": "not an id"}"#, 0),
            (r#"{"sub": null}"#, 0),
            ("{}", 0),
            ("", 0),
        ] {
            assert_eq!(as_user(&mut database, claims, COUNT).await, rows, "{claims}");
        }
        assert_eq!(as_user(&mut database, FIRST, "SELECT COUNT(*) FROM public.artists").await, 1);
        let asked = "SELECT COUNT(*) FROM pg_proc WHERE proname = 'may_read'";
        assert_eq!(number(&mut database, asked).await, 0, "nothing asks for each row any more");
    })
    .await;
}

#[tokio::test]
async fn an_operators_own_rule_for_readers_survives() {
    on_version_before(async |mut database, url| {
        // A label that sees two of its artists.
        database
            .execute(
                "CREATE OR REPLACE FUNCTION backline.may_read(p_artist_id UUID) RETURNS BOOLEAN
                 LANGUAGE sql STABLE AS $$
                     SELECT right(p_artist_id::text, 2) IN ('a3', 'a4')
                 $$",
            )
            .await
            .unwrap();
        migrate(url).await;
        assert_eq!(as_user(&mut database, FIRST, COUNT).await, 40);
    })
    .await;
}

#[tokio::test]
async fn an_operators_own_policy_on_the_old_function_goes_on() {
    on_version_before(async |mut database, url| {
        database
            .execute(
                "DROP POLICY backline_authenticated ON public.artists;
                 CREATE POLICY own ON public.artists TO authenticated USING (backline.may_read(id))",
            )
            .await
            .unwrap();
        migrate(url).await;
        assert_eq!(as_user(&mut database, FIRST, "SELECT COUNT(*) FROM public.artists").await, 1);
        assert_eq!(as_user(&mut database, FIRST, COUNT).await, 20);
        // One function rules both from now on.
        database
            .execute(
                "CREATE OR REPLACE FUNCTION backline.readable_artists() RETURNS SETOF UUID LANGUAGE sql STABLE AS $$
                     SELECT ('00000000-0000-0000-0000-0000000000a' || n)::uuid FROM generate_series(2, 4) AS n
                 $$",
            )
            .await
            .unwrap();
        assert_eq!(as_user(&mut database, FIRST, "SELECT COUNT(*) FROM public.artists").await, 3);
        assert_eq!(as_user(&mut database, FIRST, COUNT).await, 60);
    })
    .await;
}

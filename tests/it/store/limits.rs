//! A server that goes silent costs the statement that waits for it, and nothing after it.

use std::time::Duration;

use backline_store::{ArtistFilter, DatabaseKind, Scope, Store, StoreError, StoreLimits, StoreOptions};
use futures::future::join_all;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use super::fixtures::{artist, now};
use crate::support::database::{each_database, each_empty_database};
use crate::support::proxy::Proxy;

/// How long each may take that ends by a limit, on a slow machine.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Keeps every other connection from the artists, until it is rolled back.
async fn block(url: &str) -> PgConnection {
    let mut blocker = PgConnection::connect(url).await.unwrap();
    blocker.execute("BEGIN; LOCK TABLE artists IN ACCESS EXCLUSIVE MODE").await.unwrap();
    blocker
}

/// Waits until another connection waits for what is blocked: its statement was sent, and is not answered.
async fn waited_for(blocker: &mut PgConnection) {
    let waiting = "SELECT COUNT(*) FROM pg_locks WHERE NOT granted AND database =
        (SELECT oid FROM pg_database WHERE datname = current_database())";
    while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut *blocker).await.unwrap() == 0 {
        tokio::task::yield_now().await;
    }
}

/// Uses every connection that the pool may open, at once.
async fn works(store: &Store) {
    let all = Scope::all_tenants();
    let list = async || store.artists_list(&all, &ArtistFilter::default()).await;
    let (one, two) = tokio::time::timeout(WAIT_MAX, async { tokio::join!(list(), list()) }).await.expect("in time");
    assert_eq!((one.unwrap().len(), two.unwrap().len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_goes_silent_costs_what_waits_for_it_and_nothing_after() {
    each_database(async |direct: Store, server| {
        if direct.kind() == DatabaseKind::Sqlite {
            return; // a file does not go silent
        }
        let proxy = Proxy::before(server).await;
        // Longer than any statement takes on a busy machine, except those that are made to wait.
        let limits = StoreLimits { statement: Duration::from_secs(8), ..StoreLimits::default() };
        let store = Store::open(&proxy.url(server), StoreOptions { connections_max: 2, limits }).await.unwrap();
        let (all, artists) = (Scope::all_tenants(), [artist(1)]);

        // More often than the pool has connections: none of them is lost.
        for _ in 0..3 {
            let mut blocker = block(server).await;
            let (saved, ()) = tokio::join!(store.artists_save(&all, &artists, now()), async {
                waited_for(&mut blocker).await;
                proxy.silence();
            });
            assert!(matches!(saved, Err(StoreError::NoAnswer { .. })), "{saved:?}");
            drop(blocker);
            works(&store).await;
        }
        // The same for callers that do not wait for the limit.
        for _ in 0..3 {
            let mut blocker = block(server).await;
            tokio::select! {
                saved = store.artists_save(&all, &artists, now()) => panic!("it is blocked: {saved:?}"),
                () = waited_for(&mut blocker) => proxy.silence(),
            }
            drop(blocker);
            works(&store).await;
        }
        // Idle connections are replaced before they are used.
        works(&store).await;
        proxy.silence();
        works(&store).await;
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_wait_for_a_lock_ends_and_may_be_repeated() {
    each_database(async |direct: Store, url| {
        if direct.kind() == DatabaseKind::Sqlite {
            return; // it has one writer
        }
        let limits = StoreLimits { lock: Duration::from_millis(200), ..StoreLimits::default() };
        let store = Store::open(url, StoreOptions { connections_max: 2, limits }).await.unwrap();
        let (all, artists) = (Scope::all_tenants(), [artist(1)]);
        let mut blocker = block(url).await;
        let error = store.artists_save(&all, &artists, now()).await.expect_err("the table is locked");
        assert!(error.is_transient(), "{error:?}");
        // Once this is answered the table is free. Of a connection that is dropped the server hears only later.
        blocker.execute("ROLLBACK").await.unwrap();
        store.artists_save(&all, &artists, now()).await.unwrap();
        store.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fewer_connections_than_are_configured_do_all_the_work() {
    each_empty_database(async |url| {
        if !url.starts_with("postgres") {
            return; // a file refuses none
        }
        let (role, mut few) = (format!("few_{}", uuid::Uuid::new_v4().simple()), url::Url::parse(url).unwrap());
        let mut server = PgConnection::connect(url).await.unwrap();
        let database = few.path().trim_start_matches('/').to_owned();
        let make = format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'few' CONNECTION LIMIT 5; ALTER DATABASE {database} OWNER TO {role}"
        );
        server.execute(sqlx::raw_sql(AssertSqlSafe(make))).await.unwrap();
        few.set_username(&role).unwrap();
        few.set_password(Some("few")).unwrap();
        let options = StoreOptions { connections_max: 12, ..StoreOptions::default() };
        let store = Store::open(few.as_str(), options).await.unwrap();
        store.migrate().await.unwrap();
        // Other programs of the same role have most of what is left.
        let mut others = Vec::new();
        while others.len() < 4
            && let Ok(other) = PgConnection::connect(few.as_str()).await
        {
            others.push(other);
        }
        let (all, artists) = (Scope::all_tenants(), [artist(1)]);
        let one = async || {
            for _ in 0..5 {
                store.artists_save(&all, &artists, now()).await?;
                store.artists_list(&all, &ArtistFilter::default()).await?;
            }
            Ok::<_, StoreError>(())
        };
        let done = tokio::time::timeout(WAIT_MAX, join_all((0..20).map(|_| one()))).await.expect("in time");
        for done in done {
            done.unwrap();
        }
        store.close().await;
        drop(others);
        let forget =
            format!("DROP OWNED BY {role} CASCADE; ALTER DATABASE {database} OWNER TO CURRENT_USER; DROP ROLE {role}");
        server.execute(sqlx::raw_sql(AssertSqlSafe(forget))).await.unwrap();
        server.close().await.unwrap();
    })
    .await;
}

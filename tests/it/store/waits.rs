//! Every wait for a database has a limit: opening it, reading the table of `artists sync`, rows that come one by one,
//! and a file that another program keeps locked.

use std::time::Duration;

use backline_model::privacy::personal;
use backline_store::{ArtistFilter, DatabaseKind, ForeignSource, Scope, Store, StoreError, StoreLimits, StoreOptions};
use futures::StreamExt as _;
use sqlx::{AnyConnection, Connection as _, Executor as _, PgConnection};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::fixtures::{artist, now, people};
use crate::support::database::{each_database, each_empty_database};
use crate::support::proxy::Proxy;

/// How long each may take that ends by a limit, on a slow machine.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// A limit that a silent server reaches soon. A busy machine may reach it before, and the end is the same.
const SHORT: Duration = Duration::from_millis(300);

/// More rows than one page of a source has.
const ROWS: &str = "SELECT n::text AS id FROM generate_series(1, 1200) AS n";

/// Limits that end each wait for a silent server soon.
fn short() -> StoreLimits {
    StoreLimits { connect: SHORT, statement: SHORT, long_statement: SHORT, ..StoreLimits::default() }
}

async fn open(url: &str, limits: StoreLimits) -> Result<Store, StoreError> {
    Store::open(url, StoreOptions { limits, ..StoreOptions::default() }).await
}

/// Reads a whole source; returns how many rows it has.
async fn read(url: &str, limits: StoreLimits) -> Result<usize, StoreError> {
    let mut source = ForeignSource::open(url, limits).await?;
    source.table_columns("artists").await?;
    let columns = source.query_columns(ROWS).await?;
    let mut rows = source.rows(ROWS, &columns);
    let mut count = 0;
    while let Some(row) = rows.next().await {
        row?;
        count += 1;
    }
    drop(rows);
    source.close().await?;
    Ok(count)
}

#[tokio::test]
async fn a_server_that_lets_clients_in_and_says_nothing_is_given_up() {
    // The system lets clients in, and nothing takes them over.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://nobody@{}/none", listener.local_addr().unwrap());
    let opened = timeout(WAIT_MAX, open(&url, short())).await.expect("in time");
    assert!(matches!(opened, Err(StoreError::Unreachable { .. })));
    let source = timeout(WAIT_MAX, read(&url, short())).await.expect("in time");
    assert!(matches!(source, Err(StoreError::Unreachable { .. })), "{source:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opening_a_database_ends_wherever_its_server_goes_silent() {
    each_empty_database(async |url| {
        if !url.starts_with("postgres") {
            return; // a file does not go silent
        }
        let proxy = Proxy::before(url).await;
        let through = proxy.url(url);
        proxy.count();
        open(&through, StoreLimits::default()).await.expect("it opens").close().await;
        let steps = proxy.counted();
        assert!(steps > 5, "{steps} round trips");
        for step in 1..=steps {
            proxy.stop_at(step, false);
            let opened = timeout(WAIT_MAX, open(&through, short())).await.expect("in time");
            assert!(matches!(opened, Err(StoreError::Unreachable { .. })), "step {step} of {steps}");
            proxy.reset();
        }
        open(&through, StoreLimits::default()).await.expect("it opens again").close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_the_table_of_a_sync_ends_wherever_its_server_goes_silent() {
    each_empty_database(async |url| {
        if !url.starts_with("postgres") {
            return; // a file does not go silent
        }
        let proxy = Proxy::before(url).await;
        let through = proxy.url(url);
        proxy.count();
        assert_eq!(read(&through, StoreLimits::default()).await.expect("it is read"), 1_200);
        let steps = proxy.counted();
        assert!(steps > 5, "{steps} round trips");
        for step in 1..=steps {
            proxy.stop_at(step, false);
            let answer = timeout(WAIT_MAX, read(&through, short())).await.expect("in time");
            // A server that waits for longer than that between two statements ends the session, and says so.
            let is_away = |error: &StoreError| matches!(error, StoreError::Unreachable { .. }) || error.is_transient();
            assert!(answer.as_ref().is_err_and(is_away), "step {step} of {steps}: {answer:?}");
            proxy.reset();
        }
        assert_eq!(read(&through, StoreLimits::default()).await.expect("it is read again"), 1_200);
    })
    .await;
}

#[tokio::test]
async fn a_source_that_a_migration_of_its_own_locks_is_away_and_comes_back() {
    each_empty_database(async |url| {
        if !url.starts_with("postgres") {
            return; // it locks no tables
        }
        let mut platform = PgConnection::connect(url).await.unwrap();
        platform.execute("CREATE TABLE platform_artists (id TEXT)").await.unwrap();
        platform.execute("BEGIN; LOCK TABLE platform_artists IN ACCESS EXCLUSIVE MODE").await.unwrap();
        let limits = StoreLimits {
            lock: Duration::from_millis(200),
            statement: Duration::from_secs(20),
            ..StoreLimits::default()
        };
        let query = "SELECT id FROM platform_artists";
        let mut source = ForeignSource::open(url, limits).await.unwrap();
        let error = timeout(WAIT_MAX, source.query_columns(query)).await.expect("in time").expect_err("it is locked");
        // What the server says, and not that it said nothing.
        assert!(matches!(&error, StoreError::Query { .. }) && error.is_transient(), "{error:?}");
        platform.execute("ROLLBACK").await.unwrap();
        let mut source = ForeignSource::open(url, limits).await.unwrap();
        assert_eq!(source.query_columns(query).await.unwrap(), ["id"]);
    })
    .await;
}

#[tokio::test]
async fn a_query_of_a_sync_that_takes_too_long_ends_at_the_server_too() {
    each_empty_database(async |url| {
        if !url.starts_with("postgres") {
            return; // a file has no such function
        }
        // The first page has the whole query to wait for.
        let limits = StoreLimits { long_statement: Duration::from_secs(2), ..StoreLimits::default() };
        let mut source = ForeignSource::open(url, limits).await.unwrap();
        let query = "SELECT 'one' AS id FROM pg_sleep(3600)";
        let mut rows = source.rows(query, &["id".to_owned()]);
        let row = timeout(WAIT_MAX, rows.next()).await.expect("in time");
        // Whether the server's limit comes first, or the one here.
        assert!(matches!(row, Some(Err(StoreError::NoAnswer { seconds: 2, .. }))), "{row:?}");
        assert!(rows.next().await.is_none(), "nothing follows");
        drop(rows);
        let mut database = PgConnection::connect(url).await.unwrap();
        let asleep = "SELECT COUNT(*) FROM pg_stat_activity WHERE state = 'active' AND wait_event = 'PgSleep'
            AND datname = current_database()";
        timeout(WAIT_MAX, async {
            while sqlx::query_scalar::<_, i64>(asleep).fetch_one(&mut database).await.unwrap() > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("the server ends it");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_whose_connection_goes_silent_ends_and_frees_it() {
    each_database(async |direct: Store, server| {
        if direct.kind() == DatabaseKind::Sqlite {
            return; // a file does not go silent
        }
        people(&direct, 1).await;
        let proxy = Proxy::before(server).await;
        let limits = StoreLimits { long_statement: Duration::from_secs(2), ..StoreLimits::default() };
        let store = Store::open(&proxy.url(server), StoreOptions { connections_max: 1, limits }).await.unwrap();
        let all = Scope::all_tenants();
        let (table, columns) = personal().find(|(table, _)| table.name == "artists").unwrap();
        for is_of_documents in [false, true] {
            let mut export = store.export_begin(&all, artist(1).id).await.unwrap();
            proxy.silence();
            let ended = timeout(WAIT_MAX, async {
                if is_of_documents {
                    let mut found = export.documents();
                    (found.next().await.map(|row| row.map(drop)), found.next().await.is_none())
                } else {
                    let mut found = export.rows(table, &columns);
                    (found.next().await.map(|row| row.map(drop)), found.next().await.is_none())
                }
            });
            let (first, is_over) = ended.await.expect("in time");
            assert!(matches!(first, Some(Err(StoreError::NoAnswer { .. }))) && is_over, "{first:?}");
            drop(export);
            let listed = timeout(WAIT_MAX, store.artists_list(&all, &ArtistFilter::default())).await;
            assert_eq!(listed.expect("a connection is free").unwrap().len(), 1);
        }
        store.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_another_program_keeps_locked_costs_what_waits_for_it_and_nothing_after() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("test.db").display());
    // Longer than a busy machine takes to go on once the file is free.
    let limits = StoreLimits { statement: Duration::from_secs(3), ..StoreLimits::default() };
    let store = open(&url, StoreLimits::default()).await.unwrap();
    store.migrate().await.unwrap();
    store.close().await;
    let store = open(&url, limits).await.unwrap();
    let (all, artists) = (Scope::all_tenants(), [artist(1)]);
    let mut other = AnyConnection::connect(&url).await.unwrap();
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    // One waits for the file, the other one for its turn.
    let save = || store.artists_save(&all, &artists, now());
    let saved = timeout(WAIT_MAX, async { tokio::join!(save(), save()) }).await.expect("in time");
    for saved in [saved.0, saved.1] {
        assert!(matches!(saved, Err(StoreError::NoAnswer { seconds: 3, .. })), "{saved:?}");
    }
    assert_eq!(store.artists_list(&all, &ArtistFilter::default()).await.unwrap().len(), 0, "readers go on");
    other.execute("ROLLBACK").await.unwrap();
    save().await.unwrap();
    assert_eq!(store.artists_list(&all, &ArtistFilter::default()).await.unwrap().len(), 1);
    store.close().await;
}

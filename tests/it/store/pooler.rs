//! Tests of what stands between Backline and PostgreSQL, and of databases that can't hold every text.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use backline_store::{Store, StoreError, StoreOptions};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, OwnedMutexGuard, Semaphore};
use tokio::task::JoinSet;

use crate::support::database::each_empty_database;

/// Code of the message with which a client asks for TLS.
const TLS_ASKED: i32 = 80_877_103;

/// A connection to the server that all clients share, and what the server said when it was opened.
struct Shared {
    server: TcpStream,
    greeting: Vec<u8>,
}

/// The connections of a pooler, each of which is opened when it is first used.
struct Pool {
    server: String,
    connections: Vec<Arc<Mutex<Option<Shared>>>>,
    turn: AtomicUsize,
    /// Whether each client happens to get the same connection again and again.
    is_calm: AtomicBool,
}

impl Pool {
    /// A pooler before a server, with so many connections.
    fn of(server: &str, connections: usize, is_calm: bool) -> Arc<Self> {
        let connections: Vec<_> = (0..connections).map(|_| Arc::new(Mutex::new(None))).collect();
        let (turn, is_calm) = (AtomicUsize::new(0), AtomicBool::new(is_calm));
        Arc::new(Self { server: server.to_owned(), connections, turn, is_calm })
    }

    /// The connection whose turn it is for a client.
    async fn next(&self, client: usize, hello: &[u8]) -> Option<OwnedMutexGuard<Option<Shared>>> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let turn = if self.is_calm.load(Ordering::Relaxed) { client } else { turn } % self.connections.len();
        let mut connection = Arc::clone(&self.connections[turn]).lock_owned().await;
        if connection.is_none() {
            let mut server = TcpStream::connect(&self.server).await.ok()?;
            server.write_all(hello).await.ok()?;
            let (greeting, _) = answer(&mut server).await?;
            *connection = Some(Shared { server, greeting });
        }
        Some(connection)
    }
}

/// A message with its type, as it stands on the wire.
async fn message(from: &mut TcpStream) -> Option<Vec<u8>> {
    let mut head = [0; 5];
    from.read_exact(&mut head).await.ok()?;
    let length = usize::try_from(i32::from_be_bytes([head[1], head[2], head[3], head[4]])).ok()?;
    let mut whole = head.to_vec();
    whole.resize(1 + length, 0);
    from.read_exact(&mut whole[5..]).await.ok()?;
    Some(whole)
}

/// A client's first message, which has no type.
async fn startup(client: &mut TcpStream) -> Option<Vec<u8>> {
    loop {
        let length = client.read_i32().await.ok()?;
        let mut whole = length.to_be_bytes().to_vec();
        whole.resize(usize::try_from(length).ok()?, 0);
        client.read_exact(&mut whole[4..]).await.ok()?;
        if whole[4..8] != TLS_ASKED.to_be_bytes() {
            return Some(whole);
        }
        client.write_all(b"N").await.ok()?;
    }
}

/// Everything up to the message with which the server says that it waits; and whether it is in a transaction.
async fn answer(server: &mut TcpStream) -> Option<(Vec<u8>, bool)> {
    let mut all = Vec::new();
    loop {
        let one = message(server).await?;
        all.extend_from_slice(&one);
        if one[0] == b'Z' {
            return Some((all, one[5] != b'I'));
        }
    }
}

/// Serves a client as a pooler in transaction mode does: a connection of the server is its own for one transaction.
async fn serve(mut client: TcpStream, number: usize, pool: Arc<Pool>) -> Option<()> {
    let hello = startup(&mut client).await?;
    let greeting = pool.next(number, &hello).await?.as_ref()?.greeting.clone();
    client.write_all(&greeting).await.ok()?;
    let mut own: Option<OwnedMutexGuard<Option<Shared>>> = None;
    loop {
        let sent = message(&mut client).await?;
        if sent[0] == b'X' {
            return Some(());
        }
        let mut held = match own.take() {
            Some(held) => held,
            None => pool.next(number, &hello).await?,
        };
        let server = &mut held.as_mut()?.server;
        server.write_all(&sent).await.ok()?;
        let mut keeps = true;
        if matches!(sent[0], b'Q' | b'S') {
            let (said, in_transaction) = answer(server).await?;
            client.write_all(&said).await.ok()?;
            keeps = in_transaction;
        }
        own = keeps.then_some(held);
    }
}

/// Lets a pooler serve the clients of a listener.
fn serve_all(listener: TcpListener, pool: Arc<Pool>) -> JoinSet<()> {
    let mut pooler = JoinSet::new();
    pooler.spawn(async move {
        let (mut served, mut clients) = (JoinSet::new(), 0);
        while let Ok((client, _)) = listener.accept().await {
            served.spawn(serve(client, clients, Arc::clone(&pool)));
            clients += 1;
        }
    });
    pooler
}

/// Two of the settings that Backline makes on its connections, as the next client of a pooler finds them.
async fn settings(client: &mut PgConnection) -> String {
    let ask = "SELECT current_setting('idle_in_transaction_session_timeout') || ' '
         || current_setting('enable_seqscan') AS value";
    // Not prepared: the pooler would run the statement on another connection than it prepared it on.
    let row = client.fetch_one(sqlx::raw_sql(ask)).await.expect("a row");
    row.try_get("value").expect("a text")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_that_mixes_sessions_is_refused_before_anything_is_set() {
    each_empty_database(async |url| {
        if !url.starts_with("postgres") {
            return;
        }
        let mut url = url::Url::parse(url).expect("a URL");
        let server = format!("{}:{}", url.host_str().expect("a host"), url.port().expect("a port"));
        // One connection for all, or several that are handed out in turn.
        for connections in 1..=3 {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            url.set_port(Some(listener.local_addr().expect("an address").port())).expect("a port");
            let number = connections;
            let mut pooler = serve_all(listener, Pool::of(&server, connections, false));
            let error = Store::open(url.as_str(), StoreOptions::default()).await.expect_err("it is refused");
            assert!(matches!(error, StoreError::TransactionPooler { .. }), "{number} connections: {error}");
            let text = error.to_string();
            assert!(text.contains("transaction mode") && text.contains("pool_mode = session"), "{text}");

            // What the next client of the pooler would find, on each connection.
            let mut other = PgConnection::connect(url.as_str()).await.expect("another client connects");
            for _ in 0..number {
                assert_eq!(settings(&mut other).await, "0 on", "nothing was left behind");
            }
            pooler.shutdown().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_that_mixes_sessions_only_later_is_refused_then() {
    each_empty_database(async |url| {
        if !url.starts_with("postgres") {
            return;
        }
        let mut url = url::Url::parse(url).expect("a URL");
        let server = format!("{}:{}", url.host_str().expect("a host"), url.port().expect("a port"));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        url.set_port(Some(listener.local_addr().expect("an address").port())).expect("a port");
        let pool = Pool::of(&server, 2, true);
        let mut pooler = serve_all(listener, Arc::clone(&pool));
        let store = Store::open(url.as_str(), StoreOptions::default()).await.expect("it looks like a server");
        pool.is_calm.store(false, Ordering::Relaxed);
        // At once, and by every later call: what the pool's connections do can't be told any more.
        for _ in 0..2 {
            let error = store.schema_check().await.expect_err("it is refused");
            assert!(matches!(&error, StoreError::TransactionPooler { .. }) && error.is_outage(), "{error}");
        }
        store.close().await;
        pooler.shutdown().await;
    })
    .await;
}

/// Serves a client as a pooler in session mode does that has room for a few: a client is let in at once, and waits with
/// its first statement until a connection of the server is free, which is its own from then on.
async fn serve_session(mut client: TcpStream, server: String, room: Arc<Semaphore>) -> Option<()> {
    let hello = startup(&mut client).await?;
    let greeting = {
        let mut server = TcpStream::connect(&server).await.ok()?;
        server.write_all(&hello).await.ok()?;
        answer(&mut server).await?.0
    };
    client.write_all(&greeting).await.ok()?;
    let first = message(&mut client).await?;
    let _own = room.acquire_owned().await.ok()?;
    let mut server = TcpStream::connect(&server).await.ok()?;
    server.write_all(&hello).await.ok()?;
    answer(&mut server).await?;
    server.write_all(&first).await.ok()?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await.ok()?;
    Some(())
}

/// Serves a client as a pooler in statement mode does that has one connection for it: no transaction is begun.
async fn serve_statements(mut client: TcpStream, server: String) -> Option<()> {
    let hello = startup(&mut client).await?;
    let mut server = TcpStream::connect(&server).await.ok()?;
    server.write_all(&hello).await.ok()?;
    client.write_all(&answer(&mut server).await?.0).await.ok()?;
    loop {
        let sent = message(&mut client).await?;
        if matches!(sent[0], b'Q' | b'P') && sent.windows(5).any(|part| part == b"BEGIN") {
            let said = b"SFATAL\0VFATAL\0C08P01\0Mtransaction blocks not allowed in statement pooling mode\0\0";
            let length = i32::try_from(said.len() + 4).ok()?;
            client.write_all(b"E").await.ok()?;
            client.write_all(&length.to_be_bytes()).await.ok()?;
            client.write_all(said).await.ok()?;
            return Some(());
        }
        server.write_all(&sent).await.ok()?;
        if matches!(sent[0], b'Q' | b'S') {
            client.write_all(&answer(&mut server).await?.0).await.ok()?;
        }
    }
}

/// Before the server of a URL, a pooler that serves each client so; and the URL with the pooler in the server's place.
async fn pooler<F>(url: &str, serve: impl Fn(TcpStream, String) -> F + Send + 'static) -> (JoinSet<()>, String)
where
    F: Future<Output = Option<()>> + Send + 'static,
{
    let mut url = url::Url::parse(url).expect("a URL");
    let server = format!("{}:{}", url.host_str().expect("a host"), url.port().expect("a port"));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    url.set_port(Some(listener.local_addr().expect("an address").port())).expect("a port");
    let mut pooler = JoinSet::new();
    pooler.spawn(async move {
        let mut served = JoinSet::new();
        while let Ok((client, _)) = listener.accept().await {
            served.spawn(serve(client, server.clone()));
        }
    });
    (pooler, url.to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_with_room_for_one_session_is_one_and_all_work_goes_through_it() {
    each_empty_database(async |url| {
        if !url.starts_with("postgres") {
            return;
        }
        let room = Arc::new(Semaphore::new(1));
        let (mut pooler, through) =
            pooler(url, move |client, server| serve_session(client, server, Arc::clone(&room))).await;
        let store = Store::open(&through, StoreOptions::default()).await.expect("a session is one");
        let mut callers = JoinSet::new();
        for _ in 0..8 {
            let store = store.clone();
            callers.spawn(async move { store.schema_check().await });
        }
        for answer in callers.join_all().await {
            let error = answer.expect_err("nothing was migrated");
            assert!(matches!(error, StoreError::NotMigrated { .. }), "{error}");
        }
        store.close().await;
        pooler.shutdown().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_that_begins_no_transaction_is_refused_with_the_remedy() {
    each_empty_database(async |url| {
        if !url.starts_with("postgres") {
            return;
        }
        let (mut pooler, through) = pooler(url, serve_statements).await;
        let error = Store::open(&through, StoreOptions::default()).await.expect_err("it is refused");
        assert!(matches!(error, StoreError::TransactionPooler { .. }), "{error}");
        assert!(error.to_string().contains("statement mode"), "{error}");
        pooler.shutdown().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_cannot_hold_every_name_is_refused_before_a_table_is_made() {
    each_empty_database(async |url| {
        if !url.starts_with("postgres") {
            return;
        }
        let mut server = PgConnection::connect(url).await.expect("the server answers");
        let name = format!("latin_{}", uuid::Uuid::new_v4().simple());
        let create = format!("CREATE DATABASE {name} ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0");
        server.execute(AssertSqlSafe(create)).await.expect("a database is created");
        let mut latin = url::Url::parse(url).expect("a URL");
        latin.set_path(&name);
        let store = Store::open(latin.as_str(), StoreOptions::default()).await.expect("it opens");
        let error = store.migrate().await.expect_err("it is refused");
        assert!(matches!(&error, StoreError::Encoding { found } if found == "LATIN1"), "{error}");
        let mut database = PgConnection::connect(latin.as_str()).await.expect("the database answers");
        let schemas: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM pg_namespace WHERE nspname = 'backline'")
            .fetch_one(&mut database)
            .await
            .expect("a number");
        assert_eq!(schemas, 0, "nothing was made");
        database.close().await.expect("closed");
        store.close().await;
        let drop = format!("DROP DATABASE {name} WITH (FORCE)");
        server.execute(AssertSqlSafe(drop)).await.expect("the database is removed");
    })
    .await;
}

//! The open database: connections, transactions, and the one way in which statements are run.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Once};
use std::time::Duration;

use futures::stream::BoxStream;
use sqlx::any::{AnyPoolOptions, AnyRow};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Any, AnyPool, ConnectOptions as _, Connection as _, Executor as _, Transaction};
use tokio::sync::{Mutex, OwnedMutexGuard, broadcast};

use crate::database::dialect::DatabaseKind;
use crate::database::error::{During as _, StoreError};
use crate::database::months::KnownMonths;
use crate::database::place::Place;
use crate::database::statement::Statement;
use crate::database::topic::Topic;
use crate::scope::Scope;

/// How long opening a database, or waiting for a free connection, may take.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long opening the first connection may take: a wrong address should be reported soon.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Wake-ups that may wait for a listener; a listener that misses some checks everything.
pub(crate) const WAKES_WAITING: usize = 64;

/// Begins to read as of one moment.
pub(crate) const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// Begins to read whole tables: gives the planner back what [`prepare_connection`] takes from it, and memory to sort in
/// instead of on disk.
const PLAN_AS_A_REPORT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL enable_seqscan = on;
    SET LOCAL enable_hashjoin = on; SET LOCAL enable_mergejoin = on; SET LOCAL work_mem = '64MB'";

/// How a database is used.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    /// Most connections open at a time.
    pub connections_max: u32,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { connections_max: 16 }
    }
}

/// An open database. Cloning shares it.
///
/// ```
/// use backline_store::{Scope, Store, StoreOptions};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("backline.db");
/// let store = Store::open(&path.to_string_lossy(), StoreOptions { connections_max: 4 }).await?;
/// assert!(store.check_schema().await.is_err(), "a new file has no tables yet");
/// store.migrate().await?;
/// store.check_schema().await?;
/// assert!(store.runs_list(&Scope::all_tenants(), 10, None).await?.is_empty());
/// # Ok(())
/// # })
/// # }
/// ```
#[derive(Clone)]
pub struct Store {
    pub(crate) pool: AnyPool,
    kind: DatabaseKind,
    /// SQLite has one writer; waiting for it here is fair and costs no busy loop. Unused on PostgreSQL.
    writer: Arc<Mutex<()>>,
    /// What this process wrote that others in it may wait for.
    pub(crate) wakes: broadcast::Sender<Topic>,
    /// What a connection that listens takes, password included; none on SQLite.
    pub(crate) server: Option<Arc<PgConnectOptions>>,
    pub(crate) months: KnownMonths,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({})", self.kind)
    }
}

impl Store {
    /// Opens a database: `postgres://…`, `sqlite://path`, or the path of a SQLite file, which is created where it is
    /// missing. The schema is not checked; see [`Store::check_schema`].
    ///
    /// # Errors
    /// When the URL names no database, the server can't be reached, or the file can't be opened. No error holds the
    /// password.
    pub async fn open(url: &str, options: StoreOptions) -> Result<Self, StoreError> {
        static DRIVERS: Once = Once::new();
        DRIVERS.call_once(sqlx::any::install_default_drivers);

        let place = Place::parse(url)?;
        let kind = place.kind();
        let connect = place.options()?;
        place.make_private()?;
        // One connection of our own first: a pool reports a wrong address by a time-out only.
        let first = tokio::time::timeout(CONNECT_TIMEOUT, connect.connect())
            .await
            .unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())));
        match first {
            Ok(mut connection) => {
                prepare_connection(kind, &mut connection).await.map_err(|source| place.refused(source))?;
                connection.close().await.map_err(|source| place.refused(source))?;
            }
            Err(source) => return Err(place.refused(source)),
        }
        let pool = AnyPoolOptions::new()
            .max_connections(options.connections_max.max(1))
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .test_before_acquire(kind == DatabaseKind::Postgres)
            .after_connect(move |connection, _| Box::pin(prepare_connection(kind, connection)))
            .connect_lazy_with(connect);
        let wakes = broadcast::channel(WAKES_WAITING).0;
        let (server, months) = (place.server()?.map(Arc::new), KnownMonths::default());
        Ok(Self { pool, kind, writer: Arc::default(), wakes, server, months })
    }

    /// Which database is in use.
    #[must_use]
    pub fn kind(&self) -> DatabaseKind {
        self.kind
    }

    /// Closes every connection, waiting for those in use.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    pub(crate) fn query(&self, statement: &'static str) -> Statement {
        Statement::new(self.kind, statement)
    }

    /// A statement on the rows of a scope.
    pub(crate) fn scoped(&self, scope: &Scope, statement: &'static str) -> Statement {
        Statement::scoped(self.kind, scope, statement)
    }

    pub(crate) async fn rows(&self, what: &'static str, statement: Statement) -> Result<Vec<AnyRow>, StoreError> {
        statement.into_query().fetch_all(&self.pool).await.during(what)
    }

    pub(crate) async fn row(&self, what: &'static str, statement: Statement) -> Result<Option<AnyRow>, StoreError> {
        statement.into_query().fetch_optional(&self.pool).await.during(what)
    }

    /// Runs one writing statement in a transaction of its own; returns how many rows it wrote.
    pub(crate) async fn write(&self, what: &'static str, statement: Statement) -> Result<u64, StoreError> {
        let _writer = self.writer().await;
        Ok(statement.into_query().execute(&self.pool).await.during(what)?.rows_affected())
    }

    /// Runs one writing statement with `RETURNING` in a transaction of its own.
    pub(crate) async fn write_returning(
        &self,
        what: &'static str,
        statement: Statement,
    ) -> Result<Option<AnyRow>, StoreError> {
        let _writer = self.writer().await;
        Ok(statement.into_query().fetch_all(&self.pool).await.during(what)?.into_iter().next())
    }

    pub(crate) async fn begin(&self) -> Result<Work, StoreError> {
        let writer = self.writer().await;
        let begin = match self.kind {
            // A transaction that begins by reading can't become a writer once another process has written in between.
            DatabaseKind::Sqlite => "BEGIN IMMEDIATE",
            DatabaseKind::Postgres => "BEGIN",
        };
        let (transaction, _writer) = self.transaction(begin, writer).await.during("begin a transaction")?;
        let view = ReadView { transaction, kind: self.kind };
        Ok(Work { view, pending_notifications: Vec::new(), wakes: self.wakes.clone(), _writer })
    }

    /// Begins to read with several statements as of one moment.
    pub(crate) async fn read_view(&self) -> Result<ReadView, StoreError> {
        self.read_view_with(SNAPSHOT).await
    }

    /// The same for statements that read whole tables: they are planned by what the statistics say.
    pub(crate) async fn report_view(&self) -> Result<ReadView, StoreError> {
        self.read_view_with(PLAN_AS_A_REPORT).await
    }

    async fn read_view_with(&self, postgres: &'static str) -> Result<ReadView, StoreError> {
        Ok(ReadView { transaction: self.snapshot(postgres).await?, kind: self.kind })
    }

    /// A transaction that reads as of one moment, begun on PostgreSQL by this statement.
    pub(crate) async fn snapshot(&self, postgres: &'static str) -> Result<Transaction<'static, Any>, StoreError> {
        let begin = match self.kind {
            // It only reads: the one writer goes on.
            DatabaseKind::Sqlite => "BEGIN DEFERRED",
            DatabaseKind::Postgres => postgres,
        };
        Ok(self.transaction(begin, None).await.during("begin to read")?.0)
    }

    /// Begins a transaction, in a task of its own: sqlx counts a transaction only once the database has answered. A
    /// caller that is dropped before would leave it open on a connection that goes back to the pool, and what others
    /// write there later would never be committed. The writer's turn goes along, so that it passes on after the
    /// transaction and never before.
    #[expect(clippy::disallowed_methods, reason = "the task begins one transaction, which ends with its owner")]
    async fn transaction(
        &self,
        begin: &'static str,
        writer: Turn,
    ) -> Result<(Transaction<'static, Any>, Turn), sqlx::Error> {
        let pool = self.pool.clone();
        let begun = tokio::spawn(async move { Ok((pool.begin_with(begin).await?, writer)) });
        begun.await.unwrap_or_else(|ended| Err(sqlx::Error::Io(std::io::Error::other(ended))))
    }

    pub(crate) async fn writer(&self) -> Turn {
        match self.kind {
            DatabaseKind::Sqlite => Some(Arc::clone(&self.writer).lock_owned().await),
            DatabaseKind::Postgres => None,
        }
    }
}

/// The turn of SQLite's one writer; none on PostgreSQL, and where only reading is wanted.
type Turn = Option<OwnedMutexGuard<()>>;

/// An open transaction that reads as of one moment. Dropping it ends it.
pub(crate) struct ReadView {
    transaction: Transaction<'static, Any>,
    pub(crate) kind: DatabaseKind,
}

impl ReadView {
    pub(crate) fn query(&self, statement: &'static str) -> Statement {
        Statement::new(self.kind, statement)
    }

    /// A statement on the rows of a scope.
    pub(crate) fn scoped(&self, scope: &Scope, statement: &'static str) -> Statement {
        Statement::scoped(self.kind, scope, statement)
    }

    pub(crate) async fn rows(&mut self, what: &'static str, statement: Statement) -> Result<Vec<AnyRow>, StoreError> {
        statement.into_query().fetch_all(&mut *self.transaction).await.during(what)
    }

    pub(crate) async fn row(&mut self, what: &'static str, statement: Statement) -> Result<Option<AnyRow>, StoreError> {
        Ok(self.rows(what, statement).await?.into_iter().next())
    }

    /// Rows as they come, of which none is held.
    pub(crate) fn stream(&mut self, statement: Statement) -> BoxStream<'_, Result<AnyRow, sqlx::Error>> {
        statement.into_query().fetch(&mut *self.transaction)
    }
}

/// An open transaction that writes too. Dropping it undoes everything.
pub(crate) struct Work {
    // Dropped before the writer's turn passes on.
    view: ReadView,
    /// What to notify of once it is committed.
    pub(crate) pending_notifications: Vec<Topic>,
    wakes: broadcast::Sender<Topic>,
    _writer: Turn,
}

impl Deref for Work {
    type Target = ReadView;

    fn deref(&self) -> &ReadView {
        &self.view
    }
}

impl DerefMut for Work {
    fn deref_mut(&mut self) -> &mut ReadView {
        &mut self.view
    }
}

impl Work {
    pub(crate) async fn execute(&mut self, what: &'static str, statement: Statement) -> Result<u64, StoreError> {
        Ok(statement.into_query().execute(&mut *self.view.transaction).await.during(what)?.rows_affected())
    }

    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        self.view.transaction.commit().await.during("commit")?;
        for topic in self.pending_notifications {
            // There may be no listener.
            let _ = self.wakes.send(topic);
        }
        Ok(())
    }
}

async fn prepare_connection(kind: DatabaseKind, connection: &mut sqlx::AnyConnection) -> Result<(), sqlx::Error> {
    if kind == DatabaseKind::Sqlite {
        // WAL lets readers go on while one writes; with it, NORMAL may lose the last commits in a power cut, never the
        // file. The busy timeout is for other processes: within this one, writers queue for `Store::writer`.
        connection
            .execute(
                "PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
                 PRAGMA foreign_keys = ON",
            )
            .await?;
    } else {
        // Set on the connection, not on the role or the database, which are the operator's. The path finds the tables.
        // A host that was stopped in the middle of a transaction keeps others from what it has locked for 60 s at
        // most. What is planned is look-ups by key, whatever the statistics say: a plan made while a table was empty
        // must not read the whole table once it is full. Reports undo this (`PLAN_AS_A_REPORT`).
        connection
            .execute(
                "SET search_path = backline, public; SET idle_in_transaction_session_timeout = '60s';
                 SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off",
            )
            .await?;
    }
    Ok(())
}

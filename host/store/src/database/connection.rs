//! The open database: connections, transactions, and the one way in which statements are run.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Once};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::stream::BoxStream;
use sqlx::any::{AnyConnectOptions, AnyPoolOptions, AnyRow};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AnyPool, AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _};
use tokio::sync::{Mutex, broadcast};
use uuid::Uuid;

use crate::database::connections::{self, Connections};
use crate::database::dialect::{Columns as _, DatabaseKind, time_text};
use crate::database::error::StoreError;
use crate::database::known_months::KnownMonths;
use crate::database::limits::{self, ACQUIRE_TIMEOUT, StoreLimits};
use crate::database::link::{self, Link, WriterTurn};
use crate::database::place::DatabasePlace;
use crate::database::pooler;
use crate::database::readable::UnreadableNotes;
use crate::database::statement::Statement;
use crate::database::topic::Topic;
use crate::scope::Scope;
use backline_model::Digest;
use backline_model::health::UnreadableRow;
use backline_model::remedies::{Remedy, off};
use backline_model::weakened::{file_pages_max, read_only_mark};

/// Wake-ups that may wait for a listener; a listener that misses some checks everything.
pub(crate) const WAKES_WAITING: usize = 64;

/// Begins to write.
const WRITE: &str = "BEGIN";

/// The same where each statement has one good plan, whatever its parameters are. A connection plans a statement once
/// then, instead of for each of the first five times: with a batch's rows in its parameters that takes as long as
/// running it.
const WRITE_BY_KEY: &str = "BEGIN; SET LOCAL plan_cache_mode = force_generic_plan";

/// Begins to read as of one moment.
const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// The same, for as long as the reader of the rows takes: the server would count that time too, and this process has a
/// limit for each row. Nothing waits for such a transaction.
const UNBOUNDED_SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = 0;
    SET LOCAL idle_in_transaction_session_timeout = 0";

/// Begins to read whole tables: gives the planner back what [`prepare_connection`] takes from it, and memory to sort in
/// instead of on disk.
const PLAN_AS_A_REPORT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL enable_seqscan = on;
    SET LOCAL enable_hashjoin = on; SET LOCAL enable_mergejoin = on; SET LOCAL work_mem = '64MB'";

/// Batches that a process completes before it begins so. A plan that is made while the tables are empty may use any
/// index of theirs, and is kept when they are full. PostgreSQL by itself keeps the sixth plan of each connection.
const BATCHES_BEFORE_BY_KEY: u32 = 5;

/// Writes what proves that a transaction was committed, which goes once that is known: of a transaction whose process
/// died, after a day. It is an answer like those to requests with a key, to no caller and of no text.
const PROVE: &str = "INSERT INTO api_answers (token_id, idempotency_key, asked, request_id, answer, created_at)
     VALUES ($1::uuid, $2, $3, $1::uuid, '', {now}) ON CONFLICT (token_id, idempotency_key) DO NOTHING";

/// Takes it away.
const FORGET: &str = "DELETE FROM api_answers WHERE token_id = $1::uuid AND idempotency_key = $2";

/// Wait before the database is asked again whether it committed; it grows with each try.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// How often it is asked.
const ASKED_TIMES: u32 = 5;

/// How a database is used.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    /// Most connections open at a time.
    pub connections_max: u32,
    /// How long statements may take.
    pub limits: StoreLimits,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { connections_max: 16, limits: StoreLimits::default() }
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
/// let options = StoreOptions { connections_max: 4, ..StoreOptions::default() };
/// let store = Store::open(&path.to_string_lossy(), options).await?;
/// assert!(store.schema_check().await.is_err(), "a new file has no tables yet");
/// store.migrate().await?;
/// store.schema_check().await?;
/// assert!(store.runs_list(&Scope::all_tenants(), 10, None).await?.is_empty());
/// # Ok(())
/// # })
/// # }
/// ```
#[derive(Clone)]
pub struct Store {
    pub(in crate::database) pool: AnyPool,
    connections: Connections,
    /// Where it is, without user and password.
    place: Arc<str>,
    kind: DatabaseKind,
    pub(in crate::database) limits: StoreLimits,
    /// SQLite has one writer; waiting for it here is fair and costs no busy loop. Unused on PostgreSQL.
    writer: Arc<Mutex<()>>,
    /// What this process wrote that others in it may wait for.
    pub(crate) wakes: broadcast::Sender<Topic>,
    /// What a connection that listens takes, password included; none on SQLite.
    pub(in crate::database) server: Option<Arc<PgConnectOptions>>,
    pub(crate) months: KnownMonths,
    /// Batches that this process has completed.
    pub(crate) completed: Arc<AtomicU32>,
    /// Rows that lists left out.
    pub(crate) unreadable: UnreadableNotes,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({})", self.kind)
    }
}

impl Store {
    /// Opens a database: `postgres://…`, `sqlite://path`, or the path of a SQLite file, which is created where it is
    /// missing. The schema is not checked; see [`Store::schema_check`].
    ///
    /// # Errors
    /// When the URL names no database, the server can't be reached, or the file can't be opened. No error holds the
    /// password.
    pub async fn open(url: &str, options: StoreOptions) -> Result<Self, StoreError> {
        static DRIVERS: Once = Once::new();
        DRIVERS.call_once(sqlx::any::install_default_drivers);

        let place = DatabasePlace::parse(url)?;
        let kind = place.kind();
        let (connect, limits) = (place.options()?, options.limits);
        place.make_private()?;
        // One connection of our own first: a pool reports a wrong address by a time-out only.
        let opened = open_first(kind, limits, &connect).await;
        let First { is_mixed, allowed } = opened.map_err(|source| place.refused(source))?;
        if is_mixed {
            return Err(StoreError::TransactionPooler { place: place.shown() });
        }
        let mut connections_max = options.connections_max.max(1);
        if let Some(allowed) = allowed.filter(|allowed| *allowed <= connections_max) {
            // One is for the connection that listens.
            connections_max = allowed.saturating_sub(1).max(1);
            let configured = options.connections_max;
            tracing::warn!(
                allowed,
                configured,
                "the database lets its role have fewer connections than database.connections_max"
            );
        }
        // Set by the connection that is given several processes of the server.
        let is_mixed = Arc::new(AtomicBool::new(false));
        let found = Arc::clone(&is_mixed);
        let pool = AnyPoolOptions::new()
            .max_connections(connections_max)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .test_before_acquire(false)
            .after_connect(move |connection, _| {
                let found = Arc::clone(&found);
                Box::pin(async move {
                    let prepared = prepare_connection(kind, limits, connection).await;
                    if prepared.as_ref().is_err_and(pooler::is_mixed) {
                        found.store(true, Ordering::Relaxed);
                    }
                    prepared
                })
            });
        let pool = match kind {
            DatabaseKind::Sqlite if read_only_mark().is_some() => {
                pool.before_acquire(|connection, _| Box::pin(obey_read_only_mark(connection)))
            }
            DatabaseKind::Sqlite => pool,
            DatabaseKind::Postgres => pool.before_acquire(|connection, _| Box::pin(link::check(connection))),
        };
        let pool = pool.connect_lazy_with(connect);
        let wakes = broadcast::channel(WAKES_WAITING).0;
        let (server, months) = (place.server()?.map(Arc::new), KnownMonths::default());
        let (unreadable, writer, completed) = (UnreadableNotes::default(), Arc::default(), Arc::default());
        let connections = Connections::new(pool.clone(), server.clone(), limits, is_mixed);
        let place = Arc::from(place.shown());
        Ok(Self { pool, connections, place, kind, limits, writer, wakes, server, months, completed, unreadable })
    }

    /// Which database is in use.
    #[must_use]
    pub fn kind(&self) -> DatabaseKind {
        self.kind
    }

    /// The rows that this process met in the last hour and could not read, by table and name, at most 100 of each
    /// table: lists leave them out. Those of `artists` are in `unreadable_artists_list`.
    #[must_use]
    pub fn unreadable_rows(&self) -> Vec<UnreadableRow> {
        self.unreadable.rows()
    }

    /// How many rows it met besides those that [`unreadable_rows`](Self::unreadable_rows) names, by table, at most
    /// 10,000 of each.
    #[must_use]
    pub fn unreadable_others(&self) -> BTreeMap<String, u64> {
        self.unreadable.others()
    }

    /// Closes every connection, waiting for those in use, but for no longer than opening one may take.
    pub async fn close(&self) {
        // What is left over ends with its statement, or with the process.
        let _ = tokio::time::timeout(self.limits.connect, self.pool.close()).await;
    }

    pub(crate) fn query(&self, statement: &'static str) -> Statement {
        Statement::new(self.kind, statement)
    }

    /// A statement on the rows of a scope.
    pub(crate) fn scoped(&self, scope: &Scope, statement: &'static str) -> Statement {
        Statement::scoped(self.kind, scope, statement)
    }

    pub(crate) async fn rows(&self, what: &'static str, statement: Statement) -> Result<Vec<AnyRow>, StoreError> {
        self.link(what).await?.rows(what, statement).await
    }

    pub(crate) async fn row(&self, what: &'static str, statement: Statement) -> Result<Option<AnyRow>, StoreError> {
        self.link(what).await?.row(what, statement).await
    }

    /// Runs one writing statement in a transaction of its own; returns how many rows it wrote.
    pub(crate) async fn write(&self, what: &'static str, statement: Statement) -> Result<u64, StoreError> {
        self.writing_link(what).await?.execute(what, statement).await
    }

    /// Runs one writing statement with `RETURNING` in a transaction of its own.
    pub(crate) async fn write_returning(
        &self,
        what: &'static str,
        statement: Statement,
    ) -> Result<Option<AnyRow>, StoreError> {
        Ok(self.writing_link(what).await?.rows(what, statement).await?.into_iter().next())
    }

    /// A connection for several statements that read, each as of its own moment. Who holds it takes no other one.
    pub(crate) async fn link(&self, what: &'static str) -> Result<Link, StoreError> {
        self.link_with(None, what).await
    }

    /// A connection for several statements, of which one at least writes, each in a transaction of its own.
    pub(crate) async fn writing_link(&self, what: &'static str) -> Result<Link, StoreError> {
        let turn = self.writer().await?;
        self.link_with(turn, what).await
    }

    async fn link_with(&self, turn: WriterTurn, what: &'static str) -> Result<Link, StoreError> {
        let link = Link::of(&self.connections, self.kind, self.limits, turn).await;
        link.map_err(|source| {
            if pooler::is_mixed(&source) {
                StoreError::TransactionPooler { place: self.place.to_string() }
            } else {
                StoreError::Query { what, source }
            }
        })
    }

    pub(crate) async fn begin(&self) -> Result<Work, StoreError> {
        let link = self.writing_link("begin a transaction").await?;
        self.begin_on(link, WRITE).await
    }

    /// The same to complete a batch, whose statements look rows up by keys and have no condition that may be none: each
    /// is planned once for all parameters.
    pub(crate) async fn begin_by_key(&self) -> Result<Work, StoreError> {
        let link = self.writing_link("begin a transaction").await?;
        let is_early = self.completed.load(Ordering::Relaxed) < BATCHES_BEFORE_BY_KEY;
        self.begin_on(link, if is_early { WRITE } else { WRITE_BY_KEY }).await
    }

    /// Begins a transaction that is on disk once it is committed, also if the power fails then. PostgreSQL's always
    /// are, unless its operator set `synchronous_commit`; SQLite's otherwise are with the next checkpoint.
    pub(crate) async fn begin_durable(&self) -> Result<Work, StoreError> {
        let mut link = self.writing_link("begin a transaction").await?;
        link.make_durable().await?;
        self.begin_on(link, WRITE).await
    }

    async fn begin_on(&self, mut link: Link, postgres: &'static str) -> Result<Work, StoreError> {
        let begin = match self.kind {
            // A transaction that begins by reading can't become a writer once another process has written in between.
            DatabaseKind::Sqlite => "BEGIN IMMEDIATE",
            DatabaseKind::Postgres => postgres,
        };
        link.begin(begin).await?;
        let view = self.view_on(link);
        Ok(Work { view, pending_notifications: Vec::new(), wakes: self.wakes.clone(), proof: None })
    }

    /// Begins to read with several statements as of one moment.
    pub(crate) async fn read_view(&self) -> Result<ReadView, StoreError> {
        self.read_view_with(SNAPSHOT).await
    }

    /// The same for statements that read whole tables: they are planned by what the statistics say, and may take long.
    pub(crate) async fn report_view(&self) -> Result<ReadView, StoreError> {
        let mut view = self.read_view_with(PLAN_AS_A_REPORT).await?;
        view.link.long();
        Ok(view)
    }

    async fn read_view_with(&self, postgres: &'static str) -> Result<ReadView, StoreError> {
        let mut link = self.link("begin to read").await?;
        link.begin(self.reading(postgres)).await?;
        Ok(self.view_on(link))
    }

    fn view_on(&self, link: Link) -> ReadView {
        ReadView { link, kind: self.kind, unreadable: self.unreadable.clone() }
    }

    /// How a transaction that only reads is begun; this is how on PostgreSQL.
    fn reading(&self, postgres: &'static str) -> &'static str {
        match self.kind {
            // The one writer goes on.
            DatabaseKind::Sqlite => "BEGIN DEFERRED",
            DatabaseKind::Postgres => postgres,
        }
    }

    /// The same for rows that are read as they come, for as long as their reader takes.
    pub(crate) async fn unbounded_view(&self) -> Result<ReadView, StoreError> {
        let mut view = self.read_view_with(UNBOUNDED_SNAPSHOT).await?;
        view.link.long();
        Ok(view)
    }

    /// Waits for the turn of the one writer of a file.
    pub(crate) async fn writer(&self) -> Result<WriterTurn, StoreError> {
        match self.kind {
            DatabaseKind::Sqlite => {
                let turn = async { Ok(Some(Arc::clone(&self.writer).lock_owned().await)) };
                StoreError::in_time(self.limits.statement, "finish what was to be written before", turn).await
            }
            DatabaseKind::Postgres => Ok(None),
        }
    }
}

/// An open transaction that reads as of one moment. Dropping it ends it.
pub(crate) struct ReadView {
    link: Link,
    pub(crate) kind: DatabaseKind,
    pub(crate) unreadable: UnreadableNotes,
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
        self.link.rows(what, statement).await
    }

    pub(crate) async fn row(&mut self, what: &'static str, statement: Statement) -> Result<Option<AnyRow>, StoreError> {
        Ok(self.rows(what, statement).await?.into_iter().next())
    }

    /// Rows as they come, of which none is held.
    pub(crate) fn stream(
        &mut self,
        what: &'static str,
        statement: Statement,
    ) -> BoxStream<'_, Result<AnyRow, StoreError>> {
        self.link.stream(what, statement)
    }
}

/// An open transaction that writes too. Dropping it undoes everything.
pub(crate) struct Work {
    view: ReadView,
    /// What to notify of once it is committed.
    pub(crate) pending_notifications: Vec<Topic>,
    wakes: broadcast::Sender<Topic>,
    /// What tells whether it was committed.
    proof: Option<Box<Proof>>,
}

/// A row that a transaction writes for itself: it is there if the transaction was committed, and not otherwise.
struct Proof {
    store: Store,
    id: Uuid,
}

impl Proof {
    fn statement(&self, text: &'static str) -> Statement {
        self.store.query(text).bind(Uuid::nil().to_string()).bind(self.id.to_string())
    }

    fn write(&self) -> Statement {
        self.statement(PROVE).bind(Digest([0; 32]).to_string())
    }

    /// Whether the transaction was committed; `None` where the database does not say, which has just lost a connection.
    async fn is_there(&self) -> Option<bool> {
        let asked = async {
            let mut tries = 1;
            loop {
                match self.is_there_now().await {
                    Err(error) if error.is_transient() && tries < ASKED_TIMES => {
                        tracing::debug!(%error, tries, "the database is asked again whether it committed");
                        tokio::time::sleep(ASK_AGAIN_AFTER * tries).await;
                        tries += 1;
                    }
                    done => return done,
                }
            }
        };
        let asked = StoreError::in_time(self.store.limits.statement, "say whether it committed", asked).await;
        asked.inspect_err(|error| tracing::warn!(%error, "it is not known whether a transaction was committed")).ok()
    }

    /// Who writes the same row waits for a transaction that wrote it and has not ended yet. Nothing is written in the
    /// end: the transaction is dropped.
    async fn is_there_now(&self) -> Result<bool, StoreError> {
        let mut work = self.store.begin().await?;
        Ok(work.execute("ask whether a transaction was committed", self.write()).await? == 0)
    }

    async fn forget(&self) {
        if let Err(error) = self.store.write("forget a proof", self.statement(FORGET)).await {
            tracing::debug!(%error, "what proved that a transaction was committed stays for a day");
        }
    }
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
        self.view.link.execute(what, statement).await
    }

    /// Begins a part that [`undo_part`](Self::undo_part) undoes while the transaction goes on. Rows that were locked
    /// before it stay locked then.
    pub(crate) async fn begin_part(&mut self) -> Result<(), StoreError> {
        self.execute("begin a part of a transaction", self.query("SAVEPOINT part")).await?;
        Ok(())
    }

    /// Undoes the part that was begun last.
    pub(crate) async fn undo_part(&mut self) -> Result<(), StoreError> {
        self.execute("undo a part of a transaction", self.query("ROLLBACK TO SAVEPOINT part")).await?;
        self.end_part().await
    }

    /// Ends the part that was begun last. Otherwise the next one would be a part of it, and so on, hundreds deep.
    async fn end_part(&mut self) -> Result<(), StoreError> {
        self.execute("end a part of a transaction", self.query("RELEASE SAVEPOINT part")).await?;
        Ok(())
    }

    /// The same as [`execute`](Self::execute), after which the transaction goes on where the database refuses the
    /// statement and not where it does not answer.
    pub(crate) async fn execute_part(&mut self, what: &'static str, statement: Statement) -> Result<u64, StoreError> {
        self.begin_part().await?;
        let done = self.execute(what, statement).await;
        match &done {
            Ok(_) => self.end_part().await?,
            Err(error) if error.is_outage() => {}
            Err(_) => self.undo_part().await?,
        }
        done
    }

    /// Whether a row's time is still the one that was read, in whatever form it is written: SQLite would compare the
    /// texts. The statement locks the row and returns its time as `at`.
    pub(crate) async fn is_still(
        &mut self,
        what: &'static str,
        statement: Statement,
        read: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let row = self.row(what, statement).await?;
        let stored = row.and_then(|row| row.time("at").ok());
        Ok(stored.is_some_and(|stored| time_text(stored) == time_text(read)))
    }

    /// Gives each of the next statements the time of one that changes whole tables.
    pub(crate) fn long(&mut self) {
        self.view.link.long();
    }

    /// What it took so far, as [`Link::load`] says.
    pub(crate) fn load(&self) -> (u64, u64) {
        self.view.link.load()
    }

    /// Lets the transaction prove that it was committed, for an act that answers differently when it is done already:
    /// where the answer to its commit is lost, the database is asked whether it was carried out. It costs two
    /// statements.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn proven(mut self, store: &Store) -> Result<Self, StoreError> {
        let proof = Box::new(Proof { store: store.clone(), id: Uuid::now_v7() });
        self.execute("prepare to prove a commit", proof.write()).await?;
        self.proof = Some(proof);
        Ok(self)
    }

    /// Commits it. An error that is [transient](StoreError::is_transient) says that nothing was done, so that it can be
    /// repeated; where that is not known, the error is another one.
    ///
    /// # Errors
    /// [`StoreError::InDoubt`] when it may be committed; otherwise nothing was done.
    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        let Self { view, pending_notifications, wakes, proof } = self;
        match (view.link.commit().await, &proof) {
            (Ok(()), _) => {}
            (Err(error), _) if !error.leaves_in_doubt() => return Err(error),
            (Err(error), None) => return Err(StoreError::InDoubt { source: Box::new(error) }),
            // Rare, and not to lie in the frame of each commit.
            (Err(error), Some(proof)) => match Box::pin(proof.is_there()).await {
                Some(true) => tracing::debug!(%error, "the answer to a commit was lost, which was carried out"),
                Some(false) => return Err(error),
                None => return Err(StoreError::InDoubt { source: Box::new(error) }),
            },
        }
        for topic in pending_notifications {
            // There may be no listener.
            let _ = wakes.send(topic);
        }
        if let Some(proof) = proof {
            proof.forget().await;
        }
        Ok(())
    }

    /// Ends a transaction that wrote nothing, and with it its locks, whether or not that is answered.
    pub(crate) async fn end(self) {
        let _ = self.view.link.commit().await;
    }
}

/// What is found out on the first connection of a database.
struct First {
    /// Whether its statements run on several sessions.
    is_mixed: bool,
    /// How many connections the server lets the role have, where it has a limit.
    allowed: Option<u32>,
}

/// Opens a connection, finds out what has to be known before there are others, and closes it. Opening it has the whole
/// limit, and so has the rest, which opens another one: a server that is slow to let clients in is no fault.
async fn open_first(
    kind: DatabaseKind,
    limits: StoreLimits,
    connect: &AnyConnectOptions,
) -> Result<First, sqlx::Error> {
    let limit = limits.opening(kind);
    let connection = limits::within(limit, connect.connect()).await?;
    limits::within(limit, look_at_first(kind, limits, connect, connection)).await
}

async fn look_at_first(
    kind: DatabaseKind,
    limits: StoreLimits,
    connect: &AnyConnectOptions,
    mut connection: sqlx::AnyConnection,
) -> Result<First, sqlx::Error> {
    if kind == DatabaseKind::Postgres && pooler::is_between(connect, &mut connection).await? {
        return Ok(First { is_mixed: true, allowed: None });
    }
    match prepare_connection(kind, limits, &mut connection).await {
        Err(error) if pooler::is_mixed(&error) => return Ok(First { is_mixed: true, allowed: None }),
        prepared => prepared?,
    }
    let allowed = match kind {
        DatabaseKind::Sqlite => None,
        DatabaseKind::Postgres => connections::allowed(&mut connection).await.unwrap_or_default(),
    };
    connection.close().await?;
    Ok(First { is_mixed: false, allowed })
}

async fn prepare_connection(
    kind: DatabaseKind,
    limits: StoreLimits,
    connection: &mut sqlx::AnyConnection,
) -> Result<(), sqlx::Error> {
    if kind == DatabaseKind::Sqlite {
        // WAL lets readers go on while one writes; with it, NORMAL may lose the last commits in a power cut, never the
        // file. The busy timeout is for other processes: within this one, writers queue for `Store::writer`. What is
        // deleted is overwritten, so that little of an erased text is left in the file's free space.
        let busy = limits.lock.as_millis();
        let settings = format!(
            "PRAGMA busy_timeout = {busy}; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
             PRAGMA foreign_keys = ON; PRAGMA secure_delete = ON"
        );
        connection.execute(AssertSqlSafe(settings)).await?;
        if let Some(pages) = file_pages_max() {
            connection.execute(AssertSqlSafe(format!("PRAGMA max_page_count = {pages}"))).await?;
        }
        obey_read_only_mark(connection).await?;
    } else {
        // Set on the connection, not on the role or the database, which are the operator's. The path finds the tables.
        // A host that was stopped in the middle of a transaction keeps others from what it has locked for 60 s at
        // most. What is planned is look-ups by key, whatever the statistics say: a plan made while a table was empty
        // must not read the whole table once it is full. Reports undo this (`PLAN_AS_A_REPORT`).
        // What a host waits for has limits here too, so that a server that lost its host soon lets go of what that one
        // had locked: keepalives find a machine that is gone within 45 s, and a statement whose host closed the
        // connection ends within 10 s. (Not every system can look for that while a statement runs.)
        let statement = limits.long_statement.as_millis();
        // 0 would be no limit; the configuration refuses it.
        let lock = if off(Remedy::LockLimit) { 0 } else { limits.lock.as_millis() };
        let settings = format!(
            "SET search_path = backline, public; SET idle_in_transaction_session_timeout = '60s';
             SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off;
             SET statement_timeout = {statement}; SET lock_timeout = {lock};
             SET tcp_keepalives_idle = 15; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3;
             SET tcp_user_timeout = '45s';
             DO $$ BEGIN SET client_connection_check_interval = '10s'; EXCEPTION WHEN OTHERS THEN NULL; END $$"
        );
        pooler::set_on_one(connection, settings).await?;
    }
    Ok(())
}

/// Makes a connection to a file read-only or not, where a build for tests has a mark for it: SQLite itself refuses to
/// write then, as it does with a file whose mode or file system is read-only.
///
/// # Errors
/// When the connection does not take the setting: the pool opens another one instead.
async fn obey_read_only_mark(connection: &mut sqlx::AnyConnection) -> Result<bool, sqlx::Error> {
    if let Some(mark) = read_only_mark() {
        // Not prepared: SQLite changes the setting when it compiles the statement.
        let setting = format!("PRAGMA query_only = {}", mark.exists());
        connection.execute(sqlx::raw_sql(AssertSqlSafe(setting))).await?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_transaction_proves_that_it_was_committed_and_leaves_nothing_of_the_proof() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("test.db");
        let store = Store::open(path.to_str().expect("text"), StoreOptions::default()).await.expect("it opens");
        store.migrate().await.expect("migrated");
        let begun = async || store.begin().await.expect("a transaction").proven(&store).await.expect("it can prove it");
        let proofs = async || {
            let row = store.row("count", store.query("SELECT COUNT(*) AS n FROM api_answers")).await.expect("read");
            row.expect("a row").int("n").expect("a number")
        };

        let mut undone = begun().await;
        let proof = undone.proof.take().expect("a proof");
        drop(undone);
        assert_eq!(proof.is_there().await, Some(false));
        assert_eq!(proofs().await, 0, "asking writes nothing");

        // Its process did not hear of it.
        let Work { view, proof, .. } = begun().await;
        view.link.commit().await.expect("committed");
        let proof = proof.expect("a proof");
        assert_eq!((proof.is_there().await, proofs().await), (Some(true), 1));
        proof.forget().await;
        assert_eq!(proofs().await, 0);

        begun().await.commit().await.expect("committed");
        assert_eq!(proofs().await, 0);
    }

    #[tokio::test]
    async fn a_durable_transaction_waits_for_the_disk_and_the_next_one_does_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("test.db");
        // One connection: what is set for one transaction would be seen in the next.
        let options = StoreOptions { connections_max: 1, ..StoreOptions::default() };
        let store = Store::open(path.to_str().expect("text"), options).await.expect("the database opens");
        let synchronous = async |work: &mut Work| {
            let statement = work.query("SELECT synchronous AS n FROM pragma_synchronous");
            let row = work.row("read a setting", statement);
            row.await.expect("read").expect("a row").int("n").expect("a number")
        };
        let (normal, full) = (1, 2);
        for (durable, expected) in [(false, normal), (true, full), (false, normal)] {
            let begun = if durable { store.begin_durable().await } else { store.begin().await };
            let mut work = begun.expect("a transaction");
            assert_eq!(synchronous(&mut work).await, expected);
            work.commit().await.expect("committed");
        }
    }
}

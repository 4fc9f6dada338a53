//! The one module that speaks SQL: everything Backline remembers, in a SQLite file or on a PostgreSQL server.
//!
//! There is one implementation and one text per statement; `dialect` holds all that differs. Time is always an argument. What must be
//! true together is written in one transaction: a batch's completion above all (see [`work::completion`]).

mod artists;
mod credentials;
mod database;
mod events;
mod numbers;
mod releases;
mod reports;
pub mod work;

use std::path::Path;
use std::str::FromStr as _;
use std::sync::{Arc, Once};
use std::time::Duration;

use sqlx::any::{AnyArguments, AnyConnectOptions, AnyPoolOptions, AnyRow};
use sqlx::postgres::PgConnectOptions;
use sqlx::query::Query;
use sqlx::{Any, AnyPool, ConnectOptions as _, Connection as _, Executor as _, Transaction};
use tokio::sync::{Mutex, OwnedMutexGuard, broadcast};
use url::Url;

pub use artists::accounts::{AccountFilter, ArtistFilter, Saved};
pub use artists::consents::{COLLECTING_SCOPE, Recorded};
pub use artists::export::{Export, ExportedRow, exported};
pub use artists::privacy::{Erased, Sighting};
pub use artists::source_table::{ForeignSource, is_own_table};
pub use credentials::refreshes::{Expiring, RefreshLease};
pub use credentials::reseal::{Keyed, SEALED, Sealed, SealedPlace};
pub use credentials::sealed::{CredentialFilter, SealedCredential};
pub use database::dialect::DatabaseKind;
pub use database::error::StoreError;
pub use database::migrate::MigrationReport;
pub use database::notifications::{Listener, Topic};
pub use events::deliveries::{Backlog, DeliveryFilter, DeliveryLease, EventHead, Finish, NewDelivery};
pub use events::outbox::EventCursor;
pub use events::webhooks::SealedWebhookSecrets;
pub use numbers::archive::{ArchivePlace, Taken};
pub use numbers::archive_runs::ArchiveRun;
pub use numbers::history::AccountPast;
pub use numbers::metrics::MetricsFilter;
pub use numbers::quarantine::{QuarantineFilter, Release as QuarantineRelease};
pub use releases::installed::{InUse, LoadReport, Swap};
pub use releases::trials::{Canary, LastDocument, Recollection, Rollback};
pub use reports::health::HealthWindow;
pub use work::activations::Activation;
pub use work::batches::{BatchAccountView, BatchFilter, BatchView, Retried};
pub use work::budgets::BudgetKey;
pub use work::completion::{
    AccountResult, BatchResult, Completed, Completion, DocumentRecord, PluginLog, StoredAccount,
};
pub use work::hosts::{KnownHost, Presence};
pub use work::leaders::Term;
pub use work::outcomes::{AccountOutcome, NamedOutcome, PlatformOutcome};
pub use work::planning::{PlanGuard, Planning};
pub use work::run_state::{OpenAccounts, OpenBatches, RunDetails, RunState};
pub use work::schedules::NewSchedule;

use database::dialect::sql;
use database::error::During as _;

/// How long opening a database, or waiting for a free connection, may take.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long opening the first connection may take: a wrong address should be told soon.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Most rows handed to the database in one statement: bounds the memory of one JSON parameter to a few megabytes.
const ROWS_PER_STATEMENT: usize = 1_000;

/// Wake-ups that may wait for a listener; one that misses some looks at everything.
const WAKES_WAITING: usize = 64;

/// A statement with its parameters.
type Statement = Query<'static, Any, AnyArguments>;

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
#[derive(Clone)]
pub struct Store {
    pool: AnyPool,
    kind: DatabaseKind,
    /// SQLite has one writer; waiting for it here is fair and costs no busy loop. Unused on PostgreSQL.
    writer: Arc<Mutex<()>>,
    /// What this process wrote that others in it may wait for.
    wakes: broadcast::Sender<Topic>,
    /// What a connection that listens takes, password included; none on SQLite.
    server: Option<Arc<PgConnectOptions>>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({})", self.kind)
    }
}

impl Store {
    /// Opens a database: `postgres://…`, `sqlite://path`, or the path of a SQLite file, which is created where it is missing.
    /// The schema is not looked at; see [`Store::check_schema`].
    ///
    /// # Errors
    /// When the URL names no database, the server can't be reached, or the file can't be opened. No error holds the password.
    pub async fn open(url: &str, options: StoreOptions) -> Result<Self, StoreError> {
        static DRIVERS: Once = Once::new();
        DRIVERS.call_once(sqlx::any::install_default_drivers);

        let place = Place::parse(url)?;
        let kind = place.kind();
        let connect = place.options()?;
        // One connection of our own first: a pool answers a wrong address with a time-out only.
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
        Ok(Self { pool, kind, writer: Arc::default(), wakes, server: place.server()?.map(Arc::new) })
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

    fn query(&self, statement: &'static str) -> Statement {
        sqlx::query(sql(self.kind, statement))
    }

    async fn rows(&self, what: &'static str, statement: Statement) -> Result<Vec<AnyRow>, StoreError> {
        statement.fetch_all(&self.pool).await.during(what)
    }

    async fn row(&self, what: &'static str, statement: Statement) -> Result<Option<AnyRow>, StoreError> {
        statement.fetch_optional(&self.pool).await.during(what)
    }

    /// Runs one writing statement in a transaction of its own; answers how many rows it wrote.
    async fn write(&self, what: &'static str, statement: Statement) -> Result<u64, StoreError> {
        let _writer = self.writer().await;
        Ok(statement.execute(&self.pool).await.during(what)?.rows_affected())
    }

    /// Runs one writing statement with `RETURNING` in a transaction of its own.
    async fn write_returning(&self, what: &'static str, statement: Statement) -> Result<Option<AnyRow>, StoreError> {
        let _writer = self.writer().await;
        Ok(statement.fetch_all(&self.pool).await.during(what)?.into_iter().next())
    }

    async fn begin(&self) -> Result<Work, StoreError> {
        let writer = self.writer().await;
        let transaction = match self.kind {
            // A transaction that begins by reading can't become a writer once another process has written in between.
            DatabaseKind::Sqlite => self.pool.begin_with("BEGIN IMMEDIATE").await,
            DatabaseKind::Postgres => self.pool.begin().await,
        }
        .during("begin a transaction")?;
        let (pending_notifications, wakes) = (Vec::new(), self.wakes.clone());
        Ok(Work { transaction, kind: self.kind, pending_notifications, wakes, _writer: writer })
    }

    /// Begins to read with several statements as of one moment.
    async fn read_view(&self) -> Result<ReadView, StoreError> {
        let transaction = match self.kind {
            // It only reads: the one writer goes on.
            DatabaseKind::Sqlite => self.pool.begin_with("BEGIN DEFERRED").await,
            DatabaseKind::Postgres => self.pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await,
        };
        Ok(ReadView { transaction: transaction.during("begin to read")?, kind: self.kind })
    }

    async fn writer(&self) -> Option<OwnedMutexGuard<()>> {
        match self.kind {
            DatabaseKind::Sqlite => Some(Arc::clone(&self.writer).lock_owned().await),
            DatabaseKind::Postgres => None,
        }
    }
}

/// An open transaction. Dropping it undoes everything.
struct Work {
    // Dropped before the writer's turn passes on.
    transaction: Transaction<'static, Any>,
    kind: DatabaseKind,
    /// What to ring for once it is committed.
    pending_notifications: Vec<Topic>,
    wakes: broadcast::Sender<Topic>,
    _writer: Option<OwnedMutexGuard<()>>,
}

impl Work {
    fn query(&self, statement: &'static str) -> Statement {
        sqlx::query(sql(self.kind, statement))
    }

    async fn rows(&mut self, what: &'static str, statement: Statement) -> Result<Vec<AnyRow>, StoreError> {
        statement.fetch_all(&mut *self.transaction).await.during(what)
    }

    async fn row(&mut self, what: &'static str, statement: Statement) -> Result<Option<AnyRow>, StoreError> {
        Ok(self.rows(what, statement).await?.into_iter().next())
    }

    async fn execute(&mut self, what: &'static str, statement: Statement) -> Result<u64, StoreError> {
        Ok(statement.execute(&mut *self.transaction).await.during(what)?.rows_affected())
    }

    async fn commit(self) -> Result<(), StoreError> {
        self.transaction.commit().await.during("commit")?;
        for topic in self.pending_notifications {
            // Nobody may be listening.
            let _ = self.wakes.send(topic);
        }
        Ok(())
    }
}

/// Statements that all see what the first of them saw, whatever others commit meanwhile. It only reads, so nobody waits
/// for it.
struct ReadView {
    transaction: Transaction<'static, Any>,
    kind: DatabaseKind,
}

impl ReadView {
    fn query(&self, statement: &'static str) -> Statement {
        sqlx::query(sql(self.kind, statement))
    }

    async fn rows(&mut self, what: &'static str, statement: Statement) -> Result<Vec<AnyRow>, StoreError> {
        statement.fetch_all(&mut *self.transaction).await.during(what)
    }

    async fn row(&mut self, what: &'static str, statement: Statement) -> Result<Option<AnyRow>, StoreError> {
        statement.fetch_optional(&mut *self.transaction).await.during(what)
    }
}

async fn prepare_connection(kind: DatabaseKind, connection: &mut sqlx::AnyConnection) -> Result<(), sqlx::Error> {
    if kind == DatabaseKind::Sqlite {
        // WAL lets readers go on while one writes; with it, NORMAL may lose the last commits in a power cut, never the file.
        // The busy timeout is for other processes: within this one, writers queue for `Store::writer`.
        connection
            .execute(
                "PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON",
            )
            .await?;
    } else {
        // Set on the connection, not on the role or the database, which are the operator's.
        connection.execute("SET search_path = backline, public").await?;
        // A host that was stopped in the middle of a transaction keeps others from what it has locked for so long, and no longer.
        connection.execute("SET idle_in_transaction_session_timeout = '60s'").await?;
    }
    Ok(())
}

/// Where a database is.
enum Place {
    File(String),
    Server(Url),
}

impl Place {
    fn parse(url: &str) -> Result<Self, StoreError> {
        let url = url.trim();
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return match Url::parse(url) {
                Ok(url) => Ok(Self::Server(url)),
                // `url`'s errors name the kind of mistake, never the text.
                Err(error) => Err(StoreError::Url { problem: error.to_string() }),
            };
        }
        let path = match url.strip_prefix("sqlite:") {
            Some(rest) => {
                let rest = rest.strip_prefix("//").unwrap_or(rest);
                rest.split_once('?').map_or(rest, |(path, _)| path)
            }
            None => match url.split_once("://") {
                Some((scheme, _)) => return Err(StoreError::UnknownScheme { given: format!("{scheme}://") }),
                None => url,
            },
        };
        if path == ":memory:" || url.contains("mode=memory") {
            return Err(StoreError::InMemory);
        }
        if path.is_empty() {
            return Err(StoreError::UnknownScheme { given: url.to_owned() });
        }
        Ok(Self::File(path.to_owned()))
    }

    fn kind(&self) -> DatabaseKind {
        match self {
            Self::File(_) => DatabaseKind::Sqlite,
            Self::Server(_) => DatabaseKind::Postgres,
        }
    }

    fn options(&self) -> Result<AnyConnectOptions, StoreError> {
        match self {
            Self::File(path) => {
                let absolute = std::path::absolute(Path::new(path))
                    .map_err(|source| StoreError::File { path: path.clone(), source: sqlx::Error::Io(source) })?;
                // Only what would end the path or be decoded needs escaping.
                let escaped = absolute
                    .to_string_lossy()
                    .replace('%', "%25")
                    .replace('?', "%3F")
                    .replace('#', "%23")
                    .replace(' ', "%20");
                AnyConnectOptions::from_str(&format!("sqlite://{escaped}?mode=rwc"))
                    .map_err(|source| StoreError::File { path: path.clone(), source })
            }
            Self::Server(url) => AnyConnectOptions::from_url(url).map_err(|source| self.refused(source)),
        }
    }

    /// What a connection of PostgreSQL's own kind takes; none for a file.
    fn server(&self) -> Result<Option<PgConnectOptions>, StoreError> {
        match self {
            Self::File(_) => Ok(None),
            Self::Server(url) => PgConnectOptions::from_url(url).map(Some).map_err(|source| self.refused(source)),
        }
    }

    /// What to say when the first connection fails.
    fn refused(&self, source: sqlx::Error) -> StoreError {
        match self {
            Self::File(path) => StoreError::File { path: path.clone(), source },
            Self::Server(url) => StoreError::Unreachable {
                place: format!(
                    "{}:{}{}",
                    url.host_str().filter(|host| !host.is_empty()).unwrap_or("localhost"),
                    url.port().unwrap_or(5432),
                    url.path()
                ),
                source,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_apart_and_wrong_ones_refused() {
        let file = |url: &str| match Place::parse(url) {
            Ok(Place::File(path)) => path,
            _ => panic!("{url} should be a file"),
        };
        assert_eq!(file("backline.db"), "backline.db");
        assert_eq!(file("sqlite://backline.db?mode=rwc"), "backline.db");
        assert_eq!(file("sqlite:///var/lib/backline.db"), "/var/lib/backline.db");
        assert_eq!(file("sqlite:data/backline.db"), "data/backline.db");
        assert!(matches!(Place::parse("postgresql://x@h/db"), Ok(Place::Server(_))));

        for memory in [":memory:", "sqlite::memory:", "sqlite://:memory:", "sqlite://x?mode=memory"] {
            assert!(matches!(Place::parse(memory), Err(StoreError::InMemory)), "{memory}");
        }
        let Err(error) = Place::parse("mysql://root:canary@localhost/x") else { panic!("mysql is not supported") };
        assert!(error.to_string().contains("mysql://") && !error.to_string().contains("canary"), "{error}");
        let Err(error) = Place::parse("postgres://u:canary@[nonsense/x") else { panic!("not a URL") };
        assert!(!error.to_string().contains("canary"), "{error}");
    }
}

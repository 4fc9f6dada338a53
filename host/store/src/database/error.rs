//! What can go wrong with the database, each with what to do about it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::postgres::PgDatabaseError;

use backline_model::remedies::{Remedy, off};
use backline_model::{BatchId, Digest, Platform, ReleaseState, Tenant};

/// What can go wrong with the database. The cause is in `source`, never in the text; no text holds a password.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL names no database Backline can use.
    #[error(
        "'{given}' names no database Backline can use: give a file such as backline.db, sqlite://backline.db, or \
         postgres://user@host/name"
    )]
    UnknownScheme {
        /// The scheme, or the whole text where it has none.
        given: String,
    },
    /// A database in memory would be another one for each connection, and gone with the process.
    #[error("a database in memory can't be used: give a file such as backline.db")]
    InMemory,
    /// The URL can't be read.
    #[error("the PostgreSQL URL can't be read ({problem}): write postgres://user:password@host:5432/name")]
    Url {
        /// What is wrong with it.
        problem: String,
    },
    /// The server does not answer, or does not let us in.
    #[error(
        "can't open PostgreSQL at {place}: check that it runs, that user and password are right and that the database \
         exists"
    )]
    Unreachable {
        /// Host, port and database.
        place: String,
        /// The cause.
        #[source]
        source: sqlx::Error,
    },
    /// Statements of one connection would run on several.
    #[error(
        "{place} is a connection pooler in transaction mode or in statement mode, which runs the statements of one \
         session on several: use its session mode (PgBouncer: pool_mode = session; Supabase: port 5432 of the pooler) \
         or the server itself"
    )]
    TransactionPooler {
        /// Host, port and database.
        place: String,
    },
    /// The database can't hold every text.
    #[error(
        "the database is encoded as {found}, which can't hold the names and numbers of every artist: create one with \
         `CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0`"
    )]
    Encoding {
        /// The server's name of the encoding.
        found: String,
    },
    /// The file can't be opened or created.
    #[error("can't open the database file {path}: check that its folder exists and that file and folder are writable")]
    File {
        /// Path of the file.
        path: String,
        /// The cause.
        #[source]
        source: sqlx::Error,
    },
    /// No or not every migration was applied.
    #[error("the database is at schema version {found}, this binary needs {needed}: run `backline migrate`")]
    NotMigrated {
        /// The version found; 0 where there is none.
        found: i64,
        /// The version this binary was made for.
        needed: i64,
    },
    /// A newer binary has migrated it.
    #[error("the database is at schema version {found}, this binary knows only {known}: use the newer binary")]
    NewerSchema {
        /// The version found.
        found: i64,
        /// The latest version this binary knows.
        known: i64,
    },
    /// A migration failed; nothing of it remains but whole steps, which the next try does again.
    #[error("the migration failed and its open step was rolled back: fix the cause and run `backline migrate` again")]
    Migration {
        /// The cause.
        #[source]
        source: sqlx::migrate::MigrateError,
    },
    /// Another worker has taken the batch over, or it is finished.
    #[error("the lease of batch {batch} is lost: another worker has taken it over, so these results are dropped")]
    LeaseLost {
        /// The batch whose lease was lost.
        batch: BatchId,
    },
    /// The credential was changed since it was read.
    #[error("the credential of slot '{slot}' of {platform} was changed since it was read: read it again and repeat")]
    VersionConflict {
        /// Its platform.
        platform: Platform,
        /// Slot of the platform's connector.
        slot: String,
    },
    /// Another host has taken the role over, or this one gave it up.
    #[error("the role '{role}' has passed to another host: its changes were rolled back")]
    TermLost {
        /// Name of the role, such as `scheduler`.
        role: String,
    },
    /// This time of firing was decided before.
    #[error("the run that schedule '{schedule}' had due at {fire_time} was decided already")]
    FireDecided {
        /// Name of the schedule.
        schedule: String,
        /// Time of firing.
        fire_time: DateTime<Utc>,
    },
    /// The configuration owns it.
    #[error("the schedule '{name}' is set in the configuration: change [schedules.{name}] there")]
    ScheduleConfigured {
        /// The name that is taken or configured.
        name: String,
    },
    /// The name is taken.
    #[error(
        "there is a schedule '{name}' already: choose another name, or remove it with \
         `backline schedules remove {name}`"
    )]
    ScheduleExists {
        /// The name that is taken or configured.
        name: String,
    },
    /// The name is taken.
    #[error(
        "there is a webhook '{name}' already: choose another name, or remove it with `backline webhooks remove {name}`"
    )]
    WebhookExists {
        /// The name that is taken or configured.
        name: String,
    },
    /// A channel or route of alerts of the name is there already.
    #[error(
        "there is a {what} of alerts named '{name}' already: choose another name, or remove it with \
         `backline alerts {what}s remove {name}`"
    )]
    AlertExists {
        /// What it is: a channel, a route or a digest.
        what: &'static str,
        /// The name that is taken.
        name: String,
    },
    /// A route or a digest leads to the channel.
    #[error("the {what} '{by}' leads to '{name}': remove it first with `backline alerts {what}s remove {by}`")]
    ChannelInUse {
        /// Name of the channel.
        name: String,
        /// What leads to it: a route or a digest.
        what: &'static str,
        /// Name of that.
        by: String,
    },
    /// Only a granted release can become active.
    #[error("the release {} is {}: grant it first with `backline plugins grant`", digest.short(), state.as_str())]
    NotGranted {
        /// Digest of the release.
        digest: Digest,
        /// Where it stands.
        state: ReleaseState,
    },
    /// The release is active, staged or a canary.
    #[error("the release {} is active or about to be: activate another one first, or end its canary", digest.short())]
    ReleaseInUse {
        /// Digest of the release.
        digest: Digest,
    },
    /// No such row exists in the scope.
    #[error("there is no {what} {id}")]
    NotFound {
        /// What kind of thing.
        what: &'static str,
        /// Its id or name, as it was asked for.
        id: String,
    },
    /// The scope of one tenant does not allow it.
    #[error("the scope of tenant '{tenant}' does not allow to {what}: use the scope of all tenants")]
    OutOfScope {
        /// What was refused, as an infinitive.
        what: &'static str,
        /// The scope's tenant.
        tenant: Tenant,
    },
    /// An operator has decided already.
    #[error("the quarantined value {id} is {status} already")]
    AlreadyDecided {
        /// Id of the withheld value.
        id: uuid::Uuid,
        /// Status it was given: `released` or `discarded`.
        status: &'static str,
    },
    /// What the request of a key asks for was done already, and its answer is kept.
    #[error("a request with this key was carried out already: its answer is kept")]
    AnsweredBefore,
    /// A value does not fit its column; validation should have withheld it.
    #[error("the metric '{metric}' can't be stored as {value}: it has a column of another kind")]
    Misfit {
        /// Name of the metric.
        metric: String,
        /// The value that does not fit.
        value: String,
    },
    /// What is stored can't be read back.
    #[error("the column '{column}' holds what this binary can't read: {problem}")]
    Unreadable {
        /// Name of the column.
        column: String,
        /// What is wrong.
        problem: String,
    },
    /// A value can't be written as JSON.
    #[error("can't write {what} as JSON")]
    Unwritable {
        /// What was to be written.
        what: &'static str,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
    /// A document can't be compressed, or the stored one can't be expanded.
    #[error("can't {what} a document")]
    Compression {
        /// Compress, or expand.
        what: &'static str,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The operator's own query of another table was refused.
    #[error("sync.query can't be run: fix it, or set sync.url to the database it is meant for")]
    ForeignQuery {
        /// The cause.
        #[source]
        source: sqlx::Error,
    },
    /// The database refused to delete single rows; others that were to be deleted with them are gone.
    #[error("the database refused to {what}: {rows}; remove what keeps them, such as a trigger of another program")]
    Kept {
        /// What was being done.
        what: &'static str,
        /// What the rows are called.
        rows: String,
        /// Why it refused the first of them.
        #[source]
        source: Box<StoreError>,
    },
    /// The database did not answer in time. Whether the statement was carried out is not known.
    #[error("the database did not {what} within {seconds} s: check its load, its locks and the network to it")]
    NoAnswer {
        /// What was being done.
        what: &'static str,
        /// Longest time that it may take, in seconds.
        seconds: u64,
    },
    /// The answer to a commit was lost, and the database can't be asked whether it was carried out.
    #[error(
        "the database did not say whether it committed, so whether this was done is not known: check, and repeat it if \
         it was not"
    )]
    InDoubt {
        /// What was met instead of the answer.
        #[source]
        source: Box<StoreError>,
    },
    /// The database refused a statement, or the connection broke.
    #[error("the database failed to {what}")]
    Query {
        /// What was being done.
        what: &'static str,
        /// The cause.
        #[source]
        source: sqlx::Error,
    },
}

impl StoreError {
    /// Whether repeating the same call may succeed: the connection broke, or two transactions got into each other's
    /// way. Not where it may be done already: repeated, it would answer that there is nothing to do.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        let source = match self {
            Self::NoAnswer { .. } => return true,
            Self::Query { source, .. } => source,
            _ => return false,
        };
        match source {
            // The connection broke, also where that shows as an answer cut short while it was made or encrypted, or as
            // one of another call; no connection was free in time; SQLite's thread ended. None is about what was asked.
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::BeginFailed
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => true,
            sqlx::Error::Database(error) => error.code().is_some_and(|code| is_transient_code(&code)),
            _ => false,
        }
    }

    /// Whether a commit that ended so may have been carried out: its answer was lost, or the server was stopped while
    /// it committed. What it refuses otherwise is undone.
    pub(crate) fn leaves_in_doubt(&self) -> bool {
        match self {
            Self::Query { source: sqlx::Error::Database(error), .. } => {
                error.code().is_some_and(|code| is_of_a_lost_server(&code))
            }
            other => other.is_transient(),
        }
    }
}

/// Codes of PostgreSQL that say that the server, or the connection to it, went away.
fn is_of_a_lost_server(code: &str) -> bool {
    code.len() == SQLSTATE_LENGTH && (code.starts_with("08") || matches!(code, "57P01" | "57P02" | "57P03"))
}

/// Codes of PostgreSQL (five characters) and of SQLite (numbers) that a later call may not meet.
fn is_transient_code(code: &str) -> bool {
    match code {
        // Serialization failure, deadlock, a lock that was not available; the server's shutdown and start.
        "40001" | "40P01" | "55P03" | "57P01" | "57P02" | "57P03" => true,
        // Too many connections; a transaction, or a session, that stood still for too long, as its host did.
        "53300" | "25P03" | "57P05" => true,
        // The connection broke.
        code if code.len() == SQLSTATE_LENGTH => code.starts_with("08"),
        // Busy, locked; and of their kinds: recovery after a crash, a snapshot that another process has overtaken.
        code => code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, SQLITE_BUSY | SQLITE_LOCKED)),
    }
}

/// SQLite's result codes of a database and of a table that another one uses. Their extended codes hold them in their
/// lowest byte.
const SQLITE_BUSY: u32 = 5;
const SQLITE_LOCKED: u32 = 6;

/// PostgreSQL's code of a value that a check refuses, and SQLite's of a trigger that does.
const CHECK_VIOLATION: &str = "23514";
const SQLITE_CONSTRAINT_TRIGGER: &str = "1811";

/// Length of PostgreSQL's codes.
const SQLSTATE_LENGTH: usize = 5;

/// Why a database can't be written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unwritable {
    ReadOnly,
    Full,
    DiskRefuses,
}

impl Unwritable {
    /// What an error's code says; none where it says nothing of the kind.
    fn of_code(code: &str) -> Option<Self> {
        // PostgreSQL: read_only_sql_transaction, disk_full. SQLite: readonly and its kinds, full, and the kinds of
        // ioerr that are met by writing.
        match code {
            "25006" => Some(Self::ReadOnly),
            "53100" | "13" => Some(Self::Full),
            // A number may have five digits, and is none of SQLite's: the lowest byte of 53000 is that of readonly.
            code if code.len() == SQLSTATE_LENGTH => None,
            code => {
                let code = code.parse::<u32>().ok()?;
                if code & 0xff == SQLITE_READONLY {
                    return Some(Self::ReadOnly);
                }
                SQLITE_IOERR_OF_WRITING.contains(&code).then_some(Self::DiskRefuses)
            }
        }
    }
}

impl StoreError {
    /// Waits for the database, and for no longer than this. `what` is an infinitive.
    ///
    /// # Errors
    /// Those of the work, and [`StoreError::NoAnswer`].
    pub async fn in_time<T>(
        limit: Duration,
        what: &'static str,
        work: impl Future<Output = Result<T, Self>>,
    ) -> Result<T, Self> {
        let late = |_| Err(Self::no_answer(what, limit));
        tokio::time::timeout(limit, work).await.unwrap_or_else(late)
    }

    /// That the database did not do something within a time. `what` is an infinitive.
    pub(crate) fn no_answer(what: &'static str, limit: Duration) -> Self {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time-out in whole seconds")]
        let seconds = limit.as_secs_f64().ceil() as u64;
        Self::NoAnswer { what, seconds }
    }

    /// What is wrong with an artist that was to be written and what to do, where a check of the table `artists` says
    /// so: PostgreSQL may know fewer time zones than this host. It begins with the name of the column.
    #[must_use]
    pub fn refused_artist(&self) -> Option<String> {
        let Self::Query { source: sqlx::Error::Database(error), .. } = self else { return None };
        if !matches!(error.code().as_deref(), Some(CHECK_VIOLATION | SQLITE_CONSTRAINT_TRIGGER)) {
            return None;
        }
        // Other constraints and triggers have the same codes.
        let problem = error.message().strip_prefix("artists.")?;
        let hint = error.try_downcast_ref::<PgDatabaseError>().and_then(PgDatabaseError::hint);
        Some(hint.map_or_else(|| problem.to_owned(), |hint| format!("{problem}; {hint}")))
    }

    /// Why nothing can be written to the database at all and what to do, where that is what the error says.
    #[must_use]
    pub fn unwritable(&self) -> Option<&'static str> {
        Some(match self.refusal()? {
            Unwritable::ReadOnly => {
                "the database is read-only: it may have failed over, or been set so (default_transaction_read_only, \
                 the file's mode); make it writable"
            }
            Unwritable::Full => "the database's disk is full: free some space, or give it more",
            Unwritable::DiskRefuses => {
                "the disk refuses what is written to the database: it may be full, past a quota or broken; free some \
                 space, or look into the system's log"
            }
        })
    }

    /// Whether it is about the database as it is now, and says nothing about what was to be read or written.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        let code = match self {
            Self::Query { source: sqlx::Error::Database(error), .. } => error.code(),
            _ => None,
        };
        matches!(self, Self::TransactionPooler { .. } | Self::InDoubt { .. })
            || self.is_transient()
            || self.refusal().is_some()
            || code.is_some_and(|code| is_of_the_whole_database(&code))
    }

    fn refusal(&self) -> Option<Unwritable> {
        let Self::Query { source: sqlx::Error::Database(error), .. } = self else { return None };
        if off(Remedy::UnwritableNamed) {
            return None;
        }
        Unwritable::of_code(&error.code()?)
    }
}

/// Codes of PostgreSQL and of SQLite that speak of the whole database, and that an immediate further try would meet
/// again. Those that one row can cause for ever are not among them: a block that can't be read (58030, 266), and what a
/// trigger refuses (42501).
fn is_of_the_whole_database(code: &str) -> bool {
    match code {
        // A statement that an operator cancelled; a role or a database that is gone or locked out.
        "57014" | "57P04" | "28000" | "28P01" | "3D000" => true,
        // Too little of a resource, memory among them.
        "53000" | "53200" => true,
        code if code.len() == SQLSTATE_LENGTH => false,
        code => code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, SQLITE_NOMEM | SQLITE_CANTOPEN)),
    }
}

/// SQLite's result codes of too little memory and of a file that can't be opened. Their extended codes hold them in
/// their lowest byte.
const SQLITE_NOMEM: u32 = 7;
const SQLITE_CANTOPEN: u32 = 14;

/// Extended codes of `ioerr` that a disk answers with which is past a quota or has no room for the file of shared
/// memory: of a write, a sync, a sync of the folder, a truncation, and of opening, sizing and mapping that file.
const SQLITE_IOERR_OF_WRITING: [u32; 7] = [778, 1034, 1290, 1546, 4618, 4874, 5386];

/// SQLite's result code of a database that is read-only; its extended codes hold it in their lowest byte.
const SQLITE_READONLY: u32 = 8;

/// Says what was being done when sqlx failed.
pub(crate) trait During<T> {
    /// Adds what was being done, as an infinitive: `lease a batch`.
    fn during(self, what: &'static str) -> Result<T, StoreError>;
}

impl<T> During<T> for Result<T, sqlx::Error> {
    fn during(self, what: &'static str) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Query { what, source })
    }
}

/// Whether a row was found, for what needs no more of it: one that can't be read is there too.
///
/// # Errors
/// When the database fails.
pub fn is_there<T>(found: Result<Option<T>, StoreError>) -> Result<bool, StoreError> {
    match found {
        Err(StoreError::Unreadable { .. }) => Ok(true),
        found => found.map(|found| found.is_some()),
    }
}

/// What the database did of one thing among many. Where it refused that, the first error is kept and there is nothing:
/// the others are not to wait for it.
///
/// # Errors
/// An outage, which the others would meet too.
pub(crate) fn unless_refused<T: Default>(
    done: Result<T, StoreError>,
    failed: &mut Option<StoreError>,
) -> Result<T, StoreError> {
    match done {
        Err(error) if !error.is_outage() => {
            failed.get_or_insert(error);
            Ok(T::default())
        }
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_broken_connection_says_is_no_ones_fault() {
        let broken = [
            sqlx::Error::Io(std::io::ErrorKind::BrokenPipe.into()),
            sqlx::Error::Tls("the peer closed the connection".into()),
            sqlx::Error::Protocol("unexpected response from SSLRequest: 0x00".to_owned()),
            sqlx::Error::BeginFailed,
            sqlx::Error::PoolTimedOut,
            sqlx::Error::PoolClosed,
            sqlx::Error::WorkerCrashed,
        ];
        for source in broken {
            let error = StoreError::Query { what: "read", source };
            assert!(error.is_transient() && error.is_outage(), "{error:?}");
        }
        let wrong = StoreError::Query { what: "read", source: sqlx::Error::ColumnNotFound("name".to_owned()) };
        assert!(!wrong.is_transient() && !wrong.is_outage(), "{wrong:?}");
    }

    #[test]
    fn a_call_is_repeated_where_the_next_one_may_succeed() {
        for code in ["40001", "40P01", "55P03", "57P01", "57P05", "53300", "25P03", "08000", "08006"] {
            assert!(is_transient_code(code), "{code}");
        }
        for code in ["5", "6", "261", "262", "517", "773"] {
            assert!(is_transient_code(code), "SQLite's {code}");
        }
        for code in ["23505", "42P01", "25006", "53100", "57014", "13", "19", "8", "264", "08", ""] {
            assert!(!is_transient_code(code), "{code}");
        }
    }

    #[test]
    fn a_commit_is_in_doubt_where_its_answer_was_lost_and_is_not_repeated_then() {
        let lost = StoreError::Query { what: "commit", source: sqlx::Error::Io(std::io::ErrorKind::BrokenPipe.into()) };
        assert!(lost.leaves_in_doubt());
        assert!(StoreError::NoAnswer { what: "commit", seconds: 9 }.leaves_in_doubt());
        for code in ["08006", "57P01", "57P02"] {
            assert!(is_of_a_lost_server(code), "{code}");
        }
        // What the server undid, and a file that is locked.
        for code in ["40001", "40P01", "55P03", "25P03", "23505", "5", "08", ""] {
            assert!(!is_of_a_lost_server(code), "{code}");
        }
        let in_doubt = StoreError::InDoubt { source: Box::new(lost) };
        assert!(in_doubt.is_outage() && !in_doubt.is_transient(), "{in_doubt:?}");
    }

    #[test]
    fn a_disk_that_refuses_is_named_as_what_it_is() {
        for (code, why) in [
            ("25006", Some(Unwritable::ReadOnly)),
            ("8", Some(Unwritable::ReadOnly)),
            ("1544", Some(Unwritable::ReadOnly)),
            ("53100", Some(Unwritable::Full)),
            ("13", Some(Unwritable::Full)),
            // A quota; no room for the file of shared memory.
            ("778", Some(Unwritable::DiskRefuses)),
            ("4874", Some(Unwritable::DiskRefuses)),
            // A block that can't be read, and what is about a row.
            ("266", None),
            ("58030", None),
            ("53000", None),
            ("22024", None),
            ("19", None),
            ("23505", None),
        ] {
            assert_eq!(Unwritable::of_code(code), why, "{code}");
        }
    }

    #[test]
    fn what_is_wrong_with_the_whole_database_is_told_from_what_is_wrong_with_a_row() {
        for code in ["53000", "53200", "57014", "57P04", "28P01", "3D000", "7", "14", "526"] {
            assert!(is_of_the_whole_database(code), "{code}");
        }
        for code in ["23505", "22P02", "42501", "42P01", "XX000", "58030", "P0001", "19", "1299", "11", "266", ""] {
            assert!(!is_of_the_whole_database(code), "{code}");
        }
    }
}

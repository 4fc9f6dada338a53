//! How long anything may wait for a database. The limits stand here, except where only one file knows why it has one.
//! What waits does so through one of the functions below or [`StoreError::in_time`]: opening, checking and closing a
//! connection, a statement, a row of a stream.
//!
//! Neither sqlx nor SQLite ends a wait by itself: no socket is handed out on which a time-out could be set, and the
//! connections of the pool let no one reach SQLite's own interrupt, which a disk that hangs would not hear either. So
//! the wait is given up, not the work. A connection to a server is closed then. The thread of a file finishes what it
//! does, and its connection is not used before that.

use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::{self, BoxStream};

use crate::database::dialect::DatabaseKind;
use crate::database::error::{During as _, StoreError};
use backline_model::remedies::{Remedy, off};

/// How long a caller waits for a connection that is free, or for one more to be opened.
pub(crate) const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a connection may take to confirm that it is in order, when it is taken from the pool or given back.
pub(crate) const CHECK_WITHIN: Duration = Duration::from_secs(5);

/// The longest that all migrations of a database may take together: they rewrite tables of any size. Their operator
/// sees that they work, so the limit is for a server that went silent.
pub(crate) const MIGRATION_MAX: Duration = Duration::from_secs(86_400);

/// Bounds of what the database may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreLimits {
    /// Opening a connection; what is found out and set on it then; closing a database.
    pub connect: Duration,
    /// One statement; the turn of SQLite's one writer.
    pub statement: Duration,
    /// One statement that reads or changes whole tables, such as a report or a month's archive, and each row of one
    /// whose rows are read as they come. PostgreSQL itself ends any statement after it.
    pub long_statement: Duration,
    /// Waiting for a lock; on SQLite for that of another process, since the writers of this one take turns.
    pub lock: Duration,
}

impl Default for StoreLimits {
    fn default() -> Self {
        Self {
            // A wrong address should be reported soon.
            connect: Duration::from_secs(10),
            statement: Duration::from_secs(60),
            long_statement: Duration::from_secs(3_600),
            lock: Duration::from_secs(30),
        }
    }
}

/// The longest wait for a page of the rows of another database: its first one comes only after the whole table was
/// sorted or grouped. A sync whose source went silent is given up after it.
const SOURCE_PAGE_MAX: Duration = Duration::from_secs(600);

impl StoreLimits {
    /// The limit of a page of the rows of another database, and of a row of a file: as long as a long statement, but
    /// no more than ten minutes.
    #[must_use]
    pub fn source_page(&self) -> Duration {
        self.long_statement.min(SOURCE_PAGE_MAX)
    }

    /// The limit of opening a database. Another process may keep a file locked for as long as a lock is waited for.
    pub(crate) fn opening(&self, kind: DatabaseKind) -> Duration {
        match kind {
            DatabaseKind::Sqlite => self.connect.saturating_add(self.lock),
            DatabaseKind::Postgres => self.connect,
        }
    }
}

/// Waits for a connection to be opened, checked or closed.
///
/// # Errors
/// Those of the work, and `TimedOut`.
pub(crate) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    let timed_out = |_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()));
    tokio::time::timeout(limit, work).await.unwrap_or_else(timed_out)
}

/// Waits for the answer to a statement. `what` is an infinitive.
///
/// # Errors
/// Those of the statement, and [`StoreError::NoAnswer`].
pub(crate) async fn answer_within<T>(
    limit: Duration,
    what: &'static str,
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, StoreError> {
    if off(Remedy::StatementLimit) {
        return work.await.during(what);
    }
    StoreError::in_time(limit, what, async { work.await.during(what) }).await
}

/// The rows of a stream, each of which is waited for within the limit. The time that their reader takes does not count.
/// Nothing follows a row that did not come in time.
pub(crate) fn rows_within<'a, R: Send + 'a>(
    limit: Duration,
    what: &'static str,
    rows: BoxStream<'a, Result<R, sqlx::Error>>,
) -> BoxStream<'a, Result<R, StoreError>> {
    let limited = stream::unfold(Some(rows), move |rows| async move {
        let mut rows = rows?;
        let next = async { rows.next().await.transpose() };
        match answer_within(limit, what, next).await {
            Ok(row) => row.map(|row| (Ok(row), Some(rows))),
            Err(error @ StoreError::NoAnswer { .. }) => Some((Err(error), None)),
            // A row that can't be read is followed by others.
            Err(error) => Some((Err(error), Some(rows))),
        }
    });
    limited.boxed()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    use super::*;

    /// The files that reach a connection of sqlx. Each wait in them passes one of the functions above, or is a part of
    /// one that does. All others work with `Link`, which has no other way.
    const REACHING: [&str; 10] = [
        "artists/source_table.rs",
        "database/connection.rs",
        "database/connections.rs",
        "database/limits.rs",
        "database/link.rs",
        "database/migrate.rs",
        "database/notifications.rs",
        "database/owner.rs",
        "database/place.rs",
        "database/pooler.rs",
    ];

    /// What is in a file that reaches one: what it imports, or a call that needs no import.
    const SIGNS: [&str; 10] = [
        "Executor as _",
        "ConnectOptions as _",
        "Connection as _",
        "PgListener",
        ".fetch(",
        ".fetch_all(",
        ".fetch_one(",
        ".fetch_optional(",
        ".execute(&mut",
        ".pool.",
    ];

    #[test]
    fn no_other_file_can_wait_for_a_connection() {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let (mut folders, mut reaching) = (vec![sources.clone()], BTreeSet::<PathBuf>::new());
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let text = std::fs::read_to_string(&path).expect("text");
                    let own = path.strip_prefix(&sources).expect("below it").to_owned();
                    reaching.extend(SIGNS.iter().any(|sign| text.contains(sign)).then_some(own));
                }
            }
        }
        let known: BTreeSet<PathBuf> = REACHING.iter().map(PathBuf::from).collect();
        assert_eq!(reaching, known);
    }

    /// What is ready comes whatever the limit is.
    const SHORT: Duration = Duration::from_millis(10);

    fn is_no_answer<T>(answer: &Result<T, StoreError>) -> bool {
        matches!(answer, Err(StoreError::NoAnswer { what: "read", .. }))
    }

    #[tokio::test]
    async fn what_never_comes_is_waited_for_until_the_limit() {
        let never = || std::future::pending::<Result<(), sqlx::Error>>();
        let late = within(SHORT, never()).await;
        assert!(matches!(&late, Err(sqlx::Error::Io(error)) if error.kind() == std::io::ErrorKind::TimedOut));
        assert!(is_no_answer(&answer_within(SHORT, "read", never()).await));
    }

    #[tokio::test]
    async fn a_stream_ends_at_the_row_that_does_not_come_and_not_at_one_that_can_not_be_read() {
        let unreadable = Err(sqlx::Error::Decode("not UTF-8".into()));
        let rows = stream::iter([Ok(1), unreadable, Ok(2)]).chain(stream::pending()).boxed();
        let found: Vec<_> = rows_within(SHORT, "read", rows).collect().await;
        assert!(matches!(found.as_slice(), [Ok(1), Err(StoreError::Query { .. }), Ok(2), last] if is_no_answer(last)));
        let whole: Vec<_> = rows_within(SHORT, "read", stream::iter([Ok(1), Ok(2)]).boxed()).collect().await;
        assert!(matches!(whole.as_slice(), [Ok(1), Ok(2)]));
    }
}

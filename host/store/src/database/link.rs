//! One connection in use, whose statements end in time.
//!
//! A server that is gone without a word (failover, a lost machine, a firewall that forgets) leaves a read waiting for
//! ever, and so does a file whose disk hangs. So each statement has a limit here, and each row of those whose rows are
//! read as they come. A connection to a server that did not answer within it, or whose caller went away in the middle
//! of a statement, is closed instead of being given back: the pool would wait for its answer. That of a file is given
//! back once its thread has done what it was asked for, and SQLite's next writer has its turn then.

use std::future::ready;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use sqlx::any::AnyRow;
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, Connection as _, Executor as _, Statement as _};
use tokio::sync::OwnedMutexGuard;

use crate::database::connections::Connections;
use crate::database::dialect::DatabaseKind;
use crate::database::error::{During as _, StoreError};
use crate::database::limits::{self, CHECK_WITHIN, StoreLimits, answer_within};
use crate::database::statement::{Again, Statement};
use backline_model::remedies::{Remedy, off};

/// The turn of SQLite's one writer; none on PostgreSQL, and where only reading is wanted.
pub(crate) type WriterTurn = Option<OwnedMutexGuard<()>>;

/// A connection of the pool. Dropping it undoes what was not committed.
pub(crate) struct Link {
    connection: Option<PoolConnection<Any>>,
    kind: DatabaseKind,
    limits: StoreLimits,
    /// Limit of a statement.
    limit: Duration,
    in_transaction: bool,
    /// SQLite waits at each commit until it is on disk.
    durable: bool,
    /// Passes on once the transaction is over.
    turn: WriterTurn,
    /// A statement was sent, and its answer was not read to the end.
    unanswered: bool,
    /// Rows that statements read, inserted, changed or deleted.
    rows: u64,
    /// Size of the statements' parameters, in bytes.
    bytes: u64,
}

/// Runs a statement within the limit.
macro_rules! answered {
    ($link:expr, $limit:expr, $what:expr, $connection:ident => $work:expr) => {{
        let limit: Duration = $limit;
        let Some($connection) = $link.connection.as_deref_mut() else {
            return Err(sqlx::Error::PoolClosed).during($what);
        };
        $link.unanswered = true;
        let answer = answer_within(limit, $what, $work).await;
        $link.unanswered = matches!(answer, Err(StoreError::NoAnswer { .. }));
        answer
    }};
}

impl Link {
    pub(crate) async fn of(
        connections: &Connections,
        kind: DatabaseKind,
        limits: StoreLimits,
        turn: WriterTurn,
    ) -> Result<Self, sqlx::Error> {
        let connection = Some(connections.acquire().await?);
        let limit = limits.statement;
        Ok(Self {
            connection,
            kind,
            limits,
            limit,
            in_transaction: false,
            durable: false,
            turn,
            unanswered: false,
            rows: 0,
            bytes: 0,
        })
    }

    /// Gives each of the next statements the time of one that reads or changes whole tables.
    pub(crate) fn long(&mut self) {
        self.limit = self.limits.long_statement;
    }

    /// Rows that its statements read, inserted, changed or deleted, without those that triggers wrote, and the bytes of
    /// the statements' parameters.
    pub(crate) fn load(&self) -> (u64, u64) {
        (self.rows, self.bytes)
    }

    fn limit_of(&self, statement: &Statement) -> Duration {
        if statement.is_long() { self.limits.long_statement } else { self.limit }
    }

    /// Makes the next commit wait until it is on disk.
    pub(crate) async fn make_durable(&mut self) -> Result<(), StoreError> {
        if self.kind == DatabaseKind::Sqlite {
            self.durable = true;
            let wait = "PRAGMA synchronous = FULL";
            answered!(self, self.limit, "wait for the disk", connection => connection.execute(wait))?;
        }
        Ok(())
    }

    pub(crate) async fn begin(&mut self, statement: &'static str) -> Result<(), StoreError> {
        // Set before: a caller that goes away may leave a transaction behind.
        self.in_transaction = true;
        answered!(self, self.limit, "begin a transaction", connection => connection.execute(statement))?;
        Ok(())
    }

    pub(crate) async fn commit(mut self) -> Result<(), StoreError> {
        answered!(self, self.limit, "commit", connection => connection.execute("COMMIT"))?;
        self.in_transaction = false;
        if self.durable {
            // It is committed. A connection that goes on waiting for the disk is slower, and no more.
            let no_wait = "PRAGMA synchronous = NORMAL";
            let _ = answered!(self, self.limit, "stop waiting for the disk", connection => connection.execute(no_wait));
        }
        Ok(())
    }

    pub(crate) async fn rows(&mut self, what: &'static str, statement: Statement) -> Result<Vec<AnyRow>, StoreError> {
        let limit = self.limit_of(&statement);
        self.bytes += statement.bytes();
        let (query, again) = statement.into_query_and_again();
        let rows = answered!(self, limit, what, connection => query.fetch_all(connection));
        let rows = match (rows, again) {
            (Err(error), Some(again)) if is_no_text(&error) => self.rows_in_bytes(limit, what, again).await,
            (rows, _) => rows,
        }?;
        self.rows += rows.len() as u64;
        Ok(rows)
    }

    pub(crate) async fn row(&mut self, what: &'static str, statement: Statement) -> Result<Option<AnyRow>, StoreError> {
        let limit = self.limit_of(&statement);
        (self.rows, self.bytes) = (self.rows + 1, self.bytes + statement.bytes());
        let (query, again) = statement.into_query_and_again();
        let row = answered!(self, limit, what, connection => query.fetch_optional(connection));
        match (row, again) {
            (Err(error), Some(again)) if is_no_text(&error) => {
                Ok(self.rows_in_bytes(limit, what, again).await?.into_iter().next())
            }
            (row, _) => row,
        }
    }

    /// Reads again what holds a text that is none: so only what reads that column of that row finds it unreadable.
    async fn rows_in_bytes(
        &mut self,
        limit: Duration,
        what: &'static str,
        again: Again,
    ) -> Result<Vec<AnyRow>, StoreError> {
        let prepared = answered!(self, limit, what, connection => connection.prepare(again.text()))?;
        let query = again.in_bytes(prepared.columns());
        answered!(self, limit, what, connection => query.fetch_all(connection))
    }

    /// Rows as they come, each within the statement's limit. Their reader may be slow: its time does not count. A
    /// reader that stops early leaves an answer behind, which is not read any more.
    pub(crate) fn stream(
        &mut self,
        what: &'static str,
        statement: Statement,
    ) -> BoxStream<'_, Result<AnyRow, StoreError>> {
        self.unanswered = true;
        let limit = self.limit_of(&statement);
        let rows = match self.connection.as_deref_mut() {
            Some(connection) => statement.into_query().fetch(connection),
            None => stream::once(ready(Err(sqlx::Error::PoolClosed))).boxed(),
        };
        limits::rows_within(limit, what, rows)
    }

    pub(crate) async fn execute(&mut self, what: &'static str, statement: Statement) -> Result<u64, StoreError> {
        let limit = self.limit_of(&statement);
        self.bytes += statement.bytes();
        let done = answered!(self, limit, what, connection => statement.into_query().execute(connection))?;
        self.rows += done.rows_affected();
        Ok(done.rows_affected())
    }
}

/// Whether a row holds bytes as text that are not UTF-8.
fn is_no_text(error: &StoreError) -> bool {
    matches!(error, StoreError::Query { source: sqlx::Error::Decode(_), .. }) && !off(Remedy::UnreadableRows)
}

impl Drop for Link {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        if self.unanswered && self.kind == DatabaseKind::Postgres {
            // The server undoes the transaction when it finds the connection closed.
            drop(connection.detach());
        } else {
            let turn = self.turn.take().filter(|_| self.in_transaction || self.unanswered);
            give_back(connection, self.kind, self.in_transaction, self.unanswered, turn);
        }
    }
}

/// What the pool does by itself when a connection is dropped, but within a time. SQLite's next writer has its turn once
/// the transaction is undone, or the statement is over that nobody waits for any more.
fn give_back(mut connection: PoolConnection<Any>, kind: DatabaseKind, undo: bool, unanswered: bool, turn: WriterTurn) {
    // Without a runtime the process ends, and the connection with it.
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    let returned = async move {
        let over = if undo {
            connection.execute("ROLLBACK").await.map(drop)
        } else if unanswered {
            connection.ping().await
        } else {
            Ok(())
        };
        if over.is_err() {
            drop(connection.detach());
            return;
        }
        drop(turn);
        connection.return_to_pool().await;
    };
    runtime.spawn(async move {
        match kind {
            // Nobody waits for this but the next writer and who needs a connection, and both have limits. A connection
            // that is closed instead would leave its thread behind, with whatever it has locked.
            DatabaseKind::Sqlite => returned.await,
            // A connection that can't be given back in time is dropped, which closes it.
            DatabaseKind::Postgres => drop(tokio::time::timeout(CHECK_WITHIN, returned).await),
        }
    });
}

/// Checks a connection that was idle before it is used again.
///
/// # Errors
/// When it does not answer: the pool opens another one instead.
pub(crate) async fn check(connection: &mut AnyConnection) -> Result<bool, sqlx::Error> {
    limits::within(CHECK_WITHIN, connection.ping()).await.map(|()| true)
}

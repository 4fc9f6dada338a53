//! Whether a session on PostgreSQL is one session, or a pooler hands its statements to any of several.
//!
//! Backline sets a search path and limits on its connections, listens on one of them and holds locks of sessions.
//! Behind a pooler in transaction mode these would be set on whatever connection is at hand: another program's next
//! statement would run with them, and Backline's own without.

use sqlx::any::AnyConnectOptions;
use sqlx::{AnyConnection, ConnectOptions as _, Connection as _, Executor as _, Row as _};

/// Tries to catch a pooler: other clients may have taken the connection that it would have handed over.
const TRIES: u32 = 3;

/// Whether a connection was given two processes of the server, or two connections the same one, one after the other: a
/// connection of its own keeps its process for as long as it is open, and no other has it. A pooler hands out its
/// connections in turn, or the one that came back last. Nothing is set on either.
///
/// # Errors
/// When the server or the pooler refuses a statement. A second connection that is refused proves nothing.
pub(crate) async fn is_between(
    options: &AnyConnectOptions,
    connection: &mut AnyConnection,
) -> Result<bool, sqlx::Error> {
    let Ok(mut other) = options.connect().await else { return Ok(false) };
    let mut is_shared = false;
    let first = process(connection).await?;
    for _ in 0..TRIES {
        let own = process(connection).await?;
        if own != first {
            is_shared = true;
            break;
        }
        // While it is in a transaction, the other connection holds a process, which the first one has to be without.
        other.execute("BEGIN").await?;
        is_shared = process(&mut other).await? == own;
        other.execute("ROLLBACK").await?;
        if is_shared {
            break;
        }
    }
    other.close().await?;
    Ok(is_shared)
}

/// The process of the server that answers.
async fn process(connection: &mut AnyConnection) -> Result<i64, sqlx::Error> {
    // Not prepared: a pooler may not know statements that another connection prepared.
    let row = connection.fetch_one(sqlx::raw_sql("SELECT pg_backend_pid()::bigint AS pid")).await?;
    row.try_get("pid")
}

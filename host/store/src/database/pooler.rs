//! Whether a session on PostgreSQL is one session, or a pooler hands its statements to any of several.
//!
//! Backline sets a search path and limits on its connections, listens on one of them and holds locks of sessions.
//! Behind a pooler in transaction or statement mode these would be set on whatever connection is at hand: another
//! program's next statement would run with them, and Backline's own without.

use std::time::Duration;

use sqlx::any::AnyConnectOptions;
use sqlx::{AnyConnection, AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, Row as _};

/// Tries to catch a pooler: other clients may have taken the connection that it would have handed over.
const TRIES: u32 = 3;

/// How long opening the second connection, or one of its tries, may take. A pooler in session mode that has no room for
/// it lets it wait.
const OTHER_WITHIN: Duration = Duration::from_secs(3);

/// How often the process of a new connection is looked at before anything is set on it.
const LOOKS: u32 = 2;

/// Says of a connection that several processes of the server answered it.
#[derive(Debug, thiserror::Error)]
#[error("the statements of one connection run on several sessions of the server")]
struct Mixed;

/// The error of a connection whose statements run on several sessions.
pub(crate) fn mixed() -> sqlx::Error {
    sqlx::Error::Configuration(Box::new(Mixed))
}

/// Whether an error says that the statements of one connection run on several sessions.
pub(crate) fn is_mixed(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Configuration(source) if source.is::<Mixed>())
}

/// Makes settings on a connection, if the same process of the server answers before it and after it. A pooler whose
/// connections other clients held while the database was opened shows itself at one of the connections that are opened
/// later.
///
/// # Errors
/// When the server refuses a statement, and one that [`is_mixed`] knows.
pub(crate) async fn set_on_one(connection: &mut AnyConnection, settings: String) -> Result<(), sqlx::Error> {
    let first = process(connection).await?;
    for _ in 1..LOOKS {
        if process(connection).await? != first {
            return Err(mixed());
        }
    }
    connection.execute(AssertSqlSafe(settings)).await?;
    if process(connection).await? == first { Ok(()) } else { Err(mixed()) }
}

/// Whether a connection was given two processes of the server, or two connections the same one, one after the other: a
/// connection of its own keeps its process for as long as it is open, and no other has it. A pooler hands out its
/// connections in turn, or the one that came back last. Nothing is set on either.
///
/// # Errors
/// When the server or the pooler refuses a statement. A second connection that is refused, or gets no answer, proves
/// nothing.
pub(crate) async fn is_between(
    options: &AnyConnectOptions,
    connection: &mut AnyConnection,
) -> Result<bool, sqlx::Error> {
    let Ok(Ok(mut other)) = tokio::time::timeout(OTHER_WITHIN, options.connect()).await else { return Ok(false) };
    let first = process(connection).await?;
    for _ in 0..TRIES {
        let own = process(connection).await?;
        if own != first {
            return Ok(true);
        }
        match tokio::time::timeout(OTHER_WITHIN, process_in_transaction(&mut other)).await {
            Ok(Ok(theirs)) if theirs == own => return Ok(true),
            Ok(Ok(_)) => {}
            Ok(Err(error)) if refuses_transactions(&error) => return Ok(true),
            Ok(Err(error)) => return Err(error),
            // It waits for a connection of the server, and the first one has its own.
            Err(_) => return Ok(process(connection).await? != first),
        }
    }
    other.close().await?;
    Ok(false)
}

/// The process of the server that answers in a transaction, which the connection holds meanwhile: the first one has to
/// be without.
async fn process_in_transaction(other: &mut AnyConnection) -> Result<i64, sqlx::Error> {
    other.execute("BEGIN").await?;
    let process = process(other).await?;
    other.execute("ROLLBACK").await?;
    Ok(process)
}

/// Whether it is what a pooler in statement mode says: no server refuses to begin a transaction.
fn refuses_transactions(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if error.message().contains("statement pooling"))
}

/// The process of the server that answers.
async fn process(connection: &mut AnyConnection) -> Result<i64, sqlx::Error> {
    // Not prepared: a pooler may not know statements that another connection prepared.
    let row = connection.fetch_one(sqlx::raw_sql("SELECT pg_backend_pid()::bigint AS pid")).await?;
    row.try_get("pid")
}

//! Connections of the pool, also where the server gives fewer than are configured: a role or a database has a limit, a
//! pooler has, or other programs use them up. Then those that there are do all the work. A pooler may also let a client
//! in and keep it waiting, for as long as all of its own connections are taken.
//!
//! A pool that may open another connection tries to, and does not look at those that come back meanwhile: a caller
//! would wait for a new one beside idle ones. So a caller that waits for long finds out whether the server refuses
//! connections. While it does, each try is short, and the next one looks again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backline_model::remedies::{Remedy, off};
use sqlx::pool::PoolConnection;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Any, AnyConnection, AnyPool, ConnectOptions as _, Connection as _, Executor as _, Row as _};
use tokio::time::Instant;

use crate::database::limits::{self, ACQUIRE_TIMEOUT, StoreLimits};
use crate::database::pooler;

/// How long a connection is waited for before it is found out whether the server refuses them.
const WAIT_QUIETLY: Duration = Duration::from_secs(2);

/// How long a try takes while the server refuses connections.
const TRY: Duration = Duration::from_millis(500);

/// Wait after the server has refused a connection.
const REFUSED_WAIT: Duration = Duration::from_millis(100);

/// How often it is found out whether the server refuses connections.
const ASKED_EVERY: Duration = Duration::from_secs(10);

/// How long a connection that was let in may take to answer before it counts as one that waits for room.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// How long a server that has refused a connection is taken to go on so.
const REFUSES_FOR: Duration = Duration::from_secs(60);

/// The pool and what is known of the server's refusals. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Connections {
    pool: AnyPool,
    /// What a connection beside the pool takes; none on SQLite, which refuses none.
    server: Option<Arc<PgConnectOptions>>,
    limits: StoreLimits,
    /// Whether a connection was given several sessions of the server: a pooler mixes them, now or later.
    is_mixed: Arc<AtomicBool>,
    /// What was found out last.
    found: Arc<Mutex<Option<Found>>>,
}

/// Whether the server refuses connections.
#[derive(Clone, Copy)]
struct Found {
    /// When it was found out, or began to be.
    at: Instant,
    is_refused: bool,
    /// Whether it is being found out again.
    is_asked: bool,
}

impl Connections {
    pub(crate) fn new(
        pool: AnyPool,
        server: Option<Arc<PgConnectOptions>>,
        limits: StoreLimits,
        is_mixed: Arc<AtomicBool>,
    ) -> Self {
        Self { pool, server, limits, is_mixed, found: Arc::default() }
    }

    /// A connection, as soon as one is free or can be opened.
    ///
    /// # Errors
    /// When there is none in time: what the server says, if it refuses further ones. When a pooler mixes sessions, as
    /// [`pooler::is_mixed`] knows.
    pub(crate) async fn acquire(&self) -> Result<PoolConnection<Any>, sqlx::Error> {
        let Some(server) = self.server.as_ref().filter(|_| !off(Remedy::FewConnections)) else {
            return self.pool.acquire().await;
        };
        let until = Instant::now() + ACQUIRE_TIMEOUT;
        let mut is_only_busy = false;
        loop {
            if self.is_mixed.load(Ordering::Relaxed) {
                return Err(pooler::mixed());
            }
            let left = until.saturating_duration_since(Instant::now());
            let patience = if self.is_refused() {
                TRY.min(left)
            } else if is_only_busy {
                // Not for longer: it may be found out again then.
                ASKED_EVERY.min(left)
            } else {
                WAIT_QUIETLY.min(left)
            };
            match tokio::time::timeout(patience, self.pool.acquire()).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) if is_refusal(&error) => {
                    if left <= REFUSED_WAIT {
                        return Err(error);
                    }
                    self.learn(Some(&error));
                    tokio::time::sleep(REFUSED_WAIT).await;
                }
                Ok(Err(sqlx::Error::PoolTimedOut)) | Err(_) => {
                    if left <= patience {
                        return Err(refusal(server, self.limits).await.unwrap_or(sqlx::Error::PoolTimedOut));
                    }
                    if self.is_to_ask() {
                        self.learn(refusal(server, self.limits).await.as_ref());
                    }
                    is_only_busy = self.is_let_in();
                }
                Ok(Err(error)) => return Err(error),
            }
        }
    }

    fn is_refused(&self) -> bool {
        matches!(*self.found(), Some(Found { at, is_refused: true, .. }) if at.elapsed() < REFUSES_FOR)
    }

    /// Whether the server is known to let connections in.
    fn is_let_in(&self) -> bool {
        matches!(*self.found(), Some(Found { is_refused: false, is_asked: false, .. }))
    }

    /// Whether it is this caller's turn to find out.
    fn is_to_ask(&self) -> bool {
        let mut found = self.found();
        let is_due = found.is_none_or(|found| found.at.elapsed() >= ASKED_EVERY);
        if is_due {
            let is_refused = found.is_some_and(|found| found.is_refused);
            *found = Some(Found { at: Instant::now(), is_refused, is_asked: true });
        }
        is_due
    }

    /// Notes what was found out; tells it where it is new.
    fn learn(&self, refusal: Option<&sqlx::Error>) {
        let was_refused = self.is_refused();
        *self.found() = Some(Found { at: Instant::now(), is_refused: refusal.is_some(), is_asked: false });
        if let Some(error) = refusal.filter(|_| !was_refused) {
            tracing::warn!(
                %error,
                "the server refuses further connections; this process goes on with those it has, which is slower \
                 (database.connections_max)"
            );
        }
    }

    fn found(&self) -> MutexGuard<'_, Option<Found>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the server says to a connection of its own; none where it lets it in and answers, or does not answer at all.
async fn refusal(server: &PgConnectOptions, limits: StoreLimits) -> Option<sqlx::Error> {
    let mut connection = match limits::within(limits.connect, server.connect()).await {
        Ok(connection) => connection,
        Err(error) => return Some(error).filter(is_refusal),
    };
    let answer = tokio::time::timeout(ANSWER_WITHIN, connection.execute(sqlx::raw_sql("SELECT 1"))).await;
    match answer {
        Ok(Ok(_)) => {
            let _ = limits::within(limits.connect, connection.close()).await;
            None
        }
        Ok(Err(error)) => Some(error).filter(is_refusal),
        Err(_) => {
            let why = "a connection was let in and gets no answer: a pooler may have no room for it";
            Some(sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, why)))
        }
    }
}

/// Whether a server, or a pooler before it, has no room for another connection.
fn is_refusal(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    says_no_room(error.code().as_deref(), error.message())
}

/// 53300: too many connections. Poolers have no code of their own for it: Supavisor writes `max clients reached`,
/// PgBouncer the name of the setting that bounds it, or that it waited for too long.
fn says_no_room(code: Option<&str>, message: &str) -> bool {
    let message = message.to_lowercase();
    code == Some("53300")
        || ["max client", "max_client", "client_connections", "query_wait_timeout"]
            .iter()
            .any(|said| message.contains(said))
}

/// How many connections a role may have to a database, where either has a limit.
///
/// # Errors
/// When the server refuses the question.
pub(crate) async fn allowed(connection: &mut AnyConnection) -> Result<Option<u32>, sqlx::Error> {
    const ALLOWED: &str = "SELECT CASE WHEN r.rolsuper THEN NULL
             ELSE LEAST(NULLIF(r.rolconnlimit, -1), NULLIF(d.datconnlimit, -1)) END::bigint AS allowed
         FROM pg_roles r CROSS JOIN pg_database d
         WHERE r.rolname = session_user AND d.datname = current_database()";
    let row = connection.fetch_optional(sqlx::raw_sql(ALLOWED)).await?;
    let allowed = row.map(|row| row.try_get::<Option<i64>, _>("allowed")).transpose()?.flatten();
    Ok(allowed.and_then(|allowed| u32::try_from(allowed).ok()).filter(|allowed| *allowed > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_servers_and_poolers_say_without_room_is_known() {
        for (code, message) in [
            ("53300", "sorry, too many clients already"),
            ("53300", "too many connections for role \"few\""),
            ("XX000", "MaxClientsInSessionMode: max clients reached - in Session mode max clients are limited to 15"),
            ("08P01", "no more connections allowed (max_client_conn)"),
            ("08P01", "client connections exceeded (max_db_client_connections)"),
            ("08P01", "query_wait_timeout"),
        ] {
            assert!(says_no_room(Some(code), message), "{code} {message}");
        }
        for (code, message) in [("28P01", "password authentication failed for user \"x\""), ("3D000", "no database")] {
            assert!(!says_no_room(Some(code), message), "{code} {message}");
        }
        assert!(!says_no_room(None, ""));
    }
}

//! Roles that only one host may hold.
//!
//! A role is held for a while and renewed before that is over. Its term grows with every change of holder, and whatever
//! is written in a role checks the term at its commit: a host that was paused, and wakes after another took over, can
//! write nothing.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::any::AnyRow;

use crate::database::connection::{Store, Work};
use crate::database::counters::COUNTER_MAX;
use crate::database::dialect::{Columns as _, clean, time_text};
use crate::database::error::StoreError;
use backline_model::clock::LAST_TIME;
use backline_model::remedies::{Remedy, off};

/// A role that a host holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// Name of the role, such as `scheduler`.
    pub role: String,
    /// The host that holds it.
    pub holder: String,
    /// Grows with every change of holder.
    pub term: i64,
    /// When others may take it over.
    pub expires_at: DateTime<Utc>,
}

/// Terms from now on, past which no host holds a role: clocks differ by less.
const TERMS_AHEAD_MAX: u32 = 10;

/// The latest end of a role that is believed.
fn furthest_end(now: DateTime<Utc>, ttl: Duration) -> DateTime<Utc> {
    if off(Remedy::RolesAhead) { LAST_TIME } else { now + ttl * TERMS_AHEAD_MAX }
}

impl Term {
    /// Whether it ends later than any host's that takes a role for `ttl`: a clock that was ahead took it, and it counts
    /// as over.
    #[must_use]
    pub fn is_ahead(&self, now: DateTime<Utc>, ttl: Duration) -> bool {
        self.expires_at > furthest_end(now, ttl)
    }
}

impl Store {
    /// Takes a role that no host holds or whose time is over, or renews one's own; none where another host holds it.
    /// One that is held for longer than any host takes it was taken by a clock that was ahead, and counts as over.
    /// Two hosts never hold the same term.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn role_take(
        &self,
        role: &str,
        holder: &str,
        now: DateTime<Utc>,
        ttl: Duration,
    ) -> Result<Option<Term>, StoreError> {
        let statement = self.query(
            "INSERT INTO leaders (role, holder, term, expires_at) VALUES ($1, $2, 1, $4::timestamptz)
             ON CONFLICT (role) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at,
                 term = CASE WHEN leaders.holder = excluded.holder THEN leaders.term
                     WHEN leaders.term BETWEEN 0 AND $6 THEN leaders.term + 1 ELSE 1 END
             WHERE leaders.holder = excluded.holder OR leaders.expires_at <= $3::timestamptz
                 OR leaders.expires_at > $5::timestamptz
             RETURNING role, holder, term, expires_at::text AS expires_at",
        );
        let statement = statement
            .bind(clean(role))
            .bind(clean(holder))
            .bind(time_text(now))
            .bind(time_text(now + ttl))
            .bind(time_text(furthest_end(now, ttl)))
            // After the last term comes the first: what is written in a role checks the holder's name too.
            .bind(COUNTER_MAX - 1);
        self.write_returning("take a role", statement).await?.as_ref().map(term_of).transpose()
    }

    /// Resigns from a role, so that another host can take it at once. One that was lost stays with its new holder.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn role_resign(&self, term: &Term, now: DateTime<Utc>) -> Result<(), StoreError> {
        // The row stays: the next term must be a higher one.
        let statement = self.query(
            "UPDATE leaders SET holder = '', expires_at = $4::timestamptz WHERE role = $1 AND holder = $2
                 AND term = $3",
        );
        let statement =
            statement.bind(clean(&term.role)).bind(clean(&term.holder)).bind(term.term).bind(time_text(now));
        self.write("resign from a role", statement).await?;
        Ok(())
    }

    /// The holder of a role, whether or not its time is over; none where no host ever did or the last holder
    /// resigned.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn role_get(&self, role: &str) -> Result<Option<Term>, StoreError> {
        let statement = self.query(
            "SELECT role, holder, term, expires_at::text AS expires_at FROM leaders WHERE role = $1 AND holder <> ''",
        );
        self.row("read a role", statement.bind(clean(role))).await?.as_ref().map(term_of).transpose()
    }
}

/// Fails in a role that was lost. Called right before a commit it makes a host that takes the role over wait
/// for that.
pub(crate) async fn term_check_in_txn(work: &mut Work, term: &Term) -> Result<(), StoreError> {
    let statement = work.query("SELECT term FROM leaders WHERE role = $1 AND holder = $2 AND term = $3 FOR UPDATE");
    let statement = statement.bind(clean(&term.role)).bind(clean(&term.holder)).bind(term.term);
    match work.row("check a role", statement).await? {
        Some(_) => Ok(()),
        None => Err(StoreError::TermLost { role: term.role.clone() }),
    }
}

fn term_of(row: &AnyRow) -> Result<Term, StoreError> {
    Ok(Term {
        role: row.text("role")?,
        holder: row.text("holder")?,
        term: row.int("term")?,
        expires_at: row.time("expires_at")?,
    })
}

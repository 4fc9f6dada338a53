//! Who holds a role that only one host may have.
//!
//! A role is held for a while and renewed before that is over. Its term grows whenever it changes hands, and whatever is written in a role
//! checks the term at its commit: a host that was paused, and wakes after another took over, can write nothing.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::any::AnyRow;

use crate::database::dialect::{Columns as _, clean, time_text};
use crate::{Store, StoreError, Work};

/// A role in somebody's hands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// Which role.
    pub role: String,
    /// The host that holds it.
    pub holder: String,
    /// Grows with every change of hands.
    pub term: i64,
    /// When others may take it over.
    pub expires_at: DateTime<Utc>,
}

impl Store {
    /// Takes a role that nobody holds or whose time is over, or renews one's own; none where another host holds it. Two hosts never hold
    /// the same term.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn try_lead(
        &self,
        role: &str,
        holder: &str,
        now: DateTime<Utc>,
        ttl: Duration,
    ) -> Result<Option<Term>, StoreError> {
        let statement = self.query(
            "INSERT INTO leaders (role, holder, term, expires_at) VALUES ($1, $2, 1, $4::timestamptz)
             ON CONFLICT (role) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at,
                 term = CASE WHEN leaders.holder = excluded.holder THEN leaders.term ELSE leaders.term + 1 END
             WHERE leaders.holder = excluded.holder OR leaders.expires_at <= $3::timestamptz
             RETURNING role, holder, term, expires_at::text AS expires_at",
        );
        let statement = statement.bind(clean(role)).bind(clean(holder)).bind(time_text(now)).bind(time_text(now + ttl));
        self.write_returning("take a role", statement).await?.as_ref().map(term_of).transpose()
    }

    /// Gives a role up, so that another host can take it at once. One that is lost already stays with whoever has it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn resign(&self, term: &Term, now: DateTime<Utc>) -> Result<(), StoreError> {
        // The row stays: the next term must be a higher one.
        let statement = self.query(
            "UPDATE leaders SET holder = '', expires_at = $4::timestamptz WHERE role = $1 AND holder = $2 AND term = $3",
        );
        let statement =
            statement.bind(clean(&term.role)).bind(clean(&term.holder)).bind(term.term).bind(time_text(now));
        self.write("give a role up", statement).await?;
        Ok(())
    }

    /// Who holds a role, be its time over or not; none where nobody ever did or the last holder gave it up.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn leader(&self, role: &str) -> Result<Option<Term>, StoreError> {
        let statement = self.query(
            "SELECT role, holder, term, expires_at::text AS expires_at FROM leaders WHERE role = $1 AND holder <> ''",
        );
        self.row("look who holds a role", statement.bind(clean(role))).await?.as_ref().map(term_of).transpose()
    }
}

/// Refuses to go on in a role that was lost. Called right before a commit it makes whoever takes the role over wait for that.
pub(crate) async fn check_term(work: &mut Work, term: &Term) -> Result<(), StoreError> {
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

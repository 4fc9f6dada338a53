//! Sessions of the dashboard: each is a token's, and any host of the database answers its browser. Of the secret in the
//! cookie the digest alone is stored.

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::database::connection::Store;
use crate::database::dialect::{Columns as _, clean, time_text};
use crate::database::error::StoreError;
use crate::database::old_rows::{OldRows, old_rows};
use backline_model::clock::Past;
use backline_model::{Digest, TokenId};

/// Most sessions of one token: the next one closes the one that ends first. A caller that logs in again and again logs
/// out nobody else.
const SESSIONS_OF_TOKEN_MAX: i64 = 20;

/// How much later than a new session one may end that a host with another clock opened. One that ends later still was
/// opened by a clock that was ahead, and is closed before all others.
const LATER_MAX: TimeDelta = TimeDelta::minutes(5);

/// More than any token has.
const ALL: i64 = 1_000_000;

/// Sessions that are over, by their ids, which are not secret.
const OVER: OldRows = old_rows!(
    "remove sessions that are over",
    "dashboard_sessions",
    "id",
    "m.id::text AS first, NULL::text AS second, m.id::text AS name",
    "(r.value->>'first')::uuid",
    "(m.until < $2::timestamptz
         OR m.token_id IN (SELECT t.id FROM api_tokens t WHERE t.revoked_at IS NOT NULL))"
);

/// A session as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSession {
    /// Its id, which is not secret.
    pub id: Uuid,
    /// The token that opened it.
    pub token: TokenId,
    /// Digest of the secret in its cookie.
    pub secret: Digest,
    /// When it ends.
    pub until: DateTime<Utc>,
    /// What the next page says first.
    pub notice: Option<String>,
}

impl Store {
    /// Adds a session. Where its token has too many, those that end first are closed.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such token; otherwise when the database fails.
    pub async fn session_open(&self, session: &StoredSession) -> Result<(), StoreError> {
        let mut work = self.begin().await?;
        // Logins with one token wait for each other, so that their number is right.
        let token = work.query("SELECT 1 AS found FROM api_tokens WHERE id = $1::uuid FOR UPDATE");
        if work.row("find a session's token", token.bind(session.token.to_string())).await?.is_none() {
            return Err(StoreError::NotFound { what: "token", id: session.token.to_string() });
        }
        let closed = work.query(
            "DELETE FROM dashboard_sessions WHERE id IN (
                 SELECT s.id FROM dashboard_sessions s WHERE s.token_id = $1::uuid
                 ORDER BY CASE WHEN s.until > $4::timestamptz THEN 1 ELSE 0 END, s.until DESC, s.id
                 LIMIT $2 OFFSET $3)",
        );
        let latest = session.until.checked_add_signed(LATER_MAX).unwrap_or(session.until);
        let closed = closed.bind(session.token.to_string()).bind(ALL).bind(SESSIONS_OF_TOKEN_MAX - 1);
        let closed = closed.bind(time_text(latest));
        work.execute("close sessions of a token that has too many", closed).await?;
        let opened = work.query(
            "INSERT INTO dashboard_sessions (id, token_id, secret, until, notice)
             VALUES ($1::uuid, $2::uuid, $3, $4::timestamptz, $5)",
        );
        let opened = opened
            .bind(session.id.to_string())
            .bind(session.token.to_string())
            .bind(session.secret.to_string())
            .bind(time_text(session.until))
            .bind(session.notice.as_deref().map(clean));
        work.execute("open a session", opened).await?;
        work.commit().await
    }

    /// A session, whether or not its time is over. Without a scope: a caller that knows the secret proves its token's
    /// by it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn session_get(&self, id: Uuid) -> Result<Option<StoredSession>, StoreError> {
        let statement = self.query(
            "SELECT s.id::text AS id, s.token_id::text AS token_id, s.secret, s.until::text AS until, s.notice
             FROM dashboard_sessions s WHERE s.id = $1::uuid",
        );
        let row = self.row("read a session", statement.bind(id.to_string())).await?;
        row.map(|row| {
            Ok(StoredSession {
                id: row.uuid("id")?,
                token: row.parsed("token_id")?,
                secret: row.parsed("secret")?,
                until: row.time("until")?,
                notice: row.text_or_null("notice")?,
            })
        })
        .transpose()
    }

    /// Ends a session on every host. Ending it again changes nothing.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn session_close(&self, id: Uuid) -> Result<(), StoreError> {
        let statement = self.query("DELETE FROM dashboard_sessions WHERE id = $1::uuid");
        self.write("close a session", statement.bind(id.to_string())).await?;
        Ok(())
    }

    /// Keeps what the next page of a session says first, or that it was said: none.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn session_set_notice(&self, id: Uuid, notice: Option<&str>) -> Result<(), StoreError> {
        let statement = self.query("UPDATE dashboard_sessions SET notice = $2 WHERE id = $1::uuid");
        self.write("keep a notice", statement.bind(id.to_string()).bind(notice.map(clean))).await?;
        Ok(())
    }

    /// Removes sessions that are over, and those of tokens that were revoked. Returns how many.
    ///
    /// # Errors
    /// [`StoreError::Kept`] when the database refuses some of them; otherwise when it fails.
    pub async fn sessions_remove(&self, past: Past) -> Result<u64, StoreError> {
        self.old_rows_delete(&OVER, time_text(past.at())).await
    }
}

//! Tokens of the HTTP API. Only the digest of a token's secret is stored.

use chrono::{DateTime, Utc};
use sqlx::any::AnyRow;

use crate::database::connection::Store;
use crate::database::dialect::{Columns as _, clean, time_text};
use crate::database::error::StoreError;
use crate::database::readable::whole_if_all;
use crate::scope::Scope;
use backline_model::{ApiToken, Digest, Role, TokenId};

macro_rules! token_sql {
    ($which:literal) => {
        concat!(
            "SELECT t.id::text AS id, t.name, t.role, t.tenant, t.digest, t.created_at::text AS created_at,
                 t.expires_at::text AS expires_at, t.last_used_at::text AS last_used_at,
                 t.revoked_at::text AS revoked_at
             FROM api_tokens t ",
            $which
        )
    };
}

impl Store {
    /// Adds a token; `secret` is the digest of its secret.
    ///
    /// # Errors
    /// [`StoreError::OutOfScope`] for a token that reaches further than the scope; otherwise when the database fails.
    pub async fn token_add(&self, scope: &Scope, token: &ApiToken, secret: Digest) -> Result<(), StoreError> {
        scope.require([token.tenant.as_ref()], "add a token that reaches further")?;
        let statement = self.query(
            "INSERT INTO api_tokens (id, name, role, tenant, digest, created_at, expires_at)
             VALUES ($1::uuid, $2, $3, $4, $5, $6::timestamptz, $7::timestamptz)",
        );
        let statement = statement
            .bind(token.id.to_string())
            .bind(clean(&token.name))
            .bind(token.role.as_str())
            .bind(token.tenant.as_ref().map(ToString::to_string))
            .bind(secret.to_string())
            .bind(time_text(token.created_at))
            .bind(token.expires_at.map(time_text));
        self.write("add a token", statement).await?;
        Ok(())
    }

    /// Every token, also those that are not in force any more, in the order in which they were made.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn tokens_list(&self, scope: &Scope) -> Result<Vec<ApiToken>, StoreError> {
        let statement = self.scoped(scope, token_sql!("WHERE TRUE {and_tenant: t.tenant} ORDER BY t.created_at, t.id"));
        let rows = self.rows("list tokens", statement).await?;
        self.unreadable.read("api_tokens", "id", whole_if_all(scope), &rows, token_of)
    }

    /// A token with the digest of its secret. Without a scope: a caller that knows the secret proves its scope by it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn token_get(&self, id: TokenId) -> Result<Option<(ApiToken, Digest)>, StoreError> {
        let statement = self.query(token_sql!("WHERE t.id = $1::uuid"));
        let row = self.row("read a token", statement.bind(id.to_string())).await?;
        row.map(|row| Ok((token_of(&row)?, row.parsed("digest")?))).transpose()
    }

    /// Records that a token was used, unless that is on record since `unless_since`. A use after `now` was recorded by
    /// a clock that was ahead, and is replaced.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn token_use(
        &self,
        id: TokenId,
        now: DateTime<Utc>,
        unless_since: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let statement = self.query(
            "UPDATE api_tokens SET last_used_at = $2::timestamptz
             WHERE id = $1::uuid AND (last_used_at IS NULL OR last_used_at < $3::timestamptz
                 OR last_used_at > $2::timestamptz)",
        );
        let statement = statement.bind(id.to_string()).bind(time_text(now)).bind(time_text(unless_since));
        self.write("record the use of a token", statement).await?;
        Ok(())
    }

    /// Revokes a token. Revoking it again changes nothing. Returns the token.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is none in the scope; otherwise when the database fails.
    pub async fn token_revoke(&self, scope: &Scope, id: TokenId, now: DateTime<Utc>) -> Result<ApiToken, StoreError> {
        let statement = self.scoped(
            scope,
            "UPDATE api_tokens SET revoked_at = COALESCE(revoked_at, $2::timestamptz)
             WHERE id = $1::uuid {and_tenant: api_tokens.tenant}",
        );
        let revoked = self.write("revoke a token", statement.bind(id.to_string()).bind(time_text(now))).await?;
        let token = if revoked > 0 { self.token_get(id).await? } else { None };
        token.map(|(token, _)| token).ok_or_else(|| StoreError::NotFound { what: "token", id: id.to_string() })
    }

    /// How many tokens are in force: neither revoked nor expired.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn active_tokens_count(&self, now: DateTime<Utc>) -> Result<u64, StoreError> {
        let statement = self.query(
            "SELECT COUNT(*) AS n FROM api_tokens
             WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $1::timestamptz)",
        );
        let row = self.row("count tokens", statement.bind(time_text(now))).await?;
        row.map_or(Ok(0), |row| row.count("n"))
    }
}

fn token_of(row: &AnyRow) -> Result<ApiToken, StoreError> {
    Ok(ApiToken {
        id: row.parsed("id")?,
        name: row.text("name")?,
        role: row.named("role", Role::parse)?,
        tenant: row.parsed_or_null("tenant")?,
        created_at: row.time("created_at")?,
        expires_at: row.time_or_null("expires_at")?,
        last_used_at: row.time_or_null("last_used_at")?,
        revoked_at: row.time_or_null("revoked_at")?,
    })
}

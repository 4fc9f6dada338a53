//! Ids by their beginning, and by the name that goes with them: what people type instead of a whole id.

use sqlx::any::AnyRow;
use uuid::Uuid;

use crate::database::connection::Store;
use crate::database::dialect::Columns as _;
use crate::database::error::StoreError;
use crate::scope::Scope;

/// What an id is looked up among.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdKind {
    /// Artists, by id or name.
    Artist,
    /// Accounts, by id, by their id on the platform, or by `platform/id`.
    Account,
    /// Runs, by id.
    Run,
    /// Batches, by id.
    Batch,
    /// Acts on everything that a filter shows, by id.
    Bulk,
    /// Events, by id.
    Event,
    /// Values in quarantine, by id.
    Quarantined,
    /// Tokens of the HTTP API, by id, or by name as long as they are not revoked.
    Token,
}

/// An id that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundId {
    /// The id.
    pub id: Uuid,
    /// What people know it by: an artist's name, `platform/id` of an account, the start of a run, the platform of a
    /// batch, the type of an event, the metric of a value, the name of a token, the action of a bulk act.
    pub name: String,
}

impl Store {
    /// The ids of a kind from `first` to `last`, both included, in order; at most `limit`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn ids_between_list(
        &self,
        scope: &Scope,
        kind: IdKind,
        (first, last): (Uuid, Uuid),
        limit: u32,
    ) -> Result<Vec<FoundId>, StoreError> {
        let text = match kind {
            IdKind::Artist => {
                "SELECT id::text AS id, name FROM artists
                 WHERE id >= $1::uuid AND id <= $2::uuid {and_tenant: tenant} ORDER BY id LIMIT $3"
            }
            IdKind::Account => {
                "SELECT id::text AS id, platform || '/' || platform_id AS name FROM accounts
                 WHERE id >= $1::uuid AND id <= $2::uuid {and_artist: accounts.artist_id} ORDER BY id LIMIT $3"
            }
            IdKind::Run => {
                "SELECT id::text AS id, started_at::text AS name FROM runs
                 WHERE id >= $1::uuid AND id <= $2::uuid {and_run: runs.id} ORDER BY id LIMIT $3"
            }
            IdKind::Batch => {
                "SELECT id::text AS id, platform AS name FROM batches
                 WHERE id >= $1::uuid AND id <= $2::uuid {and_tenant: tenant} ORDER BY id LIMIT $3"
            }
            IdKind::Bulk => {
                "SELECT id::text AS id, action AS name FROM bulk_acts
                 WHERE id >= $1::uuid AND id <= $2::uuid {and_tenant: tenant} ORDER BY id LIMIT $3"
            }
            IdKind::Event => {
                "SELECT id::text AS id, type AS name FROM events
                 WHERE id >= $1::uuid AND id <= $2::uuid {and_event: events} ORDER BY id LIMIT $3"
            }
            IdKind::Quarantined => {
                "SELECT id::text AS id, metric AS name FROM quarantine
                 WHERE id >= $1::uuid AND id <= $2::uuid {and_artist: quarantine.artist_id} ORDER BY id LIMIT $3"
            }
            IdKind::Token => {
                "SELECT id::text AS id, name FROM api_tokens
                 WHERE id >= $1::uuid AND id <= $2::uuid {and_tenant: tenant} ORDER BY id LIMIT $3"
            }
        };
        let statement = self.scoped(scope, text).bind(first.to_string()).bind(last.to_string()).bind(i64::from(limit));
        self.found("find an id by its beginning", statement).await
    }

    /// The ids of artists with this name, of accounts with this id on their platform or with this `platform/id`, or of
    /// tokens with this name that are not revoked, in order; at most `limit`. None for kinds without a name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn ids_named_list(
        &self,
        scope: &Scope,
        kind: IdKind,
        name: &str,
        limit: u32,
    ) -> Result<Vec<FoundId>, StoreError> {
        let text = match kind {
            IdKind::Artist => {
                "SELECT id::text AS id, name FROM artists
                 WHERE (name = $1 OR lower(name) = lower($1)) {and_tenant: tenant} ORDER BY id LIMIT $2"
            }
            IdKind::Account => {
                "SELECT id::text AS id, platform || '/' || platform_id AS name FROM accounts
                 WHERE (platform_id = $1 OR platform || '/' || platform_id = $1) {and_artist: accounts.artist_id}
                 ORDER BY id LIMIT $2"
            }
            IdKind::Token => {
                "SELECT id::text AS id, name FROM api_tokens
                 WHERE (name = $1 OR lower(name) = lower($1)) AND revoked_at IS NULL {and_tenant: tenant}
                 ORDER BY id LIMIT $2"
            }
            IdKind::Run | IdKind::Batch | IdKind::Bulk | IdKind::Event | IdKind::Quarantined => {
                return Ok(Vec::new());
            }
        };
        let statement = self.scoped(scope, text).bind(name.to_owned()).bind(i64::from(limit));
        self.found("find an id by its name", statement).await
    }

    async fn found(
        &self,
        what: &'static str,
        statement: crate::database::statement::Statement,
    ) -> Result<Vec<FoundId>, StoreError> {
        let rows = self.rows(what, statement).await?;
        // An id that can't be read is none that anyone types.
        let found = |row: &AnyRow| Some(FoundId { id: row.parsed("id").ok()?, name: row.told("name").ok()? });
        Ok(rows.iter().filter_map(found).collect())
    }
}

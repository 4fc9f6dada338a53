//! The audit log: who did what. Entries are added, never changed, and go only with the artist that they are about.

use sqlx::any::AnyRow;

use crate::database::connection::Store;
use crate::database::dialect::{Columns as _, clean, json, time_text, unreadable};
use crate::database::error::StoreError;
use crate::database::readable::{Extent, left_of, more_after};
use crate::scope::Scope;
use backline_model::audit::{Act, ActOutcome, Actor, AuditEntry};
use backline_model::{ArtistId, TokenId};
use uuid::Uuid;

/// Which entries to list. A field that is none does not restrict.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// Only of this action.
    pub action: Option<String>,
    /// Only about this artist.
    pub artist: Option<ArtistId>,
    /// Only entries before the one with this number: where the next page begins.
    pub before: Option<i64>,
    /// Most entries to return; none means all.
    pub limit: Option<u32>,
}

impl Store {
    /// Adds an entry. An artist that is not there (any more) is left out of it, and then so is what things were before
    /// and after: they may be the artist's, and nothing else would take the entry away with it.
    ///
    /// # Errors
    /// [`StoreError::OutOfScope`] for an act of another tenant; otherwise when the database fails.
    pub async fn audit_add(&self, scope: &Scope, act: &Act) -> Result<(), StoreError> {
        scope.require([act.tenant.as_ref()], "record an act of others")?;
        let (kind, name, token, origin, request) = match &act.actor {
            Actor::Command { name, origin } => ("command", name, None, origin, None),
            Actor::Token { name, token_id, origin, request_id } => {
                ("token", name, Some(token_id.to_string()), origin, Some(request_id.to_string()))
            }
        };
        let statement = self.query(
            "INSERT INTO audit (at, actor, name, token_id, origin, request_id, action, outcome, tenant, artist_id,
                 details, state_before, state_after)
             VALUES ($1::timestamptz, $2, $3, $4::uuid, $5, $6::uuid, $7, $8, $9,
                 (SELECT t.id FROM artists t WHERE t.id = $10::uuid), $11::jsonb,
                 CASE WHEN $10::uuid IS NULL OR EXISTS (SELECT 1 FROM artists t WHERE t.id = $10::uuid)
                     THEN $12::jsonb END,
                 CASE WHEN $10::uuid IS NULL OR EXISTS (SELECT 1 FROM artists t WHERE t.id = $10::uuid)
                     THEN $13::jsonb END)",
        );
        let statement = statement
            .bind(time_text(act.at))
            .bind(kind)
            .bind(clean(name))
            .bind(token)
            .bind(clean(origin))
            .bind(request)
            .bind(clean(&act.action))
            .bind(act.outcome.as_str())
            .bind(act.tenant.as_ref().map(ToString::to_string))
            .bind(act.artist_id.map(|id| id.to_string()))
            .bind(json("an audit entry", &act.details)?)
            .bind(act.before.as_ref().map(|before| json("an audit entry", before)).transpose()?)
            .bind(act.after.as_ref().map(|after| json("an audit entry", after)).transpose()?);
        self.write("add to the audit log", statement).await?;
        Ok(())
    }

    /// Entries of the audit log, the latest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn audit_list(&self, scope: &Scope, filter: &AuditFilter) -> Result<Vec<AuditEntry>, StoreError> {
        let most = filter.limit.unwrap_or(u32::MAX);
        let (mut before, mut found) = (filter.before.unwrap_or(i64::MAX), Vec::new());
        loop {
            let statement = self.scoped(
                scope,
                "SELECT a.seq, a.at::text AS at, a.actor, a.name, a.token_id::text AS token_id, a.origin,
                 a.request_id::text AS request_id, a.action, a.outcome, a.tenant, a.artist_id::text AS artist_id,
                 a.details::text AS details, a.state_before::text AS state_before,
                 a.state_after::text AS state_after
             FROM audit a
             WHERE a.seq < $1 AND ($2::text IS NULL OR a.action = $2)
                 AND ($3::uuid IS NULL OR a.artist_id = $3::uuid) {and_tenant: a.tenant}
             ORDER BY a.seq DESC LIMIT $4",
            );
            let asked = left_of(most, found.len());
            let statement = statement
                .bind(before)
                .bind(filter.action.as_deref().map(clean))
                .bind(filter.artist.map(|id| id.to_string()))
                .bind(i64::from(asked));
            let rows = self.rows("read the audit log", statement).await?;
            found.extend(self.unreadable.read("audit", "seq", Extent::Part, &rows, entry_of)?);
            let Some(last) = more_after(&rows, asked, found.len(), most) else { return Ok(found) };
            before = last.number("seq")?;
        }
    }
}

fn entry_of(row: &AnyRow) -> Result<AuditEntry, StoreError> {
    let (name, origin) = (row.text("name")?, row.text("origin")?);
    let actor = match row.text("actor")?.as_str() {
        "command" => Actor::Command { name, origin },
        "token" => Actor::Token {
            name,
            token_id: row.parsed::<TokenId>("token_id")?,
            origin,
            request_id: row.parsed::<Uuid>("request_id")?,
        },
        other => return Err(unreadable("actor", format!("'{other}'"))),
    };
    let act = Act {
        at: row.time("at")?,
        actor,
        action: row.text("action")?,
        outcome: row.named("outcome", ActOutcome::parse)?,
        tenant: row.parsed_or_null("tenant")?,
        artist_id: row.parsed_or_null("artist_id")?,
        details: row.json("details")?,
        before: row.json_or_null("state_before")?,
        after: row.json_or_null("state_after")?,
    };
    Ok(AuditEntry { seq: row.int("seq")?, act })
}

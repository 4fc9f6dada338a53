//! Webhooks, their secrets as sealed bytes, and the last event that was passed on to each.

use chrono::{DateTime, Utc};
use sqlx::any::AnyRow;

use crate::database::connection::Store;
use crate::database::dialect::{Columns as _, clean, json, time_text, unreadable};
use crate::database::error::StoreError;
use crate::database::notifications::notify;
use crate::database::readable::whole_if_all;
use crate::database::topic::Topic;
use crate::events::cursor::EventCursor;
use crate::events::outbox::events_lock_in_txn;
use crate::scope::Scope;
use backline_model::{Webhook, WebhookId, WebhookKind};

/// The sealed secrets of a webhook.
#[derive(Clone, PartialEq)]
pub struct SealedWebhookSecrets {
    /// The secret that signs deliveries, sealed.
    pub secret: Vec<u8>,
    /// The secret before it, sealed, and the time until which it signs too.
    pub previous: Option<(Vec<u8>, DateTime<Utc>)>,
}

impl std::fmt::Debug for SealedWebhookSecrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealedWebhookSecrets")
    }
}

macro_rules! webhook_sql {
    ($which:literal) => {
        concat!(
            "SELECT id::text AS id, name, kind, url, events::text AS events, tenant, enabled::int AS enabled,
                 disabled_reason, ",
            "previous_until::text AS previous_until, seen, created_at::text AS created_at,
                 updated_at::text AS updated_at FROM webhooks ",
            $which
        )
    };
}

impl Store {
    /// Adds a webhook that gets events from now on, or from the first one that is kept.
    ///
    /// # Errors
    /// [`StoreError::WebhookExists`] when the name is taken.
    pub async fn webhook_add(
        &self,
        scope: &Scope,
        webhook: &Webhook,
        sealed_secret: Vec<u8>,
        from_start: bool,
    ) -> Result<(), StoreError> {
        scope.require([webhook.tenant.as_ref()], "add another tenant's webhook")?;
        let mut work = self.begin().await?.proven(self).await?;
        if !from_start {
            // What is being written now is older than the webhook.
            events_lock_in_txn(&mut work).await?;
        }
        let statement = work.scoped(
            scope,
            "INSERT INTO webhooks (id, name, kind, url, events, tenant, secret, enabled, seen, created_at, updated_at)
             SELECT $1::uuid, $2, $3, $4, $5::jsonb, $6, $7, ($8::bigint = 1),
                 CASE WHEN $9::bigint = 1 THEN 0 ELSE COALESCE((SELECT MAX(seq)
                 FROM events), 0) END, $10::timestamptz, $10::timestamptz
             WHERE TRUE {and_tenant: $6} ON CONFLICT (name) DO NOTHING",
        );
        let statement = statement
            .bind(webhook.id.to_string())
            .bind(clean(&webhook.name))
            .bind(webhook.kind.as_str())
            .bind(clean(&webhook.url))
            .bind(json("a webhook's events", &webhook.events)?)
            .bind(webhook.tenant.as_ref().map(ToString::to_string))
            .bind(sealed_secret)
            .bind(i64::from(webhook.enabled))
            .bind(i64::from(from_start))
            .bind(time_text(webhook.created_at));
        if work.execute("add a webhook", statement).await? == 0 {
            return Err(StoreError::WebhookExists { name: webhook.name.clone() });
        }
        notify(&mut work, Topic::Events).await?;
        work.commit().await
    }

    /// Every webhook that can be read, by name, each with the last event that was checked for it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn webhooks_list(&self, scope: &Scope) -> Result<Vec<(Webhook, EventCursor)>, StoreError> {
        let rows = self
            .rows("list webhooks", self.scoped(scope, webhook_sql!("WHERE TRUE {and_tenant: tenant} ORDER BY name")))
            .await?;
        self.unreadable.read("webhooks", "name", whole_if_all(scope), &rows, webhook_of)
    }

    /// The webhook of a name.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is none.
    pub async fn webhook_get(&self, scope: &Scope, name: &str) -> Result<Webhook, StoreError> {
        let row = self
            .row(
                "read a webhook",
                self.scoped(scope, webhook_sql!("WHERE name = $1 {and_tenant: tenant}")).bind(clean(name)),
            )
            .await?;
        let found = row.as_ref().map(webhook_of).transpose()?;
        found.map(|(webhook, _)| webhook).ok_or_else(|| not_found(name))
    }

    /// The sealed secrets of a webhook; none where it is gone.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn webhook_secrets_get(
        &self,
        scope: &Scope,
        id: WebhookId,
    ) -> Result<Option<SealedWebhookSecrets>, StoreError> {
        let statement = self.scoped(
            scope,
            "SELECT secret, previous_secret, previous_until::text AS previous_until FROM webhooks
             WHERE id = $1::uuid {and_tenant: tenant}",
        );
        let row = self.row("read a webhook's secrets", statement.bind(id.to_string())).await?;
        row.map(|row| {
            let previous = row.bytes_or_null("previous_secret")?.zip(row.time_or_null("previous_until")?);
            Ok(SealedWebhookSecrets { secret: row.bytes("secret")?, previous })
        })
        .transpose()
    }

    /// Gives a webhook another secret. The one before signs too until `keep_old_until`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when it is gone.
    pub async fn webhook_replace_secret(
        &self,
        scope: &Scope,
        webhook: &Webhook,
        sealed_secret: Vec<u8>,
        keep_old_until: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let statement = self.scoped(
            scope,
            "UPDATE webhooks SET previous_secret = CASE WHEN $3::timestamptz IS NOT NULL THEN secret END,
                 previous_until = $3::timestamptz, secret = $2, updated_at = $4::timestamptz
             WHERE id = $1::uuid {and_tenant: tenant}",
        );
        let statement = statement
            .bind(webhook.id.to_string())
            .bind(sealed_secret)
            .bind(keep_old_until.map(time_text))
            .bind(time_text(now));
        match self.write("replace a webhook's secret", statement).await? {
            0 => Err(not_found(&webhook.name)),
            _ => Ok(()),
        }
    }

    /// Switches a webhook on, or off for a reason.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when it is gone.
    pub async fn webhook_set_enabled(
        &self,
        scope: &Scope,
        webhook: &Webhook,
        enabled: bool,
        reason: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let mut work = self.begin().await?;
        let statement = work.scoped(
            scope,
            "UPDATE webhooks SET enabled = ($2::bigint = 1), disabled_reason = $3, updated_at = $4::timestamptz
             WHERE id = $1::uuid {and_tenant: tenant}",
        );
        let statement = statement
            .bind(webhook.id.to_string())
            .bind(i64::from(enabled))
            .bind(reason.filter(|_| !enabled).map(clean))
            .bind(time_text(now));
        if work.execute("switch a webhook", statement).await? == 0 {
            return Err(not_found(&webhook.name));
        }
        if enabled {
            // The time for which a delivery is tried starts again: it could not be made while the webhook was off.
            let statement = work.query(
                "UPDATE deliveries SET attempts = 0, first_tried_at = NULL, next_at = $2::timestamptz
                 WHERE webhook_id = $1::uuid AND event_seq IN (SELECT d.event_seq FROM deliveries d
                     WHERE d.webhook_id = $1::uuid AND d.state = 'waiting' AND d.lease_owner IS NULL
                     ORDER BY d.event_seq FOR UPDATE)",
            );
            let statement = statement.bind(webhook.id.to_string()).bind(time_text(now));
            work.execute("restart waiting deliveries", statement).await?;
        }
        notify(&mut work, Topic::Events).await?;
        work.commit().await
    }

    /// Switches a webhook off for a reason, if it was not changed since it was read: someone may have switched it on
    /// again for another receiver. Returns whether it did.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn webhook_switch_off(
        &self,
        scope: &Scope,
        webhook: &Webhook,
        reason: &str,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let mut work = self.begin().await?;
        let statement = work.scoped(
            scope,
            "SELECT updated_at::text AS at FROM webhooks
             WHERE id = $1::uuid AND enabled {and_tenant: tenant} FOR NO KEY UPDATE",
        );
        let statement = statement.bind(webhook.id.to_string());
        if !work.is_still("find out whether a webhook was changed", statement, webhook.updated_at).await? {
            return Ok(false);
        }
        let statement = work.query(
            "UPDATE webhooks SET enabled = FALSE, disabled_reason = $2, updated_at = $3::timestamptz
             WHERE id = $1::uuid",
        );
        let statement = statement.bind(webhook.id.to_string()).bind(clean(reason)).bind(time_text(now));
        work.execute("switch a webhook off", statement).await?;
        notify(&mut work, Topic::Events).await?;
        work.commit().await?;
        Ok(true)
    }

    /// Removes a webhook with all its deliveries.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is none of the name.
    pub async fn webhook_remove(&self, scope: &Scope, name: &str) -> Result<(), StoreError> {
        let mut work = self.begin().await?;
        // It may have a delivery for every event of a year.
        work.long();
        let statement =
            work.scoped(scope, "SELECT 1 AS locked FROM webhooks WHERE name = $1 {and_tenant: tenant} FOR UPDATE");
        if work.row("lock a webhook", statement.bind(clean(name))).await?.is_none() {
            return Err(not_found(name));
        }
        // They go with it in an order of the database's own: so they are locked before, in that of their events.
        let statement = work.query(
            "SELECT COUNT(*) AS n FROM (SELECT d.event_seq FROM deliveries d
                 WHERE d.webhook_id IN (SELECT w.id FROM webhooks w WHERE w.name = $1)
                 ORDER BY d.event_seq FOR UPDATE) AS locked",
        );
        work.rows("lock a webhook's deliveries", statement.bind(clean(name))).await?;
        let statement = work.scoped(scope, "DELETE FROM webhooks WHERE name = $1 {and_tenant: tenant}");
        work.execute("remove a webhook", statement.bind(clean(name))).await?;
        work.commit().await
    }
}

fn not_found(name: &str) -> StoreError {
    StoreError::NotFound { what: "webhook", id: format!("named '{name}'; `backline webhooks list` shows them") }
}

fn webhook_of(row: &AnyRow) -> Result<(Webhook, EventCursor), StoreError> {
    let webhook = Webhook {
        id: row.parsed("id")?,
        name: row.text("name")?,
        kind: row.named("kind", WebhookKind::parse)?,
        url: row.text("url")?,
        events: row.json("events")?,
        tenant: row
            .text_or_null("tenant")?
            .map(|text| backline_model::Tenant::new(text).map_err(|error| unreadable("tenant", error.to_string())))
            .transpose()?,
        enabled: row.truth("enabled")?,
        disabled_reason: row.text_or_null("disabled_reason")?,
        previous_until: row.time_or_null("previous_until")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    };
    Ok((webhook, EventCursor::from(row.int("seen")?)))
}

//! Messages as they are listed, made for tests, and removed when they are old.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::any::AnyRow;
use uuid::Uuid;

use crate::database::connection::Store;
use crate::database::dialect::{Columns as _, clean, time_text};
use crate::database::error::{StoreError, unless_refused};
use crate::database::old_rows::{OldRows, old_rows};
use crate::database::readable::Extent;
use crate::scope::Scope;
use backline_model::clock::Past;
use backline_model::{AlertMessage, AlertPhase, AlertSeverity, AlertState, ChannelId};

/// How long a message that has ended is kept.
const KEPT_FOR: TimeDelta = TimeDelta::days(30);

/// What messages told that ended long enough ago, by the message.
const OLD_TOLD: OldRows = old_rows!(
    "remove what old alerts told",
    "alert_events",
    "channel_id, event_seq",
    "m.channel_id::text AS first, m.event_seq AS second, m.message_id::text AS name",
    "(r.value->>'first')::uuid, (r.value->>'second')::bigint",
    "m.message_id IN (SELECT o.id FROM alert_messages o WHERE o.finished_at < $2::timestamptz)"
);

/// Those messages themselves, where nothing leads to them any more.
const OLD: OldRows = old_rows!(
    "remove old alerts",
    "alert_messages",
    "id",
    "m.id::text AS first, NULL::text AS second, m.id::text AS name",
    "(r.value->>'first')::uuid",
    "m.finished_at < $2::timestamptz AND NOT EXISTS (SELECT 1 FROM alert_events e WHERE e.message_id = m.id)"
);

/// Which messages to list. A field that is none does not restrict.
#[derive(Clone, Debug, Default)]
pub struct AlertFilter {
    /// Only of the channel of this name.
    pub channel: Option<String>,
    /// Only in this state.
    pub state: Option<AlertState>,
    /// Only this one.
    pub id: Option<Uuid>,
    /// Most messages to return.
    pub limit: Option<u32>,
}

/// A message that a person asks for, to see whether a channel works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestAlert {
    /// Id of the message.
    pub id: Uuid,
    /// The channel.
    pub channel: ChannelId,
    /// Type of the event that it plays.
    pub kind: String,
    /// Whether that begins or is over.
    pub phase: AlertPhase,
    /// How urgent that is.
    pub severity: AlertSeverity,
}

impl Store {
    /// Adds a test message that is due now.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn alert_test_add(&self, scope: &Scope, test: &TestAlert, now: DateTime<Utc>) -> Result<(), StoreError> {
        scope.require_all("test a channel of alerts")?;
        let statement = self.query(
            "INSERT INTO alert_messages (id, channel_id, subject, group_key, type, phase, severity, is_test, state,
                 events, attempts, due_at, next_at)
             SELECT $1::uuid, c.id, 'test', 'test', $3, $4, $5, TRUE, 'waiting', 1, 0, $6::timestamptz,
                 $6::timestamptz
             FROM alert_channels c WHERE c.id = $2::uuid",
        );
        let statement = statement
            .bind(test.id.to_string())
            .bind(test.channel.to_string())
            .bind(clean(&test.kind))
            .bind(test.phase.as_str())
            .bind(test.severity.as_str())
            .bind(time_text(now));
        self.write("add a test message", statement).await?;
        Ok(())
    }

    /// Messages, those that are due last first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn alert_messages_list(
        &self,
        scope: &Scope,
        filter: &AlertFilter,
    ) -> Result<Vec<AlertMessage>, StoreError> {
        scope.require_all("list alerts")?;
        let statement = self.query(
            "SELECT m.id::text AS id, c.name AS channel, m.type, m.phase, m.severity, m.is_test::int AS is_test,
                 m.state, m.attempts, m.due_at::text AS due_at, m.status, m.problem,
                 m.finished_at::text AS finished_at,
                 CASE WHEN m.finished_at IS NULL AND m.events = 0
                     THEN (SELECT COUNT(*) FROM alert_events a WHERE a.message_id = m.id) ELSE m.events END AS events
             FROM alert_messages m JOIN alert_channels c ON c.id = m.channel_id
             WHERE ($1::text IS NULL OR c.name = $1) AND ($2::text IS NULL OR m.state = $2)
                 AND ($3::uuid IS NULL OR m.id = $3::uuid)
             ORDER BY m.due_at DESC, m.id DESC LIMIT $4",
        );
        let statement = statement
            .bind(filter.channel.clone())
            .bind(filter.state.map(|state| state.as_str().to_owned()))
            .bind(filter.id.map(|id| id.to_string()))
            .bind(i64::from(filter.limit.unwrap_or(u32::MAX)));
        let rows = self.rows("list alerts", statement).await?;
        self.unreadable.read("alert_messages", "id", Extent::Part, &rows, message_of)
    }

    /// Removes messages that ended a month ago. Returns how many.
    ///
    /// # Errors
    /// [`StoreError::Kept`] when the database refuses some of them; otherwise when it fails.
    pub async fn alert_messages_remove(&self, past: Past) -> Result<u64, StoreError> {
        let until = time_text(past.before_by(KEPT_FOR).at());
        // What leads to events first, and alone: events take it along when they are erased or too old, in an order of
        // their own. What others hold, or the database refuses, stays until the next time, and so does its message.
        let mut failed = None;
        unless_refused(self.old_rows_delete(&OLD_TOLD, until.clone()).await, &mut failed)?;
        let removed = unless_refused(self.old_rows_delete(&OLD, until).await, &mut failed)?;
        failed.map_or(Ok(removed), Err)
    }
}

fn message_of(row: &AnyRow) -> Result<AlertMessage, StoreError> {
    Ok(AlertMessage {
        id: row.uuid("id")?,
        channel: row.text("channel")?,
        kind: row.text("type")?,
        phase: row.named("phase", AlertPhase::parse)?,
        severity: row.named("severity", AlertSeverity::parse)?,
        is_test: row.truth("is_test")?,
        state: row.named("state", AlertState::parse)?,
        events: row.count("events")?,
        attempts: u32::try_from(row.count("attempts")?).unwrap_or(u32::MAX),
        due_at: row.time("due_at")?,
        status: row.int_or_null("status")?.and_then(|status| u16::try_from(status).ok()),
        problem: row.text_or_null("problem")?,
        finished_at: row.time_or_null("finished_at")?,
    })
}

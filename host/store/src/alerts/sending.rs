//! Sending messages: of each channel one at a time, in the order in which they are due, so that an end never comes
//! before its beginning. Those of each digest are a row of their own, so that none keeps others waiting. What is
//! written under a lease checks it.

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use sqlx::any::AnyRow;
use uuid::Uuid;

use crate::database::connection::Store;
use crate::database::dialect::{Columns as _, clean, time_text};
use crate::database::error::StoreError;
use crate::database::readable::Extent;
use crate::events::cursor::event_sql;
use crate::events::row_data::{Reader, events_of};
use crate::scope::Scope;
use backline_model::{AlertPhase, AlertSeverity, AlertState, ChannelId, Event};

/// Most due messages of a channel that are looked at for one that can be read.
const LOOKED_AT_MAX: i64 = 20;

/// The message of a channel whose turn it is.
#[derive(Clone, Debug, PartialEq)]
pub struct DueAlert {
    /// Id of the message.
    pub id: Uuid,
    /// The channel.
    pub channel: ChannelId,
    /// What it is about: the same when that begins and when it is over.
    pub subject: String,
    /// The events' type.
    pub kind: String,
    /// Whether it begins or is over.
    pub phase: AlertPhase,
    /// How urgent it is.
    pub severity: AlertSeverity,
    /// Whether a person asked for it.
    pub is_test: bool,
    /// The digest that it is, and the day; none where it tells events.
    pub digest: Option<(Uuid, NaiveDate)>,
    /// When it was due first.
    pub due_at: DateTime<Utc>,
    /// Whether a host died while it sent it: it may have arrived.
    pub was_sending: bool,
    /// Whether a host leased it, a digest, and has not begun to send it: where that host died, nothing has arrived.
    pub was_making: bool,
    /// Number of attempts so far.
    pub attempts: u32,
}

/// A message that a host has leased.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertLease {
    /// The message.
    pub alert: DueAlert,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// When the lease ends.
    pub until: DateTime<Utc>,
    owner: String,
}

impl Store {
    /// The first due message of each channel that tells events, and the first one of each digest, also where it has to
    /// wait or another host sends it. One that can't be read keeps no later one from its turn.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn due_alerts_list(&self, scope: &Scope, now: DateTime<Utc>) -> Result<Vec<DueAlert>, StoreError> {
        scope.require_all("send alerts")?;
        let statement = self.query(
            "SELECT m.id::text AS id, m.channel_id::text AS channel_id, m.subject, m.type, m.phase, m.severity,
                 m.is_test::int AS is_test, m.state, m.attempts, m.due_at::text AS due_at,
                 m.digest_id::text AS digest_id, m.digest_day::text AS digest_day,
                 CASE WHEN m.lease_until IS NULL THEN 0 ELSE 1 END AS is_leased
             FROM (SELECT d.*,
                     ROW_NUMBER() OVER (PARTITION BY d.channel_id, d.digest_id ORDER BY d.due_at, d.id) AS place
                 FROM alert_messages d WHERE d.finished_at IS NULL AND d.due_at <= $1::timestamptz) m
             WHERE m.place <= $2 ORDER BY m.due_at, m.id",
        );
        let statement = statement.bind(time_text(now)).bind(LOOKED_AT_MAX);
        let rows = self.rows("find due alerts", statement).await?;
        let mut due = self.unreadable.read("alert_messages", "id", Extent::Part, &rows, due_of)?;
        let mut seen = HashSet::new();
        due.retain(|alert| seen.insert((alert.channel, alert.digest.map(|(id, _)| id))));
        Ok(due)
    }

    /// Leases a message, if its wait and its channel's are over and no other host holds it; its channel is free again
    /// after `pause`. It gathers no more events, and counts as tried. A digest has yet to be made, and is not being
    /// sent before [`alert_mark_sending`](Self::alert_mark_sending).
    ///
    /// # Errors
    /// When the database fails.
    pub async fn alert_lease(
        &self,
        scope: &Scope,
        alert: &DueAlert,
        owner: &str,
        now: DateTime<Utc>,
        ttl: Duration,
        pause: TimeDelta,
    ) -> Result<Option<AlertLease>, StoreError> {
        scope.require_all("send alerts")?;
        let mut work = self.begin().await?;
        let statement = work.query(
            "UPDATE alert_channels SET free_at = $3::timestamptz
             WHERE id = $1::uuid AND free_at <= $2::timestamptz",
        );
        let statement = statement.bind(alert.channel.to_string()).bind(time_text(now)).bind(time_text(now + pause));
        if work.execute("take a channel's turn", statement).await? == 0 {
            return Ok(None);
        }
        let statement = work.query(
            "UPDATE alert_messages SET state = CASE WHEN digest_id IS NULL THEN 'sending' ELSE state END,
                 attempts = {counted: attempts + 1}, lease_owner = $3, lease_until = $5::timestamptz
             WHERE id = $1::uuid AND attempts = $2 AND finished_at IS NULL AND next_at <= $4::timestamptz
                 AND (lease_until IS NULL OR lease_until <= $4::timestamptz)
                 AND CASE WHEN state = 'sending' THEN 1 ELSE 0 END = $6::bigint",
        );
        let statement = statement
            .bind(alert.id.to_string())
            .bind(i64::from(alert.attempts))
            .bind(clean(owner))
            .bind(time_text(now))
            .bind(time_text(now + ttl))
            .bind(i64::from(alert.was_sending));
        if work.execute("lease an alert", statement).await? == 0 {
            return Ok(None);
        }
        work.commit().await?;
        let attempt = alert.attempts + 1;
        Ok(Some(AlertLease { alert: alert.clone(), attempt, until: now + ttl, owner: owner.to_owned() }))
    }

    /// Says that a leased message, which is made, is being sent, and holds it until a time. False where the lease was
    /// lost: it must not be sent then.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn alert_mark_sending(&self, lease: &AlertLease, until: DateTime<Utc>) -> Result<bool, StoreError> {
        let statement = self.query(
            "UPDATE alert_messages SET state = 'sending', lease_until = $4::timestamptz
             WHERE id = $1::uuid AND attempts = $2 AND lease_owner = $3",
        );
        let statement = statement
            .bind(lease.alert.id.to_string())
            .bind(i64::from(lease.attempt))
            .bind(clean(&lease.owner))
            .bind(time_text(until));
        Ok(self.write("begin to send an alert", statement).await? > 0)
    }

    /// How many events a leased message tells, and the first of them.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn alert_events_list(&self, lease: &AlertLease, limit: u32) -> Result<(u64, Vec<Event>), StoreError> {
        let id = lease.alert.id.to_string();
        let statement = self.query("SELECT COUNT(*) AS n FROM alert_events WHERE message_id = $1::uuid");
        let row = self.row("count an alert's events", statement.bind(id.clone())).await?;
        let count = row.map_or(Ok(0), |row| row.count("n"))?;
        let statement = self.query(event_sql!(
            "JOIN alert_events a ON a.event_seq = e.seq WHERE a.message_id = $1::uuid ORDER BY e.seq LIMIT $2"
        ));
        let rows = self.rows("read an alert's events", statement.bind(id).bind(i64::from(limit))).await?;
        let events = events_of(Reader::Store(self), &rows).await?;
        Ok((count, events.into_iter().map(|(_, event)| event).collect()))
    }

    /// Ends a leased message that told so many events. False where the lease was lost.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn alert_finish(
        &self,
        lease: &AlertLease,
        state: AlertState,
        events: u64,
        status: Option<u16>,
        problem: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let statement = self.query(
            "UPDATE alert_messages SET state = $4, events = $5, status = $6, problem = $7,
                 finished_at = $8::timestamptz, lease_owner = NULL, lease_until = NULL
             WHERE id = $1::uuid AND attempts = $2 AND lease_owner = $3",
        );
        let statement = statement
            .bind(lease.alert.id.to_string())
            .bind(i64::from(lease.attempt))
            .bind(clean(&lease.owner))
            .bind(state.as_str())
            .bind(i64::try_from(events).unwrap_or(i64::MAX))
            .bind(status.map(i64::from))
            .bind(problem.map(clean))
            .bind(time_text(now));
        Ok(self.write("end an alert", statement).await? > 0)
    }

    /// Has a leased message sent again at a time. False where the lease was lost.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn alert_retry(
        &self,
        lease: &AlertLease,
        at: DateTime<Utc>,
        status: Option<u16>,
        problem: &str,
    ) -> Result<bool, StoreError> {
        let statement = self.query(
            "UPDATE alert_messages SET state = 'waiting', next_at = $4::timestamptz, status = $5, problem = $6,
                 lease_owner = NULL, lease_until = NULL
             WHERE id = $1::uuid AND attempts = $2 AND lease_owner = $3",
        );
        let statement = statement
            .bind(lease.alert.id.to_string())
            .bind(i64::from(lease.attempt))
            .bind(clean(&lease.owner))
            .bind(time_text(at))
            .bind(status.map(i64::from))
            .bind(clean(problem));
        Ok(self.write("send an alert again", statement).await? > 0)
    }
}

fn due_of(row: &AnyRow) -> Result<DueAlert, StoreError> {
    let was_sending = row.text("state")? == AlertState::Sending.as_str();
    Ok(DueAlert {
        id: row.uuid("id")?,
        channel: row.parsed("channel_id")?,
        subject: row.text("subject")?,
        kind: row.text("type")?,
        phase: row.named("phase", AlertPhase::parse)?,
        severity: row.named("severity", AlertSeverity::parse)?,
        is_test: row.truth("is_test")?,
        digest: row.parsed_or_null("digest_id")?.zip(row.parsed_or_null("digest_day")?),
        due_at: row.time("due_at")?,
        was_sending,
        was_making: !was_sending && row.truth("is_leased")?,
        attempts: row.times("attempts")?,
    })
}

//! Times further ahead than any host sets: a clock that was ahead set them, or another program did. What waits for such
//! a time would wait for as long as the clock was wrong, and so would its run, its schedule, or an artist's events.

use chrono::{DateTime, Utc};

use crate::database::connection::Store;
use crate::database::dialect::time_text;
use crate::database::error::StoreError;
use crate::scope::Scope;

/// The latest times that hosts set by clocks that are right.
#[derive(Clone, Copy, Debug)]
pub struct Furthest {
    /// When a lease that is taken now expires.
    pub lease_ends: DateTime<Utc>,
    /// Until when a batch may be leased, or wait for its next attempt.
    pub batch: DateTime<Utc>,
    /// Until when a batch may wait for a budget or a pause.
    pub deferred: DateTime<Utc>,
    /// When a delivery may be tried again.
    pub delivery: DateTime<Utc>,
    /// Until when a delivery may be leased.
    pub delivery_lease: DateTime<Utc>,
    /// When an alert may be due first.
    pub alert: DateTime<Utc>,
    /// When an alert may be tried again.
    pub alert_retry: DateTime<Utc>,
    /// Until when an alert may be leased, or its channel be busy.
    pub alert_lease: DateTime<Utc>,
}

/// What was set back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetBack {
    /// Number of batches.
    pub batches: u64,
    /// Number of deliveries.
    pub deliveries: u64,
    /// Number of alerts, and of their channels.
    pub alerts: u64,
}

impl Store {
    /// Makes due what waits for a time that no clock sets that is right. A lease ends as one that is taken now: its
    /// host renews it before, if it still holds it.
    ///
    /// # Errors
    /// When the scope is one tenant's, or the database fails.
    pub async fn times_set_back(
        &self,
        scope: &Scope,
        furthest: &Furthest,
        now: DateTime<Utc>,
    ) -> Result<SetBack, StoreError> {
        scope.require_all("set times back")?;
        // What another transaction holds is being changed.
        let statement = self.query(
            "UPDATE batches SET available_at = CASE WHEN state = 'leased' THEN $2::timestamptz
                 ELSE $1::timestamptz END
             WHERE id IN (SELECT b.id FROM batches b
                 WHERE b.finished_at IS NULL AND b.available_at > $3::timestamptz
                     AND (b.state <> 'deferred' OR b.available_at > $4::timestamptz)
                 ORDER BY b.id FOR UPDATE SKIP LOCKED)",
        );
        let statement = statement
            .bind(time_text(now))
            .bind(time_text(furthest.lease_ends))
            .bind(time_text(furthest.batch))
            .bind(time_text(furthest.deferred));
        let batches = self.write("set batches back", statement).await?;
        let statement = self.query(
            "UPDATE deliveries SET
                 next_at = CASE WHEN next_at > $2::timestamptz THEN $1::timestamptz ELSE next_at END,
                 first_tried_at = CASE WHEN first_tried_at > $1::timestamptz THEN NULL ELSE first_tried_at END,
                 lease_owner = CASE WHEN lease_until > $3::timestamptz THEN NULL ELSE lease_owner END,
                 lease_until = CASE WHEN lease_until > $3::timestamptz THEN NULL ELSE lease_until END
             WHERE (webhook_id, event_seq) IN (SELECT d.webhook_id, d.event_seq FROM deliveries d
                 WHERE d.state = 'waiting' AND (d.next_at > $2::timestamptz OR d.lease_until > $3::timestamptz)
                 ORDER BY d.webhook_id, d.event_seq FOR UPDATE SKIP LOCKED)",
        );
        let statement =
            statement.bind(time_text(now)).bind(time_text(furthest.delivery)).bind(time_text(furthest.delivery_lease));
        let deliveries = self.write("set deliveries back", statement).await?;
        let alerts = self.alerts_set_back(furthest, now).await?;
        Ok(SetBack { batches, deliveries, alerts })
    }

    /// The same for alerts and their channels. One that a host holds by a clock that was ahead counts as one whose host
    /// died: it may have arrived.
    async fn alerts_set_back(&self, furthest: &Furthest, now: DateTime<Utc>) -> Result<u64, StoreError> {
        // One that was never tried waits until it is due.
        let statement = self.query(
            "UPDATE alert_messages SET
                 due_at = CASE WHEN due_at > $2::timestamptz THEN $1::timestamptz ELSE due_at END,
                 next_at = CASE WHEN next_at > $2::timestamptz OR (attempts > 0 AND next_at > $3::timestamptz)
                     THEN $1::timestamptz ELSE next_at END,
                 lease_owner = CASE WHEN lease_until > $4::timestamptz THEN NULL ELSE lease_owner END,
                 lease_until = CASE WHEN lease_until > $4::timestamptz THEN NULL ELSE lease_until END
             WHERE id IN (SELECT m.id FROM alert_messages m
                 WHERE m.finished_at IS NULL AND (m.due_at > $2::timestamptz OR m.next_at > $2::timestamptz
                     OR (m.attempts > 0 AND m.next_at > $3::timestamptz) OR m.lease_until > $4::timestamptz)
                 ORDER BY m.id FOR UPDATE SKIP LOCKED)",
        );
        let statement = statement
            .bind(time_text(now))
            .bind(time_text(furthest.alert))
            .bind(time_text(furthest.alert_retry))
            .bind(time_text(furthest.alert_lease));
        let messages = self.write("set alerts back", statement).await?;
        let statement = self.query(
            "UPDATE alert_channels SET free_at = $1::timestamptz
             WHERE id IN (SELECT c.id FROM alert_channels c WHERE c.free_at > $2::timestamptz
                 ORDER BY c.id FOR UPDATE SKIP LOCKED)",
        );
        let statement = statement.bind(time_text(now)).bind(time_text(furthest.alert_lease));
        Ok(messages + self.write("set channels of alerts back", statement).await?)
    }
}

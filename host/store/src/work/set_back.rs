//! Times further ahead than any host sets: a clock that was ahead set them, or another program did. What waits for such
//! a time would wait for as long as the clock was wrong, and so would its run, its schedule, or an artist's events.

use chrono::{DateTime, Utc};

use crate::database::connection::Store;
use crate::database::dialect::{Columns as _, time_text};
use crate::database::error::{StoreError, unless_refused};
use crate::events::outbox::events_lock_in_txn;
use crate::scope::Scope;
use backline_model::clock::latest_believed;

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
    /// Number of times at which a release became active or a canary.
    pub releases: u64,
    /// Number of webhooks and routes of alerts that were said to have seen more events than there are.
    pub receivers: u64,
}

impl Store {
    /// Makes due what waits for a time that no clock sets that is right. A lease ends as one that is taken now: its
    /// host renews it before, if it still holds it.
    ///
    /// # Errors
    /// When the scope is one tenant's, or the database fails: the first error, after the other tables were set back.
    pub async fn times_set_back(
        &self,
        scope: &Scope,
        furthest: &Furthest,
        now: DateTime<Utc>,
    ) -> Result<SetBack, StoreError> {
        scope.require_all("set times back")?;
        let mut failed = None;
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
        let batches = unless_refused(self.write("set batches back", statement).await, &mut failed)?;
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
        let deliveries = unless_refused(self.write("set deliveries back", statement).await, &mut failed)?;
        let alerts = unless_refused(self.alerts_set_back(furthest, now).await, &mut failed)?;
        let releases = unless_refused(self.releases_set_back(now).await, &mut failed)?;
        let receivers = unless_refused(self.receivers_set_back().await, &mut failed)?;
        failed.map_or(Ok(SetBack { batches, deliveries, alerts, releases, receivers }), Err)
    }

    /// A release counts as active, or as a canary, from now on where a clock that was ahead wrote since when: what it
    /// collects is judged from then on. A canary's trial lasts as long as before.
    async fn releases_set_back(&self, now: DateTime<Utc>) -> Result<u64, StoreError> {
        let latest = latest_believed(now);
        let statement = self.query(
            "UPDATE release_activations SET at = $1::timestamptz
             WHERE seq IN (SELECT a.seq FROM release_activations a WHERE a.at > $2::timestamptz
                 ORDER BY a.seq FOR UPDATE SKIP LOCKED)",
        );
        let swaps = self.write("set activations back", statement.bind(time_text(now)).bind(time_text(latest))).await?;
        let statement = self.query(
            "UPDATE releases SET activated_at = $1::timestamptz
             WHERE digest IN (SELECT r.digest FROM releases r WHERE r.activated_at > $2::timestamptz
                 ORDER BY r.digest FOR UPDATE SKIP LOCKED)",
        );
        let statement = statement.bind(time_text(now)).bind(time_text(latest));
        self.write("set when releases became active back", statement).await?;
        let mut canaries = 0;
        for canary in self.canaries_list().await?.into_iter().filter(|canary| canary.started_at > latest) {
            let promote_at = canary.promote_at.map(|at| now.checked_add_signed(at - canary.started_at).unwrap_or(at));
            let statement = self.query(
                "UPDATE canaries SET started_at = $4::timestamptz, promote_at = $5::timestamptz
                 WHERE platform = $1 AND release_digest = $2 AND started_at = $3::timestamptz",
            );
            let statement = statement
                .bind(canary.platform.as_str().to_owned())
                .bind(canary.release.to_string())
                .bind(time_text(canary.started_at))
                .bind(time_text(now))
                .bind(promote_at.map(time_text));
            canaries += self.write("set a canary back", statement).await?;
        }
        Ok(swaps + canaries)
    }

    /// Lets receivers go on after the latest event that are said to be further: they would get none until as many have
    /// been written. Those that came meanwhile are lost to them.
    async fn receivers_set_back(&self) -> Result<u64, StoreError> {
        const LATEST: &str = "SELECT COALESCE(MAX(n.seq), 0)::bigint AS seq FROM (
                 SELECT MAX(e.seq) AS seq FROM events e UNION ALL SELECT MAX(g.seq) AS seq FROM events_gone g) n";
        let further = self.query(
            "SELECT COUNT(*)::bigint AS n FROM (
                 SELECT w.seen FROM webhooks w UNION ALL SELECT r.seen FROM alert_routes r) p
             WHERE p.seen > (SELECT COALESCE(MAX(e.seq), 0) FROM events e)
                 AND p.seen > (SELECT COALESCE(MAX(g.seq), 0) FROM events_gone g)",
        );
        let further = self.row("find receivers that are ahead of events", further).await?;
        if further.map_or(Ok(0), |row| row.count("n"))? == 0 {
            return Ok(0);
        }
        let mut work = self.begin().await?;
        // What is being written now has a number already, and is not to be passed over.
        events_lock_in_txn(&mut work).await?;
        let latest = work.query(LATEST);
        let latest = work.row("find the latest event", latest).await?.map_or(Ok(0), |row| row.int("seq"))?;
        let mut receivers = 0;
        for text in [
            "UPDATE webhooks SET seen = $1 WHERE id IN (SELECT w.id FROM webhooks w WHERE w.seen > $1
                 ORDER BY w.id FOR UPDATE SKIP LOCKED)",
            "UPDATE alert_routes SET seen = $1 WHERE id IN (SELECT r.id FROM alert_routes r WHERE r.seen > $1
                 ORDER BY r.id FOR UPDATE SKIP LOCKED)",
        ] {
            let statement = work.query(text);
            receivers += work.execute("set receivers of events back", statement.bind(latest)).await?;
        }
        work.commit().await?;
        Ok(receivers)
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

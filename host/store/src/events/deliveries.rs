//! Deliveries: which event goes to which webhook, when, and how it ended.
//!
//! Of each line (an artist's events, above all) only the head can be leased, so that a line is delivered in the order
//! of its events, whichever hosts send. What is written under a lease checks it: a host that sends for too long writes
//! nothing.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value as Json, json};
use sqlx::any::AnyRow;
use uuid::Uuid;

use crate::database::connection::{Store, Work};
use crate::database::dialect::{Columns as _, DatabaseKind, clean, json, time_text};
use crate::database::error::StoreError;
use crate::database::notifications::notify;
use crate::database::readable::{Extent, left_of, more_after, read_corrected};
use crate::database::rows::ROWS_PER_STATEMENT;
use crate::database::topic::Topic;
use crate::events::cursor::{EventCursor, event_sql};
use crate::events::row_data::{Reader, events_of};
use crate::scope::Scope;
use crate::work::leases::readable_time;
use backline_model::clock::LAST_TIME;
use backline_model::kill_points::{Point, point};
use backline_model::{ArtistId, Delivery, DeliveryState, Event, Webhook, WebhookId, WebhookKind};

/// A delivery that nobody took for this long while it was due was not tried in that time: hosts look every few seconds.
const ABSENCE_MIN: TimeDelta = TimeDelta::minutes(1);

/// What decides which webhooks get an event.
#[derive(Clone, Debug, PartialEq)]
pub struct EventHead {
    /// Its place among all events.
    pub cursor: EventCursor,
    /// Its type.
    pub kind: String,
    /// The artist it is about.
    pub artist_id: Option<ArtistId>,
    /// The platform it names.
    pub platform: Option<String>,
    /// Tenant of the artist, as far as that is still known.
    pub tenant: Option<String>,
    /// Its data; none where those are the numbers of a row.
    pub data: Option<Json>,
}

/// An event that is to go to a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDelivery {
    /// The event's place in the outbox.
    pub event: EventCursor,
    /// Its line: deliveries of the same line are sent in order.
    pub line: String,
}

/// A delivery that a host has leased.
#[derive(Clone, Debug, PartialEq)]
pub struct DeliveryLease {
    /// The webhook it is sent to.
    pub webhook: WebhookId,
    /// The event to send.
    pub event: Event,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// When it was first tried.
    pub first_tried_at: DateTime<Utc>,
    /// End of the lease.
    pub until: DateTime<Utc>,
    cursor: EventCursor,
    owner: String,
    line: String,
}

/// How a delivery ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Finish {
    /// Its state; anything but waiting.
    pub state: DeliveryState,
    /// The receiver's status.
    pub status: Option<u16>,
    /// What went wrong, or why it was not sent.
    pub problem: Option<String>,
}

/// Which deliveries to list. A field that is none does not restrict.
#[derive(Clone, Debug, Default)]
pub struct DeliveryFilter {
    /// Only to this webhook.
    pub webhook: Option<WebhookId>,
    /// Only in this state.
    pub state: Option<DeliveryState>,
    /// Only about this artist.
    pub artist: Option<ArtistId>,
    /// Only of this event.
    pub event: Option<Uuid>,
    /// Only deliveries that come after the one of the event with this cursor to the webhook of this name: where the
    /// next page begins, also if that delivery is gone.
    pub after: Option<(EventCursor, String)>,
    /// Most rows to return; 0 means 100.
    pub limit: u32,
}

/// What waits for all webhooks of a kind that are on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// Kind of the webhooks.
    pub kind: WebhookKind,
    /// Number of deliveries.
    pub waiting: u64,
    /// When the oldest of their events occurred of which that can be read; none where that is true of none.
    pub oldest: Option<DateTime<Utc>>,
}

impl Store {
    /// What decides which webhooks get the events after a cursor, in the order in which they were committed.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn event_heads_list(
        &self,
        scope: &Scope,
        after: EventCursor,
        limit: u32,
    ) -> Result<Vec<EventHead>, StoreError> {
        let head_of = |row: &AnyRow| {
            Ok(EventHead {
                cursor: EventCursor::from(row.int("seq")?),
                kind: row.text("type")?,
                artist_id: row.parsed_or_null("artist_id")?,
                platform: row.text_or_null("platform")?,
                tenant: row.text_or_null("tenant")?,
                data: row.json_or_null("data")?,
            })
        };
        let (mut after, mut found) = (after.number(), Vec::new());
        loop {
            let statement = self.scoped(
                scope,
                "SELECT e.seq, e.type, e.artist_id::text AS artist_id, e.data->>'platform' AS platform,
                     COALESCE((SELECT a.tenant FROM artists a WHERE a.id = e.artist_id), e.data->>'tenant') AS tenant,
                     CASE WHEN e.row_account IS NULL THEN e.data::text END AS data
                 FROM events e WHERE e.seq > $1 {and_event: e} ORDER BY e.seq LIMIT $2",
            );
            let asked = left_of(limit, found.len());
            let rows = self.in_commit_order(statement.bind(after).bind(i64::from(asked))).await?;
            found.extend(self.unreadable.read("events", "seq", Extent::Part, &rows, head_of)?);
            let Some(last) = more_after(&rows, asked, found.len(), limit) else { return Ok(found) };
            after = last.number("seq")?;
        }
    }

    /// Adds a webhook's deliveries of the events after `seen` and up to `until`. Returns how many it added; none where
    /// another host has done so already, or the webhook is off or gone.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn deliveries_fan_out(
        &self,
        scope: &Scope,
        webhook: WebhookId,
        seen: EventCursor,
        until: EventCursor,
        deliveries: &[NewDelivery],
        now: DateTime<Utc>,
    ) -> Result<Option<u64>, StoreError> {
        let mut work = self.begin().await?;
        let statement = work.scoped(
            scope,
            "UPDATE webhooks SET seen = $3 WHERE id = $1::uuid AND seen = $2 AND enabled {and_tenant: webhooks.tenant}",
        );
        let statement = statement.bind(webhook.to_string()).bind(seen.number()).bind(until.number());
        if work.execute("move a webhook past events", statement).await? == 0 {
            return Ok(None);
        }
        let mut written = 0;
        for chunk in deliveries.chunks(ROWS_PER_STATEMENT) {
            let rows: Vec<_> = chunk.iter().map(|new| json!({ "seq": new.event.number(), "line": new.line })).collect();
            // Events that are gone since they were read are left out.
            let statement = work.scoped(
                scope,
                "INSERT INTO deliveries (webhook_id, event_seq, event_id, artist_id, line, state, attempts, next_at)
                 SELECT $2::uuid, e.seq, e.id, e.artist_id, r.value->>'line', 'waiting', 0,
                     COALESCE((SELECT MAX(d.next_at) FROM deliveries d
                         WHERE d.webhook_id = $2::uuid AND d.line = r.value->>'line'
                             AND d.state = 'waiting' AND {is_time: d.next_at}), $3::timestamptz)
                 FROM {rows} LEFT JOIN events e ON e.seq = (r.value->>'seq')::bigint
                 WHERE (e.seq IS NULL) = FALSE {and_event: e}
                 ON CONFLICT (webhook_id, event_seq) DO NOTHING",
            );
            let statement = statement.replanned().bind(json("deliveries", &rows)?);
            let statement = statement.bind(webhook.to_string()).bind(time_text(now));
            written += work.execute("add deliveries", statement).await?;
        }
        point(Point::DeliveriesWritten);
        work.commit().await?;
        point(Point::DeliveriesNoted);
        Ok(Some(written))
    }

    /// Leases up to `limit` deliveries to a webhook, each the head of its line, in the order in which
    /// they are due. Each counts as an attempt. One that can't be read, or of whose event that is true, is parked: the
    /// next one of its line is due then.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn deliveries_lease(
        &self,
        scope: &Scope,
        webhook: WebhookId,
        owner: &str,
        now: DateTime<Utc>,
        ttl: Duration,
        limit: u32,
    ) -> Result<Vec<DeliveryLease>, StoreError> {
        self.deliveries_lease_until(scope, webhook, owner, now, now + ttl, limit).await
    }

    /// The same with the end of the leases given, for what is due at an earlier time.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn deliveries_lease_until(
        &self,
        scope: &Scope,
        webhook: WebhookId,
        owner: &str,
        due_at: DateTime<Utc>,
        held_until: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<DeliveryLease>, StoreError> {
        loop {
            match self.some_deliveries_lease(scope, webhook, owner, due_at, held_until, limit).await? {
                // All were parked: others are the heads of their lines now.
                Some(leases) if leases.is_empty() => {}
                Some(leases) => return Ok(leases),
                None if self.timeless_deliveries_park(scope, webhook, due_at).await? => {}
                None => return Ok(Vec::new()),
            }
        }
    }

    /// Parks the deliveries to a webhook that are due at what is no time, such as `then`: they would never be due, and
    /// keep their lines waiting. Those that a file takes for due are leased, and parked there. Those that it takes for
    /// due within a day are left until then: tries that wait are many, and are not read at each look. Returns whether
    /// there were any.
    async fn timeless_deliveries_park(
        &self,
        scope: &Scope,
        webhook: WebhookId,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        const TIMELESS: &str = "SELECT d.event_seq, d.next_at FROM deliveries d
             WHERE d.webhook_id = $1::uuid AND d.state = 'waiting' AND d.next_at > $3::timestamptz
                 AND NOT ({is_time: d.next_at}) AND (d.lease_until IS NULL OR d.lease_until <= $2::timestamptz)
                 AND EXISTS (SELECT 1 FROM webhooks w WHERE w.id = $1::uuid AND w.enabled {and_tenant: w.tenant})";
        if self.kind() == DatabaseKind::Postgres {
            return Ok(false); // its type keeps others out
        }
        let what = "look for deliveries that are due at no time";
        let far = time_text(now + TimeDelta::days(1));
        let statement = self.scoped(scope, TIMELESS).bind(webhook.to_string()).bind(time_text(now)).bind(far.clone());
        // Nothing is written, and nobody kept from writing, where there are none.
        if !self.rows(what, statement).await?.iter().any(|row| timeless(row).is_some()) {
            return Ok(false);
        }
        let mut work = self.begin().await?;
        let statement = work.scoped(scope, TIMELESS).bind(webhook.to_string()).bind(time_text(now)).bind(far);
        let mut parked = false;
        for row in work.rows(what, statement).await? {
            let Some(problem) = timeless(&row) else { continue };
            let problem = format!("its next_at can't be read: {problem}");
            park_in_txn(&mut work, webhook, row.int("event_seq")?, &problem, now).await?;
            parked = true;
        }
        work.commit().await?;
        Ok(parked)
    }

    /// None where nothing is due.
    async fn some_deliveries_lease(
        &self,
        scope: &Scope,
        webhook: WebhookId,
        owner: &str,
        due_at: DateTime<Utc>,
        held_until: DateTime<Utc>,
        limit: u32,
    ) -> Result<Option<Vec<DeliveryLease>>, StoreError> {
        let mut work = self.begin().await?;
        let statement = work.scoped(
            scope,
            "WITH due AS MATERIALIZED (
                 SELECT d.event_seq FROM deliveries d
                 WHERE d.webhook_id = $1::uuid AND d.state = 'waiting' AND d.next_at <= $3::timestamptz
                     AND (d.lease_until IS NULL OR d.lease_until <= $3::timestamptz)
                     AND EXISTS (SELECT 1 FROM webhooks w WHERE w.id = $1::uuid AND w.enabled {and_tenant: w.tenant})
                     AND NOT EXISTS (SELECT 1 FROM deliveries e
                         WHERE e.webhook_id = $1::uuid AND e.line = d.line AND e.state = 'waiting'
                             AND e.event_seq < d.event_seq)
                 ORDER BY d.next_at, d.event_seq LIMIT $5 FOR UPDATE SKIP LOCKED)
             UPDATE deliveries SET lease_owner = $2, lease_until = $4::timestamptz, attempts = {counted: attempts + 1},
                 first_tried_at = COALESCE(first_tried_at, $3::timestamptz)
             WHERE webhook_id = $1::uuid AND event_seq IN (SELECT event_seq FROM due)
             RETURNING event_seq, attempts, line, first_tried_at::text AS first_tried_at, next_at::text AS next_at",
        );
        let statement = statement
            .replanned()
            .bind(webhook.to_string())
            .bind(clean(owner))
            .bind(time_text(due_at))
            .bind(time_text(held_until))
            .bind(i64::from(limit));
        let leased = work.rows("lease deliveries", statement).await?;
        if leased.is_empty() {
            return Ok(None);
        }
        let mut held = read_corrected(&leased, held_of)?;
        for row in &leased {
            let Err(StoreError::Unreadable { column, problem }) = held_of(row) else { continue };
            let problem = format!("its {column} can't be read: {problem}");
            park_in_txn(&mut work, webhook, row.int("event_seq")?, &problem, due_at).await?;
        }
        let rows: Vec<_> = held.iter().map(|held| json!({ "seq": held.seq })).collect();
        let statement = work.query(event_sql!("WHERE e.seq IN (SELECT (r.value->>'seq')::bigint FROM {rows})"));
        let events = work.rows("read what is to be delivered", statement.bind(json("events", &rows)?)).await?;
        let events = events_of(Reader::View(&mut work), &events).await?;
        let mut events: HashMap<i64, Event> =
            events.into_iter().map(|(cursor, event)| (cursor.number(), event)).collect();
        let mut moved = Vec::new();
        for held in &mut held {
            let first = without_absence(held.first_tried_at, held.next_at, due_at);
            if first != held.first_tried_at {
                moved.push(json!({ "seq": held.seq, "first": time_text(first) }));
                held.first_tried_at = first;
            }
        }
        first_tries_move_in_txn(&mut work, webhook, &moved).await?;
        for held in held.iter().filter(|held| !events.contains_key(&held.seq)) {
            // Nothing can be sent of an event that can't be read.
            park_in_txn(&mut work, webhook, held.seq, "the event can't be read", due_at).await?;
        }
        work.commit().await?;
        let mut leases = Vec::with_capacity(held.len());
        for Held { seq, attempts, line, first_tried_at, .. } in held {
            // An event that was erased in the meantime has taken its delivery along.
            let Some(event) = events.remove(&seq) else { continue };
            let (attempt, cursor) = (u32::try_from(attempts).unwrap_or(u32::MAX), EventCursor::from(seq));
            let (owner, until) = (clean(owner), held_until);
            leases.push(DeliveryLease { webhook, event, attempt, first_tried_at, until, cursor, owner, line });
        }
        leases.sort_by_key(|lease| lease.cursor);
        Ok(Some(leases))
    }

    /// Records how a delivery ended; the next one of its line can be sent. False where the lease is lost.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delivery_finish(
        &self,
        lease: &DeliveryLease,
        finish: &Finish,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let statement = self.query(
            "UPDATE deliveries SET state = $5, status = $6, problem = $7, finished_at = $8::timestamptz,
                 lease_owner = NULL,
                 lease_until = NULL
             WHERE webhook_id = $1::uuid AND event_seq = $2 AND lease_owner = $3 AND lease_until = $4::timestamptz
                 AND state = 'waiting'",
        );
        let statement = of_lease(statement, lease)
            .bind(finish.state.as_str())
            .bind(finish.status.map(i64::from))
            .bind(finish.problem.as_deref().map(clean))
            .bind(time_text(now));
        Ok(self.write("finish a delivery", statement).await? > 0)
    }

    /// Retries a delivery at a time; its line waits behind it. False where the lease is lost.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delivery_retry(
        &self,
        lease: &DeliveryLease,
        at: DateTime<Utc>,
        status: Option<u16>,
        problem: &str,
    ) -> Result<bool, StoreError> {
        let mut work = self.begin().await?;
        let statement = work.query(
            "UPDATE deliveries SET next_at = $5::timestamptz, status = $6, problem = $7, lease_owner = NULL,
                 lease_until = NULL
             WHERE webhook_id = $1::uuid AND event_seq = $2 AND lease_owner = $3 AND lease_until = $4::timestamptz
                 AND state = 'waiting'",
        );
        let statement = of_lease(statement, lease).bind(time_text(at)).bind(status.map(i64::from)).bind(clean(problem));
        if work.execute("postpone a delivery", statement).await? == 0 {
            return Ok(false);
        }
        // Those behind it need not be checked before.
        let statement = work.query(
            "UPDATE deliveries SET next_at = $4::timestamptz
             WHERE webhook_id = $1::uuid AND event_seq IN (SELECT d.event_seq FROM deliveries d
                 WHERE d.webhook_id = $1::uuid AND d.line = $2 AND d.state = 'waiting' AND d.event_seq > $3
                 ORDER BY d.event_seq FOR UPDATE)",
        );
        let statement = statement
            .bind(lease.webhook.to_string())
            .bind(lease.line.clone())
            .bind(lease.cursor.number())
            .bind(time_text(at));
        work.execute("postpone a line", statement).await?;
        work.commit().await?;
        Ok(true)
    }

    /// When the next delivery comes due after `now`; none where none waits, or that time can't be read.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn next_delivery_get(
        &self,
        scope: &Scope,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, StoreError> {
        let statement = self.scoped(
            scope,
            "SELECT MIN(next_at)::text AS next_at FROM (
                 SELECT (SELECT MIN(d.next_at) FROM deliveries d
                     WHERE d.webhook_id = w.id AND d.state = 'waiting' AND d.next_at > $1::timestamptz) AS next_at
                 FROM webhooks w WHERE w.enabled {and_tenant: w.tenant}) AS s",
        );
        let row = self.row("find when the next delivery is due", statement.replanned().bind(time_text(now))).await?;
        row.map_or(Ok(None), |row| readable_time(&row, "next_at"))
    }

    /// Deliveries, those of the latest events first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn deliveries_list(&self, scope: &Scope, filter: &DeliveryFilter) -> Result<Vec<Delivery>, StoreError> {
        let page = self.deliveries_page(scope, filter).await?;
        Ok(page.into_iter().map(|(_, delivery)| delivery).collect())
    }

    /// The same, each with the place of its event: with the webhook's name it says where the next page begins.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn deliveries_page(
        &self,
        scope: &Scope,
        filter: &DeliveryFilter,
    ) -> Result<Vec<(EventCursor, Delivery)>, StoreError> {
        let most = if filter.limit == 0 { 100 } else { filter.limit };
        let mut after = filter.after.as_ref().map(|(event, webhook)| (event.number(), Some(clean(webhook))));
        let mut found = Vec::new();
        loop {
            let statement = self.scoped(
                scope,
                "SELECT w.name, d.event_seq, e.id::text AS event_id, e.type, d.artist_id::text AS artist_id, d.state,
                 d.attempts, d.status, d.problem,
                 d.first_tried_at::text AS first_tried_at, d.next_at::text AS next_at,
                 d.finished_at::text AS finished_at,
                 e.occurred_at::text AS occurred_at
             FROM deliveries d JOIN webhooks w ON w.id = d.webhook_id JOIN events e ON e.seq = d.event_seq
             WHERE ($1::uuid IS NULL OR d.webhook_id = $1::uuid) AND ($2::text IS NULL OR d.state = $2::text)
                 AND ($3::uuid IS NULL OR d.artist_id = $3::uuid) AND ($4::uuid IS NULL
                 OR e.id = $4::uuid)
                 AND ($6::bigint IS NULL OR d.event_seq < $6 OR (d.event_seq = $6 AND w.name > $7))
                 {and_tenant: w.tenant}
             ORDER BY d.event_seq DESC, w.name LIMIT $5",
            );
            let asked = left_of(most, found.len());
            let (event, webhook) = after.unzip();
            let statement = statement
                .bind(filter.webhook.map(|id| id.to_string()))
                .bind(filter.state.map(|state| state.as_str()))
                .bind(filter.artist.map(|id| id.to_string()))
                .bind(filter.event.map(|id| id.to_string()))
                .bind(i64::from(asked))
                .bind(event)
                .bind(webhook.flatten());
            let rows = self.rows("list deliveries", statement).await?;
            found.extend(self.unreadable.read("deliveries", "event_id", Extent::Part, &rows, |row| {
                let state = row.named("state", DeliveryState::parse)?;
                let status = row.int_or_null("status")?;
                let delivery = Delivery {
                    webhook: row.text("name")?,
                    event_id: row.uuid("event_id")?,
                    kind: row.text("type")?,
                    artist_id: row.parsed_or_null("artist_id")?,
                    state,
                    attempts: u32::try_from(row.int("attempts")?).unwrap_or(u32::MAX),
                    first_tried_at: row.time_or_null("first_tried_at")?,
                    next_at: row.time_or_null("next_at")?.filter(|_| state == DeliveryState::Waiting),
                    status: status.and_then(|status| u16::try_from(status).ok()),
                    problem: row.text_or_null("problem")?,
                    finished_at: row.time_or_null("finished_at")?,
                    occurred_at: row.time("occurred_at")?,
                };
                Ok((EventCursor::from(row.int("event_seq")?), delivery))
            })?);
            let Some(last) = more_after(&rows, asked, found.len(), most) else { return Ok(found) };
            // Without a name that comes after it, the next event's come next.
            after = Some((last.number("event_seq")?, last.above("name")));
        }
    }

    /// Restarts deliveries: those that are parked, or, given a time, all whose events occurred since then and
    /// that are not waiting. Returns how many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn deliveries_resend(
        &self,
        scope: &Scope,
        webhook: &Webhook,
        since: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Result<u64, StoreError> {
        let mut work = self.begin().await?;
        let statement = work.scoped(
            scope,
            "UPDATE deliveries SET state = 'waiting', attempts = 0, first_tried_at = NULL, finished_at = NULL,
                 next_at = $3::timestamptz
             WHERE webhook_id = $1::uuid AND event_seq IN (SELECT d.event_seq FROM deliveries d
                 WHERE d.webhook_id = $1::uuid AND d.state <> 'waiting' {and_webhook: d.webhook_id}
                     AND CASE WHEN $2::timestamptz IS NULL THEN d.state = 'parked'
                         ELSE d.event_seq IN (SELECT e.seq FROM events e WHERE e.occurred_at >= $2::timestamptz) END
                 ORDER BY d.event_seq FOR UPDATE)",
        );
        let statement = statement.bind(webhook.id.to_string()).bind(since.map(time_text)).bind(time_text(now));
        let resent = work.execute("send deliveries again", statement).await?;
        notify(&mut work, Topic::Events).await?;
        work.commit().await?;
        Ok(resent)
    }

    /// Restarts one delivery, or makes one of an event that the webhook never got.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delivery_resend(
        &self,
        scope: &Scope,
        webhook: &Webhook,
        delivery: &NewDelivery,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let mut work = self.begin().await?;
        let statement = work.scoped(
            scope,
            "INSERT INTO deliveries (webhook_id, event_seq, event_id, artist_id, line, state, attempts, next_at)
             SELECT $1::uuid, e.seq, e.id, e.artist_id, $3, 'waiting', 0, $4::timestamptz FROM events e
             WHERE e.seq = $2 {and_webhook: $1::uuid} {and_event: e}
             ON CONFLICT (webhook_id, event_seq) DO UPDATE SET state = 'waiting', attempts = 0, first_tried_at = NULL,
                 finished_at = NULL, next_at = excluded.next_at, lease_owner = NULL, lease_until = NULL",
        );
        let statement = statement
            .bind(webhook.id.to_string())
            .bind(delivery.event.number())
            .bind(delivery.line.clone())
            .bind(time_text(now));
        work.execute("send a delivery again", statement).await?;
        notify(&mut work, Topic::Events).await?;
        work.commit().await
    }

    /// What waits, by kind of webhook; those that are off are left out. A webhook whose row can't be read is named and
    /// not counted, since nothing is sent to it. An event whose time can't be read is named, and counts all the same.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delivery_backlog_list(&self, scope: &Scope) -> Result<Vec<Backlog>, StoreError> {
        let statement = self.scoped(
            scope,
            "SELECT w.name, w.kind, COUNT(*) AS n FROM deliveries d JOIN webhooks w ON w.id = d.webhook_id
             WHERE d.state = 'waiting' AND w.enabled {and_tenant: w.tenant}
             GROUP BY w.id, w.name, w.kind ORDER BY w.name",
        );
        let rows = self.rows("count deliveries that wait", statement).await?;
        let of_webhooks = self.unreadable.read("webhooks", "name", Extent::Columns, &rows, |row| {
            Ok((row.named("kind", WebhookKind::parse)?, row.count("n")?))
        })?;
        let mut by_kind: BTreeMap<WebhookKind, u64> = BTreeMap::new();
        for (kind, waiting) in of_webhooks {
            *by_kind.entry(kind).or_default() += waiting;
        }
        let mut backlog = Vec::with_capacity(by_kind.len());
        for (kind, waiting) in by_kind {
            backlog.push(Backlog { kind, waiting, oldest: self.oldest_waiting_get(scope, kind).await? });
        }
        Ok(backlog)
    }

    /// When the oldest event occurred that waits for webhooks of a kind, of those whose time can be read.
    async fn oldest_waiting_get(&self, scope: &Scope, kind: WebhookKind) -> Result<Option<DateTime<Utc>>, StoreError> {
        const EVENTS: u32 = 100;
        let mut after: Option<i64> = None;
        loop {
            // What waits is found by an index of its own. In the order of events, all that ever was delivered would be
            // gone through for it.
            let statement = self.scoped(
                scope,
                "WITH waiting AS MATERIALIZED (
                     SELECT d.event_seq FROM deliveries d JOIN webhooks w ON w.id = d.webhook_id
                     WHERE d.state = 'waiting' AND w.enabled AND w.kind = $1
                         AND ($2::bigint IS NULL OR d.event_seq > $2) {and_tenant: w.tenant})
                 SELECT e.seq, e.occurred_at::text AS occurred_at
                 FROM (SELECT DISTINCT w.event_seq FROM waiting w ORDER BY w.event_seq LIMIT $3) AS oldest
                     JOIN events e ON e.seq = oldest.event_seq ORDER BY e.seq",
            );
            let statement = statement.bind(kind.as_str()).bind(after).bind(i64::from(EVENTS));
            let rows = self.rows("find the oldest event that waits", statement).await?;
            let times = self
                .unreadable
                .read("events", "seq", Extent::Columns, &rows, |row| row.calendar_time("occurred_at"))?;
            if let Some(oldest) = times.first() {
                return Ok(Some(*oldest));
            }
            let Some(last) = more_after(&rows, EVENTS, 0, EVENTS) else { return Ok(None) };
            after = Some(last.number("seq")?);
        }
    }
}

/// A delivery that was just leased, without its event.
struct Held {
    seq: i64,
    attempts: i64,
    line: String,
    first_tried_at: DateTime<Utc>,
    /// When it was due.
    next_at: DateTime<Utc>,
}

fn held_of(row: &AnyRow) -> Result<Held, StoreError> {
    Ok(Held {
        seq: row.int("event_seq")?,
        attempts: row.int("attempts")?,
        line: row.text("line")?,
        first_tried_at: row.time("first_tried_at")?,
        next_at: row.time("next_at")?,
    })
}

/// What stands in the place of the time at which a delivery is due, where it is no time, or none that comes. SQLite
/// knows fewer forms of times than hosts do.
fn timeless(row: &AnyRow) -> Option<String> {
    match row.text("next_at") {
        Ok(text) if row.time("next_at").is_ok() && text <= time_text(LAST_TIME) => None,
        Ok(text) => Some(format!("'{text}'")),
        Err(StoreError::Unreadable { problem, .. }) => Some(problem),
        Err(error) => Some(error.to_string()),
    }
}

/// Parks a delivery, which is leased or can't be. What can't be read of its times goes, so that lists show it.
async fn park_in_txn(
    work: &mut Work,
    webhook: WebhookId,
    seq: i64,
    problem: &str,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let statement = work.query(
        "UPDATE deliveries SET state = 'parked', problem = $3, first_tried_at = $4::timestamptz,
             next_at = $4::timestamptz, finished_at = $4::timestamptz, lease_owner = NULL, lease_until = NULL
         WHERE webhook_id = $1::uuid AND event_seq = $2",
    );
    let statement = statement.bind(webhook.to_string()).bind(seq).bind(clean(problem)).bind(time_text(now));
    work.execute("park a delivery", statement).await?;
    Ok(())
}

/// The parameters by which a lease is found.
fn of_lease(
    statement: crate::database::statement::Statement,
    lease: &DeliveryLease,
) -> crate::database::statement::Statement {
    statement
        .bind(lease.webhook.to_string())
        .bind(lease.cursor.number())
        .bind(lease.owner.clone())
        .bind(time_text(lease.until))
}

/// When a delivery would have been tried first if nobody had been away: the time for which it was due and no host took
/// it does not count. Time up to [`ABSENCE_MIN`] does.
fn without_absence(first_tried_at: DateTime<Utc>, due: DateTime<Utc>, now: DateTime<Utc>) -> DateTime<Utc> {
    let waited = now - due.max(first_tried_at);
    if waited < ABSENCE_MIN { first_tried_at } else { (first_tried_at + waited).min(now) }
}

/// Moves the first tries of deliveries that nobody took while they were due.
async fn first_tries_move_in_txn(work: &mut Work, webhook: WebhookId, moved: &[Json]) -> Result<(), StoreError> {
    if moved.is_empty() {
        return Ok(());
    }
    let statement = work.query(
        "UPDATE deliveries SET first_tried_at = (SELECT (r.value->>'first')::timestamptz FROM {rows}
             WHERE (r.value->>'seq')::bigint = deliveries.event_seq)
         WHERE webhook_id = $2::uuid AND event_seq IN (SELECT (r.value->>'seq')::bigint FROM {rows})",
    );
    let statement = statement.bind(json("first tries", &moved)?).bind(webhook.to_string());
    work.execute("move first tries", statement).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_in_which_nobody_tried_does_not_count() {
        let first = DateTime::from_timestamp(1_795_000_000, 0).expect("a time");
        let (seconds, hours) = (TimeDelta::seconds, TimeDelta::hours);
        // Tried in time, or a little late.
        assert_eq!(without_absence(first, first + hours(1), first + hours(1)), first);
        assert_eq!(without_absence(first, first + hours(1), first + hours(1) + seconds(59)), first);
        // The host was away for a day.
        assert_eq!(without_absence(first, first + hours(1), first + hours(25)), first + hours(24));
        // It is the first try now, however long it was due.
        assert_eq!(without_absence(first, first - hours(30), first), first);
        // A clock that went back.
        assert_eq!(without_absence(first, first + hours(1), first - hours(3)), first);
    }
}

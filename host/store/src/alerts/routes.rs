//! Routes from events to channels, each with the last event that was looked at for it, and how events become messages.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::any::AnyRow;
use uuid::Uuid;

use super::channels::channel_not_found;
use crate::artists::tombstones::erasures_hold_off_in_txn;
use crate::database::connection::{Store, Work};
use crate::database::dialect::{Columns as _, clean, json, time_text};
use crate::database::error::StoreError;
use crate::database::notifications::notify;
use crate::database::readable::Extent;
use crate::database::topic::Topic;
use crate::events::cursor::EventCursor;
use crate::events::outbox::events_lock_in_txn;
use crate::scope::Scope;
use backline_model::{AlertPhase, AlertRoute, AlertSeverity, ChannelId};

/// An event that is to be told to a channel.
#[derive(Clone, Debug, PartialEq)]
pub struct NewAlert {
    /// The channel.
    pub channel: ChannelId,
    /// The event's place in the outbox.
    pub event: EventCursor,
    /// What the message is about: the same when that begins and when it is over.
    pub subject: String,
    /// Name of the group of events that share a message.
    pub group: String,
    /// The events' type.
    pub kind: String,
    /// Whether it begins or is over.
    pub phase: AlertPhase,
    /// How urgent it is.
    pub severity: AlertSeverity,
    /// When a message that this event begins is due.
    pub due_at: DateTime<Utc>,
}

impl Store {
    /// Adds a route that takes events from now on.
    ///
    /// # Errors
    /// [`StoreError::AlertExists`] when the name is taken; [`StoreError::NotFound`] when a channel is not there.
    pub async fn alert_route_add(&self, scope: &Scope, route: &AlertRoute) -> Result<(), StoreError> {
        scope.require_all("add a route of alerts")?;
        let mut work = self.begin().await?.proven(self).await?;
        // What is being written now is older than the route.
        events_lock_in_txn(&mut work).await?;
        let statement = work.query(
            "INSERT INTO alert_routes (id, name, events, severity, tenant, window_s, quiet, seen, created_at)
             VALUES ($1::uuid, $2, $3::jsonb, $4, $5, $6, $7::jsonb,
                 COALESCE((SELECT MAX(seq) FROM events), 0), $8::timestamptz)
             ON CONFLICT (name) DO NOTHING",
        );
        let quiet = route.quiet.as_ref().map(|quiet| json("quiet hours", quiet)).transpose()?;
        let statement = statement
            .bind(route.id.to_string())
            .bind(clean(&route.name))
            .bind(json("a route's events", &route.events)?)
            .bind(route.severity.as_str())
            .bind(route.tenant.as_ref().map(ToString::to_string))
            .bind(i64::from(route.window_s))
            .bind(quiet)
            .bind(time_text(route.created_at));
        if work.execute("add a route of alerts", statement).await? == 0 {
            return Err(StoreError::AlertExists { what: "route", name: route.name.clone() });
        }
        for channel in &route.channels {
            let statement = work.query(
                "INSERT INTO alert_receivers (route_id, channel_id)
                 SELECT $1::uuid, c.id FROM alert_channels c WHERE c.name = $2",
            );
            let statement = statement.bind(route.id.to_string()).bind(clean(channel));
            if work.execute("add a route's channel", statement).await? == 0 {
                return Err(channel_not_found(channel));
            }
        }
        notify(&mut work, Topic::Events).await?;
        work.commit().await
    }

    /// Every route that can be read, by name, each with the last event that was looked at for it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn alert_routes_list(&self, scope: &Scope) -> Result<Vec<(AlertRoute, EventCursor)>, StoreError> {
        scope.require_all("list the routes of alerts")?;
        let statement = self.query(
            "SELECT x.route_id::text AS route_id, c.name FROM alert_receivers x
                 JOIN alert_channels c ON c.id = x.channel_id ORDER BY c.name",
        );
        let mut channels: HashMap<String, Vec<String>> = HashMap::new();
        for row in self.rows("list the channels of routes", statement).await? {
            // One that is not UTF-8 can't be read of the route and the channel either, which are named.
            if let (Ok(route), Ok(name)) = (row.text("route_id"), row.text("name")) {
                channels.entry(route).or_default().push(name);
            }
        }
        let statement = self.query(
            "SELECT id::text AS id, name, events::text AS events, severity, tenant, window_s, quiet::text AS quiet,
                 seen, created_at::text AS created_at
             FROM alert_routes ORDER BY name",
        );
        let rows = self.rows("list routes of alerts", statement).await?;
        let of = |row: &AnyRow| route_of(row, &channels);
        self.unreadable.read("alert_routes", "name", Extent::Whole, &rows, of)
    }

    /// Removes a route. Messages that it began are sent.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is none of the name.
    pub async fn alert_route_remove(&self, scope: &Scope, name: &str) -> Result<(), StoreError> {
        scope.require_all("remove a route of alerts")?;
        let statement = self.query("DELETE FROM alert_routes WHERE name = $1").bind(clean(name));
        match self.write("remove a route of alerts", statement).await? {
            0 => Err(StoreError::NotFound {
                what: "route of alerts",
                id: format!("named '{name}'; `backline alerts routes list` shows them"),
            }),
            _ => Ok(()),
        }
    }

    /// Puts a route's events after `seen` and up to `until` into messages: into one of the same group that still
    /// gathers, or else into a new one. An event that was told to the channel before is left out. Returns how many were
    /// put; none where another host has done so already, or the route is gone.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn alert_route_fan_out(
        &self,
        scope: &Scope,
        route: Uuid,
        seen: EventCursor,
        until: EventCursor,
        alerts: &[NewAlert],
    ) -> Result<Option<u64>, StoreError> {
        scope.require_all("tell a route's channels of events")?;
        let mut work = self.begin().await?;
        // An erasure removes events in another order than the one below.
        erasures_hold_off_in_txn(&mut work).await?;
        let statement = work.query("UPDATE alert_routes SET seen = $3 WHERE id = $1::uuid AND seen = $2");
        let statement = statement.bind(route.to_string()).bind(seen.number()).bind(until.number());
        if work.execute("move a route past events", statement).await? == 0 {
            return Ok(None);
        }
        let mut put = 0;
        // In an order that every route has: two that lead to the same messages would wait for each other.
        let mut alerts: Vec<&NewAlert> = alerts.iter().collect();
        alerts.sort_by(|a, b| (a.channel, &a.group).cmp(&(b.channel, &b.group)));
        for alert in alerts {
            put += put_in_txn(&mut work, alert).await?;
        }
        work.commit().await?;
        Ok(Some(put))
    }
}

async fn put_in_txn(work: &mut Work, alert: &NewAlert) -> Result<u64, StoreError> {
    // The event may be gone since it was read.
    let statement = work.query(
        "SELECT e.seq FROM events e WHERE e.seq = $2 AND NOT EXISTS
             (SELECT 1 FROM alert_events a WHERE a.channel_id = $1::uuid AND a.event_seq = $2)",
    );
    let statement = statement.bind(alert.channel.to_string()).bind(alert.event.number());
    if work.row("find out whether an event was told", statement).await?.is_none() {
        return Ok(0);
    }
    // One that gathers is locked, so that no host begins to send it in between.
    let statement = work.query(
        "INSERT INTO alert_messages (id, channel_id, subject, group_key, type, phase, severity, is_test, state, events,
             attempts, due_at, next_at)
         VALUES ($1::uuid, $2::uuid, $3, $4, $5, $6, $7, FALSE, 'gathering', 0, 0, $8::timestamptz,
             $8::timestamptz)
         ON CONFLICT (channel_id, group_key) WHERE state = 'gathering' DO UPDATE SET type = excluded.type",
    );
    let statement = statement
        .bind(Uuid::now_v7().to_string())
        .bind(alert.channel.to_string())
        .bind(clean(&alert.subject))
        .bind(clean(&alert.group))
        .bind(clean(&alert.kind))
        .bind(alert.phase.as_str())
        .bind(alert.severity.as_str())
        .bind(time_text(alert.due_at));
    work.execute("find the message that gathers", statement).await?;
    let statement = work.query(
        "INSERT INTO alert_events (channel_id, event_seq, message_id)
         SELECT $1::uuid, $2::bigint, m.id FROM alert_messages m
         WHERE m.channel_id = $1::uuid AND m.group_key = $3 AND m.state = 'gathering'
         ON CONFLICT (channel_id, event_seq) DO NOTHING",
    );
    let statement = statement.bind(alert.channel.to_string()).bind(alert.event.number()).bind(clean(&alert.group));
    work.execute("put an event into a message", statement).await
}

fn route_of(row: &AnyRow, channels: &HashMap<String, Vec<String>>) -> Result<(AlertRoute, EventCursor), StoreError> {
    let id = row.text("id")?;
    let window = row.int("window_s")?;
    let route = AlertRoute {
        id: row.parsed("id")?,
        name: row.text("name")?,
        channels: channels.get(&id).cloned().unwrap_or_default(),
        events: row.json("events")?,
        severity: row.named("severity", AlertSeverity::parse)?,
        tenant: row.parsed_or_null("tenant")?,
        window_s: u32::try_from(window).unwrap_or_default(),
        quiet: row.json_or_null("quiet")?,
        created_at: row.time("created_at")?,
    };
    Ok((route, EventCursor::from(row.int("seen")?)))
}

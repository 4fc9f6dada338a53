//! Digests that are sent by channels again and again, how their messages begin, and what is missing of a tenant.

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::any::AnyRow;
use uuid::Uuid;

use super::channels::channel_not_found;
use crate::database::connection::{Store, Work};
use crate::database::dialect::{Columns as _, clean, json, time_text};
use crate::database::error::StoreError;
use crate::database::readable::Extent;
use crate::scope::Scope;
use backline_model::{AlertDigest, DigestDays, MissingNumbers};

/// A digest that is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDigestMessage {
    /// Id of the message.
    pub id: Uuid,
    /// The day that it is of.
    pub day: NaiveDate,
    /// What the message is about; it names no artist.
    pub subject: String,
    /// Whether a person asked for it.
    pub is_test: bool,
    /// When it is due.
    pub due_at: DateTime<Utc>,
}

impl Store {
    /// Adds a digest.
    ///
    /// # Errors
    /// [`StoreError::AlertExists`] when the name is taken; [`StoreError::NotFound`] when the channel is not there.
    pub async fn alert_digest_add(&self, scope: &Scope, digest: &AlertDigest) -> Result<(), StoreError> {
        scope.require_all("add a digest")?;
        let mut work = self.begin().await?;
        let statement = work.query("SELECT id::text AS id FROM alert_channels WHERE name = $1");
        let channel = work.row("find a digest's channel", statement.bind(clean(&digest.channel))).await?;
        let channel = channel.ok_or_else(|| channel_not_found(&digest.channel))?.text("id")?;
        let statement = work.query(
            "INSERT INTO alert_digests (id, name, channel_id, tenant, days, hour, timezone, quiet, next_at, created_at)
             VALUES ($1::uuid, $2, $3::uuid, $4, $5, $6, $7, $8::jsonb, $9::timestamptz, $10::timestamptz)
             ON CONFLICT (name) DO NOTHING",
        );
        let statement = statement
            .bind(digest.id.to_string())
            .bind(clean(&digest.name))
            .bind(channel)
            .bind(digest.tenant.to_string())
            .bind(digest.every.as_str())
            .bind(i64::from(digest.hour))
            .bind(digest.timezone.name().to_owned())
            .bind(digest.quiet.as_ref().map(|quiet| json("quiet hours", quiet)).transpose()?)
            .bind(time_text(digest.next_at))
            .bind(time_text(digest.created_at));
        if work.execute("add a digest", statement).await? == 0 {
            return Err(StoreError::AlertExists { what: "digest", name: digest.name.clone() });
        }
        work.commit().await
    }

    /// Every digest that can be read, by name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn alert_digests_list(&self, scope: &Scope) -> Result<Vec<AlertDigest>, StoreError> {
        scope.require_all("list digests")?;
        let statement = self.query(
            "SELECT d.id::text AS id, d.name, c.name AS channel, d.tenant, d.days, d.hour, d.timezone,
                 d.quiet::text AS quiet, d.next_at::text AS next_at, d.created_at::text AS created_at
             FROM alert_digests d JOIN alert_channels c ON c.id = d.channel_id ORDER BY d.name",
        );
        let rows = self.rows("list digests", statement).await?;
        self.unreadable.read("alert_digests", "name", Extent::Whole, &rows, digest_of)
    }

    /// Removes a digest with its messages.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is none of the name.
    pub async fn alert_digest_remove(&self, scope: &Scope, name: &str) -> Result<(), StoreError> {
        scope.require_all("remove a digest")?;
        let statement = self.query("DELETE FROM alert_digests WHERE name = $1").bind(clean(name));
        match self.write("remove a digest", statement).await? {
            0 => Err(digest_not_found(name)),
            _ => Ok(()),
        }
    }

    /// Sets when a digest is due next, and begins the message that is due now, if one is. False where another host has
    /// done so already, or the digest is gone.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn alert_digest_move(
        &self,
        scope: &Scope,
        digest: &AlertDigest,
        next_at: DateTime<Utc>,
        message: Option<&NewDigestMessage>,
    ) -> Result<bool, StoreError> {
        scope.require_all("send digests")?;
        let mut work = self.begin().await?;
        let text = "SELECT next_at::text AS at FROM alert_digests WHERE id = $1::uuid FOR NO KEY UPDATE";
        let statement = work.query(text).bind(digest.id.to_string());
        if !work.is_still("find out whether a digest was begun", statement, digest.next_at).await? {
            return Ok(false);
        }
        let statement = work.query("UPDATE alert_digests SET next_at = $2::timestamptz WHERE id = $1::uuid");
        let statement = statement.bind(digest.id.to_string()).bind(time_text(next_at));
        work.execute("set when a digest is due", statement).await?;
        if let Some(message) = message {
            message_add_in_txn(&mut work, digest.id, message).await?;
        }
        work.commit().await?;
        Ok(true)
    }

    /// Begins a message of a digest that a person asks for. False where the digest is gone.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn alert_digest_message_add(
        &self,
        scope: &Scope,
        digest: Uuid,
        message: &NewDigestMessage,
    ) -> Result<bool, StoreError> {
        scope.require_all("send digests")?;
        let mut work = self.begin().await?;
        let added = message_add_in_txn(&mut work, digest, message).await?;
        work.commit().await?;
        Ok(added > 0)
    }

    /// Which accounts ended within a time without numbers of their date that they lack still, counted by platform and
    /// reason. Of an account that lacks several dates, the newest one that it was not left out of is its newest.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn missing_numbers_list(
        &self,
        scope: &Scope,
        after: DateTime<Utc>,
        up_to: DateTime<Utc>,
    ) -> Result<Vec<MissingNumbers>, StoreError> {
        // What was collected as planned has no row here.
        let statement = self.scoped(
            scope,
            "SELECT missing.platform, missing.outcome, missing.reason,
                 COUNT(DISTINCT missing.account_id)::bigint AS accounts, COUNT(*)::bigint AS dates,
                 COUNT(CASE WHEN missing.place = 1 THEN 1 END)::bigint AS newest
             FROM (
                 SELECT latest.platform, latest.outcome, latest.reason, latest.account_id, ROW_NUMBER() OVER (
                     PARTITION BY latest.account_id ORDER BY CASE WHEN latest.outcome = 'excluded' THEN 1 ELSE 0 END,
                         latest.metric_date DESC) AS place
                 FROM (
                     SELECT o.platform, o.outcome, o.reason, o.account_id, o.metric_date, ROW_NUMBER() OVER (
                         PARTITION BY o.account_id, o.metric_date
                         ORDER BY CASE WHEN o.outcome = 'excluded' THEN 1 ELSE 0 END, o.at DESC, o.run_id DESC) AS place
                     FROM collection_outcomes o WHERE o.at > $1::timestamptz AND o.at <= $2::timestamptz
                         {and_artist: o.artist_id}
                 ) AS latest
                 WHERE latest.place = 1 AND latest.outcome <> 'collected' AND NOT EXISTS (SELECT 1 FROM metrics m
                     WHERE m.account_id = latest.account_id AND m.metric_date = latest.metric_date)
             ) AS missing
             GROUP BY missing.platform, missing.outcome, missing.reason",
        );
        let statement = statement.bind(time_text(after)).bind(time_text(up_to));
        let rows = self.rows("count missing numbers", statement).await?;
        let mut missing = self.unreadable.read("collection_outcomes", "platform", Extent::Part, &rows, |row| {
            Ok(MissingNumbers {
                platform: row.parsed("platform")?,
                outcome: row.text("outcome")?,
                reason: row.text_or_null("reason")?,
                accounts: row.count("accounts")?,
                dates: row.count("dates")?,
                newest: row.count("newest")?,
            })
        })?;
        missing.sort_by(|a, b| (&a.platform, &a.outcome, &a.reason).cmp(&(&b.platform, &b.outcome, &b.reason)));
        Ok(missing)
    }
}

/// The error that says that no digest has a name.
#[must_use]
pub fn digest_not_found(name: &str) -> StoreError {
    StoreError::NotFound { what: "digest", id: format!("named '{name}'; `backline alerts digests list` shows them") }
}

/// The digest of a day becomes a message once; returns how many were added.
async fn message_add_in_txn(work: &mut Work, digest: Uuid, message: &NewDigestMessage) -> Result<u64, StoreError> {
    let statement = work.query(
        "INSERT INTO alert_messages (id, channel_id, subject, group_key, type, phase, severity, is_test, state, events,
             attempts, due_at, next_at, digest_id, digest_day)
         SELECT $1::uuid, d.channel_id, $3, 'digest', 'digest', 'firing', 'info', $4::bigint <> 0, 'waiting', 0, 0,
             $5::timestamptz, $5::timestamptz, d.id, $6::date
         FROM alert_digests d WHERE d.id = $2::uuid
         ON CONFLICT DO NOTHING",
    );
    let statement = statement
        .bind(message.id.to_string())
        .bind(digest.to_string())
        .bind(clean(&message.subject))
        .bind(i64::from(message.is_test))
        .bind(time_text(message.due_at))
        .bind(message.day.to_string());
    work.execute("begin a digest's message", statement).await
}

fn digest_of(row: &AnyRow) -> Result<AlertDigest, StoreError> {
    Ok(AlertDigest {
        id: row.uuid("id")?,
        name: row.text("name")?,
        channel: row.text("channel")?,
        tenant: row.parsed("tenant")?,
        every: row.named("days", DigestDays::parse)?,
        hour: u32::try_from(row.count("hour")?).unwrap_or(u32::MAX),
        timezone: row.parsed("timezone")?,
        quiet: row.json_or_null("quiet")?,
        next_at: row.time("next_at")?,
        created_at: row.time("created_at")?,
    })
}

//! Pauses that platforms asked for, shared by every host on the database.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::json;
use sqlx::any::AnyRow;

use crate::database::connection::Store;
use crate::database::dialect::{Columns as _, json, time_text};
use crate::database::error::StoreError;
use crate::database::notifications::notify;
use crate::database::readable::Extent;
use crate::database::topic::Topic;
use crate::scope::Scope;
use backline_model::{Holder, Platform};

/// A pause, and the pace after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// When it was asked for.
    pub began_at: DateTime<Utc>,
    /// When it ends.
    pub until: DateTime<Utc>,
    /// Time between two requests afterwards, in microseconds, where a rate is limited that no budget declares.
    pub interval_us: Option<i64>,
    /// Until when that holds.
    pub paced_until: Option<DateTime<Utc>>,
}

impl Pause {
    /// Whether a person ended it: then one without length took its place.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.until <= self.began_at
    }
}

/// A pause in force, by its holder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HeldPause {
    /// Whose requests pause: `credential/<id>` or `platform/<name>`.
    pub key: String,
    /// The platform that asked for it.
    pub platform: Platform,
    /// When it was asked for.
    pub began_at: DateTime<Utc>,
    /// When it ends.
    pub until: DateTime<Utc>,
}

/// What comes of ending a pause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EndedPause {
    /// The platform that had asked for it.
    pub platform: Platform,
    /// Batches that were deferred and are due now.
    pub batches: u64,
}

/// The pauses in force on one platform.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct PlatformPause {
    /// The platform that asked for them.
    pub platform: Platform,
    /// Credentials that pause; 0 where the whole platform does.
    pub credentials: u64,
    /// When the last of them ends.
    pub until: DateTime<Utc>,
}

impl Store {
    /// The latest pause of each of these holders that ever had one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn pauses_of(&self, holders: &[Holder]) -> Result<HashMap<Holder, Pause>, StoreError> {
        let rows: Vec<_> = holders.iter().map(|holder| json!({ "id": holder.to_string() })).collect();
        let statement = self.query(
            "SELECT p.holder, p.began_at::text AS began_at, p.paused_until::text AS paused_until, p.interval_us,
                 p.paced_until::text AS paced_until
             FROM {rows} LEFT JOIN pauses p ON p.holder = r.value->>'id' WHERE (p.holder IS NULL) = FALSE",
        );
        let found = self.rows("read pauses", statement.bind(json("holders", &rows)?)).await?;
        let by_name: HashMap<String, &Holder> = holders.iter().map(|holder| (holder.to_string(), holder)).collect();
        // One that can't be read is none: the platform says again how long it is to be left alone.
        let found = self
            .unreadable
            .read("pauses", "holder", Extent::Part, &found, |row| Ok((row.text("holder")?, pause_of(row)?)))?;
        let of_holder = |(name, pause): (String, Pause)| Some(((*by_name.get(&name)?).clone(), pause));
        Ok(found.into_iter().filter_map(of_holder).collect())
    }

    /// Begins a pause, or makes the one in force longer. A shorter one changes nothing. What began at a time that is
    /// not `believed` is no pause: this one takes its place.
    ///
    /// # Errors
    /// When the credential is unknown or the database fails.
    pub async fn pause_begin(
        &self,
        holder: &Holder,
        platform: &Platform,
        pause: &Pause,
        believed: RangeInclusive<DateTime<Utc>>,
    ) -> Result<(), StoreError> {
        let statement = self.query(
            "INSERT INTO pauses (holder, platform, credential_id, began_at, paused_until, interval_us, paced_until)
             VALUES ($1, $2, $3::uuid, $4::timestamptz, $5::timestamptz, $6::bigint, $7::timestamptz)
             ON CONFLICT (holder) DO UPDATE SET platform = excluded.platform, began_at = excluded.began_at,
                 paused_until = excluded.paused_until,
                 interval_us = CASE WHEN pauses.began_at BETWEEN $8::timestamptz AND $9::timestamptz
                     THEN COALESCE(excluded.interval_us, pauses.interval_us) ELSE excluded.interval_us END,
                 paced_until = CASE WHEN pauses.began_at BETWEEN $8::timestamptz AND $9::timestamptz
                     THEN COALESCE(excluded.paced_until, pauses.paced_until) ELSE excluded.paced_until END
             WHERE pauses.paused_until < excluded.paused_until
                 OR pauses.began_at < $8::timestamptz OR pauses.began_at > $9::timestamptz",
        );
        let statement = statement
            .bind(holder.to_string())
            .bind(platform.as_str().to_owned())
            .bind(holder.credential().map(|credential| credential.to_string()))
            .bind(time_text(pause.began_at))
            .bind(time_text(pause.until))
            .bind(pause.interval_us)
            .bind(pause.paced_until.map(time_text))
            .bind(time_text(*believed.start()))
            .bind(time_text(*believed.end()));
        self.write("begin a pause", statement).await?;
        Ok(())
    }

    /// The pauses in force one by one, those that last longest first: those that began at a time that is `believed`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn held_pauses_list(
        &self,
        now: DateTime<Utc>,
        believed: RangeInclusive<DateTime<Utc>>,
        limit: u32,
    ) -> Result<Vec<HeldPause>, StoreError> {
        let statement = self.query(
            "SELECT holder, platform, began_at::text AS began_at, paused_until::text AS until
             FROM pauses WHERE paused_until > $1::timestamptz
                 AND began_at BETWEEN $2::timestamptz AND $3::timestamptz
             ORDER BY paused_until DESC, holder LIMIT $4",
        );
        let (earliest, latest) = (time_text(*believed.start()), time_text(*believed.end()));
        let statement = statement.bind(time_text(now)).bind(earliest).bind(latest).bind(i64::from(limit));
        let rows = self.rows("list pauses one by one", statement).await?;
        self.unreadable.read("pauses", "holder", Extent::Part, &rows, |row| {
            Ok(HeldPause {
                key: row.text("holder")?,
                platform: row.parsed("platform")?,
                began_at: row.time("began_at")?,
                until: row.time("until")?,
            })
        })
    }

    /// Ends a pause that is in force, and makes due what is deferred of its account, or else of its platform: what
    /// waits for something else is deferred again, which uses up no attempt. A pause without length takes its place, by
    /// which hosts know that it was ended. `None` if no pause of this holder is in force.
    ///
    /// # Errors
    /// When the scope is one tenant's, or the database fails.
    pub async fn pause_end(
        &self,
        scope: &Scope,
        holder: &Holder,
        now: DateTime<Utc>,
    ) -> Result<Option<EndedPause>, StoreError> {
        scope.require_all("end a pause")?;
        let mut work = self.begin().await?;
        let statement = work.query(
            "UPDATE pauses SET began_at = $2::timestamptz, paused_until = $2::timestamptz, interval_us = NULL,
                 paced_until = NULL
             WHERE holder = $1 AND paused_until > $2::timestamptz RETURNING platform",
        );
        let statement = statement.bind(holder.to_string()).bind(time_text(now));
        let Some(row) = work.row("end a pause", statement).await? else { return Ok(None) };
        let platform = match (row.parsed::<Platform>("platform"), holder) {
            (Ok(platform), _) => platform,
            (Err(_), Holder::Platform(platform)) => platform.clone(),
            // It ends all the same, and what waits for it is due at its own time.
            (Err(_), Holder::Credential(_)) => Platform::unreadable(),
        };
        let account = match holder.credential() {
            None => None,
            Some(credential) => {
                let statement = work.query(
                    "SELECT account_id::text AS account_id FROM credentials
                     WHERE id = $1::uuid AND (account_id IS NULL) = FALSE",
                );
                work.row("read whose a credential is", statement.bind(credential.to_string())).await?
            }
        };
        // What another transaction holds is being woken or ended, and waiting for it could be for each other.
        let statement = match account {
            None => work.query(
                "UPDATE batches SET available_at = $2::timestamptz
                 WHERE id IN (SELECT b.id FROM batches b
                     WHERE b.state = 'deferred' AND b.platform = $1 AND b.available_at > $2::timestamptz
                     ORDER BY b.id FOR UPDATE SKIP LOCKED)",
            ),
            Some(_) => work.query(
                "UPDATE batches SET available_at = $2::timestamptz
                 WHERE id IN (SELECT b.id FROM batches b
                     WHERE b.state = 'deferred' AND b.platform = $1 AND b.available_at > $2::timestamptz
                         AND b.id IN (SELECT m.batch_id FROM batch_accounts m WHERE m.account_id = $3::uuid)
                     ORDER BY b.id FOR UPDATE SKIP LOCKED)",
            ),
        };
        let statement = statement.bind(platform.as_str().to_owned()).bind(time_text(now));
        let statement = match account {
            None => statement,
            Some(row) => statement.bind(row.text("account_id")?),
        };
        let batches = work.execute("make deferred batches due", statement).await?;
        notify(&mut work, Topic::Work).await?;
        work.commit().await?;
        Ok(Some(EndedPause { platform, batches }))
    }

    /// The pauses in force, by platform: those that began at a time that is `believed`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn pauses_list(
        &self,
        now: DateTime<Utc>,
        believed: RangeInclusive<DateTime<Utc>>,
    ) -> Result<Vec<PlatformPause>, StoreError> {
        let statement = self.query(
            "SELECT platform, COUNT(credential_id)::bigint AS credentials, COUNT(*)::bigint AS holders,
                 COALESCE(MAX({time: paused_until}), MAX(paused_until))::text AS until
             FROM pauses WHERE paused_until > $1::timestamptz
                 AND began_at BETWEEN $2::timestamptz AND $3::timestamptz
             GROUP BY platform ORDER BY platform",
        );
        let (earliest, latest) = (time_text(*believed.start()), time_text(*believed.end()));
        let statement = statement.bind(time_text(now)).bind(earliest).bind(latest);
        let rows = self.rows("list pauses", statement).await?;
        self.unreadable.read("pauses", "platform", Extent::Part, &rows, |row| {
            let (credentials, holders) = (row.count("credentials")?, row.count("holders")?);
            let credentials = if holders > credentials { 0 } else { credentials };
            Ok(PlatformPause { platform: row.parsed("platform")?, credentials, until: row.time("until")? })
        })
    }
}

fn pause_of(row: &AnyRow) -> Result<Pause, StoreError> {
    Ok(Pause {
        began_at: row.time("began_at")?,
        until: row.time("paused_until")?,
        interval_us: row.int_or_null("interval_us")?,
        paced_until: row.time_or_null("paced_until")?,
    })
}

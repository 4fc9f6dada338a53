//! Pauses that platforms asked for, shared by every host on the database.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::any::AnyRow;

use crate::database::connection::Store;
use crate::database::dialect::{Columns as _, json, time_text};
use crate::database::error::StoreError;
use crate::database::readable::Extent;
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

/// The pauses in force on one platform.
#[derive(Clone, Debug, PartialEq, Eq)]
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
        let mut pauses = HashMap::new();
        for row in &found {
            if let Some(holder) = by_name.get(&row.text("holder")?) {
                pauses.insert((*holder).clone(), pause_of(row)?);
            }
        }
        Ok(pauses)
    }

    /// Begins a pause, or makes the one in force longer. A shorter one changes nothing.
    ///
    /// # Errors
    /// When the credential is unknown or the database fails.
    pub async fn pause_begin(&self, holder: &Holder, platform: &Platform, pause: &Pause) -> Result<(), StoreError> {
        let statement = self.query(
            "INSERT INTO pauses (holder, platform, credential_id, began_at, paused_until, interval_us, paced_until)
             VALUES ($1, $2, $3::uuid, $4::timestamptz, $5::timestamptz, $6::bigint, $7::timestamptz)
             ON CONFLICT (holder) DO UPDATE SET platform = excluded.platform, began_at = excluded.began_at,
                 paused_until = excluded.paused_until,
                 interval_us = COALESCE(excluded.interval_us, pauses.interval_us),
                 paced_until = COALESCE(excluded.paced_until, pauses.paced_until)
             WHERE pauses.paused_until < excluded.paused_until",
        );
        let statement = statement
            .bind(holder.to_string())
            .bind(platform.as_str().to_owned())
            .bind(holder.credential().map(|credential| credential.to_string()))
            .bind(time_text(pause.began_at))
            .bind(time_text(pause.until))
            .bind(pause.interval_us)
            .bind(pause.paced_until.map(time_text));
        self.write("begin a pause", statement).await?;
        Ok(())
    }

    /// The pauses in force, by platform.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn pauses_list(&self, now: DateTime<Utc>) -> Result<Vec<PlatformPause>, StoreError> {
        let statement = self.query(
            "SELECT platform, COUNT(credential_id)::bigint AS credentials, COUNT(*)::bigint AS holders,
                 MAX(paused_until)::text AS until
             FROM pauses WHERE paused_until > $1::timestamptz GROUP BY platform ORDER BY platform",
        );
        let rows = self.rows("list pauses", statement.bind(time_text(now))).await?;
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

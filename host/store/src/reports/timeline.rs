//! What happened to one account, or to one connector, in one list: merged of what the store has anyway, the latest
//! first. Each kind of entry is one statement, which reads no more rows than a page has.

use std::cmp::Reverse;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use sqlx::any::AnyRow;

use crate::database::connection::Store;
use crate::database::dialect::{Columns as _, clean, time_text};
use crate::database::error::StoreError;
use crate::database::readable::{Extent, left_of, more_after};
use crate::scope::{Scope, is_limitable};
use backline_model::AccountId;
use backline_model::clock::LAST_TIME;

/// Place of an entry in its timeline: entries of one time are in the order of their kinds, and of keys within these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelineCursor {
    at: DateTime<Utc>,
    kind: u8,
    key: String,
}

/// Which entries of a timeline to list. A field that is none does not restrict.
#[derive(Clone, Debug, Default)]
pub struct TimelineFilter {
    /// Only those that come after this one: where the next page begins.
    pub after: Option<TimelineCursor>,
    /// Whether what people did is among them, which is for those alone who may read the audit log.
    pub with_acts: bool,
    /// Most entries to return; none means all.
    pub limit: Option<u32>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TimelineEntry {
    /// When it happened.
    pub at: DateTime<Utc>,
    /// What kind of thing it is: `outcome`, `event`, `withheld`, `decided`, `consent`, `credential`, `act`, `swap`,
    /// `pause`, `installed`, `canary` or `lost_metric`.
    pub kind: &'static str,
    /// What happened, in a word or a name.
    pub what: String,
    /// What is known of it besides.
    pub details: Json,
}

impl TimelineEntry {
    /// The details as one line of words: those that are texts, numbers or truths.
    #[must_use]
    pub fn words(&self) -> String {
        let Json::Object(details) = &self.details else { return String::new() };
        let told = details.iter().filter_map(|(name, value)| match value {
            Json::String(text) if !text.is_empty() => Some(format!("{name} {text}")),
            Json::Number(_) | Json::Bool(_) => Some(format!("{name} {value}")),
            _ => None,
        });
        told.collect::<Vec<_>>().join(" · ")
    }
}

/// An entry with its place.
pub type PlacedEntry = (TimelineCursor, TimelineEntry);

/// One kind of entry, and how it is read. Its statement takes the subject, and after it where the page begins.
struct Kind {
    /// Its place among entries of one time.
    rank: u8,
    name: &'static str,
    table: &'static str,
    sql: &'static str,
    of: fn(&AnyRow) -> Result<(String, Json), StoreError>,
}

/// The statement of a kind, whose rows the texts say that follow its columns. They have a time `at` and a key that is
/// unique among them.
macro_rules! page_of {
    ($columns:literal, $($rows:literal),+) => {
        concat!(
            "SELECT x.at::text AS at, x.key, ",
            $columns,
            " FROM (",
            $($rows,)+
            ") AS x WHERE x.at < $2::timestamptz
                 OR ($3 = 1 AND x.at = $2::timestamptz AND ($4::text IS NULL OR x.key < $4))
             ORDER BY x.at DESC, x.key DESC LIMIT $5"
        )
    };
}

/// Events: those that `which` says.
macro_rules! events {
    ($which:literal) => {
        Kind {
            rank: 1,
            name: "event",
            table: "events",
            sql: page_of!(
                "x.type, x.row_date::text AS row_date, x.data::text AS data",
                "SELECT e.occurred_at AS at, e.id::text AS key, e.type, e.row_date, e.data FROM events e WHERE ",
                $which
            ),
            of: event_of,
        }
    };
}

/// What people did: of the audit log `l`, as `from` joins and limits it.
macro_rules! acts {
    ($from:literal) => {
        Kind {
            rank: 6,
            name: "act",
            table: "audit",
            sql: page_of!(
                "x.action, x.outcome, x.name, x.details::text AS details",
                "SELECT l.at, CAST(l.seq AS TEXT) AS key, l.action, l.outcome, l.name, l.details FROM ",
                $from
            ),
            of: act_of,
        }
    };
}

/// Swaps of releases: those that `which` says.
macro_rules! swaps {
    ($which:literal) => {
        Kind {
            rank: 7,
            name: "swap",
            table: "release_activations",
            sql: page_of!(
                "x.release_digest, x.before, x.cause, x.reason",
                "SELECT s.at, CAST(s.seq AS TEXT) AS key, s.release_digest, s.before, s.cause, s.reason
                 FROM release_activations s WHERE ",
                $which
            ),
            of: swap_of,
        }
    };
}

/// Pauses: those that `which` says.
macro_rules! pauses {
    ($which:literal) => {
        Kind {
            rank: 8,
            name: "pause",
            table: "pauses",
            sql: page_of!(
                "x.platform, x.paused_until::text AS paused_until",
                "SELECT p.began_at AS at, p.holder AS key, p.platform, p.paused_until FROM pauses p WHERE ",
                $which
            ),
            of: pause_of,
        }
    };
}

static ACCOUNT: [Kind; 6] = [
    Kind {
        rank: 0,
        name: "outcome",
        table: "collection_outcomes",
        sql: page_of!(
            "x.outcome, x.reason, x.message, x.metric_date::text AS metric_date, x.attempts,
             x.deferred_until::text AS deferred_until, x.release_digest",
            "SELECT o.at, o.run_id::text AS key, o.outcome, o.reason, o.message, o.metric_date, o.attempts,
                 o.deferred_until, o.release_digest
             FROM outcomes_all o WHERE o.account_id = $1::uuid"
        ),
        of: |row| {
            let details = json!({
                "run": row.text("key")?, "metric_date": row.text_or_null("metric_date")?,
                "reason": row.text_or_null("reason")?, "message": row.text_or_null("message")?,
                "attempts": row.int("attempts")?, "deferred_until": row.time_or_null("deferred_until")?,
                "release": row.text_or_null("release_digest")?,
            });
            Ok((row.text("outcome")?, details))
        },
    },
    // That it was collected is its outcome.
    events!(
        "e.artist_id = (SELECT a.artist_id FROM accounts a WHERE a.id = $1::uuid)
             AND e.type <> 'metrics.collected'
             AND (e.row_account = $1::uuid OR e.data->>'account_id' = $1::text)"
    ),
    Kind {
        rank: 2,
        name: "withheld",
        table: "quarantine",
        sql: page_of!(
            "x.metric, x.metric_date::text AS metric_date, x.rule, x.status",
            "SELECT q.created_at AS at, q.id::text AS key, q.metric, q.metric_date, q.rule, q.status
             FROM quarantine q WHERE q.account_id = $1::uuid"
        ),
        of: |row| Ok((row.text("metric")?, value_of(row)?)),
    },
    Kind {
        rank: 3,
        name: "decided",
        table: "quarantine",
        sql: page_of!(
            "x.metric, x.metric_date::text AS metric_date, x.rule, x.status",
            "SELECT q.decided_at AS at, q.id::text AS key, q.metric, q.metric_date, q.rule, q.status
             FROM quarantine q WHERE q.account_id = $1::uuid AND q.decided_at IS NOT NULL"
        ),
        of: |row| Ok((row.text("status")?, value_of(row)?)),
    },
    Kind {
        rank: 4,
        name: "consent",
        table: "consents",
        sql: page_of!(
            "x.granted::int AS granted, x.scope, x.source",
            "SELECT c.recorded_at AS at, CAST(c.seq AS TEXT) AS key, c.granted, c.scope, c.source
             FROM consents c JOIN accounts a ON a.artist_id = c.artist_id AND a.platform = c.platform
             WHERE a.id = $1::uuid"
        ),
        of: |row| {
            let what = if row.truth("granted")? { "granted" } else { "withdrawn" };
            Ok((what.to_owned(), json!({ "scope": row.text("scope")?, "source": row.text("source")? })))
        },
    },
    // How it was before is not kept.
    Kind {
        rank: 5,
        name: "credential",
        table: "credentials",
        sql: page_of!(
            "x.slot, x.kind, x.status, x.version",
            "SELECT c.updated_at AS at, c.id::text AS key, c.slot, c.kind, c.status, c.version FROM credentials c
             WHERE c.account_id = $1::uuid"
        ),
        of: |row| {
            let details =
                json!({ "kind": row.text("kind")?, "status": row.text("status")?, "version": row.int("version")? });
            Ok((row.text("slot")?, details))
        },
    },
];

/// What people did that is about the account's artist, and not about another platform: of a tenant what is in its own
/// audit log, which has nothing of what the operator did.
static ACTS_OF_ACCOUNT: Kind = acts!(
    "accounts a JOIN audit l ON l.artist_id = a.artist_id
     WHERE a.id = $1::uuid AND (l.details->>'platform' IS NULL OR l.details->>'platform' = a.platform)
         {and_tenant: l.tenant}"
);

/// What of the installation concerns an account, for those that may see it.
static AROUND_ACCOUNT: [Kind; 2] = [
    swaps!("s.platform = (SELECT a.platform FROM accounts a WHERE a.id = $1::uuid)"),
    pauses!(
        "p.holder = (SELECT 'platform/' || a.platform FROM accounts a WHERE a.id = $1::uuid)
             OR p.credential_id IN (SELECT c.id FROM credentials c WHERE c.account_id = $1::uuid)"
    ),
];

static CONNECTOR: [Kind; 6] = [
    Kind {
        rank: 0,
        name: "installed",
        table: "releases",
        sql: page_of!(
            "x.version, x.state, x.state_reason, x.source, x.signed_by",
            "SELECT r.installed_at AS at, r.digest AS key, r.version, r.state, r.state_reason, r.source, r.signed_by
             FROM releases r WHERE r.name = $1"
        ),
        of: |row| {
            let details = json!({
                "release": row.text("key")?, "state": row.text("state")?, "why": row.text_or_null("state_reason")?,
                "from": row.text("source")?, "signed_by": row.text_or_null("signed_by")?,
            });
            Ok((row.text("version")?, details))
        },
    },
    // Swaps are told as such.
    events!(
        "e.artist_id IS NULL AND e.type NOT IN ('connector.activated', 'connector.rolled_back')
             AND (e.data->>'name' = $1
                 OR e.data->>'platform' IN (SELECT r.platform FROM releases r WHERE r.name = $1))"
    ),
    swaps!("s.platform IN (SELECT r.platform FROM releases r WHERE r.name = $1)"),
    pauses!("p.platform IN (SELECT r.platform FROM releases r WHERE r.name = $1)"),
    Kind {
        rank: 9,
        name: "canary",
        table: "canaries",
        sql: page_of!(
            "x.release_digest, x.share, x.promote_at::text AS promote_at",
            "SELECT c.started_at AS at, c.platform AS key, c.release_digest, c.share, c.promote_at FROM canaries c
             WHERE c.platform IN (SELECT r.platform FROM releases r WHERE r.name = $1)"
        ),
        of: |row| {
            let details = json!({
                "release": row.text("release_digest")?, "parts_of_10000": row.int("share")?,
                "promote_at": row.time_or_null("promote_at")?,
            });
            Ok(("started".to_owned(), details))
        },
    },
    Kind {
        rank: 10,
        name: "lost_metric",
        table: "lost_metrics",
        sql: page_of!(
            "x.name, x.reason, x.release_digest",
            "SELECT l.first_seen AS at, l.release_digest || ' ' || l.name AS key, l.name, l.reason, l.release_digest
             FROM lost_metrics l WHERE l.release_digest IN (SELECT r.digest FROM releases r WHERE r.name = $1)"
        ),
        of: |row| {
            let details = json!({ "reason": row.text("reason")?, "release": row.text("release_digest")? });
            Ok((row.text("name")?, details))
        },
    },
];

/// What people did about a connector: its name, its platform or a release of it is named.
static ACTS_OF_CONNECTOR: Kind = acts!(
    "audit l
     WHERE l.artist_id IS NULL AND l.action LIKE 'plugins %'
         AND (l.details->>'name' = $1 OR l.details->>'connector' = $1
             OR l.details->>'platform' IN (SELECT r.platform FROM releases r WHERE r.name = $1)
             OR l.details->>'release' IN (SELECT r.digest FROM releases r WHERE r.name = $1)
             OR l.details->>'from' IN (SELECT r.digest FROM releases r WHERE r.name = $1))"
);

impl Store {
    /// What happened to an account, the latest first; none where it is not in the scope. Swaps of releases and pauses
    /// of whole platforms are told in the scope of all tenants alone.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn account_timeline_list(
        &self,
        scope: &Scope,
        account: AccountId,
        filter: &TimelineFilter,
    ) -> Result<Option<Vec<PlacedEntry>>, StoreError> {
        if self.account_place_get(scope, account).await?.is_none() {
            return Ok(None);
        }
        let mut kinds: Vec<&Kind> = ACCOUNT.iter().collect();
        if filter.with_acts {
            kinds.push(&ACTS_OF_ACCOUNT);
        }
        if scope.only().is_none() {
            kinds.extend(&AROUND_ACCOUNT);
        }
        self.timeline(scope, &kinds, &account.to_string(), filter).await.map(Some)
    }

    /// What happened to the connector of a name and to its platform, the latest first; nothing where no release has
    /// that name. Without a scope: connectors belong to no tenant.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn connector_timeline_list(
        &self,
        name: &str,
        filter: &TimelineFilter,
    ) -> Result<Vec<PlacedEntry>, StoreError> {
        let mut kinds: Vec<&Kind> = CONNECTOR.iter().collect();
        if filter.with_acts {
            kinds.push(&ACTS_OF_CONNECTOR);
        }
        self.timeline(&Scope::all_tenants(), &kinds, name, filter).await
    }

    /// A page, merged of as many entries of each kind.
    async fn timeline(
        &self,
        scope: &Scope,
        kinds: &[&Kind],
        subject: &str,
        filter: &TimelineFilter,
    ) -> Result<Vec<PlacedEntry>, StoreError> {
        let limit = filter.limit.unwrap_or(u32::MAX);
        let mut found = Vec::new();
        for kind in kinds {
            found.extend(self.of_kind(scope, kind, subject, filter.after.as_ref(), limit).await?);
        }
        // Stable: within a kind and a time they stay in the order of the database.
        found.sort_by_key(|(place, _): &PlacedEntry| (Reverse(place.at), place.kind));
        found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(found)
    }

    async fn of_kind(
        &self,
        scope: &Scope,
        kind: &Kind,
        subject: &str,
        after: Option<&TimelineCursor>,
        limit: u32,
    ) -> Result<Vec<PlacedEntry>, StoreError> {
        let (mut at, mut is_inclusive, mut key) = match after {
            None => (time_text(LAST_TIME), true, None),
            Some(after) => {
                // A cursor comes from outside.
                let key = (after.kind == kind.rank).then(|| clean(&after.key));
                // Of an earlier kind, all of that time are on the pages before.
                (time_text(after.at), kind.rank >= after.kind, key)
            }
        };
        let mut found = Vec::new();
        loop {
            let asked = left_of(limit, found.len());
            // The others are about a subject that is in the scope.
            let statement = if is_limitable(kind.sql) { self.scoped(scope, kind.sql) } else { self.query(kind.sql) };
            let statement = statement
                .bind(subject.to_owned())
                .bind(at)
                .bind(i64::from(is_inclusive))
                .bind(key)
                .bind(i64::from(asked));
            let rows = self.rows("read a timeline", statement).await?;
            found.extend(self.unreadable.read(kind.table, "key", Extent::Part, &rows, |row| placed(kind, row))?);
            let last = more_after(&rows, asked, found.len(), limit);
            let Some(place) = last.and_then(|last| last.below("at").zip(last.below("key"))) else { return Ok(found) };
            (at, is_inclusive, key) = (place.0, true, Some(place.1));
        }
    }
}

fn placed(kind: &Kind, row: &AnyRow) -> Result<PlacedEntry, StoreError> {
    let (at, key) = (row.time("at")?, row.text("key")?);
    let (what, details) = (kind.of)(row)?;
    let place = TimelineCursor { at, kind: kind.rank, key };
    Ok((place, TimelineEntry { at, kind: kind.name, what, details }))
}

/// An event with its data; of one that is about a row of numbers, the date alone.
fn event_of(row: &AnyRow) -> Result<(String, Json), StoreError> {
    let details = match row.text_or_null("row_date")? {
        Some(date) => json!({ "metric_date": date }),
        None => row.json("data")?,
    };
    Ok((row.text("type")?, details))
}

fn value_of(row: &AnyRow) -> Result<Json, StoreError> {
    Ok(json!({
        "value": row.text("key")?, "metric": row.text("metric")?, "metric_date": row.text("metric_date")?,
        "rule": row.text("rule")?, "status": row.text("status")?,
    }))
}

fn act_of(row: &AnyRow) -> Result<(String, Json), StoreError> {
    let details: Json = row.json("details")?;
    Ok((row.text("action")?, json!({ "by": row.text("name")?, "outcome": row.text("outcome")?, "details": details })))
}

fn swap_of(row: &AnyRow) -> Result<(String, Json), StoreError> {
    let details = json!({
        "release": row.text_or_null("release_digest")?, "before": row.text_or_null("before")?,
        "reason": row.text_or_null("reason")?,
    });
    Ok((row.text("cause")?, details))
}

fn pause_of(row: &AnyRow) -> Result<(String, Json), StoreError> {
    let details = json!({ "platform": row.text("platform")?, "until": row.time("paused_until")? });
    Ok((row.text("key")?, details))
}

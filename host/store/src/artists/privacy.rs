//! Erasing an artist, the tombstone that keeps the artist from coming back, and checking that nothing is left.
//!
//! An erasure is one transaction: every row is removed, the tombstone and the event are written, or nothing has
//! happened. It keeps out, and waits for, whatever saves artists, accounts or plans at that moment, and it holds the
//! artist's accounts as the completion of a batch does; so nothing that was read before it can be written after it.
//! Other rows' texts that name the artist are searched before it, which takes longest, and in it only what was written
//! since.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt as _;
use serde::Serialize;
use serde_json::{Value as Json, json};
use sqlx::any::AnyRow;

use crate::artists::tombstones::{Holding, erasure_lock_in_txn, tombstone_in_txn};
use crate::database::connection::{ReadView, Store, Work};
use crate::database::dialect::{Columns as _, DatabaseKind, json, time_text};
use crate::database::error::StoreError;
use crate::database::statement::Statement;
use crate::events::outbox::events_write_in_txn;
use crate::numbers::documents::expanded;
use crate::scope::Scope;
use backline_model::clock::FIRST_TIME;
use backline_model::event::types;
use backline_model::kill_points::{Point, point};
use backline_model::privacy::{Holds, Identifiers, PersonalTable, Reached, Receipt, TABLES, personal, subject_of};
use backline_model::{AccountId, ArtistId, BatchId, CredentialId, Event};

/// Texts that are replaced in one statement: each is compared with every row of its table.
const TEXTS_PER_STATEMENT: usize = 200;

/// Largest SQLite file that an erasure writes again as a whole, in bytes: about two seconds on a plain disk.
const REWRITTEN_BYTES_MAX: i64 = 256 << 20;

/// How far back texts are searched again once nothing can be written: the first search, and clocks that differ.
const SEARCHED_AGAIN: TimeDelta = TimeDelta::days(1);

/// What an erasure removed.
#[derive(Clone, Debug, PartialEq)]
pub struct Erased {
    /// What was removed.
    pub receipt: Receipt,
    /// Identifiers of the artist.
    pub identifiers: Identifiers,
    /// Credentials that were removed; hosts may still hold tokens of them.
    pub credentials: Vec<CredentialId>,
}

/// A column that holds an identifier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sighting {
    /// The table, with its schema where there are schemas.
    pub table: String,
    /// Name of the column.
    pub column: String,
    /// Number of rows that hold one.
    pub rows: u64,
    /// Whether the table is one of Backline's own; others in the same database are for the artist platform to clean.
    pub own: bool,
}

impl Store {
    /// Erases an artist. None where there is no such artist.
    ///
    /// # Errors
    /// When the database fails: nothing has happened then.
    pub async fn artist_erase(
        &self,
        scope: &Scope,
        artist: ArtistId,
        now: DateTime<Utc>,
    ) -> Result<Option<Erased>, StoreError> {
        let Some(known) = self.artist_identifiers_get(scope, artist).await? else { return Ok(None) };
        // Searching texts takes as long as there are texts. It comes first, while others go on.
        let blanked_before = self.texts_blank(artist, &known).await?;
        point(Point::EraseTextsBlanked);
        let mut work = self.begin_durable().await?.proven(self).await?;
        work.long();
        erasure_lock_in_txn(&mut work, Holding::Alone).await?;
        let whose = Whose::Artist(artist);
        let batches = emptied_batches_lock_in_txn(&mut work, whose).await?;
        // In the order in which refreshes and batches lock: credentials, accounts, the artist.
        let statement = work.query(
            "SELECT id::text AS id FROM credentials
             WHERE account_id IN (SELECT a.id FROM accounts a WHERE a.artist_id = $1::uuid) ORDER BY credentials.id
                 FOR UPDATE",
        );
        work.rows("lock an artist's credentials", statement.bind(artist.to_string())).await?;
        let statement = work.query(
            "SELECT id::text AS id, platform_id, settings::text AS settings
             FROM accounts WHERE artist_id = $1::uuid ORDER BY accounts.id FOR UPDATE",
        );
        let accounts = work.rows("lock an artist's accounts", statement.bind(artist.to_string())).await?;
        let statement =
            work.scoped(scope, "SELECT tenant FROM artists WHERE id = $1::uuid {and_tenant: tenant} FOR UPDATE");
        let Some(row) = work.row("lock an artist", statement.bind(artist.to_string())).await? else {
            return Ok(None);
        };
        let tenant = row.told("tenant")?;
        gone_events_lock_in_txn(&mut work, whose).await?;
        let identifiers = identifiers_of(artist, &accounts);
        let statement = work.query(
            "SELECT c.id::text AS id FROM credentials c JOIN accounts a ON a.id = c.account_id
                 WHERE a.artist_id = $1::uuid",
        );
        let found = work.rows("find an artist's credentials", statement.bind(artist.to_string())).await?;
        // One whose id can't be read goes too: no host can hold a token of it.
        let credentials = found.iter().filter_map(|row| row.parsed("id").ok()).collect();
        let mut receipt = Receipt {
            artist_id_sha256: subject_of(artist),
            requested_at: now,
            finished_at: now,
            rows: rows_remove_in_txn(&mut work, whose).await?,
            texts: BTreeMap::new(),
            readmitted_at: None,
        };
        point(Point::EraseRowsRemoved);
        emptied_batches_end_in_txn(&mut work, &batches, now).await?;
        // What was written since, or while accounts were added that the first search did not know.
        let since = (identifiers == known).then(|| now - SEARCHED_AGAIN);
        for (table, column) in texts() {
            let found = texts_find(&mut work, table, column, artist, &identifiers, since).await?;
            let blanked = texts_replace(&mut work, table, column, artist, &found, since).await?;
            count_texts(&mut receipt.texts, table.name, column, blanked);
        }
        let found = reasons_find(&mut work, &identifiers, since).await?;
        let blanked = reasons_replace(&mut work, &found).await?;
        count_texts(&mut receipt.texts, "events", "data", blanked);
        add(&mut receipt.texts, &blanked_before);
        let event = Event {
            id: uuid::Uuid::now_v7(),
            kind: types::ARTIST_ERASED.to_owned(),
            artist_id: None,
            occurred_at: now,
            dedup_key: None,
            data: json!({
                "artist_id_sha256": receipt.artist_id_sha256, "tenant": tenant, "erased_at": now, "rows": receipt.rows,
            }),
        };
        if let Some(earlier) = tombstone_in_txn(&mut work, &receipt.artist_id_sha256).await? {
            add(&mut receipt.rows, &earlier.rows);
            add(&mut receipt.texts, &earlier.texts);
        }
        let statement = work.query(
            "INSERT INTO erasures (subject, requested_at, finished_at, receipt)
                 VALUES ($1, $2::timestamptz, $2::timestamptz, $3::jsonb)
             ON CONFLICT (subject) DO UPDATE SET requested_at = excluded.requested_at,
                 finished_at = excluded.finished_at,
                 receipt = excluded.receipt, readmitted_at = NULL",
        );
        let counts = json!({ "rows": receipt.rows, "texts": receipt.texts });
        let statement =
            statement.bind(receipt.artist_id_sha256.clone()).bind(time_text(now)).bind(json("a receipt", &counts)?);
        work.execute("write a tombstone", statement).await?;
        // Last, so that readers of events wait for no longer than the commit takes.
        events_write_in_txn(&mut work, &[event]).await?;
        point(Point::EraseWritten);
        work.commit().await?;
        point(Point::EraseCommitted);
        Ok(Some(Erased { receipt, identifiers, credentials }))
    }

    /// What identifies an artist; none where there is no such artist in the scope. Accounts count also where not all of
    /// their rows can be read.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn artist_identifiers_get(
        &self,
        scope: &Scope,
        artist: ArtistId,
    ) -> Result<Option<Identifiers>, StoreError> {
        let mut view = self.read_view().await?;
        let statement =
            view.scoped(scope, "SELECT 1 AS found FROM artists WHERE id = $1::uuid {and_tenant: artists.tenant}");
        if view.row("find an artist", statement.bind(artist.to_string())).await?.is_none() {
            return Ok(None);
        }
        let statement = view.query(
            "SELECT id::text AS id, platform_id, settings::text AS settings
             FROM accounts WHERE artist_id = $1::uuid ORDER BY accounts.id",
        );
        let accounts = view.rows("read an artist's accounts", statement.bind(artist.to_string())).await?;
        Ok(Some(identifiers_of(artist, &accounts)))
    }

    /// Blanks identifiers in all texts, each column in a transaction of its own; returns how many were changed.
    async fn texts_blank(
        &self,
        artist: ArtistId,
        identifiers: &Identifiers,
    ) -> Result<BTreeMap<String, u64>, StoreError> {
        let mut counts = BTreeMap::new();
        for (table, column) in texts() {
            let found = texts_find(&mut self.report_view().await?, table, column, artist, identifiers, None).await?;
            if !found.is_empty() {
                let mut work = self.begin().await?.proven(self).await?;
                work.long();
                let blanked = texts_replace(&mut work, table, column, artist, &found, None).await?;
                work.commit().await?;
                count_texts(&mut counts, table.name, column, blanked);
            }
        }
        let found = reasons_find(&mut self.report_view().await?, identifiers, None).await?;
        if !found.is_empty() {
            let mut work = self.begin().await?.proven(self).await?;
            let blanked = reasons_replace(&mut work, &found).await?;
            work.commit().await?;
            count_texts(&mut counts, "events", "data", blanked);
        }
        Ok(counts)
    }

    /// Removes what is left of deleted rows in a SQLite file: parts of them stay in pages from which rows were moved to
    /// others, and the log holds pages as they were. A file of up to 256 MiB is written again as a whole, which takes
    /// seconds in which nothing else is written. Returns whether nothing is left: false for a larger file, and while
    /// another process reads. PostgreSQL removes deleted rows by itself, when it comes to them.
    pub async fn traces_remove(&self) -> bool {
        if self.kind() == DatabaseKind::Postgres {
            return true;
        }
        let size = self.query("SELECT page_count * page_size AS n FROM pragma_page_count(), pragma_page_size()");
        let is_small = match self.row("measure the file", size).await {
            Ok(Some(row)) => row.int("n").is_ok_and(|bytes| bytes <= REWRITTEN_BYTES_MAX),
            _ => false,
        };
        let is_rewritten = is_small && self.write("write the file again", self.query("VACUUM").long()).await.is_ok();
        let emptied = self.write_returning("empty the log", self.query("PRAGMA wal_checkpoint(TRUNCATE)")).await;
        let is_empty = matches!(emptied, Ok(Some(row)) if row.int("busy").is_ok_and(|busy| busy == 0));
        is_rewritten && is_empty
    }

    /// Tables of this database that a [`identifiers_search`](Self::identifiers_search) does not see, or not all of:
    /// those that Backline's role may not read.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn hidden_tables_list(&self) -> Result<Vec<String>, StoreError> {
        if self.kind() == DatabaseKind::Sqlite {
            return Ok(Vec::new());
        }
        let statement = self.query(
            "SELECT format('%s.%s', n.nspname, c.relname) AS name FROM pg_class c JOIN pg_namespace n
                 ON n.oid = c.relnamespace
             WHERE n.nspname NOT LIKE 'pg^_%' ESCAPE '^' AND n.nspname <> 'information_schema'
                 AND c.relkind IN ('r', 'p', 'm') AND NOT c.relispartition
                 AND (NOT has_schema_privilege(n.oid, 'USAGE') OR NOT has_table_privilege(c.oid, 'SELECT')
                 OR row_security_active(c.oid))
             ORDER BY 1",
        );
        self.rows("list hidden tables", statement).await?.iter().map(|row| row.text("name")).collect()
    }

    /// Looks for identifiers in every column of text or JSON of every table of this database, and in the stored
    /// documents where that is asked for. `progress` is called with each table before it is searched.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn identifiers_search(
        &self,
        scope: &Scope,
        identifiers: &Identifiers,
        documents: bool,
        progress: &(dyn Fn(&str) + Sync),
    ) -> Result<Vec<Sighting>, StoreError> {
        scope.require_all("search every table")?;
        let mut sightings = Vec::new();
        if identifiers.is_empty() {
            return Ok(sightings);
        }
        let patterns = pattern_rows(identifiers)?;
        let catalogue = match self.kind() {
            DatabaseKind::Sqlite => self.query(
                "SELECT 'main' AS home, t.name AS table_name, c.name AS column_name FROM sqlite_master t
                     JOIN pragma_table_info(t.name) c
                 WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite^_%' ESCAPE '^'
                     AND upper(c.type) NOT IN ('BLOB', 'INTEGER', 'REAL')
                 ORDER BY t.name, c.cid",
            ),
            // A part of a table is searched with the whole.
            DatabaseKind::Postgres => self.query(
                "SELECT n.nspname::text AS home, c.relname::text AS table_name, a.attname::text AS column_name
                 FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE n.nspname NOT LIKE 'pg^_%' ESCAPE '^' AND n.nspname <> 'information_schema'
                     AND has_schema_privilege(n.oid, 'USAGE')
                     AND c.relkind IN ('r', 'p', 'm') AND NOT c.relispartition
                     AND a.attnum > 0 AND NOT a.attisdropped AND has_table_privilege(c.oid, 'SELECT')
                     AND format_type(a.atttypid, NULL) NOT IN ('bytea', 'bigint', 'integer', 'smallint', 'numeric',
                     'real',
                         'double precision', 'boolean', 'date', 'timestamp with time zone',
                         'timestamp without time zone')
                 ORDER BY n.nspname, c.relname, a.attnum",
            ),
        };
        let mut table_before = String::new();
        for row in self.rows("read which tables there are", catalogue).await? {
            let (home, table, column) = (row.text("home")?, row.text("table_name")?, row.text("column_name")?);
            let shown = if self.kind() == DatabaseKind::Sqlite { table.clone() } else { format!("{home}.{table}") };
            if shown != table_before {
                progress(&shown);
                table_before.clone_from(&shown);
            }
            let text = format!(
                "SELECT CAST(t.{column} AS TEXT) AS found FROM {home}.{table} t WHERE {}",
                holds_a_pattern(self.kind(), &format!("CAST(t.{} AS TEXT)", quoted(&column))),
                column = quoted(&column),
                home = quoted(&home),
                table = quoted(&table),
            );
            let statement = Statement::made(self.kind(), &text).bind(patterns.clone());
            let mut view = self.unbounded_view().await?;
            let mut found = view.stream("search a column", statement);
            let mut rows = 0;
            while let Some(row) = found.next().await {
                let found = match row {
                    Ok(row) => row.text_or_null("found")?.is_some_and(|text| identifiers.are_in(&text)),
                    // Another program's text that is not UTF-8: the database found an identifier in it.
                    Err(StoreError::Query { source: sqlx::Error::Decode(_), .. }) => true,
                    Err(error) => return Err(error),
                };
                rows += u64::from(found);
            }
            if rows > 0 {
                let is_ours = ["main", "public"].contains(&home.as_str()) && TABLES.iter().any(|own| own.name == table);
                let own = home == "backline" || is_ours;
                sightings.push(Sighting { table: shown, column, rows, own });
            }
        }
        if documents {
            progress("documents");
            let statement = self.query("SELECT body, bytes_raw FROM documents");
            let mut view = self.unbounded_view().await?;
            let mut found = view.stream("search documents", statement);
            let (mut rows, mut damaged) = (0, 0_u64);
            while let Some(row) = found.next().await {
                match expanded(&row?) {
                    // Nobody can read it, so it names nobody.
                    Err(StoreError::Compression { .. } | StoreError::Unreadable { .. }) => damaged += 1,
                    text => rows += u64::from(identifiers.are_in(&text?)),
                }
            }
            if damaged > 0 {
                tracing::warn!(damaged, "stored documents are damaged and were not searched");
            }
            if rows > 0 {
                let (table, column) = ("documents".to_owned(), "body".to_owned());
                sightings.push(Sighting { table, column, rows, own: true });
            }
        }
        Ok(sightings)
    }
}

/// Every column of free text, with its table.
fn texts() -> impl Iterator<Item = (&'static PersonalTable, &'static str)> {
    TABLES.iter().flat_map(|table| table.texts.iter().map(move |column| (table, *column)))
}

fn count_texts(counts: &mut BTreeMap<String, u64>, table: &str, column: &str, blanked: u64) {
    if blanked > 0 {
        *counts.entry(format!("{table}.{column}")).or_default() += blanked;
    }
}

/// The condition under which a row of a table that grows without end may have been written since `$3`, found by an
/// index; none for small tables, which are searched as a whole.
fn written_since(table: &str) -> Option<&'static str> {
    Some(match table {
        "collection_outcomes" | "plugin_logs" => "at > $3::timestamptz",
        "batches" | "deliveries" | "alert_messages" => "(finished_at IS NULL OR finished_at > $3::timestamptz)",
        _ => return None,
    })
}

fn add(counts: &mut BTreeMap<String, u64>, more: &BTreeMap<String, u64>) {
    for (name, count) in more {
        *counts.entry(name.clone()).or_default() += count;
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// What identifies an artist, by the rows of the artist's accounts. What can't be read of them keeps nobody from being
/// erased.
fn identifiers_of(artist: ArtistId, accounts: &[AnyRow]) -> Identifiers {
    let mut identifiers = Identifiers::of(artist, &[]);
    for row in accounts {
        for column in ["id", "platform_id"] {
            if let Ok(identifier) = row.text(column) {
                identifiers.add(&identifier);
            }
        }
        if let Ok(settings) = row.json("settings") {
            identifiers.add_settings(&settings);
        }
    }
    identifiers
}

/// Whose rows go.
#[derive(Clone, Copy)]
pub(super) enum Whose {
    /// All about an artist.
    Artist(ArtistId),
    /// Those about one account, whose artist stays.
    Account(AccountId),
}

impl Whose {
    /// What the conditions take as `$1`.
    fn parameter(self) -> String {
        match self {
            Self::Artist(id) => id.to_string(),
            Self::Account(id) => id.to_string(),
        }
    }

    /// The condition under which a row of a table goes; none where all of the table's stay.
    fn condition(self, kind: DatabaseKind, reached: Reached) -> Option<String> {
        match self {
            Self::Artist(_) => Some(is_about_artist(reached)),
            Self::Account(_) => is_about_account(kind, reached),
        }
    }
}

/// The condition under which a row of a table is about the artist given as `$1`.
pub(crate) fn is_about_artist(reached: Reached) -> String {
    const ACCOUNTS: &str = "SELECT id FROM accounts WHERE artist_id = $1::uuid";
    match reached {
        Reached::Artist(column) | Reached::ArtistOrAccount(column, _) => format!("{column} = $1::uuid"),
        Reached::Account(column) => format!("{column} IN ({ACCOUNTS})"),
        Reached::Credential(column) => {
            format!("{column} IN (SELECT id FROM credentials WHERE account_id IN ({ACCOUNTS}))")
        }
        Reached::Event(column) => format!("{column} IN (SELECT seq FROM events WHERE artist_id = $1::uuid)"),
    }
}

/// The condition under which a row of a table is about the account given as `$1`, while the account is there; none
/// where all rows are about its artist.
fn is_about_account(kind: DatabaseKind, reached: Reached) -> Option<String> {
    Some(match reached {
        Reached::Artist(_) => return None,
        Reached::ArtistOrAccount(artist, columns) => {
            let position = position(kind);
            let names_it = |column: &&str| format!("{position}(CAST({column} AS TEXT), $1::text) > 0");
            let named: Vec<String> = columns.iter().map(names_it).collect();
            let named = named.join(" OR ");
            format!("{artist} = (SELECT a.artist_id FROM accounts a WHERE a.id = $1::uuid) AND ({named})")
        }
        Reached::Account(column) => format!("{column} = $1::uuid"),
        Reached::Credential(column) => {
            format!("{column} IN (SELECT id FROM credentials WHERE account_id = $1::uuid)")
        }
        Reached::Event(column) => {
            let (_, events) = personal().find(|(table, _)| table.name == "events")?;
            format!("{column} IN (SELECT seq FROM events WHERE {})", is_about_account(kind, events.reached)?)
        }
    })
}

/// Locks events that go, in the order in which deliveries are added, which refer to them, and then their deliveries.
pub(super) async fn gone_events_lock_in_txn(work: &mut Work, whose: Whose) -> Result<(), StoreError> {
    for (name, order) in [("events", "t.seq"), ("deliveries", "t.event_seq, t.webhook_id")] {
        let found = personal().find(|(table, _)| table.name == name);
        let Some(condition) = found.and_then(|(_, rows)| whose.condition(work.kind, rows.reached)) else { continue };
        let text = format!("SELECT 1 AS locked FROM {name} t WHERE {condition} ORDER BY {order} FOR UPDATE");
        let events = Statement::made(work.kind, &text).bind(whose.parameter());
        work.rows("lock events", events).await?;
    }
    Ok(())
}

/// Removes rows; returns how many of each table that has some about such a thing.
pub(super) async fn rows_remove_in_txn(work: &mut Work, whose: Whose) -> Result<BTreeMap<String, u64>, StoreError> {
    let mut removed = BTreeMap::new();
    for (table, rows) in personal() {
        let Some(condition) = whose.condition(work.kind, rows.reached) else { continue };
        let name = table.name;
        let rows = if ["consents", "audit"].contains(&name) {
            // A trigger keeps them as long as the artist is there: they go with the artist's row.
            count(work, name, &condition, whose).await?
        } else {
            let statement = Statement::made(work.kind, &format!("DELETE FROM {name} WHERE {condition}"));
            work.execute("remove rows", statement.bind(whose.parameter())).await?
        };
        removed.insert(name.to_owned(), rows);
    }
    Ok(removed)
}

/// What [`rows_remove_in_txn`] would remove.
pub(super) async fn rows_count(view: &mut ReadView, whose: Whose) -> Result<BTreeMap<String, u64>, StoreError> {
    let mut counted = BTreeMap::new();
    for (table, rows) in personal() {
        if let Some(condition) = whose.condition(view.kind, rows.reached) {
            counted.insert(table.name.to_owned(), count(view, table.name, &condition, whose).await?);
        }
    }
    Ok(counted)
}

async fn count(view: &mut ReadView, table: &str, condition: &str, whose: Whose) -> Result<u64, StoreError> {
    let statement = Statement::made(view.kind, &format!("SELECT COUNT(*) AS n FROM {table} WHERE {condition}"));
    let row = view.row("count rows", statement.bind(whose.parameter())).await?;
    row.map_or(Ok(0), |row| row.count("n"))
}

/// Locks the open batches with accounts that go, which no host holds. One that another transaction has is passed over:
/// who leases it finds nothing left of it to do.
pub(super) async fn emptied_batches_lock_in_txn(work: &mut Work, whose: Whose) -> Result<Vec<BatchId>, StoreError> {
    let Some(condition) = whose.condition(work.kind, Reached::Account("m.account_id")) else { return Ok(Vec::new()) };
    let text = format!(
        "SELECT b.id::text AS id FROM batches b WHERE b.finished_at IS NULL AND b.state <> 'leased'
             AND b.id IN (SELECT m.batch_id FROM batch_accounts m WHERE {condition})
         ORDER BY b.id FOR UPDATE SKIP LOCKED"
    );
    let batches = Statement::made(work.kind, &text).bind(whose.parameter());
    let rows = work.rows("lock batches", batches).await?;
    // One whose id can't be read ends by itself.
    Ok(rows.iter().filter_map(|row| row.parsed("id").ok()).collect())
}

/// Ends those of the batches that have no account left: their runs need not wait for them.
pub(super) async fn emptied_batches_end_in_txn(
    work: &mut Work,
    batches: &[BatchId],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let rows: Vec<_> = batches.iter().map(|id| json!({ "id": id })).collect();
    let statement = work.query(
        "UPDATE batches SET state = 'done', finished_at = $2::timestamptz
         WHERE id {in_ids} AND finished_at IS NULL AND state <> 'leased'
             AND NOT EXISTS (SELECT 1 FROM batch_accounts m WHERE m.batch_id = batches.id)",
    );
    work.execute("end empty batches", statement.bind(json("batches", &rows)?).bind(time_text(now))).await?;
    Ok(())
}

/// The condition for the rows of a table that are not the artist's own (`$2`) and may have been written since (`$3`).
fn rows_to_blank(table: &PersonalTable, since: Option<DateTime<Utc>>) -> String {
    let own = match &table.holds {
        Holds::Rows(rows) => is_about_artist(rows.reached).replace("$1", "$2"),
        Holds::Nothing(_) => "$2::uuid IS NULL".to_owned(),
    };
    let recent = since.and_then(|_| written_since(table.name)).unwrap_or("$3::text IS NOT NULL");
    format!("({own}) IS NOT TRUE AND {recent}")
}

/// Texts of a column that name the artist, each as `old` with what is to take its place as `new`.
async fn texts_find(
    view: &mut ReadView,
    table: &PersonalTable,
    column: &str,
    artist: ArtistId,
    identifiers: &Identifiers,
    since: Option<DateTime<Utc>>,
) -> Result<Vec<Json>, StoreError> {
    let (name, rows) = (table.name, rows_to_blank(table, since));
    let condition = holds_a_pattern(view.kind, &format!("{name}.{column}"));
    let text = format!("SELECT DISTINCT {name}.{column} AS found FROM {name} WHERE {rows} AND {condition}");
    let statement = Statement::made(view.kind, &text).bind(pattern_rows(identifiers)?);
    let statement = statement.bind(artist.to_string()).bind(time_text(since.unwrap_or(FIRST_TIME)));
    let mut found = Vec::new();
    for row in view.rows("find an artist in texts", statement).await? {
        let old = row.text("found")?;
        if let Some(new) = identifiers.blanked(&old) {
            found.push(json!({ "old": old, "new": new }));
        }
    }
    Ok(found)
}

/// Replaces texts that were found; returns the number of rows changed.
async fn texts_replace(
    work: &mut Work,
    table: &PersonalTable,
    column: &str,
    artist: ArtistId,
    found: &[Json],
    since: Option<DateTime<Utc>>,
) -> Result<u64, StoreError> {
    let (name, rows) = (table.name, rows_to_blank(table, since));
    let mut changed = 0;
    for chunk in found.chunks(TEXTS_PER_STATEMENT) {
        let text = format!(
            "UPDATE {name} SET {column} = r.value->>'new' FROM {{rows}}
             WHERE {rows} AND {name}.{column} = r.value->>'old'"
        );
        let statement = Statement::made(work.kind, &text).bind(json("texts", &chunk)?);
        let statement = statement.bind(artist.to_string()).bind(time_text(since.unwrap_or(FIRST_TIME)));
        changed += work.execute("blank an artist in texts", statement).await?;
    }
    Ok(changed)
}

/// Events that say in a connector's words why a platform refused a metric, and name the artist in them: their places,
/// with the words that are to take the place.
async fn reasons_find(
    view: &mut ReadView,
    identifiers: &Identifiers,
    since: Option<DateTime<Utc>>,
) -> Result<Vec<(i64, String)>, StoreError> {
    let condition = holds_a_pattern(view.kind, "(t.data->>'reason')");
    let text = format!(
        "SELECT t.seq, t.data->>'reason' AS found FROM events t
         WHERE t.type = $2 AND t.occurred_at > $3::timestamptz AND {condition}"
    );
    let statement = Statement::made(view.kind, &text).bind(pattern_rows(identifiers)?).bind(types::METRIC_LOST);
    let statement = statement.bind(time_text(since.unwrap_or(FIRST_TIME)));
    let mut found = Vec::new();
    for row in view.rows("find an artist in events", statement).await? {
        if let Some(new) = identifiers.blanked(&row.text("found")?) {
            found.push((row.int("seq")?, new));
        }
    }
    Ok(found)
}

/// Replaces the words of these events; returns the number of events changed.
async fn reasons_replace(work: &mut Work, found: &[(i64, String)]) -> Result<u64, StoreError> {
    let mut changed = 0;
    for (seq, new) in found {
        let text = match work.kind {
            DatabaseKind::Sqlite => "UPDATE events SET data = json_set(data, '$.reason', $2) WHERE seq = $1",
            DatabaseKind::Postgres => {
                "UPDATE events SET data = jsonb_set(data, '{reason}', to_jsonb($2::text)) WHERE seq = $1"
            }
        };
        let statement = work.query(text).bind(*seq).bind(new.clone());
        changed += work.execute("blank an artist in events", statement).await?;
    }
    Ok(changed)
}

/// Identifiers as the rows that [`holds_a_pattern`] looks for.
fn pattern_rows(identifiers: &Identifiers) -> Result<String, StoreError> {
    let rows: Vec<_> = identifiers.patterns().into_iter().map(|pattern| json!({ "pattern": pattern })).collect();
    json("patterns", &rows)
}

/// The condition under which a text may hold an identifier; whether it does is checked afterwards.
fn holds_a_pattern(kind: DatabaseKind, column: &str) -> String {
    let position = position(kind);
    format!("EXISTS (SELECT 1 FROM {{rows}} WHERE {position}(lower({column}), r.value->>'pattern') > 0)")
}

/// The function that says where a text has another one in it; 0 where it has not.
fn position(kind: DatabaseKind) -> &'static str {
    match kind {
        DatabaseKind::Sqlite => "instr",
        DatabaseKind::Postgres => "strpos",
    }
}

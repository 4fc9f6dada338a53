//! Erasing an artist, the tombstone that keeps the artist from coming back, and looking whether anything is left.
//!
//! An erasure is one transaction: everything goes, the tombstone and the event are written, or nothing has happened. It keeps out, and waits
//! for, whatever saves artists, accounts or plans at that moment, and it holds the artist's accounts as the completion of a batch does; so
//! nothing that was read before it can be written after it.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, Utc};
use futures::StreamExt as _;
use serde::Serialize;
use serde_json::{Value as Json, json};
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, SqlSafeStr as _};

use crate::artists::accounts::account_of;
use crate::database::dialect::{Columns as _, DatabaseKind, json, time_text, translate};
use crate::database::error::During as _;
use crate::events::outbox::insert_events;
use crate::numbers::metrics::expanded;
use crate::{ROWS_PER_STATEMENT, Statement, Store, StoreError, Work};
use backline_model::event::types;
use backline_model::privacy::{Identifiers, Reached, Receipt, TABLES, personal, subject_of};
use backline_model::{Account, ArtistId, BatchId, Candidate, CredentialId, Event};

/// Texts that are replaced in one statement: each is compared with every row of its table.
const TEXTS_PER_STATEMENT: usize = 200;

/// What an erasure came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Erased {
    /// What was removed.
    pub receipt: Receipt,
    /// What the artist was recognised by.
    pub identifiers: Identifiers,
    /// Credentials that are gone, of which hosts may hold something still.
    pub credentials: Vec<CredentialId>,
}

/// A column in which an identifier stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sighting {
    /// The table, with its schema where there are schemas.
    pub table: String,
    /// The column.
    pub column: String,
    /// In how many rows.
    pub rows: u64,
    /// Whether the table is one of Backline's own; others in the same database are the artist platform's to mend.
    pub own: bool,
}

impl Store {
    /// Erases an artist. None where there is no such artist.
    ///
    /// # Errors
    /// When the database fails: nothing has happened then.
    pub async fn erase_artist(&self, artist: ArtistId, now: DateTime<Utc>) -> Result<Option<Erased>, StoreError> {
        let mut work = self.begin().await?;
        hold_off(&mut work, Holding::Alone).await?;
        // In the order in which refreshes and batches lock: credentials, accounts, the artist.
        let statement = work.query(
            "SELECT id::text AS id FROM credentials
             WHERE account_id IN (SELECT a.id FROM accounts a WHERE a.artist_id = $1::uuid) ORDER BY credentials.id FOR UPDATE",
        );
        work.rows("lock an artist's credentials", statement.bind(artist.to_string())).await?;
        let statement = work.query(
            "SELECT id::text AS id, artist_id::text AS artist_id, platform, platform_id, settings::text AS settings, status
             FROM accounts WHERE artist_id = $1::uuid ORDER BY accounts.id FOR UPDATE",
        );
        let rows = work.rows("lock an artist's accounts", statement.bind(artist.to_string())).await?;
        let accounts: Vec<Account> = rows.iter().map(account_of).collect::<Result<_, _>>()?;
        let statement = work.query("SELECT tenant FROM artists WHERE id = $1::uuid FOR UPDATE");
        let Some(row) = work.row("lock an artist", statement.bind(artist.to_string())).await? else {
            return Ok(None);
        };
        let tenant = row.text("tenant")?;
        let identifiers = Identifiers::of(artist, &accounts);
        let statement = work.query(
            "SELECT c.id::text AS id FROM credentials c JOIN accounts a ON a.id = c.account_id WHERE a.artist_id = $1::uuid",
        );
        let found = work.rows("look for an artist's credentials", statement.bind(artist.to_string())).await?;
        let credentials = found.iter().map(|row| row.parsed("id")).collect::<Result<_, _>>()?;
        let batches = batches_of(&mut work, artist).await?;
        let mut receipt = Receipt {
            artist_id_sha256: subject_of(artist),
            requested_at: now,
            finished_at: now,
            rows: remove_rows(&mut work, artist).await?,
            texts: BTreeMap::new(),
            readmitted_at: None,
        };
        end_empty(&mut work, &batches, now).await?;
        for (table, column) in TABLES.iter().flat_map(|table| table.texts.iter().map(|column| (table.name, *column))) {
            let blanked = blank(&mut work, table, column, &identifiers).await?;
            if blanked > 0 {
                receipt.texts.insert(format!("{table}.{column}"), blanked);
            }
        }
        let blanked = blank_reasons(&mut work, &identifiers).await?;
        if blanked > 0 {
            receipt.texts.insert("events.data".to_owned(), blanked);
        }
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
        if let Some(earlier) = tombstone(&mut work, &receipt.artist_id_sha256).await? {
            add(&mut receipt.rows, &earlier.rows);
            add(&mut receipt.texts, &earlier.texts);
        }
        let statement = work.query(
            "INSERT INTO erasures (subject, requested_at, finished_at, receipt) VALUES ($1, $2::timestamptz, $2::timestamptz, $3::jsonb)
             ON CONFLICT (subject) DO UPDATE SET requested_at = excluded.requested_at, finished_at = excluded.finished_at,
                 receipt = excluded.receipt, readmitted_at = NULL",
        );
        let counts = json!({ "rows": receipt.rows, "texts": receipt.texts });
        let statement =
            statement.bind(receipt.artist_id_sha256.clone()).bind(time_text(now)).bind(json("a receipt", &counts)?);
        work.execute("leave a tombstone", statement).await?;
        // Last, so that readers of events wait for no longer than the commit takes.
        insert_events(&mut work, &[event]).await?;
        work.commit().await?;
        Ok(Some(Erased { receipt, identifiers, credentials }))
    }

    /// What the latest erasure of an artist removed; none where there was none.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn erasure(&self, artist: ArtistId) -> Result<Option<Receipt>, StoreError> {
        let statement = self.query(TOMBSTONE).bind(subject_of(artist));
        self.row("look for a tombstone", statement).await?.as_ref().map(receipt_of).transpose()
    }

    /// Lets an erased artist be saved and collected again. Answers whether a tombstone stood in the way.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn readmit_artist(&self, artist: ArtistId, now: DateTime<Utc>) -> Result<bool, StoreError> {
        let statement = self
            .query("UPDATE erasures SET readmitted_at = $2::timestamptz WHERE subject = $1 AND readmitted_at IS NULL");
        Ok(self.write("readmit an artist", statement.bind(subject_of(artist)).bind(time_text(now))).await? > 0)
    }

    /// Which of these artists have a tombstone.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn erased_artists(&self, artists: &[ArtistId]) -> Result<HashSet<ArtistId>, StoreError> {
        if artists.is_empty() || self.row("look for tombstones", self.query(ANY_TOMBSTONE)).await?.is_none() {
            return Ok(HashSet::new());
        }
        let mut erased = HashSet::new();
        for chunk in artists.chunks(ROWS_PER_STATEMENT) {
            let subjects = Subjects::of(chunk);
            let rows = self.rows("look for tombstones", self.query(TOMBSTONES).bind(subjects.rows()?)).await?;
            subjects.collect(&rows, &mut erased)?;
        }
        Ok(erased)
    }

    /// Who of these has no tombstone: on PostgreSQL the artist platform may have put an erased artist back into its table.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn without_erased(&self, candidates: Vec<Candidate>) -> Result<Vec<Candidate>, StoreError> {
        let erased = self.erased_artists(&artists_of(&candidates)).await?;
        Ok(kept(candidates, &erased))
    }

    /// Tables of this database that a [`search`](Self::search) does not see, or not all of: those that Backline's role may not read.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn hidden_tables(&self) -> Result<Vec<String>, StoreError> {
        if self.kind() == DatabaseKind::Sqlite {
            return Ok(Vec::new());
        }
        let statement = self.query(
            "SELECT format('%s.%s', n.nspname, c.relname) AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE n.nspname NOT LIKE 'pg^_%' ESCAPE '^' AND n.nspname <> 'information_schema'
                 AND c.relkind IN ('r', 'p', 'm') AND NOT c.relispartition
                 AND (NOT has_schema_privilege(n.oid, 'USAGE') OR NOT has_table_privilege(c.oid, 'SELECT') OR row_security_active(c.oid))
             ORDER BY 1",
        );
        self.rows("list tables that are hidden", statement).await?.iter().map(|row| row.text("name")).collect()
    }

    /// Looks for identifiers in every column of text or JSON of every table of this database, and in the stored documents where that is
    /// asked for. `progress` is told each table before it is searched.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn search(
        &self,
        identifiers: &Identifiers,
        documents: bool,
        progress: &(dyn Fn(&str) + Sync),
    ) -> Result<Vec<Sighting>, StoreError> {
        let mut sightings = Vec::new();
        if identifiers.is_empty() {
            return Ok(sightings);
        }
        let patterns = pattern_rows(identifiers)?;
        let catalogue = match self.kind() {
            DatabaseKind::Sqlite => self.query(
                "SELECT 'main' AS home, t.name AS table_name, c.name AS column_name FROM sqlite_master t JOIN pragma_table_info(t.name) c
                 WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite^_%' ESCAPE '^' AND upper(c.type) NOT IN ('BLOB', 'INTEGER', 'REAL')
                 ORDER BY t.name, c.cid",
            ),
            // A part of a table is searched with the whole.
            DatabaseKind::Postgres => self.query(
                "SELECT n.nspname::text AS home, c.relname::text AS table_name, a.attname::text AS column_name
                 FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE n.nspname NOT LIKE 'pg^_%' ESCAPE '^' AND n.nspname <> 'information_schema' AND has_schema_privilege(n.oid, 'USAGE')
                     AND c.relkind IN ('r', 'p', 'm') AND NOT c.relispartition
                     AND a.attnum > 0 AND NOT a.attisdropped AND has_table_privilege(c.oid, 'SELECT')
                     AND format_type(a.atttypid, NULL) NOT IN ('bytea', 'bigint', 'integer', 'smallint', 'numeric', 'real',
                         'double precision', 'boolean', 'date', 'timestamp with time zone', 'timestamp without time zone')
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
            let statement = made(self.kind(), &text).bind(patterns.clone());
            let mut found = statement.fetch(&self.pool);
            let mut rows = 0;
            while let Some(row) = found.next().await {
                let text = row.during("search a column")?.text_or_null("found")?;
                rows += u64::from(text.is_some_and(|text| identifiers.are_in(&text)));
            }
            if rows > 0 {
                let is_ours = ["main", "public"].contains(&home.as_str()) && TABLES.iter().any(|own| own.name == table);
                let own = home == "backline" || is_ours;
                sightings.push(Sighting { table: shown, column, rows, own });
            }
        }
        if documents {
            progress("documents");
            let mut found = self.query("SELECT body, bytes_raw FROM documents").fetch(&self.pool);
            let mut rows = 0;
            while let Some(row) = found.next().await {
                rows += u64::from(identifiers.are_in(&expanded(&row.during("search documents")?)?));
            }
            if rows > 0 {
                let (table, column) = ("documents".to_owned(), "body".to_owned());
                sightings.push(Sighting { table, column, rows, own: true });
            }
        }
        Ok(sightings)
    }
}

/// How far an erasure and what would undo it keep each other out.
#[derive(Clone, Copy)]
enum Holding {
    /// Erasing: nobody saves or plans meanwhile.
    Alone,
    /// Saving and planning: nobody erases meanwhile.
    Together,
}

/// SQLite has one writer, so there is nobody to keep out.
async fn hold_off(work: &mut Work, holding: Holding) -> Result<(), StoreError> {
    if work.kind == DatabaseKind::Sqlite {
        return Ok(());
    }
    let statement = match holding {
        Holding::Alone => work.query("SELECT 1 AS locked FROM pg_advisory_xact_lock(7135240011899)"),
        Holding::Together => work.query("SELECT 1 AS locked FROM pg_advisory_xact_lock_shared(7135240011899)"),
    };
    work.rows("wait for an erasure", statement).await?;
    Ok(())
}

/// Lets nobody be erased until this transaction is over. Called before anything else is locked.
pub(crate) async fn keep_erasures_out(work: &mut Work) -> Result<(), StoreError> {
    hold_off(work, Holding::Together).await
}

/// Which of these artists have a tombstone; until this transaction is over nobody else gets one. Called before anything else is locked.
pub(crate) async fn erased_among(
    work: &mut Work,
    artists: impl IntoIterator<Item = ArtistId>,
) -> Result<HashSet<ArtistId>, StoreError> {
    hold_off(work, Holding::Together).await?;
    let mut erased = HashSet::new();
    let any = work.query(ANY_TOMBSTONE);
    if work.row("look for tombstones", any).await?.is_none() {
        return Ok(erased);
    }
    let artists: Vec<ArtistId> = artists.into_iter().collect();
    for chunk in artists.chunks(ROWS_PER_STATEMENT) {
        let subjects = Subjects::of(chunk);
        let statement = work.query(TOMBSTONES).bind(subjects.rows()?);
        let rows = work.rows("look for tombstones", statement).await?;
        subjects.collect(&rows, &mut erased)?;
    }
    Ok(erased)
}

/// As [`Store::without_erased`], inside a transaction.
pub(crate) async fn without_erased(work: &mut Work, candidates: Vec<Candidate>) -> Result<Vec<Candidate>, StoreError> {
    let erased = erased_among(work, artists_of(&candidates)).await?;
    Ok(kept(candidates, &erased))
}

fn artists_of(candidates: &[Candidate]) -> Vec<ArtistId> {
    candidates.iter().map(|candidate| candidate.artist_id).collect()
}

fn kept(mut candidates: Vec<Candidate>, erased: &HashSet<ArtistId>) -> Vec<Candidate> {
    candidates.retain(|candidate| !erased.contains(&candidate.artist_id));
    candidates
}

const ANY_TOMBSTONE: &str = "SELECT 1 AS found FROM erasures WHERE readmitted_at IS NULL LIMIT 1";

const TOMBSTONES: &str =
    "SELECT e.subject FROM {rows} JOIN erasures e ON e.subject = r.value->>'subject' WHERE e.readmitted_at IS NULL";

const TOMBSTONE: &str = "SELECT subject, requested_at::text AS requested_at, finished_at::text AS finished_at,
    readmitted_at::text AS readmitted_at, receipt::text AS receipt FROM erasures WHERE subject = $1";

/// Artists by what their tombstones would be found under.
struct Subjects(HashMap<String, ArtistId>);

impl Subjects {
    fn of(artists: &[ArtistId]) -> Self {
        Self(artists.iter().map(|artist| (subject_of(*artist), *artist)).collect())
    }

    fn rows(&self) -> Result<String, StoreError> {
        let rows: Vec<_> = self.0.keys().map(|subject| json!({ "subject": subject })).collect();
        json("subjects", &rows)
    }

    fn collect(&self, rows: &[AnyRow], erased: &mut HashSet<ArtistId>) -> Result<(), StoreError> {
        for row in rows {
            erased.extend(self.0.get(&row.text("subject")?));
        }
        Ok(())
    }
}

async fn tombstone(work: &mut Work, subject: &str) -> Result<Option<Receipt>, StoreError> {
    let statement = work.query(TOMBSTONE).bind(subject.to_owned());
    work.row("look for a tombstone", statement).await?.as_ref().map(receipt_of).transpose()
}

fn receipt_of(row: &AnyRow) -> Result<Receipt, StoreError> {
    let counts: HashMap<String, BTreeMap<String, u64>> = row.json("receipt")?;
    let of = |name: &str| counts.get(name).cloned().unwrap_or_default();
    Ok(Receipt {
        artist_id_sha256: row.text("subject")?,
        requested_at: row.time("requested_at")?,
        finished_at: row.time("finished_at")?,
        rows: of("rows"),
        texts: of("texts"),
        readmitted_at: row.time_or_null("readmitted_at")?,
    })
}

fn add(counts: &mut BTreeMap<String, u64>, more: &BTreeMap<String, u64>) {
    for (name, count) in more {
        *counts.entry(name.clone()).or_default() += count;
    }
}

/// A statement made of names that the registry or the database's own catalogue gives, never of what somebody has entered.
pub(crate) fn made(kind: DatabaseKind, text: &str) -> Statement {
    sqlx::query(AssertSqlSafe(translate(kind, text)).into_sql_str())
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The condition under which a row of a table is about the artist given as `$1`.
pub(crate) fn is_about_artist(reached: Reached) -> String {
    const ACCOUNTS: &str = "SELECT id FROM accounts WHERE artist_id = $1::uuid";
    match reached {
        Reached::Artist(column) => format!("{column} = $1::uuid"),
        Reached::Account(column) => format!("{column} IN ({ACCOUNTS})"),
        Reached::Credential(column) => {
            format!("{column} IN (SELECT id FROM credentials WHERE account_id IN ({ACCOUNTS}))")
        }
        Reached::Event(column) => format!("{column} IN (SELECT seq FROM events WHERE artist_id = $1::uuid)"),
    }
}

async fn remove_rows(work: &mut Work, artist: ArtistId) -> Result<BTreeMap<String, u64>, StoreError> {
    let mut removed = BTreeMap::new();
    for (table, rows) in personal() {
        let (name, condition) = (table.name, is_about_artist(rows.reached));
        let count = if name == "consents" {
            // A trigger keeps them as long as the artist is there: they go with the artist's row.
            let statement = made(work.kind, &format!("SELECT COUNT(*) AS n FROM {name} WHERE {condition}"));
            let row = work.row("count an artist's rows", statement.bind(artist.to_string())).await?;
            row.map_or(Ok(0), |row| row.count("n"))?
        } else {
            let statement = made(work.kind, &format!("DELETE FROM {name} WHERE {condition}"));
            work.execute("remove an artist's rows", statement.bind(artist.to_string())).await?
        };
        removed.insert(name.to_owned(), count);
    }
    Ok(removed)
}

/// The open batches with accounts of an artist.
async fn batches_of(work: &mut Work, artist: ArtistId) -> Result<Vec<BatchId>, StoreError> {
    let statement = work.query(
        "SELECT DISTINCT m.batch_id::text AS id FROM batch_accounts m JOIN accounts a ON a.id = m.account_id
             JOIN batches b ON b.id = m.batch_id
         WHERE a.artist_id = $1::uuid AND b.finished_at IS NULL",
    );
    let rows = work.rows("look for an artist's batches", statement.bind(artist.to_string())).await?;
    rows.iter().map(|row| row.parsed("id")).collect()
}

/// Ends those of the batches that nobody has and in which nobody is left: their runs need not wait for them.
async fn end_empty(work: &mut Work, batches: &[BatchId], now: DateTime<Utc>) -> Result<(), StoreError> {
    let rows: Vec<_> = batches.iter().map(|id| json!({ "id": id })).collect();
    let statement = work.query(
        "UPDATE batches SET state = 'done', finished_at = $2::timestamptz
         WHERE id IN (SELECT (r.value->>'id')::uuid FROM {rows}) AND finished_at IS NULL AND state <> 'leased'
             AND NOT EXISTS (SELECT 1 FROM batch_accounts m WHERE m.batch_id = batches.id)",
    );
    work.execute("end empty batches", statement.bind(json("batches", &rows)?).bind(time_text(now))).await?;
    Ok(())
}

/// Blanks identifiers in a column of free text; answers in how many rows.
async fn blank(
    work: &mut Work,
    table: &'static str,
    column: &'static str,
    identifiers: &Identifiers,
) -> Result<u64, StoreError> {
    let condition = holds_a_pattern(work.kind, &format!("t.{column}"));
    let text = format!("SELECT DISTINCT t.{column} AS found FROM {table} t WHERE {condition}");
    let statement = made(work.kind, &text).bind(pattern_rows(identifiers)?);
    let mut replaced: Vec<Json> = Vec::new();
    for row in work.rows("look for an artist in texts", statement).await? {
        let old = row.text("found")?;
        if let Some(new) = identifiers.blanked(&old) {
            replaced.push(json!({ "old": old, "new": new }));
        }
    }
    let mut rows = 0;
    for chunk in replaced.chunks(TEXTS_PER_STATEMENT) {
        let text = format!(
            "UPDATE {table} SET {column} = r.value->>'new' FROM {{rows}} WHERE {table}.{column} = r.value->>'old'"
        );
        let statement = made(work.kind, &text).bind(json("texts", &chunk)?);
        rows += work.execute("blank an artist in texts", statement).await?;
    }
    Ok(rows)
}

/// Blanks identifiers in what events say a platform refused a metric for, which is in a connector's words; answers in how many.
async fn blank_reasons(work: &mut Work, identifiers: &Identifiers) -> Result<u64, StoreError> {
    let condition = holds_a_pattern(work.kind, "(t.data->>'reason')");
    let text = format!("SELECT t.seq, t.data->>'reason' AS found FROM events t WHERE t.type = $2 AND {condition}");
    let statement = made(work.kind, &text).bind(pattern_rows(identifiers)?).bind(types::METRIC_LOST);
    let mut blanked = 0;
    for row in work.rows("look for an artist in events", statement).await? {
        let Some(new) = identifiers.blanked(&row.text("found")?) else { continue };
        let text = match work.kind {
            DatabaseKind::Sqlite => "UPDATE events SET data = json_set(data, '$.reason', $2) WHERE seq = $1",
            DatabaseKind::Postgres => {
                "UPDATE events SET data = jsonb_set(data, '{reason}', to_jsonb($2::text)) WHERE seq = $1"
            }
        };
        let statement = work.query(text).bind(row.int("seq")?).bind(new);
        blanked += work.execute("blank an artist in events", statement).await?;
    }
    Ok(blanked)
}

/// Identifiers as the rows that [`holds_a_pattern`] looks for.
fn pattern_rows(identifiers: &Identifiers) -> Result<String, StoreError> {
    let rows: Vec<_> = identifiers.patterns().into_iter().map(|pattern| json!({ "pattern": pattern })).collect();
    json("patterns", &rows)
}

/// The condition under which a text may hold an identifier; whether it does is looked at afterwards.
fn holds_a_pattern(kind: DatabaseKind, column: &str) -> String {
    let position = match kind {
        DatabaseKind::Sqlite => "instr",
        DatabaseKind::Postgres => "strpos",
    };
    format!("EXISTS (SELECT 1 FROM {{rows}} WHERE {position}(lower({column}), r.value->>'pattern') > 0)")
}

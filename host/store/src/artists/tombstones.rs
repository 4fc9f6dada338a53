//! The tombstones of erased artists: a hash of the artist's id that keeps the artist from being saved or collected
//! again.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::any::AnyRow;

use crate::database::connection::{Store, Work};
use crate::database::dialect::{Columns as _, DatabaseKind, json, time_text};
use crate::database::error::StoreError;
use crate::database::rows::ROWS_PER_STATEMENT;
use backline_model::privacy::{Receipt, subject_of};
use backline_model::{ArtistId, Candidate};

impl Store {
    /// What the latest erasure of an artist removed; none where there was none.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn erasure_get(&self, artist: ArtistId) -> Result<Option<Receipt>, StoreError> {
        let statement = self.query(TOMBSTONE).bind(subject_of(artist));
        self.row("find a tombstone", statement).await?.as_ref().map(receipt_of).transpose()
    }

    /// Lets an erased artist be saved and collected again. Returns whether there was a tombstone.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn erasure_lift(&self, artist: ArtistId, now: DateTime<Utc>) -> Result<bool, StoreError> {
        let statement = self
            .query("UPDATE erasures SET readmitted_at = $2::timestamptz WHERE subject = $1 AND readmitted_at IS NULL");
        Ok(self.write("readmit an artist", statement.bind(subject_of(artist)).bind(time_text(now))).await? > 0)
    }

    /// Which of these artists have a tombstone.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn erased_artists_of(&self, artists: &[ArtistId]) -> Result<HashSet<ArtistId>, StoreError> {
        if artists.is_empty() || self.row("find tombstones", self.query(ANY_TOMBSTONE)).await?.is_none() {
            return Ok(HashSet::new());
        }
        let mut erased = HashSet::new();
        for chunk in artists.chunks(ROWS_PER_STATEMENT) {
            let subjects = Subjects::of(chunk);
            let rows = self.rows("find tombstones", self.query(TOMBSTONES).bind(subjects.rows()?)).await?;
            subjects.collect(&rows, &mut erased)?;
        }
        Ok(erased)
    }

    /// Drops the candidates with a tombstone: on PostgreSQL the artist platform may have put an erased artist back into
    /// its table.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn candidates_drop_erased(&self, candidates: Vec<Candidate>) -> Result<Vec<Candidate>, StoreError> {
        let erased = self.erased_artists_of(&artists_of(&candidates)).await?;
        Ok(kept(candidates, &erased))
    }
}

/// How far an erasure and what would undo it keep each other out.
#[derive(Clone, Copy)]
pub(crate) enum Holding {
    /// Erasing: nothing is saved or planned at the same time.
    Alone,
    /// Saving and planning: nothing is erased at the same time.
    Together,
}

/// SQLite has one writer, so there is nothing to keep out.
pub(crate) async fn erasure_lock_in_txn(work: &mut Work, holding: Holding) -> Result<(), StoreError> {
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

/// Keeps artists from being erased until this transaction is over. Called before anything else is locked.
pub(crate) async fn erasures_hold_off_in_txn(work: &mut Work) -> Result<(), StoreError> {
    erasure_lock_in_txn(work, Holding::Together).await
}

/// Which of these artists have a tombstone; no other artist gets one until this transaction is over. Called before
/// anything else is locked.
pub(crate) async fn erased_artists_in_txn(
    work: &mut Work,
    artists: impl IntoIterator<Item = ArtistId>,
) -> Result<HashSet<ArtistId>, StoreError> {
    erasure_lock_in_txn(work, Holding::Together).await?;
    let mut erased = HashSet::new();
    let any = work.query(ANY_TOMBSTONE);
    if work.row("find tombstones", any).await?.is_none() {
        return Ok(erased);
    }
    let artists: Vec<ArtistId> = artists.into_iter().collect();
    for chunk in artists.chunks(ROWS_PER_STATEMENT) {
        let subjects = Subjects::of(chunk);
        let statement = work.query(TOMBSTONES).bind(subjects.rows()?);
        let rows = work.rows("find tombstones", statement).await?;
        subjects.collect(&rows, &mut erased)?;
    }
    Ok(erased)
}

/// As [`Store::candidates_drop_erased`], inside a transaction.
pub(crate) async fn candidates_drop_erased_in_txn(
    work: &mut Work,
    candidates: Vec<Candidate>,
) -> Result<Vec<Candidate>, StoreError> {
    let erased = erased_artists_in_txn(work, artists_of(&candidates)).await?;
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

/// Artists by the hashes of their ids.
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

pub(crate) async fn tombstone_in_txn(work: &mut Work, subject: &str) -> Result<Option<Receipt>, StoreError> {
    let statement = work.query(TOMBSTONE).bind(subject.to_owned());
    work.row("find a tombstone", statement).await?.as_ref().map(receipt_of).transpose()
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

//! Everything about one artist as a zip: each table as JSON lines and as CSV, the documents, and a manifest with
//! hashes.
//!
//! It is written while it is read. Rows go through a channel of a few blocks to a thread that compresses and writes, so
//! that memory does not grow with the artist's data. The output may be a pipe.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, Read, Seek, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{DateTime, Datelike as _, Timelike as _, Utc};
use futures::StreamExt as _;
use serde::Serialize;
use serde_json::{Value as Json, json};
use sha2::Digest as _;
use tokio::sync::mpsc;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::pipeline::artists::privacy::Privacy;
use crate::pipeline::credentials::installation::is_simulated;
use crate::pipeline::error::{Classified, ErrorClass};
use backline_model::ArtistId;
use backline_model::privacy::{ColumnKind, Holds, Identifiers, PersonalTable, Rows, TABLES, personal};
use backline_model::text::csv_text;
use backline_store::{Export, ExportedRow, Scope, StoreError, exported};

/// Size of a block in bytes: small in memory, large enough to be worth waking a thread.
const BLOCK_BYTES: usize = 64 * 1024;

/// Blocks that may wait for the writer.
const BLOCKS_WAITING: usize = 8;

/// Version of the manifest's format.
const MANIFEST_VERSION: u32 = 1;

/// The contents of an export.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ExportReport {
    /// Rows, by table.
    pub rows: BTreeMap<String, u64>,
    /// Number of documents.
    pub documents: u64,
    /// Documents that are damaged in the database, and have no file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub documents_damaged: Vec<String>,
    /// Whether the artist and all numbers are simulated; left out where they are not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub simulated: bool,
    /// The files, except the manifest.
    pub files: Vec<ExportedFile>,
}

/// A file of an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExportedFile {
    /// Its name in the zip.
    pub name: String,
    /// Its size, in bytes.
    pub bytes: u64,
    /// SHA-256 of its content, in hex.
    pub sha256: String,
}

/// Why an export failed. What was written until then is not usable.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No artist has this id.
    #[error("no artist has the id {0}; `backline artists list` shows them")]
    NoArtist(ArtistId),
    /// The file can't be written.
    #[error("the export can't be written")]
    Write(#[source] io::Error),
}

impl Classified for ExportError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Store(error) => error.class(),
            Self::NoArtist(_) => ErrorClass::Refused,
            Self::Write(_) => ErrorClass::Unavailable,
        }
    }
}

/// A message to the writing thread.
enum Piece {
    /// Another file begins.
    File(String),
    /// The next bytes of the file.
    Data(Vec<u8>),
}

impl Privacy {
    /// Writes everything about an artist as a zip, as it was when this began. `progress` gets each table and the number
    /// of rows read from it. Secrets are left out.
    ///
    /// # Errors
    /// [`ExportError::NoArtist`], or when the database fails or the file can't be written. What was written is not
    /// usable then.
    pub async fn export(
        &self,
        artist: ArtistId,
        out: impl Write + Send + 'static,
        progress: &(dyn Fn(&str, u64) + Sync),
    ) -> Result<ExportReport, ExportError> {
        // What can't be read of an artist keeps nobody from the rest.
        if self.store.artist_identifiers_get(&Scope::all_tenants(), artist).await?.is_none() {
            return Err(ExportError::NoArtist(artist));
        }
        let now = self.clock.now();
        let simulated = is_simulated(&self.store).await?;
        let mut export = self.store.export_begin(&Scope::all_tenants(), artist).await?;
        let (pieces, received) = mpsc::channel(BLOCKS_WAITING);
        let out = Fused::new(out);
        let abandoned = Arc::clone(&out.closed);
        let writing = tokio::task::spawn_blocking(move || write_files(out, received, now));
        let read = read_all(&mut export, &pieces, progress).await;
        drop(pieces);
        let written = writing.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        let mut report = match (read, written) {
            // The writer's error is the cause; the reader only finds the channel closed.
            (_, Err(error)) => return Err(ExportError::Write(error)),
            (Err(error), Ok(archive)) => {
                abandoned.store(true, Ordering::Relaxed);
                drop(archive);
                return Err(error);
            }
            (Ok(report), Ok(archive)) => {
                let finished = finish(archive, artist, now, ExportReport { simulated, ..report });
                finished.await.map_err(ExportError::Write)?
            }
        };
        report.files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(report)
    }
}

/// A writer that discards everything once it has failed or was abandoned.
///
/// A `ZipWriter` that is dropped writes the end of its archive, and prints a line of its own where that fails. After a
/// failure the end would make an incomplete archive look complete.
struct Fused<W> {
    out: W,
    closed: Arc<AtomicBool>,
}

impl<W> Fused<W> {
    fn new(out: W) -> Self {
        Self { out, closed: Arc::default() }
    }

    fn attempt<T>(&mut self, dropped: T, write: impl FnOnce(&mut W) -> io::Result<T>) -> io::Result<T> {
        if self.closed.load(Ordering::Relaxed) {
            return Ok(dropped);
        }
        write(&mut self.out).inspect_err(|error| {
            // Callers repeat an interrupted write.
            let failed = error.kind() != io::ErrorKind::Interrupted;
            self.closed.store(failed, Ordering::Relaxed);
        })
    }
}

impl<W: Write> Write for Fused<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.attempt(bytes.len(), |out| out.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.attempt((), Write::flush)
    }
}

/// A zip that is being written, with the files in it so far.
struct ExportArchive<W: Write> {
    zip: ZipWriter<zip::write::StreamWriter<Fused<W>>>,
    files: Vec<ExportedFile>,
}

/// Writes pieces as they come.
fn write_files<W: Write>(
    out: Fused<W>,
    mut pieces: mpsc::Receiver<Piece>,
    now: DateTime<Utc>,
) -> io::Result<ExportArchive<W>> {
    let mut zip = ZipWriter::new_stream(out);
    let mut files: Vec<ExportedFile> = Vec::new();
    let mut hash = sha2::Sha256::new();
    while let Some(piece) = pieces.blocking_recv() {
        match piece {
            Piece::File(name) => {
                close(&mut files, &mut hash);
                zip.start_file(name.as_str(), options(now))?;
                files.push(ExportedFile { name, bytes: 0, sha256: String::new() });
            }
            Piece::Data(bytes) => {
                zip.write_all(&bytes)?;
                hash.update(&bytes);
                if let Some(file) = files.last_mut() {
                    file.bytes += bytes.len() as u64;
                }
            }
        }
    }
    close(&mut files, &mut hash);
    Ok(ExportArchive { zip, files })
}

fn close(files: &mut [ExportedFile], hash: &mut sha2::Sha256) {
    let hash = std::mem::take(hash).finalize();
    if let Some(file) = files.last_mut() {
        file.sha256 = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    }
}

/// Writes the manifest and the end of the archive.
async fn finish<W: Write + Send + 'static>(
    archive: ExportArchive<W>,
    artist: ArtistId,
    now: DateTime<Utc>,
    report: ExportReport,
) -> io::Result<ExportReport> {
    let work = move || {
        let ExportArchive { mut zip, files } = archive;
        let report = ExportReport { files, ..report };
        zip.start_file("manifest.json", options(now))?;
        serde_json::to_writer_pretty(&mut zip, &manifest(artist, now, &report))?;
        let mut out = zip.finish()?;
        out.flush()?;
        match out.into_inner().closed.load(Ordering::Relaxed) {
            // `ZipWriter` continued after an error that it did not return.
            true => Err(io::Error::other("a part of the archive was not written")),
            false => Ok(report),
        }
    };
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

fn options(now: DateTime<Utc>) -> SimpleFileOptions {
    let part = |number: u32| u8::try_from(number).unwrap_or_default();
    let time = zip::DateTime::from_date_and_time(
        u16::try_from(now.year()).unwrap_or(1980),
        part(now.month()),
        part(now.day()),
        part(now.hour()),
        part(now.minute()),
        part(now.second()),
    );
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    options.last_modified_time(time.unwrap_or_default())
}

fn manifest(artist: ArtistId, now: DateTime<Utc>, report: &ExportReport) -> Json {
    let left_out: BTreeMap<&str, Vec<&str>> = personal()
        .map(|(table, rows)| {
            let withheld = rows.columns().into_iter().filter(|(_, kind)| *kind == ColumnKind::Withheld);
            (table.name, withheld.map(|(name, _)| name).collect())
        })
        .filter(|(_, columns): &(_, Vec<_>)| !columns.is_empty())
        .collect();
    let without: BTreeMap<&str, &str> = TABLES
        .iter()
        .filter_map(|table| match table.holds {
            Holds::Nothing(reason) => Some((table.name, reason)),
            Holds::Rows(_) => None,
        })
        .collect();
    let mut manifest = json!({
        "what": "everything Backline keeps about one artist",
        "version": MANIFEST_VERSION,
        "artist_id": artist,
        "exported_at": now,
        "rows": report.rows,
        "documents": report.documents,
        "files": report.files,
        "columns_left_out": left_out,
        "tables_without_rows_about_artists": without,
    });
    if !report.documents_damaged.is_empty() {
        manifest["documents_damaged"] = json!(report.documents_damaged);
    }
    if report.simulated {
        manifest["simulated"] = true.into();
    }
    manifest
}

/// Reads everything and passes it to the writer.
async fn read_all(
    export: &mut Export,
    pieces: &mpsc::Sender<Piece>,
    progress: &(dyn Fn(&str, u64) + Sync),
) -> Result<ExportReport, ExportError> {
    let mut report = ExportReport::default();
    for (table, rows) in personal() {
        let mut lines = Blocks::begin(pieces, format!("{}.jsonl", table.name)).await?;
        let count = each_row(export, table, &rows, &mut lines, progress, |row, out| {
            serde_json::to_writer(&mut *out, &row)?;
            out.write_all(b"\n")
        })
        .await?;
        // Rows are read twice, because the files of a zip follow each other. Both times the transaction sees the same
        // rows.
        let mut cells = Blocks::begin(pieces, format!("{}.csv", table.name)).await?;
        let header: Vec<&str> = exported(&rows).map(|(name, _)| name).collect();
        record(&header, &mut cells.waiting).map_err(ExportError::Write)?;
        each_row(export, table, &rows, &mut cells, &|_, _| {}, |row, out| {
            record(&header.iter().map(|name| cell(&row[*name])).collect::<Vec<_>>(), out)
        })
        .await?;
        report.rows.insert(table.name.to_owned(), count);
    }
    let mut documents = export.documents();
    while let Some(document) = documents.next().await {
        let (id, body) = document?;
        let Some(body) = body else {
            report.documents_damaged.push(id);
            continue;
        };
        let mut file = Blocks::begin(pieces, format!("documents/{id}.json")).await?;
        file.waiting = body.into_bytes();
        file.end().await?;
        report.documents += 1;
        progress("documents", report.documents);
    }
    Ok(report)
}

async fn each_row(
    export: &mut Export,
    table: &PersonalTable,
    rows: &Rows,
    blocks: &mut Blocks<'_>,
    progress: &(dyn Fn(&str, u64) + Sync),
    write: impl Fn(ExportedRow, &mut Vec<u8>) -> io::Result<()>,
) -> Result<u64, ExportError> {
    let mut found = export.rows(table, rows);
    let mut count = 0;
    while let Some(row) = found.next().await {
        write(row?, &mut blocks.waiting).map_err(ExportError::Write)?;
        blocks.send_full().await?;
        count += 1;
        progress(table.name, count);
    }
    drop(found);
    blocks.end().await?;
    Ok(count)
}

/// A file that is being written block by block.
struct Blocks<'a> {
    pieces: &'a mpsc::Sender<Piece>,
    waiting: Vec<u8>,
}

impl<'a> Blocks<'a> {
    async fn begin(pieces: &'a mpsc::Sender<Piece>, name: String) -> Result<Self, ExportError> {
        let blocks = Self { pieces, waiting: Vec::with_capacity(BLOCK_BYTES) };
        blocks.send(Piece::File(name)).await?;
        Ok(blocks)
    }

    async fn send_full(&mut self) -> Result<(), ExportError> {
        if self.waiting.len() < BLOCK_BYTES {
            return Ok(());
        }
        let block = std::mem::replace(&mut self.waiting, Vec::with_capacity(BLOCK_BYTES));
        self.send(Piece::Data(block)).await
    }

    async fn end(&mut self) -> Result<(), ExportError> {
        let block = std::mem::take(&mut self.waiting);
        self.send(Piece::Data(block)).await
    }

    async fn send(&self, piece: Piece) -> Result<(), ExportError> {
        // The writer ends early only when it failed, and it returns the cause.
        let gone = |_| ExportError::Write(io::ErrorKind::BrokenPipe.into());
        self.pieces.send(piece).await.map_err(gone)
    }
}

fn record<T: AsRef<[u8]>>(cells: &[T], out: &mut Vec<u8>) -> io::Result<()> {
    let mut writer = csv::Writer::from_writer(out);
    writer.write_record(cells).map_err(io::Error::other)?;
    writer.flush()
}

/// A value as a CSV cell: text, nothing for null, JSON for the rest. Text that a spreadsheet would run as a formula
/// begins with an apostrophe, which makes it text there too; the JSON beside it has the text as it is.
fn cell(value: &Json) -> String {
    match value {
        Json::Null => String::new(),
        Json::String(text) => csv_text(text),
        Json::Array(_) | Json::Object(_) => csv_text(&value.to_string()),
        Json::Bool(_) | Json::Number(_) => value.to_string(),
    }
}

/// The artist's identifiers, read from an export: with them, a search works after the artist was erased.
///
/// # Errors
/// When the file is not an export.
pub fn identifiers_of_export(export: impl Read + Seek) -> io::Result<Identifiers> {
    let mut archive = ZipArchive::new(export)?;
    let mut identifiers = Identifiers::default();
    for (name, columns) in [("artists.jsonl", &["id"][..]), ("accounts.jsonl", &["id", "platform_id"][..])] {
        for line in io::BufReader::new(archive.by_name(name)?).lines() {
            let row: Json = serde_json::from_str(&line?)?;
            for text in columns.iter().filter_map(|column| row[*column].as_str()) {
                identifiers.add(text);
            }
            identifiers.add_settings(&row["settings"]);
        }
    }
    Ok(identifiers)
}

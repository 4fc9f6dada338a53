//! Everything about one artist as a zip: of each table one file of JSON lines and one of CSV, the documents, and a manifest with their hashes.
//!
//! It is written as it is read. Rows go through a channel of a few blocks to a thread that compresses and writes, so that memory does not
//! grow with what there is; the file may as well be a pipe.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, Read, Seek, Write};

use chrono::{DateTime, Datelike as _, Timelike as _, Utc};
use futures::StreamExt as _;
use serde::Serialize;
use serde_json::{Value as Json, json};
use sha2::Digest as _;
use tokio::sync::mpsc;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::pipeline::{Host, HostError};
use backline_model::ArtistId;
use backline_model::privacy::{ColumnKind, Holds, Identifiers, Rows, TABLES, Table, personal};
use backline_store::{Export, ExportedRow, Scope, exported};

/// Bytes of a block on its way to the file: few enough to be nothing, enough for a thread to be worth waking.
const BLOCK_BYTES: usize = 64 * 1024;

/// Blocks that may wait to be written.
const BLOCKS_WAITING: usize = 8;

/// The version of the manifest's form.
const MANIFEST_VERSION: u32 = 1;

/// What an export holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ExportReport {
    /// Rows, by table.
    pub rows: BTreeMap<String, u64>,
    /// Documents.
    pub documents: u64,
    /// The files, but for the manifest.
    pub files: Vec<ExportedFile>,
}

/// A file of an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExportedFile {
    /// Its name in the zip.
    pub name: String,
    /// Its size, in bytes.
    pub bytes: u64,
    /// In hex.
    pub sha256: String,
}

/// What the writing thread is told.
enum Piece {
    /// Another file begins.
    File(String),
    /// More of it.
    Data(Vec<u8>),
}

impl Host {
    /// Writes everything about an artist as a zip, as it was when this began. `progress` is told each table, and how many of its rows have
    /// been read. Secrets are not in it.
    ///
    /// # Errors
    /// [`HostError::NoArtist`]; when the database fails or the file can't be written, and what has been written is of no use then.
    pub async fn export(
        &self,
        artist: ArtistId,
        out: impl Write + Send + 'static,
        progress: &(dyn Fn(&str, u64) + Sync),
    ) -> Result<ExportReport, HostError> {
        if self.store().artist_get(&Scope::all_tenants(), artist).await?.is_none() {
            return Err(HostError::NoArtist(artist));
        }
        let now = self.clock().now();
        let mut export = self.store().export_begin(&Scope::all_tenants(), artist).await?;
        let (pieces, received) = mpsc::channel(BLOCKS_WAITING);
        let writing = tokio::task::spawn_blocking(move || write_files(out, received, now));
        let read = read_all(&mut export, &pieces, progress).await;
        drop(pieces);
        let written = writing.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        let mut report = match (read, written) {
            // The writer has said what is wrong, and whoever reads only that it has gone.
            (_, Err(error)) => return Err(HostError::Export(error)),
            (Err(error), Ok(_)) => return Err(error),
            (Ok(report), Ok(archive)) => {
                let finished = finish(archive, artist, now, report);
                finished.await.map_err(HostError::Export)?
            }
        };
        report.files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(report)
    }
}

/// A zip under way, with the files that are in it.
struct Archive<W: Write> {
    zip: ZipWriter<zip::write::StreamWriter<W>>,
    files: Vec<ExportedFile>,
}

/// Takes pieces as they come and writes them.
fn write_files<W: Write>(out: W, mut pieces: mpsc::Receiver<Piece>, now: DateTime<Utc>) -> io::Result<Archive<W>> {
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
    Ok(Archive { zip, files })
}

fn close(files: &mut [ExportedFile], hash: &mut sha2::Sha256) {
    let hash = std::mem::take(hash).finalize();
    if let Some(file) = files.last_mut() {
        file.sha256 = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    }
}

/// Writes the manifest, and the end.
async fn finish<W: Write + Send + 'static>(
    archive: Archive<W>,
    artist: ArtistId,
    now: DateTime<Utc>,
    report: ExportReport,
) -> io::Result<ExportReport> {
    let work = move || {
        let Archive { mut zip, files } = archive;
        let report = ExportReport { files, ..report };
        zip.start_file("manifest.json", options(now))?;
        serde_json::to_writer_pretty(&mut zip, &manifest(artist, now, &report))?;
        zip.finish()?.flush()?;
        Ok(report)
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
    json!({
        "what": "everything Backline keeps about one artist",
        "version": MANIFEST_VERSION,
        "artist_id": artist,
        "exported_at": now,
        "rows": report.rows,
        "documents": report.documents,
        "files": report.files,
        "columns_left_out": left_out,
        "tables_without_rows_about_artists": without,
    })
}

/// Reads everything, and hands it to the writer.
async fn read_all(
    export: &mut Export,
    pieces: &mpsc::Sender<Piece>,
    progress: &(dyn Fn(&str, u64) + Sync),
) -> Result<ExportReport, HostError> {
    let mut report = ExportReport::default();
    for (table, rows) in personal() {
        let mut lines = Blocks::begin(pieces, format!("{}.jsonl", table.name)).await?;
        let count = each_row(export, table, &rows, &mut lines, progress, |row, out| {
            serde_json::to_writer(&mut *out, &row)?;
            out.write_all(b"\n")
        })
        .await?;
        // Read twice, since the files of a zip come one after the other. It is the same moment's rows.
        let mut cells = Blocks::begin(pieces, format!("{}.csv", table.name)).await?;
        let header: Vec<&str> = exported(&rows).map(|(name, _)| name).collect();
        record(&header, &mut cells.waiting).map_err(HostError::Export)?;
        each_row(export, table, &rows, &mut cells, &|_, _| {}, |row, out| {
            record(&header.iter().map(|name| cell(&row[*name])).collect::<Vec<_>>(), out)
        })
        .await?;
        report.rows.insert(table.name.to_owned(), count);
    }
    let mut documents = export.documents();
    while let Some(document) = documents.next().await {
        let (id, body) = document?;
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
    table: &Table,
    rows: &Rows,
    blocks: &mut Blocks<'_>,
    progress: &(dyn Fn(&str, u64) + Sync),
    write: impl Fn(ExportedRow, &mut Vec<u8>) -> io::Result<()>,
) -> Result<u64, HostError> {
    let mut found = export.rows(table, rows);
    let mut count = 0;
    while let Some(row) = found.next().await {
        write(row?, &mut blocks.waiting).map_err(HostError::Export)?;
        blocks.send_full().await?;
        count += 1;
        progress(table.name, count);
    }
    drop(found);
    blocks.end().await?;
    Ok(count)
}

/// A file on its way, block by block.
struct Blocks<'a> {
    pieces: &'a mpsc::Sender<Piece>,
    waiting: Vec<u8>,
}

impl<'a> Blocks<'a> {
    async fn begin(pieces: &'a mpsc::Sender<Piece>, name: String) -> Result<Self, HostError> {
        let blocks = Self { pieces, waiting: Vec::with_capacity(BLOCK_BYTES) };
        blocks.send(Piece::File(name)).await?;
        Ok(blocks)
    }

    async fn send_full(&mut self) -> Result<(), HostError> {
        if self.waiting.len() < BLOCK_BYTES {
            return Ok(());
        }
        let block = std::mem::replace(&mut self.waiting, Vec::with_capacity(BLOCK_BYTES));
        self.send(Piece::Data(block)).await
    }

    async fn end(&mut self) -> Result<(), HostError> {
        let block = std::mem::take(&mut self.waiting);
        self.send(Piece::Data(block)).await
    }

    async fn send(&self, piece: Piece) -> Result<(), HostError> {
        // It has gone only where it failed, and says why.
        let gone = |_| HostError::Export(io::ErrorKind::BrokenPipe.into());
        self.pieces.send(piece).await.map_err(gone)
    }
}

fn record<T: AsRef<[u8]>>(cells: &[T], out: &mut Vec<u8>) -> io::Result<()> {
    let mut writer = csv::Writer::from_writer(out);
    writer.write_record(cells).map_err(io::Error::other)?;
    writer.flush()
}

/// A value as a cell: text as it is, nothing where there is none, and JSON for the rest.
fn cell(value: &Json) -> String {
    match value {
        Json::Null => String::new(),
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// What an artist is recognised by, as an export tells it: how a search can be made after the artist was erased.
///
/// # Errors
/// When it is no export.
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

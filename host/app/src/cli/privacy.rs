//! `backline privacy …`: everything about one artist handed over, erased, or looked for.

use std::fs::File;
use std::io::{self, BufRead as _, IsTerminal as _};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::context::Context;
use super::exit::{Exit, Failure, Outcome};
use super::print;
use crate::pipeline::{Host, identifiers_of_export};
use backline_model::ArtistId;
use backline_model::privacy::{Identifiers, Receipt};
use backline_store::{Scope, Sighting};

/// `backline privacy …`
#[derive(Subcommand)]
pub(super) enum Command {
    /// Write everything about an artist to a zip of JSON and CSV
    Export {
        /// The artist's id
        artist: ArtistId,
        /// The zip; - for standard output
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Erase an artist from every table, for good, and keep the artist out
    Erase {
        /// The artist's id
        artist: ArtistId,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// Look afterwards whether anything is left
        #[arg(long)]
        verify: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Look for an artist in every column of text of the database
    Verify {
        /// The artist's id
        artist: ArtistId,
        /// Something else the artist is recognised by, such as a platform's id; may be repeated
        #[arg(long, value_name = "TEXT")]
        identifier: Vec<String>,
        /// Take what the artist is recognised by from an export made before
        #[arg(long, value_name = "FILE")]
        from: Option<PathBuf>,
        /// Look into the stored documents of other artists too, which takes long
        #[arg(long)]
        documents: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Let an erased artist be imported and collected again, because the artist wants to
    Readmit {
        /// The artist's id
        artist: ArtistId,
    },
}

/// Runs the command.
pub(super) async fn run(context: &Context, command: Command) -> Outcome {
    let host = context.host().await?;
    match command {
        Command::Export { artist, out } => export(&host, artist, &out).await,
        Command::Erase { artist, yes, verify, json } => {
            if !yes {
                ask(&host, artist).await?;
            }
            erase(&host, artist, verify, json).await
        }
        Command::Verify { artist, identifier, from, documents, json } => {
            let mut identifiers = match from {
                Some(path) => read_identifiers(&path)?,
                None => Identifiers::default(),
            };
            identifier.iter().for_each(|text| identifiers.add(text));
            identifiers.join(host.identifiers_of(artist).await?);
            let found = search(&host, &identifiers, documents).await?;
            let hidden = host.hidden_tables().await?;
            if json {
                print::json(&json!({ "searched_for": identifiers.len(), "found": found, "not_searched": hidden }))?;
            } else {
                tell_found(&found, &hidden, &identifiers)?;
            }
            Ok(exit_of(&found))
        }
        Command::Readmit { artist } => {
            host.readmit(artist).await?;
            print::line(&format!(
                "artist {artist} may come back: import or add the artist again; nothing that was erased does"
            ))?;
            Ok(Exit::Done)
        }
    }
}

async fn export(host: &Host, artist: ArtistId, out: &Path) -> Outcome {
    let bar = spinner();
    let progress = |table: &str, rows: u64| bar.set_message(format!("{table}: {rows}"));
    let report = if out == Path::new("-") {
        if io::stdout().is_terminal() {
            return Err(Failure::usage(
                "a zip is no text for a terminal; name a file with --out, or send it on with a pipe",
            ));
        }
        host.export(artist, io::stdout(), &progress).await?
    } else {
        // Beside its final place, so that it is put there whole or not at all; only its owner can read it.
        let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let failed = |error: io::Error| Failure::usage(format!("{} can't be written: {error}", out.display()));
        if out.is_dir() {
            return Err(Failure::usage(format!("{} is a folder; name a file in it", out.display())));
        }
        let file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
        let report = host.export(artist, file.as_file().try_clone().map_err(failed)?, &progress).await?;
        file.as_file().sync_all().map_err(failed)?;
        file.persist(out).map_err(|error| failed(error.error))?;
        report
    };
    bar.finish_and_clear();
    let rows: u64 = report.rows.values().sum();
    print::note(&format!(
        "exported {} of {} and {}",
        print::count(rows, "row"),
        print::count(report.rows.len() as u64, "table"),
        print::count(report.documents, "document")
    ));
    Ok(Exit::Done)
}

async fn erase(host: &Host, artist: ArtistId, verify: bool, as_json: bool) -> Outcome {
    let erasure = host.erase(artist).await?;
    let identifiers =
        if erasure.erased_before { host.identifiers_of(artist).await? } else { erasure.identifiers.clone() };
    let found = if verify { Some(search(host, &identifiers, false).await?) } else { None };
    let hidden = if verify { host.hidden_tables().await? } else { Vec::new() };
    if as_json {
        print::json(&json!({
            "receipt": erasure.receipt, "erased_before": erasure.erased_before, "kept_tokens": erasure.kept_tokens, "found": found,
            "not_searched": hidden,
        }))?;
    } else {
        tell_receipt(&erasure.receipt, erasure.erased_before)?;
        if let Some(found) = &found {
            tell_found(found, &hidden, &identifiers)?;
        }
    }
    Ok(found.as_deref().map_or(Exit::Done, exit_of))
}

fn tell_receipt(receipt: &Receipt, before: bool) -> Result<(), Failure> {
    let subject = &receipt.artist_id_sha256;
    let at = print::time(receipt.finished_at);
    print::line(&if before {
        format!("erased already at {at}; the receipt of then, for {subject}:")
    } else {
        format!("erased at {at}; the receipt, for {subject}:")
    })?;
    let rows = receipt.rows.iter().filter(|(_, count)| **count > 0).map(|(name, count)| (name, "removed", count));
    let texts = receipt.texts.iter().map(|(name, count)| (name, "blanked", count));
    let cells: Vec<Vec<String>> =
        rows.chain(texts).map(|(name, what, count)| vec![name.clone(), what.to_owned(), count.to_string()]).collect();
    print::table(&["where", "what", ">rows"], cells)
}

fn tell_found(found: &[Sighting], hidden: &[String], identifiers: &Identifiers) -> Result<(), Failure> {
    if !hidden.is_empty() {
        print::note(&format!("not searched, since Backline's role may not read all of them: {}", hidden.join(", ")));
    }
    if found.is_empty() {
        return print::line(&format!("nothing was found of {}", print::count(identifiers.len() as u64, "identifier")));
    }
    let cells = |sighting: &Sighting| {
        vec![
            format!("{}.{}", sighting.table, sighting.column),
            sighting.rows.to_string(),
            if sighting.own { "Backline" } else { "others" }.to_owned(),
        ]
    };
    print::table(&["found in", ">rows", "table of"], found.iter().map(cells).collect())?;
    if found.iter().any(|sighting| !sighting.own) {
        print::note("tables of others in this database are theirs to mend; Backline never writes there");
    }
    Ok(())
}

/// Something left in a table of Backline's own is a failure.
fn exit_of(found: &[Sighting]) -> Exit {
    if found.iter().any(|sighting| sighting.own) { Exit::Failed } else { Exit::Done }
}

async fn search(host: &Host, identifiers: &Identifiers, documents: bool) -> Result<Vec<Sighting>, Failure> {
    let bar = spinner();
    let found = host.search(identifiers, documents, &|table| bar.set_message(format!("searching {table}"))).await?;
    bar.finish_and_clear();
    Ok(found)
}

fn read_identifiers(path: &Path) -> Result<Identifiers, Failure> {
    let wrong = |error: io::Error| {
        Failure::usage(format!(
            "{} is no export that can be read: {error}; make one with `backline privacy export`",
            path.display()
        ))
    };
    identifiers_of_export(File::open(path).map_err(wrong)?).map_err(wrong)
}

/// Asks the person at the terminal; refuses where nobody can answer.
async fn ask(host: &Host, artist: ArtistId) -> Result<(), Failure> {
    let Some(known) = host.store().artist_get(&Scope::all_tenants(), artist).await? else { return Ok(()) };
    if !io::stdin().is_terminal() {
        return Err(Failure::usage(
            "nothing was erased: nobody can be asked here; look at what is kept with `backline privacy export`, and erase it with --yes",
        ));
    }
    let name = backline_model::text::printable(&known.name);
    print::note(&format!(
        "everything about {name} ({artist}) will be erased, and nothing brings it back. Type 'erase' to go on:"
    ));
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    if answer.trim() == "erase" { Ok(()) } else { Err(Failure::usage("nothing was erased")) }
}

fn spinner() -> ProgressBar {
    let target = if io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(None, target);
    let style = ProgressStyle::with_template("{spinner} {msg}  {elapsed_precise}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar
}

//! `backline privacy …`: exports, erases and searches for the data of one artist.

use std::fs::File;
use std::io::{self, BufRead as _, IsTerminal as _};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::json;

use crate::cli::arguments::ids::Given;
use crate::cli::context::Context;
use crate::cli::terminal::exit::{CommandResult, Exit, Failure};
use crate::cli::terminal::output::{Access, Existing, Output, is_stdout};
use crate::cli::terminal::{print, progress};
use crate::pipeline::{Host, identifiers_of_export};
use backline_model::ArtistId;
use backline_model::privacy::{Identifiers, Receipt};
use backline_store::{Scope, Sighting, StoreError};

/// `backline privacy …`
#[derive(Subcommand)]
pub(in crate::cli) enum Command {
    /// Export all data about an artist to a zip of JSON and CSV
    Export {
        /// The artist: id, beginning of it, or name; of one that was erased, the whole id
        artist: Given<ArtistId>,
        /// File to write the zip to; - for standard output
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Replace the file if it exists
        #[arg(long)]
        force: bool,
        /// Print JSON; not with --out -
        #[arg(long)]
        json: bool,
    },
    /// Erase an artist from every table permanently, and refuse to import the artist again
    Erase {
        /// The artist: id, beginning of it, or name; of one that was erased, the whole id
        artist: Given<ArtistId>,
        /// Do not ask for confirmation
        #[arg(long)]
        yes: bool,
        /// Check afterwards that nothing is left
        #[arg(long)]
        verify: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Search every text column of the database for an artist
    Verify {
        /// The artist: id, beginning of it, or name; of one that was erased, the whole id
        artist: Given<ArtistId>,
        /// Another text to search for, such as the artist's id on a platform; may be repeated
        #[arg(long, value_name = "TEXT")]
        identifier: Vec<String>,
        /// Earlier export of the artist, to search for the identifiers in it
        #[arg(long, value_name = "FILE")]
        from: Option<PathBuf>,
        /// Also search the stored documents of other artists, which takes long
        #[arg(long)]
        documents: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Allow an erased artist to be imported and collected again, at the artist's wish
    Readmit {
        /// The artist: id, beginning of it, or name; of one that was erased, the whole id
        artist: Given<ArtistId>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command.
pub(in crate::cli) async fn run(context: &Context, command: Command) -> CommandResult {
    let host = context.host().await?;
    match command {
        Command::Export { artist, out, force, json } => {
            let artist = artist.find(host.store()).await?;
            export(&host, artist, &out, force, json).await
        }
        Command::Erase { artist, yes, verify, json } => {
            let artist = artist.find(host.store()).await?;
            if !yes {
                ask(&host, artist).await?;
            }
            erase(&host, artist, verify, json).await
        }
        Command::Verify { artist, identifier, from, documents, json } => {
            let artist = artist.find(host.store()).await?;
            let mut identifiers = match from {
                Some(path) => read_identifiers(&path)?,
                None => Identifiers::default(),
            };
            identifier.iter().for_each(|text| identifiers.add(text));
            identifiers.join(host.privacy().identifiers_of(artist).await?);
            let found = search(&host, &identifiers, documents).await?;
            let hidden = host.privacy().hidden_tables().await?;
            if json {
                print::json(&json!({ "searched_for": identifiers.len(), "found": found, "not_searched": hidden }))?;
            } else {
                print_found(&found, &hidden, &identifiers)?;
            }
            Ok(exit_of(&found))
        }
        Command::Readmit { artist, json } => {
            let artist = artist.find(host.store()).await?;
            host.privacy().readmit(artist).await?;
            let sentence = format!("artist {artist} can be added or imported again; erased data is not restored");
            print::done(json, &json!({ "artist_id": artist }), &sentence)?;
            Ok(Exit::Done)
        }
    }
}

async fn export(host: &Host, artist: ArtistId, out: &Path, force: bool, as_json: bool) -> CommandResult {
    if as_json && is_stdout(out) {
        return Err(Failure::usage("standard output can't be the export and JSON; name a file, or leave out --json"));
    }
    let output = Output::open(out, Access::Private, Existing::forced(force))?;
    output.expect_no_terminal()?;
    let bar = progress::spinner();
    let progress = |table: &str, rows: u64| bar.set_message(format!("{table}: {rows}"));
    let report = host.privacy().export(artist, output.writer()?, &progress).await?;
    output.finish()?;
    bar.finish_and_clear();
    let damaged = report.documents_damaged.len() as u64;
    // What is damaged in the database is missing in the file.
    let exit = if damaged > 0 { Exit::Partial } else { Exit::Done };
    if as_json {
        let mut shown = json!({ "file": out, "rows": report.rows, "documents": report.documents });
        if damaged > 0 {
            shown["documents_damaged"] = json!(report.documents_damaged);
        }
        print::json(&shown)?;
        return Ok(exit);
    }
    let rows: u64 = report.rows.values().sum();
    print::note(&format!(
        "exported {} of {} and {}",
        print::count(rows, "row"),
        print::count(report.rows.len() as u64, "table"),
        print::count(report.documents, "document")
    ));
    if damaged > 0 {
        let documents = print::count(damaged, "document");
        print::note(&format!("left out {documents} that the database holds damaged; the manifest names them"));
    }
    Ok(exit)
}

async fn erase(host: &Host, artist: ArtistId, verify: bool, as_json: bool) -> CommandResult {
    let erasure = host.privacy().erase(artist).await?;
    let identifiers =
        if erasure.erased_before { host.privacy().identifiers_of(artist).await? } else { erasure.identifiers.clone() };
    let found = if verify { Some(search(host, &identifiers, false).await?) } else { None };
    let hidden = if verify { host.privacy().hidden_tables().await? } else { Vec::new() };
    if as_json {
        print::json(&json!({
            "receipt": erasure.receipt,
            "erased_before": erasure.erased_before,
            "kept_tokens": erasure.kept_tokens,
            "may_leave_traces": erasure.may_leave_traces,
            "found": found,
            "not_searched": hidden,
        }))?;
    } else {
        print_receipt(&erasure.receipt, erasure.erased_before)?;
        if erasure.may_leave_traces {
            print::note(
                "parts of what was erased may be left in the free space of the database file; stop the other \
                         processes and erase again, or run `VACUUM` on a file of more than 256 MiB",
            );
        }
        if let Some(found) = &found {
            print_found(found, &hidden, &identifiers)?;
        }
    }
    Ok(found.as_deref().map_or(Exit::Done, exit_of))
}

fn print_receipt(receipt: &Receipt, before: bool) -> Result<(), Failure> {
    let subject = &receipt.artist_id_sha256;
    let at = print::time(receipt.finished_at);
    print::line(&if before {
        format!("was erased already, at {at}; the receipt of that erasure, for {subject}:")
    } else {
        format!("erased at {at}; the receipt, for {subject}:")
    })?;
    let rows = receipt.rows.iter().filter(|(_, count)| **count > 0).map(|(name, count)| (name, "removed", count));
    let texts = receipt.texts.iter().map(|(name, count)| (name, "blanked", count));
    let cells: Vec<Vec<String>> =
        rows.chain(texts).map(|(name, what, count)| vec![name.clone(), what.to_owned(), count.to_string()]).collect();
    print::table(&["where", "what", ">rows"], cells)
}

fn print_found(found: &[Sighting], hidden: &[String], identifiers: &Identifiers) -> Result<(), Failure> {
    if !hidden.is_empty() {
        print::note(&format!("not searched, since Backline's role can't read all of them: {}", hidden.join(", ")));
    }
    if found.is_empty() {
        let searched = print::count(identifiers.len() as u64, "identifier");
        return print::line(&format!("nothing was found; searched for {searched}"));
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
        print::note("Backline never writes to tables that are not its own; remove the data there yourself");
    }
    Ok(())
}

/// Data left in one of Backline's own tables is a failure.
fn exit_of(found: &[Sighting]) -> Exit {
    if found.iter().any(|sighting| sighting.own) { Exit::Failed } else { Exit::Done }
}

async fn search(host: &Host, identifiers: &Identifiers, documents: bool) -> Result<Vec<Sighting>, Failure> {
    let bar = progress::spinner();
    let found =
        host.privacy().search(identifiers, documents, &|table| bar.set_message(format!("searching {table}"))).await?;
    bar.finish_and_clear();
    Ok(found)
}

fn read_identifiers(path: &Path) -> Result<Identifiers, Failure> {
    let wrong = |error: io::Error| {
        Failure::usage(format!(
            "{} can't be read as an export: {error}; create one with `backline privacy export`",
            path.display()
        ))
    };
    identifiers_of_export(File::open(path).map_err(wrong)?).map_err(wrong)
}

/// Asks the user to confirm; refuses without a terminal.
async fn ask(host: &Host, artist: ArtistId) -> Result<(), Failure> {
    let name = match host.store().artist_get(&Scope::all_tenants(), artist).await {
        Ok(None) => return Ok(()),
        // It can be erased all the same.
        Err(StoreError::Unreadable { .. }) => "an artist whose row can't be read".to_owned(),
        known => known?.map(|known| backline_model::text::printable(&known.name)).unwrap_or_default(),
    };
    if !io::stdin().is_terminal() {
        return Err(Failure::usage(
            "nothing was erased: confirmation needs a terminal; see what is stored with `backline privacy export`, \
             and erase it with --yes",
        ));
    }
    print::note(&format!(
        "all data about {name} ({artist}) will be erased and can't be restored. Type 'erase' to continue:"
    ));
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    match answer.trim() {
        "erase" => Ok(()),
        _ => Err(Failure::usage("nothing was erased: the answer was not 'erase'")),
    }
}

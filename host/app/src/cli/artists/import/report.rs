//! What an import reports: counts, warnings, and the invalid rows with a file of them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value as Json;

use super::ImportOptions;
use super::checks::{Checks, Refused};
use crate::cli::terminal::exit::Failure;
use crate::cli::terminal::output::{self, Access, Existing};
use crate::cli::terminal::print;
use backline_model::text::one_line;
use backline_model::{AccountId, Platform};
use backline_rules::lists::Record;

/// Most invalid rows that are printed; all are counted, and `--skip-bad` writes all of them to a file.
const BAD_ROWS_SHOWN: usize = 20;

/// Most accounts that a check refused and that are printed.
const REFUSED_SHOWN: usize = 50;

/// An import never replaces the invalid rows of an earlier one: no other file may have them.
const EXISTING_BAD_ROWS: Existing = Existing::refused("name another file for invalid rows with --bad-rows");

/// The field that says what is wrong with a row of the file of invalid rows.
pub(super) const PROBLEM: &str = "problem";

/// Result of an import.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    pub rows: u64,
    pub bad: Vec<BadRow>,
    pub bad_rows_file: Option<PathBuf>,
    /// How many of them are in that file: those that were found before anything was written.
    #[serde(skip)]
    pub bad_rows_filed: u64,
    pub artists_added: u64,
    pub artists_changed: u64,
    pub accounts_added: u64,
    pub credentials_set: u64,
    pub credentials_kept: u64,
    /// Tokens of the file that could not be saved.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub credentials_refused: Vec<RefusedCredential>,
    pub consents_recorded: u64,
    pub erased_left_out: u64,
    pub warnings: Vec<String>,
    pub ignored_columns: BTreeSet<String>,
    pub dry_run: bool,
    /// What the platforms said, if they were asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checks: Option<Checks>,
    /// The accounts of the file, to ask the platforms about.
    #[serde(skip)]
    pub written: Vec<(Platform, AccountId, String)>,
}

/// A token that could not be saved.
#[derive(Debug, Serialize)]
pub(super) struct RefusedCredential {
    pub platform: Platform,
    pub slot: String,
    pub account: AccountId,
    /// Why, and what to do.
    pub problem: String,
}

/// A row that can't be imported.
#[derive(Debug, Serialize)]
pub(super) struct BadRow {
    /// Where it is in the file.
    pub place: String,
    /// The columns, their values, and what to do.
    pub problem: String,
}

/// Why nothing was imported, with the first invalid rows.
pub(super) fn refusal(path: &Path, report: &Report) -> Failure {
    let shown: Vec<String> = report
        .bad
        .iter()
        .take(BAD_ROWS_SHOWN)
        .map(|BadRow { place, problem }| one_line(&format!("{place}: {problem}")))
        .collect();
    let more = report.bad.len().saturating_sub(BAD_ROWS_SHOWN);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    Failure::usage(format!(
        "nothing was imported: {} of {} of {} can't be: {}{more}; fix them, or import the others with --skip-bad",
        report.bad.len(),
        print::count(report.rows, "row"),
        path.display(),
        shown.join("; ")
    ))
}

pub(super) fn print_report(report: &Report, options: &ImportOptions) -> Result<(), Failure> {
    if options.json {
        return print::json(report);
    }
    let good = report.rows - report.bad.len() as u64;
    if report.dry_run {
        print::line(&format!("{} could be imported; nothing was changed", print::count(good, "artist")))?;
    } else {
        print::line(&format!(
            "{}: {} added, {} changed; {} added, {} set, {} kept, {} recorded",
            print::count(good, "artist"),
            report.artists_added,
            report.artists_changed,
            print::count(report.accounts_added, "account"),
            print::count(report.credentials_set, "credential"),
            report.credentials_kept,
            print::count(report.consents_recorded, "consent")
        ))?;
    }
    if report.erased_left_out > 0 {
        print::note(&format!(
            "{} left out; `backline privacy readmit ARTIST` allows one to come back",
            print::count(report.erased_left_out, "erased artist")
        ));
    }
    for warning in &report.warnings {
        print::note(&format!("warning: {warning}"));
    }
    if !report.ignored_columns.is_empty() {
        let columns: Vec<_> = report.ignored_columns.iter().map(String::as_str).collect();
        print::note(&format!("left out as asked: {}", columns.join(", ")));
    }
    for BadRow { place, problem } in report.bad.iter().take(BAD_ROWS_SHOWN) {
        print::note(&one_line(&format!("not imported: {place}: {problem}")));
    }
    for RefusedCredential { platform, slot, account, problem } in report.credentials_refused.iter().take(REFUSED_SHOWN)
    {
        print::note(&one_line(&format!("not set: {platform}/{slot} of account {account}: {problem}")));
    }
    if report.credentials_refused.len() > REFUSED_SHOWN {
        print::note(&format!("and {} more; --json names all", report.credentials_refused.len() - REFUSED_SHOWN));
    }
    if let Some(Checks { passed, failed, not_asked }) = &report.checks {
        print::line(&format!(
            "{} passed the check of its platform; {} failed, {not_asked} not asked about",
            print::count(*passed, "account"),
            failed.len()
        ))?;
        for Refused { platform, platform_id, problem } in failed.iter().take(REFUSED_SHOWN) {
            print::note(&one_line(&format!("{platform} {platform_id}: {problem}")));
        }
        if failed.len() > REFUSED_SHOWN {
            print::note(&format!("and {} more; --json names all", failed.len() - REFUSED_SHOWN));
        }
    }
    if let Some(path) = &report.bad_rows_file {
        print::note(&format!(
            "{} written to {}; fix them and import that file",
            print::count(report.bad_rows_filed, "invalid row"),
            path.display()
        ));
    }
    Ok(())
}

/// Invalid rows, for a file that only its owner can read: they may hold tokens.
pub(super) struct BadRows {
    path: Option<PathBuf>,
    lines: String,
}

impl BadRows {
    pub(super) fn new(input: &Path, options: &ImportOptions) -> Result<Self, Failure> {
        if !options.skip_bad {
            return Ok(Self { path: None, lines: String::new() });
        }
        let beside = if input == Path::new("-") {
            PathBuf::from("artists.bad.ndjson")
        } else {
            input.with_extension("bad.ndjson")
        };
        let path = options.bad_rows.clone().unwrap_or(beside);
        if output::is_stdout(&path) {
            return Err(Failure::usage("standard output has the report; name a file for invalid rows with --bad-rows"));
        }
        output::check(&path, EXISTING_BAD_ROWS)?;
        Ok(Self { path: Some(path), lines: String::new() })
    }

    pub(super) fn add(&mut self, record: &Record, problem: &str) {
        if self.path.is_none() {
            return;
        }
        let mut object: serde_json::Map<String, Json> = match &record.fields {
            Ok(fields) => fields.iter().map(|(name, text)| (name.clone(), Json::from(text.as_str()))).collect(),
            Err(unreadable) => [("text".to_owned(), Json::from(unreadable.text.as_str()))].into_iter().collect(),
        };
        object.insert(PROBLEM.to_owned(), format!("{}: {problem}", record.place).into());
        self.lines.push_str(&Json::from(object).to_string());
        self.lines.push('\n');
    }

    pub(super) fn write(self) -> Result<Option<PathBuf>, Failure> {
        match self.path.filter(|_| !self.lines.is_empty()) {
            None => Ok(None),
            Some(path) => {
                output::write(&path, self.lines.as_bytes(), Access::Private, EXISTING_BAD_ROWS)?;
                Ok(Some(path))
            }
        }
    }
}

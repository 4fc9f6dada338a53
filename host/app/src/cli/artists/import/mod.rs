//! `backline artists import`: artists, accounts, consents and tokens from a file.
//!
//! The file is read twice. The first pass checks every row and writes nothing, so that one invalid row refuses the
//! whole file (or, with `--skip-bad`, goes to a file of invalid rows). The second pass writes in chunks, each
//! idempotent.

mod checks;
mod report;
mod row;
mod write;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use report::{BadRow, BadRows, Report, print_report, refusal};
use row::{ImportedArtist, RowFault, Warning};

use crate::cli::context::Context;
use crate::cli::terminal::exit::{CommandResult, Exit, Failure};
use crate::cli::terminal::print;
use crate::pipeline::Host;
use backline_gateway::secrets::Secret;
use backline_model::account_rule::{Gives, column_name};
use backline_model::manifest::Owner;
use backline_model::{ArtistId, Platform};
use backline_rules::lists::{self, ColumnRole, Directory, Format, ListError, Record, Shape};

/// Accounts of several artists that the report names.
const SHARED_SHOWN: usize = 5;

/// Options of an import.
pub(super) struct ImportOptions {
    /// Import the valid rows although there are invalid ones.
    pub skip_bad: bool,
    /// File for invalid rows; derived from the input's name unless given.
    pub bad_rows: Option<PathBuf>,
    /// Columns to leave out.
    pub ignored_columns: Vec<String>,
    /// Record consent for the imported accounts.
    pub consent: bool,
    /// Replace stored tokens, which may be fresher than those in the file.
    pub replace_credentials: bool,
    /// Ask the platforms once about each imported account.
    pub check: bool,
    /// Check the file and change nothing.
    pub dry_run: bool,
    /// Print the report as JSON.
    pub json: bool,
}

/// What rows are read by.
struct Reading {
    directory: Directory,
    /// Schemas of the platforms' settings.
    schemas: BTreeMap<Platform, jsonschema::Validator>,
    ignored: BTreeSet<String>,
}

impl Reading {
    fn of(directory: Directory, ignored: BTreeSet<String>) -> Self {
        let schema = |platform: &Platform| {
            let listed = directory.platform(platform.as_str())?;
            // A schema that is not valid can't refuse anything; `accounts set` names it.
            Some((platform.clone(), jsonschema::validator_for(&listed.manifest.settings).ok()?))
        };
        let schemas = directory.platforms().filter_map(schema).collect();
        Self { directory, schemas, ignored }
    }
}

/// Result of the first pass.
struct Survey {
    reading: Arc<Reading>,
    report: Report,
    warnings: BTreeMap<Warning, u64>,
    seen: HashMap<ArtistId, String>,
    /// Platform and id → the first artist, to notice an account of two.
    accounts: HashMap<(Platform, String), ArtistId>,
    /// Accounts that are listed for several artists.
    shared: BTreeSet<(Platform, String)>,
    /// Whether the file has tokens, which need a key.
    has_secrets: bool,
}

impl Survey {
    fn of(reading: Arc<Reading>) -> Self {
        Self {
            reading,
            report: Report::default(),
            warnings: BTreeMap::new(),
            seen: HashMap::new(),
            accounts: HashMap::new(),
            shared: BTreeSet::new(),
            has_secrets: false,
        }
    }

    /// Checks a record and interprets it.
    fn take(&mut self, record: &Record) -> Result<ImportedArtist, String> {
        self.report.rows += 1;
        let mut fields = record.fields.clone().map_err(|unreadable| unreadable.problem)?;
        fields.retain(|name, _| !self.reading.ignored.contains(name));
        let imported = row::interpret(&fields, &self.reading.directory).map_err(|faults| worded(&faults))?;
        if let Some(first) = self.seen.get(&imported.artist.id) {
            return Err(format!("id: {} is also in {first}; keep one of the rows", imported.artist.id));
        }
        self.check(&imported, &fields).map_err(|faults| worded(&faults))?;
        self.seen.insert(imported.artist.id, record.place.clone());
        for account in &imported.accounts {
            self.has_secrets |= !account.credentials.is_empty();
            let key = (account.platform.clone(), account.platform_id.clone());
            // An account that its own secret names may be anyone's.
            let is_named = account.credentials.is_empty();
            if is_named && self.accounts.insert(key.clone(), imported.artist.id).is_some() {
                self.shared.insert(key);
            }
        }
        for warning in &imported.warnings {
            *self.warnings.entry(warning.clone()).or_default() += 1;
        }
        Ok(imported)
    }

    /// Checks secrets by the kinds of their slots, and settings by their schemas.
    fn check(&self, imported: &ImportedArtist, fields: &BTreeMap<String, String>) -> Result<(), Vec<RowFault>> {
        let mut faults = Vec::new();
        for account in &imported.accounts {
            let Some(listed) = self.reading.directory.platform(account.platform.as_str()) else { continue };
            for given in &account.credentials {
                let Some(slot) = listed.manifest.slot(&given.slot) else { continue };
                if let Err(error) = Secret::parse(slot.kind, Owner::Account, given.secret.expose()) {
                    let problem = format!("the {} token can't be used: {error}", account.platform);
                    faults.push(RowFault { column: given.column.clone(), problem });
                }
            }
            let has_settings = account.settings.as_object().is_some_and(|settings| !settings.is_empty());
            let schema = self.reading.schemas.get(&account.platform).filter(|_| has_settings);
            let Some(error) = schema.and_then(|schema| schema.iter_errors(&account.settings).next()) else { continue };
            let path = error.instance_path().to_string();
            let setting = path.split('/').nth(1).unwrap_or_default();
            let column = fields.keys().find(|column| {
                let found = self.reading.directory.column(column);
                matches!(found, ColumnRole::Column { gives: Gives::Setting(name), .. } if name == setting)
            });
            let hint = listed.manifest.settings["properties"][setting]["description"].as_str();
            let hint = hint.map_or(String::new(), |hint| format!("; {setting}: {hint}"));
            let problem = format!("{error}{hint}");
            faults.push(RowFault { column: column.cloned().unwrap_or_else(|| "settings".to_owned()), problem });
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    /// Refuses columns that no connector names, and ignored ones that the file does not have.
    fn expect_columns(&self, shape: &Shape, used: &BTreeSet<String>) -> Result<(), Failure> {
        if let Some(missing) = self.reading.ignored.iter().find(|name| !shape.columns.contains(*name)) {
            let columns: Vec<&str> = shape.columns.iter().map(String::as_str).collect();
            return Err(Failure::usage(format!(
                "nothing was imported: the file has no column '{missing}' to ignore; it has {}",
                columns.join(", ")
            )));
        }
        let directory = &self.reading.directory;
        let mut unknown = Vec::new();
        // The file of invalid rows is imported again once they are correct.
        let is_from_bad_rows = |name: &str| shape.format == Format::JsonLines && name == report::PROBLEM;
        let known =
            |name: &str| row::COLUMNS.contains(&name) || self.reading.ignored.contains(name) || is_from_bad_rows(name);
        for name in used.iter().filter(|name| !known(name.as_str())) {
            let shown = backline_model::cell::shown(name);
            match directory.column(name) {
                ColumnRole::Column { .. } => {}
                ColumnRole::Ambiguous(platforms) => {
                    let platforms: Vec<&str> = platforms.iter().map(|platform| platform.as_str()).collect();
                    return Err(Failure::usage(format!(
                        "nothing was imported: the connectors of {} all name the column '{shown}'; rename it to one \
                         that only one of them names",
                        platforms.join(" and ")
                    )));
                }
                ColumnRole::Unknown(nearest) => unknown.push((shown, nearest)),
            }
        }
        if unknown.is_empty() {
            return Ok(());
        }
        let named: Vec<String> = unknown
            .iter()
            .map(|(name, nearest)| match nearest {
                Some(nearest) => format!("'{name}' (is '{nearest}' meant?)"),
                None => format!("'{name}'"),
            })
            .collect();
        let options: Vec<String> = unknown.iter().map(|(name, _)| format!("--ignore-column '{name}'")).collect();
        Err(Failure::usage(format!(
            "nothing was imported: no installed connector names the {} {}; install the connector it belongs to, \
             correct the name, or leave it out with {}",
            if named.len() == 1 { "column" } else { "columns" },
            named.join(", "),
            options.join(" ")
        )))
    }

    /// The report with its warnings.
    fn reported(self) -> (Report, usize) {
        let mut report = self.report;
        let of = |(warning, count): (&Warning, &u64)| format!("{} {}", print::count(*count, "artist"), warning.text());
        report.warnings = self.warnings.iter().map(of).collect();
        if !self.shared.is_empty() {
            let shown: Vec<String> =
                self.shared.iter().take(SHARED_SHOWN).map(|(platform, id)| format!("{platform} {id}")).collect();
            let more = if self.shared.len() > SHARED_SHOWN { ", …" } else { "" };
            report.warnings.push(format!(
                "{} listed for more than one artist: {}{more}",
                print::count(self.shared.len() as u64, "account"),
                shown.join(", ")
            ));
        }
        (report, self.seen.len())
    }
}

/// Faults as one text.
fn worded(faults: &[RowFault]) -> String {
    let texts: Vec<String> = faults.iter().map(|fault| format!("{}: {}", fault.column, fault.problem)).collect();
    texts.join(", and ")
}

/// Runs the command.
pub(super) async fn run(context: &Context, path: &Path, options: &ImportOptions) -> CommandResult {
    let host = context.host().await?;
    let input = Input::open(path)?;
    let mut bad = BadRows::new(path, options)?;
    let ignored: BTreeSet<String> = options.ignored_columns.iter().map(|name| column_name(name)).collect();
    if let Some(needed) = ignored.iter().find(|name| ["id", "name"].contains(&name.as_str())) {
        return Err(Failure::usage(format!("the column '{needed}' can't be ignored: it identifies the artist")));
    }
    let directory = Directory::of_releases(&host.store().releases_list().await?);
    let reading = Arc::new(Reading::of(directory, ignored));
    let mut survey = Survey::of(Arc::clone(&reading));
    let mut used = BTreeSet::new();
    let shape = input.read(&mut |mut record| {
        if let Ok(fields) = &mut record.fields {
            fields.retain(|name, _| !reading.ignored.contains(name));
        }
        for name in record.fields.iter().flat_map(BTreeMap::keys) {
            if !used.contains(name) {
                used.insert(name.clone());
            }
        }
        if let Err(problem) = survey.take(&record) {
            bad.add(&record, &problem);
            survey.report.bad.push(BadRow { place: record.place, problem });
        }
    })?;
    survey.expect_columns(&shape, &used)?;
    let has_secrets = survey.has_secrets;
    let (mut report, artists) = survey.reported();
    report.ignored_columns.clone_from(&reading.ignored);
    report.dry_run = options.dry_run;
    if !report.bad.is_empty() && !options.skip_bad {
        return Err(refusal(path, &report));
    }
    expect_key(&host, has_secrets)?;
    if !options.dry_run {
        report.bad_rows_file = bad.write()?;
        report.bad_rows_filed = report.bad.len() as u64;
        write::all(context, &host, &input, reading, options, &mut report, artists as u64).await?;
        if options.check {
            report.checks = Some(checks::run(&host, std::mem::take(&mut report.written)).await?);
        }
    }
    print_report(&report, options)?;
    let is_refused = report.checks.as_ref().is_some_and(|checks| !checks.failed.is_empty());
    let is_refused = is_refused || !report.credentials_refused.is_empty();
    Ok(if report.bad.is_empty() && !is_refused { Exit::Done } else { Exit::Partial })
}

/// Refuses tokens without a key to encrypt them with.
fn expect_key(host: &Host, has_secrets: bool) -> Result<(), Failure> {
    if has_secrets && host.config().secrets.keyring()?.is_none() {
        return Err(Failure::usage(
            "nothing was imported: the file has tokens, and no key to encrypt them is set; \
             run `backline keys generate --file backline.key` and set secrets.key_file",
        ));
    }
    Ok(())
}

/// The file, which can be read more than once: standard input is copied to a temporary file.
struct Input {
    path: PathBuf,
    _kept: Option<tempfile::NamedTempFile>,
}

impl Input {
    fn open(path: &Path) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| Failure::usage(format!("{} can't be read: {error}", path.display()));
        if path != Path::new("-") {
            if path.is_dir() {
                return Err(Failure::usage(format!("{} is a folder; name the file in it", path.display())));
            }
            File::open(path).map_err(failed)?;
            return Ok(Self { path: path.to_path_buf(), _kept: None });
        }
        let mut kept = tempfile::NamedTempFile::new().map_err(failed)?;
        std::io::copy(&mut std::io::stdin().lock(), kept.as_file_mut()).map_err(failed)?;
        Ok(Self { path: kept.path().to_path_buf(), _kept: Some(kept) })
    }

    fn reopen(&self) -> Result<File, Failure> {
        File::open(&self.path)
            .map_err(|error| Failure::usage(format!("{} can't be read: {error}", self.path.display())))
    }

    fn read(&self, each: &mut dyn FnMut(Record)) -> Result<Shape, Failure> {
        lists::read(self.reopen()?, each)
            .map_err(|error: ListError| Failure::refused(&error).about(&self.path.display().to_string()))
    }
}

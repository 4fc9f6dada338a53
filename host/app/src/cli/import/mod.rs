//! `backline artists import`: artists, accounts, consents and tokens from a file.
//!
//! The file is read twice. The first pass checks every row and writes nothing, so that one invalid row refuses the
//! whole file (or, with `--skip-bad`, goes to a file of invalid rows). The second pass writes in chunks, each
//! idempotent.

mod records;
mod row;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use serde_json::{Value as Json, json};

use records::Record;
use row::{ImportedArtist, Warning};

use super::context::Context;
use super::exit::{Exit, Failure, Outcome};
use super::output::{Access, Existing};
use super::{output, print};
use crate::pipeline::Host;
use backline_gateway::secrets::{Secret, SecretText};
use backline_model::manifest::{CredentialKind, Owner};
use backline_model::{Account, AccountId, AccountStatus, Artist, ArtistId, Consent, Platform, Provenance};
use backline_store::{COLLECTING_SCOPE, Scope, Store};

/// Artists per transaction: bounds memory and how long writers block each other.
const CHUNK: usize = 1_000;

/// Most invalid rows that are printed; all are counted, and `--skip-bad` writes all of them to a file.
const BAD_ROWS_SHOWN: usize = 20;

/// An import never replaces the invalid rows of an earlier one: no other file may have them.
const EXISTING_BAD_ROWS: Existing = Existing::Refuse("name another file for invalid rows with --bad-rows");

/// Options of an import.
pub(super) struct ImportOptions {
    /// Import the valid rows although there are invalid ones.
    pub skip_bad: bool,
    /// File for invalid rows; derived from the input's name unless given.
    pub bad_rows: Option<PathBuf>,
    /// Record consent for the imported accounts.
    pub consent: bool,
    /// Replace stored tokens, which may be fresher than those in the file.
    pub replace_credentials: bool,
    /// Check the file and change nothing.
    pub dry_run: bool,
    /// Print the report as JSON.
    pub json: bool,
}

/// Result of an import.
#[derive(Debug, Default, Serialize)]
struct Report {
    rows: u64,
    bad: Vec<BadRow>,
    bad_rows_file: Option<PathBuf>,
    artists_added: u64,
    artists_changed: u64,
    accounts_added: u64,
    credentials_set: u64,
    credentials_kept: u64,
    consents_recorded: u64,
    erased_left_out: u64,
    warnings: Vec<String>,
    ignored_columns: BTreeSet<String>,
    dry_run: bool,
}

/// A row that can't be imported.
#[derive(Debug, Serialize)]
struct BadRow {
    place: String,
    problem: String,
}

/// Result of the first pass.
#[derive(Default)]
struct Survey {
    report: Report,
    warnings: BTreeMap<Warning, u64>,
    seen: HashMap<ArtistId, String>,
    /// Platforms whose connectors must be installed, since tokens are encrypted for their slots.
    platforms_with_credentials: BTreeSet<&'static str>,
    /// The slots of the installed connectors that belong to accounts.
    slots: Arc<AccountSlots>,
}

/// Platform and slot → the kind of secret in that slot.
type AccountSlots = HashMap<(String, String), CredentialKind>;

/// The slots of the active connectors that belong to accounts.
async fn account_slots(store: &Store) -> Result<AccountSlots, Failure> {
    let releases = store.releases_list().await?;
    let slots = releases.iter().filter(|release| release.active).flat_map(|release| {
        let of_accounts = release.manifest.credentials.iter().filter(|slot| slot.owner == Owner::Account);
        of_accounts.map(|slot| ((release.platform().to_string(), slot.slot.clone()), slot.kind))
    });
    Ok(slots.collect())
}

impl Survey {
    /// Checks a record and interprets it.
    fn take(&mut self, record: &Record) -> Result<ImportedArtist, String> {
        self.report.rows += 1;
        let fields = record.fields.as_ref().map_err(|unreadable| unreadable.problem.clone())?;
        let unknown = fields.keys().filter(|name| !row::COLUMNS.contains(&name.as_str()));
        self.report.ignored_columns.extend(unknown.cloned());
        let imported = row::interpret(fields)?;
        if let Some(first) = self.seen.get(&imported.artist.id) {
            return Err(format!("the id {} is also in {first}", imported.artist.id));
        }
        self.seen.insert(imported.artist.id, record.place.clone());
        for account in &imported.accounts {
            let Some((slot, secret)) = &account.credential else { continue };
            // A platform without a connector is refused once for the whole file, not for each row.
            if let Some(kind) = self.slots.get(&(account.platform.to_owned(), (*slot).to_owned())) {
                let problem = |error| format!("the {} token can't be used: {error}", account.platform);
                Secret::parse(*kind, Owner::Account, secret.expose()).map_err(problem)?;
            }
        }
        for warning in &imported.warnings {
            *self.warnings.entry(*warning).or_default() += 1;
        }
        self.platforms_with_credentials.extend(
            imported.accounts.iter().filter(|account| account.credential.is_some()).map(|account| account.platform),
        );
        Ok(imported)
    }
}

/// Runs the command.
pub(super) async fn run(context: &Context, path: &Path, options: &ImportOptions) -> Outcome {
    let host = context.host().await?;
    let input = Input::open(path)?;
    let mut bad = BadRows::new(path, options)?;
    let slots = Arc::new(account_slots(host.store()).await?);
    let mut survey = Survey { slots: Arc::clone(&slots), ..Survey::default() };
    input.read(&mut |record| {
        if let Err(problem) = survey.take(&record) {
            bad.add(&record, &problem);
            survey.report.bad.push(BadRow { place: record.place, problem });
        }
    })?;
    let Survey { mut report, warnings, seen, platforms_with_credentials, .. } = survey;
    report.warnings = warnings
        .iter()
        .map(|(warning, count)| format!("{} {}", print::count(*count, "artist"), warning.text()))
        .collect();
    report.dry_run = options.dry_run;
    if !report.bad.is_empty() && !options.skip_bad {
        return Err(refusal(path, &report));
    }
    expect_connectors(&host, &platforms_with_credentials, &slots).await?;
    if !options.dry_run {
        report.bad_rows_file = bad.write()?;
        let bar = progress_bar(seen.len() as u64);
        write_all(context, &host, &input, slots, options, &mut report, &bar).await?;
        bar.finish_and_clear();
    }
    print_report(&report, options)?;
    Ok(Exit::Done)
}

/// Why nothing was imported, with the first invalid rows.
fn refusal(path: &Path, report: &Report) -> Failure {
    let shown: Vec<String> =
        report.bad.iter().take(BAD_ROWS_SHOWN).map(|BadRow { place, problem }| format!("{place}: {problem}")).collect();
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

/// Refuses tokens for platforms without a connector: there is no slot to encrypt them for.
async fn expect_connectors(
    host: &Host,
    platforms: &BTreeSet<&'static str>,
    slots: &AccountSlots,
) -> Result<(), Failure> {
    for name in platforms {
        let platform = platform_of(name)?;
        if host.store().active_release_get(&platform).await?.is_none() {
            return Err(Failure::usage(format!(
                "nothing was imported: the file has tokens for {name}, and no connector for it is installed; \
                 install one with `backline plugins install` first"
            )));
        }
        if !slots.contains_key(&((*name).to_owned(), row::SLOT.to_owned())) {
            return Err(Failure::usage(format!(
                "nothing was imported: the file has tokens for {name}, and its connector has no account slot '{}'; \
                 see `backline plugins inspect`",
                row::SLOT
            )));
        }
    }
    if !platforms.is_empty() && host.config().secrets.keyring()?.is_none() {
        return Err(Failure::usage(
            "nothing was imported: the file has tokens, and no key to encrypt them is set; \
             run `backline keys generate --file backline.key` and set secrets.key_file",
        ));
    }
    Ok(())
}

fn platform_of(name: &str) -> Result<Platform, Failure> {
    Platform::new(name).map_err(|error| Failure::failed(error.to_string()))
}

/// The second pass: writes the artists in chunks.
async fn write_all(
    context: &Context,
    host: &Host,
    input: &Input,
    slots: Arc<AccountSlots>,
    options: &ImportOptions,
    report: &mut Report,
    bar: &ProgressBar,
) -> Result<(), Failure> {
    let (sender, mut receiver) = tokio::sync::mpsc::channel::<Vec<ImportedArtist>>(2);
    let file = input.reopen()?;
    // Reading blocks, so it has a thread; the channel's bound keeps at most a few chunks in memory.
    let reader = tokio::task::spawn_blocking(move || {
        let mut survey = Survey { slots, ..Survey::default() };
        let mut chunk = Vec::new();
        let mut open = true;
        let read = records::read(file, &mut |record| {
            // The first pass has reported an invalid row.
            let Ok(imported) = survey.take(&record) else { return };
            chunk.push(imported);
            if chunk.len() == CHUNK && open {
                open = sender.blocking_send(std::mem::take(&mut chunk)).is_ok();
            }
        });
        if open && !chunk.is_empty() {
            let _ = sender.blocking_send(chunk);
        }
        read
    });
    while let Some(chunk) = receiver.recv().await {
        let artists = chunk.len() as u64;
        write_chunk(context, host, chunk, options, report).await?;
        bar.inc(artists);
    }
    match reader.await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(Failure::failed(format!(
            "the file changed while it was imported: {error}; import it again, which adds nothing twice"
        ))),
        Err(error) => Err(Failure::failed(format!("failed to read the file: {error}"))),
    }
}

/// A token of the file and the account it belongs to.
struct AccountSecret {
    account: AccountId,
    status: AccountStatus,
    secret: SecretText,
}

async fn write_chunk(
    context: &Context,
    host: &Host,
    mut chunk: Vec<ImportedArtist>,
    options: &ImportOptions,
    report: &mut Report,
) -> Result<(), Failure> {
    let (store, now) = (host.store(), context.clock.now());
    let ids: Vec<ArtistId> = chunk.iter().map(|imported| imported.artist.id).collect();
    let erased = store.erased_artists_of(&ids).await?;
    report.erased_left_out += erased.len() as u64;
    chunk.retain(|imported| !erased.contains(&imported.artist.id));
    let artists: Vec<Artist> = chunk.iter().map(|imported| imported.artist.clone()).collect();
    let saved = store.artists_save_from(&Scope::all_tenants(), Provenance::Import, &artists, now).await?;
    report.artists_added += saved.inserted;
    report.artists_changed += saved.updated;
    let all_new = saved.inserted == artists.len() as u64;

    // Existing accounts keep their id and status; only values from the file are written.
    let mut known: HashMap<(ArtistId, String, String), Account> = HashMap::new();
    if !all_new {
        let ids: Vec<ArtistId> = artists.iter().map(|artist| artist.id).collect();
        for account in store.accounts_of(&Scope::all_tenants(), &ids).await? {
            known.insert((account.artist_id, account.platform.to_string(), account.platform_id.clone()), account);
        }
    }
    let mut accounts = Vec::new();
    let mut secrets: BTreeMap<(Platform, &'static str), Vec<AccountSecret>> = BTreeMap::new();
    for ImportedArtist { artist, accounts: imported, .. } in chunk {
        for account in imported {
            let existing = known.get(&(artist.id, account.platform.to_owned(), account.platform_id.clone()));
            let platform = platform_of(account.platform)?;
            let id = existing
                .map_or_else(|| AccountId::of(artist.id, &platform, &account.platform_id), |existing| existing.id);
            let status = existing.map_or(AccountStatus::Active, |existing| existing.status);
            if let Some((slot, secret)) = account.credential {
                secrets.entry((platform.clone(), slot)).or_default().push(AccountSecret {
                    account: id,
                    status,
                    secret,
                });
            }
            if let Some(existing) = existing.filter(|_| account.settings == json!({})) {
                accounts.push(existing.clone());
                continue;
            }
            accounts.push(Account {
                id,
                artist_id: artist.id,
                platform,
                platform_id: account.platform_id,
                settings: account.settings,
                status,
            });
        }
    }
    report.accounts_added +=
        store.accounts_save_from(&Scope::all_tenants(), Provenance::Import, &accounts, now).await?.inserted;
    if options.consent {
        report.consents_recorded += record_consents(store, &accounts, all_new, now).await?;
    }
    for ((platform, slot), secrets) in secrets {
        let accounts: Vec<AccountId> = secrets.iter().map(|secret| secret.account).collect();
        let stored = if all_new {
            Vec::new()
        } else {
            store.credentials_of(&Scope::all_tenants(), &platform, &accounts).await?
        };
        let stored: HashSet<AccountId> =
            stored.iter().filter(|stored| stored.slot == slot).filter_map(|stored| stored.account_id).collect();
        let mut wanted = Vec::new();
        for AccountSecret { account, status, secret } in secrets {
            // A stored token may be fresher than the file's, unless the platform has rejected it.
            let keep = !options.replace_credentials && status != AccountStatus::ReconnectNeeded;
            if keep && stored.contains(&account) {
                report.credentials_kept += 1;
            } else {
                wanted.push((account, secret));
            }
        }
        host.credentials().set_many(&platform, slot, &wanted).await?;
        report.credentials_set += wanted.len() as u64;
    }
    Ok(())
}

/// Records consent where none is recorded: an import does not override a withdrawal.
async fn record_consents(
    store: &Store,
    accounts: &[Account],
    all_new: bool,
    now: chrono::DateTime<chrono::Utc>,
) -> Result<u64, Failure> {
    let mut on_record: HashSet<(ArtistId, Platform)> = HashSet::new();
    if !all_new {
        let artists: BTreeSet<ArtistId> = accounts.iter().map(|account| account.artist_id).collect();
        let artists: Vec<ArtistId> = artists.into_iter().collect();
        let latest = store.latest_consents_of(&Scope::all_tenants(), &artists).await?;
        on_record.extend(
            latest
                .into_iter()
                .filter(|consent| consent.scope == COLLECTING_SCOPE)
                .map(|consent| (consent.artist_id, consent.platform)),
        );
    }
    let consents: Vec<Consent> = accounts
        .iter()
        .filter(|account| on_record.insert((account.artist_id, account.platform.clone())))
        .map(|account| Consent {
            artist_id: account.artist_id,
            platform: account.platform.clone(),
            granted: true,
            scope: COLLECTING_SCOPE.to_owned(),
            source: "import".to_owned(),
            recorded_at: now,
        })
        .collect();
    store.consents_record(&Scope::all_tenants(), &consents).await?;
    Ok(consents.len() as u64)
}

fn print_report(report: &Report, options: &ImportOptions) -> Result<(), Failure> {
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
        print::note(&format!("warning: unknown columns were ignored: {}", columns.join(", ")));
    }
    for BadRow { place, problem } in report.bad.iter().take(BAD_ROWS_SHOWN) {
        print::note(&format!("not imported: {place}: {problem}"));
    }
    if let Some(path) = &report.bad_rows_file {
        print::note(&format!(
            "{} written to {}; fix them and import that file",
            print::count(report.bad.len() as u64, "invalid row"),
            path.display()
        ));
    }
    Ok(())
}

fn progress_bar(rows: u64) -> ProgressBar {
    let target =
        if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(rows), target);
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} artists  {elapsed_precise}, {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
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

    fn read(&self, each: &mut dyn FnMut(Record)) -> Result<(), Failure> {
        records::read(self.reopen()?, each)
            .map(|_| ())
            .map_err(|error| Failure::refused(&error).about(&self.path.display().to_string()))
    }
}

/// Invalid rows, for a file that only its owner can read: they may hold tokens.
struct BadRows {
    path: Option<PathBuf>,
    lines: String,
}

impl BadRows {
    fn new(input: &Path, options: &ImportOptions) -> Result<Self, Failure> {
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

    fn add(&mut self, record: &Record, problem: &str) {
        if self.path.is_none() {
            return;
        }
        let mut object: serde_json::Map<String, Json> = match &record.fields {
            Ok(fields) => fields.iter().map(|(name, text)| (name.clone(), Json::from(text.as_str()))).collect(),
            Err(unreadable) => [("text".to_owned(), Json::from(unreadable.text.as_str()))].into_iter().collect(),
        };
        object.insert("problem".to_owned(), format!("{}: {problem}", record.place).into());
        self.lines.push_str(&Json::from(object).to_string());
        self.lines.push('\n');
    }

    fn write(self) -> Result<Option<PathBuf>, Failure> {
        match self.path.filter(|_| !self.lines.is_empty()) {
            None => Ok(None),
            Some(path) => {
                output::write(&path, self.lines.as_bytes(), Access::Private, EXISTING_BAD_ROWS)?;
                Ok(Some(path))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "018f4e6a-7c1d-7b3a-9c55-3f1d2a4b5c6d";

    fn survey(text: &str) -> (Survey, u64) {
        let (mut survey, mut good) = (Survey::default(), 0);
        records::read(text.as_bytes(), &mut |record| match survey.take(&record) {
            Ok(_) => good += 1,
            Err(problem) => survey.report.bad.push(BadRow { place: record.place, problem }),
        })
        .unwrap_or_else(|error| panic!("{error}"));
        (survey, good)
    }

    #[test]
    fn the_same_id_twice_is_a_bad_row_that_names_the_first() {
        let (survey, good) = survey(&format!("id,name\n{ID},Ada\n{ID},Bo\n"));
        assert_eq!(good, 1);
        assert_eq!(
            (survey.report.bad[0].place.as_str(), survey.report.bad[0].problem.as_str()),
            ("line 3", format!("the id {ID} is also in line 2").as_str())
        );
    }

    #[test]
    fn unknown_columns_are_named() {
        let (survey, _) = survey(&format!("id,name,email\n{ID},Ada,x@y\n"));
        assert_eq!(survey.report.ignored_columns.into_iter().collect::<Vec<_>>(), ["email"]);
    }

    #[test]
    fn a_refusal_names_the_rows_and_the_way_out() {
        let (survey, _) = survey("id,name\n7,Ada\n");
        let failure = refusal(Path::new("a.csv"), &survey.report);
        assert_eq!(failure.exit, Exit::Usage);
        assert!(
            failure
                .message
                .starts_with("nothing was imported: 1 of 1 row of a.csv can't be: line 2: id: '7' is not a UUID"),
            "{}",
            failure.message
        );
        assert!(failure.message.ends_with("with --skip-bad"), "{}", failure.message);
    }

    proptest! {
        #[test]
            fn every_row_is_good_or_reported(
            rows in prop::collection::vec(("[a-f0-9-]{0,36}", "[ -~]{0,9}", any::<bool>()), 0..30)
        ) {
            let mut writer = csv::Writer::from_writer(Vec::new());
            writer.write_record(["id", "name", "data_collection_enabled"]).expect("written");
            for (index, (id, name, valid)) in rows.iter().enumerate() {
                let id = if *valid { format!("018f4e6a-7c1d-7b3a-9c55-{index:012}") } else { id.clone() };
                writer.write_record([id.as_str(), name, "true"]).expect("written");
            }
            let text = String::from_utf8(writer.into_inner().expect("flushed")).expect("text");
            let (survey, good) = survey(&text);
            prop_assert_eq!(survey.report.rows, rows.len() as u64);
            prop_assert_eq!(good + survey.report.bad.len() as u64, rows.len() as u64);
        }
    }
}

//! `artists sync`: keeps artists and accounts in sync with the operator's own table.
//!
//! The store reads, [`roster`] decides. The source is read once, page by page, and all changes are known before the
//! first one is made: a source that looks broken changes nothing.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::StreamExt as _;
use serde::Serialize;

use crate::config::Config;
use crate::pipeline::context::ServiceContext;
use crate::pipeline::credentials::journal::Journal;
use crate::pipeline::error::{Classified, ErrorClass};
use crate::pipeline::options::store_options;
use crate::pipeline::watchdog::{Heartbeat, TurnEnd, TurnFailure};
use backline_model::clock::Clock;
use backline_model::roster::{RosterChanges, SourceArtist};
use backline_model::{ArtistId, Platform};
use backline_rules::lists::Directory;
use backline_rules::roster::{self, BadRow, ColumnError, Columns};
use backline_store::{ForeignRow, ForeignSource, Scope, Store, StoreError, Term, is_own_table};

/// The table that the default query reads.
const TABLE: &str = "artists";

/// Rows compared at once, and artists changed in one transaction.
const PAGE: usize = 1_000;

/// How often to check whether a sync is due. A changed configuration or a new leader is noticed within this time.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Wait after a sync that ended because a database was away: the next one reads the whole table again.
const AWAY_WAIT: Duration = Duration::from_secs(10);

/// Statements between two signs of life of a sync, at most: a row or a page of them is read, compared, or written, and
/// each statement has a limit. Together a table of millions of rows takes longer.
const STATEMENTS_PER_BEAT: u32 = 8;

/// The role whose holder syncs for all hosts.
const ROLE: &str = "scheduler";

/// Why nothing was synced.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The source failed: another database, or the operator's query or table in this one.
    #[error(transparent)]
    Source(StoreError),
    /// The query's columns are not usable.
    #[error("nothing was synced: {0}; see sync.query")]
    Columns(#[from] ColumnError),
    /// The default query would read Backline's own table.
    #[error(
        "nothing was synced: the table artists is Backline's own; set sync.query to a query of your platform's table, \
         and sync.url if it is in another database"
    )]
    OwnTable,
    /// The default table does not exist.
    #[error("nothing was synced: there is no table artists; set sync.query to a query of your platform's table")]
    NoTable,
    /// More would be switched off than is plausible.
    #[error(
        "nothing was synced: {going} of {of} {what} would be switched off, since the source ({rows} rows) no longer \
         has them; check sync.query, see the changes with --dry-run, and allow them with --allow-removals"
    )]
    Removals {
        /// How many would be switched off.
        going: u64,
        /// How many a sync has added.
        of: u64,
        /// Artists, or accounts of a platform.
        what: String,
        /// Rows of the source.
        rows: u64,
    },
}

impl Classified for SyncError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Store(error) | Self::Source(error) => error.class(),
            Self::Columns(_) | Self::OwnTable | Self::NoTable | Self::Removals { .. } => ErrorClass::Refused,
        }
    }
}

/// Options of a sync.
#[derive(Clone, Copy, Debug, Default)]
pub struct SyncRequest {
    /// Change nothing.
    pub dry_run: bool,
    /// Switch off everything that the source no longer has, however much it is.
    pub allow_removals: bool,
}

/// What a sync found and did.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SyncReport {
    /// Rows of the source.
    pub rows: u64,
    /// Rows and cells that can't be used. Their artists and accounts stay unchanged.
    pub bad: Vec<BadRow>,
    /// Artists that are new.
    pub artists_added: u64,
    /// Artists that have changed.
    pub artists_changed: u64,
    /// Artists that are no longer collected.
    pub artists_removed: u64,
    /// Accounts that are new.
    pub accounts_added: u64,
    /// Accounts that were switched on again.
    pub accounts_restored: u64,
    /// Accounts that were switched off.
    pub accounts_removed: u64,
    /// Consents recorded.
    pub consents_granted: u64,
    /// Withdrawals recorded.
    pub consents_withdrawn: u64,
    /// Artists of the source that are erased here. They stay erased until `backline privacy readmit`.
    pub erased_left_out: u64,
    /// Consents of the source that were withdrawn here. They stay withdrawn.
    pub withdrawals_kept: u64,
    /// Whether the source has columns for consent; if not, none is recorded.
    pub speaks_of_consent: bool,
    /// The query that was run.
    pub query: String,
    /// Whether nothing was written.
    pub dry_run: bool,
    /// What would be changed; only if nothing was written.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<SyncDifference>,
}

/// One change that would be made.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SyncDifference {
    /// `add`, `change`, `remove` and `restore`, of an artist or an account; `grant` and `withdraw` of a consent.
    pub what: &'static str,
    /// The artist's or account's id.
    pub id: String,
    /// Name of the artist, platform and platform id of the account, or platform of the consent.
    pub about: String,
}

/// The changes that a source asks for.
#[derive(Default)]
struct Survey {
    report: SyncReport,
    pages: Vec<RosterChanges>,
    /// The artists of the source, with the numbers of their rows.
    seen: HashMap<ArtistId, u64>,
}

/// What a sync is done under by the host that leads.
struct Lead<'a> {
    term: &'a Term,
    heartbeat: &'a Heartbeat,
}

/// Keeps artists and accounts in sync with another table. Cloning shares it.
#[derive(Clone)]
pub struct ArtistSync {
    config: Arc<Config>,
    clock: Clock,
    store: Store,
    journal: Journal,
}

impl ArtistSync {
    pub(in crate::pipeline) fn new(config: Arc<Config>, clock: Clock, store: Store, journal: Journal) -> Self {
        Self { config, clock, store, journal }
    }

    /// Syncs artists and accounts with the configured table.
    ///
    /// # Errors
    /// When the source can't be read or looks broken. Nothing is changed then.
    pub async fn sync(&self, request: SyncRequest) -> Result<SyncReport, SyncError> {
        self.sync_in(None, request).await
    }

    /// The same, for as long as this host holds the term, if one is given.
    async fn sync_in(&self, lead: Option<&Lead<'_>>, request: SyncRequest) -> Result<SyncReport, SyncError> {
        let mut survey = self.survey(lead).await?;
        self.beat(lead);
        let synced = self.store.synced_artists_list(&Scope::all_tenants()).await?;
        let gone: Vec<ArtistId> = synced.iter().filter(|id| !survey.seen.contains_key(*id)).copied().collect();
        if !request.allow_removals {
            self.expect_plausible(&survey, gone.len() as u64, synced.len() as u64).await?;
        }
        survey.pages.extend(
            gone.chunks(PAGE).map(|gone| RosterChanges { artists_removed: gone.to_vec(), ..RosterChanges::default() }),
        );
        let Survey { mut report, pages, seen } = survey;
        let now = self.clock.now();
        report.dry_run = request.dry_run;
        for changes in &pages {
            self.beat(lead);
            if request.dry_run {
                count(&mut report, changes);
                report.differences.extend(differences(changes));
                continue;
            }
            match self.apply(lead, changes, now).await {
                Ok(()) => count(&mut report, changes),
                // Nothing was changed: each artist is tried by itself.
                Err(error) if error.refused_artist().is_some() => {
                    for part in changes.by_artist() {
                        self.beat(lead);
                        match self.apply(lead, &part, now).await {
                            Ok(()) => count(&mut report, &part),
                            Err(error) => {
                                let bad = refused_row(&error, &part, &seen);
                                report.bad.push(bad.ok_or(error)?);
                            }
                        }
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(report)
    }

    /// Tells that the sync goes on, where a loop is watched.
    fn beat(&self, lead: Option<&Lead<'_>>) {
        if let Some(lead) = lead {
            lead.heartbeat.work(self.step_max());
        }
    }

    /// Longest time between two signs of life.
    fn step_max(&self) -> Duration {
        let limits = store_options(&self.config.database).limits;
        // One of them may read a page of the source, which has more time.
        limits.statement.saturating_mul(STATEMENTS_PER_BEAT).saturating_add(limits.source_page())
    }

    async fn apply(
        &self,
        lead: Option<&Lead<'_>>,
        changes: &RosterChanges,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        let (all, source) = (Scope::all_tenants(), roster::CONSENT_SOURCE);
        let removed = match lead {
            Some(lead) => self.store.roster_apply_in_term(&all, lead.term, changes, source, now).await?,
            None => self.store.roster_apply(&all, changes, source, now).await?,
        };
        if !removed.is_empty() {
            self.journal.remove(&removed).await;
        }
        Ok(())
    }

    /// Reads the whole source and compares it with the database.
    async fn survey(&self, lead: Option<&Lead<'_>>) -> Result<Survey, SyncError> {
        let sync = &self.config.sync;
        let url = sync.url.as_ref().unwrap_or(&self.config.database.url);
        let directory = Directory::of_releases(&self.store.releases_list().await?);
        let limits = store_options(&self.config.database).limits;
        let mut source = ForeignSource::open(url, limits).await.map_err(SyncError::Source)?;
        let query = match &sync.query {
            Some(query) => query.clone(),
            None => {
                let columns = source.table_columns(TABLE).await.map_err(SyncError::Source)?;
                if columns.is_empty() {
                    return Err(SyncError::NoTable);
                }
                if is_own_table(&columns) {
                    return Err(SyncError::OwnTable);
                }
                roster::default_query(TABLE, &columns, &directory)?
            }
        };
        let names = source.query_columns(&query).await.map_err(SyncError::Source)?;
        let columns = Columns::of(&names, &directory)?;
        let mut survey = Survey::default();
        survey.report.speaks_of_consent = columns.speaks_of_consent();
        let mut rows = source.rows(&query, &names);
        let mut page = Vec::with_capacity(PAGE);
        while let Some(row) = rows.next().await {
            self.beat(lead);
            if let Some(artist) = survey.take(&columns, &row.map_err(SyncError::Source)?) {
                page.push(artist);
            }
            if page.len() == PAGE {
                self.compare(&mut survey, &page).await?;
                page.clear();
            }
        }
        drop(rows);
        source.close().await.map_err(SyncError::Source)?;
        self.compare(&mut survey, &page).await?;
        survey.report.query = query;
        Ok(survey)
    }

    async fn compare(&self, survey: &mut Survey, page: &[SourceArtist]) -> Result<(), StoreError> {
        let ids: Vec<ArtistId> = page.iter().map(|artist| artist.id).collect();
        let erased = self.store.erased_artists_of(&ids).await?;
        survey.report.erased_left_out += erased.len() as u64;
        let page: Vec<SourceArtist> = page.iter().filter(|artist| !erased.contains(&artist.id)).cloned().collect();
        let known = self.store.known_artists_of(&Scope::all_tenants(), &ids).await?;
        let changes = roster::difference(&known, &page);
        if changes != RosterChanges::default() {
            survey.pages.push(changes);
        }
        Ok(())
    }

    /// Refuses a source that would switch off more than is plausible.
    async fn expect_plausible(&self, survey: &Survey, gone: u64, of: u64) -> Result<(), SyncError> {
        let rows = survey.report.rows;
        if !roster::is_plausible(gone, of, rows) {
            return Err(SyncError::Removals { going: gone, of, what: "artists".to_owned(), rows });
        }
        let mut removed: BTreeMap<&Platform, u64> = BTreeMap::new();
        for (_, platform) in survey.pages.iter().flat_map(|page| &page.accounts_removed) {
            *removed.entry(platform).or_default() += 1;
        }
        let synced = self.store.synced_accounts_count(&Scope::all_tenants()).await?;
        for (platform, going) in removed {
            let of = synced.get(platform).copied().unwrap_or_default();
            if !roster::is_plausible(going, of, rows) {
                return Err(SyncError::Removals { going, of, what: format!("{platform} accounts"), rows });
            }
        }
        Ok(())
    }
}

impl Survey {
    /// Reads a row. What can't be used of it is reported and stays unchanged.
    fn take(&mut self, columns: &Columns, row: &ForeignRow) -> Option<SourceArtist> {
        self.report.rows += 1;
        if let Some(column) = &row.not_text {
            let id = row.fields.get("id").and_then(serde_json::Value::as_str);
            // It is there, whatever of it can't be read.
            let parsed = id.and_then(|id| id.trim().parse::<ArtistId>().ok());
            self.seen.extend(parsed.map(|id| (id, self.report.rows)));
            self.report.bad.push(BadRow {
                row: self.report.rows,
                id: id.map(backline_model::cell::shown),
                column: column.clone(),
                problem: "it is not UTF-8 text; correct it in the source".to_owned(),
            });
            return None;
        }
        match columns.read(self.report.rows, &row.fields) {
            Ok((artist, bad)) if !self.seen.contains_key(&artist.id) => {
                self.seen.insert(artist.id, self.report.rows);
                self.report.bad.extend(bad);
                Some(artist)
            }
            Ok((artist, _)) => {
                self.report.bad.push(BadRow {
                    row: self.report.rows,
                    id: Some(artist.id.to_string()),
                    column: "id".to_owned(),
                    problem: "it is in an earlier row already; write one row for each artist".to_owned(),
                });
                None
            }
            Err(bad) => {
                let parsed = bad.id.as_ref().and_then(|id| id.parse::<ArtistId>().ok());
                self.seen.extend(parsed.map(|id| (id, self.report.rows)));
                self.report.bad.push(bad);
                None
            }
        }
    }
}

/// The row of an artist that the database refuses, where it is one.
fn refused_row(error: &StoreError, part: &RosterChanges, seen: &HashMap<ArtistId, u64>) -> Option<BadRow> {
    let problem = error.refused_artist()?;
    let (column, problem) = problem.split_once(' ')?;
    let artist = part.artists_added.first().or(part.artists_changed.first())?;
    Some(BadRow {
        row: seen.get(&artist.id).copied()?,
        id: Some(artist.id.to_string()),
        column: column.to_owned(),
        problem: format!("it {problem}"),
    })
}

fn count(report: &mut SyncReport, changes: &RosterChanges) {
    report.artists_added += changes.artists_added.len() as u64;
    report.artists_changed += changes.artists_changed.len() as u64;
    report.artists_removed += changes.artists_removed.len() as u64;
    report.accounts_added += changes.accounts_added.len() as u64;
    report.accounts_restored += changes.accounts_restored.len() as u64;
    report.accounts_removed += changes.accounts_removed.len() as u64;
    let granted = changes.consents.iter().filter(|(_, _, granted)| *granted).count() as u64;
    report.consents_granted += granted;
    report.consents_withdrawn += changes.consents.len() as u64 - granted;
    report.withdrawals_kept += changes.withdrawals_kept;
}

fn differences(changes: &RosterChanges) -> Vec<SyncDifference> {
    let of = |what, id: String, about: String| SyncDifference { what, id, about };
    let mut all = Vec::new();
    for (what, artists) in [("add artist", &changes.artists_added), ("change artist", &changes.artists_changed)] {
        all.extend(artists.iter().map(|artist| of(what, artist.id.to_string(), artist.name.clone())));
    }
    all.extend(changes.artists_removed.iter().map(|id| of("remove artist", id.to_string(), String::new())));
    all.extend(changes.accounts_added.iter().map(|account| {
        of("add account", account.id.to_string(), format!("{} {}", account.platform, account.platform_id))
    }));
    all.extend(changes.accounts_restored.iter().map(|id| of("restore account", id.to_string(), String::new())));
    let removed = changes.accounts_removed.iter();
    all.extend(removed.map(|(id, platform)| of("remove account", id.to_string(), platform.to_string())));
    all.extend(changes.consents.iter().map(|(artist, platform, granted)| {
        of(if *granted { "grant consent" } else { "withdraw consent" }, artist.to_string(), platform.to_string())
    }));
    all
}

/// Syncs at the configured interval, on the host that leads.
pub(in crate::pipeline) async fn serve(context: ServiceContext<ArtistSync>) {
    let mut last: Option<DateTime<Utc>> = None;
    while !context.stop.is_cancelled() {
        let artists = context.current();
        let now = artists.clock.now();
        let due = artists.config.sync.every_s.is_some_and(|every_s| {
            let every = chrono::TimeDelta::try_seconds(i64::try_from(every_s).unwrap_or(i64::MAX));
            // A clock that was ahead at the last one has been set back since.
            last.is_none_or(|last| now < last || every.is_some_and(|every| now - last >= every))
        });
        let (mut end, mut rest) = (TurnEnd::Skipped, LOOK_EVERY);
        if due {
            context.heartbeat.work(artists.step_max());
            end = TurnEnd::Good;
            match sync_if_leading(&artists, &context.name, &context.heartbeat).await {
                Ok(true) => last = Some(now),
                Ok(false) => {}
                Err(error) => {
                    // What the source is why for, the log says: it is outside the host.
                    if let SyncError::Store(error) = &error {
                        end = TurnEnd::Failed(TurnFailure::of(error));
                    }
                    // After a short outage of a database, the next sync does not wait for a whole interval.
                    if matches!(&error, SyncError::Store(error) | SyncError::Source(error) if error.is_outage()) {
                        rest = AWAY_WAIT;
                    } else {
                        last = Some(now);
                    }
                    let error: &dyn std::error::Error = &error;
                    tracing::error!(error, "artists were not synced");
                }
            }
        }
        context.rest(end, rest).await;
    }
}

async fn sync_if_leading(artists: &ArtistSync, name: &str, heartbeat: &Heartbeat) -> Result<bool, SyncError> {
    let now = artists.clock.now();
    let leader = artists.store.role_get(ROLE).await?;
    let Some(term) = leader.filter(|term| term.holder == name && term.expires_at > now) else { return Ok(false) };
    let lead = Lead { term: &term, heartbeat };
    let report = match artists.sync_in(Some(&lead), SyncRequest::default()).await {
        // What it wrote until then stays; the host that has the role now reads the source by itself.
        Err(SyncError::Store(StoreError::TermLost { .. })) => return Ok(false),
        report => report?,
    };
    let SyncReport { rows, artists_added, artists_changed, artists_removed, .. } = report;
    let erased_left_out = report.erased_left_out;
    tracing::info!(rows, artists_added, artists_changed, artists_removed, erased_left_out, "artists were synced");
    for bad in report.bad.iter().take(PAGE) {
        tracing::warn!(row = bad.row, id = bad.id, column = bad.column, problem = bad.problem, "a row can't be used");
    }
    Ok(true)
}

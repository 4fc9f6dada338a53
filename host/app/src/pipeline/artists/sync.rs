//! `artists sync`: keeps artists and accounts in step with the artist platform's own table.
//!
//! Reading is the store's, deciding is [`roster`]'s. The source is read once, page by page, and everything that has to change
//! is known before anything is changed: a source that looks broken changes nothing.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::StreamExt as _;
use serde::Serialize;

use crate::pipeline::service::ServiceContext;
use crate::pipeline::{Host, HostError};
use backline_model::roster::{RosterChanges, SourceArtist};
use backline_model::{ArtistId, Platform};
use backline_rules::roster::{self, BadRow, ColumnError, Columns};
use backline_store::{ForeignSource, Scope, StoreError, is_own_table};

/// The table that the default query reads.
const TABLE: &str = "artists";

/// The platforms of the first-party connectors, which may be named before they are installed.
const PLATFORMS: [&str; 5] = ["youtube", "spotify", "instagram", "tiktok", "apple_music"];

/// Rows compared at once, and artists changed in one transaction.
const PAGE: usize = 1_000;

/// How often it is looked whether a sync is due: by then a changed configuration or a new leader is noticed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The role whose holder syncs for all hosts.
const ROLE: &str = "scheduler";

/// Why nothing was synced.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The query's columns.
    #[error("nothing was synced: {0}; see sync.query")]
    Columns(#[from] ColumnError),
    /// The default query would read Backline's own table.
    #[error(
        "nothing was synced: the table artists there is Backline's own; set sync.query to a query of your platform's table, and sync.url where it lies in another database"
    )]
    OwnTable,
    /// There is no such table.
    #[error("nothing was synced: there is no table artists; set sync.query to a query of your platform's table")]
    NoTable,
    /// More would vanish than is likely to be meant.
    #[error(
        "nothing was synced: {going} of {of} {what} would be switched off, since the source ({rows} rows) has them no more; check sync.query, look with --dry-run, and allow it with --allow-removals"
    )]
    Removals {
        /// How many would be.
        going: u64,
        /// Of how many that a sync made known.
        of: u64,
        /// Artists, or accounts of a platform.
        what: String,
        /// What the source has.
        rows: u64,
    },
}

/// How a sync is to go.
#[derive(Clone, Copy, Debug, Default)]
pub struct SyncRequest {
    /// Change nothing.
    pub dry_run: bool,
    /// Switch off however many the source has no more.
    pub allow_removals: bool,
}

/// What a sync found and did.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SyncReport {
    /// Rows of the source.
    pub rows: u64,
    /// Those that can't be followed; what they are about stays as it is.
    pub bad: Vec<BadRow>,
    /// Artists that are new.
    pub artists_added: u64,
    /// Artists that have changed.
    pub artists_changed: u64,
    /// Artists that are collected no more.
    pub artists_removed: u64,
    /// Accounts that are new.
    pub accounts_added: u64,
    /// Accounts that are back.
    pub accounts_restored: u64,
    /// Accounts that were switched off.
    pub accounts_removed: u64,
    /// Consents put on record.
    pub consents_granted: u64,
    /// Withdrawals put on record.
    pub consents_withdrawn: u64,
    /// Artists of the source that were erased here; they stay so until `backline privacy readmit`.
    pub erased_left_out: u64,
    /// Consents of the source that were withdrawn here, which stand withdrawn.
    pub withdrawals_kept: u64,
    /// Whether the source speaks about consent; if not, none is recorded.
    pub speaks_of_consent: bool,
    /// What was read.
    pub query: String,
    /// Whether nothing was written.
    pub dry_run: bool,
    /// What would be done, by artist; only where nothing was written.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<Difference>,
}

/// What would be done to one artist or account.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// `add`, `change`, `remove` and `restore`, of an artist or an account; `grant` and `withdraw` of a consent.
    pub what: &'static str,
    /// The artist's or account's id.
    pub id: String,
    /// Name, platform and platform id, or platform.
    pub about: String,
}

/// What a source amounts to.
#[derive(Default)]
struct Survey {
    report: SyncReport,
    pages: Vec<RosterChanges>,
    seen: HashSet<ArtistId>,
}

impl Host {
    /// Brings artists and accounts into step with the configured table.
    ///
    /// # Errors
    /// When the source can't be read or looks broken; nothing is changed then.
    pub async fn sync_artists(&self, request: SyncRequest) -> Result<SyncReport, HostError> {
        let mut survey = self.survey().await?;
        let synced = self.store().synced_artists_list(&Scope::all_tenants()).await?;
        let gone: Vec<ArtistId> = synced.iter().filter(|id| !survey.seen.contains(id)).copied().collect();
        if !request.allow_removals {
            self.expect_plausible(&survey, gone.len() as u64, synced.len() as u64).await?;
        }
        survey.pages.extend(
            gone.chunks(PAGE).map(|gone| RosterChanges { artists_removed: gone.to_vec(), ..RosterChanges::default() }),
        );
        let Survey { mut report, pages, .. } = survey;
        let now = self.clock().now();
        report.dry_run = request.dry_run;
        for changes in &pages {
            count(&mut report, changes);
            if request.dry_run {
                report.differences.extend(differences(changes));
            } else if !changes.is_empty() {
                let removed =
                    self.store().roster_apply(&Scope::all_tenants(), changes, roster::CONSENT_SOURCE, now).await?;
                if !removed.is_empty() {
                    self.credentials().journal.remove(&removed).await;
                }
            }
        }
        Ok(report)
    }

    /// Reads the whole source, and compares.
    async fn survey(&self) -> Result<Survey, HostError> {
        let sync = &self.config().sync;
        let url = sync.url.as_ref().unwrap_or(&self.config().database.url);
        let platforms = self.platforms().await?;
        let mut source = ForeignSource::open(url).await?;
        let query = match &sync.query {
            Some(query) => query.clone(),
            None => {
                let columns = source.table_columns(TABLE).await?;
                if columns.is_empty() {
                    return Err(SyncError::NoTable.into());
                }
                if is_own_table(&columns) {
                    return Err(SyncError::OwnTable.into());
                }
                roster::default_query(TABLE, &columns, &platforms).map_err(SyncError::from)?
            }
        };
        let names = source.query_columns(&query).await?;
        let columns = Columns::of(&names, &platforms).map_err(SyncError::from)?;
        let mut survey = Survey::default();
        survey.report.speaks_of_consent = columns.speaks_of_consent();
        let mut rows = source.rows(&query, &names);
        let mut page = Vec::with_capacity(PAGE);
        while let Some(row) = rows.next().await {
            if let Some(artist) = survey.take(&columns, &row?) {
                page.push(artist);
            }
            if page.len() == PAGE {
                self.compare(&mut survey, &page).await?;
                page.clear();
            }
        }
        drop(rows);
        source.close().await?;
        self.compare(&mut survey, &page).await?;
        survey.report.query = query;
        Ok(survey)
    }

    async fn compare(&self, survey: &mut Survey, page: &[SourceArtist]) -> Result<(), StoreError> {
        let ids: Vec<ArtistId> = page.iter().map(|artist| artist.id).collect();
        let erased = self.store().erased_artists_of(&ids).await?;
        survey.report.erased_left_out += erased.len() as u64;
        let page: Vec<SourceArtist> = page.iter().filter(|artist| !erased.contains(&artist.id)).cloned().collect();
        let known = self.store().known_artists_of(&Scope::all_tenants(), &ids).await?;
        let changes = roster::difference(&known, &page);
        if changes != RosterChanges::default() {
            survey.pages.push(changes);
        }
        Ok(())
    }

    /// The platforms that a column may name: those that connectors were installed for, and the first-party ones.
    async fn platforms(&self) -> Result<BTreeSet<Platform>, StoreError> {
        let releases = self.store().releases_list().await?;
        let installed = releases.iter().map(|release| release.platform().clone());
        Ok(installed.chain(PLATFORMS.iter().filter_map(|name| Platform::new(*name).ok())).collect())
    }

    /// Refuses a source after which more would be switched off than is likely to be meant.
    async fn expect_plausible(&self, survey: &Survey, gone: u64, of: u64) -> Result<(), HostError> {
        let rows = survey.report.rows;
        if !roster::is_plausible(gone, of, rows) {
            return Err(SyncError::Removals { going: gone, of, what: "artists".to_owned(), rows }.into());
        }
        let mut removed: BTreeMap<&Platform, u64> = BTreeMap::new();
        for (_, platform) in survey.pages.iter().flat_map(|page| &page.accounts_removed) {
            *removed.entry(platform).or_default() += 1;
        }
        let synced = self.store().synced_accounts_count(&Scope::all_tenants()).await?;
        for (platform, going) in removed {
            let of = synced.get(platform).copied().unwrap_or_default();
            if !roster::is_plausible(going, of, rows) {
                return Err(SyncError::Removals { going, of, what: format!("{platform} accounts"), rows }.into());
            }
        }
        Ok(())
    }
}

impl Survey {
    /// Reads a row; one that can't be followed is written down, and its artist stays as it is.
    fn take(&mut self, columns: &Columns, row: &serde_json::Map<String, serde_json::Value>) -> Option<SourceArtist> {
        self.report.rows += 1;
        match columns.read(self.report.rows, row) {
            Ok(artist) if self.seen.insert(artist.id) => Some(artist),
            Ok(artist) => {
                self.report.bad.push(BadRow {
                    row: self.report.rows,
                    id: Some(artist.id.to_string()),
                    column: "id".to_owned(),
                    problem: "it stands in an earlier row already; one row an artist".to_owned(),
                });
                None
            }
            Err(bad) => {
                self.seen.extend(bad.id.as_ref().and_then(|id| id.parse::<ArtistId>().ok()));
                self.report.bad.push(bad);
                None
            }
        }
    }
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

fn differences(changes: &RosterChanges) -> Vec<Difference> {
    let of = |what, id: String, about: String| Difference { what, id, about };
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

/// Syncs in the configured interval, on the one host that leads.
pub(in crate::pipeline) async fn serve(context: ServiceContext) {
    let mut last: Option<DateTime<Utc>> = None;
    while !context.stop.is_cancelled() {
        let host = context.host();
        let now = host.clock().now();
        let due = host.config().sync.every_s.is_some_and(|every_s| {
            let every = chrono::TimeDelta::try_seconds(i64::try_from(every_s).unwrap_or(i64::MAX));
            last.is_none_or(|last| every.is_some_and(|every| now - last >= every))
        });
        if due {
            match sync_if_leading(&host, &context.name).await {
                Ok(true) => last = Some(now),
                Ok(false) => {}
                Err(error) => {
                    last = Some(now);
                    let error: &dyn std::error::Error = &error;
                    tracing::error!(error, "artists were not synced");
                }
            }
        }
        context.rest(LOOK_EVERY).await;
    }
}

async fn sync_if_leading(host: &Host, name: &str) -> Result<bool, HostError> {
    let now = host.clock().now();
    let leader = host.store().role_get(ROLE).await?;
    if !leader.is_some_and(|term| term.holder == name && term.expires_at > now) {
        return Ok(false);
    }
    let report = host.sync_artists(SyncRequest::default()).await?;
    let SyncReport { rows, artists_added, artists_changed, artists_removed, .. } = report;
    let erased_left_out = report.erased_left_out;
    tracing::info!(rows, artists_added, artists_changed, artists_removed, erased_left_out, "artists are in step");
    for bad in report.bad.iter().take(PAGE) {
        tracing::warn!(
            row = bad.row,
            id = bad.id,
            column = bad.column,
            problem = bad.problem,
            "a row can't be followed"
        );
    }
    Ok(true)
}

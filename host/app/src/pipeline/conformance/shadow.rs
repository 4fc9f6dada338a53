//! Compares a release's results with what is stored, and checks whether it reaches accounts. Stores nothing.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use crate::config::Config;
use crate::pipeline::collection::budgets;
use crate::pipeline::collection::evaluate::{self, DocumentOrigin, RowContext};
use crate::pipeline::collection::fetch::{self, AccountFailure, BatchBudget, SideEffects};
use crate::pipeline::credentials::manager::{BatchCredentials, CredentialManager};
use crate::pipeline::error::{Classified, ErrorClass, with_causes};
use crate::pipeline::releases::cache::{LoadedRelease, ReleaseCache, ReleaseError};
use crate::pipeline::releases::manager::{LookupError, ReleaseManager};
use backline_gateway::{Gateway, SessionSetup};
use backline_model::clock::Clock;
use backline_model::outcome::Exclusion;
use backline_model::{
    AccountId, Candidate, Digest, DocumentInput, FailureClass, FetchAccount, FetchContext, FetchError, Manifest,
    MetricsRow, Outcome, Platform, Release, ReleaseState, Snapshot, Window,
};
use backline_rules::dates;
use backline_rules::shadow::{Comparison, Side};
use backline_store::{AccountHistory, LastDocument, Scope, Store, StoreError};

/// Documents processed at once: bounds memory, and is the step of the progress bar.
const DOCUMENTS_AT_ONCE: usize = 50;

/// What to compare.
#[derive(Clone, Copy, Debug)]
pub struct ShadowRequest {
    /// Stored documents, at most.
    pub documents: u32,
    /// Accounts to fetch now, with both releases.
    pub fetch: u32,
}

/// The differences that a release would make.
#[derive(Clone, Debug, Serialize)]
pub struct ShadowReport {
    /// Platform of the release.
    pub platform: Platform,
    /// Digest of the release that was tried.
    pub release: Digest,
    /// Version of the release.
    pub version: String,
    /// Comparison with what is stored.
    pub stored: Comparison,
    /// Comparison with the active release, where both fetch now; none if it was not requested.
    pub fetched: Option<Comparison>,
}

/// The result of checking one account.
#[derive(Clone, Debug, Serialize)]
pub struct CheckReport {
    /// Id of the account.
    pub account: AccountId,
    /// The platform's id of the account.
    pub platform_id: String,
    /// The account's name on the platform; none if it can't be reached.
    pub name: Option<String>,
    /// Why it can't be reached.
    pub problem: Option<String>,
    /// Class of that; none if nothing was asked.
    pub class: Option<FailureClass>,
}

/// The result of testing a release.
#[derive(Clone, Debug, Serialize)]
pub struct TestReport {
    /// Platform of the release.
    pub platform: Platform,
    /// Digest of the release.
    pub release: Digest,
    /// Version of the release.
    pub version: String,
    /// Stored documents that were normalised.
    pub documents: u64,
    /// Reasons for documents that could not be normalised.
    pub not_normalised: Vec<String>,
    /// Results of the accounts that were checked.
    pub checks: Vec<CheckReport>,
}

impl TestReport {
    /// Whether every document and every account passed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.not_normalised.is_empty() && self.checks.iter().all(|check| check.problem.is_none())
    }
}

/// One side of the comparison for one account: its row, or why there is none.
type Told = Result<Box<MetricsRow>, (FailureClass, String)>;

/// Why a release was not tried.
#[derive(Debug, thiserror::Error)]
pub enum ShadowError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The platform has no active release.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// The release can't be used on this host.
    #[error(transparent)]
    Release(#[from] ReleaseError),
}

impl Classified for ShadowError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Store(error) => error.class(),
            Self::Lookup(error) => error.class(),
            Self::Release(error) => error.class(),
        }
    }
}

/// Tries releases without storing anything. Cloning shares it.
#[derive(Clone)]
pub struct Conformance {
    config: Arc<Config>,
    clock: Clock,
    store: Store,
    gateway: Gateway,
    cache: ReleaseCache,
    releases: ReleaseManager,
    credentials: CredentialManager,
}

impl Conformance {
    pub(in crate::pipeline) fn new(
        config: Arc<Config>,
        clock: Clock,
        store: Store,
        gateway: Gateway,
        cache: ReleaseCache,
        releases: ReleaseManager,
        credentials: CredentialManager,
    ) -> Self {
        Self { config, clock, store, gateway, cache, releases, credentials }
    }

    /// Runs a release over the documents that the platform's accounts were last collected with, and compares its
    /// results with what is stored. If requested, it also fetches some accounts with it and with the active release.
    /// Nothing is stored or sent to subscribers. `progress` gets the accounts done and their total.
    ///
    /// # Errors
    /// When the release can't be loaded, it should fetch and is not granted, or the database fails.
    pub async fn shadow(
        &self,
        release: &Release,
        request: ShadowRequest,
        progress: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<ShadowReport, ShadowError> {
        if request.fetch > 0 && release.state != ReleaseState::Granted {
            return Err(ReleaseError::NotGranted { digest: release.digest }.into());
        }
        let loaded = self.cache.get_ungranted(release.digest).await?;
        let documents =
            self.store.last_documents_list(&Scope::all_tenants(), release.platform(), request.documents).await?;
        let total = documents.len() as u64 + u64::from(request.fetch);
        let mut stored = Comparison::default();
        for chunk in documents.chunks(DOCUMENTS_AT_ONCE) {
            self.compare_stored(&loaded, chunk, &mut stored).await?;
            progress(stored.accounts, total);
        }
        let fetched = match request.fetch {
            0 => None,
            accounts => Some(self.compare_fetched(&loaded, accounts).await?),
        };
        progress(total, total);
        Ok(ShadowReport {
            platform: release.platform().clone(),
            release: release.digest,
            version: release.manifest.connector.version.to_string(),
            stored,
            fetched,
        })
    }

    async fn compare_stored(
        &self,
        loaded: &LoadedRelease,
        documents: &[LastDocument],
        comparison: &mut Comparison,
    ) -> Result<(), StoreError> {
        let (documents, inputs) = self.bodies(documents).await?;
        let wanted: Vec<_> = documents.iter().map(|document| (document.account, document.metric_date)).collect();
        let mut histories = self.store.histories_of(&Scope::all_tenants(), &wanted).await?;
        let candidates = self.candidates_by_id(wanted.iter().map(|(account, _)| *account)).await?;
        let accounts: Vec<AccountId> = documents.iter().map(|document| document.account).collect();
        let (mut budget, mut side) = (self.budget_of(loaded), SideEffects::default());
        let snapshots = fetch::normalize(loaded, &accounts, inputs, &mut budget, &mut side).await;
        for (document, snapshot) in documents.iter().zip(snapshots) {
            let Some(candidate) = candidates.get(&document.account) else { continue };
            let mut known = histories.remove(&document.account).unwrap_or_default();
            // Values from another document of the same date are not in this one.
            let mut before = known.existing.take().filter(|row| row.document_id == document.id);
            if let Some(row) = &mut before {
                let earlier: Vec<_> = row.observed.keys().cloned().collect();
                row.values.retain(|metric, _| !earlier.contains(metric));
            }
            // Another release would keep no others of such a document either.
            let only_history =
                before.as_ref().is_some_and(|row| row.notes.iter().any(|note| note == dates::ONLY_HISTORY));
            let after = self.row_of(loaded, candidate, document, snapshot, known, only_history);
            add(comparison, document.account, before.as_ref(), &after);
        }
        Ok(())
    }

    /// Documents with their bodies. Those that were removed meanwhile are left out.
    async fn bodies(&self, documents: &[LastDocument]) -> Result<(Vec<LastDocument>, Vec<DocumentInput>), StoreError> {
        let (mut found, mut inputs) = (Vec::new(), Vec::new());
        for document in documents {
            if let Some(body) = self.store.document_get(&Scope::all_tenants(), document.id).await? {
                inputs.push(DocumentInput { body, window: document.window, observed_at: document.observed_at });
                found.push(document.clone());
            }
        }
        Ok((found, inputs))
    }

    async fn candidates_by_id(
        &self,
        accounts: impl Iterator<Item = AccountId>,
    ) -> Result<HashMap<AccountId, Candidate>, StoreError> {
        let candidates = self.store.candidates_of(&Scope::all_tenants(), &accounts.collect::<Vec<_>>()).await?;
        Ok(candidates.into_iter().map(|candidate| (candidate.account_id, candidate)).collect())
    }

    fn row_of(
        &self,
        loaded: &LoadedRelease,
        candidate: &Candidate,
        document: &LastDocument,
        snapshot: Result<Snapshot, AccountFailure>,
        known: AccountHistory,
        only_history: bool,
    ) -> Told {
        let origin = DocumentOrigin {
            metric_date: document.metric_date,
            observed_at: document.observed_at,
            window: document.window,
            run_id: document.run_id,
            document_id: document.id,
            only_history,
        };
        let context = RowContext::new(loaded, &self.config, candidate, origin);
        match snapshot {
            Ok(snapshot) => Ok(Box::new(evaluate::make(&context, snapshot, known).row)),
            Err(failure) => Err(class_of(failure)),
        }
    }

    /// Fetches accounts with both releases, one after the other, and compares the results.
    async fn compare_fetched(&self, loaded: &LoadedRelease, accounts: u32) -> Result<Comparison, ShadowError> {
        let platform = loaded.manifest.connector.platform.clone();
        let active = self.cache.get(self.releases.active(&platform).await?.digest).await?;
        let candidates: Vec<Candidate> = self.sample(&platform, &loaded.manifest, accounts).await?;
        let mut before = self.fetched_with(&active, &candidates).await?;
        let mut after = self.fetched_with(loaded, &candidates).await?;
        let mut comparison = Comparison::default();
        for candidate in &candidates {
            let id = candidate.account_id;
            if let (Some(before), Some(after)) = (before.remove(&id), after.remove(&id)) {
                add(&mut comparison, id, before.as_deref().ok(), &after);
            }
        }
        Ok(comparison)
    }

    /// The first accounts that may be collected, ordered by id.
    async fn sample(
        &self,
        platform: &Platform,
        manifest: &Manifest,
        accounts: u32,
    ) -> Result<Vec<Candidate>, StoreError> {
        let (all, most, now) = (Scope::all_tenants(), accounts.max(100), self.clock.now());
        let (mut sample, mut after) = (Vec::new(), None);
        while sample.len() < accounts as usize {
            let page = self.store.candidates_list(&all, platform, None, after, most, now).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.account_id);
            sample.extend(
                page.into_iter().filter(|candidate| backline_rules::plan::exclusion(candidate, manifest).is_none()),
            );
        }
        sample.truncate(accounts as usize);
        Ok(sample)
    }

    async fn fetched_with(
        &self,
        release: &LoadedRelease,
        candidates: &[Candidate],
    ) -> Result<BTreeMap<AccountId, Told>, StoreError> {
        let now = self.clock.now();
        let days = chrono::TimeDelta::days(self.config.collection.window_days.into());
        let window = Window { since: now - days, until: now };
        let lost_metrics = self.store.lost_metrics_list(release.digest, now).await?;
        let context = FetchContext { window, lost_metrics, history: Vec::new() };
        let mut told = BTreeMap::new();
        let size = usize::try_from(release.manifest.connector.batch_size).unwrap_or(usize::MAX).max(1);
        for chunk in candidates.chunks(size) {
            let ids: Vec<AccountId> = chunk.iter().map(|candidate| candidate.account_id).collect();
            let (credentials, unusable) = self.credentials_for(release, &ids).await?;
            told.extend(unusable.into_iter().map(|(id, problem)| (id, Err(problem))));
            let mut accounts = self.store.fetch_inputs_of(&Scope::all_tenants(), &ids).await?;
            accounts.retain(|account| !told.contains_key(&account.id));
            let (mut budget, mut side) = (self.budget_of(release), SideEffects::default());
            let fetched =
                fetch::fetch(release, &self.gateway, accounts, &context, &credentials, &mut budget, &mut side).await;
            let (mut documents, mut inputs) = (Vec::new(), Vec::new());
            for (account, result) in fetched {
                match result {
                    Ok(fetched) => {
                        inputs.push(DocumentInput { body: fetched.body, window, observed_at: now });
                        documents.push(account);
                    }
                    Err(failure) => {
                        told.insert(account, Err(class_of(failure)));
                    }
                }
            }
            let date = |candidate: &Candidate| candidate.timezone.date_at(now);
            let wanted: Vec<_> = chunk.iter().map(|candidate| (candidate.account_id, date(candidate))).collect();
            let mut histories = self.store.histories_of(&Scope::all_tenants(), &wanted).await?;
            let snapshots = fetch::normalize(release, &documents, inputs, &mut budget, &mut side).await;
            for (account, snapshot) in documents.into_iter().zip(snapshots) {
                let Some(candidate) = chunk.iter().find(|candidate| candidate.account_id == account) else { continue };
                let mut known = histories.remove(&account).unwrap_or_default();
                known.existing = None;
                let document = LastDocument {
                    account,
                    metric_date: date(candidate),
                    id: backline_model::DocumentId::generate(),
                    run_id: backline_model::RunId::generate(),
                    observed_at: now,
                    window,
                };
                told.insert(account, self.row_of(release, candidate, &document, snapshot, known, false));
            }
        }
        budgets::settle(&self.store, &self.gateway).await;
        Ok(told)
    }

    /// What the calls for one batch may use.
    fn budget_of(&self, release: &LoadedRelease) -> BatchBudget {
        BatchBudget::of(self.batch_deadline(), &release.connector.allowance(None))
    }

    fn batch_deadline(&self) -> Duration {
        Duration::from_millis(self.config.collection.batch_deadline_ms)
    }

    /// Credentials of accounts, as their batch would get them, and the accounts without a usable one.
    async fn credentials_for(
        &self,
        release: &LoadedRelease,
        ids: &[AccountId],
    ) -> Result<(Vec<backline_gateway::SessionCredential>, Vec<(AccountId, (FailureClass, String))>), StoreError> {
        let usable = release.manifest.credentials.iter().filter(|slot| release.grant.lets_use(slot));
        let slots: Vec<&str> = usable.map(|slot| slot.slot.as_str()).collect();
        let until = BatchBudget::time_for_credentials(self.batch_deadline());
        let platform = &release.manifest.connector.platform;
        let stored = self.store.credentials_of(&Scope::all_tenants(), platform, ids).await?;
        let credentials = self.credentials.for_batch(&release.manifest, &slots, ids, &stored, until).await;
        let BatchCredentials { usable, unusable } = credentials;
        let unusable =
            unusable.into_iter().map(|(id, error)| (id, (error.failure_class(), with_causes(&error)))).collect();
        Ok((usable, unusable))
    }

    /// Tries a release: `normalize` on a few stored documents, and the contract's `check` for some accounts, with their
    /// credentials.
    ///
    /// # Errors
    /// When the release can't be loaded or the database fails. Failures of the release are in the report.
    pub async fn test(&self, release: &Release, documents: u32, accounts: u32) -> Result<TestReport, ShadowError> {
        let loaded = self.cache.get_ungranted(release.digest).await?;
        let stored = self.store.last_documents_list(&Scope::all_tenants(), release.platform(), documents).await?;
        let (documents, inputs) = self.bodies(&stored).await?;
        let tried = inputs.len() as u64;
        let owners: Vec<AccountId> = documents.iter().map(|document| document.account).collect();
        let (mut budget, mut side) = (self.budget_of(&loaded), SideEffects::default());
        let snapshots = fetch::normalize(&loaded, &owners, inputs.clone(), &mut budget, &mut side).await;
        let mut budget = self.budget_of(&loaded);
        let again = fetch::normalize(&loaded, &owners, inputs, &mut budget, &mut side).await;
        let differ = snapshots.iter().zip(&again).filter(|(first, second)| first.is_ok() && first != second).count();
        let mut not_normalised: Vec<String> =
            snapshots.into_iter().filter_map(|snapshot| Some(class_of(snapshot.err()?).1)).collect();
        let changed = "the same document gave other metrics the second time; `normalize` must depend on it alone";
        not_normalised.extend((0..differ).map(|_| changed.to_owned()));
        let mut checks = Vec::new();
        // Without a grant no request is sent, so a check would say nothing about the release.
        if release.state == ReleaseState::Granted {
            for candidate in self.sample(release.platform(), &release.manifest, accounts).await? {
                if let Some(account) =
                    self.store.fetch_inputs_of(&Scope::all_tenants(), &[candidate.account_id]).await?.pop()
                {
                    checks.push(self.check_account(&loaded, account).await?);
                }
            }
        }
        Ok(TestReport {
            platform: release.platform().clone(),
            release: release.digest,
            version: release.manifest.connector.version.to_string(),
            documents: tried,
            not_normalised,
            checks,
        })
    }

    /// Asks a platform once, by the contract's `check` of its active release and with the credentials that collection
    /// would use: about an account, or about the first that can be collected. None if there is no account to ask about.
    ///
    /// An account whose artist does not let it be collected is not asked about either. One that has to be reconnected
    /// is: that is how a new token is tried.
    ///
    /// # Errors
    /// When the platform has no active release, it can't be loaded, or the database fails. What the platform says is in
    /// the report.
    pub async fn check(
        &self,
        platform: &Platform,
        account: Option<AccountId>,
    ) -> Result<Option<CheckReport>, ShadowError> {
        let release = self.releases.active(platform).await?;
        let loaded = self.cache.get(release.digest).await?;
        let candidate = match account {
            Some(id) => self.store.candidates_of(&Scope::all_tenants(), &[id]).await?.pop(),
            None => self.sample(platform, &release.manifest, 1).await?.pop(),
        };
        let Some(candidate) = candidate else { return Ok(None) };
        let inputs = self.store.fetch_inputs_of(&Scope::all_tenants(), &[candidate.account_id]).await?.pop();
        let Some(account) = inputs else { return Ok(None) };
        match backline_rules::plan::exclusion(&candidate, &release.manifest) {
            None | Some(Exclusion::ReconnectNeeded | Exclusion::NotFound) => {
                Ok(Some(self.check_account(&loaded, account).await?))
            }
            Some(reason) => Ok(Some(CheckReport {
                account: account.id,
                platform_id: account.platform_id,
                name: None,
                class: None,
                problem: Some(format!("nothing was asked, since the account is not collected: {}", reason.as_str())),
            })),
        }
    }

    async fn check_account(&self, loaded: &LoadedRelease, account: FetchAccount) -> Result<CheckReport, StoreError> {
        let (id, platform_id) = (account.id, account.platform_id.clone());
        let report = |name, failed: Option<(FailureClass, String)>| {
            let (class, problem) = failed.unzip();
            CheckReport { account: id, platform_id, name, problem, class }
        };
        let (credentials, unusable) = self.credentials_for(loaded, &[id]).await?;
        if let Some((_, failed)) = unusable.into_iter().next() {
            return Ok(report(None, Some(failed)));
        }
        let session = self.gateway.session(SessionSetup {
            manifest: loaded.manifest.clone(),
            grant: loaded.grant.clone(),
            credentials,
            accounts: vec![id],
            deadline: Instant::now() + Duration::from_millis(self.config.collection.batch_deadline_ms),
        });
        Ok(match loaded.connector.check(session, account).await {
            Ok(Ok(name)) => report(Some(name), None),
            Ok(Err(error)) => {
                let problem = error.to_string();
                report(None, Some((class_of(AccountFailure::of(error)).0, problem)))
            }
            Err(error) => report(None, Some((class_of(fetch::failure_of_call(&error)).0, error.to_string()))),
        })
    }
}

fn add(comparison: &mut Comparison, account: AccountId, before: Option<&MetricsRow>, after: &Told) {
    let side = |row: &'_ MetricsRow| -> (_, _) { (row.values.clone(), row.absent.clone()) };
    let before = before.map(side);
    let before = before.as_ref().map(|(values, absent)| Side { values, absent });
    match after {
        Ok(row) => comparison.add(account, before, Ok(Side { values: &row.values, absent: &row.absent })),
        Err((class, message)) => comparison.add(account, before, Err((*class, message))),
    }
}

/// The class and message of a failure that is not retried.
pub(super) fn class_of(failure: AccountFailure) -> (FailureClass, String) {
    match failure {
        AccountFailure::Final(Outcome::Failed { class, message }) | AccountFailure::Retry { class, message, .. } => {
            (class, message)
        }
        AccountFailure::Final(other) => (FailureClass::Internal, other.as_str().to_owned()),
        AccountFailure::Defer { .. } => (FailureClass::RateLimited, "a budget is spent".to_owned()),
        AccountFailure::Wait { .. } | AccountFailure::Paused { .. } => {
            (FailureClass::RateLimited, FetchError::RateLimited(None).to_string())
        }
        AccountFailure::Refused(message) => (FailureClass::Reconnect, message),
        AccountFailure::Outage => (FailureClass::Unavailable, "the database does not answer".to_owned()),
        AccountFailure::NoTurn => {
            (FailureClass::TimedOut, "collection.batch_deadline_ms or another bound was used up before".to_owned())
        }
    }
}

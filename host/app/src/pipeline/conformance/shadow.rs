//! What a release makes of what is stored, before it collects anything; and whether it can reach accounts. Nothing is stored.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use crate::pipeline::collection::evaluate::{self, RowContext};
use crate::pipeline::collection::fetch::{self, AccountFailure, SideEffects};
use crate::pipeline::credentials::manager::BatchCredentials;
use crate::pipeline::releases::cache::LoadedRelease;
use crate::pipeline::{Host, HostError};
use backline_gateway::SessionSetup;
use backline_model::{
    AccountId, Candidate, Digest, DocumentInput, FailureClass, FetchAccount, FetchContext, Outcome, Platform, Release,
    ReleaseState, Snapshot, Window,
};
use backline_rules::shadow::{Comparison, Side};
use backline_store::{AccountPast, LastDocument, Scope};

/// Documents handled at a time: bounds memory, and is what a bar moves by.
const DOCUMENTS_AT_ONCE: usize = 50;

/// What is to be compared.
#[derive(Clone, Copy, Debug)]
pub struct ShadowRequest {
    /// Most stored documents.
    pub documents: u32,
    /// Accounts to be fetched now, with both releases.
    pub fetch: u32,
}

/// The differences a release would make.
#[derive(Clone, Debug, Serialize)]
pub struct ShadowReport {
    /// Where.
    pub platform: Platform,
    /// The release that was tried.
    pub release: Digest,
    /// Its version.
    pub version: String,
    /// Against what is stored.
    pub stored: Comparison,
    /// Against the active release, both fetching now; none where that was not asked for.
    pub fetched: Option<Comparison>,
}

/// What a release said of one account.
#[derive(Clone, Debug, Serialize)]
pub struct CheckReport {
    /// Which account.
    pub account: AccountId,
    /// The platform's id of it.
    pub platform_id: String,
    /// The account's name on the platform; none where it can't be reached.
    pub name: Option<String>,
    /// Why it can't be reached.
    pub problem: Option<String>,
}

/// How a release did when it was tried.
#[derive(Clone, Debug, Serialize)]
pub struct TestReport {
    /// Where.
    pub platform: Platform,
    /// Which.
    pub release: Digest,
    /// Its version.
    pub version: String,
    /// Stored documents it was tried with.
    pub documents: u64,
    /// Why it could not normalise some of them.
    pub not_normalised: Vec<String>,
    /// What it said of accounts.
    pub checks: Vec<CheckReport>,
}

impl TestReport {
    /// Whether all was well.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.not_normalised.is_empty() && self.checks.iter().all(|check| check.problem.is_none())
    }
}

/// One side of one account: its accepted row's values, or why there are none.
type Told = Result<Box<backline_model::MetricsRow>, (FailureClass, String)>;

impl Host {
    /// Runs a release over the documents that the platform's accounts were last collected with, and compares what comes of them with what is
    /// stored; if asked, fetches some accounts with it and with the active one. Nothing is stored or sent to anybody. `progress` hears how
    /// many accounts of how many are done.
    ///
    /// # Errors
    /// When the release can't be loaded, it is to fetch and is not granted, or the database fails.
    pub async fn shadow(
        &self,
        release: &Release,
        request: ShadowRequest,
        progress: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<ShadowReport, HostError> {
        if request.fetch > 0 && release.state != ReleaseState::Granted {
            return Err(HostError::NotGranted { digest: release.digest });
        }
        let loaded = self.releases().get_ungranted(release.digest).await?;
        let documents =
            self.store().last_documents_list(&Scope::all_tenants(), release.platform(), request.documents).await?;
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
    ) -> Result<(), HostError> {
        let (documents, inputs) = self.bodies(documents).await?;
        let wanted: Vec<_> = documents.iter().map(|document| (document.account, document.metric_date)).collect();
        let mut pasts = self.store().pasts_of(&Scope::all_tenants(), &wanted).await?;
        let candidates = self.candidates_by_id(wanted.iter().map(|(account, _)| *account)).await?;
        let snapshots = fetch::normalize(loaded, inputs, &mut SideEffects::default()).await;
        for (document, snapshot) in documents.iter().zip(snapshots) {
            let Some(candidate) = candidates.get(&document.account) else { continue };
            let mut past = pasts.remove(&document.account).unwrap_or_default();
            // What another document of the day brought is not in this one.
            let mut before = past.existing.take().filter(|row| row.document_id == document.id);
            if let Some(row) = &mut before {
                let earlier: Vec<_> = row.observed.keys().cloned().collect();
                row.values.retain(|metric, _| !earlier.contains(metric));
            }
            let after = self.row_of(loaded, candidate, document, snapshot, past);
            add(comparison, document.account, before.as_ref(), &after);
        }
        Ok(())
    }

    /// Documents with their bodies; those that have been removed meanwhile are left out.
    async fn bodies(&self, documents: &[LastDocument]) -> Result<(Vec<LastDocument>, Vec<DocumentInput>), HostError> {
        let (mut found, mut inputs) = (Vec::new(), Vec::new());
        for document in documents {
            if let Some(body) = self.store().document_get(&Scope::all_tenants(), document.id).await? {
                inputs.push(DocumentInput { body, window: document.window, observed_at: document.observed_at });
                found.push(document.clone());
            }
        }
        Ok((found, inputs))
    }

    async fn candidates_by_id(
        &self,
        accounts: impl Iterator<Item = AccountId>,
    ) -> Result<HashMap<AccountId, Candidate>, HostError> {
        let candidates = self.store().candidates_of(&Scope::all_tenants(), &accounts.collect::<Vec<_>>()).await?;
        Ok(candidates.into_iter().map(|candidate| (candidate.account_id, candidate)).collect())
    }

    fn row_of(
        &self,
        loaded: &LoadedRelease,
        candidate: &Candidate,
        document: &LastDocument,
        snapshot: Result<Snapshot, AccountFailure>,
        past: AccountPast,
    ) -> Told {
        let context = RowContext {
            account: candidate,
            metric_date: document.metric_date,
            observed_at: document.observed_at,
            window: document.window,
            run_id: document.run_id,
            document_id: document.id,
            release: loaded.digest,
            wit_version: &loaded.wit_version,
            manifest: &loaded.manifest,
            validation: &self.config().validation,
            significance: &self.config().significance,
        };
        match snapshot {
            Ok(snapshot) => Ok(Box::new(evaluate::make(&context, snapshot, past).row)),
            Err(ending) => Err(class_of(ending)),
        }
    }

    /// Fetches accounts with both releases, one after the other, and compares what comes of it.
    async fn compare_fetched(&self, loaded: &LoadedRelease, accounts: u32) -> Result<Comparison, HostError> {
        let platform = loaded.manifest.connector.platform.clone();
        let active = self.releases().get(self.active(&platform).await?.digest).await?;
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

    /// The first accounts that may be collected, in the order of their ids.
    async fn sample(
        &self,
        platform: &Platform,
        manifest: &backline_model::Manifest,
        accounts: u32,
    ) -> Result<Vec<Candidate>, HostError> {
        let (mut sample, mut after) = (Vec::new(), None);
        while sample.len() < accounts as usize {
            let page =
                self.store().candidates_list(&Scope::all_tenants(), platform, None, after, accounts.max(100)).await?;
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
    ) -> Result<BTreeMap<AccountId, Told>, HostError> {
        let now = self.clock().now();
        let days = chrono::TimeDelta::days(self.config().collection.window_days.into());
        let window = Window { since: now - days, until: now };
        let context = FetchContext { window, lost_metrics: self.store().lost_metrics_list(release.digest).await? };
        let mut told = BTreeMap::new();
        let size = usize::try_from(release.manifest.connector.batch_size).unwrap_or(usize::MAX).max(1);
        for chunk in candidates.chunks(size) {
            let ids: Vec<AccountId> = chunk.iter().map(|candidate| candidate.account_id).collect();
            let (credentials, unusable) = self.credentials_for(release, &ids).await?;
            told.extend(unusable.into_iter().map(|(id, problem)| (id, Err(problem))));
            let mut accounts = self.store().fetch_inputs_of(&Scope::all_tenants(), &ids).await?;
            accounts.retain(|account| !told.contains_key(&account.id));
            let deadline = Duration::from_millis(self.config().collection.batch_deadline_ms);
            let mut side = SideEffects::default();
            let fetched =
                fetch::fetch(release, self.gateway(), accounts, &context, &credentials, deadline, &mut side).await;
            let (mut documents, mut inputs) = (Vec::new(), Vec::new());
            for (account, result) in fetched {
                match result {
                    Ok(fetched) => {
                        inputs.push(DocumentInput { body: fetched.body, window, observed_at: now });
                        documents.push(account);
                    }
                    Err(ending) => {
                        told.insert(account, Err(class_of(ending)));
                    }
                }
            }
            let date = |candidate: &Candidate| now.with_timezone(&candidate.timezone).date_naive();
            let wanted: Vec<_> = chunk.iter().map(|candidate| (candidate.account_id, date(candidate))).collect();
            let mut pasts = self.store().pasts_of(&Scope::all_tenants(), &wanted).await?;
            let snapshots = fetch::normalize(release, inputs, &mut side).await;
            for (account, snapshot) in documents.into_iter().zip(snapshots) {
                let Some(candidate) = chunk.iter().find(|candidate| candidate.account_id == account) else { continue };
                let mut past = pasts.remove(&account).unwrap_or_default();
                past.existing = None;
                let document = LastDocument {
                    account,
                    metric_date: date(candidate),
                    id: backline_model::DocumentId::generate(),
                    run_id: backline_model::RunId::generate(),
                    observed_at: now,
                    window,
                };
                told.insert(account, self.row_of(release, candidate, &document, snapshot, past));
            }
        }
        crate::pipeline::collection::budgets::settle(self.store(), self.gateway()).await;
        Ok(told)
    }

    /// Credentials of accounts, as a batch of theirs would get them, and whose are of no use.
    async fn credentials_for(
        &self,
        release: &LoadedRelease,
        ids: &[AccountId],
    ) -> Result<(Vec<backline_gateway::SessionCredential>, Vec<(AccountId, (FailureClass, String))>), HostError> {
        let usable = release.manifest.credentials.iter().filter(|slot| release.grant.lets_use(slot));
        let slots: Vec<&str> = usable.map(|slot| slot.slot.as_str()).collect();
        let BatchCredentials { usable, unusable } =
            self.credentials().for_batch(&release.manifest, &slots, ids).await?;
        let unusable = unusable.into_iter().map(|(id, error)| (id, (error.class(), error.to_string()))).collect();
        Ok((usable, unusable))
    }

    /// Tries a release: `normalize` on a few stored documents, and the contract's `check` for some accounts, with their credentials.
    ///
    /// # Errors
    /// When the release can't be loaded or the database fails; what goes wrong in it is in the report.
    pub async fn test_release(
        &self,
        release: &Release,
        documents: u32,
        accounts: u32,
    ) -> Result<TestReport, HostError> {
        let loaded = self.releases().get_ungranted(release.digest).await?;
        let stored = self.store().last_documents_list(&Scope::all_tenants(), release.platform(), documents).await?;
        let (_, inputs) = self.bodies(&stored).await?;
        let tried = inputs.len() as u64;
        let snapshots = fetch::normalize(&loaded, inputs, &mut SideEffects::default()).await;
        let not_normalised = snapshots.into_iter().filter_map(|snapshot| Some(class_of(snapshot.err()?).1)).collect();
        let mut checks = Vec::new();
        // Without a grant nothing can be sent, which would say nothing about the release.
        if release.state == ReleaseState::Granted {
            for candidate in self.sample(release.platform(), &release.manifest, accounts).await? {
                if let Some(account) =
                    self.store().fetch_inputs_of(&Scope::all_tenants(), &[candidate.account_id]).await?.pop()
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

    async fn check_account(&self, loaded: &LoadedRelease, account: FetchAccount) -> Result<CheckReport, HostError> {
        let (id, platform_id) = (account.id, account.platform_id.clone());
        let report = |name, problem| CheckReport { account: id, platform_id, name, problem };
        let (credentials, unusable) = self.credentials_for(loaded, &[id]).await?;
        if let Some((_, (_, problem))) = unusable.into_iter().next() {
            return Ok(report(None, Some(problem)));
        }
        let session = self.gateway().session(SessionSetup {
            manifest: loaded.manifest.clone(),
            grant: loaded.grant.clone(),
            credentials,
            accounts: vec![id],
            deadline: Instant::now() + Duration::from_millis(self.config().collection.batch_deadline_ms),
        });
        Ok(match loaded.connector.check(session, account).await {
            Ok(Ok(name)) => report(Some(name), None),
            Ok(Err(error)) => report(None, Some(error.to_string())),
            Err(error) => report(None, Some(error.to_string())),
        })
    }
}

fn add(comparison: &mut Comparison, account: AccountId, before: Option<&backline_model::MetricsRow>, after: &Told) {
    let side = |row: &'_ backline_model::MetricsRow| -> (_, _) { (row.values.clone(), row.absent.clone()) };
    let before = before.map(side);
    let before = before.as_ref().map(|(values, absent)| Side { values, absent });
    match after {
        Ok(row) => comparison.add(account, before, Ok(Side { values: &row.values, absent: &row.absent })),
        Err((class, message)) => comparison.add(account, before, Err((*class, message))),
    }
}

/// What an account's failure is, where no attempt follows.
fn class_of(ending: AccountFailure) -> (FailureClass, String) {
    match ending {
        AccountFailure::Final(Outcome::Failed { class, message }) | AccountFailure::Retry { class, message, .. } => {
            (class, message)
        }
        AccountFailure::Final(other) => (FailureClass::Internal, other.as_str().to_owned()),
        AccountFailure::Defer { .. } => (FailureClass::RateLimited, "an allowance is spent".to_owned()),
        AccountFailure::Refused(message) => (FailureClass::Reconnect, message),
    }
}

//! One batch, from lease to storage. Read top to bottom it is the path the data takes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::credentials::{BatchCredentials, CredentialError};
use super::fetch::{self, Ending, SideEffects};
use super::releases::LoadedRelease;
use super::rows::{self, Observation};
use super::{Host, HostError};
use crate::domain::manifest::Owner;
use crate::domain::run::RunCounts;
use crate::domain::{
    AccountId, AccountStatus, DocumentId, DocumentInput, FailureClass, FetchAccount, FetchContext, FetchError, Fetched,
    Lease, Outcome,
};
use crate::gateway::SessionCredential;
use crate::store::{AccountResult, BatchMember, BatchResult, DocumentRecord, FollowUp, PluginLog};

/// How long a spent allowance is waited for when neither the platform nor the manifest says when it is granted anew.
const DEFER_DEFAULT: TimeDelta = TimeDelta::hours(1);

/// What one batch came to.
#[derive(Clone, Debug, Default)]
pub struct BatchReport {
    /// Accounts by outcome; those that will be tried again are in none.
    pub counts: RunCounts,
    /// Requests sent.
    pub requests: u64,
}

/// Collects a leased batch and stores what came of it, in one transaction.
///
/// # Errors
/// When the database fails or the lease was lost: then nothing was stored, and another worker will do it again.
pub async fn collect(host: &Host, lease: &Lease) -> Result<BatchReport, HostError> {
    let batch = &lease.batch;
    let release = host.shelf().get(batch.release).await?;
    let mut members = Members::of(host.store().batch_members(batch).await?);
    let mut side = SideEffects::default();

    members.exclude_whoever_left(&release);
    let credentials = members.with_credentials(host, &release).await?;
    let context = FetchContext { window: batch.window, lost_metrics: host.store().lost_metrics(batch.release).await? };
    members.fetch(host, &release, &context, credentials, &mut side).await;
    let observed_at = host.clock().now();
    let documents = members.take_documents();
    let inputs = documents
        .iter()
        .map(|(_, fetched)| DocumentInput { body: fetched.body.clone(), window: batch.window, observed_at })
        .collect();
    let snapshots = fetch::normalize(&release, inputs, &mut side).await;

    let observations = documents
        .into_iter()
        .zip(snapshots)
        .map(|((account, fetched), snapshot)| Observation {
            account,
            document_id: DocumentId::generate(),
            fetched,
            snapshot,
        })
        .collect();
    store(host, lease, &release, members, observations, observed_at, side).await
}

/// The accounts of a batch, and how those ended that have ended.
struct Members {
    by_id: BTreeMap<AccountId, BatchMember>,
    order: Vec<AccountId>,
    fetched: BTreeMap<AccountId, Fetched>,
    ended: BTreeMap<AccountId, Ending>,
}

impl Members {
    fn of(members: Vec<BatchMember>) -> Self {
        let order = members.iter().map(|member| member.account.id).collect();
        let by_id = members.into_iter().map(|member| (member.account.id, member)).collect();
        Self { by_id, order, fetched: BTreeMap::new(), ended: BTreeMap::new() }
    }

    fn open(&self) -> Vec<AccountId> {
        self.order.iter().copied().filter(|id| !self.ended.contains_key(id) && !self.fetched.contains_key(id)).collect()
    }

    /// Consent may have been withdrawn since the plan was made: that stops collection within one batch.
    fn exclude_whoever_left(&mut self, release: &LoadedRelease) {
        for (id, member) in &self.by_id {
            if let Some(reason) = crate::plan::exclusion(&member.candidate, &release.manifest) {
                self.ended.insert(*id, Ending::Final(Outcome::Excluded { reason }));
            }
        }
    }

    async fn with_credentials(
        &mut self,
        host: &Host,
        release: &LoadedRelease,
    ) -> Result<Vec<SessionCredential>, HostError> {
        let slots: Vec<&str> = release.grant.slots.iter().map(String::as_str).collect();
        let BatchCredentials { usable, unusable } =
            host.desk().for_batch(&release.manifest, &slots, &self.open()).await?;
        for (id, error) in unusable {
            self.ended.insert(id, ending_of_credential(&error));
        }
        Ok(usable)
    }

    async fn fetch(
        &mut self,
        host: &Host,
        release: &LoadedRelease,
        context: &FetchContext,
        mut credentials: Vec<SessionCredential>,
        side: &mut SideEffects,
    ) {
        self.fetch_once(host, release, context, &credentials, side).await;
        let refused: Vec<AccountId> =
            self.ended.iter().filter(|(_, ending)| matches!(ending, Ending::Refused(_))).map(|(id, _)| *id).collect();
        if refused.is_empty() {
            return;
        }
        let refreshed = refresh_refused(host, release, &refused, &mut credentials).await;
        for (id, result) in refreshed {
            match result {
                Ok(()) => self.ended.remove(&id),
                Err(error) => self.ended.insert(id, ending_of_credential(&error)),
            };
        }
        self.fetch_once(host, release, context, &credentials, side).await;
        // Refused again with a fresh credential: no refresh will mend it.
        let for_good = if refused_slot_owner(release) == Owner::Account {
            FetchError::Reconnect
        } else {
            FetchError::Misconfigured
        };
        for ending in self.ended.values_mut() {
            if let Ending::Refused(why) = ending {
                *ending = Ending::of(for_good(std::mem::take(why)));
            }
        }
    }

    async fn fetch_once(
        &mut self,
        host: &Host,
        release: &LoadedRelease,
        context: &FetchContext,
        credentials: &[SessionCredential],
        side: &mut SideEffects,
    ) {
        let accounts: Vec<FetchAccount> = self.open().iter().map(|id| fetch_account(&self.by_id[id])).collect();
        if accounts.is_empty() {
            return;
        }
        let deadline = Duration::from_millis(host.config().collection.batch_deadline_ms);
        let results = fetch::fetch(release, host.gateway(), accounts, context, credentials, deadline, side).await;
        for (id, result) in results {
            match result {
                Ok(fetched) => {
                    self.fetched.insert(id, fetched);
                }
                Err(ending) => {
                    self.ended.insert(id, ending);
                }
            }
        }
    }

    fn take_documents(&mut self) -> Vec<(AccountId, Fetched)> {
        let mut fetched = std::mem::take(&mut self.fetched);
        self.order.iter().filter_map(|id| fetched.remove(id).map(|document| (*id, document))).collect()
    }
}

fn fetch_account(member: &BatchMember) -> FetchAccount {
    FetchAccount {
        id: member.account.id,
        platform_id: member.account.platform_id.clone(),
        settings: member.account.settings.to_string(),
        state: member.state.clone(),
    }
}

fn ending_of_credential(error: &CredentialError) -> Ending {
    let (class, message) = (error.class(), error.to_string());
    if class.is_retryable() {
        Ending::Retry { class, message, wait: None }
    } else {
        Ending::Final(Outcome::Failed { class, message })
    }
}

/// Whose credential a refusal is about: the accounts' own where the manifest has such a slot.
fn refused_slot_owner(release: &LoadedRelease) -> Owner {
    if release.manifest.credentials.iter().any(|slot| slot.owner == Owner::Account) { Owner::Account } else { Owner::Operator }
}

async fn refresh_refused(
    host: &Host,
    release: &LoadedRelease,
    refused: &[AccountId],
    credentials: &mut Vec<SessionCredential>,
) -> BTreeMap<AccountId, Result<(), CredentialError>> {
    let platform = &release.manifest.connector.platform;
    let owner = refused_slot_owner(release);
    let mut results: BTreeMap<AccountId, Result<(), CredentialError>> = refused.iter().map(|id| (*id, Ok(()))).collect();
    for slot in release.manifest.credentials.iter().filter(|slot| slot.owner == owner) {
        let whose: Vec<Option<AccountId>> =
            if owner == Owner::Account { refused.iter().copied().map(Some).collect() } else { vec![None] };
        for account in whose {
            match host.desk().refresh_refused(platform, slot, account).await {
                Ok(fresh) => {
                    credentials.retain(|old| old.id != fresh.id);
                    credentials.push(fresh);
                }
                Err(error) => {
                    for id in account.map_or_else(|| refused.to_vec(), |account| vec![account]) {
                        results.insert(id, Err(error.clone()));
                    }
                }
            }
        }
    }
    results
}

/// The last step: everything the batch came to, in one transaction that also completes the lease.
async fn store(
    host: &Host,
    lease: &Lease,
    release: &LoadedRelease,
    members: Members,
    observations: Vec<Observation>,
    observed_at: DateTime<Utc>,
    side: SideEffects,
) -> Result<BatchReport, HostError> {
    let now = host.clock().now();
    let attempts = lease.batch.attempts + 1;
    let dates: BTreeMap<AccountId, chrono::NaiveDate> =
        lease.batch.accounts.iter().map(|account| (account.account_id, account.metric_date)).collect();
    let mut completion = host.store().begin_completion(lease, now).await?;
    let keys: Vec<_> = observations.iter().map(|observation| (observation.account, dates[&observation.account])).collect();
    let mut past = completion.history(&keys).await?;

    let mut report = BatchReport { requests: side.requests, ..BatchReport::default() };
    let mut result = BatchResult { lost_metrics: side.lost_metrics, usage: usage_json(side.requests, &side.units), ..BatchResult::default() };
    result.logs = side.logs.into_iter().map(|line| PluginLog { level: line.level.to_string(), message: line.message }).collect();

    let mut endings = members.ended;
    for observation in observations {
        let member = &members.by_id[&observation.account];
        let metric_date = dates[&observation.account];
        let document = DocumentRecord {
            id: observation.document_id,
            body: observation.fetched.body.clone(),
            observed_at,
            window: lease.batch.window,
        };
        let state = observation.fetched.state.clone();
        match observation.snapshot {
            Ok(ref snapshot) => {
                let subject = rows::RowContext {
                    account: &member.account,
                    metric_date,
                    observed_at,
                    window: lease.batch.window,
                    run_id: lease.batch.run_id,
                    document_id: observation.document_id,
                    release: release.digest,
                    wit_version: &release.wit_version,
                    manifest: &release.manifest,
                    validation: &host.config().validation,
                    significance: &host.config().significance,
                };
                let past = past.remove(&observation.account).unwrap_or_default();
                let made = rows::make(&subject, snapshot.clone(), past);
                report.counts.collected += 1;
                result.accounts.push(AccountResult {
                    account_id: member.account.id,
                    artist_id: member.account.artist_id,
                    platform: member.account.platform.clone(),
                    metric_date,
                    outcome: Outcome::Collected,
                    attempts,
                    document: Some(document),
                    state,
                    row: Some(made.row),
                    withheld: made.withheld,
                    growth: made.growth,
                    events: made.events,
                    status: None,
                });
            }
            // The document is kept: a mended release can turn it into numbers later.
            Err(ref ending) => {
                result.accounts.push(bare_result(member, metric_date, ending_outcome(ending), attempts, Some(document)));
                report.counts.failed += 1;
            }
        }
    }

    let mut again: BTreeMap<DateTime<Utc>, BTreeSet<AccountId>> = BTreeMap::new();
    let mut deferred: BTreeMap<DateTime<Utc>, BTreeSet<AccountId>> = BTreeMap::new();
    for id in &members.order {
        let Some(ending) = endings.remove(id) else { continue };
        let member = &members.by_id[id];
        match ending {
            Ending::Retry { wait, .. } if attempts < host.config().collection.attempts_max => {
                let wait = wait.unwrap_or_else(|| backoff(attempts));
                let wait = wait.min(Duration::from_millis(host.config().collection.retry_wait_max_ms));
                again.entry(now + wait).or_default().insert(*id);
                continue;
            }
            Ending::Defer { until } => {
                let until = until.unwrap_or_else(|| next_reset(release, now)).max(now);
                deferred.entry(until).or_default().insert(*id);
                let message = format!("an allowance of {} is spent until {until}", member.account.platform);
                report.counts.deferred += 1;
                result.accounts.push(bare_result(member, dates[id], Outcome::Deferred { until, message }, lease.batch.attempts, None));
                continue;
            }
            ending => {
                let outcome = ending_outcome(&ending);
                match outcome {
                    Outcome::Excluded { .. } => report.counts.excluded += 1,
                    _ => report.counts.failed += 1,
                }
                let reconnect = matches!(outcome, Outcome::Failed { class: FailureClass::Reconnect, .. });
                let mut ended = bare_result(member, dates[id], outcome, attempts, None);
                if reconnect {
                    ended.status = Some(AccountStatus::ReconnectNeeded);
                    ended.events.push(rows::reconnect_event(&member.account, now));
                }
                result.accounts.push(ended);
            }
        }
    }
    let follow_up = |(at, accounts): (DateTime<Utc>, BTreeSet<AccountId>), attempts, deferred| FollowUp {
        accounts: lease.batch.accounts.iter().copied().filter(|account| accounts.contains(&account.account_id)).collect(),
        available_at: at,
        attempts,
        deferred,
    };
    result.follow_ups.extend(again.into_iter().map(|entry| follow_up(entry, attempts, false)));
    // Waiting for an allowance uses up no attempt.
    result.follow_ups.extend(deferred.into_iter().map(|entry| follow_up(entry, lease.batch.attempts, true)));
    result.events.extend(
        result.lost_metrics.iter().map(|lost| rows::metric_lost_event(&lease.batch.platform, release.digest, lost, now)),
    );
    completion.commit(result).await?;
    Ok(report)
}

fn bare_result(
    member: &BatchMember,
    metric_date: chrono::NaiveDate,
    outcome: Outcome,
    attempts: u32,
    document: Option<DocumentRecord>,
) -> AccountResult {
    AccountResult {
        account_id: member.account.id,
        artist_id: member.account.artist_id,
        platform: member.account.platform.clone(),
        metric_date,
        outcome,
        attempts,
        document,
        state: None,
        row: None,
        withheld: Vec::new(),
        growth: Vec::new(),
        events: Vec::new(),
        status: None,
    }
}

fn ending_outcome(ending: &Ending) -> Outcome {
    match ending {
        Ending::Final(outcome) => outcome.clone(),
        Ending::Retry { class, message, .. } => Outcome::Failed { class: *class, message: message.clone() },
        Ending::Refused(message) => Outcome::Failed { class: FailureClass::Reconnect, message: message.clone() },
        Ending::Defer { .. } => {
            Outcome::Failed { class: FailureClass::RateLimited, message: "an allowance is spent".to_owned() }
        }
    }
}

/// Before the second attempt a second, then doubling: the gateway has already retried within seconds, so this waits out more than a blip.
fn backoff(attempts: u32) -> Duration {
    Duration::from_secs(1 << attempts.min(6))
}

/// When the platform's longest allowance is granted anew.
fn next_reset(release: &LoadedRelease, now: DateTime<Utc>) -> DateTime<Utc> {
    release
        .manifest
        .budgets
        .iter()
        .map(|budget| crate::gateway::window_of(&budget.window, now).1)
        .max()
        .unwrap_or(now + DEFER_DEFAULT)
}

fn usage_json(requests: u64, units: &BTreeMap<String, u64>) -> serde_json::Value {
    serde_json::json!({ "requests": requests, "units": units })
}


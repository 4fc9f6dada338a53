//! Batches that could not be collected: given back to be collected later, cut in halves, or ended as failed.

use std::time::Duration;

use crate::pipeline::collection::collect_error::CollectError;
use crate::pipeline::collection::collector::{BatchReport, Collector, dates_of, turn_of};
use crate::pipeline::collection::results::{backoff, bare_result};
use crate::pipeline::error::with_causes;
use crate::telemetry::BatchEnd;
use backline_model::remedies::{Remedy, off};
use backline_model::{AccountId, AccountStatus, Candidate, FailureClass, Lease, Outcome};
use backline_store::{AccountResult, BatchResult, Scope, StoreError};

/// Wait of a batch whose results can't be written although the database answers, such as while its disk is full: each
/// further try costs requests to the platform.
const UNWRITABLE_WAIT: Duration = Duration::from_secs(15);

/// Deaths of hosts that collected one account and nothing else, after which it is given up.
pub(super) const LONE_DEATHS_MAX: u32 = 3;

/// Handles a batch that could not be collected at all: it is retried, and its accounts fail once its attempts are used
/// up.
///
/// # Errors
/// The error itself, when that can't be written either: the batch then stays leased, and its run stays open.
pub(super) async fn give_back(
    collector: &Collector,
    lease: &Lease,
    error: CollectError,
) -> Result<BatchReport, CollectError> {
    let batch = &lease.batch;
    let (platform, cause) = (&batch.platform, with_causes(&error));
    tracing::error!(batch = %batch.id, %platform, error = cause, "a batch could not be collected");
    match try_to_give_back(collector, lease, &error).await {
        Ok(_) if error.is_unwritable() => Err(error),
        Ok(report) => Ok(report),
        Err(StoreError::LeaseLost { .. }) => Ok(BatchReport::nothing(BatchEnd::LeaseLost)),
        Err(_) => Err(error),
    }
}

async fn try_to_give_back(
    collector: &Collector,
    lease: &Lease,
    error: &CollectError,
) -> Result<BatchReport, StoreError> {
    let collection = &collector.config.collection;
    let attempts = lease.batch.attempts + 1;
    // A database that can't be reached, or whose disk is full, says nothing about the batch.
    let is_outage = matches!(error, CollectError::Store(error) if error.is_outage()) && !off(Remedy::OutagesFree);
    if is_outage || attempts < collection.attempts_max {
        let wait = backoff(attempts).min(Duration::from_millis(collection.retry_wait_max_ms));
        let wait = if error.is_unwritable() { UNWRITABLE_WAIT } else { wait };
        collector.store.batch_release(lease, turn_of(collector, lease, wait), !is_outage).await?;
        let open = lease.batch.accounts.len() as u64;
        return Ok(BatchReport { open, ..BatchReport::nothing(BatchEnd::GivenBack) });
    }
    let message = with_causes(error);
    let failure = BatchFailure { class: FailureClass::Internal, status: None, message: &message };
    fail(collector, lease, failure, attempts).await
}

/// Cuts a batch in halves whose host ended while it collected nothing else.
pub(super) async fn halve(collector: &Collector, lease: &Lease) -> Result<BatchReport, CollectError> {
    let batch = &lease.batch;
    tracing::warn!(
        batch = %batch.id, platform = %batch.platform, accounts = batch.accounts.len(),
        "a host ended while it collected this batch and nothing else; its halves are collected by themselves"
    );
    collector.store.batch_halve(lease, turn_of(collector, lease, Duration::ZERO)).await?;
    Ok(BatchReport { open: batch.accounts.len() as u64, ..BatchReport::nothing(BatchEnd::GivenBack) })
}

/// Ends a batch of one account that hosts ended of again and again while they collected nothing else. It is left out
/// until an operator retries it.
pub(super) async fn fail_host_killing(collector: &Collector, lease: &Lease) -> Result<BatchReport, CollectError> {
    let batch = &lease.batch;
    tracing::error!(
        batch = %batch.id, platform = %batch.platform, accounts = ?batch.accounts,
        "hosts ended whenever they collected this account; it is left out until its batch is retried"
    );
    let message = format!(
        "{LONE_DEATHS_MAX} hosts ended while they collected this account and nothing else; `backline batches retry \
         {}` collects it again",
        batch.id
    );
    let failure =
        BatchFailure { class: FailureClass::HostKilled, status: Some(AccountStatus::HostKilled), message: &message };
    match fail(collector, lease, failure, batch.attempts).await {
        Err(StoreError::LeaseLost { .. }) => Ok(BatchReport::nothing(BatchEnd::LeaseLost)),
        failed => Ok(failed?),
    }
}

/// How all accounts of a batch fail.
struct BatchFailure<'a> {
    class: FailureClass,
    status: Option<AccountStatus>,
    message: &'a str,
}

/// Ends all accounts of a batch as failed.
async fn fail(
    collector: &Collector,
    lease: &Lease,
    failure: BatchFailure<'_>,
    attempts: u32,
) -> Result<BatchReport, StoreError> {
    let BatchFailure { class, status, message } = failure;
    let dates = dates_of(lease);
    let ids: Vec<AccountId> = dates.keys().copied().collect();
    let failed = |candidate: &Candidate| {
        let outcome = Outcome::Failed { class, message: message.to_owned() };
        AccountResult { status, ..bare_result(candidate, dates[&candidate.account_id], outcome, attempts) }
    };
    let accounts = collector.store.candidates_of(&Scope::all_tenants(), &ids).await?.iter().map(failed).collect();
    let result = BatchResult { accounts, ..BatchResult::default() };
    // What is counted by these outcomes counts by their times.
    let now = turn_of(collector, lease, Duration::ZERO);
    let completed = collector.store.batch_complete(lease, result, now).await?;
    Ok(BatchReport { counts: completed.counts, open: completed.open, ..BatchReport::nothing(BatchEnd::Stored) })
}

//! One batch, from lease to storage: read from top to bottom, this is the path of the data.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use futures::FutureExt as _;
use serde_json::json;

use crate::pipeline::collection::batch_accounts::{BatchAccounts, FetchSetup};
use crate::pipeline::collection::collect_error::CollectError;
use crate::pipeline::collection::collector::{BatchReport, Collector, dates_of, turn_of};
use crate::pipeline::collection::evaluate::{self, DocumentOrigin, Observation, RowContext, UnknownMetrics};
use crate::pipeline::collection::fetch::{self, AccountFailure, BatchBudget, SideEffects};
use crate::pipeline::collection::given_back::{LONE_DEATHS_MAX, fail_host_killing, give_back, halve};
use crate::pipeline::collection::held::Held;
use crate::pipeline::collection::older_dates::{self, BatchFacts, PastDates};
use crate::pipeline::collection::pauses::BatchPauses;
use crate::pipeline::collection::results::ResultBuilder;
use crate::pipeline::releases::cache::{LoadedRelease, ReleaseError};
use crate::telemetry::BatchEnd;
use backline_model::kill_points::{Point, point};
use backline_model::remedies::{Remedy, off};
use backline_model::{AccountId, DocumentId, DocumentInput, FetchContext, Fetched, Lease, Outcome, Snapshot, Window};
use backline_rules::dates::{self, StoredDate};
use backline_store::{
    AccountResult, BatchResult, BatchStart, BatchWrite, DocumentBody, DocumentRecord, PluginLog, Scope, StoreError,
};

/// How many times the results of a batch are stored before it is given back.
const STORE_TRIES: u32 = 5;

/// Wait after the first of these tries; it grows with each.
const STORE_WAIT: Duration = Duration::from_millis(100);

/// Collects a batch. When that fails or panics, the batch is given back, so that another host can lease it at once.
///
/// # Errors
/// When giving it back fails too: the batch then stays leased until the lease expires. Also when the clock has jumped,
/// or the database can't be written to until someone acts, even if the batch was given back: a run need not go on then.
pub(in crate::pipeline) async fn collect_or_give_back(
    collector: &Collector,
    lease: &Lease,
) -> Result<BatchReport, CollectError> {
    // The first host that ended had other batches in its hands too; all further ones had only this.
    let lone_deaths = lease.host_losses.saturating_sub(1);
    let attempted = match lease.batch.accounts.len() {
        0 | 1 if lone_deaths >= LONE_DEATHS_MAX => return fail_host_killing(collector, lease).await,
        2.. if lone_deaths >= 1 => caught(halve(collector, lease)).await,
        _ => caught(collect(collector, lease)).await,
    };
    match attempted {
        // The host that holds it now collects it.
        Err(CollectError::Store(StoreError::LeaseLost { .. })) => Ok(BatchReport::nothing(BatchEnd::LeaseLost)),
        // The grant was revoked after the lease was taken: nothing was tried.
        Err(CollectError::Release(ReleaseError::NotGranted { .. })) => {
            collector.store.batch_release(lease, turn_of(collector, lease, Duration::ZERO), false).await?;
            Ok(BatchReport { open: lease.batch.accounts.len() as u64, ..BatchReport::nothing(BatchEnd::GivenBack) })
        }
        Err(error @ CollectError::Clock) => {
            let turn = turn_of(collector, lease, Duration::ZERO);
            if let Err(error) = collector.store.batch_release(lease, turn, false).await {
                tracing::warn!(batch = %lease.batch.id, %error, "a batch stays leased until its lease expires");
            }
            Err(error)
        }
        Err(error) => give_back(collector, lease, error).await,
        collected => collected,
    }
}

/// Turns a panic into an error. No shared state is left half changed: the work writes only in transactions.
async fn caught<T>(work: impl Future<Output = Result<T, CollectError>>) -> Result<T, CollectError> {
    AssertUnwindSafe(work)
        .catch_unwind()
        .await
        .unwrap_or_else(|panic| Err(CollectError::Worker(panic_message(panic.as_ref()))))
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("it panicked").to_owned()
}

/// Collects a leased batch and stores its results in one transaction.
///
/// # Errors
/// When the database fails, the release can't be loaded or the lease was lost. Nothing was stored then, and the batch
/// can be collected again.
#[tracing::instrument(
    name = "batch",
    skip_all,
    fields(
        batch = %lease.batch.id,
        run = %lease.batch.run_id,
        platform = %lease.batch.platform,
        accounts = lease.batch.accounts.len()
    )
)]
async fn collect(collector: &Collector, lease: &Lease) -> Result<BatchReport, CollectError> {
    let observed = while_leased(collector, lease, async {
        let mut observed = observe(collector, lease).await?;
        prepare(collector, lease, &mut observed).await?;
        Ok(observed)
    })
    .await?;
    point(Point::BatchPrepared);
    collector.telemetry.connector_used(&lease.batch.platform, &observed.side.used);
    let mut tries = 1;
    loop {
        match store(collector, lease, &observed).await {
            // What another transaction undid, or a database that was away for a moment, costs no second fetch. Where it
            // is stored already, the lease has ended.
            Err(CollectError::Store(error))
                if (error.is_transient() || matches!(error, StoreError::InDoubt { .. }))
                    && tries < STORE_TRIES
                    && !off(Remedy::StoredAgain) =>
            {
                tracing::debug!(batch = %lease.batch.id, %error, tries, "the results of a batch are stored again");
                tokio::time::sleep(STORE_WAIT * tries).await;
                tries += 1;
            }
            done => return done,
        }
    }
}

/// The time, for what is written of a batch; an error where the clock has jumped.
async fn right_now(collector: &Collector) -> Result<DateTime<Utc>, CollectError> {
    collector.clocks.asked_now().await?.ok_or(CollectError::Clock)
}

/// From the lease to snapshots: all that takes long. The first batch of a release waits until it is compiled, which may
/// take longer than a lease.
async fn observe(collector: &Collector, lease: &Lease) -> Result<Observed, CollectError> {
    let batch = &lease.batch;
    let ready = collector.cache.ready(batch.release).await?;
    let start = collector.store.batch_start_get(&Scope::all_tenants(), batch, collector.clock.now()).await?;
    let BatchStart { grant, lost_metrics, candidates, inputs, credentials: stored } = start;
    let release = ready.granted(batch.release, grant)?;
    let mut accounts = BatchAccounts::of(candidates, inputs);
    let mut side = SideEffects::default();

    accounts.exclude_withdrawn(&release);
    let (window, places) = aim(collector, lease, &release, &mut accounts, &mut side).await?;
    let past_dates = older_dates::wanted(collector, lease, &release, &accounts.open_candidates()).await?;
    let history = past_dates.iter().map(|(_, window)| *window).collect();
    let context = FetchContext { window, lost_metrics, history };
    let deadline = Duration::from_millis(collector.config.collection.batch_deadline_ms);
    let until = BatchBudget::time_for_credentials(deadline);
    let credentials = accounts.with_credentials(&collector.credentials, &release, &stored, until).await;
    let pauses = BatchPauses::load(&collector.store, &batch.platform, &credentials, collector.clock.now()).await?;
    pauses.tell(&collector.gateway);
    accounts.defer_paused(&pauses);
    let setup = FetchSetup {
        gateway: &collector.gateway,
        manager: &collector.credentials,
        release: &release,
        context: &context,
    };
    let allowance = release.connector.allowance(None);
    let held = collector.held.reserve(batch.release, allowance.output_bytes).await;
    let mut budget = BatchBudget::of(deadline, &allowance).within(&held);
    if lease.host_losses > 0 {
        collector.store.lone_batch_begin(lease).await?;
    }
    accounts.fetch(&setup, credentials, &mut budget, &mut side).await;
    point(Point::BatchFetched);
    // It may be right again when they are stored.
    let observed_at = right_now(collector).await?;
    let mut documents = accounts.take_documents();
    let of_past = older_dates::taken_from(&mut documents);
    let texts = documents.iter_mut().map(|(_, fetched)| std::mem::take(&mut fetched.body)).collect();
    let (bodies, texts) = DocumentBody::compress_all(texts).await?;
    let inputs = texts.into_iter().map(|body| DocumentInput { body, window, observed_at }).collect();
    let ids: Vec<AccountId> = documents.iter().map(|(account, _)| *account).collect();
    let snapshots = fetch::normalize(&release, &ids, inputs, &mut budget, &mut side).await;
    let past = older_dates::observe(&release, of_past, &past_dates, observed_at, &mut budget, &mut side).await?;
    point(Point::BatchNormalised);
    if budget.lacked_room() {
        collector.held.enlarge(batch.release, &held);
    }

    let around = BatchFacts { collector, lease, release: &release, candidates: &accounts.candidates, observed_at };
    let fetched = documents.into_iter().zip(bodies).zip(snapshots);
    let (observations, unknown) = evaluated(&around, &places, window, fetched).await;
    // What was last accepted of an account is saved with the row of its own date.
    let is_stored = |observation: &&Observation| {
        observation.prepared.is_ok() && !matches!(places[&observation.account], StoredDate::Observed(_))
    };
    let collected: BTreeSet<AccountId> = observations.iter().filter(is_stored).map(|one| one.account).collect();
    let past = older_dates::prepare(&around, past, &collected).await;
    let named = BTreeSet::new();
    let at = observed_at;
    Ok(Observed { release, accounts, observations, unknown, places, at, past, side, pauses, named, _held: held })
}

/// Does with snapshots all that needs no stored row. It takes as long as what the connector wrote makes it take, so it
/// is done before the transaction, which holds locks. Also says what to tell the operator of what was dropped.
async fn evaluated(
    around: &BatchFacts<'_>,
    places: &BTreeMap<AccountId, StoredDate>,
    window: Window,
    fetched: impl Iterator<Item = (((AccountId, Fetched), DocumentBody), Result<Snapshot, AccountFailure>)> + Send,
) -> (Vec<Observation>, Option<String>) {
    let BatchFacts { collector, lease, release, candidates, observed_at } = *around;
    let (planned, run_id) = (dates_of(lease), lease.batch.run_id);
    let (mut observations, mut unknown) = (Vec::new(), UnknownMetrics::default());
    for (((account, fetched), body), snapshot) in fetched {
        let metric_date = match places[&account] {
            StoredDate::Observed(date) => date,
            StoredDate::Planned | StoredDate::History => planned[&account],
        };
        let (document_id, only_history) = (DocumentId::generate(), places[&account] == StoredDate::History);
        let origin = DocumentOrigin { metric_date, observed_at, window, run_id, document_id, only_history };
        let prepared = snapshot.map(|mut snapshot| {
            unknown.trim(&mut snapshot, &release.manifest);
            evaluate::prepare(&RowContext::new(release, &collector.config, &candidates[&account], origin), snapshot)
        });
        observations.push(Observation { account, origin, body, state: fetched.state, prepared });
        // An account may have megabytes of text.
        tokio::task::yield_now().await;
    }
    (observations, unknown.note())
}

/// What is written before the transaction of the batch, while its lease is still renewed: months for its rows, and the
/// pauses that the platform asked for.
async fn prepare(collector: &Collector, lease: &Lease, observed: &mut Observed) -> Result<(), CollectError> {
    let now = right_now(collector).await?;
    let date_of = |observation: &Observation| match observed.places[&observation.account] {
        StoredDate::Observed(date) => Some(date),
        StoredDate::Planned | StoredDate::History => None,
    };
    let others = observed.observations.iter().filter_map(date_of).chain(observed.past.keys().copied());
    let others: BTreeSet<NaiveDate> = others.collect();
    if !others.is_empty() {
        collector.store.months_ensure(others.into_iter()).await?;
    }
    let Observed { release, accounts, side, pauses, named, .. } = observed;
    // Before the pauses of this batch are made known: the gateway can't tell those that were chosen here from others.
    *named = pauses.named_waits(&collector.gateway, &accounts.ended);
    let results = ResultBuilder { collector, lease, release, now, side, pauses, named };
    let asked = results.asked(&accounts.ended);
    asked.begin(&collector.store, &collector.gateway, &lease.batch.platform, now).await;
    Ok(())
}

/// Decides the window to fetch and where each account's numbers belong. Ends the accounts whose numbers could be stored
/// nowhere: their date ended too long ago, and that of now is collected already. Nothing is asked of the platform for
/// them. The others that are late need a window of their own: they go back as a batch of theirs, unless all are late.
async fn aim(
    collector: &Collector,
    lease: &Lease,
    release: &LoadedRelease,
    accounts: &mut BatchAccounts,
    side: &mut SideEffects,
) -> Result<(Window, BTreeMap<AccountId, StoredDate>), CollectError> {
    let (now, planned, allowed) = (right_now(collector).await?, dates_of(lease), collector.config.collection.late());
    let open = accounts.candidates.values().filter(|candidate| !accounts.ended.contains_key(&candidate.account_id));
    let places: BTreeMap<AccountId, StoredDate> = open
        .map(|candidate| {
            let id = candidate.account_id;
            (id, dates::place(planned[&id], &candidate.timezone, now, allowed, &release.manifest))
        })
        .collect();
    let mut late: BTreeMap<AccountId, NaiveDate> = places
        .iter()
        .filter_map(|(id, place)| if let StoredDate::Observed(date) = place { Some((*id, *date)) } else { None })
        .collect();
    if late.is_empty() {
        return Ok((lease.batch.window, places));
    }
    let all_are_late = late.len() == places.len();
    let dates: Vec<_> = late.iter().map(|(id, date)| (*id, *date)).collect();
    for id in collector.store.collected_accounts_of(&Scope::all_tenants(), &dates).await? {
        late.remove(&id);
        accounts.ended.insert(id, AccountFailure::Final(Outcome::Superseded));
    }
    if all_are_late {
        return Ok((dates::window_until(lease.batch.window, now), places));
    }
    if !late.is_empty() {
        accounts.ended.extend(late.keys().map(|id| (*id, AccountFailure::NoTurn)));
        side.without_turn.push(late.into_keys().collect());
    }
    Ok((lease.batch.window, places))
}

/// Renews the lease until the work is done, and drops the work when another host has taken the batch over. The lease is
/// not renewed while results are stored: that transaction locks the batch's row, and checks the token itself. A
/// database that does not answer stops no work, because the token is checked again when results are stored.
async fn while_leased<T>(
    collector: &Collector,
    lease: &Lease,
    work: impl Future<Output = Result<T, CollectError>>,
) -> Result<T, CollectError> {
    let ttl = Duration::from_millis(collector.config.collection.lease_ttl_ms);
    let lost = async {
        loop {
            tokio::time::sleep(ttl / 3).await;
            // Else it would be held until a time of a clock that is wrong. It runs out, and another host takes it over.
            let Some(now) = collector.clocks.right_now() else { continue };
            let renewed = collector.store.lease_renew(lease, now, ttl);
            match StoreError::in_time(ttl / 3, "renew a lease", renewed).await {
                Ok(_) => {}
                Err(error @ StoreError::LeaseLost { .. }) => return error,
                Err(error) => tracing::warn!(batch = %lease.batch.id, %error, "a lease could not be renewed"),
            }
        }
    };
    tokio::select! {
        biased;
        result = work => result,
        error = lost => Err(error.into()),
    }
}

/// What a batch's fetch brought.
struct Observed {
    /// The release that collected it.
    release: LoadedRelease,
    accounts: BatchAccounts,
    observations: Vec<Observation>,
    /// What to tell the operator of metrics that were dropped.
    unknown: Option<String>,
    /// Where the numbers of each observation belong.
    places: BTreeMap<AccountId, StoredDate>,
    /// When the documents were fetched.
    at: DateTime<Utc>,
    /// What was fetched of past dates besides.
    past: PastDates,
    side: SideEffects,
    /// As they were when it began.
    pauses: BatchPauses,
    /// Accounts whose platform said how long they have to wait.
    named: BTreeSet<AccountId>,
    /// Room for all that, until it is stored.
    _held: Held,
}

/// The last step: stores all results of the batch, in one transaction that also completes the lease.
#[tracing::instrument(name = "store", skip_all, fields(documents = observed.observations.len()))]
async fn store(collector: &Collector, lease: &Lease, observed: &Observed) -> Result<BatchReport, CollectError> {
    let Observed { release, accounts, observations, unknown, places, at, past, side, pauses, named, _held } = observed;
    let now = right_now(collector).await?;
    let planned = dates_of(lease);
    let results = ResultBuilder { collector, lease, release, now, side, pauses, named };
    let around = BatchFacts { collector, lease, release, candidates: &accounts.candidates, observed_at: *at };
    let keys: Vec<_> =
        observations.iter().map(|observation| (observation.account, observation.origin.metric_date)).collect();
    // Copied, since they may have to be stored again.
    let documents: Vec<DocumentRecord> =
        observations.iter().map(|observation| observation.origin.document(observation.body.clone())).collect();
    let mut result = BatchResult { logs: logs_of(side, unknown.as_deref()), ..result_of(side) };

    let mut completion = collector.store.completion_begin(lease, now).await?;
    older_dates::add(&mut completion, &around, past).await?;
    let mut known_of = completion.history_load(&keys).await?;
    for (observation, document) in observations.iter().zip(documents) {
        let candidate = &accounts.candidates[&observation.account];
        let (place, origin) = (places[&observation.account], observation.origin);
        let known = known_of.remove(&observation.account).unwrap_or_default();
        match &observation.prepared {
            // Another run has collected that date since this batch began.
            Ok(_) if matches!(place, StoredDate::Observed(_)) && known.existing.is_some() => {
                let failure = AccountFailure::Final(Outcome::Superseded);
                results.end(&mut result, candidate, planned[&observation.account], failure, None);
            }
            Ok(prepared) => {
                let context = RowContext::new(release, &collector.config, candidate, origin);
                let made = evaluate::finish(&context, prepared, known);
                // What was left out on purpose says nothing about the release.
                if place != StoredDate::History {
                    result.tally.collected(&made.accepted, made.withheld.len() as u64);
                    result.tally.scored(made.row.quality_score);
                }
                result.accounts.push(AccountResult {
                    stored: Some(made.stored(observation.state.clone())),
                    document: Some(document),
                    ..results.bare_result(candidate, origin.metric_date, Outcome::Collected)
                });
            }
            Err(failure) => {
                results.end(&mut result, candidate, planned[&observation.account], failure.clone(), Some(document));
            }
        }
    }
    for (id, failure) in &accounts.ended {
        results.end(&mut result, &accounts.candidates[id], planned[id], failure.clone(), None);
    }
    let completed = completion.commit(result).await?;
    let BatchWrite { took, rows, bytes } = completed.written;
    collector.telemetry.batch_written(&lease.batch.platform, took, rows, bytes);
    let SideEffects { requests, throttled, timed_out, .. } = *side;
    Ok(BatchReport {
        end: BatchEnd::Stored,
        counts: completed.counts,
        open: completed.open,
        requests,
        throttled,
        timed_out,
    })
}

/// What is stored of a batch whatever becomes of its accounts.
fn result_of(side: &SideEffects) -> BatchResult {
    BatchResult {
        lost_metrics: side.lost_metrics.clone(),
        without_turn: side.without_turn.clone(),
        usage: json!({ "requests": side.requests, "units": side.units }),
        ..BatchResult::default()
    }
}

/// What the connector logged, and what the host says of it.
fn logs_of(side: &SideEffects, of_host: Option<&str>) -> Vec<PluginLog> {
    let of_host = of_host.map(|message| PluginLog {
        call: "host".to_owned(),
        level: "warn".to_owned(),
        message: message.to_owned(),
    });
    let of_connector = side.logs.iter().map(|(call, line)| PluginLog {
        call: (*call).to_owned(),
        level: line.level.to_string(),
        message: line.message.clone(),
    });
    of_connector.chain(of_host).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_like_any_other() {
        let panicking = async { if true { panic!("index {} of 1", 2) } else { Ok(()) } };
        let error = caught(panicking).await.expect_err("it panicked");
        assert!(matches!(&error, CollectError::Worker(text) if text == "index 2 of 1"), "{error}");
        assert_eq!(caught(async { Ok(3) }).await.expect("it did not"), 3);
    }
}

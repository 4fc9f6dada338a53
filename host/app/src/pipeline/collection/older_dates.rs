//! Past dates that a backfill's batch fetches besides its own, where the connector takes several dates in one call.
//!
//! A backfill has one run for each date, the newest first. A batch of such a run asks for older dates of the backfill
//! too, those that all of its accounts lack. What comes is stored in the transaction of the batch, so the run of such a
//! date has nothing left to collect of these accounts. What does not come is collected by that run: nothing is planned
//! or deferred for these dates here, and no account ends with them.
//!
//! The batch's own date comes first. Past dates are asked for once: a batch that comes back, for whatever reason, and a
//! call that failed, are about their own date alone. So no past date can keep another from being collected.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};

use crate::pipeline::collection::collector::Collector;
use crate::pipeline::collection::evaluate::{self, DocumentOrigin, Prepared, RowContext, UnknownMetrics};
use crate::pipeline::collection::fetch::{self, BatchBudget, SideEffects};
use crate::pipeline::collection::results::bare_result;
use crate::pipeline::releases::cache::LoadedRelease;
use backline_model::{
    AccountId, Candidate, DocumentId, DocumentInput, Fetched, Lease, Outcome, PastDocument, Snapshot, Window,
};
use backline_rules::dates::{self, StoredDate};
use backline_store::{AccountResult, Completion, DocumentBody, MetricsFilter, Scope, StoreError};

/// Most past dates that one batch asks for besides its own: a month. A batch has the time and the answers of one call
/// for all of them.
const DATES_MAX: u64 = 30;

/// A document of a past date, and the snapshot made of it.
pub(super) struct PastSnapshot {
    account: AccountId,
    document_id: DocumentId,
    body: DocumentBody,
    window: Window,
    snapshot: Snapshot,
}

/// Snapshots of past dates, the oldest first.
pub(super) type PastSnapshots = BTreeMap<NaiveDate, Vec<PastSnapshot>>;

/// A document of a past date, and what was made of its snapshot.
pub(super) struct PastObservation {
    account: AccountId,
    origin: DocumentOrigin,
    body: DocumentBody,
    prepared: Prepared,
}

/// What was fetched of past dates, the oldest first: each is compared with those before it.
pub(super) type PastDates = BTreeMap<NaiveDate, Vec<PastObservation>>;

/// The past dates to ask for besides the batch's own, with the window that each alone would have, oldest first. None
/// unless the run is a backfill's, the connector takes several dates at once, the batch's own date is over for all of
/// its accounts, and it is the batch's first time.
///
/// # Errors
/// When the database fails.
pub(super) async fn wanted(
    collector: &Collector,
    lease: &Lease,
    release: &LoadedRelease,
    open: &[&Candidate],
) -> Result<Vec<(NaiveDate, Window)>, StoreError> {
    if !release.connector.takes_history() || !release.manifest.has_history() || open.is_empty() {
        return Ok(Vec::new());
    }
    let (now, late) = (collector.clock.now(), collector.config.collection.late());
    let Some(own) = lease.batch.accounts.iter().map(|account| account.metric_date).min() else {
        return Ok(Vec::new());
    };
    // The run of the day is not read for each of its batches: its counts are counted.
    if !open.iter().all(|candidate| candidate.timezone.date_at(now) > own) {
        return Ok(Vec::new());
    }
    let run = collector.store.run_get(&Scope::all_tenants(), lease.batch.run_id).await?;
    let Some(since) = run.and_then(|run| run.backfills_since()) else { return Ok(Vec::new()) };
    if came_back(collector, lease).await? {
        return Ok(Vec::new());
    }
    let mut dates = dates_before(own, since, open, now, late, release);
    if let (Some(first), Some(last)) = (dates.first().copied(), dates.last().copied()) {
        for candidate in open {
            let filter = MetricsFilter {
                account: Some(candidate.account_id),
                since: Some(first),
                until: Some(last),
                ..MetricsFilter::default()
            };
            let rows = collector.store.metrics_list(&Scope::all_tenants(), &filter).await?;
            let told = rows.iter().filter(|row| dates::is_told(row, &release.manifest)).map(|row| row.metric_date);
            let told: BTreeSet<NaiveDate> = told.collect();
            dates.retain(|date| !told.contains(date));
        }
    }
    let window = |date: &NaiveDate| {
        dates::past_window(*date, open.iter().map(|candidate| &candidate.timezone), lease.batch.window)
    };
    Ok(dates.into_iter().filter_map(|date| Some((date, window(&date)?))).collect())
}

/// Whether the batch, or an account of it, was tried before: what it asked for besides may be why it came back.
async fn came_back(collector: &Collector, lease: &Lease) -> Result<bool, StoreError> {
    if lease.batch.attempts > 0 || lease.host_losses > 0 {
        return Ok(true);
    }
    // A deferral uses no attempt.
    let accounts = collector.store.batch_accounts_list(&Scope::all_tenants(), lease.batch.id).await?;
    Ok(accounts.iter().any(|account| account.outcome.is_some()))
}

/// Dates of the backfill before a batch's own, the oldest first, that are over for all of its accounts.
fn dates_before(
    own: NaiveDate,
    since: NaiveDate,
    open: &[&Candidate],
    now: DateTime<Utc>,
    late: TimeDelta,
    release: &LoadedRelease,
) -> Vec<NaiveDate> {
    let is_past = |date: &NaiveDate| {
        let place = |candidate: &&Candidate| dates::place(*date, &candidate.timezone, now, late, &release.manifest);
        open.iter().all(|candidate| place(candidate) == StoredDate::History)
    };
    let before = (1..=DATES_MAX).map_while(|back| own.checked_sub_days(Days::new(back)));
    let mut dates: Vec<NaiveDate> = before.take_while(|date| *date >= since).filter(is_past).collect();
    dates.reverse();
    dates
}

/// Takes what was fetched of past dates out of the documents of a batch.
pub(super) fn taken_from(documents: &mut [(AccountId, Fetched)]) -> Vec<(AccountId, PastDocument)> {
    let mut taken = Vec::new();
    for (account, fetched) in documents {
        taken.extend(std::mem::take(&mut fetched.past).into_iter().map(|document| (*account, document)));
    }
    taken
}

/// Normalises documents of past dates. Those that get no turn, or of which there is no snapshot, are dropped: the run
/// of their date fetches them, and says what is wrong with them.
///
/// # Errors
/// When memory is short.
pub(super) async fn observe(
    release: &LoadedRelease,
    fetched: Vec<(AccountId, PastDocument)>,
    wanted: &[(NaiveDate, Window)],
    observed_at: DateTime<Utc>,
    budget: &mut BatchBudget,
    side: &mut SideEffects,
) -> Result<PastSnapshots, StoreError> {
    let mut observed = PastSnapshots::new();
    if fetched.is_empty() {
        return Ok(observed);
    }
    let (mut kept, mut texts) = (Vec::with_capacity(fetched.len()), Vec::with_capacity(fetched.len()));
    for (account, PastDocument { window, body }) in fetched {
        // The sandbox has let through only what was asked for.
        if let Some((date, _)) = wanted.iter().find(|(_, asked)| *asked == window) {
            kept.push((account, *date, window));
            texts.push(body);
        }
    }
    let (bodies, texts) = DocumentBody::compress_all(texts).await?;
    let of_text = |(body, (_, _, window)): (String, &(AccountId, NaiveDate, Window))| DocumentInput {
        body,
        window: *window,
        observed_at,
    };
    let inputs = texts.into_iter().zip(&kept).map(of_text).collect();
    let accounts: Vec<AccountId> = kept.iter().map(|(account, _, _)| *account).collect();
    budget.go_besides();
    // An account whose own date has a row is done, whatever becomes of the others.
    let without_turn = std::mem::take(&mut side.without_turn);
    let snapshots = fetch::normalize(release, &accounts, inputs, budget, side).await;
    side.without_turn = without_turn;
    for (((account, date, window), body), snapshot) in kept.into_iter().zip(bodies).zip(snapshots) {
        if let Ok(snapshot) = snapshot {
            let document_id = DocumentId::generate();
            observed.entry(date).or_default().push(PastSnapshot { account, document_id, body, window, snapshot });
        }
    }
    Ok(observed)
}

/// What the rows of past dates have in common with the batch.
pub(super) struct BatchFacts<'a> {
    pub(super) collector: &'a Collector,
    pub(super) lease: &'a Lease,
    pub(super) release: &'a LoadedRelease,
    pub(super) candidates: &'a BTreeMap<AccountId, Candidate>,
    pub(super) observed_at: DateTime<Utc>,
}

/// Does with snapshots of past dates all that needs no stored row, for those accounts that are `collected`: what was
/// last accepted of an account is saved with its own row.
pub(super) async fn prepare(
    around: &BatchFacts<'_>,
    past: PastSnapshots,
    collected: &BTreeSet<AccountId>,
) -> PastDates {
    let BatchFacts { collector, lease, release, candidates, observed_at } = *around;
    // They have a bound of their own: what the catalogue does not know of a past date takes no room from the batch's.
    let mut unknown = UnknownMetrics::default();
    let mut prepared = PastDates::new();
    for (metric_date, snapshots) in past {
        for observed in snapshots.into_iter().filter(|observed| collected.contains(&observed.account)) {
            let PastSnapshot { account, document_id, body, window, mut snapshot } = observed;
            unknown.trim(&mut snapshot, &release.manifest);
            let run_id = lease.batch.run_id;
            let origin = DocumentOrigin { metric_date, observed_at, window, run_id, document_id, only_history: true };
            let candidate = &candidates[&account];
            let made = evaluate::prepare(&RowContext::new(release, &collector.config, candidate, origin), snapshot);
            prepared.entry(metric_date).or_default().push(PastObservation { account, origin, body, prepared: made });
            tokio::task::yield_now().await;
        }
    }
    prepared
}

/// Adds the rows of past dates to a completion that is under way.
///
/// # Errors
/// When the database fails.
pub(super) async fn add(
    completion: &mut Completion,
    around: &BatchFacts<'_>,
    past: &PastDates,
) -> Result<(), StoreError> {
    let BatchFacts { collector, release, candidates, .. } = *around;
    for (date, observations) in past {
        let keys: Vec<_> = observations.iter().map(|observed| (observed.account, *date)).collect();
        let mut known = completion.history_load(&keys).await?;
        let mut rows = Vec::with_capacity(observations.len());
        for observed in observations {
            let (candidate, origin) = (&candidates[&observed.account], observed.origin);
            let context = RowContext::new(release, &collector.config, candidate, origin);
            let known = known.remove(&observed.account).unwrap_or_default();
            let made = evaluate::finish(&context, &observed.prepared, known);
            rows.push(AccountResult {
                document: Some(origin.document(observed.body.clone())),
                // Only the state of the account's own date is handed back.
                stored: Some(made.stored(None)),
                ..bare_result(candidate, *date, Outcome::Collected, 0)
            });
        }
        completion.older_dates_add(rows).await?;
    }
    Ok(())
}

//! Runs, batches, outcomes, and what a run would do.

use chrono::NaiveDate;

use crate::api::answer::{Item, Page};
use crate::api::call::Call;
use crate::api::handlers::known;
use crate::api::problem::Problem;
use crate::api::query::{Limit, NoQuery, query};
use crate::pipeline::collection::report::{PlanReport, RunRequest};
use crate::pipeline::names;
use backline_model::outcome::OutcomeKind;
use backline_model::{AccountId, ArtistId, BatchId, BatchState, Platform, Run, RunId, RunStatus, Tenant};
use backline_store::{BatchAccountView, BatchFilter, BatchView, NamedOutcome, RunFilter};

query! {
    /// Parameters of a list of runs.
    Runs {
        /// Only runs with this status
        status: RunStatus,
        /// Only runs that this started, such as `manual`, `backfill` or the name of a schedule
        trigger: String,
        /// Only runs with accounts of this tenant; they are counted as far as they are its
        tenant: Tenant,
        /// At most this many
        limit: Limit,
        /// Where the page begins: `next` of the page before
        cursor: String,
    }
}

query! {
    /// Parameters of a list of outcomes.
    Outcomes {
        /// Only accounts that ended in this way
        outcome: OutcomeKind,
        /// At most this many
        limit: Limit,
        /// Where the page begins: `next` of the page before
        cursor: String,
    }
}

query! {
    /// Parameters of a list of batches.
    Batches {
        /// Only of this run
        run: RunId,
        /// Only on this platform
        platform: Platform,
        /// Only of this tenant
        tenant: Tenant,
        /// Only batches in this state; unless given, those that are open or dead
        state: BatchState,
        /// At most this many
        limit: Limit,
        /// Where the page begins: `next` of the page before
        cursor: String,
    }
}

query! {
    /// Parameters of a plan.
    Plan {
        /// The logical date; each artist's own date unless given
        date: NaiveDate,
        /// Only this platform
        platform: Platform,
        /// Only this artist
        artist: ArtistId,
    }
}

pub(in crate::api) async fn runs(call: Call, query: Runs) -> Result<Page<Run>, Problem> {
    let scope = call.scope_of(query.tenant).await?;
    let before = call.after(query.cursor.as_ref())?;
    let Runs { status, trigger, limit, .. } = query;
    let filter = RunFilter { status, trigger, before, limit: Some(Limit::of(limit) + 1) };
    let host = call.host();
    let runs = names::runs_list(host.store(), host.config(), &scope, &filter).await?;
    call.page(runs, limit, |run| (run.started_at, run.id))
}

pub(in crate::api) async fn run(call: Call, _: NoQuery) -> Result<Item<Run>, Problem> {
    of_path(&call).await.map(Item)
}

/// The run that the path names.
async fn of_path(call: &Call) -> Result<Run, Problem> {
    let id: RunId = call.path("run")?;
    let run = call.host().store().run_get(&call.scope(), id).await?;
    run.ok_or_else(|| Problem::not_found("run", id))
}

pub(in crate::api) async fn outcomes(call: Call, query: Outcomes) -> Result<Page<NamedOutcome>, Problem> {
    let run = of_path(&call).await?;
    let after: Option<AccountId> = call.after(query.cursor.as_ref())?;
    let limit = Limit::of(query.limit) + 1;
    let (store, scope) = (call.host().store(), call.scope());
    let outcomes = match query.outcome {
        None => store.run_outcomes_list(&scope, run.id, after, limit).await?,
        Some(kind) => store.run_outcomes_of_kind_list(&scope, run.id, kind, after, limit).await?,
    };
    call.page(outcomes, query.limit, |outcome| outcome.account_id)
}

pub(in crate::api) async fn batches(call: Call, query: Batches) -> Result<Page<BatchView>, Problem> {
    let scope = call.scope_of(query.tenant).await?;
    let filter = BatchFilter {
        ids: Vec::new(),
        run: query.run,
        platform: known(call.host(), query.platform).await?,
        state: query.state,
        before: call.after(query.cursor.as_ref())?,
        limit: Some(Limit::of(query.limit) + 1),
    };
    let batches = call.host().store().batches_list(&scope, &filter).await?;
    call.page(batches, query.limit, |batch| (batch.created_at, batch.id))
}

pub(in crate::api) async fn batch(call: Call, _: NoQuery) -> Result<Item<BatchView>, Problem> {
    batch_of_path(&call).await.map(Item)
}

/// The batch that the path names.
async fn batch_of_path(call: &Call) -> Result<BatchView, Problem> {
    let id: BatchId = call.path("batch")?;
    let filter = BatchFilter { ids: vec![id], ..BatchFilter::default() };
    let found = call.host().store().batches_list(&call.scope(), &filter).await?;
    found.into_iter().next().ok_or_else(|| Problem::not_found("batch", id))
}

pub(in crate::api) async fn batch_accounts(call: Call, _: NoQuery) -> Result<Page<BatchAccountView>, Problem> {
    let batch = batch_of_path(&call).await?;
    Ok(Page::whole(call.host().store().batch_accounts_list(&call.scope(), batch.id).await?))
}

pub(in crate::api) async fn plan(call: Call, query: Plan) -> Result<Item<PlanReport>, Problem> {
    let platform = known(call.host(), query.platform).await?;
    let request = RunRequest {
        trigger: "manual".to_owned(),
        date: query.date,
        due: None,
        platforms: platform.into_iter().collect(),
        artists: query.artist.into_iter().collect(),
    };
    Ok(Item(call.host().planner().plan(&request).await?))
}

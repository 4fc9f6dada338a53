//! Acts on everything that a filter shows.

use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use crate::api::answer::{Item, Page, Recorded};
use crate::api::call::Call;
use crate::api::handlers::acts::NoChoice;
use crate::api::handlers::known;
use crate::api::problem::Problem;
use crate::api::query::{Limit, NoQuery, query};
use crate::api::schema::{Components, Described, Field, component, described, object};
use crate::pipeline::{BulkActFilter, BulkCount, BulkError, NewBulkAct, Subject, bulk_act_details};
use backline_model::bulk::{BulkAct, BulkAction, BulkFilter, BulkState};
use backline_model::{AccountStatus, ArtistId, Platform, RunId, Tenant};

query! {
    /// Parameters of the list of bulk acts.
    BulkActs {
        /// Only in this state
        state: BulkState,
        /// Only on things of this tenant
        tenant: Tenant,
        /// At most this many
        limit: Limit,
        /// Where the page begins: `next` of the page before
        cursor: String,
    }
}

query! {
    /// Parameters of a count: an action and its filter, or a filter for each action that takes it.
    Counting {
        /// What would be done to each thing
        action: BulkAction,
        /// Only of this platform
        platform: Platform,
        /// Only of this artist
        artist: ArtistId,
        /// Only of this run
        run: RunId,
        /// Only accounts with this status
        status: AccountStatus,
        /// Only values of this metric
        metric: String,
        /// Only values that this rule withheld
        rule: String,
        /// Only runs that this started, such as `manual`, `backfill` or the name of a schedule
        trigger: String,
        /// Only things of this tenant
        tenant: Tenant,
    }
}

/// What is to be started. `count` is what `/v1/bulk/count` answered.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::api) struct StartBulk {
    action: Option<BulkAction>,
    filter: BulkFilter,
    tenant: Option<Tenant>,
    reason: Option<String>,
    count: Option<u64>,
}

described! {
    StartBulk {
        [optional] action: Option<BulkAction>, [optional] filter: BulkFilter, [optional] tenant: Option<Tenant>,
        [optional] reason: Option<String>, [optional] count: Option<u64>,
    }
    BulkFilter {
        [optional] platform: Option<Platform>, [optional] artist: Option<ArtistId>, [optional] run: Option<RunId>,
        [optional] status: Option<AccountStatus>, [optional] metric: Option<String>, [optional] rule: Option<String>,
        [optional] trigger: Option<String>,
    }
    BulkCount { action: BulkAction, count: u64, sample: Vec<Uuid> }
}

/// A filter or an action that is wrong is a wrong request, whatever the state of things.
fn problem_of(error: BulkError) -> Problem {
    match error {
        BulkError::Filter(_) | BulkError::Reason => Problem::wrong(error.to_string()),
        BulkError::Runs => Problem::forbidden(error.to_string()),
        BulkError::Name(error) => error.into(),
        BulkError::Store(error) => error.into(),
        error => error.into(),
    }
}

pub(in crate::api) async fn list(call: Call, query: BulkActs) -> Result<Page<BulkAct>, Problem> {
    let scope = call.scope_of(query.tenant).await?;
    let before: Option<Uuid> = call.after(query.cursor.as_ref())?;
    let filter = BulkActFilter { state: query.state, before, limit: Some(Limit::of(query.limit) + 1) };
    let acts = call.host().bulk().list(&scope, &filter).await?;
    call.page(acts, query.limit, |act| act.id)
}

pub(in crate::api) async fn get(call: Call, _: NoQuery) -> Result<Item<BulkAct>, Problem> {
    let id: Uuid = call.path("act")?;
    let act = call.host().bulk().get(&call.scope(), id).await?;
    act.map(Item).ok_or_else(|| Problem::not_found("bulk act", id))
}

pub(in crate::api) async fn count(call: Call, query: Counting) -> Result<Page<BulkCount>, Problem> {
    let scope = call.scope_of(query.tenant).await?;
    let platform = known(call.host(), query.platform).await?;
    let Counting { action, artist, run, status, metric, rule, trigger, .. } = query;
    let filter = BulkFilter { platform, artist, run, status, metric, rule, trigger };
    let bulk = call.host().bulk();
    if let Some(action) = action {
        return bulk.count(&scope, action, &filter).await.map(|one| Page::whole(vec![one])).map_err(problem_of);
    }
    let mut found = Vec::new();
    for action in BulkAction::ALL {
        match bulk.count(&scope, action, &filter).await {
            Ok(one) => found.extend(Some(one).filter(|one| one.count > 0)),
            // It takes another filter, or another token.
            Err(BulkError::Filter(_) | BulkError::Runs) => {}
            Err(error) => return Err(problem_of(error)),
        }
    }
    Ok(Page::whole(found))
}

pub(in crate::api) async fn start(call: Call, body: StartBulk) -> Result<Recorded<Item<BulkAct>>, Problem> {
    let StartBulk { action, filter, tenant, reason, count } = body;
    let (Some(action), Some(reason), Some(count)) = (action, reason, count) else {
        return Err(Problem::wrong("give action, reason and count; `/v1/bulk/count` counts"));
    };
    let scope = call.scope_of(tenant).await?;
    let filter = BulkFilter { platform: known(call.host(), filter.platform).await?, ..filter };
    let new = NewBulkAct { action, filter, reason, count };
    let act = call.host().bulk().start(&scope, new).await.map_err(problem_of)?;
    call.made(Subject::Bulk(act.id));
    let (details, artist) = (bulk_act_details(&act), act.filter.artist);
    Ok(Recorded { answer: Item(act), details, artist })
}

pub(in crate::api) async fn cancel(call: Call, _: NoChoice) -> Result<Recorded<Item<BulkAct>>, Problem> {
    let id: Uuid = call.path("act")?;
    let act = call.host().bulk().cancel(&call.scope(), id).await.map_err(problem_of)?;
    let (details, artist) = (json!({ "act": id, "done": act.done }), act.filter.artist);
    Ok(Recorded { answer: Item(act), details, artist })
}

//! Operations that change something. Each says what the audit log keeps of it.

use chrono::NaiveDate;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::api::answer::{Item, Recorded};
use crate::api::call::Call;
use crate::api::handlers::known;
use crate::api::problem::Problem;
use crate::api::query::in_years;
use crate::api::schema::{Components, Described, Field, component, described, object};
use crate::pipeline::collection::report::RunRequest;
use crate::pipeline::{CancelError, CancelReport, Subject};
use backline_model::{ArtistId, BatchId, Platform, Quarantined, Run, RunId};
use backline_store::{BatchFilter, CancelledBatches, Retried};

/// Longest reason for cancelling a run, in characters.
const REASON_CHARACTERS_MAX: usize = 500;

/// Which accounts to collect, and for which date. What is left out does not restrict.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::api) struct StartRun {
    date: Option<NaiveDate>,
    platforms: Vec<Platform>,
    artists: Vec<ArtistId>,
}

/// Why a run is cancelled.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::api) struct CancelRun {
    reason: Option<String>,
}

/// Which dead batches to retry: at least one of these, or `all_dead`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::api) struct RetryBatches {
    batches: Vec<BatchId>,
    run: Option<RunId>,
    platform: Option<Platform>,
    all_dead: bool,
}

/// An act without choices.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct NoChoice {}

described! {
    StartRun {
        [optional] date: Option<NaiveDate>, [optional] platforms: Vec<Platform>, [optional] artists: Vec<ArtistId>,
    }
    CancelRun { [optional] reason: Option<String> }
    RetryBatches {
        [optional] batches: Vec<BatchId>, [optional] run: Option<RunId>, [optional] platform: Option<Platform>,
        [optional] all_dead: bool,
    }
    CancelledBatches { batches: u64, leased: u64, accounts: u64 }
    CancelReport { run: Run, [flatten] cancelled: CancelledBatches }
    Retried { batches: u64, accounts: u64, runs: Vec<RunId> }
}

impl Described for NoChoice {
    fn refer(_: &mut Components) -> Json {
        object(Vec::new())
    }
}

pub(in crate::api) async fn start_run(call: Call, body: StartRun) -> Result<Recorded<Item<Run>>, Problem> {
    let StartRun { date, platforms: given, artists } = body;
    let date = date.map(in_years).transpose().map_err(|problem| Problem::wrong(format!("date: {problem}")))?;
    let mut platforms = Vec::new();
    for platform in given {
        // By its name or its connector's.
        platforms.extend(known(call.host(), Some(platform)).await?);
    }
    let (platforms, artists) = (once(platforms), once(artists));
    let details = json!({ "date": date, "platform": platforms });
    let artist = if let [one] = artists.as_slice() { Some(*one) } else { None };
    let request = RunRequest { trigger: "manual".to_owned(), date, due: None, platforms, artists };
    let run = call.host().runs().start(&request).await?;
    call.made(Subject::Run(run.id));
    Ok(Recorded { answer: Item(run), details, artist })
}

/// Each of them once: what is given twice is planned once.
fn once<T: PartialEq>(given: Vec<T>) -> Vec<T> {
    let mut all = Vec::with_capacity(given.len());
    for one in given {
        if !all.contains(&one) {
            all.push(one);
        }
    }
    all
}

pub(in crate::api) async fn cancel_run(call: Call, body: CancelRun) -> Result<Recorded<Item<CancelReport>>, Problem> {
    let id: RunId = call.path("run")?;
    if body.reason.as_ref().is_some_and(|reason| reason.chars().count() > REASON_CHARACTERS_MAX) {
        return Err(Problem::wrong(format!("reason: it has more than {REASON_CHARACTERS_MAX} characters")));
    }
    let reason = body.reason.unwrap_or_else(|| "by the operator".to_owned());
    let report = call.host().runs().cancel(id, &reason).await.map_err(|error| match error {
        CancelError::NoRun(id) => Problem::not_found("run", id),
        error => error.into(),
    })?;
    let details = json!({ "run": id, "became": report.run.status, "batches": report.cancelled.batches });
    Ok(Recorded { answer: Item(report), details, artist: None })
}

pub(in crate::api) async fn retry_batches(call: Call, body: RetryBatches) -> Result<Recorded<Item<Retried>>, Problem> {
    let RetryBatches { batches, run, platform, all_dead } = body;
    if batches.is_empty() && run.is_none() && platform.is_none() && !all_dead {
        return Err(Problem::wrong("say which: give batches, run or platform, or set all_dead"));
    }
    let (host, scope) = (call.host(), call.scope());
    let platform = known(host, platform).await?;
    for batch in &batches {
        call.about(Subject::Batch(*batch)).await;
    }
    call.about(run.map_or(Subject::Batches, Subject::Run)).await;
    let mut details = json!({ "batches": batches, "run": run, "platform": platform, "all_dead": all_dead });
    let filter = BatchFilter { ids: batches, run, platform, ..BatchFilter::default() };
    let weights = &host.config().collection.tenant_weights;
    let retried = host.store().batches_retry(&scope, &filter, weights, host.clock().now()).await?;
    details["retried"] = json!(retried.batches);
    Ok(Recorded { answer: Item(retried), details, artist: None })
}

pub(in crate::api) async fn release(call: Call, _: NoChoice) -> Result<Recorded<Item<Quarantined>>, Problem> {
    let held = held(&call).await?;
    let released = call.host().quarantine().release(&call.scope(), held.id).await?;
    Ok(decided(&held, released))
}

pub(in crate::api) async fn discard(call: Call, _: NoChoice) -> Result<Recorded<Item<Quarantined>>, Problem> {
    let (held, host) = (held(&call).await?, call.host());
    let discarded = host.store().quarantine_discard(&call.scope(), held.id, host.clock().now()).await?;
    Ok(decided(&held, discarded))
}

/// The value that the path names.
async fn held(call: &Call) -> Result<Quarantined, Problem> {
    let id: Uuid = call.path("value")?;
    let value = call.host().store().quarantine_get(&call.scope(), id).await?;
    value.ok_or_else(|| Problem::not_found("quarantined value", id))
}

fn decided(before: &Quarantined, after: Quarantined) -> Recorded<Item<Quarantined>> {
    let details = json!({ "id": after.id, "was": before.status, "became": after.status });
    Recorded { artist: Some(after.artist_id), answer: Item(after), details }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_twice_is_taken_once_in_the_order_given() {
        assert_eq!(once(vec!["tiktok", "youtube", "tiktok", "youtube"]), ["tiktok", "youtube"]);
        assert!(once(Vec::<u8>::new()).is_empty());
    }
}

//! The bindings of `backline:connector@1.1.0`: answers name their accounts, and may hold past dates.

use backline_model::fetch::{DocumentInput, FetchAccount, FetchContext, FetchError, Fetched, FetchedBatch, LostMetric};
use backline_model::manifest::Method;
use backline_model::metric::{Absence, Value};
use backline_model::snapshot::{Coverage, Engagement, EngagementBasis, Reported, Snapshot, Window};
use wasmtime::component::Accessor;

use super::conversions::conversions;
use super::time_of;
use crate::answer::{self, Breach, Named};
use crate::state::CallState;

mod generated {
    #![allow(missing_docs, clippy::all, reason = "generated; the WIT file holds the documentation")]

    wasmtime::component::bindgen!({
        path: "../../wit/connector/1.1.0",
        world: "connector",
        // The imports only access the call's own state. Every export runs on the store's event loop, even the
        // synchronous `normalize`, so that the same code limits all three.
        exports: { default: async | store },
    });
}

pub(crate) use generated::backline::connector::{http, log, types};
pub(super) use generated::{Connector as Bindings, ConnectorPre as BindingsPre};

conversions!();

/// Calls `fetch`, and puts its answers into the order of the accounts that they name.
pub(super) async fn fetch(
    instance: &Bindings,
    accessor: &Accessor<CallState>,
    accounts: Vec<FetchAccount>,
    context: FetchContext,
) -> wasmtime::Result<Result<FetchedBatch, Breach>> {
    let ids: Vec<_> = accounts.iter().map(|account| account.id).collect();
    let FetchContext { window, lost_metrics, history } = context;
    let accounts = accounts.into_iter().map(account_to_wit).collect();
    let windows = history.iter().copied().map(window_to_wit).collect();
    let context = types::Context { window: window_to_wit(window), lost_metrics, history: windows };
    let batch = instance.backline_connector_source().call_fetch(accessor, accounts, context).await?;
    let lost_metrics = batch.lost_metrics.into_iter().map(lost_from_wit).collect();
    let answers = batch.answers.into_iter().map(named_from_wit).collect();
    Ok(answer::in_order(answers, &ids, &history).map(|accounts| FetchedBatch { accounts, lost_metrics }))
}

fn named_from_wit(answer: types::Answer) -> Named {
    let history = answer.history.into_iter().map(|(window, past)| {
        // Why a date could not be served is of no use: it is fetched again.
        let body = past.ok().map(|fetched| fetched.body);
        ((window.since, window.until), body)
    });
    Named {
        account: answer.account,
        history: history.collect(),
        document: answer
            .document
            .map(|fetched| Fetched { body: fetched.body, state: fetched.state, past: Vec::new() })
            .map_err(fetch_error_from_wit),
    }
}

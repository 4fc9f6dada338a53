//! The bindings of `backline:connector@1.0.0`.

use backline_model::fetch::{DocumentInput, FetchAccount, FetchContext, FetchError, Fetched, FetchedBatch, LostMetric};
use backline_model::manifest::Method;
use backline_model::metric::{Absence, Value};
use backline_model::snapshot::{Coverage, Engagement, EngagementBasis, Reported, Snapshot, Window};
use wasmtime::component::Accessor;

use super::conversions::conversions;
use super::time_of;
use crate::state::CallState;

mod generated {
    #![allow(missing_docs, clippy::all, reason = "generated; the WIT file holds the documentation")]

    wasmtime::component::bindgen!({
        path: "../../wit/connector/1.0.0",
        world: "connector",
        // `log.write` and `http.send` only access the call's own state. Every export runs on the store's event loop,
        // even the synchronous `normalize`, so that the same code limits all three.
        exports: { default: async | store },
    });
}

pub(crate) use generated::backline::connector::{http, log, types};
pub(super) use generated::{Connector as Bindings, ConnectorPre as BindingsPre};

conversions!();

/// Calls `fetch`. Its answers stand in the order of the accounts; the version knows no past dates.
pub(super) async fn fetch(
    instance: &Bindings,
    accessor: &Accessor<CallState>,
    accounts: Vec<FetchAccount>,
    context: FetchContext,
) -> wasmtime::Result<FetchedBatch> {
    let accounts = accounts.into_iter().map(account_to_wit).collect();
    let context = types::Context { window: window_to_wit(context.window), lost_metrics: context.lost_metrics };
    let batch = instance.backline_connector_source().call_fetch(accessor, accounts, context).await?;
    let fetched = |fetched: types::Fetched| Fetched { body: fetched.body, state: fetched.state, past: Vec::new() };
    let accounts = batch.accounts.into_iter().map(|account| account.map(fetched).map_err(fetch_error_from_wit));
    Ok(FetchedBatch {
        accounts: accounts.collect(),
        lost_metrics: batch.lost_metrics.into_iter().map(lost_from_wit).collect(),
    })
}

//! Grants the gateway units of budgets from the database, so that all hosts on it share every budget.

use std::time::Duration;

use chrono::{DateTime, TimeDelta};
use futures::stream::{self, StreamExt as _};
use tokio::sync::mpsc;

use crate::pipeline::clocks::Clocks;
use crate::pipeline::collection::pauses;
use backline_gateway::{self, BudgetDemand, Demand, Gateway, Pause, PlaceDemand};
use backline_model::clock::Clock;
use backline_store::{BudgetKey, Store, StoreError};

/// The shortest deferral. A connector that reports a budget as available again at once, over and over, would keep a run
/// busy without it.
pub(in crate::pipeline) const DEFER_MIN: TimeDelta = TimeDelta::minutes(1);

/// Demands that are answered at the same time; further ones wait.
const ANSWERS_AT_ONCE: usize = 16;

/// How long one answer may take: a connection that went silent must not keep a batch waiting.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Answers requests for units until the gateway is gone. When the database fails, there is no answer, and the request
/// is not sent: a budget is never overspent on a guess, and a database's fault is no spent budget. Nor is there one
/// while this machine's clock is wrong: places that are reserved by it would let all hosts wait, and units of another
/// window than the platform's present one would be spent beside those that are counted.
pub(in crate::pipeline) async fn serve(store: Store, clock: Clock, clocks: Clocks, demands: mpsc::Receiver<Demand>) {
    let demands = stream::unfold(demands, |mut demands| async move { Some((demands.recv().await?, demands)) });
    demands.for_each_concurrent(ANSWERS_AT_ONCE, |demand| answer(&store, &clock, &clocks, demand)).await;
}

async fn answer(store: &Store, clock: &Clock, clocks: &Clocks, demand: Demand) {
    match demand {
        Demand::Units(demand) if !clocks.is_within(demand.window_start, demand.window_end) => {
            tracing::warn!(
                budget = %demand.key.budget,
                "the clock jumped; this host takes no units of a budget until its clock is right"
            );
        }
        Demand::Units(demand) => answer_units(store, clock, demand).await,
        Demand::Places(PlaceDemand { key, ask, reply }) => {
            let asked_at = DateTime::from_timestamp_micros(ask.now_us);
            if !asked_at.is_some_and(|at| clocks.agrees_with(at)) {
                tracing::warn!(
                    budget = %key.budget,
                    "the clock jumped; this host takes no places of a budget until its clock is right"
                );
                return;
            }
            let budget = of(&key);
            let taken = store.pace_take(&budget, &ask);
            match StoreError::in_time(ANSWER_WITHIN, "take places of a budget", taken).await {
                // Places that are no longer waited for are lost: others may be reserved behind them.
                Ok(places) => {
                    let _dropped = reply.send(places);
                }
                Err(error) => {
                    tracing::error!(budget = %key.budget, %error, "a budget can't be read; nothing is granted")
                }
            }
        }
        Demand::Pause(_) if !clocks.is_right() => {
            tracing::warn!("the clock jumped; this host tells other hosts of no pause until its clock is right");
        }
        Demand::Pause(Pause { holder, platform, wait, pace, .. }) => {
            let told = pauses::begin(store, &holder, &platform, wait, pace, clock.now());
            if tokio::time::timeout(ANSWER_WITHIN, told).await.is_err() {
                tracing::warn!(%holder, "a pause that the platform asked for is not known to other hosts");
            }
        }
    }
}

async fn answer_units(store: &Store, clock: &Clock, demand: BudgetDemand) {
    let BudgetDemand { key, limit, window_start, window_end, want, reply } = demand;
    let budget = of(&key);
    let taken = store.budget_take(&budget, window_start, window_end, limit, want, clock.now());
    match StoreError::in_time(ANSWER_WITHIN, "take from a budget", taken).await {
        Ok(granted) => {
            if reply.send(granted).is_err() && granted > 0 {
                // The request that asked was dropped; nothing will spend its units.
                give_back(store, &key, window_start, granted).await;
            }
        }
        Err(error) => tracing::error!(budget = %key.budget, %error, "a budget can't be read; nothing is granted"),
    }
}

/// Gives back units that were granted and not used.
pub(in crate::pipeline) async fn settle(store: &Store, gateway: &Gateway) {
    for unspent in gateway.unspent_budgets() {
        give_back(store, &unspent.key, unspent.window_start, unspent.units).await;
    }
}

async fn give_back(
    store: &Store,
    key: &backline_gateway::BudgetKey,
    window_start: chrono::DateTime<chrono::Utc>,
    units: u64,
) {
    if let Err(error) = store.budget_give_back(&of(key), window_start, units).await {
        tracing::warn!(budget = %key.budget, units, %error, "unused units could not be handed back");
    }
}

/// Gateway and store do not depend on each other, so each has a key type of its own.
fn of(key: &backline_gateway::BudgetKey) -> BudgetKey {
    BudgetKey { holder: key.holder.clone(), budget: key.budget.clone() }
}

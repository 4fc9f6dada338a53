//! Grants the gateway units of budgets from the database, so that all hosts on it share every budget.

use chrono::TimeDelta;
use tokio::sync::mpsc;

use backline_gateway::{self, BudgetDemand, Gateway};
use backline_model::clock::Clock;
use backline_store::{BudgetKey, Store};

/// The shortest deferral. A connector that reports a budget as available again at once, over and over, would keep a run
/// busy without it.
pub(in crate::pipeline) const DEFER_MIN: TimeDelta = TimeDelta::minutes(1);

/// Answers requests for units until the gateway is gone. When the database fails, nothing is granted: a budget is never
/// overspent on a guess.
pub(in crate::pipeline) async fn serve(store: Store, clock: Clock, mut demands: mpsc::Receiver<BudgetDemand>) {
    while let Some(demand) = demands.recv().await {
        let granted = store
            .budget_take(
                &of(&demand.key),
                demand.window_start,
                demand.window_end,
                demand.limit,
                demand.want,
                clock.now(),
            )
            .await
            .unwrap_or_else(|error| {
                tracing::error!(budget = %demand.key.budget, %error, "a budget can't be read; nothing is granted");
                0
            });
        if demand.reply.send(granted).is_err() && granted > 0 {
            // The request that asked was dropped; nothing will spend its units.
            give_back(&store, &demand.key, demand.window_start, granted).await;
        }
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
    BudgetKey { credential: key.credential, budget: key.budget.clone() }
}

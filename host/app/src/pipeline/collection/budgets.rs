//! Answers the gateway's demands for units from the database, so that all hosts on it share every allowance.

use tokio::sync::mpsc;

use backline_gateway::{self, BudgetDemand, Gateway};
use backline_model::clock::Clock;
use backline_store::{BudgetKey, Store};

/// Answers demands until the gateway is gone. A database that fails grants nothing: an allowance is never overspent on a guess.
pub async fn serve(store: Store, clock: Clock, mut demands: mpsc::Receiver<BudgetDemand>) {
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
            // The request that asked was dropped meanwhile; its units are nobody's.
            give_back(&store, &demand.key, demand.window_start, granted).await;
        }
    }
}

/// Hands back what was granted and not used.
pub async fn settle(store: &Store, gateway: &Gateway) {
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

/// The two edges don't know each other, so each has a key of its own.
fn of(key: &backline_gateway::BudgetKey) -> BudgetKey {
    BudgetKey { credential: key.credential, budget: key.budget.clone() }
}

//! Budgets of a trial: counted in memory, since a trial has no database. Another host's use is not known to it.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use tokio::sync::mpsc;

use backline_gateway::{BudgetKey, Demand, PlaceDemand};

/// Answers the gateway's demands for units until the gateway is gone.
pub(super) async fn serve(mut demands: mpsc::Receiver<Demand>) {
    let mut taken: HashMap<(BudgetKey, DateTime<Utc>), u64> = HashMap::new();
    let mut next: HashMap<BudgetKey, i64> = HashMap::new();
    while let Some(demand) = demands.recv().await {
        match demand {
            Demand::Units(demand) => {
                let used = taken.entry((demand.key, demand.window_start)).or_default();
                let granted = demand.want.min(demand.limit.saturating_sub(*used));
                // A demand that was dropped spends nothing.
                if demand.reply.send(granted).is_ok() {
                    *used += granted;
                }
            }
            Demand::Places(PlaceDemand { key, ask, reply }) => {
                let places = ask.answer(next.get(&key).copied());
                next.insert(key, places.next_us);
                // A demand that was dropped has lost its places.
                let _dropped = reply.send(places);
            }
            // The gateway keeps it by itself.
            Demand::Pause(_) => {}
        }
    }
}

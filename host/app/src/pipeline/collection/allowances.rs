//! What is left of a platform's allowances, for the operator to compare with what a plan needs.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::pipeline::collection::report::{AllowanceOf, AllowanceReport};
use backline_gateway::window_of;
use backline_model::manifest::{Budget, BudgetWindow, Owner};
use backline_model::{Holder, Release};
use backline_store::{BudgetKey, Scope, Store, StoreError};

/// The budgets of a release, each with what `needed` says that a plan spends of it.
///
/// # Errors
/// When the database fails.
pub(super) async fn of_release(
    store: &Store,
    release: &Release,
    needed: &BTreeMap<String, u64>,
    now: DateTime<Utc>,
) -> Result<Vec<AllowanceReport>, StoreError> {
    let manifest = &release.manifest;
    let credentials = store.credentials_of(&Scope::all_tenants(), release.platform(), &[]).await?;
    let of = |budget: &Budget| match &budget.slot {
        None => AllowanceOf::Platform,
        Some(slot) if manifest.slot(slot).is_some_and(|slot| slot.owner == Owner::Account) => AllowanceOf::Account,
        Some(_) => AllowanceOf::App,
    };
    let key = |budget: &Budget| {
        let holder = match of(budget) {
            AllowanceOf::Platform => Holder::Platform(release.platform().clone()),
            AllowanceOf::App => {
                let own =
                    |slot: &str| credentials.iter().find(|found| found.account_id.is_none() && found.slot == slot);
                Holder::Credential(own(budget.slot.as_deref()?)?.id)
            }
            AllowanceOf::Account => return None,
        };
        Some(BudgetKey { holder, budget: budget.name.clone() })
    };
    let keys: Vec<(&Budget, BudgetKey)> =
        manifest.budgets.iter().filter_map(|budget| Some((budget, key(budget)?))).collect();
    let windows: Vec<_> = keys.iter().map(|(budget, key)| (key.clone(), window_of(&budget.window, now).0)).collect();
    let spent = store.budgets_of(&windows).await?;
    let paces = store.paces_of(&keys.into_iter().map(|(_, key)| key).collect::<Vec<_>>()).await?;
    let report = |budget: &Budget| {
        let limit = release.grant.budgets.get(&budget.name).copied().unwrap_or(budget.limit);
        let (key, is_rolling) = (key(budget), matches!(budget.window, BudgetWindow::Rolling(_)));
        let (left, back_at) = match key {
            None => (None, None),
            Some(key) if is_rolling => {
                let next = paces.get(&key).and_then(|next_us| DateTime::from_timestamp_micros(*next_us));
                (None, next.filter(|next| *next > now))
            }
            Some(key) => {
                let left = limit.saturating_sub(spent.get(&key).copied().unwrap_or_default());
                (Some(left), (left < limit).then(|| window_of(&budget.window, now).1))
            }
        };
        AllowanceReport {
            budget: budget.name.clone(),
            of: of(budget),
            limit,
            window: budget.window.clone(),
            needed: needed.get(&budget.name).copied().unwrap_or_default(),
            left,
            back_at,
        }
    };
    Ok(manifest.budgets.iter().map(report).collect())
}

//! What happened to one account, or to one connector, as the API, the dashboard and the command line show it.

use backline_model::AccountId;
use backline_store::{PlacedEntry, Scope, Store, StoreError, TimelineFilter};

/// What happened to an account, the latest first; none where there is no such account in the scope.
///
/// # Errors
/// When the database fails.
pub async fn account_timeline(
    store: &Store,
    scope: &Scope,
    account: AccountId,
    filter: &TimelineFilter,
) -> Result<Option<Vec<PlacedEntry>>, StoreError> {
    if store.account_get(scope, account).await?.is_none() {
        return Ok(None);
    }
    Ok(Some(store.account_timeline_list(scope, account, filter).await?))
}

/// What happened to the connector of a name and to its platform, the latest first; none where no release has the name.
///
/// # Errors
/// When the database fails.
pub async fn connector_timeline(
    store: &Store,
    name: &str,
    filter: &TimelineFilter,
) -> Result<Option<Vec<PlacedEntry>>, StoreError> {
    let releases = store.releases_list().await?;
    if !releases.iter().any(|release| release.manifest.connector.name == name) {
        return Ok(None);
    }
    Ok(Some(store.connector_timeline_list(name, filter).await?))
}
